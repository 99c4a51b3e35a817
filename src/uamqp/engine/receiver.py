"""The receiving end of a link: credit given, deliveries put together from their frames (spec 2.6.7, 2.6.14)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ..codec.hot import ROLE_RECEIVER, TransferShape
from ..codec.performatives import Attach
from ..exceptions import AMQPError, LocalProtocolError
from .delivery import IncomingDelivery
from .errors import (
    INVALID_FIELD,
    MESSAGE_SIZE_EXCEEDED,
    TRANSFER_LIMIT_EXCEEDED,
    LinkViolation,
    SessionViolation,
)
from .limits import (
    MAX_CREDIT,
    MAX_DELIVERY_TAG,
    MAX_EMPTY_TRANSFERS,
    MAX_MESSAGE_SIZE,
    MAX_TRANSFERS_PER_DELIVERY,
)
from .link import LinkEndpoint
from .serial import MASK, distance
from .states import LinkState

if TYPE_CHECKING:
    from .session import SessionEndpoint


class _Partial:
    """A delivery of which more frames are to come."""

    __slots__ = ("chunks", "dropped", "empty", "id", "message_format", "settled", "size", "tag", "transfers")

    def __init__(self, id: int, tag: bytes, message_format: int, settled: int, dropped: bool) -> None:
        self.dropped = dropped
        self.id = id
        self.tag = tag
        self.message_format = message_format
        self.settled = settled
        self.chunks: list[bytes] = []
        self.size = 0
        self.transfers = 0
        self.empty = 0


class ReceiverEndpoint(LinkEndpoint):
    """Puts whole deliveries into `queue`, of which the owner takes them.

    Attributes:
        queue: whole deliveries that the owner did not take yet, oldest first.
        max_message_size: larger deliveries are refused while they arrive.
        awaited: whether the owner is to hear, when a read is over, that deliveries came; its to set.
        draining: credit was given with drain and is not used up yet.
        wasted: deliveries of the present read that used credit and came to nothing.
    """

    __slots__ = (
        "_partial",
        "_surplus",
        "awaited",
        "draining",
        "max_message_size",
        "queue",
        "touched",
        "unused",
        "wasted",
    )

    def __init__(self, session: SessionEndpoint, name: str) -> None:
        super().__init__(session, name, ROLE_RECEIVER)
        self.queue: deque[IncomingDelivery] = deque()
        self.max_message_size = MAX_MESSAGE_SIZE
        self.awaited = True
        self.draining = False
        self.wasted = 0
        #: Whether the link is in the list of those to look at when the present read is over.
        self.touched = False
        self._partial: _Partial | None = None
        #: Credit that the sender had left when the link was detached.
        self.unused = 0
        #: Deliveries that may still be under way though the credit for them was taken back (spec 2.6.10).
        self._surplus = 0

    @property
    def between_deliveries(self) -> bool:
        """Whether the next transfer begins a delivery."""
        return self._partial is None

    def flow(self, credit: int, *, drain: bool = False, echo: bool = False) -> None:
        """Let the sender send `credit` deliveries from now on; with `drain`, only what it has at hand (spec 2.6.7).

        On a link that ended and is to be brought back, the credit is only noted, for the owner to give it again.
        """
        noted = self.suspended and not drain
        if not noted:
            self.check_usable()
        if not 0 <= credit <= MAX_CREDIT:
            raise LocalProtocolError(f"credit must be 0 to {MAX_CREDIT}, not {credit}")
        surplus = self.credit - credit + self._surplus
        self.limit = (self.limit - self.credit + credit) & MASK
        self.credit = credit
        if noted:
            self.unused = 0
            return
        self._surplus = surplus if surplus > 0 else 0
        # A delivery that is here in part is under way, whatever became of its credit.
        self.draining = drain and (credit > 0 or self._partial is not None)
        self.session.send_flow(self, drain=drain, echo=echo)

    def no_more(self) -> None:
        self.unused += self.credit
        super().no_more()

    def drain(self) -> None:
        """Let the sender send what it has at hand within its credit, and give back the rest (spec 2.6.10).

        Credit that was taken back before is given once more for this: its deliveries may be under way, and only the end
        of a drain tells that they are not.
        """
        self.flow(min(self.credit + self._surplus, MAX_CREDIT), drain=True)

    @property
    def expects(self) -> bool:
        """Whether something may be under way, or is here in part."""
        return self.credit > 0 or self._surplus > 0 or self._partial is not None

    def on_transfer(
        self,
        delivery_id: int,
        tag: bytes,
        message_format: int,
        settled: int,
        more: int,
        payload: bytes,
        aborted: bool = False,
        resume: bool = False,
    ) -> None:
        """One transfer; arguments as `hot.decode_transfer` gives them."""
        session = self.session
        if self.error is not None or self._partial is not None or more or aborted or resume:
            whole = self._on_partial_transfer(delivery_id, tag, message_format, settled, more, payload, aborted, resume)
            if whole is None:
                return
            delivery_id, tag, message_format, settled = whole.id, whole.tag, whole.message_format, whole.settled
            payload = whole.chunks[0] if len(whole.chunks) == 1 else b"".join(whole.chunks)
        else:
            if not self.credit:
                if self.state is LinkState.DETACH_SENT:
                    # The peer has not heard of it yet. It counts as not sent.
                    return
                self._use_surplus()
            if delivery_id != session.expected_delivery_id or len(tag) > MAX_DELIVERY_TAG:
                session.check_delivery(delivery_id, tag)
            if len(payload) > self.max_message_size:
                raise self._too_large(len(payload))
            session.expected_delivery_id = (delivery_id + 1) & MASK
            self.credit -= 1
        delivery = IncomingDelivery(self, delivery_id, tag, message_format, settled == 1, payload)
        if settled != 1:
            session.incoming_unsettled[delivery_id] = delivery
        queue = self.queue
        # Whoever waits does so for an empty queue, so only the first delivery in it is worth a word.
        if (not queue and self.awaited) or self.draining:
            self.touch()
        queue.append(delivery)

    def take(self, delivery_id: int, tag: bytes, shape: TransferShape, payload: bytes) -> bool:
        """A transfer of a shape that is known; False, and nothing done, where `on_transfer` has something to decide.

        What `SessionEndpoint.take` and `on_transfer` come to for nearly all, in one call: 15 % less in the engine.
        """
        session = self.session
        if (
            delivery_id != session.expected_delivery_id
            or not self.credit
            or session.next_incoming_id == session.incoming_limit
            or len(payload) > self.max_message_size
            or self._partial is not None
            or self.error is not None
        ):
            return False
        session.next_incoming_id = (session.next_incoming_id + 1) & MASK
        session.expected_delivery_id = (delivery_id + 1) & MASK
        self.credit -= 1
        settled = shape.settled == 1
        delivery = IncomingDelivery(self, delivery_id, tag, shape.message_format, settled, payload)
        if not settled:
            session.incoming_unsettled[delivery_id] = delivery
        if not session.touched:
            session.touch()
        queue = self.queue
        if (not queue and self.awaited) or self.draining:
            self.touch()
        queue.append(delivery)
        return True

    def touch(self) -> None:
        """Something happened that the owner wants to hear of when the read is over."""
        if not self.touched:
            self.touched = True
            self.session.connection.touched.append(self)

    def _on_partial_transfer(
        self,
        delivery_id: int,
        tag: bytes,
        message_format: int,
        settled: int,
        more: int,
        payload: bytes,
        aborted: bool,
        resume: bool,
    ) -> _Partial | None:
        """One of several frames of a delivery; the delivery when it is whole."""
        if self.draining:
            self.touch()
        if self.error is not None or self.state is LinkState.DETACH_SENT:
            # We detached, and the peer had not heard of it yet.
            return None
        session = self.session
        partial = self._partial
        if partial is None:
            if not self.credit:
                self._use_surplus()
            session.check_delivery(delivery_id, tag)
            session.expected_delivery_id = (delivery_id + 1) & MASK
            self.credit -= 1
            # There is no unsettled map to resume from, so a resumed delivery is ignored (spec 2.7.5).
            partial = self._partial = _Partial(delivery_id, tag, message_format, settled, resume)
        else:
            # Fields may be left out of further transfers, but not changed (spec 2.7.5).
            if delivery_id >= 0 and delivery_id != partial.id:
                raise SessionViolation(
                    INVALID_FIELD,
                    f"delivery {delivery_id} began on the link {self.name!r} before delivery {partial.id} was complete",
                )
            if tag and tag != partial.tag:
                raise SessionViolation(INVALID_FIELD, f"delivery {partial.id} changed its delivery-tag on the way")
            if message_format and message_format != partial.message_format:
                raise SessionViolation(INVALID_FIELD, f"delivery {partial.id} changed its message-format on the way")
            if settled == 1:
                partial.settled = 1
        if aborted:
            self._partial = None
            self._waste()
            return None
        partial.transfers += 1
        if payload:
            if not partial.dropped:
                partial.chunks.append(payload)
            partial.size += len(payload)
            partial.empty = 0
        elif more:
            partial.empty += 1
            if partial.empty > MAX_EMPTY_TRANSFERS:
                raise LinkViolation(INVALID_FIELD, f"delivery {partial.id} has too many empty transfers in a row")
        if partial.size > self.max_message_size:
            self._partial = None
            raise self._too_large(partial.size)
        if partial.transfers > MAX_TRANSFERS_PER_DELIVERY:
            self._partial = None
            raise LinkViolation(MESSAGE_SIZE_EXCEEDED, f"delivery {partial.id} has too many transfers")
        if more:
            return None
        self._partial = None
        if partial.dropped:
            self._waste()
            return None
        return partial

    def _waste(self) -> None:
        self.wasted += 1
        self.touch()

    def _use_surplus(self) -> None:
        if not self._surplus:
            raise LinkViolation(TRANSFER_LIMIT_EXCEEDED, f"a delivery without credit on the link {self.name!r}")
        self._surplus -= 1
        self.limit = (self.limit + 1) & MASK
        self.credit += 1

    def _too_large(self, size: int) -> LinkViolation:
        return LinkViolation(
            MESSAGE_SIZE_EXCEEDED,
            f"a delivery of {size} bytes or more on the link {self.name!r}, which takes {self.max_message_size}",
        )

    def on_flow(self, delivery_count: int) -> None:
        """The sender's view of the link: how far it has come, having used or given back credit (spec 2.6.7)."""
        if delivery_count >= 0 and delivery_count != self.delivery_count:
            ahead = distance(self.delivery_count, delivery_count)
            surplus = self._surplus + self.credit - ahead
            if ahead < 0 or surplus < 0:
                raise LinkViolation(
                    INVALID_FIELD,
                    f"flow with delivery-count {delivery_count} on the link {self.name!r}, which stands at "
                    f"{self.delivery_count} with credit {self.credit}",
                )
            if ahead > self.credit:
                self._surplus = surplus
                self.limit = delivery_count
                self.credit = 0
            else:
                self.credit -= ahead
        self.touch()

    def check_drained(self) -> None:
        """Tell the owner of a receiver that drains, once, where that is over."""
        if not self.credit and self._partial is None:
            self.draining = False
            self.session.connection.observer.on_drained(self)

    def _attaching(self, attach: Attach) -> None:
        super()._attaching(attach)
        if attach.role is not ROLE_RECEIVER:
            # The sender's count is the one that holds (spec 2.6.7).
            self.limit = attach.initial_delivery_count or 0
            self.credit = 0
        elif attach.max_message_size:
            self.max_message_size = attach.max_message_size

    def _unsettled(self) -> list[IncomingDelivery]:
        return [d for d in self.session.incoming_unsettled.values() if d.link is self]

    def _abandon(self, error: AMQPError, unsettled: list[IncomingDelivery]) -> None:
        session = self.session
        if self._partial is not None:
            # It is gone, and counts as not sent: whoever attaches again owes the credit for it.
            self._partial = None
            self.credit += 1
        ended = [d for d in unsettled if session.incoming_unsettled.pop(d.id, None) is not None]
        for delivery in ended:
            # Also where an outcome was given: that the peer took it was not confirmed.
            delivery.error = error
            delivery.settled = True
        if ended:
            session.connection.observer.on_incoming_settled(ended)
