from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from uamqp.aio import Anonymous, External, Plain, connect
from uamqp.aio.options import DEFAULT
from uamqp.engine.sasl import Mechanism
from uamqp.exceptions import AddressError, AuthenticationError

from .conftest import Serve
from .peers import BOUND

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"max_frame_size": 511}, "max_frame_size must be at least 512"),
        ({"channel_max": -1}, "channel_max must be 0 to 65535"),
        ({"channel_max": 65_536}, "channel_max must be 0 to 65535"),
        ({"timeout": 0}, "time-outs must be positive"),
        ({"connect_timeout": -1}, "time-outs must be positive"),
        ({"idle_timeout": 0}, "time-outs must be positive"),
    ],
)
def test_arguments_out_of_range(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        connect("amqp://localhost", **options)


@pytest.mark.parametrize("options", [{"ca_file": "x"}, {"cert_file": "x"}, {"key_file": "x"}, {"ssl_context": True}])
def test_tls_options_for_a_plain_url(options: dict[str, Any]) -> None:
    if "ssl_context" in options:
        options = {"ssl_context": ssl.create_default_context()}
    with pytest.raises(AddressError, match="which is plain TCP"):
        connect("amqp://localhost", **options)


def test_a_context_and_files_for_one() -> None:
    with pytest.raises(ValueError, match="not both"):
        connect("amqps://localhost", ssl_context=ssl.create_default_context(), ca_file="x")


def test_a_key_without_its_certificate() -> None:
    with pytest.raises(ValueError, match="key of cert_file"):
        connect("amqps://localhost", key_file="x")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="cannot use the CA file"):
        connect("amqps://localhost", ca_file=str(tmp_path / "nothing.pem"))


@pytest.mark.parametrize(
    "options",
    [
        {"url": f"amqp://user:{SECRET}@broker.example"},
        {"url": "amqp://broker.example", "user": "user", "password": SECRET},
        {"url": "amqp://broker.example", "sasl": [Plain("user", SECRET)]},
        {"url": "amqp://broker.example", "sasl": [Anonymous(), Plain("user", SECRET)]},
    ],
)
def test_credentials_in_the_clear_to_another_machine(options: dict[str, Any]) -> None:
    """Refused before anything is connected to: `connect` is not even awaited."""
    with pytest.raises(AddressError, match="unencrypted") as caught:
        connect(**options)
    assert SECRET not in str(caught.value)
    connect(**options, allow_plaintext_credentials=True)


@pytest.mark.parametrize("url", ["amqp://user:pw@localhost", "amqps://user:pw@broker.example", "amqp://broker.example"])
def test_other_credentials_are_fine(url: str) -> None:
    connect(url)


def test_a_default_shows_its_name() -> None:
    assert repr(DEFAULT) == "DEFAULT"


@pytest.mark.parametrize(
    ("userinfo", "options", "seen"),
    [
        ("", {}, ("ANONYMOUS", b"")),
        ("a:b@", {}, ("PLAIN", b"\0a\0b")),
        ("a%40x:%2F@", {}, ("PLAIN", b"\0a@x\0/")),
        ("a@", {}, ("PLAIN", b"\0a\0")),
        ("a:b@", {"user": "c"}, ("PLAIN", b"\0c\0b")),
        ("a:b@", {"user": "c", "password": "d"}, ("PLAIN", b"\0c\0d")),
        ("", {"user": "c", "password": "d"}, ("PLAIN", b"\0c\0d")),
        ("a:b@", {"sasl": [External()]}, ("EXTERNAL", b"")),
        ("", {"sasl": [Plain("x", "y", "z"), Anonymous()]}, ("PLAIN", b"z\0x\0y")),
        ("", {"sasl": [Anonymous("trace")]}, ("ANONYMOUS", b"trace")),
        ("a:b@", {"sasl": []}, None),
    ],
)
async def test_who_the_client_says_it_is(
    serve: Serve, userinfo: str, options: dict[str, Any], seen: tuple[str, bytes] | None
) -> None:
    server = await serve()
    async with connect(server.url.replace("//", f"//{userinfo}"), timeout=BOUND, **options):
        pass
    assert server.peer.credentials == ([] if seen is None else [seen])


async def test_a_mechanism_that_the_peer_does_not_offer(serve: Serve) -> None:
    class Other(Mechanism):
        name = "X-OTHER"

    server = await serve()
    with pytest.raises(AuthenticationError, match=r"offers EXTERNAL, PLAIN, ANONYMOUS; .* allow only X-OTHER"):
        await connect(server.url, sasl=[Other()])
    assert server.peer.credentials == []


async def test_what_open_says(serve: Serve) -> None:
    server = await serve()
    async with connect(
        server.url,
        hostname="tenant.example",
        container_id="me",
        max_frame_size=1000,
        channel_max=7,
        idle_timeout=12.5,
        properties={"product": "mine", "x": 1},
        desired_capabilities=["A", "B"],
        timeout=BOUND,
    ) as connection:
        assert connection.container_id == "me"
        remote = server.peer.engine.remote_open
        assert remote is not None
        assert (remote.container_id, remote.hostname) == ("me", "tenant.example")
        assert (remote.max_frame_size, remote.channel_max, remote.idle_time_out) == (1000, 7, 12_500)
        assert remote.desired_capabilities == ("A", "B")
        assert remote.properties["product"] == "mine"
        assert remote.properties["platform"] == "Python"
        assert remote.properties["x"] == 1


async def test_what_open_says_by_default(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND, idle_timeout=None):
        remote = server.peer.engine.remote_open
        assert remote is not None
        assert remote.hostname == "127.0.0.1"
        assert remote.idle_time_out is None
        assert remote.properties["product"] == "uamqp"


@pytest.mark.parametrize("name", [".bad", "a..b", "a" * 70, "a\0b"])
def test_a_name_that_no_certificate_can_have(name: str) -> None:
    with pytest.raises(AddressError, match="is not the host"):
        connect("amqps://localhost", hostname=name)
    # Elsewhere it is for the peer to know.
    connect("amqp://localhost", hostname=name)


def test_a_subprotocol_that_is_no_token() -> None:
    with pytest.raises(AddressError, match="websocket_subprotocol is the name of one"):
        connect("ws://localhost", websocket_subprotocol="a\r\nX: y")
