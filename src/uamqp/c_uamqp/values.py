"""Values that know their AMQP type, one class for each type, and a function that makes one for each class.

`value` shows text as bytes, times as milliseconds since 1970, and what lies in lists and maps as plain Python values.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar, Final, Self
from uuid import UUID

from .._legacy import Wrapper, incoming
from ..codec import values as codec
from ..codec.primitives import encode
from .states import AMQPType


class AMQPValue(Wrapper):
    """Any value; of this class itself only null.

    Equal to a value of the same type and content.
    """

    _type: ClassVar[AMQPType] = AMQPType.NullValue
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Any = None) -> None:
        self._value: Any = None
        if value is not None:
            self.create(value)

    def create(self, value: Any = None) -> None:
        """Take another value. Raises TypeError or ValueError where the type cannot hold it."""
        self._value = None if value is None else self._checked(value)

    def _checked(self, value: Any) -> Any:
        raise TypeError(f"null has no value, not even {value!r:.80}")

    def to_codec(self) -> Any:
        return self._value

    @property
    def type(self) -> AMQPType:
        """Which type it has."""
        return self._type

    @property
    def value(self) -> Any:
        """The plain Python value."""
        return incoming(self.to_codec())

    def get_encoded_size(self) -> int:
        """How many bytes it has on the wire."""
        return len(encode(self.to_codec()))

    def clone(self) -> Self:
        """A copy, of what lies in it too."""
        return copy.deepcopy(self)

    def destroy(self) -> None:
        """There is nothing to give back."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AMQPValue):
            return NotImplemented
        return type(self) is type(other) and encode(self.to_codec()) == encode(other.to_codec())

    def __str__(self) -> str:
        return "NULL" if self._value is None else self._text()

    def _text(self) -> str:
        return str(self._value)

    def __bytes__(self) -> bytes:
        return str(self).encode()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class BoolValue(AMQPValue):
    """A boolean (spec 1.6.2)."""

    _type = AMQPType.BoolValue

    def _checked(self, value: Any) -> bool:
        return bool(value)

    def _text(self) -> str:
        return "true" if self._value else "false"


class _Number(AMQPValue):
    _wire: ClassVar[Any]

    def _checked(self, value: Any) -> Any:
        if not isinstance(value, int):
            raise TypeError(f"an integer is required, not {type(value).__name__}")
        try:
            return self._wire(value)
        except ValueError as error:
            # What conversions to fixed widths raise elsewhere.
            raise OverflowError(str(error)) from None


class UByteValue(_Number):
    """8 bits without sign (spec 1.6.3)."""

    _type = AMQPType.UByteValue
    _wire = codec.UByte


class UShortValue(_Number):
    """16 bits without sign (spec 1.6.4)."""

    _type = AMQPType.UShortValue
    _wire = codec.UShort


class UIntValue(_Number):
    """32 bits without sign (spec 1.6.5)."""

    _type = AMQPType.UIntValue
    _wire = codec.UInt


class ULongValue(_Number):
    """64 bits without sign (spec 1.6.6)."""

    _type = AMQPType.ULongValue
    _wire = codec.ULong


class ByteValue(_Number):
    """8 bits, signed (spec 1.6.7)."""

    _type = AMQPType.ByteValue
    _wire = codec.Byte


class ShortValue(_Number):
    """16 bits, signed (spec 1.6.8)."""

    _type = AMQPType.ShortValue
    _wire = codec.Short


class IntValue(_Number):
    """32 bits, signed (spec 1.6.9)."""

    _type = AMQPType.IntValue
    _wire = codec.Int


class LongValue(_Number):
    """64 bits, signed (spec 1.6.10)."""

    _type = AMQPType.LongValue
    _wire = codec.Long


class TimestampValue(_Number):
    """Milliseconds since 1970-01-01 UTC (spec 1.6.17)."""

    _type = AMQPType.TimestampValue
    _wire = codec.Timestamp


class FloatValue(AMQPValue):
    """A float of 32 bits (spec 1.6.11)."""

    _type = AMQPType.FloatValue

    def _checked(self, value: Any) -> float:
        return codec.Float(value)

    def _text(self) -> str:
        return f"{self._value:.2f}"


class DoubleValue(FloatValue):
    """A float of 64 bits (spec 1.6.12)."""

    _type = AMQPType.DoubleValue

    def _checked(self, value: Any) -> float:
        return float(value)


class CharValue(AMQPValue):
    """One Unicode character, given as it is or as its number (spec 1.6.16)."""

    _type = AMQPType.CharValue

    def _checked(self, value: Any) -> codec.Char:
        return codec.Char(chr(value) if isinstance(value, int) else value)

    def _text(self) -> str:
        return f"U{ord(self._value):08X}"


class UUIDValue(AMQPValue):
    """A UUID (spec 1.6.18)."""

    _type = AMQPType.UUIDValue

    def _checked(self, value: Any) -> UUID:
        if not isinstance(value, UUID):
            raise TypeError(f"a UUID is required, not {type(value).__name__}")
        return value


class BinaryValue(AMQPValue):
    """Bytes (spec 1.6.19)."""

    _type = AMQPType.BinaryValue

    def _checked(self, value: Any) -> bytes:
        return _octets(value)

    def _text(self) -> str:
        return f"<{self._value.hex(' ').upper()}>"


class StringValue(AMQPValue):
    """Text, given as its bytes in UTF-8 (spec 1.6.20)."""

    _type = AMQPType.StringValue

    def _checked(self, value: Any) -> str:
        return _octets(value).decode()


class SymbolValue(AMQPValue):
    """A name from a constrained domain, given as its bytes in ASCII (spec 1.6.21)."""

    _type = AMQPType.SymbolValue

    def _checked(self, value: Any) -> codec.Symbol:
        return codec.Symbol(_octets(value).decode())


class ListValue(AMQPValue):
    """Values of any types (spec 1.6.22)."""

    _type = AMQPType.ListValue

    def __init__(self) -> None:
        super().__init__()
        self._items: list[AMQPValue] = []

    def to_codec(self) -> Any:
        return [item.to_codec() for item in self._items]

    @property
    def size(self) -> int:
        """How many values it has; setting it makes room, filled with null."""
        return len(self._items)

    @size.setter
    def size(self, size: int) -> None:
        del self._items[size:]
        self._items.extend(AMQPValue() for _ in range(size - len(self._items)))

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[AMQPValue]:
        return iter(self._items)

    def __getitem__(self, index: int) -> AMQPValue:
        self._check_index(index)
        return self._items[index]

    def __setitem__(self, index: int, value: AMQPValue) -> None:
        self._check_index(index)
        self._items[index] = _typed(value)

    def _check_index(self, index: int) -> None:
        if not 0 <= index < len(self._items):
            raise IndexError("Index is out of range.")

    def __str__(self) -> str:
        return f"{{{','.join(map(str, self._items))}}}"


class ArrayValue(ListValue):
    """Values of one type, which is written only once (spec 1.6.24)."""

    _type = AMQPType.ArrayValue

    def to_codec(self) -> Any:
        return codec.Array(super().to_codec(), None if self._items else "null")

    def append(self, value: AMQPValue) -> None:
        """Add a value. Raises ValueError where it has another type than those before it."""
        if self._items and type(_typed(value)) is not type(self._items[0]):
            raise ValueError("All Array values must be the same type.")
        self._items.append(_typed(value))


class DictValue(AMQPValue):
    """Keys and values of any types, in their order (spec 1.6.23)."""

    _type = AMQPType.DictValue

    def __init__(self) -> None:
        super().__init__()
        self._pairs: list[tuple[AMQPValue, AMQPValue]] = []

    def to_codec(self) -> Any:
        return {key.to_codec(): value.to_codec() for key, value in self._pairs}

    @property
    def size(self) -> int:
        """How many pairs it has."""
        return len(self._pairs)

    def get(self, index: int) -> tuple[AMQPValue, AMQPValue]:
        """The key and the value at a place. Raises IndexError."""
        if not 0 <= index < len(self._pairs):
            raise IndexError("Index is out of range.")
        return self._pairs[index]

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[AMQPValue]:
        return iter([key for key, _ in self._pairs])

    def __getitem__(self, key: AMQPValue) -> AMQPValue:
        for other, value in self._pairs:
            if other == _typed(key):
                return value
        raise KeyError(f"No value found for key: {key.value!r}")

    def __setitem__(self, key: AMQPValue, value: AMQPValue) -> None:
        pair = (_typed(key), _typed(value))
        for index, (other, _) in enumerate(self._pairs):
            if other == key:
                self._pairs[index] = pair
                return
        self._pairs.append(pair)

    def __str__(self) -> str:
        return f"{{{','.join(f'[{key}:{value}]' for key, value in self._pairs)}}}"


class DescribedValue(AMQPValue):
    """A value with a descriptor, a symbol or a ulong, that says what it means (spec 1.2.2)."""

    _type = AMQPType.DescribedType

    def __init__(self, descriptor: AMQPValue | None = None, value: AMQPValue | None = None) -> None:
        super().__init__()
        self._descriptor = AMQPValue() if descriptor is None else _typed(descriptor)
        self._data = AMQPValue() if value is None else _typed(value)

    def to_codec(self) -> Any:
        return codec.Described(self._descriptor.to_codec(), self._data.to_codec())

    @property
    def description(self) -> AMQPValue:
        """The descriptor."""
        return self._descriptor

    @property
    def data(self) -> AMQPValue:
        """The value that is described."""
        return self._data

    @property
    def value(self) -> Any:
        """The plain Python value, without its descriptor."""
        return self._data.value

    def __str__(self) -> str:
        return f"* {self._data}"


def _octets(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"expected bytes, {type(value).__name__} found")
    return bytes(value)


def _typed(value: Any) -> AMQPValue:
    if not isinstance(value, AMQPValue):
        raise TypeError(f"a value that knows its type is needed, such as int_value(5), not {type(value).__name__}")
    return value


null_value: Final = AMQPValue
bool_value: Final = BoolValue
ubyte_value: Final = UByteValue
ushort_value: Final = UShortValue
uint_value: Final = UIntValue
ulong_value: Final = ULongValue
byte_value: Final = ByteValue
short_value: Final = ShortValue
int_value: Final = IntValue
long_value: Final = LongValue
float_value: Final = FloatValue
double_value: Final = DoubleValue
char_value: Final = CharValue
timestamp_value: Final = TimestampValue
uuid_value: Final = UUIDValue
binary_value: Final = BinaryValue
string_value: Final = StringValue
symbol_value: Final = SymbolValue
list_value: Final = ListValue
array_value: Final = ArrayValue
dict_value: Final = DictValue
described_value: Final = DescribedValue

#: What a plain value of the codec becomes; those that are not here look different from their `value`.
_CLASSES: Final[dict[type, Any]] = {
    bool: BoolValue,
    **{kind._wire: kind for kind in _Number.__subclasses__()},
    codec.Float: FloatValue,
    float: DoubleValue,
    codec.Char: CharValue,
    UUID: UUIDValue,
    bytes: BinaryValue,
}


def wrap(value: Any) -> AMQPValue | None:
    """A value of the codec as one that knows its type; None where AMQP has no type for it."""
    if value is None:
        return AMQPValue()
    if isinstance(value, codec.Symbol):
        return SymbolValue(value.encode())
    if type(value) is str:
        return StringValue(value.encode())
    if type(value) is int:
        # What the codec makes of it.
        return LongValue(value) if value <= codec.Long.HIGH else ULongValue(value)
    if isinstance(value, dt.datetime):
        return TimestampValue(incoming(value))
    if isinstance(value, list):
        return _wrap_list(value)
    if isinstance(value, dict):
        made = DictValue()
        # Keys of a dict are distinct already; looking for each costs the square of their number.
        made._pairs = [(known(key), known(item)) for key, item in value.items()]
        return made
    if isinstance(value, codec.Described):
        descriptor = value.descriptor
        if isinstance(descriptor, int):
            return DescribedValue(ULongValue(int(descriptor)), known(value.value))
        return DescribedValue(SymbolValue(descriptor.encode()), known(value.value))
    kind = _CLASSES.get(type(value))
    return None if kind is None else kind(value)


def _wrap_list(value: list[Any]) -> ListValue:
    if isinstance(value, codec.Array):
        array = ArrayValue()
        for item in value:
            array.append(known(item))
        return array
    made = ListValue()
    made.size = len(value)
    for index, item in enumerate(value):
        made[index] = known(item)
    return made


def known(value: Any) -> AMQPValue:
    """The same, but where AMQP has no type for it it raises ValueError."""
    wrapped = wrap(value)
    if wrapped is None:
        raise ValueError(f"AMQP has no type for {type(value).__name__}")
    return wrapped
