"""What senders and receivers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..engine.delivery import IncomingDelivery, OutgoingDelivery
from ..engine.link import LinkEndpoint
from ..engine.states import LinkState
from ..exceptions import AMQPError, OperationTimeout
from ..transport.driver import Waiter, wake
from .options import DEFAULT, Timeout
from .signal import Signal

if TYPE_CHECKING:
    from typing import Self

    from .session import Session


class _Crowd(list[Waiter]):
    """Several who wait for one delivery; stands in it as a waiter."""

    def done(self) -> bool:
        return False

    def set_result(self, result: bool) -> None:
        for waiter in self:
            wake(waiter)


class Link:
    """A sender or a receiver."""

    _endpoint: LinkEndpoint

    def __init__(self, session: Session) -> None:
        self._session = session
        self._driver = session._driver
        self._changed = Signal(session._driver)

    def _new_name(self, kind: str) -> str:
        return f"{kind}-{uuid4()}"

    async def _attached(self, timeout: Timeout) -> None:
        endpoint = self._endpoint
        seconds = self._seconds(timeout)
        try:
            if not await self._changed.wait_for(self._is_decided, seconds):
                raise OperationTimeout(
                    f"the peer did not answer attach of the link {endpoint.name!r} within {seconds} s"
                )
        except BaseException:
            endpoint.detach()
            raise
        if endpoint.error is not None:
            raise endpoint.error.again()

    def _is_decided(self) -> bool:
        endpoint = self._endpoint
        return endpoint.error is not None or (endpoint.state is LinkState.ATTACHED and not endpoint.refused)

    @property
    def session(self) -> Session:
        """The session it belongs to."""
        return self._session

    @property
    def name(self) -> str:
        """The name of the link."""
        return self._endpoint.name

    @property
    def error(self) -> AMQPError | None:
        """Why the link ended, or None while it lives."""
        return self._endpoint.error

    @property
    def credit(self) -> int:
        """Deliveries that may be sent on the link now."""
        return self._endpoint.credit

    @property
    def remote_properties(self) -> Mapping[Any, Any]:
        """The link properties that the peer sent with its attach."""
        remote = self._endpoint.remote_attach
        return (remote.properties if remote is not None else None) or {}

    @property
    def max_message_size(self) -> int | None:
        """Bytes of the largest message that the peer takes, None where it states no limit."""
        return self._endpoint.remote_max_message_size or None

    async def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """Detach for good; safe to call twice, and where the link has ended already.

        Returns when the peer has answered, and after `timeout` seconds at the latest.
        """
        endpoint = self._endpoint
        if endpoint.error is not None:
            return
        endpoint.detach()
        try:
            await self._changed.wait_for(lambda: endpoint.error is not None, self._seconds(timeout))
        finally:
            endpoint.ended(None)

    def _ended(self) -> None:
        """The link ended, or was refused."""
        self._changed.notify()

    def _seconds(self, timeout: Timeout) -> float | None:
        return self._session._connection._seconds(timeout)

    async def _settled(self, delivery: OutgoingDelivery | IncomingDelivery, seconds: float | None) -> bool:
        """Wait until the peer settled the delivery, beside others that do; False where time ran out."""
        if delivery.settled:
            return True
        crowd = delivery.waiter
        if crowd is None:
            crowd = delivery.waiter = _Crowd()
        waiter = self._driver.waiter()
        crowd.append(waiter)
        try:
            return await self._driver.wait(waiter, seconds)
        finally:
            crowd.remove(waiter)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "ended" if self.error is not None else "attached"
        return f"<{type(self).__name__} {self.name!r}, {state}>"
