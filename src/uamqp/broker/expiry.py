"""When messages expire, and the one timer that sees to it."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Final, Protocol

from ..codec.message import Message

#: Seconds between two sweeps at least, so that messages which expire one by one do not cost a look at all each.
_PAUSE: Final = 0.05


def expiry(message: Message) -> float | None:
    """When a message expires (`time.monotonic`): by its ttl and absolute-expiry-time (spec 3.2.1, 3.2.4)."""
    expires = []
    if message.header.ttl is not None:
        expires.append(time.monotonic() + message.header.ttl / 1000)
    absolute = message.properties.absolute_expiry_time
    if absolute is not None:
        seconds = absolute / 1000 if isinstance(absolute, int) else absolute.timestamp()
        expires.append(time.monotonic() + seconds - time.time())
    return min(expires) if expires else None


class Expiring(Protocol):
    """Something in which time passes.

    Attributes:
        next_expiry: when the next thing is due (`time.monotonic`), or None. May be too early.
    """

    @property
    def next_expiry(self) -> float | None: ...

    def expire(self) -> None:
        """Do what is due."""
        ...


class Sweeper:
    """Has what is due done, whether or not anybody looks: queues drop what expired.

    Without a running broker it waits; `start` makes good for that.
    """

    def __init__(self) -> None:
        self._watched: weakref.WeakSet[Expiring] = weakref.WeakSet()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, expiring: Expiring) -> None:
        """What is due next there is something else now."""
        self._watched.add(expiring)
        self._set_timer(0.0)

    def start(self) -> None:
        """The broker runs, in the running loop."""
        self._loop = asyncio.get_running_loop()
        self._set_timer(0.0)

    def stop(self) -> None:
        """The broker runs no more."""
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, pause: float) -> None:
        due = min((e.next_expiry for e in self._watched if e.next_expiry is not None), default=None)
        if self._loop is None or due is None:
            return
        when = self._loop.time() + max(pause, due - time.monotonic())
        if self._timer is not None:
            if self._timer.when() <= when:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        for expiring in list(self._watched):
            expiring.expire()
            if expiring.next_expiry is None:
                self._watched.discard(expiring)
        self._set_timer(_PAUSE)
