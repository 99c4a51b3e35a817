"""Senders of the blocking API of uamqp 1.6."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from . import address, constants, errors
from ._blocking_link import BlockingLink
from .async_ops.sender_async import MessageSenderAsync
from .constants import MessageState, ReceiverSettleMode, SenderSettleMode
from .message import Message
from .session import Session


class MessageSender(BlockingLink, MessageSenderAsync):
    """A link that sends messages to one node, in blocking code.

    Arguments, attributes and errors are those of `MessageSenderAsync`.
    """

    _log = logging.getLogger(__name__)

    def __init__(
        self,
        session: Session,
        source: address.Address | str | bytes | None,
        target: address.Address | str | bytes,
        name: str | bytes | None = None,
        send_settle_mode: SenderSettleMode | None = SenderSettleMode.Unsettled,
        receive_settle_mode: ReceiverSettleMode | None = ReceiverSettleMode.PeekLock,
        max_message_size: int | None = constants.MAX_MESSAGE_LENGTH_BYTES,
        link_credit: int | None = None,
        properties: Mapping[Any, Any] | None = None,
        error_policy: errors.ErrorPolicy | None = None,
        debug: bool = False,
        encoding: str = "UTF-8",
        desired_capabilities: Any = None,
    ) -> None:
        super().__init__(
            session,
            source,
            target,
            name,
            send_settle_mode,
            max_message_size,
            properties,
            desired_capabilities,
            receive_settle_mode=receive_settle_mode,
            link_credit=link_credit,
            error_policy=error_policy,
            debug=debug,
            encoding=encoding,
        )

    def send(self, message: Message, callback: Callable[..., Any] | None = None, timeout: float = 0) -> MessageState:
        """Send one message. With a callback it returns at once; the callback is called at the end of a later call on
        the connection (`work`, say), once the outcome is there.

        Arguments, result and errors are those of `MessageSenderAsync.send_async`.
        """
        return self._run(self.send_async(message, callback, timeout))

    async def _call_back(self, report: Callable[[], Any]) -> None:
        # This may run in any thread, and with the lock. The program gets it in a call of its own, as it always did.
        self._driver().tell_later(partial(self._logged, report))

    def _logged(self, report: Callable[[], Any]) -> None:
        try:
            report()
        except Exception:
            self._callback_failed()
