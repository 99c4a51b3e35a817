"""A stream of AMQP, taken apart into what people can read: for traces and for captures, not for engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

from ..exceptions import DecodeError
from .composite import Composite
from .performatives import decode_performative

__all__ = ["Frame", "FrameReader", "ProtocolHeader", "Unreadable"]

_HEADER: Final = Struct("!IBBH")
_PROTOCOLS: Final = {0: "AMQP", 2: "TLS", 3: "SASL"}
#: Bytes of what cannot be read that are shown.
_SHOWN: Final = 32


@dataclass(frozen=True)
class ProtocolHeader:
    """Eight bytes that say what follows (spec 2.2).

    Attributes:
        protocol: 0 AMQP, 2 TLS, 3 SASL.
        version: major, minor and revision.
    """

    protocol: int
    version: tuple[int, int, int]

    def __str__(self) -> str:
        name = _PROTOCOLS.get(self.protocol, f"protocol {self.protocol}")
        return f"header {name} {'.'.join(map(str, self.version))}"


@dataclass(frozen=True)
class Frame:
    """One frame (spec 2.3).

    Attributes:
        channel: the channel; 0 in the SASL layer.
        performative: what it says; None where it is empty: a heartbeat.
        payload: what follows that: bytes of a message. `str` shows only how many there are.
    """

    channel: int
    performative: Composite | None
    payload: bytes = b""

    def __str__(self) -> str:
        if self.performative is None:
            return f"{self.channel}: heartbeat"
        payload = f" + {len(self.payload)} bytes" if self.payload else ""
        return f"{self.channel}: {self.performative!r}{payload}"


@dataclass(frozen=True)
class Unreadable:
    """Bytes that are no AMQP.

    Attributes:
        reason: why.
        data: the bytes.
        fatal: nothing behind them can be read either.
    """

    reason: str
    data: bytes
    fatal: bool

    def __str__(self) -> str:
        shown = self.data[:_SHOWN].hex(" ") + (" …" if len(self.data) > _SHOWN else "")
        return f"unreadable: {self.reason}: {shown}"


class FrameReader:
    """Takes one direction of a connection, in pieces of any size, and gives what was complete in it.

    Args:
        max_frame_size: a frame of more bytes is taken for no frame.
    """

    def __init__(self, max_frame_size: int = 0xFFFF_FFFF) -> None:
        self._max_frame_size = max_frame_size
        self._data = b""
        self._header_next = True
        self._lost = False

    @property
    def rest(self) -> int:
        """Bytes of what is not complete yet."""
        return len(self._data)

    def feed(self, data: bytes) -> Iterator[ProtocolHeader | Frame | Unreadable]:
        """Take some bytes; what is complete now."""
        if self._lost:
            return
        self._data += data
        pos = 0
        size = len(self._data)
        while size - pos >= 8:
            if self._header_next or self._data.startswith(b"AMQP", pos):
                self._header_next = False
                if not self._data.startswith(b"AMQP", pos):
                    yield self._lose("no header of AMQP", pos)
                    return
                protocol, *version = self._data[pos + 4 : pos + 8]
                yield ProtocolHeader(protocol, (version[0], version[1], version[2]))
                pos += 8
                continue
            length, doff, kind, channel = _HEADER.unpack_from(self._data, pos)
            if not 8 <= length <= self._max_frame_size or not 8 <= doff * 4 <= length or kind > 1:
                yield self._lose(f"no frame: size {length}, data offset {doff}, type {kind}", pos)
                return
            if length > size - pos:
                break
            yield self._frame(channel, pos + doff * 4, pos + length)
            pos += length
        self._data = self._data[pos:]

    def _frame(self, channel: int, pos: int, end: int) -> Frame | Unreadable:
        if pos == end:
            return Frame(channel, None)
        try:
            performative, payload = decode_performative(self._data, pos, end)
        except DecodeError as error:
            return Unreadable(str(error), self._data[pos:end], False)
        return Frame(channel, performative, self._data[payload:end])

    def _lose(self, reason: str, pos: int) -> Unreadable:
        self._lost = True
        rest, self._data = self._data[pos:], b""
        return Unreadable(reason, rest, True)
