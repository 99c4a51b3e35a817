"""One call, two uses: ``x = await open()`` and ``async with open() as x``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar

from ..exceptions import LocalProtocolError


class Closable(Protocol):
    """What can be opened this way can be closed."""

    async def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Opening(Generic[T]):
    """An operation that opens something: await it, or use it as an async context manager that closes what it opened."""

    __slots__ = ("_open", "_opened")

    def __init__(self, open: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._open = open
        self._opened: T | None = None

    def open(self) -> Coroutine[Any, Any, T]:
        """The operation as a coroutine."""
        return self._open()

    def __await__(self) -> Generator[Any, Any, T]:
        return self._open().__await__()

    async def __aenter__(self) -> T:
        if self._opened is not None:
            raise LocalProtocolError("this was opened by a block that is not left yet; call again for another one")
        self._opened = opened = await self._open()
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()
