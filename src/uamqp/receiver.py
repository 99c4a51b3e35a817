"""Receivers of the blocking API of uamqp 1.6."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from . import address, constants, errors
from ._blocking_link import BlockingLink
from .aio.options import PREFETCH
from .async_ops.receiver_async import MessageReceiverAsync, OnMessage
from .constants import ReceiverSettleMode, SenderSettleMode
from .message import Message
from .session import Session


class MessageReceiver(BlockingLink, MessageReceiverAsync):
    """A link that receives messages from one node, in blocking code.

    Arguments, attributes and errors are those of `MessageReceiverAsync`. Each message is handed to
    `on_message_received`, in a call of `work`; without one, `receive_message_batch` takes them.
    """

    _log = logging.getLogger(__name__)

    def __init__(
        self,
        session: Session,
        source: address.Address | str | bytes,
        target: address.Address | str | bytes | None,
        on_message_received: OnMessage | None = None,
        name: str | bytes | None = None,
        receive_settle_mode: ReceiverSettleMode | None = ReceiverSettleMode.PeekLock,
        send_settle_mode: SenderSettleMode | None = None,
        max_message_size: int | None = constants.MAX_MESSAGE_LENGTH_BYTES,
        prefetch: int | None = PREFETCH,
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
            receive_settle_mode,
            max_message_size,
            prefetch,
            properties,
            desired_capabilities,
            on_message_received=on_message_received,
            send_settle_mode=send_settle_mode,
            error_policy=error_policy,
            debug=debug,
            encoding=encoding,
        )

    def receive_message_batch(self, max_batch_size: int | None = None, *, timeout: float = 0) -> list[Message]:
        """Take the messages that are there; where there are none, wait for the first.

        Arguments, result and errors are those of `MessageReceiverAsync.receive_message_batch_async`.
        """
        return self._run(self.receive_message_batch_async(max_batch_size, timeout=timeout))

    def reset_link_credit(self, link_credit: int, **kwargs: Any) -> None:
        """Let the peer send `link_credit` messages from now on; with ``drain=True`` only what it has at hand."""
        self._run(self.reset_link_credit_async(link_credit, **kwargs))
