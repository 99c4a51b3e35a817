"""Clients of the asynchronous API: a connection, a session and one link, behind one object."""

from __future__ import annotations

import asyncio
import logging
import queue
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from itertools import islice
from time import monotonic
from typing import Any, Final, Self
from urllib.parse import unquote_plus
from uuid import uuid4

from .. import address, constants, errors, exceptions
from .._signatures import also_in_order
from ..aio.recovery import Recovery
from ..authentication import AMQPAuth, SASLAnonymous, SASLPlain
from ..c_uamqp import TickCounter
from ..codec.definitions import ACCEPTED
from ..compat import TimeoutException as TimeoutException
from ..constants import MessageState, ReceiverSettleMode, SenderSettleMode
from ..engine.delivery import OutgoingDelivery
from ..message import ALREADY_SETTLED, Message
from ..transport.driver import BackgroundTask
from ._lock import Lock
from .connection_async import ConnectionAsync
from .receiver_async import PREFETCH, MessageReceiverAsync
from .sender_async import MessageSenderAsync, finish, timed_out
from .session_async import OnAttach, SessionAsync
from .utils import LoopBound
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed

_log = logging.getLogger(__name__)

# Members of an enum, which take their time to be looked up.
_TO_BE_SENT: Final = MessageState.WaitingToBeSent
_SENT: Final = MessageState.WaitingForSendAck
_DONE: Final = MessageState.SendComplete

#: Messages that are under way at a time; more would only fill memory.
_WINDOW: Final = 4000
#: Seconds that one round of work waits for something to happen.
_ROUND: Final = 0.05


class ReceivedMessages(queue.SimpleQueue[Message]):
    """Messages that were received and not given out yet. Has what others use of a `queue.Queue`, without its locks."""

    def task_done(self) -> None:
        """Nobody waits for this."""


def _is_loop(value: Any) -> bool:
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
        ValueError: an unknown keyword, or an address that cannot be used.
    """

    _address_type: type[address.Address] = address.Address
    #: What connections and sessions are made of; `sender_type` and `receiver_type` likewise.
    connection_type: type[ConnectionAsync] = ConnectionAsync
    session_type: type[SessionAsync] = SessionAsync

    @also_in_order(
        *("remote_address", "auth", "client_name", "loop", "debug", "error_policy", "keep_alive_interval"),
        at=3,
        when=_is_loop,
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
        self._send_settle_mode: SenderSettleMode | None = kwargs.pop("send_settle_mode", None)
        self._receive_settle_mode: ReceiverSettleMode | None = kwargs.pop("receive_settle_mode", None)
        self._desired_capabilities = kwargs.pop("desired_capabilities", None)
        self._recovery: Recovery | None = kwargs.pop("recovery", None)
        if kwargs:
            raise ValueError(f"Received unrecognized kwargs: {', '.join(kwargs)}")
        self._remote_address = self._address_type.for_node(remote_address, self._encoding)
        self._hostname = self._remote_address.hostname
        self._auth = auth or self._default_auth()
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
        self._opening = Lock(self._new_waiter)
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
                return
            if connection is not None:
                _log.log(self._level, "using the connection %r", connection)
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
            "The client is closed. Open it again with open_async(), or keep it open with close_on_done=False."
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
        await self.auth_complete_async()
        if self.message_handler is None:
            self.message_handler = self._new_handler()
        if self.message_handler is not None:
            await self.message_handler.open_async()
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
        return await session.mgmt_request_async(
            *(message, operation, op_type, node or b"$management"),
            **{"callback": callback, "encoding": self._encoding, "debug": self._debug_trace, **kwargs},
        )

    # --- the end ----------------------------------------------------------------------------------------------

    async def close_async(self) -> None:
        """Detach the link, and close the connection unless it was given to `open_async`; safe to call twice.

        Messages that were not sent stay in `pending_messages`.
        """
        async with self._opening:
            if self._session is None:
                return
            self._shutdown = True
            handler, self.message_handler = self.message_handler, None
            session, self._session = self._session, None
            connection, self._connection = self._connection, None
            task, self._keep_alive_task = self._keep_alive_task, None
            if task is not None:
                task.cancel()
            try:
                if handler is not None:
                    await handler.destroy_async()
            finally:
                try:
                    if session is not None:
                        await session.destroy_async()
                finally:
                    if connection is not None and not self._ext_connection:
                        await connection.destroy_async()

    async def redirect_async(self, redirect: errors.LinkRedirect, auth: AMQPAuth | None) -> None:
        """Go on at the address that a redirect names, as `auth`; messages that are queued here are dropped.

        Raises ValueError where the connection is shared.
        """
        self._check_not_shared()
        await self.close_async()
        self._point_at(redirect, auth)
        await self.open_async()

    def _check_not_shared(self) -> None:
        if self._ext_connection:
            raise ValueError("Clients with a shared connection cannot be automatically redirected.")

    def _point_at(self, redirect: errors.LinkRedirect, auth: AMQPAuth | None) -> None:
        """Use this address from now on, with nothing left of what was queued."""
        self._remote_address = self._address_type(redirect.address, self._encoding)
        self._hostname = self._remote_address.hostname
        self._auth = auth or self._default_auth()

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


def _authority(node: address.Address) -> str:
    """Scheme, host and port of an address: where to connect."""
    parts = node.parsed_address
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if node.hostname else ""


class SendClientAsync(AMQPClientAsync):
    """Sends messages to one node.

    ::

        async with SendClientAsync("amqps://user:password@host/queue") as client:
            client.queue_message(Message("hello"))
            results = await client.send_all_messages_async()

    Args:
        target: the node to send to: a URL, a `Target`, or a name where `auth` has the host.
        auth, client_name, debug, error_policy, keep_alive_interval, loop: as in `AMQPClientAsync`.
        msg_timeout: seconds that a message may take from being queued to its outcome; 0: for ever. Seconds, unlike
            in uamqp 1.6.11, where they were milliseconds; the attribute ``_msg_timeout`` still is in milliseconds.
        send_settle_mode: whether to wait for outcomes (`Unsettled`, the default) or not.
        auto_complete: accepted; there is nothing to complete.
        encoding: of str.
        **kwargs: as in `AMQPClientAsync`, and ``msg_timeout_ms`` (milliseconds, instead of `msg_timeout`),
            ``link_properties``, ``max_message_size`` and ``link_credit``.
    """

    _address_type = address.Target
    sender_type: type[MessageSenderAsync] = MessageSenderAsync

    @also_in_order(
        *("target", "auth", "client_name", "loop", "debug", "msg_timeout", "error_policy", "keep_alive_interval"),
        at=3,
        when=_is_loop,
    )
    def __init__(
        self,
        target: address.Address | str | bytes,
        auth: AMQPAuth | None = None,
        client_name: str | None = None,
        debug: bool = False,
        msg_timeout: float = 0,
        error_policy: errors.ErrorPolicy | None = None,
        keep_alive_interval: float | None = None,
        send_settle_mode: SenderSettleMode | None = None,
        auto_complete: bool = True,
        encoding: str = "UTF-8",
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        milliseconds = kwargs.pop("msg_timeout_ms", None)
        self._msg_timeout: float = (msg_timeout or 0) * 1000 if milliseconds is None else milliseconds
        self._link_properties: Mapping[Any, Any] | None = kwargs.pop("link_properties", None)
        self._max_message_size: int | None = kwargs.pop("max_message_size", None)
        self._link_credit: int | None = kwargs.pop("link_credit", None)
        #: Messages that have no final outcome yet, in the order in which they were queued.
        self._pending_messages: dict[Message, None] = {}
        #: Those of them that were not sent yet, or are to be sent again.
        self._waiting_messages: deque[Message] = deque()
        #: Those of them that were sent.
        self._in_flight: dict[Message, OutgoingDelivery] = {}
        #: On the driver's clock: when sending goes on after a failure.
        self._resume_at = 0.0
        super().__init__(
            target,
            auth,
            client_name,
            debug=debug,
            error_policy=error_policy,
            keep_alive_interval=keep_alive_interval,
            loop=loop,
            send_settle_mode=send_settle_mode,
            encoding=encoding,
            **kwargs,
        )

    # --- the queue --------------------------------------------------------------------------------------------

    @property
    def pending_messages(self) -> list[Message]:
        """The messages that have no final outcome yet, in the order in which they were queued."""
        return list(self._pending_messages)

    def messages_pending(self) -> bool:
        """Whether there are messages without a final outcome."""
        return bool(self._pending_messages)

    def queue_message(self, *messages: Message) -> None:
        """Queue messages for sending; nothing is sent yet, and the client need not be open.

        Raises:
            TypeError: one of them was received, or is no message.
            ValueError: one of them is queued already.
            MessageResponse: one of them was sent before, or failed.
            MessageContentTooLarge: a batch does not fit into one message.
        """
        message = messages[0] if len(messages) == 1 else None
        if (
            type(message) is Message
            and message._response is None
            and message.state is _TO_BE_SENT
            and message not in self._pending_messages
        ):
            # One message that is sent as it is, the commonest case: `_queue` in line.
            message.idle_time = monotonic() * 1000
            self._pending_messages[message] = None
            self._waiting_messages.append(message)
        else:
            self._queue(messages)

    def _queue(self, messages: Iterable[Any]) -> list[Message]:
        """Queue messages, or none of them where one cannot be; the messages that they are sent as."""
        gathered: list[Message] = []
        for message in messages:
            if not isinstance(message, Message):
                raise TypeError(f"a Message or BatchMessage is needed, not {type(message).__name__}")
            gathered += message.gather()
        pending = self._pending_messages
        if not pending.keys().isdisjoint(gathered) or (len(gathered) > 1 and len(set(gathered)) < len(gathered)):
            raise ValueError("a message is queued already; queue a copy (copy.deepcopy) to send it twice")
        now = self._counter.get_current_ms()
        for message in gathered:
            message.idle_time = now
            message.state = _TO_BE_SENT
            pending[message] = None
        self._waiting_messages += gathered
        return gathered

    # --- sending ----------------------------------------------------------------------------------------------

    async def send_all_messages_async(self, close_on_done: bool = True) -> list[MessageState]:
        """Send all that is queued, and wait for the outcomes.

        Args:
            close_on_done: close the client in the end, whatever that is.

        Returns:
            A state for each message in the order in which they were queued: `SendComplete` or `SendFailed`. That
            a message failed is no error here; its attribute ``on_send_complete`` is told why.

        Raises:
            LinkDetach, AMQPConnectionError, AuthenticationException: the link cannot be attached, or is gone. What
                was not sent stays queued.
        """
        return await self._send(list(self._pending_messages), close_on_done)

    async def send_message_batch_async(
        self, messages: Iterable[Message | str | bytes], close_on_done: bool = True
    ) -> list[MessageState]:
        """Send messages, and wait for the outcomes.

        Args:
            messages: messages, batches of messages, or bodies alone (str or bytes).
            close_on_done: close the client in the end, whatever that is.

        Returns:
            A state for each message that was sent, in order, as `send_all_messages_async`.

        Raises: as `queue_message` and `send_all_messages_async`.
        """
        made = [m if not isinstance(m, str | bytes) else Message(m, encoding=self._encoding) for m in messages]
        return await self._send(self._queue(made), close_on_done)

    async def send_message_async(self, messages: Message, close_on_done: bool = False) -> None:
        """Send a message, or a batch of messages, and wait for the outcome.

        Raises:
            ClientMessageError: it did not get through; it is a `MessageSendFailed` too.
            LinkDetach, AMQPConnectionError, …: as `send_all_messages_async`.
        """
        gathered = self._queue([messages])
        await self._send(gathered, close_on_done)
        failed: dict[Message, Any] = {m: m._response for m in gathered if m.state is MessageState.SendFailed}
        if failed:
            info = {"total_messages": len(gathered), "number_failed": len(failed), "failed_messages": failed}
            last = failed[next(reversed(failed))]
            raise errors.ClientMessageError(last, info=info) from last

    async def wait_async(self) -> None:
        """Send all that is queued, also what is queued meanwhile, and wait for the outcomes."""
        await self._open_for_use()
        while self._pending_messages:
            await self._advance(next(iter(self._pending_messages)))

    async def _send(self, messages: list[Message], close_on_done: bool) -> list[MessageState]:
        try:
            await self._open_for_use()
            for message in messages:
                # Each time, all that has its outcome by then is dealt with: nearly always it is done already.
                while message.state not in constants.DONE_STATES:
                    await self._advance(message)
        finally:
            if close_on_done:
                await self.close_async()
        return [message.state for message in messages]

    async def _advance(self, message: Message) -> None:
        """Send what waits, and wait until there is news of this message, or of one before it."""
        sender = await self._sender()
        await self._back_off()
        self._send_waiting(sender)
        awaited: Message | None = message
        if message not in self._in_flight:
            # It failed at once, or as many as possible are under way before it.
            awaited = next(iter(self._in_flight), None)
        if awaited is not None and message.state not in constants.DONE_STATES:
            await self._wait_for(sender, awaited, self._seconds_left(awaited))

    async def _wait_for(self, sender: MessageSenderAsync, message: Message, seconds: float | None) -> None:
        delivery = self._in_flight[message]
        failure = await sender._outcome(delivery, seconds)
        # Another task may have waited for the same message and been faster.
        if self._in_flight.get(message) is delivery:
            self._finish(message, failure)
        self._collect(in_order=True)

    def _seconds_left(self, message: Message) -> float | None:
        if not self._msg_timeout:
            return None
        return max(0.0, (message.idle_time + self._msg_timeout - self._counter.get_current_ms()) / 1000)

    async def _sender(self) -> MessageSenderAsync:
        """The attached link. Raises its error where it has ended; what was under way is then queued again."""
        try:
            await self.client_ready_async()
        except BaseException:
            self._collect()
            raise
        handler: MessageSenderAsync = self.message_handler
        return handler

    async def _back_off(self) -> None:
        assert self._connection is not None
        driver = self._connection.modern._driver
        wait = self._resume_at - driver.now()
        if wait > 0 and not self._in_flight:
            await driver.sleep(wait)

    def _send_waiting(self, sender: MessageSenderAsync) -> None:
        """Send what waits, as far as there is room."""
        endpoint = sender._attached()._endpoint
        presettled = sender.send_settle_mode is not SenderSettleMode.Unsettled
        waiting, in_flight = self._waiting_messages, self._in_flight
        while waiting and len(in_flight) < _WINDOW:
            if not self._msg_timeout:
                # All that are plain and can go out at once, which is nearly always the case.
                plain = map(Message._plain_payload, islice(waiting, _WINDOW - len(in_flight)))
                for delivery in endpoint.send_run(plain, presettled):
                    message = waiting.popleft()
                    message.state = _SENT
                    in_flight[message] = delivery
                if not waiting or len(in_flight) >= _WINDOW:
                    break
            message = waiting.popleft()
            if self._msg_timeout and self._seconds_left(message) == 0:
                self._finish(message, timed_out())
                continue
            try:
                payload, message_format = message._to_send()
                delivery = endpoint.send(payload, presettled, message_format)
            except exceptions.MessageTooLarge as error:
                self._finish(message, errors.message_error(error, self._error_policy))
            except exceptions.AMQPError as error:
                if isinstance(error, ValueError):
                    # AMQP cannot carry it.
                    self._finish(message, error)
                    continue
                waiting.appendleft(message)
                raise self._closed() if self._shutdown else errors.translate(error, self._error_policy) from error
            except (TypeError, ValueError, AttributeError) as error:
                self._finish(message, error)
            else:
                message.state = _SENT
                in_flight[message] = delivery

    def _collect(self, *, in_order: bool = False) -> None:
        """Note the outcomes that are there; `in_order`: only those before the oldest message that has none."""
        in_flight, pending = self._in_flight, self._pending_messages
        done: list[tuple[Message, OutgoingDelivery]] = []
        for item in in_flight.items():
            if item[1].settled:
                done.append(item)
            elif in_order:
                break
        for message, delivery in done:
            if delivery.state is not ACCEPTED:
                failure = delivery.failure()
                self._finish(message, None if failure is None else errors.message_error(failure, self._error_policy))
            elif message.on_send_complete is not None:
                self._finish(message, None)
            else:
                # `_finish` in line, for what becomes of nearly all messages.
                del in_flight[message], pending[message]
                message.state = _DONE
                message._response = ALREADY_SETTLED

    def _finish(self, message: Message, failure: Exception | None) -> None:
        """An attempt to send a message ended: that was it, or it is to be sent again."""
        self._in_flight.pop(message, None)
        action = None if failure is None else getattr(failure, "action", None)
        if action is not None and action.retry and message.retries < self._error_policy.max_retries:
            if action.increment_retries:
                message.retries += 1
            _log.log(self._level, "sending a message again: %s", failure)
            message.state = _TO_BE_SENT
            self._waiting_messages.append(message)
            if action.backoff and self._connection is not None and self._connection._connection is not None:
                now = self._connection.modern._driver.now()
                self._resume_at = max(self._resume_at, now + action.backoff)
            return
        self._pending_messages.pop(message, None)
        if failure is not None:
            _log.log(self._level, "a message failed: %s", failure)
        try:
            finish(message, failure)
        except Exception:
            _log.exception("on_send_complete failed")

    def _new_handler(self) -> MessageSenderAsync:
        return self.sender_type(
            self._session,  # type: ignore[arg-type]
            self._name,
            self._remote_address,
            send_settle_mode=self._send_settle_mode,
            receive_settle_mode=self._receive_settle_mode,
            max_message_size=self._max_message_size,
            link_credit=self._link_credit,
            properties=self._link_properties,
            error_policy=self._error_policy,
            debug=self._debug_trace,
            encoding=self._encoding,
            desired_capabilities=self._desired_capabilities,
            **self._internal_kwargs,
        )

    async def _client_run_async(self) -> bool:
        sender = await self._sender()
        await self._back_off()
        self._send_waiting(sender)
        first = next(iter(self._in_flight), None)
        if first is None:
            await sender.work_async()
        elif (left := self._seconds_left(first)) is not None and left <= _ROUND:
            await self._wait_for(sender, first, left)
        else:
            await sender._progress(self._in_flight[first], _ROUND)
        self._collect()
        return not self._shutdown

    def _point_at(self, redirect: errors.LinkRedirect, auth: AMQPAuth | None) -> None:
        super()._point_at(redirect, auth)
        self._pending_messages.clear()
        self._waiting_messages.clear()
        self._in_flight.clear()


def _is_callback(value: Any) -> bool:
    return value is None or callable(value)


class ReceiveClientAsync(AMQPClientAsync):
    """Receives messages from one node.

    ::

        async with ReceiveClientAsync("amqps://user:password@host/queue") as client:
            async for message in client.receive_messages_iter_async():
                print(*message.get_data())
                message.accept()

    Args:
        source: the node to receive from: a URL, a `Source`, or a name where `auth` has the host.
        auth, client_name, debug, error_policy, keep_alive_interval, loop: as in `AMQPClientAsync`.
        prefetch: messages that the peer may send ahead; 0 stands for 300.
        auto_complete: accept messages by itself; an iteration does so when the next message is asked for.
        receive_settle_mode: `PeekLock` (the default): messages wait to be settled; `ReceiveAndDelete`: they are gone
            with their delivery.
        encoding: of str.
        **kwargs: as in `AMQPClientAsync`, and ``timeout`` (milliseconds without a message after which receiving
            ends; 0: never), ``shutdown_after_timeout`` (close the client then; True), ``link_properties`` and
            ``max_message_size``.
    """

    _address_type = address.Source
    receiver_type: type[MessageReceiverAsync] = MessageReceiverAsync

    @also_in_order(
        *("source", "auth", "client_name", "loop", "debug", "timeout", "auto_complete", "error_policy"),
        "keep_alive_interval",
        at=3,
        when=_is_loop,
    )
    def __init__(
        self,
        source: address.Address | str | bytes,
        auth: AMQPAuth | None = None,
        client_name: str | None = None,
        debug: bool = False,
        prefetch: int | None = PREFETCH,
        auto_complete: bool = True,
        error_policy: errors.ErrorPolicy | None = None,
        keep_alive_interval: float | None = None,
        receive_settle_mode: ReceiverSettleMode | None = None,
        encoding: str = "UTF-8",
        loop: asyncio.AbstractEventLoop | None = None,
        **kwargs: Any,
    ) -> None:
        self._timeout: float = kwargs.pop("timeout", None) or 0
        self._shutdown_after_timeout: bool = kwargs.pop("shutdown_after_timeout", True)
        self._link_properties: Mapping[Any, Any] | None = kwargs.pop("link_properties", None)
        self._max_message_size: int | None = kwargs.pop("max_message_size", None)
        self._prefetch = prefetch or PREFETCH
        self.auto_complete = auto_complete
        self._streaming_receive = False
        self._was_message_received = False
        self._message_received_callback: Callable[[Message], Any] | None = None
        self._received_messages = ReceivedMessages()
        super().__init__(
            source,
            auth,
            client_name,
            debug=debug,
            error_policy=error_policy,
            keep_alive_interval=keep_alive_interval,
            loop=loop,
            receive_settle_mode=receive_settle_mode,
            encoding=encoding,
            **kwargs,
        )

    # --- receiving --------------------------------------------------------------------------------------------

    async def receive_messages_async(self, on_message_received: Callable[[Message], Any]) -> None:
        """Hand each message to a function or coroutine function, until none comes for `timeout` or the client closes.

        Messages are accepted after it returned, with `auto_complete`; where it raises, that is logged and the
        message goes back to the node as a failed delivery.
        """
        await self._open_for_use()
        self._streaming_receive = True
        self._message_received_callback = on_message_received
        try:
            while await self._receive(self._patience(), None):
                pass
        finally:
            self._streaming_receive = False
            if self._shutdown_after_timeout:
                await self.close_async()

    @also_in_order("max_batch_size", "on_message_received", "timeout", at=1, when=_is_callback)
    async def receive_message_batch_async(
        self,
        max_batch_size: int | None = None,
        timeout: float = 0,
        *,
        on_message_received: Callable[[Message], Any] | None = None,
    ) -> list[Message]:
        """Receive some messages: those that are there, and where there are none, wait for the first.

        With `auto_complete` they are accepted already, and settling them again changes nothing.

        Args:
            max_batch_size: how many at most; not more than `prefetch`, which is the default.
            timeout: milliseconds to wait; 0 waits for ever.
            on_message_received: is called with each message.

        Returns:
            The messages; an empty list where none came in time.

        Raises:
            ValueError: `max_batch_size` is more than `prefetch`.
            LinkDetach, AMQPConnectionError, AuthenticationException: the link cannot be attached, or is gone.
        """
        most = max_batch_size or self._prefetch
        if most > self._prefetch:
            raise ValueError(f"Maximum batch size {most} cannot be greater than the link prefetch {self._prefetch}.")
        self._message_received_callback = on_message_received
        await self._open_for_use()
        times = [seconds for seconds in (timeout / 1000 if timeout else None, self._patience()) if seconds is not None]
        patience = min(times, default=None)
        batch: list[Message] = []
        try:
            await self._fill(batch, most, patience)
        except Exception as error:
            if not batch:
                raise
            # They are the caller's already, who is told the next time.
            _log.log(self._level, "receiving ended with %d messages: %s", len(batch), error)
        except BaseException:
            # Nobody gets them now; the next call does, before what came behind them.
            received = self._received_messages
            self._take_received(batch, len(batch) + received.qsize())
            for message in batch:
                received.put(message)
            raise
        return batch

    async def _fill(self, batch: list[Message], most: int, patience: float | None) -> None:
        self._take_received(batch, most)
        # Once there is something, what has arrived by the next turn is taken too.
        while len(batch) < most:
            left = most - len(batch)
            receiver = await self._ready(0.0 if batch else patience, left)
            if receiver is None:
                break
            if self._is_plain():
                messages = receiver._take(left)
                self._was_message_received = True
                batch += messages
                if self.auto_complete:
                    for message in messages:
                        message.accept()
            else:
                await receiver._hand_out(None, left)
                self._take_received(batch, most)

    def _take_received(self, batch: list[Message], most: int) -> None:
        received = self._received_messages
        while len(batch) < most and not received.empty():
            batch.append(received.get())

    def receive_messages_iter_async(
        self, on_message_received: Callable[[Message], Any] | None = None
    ) -> AsyncMessageIter:
        """An iterator over the messages, which ends when none comes for `timeout`, or the client closes.

        A message that was not settled when the next is asked for is accepted then, with `auto_complete`. Where the
        caller leaves the loop, the last one is left as it is.

        Args:
            on_message_received: is called with each message before it is given out.
        """
        self._message_received_callback = on_message_received
        return AsyncMessageIter(self, auto_complete=self.auto_complete)

    def _patience(self) -> float | None:
        """Seconds to wait for a message; None: for ever."""
        return self._timeout / 1000 if self._timeout else None

    async def _receive(self, seconds: float | None, most: int | None) -> bool:
        """Wait for messages and deal with those that came, at most `most`; False where none came, or all is over."""
        receiver = await self._ready(seconds, most)
        return receiver is not None and bool(await receiver._hand_out(None, most))

    async def _ready(self, seconds: float | None, most: int | None) -> MessageReceiverAsync | None:
        """Wait for messages, of which `most` would be taken; the link that has some, None where all is over."""
        if self._shutdown:
            return None
        try:
            receiver: MessageReceiverAsync | None = self.message_handler
            if receiver is None or not receiver._has_some():
                await self.client_ready_async()
                receiver = self.message_handler
                if not await receiver._has_some_within(seconds, most):
                    return None
            return receiver
        except exceptions.AMQPError:
            # Closing the client ends the wait of other tasks; that is no error for them.
            if self._shutdown:
                return None
            raise

    def _is_plain(self) -> bool:
        """Whether nobody wants a say in what becomes of a message, so that `_message_received` can be passed by."""
        if self._message_received_callback is not None:
            return False
        # Others put a function of their own in its place, on the client or in a subclass.
        return getattr(self._message_received, "__func__", None) is ReceiveClientAsync._message_received

    def _message_received(self, message: Message) -> Coroutine[Any, Any, None] | None:
        """Deal with one message: hand it over, accept it, keep it for who waits. What it returns must be awaited."""
        self._was_message_received = True
        if self._message_received_callback is not None:
            return self._hand_to_callback(message, self._message_received_callback)
        self._keep(message)
        return None

    async def _hand_to_callback(self, message: Message, callback: Callable[[Message], Any]) -> None:
        assert self._connection is not None
        result = await self._connection.modern._driver.outside(callback, message)
        if hasattr(result, "__await__"):
            await result
        self._keep(message)

    def _keep(self, message: Message) -> None:
        if self.auto_complete:
            message.accept()
        if not self._streaming_receive:
            self._received_messages.put(message)

    def _new_handler(self) -> MessageReceiverAsync:
        return self.receiver_type(
            self._session,  # type: ignore[arg-type]
            self._remote_address,
            self._name,
            on_message_received=self._message_received,
            receive_settle_mode=self._receive_settle_mode,
            send_settle_mode=self._send_settle_mode,
            max_message_size=self._max_message_size,
            prefetch=self._prefetch,
            properties=self._link_properties,
            error_policy=self._error_policy,
            debug=self._debug_trace,
            encoding=self._encoding,
            desired_capabilities=self._desired_capabilities,
            **self._internal_kwargs,
        )

    async def _client_run_async(self) -> bool:
        await self._receive(_ROUND, None)
        return not self._shutdown

    def _point_at(self, redirect: errors.LinkRedirect, auth: AMQPAuth | None) -> None:
        super()._point_at(redirect, auth)
        self._received_messages = ReceivedMessages()


class AsyncMessageIter(AsyncIterator[Message]):
    """Gives out the messages of a client one by one.

    Args:
        client: a `ReceiveClientAsync`; `rcv_client` is the same. It accepts nothing by itself from now on.
        auto_complete: accept a message that was not settled when the next is asked for.

    Attributes:
        receiving: whether the iteration goes on.
        current_message: what was given out last, or None.
    """

    def __init__(
        self,
        client: ReceiveClientAsync | None = None,
        auto_complete: bool = True,
        *,
        rcv_client: ReceiveClientAsync | None = None,
    ) -> None:
        chosen = client if client is not None else rcv_client
        if chosen is None:
            raise TypeError("AsyncMessageIter() needs a client")
        self._client = chosen
        self._client.auto_complete = False
        self.receiving = True
        self.auto_complete = auto_complete
        self.current_message: Message | None = None

    async def __anext__(self) -> Message:
        client = self._client
        message, self.current_message = self.current_message, None
        if message is not None and self.auto_complete:
            message.accept()
        received = client._received_messages
        while self.receiving and received.empty():
            receiver: MessageReceiverAsync | None = client.message_handler
            if receiver is None or not receiver._has_some() or client._shutdown:
                receiver = await client._ready(client._patience(), 1)
            if receiver is None:
                self.receiving = False
            elif client._is_plain():
                client._was_message_received = True
                self.current_message = message = receiver._take_one()
                return message
            else:
                await receiver._hand_out(None, 1)
        if received.empty():
            if client._shutdown_after_timeout:
                await client.close_async()
            else:
                self.receiving = True
            raise StopAsyncIteration
        self.current_message = received.get()
        return self.current_message
