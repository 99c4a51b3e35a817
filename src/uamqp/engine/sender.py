"""The sending end of a link: credit, the queue of what waits for it, frames (spec 2.6.7, 2.6.12, 2.6.14)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..codec.hot import ROLE_SENDER, TransferHeader
from ..codec.performatives import Attach
from ..exceptions import AMQPError, EncodeError, InDoubt, MessageTooLarge, NotSent
from .delivery import OutgoingDelivery
from .limits import MAX_DELIVERY_TAG
from .link import SENDER_SETTLE_SETTLED, SENDER_SETTLE_UNSETTLED, LinkEndpoint
from .run import OutgoingRun
from .serial import MASK, distance
from .states import LinkState

if TYPE_CHECKING:
    from .session import SessionEndpoint


class SenderEndpoint(LinkEndpoint):
    """Sends deliveries as far as the credit of the link, the window of the session and the socket allow.

    What may not go yet waits in the link's own queue, so links without credit hold up nobody else.

    Attributes:
        queue: deliveries that wait, oldest first; the first may be sent in part.
        drain: the receiver wants the credit used up or given back.
        keeps: what stays in the queue when the link ends, until it is taken over or given up: 0 nothing, 1 what was not
            sent, 2 also what was sent and has no outcome.
    """

    __slots__ = ("_doubtful", "_header", "_next_tag", "drain", "keeps", "queue", "scheduled", "small")

    def __init__(self, session: SessionEndpoint, name: str) -> None:
        super().__init__(session, name, ROLE_SENDER)
        self.queue: deque[OutgoingDelivery] = deque()
        self.drain = False
        self.keeps = 0
        #: Of the queue, what another link had sent: the receiver may have it.
        self._doubtful: set[OutgoingDelivery] = set()
        #: Whether the session has this link in its round of links that have something to send.
        self.scheduled = False
        #: The longest payload that fits in one frame; nothing fits before this end has attached.
        self.small = -1
        self._next_tag = 0
        self._header = TransferHeader(0, 0)

    def send(
        self, payload: bytes, presettled: bool = False, message_format: int = 0, tag: bytes = b""
    ) -> OutgoingDelivery:
        """Send the encoded message, or queue it until the peer gives credit.

        The `tag` must be unlike those of all deliveries of the link that are not settled; without, there is one of
        four bytes.

        Raises MessageTooLarge where the peer's limit for the link is known to be smaller, EncodeError for a settlement
        the link does not allow and for a message format or tag that cannot be, and the link's error where it has
        ended; nothing is sent then.
        """
        if (self.error is not None or self.remote_attach is None) and not self.suspended:
            self.check_usable()
        if presettled:
            if self.sender_settle_mode == SENDER_SETTLE_UNSETTLED:
                raise EncodeError("the link was attached with sender settle mode 'unsettled'", field="settled")
        elif self.sender_settle_mode == SENDER_SETTLE_SETTLED:
            presettled = True
        size = len(payload)
        if self.remote_max_message_size and size > self.remote_max_message_size:
            raise self._too_large(size)
        delivery = OutgoingDelivery(self, payload, presettled, message_format, tag)
        session = self.session
        connection = session.connection
        if (
            not self.credit
            or self.queue
            or message_format
            or tag
            or size > self.small
            or session.next_outgoing_id == session.outgoing_limit
            or connection.paused
        ):
            if not 0 <= message_format <= MASK:
                raise EncodeError(f"{message_format} is no number of 32 bits", field="message-format")
            if len(tag) > MAX_DELIVERY_TAG:
                raise EncodeError(f"a delivery-tag of {len(tag)} bytes", field="delivery-tag")
            if self.suspended:
                # It has no credit, so it always comes here, and waits for the link that takes over.
                self.queue.append(delivery)
                return delivery
            self.check_usable()
            self.queue.append(delivery)
            session.schedule(self)
            return delivery
        delivery_id = session.next_delivery_id
        session.next_delivery_id = (delivery_id + 1) & MASK
        session.next_outgoing_id = (session.next_outgoing_id + 1) & MASK
        self.credit -= 1
        delivery.id = delivery_id
        number = self._next_tag
        self._next_tag = (number + 1) & MASK
        output = connection.output
        header = self._header
        output.append(
            header.pack(
                header.overhead + size,
                header.first,
                delivery_id,
                0xA004,
                number,
                header.settled if presettled else header.unsettled,
            )
        )
        output.append(payload)
        if presettled:
            delivery.settled = True
        else:
            if session.runs:
                session.break_up()
            session.outgoing_unsettled[delivery_id] = delivery
        if not connection.output_pending:
            connection.output_pending = True
            connection.observer.on_output()
        return delivery

    @property
    def room(self) -> int:
        """How many small messages could go out at once."""
        session = self.session
        if self.error is not None or self.remote_attach is None or self.queue or session.connection.paused:
            return 0
        return min(self.credit, (session.outgoing_limit - session.next_outgoing_id) & MASK)

    def send_run(
        self, payloads: Iterable[bytes | None], presettled: bool = False, waiter: Any = None
    ) -> OutgoingRun | None:
        """Send the first of these encoded messages, of message format 0: as many as can go out at once.

        From the first that is None, has to wait, or cannot be sent, they are left to `send`; None where that is the
        very first. This one looks only once at all that does not change in between, and makes one object for all: it
        costs a third. The `waiter` is that of the run.
        """
        session = self.session
        connection = session.connection
        mode = self.sender_settle_mode
        if presettled and mode == SENDER_SETTLE_UNSETTLED:
            return None
        presettled = presettled or mode == SENDER_SETTLE_SETTLED
        largest = min(self.small, self.remote_max_message_size or self.small)
        write = connection.output.append
        header = self._header
        pack, overhead, first = header.pack, header.overhead, header.first
        last = header.settled if presettled else header.unsettled
        id, tag = session.next_delivery_id, self._next_tag
        sent: list[bytes] = []
        add = sent.append
        run = OutgoingRun(self, id, sent, waiter)
        for payload in islice(payloads, self.room):
            if payload is None:
                break
            size = len(payload)
            if size > largest:
                break
            write(pack(overhead + size, first, id, 0xA004, tag, last))
            write(payload)
            add(payload)
            id = (id + 1) & MASK
            tag = (tag + 1) & MASK
        if not sent:
            return None
        if presettled:
            run.done = len(sent)
        else:
            session.runs.append(run)
        session.next_delivery_id, self._next_tag = id, tag
        session.next_outgoing_id = (session.next_outgoing_id + len(sent)) & MASK
        self.credit -= len(sent)
        if not connection.output_pending:
            connection.output_pending = True
            connection.observer.on_output()
        return run

    def withdraw(self, delivery: OutgoingDelivery) -> bool:
        """Take back a delivery that did not go out whole; False where it is too late or it is done.

        One that went out in part is aborted (spec 2.7.5): the receiver forgets what it has of it.
        """
        queue = self.queue
        # What has an id was sent, perhaps only in part.
        if delivery.settled or not (delivery in queue if delivery.id < 0 else queue and queue[0] is delivery):
            return False
        if delivery in self._doubtful:
            self.queue.remove(delivery)
            delivery.error = InDoubt("the message was sent on a link that ended before its outcome arrived")
            delivery.settled = True
            return False
        if delivery.id < 0:
            self.queue.remove(delivery)
        else:
            self.session.outgoing_unsettled.pop(delivery.id, None)
            delivery.aborted = True
        delivery.error = NotSent("the message was withdrawn before it was sent")
        delivery.settled = True
        self.finish_drain()
        return True

    def send_next(self) -> bool:
        """Send one frame of the first delivery in the queue; False where nothing may be sent now."""
        if not self.queue:
            return False
        session = self.session
        connection = session.connection
        delivery = self.queue[0]
        payload = delivery.payload
        size = len(payload)
        start = delivery.position
        # The room of a frame is reckoned with a short tag.
        stop = min(size, start + self.small - len(delivery.chosen_tag))
        more = stop < size
        if delivery.aborted:
            more = False
            stop = start
            head = self._header.encode_aborted()
        elif delivery.id < 0:
            if not self.credit:
                return False
            delivery.id = session.next_delivery_id
            session.next_delivery_id = (delivery.id + 1) & MASK
            self.credit -= 1
            tag = delivery.chosen_tag
            if not tag:
                tag = self._next_tag.to_bytes(4, "big")
                self._next_tag = (self._next_tag + 1) & MASK
            if not delivery.presettled:
                session.break_up()
                session.outgoing_unsettled[delivery.id] = delivery
            head = self._header.encode_first(delivery.id, tag, delivery.message_format, delivery.presettled, more, stop)
        else:
            head = self._header.encode_next(more, stop - start)
        session.next_outgoing_id = (session.next_outgoing_id + 1) & MASK
        delivery.position = stop
        connection.write(head)
        if stop > start:
            connection.write(payload if stop - start == size else memoryview(payload)[start:stop])
        connection.output_bytes += stop - start
        if not more:
            self.queue.popleft()
            if delivery.presettled and not delivery.settled:
                delivery.settled = True
                connection.settled_later(delivery)
        return True

    def on_flow(self, delivery_count: int, credit: int, drain: bool) -> None:
        """The receiver's view of the link; what it does not know yet is already under way (spec 2.6.7)."""
        if delivery_count < 0:
            # The receiver had not seen our attach, which may not have been sent yet.
            attach = self.attach_frame
            delivery_count = self.delivery_count if attach is None else attach.initial_delivery_count or 0
        # The receiver may take credit back, but what it has not seen yet stays sent.
        unseen = distance(delivery_count, self.delivery_count)
        left = (credit - unseen) & MASK if credit >= unseen else 0
        self.limit = (self.delivery_count + left) & MASK
        self.credit = left
        self.drain = drain
        if self.queue:
            self.session.schedule(self)
        self.session.connection.credit_changed(self)

    def finish_drain(self) -> None:
        """Say that the credit is used up, or that nothing is left to use it for, where the receiver asked for that."""
        queue = self.queue
        # A delivery that was begun uses credit until it is sent whole.
        over = not queue or (not self.credit and queue[0].id < 0)
        if self.drain and over and self.state is LinkState.ATTACHED:
            self.drain = False
            self.credit = 0
            self.session.send_flow(self, drain=True)

    def _attaching(self, attach: Attach) -> None:
        super()._attaching(attach)
        if self.handle < 0:
            return
        session = self.session
        self._header = TransferHeader(session.channel, self.handle, session.connection.settings.all_fields)
        # A first header with tag and format is a little longer than the one of the straight path.
        self.small = session.connection.remote_max_frame_size - self._header.overhead - 5

    def _too_large(self, size: int) -> MessageTooLarge:
        return MessageTooLarge(
            f"the encoded message has {size} bytes, the peer takes at most {self.remote_max_message_size} on the "
            f"link {self.name!r}"
        )

    def take_over(self, ended: SenderEndpoint) -> None:
        """Send what the other link kept when it ended."""
        self.keeps = ended.keeps
        self._doubtful = ended._doubtful
        largest = self.remote_max_message_size
        refused: list[OutgoingDelivery] = []
        for delivery in ended.queue:
            delivery.link = self
            size = len(delivery.payload)
            if largest and size > largest:
                error: AMQPError = self._too_large(size)
                if delivery in self._doubtful:
                    error = InDoubt(f"the message was sent, and cannot be sent again: {error}")
                delivery.error = error
                delivery.settled = True
                refused.append(delivery)
            else:
                self.queue.append(delivery)
        ended.queue.clear()
        if self.queue:
            self.session.schedule(self)
        if refused:
            self.session.connection.observer.on_settled(refused)

    def give_up(self) -> None:
        """The link ended, and nobody takes over what it kept."""
        self.suspended = False
        self.keeps = 0
        assert self.error is not None
        self._abandon(self.error, [])

    def _keep(self, unsettled: list[OutgoingDelivery]) -> None:
        """Put back to the beginning what another link could send."""
        partial = {delivery.id for delivery in self.queue}
        again = [d for d in unsettled if self.keeps > 1 or d.id in partial]
        for delivery in again:
            del self.session.outgoing_unsettled[delivery.id]
        waiting = [d for d in self.queue if not d.aborted and (d.id < 0 or d.presettled)]
        self._doubtful = {d for d in waiting if d in self._doubtful} | {d for d in again if d.id not in partial}
        self.queue.clear()
        for delivery in (*again, *waiting):
            # The receiver forgets what came in part.
            delivery.id = -1
            delivery.position = 0
            self.queue.append(delivery)

    def _unsettled(self) -> list[OutgoingDelivery]:
        self.session.break_up()
        return [d for d in self.session.outgoing_unsettled.values() if d.link is self]

    def _abandon(self, error: AMQPError, unsettled: list[OutgoingDelivery]) -> None:
        session = self.session
        ended: list[OutgoingDelivery] = []
        if self.keeps:
            self._keep(unsettled)
        for delivery in unsettled:
            if session.outgoing_unsettled.pop(delivery.id, None) is None:
                # Kept.
                continue
            delivery.error = InDoubt(
                f"the message was sent, but the link ended before its outcome arrived: {error}",
                condition=error.condition,
                info=error.info,
                remote=error.remote,
            )
            delivery.error.__cause__ = error
            ended.append(delivery)
        for delivery in () if self.keeps else self.queue:
            if delivery in self._doubtful:
                delivery.error = InDoubt(f"the message was sent, and no link came back to ask for its outcome: {error}")
            elif delivery.id < 0:
                delivery.error = NotSent(
                    f"the link ended before the message was sent: {error}",
                    condition=error.condition,
                    info=error.info,
                    remote=error.remote,
                )
            elif delivery.presettled and not delivery.settled:
                delivery.error = InDoubt(f"the link ended while the message was being sent: {error}")
            else:
                continue
            delivery.error.__cause__ = error
            ended.append(delivery)
        if not self.keeps:
            self.queue.clear()
        for delivery in ended:
            delivery.settled = True
        if ended:
            session.connection.observer.on_settled(ended)
