"""Senders of the asynchronous API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from .. import address, constants, errors, exceptions
from .._legacy import incoming, limit, octets
from .._signatures import also_in_order
from ..aio.arguments import expect
from ..aio.sender import Sender
from ..codec.definitions import Modified, Rejected
from ..constants import MessageSenderState, MessageSendResult, MessageState, ReceiverSettleMode, SenderSettleMode
from ..engine.delivery import OutgoingDelivery
from ..message import ALREADY_SETTLED, Message
from ._link import SETTLE_MODES, LinkAsync
from .session_async import SessionAsync
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed

#: The arguments in the order of uamqp 1.6.11, in which the sixth is the receiver's settle mode.
_OLD_ORDER: Final = (
    *("session", "source", "target", "name", "send_settle_mode", "receive_settle_mode", "max_message_size"),
    *("link_credit", "properties", "error_policy", "debug", "encoding", "desired_capabilities", "loop"),
)


class MessageSenderAsync(LinkAsync[Sender]):
    """A link that sends messages to one node.

    Args:
        session: what it is in.
        source: the name of this end.
        target: the node to send to: a `Target`, a URL, or its name.
        name: the name of the link; a new one by default.
        send_settle_mode: whether to wait for outcomes (`Unsettled`, the default) or not.
        max_message_size: accepted; what holds is what the peer takes.
        link_properties: link properties; `properties` is the same.
        desired_capabilities: capabilities asked of the peer: a list of names.
        loop: the event loop, as a check.
        receive_settle_mode, link_credit: accepted; they are for the other end to say.
        error_policy: sets the `action` of errors.
        debug: log what happens at level INFO.
        encoding: of str.
    """

    _log = logging.getLogger(__name__)
    _states = MessageSenderState
    _kind = "sender"

    @also_in_order(*_OLD_ORDER, at=5, when=lambda value: isinstance(value, ReceiverSettleMode))
    def __init__(
        self,
        session: SessionAsync,
        source: address.Address | str | bytes | None,
        target: address.Address | str | bytes,
        name: str | bytes | None = None,
        send_settle_mode: SenderSettleMode | None = None,
        max_message_size: int | None = None,
        link_properties: Mapping[Any, Any] | None = None,
        desired_capabilities: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        receive_settle_mode: ReceiverSettleMode | None = None,
        link_credit: int | None = None,
        properties: Mapping[Any, Any] | None = None,
        error_policy: errors.ErrorPolicy | None = None,
        debug: bool = False,
        encoding: str = "UTF-8",
    ) -> None:
        super().__init__(
            session,
            source,
            target,
            name,
            send_settle_mode,
            receive_settle_mode,
            max_message_size or constants.MAX_MESSAGE_LENGTH_BYTES,
            link_properties if properties is None else properties,
            desired_capabilities,
            error_policy,
            debug,
            encoding,
            loop,
        )

    async def _attach(self) -> Sender:
        return await self._session.modern.sender(
            None,
            target=self._wire_target(ours=False),
            source=self._wire_source(ours=True),
            name=self.name.decode(self._encoding),
            settle_mode=SETTLE_MODES[self.send_settle_mode],
            desired_capabilities=self._desired_capabilities,
            properties=self._properties,
        )

    async def send_async(
        self, message: Message, callback: Callable[..., Any] | None = None, timeout: float = 0
    ) -> MessageState:
        """Send one message.

        Args:
            message: the message; a `BatchMessage` must be one that is sent as one message.
            callback: called when it was sent or failed, with the message, the value of a `MessageSendResult` and, by
                the keyword ``delivery_state``, what the peer says of it; the message is left as it is. Without one, the
                call waits for the outcome and notes it in the message.
            timeout: milliseconds for the outcome; 0 waits for ever.

        Returns:
            `SendComplete` or `SendFailed`; with a callback `WaitingForSendAck`.

        Raises:
            LinkDetach, AMQPConnectionError: the link is gone.
            MessageSendFailed: the message is larger than the peer takes on this link; nothing was sent.
            ValueError: AMQP cannot carry the message; nothing was sent.
        """
        expect("message", message, Message, "a Message")
        seconds = limit("timeout", timeout) / 1000 or None
        sender = await self._usable()
        (single,) = message.gather()
        with errors.translated(self.error_policy):
            delivery = self._start(sender, single)
        if callback is not None:
            # What becomes of the message is for that function to note.
            sender._driver.spawn(self._report(single, delivery, seconds, callback), "report of a sent message")
            return MessageState.WaitingForSendAck
        single.state = MessageState.WaitingForSendAck
        try:
            failure = await self._outcome(delivery, seconds)
        except BaseException:
            if delivery.link.withdraw(delivery):
                # It was not sent, and will not be.
                single.state = MessageState.WaitingToBeSent
            raise
        note(single, failure)
        if single.on_send_complete is not None:
            await self._call(single.on_send_complete, result_of(failure), failure)
        if failure is not None:
            self.get_state()
        return single.state

    async def work_async(self) -> None:
        """Let the link work for a moment; raises the error of one that has ended, each time."""
        sender = await self._usable()
        await sender._driver.turn()
        self.get_state()

    def _start(self, sender: Sender, message: Message) -> OutgoingDelivery:
        """Send a message, or queue it until the peer gives credit, and do not wait for its outcome."""
        payload, message_format = message._to_send()
        try:
            return sender._endpoint.send(
                payload, self.send_settle_mode is not SenderSettleMode.Unsettled, message_format
            )
        except exceptions.MessageTooLarge as error:
            # The link lives on.
            raise errors.message_error(error, self.error_policy) from error

    async def _outcome(self, delivery: OutgoingDelivery, seconds: float | None) -> Exception | None:
        """Wait for the outcome of a message: None where it got through."""
        assert delivery.link.context is not None
        sender: Sender = delivery.link.context
        try:
            await sender.settlement(delivery, timeout=seconds)
        except exceptions.OperationTimeout as error:
            return timed_out(error)
        except exceptions.DeliveryFailed as error:
            return errors.message_error(error, self.error_policy)
        return None

    async def _report(
        self, message: Message, delivery: OutgoingDelivery, seconds: float | None, callback: Callable[..., Any]
    ) -> None:
        try:
            failure = await self._outcome(delivery, seconds)
            report = partial(callback, message, result_of(failure).value, delivery_state=_delivery_state(delivery))
            await self._call_back(report)
        except Exception:
            self._callback_failed()

    async def _call_back(self, report: Callable[[], Any]) -> None:
        await self._call(report)

    def _callback_failed(self) -> None:
        self._log.exception("the function that is told of sent messages failed")


def timed_out(error: exceptions.OperationTimeout | None = None) -> TimeoutError:
    """The error of a message that was not sent, or not answered, in time."""
    failure = TimeoutError("Message send timed out.")
    failure.__cause__ = error
    return failure


def result_of(failure: Exception | None) -> MessageSendResult:
    """The result that a failure stands for; None stands for success."""
    if failure is None:
        return MessageSendResult.Ok
    return MessageSendResult.Timeout if isinstance(failure, TimeoutError) else MessageSendResult.Error


def note(message: Message, failure: Exception | None) -> None:
    """The message has its final outcome."""
    if failure is None:
        message.state = MessageState.SendComplete
        message._response = ALREADY_SETTLED
    else:
        message.state = MessageState.SendFailed
        message._response = failure


def _delivery_state(delivery: OutgoingDelivery) -> Any:
    """What the peer says of a message: a list of the fields of the outcome; None for accepted."""
    state = delivery.state
    if isinstance(state, Rejected):
        error = state.error
        if error is None:
            return []
        return [[octets(error.condition), octets(error.description or ""), incoming(error.info)]]
    if isinstance(state, Modified):
        return [state.delivery_failed, state.undeliverable_here, incoming(state.message_annotations)]
    return None
