"""Sessions of the blocking API of uamqp 1.6."""

from __future__ import annotations

import logging
from typing import Any, Self

from ._blocking import Blocking
from .address import Source as Source
from .address import Target as Target
from .async_ops.session_async import OnAttach, SessionAsync
from .connection import Connection
from .message import Message
from .transport.blocking import BlockingDriver


class Session(Blocking, SessionAsync):
    """A session on a `Connection`. Arguments and errors are those of `SessionAsync`."""

    _log = logging.getLogger(__name__)

    _connection: Connection

    def __init__(
        self,
        connection: Connection,
        incoming_window: int | None = None,
        outgoing_window: int | None = None,
        handle_max: int | None = None,
        on_attach: OnAttach | None = None,
    ) -> None:
        super().__init__(connection, incoming_window, outgoing_window, handle_max, on_attach=on_attach)

    def _driver(self) -> BlockingDriver:
        return self._connection._driver()

    def begin(self) -> None:
        """Begin the session, and open the connection where that was not done; safe to call twice."""
        self._run(self.begin_async())

    def mgmt_request(
        self, message: Message, operation: str | bytes, op_type: Any = None, node: Any = b"$management", **kwargs: Any
    ) -> Any:
        """A request to a management node, and its answer; as `SessionAsync.mgmt_request_async`."""
        return self._run(self.mgmt_request_async(message, operation, op_type, node, **kwargs))

    def destroy(self) -> None:
        """End the session and its links; safe to call twice. The connection lives on."""
        self._run(self.destroy_async())

    def end(self) -> None:
        """The same as `destroy`."""
        self.destroy()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *args: object) -> None:
        self.destroy()
