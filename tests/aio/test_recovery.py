"""Bringing a connection back, with sessions, links and messages as they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from uamqp.aio import (
    Connection,
    CreditPolicy,
    Happening,
    Manual,
    OnDemand,
    Receiver,
    Recovery,
    RecoveryEvent,
    connect,
)
from uamqp.broker import Broker
from uamqp.codec.hot import frame
from uamqp.codec.performatives import Transfer
from uamqp.engine.session import SessionEndpoint
from uamqp.exceptions import (
    AddressError,
    AMQPError,
    AuthenticationError,
    ConnectionLost,
    InDoubt,
    InDoubtInTime,
    LinkDetached,
    LocalProtocolError,
    NotSent,
    NotSentInTime,
    OperationTimeout,
)

from .conftest import Serve
from .peers import BOUND, Peer, eventually, peer_server

#: As fast as it can be, so that a test waits for nothing.
SOON = {"initial_delay": 0.001, "max_delay": 0.01}


class Events(list[RecoveryEvent]):
    """What was told, and a recovery that tells it here."""

    def recovery(self, **options: Any) -> Recovery:
        return Recovery(**{**SOON, "on_event": self.append, **options})

    @property
    def happenings(self) -> list[str]:
        return [event.what.value for event in self]


@pytest.fixture
def events() -> Events:
    return Events()


@asynccontextmanager
async def connected(broker: Broker, events: Events, **options: Any) -> AsyncIterator[Connection]:
    async with connect(broker.url, recovery=events.recovery(**options), timeout=BOUND) as connection:
        yield connection


async def recovered(events: Events, times: int = 1) -> None:
    await eventually(lambda: events.happenings.count("recovered") >= times)


async def interrupted(events: Events, times: int = 1) -> None:
    """The client has noticed; before that, it would send into the void."""
    await eventually(lambda: events.happenings.count("interrupted") >= times)


# --- what comes back --------------------------------------------------------------------------------------------


async def test_a_sender_and_a_receiver_go_on(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection:
        async with connection.sender("queue") as sender, connection.receiver("queue") as receiver:
            for number in range(3):
                await sender.send(f"before {number}")
                delivery = await receiver.receive()
                assert delivery.body == f"before {number}"
                delivery.accept()
                async with connection.session():
                    # The broker answers behind what was accepted.
                    pass
                broker.drop_connections()
                await interrupted(events, number + 1)
                # Neither is waited for: both calls wait for the connection themselves.
                await sender.send(f"after {number}")
                delivery = await receiver.receive()
                assert delivery.body == f"after {number}"
                delivery.accept()
                await recovered(events, number + 1)
            assert connection.is_open
            assert connection.error is sender.error is receiver.error is None
    assert events.happenings == ["interrupted", "retrying", "recovered"] * 3
    assert isinstance(events[0].error, ConnectionLost)
    assert [event.attempt for event in events[:3]] == [0, 1, 1]
    assert len(broker.queue("queue")) == 0


async def test_credit_is_what_it_was(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection, connection.sender("queue") as sender:
        receiver = await connection.receiver("queue", prefetch=10)
        await sender.send_many(range(3))
        for number in range(3):
            delivery = await receiver.receive()
            assert delivery.body == number
            delivery.accept()
        async with connection.session():
            # The broker answers behind what was accepted.
            pass
        assert receiver.credit == 7
        broker.drop_connections()
        await recovered(events)
        assert receiver.credit == 7
        # The same where the link alone is detached.
        engines = [accepted.engine for accepted in broker._connections.values()]
        links = [link for engine in engines if engine for session in engine.sessions for link in session.links]
        (link,) = (link for link in links if link.name == receiver.name)
        link.fail("amqp:link:detach-forced", "idle")
        await recovered(events, 2)
        assert receiver.credit == 7
        # What was taken before counts: at five there is more.
        await sender.send_many(range(2))
        for _ in range(2):
            (await receiver.receive()).accept()
        assert receiver.credit == 10
        # Nothing comes where nothing was to come any more.
        await receiver.drain()
        broker.drop_connections()
        await recovered(events, 3)
        assert receiver.credit == 0
        receiver.flow(1)
        await sender.send("more")
        assert (await receiver.receive()).body == "more"
        await receiver.close()


async def test_an_iteration_survives(broker: Broker, events: Events) -> None:
    bodies: list[str] = []
    async with connected(broker, events) as connection, connect(broker.url) as other:

        async def consume() -> None:
            async with connection.receiver("queue", prefetch=5) as receiver:
                async for delivery in receiver:
                    bodies.append(delivery.body)
                    delivery.accept()
                    if delivery.body == "last":
                        return

        consuming = asyncio.create_task(consume())
        for number in range(5):
            async with connect(broker.url) as other, other.sender("queue") as sender:
                await sender.send_many(f"{number}.{n}" for n in range(20))
                await eventually(lambda number=number: f"{number}.3" in bodies)
            broker.drop_connections()
        await recovered(events)
        async with connect(broker.url) as other, other.sender("queue") as sender:
            await sender.send("last")
        async with asyncio.timeout(BOUND):
            await consuming
    # What was accepted as the connection was lost may come twice; nothing is lost.
    assert {f"{number}.{n}" for number in range(5) for n in range(20)} <= set(bodies)


async def test_settling_what_came_over_the_lost_connection_does_nothing(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection:
        async with connection.sender("queue") as sender, connection.receiver("queue") as receiver:
            await sender.send("message")
            first = await receiver.receive()
            broker.drop_connections()
            await recovered(events)
            first.accept()
            first.release()
            assert isinstance(first.error, ConnectionLost)
            second = await receiver.receive()
            assert second.body == "message"
            second.accept()
    assert len(broker.queue("queue")) == 0


async def test_sessions_of_their_own(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection:
        async with connection.session(handle_max=1) as session, session.sender("queue") as sender:
            broker.drop_connections()
            await interrupted(events)
            await sender.send("message")
            assert session.error is None
    assert len(broker.queue("queue")) == 1


async def test_new_links_while_it_is_away(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection:
        await connection.sender("queue")
        broker.drop_connections()
        await interrupted(events)
        assert connection.error is None
        async with connection.sender("queue") as sender, connection.session() as session:
            await sender.send("message")
            async with session.receiver("queue") as receiver:
                (await receiver.receive()).accept()


async def test_opening_that_is_interrupted_begins_again(serve: Serve, events: Events) -> None:
    """The peer goes away in the middle of begin, and of attach."""
    makes = [lambda: Peer("on_begin"), lambda: Peer("on_attach"), Peer]
    server = await serve(lambda: makes.pop(0)())
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        attaching = asyncio.create_task(connection.sender("queue").open())
        await eventually(lambda: server.peers and server.peer.engine._sessions)
        server.peer.cut()
        await eventually(lambda: len(server.peers) == 2 and server.peer.sessions and server.peer.sessions[0]._names)
        server.peer.cut()
        sender = await attaching
        await sender.send("message")
        assert len(server.peers) == 3
        with pytest.raises(OperationTimeout):
            server._make = lambda: Peer("on_open")
            server.peer.cut()
            await interrupted(events, 3)
            await connection.receiver("queue", timeout=0.02)


async def test_a_session_whose_begin_is_answered_late_comes_back_the_next_time_too(
    serve: Serve, events: Events
) -> None:
    """The session of an attempt that was given up ends when the next one has long brought it back."""

    class Late(Peer):
        late: SessionEndpoint | None = None

        def on_begin(self, session: SessionEndpoint) -> None:
            if self.late is None:
                self.late = session
            else:
                super().on_begin(session)

    makes: list[Callable[[], Peer]] = [Peer, Late, Peer]
    server = await serve(lambda: makes.pop(0)())
    async with connect(server.url, recovery=events.recovery(), timeout=0.2) as connection:
        sender = await connection.sender("queue", timeout=BOUND)
        server.peer.cut()
        await recovered(events)
        peer = server.peer
        assert isinstance(peer, Late)
        assert peer.late is not None
        Peer.on_begin(peer, peer.late)
        await eventually(lambda: peer.late not in peer.engine.sessions)
        await sender.send("before", timeout=BOUND)
        server.peer.cut()
        await recovered(events, 2)
        await sender.send("after", timeout=BOUND)
        assert [delivery.body for delivery in server.peer.messages] == ["after"]


async def test_requests_are_asked_anew(broker: Broker, events: Events) -> None:
    from uamqp.aio import Message

    def ask() -> Message:
        return Message(None, application_properties={"operation": "READ", "type": "queue", "name": "q"})

    async with connected(broker, events) as connection:
        assert (await connection.request("$management", ask())).application_properties
        broker.drop_connections()
        await interrupted(events)
        assert (await connection.request("$management", ask())).application_properties


async def test_waiting_for_the_connection_is_part_of_the_time_out(
    broker: Broker, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, given = 100.0, []

    async def usable(timeout: float) -> None:
        nonlocal now
        now += 7.0

    async def open(timeout: float) -> None:
        nonlocal now
        given.append(timeout)
        now += 1.0
        connection._repair.running = len(given) == 1  # type: ignore[union-attr]
        if len(given) == 1:
            raise ConnectionLost("again")

    async with connected(broker, events) as connection:
        with monkeypatch.context() as patched:
            patched.setattr(connection._driver, "now", lambda: now)
            patched.setattr(connection, "_usable", usable)
            await connection._persist(open, 20.0)
    assert given == [13.0, 5.0]


# --- messages under way -----------------------------------------------------------------------------------------


class Silent(Peer):
    """Says nothing of the first messages, and accepts those of later connections."""

    connections = 0

    def on_open(self) -> None:
        type(self).connections += 1
        self.number = type(self).connections
        super().on_open()

    def on_message(self, delivery: Any) -> None:
        if self.number > 1:
            delivery.accept()


@pytest.fixture
def silent() -> type[Silent]:
    return type("Silent", (Silent,), {"connections": 0})


async def test_messages_in_doubt_are_told(serve: Serve, silent: type[Silent], events: Events) -> None:
    server = await serve(silent)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        sending = [asyncio.create_task(sender.send(str(number))) for number in range(3)]
        await eventually(lambda: len(server.peer.messages) == 3)
        server.peer.cut()
        for task in sending:
            with pytest.raises(InDoubt):
                await task
        await sender.send("next")
        assert [delivery.body for delivery in server.peer.messages] == ["next"]


async def test_messages_in_doubt_are_sent_again_where_asked(serve: Serve, silent: type[Silent], events: Events) -> None:
    server = await serve(silent)
    async with connect(server.url, recovery=events.recovery(resend=True), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        sending = [asyncio.create_task(sender.send(str(number))) for number in range(3)]
        batch = asyncio.create_task(sender.send_many(["a", "b"]))
        alone = sender.send_nowait("alone")
        await eventually(lambda: len(server.peer.messages) == 6)
        server.peer.cut()
        await asyncio.gather(*sending)
        assert await batch == 2
        await alone
        # In the order in which they were sent.
        assert [delivery.body for delivery in server.peer.messages] == ["0", "1", "2", "a", "b", "alone"] or sorted(
            delivery.body for delivery in server.peer.messages
        ) == ["0", "1", "2", "a", "alone", "b"]


async def test_messages_in_doubt_that_cannot_be_sent_again_stay_in_doubt(
    serve: Serve, silent: type[Silent], events: Events
) -> None:
    """Whatever ends the wait, nobody is told that a message was not sent that the peer may have."""
    server = await serve(silent)
    recovery = events.recovery(resend=True)
    connection = await connect(server.url, recovery=recovery, timeout=BOUND, connect_timeout=0.5)
    sender = await connection.sender("queue")
    late = asyncio.create_task(sender.send("late", timeout=0.05))
    lost = asyncio.create_task(sender.send("lost"))
    await eventually(lambda: len(server.peer.messages) == 2)
    server._make = lambda: Peer("on_open")
    server.peer.cut()
    await interrupted(events)
    unsent = asyncio.create_task(sender.send("unsent"))
    with pytest.raises(InDoubtInTime, match="was sent"):
        await late
    await connection.close()
    with pytest.raises(InDoubt):
        await lost
    with pytest.raises(NotSent):
        await unsent


async def test_messages_that_waited_for_credit_are_not_in_doubt(serve: Serve, events: Events) -> None:
    peers = [Peer(credit=2), Peer()]
    server = await serve(lambda: peers.pop(0))
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        await eventually(lambda: sender.credit == 2)
        assert await sender.send_many(["a", "b"]) == 2
        waiting = asyncio.create_task(sender.send_many(f"{n}" for n in range(2500)))
        single = asyncio.create_task(sender.send("single"))
        await asyncio.sleep(0.01)
        server.peer.cut()
        assert await waiting == 2500
        await single
        assert len(server.peer.messages) == 2501


async def test_a_large_message_cut_in_the_middle_is_sent_again(serve: Serve, events: Events) -> None:
    """It never was whole at the peer, so sending it again makes no duplicate."""
    body = bytes(20_000_000)
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        server.peer.freeze()
        sending = asyncio.create_task(sender.send(body))
        await eventually(lambda: sender._endpoint.queue and sender._endpoint.queue[0].position)
        server.peer.cut()
        await sending
        assert server.peer.messages[-1].payload[-1] == 0
        assert len(server.peer.messages[-1].body) == len(body)


async def test_time_outs_and_cancelling_while_it_is_away(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    recovery = events.recovery(initial_delay=30.0, max_delay=30.0, resend=True)
    async with connect(server.url, recovery=recovery, timeout=BOUND, connect_timeout=0.5) as connection:
        sender, receiver = await connection.sender("queue"), await connection.receiver("queue")
        # Accepts connections, and then says nothing.
        server._make = lambda: Peer("on_open")
        server.peer.cut()
        await eventually(lambda: events.happenings.count("retrying") == 2)
        with pytest.raises(NotSentInTime, match="not sent"):
            await sender.send("late", timeout=0.01)
        with pytest.raises(OperationTimeout, match="no message"):
            await receiver.receive(timeout=0.01)
        with pytest.raises(OperationTimeout, match="not back"):
            await connection.sender("other", timeout=0.01)
        cancelled = asyncio.create_task(sender.send("cancelled"))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        assert not sender._endpoint.queue
        waiting = asyncio.create_task(sender.send("waiting"))
        receiving = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0)
    # The connection was closed: nothing waits for ever.
    with pytest.raises(NotSent):
        await waiting
    with pytest.raises(AMQPError):
        await receiving
    assert events.happenings[-1] != "failed"


async def test_a_connection_that_was_given_up_does_not_open_after_all(serve: Serve, events: Events) -> None:
    """It would be one without heartbeats, and nobody would notice its end."""
    server = await serve(Peer)
    recovery = events.recovery(initial_delay=3600.0, max_delay=3600.0)
    async with connect(server.url, recovery=recovery, timeout=BOUND, connect_timeout=0.5):
        server._make = lambda: Peer("on_open")
        server.peer.cut()
        await eventually(lambda: len(server.peers) == 2 and server.peer.driver._lost)
        assert events.happenings == ["interrupted", "retrying", "retrying"]


# --- credit -----------------------------------------------------------------------------------------------------


async def test_credit_by_hand_is_given_again(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        receiver = await connection.receiver("queue", credit=Manual())
        receiver.flow(5)
        await eventually(lambda: server.peer.sender.credit == 5)
        server.peer.sender.send(b"\x00\x53\x77\xa1\x01a")
        server.peer.sender.send(b"\x00\x53\x77\xa1\x01b")
        await eventually(lambda: receiver.queued == 2)
        (await receiver.receive()).accept()
        server.peer.cut()
        await recovered(events)
        # One was taken; of the other nobody heard.
        await eventually(lambda: server.peer.sender.credit == 4)
        assert receiver.queued == 0


async def test_credit_that_is_given_while_it_is_away(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND, connect_timeout=0.5) as connection:
        receiver = await connection.receiver("queue", credit=Manual())
        receiver.flow(5)
        await eventually(lambda: server.peer.sender.credit == 5)
        server.peer.sender.send(b"\x00\x53\x77\xa1\x01a")
        await eventually(lambda: receiver.queued == 1)
        # Does not let it back at first.
        server._make = lambda: Peer("on_open")
        server.peer.cut()
        await interrupted(events)
        receiver.flow(7)
        with pytest.raises(LocalProtocolError, match="credit"):
            receiver.flow(-1)
        with pytest.raises(ConnectionLost):
            receiver.flow(1, drain=True)
        server._make = Peer
        await recovered(events)
        await eventually(lambda: server.peer.sender.credit == 7)


async def test_credit_of_a_delivery_that_was_here_in_part_is_given_again(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        receiver = await connection.receiver("queue", credit=Manual())
        receiver.flow(1)
        await eventually(lambda: server.peer.sender.credit == 1)
        part = Transfer(handle=0, delivery_id=0, delivery_tag=b"1", message_format=0, more=True)
        server.peer.write(frame(0, part.encode() + b"\x00\x53\x77"))
        await eventually(lambda: receiver._arriving)
        assert receiver.credit == 0
        server.peer.cut()
        await recovered(events)
        await eventually(lambda: server.peer.sender.credit == 1)


async def test_a_receiver_whose_closing_was_cancelled_does_not_come_back(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        receiver = await connection.receiver("queue")
        await eventually(lambda: server.peer.sender.credit)
        server.peer.freeze()
        closing = asyncio.create_task(receiver.close())
        await asyncio.sleep(0)
        assert receiver._endpoint.draining
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        server.peer.cut()
        await recovered(events)
        # The session it was in comes back, and whatever has one.
        await connection.sender("other")
        assert server.peer.links == [server.peer.receiver]


async def test_credit_on_demand_is_given_for_who_waits(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        receiver = await connection.receiver("queue", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive())
        await eventually(lambda: server.peer.sender.credit == 1)
        server.peer.cut()
        await recovered(events)
        await eventually(lambda: server.peer.sender.credit == 1)
        server.peer.sender.send(b"\x00\x53\x77\xa1\x01a")
        assert (await waiting).body == "a"
        server.peer.cut()
        await recovered(events, 2)
        assert server.peer.sender.credit == 0


async def test_messages_that_were_sent_settled_stay(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        receiver = await connection.receiver("queue", prefetch=10)
        await eventually(lambda: server.peer.sender.credit == 10)
        server.peer.sender.send(b"\x00\x53\x77\xa1\x01a", True)
        await eventually(lambda: receiver.queued == 1)
        server.peer.cut()
        await recovered(events)
        assert (await receiver.receive()).body == "a"
        # The credit of one that is still here is not given again.
        await eventually(lambda: server.peer.sender.credit == 9)


async def test_what_is_taken_while_the_link_is_gone_has_its_credit_when_it_is_back(
    serve: Serve, events: Events
) -> None:
    server = await serve(Peer)
    # Long enough to take some meanwhile.
    recovery = events.recovery(initial_delay=0.2, max_delay=0.2)
    async with connect(server.url, recovery=recovery, timeout=BOUND) as connection:
        receiver = await connection.receiver("queue", prefetch=10)
        await eventually(lambda: server.peer.sender.credit == 10)
        for _ in range(6):
            server.peer.sender.send(b"\x00\x53\x77\xa1\x01a", True)
        await eventually(lambda: receiver.queued == 6)
        server.peer.cut()
        await interrupted(events)
        assert "recovered" not in events.happenings
        for _ in range(5):
            await receiver.receive()
        await recovered(events)
        await eventually(lambda: server.peer.sender.credit == 9)


# --- links and sessions that end alone --------------------------------------------------------------------------


@pytest.mark.parametrize("condition", ["amqp:link:detach-forced", "amqp:internal-error"])
async def test_a_link_that_the_peer_detaches(serve: Serve, events: Events, condition: str) -> None:
    from uamqp.codec.definitions import Error
    from uamqp.codec.values import Symbol

    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender, other = await connection.sender("queue"), await connection.sender("other")
        server.peer.links[0].detach(error=Error(Symbol(condition), "idle"))
        await recovered(events)
        await sender.send("message")
        await other.send("message")
        assert len(server.peers) == 1
        assert [link.name for link in server.peer.links] == [sender.name, other.name, sender.name]
    assert isinstance(events[0].error, LinkDetached)


@pytest.mark.parametrize("condition", ["amqp:link:stolen", "amqp:resource-deleted", "amqp:unauthorized-access"])
async def test_a_link_that_ends_for_good(serve: Serve, events: Events, condition: str) -> None:
    from uamqp.codec.definitions import Error
    from uamqp.codec.values import Symbol

    server = await serve(lambda: Peer(credit=0))
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        waiting = asyncio.create_task(sender.send("message"))
        await asyncio.sleep(0)
        server.peer.links[0].detach(error=Error(Symbol(condition), "gone"))
        with pytest.raises(NotSent, match="gone"):
            await waiting
        assert sender.error is not None
        assert sender.error.condition == condition
        assert events == []


async def test_a_session_that_the_peer_ends(serve: Serve, events: Events) -> None:
    from uamqp.codec.definitions import Error
    from uamqp.codec.values import Symbol

    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        server.peer.sessions[0].end(Error(Symbol("amqp:internal-error"), "restarting"))
        await recovered(events)
        await sender.send("message")
        assert len(server.peers) == 1


class Slow(Peer):
    """Keeps those waiting that attach."""

    def __init__(self) -> None:
        super().__init__()
        self.late: list[Any] = []

    def on_attach(self, link: Any) -> None:
        self.late.append(link)


async def test_an_attach_that_is_answered_late(serve: Serve, events: Events) -> None:
    """Its name is taken as long as it is not answered: attaching it once more would be an error."""
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=0.05) as connection:
        sender = await connection.sender("queue")
        server._make = Slow
        server.peer.cut()
        await eventually(lambda: events.happenings.count("retrying") >= 3)
        slow = server.peer
        assert isinstance(slow, Slow)
        assert len(slow.late) == 1
        Peer.on_attach(slow, slow.late[0])
        await sender.send("message", timeout=BOUND)
        await recovered(events)
        assert slow.links == slow.late
    assert "did not answer attach" in str(events[2].error)


async def test_a_link_is_closed_before_its_attach_is_answered(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    recovery = events.recovery(initial_delay=30.0, max_delay=30.0)
    async with connect(server.url, recovery=recovery, timeout=0.05) as connection:
        sender, other = await connection.sender("queue"), await connection.sender("other")
        server._make = Slow
        server.peer.cut()
        # The first attempt timed out, the second is far away.
        await eventually(lambda: events.happenings.count("retrying") == 2)
        slow = server.peer
        assert isinstance(slow, Slow)
        await sender.close()
        await eventually(lambda: slow.detached == slow.late)
        assert sender.error is not None
        assert other.error is None


async def test_a_link_is_closed_while_its_attach_is_waited_for(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=0.2) as connection:
        sender = await connection.sender("queue")
        server._make = Slow
        server.peer.cut()
        await eventually(lambda: len(server.peers) == 2 and getattr(server.peer, "late", None))
        slow = server.peer
        assert isinstance(slow, Slow)
        await sender.close()
        await eventually(lambda: slow.detached == slow.late)
        await recovered(events)


async def test_a_link_that_cannot_come_back_does_not_hold_up_the_others(broker: Broker, events: Events) -> None:
    broker.queue("doomed")
    async with connected(broker, events) as connection:
        good, doomed = await connection.sender("good"), await connection.sender("doomed")
        broker.options = broker.options.__class__(**{**vars(broker.options), "auto_create": False})
        broker.delete("doomed")
        broker.drop_connections()
        await interrupted(events)
        await good.send("message")
        await recovered(events)
        assert doomed.error is not None
        assert doomed.error.condition == "amqp:not-found"
        with pytest.raises(LinkDetached):
            await doomed.send("message")


class Broken(CreditPolicy):
    """Is of no use when the link is back."""

    def recovered(self, receiver: Receiver, credit: int, wanted: int) -> None:
        raise ZeroDivisionError


async def test_a_credit_policy_that_fails_ends_its_own_link(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection:
        sender = await connection.sender("queue")
        receiver = await connection.receiver("queue", credit=Broken())
        waiting = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0)
        broker.drop_connections()
        await recovered(events)
        with pytest.raises(LocalProtocolError, match="ZeroDivisionError"):
            await waiting
        assert receiver.error is not None
        await sender.send("message")
        assert not connection._is_interrupted


async def test_credit_by_hand_beyond_what_can_be_given(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        receiver = await connection.receiver("queue", credit=Manual())
        receiver.flow(10)
        await eventually(lambda: server.peer.sender.credit == 10)
        for _ in range(10):
            server.peer.sender.send(b"\x00\x53\x77\xa1\x01a")
        await eventually(lambda: receiver.queued == 10)
        receiver.flow(100_000)
        server.peer.cut()
        await recovered(events)
        await eventually(lambda: server.peer.sender.credit == 100_000)


async def test_a_session_that_nobody_got_is_not_brought_back(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND) as connection:
        await connection.sender("queue")
        server.peer.on_begin = lambda session: None  # type: ignore[method-assign]
        with pytest.raises(OperationTimeout):
            await connection.session(timeout=0.05)
        server.peer.cut()
        await recovered(events)
        assert len(connection._sessions) == len(server.peer.engine.sessions) == 1


async def test_a_policy_that_fails(broker: Broker) -> None:
    class NoDelay(Recovery):
        def delay(self, attempt: int) -> float:
            raise ZeroDivisionError

    async with connect(broker.url, recovery=NoDelay(), timeout=BOUND) as connection:
        sender = await connection.sender("queue")
        broker.drop_connections()
        await eventually(lambda: connection.error is not None)
        with pytest.raises(LocalProtocolError, match="ZeroDivisionError"):
            await sender.send("message")
        with pytest.raises(LocalProtocolError, match="ZeroDivisionError"):
            await connection.sender("queue")


# --- the end ----------------------------------------------------------------------------------------------------


async def test_giving_up(events: Events) -> None:
    async with Broker() as broker:
        connection = await connect(broker.url, recovery=events.recovery(attempts=3), timeout=BOUND)
        sender, receiver = await connection.sender("queue"), await connection.receiver("queue")
        session = await connection.session()
        receiving = asyncio.create_task(receiver.receive())
    sending = asyncio.create_task(sender.send("message"))
    with pytest.raises(ConnectionLost):
        await receiving
    with pytest.raises(NotSent):
        await sending
    await connection.wait_closed(timeout=BOUND)
    assert isinstance(connection.error, ConnectionLost)
    assert session.error is not None
    for call in (connection.sender("queue"), connection.session(), connection.receiver("queue")):
        with pytest.raises(ConnectionLost):
            await call
    await connection.close()
    assert events.happenings == ["interrupted", *["retrying"] * 3, "failed"]
    assert events[-1].error is not None
    assert events[2].delay <= events[3].delay or events[3].delay >= 0


async def test_wrong_credentials_are_not_tried_again(broker: Broker, events: Events) -> None:
    async with Broker(users={"user": "word"}) as guarded:
        url = guarded.url.replace("://", "://user:word@")
        async with connect(url, recovery=events.recovery(), timeout=BOUND) as connection:
            sender = await connection.sender("queue")
            guarded.options.users["user"] = "other"  # type: ignore[index]
            guarded.drop_connections()
            await connection.wait_closed(timeout=BOUND)
            assert isinstance(connection.error, AuthenticationError)
            with pytest.raises(AMQPError):
                await sender.send("message")
    assert events.happenings == ["interrupted", "retrying", "failed"]


async def test_the_first_connection_is_not_tried_again(unused_tcp_port: int, events: Events) -> None:
    with pytest.raises(ConnectionLost):
        await connect(f"amqp://127.0.0.1:{unused_tcp_port}", recovery=events.recovery())
    assert events == []


async def test_a_connection_that_is_closed_stays_closed(broker: Broker, events: Events) -> None:
    async with connected(broker, events) as connection:
        sender = await connection.sender("queue")
        await sender.close()
        session = await connection.session()
        await session.close()
    with pytest.raises(LocalProtocolError):
        await sender.send("message")
    assert isinstance(connection.error, AMQPError)
    assert events == []


async def test_links_that_are_closed_while_it_is_away(serve: Serve, events: Events) -> None:
    server = await serve(Peer)
    async with connect(server.url, recovery=events.recovery(), timeout=BOUND, connect_timeout=0.5) as connection:
        sender, receiver = await connection.sender("queue"), await connection.receiver("queue")
        session = await connection.session()
        # Does not let it back at first.
        server._make = lambda: Peer("on_open")
        server.peer.cut()
        await interrupted(events)
        held = sender.send_nowait("held")
        await sender.close()
        await receiver.close()
        await session.close()
        with pytest.raises(NotSent):
            await held
        server._make = Peer
        await recovered(events)
        assert len(server.peer.links) == 0


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_closing_at_any_time(broker: Broker, events: Events, turns: int) -> None:
    connection = await connect(broker.url, recovery=events.recovery(), timeout=BOUND)
    sender, receiver = await connection.sender("queue"), await connection.receiver("queue")
    receiving = asyncio.create_task(receiver.receive())
    broker.drop_connections()
    await interrupted(events)
    sending = asyncio.create_task(sender.send("message"))
    for _ in range(turns):
        await asyncio.sleep(0)
    await connection.close()
    results = await asyncio.gather(sending, receiving, return_exceptions=True)
    assert all(not isinstance(result, BaseException) or isinstance(result, AMQPError) for result in results)


# --- other hosts ------------------------------------------------------------------------------------------------


async def test_another_host_takes_its_place(events: Events) -> None:
    async with Broker() as second:
        async with Broker() as first:
            recovery = events.recovery(alternatives=[second.url])
            connection = await connect(first.url, recovery=recovery, timeout=BOUND)
            sender = await connection.sender("queue")
            await sender.send("one")
        await sender.send("two")
        assert len(second.queue("queue")) == 1
        await connection.close()


@pytest.mark.parametrize("named", [None, "orders.example"])
async def test_another_host_is_called_by_its_own_name(named: str | None, events: Events) -> None:
    """Unless the application named one for all of them."""
    async with peer_server() as second:
        async with Broker() as first:
            recovery = events.recovery(alternatives=[second.url.replace("127.0.0.1", "localhost")])
            connection = await connect(first.url, recovery=recovery, hostname=named, timeout=BOUND)
        await recovered(events)
        opened = second.peer.engine.remote_open
        assert opened is not None
        assert opened.hostname == (named or "localhost")
        await connection.close()


def test_alternatives_must_be_alike() -> None:
    with pytest.raises(AddressError, match="not reached in the same way"):
        connect("amqp://127.0.0.1", recovery=Recovery(alternatives=["amqps://127.0.0.1"]))
    with pytest.raises(AddressError, match="another machine"):
        connect("amqp://127.0.0.1", recovery=Recovery(alternatives=["amqp://192.0.2.1"]))


# --- the policy -------------------------------------------------------------------------------------------------


def test_delays_grow_and_have_a_limit() -> None:
    recovery = Recovery(initial_delay=1.0, max_delay=8.0)
    assert recovery.delay(0) == recovery.delay(1) == 0.0
    for attempt, limit in [(2, 1.0), (3, 2.0), (4, 4.0), (5, 8.0), (6, 8.0), (1000, 8.0)]:
        delays = [recovery.delay(attempt) for _ in range(200)]
        assert all(0.0 <= delay <= limit for delay in delays)
        # Random, so that clients do not come back in step.
        assert len(set(delays)) > 100
        assert max(delays) > limit * 0.8


@pytest.mark.parametrize("options", [{"attempts": 0}, {"initial_delay": 0.0}, {"initial_delay": 5.0, "max_delay": 1.0}])
def test_policies_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Recovery(**options)


async def test_a_function_that_fails_is_logged(
    broker: Broker, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: RecoveryEvent) -> None:
        events.append(event)
        raise KeyError("oops")

    async with connected(broker, events, on_event=fail) as connection:
        sender = await connection.sender("queue")
        broker.drop_connections()
        await interrupted(events)
        await sender.send("message")
        await recovered(events)
    assert "oops" in caplog.text
    assert events[0].what is Happening.INTERRUPTED


async def test_connecting_that_is_cancelled_as_the_connection_opens(
    events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has it, so nobody could close it."""
    answer = Connection.on_open

    def on_open(self: Connection) -> None:
        answer(self)
        connecting.cancel()

    monkeypatch.setattr(Connection, "on_open", on_open)
    async with Broker() as broker:
        connecting = asyncio.create_task(connect_and_close(broker.url, events.recovery()))
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await eventually(lambda: broker.connections == 0)
        assert not [task for task in asyncio.all_tasks() if "recovery" in task.get_name()]
    assert events == []


async def connect_and_close(url: str, recovery: Recovery) -> None:
    async with connect(url, recovery=recovery):
        raise AssertionError


async def test_a_link_that_is_closed_while_it_is_gone_is_closed_for_good(events: Events) -> None:
    async with Broker() as broker, connect(broker.url, recovery=events.recovery(), timeout=BOUND) as connection:
        sender, receiver = await connection.sender("q"), await connection.receiver("q")
        await broker.stop()
        await eventually(lambda: sender._endpoint.suspended)
        await sender.close()
        await receiver.close()
        await broker.start()
        await eventually(lambda: "recovered" in events.happenings)
        for call in (sender.send("x"), receiver.receive()):
            with pytest.raises(LocalProtocolError, match="is closed") as caught:
                await call
            assert not caught.value.retryable
