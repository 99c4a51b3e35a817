"""The asynchronous half of the API of uamqp 1.6; see `api_1_6`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from api_1_6 import OPTIONS, QUEUED_AT_ONCE, RECEIVED_AT_ONCE, VERSION, address, login
from task import Result, Task, rich_tally, run, texts_of

from uamqp import Message, ReceiveClientAsync, SendClientAsync
from uamqp.constants import MessageState


@asynccontextmanager
async def sender(task: Task) -> AsyncIterator[SendClientAsync]:
    async with SendClientAsync(address(task), login(task), **OPTIONS) as client:
        while not await client.client_ready_async():
            pass
        yield client


async def send(task: Task, result: Result) -> None:
    body = task.body
    async with sender(task) as client:
        left, accepted = task.count, 0
        result.begin()
        while left:
            batch = min(QUEUED_AT_ONCE, left)
            client.queue_message(*[Message(body) for _ in range(batch)])
            states = await client.send_all_messages_async(close_on_done=False)
            accepted += states.count(MessageState.SendComplete)
            left -= batch
        result.end(accepted)


async def send_one(task: Task, result: Result) -> None:
    body = task.body
    async with sender(task) as client:
        result.begin()
        for _ in range(task.count):
            await client.send_message_async(Message(body))
        result.end(task.count)


def receiver(task: Task) -> ReceiveClientAsync:
    return ReceiveClientAsync(address(task), login(task), prefetch=task.credit, auto_complete=False, **OPTIONS)


async def receive(task: Task, result: Result) -> None:
    left = task.count
    async with receiver(task) as client:
        result.begin()
        while left:
            for message in await client.receive_message_batch_async(min(RECEIVED_AT_ONCE, left)):
                body = b"".join(message.get_data())
                message.accept()
                left -= 1
        result.end(len(body))


async def receive_rich(task: Task, result: Result) -> None:
    left = task.count
    async with receiver(task) as client:
        result.begin()
        while left:
            for message in await client.receive_message_batch_async(min(RECEIVED_AT_ONCE, left)):
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

run(VERSION, lambda task, result: asyncio.run(OPERATIONS[task.operation](task, result)))
