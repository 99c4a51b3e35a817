"""A tunnel between a transport and a protocol that note what is asked of them; the rest is in test_websocket.py."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.frames import Frame, Opcode

from uamqp.transport.address import parse_url
from uamqp.transport.tunnel import TransportTunnel
from uamqp.transport.websocket import WebSocket

from ..aio.peers import eventually


class Stream(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__({"peername": "peer"})
        self.written: list[bytes] = []
        self.calls: list[str] = []

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return bool(self.calls)

    def pause_reading(self) -> None:
        self.calls.append("pause_reading")


class Owner(asyncio.Protocol):
    """A protocol that keeps what it gets, and counts how often it hears that the peer is not silent."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.signs = 0

    def data_received(self, data: bytes) -> None:
        if data:
            self.got.append(data)
        else:
            self.signs += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.got.append(exc)

    def pause_writing(self) -> None:
        self.got.append("pause")

    def resume_writing(self) -> None:
        self.got.append("resume")


class Ends:
    """A client whose tunnel leads to `stream`, and the server at its end."""

    def __init__(self) -> None:
        self.server = WebSocket.server()
        self.owner = Owner()
        self.stream = Stream()
        self.decisions = 0
        self.websocket = WebSocket.client(parse_url("ws://broker.example"), "broker.example", "amqp")
        self.tunnel = TransportTunnel(self.websocket, self.owner, self._decide)
        self.tunnel.connection_made(self.stream)

    def _decide(self) -> None:
        self.decisions += 1

    def open(self) -> Ends:
        self.server.receive(self.sent())
        self.tunnel.data_received(self.server.take_reply())
        assert self.decisions == 1
        return self

    def sent(self) -> bytes:
        written, self.stream.written = b"".join(self.stream.written), []
        return written


def ping(data: bytes) -> bytes:
    return Frame(Opcode.PING, data).serialize(mask=False)


async def test_payload_goes_both_ways() -> None:
    ends = Ends().open()
    ends.tunnel.data_received(ends.server.wrap(b"one") + ends.server.wrap(b"two"))
    assert ends.owner.got == [b"one", b"two"]
    ends.tunnel.writelines([b"three", b"four"])
    assert len(ends.stream.written) == 1
    assert ends.server.receive(ends.sent()) == [b"threefour"]
    assert ends.decisions == 1


async def test_parts_of_a_message_are_a_sign_of_life_and_pings_are_not() -> None:
    ends = Ends().open()
    signs = ends.owner.signs
    message = ends.server.wrap(b"large message")
    for part in (message[:1], message[1:5], message[5:]):
        ends.tunnel.data_received(part)
    assert ends.owner.got == [b"large message"]
    assert ends.owner.signs == signs + 2
    ends.tunnel.data_received(ping(b"are you there?"))
    assert ends.owner.signs == signs + 2


async def test_what_the_owner_asks_of_its_transport_is_asked_of_the_stream() -> None:
    ends = Ends().open()
    ends.tunnel.pause_reading()
    assert ends.stream.calls == ["pause_reading"]
    assert ends.tunnel.get_extra_info("peername") == "peer"
    assert ends.tunnel.is_closing()


async def test_pongs_wait_while_the_stream_is_full_and_only_the_latest_goes() -> None:
    ends = Ends().open()
    ends.tunnel.pause_writing()
    for number in range(100):
        ends.tunnel.data_received(ping(b"%d" % number))
    assert ends.sent() == b""
    ends.tunnel.resume_writing()
    assert len(ends.stream.written) == 1 and len(ends.sent()) == 2 + 4 + 2
    ends.tunnel.resume_writing()
    assert ends.sent() == b""
    assert ends.owner.got == ["pause", "resume", "resume"]


async def test_closing_says_goodbye_once_and_takes_nothing_more() -> None:
    ends = Ends().open()
    ends.tunnel.close()
    ends.tunnel.close()
    ends.tunnel.write(b"late")
    ends.server.receive(ends.sent())
    assert str(ends.server.error) == "the client closed the WebSocket: 1000 (OK)"
    assert ends.tunnel.is_closing() and not ends.stream.calls
    # What the peer still had to say is of no use.
    ends.tunnel.data_received(Frame(Opcode.BINARY, b"late").serialize(mask=False) + ends.server.take_reply())
    assert ends.stream.calls == ["close"]
    ends.tunnel.connection_lost(None)
    (error,) = ends.owner.got
    assert "closed the WebSocket: 1000 (OK)" in str(error)


async def test_closing_before_it_is_open_closes_the_stream() -> None:
    ends = Ends()
    ends.tunnel.close()
    assert ends.stream.calls == ["close"]
    ends.tunnel.eof_received()
    assert ends.decisions == 1
    assert "hung up during the opening handshake" in str(ends.websocket.error)


async def test_nothing_is_written_after_an_error() -> None:
    ends = Ends().open()
    ends.tunnel.eof_received()
    ends.tunnel.write(b"late")
    assert ends.sent() == b""


async def test_who_ends_the_stream_and_reads_nothing_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uamqp.transport.tunnel._LINGER", 0.0)
    ends = Ends().open()
    ends.tunnel.eof_received()
    await eventually(lambda: "abort" in ends.stream.calls)
    ends.tunnel.connection_lost(None)


async def test_the_error_of_the_stream_comes_first() -> None:
    ends = Ends().open()
    cause = ConnectionResetError()
    ends.tunnel.connection_lost(cause)
    assert ends.owner.got == [cause]


async def test_a_peer_that_goes_on_after_breaking_the_rules_is_aborted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uamqp.transport.tunnel._LINGER", 0.0)
    ends = Ends().open()
    text = Frame(Opcode.TEXT, b"text").serialize(mask=False)
    ends.tunnel.data_received(text)
    ends.tunnel.data_received(text)
    await eventually(lambda: "abort" in ends.stream.calls)
    assert ends.stream.calls == ["close", "close", "abort"]
    ends.tunnel.connection_lost(None)
