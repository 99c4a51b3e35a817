"""Deliveries, as blocking code has them."""

from __future__ import annotations

from typing import Any

from .. import aio
from ..codec.message import Message
from ..exceptions import AMQPError
from .face import Face


class _Delivery(Face):
    @property
    def id(self) -> int:
        return self._aio.id  # type: ignore[no-any-return]

    @property
    def payload(self) -> bytes:
        return self._aio.payload  # type: ignore[no-any-return]

    @property
    def message_format(self) -> int:
        return self._aio.message_format  # type: ignore[no-any-return]

    @property
    def presettled(self) -> bool:
        return self._aio.presettled  # type: ignore[no-any-return]

    @property
    def settled(self) -> bool:
        return self._aio.settled  # type: ignore[no-any-return]

    @property
    def state(self) -> Any:
        return self._aio.state

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error  # type: ignore[no-any-return]


class OutgoingDelivery(_Delivery):
    """As `uamqp.aio.OutgoingDelivery`, but not awaitable: `Sender.settlement` waits."""

    _aio: aio.OutgoingDelivery

    def failure(self) -> AMQPError | None:
        return self._aio.failure()


class IncomingDelivery(_Delivery):
    """As `uamqp.aio.IncomingDelivery`; settling writes at once, so that nothing waits for the next call."""

    _aio: aio.IncomingDelivery

    @property
    def tag(self) -> bytes:
        return self._aio.tag

    @property
    def message(self) -> Message:
        return self._aio.message

    @property
    def body(self) -> Any:
        return self._aio.body

    def settle(self, state: Any) -> None:
        self._driver.call(self._aio.settle, state)

    def accept(self) -> None:
        self._driver.call(self._aio.accept)

    def reject(self, condition: str | None = None, description: str = "", info: dict[Any, Any] | None = None) -> None:
        self._driver.call(self._aio.reject, condition, description, info)

    def release(self) -> None:
        self._driver.call(self._aio.release)

    def modify(
        self,
        *,
        delivery_failed: bool = False,
        undeliverable_here: bool = False,
        annotations: dict[Any, Any] | None = None,
    ) -> None:
        self._driver.call(
            self._aio.modify,
            delivery_failed=delivery_failed,
            undeliverable_here=undeliverable_here,
            annotations=annotations,
        )
