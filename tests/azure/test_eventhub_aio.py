"""azure-eventhub, with asyncio."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from azure.eventhub import EventData

from .namespace import REFUSED, Namespace

#: Seconds after which what did not come is not expected any more.
BOUND = 20.0


async def send(namespace: Namespace, hub: str, *bodies: Any, **options: Any) -> None:
    async with namespace.producer_aio(hub) as producer:
        await producer.send_batch([EventData(body) for body in bodies], **options)


class Consuming:
    """Receives in a task until it is left."""

    def __init__(self, client: Any, **options: Any) -> None:
        self.events: list[Any] = []
        self.errors: list[Exception] = []
        self._client = client
        self._options = {"starting_position": "-1", **options}

    async def __aenter__(self) -> Consuming:
        self._task = asyncio.create_task(
            self._client.receive(on_event=self._on_event, on_error=self._on_error, **self._options)
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.close()
        # It would look only now and then whether there is something to do, and then find that there is not.
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _on_event(self, context: Any, event: Any) -> None:
        self.events.append(event)

    async def _on_error(self, context: Any, error: Exception) -> None:
        self.errors.append(error)

    async def wait_for(self, count: int) -> list[str]:
        async with asyncio.timeout(BOUND):
            while len(self.events) < count:
                await asyncio.sleep(0.02)
        return [event.body_as_str() for event in self.events]


async def test_properties(namespace: Namespace, name: str) -> None:
    async with namespace.producer_aio(name) as producer:
        assert (await producer.get_eventhub_properties())["eventhub_name"] == name
        assert await producer.get_partition_ids() == ["0", "1", "2", "3"]
        assert (await producer.get_partition_properties("0"))["is_empty"]
        with pytest.raises(REFUSED):
            await producer.get_partition_properties("77")


async def test_send_and_receive(namespace: Namespace, name: str) -> None:
    await send(namespace, name, "1", "2", "3")
    async with Consuming(namespace.consumer_aio(name)) as consuming:
        assert await consuming.wait_for(3) == ["1", "2", "3"]


async def test_a_batch_to_a_partition(namespace: Namespace, name: str) -> None:
    async with namespace.producer_aio(name) as producer:
        batch = await producer.create_batch(partition_id="3")
        for n in range(50):
            batch.add(EventData(str(n)))
        await producer.send_batch(batch)
    async with Consuming(namespace.consumer_aio(name), partition_id="3") as consuming:
        assert await consuming.wait_for(50) == [str(n) for n in range(50)]
        assert [event.sequence_number for event in consuming.events] == list(range(50))


async def test_a_key(namespace: Namespace, name: str) -> None:
    await send(namespace, name, "x", "y", partition_key="key")
    async with Consuming(namespace.consumer_aio(name)) as consuming:
        assert await consuming.wait_for(2) == ["x", "y"]
        assert {event.partition_key for event in consuming.events} == {b"key"}


async def test_where_to_begin(namespace: Namespace, name: str) -> None:
    await send(namespace, name, *"abcd", partition_id="0")
    async with Consuming(namespace.consumer_aio(name), partition_id="0", starting_position=1) as consuming:
        assert await consuming.wait_for(2) == ["c", "d"]


async def test_the_higher_owner_level_wins(namespace: Namespace, name: str) -> None:
    await send(namespace, name, "x", partition_id="0")
    async with Consuming(namespace.consumer_aio(name), partition_id="0", owner_level=1) as loser:
        await loser.wait_for(1)
        async with Consuming(namespace.consumer_aio(name), partition_id="0", owner_level=2) as winner:
            await winner.wait_for(1)
            async with asyncio.timeout(BOUND):
                while not loser.errors:
                    await asyncio.sleep(0.02)
    assert "stolen" in str(loser.errors[0]).lower()


async def test_news_of_the_partition(namespace: Namespace, name: str) -> None:
    await send(namespace, name, "1", "2", partition_id="0")
    seen: list[Any] = []

    async def on_event(context: Any, event: Any) -> None:
        seen.append(context.last_enqueued_event_properties)

    client = namespace.consumer_aio(name)
    task = asyncio.create_task(
        client.receive(
            on_event=on_event, partition_id="0", starting_position="-1", track_last_enqueued_event_properties=True
        )
    )
    async with asyncio.timeout(BOUND):
        while not seen:
            await asyncio.sleep(0.02)
    await client.close()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert seen[0]["sequence_number"] == 1
