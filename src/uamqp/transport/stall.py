"""An event loop that stands still: its connections send no heartbeats meanwhile, and their peers give them up."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from typing import Final

from .watch import WATCH

_log: Final = logging.getLogger(__name__)

#: Seconds that a deadline may be missed by before that is worth a word.
PATIENCE: Final = 1.0


class StallWatch:
    """Says so where one connection's deadline is missed, because its loop stood still.

    Of a loop in asyncio's debug mode it says what blocks it, while it does: that takes another thread, the one that
    blocking connections have for their heartbeats.
    """

    def __init__(self, *, debug: bool) -> None:
        self._thread = threading.get_ident()
        self._when: float | None = None
        self._deadline: float | None = None
        self._debug = debug

    def expect(self, now: float, when: float) -> None:
        """The loop should come back then, by its own clock, where it is `now`."""
        self._when = when
        self._deadline = time.monotonic() + (when - now)
        if self._debug:
            WATCH.add(self)

    def expect_nothing(self) -> None:
        """There is no deadline any more."""
        self._when = self._deadline = None

    def came_back(self, now: float) -> None:
        """The loop is there."""
        when = self._when
        self.expect_nothing()
        late = 0.0 if when is None else now - when
        if late >= PATIENCE:
            _log.warning(
                "the event loop stood still for %.1f s or more: heartbeats were late, and peers may have given up. "
                "asyncio's debug mode tells what blocks it",
                late,
            )

    # What the thread asks for.

    def next_deadline(self) -> float | None:
        """When somebody should look."""
        deadline = self._deadline
        return None if deadline is None else deadline + PATIENCE

    def keep_alive(self) -> None:
        """Too late for that: say what the loop is doing instead. Once, until it is back."""
        self._deadline = None
        frame = sys._current_frames().get(self._thread)
        if frame is not None:
            stack = "".join(traceback.format_stack(frame))
            _log.warning("the event loop is blocked, and heartbeats are late. This is what blocks it:\n%s", stack)
