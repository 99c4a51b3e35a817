"""One message on its way: what both ends know of it until it is settled (spec 2.6.12)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from ..codec.composite import Composite
from ..codec.definitions import ACCEPTED, RELEASED, Accepted, Error, Modified, Rejected, Released
from ..codec.message import Message
from ..codec.values import Described, Symbol
from ..exceptions import AMQPError, EncodeError, InDoubt, LocalProtocolError
from ..exceptions import Modified as ModifiedError
from ..exceptions import Rejected as RejectedError
from ..exceptions import Released as ReleasedError
from .errors import INTERNAL_ERROR
from .serial import MASK
from .settlement import ACCEPTED_STATE, encode_state

if TYPE_CHECKING:
    from .receiver import ReceiverEndpoint
    from .sender import SenderEndpoint

#: A delivery state of the wire; an extension of it (a transactional state, say) may arrive as Described.
State = Composite | Described


def is_terminal(state: State | None) -> bool:
    """Whether a delivery state is an outcome, that is, will not change any more (spec 3.4)."""
    return isinstance(state, Composite) and "outcome" in state.PROVIDES


class OutgoingDelivery:
    """A message handed to a sender. `await delivery` waits for its outcome, as `Sender.send` does.

    Attributes:
        id: the delivery-id of the session, -1 until the first byte went out.
        aborted: it went out in part and was taken back.
        presettled: sent as settled: no outcome will come, written is all that is known.
        settled: nobody will say anything more about it.
        state: what the receiver last said (`Accepted`, `Rejected`, …), or None.
        error: why it failed for a reason other than its outcome, or None.
        chosen_tag: the delivery-tag that the owner chose, b"" for one of the engine's own.
        answer: what to settle with instead of the receiver's outcome, where that waits for it (receiver settle mode
            second) and the owner does not grant what it says.
        waiter: for the owner: whom to wake when it is settled.
    """

    __slots__ = (
        "aborted",
        "answer",
        "chosen_tag",
        "error",
        "id",
        "link",
        "message_format",
        "payload",
        "position",
        "presettled",
        "settled",
        "state",
        "waiter",
    )

    def __init__(
        self,
        link: SenderEndpoint,
        payload: bytes,
        presettled: bool,
        message_format: int,
        tag: bytes = b"",
        id: int = -1,
        waiter: Any = None,
    ) -> None:
        self.link = link
        self.payload = payload
        self.message_format = message_format
        self.presettled = presettled
        self.chosen_tag = tag
        self.answer: State | None = None
        self.settled = False
        self.id = id
        self.position = 0
        self.aborted = False
        self.state: State | None = None
        self.error: AMQPError | None = None
        self.waiter = waiter

    def failure(self) -> AMQPError | None:
        """A fresh exception for anything but accepted; None for that, and as long as the outcome is open."""
        if self.error is not None:
            return self.error.again()
        state = self.state
        if isinstance(state, Accepted) or not self.settled or self.presettled:
            return None
        if isinstance(state, Rejected):
            error = state.error
            if error is None:
                return RejectedError("the receiver rejected the message", remote=True)
            return RejectedError(
                error.description or "the receiver rejected the message",
                condition=str(error.condition),
                info=error.info,
                remote=True,
            )
        if isinstance(state, Released):
            return ReleasedError("the receiver released the message unprocessed", remote=True)
        if isinstance(state, Modified):
            return ModifiedError(
                "the receiver gave the message back modified",
                delivery_failed=bool(state.delivery_failed),
                undeliverable_here=bool(state.undeliverable_here),
                annotations=state.message_annotations,
            )
        return InDoubt(f"the receiver settled the message with the state {state!r}", remote=True)

    def __await__(self) -> Generator[Any, Any, OutgoingDelivery]:
        return self.link.owner_wait(self)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        what = "settled" if self.settled else "unsettled"
        return f"<OutgoingDelivery {self.id} of {self.link.name!r}, {what}, {self.state!r}>"


class IncomingDelivery:
    """A received message and the means to settle it.

    `accept`, `reject`, `release` and `modify` need no await: what they say goes out with the next write,
    consecutive deliveries with the same outcome in one frame. The first word counts: settling twice raises
    `LocalProtocolError`. On a delivery that was sent settled they do nothing.

    Attributes:
        id: the delivery-id of the session.
        tag: the delivery-tag chosen by the sender.
        payload: the encoded message.
        message_format: 0 for messages as in part 3 of the specification.
        presettled: the sender settled it when it sent it.
        settled: nothing more can be said about it: we or the sender settled it, or its link is gone.
        state: the outcome that was given to it here, or None.
        error: what ended the link while the delivery was unsettled, or None.
        waiter: for the owner: whom to wake when the peer settles it.
    """

    __slots__ = (
        "_message",
        "error",
        "id",
        "link",
        "message_format",
        "payload",
        "presettled",
        "settled",
        "state",
        "tag",
        "waiter",
    )

    def __init__(
        self, link: ReceiverEndpoint, id: int, tag: bytes, message_format: int, settled: bool, payload: bytes
    ) -> None:
        self.link = link
        self.id = id
        self.tag = tag
        self.message_format = message_format
        self.settled = settled
        self.presettled = settled
        self.payload = payload
        self.state: State | None = None
        self.error: AMQPError | None = None
        self.waiter: Any = None
        self._message: Message | None = None

    @property
    def message(self) -> Message:
        """The message; its sections are decoded when they are looked at.

        Looking raises `DecodeError` where the message is damaged; the delivery can still be rejected.
        """
        message = self._message
        if message is None:
            message = self._message = Message.decode(self.payload, self.message_format)
        return message

    @property
    def body(self) -> Any:
        """The body: bytes, a str, or whatever object the sender put there (see `Message.body`)."""
        payload = self.payload
        size = len(payload) - 5
        # A lone short data section, the commonest message by far, needs no Message: `lone_data` in line.
        if size >= 0 and payload[4] == size and payload[:4] == b"\x00\x53\x75\xa0":
            return payload[5:]
        return self.message.body

    def accept(self) -> None:
        """The message was processed (spec 3.4.2)."""
        if self.settled or self.state is not None:
            self._nothing_to_settle()
            return
        self.state = ACCEPTED
        link = self.link
        session = link.session
        id = self.id
        if link.settle_first:
            self.settled = True
            session.incoming_unsettled.pop(id, None)
            dispositions = session.dispositions
            # The commonest case: one more accepted delivery behind the others.
            if id == dispositions.next and dispositions.state is ACCEPTED_STATE and dispositions.settled:
                dispositions.next = (id + 1) & MASK
                return
            if dispositions.first >= 0:
                # The session knows already that there is something to write.
                dispositions.add(id, ACCEPTED_STATE, True)
                return
        session.settle_incoming(id, ACCEPTED_STATE, self.settled)

    def reject(self, condition: str | None = None, description: str = "", info: dict[Any, Any] | None = None) -> None:
        """The message is invalid and cannot be processed (spec 3.4.3); the condition and text tell the sender why."""
        error = None
        if condition is not None or description or info:
            error = Error(Symbol(condition or INTERNAL_ERROR), description or None, info)
        self.settle(Rejected(error))

    def release(self) -> None:
        """The message was not and will not be processed here; others may have it (spec 3.4.4)."""
        self.settle(RELEASED)

    def modify(
        self,
        *,
        delivery_failed: bool = False,
        undeliverable_here: bool = False,
        annotations: dict[Any, Any] | None = None,
    ) -> None:
        """The message goes back changed (spec 3.4.5).

        Args:
            delivery_failed: count this as a failed attempt (its delivery-count grows).
            undeliverable_here: do not send it to this receiver again.
            annotations: message annotations to set, by name.

        Raises:
            TypeError: `annotations` is no mapping.
        """
        if annotations is not None and not isinstance(annotations, Mapping):
            raise TypeError(f"annotations must be a mapping, not {type(annotations).__name__}")
        keyed = {Symbol(k) if isinstance(k, str) else k: v for k, v in annotations.items()} if annotations else None
        self.settle(Modified(delivery_failed or None, undeliverable_here or None, keyed))

    def settle(self, state: State) -> None:
        """Settle with any outcome; the four methods above are the usual ones."""
        if self.settled or self.state is not None:
            self._nothing_to_settle()
            return
        link = self.link
        encoded = self.encoded(state)
        self.state = state
        if link.settle_first:
            self.settled = True
            link.session.incoming_unsettled.pop(self.id, None)
        link.session.settle_incoming(self.id, encoded, self.settled)

    def encoded(self, state: State) -> bytes:
        """The outcome as it goes over the wire.

        Raises:
            TypeError: it is none.
            EncodeError: it cannot be, or does not fit into a frame.
        """
        if not isinstance(state, Described) and "delivery-state" not in getattr(state, "PROVIDES", ()):
            raise TypeError(f"an outcome is needed, such as Accepted(), not {type(state).__name__}")
        connection = self.link.session.connection
        encoded = encode_state(state, connection.settings.all_fields)
        if not connection.fits(encoded):
            raise EncodeError("the outcome is larger than a frame that the peer takes", field="state")
        return encoded

    def _nothing_to_settle(self) -> None:
        if self.error is not None:
            if self.link.suspended:
                # It comes again on the link that takes the place of this one.
                return
            raise self.error.again()
        # What the sender settled when it sent it may be "accepted" all the same: one loop serves both kinds.
        if not self.presettled:
            raise LocalProtocolError(f"the delivery was settled already, with {self.state!r}")

    def __repr__(self) -> str:
        what = "settled" if self.settled else "unsettled"
        return f"<IncomingDelivery {self.id} of {self.link.name!r}, {what}, {len(self.payload)} bytes>"
