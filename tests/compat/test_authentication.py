"""Who connects to what, and what happens where that fails."""

from __future__ import annotations

import base64
import json
import ssl
import time
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from tests.aio.peers import peer_server, raw_server
from uamqp import Message, authentication, errors, exceptions
from uamqp.async_ops import ConnectionAsync, SendClientAsync
from uamqp.authentication import (
    AMQPAuth,
    CBSAsyncAuthMixin,
    JWTTokenAsync,
    JWTTokenAuth,
    SASLAnonymous,
    SASLPlain,
    SASTokenAsync,
    SASTokenAuth,
    TokenRetryPolicy,
)
from uamqp.broker import Broker
from uamqp.constants import MessageState
from uamqp.utils import create_sas_token, parse_connection_string

from .conftest import Certificates
from .helpers import bodies

OK = [MessageState.SendComplete]


async def send(target: str, auth: Any = None) -> list[MessageState]:
    async with SendClientAsync(target, auth=auth) as client:
        return await client.send_message_batch_async(["message"])


# --- passwords --------------------------------------------------------------------------------------------------


async def test_user_and_password(guarded: Broker) -> None:
    assert await send(f"{guarded.url}/queue", SASLPlain("127.0.0.1", "user", "s3cret")) == OK
    assert await send(f"{guarded.url}/queue", SASLPlain(b"127.0.0.1", b"user", b"s3cret")) == OK
    assert await send(f"{guarded.url}/queue", SASLPlain("user", "s3cret")) == OK
    assert await bodies(guarded, "queue") == [b"message"] * 3


async def test_user_and_password_in_the_url() -> None:
    async with Broker(users={"a user": "p+w/d@"}) as broker:
        authority = broker.url.replace("amqp://", "amqp://a+user:p%2Bw%2Fd%40@")
        assert await send(f"{authority}/queue") == OK


def test_attributes_of_a_password() -> None:
    auth = SASLPlain("host", "user", "s3cret")
    assert (auth.hostname, auth.username, auth.password) == (b"host", b"user", b"s3cret")
    auth = SASLPlain("user", "s3cret")
    assert (auth.hostname, auth.username, auth.password) == (b"", b"user", b"s3cret")
    assert SASLPlain("host", "user", "", 99).port == 99
    with pytest.raises(TypeError, match="needs a username and a password"):
        SASLPlain(None, "s3cret")


async def test_wrong_password(guarded: Broker) -> None:
    with pytest.raises(errors.AuthenticationException) as caught:
        await send(f"{guarded.url}/queue", SASLPlain("127.0.0.1", "user", "wr0ng"))
    error = caught.value
    assert isinstance(error, errors.AMQPError)
    assert isinstance(error, exceptions.AuthenticationError)
    # As it was in uamqp 1.6, too.
    assert isinstance(error, errors.ConnectionClose)
    assert error.condition is errors.ErrorCodes.UnauthorizedAccess
    assert error.action is not None and error.action.retry is False
    assert error.code == 1
    assert "does not accept the credentials. Check user, password or token" in str(error)
    assert "wr0ng" not in f"{error!r}{error}{error.__cause__!r}"
    assert guarded.connections == 0


async def test_no_password(guarded: Broker) -> None:
    with pytest.raises(errors.AuthenticationException, match=r"the peer offers PLAIN.*allow only ANONYMOUS"):
        await send(f"{guarded.url}/queue")


async def test_a_password_that_plain_cannot_hold(guarded: Broker) -> None:
    with pytest.raises(errors.AuthenticationException, match="NUL"):
        await send(f"{guarded.url}/queue", SASLPlain("127.0.0.1", "user", "sec\0ret"))


@pytest.mark.parametrize("make", [lambda **kw: SASLPlain("host.example", "user", "s3cret", **kw), AMQPAuth])
def test_credentials_do_not_go_over_plain_tcp_by_accident(make: Any) -> None:
    auth = make() if make is not AMQPAuth else AMQPAuth("host.example")
    with pytest.raises(exceptions.AddressError, match=r"credentials would go to amqp://host\.example:5672 unencrypted"):
        ConnectionAsync("amqp://host.example", auth)._options()
    allowed = make(use_tls=False) if make is not AMQPAuth else AMQPAuth("host.example", use_tls=False)
    assert not ConnectionAsync("amqp://host.example", allowed)._options().endpoint.tls
    # Nothing to hide, or nobody to hide it from.
    assert ConnectionAsync("amqp://host.example", SASLAnonymous(None))._options()
    assert ConnectionAsync("amqp://localhost", SASLPlain("user", "s3cret"))._options()


# --- TLS --------------------------------------------------------------------------------------------------------


async def test_tls(tls_broker: Broker, certificates: Certificates) -> None:
    assert tls_broker.url.startswith("amqps://")
    for verify in (str(certificates.ca), certificates.ca, ssl.create_default_context(cafile=certificates.ca)):
        assert await send(f"{tls_broker.url}/queue", SASLPlain("127.0.0.1", "user", "s3cret", verify=verify)) == OK
    # A URL of another scheme, or none, is no matter where the object says it.
    auth = SASLPlain("localhost", "user", "s3cret", tls_broker.port, certificates.ca, use_tls=True)
    assert await send("amqp://localhost/queue", auth) == OK


async def test_tls_with_an_unknown_authority(tls_broker: Broker) -> None:
    with pytest.raises(errors.AMQPConnectionError, match=r"(?i)certificate verify failed") as caught:
        await send(f"{tls_broker.url}/queue", SASLPlain("127.0.0.1", "user", "s3cret"))
    assert isinstance(caught.value, errors.ConnectionClose)


async def test_tls_with_the_certificate_of_another_host(certificates: Certificates) -> None:
    cert, key = certificates.stranger
    async with Broker(tls_cert=cert, tls_key=key) as broker:
        with pytest.raises(errors.AMQPConnectionError, match=r"(?i)mismatch"):
            await send(f"{broker.url}/queue", SASLAnonymous("127.0.0.1", verify=certificates.ca))


async def test_tls_to_a_port_without(broker: Broker, certificates: Certificates) -> None:
    auth = SASLAnonymous("127.0.0.1", verify=certificates.ca)
    with pytest.raises(errors.AMQPConnectionError):
        await send(f"amqps://127.0.0.1:{broker.port}/queue", auth)


async def test_no_tls_to_a_port_with(tls_broker: Broker) -> None:
    with pytest.raises(errors.AMQPConnectionError):
        await send(f"amqp://127.0.0.1:{tls_broker.port}/queue")


def test_trust() -> None:
    with pytest.raises(FileNotFoundError, match=r"no file '/no/such/file' with authorities to trust \(verify\)"):
        SASLAnonymous("host", verify="/no/such/file")
    for verify in (True, False):
        with pytest.raises(TypeError, match="cannot be switched off"):
            SASLAnonymous("host", verify=verify)  # type: ignore[arg-type]
    with pytest.raises(exceptions.AddressError, match="plain TCP"):
        ConnectionAsync("amqp://host", SASLAnonymous(None, verify=__file__))._options()


async def test_a_file_without_authorities() -> None:
    with pytest.raises(exceptions.AddressError, match="cannot use the CA file"):
        await ConnectionAsync("host", SASLAnonymous("host", verify=__file__)).open_async()


# --- peers that are not there -----------------------------------------------------------------------------------


async def test_a_refused_connection(unused_tcp_port: int) -> None:
    target = f"amqp://127.0.0.1:{unused_tcp_port}/queue"
    auth = SASLPlain("127.0.0.1", "user", "s3cret")
    for _ in range(2):
        # The second time shows that the first one left nothing behind.
        with pytest.raises(errors.AMQPConnectionError) as caught:
            await send(target, auth)
        text = str(caught.value)
        assert text.startswith("ErrorCodes.UnknownError: Connection in an unexpected error state.")
        assert f"Cannot connect to amqp://127.0.0.1:{unused_tcp_port}" in text
        assert "s3cret" not in text
        assert isinstance(caught.value, errors.ConnectionClose)
        assert isinstance(caught.value.__cause__, exceptions.ConnectionLost)
        assert isinstance(caught.value.__cause__, ConnectionError)


async def test_an_unknown_host() -> None:
    with pytest.raises(errors.AMQPConnectionError, match=r"Cannot connect to amqps://no-such-host\.invalid:5671"):
        await send("amqps://no-such-host.invalid/queue")


async def test_a_client_that_could_not_be_opened_may_try_again(unused_tcp_port: int) -> None:
    client = SendClientAsync(f"amqp://127.0.0.1:{unused_tcp_port}/queue", auth=SASLPlain("127.0.0.1", "a", "b"))
    client.queue_message(Message("message"))
    with pytest.raises(errors.AMQPConnectionError):
        await client.send_all_messages_async()
    async with Broker(port=unused_tcp_port):
        assert await client.send_all_messages_async() == OK


async def test_a_peer_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uamqp.async_ops.connection_async.CONNECT_TIMEOUT", 0.05)

    async def silence(reader: Any, writer: Any) -> None:
        await reader.read()

    async with raw_server(silence) as url:
        with pytest.raises(errors.AMQPConnectionError, match="did not finish the opening handshake within"):
            await send(f"{url}/queue")


async def test_a_peer_that_speaks_something_else() -> None:
    async def http(reader: Any, writer: Any) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()

    async with raw_server(http) as url:
        with pytest.raises(errors.ConnectionClose, match="does not speak AMQP") as caught:
            await send(f"{url}/queue")
        assert isinstance(caught.value, exceptions.RemoteProtocolError)


async def test_a_peer_that_closes_at_once() -> None:
    async with peer_server() as server:
        client = SendClientAsync(f"{server.url}/queue")
        await client.open_async()
        server.peer.engine.close()
        with pytest.raises(errors.ConnectionClose, match="the peer closed the connection") as caught:
            await client.send_message_async(Message("message"))
        assert caught.value.condition is errors.ErrorCodes.UnknownError
        await client.close_async()


# --- tokens: what is written in them ----------------------------------------------------------------------------

SAS = "SharedAccessSignature sr=amqps%3A%2F%2Fhost%2Fqueue&sig=abc%3d&se=4000000000&skn=key"


def jwt(**claims: Any) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.signature"


@pytest.mark.parametrize("kind", [SASTokenAuth, SASTokenAsync])
def test_short_form_of_a_signature(kind: Any) -> None:
    for auth in (kind("host.example", token=SAS), kind(hostname="host.example", token=SAS.encode())):
        assert auth.hostname == b"host.example"
        assert auth.uri == "amqps://host.example"
        assert auth.audience == b"amqps://host/queue"
        assert auth.token == SAS.encode()
        assert auth.token_type == b"servicebus.windows.net:sastoken"
        assert auth.expires_at == 4_000_000_000
        assert auth.timeout == 10
    opaque = kind("host.example", token="token")
    assert opaque.audience == b"amqps://host.example"
    assert opaque.expires_at == pytest.approx(time.time() + 3600, abs=60)
    assert kind(hostname="host", token="token", audience="something").audience == b"something"


@pytest.mark.parametrize("kind", [SASTokenAuth, SASTokenAsync])
def test_long_form_of_a_signature(kind: Any) -> None:
    auth = kind("audience", "sb://host.example/queue", "token", timedelta(seconds=60), None, "name", "key", 5000, 7)
    assert auth.audience == b"audience"
    assert auth.hostname == b"host.example"
    assert auth.expires_in == timedelta(seconds=60)
    assert auth.expires_at == pytest.approx(time.time() + 60, abs=30)
    assert (auth.username, auth.password) == ("name", "key")
    assert (auth.port, auth.timeout) == (5000, 7)
    assert kind("audience", "amqps://host", "token", 60).expires_in == timedelta(seconds=60)
    assert kind("audience", "amqps://host", "token", expires_at=4e9).expires_at == 4e9
    assert kind("audience", "amqps://host", SAS).expires_at == 4_000_000_000
    assert (
        kind(uri="amqps://host", audience="a", token=b"t", expires_in=5, custom_endpoint_hostname="x").hostname == b"x"
    )


def test_signatures_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="Must specify either 'expires_at' or 'expires_in'"):
        SASTokenAuth("audience", "amqps://host", "token")
    with pytest.raises(ValueError, match="Token has already expired"):
        SASTokenAuth("audience", "amqps://host", "token", expires_at=1)
    with pytest.raises(ValueError, match="Token has already expired"):
        SASTokenAuth("host", token=SAS.replace("4000000000", "1"))
    with pytest.raises(TypeError, match="needs a token"):
        SASTokenAuth("host")
    with pytest.raises(TypeError, match="a hostname, or an audience and a uri"):
        SASTokenAuth(token="token")
    with pytest.raises(TypeError, match="needs an audience"):
        SASTokenAuth(uri="amqps://host", token="token", expires_in=5)


async def test_making_a_signature() -> None:
    auth = SASTokenAsync.from_shared_access_key("amqps://host/queue", "name", "key", expiry=60)
    token = auth.token
    assert token is not None
    assert token.startswith(b"SharedAccessSignature sr=amqps%3A%2F%2Fhost%2Fqueue&sig=")
    assert token.endswith(b"&skn=name")
    assert auth.audience == b"amqps://host/queue"
    assert auth.expires_at == pytest.approx(time.time() + 60, abs=30)
    auth.expires_in = timedelta(seconds=600)
    await auth.update_token()
    assert auth.token != token
    assert auth.expires_at == pytest.approx(time.time() + 600, abs=30)
    again = SASTokenAuth.from_shared_access_key("amqps://host/queue", "name", "key", verify=__file__, port=7)
    assert (again.port, again.cert_file) == (7, __file__)
    assert again.expires_in is not None
    again.update_token()
    with pytest.raises(errors.TokenExpired, match="from_shared_access_key"):
        SASTokenAuth("host", token="token").update_token()


async def test_short_form_of_a_web_token() -> None:
    token = jwt(exp=4_000_000_000)
    auth = JWTTokenAsync(hostname="service.example.com", token=token, audience="https://service.example.com")
    assert auth.hostname == b"service.example.com"
    assert auth.uri == "amqps://service.example.com"
    assert auth.audience == b"https://service.example.com"
    assert auth.token_type == b"jwt"
    assert auth.token is None
    await auth.update_token()
    assert auth.token == token.encode()
    assert auth.expires_at == 4_000_000_000
    plain = JWTTokenAuth("service.example.com", token="no web token")
    assert plain.audience == b"amqps://service.example.com"
    plain.update_token()
    assert plain.token == b"no web token"
    assert plain.expires_at == pytest.approx(time.time() + 3600, abs=60)
    assert SASTokenAuth("host", token=SAS.replace("4000000000", "soon")).expires_in == timedelta(hours=1)
    for odd in ("a.b.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c", jwt(exp="later"), jwt()):
        assert JWTTokenAuth("host", token=odd).expires_at == pytest.approx(time.time() + 3600, abs=60)
    with pytest.raises(ValueError, match="already expired"):
        JWTTokenAuth("host", token=jwt(exp=1))


class Access:
    def __init__(self, token: str, expires_on: float) -> None:
        self.token = token
        self.expires_on = expires_on


async def test_long_form_of_a_web_token() -> None:
    async def get_token(suffix: str = "") -> Access:
        return Access(f"token{suffix}", 4e9)

    auth = JWTTokenAsync("audience", "amqps://host", get_token, timedelta(seconds=60), token_type=b"bearer")
    assert (auth.audience, auth.hostname, auth.token_type) == (b"audience", b"host", b"bearer")
    await auth.update_token()
    assert (auth.token, auth.expires_at) == (b"token", 4e9)
    bound = JWTTokenAsync("audience", "amqps://host", partial(get_token, "!"))
    await bound.update_token()
    assert bound.token == b"token!"
    sync = JWTTokenAuth("audience", "amqps://host", lambda: Access("sync", 4e9))
    sync.update_token()
    assert sync.token == b"sync"

    class Source:
        async def __call__(self) -> Access:
            return Access("object", 4e9)

    JWTTokenAsync("audience", "amqps://host", Source())


def test_web_tokens_that_cannot_be_used() -> None:
    with pytest.raises(ValueError, match="coroutine function"):
        JWTTokenAsync("audience", "amqps://host", lambda: Access("sync", 4e9))
    with pytest.raises(TypeError, match="needs a token, or a function"):
        JWTTokenAuth("audience", "amqps://host")
    with pytest.raises(TypeError, match="get_token is a function"):
        JWTTokenAuth("audience", "amqps://host", "token")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a hostname, or"):
        JWTTokenAuth(token="token")
    with pytest.raises(TypeError, match="needs an audience"):
        JWTTokenAuth(uri="amqps://host", token="token")


@pytest.mark.parametrize("name", ["uri", "key_name", "shared_access_key"])
def test_shared_access_keys_that_are_no_text(name: str) -> None:
    arguments: Any = {"uri": "amqps://host/queue", "key_name": "name", "shared_access_key": "key", name: None}
    with pytest.raises(TypeError, match=f"{name} must be a str, not NoneType"):
        SASTokenAuth.from_shared_access_key(**arguments)


def test_a_proxy_that_is_no_dict() -> None:
    with pytest.raises(TypeError, match="http_proxy must be a dict with a proxy_hostname and a proxy_port, not str"):
        SASLAnonymous("host", http_proxy="http://proxy:3128")  # type: ignore[arg-type]


def test_mechanisms_and_names() -> None:
    assert [m.name for m in SASTokenAsync("host", token="t").sasl] == ["MSSBCBS", "ANONYMOUS"]
    assert [m.name for m in AMQPAuth("host").sasl] == ["MSSBCBS", "ANONYMOUS"]
    assert [m.name for m in SASLPlain("u", "p").sasl] == ["PLAIN"]
    assert [m.name for m in SASLAnonymous("h").sasl] == ["ANONYMOUS"]
    assert isinstance(SASTokenAsync("host", token="t"), CBSAsyncAuthMixin)
    assert TokenRetryPolicy().__dict__ == {"retries": 3, "backoff": 0}
    assert TokenRetryPolicy(2, backoff=500).__dict__ == {"retries": 2, "backoff": 0.5}
    for name in authentication.__all__:
        assert getattr(authentication, name)


def test_no_secrets_in_repr() -> None:
    for auth in (
        SASLPlain("host", "user", "s3cret"),
        SASTokenAuth("host", token="s3cret"),
        SASTokenAuth.from_shared_access_key("amqps://host", "name", "s3cret"),
        JWTTokenAuth("host", token="s3cret"),
    ):
        assert "s3cret" not in repr(auth)
        assert "s3cret" not in str(auth)
        assert "host" in repr(auth)


# --- utils ------------------------------------------------------------------------------------------------------


def test_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_795_469_696.5)
    # As uamqp 1.6.11 made it at that moment.
    assert create_sas_token(b"k", b"key", b"sc") == (
        b"SharedAccessSignature sr=sc&sig=G75ly0bkTD9VifBerGBtXdB4OiZWo%2fDIEsxJN8SBgKY%3d&se=1795473296&skn=k"
    )
    assert b"se=1795642496&" in create_sas_token(b"k", b"key", b"sc", timedelta(days=2))
    with pytest.raises(TypeError, match="scope must be bytes, not str"):
        create_sas_token(b"k", b"key", "sc")  # type: ignore[arg-type]


def test_connection_strings() -> None:
    assert parse_connection_string("A=b;C=d==") == {"A": "b", "C": "d=="}
    for bad in ("A=b;", "", "s3cret"):
        with pytest.raises(ValueError, match="not of the form Name=value") as caught:
            parse_connection_string(bad)
        assert "s3cret" not in str(caught.value)
    with pytest.raises(TypeError, match="connect_str must be a str, not NoneType"):
        parse_connection_string(None)  # type: ignore[arg-type]
