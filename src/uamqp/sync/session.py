"""Sessions, as blocking code has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .. import aio
from ..aio.credit import CreditPolicy
from ..aio.options import DEFAULT, PREFETCH, Timeout
from ..codec.definitions import Source, Target
from ..engine.limits import MAX_MESSAGE_SIZE
from ..exceptions import AMQPError
from .face import Face
from .receiver import Receiver
from .sender import Sender

if TYPE_CHECKING:
    from .connection import Connection


class Session(Face):
    """As `uamqp.aio.Session`."""

    _aio: aio.Session

    def __init__(self, wrapped: aio.Session, connection: Connection) -> None:
        super().__init__(wrapped, connection._driver)
        self._connection = connection

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error

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
    ) -> Sender:
        opening = self._aio.sender(
            address,
            name=name,
            settle_mode=settle_mode,
            target=target,
            source=source,
            capabilities=capabilities,
            desired_capabilities=desired_capabilities,
            properties=properties,
            timeout=timeout,
        )
        return Sender(self._driver.run(opening.open()), self)

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
    ) -> Receiver:
        opening = self._aio.receiver(
            address,
            prefetch=prefetch,
            credit=credit,
            name=name,
            settle_mode=settle_mode,
            sender_settle_mode=sender_settle_mode,
            dynamic=dynamic,
            filters=filters,
            source=source,
            target=target,
            capabilities=capabilities,
            desired_capabilities=desired_capabilities,
            properties=properties,
            max_message_size=max_message_size,
            timeout=timeout,
        )
        return Receiver(self._driver.run(opening.open()), self)

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.close(timeout=timeout))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
