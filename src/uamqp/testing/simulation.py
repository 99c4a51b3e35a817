"""The simulator: a real client and a real broker, a network that fails, programs that do all sorts of things, and the
accounts of every message. All of it comes from one seed, and happens again in the same way from the same seed.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import Any, Final, Literal, TypeAlias
from uuid import UUID

from ..aio import Recovery, connect, link, request
from ..broker import Broker
from ..broker.nodes import Entry, Queue
from ..codec.message import Message
from ..engine.connection import ConnectionEndpoint
from ..engine.states import SessionState
from ..exceptions import AMQPError
from .authority import Authority, Guarded
from .clock import Stuck, VirtualLoop, shut_down
from .ledger import Ledger, Violation
from .network import Conditions, How, Network, Way, Wire
from .workload import Consumer, Pair, Producer, Worker

_PORT: Final = 5672
_ADDRESS: Final = "q"
_HOW: Final[tuple[How, ...]] = ("fin", "rst", "blackhole")
_WAYS: Final[tuple[Way, ...]] = ("to server", "to client")
_TROUBLE: Final = ("wire", "wire", "hold", "mute", "detach", "end", "crash", "restart", "ignore", "jump")

#: Virtual seconds that all programs together may take.
_PATIENCE: Final = 3600.0
#: Virtual seconds after which each end has noticed that the other one is gone, and hung up.
_SILENCE: Final = 120.0
#: Lines of the trace that are shown.
_SHOWN: Final = 60


@dataclass
class Result:
    """What came of a run.

    Attributes:
        seed: it happens again with this.
        violations: what must not have happened.
        digest: of all that happened and all bytes that were read: equal for equal runs.
        trace: what happened: virtual time, who, what.
        messages: messages that were to be sent, and `attempts` to do so.
        faults: by kind, how many faults there were.
        checks: by rule, how many comparisons were made.
        seconds: virtual time that passed.
    """

    seed: int
    violations: list[Violation] = field(default_factory=list)
    digest: str = ""
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    messages: int = 0
    attempts: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def report(self, lines: int = _SHOWN) -> str:
        """The violations, and the last events."""
        shown = [f"seed {self.seed}: {len(self.violations)} violations"]
        shown += [f"  {violation}" for violation in self.violations]
        shown += [f"  {when:10.4f}  {who:12} {what}" for when, who, what in self.trace[-lines:]]
        return "\n".join(shown)


class AuditedQueue(Queue):
    """A queue that enters what comes and goes in a ledger."""

    ledger: Ledger | None = None

    def put(self, entry: Entry) -> None:
        if self.ledger is not None:
            self.ledger.offered(body_of(entry))
        super().put(entry)

    def add(self, entry: Entry) -> None:
        if self.ledger is not None:
            self.ledger.enqueued(body_of(entry))
        super().add(entry)

    def forget(self, entry: Entry) -> None:
        if self.ledger is not None:
            self.ledger.forgotten(body_of(entry))
        super().forget(entry)

    def left(self) -> list[bytes]:
        """The messages that are ready to be delivered."""
        return [body_of(entry) for entry in self._waiting()]

    def lose(self) -> None:
        """What a broker without a store does when it crashes."""
        ledger, self.ledger = self.ledger, None
        self.purge()
        self.ledger = ledger


RecoveryMode: TypeAlias = Literal["off", "on", "resend"]


def body_of(entry: Entry) -> bytes:
    """The body of a message in a queue."""
    return bytes(Message.decode(entry.payload, entry.message_format).body)


def simulate(
    seed: int,
    *,
    durable: bool = True,
    faults: int | None = None,
    recovery: RecoveryMode = "off",
    connect_options: Mapping[str, Any] | None = None,
) -> Result:
    """Run a simulation; see the module.

    Args:
        seed: what it comes from.
        durable: whether the broker has its messages still when it comes back after a crash. If not, messages are lost,
            and the ledger must notice.
        faults: how many there are at most; by default the seed says that, too.
        recovery: "off": the programs connect again by themselves; "on": their connections come back by themselves;
            "resend": and what is in doubt is sent again, so that copies are allowed.
        connect_options: more arguments of `uamqp.connect` for all programs.
    """
    options = dict(connect_options or {})
    if recovery != "off":
        options["recovery"] = _SeededRecovery(resend=recovery == "resend", random=Random(f"recovery {seed}"))
    with forgetting():
        return Simulation(seed, durable=durable, faults=faults, connect_options=options).run()


@contextmanager
def forgetting() -> Iterator[None]:
    """For a run: of all that there is, only what is made in here is gone through when garbage is collected.

    At the end what is left of it is collected, too: it is in cycles, and would be what was there before the next run.
    """
    gc.freeze()
    try:
        yield
        gc.collect()
    finally:
        gc.unfreeze()


@dataclass(frozen=True)
class _SeededRecovery(Recovery):
    """A recovery whose chance comes from the seed."""

    initial_delay: float = 0.05
    max_delay: float = 1.0
    random: Random = field(default_factory=Random)

    def delay(self, attempt: int) -> float:
        return self.longest_delay(attempt) * self.random.random()


class Simulation:
    """One run; made and run by `simulate`."""

    def __init__(self, seed: int, *, durable: bool, faults: int | None, connect_options: Mapping[str, Any]) -> None:
        self.random = random = Random(f"simulation {seed}")
        self.durable = durable
        self.connect_options = connect_options
        self.address = _ADDRESS
        self.url = f"amqp://127.0.0.1:{_PORT}"
        self._faults_left = random.choice((0, 1, 2, 3, 5, 8)) if faults is None else faults
        quiet = not self._faults_left
        self.network = Network(f"network {seed}", _conditions(random, quiet))
        self.ledger = Ledger(quiet=quiet, at_most_once=random.random() < 0.1)
        recovery: Recovery | None = connect_options.get("recovery")
        self.ledger.copies = recovery is not None and recovery.resend
        self.result = Result(seed, checks=self.ledger.checks, faults=self.network.faults)
        self._digest = blake2b(digest_size=16)
        self._loop = VirtualLoop(self.network)
        self.authority: Authority | None = None
        if random.random() < 0.3:
            self.authority = Authority(Random(f"tokens {seed}"), self.ledger, self._engines)
        self.network.on_connect = self.on_connect
        self.network.on_bytes = self._on_bytes
        self._producing = 0
        self._over = False

    def run(self) -> Result:
        """From the beginning to the end, including the balance."""
        started = self._loop.time()
        try:
            with _names_from(Random(f"names {self.result.seed}")):
                self._loop.run_until_complete(self._main())
        except Stuck as stuck:
            self.ledger.fault("nothing hangs", str(stuck))
        finally:
            result = self.result
            try:
                shut_down(self._loop)
            except Stuck as stuck:
                self.ledger.fault("nothing hangs", f"at the end: {stuck}")
            # A task that failed, and that nobody can reach any more, says so when it is collected.
            gc.collect()
            for failure in self._loop.failures:
                self.ledger.fault("nothing fails behind the back", failure)
        result.violations = self.ledger.check(self._queue.left())
        result.seconds = self._loop.time() - started
        result.attempts = len(self.ledger.accounts)
        self._digest.update(repr(result.trace).encode())
        result.digest = self._digest.hexdigest()
        return result

    # -- the world of the workers --------------------------------------------------------------------------------

    def note(self, who: str, what: str) -> None:
        """Write a line into the trace."""
        self.result.trace.append((self._loop.time(), who, what))

    def now(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    def _on_bytes(self, wire: Wire, way: Way, data: bytes) -> None:
        self._digest.update(data)
        self.note(f"wire {wire.number}", f"{way}: {len(data)} bytes")

    # -- the play ------------------------------------------------------------------------------------------------

    async def _main(self) -> None:
        random = self.random
        self._broker = broker = Broker(
            port=_PORT,
            link_credit=random.choice((1, 2, 10, 1000)),
            max_frame_size=random.choice((512, 65_536)),
            idle_timeout=random.choice((5.0, 30.0)),
            token_check=None if self.authority is None else self.authority.check,
        )
        # Names that come from nowhere but the seed.
        broker.container_id = "broker"
        if self.authority is not None:
            broker.personality = Guarded(broker, self.authority)
        self._queue = AuditedQueue(
            _ADDRESS, max_length=random.choice((3, 1000, 1000)), max_bytes=1 << 30, sweeper=broker.sweeper
        )
        self._queue.ledger = self.ledger
        broker.add(self._queue)
        await broker.start()
        workers = self.workers()
        # In the order in which they were made, which a set would not keep.
        tasks = [self._loop.create_task(worker.run(), name=worker.name) for worker in workers]
        for task, worker in zip(tasks, workers, strict=True):
            if not isinstance(worker, Consumer):
                task.add_done_callback(self._producer_finished)
        trouble = self._loop.create_task(self._trouble(), name="trouble")
        _, late = await asyncio.wait([*tasks, trouble], timeout=_PATIENCE)
        for task in late:
            self.ledger.fault("nothing hangs", f"{task.get_name()} was not done after {_PATIENCE:g} s")
        for task in tasks:
            if task not in late and task.exception() is not None:
                self.ledger.fault("errors are typed", f"{task.get_name()}: {task.exception()!r}")
        self._over = True
        # What was sent on a connection that is closed may still be under way.
        await asyncio.sleep(1.0)
        await self._take_what_is_left()
        await broker.stop()
        if self.authority is not None:
            self.authority.close()
        await asyncio.sleep(_SILENCE)
        self._look_for_leftovers()

    def workers(self) -> list[Worker]:
        """The programs of this run."""
        random, seed = self.random, self.result.seed
        workers: list[Worker] = []
        self._producing = random.randint(1, 2)
        for number in range(self._producing):
            count = random.randint(1, 8)
            self.result.messages += count
            producer = Producer(self, f"producer{number}", Random(f"producer {number} {seed}"), count)
            if random.random() < 0.7:
                workers.append(producer)
                continue
            name = f"pair{number}"
            consumer = Consumer(self, f"{name}c", Random(f"partner {number} {seed}"), producer.done)
            workers.append(Pair(self, name, Random(f"pair {number} {seed}"), producer, consumer))
        for number in range(random.randint(0, 2)):
            workers.append(
                Consumer(self, f"consumer{number}", Random(f"consumer {number} {seed}"), lambda: not self._producing)
            )
        return workers

    def _producer_finished(self, task: asyncio.Task[None]) -> None:
        self._producing -= 1

    # -- trouble -------------------------------------------------------------------------------------------------

    def on_connect(self, wire: Wire) -> None:
        """Decide what happens to a new wire."""
        self.note(f"wire {wire.number}", "connected")
        if self._over or self._faults_left <= 0:
            return
        random = self.random
        if random.random() < 0.5:
            self._faults_left -= 1
            way, how = random.choice(_WAYS), random.choice(_HOW)
            # Most of what happens to a connection is in its first bytes.
            count = random.choice((random.randrange(40), random.randrange(600), random.randrange(3000)))
            self.note("trouble", f"will cut wire {wire.number} ({how}) {way} after {count} bytes")
            wire.cut_after(way, count, how)

    async def _trouble(self) -> None:
        """Faults at any time, as many as are left."""
        random = self.random
        while self._faults_left > 0 and self._producing:
            await asyncio.sleep(random.choice((0.01, 0.1, 1.0)) * random.random())
            self._faults_left -= 1
            wires = self.network.open_wires
            kind = random.choice(_TROUBLE)
            self.note("trouble", kind)
            if kind in ("crash", "restart", "ignore"):
                await self._broker_away(kind)
            elif kind in ("detach", "end"):
                self._broker_ends(kind)
            elif kind == "jump":
                if self.authority is not None:
                    self.network.faults["jump"] += 1
                    self.authority.jump += random.choice((-3600.0, -5.0, 5.0, 3600.0))
            elif wires:
                wire = random.choice(wires)
                if kind == "wire":
                    wire.cut(random.choice(_HOW))
                elif kind == "hold":
                    wire.hold(random.choice(_WAYS), random.random() * 3)
                else:
                    wire.mute(random.choice(_WAYS))

    def _broker_ends(self, kind: str) -> None:
        """The broker ends a link, or a session, of its own accord; the rest lives on."""
        sessions = [
            session for engine in self._engines() for session in engine.sessions if session.state is SessionState.MAPPED
        ]
        if kind == "end" and sessions:
            self.network.faults["end"] += 1
            self.random.choice(sessions).fail("amqp:internal-error", "because of the simulation")
        links = [link for session in sessions for link in session.links if link.error is None]
        if kind == "detach" and links:
            self.network.faults["detach"] += 1
            self.random.choice(links).fail("amqp:link:detach-forced", "because of the simulation")

    def _engines(self) -> list[ConnectionEndpoint]:
        """The broker's ends of all connections."""
        return [accepted.engine for accepted in self._broker._connections.values() if accepted.engine is not None]

    async def _broker_away(self, kind: str) -> None:
        network = self.network
        seconds = self.random.random() * 2
        if kind == "restart":
            network.faults["restart"] += 1
            await self._broker.stop()
            await asyncio.sleep(seconds)
            await self._broker.start()
            return
        if kind == "crash":
            network.take_down(_PORT, self.random.choice(("fin", "rst")))
        else:
            network.ignore(_PORT)
        await asyncio.sleep(0.1 + seconds)
        if kind == "crash" and not self.durable:
            self._queue.lose()
        network.bring_up(_PORT)
        self.note("trouble", "is over")

    # -- the end -------------------------------------------------------------------------------------------------

    async def _take_what_is_left(self) -> None:
        """Now that all is well, every message that is left can be had."""
        self.network.conditions = Conditions()
        queue = self._queue
        deadline = self.now() + _SILENCE
        try:
            async with AsyncExitStack() as stack:
                connection = await stack.enter_async_context(connect(self.url, container_id="last", idle_timeout=None))
                if self.authority is not None:
                    await connection.authorize(_ADDRESS, self.authority.lasting)
                receiver = await stack.enter_async_context(connection.receiver(_ADDRESS, name="last", prefetch=3))
                while queue.length and self.now() < deadline:
                    for delivery in await receiver.receive_many(2, timeout=5.0):
                        token = self.ledger.delivered(delivery.body)
                        self.note("last", f"gets {token}")
                        self.ledger.removing(token)
                        delivery.accept()
                    # What was accepted in this turn is gone in the next.
                    await asyncio.sleep(0.01)
        except AMQPError as error:
            self.ledger.failed("last", error)
            self.ledger.fault("all is well after the faults", f"{error!r}")
        self.ledger.demand(
            "all is well after the faults", queue.length == 0, f"{queue.length} messages are left that cannot be had"
        )

    def _look_for_leftovers(self) -> None:
        tasks = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        demand = self.ledger.demand
        demand("no tasks are left", not tasks, ", ".join(sorted(tasks)))
        wires = [str(wire.number) for wire in self.network.open_wires]
        demand("no connections are left", not wires, f"wires {', '.join(wires)}")
        demand("no sockets are left", not self.network.open_sockets, f"{self.network.open_sockets}")
        demand("no timers are left", not self._loop.timers, f"{self._loop.timers}")
        demand("the broker forgets its clients", not self._broker.connections, f"{self._broker.connections}")


@contextmanager
def _names_from(random: Random) -> Iterator[None]:
    """Names that the client makes up come from the seed, too."""
    modules: Any = (link, request)
    with ExitStack() as stack:
        for module in modules:
            stack.callback(setattr, module, "uuid4", module.uuid4)
            module.uuid4 = lambda: UUID(int=random.getrandbits(128), version=4)
        yield


def _conditions(random: Random, quiet: bool) -> Conditions:
    slow = 0.001 if quiet else random.choice((0.001, 0.01, 0.05))
    return Conditions(
        latency=(random.choice((0.0, slow / 2)), slow),
        whole=random.choice((1.0, 0.7, 0.2)),
        buffer=random.choice((None, None, 300, 4000)),
        smallest=random.choice((1, 50)),
    )
