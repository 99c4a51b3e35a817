"""What all clients of the asynchronous API have in common: a connection, a session and a link behind one object."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import NoneType
from typing import Any, ClassVar, Final, Self
from urllib.parse import unquote_plus
from uuid import uuid4

from .. import address, constants, errors, exceptions
from .._legacy import member
from .._signatures import also_in_order
from ..aio.arguments import expect, expect_seconds
from ..aio.recovery import Recovery
from ..authentication import AMQPAuth, SASLAnonymous, SASLPlain
from ..c_uamqp import TickCounter
from ..constants import ReceiverSettleMode, SenderSettleMode
from ..message import Message
from ..transport.driver import BackgroundTask
from .connection_async import ConnectionAsync
from .session_async import OnAttach, SessionAsync
from .utils import LoopBound

#: Seconds that one round of work waits for something to happen.
ROUND: Final = 0.05


def is_loop(value: Any) -> bool:
    """Whether the fourth argument is that of uamqp 1.6.11, a loop or None, and not `debug`."""
    return value is None or isinstance(value, asyncio.AbstractEventLoop)


class AMQPClientAsync(LoopBound):
    """What all clients have in common; by itself it has no link.

    Args:
        remote_address: the node: a URL, an `Address`, or a name where `auth` has the host.
        auth: who we are; by default the user and password in the URL, else anonymous.
        client_name: the container-id of the connection; a new UUID by default.
        debug: log what happens at level INFO.
        error_policy: what to do about errors.
        keep_alive_interval: seconds after which to show the peer that the connection is in use, whether or not it
            asks for that; by default only where it asks.
        loop: the event loop, as a check.
        **kwargs: ``properties``, ``idle_timeout`` (milliseconds), ``max_frame_size``, ``channel_max`` and
            ``remote_idle_timeout_empty_frame_send_ratio`` of the connection; ``incoming_window``,
            ``outgoing_window``, ``handle_max`` and ``on_attach`` of the session; ``send_settle_mode``,
            ``receive_settle_mode`` and ``desired_capabilities`` of the link; ``encoding``, ``transport_type``,
            ``http_proxy``; and ``recovery``, a `uamqp.aio.Recovery`, with which a connection that is lost comes back by
            itself, and calls wait for that.

    Attributes:
        message_handler: the link, or None.

    Raises:
        ValueError: an unknown keyword, or an address or value that cannot be used.
        TypeError: an argument is not of its kind.
    """

    #: Named as in uamqp 1.6, where all clients are in one module.
    _log: ClassVar = logging.getLogger("uamqp.async_ops.client_async")
    _address_type: type[address.Address] = address.Address
    #: What connections and sessions are made of; `sender_type` and `receiver_type` likewise.
    connection_type: type[ConnectionAsync] = ConnectionAsync
    session_type: type[SessionAsync] = SessionAsync

    @also_in_order(
        *("remote_address", "auth", "client_name", "loop", "debug", "error_policy", "keep_alive_interval"),
        at=3,
        when=is_loop,
    )
    def __init__(
        self,
        remote_address: address.Address | str | bytes,
        auth: AMQPAuth | None = None,
        client_name: str | None = None,
        debug: bool = False,
        error_policy: errors.ErrorPolicy | None = None,
        keep_alive_interval: float | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(loop)
        expect("auth", auth, (AMQPAuth, NoneType), "one of uamqp.authentication, such as SASLPlain(…)")
        expect("client_name", client_name, (str, bytes, NoneType), "a str")
        expect("error_policy", error_policy, (errors.ErrorPolicy, NoneType), "an ErrorPolicy")
        if keep_alive_interval:
            expect_seconds("keep_alive_interval", keep_alive_interval)
        self._encoding = kwargs.pop("encoding", None) or "UTF-8"
        self._transport_type = kwargs.pop("transport_type", None) or constants.TransportType.Amqp
        self._http_proxy: Mapping[str, Any] | None = kwargs.pop("http_proxy", None)
        self._max_frame_size: int | None = kwargs.pop("max_frame_size", None)
        self._channel_max: int | None = kwargs.pop("channel_max", None)
        self._idle_timeout: float | None = kwargs.pop("idle_timeout", None)
        self._properties: Mapping[Any, Any] | None = kwargs.pop("properties", None)
        self._empty_frame_send_ratio = kwargs.pop("remote_idle_timeout_empty_frame_send_ratio", None)
        self._incoming_window: int | None = kwargs.pop("incoming_window", None)
        self._outgoing_window: int | None = kwargs.pop("outgoing_window", None)
        self._handle_max: int | None = kwargs.pop("handle_max", None)
        self._on_attach: OnAttach | None = kwargs.pop("on_attach", None)
        self._send_settle_mode = member(SenderSettleMode, kwargs.pop("send_settle_mode", None))
        self._receive_settle_mode = member(ReceiverSettleMode, kwargs.pop("receive_settle_mode", None))
        self._desired_capabilities = kwargs.pop("desired_capabilities", None)
        self._recovery: Recovery | None = kwargs.pop("recovery", None)
        if kwargs:
            raise ValueError(f"Received unrecognized kwargs: {', '.join(kwargs)}")
        self._remote_address = self._address_type.for_node(remote_address, self._encoding)
        self._hostname = self._remote_address.hostname
        self._auth = self._own_auth = auth or self._default_auth()
        self._name = client_name or str(uuid4())
        self._debug_trace = debug
        self._level = logging.INFO if debug else logging.DEBUG
        self._error_policy = error_policy or errors.ErrorPolicy()
        self._keep_alive_interval = keep_alive_interval or 0
        if self._keep_alive_interval < 0:
            raise ValueError(f"keep_alive_interval is a number of seconds, not {keep_alive_interval}")
        self._counter = TickCounter()
        self._shutdown = False
        self._connection: ConnectionAsync | None = None
        self._ext_connection = False
        self._session: SessionAsync | None = None
        self._keep_alive_task: BackgroundTask | None = None
        self._opening = self._new_lock()
        self.message_handler: Any = None

    def _default_auth(self) -> AMQPAuth:
        node = self._remote_address
        terms = {"http_proxy": self._http_proxy, "transport_type": self._transport_type, "encoding": self._encoding}
        if node.username and node.password:
            return SASLPlain(self._hostname, unquote_plus(node.username), unquote_plus(node.password), **terms)  # type: ignore[arg-type]
        return SASLAnonymous(self._hostname, **terms)  # type: ignore[arg-type]

    # --- opening ----------------------------------------------------------------------------------------------

    async def open_async(self, connection: ConnectionAsync | None = None) -> None:
        """Connect and authenticate; safe to call twice. The link is attached when it is first used.

        Args:
            connection: use this connection, which may be shared with other clients, and leave it open in the end.

        Raises:
            AMQPConnectionError: the peer cannot be reached, or does not want us.
            AuthenticationException: the peer does not accept who we are.
            TimeoutError, ValueError: as `ConnectionAsync.open_async`.
        """
        await self._open(connection, again=True)

    async def _open(self, connection: ConnectionAsync | None, *, again: bool) -> None:
        self._check_loop()
        async with self._opening:
            if self._session is not None or (self._shutdown and not again):
                self._check_loop()
                return
            if connection is not None:
                self._log.log(self._level, "using the connection %r", connection)
                self._auth = connection.auth
                self._ext_connection = True
            else:
                connection = self._new_connection()
                self._ext_connection = False
            try:
                await connection.open_async()
            except BaseException:
                if not self._ext_connection:
                    await connection.destroy_async()
                self._auth, self._ext_connection = self._own_auth, False
                raise
            self._connection = connection
            self._session = self.session_type(
                connection,
                incoming_window=self._incoming_window,
                outgoing_window=self._outgoing_window,
                handle_max=self._handle_max,
                on_attach=self._on_attach,
                **self._internal_kwargs,
            )
            self._shutdown = False
            if self._keep_alive_interval:
                self._keep_alive_task = connection.modern._driver.spawn(self._keep_alive(connection), "keep-alive")

    async def _open_for_use(self) -> ConnectionAsync:
        """Open the client where that was not done yet; one that was closed stays closed."""
        if self._session is None:
            await self._open(None, again=False)
        if self._connection is None:
            raise self._closed()
        return self._connection

    def _closed(self) -> errors.AMQPConnectionError:
        return errors.AMQPConnectionError(
            "The client is closed. Open it again, or keep it open with close_on_done=False."
        )

    def _new_connection(self) -> ConnectionAsync:
        return self.connection_type(
            _authority(self._remote_address),
            self._auth,
            container_id=self._name,
            max_frame_size=self._max_frame_size,
            channel_max=self._channel_max,
            idle_timeout=self._idle_timeout,
            properties=self._properties,
            remote_idle_timeout_empty_frame_send_ratio=self._empty_frame_send_ratio,
            error_policy=self._error_policy,
            debug=self._debug_trace,
            encoding=self._encoding,
            recovery=self._recovery,
            **self._internal_kwargs,
        )

    async def _keep_alive(self, connection: ConnectionAsync) -> None:
        """Show that the connection is in use, at intervals; the body of the background task."""
        driver = connection.modern._driver
        while True:
            await driver.sleep(self._keep_alive_interval)
            connection._send_keep_alive()

    async def auth_complete_async(self) -> bool:
        """Whether the peer has accepted who we are; raises where it has not."""
        connection = await self._open_for_use()
        connection._check()
        return True

    async def client_ready_async(self) -> bool:
        """Whether messages can be sent or received: attaches the link where that was not done.

        Raises:
            LinkDetach: the peer refused the link, or it has ended.
            AMQPConnectionError, AuthenticationException, …: as `open_async`.
        """
        connection, handler = self._connection, self.message_handler
        if connection is not None and connection._is_good and handler is not None and handler._is_attached:
            # All is as it was the last time.
            self._check_loop()
            return True
        await self.auth_complete_async()
        if self.message_handler is None:
            self.message_handler = self._new_handler()
        if self.message_handler is not None:
            try:
                await self.message_handler.open_async()
            except exceptions.AMQPError as error:
                if self._session is None:
                    # What broke off is of no interest.
                    raise self._closed() from error
                raise
            if self.message_handler is None:
                raise self._closed()
        return True

    def _new_handler(self) -> Any:
        """The link, not attached yet; None where the client has none."""
        return None

    async def do_work_async(self, **kwargs: Any) -> bool:
        """One round of work, which opens what is not open yet.

        Returns:
            Whether to go on: False where the client is closed or has nothing more to do.
        """
        if self._shutdown:
            return False
        await self.client_ready_async()
        return await self._client_run_async()

    async def _client_run_async(self) -> bool:
        assert self._connection is not None
        await self._connection.work_async()
        return True

    async def mgmt_request_async(
        self,
        message: Message,
        operation: str | bytes,
        op_type: str | bytes | None = None,
        node: str | bytes | None = None,
        callback: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Send a request to a management node, and wait for its answer.

        Args:
            node: the address of the node; ``$management`` by default.
            callback: is given status code, answer and description; its result becomes that of this call.
            message, operation, op_type, **kwargs: as in `SessionAsync.mgmt_request_async`.

        Returns, raises: as `SessionAsync.mgmt_request_async`, and `open_async`.
        """
        await self.auth_complete_async()
        session = self._session
        if session is None:
            raise self._closed()
        try:
            return await session.mgmt_request_async(
                *(message, operation, op_type, node or b"$management"),
                **{"callback": callback, "encoding": self._encoding, "debug": self._debug_trace, **kwargs},
            )
        except exceptions.AMQPError as error:
            if self._session is None:
                # What broke off is of no interest.
                raise self._closed() from error
            raise

    # --- the end ----------------------------------------------------------------------------------------------

    async def close_async(self) -> None:
        """Detach the link, and close the connection unless it was given to `open_async`; safe to call twice.

        Messages that were not sent stay in `pending_messages`.
        """
        async with self._opening:
            if self._session is None or not self._is_at_hand():
                return
            try:
                await self._close()
            finally:
                self._forget_connection()

    def _is_at_hand(self) -> bool:
        """Whether the connection is the one that this call began with."""
        return True

    def _forget_connection(self) -> None:
        """The connection is closed, and no longer the client's."""

    async def _close(self) -> None:
        """Close what is open; the lock is held."""
        self._shutdown = True
        handler, self.message_handler = self.message_handler, None
        session, self._session = self._session, None
        connection, self._connection = self._connection, None
        self._auth = self._own_auth
        task, self._keep_alive_task = self._keep_alive_task, None
        if task is not None:
            task.cancel()
        own = None if self._ext_connection else connection
        waits = (handler is not None and handler._is_opening) or (session is not None and session._beginning.locked)
        if own is not None and waits:
            # The peer may never answer; that the connection ends is news to who waits for it.
            await own.destroy_async()
        async with AsyncExitStack() as stack:
            if own is not None:
                stack.push_async_callback(own.destroy_async)
            if session is not None:
                stack.push_async_callback(_close_patiently, session.destroy_async, own)
            if handler is not None:
                await _close_patiently(handler.destroy_async, own)

    async def redirect_async(self, redirect: errors.LinkRedirect, auth: AMQPAuth | None) -> None:
        """Go on at the address that a redirect names, as `auth`; messages that are queued here are dropped.

        Raises ValueError where the connection is shared, or the redirect names no address.
        """
        node = self._redirected(redirect)
        await self.close_async()
        self._point_at(node, auth)
        await self.open_async()

    def _redirected(self, redirect: errors.LinkRedirect) -> address.Address:
        """The node that a redirect names."""
        if self._ext_connection:
            raise ValueError("Clients with a shared connection cannot be automatically redirected.")
        if not redirect.address:
            raise ValueError(f"the redirect names no address: {redirect}")
        return self._address_type(redirect.address, self._encoding)

    def _point_at(self, node: address.Address, auth: AMQPAuth | None) -> None:
        """Use this address from now on, with nothing left of what was queued."""
        self._remote_address = node
        self._hostname = self._remote_address.hostname
        self._auth = self._own_auth = auth or self._default_auth()

    async def __aenter__(self) -> Self:
        await self.open_async()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.close_async()

    def __enter__(self) -> Self:
        raise TypeError(f"{type(self).__name__} is for asyncio: use 'async with'")

    def __exit__(self, *args: object) -> None:
        """Never called; there so that `with` gives the error of `__enter__`."""

    def __repr__(self) -> str:
        state = "not open" if self._session is None else "open"
        return f"<{type(self).__name__} for {self._remote_address}, {state}>"


async def _close_patiently(close: Callable[[], Awaitable[None]], connection: ConnectionAsync | None) -> None:
    """Close something on the connection. Where that is cancelled, nothing more is waited for on it."""
    try:
        await close()
    except asyncio.CancelledError:
        if connection is not None:
            connection._lose()
        raise


def _authority(node: address.Address) -> str:
    """Scheme, host and port of an address: where to connect."""
    parts = node.parsed_address
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if node.hostname else ""
