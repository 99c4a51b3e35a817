"""Messages that were sent at once, and fare alike (spec 2.6.12)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from .delivery import OutgoingDelivery
from .serial import MASK, distance

if TYPE_CHECKING:
    from .sender import SenderEndpoint


class OutgoingRun:
    """Several deliveries of one link with ids that follow each other: one object for all of them.

    Of what is sent at once nearly all is accepted, from the first to the last. Until something else becomes of one of
    them, or the link ends, nothing is known of any that is not known of the run; then it is broken up, and what is left
    of it goes on as a delivery for each message. An object for each from the beginning took half of the time to send.

    Attributes:
        first: the delivery-id of the first.
        payloads: the encoded messages.
        done: how many, from the first on, were accepted; of those that were sent settled, all.
        rest: when it was broken up, the deliveries behind those that are done, else None.
        waiter: for the owner: whom to wake when more of them are done; when it was broken up, that of each delivery.
        context: for the owner: its own object for the run.
    """

    __slots__ = ("context", "done", "first", "link", "payloads", "rest", "waiter")

    def __init__(self, link: SenderEndpoint, first: int, payloads: list[bytes], waiter: Any) -> None:
        self.link = link
        self.first = first
        self.payloads = payloads
        self.done = 0
        self.rest: list[OutgoingDelivery] | None = None
        self.waiter = waiter
        self.context: Any = None

    def __len__(self) -> int:
        return len(self.payloads)

    @property
    def next(self) -> int:
        """The delivery-id of the first that is not done."""
        return (self.first + self.done) & MASK

    @property
    def settled(self) -> bool:
        """Whether all are done."""
        return self.done == len(self.payloads)

    @property
    def unsettled(self) -> int:
        """How many have no outcome yet."""
        if self.rest is None:
            return len(self.payloads) - self.done
        return sum(not delivery.settled for delivery in self.rest)

    def accept(self, last: int) -> int:
        """Those up to this delivery-id are accepted; how many of them were not before."""
        count = max(0, min(distance(self.next, last) + 1, len(self.payloads) - self.done))
        self.done += count
        return count

    def break_up(self) -> list[OutgoingDelivery]:
        """A delivery for each that is not done."""
        id = self.next
        rest = self.rest = []
        for payload in self.payloads[self.done :]:
            rest.append(OutgoingDelivery(self.link, payload, False, 0, b"", id, self.waiter))
            id = (id + 1) & MASK
        return rest

    def __repr__(self) -> str:
        return f"<OutgoingRun of {len(self)} from {self.first} of {self.link.name!r}, {self.done} done>"


#: What is sent and settled: one message, or several.
Outgoing: TypeAlias = OutgoingDelivery | OutgoingRun
