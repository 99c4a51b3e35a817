"""What became of messages, for the functions that are to be told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from ..message import Message
from .sender_async import result_of
from .utils import LoopBound


class Reports:
    """Messages that have their outcome, and whose `on_send_complete` is to be told.

    A function is told when the work at hand is done, not in the midst of it: it may take its time, and use the client.
    Where a call is cancelled or interrupted, the next one tells what it left.

    Args:
        owner: whose functions they are called by.
        log: is told of functions that fail.
    """

    def __init__(self, owner: LoopBound, log: logging.Logger) -> None:
        self._owner = owner
        self._log = log
        #: Why each of them failed, or None; oldest first.
        self._untold: dict[Message, Exception | None] = {}
        #: A lock for each of them that is being told, held meanwhile.
        self._telling: dict[Message, Any] = {}
        #: The tasks or threads that tell.
        self._tellers: set[Any] = set()

    def __bool__(self) -> bool:
        return bool(self._untold or self._telling)

    def add(self, message: Message, failure: Exception | None) -> None:
        """The message has its outcome; None where it got through."""
        if message.on_send_complete is not None:
            self._untold[message] = failure

    async def tell(self, messages: Iterable[Message] = ()) -> None:
        """Tell all who were not told yet; of `messages`, wait also for what others tell in another task or thread.

        Called by a function that is told, it tells of `messages` only: the others have their turn when that is over.
        """
        if not self:
            return
        me = self._owner._here()
        if me in self._tellers:
            for message in messages:
                await self._tell(message)
            return
        self._tellers.add(me)
        try:
            for message in self._oldest():
                await self._tell(message)
        finally:
            self._tellers.discard(me)
        for message in messages if self._telling else ():
            lock = self._telling.get(message)
            if lock is not None:
                async with lock:
                    pass

    def _oldest(self) -> Iterator[Message]:
        while True:
            try:
                yield next(iter(self._untold))
            except StopIteration:
                return

    async def _tell(self, message: Message) -> None:
        try:
            failure = self._untold.pop(message)
        except KeyError:
            # Another thread was faster.
            return
        function = message.on_send_complete
        if function is None:
            return
        lock = self._telling[message] = self._owner._new_lock()
        try:
            async with lock:
                await self._owner._call(function, result_of(failure), failure)
        except GeneratorExit:
            # The call was interrupted before it came to that.
            self._untold[message] = failure
            raise
        except Exception:
            self._log.exception("on_send_complete failed")
        finally:
            self._telling.pop(message, None)
