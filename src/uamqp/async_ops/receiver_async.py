"""Receivers of the asynchronous API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from functools import partial
from threading import get_ident
from typing import Any, Final

from .. import address, errors, exceptions
from .._legacy import fields, limit, member, text
from .._signatures import also_in_order
from ..aio.arguments import whole
from ..aio.credit import Manual, Prefetch
from ..aio.options import PREFETCH
from ..aio.receiver import Receiver, nowhere
from ..codec import definitions
from ..codec.definitions import RELEASED, Error, Modified, Rejected
from ..codec.values import Symbol
from ..constants import MessageReceiverState, ReceiverSettleMode, SenderSettleMode
from ..engine.delivery import IncomingDelivery, State
from ..engine.limits import MAX_CREDIT, MAX_MESSAGE_SIZE
from ..message import ACCEPTED, Message
from ._link import SETTLE_MODES, LinkAsync
from .session_async import SessionAsync
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed

#: The arguments in the order of uamqp 1.6.11, in which the fourth is the function that is handed the messages.
_OLD_ORDER: Final = (
    *("session", "source", "target", "on_message_received", "name", "receive_settle_mode", "send_settle_mode"),
    *(
        "max_message_size",
        "prefetch",
        "properties",
        "error_policy",
        "debug",
        "encoding",
        "desired_capabilities",
        "loop",
    ),
)

OnMessage = Callable[[Message], Any]


def interruptible(function: OnMessage, message: Message) -> Any:
    """Call a function of the application."""
    try:
        return function(message)
    except KeyboardInterrupt:
        raise errors.AMQPClientShutdown from None


class MessageReceiverAsync(LinkAsync[Receiver]):
    """A link that receives messages from one node.

    Take them with `receive_message_batch_async`; or give `on_message_received`, which is handed them while
    `work_async` of the receiver or of its connection runs.

    Args:
        session: what it is in.
        source: the node to receive from: a `Source`, a URL, or its name.
        target: the name of this end.
        name: the name of the link; a new one by default.
        receive_settle_mode: `PeekLock` (the default): the application settles each message; `ReceiveAndDelete`:
            messages are gone with their delivery.
        max_message_size: bytes of the largest message to take.
        prefetch: messages that the peer may send ahead; 0: none, until `reset_link_credit_async`.
        link_properties: link properties; `properties` is the same.
        desired_capabilities: capabilities asked of the peer: a list of names.
        loop: the event loop, as a check.
        on_message_received: a function or coroutine function.
        send_settle_mode: how the peer shall send.
        error_policy: sets the `action` of errors.
        debug: log what happens at level INFO.
        encoding: of str.
    """

    _log = logging.getLogger(__name__)
    _states = MessageReceiverState
    _kind = "receiver"

    @also_in_order(*_OLD_ORDER, at=3, when=callable)
    def __init__(
        self,
        session: SessionAsync,
        source: address.Address | str | bytes,
        target: address.Address | str | bytes | None,
        name: str | bytes | None = None,
        receive_settle_mode: ReceiverSettleMode | None = None,
        max_message_size: int | None = None,
        prefetch: int | None = None,
        link_properties: Mapping[Any, Any] | None = None,
        desired_capabilities: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        on_message_received: OnMessage | None = None,
        send_settle_mode: SenderSettleMode | None = None,
        properties: Mapping[Any, Any] | None = None,
        error_policy: errors.ErrorPolicy | None = None,
        debug: bool = False,
        encoding: str = "UTF-8",
    ) -> None:
        receive_settle_mode = member(ReceiverSettleMode, receive_settle_mode)
        if send_settle_mode is None and receive_settle_mode is ReceiverSettleMode.ReceiveAndDelete:
            send_settle_mode = SenderSettleMode.Settled
        super().__init__(
            session,
            source,
            target,
            name,
            send_settle_mode,
            receive_settle_mode,
            max_message_size or MAX_MESSAGE_SIZE,
            link_properties if properties is None else properties,
            desired_capabilities,
            error_policy,
            debug,
            encoding,
            loop,
        )
        self.on_message_received = on_message_received
        self.encoding = encoding
        self._prefetch = PREFETCH if prefetch is None else whole("prefetch", prefetch, "a number of messages", 0)
        #: One for all messages.
        self._settler = self._settle
        session._connection._receivers.add(self)

    async def _attach(self) -> Receiver:
        assert self.max_message_size is not None
        return await self._session.modern.receiver(
            None,
            # More is legal, and was taken; as credit is given again and again, a program sees no difference.
            credit=Prefetch(min(self._prefetch, MAX_CREDIT)) if self._prefetch else Manual(),
            source=self._wire_source(ours=False),
            target=self._wire_target(ours=True),
            name=self.name.decode(self._encoding),
            # The application's word settles, also where nothing is left to say: see `ReceiverSettleMode`.
            settle_mode="first",
            sender_settle_mode=SETTLE_MODES[self.send_settle_mode],
            max_message_size=self.max_message_size,
            desired_capabilities=self._desired_capabilities,
            properties=self._properties,
        )

    # --- receiving --------------------------------------------------------------------------------------------

    async def receive_message_batch_async(
        self, max_batch_size: int | None = None, *, timeout: float = 0
    ) -> list[Message]:
        """Take the messages that are there; where there are none, wait for the first.

        Args:
            max_batch_size: how many at most; by default `prefetch`.
            timeout: milliseconds to wait; 0 waits for ever.

        Returns:
            One message or more; an empty list where none came in time.

        Raises:
            LinkDetach, AMQPConnectionError: the link is gone.
        """
        most = max_batch_size or self._prefetch or 1
        await self._has_some_within(limit("timeout", timeout) / 1000 if timeout else None, most)
        return self._take(most)

    async def work_async(self) -> None:
        """Hand what arrived to `on_message_received`; raises the error of a link that has ended, each time."""
        await self._usable()
        await self._hand_out(0.0)
        self.get_state()

    async def reset_link_credit_async(self, link_credit: int, **kwargs: Any) -> None:
        """Let the peer send `link_credit` messages from now on; with ``drain=True`` only what it has at hand."""
        receiver = await self._usable()
        with errors.translated(self.error_policy):
            receiver.flow(link_credit, drain=bool(kwargs.get("drain", False)))

    def _has_some(self) -> bool:
        """Whether there are messages to take. Of a link that has ended, those that came settled, which are ours."""
        receiver = self._modern
        return receiver is not None and bool(receiver._queue)

    async def _has_some_within(
        self, seconds: float | None, most: int | None, elsewhere: Callable[[], bool] = nowhere
    ) -> bool:
        """Wait for messages, here or `elsewhere`, of which `most` would be taken; False where none came in time."""
        if self._has_some():
            return True
        receiver = await self._usable()
        with errors.translated(self.error_policy):
            return bool(receiver._queue) or await receiver._available(most or self._prefetch or 1, seconds, elsewhere)

    def _tell_waiting(self) -> None:
        """Those who wait for messages shall look again whether there are some elsewhere."""
        if self._modern is not None:
            self._modern._changed.notify()

    def _take(self, most: int) -> list[Message]:
        """The messages that are there, at most `most`."""
        deliveries = self._attached()._take_many(most)
        if self.receive_settle_mode is not ReceiverSettleMode.PeekLock:
            return [self._message(delivery) for delivery in deliveries]
        return Message._received(deliveries, self._settler, self._encoding)

    def _take_one(self) -> Message:
        """The first of the messages that are there."""
        return self._message(self._attached()._take())

    def _message(self, delivery: IncomingDelivery) -> Message:
        settler = self._settler if self.receive_settle_mode is ReceiverSettleMode.PeekLock else None
        if settler is None and not delivery.presettled:
            # The peer did not send it settled, although it was asked to.
            delivery.accept()
        return Message._received((delivery,), settler, self._encoding)[0]

    async def _hand_out(self, seconds: float | None, most: int | None = None) -> int:
        """Hand messages to `on_message_received`, after waiting up to `seconds` for the first; how many there were."""
        receiver = self._modern
        if self.on_message_received is None or receiver is None:
            return 0
        if not receiver._queue and not await self._has_some_within(seconds, most):
            return 0
        count = 0
        while receiver._queue and (most is None or count < most):
            message = self._message(receiver._take())
            count += 1
            try:
                await self._call(interruptible, self.on_message_received, message)
            except errors.AMQPClientShutdown:
                self._give_up(message)
                raise
            except KeyboardInterrupt:
                # Of a coroutine function, from which it comes as it is.
                self._give_up(message)
                raise errors.AMQPClientShutdown from None
            except Exception:
                self._log.exception("the function that is handed messages failed; the message goes back to the node")
                self._give_up(message)
            except BaseException:
                # Cancelled, while a coroutine function had it.
                with contextlib.suppress(RuntimeError):
                    if not message.settled:
                        message.release()
                raise
            receiver._changed.notify()
        return count

    def _give_up(self, message: Message) -> None:
        try:
            if not message.settled:
                message.modify(True, True)
        except RuntimeError as error:
            self._log.warning("%s", error)

    # --- settling ---------------------------------------------------------------------------------------------

    def _settle(self, delivery: IncomingDelivery, response: errors.MessageResponse) -> None:
        """The settler of a message; may be called in any thread."""
        error = delivery.error or delivery.link.error
        # On a link that is being brought back there is nothing to say: the message comes again.
        if error is not None and not delivery.link.suspended:
            raise _cannot_tell(error)
        connection = self._session._connection
        here = get_ident() == connection._thread
        if here and response is ACCEPTED and delivery.state is None:
            delivery.accept()
            return
        outcome = _outcome(response)
        if here:
            _say(delivery, outcome)
        else:
            # What cannot be sent is told here; afterwards there is only the log.
            delivery.encoded(outcome)
            connection._call_from_elsewhere(partial(_say, delivery, outcome))


def _outcome(response: errors.MessageResponse) -> State:
    """What the application says of a message, as it goes over the wire."""
    if isinstance(response, errors.MessageRejected):
        description = text(response.error_description) or None
        return Rejected(Error(Symbol(text(response.error_condition)), description, fields(response.error_info)))
    if isinstance(response, errors.MessageModified):
        annotations = fields(response.annotations)
        return Modified(bool(response.failed) or None, bool(response.undeliverable) or None, annotations)
    return RELEASED if isinstance(response, errors.MessageReleased) else definitions.ACCEPTED


def _say(delivery: IncomingDelivery, outcome: State) -> None:
    """Tell the peer what became of a delivery."""
    try:
        delivery.settle(outcome)
    except exceptions.EncodeError:
        # The link has nothing to do with it.
        raise
    except exceptions.AMQPError as error:
        raise _cannot_tell(error) from error


def _cannot_tell(error: exceptions.AMQPError) -> RuntimeError:
    failure = RuntimeError(
        f"Unable to send message disposition: the link has ended ({error}). The message may be delivered again."
    )
    failure.__cause__ = error
    return failure
