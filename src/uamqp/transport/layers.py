"""What may lie between the bytes of a stream and those of an engine, without I/O, one inside another.

Here are those that a proxy with TLS needs, because neither sockets nor every event loop can do TLS inside TLS.
"""

from __future__ import annotations

import ssl
from typing import Final, Protocol

from ..exceptions import AMQPError, ConnectionLost
from .address import Endpoint, Proxy
from .proxy import http_connect
from .tls import client_context

_READ_SIZE: Final = 65_536


class Layer(Protocol):
    """Turns bytes of the stream into payload, and payload into bytes of the stream."""

    @property
    def opened(self) -> bool:
        """Whether its opening handshake is over, so that payload can be sent."""

    @property
    def error(self) -> AMQPError | None:
        """Why nothing more can be sent or received; None as long as it can."""

    def start(self) -> bytes:
        """What is to be sent first."""

    def receive(self, data: bytes) -> list[bytes]:
        """Take the bytes of one read; b"" is the end of the stream. Returns the payload in them, and never raises."""

    def take_reply(self) -> bytes:
        """What is to be sent because of what was received, or b""."""

    def wrap(self, data: bytes) -> bytes:
        """The bytes that carry this payload; only while it is open and without error."""

    def close(self) -> bytes:
        """The bytes that say goodbye, b"" where it is too early or too late for that."""


class Tls:
    """The end of a client of TLS. `peer` is what messages call the other end."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None, peer: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_hostname)
        self._peer = peer
        self.opened = False
        self.error: AMQPError | None = None

    def start(self) -> bytes:
        self._read()
        return self.take_reply()

    def receive(self, data: bytes) -> list[bytes]:
        if self.error is not None:
            return []
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
        return self._read()

    def _read(self) -> list[bytes]:
        payload = []
        try:
            if not self.opened:
                self._tls.do_handshake()
                self.opened = True
            while piece := self._tls.read(_READ_SIZE):
                payload.append(piece)
            self.error = ConnectionLost(f"{self._peer} ended TLS")
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(error)
        return payload

    def take_reply(self) -> bytes:
        return self._outgoing.read()

    def wrap(self, data: bytes) -> bytes:
        rest = memoryview(data)
        try:
            while rest:
                # It takes a record at a time.
                rest = rest[self._tls.write(rest) :]
        except ssl.SSLError as error:
            self._fail(error)
        return self._outgoing.read()

    def _fail(self, error: ssl.SSLError) -> None:
        self.error = ConnectionLost(f"no TLS with {self._peer}: {error}")

    def close(self) -> bytes:
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # Nobody waits for the goodbye of the peer; and it may be too early for any.
            pass
        return self._outgoing.read()


class Connect:
    """CONNECT to the endpoint, and then whatever goes through."""

    def __init__(self, proxy: Proxy, endpoint: Endpoint) -> None:
        self._conversation = http_connect(proxy, endpoint)
        self.opened = False
        self.error: AMQPError | None = None

    def start(self) -> bytes:
        return next(self._conversation)

    def receive(self, data: bytes) -> list[bytes]:
        if self.opened:
            return [data]
        if self.error is not None:
            return []
        try:
            self._conversation.send(data)
        except StopIteration:
            self.opened = True
        except AMQPError as error:
            self.error = error
        return []

    def take_reply(self) -> bytes:
        return b""

    def wrap(self, data: bytes) -> bytes:
        return data

    def close(self) -> bytes:
        return b""


class Inside:
    """A layer inside another one, which opens first."""

    def __init__(self, outer: Layer, inner: Layer) -> None:
        self._outer = outer
        self._inner = inner
        self._started = False
        self._first = b""

    @property
    def opened(self) -> bool:
        return self._inner.opened

    @property
    def error(self) -> AMQPError | None:
        return self._outer.error or self._inner.error

    def start(self) -> bytes:
        return self._outer.start()

    def receive(self, data: bytes) -> list[bytes]:
        pieces = self._outer.receive(data)
        if self._outer.opened and not self._started:
            self._started = True
            self._first = self._inner.start()
        return [payload for piece in pieces for payload in self._inner.receive(piece)]

    def take_reply(self) -> bytes:
        reply = self._outer.take_reply()
        if self._started and self._outer.error is None:
            first, self._first = self._first, b""
            if inner := first + self._inner.take_reply():
                reply += self._outer.wrap(inner)
        return reply

    def wrap(self, data: bytes) -> bytes:
        return self._outer.wrap(self._inner.wrap(data))

    def close(self) -> bytes:
        if not self._started or self._outer.error is not None:
            return b""
        goodbye = self._inner.close()
        return (self._outer.wrap(goodbye) if goodbye else b"") + self._outer.close()


def secure_proxy(
    proxy: Proxy, endpoint: Endpoint, context: ssl.SSLContext | None, server_hostname: str | None, inner: Layer | None
) -> Layer:
    """All that is between a stream to a proxy with TLS and an engine: TLS of the proxy, whose certificate an authority
    of the system must have issued, CONNECT, TLS of the endpoint where there is a context, and what is inside that."""
    layer: Layer = Inside(Tls(client_context(), proxy.host, f"the proxy {proxy}"), Connect(proxy, endpoint))
    if context is not None:
        layer = Inside(layer, Tls(context, server_hostname, str(endpoint)))
    return layer if inner is None else Inside(layer, inner)
