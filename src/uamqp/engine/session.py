"""A session: windows, handles, delivery ids, and which link a frame is for (spec 2.5)."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from heapq import heappop, heappush
from struct import error as StructError
from typing import TYPE_CHECKING, Any, Final

from ..codec.definitions import ACCEPTED, Error, Rejected
from ..codec.hot import (
    ROLE_RECEIVER,
    ROLE_SENDER,
    decode_disposition,
    decode_flow,
    decode_transfer,
    encode_disposition,
    encode_flow,
)
from ..codec.performatives import Attach, Begin, Detach, Disposition, End, Flow, Transfer
from ..exceptions import AMQPError, LocalProtocolError, SessionEnded
from .delivery import IncomingDelivery, OutgoingDelivery, State, is_terminal
from .errors import (
    ERRANT_LINK,
    HANDLE_IN_USE,
    INVALID_FIELD,
    RESOURCE_LIMIT_EXCEEDED,
    UNATTACHED_HANDLE,
    WINDOW_VIOLATION,
    LinkViolation,
    SessionViolation,
    session_error,
    wire_error,
)
from .limits import HANDLE_MAX, INCOMING_WINDOW, MAX_DELIVERY_TAG, MAX_LOOKED_AT_IN_VAIN
from .link import RECEIVER_SETTLE_SECOND, LinkEndpoint
from .receiver import ReceiverEndpoint
from .run import OutgoingRun
from .sender import SenderEndpoint
from .serial import MASK, distance
from .settlement import Dispositions, encode_state
from .states import SESSION, Event, LinkState, SessionState

if TYPE_CHECKING:
    from .connection import ConnectionEndpoint

#: As much as we ever announce to send; the peer's window is what limits it.
OUTGOING_WINDOW: Final = 0x7FFFFFFF

_REJECTED: Final = Rejected()


def _ids(first: int, last: int, unsettled: Mapping[int, object]) -> list[int]:
    """The ids of a range, or those of the unsettled deliveries that lie in it: whichever are fewer."""
    span = ((last - first) & MASK) + 1
    if span <= len(unsettled):
        return [(first + n) & MASK for n in range(span)]
    return [id for id in unsettled if (id - first) & MASK < span]


class SessionEndpoint:
    """One end of a session.

    Attributes:
        channel: the channel that this side sends on.
        remote_begin: the peer's begin, or None.
        error: why the session ended, or None; every later call on it raises this.
        outgoing_unsettled, incoming_unsettled: deliveries by delivery-id, oldest first.
        runs: what was sent behind all of `outgoing_unsettled` and is as unsettled, oldest first.
        context: for the owner: its own object for this session.
    """

    __slots__ = (
        "_ending",
        "_first_id",
        "_free",
        "_handles",
        "_links",
        "_names",
        "_outgoing_dispositions",
        "_ready",
        "channel",
        "connection",
        "context",
        "dirty",
        "dispositions",
        "error",
        "expected_delivery_id",
        "handle_max",
        "incoming_limit",
        "incoming_unsettled",
        "incoming_window",
        "next_delivery_id",
        "next_incoming_id",
        "next_outgoing_id",
        "outgoing_limit",
        "outgoing_unsettled",
        "remote_begin",
        "remote_channel",
        "remote_handle_max",
        "runs",
        "state",
        "touched",
    )

    def __init__(self, connection: ConnectionEndpoint, channel: int, *, first_id: int = 0) -> None:
        self.connection = connection
        self.channel = channel
        self.remote_channel = -1
        self.state = SessionState.UNMAPPED
        self.remote_begin: Begin | None = None
        self.error: AMQPError | None = None
        self.context: Any = None
        #: Whether the session is in the list of those to look at when the present read is over.
        self.touched = False
        #: Whether dispositions wait to be written.
        self.dirty = False
        self._ending: End | None = None
        self.handle_max = HANDLE_MAX
        self.remote_handle_max = MASK
        #: Links by our handle, by the peer's handle, and by name and role.
        self._handles: dict[int, LinkEndpoint] = {}
        self._free: list[int] = []
        self._links: dict[int, LinkEndpoint] = {}
        self._names: dict[tuple[str, bool], LinkEndpoint] = {}
        #: Senders with something to send, served in turn.
        self._ready: deque[SenderEndpoint] = deque()
        #: Transfer ids of the spec's session windows: a window is kept as the id where it ends.
        self.incoming_window = INCOMING_WINDOW
        self._first_id = first_id
        self.next_outgoing_id = first_id
        self.outgoing_limit = first_id
        self.next_incoming_id = 0
        self.incoming_limit = 0
        self.next_delivery_id = first_id
        #: No id at all equals this, until the first delivery was there.
        self.expected_delivery_id = -2
        self.outgoing_unsettled: dict[int, OutgoingDelivery] = {}
        self.runs: deque[OutgoingRun] = deque()
        self.incoming_unsettled: dict[int, IncomingDelivery] = {}
        self.dispositions = Dispositions()
        self._outgoing_dispositions = Dispositions()

    # -- local acts ----------------------------------------------------------------------------------------------

    def begin(self, *, incoming_window: int = INCOMING_WINDOW, handle_max: int = HANDLE_MAX) -> None:
        """Send begin: ask for the session, or answer the peer's."""
        state = self._next(Event.SEND_OPEN)
        begin = Begin(
            remote_channel=None if self.remote_channel < 0 else self.remote_channel,
            next_outgoing_id=self.next_outgoing_id,
            incoming_window=incoming_window,
            outgoing_window=OUTGOING_WINDOW,
            handle_max=handle_max,
        )
        try:
            self.connection.send(self.channel, begin)
        except BaseException:
            # Nothing was sent: the channel is free again.
            self.connection.forget(self)
            raise
        self.state = state
        self.incoming_window = incoming_window
        self.handle_max = handle_max
        self.incoming_limit = (self.next_incoming_id + incoming_window) & MASK

    def end(self, error: Error | None = None) -> None:
        """Send end; its links are of no more use. Does nothing where the session ended.

        One that the peer began, and that was not answered yet, is answered and ended.
        """
        if self.state is SessionState.BEGIN_SENT:
            # There is no end for a session that is not mapped yet; it goes out when the peer's begin is there.
            self._ending = End(error=error)
            return
        if self.state is SessionState.BEGIN_RCVD:
            self.begin()
        if self.state not in (SessionState.MAPPED, SessionState.END_RCVD):
            return
        self.flush_dispositions()
        self.connection.send(self.channel, End(error=error))
        self.outgoing_limit = self.next_outgoing_id
        self.state = self._next(Event.SEND_CLOSE if error is None else Event.SEND_CLOSE_WITH_ERROR)
        if self.state is SessionState.DISCARDING:
            # No transfer takes the straight way any more.
            self.incoming_limit = self.next_incoming_id
        if self.state is SessionState.ENDED:
            self.connection.forget(self)

    def fail(self, condition: str, description: str) -> None:
        """End the session because the peer broke a rule of it."""
        error = SessionEnded(description, condition=condition)
        self.end(wire_error(condition, description))
        self.ended(error)

    def sender(self, name: str) -> SenderEndpoint:
        """A new sending link end, to be attached."""
        link = SenderEndpoint(self, name)
        self._name(link)
        return link

    def receiver(self, name: str) -> ReceiverEndpoint:
        """A new receiving link end, to be attached."""
        link = ReceiverEndpoint(self, name)
        self._name(link)
        return link

    @property
    def links(self) -> list[LinkEndpoint]:
        """Its links, also those that are attaching or detaching."""
        return list(self._names.values())

    def check_usable(self) -> None:
        """Raise where the session has ended or is not mapped yet."""
        if self.error is not None:
            raise self.error.again()
        if self.state is not SessionState.MAPPED:
            raise LocalProtocolError(f"the session is not mapped ({self.state.value})")

    def assign_handle(self, link: LinkEndpoint) -> None:
        """Give the link the lowest free handle of this side."""
        limit = min(self.handle_max, self.remote_handle_max)
        handle = heappop(self._free) if self._free else len(self._handles)
        if handle > limit:
            raise LocalProtocolError(f"the session has no free handle: {limit + 1} links are attached")
        link.handle = handle
        self._handles[handle] = link

    def forget(self, link: LinkEndpoint) -> None:
        """Both sides detached the link, or it was never attached: its handles and its name are free."""
        if self._handles.pop(link.handle, None) is not None:
            heappush(self._free, link.handle)
        self._links.pop(link.remote_handle, None)
        del self._names[link.name, link.role]

    def _name(self, link: LinkEndpoint) -> None:
        key = (link.name, link.role)
        if key in self._names:
            raise LocalProtocolError(f"a link {link.name!r} of the same direction exists in this session")
        self._names[key] = link

    # -- sending -------------------------------------------------------------------------------------------------

    def schedule(self, sender: SenderEndpoint) -> None:
        """The sender has something queued: send what may go now, the rest in its turn."""
        if not sender.scheduled:
            sender.scheduled = True
            self._ready.append(sender)
        self.pump()

    def pump(self) -> None:
        """Let the waiting links send in turn, a frame each, as far as window and socket allow."""
        ready = self._ready
        connection = self.connection
        while ready and self.next_outgoing_id != self.outgoing_limit and self.state is SessionState.MAPPED:
            if connection.output_full():
                connection.stall(self)
                return
            sender = ready.popleft()
            if sender.state is LinkState.ATTACHED and sender.send_next():
                if sender.queue:
                    ready.append(sender)
                    continue
                connection.credit_changed(sender)
            sender.scheduled = False

    def send_flow(self, link: LinkEndpoint | None = None, *, drain: bool = False, echo: bool = False) -> None:
        """Send flow with the state of the session and, if given, of a link; opens our incoming window again."""
        if self.state is not SessionState.MAPPED:
            return
        self.incoming_limit = (self.next_incoming_id + self.incoming_window) & MASK
        numbers = [self.next_incoming_id, self.incoming_window, self.next_outgoing_id, OUTGOING_WINDOW]
        if link is not None and link.state is LinkState.ATTACHED:
            numbers += (link.handle, link.delivery_count, link.credit)
            if isinstance(link, SenderEndpoint):
                numbers.append(len(link.queue))
        all_fields = self.connection.settings.all_fields
        self.connection.write(encode_flow(self.channel, numbers, drain, echo, all_fields))

    # -- settling ------------------------------------------------------------------------------------------------

    def settle_incoming(self, id: int, state: bytes, settled: bool) -> None:
        """Our outcome for a received delivery, told with the next output."""
        self.dispositions.add(id, state, settled)
        if not self.dirty:
            self._mark_dirty()

    def _settle_outgoing(self, id: int, state: bytes) -> None:
        self._outgoing_dispositions.add(id, state, True)
        if not self.dirty:
            self._mark_dirty()

    def _mark_dirty(self) -> None:
        self.dirty = True
        self.connection.mark_dirty(self)

    def flush_dispositions(self) -> None:
        """Write the dispositions that wait."""
        self.dirty = False
        all_fields = self.connection.settings.all_fields
        for role, dispositions in ((ROLE_RECEIVER, self.dispositions), (ROLE_SENDER, self._outgoing_dispositions)):
            for first, last, state, settled in dispositions.take():
                if self.state is SessionState.MAPPED:
                    self.connection.write(
                        encode_disposition(self.channel, role, first, last, settled, state, all_fields)
                    )

    # -- frames of the peer --------------------------------------------------------------------------------------

    def on_begin(self, begin: Begin) -> None:
        """The peer's begin."""
        self.state = self._next(Event.RECEIVE_OPEN)
        self.remote_begin = begin
        self.next_incoming_id = begin.next_outgoing_id
        self.incoming_limit = (self.next_incoming_id + self.incoming_window) & MASK
        self.outgoing_limit = (self.next_outgoing_id + begin.incoming_window) & MASK
        self.remote_handle_max = begin.handle_max
        if self._ending is not None:
            ending, self._ending = self._ending, None
            self.end(ending.error)
            return
        self.connection.observer.on_begin(self)

    def on_end(self, end: End) -> None:
        """The peer's end: the answer to ours, or its own wish, which is granted at once."""
        asked = self.state in (SessionState.END_SENT, SessionState.DISCARDING)
        if self.state is SessionState.BEGIN_RCVD:
            # The peer does not wait for the answer to its begin any more; it gets both.
            self.begin()
        self.state = self._next(Event.RECEIVE_CLOSE)
        error = None if asked and end.error is None else session_error(end.error)
        if asked:
            self.connection.forget(self)
        else:
            self.end()
        self.ended(error)

    def ended(self, error: AMQPError | None) -> None:
        """The session is of no more use: end its links, tell the owner. Once."""
        if self.error is not None:
            return
        self.error = error or LocalProtocolError("the session has ended")
        links = self.links
        for link in links:
            link.state = LinkState.ENDED
            if isinstance(link, SenderEndpoint):
                # Of all, before anybody is told: what one gives back must not go out on another.
                link.no_more()
        own: defaultdict[LinkEndpoint, list[Any]] = defaultdict(list)
        self.break_up()
        for sent in self.outgoing_unsettled.values():
            own[sent.link].append(sent)
        for received in self.incoming_unsettled.values():
            own[received.link].append(received)
        for link in links:
            link.ended(self.error, own[link])
        self._ready.clear()
        self.connection.observer.on_end(self, error)

    def receive_straight(self, code: int, data: bytes, pos: int, end: int) -> bool:
        """A transfer, disposition or flow in one of the usual shapes; False where the strict decoder must look.

        `pos` is behind the descriptor. A transfer that breaks a rule of the session is left to the strict way, too.
        """
        if code != 0x14:
            return self._receive_other(code, data, pos, end)
        try:
            transfer = decode_transfer(data, pos, end)
        except (IndexError, StructError):
            return False
        if transfer is None:
            return False
        handle, delivery_id, tag, message_format, settled, more, start = transfer
        link = self._links.get(handle)
        if not isinstance(link, ReceiverEndpoint):
            return False
        return self.take(link, delivery_id, tag, message_format, settled, more, data[start:end])

    def receiver_of(self, handle: int) -> ReceiverEndpoint:
        """The receiver that the peer's handle, which is known to be one of a receiver, stands for."""
        link = self._links[handle]
        assert isinstance(link, ReceiverEndpoint)
        return link

    def take(
        self,
        link: ReceiverEndpoint,
        delivery_id: int,
        tag: bytes,
        message_format: int,
        settled: int,
        more: int,
        payload: bytes,
    ) -> bool:
        """A transfer for one of our receivers; False where the window is used up: the strict way says so."""
        if self.next_incoming_id == self.incoming_limit:
            return False
        self.next_incoming_id = (self.next_incoming_id + 1) & MASK
        if not self.touched:
            self.touch()
        try:
            link.on_transfer(delivery_id, tag, message_format, settled, more, payload)
        except LinkViolation as violation:
            link.fail(violation.condition, violation.description)
        except SessionViolation as violation:
            self.fail(violation.condition, violation.description)
        return True

    def _receive_other(self, code: int, data: bytes, pos: int, end: int) -> bool:
        disposition = flow = None
        try:
            if code == 0x15:
                disposition = decode_disposition(data, pos, end)
            elif code == 0x13:
                flow = decode_flow(data, pos, end)
        except (IndexError, StructError):
            return False
        try:
            if disposition is not None:
                role, first, last, settled, state = disposition
                self.on_disposition(role, first, last, settled, ACCEPTED if state else None)
            elif flow is not None:
                numbers, drain, echo = flow
                self.on_flow(numbers, drain, echo)
            else:
                return False
        except SessionViolation as violation:
            self.fail(violation.condition, violation.description)
        return True

    def on_transfer_frame(self, transfer: Transfer, payload: bytes) -> None:
        """A transfer that went through the strict decoder."""
        link = self._links.get(transfer.handle)
        if isinstance(link, ReceiverEndpoint) and link.error is None:
            if transfer.delivery_tag is None and link.between_deliveries:
                raise SessionViolation(INVALID_FIELD, "the first transfer of a delivery without delivery-tag")
            if transfer.rcv_settle_mode == RECEIVER_SETTLE_SECOND and link.settle_first:
                raise SessionViolation(INVALID_FIELD, "receiver settle mode 'second' on a link of mode 'first'")
        if self.next_incoming_id == self.incoming_limit:
            raise SessionViolation(WINDOW_VIOLATION, "a transfer outside the incoming window")
        self.next_incoming_id = (self.next_incoming_id + 1) & MASK
        if not self.touched:
            self.touch()
        if link is None:
            if self.state is SessionState.END_SENT:
                # Its attach came after our end.
                return
            raise self._unattached(transfer.handle)
        if not isinstance(link, ReceiverEndpoint):
            raise SessionViolation(ERRANT_LINK, f"a transfer from the receiver of the link {link.name!r}")
        try:
            link.on_transfer(
                -1 if transfer.delivery_id is None else transfer.delivery_id,
                transfer.delivery_tag or b"",
                transfer.message_format or 0,
                -1 if transfer.settled is None else int(transfer.settled),
                int(transfer.more),
                payload,
                bool(transfer.aborted),
                bool(transfer.resume),
            )
        except LinkViolation as violation:
            link.fail(violation.condition, violation.description)

    def touch(self) -> None:
        self.touched = True
        self.connection.touched_sessions.append(self)

    def check_delivery(self, delivery_id: int, tag: bytes) -> None:
        """The first frame of a delivery must have an id that was not used before, and a tag of legal size."""
        if delivery_id < 0:
            raise SessionViolation(INVALID_FIELD, "the first transfer of a delivery without delivery-id")
        if len(tag) > MAX_DELIVERY_TAG:
            raise SessionViolation(INVALID_FIELD, f"a delivery-tag of {len(tag)} bytes")
        if self.expected_delivery_id >= 0 and distance(self.expected_delivery_id, delivery_id) < 0:
            raise SessionViolation(INVALID_FIELD, f"delivery-id {delivery_id} was used before")

    def check_window(self) -> None:
        """Open the incoming window again when half of it is used."""
        used = self.incoming_window - ((self.incoming_limit - self.next_incoming_id) & MASK)
        if used * 2 >= self.incoming_window and self.state is SessionState.MAPPED:
            self.send_flow()

    def on_attach(self, attach: Attach) -> None:
        """The peer's attach."""
        if attach.handle > self.handle_max:
            raise self.connection.framing_violation(f"handle {attach.handle} is over the handle-max {self.handle_max}")
        if attach.handle in self._links:
            raise SessionViolation(HANDLE_IN_USE, f"handle {attach.handle} is in use")
        role = not attach.role
        link = self._names.get((attach.name, role))
        if link is None:
            link = self.receiver(attach.name) if role else self.sender(attach.name)
        elif link.remote_attach is not None:
            raise SessionViolation(HANDLE_IN_USE, f"a link {attach.name!r} of the same direction is attached")
        self._links[attach.handle] = link
        link.on_attach(attach)

    def on_detach(self, detach: Detach) -> None:
        """The peer's detach."""
        link = self._links.get(detach.handle)
        if link is None:
            raise self._unattached(detach.handle)
        link.on_detach(detach)

    def on_flow_frame(self, flow: Flow) -> None:
        """A flow that went through the strict decoder."""
        values = (
            flow.next_incoming_id,
            flow.incoming_window,
            flow.next_outgoing_id,
            flow.outgoing_window,
            flow.handle,
            flow.delivery_count,
            flow.link_credit,
            flow.available,
        )
        self.on_flow([-1 if v is None else v for v in values], bool(flow.drain), bool(flow.echo))

    def on_flow(self, numbers: list[int], drain: bool, echo: bool) -> None:
        """A flow frame; arguments as `hot.decode_flow` gives them."""
        if self.state in (SessionState.END_SENT, SessionState.DISCARDING):
            return
        next_incoming, window, next_outgoing, _, handle, delivery_count, credit, available = numbers
        if next_incoming < 0:
            # The peer had not seen our begin, so it counts from there (spec 2.5.6).
            next_incoming = self._first_id
        unseen = distance(next_incoming, self.next_outgoing_id)
        if unseen < 0:
            raise SessionViolation(
                INVALID_FIELD, f"flow with next-incoming-id {next_incoming}, ahead of {self.next_outgoing_id}"
            )
        self.outgoing_limit = (next_incoming + window) & MASK if window >= unseen else self.next_outgoing_id
        # Spec 2.5.6: the peer's count is the one that holds, the room in our window stays the same.
        self.incoming_limit = (self.incoming_limit + next_outgoing - self.next_incoming_id) & MASK
        self.next_incoming_id = next_outgoing
        link: LinkEndpoint | None = None
        if handle >= 0:
            link = self._links.get(handle)
            if link is None:
                raise self._unattached(handle)
            if link.state not in (LinkState.DETACH_SENT, LinkState.ENDED):
                self._on_link_flow(link, delivery_count, credit, drain)
        elif delivery_count >= 0 or credit >= 0 or available >= 0 or drain:
            raise SessionViolation(INVALID_FIELD, "flow with link state and no handle")
        self.pump()
        if echo and self.state is SessionState.MAPPED:
            self.send_flow(link)

    def _on_link_flow(self, link: LinkEndpoint, delivery_count: int, credit: int, drain: bool) -> None:
        if isinstance(link, SenderEndpoint):
            if credit >= 0:
                link.on_flow(delivery_count, credit, drain)
        else:
            assert isinstance(link, ReceiverEndpoint)
            try:
                link.on_flow(delivery_count)
            except LinkViolation as violation:
                link.fail(violation.condition, violation.description)

    def on_disposition_frame(self, disposition: Disposition) -> None:
        """A disposition that went through the strict decoder."""
        first = disposition.first
        last = first if disposition.last is None else disposition.last
        self.on_disposition(bool(disposition.role), first, last, bool(disposition.settled), disposition.state)

    def on_disposition(self, role: bool, first: int, last: int, settled: bool, state: State | None) -> None:
        """What the peer says of the deliveries first … last; costs no more than the deliveries there are."""
        if self.state is SessionState.DISCARDING:
            return
        if first != last and distance(first, last) < 0:
            raise SessionViolation(INVALID_FIELD, f"a disposition from {first} back to {last}")
        if role:
            if not settled and state is None:
                return
            on_outcomes = self._on_outcomes_of_runs if self.runs else self._on_outcomes
            looked_at, done = on_outcomes(first, last, settled, state)
        elif settled:
            looked_at, done = self._on_sender_disposition(first, last)
        else:
            return
        if done < looked_at:
            self._account(looked_at - done)

    def _account(self, in_vain: int) -> None:
        """So many deliveries were looked at that are as unsettled as before, or were not there."""
        connection = self.connection
        connection.looked_at_in_vain += in_vain
        if connection.looked_at_in_vain > MAX_LOOKED_AT_IN_VAIN:
            raise SessionViolation(RESOURCE_LIMIT_EXCEEDED, "too many dispositions that settle nothing")

    def break_up(self) -> None:
        """Make deliveries of the runs: something becomes of one that does not become of the others.

        Also before a delivery that is sent alone, so that they stay in the order of their ids.
        """
        for run in self.runs:
            for delivery in run.break_up():
                self.outgoing_unsettled[delivery.id] = delivery
        self.runs.clear()

    def _on_outcomes(self, first: int, last: int, settled: bool, state: State | None) -> tuple[int, int]:
        """How many deliveries were looked at, and how many are settled now."""
        unsettled = self.outgoing_unsettled
        done = self.connection.settled_deliveries
        before = len(done)
        if first == last and first in unsettled:
            ids = [first]
        else:
            oldest = next(iter(unsettled), self.next_delivery_id)
            if distance(first, oldest) > 0:
                # Receivers may begin with what was settled long ago.
                first = oldest
                if distance(first, last) < 0:
                    return 0, 0
            ids = _ids(first, last, unsettled)
        final = settled or is_terminal(state)
        for id in ids:
            delivery = unsettled.get(id)
            if delivery is None:
                continue
            if state is not None:
                delivery.state = state
            if final:
                del unsettled[id]
                delivery.settled = True
                done.append(delivery)
                if not settled:
                    # The receiver waits for us to settle (receiver settle mode second).
                    answer = delivery.answer or state
                    assert answer is not None
                    if answer is state and isinstance(state, Rejected):
                        # The receiver knows why: an error in the answer would look like one of ours.
                        answer = _REJECTED
                    encoded = encode_state(answer, self.connection.settings.all_fields)
                    self._settle_outgoing(id, encoded if self.connection.fits(encoded) else b"")
        return len(ids), len(done) - before

    def _on_outcomes_of_runs(self, first: int, last: int, settled: bool, state: State | None) -> tuple[int, int]:
        """As `_on_outcomes`, where there are runs."""
        start = self.runs[0].next
        if distance(start, last) < 0:
            return self._on_outcomes(first, last, settled, state)
        if not settled or state is not ACCEPTED or distance(first, start) < 0:
            self.break_up()
            return self._on_outcomes(first, last, settled, state)
        accepted = self._accept_runs(last)
        if first == start or not self.outgoing_unsettled:
            return accepted, accepted
        looked_at, done = self._on_outcomes(first, (start - 1) & MASK, settled, state)
        return accepted + looked_at, accepted + done

    def _accept_runs(self, last: int) -> int:
        """Up to this delivery-id, what is in runs is accepted; how many deliveries that are."""
        runs, done = self.runs, self.connection.settled_deliveries
        total = 0
        while runs:
            run = runs[0]
            count = run.accept(last)
            if not count:
                break
            total += count
            done.append(run)
            if run.settled:
                runs.popleft()
        return total

    def _on_sender_disposition(self, first: int, last: int) -> tuple[int, int]:
        """How many deliveries were looked at, and how many are settled now."""
        unsettled = self.incoming_unsettled
        done = self.connection.settled_incoming
        before = len(done)
        ids = _ids(first, last, unsettled)
        for id in ids:
            delivery = unsettled.pop(id, None)
            if delivery is None:
                continue
            if delivery.state is None:
                delivery.error = LocalProtocolError("the sender settled the delivery before it was settled here")
            delivery.settled = True
            done.append(delivery)
        return len(ids), len(done) - before

    def _unattached(self, handle: int) -> SessionViolation:
        return SessionViolation(UNATTACHED_HANDLE, f"no link is attached with handle {handle}")

    def _next(self, event: Event) -> SessionState:
        state = SESSION.get((self.state, event))
        if state is None:
            # Of ours: the peer's come only to sessions that can take them.
            raise LocalProtocolError(f"{event.value} is not legal for a session in state {self.state.value}")
        return state
