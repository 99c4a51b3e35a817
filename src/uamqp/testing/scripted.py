"""A peer that follows a script: it expects frames and answers with exactly the frames, or bytes, that it is told to.

::

    async with ScriptedServer() as server:
        client = asyncio.create_task(program(server.url))
        peer = await server.accept()
        await peer.open()
        begin = await peer.expect(Begin)
        peer.send(Begin(remote_channel=0, next_outgoing_id=0, incoming_window=10, outgoing_window=10))
        ...
        peer.send(raw_frame(b"\\x00\\x53\\x24\\xc0\\x00\\x00"))
        await peer.expect_close()

It checks nothing by itself, and has no mind of its own: what is not in the script does not happen. It works on real
sockets and in a `Network` alike, whichever the running loop has.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TypeVar

from ..codec.composite import Composite
from ..codec.definitions import Source, Target
from ..codec.performatives import (
    Attach,
    Begin,
    Close,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Transfer,
    decode_performative,
)
from ..codec.values import Symbol
from ..engine.connection import AMQP_HEADER, SASL_HEADER

__all__ = ["Frame", "ScriptedPeer", "ScriptedServer", "Unexpected", "raw_frame"]

#: Seconds for what a script waits for.
_PATIENCE: Final = 10.0

P = TypeVar("P", bound=Composite)


class Unexpected(AssertionError):
    """The other side did something else than the script says."""


class Frame:
    """A frame that arrived.

    Attributes:
        channel: its channel.
        performative: what is in it, or None for an empty one.
        payload: what is behind that.
        type: 0 AMQP, 1 SASL.
    """

    def __init__(self, data: bytes) -> None:
        offset = data[4] * 4
        self.type = data[5]
        self.channel = int.from_bytes(data[6:8], "big")
        self.performative: Composite | None = None
        self.payload = b""
        if len(data) > offset:
            self.performative, end = decode_performative(data, offset, len(data))
            self.payload = data[end:]

    def __repr__(self) -> str:
        more = f", {len(self.payload)} bytes" if self.payload else ""
        return f"<Frame on channel {self.channel}: {self.performative!r}{more}>"


def raw_frame(
    body: bytes, *, channel: int = 0, type: int = 0, size: int | None = None, offset: int = 2, extended: bytes = b""
) -> bytes:
    """A frame of any bytes, with a header that may lie.

    Args:
        body: what stands behind the header.
        channel, type: as in the header; type 1 is SASL.
        size: what the header says of the size; the truth by default.
        offset: what the header says of where the body begins, in words of four bytes.
        extended: what stands between header and body.
    """
    whole = 8 + len(extended) + len(body) if size is None else size
    return whole.to_bytes(4, "big") + bytes((offset, type)) + channel.to_bytes(2, "big") + extended + body


class ScriptedPeer(asyncio.Protocol):
    """One connection of a `ScriptedServer`.

    Attributes:
        received: all bytes that arrived and were not expected yet.
        ended: whether the other side ended the stream, or it broke.
        patience: seconds for what is expected.
    """

    def __init__(self, accepted: Callable[[ScriptedPeer], None] = lambda peer: None) -> None:
        self.received = bytearray()
        self.ended = False
        self.patience = _PATIENCE
        self._accepted = accepted
        self._changed = asyncio.Event()
        self._transport: asyncio.Transport

    # -- what it says --------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write any bytes."""
        self._transport.write(data)

    def send(self, *performatives: Composite | bytes, channel: int = 0, payload: bytes = b"") -> None:
        """Write frames, all at once; `payload` stands behind the last one. Bytes are written as they are."""
        out = []
        for number, performative in enumerate(performatives, 1):
            if isinstance(performative, bytes):
                out.append(performative)
                continue
            body = performative.encode() + (payload if number == len(performatives) else b"")
            out.append(raw_frame(body, channel=channel, type=int("sasl-frame" in performative.PROVIDES)))
        self.write(b"".join(out))

    def hang_up(self) -> None:
        """End the stream in good order, without a word of AMQP."""
        self._transport.close()

    def reset(self) -> None:
        """End the stream at once."""
        self._transport.abort()

    def stop_reading(self) -> None:
        """Take no more bytes."""
        self._transport.pause_reading()

    def go_on_reading(self) -> None:
        """Take bytes again."""
        self._transport.resume_reading()

    # -- what it expects -----------------------------------------------------------------------------------------

    async def expect_bytes(self, expected: bytes) -> None:
        """These bytes come next. Raises Unexpected."""
        await self._until(lambda: len(self.received) >= len(expected), f"{len(expected)} bytes")
        data = bytes(self.received[: len(expected)])
        if data != expected:
            raise Unexpected(f"expected {expected!r}, got {data!r}")
        del self.received[: len(expected)]

    async def next_frame(self) -> Frame:
        """The next frame, whatever it is, but for empty ones, which only say that somebody is there."""
        while True:
            await self._until(lambda: len(self.received) >= 4, "a frame")
            size = int.from_bytes(self.received[:4], "big")
            await self._until(lambda size=size: len(self.received) >= size, f"a frame of {size} bytes")  # type: ignore[misc]
            data = bytes(self.received[:size])
            del self.received[:size]
            frame = Frame(data)
            if frame.performative is not None:
                return frame

    async def expect_frame(self, kind: type[Composite], **fields: Any) -> Frame:
        """A frame with this performative, of which these fields have these values, comes next. Raises Unexpected."""
        frame = await self.next_frame()
        performative = frame.performative
        if not isinstance(performative, kind):
            raise Unexpected(f"expected {kind.__name__}, got {frame!r}")
        for name, value in fields.items():
            if getattr(performative, name) != value:
                raise Unexpected(f"expected {name}={value!r}, got {frame!r}")
        return frame

    async def expect(self, kind: type[P], **fields: Any) -> P:
        """As `expect_frame`, and returns the performative."""
        performative = (await self.expect_frame(kind, **fields)).performative
        assert isinstance(performative, kind)
        return performative

    async def expect_end(self) -> None:
        """The other side ends the stream, and says nothing before. Raises Unexpected."""
        await self._until(lambda: self.ended or bool(self.received), "the end of the stream")
        if self.received:
            raise Unexpected(f"expected the end of the stream, got {bytes(self.received)!r}")

    async def expect_close(self, condition: str | None = None) -> Close:
        """The other side closes the connection, with this error condition, or without an error. Raises Unexpected."""
        close = await self.expect(Close)
        found = None if close.error is None else str(close.error.condition)
        if found != condition:
            raise Unexpected(f"expected close with {condition}, got {close!r}")
        return close

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        try:
            async with asyncio.timeout(self.patience):
                while not condition():
                    if self.ended:
                        raise Unexpected(f"expected {what}, got the end of the stream behind {bytes(self.received)!r}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise Unexpected(
                f"expected {what}, got {bytes(self.received)!r} and then nothing for {self.patience:g} s"
            ) from None

    # -- what scripts have in common -----------------------------------------------------------------------------

    async def sasl(self, *mechanisms: str, code: int = 0) -> SaslInit:
        """Play the SASL layer: offer mechanisms, ANONYMOUS by default, and answer whatever is chosen with the code."""
        await self.expect_bytes(SASL_HEADER)
        offered = tuple(Symbol(mechanism) for mechanism in mechanisms or ("ANONYMOUS",))
        self.send(SASL_HEADER, SaslMechanisms(sasl_server_mechanisms=offered))
        init = await self.expect(SaslInit)
        self.send(SaslOutcome(code=code))
        return init

    async def open(self, **fields: Any) -> Open:
        """Play everything up to open, with these fields in ours. Returns the client's."""
        await self.sasl()
        await self.expect_bytes(AMQP_HEADER)
        opened = await self.expect(Open)
        self.send(AMQP_HEADER, Open(**{"container_id": "scripted", **fields}))
        return opened

    async def begin(self, **fields: Any) -> Begin:
        """Answer begin."""
        frame = await self.expect_frame(Begin)
        window = {"next_outgoing_id": 0, "incoming_window": 1000, "outgoing_window": 1000}
        self.send(Begin(**{"remote_channel": frame.channel, **window, **fields}), channel=frame.channel)
        assert isinstance(frame.performative, Begin)
        return frame.performative

    async def attach(self, credit: int = 0, **fields: Any) -> Attach:
        """Answer attach with the same termini, and give credit where the client sends."""
        frame = await self.expect_frame(Attach)
        theirs = frame.performative
        assert isinstance(theirs, Attach)
        terms: dict[str, Any] = {
            "name": theirs.name,
            "handle": theirs.handle,
            "role": not theirs.role,
            "snd_settle_mode": theirs.snd_settle_mode,
            "rcv_settle_mode": theirs.rcv_settle_mode,
            "source": theirs.source or Source(),
            "target": theirs.target or Target(),
        }
        if theirs.role:
            terms["initial_delivery_count"] = 0
        self.send(Attach(**{**terms, **fields}), channel=frame.channel)
        if credit:
            self.flow(theirs.handle, credit, channel=frame.channel)
        return theirs

    def flow(self, handle: int, credit: int, *, delivery_count: int = 0, channel: int = 0, **fields: Any) -> None:
        """Give credit."""
        numbers = {"next_incoming_id": 0, "incoming_window": 1000, "next_outgoing_id": 0, "outgoing_window": 1000}
        terms = {"handle": handle, "delivery_count": delivery_count, "link_credit": credit}
        self.send(Flow(**{**numbers, **terms, **fields}), channel=channel)

    def transfer(self, delivery_id: int, payload: bytes, *, handle: int = 0, channel: int = 0, **fields: Any) -> None:
        """Send a transfer."""
        terms = {"handle": handle, "delivery_id": delivery_id, "delivery_tag": b"%d" % delivery_id, "message_format": 0}
        self.send(Transfer(**{**terms, **fields}), channel=channel, payload=payload)

    # -- asyncio.Protocol ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._accepted(self)

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def eof_received(self) -> bool:
        self.ended = True
        self._changed.set()
        # It is for the script to hang up.
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._changed.set()


class ScriptedServer:
    """Listens for connections that follow a script: ``async with ScriptedServer() as server``.

    Attributes:
        url: where it is.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._host = host
        self._port = port
        self._peers: list[ScriptedPeer] = []
        self._waiting: asyncio.Queue[ScriptedPeer] = asyncio.Queue()
        self._server: asyncio.AbstractServer
        self.url = ""

    async def accept(self) -> ScriptedPeer:
        """The next connection. Raises Unexpected where none comes."""
        try:
            return await asyncio.wait_for(self._waiting.get(), _PATIENCE)
        except TimeoutError:
            raise Unexpected(f"nobody connected within {_PATIENCE:g} s") from None

    def _accepted(self, peer: ScriptedPeer) -> None:
        self._peers.append(peer)
        self._waiting.put_nowait(peer)

    async def __aenter__(self) -> ScriptedServer:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: ScriptedPeer(self._accepted), self._host, self._port)
        self._server = server
        self.url = f"amqp://{self._host}:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for peer in self._peers:
            peer.reset()
        # Their transports end in the next turn.
        await asyncio.sleep(0)
