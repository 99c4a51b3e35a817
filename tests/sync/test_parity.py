"""The blocking face has every name of the asyncio one, with the same arguments."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from uamqp import aio, sync
from uamqp.broker import Broker

CLASSES = ["Connection", "Session", "Sender", "Receiver"]
ASYNC_NAMES = {"__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__", "__anext__": "__next__"}
#: What a blocking delivery leaves out: it is not awaitable, and its engine's own parts are not for two threads.
DELIVERY_ONLY_ASYNC = {"link", "encoded", "position", "aborted", "answer", "chosen_tag", "waiter"}


def public(cls: type) -> dict[str, Any]:
    """The public members of a class, inherited ones included, and the special methods that users see."""
    from uamqp.engine.observer import Observer

    hidden = {name for name in vars(Observer) if not name.startswith("__")}
    return {
        name: inspect.getattr_static(cls, name)
        for name in dir(cls)
        if (not name.startswith("_") and name not in hidden) or name in ASYNC_NAMES
    }


def parameters(function: Any) -> list[tuple[str, Any, Any]]:
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", CLASSES)
def test_classes(name: str) -> None:
    ours, theirs = getattr(sync, name), getattr(aio, name)
    for member, value in public(theirs).items():
        blocking = inspect.getattr_static(ours, ASYNC_NAMES.get(member, member), None)
        assert blocking is not None, f"sync.{name} lacks {member}"
        if isinstance(value, property):
            assert isinstance(blocking, property), member
        elif inspect.isfunction(value):
            assert parameters(blocking) == parameters(value), member
            assert not inspect.iscoroutinefunction(blocking)


def test_connect() -> None:
    assert parameters(sync.connect) == parameters(aio.connect)


@pytest.mark.parametrize("name", ["IncomingDelivery", "OutgoingDelivery"])
def test_deliveries(name: str) -> None:
    ours, theirs = getattr(sync, name), getattr(aio, name)
    members = {*dir(theirs), *getattr(theirs, "__slots__", ())}
    for member in {m for m in members if not m.startswith("_")} - DELIVERY_ONLY_ASYNC:
        blocking = inspect.getattr_static(ours, member, None)
        assert blocking is not None, f"sync.{name} lacks {member}"
        if inspect.isfunction(blocking):
            # In compiled methods `self` is of another kind.
            assert parameters(blocking)[1:] == parameters(getattr(theirs, member))[1:], member


def test_exports() -> None:
    assert set(aio.__all__) == set(sync.__all__)


def test_what_hangs_on_what() -> None:
    with Broker.running() as broker, sync.connect(broker.url) as connection:
        with connection.session() as session, session.sender("queue") as sender:
            assert session.connection is connection
            assert sender.session is session
        with connection.receiver("queue") as receiver:
            assert receiver.session.connection is connection
