"""Queues, topics and sessions of the azure personality, with our own client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

import uamqp.aio as amqp
from uamqp.broker import Azure, Broker, Refused
from uamqp.broker.azure.entity import Entity
from uamqp.codec.definitions import Source
from uamqp.codec.message import Data, Header, Message, Properties
from uamqp.codec.performatives import End
from uamqp.codec.values import Symbol, Timestamp, UInt
from uamqp.engine.delivery import IncomingDelivery
from uamqp.exceptions import AuthenticationError, LinkDetached, OperationTimeout, Rejected

from ..conftest import Starter
from ..helpers import BOUND, Raw, attach, client, cut, eventually, put
from .test_parts import token

FILTER = "com.microsoft:session-filter"
#: By how much a timestamp and the clocks may differ.
TICK = timedelta(milliseconds=10)
EPOCH_END = Timestamp(253_402_300_800_000)


@pytest.fixture
async def broker(start: Starter) -> Broker:
    """One with locks that last."""
    return await start(personality="azure")


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[amqp.Connection]:
    async with client(broker) as connection:
        yield connection


def receiver(connection: amqp.Connection, address: str = "q", **options: Any) -> Any:
    return connection.receiver(address, settle_mode="second", sender_settle_mode="unsettled", **options)


def session(connection: amqp.Connection, id: str | None, address: str = "q", **options: Any) -> Any:
    return receiver(connection, address, filters={Symbol(FILTER): id}, **options)


async def take(link: amqp.Receiver, count: int = 1) -> list[IncomingDelivery]:
    return [await link.receive(timeout=BOUND) for _ in range(count)]


async def ask(
    connection: amqp.Connection, operation: str, body: object, address: str = "q"
) -> tuple[int, str | None, Any]:
    """A request to management: status, condition and body of the answer."""
    request = Message(body, application_properties={"operation": f"com.microsoft:{operation}"})
    answer = await connection.request(f"{address}/$management", request)
    told = answer.application_properties
    assert told["statusCode"] == told["status-code"]
    return told["statusCode"], told.get("errorCondition"), answer.body


def entity(broker: Broker, name: str = "q") -> Entity:
    found = broker.find(name)
    assert isinstance(found, Entity)
    return found


def of(id: str | None, body: str) -> Message:
    return Message(body, properties=Properties(group_id=id))


async def is_silent(link: amqp.Receiver) -> bool:
    """Whether nothing is on its way: what was sent before an answered request would be there."""
    try:
        await link.receive(timeout=0.05)
    except OperationTimeout:
        return True
    return False


async def test_it_is_reached_over_a_websocket(start: Starter) -> None:
    broker = await start(personality="azure", websocket_port=0)
    url = f"{broker.websocket_url}/$servicebus/websocket/"
    async with amqp.connect(url, websocket_subprotocol="AMQPWSB10", timeout=BOUND) as connection:
        await put(connection, "q", "hello")
        async with receiver(connection) as link:
            (delivery,) = await take(link)
            assert len(delivery.tag) == 16
            delivery.accept()


# -- locks and outcomes -------------------------------------------------------------------------------------------


async def test_a_message_is_locked_and_completed(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "hello")
    async with receiver(connection) as link:
        (delivery,) = await take(link)
        message = delivery.message
        assert delivery.body == "hello"
        assert message.annotations["x-opt-sequence-number"] == 1
        assert message.annotations["x-opt-locked-until"] > message.annotations["x-opt-enqueued-time"]
        assert entity(broker).locks.find(UUID(bytes_le=delivery.tag)).tag == delivery.tag
        delivery.accept()
        await link.confirmed(delivery)
        assert len(entity(broker)) == 0 and broker.storage.used == 0


async def test_names_are_the_same_in_all_letters(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "Orders", "x")
    async with receiver(connection, "ORDERS") as link:
        assert (await take(link))[0].body == "x"


async def test_headers_are_kept(connection: amqp.Connection) -> None:
    await put(connection, "q", Message("x", header=Header(durable=True, priority=7, ttl=60_000)), Message("y"))
    async with receiver(connection) as link:
        x, y = (d.message.header for d in await take(link, 2))
    assert (x.durable, x.priority, x.ttl, x.delivery_count) == (True, 7, 60_000, 0)
    assert (y.durable, y.priority, y.ttl, y.delivery_count) == (None, None, None, 0)


@pytest.mark.parametrize(
    ("outcome", "count"),
    [
        (lambda d: d.release(), 0),
        (lambda d: d.modify(), 0),
        (lambda d: d.modify(delivery_failed=True), 1),
    ],
)
async def test_what_is_given_back_comes_again(connection: amqp.Connection, outcome: Any, count: int) -> None:
    await put(connection, "q", "x")
    async with receiver(connection) as link:
        (delivery,) = await take(link)
        outcome(delivery)
        (again,) = await take(link)
        assert again.message.header.delivery_count == count
        assert again.tag != delivery.tag


async def test_receivers_may_set_properties(connection: amqp.Connection) -> None:
    await put(connection, "q", Message("x", application_properties={"a": 1}))
    async with receiver(connection) as link:
        (delivery,) = await take(link)
        # A list is nothing that an application property can be.
        delivery.modify(annotations={"b": 2, "c": [1]})
        (again,) = await take(link)
        assert again.message.application_properties == {"a": 1, "b": 2}


async def test_receivers_may_set_so_much_and_no_more(connection: amqp.Connection) -> None:
    await put(connection, "q", "x")
    async with receiver(connection) as link:
        for n in range(5):
            (delivery,) = await take(link)
            delivery.modify(annotations={f"p{n}": "x" * 20_000})
        assert sorted((await take(link))[0].message.application_properties) == ["p0", "p1", "p2"]


async def test_rejected_messages_are_dead_lettered(connection: amqp.Connection) -> None:
    await put(connection, "q", Message("1", header=Header(ttl=60_000)), "2", "3")
    async with receiver(connection) as link:
        one, two, three = await take(link, 3)
        info = {Symbol("DeadLetterReason"): "why", Symbol("DeadLetterErrorDescription"): "because"}
        one.reject("com.microsoft:dead-letter", info=info)
        two.reject("app:bad")
        three.reject()
    async with receiver(connection, "q/$DeadLetterQueue") as link:
        deliveries = await take(link, 3)
        one, two, three = (d.message for d in deliveries)
        assert one.application_properties == {"DeadLetterReason": "why", "DeadLetterErrorDescription": "because"}
        assert one.annotations["x-opt-deadletter-source"] == "q"
        assert two.application_properties == {"DeadLetterReason": "app:bad"}
        assert three.application_properties == {}
        # There is no dead-letter queue of dead letters.
        deliveries[0].reject("app:worse")
        (again,) = await take(link)
        assert again.message.annotations["x-opt-sequence-number"] == 1


async def test_too_many_deliveries(start: Starter) -> None:
    broker = await start(personality=Azure(max_deliveries=2))
    async with client(broker) as connection:
        await put(connection, "q", "x")
        async with receiver(connection) as link:
            for _ in range(2):
                (delivery,) = await take(link)
                delivery.modify(delivery_failed=True)
        async with receiver(connection, "q/$deadletterqueue") as link:
            (delivery,) = await take(link)
            assert delivery.message.application_properties["DeadLetterReason"] == "MaxDeliveryCountExceeded"


async def test_dead_letters_for_whose_queue_there_is_no_room_are_lost(start: Starter) -> None:
    # $cbs, $management and the queue.
    broker = await start(personality="azure", max_queues=3)
    async with client(broker) as connection:
        await put(connection, "q", "1", "2")
        async with receiver(connection) as link:
            one, two = await take(link, 2)
            one.reject("app:bad")
            await link.confirmed(one)
            two.accept()
            await link.confirmed(two)
        assert len(entity(broker)) == 0


async def test_a_full_dead_letter_queue_loses_letters(start: Starter) -> None:
    broker = await start(personality="azure", max_queue_length=1)
    async with client(broker) as connection:
        async with receiver(connection) as link:
            for body in ("1", "2"):
                await put(connection, "q", body)
                (delivery,) = await take(link)
                delivery.reject()
                await link.confirmed(delivery)
        assert len(entity(broker, "q/$deadletterqueue")) == 1


async def test_settled_messages_are_gone(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "small", b"x" * 200_000)
    async with connection.receiver("q", sender_settle_mode="settled") as link:
        small, large = await take(link, 2)
        assert small.presettled and len(large.body) == 200_000
        assert "x-opt-locked-until" not in small.message.annotations
    await eventually(lambda: len(entity(broker)) == 0)


async def test_a_settled_message_that_went_out_in_pieces(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", b"x" * 900_000)
    session = await connection.session(incoming_window=2)
    async with session.receiver("q", sender_settle_mode="settled") as link:
        assert len((await take(link))[0].body) == 900_000
    await eventually(lambda: len(entity(broker)) == 0)


async def test_a_message_that_the_receiver_cannot_take(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", b"x" * 1000)
    async with receiver(connection, max_message_size=100) as link:
        with pytest.raises(LinkDetached) as caught:
            await link.receive(timeout=BOUND)
        assert caught.value.condition == "amqp:link:message-size-exceeded"
    assert len(entity(broker)) == 1


async def test_a_lock_that_ends_is_told_when_it_is_too_late(start: Starter) -> None:
    broker = await start(personality=Azure(lock_duration=0.05))
    async with client(broker) as connection:
        await put(connection, "q", "x")
        async with receiver(connection) as link:
            first, again = await take(link, 2)
            assert again.message.header.delivery_count == 1
            first.accept()
            await link.confirmed(first)
            assert len(entity(broker)) == 1
            status, condition, _ = await ask(connection, "renew-lock", {"lock-tokens": [UUID(bytes_le=first.tag)]})
            assert (status, condition) == (410, "com.microsoft:message-lock-lost")


async def test_a_message_outlives_its_link(start: Starter) -> None:
    broker = await start(personality=Azure(lock_duration=0.2))
    async with client(broker) as connection:
        await put(connection, "q", "x", "y")
        async with receiver(connection) as link:
            x, y = await take(link, 2)
        assert len(entity(broker).locks) == 2
        body = {"disposition-status": "completed", "lock-tokens": [UUID(bytes_le=x.tag)]}
        assert (await ask(connection, "update-disposition", body))[0] == 200
        async with receiver(connection) as link:
            (again,) = await take(link)
            assert again.body == "y"


async def test_what_was_not_sent_yet_is_free_at_once(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", b"x" * 900_000, b"y" * 900_000, b"z" * 900_000)
    session = await connection.session(incoming_window=2)
    link = await session.receiver("q", sender_settle_mode="unsettled", prefetch=3)
    await eventually(lambda: entity(broker).locks)
    await link.close()
    await eventually(lambda: entity(broker)._receivers == [])
    async with receiver(connection) as other:
        assert len((await take(other))[0].body) == 900_000


async def test_messages_are_shared_among_receivers(connection: amqp.Connection) -> None:
    async with receiver(connection) as one, receiver(connection) as two:
        await put(connection, "q", *"abcd")
        assert len(await take(one, 2)) == len(await take(two, 2)) == 2


@pytest.mark.parametrize("dead_letter", [False, True])
async def test_expired_messages_are_dropped_or_dead_lettered(start: Starter, dead_letter: bool) -> None:
    broker = await start(personality=Azure(dead_letter_expired=dead_letter))
    async with client(broker) as connection:
        await put(connection, "q", Message("x", header=Header(ttl=20)))
        await eventually(lambda: len(entity(broker)) == 0)
        async with receiver(connection, "q/$deadletterqueue") as link:
            if dead_letter:
                (delivery,) = await take(link)
                assert delivery.message.application_properties["DeadLetterReason"] == "TTLExpiredException"
            else:
                assert await is_silent(link)


async def test_what_expired_takes_no_room(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "lasting")
    for _ in range(100):
        await put(connection, "q", *(Message("x", header=Header(ttl=1)) for _ in range(10)))
    await eventually(lambda: len(entity(broker)) == 1)
    await put(connection, "q", "last")
    assert len(entity(broker)._ready._lanes[None]) < 200
    async with receiver(connection) as link:
        assert [d.body for d in await take(link, 2)] == ["lasting", "last"]


async def test_a_session_whose_messages_expired_is_not_the_next(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", Message("x", header=Header(ttl=20), properties=Properties(group_id="gone")))
    async with session(connection, "other"):
        await eventually(lambda: len(entity(broker)) == 0)
        with pytest.raises(LinkDetached) as caught:
            await session(connection, None, properties={"com.microsoft:timeout": UInt(10)})
        assert caught.value.condition == "com.microsoft:timeout"


async def test_a_locked_message_expires_when_it_is_given_back(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", Message("x", header=Header(ttl=30)))
    async with receiver(connection) as link:
        (delivery,) = await take(link)
        await eventually(lambda: entity(broker)._agenda.next_expiry != entity(broker)._messages[1].expires)
        delivery.release()
        await eventually(lambda: len(entity(broker)) == 0)


async def test_a_full_queue_refuses(start: Starter) -> None:
    broker = await start(personality="azure", max_queue_length=1)
    async with client(broker) as connection:
        with pytest.raises(Rejected) as caught:
            await put(connection, "q", "1", "2")
        assert caught.value.condition == "amqp:resource-limit-exceeded"


async def test_a_deleted_queue(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "x")
    await ask(connection, "set-session-state", {"session-id": "s", "session-state": b"x"})
    async with receiver(connection) as link, connection.sender("q") as sender:
        await take(link)
        deleted = entity(broker)
        assert broker.node("q") is deleted
        broker.delete("q")
        with pytest.raises(LinkDetached):
            await link.receive(timeout=BOUND)
        with pytest.raises(LinkDetached):
            await sender.send("y")
        assert len(deleted) == 0 and broker.storage.used == 0
        with pytest.raises(Refused, match="deleted"):
            deleted.check([])


async def test_a_deleted_queue_gives_its_sessions_to_nobody(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", of("s", "x"))
    async with session(connection, "s"):
        waiting = asyncio.ensure_future(session(connection, None, timeout=BOUND))
        await eventually(lambda: entity(broker).sessions.waiting)
        broker.delete("q")
        with pytest.raises(LinkDetached):
            await waiting


async def test_a_deleted_queue_takes_its_parts_along(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "a/b", "other")
    for address in ("A/$DeadLetterQueue", "A/Subscriptions/s", "A/Subscriptions/s/$management"):
        await put(connection, address, Message("x", properties=Properties(message_id=1, reply_to="a/b")))
    broker.delete("a")
    for address in ("a", "a/$deadletterqueue", "a/subscriptions/s", "a/subscriptions/s/$management"):
        assert broker.find(address) is None
    assert len(entity(broker, "a/b")) == 2


async def test_a_name_in_other_letters_is_deleted_and_sent_to(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "Orders", "x")
    async with connection.sender(None) as sender:
        await sender.send(Message("y", properties=Properties(to="orderS")))
    assert len(entity(broker, "orders")) == 2
    broker.delete("ORDERS")
    assert broker.find("Orders") is None


# -- management ---------------------------------------------------------------------------------------------------


async def test_peeking(connection: amqp.Connection) -> None:
    await put(connection, "q", "1", "2", "3")
    status, _, body = await ask(connection, "peek-message", {"from-sequence-number": 2, "message-count": 5})
    assert status == 200
    messages = [Message.decode(item["message"]) for item in body["messages"]]
    assert [m.body for m in messages] == ["2", "3"]
    assert messages[0].annotations["x-opt-message-state"] == 0
    assert (await ask(connection, "peek-message", {"from-sequence-number": 9, "message-count": 5}))[0] == 204


async def test_as_much_is_peeked_as_a_message_holds(start: Starter) -> None:
    broker = await start(personality=Azure(max_message_size=1000))
    async with client(broker) as connection:
        await put(connection, "q", *(b"x" * size for size in (300, 300, 300, 900)))
        for first, count in ((1, 2), (4, 1)):
            _, _, body = await ask(connection, "peek-message", {"from-sequence-number": first, "message-count": 9})
            assert len(body["messages"]) == count


async def test_deferred_messages(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "1", "2")
    async with receiver(connection) as link:
        for delivery in await take(link, 2):
            delivery.modify(undeliverable_here=True, delivery_failed=True)
            await link.confirmed(delivery)
    request = {"sequence-numbers": [1], "receiver-settle-mode": UInt(1)}
    status, _, body = await ask(connection, "receive-by-sequence-number", request)
    assert status == 200
    (item,) = body["messages"]
    assert Message.decode(item["message"]).body == "1"
    # It is locked now.
    status, condition, _ = await ask(connection, "receive-by-sequence-number", request)
    assert (status, condition) == (404, "com.microsoft:message-not-found")
    tokens = {"lock-tokens": [item["lock-token"]]}
    status, _, body = await ask(connection, "renew-lock", tokens)
    assert status == 200 and body["expirations"][0] > datetime.now(UTC)
    assert (await ask(connection, "update-disposition", {"disposition-status": "abandoned", **tokens}))[0] == 200
    # Given back, it stays deferred.
    status, _, body = await ask(connection, "receive-by-sequence-number", request)
    token = str(body["messages"][0]["lock-token"])
    tell = {"disposition-status": "suspended", "lock-tokens": [token], "deadletter-reason": "r"}
    tell["properties-to-modify"] = {"p": 1}
    assert (await ask(connection, "update-disposition", tell))[0] == 200
    assert len(entity(broker, "q/$deadletterqueue")) == 1
    status, _, body = await ask(
        connection, "receive-by-sequence-number", {"sequence-numbers": [2], "receiver-settle-mode": UInt(0)}
    )
    assert status == 200 and len(entity(broker)) == 0


async def test_what_is_named_twice_is_there_once(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "x", "y")
    async with receiver(connection) as link:
        for delivery in await take(link, 2):
            delivery.modify(undeliverable_here=True)
            await link.confirmed(delivery)
    request = {"sequence-numbers": [1, 1], "receiver-settle-mode": UInt(0)}
    _, _, body = await ask(connection, "receive-by-sequence-number", request)
    assert len(body["messages"]) == 1 and len(entity(broker)) == 1
    request = {"sequence-numbers": [2, 2], "receiver-settle-mode": UInt(1)}
    _, _, body = await ask(connection, "receive-by-sequence-number", request)
    (item,) = body["messages"]
    tell = {"disposition-status": "completed", "lock-tokens": [item["lock-token"]] * 2}
    assert (await ask(connection, "update-disposition", tell))[0] == 200
    assert len(entity(broker)) == 0


async def test_a_request_without_settle_mode_locks_nothing(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "x")
    async with receiver(connection) as link:
        (delivery,) = await take(link)
        delivery.modify(undeliverable_here=True)
        await link.confirmed(delivery)
    assert (await ask(connection, "receive-by-sequence-number", {"sequence-numbers": [1]}))[0] == 400
    assert not len(entity(broker).locks)


async def test_deferring_by_management(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", "1")
    async with receiver(connection) as link:
        (delivery,) = await take(link)
        tokens = {"lock-tokens": [UUID(bytes_le=delivery.tag)]}
        assert (await ask(connection, "update-disposition", {"disposition-status": "defered", **tokens}))[0] == 200
        # The receiver comes too late with what it says.
        delivery.accept()
        await link.confirmed(delivery)
    assert len(entity(broker)) == 1


async def test_scheduling(broker: Broker, connection: amqp.Connection) -> None:
    due = datetime.now(UTC) + timedelta(seconds=0.1)
    later = datetime.now(UTC) + timedelta(hours=1)
    items = [
        {
            "message": Message(
                body, header=Header(ttl=60_000), annotations={"x-opt-scheduled-enqueue-time": when}
            ).encode()
        }
        for body, when in (("soon", due), ("later", later), ("now", None))
        if when is not None
    ] + [{"message": Message("now").encode()}]
    status, _, body = await ask(connection, "schedule-message", {"messages": items})
    assert status == 200 and list(body["sequence-numbers"]) == [1, 2, 3]
    _, _, peeked = await ask(connection, "peek-message", {"from-sequence-number": 1, "message-count": 1})
    assert Message.decode(peeked["messages"][0]["message"]).annotations["x-opt-message-state"] == 2
    async with receiver(connection) as link:
        now, soon = await take(link, 2)
        assert (now.body, soon.body) == ("now", "soon")
        assert soon.message.annotations["x-opt-sequence-number"] == 4
        assert datetime.now(UTC) >= due - TICK
    cancel = {"sequence-numbers": [2]}
    assert (await ask(connection, "cancel-scheduled-message", cancel))[0] == 200
    assert (await ask(connection, "cancel-scheduled-message", cancel))[0] == 404
    assert 2 not in entity(broker)._messages


async def test_scheduled_messages_sent_as_others(connection: amqp.Connection) -> None:
    due = datetime.now(UTC) + timedelta(seconds=0.1)
    await put(connection, "q", Message("x", annotations={"x-opt-scheduled-enqueue-time": due}))
    async with receiver(connection) as link:
        await take(link)
        assert datetime.now(UTC) >= due - TICK


@pytest.mark.parametrize(
    ("operation", "body", "status"),
    [
        ("unheard-of", {}, 501),
        ("peek-message", {}, 400),
        ("peek-message", "text", 400),
        ("peek-message", {"from-sequence-number": "x", "message-count": 1}, 400),
        ("renew-lock", {"lock-tokens": ["no token"]}, 400),
        ("update-disposition", {"lock-tokens": [], "disposition-status": "strange"}, 400),
        ("schedule-message", {"messages": [{"message": b"\xff"}]}, 400),
        ("schedule-message", {"messages": [{"message": 1 << 62}]}, 400),
        ("set-session-state", {"session-id": "s", "session-state": 1 << 62}, 400),
        ("add-rule", {"rule-name": "r", "rule-description": {"correlation-filter": {"properties": 5}}}, 400),
        ("renew-session-lock", {"session-id": "nobody"}, 410),
        ("remove-rule", {"rule-name": "none"}, 404),
    ],
)
async def test_requests_that_cannot_be_granted(
    connection: amqp.Connection, operation: str, body: object, status: int
) -> None:
    assert (await ask(connection, operation, body))[0] == status


# -- sessions -----------------------------------------------------------------------------------------------------


async def test_a_session_receiver_gets_its_session(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", of("a", "a1"), of("b", "b1"), of("a", "a2"))
    async with session(connection, "a") as link:
        assert [d.body for d in await take(link, 2)] == ["a1", "a2"]
        assert link.remote_properties["com.microsoft:locked-until-utc"] > 621_355_968_000_000_000
        assert link._endpoint.remote_attach.source.filter == {FILTER: "a"}
        with pytest.raises(LinkDetached) as caught:
            await session(connection, "a")
        assert caught.value.condition == "com.microsoft:session-cannot-be-locked"
        async with session(connection, None) as other:
            assert (await take(other))[0].body == "b1"
    # Without an outcome the messages are free again, and it does not count against them.
    async with session(connection, None) as link:
        assert (await take(link))[0].message.header.delivery_count == 0


async def test_a_session_is_waited_for(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", of("taken", "x"))
    async with session(connection, "taken"):
        waiting = asyncio.ensure_future(session(connection, None, timeout=BOUND))
        await eventually(lambda: entity(broker).sessions.waiting)
        await put(connection, "q", of("new", "y"))
        link = await waiting
        assert (await take(link))[0].body == "y"
        await link.close()


async def test_waiting_for_a_session_ends(broker: Broker, connection: amqp.Connection) -> None:
    with pytest.raises(LinkDetached) as caught:
        await session(connection, None, properties={"com.microsoft:timeout": UInt(30)})
    assert caught.value.condition == "com.microsoft:timeout"
    assert not entity(broker).sessions.waiting


async def test_who_waits_may_go(broker: Broker) -> None:
    async with client(broker) as connection:
        waiting = asyncio.ensure_future(session(connection, None, timeout=BOUND))
        await eventually(lambda: broker.find("q") is not None and entity(broker).sessions.waiting)
        waiting.cancel()
    await eventually(lambda: not entity(broker).sessions.waiting)
    assert entity(broker)._agenda.next_expiry is None


@pytest.mark.parametrize("granted", [True, False])
async def test_a_late_answer_may_be_too_large_for_the_client(
    broker: Broker, connection: amqp.Connection, raws: Any, granted: bool
) -> None:
    raw: Raw = await raws(Raw.begin(broker, max_frame_size=512))
    source = Source(address="q", filter={Symbol(FILTER): None})
    timeout = {Symbol("com.microsoft:timeout"): UInt(60_000 if granted else 20)}
    raw.send(attach(sends=False, name="n" * 500, source=source, properties=timeout))
    if granted:
        await eventually(lambda: broker.find("q") is not None and entity(broker).sessions.waiting)
        await put(connection, "q", of("s", "x"))
    end = await raw.read(End)
    assert end.error is not None and end.error.condition == "amqp:frame-size-too-small"
    assert entity(broker).sessions.is_free("s")


async def test_who_waits_no_longer_leaves_the_others_alone(broker: Broker, connection: amqp.Connection) -> None:
    async with connection.sender("other") as sender:
        with pytest.raises(OperationTimeout):
            await session(connection, None, timeout=0.05)
        await eventually(lambda: not entity(broker).sessions.waiting)
        await sender.send("still there")
        await put(connection, "q", of("s", "x"))
        async with session(connection, None) as link:
            assert (await take(link))[0].body == "x"


async def test_who_waits_hears_of_the_end_of_the_queue(broker: Broker, connection: amqp.Connection) -> None:
    waiting = asyncio.ensure_future(session(connection, None, timeout=BOUND))
    await eventually(lambda: broker.find("q") is not None and entity(broker).sessions.waiting)
    broker.delete("q")
    with pytest.raises(LinkDetached):
        await waiting


async def test_a_session_lock_ends(start: Starter) -> None:
    broker = await start(personality=Azure(lock_duration=0.1))
    async with client(broker) as connection:
        await put(connection, "q", of("s", "x"))
        async with session(connection, "s") as link:
            await take(link)
            with pytest.raises(LinkDetached) as caught:
                await link.receive(timeout=BOUND)
            assert caught.value.condition == "com.microsoft:session-lock-lost"
        async with session(connection, "s") as link:
            assert (await take(link))[0].message.header.delivery_count == 1


async def test_a_lost_connection_frees_its_sessions(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", of("s", "x"), of("t", "y"))
    async with client(broker) as lost:
        link = await session(lost, "s")
        await take(link)
        async with session(connection, "t"):
            waiting = asyncio.ensure_future(session(connection, None, timeout=BOUND))
            await eventually(lambda: entity(broker).sessions.waiting)
            cut(lost)
            other = await waiting
            assert (await take(other))[0].body == "x"


async def test_session_locks_and_states(broker: Broker, connection: amqp.Connection) -> None:
    async with session(connection, "s"):
        status, _, body = await ask(connection, "renew-session-lock", {"session-id": "s"})
        assert status == 200 and body["expiration"] > datetime.now(UTC)
        assert (await ask(connection, "get-session-state", {"session-id": "s"}))[2] == {"session-state": None}
        state = {"session-id": "s", "session-state": b"half"}
        assert (await ask(connection, "set-session-state", state))[0] == 200
    assert (await ask(connection, "get-session-state", {"session-id": "s"}))[2] == {"session-state": b"half"}
    await ask(connection, "set-session-state", {"session-id": "s", "session-state": None})
    assert (await ask(connection, "get-session-state", {"session-id": "s"}))[2] == {"session-state": None}
    assert entity(broker).sessions.find("s") is None
    large = {"session-id": "s", "session-state": b"x" * 300_000}
    assert (await ask(connection, "set-session-state", large))[0] == 400


async def test_states_are_bounded(broker: Broker, connection: amqp.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uamqp.broker.azure.sessions._MAX_SESSIONS", 1)
    for id, status in (("a", 200), ("a", 200), ("b", 409)):
        assert (await ask(connection, "set-session-state", {"session-id": id, "session-state": b""}))[0] == status


async def test_states_count_as_storage(start: Starter) -> None:
    broker = await start(personality="azure", max_bytes=2000)
    async with client(broker) as connection:
        for size, status in ((500, 200), (600, 200), (5000, 409)):
            body = {"session-id": "s", "session-state": b"x" * size}
            assert (await ask(connection, "set-session-state", body))[0] == status
        await ask(connection, "set-session-state", {"session-id": "s", "session-state": None})
    await eventually(lambda: broker.storage.used == 0)


async def test_messages_that_are_damaged_inside(connection: amqp.Connection) -> None:
    bad = b"\x00\x53\x74\xc1\x04\x02\xa1\x01a\x55" + Message("x").encode()
    async with connection.sender("q") as sender:
        with pytest.raises(Rejected) as caught:
            await sender.send(Message(Data([bad]), message_format=0x80013700))
        assert caught.value.condition == "amqp:decode-error"


async def test_listing_sessions(connection: amqp.Connection) -> None:
    await put(connection, "q", of("b", "x"), of("a", "x"), of("a", "y"))
    await ask(connection, "set-session-state", {"session-id": "c", "session-state": b"x"})
    request = {"last-updated-time": EPOCH_END, "skip": 0, "top": 2}
    assert (await ask(connection, "get-message-sessions", request))[2] == {"skip": 2, "sessions-ids": ["a", "b"]}
    assert (await ask(connection, "get-message-sessions", {**request, "skip": 2}))[2]["sessions-ids"] == ["c"]
    assert (await ask(connection, "get-message-sessions", {**request, "skip": 3}))[0] == 204
    since = {**request, "last-updated-time": datetime(2020, 1, 1, tzinfo=UTC)}
    assert (await ask(connection, "get-message-sessions", since))[2]["sessions-ids"] == ["c"]


async def test_a_queue_has_sessions_or_not(start: Starter) -> None:
    broker = await start(personality=Azure(session_queues=["s"], queues=["plain"]))
    async with client(broker) as connection:
        with pytest.raises(Rejected) as rejected:
            await put(connection, "s", "without")
        assert rejected.value.condition == "amqp:not-allowed"
        with pytest.raises(LinkDetached):
            await receiver(connection, "s")
        async with receiver(connection, "q"):
            for without in ("q", "plain"):
                with pytest.raises(LinkDetached) as caught:
                    await session(connection, "x", without)
                assert caught.value.condition == "amqp:not-allowed"
        with pytest.raises(LinkDetached) as caught:
            await session(connection, 7, "q")  # type: ignore[arg-type]
        assert caught.value.condition == "amqp:invalid-field"


async def test_deferred_messages_are_free_when_their_session_is(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", of("s", "x"))
    request = {"sequence-numbers": [1], "receiver-settle-mode": UInt(1), "session-id": "s"}
    async with session(connection, "s") as link:
        (delivery,) = await take(link)
        delivery.modify(undeliverable_here=True)
        await link.confirmed(delivery)
        assert (await ask(connection, "receive-by-sequence-number", request))[0] == 200
    await eventually(lambda: entity(broker).sessions.is_free("s"))
    async with session(connection, "s"):
        assert (await ask(connection, "receive-by-sequence-number", request))[0] == 200


async def test_sessions_that_are_over_leave_nothing(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "q", *(of(str(n), "x") for n in range(3)))
    for n in range(3):
        async with session(connection, str(n), credit=amqp.OnDemand()) as link:
            (delivery,) = await take(link)
            delivery.accept()
            await link.confirmed(delivery)
    assert not entity(broker)._ready.lanes


async def test_who_got_a_session_does_not_wait_any_more(
    broker: Broker, connection: amqp.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    waiting = asyncio.ensure_future(session(connection, None, properties={"com.microsoft:timeout": UInt(7_200_000)}))
    await eventually(lambda: broker.find("q") is not None and entity(broker).sessions.waiting)
    late = Message("x", annotations={"x-opt-scheduled-enqueue-time": due}, properties=Properties(group_id="s"))
    await put(connection, "q", late)
    # The message comes, and with it the end of the waiting.
    now = time.monotonic() + 10_000
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: now)
        entity(broker)._agenda.expire()
    async with await waiting as link:
        assert (await take(link))[0].body == "x"


async def test_dead_letters_have_no_sessions(connection: amqp.Connection) -> None:
    with pytest.raises(LinkDetached) as caught:
        await session(connection, "s", "q/$DeadLetterQueue")
    assert caught.value.condition == "amqp:not-allowed"


# -- topics -------------------------------------------------------------------------------------------------------


async def test_a_topic_hands_on_to_its_subscriptions(start: Starter) -> None:
    broker = await start(personality=Azure(topics={"t": ["one", "two"]}))
    async with client(broker) as connection:
        await put(connection, "t", "x")
        for name in ("one", "two"):
            async with receiver(connection, f"t/Subscriptions/{name}") as link:
                assert (await take(link))[0].body == "x"
        for attaching in (receiver(connection, "t"), session(connection, "s", "t")):
            with pytest.raises(LinkDetached):
                await attaching
        await put(connection, "t", "y")


async def test_the_first_subscription_gets_what_waited(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "t", "early")
    async with receiver(connection, "t/Subscriptions/first") as link:
        await put(connection, "t", "late")
        assert [d.body for d in await take(link, 2)] == ["early", "late"]
    async with receiver(connection, "t/subscriptions/second") as link:
        assert await is_silent(link)
    assert len(entity(broker, "t")) == 0


async def test_a_queue_in_use_becomes_no_topic(connection: amqp.Connection) -> None:
    async with receiver(connection):
        for _ in range(2):
            with pytest.raises(LinkDetached) as caught:
                await receiver(connection, "q/Subscriptions/s")
            assert caught.value.condition == "amqp:not-allowed"


async def test_rules_choose(broker: Broker, connection: amqp.Connection) -> None:
    address = "t/Subscriptions/s"
    async with receiver(connection, address) as link:
        assert (await ask(connection, "remove-rule", {"rule-name": "$Default"}, address))[0] == 200
        red = {"correlation-filter": {"label": "red"}}
        rule = {"rule-name": "red", "rule-description": red}
        assert (await ask(connection, "add-rule", rule, address))[0] == 200
        assert (await ask(connection, "add-rule", rule, address))[0] == 409
        page = {"skip": 0, "top": 10}
        assert (await ask(connection, "enumerate-rules", page, address))[2] == {"rules": [rule]}
        assert (await ask(connection, "enumerate-rules", {"skip": 1, "top": 10}, address))[0] == 204
        await put(connection, "t", Message("b", properties=Properties(subject="blue")))
        await put(connection, "t", Message("r", properties=Properties(subject="red")))
        assert (await take(link))[0].body == "r"


async def test_a_full_subscription_does_not_stop_the_others(start: Starter) -> None:
    broker = await start(personality=Azure(topics={"t": ["one", "two"]}), max_queue_length=1)
    async with client(broker) as connection:
        await put(connection, "t", "1")
        async with receiver(connection, "t/Subscriptions/two") as link:
            (delivery,) = await take(link)
            delivery.accept()
            await link.confirmed(delivery)
            await put(connection, "t", "2")
            assert (await take(link))[0].body == "2"
        assert len(entity(broker, "t/Subscriptions/one")) == 1


# -- who may come in ----------------------------------------------------------------------------------------------


async def test_only_what_is_declared(start: Starter) -> None:
    broker = await start(personality=Azure(queues=["q"], topics={"t": ["s"]}, hubs={"h": 1}), auto_create=False)
    async with client(broker) as connection:
        for address in ("q", "q/$deadletterqueue", "t/Subscriptions/s", "h/Partitions/0"):
            await (await connection.receiver(address)).close()
        for address in ("other", "t/Subscriptions/other", "h2/Partitions/0", "$nothing"):
            with pytest.raises(LinkDetached) as caught:
                await connection.receiver(address)
            assert caught.value.condition == "amqp:not-found"


async def test_tokens_are_wanted_where_there_are_keys(start: Starter) -> None:
    broker = await start(personality=Azure(keys={"me": "s3cret"}))
    async with client(broker) as connection:
        with pytest.raises(LinkDetached) as caught:
            await connection.receiver("q")
        assert caught.value.condition == "amqp:unauthorized-access"
        async with connection.sender(None) as sender:
            with pytest.raises(Rejected) as refused:
                await sender.send(Message("x", properties=Properties(to="$management", reply_to="x")))
            assert refused.value.condition == "amqp:unauthorized-access"
        request = Message("token", application_properties={"operation": "delete-token"})
        assert (await connection.request("$cbs", request)).application_properties["status-code"] == 200
        with pytest.raises(LinkDetached):
            await connection.receiver("q")
        request.application_properties["operation"] = "put-token"
        assert (await connection.request("$cbs", request)).application_properties["status-code"] == 401


async def test_a_client_with_a_good_token_gets_in(start: Starter) -> None:
    broker = await start(personality=Azure(keys={"me": "s3cret"}))
    async with client(broker) as connection:
        properties = {"operation": "put-token", "type": "servicebus.windows.net:sastoken", "name": "sb://host/q"}
        answer = await connection.request("$cbs", Message(token(), application_properties=properties))
        assert answer.application_properties["status-code"] == 200
        assert (await connection.receiver("q")).error is None


async def test_a_client_with_the_key_as_password_gets_in(start: Starter) -> None:
    broker = await start(personality=Azure(keys={"me": "s3cret"}))
    async with amqp.connect(broker.url, user="me", password="s3cret") as connection:
        assert (await connection.receiver("q")).error is None
    for user, password in (("me", "wrong"), ("you", "s3cret")):
        with pytest.raises(AuthenticationError):
            await amqp.connect(broker.url, user=user, password=password)


async def test_an_unknown_personality() -> None:
    with pytest.raises(ValueError, match="aws"):
        Broker(personality="aws")


@pytest.mark.parametrize(
    "options",
    [
        {"queues": ["q"], "session_queues": ["Q"]},
        {"queues": ["t"], "topics": {"t": []}},
        {"topics": {"h": ["s"]}, "hubs": {"h": 1}},
    ],
)
def test_a_name_is_declared_as_one_thing(options: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="already"):
        Broker(personality=Azure(**options))


async def test_batches(connection: amqp.Connection) -> None:
    inner = [Message(str(n)).encode() for n in range(3)]
    async with connection.sender("q") as sender:
        await sender.send(Message(Data(inner), message_format=0x80013700))
        with pytest.raises(Rejected):
            await sender.send(Message(Data([b"\xff"]), message_format=0x80013700))
    async with receiver(connection) as link:
        assert [d.body for d in await take(link, 3)] == ["0", "1", "2"]
