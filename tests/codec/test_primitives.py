"""Values to bytes and back."""

from __future__ import annotations

import copy
import datetime as dt
import enum
import math
import pickle
import struct
import uuid
from collections import OrderedDict, namedtuple
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uamqp.codec.constructors import CODES
from uamqp.codec.encoding import list_of
from uamqp.codec.primitives import (
    LEGACY,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_ZERO_WIDTH,
    MODERN,
    decode,
    decode_all,
    encode,
    skip,
)
from uamqp.codec.values import (
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
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
from uamqp.exceptions import DecodeError, EncodeError

from .strategies import SCALARS, VALUES, label, scalars, values

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
POINT = namedtuple("POINT", "x y")


class Colour(enum.IntEnum):
    RED = 1


class Shape(enum.StrEnum):
    ROUND = "round"


#: Value, its encoding, and what a plain decoder makes of it where that is not the value.
ENCODINGS: list[tuple[Any, str]] = [
    (None, "40"),
    (True, "41"),
    (False, "42"),
    (UByte(0), "5000"),
    (UByte(255), "50ff"),
    (UShort(258), "600102"),
    (UInt(0), "43"),
    (UInt(1), "5201"),
    (UInt(255), "52ff"),
    (UInt(256), "7000000100"),
    (ULong(0), "44"),
    (ULong(255), "53ff"),
    (ULong(256), "800000000000000100"),
    (Byte(-1), "51ff"),
    (Byte(127), "517f"),
    (Short(-2), "61fffe"),
    (Int(-128), "5480"),
    (Int(127), "547f"),
    (Int(128), "7100000080"),
    (Long(-1), "55ff"),
    (0, "5500"),
    (127, "557f"),
    (-128, "5580"),
    (128, "810000000000000080"),
    (-129, "81ffffffffffffff7f"),
    (2**63 - 1, "817fffffffffffffff"),
    (2**63, "808000000000000000"),
    (2**64 - 1, "80ffffffffffffffff"),
    (Float(1.0), "723f800000"),
    (1.0, "823ff0000000000000"),
    (math.inf, "827ff0000000000000"),
    (Decimal32("1"), "7432800001"),
    (Decimal64("1"), "8431c0000000000001"),
    (Decimal("1"), "9430400000000000000000000000000001"),
    (Char("a"), "7300000061"),
    (Char("\U0010ffff"), "730010ffff"),
    (EPOCH, "830000000000000000"),
    (EPOCH + dt.timedelta(milliseconds=-1), "83ffffffffffffffff"),
    (Timestamp(2**62), "834000000000000000"),
    (Timestamp(-(2**63)), "838000000000000000"),
    (uuid.UUID(int=1), "9800000000000000000000000000000001"),
    (b"", "a000"),
    (b"\x01", "a00101"),
    (b"x" * 255, "a0ff" + "78" * 255),
    (b"x" * 256, "b000000100" + "78" * 256),
    ("", "a100"),
    ("é", "a102c3a9"),
    ("x" * 256, "b100000100" + "78" * 256),
    (Symbol("ab"), "a3026162"),
    (Symbol("x" * 256), "b300000100" + "78" * 256),
    ([], "45"),
    ([None], "c0020140"),
    ([1] * 127, "c0ff7f" + "5501" * 127),
    ([1] * 128, "d00000010400000080" + "5501" * 128),
    ([None] * 256, "d00000010400000100" + "40" * 256),
    ({}, "c10100"),
    ({"a": None}, "c10502a1016140"),
    (Array([], "uint"), "e0020052"),
    (Array([0, 255], "uint"), "e004025200ff"),
    (Array([0, 256], "uint"), "e00a02700000000000000100"),
    (Array([-1], "int"), "e0030154ff"),
    (Array([128], "int"), "e006017100000080"),
    (Array([1], "ubyte"), "e003015001"),
    (Array([True, False], "boolean"), "e00402560100"),
    (Array([None, None], "null"), "e0020240"),
    (Array(["a", ""], "string"), "e00502a1016100"),
    (Array([b"x" * 255], "binary"), "f00000010500000001a0ff" + "78" * 255),
    (Array([1.0], "double"), "e00a01823ff0000000000000"),
    (Array([[], [None]], "list"), "e00702c00100020140"),
    (Array([{}], "map"), "e00401c10100"),
    (Array([Array([1], "ubyte")], "array"), "e00601e003015001"),
    (Array([5], Described(7, "uint")), "e0060100530752" + "05"),
    (Described(0, None), "004440"),
    (Described(255, None), "0053ff40"),
    (Described(2**32, None), "0080000000010000000040"),
    (Described("a", True), "00a3016141"),
]


@pytest.mark.parametrize(("value", "expected"), ENCODINGS, ids=label)
def test_encodings(value: Any, expected: str) -> None:
    assert encode(value).hex() == expected
    assert decode_all(bytes.fromhex(expected)) == value


def test_arrays_of_arrays_share_the_wide_form() -> None:
    value = Array([Array([1], "ubyte"), Array([b"x" * 300], "binary")], "array")
    encoded = encode(value)
    assert encoded[9] == 0xF0
    assert encoded[10:20].hex() == "00000006" + "00000001" + "5001"
    assert decode_all(encoded) == value


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        ("5601", True),
        ("5600", False),
        ("7000000000", 0),
        ("800000000000000000", 0),
        ("7100000001", 1),
        ("810000000000000001", 1),
        ("b000000001" + "01", b"\x01"),
        ("b100000001" + "61", "a"),
        ("b300000001" + "61", Symbol("a")),
        ("c00100", []),
        ("d00000000400000000", []),
        ("d000000006000000015501", [1]),
        ("d10000000400000000", {}),
        ("f00000000500000000" + "40", []),
        ("e0020341", [True, True, True]),
        ("e0020342", [False, False, False]),
        ("e0020243", [0, 0]),
        ("e0020245", [[], []]),
        ("00b30000000161" + "40", Described("a", None)),
    ],
)
def test_longer_forms_are_understood(encoded: str, value: Any) -> None:
    assert decode_all(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (bytearray(b"a"), "a00161"),
        (memoryview(b"a"), "a00161"),
        ((1,), "c003015501"),
        (POINT(1, 2), "c0050255015502"),
        (OrderedDict(a=1), "c10602a101615501"),
        (Colour.RED, "5501"),
        (Shape.ROUND, "a105726f756e64"),
        (dt.datetime(1970, 1, 1, 1, 0, 0, 999, tzinfo=dt.timezone(dt.timedelta(hours=1))), "830000000000000000"),
    ],
    ids=label,
)
def test_other_python_types(value: Any, encoded: str) -> None:
    assert encode(value).hex() == encoded


@given(values)
def test_round_trip(value: Any) -> None:
    encoded = encode(value)
    assert decode_all(encoded) == value
    assert skip(encoded, 0, len(encoded)) == len(encoded)


@given(values)
def test_described_values_keep_their_wire_types(value: Any) -> None:
    encoded = encode(Described(99, value))
    assert encode(decode_all(encoded)) == encoded


@given(values, st.binary(max_size=20), st.binary(max_size=20))
def test_a_value_inside_a_larger_buffer(value: Any, before: bytes, behind: bytes) -> None:
    encoded = encode(value)
    end = len(before) + len(encoded)
    data = before + encoded + behind
    assert decode(data, len(before)) == (value, end)
    assert decode(data, len(before), end) == (value, end)
    assert skip(data, len(before), end) == end
    with pytest.raises(DecodeError):
        decode(data, len(before), end - 1)
    with pytest.raises(DecodeError):
        skip(data, len(before), end - 1)


@pytest.mark.parametrize("kind", SCALARS)
@given(data=st.data())
def test_scalars_in_described_values_have_their_class(kind: str, data: st.DataObject) -> None:
    value = data.draw(SCALARS[kind])
    again = decode_all(encode(Described(1, value)))
    assert isinstance(again, Described)
    assert type(again.value) is (int if type(value) is Long else Decimal if kind == "decimal128" else type(value))


def test_nan() -> None:
    for value in (math.nan, Float(math.nan), Decimal("NaN"), Decimal32("NaN")):
        again = decode_all(encode(value))
        assert again != again
    signalling = decode_all(bytes.fromhex("747e000000"))
    assert signalling != signalling


def legacy(value: Any) -> Any:
    """What the legacy dialect makes of a value."""
    if isinstance(value, Char):
        return str(value)
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dt.datetime):
        return (value - EPOCH) // dt.timedelta(milliseconds=1)
    if isinstance(value, Described):
        return legacy(value.value)
    if isinstance(value, list):
        return [legacy(item) for item in value]
    if isinstance(value, dict):
        return {legacy(key): legacy(item) for key, item in value.items()}
    return value


@given(values)
def test_legacy_dialect(value: Any) -> None:
    try:
        again = decode_all(encode(value), LEGACY)
    except DecodeError as error:
        assert "twice" in error.description  # keys of different types that look the same as bytes
    else:
        assert again == legacy(value)


@pytest.mark.parametrize("name", VALUES)
def test_legacy_types(name: str) -> None:
    def walk(value: Any) -> None:
        assert type(value) in (
            type(None), bool, int, float, Decimal, bytes, str, uuid.UUID, list, dict
        )  # fmt: skip
        for item in value if isinstance(value, list) else [*value, *value.values()] if isinstance(value, dict) else ():
            walk(item)

    walk(decode_all(encode(VALUES[name]), LEGACY))


def test_legacy_strings_and_long_forms() -> None:
    assert decode_all(encode(["x" * 300, Symbol("y" * 300), Char("c")]), LEGACY) == [b"x" * 300, b"y" * 300, "c"]
    for bad in ("a101ff", "a301ff", "b100000001ff", "b300000001ff"):
        with pytest.raises(DecodeError):
            decode_all(bytes.fromhex(bad), LEGACY)


def test_dialects_are_singletons() -> None:
    for dialect, name in ((MODERN, "MODERN"), (LEGACY, "LEGACY")):
        assert repr(dialect) == name
        assert pickle.loads(pickle.dumps(dialect)) is dialect
        assert copy.deepcopy(dialect) is dialect


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**64, "64 bits"),
        (-(2**63) - 1, "64 bits"),
        (dt.datetime(2024, 1, 1), "tzinfo"),
        (Decimal("1" * 35), "exactly"),
        (Decimal("1E+7000"), "exactly"),
        ("\ud800", "surrogate"),
        (object(), "no type for object"),
        ({1, 2}, "no type for set"),
        ([[object()]], "no type for object"),
        (Array(["a"], "uint"), "int for uint expected, not str"),
        (Array([True], "uint"), "int for uint expected, not bool"),
        (Array([256], "ubyte"), "ubyte is 0 to 255, not 256"),
        (Array([1], "null"), "None expected"),
        (Array([None] * 257, "null"), "at most 256"),
        (Array([1], "boolean"), "bool expected"),
        (Array(["a"], "double"), "float expected"),
        (Array([True], "double"), "float expected"),
        (Array([True], "float"), "float expected"),
        (Array([1e39], "float"), "32 bits"),
        (Array([10**400], "double"), "64 bits"),
        (Array([1], "decimal32"), "Decimal expected"),
        (Array([Decimal("1.23456789")], "decimal32"), "decimal32"),
        (Array([1], "char"), "str of one character expected"),
        (Array(["ab"], "char"), "one Unicode character"),
        (Array(["a"], "timestamp"), "int for timestamp expected"),
        (Array([2**63], "timestamp"), "timestamp is"),
        (Array([1], "uuid"), "UUID expected"),
        (Array(["a"], "binary"), "bytes expected"),
        (Array([b"a"], "string"), "str expected"),
        (Array([b"a"], "symbol"), "Symbol or str expected"),
        (Array(["ä"], "symbol"), "ASCII"),
        (Array([1], "list"), "list expected"),
        (Array([1], "map"), "dict expected"),
        (Array([[1]], "array"), "Array expected"),
        (Array([Described(2, 1)], Described(2, "uint")), "int for uint expected, not Described"),
    ],
    ids=label,
)
def test_values_that_cannot_be_encoded(value: Any, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        encode(value)


def test_values_that_no_size_can_hold() -> None:
    # Zeros that are never touched take no memory.
    huge = bytes(2**32)
    with pytest.raises(EncodeError, match="4294967295"):
        encode(huge)
    with pytest.raises(EncodeError, match="4294967295"):
        list_of([huge])


def nested(levels: int, wrap: Any) -> Any:
    value: Any = None
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: [inner],
        lambda inner: {"k": inner},
        lambda inner: Described(1, inner),
        lambda inner: Array([inner], "list" if isinstance(inner, list) and not isinstance(inner, Array) else None),
    ],
    ids=["list", "map", "described", "array"],
)
def test_depth_is_the_same_for_both_directions(wrap: Any) -> None:
    deepest = nested(MAX_DEPTH, wrap)
    assert decode_all(encode(deepest)) == deepest
    with pytest.raises(EncodeError, match="32 levels"):
        encode(nested(MAX_DEPTH + 1, wrap))


def test_a_list_that_contains_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(EncodeError, match="32 levels"):
        encode(loop)


def test_descriptors_of_array_elements_count_as_levels() -> None:
    kind: Any = "uint"
    for _ in range(MAX_DEPTH - 1):
        kind = Described(1, kind)
    deepest = Array([5], kind)
    assert decode_all(encode(deepest)) == deepest
    with pytest.raises(EncodeError, match="32 levels"):
        encode(Array([5], Described(1, kind)))


def test_number_of_elements_is_the_same_for_both_directions() -> None:
    for value in ([None] * MAX_ELEMENTS, dict.fromkeys(range(MAX_ELEMENTS // 2)), Array([1] * MAX_ELEMENTS, "ubyte")):
        assert decode_all(encode(value)) == value
    for value in (
        [None] * (MAX_ELEMENTS + 1),
        dict.fromkeys(range(MAX_ELEMENTS // 2 + 1)),
        Array([1] * (MAX_ELEMENTS + 1), "ubyte"),
    ):
        with pytest.raises(EncodeError, match="65536"):
            encode(value)


def test_trailing_bytes() -> None:
    with pytest.raises(DecodeError, match="2 bytes are left") as caught:
        decode_all(b"\x40\x40\x40")
    assert caught.value.offset == 1


@pytest.mark.parametrize(
    ("encoded", "reason", "offset"),
    [
        ("", "too early", 0),
        ("ff", "no constructor 0xff", 0),
        ("5602", "0 or 1, not 2", 1),
        ("7300110000", "Unicode", 1),
        ("730000d800", "Unicode", 1),
        ("73ffffffff", "Unicode", 1),
        ("a102c328", "UTF-8", 2),
        ("a10361c080", "UTF-8", 3),
        ("a103eda080", "UTF-8", 2),
        ("a102c3", "UTF-8", 2),
        ("a30161ff", "1 bytes are left", 3),
        ("a302617f80", "1 bytes are left", 4),
        ("a30180", "not ASCII", 2),
        ("c0050140", "does not fit", 3),
        ("c00000", "does not fit", 3),
        ("c0020240", "2 elements cannot be in 1 bytes", 3),
        ("c003014040", "do not end", 5),
        ("c00201a1", "too early", 4),
        ("c10201" + "40", "a key has no value", 3),
        ("c107045501405501" + "40", "twice", 3),
        ("c1050255014040", "do not end", 7),
        ("c103024540", "key of a map", 0),
        ("c10502c1010040", "key of a map", 0),
        ("c10602e002004040", "key of a map", 0),
        ("e0020001", "no constructor 0x01", 3),
        ("e00100", "too early", 3),
        ("e003025001", "2 elements cannot be in 1 bytes", 4),
        ("00", "too early", 1),
        ("0040", "constructor 0x40", 1),
        ("00a3", "too early", 2),
        ("0053", "too early", 2),
        ("005301", "too early", 3),
        ("00a30180" + "40", "not ASCII", 3),
        ("72000000", "too early", 4),
        ("98000000", "too early", 4),
        ("74000000", "too early", 4),
        ("d0000000", "too early", 4),
        ("8000", "too early", 2),
    ],
)  # fmt: skip
def test_bad_bytes(encoded: str, reason: str, offset: int) -> None:
    data = bytes.fromhex(encoded)
    with pytest.raises(DecodeError, match=reason) as caught:
        decode_all(data)
    assert caught.value.offset == offset
    assert caught.value.condition == "amqp:decode-error"
    assert caught.value.__cause__ is None


def test_end_beyond_the_data() -> None:
    with pytest.raises(DecodeError, match="too early"):
        decode(b"\xa1\x05abc", 0, 7)
    with pytest.raises(DecodeError, match="too early"):
        skip(b"\xa1\x05abc", 0, 7)


@pytest.mark.parametrize("code", range(256))
def test_skip_knows_the_same_constructors_as_decode(code: int) -> None:
    known = {code for codes in CODES.values() for code in codes} | {0}
    # Zeros make an empty or zero value of every constructor but compounds, whose sizes must count their own counts.
    body = {0xC0: b"\x01\x00", 0xC1: b"\x01\x00", 0xE0: b"\x02\x00\x40", 0x00: b"\x44\x40"}.get(code)
    body = body or {
        0xD0: b"\0\0\0\4\0\0\0\0", 0xD1: b"\0\0\0\4\0\0\0\0", 0xF0: b"\0\0\0\5\0\0\0\0\x40"
    }.get(code)  # fmt: skip
    data = bytes((code,)) + (bytes(16) if body is None else body)
    if code not in known:
        for read in (lambda: decode(data), lambda: skip(data, 0, len(data))):
            with pytest.raises(DecodeError, match=f"no constructor 0x{code:02x}"):
                read()
    else:
        _, end = decode(data)
        assert skip(data, 0, len(data)) == end


@pytest.mark.parametrize("encoded", ["", "00", "0053", "0044", "0040", "a1", "b1000000", "b100000001", "50"])
def test_skip_checks_bounds(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    with pytest.raises(DecodeError):
        skip(data, 0, len(data))
    with pytest.raises(DecodeError):
        skip(data + b"\x40" * 20, 0, len(data))


def test_skip_bounds_the_number_of_descriptors() -> None:
    data = b"\x00\x44" * MAX_DEPTH + b"\x40"
    assert skip(data, 0, len(data)) == len(data)
    with pytest.raises(DecodeError, match="32 levels"):
        skip(b"\x00\x44" + data, 0, len(data) + 2)


@given(scalars)
def test_map_keys_may_be_any_scalar(key: Any) -> None:
    assert decode_all(encode({key: 1})) == {key: 1}


@pytest.mark.parametrize("key", [(), (1, 2), ((),)])
def test_map_keys_that_nobody_could_read(key: Any) -> None:
    for value in ({key: 1}, [{key: 1}], Array([{key: 1}], "map")):
        with pytest.raises(EncodeError, match="a list, map or array is the key of a map"):
            encode(value)


def test_zero_width_elements_count_together() -> None:
    half = Array([None] * (MAX_ZERO_WIDTH // 2), "null")
    assert decode_all(encode([half, half])) == [half, half]
    with pytest.raises(DecodeError, match="256"):
        decode_all(encode([half, half, Array([None], "null")]))


def test_timestamps_at_the_edge_of_datetime() -> None:
    first, last = -62_135_596_800_000, 253_402_300_799_999
    for milliseconds in (first, last):
        value = decode_all(struct.pack("!Bq", 0x83, milliseconds))
        assert isinstance(value, dt.datetime)
        assert encode(value) == struct.pack("!Bq", 0x83, milliseconds)
    for milliseconds in (first - 1, last + 1):
        assert decode_all(struct.pack("!Bq", 0x83, milliseconds)) == Timestamp(milliseconds)
        assert type(decode_all(struct.pack("!Bq", 0x83, milliseconds))) is Timestamp


def test_limits_of_depth_and_count() -> None:
    nested: object = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    data = encode(nested)
    assert decode_all(data) == nested
    deeper = b"\xd0" + (len(data) + 4).to_bytes(4, "big") + b"\x00\x00\x00\x01" + data
    with pytest.raises(DecodeError, match="levels deep"):
        decode_all(deeper)
    count = MAX_ELEMENTS + 1
    wide = b"\xd0" + (count + 4).to_bytes(4, "big") + count.to_bytes(4, "big") + b"\x40" * count
    with pytest.raises(DecodeError, match="at most"):
        decode_all(wide)
