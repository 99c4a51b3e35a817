"""Sending with `SendClientAsync`."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any

import pytest

import uamqp.aio as amqp
from tests.aio.peers import BOUND, Peer, eventually, peer_server
from uamqp import BatchMessage, Message, SendClient, errors, exceptions
from uamqp.address import Target
from uamqp.async_ops import ConnectionAsync, SendClientAsync
from uamqp.broker import Broker
from uamqp.codec.definitions import RELEASED, Accepted, Error, Modified, Rejected
from uamqp.codec.values import Symbol
from uamqp.constants import ErrorCodes, MessageSendResult, MessageState, SenderSettleMode
from uamqp.engine.delivery import IncomingDelivery

from .helpers import SENDERS, Refuser, bodies, call, take

OK = MessageState.SendComplete
FAILED = MessageState.SendFailed


# --- the ways to send -------------------------------------------------------------------------------------------


async def test_queue_and_send(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as client:
        first, second = Message("first"), Message("second")
        client.queue_message(first, second)
        assert client.messages_pending() is True
        assert client.pending_messages == [first, second]
        assert first.state is MessageState.WaitingToBeSent
        assert await client.send_all_messages_async() == [OK, OK]
        assert first.state is OK
        assert first.settled
        assert client.pending_messages == []
        assert client.messages_pending() is False
        assert client._shutdown
    assert await bodies(broker, "queue") == [b"first", b"second"]


async def test_nothing_to_send(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as client:
        assert await client.send_all_messages_async() == []


async def test_queue_before_open_and_send_without_opening(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    client.queue_message(Message("message"))
    assert await client.send_all_messages_async(close_on_done=False) == [OK]
    assert await client.send_all_messages_async(False) == []
    assert broker.connections == 1
    await client.close_async()
    await eventually(lambda: broker.connections == 0)


async def test_batch(broker: Broker) -> None:
    batch = BatchMessage(["a", "b"])
    async with SendClientAsync(f"{broker.url}/queue") as client:
        results = await client.send_message_batch_async([Message("one"), "two", b"three", batch], close_on_done=False)
        assert results == [OK] * 4
        assert not client._shutdown
        assert await client.send_message_batch_async([], False) == []
    sent = await take(broker, "queue")
    assert [m.body for m in sent[:3]] == [b"one", b"two", b"three"]
    assert sent[3].message_format == 0x80013700
    assert [amqp.Message.decode(section).body for section in sent[3].data_sections] == [b"a", b"b"]


async def test_batch_closes_by_default(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    await client.send_message_batch_async(["one"])
    await eventually(lambda: broker.connections == 0)


async def test_large_batch_is_cut_into_several_messages(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as client:
        batch = BatchMessage(["x" * 500_000] * 5, multi_messages=True)
        assert await client.send_message_batch_async([batch]) == [OK] * 3
    assert [len(message.data_sections) for message in await take(broker, "queue")] == [2, 2, 1]


async def test_send_one(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as client:
        assert await client.send_message_async(Message("one")) is None
        assert not client._shutdown
        await client.send_message_async(Message("two"), close_on_done=True)
        assert client._shutdown
    assert await bodies(broker, "queue") == [b"one", b"two"]


async def test_wait(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as client:
        messages = [Message(f"{n}") for n in range(10)]
        client.queue_message(*messages)
        assert await client.wait_async() is None
        assert [message.state for message in messages] == [OK] * 10


async def test_work_by_hand(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    messages = [Message(f"{n}") for n in range(10)]
    client.queue_message(*messages)
    await client.open_async()
    while not await client.client_ready_async():
        pass
    assert await client.auth_complete_async() is True
    while client.messages_pending():
        assert await client.do_work_async(batch=7) is True
    assert await client.do_work_async() is True
    await client.close_async()
    assert await client.do_work_async() is False
    assert [message.state for message in messages] == [OK] * 10


async def test_work_by_hand_notes_the_outcomes_there_are() -> None:
    async with peer_server(giving(Accepted(), None)) as server, SendClientAsync(f"{server.url}/queue") as client:
        first, second = Message("first"), Message("second")
        client.queue_message(first, second)
        while first.state is not OK:
            await client.do_work_async()
        assert client.pending_messages == [second]
        await client.do_work_async()
        assert second.state is MessageState.WaitingForSendAck


async def test_more_than_can_be_under_way(broker: Broker) -> None:
    count = 2500
    async with SendClientAsync(f"{broker.url}/queue") as client:
        client.queue_message(*(Message(f"{n}") for n in range(count)))
        assert await client.send_all_messages_async() == [OK] * count
    assert await bodies(broker, "queue") == [b"%d" % n for n in range(count)]


async def test_many_tasks_at_once(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    await asyncio.gather(*(client.send_message_async(Message(f"{n}")) for n in range(200)))
    assert broker.connections == 1
    await client.close_async()
    assert await bodies(broker, "queue") == [b"%d" % n for n in range(200)]


async def test_the_outcome_is_told_once(broker: Broker) -> None:
    told: list[Any] = []
    message = Message("message")
    message.on_send_complete = lambda result, error: told.append((result, error))
    async with SendClientAsync(f"{broker.url}/queue") as client:
        await client.send_message_async(message)
    assert told == [(MessageSendResult.Ok, None)]


async def test_who_is_told_of_the_outcome_may_fail(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    message = Message("message")
    message.on_send_complete = lambda result, error: 1 / 0
    async with SendClientAsync(f"{broker.url}/queue") as client:
        await client.send_message_async(message)
    assert message.state is OK
    assert "on_send_complete failed" in caplog.text


@pytest.mark.parametrize("mode", [SenderSettleMode.Settled, SenderSettleMode.Mixed])
async def test_without_outcomes(broker: Broker, mode: SenderSettleMode) -> None:
    broker.queue("queue", max_length=1)
    async with SendClientAsync(f"{broker.url}/queue", send_settle_mode=mode) as client:
        # The second does not fit, but nobody asks.
        assert await client.send_message_batch_async(["one", "two"]) == [OK, OK]
    assert await bodies(broker, "queue") == [b"one"]
    assert broker.refused == 1


async def test_a_new_connection_after_closing(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    await client.send_message_batch_async(["one"])
    with pytest.raises(errors.AMQPConnectionError, match=r"client is closed. Open it again"):
        await client.send_message_batch_async(["two"])
    await client.open_async()
    assert await client.send_all_messages_async() == [OK]
    assert await bodies(broker, "queue") == [b"one", b"two"]


async def test_closing_twice_and_without_opening(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    await client.close_async()
    await client.open_async()
    await client.close_async()
    await client.close_async()


async def test_loggers_have_the_names_of_the_modules(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """By which programs quieten them."""
    names = {}
    for kind, prefix in ((SendClientAsync, "uamqp.async_ops"), (SendClient, "uamqp")):
        caplog.clear()
        with caplog.at_level("DEBUG", logger="uamqp"):
            client = kind(f"{broker.url}/queue", debug=True)
            await call(client, "send_message", Message("message"))
            await call(client, "close")
        names[prefix] = {record.name for record in caplog.records} - {"uamqp.c_uamqp"}
    assert names["uamqp"] == {"uamqp.connection", "uamqp.sender"}
    assert names["uamqp.async_ops"] == {"uamqp.async_ops.connection_async", "uamqp.async_ops.sender_async"}


async def test_debug_logs(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    for debug in (False, True):
        with caplog.at_level("INFO", logger="uamqp"):
            async with SendClientAsync(f"{broker.url}/queue", debug=debug) as client:
                await client.send_message_async(Message("message"))
        assert ("connected to" in caplog.text) is debug


# --- the queue --------------------------------------------------------------------------------------------------


async def test_the_queue_by_its_old_name(broker: Broker) -> None:
    """Programs look at it, and drop or exchange what is in it."""
    client = SendClientAsync(f"{broker.url}/queue")
    first, second = Message("first"), Message("second")
    client.queue_message(first, second)
    assert client._pending_messages[0] is first
    assert list(client._pending_messages[1:]) == [second]
    client._pending_messages = []  # type: ignore[assignment]
    assert not client.messages_pending()
    client._pending_messages = [second]  # type: ignore[assignment]
    assert client._message_sender is None
    assert await client.send_all_messages_async(close_on_done=False) == [OK]
    assert client._message_sender is client.message_handler
    await client.close_async()
    assert await bodies(broker, "queue") == [b"second"]


@SENDERS
async def test_the_client_is_closed_where_nothing_can_be_queued(kind: Any, broker: Broker) -> None:
    client = kind(f"{broker.url}/queue")
    sent = Message("sent")
    await call(client, "send_message", sent)
    with pytest.raises(errors.MessageAlreadySettled):
        await call(client, "send_message", sent, close_on_done=False)
    assert client._session is not None
    with pytest.raises(errors.MessageAlreadySettled):
        await call(client, "send_message", sent, close_on_done=True)
    assert client._session is None


async def test_a_batch_that_cannot_be_queued_closes_the_client(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    sent = Message("sent")
    assert await client.send_message_batch_async([sent, "other"], False) == [OK, OK]
    with pytest.raises(errors.MessageAlreadySettled):
        await client.send_message_batch_async([sent])
    assert client._session is None


@SENDERS
async def test_who_waits_for_what_is_dropped_waits_no_more(kind: Any) -> None:
    async with peer_server(lambda: Peer(credit=1)) as server:
        client = kind(f"{server.url}/q")
        first, second = Message("first"), Message("second")
        first.on_send_complete = lambda *told: setattr(client, "_pending_messages", [])
        client.queue_message(first, second)
        states = await call(client, "send_all_messages")
        assert states == [OK, MessageState.WaitingForSendAck]
        assert not client.messages_pending()


async def test_a_message_that_is_queued_twice_is_sent_once(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    first, second = Message("first"), Message("second")
    client.queue_message(first, second, first)
    client.queue_message(first)
    assert client.pending_messages == [first, second]
    client.queue_message(copy.deepcopy(first))
    assert await client.send_all_messages_async(close_on_done=False) == [OK, OK, OK]
    third = Message("third")
    client.queue_message(third)
    assert await client.send_message_batch_async([third, third]) == [OK, OK]
    assert await bodies(broker, "queue") == [b"first", b"second", b"first", b"third"]


@SENDERS
async def test_sending_a_message_again_that_was_not_sent(kind: Any) -> None:
    """It is queued still."""
    async with Broker(auto_create=False) as broker:
        client = kind(f"{broker.url}/queue")
        message = Message("message")
        with pytest.raises(errors.LinkDetach):
            await call(client, "send_message", message)
        broker.queue("queue")
        await call(client, "close")
        await call(client, "open")
        await call(client, "send_message", message)
        await call(client, "close")
        assert message.state is OK
        assert await bodies(broker, "queue") == [b"message"]


@SENDERS
async def test_what_is_queued_while_all_is_sent_is_sent_too(kind: Any, broker: Broker) -> None:
    client = kind(f"{broker.url}/queue")
    told: list[str] = []

    def queue_another(result: Any, error: Any, n: int = 0) -> None:
        told.append(f"{n}")
        if n < 3:
            message = Message(f"{n + 1}")
            message.on_send_complete = partial(queue_another, n=n + 1)
            client.queue_message(message)

    message = Message("0")
    message.on_send_complete = queue_another
    client.queue_message(message)
    # It says of those that were there what became of them.
    assert await call(client, "send_all_messages") == [OK]
    assert told == ["0", "1", "2", "3"]
    assert not client.messages_pending()
    assert await bodies(broker, "queue") == [b"0", b"1", b"2", b"3"]


async def test_a_policy_is_asked_only_where_a_condition_was_given(broker: Broker) -> None:
    asked: list[Any] = []

    class Never(errors.ErrorPolicy):
        def on_message_error(self, error: Any) -> errors.ErrorAction:
            asked.append(error.condition)
            return errors.ErrorAction(retry=False)

    busy = Refuser(broker, "busy", "amqp:internal-error")
    async with SendClientAsync(f"{broker.url}/busy", error_policy=Never()) as client:
        client.queue_message(Message("message"))
        assert await client.send_all_messages_async(close_on_done=False) == [FAILED]
    assert asked == [ErrorCodes.InternalServerError] and len(busy.attempts) == 1
    async with peer_server(lambda: Peer("on_message")) as server:
        async with SendClientAsync(f"{server.url}/q", error_policy=Never()) as client:
            message = Message("message")
            sending = asyncio.create_task(client.send_message_async(message))
            await eventually(lambda: server.peer.messages)
            server.peer.messages[0].link.fail("amqp:link:detach-forced", "gone")
            # That the link is gone is news of its own, and the message waits.
            with pytest.raises(errors.LinkDetach, match="gone"):
                await sending
            assert client.pending_messages == [message]
            assert message.retries == 1
    assert len(asked) == 1


async def test_what_cannot_be_queued(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue")
    message = Message("message")
    client.queue_message(message)
    assert await client.send_all_messages_async(close_on_done=False) == [OK]
    with pytest.raises(errors.MessageAlreadySettled):
        client.queue_message(message)
    with pytest.raises(TypeError, match="Only new messages"):
        client.queue_message(Message.decode_from_bytes(Message("x").encode_message()))
    with pytest.raises(TypeError, match="a Message or BatchMessage is needed, not int"):
        client.queue_message(5)  # type: ignore[arg-type]
    with pytest.raises(errors.MessageContentTooLarge):
        client.queue_message(BatchMessage(["x" * 2_000_000]))
    await client.close_async()


async def test_a_message_that_cannot_be_encoded_fails_alone(broker: Broker) -> None:
    bad = Message("bad", application_properties={"key": object()})
    worse = Message("worse", header="no header")  # type: ignore[arg-type]
    async with SendClientAsync(f"{broker.url}/queue") as client:
        assert await client.send_message_batch_async([bad, "good", worse], False) == [FAILED, OK, FAILED]
        with pytest.raises(errors.ClientMessageError, match="application-properties") as caught:
            await client.send_message_async(Message("bad", application_properties={"key": object()}))
        assert caught.value.condition is ErrorCodes.InvalidField
    assert await bodies(broker, "queue") == [b"good"]


class Odd(dict[Any, Any]):
    """Not what it seems."""

    def items(self) -> Any:
        raise KeyError("odd")


def recursive() -> list[Any]:
    body: list[Any] = []
    body.append(body)
    return body


@pytest.mark.parametrize(
    "make",
    [
        lambda: Message(recursive()),
        lambda: Message(b"x", application_properties=Odd(a=1)),
        lambda: Message(5, encoding="bogus", application_properties={"a": b"b"}),
        lambda: Message(b"x", msg_format=2**40),
        lambda: Message(b"x", msg_format="x"),
    ],
)
async def test_a_message_that_nobody_could_send_fails_alone(broker: Broker, make: Any) -> None:
    async with SendClientAsync(f"{broker.url}/queue") as client:
        client.queue_message(Message(b"before"), make(), Message(b"after"))
        assert await client.send_all_messages_async(close_on_done=False) == [OK, FAILED, OK]
        assert not client.messages_pending()
        await client.send_message_async(Message(b"later"))
    assert await bodies(broker, "queue") == [b"before", b"after", b"later"]


async def test_numbers_of_other_types_are_numbers(broker: Broker) -> None:
    """Members of enums, say; it took a minute to find out that they are small."""
    async with SendClientAsync(f"{broker.url}/queue") as client:
        numbers = {"status": HTTPStatus.OK, "large": type("Large", (int,), {})(2**40)}
        await client.send_message_async(Message(b"x", application_properties=numbers))
    (message,) = await take(broker, "queue")
    assert message.application_properties == {"status": 200, "large": 2**40}


async def test_closing_that_is_cancelled_waits_for_the_peer_no_longer() -> None:
    async with peer_server(lambda: Peer("on_detach", "on_end", "on_close")) as server:
        client = SendClientAsync(f"{server.url}/queue")
        await client.client_ready_async()
        # It says nothing more, not even to what the engine would answer.
        server.peer.freeze()
        closing = asyncio.create_task(client.close_async())
        await asyncio.sleep(0.05)
        closing.cancel()
        async with asyncio.timeout(BOUND):
            with pytest.raises(asyncio.CancelledError):
                await closing
        assert client._connection is None


async def test_a_batch_that_was_asked_for_its_size_is_sent_all_the_same(broker: Broker) -> None:
    batch = BatchMessage(Message(str(n)) for n in range(3))
    size = batch.get_message_encoded_size()
    assert size == batch.get_message_encoded_size() > 20
    async with SendClientAsync(f"{broker.url}/queue") as client:
        await client.send_message_async(batch)
    (message,) = await take(broker, "queue")
    assert len(message.data_sections) == 3


async def test_a_password_that_was_not_encoded_is_not_shown() -> None:
    for url in ("amqp://u:S3cr3tTok/x@127.0.0.1:5672/q", "amqp://u:S3cr3tTok"):
        with pytest.raises((exceptions.AddressError, ValueError)) as caught:
            await SendClientAsync(url).open_async()
        assert "S3cr" not in str(caught.value)


async def test_a_message_over_the_limit_of_the_peer() -> None:
    async with Broker(max_message_size=1000) as broker, SendClientAsync(f"{broker.url}/queue") as client:
        with pytest.raises(errors.MessageSendFailed) as caught:
            await client.send_message_async(Message("x" * 2000))
        assert caught.value.condition is ErrorCodes.LinkMessageSizeExceeded
        assert await client.send_message_batch_async(["small"]) == [OK]


# --- what goes on the wire --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("{url}/queue", "queue"),
        ("{url}/a%20folder/queue?query=1", "a folder/queue"),
        ("{url}//queue", "/queue"),
    ],
)
async def test_address_of_a_url(target: str, address: str) -> None:
    async with peer_server() as server:
        url = server.url.replace("amqp://", "amqp://user:password@")
        for given in (target.format(url=url), target.format(url=url).encode()):
            async with SendClientAsync(given) as client:
                await client.send_message_async(Message("message"))
            assert server.peer.receiver.remote_attach is not None
            assert server.peer.receiver.remote_attach.target.address == address
            assert server.peer.credentials == [("PLAIN", b"\0user\0password")]


async def test_address_of_a_target() -> None:
    async with peer_server() as server, SendClientAsync(Target(f"{server.url}/a%20folder/queue?query=1")) as client:
        await client.send_message_async(Message("message"))
        assert server.peer.receiver.remote_attach is not None
        assert server.peer.receiver.remote_attach.target.address == "amqp://127.0.0.1/a%20folder/queue"


async def test_address_that_is_a_name(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        for target in ("queue", b"queue", Target("queue")):
            client = SendClientAsync(target)
            await client.open_async(connection=connection)
            await client.send_message_async(Message("message"))
            await client.close_async()
    assert await bodies(broker, "queue") == [b"message"] * 3


def rabbitmq() -> Peer:
    return Peer(settings={"properties": {"product": "RabbitMQ", "version": "4.1.2"}})


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("queue", "/queues/queue"),
        ("a%20b/c", "/queues/a%20b%2Fc"),
        ("queues/q", "/queues/q"),
        ("exchanges/e/key", "/exchanges/e/key"),
    ],
)
async def test_addresses_of_rabbitmq(path: str, address: str) -> None:
    async with peer_server(rabbitmq) as server, SendClientAsync(f"{server.url}/{path}") as client:
        await client.send_message_async(Message("message"))
        assert server.peer.receiver.remote_attach is not None
        assert server.peer.receiver.remote_attach.target.address == address


async def test_targets_go_to_rabbitmq_as_they_are() -> None:
    async with peer_server(rabbitmq) as server, SendClientAsync(Target(f"{server.url}/queue")) as client:
        await client.send_message_async(Message("message"))
        assert server.peer.receiver.remote_attach is not None
        assert server.peer.receiver.remote_attach.target.address == "amqp://127.0.0.1/queue"


async def test_terms_of_the_link_and_the_connection() -> None:
    async with peer_server() as server:
        client = SendClientAsync(
            f"{server.url}/queue",
            client_name="client",
            properties={"key": "value", b"number": 5},
            idle_timeout=12_000,
            max_frame_size=8192,
            channel_max=7,
            handle_max=9,
            incoming_window=77,
            link_properties={"link": "property"},
            desired_capabilities=["one", b"two"],
        )
        await client.send_message_async(Message("message"))
        peer = server.peer
        opened, begun, attached = peer.engine.remote_open, peer.sessions[0].remote_begin, peer.receiver.remote_attach
        assert opened is not None
        assert begun is not None
        assert attached is not None
        assert opened.container_id == "client"
        assert opened.hostname == "127.0.0.1"
        assert opened.idle_time_out == 12_000
        assert opened.max_frame_size == 8192
        assert opened.channel_max == 7
        assert opened.properties is not None
        assert opened.properties["key"] == "value"
        assert opened.properties["number"] == 5
        assert begun.incoming_window == 77
        assert begun.handle_max == 9
        assert attached.name.startswith("sender-link-")
        assert attached.source.address == "client"
        assert attached.properties == {"link": "property"}
        assert attached.desired_capabilities == ("one", "two")
        assert attached.snd_settle_mode == 0
        await client.close_async()


async def test_keep_alive() -> None:
    async with peer_server() as server:
        async with SendClientAsync(f"{server.url}/queue", keep_alive_interval=0.01):
            driver = server.peer.driver
            received: list[bytes] = []
            before = driver.data_received
            driver.data_received = lambda data: (received.append(data), before(data))[1]  # type: ignore[method-assign, func-returns-value]
            await eventually(lambda: b"".join(received).count(b"\0\0\0\x08\x02\0\0\0") >= 3)
        assert server.peer.engine.error is not None


async def test_keep_alive_ends_with_the_connection() -> None:
    async with peer_server() as server:
        client = SendClientAsync(f"{server.url}/queue", keep_alive_interval=0.01)
        await client.open_async()
        task: Any = client._keep_alive_task
        server.peer.cut()
        assert client._connection is not None
        await client._connection.modern.wait_closed(timeout=10)
        # Nobody is there to be shown anything, and that is no error.
        await asyncio.sleep(0.03)
        assert not task.done()
        await client.close_async()
        await eventually(task.done)


# --- outcomes and retries ---------------------------------------------------------------------------------------


class Outcomes(Peer):
    """Gives the outcomes of a list in turn, None for none; accepts what comes after."""

    def __init__(self, *outcomes: Any, **options: Any) -> None:
        super().__init__(**options)
        self.outcomes = outcomes

    def on_message(self, delivery: IncomingDelivery) -> None:
        number = len(self.messages) - 1
        if number >= len(self.outcomes):
            delivery.accept()
        elif self.outcomes[number] is not None:
            delivery.settle(self.outcomes[number])


def giving(*outcomes: Any, **options: Any) -> Callable[[], Outcomes]:
    return lambda: Outcomes(*outcomes, **options)


@pytest.mark.parametrize("outcome", [RELEASED, Modified(True, True, None), Rejected(None)])
async def test_an_outcome_without_reason_is_tried_again(outcome: Any) -> None:
    async with peer_server(giving(*[outcome] * 3)) as server, SendClientAsync(f"{server.url}/queue") as client:
        message = Message("message")
        await client.send_message_async(message)
        assert len(server.peer.messages) == 4
        assert message.retries == 3
        assert message.state is OK


@pytest.mark.parametrize("outcome", [RELEASED, Modified(True, True, None), Rejected(None)])
async def test_an_outcome_without_reason_too_often(outcome: Any) -> None:
    async with peer_server(giving(*[outcome] * 4)) as server, SendClientAsync(f"{server.url}/queue") as client:
        told: list[Any] = []
        message = Message("message")
        message.on_send_complete = lambda result, error: told.append((result, error))
        with pytest.raises(errors.ClientMessageError) as caught:
            await client.send_message_async(message)
        error = caught.value
        assert error.condition is ErrorCodes.UnknownError
        assert error.info == {"total_messages": 1, "number_failed": 1, "failed_messages": {message: error.__cause__}}
        assert isinstance(error.__cause__, errors.MessageSendFailed)
        assert isinstance(error.__cause__.__cause__, exceptions.DeliveryFailed)
        assert told == [(MessageSendResult.Error, error.__cause__)]
        assert len(server.peer.messages) == 4


async def test_a_rejected_message_is_no_exception_in_a_list_of_states(broker: Broker) -> None:
    broker.queue("queue", max_length=2)
    async with SendClientAsync(f"{broker.url}/queue") as client:
        assert await client.send_message_batch_async(["1", "2", "3"], False) == [OK, OK, FAILED]
        with pytest.raises(errors.MessageSendFailed) as caught:
            await client.send_message_async(Message("4"))
        # Known not to get better, so it is not tried again.
        assert caught.value.condition is ErrorCodes.ResourceLimitExceeded
        assert caught.value.description.startswith(b"the queue 'queue' is full")
        assert str(caught.value).startswith("ErrorCodes.ResourceLimitExceeded: the queue 'queue' is full")
        assert isinstance(caught.value, errors.ClientMessageError)
        assert isinstance(caught.value, exceptions.DeliveryFailed)
        assert broker.refused == 2


async def test_a_condition_of_the_services_own(broker: Broker) -> None:
    node = Refuser(broker, "busy", "com.example:busy", times=2)
    async with SendClientAsync(f"{broker.url}/busy") as client:
        await client.send_message_async(Message("message"))
    assert len(node.attempts) == 3
    node = Refuser(broker, "busier", "com.example:busy")
    async with SendClientAsync(f"{broker.url}/busier", error_policy=errors.ErrorPolicy(max_retries=1)) as client:
        with pytest.raises(errors.MessageException) as caught:
            await client.send_message_async(Message("message"))
    assert len(node.attempts) == 2
    assert caught.value.condition == b"com.example:busy"
    assert str(caught.value) == "com.example:busy: not today"
    assert type(caught.value.__cause__) is errors.MessageException


async def test_a_policy_decides(broker: Broker) -> None:
    asked: list[Any] = []

    def on_error(error: Any) -> errors.ErrorAction:
        asked.append(error)
        return errors.ErrorAction(retry=len(asked) < 3, increment_retries=False)

    node = Refuser(broker, "busy", "com.example:busy")
    policy = errors.ErrorPolicy(max_retries=1, on_error=on_error)
    message = Message("message")
    async with SendClientAsync(f"{broker.url}/busy", error_policy=policy) as client:
        assert await client.send_message_batch_async([message]) == [FAILED]
    assert len(node.attempts) == 3
    assert len(asked) == 3
    assert message.retries == 0


async def test_backing_off(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Refuser(broker, "busy", "com.example:busy", times=1)
    policy = errors.ErrorPolicy(on_error=lambda error: errors.ErrorAction(retry=True, backoff=30))
    slept: list[float] = []
    async with SendClientAsync(f"{broker.url}/busy", error_policy=policy) as client:
        await client.client_ready_async()
        assert client._connection is not None
        driver = client._connection.modern._driver
        now = driver.now

        async def record(seconds: float) -> None:
            slept.append(seconds)

        with monkeypatch.context() as patched:
            patched.setattr(driver, "sleep", record)
            patched.setattr(driver, "now", lambda: now() + sum(slept))
            await client.send_message_async(Message("message"))
    assert len(node.attempts) == 2
    assert len(slept) == 1
    assert 0 < slept[0] <= 30


@SENDERS
@pytest.mark.parametrize("name", ["send_all_messages", "do_work"])
async def test_the_time_of_a_message_ends_while_backing_off(kind: Any, name: str, broker: Broker) -> None:
    node = Refuser(broker, "busy", "com.example:busy")
    policy = errors.ErrorPolicy(on_error=lambda error: errors.ErrorAction(retry=True, backoff=3600))
    seconds = 0.05 if kind is SendClientAsync else 50
    client = kind(f"{broker.url}/busy", error_policy=policy, msg_timeout=seconds)
    told: list[Any] = []
    message = Message("message")
    message.on_send_complete = lambda result, error: told.append(result)
    client.queue_message(message)
    async with asyncio.timeout(BOUND):
        while client.messages_pending():
            await call(client, name)
    assert message.state is FAILED
    assert told == [MessageSendResult.Timeout]
    assert len(node.attempts) == 1
    await call(client, "close")


async def test_what_is_under_way_gets_its_outcome_while_backing_off() -> None:
    """Nothing else is sent meanwhile."""
    policy = errors.ErrorPolicy(on_error=lambda error: errors.ErrorAction(retry=True, backoff=3600))
    busy = Rejected(Error(Symbol("com.example:busy")))
    async with peer_server(giving(busy, None)) as server:
        async with SendClientAsync(f"{server.url}/queue", error_policy=policy) as client:
            refused, under_way, later = Message("refused"), Message("under way"), Message("later")
            client.queue_message(refused, under_way)
            sending = asyncio.create_task(client.wait_async())
            await eventually(lambda: refused.retries == 1 and len(server.peer.messages) == 2)
            client.queue_message(later)
            waiting = asyncio.create_task(client.wait_async())
            await asyncio.sleep(0.02)
            assert len(server.peer.messages) == 2
            server.peer.messages[1].settle(Accepted())
            await eventually(lambda: under_way.state is OK)
            assert client.pending_messages == [refused, later]
            assert len(server.peer.messages) == 2
            for task in (sending, waiting):
                task.cancel()
            await asyncio.wait([sending, waiting])


async def test_a_link_that_ends_while_backing_off(broker: Broker) -> None:
    Refuser(broker, "busy", "com.example:busy")
    policy = errors.ErrorPolicy(on_error=lambda error: errors.ErrorAction(retry=True, backoff=30))
    async with SendClientAsync(f"{broker.url}/busy", error_policy=policy) as client:
        message = Message("message")
        client.queue_message(message)
        sending = asyncio.create_task(client.wait_async())
        await eventually(lambda: message.retries == 1)
        assert client._connection is not None
        slept: list[float] = []

        async def end(seconds: float) -> None:
            slept.append(seconds)
            client.message_handler._modern._endpoint.ended(None)

        sending.cancel()
        client._connection.modern._driver.sleep = end  # type: ignore[method-assign]
        with pytest.raises(exceptions.AMQPError, match="is closed"):
            await client.wait_async()
        assert slept[0] > 10
        assert client.pending_messages == [message]
        assert message.state is MessageState.WaitingToBeSent
        del client._connection.modern._driver.sleep  # type: ignore[method-assign]


# --- time-outs --------------------------------------------------------------------------------------------------


def test_units_of_the_time_out() -> None:
    url = "amqp://localhost/queue"
    assert SendClientAsync(url)._msg_timeout == 0
    assert SendClientAsync(url, msg_timeout=2)._msg_timeout == 2000
    assert SendClientAsync(url, msg_timeout_ms=2)._msg_timeout == 2
    assert SendClientAsync(url, msg_timeout=0.5)._msg_timeout == 500


@pytest.mark.parametrize("credit", [0, 10])
async def test_no_outcome_in_time(credit: int) -> None:
    async with (
        peer_server(giving(None, credit=credit)) as server,
        SendClientAsync(f"{server.url}/queue", msg_timeout=0.05) as client,
    ):
        told: list[Any] = []
        message = Message("message")
        message.on_send_complete = lambda result, error: told.append((result, error))
        with pytest.raises(errors.ClientMessageError, match="timed out") as caught:
            await client.send_message_async(message)
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert told == [(MessageSendResult.Timeout, caught.value.__cause__)]
        assert message.retries == 0
        assert len(server.peer.messages) == (1 if credit else 0)


async def test_the_time_out_may_be_assigned() -> None:
    async with peer_server(giving(None)) as server, SendClientAsync(f"{server.url}/queue") as client:
        client._msg_timeout = 50.0
        client.queue_message(Message("message"))
        await client.wait_async()
        assert client.pending_messages == []


async def test_a_message_that_waited_too_long_in_the_queue(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/queue", msg_timeout=60)
    now = client._counter.get_current_ms()
    client.queue_message(Message("late"), Message("in time"))
    client.pending_messages[0].idle_time = now - 61_000
    assert await client.send_all_messages_async() == [FAILED, OK]
    assert await bodies(broker, "queue") == [b"in time"]


async def test_time_out_while_working_by_hand() -> None:
    async with peer_server(giving(None)) as server, SendClientAsync(f"{server.url}/queue", msg_timeout=0.05) as client:
        message = Message("message")
        client.queue_message(message)
        while client.messages_pending():
            await client.do_work_async()
        assert message.state is FAILED


# --- what ends while sending ------------------------------------------------------------------------------------


async def test_a_refused_link(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/$unknown") as client:
        message = Message("message")
        client.queue_message(message)
        for _ in range(2):
            with pytest.raises(errors.LinkDetach) as caught:
                await client.send_all_messages_async(close_on_done=False)
            assert caught.value.condition is ErrorCodes.NotFound
            assert caught.value.action is not None
            assert caught.value.action.retry is False
            assert isinstance(caught.value, exceptions.LinkDetached)
            assert isinstance(caught.value, errors.AMQPConnectionError)
        assert client.pending_messages == [message]
        assert message.state is MessageState.WaitingToBeSent


async def test_a_link_that_is_detached_meanwhile() -> None:
    async with peer_server(giving(None, None)) as server, SendClientAsync(f"{server.url}/queue") as client:
        first, second = Message("first"), Message("second")
        client.queue_message(first, second)
        sending = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
        await eventually(lambda: server.peers and len(server.peer.messages) == 2)
        server.peer.receiver.detach()
        with pytest.raises(errors.LinkDetach) as caught:
            await sending
        assert caught.value.condition is ErrorCodes.UnknownError
        # Both are to be sent again, which only a new link can do.
        assert client.pending_messages == [first, second]
        assert [first.state, second.state] == [MessageState.WaitingToBeSent] * 2
        assert [first.retries, second.retries] == [1, 1]


async def test_a_connection_that_is_lost_meanwhile() -> None:
    async with peer_server(giving(None)) as server:
        client = SendClientAsync(f"{server.url}/queue")
        message = Message("message")
        client.queue_message(message)
        sending = asyncio.create_task(client.wait_async())
        await eventually(lambda: server.peers and server.peer.messages)
        server.peer.cut()
        with pytest.raises(errors.AMQPConnectionError, match="Connection in an unexpected error state") as caught:
            await sending
        assert isinstance(caught.value, errors.ConnectionClose)
        assert isinstance(caught.value, exceptions.ConnectionEnded)
        assert isinstance(caught.value.__cause__, exceptions.ConnectionLost)
        assert client.pending_messages == [message]
        for call in (client.do_work_async, client.client_ready_async, client.auth_complete_async, client.wait_async):
            with pytest.raises(errors.ConnectionClose):
                await call()
        await client.close_async()
        # A new connection sends what the old one did not.
        server._make = Peer
        await client.open_async()
        assert await client.send_all_messages_async() == [OK]


async def test_a_connection_that_the_peer_closes() -> None:
    from uamqp.codec.definitions import Error
    from uamqp.codec.values import Symbol

    for condition, kind in (
        ("amqp:connection:forced", errors.ConnectionClose),
        ("com.example:x", errors.VendorConnectionClose),
    ):
        async with peer_server(giving(None)) as server, SendClientAsync(f"{server.url}/queue") as client:
            client.queue_message(Message("message"))
            sending = asyncio.create_task(client.wait_async())
            await eventually(lambda server=server: server.peers and server.peer.messages)
            server.peer.engine.close(Error(Symbol(condition), "go away", {Symbol("key"): "value"}))
            with pytest.raises(errors.ConnectionClose, match="go away") as caught:
                await sending
            assert type(caught.value) is kind
            assert caught.value.info == {b"key": b"value"}


async def test_a_session_that_the_peer_ends() -> None:
    async with peer_server(giving(None)) as server, SendClientAsync(f"{server.url}/queue") as client:
        client.queue_message(Message("message"))
        sending = asyncio.create_task(client.wait_async())
        await eventually(lambda: server.peers and server.peer.messages)
        server.peer.sessions[0].end()
        with pytest.raises(errors.MessageHandlerError, match="session ended"):
            await sending


async def test_closing_while_sending() -> None:
    async with peer_server(giving(None)) as server:
        client = SendClientAsync(f"{server.url}/queue")
        message = Message("message")
        sending = asyncio.create_task(client.send_message_async(message))
        await eventually(lambda: server.peers and server.peer.messages)
        await client.close_async()
        with pytest.raises(errors.AMQPConnectionError, match="client is closed"):
            await sending
        assert client.pending_messages == [message]


@pytest.mark.parametrize("turns", range(25))
async def test_closing_at_any_time(broker: Broker, turns: int) -> None:
    """Wherever the others are just then: they end, and nothing is opened again."""
    client = SendClientAsync(f"{broker.url}/queue")
    tasks = [asyncio.create_task(client.send_message_async(Message(f"{n}"))) for n in range(3)]
    tasks.append(asyncio.create_task(client.wait_async()))
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.open_async()
    await client.close_async()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if result is not None:
            assert isinstance(result, errors.AMQPConnectionError), result
            assert "closed" in str(result)
    assert client._connection is None
    await eventually(lambda: broker.connections == 0)


async def test_cancelling(broker: Broker) -> None:
    async with peer_server(giving(None)) as server, SendClientAsync(f"{server.url}/queue") as client:
        sending = asyncio.create_task(client.send_message_async(Message("message")))
        await eventually(lambda: server.peers and server.peer.messages)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert client.messages_pending()


async def test_a_shared_connection_that_cannot_be_opened(unused_tcp_port: int) -> None:
    connection = ConnectionAsync(f"amqp://127.0.0.1:{unused_tcp_port}")
    client = SendClientAsync("queue")
    with pytest.raises(errors.ConnectionClose):
        await client.open_async(connection)
    async with Broker(port=unused_tcp_port):
        # The connection is not the client's: both may be tried again.
        await client.open_async(connection)
        await client.send_message_async(Message("message"))
        await client.close_async()
        await connection.close_async()


async def test_redirect(broker: Broker) -> None:
    async with Broker() as other:
        client = SendClientAsync(f"{broker.url}/queue")
        client.queue_message(Message("dropped"))
        await client.open_async()
        redirect = errors.LinkRedirect(
            ErrorCodes.LinkRedirect, b"over there", {b"hostname": b"127.0.0.1", b"address": f"{other.url}/new".encode()}
        )
        await client.redirect_async(redirect, None)  # type: ignore[arg-type]
        assert client.pending_messages == []
        await client.send_message_async(Message("message"))
        await client.close_async()
        assert await bodies(other, "new") == [b"message"]
        await eventually(lambda: broker.connections == 0)
        async with ConnectionAsync(broker.url) as connection:
            await client.open_async(connection)
            with pytest.raises(ValueError, match="shared connection"):
                await client.redirect_async(redirect, connection.auth)
            await client.close_async()


async def test_a_message_that_was_accepted_while_the_client_was_closed(broker: Broker) -> None:
    client = SendClientAsync(f"{broker.url}/q")
    await client.send_message_async(Message("first"))
    client.queue_message(Message("queued"))
    closing = asyncio.create_task(client.send_all_messages_async())
    await asyncio.sleep(0)
    message = Message("last")
    await client.send_message_async(message)
    assert message.state is MessageState.SendComplete
    assert await closing == [MessageState.SendComplete]
    assert sorted(await bodies(broker, "q")) == [b"first", b"last", b"queued"]


async def test_messages_that_nobody_waits_for_any_more_get_their_outcome(broker: Broker) -> None:
    told: list[MessageSendResult] = []
    async with SendClientAsync(f"{broker.url}/q") as client:
        await client.send_message_async(Message("first"))
        for _ in range(10):
            message = Message("cancelled")
            message.on_send_complete = lambda result, error: told.append(result)
            sending = asyncio.create_task(client.send_message_async(message))
            await asyncio.sleep(0)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            await client.send_message_async(Message("next"))
        assert not client.messages_pending()
    assert told == [MessageSendResult.Ok] * 10


@pytest.mark.parametrize("outcome", [Accepted(), RELEASED, Rejected(None)])
async def test_several_tasks_wait_for_one_message(outcome: Any) -> None:
    async with peer_server(giving(None)) as server, SendClientAsync(f"{server.url}/queue") as client:
        message = Message("message")
        told: list[MessageSendResult] = []
        message.on_send_complete = lambda result, error: told.append(result)
        await client.client_ready_async()
        sending = asyncio.create_task(client.send_message_async(message))
        waiting = [asyncio.create_task(client.wait_async()) for _ in range(3)]
        await eventually(lambda: bool(server.peer.messages))
        waiting.pop().cancel()
        server.peer.messages[0].settle(outcome)
        await asyncio.wait_for(asyncio.gather(sending, *waiting), BOUND)
        assert message.state is OK
        assert message.retries == (0 if isinstance(outcome, Accepted) else 1)
        assert told == [MessageSendResult.Ok]
        assert not client.messages_pending()


async def test_one_after_another_without_outcomes(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/queue", send_settle_mode=SenderSettleMode.Settled) as client:
        for body in ("one", "two", "three"):
            message = Message(body)
            await client.send_message_async(message)
            assert message.state is OK
        assert not client.messages_pending()
    assert await bodies(broker, "queue") == [b"one", b"two", b"three"]


async def test_one_after_another_and_one_that_is_too_large() -> None:
    peer = partial(Peer, attach={"max_message_size": 200})
    async with peer_server(peer) as server, SendClientAsync(f"{server.url}/queue") as client:
        await client.send_message_async(Message(b"one"))
        large = Message(b"x" * 250)
        with pytest.raises(errors.ClientMessageError) as caught:
            await client.send_message_async(large)
        assert type(caught.value.__cause__) is errors.MessageSendFailed
        assert large.state is FAILED
        await client.send_message_async(Message(b"two"))
        assert len(server.peer.messages) == 2
        assert not client.messages_pending()


@pytest.mark.parametrize("body", ["hello", b"hello"])
async def test_one_body_is_no_batch(body: Any) -> None:
    client = SendClientAsync("amqp://localhost/q")
    with pytest.raises(TypeError, match="several messages are needed"):
        await client.send_message_batch_async(body)


@pytest.mark.parametrize("decide", [lambda error: 1 / 0, lambda error: 5, lambda error: None])
async def test_a_function_that_cannot_decide_makes_an_error_final(decide: Any) -> None:
    """It ends the message that it is about, and no other."""

    class Refusing(Peer):
        def on_message(self, delivery: IncomingDelivery) -> None:
            first = len(self.messages) == 1
            delivery.settle(Rejected(error=Error(Symbol("com.x:busy"))) if first else Accepted())

    async with peer_server(Refusing) as server:
        client = SendClientAsync(f"{server.url}/q", error_policy=errors.ErrorPolicy(on_error=decide))
        with pytest.raises(errors.ClientMessageError):
            await client.send_message_async(Message("a"))
        second = Message("b")
        await client.send_message_async(second)
        assert second.state is MessageState.SendComplete
        assert client.pending_messages == []
        await client.close_async()
