"""What senders and receivers of the asynchronous API have in common."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import NoneType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar
from uuid import uuid4

from .. import address, errors
from .._legacy import fields, member, names, octets, text
from ..aio.arguments import expect
from ..aio.link import Link
from ..codec import definitions
from ..constants import MessageReceiverState, MessageSenderState, ReceiverSettleMode, SenderSettleMode
from .session_async import SessionAsync
from .utils import LoopBound

L = TypeVar("L", bound=Link)
State = MessageSenderState | MessageReceiverState

#: What `uamqp.aio` calls the settle modes of senders.
SETTLE_MODES: Final = {
    SenderSettleMode.Unsettled: "unsettled",
    SenderSettleMode.Settled: "settled",
    SenderSettleMode.Mixed: "mixed",
}


class LinkAsync(LoopBound, Generic[L]):
    """A sender or receiver, and its state.

    Attributes:
        name: bytes.
        source, target: the termini, as they were given.
        error_policy: sets the `action` of errors of the link.
    """

    _log: ClassVar[logging.Logger]
    _states: ClassVar[Any]
    _kind: ClassVar[str]

    def __init__(
        self,
        session: SessionAsync,
        source: address.Address | str | bytes | None,
        target: address.Address | str | bytes | None,
        name: str | bytes | None,
        send_settle_mode: SenderSettleMode | None,
        receive_settle_mode: ReceiverSettleMode | None,
        max_message_size: int | None,
        properties: Mapping[Any, Any] | None,
        desired_capabilities: Any,
        error_policy: errors.ErrorPolicy | None,
        debug: bool,
        encoding: str,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        super().__init__(loop)
        expect("session", session, SessionAsync, "a session")
        expect("error_policy", error_policy, (errors.ErrorPolicy, NoneType), "an ErrorPolicy")
        self._session = session
        self._encoding = encoding
        self.name = octets(name or f"{self._kind}-link-{uuid4()}", encoding)
        self.source = source
        self.target = target
        self.send_settle_mode = member(SenderSettleMode, send_settle_mode) or SenderSettleMode.Unsettled
        self.receive_settle_mode = member(ReceiverSettleMode, receive_settle_mode) or ReceiverSettleMode.PeekLock
        self.max_message_size = max_message_size
        self.error_policy = error_policy or errors.ErrorPolicy()
        self._properties = fields(properties, encoding)
        self._desired_capabilities = names(desired_capabilities, encoding)
        self._level = logging.INFO if debug else logging.DEBUG
        self._modern: L | None = None
        self._state: Any = self._states.Idle
        self._error: BaseException | None = None
        self._opening = self._new_lock()
        self._closings = 0

    # --- opening ----------------------------------------------------------------------------------------------

    async def open_async(self) -> None:
        """Attach the link, and begin the session and open the connection where that was not done.

        Safe to call twice; a link that has ended does not come back.

        Raises:
            LinkDetach: the peer refused; `condition` says why.
            ClientTimeout: the peer did not answer.
            AMQPConnectionError, AuthenticationException, …: as `ConnectionAsync.open_async`.
        """
        self._check_loop()
        closings = self._closings
        async with self._opening:
            if closings != self._closings:
                # Whoever closed it does not expect it to come back.
                raise _closed(self.name)
            if self._modern is not None or self._error is not None:
                self.get_state()
                return
            await self._session.begin_async()
            self._change_state(self._states.Opening)
            problem: BaseException | None = None
            try:
                with errors.translated(self.error_policy):
                    self._modern = link = await self._attach()
            except BaseException as error:
                # Refused, or the connection is lost: that is final. Anything else may be tried again.
                self._error = error if isinstance(error, errors.AMQPConnectionError) else None
                self._change_state(self._states.Idle if self._error is None else self._states.Error)
                problem = error
            else:
                self._change_state(self._states.Open)
        # A function of the application is told, which may close this.
        if problem is None:
            await self._session._tell_attached(link, self._encoding)
            return
        try:
            if isinstance(problem, errors.LinkDetach):
                await self._session._tell_refused(problem)
            raise problem
        finally:
            # Else it would hold itself, by its traceback.
            del problem

    async def _attach(self) -> L:
        raise NotImplementedError

    def _wire_source(self, *, ours: bool) -> definitions.Source:
        if self.source is None:
            return definitions.Source()
        return address.Source.for_node(self.source, self._encoding).to_source({} if ours else self._peer_properties)

    def _wire_target(self, *, ours: bool) -> definitions.Target:
        if self.target is None:
            return definitions.Target()
        return address.Target.for_node(self.target, self._encoding).to_target({} if ours else self._peer_properties)

    @property
    def _peer_properties(self) -> Mapping[Any, Any]:
        return self._session._connection.modern.remote_properties

    @property
    def _link(self) -> Self:
        """The link; there are libraries that ask it for `peer_max_message_size`."""
        return self

    @property
    def peer_max_message_size(self) -> int:
        """Bytes of the largest message that the peer takes on this link; 0 where it has not said."""
        attach = None if self._modern is None else self._modern._endpoint.remote_attach
        return 0 if attach is None else attach.max_message_size or 0

    # --- state ------------------------------------------------------------------------------------------------

    def get_state(self) -> Any:
        """The state of the link; raises the error of one that has ended, each time."""
        if self._error is not None:
            # Without the traceback of the last time, which would grow.
            raise self._error.with_traceback(None)
        if self._modern is not None and self._modern.error is not None:
            with errors.translated(self.error_policy):
                try:
                    raise self._modern.error.again()
                finally:
                    self._change_state(self._states.Error)
        return self._state

    def on_state_changed(self, previous_state: Any, new_state: Any) -> None:
        """Is called when the state changes; subclasses may override it."""
        self._log.log(self._level, "the %s %r: %s -> %s", self._kind, self.name, previous_state, new_state)

    def _change_state(self, state: Any) -> None:
        previous, self._state = self._state, state
        if previous is not state:
            self.on_state_changed(previous, state)

    @property
    def _is_attached(self) -> bool:
        """Whether the link is there, or is being brought back."""
        return self._modern is not None and self._error is None and self._modern.error is None

    @property
    def _is_opening(self) -> bool:
        """Whether the peer has yet to say whether it takes the link."""
        return self._modern is None and self._opening.locked

    async def _usable(self) -> L:
        """The attached link. Raises the error of one that has ended."""
        if self._modern is None:
            await self.open_async()
        self.get_state()
        return self._attached()

    async def work_async(self) -> None:
        """Let the link work for a moment; raises the error of one that has ended, each time."""
        raise NotImplementedError

    def _attached(self) -> L:
        if self._modern is None:
            raise _closed(self.name)
        return self._modern

    # --- the end ----------------------------------------------------------------------------------------------

    async def destroy_async(self) -> None:
        """Detach the link; safe to call twice. Session and connection live on."""
        self._closings += 1
        async with self._opening:
            link, self._modern = self._modern, None
            if link is not None:
                self._change_state(self._states.Closing)
                await link.close()
            self._change_state(self._states.Idle)

    async def close_async(self) -> None:
        """The same as `destroy_async`."""
        await self.destroy_async()

    async def __aenter__(self) -> Self:
        await self.open_async()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.destroy_async()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {text(self.name, self._encoding)!r}, {self._state.name}>"


def _closed(name: bytes) -> errors.AMQPConnectionError:
    return errors.AMQPConnectionError(f"the link {name.decode(errors='replace')!r} is closed; open it first")
