"""What falls due when, and what is done then."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ..expiry import Sweeper

#: What is called when something is due, with that.
Act = Callable[[Any], None]

#: Forgotten things are left in the heap as long as there are not many more of them than of the others.
_SLACK: Final = 64


class Agenda:
    """Things that are due at some time each, which may be put off or forgotten; the sweeper has them happen."""

    def __init__(self, sweeper: Sweeper) -> None:
        self._sweeper = sweeper
        self._due: dict[tuple[Act, Hashable], float] = {}
        self._heap: list[tuple[float, int, tuple[Act, Hashable]]] = []
        self._number = 0

    def set(self, act: Act, what: Hashable, when: float) -> None:
        """Call `act` with `what` at `when` (`time.monotonic`), and not when that was due before."""
        first = self.next_expiry
        self._due[act, what] = when
        # The number keeps the heap from comparing keys.
        self._number += 1
        heappush(self._heap, (when, self._number, (act, what)))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [item for item in self._heap if self._due.get(item[2]) == item[0]]
            heapify(self._heap)
        if first is None or when < first:
            self._sweeper.watch(self)

    def forget(self, act: Act, what: Hashable) -> None:
        """It will not happen."""
        self._due.pop((act, what), None)

    def clear(self) -> None:
        """Nothing will happen."""
        self._due.clear()
        self._heap.clear()

    @property
    def next_expiry(self) -> float | None:
        """When the first thing is due, or None."""
        heap = self._heap
        while heap and self._due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def expire(self) -> None:
        """Do what is due by now, oldest first."""
        now = time.monotonic()
        # One at a time: each may have others forgotten that are due, too.
        while (when := self.next_expiry) is not None and when <= now:
            key = heappop(self._heap)[2]
            del self._due[key]
            act, what = key
            act(what)
