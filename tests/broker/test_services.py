"""``$cbs`` and ``$management``: requests and their responses."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import uamqp.aio as amqp
from uamqp.broker import Broker
from uamqp.broker.nodes import Entry
from uamqp.broker.peer import Service
from uamqp.codec.definitions import Target
from uamqp.exceptions import LinkDetached, Rejected

from .conftest import Starter
from .helpers import client, eventually


class Requester:
    """Asks a service, as clients of Azure do: a receiver whose target has the address for replies."""

    def __init__(self, sender: amqp.Sender, receiver: amqp.Receiver) -> None:
        self.sender = sender
        self.receiver = receiver
        self.count = 0

    async def ask(self, body: Any = None, **properties: Any) -> amqp.Message:
        self.count += 1
        request = amqp.Message(body, application_properties=properties)
        request.properties.message_id = self.count
        request.properties.reply_to = "my-replies"
        await self.sender.send(request)
        delivery = await self.receiver.receive()
        delivery.accept()
        response = delivery.message
        assert response.properties.correlation_id == self.count
        assert response.properties.to == "my-replies"
        return response


@asynccontextmanager
async def requester(broker: Broker, service: str) -> AsyncIterator[Requester]:
    async with (
        client(broker) as connection,
        connection.sender(service) as sender,
        connection.receiver(service, target=Target(address="my-replies")) as receiver,
    ):
        yield Requester(sender, receiver)


# -- $cbs -------------------------------------------------------------------------------------------------------------


def status(response: amqp.Message) -> tuple[int, str]:
    properties = response.application_properties
    return properties["status-code"], properties["status-description"]


async def test_tokens_are_taken(broker: Broker) -> None:
    async with requester(broker, "$cbs") as service:
        for body in ("token", b"token"):
            assert status(await service.ask(body, operation="put-token", type="jwt", name="q")) == (200, "OK")
        assert status(await service.ask(operation="delete-token", name="q")) == (200, "OK")


@pytest.mark.parametrize("body", [None, "", b"", 5, ["token"]])
async def test_what_is_no_token(broker: Broker, body: Any) -> None:
    async with requester(broker, "$cbs") as service:
        code, description = status(await service.ask(body, operation="put-token"))
        assert (code, description) == (400, "the body of put-token is not a token")


async def test_other_operations(broker: Broker) -> None:
    async with requester(broker, "$cbs") as service:
        assert status(await service.ask("x", operation="steal-token"))[0] == 400
        assert status(await service.ask("x"))[0] == 400


async def test_tokens_are_checked(start: Starter, caplog: pytest.LogCaptureFixture) -> None:
    asked = []

    def check(kind: str, audience: str, token: str) -> str | None:
        asked.append((kind, audience, token))
        if token == "crash":
            raise RuntimeError("boom")
        return None if token == "good" else "this token is bad"

    broker = await start(token_check=check)
    async with requester(broker, "$cbs") as service:
        assert status(await service.ask("good", operation="put-token", type="jwt", name="q")) == (200, "OK")
        assert status(await service.ask("bad", operation="put-token")) == (401, "this token is bad")
        with caplog.at_level(logging.ERROR):
            assert status(await service.ask("crash", operation="put-token"))[0] == 500
    assert asked == [("jwt", "q", "good"), ("", "", "bad"), ("", "", "crash")]
    assert "boom" in caplog.text


# -- $management ------------------------------------------------------------------------------------------------------


async def test_managing_queues_and_topics(broker: Broker) -> None:
    async with requester(broker, "$management") as service, client(broker) as connection:

        async def ask(**properties: Any) -> tuple[int, Any]:
            response = await service.ask(**properties)
            properties = response.application_properties
            assert properties["statusCode"] == properties["status-code"]
            assert properties["statusDescription"] == properties["status-description"]
            return properties["statusCode"], response.body

        assert await ask(operation="CREATE", type="queue", name="q") == (
            201,
            {"name": "q", "type": "queue", "messages": 0, "unsettled": 0, "bytes": 0, "consumers": 0},
        )
        assert await ask(operation="CREATE", type="topic", name="t") == (
            201,
            {"name": "t", "type": "topic", "subscriptions": []},
        )
        async with connection.sender("q") as sender, connection.receiver("q", prefetch=1):
            await sender.send(b"123")
            await sender.send(b"123")
            await eventually(lambda: len(broker.queue("q")) == 1)
            assert await ask(operation="READ", name="q") == (
                200,
                {"name": "q", "type": "queue", "messages": 1, "unsettled": 1, "bytes": 16, "consumers": 1},
            )
        code, body = await ask(operation="QUERY")
        assert (code, body) == (200, {"attributeNames": ["name", "type"], "results": [["q", "queue"], ["t", "topic"]]})
        assert await ask(operation="DELETE", name="q") == (204, {})
        assert broker.find("q") is None
        assert [await ask(**request) for request in self_contradictions()] == [
            (404, {}),
            (404, {}),
            (404, {}),
            (409, {}),
            (400, {}),
            (400, {}),
            (501, {}),
            (501, {}),
        ]


def self_contradictions() -> list[dict[str, Any]]:
    return [
        {"operation": "DELETE", "name": "q"},
        {"operation": "READ", "name": "q"},
        {"operation": "DELETE", "name": "$management"},
        {"operation": "CREATE", "type": "queue", "name": "t"},
        {"operation": "CREATE", "type": "exchange", "name": "x"},
        {"operation": "READ"},
        {"operation": "UPDATE", "name": "t"},
        {},
    ]


async def test_creating_too_many(start: Starter) -> None:
    broker = await start(max_queues=2)
    async with requester(broker, "$management") as service:
        for kind in ("queue", "topic"):
            response = await service.ask(operation="CREATE", type=kind, name=kind)
            assert response.application_properties["statusCode"] == 403


# -- where responses go ------------------------------------------------------------------------------------------------


def request(**properties: Any) -> amqp.Message:
    return amqp.Message(None, properties=amqp.Properties(**properties), application_properties={"operation": "QUERY"})


async def test_replies_over_a_dynamic_node(broker: Broker) -> None:
    async with (
        client(broker) as connection,
        connection.receiver(None, dynamic=True) as replies,
        connection.sender("$management") as sender,
    ):
        await sender.send(request(message_id="m", correlation_id="c", reply_to=replies.address))
        assert (await replies.receive()).message.properties.correlation_id == "c"


async def test_replies_over_the_anonymous_relay(broker: Broker) -> None:
    async with (
        client(broker) as connection,
        connection.receiver(None, dynamic=True) as replies,
        connection.sender(None) as sender,
    ):
        await sender.send(request(message_id="m", to="$management", reply_to=replies.address))
        assert (await replies.receive()).message.properties.correlation_id == "m"


async def test_without_reply_to_the_only_receiver_is_meant(broker: Broker) -> None:
    async with (
        client(broker) as connection,
        connection.receiver("$management") as replies,
        connection.sender("$management") as sender,
    ):
        await sender.send(request())
        message = (await replies.receive()).message
        assert (message.properties.to, message.properties.correlation_id) == (None, None)


async def test_several_receivers_of_one_client(broker: Broker) -> None:
    async with client(broker) as connection, connection.sender("$management") as sender:
        receivers = {name: await connection.receiver("$management", target=Target(address=name)) for name in "ab"}
        for name in "ba":
            await sender.send(request(reply_to=name))
            assert (await receivers[name].receive()).message.properties.to == name


async def test_each_requester_gets_its_own_replies(broker: Broker) -> None:
    async with requester(broker, "$cbs") as first, requester(broker, "$cbs") as second:
        for service in (first, second, first):
            assert status(await service.ask("token", operation="put-token")) == (200, "OK")


@pytest.mark.parametrize("reply_to", [None, "unknown", "$cbs"])
async def test_a_request_that_cannot_be_answered_is_rejected(broker: Broker, reply_to: str | None) -> None:
    async with client(broker) as connection, connection.sender("$management") as sender:
        with pytest.raises(Rejected) as caught:
            await sender.send(request(reply_to=reply_to))
        assert caught.value.condition == "amqp:not-found"


async def test_a_damaged_request_is_rejected(broker: Broker) -> None:
    async with client(broker) as connection, connection.sender("$management") as sender:
        payload = b"\x00\x53\x74\xc1\x03\x02\x53\x01" + b"\x40" + amqp.Message(None).encode()
        with pytest.raises(Rejected) as caught:
            await sender._endpoint.context.settlement(sender._endpoint.send(payload))
        assert caught.value.condition == "amqp:decode-error"


async def test_a_full_queue_for_replies_rejects_the_request(start: Starter) -> None:
    broker = await start(max_queue_length=1)
    async with client(broker) as connection, connection.sender("$management") as sender:
        async with connection.receiver("$management", credit=amqp.Manual()):
            await sender.send(request())
            with pytest.raises(Rejected) as caught:
                await sender.send(request())
            assert caught.value.condition == "amqp:resource-limit-exceeded"
        # What nobody fetched is not kept.
        await eventually(lambda: broker.storage.used == 0)


async def test_services_are_no_nodes_of_others(broker: Broker) -> None:
    async with client(broker) as connection, connection.receiver("$cbs") as receiver:
        assert receiver.error is None
        broker.delete("$cbs")
        async with client(broker) as other:
            with pytest.raises(LinkDetached):
                await other.sender("$cbs")


def test_a_service_has_to_say_how_it_answers(broker: Broker) -> None:
    with pytest.raises(NotImplementedError):
        Service("$x").handle(None, amqp.Message())  # type: ignore[arg-type]
    with pytest.raises(NotImplementedError):
        Service("$x").put(Entry(b""))
