"""Microseconds per message, of bursts one after another.

python -m bench.cost.clients.messages URL SERIES WAY POINT MESSAGES BURSTS

Prints {"processor": ..., "wall": ...}, of all bursts together: a full collection of garbage comes in some of them only
and is the price of all. What this program itself does for a message is the same at every point, so points differ by
what the library and the system do.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar

from uamqp.aio import IncomingDelivery, Manual, OutgoingDelivery, Receiver, Sender, Session, connect
from uamqp.codec.definitions import ACCEPTED

BODY = b"x" * 100

BATCH = 1000
"""Messages that are sent before the outcomes of those before are waited for: at most twice as many are under way."""

CREDIT = 20_000
"""Of all receivers together, given when all that was asked for before has been taken."""

RUN = 20
"""Messages in a row that are taken from one link, or go over one connection: the share of each of 1,000."""

Ends = list[Sender] | list[Receiver]
Send = Callable[[bytes], OutgoingDelivery]
Take = Callable[[], Awaitable[IncomingDelivery]]
Method = TypeVar("Method")


async def links(url: str, way: str, count: int, stack: AsyncExitStack) -> Ends:
    """`count` links in one session."""
    session = await begin_session(url, stack)
    if way == "send":
        return [await session.sender("sink") for _ in range(count)]
    return [await attach_receiver(session) for _ in range(count)]


async def unsettled(url: str, way: str, count: int, stack: AsyncExitStack) -> Ends:
    """One link, in a session with `count` deliveries that stay unsettled."""
    session = await begin_session(url, stack)
    if way == "send":
        holding = await session.sender("sink-hold")
        sender = await session.sender("sink")
        for number in range(count):
            holding.send_nowait(BODY)
            if number % BATCH == 0:
                await sender.send(BODY)
        return [sender]
    receiver = await attach_receiver(session)
    receiver.flow(count)
    for _ in range(count):
        await receiver.receive()
    return [receiver]


async def connections(url: str, way: str, count: int, stack: AsyncExitStack) -> Ends:
    """`count` connections with a link each."""
    sessions = [await begin_session(url, stack) for _ in range(count)]
    if way == "send":
        return [await session.sender("sink") for session in sessions]
    return [await attach_receiver(session) for session in sessions]


SERIES = {"links": links, "unsettled": unsettled, "connections": connections}


async def begin_session(url: str, stack: AsyncExitStack) -> Session:
    """A session on a connection of its own."""
    connection = await stack.enter_async_context(connect(url, idle_timeout=None))
    return await connection.session()


async def attach_receiver(session: Session) -> Receiver:
    """A receiver that gets its credit in `receive`."""
    return await session.receiver(f"plain-{len(BODY)}", credit=Manual())


def in_turn(methods: Sequence[Method], messages: int, run: int) -> list[Method]:
    """A method for each message: `run` times the first, as often the second, and so on, round and round."""
    return [methods[number // run % len(methods)] for number in range(messages)]


async def send(sends: Sequence[Send]) -> None:
    """Send a message with each, and see all of them accepted."""
    before: list[OutgoingDelivery] = []
    for start in range(0, len(sends), BATCH):
        batch = [send(BODY) for send in sends[start : start + BATCH]]
        await accepted(before)
        before = batch
    await accepted(before)


async def accepted(deliveries: Sequence[OutgoingDelivery]) -> None:
    """Wait until all are accepted; raise where one is not."""
    for delivery in deliveries:
        if delivery.state is not ACCEPTED:
            await delivery


async def receive(receivers: Sequence[Receiver], takes: Sequence[Take]) -> None:
    """Let the receivers have messages; take one with each method, read it and accept it."""
    for start in range(0, len(takes), CREDIT):
        for receiver in receivers:
            receiver.flow(CREDIT // len(receivers))
        for take in takes[start : start + CREDIT]:
            delivery = await take()
            if len(delivery.body) != len(BODY):
                raise RuntimeError(f"a body of {len(delivery.body)} bytes")
            delivery.accept()


def burst_of(ends: Ends, messages: int, run: int) -> Callable[[], Awaitable[None]]:
    """What sends so many messages over the links, or receives them."""
    # One bound method for each link: one for each message would be work for the garbage collector.
    if senders := [end for end in ends if isinstance(end, Sender)]:
        return partial(send, in_turn([sender.send_nowait for sender in senders], messages, run))
    receivers = [end for end in ends if isinstance(end, Receiver)]
    return partial(receive, receivers, in_turn([receiver.receive for receiver in receivers], messages, run))


async def measure(url: str, series: str, way: str, point: int, messages: int, bursts: int) -> dict[str, float]:
    """The figures of all bursts, after one that warms up."""
    async with AsyncExitStack() as stack:
        ends = await SERIES[series](url, way, point, stack)
        # The peer sends over its links in turn, so one by one is also the order in which its messages arrive.
        burst = burst_of(ends, messages, run=1 if series == "links" and way != "receive link by link" else RUN)
        await burst()
        processor, wall = time.process_time(), time.perf_counter()
        for _ in range(bursts):
            await burst()
        processor, wall = time.process_time() - processor, time.perf_counter() - wall
    return {"processor": processor / (bursts * messages) * 1e6, "wall": wall / (bursts * messages) * 1e6}


if __name__ == "__main__":
    url, series, way, *numbers = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(url, series, way, *map(int, numbers)))))
