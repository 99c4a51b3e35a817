"""Runs of deliveries that are settled alike, so that one disposition speaks for all of them."""

from __future__ import annotations

from typing import Final, TypeAlias

from ..codec.composite import Composite
from ..codec.definitions import ACCEPTED
from ..codec.primitives import encode
from ..codec.values import Described
from .serial import MASK, distance

#: The encoded accepted outcome; compared by identity on the path of a message.
ACCEPTED_STATE: Final = ACCEPTED.encode()

#: First id, last id, encoded state, settled: what one disposition says.
Run: TypeAlias = tuple[int, int, bytes, bool]


def encode_state(state: Composite | Described, all_fields: bool) -> bytes:
    """The bytes of a delivery state; `all_fields` as in `Composite.encode`."""
    if state is ACCEPTED:
        return ACCEPTED_STATE
    return state.encode(all_fields) if isinstance(state, Composite) else encode(state)


class Dispositions:
    """What is to be said of deliveries, gathered until it is written: runs of consecutive ids with the same outcome.

    One run is open and grows at either end: `first` is its first id, `next` the one behind its last, both -1 while
    there is none. Deliveries that are settled out of order close it and open another; runs that turn out to touch
    are joined in the end, so that it costs the peer as little as settling in order.
    """

    __slots__ = ("_closed", "first", "next", "settled", "state")

    def __init__(self) -> None:
        self.first = -1
        self.next = -1
        self.state = b""
        self.settled = False
        self._closed: list[Run] = []

    def add(self, id: int, state: bytes, settled: bool) -> None:
        """Say this of the delivery, of which nothing was said before."""
        if self.first >= 0:
            if settled == self.settled and state == self.state:
                if id == self.next:
                    self.next = (id + 1) & MASK
                    return
                if id == (self.first - 1) & MASK:
                    self.first = id
                    return
            self._closed.append((self.first, (self.next - 1) & MASK, self.state, self.settled))
        self.first = id
        self.next = (id + 1) & MASK
        self.state = state
        self.settled = settled

    def take(self) -> list[Run]:
        """All there is to say, by ascending id; nothing is left."""
        if self.first < 0:
            return []
        runs = [(self.first, (self.next - 1) & MASK, self.state, self.settled)]
        self.first = self.next = -1
        if not self._closed:
            return runs
        runs += self._closed
        self._closed.clear()
        runs.sort()
        if runs[-1][0] - runs[0][0] > MASK // 2:
            # The numbers began anew in between.
            origin = runs[-1][0]
            runs.sort(key=lambda run: distance(origin, run[0]))
        joined = []
        first, last, state, settled = runs[0]
        for next_first, next_last, next_state, next_settled in runs[1:]:
            if next_first != (last + 1) & MASK or next_state != state or next_settled != settled:
                joined.append((first, last, state, settled))
                first, state, settled = next_first, next_state, next_settled
            last = next_last
        joined.append((first, last, state, settled))
        return joined
