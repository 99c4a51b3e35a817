from __future__ import annotations

import pytest

from uamqp.exceptions import AddressError
from uamqp.transport.address import Endpoint, node_address, parse_url, redacted

SECRET = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("host", Endpoint("host", 5671, True)),
        ("host:1234", Endpoint("host", 1234, True)),
        ("host/node", Endpoint("host", 5671, True, path="node")),
        ("user:pw@host", Endpoint("host", 5671, True, "user", "pw")),
        ("amqp://host", Endpoint("host", 5672, False)),
        ("amqps://host", Endpoint("host", 5671, True)),
        ("AMQPS://Host", Endpoint("host", 5671, True)),
        ("amqp://host:", Endpoint("host", 5672, False)),
        ("amqp://host:1", Endpoint("host", 1, False)),
        ("amqps://host:65535/", Endpoint("host", 65535, True)),
        ("amqp://user@host", Endpoint("host", 5672, False, "user")),
        ("amqp://user:@host", Endpoint("host", 5672, False, "user", "")),
        ("amqp://:pw@host", Endpoint("host", 5672, False, "", "pw")),
        ("amqp://a%40b:p%2Fw%3A%23@host/a%2Fb%20c", Endpoint("host", 5672, False, "a@b", "p/w:#", "a/b c")),
        ("amqp://u:p@w@host", Endpoint("host", 5672, False, "u", "p@w")),
        ("amqp://[::1]", Endpoint("::1", 5672, False)),
        ("amqps://[2001:db8::7]:1234/q", Endpoint("2001:db8::7", 1234, True, path="q")),
        ("amqp://host//queues/q", Endpoint("host", 5672, False, path="/queues/q")),
        ("amqp://host/a/b@c", Endpoint("host", 5672, False, path="a/b@c")),
        ("amqp://host/my queue", Endpoint("host", 5672, False, path="my queue")),
        ("amqp://bücher.example", Endpoint("bücher.example", 5672, False)),
    ],
)
def test_a_url_is_taken_apart(url: str, endpoint: Endpoint) -> None:
    assert parse_url(url) == endpoint


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "names no host"),
        ("amqp://", "names no host"),
        ("amqps:///queue", "names no host"),
        ("amqp://:5672", "names no host"),
        ("amqp://user:pw@", "names no host"),
        ("http://host", "scheme 'http'"),
        ("amqp+ws://host", "scheme 'amqp+ws'"),
        ("amqp://host:port", "not a URL"),
        ("amqp://host:65536", "not a URL"),
        ("amqp://host:-1", "not a URL"),
        ("amqp://host:0", "port 0"),
        ("amqp://host:5672 ", "not a URL"),
        ("amqp://[::1", "not a URL"),
        ("amqp://[::g]", "not a URL"),
        ("amqp://ho st", "neither a name nor an IP address"),
        ("amqp://a..b", "neither a name nor an IP address"),
        ("amqp://" + "a" * 64, "neither a name nor an IP address"),
        ("amqp://ho\nst", "control characters"),
        ("amqp://host/\x00", "control characters"),
        ("amqp://host/q?x=1", "query or a fragment"),
        ("amqp://host/q#x", "query or a fragment"),
    ],
)
def test_what_is_wrong_with_a_url_is_said(url: str, problem: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_url(url)
    assert problem in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_url_is_a_str() -> None:
    with pytest.raises(AddressError, match="must be a str, not bytes"):
        parse_url(b"amqp://host")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@host",
        f"amqp://user:{SECRET}@host:port",
        f"amqp://user:{SECRET}@host:0/q",
        f"amqp://user:{SECRET}/x@host",
        f"amqp://user:{SECRET}?x@host",
        f"amqp://user:{SECRET}#x@host",
        f"amqp://user:{SECRET}://x@host",
        f"user:{SECRET}@host:x/y://z",
        f"amqp://user:{SECRET}\n@host",
        f"amqp://user:{SECRET}@\u2100host",
    ],
)
def test_secrets_are_in_no_message(url: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_url(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert SECRET not in redacted(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://host/q", "amqp://host/q"),
        ("amqps://u:p@host/q", "amqps://…@host/q"),
        ("u:p@host", "…@host"),
        ("http://u:p@host", "http://…@host"),
        ("ftp://u:p@host", "…@host"),
    ],
)
def test_redacted(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_an_endpoint_shows_no_credentials() -> None:
    endpoint = parse_url(f"amqp://user:{SECRET}@host/q")
    assert endpoint.password == SECRET
    assert SECRET not in repr(endpoint)
    assert str(endpoint) == "amqp://host:5672"
    assert str(parse_url("[::1]:5")) == "amqps://[::1]:5"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback(host: str) -> None:
    assert Endpoint(host, 1, False).is_loopback


@pytest.mark.parametrize(
    "host",
    [
        "localhost.example.com",
        "app.localhost",
        "10.0.0.1",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "::2",
        "fe80::1%lo",
        "127",
    ],
)
def test_not_loopback(host: str) -> None:
    assert not Endpoint(host, 1, False).is_loopback


RABBITMQ_4 = {"product": "RabbitMQ", "version": "4.0.5"}


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("orders", "/queues/orders"),
        ("a/b c%é", "/queues/a%2Fb%20c%25%C3%A9"),
        ("/queues/orders", "/queues/orders"),
        ("/anything", "/anything"),
        ("queues/a%2Fb", "/queues/a%2Fb"),
        ("exchanges/e/key", "/exchanges/e/key"),
        ("", ""),
    ],
)
def test_addresses_for_rabbitmq_4(address: str, wanted: str) -> None:
    assert node_address(address, RABBITMQ_4) == wanted


@pytest.mark.parametrize(
    ("properties", "changed"),
    [
        ({"product": "RabbitMQ", "version": "4"}, True),
        ({"product": "rabbitmq", "version": "10.1"}, True),
        ({"product": "RabbitMQ", "version": "3.13.7"}, False),
        ({"product": "RabbitMQ", "version": "four"}, False),
        ({"product": "RabbitMQ"}, False),
        ({"product": "apache-activemq-artemis", "version": "4.0"}, False),
        ({"product": None, "version": 4}, False),
        ({}, False),
    ],
)
def test_addresses_for_other_peers_stay(properties: dict[str, object], changed: bool) -> None:
    assert node_address("orders", properties) == ("/queues/orders" if changed else "orders")
