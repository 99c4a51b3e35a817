"""Python values for the AMQP types that Python has no type of its own for, or where the wire type matters.

Plain Python values suffice for most: see `uamqp.codec.primitives` for what becomes what.
"""

from __future__ import annotations

import datetime as dt
import struct
import uuid
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, ClassVar, Final, Self, TypeAlias

from .bid import to_bid

__all__ = [
    "EPOCH",
    "FIRST_DATETIME",
    "LAST_DATETIME",
    "MILLISECOND",
    "Array",
    "Byte",
    "Char",
    "Decimal32",
    "Decimal64",
    "Described",
    "Encodable",
    "Float",
    "Int",
    "Long",
    "Short",
    "Symbol",
    "Timestamp",
    "UByte",
    "UInt",
    "ULong",
    "UShort",
]

EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND: Final = dt.timedelta(milliseconds=1)
#: The milliseconds that a datetime can hold.
FIRST_DATETIME: Final = -62_135_596_800_000
LAST_DATETIME: Final = 253_402_300_799_999


class Encodable:
    """A value that knows its own wire form."""

    __slots__ = ()

    def encode_at(self, depth: int) -> bytes:
        """The bytes of this value where it lies inside `depth` compound values."""
        raise NotImplementedError


class Symbol(str):
    """A name from a constrained domain: ASCII only (spec 1.6.21). Equal to the plain str of the same text.

    Raises:
        ValueError: the text is not ASCII.
        TypeError: it is not a text.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not isinstance(text, str):
            raise TypeError(f"a symbol is a str, not {type(text).__name__}")
        if not text.isascii():
            raise ValueError(f"a symbol is ASCII text, not {text!r}")
        return str.__new__(cls, text)

    def __repr__(self) -> str:
        return f"Symbol({str.__repr__(self)})"

    def __str__(self) -> str:
        return str.__str__(self)


class Char(str):
    """One Unicode character (spec 1.6.16).

    Raises:
        ValueError: not exactly one character, or half of a surrogate pair.
    """

    __slots__ = ()

    def __new__(cls, character: str) -> Self:
        if len(character) != 1 or "\ud800" <= character <= "\udfff":
            raise ValueError(f"a char is one Unicode character, not {character!r}")
        return str.__new__(cls, character)

    def __repr__(self) -> str:
        return f"Char({str.__repr__(self)})"

    def __str__(self) -> str:
        return str.__str__(self)


class _Integer(int):
    """An int with the range of its wire type.

    Raises:
        ValueError: the number is out of range.
    """

    __slots__ = ()
    LOW: ClassVar[int]
    HIGH: ClassVar[int]

    def __new__(cls, number: int) -> Self:
        if not cls.LOW <= number <= cls.HIGH:
            raise ValueError(f"{cls.__name__} is {cls.LOW} to {cls.HIGH}, not {number}")
        return int.__new__(cls, number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int.__repr__(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)


class UByte(_Integer):
    """8 bits without sign (spec 1.6.3)."""

    __slots__ = ()
    LOW = 0
    HIGH = 0xFF


class UShort(_Integer):
    """16 bits without sign (spec 1.6.4)."""

    __slots__ = ()
    LOW = 0
    HIGH = 0xFFFF


class UInt(_Integer):
    """32 bits without sign (spec 1.6.5)."""

    __slots__ = ()
    LOW = 0
    HIGH = 0xFFFF_FFFF


class ULong(_Integer):
    """64 bits without sign (spec 1.6.6)."""

    __slots__ = ()
    LOW = 0
    HIGH = 0xFFFF_FFFF_FFFF_FFFF


class Byte(_Integer):
    """8 bits, signed (spec 1.6.7)."""

    __slots__ = ()
    LOW = -0x80
    HIGH = 0x7F


class Short(_Integer):
    """16 bits, signed (spec 1.6.8)."""

    __slots__ = ()
    LOW = -0x8000
    HIGH = 0x7FFF


class Int(_Integer):
    """32 bits, signed (spec 1.6.9)."""

    __slots__ = ()
    LOW = -0x8000_0000
    HIGH = 0x7FFF_FFFF


class Long(_Integer):
    """64 bits, signed (spec 1.6.10); what a plain int becomes."""

    __slots__ = ()
    LOW = -0x8000_0000_0000_0000
    HIGH = 0x7FFF_FFFF_FFFF_FFFF


class Timestamp(_Integer):
    """Milliseconds since 1970-01-01 UTC, of any year (spec 1.6.17)."""

    __slots__ = ()
    LOW = Long.LOW
    HIGH = Long.HIGH

    @property
    def datetime(self) -> dt.datetime:
        """The same moment as an aware datetime.

        Raises:
            OverflowError: not within the years 1 to 9999, which is all that datetime knows.
        """
        return EPOCH + int(self) * MILLISECOND


class Float(float):
    """A float of 32 bits (spec 1.6.11): the number is rounded to the nearest that fits.

    Raises:
        ValueError: too large for 32 bits.
    """

    __slots__ = ()

    def __new__(cls, number: float) -> Self:
        try:
            rounded: float = struct.unpack("!f", struct.pack("!f", float(number)))[0]
        except OverflowError:
            raise ValueError("too large for a float of 32 bits") from None
        return float.__new__(cls, rounded)

    def __repr__(self) -> str:
        return f"Float({float.__repr__(self)})"

    def __str__(self) -> str:
        return float.__repr__(self)


class Decimal32(Decimal):
    """A decimal of 7 digits (spec 1.6.13).

    Raises:
        ValueError: the number cannot be held exactly.
    """

    __slots__ = ()

    def __new__(cls, number: Decimal | int | str) -> Self:
        value = Decimal.__new__(cls, number)
        to_bid(value, 4)
        return value


class Decimal64(Decimal):
    """A decimal of 16 digits (spec 1.6.14).

    Raises:
        ValueError: the number cannot be held exactly.
    """

    __slots__ = ()

    def __new__(cls, number: Decimal | int | str) -> Self:
        value = Decimal.__new__(cls, number)
        to_bid(value, 8)
        return value


class Described:
    """A value with a descriptor that says what it means (spec 1.2.2).

    Attributes:
        descriptor: a number (ulong on the wire) or a Symbol; a plain str is taken as a Symbol.
        value: the value. Numbers that came off the wire keep their type here (`UInt(1)`, not `1`).

    Raises:
        ValueError: the number does not fit into 64 bits, or the text is not ASCII.
    """

    __slots__ = ("descriptor", "value")

    descriptor: int | Symbol
    value: Any

    def __init__(self, descriptor: int | str, value: object) -> None:
        if isinstance(descriptor, str):
            self.descriptor = Symbol(descriptor)
        elif 0 <= descriptor <= ULong.HIGH:
            self.descriptor = descriptor
        else:
            raise ValueError(f"a descriptor is 0 to {ULong.HIGH}, not {descriptor}")
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Described):
            return NotImplemented
        return self.descriptor == other.descriptor and bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((self.descriptor, self.value))

    def __repr__(self) -> str:
        descriptor = hex(self.descriptor) if isinstance(self.descriptor, int) else repr(self.descriptor)
        return f"Described({descriptor}, {self.value!r})"


#: Name of a primitive type, or a descriptor around another element type.
ElementType: TypeAlias = str | Described

#: The wire type of a Python type where nothing else is said.
TYPE_NAMES: Final[dict[type, str]] = {
    type(None): "null",
    bool: "boolean",
    UByte: "ubyte",
    UShort: "ushort",
    UInt: "uint",
    ULong: "ulong",
    Byte: "byte",
    Short: "short",
    Int: "int",
    Long: "long",
    int: "long",
    Float: "float",
    float: "double",
    Decimal32: "decimal32",
    Decimal64: "decimal64",
    Decimal: "decimal128",
    Char: "char",
    Timestamp: "timestamp",
    dt.datetime: "timestamp",
    uuid.UUID: "uuid",
    bytes: "binary",
    bytearray: "binary",
    memoryview: "binary",
    Symbol: "symbol",
    str: "string",
    list: "list",
    tuple: "list",
    dict: "map",
}


class Array(list[Any]):
    """Values of one wire type, which is written only once (spec 1.6.24).

    Equal to another Array of the same elements and type, and to a plain list of the same elements.

    Attributes:
        type: the type of the elements: a name such as ``"uint"``, or for elements with a descriptor
            ``Described(descriptor, name)``. The elements themselves are held without that descriptor. Where no
            type is given it is taken from the first element.

    Raises:
        ValueError: no type is given and there is no element to take it from, there is no such type, or the
            elements do not all have the descriptor of the first one.
    """

    __slots__ = ("type",)
    __hash__ = None

    type: ElementType

    def __init__(self, items: Iterable[object], type: ElementType | None = None) -> None:
        super().__init__(items)
        if type is None:
            if not self:
                raise ValueError("an empty array needs the type of its elements, such as 'symbol'")
            type = _element_type(self[0])
            kind = type
            while isinstance(kind, Described):
                self[:] = [_without_descriptor(item, kind.descriptor) for item in self]
                kind = kind.value
        else:
            _check_type(type)
        self.type = type

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Array) and self.type != other.type:
            return False
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"Array({super().__repr__()}, {self.type!r})"


TYPE_NAMES[Array] = "array"
_ALL_TYPES: Final = frozenset(TYPE_NAMES.values())


def _element_type(item: object) -> ElementType:
    if isinstance(item, Described):
        return Described(item.descriptor, _element_type(item.value))
    for cls in type(item).__mro__:
        if cls in TYPE_NAMES:
            return TYPE_NAMES[cls]
    raise ValueError(f"AMQP has no type for {type(item).__name__}")


def _without_descriptor(item: object, descriptor: int | Symbol) -> object:
    if not isinstance(item, Described) or item.descriptor != descriptor:
        raise ValueError(f"the elements of an array have one type, and {descriptor!r} does not describe {item!r:.80}")
    return item.value


def _check_type(kind: ElementType) -> None:
    while isinstance(kind, Described):
        kind = kind.value
    if kind not in _ALL_TYPES:
        raise ValueError(f"AMQP has no type {kind!r}")
