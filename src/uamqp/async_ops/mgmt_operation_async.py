"""Management requests of the asynchronous API."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from .. import errors, exceptions
from .._legacy import limit, octets, text
from ..aio.options import OPERATION_TIMEOUT
from ..aio.request import Requests
from ..codec import message as codec
from ..codec.primitives import LEGACY
from ..compat import TimeoutException as TimeoutException
from ..constants import MgmtOpenStatus
from ..message import Message
from .utils import LoopBound
from .utils import get_dict_with_loop_if_needed as get_dict_with_loop_if_needed

if TYPE_CHECKING:
    from .session_async import SessionAsync


class Answer(NamedTuple):
    """What a management node said.

    Attributes:
        status: the status code.
        message: the answer, which is settled.
        description: what it says of the status, as bytes.
    """

    status: int
    message: Message
    description: bytes


class MgmtOperationAsync(LoopBound):
    """Requests to one management node.

    Args:
        session: where the links will be.
        target: the address of the node; ``$management`` by default.
        debug: log what happens at level INFO.
        status_code_field, description_fields: the application properties of answers that have status and description.
        encoding: of str.
        loop: the event loop, as a check.

    Attributes:
        connection: what it is on.
        open: how attaching the links ended; None as long as that was not tried.
        mgmt_error: the error of the last request that was answered wrongly, or of links that could not be attached.
    """

    _log: ClassVar = logging.getLogger(__name__)

    def __init__(
        self,
        session: SessionAsync,
        target: str | bytes | None = None,
        debug: bool = False,
        status_code_field: str | bytes = b"statusCode",
        description_fields: str | bytes = b"statusDescription",
        encoding: str = "UTF-8",
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(loop)
        self._session = session
        self.connection = session._connection
        self.open: MgmtOpenStatus | None = None
        self.mgmt_error: Exception | None = None
        self._encoding = encoding
        self._level = logging.INFO if debug else logging.DEBUG
        self.target = octets(target or b"$management", encoding)
        self._status_code_field = octets(status_code_field, encoding)
        self._description_field = octets(description_fields, encoding)
        self._requests: Requests | None = None
        self._opening = session._new_lock()

    async def execute_async(
        self, operation: str | bytes, op_type: str | bytes | None, message: Message, timeout: float = 0
    ) -> Answer:
        """Send a request, and wait for its answer.

        Args:
            operation: what to do.
            op_type: to what kind of thing; ``empty`` where there is none.
            message: the request.
            timeout: milliseconds for the links and the answer; 0 waits for ever. Beginning the session has its own.

        Raises: as `SessionAsync.mgmt_request_async`.
        """
        request = codec.Message.decode(*message._to_send())
        request.application_properties["operation"] = text(operation, self._encoding)
        request.application_properties["type"] = text(op_type or b"empty", self._encoding)
        seconds = limit("timeout", timeout) / 1000 or None
        with errors.translated(self._session._connection.error_policy):
            try:
                await self._session.begin_async()
                left = self._session.modern._driver.countdown(seconds)
                requests = await self._attached(
                    OPERATION_TIMEOUT if seconds is None else min(seconds, OPERATION_TIMEOUT)
                )
                delivery = await requests.request(request, left())
            except exceptions.OperationTimeout as error:
                if seconds is None:
                    raise
                raise TimeoutError(f"Failed to receive mgmt response in {timeout}ms") from error
        answer = Message(message=codec.Message.decode(delivery.payload, delivery.message_format, LEGACY))
        facts = answer.application_properties or {}
        status, description = facts.get(self._status_code_field), facts.get(self._description_field)
        if not isinstance(status, int):
            self.mgmt_error = ValueError(
                "Management Operation error ocurred. "
                f"The answer has no {self._status_code_field.decode(self._encoding, 'replace')}."
            )
            raise self.mgmt_error
        self._log.log(self._level, "%r of %r: %s", operation, self.target, status)
        return Answer(status, answer, b"None" if description is None else description)

    async def _attached(self, seconds: float) -> Requests:
        self._check_loop()
        session = self._session.modern
        async with self._opening:
            requests = self._requests
            if requests is not None and requests.usable:
                return requests
            if requests is not None:
                requests.retire()
            refused: exceptions.LinkDetached | None = None
            try:
                opened = await Requests.open_paired(session, self.target.decode(self._encoding), seconds)
            except exceptions.LinkDetached as error:
                refused = error
                self.open = MgmtOpenStatus.Error
            else:
                self.open = MgmtOpenStatus.Ok
                self._requests = opened
        # A function of the application is told.
        if refused is not None:
            self.mgmt_error = failure = errors.AMQPConnectionError(f"Failed to open mgmt link: {refused}")
            await self._session._tell_refused(errors.translate(refused))
            raise failure from refused
        for link in (opened._sender, opened._receiver):
            await self._session._tell_attached(link, self._encoding)
        return opened

    async def destroy_async(self) -> None:
        """Detach from the node; safe to call twice."""
        async with self._opening:
            requests, self._requests = self._requests, None
            if requests is not None:
                await requests.close(OPERATION_TIMEOUT)
