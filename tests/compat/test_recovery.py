"""The API of 1.6 on connections that come back by themselves, where that is asked for."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

import uamqp
from tests.aio.peers import BOUND, Peer, eventually, peer_server
from tests.tokens import Check
from uamqp import Connection, Message, ReceiveClient, SendClient, errors
from uamqp.aio import Happening, Recovery, RecoveryEvent
from uamqp.async_ops import ConnectionAsync, ReceiveClientAsync, SendClientAsync
from uamqp.authentication import SASTokenAuth
from uamqp.broker import Broker
from uamqp.constants import MessageState

from .helpers import bodies

OK = MessageState.SendComplete


class Events(list[RecoveryEvent]):
    """What was told, and a recovery that tells it here."""

    def recovery(self, **options: Any) -> Recovery:
        return Recovery(initial_delay=0.001, max_delay=0.01, on_event=self.append, **options)

    def count_of(self, what: Happening) -> int:
        return sum(event.what is what for event in self)


@pytest.fixture
def events() -> Events:
    return Events()


async def test_a_sender_goes_on(broker: Broker, events: Events) -> None:
    recovery = events.recovery(resend=True)
    async with SendClientAsync(f"{broker.url}/queue", recovery=recovery) as client:
        for number in range(3):
            await client.send_message_async(Message(f"before {number}"))
            broker.drop_connections()
            await eventually(lambda number=number: events.count_of(Happening.INTERRUPTED) > number)
            assert await client.send_message_batch_async([f"after {number}"], close_on_done=False) == [OK]
    assert events.count_of(Happening.RECOVERED) == 3
    assert await bodies(broker, "queue") == [f"{what} {n}".encode() for n in range(3) for what in ("before", "after")]


@pytest.mark.parametrize("retries", [0, 3])
async def test_the_error_policy_says_what_becomes_of_what_is_in_doubt(events: Events, retries: int) -> None:
    made: list[Peer] = []

    def make() -> Peer:
        # The first one never says what becomes of a message.
        made.append(Peer(*([] if made else ["on_deliveries"])))
        return made[-1]

    policy = errors.ErrorPolicy(max_retries=retries)
    async with peer_server(make) as server:
        url = f"{server.url}/queue"
        async with SendClientAsync(url, error_policy=policy, recovery=events.recovery()) as client:
            message = Message("message")
            client.queue_message(message)
            sending = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
            await eventually(lambda: server.peers and server.peer.links and server.peer.receiver.queue)
            server.peer.cut()
            if retries:
                assert await sending == [OK]
                assert len(made[1].messages) == 1
            else:
                assert await sending == [MessageState.SendFailed]
                with pytest.raises(errors.MessageException, match="before its outcome arrived"):
                    raise message._response
            await eventually(lambda: events.count_of(Happening.RECOVERED) == 1)


async def test_a_receiver_goes_on(broker: Broker, events: Events) -> None:
    got: list[bytes] = []
    async with ReceiveClientAsync(f"{broker.url}/queue", recovery=events.recovery()) as client:

        async def receive() -> None:
            async for message in client.receive_messages_iter_async():
                got.append(b"".join(message.get_data()))
                message.accept()
                if got[-1] == b"last":
                    return

        receiving = asyncio.create_task(receive())
        await client.client_ready_async()
        for body in ("first", "second", "last"):
            broker.drop_connections()
            await uamqp.async_ops.SendClientAsync(f"{broker.url}/queue").send_message_async(
                Message(body), close_on_done=True
            )
            await eventually(lambda body=body: body.encode() in got)
        await receiving
    assert events.count_of(Happening.RECOVERED) >= 1


async def test_settling_what_came_over_the_lost_connection_does_nothing(broker: Broker, events: Events) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as sender:
        await sender.send_message_async(Message("message"))
    async with ReceiveClientAsync(f"{broker.url}/queue", recovery=events.recovery(), auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async(1)
        broker.drop_connections()
        await eventually(lambda: events.count_of(Happening.INTERRUPTED) == 1)
        message.accept()
        await eventually(lambda: events.count_of(Happening.RECOVERED) == 1)
        (again,) = await client.receive_message_batch_async(1)
        again.accept()


async def test_tokens_are_put_again(tidy_loop: None, events: Events) -> None:
    check = Check()
    async with Broker(token_check=check) as broker:
        auth = SASTokenAuth("127.0.0.1", token="t0ken", expires_at=time.time() + 1000)
        async with ConnectionAsync(broker.url, auth, recovery=events.recovery()) as connection:
            client = SendClientAsync(f"{broker.url}/queue")
            await client.open_async(connection=connection)
            await client.send_message_async(Message("before"))
            broker.drop_connections()
            await eventually(lambda: events.count_of(Happening.RECOVERED) == 1)
            await client.send_message_async(Message("after"))
            await client.close_async()
    # The same, because it is still good.
    assert check.tokens == ["t0ken", "t0ken"]


async def test_giving_up(broker: Broker, events: Events) -> None:
    async with ReceiveClientAsync(f"{broker.url}/queue", recovery=events.recovery(attempts=2)) as client:
        receiving = asyncio.create_task(client.receive_message_batch_async(1))
        await client.client_ready_async()
        await broker.stop()
        with pytest.raises(errors.AMQPConnectionError):
            await asyncio.wait_for(receiving, BOUND)
    assert events[-1].what is Happening.FAILED


def test_blocking_code(events: Events) -> None:
    with Broker.running() as broker:
        recovery = events.recovery(resend=True)
        with Connection(broker.url, recovery=recovery) as connection:
            sender, receiver = SendClient(f"{broker.url}/queue"), ReceiveClient(f"{broker.url}/queue")
            sender.open(connection=connection)
            receiver.open(connection=connection)
            for number in range(3):
                broker.call(broker.drop_connections)
                sender.send_message(Message(f"message {number}"), close_on_done=False)
                (message,) = receiver.receive_message_batch(1)
                assert b"".join(message.get_data()) == f"message {number}".encode()
                message.accept()
            receiver.close()
            sender.close()
        with SendClient(f"{broker.url}/other", recovery=events.recovery(resend=True)) as client:
            client.send_message(Message("before"))
            broker.call(broker.drop_connections)
            client.send_message(Message("after"))
