from __future__ import annotations

import asyncio

import pytest

from uamqp.aio import Connection, CreditPolicy, Manual, OnDemand, Prefetch, Receiver, connect
from uamqp.codec.performatives import Disposition, Flow
from uamqp.exceptions import LocalProtocolError, OperationTimeout
from uamqp.testing import ScriptedServer

from .conftest import Serve
from .peers import BOUND, PeerServer, eventually

MESSAGE = b"\x00\x53\x75\xa0\x01x"


def flood(server: PeerServer, count: int = 1000) -> None:
    for _ in range(count):
        server.peer.sender.send(MESSAGE)


async def quiet(connection: Connection) -> None:
    """Let everything under way arrive: a round trip of another link."""
    async with connection.sender("round-trip") as sender:
        await sender.send(b"x")


@pytest.mark.parametrize("count", [0, -1, 100_001])
def test_prefetch_out_of_range(count: int) -> None:
    with pytest.raises(ValueError, match="prefetch must be 1 to 100000"):
        Prefetch(count)


async def full_receiver(server: PeerServer, connection: Connection, prefetch: int) -> Receiver:
    """A receiver that has all that it lets the peer send ahead."""
    receiver = await connection.receiver("q", prefetch=prefetch)
    await eventually(lambda: server.peer.sender.credit == prefetch)
    flood(server)
    await eventually(lambda: receiver.queued == prefetch)
    await quiet(connection)
    return receiver


async def test_a_slow_application_stops_the_peer(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await full_receiver(server, connection, 10)
        assert (receiver.queued, receiver.credit, len(server.peer.sender.queue)) == (10, 0, 990)
        # Four of them are not half of what was prefetched.
        for _ in range(4):
            (await receiver.receive()).accept()
        await quiet(connection)
        assert (receiver.queued, receiver.credit) == (6, 0)
        (await receiver.receive()).accept()
        await eventually(lambda: receiver.queued == 10)
        await quiet(connection)
        assert (receiver.queued, receiver.credit) == (10, 0)


async def test_credit_is_given_while_the_application_is_busy_with_what_is_here(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await full_receiver(server, connection, 4)
        # From here on nothing is awaited that takes time.
        to_be_written = []
        for _ in range(4):
            delivery = await receiver.receive()
            to_be_written.append(connection._engine.unfinished)
            delivery.accept()
        # With the second, credit is due; with the fourth, too, but then the application is about to wait.
        assert to_be_written == [False, False, True, True]
        assert receiver.credit == 4


async def test_a_delivery_that_is_here_in_part_counts() -> None:
    async def script() -> None:
        peer = await server.accept()
        await peer.open()
        await peer.begin()
        await peer.attach()
        await peer.expect(Flow, link_credit=2)
        peer.transfer(0, MESSAGE)
        peer.transfer(1, MESSAGE[:3], more=True)
        await peer.expect(Flow, link_credit=1)
        peer.transfer(1, MESSAGE[3:])
        peer.transfer(2, MESSAGE)
        await peer.expect(Disposition)
        peer.hang_up()

    async with ScriptedServer() as server:
        playing = asyncio.create_task(script())
        connection = await connect(server.url, timeout=BOUND)
        receiver = await connection.receiver("q", prefetch=2)
        (await receiver.receive()).accept()
        await playing
        await connection.close()


@pytest.mark.parametrize("policy", [Prefetch(1), OnDemand()], ids=["prefetch", "on demand"])
async def test_credit_of_what_the_peer_aborts_is_given_again(policy: CreditPolicy) -> None:
    async def script() -> None:
        peer = await server.accept()
        await peer.open()
        await peer.begin()
        await peer.attach()
        await peer.expect(Flow, link_credit=1)
        for number in range(3):
            peer.transfer(number, MESSAGE[:3], more=True)
            peer.transfer(number, b"", aborted=True)
            await peer.expect(Flow, link_credit=1, delivery_count=number + 1)
        peer.transfer(3, MESSAGE)
        # A prefetch gives credit for it, too, as soon as it is taken.
        while not isinstance((await peer.next_frame()).performative, Disposition):
            pass
        peer.hang_up()

    async with ScriptedServer() as server:
        playing = asyncio.create_task(script())
        connection = await connect(server.url, timeout=BOUND)
        receiver = await connection.receiver("q", credit=policy)
        (await receiver.receive()).accept()
        await playing
        await connection.close()


async def test_a_prefetch_of_one(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", prefetch=1)
        await eventually(lambda: server.peer.sender.credit == 1)
        flood(server, 20)
        for _ in range(20):
            (await receiver.receive()).accept()
        await eventually(lambda: len(server.peer.settled) == 20)


async def test_on_demand_grants_what_is_waited_for(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        flood(server, 100)
        await quiet(connection)
        assert len(server.peer.sender.queue) == 100
        (await receiver.receive()).accept()
        await quiet(connection)
        assert (receiver.queued, receiver.credit, len(server.peer.sender.queue)) == (0, 0, 99)
        many = await receiver.receive_many(7)
        await quiet(connection)
        assert (len(many) + receiver.queued, len(server.peer.sender.queue)) == (7, 92)


async def test_on_demand_grants_one_for_each_task_that_waits(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        waiting = [asyncio.create_task(receiver.receive()) for _ in range(5)]
        await eventually(lambda: server.peer.sender.credit == 5)
        waiting.pop().cancel()
        flood(server, 100)
        for delivery in await asyncio.gather(*waiting):
            delivery.accept()
        await quiet(connection)
        # What was granted for the task that gave up is kept for the next.
        assert len(server.peer.sender.queue) == 95
        assert receiver.queued == 1
        (await receiver.receive()).accept()
        assert receiver._wanted == 0


async def test_on_demand_takes_back_what_is_left_of_the_credit(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive_many(10))
        await eventually(lambda: server.peer.sender.credit == 10)
        other = asyncio.create_task(receiver.receive())
        await eventually(lambda: server.peer.sender.credit == 11)
        flood(server, 1)
        assert len(await waiting) == 1
        await eventually(lambda: server.peer.sender.credit == 1)
        other.cancel()
        await eventually(lambda: server.peer.sender.credit == 0)
        # What comes now is for others.
        flood(server, 3)
        await quiet(connection)
        assert (receiver.queued, receiver.credit, len(server.peer.sender.queue)) == (0, 0, 3)
        assert len(await receiver.receive_many(10)) + receiver.queued == 3


async def test_on_demand_does_not_end_a_drain(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive_many(10, timeout=0.05))
        await asyncio.sleep(0)
        server.peer.freeze()
        draining = asyncio.create_task(receiver.drain(timeout=0.1))
        assert await waiting == []
        assert receiver._endpoint.draining
        with pytest.raises(OperationTimeout, match="drain"):
            await draining
        await connection.close(timeout=0)


async def test_on_demand_gives_more_where_another_took_it(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive())
        await eventually(lambda: server.peer.sender.credit == 1)
        flood(server, 2)
        while not receiver.queued:
            await asyncio.sleep(0)
        # Its waiter is woken, and did not have its turn yet.
        await receiver.receive()
        assert not waiting.done()
        await waiting


async def test_on_demand_gives_again_what_a_drain_took(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive())
        await eventually(lambda: server.peer.sender.credit == 1)
        await receiver.drain()
        flood(server, 1)
        await waiting


async def test_on_demand_gives_nothing_during_a_drain(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        receiver.flow(1)
        draining = asyncio.create_task(receiver.drain())
        await asyncio.sleep(0)
        waiting = asyncio.create_task(receiver.receive_many(5))
        await asyncio.sleep(0)
        assert receiver._endpoint.draining
        await draining
        await eventually(lambda: server.peer.sender.credit == 5)
        flood(server, 1)
        assert len(await waiting) == 1


async def test_on_demand_gives_nothing_to_who_waits_while_it_is_closed(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive())
        await eventually(lambda: server.peer.sender.credit == 1)
        await receiver.close()
        with pytest.raises(LocalProtocolError, match="is closed"):
            await waiting
        assert server.peer.sender.credit == 0


async def test_on_demand_takes_nothing_back_on_a_session_that_ends(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        receiver = await session.receiver("q", credit=OnDemand())
        waiting = asyncio.create_task(receiver.receive_many(3, timeout=0.05))
        await eventually(lambda: server.peer.sender.credit == 3)
        server.peer.freeze()
        closing = asyncio.create_task(session.close())
        assert await waiting == []
        server.peer.thaw()
        await closing


async def test_on_demand_keeps_what_came_too_late(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        with pytest.raises(OperationTimeout):
            await receiver.receive(timeout=0)
        assert await receiver.receive_many(1, timeout=0) == []
        flood(server, 2)
        await eventually(lambda: receiver.queued == 1)
        (await receiver.receive()).accept()
        assert receiver.credit == 0


async def test_manual_gives_nothing_by_itself(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=Manual())
        flood(server, 10)
        with pytest.raises(OperationTimeout):
            await receiver.receive(timeout=0.01)
        receiver.flow(3)
        assert receiver.credit == 3
        await eventually(lambda: receiver.queued == 3)
        await quiet(connection)
        assert (receiver.queued, receiver.credit) == (3, 0)
        # What was taken back and is under way all the same is no fault of the peer.
        receiver.flow(5)
        receiver.flow(2)
        await quiet(connection)
        assert (receiver.queued, receiver.credit) == (8, 0)


async def test_more_is_wanted_than_credit_can_be(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=OnDemand())
        tasks = [asyncio.create_task(receiver.receive_many(80_000)) for _ in range(2)]
        await eventually(lambda: server.peer.sender.credit == 100_000)
        server.peer.sender.send(MESSAGE)
        server.peer.sender.send(MESSAGE)
        found = [delivery for many in await asyncio.gather(*tasks) for delivery in many]
        assert 1 <= len(found) <= 2
