"""Nothing that is queued is lost where a client cannot be opened, whatever the cause, and all of it goes out later."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import uamqp.aio as amqp
from uamqp import Message, SendClient, errors, exceptions
from uamqp.async_ops import ConnectionAsync, SendClientAsync
from uamqp.authentication import (
    AMQPAuth,
    JWTTokenAsync,
    JWTTokenAuth,
    SASLAnonymous,
    SASLPlain,
    SASTokenAsync,
    SASTokenAuth,
)
from uamqp.authentication.cbs_auth import AccessToken
from uamqp.broker import Azure, Broker
from uamqp.constants import MessageState, TransportType

from ..transport.servers import ProxyServer, read_head, relay, serving
from .conftest import Certificates
from .helpers import Refuser

WAITING = MessageState.WaitingToBeSent
OK = MessageState.SendComplete

Kind = type[SendClientAsync]
# The blocking one is derived from the other.
KINDS = pytest.mark.parametrize("kind", [SendClient, SendClientAsync])
CALLS = pytest.mark.parametrize("call", ["send_all_messages", "send_message"])


async def do(client: SendClientAsync, call: str, *arguments: Any) -> Any:
    """Call something of either kind of client, of the blocking one in a thread of its own."""
    if isinstance(client, SendClient):
        return await asyncio.to_thread(getattr(client, call), *arguments)
    return await getattr(client, f"{call}_async")(*arguments)


class Trouble(NamedTuple):
    """Why a client cannot be opened.

    Attributes:
        broker: what is behind all that; its queue ``q`` is to have the messages.
        bad, good: make an authentication that fails, and one that does not.
        error, text: what is raised.
        mend: takes the cause away, so that the first one is good too; None where there is no way.
    """

    broker: Broker
    bad: Callable[[], AMQPAuth]
    good: Callable[[], AMQPAuth]
    error: type[Exception]
    text: str
    mend: Callable[[], Awaitable[object]] | None = None

    @property
    def target(self) -> str:
        return f"{self.broker.url}/q"


#: Makes the trouble for a kind of client.
Setting = Callable[[Kind, Certificates], AbstractAsyncContextManager[Trouble]]


# --- the causes -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def a_proxy_that_refuses(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    proxy = ProxyServer(refusal="403 Forbidden")

    async def mend() -> None:
        proxy._refusal = None

    async with Broker(websocket_port=0) as broker:
        with proxy.running(), ProxyServer().running() as other:
            yield Trouble(
                broker,
                lambda: through(proxy, broker),
                lambda: through(other, broker),
                errors.AuthenticationException,
                r"the proxy http://127\.0\.0\.1:\d+ answered 403 Forbidden",
                mend,
            )


@asynccontextmanager
async def a_proxy_that_wants_credentials(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    async def mend() -> None:
        proxy._user = None

    async with Broker(websocket_port=0) as broker:
        with ProxyServer(user="me", password="pass word").running() as proxy:
            yield Trouble(
                broker,
                lambda: through(proxy, broker),
                lambda: through(proxy, broker, username="me", password="pass word"),
                errors.AuthenticationException,
                "407 Proxy Authentication Required",
                mend,
            )


def through(proxy: ProxyServer, broker: Broker, **more: str) -> SASLAnonymous:
    http_proxy = {"proxy_hostname": "127.0.0.1", "proxy_port": proxy.port, **more}
    return SASLAnonymous("127.0.0.1", broker.websocket_port, http_proxy=http_proxy, use_tls=False)


def an_upgrade_that_fails(status: str, error: type[Exception]) -> Setting:
    @asynccontextmanager
    async def setting(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
        refusing = [True]

        def handle(stream: socket.socket) -> None:
            if refusing:
                read_head(stream)
                stream.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
                return
            with socket.create_connection(("127.0.0.1", broker.websocket_port)) as target:
                relay(stream, target)

        async def mend() -> None:
            refusing.clear()

        def auth(port: int | None) -> SASLAnonymous:
            return SASLAnonymous("127.0.0.1", port, transport_type=TransportType.AmqpOverWebsocket, use_tls=False)

        async with Broker(websocket_port=0) as broker:
            with serving(handle) as port:
                yield Trouble(broker, lambda: auth(port), lambda: auth(broker.websocket_port), error, status, mend)

    return setting


@asynccontextmanager
async def a_certificate_for_another_host(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    terms: Any = {"verify": certificates.ca}
    (cert, key), (other_cert, other_key) = certificates.server, certificates.stranger
    async with Broker(tls_cert=other_cert, tls_key=other_key) as stranger, Broker(tls_cert=cert, tls_key=key) as broker:
        yield Trouble(
            broker,
            lambda: SASLAnonymous("127.0.0.1", stranger.port, **terms),
            lambda: SASLAnonymous("127.0.0.1", broker.port, **terms),
            errors.ConnectionClose,
            "(?i)mismatch",
        )


@asynccontextmanager
async def a_wrong_password(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    users = {"user": "s3cret"}

    async def mend() -> None:
        users["user"] = "wr0ng"

    async with Broker(users=users) as broker:
        yield Trouble(
            broker,
            lambda: SASLPlain("127.0.0.1", "user", "wr0ng"),
            lambda: SASLPlain("127.0.0.1", "user", "s3cret"),
            errors.AuthenticationException,
            "does not accept the credentials",
            mend,
        )


def shared_key(kind: Kind) -> type[SASTokenAuth]:
    return SASTokenAuth if kind is SendClient else SASTokenAsync


@asynccontextmanager
async def a_key_that_is_not_theirs(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    keys = {"me": "cmlnaHQ9MQ=="}

    async def mend() -> None:
        keys["me"] = "d3Jvbmc9MQ=="

    async with Broker(personality=Azure(keys=keys)) as broker:
        make, uri = shared_key(kind).from_shared_access_key, f"{broker.url}/q"
        yield Trouble(
            broker,
            lambda: make(uri, "me", "d3Jvbmc9MQ=="),
            lambda: make(uri, "me", "cmlnaHQ9MQ=="),
            errors.TokenAuthFailure,
            "(?s)Status code: 401.*the signature of the token is not valid",
            mend,
        )


def a_web_token(token: str, life: float, error: type[Exception], text: str) -> Setting:
    """The function that gives tokens gives one that is no good; later, it gives others."""

    @asynccontextmanager
    async def setting(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
        def source(*given: AccessToken) -> Callable[[], Any]:
            async def get_token() -> AccessToken:
                return tokens[0]

            tokens = list(given)
            sources.append(tokens)
            return get_token if kind is SendClientAsync else lambda: tokens[0]

        def auth(given: AccessToken) -> JWTTokenAuth:
            made = JWTTokenAsync if kind is SendClientAsync else JWTTokenAuth
            return made("audience", f"{broker.url}/q", source(given))

        async def mend() -> None:
            sources[0][:] = [good]

        sources: list[list[AccessToken]] = []
        good = AccessToken("a good token", time.time() + 3600)
        bad = AccessToken(token, time.time() + life)
        async with Broker(token_check=lambda _, __, put: None if put == good.token else "no such token") as broker:
            yield Trouble(broker, lambda: auth(bad), lambda: auth(good), error, text, mend)

    return setting


@asynccontextmanager
async def a_signature_that_has_expired(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    """It was good when it was made, and time went by."""

    def auth(life: float) -> SASTokenAuth:
        made = shared_key(kind)("audience", f"{broker.url}/q", "token", expires_in=3600)
        made.expires_at = time.time() + life
        return made

    async with Broker() as broker:
        yield Trouble(broker, lambda: auth(-1), lambda: auth(3600), errors.TokenExpired, "has expired")


@asynccontextmanager
async def an_authentication_of_another(kind: Kind, certificates: Certificates) -> AsyncIterator[Trouble]:
    auth = SASLAnonymous("127.0.0.1")
    async with Broker() as broker, ConnectionAsync(broker.url, auth) as other:
        yield Trouble(
            broker,
            lambda: auth,
            lambda: SASLAnonymous("127.0.0.1"),
            ValueError,
            "already been consumed by another connection. Please create a fresh instance",
            other.destroy_async,
        )


CAUSES: dict[str, Setting] = {
    "proxy refuses": a_proxy_that_refuses,
    "proxy wants credentials": a_proxy_that_wants_credentials,
    "upgrade 404": an_upgrade_that_fails("404 Not Found", errors.ConnectionClose),
    "upgrade 401": an_upgrade_that_fails("401 Unauthorized", errors.AuthenticationException),
    "certificate": a_certificate_for_another_host,
    "password": a_wrong_password,
    "key": a_key_that_is_not_theirs,
    "web token": a_web_token("a bad token", 3600, errors.TokenAuthFailure, "(?s)401.*no such token"),
    "web token expired": a_web_token("an old token", -1, errors.TokenExpired, "has expired"),
    "signature expired": a_signature_that_has_expired,
    "consumed": an_authentication_of_another,
}


#: Those where the authentication itself is no good, and stays so.
FINAL = ("certificate", "signature expired")
MENDABLE = {name: setting for name, setting in CAUSES.items() if name not in FINAL}

ALL = pytest.mark.parametrize("trouble", CAUSES.values(), ids=CAUSES, indirect=True)


@pytest.fixture
async def trouble(
    request: pytest.FixtureRequest, kind: Kind, tidy_loop: None, certificates: Certificates
) -> AsyncIterator[Trouble]:
    async with request.param(kind, certificates) as trouble:
        yield trouble


# --- what becomes of the messages -------------------------------------------------------------------------------


async def fail(client: SendClientAsync, call: str, error: type[Exception], text: str) -> list[Message]:
    """Queue messages and send them in vain, twice; all that are to go out, in order."""
    messages = [Message(f"{number}") for number in range(4)]
    *queued, last = messages
    client.queue_message(*queued)
    if call == "send_message":
        with pytest.raises(error, match=text):
            await do(client, call, last)
    else:
        client.queue_message(last)
        with pytest.raises(error, match=text):
            await do(client, call)
    assert client.pending_messages == messages
    with pytest.raises(error, match=text):
        await do(client, "send_all_messages")
    assert client.pending_messages == messages
    assert [message.state for message in messages] == [WAITING] * 4
    return messages


async def go_out(client: SendClientAsync, kept: Refuser, messages: list[Message]) -> None:
    """All of them are sent and arrive, once and in order, and none is left."""
    assert not kept.attempts
    assert await do(client, "send_all_messages") == [OK] * len(messages)
    assert [amqp.Message.decode(payload).body for payload in kept.kept] == [b"%d" % n for n in range(len(messages))]
    assert client.pending_messages == []
    assert [message.state for message in messages] == [OK] * len(messages)


@KINDS
@CALLS
@ALL
async def test_another_client_sends_them(kind: Kind, call: str, trouble: Trouble) -> None:
    kept = Refuser(trouble.broker, "q", "", times=0)
    client = kind(trouble.target, auth=trouble.bad())
    messages = await fail(client, call, trouble.error, trouble.text)
    another = kind(trouble.target, auth=trouble.good())
    another.queue_message(*client.pending_messages)
    await go_out(another, kept, messages)


@KINDS
@CALLS
@pytest.mark.parametrize("trouble", MENDABLE.values(), ids=MENDABLE, indirect=True)
async def test_the_same_client_sends_them_when_the_cause_is_gone(kind: Kind, call: str, trouble: Trouble) -> None:
    kept = Refuser(trouble.broker, "q", "", times=0)
    client = kind(trouble.target, auth=trouble.bad())
    messages = await fail(client, call, trouble.error, trouble.text)
    assert trouble.mend is not None
    await trouble.mend()
    await go_out(client, kept, messages)


@KINDS
@ALL
async def test_whoever_holds_the_authentication_still_does(kind: Kind, trouble: Trouble) -> None:
    auth = trouble.bad()
    consumed = auth.consumed
    for _ in range(2):
        client = kind(trouble.target, auth=auth)
        client.queue_message(Message("message"))
        with pytest.raises(trouble.error, match=trouble.text):
            await do(client, "send_all_messages")
        assert auth.consumed is consumed


def test_a_missing_file_of_authorities_is_told_before_anything_can_be_queued(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"ca\.pem' with authorities to trust \(verify\)"):
        SASLAnonymous("127.0.0.1", verify=tmp_path / "ca.pem")


@KINDS
async def test_a_file_of_authorities_that_went_away(
    kind: Kind, tls_broker: Broker, certificates: Certificates, tmp_path: Path
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(certificates.ca.read_bytes())
    kept = Refuser(tls_broker, "q", "", times=0)
    client = kind(f"{tls_broker.url}/q", auth=SASLPlain("127.0.0.1", "user", "s3cret", verify=ca))
    ca.unlink()
    messages = await fail(client, "send_message", exceptions.AddressError, "cannot use the CA file")
    ca.write_bytes(certificates.ca.read_bytes())
    await go_out(client, kept, messages)


@KINDS
async def test_who_has_a_key_waits_longer_than_the_first_token_lives(kind: Kind) -> None:
    """The key makes new tokens, so there is no cause to fail, be it the first connection or a later one."""
    async with Broker() as broker:
        kept = Refuser(broker, "q", "", times=0)
        auth = shared_key(kind).from_shared_access_key(f"{broker.url}/q", "me", "cmlnaHQ9MQ==")
        client = kind(f"{broker.url}/q", auth=auth)
        for number in range(2):
            auth.expires_at = time.time() - 1
            client.queue_message(Message(f"{number}"))
            await do(client, "open")
            assert await do(client, "send_all_messages") == [OK]
        assert len(kept.kept) == 2
