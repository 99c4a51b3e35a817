"""Receivers, as blocking code has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import aio
from ..aio.options import DEFAULT, Timeout
from .delivery import IncomingDelivery, Together
from .link import Link


class Receiver(Link):
    """As `uamqp.aio.Receiver`."""

    _aio: aio.Receiver

    @property
    def filters(self) -> Mapping[str, Any]:
        return self._aio.filters

    @property
    def queued(self) -> int:
        return self._aio.queued

    def receive(self, *, timeout: Timeout = DEFAULT) -> IncomingDelivery:
        return IncomingDelivery(self._driver.run(self._aio.receive(timeout=timeout)), self._driver)

    def receive_many(self, max: int = 100, *, timeout: Timeout = DEFAULT) -> list[IncomingDelivery]:
        deliveries = self._driver.run(self._aio.receive_many(max, timeout=timeout))
        together = Together(len(deliveries))
        return [IncomingDelivery(delivery, self._driver, together) for delivery in deliveries]

    def __iter__(self) -> Receiver:
        return self

    def __next__(self) -> IncomingDelivery:
        return IncomingDelivery(self._driver.run(self._aio.__anext__()), self._driver)

    def flow(self, credit: int, *, drain: bool = False) -> None:
        self._driver.call(self._aio.flow, credit, drain=drain)

    def drain(self, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.drain(timeout=timeout))

    def confirmed(self, delivery: IncomingDelivery, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.confirmed(delivery._aio, timeout=timeout))

    def __enter__(self) -> Receiver:
        return self
