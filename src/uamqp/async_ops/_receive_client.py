"""`ReceiveClientAsync`: messages in batches, by a function, or one by one by `AsyncMessageIter`."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from queue import Empty
from typing import Any

from .. import address, errors, exceptions
from .._legacy import limit
from .._signatures import also_in_order
from ..aio.arguments import whole
from ..aio.options import PREFETCH
from ..aio.receiver import nowhere
from ..authentication import AMQPAuth
from ..constants import ReceiverSettleMode
from ..message import Message
from ._client import ROUND, AMQPClientAsync, is_loop
from .connection_async import ConnectionAsync
from .receiver_async import MessageReceiverAsync, interruptible


class ReceivedMessages:
    """Messages that were received and not given out yet. Has what others use of a `queue.Queue`, without its locks.

    Attributes:
        queue: the messages, oldest first.
    """

    def __init__(self) -> None:
        self.queue: deque[Message] = deque()
        self.put = self.queue.append

    def get(self, block: bool = True, timeout: float | None = None) -> Message:
        """The oldest one. Raises `queue.Empty` where there is none: whoever waited here would wait for ever."""
        if not self.queue:
            raise Empty
        return self.queue.popleft()

    get_nowait = get

    def empty(self) -> bool:
        """Whether there is none."""
        return not self.queue

    def qsize(self) -> int:
        """How many there are."""
        return len(self.queue)

    def task_done(self) -> None:
        """Nobody waits for this."""


def nothing() -> None:
    """What a weak reference to nothing gives."""


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
        when=is_loop,
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
        self._timeout = limit("timeout", kwargs.pop("timeout", None))
        self._shutdown_after_timeout: bool = kwargs.pop("shutdown_after_timeout", True)
        self._link_properties: Mapping[Any, Any] | None = kwargs.pop("link_properties", None)
        self._max_message_size: int | None = kwargs.pop("max_message_size", None)
        self._prefetch = whole("prefetch", prefetch or PREFETCH, "a number of messages", 0)
        self._auto_complete = auto_complete
        #: What accepts the messages in its own time, as long as somebody has it.
        self._iterator: Callable[[], AsyncMessageIter | None] = nothing
        self._streaming_receive = False
        self._was_message_received = False
        #: When `do_work_async` saw a message last, or began to look, in milliseconds; None before.
        self._last_activity_timestamp: float | None = None
        self._timeout_reached = False
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

        Raises RuntimeError where it is running on this client already, TypeError where it is given no function.
        """
        if not callable(on_message_received):
            raise TypeError(f"a function for the messages is needed, not {type(on_message_received).__name__}")
        self._receive_for(on_message_received)
        self._streaming_receive = True
        try:
            await self._open_for_use()
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
            ValueError: `max_batch_size` is more than `prefetch`, or negative.
            RuntimeError: `receive_messages_async` is running on this client.
            LinkDetach, AMQPConnectionError, AuthenticationException: the link cannot be attached, or is gone.
        """
        most = max_batch_size or self._prefetch
        if most > self._prefetch:
            raise ValueError(f"Maximum batch size {most} cannot be greater than the link prefetch {self._prefetch}.")
        if most < 1:
            raise ValueError(f"Maximum batch size must be 1 or more, not {most}.")
        patience = self._patience()
        if timeout:
            seconds = limit("timeout", timeout) / 1000
            patience = seconds if patience is None else min(seconds, patience)
        self._receive_for(on_message_received)
        await self._open_for_use()
        batch: list[Message] = []
        try:
            await self._fill(batch, most, patience)
        except Exception as error:
            if not batch:
                raise
            # They are the caller's already, who is told the next time.
            self._log.log(self._level, "receiving ended with %d messages: %s", len(batch), error)
        except BaseException:
            self._keep_again(batch)
            raise
        return batch

    async def _fill(self, batch: list[Message], most: int, patience: float | None) -> None:
        self._take_received(batch, most)
        if batch and self.auto_complete:
            # An iterator may have left them as they were.
            batch[:] = filter(self._accepted, batch)
        # Once there is something, what has arrived by the next turn is taken too.
        while len(batch) < most:
            left = most - len(batch)
            receiver = await self._ready(0.0 if batch else patience, left, self._has_kept)
            if receiver is None:
                break
            if self._has_kept():
                # Another's call has dealt with them.
                pass
            elif self._is_plain():
                messages = receiver._take(left)
                self._was_message_received = True
                batch += messages
                if self.auto_complete:
                    for message in messages:
                        message.accept()
            else:
                await receiver._hand_out(None, left)
            self._take_received(batch, most)

    def _has_kept(self) -> bool:
        """Whether there are messages that were dealt with, and wait for whoever asks for some."""
        return not self._received_messages.empty()

    def _keep_again(self, batch: list[Message]) -> None:
        """Nobody gets these messages now; the next call does, before what came behind them."""
        received = self._received_messages
        self._take_received(batch, len(batch) + received.qsize())
        for message in batch:
            # What is not settled when the client is closed comes again.
            if message.settled or self._session is not None:
                received.put(message)
        if self.message_handler is not None:
            self.message_handler._tell_waiting()

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

        Raises RuntimeError where `receive_messages_async` is running on this client.
        """
        self._receive_for(on_message_received)
        return AsyncMessageIter(self, auto_complete=self.auto_complete)

    @property
    def auto_complete(self) -> bool:
        """Whether the client accepts messages by itself; an iterator does that in its own time, and in its place."""
        return self._auto_complete and self._iterator() is None

    @auto_complete.setter
    def auto_complete(self, value: bool) -> None:
        self._auto_complete, self._iterator = value, nothing

    def _receive_for(self, on_message_received: Callable[[Message], Any] | None) -> None:
        """From now on messages go to this function, where there is one, and then to who calls."""
        if self._streaming_receive:
            raise RuntimeError("receive_messages is running on this client, and gets all messages; use another client")
        self._iterator = nothing
        self._timeout_reached = False
        self._last_activity_timestamp = None
        self._message_received_callback = on_message_received

    def _patience(self) -> float | None:
        """Seconds to wait for a message; None: for ever."""
        return self._timeout / 1000 if self._timeout > 0 else None

    async def _receive(self, seconds: float | None, most: int | None) -> bool:
        """Wait for messages and deal with those that came, at most `most`; False where none came, or all is over."""
        receiver = await self._ready(seconds, most)
        return receiver is not None and bool(await receiver._hand_out(None, most))

    async def _ready(
        self, seconds: float | None, most: int | None, elsewhere: Callable[[], bool] = nowhere
    ) -> MessageReceiverAsync | None:
        """Wait for messages, on the link or `elsewhere`, of which `most` would be taken.

        Returns:
            The link; None where none came in time, or all is over.
        """
        if self._shutdown:
            return None
        try:
            receiver: MessageReceiverAsync | None = self.message_handler
            if receiver is None or not receiver._has_some():
                await self.client_ready_async()
                receiver = self.message_handler
                if not await receiver._has_some_within(seconds, most, elsewhere):
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
        connection = self._connection
        if connection is None:
            # The client was closed, and its link with it: the message comes again.
            return
        await self._call(interruptible, callback, message)
        if self._connection is connection or message.settled or self.auto_complete:
            self._keep(message)

    def _keep(self, message: Message) -> None:
        if self.auto_complete and not self._accepted(message):
            # Who closed the client in that function knows; who did not is told when waiting for the next.
            return
        if not self._streaming_receive:
            self._received_messages.put(message)

    def _accepted(self, message: Message) -> bool:
        """Accept a message; False where its link is gone, and it comes again."""
        try:
            return message.settled or message.accept()
        except RuntimeError as error:
            self._log.warning("%s", error)
            return False

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
        """Look for messages for a moment, and deal with them; the end where none came for `timeout`."""
        clock, patience = self._counter.get_current_ms, self._patience()
        since = self._last_activity_timestamp or clock()
        seconds = ROUND if patience is None else min(ROUND, max(0.0, patience - (clock() - since) / 1000))
        await self._receive(seconds, None)
        if self._was_message_received:
            # By this call, or another one beside it or before it.
            self._was_message_received = False
            since = clock()
        elif patience is not None and clock() - since >= self._timeout:
            self._timeout_reached = True
            since = 0.0
        self._last_activity_timestamp = since or None
        return not self._shutdown and not self._is_over

    @property
    def _is_over(self) -> bool:
        """Whether no message came for so long that `do_work_async` has nothing more to do."""
        return self._timeout_reached and self._shutdown_after_timeout

    async def do_work_async(self, **kwargs: Any) -> bool:
        """As `AMQPClientAsync.do_work_async`; False also where no message came for `timeout`."""
        return not self._is_over and await super().do_work_async(**kwargs)

    async def open_async(self, connection: ConnectionAsync | None = None) -> None:
        """As `AMQPClientAsync.open_async`."""
        await super().open_async(connection)
        # Where `do_work_async` had nothing more to do, it goes on.
        self._timeout_reached = False

    @property
    def _message_receiver(self) -> MessageReceiverAsync | None:
        """The link; there are libraries that look for it here."""
        receiver: MessageReceiverAsync | None = self.message_handler
        return receiver

    async def close_async(self) -> None:
        """As `AMQPClientAsync.close_async`; what was received, but is neither settled nor given out, comes again."""
        try:
            await super().close_async()
        finally:
            if self._session is None:
                self._keep_again([])

    def _point_at(self, node: address.Address, auth: AMQPAuth | None) -> None:
        super()._point_at(node, auth)
        self._received_messages = ReceivedMessages()


class AsyncMessageIter(AsyncIterator[Message]):
    """Gives out the messages of a client one by one, to one task: what several take is accepted as the next is taken,
    whoever takes that. Several tasks need a client each, or settle messages themselves, with `auto_complete` off.

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
        self._client._iterator = weakref.ref(self)
        self.receiving = True
        self.auto_complete = auto_complete
        self.current_message: Message | None = None

    async def __anext__(self) -> Message:
        client = self._client
        message, self.current_message = self.current_message, None
        received = client._received_messages
        try:
            if message is not None and self.auto_complete:
                self._accept(message)
            while self.receiving and received.empty():
                receiver: MessageReceiverAsync | None = client.message_handler
                if receiver is None or not receiver._has_some() or client._shutdown:
                    receiver = await client._ready(client._patience(), 1, client._has_kept)
                    if client._has_kept():
                        # Another's call has dealt with them.
                        break
                if receiver is None:
                    self.receiving = False
                elif client._is_plain():
                    client._was_message_received = True
                    self.current_message = message = receiver._take_one()
                    return message
                else:
                    await receiver._hand_out(None, 1)
        except Exception:
            self._leave()
            if client._shutdown_after_timeout:
                await client.close_async()
            raise
        if received.empty():
            if client._shutdown_after_timeout:
                await client.close_async()
            else:
                self.receiving = True
            raise StopAsyncIteration
        self.current_message = received.get()
        return self.current_message

    def _leave(self) -> None:
        """The client accepts messages by itself again, where it did."""
        if self._client._iterator() is self:
            self._client._iterator = nothing

    def _accept(self, message: Message) -> None:
        try:
            message.accept()
        except RuntimeError as error:
            if self._client._shutdown:
                # Who closed it in the middle of the loop wants no more messages; this one comes again.
                self._client._log.warning("%s", error)
                return
            handler = self._client.message_handler
            if handler is not None:
                # The application did not ask for this, but for the next message.
                handler.get_state()
            raise
