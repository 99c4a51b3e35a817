"""When a receiver lets the peer send: the three policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.limits import MAX_CREDIT
from .arguments import whole

if TYPE_CHECKING:
    from .receiver import Receiver


class CreditPolicy:
    """Decides on credit; a policy object serves one receiver.

    Attributes:
        refill_after: deliveries the application takes before `taken` is asked for more credit; None: never. Those that
            the peer aborts count, too.
    """

    refill_after: int | None = None

    def attached(self, receiver: Receiver) -> None:
        """The link is attached."""

    def taken(self, receiver: Receiver) -> None:
        """The application took `refill_after` deliveries."""

    def wanted(self, receiver: Receiver, count: int) -> None:
        """The application waits for `count` deliveries, all waiting tasks together, and none is there.

        Told again whenever something happens that they still wait after: what came went to another, say.
        """

    def unwanted(self, receiver: Receiver, count: int) -> None:
        """A call is over: now the application waits for `count` deliveries, fewer than before."""

    def recovered(self, receiver: Receiver, credit: int, wanted: int) -> None:
        """The link is attached again; `credit` is what the peer had not used, or used for what is gone.

        `wanted` deliveries are waited for.
        """
        if credit:
            receiver.flow(min(credit, MAX_CREDIT))


class Prefetch(CreditPolicy):
    """Let the peer send `count` deliveries ahead; a slow application stops the peer.

    Credit is given again when the application has taken half of them, so one flow serves many deliveries.
    """

    def __init__(self, count: int) -> None:
        count = whole("prefetch", count, "a number of deliveries")
        if not 1 <= count <= MAX_CREDIT:
            raise ValueError(
                f"prefetch must be 1 to {MAX_CREDIT}, not {count}; for no prefetch use OnDemand() or Manual()"
            )
        self.count = count
        self.refill_after = (count + 1) // 2

    def attached(self, receiver: Receiver) -> None:
        receiver.flow(self.count)

    def taken(self, receiver: Receiver) -> None:
        # One that is here in part has had its credit, too.
        receiver.flow(max(0, self.count - receiver.queued - receiver._arriving))


class OnDemand(CreditPolicy):
    """Give credit for exactly what the application waits for, and nothing ahead: ``receive_many(10)`` for ten.

    When a call is over with fewer, what is left is taken back, so that the peer keeps other messages for others. One
    that is under way then waits here for the next call.
    """

    def wanted(self, receiver: Receiver, count: int) -> None:
        if receiver.credit < min(count, MAX_CREDIT):
            receiver.flow(min(count, MAX_CREDIT))

    def unwanted(self, receiver: Receiver, count: int) -> None:
        if receiver.credit > count:
            receiver.flow(count)

    def recovered(self, receiver: Receiver, credit: int, wanted: int) -> None:
        if wanted:
            receiver.flow(min(wanted, MAX_CREDIT))


class Manual(CreditPolicy):
    """Give no credit by itself: the application calls `Receiver.flow`."""
