"""What is read and written at a time, which is the same for all drivers: how little is copied, and where."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

#: Bytes of one read, at most.
READ_SIZE: Final = 262_144
#: Bytes that may wait for the socket before the engine is told to wait.
HIGH_WATER: Final = 1024 * 1024
_NOTHING: Final = memoryview(b"")
#: From this size on a piece of output is written as it is instead of being copied into one write with others.
_LARGE: Final = 65_536


class _Inbox(threading.local):
    """Where a thread reads into, whatever it reads: a copy of what came is made before anything else happens.

    For a new piece of memory with each read the allocator asks the system, and gives it back, each time: sending one
    message at a time took 1.3 times as long, receiving small ones 1.1 to 1.4 times.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))

    def take(self, count: int) -> bytes:
        """What was read."""
        return bytes(self.buffer[:count])

    def read(self, recv_into: Callable[[memoryview], int]) -> bytes:
        """Read, and give what was read; a finalizer or signal handler that comes in between may read, too."""
        buffer, self.buffer = self.buffer, _NOTHING
        if not buffer:
            buffer = memoryview(bytearray(READ_SIZE))
        try:
            return bytes(buffer[: recv_into(buffer)])
        finally:
            self.buffer = buffer


INBOX: Final = _Inbox()


def pieces_of(chunks: Sequence[bytes | memoryview]) -> Sequence[bytes | memoryview]:
    """The output of an engine as it is to be written: in one piece, unless something large is in it."""
    if len(chunks) > 1 and len(chunks[-1]) < _LARGE and len(chunks[-2]) < _LARGE:
        return [b"".join(chunks)]
    return chunks
