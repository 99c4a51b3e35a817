"""The uamqp 1.6 API over WebSocket and through proxies."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from uamqp import Connection, Message, SendClient, errors
from uamqp.async_ops import ConnectionAsync, SendClientAsync
from uamqp.authentication import JWTTokenAsync, JWTTokenAuth, SASLAnonymous, SASLPlain, SASTokenAsync, SASTokenAuth
from uamqp.authentication.cbs_auth import AccessToken
from uamqp.broker import Broker
from uamqp.constants import TransportType
from uamqp.transport.address import Proxy

from ..transport.servers import FACES, ProxyServer, read_head, read_to_end, serving
from ..transport.test_websocket import accepting
from .conftest import Certificates
from .helpers import bodies

WEBSOCKET = TransportType.AmqpOverWebsocket


@pytest.fixture
async def broker(tidy_loop: None) -> AsyncIterator[Broker]:
    """A broker that lets in only ``user`` with the password ``s3cret``, over a WebSocket too."""
    async with Broker(websocket_port=0, users={"user": "s3cret"}, allow_anonymous=True) as broker:
        yield broker


@pytest.fixture
async def tls_broker(tidy_loop: None, certificates: Certificates) -> AsyncIterator[Broker]:
    """The same with TLS."""
    cert, key = certificates.server
    users = {"user": "s3cret"}
    async with Broker(websocket_port=0, tls_cert=cert, tls_key=key, users=users, allow_anonymous=True) as broker:
        yield broker


def proxy_dict(server: ProxyServer, **more: Any) -> dict[str, Any]:
    return {"proxy_hostname": "127.0.0.1", "proxy_port": server.port, **more}


async def send(auth: Any, target: str = "amqps://localhost/q") -> None:
    async with SendClientAsync(target, auth=auth) as client:
        await client.send_message_async(Message(b"x"))


# -- both of them ----------------------------------------------------------------------------------------------------


async def test_a_password_over_a_websocket(tls_broker: Broker, certificates: Certificates) -> None:
    terms: dict[str, Any] = {"verify": certificates.ca, "transport_type": WEBSOCKET}
    await send(SASLPlain("localhost", "user", "s3cret", port=tls_broker.websocket_port, **terms))
    assert len(tls_broker.queue("q")) == 1


async def test_without_tls(broker: Broker) -> None:
    await send(SASLAnonymous("127.0.0.1", port=broker.websocket_port, transport_type=WEBSOCKET, use_tls=False))
    assert await bodies(broker, "q") == [b"x"]


def test_the_blocking_half() -> None:
    with Broker.running(websocket_port=0) as broker, ProxyServer().running() as proxy:
        auth = SASLAnonymous("127.0.0.1", broker.websocket_port, http_proxy=proxy_dict(proxy), use_tls=False)
        client = SendClient("amqps://127.0.0.1/q", auth=auth)
        client.queue_message(Message(b"x"))
        client.send_all_messages()
        assert len(broker.queue("q")) == 1
        assert proxy.wanted == [("127.0.0.1", broker.websocket_port)]


@pytest.mark.parametrize("given", [str, bytes, bytearray], ids=lambda kind: kind.__name__)
async def test_a_proxy_forces_a_websocket_and_its_dict_stays_as_it_is(broker: Broker, given: Any) -> None:
    def text(value: str) -> Any:
        return value if given is str else bytes(value, "ascii")

    with ProxyServer(user="me", password="pass word").running() as proxy:
        http_proxy = proxy_dict(proxy, username=text("me"), password=text("pass word"))
        http_proxy["proxy_hostname"] = text("127.0.0.1")
        before = dict(http_proxy)
        await send(SASLAnonymous("127.0.0.1", broker.websocket_port, http_proxy=http_proxy, use_tls=False))
        assert http_proxy == before
        assert proxy.wanted == [("127.0.0.1", broker.websocket_port)]
    assert await bodies(broker, "q") == [b"x"]


async def test_a_client_without_authentication_passes_both_on(broker: Broker) -> None:
    with ProxyServer().running() as proxy:
        client = SendClientAsync(
            f"amqp://127.0.0.1:{broker.websocket_port}/q", http_proxy=proxy_dict(proxy), transport_type=WEBSOCKET
        )
        async with client:
            await client.send_message_async(Message(b"x"))
        assert len(proxy.wanted) == 1
    assert await bodies(broker, "q") == [b"x"]


async def get_token() -> AccessToken:
    return AccessToken("token", time.time() + 3600)


TOKENS: list[Any] = [
    lambda **terms: JWTTokenAsync("audience", "amqps://localhost/q", get_token, **terms),
    lambda **terms: SASTokenAsync.from_shared_access_key("amqps://localhost/q", "key", "c2VjcmV0", **terms),
]


@pytest.mark.parametrize("make", TOKENS, ids=["jwt", "sas"])
async def test_tokens_over_a_websocket_through_a_proxy(
    make: Any, tls_broker: Broker, certificates: Certificates
) -> None:
    with ProxyServer().running() as proxy:
        auth = make(port=tls_broker.websocket_port, verify=certificates.ca, http_proxy=proxy_dict(proxy))
        await send(auth)
        assert proxy.wanted == [("localhost", tls_broker.websocket_port)]
    assert len(tls_broker.queue("q")) == 1


@pytest.mark.parametrize("transport_type", [TransportType.Amqp, WEBSOCKET])
@pytest.mark.parametrize("make", TOKENS, ids=["jwt", "sas"])
async def test_a_custom_endpoint_is_connected_to_while_open_names_the_host(
    make: Any, transport_type: TransportType, tls_broker: Broker, certificates: Certificates
) -> None:
    websocket = transport_type is WEBSOCKET
    auth = make(
        port=tls_broker.websocket_port if websocket else tls_broker.port,
        verify=certificates.ca,
        transport_type=transport_type,
        custom_endpoint_hostname="127.0.0.1",
    )
    assert auth.hostname == b"127.0.0.1"
    # The certificate is good for the custom endpoint only.
    connection = ConnectionAsync("broker.example", auth)
    await connection.open_async()
    (peer,) = tls_broker._connections
    opened = peer.engine.remote_open
    assert opened is not None and opened.hostname == "broker.example"
    await connection.destroy_async()


# -- what is asked for -----------------------------------------------------------------------------------------------


def test_port_path_subprotocol_and_host_are_those_of_the_services() -> None:
    seen: list[bytes] = []
    with serving(lambda stream: seen.append(read_head(stream))) as port:
        auth = SASLAnonymous("localhost", port, transport_type=WEBSOCKET, use_tls=False)
        with pytest.raises(errors.AMQPConnectionError):
            Connection("broker.example", auth).open()
    first, *headers = seen[0].decode().split("\r\n")
    assert first == "GET /$servicebus/websocket/ HTTP/1.1"
    assert f"Host: localhost:{port}" in headers
    assert "Sec-WebSocket-Protocol: AMQPWSB10" in headers


@pytest.mark.parametrize(("use_tls", "port"), [(None, 443), (False, 80)])
def test_ports(use_tls: bool | None, port: int) -> None:
    auth = SASLAnonymous("broker.example", transport_type=WEBSOCKET, use_tls=use_tls)
    assert ConnectionAsync("broker.example", auth)._options().route.endpoint.port == port


@pytest.mark.parametrize("cls", [SASTokenAuth, JWTTokenAuth])
def test_what_an_authentication_says(cls: type) -> None:
    plain = cls("broker.example", token="token", transport_type=None)
    assert not plain.websocket and plain.proxy is None
    assert cls("broker.example", token="token", transport_type=WEBSOCKET).websocket
    given = {"proxy_hostname": b"proxy", "proxy_port": "3128", "username": b"me", "password": "s3cret"}
    proxied = cls("broker.example", token="token", http_proxy=given)
    assert proxied.websocket
    assert proxied.proxy == Proxy("http", "proxy", 3128, "me", "s3cret")
    assert "s3cret" not in repr(proxied)


@pytest.mark.parametrize(
    "http_proxy",
    [{}, {"proxy_hostname": "proxy"}, {"proxy_port": 1}, {"proxy_hostname": "proxy", "proxy_port": "many"}],
)
def test_a_proxy_without_a_place(http_proxy: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        SASLAnonymous("broker.example", http_proxy=http_proxy)


@pytest.mark.parametrize("host", ["a\r\nX: y", "é" * 70])
async def test_a_proxy_with_a_name_that_is_none(host: str) -> None:
    auth = SASLAnonymous("broker.example", http_proxy={"proxy_hostname": host, "proxy_port": 1})
    with pytest.raises(ValueError, match="is not the host and port"):
        await ConnectionAsync("broker.example", auth).open_async()


# -- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", errors.AMQPConnectionError, "404 Not Found"),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", errors.AuthenticationException, "401 Unauthorized"),
        (b"", errors.AMQPConnectionError, "hung up"),
    ],
)
async def test_errors_are_those_of_the_old_api(answer: bytes, error: type[Exception], text: str) -> None:
    def handle(stream: Any) -> None:
        read_head(stream)
        stream.sendall(answer)

    with serving(handle) as port:
        auth = SASLAnonymous("127.0.0.1", port, transport_type=WEBSOCKET, use_tls=False)
        with pytest.raises(error, match=text):
            await ConnectionAsync("127.0.0.1", auth).open_async()
        proxied = SASLAnonymous(
            "127.0.0.1", port, http_proxy={"proxy_hostname": "127.0.0.1", "proxy_port": port}, use_tls=False
        )
        with pytest.raises(error, match=f"(?i)the proxy .*{text}"):
            await ConnectionAsync("127.0.0.1", proxied).open_async()


async def test_a_proxy_that_wants_credentials(broker: Broker) -> None:
    with ProxyServer(user="me", password="right").running() as proxy:
        http_proxy = proxy_dict(proxy, username="me", password="swordfish")
        auth = SASLAnonymous("127.0.0.1", broker.websocket_port, http_proxy=http_proxy, use_tls=False)
        with pytest.raises(errors.AuthenticationException, match="407 Proxy Authentication Required") as caught:
            await asyncio.wait_for(ConnectionAsync("127.0.0.1", auth).open_async(), 10)
    assert "swordfish" not in f"{caught.value!r} {auth!r}"


def not_opened(face: str, port: int, **terms: Any) -> errors.AMQPError:
    """The error of a connection over a WebSocket, of either kind, that is not opened."""
    auth = SASLAnonymous("127.0.0.1", port, transport_type=WEBSOCKET, use_tls=False, **terms)
    with pytest.raises(errors.AMQPError) as caught:
        if face == "sync":
            Connection("127.0.0.1", auth).open()
        else:
            asyncio.run(ConnectionAsync("127.0.0.1", auth).open_async())
    assert not auth.consumed
    return caught.value


@FACES
@pytest.mark.parametrize("behind", ["server", "proxy"])
@pytest.mark.parametrize(
    ("answer", "text", "retryable"),
    [
        (
            b"HTTP/1.1 302 Found\r\nLocation: wss://other.example/\r\n\r\n",
            "302 Found with the location wss://other.example/, which is not followed.",
            False,
        ),
        (b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n", "503 Service Unavailable", True),
    ],
    ids=["redirection", "unavailable"],
)
def test_answers_that_are_no_websocket(face: str, behind: str, answer: bytes, text: str, retryable: bool) -> None:
    asked: list[bytes] = []

    def handle(stream: Any) -> None:
        asked.append(read_head(stream))
        stream.sendall(answer)

    with serving(handle) as port:
        terms = {"http_proxy": {"proxy_hostname": "127.0.0.1", "proxy_port": port}} if behind == "proxy" else {}
        error = not_opened(face, port, **terms)
    who = "The proxy http" if behind == "proxy" else "The WebSocket server ws"
    assert isinstance(error, errors.AMQPConnectionError)
    assert f"Connection in an unexpected error state. {who}://127.0.0.1:{port} answered {text}" in str(error)
    assert error.retryable is retryable
    # Nobody was sent elsewhere, or asked again.
    assert len(asked) == 1


@FACES
@pytest.mark.parametrize(
    ("subprotocol", "text"),
    [
        (b"mqtt", "does not open a WebSocket: unsupported subprotocol: mqtt"),
        # Good elsewhere, but not what was asked for here.
        (b"amqp", "does not open a WebSocket: unsupported subprotocol: amqp"),
        (b"", "opened the WebSocket without the subprotocol of AMQP"),
    ],
    ids=["wrong", "of others", "missing"],
)
def test_a_websocket_with_another_subprotocol(face: str, subprotocol: bytes, text: str) -> None:
    left: list[bytes] = []

    def handle(stream: Any) -> None:
        stream.sendall(accepting(read_head(stream), subprotocol=subprotocol))
        left.append(read_to_end(stream))

    with serving(handle) as port:
        error = not_opened(face, port)
    assert isinstance(error, errors.AMQPConnectionError)
    assert f"the websocket server ws://127.0.0.1:{port} {text}".casefold() in str(error).casefold()
    assert not error.retryable
    # Not a byte of AMQP goes to whom it may not concern.
    assert b"AMQP" not in left[0]
