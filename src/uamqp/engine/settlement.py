"""Runs of deliveries that are settled alike, so that one disposition speaks for all of them."""

from __future__ import annotations

from typing import Final

from ..codec.definitions import ACCEPTED
from .serial import MASK

#: The encoded accepted outcome; compared by identity on the path of a message.
ACCEPTED_STATE: Final = ACCEPTED.encode()


class DispositionRun:
    """Consecutive delivery ids with the same state, growing at either end until it is flushed.

    `first` is the first id, `next` the one behind the last; both -1 while the run is empty.
    """

    __slots__ = ("first", "next", "settled", "state")

    def __init__(self) -> None:
        self.first = -1
        self.next = -1
        self.state = b""
        self.settled = False

    def add(self, id: int, state: bytes, settled: bool) -> bool:
        """Take the delivery into the run; False where it does not fit, so the run must be flushed first."""
        if self.first < 0:
            self.first = id
            self.next = (id + 1) & MASK
            self.state = state
            self.settled = settled
            return True
        if settled != self.settled or state != self.state:
            return False
        if id == self.next:
            self.next = (id + 1) & MASK
            return True
        if id == (self.first - 1) & MASK:
            self.first = id
            return True
        return False

    def clear(self) -> None:
        """Empty the run."""
        self.first = -1
        self.next = -1
