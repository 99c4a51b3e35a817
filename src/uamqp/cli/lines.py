"""Lines of standard input, for programs that can be interrupted while they wait for one."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Final

#: Bytes that are read at once.
_CHUNK: Final = 65_536


async def lines() -> AsyncIterator[str]:
    """Each line of standard input, without its end.

    Raises UnicodeDecodeError where it is not in its encoding.
    """
    decoder = codecs.getincrementaldecoder(sys.stdin.encoding)(sys.stdin.errors or "strict")
    begun: list[str] = []
    async for chunk in _chunks(_reader()):
        first, *others = decoder.decode(chunk).split("\n")
        begun.append(first)
        for other in others:
            yield "".join(begun).removesuffix("\r")
            begun = [other]
    last = "".join([*begun, decoder.decode(b"", final=True)])
    if last:
        yield last


def _reader() -> Callable[[int], bytes]:
    """Reads so many bytes, or fewer, from standard input; none where it is over."""
    try:
        file = sys.stdin.fileno()
    except OSError:
        # It is no file.
        return sys.stdin.buffer.read
    # Past the buffer, whose lock a thread that waits for input would hold when the interpreter ends.
    return lambda size: os.read(file, size)


async def _chunks(read: Callable[[int], bytes]) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    wanted = threading.Event()
    arrived: asyncio.Queue[bytes | OSError] = asyncio.Queue()

    def work() -> None:
        chunk: bytes | OSError = b"-"
        while chunk and not isinstance(chunk, OSError):
            wanted.wait()
            wanted.clear()
            try:
                chunk = read(_CHUNK)
            except OSError as error:
                chunk = error
            # Nobody may be there any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)

    # A daemon, and not the loop's executor, for which an interrupted program would wait until there is a line.
    threading.Thread(target=work, name="standard input", daemon=True).start()
    while True:
        wanted.set()
        chunk = await arrived.get()
        if isinstance(chunk, OSError):
            raise chunk
        if not chunk:
            return
        yield chunk
