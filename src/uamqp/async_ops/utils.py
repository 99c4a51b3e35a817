"""Event loops given as arguments."""

from __future__ import annotations

import asyncio
from typing import Any


class LoopBound:
    """An object that may be told its event loop; it then refuses to be used in another one.

    Nothing else comes of the argument `loop`: what runs, runs in the loop that is running.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        if loop is not None and not isinstance(loop, asyncio.AbstractEventLoop):
            raise TypeError(f"loop is an event loop, not {type(loop).__name__}")
        self._loop = loop
        self._internal_kwargs: dict[str, Any] = {}

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that was given, else the one that is running. Raises RuntimeError where there is neither."""
        return self._loop or asyncio.get_running_loop()

    def _check_loop(self) -> None:
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            raise RuntimeError(
                f"this {type(self).__name__} was made with another event loop than the one that is running; "
                "leave the argument loop out, or make it in the loop that uses it"
            )
