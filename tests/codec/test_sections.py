"""Where the sections of a message lie."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from uamqp.codec import hot_sections, sections
from uamqp.codec.message import Message
from uamqp.codec.primitives import encode
from uamqp.codec.sections import (
    DATA,
    FOOTER,
    HEADER,
    MESSAGE_ANNOTATIONS,
    PROPERTIES,
    SEQUENCE,
    VALUE,
    Header,
    Properties,
    encode_map_section,
    header_section,
    read_property_fields,
    scan,
)
from uamqp.codec.values import Described, Symbol
from uamqp.exceptions import DecodeError, EncodeError

from .strategies import MESSAGES

SECTIONS: dict[str, bytes] = {
    "header": Header(durable=True).encode(),
    "delivery-annotations": encode(Described(0x71, {})),
    "message-annotations": encode(Described(0x72, {})),
    "properties": Properties(to="q").encode(),
    "application-properties": encode(Described(0x74, {})),
    "data": encode(Described(0x75, b"x")),
    "sequence": encode(Described(0x76, [])),
    "value": encode(Described(0x77, None)),
    "footer": encode(Described(0x78, {})),
}

NAMES = {
    "header": "amqp:header:list",
    "delivery-annotations": "amqp:delivery-annotations:map",
    "message-annotations": "amqp:message-annotations:map",
    "properties": "amqp:properties:list",
    "application-properties": "amqp:application-properties:map",
    "data": "amqp:data:binary",
    "sequence": "amqp:amqp-sequence:list",
    "value": "amqp:amqp-value:*",
    "footer": "amqp:footer:map",
}

BODIES = ("data", "sequence", "value")


def joined(*names: str) -> bytes:
    return b"".join(SECTIONS[name] for name in names)


def test_layout() -> None:
    data = joined("header", "message-annotations", "data", "data", "footer")
    layout = scan(data)
    assert layout.kind == DATA
    assert [data[a:b] for a, b in layout.body] == [b"\xa0\x01x", b"\xa0\x01x"]
    assert data[layout.body_start : layout.body_end] == joined("data", "data")
    assert {code: data[start:end] for code, (start, _, end) in layout.sections.items()} == {
        HEADER: SECTIONS["header"],
        MESSAGE_ANNOTATIONS: SECTIONS["message-annotations"],
        FOOTER: SECTIONS["footer"],
    }
    assert scan(joined("sequence")).kind == SEQUENCE
    assert scan(joined("value")).kind == VALUE


@pytest.mark.parametrize("name", SECTIONS)
def test_descriptors_in_other_forms(name: str) -> None:
    section = SECTIONS[name]
    in_front = joined("data") if name == "footer" else b""
    behind = b"" if name in (*BODIES, "footer") else joined("data")
    original = scan(in_front + section + behind)
    for descriptor in (
        b"\x80" + section[2].to_bytes(8, "big"),
        encode(Symbol(NAMES[name])),
        b"\xb3" + len(NAMES[name]).to_bytes(4, "big") + NAMES[name].encode(),
    ):
        data = in_front + b"\x00" + descriptor + section[3:] + behind
        layout = scan(data)
        assert layout.kind == original.kind
        assert layout.sections.keys() == original.sections.keys()
        Message.decode(data).check()


@pytest.mark.parametrize("second", SECTIONS)
@pytest.mark.parametrize("first", SECTIONS)
def test_order_of_any_two_sections(first: str, second: str) -> None:
    names = list(SECTIONS)
    data = joined(first, second)
    repeatable = first == second and first in ("data", "sequence")
    in_order = names.index(first) < names.index(second) or repeatable
    one_kind = not (first in BODIES and second in BODIES) or repeatable
    if in_order and one_kind:
        Message.decode(data).check()
    else:
        with pytest.raises(DecodeError):
            scan(data)


@pytest.mark.parametrize(
    ("data", "reason", "offset"),
    [
        (b"", "without any section", 0),
        (b"\x45", "a section expected, not constructor 0x45", 0),
        (b"\x00", "too early", 1),
        (b"\x00\x53", "too early", 2),
        (b"\x00\x53\x75", "too early", 3),
        (b"\x00\x44\x40", "0 is not the descriptor of a section", 0),
        (b"\x00\x53\x79\x40", "121 is not the descriptor of a section", 0),
        (b"\x00\x53\x24\x45", "36 is not the descriptor of a section", 0),
        (b"\x00\xa3\x01x\x40", "'x'.* is not the descriptor of a section", 0),
        (b"\x00\x40\x40\x40", "ulong or a symbol", 1),
        (b"\x00\x53\x75\x40", "section 0x75 cannot be of constructor 0x40", 3),
        (b"\x00\x53\x75\xa1\x00", "section 0x75 cannot be of constructor 0xa1", 3),
        (b"\x00\x53\x76\xc1\x01\x00", "cannot be", 3),
        (b"\x00\x53\x70\xc1\x01\x00", "cannot be", 3),
        (b"\x00\x53\x72\x45", "cannot be", 3),
        (b"\x00\x53\x77\xff", "no constructor", 3),
        (b"\x00\x53\x75\xa0\x05abc", "larger than", 3),
        (joined("data") + b"\x45", "a section expected", 6),
        (joined("data", "header"), "section 0x70 after section 0x75", 6),
        (joined("data", "value"), "more than one kind", 6),
        (joined("value", "value"), "after section", 4),
    ],
)
def test_bad_messages(data: bytes, reason: str, offset: int) -> None:
    with pytest.raises(DecodeError, match=reason) as caught:
        scan(data)
    assert caught.value.offset == offset


def found(data: bytes) -> object:
    """What `scan` finds in the message, or why it is none."""
    try:
        layout = scan(data)
    except DecodeError as error:
        return str(error), error.offset
    return {name: getattr(layout, name) for name in layout.__slots__}


KINDS = [
    *(message.encode() for message in MESSAGES.values()),
    *(joined("header", "properties") + encode(Described(0x75, bytes(size))) for size in (0, 1, 2, 200, 201, 300, 301)),
    *(Properties(to="q" * 300).encode() + encode(Described(0x75, bytes(size))) for size in (1, 300, 301)),
]


def variants(data: bytes) -> Iterator[bytes]:
    """Others that are nearly the same."""
    yield from KINDS
    for place in [*range(min(len(data), 60)), *range(max(60, len(data) - 310), len(data), 7)]:
        yield data[:place]
        for change in (0x01, 0x10, 0xFF):
            yield data[:place] + bytes((data[place] ^ change,)) + data[place + 1 :]
    for more in (b"\x00", encode(Described(0x75, b"x")), encode(Described(0x78, {})), bytes(100)):
        yield data + more


@pytest.mark.parametrize("data", KINDS, ids=range(len(KINDS)))
def test_messages_that_came_before_change_nothing(data: bytes) -> None:
    for variant in variants(data):
        sections._recent.clear()
        alone = found(variant)
        sections._recent.clear()
        first = found(data)
        assert found(variant) == alone
        assert found(data) == first


def test_messages_of_one_sender_share_what_is_known_of_them() -> None:
    def message(text: str, body: bytes) -> bytes:
        return Message(body, properties=Properties(message_id=text), application_properties={"a": 1}).encode()

    sections._recent.clear()
    layouts = [scan(message("one", b"x" * size)) for size in (300, 300, 1000)]
    assert layouts[1] is layouts[0]
    assert layouts[2].sections is layouts[0].sections
    assert [layout.body_end - layout.body_start for layout in layouts] == [308, 308, 1008]
    other = scan(message("another", b"x" * 300))
    assert other.sections is not layouts[0].sections
    # What is kept does not grow.
    for number in range(1000):
        scan(message("x" * (number % 100), bytes(number)))
    assert len(sections._recent) <= 64


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_scanned_to_its_end(name: str) -> None:
    data = MESSAGES[name].encode()
    layout = scan(data)
    ends = [end for _, _, end in layout.sections.values()] + [layout.body_end]
    assert max(ends) == len(data)


def test_header_section() -> None:
    header = Header(durable=True, ttl=1000)
    rest = joined("properties", "data")
    assert header_section(header.encode() + rest) == (header, len(header.encode()))
    named = b"\x00" + encode(Symbol("amqp:header:list")) + header.encode()[3:]
    assert header_section(named + rest) == (header, len(named))
    assert header_section(rest) == (None, 0)
    assert header_section(b"") == (None, 0)
    for bad in (b"\x45", b"\x00\x53\x70\x40", b"\x00\x53\x70", b"\x00\x53\x99\x45", b"\x00\x53\x70\xc0\x05\x01\x41"):
        with pytest.raises(DecodeError):
            header_section(bad)


def test_encode_map_section() -> None:
    assert encode_map_section(MESSAGE_ANNOTATIONS, {"a": None}) == b"\x00\x53\x72\xc1\x05\x02\xa3\x01a\x40"
    with pytest.raises(EncodeError, match="message-annotations"):
        encode_map_section(MESSAGE_ANNOTATIONS, {None: 1})
    assert PROPERTIES == Properties.CODE


def test_fields_of_properties_as_they_came() -> None:
    def fields(payload: bytes) -> list[Any] | None:
        return read_property_fields(payload, sections.scan(payload).sections[0x73])

    properties = Properties(message_id="ä", user_id=b"u", content_type="c", creation_time=5)
    came = ["ä".encode(), b"u", None, None, None, None, b"c", None, None, 5, None, None, None]
    assert fields(Message(b"x", properties=properties).encode()) == came
    for damaged in (bytes.fromhex("005373c00501a102fffe"), bytes.fromhex("005373c00401a10561")):
        assert fields(damaged + b"\x00\x53\x75\xa0\x00") is None


def test_symbols_that_came_before_are_the_same_objects() -> None:
    def content_type(name: str) -> Any:
        payload = Message(b"x", properties=Properties(content_type=name)).encode()
        return Message.decode(payload).properties.content_type

    first = content_type("text/plain")
    assert type(first) is Symbol and content_type("text/plain") is first
    # However many there are, few are kept.
    for number in range(1000):
        assert content_type(f"application/x-{number}") == f"application/x-{number}"
    assert len(hot_sections._symbols) <= 256
    damaged = Message(b"x", properties=Properties(content_type="text")).encode().replace(b"text", b"te\xfft")
    for _ in range(2):
        with pytest.raises(DecodeError):
            Message.decode(damaged).properties  # noqa: B018
