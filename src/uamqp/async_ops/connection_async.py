"""Connections of the asynchronous API."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self
from urllib.parse import urlparse
from uuid import uuid4

from .. import errors
from .._legacy import fields, incoming, octets, text
from .._signatures import also_in_order
from ..aio.arguments import expect
from ..aio.cbs import TokenKeeper
from ..aio.connection import Connection, open_connection
from ..aio.options import CONNECT_TIMEOUT, IDLE_TIMEOUT, OPERATION_TIMEOUT, ConnectionOptions, connection_options
from ..aio.recovery import Recovery
from ..authentication import AMQPAuth, CBSAuthMixin, SASLAnonymous
from ..c_uamqp import ConnectionState
from ..engine.connection import EMPTY_FRAME
from ..engine.limits import CHANNEL_MAX, MAX_FRAME_SIZE, MIN_MAX_FRAME_SIZE
from ..exceptions import AddressError
from ..transport.address import PORT_PLAIN, PORT_TLS, PORT_WEBSOCKET, PORT_WEBSOCKET_TLS, Endpoint, redacted
from ..transport.driver import Driver
from ..transport.event_loop import EventLoopDriver
from .utils import LoopBound
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed

if TYPE_CHECKING:
    from .receiver_async import MessageReceiverAsync

#: Where frames have always been logged with `debug`.
_FRAMES: Final = logging.getLogger("uamqp.c_uamqp")

_CONSUMED: Final = (
    "The supplied authentication has already been consumed by another connection. Please create a fresh instance."
)

#: Where Azure's services wait for WebSockets.
_WEBSOCKET_PATH: Final = "$servicebus/websocket/"
_WEBSOCKET_SUBPROTOCOL: Final = "AMQPWSB10"

#: The arguments in the order of uamqp 1.6.11, in which the ninth is the error policy.
_OLD_ORDER: Final = (
    *("hostname", "sasl", "container_id", "max_frame_size", "channel_max", "idle_timeout", "properties"),
    *("remote_idle_timeout_empty_frame_send_ratio", "error_policy", "debug", "encoding", "loop"),
)


class ConnectionAsync(LoopBound):
    """A connection to a peer.

    Sessions, links and clients open it when they need it; `open_async` does so at once. Several clients may share it.

    Args:
        hostname: the peer: ``"host"``, ``"host:port"``, or a URL, whose scheme ``amqp`` asks for plain TCP. The name
            goes into open; where to connect is for `sasl` to say, if it has a host name or port of its own.
        sasl: who we are (see `uamqp.authentication`); anonymous by default.
        container_id: the name of this client; a new UUID by default.
        max_frame_size: bytes of the largest frame to take, at least 512.
        channel_max: sessions that the connection may have, less one.
        idle_timeout: milliseconds of silence that the peer must not exceed.
        properties: connection properties for open.
        remote_idle_timeout_empty_frame_send_ratio: accepted; heartbeats go out at half of the peer's time-out.
        debug: log what happens at level INFO.
        encoding: of str.
        loop: the event loop, as a check that no other one uses the connection.
        error_policy: sets the `action` of errors of the connection.
        recovery: bring the connection back by itself when it is lost, with all that is on it (`uamqp.aio.Recovery`);
            without one, whoever uses it is told the error.

    Attributes:
        hostname, container_id: bytes.
        auth: who we are.

    Raises:
        ValueError: another connection is using `sasl`, or an argument is out of range.
    """

    _log: ClassVar = logging.getLogger(__name__)

    @also_in_order(*_OLD_ORDER, at=8, when=lambda value: not isinstance(value, bool))
    def __init__(
        self,
        hostname: str | bytes,
        sasl: AMQPAuth | None = None,
        container_id: str | bytes | bool | None = None,
        max_frame_size: int | None = None,
        channel_max: int | None = None,
        idle_timeout: float | None = None,
        properties: Mapping[Any, Any] | None = None,
        remote_idle_timeout_empty_frame_send_ratio: float | None = None,
        debug: bool = False,
        encoding: str = "UTF-8",
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        error_policy: errors.ErrorPolicy | None = None,
        recovery: Recovery | None = None,
    ) -> None:
        super().__init__(loop)
        expect("hostname", hostname, (str, bytes), "the name of a host, or a URL")
        expect("sasl", sasl, (AMQPAuth, NoneType), "one of uamqp.authentication, such as SASLPlain(…)")
        expect("error_policy", error_policy, (errors.ErrorPolicy, NoneType), "an ErrorPolicy")
        if max_frame_size is not None and max_frame_size < MIN_MAX_FRAME_SIZE:
            raise ValueError(f"max_frame_size must be at least {MIN_MAX_FRAME_SIZE}, not {max_frame_size}")
        self._encoding = encoding
        self._peer = _Peer(text(hostname, encoding))
        self.hostname = self._peer.host.encode(encoding)
        self.auth = sasl if sasl is not None else SASLAnonymous(hostname=self.hostname)
        name = str(uuid4()) if container_id is None or isinstance(container_id, bool) else container_id
        self.container_id = octets(name, encoding)
        self.error_policy = error_policy or errors.ErrorPolicy()
        self.max_frame_size = max_frame_size or MAX_FRAME_SIZE
        self.channel_max = CHANNEL_MAX if channel_max is None else channel_max
        self.idle_timeout = IDLE_TIMEOUT * 1000 if idle_timeout is None else idle_timeout
        self.properties = properties
        self._recovery = recovery
        self._debug = debug
        self._level = logging.INFO if debug else logging.DEBUG
        self._connection: Connection | None = None
        self._keeper: TokenKeeper | None = None
        self._opening = self._new_lock()
        self._async_lock = asyncio.Lock()
        self._thread = 0
        self._holds_auth = False
        self._was_open = False
        self._receivers: weakref.WeakSet[MessageReceiverAsync] = weakref.WeakSet()
        self._consume()

    def _consume(self) -> None:
        if self._holds_auth:
            return
        if self.auth.consumed:
            raise ValueError(_CONSUMED)
        self._holds_auth = self.auth.consumed = True

    # --- opening ----------------------------------------------------------------------------------------------

    async def open_async(self) -> None:
        """Connect, and authenticate; safe to call twice.

        Raises:
            AMQPConnectionError: the peer cannot be reached, or does not want us, or the connection is lost.
            AuthenticationException: the peer does not accept who we are.
            TimeoutError: the peer did not answer when the token was put.
            ValueError: the address or a TLS file cannot be used, a password would go over the network unencrypted, or
                a package for the transport that `sasl` wants is missing.
        """
        self._check_loop()
        async with self._opening:
            if self._connection is not None:
                self._check()
                return
            self._consume()
            try:
                await self._open()
            except BaseException:
                await self._close()
                raise

    async def _open(self) -> None:
        with errors.translated(self.error_policy):
            options = self._options()
        self._thread = threading.get_ident()
        try:
            with errors.translated(self.error_policy):
                self._connection = await open_connection(self._new_driver(), options)
        except errors.AuthenticationException:
            raise
        except (errors.AMQPConnectionError, errors.ClientTimeout) as error:
            gone = errors.lost(str(error), self.error_policy) if isinstance(error, errors.ClientTimeout) else error
            if isinstance(self.auth, CBSAuthMixin):
                raise errors.AMQPConnectionError(
                    f"Unable to open authentication session on connection {options.container_id}.\n"
                    f"Please confirm target hostname exists: {options.endpoint}\n{gone}"
                ) from error
            raise gone from gone.__cause__
        self._was_open = True
        self._log.log(self._level, "connected to %s as %s", options.endpoint, options.container_id)
        if isinstance(self.auth, CBSAuthMixin):
            self._keeper = await self.auth._authorize(self)
            self._log.log(self._level, "the peer accepted the token for %r", self.auth.audience)

    def _new_driver(self) -> Driver:
        return EventLoopDriver()

    def _options(self) -> ConnectionOptions:
        auth = self.auth
        verify = auth.cert_file
        endpoint = self._peer.endpoint(auth)
        options = connection_options(
            endpoint,
            user=None,
            password=None,
            sasl=auth.sasl,
            ssl_context=verify if isinstance(verify, ssl.SSLContext) else None,
            ca_file=None if verify is None or isinstance(verify, ssl.SSLContext) else str(verify),
            cert_file=None,
            key_file=None,
            hostname=None,
            container_id=text(self.container_id, self._encoding),
            max_frame_size=self.max_frame_size,
            channel_max=self.channel_max,
            idle_timeout=self.idle_timeout / 1000 if self.idle_timeout else None,
            properties=fields(self.properties, self._encoding),
            desired_capabilities=(),
            timeout=OPERATION_TIMEOUT,
            connect_timeout=CONNECT_TIMEOUT,
            # The object that holds the credentials says whether they may go over plain TCP.
            allow_plaintext_credentials=auth.use_tls is False,
            proxy=auth.proxy,
            websocket_subprotocol=_WEBSOCKET_SUBPROTOCOL,
            recovery=self._recovery,
            trace=partial(_FRAMES.info, "%s") if self._debug else False,
        )
        # The certificate must be for the host that is connected to; open names the host that is wanted there.
        return replace(options, hostname=self._peer.host or endpoint.host)

    @property
    def modern(self) -> Connection:
        """The connection of `uamqp.aio` under this one. Raises AMQPConnectionError where it is not open."""
        if self._connection is None:
            raise errors.AMQPConnectionError("the connection is not open; open it first")
        return self._connection

    @property
    def _state(self) -> ConnectionState:
        """How far the connection has come; there are libraries that look at this to see whether it is still good."""
        connection = self._connection
        if connection is None:
            return ConnectionState.END if self._was_open else ConnectionState.START
        return ConnectionState[connection._engine.state.name]

    @property
    def remote_max_frame_size(self) -> int:
        """Bytes of the largest frame that the peer takes; 512 as long as it has not said."""
        connection = self._connection
        return MIN_MAX_FRAME_SIZE if connection is None else connection._engine.remote_max_frame_size

    @property
    def remote_properties(self) -> dict[Any, Any]:
        """What the peer says of itself; keys and text are bytes."""
        connection = self._connection
        return {} if connection is None else dict(incoming(connection.remote_properties))

    @property
    def _is_good(self) -> bool:
        """Whether the connection is there, and authorized."""
        connection, keeper = self._connection, self._keeper
        return connection is not None and connection.error is None and (keeper is None or keeper.error is None)

    def _check(self) -> None:
        """Raise where the connection is gone, or no longer authorized."""
        if self._is_good:
            return
        with errors.translated(self.error_policy):
            if self._keeper is not None:
                self._keeper.check()
            error = self.modern.error
            if error is not None:
                raise error.again()

    # --- use --------------------------------------------------------------------------------------------------

    async def work_async(self) -> None:
        """Let the connection work for a moment, and hand what arrived to the receivers' functions.

        Only those need it: all else goes on by itself while the event loop runs. Raises the error of a connection
        that is gone, each time.
        """
        await self.open_async()
        for receiver in list(self._receivers):
            await receiver._hand_out(0.0)
        await self.modern._driver.turn()
        self._check()

    async def sleep_async(self, seconds: float) -> None:
        """Do nothing else for some seconds; the connection stays alive."""
        await self.open_async()
        await self.modern._driver.sleep(seconds)

    async def lock_async(self, timeout: float = 3.0) -> None:
        """Take the connection for one task until `release_async`. Raises TimeoutError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await self._async_lock.acquire()
        except TimeoutError:
            raise TimeoutError(f"Failed to acquire connection lock within {timeout} s") from None

    def release_async(self) -> None:
        """Give the connection back; does nothing where nobody has taken it."""
        if self._async_lock.locked():
            self._async_lock.release()

    async def redirect_async(self, redirect_error: errors.LinkRedirect, auth: AMQPAuth) -> None:
        """Connect to the host that a redirect names, as `auth`; what was on the old connection is gone.

        Raises ValueError where it names none; else as `open_async`.
        """
        self._check_names_host(redirect_error)
        await self.destroy_async()
        self._point_at(redirect_error, auth)
        await self.open_async()

    def _check_names_host(self, redirect: errors.LinkRedirect) -> None:
        if not redirect.hostname:
            raise ValueError(f"the redirect names no host to connect to: {redirect}")

    def _point_at(self, redirect: errors.LinkRedirect, auth: AMQPAuth) -> None:
        """Use this host from now on."""
        self._peer = _Peer(text(redirect.hostname, self._encoding), self._peer.tls)
        self.hostname = self._peer.host.encode(self._encoding)
        self.auth = auth

    def _send_keep_alive(self) -> None:
        """Show the peer, and all between here and there, that the connection is in use."""
        connection = self._connection
        if connection is not None and connection.is_open:
            connection._engine.write(EMPTY_FRAME)

    def _call_from_elsewhere(self, function: Callable[[], None]) -> None:
        """Run the function in the thread of the connection, soon; may be called in any thread."""
        driver = self.modern._driver
        assert isinstance(driver, EventLoopDriver)

        def run() -> None:
            try:
                function()
            except Exception as error:
                # Whoever wanted it has gone on already.
                self._log.warning("a message could not be settled: %s", error)

        driver.loop.call_soon_threadsafe(run)

    # --- the end ----------------------------------------------------------------------------------------------

    def _lose(self) -> None:
        """Wait for nothing the peer might still say; what closes the connection then is soon done."""
        connection = self._connection
        if connection is not None:
            if connection._repair is not None:
                connection._repair.stop()
            connection._engine.lose(None)

    def __del__(self) -> None:
        # Where an argument was refused, there is none.
        connection: Connection | None = getattr(self, "_connection", None)
        if connection is None or connection.error is not None:
            return
        driver = connection._driver
        # In blocking code, the stream is forgotten with it. The event loop would keep it, and the messages on it.
        if isinstance(driver, EventLoopDriver) and not driver.loop.is_closed():
            driver.loop.call_soon_threadsafe(_end, connection)
            warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)

    async def destroy_async(self) -> None:
        """Close the connection and all on it; safe to call twice."""
        async with self._opening:
            await self._close()

    async def close_async(self) -> None:
        """The same as `destroy_async`."""
        await self.destroy_async()

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        keeper, self._keeper = self._keeper, None
        try:
            if keeper is not None:
                await keeper.close()
        finally:
            try:
                if connection is not None:
                    await connection.close()
                    self._log.log(self._level, "the connection of %r is closed", self.container_id)
            finally:
                if self._holds_auth:
                    self._holds_auth = False
                    self.auth.close()

    async def __aenter__(self) -> Self:
        await self.open_async()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.destroy_async()

    def __repr__(self) -> str:
        state = "not open" if self._connection is None else repr(self._connection)
        return f"<ConnectionAsync to {self.hostname.decode(self._encoding, 'replace')!r}: {state}>"


def _end(connection: Connection) -> None:
    """Close a connection that nobody has any more."""
    if connection._repair is not None:
        connection._repair.stop()
    if connection._engine.error is None:
        connection._engine.close()


class _Peer:
    """What the argument `hostname` says.

    Attributes:
        host: the name or address, "" where there is none.
        port: the TCP port, None where it is not said.
        tls: whether to speak TLS.
    """

    def __init__(self, given: str, tls: bool = True) -> None:
        try:
            ipaddress.IPv6Address(given)
        except ValueError:
            parts = urlparse(given if "://" in given else f"{'amqps' if tls else 'amqp'}://{given}")
        else:
            parts = urlparse(f"amqps://[{given}]")
        if parts.scheme not in ("amqp", "amqps"):
            raise AddressError(f"{redacted(given)!r} has the scheme {parts.scheme!r}; amqp and amqps are supported")
        try:
            self.port = parts.port
        except ValueError:
            raise AddressError(
                f"{redacted(given)!r} is not the address of a host: behind the last colon is no port. In user and "
                "password, characters such as / must be percent-encoded."
            ) from None
        self.host = parts.hostname or ""
        self.tls = parts.scheme == "amqps"

    def endpoint(self, auth: AMQPAuth) -> Endpoint:
        """Where to connect: what the object with the credentials says comes before what the URL says."""
        tls = self.tls if auth.use_tls is None else auth.use_tls
        host = text(auth.hostname) or self.host
        if not host:
            raise AddressError("there is no host to connect to: neither the URL nor the authentication names one")
        port = auth.port or self.port
        if auth.websocket:
            port = port or (PORT_WEBSOCKET_TLS if tls else PORT_WEBSOCKET)
            return Endpoint(host=host, port=port, tls=tls, path=_WEBSOCKET_PATH, websocket=True)
        return Endpoint(host=host, port=port or (PORT_TLS if tls else PORT_PLAIN), tls=tls)
