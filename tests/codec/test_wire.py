"""The wire types of fields."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from uamqp.codec import wire
from uamqp.codec.choices import Role, SenderSettleMode
from uamqp.codec.decoding import guarded
from uamqp.codec.primitives import LEGACY, MODERN, encode
from uamqp.codec.values import Described, Symbol, Timestamp, UInt, ULong
from uamqp.exceptions import DecodeError, EncodeError


@pytest.mark.parametrize(
    ("wire_type", "value", "encoded"),
    [
        (wire.UINT, 0, "43"),
        (wire.UINT, 5, "5205"),
        (wire.HANDLE, 256, "7000000100"),
        (wire.ULONG, UInt(3), "5303"),
        (wire.SECONDS, 1, "5201"),
        (wire.BOOLEAN, True, "41"),
        (wire.ROLE, Role.RECEIVER, "41"),
        (wire.SENDER_SETTLE_MODE, SenderSettleMode.MIXED, "5002"),
        (wire.TERMINUS_EXPIRY_POLICY, "never", "a3056e65766572"),
        (wire.STRING, Symbol("a"), "a10161"),
        (wire.SYMBOL, "a", "a30161"),
        (wire.TIMESTAMP, 1, "830000000000000001"),
        (wire.TIMESTAMP, Timestamp(1), "830000000000000001"),
        (wire.TIMESTAMP, dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "830000000000000000"),
        (wire.MESSAGE_ID, 7, "5307"),
        (wire.MESSAGE_ID, "a", "a10161"),
        (wire.MESSAGE_ID, b"a", "a00161"),
        (wire.MESSAGE_ID, uuid.UUID(int=0), "98" + "00" * 16),
        (wire.ADDRESS, "q", "a10171"),
        (wire.TXN_ID, b"\x01", "a00101"),
        (wire.GLOBAL_TX_ID, [1], "c003015501"),
        (wire.FIELDS, {"a": 1}, "c10602a301615501"),
        (wire.FIELDS, {}, "c10100"),
        (wire.MAP, {b"a": None}, "c10502a0016140"),
    ],
)
def test_encode(wire_type: wire.WireType, value: Any, encoded: str) -> None:
    assert wire_type.encode(value, 0).hex() == encoded
    assert int(encoded[:2], 16) in wire_type.codes


@pytest.mark.parametrize(
    ("wire_type", "value", "reason"),
    [
        (wire.UINT, -1, "uint is 0 to 4294967295, not -1"),
        (wire.UINT, True, "int for uint expected, not bool"),
        (wire.BOOLEAN, 1, "bool expected, not int"),
        (wire.ROLE, 1, "bool expected"),
        (wire.SENDER_SETTLE_MODE, 3, r"3 is none of 0 \(unsettled\), 1 \(settled\), 2 \(mixed\)"),
        (wire.TERMINUS_EXPIRY_POLICY, "always", "none of 'link-detach'"),
        (wire.STRING, b"a", "str expected, not bytes"),
        (wire.MESSAGE_ID, -1, "ulong is 0 to 18446744073709551615, not -1"),
        (wire.MESSAGE_ID, 1.5, "float cannot be a message-id"),
        (wire.ADDRESS, b"q", "str expected, not bytes"),
        (wire.FIELDS, [], "dict expected, not list"),
        (wire.FIELDS, {1: 2}, r"fields\[1\]: Symbol or str expected, not int"),
        (wire.FIELDS, {"a": object()}, r"fields\['a'\]: AMQP has no type for object"),
        (wire.FIELDS, {"ä": 1}, "ASCII"),
    ],
)
def test_values_that_do_not_fit(wire_type: wire.WireType, value: Any, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        wire_type.encode(value, 0)


def test_repr_names_the_type() -> None:
    assert repr(wire.HANDLE) == "<handle>"
    assert repr(wire.MESSAGE_ID) == "<* message-id>"


def test_faults() -> None:
    assert wire.UINT.fault(5) is None
    assert wire.SENDER_SETTLE_MODE.fault(2) is None
    assert wire.SENDER_SETTLE_MODE.fault(3) == "amqp:invalid-field"


ANNOTATIONS = wire.MapType("annotations", ("symbol", "ulong"))
PROPERTIES = wire.MapType("properties", ("string",), simple=True)


def read(wire_type: wire.WireType, data: bytes, dialect: Any = MODERN) -> object:
    return guarded(wire_type.read, data, 0, len(data), dialect.table)[0]


def test_maps_with_restricted_keys() -> None:
    value = {Symbol("a"): 1, 5: Described(1, UInt(2)), 2**40: [None]}
    assert read(ANNOTATIONS, ANNOTATIONS.encode(value, 0)) == value
    assert read(PROPERTIES, PROPERTIES.encode({"a": "x" * 300}, 0)) == {"a": "x" * 300}
    assert read(ANNOTATIONS, ANNOTATIONS.encode({"a": "b"}, 0), LEGACY) == {b"a": b"b"}


def test_strings_are_read_as_keys_of_fields_but_not_written() -> None:
    value = read(wire.FIELDS, encode({"a": 1}))
    assert value == {"a": 1}
    assert wire.FIELDS.encode(value, 0) == encode({Symbol("a"): 1})
    assert read(wire.FIELDS, encode({"a": 1}), LEGACY) == {b"a": 1}


def test_strings_that_could_be_no_symbol_are_not_read_as_keys() -> None:
    for table in (None, LEGACY):
        with pytest.raises(DecodeError, match="a key of fields is a symbol"):
            read(wire.FIELDS, encode({"ä": 1}), *([] if table is None else [table]))


@pytest.mark.parametrize(
    ("wire_type", "value", "reason"),
    [
        (wire.FIELDS, {1: 1}, "a key of fields is a symbol"),
        (wire.FIELDS, {None: 1}, "a key of fields is a symbol"),
        (ANNOTATIONS, {"string": 1}, "symbol or ulong"),
        (ANNOTATIONS, {UInt(1): 1}, "symbol or ulong"),
        (PROPERTIES, {Symbol("a"): 1}, "a key of properties is a string"),
        (PROPERTIES, {"a": [1]}, "list, map or array"),
        (PROPERTIES, {"a": []}, "list, map or array"),
        (PROPERTIES, {"a": {}}, "list, map or array"),
    ],
)
def test_maps_with_illegal_entries(wire_type: wire.WireType, value: Any, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        read(wire_type, encode(value))


@pytest.mark.parametrize("encoded", ["c1020140", "c10602a3016140" + "40", "c10902a30161" + "40", "d1000000", "c1"])
def test_damaged_maps(encoded: str) -> None:
    with pytest.raises(DecodeError):
        read(wire.FIELDS, bytes.fromhex(encoded))


def test_map_with_an_odd_count() -> None:
    with pytest.raises(DecodeError, match="a key has no value"):
        read(wire.FIELDS, bytes.fromhex("c1050" + "1a3016140"))


def test_map_with_a_key_twice() -> None:
    with pytest.raises(DecodeError, match="twice"):
        read(wire.FIELDS, bytes.fromhex("c10904a3016140a3016140"))


def test_simple_values_only() -> None:
    for value in ([], (), {}):
        with pytest.raises(EncodeError, match=r"properties\['k'\]: a \w+ is not allowed"):
            PROPERTIES.encode({"k": value}, 0)
    assert PROPERTIES.encode({"k": Described(1, ULong(1))}, 0)


def test_depth_is_passed_on() -> None:
    assert wire.FIELDS.encode({"a": None}, 31)
    with pytest.raises(EncodeError, match="32 levels"):
        wire.FIELDS.encode({"a": None}, 32)
    with pytest.raises(EncodeError, match="32 levels"):
        wire.FIELDS.encode({"a": [None]}, 31)
