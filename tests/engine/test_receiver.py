from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Accepted, Source, Target
from uamqp.codec.hot import encode_flow, frame
from uamqp.codec.performatives import Attach, Detach, Transfer
from uamqp.engine.limits import MAX_CREDIT, MAX_EMPTY_TRANSFERS, MAX_TRANSFERS_PER_DELIVERY
from uamqp.engine.receiver import ReceiverEndpoint
from uamqp.engine.states import LinkState
from uamqp.exceptions import DecodeError, EncodeError, LinkDetached, LocalProtocolError, SessionEnded

from .wire import Wire

BODY = b"\x00\x53\x75\xa0\x01x"


def receiving(credit: int = 10, window: int = 2048, **options: Any) -> tuple[Wire, ReceiverEndpoint]:
    wire = Wire().open()
    receiver, _ = wire.receiver(wire.begin(incoming_window=window), credit=credit, **options)
    return wire, receiver


def transfer(wire: Wire, payload: bytes = BODY, **fields: Any) -> None:
    fields.setdefault("handle", 0)
    wire.client.receive_data(frame(0, Transfer(**fields).encode() + payload))


def failed(wire: Wire, receiver: ReceiverEndpoint, condition: str) -> None:
    """The link was detached for that reason; its session lives on."""
    assert isinstance(receiver.error, LinkDetached)
    assert receiver.error.condition == condition
    assert receiver.state is LinkState.DETACH_SENT
    assert receiver.session.error is None and wire.client.error is None
    assert condition.encode() in b"".join(wire.client.data_to_send())
    # What the peer sends before it hears of it is thrown away.
    transfer(wire, delivery_id=900, delivery_tag=b"t")
    wire.client.receive_data(encode_flow(0, [0, 9, receiver.session.next_incoming_id, 9, 0, 0, 0], False, True))
    wire.client.receive_data(frame(0, Detach(handle=0, closed=True).encode()))
    assert receiver.session.error is None and wire.client.error is None


def test_deliveries_arrive() -> None:
    wire, receiver = receiving()
    transfer(wire, delivery_id=0, delivery_tag=b"one")
    transfer(wire, delivery_id=1, delivery_tag=b"two", settled=True, message_format=7)
    first, second = receiver.queue
    assert (first.id, first.tag, first.settled, first.payload) == (0, b"one", False, BODY)
    assert (second.id, second.settled, second.presettled, second.message_format) == (1, True, True, 7)
    assert receiver.credit == 8
    assert "unsettled" in repr(first)
    # Told once, until the queue is empty again.
    assert wire.client_log.named("deliveries") == [("deliveries", receiver)]


def test_the_owner_hears_once_per_read() -> None:
    wire, receiver = receiving()
    data = b"".join(frame(0, Transfer(handle=0, delivery_id=n, delivery_tag=b"t").encode() + BODY) for n in range(5))
    wire.client.receive_data(data)
    assert len(receiver.queue) == 5
    assert wire.client_log.named("deliveries") == [("deliveries", receiver)]


def test_credit_must_be_sensible() -> None:
    _, receiver = receiving()
    for credit in (-1, MAX_CREDIT + 1):
        with pytest.raises(LocalProtocolError, match="credit"):
            receiver.flow(credit)


def test_a_delivery_without_credit() -> None:
    wire, receiver = receiving(credit=1)
    transfer(wire, delivery_id=0, delivery_tag=b"t")
    transfer(wire, delivery_id=1, delivery_tag=b"t")
    failed(wire, receiver, "amqp:link:transfer-limit-exceeded")


def test_deliveries_of_an_unusual_shape() -> None:
    wire, receiver = receiving()
    unusual = [Transfer(handle=0, delivery_id=n, delivery_tag=b"t", rcv_settle_mode=0) for n in range(2)]
    wire.client.receive_data(b"".join(frame(0, transfer.encode() + BODY) for transfer in unusual))
    assert [delivery.payload for delivery in receiver.queue] == [BODY, BODY]


def test_a_delivery_of_an_unusual_shape_without_credit() -> None:
    wire, receiver = receiving(credit=0)
    transfer(wire, delivery_id=0, delivery_tag=b"t", rcv_settle_mode=0)
    failed(wire, receiver, "amqp:link:transfer-limit-exceeded")


def test_a_delivery_in_frames_without_credit() -> None:
    wire, receiver = receiving(credit=0)
    transfer(wire, delivery_id=0, delivery_tag=b"t", more=True)
    failed(wire, receiver, "amqp:link:transfer-limit-exceeded")


def test_a_delivery_in_frames_uses_one_credit() -> None:
    wire, receiver = receiving(credit=1)
    transfer(wire, b"\x00\x53\x75", delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, b"\xa0\x02", more=True)
    transfer(wire, b"hi", delivery_id=0, delivery_tag=b"t", more=False)
    (delivery,) = receiver.queue
    assert delivery.payload == b"\x00\x53\x75\xa0\x02hi"
    assert delivery.tag == b"t"
    assert receiver.credit == 0


def test_settled_in_any_frame_of_a_delivery_holds() -> None:
    wire, receiver = receiving()
    transfer(wire, b"\x00\x53\x75\xa0", delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, b"\x00", settled=True)
    assert receiver.queue[0].presettled


@pytest.mark.parametrize(
    "second", [{"delivery_id": 1}, {"delivery_tag": b"u"}, {"message_format": 5}, {"delivery_id": 1, "more": True}]
)
def test_a_delivery_does_not_change_on_the_way(second: dict[str, Any]) -> None:
    wire, receiver = receiving()
    transfer(wire, b"", delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, **second)
    assert isinstance(receiver.session.error, SessionEnded)
    assert receiver.session.error.condition == "amqp:invalid-field"


def test_an_aborted_delivery_is_forgotten() -> None:
    wire, receiver = receiving()
    transfer(wire, delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, b"", aborted=True)
    transfer(wire, delivery_id=1, delivery_tag=b"t")
    assert [d.id for d in receiver.queue] == [1]
    assert receiver.session.incoming_unsettled.keys() == {1}
    transfer(wire, b"", delivery_id=2, delivery_tag=b"t", aborted=True)
    assert len(receiver.queue) == 1
    # Each used credit, of which the owner is told.
    assert wire.client_log.named("wasted") == [("wasted", receiver, 1)] * 2


def test_a_delivery_over_the_limit() -> None:
    wire, receiver = receiving(max_message_size=10)
    transfer(wire, b"x" * 10, delivery_id=0, delivery_tag=b"t")
    assert len(receiver.queue) == 1
    transfer(wire, b"x" * 11, delivery_id=1, delivery_tag=b"t")
    failed(wire, receiver, "amqp:link:message-size-exceeded")


def test_a_delivery_in_frames_over_the_limit() -> None:
    wire, receiver = receiving(max_message_size=10)
    transfer(wire, b"x" * 6, delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, b"x" * 6, more=True)
    failed(wire, receiver, "amqp:link:message-size-exceeded")


def test_endless_empty_frames() -> None:
    wire, receiver = receiving()
    transfer(wire, b"x", delivery_id=0, delivery_tag=b"t", more=True)
    for _ in range(MAX_EMPTY_TRANSFERS):
        transfer(wire, b"", more=True)
    assert receiver.error is None
    transfer(wire, b"", more=True)
    failed(wire, receiver, "amqp:invalid-field")


def test_endless_tiny_frames() -> None:
    wire, receiver = receiving()
    data = b"".join(
        frame(0, Transfer(handle=0, delivery_id=0, delivery_tag=b"t", more=True).encode() + b"x") for _ in range(1000)
    )
    for _ in range(MAX_TRANSFERS_PER_DELIVERY // 1000):
        wire.client.receive_data(data)
        wire.client.data_to_send()
    assert receiver.error is None
    wire.client.receive_data(data)
    failed(wire, receiver, "amqp:link:message-size-exceeded")


def test_the_window_opens_again_while_a_delivery_arrives() -> None:
    wire, receiver = receiving(window=4)
    transfer(wire, b"x", delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, b"x", more=True)
    assert b"\x00\x53\x13" in b"".join(wire.client.data_to_send())
    for _ in range(4):
        transfer(wire, b"x", more=True)
    assert receiver.session.error is None


def test_the_senders_count_moves_ours() -> None:
    wire, receiver = receiving(credit=5)
    wire.client.receive_data(encode_flow(0, [0, 9, 0, 9, 0, 3, 0], False, False))
    assert (receiver.delivery_count, receiver.credit) == (3, 2)
    wire.client.receive_data(encode_flow(0, [0, 9, 0, 9, 0], False, False))
    assert receiver.delivery_count == 3


@pytest.mark.parametrize("count", [6, 2**32 - 1, 2**31])
def test_a_count_beyond_the_credit(count: int) -> None:
    wire, receiver = receiving(credit=5)
    wire.client.receive_data(encode_flow(0, [0, 9, 0, 9, 0, count, 0], False, False))
    failed(wire, receiver, "amqp:invalid-field")


def test_credit_wraps_around() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.server_log.accepting = False
    receiver = session.receiver("l")
    receiver.attach(Source(), Target())
    attach = Attach(name="l", handle=0, role=False, initial_delivery_count=2**32 - 2, source=Source(), target=Target())
    wire.client.receive_data(frame(0, attach.encode()))
    receiver.flow(5)
    for n in range(5):
        transfer(wire, delivery_id=n, delivery_tag=b"t")
    assert receiver.delivery_count == 3 and receiver.credit == 0
    transfer(wire, delivery_id=5, delivery_tag=b"t")
    failed(wire, receiver, "amqp:link:transfer-limit-exceeded")


def test_drained_by_deliveries_alone() -> None:
    wire, receiver = receiving(credit=0)
    receiver.flow(1, drain=True)
    transfer(wire, delivery_id=0, delivery_tag=b"t")
    assert wire.client_log.named("drained") == [("drained", receiver)]


def test_drained_by_a_delivery_that_is_aborted() -> None:
    wire, receiver = receiving(credit=0)
    receiver.flow(2, drain=True)
    transfer(wire, delivery_id=0, delivery_tag=b"t")
    assert wire.client_log.named("drained") == []
    transfer(wire, delivery_id=1, delivery_tag=b"t", more=True)
    transfer(wire, b"", aborted=True)
    assert wire.client_log.named("drained") == [("drained", receiver)]
    assert len(receiver.queue) == 1


def test_drained_when_the_last_delivery_is_whole() -> None:
    wire, receiver = receiving(credit=0)
    receiver.flow(1, drain=True)
    transfer(wire, delivery_id=0, delivery_tag=b"t", more=True)
    assert receiver.draining
    assert wire.client_log.named("drained") == []
    transfer(wire, more=False)
    assert wire.client_log.named("drained") == [("drained", receiver)]
    assert len(receiver.queue) == 1


def test_drain_without_credit_waits_for_the_delivery_that_is_here_in_part() -> None:
    wire, receiver = receiving(credit=1)
    transfer(wire, delivery_id=0, delivery_tag=b"t", more=True)
    receiver.flow(receiver.credit, drain=True)
    assert receiver.draining
    transfer(wire, more=False)
    assert wire.client_log.named("drained") == [("drained", receiver)]


def test_drain_without_credit_is_over_at_once() -> None:
    _, receiver = receiving(credit=0)
    receiver.flow(0, drain=True)
    assert not receiver.draining


# -- settling ---------------------------------------------------------------------------------------------------


def arrived(count: int, **options: Any) -> tuple[Wire, ReceiverEndpoint]:
    wire = Wire().open()
    receiver, sender = wire.receiver(credit=count, **options)
    for _ in range(count):
        sender.send(BODY)
    wire.run()
    wire.carried = {"client": b"", "server": b""}
    return wire, receiver


def test_neighbours_settled_alike_share_a_frame() -> None:
    wire, receiver = arrived(100)
    for delivery in receiver.queue:
        delivery.accept()
    wire.run()
    assert wire.carried["client"].count(b"\x00\x53\x15") == 1
    assert receiver.session.incoming_unsettled == {}


def test_runs_grow_at_either_end() -> None:
    wire, receiver = arrived(6)
    queue = list(receiver.queue)
    for n in (3, 2, 4, 1, 5, 0):
        queue[n].accept()
    wire.run()
    assert wire.carried["client"].count(b"\x00\x53\x15") == 1


def test_other_outcomes_and_gaps_begin_a_new_run() -> None:
    wire, receiver = arrived(7)
    queue = list(receiver.queue)
    queue[0].accept()
    queue[1].release()
    queue[2].release()
    queue[3].accept()
    queue[6].accept()
    wire.run()
    assert wire.carried["client"].count(b"\x00\x53\x15") == 4
    assert receiver.session.incoming_unsettled.keys() == {4, 5}


def test_settling_twice_is_an_error() -> None:
    _, receiver = arrived(2)
    first, second = receiver.queue
    first.accept()
    with pytest.raises(LocalProtocolError, match="settled already"):
        first.accept()
    with pytest.raises(LocalProtocolError, match="settled already"):
        first.release()
    second.reject()
    with pytest.raises(LocalProtocolError, match="Rejected"):
        second.accept()


def test_settling_what_was_sent_settled_does_nothing() -> None:
    wire, receiver = receiving()
    transfer(wire, delivery_id=0, delivery_tag=b"t", settled=True)
    receiver.queue[0].accept()
    receiver.queue[0].reject("x")
    assert b"\x00\x53\x15" not in b"".join(wire.client.data_to_send())


def test_settling_after_the_link_ended() -> None:
    wire, receiver = arrived(2)
    first, second = receiver.queue
    first.accept()
    wire.server_log.links[0].detach()
    wire.run()
    with pytest.raises(LinkDetached):
        second.accept()
    told = [d for e in wire.client_log.named("incoming_settled") for d in e[1]]
    assert told == [second]


def test_an_outcome_that_was_not_confirmed_when_the_link_ended_is_in_doubt() -> None:
    wire, receiver = arrived(1, receiver_settle_mode=1)
    (delivery,) = receiver.queue
    delivery.accept()
    assert not delivery.settled
    receiver.detach()
    wire.client.data_to_send()
    wire.client.lose(None)
    assert delivery.settled and isinstance(delivery.state, Accepted)
    assert delivery.error is receiver.error


@pytest.mark.parametrize("payload", [b"\x00\x53\x75\xa0"[:n] for n in range(1, 5)] + [b"\x00\x53\x75\xa0\x02x"])
def test_a_body_that_is_cut_short(payload: bytes) -> None:
    wire, receiver = receiving()
    transfer(wire, payload, delivery_id=0, delivery_tag=b"t")
    with pytest.raises(DecodeError):
        receiver.queue[0].body  # noqa: B018


def test_body_and_message() -> None:
    wire, receiver = receiving()
    transfer(wire, delivery_id=0, delivery_tag=b"t")
    transfer(wire, b"\x00\x53\x77\xa1\x02hi", delivery_id=1, delivery_tag=b"t")
    data, text = receiver.queue
    assert data.body == b"x"
    assert text.body == "hi"
    assert text.message is text.message
    assert data.message.body == b"x"


def test_the_last_frame_may_be_empty() -> None:
    wire, receiver = receiving()
    transfer(wire, BODY, delivery_id=0, delivery_tag=b"t", more=True)
    transfer(wire, b"")
    assert [d.payload for d in receiver.queue] == [BODY]


def test_what_was_under_way_when_credit_was_taken_back_arrives() -> None:
    wire, receiver = receiving(credit=5)
    receiver.flow(0)
    for n in range(3):
        transfer(wire, delivery_id=n, delivery_tag=b"t")
    transfer(wire, delivery_id=3, delivery_tag=b"t", more=True)
    transfer(wire, b"", more=False)
    assert [d.id for d in receiver.queue] == [0, 1, 2, 3]
    assert receiver.credit == 0
    receiver.flow(1)
    for n in (4, 5):
        transfer(wire, delivery_id=n, delivery_tag=b"t")
    assert receiver.error is not None and len(receiver.queue) == 5


def test_credit_taken_back_and_given_again_is_not_given_twice() -> None:
    wire, receiver = receiving(credit=5)
    receiver.flow(2)
    receiver.flow(4)
    for n in range(5):
        transfer(wire, delivery_id=n, delivery_tag=b"t")
    assert receiver.error is None
    transfer(wire, delivery_id=5, delivery_tag=b"t")
    failed(wire, receiver, "amqp:link:transfer-limit-exceeded")


def test_the_sender_may_give_back_credit_that_was_taken_back() -> None:
    wire, receiver = receiving(credit=5)
    receiver.flow(1)
    wire.client.receive_data(encode_flow(0, [0, 9, 0, 9, 0, 4, 0], False, False))
    assert (receiver.delivery_count, receiver.credit, receiver.error) == (4, 0, None)
    wire.client.receive_data(encode_flow(0, [0, 9, 0, 9, 0, 6, 0], False, False))
    failed(wire, receiver, "amqp:invalid-field")


@pytest.mark.parametrize("frames", [1, 3])
def test_a_resumed_delivery_is_ignored(frames: int) -> None:
    wire, receiver = receiving(credit=5)
    for n in range(frames):
        transfer(wire, BODY, delivery_id=0, delivery_tag=b"t", resume=True, more=n < frames - 1)
    transfer(wire, delivery_id=1, delivery_tag=b"u")
    assert [d.id for d in receiver.queue] == [1]
    assert receiver.credit == 3
    assert receiver.session.incoming_unsettled.keys() == {1}
    assert wire.client_log.named("wasted") == [("wasted", receiver, 1)]


@pytest.mark.parametrize("fields", [{"delivery_id": 0}, {"delivery_id": 0, "delivery_tag": b"t", "rcv_settle_mode": 1}])
def test_fields_that_the_first_transfer_must_and_must_not_have(fields: dict[str, Any]) -> None:
    wire, receiver = receiving()
    transfer(wire, **fields)
    assert isinstance(receiver.session.error, SessionEnded)
    assert receiver.session.error.condition == "amqp:invalid-field"


def test_an_outcome_that_does_not_fit_in_a_frame_is_refused_here() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    receiver, sender = wire.receiver(credit=1)
    sender.send(BODY)
    wire.run()
    delivery = receiver.queue[0]
    with pytest.raises(EncodeError, match="state"):
        delivery.reject("app:bad", "x" * 600)
    delivery.accept()
    wire.run()
    assert receiver.session.incoming_unsettled == {}


def test_deliveries_that_nobody_awaits_are_not_told() -> None:
    wire, receiver = receiving()
    told = wire.client_log.events
    told.clear()
    receiver.awaited = False
    transfer(wire, delivery_id=0, delivery_tag=b"a", settled=True)
    transfer(wire, delivery_id=1, delivery_tag=b"b", settled=True)
    assert not told and len(receiver.queue) == 2
    receiver.awaited = True
    receiver.queue.clear()
    transfer(wire, delivery_id=2, delivery_tag=b"c", settled=True)
    assert told == [("deliveries", receiver)]


def test_the_end_of_a_drain_is_told_though_nobody_awaits_deliveries() -> None:
    wire, receiver = receiving(credit=0)
    receiver.awaited = False
    receiver.flow(1, drain=True)
    wire.client_log.events.clear()
    transfer(wire, delivery_id=0, delivery_tag=b"a", settled=True)
    assert ("drained", receiver) in wire.client_log.events and not receiver.draining
