"""When words on deliveries are written, which only blocking code has to ask."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from uamqp.broker import Broker
from uamqp.sync import Receiver, connect
from uamqp.transport import blocking
from uamqp.transport.watch import WATCH

from ..aio.peers import BOUND, wait_until


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running() as broker:
        yield broker


@pytest.fixture
def receiver(broker: Broker) -> Iterator[Receiver]:
    """A receiver of a queue with ten messages."""
    with connect(broker.url, timeout=BOUND) as connection:
        connection.sender("q").send_many(range(10))
        yield connection.receiver("q")


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No word goes out because its time has come."""
    monkeypatch.setattr(blocking, "_TOGETHER", 1000.0)


def left(broker: Broker) -> int:
    """Messages that the broker knows not to be done with."""
    return broker.call(lambda: broker.queue("q").length)


@pytest.mark.usefixtures("patient")
def test_words_on_deliveries_that_came_together_go_out_together(broker: Broker, receiver: Receiver) -> None:
    deliveries = receiver.receive_many(10)
    assert len(deliveries) == 10
    driver = deliveries[0]._driver
    for delivery in deliveries[:9]:
        delivery.accept()
        assert driver._held
    assert left(broker) == 10
    deliveries[9].accept()
    assert not driver._held
    wait_until(lambda: left(broker) == 0)


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("how", ["one by one", "in a loop"])
def test_a_word_on_a_delivery_that_came_alone_goes_out_at_once(how: str, broker: Broker, receiver: Receiver) -> None:
    deliveries = (receiver.receive() for _ in range(10)) if how == "one by one" else receiver
    for number, delivery in enumerate(deliveries):
        delivery.accept()
        assert not delivery._driver._held
        if number == 8:
            break
    wait_until(lambda: left(broker) == 1)


@pytest.mark.usefixtures("patient")
def test_any_other_call_takes_along_what_is_held(broker: Broker, receiver: Receiver) -> None:
    first, *others = receiver.receive_many(10)
    first.accept()
    assert len(others) == 9
    receiver.flow(1)
    wait_until(lambda: left(broker) == 9)


@pytest.mark.usefixtures("patient")
def test_nothing_is_held_while_another_thread_waits(broker: Broker, receiver: Receiver) -> None:
    first, *others = receiver.receive_many(10)
    driver = first._driver
    waiting = threading.Thread(target=lambda: receiver.receive(timeout=BOUND).accept())
    waiting.start()
    wait_until(lambda: driver._leader is not None)
    first.accept()
    assert not driver._held
    wait_until(lambda: left(broker) == len(others))
    with connect(broker.url, timeout=BOUND) as connection:
        connection.sender("q").send("for the thread")
    waiting.join(BOUND)
    assert not waiting.is_alive()


def test_what_is_held_goes_out_without_another_call(
    broker: Broker, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_TOGETHER", 0.2)
    first, *_ = receiver.receive_many(10)
    first.accept()
    assert first._driver._held
    wait_until(lambda: left(broker) == 9)


def test_what_holds_something_is_not_forgotten(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the watch keeps nothing else alive."""
    monkeypatch.setattr(blocking, "_TOGETHER", 0.2)
    first, *_ = receiver.receive_many(10)
    first.accept()
    assert first._driver in WATCH._holding
    wait_until(lambda: first._driver not in WATCH._holding)


_PROGRAM = """
import sys
from uamqp.sync import connect
from uamqp.transport import blocking

blocking._TOGETHER = 1000.0
receiver = connect(sys.argv[1], timeout=10).receiver("q")
for delivery in receiver.receive_many(10)[:5]:
    delivery.accept()
assert delivery._driver._held
"""


def test_what_is_held_goes_out_when_the_program_ends(broker: Broker) -> None:
    with connect(broker.url, timeout=BOUND) as connection:
        connection.sender("q").send_many(range(10))
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, broker.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    wait_until(lambda: left(broker) == 5)
