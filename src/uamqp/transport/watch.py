"""Deadlines of connections while their program does something else: heartbeats of blocking ones, above all.

One daemon thread per process, started with the first connection, asleep until the next deadline of any of them.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
import weakref
from typing import Final, Protocol

#: Seconds: how long a thread that finds a connection in use waits before it looks again.
_RETRY: Final = 0.05


class Watched(Protocol):
    """What the thread looks after."""

    def next_deadline(self) -> float | None:
        """When `keep_alive` should be called next, in the time of `time.monotonic`; None where there is no need."""
        ...

    def keep_alive(self) -> None:
        """Do what is due. Must not wait, and is called in the thread of the watch."""
        ...


class Watch:
    """Keeps connections alive that nobody is using now."""

    def __init__(self) -> None:
        self._drivers: weakref.WeakSet[Watched] = weakref.WeakSet()
        #: Those that have something to write, however little anybody else knows of them.
        self._holding: set[Watched] = set()
        # Entering and leaving it is one step each, between which no interrupt can come. It may be entered again: what
        # the garbage collector finds in between may have a connection to close.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        #: When the thread will look next; None: when it is told to.
        self._until: float | None = None

    def add(self, driver: Watched) -> None:
        """Look after the connection until it is closed or forgotten."""
        with self._lock:
            self._drivers.add(driver)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="uamqp-heartbeat", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, driver: Watched) -> None:
        """The connection is closed."""
        with self._lock:
            self._drivers.discard(driver)

    def expect(self, when: float) -> None:
        """One of the connections has a deadline at that time, which may be sooner than those known so far."""
        with self._lock:
            if self._until is None or when < self._until:
                self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._lock:
                deadlines = [d.next_deadline() for d in self._drivers]
                self._until = nearest = min((d for d in deadlines if d is not None), default=None)
                delay = None if nearest is None else max(_RETRY, nearest - time.monotonic())
                self._changed.wait(delay)
                now = time.monotonic()
                due = [d for d in self._drivers if (when := d.next_deadline()) is not None and when <= now]
            while due:
                due.pop().keep_alive()

    def hold(self, driver: Watched, when: float) -> None:
        """The connection has something to write at that time, which must not be lost with it."""
        with self._lock:
            self._holding.add(driver)
        self.expect(when)

    def let_go(self, driver: Watched) -> None:
        """It is written."""
        with self._lock:
            self._holding.discard(driver)

    def finish(self) -> None:
        """The program ends: let connections write what they hold."""
        with self._lock:
            drivers = list(self._holding)
        for driver in drivers:
            driver.keep_alive()

    def forget(self) -> None:
        """In a child process after fork: neither the thread nor the connections are ours."""
        self.__init__()  # type: ignore[misc]


WATCH: Final = Watch()
atexit.register(WATCH.finish)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=WATCH.forget)
