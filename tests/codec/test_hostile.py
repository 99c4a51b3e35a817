"""Bytes that nobody honest would send: each decodes to a value that survives a round trip, or raises DecodeError."""

from __future__ import annotations

import inspect
import itertools
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uamqp.codec.composite import by_name, decode_composite
from uamqp.codec.message import Data, Message, Sequence, Value
from uamqp.codec.performatives import decode_performative
from uamqp.codec.primitives import LEGACY, MAX_DEPTH, MAX_ELEMENTS, MAX_ZERO_WIDTH, decode, decode_all, encode, skip
from uamqp.codec.values import Described
from uamqp.exceptions import DecodeError

from .strategies import COMPOSITES, MESSAGES, VALUES

pytestmark = pytest.mark.bulk

Check = Callable[[bytes], object]


def attempt(read: Callable[[], Any], size: int) -> Any:
    """What `read` gives, or None where it raises the one error that it may."""
    try:
        return read()
    except DecodeError as error:
        assert 0 <= error.offset <= size
        assert error.condition in ("amqp:decode-error", "amqp:invalid-field")
        return None


def check_bounds(read: Callable[[bytes, int, int], Any], data: bytes) -> None:
    """What lies behind the end is not looked at: neither value nor error are other ones."""

    def outcome(beside: bytes) -> str:
        try:
            return repr(read(data + beside, 0, len(data)))
        except DecodeError as error:
            return f"{error!r} at {error.offset}"

    assert outcome(data) == outcome(b"")


def check_value(data: bytes) -> object:
    check_bounds(decode, data)
    check_bounds(skip, data)
    value = attempt(lambda: decode_all(data), len(data))
    if value is not None:
        encoded = encode(value)
        assert encode(decode_all(encoded)) == encoded
        assert skip(data, 0, len(data)) == len(data)
    attempt(lambda: decode_all(data, LEGACY), len(data))
    attempt(lambda: skip(data, 0, len(data)), len(data))
    return value


def check_composite(data: bytes) -> object:
    check_bounds(decode_composite, data)
    check_bounds(decode_performative, data)
    found = attempt(lambda: decode_composite(data, 0, len(data)), len(data))
    attempt(lambda: decode_performative(data, 0, len(data)), len(data))
    if found is None:
        return None
    value, end = found
    assert end <= len(data)
    encoded = encode(value)
    again, _ = decode_composite(encoded, 0, len(encoded))
    assert encode(again) == encoded
    return value


def check_message(data: bytes) -> object:
    def read() -> Message:
        message = Message.decode(data)
        message.check()
        return message

    repr(Message.decode(data))
    message = attempt(read, len(data))
    if message is None:
        return None
    assert message.encode() == data
    body: Any = Value(message.body)
    if message.body_kind == "data":
        body = Data(message.data_sections)
    elif message.body_kind == "sequence":
        body = Sequence(message.sequence_sections)
    fresh = Message(
        body,
        header=message.header,
        delivery_annotations=message.delivery_annotations,
        annotations=message.annotations,
        properties=message.properties,
        application_properties=message.application_properties,
        footer=message.footer,
    ).encode()
    assert Message.decode(fresh).encode() == fresh
    return message


REFERENCES: dict[str, tuple[bytes, Check]] = {
    **{f"value: {name}": (encode(value), check_value) for name, value in VALUES.items()},
    **{f"composite: {name}": (value.encode(), check_composite) for name, value in COMPOSITES.items()},
    **{f"message: {name}": (message.encode(), check_message) for name, message in MESSAGES.items()},
}


def test_there_are_enough_references() -> None:
    assert len(REFERENCES) >= 60


@pytest.mark.parametrize("name", REFERENCES)
def test_references_are_valid(name: str) -> None:
    data, check = REFERENCES[name]
    assert check(data) is not None or data == b"\x40"


@pytest.mark.parametrize("name", REFERENCES)
def test_every_truncation(name: str) -> None:
    data, check = REFERENCES[name]
    for end in range(len(data)):
        value = check(data[:end])
        # Whole sections at the end of a message can be cut off; anything else is missed.
        assert value is None or isinstance(value, Message)


@pytest.mark.parametrize("name", REFERENCES)
def test_bit_flips(name: str) -> None:
    data, check = REFERENCES[name]
    bits: list[int] = list(range(8 * len(data)))
    if len(bits) > 1500:
        bits = random.Random(name).sample(bits, 1500)
    for bit in bits:
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        check(bytes(damaged))


@pytest.mark.parametrize("name", REFERENCES)
def test_random_damage(name: str) -> None:
    data, check = REFERENCES[name]
    chance = random.Random(name)
    pool = [other for other, _ in REFERENCES.values()]
    for _ in range(60):
        damaged = bytearray(data)
        at = chance.randrange(len(damaged))
        to = chance.randrange(len(damaged) + 1)
        other = chance.choice(pool)
        match chance.randrange(4):
            case 0:
                damaged[at] = chance.randrange(256)
            case 1:
                del damaged[min(at, to) : max(at, to)]
            case 2:
                damaged[at:at] = other[: chance.randrange(len(other) + 1)]
            case _:
                damaged[at] = other[chance.randrange(len(other))]
        check(bytes(damaged))


@pytest.mark.parametrize("code", range(256))
def test_every_constructor_in_every_place(code: int) -> None:
    for tail in (b"", b"\x00" * 8, b"\x01" * 8, b"\xff" * 24, b"\x04\x02\x40\x40" + b"\x40" * 12):
        value = bytes((code,)) + tail
        size = len(value)
        check_value(value)
        check_value(bytes((0xC0, size + 1, 1)) + value)
        check_value(bytes((0xC1, size + 2, 2, 0x40)) + value)
        check_value(bytes((0xE0, size + 1, 1)) + value)
        check_value(b"\x00\x53\x05" + value)
        check_value(b"\x00" + value + b"\x40")
        for descriptor in (0x10, 0x12, 0x14, 0x1D, 0x28, 0x34, 0x41, 0x73):
            check_composite(bytes((0, 0x53, descriptor, 0xC0, size + 1, 1)) + value)
            check_composite(bytes((0, 0x53, descriptor)) + value)
        for section in range(0x6F, 0x7A):
            check_message(bytes((0, 0x53, section)) + value)


# --- depth --------------------------------------------------------------------------------------------------------


def wide(code: int) -> Callable[[bytes, int], bytes]:
    def wrap(inner: bytes, count: int = 1) -> bytes:
        return struct.pack("!BII", code, len(inner) + 4, count) + inner

    return wrap


def narrow(code: int) -> Callable[[bytes, int], bytes]:
    def wrap(inner: bytes, count: int = 1) -> bytes:
        if len(inner) > 254:
            return wide(code + 0x10)(inner, count)
        return bytes((code, len(inner) + 1, count)) + inner

    return wrap


#: Puts one value into another, one level deeper.
LEVELS: dict[str, Callable[[bytes], bytes]] = {
    "list8": lambda inner: narrow(0xC0)(inner, 1),
    "list32": lambda inner: wide(0xD0)(inner, 1),
    "map8": lambda inner: narrow(0xC1)(b"\x40" + inner, 2),
    "map32": lambda inner: wide(0xD1)(b"\x40" + inner, 2),
    # The element of an array is its constructor and its bytes: the same as a value.
    "array8": lambda inner: narrow(0xE0)(inner, 1),
    "array32": lambda inner: wide(0xF0)(inner, 1),
    "described": lambda inner: b"\x00\x44" + inner,
    "described by symbol": lambda inner: b"\x00\xa3\x01x" + inner,
}

#: Surroundings of a value, and the levels that they use up.
PLACES: dict[str, tuple[Callable[[bytes], bytes], Check, int]] = {
    "value": (lambda v: v, check_value, 0),
    "properties of open": (
        lambda v: b"\x00\x53\x10" + wide(0xD0)(b"\xa1\x01c" + b"\x40" * 8 + wide(0xD1)(b"\xa3\x01k" + v, 2), 10),
        check_composite,
        3,
    ),
    "filter of attach": (
        lambda v: (
            b"\x00\x53\x12"
            + wide(0xD0)(
                b"\xa1\x01n\x43\x41\x40\x40\x00\x53\x28" + wide(0xD0)(b"\x40" * 7 + wide(0xD1)(b"\xa3\x01k" + v, 2), 8),
                6,
            )
        ),
        check_composite,
        5,
    ),
    "error info": (
        lambda v: (
            b"\x00\x53\x18"
            + wide(0xD0)(b"\x00\x53\x1d" + wide(0xD0)(b"\xa3\x01c\x40" + wide(0xD1)(b"\xa3\x01k" + v, 2), 3), 1)
        ),
        check_composite,
        5,
    ),
    "message annotations": (
        lambda v: b"\x00\x53\x72" + wide(0xD1)(b"\xa3\x01k" + v, 2) + b"\x00\x53\x75\xa0\x00",
        check_message,
        1,
    ),
    "body": (lambda v: b"\x00\x53\x77" + v, check_message, 0),
    "sequence": (lambda v: b"\x00\x53\x76" + wide(0xD0)(v, 1), check_message, 1),
    "footer": (
        lambda v: b"\x00\x53\x75\xa0\x00\x00\x53\x78" + wide(0xD1)(b"\xa3\x01k" + v, 2),
        check_message,
        1,
    ),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("level", LEVELS)
def test_depth(level: str, place: str) -> None:
    surround, check, used = PLACES[place]
    value = b"\x50\x01"
    for depth in range(1, MAX_DEPTH + 3):
        value = LEVELS[level](value)
        found = check(surround(value))
        assert (found is not None) == (depth + used <= MAX_DEPTH), depth


def test_depth_of_any_mixture() -> None:
    forms = itertools.cycle(LEVELS.values())
    value = b"\x50\x01"
    for depth in range(1, MAX_DEPTH + 3):
        value = next(forms)(value)
        assert (check_value(value) is not None) == (depth <= MAX_DEPTH), depth


def deep(level: str, depth: int) -> bytes:
    if level.startswith("described"):
        return LEVELS[level](b"") * depth + b"\x40"
    # From the inside out the size of each level is known, so that a million levels take one pass.
    key = b"\x40" if "map" in level else b""
    code = {"list32": 0xD0, "map32": 0xD1, "array32": 0xF0}[level]
    head = 9 + len(key)
    count = 1 + len(key)
    total = depth * head + 2
    heads = (struct.pack("!BII", code, total - i * head - 5, count) + key for i in range(depth))
    return b"".join(heads) + b"\x50\x01"


def at_low_recursion_limit(call: Callable[[], Any]) -> Any:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + 200)
    try:
        return call()
    finally:
        sys.setrecursionlimit(limit)


@pytest.mark.parametrize("level", ["list32", "map32", "array32", "described", "described by symbol"])
def test_a_million_levels(level: str) -> None:
    data = deep(level, 1_000_000 if level in ("list32", "described") else 10_000)
    with pytest.raises(DecodeError, match="32 levels"):
        at_low_recursion_limit(lambda: decode_all(data))
    with pytest.raises(DecodeError, match="32 levels"):
        at_low_recursion_limit(lambda: Message.decode(b"\x00\x53\x77" + data).check())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("level", LEVELS)
def test_the_deepest_legal_value_needs_little_stack(level: str, place: str) -> None:
    surround, check, used = PLACES[place]
    value = b"\x50\x01"
    for _ in range(MAX_DEPTH - used):
        value = LEVELS[level](value)
    assert at_low_recursion_limit(lambda: check(surround(value))) is not None


@pytest.mark.parametrize("data", [b"\x00" * 50_000, b"\x00\x00\x44\x40" * 1000, b"\xc0" * 50_000, b"\xe0" * 50_000])
def test_constructors_all_the_way(data: bytes) -> None:
    assert check_value(data) is None
    assert check_composite(data) is None
    assert check_message(data) is None


# --- counts and sizes ---------------------------------------------------------------------------------------------

HUGE = (MAX_ELEMENTS, MAX_ELEMENTS + 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1)


@pytest.mark.parametrize("count", HUGE)
@pytest.mark.parametrize("code", [0xD0, 0xD1, 0xF0])
def test_huge_counts(code: int, count: int) -> None:
    for inner in (b"", b"\x40", b"\x50\x01", b"\x40" * 100):
        assert check_value(struct.pack("!BII", code, len(inner) + 4, count) + inner) is None
        assert check_message(b"\x00\x53\x77" + struct.pack("!BII", code, len(inner) + 4, count) + inner) is None


@pytest.mark.parametrize("code", [0xC0, 0xC1, 0xE0])
def test_narrow_counts(code: int) -> None:
    for count in range(3, 256):
        assert check_value(bytes((code, 3, count)) + b"\x40\x40") is None or code == 0xE0


def test_more_elements_than_accepted() -> None:
    for code in (0xD0, 0xD1):
        data = struct.pack("!BII", code, MAX_ELEMENTS + 6, MAX_ELEMENTS + 2) + b"\x40" * (MAX_ELEMENTS + 2)
        with pytest.raises(DecodeError, match="at most 65536"):
            decode_all(data)


@pytest.mark.parametrize("constructor", [0x40, 0x41, 0x42, 0x43, 0x44, 0x45])
@pytest.mark.parametrize("count", [0, 1, MAX_ZERO_WIDTH, MAX_ZERO_WIDTH + 1, 65_535, 2**32 - 1])
def test_zero_width_elements(constructor: int, count: int) -> None:
    for element in (bytes((constructor,)), bytes((0, 0x53, 5, constructor))):
        data = struct.pack("!BII", 0xF0, 4 + len(element), count) + element
        if count <= MAX_ZERO_WIDTH:
            value = decode_all(data)
            assert isinstance(value, list)
            assert len(value) == count
            check_value(data)
        else:
            assert check_value(data) is None


@pytest.mark.parametrize("arrays", [2, 200, 20_000])
def test_zero_width_elements_of_many_arrays(arrays: int) -> None:
    array = bytes((0xE0, 2, 200, 0x40))
    data = struct.pack("!BII", 0xD0, 4 + arrays * len(array), arrays) + array * arrays
    with pytest.raises(DecodeError, match="256"):
        decode_all(data)
    nested = struct.pack("!BII", 0xF0, 5 + arrays * 3, arrays) + b"\xe0" + array[1:] * arrays
    assert check_value(nested) is None


@pytest.mark.parametrize("name", VALUES)
def test_lying_sizes(name: str) -> None:
    data = encode(VALUES[name])
    width = {0xA: 1, 0xC: 1, 0xE: 1, 0xB: 4, 0xD: 4, 0xF: 4}.get(data[0] >> 4)
    if width is None:
        return
    size = int.from_bytes(data[1 : 1 + width], "big")
    for lie in (0, 1, size - 1, size + 1, size + 7, 2 ** (8 * width) - 1):
        if lie == size or not 0 <= lie < 2 ** (8 * width):
            continue
        damaged = data[:1] + lie.to_bytes(width, "big") + data[1 + width :]
        # Alone, and with more bytes behind that a size too large would reach into.
        assert check_value(damaged) is None
        assert check_value(bytes((0xC0, 255, 1)) + damaged) is None
        if lie > size:
            wrapped = struct.pack("!BII", 0xD0, len(damaged) + 4, 1) + damaged + b"\x40" * 8
            with pytest.raises(DecodeError):
                decode_all(wrapped)


def test_a_size_that_reaches_out_of_its_parent() -> None:
    # The inner list takes the null that belongs to the outer one, or what lies behind both.
    for inner_size in (3, 4):
        data = bytes((0xC0, 5, 2, 0xC0, inner_size, inner_size - 1)) + b"\x40" * 12
        with pytest.raises(DecodeError):
            decode_all(data)
        assert attempt(lambda: decode_composite(b"\x00\x53\x99" + data, 0, 10), len(data) + 3) is None  # noqa: B023


def test_odd_maps() -> None:
    for count in (1, 3, 255):
        body = b"\x50\x01" * count
        for data in (bytes((0xC1, len(body) + 1 & 0xFF, count)) + body, wide(0xD1)(body, count)):
            assert check_value(data) is None
            assert check_message(b"\x00\x53\x72" + data + b"\x00\x53\x75\xa0\x00") is None


def test_duplicate_keys() -> None:
    for keys in (b"\xa3\x01k\xa3\x01k", b"\xa3\x01k\xb3\x00\x00\x00\x01k"):
        for number, data in ((0x10, b"\xa1\x01c" + b"\x40" * 8), (0x13, b"\x40\x43\x43\x43" + b"\x40" * 6)):
            first, second = keys[:3], keys[3:]
            entries = wide(0xD1)(first + b"\x40" + second + b"\x40", 4)
            fields = data + entries
            count = {0x10: 10, 0x13: 11}[number]
            frame = bytes((0, 0x53, number)) + wide(0xD0)(fields, count)
            with pytest.raises(DecodeError, match="twice"):
                decode_composite(frame, 0, len(frame))


# --- descriptors --------------------------------------------------------------------------------------------------

ILLEGAL_DESCRIPTORS = [
    encode(value)
    for name, value in VALUES.items()
    if name not in ("symbol", "ulong above long") and not name.startswith("long string")
]


@pytest.mark.parametrize("descriptor", ILLEGAL_DESCRIPTORS, ids=lambda d: d[:8].hex())
def test_descriptors_of_illegal_kinds(descriptor: bytes) -> None:
    data = b"\x00" + descriptor + b"\x40"
    assert check_value(data) is None
    assert check_composite(data) is None
    assert check_message(data) is None
    assert check_value(narrow(0xE0)(data, 1)) is None
    assert attempt(lambda: skip(data, 0, len(data)), len(data)) is None


def near_misses(name: str) -> Iterator[str]:
    yield name + "x"
    yield name + ":"
    yield name[:-1]
    yield name[1:]
    yield name.upper()
    yield name.capitalize()
    yield " " + name
    yield name + "\0"


SECTION_NAMES = {
    "amqp:delivery-annotations:map": b"\xc1\x01\x00",
    "amqp:message-annotations:map": b"\xc1\x01\x00",
    "amqp:application-properties:map": b"\xc1\x01\x00",
    "amqp:data:binary": b"\xa0\x00",
    "amqp:amqp-sequence:list": b"\x45",
    "amqp:amqp-value:*": b"\x40",
    "amqp:footer:map": b"\xc1\x01\x00",
}


def described(name: str, value: bytes) -> bytes:
    raw = name.encode()
    return b"\x00\xa3" + bytes((len(raw),)) + raw + value


@pytest.mark.parametrize("name", by_name)
def test_symbolic_descriptors_of_composites_match_exactly(name: str) -> None:
    original = next((v for v in COMPOSITES.values() if name == v.NAME), None)
    value = original.encode()[3:] if original is not None else b"\x45"
    data = described(name, value)
    found = attempt(lambda: decode_composite(data, 0, len(data)), len(data))
    assert found is None or name == found[0].NAME
    for wrong in near_misses(name):
        data = described(wrong, value)
        found, _ = decode_composite(data, 0, len(data))
        assert type(found) is Described
        assert attempt(lambda: decode_performative(data, 0, len(data)), len(data)) is None  # noqa: B023


@pytest.mark.parametrize("name", SECTION_NAMES)
def test_symbolic_descriptors_of_sections_match_exactly(name: str) -> None:
    body = b"" if "amqp-" in name or "data" in name or "footer" in name else described("amqp:data:binary", b"\xa0\x00")
    front = described("amqp:data:binary", b"\xa0\x00") if "footer" in name else b""
    assert check_message(front + described(name, SECTION_NAMES[name]) + body) is not None
    for wrong in near_misses(name):
        assert check_message(front + described(wrong, SECTION_NAMES[name]) + body) is None


# --- memory -------------------------------------------------------------------------------------------------------


def bombs() -> Iterator[tuple[str, bytes]]:
    size = 60_000
    yield "list of lists", wide(0xD0)(b"\x45" * size, size)
    yield "list of maps", wide(0xD0)(b"\xc1\x01\x00" * (size // 3), size // 3)
    yield "list of nulls", wide(0xD0)(b"\x40" * size, size)
    yield "described list of numbers", b"\x00\x44" + wide(0xD0)(b"\x43" * size, size)
    yield "described list of described", b"\x00\x44" + wide(0xD0)(b"\x00\x44\x43" * (size // 3), size // 3)
    yield "array of bytes", wide(0xF0)(b"\x50" + b"\x07" * size, size)
    yield "array of described", wide(0xF0)(b"\x00\x44" * 30 + b"\x50" + b"\x07" * size, size)
    yield "array of empty lists", wide(0xF0)(b"\xc0" + b"\x01\x00" * (size // 2), size // 2)
    yield "array of empty arrays", wide(0xF0)(b"\xe0" + b"\x02\x00\x40" * (size // 3), size // 3)
    yield "symbols", wide(0xD0)(b"\xa3\x01\x61" * (size // 3), size // 3)
    yield "count", struct.pack("!BII", 0xD0, 100, 2**32 - 1) + b"\x40" * 96
    yield "zero width", struct.pack("!BII", 0xF0, 5, 2**32 - 1) + b"\x40"
    yield "binary", b"\xb0\xff\xff\xff\xff" + b"x" * 100
    # Every level says that all of the rest are its elements.
    yield "nested counts", b"".join(
        struct.pack("!BII", 0xD0, size + 9 * (MAX_DEPTH - i) - 5, min(MAX_ELEMENTS, size)) for i in range(MAX_DEPTH)
    ) + b"\x40" * size  # fmt: skip


@pytest.mark.parametrize(("name", "data"), list(bombs()), ids=lambda value: value if isinstance(value, str) else "")
def test_memory_is_bounded_by_the_bytes(name: str, data: bytes) -> None:
    read = [lambda: decode_all(data), lambda: decode_all(data, LEGACY), lambda: Message.decode(b"\0Sw" + data).check()]
    for call in read:
        tracemalloc.start()
        value = attempt(call, len(data) + 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        del value
        assert peak <= 72 * len(data) + 65_536, (name, peak / len(data))
