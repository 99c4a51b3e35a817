"""Brokers that are killed with SIGKILL, again and again, under load: what was accepted is still there.

The environment variable UAMQP_FAULT_KILLS says how often each broker is killed, 5 times where it is not set, and
UAMQP_FAULT_LOAD how many messages arrive between two kills, 500 where it is not set.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, ClassVar

import pytest

from uamqp.aio import Connection, Happening, Manual, Message, Recovery, RecoveryEvent, connect
from uamqp.codec.sections import Header
from uamqp.engine.connection import SASL_HEADER
from uamqp.exceptions import AMQPError

from .ledger import ACCEPTED, Ledger, meaning

KILLS = int(os.environ.get("UAMQP_FAULT_KILLS", "5"))
#: Seconds for a broker to come back, and for what waits for that.
BOUND = 90.0
#: Messages that arrive between two kills, at least, and senders that wait for their outcomes at the same time.
LOAD = int(os.environ.get("UAMQP_FAULT_LOAD", "500"))
SENDERS = 64
#: Bytes of a message; every so many is one that takes several frames.
SIZE = 200
LARGE = 20_000
LARGE_EVERY = 25
#: Seconds in which a broker has noted for good what a consumer said.
PATIENCE = 0.5

pytestmark = [pytest.mark.faults, pytest.mark.timeout(60 + KILLS * (30 + LOAD / 100))]


class Target(ABC):
    """A broker that can be killed.

    Attributes:
        name: which one.
        host, port: where it listens.
        durable: the address of a queue that outlives it.
        volatile: the address of one whose messages do not.
    """

    name: ClassVar[str]
    host = "127.0.0.1"
    port: int
    url: str
    durable = "faults"
    volatile = "control"

    @abstractmethod
    def kill(self) -> None:
        """End it with SIGKILL."""

    @abstractmethod
    def start(self) -> None:
        """Start it again, on the same port, with what it has on disk."""


class Embedded(Target):
    """The embedded broker as a process. All it has is in memory, so it is a control and no more."""

    name = "embedded"

    def __init__(self) -> None:
        self.port = 0
        self.start()
        self.url = f"amqp://{self.host}:{self.port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "uamqp", "broker", "--host", self.host, "--port", str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().rpartition(":")[2])

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Real(Target):
    """RabbitMQ or Artemis, as `tools.brokers` runs them."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self.port = broker.port
        self.durable = broker.address(self.durable)
        self.volatile = broker.address(self.volatile)
        self.url = f"amqp://{broker.user}:{broker.password}@{self.host}:{self.port}"

    def kill(self) -> None:
        self._broker.kill()

    def start(self) -> None:
        self._broker.start()


@contextmanager
def embedded() -> Iterator[Target]:
    target = Embedded()
    try:
        yield target
    finally:
        target.kill()


@contextmanager
def rabbitmq() -> Iterator[Target]:
    """A quorum queue; the control is a classic one with messages that are not durable."""
    from tools.brokers import RabbitMQ

    with RabbitMQ.running() as broker:
        broker.declare_queue("faults", "quorum")
        broker.declare_queue("control", "classic")
        # It keeps the list of its quorum queues in memory for a while: killed at once, it knows their names only.
        broker.restart()
        yield Real(broker)


@contextmanager
def artemis() -> Iterator[Target]:
    """A durable queue; the control is another one with messages that are not durable."""
    from tools.brokers import Artemis

    with Artemis.running() as broker:
        broker.declare_queue("faults")
        broker.declare_queue("control")
        yield Real(broker)


class Watch:
    """Notes what recovery does to one connection."""

    def __init__(self) -> None:
        self.interrupted = 0
        self.recovered: list[float] = []
        self.attempts = 0
        self.failed: AMQPError | None = None

    def __call__(self, event: RecoveryEvent) -> None:
        if event.what is Happening.INTERRUPTED:
            self.interrupted += 1
        elif event.what is Happening.RECOVERED:
            self.recovered.append(time.monotonic())
        elif event.what is Happening.RETRYING:
            self.attempts += 1
        else:
            self.failed = event.error

    @asynccontextmanager
    async def connected(self, target: Target) -> AsyncIterator[Connection]:
        recovery = Recovery(max_delay=0.5, resend=True, on_event=self)
        async with connect(target.url, recovery=recovery, timeout=BOUND, connect_timeout=5) as connection:
            yield connection


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.01)


async def speaks(port: int) -> float:
    """When the broker answered the first header."""
    async with asyncio.timeout(BOUND):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                try:
                    writer.write(SASL_HEADER)
                    await reader.readexactly(8)
                    return time.monotonic()
                finally:
                    writer.close()
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.01)


class Load:
    """Producers and a consumer, each side with a connection of its own, and the books."""

    def __init__(self, target: Target, address: str) -> None:
        self.target = target
        self.address = address
        self.ledger = Ledger()
        self.watches = Watch(), Watch()
        self.stopping = False

    async def produce(self, sender: Any, *, durable: bool = True) -> None:
        number, body = self.ledger.attempt(0 if len(self.ledger) % LARGE_EVERY else LARGE)
        try:
            await sender.send(Message(body.ljust(SIZE, b"."), header=Header(durable=durable)))
        except AMQPError as error:
            self.ledger.tell(number, meaning(error))
        else:
            self.ledger.tell(number, ACCEPTED)

    async def keep_producing(self, sender: Any) -> None:
        while not self.stopping:
            await self.produce(sender)

    async def consume(self, receiver: Any) -> None:
        async for delivery in receiver:
            number = self.ledger.receive(delivery.body.rstrip(b"."))
            delivery.accept()
            self.ledger.settle(number)

    async def kill(self) -> list[float]:
        """Kill the broker and start it again; seconds from then until each connection was back."""
        before = [len(watch.recovered) for watch in self.watches]
        with self.ledger.cutting():
            await asyncio.to_thread(self.target.kill)
            starting = asyncio.create_task(asyncio.to_thread(self.target.start))
            back = await speaks(self.target.port)
            await starting
            await until(
                lambda: all(
                    watch.failed or (len(watch.recovered) > count and len(watch.recovered) == watch.interrupted)
                    for watch, count in zip(self.watches, before, strict=True)
                )
            )
        for watch in self.watches:
            assert watch.failed is None, watch.failed
        return [max(0.0, watch.recovered[count] - back) for watch, count in zip(self.watches, before, strict=True)]

    async def run(self, kills: int) -> list[float]:
        """Kill under load, then let all arrive."""
        figures: list[float] = []
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(watch.connected(self.target)) for watch in self.watches]
            sender = await connections[0].sender(self.address)
            receiver = await connections[1].receiver(self.address, prefetch=50)
            async with asyncio.TaskGroup() as group:
                consuming = group.create_task(self.consume(receiver))
                for _ in range(SENDERS):
                    group.create_task(self.keep_producing(sender))
                try:
                    for _ in range(kills):
                        before = self.ledger.received
                        await until(lambda before=before: self.ledger.received >= before + LOAD)
                        figures += await self.kill()
                finally:
                    self.stopping = True
                await self.all_arrived()
                consuming.cancel()
        return figures

    async def all_arrived(self) -> None:
        """Wait until every message was accepted and has arrived, for as long as any does: they may have piled up."""
        while not self._arrived:
            before = self.ledger.received
            await until(lambda before=before: self._arrived or self.ledger.received > before)

    @property
    def _arrived(self) -> bool:
        return self.ledger.told(ACCEPTED) == self.ledger.received == len(self.ledger)

    async def drain(self) -> None:
        """Take what is left, with a new connection."""
        async with connect(self.target.url, timeout=BOUND) as connection:
            async with connection.receiver(self.address, credit=Manual()) as receiver:
                receiver.flow(1000)
                await receiver.drain()
                while receiver.queued:
                    delivery = await receiver.receive()
                    self.ledger.settle(self.ledger.receive(delivery.body.rstrip(b".")))
                    delivery.accept()
                    if not receiver.queued:
                        receiver.flow(1000)
                        await receiver.drain()


@pytest.mark.brokers
@pytest.mark.parametrize("start", [rabbitmq, artemis])
async def test_killed_under_load(no_leaks: None, start: Any, record_property: Callable[[str, object], None]) -> None:
    """Nothing that was accepted is lost, and what was in doubt arrives too."""
    record_property("faults", f"kill -9 under load, {start.__name__}")
    with start() as target:
        load = Load(target, target.durable)
        try:
            figures = await load.run(KILLS)
        finally:
            record_property("kills", float(load.ledger.cuts))
            record_property("messages accepted", float(load.ledger.told(ACCEPTED)))
        await load.drain()
    findings = load.ledger.check(patience=PATIENCE)
    record_property("messages lost", float(len(findings.lost)))
    record_property("messages received twice, with reason", float(len(findings.excused)))
    record_property("messages received twice, without", float(len(findings.duplicates)))
    record_property("seconds from broker back to recovered, p50", statistics.median(figures))
    record_property("seconds from broker back to recovered, longest", max(figures))
    assert findings.hold(resend=True), findings
    assert max(figures) < 30


@pytest.mark.parametrize(
    "start", [embedded, *(pytest.param(f, marks=pytest.mark.brokers) for f in (rabbitmq, artemis))]
)
async def test_the_ledger_sees_loss(no_leaks: None, start: Any, record_property: Callable[[str, object], None]) -> None:
    """The control: messages that the broker does not keep are lost with it, and that shows."""
    record_property("faults", f"kill -9, control that loses, {start.__name__}")
    with start() as target:
        load = Load(target, target.volatile)
        async with AsyncExitStack() as stack:
            connections = [await stack.enter_async_context(watch.connected(target)) for watch in load.watches]
            sender = await connections[0].sender(load.address)
            await asyncio.gather(*(load.produce(sender, durable=False) for _ in range(100)))
            assert load.ledger.told(ACCEPTED) == 100
            await load.kill()
            # The connection goes on all the same.
            await load.produce(sender, durable=False)
        await load.drain()
    findings = load.ledger.check(patience=PATIENCE)
    record_property("messages lost", float(len(findings.lost)))
    assert len(findings.lost) == 100
    assert not (findings.invented or findings.duplicates or findings.untold)
