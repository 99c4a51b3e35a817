"""Cancelling an operation at each await it has."""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any


@types.coroutine
def cancelled_at(operation: Coroutine[Any, Any, Any], turn: int, after: bool) -> Generator[Any, Any, Any]:
    """The operation, with its task cancelled at its `turn`-th suspension, or just `after` that was over."""
    task = asyncio.current_task()
    assert task is not None
    suspensions = 0
    resume: Callable[[], Any] = lambda: operation.send(None)  # noqa: E731
    while True:
        try:
            future = resume()
        except StopIteration as stop:
            return stop.value
        suspensions += 1
        if suspensions == turn:
            if after and future is not None:
                # Called before the task's own callback, which was not added yet.
                future.add_done_callback(lambda _: task.cancel())
            else:
                task.cancel()
        try:
            yield future
            resume = lambda: operation.send(None)  # noqa: E731
        except BaseException as error:
            resume = lambda error=error: operation.throw(error)  # type: ignore[misc]  # noqa: E731
