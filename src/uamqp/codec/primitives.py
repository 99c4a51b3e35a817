"""AMQP values to bytes and back: the primitive types and described values (spec part 1).

Decoding goes through a table of 256 functions, one for each constructor byte. Reads have no side effects, so a
function may run over the end of its compound: each compound is checked once, on where the last element ended.
What could cost more than the bytes are worth (counts, depth, elements of width zero, nested sizes) is checked
before any loop, so that the cost is linear in the bytes for any input.

What Python values become: None null; bool boolean; int long, or ulong above 2^63-1; float double; str string;
Symbol symbol; bytes, bytearray and memoryview binary; UUID uuid; aware datetime timestamp (milliseconds, rounded
down); Decimal decimal128; list and tuple list; dict map; and the types of `uamqp.codec.values` what they are
named after. The shortest encoding is used.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

from uamqp.codec.bid import from_bid, to_bid
from uamqp.codec.values import (
    EPOCH,
    TYPE_NAMES,
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Described,
    ElementType,
    Encodable,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)
from uamqp.exceptions import DecodeError, EncodeError

__all__ = [
    "LEGACY",
    "MAX_DEPTH",
    "MAX_ELEMENTS",
    "MAX_ZERO_WIDTH",
    "MODERN",
    "Dialect",
    "decode",
    "decode_all",
    "encode",
    "skip",
]

#: Levels of nesting, a descriptor counting as one: real messages have a few, and a byte a level is all that a
#: bomb needs. Low enough for the deepest value to fit on any stack.
MAX_DEPTH: Final = 32

#: Elements of one compound value: far above any real list, and far below what would hurt.
MAX_ELEMENTS: Final = 65_536

#: Array elements that take no bytes, in one value decoded: without a cap, 10 bytes could ask for 2^32 objects.
MAX_ZERO_WIDTH: Final = 256

NULL: Final = 0x40
DESCRIBED: Final = 0x00

_MAX_SIZE: Final = 0xFFFF_FFFF

_FLOAT: Final = struct.Struct("!f")
_DOUBLE: Final = struct.Struct("!d")
_TWO_UINTS: Final = struct.Struct("!II")

_MILLISECOND: Final = dt.timedelta(milliseconds=1)
_FIRST_DATETIME: Final = -62_135_596_800_000
_LAST_DATETIME: Final = 253_402_300_799_999

#: Constructor byte of each type's encodings (spec 1.6).
CODES: Final[dict[str, tuple[int, ...]]] = {
    "null": (0x40,),
    "boolean": (0x41, 0x42, 0x56),
    "ubyte": (0x50,),
    "ushort": (0x60,),
    "uint": (0x43, 0x52, 0x70),
    "ulong": (0x44, 0x53, 0x80),
    "byte": (0x51,),
    "short": (0x61,),
    "int": (0x54, 0x71),
    "long": (0x55, 0x81),
    "float": (0x72,),
    "double": (0x82,),
    "decimal32": (0x74,),
    "decimal64": (0x84,),
    "decimal128": (0x94,),
    "char": (0x73,),
    "timestamp": (0x83,),
    "uuid": (0x98,),
    "binary": (0xA0, 0xB0),
    "string": (0xA1, 0xB1),
    "symbol": (0xA3, 0xB3),
    "list": (0x45, 0xC0, 0xD0),
    "map": (0xC1, 0xD1),
    "array": (0xE0, 0xF0),
}

_TYPE_OF_CODE: Final[dict[int, str]] = {code: name for name, codes in CODES.items() for code in codes}


# --- decoding -------------------------------------------------------------------------------------------------


class State:
    """What the functions of the table share while one value is decoded."""

    __slots__ = ("depth", "end", "table", "zero_width")

    def __init__(self, end: int, table: list[Decoder]) -> None:
        self.end = end
        self.table = table
        self.depth = 0
        self.zero_width = 0

    def enter(self, pos: int, end: int, count: int, least: int) -> int:
        """Begin a compound whose `count` elements of `least` bytes or more fill `pos` to `end`; returns the outer end.

        Raises:
            DecodeError: it cannot be as it says, or is nested too deeply.
        """
        outer = self.end
        if end > outer or end < pos:
            raise DecodeError("the size of a compound value does not fit into what surrounds it", offset=pos)
        if count * least > end - pos:
            raise DecodeError(f"{count} elements cannot be in {end - pos} bytes", offset=pos)
        if count > MAX_ELEMENTS:
            raise DecodeError(f"{count} elements, at most {MAX_ELEMENTS} are accepted", offset=pos)
        self.descend(pos)
        self.end = end
        return outer

    def descend(self, pos: int) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise DecodeError(f"nested more than {MAX_DEPTH} levels deep", offset=pos)

    def leave(self, pos: int, end: int, outer: int) -> None:
        """End a compound after its last element: it must fill its size exactly."""
        if pos != end:
            raise DecodeError("the elements of a compound value do not end where its size says", offset=end)
        self.end = outer
        self.depth -= 1


#: Takes the bytes, the position behind the constructor and the state; gives the value and the position behind it.
Decoder: TypeAlias = Callable[[bytes, int, State], tuple[object, int]]


def _unknown(data: bytes, pos: int, state: State) -> tuple[object, int]:
    raise DecodeError(f"there is no constructor 0x{data[pos - 1]:02x}", offset=pos - 1)


def _null(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return None, pos


def _true(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return True, pos


def _false(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return False, pos


def _boolean(data: bytes, pos: int, state: State) -> tuple[object, int]:
    byte = data[pos]
    if byte > 1:
        raise DecodeError(f"a boolean is 0 or 1, not {byte}", offset=pos)
    return byte == 1, pos + 1


def _zero(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return 0, pos


def _unsigned8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return data[pos], pos + 1


def _unsigned16(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return int.from_bytes(data[pos : pos + 2], "big"), pos + 2


def _unsigned32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return int.from_bytes(data[pos : pos + 4], "big"), pos + 4


def _unsigned64(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return int.from_bytes(data[pos : pos + 8], "big"), pos + 8


def _signed8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    byte = data[pos]
    return byte - 256 if byte > 127 else byte, pos + 1


def _signed16(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return int.from_bytes(data[pos : pos + 2], "big", signed=True), pos + 2


def _signed32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return int.from_bytes(data[pos : pos + 4], "big", signed=True), pos + 4


def _signed64(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return int.from_bytes(data[pos : pos + 8], "big", signed=True), pos + 8


def _float(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return _FLOAT.unpack_from(data, pos)[0], pos + 4


def _double(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return _DOUBLE.unpack_from(data, pos)[0], pos + 8


def _decimal32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return from_bid(_exactly(data, pos, 4)), pos + 4


def _decimal64(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return from_bid(_exactly(data, pos, 8)), pos + 8


def _decimal128(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return from_bid(_exactly(data, pos, 16)), pos + 16


def _character(data: bytes, pos: int) -> str:
    number = int.from_bytes(data[pos : pos + 4], "big")
    if number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise DecodeError(f"a char is a Unicode character, not 0x{number:x}", offset=pos)
    return chr(number)


def _char(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return Char(_character(data, pos)), pos + 4


def _char_as_str(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return _character(data, pos), pos + 4


def _timestamp(data: bytes, pos: int, state: State) -> tuple[object, int]:
    milliseconds = int.from_bytes(data[pos : pos + 8], "big", signed=True)
    if _FIRST_DATETIME <= milliseconds <= _LAST_DATETIME:
        return EPOCH + dt.timedelta(milliseconds=milliseconds), pos + 8
    return Timestamp(milliseconds), pos + 8


def _uuid(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return uuid.UUID(bytes=_exactly(data, pos, 16)), pos + 16


def _binary8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start = pos + 1
    pos = start + data[pos]
    return data[start:pos], pos


def _binary32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start = pos + 4
    pos = start + int.from_bytes(data[pos:start], "big")
    return data[start:pos], pos


def _string8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start = pos + 1
    pos = start + data[pos]
    return data[start:pos].decode(), pos


def _string32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start = pos + 4
    pos = start + int.from_bytes(data[pos:start], "big")
    return data[start:pos].decode(), pos


def _string8_as_bytes(data: bytes, pos: int, state: State) -> tuple[object, int]:
    _, after = _string8(data, pos, state)
    return data[pos + 1 : after], after


def _string32_as_bytes(data: bytes, pos: int, state: State) -> tuple[object, int]:
    _, after = _string32(data, pos, state)
    return data[pos + 4 : after], after


def _symbol8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start = pos + 1
    pos = start + data[pos]
    return str.__new__(Symbol, data[start:pos].decode("ascii")), pos


def _symbol32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start = pos + 4
    pos = start + int.from_bytes(data[pos:start], "big")
    return str.__new__(Symbol, data[start:pos].decode("ascii")), pos


def _symbol8_as_bytes(data: bytes, pos: int, state: State) -> tuple[object, int]:
    _, after = _symbol8(data, pos, state)
    return data[pos + 1 : after], after


def _symbol32_as_bytes(data: bytes, pos: int, state: State) -> tuple[object, int]:
    _, after = _symbol32(data, pos, state)
    return data[pos + 4 : after], after


def bounds8(data: bytes, pos: int) -> tuple[int, int, int]:
    """Where the elements of a compound with a size and count of one byte each, at `pos`, start and end; the count."""
    return pos + 2, pos + 1 + data[pos], data[pos + 1]


def bounds32(data: bytes, pos: int) -> tuple[int, int, int]:
    """The same for a size and count of four bytes each."""
    size, count = _TWO_UINTS.unpack_from(data, pos)
    return pos + 8, pos + 4 + int(size), int(count)


def _list0(data: bytes, pos: int, state: State) -> tuple[object, int]:
    return [], pos


def _list8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds8(data, pos)
    return _list(data, start, end, count, state)


def _list32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds32(data, pos)
    return _list(data, start, end, count, state)


def _list(data: bytes, pos: int, end: int, count: int, state: State) -> tuple[object, int]:
    outer = state.enter(pos, end, count, 1)
    table = state.table
    items: list[object] = []
    for _ in range(count):
        item, pos = table[data[pos]](data, pos + 1, state)
        items.append(item)
    state.leave(pos, end, outer)
    return items, pos


def _map8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds8(data, pos)
    return _map(data, start, end, count, state)


def _map32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds32(data, pos)
    return _map(data, start, end, count, state)


def _map(data: bytes, pos: int, end: int, count: int, state: State) -> tuple[object, int]:
    start = pos
    outer = state.enter(pos, end, count, 1)
    if count % 2:
        raise DecodeError(f"a map of {count} elements: a key has no value", offset=pos)
    table = state.table
    entries: dict[object, object] = {}
    for _ in range(count // 2):
        key, pos = table[data[pos]](data, pos + 1, state)
        value, pos = table[data[pos]](data, pos + 1, state)
        entries[key] = value
    state.leave(pos, end, outer)
    # Keys of different wire types that Python calls equal, such as 1 and 1.0, count as the same: a dict cannot
    # hold both, and to lose one of them silently would be worse.
    if 2 * len(entries) != count:
        raise DecodeError("a key occurs twice in a map", offset=start)
    return entries, pos


def _array_elements(
    data: bytes, pos: int, end: int, count: int, state: State
) -> tuple[list[object], int, list[int | Symbol], int]:
    """The elements without their descriptors, the constructor, the descriptors from the outside in, and the end."""
    outer = state.enter(pos, end, count, 0)
    descriptors: list[int | Symbol] = []
    while data[pos] == DESCRIBED:
        state.descend(pos)
        descriptor, pos = read_descriptor(data, pos + 1, state)
        descriptors.append(descriptor)
    code = data[pos]
    pos += 1
    if code >> 4 == 4:
        state.zero_width += count
        if state.zero_width > MAX_ZERO_WIDTH:
            raise DecodeError(f"more than {MAX_ZERO_WIDTH} array elements without any bytes", offset=pos)
    elif count > end - pos:
        raise DecodeError(f"{count} elements cannot be in {end - pos} bytes", offset=pos)
    read = state.table[code]
    if read is _unknown:
        _unknown(data, pos, state)
    items: list[object] = []
    for _ in range(count):
        item, pos = read(data, pos, state)
        items.append(item)
    state.depth -= len(descriptors)
    state.leave(pos, end, outer)
    return items, code, descriptors, pos


def _array(data: bytes, pos: int, end: int, count: int, state: State) -> tuple[object, int]:
    table = state.table
    if data[pos] == DESCRIBED:
        state.table = _EXACT
    items, code, descriptors, pos = _array_elements(data, pos, end, count, state)
    state.table = table
    kind: ElementType = _TYPE_OF_CODE[code]
    for descriptor in reversed(descriptors):
        kind = Described(descriptor, kind)
    return Array(items, kind), pos


def _array8(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds8(data, pos)
    return _array(data, start, end, count, state)


def _array32(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds32(data, pos)
    return _array(data, start, end, count, state)


def _array8_as_list(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds8(data, pos)
    items, _, _, pos = _array_elements(data, start, end, count, state)
    return items, pos


def _array32_as_list(data: bytes, pos: int, state: State) -> tuple[object, int]:
    start, end, count = bounds32(data, pos)
    items, _, _, pos = _array_elements(data, start, end, count, state)
    return items, pos


def read_descriptor(data: bytes, pos: int, state: State) -> tuple[int | Symbol, int]:
    """The descriptor at `pos`: a ulong or a symbol, and nothing else, which leaves no way to nest (spec 1.2.2)."""
    code = data[pos]
    if code not in (0x53, 0xA3, 0x80, 0x44, 0xB3):
        raise DecodeError(f"a descriptor is a ulong or a symbol, not of constructor 0x{code:02x}", offset=pos)
    descriptor, after = MODERN.table[code](data, pos + 1, state)
    return cast("int | Symbol", descriptor), after


def read_described(data: bytes, pos: int, state: State) -> tuple[object, int]:
    """A described value of any kind, its parts with their exact wire types."""
    descriptor, pos = read_descriptor(data, pos, state)
    return read_described_value(descriptor, data, pos, state)


def read_described_value(descriptor: int | Symbol, data: bytes, pos: int, state: State) -> tuple[object, int]:
    """What is left of a described value once its descriptor is read."""
    state.descend(pos)
    table = state.table
    state.table = _EXACT
    value, pos = _EXACT[data[pos]](data, pos + 1, state)
    state.table = table
    state.depth -= 1
    return Described(descriptor, value), pos


def _described_as_value(data: bytes, pos: int, state: State) -> tuple[object, int]:
    _, pos = read_descriptor(data, pos, state)
    state.descend(pos)
    value, pos = state.table[data[pos]](data, pos + 1, state)
    state.depth -= 1
    return value, pos


def _exactly(data: bytes, pos: int, size: int) -> bytes:
    piece = data[pos : pos + size]
    if len(piece) < size:
        raise IndexError
    return piece


def _typed(read: Decoder, cls: Callable[[Any], object]) -> Decoder:
    def read_typed(data: bytes, pos: int, state: State) -> tuple[object, int]:
        value, pos = read(data, pos, state)
        return cls(value), pos

    return read_typed


def decoder_table(
    *,
    legacy: bool = False,
    exact: bool = False,
    described: Decoder = read_described,
) -> list[Decoder]:
    """The decoding function of each constructor byte.

    Args:
        legacy: text as bytes, timestamps as int, arrays as list.
        exact: numbers keep their wire type (`UInt(1)` instead of `1`).
        described: what to do with described values.
    """
    table: list[Decoder] = [_unknown] * 256
    table[DESCRIBED] = described
    table[NULL] = _null
    table[0x41] = _true
    table[0x42] = _false
    table[0x43] = _zero
    table[0x44] = _zero
    table[0x45] = _list0
    table[0x50] = _unsigned8
    table[0x51] = _signed8
    table[0x52] = _unsigned8
    table[0x53] = _unsigned8
    table[0x54] = _signed8
    table[0x55] = _signed8
    table[0x56] = _boolean
    table[0x60] = _unsigned16
    table[0x61] = _signed16
    table[0x70] = _unsigned32
    table[0x71] = _signed32
    table[0x72] = _float
    table[0x73] = _char
    table[0x74] = _decimal32
    table[0x80] = _unsigned64
    table[0x81] = _signed64
    table[0x82] = _double
    table[0x83] = _timestamp
    table[0x84] = _decimal64
    table[0x94] = _decimal128
    table[0x98] = _uuid
    table[0xA0] = _binary8
    table[0xA1] = _string8
    table[0xA3] = _symbol8
    table[0xB0] = _binary32
    table[0xB1] = _string32
    table[0xB3] = _symbol32
    table[0xC0] = _list8
    table[0xC1] = _map8
    table[0xD0] = _list32
    table[0xD1] = _map32
    table[0xE0] = _array8
    table[0xF0] = _array32
    if legacy:
        table[DESCRIBED] = _described_as_value
        table[0x73] = _char_as_str
        table[0x83] = _signed64
        table[0xA1] = _string8_as_bytes
        table[0xA3] = _symbol8_as_bytes
        table[0xB1] = _string32_as_bytes
        table[0xB3] = _symbol32_as_bytes
        table[0xE0] = _array8_as_list
        table[0xF0] = _array32_as_list
    if exact:
        kinds: list[tuple[str, Callable[[Any], object]]] = [
            ("ubyte", UByte),
            ("ushort", UShort),
            ("uint", UInt),
            ("ulong", ULong),
            ("byte", Byte),
            ("short", Short),
            ("int", Int),
            ("float", Float),
            ("decimal32", Decimal32),
            ("decimal64", Decimal64),
        ]
        for name, cls in kinds:
            for code in CODES[name]:
                table[code] = _typed(table[code], cls)
    return table


class Dialect:
    """How values appear in Python: one of `MODERN` and `LEGACY`."""

    __slots__ = ("name", "table")

    def __init__(self, name: str, table: list[Decoder]) -> None:
        self.name = name
        self.table = table

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> str:
        return self.name


_EXACT: Final = decoder_table(exact=True)

#: str, Symbol, aware datetime, Array, Described.
MODERN: Final = Dialect("MODERN", decoder_table())

#: Strings, symbols and binaries all as bytes, timestamps as int (milliseconds), char as str, described values
#: without their descriptor, arrays as list: what the original uamqp gave.
LEGACY: Final = Dialect("LEGACY", decoder_table(legacy=True))


def guarded(read: Decoder, data: bytes, pos: int, end: int, table: list[Decoder]) -> tuple[object, int]:
    """Run `read` on the bytes from `pos` up to `end`: the one place where all that can go wrong becomes DecodeError."""
    if end > len(data):
        raise DecodeError("the bytes end too early", offset=len(data))
    try:
        value, after = read(data, pos, State(end, table))
    except (IndexError, struct.error):
        raise DecodeError("the bytes end too early", offset=end) from None
    except UnicodeDecodeError as error:
        where = data.find(error.object, pos) + error.start
        kind = "a symbol that is not ASCII" if error.encoding == "ascii" else "a string that is not UTF-8"
        raise DecodeError(kind, offset=where) from None
    except TypeError:
        raise DecodeError("a list, map or array is the key of a map", offset=pos) from None
    if after > end:
        raise DecodeError("the bytes end too early", offset=end)
    return value, after


def read_value(data: bytes, pos: int, state: State) -> tuple[object, int]:
    """The value whose constructor is at `pos`."""
    return state.table[data[pos]](data, pos + 1, state)


def decode(data: bytes, pos: int = 0, end: int | None = None, dialect: Dialect = MODERN) -> tuple[object, int]:
    """The value at `pos` and the position behind it.

    Args:
        data: may hold more than the value, before and after it.
        pos: where the constructor of the value is.
        end: the value must not go beyond this position; None for the end of `data`.
        dialect: how values appear in Python.

    Raises:
        DecodeError: the bytes are not a valid value, or one over the limits of this module.
    """
    return guarded(read_value, data, pos, len(data) if end is None else end, dialect.table)


def decode_all(data: bytes, dialect: Dialect = MODERN) -> object:
    """The one value that `data` consists of.

    Raises:
        DecodeError: as with `decode`, or there are bytes behind the value.
    """
    value, pos = decode(data, 0, None, dialect)
    if pos != len(data):
        raise DecodeError(f"{len(data) - pos} bytes are left behind the value", offset=pos)
    return value


def _width_of(code: int) -> int:
    """Bytes behind the constructor; -1 or -4 where that many bytes hold the size, -2 for no such constructor."""
    if code not in _TYPE_OF_CODE:
        return -2
    return {4: 0, 5: 1, 6: 2, 7: 4, 8: 8, 9: 16, 0xA: -1, 0xC: -1, 0xE: -1}.get(code >> 4, -4)


_WIDTHS: Final = [_width_of(code) for code in range(256)]


def skip(data: bytes, pos: int, end: int) -> int:
    """The position behind the value at `pos`, found from constructors and sizes, without looking inside.

    Raises:
        DecodeError: no such constructor, a descriptor that is neither ulong nor symbol, too many descriptors, or
            the value does not end by `end`.
    """
    start = pos
    depth = 0
    if end > len(data):
        raise DecodeError("the bytes end too early", offset=len(data))
    while pos < end and data[pos] == DESCRIBED:
        depth += 1
        if depth > MAX_DEPTH:
            raise DecodeError(f"nested more than {MAX_DEPTH} levels deep", offset=pos)
        _, pos = guarded(read_descriptor, data, pos + 1, end, MODERN.table)
    if pos >= end:
        raise DecodeError("the bytes end too early", offset=end)
    code = data[pos]
    width = _WIDTHS[code]
    pos += 1
    if width == -1:
        pos += 1 + int.from_bytes(data[pos : pos + 1], "big")
    elif width == -4:
        pos += 4 + int.from_bytes(data[pos : pos + 4], "big")
    elif width == -2:
        raise DecodeError(f"there is no constructor 0x{code:02x}", offset=pos - 1)
    else:
        pos += width
    if pos > end:
        raise DecodeError("a value is larger than what surrounds it", offset=start)
    return pos


# --- encoding -------------------------------------------------------------------------------------------------

#: Takes the value and the depth at which it lies; gives its bytes.
Encoder: TypeAlias = Callable[[Any, int], bytes]


def _wrong(kind: str, value: object) -> EncodeError:
    return EncodeError(f"{kind} expected, not {type(value).__name__}")


def _encode_null(value: object, depth: int) -> bytes:
    if value is not None:
        raise _wrong("None", value)
    return b"\x40"


def _encode_boolean(value: object, depth: int) -> bytes:
    if value is True:
        return b"\x41"
    if value is False:
        return b"\x42"
    raise _wrong("bool", value)


#: Lowest and highest number, constructor, width, constructor of the one-byte form or 0, of zero or 0.
_INTEGERS: Final[dict[str, tuple[int, int, int, int, int, int]]] = {
    "ubyte": (0, 0xFF, 0x50, 1, 0, 0),
    "ushort": (0, 0xFFFF, 0x60, 2, 0, 0),
    "uint": (0, 0xFFFF_FFFF, 0x70, 4, 0x52, 0x43),
    "ulong": (0, 0xFFFF_FFFF_FFFF_FFFF, 0x80, 8, 0x53, 0x44),
    "byte": (-0x80, 0x7F, 0x51, 1, 0, 0),
    "short": (-0x8000, 0x7FFF, 0x61, 2, 0, 0),
    "int": (-0x8000_0000, 0x7FFF_FFFF, 0x71, 4, 0x54, 0),
    "long": (-0x8000_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF, 0x81, 8, 0x55, 0),
}


def _checked_integer(kind: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(f"int for {kind}", value)
    if not low <= value <= high:
        raise EncodeError(f"{kind} is {low} to {high}, not {value}")
    return value


def _integer_encoder(kind: str) -> Encoder:
    low, high, code, width, small, zero = _INTEGERS[kind]
    signed = low < 0

    def encode_integer(value: object, depth: int) -> bytes:
        number = _checked_integer(kind, value, low, high)
        if zero and number == 0:
            return bytes((zero,))
        if small and _fits_byte(number, signed):
            return bytes((small, number & 0xFF))
        return bytes((code,)) + number.to_bytes(width, "big", signed=signed)

    return encode_integer


def _fits_byte(number: int, signed: bool) -> bool:
    return -128 <= number <= 127 if signed else number <= 255


def _encode_int(value: int, depth: int) -> bytes:
    if -128 <= value <= 127:
        return bytes((0x55, value & 0xFF))
    if -0x8000_0000_0000_0000 <= value <= 0x7FFF_FFFF_FFFF_FFFF:
        return b"\x81" + value.to_bytes(8, "big", signed=True)
    if 0 < value <= 0xFFFF_FFFF_FFFF_FFFF:
        return b"\x80" + value.to_bytes(8, "big")
    raise EncodeError("an int of more than 64 bits")


def _encode_float(value: object, depth: int) -> bytes:
    if not isinstance(value, (float, int)) or isinstance(value, bool):
        raise _wrong("float", value)
    try:
        return b"\x72" + _FLOAT.pack(float(value))
    except OverflowError:
        raise EncodeError("too large for a float of 32 bits") from None


def _encode_double(value: object, depth: int) -> bytes:
    if not isinstance(value, (float, int)) or isinstance(value, bool):
        raise _wrong("float", value)
    try:
        return b"\x82" + _DOUBLE.pack(float(value))
    except OverflowError:
        raise EncodeError("too large for a float of 64 bits") from None


def _decimal_encoder(code: int, width: int) -> Encoder:
    def encode_decimal(value: object, depth: int) -> bytes:
        if not isinstance(value, Decimal):
            raise _wrong("Decimal", value)
        try:
            return bytes((code,)) + to_bid(value, width)
        except ValueError as error:
            raise EncodeError(str(error)) from None

    return encode_decimal


def _encode_char(value: object, depth: int) -> bytes:
    if not isinstance(value, str):
        raise _wrong("str of one character", value)
    try:
        return b"\x73" + ord(Char(value)).to_bytes(4, "big")
    except ValueError as error:
        raise EncodeError(str(error)) from None


def _encode_timestamp(value: object, depth: int) -> bytes:
    if isinstance(value, dt.datetime):
        if value.utcoffset() is None:
            raise EncodeError("a datetime without a time zone is not a point in time: give it a tzinfo")
        milliseconds = (value - EPOCH) // _MILLISECOND
    else:
        milliseconds = _checked_integer("timestamp", value, Timestamp.LOW, Timestamp.HIGH)
    return b"\x83" + milliseconds.to_bytes(8, "big", signed=True)


def _encode_uuid(value: object, depth: int) -> bytes:
    if not isinstance(value, uuid.UUID):
        raise _wrong("UUID", value)
    return b"\x98" + value.bytes


def _binary_bytes(value: object) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise _wrong("bytes", value)
    return bytes(value)


def _string_bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise _wrong("str", value)
    try:
        return str.encode(value)
    except UnicodeEncodeError:
        raise EncodeError("a str with half of a surrogate pair, which UTF-8 cannot hold") from None


def _symbol_bytes(value: object) -> bytes:
    if not isinstance(value, str):
        raise _wrong("Symbol or str", value)
    try:
        return str.encode(value, "ascii")
    except UnicodeEncodeError:
        raise EncodeError(f"a symbol is ASCII text, not {str(value)!r}") from None


def _sized(code8: int, code32: int, raw: bytes) -> bytes:
    size = len(raw)
    if size <= 255:
        return bytes((code8, size)) + raw
    if size > _MAX_SIZE:
        raise EncodeError(f"{size} bytes, a value has at most {_MAX_SIZE}")
    return b"".join((bytes((code32,)), size.to_bytes(4, "big"), raw))


def _encode_binary(value: object, depth: int) -> bytes:
    return _sized(0xA0, 0xB0, _binary_bytes(value))


def _encode_string(value: object, depth: int) -> bytes:
    return _sized(0xA1, 0xB1, _string_bytes(value))


def _encode_symbol(value: object, depth: int) -> bytes:
    return _sized(0xA3, 0xB3, _symbol_bytes(value))


def check_room(count: int, depth: int) -> None:
    """What this library would refuse to read, it does not write."""
    if depth >= MAX_DEPTH:
        raise EncodeError(f"nested more than {MAX_DEPTH} levels deep")
    if count > MAX_ELEMENTS:
        raise EncodeError(f"{count} elements, at most {MAX_ELEMENTS} are sent in one value")


def _list_parts(value: object, depth: int) -> list[bytes]:
    if not isinstance(value, (list, tuple)):
        raise _wrong("list", value)
    check_room(len(value), depth)
    return [encode_at(item, depth + 1) for item in value]


def _map_parts(value: object, depth: int) -> list[bytes]:
    if not isinstance(value, dict):
        raise _wrong("dict", value)
    check_room(2 * len(value), depth)
    return [encode_at(part, depth + 1) for entry in value.items() for part in entry]


def list_of(parts: list[bytes]) -> bytes:
    """The list of elements that are encoded already."""
    return _compound(0xC0, 0xD0, parts) if parts else b"\x45"


def map_of(parts: list[bytes]) -> bytes:
    """The map of keys and values in turn that are encoded already."""
    return _compound(0xC1, 0xD1, parts)


def _compound(code8: int, code32: int, parts: list[bytes]) -> bytes:
    count = len(parts)
    body = b"".join(parts)
    size = len(body)
    if size < 255 and count <= 255:
        return bytes((code8, size + 1, count)) + body
    if size > _MAX_SIZE - 4:
        raise EncodeError(f"{size} bytes, a value has at most {_MAX_SIZE}")
    return b"".join((bytes((code32,)), _TWO_UINTS.pack(size + 4, count), body))


def _encode_list(value: object, depth: int) -> bytes:
    return list_of(_list_parts(value, depth))


def _encode_map(value: object, depth: int) -> bytes:
    return map_of(_map_parts(value, depth))


def _encode_described(value: Described, depth: int) -> bytes:
    check_room(1, depth)
    return b"\x00" + encode_descriptor(value.descriptor) + encode_at(value.value, depth + 1)


def encode_descriptor(descriptor: int | Symbol) -> bytes:
    """A descriptor: a ulong or a symbol."""
    if isinstance(descriptor, int):
        return encoder("ulong")(descriptor, 0)
    return _encode_symbol(descriptor, 0)


def _encode_array(value: object, depth: int) -> bytes:
    if not isinstance(value, Array):
        raise _wrong("Array", value)
    check_room(len(value), depth)
    constructor, payloads = _elements(value.type, value, depth + 1)
    body = b"".join((constructor, *payloads))
    if len(body) < 255 and len(value) <= 255:
        return bytes((0xE0, len(body) + 1, len(value))) + body
    if len(body) > _MAX_SIZE - 4:
        raise EncodeError(f"{len(body)} bytes, a value has at most {_MAX_SIZE}")
    return b"".join((b"\xf0", _TWO_UINTS.pack(len(body) + 4, len(value)), body))


def _elements(kind: ElementType, items: list[Any], depth: int) -> tuple[bytes, list[bytes]]:
    """The shortest constructor that suits all elements, and each element without it."""
    if isinstance(kind, Described):
        check_room(1, depth)
        constructor, payloads = _elements(kind.value, items, depth + 1)
        return b"\x00" + encode_descriptor(kind.descriptor) + constructor, payloads
    if kind in _INTEGERS:
        return _integer_elements(kind, items)
    if kind in _VARIABLE:
        return _sized_elements(CODES[kind], [_VARIABLE[kind](item) for item in items], [])
    if kind in ("list", "map"):
        parts = _list_parts if kind == "list" else _map_parts
        elements = [parts(item, depth) for item in items]
        return _sized_elements(CODES[kind][-2:], [b"".join(e) for e in elements], [len(e) for e in elements])
    if kind == "array":
        return _array_of_arrays(items, depth)
    if kind == "null" and len(items) > MAX_ZERO_WIDTH:
        raise EncodeError(f"{len(items)} nulls, an array has at most {MAX_ZERO_WIDTH} elements without any bytes")
    if kind == "boolean":
        # The forms for true and false have no bytes to tell them apart in an array.
        return b"\x56", [b"\x01" if _encode_boolean(item, depth) == b"\x41" else b"\x00" for item in items]
    return bytes(CODES[kind]), [encoder(kind)(item, depth)[1:] for item in items]


def _integer_elements(kind: str, items: list[Any]) -> tuple[bytes, list[bytes]]:
    low, high, code, width, small, _ = _INTEGERS[kind]
    signed = low < 0
    numbers = [_checked_integer(kind, item, low, high) for item in items]
    if small and all(_fits_byte(number, signed) for number in numbers):
        code, width = small, 1
    return bytes((code,)), [number.to_bytes(width, "big", signed=signed) for number in numbers]


def _sized_elements(codes: tuple[int, ...], bodies: list[bytes], counts: list[int]) -> tuple[bytes, list[bytes]]:
    """Elements with a size in front, and a count as well where there are counts."""
    longest = 254 if counts else 255
    small = all(len(body) <= longest for body in bodies) and all(count <= 255 for count in counts)
    width = 1 if small else 4
    if counts:
        heads = [
            (len(body) + width).to_bytes(width, "big") + count.to_bytes(width, "big")
            for body, count in zip(bodies, counts, strict=True)
        ]
    else:
        heads = [len(body).to_bytes(width, "big") for body in bodies]
    return bytes((codes[0] if width == 1 else codes[1],)), [h + b for h, b in zip(heads, bodies, strict=True)]


def _array_of_arrays(items: list[Any], depth: int) -> tuple[bytes, list[bytes]]:
    encoded = [_encode_array(item, depth) for item in items]
    if all(element[0] == 0xE0 for element in encoded):
        return b"\xe0", [element[1:] for element in encoded]
    payloads = []
    for element in encoded:
        if element[0] == 0xE0:
            payloads.append(_TWO_UINTS.pack(element[1] + 3, element[2]) + element[3:])
        else:
            payloads.append(element[1:])
    return b"\xf0", payloads


def _encode_encodable(value: Encodable, depth: int) -> bytes:
    return value.encode_at(depth)


_VARIABLE: Final[dict[str, Callable[[object], bytes]]] = {
    "binary": _binary_bytes,
    "string": _string_bytes,
    "symbol": _symbol_bytes,
}

_ENCODERS: Final[dict[str, Encoder]] = {
    "null": _encode_null,
    "boolean": _encode_boolean,
    "float": _encode_float,
    "double": _encode_double,
    "decimal32": _decimal_encoder(0x74, 4),
    "decimal64": _decimal_encoder(0x84, 8),
    "decimal128": _decimal_encoder(0x94, 16),
    "char": _encode_char,
    "timestamp": _encode_timestamp,
    "uuid": _encode_uuid,
    "binary": _encode_binary,
    "string": _encode_string,
    "symbol": _encode_symbol,
    "list": _encode_list,
    "map": _encode_map,
    "array": _encode_array,
}
for _name in _INTEGERS:
    _ENCODERS[_name] = _integer_encoder(_name)

_BY_CLASS: Final[dict[type, Encoder]] = {cls: _ENCODERS[name] for cls, name in TYPE_NAMES.items()}
_BY_CLASS[int] = _encode_int
_BY_CLASS[Described] = _encode_described
_BY_CLASS[Encodable] = _encode_encodable


def encoder(kind: str) -> Encoder:
    """What encodes values as the primitive type of that name, and raises EncodeError for all that does not fit."""
    return _ENCODERS[kind]


def encode_at(value: object, depth: int) -> bytes:
    """The bytes of a value that lies inside `depth` compound values."""
    write = _BY_CLASS.get(type(value))
    if write is None:
        write = _encoder_of_base(type(value))
    return write(value, depth)


def _encoder_of_base(cls: type) -> Encoder:
    for base in cls.__mro__:
        if base in _BY_CLASS:
            return _BY_CLASS[base]
    raise EncodeError(f"AMQP has no type for {cls.__name__}")


def encode(value: object) -> bytes:
    """The bytes of one value; what becomes what is said at the top of this module.

    Raises:
        EncodeError: AMQP, or this library's limits on depth and number of elements, cannot hold the value.
    """
    return encode_at(value, 0)
