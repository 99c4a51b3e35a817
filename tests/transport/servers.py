"""Servers in threads, that answer as a test wants, and a proxy; and a client with either face to try them with."""

from __future__ import annotations

import asyncio
import base64
import select
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import uamqp.aio
import uamqp.sync

from ..aio.peers import BOUND

FACES = pytest.mark.parametrize("face", ["aio", "sync"])

#: More than one message of a WebSocket, and than one read.
LARGE = bytes(range(256)) * 4096

Handler = Callable[[socket.socket], object]


def round_trip(face: str, url: str, **options: Any) -> None:
    """Connect with either driver, send to a queue and receive from it, and close."""
    options = {"timeout": BOUND, "connect_timeout": BOUND, **options}
    bodies = ["there and back", LARGE]

    def blocking() -> None:
        with uamqp.sync.connect(url, **options) as connection:
            with connection.sender("round-trip") as sender, connection.receiver("round-trip") as receiver:
                for body in bodies:
                    sender.send(body)
                    delivery = receiver.receive()
                    assert delivery.body == body
                    delivery.accept()

    async def run() -> None:
        async with uamqp.aio.connect(url, **options) as connection:
            async with connection.sender("round-trip") as sender, connection.receiver("round-trip") as receiver:
                for body in bodies:
                    await sender.send(body)
                    delivery = await receiver.receive()
                    assert delivery.body == body
                    delivery.accept()

    blocking() if face == "sync" else asyncio.run(run())


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """The port of a server whose connections live as long as their handlers, and no longer than this context."""
    listener = socket.create_server(("127.0.0.1", 0))
    streams: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def handle(stream: socket.socket) -> None:
        try:
            handler(stream)
        except OSError:
            pass
        finally:
            stream.close()

    def accept() -> None:
        while True:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            streams.append(stream)
            threads.append(threading.Thread(target=handle, args=(stream,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(BOUND)
        for stream in streams:
            hang_up(stream)
        for thread in threads:
            thread.join(BOUND)
            assert not thread.is_alive()


def hang_up(stream: socket.socket) -> None:
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def read_head(stream: socket.socket) -> bytes:
    """Read to the end of a head of HTTP."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            raise ConnectionError(head)
        head += byte
    return head


def read_exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = stream.recv(size - len(data))
        if not part:
            raise ConnectionError(data)
        data += part
    return data


def read_to_end(stream: socket.socket) -> bytes:
    """Read until the peer hangs up."""
    data = b""
    try:
        while part := stream.recv(65_536):
            data += part
    except ConnectionError:
        pass
    return data


async def cancel_connect(read: Handler, connect: Callable[[int], Awaitable[object]]) -> None:
    """Cancel connecting to a port whose server has `read` and says nothing; no stream may be left."""
    asked, gone = threading.Event(), threading.Event()

    def handle(stream: socket.socket) -> None:
        read(stream)
        asked.set()
        read_to_end(stream)
        gone.set()

    with serving(handle) as port:
        task = asyncio.ensure_future(connect(port))
        assert await asyncio.to_thread(asked.wait, BOUND)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(gone.wait, BOUND)


class ProxyServer:
    """A proxy for CONNECT and SOCKS5, whichever is spoken to it.

    Args:
        user, password: demand these.
        places: what names stand for that only the proxy knows.
        refusal: the status line, or the code of SOCKS5, to refuse all connections with.
        context: speak TLS, and no SOCKS5.

    Attributes:
        wanted: host and port of all that were asked for.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        password: str = "",
        places: dict[str, str] | None = None,
        refusal: str | int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._user = user
        self._password = password
        self._places = places or {}
        self._refusal = refusal
        self._context = context
        self.wanted: list[tuple[str, int]] = []
        self.port = 0

    @contextmanager
    def running(self) -> Iterator[ProxyServer]:
        handler = self._handle if self._context is None else secured(self._http, self._context)
        with serving(handler) as self.port:
            yield self

    def url(self, scheme: str, credentials: str = "") -> str:
        return f"{scheme}://{credentials}127.0.0.1:{self.port}"

    def _handle(self, stream: socket.socket) -> None:
        if stream.recv(1, socket.MSG_PEEK) == b"\x05":
            self._socks(stream)
        else:
            self._http(stream)

    def _http(self, stream: socket.socket) -> None:
        first, *headers = read_head(stream).decode().split("\r\n")
        method, authority, _ = first.split()
        assert method == "CONNECT" and f"Host: {authority}" in headers
        host, _, port = authority.rpartition(":")
        if self._user is not None:
            token = base64.b64encode(f"{self._user}:{self._password}".encode()).decode()
            if f"Proxy-Authorization: Basic {token}" not in headers:
                stream.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
        if self._refusal is not None:
            stream.sendall(f"HTTP/1.1 {self._refusal}\r\nContent-Length: 5\r\n\r\nsorry".encode())
            return
        with self._reach(host.strip("[]"), int(port)) as target:
            stream.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
            relay(stream, target)

    def _socks(self, stream: socket.socket) -> None:
        _, count = read_exactly(stream, 2)
        offered = read_exactly(stream, count)
        method = 0 if self._user is None else 2
        if method not in offered:
            stream.sendall(b"\x05\xff")
            return
        stream.sendall(bytes([5, method]))
        if method == 2:
            _, length = read_exactly(stream, 2)
            user = read_exactly(stream, length).decode()
            password = read_exactly(stream, read_exactly(stream, 1)[0]).decode()
            good = (user, password) == (self._user, self._password)
            stream.sendall(b"\x01\x00" if good else b"\x01\x01")
            if not good:
                return
        _, _, _, kind = read_exactly(stream, 4)
        if kind == 1:
            host = socket.inet_ntoa(read_exactly(stream, 4))
        else:
            assert kind == 3
            host = read_exactly(stream, read_exactly(stream, 1)[0]).decode()
        port = int.from_bytes(read_exactly(stream, 2), "big")
        if self._refusal is not None:
            stream.sendall(bytes([5, int(self._refusal), 0, 1, 0, 0, 0, 0, 0, 0]))
            return
        with self._reach(host, port) as target:
            stream.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
            relay(stream, target)

    def _reach(self, host: str, port: int) -> socket.socket:
        self.wanted.append((host, port))
        return socket.create_connection((self._places.get(host, host), port))


def relay(one: socket.socket, other: socket.socket) -> None:
    """Carry bytes both ways until either side hangs up."""
    # In one thread, because a socket with TLS is not for two.
    while True:
        for source in select.select([one, other], [], [])[0]:
            data = source.recv(65_536)
            while isinstance(source, ssl.SSLSocket) and source.pending():
                data += source.recv(65_536)
            if not data:
                return
            (other if source is one else one).sendall(data)


def secured(handler: Handler, context: ssl.SSLContext) -> Handler:
    """The same handler behind TLS."""

    def handle(stream: socket.socket) -> None:
        with context.wrap_socket(stream, server_side=True) as inner:
            handler(inner)

    return handle
