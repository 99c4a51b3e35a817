"""Waiting for a condition that frames of the peer bring about."""

from __future__ import annotations

from collections.abc import Callable

from ..transport.driver import Driver, Waiter, wake


class Signal:
    """Wakes all who wait, each of whom looks again whether its condition holds."""

    __slots__ = ("_driver", "_waiters")

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._waiters: list[Waiter] = []

    def notify(self) -> None:
        """Something changed."""
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                wake(waiter)

    # Two methods of a waiter: a signal may stand in what was sent, for any number of deliveries.

    def done(self) -> bool:
        return False

    def set_result(self, result: bool) -> None:
        self.notify()

    async def wait_for(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until the condition holds; False where `timeout` seconds passed first. None waits for ever."""
        if timeout == 0 and not condition():
            # Without a timer, which takes longer than the turn.
            await self._driver.turn()
            return condition()
        deadline = None if timeout is None else self._driver.now() + timeout
        while not condition():
            waiter = self._driver.waiter()
            self._waiters.append(waiter)
            try:
                woken = await self._driver.wait(waiter, timeout)
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
            if not woken:
                return condition()
            if deadline is not None:
                timeout = max(0.0, deadline - self._driver.now())
        return True
