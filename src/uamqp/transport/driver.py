"""What the client's coroutines need from whatever runs them: waiters, time, tasks, a stream.

The coroutines in `uamqp.aio` await nothing but waiters of their driver, so the same text runs under asyncio
(`EventLoopDriver`) and in blocking code (`BlockingDriver`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from ..engine.connection import ConnectionEndpoint

if TYPE_CHECKING:
    from .route import Route

T = TypeVar("T")


class Waiter(Protocol):
    """Something to wait for once; its result is False where time ran out before it was woken."""

    def done(self) -> bool:
        """Whether it was woken, or nobody waits any more."""
        ...

    def set_result(self, result: bool) -> None:
        """Wake who waits; only while it is not done."""
        ...

    def __await__(self) -> Generator[Any, Any, bool]: ...


class Timer(Protocol):
    """A call in the future."""

    def cancel(self) -> None:
        """Forget it."""
        ...


class BackgroundTask(Protocol):
    """A coroutine that runs beside the others."""

    def cancel(self) -> object:
        """Stop it at the await where it stands."""
        ...


def wake(waiter: Waiter | None) -> None:
    """Wake who waits, if anybody does."""
    if waiter is not None and not waiter.done():
        waiter.set_result(True)


def within(timeout: float | None) -> str:
    """A time-out that has run out, for people: what is left for the last step of several is never a round number."""
    return f"within {round(timeout or 0.0, 2):g} s"


#: Seconds that nobody sleeps or tries beyond without looking at the clock; longer ones do not fit into calls of the
#: system.
LONGEST_WAIT: Final = 86_400.0
#: Seconds for an address of a host that does not answer, as long as there is another one to try.
ADDRESS_PATIENCE: Final = 2.0
#: Durations that may keep their timer while nobody waits: more are used by nobody but who computes them anew each time.
_MAX_IDLE_QUEUES: Final = 8


class Driver(ABC):
    """One stream, its engine, and the means to wait. One connection each."""

    deadlines: Deadlines
    #: Makes something new to wait for. An attribute, so that asyncio's own function can stand here without a detour.
    waiter: Callable[[], Waiter]
    #: The same, for what time alone brings.
    alarm: Callable[[], Waiter]
    #: Seconds on a clock that only goes forward.
    now: Callable[[], float]

    @abstractmethod
    async def connect(self, route: Route, timeout: float) -> None:
        """Open the stream, with all that lies on the way, within `timeout` seconds.

        Raises ConnectionLost, OperationTimeout, or AuthenticationError where proxy or server want credentials.
        """

    @abstractmethod
    def run_engine(self, engine: ConnectionEndpoint) -> None:
        """Feed the engine from the stream from now on, and the stream from the engine."""

    @abstractmethod
    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call back at that time, in the thread that drives the connection."""

    @abstractmethod
    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> BackgroundTask:
        """Run the coroutine beside the others; it must not raise."""

    @abstractmethod
    def flush_soon(self) -> None:
        """The engine has output; write it when the present turn is over."""

    @abstractmethod
    def flush(self) -> None:
        """Write the engine's output now; not while it reads."""

    @abstractmethod
    def at_once(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the engine, and write what comes of it without waiting for what else the turn brings."""

    async def outside(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the application, which may take its time: in blocking code, other threads go on.

        For a task that `spawn` runs, the call is made in a thread of its own there.
        """
        return function(*args)

    @abstractmethod
    async def disconnect(self, timeout: float) -> None:
        """Write what is left, close the stream and give back its resources; safe to call twice."""

    @abstractmethod
    async def renew(self) -> None:
        """Give up the stream and its engine, so that `connect` and `run_engine` can follow again; tasks go on."""

    @abstractmethod
    def tick(self) -> None:
        """The engine's deadlines may have changed: call its `tick` now."""

    def countdown(self, seconds: float | None) -> Callable[[], float | None]:
        """How many of these seconds are left, whenever that is asked; None is any number of them."""
        if seconds is None:
            return lambda: None
        deadline = self.now() + seconds
        return lambda: max(0.0, deadline - self.now())

    async def wait(self, waiter: Waiter, timeout: float | None) -> bool:
        """Wait until woken; False where `timeout` seconds passed first. None waits for ever."""
        if timeout is None:
            return await waiter
        queue = self.deadlines.add(waiter, timeout)
        try:
            return await waiter
        finally:
            queue.pop(waiter, None)

    async def sleep(self, delay: float) -> None:
        """Wait for `delay` seconds."""
        waiter = self.alarm()
        timer = self.call_at(self.now() + delay, lambda: wake(waiter))
        try:
            await waiter
        finally:
            timer.cancel()

    async def turn(self) -> None:
        """Let others have their turn, and see what has arrived by then."""
        await self.sleep(0)


class Deadlines:
    """Time-outs of many waiters at the cost of two dictionary operations each.

    Nearly all calls use the same few time-outs, and of one duration the first to be added is the first to run out.
    So there is a queue per duration, and one timer per queue, set anew only when it fires. In blocking code an
    interrupt may come between any two steps of `add` and `release`: it leaves a timer without a queue, but no queue
    without a timer.
    """

    __slots__ = ("_call_at", "_now", "_queues", "_timers")

    def __init__(self, now: Callable[[], float], call_at: Callable[[float, Callable[[], None]], Timer]) -> None:
        self._now = now
        self._call_at = call_at
        self._queues: dict[float, dict[Waiter, float]] = {}
        self._timers: dict[float, Timer] = {}

    def add(self, waiter: Waiter, timeout: float) -> dict[Waiter, float]:
        """Wake the waiter with False in `timeout` seconds, unless it is popped from the returned queue before."""
        when = self._now() + timeout
        queue = self._queues.get(timeout)
        if queue is None:
            if len(self._queues) >= _MAX_IDLE_QUEUES:
                self.release()
            self._timers[timeout] = self._call_at(when, lambda: self._expire(timeout))
            queue = self._queues[timeout] = {}
        queue[waiter] = when
        return queue

    def _expire(self, timeout: float) -> None:
        queue = self._queues.get(timeout)
        now = self._now()
        while queue:
            waiter, when = next(iter(queue.items()))
            if when > now:
                self._timers[timeout] = self._call_at(when, lambda: self._expire(timeout))
                return
            del queue[waiter]
            if not waiter.done():
                waiter.set_result(False)
        self._forget(timeout)

    def release(self) -> None:
        """Forget the timers that nobody waits for, so that they keep nothing alive."""
        for timeout in [timeout for timeout, queue in self._queues.items() if not queue]:
            self._forget(timeout)

    def _forget(self, timeout: float) -> None:
        self._queues.pop(timeout, None)
        timer = self._timers.pop(timeout, None)
        if timer is not None:
            timer.cancel()
