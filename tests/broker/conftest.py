"""Brokers for tests, and a watch over the loop they run in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tools.brokers.certificates import issue, make_ca

from uamqp.broker import Broker

from .helpers import Raw

Starter = Callable[..., Awaitable[Broker]]


@pytest.fixture(autouse=True)
async def unbroken_loop() -> AsyncIterator[None]:
    """Nothing a client does may end in the exception handler of the loop."""
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    yield
    # A turn for what is about to fail.
    await asyncio.sleep(0)
    assert not failures


@pytest.fixture
async def start(unbroken_loop: None) -> AsyncIterator[Starter]:
    """Starts brokers: `await start(max_queues=3)`."""
    async with AsyncExitStack() as stack:

        async def start(*args: Any, **options: Any) -> Broker:
            return await stack.enter_async_context(Broker(*args, **options))

        yield start


@pytest.fixture
async def broker(start: Starter) -> Broker:
    """A broker with default options."""
    return await start()


@pytest.fixture
async def raws(unbroken_loop: None) -> AsyncIterator[Callable[[Awaitable[Raw]], Awaitable[Raw]]]:
    """Ends raw clients with the test: `raw = await raws(Raw.open(broker))`."""
    made: list[Raw] = []

    async def keep(opening: Awaitable[Raw]) -> Raw:
        raw = await opening
        made.append(raw)
        return raw

    yield keep
    for raw in made:
        await raw.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem, server.key, alice.pem and alice.key."""
    folder = tmp_path_factory.mktemp("certificates")
    make_ca(folder)
    issue(folder, "server")
    issue(folder, "alice", hosts=[])
    return folder
