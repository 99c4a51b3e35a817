"""A lock for coroutines of one event loop; in blocking code, `ThreadLock` has its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..transport.driver import Waiter, wake


class Lock:
    """One at a time, in the order in which they came. Bound to no loop as long as nobody waits.

    Args:
        new_waiter: makes something to wait for, as `Driver.waiter`.
    """

    def __init__(self, new_waiter: Callable[[], Waiter]) -> None:
        self._new_waiter = new_waiter
        self._waiting: deque[Waiter] = deque()
        self.locked = False

    async def __aenter__(self) -> None:
        while self.locked:
            waiter = self._new_waiter()
            self._waiting.append(waiter)
            try:
                await waiter
            except BaseException:
                # The turn that this one was given, maybe, is the next one's.
                self._wake_next()
                raise
            finally:
                self._waiting.remove(waiter)
        self.locked = True

    async def __aexit__(self, *exc: object) -> None:
        self.locked = False
        self._wake_next()

    def _wake_next(self) -> None:
        if self._waiting and not self.locked:
            wake(next((waiter for waiter in self._waiting if not waiter.done()), None))
