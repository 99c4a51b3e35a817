"""What both ends of a link share: its name and terms, attach, detach (spec 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from ..codec.choices import ReceiverSettleMode, SenderSettleMode
from ..codec.definitions import Error
from ..codec.performatives import Attach, Detach
from ..codec.values import Symbol
from ..exceptions import AMQPError, LinkDetached, LocalProtocolError
from .errors import ILLEGAL_STATE, SessionViolation, link_error, wire_error
from .serial import MASK
from .states import LINK, Event, LinkState, SessionState

if TYPE_CHECKING:
    from .session import SessionEndpoint

SENDER_SETTLE_UNSETTLED: Final = SenderSettleMode.UNSETTLED.value
SENDER_SETTLE_SETTLED: Final = SenderSettleMode.SETTLED.value
SENDER_SETTLE_MIXED: Final = SenderSettleMode.MIXED.value
RECEIVER_SETTLE_FIRST: Final = ReceiverSettleMode.FIRST.value
RECEIVER_SETTLE_SECOND: Final = ReceiverSettleMode.SECOND.value


class LinkEndpoint:
    """One end of a link; `SenderEndpoint` and `ReceiverEndpoint` are the two kinds.

    Attributes:
        name: unique per direction between two containers.
        role: False where this end sends, True where it receives, as on the wire.
        source, target: the termini as agreed: ours until the peer's attach arrives, then the peer's view of its own
            terminus (spec 2.6.3) with ours for the other.
        remote_attach, remote_detach: the peer's attach and detach, or None.
        error: why the link ended, or None; every later call on it raises this.
        credit: deliveries that may still be sent.
        context: for the owner: its own object for this link.
        suspended: it ended, but its owner brings it back with another endpoint; what is said of its deliveries is of no
            interest any more.
    """

    __slots__ = (
        "attach_frame",
        "channel",
        "context",
        "credit",
        "error",
        "handle",
        "limit",
        "name",
        "remote_attach",
        "remote_detach",
        "remote_handle",
        "remote_max_message_size",
        "role",
        "sender_settle_mode",
        "session",
        "settle_first",
        "state",
        "suspended",
    )

    def __init__(self, session: SessionEndpoint, name: str, role: bool) -> None:
        self.session = session
        self.name = name
        self.role = role
        self.handle = -1
        self.remote_handle = -1
        self.state = LinkState.DETACHED
        self.attach_frame: Attach | None = None
        self.remote_attach: Attach | None = None
        self.remote_detach: Detach | None = None
        self.remote_max_message_size = 0
        self.error: AMQPError | None = None
        self.context: Any = None
        self.suspended = False
        self.sender_settle_mode = SENDER_SETTLE_MIXED
        self.settle_first = True
        #: The delivery-count at which the credit ends: one number that every delivery changes is enough (spec 2.6.7).
        self.limit = 0
        self.credit = 0

    @property
    def delivery_count(self) -> int:
        """Sequence number of the next delivery."""
        return (self.limit - self.credit) & MASK

    @property
    def source(self) -> Any:
        """The agreed source, or None."""
        return self._terminus(self.role)

    @property
    def target(self) -> Any:
        """The agreed target, or None."""
        return self._terminus(not self.role)

    def _terminus(self, remote_owns: bool) -> Any:
        remote, local = self.remote_attach, self.attach_frame
        first, second = (remote, local) if remote_owns else (local, remote)
        attach = first if first is not None else second
        if attach is None:
            return None
        return attach.source if remote_owns is self.role else attach.target

    def attach(
        self,
        source: Any,
        target: Any,
        *,
        sender_settle_mode: int = SENDER_SETTLE_MIXED,
        receiver_settle_mode: int = RECEIVER_SETTLE_FIRST,
        max_message_size: int | None = None,
        properties: dict[Any, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
    ) -> None:
        """Send attach: ask for the link, or answer the peer's attach with the terms that hold."""
        session = self.session
        state = self._next(Event.SEND_OPEN)
        try:
            session.check_usable()
            session.assign_handle(self)
            attach = Attach(
                name=self.name,
                handle=self.handle,
                role=self.role,
                snd_settle_mode=sender_settle_mode,
                rcv_settle_mode=receiver_settle_mode,
                source=source,
                target=target,
                initial_delivery_count=None if self.role else self.delivery_count,
                max_message_size=max_message_size,
                offered_capabilities=tuple(Symbol(c) for c in offered_capabilities),
                desired_capabilities=tuple(Symbol(c) for c in desired_capabilities),
                properties={Symbol(k): v for k, v in properties.items()} if properties else None,
            )
            session.connection.send(session.channel, attach)
        except BaseException:
            # Nothing was sent: the name and the handle are free again.
            session.forget(self)
            raise
        self.state = state
        self.attach_frame = attach
        self._attaching(attach)
        if self.state is LinkState.ATTACHED:
            self._attached()

    def refuse(self, error: Error) -> None:
        """Answer the peer's attach with one that has no terminus, then detach (spec 2.6.3)."""
        self.detach(error=error)

    def _attach_without_terminus(self) -> None:
        remote = self.remote_attach
        assert remote is not None
        # The end that is refused is the one of this side; the other is echoed.
        source, target = (remote.source, None) if self.role else (None, remote.target)
        self.attach(source, target)

    def detach(self, *, closed: bool = True, error: Error | None = None) -> None:
        """Send detach; `closed` ends the link for good, else it is only suspended. Does nothing where it ended.

        A link that the peer asked for, and that was not answered yet, is refused with it.
        """
        if self.state in (LinkState.DETACH_SENT, LinkState.ENDED, LinkState.DETACHED):
            return
        session = self.session
        unanswered = self.state is LinkState.ATTACH_RCVD
        if session.state is not SessionState.MAPPED:
            # The end of the session detaches its links.
            if not unanswered:
                self.state = self._next(Event.SEND_CLOSE)
            return
        if unanswered:
            self._attach_without_terminus()
        session.flush_dispositions()
        session.connection.send(session.channel, Detach(handle=self.handle, closed=closed, error=error))
        self.state = self._next(Event.SEND_CLOSE)
        self.no_more()
        if self.state is LinkState.ENDED:
            session.forget(self)

    def no_more(self) -> None:
        """Let no transfer follow: without credit everything takes the way that looks at the state."""
        self.limit = self.delivery_count
        self.credit = 0

    def fail(self, condition: str, description: str) -> None:
        """End the link because the peer broke a rule of it."""
        error = LinkDetached(description, condition=condition)
        self.detach(error=wire_error(condition, description))
        self.ended(error)

    def on_attach(self, attach: Attach) -> None:
        """The peer's attach for this name and direction."""
        self.state = self._next(Event.RECEIVE_OPEN)
        self.remote_attach = attach
        self.remote_handle = attach.handle
        self.remote_max_message_size = attach.max_message_size or 0
        self._attaching(attach)
        if self.state is LinkState.ATTACHED:
            if self.refused:
                return
            self._attached()
            self.session.connection.observer.on_attach(self)
        elif self.state is LinkState.ATTACH_RCVD:
            self.session.connection.observer.on_attach(self)

    def on_detach(self, detach: Detach) -> None:
        """The peer's detach: the answer to ours, or its own wish, which is granted at once."""
        asked = self.state is LinkState.DETACH_SENT
        if self.state is LinkState.ATTACH_RCVD:
            # The peer does not wait for the answer to its attach any more; it gets both.
            self._attach_without_terminus()
        self.state = self._next(Event.RECEIVE_CLOSE)
        self.remote_detach = detach
        error = None
        if not asked or detach.error is not None:
            error = link_error(detach.error, self.name)
        if asked:
            self.session.forget(self)
        else:
            self.detach(closed=bool(detach.closed))
        self.ended(error)

    def ended(self, error: AMQPError | None, unsettled: list[Any] | None = None) -> None:
        """The link is of no more use: settle the fate of what was under way, tell the owner. Once.

        Args:
            error: why; None where that was wanted here.
            unsettled: its deliveries that are not settled, where they are known.
        """
        if self.error is not None:
            return
        self.error = error or LocalProtocolError(f"the link {self.name!r} is closed")
        self._abandon(self.error, self._unsettled() if unsettled is None else unsettled)
        self.session.connection.observer.on_detach(self, error)

    def check_usable(self) -> None:
        """Raise where the link has ended or is not attached yet."""
        if self.error is not None:
            raise self.error.again()
        self.session.check_usable()
        if self.state is not LinkState.ATTACHED:
            raise LocalProtocolError(f"the link {self.name!r} is not attached ({self.state.value})")

    def owner_wait(self, delivery: Any) -> Any:
        """What `await delivery` does: the owner of the link knows how to wait."""
        return self.context.settlement(delivery).__await__()

    def _next(self, event: Event) -> LinkState:
        state = LINK.get((self.state, event))
        if state is not None:
            return state
        what = f"{event.value} is not legal for the link {self.name!r} in state {self.state.value}"
        if event in (Event.RECEIVE_OPEN, Event.RECEIVE_CLOSE):
            raise SessionViolation(ILLEGAL_STATE, what)
        raise LocalProtocolError(what)

    @property
    def refused(self) -> bool:
        """Whether the peer's attach has no terminus of its own: a detach that says why must follow (spec 2.6.3)."""
        attach = self.remote_attach
        return attach is not None and (attach.source if self.role else attach.target) is None

    def _attaching(self, attach: Attach) -> None:
        # Both attach frames pass here: each end's own mode is what it says of itself, the other is a wish (spec 2.7.3).
        if attach.role:
            self.settle_first = attach.rcv_settle_mode == RECEIVER_SETTLE_FIRST
        else:
            self.sender_settle_mode = attach.snd_settle_mode

    def _attached(self) -> None:
        """Both halves are attached."""

    def _unsettled(self) -> list[Any]:
        """Its deliveries that are not settled."""
        raise NotImplementedError

    def _abandon(self, error: AMQPError, unsettled: list[Any]) -> None:
        """The link ended: say what is known of its deliveries, of those that are not settled above all."""
