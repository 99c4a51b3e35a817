"""What senders and receivers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..aio.options import DEFAULT, Timeout
from ..exceptions import AMQPError
from .face import Face

if TYPE_CHECKING:
    from .session import Session


class Link(Face):
    """A sender or a receiver."""

    def __init__(self, wrapped: Any, session: Session) -> None:
        super().__init__(wrapped, session._driver)
        self._session = session

    @property
    def session(self) -> Session:
        return self._session

    @property
    def name(self) -> str:
        return self._aio.name  # type: ignore[no-any-return]

    @property
    def address(self) -> str | None:
        return self._aio.address  # type: ignore[no-any-return]

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error  # type: ignore[no-any-return]

    @property
    def credit(self) -> int:
        return self._aio.credit  # type: ignore[no-any-return]

    @property
    def remote_properties(self) -> Mapping[Any, Any]:
        return self._aio.remote_properties  # type: ignore[no-any-return]

    @property
    def max_message_size(self) -> int | None:
        return self._aio.max_message_size  # type: ignore[no-any-return]

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.close(timeout=timeout))

    def __exit__(self, *exc: object) -> None:
        self.close()
