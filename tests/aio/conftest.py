"""What the tests of the client share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from uamqp.aio import Connection, connect
from uamqp.broker import Broker

from .peers import BOUND, Peer, PeerServer, peer_server


@pytest.fixture(autouse=True)
async def unbroken_loop() -> AsyncIterator[None]:
    """No test may end in the exception handler of the loop, or leave a task behind."""
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    before = asyncio.all_tasks()
    yield
    # Turns for what is about to end or to fail.
    for _ in range(5):
        await asyncio.sleep(0)
    assert not failures
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left


@pytest.fixture
async def broker(unbroken_loop: None) -> AsyncIterator[Broker]:
    async with Broker() as broker:
        yield broker


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[Connection]:
    """A connection to the broker."""
    async with connect(broker.url, timeout=BOUND) as connection:
        yield connection


Serve = Callable[..., Awaitable[PeerServer]]


@pytest.fixture
async def serve(unbroken_loop: None) -> AsyncIterator[Serve]:
    """Starts servers of scripted peers: ``server = await serve(Peer)``."""
    async with AsyncExitStack() as stack:

        async def start(make: Callable[[], Peer] = Peer, **options: Any) -> PeerServer:
            return await stack.enter_async_context(peer_server(make, **options))

        yield start
