"""Recovery in blocking code: whoever calls next brings the connection back."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from uamqp.broker import Broker
from uamqp.exceptions import AMQPError, ConnectionLost, LocalProtocolError, OperationTimeout
from uamqp.sync import Happening, Recovery, RecoveryEvent, Token, connect
from uamqp.transport import stream_opening

from ..aio.peers import BOUND


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running() as broker:
        yield broker


def dropped(broker: Broker) -> None:
    broker.call(broker.drop_connections)


def test_a_sender_and_a_receiver_go_on(broker: Broker) -> None:
    events: list[RecoveryEvent] = []
    recovery = Recovery(initial_delay=0.001, max_delay=0.01, resend=True, on_event=events.append)
    with connect(broker.url, recovery=recovery, timeout=BOUND) as connection:
        with connection.sender("queue") as sender, connection.receiver("queue") as receiver:
            for number in range(3):
                sender.send(f"before {number}")
                receiver.receive().accept()
                dropped(broker)
                sender.send(f"after {number}")
                while receiver.receive().body != f"after {number}":
                    # What was accepted as the connection was lost comes again.
                    pass
            assert connection.error is None
    assert [event.what for event in events].count(Happening.RECOVERED) == 3


def test_a_thread_that_waits_goes_on(broker: Broker) -> None:
    bodies: list[str] = []
    with connect(broker.url, recovery=Recovery(initial_delay=0.001), timeout=BOUND) as connection:
        receiver = connection.receiver("queue")

        def receive() -> None:
            delivery = receiver.receive()
            bodies.append(delivery.body)
            delivery.accept()

        thread = threading.Thread(target=receive)
        thread.start()
        dropped(broker)
        with connect(broker.url) as other, other.sender("queue") as sender:
            sender.send("message")
        thread.join(BOUND)
    assert bodies == ["message"]


def test_giving_up() -> None:
    with Broker.running() as broker:
        recovery = Recovery(attempts=2, initial_delay=0.001, max_delay=0.01)
        connection = connect(broker.url, recovery=recovery, timeout=BOUND)
        receiver = connection.receiver("queue")
    with pytest.raises(ConnectionLost):
        receiver.receive()
    assert isinstance(connection.error, ConnectionLost)
    connection.close()


def test_time_outs_while_it_is_away() -> None:
    with Broker.running() as broker:
        connection = connect(broker.url, recovery=Recovery(initial_delay=BOUND, max_delay=BOUND), timeout=BOUND)
        receiver = connection.receiver("queue")
    with pytest.raises(OperationTimeout):
        receiver.receive(timeout=0.05)
    connection.close()


def test_tokens_are_put_again() -> None:
    put: list[str] = []

    def check(kind: str, audience: str, token: str) -> None:
        put.append(token)

    def get_token(audience: str) -> Token:
        return Token("token", "jwt", time.time() + 1000)

    recovery = Recovery(initial_delay=0.001, max_delay=0.01, resend=True)
    with (
        Broker.running(token_check=check) as broker,
        connect(broker.url, recovery=recovery, timeout=BOUND) as connection,
    ):
        connection.authorize("sb://host/queue", get_token)
        with connection.sender("queue") as sender:
            dropped(broker)
            sender.send("message")
    assert put == ["token", "token"]


class SlowTokens:
    """Gives a token at once, and the next ones when the test says so."""

    def __init__(self, life: float) -> None:
        self.put: list[str] = []
        self.asked, self.given = threading.Event(), threading.Event()
        self._life = life

    def check(self, kind: str, audience: str, token: str) -> None:
        self.put.append(token)

    def __call__(self, audience: str) -> Token:
        if not self.put:
            return Token("first", "jwt", time.time() + self._life)
        self.asked.set()
        assert self.given.wait(BOUND)
        return Token("second", "jwt", time.time() + 1000)


def test_a_renewal_that_takes_its_time_holds_up_nobody() -> None:
    tokens = SlowTokens(1.5)
    with Broker.running(token_check=tokens.check) as broker, connect(broker.url, timeout=BOUND) as connection:
        connection.authorize("sb://host/queue", tokens)
        with connection.sender("unrelated") as sender, connect(broker.url, timeout=BOUND) as other:
            assert tokens.asked.wait(BOUND)
            sender.send("while it is fetched")
            with other.sender("queue") as link:
                link.send("while it is fetched")
            tokens.given.set()
            while len(tokens.put) < 2:
                sender.send("after it")
    assert tokens.put == ["first", "second"]


def test_a_renewal_that_never_comes_ends_with_the_connection() -> None:
    tokens = SlowTokens(1.5)
    with Broker.running(token_check=tokens.check) as broker:
        with connect(broker.url, timeout=BOUND) as connection:
            connection.authorize("sb://host/queue", tokens)
            assert tokens.asked.wait(BOUND)
        tokens.given.set()
    assert tokens.put == ["first"]


def test_a_token_that_takes_its_time_while_the_connection_is_brought_back() -> None:
    tokens = SlowTokens(0.5)
    recovery = Recovery(initial_delay=0.001, max_delay=0.01, resend=True)
    with (
        Broker.running(token_check=tokens.check) as broker,
        connect(broker.url, recovery=recovery, timeout=BOUND) as connection,
    ):
        connection.authorize("sb://host/queue", tokens, refresh_window=0.0)
        sender = connection.sender("queue")
        dropped(broker)
        thread = threading.Thread(target=sender.send, args=("after it",))
        thread.start()
        assert tokens.asked.wait(BOUND)
        with pytest.raises(OperationTimeout):
            sender.send("too early", timeout=0.05)
        tokens.given.set()
        thread.join(BOUND)
        assert not thread.is_alive()
    assert tokens.put == ["first", "second"]


class SlowOpening:
    """Connections that take their time to open, once the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.released = threading.Event(), threading.Event()
        self.streams: list[socket.socket] = []
        self._open = stream_opening._open_stream
        monkeypatch.setattr(stream_opening, "_open_stream", self)

    def __call__(self, route: Any, deadline: float) -> socket.socket:
        self.begun.set()
        assert self.released.wait(BOUND)
        self.streams.append(self._open(route, deadline))
        return self.streams[-1]


def test_time_outs_hold_while_the_connection_is_opened_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery = Recovery(initial_delay=0.001, max_delay=0.01, resend=True)
    with connect(broker.url, recovery=recovery, timeout=BOUND) as connection:
        sender, receiver = connection.sender("queue"), connection.receiver("queue")
        slow = SlowOpening(monkeypatch)
        dropped(broker)
        # This one finds out, and is the one that brings it back.
        with pytest.raises(OperationTimeout):
            receiver.receive(timeout=0.2)
        assert slow.begun.wait(BOUND)
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(sender.send, "early", timeout=0.05), pool.submit(receiver.receive, timeout=0.05)]
            for call in calls:
                with pytest.raises(OperationTimeout):
                    call.result(BOUND)
            sent = pool.submit(sender.send, "message")
            slow.released.set()
            sent.result(BOUND)
        assert receiver.receive().body == "message"


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="no /proc on this system")
def test_closing_does_not_wait_for_what_is_opened(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    recovery = Recovery(initial_delay=0.001, max_delay=0.01)
    connection = connect(broker.url, recovery=recovery, timeout=BOUND)
    receiver = connection.receiver("queue")
    slow = SlowOpening(monkeypatch)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receiver.receive, timeout=None)
        dropped(broker)
        assert slow.begun.wait(BOUND)
        connection.close()
        # The thread that waits hears of it at once.
        with pytest.raises(AMQPError):
            waiting.result(BOUND)
        slow.released.set()
    deadline = time.monotonic() + BOUND
    while not slow.streams or slow.streams[0].fileno() >= 0:
        # What comes too late is closed.
        assert time.monotonic() < deadline
        time.sleep(0.005)
    # The broker has seen that one when it has seen another.
    connect(broker.url, timeout=BOUND).close()


def test_closing_wakes_who_waits_for_the_next_try(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def refused(*arguments: object) -> None:
        tried.set()
        raise ConnectionRefusedError

    connection = connect(broker.url, recovery=Recovery(initial_delay=1000.0, max_delay=1000.0), timeout=BOUND)
    receiver = connection.receiver("queue")
    monkeypatch.setattr(stream_opening, "_open_stream", refused)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(receiver.receive, timeout=None)
        dropped(broker)
        assert tried.wait(BOUND)
        connection.close()
        with pytest.raises(AMQPError):
            waiting.result(BOUND)
    assert connection._driver._wakeup_read == -1


def test_an_event_that_waits_is_told_so_and_recovery_goes_on(broker: Broker) -> None:
    """It must not wait: what it waits for is itself."""
    errors: list[AMQPError] = []

    def on_event(event: RecoveryEvent) -> None:
        if event.what is Happening.RETRYING:
            with pytest.raises(OperationTimeout, match=r"the connection was not back within 0\.01 s") as caught:
                connection.sender("other", timeout=0.01)
            errors.append(caught.value)

    with connect(broker.url, recovery=Recovery(on_event=on_event), timeout=BOUND) as connection:
        with connection.sender("queue") as sender, connection.receiver("queue") as receiver:
            dropped(broker)
            with pytest.raises(AMQPError):
                # Whoever finds out is told; the connection is brought back for the next one.
                sender.send("lost")
            sender.send("message")
            assert receiver.receive().body == "message"
    assert errors


@pytest.mark.parametrize("what", [Happening.INTERRUPTED, Happening.RETRYING])
def test_an_event_that_closes_the_connection(broker: Broker, what: Happening) -> None:
    def on_event(event: RecoveryEvent) -> None:
        events.append(event.what)
        if event.what is what:
            connection.close()

    events: list[Happening] = []
    connection = connect(broker.url, recovery=Recovery(on_event=on_event), timeout=BOUND)
    receiver = connection.receiver("queue")
    dropped(broker)
    with pytest.raises(AMQPError):
        receiver.receive()
    assert connection.error is not None
    assert Happening.RECOVERED not in events
    with pytest.raises(AMQPError):
        connection.sender("queue")


def seen_to_be_lost(connection: Any) -> None:
    """Wait until the end of the stream has arrived, which nobody reads."""
    stream = connection._driver._socket
    assert select.select([stream], [], [], BOUND)[0]
    connection._driver._turned = 0.0


def test_what_was_lost_while_nobody_looked_is_not_sent_on(broker: Broker) -> None:
    """So that there is no doubt about the message."""
    with connect(broker.url, recovery=Recovery(), timeout=BOUND) as connection:
        with connection.sender("queue") as sender, connection.receiver("queue") as receiver:
            for number in range(3):
                dropped(broker)
                seen_to_be_lost(connection)
                if number < 2:
                    sender.send(number)
                else:
                    sender.settlement(sender.send_nowait(number))
                delivery = receiver.receive()
                assert delivery.body == number
                delivery.accept()
    with connect(broker.url, timeout=BOUND) as connection, connection.sender("queue") as sender:
        dropped(broker)
        seen_to_be_lost(connection)
        with pytest.raises(ConnectionLost):
            sender.send("never")
    assert len(broker.queue("queue")) == 0


def test_events_are_not_told_in_the_middle_of_the_engines_work(broker: Broker) -> None:
    """So that a function that is told may call back."""
    callers: list[str] = []

    def on_event(event: RecoveryEvent) -> None:
        callers.extend(frame.name for frame in traceback.extract_stack())
        if event.what is Happening.INTERRUPTED:
            other.send("told", settled=True)

    with connect(broker.url, timeout=BOUND) as another, another.sender("other") as other:
        with connect(broker.url, recovery=Recovery(on_event=on_event), timeout=BOUND) as connection:
            with connection.receiver("queue") as receiver:
                queue = broker.queue("queue")
                broker.call(lambda: [link.fail("amqp:link:detach-forced", "idle") for link in queue_links(broker)])
                another.sender("queue").send("message")
                assert receiver.receive().body == "message"
                assert len(queue) == 0
    assert callers
    assert not {"receive_data", "receive_eof", "lose"} & {*callers}


def queue_links(broker: Broker) -> list[Any]:
    engines = [accepted.engine for accepted in broker._connections.values() if accepted.engine is not None]
    links = [link for engine in engines for session in engine.sessions for link in session.links]
    return [link for link in links if link.name.startswith("receiver-")]


@pytest.mark.parametrize("what", [Happening.INTERRUPTED, Happening.RETRYING])
def test_an_event_that_ends_the_program(broker: Broker, what: Happening) -> None:
    """The program hears of it, and nobody waits for a connection that does not come back."""

    def on_event(event: RecoveryEvent) -> None:
        if event.what is what:
            raise SystemExit(3)

    with connect(broker.url, recovery=Recovery(on_event=on_event), timeout=BOUND) as connection:
        receiver = connection.receiver("queue")
        dropped(broker)
        with pytest.raises(SystemExit):
            receiver.receive()
        with pytest.raises(LocalProtocolError, match="cannot be brought back"):
            receiver.receive(timeout=None)


def test_the_connection_comes_back_while_the_program_does_something_else() -> None:
    """The heartbeat notices, and whoever connects goes on until all is back."""
    back, again = threading.Event(), threading.Event()

    def told(event: RecoveryEvent) -> None:
        if event.what is Happening.RECOVERED:
            (again if back.is_set() else back).set()

    with Broker.running(idle_timeout=0.4) as broker:
        recovery = Recovery(initial_delay=0.001, max_delay=0.01, on_event=told)
        with connect(broker.url, recovery=recovery, timeout=BOUND) as connection:
            sender, receiver = connection.sender("q"), connection.receiver("q")
            sender.send("one")
            for event in (back, again):
                dropped(broker)
                assert event.wait(BOUND)
                assert connection.is_open
                assert broker.connections == 1
            sender.send("two")
            assert {receiver.receive().body for _ in range(2)} == {"one", "two"}


def test_a_token_is_renewed_while_the_program_does_something_else() -> None:
    """Getting it takes its time, so it is done in another thread, which hears the answer, too."""
    put: list[str] = []
    renewed = threading.Event()

    def check(kind: str, audience: str, text: str) -> None:
        put.append(text)
        if len(put) == 2:
            renewed.set()

    def get_token(audience: str) -> Token:
        return Token(f"token {len(put)}", "jwt", time.time() + 1.5)

    with Broker.running(token_check=check) as broker, connect(broker.url, timeout=BOUND) as connection:
        connection.authorize("audience", get_token, refresh_window=1.4)
        assert renewed.wait(BOUND)
        # The thread has done its part, and lets others lead.
        driver = connection._driver
        for _ in range(1000):
            if driver._leader is None:
                break
            time.sleep(0.01)
        assert driver._leader is None
        with connection.sender("q") as sender:
            sender.send("one")
