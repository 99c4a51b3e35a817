from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from uamqp.aio import Connection, connect
from uamqp.broker import Broker
from uamqp.codec.definitions import Error, Source, Target
from uamqp.codec.values import Symbol
from uamqp.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    ConnectionRedirected,
    LocalProtocolError,
    OperationTimeout,
    RemoteProtocolError,
)

from .conftest import Serve
from .peers import BOUND, Peer, eventually

SECRET = "s3cr3t-canary"


async def round_trip(connection: Connection) -> None:
    async with connection.sender("round-trip") as sender, connection.receiver("round-trip") as receiver:
        await sender.send("there and back")
        delivery = await receiver.receive()
        assert delivery.body == "there and back"
        delivery.accept()


# -- opening ---------------------------------------------------------------------------------------------------------


async def test_what_a_connection_knows_of_its_peer(serve: Serve) -> None:
    server = await serve(
        lambda: Peer(settings={"properties": {"product": "p", "version": "1"}, "offered_capabilities": ["A", "B"]})
    )
    async with connect(server.url + "/a%20node", timeout=BOUND) as connection:
        assert connection.is_open
        assert connection.error is None
        assert connection.path == "a node"
        assert connection.remote_properties == {"product": "p", "version": "1"}
        assert connection.remote_container_id == "peer"
        assert connection.remote_offered_capabilities == ("A", "B")
        assert repr(connection) == f"<Connection to {server.url}, open>"
    assert not connection.is_open
    assert isinstance(connection.error, ConnectionClosed)
    assert repr(connection) == f"<Connection to {server.url}, closed>"


async def test_a_connection_before_it_is_open() -> None:
    from uamqp.aio.options import connection_options
    from uamqp.transport.address import parse_url
    from uamqp.transport.event_loop import EventLoopDriver

    from ..transport.test_blocking import defaults

    connection = Connection(EventLoopDriver(), connection_options(parse_url("amqp://localhost"), **defaults()))
    assert not connection.is_open
    assert connection.remote_properties == {}
    assert connection.remote_container_id == ""
    assert connection.remote_offered_capabilities == ()


async def test_each_connection_has_its_own_name(broker: Broker) -> None:
    async with connect(broker.url) as one, connect(broker.url) as other:
        assert one.container_id != other.container_id


async def test_a_connection_that_was_awaited_can_be_a_context(broker: Broker) -> None:
    async with await connect(broker.url, timeout=BOUND) as connection:
        await round_trip(connection)
    assert not connection.is_open


class Refusing(Peer):
    def __init__(self, condition: str) -> None:
        super().__init__()
        self.condition = condition

    def on_open(self) -> None:
        super().on_open()
        info = {Symbol("network-host"): "elsewhere.example", Symbol("port"): 1234}
        self.engine.close(Error(Symbol(self.condition), "not here", info))


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("amqp:connection:forced", ConnectionClosed),
        ("amqp:not-allowed", ConnectionClosed),
        ("amqp:connection:redirect", ConnectionRedirected),
    ],
)
async def test_a_peer_that_refuses_the_connection(serve: Serve, condition: str, error: type[AMQPError]) -> None:
    server = await serve(lambda: Refusing(condition))
    with pytest.raises(error, match="not here") as caught:
        await connect(server.url, timeout=BOUND)
    assert caught.value.remote
    assert caught.value.condition == condition
    assert caught.value.info["network-host"] == "elsewhere.example"
    await eventually(lambda: server.peer.driver._lost)


async def test_wrong_credentials() -> None:
    async with Broker(users={"user": "right"}) as broker:
        for url in (broker.url.replace("//", f"//user:{SECRET}@"), broker.url):
            with pytest.raises(AuthenticationError) as caught:
                await connect(url, timeout=BOUND)
            assert SECRET not in str(caught.value)
            assert not caught.value.retryable
        await eventually(lambda: broker.connections == 0)


async def test_an_unusable_open_of_the_peer(serve: Serve) -> None:
    class Tiny(Peer):
        def on_open(self) -> None:
            from uamqp.codec.hot import frame
            from uamqp.codec.performatives import Open

            # Behind the header, which goes out at the end of this turn.
            self.driver.loop.call_soon(self.write, frame(0, Open("peer", max_frame_size=100).encode()))

    server = await serve(Tiny)
    with pytest.raises(RemoteProtocolError, match="max-frame-size 100 is under 512"):
        await connect(server.url, timeout=BOUND)


# -- closing ---------------------------------------------------------------------------------------------------------


async def test_close_is_safe_to_call_again_and_by_many(broker: Broker) -> None:
    connection = await connect(broker.url, timeout=BOUND)
    await asyncio.gather(*(connection.close() for _ in range(4)))
    await connection.close()
    await eventually(lambda: broker.connections == 0)


async def test_close_where_the_peer_never_answers(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    server.peer.freeze()
    await connection.close(timeout=0.02)
    assert isinstance(connection.error, ConnectionLost)
    server.peer.thaw()


async def test_close_after_the_peer_is_gone(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    server.peer.cut()
    await connection.close()
    await connection.close()


async def test_close_takes_along_what_was_settled_last(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    receiver = await connection.receiver("q")
    await eventually(lambda: server.peer.sender.credit)
    server.peer.sender.send(b"\x00\x53\x75\xa0\x01x")
    (await receiver.receive()).accept()
    await connection.close()
    assert [str(delivery.state) for delivery in server.peer.settled] == ["Accepted()"]


async def test_close_wakes_everybody(broker: Broker) -> None:
    connection = await connect(broker.url, timeout=BOUND)
    receiver = await connection.receiver("q")
    waiting = [
        asyncio.create_task(receiver.receive()),
        asyncio.create_task(receiver.receive_many(5)),
        asyncio.create_task(receiver.__anext__()),
    ]
    closed = asyncio.create_task(connection.wait_closed())
    await asyncio.sleep(0)
    await connection.close()
    for task in waiting:
        with pytest.raises(ConnectionClosed):
            await task
    await closed


async def test_wait_closed(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        with pytest.raises(OperationTimeout, match="still open"):
            await connection.wait_closed(timeout=0.01)
        server.peer.engine.close(Error(Symbol("amqp:connection:forced"), "maintenance"))
        await connection.wait_closed()
        assert str(connection.error) == "amqp:connection:forced: maintenance"
        await connection.wait_closed(timeout=0)


async def test_use_after_the_end(broker: Broker) -> None:
    connection = await connect(broker.url, timeout=BOUND)
    session = await connection.session()
    sender, receiver = await connection.sender("q"), await connection.receiver("q")
    await connection.close()
    uses: list[Any] = [
        connection.session().open,
        connection.sender("q").open,
        connection.receiver("q").open,
        session.sender("q").open,
        session.receiver("q").open,
        lambda: sender.send(b"x"),
        lambda: sender.send(b"x", settled=True),
        receiver.receive,
        receiver.receive_many,
        receiver.drain,
        receiver.__anext__,
    ]
    for use in uses:
        with pytest.raises(ConnectionClosed):
            await use()
    with pytest.raises(ConnectionClosed):
        sender.send_nowait(b"x")
    with pytest.raises(ConnectionClosed):
        receiver.flow(1)
    for close in (sender.close, receiver.close, session.close, connection.close):
        await close()


# -- the end, by the peer --------------------------------------------------------------------------------------------


async def test_what_the_peer_says_reaches_all_who_wait(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender, receiver = await connection.sender("q"), await connection.receiver("q")
        session = await connection.session()
        waiting = [
            asyncio.create_task(sender.send(b"x")),
            asyncio.create_task(receiver.receive()),
            asyncio.create_task(receiver.__anext__()),
        ]
        await eventually(lambda: server.peer.messages)
        server.peer.engine.close(Error(Symbol("amqp:connection:forced"), "maintenance"))
        for task in waiting:
            with pytest.raises(AMQPError, match="maintenance") as caught:
                await task
            assert caught.value.condition == "amqp:connection:forced"
            assert caught.value.remote
        assert str(session.error) == str(receiver.error) == str(connection.error)


@pytest.mark.parametrize(
    ("garbage", "condition"),
    [
        (b"\x00\x00\x00\x07\x02\x00\x00\x00", "amqp:connection:framing-error"),
        (b"\x00\x00\x00\x0d\x02\x00\x00\x00\x00\x53\x10\xc0\xff", "amqp:decode-error"),
        (b"\x00\x00\x00\x10\x02\x00\x00\x09\x00\x53\x17\xc0\x03\x01\x40\x40", None),
    ],
)
async def test_garbage_of_the_peer_ends_the_connection(serve: Serve, garbage: bytes, condition: str | None) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        waiting = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0)
        server.peer.write(garbage)
        with pytest.raises(RemoteProtocolError) as caught:
            await waiting
        assert condition is None or caught.value.condition == condition
        # The peer was told.
        await eventually(lambda: server.peer.engine.error is not None)


async def test_sessions_and_links_that_nobody_asked_for_are_refused(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        await connection.sender("q")
        session = server.peer.engine.session()
        session.begin()
        await eventually(lambda: session.error is not None)
        assert session.error is not None
        assert session.error.condition == "amqp:not-allowed"
        for link in (server.peer.sessions[0].sender("s"), server.peer.sessions[0].receiver("r")):
            link.attach(Source(address="a"), Target(address="b"))
            await eventually(lambda link=link: link.error is not None)
            assert link.error is not None
            assert link.error.condition == "amqp:not-allowed"
        await eventually(lambda: len(server.peer.detached) == 2)


async def test_more_sessions_of_the_peer_than_it_takes_itself(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"channel_max": 0}))
    async with connect(server.url, timeout=BOUND) as connection:
        await connection.sender("q")
        from uamqp.codec.hot import frame
        from uamqp.codec.performatives import Begin

        begin = Begin(next_outgoing_id=0, incoming_window=10, outgoing_window=10)
        server.peer.write(frame(5, begin.encode()))
        await connection.wait_closed(timeout=BOUND)
        assert isinstance(connection.error, RemoteProtocolError)


async def test_the_shared_session_is_begun_once_and_again_when_it_ended(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        senders = await asyncio.gather(*(connection.sender("q").open() for _ in range(10)))
        assert {id(sender.session) for sender in senders} == {id(senders[0].session)}
        server.peer.sessions[0].end(Error(Symbol("amqp:internal-error"), "oops"))
        await eventually(lambda: senders[0].error is not None)
        again = await connection.sender("q")
        assert again.session is not senders[0].session
        # Ended by this side it is not used any more either, though the peer has not answered yet.
        server.peer.freeze()
        closing = asyncio.create_task(again.session.close())
        await asyncio.sleep(0)
        attaching = asyncio.create_task(connection.sender("q").open())
        await asyncio.sleep(0)
        server.peer.thaw()
        await closing
        assert (await attaching).session is not again.session
        assert len(server.peer.sessions) == 3


async def test_losing_patience_with_begin_does_not_end_it_for_others(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        server.peer.freeze()
        patient = asyncio.create_task(connection.sender("q").open())
        cancelled = asyncio.create_task(connection.receiver("q").open())
        await asyncio.sleep(0)
        with pytest.raises(OperationTimeout, match=r"did not answer begin within 0\.01 s"):
            await connection.sender("q", timeout=0.01)
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        server.peer.thaw()
        sender = await patient
        await sender.send(b"x")
        assert len(server.peer.sessions) == 1


# -- secrets ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    caplog.set_level(logging.DEBUG)
    yield caplog
    assert SECRET not in caplog.text


@pytest.mark.parametrize("where", ["accepted", "refused", "gone"])
async def test_secrets_are_shown_nowhere(logged: pytest.LogCaptureFixture, where: str) -> None:
    password = SECRET if where == "accepted" else "another"
    shown: list[str] = []
    async with Broker(users={"user": password}) as broker:
        url = broker.url.replace("//", f"//user:{SECRET}@")
        if where == "gone":
            await broker.stop()
        opening = connect(url, timeout=BOUND)
        shown.append(repr(opening))
        try:
            async with opening as connection:
                sender = await connection.sender("q")
                things = (connection, connection._options, connection._options.mechanisms, sender, sender.session)
                shown += [f"{thing!r} {thing}" for thing in things]
                broker.drop_connections()
                await sender.send(b"x")
        except AMQPError as error:
            shown += [repr(error), str(error), *traceback.format_exception(error)]
    assert len(shown) > 3
    assert not any(SECRET in text for text in shown)


async def test_a_user_with_a_zero_byte() -> None:
    with pytest.raises(AuthenticationError, match="NUL"):
        connect("amqp://a%00b:c@localhost")


async def test_links_of_one_name(broker: Broker, connection: Connection) -> None:
    first = await connection.sender("q", name="the link")
    with pytest.raises(LocalProtocolError, match="'the link' of the same direction exists"):
        await connection.sender("q", name="the link")
    await connection.receiver("q", name="the link")
    await first.close()
    await (await connection.sender("q", name="the link")).send(b"x")


async def test_credentials_that_are_too_large_are_no_fault_of_the_peer(broker: Broker) -> None:
    with pytest.raises(AuthenticationError, match=r"the credentials make a SASL frame of 90\d\d bytes") as raised:
        await connect(broker.url, user="guest", password="x" * 9000)
    assert not raised.value.remote


async def test_who_closed_a_connection_need_not_try_again(broker: Broker) -> None:
    connection = await connect(broker.url)
    sender = await connection.sender("queue")
    await connection.close()
    assert connection.error is not None and not connection.error.retryable
    with pytest.raises(AMQPError) as raised:
        await sender.send("message")
    assert not raised.value.retryable
