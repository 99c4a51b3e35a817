"""Every public operation, cancelled at each of its awaits: whatever it was, the connection stays fit for use.

The sweep wraps an operation so that its task is cancelled at its k-th suspension, for k = 1, 2, … until it runs to its
end. It does so in two ways: before what is awaited has happened, and just after, when the task was woken already and
has not run yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from uamqp.aio import Connection, Manual, Message, OnDemand, Receiver, Sender, Token, connect
from uamqp.broker import Broker
from uamqp.exceptions import AMQPError

from ..cancelling import cancelled_at
from .conftest import Serve
from .peers import BOUND, Peer, eventually
from .test_connection import round_trip

MOMENTS = pytest.mark.parametrize("after", [False, True], ids=["before", "after"])


async def was_cancelled(operation: Coroutine[Any, Any, Any], turn: int, after: bool) -> bool:
    """Run it and cancel it at its `turn`-th suspension; False where it had fewer."""

    async def run() -> Any:
        return await cancelled_at(operation, turn, after)

    task = asyncio.create_task(run())
    async with asyncio.timeout(BOUND):
        await asyncio.wait([task])
    if task.cancelled():
        return True
    task.result()
    return False


Operation = Callable[[Connection], Awaitable[Coroutine[Any, Any, Any]]]


async def _session(connection: Connection) -> Coroutine[Any, Any, Any]:
    return connection.session().open()


async def _sender(connection: Connection) -> Coroutine[Any, Any, Any]:
    return connection.sender("q").open()


async def _receiver(connection: Connection) -> Coroutine[Any, Any, Any]:
    return connection.receiver("q").open()


async def _send(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await connection.sender("q")).send(b"x")


async def _send_without_time_out(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await connection.sender("q")).send(b"x", timeout=None)


async def _send_large(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await connection.sender("q")).send(bytes(3_000_000))


async def _settlement(connection: Connection) -> Coroutine[Any, Any, Any]:
    sender = await connection.sender("q")
    return sender.settlement(sender.send_nowait(b"x"))


async def _send_many(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await connection.sender("q")).send_many(range(2500))


async def _filled(connection: Connection, **options: Any) -> Receiver:
    async with connection.sender("q") as sender:
        await sender.send_many(range(5))
    return await connection.receiver("q", **options)


async def _receive(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await _filled(connection, credit=OnDemand())).receive()


async def _receive_many(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await _filled(connection, credit=OnDemand())).receive_many(3)


async def _iterate(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await _filled(connection, credit=OnDemand())).__anext__()


async def _drain(connection: Connection) -> Coroutine[Any, Any, Any]:
    receiver = await _filled(connection, credit=Manual())
    receiver.flow(10)
    return receiver.drain()


async def _confirmed(connection: Connection) -> Coroutine[Any, Any, Any]:
    receiver = await _filled(connection, settle_mode="second")
    delivery = await receiver.receive()
    delivery.accept()
    return receiver.confirmed(delivery)


async def _authorize(connection: Connection) -> Coroutine[Any, Any, Any]:
    return connection.authorize("audience", lambda audience: Token("t0ken", "jwt", time.time() + 1000))


async def _request(connection: Connection) -> Coroutine[Any, Any, Any]:
    request = Message(None, application_properties={"operation": "QUERY"})
    return connection.request("$management", request)


async def _close_sender(connection: Connection) -> Coroutine[Any, Any, Any]:
    sender: Sender = await connection.sender("q")
    sender.send_nowait(b"x")
    return sender.close()


async def _close_receiver(connection: Connection) -> Coroutine[Any, Any, Any]:
    return (await _filled(connection)).close()


async def _close_session(connection: Connection) -> Coroutine[Any, Any, Any]:
    session = await connection.session()
    await session.sender("q")
    return session.close()


async def _wait_closed(connection: Connection) -> Coroutine[Any, Any, Any]:
    async def closed() -> None:
        try:
            await connection.wait_closed(timeout=0.01)
        except AMQPError:
            pass

    return closed()


OPERATIONS = [
    _session,
    _sender,
    _receiver,
    _send,
    _send_without_time_out,
    _send_large,
    _settlement,
    _send_many,
    _receive,
    _receive_many,
    _iterate,
    _drain,
    _confirmed,
    _authorize,
    _request,
    _close_sender,
    _close_receiver,
    _close_session,
    _wait_closed,
]


def at_rest(connection: Connection) -> bool:
    """Whether nothing waits, and nothing is kept that is not settled, but what the test took itself."""
    sessions = connection._engine.sessions
    # Who asks a node keeps the links to it, and waits there for what it says.
    keepers = [keeper._requests for keeper in connection._keepers.values()]
    kept = [
        link
        for asked in (*connection._requests.values(), *keepers)
        if asked
        for link in (asked._sender, asked._receiver)
    ]
    links = [link for session in sessions for link in session.links if link.context not in kept]
    return (
        not any(session.outgoing_unsettled or session.runs for session in sessions)
        and not any(link.context._changed._waiters for link in links)
        and not any(link.context._endpoint.queue for link in links if isinstance(link.context, Sender))
        and not any(link.context._wanted for link in links if isinstance(link.context, Receiver))
        and not any(connection._driver.deadlines._queues.values())
    )


@MOMENTS
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__.strip("_"))
async def test_the_connection_stays_fit_for_use(broker: Broker, operation: Operation, after: bool) -> None:
    turn = 1
    cancelled = True
    while cancelled:
        async with connect(broker.url, timeout=BOUND) as connection:
            cancelled = await was_cancelled(await operation(connection), turn, after)
            await round_trip(connection)
            await eventually(lambda connection=connection: at_rest(connection))
            assert connection.is_open
        broker.queue("q").purge()
        turn += 1
        assert turn < 100
    # At least one await there was in each of them.
    assert turn > 2
    await eventually(lambda: broker.connections == 0)


@MOMENTS
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__.strip("_"))
async def test_the_peer_is_gone_meanwhile(broker: Broker, operation: Operation, after: bool) -> None:
    """Cancelled, and then the stream breaks: closing comes to its end all the same."""
    async with connect(broker.url, timeout=BOUND) as connection:
        await was_cancelled(await operation(connection), 1, after)
        broker.drop_connections()
        await connection.wait_closed(timeout=BOUND)
    assert connection.error is not None


@MOMENTS
@pytest.mark.parametrize(
    "operation", [_close_sender, _close_receiver, _close_session], ids=["sender", "receiver", "session"]
)
async def test_what_was_being_closed_is_closed(broker: Broker, operation: Operation, after: bool) -> None:
    turn = 1
    cancelled = True
    while cancelled:
        async with connect(broker.url, timeout=BOUND) as connection:
            cancelled = await was_cancelled(await operation(connection), turn, after)
            sessions = connection._engine._sessions
            await eventually(lambda sessions=sessions: not any(session._handles for session in sessions.values()))
        broker.queue("q").purge()
        turn += 1


@MOMENTS
async def test_connecting(broker: Broker, after: bool) -> None:
    turn = 1
    connections: list[Connection] = []

    async def open() -> None:
        connections.append(await connect(broker.url, timeout=BOUND))

    while await was_cancelled(open(), turn, after):
        await eventually(lambda: broker.connections == 0)
        turn += 1
    assert turn > 2
    (connection,) = connections
    await round_trip(connection)
    await connection.close()


@MOMENTS
async def test_closing(broker: Broker, after: bool) -> None:
    turn = 1
    cancelled = True
    while cancelled:
        connection = await connect(broker.url, timeout=BOUND)
        sender = await connection.sender("q")
        waiting = asyncio.create_task(connection.wait_closed())
        sender.send_nowait(b"x")
        cancelled = await was_cancelled(connection.close(), turn, after)
        await waiting
        await eventually(lambda: broker.connections == 0)
        assert not connection.is_open
        await connection.close()
        turn += 1
    assert turn > 2


async def test_cancelled_twice_while_closing(serve: Serve) -> None:
    """Once at the wait for the peer's answer, and again at what it does about that."""
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    sender = await connection.sender("q")
    server.peer.freeze()
    sending = asyncio.create_task(sender.send(bytes(20_000_000)))
    await eventually(lambda: connection._engine.paused)
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(AMQPError):
        await sending
    assert connection.error is not None


async def test_a_task_group_that_fails(broker: Broker) -> None:
    async with connect(broker.url, timeout=BOUND) as connection:
        sender, receiver = await connection.sender("q"), await connection.receiver("other")

        async def fail() -> None:
            await sender.send(b"x")
            raise ZeroDivisionError

        with pytest.raises(BaseExceptionGroup):
            async with asyncio.TaskGroup() as group:
                group.create_task(receiver.receive())
                group.create_task(sender.send_many(range(100_000)))
                group.create_task(fail())
        await round_trip(connection)
        await eventually(lambda: at_rest(connection))


async def test_time_outs_of_asyncio(serve: Serve) -> None:
    server = await serve(lambda: Peer(credit=0))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await sender.send(b"x")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sender.send_many([b"x"] * 10), 0.01)
        server.peer.receiver.flow(5)
        await sender.send(b"y")
        assert [delivery.body for delivery in server.peer.messages] == [b"y"]
