"""Event loops given as arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from ..transport.driver import Waiter
from ..utils import get_running_loop
from ._lock import Lock

T = TypeVar("T")

__all__ = ["LoopBound", "get_dict_with_loop_if_needed", "get_running_loop"]


def get_dict_with_loop_if_needed(loop: asyncio.AbstractEventLoop | None) -> dict[str, Any]:
    """The loop as keyword arguments: none where there is no loop."""
    return {} if loop is None else {"loop": loop}


class LoopBound:
    """An object that may be told its event loop; it then refuses to be used in another one.

    Nothing else comes of the argument `loop`: what runs, runs in the loop that is running.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is not None and not isinstance(loop, asyncio.AbstractEventLoop):
            raise TypeError(f"loop is an event loop, not {type(loop).__name__}")
        self._loop = loop
        #: The argument `loop` for what is made by this object, where there is one.
        self._internal_kwargs = get_dict_with_loop_if_needed(loop)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that was given, else the one that is running. Raises RuntimeError where there is neither."""
        return self._loop or asyncio.get_running_loop()

    def _new_waiter(self) -> Waiter:
        """Something to wait for."""
        return asyncio.get_running_loop().create_future()

    def _new_lock(self) -> Any:
        """A lock for coroutines of this object: `async with`, and the attribute `locked`."""
        return Lock(self._new_waiter)

    def _here(self) -> Any:
        """What runs now: the task; in blocking code, the thread."""
        return asyncio.current_task()

    async def _outside(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of the application; in blocking code, with no lock held."""
        return function(*arguments)

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, or coroutine function, of the application."""
        result = await self._outside(function, *arguments)
        return await result if hasattr(result, "__await__") else result

    def _check_loop(self) -> None:
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError(
                f"this {type(self).__name__} was made with another event loop than the one that is running; "
                "leave the argument loop out, or make it in the loop that uses it"
            )
