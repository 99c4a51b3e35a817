"""Programs for the simulator: producers and consumers that do by chance what programs do, and keep accounts.

They connect again by themselves after a failure, as a program has to. What is in doubt they send again, or not,
as their seed says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from random import Random
from typing import Any, Protocol, TypeVar

from ..aio import Connection, Manual, OnDemand, Prefetch, Receiver, Sender, Session, connect
from ..aio.cbs import TokenKeeper
from ..engine.delivery import IncomingDelivery
from ..exceptions import AMQPError, BatchFailed, LocalProtocolError, OperationTimeout
from .authority import Authority
from .ledger import GRACE, Ledger, Outcome, outcome_of

T = TypeVar("T")

#: What is worth another try, whatever the program promises: nobody has the message.
_HARMLESS = (Outcome.NOT_SENT, Outcome.RELEASED, Outcome.MODIFIED)

#: Virtual seconds in which the end of a connection is noticed, whatever happened to it.
FOR_EVER = 120.0

#: Connections that a worker makes before it gives up; faults are fewer.
_PATIENCE = 200


class Cancelled(Exception):
    """A worker cancelled a call of its own."""


class World(Protocol):
    """What workers need to know of the simulation that they run in."""

    ledger: Ledger
    url: str
    address: str
    #: More arguments of `connect`.
    connect_options: Mapping[str, Any]
    #: Who gives tokens, where they are wanted.
    authority: Authority | None

    def note(self, who: str, what: str) -> None:
        """Write a line into the trace."""

    def now(self) -> float:
        """Virtual seconds."""


class Worker:
    """One program: connects, does its work, and connects again until that is done."""

    def __init__(self, world: World, name: str, random: Random) -> None:
        self.world = world
        self.ledger = world.ledger
        self.name = name
        self.random = random
        self.connections = 0
        #: When the present connection ended.
        self.ended_at: float | None = None
        # Where nothing fails, a time-out that runs out is a failure, too.
        self.timeout = 20.0 if self.ledger.quiet else random.choice((1.0, 2.0, 10.0))
        self._options: dict[str, Any] = {
            "timeout": self.timeout,
            "connect_timeout": random.choice((1.0, 5.0)),
            "idle_timeout": random.choice((5.0, 30.0)),
            "max_frame_size": random.choice((512, 4096, 65_536)),
        }
        self.cancels = random.random() < 0.3

    def note(self, what: str) -> None:
        """Write a line into the trace."""
        self.world.note(self.name, what)

    async def run(self) -> None:
        """Work until it is done."""
        while not self.done() and self.connections < _PATIENCE:
            self.connections += 1
            try:
                await self._one_connection()
            except AMQPError as error:
                self.ledger.failed(self.name, error)
                self.note(f"failed: {error!r}")
                await asyncio.sleep(self.random.random())
            except Cancelled:
                # What it was about to open is none of its business any more.
                pass
        self.ledger.demand(
            "programs get done", self.done(), f"{self.name} gave up after {self.connections} connections"
        )

    def done(self) -> bool:
        """Whether nothing is left to do."""
        raise NotImplementedError

    async def work(self, connection: Connection) -> None:
        """Do some of it."""
        raise NotImplementedError

    async def _one_connection(self) -> None:
        options = {**self._options, **self.world.connect_options}
        name = f"{self.name}-{self.connections}"
        self.ended_at = None
        connection = await self.call(
            "connect",
            self.perhaps_cancelled(connect(self.world.url, container_id=name, **options).open()),
            options["connect_timeout"],
        )
        self.note("connected")
        watch = asyncio.create_task(self._note_end(connection), name=f"{name} watches")
        try:
            await self._authorize(connection, name)
            await self.work(connection)
        finally:
            watch.cancel()
            try:
                await self.call("close", self.perhaps_cancelled(connection.close()), self.timeout)
            except Cancelled:
                await self.call("close", connection.close(), self.timeout)
            self.note("closed")

    async def _authorize(self, connection: Connection, client: str) -> None:
        """Put a token, and have it renewed from then on."""
        authority = self.world.authority
        if authority is None:
            return
        keeper = TokenKeeper(
            connection, "q", lambda audience: authority.give(client), timeout=self.timeout, clock=authority.wall
        )
        try:
            await self.call("authorize", self.perhaps_cancelled(keeper.start(tries=1)), self.timeout)
        except OSError as error:
            if isinstance(error, AMQPError):
                raise
            # What the function of the application raises is raised.
            self.note(f"has no token: {error}")
            raise Cancelled from None

    async def _note_end(self, connection: Connection) -> None:
        self.ended_at = None
        await connection.wait_closed()
        self.ended_at = self.world.now()

    async def call(self, what: str, operation: Coroutine[Any, Any, T], limit: float) -> T:
        """One call, which must be over after so many seconds, and soon after the end of its connection."""
        started = self.world.now()
        try:
            with self.ledger.timed(f"{self.name}: {what}", limit, self.world.now):
                return await operation
        finally:
            if self.ended_at is not None:
                late = self.world.now() - max(started, self.ended_at)
                self.ledger.demand("who waits is told of the end", late <= GRACE, f"{self.name}: {what}, {late:.3f} s")

    async def pause(self) -> None:
        """Do nothing for a while: sometimes for so long that only heartbeats keep the connection."""
        if self.random.random() < 0.2:
            await asyncio.sleep(self.random.choice((0.01, 0.3, 0.3, 60.0)) * self.random.random())

    async def perhaps_cancelled(self, operation: Coroutine[Any, Any, T]) -> T:
        """Await it, or begin it and cancel it somewhere; raises Cancelled then."""
        if not self.cancels or self.random.random() < 0.7:
            return await operation
        task = asyncio.ensure_future(operation)
        task.set_name(f"{self.name} to be cancelled")
        try:
            for _ in range(self.random.randrange(6)):
                await asyncio.sleep(0)
            if self.random.random() < 0.5:
                await asyncio.sleep(self.random.random() * 0.02)
            if not task.done():
                self.note("cancels")
                task.cancel()
                await asyncio.wait([task])
                if task.cancelled():
                    raise Cancelled
            return await task
        except asyncio.CancelledError:
            # Whoever waits for this has no more patience; the task is nobody's then.
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            task.cancel()
            raise


class Producer(Worker):
    """Sends its messages, one way or another."""

    def __init__(self, world: World, name: str, random: Random, count: int) -> None:
        super().__init__(world, name, random)
        self._todo = deque(f"{name}.{number}" for number in range(count))
        self._attempts = 0
        self._at_least_once = random.random() < 0.7
        self._large = random.random() < 0.4
        self._settle_mode = random.choice(("mixed", "mixed", "unsettled"))

    def done(self) -> bool:
        return not self._todo

    async def work(self, connection: Connection) -> None:
        link = f"{self.name}/{self.connections}"
        sender = await self.call(
            "attach",
            self.perhaps_cancelled(
                connection.sender(self.world.address, name=link, settle_mode=self._settle_mode).open()
            ),
            self.timeout,
        )
        ways = (
            self._send,
            self._send_settled,
            self._send_together,
            self._send_nowait,
            self._send_many,
            self._close_amid,
        )
        weights = (4, 2, 2, 2, 2, 1)
        while self._todo and sender.error is None:
            await self.random.choices(ways, weights)[0](sender)
            await self.pause()
        if self.random.random() < 0.5:
            await self.call("detach", self.perhaps_cancelled(sender.close()), self.timeout)

    # -- accounts ------------------------------------------------------------------------------------------------

    def _attempt(self, message: str, link: str) -> tuple[str, bytes]:
        self._attempts += 1
        token = f"{message}#{self._attempts}"
        padding = self.random.randrange(3000) if self._large else self.random.randrange(60)
        body = f"{token} ".encode() + bytes(padding)
        self.ledger.attempt(token, body, link)
        self.note(f"sends {token}, {len(body)} bytes")
        return token, body

    def _told(self, message: str, token: str, outcome: Outcome, again: bool | None = None) -> None:
        self.ledger.told(token, outcome)
        self.note(f"is told that {token} is {outcome.value}")
        if again is None:
            again = self._at_least_once
        if outcome in _HARMLESS or (outcome is Outcome.IN_DOUBT and again):
            self._todo.append(message)

    def _take(self, most: int) -> list[str]:
        return [self._todo.popleft() for _ in range(min(most, len(self._todo)))]

    def _raised(self, error: BaseException) -> Outcome:
        if isinstance(error, Cancelled):
            return Outcome.IN_DOUBT
        self.ledger.failed(self.name, error)
        return outcome_of(error)

    # -- the ways to send ----------------------------------------------------------------------------------------

    async def _send(self, sender: Sender) -> None:
        for message in self._take(self.random.randint(1, 3)):
            await self._send_one(sender, message, sender.name)

    async def _send_together(self, sender: Sender) -> None:
        messages = self._take(self.random.randint(2, 5))
        # Which of them is first is not for them to say, so each has an order of its own.
        await asyncio.gather(*(self._send_one(sender, message, f"{sender.name} {message}") for message in messages))

    async def _close_amid(self, sender: Sender) -> None:
        """Close the link while messages are under way on it."""
        if self.ledger.quiet:
            return
        sending = asyncio.ensure_future(self._send_together(sender))
        await asyncio.sleep(self.random.random() * 0.02)
        await self.call("detach", sender.close(), self.timeout)
        await sending

    async def _send_one(self, sender: Sender, message: str, order: str) -> None:
        token, body = self._attempt(message, order)
        outcome = Outcome.ACCEPTED
        # Without a time-out of its own, a call ends with its connection at the latest.
        timeout, limit = (None, FOR_EVER) if self.random.random() < 0.2 else (self.timeout, self.timeout)
        try:
            await self.call("send", self.perhaps_cancelled(sender.send(body, timeout=timeout)), limit)
        except (AMQPError, Cancelled) as error:
            outcome = self._raised(error)
        self._told(message, token, outcome)

    async def _send_settled(self, sender: Sender) -> None:
        if self._settle_mode == "unsettled":
            return
        for message in self._take(1):
            token, body = self._attempt(message, sender.name)
            # Written is all that is known of it.
            outcome = Outcome.IN_DOUBT
            try:
                await self.call("send settled", self.perhaps_cancelled(sender.send(body, settled=True)), self.timeout)
            except (AMQPError, Cancelled) as error:
                outcome = self._raised(error)
            self._told(message, token, outcome, again=False)

    async def _send_nowait(self, sender: Sender) -> None:
        under_way = []
        for message in self._take(self.random.randint(1, 4)):
            token, body = self._attempt(message, sender.name)
            try:
                under_way.append((message, token, sender.send_nowait(body)))
            except AMQPError as error:
                self._told(message, token, self._raised(error))
        # Who has no patience takes back what waits for credit.
        timeout = 0.0 if self.random.random() < 0.3 and not self.ledger.quiet else self.timeout
        for message, token, delivery in under_way:
            outcome = Outcome.ACCEPTED
            try:
                await self.call("settlement", self.perhaps_cancelled(sender.settlement(delivery, timeout)), timeout)
            except (AMQPError, Cancelled) as error:
                outcome = self._raised(error)
            self._told(message, token, outcome)

    async def _send_many(self, sender: Sender) -> None:
        messages = self._take(self.random.randint(1, 6))
        taken: list[tuple[str, str]] = []
        kind = self.random.choice(("list", "iterable", "asynchronous"))
        source: Any = self._bodies(messages, taken, sender.name)
        if kind == "list":
            source = list(source)
        elif kind == "asynchronous":
            source = self._bodies_in_time(messages, taken, sender.name)
        failures: dict[int, Outcome] = {}
        others = Outcome.ACCEPTED
        total = len(messages)
        try:
            limit = self.timeout * (len(messages) + 1)
            count = await self.call("send_many", self.perhaps_cancelled(sender.send_many(source)), limit)
            self.ledger.demand("send_many tells how many", count == len(taken), f"{self.name}: {count} of {len(taken)}")
        except BatchFailed as error:
            failures = {place: self._raised(failure) for place, failure in error.failures.items()}
            total = error.total
        except (AMQPError, Cancelled) as error:
            self._raised(error)
            others = Outcome.IN_DOUBT
        for place, (message, token) in enumerate(taken):
            self._told(message, token, failures.get(place, others) if place < total else Outcome.NOT_SENT)
        self._todo.extend(messages[len(taken) :])

    def _bodies(self, messages: list[str], taken: list[tuple[str, str]], link: str) -> Iterator[bytes]:
        for message in messages:
            token, body = self._attempt(message, link)
            taken.append((message, token))
            yield body

    async def _bodies_in_time(
        self, messages: list[str], taken: list[tuple[str, str]], link: str
    ) -> AsyncIterator[bytes]:
        for body in self._bodies(messages, taken, link):
            yield body
            if self.random.random() < 0.3:
                await asyncio.sleep(self.random.random() * 0.01)


class Consumer(Worker):
    """Receives until it is told that no more will come, and settles one way or another."""

    def __init__(self, world: World, name: str, random: Random, finished: Callable[[], bool]) -> None:
        super().__init__(world, name, random)
        self._finished = finished
        self._settle_mode = random.choice(("first", "second"))
        self._sender_settle_mode = "settled" if world.ledger.at_most_once else "mixed"
        self._fickle = random.random() < 0.6
        #: Of the present link: what was settled for good, as far as this side knows.
        self._said: list[tuple[str, object]] = []

    def done(self) -> bool:
        return self._finished()

    async def work(self, connection: Connection) -> None:
        self._said = []
        prefetch = self.random.choice((1, 2, 10, 300))
        credit = self.random.choice((None, None, OnDemand(), Manual()))
        session: Connection | Session = connection
        if self.random.random() < 0.3:
            window = self.random.choice((1, 3, 2048))
            session = await self.call("begin", connection.session(incoming_window=window).open(), self.timeout)
        receiver = await self.call(
            "attach",
            session.receiver(
                self.world.address,
                name=f"{self.name}/{self.connections}",
                settle_mode=self._settle_mode,
                sender_settle_mode=self._sender_settle_mode,
                credit=credit if credit is not None else Prefetch(prefetch),
            ).open(),
            self.timeout,
        )
        for _ in range(self.random.randint(1, 6)):
            if self.done():
                break
            if credit is None:
                self.ledger.demand(
                    "credit stays within what was asked for",
                    receiver.queued + receiver.credit <= prefetch or receiver.error is not None,
                    f"{self.name}: {receiver.queued} here and {receiver.credit} more of {prefetch}",
                )
            if isinstance(credit, Manual):
                # Never less than there is: what was given cannot be taken back for sure.
                receiver.flow(max(self.random.randint(1, 5), receiver.credit))
            ways = (self._receive, self._receive_together, self._receive_many, self._iterate, self._drain)
            await self.random.choice(ways)(receiver)
            await self.pause()
        if self.ledger.quiet or self.random.random() < 0.6:
            await self.call("detach", receiver.close(), self.timeout)
            answer = receiver._endpoint.remote_detach
            if answer is not None and answer.error is None and self._settle_mode == "first":
                # The peer answered detach, so it has read all that was said before on this link.
                for token, link in self._said:
                    if link is receiver._endpoint:
                        self.ledger.confirmed(token)

    # -- the ways to receive -------------------------------------------------------------------------------------

    async def _receive(self, receiver: Receiver) -> None:
        try:
            delivery = await self.call("receive", self.perhaps_cancelled(receiver.receive()), self.timeout)
        except (OperationTimeout, Cancelled):
            return
        await self._handle(receiver, [delivery])

    async def _receive_together(self, receiver: Receiver) -> None:
        outcomes = await asyncio.gather(self._receive(receiver), self._receive(receiver), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _receive_many(self, receiver: Receiver) -> None:
        most = self.random.randint(1, 5)
        try:
            deliveries = await self.call(
                "receive_many", self.perhaps_cancelled(receiver.receive_many(most)), self.timeout
            )
        except Cancelled:
            return
        await self._handle(receiver, deliveries)

    async def _iterate(self, receiver: Receiver) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                async for delivery in receiver:
                    await self._handle(receiver, [delivery])
                    if self.random.random() < 0.3:
                        break
        except OperationTimeout:
            raise
        except TimeoutError:
            pass

    async def _drain(self, receiver: Receiver) -> None:
        try:
            await self.call("drain", self.perhaps_cancelled(self._drained(receiver)), self.timeout)
        except Cancelled:
            return
        except OperationTimeout as error:
            self.ledger.failed(self.name, error)
            return
        if receiver.queued:
            await self._receive_many(receiver)
        if receiver.error is None and not (receiver.queued or receiver._arriving):
            receiver.flow(max(1, receiver.credit))

    async def _drained(self, receiver: Receiver) -> None:
        await receiver.drain()
        # Looked at here: by the time that who called goes on, the link may be another one.
        self.ledger.demand(
            "drain waits for what is under way",
            not receiver._arriving and not receiver.credit,
            f"{self.name}: {receiver.credit} credit is left, {receiver._arriving} deliveries are here in part",
        )

    # -- outcomes ------------------------------------------------------------------------------------------------

    async def _handle(self, receiver: Receiver, deliveries: list[IncomingDelivery]) -> None:
        """Settle them, in any order, and make sure of that where the link has a way to."""
        if self._fickle:
            self.random.shuffle(deliveries)
        for delivery in deliveries:
            failures = (delivery.message.header.delivery_count or 0) if self.ledger.quiet else 0
            token = self.ledger.delivered(delivery.body, presettled=delivery.presettled, failures=failures)
            self.note(f"gets {token}")
            if delivery.presettled:
                continue
            gone = self._settle(delivery, token)
            if gone is not None and self._settle_mode == "second":
                await self._confirm(receiver, delivery, token, gone)

    def _settle(self, delivery: IncomingDelivery, token: str) -> bool | None:
        """Whether the message goes for good; None where nothing was said."""
        fate = self.random.random() if self._fickle else 1.0
        if fate < 0.05:
            return None
        try:
            if fate < 0.15:
                delivery.release()
            elif fate < 0.25:
                delivery.modify(delivery_failed=True)
            else:
                if fate < 0.3:
                    delivery.reject("amqp:not-allowed", "not today")
                else:
                    delivery.accept()
                self.ledger.removing(token)
                self._said.append((token, delivery.link))
                self.note(f"settles {token}")
                # What comes again on another link may be settled as often as one likes.
                if self.random.random() < 0.1 and delivery.error is None:
                    self._settle_again(delivery)
        except AMQPError as error:
            self.ledger.failed(self.name, error)
            return None
        return fate >= 0.25

    def _settle_again(self, delivery: IncomingDelivery) -> None:
        refused = False
        try:
            delivery.release()
        except LocalProtocolError:
            refused = True
        self.ledger.demand("the first outcome counts", refused, f"{self.name}: {delivery!r} was settled twice")

    async def _confirm(self, receiver: Receiver, delivery: IncomingDelivery, token: str, gone: bool) -> None:
        if self.random.random() < 0.3:
            return
        try:
            await self.call("confirmed", self.perhaps_cancelled(receiver.confirmed(delivery)), self.timeout)
        except Cancelled:
            return
        except OperationTimeout as error:
            self.ledger.failed(self.name, error)
            return
        if gone:
            self.ledger.confirmed(token)
            self.note(f"knows that {token} is settled")


class Pair(Worker):
    """A producer and a consumer that share a connection and its session."""

    def __init__(self, world: World, name: str, random: Random, producer: Producer, consumer: Consumer) -> None:
        super().__init__(world, name, random)
        self._both = producer, consumer
        # One connection has one time-out.
        producer.timeout = consumer.timeout = self.timeout

    def done(self) -> bool:
        return self._both[0].done()

    async def work(self, connection: Connection) -> None:
        for worker in self._both:
            worker.connections = self.connections
        watches = [asyncio.create_task(worker._note_end(connection), name=worker.name) for worker in self._both]
        outcomes = await asyncio.gather(*(worker.work(connection) for worker in self._both), return_exceptions=True)
        for watch in watches:
            watch.cancel()
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
