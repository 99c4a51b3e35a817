"""Tokens: put before links are attached, renewed in time, and put again when the connection is back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.tokens import Check, Clock, Source
from uamqp.aio import Connection, Happening, Message, Properties, Recovery, RecoveryEvent, Token, connect
from uamqp.aio.cbs import TokenKeeper
from uamqp.broker import Broker
from uamqp.broker.services import ClaimsBasedSecurity
from uamqp.exceptions import AMQPError, ConnectionLost, LinkDetached, NotSent, OperationTimeout, TokenError

from .conftest import Serve
from .peers import BOUND, Peer, eventually, peer_server


@pytest.fixture
async def services(unbroken_loop: None, check: Check) -> AsyncIterator[Broker]:
    """A broker that looks at tokens."""
    async with Broker(token_check=check) as broker:
        yield broker


@pytest.fixture
async def connection(services: Broker) -> AsyncIterator[Connection]:
    async with connect(services.url) as connection:
        yield connection


def keeper(connection: Connection, clock: Clock, source: Any, **options: Any) -> TokenKeeper:
    return TokenKeeper(connection, "audience", source, clock=clock.time, sleep=clock.sleep, **options)


async def test_put_and_renew(connection: Connection, clock: Clock, check: Check) -> None:
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


async def test_renewal_window(connection: Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock), refresh_window=30)
    await kept.start()
    assert await clock.wake() == pytest.approx(70)
    await eventually(lambda: len(check.put) == 2)
    await kept.close()


async def test_a_window_longer_than_the_life_renews_once_a_second(connection: Connection, clock: Clock) -> None:
    kept = keeper(connection, clock, Source(clock), refresh_window=500)
    await kept.start()
    assert await clock.wake() == pytest.approx(1)
    await kept.close()


async def test_a_token_that_does_not_expire(connection: Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock, life=None))
    await kept.start()
    assert clock.next is None
    await kept.close()


async def test_a_renewed_token_that_does_not_expire(connection: Connection, clock: Clock, check: Check) -> None:
    source = Source(clock)
    kept = keeper(connection, clock, source)
    await kept.start()
    source.life = None
    await clock.wake()
    await eventually(lambda: len(check.put) == 2)
    assert clock.next is None
    await kept.close()


async def test_a_refused_token(connection: Connection, clock: Clock, check: Check) -> None:
    check.refuse = lambda token: "unknown key"
    kept = keeper(connection, clock, Source(clock), retries=2)
    with pytest.raises(TokenError, match="refused the token for audience: unknown key") as caught:
        await kept.start()
    assert caught.value.status == 401
    assert caught.value.remote is True
    assert check.tokens == ["token 1"] * 3
    assert "token 1" not in str(caught.value)


async def test_a_token_that_is_accepted_later(connection: Connection, clock: Clock, check: Check) -> None:
    check.refuse = lambda token: None if len(check.put) == 2 else "not yet"
    kept = keeper(connection, clock, Source(clock), backoff=5)
    starting = asyncio.create_task(kept.start())
    assert await clock.wake() == pytest.approx(5)
    await starting
    await kept.close()


async def test_an_expired_token_is_not_put(connection: Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock, life=0), retries=0)
    with pytest.raises(TokenError, match="has expired") as caught:
        await kept.start()
    assert caught.value.status is None
    assert check.put == []


async def test_renewal_is_tried_again(connection: Connection, clock: Clock, check: Check) -> None:
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


async def test_what_nobody_expected_is_an_error_too(connection: Connection, clock: Clock) -> None:
    async def sleep(seconds: float) -> None:
        raise RuntimeError("no time")

    kept = TokenKeeper(connection, "audience", Source(clock), clock=clock.time, sleep=sleep)
    await kept.start()
    await eventually(lambda: kept.error)
    with pytest.raises(TokenError, match="cannot be renewed: RuntimeError"):
        kept.check()
    await kept.close()


@pytest.mark.parametrize("role", ["sender", "receiver"])
async def test_who_waits_hears_that_the_token_has_expired(
    services: Broker, connection: Connection, clock: Clock, role: str
) -> None:
    source = Source(clock)
    kept = keeper(connection, clock, source)
    await kept.start()
    closed = await connection.receiver("other")
    await closed.close()
    if role == "receiver":
        receiver = await connection.receiver("queue")
        waiting: asyncio.Task[Any] = asyncio.create_task(receiver.receive(timeout=None))
    else:
        services.options = replace(services.options, link_credit=0)
        sender = await connection.sender("queue")
        waiting = asyncio.create_task(sender.send("message", timeout=None))
    gone = await connection.receiver("gone")
    await gone.close()
    source.problem = OSError("no network")
    for _ in range(5):
        await clock.wake()
    if role == "receiver":
        with pytest.raises(TokenError, match="was not renewed: no network"):
            await waiting
    else:
        with pytest.raises(NotSent, match="was not renewed: no network") as caught:
            await waiting
        assert isinstance(caught.value.__cause__, TokenError)
    with pytest.raises(TokenError, match="has expired and was not renewed: no network"):
        kept.check()
    assert connection.is_open
    await kept.close()


async def test_a_renewal_that_is_refused(connection: Connection, clock: Clock, check: Check) -> None:
    kept = keeper(connection, clock, Source(clock), retries=0)
    await kept.start()
    check.refuse = lambda token: "revoked"
    for _ in range(2):
        await clock.wake()
    await eventually(lambda: kept.error)
    assert isinstance(kept.error, TokenError)
    assert kept.error.status == 401
    await kept.close()


async def test_a_source_that_gives_the_same_token(connection: Connection, clock: Clock, check: Check) -> None:
    token = Token("token", "jwt", clock.now + 100)

    async def source(audience: str) -> Token:
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
    services: Broker, connection: Connection, clock: Clock, check: Check
) -> None:
    kept = keeper(connection, clock, Source(clock))
    await kept.start()
    assert kept._requests is not None
    await kept._requests._sender.close()
    await clock.wake()
    await eventually(lambda: len(check.put) == 2)
    await kept.close()


async def test_the_end_of_the_connection_ends_the_renewal(
    services: Broker, connection: Connection, clock: Clock
) -> None:
    kept = keeper(connection, clock, Source(clock))
    await kept.start()
    services.drop_connections()
    await connection.wait_closed(timeout=10)
    # At once, and not when the next token is due.
    await eventually(lambda: clock.next is None)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("tokens for")]
    assert kept.error is None
    await kept.close()


async def test_a_peer_that_does_not_answer() -> None:
    async with peer_server() as server, connect(server.url) as connection:
        kept = TokenKeeper(connection, "audience", Source(Clock(), None), timeout=0.05, retries=1)
        with pytest.raises(OperationTimeout, match=r"did not answer put-token for audience within 0\.05 s"):
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
    class Answering(Peer):
        def on_message(self, delivery: Any) -> None:
            delivery.accept()
            asked = delivery.message.properties
            for correlation in ("an older request", asked.message_id):
                answer = Message(None, application_properties=facts)
                answer.properties = Properties(correlation_id=correlation)
                self.sender.send(answer.encode())

    async with peer_server(Answering) as server, connect(server.url) as connection:
        kept = TokenKeeper(connection, "audience", Source(Clock(), None), retries=0)
        if problem is None:
            await kept.start()
        else:
            with pytest.raises(TokenError, match=problem):
                await kept.start()
        await kept.close()
        assert server.peer.receiver.remote_attach is not None
        assert server.peer.receiver.remote_attach.target.address == "$cbs"
        assert server.peer.messages[0].message.properties.reply_to == server.peer.sender.remote_attach.target.address  # type: ignore[union-attr]


# --- authorize --------------------------------------------------------------------------------------------------


async def test_authorize(connection: Connection, check: Check) -> None:
    await connection.authorize("sb://host/queue", lambda audience: Token(f"for {audience}", "jwt"))
    assert check.put == [("jwt", "sb://host/queue", "for sb://host/queue")]
    assert connection._sessions == {}


async def test_a_second_source_takes_the_place_of_the_first(connection: Connection, services: Broker) -> None:
    await connection.authorize("audience", lambda audience: Token("first", "jwt", time.time() + 1000))
    await connection.authorize("audience", lambda audience: Token("second", "jwt", time.time() + 1000))
    # The first one's session is gone, with its links.
    await eventually(lambda: len(connection._engine.sessions) == 1)


async def test_two_at_once_for_the_same_audience(connection: Connection, check: Check) -> None:
    await asyncio.gather(
        *(connection.authorize("audience", lambda audience: Token("t", "jwt", time.time() + 1000)) for _ in range(2))
    )
    assert len(check.put) == 2
    # One of them is left: its session, the tasks that hear answers and the end of the link, and the one that renews.
    await eventually(lambda: len(connection._engine.sessions) == 1 and len(connection._driver._tasks) == 3)  # type: ignore[attr-defined]


async def test_the_connection_goes_while_the_first_token_is_put(services: Broker, check: Check) -> None:
    def drop(token: str) -> None:
        services.drop_connections()

    check.refuse = drop
    async with connect(services.url) as connection:
        with pytest.raises(ConnectionLost):
            await connection.authorize("audience", lambda audience: Token("token", "jwt"))


async def test_the_connection_is_closed_as_the_first_token_is_accepted(services: Broker) -> None:
    class Closing(TokenKeeper):
        async def _put(self, token: Token, timeout: float) -> None:
            await super()._put(token, timeout)
            await self._connection.close()

    connection = await connect(services.url)
    await Closing(connection, "audience", lambda audience: Token("token", "jwt", time.time() + 1000)).start()
    # Nobody is left to renew it.
    await eventually(lambda: not connection._driver._tasks)  # type: ignore[attr-defined]


@pytest.mark.parametrize("timeout", [0.05, None])
async def test_authorize_where_nobody_answers(serve: Serve, timeout: float | None, monkeypatch: Any) -> None:
    monkeypatch.setattr("uamqp.aio.connection.OPERATION_TIMEOUT", 0.05)
    server = await serve()
    async with connect(server.url) as connection:
        with pytest.raises(OperationTimeout, match="put-token"):
            await connection.authorize("audience", lambda audience: Token("token", "jwt"), timeout=timeout)


@pytest.mark.parametrize(
    ("audience", "covered"),
    [
        ("sb://host/Orders", {"orders", "orders/below", "amqps://host/orders"}),
        ("host/orders/", {"orders", "orders/below", "amqps://host/orders"}),
        ("sb://host/", {"orders", "orders/below", "amqps://host/orders", "ordersonly", "other"}),
        ("audience", {"orders", "orders/below", "amqps://host/orders", "ordersonly", "other"}),
    ],
)
async def test_only_those_that_need_the_token_are_told(
    connection: Connection, clock: Clock, audience: str, covered: set[str]
) -> None:
    source = Source(clock)
    kept = TokenKeeper(connection, audience, source, clock=clock.time, sleep=clock.sleep)
    await kept.start()
    receivers = [
        await connection.receiver(address)
        for address in ("orders", "orders/below", "amqps://host/orders", "ordersonly", "other")
    ]
    anonymous = await connection.sender(None)
    source.problem = OSError("no network")
    for _ in range(5):
        await clock.wake()
    await eventually(lambda: kept.error)
    told = {receiver.address for receiver in receivers if isinstance(receiver.error, TokenError)}
    assert told == covered
    assert (anonymous.error is None) is ("orders" in audience.lower())
    await kept.close()


async def test_the_end_of_one_token_does_not_keep_others_from_being_put(
    connection: Connection, clock: Clock, check: Check
) -> None:
    source = Source(clock)
    kept = TokenKeeper(connection, "sb://host/", source, clock=clock.time, sleep=clock.sleep)
    await kept.start()
    other = TokenKeeper(connection, "sb://host/other", lambda audience: Token("token", "jwt"))
    await other.start()
    source.problem = OSError("no network")
    for _ in range(5):
        await clock.wake()
    await eventually(lambda: kept.error)
    assert other._requests is not None
    assert other._requests.usable
    await kept.close()


async def test_a_token_that_does_not_come(connection: Connection, check: Check) -> None:
    async def get_token(audience: str) -> Token:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(OperationTimeout, match=r"no token for audience within 0\.01 s"):
        await connection.authorize("audience", get_token, timeout=0.01)
    assert check.put == []


async def test_a_token_that_comes_too_late(connection: Connection, check: Check) -> None:
    """From a function that holds up the loop, which no time-out can interrupt."""

    def get_token(audience: str) -> Token:
        time.sleep(0.02)
        return Token("late", "jwt")

    with pytest.raises(OperationTimeout, match=r"there was no token for a within 0\.01 s"):
        await connection.authorize("a", get_token, timeout=0.01)
    assert check.put == []


async def test_a_token_that_comes_too_late_is_put_where_there_is_another_try(
    connection: Connection, check: Check
) -> None:
    def get_token(audience: str) -> Token:
        time.sleep(0.02)
        keeper._timeout = BOUND
        return Token("late", "jwt")

    keeper = TokenKeeper(connection, "a", get_token, timeout=0.01, retries=1)
    await keeper.start()
    assert len(check.put) == 1
    await keeper.close()


@pytest.mark.parametrize("closed", [True, False])
async def test_a_token_that_is_cancelled(connection: Connection, closed: bool) -> None:
    asked = asyncio.Event()

    async def get_token(audience: str) -> Token:
        asked.set()
        if not closed:
            raise asyncio.CancelledError
        await asyncio.Event().wait()
        raise AssertionError

    authorizing = asyncio.create_task(connection.authorize("audience", get_token))
    await asked.wait()
    if closed:
        await connection.close()
    with pytest.raises(AMQPError, match="is closed" if closed else "was cancelled"):
        await authorizing


# --- with recovery ----------------------------------------------------------------------------------------------


@asynccontextmanager
async def recovering(services: Broker, **options: Any) -> AsyncIterator[tuple[Connection, list[RecoveryEvent]]]:
    events: list[RecoveryEvent] = []
    recovery = Recovery(initial_delay=0.001, max_delay=0.01, on_event=events.append, **options)
    async with connect(services.url, recovery=recovery, timeout=BOUND) as connection:
        yield connection, events


def times(events: list[RecoveryEvent], what: Happening) -> int:
    return sum(event.what is what for event in events)


async def test_tokens_are_put_again_before_links(services: Broker, check: Check) -> None:
    given: list[str] = []

    async def get_token(audience: str) -> Token:
        given.append(audience)
        return Token(f"token {len(given)}", "jwt", time.time() + 1000)

    async with recovering(services) as (connection, events):
        await connection.authorize("sb://host/one", get_token)
        await connection.authorize("sb://host/two", get_token)
        async with connection.sender("one") as sender:
            for number in range(1, 4):
                services.drop_connections()
                await eventually(lambda number=number: times(events, Happening.RECOVERED) == number)
                await sender.send("message")
        assert len(connection._sessions) == 1
    # They are still good.
    assert given == ["sb://host/one", "sb://host/two"]
    assert check.tokens == ["token 1", "token 2"] * 4


async def test_a_link_alone_needs_no_new_token(services: Broker, check: Check) -> None:
    async with recovering(services) as (connection, events):
        await connection.authorize("sb://host/one", lambda audience: Token("token", "jwt"))
        async with connection.sender("one"):
            (accepted,) = services._connections.values()
            (endpoint,) = (
                link for session in accepted.engine.sessions for link in session.links if link.target.address == "one"
            )
            endpoint.fail("amqp:link:detach-forced", "idle")
            await eventually(lambda: times(events, Happening.RECOVERED) == 1)
    assert check.tokens == ["token"]


@pytest.mark.parametrize("trouble", ["no token", "expired", "refused for now"])
async def test_no_good_token_is_tried_again(services: Broker, check: Check, trouble: str) -> None:
    problems = 0

    def get_token(audience: str) -> Token:
        nonlocal problems
        problems -= 1
        if problems < 0:
            # Too old to be put once more.
            return Token("first", "jwt", time.time() + 0.9)
        if problems > 0:
            if trouble == "no token":
                raise OSError("no network")
            if trouble == "expired":
                return Token("token", "jwt", time.time() - 1)
        return Token("token", "jwt", time.time() + 1000)

    async with recovering(services) as (connection, events):
        await connection.authorize("sb://host/one", get_token)
        problems = 4
        if trouble == "refused for now":
            services.options = replace(services.options, token_check=None)

            def fail(kind: str, audience: str, token: str) -> str | None:
                if problems > 0:
                    raise RuntimeError("cannot look it up")
                return None

            check_node = services.find("$cbs")
            assert isinstance(check_node, ClaimsBasedSecurity)
            check_node._check_token = fail
        async with connection.sender("one") as sender:
            services.drop_connections()
            await eventually(lambda: times(events, Happening.RECOVERED) == 1)
            await sender.send("message")
    assert times(events, Happening.RETRYING) == 4
    errors = [event.error for event in events if event.what is Happening.RETRYING][1:]
    assert all(isinstance(error, TokenError) for error in errors)


async def test_a_token_that_is_refused_ends_only_what_needs_it(services: Broker, check: Check) -> None:
    async with recovering(services) as (connection, events):
        await connection.authorize("sb://host/one", lambda audience: Token("one", "jwt"))
        await connection.authorize("sb://host/two", lambda audience: Token("two", "jwt"))
        one, two = await connection.sender("one"), await connection.sender("two")
        check.refuse = lambda token: "revoked" if token == "one" else None
        services.drop_connections()
        await eventually(lambda: times(events, Happening.RECOVERED) == 1)
        assert isinstance(one.error, TokenError)
        with pytest.raises(TokenError, match="revoked"):
            await one.send("message")
        await two.send("message")
        # It stays so.
        services.drop_connections()
        await eventually(lambda: times(events, Happening.RECOVERED) == 2)
        await two.send("message")
    # Another token might have been liked better.
    assert check.tokens == ["one", "two", "one", "one", "two", "two"]


async def test_a_peer_that_takes_no_tokens_any_more(services: Broker, check: Check) -> None:
    async with recovering(services) as (connection, events):
        await connection.authorize("sb://host/one", lambda audience: Token("one", "jwt"))
        one, two = await connection.sender("one"), await connection.sender("two")
        del services._nodes["$cbs"]
        services.options = replace(services.options, auto_create=False)
        services.queue("two")
        services.drop_connections()
        await eventually(lambda: times(events, Happening.RECOVERED) == 1)
        with pytest.raises(LinkDetached, match="not-found"):
            await one.send("message")
        await two.send("message")


async def test_the_connection_goes_while_a_token_is_put_again(services: Broker, check: Check) -> None:
    def drop_once(token: str) -> str | None:
        if len(check.put) == 2:
            services.drop_connections()
        return None

    async with recovering(services) as (connection, events):
        await connection.authorize("sb://host/one", lambda audience: Token("one", "jwt"))
        async with connection.sender("one") as sender:
            check.refuse = drop_once
            services.drop_connections()
            await eventually(lambda: times(events, Happening.RECOVERED) == 1)
            await sender.send("message")
    assert check.tokens == ["one"] * 3


async def test_the_connection_goes_while_the_first_token_is_put_with_recovery(services: Broker, check: Check) -> None:
    def drop_once(token: str) -> str | None:
        if len(check.put) == 1:
            services.drop_connections()
        return None

    check.refuse = drop_once
    async with recovering(services) as (connection, _):
        await connection.authorize("sb://host/one", lambda audience: Token("token", "jwt"))
    assert check.tokens == ["token"] * 2


async def test_the_connection_goes_while_the_first_token_is_fetched(check: Check) -> None:
    """It is on its way back then: the peer did not answer open yet."""
    peers = iter([Peer, lambda: Peer("on_open")])
    async with peer_server(lambda: next(peers)()) as server:
        recovery = Recovery(initial_delay=0.001, max_delay=0.01)
        async with connect(server.url, recovery=recovery, timeout=0.05, connect_timeout=BOUND) as connection:

            async def get_token(audience: str) -> Token:
                server.peer.cut()
                await eventually(lambda: len(server.peers) == 2 and server.peer.engine.remote_open is not None)
                return Token("token", "jwt")

            with pytest.raises(OperationTimeout, match="the connection was not back"):
                await connection.authorize("sb://host/one", get_token)


async def test_what_waiting_for_the_connection_took_is_not_taken_from_renewals(services: Broker) -> None:
    async with recovering(services) as (connection, events):
        services.drop_connections()
        await eventually(lambda: times(events, Happening.INTERRUPTED))
        await connection.authorize("audience", lambda audience: Token("token", "jwt"))
        assert connection._keepers["audience"]._timeout == BOUND


async def test_renewal_goes_on_on_the_new_connection(services: Broker, check: Check, clock: Clock) -> None:
    async with recovering(services) as (connection, events):
        source = Source(clock)
        kept = TokenKeeper(connection, "audience", source, clock=clock.time, sleep=clock.sleep)
        await kept.start()
        for number in range(1, 4):
            services.drop_connections()
            await eventually(lambda number=number: times(events, Happening.RECOVERED) == number)
            assert await clock.wake() == pytest.approx(90)
            await eventually(lambda number=number: len(check.put) == 2 * number + 1)
    assert check.tokens == [f"token {number // 2 + 1}" for number in range(7)]


@pytest.mark.parametrize("given", ["the token", None])
async def test_what_is_no_token(connection: Connection, check: Check, given: Any) -> None:
    async def get_later(audience: str) -> Any:
        return given

    what = type(given).__name__
    for get_token in (lambda audience: given, get_later):
        with pytest.raises(TypeError, match=f"get_token must give a Token, or an awaitable for one, not {what}"):
            await connection.authorize("audience", get_token)
    assert check.put == []


@pytest.mark.parametrize(
    ("terms", "problem"), [((1, "jwt"), "text"), (("t", 1), "kind"), (("t", "jwt", "x"), "expires_at")]
)
def test_no_token(terms: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=f"{problem} must be "):
        Token(*terms)
