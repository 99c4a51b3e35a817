"""The asyncio API: what its two programs have in common."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from task import MESSAGE_LIMIT, Result, Task, run

from uamqp import BUILD, __version__
from uamqp.aio import Connection, Prefetch, Receiver, connect

Operation: TypeAlias = Callable[[Connection, Task, Result], Awaitable[None]]


async def receiver(connection: Connection, task: Task) -> Receiver:
    return await connection.receiver(task.address, credit=Prefetch(task.credit), max_message_size=MESSAGE_LIMIT)


def main(operations: Mapping[str, Operation]) -> None:
    """Do what the command line says."""

    async def measure(task: Task, result: Result) -> None:
        async with connect(task.server, user=task.user, password=task.password, ca_file=task.ca_file) as connection:
            await operations[task.operation](connection, task, result)

    run(f"{__version__} ({BUILD})", lambda task, result: asyncio.run(measure(task, result)))
