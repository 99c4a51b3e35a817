"""Event loops that stand still."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator

import pytest

from uamqp.aio import connect
from uamqp.transport import stall
from uamqp.transport.stall import StallWatch

from ..aio.peers import BOUND, Peer, eventually, peer_server


def asking() -> Peer:
    """A peer that wants heartbeats."""
    return Peer(settings={"idle_timeout": 0.4})


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stall, "PATIENCE", 0.05)


def compute_for_long(until: threading.Event) -> None:
    """Keeps the thread to itself."""
    assert until.wait(BOUND)


class Told(logging.Handler):
    """Hears of it, in whatever thread that is said."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.threads: list[int] = []
        self.heard = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.threads.append(record.thread or 0)
        self.heard.set()


@pytest.fixture
def told() -> Iterator[Told]:
    logger, handler = logging.getLogger("uamqp.transport.stall"), Told()
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


async def test_what_blocks_the_loop_is_told_while_it_does(told: Told) -> None:
    asyncio.get_running_loop().set_debug(True)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    async with peer_server(asking) as server, connect(server.url):
        for number in range(2):
            told.heard.clear()
            # Goes on only when it was heard of: by another thread, that is, while this one is blocked.
            compute_for_long(told.heard)
            assert "compute_for_long(told.heard)" in told.texts[-1]
            assert "what blocks it" in told.texts[-1]
            assert told.threads[-1] != threading.get_ident()
            ticks = server.peer.engine.last_received
            await eventually(lambda ticks=ticks: server.peer.engine.last_received > ticks)
            assert len(told.texts) >= number + 1


async def test_without_debug_mode_it_is_told_afterwards(told: Told) -> None:
    before = threading.active_count()
    async with peer_server(asking) as server, connect(server.url):
        time.sleep(0.8)
        assert not told.texts
        await eventually(lambda: told.texts)
        assert "stood still for 0." in told.texts[0]
        assert told.threads[0] == threading.get_ident()
    assert threading.active_count() <= before


async def test_a_loop_that_is_in_time_is_not_told_of(told: Told) -> None:
    async with peer_server(asking) as server, connect(server.url):
        opened = server.peer.engine.last_received
        await eventually(lambda: server.peer.engine.last_received > opened)
    assert not told.texts


def test_a_thread_that_is_gone(told: Told) -> None:
    watches: list[StallWatch] = []
    thread = threading.Thread(target=lambda: watches.append(StallWatch(debug=False)))
    thread.start()
    thread.join()
    (watch,) = watches
    watch.expect(0.0, 0.0)
    assert watch.next_deadline() is not None
    watch.keep_alive()
    assert watch.next_deadline() is None
    assert not told.texts
