"""Tokens in the clients of the 1.6 API: put-token, and renewal before the expiry, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.aio.peers import eventually, peer_server
from tests.tokens import Check, Clock
from uamqp import Connection, Message, errors, exceptions
from uamqp.aio import connect
from uamqp.aio.cbs import TokenKeeper
from uamqp.async_ops import ConnectionAsync, ReceiveClientAsync, SendClientAsync
from uamqp.authentication import JWTTokenAsync, JWTTokenAuth, SASTokenAsync, SASTokenAuth, TokenRetryPolicy
from uamqp.broker import Broker
from uamqp.codec.values import Symbol
from uamqp.constants import MessageState

from .helpers import bodies
from .test_authentication import SAS, Access, jwt

OK = [MessageState.SendComplete]


@pytest.fixture
async def services(tidy_loop: None, check: Check) -> AsyncIterator[Broker]:
    """A broker that looks at tokens."""
    async with Broker(token_check=check) as broker:
        yield broker


# --- the examples of the page -----------------------------------------------------------------------------------


async def test_page_send_with_a_token(services: Broker, check: Check) -> None:
    sas_token = SAS
    target = services.url.replace("127.0.0.1", "localhost") + "/myqueue"
    auth = SASTokenAsync("localhost", token=sas_token)

    # Using async context manager
    async with SendClientAsync(target, auth=auth) as client:
        message = Message("Hello Async World")
        client.queue_message(message)
        results = await client.send_all_messages_async()
        print(f"Send results: {results}")

    assert results == OK
    assert check.put == [("servicebus.windows.net:sastoken", "amqps://host/queue", SAS)]
    assert await bodies(services, "myqueue") == [b"Hello Async World"]


async def test_page_async_authentication(services: Broker, check: Check) -> None:
    sas_token, jwt_token = SAS, jwt(exp=4_000_000_000)

    # Async SAS token auth
    auth: Any = SASTokenAsync(hostname="localhost", token=sas_token)
    async with ConnectionAsync(services.url, sasl=auth):
        pass

    # Async JWT token auth
    auth = JWTTokenAsync(hostname="localhost", token=jwt_token, audience="https://service.example.com")
    async with ConnectionAsync(services.url, sasl=auth):
        pass

    assert check.put == [
        ("servicebus.windows.net:sastoken", "amqps://host/queue", sas_token),
        ("jwt", "https://service.example.com", jwt_token),
    ]


# --- tokens in the clients --------------------------------------------------------------------------------------


def auths(check: Check) -> list[Any]:
    async def get_token() -> Access:
        return Access("from a coroutine", 4e9)

    uri = "amqps://127.0.0.1/queue"
    return [
        SASTokenAsync.from_shared_access_key(uri, "name", "key"),
        SASTokenAuth.from_shared_access_key(uri, "name", "key"),
        JWTTokenAsync(uri, uri, get_token),
        JWTTokenAuth(uri, uri, lambda: Access("from a function", 4e9)),
    ]


@pytest.mark.parametrize("number", range(4))
async def test_all_kinds(services: Broker, check: Check, number: int) -> None:
    auth = auths(check)[number]
    async with SendClientAsync(f"{services.url}/queue", auth=auth) as client:
        assert await client.auth_complete_async() is True
        assert await client.send_message_batch_async(["message"]) == OK
    kind = "servicebus.windows.net:sastoken" if number < 2 else "jwt"
    assert check.put == [(kind, "amqps://127.0.0.1/queue", auth.token.decode())]


async def test_a_token_that_was_updated_before(services: Broker, check: Check) -> None:
    """azure-servicebus and azure-iot-hub do so."""
    calls: list[int] = []

    async def get_token() -> Access:
        calls.append(1)
        return Access(f"token {len(calls)}", 4e9)

    auth = JWTTokenAsync("audience", "amqps://127.0.0.1", get_token)
    await auth.update_token()
    async with SendClientAsync(f"{services.url}/queue", auth=auth):
        pass
    assert check.tokens == ["token 1"]


async def test_one_token_for_all_clients_of_a_connection(services: Broker, check: Check) -> None:
    auth = SASTokenAsync("127.0.0.1", token="token")
    async with ConnectionAsync(services.url, auth) as connection:
        sender, receiver = SendClientAsync(f"{services.url}/queue"), ReceiveClientAsync(f"{services.url}/queue")
        await asyncio.gather(*(c.open_async(connection=connection) for c in (sender, receiver)))
        await sender.send_message_async(Message("message"))
        assert len(await receiver.receive_message_batch_async()) == 1
        await sender.close_async()
        await receiver.close_async()
    assert check.tokens == ["token"]


async def test_a_token_that_the_peer_refuses(services: Broker, check: Check) -> None:
    check.refuse = lambda token: "unknown key"
    auth = SASTokenAsync("127.0.0.1", token="s3cret", retry_policy=TokenRetryPolicy(retries=1))
    client = SendClientAsync(f"{services.url}/queue", auth=auth)
    for _ in range(2):
        with pytest.raises(errors.TokenAuthFailure) as caught:
            await client.open_async()
        error = caught.value
        assert error.status_code == 401
        assert str(error).startswith("CBS Token authentication failed.\nStatus code: 401\nDescription: ")
        assert "unknown key" in str(error)
        assert "s3cret" not in f"{error}{error!r}{error.__cause__!r}"
        assert isinstance(error, errors.AuthenticationException)
        assert isinstance(error, exceptions.TokenError)
    assert services.connections == 0
    assert check.tokens[:2] == ["s3cret"] * 2


async def test_a_peer_without_tokens() -> None:
    broker = Broker()
    del broker._nodes["$cbs"]
    async with broker:
        with pytest.raises(errors.AuthenticationException, match="Failed to open CBS authentication link"):
            await SendClientAsync(f"{broker.url}/queue", auth=SASTokenAsync("127.0.0.1", token="t")).open_async()


async def test_a_peer_that_does_not_answer_the_client() -> None:
    async with peer_server() as server:
        auth = SASTokenAsync("127.0.0.1", token="t", timeout=0.05, retry_policy=TokenRetryPolicy(retries=0))
        with pytest.raises(TimeoutError, match=r"^Authorization timeout"):
            await SendClientAsync(f"{server.url}/queue", auth=auth).open_async()


async def test_an_unreachable_peer(unused_tcp_port: int) -> None:
    auth = SASTokenAsync("127.0.0.1", token="t")
    with pytest.raises(errors.AMQPConnectionError) as caught:
        await SendClientAsync(f"amqp://127.0.0.1:{unused_tcp_port}/queue", auth=auth).open_async()
    # azure-eventhub looks for these words.
    assert str(caught.value).startswith("Unable to open authentication session")
    assert f"amqp://127.0.0.1:{unused_tcp_port}" in str(caught.value)


async def test_get_token_that_fails(services: Broker) -> None:
    async def get_token() -> Access:
        raise OSError("no network")

    auth = JWTTokenAsync("audience", "amqps://127.0.0.1", get_token)
    with pytest.raises(OSError, match="no network"):
        await SendClientAsync(f"{services.url}/queue", auth=auth).open_async()
    assert services.connections == 0


class NotAFloat:
    token = "s3cret"
    expires_on = "2099-01-01"


class NotAText:
    token = 5
    expires_on = 4e9


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (None, "with the attributes token and expires_on, not NoneType"),
        ("s3cret", "with the attributes token and expires_on, not str"),
        (NotAFloat(), "the expires_on that get_token returns must be a number of seconds, not str"),
        (NotAText(), "the token that get_token returns must be a str or bytes, not int"),
    ],
)
async def test_get_token_that_gives_no_token(services: Broker, given: Any, problem: str) -> None:
    async def get_token() -> Any:
        return given

    client = SendClientAsync(f"{services.url}/queue", auth=JWTTokenAsync("audience", "amqps://127.0.0.1", get_token))
    client.queue_message(Message("message"))
    with pytest.raises(TypeError, match=problem) as caught:
        await client.send_all_messages_async()
    assert "s3cret" not in str(caught.value)
    assert len(client.pending_messages) == 1
    assert services.connections == 0


def test_a_coroutine_function_where_there_is_no_loop() -> None:
    async def get_token() -> Access:
        return Access("token", 4e9)

    with pytest.raises(TypeError, match="JWTTokenAsync is the class"):
        JWTTokenAuth("audience", "amqps://127.0.0.1", get_token).update_token()


@pytest.fixture
def virtual(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Clock:
    """Makes the clients keep their tokens by the test's clock."""
    clock.now = time.time()
    patched = partial(TokenKeeper, clock=clock.time, sleep=clock.sleep)
    monkeypatch.setattr("uamqp.authentication.cbs_auth.TokenKeeper", patched)
    monkeypatch.setattr(time, "time", clock.time)
    return clock


async def test_renewal_while_receiving(services: Broker, check: Check, virtual: Clock) -> None:
    auth = SASTokenAsync.from_shared_access_key("amqps://127.0.0.1/queue", "name", "key", expiry=100)
    async with ReceiveClientAsync(f"{services.url}/queue", auth=auth) as client:
        receiving = asyncio.create_task(client.receive_message_batch_async())
        for n in range(1, 4):
            await eventually(lambda n=n: len(check.put) == n)
            assert await virtual.wake() == pytest.approx(90, abs=2)
        await eventually(lambda: len(set(check.tokens)) == 4)
        assert not receiving.done()
        async with connect(services.url) as other, other.sender("queue") as sender:
            await sender.send("message")
        assert len(await receiving) == 1
    assert virtual.next is None


async def test_thirty_days(services: Broker, check: Check, virtual: Clock) -> None:
    """Tokens of an hour: the peer always has one that is good, and never more of them than it must."""
    auth = SASTokenAsync.from_shared_access_key("amqps://127.0.0.1/queue", "name", "key")
    async with SendClientAsync(f"{services.url}/queue", auth=auth) as client:
        end = virtual.now + timedelta(days=30).total_seconds()
        renewals = 0
        while virtual.now < end:
            await virtual.wake()
            renewals += 1
            await eventually(lambda renewals=renewals: len(check.put) == renewals + 1)
            assert auth.expires_at is not None
            assert auth.expires_at - virtual.now > 3500
        # At nine tenths of the life of each.
        assert renewals == pytest.approx(30 * 24 / 0.9, rel=0.01)
        await client.send_message_async(Message("still authorized"))


async def test_refresh_window(services: Broker, check: Check, virtual: Clock) -> None:
    auth = SASTokenAuth.from_shared_access_key("amqps://127.0.0.1", "name", "key", expiry=100, refresh_window=40)
    async with SendClientAsync(f"{services.url}/queue", auth=auth):
        assert await virtual.wake() == pytest.approx(60, abs=2)
        await eventually(lambda: len(check.put) == 2)


async def test_expiry_without_renewal_reaches_who_waits(services: Broker, virtual: Clock) -> None:
    auth = SASTokenAsync("audience", "amqps://127.0.0.1/queue", "token", expires_in=100)
    client = ReceiveClientAsync(f"{services.url}/queue", auth=auth)
    await client.open_async()
    receiving = asyncio.create_task(client.receive_message_batch_async())
    await eventually(lambda: client.message_handler and client.message_handler._modern)
    start = virtual.now
    while not receiving.done():
        # The token itself is good until the end; only then is it an error that there is no other.
        await virtual.wake()
    assert virtual.now - start == pytest.approx(100, abs=2)
    with pytest.raises(errors.TokenExpired, match="from_shared_access_key"):
        await receiving
    for call in (client.auth_complete_async, client.client_ready_async, client.do_work_async, auth.handle_token_async):
        with pytest.raises(errors.TokenExpired):
            await call()
    await client.close_async()


async def test_step_by_step(services: Broker, check: Check) -> None:
    auth = SASTokenAsync("127.0.0.1", token="token")
    assert await auth.handle_token_async() == (False, False)
    connection = ConnectionAsync(services.url)
    await connection.open_async()
    await auth.create_authenticator_async(connection)
    assert await auth.handle_token_async() == (False, False)
    assert check.tokens == ["token"]
    await auth.close_authenticator_async()
    await auth.close_authenticator_async()
    await connection.close_async()


def test_step_by_step_in_blocking_code() -> None:
    auth = SASTokenAuth("127.0.0.1", token="token")
    assert auth.handle_token() == (False, False)
    with Broker.running() as broker, Connection(broker.url) as connection:
        auth.create_authenticator(connection)
        assert auth.handle_token() == (False, False)
        auth.close_authenticator()
        auth.close_authenticator()


async def test_the_loop_of_a_token() -> None:
    assert SASTokenAsync("127.0.0.1", token="token").loop is asyncio.get_running_loop()


def test_symbols_are_ascii() -> None:
    # The name of the mechanism goes out as a symbol.
    from uamqp.aio.cbs import MSSBCBS

    assert Symbol(MSSBCBS().name) == "MSSBCBS"
    assert MSSBCBS().initial() is None
