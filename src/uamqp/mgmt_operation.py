"""Management requests of the blocking API of uamqp 1.6."""

from __future__ import annotations

import logging

from ._blocking import Blocking
from .async_ops.mgmt_operation_async import Answer, MgmtOperationAsync
from .message import Message
from .session import Session
from .transport.blocking import BlockingDriver


class MgmtOperation(Blocking, MgmtOperationAsync):
    """Requests to one management node. Arguments are those of `MgmtOperationAsync`."""

    _log = logging.getLogger(__name__)

    _session: Session

    def __init__(
        self,
        session: Session,
        target: str | bytes | None = None,
        debug: bool = False,
        status_code_field: str | bytes = b"statusCode",
        description_fields: str | bytes = b"statusDescription",
        encoding: str = "UTF-8",
    ) -> None:
        super().__init__(session, target, debug, status_code_field, description_fields, encoding)

    def _driver(self) -> BlockingDriver:
        return self._session._driver()

    def execute(
        self, operation: str | bytes, op_type: str | bytes | None, message: Message, timeout: float = 0
    ) -> Answer:
        """Send a request, and wait for its answer; as `MgmtOperationAsync.execute_async`."""
        return self._run(self.execute_async(operation, op_type, message, timeout))

    def destroy(self) -> None:
        """Detach from the node; safe to call twice."""
        self._run(self.destroy_async())
