"""What is sent at once fares as if each message had been sent alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uamqp.codec.definitions import Rejected
from uamqp.codec.hot import encode_disposition
from uamqp.engine.delivery import OutgoingDelivery
from uamqp.engine.run import Outgoing, OutgoingRun
from uamqp.engine.session import SessionEndpoint
from uamqp.engine.settlement import ACCEPTED_STATE, encode_state
from uamqp.exceptions import InDoubt

from .wire import Wire

BODY = b"\x00\x53\x75\xa0\x01x"
REJECTED_STATE = encode_state(Rejected(), False)


class Peer:
    """A receiver that says what the test wants it to say."""

    def __init__(self, *, first_id: int = 0) -> None:
        self.wire = Wire().open()
        self.session: SessionEndpoint = self.wire.begin(first_id=first_id)
        self.sender, _ = self.wire.sender(self.session, credit=1000)

    def run(self, count: int) -> OutgoingRun:
        run = self.sender.send_run([BODY] * count)
        self.wire.client.data_to_send()
        assert run is not None and len(run) == count
        return run

    def single(self) -> OutgoingDelivery:
        delivery = self.sender.send(BODY)
        self.wire.client.data_to_send()
        return delivery

    def says(self, first: int, last: int, state: bytes = ACCEPTED_STATE, settled: bool = True) -> None:
        self.wire.client.receive_data(encode_disposition(0, True, first, last, settled, state))

    def settled(self) -> list[list[Outgoing]]:
        return [event[1] for event in self.wire.client_log.named("settled")]


def fates(*sent: Outgoing) -> list[str]:
    """What became of each message."""
    found: list[str] = []
    for one in sent:
        if isinstance(one, OutgoingRun):
            found += ["Accepted"] * one.done
            found += fates(*one.rest) if one.rest is not None else ["open"] * one.unsettled
        else:
            found.append(type(one.error or one.state).__name__ if one.settled else "open")
    return found


def test_a_run_is_done_from_the_first_to_the_last() -> None:
    peer = Peer()
    run = peer.run(5)
    assert (run.first, run.done, run.next, run.unsettled, run.settled) == (0, 0, 0, 5, False)
    assert repr(run) == "<OutgoingRun of 5 from 0 of 'link', 0 done>"
    peer.says(0, 1)
    assert (run.done, run.next, run.unsettled) == (2, 2, 3)
    # Some receivers begin with what was settled long ago, and some name what was never sent.
    peer.says(0, 2)
    assert run.done == 3 and not run.settled
    peer.says(3, 900)
    assert run.settled and run.rest is None and not peer.session.runs
    assert peer.settled() == [[run], [run], [run]]
    peer.says(0, 4)
    assert len(peer.settled()) == 3


def test_one_range_for_several_runs_and_what_was_sent_before_them() -> None:
    peer = Peer()
    single = peer.single()
    first, second, third = peer.run(2), peer.run(3), peer.run(4)
    peer.says(0, 6)
    assert fates(single, first, second) == ["Accepted"] * 6
    assert fates(third) == ["Accepted", "open", "open", "open"]
    assert peer.settled() == [[first, second, third, single]]
    peer.says(7, 9)
    assert third.settled


def test_what_was_sent_settled_in_between() -> None:
    peer = Peer()
    first = peer.run(2)
    peer.sender.send(BODY, True)
    assert peer.sender.send_run([BODY], True) is not None
    second = peer.run(2)
    peer.says(0, 1)
    assert first.settled and not second.done
    peer.says(2, 4)
    assert fates(second) == ["Accepted", "open"]


def test_a_range_that_ends_before_the_runs() -> None:
    peer = Peer()
    single = peer.single()
    run = peer.run(2)
    peer.says(0, 0, REJECTED_STATE)
    assert fates(single, run) == ["Rejected", "open", "open"]
    assert run.rest is None


@pytest.mark.parametrize("first_id", [0, 2**32 - 2])
def test_another_outcome_breaks_it_up(first_id: int) -> None:
    peer = Peer(first_id=first_id)
    waiter = object()
    run = peer.sender.send_run([BODY] * 4, waiter=waiter)
    other = peer.run(2)
    assert run is not None
    peer.says(first_id, first_id)
    rejected = (first_id + 2) % 2**32
    peer.says(rejected, rejected, REJECTED_STATE)
    assert run.rest is not None and all(delivery.waiter is waiter for delivery in run.rest)
    assert [d.id for d in run.rest] == [(first_id + n) % 2**32 for n in (1, 2, 3)]
    assert fates(run, other) == ["Accepted", "open", "Rejected", "open", "open", "open"]
    assert run.unsettled == 2 and not run.settled
    peer.says(first_id, (first_id + 5) % 2**32)
    assert fates(run, other) == ["Accepted", "Accepted", "Rejected", "Accepted", "Accepted", "Accepted"]
    assert run.unsettled == 0
    assert peer.session.outgoing_unsettled == {} and not peer.session.runs


def test_an_outcome_out_of_turn_and_one_that_is_not_settled_break_it_up() -> None:
    peer = Peer()
    run = peer.run(3)
    peer.says(1, 1)
    assert fates(run) == ["open", "Accepted", "open"]
    later = peer.run(2)
    peer.says(3, 4, settled=False)
    assert fates(run, later) == ["open", "Accepted", "open", "Accepted", "Accepted"]
    # As the receiver waits for that, in receiver settle mode second, they are settled here.
    assert b"".join(peer.wire.client.data_to_send()).count(ACCEPTED_STATE) == 1


def test_what_is_sent_alone_stays_behind_what_was_sent_before() -> None:
    peer = Peer()
    run = peer.run(2)
    single = peer.single()
    assert list(peer.session.outgoing_unsettled) == [0, 1, 2]
    again = peer.run(1)
    # This one has more than a frame, so it goes through the queue.
    large = peer.sender.send(bytes(100_000))
    peer.wire.client.data_to_send()
    assert list(peer.session.outgoing_unsettled) == [0, 1, 2, 3, 4]
    peer.says(0, 4)
    assert fates(run, single, again, large) == ["Accepted"] * 5


@pytest.mark.parametrize("end", ["link", "session", "connection"])
def test_where_its_link_ends_nothing_is_known_of_the_rest(end: str) -> None:
    peer = Peer()
    run = peer.run(3)
    peer.says(0, 0)
    if end == "link":
        peer.sender.detach()
        peer.sender.ended(None)
    elif end == "session":
        peer.session.end()
        peer.session.ended(None)
    else:
        peer.wire.client.lose(None)
    assert fates(run) == ["Accepted", "InDoubt", "InDoubt"]
    assert run.rest is not None and isinstance(run.rest[0].failure(), InDoubt)
    assert peer.settled()[-1] == run.rest
    assert peer.session.outgoing_unsettled == {} and not peer.session.runs


def test_another_link_sends_what_is_left_of_it() -> None:
    peer = Peer()
    peer.sender.keeps = 2
    run = peer.run(3)
    peer.says(0, 0)
    peer.sender.suspended = True
    peer.sender.detach()
    peer.sender.ended(None)
    assert fates(run) == ["Accepted", "open", "open"]
    peer.wire.run()
    again, receiver = peer.wire.sender(peer.session, "again", credit=10)
    again.take_over(peer.sender)
    peer.wire.run()
    assert len(receiver.queue) == 2
    for delivery in receiver.queue:
        delivery.accept()
    peer.wire.run()
    assert fates(run) == ["Accepted"] * 3


Step = tuple[str, int, int, bool, bool]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(1, 4), st.just(0), st.just(True), st.just(True)),
        st.tuples(st.just("single"), st.just(1), st.just(0), st.just(True), st.just(True)),
        st.tuples(st.just("settled"), st.integers(1, 2), st.just(0), st.just(True), st.just(True)),
        st.tuples(st.just("says"), st.integers(0, 12), st.integers(0, 8), st.integers(0, 5).map(bool), st.booleans()),
    ),
    max_size=14,
)


@given(STEPS, st.sampled_from([0, 2**32 - 3]))
@settings(deadline=None)
def test_whatever_happens_each_message_fares_as_if_it_had_been_sent_alone(steps: list[Step], first_id: int) -> None:
    together, alone = Peer(first_id=first_id), Peer(first_id=first_id)
    runs: list[Outgoing] = []
    singles: list[Outgoing] = []
    for what, number, more, accepted, settled in steps:
        if what == "says":
            first = (first_id + number) % 2**32
            state = ACCEPTED_STATE if accepted else REJECTED_STATE
            for peer in (together, alone):
                peer.says(first, (first + more) % 2**32, state, settled)
        elif what == "single":
            runs.append(together.single())
            singles.append(alone.single())
        elif what == "settled":
            assert together.sender.send_run([BODY] * number, True) is not None
            for _ in range(number):
                alone.sender.send(BODY, True)
        else:
            runs.append(together.run(number))
            singles += [alone.single() for _ in range(number)]
        assert fates(*runs) == fates(*singles)
    for peer in (together, alone):
        peer.wire.client.lose(None)
    assert fates(*runs) == fates(*singles)
    written: list[Any] = [b"".join(peer.wire.client.data_to_send()) for peer in (together, alone)]
    assert written[0] == written[1]
