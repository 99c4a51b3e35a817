"""Requests and answers, against the management node of the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from uamqp.aio import Connection, Message, Properties, Session, Value, connect
from uamqp.aio.request import Requests
from uamqp.broker import Broker
from uamqp.broker.peer import Peer, Service
from uamqp.engine.delivery import IncomingDelivery
from uamqp.exceptions import ConnectionEnded, LinkDetached, OperationTimeout

from .conftest import Serve
from .peers import Peer as AcceptingPeer
from .peers import eventually

NODE = "$management"


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker() as broker:
        yield broker


@pytest.fixture
async def connection(broker: Broker) -> AsyncIterator[Connection]:
    async with connect(broker.url) as connection:
        yield connection


class Odd(Service):
    """Answers as the body of the request says."""

    def __init__(self) -> None:
        super().__init__("$odd")
        self.requests: list[Message] = []

    def handle(self, peer: Peer, message: Message) -> None:
        self.requests.append(message)
        how = message.body
        if how == "silent":
            return
        request = message
        if how == "uncorrelated":
            request = Message("", properties=Properties(reply_to=message.properties.reply_to))
        elif how == "late":
            request = Message("", properties=Properties(reply_to=message.properties.reply_to, message_id="another"))
        self.reply(peer, request, Message(Value(how)))


def odd(broker: Broker) -> Odd:
    node = Odd()
    broker.add(node)
    return node


def read(name: str) -> Message:
    return Message(None, application_properties={"operation": "READ", "type": "queue", "name": name})


async def test_many_requests_at_once_and_each_gets_its_answer(broker: Broker, connection: Connection) -> None:
    for n in range(20):
        broker.queue(f"q{n}")
    answers = await asyncio.gather(*(connection.request(NODE, read(f"q{n}")) for n in range(20)))
    assert [answer.body["name"] for answer in answers] == [f"q{n}" for n in range(20)]
    assert len({answer.properties.correlation_id for answer in answers}) == 20
    # Whoever attached in vain has gone, so one pair of links serves all.
    assert len(connection._requests) == 1


async def test_the_answer_is_for_the_caller_to_read(connection: Connection) -> None:
    answer = await connection.request(NODE, read("nowhere"))
    assert answer.application_properties["statusCode"] == 404


async def test_no_answer(broker: Broker, connection: Connection) -> None:
    odd(broker)
    # The links are there from now on.
    assert (await connection.request("$odd", Message("fine"))).body == "fine"
    with pytest.raises(OperationTimeout, match="no answer"):
        await connection.request("$odd", Message("silent"), timeout=0.02)
    # An answer to something else is passed over.
    with pytest.raises(OperationTimeout, match="no answer"):
        await connection.request("$odd", Message("late"), timeout=0.02)
    assert (await connection.request("$odd", Message("fine"))).body == "fine"


async def test_an_answer_that_does_not_say_to_what_is_for_the_only_request(
    broker: Broker, connection: Connection
) -> None:
    node = odd(broker)
    session = await connection.session()
    requests = await Requests.open_paired(session, "$odd", 5)
    assert requests.session is session
    answer = await requests.request(Message("uncorrelated"), 5)
    assert answer.message.body == "uncorrelated"
    assert node.requests[0].properties.reply_to
    await requests.close(5)
    await requests.close(5)
    assert not requests.usable


async def test_there_is_no_such_node(connection: Connection) -> None:
    with pytest.raises(LinkDetached):
        await connection.request("$nowhere", Message("x"))
    session = await connection.session()
    with pytest.raises(LinkDetached):
        await Requests.open_paired(session, "$nowhere", 5)
    with pytest.raises(LinkDetached):
        await Requests.open_dynamic(session, "$nowhere", 5)


async def test_the_connection_is_lost_in_between(broker: Broker, connection: Connection) -> None:
    await connection.request(NODE, read("q"))
    node = odd(broker)
    asking = asyncio.ensure_future(connection.request("$odd", Message("silent"), timeout=30))
    while not node.requests:
        await asyncio.sleep(0)
    # Its outcome comes before its answer would.
    await connection.request(NODE, read("q"))
    broker.drop_connections()
    with pytest.raises(ConnectionEnded):
        await asking


async def test_the_links_are_attached_again_where_they_are_gone(broker: Broker, connection: Connection) -> None:
    broker.queue("q")
    await connection.request(NODE, read("q"))
    await connection._requests[NODE].close(5)
    assert (await connection.request(NODE, read("q"))).body["name"] == "q"


async def test_half_of_what_is_gone_goes_too(serve: Serve) -> None:
    class Answering(AcceptingPeer):
        def on_message(self, delivery: IncomingDelivery) -> None:
            super().on_message(delivery)
            asked = delivery.message
            if asked.body != "silent":
                answer = Message("answer", properties=Properties(correlation_id=asked.properties.message_id))
                self.sender.send(answer.encode())

    server = await serve(Answering)
    async with connect(server.url) as connection:
        await connection.request("node", Message("x"))
        asking = asyncio.create_task(connection.request("node", Message("silent")))
        await eventually(lambda: len(server.peer.messages) == 2)
        first = server.peer.links[:2]
        server.peer.receiver.fail("amqp:link:detach-forced", "idle")
        with pytest.raises(LinkDetached, match="idle"):
            await asking
        await connection.request("node", Message("x"))
        assert None not in [link.error for link in first]
        # Those that hear answers, and the end of the link, now.
        assert len(connection._driver._tasks) == 2  # type: ignore[attr-defined]


async def test_an_answer_that_came_before_the_end_of_the_link_is_heard(serve: Serve) -> None:
    class Hasty(AcceptingPeer):
        def on_message(self, delivery: IncomingDelivery) -> None:
            super().on_message(delivery)
            id = delivery.message.properties.message_id
            self.sender.send(Message("answer", properties=Properties(correlation_id=id)).encode())
            self.receiver.fail("amqp:link:detach-forced", "idle")

    server = await serve(Hasty)
    async with connect(server.url) as connection:
        for _ in range(2):
            assert (await connection.request("node", Message("x"))).body == "answer"


async def test_cancelling_a_request_leaves_the_others_alone(broker: Broker, connection: Connection) -> None:
    odd(broker)
    asking = asyncio.ensure_future(connection.request("$odd", Message("silent"), timeout=30))
    while not connection._requests:
        await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert (await connection.request("$odd", Message("fine"))).body == "fine"
    assert not connection._requests["$odd"]._waiting


async def test_many_first_requests_share_their_links(
    broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    open_dynamic = Requests.open_dynamic

    async def record(session: Session, node: str, timeout: float | None) -> Requests:
        opened.append(node)
        return await open_dynamic(session, node, timeout)

    monkeypatch.setattr(Requests, "open_dynamic", record)
    odd(broker)
    answers = await asyncio.gather(*(connection.request("$odd", Message(Value("at once"))) for _ in range(50)))
    assert {answer.body for answer in answers} == {"at once"}
    assert opened == ["$odd"]


async def test_first_requests_that_wait_for_links_in_vain(serve: Serve) -> None:
    server = await serve(lambda: AcceptingPeer("on_attach"))
    async with connect(server.url) as connection:
        asking = asyncio.create_task(connection.request("$odd", Message(""), timeout=0.05))
        await asyncio.sleep(0)
        with pytest.raises(OperationTimeout, match=r"links for requests to '\$odd' were not attached in time"):
            await connection.request("$odd", Message(""), timeout=0.01)
        with pytest.raises(OperationTimeout, match="did not answer attach"):
            await asking


async def test_first_requests_after_one_that_failed(broker: Broker, connection: Connection) -> None:
    """What keeps one from its links need not keep others."""
    odd(broker)
    first, second = (asyncio.create_task(connection.request("$odd", Message(Value("it")))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).body == "it"
    assert first.cancelled()
