"""Whatever breaks off a call, and wherever it is just then: no message is lost, and errors are those of the 1.6 API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.aio.peers import BOUND
from uamqp import AMQPClientAsync, Message, ReceiveClientAsync, SendClientAsync, errors
from uamqp.broker import Broker

from .helpers import put

COUNT = 6
#: Turns of the event loop after which all is over: by then, every way to receive has all messages.
TURNS = 60


async def batches(client: ReceiveClientAsync, got: list[str]) -> None:
    while True:
        got += map(str, await client.receive_message_batch_async(3))


async def settled_batches(client: ReceiveClientAsync, got: list[str]) -> None:
    client.auto_complete = False
    while True:
        for message in await client.receive_message_batch_async(3):
            got.append(str(message))
            message.accept()


async def batches_with_a_function(client: ReceiveClientAsync, got: list[str]) -> None:
    while True:
        await client.receive_message_batch_async(3, on_message_received=lambda message: got.append(str(message)))


async def iteration(client: ReceiveClientAsync, got: list[str]) -> None:
    async for message in client.receive_messages_iter_async():
        got.append(str(message))


async def function(client: ReceiveClientAsync, got: list[str]) -> None:
    async def on_message(message: Message) -> None:
        await asyncio.sleep(0)
        got.append(str(message))

    await client.receive_messages_async(on_message)


Receiving = Callable[[ReceiveClientAsync, list[str]], Awaitable[None]]
RECEIVING = pytest.mark.parametrize(
    "receive", [batches, settled_batches, batches_with_a_function, iteration, function], ids=lambda f: f.__name__
)


async def begin(call: Awaitable[None], turns: int) -> asyncio.Task[None]:
    """Begin a call, and go on when the event loop has turned so often."""
    task = asyncio.ensure_future(call)
    for _ in range(turns):
        await asyncio.sleep(0)
    return task  # type: ignore[return-value]


async def fill(broker: Broker) -> None:
    await put(broker, "queue", *(str(number).encode() for number in range(COUNT)))


def check_that_all_are_there(broker: Broker, got: list[str], turns: int) -> None:
    """Each message was given out, or is in the queue, which is emptied."""
    left = len(broker.queue("queue"))
    assert len(set(got)) + left >= COUNT, (turns, got, left)
    broker.queue("queue").purge()


@RECEIVING
async def test_cancelled(broker: Broker, receive: Receiving) -> None:
    for turns in range(TURNS):
        await fill(broker)
        got: list[str] = []
        async with asyncio.timeout(BOUND):
            client = ReceiveClientAsync(f"{broker.url}/queue", prefetch=4)
            task = await begin(receive(client, got), turns)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            # What the call had taken already is for the next one.
            await client.open_async()
            while messages := await client.receive_message_batch_async(timeout=20):
                got += map(str, messages)
                for message in messages:
                    message.accept()
            await client.close_async()
        check_that_all_are_there(broker, got, turns)
        assert broker.connections == 0


@RECEIVING
async def test_receiving_on_a_connection_that_is_lost(broker: Broker, receive: Receiving) -> None:
    for turns in range(TURNS):
        await fill(broker)
        got: list[str] = []
        async with asyncio.timeout(BOUND):
            client = ReceiveClientAsync(f"{broker.url}/queue", prefetch=4)
            task = await begin(receive(client, got), turns)
            while not task.done():
                # Before it is there, and again where it was not there yet.
                broker.drop_connections()
                await asyncio.sleep(0)
            error = task.exception()
            assert isinstance(error, errors.AMQPError | RuntimeError), (turns, error)
            await client.close_async()
        check_that_all_are_there(broker, got, turns)


async def sending(client: Any) -> None:
    while True:
        await client.send_message_async(Message("x"))


async def asking(client: Any) -> None:
    while True:
        question = Message(application_properties={"name": "queue"})
        await client.mgmt_request_async(question, b"READ", op_type=b"queue")


@pytest.mark.parametrize(
    ("kind", "call"), [(SendClientAsync, sending), (AMQPClientAsync, asking)], ids=["sending", "asking"]
)
async def test_using_a_connection_that_is_lost(
    broker: Broker, kind: type[AMQPClientAsync], call: Callable[[Any], Awaitable[None]]
) -> None:
    for turns in range(TURNS):
        async with asyncio.timeout(BOUND):
            client = kind(f"{broker.url}/queue")
            task = await begin(call(client), turns)
            while not task.done():
                broker.drop_connections()
                await asyncio.sleep(0)
            assert isinstance(task.exception(), errors.AMQPError), (turns, task.exception())
            await client.close_async()
