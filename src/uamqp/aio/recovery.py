"""Bringing a connection back: connecting again, with patience, and everything on it as it was."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from ..exceptions import AMQPError, LocalProtocolError, OperationTimeout, TokenError
from ..transport.driver import BackgroundTask
from .arguments import expect_seconds, whole

if TYPE_CHECKING:
    from .connection import Connection

_log = logging.getLogger(__name__)


class Happening(Enum):
    """What an event of recovery is about."""

    INTERRUPTED = "interrupted"
    """The connection, a session or a link ended; it will be brought back."""
    RETRYING = "retrying"
    """An attempt to bring it back begins."""
    RECOVERED = "recovered"
    """All is as it was."""
    FAILED = "failed"
    """It is given up; what waits for it is told the error."""


@dataclass(frozen=True)
class RecoveryEvent:
    """Something that happened to a connection with recovery.

    Attributes:
        what: which.
        attempt: the number of the attempt, from 1; 0 before the first.
        error: why it was interrupted, why the attempt before failed, or why it is given up; None where it recovered.
        delay: seconds until the attempt begins.
    """

    what: Happening
    attempt: int = 0
    error: AMQPError | None = None
    delay: float = 0.0


@dataclass(frozen=True)
class Recovery:
    """What to do when the connection, a session or a link ends and nobody asked for that.

    The first attempt to bring it back comes at once, the next ones after `initial_delay` seconds times 1, 2, 4…, up to
    `max_delay`; of each delay a random part is taken, so that many clients do not come back in step. Senders, receivers
    and sessions stay the same objects: what waits for them waits on, within its own time-out.

    Attributes:
        attempts: how often to try in a row; None never gives up.
        initial_delay, max_delay: seconds.
        alternatives: URLs of other hosts that serve the same; each attempt takes the next one. Of each only scheme,
            host and port count: credentials and TLS are those of the first.
        resend: what to do with messages that were sent and have no outcome, which the peer may have or not. False:
            `send` raises InDoubt, and the application decides. True: they are sent again, and may arrive twice.
        on_event: is called with each `RecoveryEvent`. It must not wait.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is not of its kind.
    """

    attempts: int | None = None
    initial_delay: float = 0.1
    max_delay: float = 30.0
    alternatives: Sequence[str] = ()
    resend: bool = False
    on_event: Callable[[RecoveryEvent], object] | None = None

    def __post_init__(self) -> None:
        if self.attempts is not None:
            object.__setattr__(self, "attempts", whole("attempts", self.attempts, "a number, or None for any"))
            if self.attempts < 1:
                raise ValueError(f"attempts must be at least 1, or None for any number, not {self.attempts}")
        expect_seconds("initial_delay", self.initial_delay)
        expect_seconds("max_delay", self.max_delay)
        if isinstance(self.alternatives, str):
            raise TypeError("alternatives must be several URLs, not one str")
        if self.on_event is not None and not callable(self.on_event):
            raise TypeError(f"on_event must be a function of the event, not {type(self.on_event).__name__}")
        if not 0 < self.initial_delay <= self.max_delay:
            raise ValueError("initial_delay must be positive, and max_delay not less")

    def delay(self, attempt: int) -> float:
        """Seconds to wait before an attempt: a random part of the longest delay."""
        return random.uniform(0.0, self.longest_delay(attempt))

    def longest_delay(self, attempt: int) -> float:
        """Seconds that may pass before an attempt; none before the first."""
        if attempt <= 1:
            return 0.0
        return min(self.max_delay, self.initial_delay * 2.0 ** min(attempt - 2, 64))

    @property
    def keeps(self) -> int:
        """What a sender holds for later (see `SenderEndpoint.keeps`)."""
        return 2 if self.resend else 1


class Repair:
    """Brings back what ended on one connection; a task beside those of the application.

    Attributes:
        running: something is being brought back.
        failure: why it was given up, or None.
    """

    def __init__(self, connection: Connection, policy: Recovery) -> None:
        self._connection = connection
        self._policy = policy
        self._task: BackgroundTask | None = None
        self._attempt = 0
        self.running = False
        self.failure: AMQPError | None = None
        self._stopped = False

    def recovers(self, error: AMQPError | None) -> bool:
        """Whether what ended with this error is brought back."""
        return error is not None and error.retryable and not self._stopped

    def begin(self, error: AMQPError | None) -> None:
        """Something ended that is to be brought back. Does nothing where that is under way."""
        if not self.running and not self._stopped:
            self.running = True
            self._attempt = 0
            self._task = self._connection._driver.spawn(self._run(error), f"recovery of {self._connection!r}")

    def stop(self) -> None:
        """The application closes the connection: bring nothing back any more."""
        self._stopped = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if self.running:
            self._end(None)

    async def _run(self, error: AMQPError | None) -> None:
        """Try until all is back; the body of the task."""
        try:
            # Not where it ended, which is in the middle of the engine's work.
            self._tell(Happening.INTERRUPTED, error)
            await self._bring_back(error)
        except (Exception, KeyboardInterrupt, SystemExit) as problem:
            # A policy of the application, say; whoever waits must hear of it.
            failure = LocalProtocolError(f"the connection cannot be brought back: {problem!r}")
            failure.__cause__ = problem
            if not self._stopped:
                self._fail(failure)
            if not isinstance(problem, Exception):
                raise

    async def _bring_back(self, error: AMQPError | None) -> None:
        policy, connection = self._policy, self._connection
        # Blocking code can close the connection when it is told something.
        while not self._stopped:
            self._attempt += 1
            if policy.attempts is not None and self._attempt > policy.attempts:
                break
            delay = policy.delay(self._attempt)
            self._tell(Happening.RETRYING, error, delay)
            if self._stopped:
                break
            if delay:
                await connection._driver.sleep(delay)
            try:
                await connection._restore(self._attempt)
            except (OperationTimeout, TokenError) as problem:
                # Of tokens, only one that is not to be had now comes here: see `TokenKeeper.restore`.
                error = problem
                continue
            except AMQPError as failure:
                error = failure
                if not self.recovers(failure):
                    break
                continue
            if connection._is_interrupted:
                # It happened again meanwhile.
                continue
            self.running = False
            self._task = None
            self._tell(Happening.RECOVERED, None)
            connection._changed.notify()
            return
        if not self._stopped:
            self._fail(error)

    def _fail(self, error: AMQPError | None) -> None:
        self._task = None
        self._stopped = True
        self._end(error)

    def _end(self, error: AMQPError | None) -> None:
        self.running = False
        self.failure = error
        self._connection._give_up(error)
        if error is not None:
            self._tell(Happening.FAILED, error)

    def _tell(self, what: Happening, error: AMQPError | None, delay: float = 0.0) -> None:
        _log.info("%r: %s, attempt %d, %s", self._connection, what.value, self._attempt, error or "no error")
        if self._policy.on_event is not None:
            try:
                self._policy.on_event(RecoveryEvent(what, self._attempt, error, delay))
            except Exception:
                _log.exception("the function that is told of recovery failed")
