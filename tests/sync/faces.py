"""One text for both faces: a scenario is a coroutine over `Face`, which awaits really, or calls and does not wait.

    @both
    async def test_something(face: Face) -> None:
        async with face.connect(face.url) as connection:
            ...

With asyncio `face` is `uamqp.aio`. With the blocking face it is a wrapping of `uamqp.sync` whose calls can be awaited,
but are done when they return: such a scenario never suspends, so one `send(None)` runs it, without any event loop.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

import pytest

from uamqp import aio, sync
from uamqp.aio.opening import Opening

_WRAPPED = (
    sync.Connection,
    sync.Session,
    sync.Sender,
    sync.Receiver,
    sync.IncomingDelivery,
    sync.OutgoingDelivery,
)


class _Done:
    """The result of a blocking call, to be awaited or to be used as a context."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._value
        yield

    async def __aenter__(self) -> Any:
        return _wrap(self._value.unwrapped.__enter__())

    async def __aexit__(self, *exc: Any) -> None:
        self._value.unwrapped.__exit__(*exc)


class _Blocking:
    """An object of the blocking face that looks like one of asyncio's."""

    def __init__(self, unwrapped: Any) -> None:
        self.unwrapped = unwrapped

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.unwrapped, name)
        if not inspect.ismethod(value):
            return _wrap(value)
        waits = _waits(type(self.unwrapped).__name__, name)

        @functools.wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = [a.unwrapped if isinstance(a, _Blocking) else a for a in args]
            result = _wrap(value(*arguments, **kwargs))
            return _Done(result) if waits else result

        return call

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.unwrapped:
            yield _wrap(item)

    async def __aenter__(self) -> _Blocking:
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self.unwrapped.__exit__(*exc)


def _waits(cls: str, name: str) -> bool:
    """Whether asyncio's own method is to be awaited."""
    method = getattr(getattr(aio, cls), name)
    return inspect.iscoroutinefunction(method) or "Opening" in str(inspect.signature(method).return_annotation)


def _wrap(value: Any) -> Any:
    if isinstance(value, _WRAPPED):
        return _Blocking(value)
    return [_wrap(item) for item in value] if isinstance(value, list) else value


class Face:
    """The module under test, and where the broker is."""

    def __init__(self, blocking: bool, broker: Any) -> None:
        self.blocking = blocking
        self.broker = broker
        self.url: str = broker.url

    def connect(self, url: str | None = None, **options: Any) -> Any:
        options = {"timeout": 10, **options}
        if self.blocking:
            return _Done(_wrap(sync.connect(url or self.url, **options)))
        opening = aio.connect(url or self.url, **options)
        assert isinstance(opening, Opening)
        return opening

    def run(self, scenario: Coroutine[Any, Any, None]) -> None:
        if not self.blocking:
            asyncio.run(scenario)
            return
        try:
            scenario.send(None)
        except StopIteration:
            return
        raise AssertionError("a blocking scenario was suspended")


def both(scenario: Callable[[Face], Coroutine[Any, Any, None]]) -> Any:
    """Make a test for each face of the scenario; needs the fixture `broker`, which runs in a thread."""

    @pytest.mark.parametrize("blocking", [False, True], ids=["aio", "sync"])
    def test(blocking: bool, broker: Any) -> None:
        face = Face(blocking, broker)
        face.run(scenario(face))

    test.__doc__ = scenario.__doc__
    return test
