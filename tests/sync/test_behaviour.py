"""What both faces do, written once for both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from uamqp.aio import Manual, Message, OnDemand, Properties
from uamqp.broker import Broker
from uamqp.codec.definitions import Accepted, Released
from uamqp.exceptions import (
    AddressError,
    AuthenticationError,
    BatchFailed,
    ConnectionClosed,
    ConnectionEnded,
    ConnectionLost,
    EncodeError,
    LinkDetached,
    LocalProtocolError,
    MessageTooLarge,
    OperationTimeout,
    Rejected,
)

from .faces import Face, both


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running(max_message_size=100_000, max_queue_length=1000) as broker:
        yield broker


@both
async def test_a_connection(face: Face) -> None:
    async with face.connect(face.url + "/node", container_id="me") as connection:
        assert connection.is_open
        assert connection.error is None
        assert (connection.path, connection.container_id) == ("node", "me")
        assert connection.remote_properties["product"] == "uamqp-broker"
        assert connection.remote_container_id.startswith("uamqp-broker-")
        assert connection.remote_offered_capabilities == ("ANONYMOUS-RELAY",)
    assert not connection.is_open
    assert isinstance(connection.error, ConnectionClosed)
    await connection.close()
    await connection.wait_closed()


@both
async def test_there_and_back(face: Face) -> None:
    async with face.connect() as connection:
        async with connection.sender("q") as sender, connection.receiver("q") as receiver:
            assert (sender.address, receiver.address) == ("q", "q")
            assert sender.name != receiver.name
            assert sender.max_message_size == 100_000
            assert (sender.error, receiver.error) == (None, None)
            delivery = await sender.send("x")
            assert (delivery.settled, delivery.presettled, delivery.error) == (True, False, None)
            assert (type(delivery.payload), delivery.message_format) == (bytes, 0)
            assert isinstance(delivery.state, Accepted)
            assert delivery.failure() is None
            received = await receiver.receive()
            assert (received.body, received.settled, received.presettled) == ("x", False, False)
            assert received.message == Message("x")
            assert received.payload == Message("x").encode()
            assert (received.message_format, received.state, received.error) == (0, None, None)
            assert isinstance(received.tag, bytes)
            assert received.id == 0
            received.accept()
            assert received.settled
        assert isinstance(sender.error, LocalProtocolError)


@both
async def test_a_session(face: Face) -> None:
    async with face.connect() as connection, connection.session(incoming_window=100, handle_max=3) as session:
        assert session.error is None
        assert session.connection.container_id == connection.container_id
        async with session.sender("q") as sender, session.receiver("q") as receiver:
            assert sender.session.error is None
            await sender.send("x")
            (await receiver.receive()).accept()
        await session.close()
        assert isinstance(session.error, LocalProtocolError)


@both
async def test_many_messages(face: Face) -> None:
    async with face.connect() as connection:
        async with connection.sender("q") as sender:
            assert await sender.send_many(range(50)) == 50
        async with connection.receiver("q", prefetch=10) as receiver:
            bodies = []
            for delivery in await receiver.receive_many(5):
                bodies.append(delivery.body)
                delivery.accept()
            async for delivery in receiver:
                bodies.append(delivery.body)
                delivery.accept()
                if len(bodies) == 50:
                    break
            assert bodies == [*range(50)]
            assert await receiver.receive_many(timeout=0.01) == []
            assert receiver.queued == 0


@both
async def test_sending_without_waiting(face: Face) -> None:
    async with face.connect() as connection, connection.sender("q") as sender:
        deliveries = [sender.send_nowait(Message(n, properties=Properties(message_id=n))) for n in range(20)]
        for delivery in deliveries:
            assert await sender.settlement(delivery) is not None
            assert delivery.settled
        settled = sender.send_nowait("x", settled=True)
        assert (settled.settled, settled.presettled) == (True, True)
        await sender.settlement(settled)


@both
async def test_what_is_said_of_deliveries(face: Face) -> None:
    async with face.connect() as connection, connection.sender("q") as sender:
        await sender.send_many(["accept", "reject", "release", "modify", "settle"])
        async with connection.receiver("q", credit=OnDemand()) as receiver:
            # All of them first: what is given back would come again at once.
            deliveries = [await receiver.receive() for _ in range(5)]
            for delivery in deliveries:
                body = delivery.body
                if body == "accept":
                    delivery.accept()
                elif body == "reject":
                    delivery.reject("x:y", "why", {"k": 1})
                elif body == "release":
                    delivery.release()
                elif body == "modify":
                    delivery.modify(delivery_failed=True, undeliverable_here=True, annotations={"k": 1})
                else:
                    delivery.settle(Released())
                with pytest.raises(LocalProtocolError, match="settled already"):
                    delivery.accept()
        async with connection.receiver("q") as receiver:
            bodies = {}
            for _ in range(3):
                delivery = await receiver.receive()
                bodies[delivery.body] = delivery.message.annotations
                delivery.accept()
            assert bodies == {"release": {}, "modify": {"k": 1}, "settle": {}}


@both
async def test_credit_by_hand_and_drain(face: Face) -> None:
    async with face.connect() as connection, connection.sender("q") as sender:
        await sender.send_many(range(10))
        async with connection.receiver("q", credit=Manual()) as receiver:
            with pytest.raises(OperationTimeout):
                await receiver.receive(timeout=0.01)
            receiver.flow(20)
            assert receiver.credit == 20
            await receiver.drain()
            assert (receiver.queued, receiver.credit) == (10, 0)
            receiver.flow(1, drain=True)
            for delivery in await receiver.receive_many():
                delivery.accept()


@both
async def test_the_peer_settles_last(face: Face) -> None:
    async with face.connect() as connection, connection.sender("q") as sender:
        await sender.send("x")
        async with connection.receiver("q", settle_mode="second") as receiver:
            delivery = await receiver.receive()
            delivery.accept()
            assert not delivery.settled
            await receiver.confirmed(delivery)
            assert delivery.settled


@both
async def test_a_temporary_node(face: Face) -> None:
    async with face.connect() as connection, connection.receiver(None, dynamic=True) as receiver:
        async with connection.sender(receiver.address) as sender:
            await sender.send("x")
        delivery = await receiver.receive()
        assert delivery.body == "x"
        assert receiver.filters == {}
        assert receiver.remote_properties == {}
        delivery.accept()


@both
async def test_errors_of_single_messages(face: Face) -> None:
    face.broker.call(lambda: face.broker.queue("small", max_length=2))
    async with face.connect() as connection, connection.sender("small") as sender:
        with pytest.raises(EncodeError):
            await sender.send(object())
        with pytest.raises(MessageTooLarge):
            await sender.send(bytes(100_001))
        with pytest.raises(BatchFailed) as caught:
            await sender.send_many(["1", "2", "3", object()])
        assert {place: type(error) for place, error in caught.value.failures.items()} == {2: Rejected, 3: EncodeError}
        with pytest.raises(Rejected) as rejected:
            await sender.send("4")
        assert rejected.value.condition == "amqp:resource-limit-exceeded"


@both
async def test_errors_of_links(face: Face) -> None:
    async with face.connect() as connection:
        with pytest.raises(LinkDetached) as caught:
            await connection.sender("$unknown")
        assert caught.value.condition == "amqp:not-found"
        with pytest.raises(ValueError, match="settle mode"):
            await connection.receiver("q", settle_mode="x")
        with pytest.raises(ValueError, match="at least 1"):
            await (await connection.receiver("q")).receive_many(0)
        receiver = await connection.receiver("doomed")
        face.broker.call(face.broker.delete, "doomed")
        with pytest.raises(LinkDetached) as caught:
            await receiver.receive()
        assert caught.value.condition == "amqp:resource-deleted"


@both
async def test_the_connection_breaks(face: Face) -> None:
    async with face.connect() as connection:
        receiver = await connection.receiver("q")
        face.broker.call(face.broker.drop_connections)
        with pytest.raises(ConnectionLost):
            await receiver.receive()
        for use in (connection.sender, connection.receiver):
            with pytest.raises(ConnectionEnded):
                await use("q")
        assert isinstance(connection.error, ConnectionLost)


@both
async def test_it_is_not_connected_at_all(face: Face) -> None:
    with pytest.raises(ConnectionLost):
        await face.connect("amqp://127.0.0.1:1")
    with pytest.raises(AddressError):
        await face.connect("http://localhost")
    with pytest.raises(AddressError, match="unencrypted"):
        await face.connect("amqp://user:password@broker.example")


@both
async def test_credentials(face: Face) -> None:
    with Broker.running(users={"user": "right"}) as broker:
        async with face.connect(broker.url, user="user", password="right") as connection:
            assert connection.is_open
        with pytest.raises(AuthenticationError):
            await face.connect(broker.url, user="user", password="wrong")


@both
async def test_waiting_for_the_end(face: Face) -> None:
    async with face.connect() as connection:
        with pytest.raises(OperationTimeout, match="still open"):
            await connection.wait_closed(timeout=0.01)
        face.broker.call(face.broker.drop_connections)
        await connection.wait_closed()


@both
async def test_what_is_shown(face: Face) -> None:
    async with face.connect() as connection, connection.sender("q", name="out") as sender:
        shown: list[Any] = [connection, sender]
        texts = [repr(thing.unwrapped if face.blocking else thing) for thing in shown]
        assert texts == [f"<Connection to {face.url}, open>", "<Sender 'out', attached>"]
