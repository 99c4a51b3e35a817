"""What senders and receivers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..engine.delivery import IncomingDelivery, OutgoingDelivery
from ..engine.link import LinkEndpoint
from ..engine.states import LinkState
from ..exceptions import AMQPError, LinkDetached, LocalProtocolError, OperationTimeout, SessionEnded
from ..transport.driver import Waiter, wake, within
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


def _is_decided(endpoint: LinkEndpoint) -> bool:
    return endpoint.error is not None or (endpoint.state is LinkState.ATTACHED and not endpoint.refused)


class Link:
    """A sender or a receiver."""

    _endpoint: LinkEndpoint
    _terms: tuple[tuple[Any, ...], dict[str, Any]]

    def __init__(self, session: Session) -> None:
        self._session = session
        self._driver = session._driver
        self._changed = Signal(session._driver)
        #: Attached anew, and not answered in time: its name is taken, so the next attempt waits for the same.
        self._late: LinkEndpoint | None = None

    def _new_name(self, kind: str) -> str:
        return f"{kind}-{uuid4()}"

    def _new_endpoint(self, name: str) -> Any:
        """An endpoint in the session, not attached yet."""
        raise NotImplementedError

    def _attach(self, *args: Any, **terms: Any) -> None:
        """Send attach, with terms that are remembered."""
        self._terms = args, terms
        self._endpoint.attach(*args, **terms)

    async def _attached(self, timeout: Timeout) -> None:
        endpoint = self._endpoint
        try:
            await self._answered(endpoint, timeout)
        except BaseException:
            if endpoint.error is None:
                endpoint.detach()
            raise
        if not self._session._passing:
            self._session._connection._links[self] = None  # type: ignore[index]

    async def _restore(self) -> None:
        """Attach anew, with the same name and terms. Raises where that may be different the next time."""
        endpoint, self._late = self._late, None
        try:
            if endpoint is None or endpoint.error is not None:
                endpoint = self._new_endpoint(self.name)
                args, terms = self._terms
                endpoint.attach(*args, **terms)
            await self._answered(endpoint, DEFAULT)
        except LocalProtocolError as error:
            # The peer did not answer the detach of an earlier endpoint yet, say.
            raise LinkDetached(f"the link {self.name!r} cannot be attached now: {error}") from error
        except OperationTimeout:
            self._late = endpoint
            if not self._endpoint.suspended:
                self._forget_late()
            raise
        except (LinkDetached, SessionEnded) as error:
            repair = self._session._connection._repair
            if repair is None or repair.recovers(error):
                raise
            # The others can be brought back all the same.
            self._give_up(error)
            return
        if not self._endpoint.suspended:
            # It was closed meanwhile.
            endpoint.detach()
            endpoint.ended(None)
            return
        ended, self._endpoint = self._endpoint, endpoint
        try:
            self._take_over(ended)
        except Exception as problem:
            # A credit policy of the application, say. The others can be brought back all the same.
            failure = LocalProtocolError(f"the link {self.name!r} is back and cannot go on: {problem!r}")
            failure.__cause__ = problem
            endpoint.detach()
            endpoint.ended(failure)
        self._changed.notify()

    def _forget_late(self) -> None:
        """It was closed before the peer answered."""
        late, self._late = self._late, None
        if late is not None and late.error is None:
            late.detach()

    def _take_over(self, ended: Any) -> None:
        """Go on where the other endpoint of this link stopped."""
        raise NotImplementedError

    def _give_up(self, error: AMQPError | None) -> None:
        """It is not brought back."""
        endpoint = self._endpoint
        self._session._connection._links.pop(self, None)  # type: ignore[call-overload]
        self._forget_late()
        endpoint.suspended = False
        if error is not None:
            endpoint.error = error
        self._changed.notify()

    async def _answered(self, endpoint: LinkEndpoint, timeout: Timeout) -> None:
        seconds = self._seconds(timeout)
        if not await self._changed.wait_for(lambda: _is_decided(endpoint), seconds):
            raise OperationTimeout(f"the peer did not answer attach of the link {endpoint.name!r} {within(seconds)}")
        if endpoint.error is not None:
            raise endpoint.error.again()

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
        """Why the link ended, or None while it lives, or is being brought back."""
        endpoint = self._endpoint
        return None if endpoint.suspended else endpoint.error

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
        self._leave()
        if endpoint.error is not None:
            return
        endpoint.detach()
        try:
            await self._changed.wait_for(lambda: endpoint.error is not None, self._seconds(timeout))
        finally:
            endpoint.ended(None)

    def _drop(self) -> None:
        """Detach for good, and do not wait for the peer's answer; safe to call twice.

        Unlike `close` it can stand where nothing can be awaited: in a blocking call that is interrupted.
        """
        self._leave()
        self._endpoint.detach()
        self._endpoint.ended(None)

    def _leave(self) -> None:
        """Bring it back no more: it is being closed."""
        if self._endpoint.suspended:
            self._give_up(LocalProtocolError(f"the link {self.name!r} is closed"))
        self._session._connection._links.pop(self, None)  # type: ignore[call-overload]

    def _ended(self, endpoint: LinkEndpoint, error: AMQPError | None) -> None:
        """An endpoint of the link ended, or was refused; bring the link back where that is wanted."""
        connection = self._session._connection
        repair = connection._repair
        if repair is not None and endpoint is self._endpoint:
            if self in connection._links and repair.recovers(error):
                endpoint.suspended = True
                repair.begin(error)
            else:
                self._give_up(None)
        self._changed.notify()

    def _seconds(self, timeout: Timeout) -> float | None:
        return self._session._connection._seconds(timeout)

    async def _settled(self, delivery: OutgoingDelivery | IncomingDelivery, seconds: float | None) -> bool:
        """Wait until the peer settled the delivery, beside others that do; False where time ran out."""
        if delivery.settled:
            return True
        waiter = self._driver.waiter()
        if (others := delivery.waiter) is None:
            delivery.waiter = waiter
        elif isinstance(others, _Crowd):
            others.append(waiter)
        else:
            delivery.waiter = _Crowd((others, waiter))
        try:
            return await (waiter if seconds is None else self._driver.wait(waiter, seconds))
        finally:
            if delivery.waiter is waiter:
                delivery.waiter = None
            else:
                delivery.waiter.remove(waiter)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "ended" if self.error is not None else "attached"
        return f"<{type(self).__name__} {self.name!r}, {state}>"
