"""Sessions of the asynchronous API."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, ClassVar, Self

from .. import address, errors
from .._legacy import incoming
from .._signatures import also_in_order
from ..aio.link import Link
from ..aio.session import Session
from ..engine.limits import HANDLE_MAX, INCOMING_WINDOW
from ..message import Message
from .connection_async import ConnectionAsync
from .mgmt_operation_async import MgmtOperationAsync
from .utils import LoopBound
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed

#: Is called with source, target, link properties and error of each attach that the peer sends in a session.
OnAttach = Callable[[Any, Any, Any, Any], Any]


def _is_on_attach(value: Any) -> bool:
    """Whether the fifth argument is that of uamqp 1.6.11, and not a loop."""
    return value is None or callable(value)


class SessionAsync(LoopBound):
    """A session on a connection. Links begin it when they need it; `begin_async` does so at once.

    Args:
        connection: what it is on.
        incoming_window: transfers that the peer may have under way.
        outgoing_window: accepted; what goes out is bounded by the peer's window.
        handle_max: links that it may have, less one.
        loop: the event loop, as a check.
        on_attach: is called with source, target, properties and error of each attach that the peer sends. It may close
            what it was called for; other threads and tasks may use the link already. What it raises is logged.
    """

    _log: ClassVar = logging.getLogger(__name__)

    @also_in_order(
        *("connection", "incoming_window", "outgoing_window", "handle_max", "on_attach", "loop"),
        at=4,
        when=_is_on_attach,
    )
    def __init__(
        self,
        connection: ConnectionAsync,
        incoming_window: int | None = None,
        outgoing_window: int | None = None,
        handle_max: int | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        on_attach: OnAttach | None = None,
    ) -> None:
        super().__init__(loop)
        self._connection = connection
        self.incoming_window = incoming_window or INCOMING_WINDOW
        self.outgoing_window = outgoing_window or INCOMING_WINDOW
        self.handle_max = HANDLE_MAX if handle_max is None else handle_max
        self._on_attach = on_attach
        self._session: Session | None = None
        self._mgmt_links: dict[str | bytes, MgmtOperationAsync] = {}
        self._beginning = self._new_lock()

    async def begin_async(self) -> None:
        """Begin the session, and open the connection where that was not done; safe to call twice.

        Raises:
            MessageHandlerError: the peer ended the session.
            ClientTimeout: the peer did not answer.
            AMQPConnectionError, AuthenticationException, …: as `ConnectionAsync.open_async`.
        """
        self._check_loop()
        connection = self._connection
        await connection.open_async()
        async with self._beginning:
            if self._session is None:
                with errors.translated(connection.error_policy):
                    self._session = await connection.modern.session(
                        incoming_window=self.incoming_window, handle_max=self.handle_max
                    )
            elif self._session.error is not None:
                with errors.translated(connection.error_policy):
                    raise self._session.error.again()

    async def _tell_attached(self, link: Link, encoding: str) -> None:
        """Tell whoever wants to know of an attach of the peer."""
        if self._on_attach is not None:
            endpoint = link._endpoint
            source = address.Source.from_c_obj(endpoint.source, encoding)
            target = address.Target.from_c_obj(endpoint.target, encoding)
            await self._call_on_attach(source, target, incoming(link.remote_properties) or None, None)

    async def _tell_refused(self, error: Exception) -> None:
        if self._on_attach is not None:
            await self._call_on_attach(None, None, None, error)

    async def _call_on_attach(self, *arguments: Any) -> None:
        assert self._on_attach is not None
        try:
            await self._call(self._on_attach, *arguments)
        except Exception:
            self._log.exception("on_attach failed")

    @property
    def modern(self) -> Session:
        """The session of `uamqp.aio` under this one. Raises AMQPConnectionError where it was not begun."""
        if self._session is None:
            raise errors.AMQPConnectionError("the session has not begun; begin it first")
        return self._session

    async def mgmt_request_async(
        self,
        message: Message,
        operation: str | bytes,
        op_type: str | bytes | None = None,
        node: str | bytes = b"$management",
        **kwargs: Any,
    ) -> Any:
        """Send a request to a management node, and wait for its answer.

        Args:
            message: the request; its application properties gain ``operation`` and ``type``.
            operation: what to do.
            op_type: to what kind of thing; ``empty`` where there is none.
            node: the address of the node. Its links are attached once, and kept.
            **kwargs: ``callback``, a function that is given status code, answer and description, and whose result
                becomes that of this call; ``timeout``, milliseconds, 0 (the default) waits for ever;
                ``status_code_field`` and ``description_fields``, the names of application properties of the answer;
                ``encoding``, of str; ``debug``.

        Returns:
            The answer, whatever its status code is, or what `callback` returned.

        Raises:
            TimeoutError: there was no answer in time.
            AMQPConnectionError: there is no such node, or the connection is gone.
            ValueError: the answer has no status code.
        """
        timeout = kwargs.pop("timeout", None) or 0
        callback = kwargs.pop("callback", None)
        operations = self._mgmt_links.get(node)
        if operations is None:
            operations = self._mgmt_links[node] = MgmtOperationAsync(self, target=node, **kwargs)
        status, answer, description = await operations.execute_async(operation, op_type, message, timeout=timeout)
        if callback is None:
            return answer
        return await self._call(callback, status, answer, description)

    async def destroy_async(self) -> None:
        """End the session and its links; safe to call twice. The connection lives on."""
        self._mgmt_links.clear()
        async with self._beginning:
            session, self._session = self._session, None
            if session is not None:
                await session.close()

    async def end_async(self) -> None:
        """The same as `destroy_async`."""
        await self.destroy_async()

    async def __aenter__(self) -> Self:
        await self.begin_async()
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.destroy_async()
