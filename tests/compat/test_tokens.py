"""Tokens on the wire: put-token, and renewal before the expiry, on a clock of the test's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

import uamqp.aio as amqp
from tests.aio.peers import eventually, peer_server
from uamqp import Connection, Message, errors, exceptions
from uamqp.aio.cbs import Token, TokenKeeper
from uamqp.async_ops import ConnectionAsync, ReceiveClientAsync, SendClientAsync
from uamqp.authentication import JWTTokenAsync, JWTTokenAuth, SASTokenAsync, SASTokenAuth, TokenRetryPolicy
from uamqp.broker import Broker
from uamqp.codec.values import Symbol
from uamqp.constants import MessageState

from .helpers import bodies
from .test_authentication import SAS, Access, jwt

OK = [MessageState.SendComplete]


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (self.now + seconds, waiter)
        self._sleepers.append(entry)
        try:
            await waiter
        finally:
            self._sleepers.remove(entry)

    @property
    def next(self) -> float | None:
        """Seconds until somebody wakes."""
        return min((when for when, _ in self._sleepers), default=None) and min(w for w, _ in self._sleepers) - self.now

    async def wake(self) -> float:
        """Let time pass until the next sleeper wakes; how much that was."""
        await eventually(lambda: self._sleepers)
        when, waiter = min(self._sleepers, key=lambda entry: entry[0])
        passed = max(0.0, when - self.now)
        self.now = max(self.now, when)
        waiter.set_result(None)
        await eventually(lambda: (when, waiter) not in self._sleepers)
        return passed


class Check:
    """What the broker thinks of tokens."""

    def __init__(self) -> None:
        self.put: list[tuple[str, str, str]] = []
        self.refuse: Callable[[str], str | None] = lambda token: None

    def __call__(self, kind: str, audience: str, token: str) -> str | None:
        self.put.append((kind, audience, token))
        return self.refuse(token)

    @property
    def tokens(self) -> list[str]:
        return [token for _, _, token in self.put]


@pytest.fixture
def check() -> Check:
    return Check()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(tidy_loop: None, check: Check) -> AsyncIterator[Broker]:
    """A broker that looks at tokens."""
    async with Broker(token_check=check) as broker:
        yield broker


@pytest.fixture
async def connection(services: Broker) -> AsyncIterator[amqp.Connection]:
    async with amqp.connect(services.url) as connection:
        yield connection


class Source:
    """Gives one token after the other, each good for `life` seconds."""

    def __init__(self, clock: Clock, life: float | None = 100.0) -> None:
        self._clock = clock
        self.life = life
        self.given = 0
        self.problem: Exception | None = None

    async def __call__(self) -> Token:
        if self.problem is not None:
            raise self.problem
        self.given += 1
        return Token(f"token {self.given}", "jwt", None if self.life is None else self._clock.now + self.life)


def keeper(connection: amqp.Connection, clock: Clock, source: Any, **options: Any) -> TokenKeeper:
    return TokenKeeper(connection, "audience", source, clock=clock.time, sleep=clock.sleep, **options)


# --- the keeper -------------------------------------------------------------------------------------------------


async def test_put_and_renew(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock))
    await kept.start()
    assert check.put == [("jwt", "audience", "token 1")]
    # A tenth of the life is left when a new one is put.
    assert await clock.wake() == pytest.approx(90)
    await eventually(lambda: len(check.put) == 2)
    assert await clock.wake() == pytest.approx(90)
    await eventually(lambda: check.tokens == ["token 1", "token 2", "token 3"])
    kept.check()
    await kept.close()
    await kept.close()


async def test_renewal_window(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock), refresh_window=30)
    await kept.start()
    assert await clock.wake() == pytest.approx(70)
    await eventually(lambda: len(check.put) == 2)
    await kept.close()


async def test_a_window_longer_than_the_life_renews_once_a_second(connection: amqp.Connection, clock: Clock) -> None:
    kept = keeper(connection, clock, Source(clock), refresh_window=500)
    await kept.start()
    assert await clock.wake() == pytest.approx(1)
    await kept.close()


async def test_a_token_that_does_not_expire(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock, life=None))
    await kept.start()
    assert clock.next is None
    await kept.close()


async def test_a_renewed_token_that_does_not_expire(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    source = Source(clock)
    kept = keeper(connection, clock, source)
    await kept.start()
    source.life = None
    await clock.wake()
    await eventually(lambda: len(check.put) == 2)
    assert clock.next is None
    await kept.close()


async def test_a_refused_token(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    check.refuse = lambda token: "unknown key"
    kept = keeper(connection, clock, Source(clock), retries=2)
    with pytest.raises(exceptions.TokenError, match="refused the token for audience: unknown key") as caught:
        await kept.start()
    assert caught.value.status == 401
    assert caught.value.remote is True
    assert check.tokens == ["token 1"] * 3
    assert "token 1" not in str(caught.value)


async def test_a_token_that_is_accepted_later(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    check.refuse = lambda token: None if len(check.put) == 2 else "not yet"
    kept = keeper(connection, clock, Source(clock), backoff=5)
    starting = asyncio.create_task(kept.start())
    assert await clock.wake() == pytest.approx(5)
    await starting
    await kept.close()


async def test_an_expired_token_is_not_put(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock, life=0), retries=0)
    with pytest.raises(exceptions.TokenError, match="has expired") as caught:
        await kept.start()
    assert caught.value.status is None
    assert check.put == []


async def test_renewal_is_tried_again(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    source = Source(clock)
    kept = keeper(connection, clock, source)
    await kept.start()
    source.problem = OSError("no network")
    await clock.wake()
    # Four tries are spread over the ten seconds that are left.
    assert [await clock.wake() for _ in range(2)] == [pytest.approx(2.5)] * 2
    source.problem = None
    await clock.wake()
    await eventually(lambda: check.tokens == ["token 1", "token 2"])
    kept.check()
    assert await clock.wake() == pytest.approx(90)
    await kept.close()


async def test_what_nobody_expected_is_an_error_too(connection: amqp.Connection, clock: Clock) -> None:
    async def sleep(seconds: float) -> None:
        raise RuntimeError("no time")

    kept = TokenKeeper(connection, "audience", Source(clock), clock=clock.time, sleep=sleep)
    await kept.start()
    await eventually(lambda: kept.error)
    with pytest.raises(exceptions.TokenError, match="cannot be renewed: RuntimeError"):
        kept.check()
    await kept.close()


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_who_waits_hears_that_the_token_has_expired(
    services: Broker, connection: amqp.Connection, clock: Clock, role: str
) -> None:
    source = Source(clock)
    kept = keeper(connection, clock, source)
    await kept.start()
    closed = await connection.receiver("other")
    kept.guard(closed)
    await closed.close()
    if role == "receiver":
        receiver = await connection.receiver("queue")
        kept.guard(receiver)
        waiting: asyncio.Task[Any] = asyncio.create_task(receiver.receive(timeout=None))
    else:
        services.options = replace(services.options, link_credit=0)
        sender = await connection.sender("queue")
        kept.guard(sender)
        waiting = asyncio.create_task(sender.send("message", timeout=None))
    gone = await connection.receiver("gone")
    kept.guard(gone)
    await gone.close()
    source.problem = OSError("no network")
    for _ in range(5):
        await clock.wake()
    if role == "receiver":
        with pytest.raises(exceptions.TokenError, match="was not renewed: no network"):
            await waiting
    else:
        with pytest.raises(exceptions.NotSent, match="was not renewed: no network") as caught:
            await waiting
        assert isinstance(caught.value.__cause__, exceptions.TokenError)
    with pytest.raises(exceptions.TokenError, match="has expired and was not renewed: no network"):
        kept.check()
    assert connection.is_open
    await kept.close()


async def test_a_renewal_that_is_refused(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock), retries=0)
    await kept.start()
    check.refuse = lambda token: "revoked"
    for _ in range(2):
        await clock.wake()
    await eventually(lambda: kept.error)
    assert isinstance(kept.error, exceptions.TokenError)
    assert kept.error.status == 401
    await kept.close()


async def test_a_source_that_gives_the_same_token(connection: amqp.Connection, clock: Clock, check: Check) -> None:
    token = Token("token", "jwt", clock.now + 100)

    async def source() -> Token:
        return token

    kept = keeper(connection, clock, source, retries=0)
    await kept.start()
    for _ in range(2):
        await clock.wake()
    await eventually(lambda: kept.error)
    assert "there is no newer token" in str(kept.error)
    assert clock.now == pytest.approx(1_000_100)
    assert check.tokens == ["token"]
    assert repr(token) == "Token(kind='jwt', expires_at=1000100.0)"
    await kept.close()


async def test_the_links_are_attached_again_where_they_ended(
    services: Broker, connection: amqp.Connection, clock: Clock, check: Check
) -> None:
    kept = keeper(connection, clock, Source(clock))
    await kept.start()
    assert kept._requests is not None
    await kept._requests._sender.close()
    await clock.wake()
    await eventually(lambda: len(check.put) == 2)
    await kept.close()


async def test_the_end_of_the_connection_ends_the_renewal(
    services: Broker, connection: amqp.Connection, clock: Clock
) -> None:
    kept = keeper(connection, clock, Source(clock))
    await kept.start()
    services.drop_connections()
    await connection.wait_closed(timeout=10)
    await clock.wake()
    await eventually(lambda: clock.next is None)
    assert kept.error is None
    await kept.close()


async def test_a_peer_that_does_not_answer() -> None:
    async with peer_server() as server, amqp.connect(server.url) as connection:
        kept = TokenKeeper(connection, "audience", Source(Clock(), None), timeout=0.05, retries=1)
        with pytest.raises(exceptions.OperationTimeout, match=r"did not answer put-token for audience within 0\.05 s"):
            await kept.start()


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"status-code": 202}, None),
        ({"statusCode": 200, "statusDescription": "OK"}, None),
        ({"status-code": 500}, "no reason given"),
        ({"status-code": "OK"}, "has no status code"),
        ({}, "has no status code"),
    ],
)
async def test_answers(facts: dict[str, Any], problem: str | None) -> None:
    from tests.aio.peers import Peer
    from uamqp.codec.message import Message as CodecMessage
    from uamqp.codec.message import Properties

    class Answering(Peer):
        def on_message(self, delivery: Any) -> None:
            delivery.accept()
            asked = delivery.message.properties
            for correlation in ("an older request", asked.message_id):
                answer = CodecMessage(None, application_properties=facts)
                answer.properties = Properties(correlation_id=correlation)
                self.sender.send(answer.encode())

    async with peer_server(Answering) as server, amqp.connect(server.url) as connection:
        kept = TokenKeeper(connection, "audience", Source(Clock(), None), retries=0)
        if problem is None:
            await kept.start()
        else:
            with pytest.raises(exceptions.TokenError, match=problem):
                await kept.start()
        await kept.close()
        assert server.peer.receiver.remote_attach is not None
        assert server.peer.receiver.remote_attach.target.address == "$cbs"
        assert server.peer.messages[0].message.properties.reply_to == server.peer.sender.remote_attach.target.address  # type: ignore[union-attr]


def test_the_keeper_runs_under_the_blocking_driver(check: Check) -> None:
    from uamqp import sync

    async def get_token() -> Token:
        return Token("token", "jwt", time.time() + 1000)

    with Broker.running(token_check=check) as broker, sync.connect(broker.url) as connection:
        modern = connection._aio
        driver: Any = modern._driver
        kept = TokenKeeper(modern, "audience", get_token)
        driver.run(kept.start())
        driver.run(kept.close())
    assert check.put == [("jwt", "audience", "token")]


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
        async with amqp.connect(services.url) as other, other.sender("queue") as sender:
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
