"""Values to bytes, each in its shortest encoding."""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, TypeAlias

from ..exceptions import EncodeError
from .bid import to_bid
from .constructors import CODES, MAX_DEPTH, MAX_ELEMENTS, MAX_SIZE, MAX_ZERO_WIDTH
from .values import EPOCH, MILLISECOND, TYPE_NAMES, Array, Char, Described, ElementType, Encodable, Symbol, Timestamp

__all__ = ["encode"]

_FLOAT: Final = struct.Struct("!f")
_DOUBLE: Final = struct.Struct("!d")
_TWO_UINTS: Final = struct.Struct("!II")

#: Constructors of lists, maps and arrays.
_NO_KEYS: Final = frozenset(b"\x45\xc0\xd0\xc1\xd1\xe0\xf0")

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
        milliseconds = (value - EPOCH) // MILLISECOND
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
    if size > MAX_SIZE:
        raise EncodeError(f"{size} bytes, a value has at most {MAX_SIZE}")
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
    parts = [encode_at(part, depth + 1) for entry in value.items() for part in entry]
    for key in parts[::2]:
        if key[0] in _NO_KEYS:
            # Python's dicts cannot have them, so nobody could read it.
            raise EncodeError("a list, map or array is the key of a map")
    return parts


def list_of(parts: list[bytes]) -> bytes:
    """The list of elements that are encoded already."""
    return _compound(0xC0, 0xD0, parts) if parts else b"\x45"


def map_of(parts: list[bytes]) -> bytes:
    """The map of keys and values in turn that are encoded already."""
    return _compound(0xC1, 0xD1, parts)


def _compound(code8: int, code32: int, parts: list[bytes]) -> bytes:
    size = sum(map(len, parts))
    return b"".join((_head(code8, code32, size, len(parts)), *parts))


def _head(code8: int, code32: int, size: int, count: int) -> bytes:
    """What comes before `count` elements that take `size` bytes."""
    if size < 255 and count <= 255:
        return bytes((code8, size + 1, count))
    if size > MAX_SIZE - 4:
        raise EncodeError(f"{size} bytes, a value has at most {MAX_SIZE}")
    return bytes((code32,)) + _TWO_UINTS.pack(size + 4, count)


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
    size = len(constructor) + sum(map(len, payloads))
    return b"".join((_head(0xE0, 0xF0, size, len(value)), constructor, *payloads))


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
    """The bytes of one value; what becomes what is said in `uamqp.codec.primitives`.

    Raises:
        EncodeError: AMQP, or this library's limits on depth and number of elements, cannot hold the value.
    """
    return encode_at(value, 0)
