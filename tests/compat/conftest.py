"""What the tests of the uamqp 1.6 API share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tools.brokers.certificates import issue, make_ca

from uamqp.broker import Broker


@pytest.fixture(autouse=True)
async def tidy_loop() -> AsyncIterator[None]:
    """No test may end in the exception handler of the loop, or leave a task behind."""
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    before = asyncio.all_tasks()
    yield
    for _ in range(5):
        await asyncio.sleep(0)
    assert not failures
    assert not asyncio.all_tasks() - before - {asyncio.current_task()}


@pytest.fixture
async def broker(tidy_loop: None) -> AsyncIterator[Broker]:
    """A broker that lets in everybody."""
    async with Broker() as broker:
        yield broker


@pytest.fixture
def running() -> Iterator[Broker]:
    """The same for blocking code, in a thread of its own."""
    with Broker.running() as broker:
        yield broker


@pytest.fixture
async def guarded(tidy_loop: None) -> AsyncIterator[Broker]:
    """A broker that lets in only ``user`` with the password ``s3cret``."""
    async with Broker(users={"user": "s3cret"}) as broker:
        yield broker


class Certificates(NamedTuple):
    """Files of an authority, of a certificate for this machine, and of one for another host."""

    ca: Path
    server: tuple[Path, Path]
    stranger: tuple[Path, Path]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    ca = make_ca(folder)
    return Certificates(ca, issue(folder, "server"), issue(folder, "stranger", ["other.example"]))


@pytest.fixture
async def tls_broker(tidy_loop: None, certificates: Certificates) -> AsyncIterator[Broker]:
    """A broker with TLS that lets in only ``user`` with the password ``s3cret``."""
    cert, key = certificates.server
    async with Broker(tls_cert=cert, tls_key=key, users={"user": "s3cret"}) as broker:
        yield broker
