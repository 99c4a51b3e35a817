"""What every object of the blocking API is: a face on one of `uamqp.aio`."""

from __future__ import annotations

from typing import Any

from ..transport.blocking import BlockingDriver


class Face:
    """A blocking face on an object of `uamqp.aio`."""

    _aio: Any

    def __init__(self, wrapped: Any, driver: BlockingDriver) -> None:
        self._aio = wrapped
        self._driver = driver

    def __repr__(self) -> str:
        return repr(self._aio)
