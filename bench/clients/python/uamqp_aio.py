"""uamqp: its asyncio API."""

from __future__ import annotations

import asyncio

from api_aio import main, receiver
from task import Result, Task, rich_tally, texts_of

from uamqp.aio import Connection


async def send(connection: Connection, task: Task, result: Result) -> None:
    sender = await connection.sender(task.address)
    body = task.body
    result.begin()
    result.end(await sender.send_many([body] * task.count))


async def send_one(connection: Connection, task: Task, result: Result) -> None:
    sender = await connection.sender(task.address)
    body = task.body
    result.begin()
    for _ in range(task.count):
        await sender.send(body)
    result.end(task.count)


async def receive(connection: Connection, task: Task, result: Result) -> None:
    left = task.count
    result.begin()
    async for delivery in await receiver(connection, task):
        body = delivery.body
        delivery.accept()
        left -= 1
        if not left:
            break
    result.end(len(body))


async def receive_rich(connection: Connection, task: Task, result: Result) -> None:
    left = task.count
    result.begin()
    async for delivery in await receiver(connection, task):
        message = delivery.message
        properties = message.properties
        texts = texts_of(properties)
        created = properties.creation_time
        application = message.application_properties
        region, quantity, express = application["region"], application["quantity"], application["express"]
        body = message.body
        delivery.accept()
        left -= 1
        if not left:
            break
    result.end(rich_tally(texts, created, region, quantity, express, len(body)))


async def through(connection: Connection, task: Task, result: Result) -> None:
    """Both at the same time: through a broker that takes and gives at once."""
    sender = await connection.sender(task.address)
    incoming = await receiver(connection, task)
    body = task.body

    async def take() -> None:
        left = task.count
        async for delivery in incoming:
            taken = delivery.body
            delivery.accept()
            left -= 1
            if not left:
                break
        result.end(len(taken))

    result.begin()
    taking = asyncio.create_task(take())
    await sender.send_many(body for _ in range(task.count))
    await taking


OPERATIONS = {
    "send": send,
    "send-one": send_one,
    "receive": receive,
    "receive-rich": receive_rich,
    "through": through,
}


main(OPERATIONS)
