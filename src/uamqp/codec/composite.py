"""Composite types: described lists with named fields (spec 1.4), declared once as classes.

::

    @composite(0x32, "amqp:discharge:list")
    class Discharge(Composite):
        txn_id: bytes = mandatory(TXN_ID)
        fail: bool | None = optional(BOOLEAN, default=None)

The declaration gives the class its slots, its constructor (fields by position or by name), comparison, repr and
both directions of the codec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar, cast, dataclass_transform

from ..exceptions import DecodeError, EncodeError
from .constructors import CODES, DESCRIBED, NULL
from .decoding import (
    State,
    bounds8,
    bounds32,
    decoder_table,
    guarded,
    read_described_value,
    read_descriptor,
)
from .encoding import check_room, encode_at, encode_descriptor, list_of
from .values import Array, Described, Encodable, Symbol
from .wire import WireType

__all__ = [
    "Composite",
    "CompositeType",
    "Field",
    "by_code",
    "by_name",
    "composite",
    "decode_composite",
    "mandatory",
    "multiple",
    "optional",
]

_ARRAY_CODES: Final = frozenset(CODES["array"])


class Field:
    """One field of a composite, as the specification declares it.

    Attributes:
        name: in Python spelling.
        type: what may be on the wire.
        mandatory: whether null is illegal.
        default: what an absent field reads.
        multiple: any number of values (spec 1.4): a tuple in Python; one bare value, an array or null on the wire.
        secret: not shown in repr.
        kw_only: not to be given by position.
    """

    __slots__ = (
        "_codes",
        "_default",
        "_plain_codes",
        "default",
        "kw_only",
        "mandatory",
        "multiple",
        "name",
        "secret",
        "type",
    )

    name: str

    def __init__(
        self,
        wire_type: WireType,
        *,
        mandatory: bool = False,
        default: object = None,
        multiple: bool = False,
        secret: bool = False,
        kw_only: bool = False,
    ) -> None:
        self.type = wire_type
        self.mandatory = mandatory
        self.default = default
        self.multiple = multiple
        self.secret = secret
        self.kw_only = kw_only
        self._codes = wire_type.codes | _ARRAY_CODES if multiple else wire_type.codes
        #: Constructors whose values need no look but the one of the decoding table.
        self._plain_codes = frozenset[int]() if multiple or wire_type.checks else wire_type.codes
        self._default = b"" if default is None or multiple else wire_type.encode(default, 0)

    def normal(self, value: object) -> object:
        """The value as the attribute holds it: the default for None, a tuple where there may be several."""
        if value is None:
            return self.default
        if self.multiple:
            return tuple(value) if isinstance(value, (list, tuple)) else (value,)
        return value

    def absent(self, owner: str, pos: int) -> object:
        """The value of a field that is null on the wire, or left out at the end of the list."""
        if self.mandatory:
            raise DecodeError(f"{owner}.{self.name} is mandatory", offset=pos, condition="amqp:invalid-field")
        return self.default

    def read(self, owner: str, data: bytes, pos: int, state: State) -> tuple[object, int]:
        """The value whose constructor is at `pos`, and the position behind it."""
        start = pos
        code = data[pos]
        if code in self._plain_codes:
            return state.table[code](data, pos + 1, state)
        if code == NULL:
            return self.absent(owner, pos), pos + 1
        if code not in self._codes:
            raise DecodeError(
                f"{owner}.{self.name}: {self.type.wanted} expected, not constructor 0x{code:02x}", offset=pos
            )
        value, pos = self.type.read(data, pos, state)
        if self.multiple:
            value = self._several(owner, value, start)
        condition = self.type.fault(value)
        if condition is not None:
            raise DecodeError(
                f"{owner}.{self.name}: {value!r:.80} is not a legal {self.type.wanted}",
                offset=start,
                condition=condition,
            )
        return value, pos

    def _several(self, owner: str, value: object, pos: int) -> tuple[object, ...]:
        if not isinstance(value, Array):
            return (value,)
        if value.type != self.type.source:
            raise DecodeError(f"{owner}.{self.name}: array of {self.type.wanted} expected", offset=pos)
        return tuple(value) or cast("tuple[object, ...]", self.absent(owner, pos))

    def encode(self, value: object, depth: int) -> bytes:
        """The bytes of the field; null for what the peer would take as the default.

        Raises:
            EncodeError: the value is missing or does not fit.
        """
        if self.multiple:
            return self._encode_several(cast("tuple[object, ...]", self.normal(value)), depth)
        if value is None:
            return self._encode_absent()
        encoded = self.type.encode(value, depth)
        # Compared as bytes: to Python 0 and False are equal, on the wire they are not.
        return b"\x40" if encoded == self._default else encoded

    def _encode_absent(self) -> bytes:
        if self.mandatory:
            raise EncodeError("mandatory")
        return b"\x40"

    def _encode_several(self, values: tuple[object, ...], depth: int) -> bytes:
        if not values:
            return self._encode_absent()
        if len(values) == 1:
            return self.type.encode(values[0], depth)
        return encode_at(Array(values, self.type.source), depth)


def mandatory(wire_type: WireType, *, kw_only: bool = False, secret: bool = False) -> Any:
    """A field that has to have a value."""
    return Field(wire_type, mandatory=True, kw_only=kw_only, secret=secret)


def optional(wire_type: WireType, *, default: object, secret: bool = False) -> Any:
    """A field that may be absent and then reads `default`: the specification's default, or None."""
    return Field(wire_type, default=default, secret=secret)


def multiple(wire_type: WireType, *, default: tuple[()] | None = None) -> Any:
    """A field of any number of values, always a tuple in Python; mandatory where no `default` of ``()`` is given."""
    return Field(wire_type, multiple=True, mandatory=default is None, default=())


class Composite(Encodable):
    """The base of all composites.

    Attributes:
        CODE: the descriptor as a number.
        NAME: the descriptor as a symbol.
        TYPE: the name of the type in the specification.
        PROVIDES: the archetypes that it belongs to, such as ``"outcome"``.
        FIELDS: its fields in wire order.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    CODE: ClassVar[int]
    NAME: ClassVar[Symbol]
    TYPE: ClassVar[str]
    PROVIDES: ClassVar[tuple[str, ...]]
    FIELDS: ClassVar[tuple[Field, ...]]

    def __init__(self, *args: object, **kwargs: object) -> None:
        if not args and not kwargs:
            # Without any field, as for a section that a message lacks.
            for field in self.FIELDS:
                setattr(self, field.name, field.default)
            return
        cls = type(self).__name__
        positional = [field.name for field in self.FIELDS if not field.kw_only]
        if len(args) > len(positional):
            raise TypeError(f"{cls}() takes {len(positional)} arguments by position, {len(args)} were given")
        for name, value in zip(positional, args, strict=False):
            if name in kwargs:
                raise TypeError(f"{cls}() got two values for {name!r}")
            kwargs[name] = value
        for field in self.FIELDS:
            setattr(self, field.name, field.normal(kwargs.pop(field.name, None)))
        if kwargs:
            raise TypeError(f"{cls}() has no field {next(iter(kwargs))!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, field.name) == getattr(other, field.name) for field in self.FIELDS)

    def __repr__(self) -> str:
        shown = []
        for field in self.FIELDS:
            value = getattr(self, field.name)
            if value is not None and value != field.default:
                shown.append(f"{field.name}={f'<{len(value)} bytes>' if field.secret else repr(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def encode(self, all_fields: bool = False) -> bytes:
        """The bytes of the described list: defaults as null, without nulls at the end.

        With `all_fields` nulls at the end are written, too, also those of composites inside.

        Raises:
            EncodeError: a mandatory field has no value, or a value does not fit its field; `field` says which.
        """
        return self.encode_at(0, all_fields)

    def encode_at(self, depth: int, all_fields: bool = False) -> bytes:
        check_room(len(self.FIELDS), depth + 1)
        parts = []
        for field in self.FIELDS:
            value = getattr(self, field.name)
            if value is None and not field.mandatory:
                parts.append(b"\x40")
                continue
            if all_fields and isinstance(value, Composite):
                parts.append(value.encode_at(depth + 2, True))
                continue
            try:
                parts.append(field.encode(value, depth + 2))
            except EncodeError as error:
                raise EncodeError(error.description, field=f"{type(self).__name__}.{field.name}") from None
        while not all_fields and parts and parts[-1] == b"\x40":
            parts.pop()
        return b"\x00" + encode_descriptor(self.CODE) + list_of(parts)


#: Every composite type by its numeric and by its symbolic descriptor.
by_code: Final[dict[int, type[Composite]]] = {}
by_name: Final[dict[str, type[Composite]]] = {}

_T = TypeVar("_T", bound=type[Composite])


@dataclass_transform(field_specifiers=(mandatory, optional, multiple))
def composite(code: int, name: str, provides: tuple[str, ...] = ()) -> Callable[[_T], _T]:
    """Make a class of declared fields a composite type and register it.

    Args:
        code: the descriptor as a number.
        name: the descriptor as a symbol.
        provides: the archetypes that the type belongs to.
    """

    def build(declared: _T) -> _T:
        namespace = dict(declared.__dict__)
        fields = []
        for field_name in declared.__annotations__:
            field: Field = namespace.pop(field_name)
            field.name = field_name
            fields.append(field)
        # Slots can only be given when a class is made, so the declaration is made into a second one.
        for leftover in ("__dict__", "__weakref__"):
            namespace.pop(leftover, None)
        namespace.update(
            __slots__=tuple(field.name for field in fields),
            CODE=code,
            NAME=Symbol(name),
            TYPE=name.split(":")[1],
            PROVIDES=provides,
            FIELDS=tuple(fields),
        )
        made: Any = type(declared.__name__, declared.__bases__, namespace)
        by_code[code] = by_name[name] = made
        return cast("_T", made)

    return build


class CompositeType(WireType):
    """A field that holds a composite: of one type, or of any type that provides what is required.

    Where the specification only names an archetype, anybody may define further types of it, so an unknown
    descriptor is let through as `Described`.
    """

    __slots__ = ()

    def __init__(self, name: str = "*", requires: str | None = None) -> None:
        super().__init__(name, "*", requires)
        self.codes = frozenset((DESCRIBED,))

    def _suits(self, value: object) -> bool:
        if self.requires is None:
            return isinstance(value, Composite) and self.name == value.TYPE
        if isinstance(value, Composite):
            return self.requires in value.PROVIDES
        return isinstance(value, Described)

    def fault(self, value: object) -> str | None:
        return None if self._suits(value) else "amqp:decode-error"

    def encode(self, value: object, depth: int) -> bytes:
        if not self._suits(value):
            raise EncodeError(f"{self.wanted} expected, not {type(value).__name__}")
        return encode_at(value, depth)


def _read_described(data: bytes, pos: int, state: State) -> tuple[object, int]:
    descriptor, after = read_descriptor(data, pos, state)
    cls = by_name.get(descriptor) if isinstance(descriptor, str) else by_code.get(descriptor)
    if cls is None:
        return read_described_value(descriptor, data, after, state)
    state.descend(pos)
    value, pos = _read_composite(cls, data, after, state)
    state.depth -= 1
    return value, pos


def _read_composite(cls: type[Composite], data: bytes, pos: int, state: State) -> tuple[Composite, int]:
    name = cls.__name__
    code = data[pos]
    if code == 0x45:
        pos += 1
        end, count = pos, 0
    elif code == 0xC0:
        pos, end, count = bounds8(data, pos + 1)
    elif code == 0xD0:
        pos, end, count = bounds32(data, pos + 1)
    else:
        raise DecodeError(f"{name} is a list, not of constructor 0x{code:02x}", offset=pos)
    outer = state.enter(pos, end, count, 1)
    if count > len(cls.FIELDS):
        raise DecodeError(f"{name} has {len(cls.FIELDS)} fields, not {count}", offset=pos)
    value = cls.__new__(cls)
    for field in cls.FIELDS[:count]:
        item, pos = field.read(name, data, pos, state)
        setattr(value, field.name, item)
    state.leave(pos, end, outer)
    for field in cls.FIELDS[count:]:
        setattr(value, field.name, field.absent(name, pos))
    return value, pos


#: Known described values become composites, wherever they are.
_TABLE: Final = decoder_table(described=_read_described)


def _read(data: bytes, pos: int, state: State) -> tuple[object, int]:
    if data[pos] != DESCRIBED:
        raise DecodeError(f"a described value expected, not constructor 0x{data[pos]:02x}", offset=pos)
    return _read_described(data, pos + 1, state)


def decode_composite(data: bytes, pos: int, end: int) -> tuple[Composite | Described, int]:
    """The described value at `pos` and the position behind it.

    A composite for a known descriptor, exactly as registered; `Described` for any other, its value with the exact
    wire types.

    Raises:
        DecodeError: not a described value, invalid bytes, or fields that are not as the type declares them.
    """
    value, after = guarded(_read, data, pos, end, _TABLE)
    return cast("Composite | Described", value), after
