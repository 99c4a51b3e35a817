"""Deliveries, as blocking code has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import aio
from ..codec.message import Message
from ..exceptions import AMQPError
from ..transport.blocking import BlockingDriver
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


class Together:
    """Deliveries that were given out by one call.

    Attributes:
        left: how many of them nobody has settled.
    """

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        self.left = count


class IncomingDelivery(_Delivery):
    """As `uamqp.aio.IncomingDelivery`; what is said of a delivery is written at once, and waits for no other call.

    But what is said within a millisecond of deliveries that came with one `receive_many` goes out together: with the
    word on the last of them, with any other call, when the program ends, or 50 ms later. A process that is killed
    takes it along, and the peer delivers these again.
    """

    _aio: aio.IncomingDelivery

    def __init__(self, wrapped: aio.IncomingDelivery, driver: BlockingDriver, together: Together | None = None) -> None:
        super().__init__(wrapped, driver)
        self._together = together

    def _say(self, function: Callable[..., None], *args: Any, **kwargs: Any) -> None:
        together, self._together = self._together, None
        if together is not None:
            together.left -= 1
        self._driver.call(function, *args, more=together is not None and together.left > 0, **kwargs)

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
        self._say(self._aio.settle, state)

    def accept(self) -> None:
        self._say(self._aio.accept)

    def reject(self, condition: str | None = None, description: str = "", info: dict[Any, Any] | None = None) -> None:
        self._say(self._aio.reject, condition, description, info)

    def release(self) -> None:
        self._say(self._aio.release)

    def modify(
        self,
        *,
        delivery_failed: bool = False,
        undeliverable_here: bool = False,
        annotations: dict[Any, Any] | None = None,
    ) -> None:
        self._say(
            self._aio.modify,
            delivery_failed=delivery_failed,
            undeliverable_here=undeliverable_here,
            annotations=annotations,
        )
