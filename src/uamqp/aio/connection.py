"""Connections: how to get one, and what hangs on it."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from ..codec.definitions import Error
from ..codec.message import Message
from ..codec.values import Symbol
from ..engine.connection import ConnectionEndpoint
from ..engine.delivery import IncomingDelivery
from ..engine.errors import NOT_ALLOWED
from ..engine.limits import CHANNEL_MAX, HANDLE_MAX, INCOMING_WINDOW, MAX_FRAME_SIZE
from ..engine.link import LinkEndpoint
from ..engine.observer import Observer
from ..engine.receiver import ReceiverEndpoint
from ..engine.run import Outgoing
from ..engine.sasl import Mechanism, SaslClient
from ..engine.sender import SenderEndpoint
from ..engine.serial import MASK
from ..engine.session import SessionEndpoint
from ..engine.settings import ConnectionSettings
from ..engine.states import ConnectionState
from ..exceptions import (
    AMQPError,
    ConnectionEnded,
    LinkDetached,
    LocalProtocolError,
    OperationTimeout,
    SessionEnded,
)
from ..transport.address import parse_url
from ..transport.driver import Driver, Waiter, wake, within
from ..transport.event_loop import EventLoopDriver
from .arguments import expect, expect_seconds, whole
from .cbs import TokenKeeper, TokenSource
from .opening import Opening
from .options import (
    CONNECT_TIMEOUT,
    DEFAULT,
    IDLE_TIMEOUT,
    OPERATION_TIMEOUT,
    WEBSOCKET_SUBPROTOCOL,
    ConnectionOptions,
    Default,
    ReceiverOptions,
    SenderOptions,
    Timeout,
    connection_options,
)
from .receiver import leave
from .recovery import Recovery, Repair
from .request import Requests
from .session import Session
from .signal import Signal
from .trace import traced

if TYPE_CHECKING:
    from .receiver import Receiver
    from .sender import Sender


T = TypeVar("T")


def connect(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    sasl: Sequence[Mechanism] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    hostname: str | None = None,
    container_id: str | None = None,
    max_frame_size: int = MAX_FRAME_SIZE,
    channel_max: int = CHANNEL_MAX,
    idle_timeout: float | None = IDLE_TIMEOUT,
    properties: Mapping[str, Any] | None = None,
    desired_capabilities: Sequence[str] = (),
    timeout: float = OPERATION_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    allow_plaintext_credentials: bool = False,
    proxy: str | None = None,
    connect_to: tuple[str, int] | None = None,
    websocket_subprotocol: str = WEBSOCKET_SUBPROTOCOL,
    recovery: Recovery | None = None,
    trace: bool = False,
) -> Opening[Connection]:
    """Connect to a broker: ``async with connect(url) as connection`` or ``connection = await connect(url)``.

    Args:
        url: ``amqps://user:password@host:port`` (TLS, port 5671) or ``amqp://…`` (plain TCP, port 5672); without a
            scheme, TLS. Its path is not used here; `Connection.path` has it. ``wss://host/path`` (TLS, port 443) and
            ``ws://…`` (port 80) go over a WebSocket of that path; they need ``uamqp[websocket]``.
        user, password: win over those in the URL; without any, ANONYMOUS is used.
        sasl: SASL mechanisms to offer instead, in order of preference; nothing else is ever used.
        ssl_context: a context of your own for TLS.
        ca_file: PEM file with the only authorities to trust, instead of those of the system.
        cert_file, key_file: PEM files of a client certificate; without user it is also used for SASL EXTERNAL.
        hostname: the host named in open, SASL and TLS where it is not the one connected to.
        container_id: how this client is called; a new UUID by default.
        max_frame_size: bytes of the largest frame to take.
        channel_max: sessions that the connection may have, less one.
        idle_timeout: seconds of silence that the peer must not exceed (spec 2.4.5); None never gives up.
        properties: more connection properties for open.
        desired_capabilities: capabilities asked of the peer in open.
        timeout: seconds for every operation on the connection that does not say otherwise.
        connect_timeout: seconds for connecting, TLS, SASL and open in all.
        allow_plaintext_credentials: let user and password go over plain TCP to another machine.
        proxy: connect through this proxy: ``http://user:password@host:port`` or ``https://…`` (CONNECT),
            ``socks5://…``, or ``socks5h://…``, where the proxy looks up the host; the latter two need
            ``uamqp[proxy]``.
        connect_to: host and port to connect to instead of those of the URL, which remain what TLS, WebSocket, SASL and
            open are told.
        websocket_subprotocol: the subprotocol to ask for.
        recovery: bring the connection back by itself when it is lost, with all that is on it; without one, whoever uses
            it is told the error.
        trace: log every frame, decoded, at level DEBUG of the logger ``uamqp.frames``, without messages and secrets. It
            slows everything down.

    Raises:
        AddressError: the URL, the proxy or a TLS file cannot be used, or a package is missing; nothing was sent.
        ValueError, TypeError: another argument is out of range, or not of its kind.
        EncodeError: `properties`, `container_id` and `hostname` are too large for the first frame together.
        AuthenticationError: the peer, or the proxy, does not accept the credentials.
        ConnectionLost: the peer cannot be reached, or went away.
        ConnectionClosed: the peer refused the connection.
        RemoteProtocolError: the peer does not speak AMQP 1.0, or breaks its rules.
        OperationTimeout: it took too long.
    """
    options = connection_options(
        parse_url(url),
        user=user,
        password=password,
        sasl=sasl,
        ssl_context=ssl_context,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        hostname=hostname,
        container_id=container_id,
        max_frame_size=max_frame_size,
        channel_max=channel_max,
        idle_timeout=idle_timeout,
        properties=properties,
        desired_capabilities=desired_capabilities,
        timeout=timeout,
        connect_timeout=connect_timeout,
        allow_plaintext_credentials=allow_plaintext_credentials,
        proxy=proxy,
        connect_to=connect_to,
        websocket_subprotocol=websocket_subprotocol,
        recovery=recovery,
        trace=trace,
    )
    return Opening(lambda: open_connection(EventLoopDriver(), options))


async def open_connection(driver: Driver, options: ConnectionOptions) -> Connection:
    """Connect with the given driver; `connect` of both faces ends here."""
    connection = Connection(driver, options)
    await connection._open()
    return connection


class Connection(Observer):
    """An open connection. Any number of tasks may use it; made by `connect`.

    Attributes:
        path: the path of the URL, percent-decoded, without its first slash.
        container_id: the name of this client.
    """

    def __init__(self, driver: Driver, options: ConnectionOptions) -> None:
        self._driver = driver
        self._options = options
        self._changed = Signal(driver)
        self._default_session: Session | None = None
        #: By address: what asks and hears the answers.
        self._requests: dict[str, Requests] = {}
        #: To which addresses links for requests are being attached.
        self._opening_requests: set[str] = set()
        #: By audience: what keeps the connection authorized.
        self._keepers: dict[str, TokenKeeper] = {}
        self.path = options.endpoint.path
        self.container_id = options.container_id
        self._repair = None if options.recovery is None else Repair(self, options.recovery)
        #: What is to be brought back, in the order in which it was opened.
        self._sessions: dict[Session, None] = {}
        self._links: dict[Sender | Receiver, None] = {}
        self._engine = self._new_engine(options)

    def _new_engine(self, options: ConnectionOptions) -> ConnectionEndpoint:
        settings = ConnectionSettings(
            options.container_id,
            hostname=options.hostname,
            max_frame_size=options.max_frame_size,
            channel_max=options.channel_max,
            idle_timeout=options.idle_timeout,
            properties=options.properties,
            desired_capabilities=options.desired_capabilities,
        )
        sasl = SaslClient(options.mechanisms, options.hostname) if options.mechanisms else None
        return ConnectionEndpoint(self, settings, sasl=sasl)

    async def _open(self) -> None:
        try:
            await self._connect(self._options)
        except BaseException:
            if self._repair is not None:
                # It may be open already, when nobody wants it any more.
                self._repair.stop()
            await self._driver.disconnect(1.0)
            raise

    async def _connect(self, options: ConnectionOptions) -> None:
        driver, engine = self._driver, self._engine
        left = driver.countdown(options.connect_timeout)
        await driver.connect(options.route, options.connect_timeout)
        engine.start()
        driver.run_engine(engine if options.trace is None else traced(engine, options.trace))
        if not await self._changed.wait_for(self._is_decided, left()):
            raise OperationTimeout(
                f"{options.endpoint} did not finish the opening handshake within {options.connect_timeout:g} s"
            )
        if engine.error is not None:
            raise engine.error.again()
        # The time-outs of opening are over; their timers would wake an idle process.
        driver.deadlines.release()
        driver.tick()

    def _is_decided(self) -> bool:
        return self._engine.error is not None or self._engine.remote_open is not None

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return self._engine.error is None and self._engine.state is ConnectionState.OPENED

    @property
    def error(self) -> AMQPError | None:
        """Why it ended, or None while it lives, or is being brought back."""
        repair = self._repair
        if repair is None:
            return self._engine.error
        if repair.running:
            return None
        return repair.failure or self._engine.error

    @property
    def remote_properties(self) -> Mapping[str, Any]:
        """What the peer says of itself: product, version, platform and the like."""
        remote = self._engine.remote_open
        return (remote.properties if remote is not None else None) or {}

    @property
    def remote_container_id(self) -> str:
        """The name of the peer's container."""
        remote = self._engine.remote_open
        return "" if remote is None else str(remote.container_id)

    @property
    def remote_offered_capabilities(self) -> tuple[str, ...]:
        """The extensions that the peer offers."""
        remote = self._engine.remote_open
        return () if remote is None else tuple(str(c) for c in remote.offered_capabilities)

    def __repr__(self) -> str:
        return f"<Connection to {self._options.endpoint}, {'open' if self.is_open else 'closed'}>"

    # -- bringing it back ----------------------------------------------------------------------------------------

    async def _restore(self, attempt: int) -> None:
        """Bring back what is gone: the connection, then sessions, then links. Raises what stands in the way."""
        if not self.is_open:
            await self._driver.renew()
            options = self._options.at_attempt(attempt)
            self._engine = self._new_engine(options)
            try:
                await self._connect(options)
            except OperationTimeout:
                # It must not open after all, when nobody waits for that any more and nobody would watch over it.
                await self._driver.renew()
                raise
        for keeper in [*self._keepers.values()]:
            await keeper.restore()
        for session in [session for session in self._sessions if session._suspended]:
            await session._restore()
        for link in [link for link in self._links if link._endpoint.suspended]:
            await link._restore()

    @property
    def _is_interrupted(self) -> bool:
        """Whether something is gone that is to be brought back."""
        return (
            not self.is_open
            or any(session._suspended for session in self._sessions)
            or any(link._endpoint.suspended for link in self._links)
        )

    def _give_up(self, error: AMQPError | None) -> None:
        """Nothing is brought back any more: tell all that wait for it, and the peer where it is there."""
        if error is not None and self.is_open:
            self._engine.close()
        self._renew_no_more()
        for link in list(self._links):
            if link._endpoint.suspended:
                link._give_up(error)
        for session in list(self._sessions):
            session._suspended = False
            session._changed.notify()
        self._changed.notify()

    def _renew_no_more(self) -> None:
        for keeper in [*self._keepers.values()]:
            keeper.stop()

    async def _usable(self, timeout: Timeout) -> None:
        """Wait while the connection is being brought back. Raises where it is gone, or not back in time."""
        repair = self._repair
        if repair is not None and repair.running:
            seconds = self._seconds(timeout)
            if not await self._changed.wait_for(lambda: not repair.running, seconds):
                raise OperationTimeout(f"the connection was not back {within(seconds)}")
        if repair is not None and repair.failure is not None:
            raise repair.failure.again()

    async def _persist(self, open: Callable[[Timeout], Coroutine[Any, Any, T]], timeout: Timeout) -> T:
        """Open something on the connection; where that is interrupted, again when all is back."""
        repair = self._repair
        if repair is None:
            return await open(timeout)
        left = self._driver.countdown(self._seconds(timeout))
        while True:
            await self._usable(left())
            try:
                return await open(left())
            except (ConnectionEnded, SessionEnded, LinkDetached) as error:
                if not repair.running or not repair.recovers(error):
                    raise

    # -- what hangs on it ----------------------------------------------------------------------------------------

    def session(
        self, *, incoming_window: int = INCOMING_WINDOW, handle_max: int = HANDLE_MAX, timeout: Timeout = DEFAULT
    ) -> Opening[Session]:
        """Begin a session of its own. Most programs need none: `sender` and `receiver` share one.

        Args:
            incoming_window: transfers that the peer may have under way.
            handle_max: links that the session may have, less one.
            timeout: seconds for the peer's answer.

        Raises:
            OperationTimeout: the peer did not answer in time.
            SessionEnded, ConnectionEnded: the peer refused the session, or the connection ended.
            LocalProtocolError: the connection has as many sessions as it may have.
            ValueError, TypeError: an argument is out of range, or not of its kind.
        """
        incoming_window = whole("incoming_window", incoming_window, "a number of transfers", 0, MASK)
        handle_max = whole("handle_max", handle_max, "a number", 0, MASK)
        return Opening(
            lambda: self._persist(lambda seconds: self._begin(incoming_window, handle_max, seconds), timeout)
        )

    async def _begin(
        self, incoming_window: int, handle_max: int, timeout: Timeout, *, passing: bool = False
    ) -> Session:
        session = Session(self, incoming_window, handle_max, passing=passing)
        try:
            await session._begun(timeout)
        except BaseException:
            # Nobody has it, so it is not to be brought back.
            self._sessions.pop(session, None)
            session._endpoint.end()
            raise
        return session

    async def _shared_session(self, timeout: Timeout) -> Session:
        return await self._persist(self._begin_shared, timeout)

    async def _begin_shared(self, timeout: Timeout) -> Session:
        # It is begun once; who loses patience does not end it for the others.
        session = self._default_session
        if session is None or not session._is_usable:
            session = self._default_session = Session(self, INCOMING_WINDOW, HANDLE_MAX)
        await session._begun(timeout)
        return session

    def sender(self, address: str | None, **options: Unpack[SenderOptions]) -> Opening[Sender]:
        """Attach a sender in the session that all senders and receivers of the connection share.

        Takes the arguments of `Session.sender`.
        """
        return Opening(lambda: self._attach_sender(address, options))

    async def _attach_sender(self, address: str | None, options: SenderOptions) -> Sender:
        left = self._driver.countdown(self._seconds(options.get("timeout", DEFAULT)))
        session = await self._shared_session(left())
        options = options.copy()
        options["timeout"] = left()
        return await session.sender(address, **options)

    def receiver(self, address: str | None, **options: Unpack[ReceiverOptions]) -> Opening[Receiver]:
        """Attach a receiver in the session that all senders and receivers of the connection share.

        Takes the arguments of `Session.receiver`.
        """
        return Opening(lambda: self._attach_receiver(address, options))

    async def _attach_receiver(self, address: str | None, options: ReceiverOptions) -> Receiver:
        left = self._driver.countdown(self._seconds(options.get("timeout", DEFAULT)))
        session = await self._shared_session(left())
        options = options.copy()
        options["timeout"] = left()
        return await session.receiver(address, **options)

    async def request(self, address: str, message: Message, *, timeout: Timeout = DEFAULT) -> Message:
        """Send a request to a node that answers, and wait for the answer. Any number may be under way at once.

        Args:
            address: the node, such as ``$management``.
            message: the request; its ``message_id`` and ``reply_to`` are set here.
            timeout: seconds for the answer.

        Returns:
            The answer, which is accepted. What it says, also of failure, is for the caller to read.

        Raises:
            OperationTimeout: no answer in time; whether the request was carried out is not known.
            DeliveryFailed: the node did not take the request.
            LinkDetached, SessionEnded, ConnectionEnded: there is no such node, or it is gone.
        """
        expect("address", address, str, "a str")
        expect("message", message, Message, "a Message")
        left = self._driver.countdown(self._seconds(timeout))
        requests = self._requests.get(address)
        if requests is None or not requests.usable:
            requests = await self._open_requests(address, left)
        answer = await requests.request(message, left())
        return answer.message

    async def _open_requests(self, address: str, left: Callable[[], float | None]) -> Requests:
        """The links for requests to a node: one task attaches them, the others wait for it."""
        opening = self._opening_requests
        if not await self._changed.wait_for(lambda: address not in opening, left()):
            raise OperationTimeout(f"the links for requests to {address!r} were not attached in time")
        former = self._requests.get(address)
        if former is not None and former.usable:
            return former
        opening.add(address)
        try:
            session = await self._shared_session(left())
            opened = self._requests[address] = await Requests.open_dynamic(session, address, left())
        finally:
            opening.discard(address)
            self._changed.notify()
        if former is not None:
            former.retire()
        return opened

    async def authorize(
        self,
        audience: str,
        get_token: TokenSource,
        *,
        refresh_window: float | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        """Put a token for some of the peer's nodes to its node ``$cbs``, and keep it fresh while the connection lives.

        Do so before links are attached to these nodes; once for each audience. A second call for the same audience
        takes the place of the first. Where the connection is brought back, tokens are put before links are attached.

        Args:
            audience: what the token is for: the URI of a node, such as ``"sb://name.servicebus.windows.net/orders"``,
                or of the whole host.
            get_token: is called with the audience and gives a `Token`, or an awaitable for one: for the first, and
                for each renewal. `SharedAccessKey` is one. A connection that is brought back waits for it.
            refresh_window: seconds before the expiry of a token at which to renew it; by default a tenth of its life.
            timeout: seconds for token and answer together; for renewals, too.

        Where a token cannot be renewed before it expires, the links to the nodes that it is for end with the error.

        Raises:
            TokenError: the peer refused the token, or it has expired.
            OperationTimeout: there was no token, or no answer, in time.
            LinkDetached: the peer does not take tokens.
            DeliveryFailed: it does, and did not take this request.
            SessionEnded, ConnectionEnded: session or connection are gone.
            Exception: what `get_token` raised.
        """
        expect("audience", audience, str, "a str")
        if not callable(get_token):
            raise TypeError(f"get_token must be a function of the audience, not {type(get_token).__name__}")
        if refresh_window is not None:
            expect_seconds("refresh_window", refresh_window)
        seconds = self._seconds(timeout)
        keeper = TokenKeeper(
            self,
            audience,
            get_token,
            refresh_window=refresh_window,
            timeout=OPERATION_TIMEOUT if seconds is None else seconds,
        )
        # Who puts the first token is there to be told what is wrong with it.
        await keeper.start(tries=1)

    # -- the end -------------------------------------------------------------------------------------------------

    async def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Close the connection, and everything on it; safe to call twice. Never raises for a peer that is gone.

        What its receivers did not give out goes back. A peer that does not say what is still under way to them (that
        does not drain) is waited for two seconds, and as long as `timeout` for its answer.
        """
        if self._repair is not None:
            self._repair.stop()
        engine = self._engine
        try:
            if engine.error is None and engine.remote_open is not None:
                seconds = self._seconds(timeout)
                left = self._driver.countdown(seconds)
                try:
                    await leave(engine.sessions, self._driver, seconds)
                finally:
                    engine.close()
                await self._changed.wait_for(lambda: engine.closed or engine.error is not None, left())
                # Tasks that wait for what ended just now hear of it before they are ended.
                await self._driver.turn()
        finally:
            await self._driver.disconnect(1.0)
            engine.lose(None)

    async def wait_closed(self, *, timeout: Timeout = None) -> None:
        """Wait until the connection has ended, for whatever reason; `error` says which.

        Raises OperationTimeout where it lives on; without a time-out it waits for ever.
        """
        if not await self._changed.wait_for(lambda: self.error is not None, self._seconds(timeout)):
            raise OperationTimeout("the connection is still open")

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def _seconds(self, timeout: Timeout) -> float | None:
        if isinstance(timeout, Default):
            return self._options.timeout
        if timeout is not None:
            expect_seconds("timeout", timeout, least=0)
        return timeout

    # -- Observer ------------------------------------------------------------------------------------------------

    def on_output(self) -> None:
        self._driver.flush_soon()

    def on_open(self) -> None:
        self._changed.notify()

    def on_begin(self, session: SessionEndpoint) -> None:
        if session.context is None:
            session.begin()
            session.end(Error(Symbol(NOT_ALLOWED), "this client does not take sessions"))
            session.ended(LocalProtocolError("the peer began a session"))
        else:
            session.context._changed.notify()

    def on_attach(self, link: LinkEndpoint) -> None:
        if link.context is None:
            link.refuse(Error(Symbol(NOT_ALLOWED), "this client does not take links"))
        else:
            link.context._changed.notify()

    def on_detach(self, link: LinkEndpoint, error: AMQPError | None) -> None:
        if link.context is not None:
            link.context._ended(link, error)

    def on_end(self, session: SessionEndpoint, error: AMQPError | None) -> None:
        if session.context is not None:
            session.context._ended(session, error)

    def on_close(self, error: AMQPError | None) -> None:
        repair = self._repair
        # Before the peer's open arrived, it is `connect`, or the repair itself, that is told.
        if repair is not None and self._engine.remote_open is not None and repair.recovers(error):
            repair.begin(error)
        else:
            self._renew_no_more()
        self._changed.notify()

    def on_drained(self, receiver: ReceiverEndpoint) -> None:
        if receiver.context is not None:
            receiver.context._changed.notify()

    def on_deliveries(self, receiver: ReceiverEndpoint) -> None:
        if receiver.context is not None:
            receiver.context._changed.notify()
        # Who still has to wait says so again. Of many links few are waited for: 3 % for each message that is received.
        receiver.awaited = False

    def on_wasted(self, receiver: ReceiverEndpoint, count: int) -> None:
        if receiver.context is not None:
            receiver.context._wasted(count)

    def on_credit(self, sender: SenderEndpoint) -> None:
        if sender.context is not None:
            sender.context._changed.notify()

    def on_settled(self, deliveries: Sequence[Outgoing]) -> None:
        told: Waiter | None = None
        for delivery in deliveries:
            waiter = delivery.waiter
            # Deliveries of one batch share a waiter, for which once a read is enough.
            if waiter is not told:
                told = waiter
                # `wake` in line: this is on the path of every message that is sent alone.
                if waiter is not None and not waiter.done():
                    waiter.set_result(True)

    def on_incoming_settled(self, deliveries: list[IncomingDelivery]) -> None:
        for delivery in deliveries:
            wake(delivery.waiter)
