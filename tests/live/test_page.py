"""Every example of the page "Async Operations", against each peer: hosts, names and credentials are the peer's.

Between the lines marked "page" stands what the page prints. Examples with tokens are in
tests/compat/test_tokens.py, because the peers here take passwords.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from uamqp import Message
from uamqp.async_ops import (
    AsyncMessageIter,
    ConnectionAsync,
    MessageReceiverAsync,
    MessageSenderAsync,
    ReceiveClientAsync,
    SendClientAsync,
    SessionAsync,
)
from uamqp.authentication import SASLPlain
from uamqp.constants import MessageState
from uamqp.errors import AMQPConnectionError, MessageSendFailed

from .peers import Peer

pytestmark = pytest.mark.timeout(120)

#: Milliseconds: for what comes if all is well.
SOON = 30_000
#: Milliseconds after which a queue counts as empty.
EMPTY = 500


class Place:
    """A queue of the peer, and how to reach it over TLS."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.queue = peer.queue()
        self.url = f"amqps://{peer.host}:{peer.tls_port}/{self.queue}"

    @property
    def auth(self) -> SASLPlain:
        """User and password; a new object each time, as one serves one connection at a time."""
        peer = self.peer
        return SASLPlain(peer.host, peer.user, peer.password, port=peer.tls_port, verify=str(peer.ca_file))

    async def put(self, *bodies: str) -> None:
        async with SendClientAsync(self.url, auth=self.auth) as client:
            results = await client.send_message_batch_async([Message(body) for body in bodies])
        assert results == [MessageState.SendComplete] * len(bodies)

    async def take(self, count: int) -> list[bytes]:
        """The bodies of so many messages."""
        bodies: list[bytes] = []
        async with ReceiveClientAsync(self.url, auth=self.auth) as client:
            while len(bodies) < count:
                most = min(count - len(bodies), 300)
                batch = await client.receive_message_batch_async(max_batch_size=most, timeout=SOON)
                assert batch
                bodies += [b"".join(message.get_data()) for message in batch]
        return bodies

    async def is_empty(self) -> bool:
        async with ReceiveClientAsync(self.url, auth=self.auth) as client:
            return await client.receive_message_batch_async(timeout=EMPTY) == []


@pytest.fixture
def place(peer: Peer) -> Place:
    return Place(peer)


# --- Async Send Client ------------------------------------------------------------------------------------------


async def test_send_messages(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    target, auth = place.url, place.auth

    # page: send_messages_async
    async with SendClientAsync(target, auth=auth) as client:
        message = Message("Hello Async World")
        client.queue_message(message)
        results = await client.send_all_messages_async()
        print(f"Send results: {results}")
    # page

    assert results == [MessageState.SendComplete]
    assert capsys.readouterr().out == "Send results: [<MessageState.SendComplete: 2>]\n"
    assert await place.take(1) == [b"Hello Async World"]


async def test_send_batch(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    target, auth = place.url, place.auth

    # page: send_batch_async
    messages = [Message(f"Async message {i}") for i in range(10)]

    async with SendClientAsync(target, auth=auth) as client:
        results = await client.send_message_batch_async(messages)
        print(f"Sent {len(results)} messages asynchronously")
    # page

    assert results == [MessageState.SendComplete] * 10
    assert capsys.readouterr().out == "Sent 10 messages asynchronously\n"
    assert await place.take(10) == [f"Async message {i}".encode() for i in range(10)]


def test_asyncio_run(place: Place) -> None:
    target, auth = place.url, place.auth
    sent: list[Any] = []

    async def send_messages_async() -> None:
        async with SendClientAsync(target, auth=auth) as client:
            client.queue_message(Message("Hello Async World"))
            sent.extend(await client.send_all_messages_async())

    # page: Run async functions
    asyncio.run(send_messages_async())
    # page

    assert sent == [MessageState.SendComplete]
    assert asyncio.run(place.take(1)) == [b"Hello Async World"]


# --- Async Receive Client ---------------------------------------------------------------------------------------


async def test_receive_messages(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    await place.put("one", "two", "three")
    source, auth = place.url, place.auth

    # page: receive_messages_async
    async with ReceiveClientAsync(source, auth=auth) as client:
        messages = await client.receive_message_batch_async(max_batch_size=10, timeout=30000)

        print(f"Received {len(messages)} messages")
        for message in messages:
            print(f"Message: {message.get_data()}")
            message.accept()
    # page

    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"Received {len(messages)} messages"
    assert len(printed) == 1 + len(messages)
    bodies = [b"".join(message.get_data()) for message in messages]
    if len(bodies) < 3:
        # A batch ends where nothing more is at hand.
        bodies += await place.take(3 - len(bodies))
    assert bodies == [b"one", b"two", b"three"]
    assert await place.is_empty()


async def test_process_messages_continuously(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """The iteration of the page, and an error in it; it ends with an inactivity timeout, the page's never does."""
    await place.put("one", "bad", "two")
    source, auth = place.url, place.auth
    seen: list[bytes] = []

    # page: process_messages_continuously
    async with ReceiveClientAsync(source, auth=auth, timeout=2000) as client:
        message_iter = client.receive_messages_iter_async()

        async for message in message_iter:
            try:
                data = message.get_data()
                print(f"Processing: {data}")

                # Simulate async processing
                await asyncio.sleep(0.1)
                seen.append(b"".join(data))
                if seen[-1] == b"bad":
                    raise ValueError("not to be processed")

                message.accept()
            except Exception as e:
                print(f"Error: {e}")
                message.reject()
    # page

    assert seen == [b"one", b"bad", b"two"]
    assert "Error: not to be processed" in capsys.readouterr().out
    assert await place.is_empty()


# --- Async Message Iterator -------------------------------------------------------------------------------------


async def test_process_messages_with_iterator(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """With 3 messages in place of 100; the rest stays in the queue."""
    await place.put(*(f"message {n}" for n in range(5)))
    source, auth = place.url, place.auth

    # page: process_message_async
    async def process_message_async(message: Message) -> None:
        """Custom async message processing."""
        data = message.get_data()

        # Simulate async work (database query, API call, etc.)
        await asyncio.sleep(0.1)

        print(f"Processed: {data}")

    # page: process_messages_with_iterator
    async with ReceiveClientAsync(source, auth=auth) as client:
        message_iter = client.receive_messages_iter_async()

        message_count = 0
        async for message in message_iter:
            await process_message_async(message)
            message.accept()

            message_count += 1
            if message_count >= 3:
                break
    # page

    assert isinstance(message_iter, AsyncMessageIter)
    assert capsys.readouterr().out.count("Processed:") == 3
    assert await place.take(2) == [b"message 3", b"message 4"]
    assert await place.is_empty()


# --- Async Low-Level Protocol -----------------------------------------------------------------------------------


async def test_low_level(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    host, auth_sasl, target = place.peer.host, place.auth, place.queue

    # page: low_level_async_example
    # Create async connection
    connection = ConnectionAsync(host, sasl=auth_sasl)
    await connection.open_async()

    try:
        # Create async session
        session = SessionAsync(connection)
        await session.begin_async()

        # Create async sender
        sender = MessageSenderAsync(session, source="source", target=target)
        await sender.open_async()

        # Send message asynchronously
        message = Message("Low-level async message")
        result = await sender.send_async(message)
        print(f"Send result: {result}")

    finally:
        await connection.close_async()
    # page

    assert result is MessageState.SendComplete
    assert capsys.readouterr().out == "Send result: MessageState.SendComplete\n"
    assert await place.take(1) == [b"Low-level async message"]


async def test_low_level_receiver(place: Place) -> None:
    await place.put("one", "two")
    connection = ConnectionAsync(place.peer.host, sasl=place.auth)
    await connection.open_async()
    try:
        session = SessionAsync(connection)
        await session.begin_async()
        receiver = MessageReceiverAsync(session, source=place.queue, target="target")
        await receiver.open_async()
        messages: list[Message] = []
        while len(messages) < 2:
            messages += await receiver.receive_message_batch_async(max_batch_size=2, timeout=SOON)
        assert [str(message) for message in messages] == ["one", "two"]
        assert [message.accept() for message in messages] == [True, True]
        await session.end_async()
    finally:
        await connection.close_async()
    assert await place.is_empty()


# --- Async Error Handling ---------------------------------------------------------------------------------------


def robust_sending(target: str, auth: SASLPlain) -> Callable[[], Awaitable[list[MessageState] | None]]:
    # page: robust_async_sending
    async def robust_async_sending() -> list[MessageState] | None:
        try:
            async with SendClientAsync(target, auth=auth) as client:
                client.queue_message(Message("Test message"))
                results = await client.send_all_messages_async()
                print(f"Send results: {results}")
                return results

        except AMQPConnectionError as e:
            print(f"Connection failed: {e}")
            # Implement retry logic

        except MessageSendFailed as e:
            print(f"Send failed: {e}")
            # Handle send failure

        except Exception as e:
            print(f"Unexpected error: {e}")
        return None

    # page
    return robust_async_sending


async def test_robust_sending(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert await robust_sending(place.url, place.auth)() == [MessageState.SendComplete]
    assert capsys.readouterr().out == "Send results: [<MessageState.SendComplete: 2>]\n"
    assert await place.take(1) == [b"Test message"]


async def test_robust_sending_without_a_peer(
    place: Place, unused_tcp_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    auth = SASLPlain(place.peer.host, place.peer.user, place.peer.password, port=unused_tcp_port)
    assert await robust_sending(place.url, auth)() is None
    assert capsys.readouterr().out.startswith("Connection failed: ErrorCodes.UnknownError: ")


async def test_robust_sending_with_a_wrong_password(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    auth = place.auth
    auth.password = b"wrong"
    assert await robust_sending(place.url, auth)() is None
    printed = capsys.readouterr().out
    assert printed.startswith("Connection failed: ErrorCodes.UnauthorizedAccess: ")
    assert "wrong" not in printed


# --- Async Performance Considerations ---------------------------------------------------------------------------


def test_existing_event_loop(place: Place) -> None:
    target, auth = place.url, place.auth

    # page: Use existing event loop
    async def main() -> None:
        loop = asyncio.get_running_loop()

        async with SendClientAsync(target, auth=auth, loop=loop) as client:
            # Operations use the specified loop
            assert client.loop is loop

    asyncio.run(main())
    # page


async def test_concurrent_operations(place: Place) -> None:
    results: dict[str, Any] = {}

    async def send_messages_async() -> None:
        async with SendClientAsync(place.url, auth=place.auth) as client:
            client.queue_message(Message("Hello Async World"))
            results["sent"] = await client.send_all_messages_async()

    async def receive_messages_async() -> None:
        async with ReceiveClientAsync(place.url, auth=place.auth) as client:
            results["received"] = await client.receive_message_batch_async(max_batch_size=10, timeout=30000)

    # page: concurrent_operations
    # Send and receive concurrently
    send_task = asyncio.create_task(send_messages_async())
    receive_task = asyncio.create_task(receive_messages_async())

    # Wait for both to complete
    await asyncio.gather(send_task, receive_task)
    # page

    assert results["sent"] == [MessageState.SendComplete]
    assert [str(message) for message in results["received"]] == ["Hello Async World"]


async def test_context_managers_and_manual_lifecycle(place: Place) -> None:
    """The page uses one authentication object for both clients, one after the other."""
    target, auth = place.url, place.auth

    # page: Correct async usage
    async with SendClientAsync(target, auth=auth) as client:
        await client.send_all_messages_async()

    # page: Manual async lifecycle management
    client = SendClientAsync(target, auth=auth)
    await client.open_async()
    try:
        client.queue_message(Message("sent by hand"))
        results = await client.send_all_messages_async()
    finally:
        await client.close_async()
    # page

    assert results == [MessageState.SendComplete]
    assert await place.take(1) == [b"sent by hand"]


# --- and what a page of one host does not show ------------------------------------------------------------------


async def test_many_messages_and_large_ones(place: Place) -> None:
    bodies = [f"message {n}" for n in range(1500)] + ["x" * 300_000, "the last"]
    await place.put(*bodies)
    assert await place.take(len(bodies)) == [body.encode() for body in bodies]


async def test_all_that_a_message_carries(place: Place) -> None:
    from uamqp.message import MessageHeader, MessageProperties

    header = MessageHeader()
    header.durable = True
    header.priority = 7
    message = Message(
        "body",
        properties=MessageProperties(
            message_id="id", subject="subject", correlation_id="other", content_type="text/plain", group_id="group"
        ),
        application_properties={"text": "täxt", "number": 5, "flag": True},
        annotations={"x-opt-note": "note"},
        header=header,
    )
    async with SendClientAsync(place.url, auth=place.auth) as client:
        await client.send_message_async(message)
    async with ReceiveClientAsync(place.url, auth=place.auth) as client:
        (received,) = await client.receive_message_batch_async(max_batch_size=1, timeout=SOON)
        assert list(received.get_data()) == [b"body"]
        assert received.properties.message_id == b"id"
        assert received.properties.subject == b"subject"
        assert received.properties.correlation_id == b"other"
        assert received.properties.content_type == b"text/plain"
        assert received.properties.group_id == b"group"
        assert received.application_properties is not None
        assert received.application_properties[b"text"] == "täxt".encode()
        assert received.application_properties[b"number"] == 5
        assert received.application_properties[b"flag"] is True
        assert received.annotations is not None
        assert received.annotations[b"x-opt-note"] == b"note"
        assert received.header is not None
        assert received.header.durable is True
        assert received.header.priority == 7


async def test_released_and_modified_messages_come_again(place: Place) -> None:
    await place.put("message")
    for settle in (lambda m: m.release(), lambda m: m.modify(True, False)):
        async with ReceiveClientAsync(place.url, auth=place.auth, auto_complete=False) as client:
            (message,) = await client.receive_message_batch_async(max_batch_size=1, timeout=SOON)
            assert settle(message) is True
            assert message.settled
    async with ReceiveClientAsync(place.url, auth=place.auth) as client:
        (message,) = await client.receive_message_batch_async(max_batch_size=1, timeout=SOON)
        assert str(message) == "message"
        assert message.header is not None
        # RabbitMQ's classic queues do not count, but they do say that it was delivered before.
        assert message.header.delivery_count or message.header.first_acquirer is False
    assert await place.is_empty()


async def test_a_connection_shared_by_two_clients(place: Place) -> None:
    async with ConnectionAsync(place.peer.host, sasl=place.auth) as connection:
        sender, receiver = SendClientAsync(place.url), ReceiveClientAsync(place.url)
        await sender.open_async(connection=connection)
        await receiver.open_async(connection=connection)
        await sender.send_message_async(Message("shared"))
        (message,) = await receiver.receive_message_batch_async(max_batch_size=1, timeout=SOON)
        assert str(message) == "shared"
        await sender.close_async()
        await receiver.close_async()
        assert connection.modern.is_open
