"""What falls due when."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

#: Forgotten things are left in the heap as long as there are not many more of them than of the others.
_SLACK: Final = 64


class Agenda(Generic[K]):
    """Things that are due at some time each; each may be put off or forgotten."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._number = 0

    def set(self, key: K, when: float) -> None:
        """The thing is due then, and not when it was before."""
        self._due[key] = when
        # The number keeps the heap from comparing keys.
        self._number += 1
        heappush(self._heap, (when, self._number, key))
        if len(self._heap) > 2 * len(self._due) + _SLACK:
            self._heap = [item for item in self._heap if self._due.get(item[2]) == item[0]]
            heapify(self._heap)

    def forget(self, key: K) -> None:
        """The thing will not happen."""
        self._due.pop(key, None)

    @property
    def next(self) -> float | None:
        """When the first thing is due, or None."""
        heap = self._heap
        while heap and self._due.get(heap[0][2]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def clear(self) -> None:
        """Nothing will happen."""
        self._due.clear()
        self._heap.clear()

    def take(self, now: float) -> Iterator[K]:
        """What is due by now, oldest first; each is on the agenda until its turn, so the one before may forget it."""
        while (when := self.next) is not None and when <= now:
            key = heappop(self._heap)[2]
            del self._due[key]
            yield key
