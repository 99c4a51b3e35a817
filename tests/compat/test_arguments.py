"""Arguments of the wrong kind: told in words by whoever is given them, as a program is moved or written."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from uamqp import Message, ReceiveClient, SendClient
from uamqp.async_ops import (
    ConnectionAsync,
    MessageReceiverAsync,
    MessageSenderAsync,
    ReceiveClientAsync,
    SendClientAsync,
    SessionAsync,
)
from uamqp.broker import Broker

from .helpers import RECEIVERS, bodies, call, in_thread, put

CLIENTS = pytest.mark.parametrize("client", [SendClientAsync, ReceiveClientAsync, SendClient, ReceiveClient])
WRONG: Any = "wrong"


@CLIENTS
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"auth": "user:password"}, r"auth must be one of uamqp\.authentication, such as SASLPlain\(…\), not str"),
        ({"client_name": 5}, "client_name must be a str, not int"),
        ({"error_policy": 3}, "error_policy must be an ErrorPolicy, not int"),
        ({"keep_alive_interval": "5"}, "keep_alive_interval must be a number of seconds, not str"),
    ],
)
def test_of_clients(client: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        client("amqp://localhost/queue", **options)


@CLIENTS
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"send_settle_mode": "Settled"}, "'Settled' is not one of SenderSettleMode.Unsettled, SenderSettleMode.Set"),
        ({"receive_settle_mode": 2}, "2 is not one of ReceiverSettleMode.PeekLock, ReceiverSettleMode.ReceiveAndD"),
        # Never to be taken for the mode whose value it is: that throws messages away.
        ({"receive_settle_mode": 0}, "0 is not one of ReceiverSettleMode.PeekLock"),
        ({"receive_settle_mode": False}, "False is not one of ReceiverSettleMode.PeekLock"),
    ],
)
def test_settle_modes_that_are_none(client: Any, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        client("amqp://localhost/queue", **options)


@pytest.mark.parametrize(
    ("client", "option"),
    [
        (SendClientAsync, "msg_timeout"),
        (SendClientAsync, "msg_timeout_ms"),
        (SendClient, "msg_timeout"),
        (ReceiveClientAsync, "timeout"),
        (ReceiveClient, "timeout"),
    ],
)
def test_limits_of_time(client: Any, option: str) -> None:
    url = "amqp://localhost/queue"
    name = option.removesuffix("_ms")
    for none in (0, None, -1, -0.5):
        made = client(url, **{option: none})
        assert getattr(made, f"_{name}") == 0
    with pytest.raises(ValueError, match=f"{name} must be a number, and not nan"):
        client(url, **{option: float("nan")})
    with pytest.raises(TypeError, match=f"{name} must be a number, not str"):
        client(url, **{option: "5"})


@RECEIVERS
async def test_limits_of_time_of_a_batch(kind: Any, broker: Broker) -> None:
    client = kind(f"{broker.url}/queue")

    async def receive(timeout: Any) -> Any:
        if isinstance(client, ReceiveClient):
            return await in_thread(client.receive_message_batch, None, None, timeout)
        return await client.receive_message_batch_async(timeout=timeout)

    for wrong, problem in ((float("nan"), ValueError), ("5", TypeError)):
        with pytest.raises(problem, match="timeout must be a number"):
            await receive(wrong)
    assert await receive(-5) == []
    await call(client, "close")


async def test_of_rejecting(broker: Broker) -> None:
    await put(broker, "queue", b"x")
    async with ReceiveClientAsync(f"{broker.url}/queue", auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async()
        for wrong in ({"condition": 5}, {"description": 5}):
            with pytest.raises(TypeError, match="must be a str, not int"):
                message.reject(**wrong)
        assert not message.settled
        assert message.accept()


def test_of_connections() -> None:
    with pytest.raises(TypeError, match="sasl must be one of"):
        ConnectionAsync("amqp://localhost", WRONG)
    with pytest.raises(TypeError, match="error_policy must be an ErrorPolicy, not str"):
        ConnectionAsync("amqp://localhost", error_policy=WRONG)


def test_of_links() -> None:
    session = SessionAsync(ConnectionAsync("amqp://localhost"))
    with pytest.raises(TypeError, match="session must be a session, not str"):
        MessageSenderAsync(WRONG, "source", "target")
    with pytest.raises(TypeError, match="session must be a session, not str"):
        MessageReceiverAsync(WRONG, "source", "target")
    with pytest.raises(TypeError, match="error_policy must be an ErrorPolicy, not str"):
        MessageSenderAsync(session, "source", "target", error_policy=WRONG)
    with pytest.raises(TypeError, match="a mapping is needed, not str"):
        MessageSenderAsync(session, "source", "target", properties=WRONG)


async def test_any_prefetch(broker: Broker) -> None:
    await put(broker, "queue", b"hello")
    async with ReceiveClientAsync(f"{broker.url}/queue", prefetch=1 << 31) as receiver:
        assert [str(message) for message in await receiver.receive_message_batch_async(1)] == ["hello"]


@pytest.mark.parametrize("debug", [None, 0, 1, "yes", True])
async def test_any_debug(broker: Broker, debug: Any) -> None:
    async with SendClientAsync(f"{broker.url}/queue", debug=debug, keep_alive_interval=False) as sender:
        await sender.send_message_async(Message(b"hello"))
    await asyncio.to_thread(send_blocking, f"{broker.url}/queue", debug)
    assert await bodies(broker, "queue") == [b"hello", b"blocking"]


def send_blocking(url: str, debug: Any) -> None:
    client = SendClient(url, debug=debug)
    client.send_message(Message(b"blocking"))
    client.close()


@pytest.mark.parametrize(
    ("prefetch", "kind", "problem"), [(-1, ValueError, "at least 0, not -1"), ("9", TypeError, "str")]
)
def test_no_prefetch(prefetch: Any, kind: type[Exception], problem: str) -> None:
    with pytest.raises(kind, match=f"prefetch must be .*{problem}"):
        ReceiveClientAsync("amqp://localhost/queue", prefetch=prefetch)
    session = SessionAsync(ConnectionAsync("localhost"))
    with pytest.raises(kind, match=f"prefetch must be .*{problem}"):
        MessageReceiverAsync(session, "queue", None, prefetch=prefetch)


async def test_no_message(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), None, "queue")
        with pytest.raises(TypeError, match="message must be a Message, not str"):
            await sender.send_async(WRONG)
    with pytest.raises(TypeError, match="hostname must be the name of a host, or a URL, not NoneType"):
        ConnectionAsync(None)  # type: ignore[arg-type]
