"""Opens and closes connections and prints what this process holds before and after, as JSON.

In a process of its own: how a test runner's heap is laid out is not what is measured here.

python tests/connection_cycles.py WARM_UP COUNT
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import sys
import threading

from uamqp.aio import connect
from uamqp.broker import Broker


def holdings() -> dict[str, int]:
    """What a leak would add to."""
    gc.collect()
    # What the C library keeps for later is not a leak.
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "resident": resident,
        "blocks": sys.getallocatedblocks(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
    }


async def main(warm_up: int, count: int) -> None:
    """Run the cycles against a broker in this process."""
    async with Broker() as broker:
        queue = broker.queue("q")
        found = []
        for cycles in (warm_up, count):
            for _ in range(cycles):
                async with connect(broker.url) as connection, connection.sender("q") as sender:
                    sender.send_nowait(b"x", settled=True)
            queue.purge()
            found.append(holdings())
    print(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
