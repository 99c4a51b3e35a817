"""One large message: the most memory that the process had, and the seconds that it took.

python -m bench.cost.clients.large URL OPERATION SIZE

OPERATION is "send", "receive", or "refuse": to receive it with the limit that a receiver has by default.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from uamqp.aio import Connection, connect
from uamqp.exceptions import LinkDetached

SMALL = 100
SECONDS = 100.0


def high_water_mark() -> int:
    """Bytes of the most memory that the process had at any time."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


async def send(connection: Connection, size: int) -> dict[str, Any]:
    sender = await connection.sender("sink")
    await sender.send(b"x" * size, timeout=SECONDS)
    return {}


async def receive(connection: Connection, size: int) -> dict[str, Any]:
    # The limit is for the encoded message, which is a little longer than its body.
    receiver = await connection.receiver(f"plain-{size}", prefetch=1, max_message_size=size + 64)
    delivery = await receiver.receive(timeout=SECONDS)
    body = delivery.body
    delivery.accept()
    if len(body) != size:
        raise RuntimeError(f"a body of {len(body)} bytes")
    return {}


async def refuse(connection: Connection, size: int) -> dict[str, Any]:
    receiver = await connection.receiver(f"plain-{size}", prefetch=1)
    try:
        await receiver.receive(timeout=SECONDS)
    except LinkDetached as refusal:
        error = refusal
    else:
        raise RuntimeError(f"a message of {size} bytes was taken")
    # The rest of it is under way, or was; the connection is as good as before.
    another = await connection.receiver(f"plain-{SMALL}", prefetch=1)
    delivery = await another.receive(timeout=SECONDS)
    delivery.accept()
    return {"error": type(error).__name__, "condition": error.condition, "description": error.description}


OPERATIONS: dict[str, Callable[[Connection, int], Awaitable[dict[str, Any]]]] = {
    "refuse": refuse,
    "receive": receive,
    "send": send,
}


async def measure(url: str, operation: str, size: int) -> dict[str, Any]:
    """Do it once."""
    async with connect(url) as connection:
        before, begun = high_water_mark(), time.perf_counter()
        answer = await OPERATIONS[operation](connection, size)
        return {"seconds": time.perf_counter() - begun, "before": before, "peak": high_water_mark(), **answer}


if __name__ == "__main__":
    url, operation, size = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(url, operation, int(size)))))
