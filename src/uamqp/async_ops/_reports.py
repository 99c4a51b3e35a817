"""What became of messages, for the functions that are to be told."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..message import Message
from .sender_async import result_of
from .utils import LoopBound


class Reports:
    """Messages that have their outcome, and whose `on_send_complete` was not told yet, or is being told.

    A function is told when the work at hand is done, not in the midst of it: it may take its time, and use the client.

    Args:
        owner: whose functions they are called by.
        log: is told of functions that fail.
    """

    def __init__(self, owner: LoopBound, log: logging.Logger) -> None:
        self._owner = owner
        self._log = log
        self._untold: deque[tuple[Message, Exception | None]] = deque()
        #: A lock for each of them that somebody tells just now, held meanwhile.
        self._told: dict[Message, Any] = {}

    def __bool__(self) -> bool:
        return bool(self._untold or self._told)

    def add(self, message: Message, failure: Exception | None) -> None:
        """The message has its outcome; None where it got through."""
        if message.on_send_complete is not None:
            self._untold.append((message, failure))

    async def tell(self, messages: Iterable[Message] = ()) -> None:
        """Tell all who were not told yet; of `messages`, wait also for what others tell in another task or thread."""
        while self._untold:
            message, failure = self._untold.popleft()
            function = message.on_send_complete
            if function is None:
                continue
            lock = self._told[message] = self._owner._new_lock()
            try:
                async with lock:
                    await self._owner._call(function, result_of(failure), failure)
            except Exception:
                self._log.exception("on_send_complete failed")
            finally:
                self._told.pop(message, None)
        for message in messages if self._told else ():
            lock = self._told.get(message)
            if lock is not None:
                async with lock:
                    pass
