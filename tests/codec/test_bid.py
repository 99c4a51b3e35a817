"""Decimals in the binary-integer form."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uamqp.codec.bid import from_bid, to_bid

from .strategies import exact_decimals


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        ("1", "32800001"),
        ("-7.50", "b18002ee"),
        ("0", "32800000"),
        ("-0", "b2800000"),
        ("9999999", "6cb8967f"),
        ("Infinity", "78000000"),
        ("-Infinity", "f8000000"),
        ("NaN", "7c000000"),
        ("-NaN", "fc000000"),
        ("1", "31c0000000000001"),
        ("9999999999999999", "6c7386f26fc0ffff"),
        ("1", "30400000000000000000000000000001"),
        ("9" * 34, "3041ed09bead87c0378d8e63ffffffff"),
    ],
)
def test_known_encodings(number: str, encoded: str) -> None:
    raw = bytes.fromhex(encoded)
    assert to_bid(Decimal(number), len(raw)) == raw
    assert str(from_bid(raw)) == number


@pytest.mark.parametrize("width", [4, 8, 16])
@given(data=st.data())
def test_round_trip_keeps_sign_digits_and_exponent(width: int, data: st.DataObject) -> None:
    number = data.draw(exact_decimals(width))
    assert from_bid(to_bid(number, width)).as_tuple() == number.as_tuple()


@pytest.mark.parametrize("width", [4, 8, 16])
@given(data=st.data())
def test_every_bit_pattern_is_a_number_that_round_trips(width: int, data: st.DataObject) -> None:
    number = from_bid(data.draw(st.binary(min_size=width, max_size=width)))
    again = from_bid(to_bid(number, width))
    assert again.as_tuple() == number.as_tuple()


@pytest.mark.parametrize(
    ("number", "same"),
    [
        ("12345670000", "1.234567E+10"),  # trailing zeros make room in the coefficient
        ("1E-101", "1E-101"),
        ("10E-102", "1E-101"),
        ("1E+96", "1.000000E+96"),
        ("0E+500", "0E+90"),
        ("0E-500", "0E-101"),
        ("sNaN", "NaN"),
        ("NaN123", "NaN"),
    ],
)
def test_numbers_that_fit_in_another_form(number: str, same: str) -> None:
    assert str(from_bid(to_bid(Decimal(number), 4))) == same


@pytest.mark.parametrize("number", ["12345678", "1E+97", "12E+96", "1E-102", "0.00000012345678", "1" * 5000])
def test_inexact(number: str) -> None:
    with pytest.raises(ValueError, match="exactly"):
        to_bid(Decimal(number), 4)


@pytest.mark.parametrize(
    "encoded", ["6fffffff", "6cb89680", "6c7386f26fc10000", "7000" + "0" * 28, "3041ed09bead87c0378d8e6400000000"]
)
def test_coefficient_out_of_range_is_zero(encoded: str) -> None:
    assert from_bid(bytes.fromhex(encoded)) == 0
