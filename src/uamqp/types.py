"""Values that say which AMQP type they go out with, for where plain Python values would become another."""

from __future__ import annotations

from typing import Any

from . import c_uamqp
from ._legacy import Wrapper, octets, outgoing
from .c_uamqp.values import known
from .utils import data_factory

__all__ = [
    "AMQPArray",
    "AMQPByte",
    "AMQPChar",
    "AMQPDescribed",
    "AMQPInt",
    "AMQPLong",
    "AMQPShort",
    "AMQPSymbol",
    "AMQPType",
    "AMQPuByte",
    "AMQPuInt",
    "AMQPuLong",
    "AMQPuShort",
]


class AMQPType(Wrapper):
    """The base of these types; others can be derived from it.

    Args:
        value: what `_c_wrapper` of the derived class takes.
    """

    def __init__(self, value: Any) -> None:
        self._c_type: c_uamqp.AMQPValue = self._c_wrapper(value)

    def _c_wrapper(self, value: Any) -> Any:
        """The value as one of `uamqp.c_uamqp`; this is what a derived class defines."""
        raise NotImplementedError

    @property
    def value(self) -> Any:
        """The plain Python value, text as bytes."""
        return self._c_type.value

    @property
    def c_data(self) -> c_uamqp.AMQPValue:
        """The value with its type."""
        return self._c_type

    def to_codec(self) -> Any:
        return self._c_type.to_codec()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class AMQPSymbol(AMQPType):
    """A name from a constrained domain, ASCII only (spec 1.6.21); str or bytes.

    Raises:
        TypeError: it is neither str nor bytes.
        ValueError: it is not ASCII.
    """

    def __init__(self, value: str | bytes, encoding: str = "UTF-8") -> None:
        super().__init__(octets(value, encoding))

    def _c_wrapper(self, value: Any) -> Any:
        return c_uamqp.symbol_value(value)


class AMQPChar(AMQPType):
    """One Unicode character (spec 1.6.16); str or bytes.

    Raises:
        ValueError: it is not one character.
    """

    def __init__(self, value: str | bytes, encoding: str = "UTF-8") -> None:
        super().__init__(value.decode(encoding) if isinstance(value, bytes) else value)

    def _c_wrapper(self, value: Any) -> Any:
        if not isinstance(value, str) or len(value) != 1:
            raise ValueError("Value must be a single character.")
        return c_uamqp.char_value(value)


class _Number(AMQPType):
    _make: Any

    def _c_wrapper(self, value: Any) -> Any:
        try:
            return self._make(int(value))
        except TypeError:
            raise ValueError("Value must be an integer") from None
        except OverflowError as error:
            raise ValueError(str(error)) from None


class AMQPLong(_Number):
    """An integer of 64 bits, signed (spec 1.6.10). Raises ValueError."""

    _make = c_uamqp.LongValue


class AMQPuLong(_Number):
    """An integer of 64 bits without sign (spec 1.6.6). Raises ValueError."""

    _make = c_uamqp.ULongValue


class AMQPInt(_Number):
    """An integer of 32 bits, signed (spec 1.6.9). Raises ValueError."""

    _make = c_uamqp.IntValue


class AMQPuInt(_Number):
    """An integer of 32 bits without sign (spec 1.6.5). Raises ValueError."""

    _make = c_uamqp.UIntValue


class AMQPShort(_Number):
    """An integer of 16 bits, signed (spec 1.6.8). Raises ValueError."""

    _make = c_uamqp.ShortValue


class AMQPuShort(_Number):
    """An integer of 16 bits without sign (spec 1.6.4). Raises ValueError."""

    _make = c_uamqp.UShortValue


class AMQPByte(_Number):
    """An integer of 8 bits, signed (spec 1.6.7). Raises ValueError."""

    _make = c_uamqp.ByteValue


class AMQPuByte(_Number):
    """An integer of 8 bits without sign (spec 1.6.3). Raises ValueError."""

    _make = c_uamqp.UByteValue


class AMQPArray(AMQPType):
    """Values of one type, which is written only once (spec 1.6.24).

    Raises:
        TypeError: it is not a list.
        ValueError: the values are of different types.
    """

    def _c_wrapper(self, value: Any) -> Any:
        if not isinstance(value, list | tuple | str | bytes):
            raise TypeError(f"an array is made of a list, not of {type(value).__name__}")
        array = c_uamqp.array_value()
        for item in value:
            array.append(known(outgoing(item)))
        return array


class AMQPDescribed(AMQPType):
    """A value with a descriptor that says what it means (spec 1.2.2).

    Args:
        descriptor: a symbol or a number: str, bytes, int, or a value of this module.
        described: any value.
    """

    def __init__(self, descriptor: Any, described: Any) -> None:
        super().__init__((descriptor, described))

    def _c_wrapper(self, value: Any) -> Any:
        descriptor, described = value
        if isinstance(descriptor, str | bytes):
            descriptor = AMQPSymbol(descriptor)
        elif isinstance(descriptor, int):
            descriptor = AMQPuLong(descriptor)
        return c_uamqp.described_value(data_factory(descriptor), data_factory(described))
