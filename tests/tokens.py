"""What tests of tokens share: a clock of their own, a source of tokens, and a broker's opinion of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uamqp.aio import Token

from .aio.peers import eventually


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self.now + seconds, waiter)
        self._sleepers.append(entry)
        try:
            await waiter
        finally:
            self._sleepers.remove(entry)

    @property
    def next(self) -> float | None:
        """Seconds until somebody wakes."""
        return min((when for when, _ in self._sleepers), default=None) and min(w for w, _ in self._sleepers) - self.now

    async def wake(self) -> float:
        """Let time pass until the next sleeper wakes; how much that was."""
        await eventually(lambda: self._sleepers)
        when, waiter = min(self._sleepers, key=lambda entry: entry[0])
        passed = max(0.0, when - self.now)
        self.now = max(self.now, when)
        waiter.set_result(None)
        await eventually(lambda: (when, waiter) not in self._sleepers)
        return passed


class Check:
    """What the broker thinks of tokens."""

    def __init__(self) -> None:
        self.put: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str], str | None] = lambda token: None

    def __call__(self, kind: str, audience: str, token: str) -> str | None:
        self.put.append((kind, audience, token))
        return self.refuse(token)

    @property
    def tokens(self) -> list[str]:
        return [token for _, _, token in self.put]


class Source:
    """Gives one token after the other, each good for `life` seconds."""

    def __init__(self, clock: Clock, life: float | None = 100.0) -> None:
        self._clock = clock
        self.life = life
        self.given = 0
        self.problem: Exception | None = None

    async def __call__(self, audience: str) -> Token:
        if self.problem is not None:
            raise self.problem
        self.given += 1
        return Token(f"token {self.given}", "jwt", None if self.life is None else self._clock.now + self.life)
