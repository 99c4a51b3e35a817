"""A layer where the drivers have their stream: to them it looks like a transport of asyncio, or like a socket.

So the plain way knows nothing of it, and pays nothing for it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from .driver import LONGEST_WAIT

if TYPE_CHECKING:
    from .layers import Layer

_READ_SIZE: Final = 65_536
#: Seconds in which the peer takes what is left for it, after it broke the rules.
_LINGER: Final = 5.0


class Owner(Protocol):
    """Who gets the payload, and is told how its transport fares."""

    def data_received(self, data: bytes) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class TransportTunnel(asyncio.Protocol, asyncio.Transport):
    """Between a transport of the loop, whose protocol it is, and a protocol, whose transport it is.

    Args:
        layer: the end of this side, a WebSocket as a rule.
        owner: the protocol for the payload.
        decided: called once: when payload can be sent, or will never be.
    """

    def __init__(self, layer: Layer, owner: Owner, decided: Callable[[], None]) -> None:
        super().__init__()
        self._layer = layer
        self._owner = owner
        self._decided: Callable[[], None] | None = decided
        self._abort_timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._full = False

    # -- asyncio.Protocol: towards the stream --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast(asyncio.Transport, transport)
        self._put(self._layer.start())

    def data_received(self, data: bytes) -> None:
        layer = self._layer
        payload = layer.receive(data)
        reply = b"" if self._full else layer.take_reply()
        self._put(reply)
        self._decide()
        if not (payload or reply or self._full) and layer.opened:
            # A part of something large: the peer is not silent. While a reply would have to wait, nobody knows.
            payload = [b""]
        if not self._closing:
            for piece in payload:
                self._owner.data_received(piece)
        if layer.error is not None:
            self._closing = True
            self._stream.close()
            self._cut_off_soon()

    def eof_received(self) -> bool:
        self._layer.receive(b"")
        self._decide()
        # The loop closes the stream now.
        self._cut_off_soon()
        return False

    def _cut_off_soon(self) -> None:
        """The stream is closing, but who reads nothing could have it open for ever."""
        if self._abort_timer is None:
            self._abort_timer = asyncio.get_running_loop().call_later(_LINGER, self._stream.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._layer.receive(b"")
        self._decide()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        self._owner.connection_lost(exc or self._layer.error)

    def pause_writing(self) -> None:
        self._full = True
        self._owner.pause_writing()

    def resume_writing(self) -> None:
        self._full = False
        self._put(self._layer.take_reply())
        self._owner.resume_writing()

    def _decide(self) -> None:
        layer, decided = self._layer, self._decided
        if decided is not None and (layer.opened or layer.error is not None):
            self._decided = None
            decided()

    def _put(self, data: bytes) -> None:
        if data:
            self._stream.write(data)

    # -- asyncio.Transport: towards the owner --------------------------------------------------------------------

    def write(self, data: Any) -> None:
        if self._layer.error is None and not self._closing:
            self._stream.write(self._layer.wrap(bytes(data)))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Say goodbye; the stream is closed when the peer has said so too, or when somebody aborts."""
        if not self._closing:
            self._closing = True
            if goodbye := self._layer.close():
                self._stream.write(goodbye)
            else:
                self._stream.close()

    def abort(self) -> None:
        self._closing = True
        self._stream.abort()

    def is_closing(self) -> bool:
        return self._closing or self._stream.is_closing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._stream.set_write_buffer_limits(high, low)

    def pause_reading(self) -> None:
        self._stream.pause_reading()

    def resume_reading(self) -> None:
        self._stream.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._stream.get_extra_info(name, default)


class SocketTunnel:
    """Looks like a socket that does not block, to who sends and receives payload."""

    def __init__(self, stream: socket.socket, layer: Layer, deadline: float) -> None:
        """Shake hands, until `deadline` on the monotonic clock; the stream stays the caller's where that fails.

        Raises AuthenticationError, ConnectionLost, TimeoutError, OSError.
        """
        self._stream = stream
        self._layer = layer
        self._received: list[bytes] = []
        self._unsent = memoryview(b"")
        #: Bytes of payload that are wrapped but not all sent; whoever was told to wait comes with the same again.
        self._taken = 0
        #: A part of something large came with the last `recv`, which had nothing to give: the peer is not silent.
        self.heard = False
        set_timeout(stream, deadline)
        stream.sendall(layer.start())
        while not layer.opened:
            set_timeout(stream, deadline)
            self._received = layer.receive(stream.recv(_READ_SIZE))
            self._answer()
            if layer.error is not None:
                raise layer.error
        stream.setblocking(False)

    def fileno(self) -> int:
        return self._stream.fileno()

    def pending(self) -> int:
        """Whether `recv` has something, or something to raise, that the descriptor does not tell of."""
        if self._received or self._layer.error is not None:
            return 1
        return self._stream.pending() if isinstance(self._stream, ssl.SSLSocket) else 0

    def recv(self, size: int) -> bytes:
        """Payload of one read, which may be more than `size` by what came before. Raises as a socket does."""
        layer = self._layer
        self.heard = False
        if not self._received and layer.error is None:
            self._received = layer.receive(self._stream.recv(size))
            self.heard = not self._answer()
        payload, self._received = b"".join(self._received), []
        if not payload:
            # Not read on here: who sends nothing but pings would never let time-outs have their turn.
            raise layer.error or BlockingIOError()
        return payload

    def send(self, data: bytes | memoryview) -> int:
        """Send all of it, or raise as a socket does that would block: then come again with the same."""
        if not self._taken:
            if self._layer.error is not None:
                raise self._layer.error
            self._unsent = memoryview(bytes(self._unsent) + self._layer.wrap(bytes(data)))
            self._taken = len(data)
        self._send_rest()
        taken, self._taken = self._taken, 0
        return taken

    def close(self) -> None:
        """Say goodbye where that can be sent at once, and close; nobody waits for the peer's."""
        try:
            self._send_rest()
            self._stream.send(self._layer.close())
        except OSError:
            pass
        self._stream.close()

    def _answer(self) -> bool:
        """Send what the layer has to say; False where it has nothing."""
        replies = True
        try:
            self._send_rest()
            reply = self._layer.take_reply()
            replies = bool(reply)
            self._unsent = memoryview(reply)
            self._send_rest()
        except OSError:
            # It goes with what is sent next; whether the stream is broken, the next call finds out.
            pass
        return replies

    def _send_rest(self) -> None:
        while self._unsent:
            self._unsent = self._unsent[self._stream.send(self._unsent) :]


def set_timeout(stream: socket.socket, deadline: float) -> None:
    """Let the next call on the stream end at that time of the monotonic clock. Raises TimeoutError if it is over."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    stream.settimeout(min(left, LONGEST_WAIT))
