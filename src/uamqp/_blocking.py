"""What the blocking classes of the uamqp 1.6 API have in common: they run the coroutines of the asynchronous ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, Self, TypeVar

from . import errors, exceptions
from .async_ops.utils import LoopBound
from .transport.blocking import BlockingDriver, BlockingWaiter, Outside, Stranded
from .transport.driver import Waiter

T = TypeVar("T")


class ThreadLock:
    """What `Lock` is in asynchronous code, for threads whose calls may be driven by different drivers."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._owner = 0
        self._waiting = 0
        self.locked = False

    async def __aenter__(self) -> None:
        while not self._take():
            await Outside(self._wait, ())

    def _take(self) -> bool:
        with self._changed:
            if self.locked:
                return False
            self.locked, self._owner = True, get_ident()
            return True

    def _wait(self) -> None:
        """Wait until it is free, which is not to say that it is ours then. No lock of a driver is held here."""
        with self._changed:
            if self._owner == get_ident():
                raise errors.IllegalState(
                    "this call comes from a function that is called while the same object is opened or closed, and "
                    "would wait for itself"
                )
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self.locked)
            finally:
                self._waiting -= 1

    async def __aexit__(self, *exc: object) -> None:
        with self._changed:
            self.locked, self._owner = False, 0
            self._changed.notify_all()


class Blocking(LoopBound):
    """The blocking face of an asynchronous class, from which it also inherits.

    Methods whose names end in ``_async`` are coroutines for the inside; the others are for programs. Several threads
    may use one object. Inside a running event loop and after `fork`, calls raise `IllegalState` instead of blocking.
    """

    def _new_waiter(self) -> Waiter:
        return BlockingWaiter()

    def _new_lock(self) -> ThreadLock:
        return ThreadLock()

    def _here(self) -> int:
        return get_ident()

    async def _outside(self, function: Callable[..., T], *arguments: Any) -> T:
        return await Outside(function, arguments)  # type: ignore[no-any-return]

    def _check_loop(self) -> None:
        """There is none."""

    def _driver(self) -> BlockingDriver:
        """What moves the bytes of the connection that this belongs to."""
        raise NotImplementedError

    def _run(self, coroutine: Coroutine[Any, Any, T], driver: BlockingDriver | None = None) -> T:
        """Run a coroutine to its end, in this thread.

        Raises:
            IllegalState: blocking is not possible here: in a running event loop, or in a child process after `fork`.
            AMQPConnectionError: another thread has closed the connection.
        """
        if driver is None:
            try:
                driver = self._driver()
            except BaseException:
                coroutine.close()
                raise
        try:
            return driver.run(coroutine)
        except Stranded as error:
            raise errors.AMQPConnectionError("The connection was closed meanwhile.") from error
        except exceptions.LocalProtocolError as error:
            # Most have been translated where they arose.
            if isinstance(error, errors.AMQPError):
                raise
            raise errors.translate(error) from error

    async def __aenter__(self) -> Self:
        raise TypeError(f"{type(self).__name__} is for blocking code: use 'with', or {type(self).__name__}Async")

    async def __aexit__(self, *args: object) -> None:
        """Never called; there so that `async with` gives the error of `__aenter__`."""
