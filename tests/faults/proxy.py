"""A proxy that goes wrong when it is told to: between a client and a broker, over real sockets, aware of frames.

It passes on whole frames only, so that it knows what a frame is before any byte of it is on its way. TLS ends here: the
broker behind it is spoken to in plain.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal, Self, cast

Side = Literal["client", "server"]

_PERFORMATIVES = ("open", "begin", "attach", "flow", "transfer", "disposition", "detach", "end", "close")
_SASL = ("sasl-mechanisms", "sasl-init", "sasl-challenge", "sasl-response", "sasl-outcome")
_CODES = dict([*enumerate(_PERFORMATIVES, 0x10), *enumerate(_SASL, 0x40)])
#: Seconds between two pieces of a throttled stream.
_DRIP = 0.01
_LINGER_0 = struct.pack("ii", 1, 0)


class How(Enum):
    """What the ends see of a cut."""

    FIN = "fin"
    """Both see an orderly end; with TLS, with close_notify."""
    RST = "rst"
    """Both see a reset."""
    TRUNCATED = "truncated"
    """The client sees an end of the stream without the close_notify of TLS, the broker an end."""
    BLACKHOLE = "blackhole"
    """Nothing gets through any more, and nobody is told."""
    HALF_OPEN = "half-open"
    """The broker sees a reset, the client nothing."""


@dataclass(frozen=True)
class Cut:
    """When to cut, and how.

    Attributes:
        kind: what to cut at: the name of a performative, "sasl-header", "amqp-header", "empty" (a heartbeat), "http"
            (the head of a request or an answer), "any" of these; "bytes": of the stream; "tls": the first bytes of
            a client that wants TLS.
        towards: where what is cut at was going.
        nth: which one of its kind, from 1, counted from when the cut was armed.
        byte: how many of its bytes get through; None: all, negative: all but so many.
    """

    how: How
    kind: str
    towards: Side = "server"
    nth: int = 1
    byte: int | None = None


class _WebSocketFrames:
    """Finds the AMQP in the bytes of one direction of a WebSocket."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._head = True
        self._left = 0
        self._mask = b""
        self._at = 0
        self._control = False
        #: Bytes since the last AMQP.
        self._skipped = 0

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Pieces of AMQP, and how many other bytes stand before each."""
        raw = self._raw
        raw += data
        found: list[tuple[int, bytes]] = []
        while raw:
            if self._head:
                end = raw.find(b"\r\n\r\n") + 4
                if end < 4:
                    break
                self._head = False
                found.append((0, bytes(raw[:end])))
                del raw[:end]
            elif self._left:
                piece = bytes(raw[: self._left])
                del raw[: len(piece)]
                self._left -= len(piece)
                if self._control:
                    self._skipped += len(piece)
                    continue
                if self._mask:
                    at = self._at
                    self._at += len(piece)
                    piece = bytes(byte ^ self._mask[(at + n) % 4] for n, byte in enumerate(piece))
                found.append((self._skipped, piece))
                self._skipped = 0
            else:
                length = raw[1] & 127 if len(raw) > 1 else 0
                extended = {126: 2, 127: 8}.get(length, 0)
                size = 2 + extended + (4 if len(raw) > 1 and raw[1] & 128 else 0)
                if len(raw) < size:
                    break
                self._control = raw[0] & 15 >= 8
                self._left = int.from_bytes(raw[2 : 2 + extended], "big") if extended else length
                self._mask = bytes(raw[2 + extended : size])
                self._at = 0
                self._skipped += size
                del raw[:size]
        return found


class _Direction:
    """What goes one way: holds back what is not a whole frame yet."""

    def __init__(self, pair: _Pair, towards: Side, websocket: bool) -> None:
        self._pair = pair
        self._towards: Side = towards
        self._websocket = _WebSocketFrames() if websocket else None
        self._http = websocket
        #: Bytes of the stream that were not passed on.
        self._raw = bytearray()
        self._passed = 0
        self._amqp = bytearray()
        #: Where in the stream each of these bytes ends.
        self._ends: list[int] = []
        self._seen = 0
        self._slow = bytearray()
        self._drip: asyncio.TimerHandle | None = None

    def feed(self, data: bytes) -> None:
        self._raw += data
        pieces = [(0, data)] if self._websocket is None else self._websocket.feed(data)
        for skipped, piece in pieces:
            self._seen += skipped
            self._amqp += piece
            self._ends += range(self._seen + 1, self._seen + len(piece) + 1)
            self._seen += len(piece)
        while self._amqp and not self._pair.cut:
            unit = self._next()
            if unit is None:
                return
            kind, size = unit
            stay = self._pair.proxy._due(kind, self._towards, size)
            if stay is None:
                self._pass(size)
                continue
            cut, count = stay
            self._pass(count)
            self._finish()
            self._pair.end(cut.how)
        if not self._pair.cut:
            # What is left has no AMQP in it: a ping, or the head of a frame of the WebSocket.
            self._write(bytes(self._raw))
            self._passed += len(self._raw)
            self._raw.clear()

    def _next(self) -> tuple[str, int] | None:
        """The kind and the size of the frame that is next, if it is all here."""
        amqp = self._amqp
        if self._http:
            self._http = False
            return "http", amqp.index(b"\r\n\r\n") + 4
        if len(amqp) < 8:
            return None
        if amqp.startswith(b"AMQP"):
            return ("sasl-header" if amqp[4] == 3 else "amqp-header"), 8
        size = int.from_bytes(amqp[:4], "big")
        if len(amqp) < size:
            return None
        body = 4 * amqp[4]
        return ("empty" if body == size else _CODES.get(amqp[body + 2], "unknown")), size

    def _pass(self, count: int) -> None:
        if count:
            end = self._ends[count - 1] - self._passed
            self._write(bytes(self._raw[:end]))
            self._passed += end
            del self._raw[:end], self._ends[:count], self._amqp[:count]

    def _write(self, data: bytes) -> None:
        if not data:
            return
        if self._pair.proxy.throttle is None:
            self._finish()
            self._pair.write(self._towards, data)
        else:
            self._slow += data
            if self._drip is None:
                self._drop()

    def _drop(self) -> None:
        self._drip = None
        rate = self._pair.proxy.throttle
        count = len(self._slow) if rate is None else max(1, int(rate * _DRIP))
        self._pair.write(self._towards, bytes(self._slow[:count]))
        del self._slow[:count]
        if self._slow:
            self._drip = asyncio.get_running_loop().call_later(_DRIP, self._drop)

    def _finish(self) -> None:
        """Let go of what is throttled."""
        if self._drip is not None:
            self._drip.cancel()
            self._drip = None
            self._pair.write(self._towards, bytes(self._slow))
            self._slow.clear()


class _End(asyncio.Protocol):
    """One of the two sockets of a pair."""

    def __init__(self, pair: _Pair, side: Side) -> None:
        self.pair = pair
        self.side: Side = side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.pair.made(self.side, cast(asyncio.Transport, transport))

    def data_received(self, data: bytes) -> None:
        self.pair.received(self.side, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.pair.lost(self.side)


class _Pair:
    """A client's connection, and the one to the broker that was made for it."""

    def __init__(self, proxy: FaultProxy) -> None:
        self.proxy = proxy
        self.cut = False
        self.ends: dict[Side, asyncio.Transport] = {}
        self._directions: dict[Side, _Direction] = {
            "server": _Direction(self, "server", proxy.websocket),
            "client": _Direction(self, "client", proxy.websocket),
        }
        self._joining: asyncio.Task[None] | None = None
        proxy._pairs.add(self)

    def made(self, side: Side, transport: asyncio.Transport) -> None:
        self.ends[side] = transport
        if side == "client" and self._joining is None and not self.proxy._cuts_tls:
            transport.pause_reading()
            self._joining = asyncio.get_running_loop().create_task(self._join(transport), name="proxy")

    async def _join(self, transport: asyncio.Transport) -> None:
        """Finish TLS, and connect to the broker."""
        loop = asyncio.get_running_loop()
        try:
            if self.proxy.context is not None:
                transport.resume_reading()
                secured = await loop.start_tls(
                    transport,
                    transport.get_protocol(),
                    self.proxy.context,
                    server_side=True,
                    ssl_handshake_timeout=5.0,
                    ssl_shutdown_timeout=0.5,
                )
                if secured is None:
                    return
                transport = self.ends["client"] = secured
                transport.pause_reading()
            await loop.create_connection(lambda: _End(self, "server"), "127.0.0.1", self.proxy.upstream)
            transport.resume_reading()
        except OSError:
            # A client that does not want TLS after all, or no broker.
            transport.abort()
            self.proxy._pairs.discard(self)

    def received(self, side: Side, data: bytes) -> None:
        if self.cut:
            return
        if self._joining is None:
            due = self.proxy._due("tls", "server", len(data))
            assert due is not None
            self.end(due[0].how)
        else:
            self._directions["client" if side == "server" else "server"].feed(data)

    def write(self, towards: Side, data: bytes) -> None:
        if towards in self.ends:
            self.ends[towards].write(data)

    def lost(self, side: Side) -> None:
        self.ends.pop(side, None)
        if not self.cut:
            for transport in self.ends.values():
                transport.close()
        if not self.ends:
            self.proxy._pairs.discard(self)

    def end(self, how: How) -> None:
        """Cut it."""
        self.cut = True
        if self.proxy._on_cut is not None:
            self.proxy._on_cut()
        if how is How.FIN:
            for transport in self.ends.values():
                transport.close()
        elif how is How.RST:
            for transport in self.ends.values():
                _reset(transport)
        elif how is How.TRUNCATED:
            for transport in self.ends.values():
                transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
        elif how is How.HALF_OPEN and "server" in self.ends:
            _reset(self.ends["server"])

    async def close(self) -> None:
        self.cut = True
        if self._joining is not None:
            self._joining.cancel()
            await asyncio.gather(self._joining, return_exceptions=True)
        for transport in list(self.ends.values()):
            transport.abort()


def _reset(transport: asyncio.Transport) -> None:
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
    transport.abort()


class FaultProxy:
    """Listens for clients of a broker, and connects each to it; runs in the loop of the test.

    Args:
        upstream: the broker's port, on this machine.
        context: speak TLS to clients.
        websocket: what goes through is AMQP in a WebSocket.
        on_cut: is called with each cut.

    Attributes:
        port: where clients connect.
        throttle: bytes per second that get through, each way; None for as many as there are.
        fired: the cuts that happened.
    """

    def __init__(
        self,
        upstream: int,
        *,
        context: ssl.SSLContext | None = None,
        websocket: bool = False,
        on_cut: Callable[[], None] | None = None,
    ) -> None:
        self.upstream = upstream
        self._on_cut = on_cut
        self.context = context
        self.websocket = websocket
        self.throttle: float | None = None
        self.fired: list[Cut] = []
        self._armed: deque[Cut] = deque()
        self._counted = 0
        self._pairs: set[_Pair] = set()
        self._server: asyncio.Server | None = None
        # Keeps the port while nobody listens on it: a socket that is bound, and refuses connections.
        self._place = _socket(0)
        self.port: int = self._place.getsockname()[1]
        self._queue: list[socket.socket] = []

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.refuse()
        self._place.close()
        for pair in list(self._pairs):
            await pair.close()
        while any(pair.ends for pair in self._pairs):
            await asyncio.sleep(0.001)

    async def listen(self) -> None:
        """Let clients in, after `refuse` or `ignore`."""
        self.refuse()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _End(_Pair(self), "client"), sock=_socket(self.port))

    def refuse(self) -> None:
        """Refuse connections from now on; those that there are go on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._queue:
            self._queue.pop().close()

    def ignore(self) -> None:
        """Do not even answer who wants to connect, as a firewall that drops packets."""
        self.refuse()
        listener = _socket(self.port)
        self._queue.append(listener)
        listener.listen(0)
        # Its queue holds one connection; the system drops what comes when that is full.
        filler = socket.socket()
        self._queue.append(filler)
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", self.port))

    def arm(self, *cuts: Cut) -> None:
        """Cut when it comes to that: one after the other, each counting from when the one before happened."""
        self._armed.extend(cuts)
        self._counted = 0

    @property
    def armed(self) -> bool:
        """Whether cuts are still to come."""
        return bool(self._armed)

    def cut(self, how: How) -> None:
        """Cut all connections now."""
        for pair in list(self._pairs):
            if not pair.cut:
                pair.end(how)

    @property
    def _cuts_tls(self) -> bool:
        return bool(self._armed) and self._armed[0].kind == "tls"

    def _due(self, kind: str, towards: Side, size: int) -> tuple[Cut, int] | None:
        """Count a frame; the cut that happens in it, and after how many of its bytes."""
        if not self._armed:
            return None
        cut = self._armed[0]
        if cut.towards != towards:
            return None
        if cut.kind == "bytes":
            self._counted += size
            if cut.byte is None or self._counted < cut.byte:
                return None
            count = size - (self._counted - cut.byte)
        else:
            if cut.kind not in (kind, "any"):
                return None
            self._counted += 1
            if self._counted < cut.nth:
                return None
            count = size if cut.byte is None else cut.byte if cut.byte >= 0 else size + cut.byte
        self._armed.popleft()
        self._counted = 0
        self.fired.append(cut)
        return cut, min(size, max(0, count))


def _socket(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made
