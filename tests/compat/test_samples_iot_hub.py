"""Programs as people wrote them for uamqp 1.6 and IoT Hub, after its samples.

A hub for devices sends those that read its events on to an event hub: it refuses the link and says where to go.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Iterator
from hashlib import sha256
from hmac import HMAC
from time import time
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest

import uamqp
from uamqp import authentication, errors
from uamqp.broker import Azure, Broker
from uamqp.codec.definitions import Error
from uamqp.codec.values import Symbol

from ..aio.peers import Peer, threaded_server

POLICY, KEY = "service", "a2V5"
PARTITIONS = "/messages/events/ConsumerGroups/$Default/Partitions/"


@pytest.fixture
def events() -> Iterator[Broker]:
    """The event hub behind the hub for devices; its two partitions have three events each."""
    with Broker.running(personality=Azure(hubs={"events": 2}, keys={POLICY: KEY})) as broker:
        for partition in "01":
            target = f"amqp://{POLICY}:{KEY}@127.0.0.1:{broker.port}/events/Partitions/{partition}"
            with uamqp.SendClient(target) as client:
                client.queue_message(*(uamqp.Message(f"event {number}") for number in range(3)))
                client.send_all_messages()
        yield broker


@pytest.fixture
def hub(events: Broker) -> Iterator[Any]:
    """The hub for devices."""

    class Redirecting(Peer):
        def on_attach(self, link: Any) -> None:
            source = link.remote_attach.source.address or ""
            if "messages/events/" not in source:
                super().on_attach(link)
                return
            partition = source.rpartition("/")[2].replace("$management", "0")
            server = f"127.0.0.1:{events.port}"
            address = f"amqp://{server}/events/ConsumerGroups/$Default/Partitions/{partition}"
            info = {"hostname": "127.0.0.1", "network-host": "127.0.0.1", "port": events.port, "address": address}
            link.refuse(Error(Symbol("amqp:link:redirect"), "Redirect", info))

    with threaded_server(Redirecting) as server:
        yield server


def sas_token(uri: str) -> str:
    """A token made by hand, as the programs of that time made it."""
    encoded, expiry = quote_plus(uri), int(time() + 360)
    signature = b64encode(HMAC(b64decode(KEY), f"{encoded}\n{expiry}".encode(), sha256).digest())
    return "SharedAccessSignature " + urlencode({"sr": uri, "sig": signature, "se": str(expiry), "skn": POLICY})


def user_info(uri: str) -> str:
    return f"{quote_plus(f'{POLICY}@sas.root.hub')}:{quote_plus(sas_token(uri))}"


def key_for(redirect: errors.LinkRedirect) -> authentication.SASLPlain:
    assert redirect.hostname is not None
    return authentication.SASLPlain(redirect.hostname, POLICY, KEY, port=redirect.port, use_tls=False)


def test_a_client_is_sent_on(hub: Any, events: Broker) -> None:
    source = hub.url.replace("://", f"://{user_info('hub')}@") + "/messages/events/$management"
    client = uamqp.ReceiveClient(source, debug=True, timeout=200, prefetch=50)
    received: list[str] = []
    try:
        with pytest.raises(errors.LinkRedirect) as caught:
            client.receive_message_batch(max_batch_size=10)
        redirect = caught.value
        assert redirect.port == events.port
        client.redirect(redirect, key_for(redirect))
        batch = client.receive_message_batch(max_batch_size=10)
        while batch:
            assert len(batch) <= 10
            received += map(str, batch)
            batch = client.receive_message_batch(max_batch_size=10)
    finally:
        client.close()
    assert received == ["event 0", "event 1", "event 2"]
    ((mechanism, response),) = hub.peer.credentials
    assert mechanism == "PLAIN"
    assert response.startswith(b"\0service@sas.root.hub\0SharedAccessSignature sr=hub&sig=")


def test_a_connection_is_sent_on(hub: Any, events: Broker) -> None:
    def receive(connection: uamqp.Connection, source: Any, auth: Any) -> Any:
        client = uamqp.ReceiveClient(source, auth=auth, debug=False, timeout=5000, prefetch=50)
        try:
            client.open(connection=connection)
            return client.receive_message_batch(max_batch_size=10)
        except errors.LinkRedirect as redirect:
            return redirect
        finally:
            client.close()

    auth = authentication.SASLPlain("127.0.0.1", f"{POLICY}@sas.root.hub", sas_token("hub"))
    with uamqp.Connection(hub.url, auth, debug=False) as connection:
        redirect = receive(connection, f"{hub.url}{PARTITIONS}1", auth)
        new_auth = key_for(redirect)
        connection.redirect(redirect, new_auth)
        batch = receive(connection, redirect.address, new_auth)
    assert "event 0" in map(str, batch)


def test_an_asynchronous_connection_is_sent_on(hub: Any, events: Broker) -> None:
    async def receive(connection: uamqp.ConnectionAsync, source: Any, auth: Any) -> Any:
        client = uamqp.ReceiveClientAsync(source, auth=auth, debug=False, timeout=5000, prefetch=1)
        try:
            await client.open_async(connection=connection)
            batch = await client.receive_message_batch_async(max_batch_size=1)
        except errors.LinkRedirect as redirect:
            return redirect
        else:
            return batch
        finally:
            await client.close_async()

    async def main() -> list[Any]:
        auth = authentication.SASLPlain("127.0.0.1", f"{POLICY}@sas.root.hub", sas_token("hub"))
        async with uamqp.ConnectionAsync(hub.url, auth, debug=False) as connection:
            await connection.open_async()
            redirects = await asyncio.gather(
                *(receive(connection, f"{hub.url}{PARTITIONS}{partition}", auth) for partition in "01")
            )
            new_auth = key_for(redirects[0])
            await connection.redirect_async(redirects[0], new_auth)
            await connection.open_async()
            return await asyncio.gather(*(receive(connection, each.address, new_auth) for each in redirects))

    batches = asyncio.run(main())
    assert [[str(message) for message in batch] for batch in batches] == [["event 0"], ["event 0"]]


def to_a_device() -> uamqp.Message:
    properties = uamqp.message.MessageProperties()
    properties.to = "/devices/d1/messages/devicebound"
    properties.message_id = "id-1"
    return uamqp.Message(b"hello world", properties=properties, application_properties={"test_prop_1": "value"})


def check_what_came(hub: Any) -> None:
    (delivery,) = hub.peer.messages
    properties = delivery.message.properties
    assert (properties.to, properties.message_id) == ("/devices/d1/messages/devicebound", "id-1")
    assert delivery.message.application_properties == {"test_prop_1": "value"}
    assert delivery.body == b"hello world"
    assert delivery.link.remote_attach.target.address == "messages/devicebound"


def test_a_message_to_a_device(hub: Any) -> None:
    target = hub.url.replace("://", f"://{user_info('hub')}@") + "/messages/devicebound"
    client = uamqp.SendClient(target, debug=False)
    client.queue_message(to_a_device())
    assert client.send_all_messages() == [uamqp.constants.MessageState.SendComplete]
    check_what_came(hub)


def test_a_message_to_a_device_asynchronously(hub: Any) -> None:
    async def main() -> None:
        target = hub.url.replace("://", f"://{user_info('hub')}@") + "/messages/devicebound"
        client = uamqp.SendClientAsync(target, debug=False)
        client.queue_message(to_a_device())
        assert await client.send_all_messages_async() == [uamqp.constants.MessageState.SendComplete]

    asyncio.run(main())
    check_what_came(hub)
