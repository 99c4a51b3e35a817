"""Bytes to values.

Decoding goes through a table of 256 functions, one for each constructor byte. Reads have no side effects, so a
function may run over the end of its compound: each compound is checked once, on where the last element ended.
What could cost more than the bytes are worth (counts, depth, elements of width zero, nested sizes) is checked
before any loop, so that the cost is linear in the bytes for any input.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Any, Final, TypeAlias, cast

from ..exceptions import DecodeError
from .bid import from_bid
from .constructors import CODES, DESCRIBED, MAX_DEPTH, MAX_ELEMENTS, MAX_ZERO_WIDTH, NULL
from .values import (
    EPOCH,
    FIRST_DATETIME,
    LAST_DATETIME,
    MILLISECOND,
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Described,
    ElementType,
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

__all__ = ["LEGACY", "MODERN", "Dialect", "decode", "decode_all", "skip"]

_FLOAT: Final = struct.Struct("!f")
_DOUBLE: Final = struct.Struct("!d")
_TWO_UINTS: Final = struct.Struct("!II")

_TYPE_OF_CODE: Final[dict[int, str]] = {code: name for name, codes in CODES.items() for code in codes}


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
    if FIRST_DATETIME <= milliseconds <= LAST_DATETIME:
        return EPOCH + milliseconds * MILLISECOND, pos + 8
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


def _fault(error: Exception, data: bytes, pos: int) -> DecodeError:
    """What is wrong with the bytes from `pos` on, that reading them raised this."""
    if isinstance(error, DecodeError):
        return error
    if isinstance(error, UnicodeDecodeError):
        where = data.find(error.object, pos) + error.start
        kind = "a symbol that is not ASCII" if error.encoding == "ascii" else "a string that is not UTF-8"
        return DecodeError(kind, offset=where)
    if isinstance(error, TypeError):
        return DecodeError("a list, map or array is the key of a map", offset=pos)
    return DecodeError("the bytes end too early", offset=len(data))


def guarded(read: Decoder, data: bytes, pos: int, end: int, table: list[Decoder]) -> tuple[object, int]:
    """Run `read` on the bytes from `pos` up to `end`: the one place where all that can go wrong becomes DecodeError."""
    if end > len(data):
        raise DecodeError("the bytes end too early", offset=len(data))
    try:
        value, after = read(data, pos, State(end, table))
        if after <= end:
            return value, after
        fault = DecodeError("the bytes end too early", offset=end)
    except (DecodeError, IndexError, struct.error, UnicodeDecodeError, TypeError) as error:
        fault = _fault(error, data, pos)
    if end < len(data):
        # What reaches beyond the end may look like anything: the fault is told without what lies there.
        return guarded(read, data[:end], pos, end, table)
    raise fault


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
