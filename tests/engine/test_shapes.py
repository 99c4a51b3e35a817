"""The shortest path of a transfer: one like those before it. Whatever it does, the other paths must do, too."""

from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Source, Target
from uamqp.codec.hot import frame
from uamqp.codec.performatives import Attach, Detach, End, Transfer
from uamqp.engine.receiver import ReceiverEndpoint
from uamqp.engine.session import SessionEndpoint

from .wire import Wire

BODY = b"\x00\x53\x75\xa0\x01x"
FIRST = 1000


def transfer(number: int, **fields: Any) -> bytes:
    fields = {"handle": 0, "settled": False, **fields}
    return frame(0, Transfer(delivery_id=FIRST + number, delivery_tag=b"%04d" % number, **fields).encode() + BODY)


def receiving(credit: int = 100, **options: Any) -> tuple[Wire, ReceiverEndpoint]:
    """A receiver that has had one message, so that it knows what they look like."""
    wire = Wire().open()
    receiver, _ = wire.receiver(wire.begin(**options), credit=credit)
    wire.client.receive_data(transfer(0))
    assert wire.client._shapes.known
    return wire, receiver


def received(receiver: ReceiverEndpoint) -> list[tuple[int, bytes]]:
    return [(delivery.id - FIRST, delivery.tag) for delivery in receiver.queue]


def test_transfers_of_one_shape() -> None:
    wire, receiver = receiving()
    wire.client.receive_data(b"".join(transfer(n) for n in range(1, 50)))
    assert received(receiver) == [(n, b"%04d" % n) for n in range(50)]
    assert {delivery.payload for delivery in receiver.queue} == {BODY}
    assert len(receiver.session.incoming_unsettled) == 50
    assert receiver.credit == 50


def test_transfers_of_other_shapes_in_between() -> None:
    wire, receiver = receiving()
    others: list[dict[str, Any]] = [{"settled": True}, {"message_format": 5}, {"batchable": True}, {"settled": None}]
    wire.client.receive_data(b"".join(transfer(n, **others[n % 4] if n % 3 == 0 else {}) for n in range(1, 50)))
    assert received(receiver) == [(n, b"%04d" % n) for n in range(50)]
    for delivery in receiver.queue:
        n = delivery.id - FIRST
        expected = others[n % 4] if n and n % 3 == 0 else {}
        assert delivery.presettled is bool(expected.get("settled"))
        assert delivery.message_format == expected.get("message_format", 0)


def test_a_shape_is_learned_from_a_read_that_ends_in_the_middle_of_a_frame() -> None:
    wire = Wire().open()
    receiver, _ = wire.receiver(credit=100)
    data = transfer(0) + transfer(1)
    wire.client.receive_data(data[:-3])
    assert wire.client._shapes.known
    wire.client.receive_data(data[-3:] + transfer(2))
    assert received(receiver) == [(n, b"%04d" % n) for n in range(3)]


@pytest.mark.parametrize("links", [3, 40, 300])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_transfers_of_many_links_in_turn(links: int, chunk: int) -> None:
    """Their handles are of all lengths there are; the shapes of some are learned long after those of others."""
    wire = Wire().open()
    session = wire.begin(handle_max=400)
    receivers = [wire.receiver(session, f"link-{n}", credit=20)[0] for n in range(links)]
    frames = [transfer(n, handle=n % links) for n in range(4 * links)]
    for start in range(0, len(frames), chunk):
        wire.client.receive_data(b"".join(frames[start : start + chunk]))
    for n, receiver in enumerate(receivers):
        assert [delivery.id - FIRST for delivery in receiver.queue] == [n + turn * links for turn in range(4)]
    assert wire.client.error is None and session.error is None


def test_more_kinds_of_transfers_than_are_kept() -> None:
    wire, receiver = receiving()
    kinds = [{"message_format": 300 + n} for n in range(12)]
    for turn in range(3):
        for n, kind in enumerate(kinds):
            wire.client.receive_data(transfer(1 + turn * 12 + n, **kind))
    assert [delivery.message_format for delivery in receiver.queue][1:] == [k["message_format"] for k in kinds] * 3
    assert len(wire.client._shapes.known) <= 8


def test_a_delivery_in_several_frames_among_others() -> None:
    wire, receiver = receiving()
    wire.client.receive_data(transfer(1, more=True) + transfer(1, more=False) + transfer(2))
    assert received(receiver) == [(n, b"%04d" % n) for n in range(3)]
    assert [delivery.payload for delivery in receiver.queue] == [BODY, BODY * 2, BODY]


def test_without_credit() -> None:
    wire, receiver = receiving(credit=2)
    wire.client.receive_data(transfer(1) + transfer(2))
    assert receiver.error is not None and receiver.error.condition == "amqp:link:transfer-limit-exceeded"
    assert receiver.session.error is None


def test_outside_the_window() -> None:
    wire, receiver = receiving(incoming_window=3)
    session = receiver.session
    wire.client.receive_data(b"".join(transfer(n) for n in range(1, 9)))
    assert session.error is not None and session.error.condition == "amqp:session:window-violation"


def test_an_id_that_was_used_before() -> None:
    wire, receiver = receiving()
    session = receiver.session
    wire.client.receive_data(transfer(1) + transfer(0) + transfer(2))
    assert session.error is not None and session.error.condition == "amqp:invalid-field"


def test_a_frame_over_the_limit() -> None:
    wire, _ = receiving()
    wire.client.receive_data((1 << 20).to_bytes(4, "big") + transfer(1)[4:])
    assert wire.client.error is not None and wire.client.error.condition == "amqp:connection:framing-error"


def test_a_frame_that_ends_before_its_payload_should_begin() -> None:
    wire, receiver = receiving()
    wire.client.receive_data((20).to_bytes(4, "big") + transfer(1)[4:])
    assert wire.client.error is not None
    assert len(receiver.queue) == 1


@pytest.mark.parametrize("cut", [1, 2, 7, 30, 41])
def test_cut_anywhere(cut: int) -> None:
    wire, receiver = receiving()
    data = b"".join(transfer(n) for n in range(1, 9))
    for start in range(0, len(data), cut):
        wire.client.receive_data(data[start : start + cut])
    assert received(receiver) == [(n, b"%04d" % n) for n in range(9)]


def attached_again(wire: Wire, session: SessionEndpoint) -> ReceiverEndpoint:
    """Another link, which the peer gives the handle of the one before."""
    other = session.receiver("other")
    other.attach(Source(address="a"), Target(address="b"))
    attach = Attach(name="other", handle=0, role=False, source=Source(address="a"), target=Target(address="b"))
    wire.client.receive_data(frame(0, attach.encode()))
    other.flow(10)
    return other


def test_the_handle_is_another_links_now() -> None:
    wire, receiver = receiving()
    session = receiver.session
    receiver.detach()
    wire.client.receive_data(frame(0, Detach(handle=0, closed=True).encode()))
    other = attached_again(wire, session)
    wire.client.receive_data(transfer(1) + transfer(2))
    assert received(other) == [(1, b"0001"), (2, b"0002")]
    assert len(receiver.queue) == 1


def test_the_handle_becomes_another_links_within_a_read() -> None:
    wire, receiver = receiving()
    session = receiver.session
    other = session.receiver("other")
    other.attach(Source(address="a"), Target(address="b"))
    attach = Attach(name="other", handle=0, role=False, source=Source(address="a"), target=Target(address="b"))
    wire.client.receive_data(
        transfer(1) + frame(0, Detach(handle=0, closed=True).encode()) + frame(0, attach.encode()) + transfer(2)
    )
    # It has no credit, which shows that it was meant.
    assert other.error is not None and other.error.condition == "amqp:link:transfer-limit-exceeded"
    assert len(receiver.queue) == 2


def test_after_our_detach_what_comes_is_thrown_away() -> None:
    wire, receiver = receiving()
    receiver.detach()
    wire.client.receive_data(transfer(1) + transfer(2))
    assert wire.client.error is None and len(receiver.queue) == 1


@pytest.mark.parametrize("ours", [False, True])
def test_after_the_end_of_the_session(ours: bool) -> None:
    wire, receiver = receiving()
    if ours:
        receiver.session.fail("amqp:internal-error", "enough")
    else:
        wire.client.receive_data(frame(0, End().encode()))
    wire.client.receive_data(transfer(1))
    assert len(receiver.queue) == 1


def test_after_our_close() -> None:
    wire, receiver = receiving()
    wire.client.fail("amqp:internal-error", "enough")
    wire.client.receive_data(transfer(1))
    assert len(receiver.queue) == 1
