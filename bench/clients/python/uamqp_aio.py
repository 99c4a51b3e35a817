"""uamqp: its asyncio API."""

from __future__ import annotations

import asyncio

from task import MESSAGE_LIMIT, Result, Task, rich_tally, run, texts_of

from uamqp import BUILD, __version__
from uamqp.aio import Connection, Prefetch, connect


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
    receiver = await connection.receiver(task.address, credit=Prefetch(task.credit), max_message_size=MESSAGE_LIMIT)
    async for delivery in receiver:
        body = delivery.body
        delivery.accept()
        left -= 1
        if not left:
            break
    result.end(len(body))


async def receive_rich(connection: Connection, task: Task, result: Result) -> None:
    left = task.count
    result.begin()
    receiver = await connection.receiver(task.address, credit=Prefetch(task.credit))
    async for delivery in receiver:
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
    receiver = await connection.receiver(task.address, credit=Prefetch(task.credit))
    body = task.body

    async def take() -> None:
        left = task.count
        async for delivery in receiver:
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


async def measure(task: Task, result: Result) -> None:
    async with connect(task.server, user=task.user, password=task.password, ca_file=task.ca_file) as connection:
        await OPERATIONS[task.operation](connection, task, result)


run(f"{__version__} ({BUILD})", lambda task, result: asyncio.run(measure(task, result)))
