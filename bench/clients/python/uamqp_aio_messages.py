"""uamqp: its asyncio API, with a message for each body; `uamqp_aio` sends and receives the bodies alone."""

from __future__ import annotations

import asyncio

from task import MESSAGE_LIMIT, Result, Task, run

from uamqp import BUILD, __version__
from uamqp.aio import Connection, Message, Prefetch, connect

#: Messages that are made before they are sent.
MADE_AT_ONCE = 2000


async def send(connection: Connection, task: Task, result: Result) -> None:
    sender = await connection.sender(task.address)
    body = task.body
    left, accepted = task.count, 0
    result.begin()
    while left:
        batch = min(MADE_AT_ONCE, left)
        accepted += await sender.send_many([Message(body) for _ in range(batch)])
        left -= batch
    result.end(accepted)


async def send_one(connection: Connection, task: Task, result: Result) -> None:
    sender = await connection.sender(task.address)
    body = task.body
    result.begin()
    for _ in range(task.count):
        await sender.send(Message(body))
    result.end(task.count)


async def receive(connection: Connection, task: Task, result: Result) -> None:
    left = task.count
    result.begin()
    receiver = await connection.receiver(task.address, credit=Prefetch(task.credit), max_message_size=MESSAGE_LIMIT)
    async for delivery in receiver:
        body = delivery.message.body
        delivery.accept()
        left -= 1
        if not left:
            break
    result.end(len(body))


OPERATIONS = {"send": send, "send-one": send_one, "receive": receive}


async def measure(task: Task, result: Result) -> None:
    async with connect(task.server, user=task.user, password=task.password, ca_file=task.ca_file) as connection:
        await OPERATIONS[task.operation](connection, task, result)


run(f"{__version__} ({BUILD})", lambda task, result: asyncio.run(measure(task, result)))
