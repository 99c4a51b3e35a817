"""Management requests of the uamqp 1.6 API, asynchronous and blocking, against the embedded broker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.aio.peers import BOUND, eventually, peer_server
from tests.aio.peers import Peer as ScriptedPeer
from uamqp import (
    AMQPClient,
    AMQPClientAsync,
    Connection,
    ConnectionAsync,
    Message,
    MgmtOperation,
    MgmtOperationAsync,
    Session,
    SessionAsync,
    errors,
)
from uamqp.broker import Broker
from uamqp.broker.peer import Peer, Service
from uamqp.codec.message import Message as Modern
from uamqp.constants import MgmtOpenStatus

from .helpers import begin, call

BOTH = pytest.mark.parametrize("kind", [AMQPClient, AMQPClientAsync])


class Silent(Service):
    def handle(self, peer: Peer, message: Modern) -> None:
        """Say nothing."""


class Statusless(Service):
    def handle(self, peer: Peer, message: Modern) -> None:
        self.reply(peer, message, Modern(b"no status"))


class Azure(Service):
    """Answers with other field names."""

    def handle(self, peer: Peer, message: Modern) -> None:
        facts = dict(message.application_properties)
        self.reply(peer, message, Modern(b"", application_properties={"status-code": 202, "facts": str(facts)}))


def prepare(broker: Broker) -> None:
    broker.queue("q")
    for node in (Silent("$silent"), Statusless("$statusless"), Azure("$azure")):
        broker.add(node)


@pytest.fixture
async def broker(tidy_loop: None) -> AsyncIterator[Broker]:
    async with Broker() as broker:
        prepare(broker)
        yield broker


@pytest.fixture
def running() -> Iterator[Broker]:
    with Broker.running() as broker:
        broker.call(prepare, broker)
        yield broker


def read(name: str = "q") -> Message:
    return Message(None, application_properties={"name": name})


async def test_a_request_and_its_answer(broker: Broker) -> None:
    async with AMQPClientAsync(f"{broker.url}/q") as client:
        request = read()
        answer = await client.mgmt_request_async(request, b"READ", op_type=b"queue")
        assert answer.get_data()[b"name"] == b"q"
        assert answer.application_properties[b"statusCode"] == 200
        assert answer.settled
        assert request.application_properties == {"name": "q"}
        # Whatever the status.
        answer = await client.mgmt_request_async(read("nowhere"), "READ", op_type="queue")
        assert answer.application_properties[b"statusCode"] == 404


async def test_a_callback_gives_the_result(broker: Broker) -> None:
    def on_answer(status: int, answer: Message | None, description: bytes) -> Any:
        return status, answer is not None, description

    async with AMQPClientAsync(f"{broker.url}/q") as client:
        given = await client.mgmt_request_async(read(), b"READ", op_type=b"queue", callback=on_answer)
    assert given == (200, True, b"OK")


async def test_the_names_of_fields_and_the_type_where_there_is_none(broker: Broker) -> None:
    async with AMQPClientAsync(f"{broker.url}/q") as client:
        terms = {"status_code_field": b"status-code", "description_fields": b"status-description"}
        answer = await client.mgmt_request_async(read(), b"GO", node=b"$azure", **terms)
        assert answer.application_properties[b"status-code"] == 202
        assert b"'operation': 'GO'" in answer.application_properties[b"facts"]
        assert b"'type': 'empty'" in answer.application_properties[b"facts"]
        seen: list[Any] = []
        await client.mgmt_request_async(read(), b"GO", node=b"$azure", callback=lambda *args: seen.append(args))
        assert seen[0][2] == b"None"


async def test_what_can_go_wrong(broker: Broker) -> None:
    async with AMQPClientAsync(f"{broker.url}/q") as client:
        with pytest.raises(TimeoutError, match="20ms"):
            await client.mgmt_request_async(read(), b"READ", node=b"$silent", timeout=20)
        with pytest.raises(ValueError, match="Management Operation error"):
            await client.mgmt_request_async(read(), b"READ", node=b"$statusless")
        with pytest.raises(errors.AMQPConnectionError, match="Failed to open mgmt link"):
            await client.mgmt_request_async(read(), b"READ", node=b"$nowhere")
    with pytest.raises(errors.AMQPConnectionError, match="closed"):
        await client.mgmt_request_async(read(), b"READ")


@BOTH
async def test_an_answer_must_come_in_time_also_where_the_links_do_not(kind: type[AMQPClientAsync]) -> None:
    async with peer_server(lambda: ScriptedPeer("on_attach")) as server:
        client = kind(f"{server.url}/q")
        with pytest.raises(TimeoutError, match="20ms"):
            await call(client, "mgmt_request", read(), b"READ", None, None, None, timeout=20)
        await call(client, "close")


@BOTH
async def test_closing_ends_a_request(kind: type[AMQPClientAsync], broker: Broker) -> None:
    client = kind(f"{broker.url}/q")
    asking = begin(client, "mgmt_request", read(), b"READ", None, b"$silent")
    await eventually(lambda: client._session is not None and client._session._mgmt_links)
    operations = client._session._mgmt_links[b"$silent"]  # type: ignore[union-attr]
    await eventually(lambda: operations._requests is not None and operations._requests._waiting)
    await call(client, "close")
    with pytest.raises(errors.AMQPConnectionError, match="The client is closed"):
        async with asyncio.timeout(BOUND):
            await asking


@BOTH
async def test_closing_does_not_wait_for_a_session_that_is_not_answered(kind: type[AMQPClientAsync]) -> None:
    async with peer_server(lambda: ScriptedPeer("on_begin")) as server:
        client = kind(f"{server.url}/q")
        asking = begin(client, "mgmt_request", read(), b"READ")
        await eventually(lambda: client._session is not None and client._session._beginning.locked)
        await call(client, "close")
        with pytest.raises(errors.AMQPConnectionError, match="The client is closed"):
            async with asyncio.timeout(BOUND):
                await asking


@BOTH
async def test_a_request_whose_link_the_peer_detaches(kind: type[AMQPClientAsync]) -> None:
    async with peer_server(ScriptedPeer) as server:
        client = kind(f"{server.url}/q")
        asking = begin(client, "mgmt_request", read(), b"READ")
        await eventually(lambda: server.peers and server.peer.messages)
        server.peer.receiver.fail("amqp:link:detach-forced", "idle")
        with pytest.raises(errors.LinkDetach, match="idle"):
            async with asyncio.timeout(BOUND):
                await asking
        await call(client, "close")


@BOTH
async def test_on_attach_is_told_of_links_for_requests(kind: type[AMQPClientAsync], broker: Broker) -> None:
    told: list[Any] = []
    client = kind(f"{broker.url}/q", on_attach=lambda *arguments: told.append(arguments))
    for _ in range(2):
        await call(client, "mgmt_request", read(), b"READ")
    assert len(told) == 2
    with pytest.raises(errors.AMQPConnectionError):
        await call(client, "mgmt_request", read(), b"READ", None, b"$nowhere")
    await call(client, "close")
    *source_target_properties, error = told.pop()
    assert source_target_properties == [None, None, None]
    assert isinstance(error, errors.LinkDetach)
    assert all("$management" in (str(source), str(target)) for source, target, properties, error in told)


async def test_an_operation_by_itself(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection, SessionAsync(connection) as session:
        operation = MgmtOperationAsync(session)
        assert operation.target == b"$management"
        assert operation.connection is connection
        assert operation.open is None
        status, answer, description = await operation.execute_async(b"READ", b"queue", read())
        assert (status, description) == (200, b"OK")
        assert answer.get_data()[b"name"] == b"q"
        await operation.destroy_async()
        await operation.destroy_async()
        assert (await operation.execute_async(b"READ", b"queue", read())).status == 200
        assert operation.open is MgmtOpenStatus.Ok
        assert operation.mgmt_error is None
        refused = MgmtOperationAsync(session, b"$nowhere")
        with pytest.raises(errors.AMQPConnectionError):
            await refused.execute_async(b"READ", b"queue", read())
        assert refused.open is MgmtOpenStatus.Error
        assert isinstance(refused.mgmt_error, errors.AMQPConnectionError)
        wrong = MgmtOperationAsync(session, b"$statusless")
        with pytest.raises(ValueError, match="no statusCode"):
            await wrong.execute_async(b"READ", b"queue", read())
        assert isinstance(wrong.mgmt_error, ValueError)


def test_blocking(running: Broker) -> None:
    with AMQPClient(f"{running.url}/q") as client:
        answer = client.mgmt_request(read(), b"READ", op_type=b"queue", callback=lambda status, message, text: message)
        assert answer.get_data()[b"name"] == b"q"
        with pytest.raises(TimeoutError):
            client.mgmt_request(read(), b"READ", node=b"$silent", timeout=20)
    with Connection(running.url) as connection, Session(connection) as session:
        answer = session.mgmt_request(read(), b"READ", op_type=b"queue")
        assert answer.get_data()[b"name"] == b"q"
        operation = MgmtOperation(session)
        assert operation.execute(b"READ", b"queue", read()).status == 200
        operation.destroy()


def test_a_function_that_is_told_of_the_answer_does_not_hold_up_others(running: Broker) -> None:
    """It waits for another thread that asks over the same connection."""
    with AMQPClient(f"{running.url}/q") as client:

        def told(status: int, message: Message, text: bytes) -> Any:
            with ThreadPoolExecutor(1) as other:
                return other.submit(client.mgmt_request, read(), b"READ", op_type=b"queue").result(BOUND)

        answer = client.mgmt_request(read(), b"READ", op_type=b"queue", callback=told)
        assert answer.get_data()[b"name"] == b"q"
