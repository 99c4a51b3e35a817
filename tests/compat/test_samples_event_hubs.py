"""Programs as people wrote them for uamqp 1.6 and Event Hubs, after its samples; the broker plays the hub."""

from __future__ import annotations

import asyncio
from collections import namedtuple
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import quote_plus

import pytest

import uamqp
from uamqp import address, authentication, errors, types, utils
from uamqp.broker import Azure, Broker

from ..aio.peers import Peer, peer_server
from ..transport.servers import ProxyServer
from .conftest import Certificates

POLICY, KEY = "send and listen", "a2V5+/="
EVENTS = 25


class Hub(NamedTuple):
    """An event hub with two partitions, of which the first has some events; it wants a key.

    Attributes:
        terms: where its server is, and whom to trust, for an object of `uamqp.authentication`.
        websocket: the same for a WebSocket.
    """

    broker: Broker
    terms: dict[str, Any]
    websocket: dict[str, Any]

    uri = "sb://localhost/hub"
    target = "amqps://localhost/hub"
    partitions = "amqps://localhost/hub/ConsumerGroups/$Default/Partitions/"
    source = partitions + "0"

    def plain(self) -> authentication.SASLPlain:
        return authentication.SASLPlain("localhost", POLICY, KEY, **self.terms)

    def sas(self, **terms: Any) -> authentication.SASTokenAuth:
        return authentication.SASTokenAuth.from_shared_access_key(self.uri, POLICY, KEY, **{**self.terms, **terms})

    def sas_async(self, **terms: Any) -> authentication.SASTokenAsync:
        return authentication.SASTokenAsync.from_shared_access_key(self.uri, POLICY, KEY, **{**self.terms, **terms})


def run_hub(**tls: Any) -> Any:
    return Broker.running(
        "localhost",
        personality=Azure(hubs={"hub": 2}, keys={POLICY: KEY}),
        websocket_port=0,
        **tls,
    )


@pytest.fixture
def hub(certificates: Certificates) -> Iterator[Hub]:
    cert, key = certificates.server
    with run_hub(tls_cert=cert, tls_key=key) as broker:
        trust = {"verify": str(certificates.ca)}
        hub = Hub(broker, {"port": broker.port, **trust}, {"port": broker.websocket_port, **trust})
        fill(hub, "0", "1")
        yield hub


def fill(hub: Hub, *partitions: str) -> None:
    for partition in partitions:
        with uamqp.SendClient(f"{hub.target}/Partitions/{partition}", auth=hub.plain()) as client:
            for number in range(EVENTS):
                client.queue_message(uamqp.Message(f"event {number}"))
            assert client.send_all_messages() == [uamqp.constants.MessageState.SendComplete] * EVENTS


def sequence_numbers(messages: list[uamqp.Message]) -> list[int]:
    return [message.annotations[b"x-opt-sequence-number"] for message in messages]


# --- receiving --------------------------------------------------------------------------------------------------


def test_one_message_in_one_call(hub: Hub) -> None:
    assert uamqp.send_message(hub.target, b"Hello world", auth=hub.plain())
    message = uamqp.receive_message(hub.source, auth=hub.plain(), timeout=10_000)
    assert message is not None
    assert next(message.get_data()) == b"event 0"


def test_several_messages_with_the_key_in_the_url() -> None:
    with run_hub() as broker:
        server = f"amqp://{quote_plus(POLICY)}:{quote_plus(KEY)}@localhost:{broker.port}/hub"
        for number in range(12):
            uamqp.send_message(f"{server}/Partitions/0", f"event {number}")
        source = f"{server}/ConsumerGroups/$Default/Partitions/0"
        assert len(uamqp.receive_messages(source, max_batch_size=10)) <= 10
        assert len(uamqp.receive_messages(source, max_batch_size=1)) == 1


def test_all_that_is_there_in_one_call(hub: Hub) -> None:
    assert 1 <= len(uamqp.receive_messages(hub.source, auth=hub.plain(), timeout=5000)) <= 300


def test_over_a_websocket(hub: Hub) -> None:
    auth = hub.sas(transport_type=uamqp.TransportType.AmqpOverWebsocket, **hub.websocket)
    with uamqp.ReceiveClient(hub.source, auth=auth, debug=False, timeout=5000, prefetch=50) as client:
        assert 1 <= len(client.receive_message_batch(max_batch_size=10)) <= 10


def test_through_a_proxy(hub: Hub) -> None:
    with ProxyServer().running() as proxy:
        settings = {"proxy_hostname": "127.0.0.1", "proxy_port": proxy.port}
        auth = hub.sas(http_proxy=settings, **hub.websocket)
        with uamqp.ReceiveClient(hub.source, auth=auth, debug=False, timeout=5000, prefetch=50) as client:
            assert 1 <= len(client.receive_message_batch(max_batch_size=10)) <= 10
        assert proxy.wanted == [("localhost", hub.broker.websocket_port)]


def test_batches_until_nothing_comes(hub: Hub) -> None:
    received: list[uamqp.Message] = []
    with uamqp.ReceiveClient(hub.source, auth=hub.sas(), debug=False, timeout=200, prefetch=50) as client:
        with pytest.raises(ValueError):
            client.receive_message_batch(max_batch_size=100)
        batch = client.receive_message_batch(max_batch_size=10)
        while batch:
            assert len(batch) <= 10
            received += batch
            batch = client.receive_message_batch(max_batch_size=10)
    assert sequence_numbers(received) == list(range(EVENTS))
    assert len({message.delivery_tag for message in received}) == EVENTS


def test_what_the_hub_knows_of_itself_comes_with_each_message(hub: Hub) -> None:
    symbols = [types.AMQPSymbol(b"com.microsoft:enable-receiver-runtime-metric")]
    with uamqp.ReceiveClient(
        hub.source,
        auth=hub.sas(),
        timeout=5000,
        prefetch=50,
        desired_capabilities=utils.data_factory(types.AMQPArray(symbols)),
    ) as client:
        batch = client.receive_message_batch(max_batch_size=10)
    assert batch
    for message in batch:
        facts = message.delivery_annotations
        assert facts[b"last_enqueued_sequence_number"] == EVENTS - 1
        assert facts.keys() >= {
            b"last_enqueued_offset",
            b"last_enqueued_time_utc",
            b"runtime_info_retrieval_time_utc",
        }


def test_a_function_is_handed_each_message(hub: Hub) -> None:
    seen: list[uamqp.Message] = []

    def on_message_received(message: uamqp.Message) -> None:
        seen.append(message)
        assert message.accept() is True

    uamqp.ReceiveClient(hub.source, auth=hub.sas(), timeout=200, debug=False).receive_messages(on_message_received)
    assert sequence_numbers(seen) == list(range(EVENTS))
    assert str(seen[3]) == "event 3"


def test_a_generator_that_two_loops_share(hub: Hub) -> None:
    client = uamqp.ReceiveClient(hub.source, auth=hub.sas(), timeout=1000, debug=False, prefetch=10)
    seen: list[uamqp.Message] = []
    generator = client.receive_messages_iter()
    for enough in (10, 20):
        for message in generator:
            seen.append(message)
            if len(seen) == enough:
                message.accept()
                break
    client.close()
    assert sequence_numbers(seen) == list(range(20))


def test_a_filter(hub: Hub) -> None:
    source = address.Source(hub.source)
    source.set_filter(b"amqp.annotation.x-opt-sequence-number > 15")
    received: list[uamqp.Message] = []
    with uamqp.ReceiveClient(source, auth=hub.plain(), timeout=200, prefetch=50) as client:
        batch = client.receive_message_batch(max_batch_size=10)
        while batch:
            received += batch
            batch = client.receive_message_batch(max_batch_size=10)
    assert sequence_numbers(received) == list(range(16, EVENTS))
    assert {b"x-opt-offset", b"x-opt-enqueued-time"} <= received[0].annotations.keys()
    assert b"x-opt-partition-key" not in received[0].annotations
    assert received[0]._message.message_format == 0
    assert list(received[0].get_data()) == [b"event 16"]


# --- sending ----------------------------------------------------------------------------------------------------


def arrived(hub: Hub, since: int = EVENTS - 1) -> list[uamqp.Message]:
    """The messages that came to either partition after those that were there at first."""
    found: list[uamqp.Message] = []
    for partition in "01":
        source = address.Source(hub.partitions + partition)
        source.set_filter(f"amqp.annotation.x-opt-sequence-number > {since}".encode())
        found += uamqp.receive_messages(source, auth=hub.sas(), timeout=100)
    return found


def test_sending_in_one_call_with_a_key(hub: Hub) -> None:
    assert uamqp.send_message(hub.target, b"Hello world", auth=hub.sas())
    assert [str(message) for message in arrived(hub)] == ["Hello world"]


def test_queued_messages_with_all_that_belongs_to_them(hub: Hub) -> None:
    key = {b"x-opt-partition-key": b"PartitionKeyInfo"}
    with ProxyServer().running() as proxy:
        settings = {"proxy_hostname": "127.0.0.1", "proxy_port": proxy.port}
        client = uamqp.SendClient(hub.target, auth=hub.sas(http_proxy=settings, **hub.websocket), debug=False)
        for _ in range(10):
            header = uamqp.message.MessageHeader()
            header.durable = True
            properties = uamqp.message.MessageProperties(message_id=b"message id")
            client.queue_message(
                uamqp.Message(
                    b"hello world", properties=properties, header=header, application_properties=key, annotations=key
                )
            )
            results = client.send_all_messages(close_on_done=False)
            assert not [state for state in results if state == uamqp.constants.MessageState.SendFailed]
        client.close()
    found = arrived(hub)
    assert len(found) == 10
    for message in found:
        assert message.properties.message_id == b"message id"
        assert message.header.durable is True
        assert message.application_properties == key
        assert message.annotations[b"x-opt-partition-key"] == b"PartitionKeyInfo"


def test_one_after_the_other(hub: Hub) -> None:
    key = {b"x-opt-partition-key": b"PartitionKeyInfo"}
    client = uamqp.SendClient(hub.target, auth=hub.sas(), debug=False)
    for _ in range(10):
        client.send_message(uamqp.Message(b"hello world", application_properties=key, annotations=key))
    client.close()
    assert [str(message) for message in arrived(hub)] == ["hello world"] * 10


def test_batches_of_a_generator(hub: Hub) -> None:
    client = uamqp.SendClient(f"{hub.target}/Partitions/0", auth=hub.sas(), debug=False)
    for _ in range(3):
        events = (f"Hello world {number}".encode() for number in range(50))
        client.queue_message(uamqp.message.BatchMessage(events))
        results = client.send_all_messages(close_on_done=False)
        assert not [state for state in results if state == uamqp.constants.MessageState.SendFailed]
    client.close()
    # A hub hands out the messages of a batch one by one.
    assert [str(message) for message in arrived(hub)] == [f"Hello world {number}" for number in range(50)] * 3


# --- asynchronous receiving -------------------------------------------------------------------------------------


async def test_asynchronous_functions_are_handed_each_message(hub: Hub) -> None:
    seen: list[uamqp.Message] = []

    def on_message_received(message: uamqp.Message) -> uamqp.Message:
        seen.append(message)
        return message

    client = uamqp.ReceiveClientAsync(hub.source, auth=hub.sas_async(), timeout=200, prefetch=10)
    await client.receive_messages_async(on_message_received)
    assert sequence_numbers(seen) == list(range(EVENTS))


async def test_an_asynchronous_filter_by_time(hub: Hub) -> None:
    seen: list[uamqp.Message] = []
    source = address.Source(hub.source)
    source.set_filter(b"amqp.annotation.x-opt-enqueuedtimeutc > 1518731960545")
    client = uamqp.ReceiveClientAsync(source, auth=hub.plain(), timeout=200)
    await client.receive_messages_async(seen.append)
    assert sequence_numbers(seen) == list(range(EVENTS))
    source.set_filter(b"amqp.annotation.x-opt-enqueuedtimeutc > 4102444800000")
    client = uamqp.ReceiveClientAsync(source, auth=hub.plain(), timeout=200)
    await client.receive_messages_async(seen.append)
    assert len(seen) == EVENTS


async def test_an_asynchronous_iterator_that_two_loops_share(hub: Hub) -> None:
    client = uamqp.ReceiveClientAsync(hub.source, debug=False, auth=hub.sas_async(), timeout=1000, prefetch=10)
    seen: list[uamqp.Message] = []
    messages = client.receive_messages_iter_async()
    for enough in (10, 20):
        async for message in messages:
            seen.append(message)
            if len(seen) == enough:
                message.accept()
                break
    await client.close_async()
    assert sequence_numbers(seen) == list(range(20))


async def test_asynchronous_batches(hub: Hub) -> None:
    seen: list[uamqp.Message] = []
    async with uamqp.ReceiveClientAsync(hub.source, auth=hub.sas_async(), timeout=200, prefetch=10) as client:
        while batch := await client.receive_message_batch_async(10):
            assert len(batch) <= 10
            seen += batch
    assert sequence_numbers(seen) == list(range(EVENTS))


async def test_partitions_on_one_connection(hub: Hub) -> None:
    auth = hub.sas_async()
    async with uamqp.ConnectionAsync("localhost", auth, debug=False) as connection:
        clients = [
            uamqp.ReceiveClientAsync(hub.partitions + partition, debug=False, auth=auth, timeout=1000, prefetch=1)
            for partition in "01"
        ]
        for client in clients:
            await client.open_async(connection=connection)
        try:
            batches = await asyncio.gather(*(client.receive_message_batch_async(1) for client in clients))
        finally:
            for client in clients:
                await client.close_async()
        assert [len(batch) for batch in batches] == [1, 1]
        assert hub.broker.call(lambda: hub.broker.connections) == 1


async def test_partitions_on_two_connections(hub: Hub) -> None:
    async def receive_ten(client: uamqp.ReceiveClientAsync) -> list[uamqp.Message]:
        received: list[uamqp.Message] = []
        while len(received) < 10:
            received += await client.receive_message_batch_async(1)
        return received

    clients = [
        uamqp.ReceiveClientAsync(hub.partitions + partition, auth=hub.sas_async(), timeout=1000, prefetch=3)
        for partition in "01"
    ]
    try:
        for client in clients:
            await client.open_async()
        batches = await asyncio.gather(*map(receive_ten, clients))
    finally:
        for client in clients:
            await client.close_async()
    assert [sequence_numbers(batch) for batch in batches] == [list(range(10))] * 2


# --- asynchronous sending ---------------------------------------------------------------------------------------


async def test_an_asynchronous_client_that_sends_what_is_queued(hub: Hub) -> None:
    auth = hub.plain()
    assert not auth.consumed
    client = uamqp.SendClientAsync(hub.target, auth=auth, debug=False)
    properties = {b"SendData": b"Property_String_Value_1"}
    client.queue_message(*(uamqp.Message(b"hello world", application_properties=properties) for _ in range(10)))
    assert len(client.pending_messages) == 10
    await client.open_async()
    assert auth.consumed
    results = await client.send_all_messages_async()
    assert results == [uamqp.constants.MessageState.SendComplete] * 10
    assert client.pending_messages == []
    found = await asyncio.to_thread(arrived, hub)
    assert [message.application_properties for message in found] == [properties] * 10


async def test_one_after_the_other_asynchronously(hub: Hub) -> None:
    key = {b"x-opt-partition-key": b"PartitionKeyInfo"}
    client = uamqp.SendClientAsync(hub.target, auth=hub.sas_async(), debug=False)
    for _ in range(10):
        await client.send_message_async(uamqp.Message(b"hello", application_properties=key, annotations=key))
    await client.close_async()
    assert len(await asyncio.to_thread(arrived, hub)) == 10


async def test_a_batch_asynchronously(hub: Hub) -> None:
    client = uamqp.SendClientAsync(f"{hub.target}/Partitions/0", auth=hub.sas_async(), debug=False)
    client.queue_message(uamqp.message.BatchMessage(f"Hello world {number}".encode() for number in range(50)))
    assert await client.send_all_messages_async() == [uamqp.constants.MessageState.SendComplete]
    assert len(await asyncio.to_thread(arrived, hub)) == 50


async def test_a_message_that_nobody_takes_in_time() -> None:
    async with peer_server(lambda: Peer(credit=0)) as server:
        client = uamqp.SendClientAsync(f"{server.url}/hub/Partitions/0", msg_timeout=0.05)
        await client.open_async()
        with pytest.raises(errors.ClientMessageError, match="timed out"):
            await client.send_message_async(uamqp.message.Message(body="Hello World"))
        await client.close_async()


async def test_a_large_message_after_the_socket_is_lost(hub: Hub) -> None:
    client = uamqp.SendClientAsync(hub.target, auth=hub.sas_async(), debug=True)
    try:
        await client.open_async()
        while not await client.client_ready_async():
            await client.do_work_async()
        hub.broker.call(hub.broker.drop_connections)
        with pytest.raises(errors.AMQPConnectionError):
            await client.send_message_async(uamqp.message.Message(b"t" * 1024 * 700))
    finally:
        await client.close_async()


async def test_what_the_hub_says_of_a_link_is_told(hub: Hub) -> None:
    """As a producer does whose messages the hub numbers: it reads the numbers where the link is attached."""
    found = {"com.microsoft:producer-epoch": 3, "com.microsoft:producer-id": 5}
    told: dict[Any, Any] = {}
    async with peer_server(lambda: Peer(attach={"properties": found})) as server:
        target = f"{server.url}/hub/Partitions/0"

        def on_attach(source: Any, attached: Any, properties: Any, error: Any) -> None:
            if str(attached) == "hub/Partitions/0":
                told.update(properties)

        client = uamqp.SendClientAsync(
            target,
            desired_capabilities=utils.data_factory(
                types.AMQPArray([types.AMQPSymbol(b"com.microsoft:idempotent-producer")])
            ),
            link_properties={types.AMQPSymbol("com.microsoft:timeout"): types.AMQPLong(60_000)},
            on_attach=on_attach,
            debug=True,
        )
        await client.open_async()
        while not await client.client_ready_async():
            await asyncio.sleep(0.05)
        attach = server.peer.receiver.remote_attach
        await client.close_async()
    assert told == {b"com.microsoft:producer-epoch": 3, b"com.microsoft:producer-id": 5}
    assert attach is not None
    assert list(attach.desired_capabilities or ()) == ["com.microsoft:idempotent-producer"]
    assert attach.properties == {"com.microsoft:timeout": 60_000}


# --- tokens, and what there is to know --------------------------------------------------------------------------


async def test_custom_endpoints() -> None:
    where = {"custom_endpoint_hostname": "123.45.67.89"}
    sas = authentication.SASTokenAsync("audience", "uri", "token", expires_in=timedelta(10), **where)
    assert sas.hostname == b"123.45.67.89"
    assert authentication.SASTokenAsync.from_shared_access_key("uri", "name", "key", **where).hostname == sas.hostname

    async def get_token() -> str:
        return "token"

    assert authentication.JWTTokenAsync("audience", "uri", get_token, **where).hostname == sas.hostname


AccessToken = namedtuple("AccessToken", ["token", "expires_on"])


def test_tokens_of_ones_own() -> None:
    with Broker.running(personality=Azure(hubs={"hub": 2})) as broker:
        server = f"amqp://localhost:{broker.port}/hub"

        def get_token() -> AccessToken:
            return AccessToken("token", 253402261199)

        auth = authentication.JWTTokenAuth(audience="sb://localhost/hub", uri=server, get_token=get_token)
        client = uamqp.SendClient(target=server, auth=auth)
        client.send_message(uamqp.Message(b"data"))
        client.close()

        async def send() -> None:
            async def get_token_async() -> AccessToken:
                return get_token()

            twin = authentication.JWTTokenAsync(audience="sb://localhost/hub", uri=server, get_token=get_token_async)
            async with uamqp.SendClientAsync(target=server, auth=twin) as client:
                await client.send_message_async(uamqp.Message(b"data"))

        asyncio.run(send())
        source = f"{server}/ConsumerGroups/$Default/Partitions/"
        assert sum(len(uamqp.receive_messages(source + partition, timeout=100)) for partition in "01") == 2


REQUEST: dict[str, Any] = {
    "op_type": b"com.microsoft:eventhub",
    "status_code_field": b"status-code",
    "description_fields": b"status-description",
}


def test_what_there_is_to_know_of_a_hub(hub: Hub) -> None:
    with uamqp.AMQPClient(hub.target, auth=hub.sas(), debug=True) as client:
        question = uamqp.Message(application_properties={"name": "hub"})
        answer = client.mgmt_request(question, b"READ", **REQUEST)
    assert answer.get_data()[b"partition_ids"] == [b"0", b"1"]


async def test_what_there_is_to_know_of_a_hub_asynchronously(hub: Hub) -> None:
    async with uamqp.AMQPClientAsync(hub.target, auth=hub.sas_async(), debug=True) as client:
        question = uamqp.Message(application_properties={"name": "hub"})
        answer = await client.mgmt_request_async(question, b"READ", **REQUEST)
    assert answer.get_data()[b"partition_ids"] == [b"0", b"1"]
