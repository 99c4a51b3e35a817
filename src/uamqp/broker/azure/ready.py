"""The messages of an entity that can be delivered, in order."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import heappop, heappush
from typing import Final

from .held import Held

#: Numbers of messages that are gone are left among those that are ready as long as they are not many more than these.
_SLACK: Final = 64


class Ready:
    """Which messages can be delivered: by session where there are sessions, else all in the lane None.

    Args:
        messages: all that the entity holds, by sequence-number. What is gone from there is ready no more.
    """

    def __init__(self, messages: Mapping[int, Held]) -> None:
        self._messages = messages
        self._lanes: dict[str | None, list[int]] = {}

    @property
    def lanes(self) -> list[str | None]:
        """The lanes in which there is something, or was a moment ago."""
        return list(self._lanes)

    def add(self, lane: str | None, held: Held) -> None:
        """The message can be delivered, in its old place if it was there before."""
        sequences = self._lanes.setdefault(lane, [])
        heappush(sequences, held.sequence)
        if len(sequences) > 2 * len(self._messages) + _SLACK:
            # Most of it is gone: a sorted list is a heap, too.
            sequences[:] = sorted(sequence for sequence in sequences if sequence in self._messages)

    def first(self, lane: str | None) -> Held | None:
        """The oldest message, or None."""
        sequences = self._lanes.get(lane)
        while sequences:
            held = self._messages.get(sequences[0])
            if held is not None:
                return held
            # It lived too long, and was left in the heap.
            heappop(sequences)
        self._lanes.pop(lane, None)
        return None

    def take(self, lane: str | None) -> Held | None:
        """The oldest message, which is ready no more; or None."""
        held = self.first(lane)
        if held is not None:
            heappop(self._lanes[lane])
            # A session whose last message goes leaves nothing behind.
            self.first(lane)
        return held

    def clear(self) -> None:
        """Nothing can be delivered any more."""
        self._lanes.clear()
