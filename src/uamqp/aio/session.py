"""Sessions, and attaching links in them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar

from ..codec.definitions import DeleteOnClose, Source, Target
from ..codec.values import Symbol
from ..engine.limits import MAX_MESSAGE_SIZE
from ..engine.link import (
    RECEIVER_SETTLE_FIRST,
    RECEIVER_SETTLE_SECOND,
    SENDER_SETTLE_MIXED,
    SENDER_SETTLE_SETTLED,
    SENDER_SETTLE_UNSETTLED,
    LinkEndpoint,
)
from ..engine.receiver import ReceiverEndpoint
from ..engine.sender import SenderEndpoint
from ..engine.session import SessionEndpoint
from ..engine.states import LinkState, SessionState
from ..exceptions import AMQPError, OperationTimeout
from ..transport.address import node_address
from ..transport.driver import within
from .arguments import expect, keyed, symbols, whole
from .credit import CreditPolicy, Prefetch
from .opening import Opening
from .options import DEFAULT, PREFETCH, Timeout
from .receiver import Receiver, leave
from .sender import Sender
from .signal import Signal

if TYPE_CHECKING:
    from .connection import Connection

_L = TypeVar("_L", Sender, Receiver)

_SENDER_SETTLE_MODES = {
    "unsettled": SENDER_SETTLE_UNSETTLED,
    "settled": SENDER_SETTLE_SETTLED,
    "mixed": SENDER_SETTLE_MIXED,
}
_RECEIVER_SETTLE_MODES = {"first": RECEIVER_SETTLE_FIRST, "second": RECEIVER_SETTLE_SECOND}


class Session:
    """A session; made by `Connection.session`.

    One that is `passing` is not brought back, nor are its links.
    """

    def __init__(self, connection: Connection, incoming_window: int, handle_max: int, *, passing: bool = False) -> None:
        self._connection = connection
        self._driver = connection._driver
        self._changed = Signal(connection._driver)
        self._limits = incoming_window, handle_max
        #: Whether it is being brought back.
        self._suspended = False
        self._passing = passing or connection._repair is None
        self._begin()

    def _begin(self) -> None:
        incoming_window, handle_max = self._limits
        self._endpoint = self._connection._engine.session()
        self._endpoint.context = self
        self._endpoint.begin(incoming_window=incoming_window, handle_max=handle_max)
        if not self._passing:
            self._connection._sessions[self] = None

    async def _restore(self) -> None:
        """Begin it again."""
        self._begin()
        try:
            await self._begun(DEFAULT)
        except BaseException:
            self._endpoint.end()
            raise
        self._suspended = False
        self._changed.notify()

    def _ended(self, endpoint: SessionEndpoint, error: AMQPError | None) -> None:
        """The endpoint ended; bring the session back where that is wanted."""
        repair = self._connection._repair
        # The one of an attempt that was given up may end long after that, and means nothing.
        if repair is not None and endpoint is self._endpoint and self in self._connection._sessions:
            if repair.recovers(error):
                self._suspended = True
                repair.begin(error)
            elif not self._suspended:
                del self._connection._sessions[self]
        self._changed.notify()

    async def _begun(self, timeout: Timeout) -> None:
        endpoint = self._endpoint
        seconds = self._connection._seconds(timeout)
        if not await self._changed.wait_for(
            lambda: endpoint.state is not SessionState.BEGIN_SENT or endpoint.error is not None, seconds
        ):
            raise OperationTimeout(f"the peer did not answer begin {within(seconds)}")
        if endpoint.error is not None:
            raise endpoint.error.again()

    @property
    def _is_usable(self) -> bool:
        endpoint = self._endpoint
        return endpoint.error is None and endpoint.state in (SessionState.BEGIN_SENT, SessionState.MAPPED)

    @property
    def connection(self) -> Connection:
        """The connection it belongs to."""
        return self._connection

    @property
    def error(self) -> AMQPError | None:
        """Why it ended, or None while it lives, or is being brought back."""
        return None if self._suspended else self._endpoint.error

    def sender(
        self,
        address: str | None,
        *,
        name: str | None = None,
        settle_mode: str = "mixed",
        target: Target | None = None,
        source: Source | None = None,
        capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
        properties: Mapping[str, Any] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Opening[Sender]:
        """Attach a sender: ``async with session.sender("orders") as sender``.

        Args:
            address: the node to send to; None sends each message to the address in its ``to`` property, where the
                peer offers that (anonymous terminus). Plain names work with RabbitMQ 4 too (see `node_address`).
            name: the name of the link; a new unique one by default.
            settle_mode: "unsettled" waits for the outcome of every message, "settled" for none, "mixed" leaves it
                to each `send`.
            target, source: termini of your own instead of those made from the other arguments.
            capabilities: capabilities of the target, such as "queue" or "topic".
            desired_capabilities: capabilities asked of the peer for this link.
            properties: link properties.
            timeout: seconds for the peer's answer.

        Raises:
            LinkDetached: the peer refused; `condition` says why (``amqp:not-found`` and so on).
            OperationTimeout: the peer did not answer.
            SessionEnded, ConnectionEnded: there is no session to attach in any more.
            LocalProtocolError: the name is in use, or the session has as many links as it may have.
            ValueError, TypeError, EncodeError: an argument is out of range, not of its kind, or cannot be sent.
        """
        mode = _mode(settle_mode, _SENDER_SETTLE_MODES)
        expect("name", name, (str, NoneType), "a str")
        if target is None:
            target = Target(
                address=None if address is None else self._address(address),
                capabilities=symbols("capabilities", capabilities),
            )
        desired = symbols("desired_capabilities", desired_capabilities)
        terms = target, source or Source(), mode, desired, keyed("properties", properties)
        return Opening(lambda: self._persist(lambda seconds: self._attach_sender(name, terms, seconds), timeout))

    async def _persist(self, attach: Callable[[Timeout], Coroutine[Any, Any, _L]], timeout: Timeout) -> _L:
        """Attach something; where that is interrupted, again when all is back."""
        if self._passing:
            return await attach(timeout)
        return await self._connection._persist(attach, timeout)

    async def _vacated(self, name: str | None, kind: type[LinkEndpoint], timeout: Timeout) -> Timeout:
        """A link whose opening was given up has its name until the peer answers detach: wait for that. What is left."""
        for link in [] if name is None else self._endpoint.links:
            leaves = link.name == name and isinstance(link, kind) and link.state is LinkState.DETACH_SENT
            # One that the peer attached, and that was refused, is nobody's here.
            if not leaves or link.context is None:
                continue
            seconds = self._connection._seconds(timeout)
            left = self._driver.countdown(seconds)
            if not await link.context._changed.wait_for(lambda link=link: link.error is not None, seconds):
                raise OperationTimeout(f"the peer did not answer detach of the link {name!r} {within(seconds)}")
            return left()
        return timeout

    async def _attach_sender(self, name: str | None, terms: Any, timeout: Timeout) -> Sender:
        target, source, mode, desired_capabilities, properties = terms
        timeout = await self._vacated(name, SenderEndpoint, timeout)
        sender = Sender(self, name)
        sender._attach(
            source,
            target,
            sender_settle_mode=mode,
            desired_capabilities=desired_capabilities,
            properties=properties,
        )
        await sender._attached(timeout)
        return sender

    def receiver(
        self,
        address: str | None,
        *,
        prefetch: int = PREFETCH,
        credit: CreditPolicy | None = None,
        name: str | None = None,
        settle_mode: str = "first",
        sender_settle_mode: str = "mixed",
        dynamic: bool = False,
        filters: Mapping[str, Any] | None = None,
        source: Source | None = None,
        target: Target | None = None,
        capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
        properties: Mapping[str, Any] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        timeout: Timeout = DEFAULT,
    ) -> Opening[Receiver]:
        """Attach a receiver: ``async with session.receiver("orders") as receiver``.

        Args:
            address: the node to receive from; None together with `dynamic`.
            prefetch: deliveries that the peer may send ahead; topped up when the application took half of them.
            credit: another credit policy: `Prefetch(n)`, `OnDemand()` or `Manual()`.
            name: the name of the link; a new unique one by default.
            settle_mode: "first": our outcome settles; "second": the peer confirms it (see `Receiver.confirmed`).
            sender_settle_mode: how the peer should send: "unsettled", "settled" or "mixed".
            dynamic: let the peer make a temporary node; `Receiver.address` is its name.
            filters: filters of the source by name; values as the peer wants them, often `Described`.
            source, target: termini of your own instead of those made from the other arguments.
            capabilities: capabilities of the source, such as "queue" or "topic".
            desired_capabilities: capabilities asked of the peer for this link.
            properties: link properties.
            max_message_size: bytes of the largest message to take; larger ones end the link.
            timeout: seconds for the peer's answer.

        Raises:
            LinkDetached: the peer refused; `condition` says why (``amqp:not-found`` and so on).
            OperationTimeout: the peer did not answer.
            SessionEnded, ConnectionEnded: there is no session to attach in any more.
            LocalProtocolError: the name is in use, or the session has as many links as it may have.
            ValueError, TypeError, EncodeError: an argument is out of range, not of its kind, or cannot be sent.
        """
        mode = _mode(settle_mode, _RECEIVER_SETTLE_MODES)
        remote_mode = _mode(sender_settle_mode, _SENDER_SETTLE_MODES)
        expect("name", name, (str, NoneType), "a str")
        expect("credit", credit, (CreditPolicy, NoneType), "a credit policy, such as OnDemand()")
        if source is None:
            source = Source(
                address=None if address is None else self._address(address),
                dynamic=dynamic,
                dynamic_node_properties={Symbol("lifetime-policy"): DeleteOnClose()} if dynamic else None,
                filter=keyed("filters", filters),
                capabilities=symbols("capabilities", capabilities),
            )
        # To the peer, 0 would mean any size.
        max_message_size = whole("max_message_size", max_message_size, "a number of bytes", 1)
        policy = credit if credit is not None else Prefetch(prefetch)
        desired = symbols("desired_capabilities", desired_capabilities)
        termini = source, target or Target()
        terms = *termini, mode, remote_mode, max_message_size, desired, keyed("properties", properties)
        return Opening(
            lambda: self._persist(lambda seconds: self._attach_receiver(name, policy, terms, seconds), timeout)
        )

    async def _attach_receiver(self, name: str | None, policy: CreditPolicy, terms: Any, timeout: Timeout) -> Receiver:
        source, target, mode, remote_mode, max_message_size, desired_capabilities, properties = terms
        timeout = await self._vacated(name, ReceiverEndpoint, timeout)
        receiver = Receiver(self, name, policy)
        receiver._attach(
            source,
            target,
            sender_settle_mode=remote_mode,
            receiver_settle_mode=mode,
            max_message_size=max_message_size,
            desired_capabilities=desired_capabilities,
            properties=properties,
        )
        await receiver._attached(timeout)
        return receiver

    async def close(self, *, timeout: Timeout = DEFAULT) -> None:
        """End the session and its links; safe to call twice. What its receivers did not give out goes back.

        A peer that does not say what is still under way to them (that does not drain) is waited for two seconds.

        Returns when the peer has answered, and after `timeout` seconds at the latest.
        """
        endpoint = self._endpoint
        self._suspended = False
        self._connection._sessions.pop(self, None)
        if endpoint.error is not None:
            return
        seconds = self._connection._seconds(timeout)
        left = self._driver.countdown(seconds)
        try:
            try:
                await leave([endpoint], self._driver, seconds)
            finally:
                endpoint.end()
            await self._changed.wait_for(lambda: endpoint.error is not None, left())
        finally:
            endpoint.ended(None)

    def _drop(self) -> None:
        """End a session that is `passing`, and do not wait for the peer's answer; safe to call twice.

        Unlike `close` it can stand where nothing can be awaited: in a blocking call that is interrupted.
        """
        self._endpoint.end()
        self._endpoint.ended(None)

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        state = "ended" if self.error is not None else "begun"
        return f"<Session on {self._connection!r}, {state}>"

    def _address(self, address: str) -> str:
        expect("address", address, str, "a str")
        return node_address(address, self._connection.remote_properties)


def _mode(name: str, modes: Mapping[str, int]) -> int:
    if not isinstance(name, str) or name not in modes:
        raise ValueError(f"settle mode must be one of {', '.join(map(repr, modes))}, not {name!r}")
    return modes[name]
