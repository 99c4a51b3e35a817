"""Our client against servers of other projects: proton and rhea that listen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

import uamqp.aio as amqp
from tests.broker.helpers import BOUND, eventually
from uamqp.exceptions import (
    ConnectionClosed,
    ConnectionLost,
    InDoubt,
    LinkDetached,
    Modified,
    OperationTimeout,
    Rejected,
    Released,
    SessionEnded,
)

from .processes import Talker


@pytest.fixture
async def connection(server: Talker) -> AsyncIterator[amqp.Connection]:
    async with amqp.connect(server.url(), timeout=BOUND) as connection:
        yield connection


def unique(kind: str) -> str:
    return f"{kind}/{uuid4()}"


# -- sending ----------------------------------------------------------------------------------------------------------


async def test_accepted(server: Talker, connection: amqp.Connection) -> None:
    address = unique("accept")
    async with connection.sender(address) as sender:
        assert sender.address == address
        assert (await sender.send(amqp.Message("x", properties=amqp.Properties(subject="s")))).settled
        await sender.send("x", settled=True)
        events = await server.about(address, 2)
        assert [(e["subject"], e["settled"]) for e in events] == [("s", False), (None, True)]


async def test_many_messages(server: Talker, connection: amqp.Connection) -> None:
    address = unique("store")
    async with connection.sender(address) as sender:
        # Whatever way the outcomes are put together in dispositions, each message has its own.
        await sender.send_many(range(1000))
    async with connection.receiver(address, prefetch=70) as receiver:
        bodies = []
        async for delivery in receiver:
            bodies.append(delivery.body)
            delivery.accept()
            if len(bodies) == 1000:
                break
        assert bodies == list(range(1000))
    events = await server.about(address, 2000)
    assert sum(e.get("outcome") == "accepted" for e in events) == 1000


async def test_rejected(connection: amqp.Connection) -> None:
    async with connection.sender(unique("reject")) as sender:
        with pytest.raises(Rejected, match="so bad") as caught:
            await sender.send("x")
        assert caught.value.condition == "com.example:bad"


async def test_released(connection: amqp.Connection) -> None:
    async with connection.sender(unique("release")) as sender:
        with pytest.raises(Released):
            await sender.send("x")


async def test_modified(connection: amqp.Connection) -> None:
    async with connection.sender(unique("modify")) as sender:
        with pytest.raises(Modified) as caught:
            await sender.send("x")
        assert (caught.value.delivery_failed, caught.value.undeliverable_here) == (True, True)
        assert caught.value.annotations == {"x-opt-note": "hm"}


async def test_no_outcome(connection: amqp.Connection) -> None:
    async with connection.sender(unique("silent")) as sender:
        with pytest.raises(OperationTimeout):
            await sender.send("x", timeout=0.05)


@pytest.mark.parametrize("mode", ["settled", "unsettled", "mixed"])
# Servers answer an attach with wishes of their own; what holds is what each end says of itself (spec 2.7.3).
async def test_sender_settle_modes(server: Talker, connection: amqp.Connection, mode: str) -> None:
    address = unique("accept")
    async with connection.sender(address, settle_mode=mode) as sender:
        await sender.send("x")
        (event,) = await server.about(address)
        assert event["settled"] is (mode == "settled")


# -- receiving --------------------------------------------------------------------------------------------------------


async def test_outcomes_arrive(server: Talker, connection: amqp.Connection) -> None:
    address = unique("give/4")
    async with connection.receiver(address) as receiver:
        deliveries = [await receiver.receive() for _ in range(4)]
        assert [d.body for d in deliveries] == [0, 1, 2, 3]
        deliveries[3].modify(delivery_failed=True, undeliverable_here=True, annotations={"x-opt-note": "hm"})
        deliveries[2].release()
        deliveries[1].reject("com.example:bad", "so bad")
        deliveries[0].accept()
        events = {e["outcome"]: e for e in await server.about(address, 4)}
    assert set(events) == {"accepted", "rejected", "released", "modified"}
    assert all(e["settled"] for e in events.values())
    assert (events["rejected"]["condition"], events["rejected"]["description"]) == ("com.example:bad", "so bad")
    modified = events["modified"]
    assert (modified["delivery_failed"], modified["undeliverable_here"]) == (True, True)
    assert modified["annotations"] == {"x-opt-note": "hm"}


async def test_receiver_settle_mode_second(server: Talker, connection: amqp.Connection) -> None:
    address = unique("give/1")
    async with connection.receiver(address, settle_mode="second") as receiver:
        delivery = await receiver.receive()
        delivery.accept()
        (event,) = await server.about(address)
        assert (event["outcome"], event["settled"]) == ("accepted", False)
        await receiver.confirmed(delivery)


async def test_drain(connection: amqp.Connection) -> None:
    async with connection.receiver(unique("give/3"), credit=amqp.Manual()) as receiver:
        receiver.flow(10)
        await receiver.drain()
        await eventually(lambda: receiver.queued == 3)
        assert receiver.credit == 0
        receiver.flow(5)
        await receiver.drain()
        assert (receiver.queued, receiver.credit) == (3, 0)


async def test_credit_is_kept_to(connection: amqp.Connection) -> None:
    async with connection.receiver(unique("give/10"), credit=amqp.Manual()) as receiver:
        for count in (1, 2, 7):
            receiver.flow(count)
            deliveries = [await receiver.receive() for _ in range(count)]
            assert receiver.queued == 0
            for delivery in deliveries:
                delivery.accept()


# -- large messages, requests ------------------------------------------------------------------------------------------


async def test_a_large_message_to_the_server(server: Talker, connection: amqp.Connection) -> None:
    address = unique("accept")
    async with connection.sender(address) as sender:
        await sender.send("x" * 5_000_000)
        (event,) = await server.about(address)
        assert event["size"] in (5_000_000, 5_000_002)


async def test_a_large_message_from_the_server(connection: amqp.Connection) -> None:
    async with connection.receiver(unique("large")) as receiver:
        delivery = await receiver.receive()
        assert delivery.body == b"\x07" * 5_000_000
        delivery.accept()


async def test_a_large_message_in_small_frames(server: Talker) -> None:
    async with (
        amqp.connect(server.url(), timeout=BOUND, max_frame_size=512) as connection,
        connection.session(incoming_window=1000) as session,
        session.receiver(unique("large")) as receiver,
    ):
        assert len((await receiver.receive()).body) == 5_000_000


async def test_requests_over_a_dynamic_node(connection: amqp.Connection) -> None:
    async with (
        connection.receiver(None, dynamic=True) as replies,
        connection.sender(unique("service")) as sender,
    ):
        assert replies.address
        for number in range(3):
            properties = amqp.Properties(message_id=number, reply_to=replies.address)
            await sender.send(amqp.Message(f"question {number}", properties=properties))
            delivery = await replies.receive()
            delivery.accept()
            assert delivery.body == f"question {number}"
            assert delivery.message.properties.correlation_id == number


# -- the server ends things --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_a_refused_link(connection: amqp.Connection, side: str) -> None:
    with pytest.raises(LinkDetached, match="not for you") as caught:
        await getattr(connection, side)(unique("refuse"))
    assert caught.value.condition == "amqp:unauthorized-access"
    async with connection.sender(unique("accept")) as sender:
        await sender.send("x")


async def test_the_server_closes_a_sender(connection: amqp.Connection) -> None:
    sender = await connection.sender(unique("close"))
    with pytest.raises(InDoubt) as caught:
        await sender.send("x")
    assert caught.value.condition == "amqp:resource-deleted"
    assert isinstance(sender.error, LinkDetached)
    assert connection.is_open


async def test_the_server_closes_a_receiver(connection: amqp.Connection) -> None:
    receiver = await connection.receiver(unique("close"))
    with pytest.raises(LinkDetached, match="gone") as caught:
        async for _ in receiver:
            pass
    assert caught.value.condition == "amqp:resource-deleted"
    assert connection.is_open


async def test_the_server_ends_the_session(connection: amqp.Connection) -> None:
    sender = await connection.sender(unique("end-session"))
    with pytest.raises(InDoubt) as caught:
        await sender.send("x")
    assert caught.value.condition == "amqp:internal-error"
    assert isinstance(sender.error, SessionEnded)
    async with connection.sender(unique("accept")) as sender:
        await sender.send("x")


async def test_the_server_closes_the_connection(connection: amqp.Connection) -> None:
    sender = await connection.sender(unique("close-connection"))
    with pytest.raises(InDoubt) as caught:
        await sender.send("x")
    assert caught.value.condition == "amqp:connection:forced"
    await connection.wait_closed(timeout=BOUND)
    assert isinstance(connection.error, ConnectionClosed)


async def test_the_server_vanishes(connection: amqp.Connection) -> None:
    sender = await connection.sender(unique("cut"))
    with pytest.raises(InDoubt):
        await sender.send("x")
    await connection.wait_closed(timeout=BOUND)
    assert isinstance(connection.error, ConnectionLost)


async def test_many_links_at_once(connection: amqp.Connection) -> None:
    async def use(number: int) -> None:
        address = unique("store")
        async with connection.sender(address) as sender:
            await sender.send(number)
        async with connection.receiver(address) as receiver:
            delivery = await receiver.receive()
            assert delivery.body == number
            delivery.accept()

    await asyncio.gather(*(use(number) for number in range(20)))
