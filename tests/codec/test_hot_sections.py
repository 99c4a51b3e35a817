"""The straight-line twins of sections against the strict decoder: what they understand, it understands alike."""

from __future__ import annotations

import struct
from types import NoneType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uamqp.codec import hot_sections as hot
from uamqp.codec.composite import decode_composite
from uamqp.codec.decoding import LEGACY, MODERN, guarded
from uamqp.codec.primitives import decode, encode
from uamqp.codec.sections import APPLICATION_PROPERTIES, MAP_SECTIONS, Properties
from uamqp.codec.values import FIRST_DATETIME, LAST_DATETIME
from uamqp.exceptions import DecodeError

uints = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
texts = st.text(max_size=12)
symbols = st.text(st.characters(max_codepoint=127), max_size=12)
times = st.integers(-(2**63), 2**63 - 1)
ids = st.one_of(texts, st.just("x" * 300), st.integers(0, 2**64 - 1), st.uuids(), st.binary(max_size=5))
properties = st.builds(
    Properties,
    *(st.one_of(st.none(), values) for values in (ids, st.binary(max_size=9), texts, texts, texts, ids)),
    *(st.one_of(st.none(), values) for values in (symbols, symbols, times, times, texts, uints, texts)),
)


def agrees_on_properties(data: bytes) -> bool:
    try:
        answer = hot.decode_properties(data, 3, len(data))
    except (IndexError, struct.error, UnicodeDecodeError):
        answer = None
    if answer is None:
        return False
    strict, end = decode_composite(data, 0, len(data))
    assert isinstance(strict, Properties) and end == len(data)
    for field, value in zip(Properties.FIELDS, answer, strict=True):
        expected = getattr(strict, field.name)
        assert (type(value), value) == (type(expected), expected)
    return True


def agrees_on_fields(data: bytes) -> bool:
    """The same with text as bytes and times as numbers, against the dialect that has them so."""
    try:
        answer = hot.decode_properties(data, 3, len(data), True)
    except (IndexError, struct.error, UnicodeDecodeError):
        answer = None
    if answer is None:
        return False
    decode_composite(data, 0, len(data))
    expected, _ = decode(data, 3, len(data), LEGACY)
    assert isinstance(expected, list)
    assert answer == expected + [None] * (13 - len(expected))
    assert all(type(value) in (bytes, int, NoneType) for value in answer)
    return True


@given(properties)
def test_properties(value: Properties) -> None:
    usual = all(i is None or (isinstance(i, str) and len(i) < 256) for i in (value.message_id, value.correlation_id))
    times = (value.absolute_expiry_time, value.creation_time)
    # The encoder takes the short forms of a number, of which the straight way knows none.
    usual = usual and (value.group_sequence is None or value.group_sequence > 255)
    assert agrees_on_fields(value.encode()) is (usual and value.encode() != b"\x00\x53\x73\x45")
    usual = usual and all(t is None or FIRST_DATETIME <= t <= LAST_DATETIME for t in times)
    assert agrees_on_properties(value.encode()) is (usual and value.encode() != b"\x00\x53\x73\x45")


@settings(max_examples=400)
@given(
    properties,
    st.lists(st.tuples(st.integers(3, 60), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 40),
)
def test_damaged_properties_are_never_understood_otherwise(
    value: Properties, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(value.encode())
    for place, byte in changes:
        if place < len(data):
            data[place] = byte
    damaged = bytes(data[: max(4, len(data) - cut)])
    try:
        agrees_on_properties(damaged)
        agrees_on_fields(damaged)
    except DecodeError as error:  # pragma: no cover
        raise AssertionError(f"the strict decoder refuses {damaged.hex()}: {error}") from None


simple = st.one_of(
    texts, st.just("x" * 300), st.booleans(), st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)
)


def agrees_on_text_map(data: bytes) -> bool:
    read = MAP_SECTIONS[APPLICATION_PROPERTIES].read
    understood = False
    for dialect in (MODERN, LEGACY):
        try:
            answer = hot.decode_text_map(data, 0, len(data), dialect is LEGACY)
        except (IndexError, struct.error, UnicodeDecodeError):
            answer = None
        if answer is not None:
            understood = True
            strict, end = guarded(read, data, 0, len(data), dialect.table)
            assert isinstance(strict, dict) and end == len(data)
            assert [(type(k), k, type(v), v) for k, v in answer.items()] == [
                (type(k), k, type(v), v) for k, v in strict.items()
            ]
    return understood


@given(st.dictionaries(texts, simple, max_size=6))
def test_text_maps(entries: dict[str, object]) -> None:
    encoded = encode(entries)
    usual = encoded[0] == 0xC1 and not any(
        isinstance(value, float) or (isinstance(value, str) and len(value.encode()) > 255) for value in entries.values()
    )
    assert agrees_on_text_map(encoded) is usual


@pytest.mark.parametrize(
    ("shape", "understood"),
    [
        ("c1 01 00", True),
        ("c1 06 02 a1 01 61 54 05", True),
        ("c1 06 02 a1 01 61 54 ff", True),
        ("c1 09 02 a1 01 61 71 80000000", True),
        ("c1 05 02 a1 01 61 40", True),
        ("c1 06 02 a1 01 61 50 05", False),
        ("c1 06 02 a3 01 61 54 05", False),
        ("c1 0b 04 a1 01 61 54 05 a1 01 61 54 06", False),
        ("c1 06 03 a1 01 61 54 05", False),
        ("c1 06 04 a1 01 61 54 05", False),
        ("c1 06 02 a1 01 ff 54 05", False),
        ("c1 07 02 a1 01 61 54 05", False),
        ("c1 06 02 a1 01 61 a1 05", False),
        ("c1 05 02 a1 01 61 54", False),
        ("d1 00000009 00000002 a1 01 61 54 05", False),
    ],
)
def test_shapes_of_text_maps(shape: str, understood: bool) -> None:
    assert agrees_on_text_map(bytes.fromhex(shape)) is understood


@given(st.dictionaries(texts, simple, min_size=1, max_size=3), st.integers(0, 60), st.integers(0, 255))
def test_damaged_text_maps_are_never_understood_otherwise(entries: dict[str, object], place: int, byte: int) -> None:
    damaged = bytearray(encode(entries))
    damaged[place % len(damaged)] = byte
    agrees_on_text_map(bytes(damaged))


@pytest.mark.parametrize(
    ("shape", "understood"),
    [
        ("c0 01 00", True),
        ("d0 00000007 00000001 a1 01 61", True),
        ("c0 03 01 a0 00", False),
        ("c0 04 02 40 a0 00", True),
        ("c0 0f 0c 40 40 40 40 40 40 40 40 40 40 40 52 01", False),
        ("c0 11 0c 40 40 40 40 40 40 40 40 40 40 40 70 00000001", True),
        ("c0 0e 08 40 40 40 40 40 40 a3 02 6161 a3 01 61", True),
        ("c0 0c 07 40 40 40 40 40 40 a3 02 c3a4", False),
        ("c0 04 01 a1 01 ff", False),
        ("c0 12 09 40 40 40 40 40 40 40 40 83 7fffffffffffffff", False),
        ("c0 02 01 a1 05 61", False),
        ("c0 04 01 a1 02 61", False),
        ("c0 04 01 a1 01 61 40", False),
        ("c0 0f 0e 40 40 40 40 40 40 40 40 40 40 40 40 40 40", False),
        ("c1 01 00", False),
        ("45", False),
    ],
)
def test_shapes_of_properties(shape: str, understood: bool) -> None:
    assert agrees_on_properties(b"\x00\x53\x73" + bytes.fromhex(shape)) is understood


@pytest.mark.parametrize(
    ("payload", "data"),
    [
        (b"\x00\x53\x75\xa0\x00", b""),
        (b"\x00\x53\x75\xa0\x02hi", b"hi"),
        (b"\x00\x53\x75\xa0\x02h", None),
        (b"\x00\x53\x75\xa0\x02hi!", None),
        (b"\x00\x53\x75\xa0", None),
        (b"\x00\x53\x77\xa0\x02hi", None),
        (b"\x00\x53\x75\xb0\x00\x00\x00\x02hi", None),
        (b"", None),
    ],
)
def test_a_lone_data_section(payload: bytes, data: bytes | None) -> None:
    assert hot.lone_data(payload) == data
