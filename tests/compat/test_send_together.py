"""Messages that are sent together with `SendClientAsync`: each has an outcome of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.aio.peers import Peer, eventually, peer_server
from uamqp import Message, errors
from uamqp.async_ops import SendClientAsync
from uamqp.codec.definitions import Error, Rejected
from uamqp.codec.values import Symbol
from uamqp.constants import MessageSendResult, MessageState

OK = MessageState.SendComplete
FAILED = MessageState.SendFailed
SENT = MessageState.WaitingForSendAck
QUEUED = MessageState.WaitingToBeSent

BAD = Rejected(Error(Symbol("com.example:bad"), "bad"))
NO_MORE = errors.ErrorPolicy(max_retries=0)


def silent() -> Peer:
    return Peer("on_message")


def several(count: int) -> list[Message]:
    return [Message(f"{n}") for n in range(count)]


def states(messages: list[Message]) -> list[MessageState]:
    return [message.state for message in messages]


async def test_one_of_them_is_refused() -> None:
    async with (
        peer_server(silent) as server,
        SendClientAsync(f"{server.url}/queue", error_policy=NO_MORE) as client,
    ):
        told: list[tuple[str, Any]] = []
        messages = several(5)
        client.queue_message(*messages)
        sending = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
        await eventually(lambda: server.peers and len(server.peer.messages) == 5)
        assert states(messages) == [SENT] * 5
        for number, message in enumerate(messages):
            # Also one that was sent before it had a function is told.
            message.on_send_complete = lambda result, error, number=number: told.append((f"{number}", result))
        first, second, third, *others = server.peer.messages
        first.accept()
        await eventually(lambda: messages[0].state is OK)
        assert client.pending_messages == messages[1:]
        third.settle(BAD)
        for delivery in (*others, second):
            delivery.accept()
        assert await sending == [OK, OK, FAILED, OK, OK]
        assert told == [(f"{n}", MessageSendResult.Error if n == 2 else MessageSendResult.Ok) for n in range(5)]
        assert client.pending_messages == []


async def test_the_time_of_what_is_under_way_may_be_limited_later() -> None:
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue") as client:
        messages = several(4)
        client.queue_message(*messages)
        for _ in range(2):
            await client.do_work_async()
        await eventually(lambda: len(server.peer.messages) == 4)
        server.peer.messages[0].accept()
        await eventually(
            lambda: not client._session.modern._endpoint.runs or client._session.modern._endpoint.runs[0].done
        )
        client._msg_timeout = 50.0
        assert await client.send_all_messages_async(close_on_done=False) == [OK, FAILED, FAILED, FAILED]
        assert client.pending_messages == []


@pytest.mark.parametrize("accepted", [0, 2, 4])
async def test_the_connection_is_lost_and_what_is_left_is_sent_again(accepted: int) -> None:
    async with peer_server(silent) as server:
        client = SendClientAsync(f"{server.url}/queue")
        messages = several(4)
        later = Message("later")
        client.queue_message(*messages)
        sending = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
        await eventually(lambda: server.peers and len(server.peer.messages) == 4)
        client.queue_message(later)
        for delivery in server.peer.messages[:accepted]:
            delivery.accept()
        await eventually(lambda: states(messages[:accepted]) == [OK] * accepted)
        server.peer.cut()
        if accepted < 4:
            with pytest.raises(errors.AMQPConnectionError):
                await sending
        else:
            sending.cancel()
            await asyncio.wait([sending])
        assert client.pending_messages == [*messages[accepted:], later]
        assert states(messages[accepted:]) == [QUEUED] * (4 - accepted)
        await client.close_async()
        server._make = Peer
        await client.open_async()
        left = 5 - accepted
        assert await client.send_all_messages_async(close_on_done=False) == [OK] * left
        bodies = [delivery.body for delivery in server.peer.messages]
        assert bodies == [b"%d" % n for n in range(accepted, 4)] + [b"later"]
        await client.close_async()


async def test_who_waits_is_cancelled_and_waits_again() -> None:
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue") as client:
        messages = several(3)
        client.queue_message(*messages)
        for accepted in range(3):
            waiting = asyncio.create_task(client.wait_async())
            await eventually(lambda: len(server.peer.messages) == 3)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert states(messages) == [OK] * accepted + [SENT] * (3 - accepted)
            server.peer.messages[accepted].accept()
            await asyncio.sleep(0.01)
            # Whether somebody waited when the outcome came or not.
            await client.do_work_async()
        assert states(messages) == [OK] * 3
        await client.wait_async()


async def test_several_tasks_wait_for_the_same_messages() -> None:
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue", error_policy=NO_MORE) as client:
        messages = several(3)
        client.queue_message(*messages)
        tasks = [asyncio.create_task(client.send_all_messages_async(close_on_done=False)) for _ in range(3)]
        await eventually(lambda: server.peers and len(server.peer.messages) == 3)
        first, second, third = server.peer.messages
        third.accept()
        first.accept()
        await asyncio.sleep(0.01)
        second.settle(BAD)
        assert await asyncio.gather(*tasks) == [[OK, FAILED, OK]] * 3


@pytest.mark.parametrize("limited", [False, True])
async def test_several_tasks_wait_and_outcomes_come_out_of_turn(limited: bool) -> None:
    """Each message has the outcome that the peer gave it, however often those who wait are woken for others."""
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue", error_policy=NO_MORE) as client:
        messages = several(8)
        client.queue_message(*messages)
        tasks = [asyncio.create_task(client.send_all_messages_async(close_on_done=False)) for _ in range(2)]
        await eventually(lambda: server.peers and len(server.peer.messages) == 8)
        if limited:
            client._msg_timeout = 60_000.0
            tasks.append(asyncio.create_task(client.send_all_messages_async(close_on_done=False)))
            await asyncio.sleep(0.01)
        deliveries = list(server.peer.messages)
        for delivery in deliveries[:2:-1]:
            delivery.accept()
            await asyncio.sleep(0.01)
        assert states(messages[:3]) == [SENT] * 3
        for delivery in deliveries[:3]:
            delivery.settle(BAD)
        assert await asyncio.gather(*tasks) == [[FAILED] * 3 + [OK] * 5] * len(tasks)


async def test_who_waits_for_what_was_dropped_goes_on_when_another_notes_its_outcome() -> None:
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue") as client:
        messages = several(4)
        client.queue_message(*messages)
        first = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
        await eventually(lambda: server.peers and len(server.peer.messages) == 4)
        client._pending_messages = messages[2:]
        second = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
        await eventually(lambda: len(server.peer.messages) == 6)
        for delivery in server.peer.messages:
            delivery.accept()
        assert await second == [OK, OK]
        assert await first == [SENT, SENT, OK, OK]


async def test_what_is_under_way_is_dropped_or_queued_again() -> None:
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue") as client:
        messages = several(4)
        client.queue_message(*messages)
        await client.do_work_async()
        await eventually(lambda: len(server.peer.messages) == 4)
        server.peer.messages[0].accept()
        client._pending_messages = messages[2:]
        for delivery in server.peer.messages[1:]:
            delivery.accept()
        server.peer.on_message = lambda delivery: delivery.accept()  # type: ignore[method-assign]
        await client.wait_async()
        assert states(messages) == [SENT, SENT, OK, OK]
        assert len(server.peer.messages) == 6


async def test_another_message_is_sent_alone_meanwhile() -> None:
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue") as client:
        messages = several(3)
        client.queue_message(*messages)
        sending = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
        await eventually(lambda: len(server.peer.messages) == 3)
        alone = asyncio.create_task(client.send_message_async(Message("alone")))
        await eventually(lambda: len(server.peer.messages) == 4)
        server.peer.messages[3].accept()
        await alone
        assert states(messages) == [SENT] * 3
        for delivery in server.peer.messages[:3]:
            delivery.accept()
        assert await sending == [OK] * 3


async def test_while_backing_off_what_was_sent_together_gets_its_outcomes() -> None:
    policy = errors.ErrorPolicy(on_error=lambda error: errors.ErrorAction(retry=True, backoff=3600))
    async with peer_server(silent) as server, SendClientAsync(f"{server.url}/queue", error_policy=policy) as client:
        refused, *others = several(4)
        client.queue_message(refused)
        waiting = asyncio.create_task(client.wait_async())
        await eventually(lambda: len(server.peer.messages) == 1)
        client.queue_message(*others)
        also = asyncio.create_task(client.wait_async())
        await eventually(lambda: len(server.peer.messages) == 4)
        server.peer.messages[0].settle(BAD)
        await eventually(lambda: refused.retries == 1)
        assert states(others) == [SENT] * 3
        for delivery, message in zip(server.peer.messages[1:], others, strict=True):
            delivery.accept()
            await eventually(lambda message=message: message.state is OK)
        assert client.pending_messages == [refused]
        for task in (waiting, also):
            task.cancel()
        await asyncio.wait([waiting, also])
