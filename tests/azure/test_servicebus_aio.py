"""azure-servicebus, with asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.aio import AutoLockRenewer, ServiceBusClient
from azure.servicebus.exceptions import (
    MessageLockLostError,
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
)

from .namespace import Namespace


@pytest.fixture
async def client(namespace: Namespace) -> AsyncIterator[ServiceBusClient]:
    async with namespace.service_bus_aio() as client:
        yield client


async def send(client: ServiceBusClient, name: str, *bodies: Any, **options: Any) -> None:
    async with client.get_queue_sender(name) as sender:
        for body in bodies:
            await sender.send_messages(ServiceBusMessage(body, **options))


async def receive(receiver: Any, count: int = 1, wait: float = 5) -> list[Any]:
    """So many messages; fewer where no more come in time."""
    got: list[Any] = []
    while len(got) < count and (more := await receiver.receive_messages(count - len(got), max_wait_time=wait)):
        got += more
    return got


async def test_send_receive_complete(client: ServiceBusClient, name: str) -> None:
    await send(client, name, "1", "2", application_properties={"k": 1})
    async with client.get_queue_receiver(name) as receiver:
        messages = await receive(receiver, 2)
        assert [str(m) for m in messages] == ["1", "2"]
        for message in messages:
            await receiver.complete_message(message)
        assert await receiver.peek_messages(sequence_number=1) == []


async def test_a_batch(client: ServiceBusClient, name: str) -> None:
    async with client.get_queue_sender(name) as sender:
        batch = await sender.create_message_batch()
        for n in range(5):
            batch.add_message(ServiceBusMessage(str(n)))
        await sender.send_messages(batch)
    async with client.get_queue_receiver(name, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        assert [str(m) for m in await receive(receiver, 5)] == [str(n) for n in range(5)]


async def test_iterating(client: ServiceBusClient, name: str) -> None:
    await send(client, name, "1", "2", "3")
    got = []
    async with client.get_queue_receiver(name, max_wait_time=1) as receiver:
        async for message in receiver:
            got.append(str(message))
            await receiver.complete_message(message)
    assert got == ["1", "2", "3"]


async def test_abandon(client: ServiceBusClient, name: str) -> None:
    await send(client, name, "again")
    async with client.get_queue_receiver(name) as receiver:
        (message,) = await receive(receiver)
        await receiver.abandon_message(message)
        (message,) = await receive(receiver)
        assert message.delivery_count == 1
        await receiver.complete_message(message)


async def test_defer(client: ServiceBusClient, name: str) -> None:
    await send(client, name, "later")
    async with client.get_queue_receiver(name) as receiver:
        (message,) = await receive(receiver)
        await receiver.defer_message(message)
        (deferred,) = await receiver.receive_deferred_messages([message.sequence_number])
        await receiver.complete_message(deferred)
        with pytest.raises(ServiceBusError):
            await receiver.receive_deferred_messages([message.sequence_number])


async def test_dead_letter(client: ServiceBusClient, name: str) -> None:
    await send(client, name, "bad")
    async with client.get_queue_receiver(name) as receiver:
        (message,) = await receive(receiver)
        await receiver.dead_letter_message(message, reason="why", error_description="because")
    async with client.get_queue_receiver(name, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
        (message,) = await receive(receiver)
        assert (message.dead_letter_reason, message.dead_letter_error_description) == ("why", "because")
        await receiver.complete_message(message)


async def test_schedule_and_cancel(client: ServiceBusClient, name: str) -> None:
    async with client.get_queue_sender(name) as sender:
        due = datetime.now(UTC) + timedelta(seconds=3)
        keep, drop = await sender.schedule_messages([ServiceBusMessage("keep"), ServiceBusMessage("drop")], due)
        await sender.cancel_scheduled_messages(drop)
    async with client.get_queue_receiver(name) as receiver:
        (peeked,) = await receiver.peek_messages()
        assert peeked.state == ServiceBusMessageState.SCHEDULED and peeked.sequence_number == keep
        assert [str(m) for m in await receive(receiver)] == ["keep"]


async def test_a_lock_ends_or_is_renewed(hasty: Namespace, name: str) -> None:
    async with hasty.service_bus_aio() as client, AutoLockRenewer() as renewer:
        await send(client, name, "lost", "kept")
        async with client.get_queue_receiver(name) as receiver:
            lost, kept = await receive(receiver, 2)
            renewer.register(receiver, kept, max_lock_renewal_duration=10)
            await asyncio.sleep(4)
            with pytest.raises(MessageLockLostError):
                await receiver.complete_message(lost)
            await receiver.complete_message(kept)


async def test_sessions(client: ServiceBusClient, name: str) -> None:
    await send(client, name, "a", session_id="a")
    await send(client, name, "b", session_id="b")
    async with client.get_queue_receiver(name, session_id="b") as receiver:
        (message,) = await receive(receiver)
        assert str(message) == "b"
        await receiver.session.set_state("state")
        assert await receiver.session.get_state() == b"state"
        before = receiver.session.locked_until_utc
        assert await receiver.session.renew_lock() > before
        async with client.get_queue_receiver(name, session_id=NEXT_AVAILABLE_SESSION) as other:
            assert other.session.session_id == "a"
            assert [str(m) for m in await receive(other)] == ["a"]
        with pytest.raises(SessionCannotBeLockedError):
            async with client.get_queue_receiver(name, session_id="b"):
                pass


async def test_a_session_is_waited_for(client: ServiceBusClient, name: str) -> None:
    async def receive_next() -> list[str]:
        async with client.get_queue_receiver(name, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=20) as receiver:
            return [str(m) for m in await receive(receiver)]

    waiting = asyncio.create_task(receive_next())
    await asyncio.sleep(0.5)
    await send(client, name, "x", session_id="late")
    assert await waiting == ["x"]


async def test_there_may_be_no_session(client: ServiceBusClient, name: str) -> None:
    with pytest.raises(OperationTimeoutError):
        async with client.get_queue_receiver(name, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=1):
            pass


async def test_topics(client: ServiceBusClient) -> None:
    async with client.get_topic_sender("news") as sender:
        await sender.send_messages(ServiceBusMessage("aio", subject="here"))
    for subscription in ("all", "also"):
        async with client.get_subscription_receiver("news", subscription, max_wait_time=3) as receiver:
            async for message in receiver:
                await receiver.complete_message(message)
                if str(message) == "aio":
                    break
            else:
                pytest.fail("the message did not come")
