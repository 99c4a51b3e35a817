from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from uamqp import aio
from uamqp.aio.connection import open_connection
from uamqp.aio.options import connection_options
from uamqp.aio.recovery import Happening
from uamqp.broker import Broker
from uamqp.engine.connection import EMPTY_FRAME
from uamqp.engine.link import LinkEndpoint
from uamqp.exceptions import ConnectionLost, InDoubt, LocalProtocolError, NotSent, OperationTimeout
from uamqp.sync import Connection, Message, OnDemand, Recovery, RecoveryEvent, Token, connect
from uamqp.transport import blocking, event_loop, stream_opening
from uamqp.transport.address import parse_url
from uamqp.transport.blocking import BlockingDriver
from uamqp.transport.driver import wake

from ..aio.peers import BOUND, BrokenPipe, Peer, Wrapped, threaded_server, wait_until
from .test_event_loop import closed_port, full_port


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running() as broker:
        yield broker


@pytest.fixture
def connection(broker: Broker) -> Iterator[Connection]:
    with connect(broker.url, timeout=BOUND) as connection:
        yield connection


class Polls:
    """Counts waits for the socket in place of `select.poll`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        #: Those that do not wait.
        self.looks = 0
        self.sleeping = threading.Event()
        real = select.poll

        class Counted:
            def __init__(poll) -> None:
                poll.real = real()
                poll.register = poll.real.register

            def poll(poll, milliseconds: int) -> Any:
                if milliseconds:
                    self.count += 1
                    self.sleeping.set()
                else:
                    self.looks += 1
                return poll.real.poll(milliseconds)

        module = type("select", (), {"poll": Counted, "POLLIN": select.POLLIN, "POLLOUT": select.POLLOUT})
        monkeypatch.setattr(blocking, "select", module)
        # Connections that there are forget what they waited with.
        monkeypatch.setattr(
            BlockingDriver, "_polled", property(lambda driver: None, lambda driver, value: None), raising=False
        )


@contextmanager
def interrupted(delay: float = 0.05) -> Iterator[None]:
    """A KeyboardInterrupt for this thread while it waits."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    timer.start()
    try:
        yield
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def round_trip(connection: Connection) -> None:
    with connection.sender("round-trip") as sender, connection.receiver("round-trip") as receiver:
        sender.send("there and back")
        delivery = receiver.receive()
        assert delivery.body == "there and back"
        delivery.accept()


# -- connecting ------------------------------------------------------------------------------------------------------


def test_nobody_listens() -> None:
    with closed_port() as port, pytest.raises(ConnectionLost, match=f"cannot connect to amqp://127.0.0.1:{port}: "):
        connect(f"amqp://127.0.0.1:{port}")


def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ConnectionLost, match=r"cannot connect to amqp://nowhere\.invalid:5672: "):
        connect("amqp://nowhere.invalid")


def test_nobody_accepts() -> None:
    with full_port() as port, pytest.raises(OperationTimeout, match=r"no connection to .* within 0\.1 s"):
        connect(f"amqp://127.0.0.1:{port}", connect_timeout=0.1)


@pytest.mark.parametrize("face", ["aio", "sync"])
def test_an_address_that_does_not_answer_is_passed_over(monkeypatch: pytest.MonkeyPatch, face: str) -> None:
    monkeypatch.setattr(stream_opening, "ADDRESS_PATIENCE", 0.05)
    monkeypatch.setattr(event_loop, "ADDRESS_PATIENCE", 0.05)
    with full_port() as silent, closed_port() as refusing, threaded_server(Peer) as server:
        ports = [silent, refusing, parse_url(server.url).port]
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port)) for port in ports]
        # A family that this system does not have.
        addresses.insert(0, (socket.AddressFamily.AF_APPLETALK, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1)))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: addresses[:])
        if face == "sync":
            connect("amqp://localhost", timeout=BOUND).close()
            return

        async def run() -> None:
            async with aio.connect("amqp://localhost", timeout=BOUND):
                pass

        asyncio.run(run())


def test_a_peer_that_never_opens() -> None:
    with (
        threaded_server(lambda: Peer("on_open")) as server,
        pytest.raises(OperationTimeout, match="did not finish the opening handshake"),
    ):
        connect(server.url, connect_timeout=0.1)


def test_a_peer_that_hangs_up_at_once() -> None:
    class Rude(Peer):
        def authenticate(self, mechanism: str, response: bytes) -> str | None:
            self.cut()
            return None

    with threaded_server(Rude) as server, pytest.raises(ConnectionLost):
        connect(server.url, timeout=BOUND)


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc on this system")
def test_no_descriptor_is_left_open(broker: Broker) -> None:
    def refused() -> None:
        with closed_port() as port, pytest.raises(ConnectionLost):
            connect(f"amqp://127.0.0.1:{port}")

    def used() -> None:
        with connect(broker.url, timeout=BOUND) as connection:
            connection.sender("q").send(b"x")

    def closed_by_the_peer() -> None:
        connection = connect(broker.url, timeout=BOUND)
        broker.call(broker.drop_connections)
        connection.wait_closed(timeout=BOUND)
        # Not closed here, and yet nothing is held.

    def handshake_failed() -> None:
        with pytest.raises(ConnectionLost):
            connect(broker.url.replace("amqp:", "amqps:"), timeout=BOUND)

    before = len(descriptors())
    for use in (refused, used, closed_by_the_peer, handshake_failed):
        use()
        # The broker, in its own thread, may need a moment for its end of the connection.
        wait_until(lambda: broker.call(lambda: broker.connections) == 0)
        wait_until(lambda: len(descriptors()) == before)


def test_no_descriptors_are_left_to_open(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    before = len(descriptors())
    with monkeypatch.context() as patched:
        patched.setattr(os, "pipe", fail)
        with pytest.raises(ConnectionLost, match="Too many open files"):
            connect(broker.url, timeout=BOUND)
    # The broker has seen the connection that came to nothing when it has seen another one.
    connect(broker.url, timeout=BOUND).close()
    wait_until(lambda: len(descriptors()) == before)


# -- callers ---------------------------------------------------------------------------------------------------------


def test_a_call_from_inside_a_running_loop_is_refused(connection: Connection) -> None:
    sender = connection.sender("q")

    async def run() -> None:
        with pytest.raises(LocalProtocolError, match=r"use the asynchronous classes there"):
            sender.send(b"x")
        with pytest.raises(LocalProtocolError, match=r"use the asynchronous classes there"):
            sender.send_nowait(b"x")
        with pytest.raises(LocalProtocolError, match=r"use the asynchronous classes there"):
            connect("amqp://127.0.0.1:1")

    asyncio.run(run())
    sender.send(b"x")


def test_calls_from_inside_a_call_of_the_same_thread(connection: Connection) -> None:
    with connection.sender("in") as sender, connection.receiver("in", credit=OnDemand()) as receiver:
        sender.send_many(["a", "b", "c"])
        with connection.sender("out") as out:
            out.send_many(receiver.receive().body for _ in range(3))
    with connection.receiver("out") as receiver:
        assert [receiver.receive().body for _ in range(3)] == ["a", "b", "c"]


def test_many_threads_on_one_connection(connection: Connection) -> None:
    threads, count = 8, 30

    def work(number: int) -> list[Any]:
        with connection.sender(f"q{number}") as sender, connection.receiver(f"q{number}") as receiver:
            bodies = []
            for n in range(count):
                sender.send(f"{number}-{n}")
                delivery = receiver.receive()
                bodies.append(delivery.body)
                delivery.accept()
            return bodies

    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(work, range(threads)))
    assert results == [[f"{number}-{n}" for n in range(count)] for number in range(threads)]


def test_many_threads_on_one_sender_and_one_receiver(connection: Connection) -> None:
    threads, count = 6, 50
    sender, receiver = connection.sender("q"), connection.receiver("q", prefetch=10)

    def send(number: int) -> set[int]:
        return {sender.send(f"{number}-{n}").id for n in range(count)}

    def receive(number: int) -> list[Any]:
        bodies = []
        for _ in range(count):
            delivery = receiver.receive()
            bodies.append(delivery.body)
            delivery.accept()
        return bodies

    with ThreadPoolExecutor(2 * threads) as pool:
        received = [pool.submit(receive, n) for n in range(threads)]
        sent = [pool.submit(send, n) for n in range(threads)]
        ids = [id for future in sent for id in future.result(BOUND)]
        bodies = [body for future in received for body in future.result(BOUND)]
    assert len(ids) == len(set(ids)) == threads * count
    assert sorted(bodies) == sorted(f"{number}-{n}" for number in range(threads) for n in range(count))


def test_threads_that_wait_sleep(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """One waits for the socket, the others for it, and nobody looks again and again."""
    receivers = [connection.receiver(f"q{n}") for n in range(4)]
    polls = Polls(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(receiver.receive, timeout=0.3) for receiver in receivers]
        for future in waiting:
            with pytest.raises(OperationTimeout):
                future.result(BOUND)
    # Each is leader until its own time is over; coarse timers may need a second look.
    assert 1 <= polls.count <= 16


def test_only_an_answer_is_looked_for(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_LOOKING", 0.000_2)
    receiver = connection.receiver("q")
    polls = Polls(monkeypatch)
    # A look takes 50 µs on this clock.
    connection._driver.now = partial(next, itertools.count(time.monotonic(), 0.000_05))
    connection._driver._rests = 0
    with pytest.raises(OperationTimeout):
        receiver.receive(timeout=0.1)
    # Perhaps credit was written before; looking has an end.
    assert polls.looks <= 5
    polls.looks = 0
    with pytest.raises(OperationTimeout):
        receiver.receive(timeout=0.1)
    assert polls.looks == 0
    assert polls.count


def test_what_took_long_to_read_was_heard_just_now(connection: Connection) -> None:
    """However long before the turn began."""
    heard: list[float] = []

    class Slow(Wrapped):
        def recv_into(self, buffer: memoryview) -> int:
            count: int = self._stream.recv_into(buffer)
            heard.append(time.monotonic())
            return count

    connection._driver._socket = Slow(connection._driver._socket)  # type: ignore[assignment]
    connection.sender("q").send("x")
    engine = connection._driver._engine
    assert engine is not None
    assert heard
    assert engine.last_received >= heard[-1]


@pytest.mark.parametrize("share", [0.5, 1])
def test_what_was_sent_as_an_interrupt_came_is_not_sent_again(connection: Connection, share: float) -> None:
    """All that is known of the stream is that it is of no more use."""
    written: list[bytes] = []

    class Interrupted(Wrapped):
        def send(self, data: bytes) -> int:
            written.append(data)
            self._stream.send(data[: int(len(data) * share)])
            raise KeyboardInterrupt

    sender = connection.sender("q")
    connection._driver._socket = Interrupted(connection._driver._socket)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        sender.send("interrupted")
    with pytest.raises(ConnectionLost):
        sender.send("another")
    assert len(written) == 1
    assert b"interrupted" in written[0]


def test_nobody_looks_past_the_time_that_he_waits_for(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_LOOKING", BOUND)
    sender = connection.sender("nobody-answers")
    polls = Polls(monkeypatch)
    connection._driver._rests = 0
    sender.send("nothing comes of it", settled=True)
    connection._driver.run(connection._driver.turn())
    assert polls.looks == 1
    assert connection._driver._rests == 0


def test_who_looked_in_vain_rests(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_LOOKING", 0.000_2)
    sender, receiver = connection.sender("nobody-answers"), connection.receiver("empty")
    polls = Polls(monkeypatch)
    connection._driver._rests = 0
    looked = []
    for _ in range(2 + blocking._RESTS):
        polls.looks = 0
        sender.send("nothing comes of it", settled=True)
        with pytest.raises(OperationTimeout):
            receiver.receive(timeout=0.005)
        looked.append(polls.looks > 0)
    assert looked == [True, *[False] * blocking._RESTS, True]


def test_an_answer_that_is_near_is_not_slept_for(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking, "_LOOKING", BOUND / 2)
    sender = connection.sender("answers")
    polls = Polls(monkeypatch)
    connection._driver._rests = 0
    sender.send("it is accepted")
    assert polls.looks
    assert polls.count == 0


def test_a_stream_that_breaks_as_a_message_is_written(connection: Connection) -> None:
    """That is in the midst of `send`, which is told all the same."""
    sender = connection.sender("q")
    sender.send("written")
    connection._driver._socket = BrokenPipe(connection._driver._socket)  # type: ignore[assignment]
    with pytest.raises(InDoubt, match="the connection was lost: broken"):
        sender.send("not written")
    with pytest.raises(ConnectionLost):
        sender.send("nor is another")


def test_who_has_no_time_does_not_sleep(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver = connection.receiver("q")
    polls = Polls(monkeypatch)
    with pytest.raises(OperationTimeout):
        receiver.receive(timeout=0)
    assert polls.count == 0


def test_another_thread_takes_the_lead(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = connection.sender("late")
    first, second = connection.receiver("early"), connection.receiver("late")
    polls = Polls(monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(first.receive, timeout=0.1)
        assert polls.sleeping.wait(BOUND)
        follower = pool.submit(second.receive)
        with pytest.raises(OperationTimeout):
            leader.result(BOUND)
        assert not follower.done()
        sender.send("at last")
        assert follower.result(BOUND).body == "at last"


def test_the_leader_hears_what_another_thread_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """The link of the thread that waits for the socket is ended by another one; no byte of the peer tells it."""
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND) as connection:
        receiver = connection.receiver("q", prefetch=1)
        polls = Polls(monkeypatch)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(receiver.receive)
            assert polls.sleeping.wait(BOUND)
            server.call(server.peer.freeze)
            receiver.close(timeout=0.05)
            with pytest.raises(LocalProtocolError, match="is closed"):
                waiting.result(BOUND)
        server.call(server.peer.thaw)


def test_the_connection_is_closed_under_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    with threaded_server(Peer) as server:
        connection = connect(server.url, timeout=BOUND)
        receiver = connection.receiver("q")
        polls = Polls(monkeypatch)
        before = len(descriptors())
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(receiver.receive)
            assert polls.sleeping.wait(BOUND)
            server.call(server.peer.freeze)
            connection.close(timeout=0.05)
            with pytest.raises(ConnectionLost):
                waiting.result(BOUND)
        assert len(descriptors()) == before - 3


def test_a_follower_has_more_to_write_than_the_leader_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND) as connection:
        receiver, sender = connection.receiver("q"), connection.sender("q")
        polls = Polls(monkeypatch)
        with ThreadPoolExecutor(1) as pool:
            leader = pool.submit(receiver.receive, timeout=None)
            assert polls.sleeping.wait(BOUND)
            sender.send(bytes(20_000_000))
            assert not leader.done()
            server.call(server.peer.sender.send, b"\x00\x53\x75\xa0\x01x")
            assert leader.result(BOUND).body == b"x"


# -- interrupts ------------------------------------------------------------------------------------------------------

in_main_thread = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals come to the main thread only"
)


@in_main_thread
def test_an_interrupt_while_waiting_does_no_harm(connection: Connection) -> None:
    receiver = connection.receiver("q", prefetch=5)
    with interrupted(), pytest.raises(KeyboardInterrupt):
        receiver.receive(timeout=None)
    assert receiver._aio._wanted == 0
    round_trip(connection)


@in_main_thread
def test_an_interrupt_while_following_does_no_harm(connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    other, receiver = connection.receiver("other"), connection.receiver("q")
    polls = Polls(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(other.receive)
        assert polls.sleeping.wait(BOUND)
        with interrupted(), pytest.raises(KeyboardInterrupt):
            receiver.receive(timeout=None)
        round_trip(connection)
        connection.sender("other").send("x")
        assert leader.result(BOUND).body == "x"


@in_main_thread
def test_an_interrupted_send_takes_back_what_was_not_sent() -> None:
    with threaded_server(lambda: Peer(credit=0)) as server:
        with connect(server.url, timeout=BOUND) as connection:
            sender = connection.sender("q")
            with interrupted(), pytest.raises(KeyboardInterrupt):
                sender.send(b"never")
            assert not sender._aio._endpoint.queue
            server.call(server.peer.receiver.flow, 5)
            sender.send(b"later")
        assert [delivery.body for delivery in server.peer.messages] == [b"later"]


@in_main_thread
def test_an_interrupt_does_not_wait_for_what_cleans_up() -> None:
    driver, reached = BlockingDriver(), []

    async def work() -> None:
        try:
            await driver.sleep(BOUND)
        finally:
            try:
                reached.append("inner")
                await driver.sleep(BOUND)
            finally:
                reached.append("outer")
                await driver.sleep(BOUND)

    with interrupted(), pytest.raises(KeyboardInterrupt):
        driver.run(work())
    assert reached == ["inner", "outer"]


class Unanswered(Peer):
    """Puts tokens to no use, and takes no senders to ``$management``."""

    def on_attach(self, link: LinkEndpoint) -> None:
        attach = link.remote_attach
        assert attach is not None
        if attach.target is None or attach.target.address != "$management":
            super().on_attach(link)


@in_main_thread
@pytest.mark.parametrize("operation", ["authorize", "request"])
def test_an_interrupt_leaves_nothing_of_what_was_under_way(operation: str) -> None:
    with threaded_server(Unanswered) as server, connect(server.url, timeout=BOUND) as connection:
        with interrupted(), pytest.raises(KeyboardInterrupt):
            if operation == "authorize":
                connection.authorize("audience", lambda audience: Token("token", "jwt"))
            else:
                connection.request("$management", Message("request"))
        # The peer has taken note of all when it answers this.
        connection.session().close()
        links = server.call(lambda: [link for link in server.peer.links if link.error is None])
        assert links == []
        assert not connection._aio._links


def test_an_interrupt_in_the_step_of_a_task_beside_is_one_of_the_program(connection: Connection) -> None:
    driver = connection._driver

    async def beside() -> None:
        await driver.sleep(0)
        raise KeyboardInterrupt

    driver.spawn(beside(), "beside")
    with pytest.raises(KeyboardInterrupt):
        connection.receiver("q")
    assert not driver._tasks
    # Nobody knows what state it left the engine in.
    with pytest.raises(ConnectionLost):
        connection.receiver("q")


def test_an_interrupt_of_what_is_called_without_the_lock_does_no_harm(connection: Connection) -> None:
    driver = connection._driver
    seen: list[str] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    async def work() -> None:
        try:
            await driver.outside(interrupted)
        finally:
            await driver.outside(seen.append, "cleaned up")

    with pytest.raises(KeyboardInterrupt):
        driver.run(work())
    assert seen == ["cleaned up"]
    round_trip(connection)


def test_an_interrupt_inside_the_engine_ends_the_connection(connection: Connection) -> None:
    """Nobody knows what state it left the engine in."""
    receiver = connection.receiver("q")

    def interrupted_turn(now: float) -> None:
        raise KeyboardInterrupt

    connection._driver._run_timers = interrupted_turn  # type: ignore[method-assign]
    connection._driver.call_at(time.monotonic(), lambda: None)
    with pytest.raises(KeyboardInterrupt):
        receiver.receive()
    del connection._driver._run_timers  # type: ignore[method-assign]
    with pytest.raises(ConnectionLost):
        receiver.receive()


def test_an_interrupt_inside_a_call_ends_the_connection(connection: Connection) -> None:
    sender = connection.sender("q")

    def messages() -> Iterator[bytes]:
        yield b"x"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sender.send_many(messages())
    with pytest.raises(ConnectionLost):
        sender.send(b"x")


def test_an_error_of_the_caller_s_own_iterable_does_no_harm(connection: Connection) -> None:
    def messages() -> Iterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        connection.sender("q").send_many(messages())
    round_trip(connection)


# -- bytes and time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_messages_of_any_size(connection: Connection, size: int) -> None:
    body = os.urandom(size)
    connection.sender("q").send(body)
    delivery = connection.receiver("q").receive()
    assert delivery.body == body
    delivery.accept()


def test_a_peer_that_stops_reading_stops_the_sender() -> None:
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND) as connection:
        sender = connection.sender("q")
        server.call(server.peer.freeze)
        deliveries = [sender.send_nowait(bytes(65_536)) for _ in range(300)]
        driver = connection._driver
        assert connection._aio._engine.paused
        assert sum(map(len, driver._unsent)) < 2 * 1024 * 1024
        with pytest.raises(OperationTimeout, match="was not sent within"):
            sender.send(b"impatient", timeout=0.01)
        server.call(server.peer.thaw)
        for delivery in deliveries:
            sender.settlement(delivery)
        assert len(server.peer.messages) == 300
        assert not driver._unsent


def test_a_peer_that_resets_while_much_is_unsent() -> None:
    with threaded_server(Peer) as server, connect(server.url, timeout=BOUND) as connection:
        sender = connection.sender("q")
        server.call(server.peer.freeze)
        deliveries = [sender.send_nowait(bytes(65_536)) for _ in range(300)]
        server.call(server.peer.cut)
        fates = set()
        for delivery in deliveries:
            with pytest.raises((InDoubt, NotSent)) as caught:
                sender.settlement(delivery)
            fates.add(type(caught.value))
        assert fates == {InDoubt, NotSent}
        with pytest.raises(ConnectionLost):
            sender.send(b"x")


def test_time_outs_longer_than_poll_knows(connection: Connection) -> None:
    receiver = connection.receiver("q")
    connection.sender("q").send("x", timeout=1e12)
    assert receiver.receive(timeout=float("inf")).body == "x"


def test_a_time_out_of_nothing_looks_once(connection: Connection) -> None:
    receiver = connection.receiver("q")
    with pytest.raises(OperationTimeout):
        receiver.receive(timeout=0)
    connection.sender("q").send("x")
    assert receiver.receive().body == "x"


def test_many_time_outs_leave_few_timers(connection: Connection) -> None:
    receiver = connection.receiver("q")
    for n in range(300):
        assert receiver.receive_many(1, timeout=n / 1e6) == []
    sender = connection.sender("q")
    for n in range(300):
        sender.send(b"x", timeout=30 + n / 7)
    assert len(connection._driver._timers) <= 2 * blocking._MANY_TIMERS


def defaults() -> dict[str, Any]:
    """What `connect` gives to `connection_options` by default."""
    parameters = inspect.signature(connect).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "url"}


def bare(url: str, **options: Any) -> tuple[BlockingDriver, Any]:
    """A driver that no watch looks after, and its connection."""
    driver = BlockingDriver()
    arguments = connection_options(parse_url(url), **{**defaults(), **options})
    return driver, driver.run(open_connection(driver, arguments))


def test_a_peer_is_not_silent_whose_bytes_were_not_read_yet() -> None:
    with threaded_server(Peer) as server:
        driver, connection = bare(server.url, idle_timeout=0.1)
        # This thread computes, and nobody reads what the peer sends.
        time.sleep(0.15)
        server.call(server.peer.write, EMPTY_FRAME)
        assert driver._socket is not None
        assert select.select([driver._socket], [], [], BOUND)[0]
        driver.run(connection.close())
        assert connection.error.condition is None
        assert str(connection.error) == "the connection is closed"


def test_waiting_for_nothing_is_an_error_and_no_hang() -> None:
    with threaded_server(Peer) as server:
        driver, connection = bare(server.url)
        driver.run(connection.close())
        driver._timers.clear()

        async def wait() -> None:
            await driver.waiter()

        with pytest.raises(LocalProtocolError, match="the connection is closed"):
            driver.run(wait())
        assert driver.run(driver.sleep(0.01)) is None


def test_tasks_run_beside_the_calls() -> None:
    with threaded_server(Peer) as server:
        driver, connection = bare(server.url)
        events = []

        async def tick() -> None:
            for n in range(3):
                await driver.sleep(0.001)
                events.append(n)

        async def for_ever() -> None:
            try:
                await driver.waiter()
            finally:
                events.append("cancelled")

        driver.spawn(tick(), "tick")
        driver.spawn(for_ever(), "for ever")
        driver.run(driver.sleep(0.1))
        assert events == [0, 1, 2]
        driver.run(connection.close())
        assert events == [0, 1, 2, "cancelled"]


def test_a_task_goes_on_that_a_later_one_wakes() -> None:
    driver = BlockingDriver()
    events: list[str] = []
    first, second = driver.waiter(), driver.waiter()

    async def asks() -> None:
        await first
        events.append("answered")

    async def answers() -> None:
        await second
        first.set_result(True)

    driver.spawn(asks(), "asks")
    driver.spawn(answers(), "answers")

    async def begin() -> None:
        second.set_result(True)

    driver.run(begin())
    assert events == ["answered"]


def test_a_task_that_is_over_cannot_be_cancelled() -> None:
    driver = BlockingDriver()

    async def nothing() -> None:
        pass

    task = driver.spawn(nothing(), "nothing")
    assert isinstance(task, blocking._Task)
    task.step()
    task.cancel()
    assert task.error is None


def test_a_driver_without_stream_has_nothing_to_do() -> None:
    driver = BlockingDriver()
    driver.tick()
    driver.keep_alive()
    driver._interrupt_leader()
    assert driver.next_deadline() is None

    async def disconnect() -> None:
        await driver.disconnect(1.0)

    driver.run(disconnect())


def test_a_full_pipe_of_wake_ups_is_enough(connection: Connection) -> None:
    driver = connection._driver
    for _ in range(100_000):
        driver._interrupt_leader()
    round_trip(connection)


def test_keep_alive_leaves_a_busy_connection_alone(connection: Connection) -> None:
    driver = connection._driver
    with driver._lock:
        thread = threading.Thread(target=driver.keep_alive)
        thread.start()
        thread.join(BOUND)
        assert not thread.is_alive()
    driver._leader = blocking._Task(driver.sleep(0))
    driver.keep_alive()
    driver._leader.cancel()
    driver._leader = None


def test_the_pipe_is_not_inherited(connection: Connection) -> None:
    assert not os.get_inheritable(connection._driver._wakeup_read)
    assert not os.get_inheritable(connection._driver._wakeup_write)


def test_a_call_outside_is_made_once() -> None:
    """Also where a call from inside another task finds the task that wants it first."""
    driver = BlockingDriver()
    calls: list[str] = []
    go_on = threading.Event()

    def outside() -> None:
        calls.append("made")
        go_on.wait(BOUND)

    async def nothing() -> None:
        pass

    async def calls_in() -> None:
        driver.run(nothing())

    async def wants() -> None:
        await driver.outside(outside)

    async def both() -> None:
        driver.spawn(calls_in(), "calls in")
        driver.spawn(wants(), "wants")

    driver.run(both())
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "uamqp-outside":
            thread.join(BOUND)
    assert calls == ["made"]


def test_a_thread_that_follows_is_in_no_step() -> None:
    """A call inside another one waits: what another thread does meanwhile is its own."""
    driver = BlockingDriver()
    woken = driver.waiter()
    seen: list[int] = []
    task = blocking._Task(nested(driver, woken))
    with driver._lock:
        driver.stepping = threading.get_ident()
        other = threading.Thread(target=lambda: driver.call(lambda: (seen.append(driver.stepping), wake(woken))))
        other.start()
        task.step()
        while not woken.done():
            driver._follow(task)
        assert driver.stepping == threading.get_ident()
    other.join(BOUND)
    assert seen == [0]


async def nested(driver: BlockingDriver, waiter: Any) -> None:
    await driver.wait(waiter, BOUND)


def test_a_connection_that_is_forgotten_leaves_no_descriptor(broker: Broker) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.warns(ResourceWarning):
        for _ in range(3):
            connect(broker.url, timeout=BOUND).sender("queue")
        gc.collect()
    wait_until(lambda: broker.connections == 0)
    # The broker, whose ends are counted too, is in this process.
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)


def test_a_time_out_longer_than_sockets_know(broker: Broker) -> None:
    with connect(broker.url, connect_timeout=float("inf")) as connection:
        round_trip(connection)
    with connect(broker.url, connect_timeout=1e10) as connection:
        round_trip(connection)


@pytest.mark.parametrize("where", ["another thread", "the watch"])
def test_an_exit_where_it_would_end_another_thread_only(where: str) -> None:
    """It is told as what ended the connection; the thread of the watch lives on."""
    told: list[tuple[Happening, str]] = []
    # The watch hears of the end of the stream; where connecting ends, another thread goes on.
    fatal = Happening.FAILED if where == "another thread" else Happening.INTERRUPTED

    def exit(event: RecoveryEvent) -> None:
        told.append((event.what, threading.current_thread().name))
        if event.what is fatal:
            raise SystemExit(3)

    recovery = Recovery(1, 0.01, 0.01, on_event=exit)
    with Broker.running() as broker:
        connection = connect(broker.url, timeout=BOUND, idle_timeout=0.5, recovery=recovery)
        receiver = connection.receiver("queue")
    if where == "another thread":
        # Which thread it is that goes on is a race; where it is this one, the exit is its own.
        with pytest.raises((ConnectionLost, SystemExit)) as raised:
            receiver.receive(timeout=BOUND)
        here = (fatal, threading.current_thread().name) in told
        assert raised.type is (SystemExit if here else ConnectionLost)
    else:
        wait_until(lambda: any(what is Happening.FAILED for what, _ in told))
        assert (fatal, "uamqp-heartbeat") in told
    assert [what for what, _ in told].count(Happening.FAILED) == 1
    assert any(thread.name == "uamqp-heartbeat" for thread in threading.enumerate())
    connection.close()


# -- background tasks that wait for the peer ---------------------------------------------------------------------


class Attended:
    """Background tasks, each of which made a call in a thread of its own, and now waits."""

    def __init__(self, connection: Connection, count: int) -> None:
        self.driver = connection._driver
        self.waiters = [self.driver.waiter() for _ in range(count)]
        self.called = threading.Barrier(count + 1)
        for waiter in self.waiters:
            connection._driver.call(self.driver.spawn, self._wait(waiter), "test")

    async def _wait(self, waiter: Any) -> None:
        await self.driver.outside(self.called.wait, BOUND)
        await waiter


def outside_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "uamqp-outside"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_those_that_attend_to_a_task_do_not_keep_each_other_awake(connection: Connection, count: int) -> None:
    attended = Attended(connection, count)
    steps: list[int] = []
    step = attended.driver._finish_step

    def finish_step() -> None:
        steps.append(threading.get_ident())
        step()

    attended.called.wait(BOUND)
    with connection.receiver("nothing") as receiver:
        attended.driver._finish_step = finish_step  # type: ignore[method-assign]
        with pytest.raises(OperationTimeout):
            receiver.receive(timeout=0.2)
        seen = len(steps)
        del attended.driver._finish_step  # type: ignore[method-assign]
    assert seen < 50
    connection.close()
    for thread in outside_threads():
        thread.join(BOUND)
    assert not outside_threads()


def test_who_is_interrupted_does_not_wait_for_what_is_to_be_told() -> None:
    driver = BlockingDriver()
    told: list[str] = []
    driver.tell_later(lambda: told.append("told"))

    async def interrupted() -> None:
        raise KeyboardInterrupt

    async def failed() -> None:
        raise ValueError

    with pytest.raises(KeyboardInterrupt):
        driver.run(interrupted())
    assert told == []
    with pytest.raises(ValueError):
        driver.run(failed())
    assert told == ["told"]
