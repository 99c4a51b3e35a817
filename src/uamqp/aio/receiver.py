"""Receivers: deliveries one by one, in batches, or as an endless iteration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..codec.definitions import Source
from ..engine.delivery import IncomingDelivery
from ..engine.receiver import ReceiverEndpoint
from ..exceptions import OperationTimeout
from .credit import CreditPolicy
from .link import Link
from .options import DEFAULT, Timeout

if TYPE_CHECKING:
    from .session import Session

#: More deliveries than anybody takes: stands for "never" in the countdown to the next flow.
_NEVER = 1 << 62


class Receiver(Link):
    """Receives messages from one node; made by `Session.receiver` or `Connection.receiver`.

    Iterate over it (``async for delivery in receiver``), or call `receive` or `receive_many`. Several tasks may do
    so; each delivery goes to one of them. Settle each delivery: `accept`, `reject`, `release` or `modify`.
    """

    _endpoint: ReceiverEndpoint

    def __init__(self, session: Session, name: str | None, policy: CreditPolicy) -> None:
        super().__init__(session)
        self._endpoint = session._endpoint.receiver(name or self._new_name("receiver"))
        self._endpoint.context = self
        self._queue = self._endpoint.queue
        self._policy = policy
        self._until_refill = policy.refill_after or _NEVER

    async def _attached(self, timeout: Timeout) -> None:
        await super()._attached(timeout)
        self._policy.attached(self)

    @property
    def address(self) -> str | None:
        """The address of the node, as the peer calls it; of a dynamic node, the one it was given."""
        source = self._endpoint.source
        return None if source is None or source.address is None else str(source.address)

    @property
    def filters(self) -> Mapping[str, Any]:
        """The filters that the peer grants: one that was asked for and is not here has no effect."""
        remote = self._endpoint.remote_attach
        source = None if remote is None else remote.source
        return (source.filter if isinstance(source, Source) else None) or {}

    @property
    def queued(self) -> int:
        """Deliveries that arrived and were not taken yet."""
        return len(self._queue)

    async def receive(self, *, timeout: Timeout = DEFAULT) -> IncomingDelivery:
        """Take the next delivery.

        Raises:
            OperationTimeout: none came in time.
            LinkDetached, SessionEnded, ConnectionEnded: the link is gone.
        """
        if not self._queue or self._endpoint.error is not None:
            seconds = self._session._connection._seconds(timeout)
            if not await self._available(1, seconds):
                raise OperationTimeout(f"no message within {seconds} s")
        return self._take()

    async def receive_many(self, max: int = 100, *, timeout: Timeout = DEFAULT) -> list[IncomingDelivery]:
        """Take what is there, at most `max`; where nothing is, wait for the first.

        Returns:
            One or more deliveries; an empty list where none came in time.

        Raises:
            LinkDetached, SessionEnded, ConnectionEnded: the link is gone.
        """
        if max < 1:
            raise ValueError(f"max must be at least 1, not {max}")
        if not self._queue or self._endpoint.error is not None:
            seconds = self._session._connection._seconds(timeout)
            if not await self._available(max, seconds):
                return []
        return [self._take() for _ in range(min(max, len(self._queue)))]

    def __aiter__(self) -> Receiver:
        return self

    async def __anext__(self) -> IncomingDelivery:
        # `_take` in line: this is on the path of every message.
        queue = self._queue
        if not queue or self._endpoint.error is not None:
            await self._available(1, None)
        delivery = queue.popleft()
        self._until_refill -= 1
        if not self._until_refill:
            self._refill()
        return delivery

    def flow(self, credit: int, *, drain: bool = False) -> None:
        """Let the peer send `credit` deliveries from now on (not: more), whatever was given before.

        With `drain` it sends what it has at hand and gives the rest of the credit back; `drain()` waits for that.
        """
        self._endpoint.flow(credit, drain=drain)

    async def drain(self, *, timeout: Timeout = DEFAULT) -> None:
        """Let the peer send what it has at hand within the credit it was given, and take the rest of the credit back.

        Returns when that is done; what came meanwhile waits to be received. Give new credit with `flow`.

        Raises:
            OperationTimeout: the peer did not answer.
            LinkDetached, SessionEnded, ConnectionEnded: the link is gone.
        """
        endpoint = self._endpoint
        endpoint.flow(endpoint.credit, drain=True)
        seconds = self._session._connection._seconds(timeout)
        if not await self._changed.wait_for(lambda: not endpoint.draining or endpoint.error is not None, seconds):
            raise OperationTimeout(f"the peer did not answer drain within {seconds} s")
        if endpoint.error is not None:
            raise endpoint.error.again()

    async def confirmed(self, delivery: IncomingDelivery, *, timeout: Timeout = DEFAULT) -> None:
        """Wait until the peer settled a delivery of a link with settle mode "second", after its outcome was given.

        Raises:
            OperationTimeout: the peer did not settle it in time.
            LinkDetached, SessionEnded, ConnectionEnded: the link ended before; whether it was settled is not known.
        """
        if not delivery.settled:
            waiter = delivery.waiter = self._driver.waiter()
            seconds = self._session._connection._seconds(timeout)
            if not await self._driver.wait(waiter, seconds):
                raise OperationTimeout(f"the peer did not confirm the outcome within {seconds} s")
        if self._endpoint.error is not None and delivery.error is not None:
            raise self._endpoint.error.again()

    async def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Give back what was not taken, then detach for good; safe to call twice.

        Deliveries that were taken and not settled go back to the node too, by the detach.
        """
        while self._queue:
            delivery = self._queue.popleft()
            if not delivery.settled:
                delivery.release()
        await super().close(timeout=timeout)

    async def _available(self, count: int, seconds: float | None) -> bool:
        """Wait for a delivery; False where time ran out."""
        endpoint, queue = self._endpoint, self._queue
        self._drop_lost()
        if queue:
            return True
        if endpoint.error is None:
            self._policy.wanted(self, count)
        if not await self._changed.wait_for(lambda: bool(queue) or endpoint.error is not None, seconds):
            return False
        self._drop_lost()
        if not queue:
            assert endpoint.error is not None
            raise endpoint.error.again()
        return True

    def _drop_lost(self) -> None:
        # Unsettled deliveries of a link that ended belong to the node again; settled ones are ours for good.
        if self._endpoint.error is not None and self._queue:
            kept = [d for d in self._queue if d.presettled]
            self._queue.clear()
            self._queue.extend(kept)

    def _take(self) -> IncomingDelivery:
        delivery = self._queue.popleft()
        self._until_refill -= 1
        if not self._until_refill:
            self._refill()
        return delivery

    def _refill(self) -> None:
        self._until_refill = self._policy.refill_after or _NEVER
        if self._endpoint.error is None:
            self._policy.taken(self)
