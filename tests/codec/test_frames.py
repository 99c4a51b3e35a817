from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uamqp.codec.definitions import Accepted
from uamqp.codec.frames import Frame, FrameReader, ProtocolHeader, Unreadable
from uamqp.codec.performatives import Disposition, Open, SaslInit, Transfer
from uamqp.codec.values import Symbol


def frame(body: bytes, channel: int = 0, kind: int = 0, doff: int = 2, size: int | None = None) -> bytes:
    length = 8 + (doff - 2) * 4 + len(body) if size is None else size
    return struct.pack("!IBBH", length, doff, kind, channel) + bytes(max(0, doff - 2) * 4) + body


TRANSFER = Transfer(handle=0, delivery_id=1, delivery_tag=b"t", message_format=0)
DISPOSITION = Disposition(role=True, first=1, settled=True, state=Accepted())
STREAM = b"".join(
    [
        b"AMQP\x03\x01\x00\x00",
        frame(SaslInit(Symbol("PLAIN"), b"\0user\0s3cret").encode(), kind=1),
        b"AMQP\x00\x01\x00\x00",
        frame(Open("me").encode()),
        frame(TRANSFER.encode() + b"payload", channel=7),
        frame(DISPOSITION.encode(), channel=7, doff=3),
        frame(b""),
    ]
)
ITEMS = [
    ProtocolHeader(3, (1, 0, 0)),
    Frame(0, SaslInit(Symbol("PLAIN"), b"\0user\0s3cret")),
    ProtocolHeader(0, (1, 0, 0)),
    Frame(0, Open("me")),
    Frame(7, TRANSFER, b"payload"),
    Frame(7, DISPOSITION),
    Frame(0, None),
]


def test_a_stream_and_what_is_shown_of_it() -> None:
    reader = FrameReader()
    items = list(reader.feed(STREAM))
    assert items == ITEMS
    assert reader.rest == 0
    lines = [str(item) for item in items]
    assert lines[0] == "header SASL 1.0.0"
    assert lines[2] == "header AMQP 1.0.0"
    assert lines[4].startswith("7: Transfer(")
    assert lines[4].endswith(") + 7 bytes")
    assert lines[6] == "0: heartbeat"
    assert "s3cret" not in "".join(lines)
    assert str(ProtocolHeader(9, (1, 0, 0))) == "header protocol 9 1.0.0"


@given(st.lists(st.integers(0, len(STREAM))))
def test_pieces_of_any_size(cuts: list[int]) -> None:
    reader = FrameReader()
    places = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[a:b] for a, b in pairwise(places)]
    assert [item for piece in pieces for item in reader.feed(piece)] == ITEMS


def test_what_is_not_complete() -> None:
    reader = FrameReader()
    assert len(list(reader.feed(STREAM[:-3]))) == len(ITEMS) - 1
    assert reader.rest == 5


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"AMQP\x00\x01\x00\x00" + frame(b"", size=7),
        b"AMQP\x00\x01\x00\x00" + frame(b"", size=1 << 31),
        b"AMQP\x00\x01\x00\x00" + struct.pack("!IBBH", 8, 1, 0, 0),
        b"AMQP\x00\x01\x00\x00" + struct.pack("!IBBH", 8, 3, 0, 0),
        b"AMQP\x00\x01\x00\x00" + frame(b"", kind=2),
    ],
    ids=["no header", "too short", "too long", "offset too small", "offset too large", "type"],
)
def test_streams_that_are_lost(data: bytes) -> None:
    reader = FrameReader(max_frame_size=1 << 20)
    *_, last = reader.feed(data + b"more of it, so that there is enough to see")
    assert isinstance(last, Unreadable)
    assert last.fatal
    assert str(last).startswith("unreadable: no ")
    assert str(last).endswith(" …")
    assert list(reader.feed(STREAM)) == []
    assert reader.rest == 0


def test_a_frame_that_cannot_be_read_does_not_hide_the_next() -> None:
    reader = FrameReader()
    items = list(reader.feed(b"AMQP\x00\x01\x00\x00" + frame(b"\x00\x53\x99\x45") + frame(b"\xff") + frame(b"")))
    assert [type(item) for item in items] == [ProtocolHeader, Unreadable, Unreadable, Frame]
    assert "ff" in str(items[2])
    assert not items[2].fatal  # type: ignore[union-attr]
