from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uamqp.aio import Connection, IncomingDelivery, Manual, OnDemand, Receiver, connect
from uamqp.broker import Broker
from uamqp.codec.definitions import Accepted, Error, Modified, Rejected, Released
from uamqp.codec.values import Described, Symbol
from uamqp.engine.states import SessionState
from uamqp.exceptions import (
    AMQPError,
    ConnectionClosed,
    ConnectionLost,
    DecodeError,
    LinkDetached,
    LocalProtocolError,
    OperationTimeout,
)

from .conftest import Serve
from .peers import BOUND, PeerServer, eventually

MESSAGE = b"\x00\x53\x75\xa0\x01x"


async def fill(server: PeerServer, receiver: Receiver, count: int, *, settled: bool = False) -> None:
    """Let so many deliveries arrive."""
    wanted = receiver.queued + count
    await eventually(lambda: server.peer.sender.credit >= count)
    for _ in range(count):
        server.peer.sender.send(MESSAGE, settled)
    await eventually(lambda: receiver.queued == wanted)


# -- receiving -------------------------------------------------------------------------------------------------------


async def test_one_by_one_in_batches_and_as_an_iteration(connection: Connection) -> None:
    sender, receiver = await connection.sender("q"), await connection.receiver("q")
    await sender.send_many(range(30))
    bodies = [(await receiver.receive()).body for _ in range(10)]
    while len(bodies) < 20:
        bodies += [delivery.body for delivery in await receiver.receive_many(20 - len(bodies))]
    async for delivery in receiver:
        bodies.append(delivery.body)
        if len(bodies) == 30:
            break
    assert bodies == [*range(30)]


async def test_a_batch_waits_for_the_first_only(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        waiting = asyncio.create_task(receiver.receive_many(10))
        await eventually(lambda: server.peer.sender.credit)
        for _ in range(3):
            server.peer.sender.send(MESSAGE)
        assert len(await waiting) == 3
        await fill(server, receiver, 8)
        assert len(await receiver.receive_many(5)) == 5
        assert len(await receiver.receive_many()) == 3
        assert await receiver.receive_many(timeout=0.01) == []


@pytest.mark.parametrize("count", [0, -1])
async def test_a_batch_of_nothing(connection: Connection, count: int) -> None:
    receiver = await connection.receiver("q")
    with pytest.raises(ValueError, match="max must be at least 1"):
        await receiver.receive_many(count)


async def test_nothing_comes(connection: Connection) -> None:
    receiver = await connection.receiver("q")
    with pytest.raises(OperationTimeout, match=r"no message within 0\.01 s"):
        await receiver.receive(timeout=0.01)
    with pytest.raises(OperationTimeout):
        await receiver.receive(timeout=0)
    sender = await connection.sender("q")
    await sender.send(b"x")
    assert (await receiver.receive(timeout=None)).body == b"x"


async def test_each_delivery_goes_to_one_task(broker: Broker) -> None:
    tasks, count = 10, 30
    async with connect(broker.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", prefetch=20)

        async def consume() -> list[int]:
            bodies = []
            for _ in range(count):
                delivery = await receiver.receive()
                bodies.append(delivery.body)
                delivery.accept()
                await asyncio.sleep(0)
            return bodies

        consumers = [asyncio.create_task(consume()) for _ in range(tasks)]
        sender = await connection.sender("q")
        await sender.send_many(range(tasks * count))
        results = await asyncio.gather(*consumers)
        assert sorted(body for bodies in results for body in bodies) == [*range(tasks * count)]
        await eventually(lambda: broker.queue("q").length == 0)


async def three_that_wait(server: PeerServer, receiver: Receiver) -> list[asyncio.Task[IncomingDelivery]]:
    waiting = [asyncio.create_task(receiver.receive()) for _ in range(3)]
    await eventually(lambda: server.peer.sender.credit)
    return waiting


async def test_a_task_that_gives_up_loses_nothing_for_the_others(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        waiting = await three_that_wait(server, receiver)
        server.peer.sender.send(MESSAGE)
        # Cancelled just when its delivery is there.
        receiver._changed.notify()
        waiting[0].cancel()
        await eventually(lambda: sum(task.done() for task in waiting) == 2)
        server.peer.sender.send(MESSAGE)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert [task.cancelled() for task in waiting] == [True, False, False]
        assert receiver.queued == 0


async def test_who_was_woken_in_vain_is_woken_again(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        waiting = await three_that_wait(server, receiver)
        for count in range(1, 4):
            # One in each read: all are woken, one has it, and the others wait again.
            server.peer.sender.send(MESSAGE)
            await eventually(lambda count=count: sum(task.done() for task in waiting) == count)
        # What comes while nobody waits, and then something for who does.
        server.peer.sender.send(MESSAGE)
        await eventually(lambda: receiver.queued == 1)
        await receiver.receive()
        last = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0)
        server.peer.sender.send(MESSAGE)
        await asyncio.wait_for(last, BOUND)


async def test_a_damaged_message_can_be_rejected(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        await eventually(lambda: server.peer.sender.credit)
        server.peer.sender.send(b"\x00\x53\x75\xa0\xffshort")
        delivery = await receiver.receive()
        with pytest.raises(DecodeError):
            delivery.body  # noqa: B018
        delivery.reject("amqp:decode-error", "damaged")
        await eventually(lambda: server.peer.settled)
        assert isinstance(server.peer.settled[0].state, Rejected)


async def test_a_message_over_the_limit_ends_the_link_only(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", max_message_size=100)
        await eventually(lambda: server.peer.sender.credit)
        server.peer.sender.remote_max_message_size = 0
        server.peer.sender.send(bytes(101))
        with pytest.raises(LinkDetached) as caught:
            await receiver.receive()
        assert caught.value.condition == "amqp:link:message-size-exceeded"
        await eventually(lambda: server.peer.detached)
        await (await connection.sender("q")).send(b"x")


async def test_the_peer_is_told_of_the_limit(connection: Connection) -> None:
    sender, receiver = await connection.sender("q"), await connection.receiver("q", max_message_size=100)
    await sender.send_many([bytes(200), b"x"])
    assert (await receiver.receive()).body == b"x"


# -- settling --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settle", "state"),
    [
        (lambda d: d.accept(), Accepted()),
        (lambda d: d.reject(), Rejected()),
        (lambda d: d.reject("x:y", "why", {"k": 1}), Rejected(Error(Symbol("x:y"), "why", {"k": 1}))),
        (lambda d: d.release(), Released()),
        (lambda d: d.modify(), Modified()),
        (
            lambda d: d.modify(delivery_failed=True, undeliverable_here=True, annotations={"k": 1}),
            Modified(True, True, {Symbol("k"): 1}),
        ),
        (lambda d: d.settle(Released()), Released()),
    ],
)
async def test_what_is_said_of_a_delivery(serve: Serve, settle: Any, state: Any) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        await fill(server, receiver, 1)
        delivery: IncomingDelivery = await receiver.receive()
        assert (delivery.settled, delivery.presettled, delivery.state) == (False, False, None)
        settle(delivery)
        assert delivery.settled
        await eventually(lambda: server.peer.settled)
        assert server.peer.settled[0].state == state
        with pytest.raises(LocalProtocolError, match="settled already"):
            delivery.accept()


async def test_a_link_where_the_peer_settles_last(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", settle_mode="second")
        await fill(server, receiver, 2)
        first, second = await receiver.receive_many(2)
        first.accept()
        assert not first.settled
        await asyncio.gather(*(receiver.confirmed(first) for _ in range(3)))
        assert first.settled
        await receiver.confirmed(first, timeout=0)
        with pytest.raises(OperationTimeout, match=r"did not confirm the outcome within 0\.01 s"):
            await receiver.confirmed(second, timeout=0.01)


async def test_a_link_that_ends_before_the_peer_confirmed(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", settle_mode="second")
        await fill(server, receiver, 1)
        delivery = await receiver.receive()
        server.peer.freeze()
        delivery.accept()
        waiting = asyncio.create_task(receiver.confirmed(delivery))
        await asyncio.sleep(0)
        server.peer.cut()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_deliveries_of_a_link_that_ended(serve: Serve) -> None:
    """Those not settled belong to the node again; those that were sent settled are ours for good."""
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        await fill(server, receiver, 3)
        taken = await receiver.receive()
        await fill(server, receiver, 2, settled=True)
        await fill(server, receiver, 1)
        server.peer.sender.detach(error=Error(Symbol("amqp:link:stolen"), "mine now"))
        await eventually(lambda: receiver.error is not None)
        assert receiver.queued == 2
        with pytest.raises(LinkDetached, match="mine now"):
            taken.accept()
        first = await receiver.receive()
        assert first.presettled
        first.accept()
        assert len(await receiver.receive_many(5)) == 1
        for use in (receiver.receive, receiver.receive_many, receiver.drain, receiver.__anext__):
            with pytest.raises(LinkDetached, match="mine now"):
                await use()
        with pytest.raises(LinkDetached, match="mine now"):
            receiver.flow(1)


# -- draining and closing --------------------------------------------------------------------------------------------


async def test_drain(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=Manual())
        await receiver.drain(timeout=0)
        receiver.flow(10)
        await eventually(lambda: server.peer.sender.credit == 10)
        for _ in range(4):
            server.peer.sender.send(MESSAGE)
        await receiver.drain()
        assert (receiver.queued, receiver.credit) == (4, 0)
        receiver.flow(5)
        await eventually(lambda: server.peer.sender.credit == 5)


async def test_drain_that_is_never_answered(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        server.peer.freeze()
        with pytest.raises(OperationTimeout, match=r"did not answer drain within 0\.01 s"):
            await receiver.drain(timeout=0.01)
        server.peer.thaw()


async def test_taking_deliveries_does_not_end_a_drain(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", prefetch=4)
        await fill(server, receiver, 2)
        server.peer.freeze()
        draining = asyncio.create_task(receiver.drain())
        await asyncio.sleep(0)
        await receiver.receive_many(2)
        assert receiver._endpoint.draining
        server.peer.thaw()
        await draining
        assert receiver.credit == 0


async def test_closing_gives_back_what_was_not_taken() -> None:
    async with Broker(max_deliveries=1) as broker, connect(broker.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        await sender.send_many(range(10))
        async with connection.receiver("q", prefetch=5) as receiver:
            taken = await receiver.receive()
            taken.accept()
        queue = broker.queue("q")
        await eventually(lambda: len(queue) == queue.length == 9)
        # In their old places, and none of them counts as a failed attempt.
        async with connection.receiver("q") as receiver:
            for n in range(1, 10):
                delivery = await receiver.receive()
                assert (delivery.body, delivery.message.header.delivery_count or 0) == (n, 0)
                delivery.accept()


async def test_closing_gives_back_what_is_under_way(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", prefetch=10)
        await eventually(lambda: server.peer.sender.credit == 10)
        # Sent, and not read by the client when it closes.
        for _ in range(6):
            server.peer.sender.send(MESSAGE)
        server.peer.driver.flush()
        await receiver.close()
        assert [type(delivery.state) for delivery in server.peer.settled] == [Released] * 6


async def test_closing_keeps_what_was_taken_and_settled(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", sender_settle_mode="settled")
        await fill(server, receiver, 3, settled=True)
        (await receiver.receive()).accept()
        await receiver.close()
        assert receiver.queued == 0
        assert not server.peer.settled


async def test_closing_where_the_peer_is_mute_takes_its_time_once(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        server.peer.freeze()
        await receiver.close(timeout=0.02)
        assert isinstance(receiver.error, LocalProtocolError)
        server.peer.thaw()


async def test_closing_ends_the_iteration_of_another_task(connection: Connection) -> None:
    receiver = await connection.receiver("q")

    async def iterate() -> None:
        async for _ in receiver:
            pass

    iterating = asyncio.create_task(iterate())
    await asyncio.sleep(0)
    await receiver.close()
    with pytest.raises(LocalProtocolError, match="is closed"):
        await iterating


async def test_a_peer_that_sends_more_than_it_may(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", credit=Manual())
        server.peer.sender.credit = 5
        server.peer.sender.send(MESSAGE)
        with pytest.raises(LinkDetached) as caught:
            await receiver.receive()
        assert caught.value.condition == "amqp:link:transfer-limit-exceeded"
        assert not caught.value.remote


@pytest.mark.parametrize("number", [1.5, "1", None])
async def test_numbers_that_are_none_change_nothing(connection: Connection, number: Any) -> None:
    receiver = await connection.receiver("queue", credit=OnDemand())
    with pytest.raises(TypeError, match="max must be a number of deliveries"):
        await receiver.receive_many(number)
    with pytest.raises(TypeError, match="credit must be a number of deliveries"):
        receiver.flow(number)
    sender = await connection.sender("queue")
    await sender.send("message")
    (delivery,) = await receiver.receive_many(1)
    delivery.accept()


async def test_a_size_of_nothing_is_refused(connection: Connection) -> None:
    with pytest.raises(ValueError, match="max_message_size must be at least 1, not 0"):
        await connection.receiver("queue", max_message_size=0)


# --- what nobody took, where more than the link ends ------------------------------------------------------------


@pytest.mark.parametrize("ends", ["connection", "session"])
@pytest.mark.parametrize("taken", [0, 1])
async def test_what_nobody_took_goes_back_in_order(ends: str, taken: int) -> None:
    """It was not delivered to anybody, so it does not count as a delivery that failed."""
    async with Broker() as broker:
        queue = broker.queue("q", max_deliveries=2, dead_letter="dead")
        async with connect(broker.url, timeout=BOUND) as connection:
            async with connection.sender("q") as sender:
                await sender.send_many(range(10))
        for n in range(1, 4):
            async with connect(broker.url, timeout=BOUND) as connection:
                session = await connection.session()
                receivers = [await session.receiver("q", prefetch=3) for _ in range(2)]
                for receiver in receivers[:taken]:
                    (await receiver.receive()).accept()
                await (connection if ends == "connection" else session).close()
            await eventually(lambda n=n: len(queue) == 10 - n * taken)
        assert len(broker.find("dead") or ()) == 0


@pytest.mark.parametrize("settled", [False, True])
async def test_a_peer_that_does_not_drain_holds_up_the_end_of_a_session_a_moment(
    serve: Serve, settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uamqp.aio.receiver._PATIENCE", 0.01)
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        session = await connection.session()
        receiver = await session.receiver("q", prefetch=10, sender_settle_mode="settled" if settled else "mixed")
        server.peer.sender.send(b"\x00Su\xa0\x01x", settled)
        await eventually(lambda: receiver._queue)
        server.peer.freeze()
        closing = asyncio.create_task(session.close())
        # It was sent all the same.
        await eventually(lambda: session._endpoint.state is SessionState.END_SENT)
        assert receiver._endpoint.draining is not settled
        server.peer.thaw()
        await closing
        assert isinstance(receiver.error, LocalProtocolError)


async def test_a_task_that_is_cancelled_while_all_goes_back_ends_in_order_all_the_same(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    receiver = await connection.receiver("q", prefetch=10)
    server.peer.freeze()
    closing = asyncio.create_task(connection.close())
    await eventually(lambda: receiver._endpoint.draining)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    server.peer.thaw()
    await eventually(lambda: server.peer.engine.closed)
    assert isinstance(server.peer.engine.error, ConnectionClosed)


# --- no outcomes ------------------------------------------------------------------------------------------------


async def test_what_is_no_outcome(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        await fill(server, receiver, 1)
        delivery: Any = await receiver.receive()
        for state in ("accepted", 3, None, Error(Symbol("x:y"))):
            with pytest.raises(TypeError, match=r"an outcome is needed, such as Accepted\(\), not "):
                delivery.settle(state)
        # In the compiled engine it is the compiler that says so.
        with pytest.raises(TypeError, match=r"annotations must be a mapping, not str|dict or None object expected"):
            delivery.modify(annotations="x")
        assert not delivery.settled
        delivery.settle(Described(Symbol("x:state"), []))
        await eventually(lambda: server.peer.settled)


@pytest.mark.parametrize("ends", ["connection", "session"])
async def test_settled_messages_that_are_here_are_given_out_all_the_same(serve: Serve, ends: str) -> None:
    """They could not go back."""
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    session = await connection.session()
    receiver = await session.receiver("q", sender_settle_mode="settled")
    await fill(server, receiver, 3, settled=True)
    await (connection if ends == "connection" else session).close()
    assert len(await receiver.receive_many()) == 3
    with pytest.raises(AMQPError):
        await receiver.receive()
    await connection.close()
