"""What clients may do with links, and what comes of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import uamqp.aio as amqp
from uamqp.broker import Broker
from uamqp.broker.nodes import DEAD_LETTER_DESCRIPTION, DEAD_LETTER_REASON, DEAD_LETTER_SOURCE
from uamqp.codec.composite import Composite
from uamqp.codec.definitions import (
    ACCEPTED,
    Coordinator,
    DeleteOnNoLinks,
    Modified,
    Rejected,
    Source,
    Target,
)
from uamqp.codec.performatives import Attach, Begin, Close, Detach, Disposition, End, Flow, Transfer
from uamqp.codec.values import Described, Symbol
from uamqp.exceptions import (
    AMQPError,
    InDoubt,
    LinkDetached,
    LinkStolen,
    MessageTooLarge,
    OperationTimeout,
    SessionEnded,
)
from uamqp.exceptions import Rejected as RejectedError

from .conftest import Starter
from .helpers import BOUND, Raw, attach, client, cut, eventually, put, take

Keeper = Callable[[Awaitable[Raw]], Awaitable[Raw]]


def condition_of(caught: pytest.ExceptionInfo[Any]) -> str | None:
    error: AMQPError = caught.value
    return error.condition


# -- queues -----------------------------------------------------------------------------------------------------------


async def test_a_queue_is_made_by_attaching(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "q", "one", b"two")
        assert broker.queue("q").length == 2
        assert await take(connection, "q", 2) == ["one", b"two"]
    await eventually(lambda: broker.queue("q").length == 0)


async def test_payloads_are_passed_on_as_they_came(broker: Broker) -> None:
    # A body that is no valid AMQP is no business of the broker.
    payload = b"\x00\x53\x70\xc0\x02\x01\x41\x00\x53\x77\xa1\x02\xff\xfe"
    async with client(broker) as connection, connection.sender("q") as sender, connection.receiver("q") as receiver:
        await sender._endpoint.context.settlement(sender._endpoint.send(payload))
        delivery = await receiver.receive()
        assert delivery.payload == payload
        delivery.release()
        delivery = await receiver.receive()
        assert delivery.payload.endswith(payload[7:])
        delivery.accept()


async def test_names_of_one_queue(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "/q", 1)
        await put(connection, f"{broker.url}/q", 2)
        assert await take(connection, "q", 2) == [1, 2]


async def test_without_auto_create_only_declared_nodes_exist(start: Starter) -> None:
    broker = await start(auto_create=False)
    broker.queue("known")
    async with client(broker) as connection:
        await put(connection, "known", 1)
        for open_link in (connection.sender, connection.receiver):
            with pytest.raises(LinkDetached) as caught:
                await open_link("unknown" * 100)
            assert condition_of(caught) == "amqp:not-found"


@pytest.mark.parametrize("address", ["", "$unknown"])
async def test_some_names_are_never_made(broker: Broker, address: str) -> None:
    async with client(broker) as connection:
        with pytest.raises(LinkDetached) as caught:
            await connection.sender(address)
        assert condition_of(caught) == "amqp:not-found"


async def test_a_capability_makes_a_topic(broker: Broker) -> None:
    async with client(broker) as connection, connection.sender("t", capabilities=["topic"]):
        pass
    assert broker.topic("t").subscriptions == []


async def test_a_full_queue_rejects(start: Starter) -> None:
    broker = await start(max_queue_length=1)
    async with client(broker) as connection, connection.sender("q") as sender:
        await sender.send("1")
        with pytest.raises(RejectedError, match="full") as caught:
            await sender.send("2")
        assert condition_of(caught) == "amqp:resource-limit-exceeded"
        assert broker.refused == 1
        assert await take(connection, "q") == ["1"]
        await sender.send("3")


async def test_a_full_queue_loses_what_is_sent_settled(start: Starter) -> None:
    broker = await start(max_queue_length=1)
    async with client(broker) as connection, connection.sender("q") as sender:
        await sender.send("1")
        await sender.send("2", settled=True)
        await eventually(lambda: broker.refused == 1)
        assert broker.queue("q").length == 1


async def test_the_number_of_nodes_is_limited(start: Starter) -> None:
    broker = await start(max_queues=5)
    broker.topic("t")
    async with client(broker) as connection:
        async with connection.receiver("t"), connection.sender("q"):
            for address, dynamic in (("q2", False), (None, True), ("t", False)):
                with pytest.raises(LinkDetached) as caught:
                    await connection.receiver(address, dynamic=dynamic)
                assert condition_of(caught) == "amqp:resource-limit-exceeded"
        async with connection.receiver("t"):
            pass


async def test_consumers_compete_in_turn(broker: Broker) -> None:
    async with client(broker) as connection, client(broker) as other:
        receivers = [await connection.receiver("q"), await other.receiver("q"), await other.receiver("q")]
        await eventually(lambda: broker.queue("q").consumers == 3)
        # Credit arrives some time after the attach; only then is everybody's turn certain.
        await eventually(lambda: all(c.has_credit for c in broker.queue("q")._consumers))
        await put(connection, "q", *range(9))
        await eventually(lambda: [r.queued for r in receivers] == [3, 3, 3])


async def test_a_lost_consumer_gives_back_and_counts(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "q", "x")
        async with client(broker) as other:
            receiver = await other.receiver("q")
            assert (await receiver.receive()).message.header.delivery_count is None
            cut(other)
            await other.wait_closed()
        async with connection.receiver("q") as receiver:
            delivery = await receiver.receive()
            assert delivery.message.header.delivery_count == 1
            assert delivery.message.header.first_acquirer is False
            delivery.accept()


async def test_a_released_message_does_not_count(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("q") as receiver:
        await put(connection, "q", "x")
        (await receiver.receive()).release()
        delivery = await receiver.receive()
        assert delivery.message.header.delivery_count == 0
        delivery.modify(delivery_failed=True, annotations={"x-opt-note": "hm"})
        delivery = await receiver.receive()
        assert delivery.message.header.delivery_count == 1
        assert delivery.message.annotations == {"x-opt-note": "hm"}
        delivery.accept()
    await eventually(lambda: broker.queue("q").length == 0)


async def test_undeliverable_here(broker: Broker) -> None:
    async with client(broker) as connection:
        first = await connection.receiver("q")
        await put(connection, "q", "x", "y")
        (await first.receive()).modify(undeliverable_here=True)
        delivery = await first.receive()
        assert delivery.body == "y"
        delivery.accept()
        assert await take(connection, "q") == ["x"]


async def test_dead_letters(start: Starter) -> None:
    broker = await start(dead_letter="dead", max_deliveries=2, auto_create=False)
    broker.queue("q")
    async with client(broker) as connection:
        await put(connection, "q", "bad", "cursed", amqp.Message("old", header=amqp.Header(ttl=1)))
        async with connection.receiver("q", credit=amqp.Manual()) as receiver:
            await eventually(lambda: broker.queue("q").length == 2)
            receiver.flow(1)
            (await receiver.receive()).reject("com.example:bad", "so bad")
            for _ in range(2):
                receiver.flow(1)
                (await receiver.receive()).modify(delivery_failed=True)
        found = {}
        async with connection.receiver("dead") as receiver:
            for _ in range(3):
                delivery = await receiver.receive()
                annotations = delivery.message.annotations
                assert annotations[DEAD_LETTER_SOURCE] == "q"
                found[delivery.body] = (annotations[DEAD_LETTER_REASON], annotations[DEAD_LETTER_DESCRIPTION])
                delivery.accept()
    assert found == {
        "bad": ("com.example:bad", "so bad"),
        "cursed": ("max-deliveries", "2 deliveries failed"),
        "old": ("expired", "the message lived longer than its time to live"),
    }


@pytest.mark.parametrize("session", [False, True])
async def test_what_ends_as_a_whole_counts_as_one_failed_delivery(start: Starter, session: bool) -> None:
    """A message is not handed to the next link of a connection, or a session, that is about to end."""
    broker = await start(dead_letter="dead", max_deliveries=2)
    async with client(broker) as connection, client(broker) as other:
        shared = await connection.session()
        links = [await shared.receiver("q", credit=amqp.Manual()) for _ in range(3)]
        for link in links:
            link.flow(1)
        await put(other, "q", "x")
        await eventually(lambda: any(link.queued for link in links))
        if session:
            (peer,) = (p for p in broker._connections if [len(s.links) for s in p.engine.sessions] == [3])
            peer.engine.sessions[0].fail("amqp:internal-error", "over")
        else:
            cut(connection)
        await eventually(lambda: len(broker.queue("q")) == 1)
        async with other.receiver("q") as link:
            delivery = await link.receive(timeout=BOUND)
            assert delivery.message.header.delivery_count == 1
            delivery.accept()
    assert broker.find("dead") is None


async def test_subscriptions_and_temporary_queues_have_dead_letters(start: Starter) -> None:
    broker = await start(dead_letter="dead", max_deliveries=2)
    topic = broker.topic("t")
    async with client(broker) as connection:
        for address in ("t", None):
            async with connection.receiver(address, dynamic=address is None) as receiver:
                await put(connection, receiver.address, "rejected", "failed")
                (await receiver.receive()).reject("app:bad")
                for _ in range(2):
                    (await receiver.receive()).modify(delivery_failed=True)
                assert await take(connection, "dead", 2) == ["rejected", "failed"]
    assert topic.subscriptions == []


async def test_a_dead_letter_queue_of_ones_own(broker: Broker) -> None:
    broker.queue("q", dead_letter="t", max_deliveries=1)
    broker.topic("t")
    broker.queue("t2", dead_letter="t2", max_deliveries=1)
    async with client(broker) as connection, connection.receiver("t") as listener:
        for name in ("q", "t2"):
            await put(connection, name, name)
            async with connection.receiver(name) as receiver:
                (await receiver.receive()).modify(delivery_failed=True)
        assert (await listener.receive()).body == "q"
        # A queue is not its own dead-letter queue.
        await eventually(lambda: broker.queue("t2").length == 0)


async def test_a_full_dead_letter_queue_loses_letters_only(start: Starter) -> None:
    broker = await start(dead_letter="dead")
    broker.queue("dead", max_length=1)
    async with client(broker) as connection, connection.receiver("q") as receiver:
        await put(connection, "q", 1, 2, 3)
        for _ in range(3):
            (await receiver.receive()).reject()
        await eventually(lambda: broker.refused == 2)
        assert broker.queue("dead").length == 1
        assert broker.queue("q").length == 0


async def test_messages_expire_while_they_wait(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "q", amqp.Message("x", header=amqp.Header(ttl=1)))
        await put(connection, "q", amqp.Message("x", properties=amqp.Properties(absolute_expiry_time=1)))
        await eventually(lambda: broker.queue("q").length == 0)


@pytest.mark.parametrize("side", ["sender", "receiver"])
async def test_a_deleted_queue_detaches_everybody(broker: Broker, side: str) -> None:
    async with client(broker) as connection:
        link: Any = await getattr(connection, side)("q" * 200)
        broker.delete("q" * 200)
        await eventually(lambda: link.error is not None)
        assert link.error.condition == "amqp:resource-deleted"
        assert isinstance(link.error, LinkDetached)
        # The link is gone, not the name.
        await put(connection, "q" * 200, 1)
        broker.delete("unknown")


async def test_what_arrives_behind_the_deletion_is_refused(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    await raw.attach()
    await raw.read(Flow)
    queue = broker.queue("q")
    broker.delete("q")
    raw.transfer(amqp.Message("x").encode())
    await raw.read(Detach)
    assert queue.length == 0


async def test_a_client_settles_without_outcome(broker: Broker, raws: Keeper) -> None:
    async with client(broker) as connection:
        await put(connection, "q", 1)
    raw = await raws(Raw.begin(broker))
    answer = await raw.attach(sends=False, source=Source(address="q", default_outcome=Modified(delivery_failed=True)))
    assert isinstance(answer.source, Source)
    assert answer.source.default_outcome == Modified(delivery_failed=True)
    raw.flow(1)
    await raw.read(Transfer)
    raw.send(Disposition(True, 0, settled=True))
    await eventually(lambda: len(broker.queue("q")) == 1)
    raw.flow(2)
    await raw.read(Transfer)


async def test_the_agreed_source_tells_the_truth(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    source = Source(address="q", filter={Symbol("f"): Described("apache.org:selector-filter:string", "a = 1")})
    agreed = (await raw.attach(sends=False, source=source)).source
    assert isinstance(agreed, Source)
    assert agreed.filter is None
    assert agreed.distribution_mode == "move"
    assert agreed.outcomes == (
        "amqp:accepted:list",
        "amqp:rejected:list",
        "amqp:released:list",
        "amqp:modified:list",
    )


# -- topics -----------------------------------------------------------------------------------------------------------


def durable(address: str = "t") -> Source:
    return Source(address=address, durable=2, expiry_policy="never")


async def test_subscribers_get_what_is_sent_while_they_are_there(broker: Broker) -> None:
    broker.topic("t")
    async with client(broker) as connection:
        await put(connection, "t", "before")
        async with connection.receiver("t") as first, connection.receiver("t") as second:
            await put(connection, "t", "x")
            for receiver in (first, second):
                delivery = await receiver.receive()
                assert delivery.body == "x"
                delivery.accept()
        await eventually(lambda: broker.topic("t").subscriptions == [])


async def test_a_durable_subscription_outlives_its_link(broker: Broker) -> None:
    broker.topic("t")
    async with client(broker, container_id="me") as connection:
        receiver = await connection.receiver(None, source=durable(), name="sub")
        receiver._endpoint.detach(closed=False)
        await eventually(lambda: receiver.error is not None)
        assert broker.topic("t").subscriptions == ["me/sub"]
        await put(connection, "t", 1)
    async with client(broker, container_id="me") as connection:
        # It also outlives session and connection.
        await connection.receiver(None, source=durable(), name="sub", credit=amqp.Manual())
        await put(connection, "t", 2)
    async with client(broker, container_id="me") as connection:
        async with connection.receiver(None, source=durable(), name="sub") as receiver:
            for body in (1, 2):
                delivery = await receiver.receive()
                assert delivery.body == body
                delivery.accept()
        assert broker.topic("t").subscriptions == []


async def test_durable_subscriptions_belong_to_container_and_name(broker: Broker) -> None:
    broker.topic("t")
    async with client(broker, container_id="me") as me, client(broker, container_id="you") as you:
        links = [
            await me.receiver(None, source=durable(), name="a"),
            await me.receiver(None, source=durable(), name="b"),
            await you.receiver(None, source=durable(), name="a"),
        ]
        assert broker.topic("t").subscriptions == ["me/a", "me/b", "you/a"]
        await put(me, "t", "x")
        for link in links:
            assert (await link.receive()).body == "x"


async def test_a_durable_subscription_has_one_consumer(broker: Broker) -> None:
    broker.topic("t")
    async with client(broker, container_id="me") as first, client(broker, container_id="me") as second:
        old = await first.receiver(None, source=durable(), name="sub")
        await put(first, "t", "x")
        await old.receive()
        new = await second.receiver(None, source=durable(), name="sub")
        await eventually(lambda: old.error is not None)
        assert isinstance(old.error, LinkStolen)
        delivery = await new.receive()
        assert delivery.message.header.delivery_count == 1
        delivery.accept()
        assert broker.topic("t").subscriptions == ["me/sub"]


async def test_a_deleted_topic_detaches_its_subscribers(broker: Broker) -> None:
    broker.topic("t")
    async with client(broker) as connection:
        links: list[Any] = [await connection.receiver("t"), await connection.sender("t")]
        broker.delete("t")
        await eventually(lambda: all(link.error is not None for link in links))
        assert {link.error.condition for link in links} == {"amqp:resource-deleted"}


# -- dynamic nodes ----------------------------------------------------------------------------------------------------


async def test_a_dynamic_source(broker: Broker) -> None:
    async with client(broker) as connection, client(broker) as other:
        async with connection.receiver(None, dynamic=True) as receiver:
            address = receiver.address
            assert address
            await put(other, address, "x")
            delivery = await receiver.receive()
            assert delivery.body == "x"
            delivery.accept()
            with pytest.raises(LinkDetached) as caught:
                await other.receiver(address)
            assert condition_of(caught) == "amqp:not-allowed"
            # The one that made it may have more links there.
            await put(connection, address, "y")
            async with connection.receiver(address):
                pass
            replier = await other.sender(address)
        await eventually(lambda: broker.find(address) is None)
        await eventually(lambda: replier.error is not None)
        assert replier.error is not None
        assert replier.error.condition == "amqp:resource-deleted"


async def test_a_dynamic_target(broker: Broker) -> None:
    async with client(broker) as connection, client(broker) as other:
        properties = {Symbol("lifetime-policy"): DeleteOnNoLinks()}
        target = Target(dynamic=True, dynamic_node_properties=properties)
        async with connection.sender(None, target=target) as sender:
            address = sender.address
            assert address
            await sender.send("x")
            assert await take(connection, address) == ["x"]
            with pytest.raises(LinkDetached):
                await other.receiver(address)
        await eventually(lambda: broker.find(address) is None)


async def test_dynamic_nodes_end_with_their_connection(broker: Broker) -> None:
    async with client(broker) as connection:
        receiver = await connection.receiver(None, dynamic=True)
        assert broker.find(receiver.address or "") is not None
        cut(connection)
        await eventually(lambda: broker.find(receiver.address or "") is None)


@pytest.mark.parametrize(
    "terminus",
    [
        {"address": "q", "dynamic": True},
        {"dynamic": True, "dynamic_node_properties": {Symbol("lifetime-policy"): Symbol("for-ever")}},
    ],
    ids=["address", "policy"],
)
async def test_bad_dynamic_nodes_are_refused(broker: Broker, terminus: dict[str, Any]) -> None:
    async with client(broker) as connection:
        for opening in (
            connection.receiver(None, source=Source(**terminus)),
            connection.sender(None, target=Target(**terminus)),
        ):
            with pytest.raises(LinkDetached) as caught:
                await opening
            assert condition_of(caught) == "amqp:invalid-field"
    assert len(broker.list_nodes()) == 0


# -- anonymous relay --------------------------------------------------------------------------------------------------


async def test_the_anonymous_relay(broker: Broker) -> None:
    broker.queue("a")
    broker.topic("b")
    async with client(broker) as connection, connection.receiver("b") as subscriber:
        assert "ANONYMOUS-RELAY" in connection.remote_offered_capabilities
        async with connection.sender(None) as sender:
            await sender.send(amqp.Message(1, properties=amqp.Properties(to="a")))
            await sender.send(amqp.Message(2, properties=amqp.Properties(to=f"{broker.url}/b")))
            for properties, condition in (
                (amqp.Properties(to="unknown"), "amqp:not-found"),
                (amqp.Properties(), "amqp:precondition-failed"),
            ):
                with pytest.raises(RejectedError) as caught:
                    await sender.send(amqp.Message(3, properties=properties))
                assert condition_of(caught) == condition
        assert await take(connection, "a") == [1]
        assert (await subscriber.receive()).body == 2


# -- credit, drain, settle modes, sizes --------------------------------------------------------------------------------


async def test_producers_get_credit_again(start: Starter) -> None:
    broker = await start(link_credit=4)
    async with client(broker) as connection, connection.sender("q") as sender:
        assert sender.credit == 4
        await sender.send_many(range(50))
        assert broker.queue("q").length == 50


async def test_producers_get_credit_again_for_what_they_abort(start: Starter, raws: Keeper) -> None:
    broker = await start(link_credit=1)
    raw = await raws(Raw.begin(broker))
    await raw.attach()
    assert (await raw.read(Flow)).link_credit == 1
    for number in range(3):
        raw.transfer(b"\x00\x53\x77", number, more=True)
        raw.transfer(b"", number, aborted=True)
        assert (await raw.read(Flow)).link_credit == 1
    assert broker.queue("q").length == 0


async def test_consumers_get_no_more_than_their_credit(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("q", credit=amqp.Manual()) as receiver:
        await put(connection, "q", *range(5))
        receiver.flow(2)
        await eventually(lambda: receiver.queued == 2)
        assert len(broker.queue("q")) == 3
        receiver.flow(10)
        await eventually(lambda: receiver.queued == 5)


async def test_drain(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("q", credit=amqp.Manual()) as receiver:
        receiver.flow(10)
        await receiver.drain()
        assert (receiver.queued, receiver.credit) == (0, 0)
        await put(connection, "q", *range(3))
        receiver.flow(10)
        await receiver.drain()
        assert (receiver.queued, receiver.credit) == (3, 0)
        await put(connection, "q", 4)
        assert len(broker.queue("q")) == 1


async def test_drain_waits_for_what_is_on_its_way(broker: Broker) -> None:
    body = bytes(3_000_000)
    async with client(broker) as connection, connection.receiver("q", credit=amqp.Manual()) as receiver:
        await put(connection, "q", body, body)
        receiver.flow(5)
        await receiver.drain()
        assert (receiver.queued, receiver.credit) == (2, 0)


async def test_large_messages_follow_one_another_without_an_outcome(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("q") as receiver:
        await put(connection, "q", *[bytes(2_000_000)] * 4)
        await eventually(lambda: receiver.queued == 4)


async def test_a_small_session_window_does_not_stop_the_flow(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "q", *[bytes(200_000)] * 5)
        async with connection.session(incoming_window=2) as session:
            receiver = await session.receiver("q")
            await eventually(lambda: receiver.queued == 5)


@pytest.mark.parametrize("mode", ["settled", "unsettled", "mixed"])
async def test_sender_settle_modes_of_consumers(broker: Broker, mode: str) -> None:
    async with client(broker) as connection:
        await put(connection, "q", 1, bytes(300_000))
        async with connection.receiver("q", sender_settle_mode=mode) as receiver:
            for _ in range(2):
                delivery = await receiver.receive()
                assert delivery.presettled is (mode == "settled")
                delivery.accept()
            await eventually(lambda: broker.queue("q").length == 0)


@pytest.mark.parametrize("mode", ["settled", "unsettled", "mixed"])
async def test_settle_modes_of_producers(broker: Broker, mode: str) -> None:
    async with client(broker) as connection:
        async with connection.sender("q", settle_mode=mode) as sender:
            delivery = await sender.send(1)
            assert delivery.presettled is (mode == "settled")
            if mode == "mixed":
                await sender.send(2, settled=True)
        await eventually(lambda: broker.queue("q").length == (2 if mode == "mixed" else 1))


async def test_receiver_settle_mode_second(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "q", 1, 2)
        async with connection.receiver("q", settle_mode="second") as receiver:
            delivery = await receiver.receive()
            delivery.accept()
            await receiver.confirmed(delivery)
            delivery = await receiver.receive()
            delivery.reject("com.example:bad")
            await receiver.confirmed(delivery)
        assert broker.queue("q").length == 0


async def test_producers_are_settled_at_once(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    answer = await raw.attach(rcv_settle_mode=1)
    assert answer.rcv_settle_mode == 0
    raw.transfer(amqp.Message(1).encode(), settled=False)
    disposition = await raw.read(Disposition)
    assert (disposition.settled, disposition.state) == (True, ACCEPTED)


async def test_max_message_size(start: Starter) -> None:
    broker = await start(max_message_size=1000)
    async with client(broker) as connection:
        async with connection.sender("q") as sender:
            assert sender.max_message_size == 1000
            with pytest.raises(MessageTooLarge):
                await sender.send(bytes(1001))
            await sender.send(bytes(900))
            # One who ignores what it was told.
            sender._endpoint.remote_max_message_size = 0
            with pytest.raises(InDoubt) as caught:
                await sender.send(bytes(200_000))
            assert condition_of(caught) == "amqp:link:message-size-exceeded"
            assert isinstance(sender.error, MessageTooLarge)
        await put(connection, "q", 1)


async def test_a_message_too_large_for_one_consumer_waits_for_another(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("q", max_message_size=1000) as small:
        await put(connection, "q", bytes(2000), b"x")
        delivery = await small.receive()
        assert delivery.body == b"x"
        delivery.accept()
        assert await take(connection, "q") == [bytes(2000)]


async def test_the_largest_messages_pass(broker: Broker) -> None:
    body = bytes(range(256)) * 20_000
    async with client(broker) as connection:
        await put(connection, "q", body)
        assert await take(connection, "q") == [body]


async def test_a_client_that_does_not_read_holds_up_nobody(broker: Broker, raws: Keeper) -> None:
    payload = amqp.Message(bytes(50_000)).encode()
    raw = await raws(Raw.begin(broker))
    stream: Any = raw.writer.transport
    stream.pause_reading()
    raw.send(attach(sends=False, snd_settle_mode=1))
    raw.flow(1_000_000, incoming_window=1_000_000)
    async with client(broker) as connection, connection.sender("q") as sender:
        await eventually(lambda: broker.queue("q").consumers == 1)
        # As far as it reads, it loses what is sent settled; the rest stays in the queue, not in memory of the socket.
        while broker.queue("q").length < 20:
            await sender._endpoint.context.settlement(sender._endpoint.send(payload))
        assert await take(connection, "q", 5) == [bytes(50_000)] * 5
    left = broker.queue("q").length
    stream.resume_reading()
    for _ in range(left):
        await raw.read(Transfer)
    await eventually(lambda: broker.queue("q").length == 0)


async def test_a_client_that_reads_no_answers_is_not_read_from(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    await raw.attach(address=None, name="anonymous")
    stream: Any = raw.writer.transport
    stream.pause_reading()
    lost = amqp.Message(0, properties=amqp.Properties(to="unknown")).encode()
    accepted: Any = next(iter(broker._connections.values())).transport
    for transport, option in ((accepted, socket.SO_SNDBUF), (stream, socket.SO_RCVBUF)):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, option, 4096)
    accepted.set_write_buffer_limits(high=4096)
    echo = Flow(next_incoming_id=0, incoming_window=100, next_outgoing_id=0, outgoing_window=0, echo=True)
    async with asyncio.timeout(BOUND):
        # Each of these is answered: more than sockets and buffers hold, until the broker stops reading.
        while accepted.is_reading():
            for _ in range(500):
                raw.send(echo)
            await asyncio.sleep(0)
    raw.transfer(lost)
    stream.resume_reading()
    disposition = await raw.read(Disposition)
    assert isinstance(disposition.state, Rejected)
    assert accepted.is_reading()


# -- errors in their scope ---------------------------------------------------------------------------------------------


async def test_a_damaged_message_is_rejected(broker: Broker) -> None:
    sound = amqp.Message("x", annotations={Symbol("a"): 1}).encode()
    damaged = [
        b"\x00",
        b"no message at all",
        # Annotations that say they are a map of one item.
        sound.replace(sound[:10], sound[:5] + b"\x01" + sound[6:10], 1),
        b"\x00\x53\x70\xc0\x02\x01\xff" + sound,
    ]
    async with client(broker) as connection, connection.sender("q") as sender:
        for payload in damaged:
            with pytest.raises(RejectedError) as caught:
                await sender._endpoint.context.settlement(sender._endpoint.send(payload))
            assert condition_of(caught) == "amqp:decode-error"
        await sender.send("sound")
    assert broker.queue("q").length == 1


@pytest.mark.parametrize(
    ("terminus", "condition"),
    [
        ({"sends": True, "target": Coordinator()}, "amqp:not-implemented"),
        ({"sends": True, "target": None}, "amqp:invalid-field"),
        ({"sends": False, "source": None}, "amqp:invalid-field"),
        ({"sends": False, "source": Source()}, "amqp:invalid-field"),
        ({"sends": False, "source": Source(address="q", distribution_mode="copy")}, "amqp:not-implemented"),
        ({"sends": False, "source": Source(address="$x")}, "amqp:not-found"),
    ],
    ids=["coordinator", "no-target", "no-source", "no-address", "browse", "not-found"],
)
async def test_refused_links(broker: Broker, raws: Keeper, terminus: dict[str, Any], condition: str) -> None:
    raw = await raws(Raw.begin(broker))
    raw.send(attach(**terminus))
    if not terminus["sends"]:
        # Many clients give credit before they hear of the refusal.
        raw.flow(10)
    answer = await raw.read(Attach)
    assert (answer.target if terminus["sends"] else answer.source) is None
    detach = await raw.read(Detach)
    assert detach.closed
    assert detach.error is not None
    assert detach.error.condition == condition
    raw.send(Detach(0, True))
    # The handle and the session are good for another link.
    await raw.attach()
    await raw.read(Flow)


async def test_a_missing_source_or_target_of_the_other_side_is_fine(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    answer = await raw.attach(source=None)
    assert answer.source == Source()
    raw.send(Detach(0, True))
    await raw.read(Detach)
    answer = await raw.attach(sends=False, target=None)
    assert answer.target == Target()


@pytest.mark.parametrize("sends", [True, False])
@pytest.mark.parametrize("refused", [True, False])
async def test_an_answer_too_large_for_the_client(broker: Broker, raws: Keeper, sends: bool, refused: bool) -> None:
    raw = await raws(Raw.begin(broker, max_frame_size=512))
    properties = {Symbol(f"p{n}"): "x" * 50 for n in range(20)}
    terminus: dict[str, Any] = {"address": "$unknown" if refused else "q", "dynamic_node_properties": properties}
    raw.send(attach(sends=sends, source=Source(**terminus), target=Target(**terminus)))
    end = await raw.read(End)
    assert end.error is not None
    assert end.error.condition == "amqp:frame-size-too-small"
    raw.send(End())
    raw.send(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100))
    await raw.attach(sends=sends)
    assert broker.queue("q").consumers == (0 if sends else 1)
    assert len(broker.queue("q").producers) == (1 if sends else 0)


@pytest.mark.parametrize("dynamic", [True, False])
async def test_what_was_made_for_an_answer_that_is_too_large_goes(broker: Broker, raws: Keeper, dynamic: bool) -> None:
    topic = broker.topic("t")
    raw = await raws(Raw.begin(broker, max_frame_size=512))
    properties = {Symbol(f"p{n}"): "x" * 50 for n in range(20)}
    address: dict[str, Any] = {"dynamic": True} if dynamic else {"address": "t"}
    raw.send(attach(sends=False, source=Source(dynamic_node_properties=properties, **address)))
    await raw.read(End)
    assert topic.subscriptions == []
    assert broker.list_nodes() == [["t", "topic"]]


async def test_descriptions_fit_in_the_frames_of_the_client(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker, max_frame_size=512))
    await raw.attach(address=None)
    raw.transfer(amqp.Message(0, properties=amqp.Properties(to="🐇" * 200)).encode())
    disposition = await raw.read(Disposition)
    assert isinstance(disposition.state, Rejected)
    assert len(disposition.encode()) < 500


async def test_a_transfer_without_credit_detaches(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    raw.send(attach(target=Target(address="$unknown")))
    raw.transfer(amqp.Message(0).encode())
    await raw.read(Detach)
    raw.send(Detach(0, True))
    await raw.attach(name="other")


async def test_session_errors_end_the_session(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    raw.send(Transfer(7, 0, b"0"), b"")
    end = await raw.read(End)
    assert end.error is not None
    assert end.error.condition == "amqp:session:unattached-handle"
    raw.send(End())
    raw.send(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100))
    await raw.read(Begin)


async def test_connection_errors_end_the_connection(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker))
    raw.send(Flow(incoming_window=1, next_outgoing_id=0, outgoing_window=1), channel=9)
    close = await raw.read(Close)
    assert close.error is not None
    assert close.error.condition == "amqp:illegal-state"
    raw.send(Close())
    await raw.wait_closed()
    await eventually(lambda: broker.connections == 0)


async def test_too_many_links(start: Starter) -> None:
    broker = await start(handle_max=1)
    async with client(broker) as connection, connection.session() as session:
        await session.sender("q")
        await session.sender("q")
        with pytest.raises(AMQPError, match="no free handle"):
            await session.sender("q")


async def test_a_handle_over_the_limit_ends_the_connection(start: Starter, raws: Keeper) -> None:
    raw = await raws(Raw.begin(await start(handle_max=1)))
    raw.send(attach(handle=2))
    close = await raw.read(Close)
    assert close.error is not None
    assert close.error.condition == "amqp:connection:framing-error"


async def test_an_ended_session_gives_back_what_it_had(broker: Broker) -> None:
    async with client(broker) as connection:
        await put(connection, "q", 1)
        async with connection.session() as session:
            receiver = await session.receiver("q")
            await receiver.receive()
        assert isinstance(receiver.error, AMQPError)
        assert not isinstance(receiver.error, SessionEnded)
        await eventually(lambda: broker.queue("q").consumers == 0 and len(broker.queue("q")) == 1)


async def test_nobody_is_there_to_receive(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("q") as receiver:
        with pytest.raises(OperationTimeout):
            await receiver.receive(timeout=0.01)


async def test_more_sessions_than_the_client_allowed_itself(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker, channel_max=0))
    raw.send(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100), channel=1)
    close = await raw.read(Close)
    assert close.error is not None
    assert close.error.condition == "amqp:resource-limit-exceeded"


async def test_errors_that_name_long_names_end_something(broker: Broker, raws: Keeper) -> None:
    raw = await raws(Raw.begin(broker, max_frame_size=512))
    await raw.attach(name="n" * 400)
    await raw.read(Flow)
    raw.flow(0, delivery_count=5000)
    answer = await raw.read(Composite)
    assert isinstance(answer, Detach | Close)
    assert answer.error is not None
