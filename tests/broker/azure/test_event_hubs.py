"""Event hubs of the azure personality, with our own client."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest

import uamqp.aio as amqp
from uamqp.broker import Azure, Broker
from uamqp.broker.azure.hub import Event, Hub
from uamqp.codec.message import Data, Message
from uamqp.codec.values import Described, Symbol
from uamqp.engine.delivery import IncomingDelivery
from uamqp.exceptions import LinkDetached, Rejected

from ..conftest import Starter
from ..helpers import BOUND, client, eventually, put

SELECTOR = "apache.org:selector-filter:string"
FIRST = "h/ConsumerGroups/$Default/Partitions/0"


@pytest.fixture
async def broker(start: Starter) -> Broker:
    return await start(personality=Azure(hubs={"h": 2}))


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[amqp.Connection]:
    async with client(broker) as connection:
        yield connection


def receiver(connection: amqp.Connection, address: str = FIRST, where: str | None = None, **options: Any) -> Any:
    if where is not None:
        selector = f"amqp.annotation.x-opt-{where}"
        options["filters"] = {Symbol(SELECTOR): Described(Symbol(SELECTOR), selector)}
    return connection.receiver(address, **options)


async def take(link: amqp.Receiver, count: int = 1) -> list[IncomingDelivery]:
    deliveries = [await link.receive(timeout=BOUND) for _ in range(count)]
    for delivery in deliveries:
        delivery.accept()
    return deliveries


async def read(connection: amqp.Connection, kind: str, **properties: Any) -> tuple[int, Any]:
    request = Message(None, application_properties={"operation": "READ", "type": f"com.microsoft:{kind}", **properties})
    answer = await connection.request("$management", request)
    return answer.application_properties["status-code"], answer.body


def hub(broker: Broker, name: str = "h") -> Hub:
    found = broker.find(name)
    assert isinstance(found, Hub)
    return found


async def test_events_stay_for_everybody(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "h/Partitions/0", "1", "2")
    for address in (FIRST, "H/consumergroups/other/partitions/0", "h/Partitions/0"):
        async with receiver(connection, address) as link:
            one, two = await take(link, 2)
            assert (one.body, two.body) == ("1", "2")
            annotations = two.message.annotations
            assert annotations["x-opt-sequence-number"] == 1
            assert int(annotations["x-opt-offset"]) > 0
            assert datetime.now(UTC) - annotations["x-opt-enqueued-time"] < timedelta(minutes=1)
    assert len(hub(broker).partitions["0"].events) == 2


async def test_who_is_there_already_gets_what_comes(connection: amqp.Connection) -> None:
    async with receiver(connection, prefetch=2) as link:
        await put(connection, "h/Partitions/0", *"abcdef")
        assert [d.body for d in await take(link, 6)] == list("abcdef")


async def test_events_sent_settled(connection: amqp.Connection) -> None:
    async with receiver(connection, sender_settle_mode="settled") as link:
        await put(connection, "h/Partitions/0", "x")
        assert (await take(link))[0].presettled


async def test_partitions_are_filled_in_turn_or_by_key(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "h", "1", "2", "3", "4")
    counts = [len(p.events) for p in hub(broker).partitions.values()]
    assert counts == [2, 2]
    keyed = Message("x", annotations={"x-opt-partition-key": "k"})
    await put(connection, "h", keyed, keyed, keyed)
    assert sorted(len(p.events) for p in hub(broker).partitions.values()) == [2, 5]


async def test_batches(broker: Broker, connection: amqp.Connection) -> None:
    inner = [Message(str(n)).encode() for n in range(3)]
    batch = Message(Data(inner), annotations={"x-opt-partition-key": "k"}, message_format=0x80013700)
    await put(connection, "h", batch)
    (filled,) = (p for p in hub(broker).partitions.values() if p.events)
    async with receiver(connection, filled.name) as link:
        deliveries = await take(link, 3)
        assert [d.body for d in deliveries] == ["0", "1", "2"]
        assert all(d.message.annotations["x-opt-partition-key"] == "k" for d in deliveries)


@pytest.mark.parametrize("address", ["h", "h/Partitions/0"])
@pytest.mark.parametrize("damaged", [b"\xff", b"\x00\x53\x72\xa1\x00"])
async def test_of_a_damaged_batch_nothing_is_taken(
    broker: Broker, connection: amqp.Connection, address: str, damaged: bytes
) -> None:
    batch = Message(Data([Message("x").encode(), damaged]), message_format=0x80013700)
    with pytest.raises(Rejected):
        await put(connection, address, batch)
    assert not any(p.events for p in hub(broker).partitions.values())


@pytest.mark.parametrize("address", ["h", "h/Partitions/0"])
@pytest.mark.parametrize("size", [960, 2000])
async def test_an_event_that_can_never_fit_drops_no_others(start: Starter, address: str, size: int) -> None:
    # The smaller one is too large only with what the partition writes into it.
    broker = await start(personality=Azure(hubs={"h": 1}), max_queue_bytes=1000)
    async with client(broker) as connection:
        await put(connection, address, "kept")
        with pytest.raises(Rejected) as refused:
            await put(connection, address, "x" * size)
        assert refused.value.condition == "amqp:resource-limit-exceeded"
        assert len(hub(broker).partitions["0"].events) == 1
        await put(connection, address, "y" * 700, "z" * 700)
        assert len(hub(broker).partitions["0"].events) == 1


async def test_of_a_batch_that_can_never_fit_nothing_is_taken(start: Starter) -> None:
    broker = await start(personality=Azure(hubs={"h": 2}), max_queue_length=2)
    async with client(broker) as connection:
        await put(connection, "h", "kept")
        batch = Message(Data([Message("x").encode()] * 3), message_format=0x80013700)
        with pytest.raises(Rejected):
            await put(connection, "h", batch)
        assert sum(len(p.events) for p in hub(broker).partitions.values()) == 1


async def test_events_for_which_the_broker_has_no_room_are_refused(start: Starter) -> None:
    broker = await start(personality=Azure(hubs={"h": 1, "other": 1}), max_bytes=5000)
    async with client(broker) as connection:
        await put(connection, "other", "x" * 4000)
        with pytest.raises(Rejected) as refused:
            await put(connection, "h", "y" * 900)
        assert refused.value.condition == "amqp:resource-limit-exceeded"
    assert (len(hub(broker).partitions["0"].events), len(hub(broker, "other").partitions["0"].events)) == (0, 1)


async def test_a_receiver_reads_on_without_going_through_all_events(
    broker: Broker, connection: amqp.Connection
) -> None:
    await put(connection, "h/Partitions/0", "x")
    partition = hub(broker).partitions["0"]

    class Events(deque[Event]):
        def __iter__(self) -> NoReturn:
            raise AssertionError

    async with receiver(connection) as link:
        await take(link)
        partition.events = Events(partition.events)
        await put(connection, "h/Partitions/0", "y")
        assert [d.body for d in await take(link)] == ["y"]


@pytest.mark.parametrize(
    ("where", "bodies"),
    [
        ("offset > '-1'", ["0", "1", "2"]),
        ("sequence-number > '0'", ["1", "2"]),
        ("sequence-number >= '0'", ["0", "1", "2"]),
        ("enqueued-time > '0'", ["0", "1", "2"]),
        ("offset > '@latest'", []),
        ("sequence-number > '99'", []),
    ],
)
async def test_where_a_receiver_begins(connection: amqp.Connection, where: str, bodies: list[str]) -> None:
    await put(connection, "h/Partitions/0", "0", "1", "2")
    async with receiver(connection, where=where) as link:
        assert link._endpoint.remote_attach.source.filter is not None
        await put(connection, "h/Partitions/0", "new")
        assert [d.body for d in await take(link, len(bodies) + 1)] == [*bodies, "new"]


async def test_a_selector_that_is_not_understood(connection: amqp.Connection) -> None:
    with pytest.raises(LinkDetached) as caught:
        await receiver(connection, where="colour = 'red'")
    assert caught.value.condition == "amqp:invalid-field"


async def test_the_higher_epoch_takes_the_partition(connection: amqp.Connection) -> None:
    key = "com.microsoft:epoch"
    async with receiver(connection) as plain, receiver(connection, "h/ConsumerGroups/x/Partitions/0") as elsewhere:
        async with receiver(connection, properties={key: 1}) as low:
            with pytest.raises(LinkDetached) as caught:
                await plain.receive(timeout=BOUND)
            assert caught.value.condition == "amqp:link:stolen"
            for weaker in ({}, {key: 0}):
                with pytest.raises(LinkDetached) as caught:
                    await receiver(connection, properties=weaker)
                assert caught.value.condition == "amqp:link:stolen"
            async with receiver(connection, properties={key: 1}) as same:
                with pytest.raises(LinkDetached):
                    await low.receive(timeout=BOUND)
                assert same.error is None and elsewhere.error is None
    with pytest.raises(LinkDetached) as caught:
        await receiver(connection, properties={key: "high"})
    assert caught.value.condition == "amqp:invalid-field"


async def test_news_of_the_partition(connection: amqp.Connection) -> None:
    await put(connection, "h/Partitions/0", "1", "2")
    wanted = ["com.microsoft:enable-receiver-runtime-metric"]
    async with receiver(connection, desired_capabilities=wanted) as link:
        (delivery,) = await take(link)
        told = delivery.message.delivery_annotations
        assert told["last_enqueued_sequence_number"] == 1 and int(told["last_enqueued_offset"]) > 0
        assert told["last_enqueued_time_utc"] <= told["runtime_info_retrieval_time_utc"]


async def test_what_management_tells(connection: amqp.Connection) -> None:
    status, body = await read(connection, "eventhub", name="h")
    assert status == 200
    assert (body["name"], body["partition_count"], body["partition_ids"]) == ("h", 2, ["0", "1"])
    status, empty = await read(connection, "partition", name="h", partition="1")
    assert empty["is_partition_empty"] and empty["last_enqueued_sequence_number"] == -1
    await put(connection, "h/Partitions/1", "1", "2")
    status, body = await read(connection, "partition", name="h", partition="1")
    assert not body["is_partition_empty"]
    assert (body["begin_sequence_number"], body["last_enqueued_sequence_number"]) == (0, 1)
    assert (await read(connection, "partition", name="h", partition="9"))[0] == 404
    assert (await read(connection, "weather"))[0] == 501


async def test_asking_makes_a_hub(broker: Broker, connection: amqp.Connection) -> None:
    assert (await read(connection, "eventhub", name="new"))[1]["partition_count"] == 4
    await put(connection, "new", "x")
    assert sum(len(p.events) for p in hub(broker, "new").partitions.values()) == 1


async def test_a_name_is_one_thing_only(connection: amqp.Connection) -> None:
    await put(connection, "q", "x")
    assert (await read(connection, "eventhub", name="q"))[0] == 404
    for address in ("q/Partitions/0", "h/Subscriptions/s", "h", "h/Partitions/9"):
        with pytest.raises(LinkDetached):
            await connection.receiver(address)


async def test_an_event_hubs_client_makes_hubs(broker: Broker) -> None:
    async with client(broker, properties={"user-agent": "azsdk-python-eventhubs/5"}) as connection:
        await put(connection, "mine", "x")
    assert hub(broker, "mine").created > 0


async def test_old_events_make_room(start: Starter) -> None:
    broker = await start(personality=Azure(hubs={"h": 1}), max_queue_length=3)
    async with client(broker) as connection:
        await put(connection, "h", *"abcde")
        async with receiver(connection, where="sequence-number >= 0") as link:
            assert [d.body for d in await take(link, 3)] == ["c", "d", "e"]
        assert (await read(connection, "partition", name="h", partition="0"))[1]["begin_sequence_number"] == 2


async def test_an_event_that_the_receiver_cannot_take(connection: amqp.Connection) -> None:
    await put(connection, "h/Partitions/0", b"x" * 1000)
    async with receiver(connection, max_message_size=100) as link:
        with pytest.raises(LinkDetached) as caught:
            await link.receive(timeout=BOUND)
        assert caught.value.condition == "amqp:link:message-size-exceeded"


async def test_a_deleted_hub(broker: Broker, connection: amqp.Connection) -> None:
    await put(connection, "h/Partitions/0", "x")
    async with receiver(connection) as link:
        await take(link)
        broker.delete("h")
        with pytest.raises(LinkDetached) as caught:
            await link.receive(timeout=BOUND)
        assert caught.value.condition == "amqp:resource-deleted"
    await eventually(lambda: broker.storage.used == 0)
