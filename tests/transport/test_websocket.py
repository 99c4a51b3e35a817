from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

import uamqp.aio
import uamqp.sync
from uamqp.broker import Broker
from uamqp.exceptions import AddressError, AMQPError, AuthenticationError, ConnectionLost, OperationTimeout
from uamqp.transport import websocket as module
from uamqp.transport.address import Endpoint, parse_url
from uamqp.transport.tunnel import SocketTunnel
from uamqp.transport.websocket import MAX_MESSAGE, MAX_PIECE, WebSocket

from ..aio.peers import BOUND
from .servers import FACES, LARGE, cancel_connect, read_exactly, read_head, read_to_end, round_trip, serving


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker.running(websocket_port=0) as broker:
        yield broker


# -- it works --------------------------------------------------------------------------------------------------------


@FACES
@pytest.mark.parametrize("subprotocol", ["amqp", "AMQPWSB10"])
def test_round_trip(face: str, subprotocol: str, broker: Broker) -> None:
    round_trip(face, f"{broker.websocket_url}/any/path", websocket_subprotocol=subprotocol)


@FACES
def test_round_trip_with_tls_and_a_password(face: str, certificates: Path) -> None:
    files = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    with Broker.running(websocket_port=0, users={"me": "s3cret"}, **files) as broker:
        assert broker.websocket_url == f"wss://127.0.0.1:{broker.websocket_port}"
        ca_file = str(certificates / "ca.pem")
        round_trip(face, broker.websocket_url, user="me", password="s3cret", ca_file=ca_file)
        with pytest.raises(ConnectionLost, match="CERTIFICATE_VERIFY_FAILED"):
            round_trip(face, broker.websocket_url)


def test_uvloop(broker: Broker) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        async with uamqp.aio.connect(broker.websocket_url, timeout=BOUND) as connection:
            async with connection.sender("q") as sender:
                await sender.send(LARGE)

    uvloop.run(run())


@FACES
def test_a_connection_that_the_broker_cuts_is_lost(face: str) -> None:
    with Broker.running(websocket_port=0) as broker:

        def blocking() -> None:
            with uamqp.sync.connect(broker.websocket_url, timeout=BOUND) as connection:
                with connection.receiver("q") as receiver:
                    broker.call(broker.drop_connections)
                    receiver.receive()

        async def run() -> None:
            async with uamqp.aio.connect(broker.websocket_url, timeout=BOUND) as connection:
                async with connection.receiver("q") as receiver:
                    broker.call(broker.drop_connections)
                    await receiver.receive()

        with pytest.raises(ConnectionLost, match="connection was lost"):
            blocking() if face == "sync" else asyncio.run(run())


@FACES
def test_closing_says_goodbye(face: str) -> None:
    ends: queue.Queue[str] = queue.Queue()

    def handle(stream: socket.socket) -> None:
        websocket = WebSocket.server()
        while websocket.error is None:
            websocket.receive(stream.recv(65_536))
            if websocket.error is not None:
                ends.put(str(websocket.error))
            stream.sendall(websocket.take_reply())

    with serving(handle) as port:
        with pytest.raises(OperationTimeout, match="did not finish the opening handshake"):
            round_trip(face, f"ws://127.0.0.1:{port}", connect_timeout=0.1)
        assert ends.get(timeout=BOUND) == "the client closed the WebSocket: 1000 (OK)"


# -- the opening handshake -------------------------------------------------------------------------------------------


@FACES
def test_what_the_server_is_asked(face: str) -> None:
    seen: list[bytes] = []

    def handle(stream: socket.socket) -> None:
        seen.append(read_head(stream))

    with serving(handle) as port, pytest.raises(ConnectionLost):
        url = f"ws://me:swordfish@localhost:{port}/$servicebus/web socket%3F%C3%A9"
        round_trip(face, url, websocket_subprotocol="special")
    first, *headers, _, _ = seen[0].decode().split("\r\n")
    fields = dict(line.split(": ") for line in headers)
    assert first == "GET /$servicebus/web%20socket%3F%C3%A9 HTTP/1.1"
    assert fields["Host"] == f"localhost:{port}"
    assert fields["Sec-WebSocket-Protocol"] == "special"
    assert "Sec-WebSocket-Extensions" not in fields
    # Credentials are for AMQP.
    assert "Authorization" not in fields


def test_the_server_is_asked_for_the_host_that_is_wanted() -> None:
    def host(url: str, **options: Any) -> str:
        seen: list[bytes] = []
        with serving(lambda stream: seen.append(read_head(stream))) as port, pytest.raises(ConnectionLost):
            round_trip("sync", url, connect_to=("127.0.0.1", port), **options)
        return next(line[6:] for line in seen[0].decode().split("\r\n") if line.startswith("Host: "))

    assert host("ws://broker.example") == "broker.example"
    assert host("ws://broker.example:8080", hostname="other.example") == "other.example:8080"
    assert host("ws://büro.example") == "xn--bro-hoa.example"
    assert host("ws://[::1]:5") == "[::1]:5"


@pytest.mark.parametrize("hostname", ["a\r\nX: y", "a b", "é" * 70])
def test_a_host_name_that_does_not_fit_into_the_request(hostname: str) -> None:
    with pytest.raises(AddressError, match="is not the host and port"):
        round_trip("sync", "ws://127.0.0.1:1", hostname=hostname)


def accepting(request: bytes, *, key: bytes = b"", subprotocol: bytes = b"amqp") -> bytes:
    """The answer of a server that opens the WebSocket."""
    key = key or next(line[19:] for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: "))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    lines += [b"Sec-WebSocket-Accept: " + accept]
    if subprotocol:
        lines += [b"Sec-WebSocket-Protocol: " + subprotocol]
    return b"\r\n".join([*lines, b"", b""])


ANSWERS: list[tuple[Any, type[AMQPError], str]] = [
    (
        b"HTTP/1.1 302 Found\r\nlocation:  https://u:s3cret@evil.example/x?sig=s3cret\r\n\r\n",
        ConnectionLost,
        r"answered 302 Found with the location https://…@evil.example/x\?…, which is not followed$",
    ),
    (b"HTTP/1.1 302 Found\r\n\r\n", ConnectionLost, "answered 302 Found$"),
    (b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n\r\n", AuthenticationError, "answered 401 Unauthorized"),
    (b"HTTP/1.1 403 Forbidden\r\n\r\n", AuthenticationError, "answered 403 Forbidden"),
    (b"HTTP/1.1 404\r\nContent-Length: 1000000\r\n\r\n<html>", ConnectionLost, "answered 404"),
    (b"HTTP/1.0 200 OK\r\n\r\n<html>", ConnectionLost, "answered 200 OK"),
    (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", ConnectionLost, "answered 503 Service Unavailable"),
    (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ConnectionLost, "does not open a WebSocket: missing Connection"),
    (b"HTTP/1.1 101 X\r\nno header\r\n\r\n", ConnectionLost, "does not open a WebSocket: "),
    (b"AMQP\x00\x01\x00\x00", ConnectionLost, "does not speak HTTP"),
    (b"\x15\x03\x01\x00\x02\x02\x50", ConnectionLost, "does not speak HTTP"),
    (b"HTTP/1.1 101 X\r\n" + b"X: y\r\n" * 4096, ConnectionLost, "sent a head of more than 16384 bytes"),
    (b"", ConnectionLost, "hung up during the opening handshake"),
    (b"HTTP/1.1 101", ConnectionLost, "hung up during the opening handshake"),
    (lambda r: accepting(r, key=b"other"), ConnectionLost, "does not open a WebSocket: invalid Sec-WebSocket-Accept"),
    (lambda r: accepting(r, subprotocol=b"mqtt"), ConnectionLost, "does not open a WebSocket: .*mqtt"),
    (lambda r: accepting(r, subprotocol=b""), ConnectionLost, "without the subprotocol of AMQP"),
]


@FACES
@pytest.mark.parametrize(("answer", "error", "text"), ANSWERS, ids=[text for _, _, text in ANSWERS])
def test_a_server_that_opens_no_websocket(
    face: str, answer: Any, error: type[AMQPError], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def handle(stream: socket.socket) -> None:
        request = read_head(stream)
        stream.sendall(answer(request) if callable(answer) else answer)

    with serving(handle) as port:
        with pytest.raises(error, match=f"the WebSocket server ws://127.0.0.1:{port} .*{text}") as caught:
            round_trip(face, f"ws://me:swordfish@127.0.0.1:{port}")
    assert "swordfish" not in f"{caught.value!r} {caplog.text}"


@FACES
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switch"])
def test_a_server_that_never_answers(face: str, answer: bytes) -> None:
    gone = threading.Event()

    def handle(stream: socket.socket) -> None:
        stream.sendall(answer)
        read_to_end(stream)
        gone.set()

    with serving(handle) as port:
        with pytest.raises(OperationTimeout, match=r"with.* ws://.* within 0\.1 s|to ws://.* within 0\.1 s"):
            round_trip(face, f"ws://127.0.0.1:{port}", connect_timeout=0.1)
        assert gone.wait(BOUND)


async def test_a_cancelled_connect_leaves_no_stream() -> None:
    async def connect(port: int) -> None:
        await uamqp.aio.connect(f"ws://127.0.0.1:{port}")

    await cancel_connect(read_head, connect)


@FACES
def test_without_the_package_the_error_says_how_to_get_it(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "uamqp.transport.websocket")
    monkeypatch.setitem(sys.modules, "websockets.client", None)
    with pytest.raises(AddressError, match=r'ws://127.0.0.1:80 needs websockets: pip install "uamqp\[websocket\]"'):
        round_trip(face, "ws://127.0.0.1")
    with pytest.raises(AddressError, match=r'pip install "uamqp\[websocket\]"'):
        Broker(websocket_port=0)


@FACES
def test_credentials_go_over_tls_only(face: str) -> None:
    with pytest.raises(AddressError, match=r"would go to ws://broker\.example:80 unencrypted; use wss://"):
        round_trip(face, "ws://me:s3cret@broker.example")
    with pytest.raises(AddressError, match=r"which is plain TCP; use wss://"):
        round_trip(face, "ws://broker.example", ca_file="ca.pem")


def test_the_urls_of_websockets() -> None:
    assert parse_url("wss://broker.example/a/b") == Endpoint("broker.example", 443, True, path="a/b", websocket=True)
    assert parse_url("ws://broker.example") == Endpoint("broker.example", 80, False, websocket=True)
    assert str(parse_url("wss://me:s3cret@broker.example/a")) == "wss://broker.example:443"


# -- afterwards ------------------------------------------------------------------------------------------------------


def unmasked(opcode: Opcode, data: bytes = b"", fin: bool = True) -> bytes:
    return Frame(opcode, data, fin).serialize(mask=False)


FRAMES = [
    (unmasked(Opcode.TEXT, b"AMQP"), r"sent a text message \(1003\)", 1003),
    (Frame(Opcode.BINARY, b"x").serialize(mask=True), r"broke the WebSocket protocol \(1002\)", 1002),
    (b"\xc2\x00", r"broke the WebSocket protocol \(1002\)", 1002),
    (b"\x83\x00", r"broke the WebSocket protocol \(1002\)", 1002),
    (unmasked(Opcode.CONT, b"x"), r"broke the WebSocket protocol \(1002\)", 1002),
    (b"\x82\x7f" + (MAX_MESSAGE + 1).to_bytes(8, "big"), r"broke the WebSocket protocol \(1009\)", 1009),
    (unmasked(Opcode.CLOSE, b"\x03\xf1away"), r"closed the WebSocket: 1009 \(message too big\) away", 1009),
    (b"", "ended the stream without closing the WebSocket", None),
]


@FACES
@pytest.mark.parametrize(("frames", "text", "code"), FRAMES, ids=[text for _, text, _ in FRAMES])
@pytest.mark.parametrize("together", [True, False], ids=["with the answer", "later"])
def test_a_server_that_breaks_the_rules(face: str, together: bool, frames: bytes, text: str, code: int | None) -> None:
    ends: list[bytes] = []

    def handle(stream: socket.socket) -> None:
        answer = accepting(read_head(stream))
        if together:
            stream.sendall(answer + frames)
        else:
            stream.sendall(answer)
            # The header of SASL, in a frame with a mask.
            read_exactly(stream, 14)
            stream.sendall(frames)
        if code is None:
            # Closing it with bytes unread would be a reset.
            stream.shutdown(socket.SHUT_WR)
        ends.append(read_to_end(stream))

    with serving(handle) as port, pytest.raises(ConnectionLost, match=text):
        round_trip(face, f"ws://127.0.0.1:{port}")
    if code is not None:
        server = ServerProtocol(state=State.OPEN)
        server.receive_data(ends[0])
        assert server.close_rcvd is not None and server.close_rcvd.code == code


@FACES
def test_fragments_without_end(face: str) -> None:
    def handle(stream: socket.socket) -> None:
        stream.sendall(accepting(read_head(stream)))
        stream.recv(14)
        # Not AMQP's frames, whose limits are smaller: heartbeats.
        fragment = b"\x00\x00\x00\x08\x02\x00\x00\x00" * 8192
        stream.sendall(unmasked(Opcode.BINARY, b"AMQP\x00\x01\x00\x00", fin=False))
        while True:
            stream.sendall(unmasked(Opcode.CONT, fragment, fin=False))

    with serving(handle) as port, pytest.raises(ConnectionLost, match="broke the WebSocket protocol"):
        round_trip(face, f"ws://127.0.0.1:{port}", sasl=[])


# -- without I/O -----------------------------------------------------------------------------------------------------


def pair() -> tuple[WebSocket, WebSocket]:
    """Both ends of an open one."""
    client = WebSocket.client(parse_url("ws://broker.example"), "broker.example", "amqp")
    server = WebSocket.server()
    assert server.receive(client.start()) == []
    assert server.opened
    assert client.receive(server.take_reply()) == []
    assert client.opened and client.take_reply() == b""
    return client, server


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_reads_of_any_size_give_the_same_payload(size: int) -> None:
    client, server = pair()
    parts = [b"", b"a", b"b" * 125, b"c" * 70_000]
    data = b"".join(map(server.wrap, parts))
    got = [piece for at in range(0, len(data), size) for piece in client.receive(data[at : at + size])]
    assert b"".join(got) == b"".join(parts)


def test_a_handshake_in_single_bytes() -> None:
    client = WebSocket.client(parse_url("ws://broker.example"), "broker.example", "amqp")
    server = WebSocket.server()
    for byte in client.start():
        server.receive(bytes([byte]))
    answer = server.take_reply() + server.wrap(b"payload")
    assert [piece for byte in answer for piece in client.receive(bytes([byte]))] == [b"payload"]


def test_output_becomes_messages_of_bounded_size() -> None:
    client, server = pair()
    data = client.wrap(b"x" * (2 * MAX_PIECE + 1))
    assert list(map(len, server.receive(data))) == [MAX_PIECE, MAX_PIECE, 1]


def test_fragments_are_payload_as_they_come_and_are_limited_together() -> None:
    client, _ = pair()
    half = b"x" * (MAX_MESSAGE // 2)
    assert client.receive(unmasked(Opcode.BINARY, half, fin=False)) == [half]
    assert client.receive(unmasked(Opcode.CONT, half, fin=True)) == [half]
    assert client.receive(unmasked(Opcode.BINARY)) == []
    assert client.receive(unmasked(Opcode.BINARY, half, fin=False)) == [half]
    assert client.receive(unmasked(Opcode.CONT, half, fin=False)) == [half]
    assert client.receive(unmasked(Opcode.CONT, b"x", fin=False)) == []
    assert "(1009)" in str(client.error)


def test_pings_are_answered_and_only_the_latest_waits() -> None:
    client, server = pair()
    assert client.receive(unmasked(Opcode.PING, b"first")) == []
    assert client.receive(unmasked(Opcode.PING, b"second")) == []
    (pong,) = [client.take_reply()]
    assert len(pong) == 2 + 4 + len(b"second")
    assert server.receive(pong) == [] and server.error is None
    assert client.take_reply() == b""


def test_payload_before_an_error_is_not_lost() -> None:
    client, server = pair()
    data = server.wrap(b"payload") + unmasked(Opcode.TEXT, b"x") + server.wrap(b"more")
    assert client.receive(data) == [b"payload"]
    assert client.error is not None
    assert client.receive(server.wrap(b"more")) == []


def test_goodbyes() -> None:
    client, server = pair()
    server.receive(client.close())
    assert str(server.error) == "the client closed the WebSocket: 1000 (OK)"
    client.receive(server.take_reply())
    assert "closed the WebSocket: 1000 (OK)" in str(client.error)
    assert client.close() == b""
    assert WebSocket.server().close() == b""


def test_text_of_the_peer_is_made_printable() -> None:
    client, _ = pair()
    client.receive(unmasked(Opcode.CLOSE, b"\x03\xe8\x1b[31m"))
    assert "\\x1b[31m" in str(client.error)


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", "does not speak HTTP"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "does not open a WebSocket: missing Connection header"),
        (b"GET /\r\n\r\n", "does not open a WebSocket: "),
    ],
)
def test_requests_that_open_none(request_: bytes, text: str) -> None:
    server = WebSocket.server()
    server.receive(request_)
    assert not server.opened
    assert text in str(server.error)


# -- a socket that is full -------------------------------------------------------------------------------------------


class Full(socket.socket):
    """Takes so many bytes, and no more until it is given `room` again."""

    room = 1 << 30

    def send(self, data: Any, flags: int = 0) -> int:
        if not self.room:
            raise BlockingIOError
        sent = super().send(data[: self.room], flags)
        self.room -= sent
        return sent


@pytest.fixture
def tunnel() -> Iterator[tuple[SocketTunnel, Full, socket.socket, WebSocket]]:
    """The end of a client, its stream, and the other end of both."""
    ours, theirs = socket.socketpair()
    stream = Full(ours.family, ours.type, fileno=ours.detach())
    server = WebSocket.server()

    def accept() -> None:
        server.receive(read_head(theirs))
        theirs.sendall(server.take_reply())

    thread = threading.Thread(target=accept)
    thread.start()
    client = WebSocket.client(parse_url("ws://broker.example"), "broker.example", "amqp")
    made = SocketTunnel(stream, client, 1e9)
    thread.join()
    theirs.settimeout(BOUND)
    with theirs:
        yield made, stream, theirs, server
        made.close()


Tunnel = tuple[SocketTunnel, Full, socket.socket, WebSocket]


def test_what_a_full_socket_does_not_take_goes_later_once(tunnel: Tunnel) -> None:
    made, stream, theirs, server = tunnel
    payload = memoryview(b"x" * 1000)
    for room in (0, 10, 100):
        stream.room = room
        with pytest.raises(BlockingIOError):
            made.send(payload)
    stream.room = 1 << 30
    assert made.send(payload) == 1000
    assert b"".join(server.receive(theirs.recv(65_536))) == payload


def test_a_pong_waits_for_room_and_does_not_go_into_a_frame(tunnel: Tunnel) -> None:
    made, stream, theirs, server = tunnel
    stream.room = 10
    with pytest.raises(BlockingIOError):
        made.send(memoryview(b"payload"))
    theirs.sendall(unmasked(Opcode.PING, b"hello"))
    with pytest.raises(BlockingIOError):
        made.recv(100)
    stream.room = 1 << 30
    theirs.sendall(server.wrap(b"answer"))
    assert made.recv(100) == b"answer"
    assert made.send(memoryview(b"payload")) == 7
    assert server.receive(theirs.recv(65_536)) == [b"payload"]
    assert server.error is None


def test_a_pong_without_room_goes_with_what_is_sent_next(tunnel: Tunnel) -> None:
    made, stream, theirs, server = tunnel
    stream.room = 3
    theirs.sendall(unmasked(Opcode.PING, b"hello"))
    with pytest.raises(BlockingIOError):
        made.recv(100)
    stream.room = 1 << 30
    assert made.send(memoryview(b"payload")) == 7
    assert server.receive(theirs.recv(65_536)) == [b"payload"]


def test_what_the_descriptor_does_not_tell_of_is_pending(tunnel: Tunnel) -> None:
    made, stream, theirs, server = tunnel
    assert not made.pending()
    assert made.fileno() == stream.fileno()
    theirs.sendall(server.wrap(b"last") + server.close())
    assert made.recv(100) == b"last"
    assert made.pending()
    for call in (lambda: made.recv(100), lambda: made.send(memoryview(b"x"))):
        with pytest.raises(ConnectionLost, match="closed the WebSocket"):
            call()


def test_a_read_without_payload_is_one_that_would_block(tunnel: Tunnel) -> None:
    made, _, theirs, server = tunnel
    theirs.sendall(unmasked(Opcode.PING) * 1000)
    before = server.wrap(b"payload")
    theirs.sendall(before[:3])
    with pytest.raises(BlockingIOError):
        made.recv(1000)
    theirs.sendall(before[3:])
    with pytest.raises(BlockingIOError):
        made.recv(1000)
    assert made.recv(1000) == b"payload"


def test_parts_of_a_message_are_a_sign_of_life_and_pings_are_not(tunnel: Tunnel) -> None:
    made, _, theirs, server = tunnel
    message = server.wrap(b"large message")
    for part in (message[:1], message[1:5]):
        theirs.sendall(part)
        with pytest.raises(BlockingIOError):
            made.recv(100)
        assert made.heard
    theirs.sendall(message[5:])
    assert made.recv(100) == b"large message"
    theirs.sendall(unmasked(Opcode.PING, b"are you there?"))
    for _ in range(2):
        with pytest.raises(BlockingIOError):
            made.recv(100)
        assert not made.heard


def test_closing_does_not_wait_for_room(tunnel: Tunnel) -> None:
    made, stream, theirs, _ = tunnel
    stream.room = 0
    made.close()
    assert theirs.recv(100) == b""


def test_nothing_of_the_library_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    client, server = pair()
    server.receive(client.wrap(b"swordfish"))
    assert not caplog.records
    assert not module._SILENT.isEnabledFor(logging.ERROR)
