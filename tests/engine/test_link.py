from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Error, Source, Target
from uamqp.codec.hot import frame
from uamqp.codec.performatives import Attach, Detach, Flow, decode_performative
from uamqp.codec.values import Symbol
from uamqp.engine.errors import SessionViolation
from uamqp.engine.states import Event, LinkState
from uamqp.exceptions import (
    AMQPError,
    LinkDetached,
    LinkRedirected,
    LinkStolen,
    LocalProtocolError,
    MessageTooLarge,
    SessionEnded,
)

from .wire import Wire


def test_attach_tells_the_terms() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(
        name="l",
        sender_settle_mode=0,
        receiver_settle_mode=1,
        max_message_size=1000,
        properties={"p": 1},
        offered_capabilities=["a"],
        desired_capabilities=["b"],
    )
    attach = receiver.remote_attach
    assert attach is not None
    assert (attach.name, attach.handle, attach.role) == ("l", 0, False)
    assert (attach.snd_settle_mode, attach.rcv_settle_mode) == (0, 1)
    assert attach.max_message_size == 1000
    assert attach.properties == {"p": 1}
    assert (attach.offered_capabilities, attach.desired_capabilities) == (("a",), ("b",))
    assert sender.source.address == receiver.source.address == "a"
    assert sender.target.address == receiver.target.address == "b"
    assert sender.state is receiver.state is LinkState.ATTACHED


def test_termini_before_the_answer_are_ours() -> None:
    wire = Wire().open()
    session = wire.begin()
    link = session.sender("l")
    assert link.source is None and link.target is None
    link.attach(Source(address="x"), Target(address="y"))
    assert link.source.address == "x"
    assert link.target.address == "y"


def test_the_peers_view_of_its_own_terminus_holds() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.server_log.accepting = False
    receiver = session.receiver("l")
    receiver.attach(Source(dynamic=True), Target())
    wire.run()
    wire.server_log.links[0].attach(Source(address="made", dynamic=True), Target())
    wire.run()
    assert receiver.source.address == "made"


def test_detach_and_closed() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    sender.detach()
    sender.detach()
    wire.run()
    assert sender.state is receiver.state is LinkState.ENDED
    assert wire.client_log.named("detach") == [("detach", sender, None)]
    (event,) = wire.server_log.named("detach")
    assert isinstance(event[2], LinkDetached) and event[2].remote
    assert receiver.remote_detach is not None and receiver.remote_detach.closed
    with pytest.raises(LocalProtocolError, match="closed"):
        sender.send(b"x")
    # The name and the handle are free again.
    again, _ = wire.sender(sender.session)
    assert again.handle == 0


def test_suspending_is_answered_with_suspending() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    sender.detach(closed=False)
    wire.run()
    assert receiver.remote_detach is not None and not receiver.remote_detach.closed
    assert sender.remote_detach is not None and not sender.remote_detach.closed


@pytest.mark.parametrize(
    ("condition", "kind"),
    [
        ("amqp:link:detach-forced", LinkDetached),
        ("amqp:link:redirect", LinkRedirected),
        ("amqp:link:stolen", LinkStolen),
        ("amqp:link:message-size-exceeded", MessageTooLarge),
        ("com.example:own", LinkDetached),
    ],
)
def test_the_peer_detaches_with_an_error(condition: str, kind: type[LinkDetached]) -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    receiver.detach(error=Error(Symbol(condition), "why", {Symbol("x"): 1}))
    wire.run()
    error = sender.error
    assert type(error) is kind
    assert (error.condition, error.description, error.remote) == (condition, "why", True)
    assert error.info == {"x": 1}
    with pytest.raises(kind):
        sender.send(b"x")
    assert sender.session.error is None


def test_refusing_is_an_attach_without_terminus_and_a_detach() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.server_log.refuse_with = Error(Symbol("amqp:not-found"), "no such node")
    for link in (session.sender("s"), session.receiver("r")):
        link.attach(Source(address="a"), Target(address="b"))
        wire.run()
        assert isinstance(link.error, LinkDetached)
        assert link.error.condition == "amqp:not-found"
        assert link.refused
        assert wire.client_log.named("attach") == []
    assert wire.client.error is None and session.error is None


def test_a_refused_link_is_of_no_use_before_the_detach() -> None:
    wire = Wire().open()
    session = wire.begin()
    link = session.sender("s")
    link.attach(Source(), Target())
    wire.client.receive_data(frame(0, Attach(name="s", handle=0, role=True, source=Source()).encode()))
    assert link.refused and wire.client_log.named("attach") == []
    wire.client.receive_data(frame(0, Detach(handle=0, closed=True).encode()))
    assert isinstance(link.error, LinkDetached)


def test_detaching_before_the_peer_answered() -> None:
    wire = Wire().open()
    session = wire.begin()
    link = session.sender("s")
    link.attach(Source(), Target())
    link.detach()
    assert link.state is LinkState.DETACH_SENT
    wire.run()
    assert link.state is LinkState.ENDED
    assert wire.client_log.named("attach") == []
    assert wire.client_log.named("detach") == [("detach", link, None)]


def test_both_detach_at_once() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    sender.detach()
    receiver.detach()
    wire.run()
    assert sender.state is receiver.state is LinkState.ENDED
    assert wire.client.error is None and wire.server.error is None


def test_a_link_needs_a_session_that_is_mapped() -> None:
    wire = Wire().open()
    session = wire.client.session()
    link = session.sender("s")
    with pytest.raises(LocalProtocolError):
        link.attach(Source(), Target())
    with pytest.raises(LocalProtocolError, match="not mapped"):
        link.send(b"x")
    session.begin()
    wire.run()
    with pytest.raises(LocalProtocolError, match="not attached"):
        session.sender("t").send(b"x")


def test_calls_that_are_not_legal() -> None:
    wire = Wire().open()
    sender, _ = wire.sender()
    with pytest.raises(LocalProtocolError, match="not legal"):
        sender.attach(Source(), Target())


def test_a_peer_that_does_not_wait_for_the_answer_to_its_attach() -> None:
    """Spec 2.6.3: it gets one without a terminus, and the detach."""
    wire = Wire().open()
    session = wire.begin()
    other, _ = wire.sender(session, "other", credit=1)
    wire.client.data_to_send()
    wire.client.receive_data(frame(0, Attach(name="n", handle=4, role=False, initial_delivery_count=0).encode()))
    # The owner did not answer yet.
    (link,) = [link for link in wire.client_log.links if link.name == "n"]
    wire.client.receive_data(frame(0, Detach(handle=4, closed=True).encode()))
    data = b"".join(wire.client.data_to_send())
    size = int.from_bytes(data[:4], "big")
    attach, detach = decode_performative(data, 8, size)[0], decode_performative(data, size + 8, len(data))[0]
    assert isinstance(attach, Attach) and (attach.name, attach.role, attach.target) == ("n", True, None)
    assert isinstance(detach, Detach) and (detach.handle, detach.closed) == (attach.handle, True)
    assert isinstance(link.error, LinkDetached)
    assert [event[1] for event in wire.client_log.named("detach")] == [link]
    with pytest.raises(LinkDetached):
        link.check_usable()
    assert session.error is None
    other.send(b"\x00\x53\x75\xa0\x01x")
    # Handle and name are free again; a second detach is one too many.
    session.receiver("n")
    wire.client.receive_data(frame(0, Detach(handle=4).encode()))
    assert isinstance(session.error, SessionEnded)
    assert session.error.condition == "amqp:session:unattached-handle"


def test_the_name_of_a_link_that_could_not_be_attached_is_free() -> None:
    wire = Wire().open()
    session = wire.begin(handle_max=0)
    first, _ = wire.sender(session, "first")
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="no free handle"):
            session.sender("second").attach(Source(), Target())
    first.detach()
    wire.run()
    wire.sender(session, "second", credit=1)


@pytest.mark.parametrize("whole", [False, True])
def test_what_ends_together_sends_no_more(whole: bool) -> None:
    """Who is told of the first link may give back what it had to the second, which is about to end."""
    wire = Wire().open()
    session = wire.begin()
    senders = [wire.sender(session, name, credit=5)[0] for name in ("a", "b")]
    for sender in senders:
        sender.send(b"\x00\x53\x75\xa0\x01x")
    wire.client.data_to_send()
    room: list[bool] = []

    def on_settled(deliveries: list[Any]) -> None:
        room.extend(sender.credit > 0 for sender in senders)
        for sender in senders:
            with pytest.raises(AMQPError):
                sender.send(b"\x00\x53\x75\xa0\x01x")

    wire.client_log.on_settled = on_settled  # type: ignore[method-assign]
    if whole:
        wire.client.lose(None)
    else:
        session.fail("amqp:internal-error", "over")
        assert b"".join(wire.client.data_to_send()).count(b"\x00\x53\x14") == 0
    assert room == [False] * 4


def test_detach_while_the_session_ends() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender()
    sender.session.end()
    receiver.detach()
    wire.run()
    assert wire.client.error is None and wire.server.error is None
    assert sender.error is not None


def test_what_the_peer_attaches_can_be_answered() -> None:
    wire = Wire().open()
    session = wire.begin()
    attach = Attach(name="n", handle=4, role=False, initial_delivery_count=7, source=Source(), target=Target())
    wire.client.receive_data(frame(0, attach.encode()))
    (link,) = wire.client_log.links
    assert link.state is LinkState.ATTACH_RCVD
    link.attach(Source(), Target())
    assert link.state is LinkState.ATTACHED
    assert link.delivery_count == 7
    assert session.error is None


async def test_awaiting_a_delivery_asks_the_owner() -> None:
    wire = Wire().open()
    sender, _ = wire.sender(credit=1)

    class Owner:
        async def settlement(self, delivery: Any) -> Any:
            return ("waited for", delivery)

    sender.context = Owner()
    delivery = sender.send(b"\x00\x53\x75\xa0\x01x")
    assert await delivery == ("waited for", delivery)


def test_each_end_has_its_own_settle_mode_and_only_wishes_for_the_other() -> None:
    wire = Wire().open()
    session = wire.begin()
    wire.server_log.accepting = False
    sender = session.sender("s")
    sender.attach(Source(), Target(), sender_settle_mode=1, receiver_settle_mode=1)
    wire.run()
    remote = wire.server_log.links[0]
    remote.attach(Source(), Target(), sender_settle_mode=0, receiver_settle_mode=0)
    wire.run()
    assert sender.sender_settle_mode == remote.sender_settle_mode == 1
    assert sender.settle_first and remote.settle_first


def test_nothing_follows_detach_but_flows_of_the_session() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, receiver = wire.sender(session, credit=5)
    waiting, _ = wire.sender(session, "waiting")
    queued = waiting.send(b"x")
    for link in (sender, waiting):
        link.detach()
    wire.client.data_to_send()
    with pytest.raises(LocalProtocolError, match="DETACH_SENT"):
        sender.send(b"x")
    receiver.flow(7, drain=True, echo=True)
    wire.server_log.links[-1].flow(3)  # type: ignore[attr-defined]
    wire.carry(wire.server, wire.client)
    data = b"".join(wire.client.data_to_send())
    assert b"\x00\x53\x14" not in data
    # The echo is answered, for the session alone.
    flow, _ = decode_performative(data, 8, len(data))
    assert isinstance(flow, Flow) and flow.handle is None
    assert queued.id == -1


def test_nothing_follows_end() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, receiver = wire.sender(session, "out", credit=5)
    incoming, _ = wire.receiver(session, "in", credit=5)
    session.end()
    wire.client.data_to_send()
    for call in (lambda: sender.send(b"x"), lambda: incoming.flow(5)):
        with pytest.raises(LocalProtocolError, match="END_SENT"):
            call()
    receiver.flow(100, echo=True)
    wire.carry(wire.server, wire.client)
    session.send_flow()
    assert wire.client.data_to_send() == []


def test_what_the_table_of_states_does_not_have_is_the_fault_of_who_did_it() -> None:
    wire = Wire().open()
    link = wire.begin().sender("never attached")
    with pytest.raises(SessionViolation, match="not legal"):
        link._next(Event.RECEIVE_CLOSE)
    with pytest.raises(LocalProtocolError, match="not legal"):
        link._next(Event.SEND_CLOSE)
