"""The life of a connection, cut at each of its stages in every way, over each transport; with recovery and without.

The names of the stages begin with their numbers in the list of faults. Not in it are transactions and SCRAM (A13, A40,
A41), which the client does not have.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from uamqp.aio import Connection, Happening, Manual, Message, Receiver, Recovery, RecoveryEvent, Sender, Token, connect
from uamqp.broker import Broker
from uamqp.exceptions import AMQPError, ConnectionLost, OperationTimeout
from uamqp.transport.tls import server_context

from ..aio.peers import BOUND, eventually
from .ledger import ACCEPTED, Ledger, meaning
from .proxy import Cut, FaultProxy, How, Side

T = TypeVar("T")

#: Seconds of silence that client and broker put up with; times 1.25, that is how long a black hole goes unnoticed.
IDLE = 0.8
#: Seconds for connecting, and for each call.
PATIENCE = 1.5
#: What a loaded machine may add to the time-outs of a run.
SLACK = 8.0
#: Seconds in which the broker hears of what was accepted, unless that is cut.
HEARD = 0.5
#: Bytes of a message that takes several frames.
LARGE = 10_000
FRAME = 2048


class World:
    """A broker, a proxy before it, a client on the other side of that, and the books."""

    def __init__(
        self, broker: Broker, proxy: FaultProxy, ledger: Ledger, cuts: tuple[Cut, ...], *, recovering: bool
    ) -> None:
        self.broker = broker
        self.proxy = proxy
        self.ledger = ledger
        self.cuts = cuts
        self.recovering = recovering
        self.events: list[RecoveryEvent] = []
        self.url = ""
        self.options: dict[str, Any] = {}

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        recovery = None
        if self.recovering:
            recovery = Recovery(initial_delay=0.01, max_delay=0.1, resend=True, on_event=self._on_event)
        patience = BOUND if self.recovering else PATIENCE
        async with connect(
            self.url,
            recovery=recovery,
            idle_timeout=IDLE,
            timeout=patience,
            connect_timeout=PATIENCE,
            max_frame_size=FRAME,
            **self.options,
        ) as connection:
            yield connection

    def _on_event(self, event: RecoveryEvent) -> None:
        self.events.append(event)
        if event.what is Happening.RECOVERED:
            self.ledger.cut_ends()

    def arm(self) -> None:
        """From now on, cut."""
        self.proxy.arm(*self.cuts)

    async def send(self, sender: Sender, size: int = 0, **options: Any) -> None:
        number, body = self.ledger.attempt(size)
        try:
            await sender.send(body, **options)
        except AMQPError as error:
            self.ledger.tell(number, meaning(error))
            raise
        self.ledger.tell(number, ACCEPTED)

    async def receive(self, receiver: Receiver) -> None:
        """Take and accept a message."""
        delivery = await receiver.receive()
        number = self.ledger.receive(delivery.body)
        delivery.accept()
        self.ledger.settle(number)

    async def fill(self, count: int, size: int = 0) -> None:
        """Put messages into the queue, past the proxy."""
        async with connect(self.broker.url) as connection, connection.sender("queue") as sender:
            for _ in range(count):
                await self.send(sender, size)

    async def drain(self) -> None:
        """Take all that is left, past the proxy, until nothing is owed any more."""
        # What a black hole swallowed belongs to its old connection until the broker has noticed.
        await eventually(lambda: self.broker.connections == 0)
        async with connect(self.broker.url) as connection:
            async with connection.receiver("queue", credit=Manual()) as receiver:
                receiver.flow(1000)
                await receiver.drain()
                while receiver.queued:
                    await self.receive(receiver)

    async def again(self, call: Callable[[], Awaitable[T]]) -> T:
        """The result of a call that recovery does not repeat by itself: its outcome is not known where it was cut."""
        try:
            return await call()
        except AMQPError:
            if not self.recovering:
                raise
            await eventually(lambda: self.events and self.events[-1].what is Happening.RECOVERED)
            return await call()


# --- scenarios: what is done while the cut is waited for --------------------------------------------------------


async def connecting(world: World) -> None:
    if not world.recovering:
        world.arm()
    async with world.connected() as connection:
        async with connection.sender("queue") as sender, connection.receiver("queue") as receiver:
            if world.recovering:
                await world.send(sender)
                await world.receive(receiver)
                # The very first connection is never tried again; the stage is that of the second.
                world.arm()
                world.proxy.cut(How.RST)
            for _ in range(2):
                await world.send(sender)
                await world.receive(receiver)


async def sending(world: World) -> None:
    async with world.connected() as connection, connection.sender("queue") as sender:
        await eventually(lambda: sender.credit)
        world.arm()
        results = await asyncio.gather(*(world.send(sender, size) for size in (0, LARGE, 0)), return_exceptions=True)
        failed = [result for result in results if result is not None]
        assert all(isinstance(error, AMQPError) for error in failed), failed
        if failed:
            raise failed[0]
        await world.send(sender)


async def receiving(world: World) -> None:
    await world.fill(4, LARGE)
    async with world.connected() as connection:
        session = await connection.session()
        world.arm()
        async with session.receiver("queue", prefetch=10) as receiver:
            while world.ledger.open() or len(world.broker.queue("queue")):
                await world.receive(receiver)
                # A turn for what was accepted to be written, alone.
                await asyncio.sleep(0)
                if not world.ledger.open():
                    # The broker answers behind what was accepted.
                    await world.again(lambda: _round_trip(connection))


async def _round_trip(connection: Connection) -> None:
    async with connection.session():
        pass


async def confirming(world: World) -> None:
    await world.fill(2)
    async with world.connected() as connection, connection.receiver("queue", settle_mode="second") as receiver:
        world.arm()
        confirmed = 0
        while confirmed < 2:
            delivery = await receiver.receive()
            number = world.ledger.receive(delivery.body)
            delivery.accept()
            world.ledger.settle(number)
            try:
                await receiver.confirmed(delivery)
            except AMQPError:
                # It may come again, or not.
                if not world.recovering:
                    raise
                await _round_trip(connection)
                if not len(world.broker.queue("queue")):
                    return
            else:
                world.ledger.confirm(number)
                confirmed += 1


async def draining(world: World) -> None:
    async with world.connected() as connection, connection.receiver("queue", credit=Manual()) as receiver:
        receiver.flow(5)
        await _round_trip(connection)
        world.arm()
        await world.again(receiver.drain)
        await world.again(lambda: _round_trip(connection))


async def detaching(world: World) -> None:
    async with world.connected() as connection:
        sender = await connection.sender("queue")
        await world.send(sender)
        world.arm()
        await sender.close()
        await world.again(lambda: _round_trip(connection))


async def ending(world: World) -> None:
    async with world.connected() as connection:
        session = await connection.session()
        world.arm()
        await session.close()
        await world.again(lambda: _round_trip(connection))


async def closing(world: World) -> None:
    async with world.connected() as connection:
        async with connection.sender("queue") as sender:
            await world.send(sender)
        world.arm()
        await connection.close(timeout=PATIENCE)


async def idling(world: World) -> None:
    async with world.connected() as connection, connection.sender("queue") as sender:
        await world.send(sender)
        world.arm()
        await eventually(lambda: not world.proxy.armed)
        if world.recovering:
            await eventually(lambda: world.events and world.events[-1].what is Happening.RECOVERED)
        else:
            await eventually(lambda: not connection.is_open)
        await world.send(sender)


async def asking(world: World) -> None:
    def ask() -> Message:
        return Message(None, application_properties={"operation": "READ", "type": "queue", "name": "queue"})

    async with world.connected() as connection:
        await connection.request("$management", ask())
        world.arm()
        await world.again(lambda: connection.request("$management", ask()))


def _token(audience: str) -> Token:
    return Token("token", "jwt")


async def authorizing(world: World) -> None:
    async with world.connected() as connection:
        world.arm()
        await world.again(lambda: connection.authorize("queue", _token, timeout=PATIENCE))
        async with connection.sender("queue") as sender:
            await world.send(sender)


async def authorized(world: World) -> None:
    async with world.connected() as connection:
        await connection.authorize("queue", _token, timeout=PATIENCE)
        async with connection.sender("queue") as sender:
            world.arm()
            for _ in range(3):
                await world.send(sender)


# --- the table --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """Where to cut: in which scenario, and in what.

    Attributes:
        fast: part of the normal suite, as far as that is quick.
        only: the transport that has this stage.
        quiet: closing says nothing of a peer that is gone, so that without recovery there may be no error.
        then: the second cut, in what follows the first.
    """

    name: str
    scenario: Callable[[World], Awaitable[None]]
    kind: str
    towards: Side = "server"
    nth: int = 1
    byte: int | None = None
    fast: bool = False
    only: str = ""
    quiet: bool = False
    then: tuple[str, Side, int | None] | None = None


STAGES = [
    Stage("A04-connected-peer-mute", connecting, "sasl-header", byte=0),
    Stage("A05-in-tls-handshake", connecting, "tls", only="tls"),
    Stage("A06-before-header", connecting, "sasl-header", "client", byte=0),
    Stage("A07-upgrade-sent", connecting, "http", only="websocket"),
    Stage("A08-after-101", connecting, "http", "client", only="websocket"),
    *(Stage(f"A09-in-header-byte-{n}", connecting, "sasl-header", "client", byte=n) for n in (1, 4, 7)),
    Stage("A10-after-sasl-header", connecting, "sasl-header"),
    Stage("A11-after-mechanisms", connecting, "sasl-mechanisms", "client"),
    Stage("A12-after-sasl-init", connecting, "sasl-init"),
    Stage("A14-after-outcome", connecting, "sasl-outcome", "client"),
    Stage("A15-after-amqp-header", connecting, "amqp-header"),
    Stage("A16-open-sent", connecting, "open"),
    Stage("A17-open-received", connecting, "open", "client"),
    Stage("A17-in-open", connecting, "open", "client", byte=20),
    Stage("A18-begin-sent", connecting, "begin"),
    Stage("A19-begin-received", connecting, "begin", "client"),
    Stage("A20-attach-of-cbs", authorizing, "attach"),
    Stage("A21-put-token-no-reply", authorizing, "transfer"),
    Stage("A21-put-token-reply-cut", authorizing, "transfer", "client", byte=-1),
    Stage("A22-attach-sent", connecting, "attach"),
    Stage("A22-attach-received", connecting, "attach", "client"),
    Stage("A23-flow-received", connecting, "flow", "client"),
    Stage("A23-flow-sent", connecting, "flow"),
    Stage("A24-mid-transfer", sending, "transfer", byte=30, fast=True),
    Stage("A24-mid-transfer-last-byte", sending, "transfer", byte=-1),
    Stage("A25-between-frames-of-a-delivery", sending, "transfer", nth=3),
    Stage("A26-before-disposition", sending, "transfer"),
    Stage("A26-before-disposition-all-sent", sending, "disposition", "client", byte=0),
    Stage("A27-mid-disposition", sending, "disposition", "client", byte=-1),
    Stage("A28-accepted-unsettled", confirming, "disposition"),
    Stage("A29-after-settle", sending, "disposition", "client"),
    Stage("A30-mid-incoming-transfer", receiving, "transfer", "client", byte=-1),
    Stage("A31-between-incoming-frames", receiving, "transfer", "client", nth=2),
    Stage("A31-between-incoming-transfers", receiving, "transfer", "client", nth=5),
    Stage("A32-delivered-before-disposition", receiving, "disposition", byte=0),
    Stage("A33-disposition-not-read", receiving, "disposition", byte=-1),
    Stage("A33-disposition-read", receiving, "disposition"),
    Stage("A34-settle-missing", confirming, "disposition", "client", byte=0),
    Stage("A35-drain-sent", draining, "flow"),
    Stage("A35-drain-answer-cut", draining, "flow", "client", byte=-1),
    Stage("A36-detach-sent", detaching, "detach"),
    Stage("A36-detach-answer-cut", detaching, "detach", "client", byte=-1),
    Stage("A37-end-sent", ending, "end"),
    Stage("A37-end-answer-cut", ending, "end", "client", byte=-1),
    Stage("A38-close-sent", closing, "close", quiet=True),
    Stage("A38-close-answer-cut", closing, "close", "client", byte=-1, quiet=True),
    Stage("A39-heartbeat-sent", idling, "empty"),
    Stage("A39-heartbeat-received", idling, "empty", "client"),
    Stage("A42-request-sent", asking, "transfer"),
    Stage("A42-answer-cut", asking, "transfer", "client", byte=-1),
    Stage("A43-again-in-open", sending, "transfer", then=("open", "server", None)),
    Stage("A43-again-in-attach", sending, "transfer", then=("attach", "client", -1)),
    Stage("A43-again-in-put-token", authorized, "transfer", then=("transfer", "server", 30)),
    Stage("A43-again-before-the-answer-to-put-token", authorized, "transfer", then=("transfer", "client", 0)),
    Stage("A43-again-while-sending-again", sending, "transfer", then=("transfer", "server", 30)),
]

#: The fourth way is one that only TLS has, where the end of the stream is not the end of the conversation.
CUTS = {
    "plain": (How.FIN, How.RST, How.BLACKHOLE, How.HALF_OPEN),
    "tls": (How.FIN, How.RST, How.BLACKHOLE, How.TRUNCATED),
    "websocket": (How.FIN, How.RST, How.BLACKHOLE, How.HALF_OPEN),
}


def cells() -> Iterator[Any]:
    for stage in STAGES:
        for transport, ways in CUTS.items():
            if stage.only not in ("", transport):
                continue
            for how in ways:
                # Black holes take their time.
                fast = stage.fast and (transport == "plain" or how not in (How.BLACKHOLE, How.HALF_OPEN))
                marks = [] if fast else [pytest.mark.faults]
                yield pytest.param(stage, transport, how, marks=marks, id=f"{stage.name}-{transport}-{how.value}")


Make = Callable[..., Awaitable[World]]


@pytest.fixture
async def make(no_leaks: None, certificates: Path) -> AsyncIterator[Make]:
    """Makes a world of its own."""
    async with AsyncExitStack() as stack:

        async def build(transport: str, *cuts: Cut, recovering: bool) -> World:
            websocket = transport == "websocket"
            broker = Broker(
                websocket_port=0 if websocket else None, max_frame_size=FRAME, idle_timeout=IDLE, handshake_timeout=IDLE
            )
            await stack.enter_async_context(broker)
            context = None
            if transport == "tls":
                context = server_context(certificates / "server.pem", certificates / "server.key")
            port = broker.websocket_port if websocket else broker.port
            assert port is not None
            ledger = Ledger()
            proxy = FaultProxy(port, context=context, websocket=websocket, on_cut=ledger.cut_begins)
            await stack.enter_async_context(proxy)
            world = World(broker, proxy, ledger, cuts, recovering=recovering)
            scheme = {"plain": "amqp", "tls": "amqps", "websocket": "ws"}[transport]
            world.url = f"{scheme}://127.0.0.1:{proxy.port}"
            if transport == "tls":
                world.options["ca_file"] = str(certificates / "ca.pem")
            return world

        yield build


def _cuts(stage: Stage, how: How) -> tuple[Cut, ...]:
    first = Cut(how, stage.kind, stage.towards, stage.nth, stage.byte)
    if stage.then is None:
        return (first,)
    kind, towards, byte = stage.then
    return first, replace(first, kind=kind, towards=towards, nth=1, byte=byte)


@pytest.mark.parametrize(("stage", "transport", "how"), list(cells()))
async def test_without_recovery(
    make: Make, stage: Stage, transport: str, how: How, record_property: Callable[[str, object], None]
) -> None:
    """It ends in time, with a typed error, and the sender knows what it can know."""
    record_property("faults", f"stages, {transport}, without recovery")
    world = await make(transport, *_cuts(stage, how)[:1], recovering=False)
    started = time.monotonic()
    try:
        await stage.scenario(world)
    except AMQPError:
        pass
    else:
        assert stage.quiet, "nobody was told"
    assert world.proxy.fired, "the stage did not come"
    assert time.monotonic() - started < max(PATIENCE, 1.25 * IDLE) + SLACK
    await world.drain()
    findings = world.ledger.check(patience=HEARD)
    assert findings.hold(resend=False), findings


@pytest.mark.parametrize(("stage", "transport", "how"), list(cells()))
async def test_with_recovery(
    make: Make, stage: Stage, transport: str, how: How, record_property: Callable[[str, object], None]
) -> None:
    """It goes on as if nothing had been, and no message is lost, those in doubt neither."""
    record_property("faults", f"stages, {transport}, with recovery")
    world = await make(transport, *_cuts(stage, how), recovering=True)
    await stage.scenario(world)
    assert not world.proxy.armed, "the stage did not come"
    await world.drain()
    findings = world.ledger.check(patience=HEARD)
    assert findings.hold(resend=True), findings
    assert world.ledger.told(ACCEPTED) == len(world.ledger)
    assert Happening.FAILED not in [event.what for event in world.events]


# --- stages before there is a connection that could be cut ------------------------------------------------------


async def _goes_on(world: World, fault: Callable[[], object], mend: Callable[[], Awaitable[object]]) -> None:
    """With recovery: the connection is lost, cannot be had for some attempts, then it can."""
    async with world.connected() as connection, connection.sender("queue") as sender:
        await world.send(sender)
        fault()
        world.proxy.cut(How.RST)
        await eventually(lambda: sum(event.what is Happening.RETRYING for event in world.events) >= 3)
        waiting = asyncio.create_task(world.send(sender))
        await mend()
        await waiting
    await world.drain()
    findings = world.ledger.check(patience=HEARD)
    assert findings.hold(resend=True), findings


@pytest.mark.faults
async def test_a02_the_name_cannot_be_looked_up(
    make: Make, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    record_property("faults", "A01 to A03")
    world = await make("plain", recovering=False)
    world.url = f"amqp://broker.invalid:{world.proxy.port}"
    known = False

    async def look_up(host: str, port: int, **options: Any) -> list[Any]:
        if not known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
    with pytest.raises(ConnectionLost, match="name resolution"):
        async with world.connected():
            pass

    async def learn() -> None:
        nonlocal known
        known = True

    def unlearn() -> None:
        nonlocal known
        known = False

    await learn()
    world.recovering = True
    await _goes_on(world, unlearn, learn)


@pytest.mark.faults
@pytest.mark.parametrize("transport", CUTS)
@pytest.mark.parametrize(("fault", "error"), [("refuse", ConnectionLost), ("ignore", OperationTimeout)])
async def test_a01_and_a03_connections_are_refused_or_not_answered(
    make: Make, fault: str, error: type[AMQPError], transport: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("faults", "A01 to A03")
    world = await make(transport, recovering=False)
    begin = getattr(world.proxy, fault)
    begin()
    started = time.monotonic()
    with pytest.raises(error):
        async with world.connected():
            pass
    assert time.monotonic() - started < PATIENCE + SLACK
    await world.proxy.listen()
    world.recovering = True
    await _goes_on(world, begin, world.proxy.listen)


# --- after any number of bytes, and slowly ----------------------------------------------------------------------


@pytest.mark.faults
@pytest.mark.parametrize("recovering", [False, True], ids=["without-recovery", "with-recovery"])
@pytest.mark.parametrize("towards", ["server", "client"])
@pytest.mark.parametrize("byte", range(1, 600, 12))
async def test_cut_after_so_many_bytes(
    make: Make, byte: int, towards: Side, recovering: bool, record_property: Callable[[str, object], None]
) -> None:
    record_property("faults", f"after n bytes, with{'' if recovering else 'out'} recovery")
    world = await make("plain", Cut(How.RST, "bytes", towards, byte=byte), recovering=recovering)
    try:
        await connecting(world)
    except AMQPError:
        assert not recovering
    assert not world.proxy.armed, "the conversation has fewer bytes"
    await world.drain()
    findings = world.ledger.check(patience=HEARD)
    assert findings.hold(resend=recovering), findings


@pytest.mark.faults
@pytest.mark.parametrize("transport", CUTS)
async def test_a_slow_network(make: Make, transport: str, record_property: Callable[[str, object], None]) -> None:
    """It takes longer than the idle time-out, which bytes that trickle in do not let pass."""
    record_property("faults", "throttled to 8 kB/s")
    world = await make(transport, recovering=False)
    started = time.monotonic()
    async with world.connected() as connection, connection.sender("queue") as sender:
        world.proxy.throttle = 8_000
        await world.send(sender, LARGE, timeout=BOUND)
        assert time.monotonic() - started > 1.0
        world.proxy.throttle = None
    await world.drain()
    findings = world.ledger.check(patience=HEARD)
    assert findings.hold(resend=True), findings
