"""The wire types that fields of composites have: which constructors may appear, and which values are legal.

Named as in the specification: primitive types, and the restricted types that narrow them down.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from enum import Enum
from typing import Final

from ..exceptions import DecodeError, EncodeError
from . import choices
from .constructors import CODES, DESCRIBED
from .decoding import State, bounds8, bounds32
from .encoding import check_room, encode_at, encoder, map_of
from .values import Array

__all__ = [
    "RESTRICTED",
    "ChoiceType",
    "MapType",
    "OneOfType",
    "WireType",
]


class WireType:
    """One wire type.

    Attributes:
        name: as in the specification; ``"*"`` where it leaves the type open.
        source: the primitive type on the wire; ``"*"`` where there are several.
        requires: the archetype that a value has to belong to, or None.
        codes: the constructors that may introduce a value.
        choices: the legal values by name; empty where all are legal.
        checks: whether a value may be illegal though its constructor is legal, or is read in a way of its own.
    """

    __slots__ = ("checks", "choices", "codes", "name", "requires", "source")

    def __init__(self, name: str, source: str, requires: str | None = None) -> None:
        self.name = name
        self.source = source
        self.requires = requires
        self.codes = frozenset(CODES.get(source, ()))
        self.choices: Mapping[str, object] = {}
        cls = type(self)
        self.checks = cls.fault is not WireType.fault or cls.read is not WireType.read

    def __repr__(self) -> str:
        return f"<{self.name}>" if self.requires is None else f"<{self.name} {self.requires}>"

    @property
    def wanted(self) -> str:
        """What to ask for in errors."""
        return self.requires or self.name

    def read(self, data: bytes, pos: int, state: State) -> tuple[object, int]:
        """The value whose constructor, one of `codes`, is at `pos`."""
        return state.table[data[pos]](data, pos + 1, state)

    def fault(self, value: object) -> str | None:
        """The error condition of a decoded value that is not legal here, None for a legal one."""
        return None

    def encode(self, value: object, depth: int) -> bytes:
        """The bytes of `value` inside `depth` compounds.

        Raises:
            EncodeError: it is not of this type.
        """
        return encoder(self.source)(value, depth)


class ChoiceType(WireType):
    """A restricted type with a closed list of values."""

    __slots__ = ()

    def __init__(self, name: str, source: str, values: type[Enum] | Mapping[str, object]) -> None:
        super().__init__(name, source)
        if isinstance(values, Mapping):
            self.choices = values
        else:
            self.choices = {member.name.lower().replace("_", "-"): member.value for member in values}

    def fault(self, value: object) -> str | None:
        return None if value in self.choices.values() else "amqp:invalid-field"

    def encode(self, value: object, depth: int) -> bytes:
        encoded = super().encode(value, depth)
        if value not in self.choices.values():
            legal = ", ".join(f"{choice!r} ({name})" for name, choice in self.choices.items())
            raise EncodeError(f"{value!r} is none of {legal}")
        return encoded


#: What the types that a `OneOfType` may have are in Python.
_PYTHON_TYPES: Final[dict[str, type | tuple[type, ...]]] = {
    "ulong": int,
    "uuid": uuid.UUID,
    "binary": (bytes, bytearray, memoryview),
    "string": str,
}


class OneOfType(WireType):
    """A field that the specification leaves open, with the primitive types that provide what it requires."""

    __slots__ = ("sources",)

    def __init__(self, requires: str, sources: tuple[str, ...]) -> None:
        super().__init__("*", "*", requires)
        self.sources = sources
        self.codes = frozenset(code for source in sources for code in CODES[source])

    def encode(self, value: object, depth: int) -> bytes:
        for source in self.sources:
            if len(self.sources) == 1 or isinstance(value, _PYTHON_TYPES[source]):
                return encoder(source)(value, depth)
        raise EncodeError(f"{type(value).__name__} cannot be a {self.wanted}")


class AnyType(WireType):
    """A field that may hold any value."""

    __slots__ = ()

    def __init__(self, requires: str | None = None) -> None:
        super().__init__("*", "*", requires)
        self.codes = frozenset((DESCRIBED, *(code for codes in CODES.values() for code in codes)))

    def encode(self, value: object, depth: int) -> bytes:
        return encode_at(value, depth)


class MapType(WireType):
    """A map whose keys are all of some wire types.

    Args:
        keys: the types that a key may have: a str key is sent as the first of them that is not ulong.
        tolerated: types of keys that are read though they should not be there, where they could be a symbol.
        simple: values are not lists, maps or arrays.
    """

    __slots__ = ("_key_codes", "_keys", "_simple", "_tolerated_codes")

    def __init__(self, name: str, keys: tuple[str, ...], simple: bool = False, tolerated: tuple[str, ...] = ()) -> None:
        super().__init__(name, "map")
        self._keys = keys
        self._key_codes = frozenset(code for key in keys for code in CODES[key])
        self._tolerated_codes = frozenset(code for key in tolerated for code in CODES[key])
        self._simple = simple

    def read(self, data: bytes, pos: int, state: State) -> tuple[object, int]:
        start = pos
        pos, end, count = (bounds8 if data[pos] == 0xC1 else bounds32)(data, pos + 1)
        outer = state.enter(pos, end, count, 1)
        if count % 2:
            raise DecodeError(f"a map of {count} elements: a key has no value", offset=start)
        table = state.table
        entries: dict[object, object] = {}
        for _ in range(count // 2):
            key_start, code = pos, data[pos]
            tolerated = code in self._tolerated_codes
            if code not in self._key_codes and not tolerated:
                raise self._bad_key(key_start)
            key, pos = table[code](data, pos + 1, state)
            if tolerated and not (isinstance(key, str | bytes) and key.isascii()):
                raise self._bad_key(key_start)
            code = data[pos]
            if self._simple and code in _COMPOUND_CODES:
                raise DecodeError(f"a value of {self.name} is a list, map or array", offset=pos)
            entries[key], pos = table[code](data, pos + 1, state)
        state.leave(pos, end, outer)
        if 2 * len(entries) != count:
            raise DecodeError("a key occurs twice in a map", offset=start)
        return entries, pos

    def _bad_key(self, pos: int) -> DecodeError:
        return DecodeError(f"a key of {self.name} is a {' or '.join(self._keys)}", offset=pos)

    def encode(self, value: object, depth: int) -> bytes:
        if not isinstance(value, dict):
            raise EncodeError(f"dict expected, not {type(value).__name__}")
        check_room(2 * len(value), depth)
        parts = []
        for key, item in value.items():
            try:
                parts.append(self._encode_key(key))
                parts.append(self._encode_item(item, depth + 1))
            except EncodeError as error:
                raise EncodeError(error.description, field=f"{self.name}[{key!r:.80}]") from None
        return map_of(parts)

    def _encode_key(self, key: object) -> bytes:
        if isinstance(key, int) and "ulong" in self._keys:
            return encoder("ulong")(key, 0)
        return encoder(self._keys[0])(key, 0)

    def _encode_item(self, item: object, depth: int) -> bytes:
        if self._simple and isinstance(item, (list, tuple, dict, Array)):
            raise EncodeError(f"a {type(item).__name__} is not allowed here, only simple values are")
        return encode_at(item, depth)


_COMPOUND_CODES: Final = frozenset(CODES["list"] + CODES["map"] + CODES["array"])

#: The restricted types that fields use, by name.
RESTRICTED: Final[dict[str, WireType]] = {}


def _restricted(wire_type: WireType) -> WireType:
    RESTRICTED[wire_type.name] = wire_type
    return wire_type


BOOLEAN: Final = WireType("boolean", "boolean")
UBYTE: Final = WireType("ubyte", "ubyte")
USHORT: Final = WireType("ushort", "ushort")
UINT: Final = WireType("uint", "uint")
ULONG: Final = WireType("ulong", "ulong")
TIMESTAMP: Final = WireType("timestamp", "timestamp")
BINARY: Final = WireType("binary", "binary")
STRING: Final = WireType("string", "string")
SYMBOL: Final = WireType("symbol", "symbol")
MAP: Final = WireType("map", "map")

ROLE: Final = _restricted(
    ChoiceType("role", "boolean", {"sender": choices.Role.SENDER, "receiver": choices.Role.RECEIVER})
)
SENDER_SETTLE_MODE: Final = _restricted(ChoiceType("sender-settle-mode", "ubyte", choices.SenderSettleMode))
RECEIVER_SETTLE_MODE: Final = _restricted(ChoiceType("receiver-settle-mode", "ubyte", choices.ReceiverSettleMode))
TERMINUS_DURABILITY: Final = _restricted(ChoiceType("terminus-durability", "uint", choices.TerminusDurability))
TERMINUS_EXPIRY_POLICY: Final = _restricted(
    ChoiceType("terminus-expiry-policy", "symbol", choices.TerminusExpiryPolicy)
)
SASL_CODE: Final = _restricted(ChoiceType("sasl-code", "ubyte", choices.SaslCode))

HANDLE: Final = _restricted(WireType("handle", "uint"))
SECONDS: Final = _restricted(WireType("seconds", "uint"))
MILLISECONDS: Final = _restricted(WireType("milliseconds", "uint"))
DELIVERY_TAG: Final = _restricted(WireType("delivery-tag", "binary"))
SEQUENCE_NO: Final = _restricted(WireType("sequence-no", "uint"))
DELIVERY_NUMBER: Final = _restricted(WireType("delivery-number", "uint"))
TRANSFER_NUMBER: Final = _restricted(WireType("transfer-number", "uint"))
MESSAGE_FORMAT: Final = _restricted(WireType("message-format", "uint"))
IETF_LANGUAGE_TAG: Final = _restricted(WireType("ietf-language-tag", "symbol"))

# The original uamqp, in C, gives properties of links keys that are strings.
FIELDS: Final = _restricted(MapType("fields", ("symbol",), tolerated=("string",)))
NODE_PROPERTIES: Final = _restricted(MapType("node-properties", ("symbol",)))
# 3.5.8 wants every filter described. Peers exist that send bare values, and it is for the node to say which
# filters it knows, so the values are not looked at here.
FILTER_SET: Final = _restricted(MapType("filter-set", ("symbol",)))

# Names of conditions, modes and capabilities are open lists: anybody may add one.
ERROR_CONDITION: Final = WireType("symbol", "symbol", "error-condition")
DISTRIBUTION_MODE: Final = WireType("symbol", "symbol", "distribution-mode")
TXN_CAPABILITY: Final = WireType("symbol", "symbol", "txn-capability")

MESSAGE_ID: Final = OneOfType("message-id", ("ulong", "uuid", "binary", "string"))
ADDRESS: Final = OneOfType("address", ("string",))
TXN_ID: Final = OneOfType("txn-id", ("binary",))
GLOBAL_TX_ID: Final = AnyType("global-tx-id")
