"""Straight-line twins of what is in nearly every message: a lone data section, properties, application properties.

As in `hot`: they read what peers really send and answer None to all else, of which the strict decoder knows more.
They may raise IndexError, struct.error or UnicodeDecodeError; that too means: ask the strict decoder.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from .decoding import bounds32
from .values import EPOCH, FIRST_DATETIME, LAST_DATETIME, MILLISECOND, Symbol

_u32: Final[Callable[[bytes, int], tuple[int]]] = Struct(">I").unpack_from
_i32: Final[Callable[[bytes, int], tuple[int]]] = Struct(">i").unpack_from
_i64: Final[Callable[[bytes, int], tuple[int]]] = Struct(">q").unpack_from

#: Section and constructor of a data section of up to 255 bytes.
_DATA8: Final = b"\x00\x53\x75\xa0"


def lone_data(payload: bytes) -> bytes | None:
    """The body of a message that is one short data section and nothing else, the commonest of all; None for others."""
    size = len(payload) - 5
    return payload[5:] if size >= 0 and payload[4] == size and payload[:4] == _DATA8 else None


#: What the straight way takes at each place of the properties, beside null (spec 3.2.4).
_PROPERTIES: Final = (0xA1, 0xA0, 0xA1, 0xA1, 0xA1, 0xA1, 0xA3, 0xA3, 0x83, 0x83, 0xA1, 0x70, 0xA1)
#: The same for lists of so many fields, and what stands for those that are not in the list.
_FIRST_PROPERTIES: Final[list[tuple[int, ...]]] = [_PROPERTIES[:count] for count in range(14)]
_OTHERS: Final[list[list[Any]]] = [[None] * (13 - count) for count in range(14)]


#: Symbols by the bytes of their names: those of one application are few (spec 1.6.21).
_symbols: Final[dict[bytes, Symbol]] = {}
_MOST_SYMBOLS: Final = 256


def _new_symbol(name: bytes) -> Symbol:
    symbol = Symbol(name.decode("ascii"))
    if len(_symbols) >= _MOST_SYMBOLS:
        _symbols.clear()
    _symbols[name] = symbol
    return symbol


def decode_properties(data: bytes, pos: int, end: int, as_bytes: bool = False) -> list[Any] | None:
    """The thirteen fields of the section properties; ids as text only, sizes of one byte (spec 3.2.4).

    With `as_bytes`, text is given as the bytes that it came in, and times in milliseconds.
    """
    code = data[pos]
    if code == 0xC0:
        stop = pos + 2 + data[pos + 1]
        count = data[pos + 2]
        pos += 3
    elif code == 0xD0:
        pos, stop, count = bounds32(data, pos + 1)
    else:
        return None
    if stop != end or count > 13:
        return None
    fields: list[Any] = []
    for wanted in _FIRST_PROPERTIES[count]:
        code = data[pos]
        if code != wanted:
            if code != 0x40:
                return None
            fields.append(None)
            pos += 1
        elif code == 0xA1:
            start = pos + 2
            pos = start + data[pos + 1]
            raw = data[start:pos]
            if as_bytes and raw.isascii():
                fields.append(raw)
            else:
                # Also where it is not kept: it must be text.
                text = raw.decode()
                fields.append(raw if as_bytes else text)
        elif code == 0xA3:
            start = pos + 2
            pos = start + data[pos + 1]
            raw = data[start:pos]
            symbol = _symbols.get(raw) or _new_symbol(raw)
            fields.append(raw if as_bytes else symbol)
        elif code == 0x83:
            milliseconds = _i64(data, pos + 1)[0]
            pos += 9
            if as_bytes:
                fields.append(milliseconds)
            elif FIRST_DATETIME <= milliseconds <= LAST_DATETIME:
                fields.append(EPOCH + milliseconds * MILLISECOND)
            else:
                return None
        elif code == 0xA0:
            start = pos + 2
            pos = start + data[pos + 1]
            fields.append(data[start:pos])
        else:
            fields.append(_u32(data, pos + 1)[0])
            pos += 5
    if pos != stop:
        return None
    fields += _OTHERS[count]
    return fields


def decode_text_map(data: bytes, pos: int, end: int, as_bytes: bool) -> dict[object, object] | None:
    """A small map of short strings to short strings, booleans, ints, longs and nulls: most application properties.

    With `as_bytes`, strings are given as the bytes that they came in.
    """
    if data[pos] != 0xC1:
        return None
    stop = pos + 2 + data[pos + 1]
    count = data[pos + 2]
    pos += 3
    if stop != end:
        return None
    entries: dict[object, object] = {}
    while pos < stop:
        if data[pos] != 0xA1:
            return None
        start = pos + 2
        pos = start + data[pos + 1]
        raw = data[start:pos]
        key: object = raw
        if not as_bytes or not raw.isascii():
            text = raw.decode()
            key = raw if as_bytes else text
        code = data[pos]
        value: object = None
        if code == 0xA1:
            start = pos + 2
            pos = start + data[pos + 1]
            raw = data[start:pos]
            value = raw
            if not as_bytes or not raw.isascii():
                text = raw.decode()
                value = raw if as_bytes else text
        elif code == 0x41 or code == 0x42:
            value = code == 0x41
            pos += 1
        elif code == 0x54 or code == 0x55:
            number = data[pos + 1]
            value = number - 256 if number > 127 else number
            pos += 2
        elif code == 0x71:
            value = _i32(data, pos + 1)[0]
            pos += 5
        elif code == 0x81:
            value = _i64(data, pos + 1)[0]
            pos += 9
        elif code == 0x40:
            pos += 1
        else:
            return None
        entries[key] = value
    # A key that occurs twice is for the strict decoder to complain about.
    return entries if pos == stop and 2 * len(entries) == count else None
