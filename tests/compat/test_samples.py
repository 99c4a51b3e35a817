"""Programs as people wrote them for uamqp 1.6: what its documentation taught, run against the embedded broker.

Each is written in the style of that time: one-call functions, clients in `with`, polling loops, callbacks, tokens,
annotations and filters of the Azure services.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import uamqp
from uamqp import authentication, errors, types
from uamqp.broker import Broker
from uamqp.broker.peer import Peer as BrokerPeer
from uamqp.broker.peer import Service
from uamqp.codec.message import Message as Modern
from uamqp.codec.values import Described

from ..aio.peers import Peer, threaded_server


@pytest.fixture
def running() -> Iterator[Broker]:
    with Broker.running(users={"user": "pass word"}) as broker:
        yield broker


@pytest.fixture
def url(running: Broker) -> str:
    """Of a queue, with the credentials that the broker wants, percent-encoded as they must be in a URL."""
    return f"{running.url.replace('://', '://user:pass%20word@')}/queue"


# --- one call ---------------------------------------------------------------------------------------------------


def test_send_and_receive_in_one_call(url: str) -> None:
    results = uamqp.send_message(url, b"Hello World")
    assert not [m for m in results if m == uamqp.constants.MessageState.SendFailed]
    message = uamqp.receive_message(url)
    assert message is not None
    assert b"".join(message.get_data()) == b"Hello World"
    assert uamqp.receive_message(url, timeout=50) is None


def test_receive_several_in_one_call(url: str) -> None:
    for number in range(5):
        uamqp.send_message(url, f"message {number}")
    batch = uamqp.receive_messages(url, max_batch_size=3)
    assert len(batch) == 3
    assert [str(message) for message in batch] == ["message 0", "message 1", "message 2"]


def test_plain_authentication(running: Broker) -> None:
    auth = authentication.SASLPlain("127.0.0.1", "user", "pass word")
    assert uamqp.send_message(f"{running.url}/queue", "x", auth=auth) == [uamqp.constants.MessageState.SendComplete]
    wrong = authentication.SASLPlain("127.0.0.1", "user", "wrong")
    with pytest.raises(errors.AuthenticationException):
        uamqp.send_message(f"{running.url}/queue", "x", auth=wrong)


# --- clients ----------------------------------------------------------------------------------------------------


def test_a_client_that_sends_many(url: str) -> None:
    target = uamqp.address.Target(url.replace("/queue", "/other"))
    assert target.username == "user"
    client = uamqp.SendClient(url)
    for number in range(10):
        message = uamqp.Message(f"event {number}".encode())
        message.application_properties = {"number": number}
        client.queue_message(message)
    results = client.send_all_messages()
    assert all(state == uamqp.constants.MessageState.SendComplete for state in results)


def test_a_client_that_is_worked_by_hand(url: str) -> None:
    outcomes: list[Any] = []
    with uamqp.SendClient(url) as client:
        for number in range(3):
            message = uamqp.Message(str(number))
            message.on_send_complete = lambda result, error: outcomes.append((result, error))
            client.queue_message(message)
        while client.messages_pending():
            client.do_work()
    assert outcomes == [(uamqp.constants.MessageSendResult.Ok, None)] * 3


def test_a_receiver_with_a_callback(url: str) -> None:
    uamqp.send_message(url, "first")
    uamqp.send_message(url, "last")
    seen: list[str] = []
    client = uamqp.ReceiveClient(url, timeout=1000)

    def on_message(message: uamqp.Message) -> None:
        seen.append(str(message))
        if str(message) == "last":
            client._shutdown = True

    client.receive_messages(on_message)
    assert seen == ["first", "last"]


def test_a_receiver_that_settles_by_itself(url: str, running: Broker) -> None:
    for number in range(4):
        uamqp.send_message(url, str(number))
    with uamqp.ReceiveClient(url, auto_complete=False, timeout=200, prefetch=10) as client:
        for message in client.receive_messages_iter():
            if str(message) == "1":
                message.reject(condition="my:condition", description="not this one")
            elif str(message) == "2":
                message.release()
                break
            else:
                message.accept()
    assert running.call(lambda: running.queue("queue").length) == 2


def test_a_receiver_in_a_thread_and_a_sender_in_another(url: str) -> None:
    received: list[str] = []
    client = uamqp.ReceiveClient(url)

    def receive() -> None:
        with client:
            for message in client.receive_messages_iter():
                received.append(str(message))
                if len(received) == 20:
                    break

    thread = threading.Thread(target=receive)
    thread.start()
    with uamqp.SendClient(url) as sender:
        for number in range(20):
            sender.send_message(uamqp.Message(str(number)))
    thread.join(20)
    assert received == [str(number) for number in range(20)]


def test_batches_for_azure(url: str) -> None:
    def events() -> Iterator[str]:
        for number in range(100):
            yield f"event {number}"

    batch = uamqp.message.BatchMessage(data=events(), properties=uamqp.message.MessageProperties(subject="batch"))
    assert uamqp.SendClient(url).send_message(batch, close_on_done=True) is None
    (received,) = uamqp.receive_messages(url, max_batch_size=1)
    inner = [uamqp.Message.decode_from_bytes(section) for section in received.get_data()]
    assert [str(message) for message in inner] == [f"event {number}" for number in range(100)]
    assert received.properties.subject == b"batch"


def test_a_shared_connection(url: str, running: Broker) -> None:
    auth = authentication.SASLPlain("127.0.0.1", "user", "pass word")
    connection = uamqp.Connection(running.url, auth, container_id="mine", debug=False)
    sender, receiver = uamqp.SendClient(url), uamqp.ReceiveClient(url)
    sender.open(connection=connection)
    receiver.open(connection=connection)
    sender.send_message(uamqp.Message("shared"))
    assert [str(message) for message in receiver.receive_message_batch()] == ["shared"]
    assert running.call(lambda: running.connections) == 1
    sender.close()
    receiver.close()
    connection.destroy()


def test_low_level_links(url: str, running: Broker) -> None:
    auth = authentication.SASLPlain("127.0.0.1", "user", "pass word")
    results: list[Any] = []
    received: list[Any] = []
    with uamqp.Connection(running.url, auth) as connection, uamqp.Session(connection) as session:
        with uamqp.MessageSender(session, "source", url, debug=False) as sender:
            sender.send(uamqp.Message("low level"), lambda message, result, delivery_state=None: results.append(result))
            while not results:
                sender.work()
        with uamqp.MessageReceiver(session, url, "target", received.append) as receiver:
            while not received:
                receiver.work()
    assert str(received[0]) == "low level"


# --- asynchronous -----------------------------------------------------------------------------------------------


def test_asynchronous_clients(url: str) -> None:
    async def send() -> None:
        client = uamqp.SendClientAsync(url)
        client.queue_message(uamqp.Message("one"), uamqp.Message("two"))
        results = await client.send_all_messages_async()
        assert results == [uamqp.constants.MessageState.SendComplete] * 2

    async def receive() -> list[str]:
        seen = []
        async with uamqp.ReceiveClientAsync(url, timeout=200, prefetch=5) as client:
            async for message in client.receive_messages_iter_async():
                seen.append(str(message))
        return seen

    async def main() -> list[str]:
        await send()
        return await receive()

    assert asyncio.run(main()) == ["one", "two"]


def test_an_asynchronous_connection_of_several_receivers(url: str, running: Broker) -> None:
    """As the monitors of device hubs do it: one receiver for each partition, on one connection."""

    async def main() -> list[str]:
        auth = authentication.SASLPlain("127.0.0.1", "user", "pass word")
        found: list[str] = []
        properties = {"product": "monitor"}
        async with uamqp.ConnectionAsync(
            running.url, sasl=auth, container_id="id", properties=properties
        ) as connection:

            async def listen(partition: int) -> None:
                source = f"{running.url}/partition-{partition}"
                client = uamqp.ReceiveClientAsync(source, timeout=300, prefetch=0, client_name=f"{partition}")
                try:
                    await client.open_async(connection=connection)
                    async for message in client.receive_messages_iter_async():
                        found.append(str(message))
                except asyncio.CancelledError:
                    await client.close_async()
                finally:
                    await client.close_async()

            for partition in range(3):
                target = url.replace("/queue", f"/partition-{partition}")
                async with uamqp.SendClientAsync(target) as sender:
                    await sender.send_message_async(uamqp.Message(f"of {partition}"))
            await asyncio.gather(*(listen(partition) for partition in range(3)))
        return sorted(found)

    assert asyncio.run(main()) == ["of 0", "of 1", "of 2"]


# --- tokens -----------------------------------------------------------------------------------------------------


def test_shared_access_keys() -> None:
    checked: list[tuple[str, str, str]] = []

    def check(kind: str, audience: str, token: str) -> str | None:
        checked.append((kind, audience, token))
        return None

    with Broker.running(token_check=check) as broker:
        uri = f"{broker.url}/queue"
        auth = authentication.SASTokenAuth.from_shared_access_key(uri, "RootManageSharedAccessKey", "key")
        client = uamqp.SendClient(uri, auth=auth)
        client.send_message(uamqp.Message("authorized"), close_on_done=True)
        assert str(uamqp.receive_message(uri)) == "authorized"
    ((kind, audience, token),) = checked
    assert (kind, audience) == ("servicebus.windows.net:sastoken", uri)
    assert token.startswith("SharedAccessSignature sr=")
    assert token.endswith("&skn=RootManageSharedAccessKey")
    assert auth.token == token.encode()


def test_json_web_tokens() -> None:
    calls: list[int] = []

    class AccessToken:
        token = b"a.b.c"
        expires_on = 4_000_000_000

    def get_token() -> AccessToken:
        calls.append(1)
        return AccessToken()

    with Broker.running() as open_broker:
        uri = f"{open_broker.url}/queue"
        auth = authentication.JWTTokenAuth(uri, uri, get_token, expires_in=timedelta(hours=1))
        with uamqp.SendClient(uri, auth=auth, keep_alive_interval=10) as client:
            client.send_message(uamqp.Message("authorized"))
        assert calls
        assert str(uamqp.receive_message(uri)) == "authorized"


# --- management -------------------------------------------------------------------------------------------------


class EventHub(Service):
    """Answers as an event hub does."""

    def handle(self, peer: BrokerPeer, message: Modern) -> None:
        asked = message.application_properties
        assert asked["operation"] == "READ"
        assert asked["type"] == "com.microsoft:eventhub"
        facts = {"name": asked["name"], "partition_count": 2, "partition_ids": ["0", "1"]}
        answer = Modern(facts, application_properties={"status-code": 200, "status-description": "OK"})
        self.reply(peer, message, answer)


def test_management_requests_for_azure() -> None:
    with Broker.running() as open_broker:
        open_broker.call(lambda: open_broker._nodes.update({"$management": EventHub("$management")}))
        request = uamqp.Message(application_properties={"name": "hub"})
        with uamqp.AMQPClient(f"{open_broker.url}/hub") as client:
            answer = client.mgmt_request(
                request,
                b"READ",
                op_type=b"com.microsoft:eventhub",
                status_code_field=b"status-code",
                description_fields=b"status-description",
            )
    assert answer.application_properties[b"status-code"] == 200
    assert answer.get_data()[b"partition_ids"] == [b"0", b"1"]


# --- annotations and filters ------------------------------------------------------------------------------------


def test_annotations_and_properties_of_a_device_hub(url: str) -> None:
    message = uamqp.Message(
        b'{"temperature": 21}',
        properties=uamqp.message.MessageProperties(
            message_id="id-1", to="/devices/d1", content_type="application/json"
        ),
        application_properties={"alert": "false"},
    )
    message.annotations = {types.AMQPSymbol("iothub-connection-device-id"): "d1", b"x-opt-sequence-number": 7}
    uamqp.SendClient(url).send_message(message, close_on_done=True)
    (received,) = uamqp.receive_messages(url, max_batch_size=1)
    assert received.annotations.get(b"iothub-connection-device-id") == b"d1"
    assert received.annotations.get(b"x-opt-sequence-number") == 7
    assert received.properties.message_id == b"id-1"
    assert received.properties.content_type == b"application/json"
    assert received.application_properties == {b"alert": b"false"}
    assert next(received.get_data()) == b'{"temperature": 21}'


def test_filters_link_properties_and_capabilities() -> None:
    with threaded_server(Peer) as server:
        source = uamqp.Source(f"{server.url}/hub/ConsumerGroups/$default/Partitions/0")
        source.set_filter(b"amqp.annotation.x-opt-offset > '100'")
        symbols = types.AMQPArray([types.AMQPSymbol(b"com.microsoft:enable-receiver-runtime-metric")])
        client = uamqp.ReceiveClient(
            source,
            link_properties={types.AMQPSymbol(b"com.microsoft:epoch"): types.AMQPLong(5)},
            desired_capabilities=uamqp.utils.data_factory(symbols),
            timeout=20,
        )
        assert list(client.receive_messages_iter()) == []
        attach = server.peer.sender.remote_attach
    assert attach is not None
    assert attach.source is not None
    assert attach.source.address.endswith("/hub/ConsumerGroups/$default/Partitions/0")
    name = "apache.org:selector-filter:string"
    assert attach.source.filter == {name: Described(name, "amqp.annotation.x-opt-offset > '100'")}
    assert attach.properties == {"com.microsoft:epoch": 5}
    assert list(attach.desired_capabilities or ()) == ["com.microsoft:enable-receiver-runtime-metric"]


def test_the_log_of_frames(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="uamqp"):
        uamqp.SendClient(url, debug=True).send_message(uamqp.Message("x"), close_on_done=True)
    assert caplog.records
    assert "pass word" not in caplog.text
