"""What the arguments of the client must be, told in words, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf, isnan
from numbers import Real
from operator import index
from typing import Any, SupportsIndex, cast

from ..codec.values import Symbol


def expect(name: str, value: object, kind: type | tuple[type, ...], meaning: str) -> None:
    """Raise TypeError where an argument is not of its kind."""
    # bool is an int to Python, and never what is meant where a number is wanted.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name} must be {meaning}, not {type(value).__name__}")


def expect_seconds(name: str, value: object, least: float = -inf) -> None:
    """Raise TypeError or ValueError where an argument is no number of seconds, or not so many."""
    expect(name, value, (int, float, Real), "a number of seconds")
    if isnan(cast(float, value)):
        raise ValueError(f"{name} must be a number of seconds, and not nan")
    if cast(float, value) < least:
        raise ValueError(f"{name} must be {least} seconds or more, not {value}")


def whole(name: str, value: SupportsIndex, meaning: str, least: int | None = None, most: int | None = None) -> int:
    """An argument that is a whole number, of whatever kind, from `least` to `most` where these are given.

    Raises:
        TypeError, ValueError: it is no such number.
    """
    if type(value) is int:
        # A look at a protocol takes 4 microseconds, as much as a flow.
        number = value
    else:
        expect(name, value, SupportsIndex, meaning)
        number = index(value)
    if (least is not None and number < least) or (most is not None and number > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be {bounds}, not {number}")
    return number


def symbols(name: str, values: Iterable[str]) -> tuple[Symbol, ...]:
    """Several symbols, such as capabilities.

    Raises:
        TypeError: they are not several, or not str. One str would be taken for its letters.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(f'{name} must be several str, such as ["queue"], not {type(values).__name__}')
    return tuple(_symbol(f"each of {name}", value) for value in values)


def keyed(name: str, values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Values by symbol, such as properties; None where there are none.

    Raises:
        TypeError: it is not a mapping, or a key is not a str.
    """
    if not values:
        return None
    expect(name, values, Mapping, "a mapping of str to values")
    return {_symbol(f"each key of {name}", key): value for key, value in values.items()}


def _symbol(name: str, text: object) -> Symbol:
    expect(name, text, str, "a str")
    try:
        return Symbol(cast(str, text))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
