"""Clients of the blocking API of uamqp 1.6, and functions that need no client.

The clients run the coroutines of `SendClientAsync` and `ReceiveClientAsync`, whose docstrings hold here too.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, Self, TypeVar

from . import address, errors
from ._blocking import Blocking
from .async_ops.client_async import AMQPClientAsync, ReceiveClientAsync, SendClientAsync
from .authentication import AMQPAuth
from .connection import Connection
from .constants import MessageState
from .constants import TransportType as TransportType
from .message import Message
from .receiver import MessageReceiver
from .sender import MessageSender
from .session import Session
from .transport.blocking import BlockingDriver

T = TypeVar("T")
Node = address.Address | str | bytes


class AMQPClient(Blocking, AMQPClientAsync):
    """What all blocking clients have in common; by itself it has no link.

    Args:
        remote_address: the node: a URL, an `Address`, or a name where `auth` has the host.
        auth, client_name, debug, error_policy, keep_alive_interval, **kwargs: as in `AMQPClientAsync`.
    """

    _log = logging.getLogger(__name__)
    connection_type = Connection
    session_type = Session

    def __init__(
        self,
        remote_address: Node,
        auth: AMQPAuth | None = None,
        client_name: str | None = None,
        debug: bool = False,
        error_policy: errors.ErrorPolicy | None = None,
        keep_alive_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        self._guard = threading.Lock()
        #: The connection in use, or the one that the next call will open.
        self._current: Connection | None = None
        super().__init__(
            remote_address,
            auth,
            client_name,
            debug=debug,
            error_policy=error_policy,
            keep_alive_interval=keep_alive_interval,
            **kwargs,
        )

    # --- opening and closing ----------------------------------------------------------------------------------

    def _driver(self) -> BlockingDriver:
        current = self._current
        driver = None if current is None else current._blocking
        if driver is not None:
            return driver
        with self._guard:
            if self._current is None and self._shutdown:
                # The coroutine will say that the client is closed; that needs no connection.
                return BlockingDriver()
            try:
                return self._own_connection()._driver()
            except Exception:
                # The coroutine will run into the same.
                return BlockingDriver()

    def _check_loop(self) -> None:
        if not self._is_at_hand():
            raise _exchanged()

    def _is_at_hand(self) -> bool:
        # Not where it is driven with a connection that the client had before.
        return self._connection is None or self._connection._thread == get_ident()

    def _own_connection(self) -> Connection:
        if self._current is None:
            made = super()._new_connection()
            assert isinstance(made, Connection)
            self._current = made
        return self._current

    def _new_connection(self) -> Connection:
        own = self._own_connection()
        if own._thread != get_ident():
            raise _exchanged()
        return own

    def open(self, connection: Connection | None = None) -> None:
        """Connect and authenticate; safe to call twice. The link is attached when it is first used.

        Arguments and errors are those of `AMQPClientAsync.open_async`.
        """
        with self._guard:
            if self._session is None and connection is not None:
                self._current = connection
            driver = self._own_connection()._driver()
        try:
            self._run(self.open_async(connection), driver)
        except BaseException:
            if connection is not None and self._session is None:
                self._current = None
            raise

    def close(self) -> None:
        """Detach the link, and close the connection unless it was given to `open`; safe to call twice."""
        with self._guard:
            driver = None if self._current is None else self._current._blocking
        # Without one nothing is open, and nobody is about to open anything.
        if driver is not None:
            self._run(self.close_async(), driver)

    def _forget_connection(self) -> None:
        self._current = None

    def redirect(self, redirect: errors.LinkRedirect, auth: AMQPAuth | None) -> None:
        """Go on at the address that a redirect names, as `auth`; messages that are queued here are dropped.

        Raises ValueError where the connection is shared, or the redirect names no address.
        """
        node = self._redirected(redirect)
        self.close()
        self._point_at(node, auth)
        self.open()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *args: object) -> None:
        self.close()

    # --- work -------------------------------------------------------------------------------------------------

    def auth_complete(self) -> bool:
        """Whether the peer has accepted who we are; raises where it has not."""
        return self._run(self.auth_complete_async())

    def client_ready(self) -> bool:
        """Whether messages can be sent or received: attaches the link where that was not done."""
        return self._run(self.client_ready_async())

    def do_work(self, **kwargs: Any) -> bool:
        """One round of work, which opens what is not open yet; False where there is nothing more to do."""
        return self._run(self.do_work_async(**kwargs))

    def mgmt_request(
        self,
        message: Message,
        operation: str | bytes,
        op_type: str | bytes | None = None,
        node: str | bytes | None = None,
        callback: Callable[..., Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """A request to a management node, and its answer; as `AMQPClientAsync.mgmt_request_async`."""
        return self._run(self.mgmt_request_async(message, operation, op_type, node, callback, **kwargs))


class SendClient(AMQPClient, SendClientAsync):
    """Sends messages to one node.

    ::

        with SendClient("amqps://user:password@host/queue") as client:
            client.queue_message(Message("hello"))
            results = client.send_all_messages()

    Args:
        target: the node to send to: a URL, a `Target`, or a name where `auth` has the host.
        msg_timeout: milliseconds that a message may take from being queued to its outcome; 0: for ever.
        auth, client_name, debug, error_policy, keep_alive_interval, **kwargs: as in `SendClientAsync`.
    """

    sender_type = MessageSender

    def __init__(
        self,
        target: Node,
        auth: AMQPAuth | None = None,
        client_name: str | None = None,
        debug: bool = False,
        msg_timeout: float = 0,
        error_policy: errors.ErrorPolicy | None = None,
        keep_alive_interval: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            target,
            auth,
            client_name,
            debug=debug,
            error_policy=error_policy,
            keep_alive_interval=keep_alive_interval,
            msg_timeout_ms=msg_timeout,
            **kwargs,
        )

    def send_message(self, messages: Message, close_on_done: bool = False) -> None:
        """Send a message, or a batch of messages, and wait for the outcome.

        Raises as `SendClientAsync.send_message_async`.
        """
        self._run(self.send_message_async(messages, close_on_done))

    def send_all_messages(self, close_on_done: bool = True) -> list[MessageState]:
        """Send all that is queued, and wait for the outcomes.

        Arguments, result and errors are those of `SendClientAsync.send_all_messages_async`.
        """
        return self._run(self.send_all_messages_async(close_on_done))

    def wait(self) -> bool:
        """Send all that is queued, also what is queued meanwhile; whether the client is still open then."""
        self._run(self.wait_async())
        return not self._shutdown


class ReceiveClient(AMQPClient, ReceiveClientAsync):
    """Receives messages from one node.

    ::

        with ReceiveClient("amqps://user:password@host/queue") as client:
            for message in client.receive_messages_iter():
                print(*message.get_data())
                message.accept()

    Args:
        source: the node to receive from: a URL, a `Source`, or a name where `auth` has the host.
        timeout: milliseconds without a message after which receiving ends; 0: never.
        auth, client_name, debug, auto_complete, error_policy, **kwargs: as in `ReceiveClientAsync`.
    """

    receiver_type = MessageReceiver

    def __init__(
        self,
        source: Node,
        auth: AMQPAuth | None = None,
        client_name: str | None = None,
        debug: bool = False,
        timeout: float = 0,
        auto_complete: bool = True,
        error_policy: errors.ErrorPolicy | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            source,
            auth,
            client_name,
            debug=debug,
            timeout=timeout,
            auto_complete=auto_complete,
            error_policy=error_policy,
            **kwargs,
        )

    def receive_message_batch(
        self,
        max_batch_size: int | None = None,
        on_message_received: Callable[[Message], Any] | None = None,
        timeout: float = 0,
    ) -> list[Message]:
        """Receive some messages: those that are there, and where there are none, wait for the first.

        Arguments, result and errors are those of `ReceiveClientAsync.receive_message_batch_async`.
        """
        return self._run(
            self.receive_message_batch_async(max_batch_size, timeout=timeout, on_message_received=on_message_received)
        )

    def receive_messages(self, on_message_received: Callable[[Message], Any]) -> None:
        """Hand each message to a function, until none comes for `timeout` or the client closes.

        As `ReceiveClientAsync.receive_messages_async`.
        """
        self._run(self.receive_messages_async(on_message_received))

    def receive_messages_iter(self, on_message_received: Callable[[Message], Any] | None = None) -> Iterator[Message]:
        """A generator of the messages, which ends when none comes for `timeout`, or the client closes.

        A message that was not settled when the next is asked for is accepted then, with `auto_complete`; the last one
        when the generator is closed. Then the client is closed, with ``shutdown_after_timeout``.

        Args:
            on_message_received: is called with each message before it is given out.
        """
        messages = self.receive_messages_iter_async(on_message_received)
        try:
            while True:
                try:
                    yield self._run(messages.__anext__())
                except StopAsyncIteration:
                    return
        finally:
            try:
                last = messages.current_message
                if last is not None and messages.auto_complete:
                    messages._accept(last)
            finally:
                messages._leave()
                if self._shutdown_after_timeout:
                    self.close()


def _exchanged() -> errors.AMQPConnectionError:
    return errors.AMQPConnectionError("The client was closed or opened again meanwhile. Call once more.")


def send_message(target: Node, data: Any, auth: AMQPAuth | None = None, debug: bool = False) -> list[MessageState]:
    """Send one message, over a connection of its own.

    Args:
        target: the node to send to.
        data: a `Message`, or the body of one.
        auth, debug: as in `SendClient`.

    Returns:
        The states of the messages that it was sent as: one, but for a batch.
    """
    message = data if isinstance(data, Message) else Message(body=data)
    with SendClient(target, auth=auth, debug=debug) as client:
        client.queue_message(message)
        return client.send_all_messages()


def receive_message(
    source: Node, auth: AMQPAuth | None = None, timeout: float = 0, debug: bool = False
) -> Message | None:
    """Receive one message, over a connection of its own; it is accepted. None where none comes in `timeout` ms."""
    received = receive_messages(source, auth=auth, max_batch_size=1, timeout=timeout, debug=debug)
    return received[0] if received else None


def receive_messages(
    source: Node,
    auth: AMQPAuth | None = None,
    max_batch_size: int | None = None,
    timeout: float = 0,
    debug: bool = False,
    **kwargs: Any,
) -> list[Message]:
    """Receive some messages, over a connection of its own; they are accepted.

    Args:
        source: the node to receive from.
        max_batch_size: how many at most, and how many the peer may send ahead.
        timeout: milliseconds to wait for the first; 0 waits for ever.
        auth, debug, **kwargs: as in `ReceiveClient`.
    """
    if max_batch_size:
        kwargs["prefetch"] = max_batch_size
    with ReceiveClient(source, auth=auth, debug=debug, **kwargs) as client:
        return client.receive_message_batch(max_batch_size=max_batch_size, timeout=timeout)
