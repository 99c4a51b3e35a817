from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uamqp.aio import Connection, Described, Symbol, connect
from uamqp.codec.definitions import DeleteOnClose, Error, Source, Target
from uamqp.exceptions import EncodeError, LinkDetached, LocalProtocolError, OperationTimeout, SessionEnded

from .conftest import Serve
from .peers import BOUND, Peer, eventually
from .test_connection import round_trip


async def test_a_session_of_its_own(connection: Connection) -> None:
    async with connection.session(incoming_window=5, handle_max=1) as session:
        assert session.connection is connection
        assert session.error is None
        async with session.sender("q") as sender, session.receiver("q") as receiver:
            assert sender.session is session
            for n in range(20):
                await sender.send(n)
                delivery = await receiver.receive()
                assert delivery.body == n
                delivery.accept()
            with pytest.raises(LocalProtocolError, match="no free handle"):
                await session.sender("q")
    assert isinstance(session.error, LocalProtocolError)
    with pytest.raises(LocalProtocolError, match="session has ended"):
        await session.sender("q")
    await session.close()
    await round_trip(connection)


async def test_what_begin_says(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        async with await connection.session(incoming_window=77, handle_max=5) as session:
            assert repr(session) == f"<Session on {connection!r}, begun>"
            begin = server.peer.sessions[0].remote_begin
            assert begin is not None
            assert (begin.incoming_window, begin.handle_max) == (77, 5)
        assert repr(session) == f"<Session on {connection!r}, ended>"
        await eventually(lambda: server.peer.ended)


async def test_more_sessions_than_channels(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"channel_max": 1}))
    async with connect(server.url, timeout=BOUND) as connection:
        sessions = [await connection.session(), await connection.session()]
        with pytest.raises(LocalProtocolError, match="no free channel"):
            await connection.session()
        await sessions[0].close()
        await connection.session()


async def test_begin_that_is_never_answered(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_begin"))
    async with connect(server.url, timeout=BOUND) as connection:
        with pytest.raises(OperationTimeout, match=r"did not answer begin within 0\.01 s"):
            await connection.session(timeout=0.01)
        cancelled = asyncio.create_task(connection.session().open())
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled


async def test_begin_that_is_answered_too_late_is_ended(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        server.peer.freeze()
        with pytest.raises(OperationTimeout):
            await connection.session(timeout=0.01)
        server.peer.thaw()
        await eventually(lambda: server.peer.ended)
        await eventually(lambda: not connection._engine._sessions)
        assert (await connection.session())._endpoint.channel == 0


async def test_a_session_that_is_refused(serve: Serve) -> None:
    class Refusing(Peer):
        def on_begin(self, session: Any) -> None:
            session.begin()
            session.end(Error(Symbol("amqp:resource-limit-exceeded"), "too many"))

    server = await serve(Refusing)
    async with connect(server.url, timeout=BOUND) as connection:
        with pytest.raises(SessionEnded, match="too many") as caught:
            await connection.session()
        assert caught.value.condition == "amqp:resource-limit-exceeded"
        with pytest.raises(SessionEnded, match="too many"):
            await connection.sender("q")
        assert connection.is_open


async def test_a_session_that_ends_takes_its_links_along_and_nothing_else(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        sender, receiver = await session.sender("q"), await session.receiver("q")
        waiting = [asyncio.create_task(sender.send(b"x")), asyncio.create_task(receiver.receive())]
        other = await connection.sender("other")
        await eventually(lambda: server.peer.messages)
        server.peer.sessions[0].end(Error(Symbol("amqp:session:errant-link"), "bad link"))
        for task in waiting:
            with pytest.raises(Exception, match="bad link") as caught:
                await task
            assert caught.value.condition == "amqp:session:errant-link"  # type: ignore[attr-defined]
        assert isinstance(session.error, SessionEnded)
        other.send_nowait(b"x")
        await eventually(lambda: len(server.peer.messages) == 2)
        assert connection.is_open


async def test_end_that_is_never_answered(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        receiver = await session.receiver("q")
        waiting = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0)
        server.peer.freeze()
        await session.close(timeout=0.01)
        assert isinstance(session.error, LocalProtocolError)
        with pytest.raises(LocalProtocolError):
            await waiting
        server.peer.thaw()
        await eventually(lambda: server.peer.ended)
        await connection.sender("q")


async def test_ending_by_many(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        await asyncio.gather(*(session.close() for _ in range(3)))
        assert len(server.peer.ended) == 1


# -- attaching -------------------------------------------------------------------------------------------------------


async def test_what_attach_says_of_a_sender(serve: Serve) -> None:
    server = await serve(lambda: Peer(attach={"properties": {"p": 2}, "max_message_size": 99}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender(
            "orders",
            name="link",
            settle_mode="unsettled",
            capabilities=["queue"],
            desired_capabilities=["X"],
            properties={"p": 1},
        )
        attach = server.peer.receiver.remote_attach
        assert attach is not None
        assert (attach.name, attach.snd_settle_mode, attach.properties) == ("link", 0, {"p": 1})
        assert (attach.target.address, attach.target.capabilities) == ("orders", ("queue",))
        assert attach.desired_capabilities == ("X",)
        assert (sender.name, sender.address) == ("link", "orders")
        assert sender.remote_properties == {"p": 2}
        assert sender.max_message_size == 99
        await eventually(lambda: sender.credit == 1000)
        assert repr(sender) == "<Sender 'link', attached>"
        await sender.close()
        assert repr(sender) == "<Sender 'link', ended>"


async def test_what_attach_says_of_a_receiver(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        filters = {"selector": Described(Symbol("apache.org:selector-filter:string"), "a = 1")}
        receiver = await connection.receiver(
            "orders",
            name="link",
            settle_mode="second",
            sender_settle_mode="unsettled",
            filters=filters,
            capabilities=["topic"],
            desired_capabilities=["X"],
            properties={"p": 1},
            max_message_size=1234,
        )
        attach = server.peer.sender.remote_attach
        assert attach is not None
        assert (attach.rcv_settle_mode, attach.snd_settle_mode, attach.max_message_size) == (1, 0, 1234)
        assert (attach.source.address, attach.source.capabilities) == ("orders", ("topic",))
        assert (attach.properties, attach.desired_capabilities) == ({"p": 1}, ("X",))
        assert attach.source.filter == filters == receiver.filters
        assert not attach.source.dynamic
        assert (receiver.address, receiver.max_message_size) == ("orders", None)
        assert receiver.remote_properties == {}


async def test_termini_of_the_caller_go_out_as_they_are(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"properties": {"product": "RabbitMQ", "version": "4.0.5"}}))
    async with connect(server.url, timeout=BOUND) as connection:
        source, target = Source(address="s", durable=2), Target(address="t", expiry_policy="never")
        await connection.sender("ignored", source=source, target=target)
        await connection.receiver("ignored", source=source, target=target)
        for link in server.peer.links:
            attach = link.remote_attach
            assert attach is not None
            assert (attach.source, attach.target) == (source, target)
        assert (await connection.sender("orders")).address == "/queues/orders"
        assert (await connection.receiver("orders")).address == "/queues/orders"


async def test_the_anonymous_terminus(connection: Connection) -> None:
    from uamqp.aio import Message, Properties

    async with connection.receiver("there") as receiver, connection.sender(None) as sender:
        assert sender.address is None
        await sender.send(Message("x", properties=Properties(to="there")))
        delivery = await receiver.receive()
        assert delivery.body == "x"
        delivery.accept()


async def test_a_dynamic_node(connection: Connection) -> None:
    async with connection.receiver(None, dynamic=True) as receiver:
        assert receiver.address
        assert receiver._endpoint.attach_frame is not None
        source = receiver._endpoint.attach_frame.source
        assert isinstance(source.dynamic_node_properties["lifetime-policy"], DeleteOnClose)
        async with connection.sender(receiver.address) as sender:
            await sender.send("reply")
        delivery = await receiver.receive()
        assert delivery.body == "reply"
        delivery.accept()


@pytest.mark.parametrize(
    "attach",
    [
        lambda c: c.sender("q", settle_mode="sometimes"),
        lambda c: c.receiver("q", settle_mode="third"),
        lambda c: c.receiver("q", sender_settle_mode="second"),
    ],
)
async def test_settle_modes_that_there_are_not(connection: Connection, attach: Any) -> None:
    with pytest.raises(ValueError, match="settle mode must be one of '"):
        await attach(connection)


async def test_a_link_that_is_refused(connection: Connection) -> None:
    for attach in (connection.sender, connection.receiver):
        with pytest.raises(LinkDetached) as caught:
            await attach("$unknown")  # type: ignore[operator]
        assert caught.value.condition == "amqp:not-found"
        assert caught.value.remote
    await round_trip(connection)


async def test_a_refusal_in_two_steps_is_waited_for(serve: Serve) -> None:
    """Spec 2.6.3: an attach without terminus says that detach will follow; the link is not usable in between."""

    class Refusing(Peer):
        def on_attach(self, link: Any) -> None:
            self.links.append(link)
            link.attach(None, None)

    server = await serve(Refusing)
    async with connect(server.url, timeout=BOUND) as connection:
        for attach in (connection.sender, connection.receiver):
            attaching = asyncio.create_task(attach("q").open())  # type: ignore[operator]
            await eventually(lambda: server.peer.links)
            await eventually(lambda: connection._engine._sessions[0]._names)
            assert not attaching.done()
            server.peer.links.pop().detach(error=Error(Symbol("amqp:unauthorized-access"), "not yours"))
            with pytest.raises(LinkDetached, match="not yours"):
                await attaching


@pytest.mark.parametrize("kind", ["sender", "receiver"])
async def test_attach_that_is_never_answered(serve: Serve, kind: str) -> None:
    server = await serve(lambda: Peer("on_attach"))
    async with connect(server.url, timeout=BOUND) as connection:
        with pytest.raises(OperationTimeout, match=r"did not answer attach of the link '.*' within 0\.01 s"):
            await getattr(connection, kind)("q", timeout=0.01)
        assert connection.is_open


@pytest.mark.parametrize("kind", ["sender", "receiver"])
async def test_attach_that_is_answered_too_late_is_detached(serve: Serve, kind: str) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        await connection.sender("q")
        server.peer.freeze()
        with pytest.raises(OperationTimeout):
            await getattr(connection, kind)("q", name="late", timeout=0.01)
        server.peer.thaw()
        await eventually(lambda: [link.name for link in server.peer.detached] == ["late"])
        await eventually(lambda: len(connection._engine._sessions[0]._names) == 1)
        await getattr(connection, kind)("q", name="late")


async def test_what_cannot_be_attached_leaves_nothing_behind(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"max_frame_size": 512}))
    async with connect(server.url, timeout=BOUND) as connection:
        with pytest.raises(EncodeError):
            await connection.sender("q", name="link", properties={"x": object()})
        with pytest.raises(LocalProtocolError, match="takes at most 512"):
            await connection.sender("q" * 1000, name="link")
        sender = await connection.sender("q", name="link")
        await sender.send(b"x")
        assert len(server.peer.links) == 1


async def test_a_link_anew_whose_opening_was_given_up(serve: Serve) -> None:
    """Its name is taken until the peer answers detach, which is waited for."""
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        opens: list[Any] = [session.sender, session.receiver]
        server.peer.freeze()
        for open in opens:
            opening = asyncio.create_task(open("q", name="x").open())
            await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
            with pytest.raises(OperationTimeout, match=r"did not answer detach of the link 'x' within 0\.01 s"):
                await open("q", name="x", timeout=0.01)
        openings = [asyncio.create_task(open("q", name="x").open()) for open in opens]
        await asyncio.sleep(0)
        server.peer.thaw()
        for opening in openings:
            async with await opening as link:
                assert link.name == "x"


async def test_the_name_of_a_link_that_was_refused(serve: Serve) -> None:
    """One that the peer attached: nobody here waits for its end."""
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        unwanted = server.peer.sessions[0].receiver("x")
        unwanted.attach(Source(), Target())
        server.peer.freeze()
        await eventually(lambda: session._endpoint.links)
        with pytest.raises(LocalProtocolError, match="of the same direction exists"):
            await session.sender("q", name="x")
        server.peer.thaw()
        await eventually(lambda: not session._endpoint.links)
        await session.sender("q", name="x")


@pytest.mark.parametrize("terms", [{"handle_max": -1}, {"handle_max": 2**32}, {"incoming_window": -1}])
async def test_terms_that_cannot_be_take_no_channel(connection: Connection, terms: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 0 to 4294967295"):
        await connection.session(**terms)
    assert not connection._engine.sessions


async def test_a_close_that_is_cancelled_ends_the_session_for_all(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        receiver = await session.receiver("q")
        waiting = asyncio.create_task(receiver.receive(timeout=None))
        await asyncio.sleep(0)
        server.peer.freeze()
        closing = asyncio.create_task(session.close())
        await eventually(lambda: receiver._endpoint.draining)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert isinstance(session.error, LocalProtocolError)
        with pytest.raises(LocalProtocolError):
            await asyncio.wait_for(waiting, BOUND)
        server.peer.thaw()
