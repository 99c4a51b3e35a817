"""Listening, letting in, limits, running and stopping, and the table of nodes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import uamqp.aio as amqp
import uamqp.sync
from uamqp.broker import Broker, Queue, Refused, Topic, server
from uamqp.codec.performatives import Begin, Close, Open, SaslOutcome
from uamqp.engine.connection import AMQP_HEADER, SASL_HEADER
from uamqp.exceptions import (
    AddressError,
    AMQPError,
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    LocalProtocolError,
    Rejected,
)
from uamqp.transport.tls import client_context

from .conftest import Starter
from .helpers import BOUND, Raw, attach, client, eventually, put, take

Keeper = Callable[[Awaitable[Raw]], Awaitable[Raw]]


# -- running ----------------------------------------------------------------------------------------------------------


async def test_urls(start: Starter, certificates: Path) -> None:
    plain = await start()
    assert plain.url == f"amqp://127.0.0.1:{plain.port}"
    secure = await start("localhost", tls_cert=certificates / "server.pem", tls_key=certificates / "server.key")
    assert secure.url == f"amqps://localhost:{secure.port}"
    assert Broker("::1", 5672).url == "amqp://[::1]:5672"


async def test_a_port_in_use(start: Starter) -> None:
    broker = await start()
    with pytest.raises(OSError, match="in use"):
        await start(port=broker.port)


async def test_stop_tells_the_clients(start: Starter) -> None:
    broker = Broker()
    await broker.start()
    async with client(broker) as connection:
        await put(connection, "q", "kept")
        await broker.stop()
        await broker.stop()
        await eventually(lambda: connection.error is not None)
        assert isinstance(connection.error, ConnectionClosed)
        assert connection.error.condition == "amqp:connection:forced"
        assert broker.connections == 0
    with pytest.raises(ConnectionLost):
        await amqp.connect(broker.url)
    # What was in the queues is still there, and so is the address.
    url = broker.url
    await broker.start()
    assert broker.url == url
    async with client(broker) as connection:
        assert await take(connection, "q") == ["kept"]
    await broker.stop()


async def test_stop_waits_for_nobody_for_long(start: Starter, raws: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FAREWELL", 0.02)
    broker = await start()
    silent = await raws(Raw.open(broker))
    half = await raws(Raw.connect(broker))
    half.write(AMQP_HEADER)
    await half.reader.readexactly(8)
    await broker.stop()
    assert broker.connections == 0
    close = await silent.read(Close)
    assert close.error is not None
    assert close.error.condition == "amqp:connection:forced"
    await half.wait_closed()


async def test_stop_ends_connections_in_their_tls_handshake(start: Starter, raws: Keeper, certificates: Path) -> None:
    broker = await start(tls_cert=certificates / "server.pem", tls_key=certificates / "server.key")
    raw = await raws(Raw.connect(broker))
    await eventually(lambda: broker.connections == 1)
    await broker.stop()
    await raw.wait_closed()


async def test_serve_forever_ends_with_its_task(start: Starter) -> None:
    broker = await start()
    task = asyncio.create_task(broker.serve_forever())
    async with client(broker):
        pass
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_drop_connections(broker: Broker) -> None:
    async with client(broker) as connection:
        sender = await connection.sender("q")
        broker.drop_connections()
        await eventually(lambda: connection.error is not None)
        assert isinstance(connection.error, ConnectionLost)
        assert sender.error is not None
        await eventually(lambda: broker.connections == 0)
    async with client(broker) as connection:
        await put(connection, "q", 1)


def test_running_in_a_thread() -> None:
    with Broker.running(max_queue_length=1) as broker:
        assert broker.call(broker.queue, "q").name == "q"
        with uamqp.sync.connect(broker.url, timeout=BOUND) as connection:
            with connection.sender("q") as sender:
                sender.send("x")
                with pytest.raises(Rejected):
                    sender.send("y")
            with connection.receiver("q") as receiver:
                delivery = receiver.receive()
                assert delivery.body == "x"
                delivery.accept()
        with pytest.raises(Refused):
            broker.call(broker.topic, "q")
        port = broker.port
        with pytest.raises(OSError, match="in use"), Broker.running(port=port):
            pass  # pragma: no cover
    with Broker.running(port=port) as broker:
        assert broker.connections == 0


# -- where it listens --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "broker.example"])
def test_without_credentials_it_stays_on_this_machine(host: str) -> None:
    with pytest.raises(AddressError, match="this machine only"):
        Broker(host)
    with pytest.raises(AddressError, match="this machine only"):
        Broker(host, users={"u": "p"}, allow_anonymous=True)
    Broker(host, users={"u": "p"})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_on_this_machine_it_needs_none(host: str) -> None:
    Broker(host)


def test_client_certificates_are_credentials(certificates: Path) -> None:
    Broker(
        "0.0.0.0",
        tls_cert=certificates / "server.pem",
        tls_key=certificates / "server.key",
        tls_client_ca=certificates / "ca.pem",
    )


@pytest.mark.parametrize("option", ["tls_key", "tls_client_ca"])
def test_tls_options_need_a_certificate(certificates: Path, option: str) -> None:
    options: dict[str, Any] = {option: certificates / "ca.pem"}
    with pytest.raises(AddressError, match="tls_cert"):
        Broker(**options)


def test_unknown_options() -> None:
    with pytest.raises(TypeError):
        Broker(max_gueue_length=1)


def test_passwords_are_not_shown() -> None:
    assert "s3cret" not in repr(Broker(users={"u": "s3cret"}).options)


# -- who comes in ------------------------------------------------------------------------------------------------------


async def test_without_users_everybody_comes_in(broker: Broker, raws: Keeper) -> None:
    for options in ({}, {"user": "any", "password": "thing"}):
        async with client(broker, **options) as connection:
            await put(connection, "q", 1)
    await (await raws(Raw.open(broker))).close()


async def test_users_need_their_password(start: Starter) -> None:
    broker = await start(users={"alice": "s3cret", "bob": ""})
    async with client(broker, user="alice", password="s3cret") as connection:
        await put(connection, "q", 1)
    async with client(broker, user="bob", password=""):
        pass
    for user, password in (("alice", "wrong"), ("alice", ""), ("eve", "s3cret"), ("eve", ""), ("", "")):
        with pytest.raises(AuthenticationError) as caught:
            await amqp.connect(broker.url, user=user, password=password)
        assert caught.value.code == 1
    with pytest.raises(AuthenticationError, match="offers PLAIN"):
        await amqp.connect(broker.url)


async def test_anonymous_clients_beside_users(start: Starter) -> None:
    broker = await start(users={"alice": "s3cret"}, allow_anonymous=True)
    async with client(broker), client(broker, user="alice", password="s3cret"):
        pass
    with pytest.raises(AuthenticationError):
        await amqp.connect(broker.url, user="alice", password="wrong")


@pytest.mark.parametrize(
    ("mechanism", "response", "code"),
    [
        ("PLAIN", b"\0alice\0s3cret", 0),
        ("PLAIN", b"alice\0alice\0s3cret", 0),
        ("PLAIN", b"bob\0alice\0s3cret", 1),
        ("PLAIN", b"\0alice", 1),
        ("PLAIN", b"\xff\0alice\0s3cret", 1),
        ("PLAIN", "\0älice\0sécret".encode(), 1),
        ("PLAIN", None, 1),
        ("ANONYMOUS", b"", 1),
        ("EXTERNAL", b"", 1),
        ("SCRAM-SHA-256", b"", 1),
    ],
)
async def test_sasl_responses(start: Starter, raws: Keeper, mechanism: str, response: bytes | None, code: int) -> None:
    raw = await raws(Raw.connect(await start(users={"alice": "s3cret"})))
    outcome = await raw.sasl(mechanism, response)
    assert isinstance(outcome, SaslOutcome)
    assert outcome.code == code
    if code:
        await raw.wait_closed()


async def test_with_users_sasl_is_needed(start: Starter, raws: Keeper) -> None:
    raw = await raws(Raw.connect(await start(users={"alice": "s3cret"})))
    raw.write(AMQP_HEADER)
    assert await raw.reader.readexactly(8) == SASL_HEADER
    await raw.wait_closed()


@pytest.mark.parametrize("greeting", [b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x00\x09\x01"])
async def test_other_protocols_are_told_what_is_spoken(broker: Broker, raws: Keeper, greeting: bytes) -> None:
    raw = await raws(Raw.connect(broker))
    raw.write(greeting)
    assert await raw.reader.readexactly(8) in (SASL_HEADER, AMQP_HEADER)
    await raw.wait_closed()
    await eventually(lambda: broker.connections == 0)


async def test_the_user_id_is_the_one_of_the_sender(start: Starter) -> None:
    broker = await start(users={"alice": "s3cret"}, allow_anonymous=True)
    mine = amqp.Message("x", properties=amqp.Properties(user_id=b"alice"))
    async with client(broker, user="alice", password="s3cret") as connection, connection.sender("q") as sender:
        await sender.send(mine)
        with pytest.raises(Rejected) as caught:
            await sender.send(amqp.Message("x", properties=amqp.Properties(user_id=b"bob")))
        assert caught.value.condition == "amqp:unauthorized-access"
    # Nobody in particular may say anything.
    async with client(broker) as connection, connection.sender("q") as sender:
        await sender.send(mine)


# -- TLS ---------------------------------------------------------------------------------------------------------------


def tls(certificates: Path, *, clients: bool = False) -> dict[str, Any]:
    options = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    return {**options, "tls_client_ca": certificates / "ca.pem"} if clients else options


async def test_plain_over_tls(start: Starter, certificates: Path) -> None:
    broker = await start(users={"alice": "s3cret"}, **tls(certificates))
    options: dict[str, Any] = {"ca_file": certificates / "ca.pem", "user": "alice"}
    async with client(broker, password="s3cret", **options) as connection:
        body = bytes(1_000_000)
        await put(connection, "q", body)
        assert await take(connection, "q") == [body]
    with pytest.raises(AuthenticationError):
        await amqp.connect(broker.url, password="wrong", **options)


async def test_client_certificates(start: Starter, certificates: Path) -> None:
    broker = await start(**tls(certificates, clients=True), allow_anonymous=False)
    options: dict[str, Any] = {"ca_file": certificates / "ca.pem"}
    mine: dict[str, Any] = {**options, "cert_file": certificates / "alice.pem", "key_file": certificates / "alice.key"}
    async with client(broker, **mine) as connection, connection.sender("q") as sender:
        await sender.send(amqp.Message("x", properties=amqp.Properties(user_id=b"alice")))
        with pytest.raises(Rejected):
            await sender.send(amqp.Message("x", properties=amqp.Properties(user_id=b"bob")))
    async with client(broker, sasl=[amqp.External("alice")], **mine):
        pass
    with pytest.raises(AuthenticationError):
        await amqp.connect(broker.url, sasl=[amqp.External("bob")], **mine)
    with pytest.raises(AMQPError):
        await amqp.connect(broker.url, **options)
    await eventually(lambda: broker.connections == 0)


async def test_no_tls_where_tls_is_spoken(start: Starter, raws: Keeper, certificates: Path) -> None:
    broker = await start(**tls(certificates))
    raw = await raws(Raw.connect(broker))
    raw.write(SASL_HEADER)
    await raw.wait_closed()
    gone = await raws(Raw.connect(broker))
    await gone.close()
    await eventually(lambda: broker.connections == 0)
    async with client(broker, ca_file=certificates / "ca.pem"):
        pass


async def test_half_a_tls_handshake(start: Starter, raws: Keeper, certificates: Path) -> None:
    broker = await start(handshake_timeout=0.05, max_handshakes=1, **tls(certificates))
    raw = await raws(Raw.connect(broker))
    await eventually(lambda: broker.connections == 1)
    # It counts as half open while it lasts.
    await (await raws(Raw.connect(broker))).wait_closed()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = client_context(ca_file=certificates / "ca.pem")
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    raw.write(outgoing.read()[:20])
    await raw.wait_closed()
    await eventually(lambda: broker.connections == 0)


# -- limits ------------------------------------------------------------------------------------------------------------


async def test_the_number_of_connections_is_limited(start: Starter, raws: Keeper) -> None:
    broker = await start(max_connections=2)
    async with client(broker), client(broker) as second:
        await (await raws(Raw.connect(broker))).wait_closed()
        assert broker.connections == 2
        await second.close()
        await eventually(lambda: broker.connections == 1)
        async with client(broker):
            pass


async def test_the_number_of_half_open_connections_is_limited(start: Starter, raws: Keeper) -> None:
    broker = await start(max_handshakes=2)
    half = [await raws(Raw.connect(broker)) for _ in range(2)]
    await eventually(lambda: broker.connections == 2)
    await (await raws(Raw.connect(broker))).wait_closed()
    await half.pop().close()
    await eventually(lambda: broker.connections == 1)
    # Those who finish do not count.
    async with client(broker), client(broker):
        assert broker.connections == 3


async def test_a_handshake_has_its_time(start: Starter, raws: Keeper) -> None:
    broker = await start()
    async with client(broker) as connection:
        broker.options = replace(broker.options, handshake_timeout=0.05)
        silent = await raws(Raw.connect(broker))
        slow = await raws(Raw.connect(broker))
        slow.write(SASL_HEADER)
        await silent.wait_closed()
        await slow.wait_closed()
        await put(connection, "q", 1)


async def test_a_silent_client_is_given_up(start: Starter, raws: Keeper) -> None:
    broker = await start(idle_timeout=0.1)
    raw = await raws(Raw.connect(broker))
    raw.write(AMQP_HEADER)
    raw.send(Open("raw"))
    await raw.reader.readexactly(8)
    assert (await raw.read(Open)).idle_time_out == 100
    close = await raw.read(Close)
    assert close.error is not None
    assert close.error.condition == "amqp:resource-limit-exceeded"
    await raw.wait_closed()


async def test_what_is_sent_before_open_is_seen_after_it(start: Starter, raws: Keeper) -> None:
    # All at once, so that user and messages arrive in one read.
    broker = await start(users={"alice": "s3cret"})
    raw = await raws(Raw.connect(broker))
    assert isinstance(await raw.sasl("PLAIN", b"\0alice\0s3cret"), SaslOutcome)
    raw.write(AMQP_HEADER)
    raw.send(Open("raw"))
    raw.send(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100))
    raw.send(attach())
    await eventually(lambda: broker.find("q") is not None)
    assert [peer.identity for peer in broker._connections] == ["alice"]


# -- the table of nodes ------------------------------------------------------------------------------------------------


def test_declaring_nodes() -> None:
    broker = Broker(max_queue_length=7)
    queue = broker.queue("/q", max_bytes=5, max_deliveries=3, ttl=1.5)
    assert (queue.name, queue.max_length, queue.max_bytes, queue.max_deliveries, queue.ttl) == ("q", 7, 5, 3, 1.5)
    assert broker.queue("q", max_length=9) is queue
    topic = broker.topic("t")
    assert broker.topic("/t") is topic
    assert broker.list_nodes() == [["q", "queue"], ["t", "topic"]]
    for declare, name in ((broker.topic, "q"), (broker.queue, "t"), (broker.queue, "$cbs"), (broker.topic, "$cbs")):
        with pytest.raises(Refused) as caught:
            declare(name)
        assert caught.value.condition == "amqp:not-allowed"


def test_finding_nodes() -> None:
    broker = Broker()
    assert isinstance(broker.node("q"), Queue)
    assert isinstance(broker.node("t", ["topic"]), Topic)
    for address in ("q", "/q", "amqp://host/q", "amqps://user@host:1/q"):
        assert broker.find(address) is broker.queue("q")
    assert broker.find("amqp://host") is None
    broker.delete("/q")
    assert broker.find("q") is None


@pytest.mark.parametrize(
    "options",
    [
        {"max_frame_size": 100},
        {"idle_timeout": -1},
        {"channel_max": 70_000},
        {"handle_max": -1},
        {"link_credit": 200_000},
        {"max_connections": 0},
        {"max_queue_length": -1},
        {"max_deliveries": 0},
        {"max_bytes": -5},
        {"port": -1},
        {"port": 0, "websocket_port": 70_000},
    ],
)
def test_terms_that_no_client_could_take(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="port must be" if "port" in options else f"{next(iter(options))} must be"):
        Broker(**options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_queue_length": "9"}, "max_queue_length must be a whole number, not str"),
        ({"max_queues": None}, "max_queues must be a whole number, not NoneType"),
        ({"max_deliveries": True}, "max_deliveries must be a whole number, not bool"),
        ({"idle_timeout": "60"}, "idle_timeout must be a number, not str"),
        ({"dead_letter": 3}, "dead_letter must be a str, not int"),
        ({"token_check": 3}, "token_check must be a function, not int"),
        ({"port": "5672"}, "port must be a whole number, not str"),
    ],
)
def test_terms_of_the_wrong_kind(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        Broker(**options)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"ttl": "5"}, TypeError),
        ({"ttl": -1}, ValueError),
        ({"max_length": 1.5}, TypeError),
        ({"max_bytes": -1}, ValueError),
        ({"max_deliveries": 0}, ValueError),
        ({"dead_letter": b"dead"}, TypeError),
    ],
)
def test_terms_of_a_queue_that_cannot_be(options: dict[str, Any], kind: type[Exception]) -> None:
    broker = Broker()
    with pytest.raises(kind, match=f"{next(iter(options))} must be"):
        broker.queue("q", **options)
    assert broker.find("q") is None


def test_a_broker_that_does_not_run() -> None:
    broker = Broker()
    with pytest.raises(LocalProtocolError, match="websocket_port"):
        _ = broker.websocket_url
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match=r"Broker\.running"):
            broker.call(len, "abc")
        with Broker.running() as broker:
            assert broker.call(len, "abc") == 3
