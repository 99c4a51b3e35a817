"""Messages per second through `uamqp.aio` against the bare peer, each way.

python bench/throughput.py [COUNT] [SIZE]
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uamqp.aio import Prefetch, connect

PREFETCH = 1000


@contextmanager
def bare_peer(size: int) -> Iterator[str]:
    """The URL of a bare peer in a process of its own, on another core where there is one."""
    # The client asks for half its prefetch at a time, after the first time.
    command = [sys.executable, str(Path(__file__).with_name("bare_peer.py")), str(size), str(PREFETCH // 2)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
            first, *_, last = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(process.pid, {last})
            os.sched_setaffinity(0, {first})
        assert process.stdout is not None
        yield f"amqp://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


async def send(url: str, count: int, size: int) -> float:
    """Send and have every message confirmed."""
    body = b"x" * size
    async with connect(url) as connection, connection.sender("bench") as sender:
        await sender.send_many(body for _ in range(1000))
        begun = time.perf_counter()
        await sender.send_many(body for _ in range(count))
        return count / (time.perf_counter() - begun)


async def receive(url: str, count: int) -> float:
    """Receive, read the body, accept."""
    async with connect(url) as connection:
        receiver = await connection.receiver("bench", credit=Prefetch(PREFETCH))
        begun = time.perf_counter()
        received = 0
        async for delivery in receiver:
            delivery.body  # noqa: B018
            delivery.accept()
            received += 1
            if received == count:
                break
        return count / (time.perf_counter() - begun)


def main(count: int = 300_000, size: int = 100) -> None:
    """Print the two figures."""
    with bare_peer(size) as url:
        print(f"send, all confirmed, {size} B: {asyncio.run(send(url, count, size)):,.0f} msgs/s")
    with bare_peer(size) as url:
        print(f"receive, accept each, {size} B: {asyncio.run(receive(url, count)):,.0f} msgs/s")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
