"""Bytes that one more of something takes.

python -m bench.cost.clients.memory URL WHAT COUNT METER

METER is "resident", what the process has from the system, or "traced", what Python allocated. Prints the bytes for
each of COUNT, after half as many used up what was free.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

from uamqp.aio import Connection, Manual, Receiver, Session, connect

BODY = b"x" * 100

CROWD = 250
"""Sessions of one connection, and links of one session."""

BATCH = 1000
"""Deliveries that are there before more are sent or asked for. COUNT is a multiple of twice as many."""


class Client:
    """Opens connections, and keeps them open."""

    def __init__(self, url: str, stack: AsyncExitStack) -> None:
        self._url = url
        self._stack = stack
        self._connections: list[Connection] = []

    async def connection(self) -> Connection:
        connection = await self._stack.enter_async_context(connect(self._url))
        self._connections.append(connection)
        return connection

    async def session(self) -> Session:
        return await (await self.connection()).session()

    async def receiver(self) -> Receiver:
        return await (await self.session()).receiver(f"plain-{len(BODY)}", credit=Manual())

    def check(self) -> None:
        """Raise where a connection was lost, with all that was counted on it."""
        for connection in self._connections:
            if connection.error is not None:
                raise connection.error


# Each of these makes one more whenever it is asked for the next; what holds them has been made before the first.


async def idle_connections(client: Client, count: int) -> AsyncIterator[None]:
    while True:
        await client.connection()
        yield


async def sessions(client: Client, count: int) -> AsyncIterator[None]:
    for connection in [await client.connection() for _ in range(0, count, CROWD)]:
        for _ in range(CROWD):
            await connection.session()
            yield


async def senders(client: Client, count: int) -> AsyncIterator[None]:
    for session in [await client.session() for _ in range(0, count, CROWD)]:
        for _ in range(CROWD):
            await session.sender("sink")
            yield


async def receivers(client: Client, count: int) -> AsyncIterator[None]:
    for session in [await client.session() for _ in range(0, count, CROWD)]:
        for _ in range(CROWD):
            await session.receiver(f"plain-{len(BODY)}", credit=Manual())
            yield


async def unsettled_outgoing(client: Client, count: int) -> AsyncIterator[None]:
    session = await client.session()
    holding, settling = await session.sender("sink-hold"), await session.sender("sink")
    while True:
        for _ in range(BATCH - 1):
            holding.send_nowait(BODY)
            yield
        holding.send_nowait(BODY)
        # When this one is settled, those before it have been written.
        await settling.send(BODY)
        yield


async def unsettled_incoming(client: Client, count: int) -> AsyncIterator[None]:
    receiver = await client.receiver()
    while True:
        await fill(receiver)
        for _ in range(BATCH):
            await receiver.receive()
            yield


async def queued_outgoing(client: Client, count: int) -> AsyncIterator[None]:
    sender = await (await client.session()).sender("sink")
    # The peer gives more credit only to who lets it speak, and nothing here waits for it.
    while sender.credit:
        sender.send_nowait(BODY)
    while True:
        sender.send_nowait(BODY)
        yield


async def queued_incoming(client: Client, count: int) -> AsyncIterator[None]:
    receiver = await client.receiver()
    while True:
        await fill(receiver)
        for _ in range(BATCH):
            yield


async def fill(receiver: Receiver) -> None:
    """Let a batch more arrive."""
    receiver.flow(BATCH)
    await receiver.drain()


MAKERS = {
    "idle connection": (idle_connections, 0),
    "session": (sessions, 0),
    "sender": (senders, 0),
    "receiver": (receivers, 0),
    "unsettled outgoing delivery": (unsettled_outgoing, len(BODY)),
    "unsettled incoming delivery": (unsettled_incoming, len(BODY)),
    "message queued to be sent": (queued_outgoing, len(BODY)),
    "message queued to be received": (queued_incoming, len(BODY)),
}
"""By what is made; with the bytes of it that are the application's own."""


def resident() -> int:
    """Bytes that the process has from the system."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def traced() -> int:
    """Bytes that Python allocated."""
    return tracemalloc.get_traced_memory()[0]


async def measure(url: str, what: str, count: int, meter: str) -> float:
    """Bytes for each, without the application's own."""
    make, own = MAKERS[what]
    read = {"resident": resident, "traced": traced}[meter]
    if meter == "traced":
        tracemalloc.start()
    async with AsyncExitStack() as stack:
        first = count // 2
        client = Client(url, stack)
        maker = make(client, count + first)
        for _ in range(first):
            await anext(maker)
        gc.collect()
        before = read()
        for _ in range(count):
            await anext(maker)
        gc.collect()
        figure = (read() - before) / count - own
        client.check()
        return figure


if __name__ == "__main__":
    url, what, count, meter = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(url, what, int(count), meter))))
