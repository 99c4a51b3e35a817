"""The connection: headers, SASL layer, frames, channels, open and close, idle time-out (spec 2.2 to 2.4).

Strategy: `receive_data` walks the bytes of one read in a single loop. Transfers, dispositions and flows go the
straight way through `codec.hot`; everything else, and every doubt, goes through the strict decoder. What the
peer does wrong never raises here: it is answered with close, end or detach and the owner is told. When the read
is over, the owner hears once per link what came of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Final

from ..codec.composite import Composite
from ..codec.definitions import Error
from ..codec.hot import TransferShape, frame
from ..codec.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslChallenge,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Transfer,
    decode_performative,
)
from ..codec.values import Symbol
from ..exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    DecodeError,
    EncodeError,
    IdleTimeout,
    LocalProtocolError,
    RemoteProtocolError,
)
from .delivery import IncomingDelivery, OutgoingDelivery
from .errors import (
    DECODE_ERROR,
    FRAMING_ERROR,
    ILLEGAL_STATE,
    INVALID_FIELD,
    RESOURCE_LIMIT_EXCEEDED,
    ConnectionViolation,
    SessionViolation,
    connection_error,
    wire_error,
)
from .limits import (
    CLOSE_TIMEOUT,
    MAX_HONOURED_IDLE_TIMEOUT,
    MIN_HONOURED_IDLE_TIMEOUT,
    MIN_MAX_FRAME_SIZE,
    OUTPUT_HIGH_WATER,
    PRE_OPEN_FRAME_SIZE,
)
from .observer import Observer
from .receiver import ReceiverEndpoint
from .run import Outgoing
from .sasl import SaslClient, SaslServer
from .sender import SenderEndpoint
from .session import SessionEndpoint
from .settings import ConnectionSettings
from .shapes import Shapes
from .states import CONNECTION, ConnectionState, Event, SessionState

AMQP_HEADER: Final = b"AMQP\x00\x01\x00\x00"
SASL_HEADER: Final = b"AMQP\x03\x01\x00\x00"
EMPTY_FRAME: Final = b"\x00\x00\x00\x08\x02\x00\x00\x00"

#: Looks in vain for the shape of a transfer, in one read, that others have not made up for: few beside a whole read,
#: and enough to know 1,000 links after sixteen.
_MAX_IN_VAIN: Final = 64

#: Bytes of a disposition frame beside its state, with all ids at their longest.
_DISPOSITION_OVERHEAD: Final = 40

_AMQP_FRAME: Final = 0
_SASL_FRAME: Final = 1
_HEADER: Final = Struct(">IBBH")
#: Frame size, data offset and type as one number, channel, and the start of a performative: 0x0053 and its code.
_STRAIGHT_HEADER: Final[Callable[[bytes, int], tuple[int, int, int, int, int]]] = Struct(">IHHHB").unpack_from
_SASL_PERFORMATIVES: Final = (SaslMechanisms, SaslInit, SaslChallenge, SaslResponse, SaslOutcome)

#: What a frame of the peer can end the connection with.
_VIOLATIONS: Final = (ConnectionViolation, DecodeError, LocalProtocolError)
#: States in which the peer's frames are looked at; in the others they are thrown away, or there are none.
_BEFORE_HEADER: Final = frozenset(
    {ConnectionState.START, ConnectionState.HDR_SENT, ConnectionState.OPEN_PIPE, ConnectionState.OC_PIPE}
)


class ConnectionEndpoint:
    """One end of a connection, for one stream of bytes; a new stream needs a new endpoint.

    The contract with whoever owns the stream: bytes that arrive go to `receive_data`, the end of the stream to
    `receive_eof`; what is to be written comes from `data_to_send`, until it gives nothing; `tick` is called at
    the time it asked for; `paused` says whether the stream takes more bytes now.

    Args:
        observer: who is told what happens.
        settings: the terms of this side.
        server: whether this side waits for the peer's header.
        sasl: the SASL side of the same role, or None for no SASL layer.
        sasl_required: whether a server hangs up on clients that begin without the SASL layer.

    Attributes:
        remote_open: the peer's open, or None.
        error: why the connection ended, or None; every later call raises this.
        closed: nothing more will be sent or received: the stream can be closed.
        last_received: for the owner of the stream: when bytes last arrived, in the time of `tick`.
    """

    __slots__ = (
        "_aside",
        "_aside_needed",
        "_aside_size",
        "_close_deadline",
        "_close_sent",
        "_credited",
        "_dirty",
        "_discarding",
        "_heartbeat_interval",
        "_last_sent",
        "_open_frame",
        "_remote_channels",
        "_sasl",
        "_sasl_header_pending",
        "_sasl_required",
        "_sessions",
        "_shapes",
        "_stalled",
        "closed",
        "error",
        "last_received",
        "looked_at_in_vain",
        "max_frame_size",
        "observer",
        "output",
        "output_bytes",
        "output_pending",
        "paused",
        "remote_max_frame_size",
        "remote_open",
        "server",
        "settings",
        "settled_deliveries",
        "settled_incoming",
        "state",
        "touched",
        "touched_sessions",
    )

    def __init__(
        self,
        observer: Observer,
        settings: ConnectionSettings,
        *,
        server: bool = False,
        sasl: SaslClient | SaslServer | None = None,
        sasl_required: bool = True,
    ) -> None:
        self._sasl_required = sasl_required
        # Made now, so that what cannot be sent is found before anything is.
        self._open_frame = _open_frame(settings)
        self.observer = observer
        self.settings = settings
        self.server = server
        self._sasl = sasl
        #: The next header of the peer is the one of the SASL layer.
        self._sasl_header_pending = sasl is not None
        self.state = ConnectionState.START
        self.remote_open: Open | None = None
        self.error: AMQPError | None = None
        self.closed = False
        self.last_received = 0.0
        self._last_sent = 0.0
        self._heartbeat_interval = 0.0
        self._close_sent = False
        self._close_deadline = 0.0
        #: What the peer sends is of no interest any more (spec 2.4.6, DISCARDING).
        self._discarding = False
        #: The limit on the peer's frames, and on ours: small until open was exchanged.
        self.max_frame_size = PRE_OPEN_FRAME_SIZE
        self.remote_max_frame_size = MIN_MAX_FRAME_SIZE
        self._sessions: dict[int, SessionEndpoint] = {}
        self._remote_channels: dict[int, SessionEndpoint] = {}
        self._shapes = Shapes()
        #: A frame of which the rest has not arrived, in the pieces it came in.
        self._aside: list[bytes] = []
        self._aside_size = 0
        self._aside_needed = 0
        self.output: list[bytes | memoryview] = []
        #: Bytes of large deliveries among the output; small ones are not worth counting.
        self.output_bytes = 0
        self.output_pending = False
        self.paused = False
        self._stalled: deque[SessionEndpoint] = deque()
        self._dirty: list[SessionEndpoint] = []
        self._credited: dict[SenderEndpoint, None] = {}
        #: What is to be looked at when the present read is over.
        self.touched: list[ReceiverEndpoint] = []
        self.touched_sessions: list[SessionEndpoint] = []
        #: Deliveries that dispositions of this read were about, and that are as unsettled as before.
        self.looked_at_in_vain = 0
        self.settled_deliveries: list[Outgoing] = []
        self.settled_incoming: list[IncomingDelivery] = []

    # -- local acts ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Client: send the header, and open behind it where no SASL layer has to come first."""
        if self._sasl is not None:
            self.write(SASL_HEADER)
        else:
            self._send_header()
            self.open()

    def open(self) -> None:
        """Send open. A client does that by itself in `start`; a server answers `on_open` with it."""
        self.state = self._next(Event.SEND_OPEN)
        self.write(self._open_frame)

    def close(self, error: Error | None = None) -> None:
        """Send close; the connection is `closed` when the peer answers. Does nothing where that was done."""
        if self.state in (
            ConnectionState.CLOSE_SENT,
            ConnectionState.DISCARDING,
            ConnectionState.CLOSE_PIPE,
            ConnectionState.OC_PIPE,
            ConnectionState.END,
        ):
            return
        event = Event.SEND_CLOSE
        if error is not None and self.state in (ConnectionState.OPENED, ConnectionState.OPEN_SENT):
            event = Event.SEND_CLOSE_WITH_ERROR
        state = CONNECTION.get((self.state, event))
        if state is None:
            # Nothing that a close could follow was sent yet.
            self._end(None)
            return
        for session in self._sessions.values():
            session.flush_dispositions()
        self.send(0, Close(error=error))
        self.state = state
        # Nothing may follow close; a stream that takes no more holds back what takes the fast way, too.
        self._close_sent = True
        self.paused = True
        self._discarding = self._discarding or state is ConnectionState.DISCARDING
        if state is ConnectionState.END:
            self.closed = True

    @property
    def sessions(self) -> list[SessionEndpoint]:
        """Its sessions, also those that are beginning or ending."""
        return list(self._sessions.values())

    def session(self, *, first_id: int = 0) -> SessionEndpoint:
        """A new session end on the lowest free channel, to be begun. `first_id`: its first transfer and delivery id."""
        if self.error is not None:
            raise self.error.again()
        if self.state is not ConnectionState.OPENED:
            raise LocalProtocolError(f"the connection is not open ({self.state.value})")
        assert self.remote_open is not None
        limit = min(self.settings.channel_max, self.remote_open.channel_max)
        channel = 0
        while channel in self._sessions:
            channel += 1
        if channel > limit:
            raise LocalProtocolError(f"the connection has no free channel: {limit + 1} sessions are open")
        session = SessionEndpoint(self, channel, first_id=first_id)
        self._sessions[channel] = session
        return session

    def forget(self, session: SessionEndpoint) -> None:
        """Both sides ended the session: its channels are free."""
        self._sessions.pop(session.channel, None)
        self._remote_channels.pop(session.remote_channel, None)

    def fail(self, condition: str, description: str) -> None:
        """End the connection because the peer broke a rule of it."""
        error: AMQPError = RemoteProtocolError(description, condition=condition)
        if condition == DECODE_ERROR:
            error.__cause__ = DecodeError(description)
        if self.error is not None:
            # The peer goes on breaking rules after it was told: there is no use in waiting for its close.
            self.closed = True
            return
        if self.state in (ConnectionState.OPENED, ConnectionState.OPEN_SENT, ConnectionState.CLOSE_RCVD):
            self.close(wire_error(condition, description[:512]))
        elif self.state in (ConnectionState.OPEN_RCVD, ConnectionState.HDR_EXCH):
            # Spec 2.4.1: whoever closes must have opened.
            self.open()
            self.close(wire_error(condition, description[:512]))
        else:
            self.closed = True
        self._ended(error)

    # -- output --------------------------------------------------------------------------------------------------

    def send(self, channel: int, performative: Composite) -> None:
        """Write a frame of a control performative."""
        body = frame(channel, performative.encode(self.settings.all_fields))
        limit = self.remote_max_frame_size if self.remote_open is not None else PRE_OPEN_FRAME_SIZE
        if len(body) > limit:
            raise LocalProtocolError(f"a frame of {len(body)} bytes, the peer takes at most {limit}")
        self.write(body)

    def write(self, data: bytes | memoryview) -> None:
        """Queue bytes for the stream."""
        if self._close_sent:
            return
        self.output.append(data)
        if not self.output_pending:
            self.output_pending = True
            self.observer.on_output()

    def fits(self, state: bytes) -> bool:
        """Whether a disposition with this encoded state is a frame that the peer takes."""
        return len(state) + _DISPOSITION_OVERHEAD <= self.remote_max_frame_size

    def mark_dirty(self, session: SessionEndpoint) -> None:
        """The session has dispositions to write with the next output."""
        self._dirty.append(session)
        if not self.output_pending:
            self.output_pending = True
            self.observer.on_output()

    def output_full(self) -> bool:
        """Whether large deliveries should wait for the stream."""
        return self.paused or self.output_bytes >= OUTPUT_HIGH_WATER

    def stall(self, session: SessionEndpoint) -> None:
        """The session has more to send when the stream takes it."""
        if session not in self._stalled:
            self._stalled.append(session)

    def data_to_send(self) -> list[bytes | memoryview]:
        """Take what is to be written now; call again after writing, until nothing comes or it is not `unfinished`."""
        if self._stalled and not self.output_full():
            stalled, self._stalled = self._stalled, deque()
            for session in stalled:
                session.pump()
        self._tell()
        if self._dirty:
            dirty, self._dirty = self._dirty, []
            for session in dirty:
                session.flush_dispositions()
        self.output_pending = False
        self.output_bytes = 0
        output = self.output
        if output:
            self.output = []
        return output

    @property
    def unfinished(self) -> bool:
        """Whether there may be more to write than `data_to_send` gave."""
        return self.output_pending or bool(self._stalled)

    def pause(self) -> None:
        """The stream takes no more bytes: what is sent from now on waits in its link."""
        self.paused = True

    def resume(self) -> None:
        """The stream takes bytes again."""
        if self._close_sent:
            return
        self.paused = False
        for session in self.sessions:
            session.pump()
        self._tell()

    # -- time ----------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> float | None:
        """Do what is due at `now` (seconds, monotonic): heartbeat, time-outs. Returns when to call again, or None."""
        if self.closed:
            return None
        if self._close_sent:
            if not self._close_deadline:
                self._close_deadline = now + CLOSE_TIMEOUT
            if now < self._close_deadline:
                return self._close_deadline
            self.lose(None)
            return None
        deadlines = []
        idle = self.settings.idle_timeout
        if idle is not None and self.remote_open is not None:
            # A quarter more than stated: a heartbeat may be a little late (spec 2.4.5).
            deadline = self.last_received + idle * 1.25
            if now >= deadline:
                description = f"nothing arrived from the peer for {idle * 1.25:g} s"
                self.close(wire_error(RESOURCE_LIMIT_EXCEEDED, description))
                self._ended(IdleTimeout(description, condition=RESOURCE_LIMIT_EXCEEDED))
                self.closed = True
                return None
            deadlines.append(deadline)
        if self._heartbeat_interval and self.state is ConnectionState.OPENED:
            deadline = self._last_sent + self._heartbeat_interval
            if now >= deadline:
                self.write(EMPTY_FRAME)
                self._last_sent = now
                deadline = now + self._heartbeat_interval
            deadlines.append(deadline)
        return min(deadlines) if deadlines else None

    def wrote(self, now: float) -> None:
        """Bytes went to the stream at `now`: the next heartbeat is due half the peer's time-out later."""
        self._last_sent = now

    # -- input ---------------------------------------------------------------------------------------------------

    def receive_eof(self) -> None:
        """The stream ended."""
        self._lose("the peer ended the stream without closing the connection")

    def lose(self, cause: BaseException | None) -> None:
        """The stream broke."""
        self._lose(f"the connection was lost: {cause}" if cause is not None else "the connection was lost", cause)

    def _lose(self, description: str, cause: BaseException | None = None) -> None:
        if self.error is None and not self.closed:
            error = ConnectionLost(description)
            if cause is not None:
                error.__cause__ = cause
            sasl = self._sasl
            if sasl is not None and not sasl.done and not self.server and self.remote_open is None and cause is None:
                error.description += " during authentication"
            self._end(error)
        self.closed = True

    def receive_data(self, data: bytes) -> None:
        """Take the bytes of one read. Never raises for what the peer does."""
        if self.closed:
            return
        try:
            pos = self._complete(data) if self._aside else 0
            if pos < 0:
                return
            if pos < len(data) and not self.closed:
                self._parse(data, pos)
        except _VIOLATIONS as violation:
            self._fail_for(violation)
        self._read_over()

    def _fail_for(self, violation: Exception) -> None:
        if isinstance(violation, ConnectionViolation):
            self.fail(violation.condition, violation.description)
        elif isinstance(violation, DecodeError):
            self.fail(violation.condition or DECODE_ERROR, violation.description)
        else:
            # What the peer asked for is legal, but the answer would not be: no channel, no handle, too large a frame.
            self.fail(RESOURCE_LIMIT_EXCEEDED, f"there is no answer within the limits of the peer: {violation}")

    def _complete(self, data: bytes) -> int:
        """Complete what was put aside; the position of what follows it in `data`, -1 where the rest is still to come.

        Only the frame itself is put together, which spares a copy of each read in the middle of a large delivery.
        """
        pos = 0
        while self._aside and not self.closed:
            missing = self._aside_needed - self._aside_size
            piece = data[pos : pos + missing] if pos or len(data) > missing else data
            self._aside.append(piece)
            self._aside_size += len(piece)
            if len(piece) < missing:
                return -1
            pos += missing
            whole = b"".join(self._aside)
            self._aside.clear()
            self._parse(whole, 0)
        return pos

    def _parse(self, data: bytes, pos: int) -> None:
        size = len(data)
        while self.remote_open is None and self._expects_header():
            if size - pos < 8:
                if not AMQP_HEADER.startswith(data[pos : min(size, pos + 4)]):
                    self._bad_header(data[pos:])
                    return
                # The byte that shows that it is none may be the next one.
                self._put_aside(data, pos, 8 if size - pos >= 4 else size - pos + 1)
                return
            if not self._on_header(data[pos : pos + 8]):
                return
            pos += 8
        channels = self._remote_channels
        shapes = self._shapes
        in_vain = 0
        while size - pos >= 8:
            # After transfers of too many kinds it is cheaper to read each than to look what kind it is.
            if in_vain < _MAX_IN_VAIN and size - pos > 10 and data[pos + 10] == 0x14:
                found = 0
                for shape, links in shapes.known.values():
                    start = pos
                    pos = self._receive_alike(shape, links, data, pos)
                    if pos > start:
                        found += 1
                if found:
                    in_vain += len(shapes.known) - 2 * found
                    continue
            if size - pos > 12 and not self._discarding:
                # The straight path: a plain AMQP frame for a mapped session, its descriptor a small number.
                frame_size, kind, channel, described, code = _STRAIGHT_HEADER(data, pos)
                end = pos + frame_size
                if kind == 0x0200 and described == 0x0053 and 12 < frame_size <= self.max_frame_size and end <= size:
                    session = channels.get(channel)
                    if (
                        session is not None
                        and session.error is None
                        and session.receive_straight(code, data, pos + 11, end)
                    ):
                        if code == 0x14 and in_vain < _MAX_IN_VAIN:
                            in_vain += 1
                            shapes.learn(session, data, pos, end)
                        pos = end
                        continue
            if self.closed:
                return
            frame_size, doff, frame_type, channel = _HEADER.unpack_from(data, pos)
            end = pos + frame_size
            if frame_size > self.max_frame_size or frame_size < 8:
                raise ConnectionViolation(
                    FRAMING_ERROR, f"a frame of {frame_size} bytes; 8 to {self.max_frame_size} are allowed"
                )
            if end > size:
                self._put_aside(data, pos, frame_size)
                break
            try:
                self._on_frame(data, pos, end, doff, frame_type, channel)
            except _VIOLATIONS as violation:
                # Where the next frame begins is known all the same; it may be the peer's close.
                self._fail_for(violation)
                if self.closed:
                    return
            # Links and sessions may have come or gone.
            shapes.forget()
            pos = end
            if self.remote_open is None and self._expects_header():
                # The SASL layer is over: the next bytes are the header of the AMQP layer.
                if pos < size:
                    self._parse(data, pos)
                return
        else:
            if pos < size:
                self._put_aside(data, pos, 8)

    def _receive_alike(self, shape: TransferShape, links: dict[bytes, ReceiverEndpoint], data: bytes, pos: int) -> int:
        """Take the transfers from `pos` on that are of this shape; where the first frame is that is not."""
        largest = self.max_frame_size
        unpack, head_size, tag_head, rest = shape.unpack, shape.size, shape.tag_head, shape.rest
        last = len(data) - head_size
        while pos <= last and not self._discarding:
            frame_size, prefix, delivery_id, its_tag_head, tag, its_rest = unpack(data, pos)
            link = links.get(prefix)
            start = pos + head_size
            end = pos + frame_size
            if (
                link is None
                or its_tag_head != tag_head
                or its_rest != rest
                or not start <= end <= len(data)
                or frame_size > largest
                or link.session.error is not None
            ):
                break
            payload = data[start:end]
            if not link.take(delivery_id, tag, shape, payload) and not link.session.take(
                link, delivery_id, tag, shape.message_format, shape.settled, 0, payload
            ):
                break
            pos = end
        return pos

    def _expects_header(self) -> bool:
        in_sasl = self._sasl is not None and not self._sasl.done
        return self._sasl_header_pending or (self.state in _BEFORE_HEADER and not in_sasl)

    def _put_aside(self, data: bytes, pos: int, needed: int) -> None:
        rest = data[pos:] if pos else data
        self._aside.append(rest)
        self._aside_size = len(rest)
        self._aside_needed = needed

    def _on_frame(self, data: bytes, pos: int, end: int, doff: int, frame_type: int, channel: int) -> None:
        start = pos + doff * 4
        if doff < 2 or start > end:
            raise ConnectionViolation(FRAMING_ERROR, f"a frame of {end - pos} bytes with data offset {doff}")
        sasl = self._sasl
        in_sasl = sasl is not None and not sasl.done
        if frame_type != (_SASL_FRAME if in_sasl else _AMQP_FRAME):
            raise ConnectionViolation(
                FRAMING_ERROR, f"a frame of type {frame_type} {'before the end of' if in_sasl else 'outside'} SASL"
            )
        if start == end:
            if in_sasl:
                raise ConnectionViolation(FRAMING_ERROR, "an empty SASL frame")
            return
        performative, payload = decode_performative(data, start, end)
        is_sasl = isinstance(performative, _SASL_PERFORMATIVES)
        if is_sasl is not in_sasl:
            raise ConnectionViolation(
                ILLEGAL_STATE, f"{type(performative).__name__} {'before the end of' if in_sasl else 'outside'} SASL"
            )
        if payload != end and not isinstance(performative, Transfer):
            raise DecodeError(f"{end - payload} bytes behind {type(performative).__name__}", offset=payload)
        if in_sasl:
            self._on_sasl(performative)
        else:
            self._on_performative(performative, channel, data[payload:end])

    def _on_header(self, header: bytes) -> bool:
        """Take one protocol header of the peer; False where the connection is over."""
        if self._sasl_header_pending and header == AMQP_HEADER and self.server and not self._sasl_required:
            self._sasl = None
            self._sasl_header_pending = False
        if self._sasl_header_pending:
            if header != SASL_HEADER:
                self._bad_header(header)
                return False
            self._sasl_header_pending = False
            if isinstance(self._sasl, SaslServer):
                self.write(SASL_HEADER)
                self._send_sasl(self._sasl.offer())
            return True
        if header != AMQP_HEADER:
            self._bad_header(header)
            return False
        self.state = self._next(Event.RECEIVE_HEADER)
        if self.server:
            self._send_header()
        return True

    def _bad_header(self, header: bytes) -> None:
        # Spec 2.2: a server answers what it does not speak with the header of what it does, and hangs up.
        if self.server:
            self.write(SASL_HEADER if self._sasl_header_pending else AMQP_HEADER)
        wanted = "AMQP 1.0 with SASL" if self._sasl_header_pending else "AMQP 1.0"
        if header[:8] == AMQP_HEADER and self._sasl_header_pending and not self.server:
            error: AMQPError = AuthenticationError("the peer does not offer SASL")
        else:
            error = RemoteProtocolError(
                f"the peer does not speak {wanted}: it began with {header[:8]!r}", condition=FRAMING_ERROR
            )
        self.closed = True
        self._ended(error)

    def _send_header(self) -> None:
        self.state = self._next(Event.SEND_HEADER)
        self.write(AMQP_HEADER)

    # -- SASL ----------------------------------------------------------------------------------------------------

    def _send_sasl(self, performative: Composite) -> None:
        data = frame(0, performative.encode(), _SASL_FRAME)
        if len(data) > PRE_OPEN_FRAME_SIZE:
            raise AuthenticationError(
                f"the credentials make a SASL frame of {len(data)} bytes, and {PRE_OPEN_FRAME_SIZE} are the most"
            )
        self.write(data)

    def _on_sasl(self, performative: Composite) -> None:
        sasl = self._sasl
        assert sasl is not None
        answer = sasl.receive(performative)
        error = sasl.error
        if answer is not None:
            try:
                self._send_sasl(answer)
            except AuthenticationError as problem:
                error = problem
        if error is not None:
            self.closed = True
            self._ended(error)
        elif sasl.done and not self.server:
            self._send_header()
            self.open()

    # -- performatives -------------------------------------------------------------------------------------------

    def _on_performative(self, performative: Composite, channel: int, payload: bytes) -> None:
        if isinstance(performative, Open):
            if channel:
                raise self.framing_violation(f"open on channel {channel}")
            self._on_open(performative)
            return
        if isinstance(performative, Close):
            self._on_close(performative)
            return
        if self._discarding:
            return
        if self.remote_open is None or self.state is ConnectionState.END:
            raise ConnectionViolation(ILLEGAL_STATE, f"{type(performative).__name__} before open or after close")
        if channel > self.settings.channel_max:
            raise self.framing_violation(f"channel {channel} is over the channel-max {self.settings.channel_max}")
        if isinstance(performative, Begin):
            self._on_begin(performative, channel)
            return
        session = self._remote_channels.get(channel)
        if session is None:
            if self._close_sent:
                # Its begin came after our close.
                return
            raise ConnectionViolation(
                ILLEGAL_STATE, f"{type(performative).__name__} on channel {channel} without session"
            )
        if session.error is not None and not isinstance(performative, End):
            # We ended the session, and the peer had not heard of it yet.
            return
        if session.state is SessionState.END_SENT and isinstance(performative, Attach | Detach):
            # Outcomes that are under way still count, but there is no answering any more.
            return
        if session.state is SessionState.DISCARDING and not isinstance(performative, End):
            return
        try:
            if isinstance(performative, Transfer):
                session.on_transfer_frame(performative, payload)
            elif isinstance(performative, Disposition):
                session.on_disposition_frame(performative)
            elif isinstance(performative, Flow):
                session.on_flow_frame(performative)
            elif isinstance(performative, Attach):
                session.on_attach(performative)
            elif isinstance(performative, Detach):
                session.on_detach(performative)
            else:
                assert isinstance(performative, End)
                session.on_end(performative)
        except SessionViolation as violation:
            session.fail(violation.condition, violation.description)

    def framing_violation(self, description: str) -> ConnectionViolation:
        """For limits whose violation is answered with close (spec 2.7.1 channel-max, 2.7.2 handle-max)."""
        return ConnectionViolation(FRAMING_ERROR, description)

    def _on_open(self, remote: Open) -> None:
        self.state = self._next(Event.RECEIVE_OPEN)
        self.remote_open = remote
        if remote.max_frame_size < MIN_MAX_FRAME_SIZE:
            raise ConnectionViolation(INVALID_FIELD, f"max-frame-size {remote.max_frame_size} is under 512")
        self.max_frame_size = self.settings.max_frame_size
        self.remote_max_frame_size = min(remote.max_frame_size, 1 << 24)
        if remote.idle_time_out:
            seconds = min(max(remote.idle_time_out / 1000, MIN_HONOURED_IDLE_TIMEOUT), MAX_HONOURED_IDLE_TIMEOUT)
            self._heartbeat_interval = seconds / 2
        if self.error is None and self.state in (ConnectionState.OPENED, ConnectionState.OPEN_RCVD):
            self.observer.on_open()

    def _on_close(self, close: Close) -> None:
        asked = self.state in (ConnectionState.CLOSE_SENT, ConnectionState.DISCARDING)
        self.state = self._next(Event.RECEIVE_CLOSE)
        error = None if asked and close.error is None else connection_error(close.error)
        if not asked:
            self.close()
        self.closed = True
        self._ended(error)

    def _on_begin(self, begin: Begin, channel: int) -> None:
        if self._close_sent:
            # There is no answering any more.
            return
        if channel in self._remote_channels:
            raise ConnectionViolation(ILLEGAL_STATE, f"begin on channel {channel}, where a session is")
        if begin.remote_channel is None:
            session = self.session()
        else:
            found = self._sessions.get(begin.remote_channel)
            if found is None or found.state is not SessionState.BEGIN_SENT:
                raise ConnectionViolation(
                    ILLEGAL_STATE, f"begin for channel {begin.remote_channel}, where none was asked for"
                )
            session = found
        session.remote_channel = channel
        self._remote_channels[channel] = session
        session.on_begin(begin)

    # -- what the owner is told when a read is over --------------------------------------------------------------

    def credit_changed(self, sender: SenderEndpoint) -> None:
        """The sender got or lost credit, or has nothing queued any more: its owner will be told."""
        self._credited[sender] = None

    def settled_later(self, delivery: OutgoingDelivery) -> None:
        """The delivery was sent settled, after it had waited."""
        self.settled_deliveries.append(delivery)

    def _tell(self) -> None:
        if self.settled_deliveries:
            settled, self.settled_deliveries = self.settled_deliveries, []
            self.observer.on_settled(settled)
        if self.settled_incoming:
            incoming, self.settled_incoming = self.settled_incoming, []
            self.observer.on_incoming_settled(incoming)
        if self._credited:
            credited, self._credited = self._credited, {}
            for sender in credited:
                if sender.error is None:
                    self.observer.on_credit(sender)
                    sender.finish_drain()

    def _read_over(self) -> None:
        self.looked_at_in_vain = 0
        self._tell()
        if self.touched_sessions:
            sessions, self.touched_sessions = self.touched_sessions, []
            for session in sessions:
                session.touched = False
                if session.error is None:
                    session.check_window()
        if self.touched:
            touched, self.touched = self.touched, []
            for receiver in touched:
                receiver.touched = False
                if receiver.queue:
                    self.observer.on_deliveries(receiver)
                if receiver.wasted:
                    wasted, receiver.wasted = receiver.wasted, 0
                    self.observer.on_wasted(receiver, wasted)
                if receiver.draining:
                    receiver.check_drained()

    # -- the end -------------------------------------------------------------------------------------------------

    def _end(self, error: AMQPError | None) -> None:
        """The stream is of no more use."""
        self.state = ConnectionState.END
        self.closed = True
        self._ended(error)

    def _ended(self, error: AMQPError | None) -> None:
        if self.error is not None:
            return
        if error is None:
            self.error = ConnectionClosed("the connection is closed")
            # Who closed it himself need not try again.
            self.error.retryable = False
        else:
            self.error = error
        self._discarding = True
        # Before anybody is told: what one link gives back must not go out on another.
        self.paused = True
        sessions = self.sessions
        for session in sessions:
            session.state = SessionState.ENDED
        for session in sessions:
            session.ended(self.error)
        self._stalled.clear()
        self.observer.on_close(error)

    def _next(self, event: Event) -> ConnectionState:
        state = CONNECTION.get((self.state, event))
        if state is None:
            what = f"{event.value} in state {self.state.value}"
            if event in (Event.RECEIVE_HEADER, Event.RECEIVE_OPEN, Event.RECEIVE_CLOSE):
                raise ConnectionViolation(ILLEGAL_STATE, what)
            raise LocalProtocolError(f"{what} is not legal for a connection")
        return state


def _open_frame(settings: ConnectionSettings) -> bytes:
    idle = settings.idle_timeout
    properties = settings.properties
    data = frame(
        0,
        Open(
            container_id=settings.container_id,
            hostname=settings.hostname,
            max_frame_size=settings.max_frame_size,
            channel_max=settings.channel_max,
            idle_time_out=None if idle is None else max(1, int(idle * 1000)),
            offered_capabilities=tuple(Symbol(c) for c in settings.offered_capabilities),
            desired_capabilities=tuple(Symbol(c) for c in settings.desired_capabilities),
            properties={Symbol(k): v for k, v in properties.items()} if properties else None,
        ).encode(settings.all_fields),
    )
    if len(data) > PRE_OPEN_FRAME_SIZE:
        raise EncodeError(f"open would have {len(data)} bytes, more than {PRE_OPEN_FRAME_SIZE}", field="properties")
    return data
