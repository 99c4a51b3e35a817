"""`SendClientAsync`: the queue of messages, what is under way of them, and what became of each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from time import monotonic
from typing import Any, Final, TypeVar

from .. import address, constants, errors, exceptions
from .._legacy import limit
from .._signatures import also_in_order
from ..authentication import AMQPAuth
from ..codec.definitions import ACCEPTED
from ..constants import MessageState, SenderSettleMode
from ..engine.delivery import OutgoingDelivery
from ..engine.run import Outgoing, OutgoingRun
from ..message import ALREADY_SETTLED, Message
from ..transport.driver import Driver
from ._client import ROUND, AMQPClientAsync, is_loop
from ._reports import Reports
from .sender_async import MessageSenderAsync, note, timed_out

# Members of an enum, which take their time to be looked up.
_TO_BE_SENT: Final = MessageState.WaitingToBeSent
_SENT: Final = MessageState.WaitingForSendAck
_DONE: Final = MessageState.SendComplete
_FAILED: Final = MessageState.SendFailed
_UNSETTLED: Final = SenderSettleMode.Unsettled

T = TypeVar("T")

#: Messages that are under way at a time; more would only fill memory.
_WINDOW: Final = 4000


class _Together:
    """The messages of a run, and of how many of them the outcome was noted; the run's context."""

    __slots__ = ("messages", "noted")

    def __init__(self, messages: list[Message]) -> None:
        self.messages = messages
        self.noted = 0


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
        when=is_loop,
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
        if milliseconds is None:
            self._msg_timeout = limit("msg_timeout", msg_timeout) * 1000
        else:
            self._msg_timeout = limit("msg_timeout", milliseconds)
        self._link_properties: Mapping[Any, Any] | None = kwargs.pop("link_properties", None)
        self._max_message_size: int | None = kwargs.pop("max_message_size", None)
        self._link_credit: int | None = kwargs.pop("link_credit", None)
        #: Messages without a final outcome, in the order in which they were queued, or queued again, and what is under
        #: way of each. They are sent in this order, so those that are under way come before those that wait.
        self._pending: dict[Message, Outgoing | None] = {}
        #: Those of them that were not sent yet, or are to be sent again.
        self._waiting_messages: deque[Message] = deque()
        #: What was sent together and is under way, oldest first.
        self._runs: deque[OutgoingRun] = deque()
        self._reports = Reports(self, self._log)
        #: On the driver's clock: when sending goes on after a failure; 0: there was none.
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
        """The messages that have no final outcome yet, in the order in which they were queued, or queued again."""
        return list(self._pending)

    @property
    def _pending_messages(self) -> tuple[Message, ...]:
        """The same; there are programs that look here, and drop or exchange them by an assignment."""
        return tuple(self._pending)

    @_pending_messages.setter
    def _pending_messages(self, messages: Iterable[Message]) -> None:
        self._pending.clear()
        self._waiting_messages.clear()
        self._queue(messages)

    @property
    def _message_sender(self) -> MessageSenderAsync | None:
        """The link; there are libraries that look for it here."""
        sender: MessageSenderAsync | None = self.message_handler
        return sender

    def messages_pending(self) -> bool:
        """Whether there are messages without a final outcome."""
        return bool(self._pending)

    def queue_message(self, *messages: Message) -> None:
        """Queue messages for sending; nothing is sent yet, and the client need not be open.

        A message that is queued already keeps its place, and is sent once; to send it twice, queue a copy
        (`copy.deepcopy`). A `BatchMessage` makes new messages each time.

        Raises:
            TypeError: one of them was received, or is no message.
            MessageResponse: one of them was sent before, or failed.
            MessageContentTooLarge: a batch does not fit into one message.
        """
        message = messages[0] if len(messages) == 1 else None
        if (
            type(message) is Message
            and message._response is None
            and message.state is _TO_BE_SENT
            and message not in self._pending
        ):
            # One message that is sent as it is, the commonest case: `_queue` in line.
            message.idle_time = monotonic() * 1000
            self._pending[message] = None
            self._waiting_messages.append(message)
        else:
            self._queue(messages)

    def _queue(self, messages: Iterable[Any]) -> list[Message]:
        """Queue messages, or none of them where one cannot be; the messages that they are sent as."""
        gathered: list[Message] = []
        for message in messages:
            if type(message) is Message and message._response is None and message.state is _TO_BE_SENT:
                # `gather` in line, for nearly all.
                gathered.append(message)
            elif isinstance(message, Message):
                gathered += message.gather()
            else:
                raise TypeError(f"a Message or BatchMessage is needed, not {type(message).__name__}")
        pending = self._pending
        now = self._counter.get_current_ms()
        for message in gathered:
            message.idle_time = now
            if message not in pending:
                message.state = _TO_BE_SENT
                pending[message] = None
                self._waiting_messages.append(message)
        return gathered

    # --- sending ----------------------------------------------------------------------------------------------

    async def send_all_messages_async(self, close_on_done: bool = True) -> list[MessageState]:
        """Send all that is queued, also what is queued meanwhile, and wait for the outcomes.

        Args:
            close_on_done: close the client in the end, whatever that is.

        Returns:
            A state for each message that was queued when the call began, in that order: `SendComplete` or `SendFailed`.
            That a message failed is no error here; its attribute ``on_send_complete`` is told why.

        Raises:
            LinkDetach, AMQPConnectionError, AuthenticationException: the link cannot be attached, or is gone. What
                was not sent stays queued.
        """
        return await self._send(list(self._pending), close_on_done, to_the_end=True)

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
        if isinstance(messages, str | bytes):
            raise TypeError(f"several messages are needed, and {type(messages).__name__} is the body of one")
        made = [m if not isinstance(m, str | bytes) else Message(m, encoding=self._encoding) for m in messages]
        return [message.state for message in await self._queue_and_send(made, close_on_done)]

    async def send_message_async(self, messages: Message, close_on_done: bool = False) -> None:
        """Send a message, or a batch of messages, and wait for the outcome.

        Raises:
            ClientMessageError: it did not get through; it is a `MessageSendFailed` too.
            LinkDetach, AMQPConnectionError, …: as `send_all_messages_async`.
        """
        if not close_on_done and (delivery := self._send_alone(messages)) is not None:
            handler = self.message_handler
            if not delivery.settled:
                # Nobody else knows of it yet.
                delivery.waiter = waiter = self._new_waiter()
                await waiter
            gathered = [messages]
            if delivery.state is ACCEPTED and delivery.settled:
                # Nearly always so.
                self._note(messages, delivery, None)
            else:
                await self._wait_for(handler, messages, delivery, None)
            if self._reports:
                await self._reports.tell(gathered)
            if messages.state is _DONE:
                return
            if messages.state is not _FAILED:
                # It is to be sent again.
                await self._send(gathered, close_on_done)
        else:
            gathered = await self._queue_and_send([messages], close_on_done)
        failed: dict[Message, Any] = {m: m._response for m in gathered if m.state is _FAILED}
        if failed:
            info = {"total_messages": len(gathered), "number_failed": len(failed), "failed_messages": failed}
            last = failed[next(reversed(failed))]
            raise errors.ClientMessageError(last, info=info) from last

    def _send_alone(self, message: Message) -> OutgoingDelivery | None:
        """Send one plain message, where none waits for its turn and all is as it was the last time; None where not.

        A short way: blocking programs that send one by one are 1.4 times as fast with it.
        """
        connection, handler = self._connection, self.message_handler
        if (
            type(message) is not Message
            or message.state is not _TO_BE_SENT
            or message._response is not None
            or self._waiting_messages
            or self._msg_timeout
            or self._resume_at
            or connection is None
            or not connection._is_good
            or handler is None
            or handler._error is not None
            or (sender := handler._modern) is None
            or (payload := message._plain_payload()) is None
        ):
            return None
        self._check_loop()
        send = sender._endpoint.send if self._pending else sender._send_at_once
        try:
            delivery: OutgoingDelivery = send(payload, self._presettled(handler), 0)
        except exceptions.AMQPError:
            # The long way comes to the same, and knows what to make of it.
            return None
        message.idle_time = monotonic() * 1000
        message.state = _SENT
        self._pending[message] = delivery
        return delivery

    async def wait_async(self) -> None:
        """Send all that is queued, also what is queued meanwhile, and wait for the outcomes."""
        await self._open_for_use()
        await self._advance_all()

    async def _advance_all(self) -> None:
        while self._pending:
            await self._advance(next(iter(self._pending)))

    async def _queue_and_send(self, messages: Iterable[Any], close_on_done: bool) -> list[Message]:
        """Queue messages, send them and wait for the outcomes; the messages that they are sent as."""
        try:
            gathered = self._queue(messages)
        except BaseException:
            if close_on_done:
                await self.close_async()
            raise
        await self._send(gathered, close_on_done)
        return gathered

    async def _send(
        self, messages: list[Message], close_on_done: bool, *, to_the_end: bool = False
    ) -> list[MessageState]:
        """Send messages and wait for the outcomes, `to_the_end` of the queue; the states of `messages`."""
        try:
            try:
                await self._open_for_use()
                for message in messages:
                    # Each time, all that has its outcome by then is dealt with: nearly always it is done already.
                    while message.state not in constants.DONE_STATES and message in self._pending:
                        await self._advance(message)
                if to_the_end:
                    await self._advance_all()
            except exceptions.AMQPError:
                await self._reports.tell(messages)
                # Where others have sent them meanwhile, and then closed the client, that is no error.
                if (to_the_end and not self._shutdown) or any(m.state not in constants.DONE_STATES for m in messages):
                    raise
            await self._reports.tell(messages)
        finally:
            if close_on_done:
                await self.close_async()
        return [message.state for message in messages]

    async def _advance(self, message: Message) -> None:
        """Send what waits, and wait until there is news of this message, or of one before it."""
        sender = await self._sender()
        pause = self._send_waiting(sender)
        await self._reports.tell()
        if message.state in constants.DONE_STATES:
            return
        awaited: Message | None = message
        if self._pending.get(message) is None:
            # Sending has a pause, or as many as possible are under way before it.
            awaited = self._first_under_way()
        if awaited is not message and pause:
            left = self._seconds_left(message)
            await self._sit_out(awaited, pause if left is None else min(pause, left))
        elif awaited is not None:
            await self._await_news(sender, awaited, self._seconds_left(awaited))
        await self._reports.tell()

    async def _sit_out(self, first: Message | None, seconds: float) -> None:
        """Wait so long for the end of a pause; less where the `first` message that is under way has its outcome."""
        sent = None if first is None else self._pending[first]
        if sent is None:
            await self._driver_in_use.sleep(seconds)
        else:
            await self._progress(sent, seconds)
            self._collect()

    @staticmethod
    async def _progress(sent: Outgoing, seconds: float | None) -> None:
        """Wait until there is news of what was sent, or time runs out, which changes nothing."""
        link = sent.link.context
        if isinstance(sent, OutgoingRun):
            # Another task may note it first.
            noted = sent.context.noted
            await link._changed.wait_for(lambda: sent.rest is not None or sent.done > noted, seconds)
        else:
            await link._settled(sent, seconds)

    async def _await_news(self, sender: MessageSenderAsync, message: Message, seconds: float | None) -> None:
        """Wait until there is news of a message that is under way, or of those sent with it; its time may run out."""
        sent = self._pending[message]
        if isinstance(sent, OutgoingRun):
            if seconds is None:
                await self._progress(sent, None)
                self._collect(in_order=True)
                return
            # It has a time of its own, so it needs a delivery of its own.
            sent.link.session.break_up()
            self._collect()
            sent = self._pending.get(message)
        if isinstance(sent, OutgoingDelivery):
            await self._wait_for(sender, message, sent, seconds)

    async def _wait_for(
        self, sender: MessageSenderAsync, message: Message, delivery: OutgoingDelivery, seconds: float | None
    ) -> None:
        if seconds is None:
            await self._progress(delivery, None)
        # Nearly all are accepted then, and there is nothing to ask for.
        accepted = delivery.settled and delivery.state is ACCEPTED
        failure = None if accepted else await sender._outcome(delivery, seconds)
        self._note(message, delivery, failure)

    def _note(self, message: Message, delivery: OutgoingDelivery, failure: Exception | None) -> None:
        """Note what became of a message, and of those before the oldest one that has no outcome."""
        pending = self._pending
        # Another task may have waited for the same message and been faster.
        if pending.get(message) is delivery:
            if failure is None and message.on_send_complete is None:
                # `_finish` in line, as in `_collect`.
                message.state = _DONE
                message._response = ALREADY_SETTLED
                del pending[message]
            elif delivery.error is not None and not isinstance(failure, TimeoutError):
                # Its link ended, and with it all that was under way.
                self._collect()
            else:
                self._finish(message, failure)
        if pending:
            self._collect(in_order=True)

    @property
    def _under_way(self) -> int:
        return len(self._pending) - len(self._waiting_messages)

    def _first_under_way(self) -> Message | None:
        first = next(iter(self._pending), None)
        return None if first is None or self._pending.get(first) is None else first

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
            await self._reports.tell()
            raise
        handler: MessageSenderAsync = self.message_handler
        return handler

    @property
    def _driver_in_use(self) -> Driver:
        assert self._connection is not None
        return self._connection.modern._driver

    def _pause(self) -> float:
        """For how many seconds nothing is to be sent, after a failure."""
        if not self._resume_at:
            return 0.0
        pause = self._resume_at - self._driver_in_use.now()
        if pause <= 0:
            self._resume_at = 0.0
        return max(0.0, pause)

    @staticmethod
    def _presettled(sender: MessageSenderAsync) -> bool:
        return sender.send_settle_mode is not _UNSETTLED

    def _send_waiting(self, sender: MessageSenderAsync) -> float:
        """Send what waits, as far as there is room; the seconds to wait before anything may be sent."""
        pause = self._pause()
        if pause:
            self._expire()
            return pause
        endpoint = sender._attached()._endpoint
        presettled = self._presettled(sender)
        waiting, pending = self._waiting_messages, self._pending
        while waiting and self._under_way < _WINDOW:
            if not self._msg_timeout and len(waiting) > 1:
                # All that are plain and can go out at once, which is nearly always the case.
                some = _some(waiting, 0, _WINDOW - self._under_way)
                run = endpoint.send_run(map(Message._plain_payload, some), presettled, endpoint.context._changed)
                if run is not None:
                    self._runs.append(run)
                    run.context = _Together(some[: len(run)])
                    for message in run.context.messages:
                        waiting.popleft()
                        message.state = _SENT
                        pending[message] = run
                if not waiting or self._under_way >= _WINDOW:
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
            except Exception as error:
                # Of any kind: values and containers of the application are among what was called.
                self._finish(message, error)
            else:
                message.state = _SENT
                pending[message] = delivery
        return 0.0

    def _expire(self) -> None:
        """Give up what waits longer than it may."""
        waiting = self._waiting_messages
        for message in _some(waiting, 0, len(waiting)) if self._msg_timeout else ():
            if self._seconds_left(message) == 0:
                waiting.remove(message)
                self._finish(message, timed_out())

    def _collect(self, *, in_order: bool = False) -> None:
        """Note the outcomes that are there; `in_order`: only those before the oldest message that has none."""
        self._collect_runs()
        pending = self._pending
        accepted: list[Message] = []
        others: list[tuple[Message, OutgoingDelivery]] = []
        for message, sent in _items(pending):
            if sent is None:
                break
            if sent.settled and isinstance(sent, OutgoingDelivery):
                if sent.state is ACCEPTED and message.on_send_complete is None:
                    # `_finish` in line, for what becomes of nearly all messages.
                    message.state = _DONE
                    message._response = ALREADY_SETTLED
                    accepted.append(message)
                else:
                    others.append((message, sent))
            elif in_order:
                break
        for message in accepted:
            del pending[message]
        # All of them, before the policy is asked what to do about the next.
        ended = [m for m, d in others if d.error is not None and (self._shutdown or self._tries_again(m, self._why(d)))]
        if ended:
            self._queue_before_others(ended)
        for message, delivery in others:
            # Else the policy, asked about one before, has dropped it.
            if pending.get(message) is delivery:
                self._finish(message, self._why(delivery))

    def _collect_runs(self) -> None:
        """Note the outcomes of what was sent together."""
        pending, runs = self._pending, self._runs
        while runs:
            run = runs[0]
            together: _Together = run.context
            messages, done = together.messages, run.done
            for message in messages[together.noted : done]:
                # Else the program has dropped it.
                if pending.get(message) is run:
                    # `_finish` in line, as in `_collect`.
                    message.state = _DONE
                    message._response = ALREADY_SETTLED
                    del pending[message]
                    if message.on_send_complete is not None:
                        self._reports.add(message, None)
            together.noted = done
            if run.rest is not None:
                for message, delivery in zip(messages[done:], run.rest, strict=True):
                    if pending.get(message) is run:
                        pending[message] = delivery
            elif not run.settled:
                break
            runs.popleft()

    def _why(self, delivery: OutgoingDelivery) -> errors.MessageException | None:
        """Why a message did not get through; None where it did."""
        failure = delivery.failure()
        return None if failure is None else errors.message_error(failure, self._error_policy)

    def _queue_before_others(self, messages: list[Message]) -> None:
        """Queue messages again whose link ended, in their order, before those that were not sent yet."""
        pending, waiting = self._pending, self._waiting_messages
        waiting.extendleft(reversed(messages))
        for message in messages:
            message.state = _TO_BE_SENT
            pending[message] = None
        under_way = {message: sent for message, sent in _items(pending) if sent is not None}
        pending.clear()
        pending.update(under_way)
        pending.update(dict.fromkeys(waiting))

    def _tries_again(self, message: Message, failure: Exception | None) -> bool:
        """Whether a message is to be sent again whose attempt ended so; then the attempt is counted."""
        action = getattr(failure, "action", None)
        if action is None or not action.retry or message.retries >= self._error_policy.max_retries:
            return False
        if action.increment_retries:
            message.retries += 1
        self._log.log(self._level, "sending a message again: %s", failure)
        if action.backoff and self._connection is not None and self._connection._connection is not None:
            now = self._driver_in_use.now()
            self._resume_at = max(self._resume_at, now + action.backoff)
        return True

    def _finish(self, message: Message, failure: Exception | None) -> None:
        """An attempt to send a message ended: that was it, or it is to be sent again."""
        self._pending.pop(message, None)
        if self._tries_again(message, failure):
            message.state = _TO_BE_SENT
            self._pending[message] = None
            self._waiting_messages.append(message)
            return
        if failure is not None:
            self._log.log(self._level, "a message failed: %s", failure)
        note(message, failure)
        self._reports.add(message, failure)

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
        pause = self._send_waiting(sender)
        first = self._first_under_way()
        if first is None and pause:
            await self._sit_out(None, min(pause, ROUND))
        elif first is None:
            await sender.work_async()
        else:
            sent = self._pending[first]
            assert sent is not None
            if (left := self._seconds_left(first)) is not None and left <= ROUND:
                await self._await_news(sender, first, left)
            else:
                await self._progress(sent, ROUND)
        self._collect()
        await self._reports.tell()
        return not self._shutdown

    async def close_async(self) -> None:
        """As `AMQPClientAsync.close_async`; what was under way without an outcome is queued again."""
        try:
            await super().close_async()
        finally:
            if self._session is None:
                # What was under way waits again; that the client was closed does not count as an attempt.
                self._collect()
            await self._reports.tell()

    def _point_at(self, node: address.Address, auth: AMQPAuth | None) -> None:
        super()._point_at(node, auth)
        self._pending.clear()
        self._waiting_messages.clear()


def _items(pending: dict[Message, Outgoing | None]) -> Iterator[tuple[Message, Outgoing | None]]:
    """The items, while other threads may queue more: in pieces, each as long as all before it."""
    done, size = 0, 32
    while some := _some(pending.items(), done, done + size):
        yield from some
        done += size
        size = done


def _some(items: Iterable[T], start: int, stop: int) -> list[T]:
    """Some items of something to which other threads may add more."""
    while True:
        try:
            return list(islice(items, start, stop))
        except RuntimeError:
            # It grew just then.
            pass
