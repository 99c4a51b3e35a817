"""Python values for AMQP types."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
from decimal import Decimal
from typing import Any

import pytest

from uamqp.codec.values import (
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Described,
    Encodable,
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

INTEGERS = (UByte, UShort, UInt, ULong, Byte, Short, Int, Long, Timestamp)

EXAMPLES = [
    *(cls(5) for cls in INTEGERS),
    Symbol("a"),
    Char("ß"),
    Float(0.5),
    Decimal32("1.5"),
    Decimal64("-0"),
    Described(5, [UInt(1)]),
    Described("x:y", None),
    Array([1, 2], "uint"),
    Array([], Described(3, "string")),
]


@pytest.mark.parametrize("value", EXAMPLES, ids=repr)
def test_pickle_and_copies_keep_value_and_type(value: Any) -> None:
    for again in (
        *(pickle.loads(pickle.dumps(value, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy(value),
        copy.deepcopy(value),
    ):
        assert again == value
        assert type(again) is type(value)
        assert repr(again) == repr(value)


@pytest.mark.parametrize("value", EXAMPLES, ids=repr)
def test_repr_is_an_expression(value: Any) -> None:
    assert eval(repr(value)) == value


@pytest.mark.parametrize("cls", INTEGERS)
def test_integers_check_their_range(cls: Any) -> None:
    assert cls(cls.LOW) == cls.LOW
    assert cls(cls.HIGH) == cls.HIGH
    for number in (cls.LOW - 1, cls.HIGH + 1):
        with pytest.raises(ValueError, match=f"{cls.__name__} is {cls.LOW} to {cls.HIGH}, not {number}"):
            cls(number)


def test_text_of_typed_scalars_is_plain() -> None:
    assert f"{UInt(5)} {Float(0.5)} {Symbol('a')} {Char('b')}" == "5 0.5 a b"
    assert str(UInt(5)) == "5"


def test_symbol() -> None:
    assert Symbol("a") == "a"
    assert {Symbol("a"): 1}["a"] == 1
    with pytest.raises(ValueError, match="ASCII"):
        Symbol("ä")
    with pytest.raises(TypeError, match="a symbol is a str, not int"):
        Symbol(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "ab", "\ud800", "\udfff"])
def test_char_is_one_character(text: str) -> None:
    with pytest.raises(ValueError, match="one Unicode character"):
        Char(text)


def test_float_rounds_to_32_bits() -> None:
    assert Float(0.1) != 0.1
    assert abs(Float(0.1) - 0.1) < 1e-8
    with pytest.raises(ValueError, match="32 bits"):
        Float(1e39)


def test_decimals_check_their_digits() -> None:
    assert Decimal32("1234567") == 1234567
    assert isinstance(Decimal64(Decimal("1.5")), Decimal)
    with pytest.raises(ValueError, match="decimal32"):
        Decimal32("12345678")
    with pytest.raises(ValueError, match="decimal64"):
        Decimal64("12345678901234567")


def test_timestamp_as_datetime() -> None:
    assert Timestamp(1500).datetime == dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)
    with pytest.raises(OverflowError):
        _ = Timestamp(2**62).datetime


def test_described() -> None:
    assert Described("a", 1) == Described(Symbol("a"), 1)
    assert isinstance(Described("a", 1).descriptor, Symbol)
    assert Described(1, 1) != Described(2, 1)
    assert Described(1, 1) != Described(1, 2)
    assert Described(1, 1) != 1
    assert len({Described(1, 2), Described(1, 2)}) == 1
    with pytest.raises(TypeError):
        hash(Described(1, []))
    for number in (-1, 2**64):
        with pytest.raises(ValueError, match="descriptor"):
            Described(number, None)
    with pytest.raises(ValueError, match="ASCII"):
        Described("ä", None)


@pytest.mark.parametrize(
    ("items", "kind"),
    [
        ([1], "long"),
        ([UInt(1)], "uint"),
        (["a"], "string"),
        ([Symbol("a")], "symbol"),
        ([None], "null"),
        ([True], "boolean"),
        ([[1]], "list"),
        ([(1,)], "list"),
        ([{}], "map"),
        ([Array([1])], "array"),
    ],
)
def test_array_takes_its_type_from_the_first_element(items: list[Any], kind: str) -> None:
    assert Array(items).type == kind


def test_array_of_described_values_holds_them_without_their_descriptor() -> None:
    array = Array([Described(1, Described("a", UInt(5))), Described(1, Described("a", UInt(6)))])
    assert array == [5, 6]
    assert array.type == Described(1, Described("a", "uint"))
    for other in (Described(2, UInt(1)), UInt(1)):
        with pytest.raises(ValueError, match="one type"):
            Array([Described(1, UInt(1)), other])


def test_array_comparison() -> None:
    assert Array([1], "uint") == Array([1], "uint") == [1]
    assert Array([1], "uint") != Array([1], "int")
    assert Array([1], "uint") != Array([2], "uint")
    assert Array([1], "uint") != 1
    with pytest.raises(TypeError):
        hash(Array([1]))


def test_array_needs_a_type_that_exists() -> None:
    with pytest.raises(ValueError, match="needs the type"):
        Array([])
    with pytest.raises(ValueError, match="no type 'number'"):
        Array([], "number")
    with pytest.raises(ValueError, match="no type for object"):
        Array([object()])


def test_encodable_is_abstract() -> None:
    with pytest.raises(NotImplementedError):
        Encodable().encode_at(0)
