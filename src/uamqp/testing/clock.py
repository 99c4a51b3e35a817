"""An asyncio event loop on virtual time: a minute of waiting takes no time, and what would wait for ever says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from .network import Network, Reader

T = TypeVar("T")

#: Turns of the loop at one and the same time after which nothing but an endless loop can be the reason.
_MAX_TURNS = 100_000


class Stuck(RuntimeError):
    """The program would wait, or turn in circles, for ever. Says who waits, and where."""


class _Selector:
    """Stands where a loop has its selector: there is nothing to select from but the next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> tuple[()]:
        self._loop._idle(timeout)
        return ()


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose clock stands still while anything runs, and jumps to the next timer when nothing does.

    It has no sockets and no threads. With a `Network`, connections and servers of programs that run on it are those of
    the network; without, there are none.

    Attributes:
        network: where its connections lead, or None.
        failures: what was told to the exception handler of the loop: each is a bug of somebody.
    """

    # What `asyncio.BaseEventLoop` has and its stub does not.
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, network: Network | None = None, *, start: float = 1000.0) -> None:
        super().__init__()
        self._time = start
        self._turns = 0
        self._selector = _Selector(self)
        self.network = network
        self.failures: list[str] = []
        self.set_exception_handler(_note_failure)
        if network is not None:
            network.bind(self)

    def time(self) -> float:
        """Virtual seconds."""
        return self._time

    def _idle(self, timeout: float | None) -> None:
        """Nothing is ready for so many seconds: let them pass."""
        if timeout == 0:
            self._turns += 1
            if self._turns > _MAX_TURNS:
                self._turns = 0
                raise Stuck(f"{_MAX_TURNS} turns of the loop, and no time has passed{self._who_waits()}")
            return
        self._turns = 0
        if timeout is None:
            raise Stuck(f"nothing will ever happen any more{self._who_waits()}")
        # Not a sum, which could fall short of the timer by a rounding.
        self._time = max(self._time, self._scheduled[0].when())

    def _who_waits(self) -> str:
        lines = []
        for task in sorted(asyncio.all_tasks(self), key=lambda task: task.get_name()):
            lines.append(f"\n  {task.get_name()} waits in {_innermost(task)}")
        return "".join(lines)

    @property
    def timers(self) -> int:
        """Timers that are set."""
        return sum(not timer.cancelled() for timer in self._scheduled)

    # -- what a loop has to have ---------------------------------------------------------------------------------

    def _process_events(self, events: tuple[()]) -> None:
        pass

    def _write_to_self(self) -> None:
        # Who calls in from another thread finds no loop that sleeps.
        pass

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Not here: what a thread does takes real time."""
        raise RuntimeError("a loop on virtual time has no threads")

    # -- the network ---------------------------------------------------------------------------------------------

    def _network(self) -> Network:
        if self.network is None:
            raise RuntimeError("this loop has no network: VirtualLoop(Network())")
        return self.network

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """The address of any name is the name."""
        return self._network().resolve(host, port)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Connect to a server of the network."""
        await self._network().dial(sock, address)

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], Reader], host: str = "", port: int = 0, **options: Any
    ) -> tuple[asyncio.Transport, Reader]:
        """Connect to a server of the network, or go on with a socket that was connected by `sock_connect`."""
        return await self._network().connect(protocol_factory, host, port, **options)

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], Reader], host: str = "", port: int = 0, **options: Any
    ) -> asyncio.AbstractServer:
        """Listen in the network."""
        return self._network().listen(protocol_factory, host, port, **options)


def _innermost(task: asyncio.Task[Any]) -> str:
    """Where a task waits: the coroutine that awaits what is not a coroutine."""
    coroutine: Any = task.get_coro()
    while getattr(inner := getattr(coroutine, "cr_await", None), "cr_frame", None) is not None:
        coroutine = inner
    return f"{coroutine.__qualname__}, line {coroutine.cr_frame.f_lineno}"


def _note_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    assert isinstance(loop, VirtualLoop)
    error = context.get("exception")
    loop.failures.append(f"{context['message']}: {error!r}" if error is not None else context["message"])


def run(main: Coroutine[Any, Any, T], network: Network | None = None) -> T:
    """Run a coroutine on virtual time, as `asyncio.run` does on real time.

    Raises:
        Stuck: it would never end.
        RuntimeError: a callback, or a task that nobody waited for, failed; says which.
    """
    loop = VirtualLoop(network)
    try:
        result = loop.run_until_complete(main)
    finally:
        shut_down(loop)
    if loop.failures:
        raise RuntimeError("; ".join(loop.failures))
    return result


def shut_down(loop: VirtualLoop) -> None:
    """Cancel all tasks that are left, and close the loop."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    for task in tasks:
        task.cancel()
    try:
        try:
            if tasks:
                loop.run_until_complete(asyncio.wait(tasks))
        except Stuck:
            # They do not listen; this ends them without asking, and what they say to it is of no interest.
            for task in tasks:
                with suppress(BaseException):
                    cast(Coroutine[Any, Any, Any], task.get_coro()).close()
            raise
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        if loop.network is not None:
            loop.network.close()
        loop.close()
