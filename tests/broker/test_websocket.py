"""The broker as a WebSocket server, with clients that keep the rules and clients that do not."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import NegotiationError
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

import uamqp.aio as amqp
from uamqp.broker import Broker
from uamqp.engine.connection import AMQP_HEADER, SASL_HEADER
from uamqp.exceptions import ConnectionClosed
from uamqp.transport.websocket import MAX_MESSAGE

from .conftest import Starter
from .helpers import BOUND, eventually, put, take

REQUEST = (
    b"GET /any/path HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(b"k" * 16) + b"\r\n"
)


class Client:
    """A stream to the port for WebSockets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, broker: Broker) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", broker.websocket_port))

    @classmethod
    async def open(cls, broker: Broker, behind: bytes = b"") -> Client:
        """With the WebSocket open; `behind` is sent together with the request."""
        client = await cls.connect(broker)
        client.writer.write(REQUEST + b"Sec-WebSocket-Protocol: amqp\r\n\r\n" + behind)
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        return client

    def send(self, opcode: Opcode, data: bytes = b"", *, fin: bool = True) -> None:
        self.writer.write(Frame(opcode, data, fin).serialize(mask=True))

    async def end(self) -> bytes:
        """All that comes until the broker hangs up."""
        data = b""
        try:
            async with asyncio.timeout(BOUND):
                while part := await self.reader.read(65_536):
                    data += part
        except ConnectionError:
            pass
        self.writer.close()
        return data


async def test_a_message_goes_from_one_port_to_the_other(start: Starter) -> None:
    broker = await start(websocket_port=0)
    async with amqp.connect(broker.websocket_url, timeout=BOUND) as one, amqp.connect(broker.url) as other:
        await put(one, "q", "x")
        assert await take(other, "q") == ["x"]
        assert broker.connections == 2
    await eventually(lambda: broker.connections == 0)


async def test_stopping_closes_the_connections(start: Starter) -> None:
    broker = await start(websocket_port=0)
    async with amqp.connect(broker.websocket_url, timeout=BOUND) as connection:
        await broker.stop()
        with pytest.raises(ConnectionClosed, match="the broker stops"):
            await connection.sender("q")


async def test_a_port_that_is_taken_leaves_nothing_listening(start: Starter) -> None:
    taken = await start()
    broker = Broker(websocket_port=taken.port)
    with pytest.raises(OSError, match="address already in use"):
        await broker.start()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", broker.port)
    await broker.stop()


async def test_serve_forever_serves_both_ports(start: Starter) -> None:
    broker = await start(websocket_port=0)
    serving = asyncio.create_task(broker.serve_forever())
    async with amqp.connect(broker.websocket_url), amqp.connect(broker.url):
        pass
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_the_client_certificate_counts(start: Starter, certificates: Path) -> None:
    files = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    broker = await start(websocket_port=0, tls_client_ca=certificates / "ca.pem", users={"x": "y"}, **files)
    own = {"cert_file": str(certificates / "alice.pem"), "key_file": str(certificates / "alice.key")}
    async with amqp.connect(broker.websocket_url, ca_file=str(certificates / "ca.pem"), **own) as connection:
        await put(connection, "q", "x")


# -- the opening handshake -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["amqp"], "amqp"), (["AMQPWSB10"], "AMQPWSB10"), (["mqtt", "amqp"], "amqp"), (["mqtt"], None), ([], None)],
)
async def test_subprotocols(start: Starter, offered: list[str], chosen: str | None) -> None:
    broker = await start(websocket_port=0)
    uri = parse_uri(broker.websocket_url)
    protocol = ClientProtocol(uri, subprotocols=[Subprotocol(name) for name in offered])
    protocol.send_request(protocol.connect())
    client = await Client.connect(broker)
    client.writer.write(b"".join(protocol.data_to_send()))
    head = await client.reader.readuntil(b"\r\n\r\n")
    if chosen is None:
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert await client.end()
        return
    protocol.receive_data(head)
    assert protocol.subprotocol == chosen
    client.writer.close()
    assert not isinstance(protocol.handshake_exc, NegotiationError)


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"\x00\x01\x02", b""),
        (AMQP_HEADER, b""),
        (b"POST / HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 426 Upgrade Required\r\n"),
        (b"GET /\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000, b""),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 1000 + b"\r\n", b""),
    ],
)
async def test_what_is_no_request(start: Starter, request_: bytes, answer: bytes) -> None:
    broker = await start(websocket_port=0)
    client = await Client.connect(broker)
    client.writer.write(request_)
    assert (await client.end()).startswith(answer)
    await eventually(lambda: broker.connections == 0)


async def test_a_client_that_goes_during_the_handshake(start: Starter) -> None:
    broker = await start(websocket_port=0)
    client = await Client.connect(broker)
    client.writer.write(REQUEST)
    client.writer.close()
    await client.writer.wait_closed()
    async with amqp.connect(broker.websocket_url):
        await eventually(lambda: broker.connections == 1)


@pytest.mark.parametrize("opened", [False, True], ids=["before it is open", "before AMQP"])
async def test_the_handshake_has_its_time(start: Starter, opened: bool) -> None:
    broker = await start(websocket_port=0, handshake_timeout=0.1)
    client = await (Client.open(broker) if opened else Client.connect(broker))
    assert await client.end() == b""
    assert broker.connections == 0


async def test_handshakes_are_counted(start: Starter) -> None:
    broker = await start(websocket_port=0, max_handshakes=1)
    first = await Client.open(broker)
    second = await Client.connect(broker)
    assert await second.end() == b""
    first.writer.close()
    await eventually(lambda: broker.connections == 0)


# -- afterwards ------------------------------------------------------------------------------------------------------


def masked(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=True)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (masked(Opcode.TEXT, b"hello"), 1003),
        (Frame(Opcode.BINARY, SASL_HEADER).serialize(mask=False), 1002),
        (b"\xc2\x80\x00\x00\x00\x00", 1002),
        (masked(Opcode.CONT, b"x"), 1002),
        (b"\x82\xff" + (MAX_MESSAGE + 1).to_bytes(8, "big") + b"\x00\x00\x00\x00", 1009),
        (b"\x89\xff" + (126).to_bytes(8, "big") + bytes(4 + 126), 1002),
        (masked(Opcode.CLOSE, b"\x03\xe8"), 1000),
    ],
    ids=["text", "no mask", "compressed", "a continuation of nothing", "too long", "a long ping", "goodbye"],
)
@pytest.mark.parametrize("together", [False, True], ids=["later", "with the request"])
async def test_rules_that_are_broken(start: Starter, frames: bytes, code: int, together: bool) -> None:
    broker = await start(websocket_port=0)
    client = await Client.open(broker, frames if together else b"")
    if not together:
        client.writer.write(frames)
    end = await client.end()
    # The broker's frames have no mask: opcode, length, code.
    assert end[end.index(b"\x88") + 2 :][:2] == code.to_bytes(2, "big")
    await eventually(lambda: broker.connections == 0)


async def test_fragments_without_end_are_cut_off(start: Starter) -> None:
    broker = await start(websocket_port=0)
    client = await Client.open(broker)
    client.send(Opcode.BINARY, SASL_HEADER, fin=False)
    # Empty SASL frames are not allowed; half of one is waited for.
    client.send(Opcode.CONT, b"\x7f", fin=False)
    client.send(Opcode.CONT, b"x" * MAX_MESSAGE, fin=False)
    assert b"\x88" in await client.end()
    await eventually(lambda: broker.connections == 0)


async def test_frames_of_amqp_in_messages_of_one_byte(start: Starter) -> None:
    broker = await start(websocket_port=0)
    client = await Client.open(broker)
    for byte in AMQP_HEADER:
        client.send(Opcode.BINARY, bytes([byte]))
    assert await client.reader.readexactly(2 + 8) == b"\x82\x08" + AMQP_HEADER
    client.send(Opcode.PING, b"there?")
    data = b""
    while b"there?" not in data:
        data += await client.reader.read(1024)
    client.writer.close()


async def test_pings_of_a_client_that_does_not_read_cost_nothing(start: Starter) -> None:
    broker = await start(websocket_port=0)
    client = await Client.open(broker)
    (accepted,) = broker._connections.values()
    tunnel: Any = accepted.transport
    tunnel.set_write_buffer_limits(0)
    stream = tunnel._stream
    frame = masked(Opcode.PING, b"x" * 125) * 100
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    # Until the broker reads no more.
    while stream.is_reading():
        client.writer.write(frame)
        await asyncio.sleep(0)
    assert stream.get_write_buffer_size() < 1 << 20
    client.reader._transport.resume_reading()  # type: ignore[attr-defined]
    reading = asyncio.create_task(client.end())
    await eventually(stream.is_reading)
    client.writer.transport.abort()
    await reading
    await eventually(lambda: broker.connections == 0)


async def test_who_breaks_the_rules_and_reads_nothing_is_cut_off(
    start: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uamqp.transport.tunnel._LINGER", 0.05)
    broker = await start(websocket_port=0, handshake_timeout=10 * BOUND)
    client = await Client.open(broker)
    client.reader._transport.pause_reading()  # type: ignore[attr-defined]
    (accepted,) = broker._connections.values()
    assert accepted.transport is not None
    # More than sockets take, and yet the broker goes on reading.
    accepted.transport.set_write_buffer_limits(1 << 30)
    for _ in range(40):
        accepted.transport.write(b"x" * (256 * 1024))
    client.send(Opcode.TEXT, b"x")
    client.send(Opcode.TEXT, b"y")
    await eventually(lambda: broker.connections == 0)
    client.writer.transport.abort()
