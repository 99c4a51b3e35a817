"""Receivers: deliveries one by one, in batches, or as an endless iteration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..codec.definitions import Source
from ..engine.delivery import IncomingDelivery
from ..engine.link import SENDER_SETTLE_SETTLED, LinkEndpoint
from ..engine.receiver import ReceiverEndpoint
from ..engine.states import LinkState, SessionState
from ..exceptions import AMQPError, OperationTimeout
from .arguments import whole
from .credit import CreditPolicy, Manual
from .link import Link
from .options import DEFAULT, Timeout

if TYPE_CHECKING:
    from ..engine.session import SessionEndpoint
    from ..transport.driver import Driver
    from .session import Session

#: More deliveries than anybody takes: stands for "never" in the countdown to the next flow.
_NEVER = 1 << 62
#: Seconds that the end of a session or connection waits for what is under way to its receivers, and at most half of
#: its own time: there are peers that never answer a drain.
_PATIENCE = 2.0


def nowhere() -> bool:
    """No messages are anywhere else."""
    return False


class Receiver(Link):
    """Receives messages from one node; made by `Session.receiver` or `Connection.receiver`.

    Iterate over it (``async for delivery in receiver``), or call `receive` or `receive_many`. Several tasks may do
    so; each delivery goes to one of them. Settle each delivery: `accept`, `reject`, `release` or `modify`.
    """

    _endpoint: ReceiverEndpoint

    def __init__(self, session: Session, name: str | None, policy: CreditPolicy) -> None:
        super().__init__(session)
        self._endpoint = self._new_endpoint(name or self._new_name("receiver"))
        self._queue = self._endpoint.queue
        self._policy = policy
        self._until_refill = policy.refill_after or _NEVER
        #: Deliveries that are waited for now, by all together.
        self._wanted = 0
        #: Credit that was used by deliveries that are gone.
        self._lost_credit = 0

    def _new_endpoint(self, name: str) -> ReceiverEndpoint:
        endpoint = self._session._endpoint.receiver(name)
        endpoint.context = self
        return endpoint

    async def _attached(self, timeout: Timeout) -> None:
        await super()._attached(timeout)
        self._policy.attached(self)

    def _take_over(self, ended: ReceiverEndpoint) -> None:
        self._endpoint.queue = self._queue
        lost, self._lost_credit = self._lost_credit, 0
        self._policy.recovered(self, lost + ended.credit + ended.unused, self._wanted)

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

    @property
    def _may_flow(self) -> bool:
        """Whether credit can be given now: the link is there, and no drain is under way, which that would end."""
        endpoint = self._endpoint
        return (
            endpoint.error is None
            and endpoint.state is LinkState.ATTACHED
            and endpoint.session.state is SessionState.MAPPED
            and not endpoint.draining
        )

    @property
    def _arriving(self) -> int:
        """Deliveries that are here in part: none or one."""
        return 0 if self._endpoint.between_deliveries else 1

    async def receive(self, *, timeout: Timeout = DEFAULT) -> IncomingDelivery:
        """Take the next delivery.

        Raises:
            OperationTimeout: none came in time.
            LinkDetached, SessionEnded, ConnectionEnded: the link is gone.
        """
        if not self._queue:
            seconds = self._seconds(timeout)
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
        max = whole("max", max, "a number of deliveries", 1)
        if not self._queue and not await self._available(max, self._seconds(timeout)):
            return []
        return self._take_many(max)

    def __aiter__(self) -> Receiver:
        return self

    async def __anext__(self) -> IncomingDelivery:
        # `_take` in line: this is on the path of every message.
        queue = self._queue
        if not queue:
            await self._available(1, None)
        delivery = queue.popleft()
        self._until_refill -= 1
        if not self._until_refill:
            self._refill()
        return delivery

    def flow(self, credit: int, *, drain: bool = False) -> None:
        """Let the peer send `credit` deliveries from now on (not: more), whatever was given before.

        With `drain` it sends what it has at hand and gives the rest of the credit back; `drain()` waits for that.
        While the link is being brought back, credit is noted, and given when it is back; draining raises the error.
        """
        self._endpoint.flow(whole("credit", credit, "a number of deliveries"), drain=drain)
        # On a link that is being brought back this is all that it is given then.
        self._lost_credit = 0

    async def drain(self, *, timeout: Timeout = DEFAULT) -> None:
        """Let the peer send what it has at hand within the credit it was given, and take the rest of the credit back.

        That includes credit which was lowered before: what was sent for it may still be under way.

        Returns when that is done; what came meanwhile waits to be received. Give new credit with `flow`.

        Raises:
            OperationTimeout: the peer did not answer.
            LinkDetached, SessionEnded, ConnectionEnded: the link is gone.
        """
        endpoint = self._endpoint
        endpoint.drain()
        seconds = self._seconds(timeout)
        if not await self._until_drained(seconds):
            raise OperationTimeout(f"the peer did not answer drain within {seconds} s")
        if endpoint.error is not None:
            raise endpoint.error.again()

    async def confirmed(self, delivery: IncomingDelivery, *, timeout: Timeout = DEFAULT) -> None:
        """Wait until the peer settled a delivery of a link with settle mode "second", after its outcome was given.

        Raises:
            OperationTimeout: the peer did not settle it in time.
            LinkDetached, SessionEnded, ConnectionEnded: the link ended before; whether it was settled is not known.
        """
        waited = not delivery.settled
        seconds = self._seconds(timeout)
        if not await self._settled(delivery, seconds):
            raise OperationTimeout(f"the peer did not confirm the outcome within {seconds} s")
        error = delivery.error
        if error is None and waited:
            # Where both came in one read, nobody can tell which was first.
            error = self._endpoint.error
        if error is not None:
            raise error.again()

    async def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Give back what was not taken, then detach for good; safe to call twice.

        Deliveries that were taken and not settled go back to the node too, by the detach.
        """
        self._leave()
        left = self._driver.countdown(self._seconds(timeout))
        try:
            await give_back([self], left)
        except BaseException:
            self._drop()
            raise
        # Who closes a receiver wants no more of it.
        self._queue.clear()
        await super().close(timeout=left())

    def _take_no_more(self) -> bool:
        """Take no more deliveries; whether there may be some under way, of which a drain tells when they are here."""
        endpoint = self._endpoint
        # Who still waits is given nothing more.
        self._policy = Manual()
        under_way = endpoint.state is LinkState.ATTACHED and endpoint.expects
        if not under_way or endpoint.sender_settle_mode == SENDER_SETTLE_SETTLED:
            return False
        try:
            endpoint.drain()
        except AMQPError:
            # The session is being ended.
            return False
        return True

    async def _until_drained(self, seconds: float | None) -> bool:
        endpoint = self._endpoint
        return await self._changed.wait_for(lambda: not endpoint.draining or endpoint.error is not None, seconds)

    def _release_all(self) -> None:
        # Settled ones are ours for good.
        kept = [delivery for delivery in self._queue if delivery.presettled]
        while self._queue:
            delivery = self._queue.popleft()
            if not delivery.settled:
                delivery.release()
        self._queue.extend(kept)

    def _ended(self, endpoint: LinkEndpoint, error: AMQPError | None) -> None:
        if endpoint is self._endpoint:
            # Unsettled deliveries of a link that ended belong to the node again; settled ones are ours for good.
            kept = [delivery for delivery in self._queue if delivery.presettled]
            self._lost_credit = len(self._queue) - len(kept)
            self._queue.clear()
            self._queue.extend(kept)
        super()._ended(endpoint, error)

    async def _available(self, count: int, seconds: float | None, elsewhere: Callable[[], bool] = nowhere) -> bool:
        """Wait for a delivery, or until there is something `elsewhere`; False where time ran out.

        Of what is elsewhere, `_changed` must tell.
        """
        error = self.error
        if error is not None:
            raise error.again()
        self._wanted += count
        try:
            if not await self._changed.wait_for(lambda: elsewhere() or self._need_not_wait(), seconds):
                return False
        finally:
            self._wanted -= count
            if self._may_flow:
                self._policy.unwanted(self, self._wanted)
        if not self._queue and not elsewhere():
            error = self.error
            assert error is not None
            raise error.again()
        return True

    def _need_not_wait(self) -> bool:
        """Whether who waits for a delivery need not wait on; who must has the policy see to the credit."""
        if self._queue or self.error is not None:
            return True
        # Each time anew: what came may have gone to another, who did not wait, or a drain may have taken the credit.
        if self._may_flow:
            self._policy.wanted(self, self._wanted)
        self._endpoint.awaited = True
        return False

    def _take(self) -> IncomingDelivery:
        delivery = self._queue.popleft()
        self._until_refill -= 1
        if not self._until_refill:
            self._refill()
        return delivery

    def _wasted(self, count: int) -> None:
        """So many deliveries came to nothing; nobody takes them, but their credit is given again as if they were."""
        self._until_refill -= count
        if self._until_refill <= 0:
            self._refill(during_read=True)
        self._changed.notify()

    def _take_many(self, most: int) -> list[IncomingDelivery]:
        queue = self._queue
        taken = [queue.popleft() for _ in range(min(most, len(queue)))]
        self._until_refill -= len(taken)
        if self._until_refill <= 0:
            self._refill()
        return taken

    def _refill(self, *, during_read: bool = False) -> None:
        every = self._policy.refill_after or _NEVER
        taken, self._until_refill = every - self._until_refill, every
        if self._endpoint.suspended:
            # Given with the rest when the link is back.
            self._lost_credit += taken
        if self._may_flow:
            self._policy.taken(self)
            if self._queue and not during_read:
                # The peer sends on while the application is busy with what is here: 1.1 times as fast.
                self._driver.flush()


async def give_back(receivers: Sequence[Receiver], left: Callable[[], float | None]) -> None:
    """Before their links end: let what the receivers did not give out, or is on its way to them, go back to its nodes.

    Where a peer does not tell within the seconds that are `left` that nothing more is under way, what comes later goes
    back with the link, and may count as a delivery that failed.
    """
    draining = [receiver for receiver in receivers if receiver._take_no_more()]
    try:
        for receiver in draining:
            await receiver._until_drained(left())
    finally:
        for receiver in receivers:
            receiver._release_all()


async def leave(sessions: Sequence[SessionEndpoint], driver: Driver, seconds: float | None) -> None:
    """Before sessions end: `give_back` for all their receivers."""
    receivers = [link.context for session in sessions for link in session.links if isinstance(link.context, Receiver)]
    await give_back(receivers, driver.countdown(_PATIENCE if seconds is None else min(seconds / 2, _PATIENCE)))
