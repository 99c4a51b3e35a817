"""uamqp: its asyncio API, with a message for each body; `uamqp_aio` sends and receives the bodies alone."""

from __future__ import annotations

from api_aio import main, receiver
from task import Result, Task

from uamqp.aio import Connection, Message

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
    async for delivery in await receiver(connection, task):
        body = delivery.message.body
        delivery.accept()
        left -= 1
        if not left:
            break
    result.end(len(body))


OPERATIONS = {"send": send, "send-one": send_one, "receive": receive}


main(OPERATIONS)
