"""azure-eventhub, blocking."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.eventhub import EventData, EventHubConsumerClient
from azure.eventhub._utils import get_last_enqueued_event_properties
from azure.eventhub.exceptions import AuthenticationError, EventDataSendError

from .namespace import REFUSED, Namespace

#: Seconds after which what did not come is not expected any more.
BOUND = 20.0


def send(namespace: Namespace, hub: str, *bodies: Any, **options: Any) -> None:
    with namespace.producer(hub) as producer:
        producer.send_batch([EventData(body) for body in bodies], **options)


class Consuming:
    """Receives in a thread, as `receive` of the SDK blocks until the client is closed."""

    def __init__(self, client: EventHubConsumerClient, **options: Any) -> None:
        self.events: list[tuple[str, Any]] = []
        self.errors: list[Exception] = []
        self._client = client
        options.setdefault("starting_position", "-1")
        self._thread = threading.Thread(target=self._receive, kwargs=options, daemon=True)

    def __enter__(self) -> Consuming:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._client.close()
        self._thread.join(BOUND)

    def _receive(self, **options: Any) -> None:
        self._client.receive(
            on_event=lambda context, event: self.events.append((context.partition_id, event)),
            on_error=lambda context, error: self.errors.append(error),
            **options,
        )

    def wait(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + BOUND
        while not condition():
            assert time.monotonic() < end, (self.events, self.errors)
            time.sleep(0.02)

    def wait_for(self, count: int) -> list[str]:
        self.wait(lambda: len(self.events) >= count)
        return [event.body_as_str() for _, event in self.events]


def test_the_properties_of_a_hub(namespace: Namespace, name: str) -> None:
    with namespace.producer(name) as producer:
        properties = producer.get_eventhub_properties()
    assert properties["eventhub_name"] == name
    assert properties["partition_ids"] == ["0", "1", "2", "3"]
    assert datetime.now(UTC) - properties["created_at"] < timedelta(minutes=1)


def test_a_declared_hub(namespace: Namespace) -> None:
    with namespace.consumer("two") as consumer:
        assert consumer.get_partition_ids() == ["0", "1"]


def test_the_properties_of_an_empty_partition(namespace: Namespace, name: str) -> None:
    with namespace.producer(name) as producer:
        properties = producer.get_partition_properties("1")
    assert properties["id"] == "1" and properties["is_empty"]
    assert properties["last_enqueued_sequence_number"] == -1 and properties["last_enqueued_offset"] == "-1"


def test_the_properties_of_a_partition(namespace: Namespace, name: str) -> None:
    send(namespace, name, "a", "b", partition_id="1")
    with namespace.producer(name) as producer:
        properties = producer.get_partition_properties("1")
        assert producer.get_partition_properties("0")["is_empty"]
    assert not properties["is_empty"]
    assert (properties["beginning_sequence_number"], properties["last_enqueued_sequence_number"]) == (0, 1)
    assert int(properties["last_enqueued_offset"]) > 0
    assert datetime.now(UTC) - properties["last_enqueued_time_utc"] < timedelta(minutes=1)


def test_a_partition_that_is_not_there(namespace: Namespace, name: str) -> None:
    with namespace.producer(name) as producer, pytest.raises(REFUSED):
        producer.get_partition_properties("77")


def test_send_and_receive(namespace: Namespace, name: str) -> None:
    send(namespace, name, "1", "2", "3")
    with Consuming(namespace.consumer(name)) as consuming:
        assert consuming.wait_for(3) == ["1", "2", "3"]
        # Those of a batch without a key are in one partition.
        assert len({partition for partition, _ in consuming.events}) == 1


def test_what_the_service_says_of_an_event(namespace: Namespace, name: str) -> None:
    send(namespace, name, "1", "2", partition_id="2")
    with Consuming(namespace.consumer(name), partition_id="2") as consuming:
        consuming.wait_for(2)
        one, two = (event for _, event in consuming.events)
    assert (one.sequence_number, two.sequence_number) == (0, 1)
    assert int(one.offset) < int(two.offset)
    assert datetime.now(UTC) - one.enqueued_time < timedelta(minutes=1)


def test_an_event_keeps_its_properties(namespace: Namespace, name: str) -> None:
    event = EventData(b"body")
    event.properties = {"text": "x", "number": 7}
    event.content_type = "text/plain"
    event.message_id = "m"
    event.correlation_id = "c"
    with namespace.producer(name) as producer:
        producer.send_event(event)
    with Consuming(namespace.consumer(name)) as consuming:
        consuming.wait_for(1)
        got = consuming.events[0][1]
    assert got.properties == {b"text": b"x", b"number": 7}
    assert (got.content_type, got.message_id, got.correlation_id) == ("text/plain", "m", "c")


def test_a_batch(namespace: Namespace, name: str) -> None:
    with namespace.producer(name) as producer:
        batch = producer.create_batch(partition_id="3")
        for n in range(50):
            batch.add(EventData(str(n)))
        producer.send_batch(batch)
    with Consuming(namespace.consumer(name), partition_id="3") as consuming:
        assert consuming.wait_for(50) == [str(n) for n in range(50)]


def test_a_batch_has_a_limit(namespace: Namespace, name: str) -> None:
    with namespace.producer(name) as producer:
        batch = producer.create_batch()
        assert batch.max_size_in_bytes == 1024 * 1024
        with pytest.raises(ValueError):
            batch.add(EventData(b"x" * (1024 * 1024)))
        with pytest.raises(EventDataSendError):
            producer.send_event(EventData(b"x" * (2 * 1024 * 1024)))


def test_a_large_event(namespace: Namespace, name: str) -> None:
    send(namespace, name, b"x" * 500_000)
    with Consuming(namespace.consumer(name)) as consuming:
        assert consuming.wait_for(1) == ["x" * 500_000]


def test_events_of_one_key_are_in_one_partition(namespace: Namespace, name: str) -> None:
    for n in range(3):
        send(namespace, name, str(n), partition_key="key")
    with Consuming(namespace.consumer(name)) as consuming:
        assert consuming.wait_for(3) == ["0", "1", "2"]
        assert len({partition for partition, _ in consuming.events}) == 1
        assert {event.partition_key for _, event in consuming.events} == {b"key"}


def test_events_without_a_key_are_spread(namespace: Namespace, name: str) -> None:
    with namespace.producer(name) as producer:
        for n in range(8):
            producer.send_event(EventData(str(n)))
    with Consuming(namespace.consumer(name)) as consuming:
        consuming.wait_for(8)
        assert {partition for partition, _ in consuming.events} == {"0", "1", "2", "3"}


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("by", ["sequence_number", "offset", "enqueued_time"])
def test_where_to_begin(namespace: Namespace, name: str, by: str, inclusive: bool) -> None:
    for body in ("0", "1", "2"):
        send(namespace, name, body, partition_id="0")
    with Consuming(namespace.consumer(name), partition_id="0") as consuming:
        consuming.wait_for(3)
    position = getattr(consuming.events[1][1], by)
    with Consuming(
        namespace.consumer(name), partition_id="0", starting_position=position, starting_position_inclusive=inclusive
    ) as consuming:
        wanted = ["1", "2"] if inclusive else ["2"]
        assert consuming.wait_for(len(wanted)) == wanted


def test_beginning_at_the_end(namespace: Namespace, name: str) -> None:
    send(namespace, name, "old", partition_id="0")
    with Consuming(namespace.consumer(name), partition_id="0", starting_position="@latest") as consuming:
        time.sleep(2)
        send(namespace, name, "new", partition_id="0")
        assert consuming.wait_for(1) == ["new"]


def test_consumer_groups_read_for_themselves(namespace: Namespace, name: str) -> None:
    send(namespace, name, "x")
    for group in ("$Default", "other"):
        with Consuming(namespace.consumer(name, group)) as consuming:
            assert consuming.wait_for(1) == ["x"]


def test_the_higher_owner_level_wins(namespace: Namespace, name: str) -> None:
    send(namespace, name, "x", partition_id="0")
    with Consuming(namespace.consumer(name), partition_id="0", owner_level=1) as loser:
        loser.wait_for(1)
        with Consuming(namespace.consumer(name), partition_id="0", owner_level=2) as winner:
            winner.wait_for(1)
            loser.wait(lambda: loser.errors)
            assert "stolen" in str(loser.errors[0]).lower()


def test_the_lower_owner_level_does_not_get_in(namespace: Namespace, name: str) -> None:
    send(namespace, name, "x", partition_id="0")
    with Consuming(namespace.consumer(name), partition_id="0", owner_level=2) as owner:
        owner.wait_for(1)
        with Consuming(namespace.consumer(name), partition_id="0", owner_level=1) as other:
            other.wait(lambda: other.errors)
            assert other.events == [] and owner.errors == []


def test_news_of_the_partition(namespace: Namespace, name: str) -> None:
    send(namespace, name, "1", "2", partition_id="0")
    with Consuming(namespace.consumer(name), partition_id="0", track_last_enqueued_event_properties=True) as consuming:
        consuming.wait_for(2)
        last = get_last_enqueued_event_properties(consuming.events[0][1])
    assert last["sequence_number"] == 1 and int(last["offset"]) > 0
    assert last["enqueued_time"] <= last["retrieval_time"]


def test_a_buffered_producer(namespace: Namespace, name: str) -> None:
    failed: list[Any] = []
    producer = namespace.producer(
        name,
        buffered_mode=True,
        on_success=lambda events, partition: None,
        on_error=lambda events, partition, error: failed.append(error),
        max_wait_time=0.2,
    )
    with producer:
        for n in range(8):
            producer.send_event(EventData(str(n)))
        producer.flush()
    with Consuming(namespace.consumer(name)) as consuming:
        assert sorted(map(int, consuming.wait_for(8))) == list(range(8))
    assert failed == []


def test_receiving_in_batches(namespace: Namespace, name: str) -> None:
    send(namespace, name, *(str(n) for n in range(30)), partition_id="0")
    client = namespace.consumer(name)
    got: list[str] = []

    def on_batch(context: Any, events: Any) -> None:
        got.extend(event.body_as_str() for event in events)
        context.update_checkpoint()
        if len(got) >= 30:
            threading.Thread(target=client.close).start()

    client.receive_batch(on_batch, partition_id="0", starting_position="-1", max_batch_size=10)
    assert got == [str(n) for n in range(30)]


def test_keys(guarded: Namespace, name: str) -> None:
    send(guarded, name, "x", partition_id="0")
    with Consuming(guarded.consumer(name), partition_id="0") as consuming:
        assert consuming.wait_for(1) == ["x"]
    with pytest.raises(AuthenticationError):
        send(guarded.with_key("b3RoZXI="), name, "x")
