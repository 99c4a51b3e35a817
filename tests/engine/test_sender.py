from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Accepted, Modified, Received, Rejected, Released, Source, Target, TransactionalState
from uamqp.codec.hot import encode_disposition, encode_flow, frame
from uamqp.codec.performatives import Attach, Detach, decode_performative
from uamqp.codec.values import Described, Symbol
from uamqp.engine.limits import OUTPUT_HIGH_WATER
from uamqp.engine.sender import SenderEndpoint
from uamqp.exceptions import EncodeError, InDoubt, LinkDetached, MessageTooLarge, NotSent
from uamqp.exceptions import Modified as ModifiedError
from uamqp.exceptions import Rejected as RejectedError
from uamqp.exceptions import Released as ReleasedError

from .wire import Wire

BODY = b"\x00\x53\x75\xa0\x01x"


def payload(size: int) -> bytes:
    return b"\x00\x53\x75\xb0" + (size - 8).to_bytes(4, "big") + b"x" * (size - 8)


def test_every_outcome() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=10)
    deliveries = [sender.send(BODY) for _ in range(5)]
    wire.run()
    accepted, rejected, released, modified, plain = receiver.queue
    accepted.accept()
    rejected.reject("app:bad", "not good", {"k": 1})
    released.release()
    modified.modify(delivery_failed=True, undeliverable_here=True, annotations={"x-opt-a": 1})
    plain.reject()
    wire.run()
    assert all(d.settled for d in deliveries)
    assert [type(d.state) for d in deliveries] == [Accepted, Rejected, Released, Modified, Rejected]
    failures = [d.failure() for d in deliveries]
    assert failures[0] is None
    assert isinstance(failures[1], RejectedError)
    assert (failures[1].condition, failures[1].description, failures[1].info) == ("app:bad", "not good", {"k": 1})
    assert isinstance(failures[2], ReleasedError)
    assert isinstance(failures[3], ModifiedError)
    assert failures[3].delivery_failed and failures[3].undeliverable_here
    assert failures[3].annotations == {"x-opt-a": 1}
    assert isinstance(failures[4], RejectedError) and failures[4].condition is None


@pytest.mark.parametrize("size", [20, 505, 512, 2000])
def test_a_tag_of_ones_own_fits_in_the_smallest_frames(size: int) -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, receiver = wire.sender(credit=10)
    sender.send(payload(size), tag=b"t" * 32)
    sender.send(payload(size))
    wire.run()
    assert [(d.tag, len(d.payload)) for d in receiver.queue] == [(b"t" * 32, size), (bytes(4), size)]


def test_the_sender_may_settle_with_an_answer_of_its_own() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=10)
    granted, refused = sender.send(BODY), sender.send(BODY)
    wire.run()
    refused.answer = Rejected()
    for delivery in (granted, refused):
        wire.client.receive_data(encode_disposition(0, True, delivery.id, delivery.id, False, Accepted().encode()))
    states = [
        decode_performative(b"\x00\x53\x15" + part, 0, 3 + part[1] + 2)[0].state  # type: ignore[attr-defined]
        for part in b"".join(wire.client.data_to_send()).split(b"\x00\x53\x15")[1:]
    ]
    assert states == [Accepted(), Rejected()]
    assert [type(d.state) for d in (granted, refused)] == [Accepted, Accepted]


def test_the_outcome_is_open_until_it_is_there() -> None:
    wire = Wire().open()
    sender, _ = wire.sender(credit=1)
    delivery = sender.send(BODY)
    assert delivery.failure() is None and not delivery.settled
    assert "unsettled" in repr(delivery)


def test_an_outcome_of_its_own_kind_is_a_doubt() -> None:
    wire = Wire().open()
    sender, _ = wire.sender(credit=1)
    delivery = sender.send(BODY)
    wire.run()
    own = Described(0x1234, [1])
    from uamqp.codec.primitives import encode

    wire.client.receive_data(encode_disposition(0, True, 0, 0, True, encode(own)))
    assert delivery.state == own
    assert isinstance(delivery.failure(), InDoubt)
    delivery = sender.send(BODY)
    assert delivery.state is None


@pytest.mark.parametrize(
    ("payloads", "sent"),
    [
        ([BODY] * 3, 3),
        ([BODY] * 5, 4),
        ([BODY, None, BODY], 1),
        ([BODY, payload(505), BODY], 1),
        ([BODY, BODY, payload(301), BODY], 2),
        ([], 0),
    ],
    ids=["all", "credit", "not plain", "more than a frame", "more than the link takes", "none"],
)
def test_a_run_goes_as_far_as_all_can_go_out_at_once(payloads: list[bytes | None], sent: int) -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, receiver = wire.sender(credit=4)
    sender.remote_max_message_size = 300
    run = sender.send_run(payloads)
    assert (0 if run is None else len(run)) == sent
    # As if they had been sent one by one.
    sender.send(BODY, tag=b"behind")
    wire.run()
    behind = [b"behind"] if sent < 4 else []
    tags = [number.to_bytes(4, "big") for number in range(sent)] + behind
    assert [(d.tag, d.payload) for d in receiver.queue] == [(tag, BODY) for tag in tags]
    for delivery in receiver.queue:
        delivery.accept()
    wire.run()
    assert run is None or not run.unsettled


def test_a_run_that_is_sent_settled() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=4)
    run = sender.send_run([BODY] * 2, True)
    assert run is not None and run.settled
    wire.run()
    assert [delivery.settled for delivery in receiver.queue] == [True, True]
    assert not sender.session.runs


def test_a_run_where_nothing_can_go_out() -> None:
    wire = Wire().open()
    sender, _ = wire.sender()
    sender.send(BODY)
    # Behind what waits for credit.
    assert sender.send_run([BODY]) is None
    ended, _ = wire.sender(name="ended", credit=4)
    ended.detach()
    wire.run()
    assert ended.send_run([BODY]) is None
    # `send` says what is wrong.
    unsettled, _ = wire.sender(name="unsettled", credit=4, sender_settle_mode=0)
    assert unsettled.send_run([BODY], True) is None
    assert unsettled.send_run([BODY], False) is not None


def test_without_credit_messages_wait_and_others_do_not() -> None:
    wire = Wire().open()
    session = wire.begin()
    blocked, _ = wire.sender(session, "blocked")
    free, receiver = wire.sender(session, "free", credit=10)
    waiting = [blocked.send(BODY) for _ in range(3)]
    sent = [free.send(BODY) for _ in range(3)]
    wire.run()
    assert [d.id for d in waiting] == [-1, -1, -1]
    assert [d.id for d in sent] == [0, 1, 2]
    assert len(receiver.queue) == 3


def test_credit_lets_the_queue_go_in_order() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    deliveries = [sender.send(BODY) for _ in range(5)]
    receiver.flow(2)
    wire.run()
    assert [d.id for d in deliveries] == [0, 1, -1, -1, -1]
    assert sender.credit == 0
    receiver.flow(10)
    wire.run()
    assert [d.id for d in deliveries] == [0, 1, 2, 3, 4]
    assert sender.credit == receiver.credit == 7
    assert wire.client_log.named("credit") == [("credit", sender)] * 2


def test_credit_can_be_taken_back() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=10)
    receiver.flow(0)
    wire.run()
    assert sender.credit == 0
    # What was under way when the receiver took its credit back stays sent.
    receiver.flow(5)
    wire.run()
    for _ in range(3):
        sender.send(BODY)
    wire.client.receive_data(encode_flow(0, [0, 100, 0, 100, 0, 0, 1], False, False))
    assert sender.credit == 0


def test_a_flow_without_delivery_count_is_from_before_attach() -> None:
    wire = Wire().open()
    sender, _ = wire.sender()
    wire.client.receive_data(encode_flow(0, [0, 100, 0, 100, 0, -1, 4], False, False))
    assert sender.credit == 4
    wire.client.receive_data(encode_flow(0, [0, 100, 0, 100, 0], False, False))
    assert sender.credit == 4


def test_drain_gives_back_what_is_not_used() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=3)
    sender.send(BODY)
    wire.run()
    receiver.flow(10, drain=True)
    assert receiver.draining
    wire.run()
    assert receiver.credit == sender.credit == 0
    assert not receiver.draining
    assert wire.server_log.named("drained") == [("drained", receiver)]


def test_drain_sends_what_waits_first() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    deliveries = [sender.send(BODY) for _ in range(5)]
    receiver.flow(3, drain=True)
    wire.run()
    assert len(receiver.queue) == 3
    assert wire.server_log.named("drained") == [("drained", receiver)]
    assert deliveries[3].id == -1
    receiver.flow(10, drain=True)
    wire.run()
    assert len(receiver.queue) == 5
    assert len(wire.server_log.named("drained")) == 2


def test_what_is_withdrawn_stands_in_the_way_of_a_drain_no_longer() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=5)
    wire.client.pause()
    waiting = sender.send(BODY)
    receiver.flow(5, drain=True)
    wire.carry(wire.server, wire.client)
    assert receiver.draining and sender.drain
    assert sender.withdraw(waiting)
    wire.client.resume()
    wire.run()
    assert not receiver.draining
    assert receiver.credit == sender.credit == 0


def test_credit_for_a_link_whose_attach_was_not_answered_yet() -> None:
    """The peer sends it right behind its attach, and does not know our delivery-count."""
    wire = Wire().open()
    session = wire.begin()
    source = Source(address="a")
    wire.client.receive_data(
        frame(0, Attach(name="n", handle=4, role=True, source=source, target=Target()).encode())
        + encode_flow(0, [0, 100, 0, 100, 4, -1, 7], False, False)
    )
    (sender,) = [link for link in wire.client_log.links if link.name == "n"]
    assert wire.client.error is None and session.error is None
    sender.attach(source, Target())
    assert sender.credit == 7


@pytest.mark.parametrize("credit", [0, 5])
@pytest.mark.parametrize(
    ("format", "tag", "reason"), [(2**32, b"", "32 bits"), (-1, b"", "32 bits"), (0, b"t" * 33, "33 bytes")]
)
def test_what_no_frame_can_carry_is_refused_before_it_is_queued(
    credit: int, format: int, tag: bytes, reason: str
) -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=credit)
    with pytest.raises(EncodeError, match=reason):
        sender.send(BODY, message_format=format, tag=tag)
    assert not sender.queue
    sender.send(BODY)
    receiver.flow(5)
    wire.run()
    assert [d.id for d in receiver.queue] == [0]


def suspended(wire: Wire, **options: Any) -> SenderEndpoint:
    """A sender whose session ended, and that is to be brought back."""
    sender, receiver = wire.sender(**options)
    sender.keeps = 2
    for delivery in range(options.get("credit", 0)):
        sender.send(payload(50 + delivery))
    receiver.session.end()
    wire.run()
    sender.suspended = True
    return sender


def test_what_a_sender_that_is_brought_back_takes_is_checked_at_once() -> None:
    wire = Wire()
    wire.server_log.attach_options = {"max_message_size": 100}
    wire.open()
    sender = suspended(wire)
    with pytest.raises(MessageTooLarge):
        sender.send(payload(101))
    assert not sender.queue
    assert sender.send(payload(100)) in sender.queue


def test_a_sender_that_is_brought_back_keeps_its_settle_mode() -> None:
    wire = Wire().open()
    assert suspended(wire, name="settled", sender_settle_mode=1).send(BODY).presettled
    with pytest.raises(EncodeError):
        suspended(wire, name="unsettled", sender_settle_mode=0).send(BODY, presettled=True)


def test_what_the_peer_takes_no_more_when_it_is_back() -> None:
    wire = Wire().open()
    ended = suspended(wire, credit=2)
    small, large = ended.send(payload(60)), ended.send(payload(200))
    wire.server_log.attach_options = {"max_message_size": 50}
    sender, receiver = wire.sender(credit=10)
    sent_small, sent_large = ended.queue[0], ended.queue[1]
    sender.take_over(ended)
    wire.run()
    assert len(receiver.queue) == 1
    # What was sent before may have arrived then.
    assert isinstance(sent_large.failure(), InDoubt) and "cannot be sent again" in str(sent_large.failure())
    assert isinstance(small.failure(), MessageTooLarge) and isinstance(large.failure(), MessageTooLarge)
    assert not sent_small.settled
    assert wire.client_log.named("settled")[-1][1] == [sent_large, small, large]


def test_settled_messages_need_no_outcome() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=2)
    first, second, third = [sender.send(BODY, presettled=True) for _ in range(3)]
    assert first.settled and second.settled and not third.settled
    assert first.failure() is None
    wire.run()
    assert all(d.settled for d in receiver.queue)
    assert sender.session.outgoing_unsettled == {} and receiver.session.incoming_unsettled == {}
    receiver.flow(1)
    wire.run()
    assert third.settled
    assert wire.client_log.named("settled") == [("settled", [third])]


def test_the_settle_mode_of_the_link_holds() -> None:
    wire = Wire().open()
    session = wire.begin()
    unsettled, _ = wire.sender(session, "u", credit=1, sender_settle_mode=0)
    with pytest.raises(EncodeError, match="unsettled"):
        unsettled.send(BODY, presettled=True)
    settled, _ = wire.sender(session, "s", credit=1, sender_settle_mode=1)
    assert settled.send(BODY).settled


def test_a_message_over_the_peers_limit_is_not_sent() -> None:
    wire = Wire()
    wire.server_log.attach_options = {"max_message_size": 100}
    wire.open()
    sender, receiver = wire.sender(credit=5)
    with pytest.raises(MessageTooLarge, match="101"):
        sender.send(payload(101))
    sender.send(payload(100))
    wire.run()
    assert len(receiver.queue) == 1


# -- large messages ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [0, 7])
@pytest.mark.parametrize("size", [480, 500, 512, 5000])
def test_large_messages_go_in_frames(size: int, cut: int) -> None:
    wire = Wire(server={"max_frame_size": 512}, cut=cut).open()
    sender, receiver = wire.sender(credit=2)
    delivery = sender.send(payload(size))
    other = sender.send(BODY)
    wire.run()
    assert receiver.queue[0].payload == payload(size)
    assert receiver.credit == 0
    receiver.queue[0].accept()
    wire.run()
    assert delivery.settled and not other.settled


def test_frames_are_never_larger_than_the_peer_takes() -> None:
    wire = Wire(server={"max_frame_size": 600}).open()
    sender, receiver = wire.sender(credit=4)
    before = len(wire.carried["client"])
    for size in range(500, 620, 7):
        receiver.flow(4)
        wire.run()
        sender.send(payload(size), message_format=0x80013700)
    wire.run()
    data = wire.carried["client"][before:]
    pos = 0
    while pos < len(data):
        size = int.from_bytes(data[pos : pos + 4], "big")
        assert size <= 600
        pos += size


def test_the_message_format_arrives() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=2)
    sender.send(BODY, message_format=0x80013700)
    sender.send(BODY)
    wire.run()
    assert [d.message_format for d in receiver.queue] == [0x80013700, 0]


def test_links_take_turns_frame_by_frame() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    session = wire.begin()
    first, first_in = wire.sender(session, "first", credit=5)
    second, second_in = wire.sender(session, "second", credit=5)
    # A window that is shut makes both queue.
    session.outgoing_limit = session.next_outgoing_id
    first.send(payload(400 * 400))
    second.send(BODY)
    session.outgoing_limit = (session.next_outgoing_id + 10) & 0xFFFFFFFF
    session.pump()
    wire.carry(wire.client, wire.server)
    assert len(second_in.queue) == 1 and len(first_in.queue) == 0
    first_in.session.send_flow()
    wire.run()
    assert len(first_in.queue) == 1


def test_large_messages_wait_for_the_stream() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=5)
    size = 4 * OUTPUT_HIGH_WATER
    sender.send(payload(size))
    first = sum(map(len, wire.client.data_to_send()))
    assert OUTPUT_HIGH_WATER <= first < size // 2
    wire.client.pause()
    assert wire.client.data_to_send() == []
    small = sender.send(BODY)
    assert small.id == -1
    wire.client.resume()
    rest = 0
    while chunks := wire.client.data_to_send():
        rest += sum(map(len, chunks))
    assert first + rest > size
    assert small.id == 1


def test_a_paused_stream_makes_small_messages_wait_too() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=5)
    wire.client.pause()
    deliveries = [sender.send(BODY) for _ in range(3)]
    assert wire.client.data_to_send() == []
    wire.client.resume()
    wire.run()
    assert [d.id for d in deliveries] == [0, 1, 2]


# -- withdrawing ------------------------------------------------------------------------------------------------


def test_a_message_that_waits_can_be_withdrawn() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    first, second = sender.send(BODY), sender.send(BODY)
    assert sender.withdraw(first)
    assert not sender.withdraw(first)
    assert isinstance(first.failure(), NotSent)
    receiver.flow(5)
    wire.run()
    assert second.id == 0 and len(receiver.queue) == 1
    assert not sender.withdraw(second)


@pytest.mark.parametrize("presettled", [False, True])
def test_a_message_that_went_out_in_part_is_aborted(presettled: bool) -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, receiver = wire.sender(credit=5)
    session = sender.session
    session.outgoing_limit = (session.next_outgoing_id + 3) & 0xFFFFFFFF
    large = sender.send(payload(5000), presettled=presettled)
    small = sender.send(BODY)
    assert large.id == 0 and not large.settled
    assert sender.withdraw(large)
    assert session.outgoing_unsettled == {}
    wire.run()
    receiver.session.send_flow()
    wire.run()
    assert [d.payload for d in receiver.queue] == [BODY]
    assert small.id == 1
    assert isinstance(large.failure(), NotSent)
    receiver.queue[0].accept()
    wire.run()
    assert small.settled and small.failure() is None


# -- the end of the link ----------------------------------------------------------------------------------------


def test_the_fate_of_each_message_is_told_when_the_link_ends() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, receiver = wire.sender(credit=3)
    session = sender.session
    in_flight, halfway = sender.send(BODY), sender.send(BODY)
    wire.run()
    wire.client.receive_data(encode_disposition(0, True, 1, 1, False, Received(0, 0).encode()))
    session.outgoing_limit = (session.next_outgoing_id + 1) & 0xFFFFFFFF
    partial, waiting = sender.send(payload(5000)), sender.send(BODY)
    wire.client.receive_data(frame(0, Detach(handle=0, closed=True).encode()))
    for delivery in (in_flight, halfway, partial):
        error = delivery.failure()
        assert isinstance(error, InDoubt)
        assert isinstance(error.__cause__, LinkDetached)
    assert isinstance(waiting.failure(), NotSent)
    ((_, told),) = wire.client_log.named("settled")
    assert set(told) == {in_flight, halfway, partial, waiting}
    assert len(told) == 4
    assert session.outgoing_unsettled == {}


def test_a_settled_message_cut_in_the_middle_is_in_doubt() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, _ = wire.sender(credit=3)
    sender.session.outgoing_limit = (sender.session.next_outgoing_id + 1) & 0xFFFFFFFF
    delivery = sender.send(payload(5000), presettled=True)
    wire.client.receive_data(frame(0, Detach(handle=0, closed=True).encode()))
    assert isinstance(delivery.failure(), InDoubt)


def test_an_aborted_message_stays_withdrawn_when_the_link_ends() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, _ = wire.sender(credit=3)
    sender.session.outgoing_limit = (sender.session.next_outgoing_id + 1) & 0xFFFFFFFF
    delivery = sender.send(payload(5000), presettled=True)
    sender.withdraw(delivery)
    wire.client.receive_data(frame(0, Detach(handle=0, closed=True).encode()))
    assert isinstance(delivery.failure(), NotSent)


def test_an_outcome_that_arrives_before_the_message_is_whole() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, receiver = wire.sender(credit=3)
    session = sender.session
    session.outgoing_limit = (session.next_outgoing_id + 1) & 0xFFFFFFFF
    delivery = sender.send(payload(2000))
    rejected = Rejected().encode()
    wire.client.receive_data(encode_disposition(0, True, 0, 0, True, rejected))
    assert delivery.settled and isinstance(delivery.failure(), RejectedError)
    after = sender.send(BODY)
    wire.run()
    receiver.session.send_flow()
    wire.run()
    # The rest goes out all the same: the receiver counts on whole deliveries.
    assert [len(d.payload) for d in receiver.queue] == [2000, len(BODY)]
    assert after.id == 1


def test_withdrawing_the_last_message_that_waits_for_the_window() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=5)
    session = sender.session
    session.outgoing_limit = session.next_outgoing_id
    delivery = sender.send(BODY)
    assert sender.withdraw(delivery)
    receiver.session.send_flow()
    wire.run()
    assert len(receiver.queue) == 0
    assert sender.send(BODY).id == 0


@pytest.mark.parametrize("number", [2**31, 2**32 - 1])
@pytest.mark.parametrize("drain", [False, True])
def test_credit_and_windows_of_any_size(number: int, drain: bool) -> None:
    wire = Wire().open()
    sender, _ = wire.sender(credit=3)
    sender.send(BODY)
    wire.run()
    queued = [sender.send(BODY) for _ in range(5)]
    wire.client.receive_data(encode_flow(0, [1, number, 0, number, 0, 1, number], drain, False))
    assert all(d.id >= 0 for d in queued)
    assert sender.credit == (0 if drain else (number + 1 - 6) & 0xFFFFFFFF)


def test_a_receiver_that_does_not_know_of_our_begin_counts_from_there() -> None:
    wire = Wire().open()
    session = wire.begin(first_id=7)
    sender, _ = wire.sender(session, credit=100)
    for _ in range(3):
        sender.send(BODY)
    for _ in range(2):
        wire.client.receive_data(encode_flow(0, [-1, 20, 0, 9], False, False))
        assert session.outgoing_limit == 27


def test_a_state_that_is_no_outcome_settles_nothing() -> None:
    wire = Wire().open()
    sender, _ = wire.sender(credit=3, receiver_settle_mode=1)
    delivery = sender.send(BODY)
    wire.client.data_to_send()
    for state in (TransactionalState(b"t"), Received(0, 0)):
        wire.client.receive_data(encode_disposition(0, True, 0, 0, False, state.encode()))
        assert delivery.state == state and not delivery.settled
    wire.client.receive_data(encode_disposition(0, True, 0, 0, False, Released().encode()))
    assert isinstance(delivery.failure(), ReleasedError)


def test_an_outcome_too_large_to_echo_is_settled_without() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, _ = wire.sender(credit=3)
    delivery = sender.send(BODY)
    wire.client.data_to_send()
    state = Modified(message_annotations={Symbol("x-opt-a"): "y" * 600})
    wire.client.receive_data(encode_disposition(0, True, 0, 0, False, state.encode()))
    assert delivery.settled and delivery.state == state
    assert len(b"".join(wire.client.data_to_send())) < 100
