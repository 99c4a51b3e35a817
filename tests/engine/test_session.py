from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Accepted, Error, Received, Rejected, Source, Target
from uamqp.codec.hot import encode_disposition, encode_flow, frame
from uamqp.codec.performatives import Attach, Begin, Detach, Disposition, End, Flow, Transfer
from uamqp.codec.values import Symbol
from uamqp.engine.session import SessionEndpoint
from uamqp.engine.settlement import ACCEPTED_STATE
from uamqp.engine.states import SessionState
from uamqp.exceptions import EncodeError, LocalProtocolError, SessionEnded

from .wire import Wire

BODY = b"\x00\x53\x75\xa0\x01x"


def receive(wire: Wire, performative: Any, payload: bytes = b"", channel: int = 0) -> None:
    """Let the client receive a frame."""
    wire.client.receive_data(frame(channel, performative.encode() + payload))


def ended_with(wire: Wire, session: SessionEndpoint, condition: str) -> None:
    """The client ended the session for that reason, told its owner, and keeps the connection."""
    assert isinstance(session.error, SessionEnded)
    assert session.error.condition == condition
    assert session.state is SessionState.DISCARDING
    assert wire.client.error is None
    assert condition.encode() in b"".join(wire.client.data_to_send())
    assert [e[0] for e in wire.client_log.events].count("end") == 1


def test_begin_and_end() -> None:
    wire = Wire().open()
    session = wire.begin()
    assert session.state is SessionState.MAPPED
    assert session.remote_begin is not None
    session.end()
    session.end()
    wire.run()
    assert session.state is SessionState.ENDED
    assert wire.client_log.named("end") == [("end", session, None)]
    (event,) = wire.server_log.named("end")
    assert isinstance(event[2], SessionEnded) and event[2].remote
    with pytest.raises(LocalProtocolError):
        session.check_usable()


def test_the_peer_ends_it_with_an_error() -> None:
    wire = Wire().open()
    session = wire.begin()
    link, _ = wire.sender(session)
    wire.server_log.sessions[0].end(Error(Symbol("amqp:internal-error"), "oops"))
    wire.run()
    assert isinstance(session.error, SessionEnded)
    assert (session.error.condition, session.error.description) == ("amqp:internal-error", "oops")
    assert link.error is session.error
    assert session.state is SessionState.ENDED
    assert wire.begin().channel == 0


def test_both_end_at_once() -> None:
    wire = Wire().open()
    session = wire.begin()
    session.end()
    wire.server_log.sessions[0].end()
    wire.run()
    assert session.state is wire.server_log.sessions[0].state is SessionState.ENDED
    assert wire.client.error is None and wire.server.error is None


def test_end_before_the_peer_answered_waits_for_it() -> None:
    wire = Wire().open()
    session = wire.client.session()
    session.begin()
    session.end()
    wire.run()
    assert session.state is SessionState.ENDED
    assert wire.client_log.named("begin") == []
    assert wire.client_log.named("end") == [("end", session, None)]


def test_calls_that_are_not_legal() -> None:
    wire = Wire().open()
    session = wire.client.session()
    with pytest.raises(LocalProtocolError, match="not mapped"):
        session.check_usable()
    session.end()
    session.begin()
    with pytest.raises(LocalProtocolError):
        session.begin()


def test_frames_in_the_wrong_state() -> None:
    wire = Wire().open()
    session = wire.begin()
    session.end()
    wire.client.data_to_send()
    # The peer had not heard of the end: all but its own end is thrown away.
    receive(wire, Attach(name="n", handle=0, role=False, initial_delivery_count=0))
    assert wire.client_log.links == []
    receive(wire, End())
    assert session.state is SessionState.ENDED


# -- windows ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_id", [0, 2**32 - 3])
def test_transfers_stop_at_the_window_and_go_on(first_id: int) -> None:
    wire = Wire().open()
    wire.server_log.accepting = False
    session = wire.begin(first_id=first_id)
    remote = wire.server_log.sessions[0]
    remote.begin(incoming_window=4)
    wire.server_log.accepting = True
    wire.run()
    sender, receiver = wire.sender(session, credit=100)
    deliveries = [sender.send(BODY) for _ in range(10)]
    assert sum(d.id >= 0 for d in deliveries) == 4
    wire.run()
    # Half the window was used, so it was opened again, and again.
    assert len(receiver.queue) == 10
    for delivery in list(receiver.queue):
        delivery.accept()
    wire.run()
    assert all(d.settled and d.failure() is None for d in deliveries)
    assert [d.id for d in deliveries] == [(first_id + n) % 2**32 for n in range(10)]


def test_a_transfer_outside_the_window() -> None:
    wire = Wire().open()
    session = wire.begin(incoming_window=1)
    receiver, sender = wire.receiver(session, credit=10)
    data = b"".join(
        frame(0, Transfer(handle=0, delivery_id=n, delivery_tag=b"t", more=False).encode() + BODY) for n in range(2)
    )
    wire.client.receive_data(data)
    ended_with(wire, session, "amqp:session:window-violation")


def test_a_flow_that_is_ahead_of_us() -> None:
    wire = Wire().open()
    session = wire.begin()
    receive(wire, Flow(next_incoming_id=5, incoming_window=10, next_outgoing_id=0, outgoing_window=0))
    ended_with(wire, session, "amqp:invalid-field")


def test_a_flow_that_is_behind_counts_what_is_under_way() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, _ = wire.sender(session, credit=100)
    for _ in range(5):
        sender.send(BODY)
    receive(wire, Flow(next_incoming_id=2, incoming_window=4, next_outgoing_id=0, outgoing_window=0))
    assert session.outgoing_limit == 6
    receive(wire, Flow(next_incoming_id=0, incoming_window=2, next_outgoing_id=0, outgoing_window=0))
    assert session.outgoing_limit == session.next_outgoing_id == 5


def test_a_flow_from_before_our_begin_was_seen() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, _ = wire.sender(session, credit=100)
    sender.send(BODY)
    receive(wire, Flow(incoming_window=9, next_outgoing_id=0, outgoing_window=0))
    assert session.outgoing_limit == 9


def test_the_peers_count_of_transfers_holds() -> None:
    wire = Wire().open()
    session = wire.begin()
    limit = session.incoming_limit
    receive(wire, Flow(next_incoming_id=0, incoming_window=9, next_outgoing_id=7, outgoing_window=0))
    assert session.next_incoming_id == 7
    assert session.incoming_limit == limit + 7


def test_echo_is_answered() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, receiver = wire.sender(session, credit=3)
    before = len(wire.carried["client"])
    receiver.flow(3, echo=True)
    wire.run()
    assert wire.carried["client"][before:].count(b"\x00\x53\x13") == 1
    receive(wire, Flow(next_incoming_id=0, incoming_window=9, next_outgoing_id=0, outgoing_window=0, echo=True))
    assert b"".join(wire.client.data_to_send()).count(b"\x00\x53\x13") == 1


def test_link_state_without_handle() -> None:
    wire = Wire().open()
    session = wire.begin()
    receive(wire, Flow(next_incoming_id=0, incoming_window=1, next_outgoing_id=0, outgoing_window=0, link_credit=1))
    ended_with(wire, session, "amqp:invalid-field")


def test_a_flow_with_properties_goes_the_strict_way() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, _ = wire.sender(session)
    receive(
        wire,
        Flow(
            next_incoming_id=0,
            incoming_window=9,
            next_outgoing_id=0,
            outgoing_window=0,
            handle=0,
            delivery_count=0,
            link_credit=5,
            properties={Symbol("x"): 1},
        ),
    )
    assert sender.credit == 5


# -- handles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "performative",
    [
        Transfer(handle=9, delivery_id=0, delivery_tag=b"t"),
        Flow(next_incoming_id=0, incoming_window=1, next_outgoing_id=0, outgoing_window=0, handle=9),
        Detach(handle=9),
    ],
)
def test_a_handle_that_is_not_attached(performative: Any) -> None:
    wire = Wire().open()
    session = wire.begin()
    receive(wire, performative)
    ended_with(wire, session, "amqp:session:unattached-handle")


def test_a_handle_that_is_in_use() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.sender(session)
    receive(wire, Attach(name="other", handle=0, role=True))
    ended_with(wire, session, "amqp:session:handle-in-use")


def test_a_name_that_is_in_use() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.sender(session)
    receive(wire, Attach(name="link", handle=1, role=True, target=Target()))
    ended_with(wire, session, "amqp:session:handle-in-use")
    with pytest.raises(SessionEnded):
        session.check_usable()


def test_names_are_unique_per_direction() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.sender(session, "same")
    wire.receiver(session, "same")
    with pytest.raises(LocalProtocolError, match="same"):
        session.sender("same")


def test_a_handle_over_the_limit_ends_the_connection() -> None:
    wire = Wire().open()
    wire.begin(handle_max=1)
    receive(wire, Attach(name="n", handle=2, role=True))
    assert wire.client.error is not None
    assert wire.client.error.condition == "amqp:connection:framing-error"


def test_handles_run_out_and_are_used_again() -> None:
    wire = Wire().open()
    session = wire.begin(handle_max=2)
    links = [wire.sender(session, f"l{n}")[0] for n in range(3)]
    assert [link.handle for link in links] == [0, 1, 2]
    with pytest.raises(LocalProtocolError, match="no free handle"):
        session.sender("l3").attach(Source(), Target())
    links[1].detach()
    wire.run()
    assert wire.sender(session, "l4")[0].handle == 1


def test_a_transfer_from_a_receiver() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.sender(session, credit=1)
    receive(wire, Transfer(handle=0, delivery_id=0, delivery_tag=b"t"), BODY)
    ended_with(wire, session, "amqp:session:errant-link")


# -- delivery ids and tags --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transfer",
    [
        Transfer(handle=0, delivery_tag=b"t"),
        Transfer(handle=0, delivery_id=0, delivery_tag=b"t" * 33),
        Transfer(handle=0, delivery_tag=b"t", more=True),
    ],
)
def test_a_delivery_that_begins_wrong(transfer: Any) -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.receiver(session, credit=10)
    receive(wire, transfer, BODY)
    ended_with(wire, session, "amqp:invalid-field")


def test_a_delivery_id_that_was_used() -> None:
    wire = Wire().open()
    session = wire.begin()
    receiver, _ = wire.receiver(session, credit=10)
    receive(wire, Transfer(handle=0, delivery_id=5, delivery_tag=b"t"), BODY)
    receive(wire, Transfer(handle=0, delivery_id=7, delivery_tag=b"t"), BODY)
    assert [d.id for d in receiver.queue] == [5, 7]
    receive(wire, Transfer(handle=0, delivery_id=7, delivery_tag=b"t"), BODY)
    ended_with(wire, session, "amqp:invalid-field")


# -- dispositions -----------------------------------------------------------------------------------------------


def sent(wire: Wire, session: SessionEndpoint, count: int) -> list[Any]:
    sender, _ = wire.sender(session, credit=count)
    deliveries = [sender.send(BODY) for _ in range(count)]
    wire.client.data_to_send()
    return deliveries


def test_a_range_settles_what_lies_in_it() -> None:
    wire = Wire().open()
    deliveries = sent(wire, wire.begin(), 6)
    wire.client.receive_data(encode_disposition(0, True, 1, 3, True, ACCEPTED_STATE))
    assert [d.settled for d in deliveries] == [False, True, True, True, False, False]
    assert wire.client_log.named("settled")[-1][1] == deliveries[1:4]


def test_a_wide_range_costs_what_is_unsettled() -> None:
    wire = Wire().open()
    session = wire.begin()
    deliveries = sent(wire, session, 3)
    wire.client.receive_data(encode_disposition(0, True, 0, 2**31 - 1, True, ACCEPTED_STATE))
    assert all(d.settled for d in deliveries)
    assert session.outgoing_unsettled == {}


@pytest.mark.parametrize(("first", "last"), [(5, 4), (0, 2**32 - 1), (1, 2**31 + 2)])
@pytest.mark.parametrize("role", [True, False])
def test_a_reversed_range(first: int, last: int, role: bool) -> None:
    wire = Wire().open()
    session = wire.begin()
    deliveries = sent(wire, session, 3)
    wire.client.receive_data(encode_disposition(0, role, first, last, True, ACCEPTED_STATE))
    ended_with(wire, session, "amqp:invalid-field")
    assert all(d.failure() is not None for d in deliveries)


def test_a_range_over_the_wrap() -> None:
    wire = Wire().open()
    deliveries = sent(wire, wire.begin(first_id=2**32 - 2), 4)
    assert [d.id for d in deliveries] == [2**32 - 2, 2**32 - 1, 0, 1]
    wire.client.receive_data(encode_disposition(0, True, 2**32 - 2, 1, True, ACCEPTED_STATE))
    assert all(d.settled for d in deliveries)


def test_ids_that_do_not_exist_are_ignored() -> None:
    wire = Wire().open()
    deliveries = sent(wire, wire.begin(), 2)
    wire.client.receive_data(encode_disposition(0, True, 90, 90, True, ACCEPTED_STATE))
    assert not any(d.settled for d in deliveries)
    assert wire.client.error is None


def outgoing(wire: Wire, session: SessionEndpoint, count: int) -> dict[int, Any]:
    sent(wire, session, count)
    return session.outgoing_unsettled


def incoming(wire: Wire, session: SessionEndpoint, count: int) -> dict[int, Any]:
    receiver, remote_sender = wire.receiver(session, "in", credit=count)
    for _ in range(count):
        remote_sender.send(BODY)
    wire.run()
    assert len(receiver.queue) == count
    return session.incoming_unsettled


@pytest.mark.parametrize(("role", "unsettled_of"), [(True, outgoing), (False, incoming)])
def test_dispositions_that_settle_nothing_are_worth_no_time(role: bool, unsettled_of: Any) -> None:
    wire = Wire().open()
    session = wire.begin()
    unsettled = unsettled_of(wire, session, 2000)
    # Without state or settlement they say nothing, and are not looked at.
    wire.client.receive_data(encode_disposition(0, role, 0, 1999, False, b"") * 1000)
    assert session.error is None
    # Half of them are settled, but not the first; what lies between is gone through in vain.
    wire.client.receive_data(encode_disposition(0, role, 1, 1000, True, ACCEPTED_STATE))
    assert len(unsettled) == 1000
    vain = encode_disposition(0, role, 1, 1000, True, ACCEPTED_STATE)
    for _ in range(3):
        # Each read anew.
        wire.client.receive_data(vain * 150)
        assert session.error is None
    wire.client.receive_data(vain * 250)
    ended_with(wire, session, "amqp:resource-limit-exceeded")


def test_a_state_that_is_told_too_often() -> None:
    wire = Wire().open()
    session = wire.begin()
    sent(wire, session, 2000)
    received = Disposition(role=True, first=0, last=1999, settled=False, state=Received(0, 0)).encode()
    wire.client.receive_data(frame(0, received) * 150)
    ended_with(wire, session, "amqp:resource-limit-exceeded")


def test_a_range_that_begins_with_what_was_settled_long_ago_costs_nothing() -> None:
    wire = Wire().open()
    session = wire.begin()
    deliveries = sent(wire, session, 2000)
    for last in range(2000):
        # One read, and each of them from the beginning.
        wire.client.receive_data(encode_disposition(0, True, 0, last, True, ACCEPTED_STATE))
    assert all(d.settled for d in deliveries) and session.error is None
    deliveries = sent(wire, wire.begin(), 2000)
    wire.client.receive_data(
        b"".join(encode_disposition(1, True, 0, last, True, ACCEPTED_STATE) for last in range(2000))
    )
    assert all(d.settled for d in deliveries)
    assert session.error is None


def test_ending_costs_what_is_unsettled_and_not_that_for_each_link() -> None:
    wire = Wire().open()
    session = wire.begin()
    for number in range(200):
        wire.sender(session, f"link {number}")
    deliveries = sent(wire, session, 500)
    looked_at = 0

    class Counted(dict[int, Any]):
        def values(self) -> Any:
            nonlocal looked_at
            looked_at += len(self)
            return super().values()

    session.outgoing_unsettled = Counted(session.outgoing_unsettled)
    wire.client.lose(None)
    assert all(d.settled for d in deliveries)
    assert looked_at == 500


def test_the_role_decides_whose_deliveries_are_meant() -> None:
    wire = Wire().open()
    session = wire.begin()
    receiver, remote_sender = wire.receiver(session, "in", credit=5)
    remote_sender.send(BODY)
    wire.run()
    deliveries = sent(wire, session, 1)
    incoming = receiver.queue[0]
    assert incoming.id == deliveries[0].id == 0
    # The peer as sender settles its own delivery; ours stays open.
    wire.client.receive_data(encode_disposition(0, False, 0, 0, True, b""))
    assert incoming.settled and not deliveries[0].settled
    with pytest.raises(LocalProtocolError, match="sender settled"):
        incoming.accept()


def test_a_sender_that_does_not_settle_changes_nothing() -> None:
    wire = Wire().open()
    session = wire.begin()
    receiver, remote_sender = wire.receiver(session, "in", credit=5)
    remote_sender.send(BODY)
    wire.run()
    wire.client.receive_data(encode_disposition(0, False, 0, 9, False, b""))
    assert not receiver.queue[0].settled
    wire.client.receive_data(encode_disposition(0, False, 3, 9, True, b""))
    wire.client.receive_data(encode_disposition(0, False, 3, 3, True, b""))
    assert not receiver.queue[0].settled


def test_dispositions_in_other_forms_go_the_strict_way() -> None:
    wire = Wire().open()
    deliveries = sent(wire, wire.begin(), 2)
    error = Error(Symbol("app:bad"), "no")
    receive(wire, Disposition(role=True, first=0, settled=True, state=Rejected(error)))
    receive(wire, Disposition(role=True, first=1, last=1, settled=False, state=Received(0, 0)))
    assert isinstance(deliveries[0].state, Rejected) and deliveries[0].settled
    assert isinstance(deliveries[1].state, Received) and not deliveries[1].settled
    receive(wire, Disposition(role=True, first=1, last=1, settled=True, state=None))
    assert deliveries[1].settled
    assert "without" not in str(deliveries[1].failure())
    assert deliveries[1].failure() is not None


def test_an_outcome_that_is_not_settled_is_settled_by_the_sender() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, receiver = wire.sender(session, credit=5, receiver_settle_mode=1)
    deliveries = [sender.send(BODY) for _ in range(4)]
    wire.run()
    incoming = list(receiver.queue)
    for delivery in incoming[:3]:
        delivery.accept()
        assert not delivery.settled
    incoming[3].reject("app:bad")
    wire.run()
    assert all(d.settled for d in deliveries)
    assert [type(d.state) for d in deliveries] == [Accepted, Accepted, Accepted, Rejected]
    assert all(d.settled for d in incoming)
    assert receiver.session.incoming_unsettled == {} and session.outgoing_unsettled == {}
    settled = [d for e in wire.server_log.named("incoming_settled") for d in e[1]]
    assert settled == incoming
    # One disposition for the accepted ones, one for the other.
    assert wire.carried["client"].count(b"\x00\x53\x15") == 2


def test_a_delivery_is_settled_once() -> None:
    wire = Wire().open()
    deliveries = sent(wire, wire.begin(), 1)
    for _ in range(2):
        wire.client.receive_data(encode_disposition(0, True, 0, 0, True, ACCEPTED_STATE))
    assert sum(len(e[1]) for e in wire.client_log.named("settled")) == 1
    assert deliveries[0].settled


# -- the strict way and the straight way agree on the state -------------------------------------------------------


def test_frames_for_an_ended_session_are_ignored() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.receiver(session, credit=5)
    receive(wire, Detach(handle=9))
    assert session.error is not None
    wire.client.receive_data(encode_flow(0, [0, 1, 0, 1], False, True))
    receive(wire, Transfer(handle=0, delivery_id=0, delivery_tag=b"t"), BODY)
    assert wire.client.error is None


def test_a_begin_that_we_did_not_ask_for_can_be_answered() -> None:
    wire = Wire().open()
    receive(wire, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1), channel=3)
    (session,) = wire.client_log.sessions
    assert session.state is SessionState.BEGIN_RCVD
    session.begin()
    assert session.state is SessionState.MAPPED
    assert session.remote_channel == 3


def test_a_flow_without_credit_for_a_sender() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, _ = wire.sender(session, credit=3)
    wire.client.receive_data(encode_flow(0, [0, 10, 0, 10, 0], False, False))
    assert sender.credit == 3


def test_several_flows_in_one_read_are_told_once() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, _ = wire.sender(session)
    one, two = (encode_flow(0, [0, 10, 0, 10, 0, 0, n], False, False) for n in (1, 2))
    wire.client.receive_data(one + two)
    assert wire.client_log.named("credit") == [("credit", sender)]
    assert sender.credit == 2
    wire.client.receive_data(one + frame(0, Detach(handle=0).encode()))
    assert wire.client_log.named("credit") == [("credit", sender)]


def test_the_peers_end_after_ours_for_an_error() -> None:
    wire = Wire().open()
    session = wire.begin()
    receive(wire, Detach(handle=9))
    wire.client.data_to_send()
    receive(wire, End())
    assert session.state is SessionState.ENDED
    assert len(wire.client_log.named("end")) == 1
    assert wire.begin().channel == 0


def test_settling_after_end_was_sent_goes_nowhere() -> None:
    wire = Wire().open()
    session = wire.begin()
    receiver, remote = wire.receiver(session, credit=5)
    remote.send(BODY)
    wire.run()
    session.end()
    receiver.queue[0].accept()
    assert b"\x00\x53\x15" not in b"".join(wire.client.data_to_send())


def test_settling_joins_output_that_waits() -> None:
    wire = Wire().open()
    session = wire.begin()
    receiver, remote = wire.receiver(session, credit=5)
    remote.send(BODY)
    wire.run()
    receiver.flow(7)
    receiver.queue[0].accept()
    data = b"".join(wire.client.data_to_send())
    assert b"\x00\x53\x13" in data and b"\x00\x53\x15" in data


@pytest.mark.parametrize("body", ["14 c0 05 02 43 70 00 00", "15 c0 05 02 41 70 00 00"])
def test_a_frame_that_ends_in_the_middle_of_a_field(body: str) -> None:
    wire = Wire().open()
    wire.begin()
    # A list that claims to be whole, and the last bytes of the read.
    wire.client.receive_data(frame(0, b"\x00\x53" + bytes.fromhex(body)))
    assert wire.client.error is not None and wire.client.error.condition == "amqp:decode-error"


def test_drain_without_handle() -> None:
    wire = Wire().open()
    session = wire.begin()
    receive(wire, Flow(next_incoming_id=0, incoming_window=1, next_outgoing_id=0, outgoing_window=0, drain=True))
    ended_with(wire, session, "amqp:invalid-field")


def test_errors_with_long_names_fit_in_small_frames() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    session = wire.begin()
    receive(wire, Attach(name="ü" * 400, handle=0, role=False, initial_delivery_count=0))
    receive(wire, Attach(name="ü" * 400, handle=1, role=False, initial_delivery_count=0))
    ended_with(wire, session, "amqp:session:handle-in-use")


def test_a_transfer_from_a_receiver_in_a_rare_form() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.sender(session, credit=1)
    receive(wire, Transfer(handle=0, delivery_id=0, delivery_tag=b"t", resume=True), BODY)
    ended_with(wire, session, "amqp:session:errant-link")


def test_a_begin_that_cannot_be_encoded_takes_no_channel() -> None:
    wire = Wire().open()
    for _ in range(2):
        session = wire.client.session()
        assert session.channel == 0
        with pytest.raises(EncodeError):
            session.begin(handle_max=-1)
        assert session.state is SessionState.UNMAPPED
