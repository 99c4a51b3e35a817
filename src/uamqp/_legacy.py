"""Between the values of the modern face and those of the uamqp 1.6 API, in which all text is bytes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from math import isnan
from numbers import Real
from typing import Any, Final, TypeVar

from .aio.arguments import expect
from .codec.values import (
    EPOCH,
    MILLISECOND,
    Array,
    Byte,
    Char,
    Described,
    Float,
    Int,
    Long,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

M = TypeVar("M", bound=Enum)

#: Text as programs may give it.
Text = str | bytes

_INT32: Final = range(-(1 << 31), 1 << 31)
_INT64: Final = range(-(1 << 63), 1 << 63)

#: Values that say themselves what they are on the wire.
_INTEGERS: Final = (UByte, UShort, UInt, ULong, Byte, Short, Int, Long, Timestamp)
_TYPED: Final = (bool, Symbol, Char, Array, Described, Float, Decimal, *_INTEGERS)


class Wrapper:
    """A value of the uamqp 1.6 API that says itself what it is on the wire."""

    def to_codec(self) -> Any:
        """The value as the codec wants it."""
        raise NotImplementedError


def incoming(value: Any) -> Any:
    """A decoded value as the uamqp 1.6 API shows it: text as bytes, times as milliseconds, no wrappers."""
    if isinstance(value, str):
        return str(value) if isinstance(value, Char) else value.encode()
    if isinstance(value, dt.datetime):
        return (value - EPOCH) // MILLISECOND
    if isinstance(value, Mapping):
        return {incoming(key): incoming(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [incoming(item) for item in value]
    if isinstance(value, Described):
        return incoming(value.value)
    if type(value) in _PLAIN:
        return _PLAIN[type(value)](value)
    return value


_PLAIN: Final[dict[type, type]] = {
    **dict.fromkeys(_INTEGERS, int),
    Float: float,
}


def outgoing(value: Any, encoding: str = "UTF-8") -> Any:
    """A value given to the uamqp 1.6 API as the codec wants it.

    bytes go out as string, because that API shows strings as bytes, and as binary only where they are no text;
    bytearray goes out as binary. An int goes out with 32 bits, with 64 where it needs them, and as a double beyond.
    A datetime without a time zone is taken as UTC.
    """
    if value is None or isinstance(value, _TYPED):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode(encoding)
        except UnicodeDecodeError:
            return value
    if isinstance(value, int):
        # Not as it came: for a subclass, such as a member of an enum, `in` goes through the whole range.
        number = int(value)
        return Int(number) if number in _INT32 else Long(number) if number in _INT64 else float(number)
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, dt.datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
    if isinstance(value, Mapping):
        return {outgoing(key, encoding): outgoing(item, encoding) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [outgoing(item, encoding) for item in value]
    return value.to_codec() if isinstance(value, Wrapper) else value


def as_received(value: Any, encoding: str) -> Any:
    """A value that was given, as it is shown after it went over the wire."""
    return incoming(outgoing(value, encoding))


def is_text(value: Any) -> bool:
    """Whether it is text in either form."""
    return isinstance(value, str | bytes)


def text(value: Text, encoding: str = "UTF-8") -> str:
    """Text given as str or bytes."""
    return value if isinstance(value, str) else value.decode(encoding)


def octets(value: Text, encoding: str = "UTF-8") -> bytes:
    """Text given as str or bytes, as the uamqp 1.6 API shows it."""
    return value.encode(encoding) if isinstance(value, str) else value


def limit(name: str, value: Any) -> float:
    """A limit of time as programs give it: a number that is not below 0; None, and what is below, become 0.

    Raises:
        TypeError, ValueError: it is no number.
    """
    if value is None:
        return 0
    expect(name, value, (int, float, Real), "a number")
    if isnan(value):
        raise ValueError(f"{name} must be a number, and not nan")
    return float(max(0, value))


def member(kind: type[M], value: Any) -> M | None:
    """A member of an enumeration, or None where nothing was given.

    Not its value: that of a mode which throws messages away is 0, for which more than one program means "as usual".

    Raises:
        ValueError: it is none.
    """
    if value is None or isinstance(value, kind):
        return value
    raise ValueError(f"{value!r} is not one of {', '.join(map(str, kind))}")


def names(values: Any, encoding: str = "UTF-8") -> tuple[str, ...]:
    """Capabilities given as a name or as several, each str, bytes or a symbol of its own class."""
    values = outgoing(values, encoding)
    if values is None:
        return ()
    return (values,) if isinstance(values, str) else tuple(values)


def fields(values: Mapping[Any, Any] | None, encoding: str = "UTF-8") -> dict[Any, Any] | None:
    """A map whose keys are text or numbers, such as properties and annotations; keys become str."""
    if not values:
        return None
    if not isinstance(values, Mapping):
        raise TypeError(f"a mapping is needed, not {type(values).__name__}")
    return {
        text(key, encoding) if isinstance(key, str | bytes) else outgoing(key, encoding): outgoing(item, encoding)
        for key, item in values.items()
    }
