"""What the peer sent before it read ours, and what of the peer's was not answered yet."""

from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Accepted, Error, Source, Target
from uamqp.codec.hot import frame
from uamqp.codec.performatives import Attach, Begin, Close, Detach, Disposition, End, Flow, Transfer
from uamqp.codec.performatives import decode_performative as decode
from uamqp.codec.values import Symbol
from uamqp.engine.link import LinkEndpoint
from uamqp.engine.session import SessionEndpoint
from uamqp.engine.states import ConnectionState, LinkState, SessionState
from uamqp.exceptions import LinkDetached, LocalProtocolError, SessionEnded

from .wire import Wire

BODY = b"\x00Su\xa0\x01x"
REASON = Error(Symbol("amqp:not-allowed"), "a reason")
BEGIN = Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100)
FLOW = {"next_incoming_id": 0, "incoming_window": 100, "next_outgoing_id": 0, "outgoing_window": 100}


def attach(name: str = "link", handle: int = 0, *, role: bool = False, **fields: Any) -> Attach:
    ends = {"source": Source(address="s"), "target": Target(address="t"), **fields}
    return Attach(name=name, handle=handle, role=role, initial_delivery_count=None if role else 0, **ends)


def transfer(delivery_id: int = 0, handle: int = 0, **fields: Any) -> Transfer:
    return Transfer(handle=handle, delivery_id=delivery_id, delivery_tag=b"t", message_format=0, **fields)


def receive(wire: Wire, *performatives: Any) -> None:
    """Let the client receive frames, in one read."""
    wire.client.receive_data(
        b"".join(frame(0, p.encode() + (BODY if isinstance(p, Transfer) else b"")) for p in performatives)
    )


def sent(wire: Wire) -> list[Any]:
    """What the client sent since."""
    data = b"".join(wire.client.data_to_send())
    performatives = []
    while data:
        size = int.from_bytes(data[:4], "big")
        performatives.append(decode(data, 8, size)[0])
        data = data[size:]
    return performatives


@pytest.fixture
def wire() -> Wire:
    return Wire().open()


# --- links ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("settled", [False, True])
def test_deliveries_under_way_when_a_receiver_is_detached(wire: Wire, more: bool, settled: bool) -> None:
    receiver, sender = wire.receiver(credit=10)
    for _ in range(3):
        sender.send(BODY * (20_000 if more else 1), presettled=settled)
    receiver.detach()
    wire.carry(wire.server, wire.client)
    assert receiver.error is None
    assert not receiver.queue and not receiver.session.incoming_unsettled
    wire.run()
    assert receiver.state is LinkState.ENDED
    assert wire.client_log.named("detach") == [("detach", receiver, None)]
    # The name is free, and the session stands where the peer thinks it does.
    again, sender = wire.receiver(receiver.session, credit=10)
    sender.send(BODY)
    wire.run()
    assert again.queue.popleft().payload == BODY


def test_the_rest_of_a_delivery_when_a_receiver_is_detached(wire: Wire) -> None:
    receiver, _ = wire.receiver(credit=10)
    receive(wire, transfer(more=True))
    receiver.detach()
    receive(wire, Transfer(handle=0, more=True), Transfer(handle=0), transfer(1), Detach(handle=0, closed=True))
    assert receiver.state is LinkState.ENDED
    assert not receiver.queue
    assert wire.client_log.named("detach") == [("detach", receiver, None)]


def unanswered(wire: Wire, *, role: bool, handle: int = 0) -> LinkEndpoint:
    """A link that the peer asked for."""
    wire.begin()
    receive(wire, attach(handle=handle, role=role))
    sent(wire)
    return wire.client_log.links[-1]


def test_a_transfer_on_a_link_that_was_not_answered(wire: Wire) -> None:
    link = unanswered(wire, role=False)
    receive(wire, transfer())
    answer, detach = sent(wire)
    assert isinstance(answer, Attach) and answer.target is None
    assert isinstance(detach, Detach) and detach.error is not None
    assert detach.error.condition == "amqp:link:transfer-limit-exceeded"
    assert isinstance(link.error, LinkDetached)
    assert link.session.error is None


def test_a_link_that_was_not_answered_is_detached(wire: Wire) -> None:
    link = unanswered(wire, role=True)
    link.detach(error=REASON)
    answer, detach = sent(wire)
    assert isinstance(answer, Attach) and answer.source is None
    assert detach == Detach(handle=answer.handle, closed=True, error=REASON)
    receive(wire, Detach(handle=0, closed=True))
    assert link.state is LinkState.ENDED


def test_a_link_that_was_not_answered_when_its_session_ends(wire: Wire) -> None:
    link = unanswered(wire, role=True, handle=7)
    answered, _ = wire.sender(link.session, "answered")
    link.session.end()
    sent(wire)
    link.detach()
    answered.detach()
    assert answered.state is LinkState.DETACH_SENT
    receive(wire, Detach(handle=7, closed=True), End())
    assert sent(wire) == []
    assert link.state is LinkState.ENDED
    assert wire.client_log.named("end") == [("end", link.session, None)]


def test_credit_for_a_link_that_was_not_answered_is_used_once_it_is(wire: Wire) -> None:
    sender: Any = unanswered(wire, role=True)
    receive(wire, Flow(**FLOW, handle=0, delivery_count=0, link_credit=2))
    for payload in (BODY, b""):
        with pytest.raises(LocalProtocolError, match="not attached"):
            sender.send(payload)
    assert sender.send_run([BODY]) is None
    assert sent(wire) == []
    sender.attach(Source(), Target())
    sender.send(BODY)
    answer, delivery = sent(wire)
    assert (answer.handle, delivery.handle, delivery.delivery_id) == (0, 0, 0)
    assert sender.credit == 1


@pytest.mark.parametrize("info", [{Symbol("text"): "d" * 600}, {Symbol("object"): object()}])
def test_a_detach_that_cannot_be_sent(info: dict[Any, Any]) -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    link, _ = wire.sender()
    with pytest.raises((LocalProtocolError, ValueError)):
        link.detach(error=Error(Symbol("x:y"), None, info))
    assert link.state is LinkState.ATTACHED
    session = link.session
    with pytest.raises((LocalProtocolError, ValueError)):
        session.end(Error(Symbol("x:y"), None, info))
    assert session.state is SessionState.MAPPED
    # Nothing was, so all is as before.
    link.detach()
    session.end()
    wire.run()
    assert link.state is LinkState.ENDED
    assert session.state is SessionState.ENDED


# --- drain ------------------------------------------------------------------------------------------------------


def test_a_drain_ends_where_the_credit_does(wire: Wire) -> None:
    sender, receiver = wire.sender()
    for _ in range(3):
        sender.send(BODY)
    receiver.flow(2, drain=True)
    wire.carry(wire.server, wire.client)
    first, second, flow = sent(wire)
    assert isinstance(first, Transfer) and isinstance(second, Transfer)
    assert (flow.handle, flow.link_credit, flow.drain, flow.available) == (0, 0, True, 1)
    # Each time that it is asked for.
    receive(wire, Flow(**FLOW, handle=0, delivery_count=2, link_credit=0, drain=True))
    (flow,) = sent(wire)
    assert (flow.link_credit, flow.drain) == (0, True)


def test_a_drain_waits_for_a_delivery_that_was_begun() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    sender, _ = wire.sender()
    sender.send(BODY * 150)
    sender.send(BODY)
    receive(wire, Flow(**{**FLOW, "incoming_window": 1}, handle=0, delivery_count=0, link_credit=1, drain=True))
    assert [type(p) for p in sent(wire)] == [Transfer]
    receive(wire, Flow(**{**FLOW, "next_incoming_id": 1}, handle=0, delivery_count=1, link_credit=0, drain=True))
    assert [type(p) for p in sent(wire)] == [Transfer, Flow]


# --- sessions ---------------------------------------------------------------------------------------------------


def begun_by_the_peer(wire: Wire) -> SessionEndpoint:
    receive(wire, BEGIN)
    assert sent(wire) == []
    return wire.client_log.sessions[-1]


def test_a_session_that_was_not_answered_is_ended(wire: Wire) -> None:
    session = begun_by_the_peer(wire)
    session.end(REASON)
    begin, end = sent(wire)
    assert isinstance(begin, Begin) and begin.remote_channel == 0
    assert end == End(error=REASON)
    receive(wire, End())
    assert session.state is SessionState.ENDED
    assert begun_by_the_peer(wire).state is SessionState.BEGIN_RCVD


def test_a_violation_on_a_session_that_was_not_answered(wire: Wire) -> None:
    session = begun_by_the_peer(wire)
    receive(wire, Flow(**FLOW, handle=7))
    begin, end = sent(wire)
    assert isinstance(begin, Begin) and isinstance(end, End) and end.error is not None
    assert end.error.condition == "amqp:session:unattached-handle"
    assert isinstance(session.error, SessionEnded)


def test_the_peer_ends_what_was_not_answered(wire: Wire) -> None:
    session = begun_by_the_peer(wire)
    receive(wire, End())
    assert [type(p) for p in sent(wire)] == [Begin, End]
    assert isinstance(session.error, SessionEnded) and session.error.remote
    assert session.state is SessionState.ENDED
    assert begun_by_the_peer(wire).channel == 0


def test_after_end_with_an_error_all_but_end_is_dropped(wire: Wire) -> None:
    session = wire.begin()
    receiver, _ = wire.receiver(session, credit=10)
    sender, remote = wire.sender(session, "out", credit=10)
    delivery = sender.send(BODY)
    sent(wire)
    session.end(REASON)
    assert [type(p) for p in sent(wire)] == [End]
    accept = Disposition(role=True, first=0, settled=True, state=Accepted())
    receive(wire, transfer(), attach("new", 5), transfer(1, 5), Flow(**FLOW, handle=9), accept, Detach(handle=8))
    assert sent(wire) == []
    assert not receiver.queue and not delivery.settled
    assert session.state is SessionState.DISCARDING
    receive(wire, End())
    assert delivery.settled and delivery.error is not None
    assert wire.client_log.named("end") == [("end", session, None)]
    assert remote.error is None


def test_after_end_what_crosses_it_is_no_violation(wire: Wire) -> None:
    """A link that is refused, one that the peer asks for, and what comes on them; outcomes still count."""
    session = wire.begin()
    sender, _ = wire.sender(session, "out", credit=10)
    delivery = sender.send(BODY)
    link = session.receiver("refused")
    link.attach(Source(), Target())
    session.end()
    sent(wire)
    refusal = (attach("refused", 3, source=None), Detach(handle=3, closed=True, error=REASON))
    accept = Disposition(role=True, first=0, settled=True, state=Accepted())
    receive(wire, *refusal, attach("new", 5), transfer(0, 5), Flow(**FLOW, handle=5), accept)
    assert delivery.state == Accepted()
    receive(wire, End())
    assert wire.client_log.named("end") == [("end", session, None)]
    assert sent(wire) == []


# --- the connection ---------------------------------------------------------------------------------------------


def test_after_close_what_crosses_it_is_no_violation(wire: Wire) -> None:
    wire.client.close()
    assert [type(p) for p in sent(wire)] == [Close]
    receive(wire, BEGIN, attach(), transfer(), Detach(handle=0), End())
    assert wire.client.state is ConnectionState.CLOSE_SENT
    assert not wire.client.closed
    receive(wire, Close())
    assert wire.client.closed
    assert wire.client_log.named("close") == [("close", None)]


def test_after_close_a_session_is_refused(wire: Wire) -> None:
    session = wire.client.session()
    session.begin()
    wire.client.close()
    sent(wire)
    receive(wire, Begin(remote_channel=0, next_outgoing_id=0, incoming_window=1, outgoing_window=1), End(error=REASON))
    receive(wire, Close())
    assert wire.client_log.named("close") == [("close", None)]
