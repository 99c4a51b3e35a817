"""Opens connections and leaves them alone.

python -m bench.cost.clients.idle URL COUNT

Prints a line when all are open, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from uamqp.aio import connect

IDLE_TIMEOUT = 3600.0
"""Seconds: the peer has to send heartbeats, too, and none of them is due for a long time."""


async def idle(url: str, count: int) -> None:
    """Keep the connections open."""
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(connect(url, idle_timeout=IDLE_TIMEOUT)) for _ in range(count)]
        print("idle", flush=True)
        await ended.wait()
        for connection in connections:
            if connection.error is not None:
                raise connection.error


if __name__ == "__main__":
    asyncio.run(idle(sys.argv[1], int(sys.argv[2])))
