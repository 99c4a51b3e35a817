"""Senders, as blocking code has them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import aio
from ..aio.options import DEFAULT, Timeout
from ..codec.message import Message
from .delivery import OutgoingDelivery
from .link import Link


class Sender(Link):
    """As `uamqp.aio.Sender`."""

    _aio: aio.Sender

    def send(self, message: Message | Any, *, settled: bool = False, timeout: Timeout = DEFAULT) -> OutgoingDelivery:
        delivery = self._driver.run(self._aio.send(message, settled=settled, timeout=timeout))
        return OutgoingDelivery(delivery, self._driver)

    def send_nowait(self, message: Message | Any, *, settled: bool = False) -> OutgoingDelivery:
        """As `uamqp.aio.Sender.send_nowait`; `settlement` waits for the outcome."""
        return OutgoingDelivery(self._driver.call(self._aio.send_nowait, message, settled=settled), self._driver)

    def settlement(self, delivery: OutgoingDelivery, timeout: Timeout = DEFAULT) -> OutgoingDelivery:
        self._driver.run(self._aio.settlement(delivery._aio, timeout))
        return delivery

    def send_many(self, messages: Iterable[Message | Any], *, settled: bool = False, timeout: Timeout = DEFAULT) -> int:
        return self._driver.run(self._aio.send_many(messages, settled=settled, timeout=timeout))

    def __enter__(self) -> Sender:
        return self
