"""uamqp: the asynchronous half of the API of uamqp 1.6."""

from __future__ import annotations

import asyncio
from typing import Any

from task import MESSAGE_LIMIT, Result, Task, rich_tally, run, texts_of

from uamqp import BUILD, Message, __version__
from uamqp.async_ops import ReceiveClientAsync, SendClientAsync
from uamqp.authentication import SASLAnonymous
from uamqp.constants import MessageState

#: Messages that are queued before they are sent.
QUEUED_AT_ONCE = 1000


def login(task: Task) -> SASLAnonymous:
    return SASLAnonymous(task.host, task.port, verify=task.ca_file)


def address(task: Task) -> str:
    return f"{task.server}/{task.address}"


async def send(task: Task, result: Result) -> None:
    body = task.body
    async with SendClientAsync(address(task), login(task), max_message_size=MESSAGE_LIMIT) as client:
        await client.client_ready_async()
        left, accepted = task.count, 0
        result.begin()
        while left:
            batch = min(QUEUED_AT_ONCE, left)
            for _ in range(batch):
                client.queue_message(Message(body))
            states = await client.send_all_messages_async(close_on_done=False)
            accepted += states.count(MessageState.SendComplete)
            left -= batch
        result.end(accepted)


async def send_one(task: Task, result: Result) -> None:
    body = task.body
    async with SendClientAsync(address(task), login(task)) as client:
        await client.client_ready_async()
        result.begin()
        for _ in range(task.count):
            await client.send_message_async(Message(body))
        result.end(task.count)


def receiver(task: Task) -> ReceiveClientAsync:
    return ReceiveClientAsync(
        address(task), login(task), prefetch=task.credit, auto_complete=False, max_message_size=MESSAGE_LIMIT
    )


async def receive(task: Task, result: Result) -> None:
    left = task.count
    async with receiver(task) as client:
        result.begin()
        while left:
            for message in await client.receive_message_batch_async(min(task.credit, left)):
                body = b"".join(message.get_data())
                message.accept()
                left -= 1
        result.end(len(body))


async def receive_rich(task: Task, result: Result) -> None:
    left = task.count
    async with receiver(task) as client:
        result.begin()
        while left:
            for message in await client.receive_message_batch_async(min(task.credit, left)):
                properties = message.properties
                texts = texts_of(properties)
                created = properties.creation_time
                application: Any = message.application_properties
                region, quantity, express = application[b"region"], application[b"quantity"], application[b"express"]
                body = b"".join(message.get_data())
                message.accept()
                left -= 1
        result.end(rich_tally(texts, created, region, quantity, express, len(body)))


OPERATIONS = {"send": send, "send-one": send_one, "receive": receive, "receive-rich": receive_rich}

run(
    f"{__version__} ({BUILD})",
    lambda task, result: asyncio.run(OPERATIONS[task.operation](task, result)),
)
