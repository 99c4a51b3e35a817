"""Small things that several tests need."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

import uamqp.aio as amqp
from tests.aio.peers import BOUND
from uamqp import AMQPClient, ReceiveClient, SendClient
from uamqp.async_ops import ReceiveClientAsync, SendClientAsync
from uamqp.broker import Broker
from uamqp.broker.nodes import Entry, Node, Refused

# The blocking ones are derived from the others.
SENDERS = pytest.mark.parametrize("kind", [SendClient, SendClientAsync])
RECEIVERS = pytest.mark.parametrize("kind", [ReceiveClient, ReceiveClientAsync])


def in_thread(function: Callable[..., Any], *arguments: Any, **options: Any) -> asyncio.Future[Any]:
    """`asyncio.to_thread`, but begun at once, and in a thread that nobody waits for where it hangs."""
    future: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def run() -> None:
        try:
            future.set_result(function(*arguments, **options))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=f"test-{function.__name__}", daemon=True).start()
    wrapped: asyncio.Future[Any] = asyncio.wrap_future(future)
    return wrapped


def begin(client: Any, call: str, *arguments: Any, **options: Any) -> asyncio.Future[Any]:
    """Begin a call of either kind of client, that of the blocking one in a thread."""
    if isinstance(client, AMQPClient):
        return in_thread(getattr(client, call), *arguments, **options)
    return asyncio.create_task(getattr(client, f"{call}_async")(*arguments, **options))


async def call(client: Any, name: str, *arguments: Any, **options: Any) -> Any:
    """A call of either kind of client."""
    async with asyncio.timeout(BOUND):
        return await begin(client, name, *arguments, **options)


def _connect(broker: Broker) -> AbstractAsyncContextManager[amqp.Connection]:
    return amqp.connect(broker.url, user="user", password="s3cret")


async def put(broker: Broker, queue: str, *bodies: Any) -> None:
    """Put messages into a queue of the broker: bodies, or messages of `uamqp.aio`."""
    async with _connect(broker) as connection, connection.sender(queue) as sender:
        await sender.send_many(bodies)


async def take(broker: Broker, queue: str) -> list[amqp.Message]:
    """All messages that are ready in a queue of the broker, which no longer has them then.

    What a client did is done when it is closed, because the broker answered its close after it.
    """
    count = len(broker.queue(queue))
    messages = []
    async with _connect(broker) as connection, connection.receiver(queue) as receiver:
        for _ in range(count):
            delivery = await receiver.receive()
            messages.append(delivery.message)
            delivery.accept()
    return messages


async def bodies(broker: Broker, queue: str) -> list[Any]:
    """The bodies of all messages that are ready in a queue of the broker."""
    return [message.body for message in await take(broker, queue)]


class Refuser(Node):
    """A node that refuses as many messages as it is told to, and keeps the others.

    Attributes:
        attempts: the payloads that came.
        kept: those it took.
    """

    def __init__(self, broker: Broker, name: str, condition: str, times: int = 1 << 30) -> None:
        super().__init__(name)
        self._condition = condition
        self._times = times
        self.attempts: list[bytes] = []
        self.kept: list[bytes] = []
        broker._nodes[name] = self

    def put(self, entry: Entry) -> None:
        self.attempts.append(entry.payload)
        if len(self.attempts) <= self._times:
            raise Refused(self._condition, "not today")
        self.kept.append(entry.payload)
