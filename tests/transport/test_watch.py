from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from typing import Any

import pytest

from uamqp.broker import Broker
from uamqp.engine.connection import EMPTY_FRAME
from uamqp.exceptions import ConnectionLost
from uamqp.sync import Recovery, connect
from uamqp.transport import stream_opening
from uamqp.transport.watch import WATCH, Watch

from ..aio.peers import BOUND, Peer, threaded_server, wait_until


def asking() -> Peer:
    """A peer that wants heartbeats."""
    return Peer(settings={"idle_timeout": 1.0})


def test_heartbeats_go_out_while_the_program_does_something_else() -> None:
    with threaded_server(asking) as server, connect(server.url, timeout=BOUND):
        engine = server.peer.engine
        opened = engine.last_received
        wait_until(lambda: engine.last_received > opened)


def test_heartbeats_of_the_peer_are_seen_while_the_program_does_something_else() -> None:
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND, idle_timeout=0.5) as connection:
        for _ in range(20):
            server.call(server.peer.write, EMPTY_FRAME)
            time.sleep(0.05)
        assert connection.is_open
        connection.sender("q").send(b"x")


def test_a_silent_peer_is_given_up_while_the_program_does_something_else() -> None:
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND, idle_timeout=0.1) as connection:
        wait_until(lambda: connection.error is not None)
        assert "nothing arrived from the peer" in str(connection.error)


def test_a_connection_that_is_being_brought_back_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    entered, released = threading.Event(), threading.Event()

    def slow(*arguments: object) -> None:
        entered.set()
        assert released.wait(BOUND)
        raise ConnectionLost("nobody answers")

    with threaded_server(asking) as server, threaded_server(asking) as other:
        lost = connect(server.url, timeout=BOUND, recovery=Recovery(attempts=1))
        with connect(other.url, timeout=BOUND):
            monkeypatch.setattr(stream_opening, "_open_stream", slow)
            server.call(server.peer.cut)
            # Nobody uses the connection: it is the heartbeat that finds out.
            assert entered.wait(BOUND)
            seen = other.peer.engine.last_received
            wait_until(lambda: other.peer.engine.last_received > seen)
            released.set()
            wait_until(lambda: lost.error is not None)
        lost.close()


def test_one_thread_for_all() -> None:
    with threaded_server(asking) as server:
        connections = [connect(server.url, timeout=BOUND) for _ in range(5)]
        assert [thread.name for thread in threading.enumerate()].count("uamqp-heartbeat") == 1
        for connection in connections:
            connection.close()


def test_a_connection_that_is_forgotten_is_not_kept_alive() -> None:
    with threaded_server(asking) as server:
        connection = connect(server.url, timeout=BOUND)
        # So that the watch has had it in its hands.
        opened = server.peer.engine.last_received
        wait_until(lambda: server.peer.engine.last_received > opened)
        driver = weakref.ref(connection._driver)
        with pytest.warns(ResourceWarning):
            del connection

            def gone() -> bool:
                gc.collect()
                return driver() is None

            wait_until(gone)
        peer = server.peer
        wait_until(lambda: peer.engine.closed)


def test_a_connection_that_broke_in_the_background_tells_its_user() -> None:
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND) as connection:
        sender = connection.sender("q")

        def broken() -> None:
            raise ZeroDivisionError("a bug")

        connection._driver._read = broken  # type: ignore[method-assign]
        connection._driver.keep_alive()
        with pytest.raises(ConnectionLost, match="a bug"):
            sender.send(b"x")


def test_a_closed_driver_has_no_deadline() -> None:
    with threaded_server(asking) as server:
        connection = connect(server.url, timeout=BOUND)
        driver = connection._driver
        assert driver.next_deadline() is not None
        connection.close()
        assert driver.next_deadline() is None
        driver.keep_alive()


def test_forget_starts_anew() -> None:
    watch = Watch()
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND) as connection:
        watch._drivers.add(connection._driver)
        watch.forget()
        assert len(watch._drivers) == 0
        assert watch._thread is None
    assert WATCH is not watch


_FORK = """
import os, sys, time
from uamqp.sync import connect
from uamqp.exceptions import LocalProtocolError
from uamqp.transport import stream_opening
from uamqp.transport.watch import WATCH

connection = connect(sys.argv[1], timeout=10, idle_timeout=10)
sender = connection.sender("q")
sender.send("before")
read, write = os.pipe()
child = os.fork()
if child == 0:
    try:
        sender.send("never")
    except LocalProtocolError as error:
        os.write(write, str(error).encode())
    assert not WATCH._drivers
    with connect(sys.argv[1], timeout=10) as own:
        own.sender("q").send("child")
        assert len(WATCH._drivers) == 1
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
print(os.read(read, 1000).decode())
sender.send("after")
connection.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_connects_by_itself() -> None:
    with threaded_server(Peer) as server:
        command = [sys.executable, "-W", "ignore", "-c", _FORK, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert "made before fork(); connect again in this process" in done.stdout
        bodies = [delivery.body for peer in server._server.peers for delivery in peer.messages]
        assert sorted(bodies) == ["after", "before", "child"]


def test_a_deadline_that_comes_up_while_the_thread_waits_for_a_later_one() -> None:
    asked = threading.Event()

    class Watched:
        deadline = time.monotonic() + 1000

        def next_deadline(self) -> float:
            return self.deadline

        def keep_alive(self) -> None:
            self.deadline = time.monotonic() + 1000
            asked.set()

    watched = Watched()
    WATCH.add(watched)
    try:
        wait_until(lambda: WATCH._until is not None)
        watched.deadline = time.monotonic()
        WATCH.expect(watched.deadline)
        assert asked.wait(BOUND)
    finally:
        WATCH.remove(watched)


def test_what_is_collected_meanwhile_may_close_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with Broker.running() as broker:
        collected = threading.Event()

        class Owner:
            def __init__(self) -> None:
                self.connection = connect(broker.url)
                self.itself = self

            def __del__(self) -> None:
                self.connection.close()
                collected.set()

        class Collecting(weakref.WeakSet[Any]):
            def add(self, item: Any) -> None:
                gc.collect()
                super().add(item)

        monkeypatch.setattr(WATCH, "_drivers", Collecting(WATCH._drivers))
        gc.collect()
        gc.disable()
        try:
            Owner()
            connect(broker.url).close()
        finally:
            gc.enable()
        assert collected.is_set()
