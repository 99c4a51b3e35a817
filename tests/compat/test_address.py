"""Sources and targets by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from uamqp.address import Address, Source, Target
from uamqp.codec import definitions
from uamqp.codec.values import Described, Symbol

RABBITMQ = {"product": "RabbitMQ", "version": "4.0.5"}
URL = "amqps://user:p%40ss@host.example:5671/a%20folder/queue?query=1"


@pytest.mark.parametrize("kind", [Source, Target, Address])
@pytest.mark.parametrize("given", [URL, URL.encode()])
def test_url(kind: Any, given: Any) -> None:
    address = kind(given)
    assert address.hostname == "host.example"
    assert address.scheme == "amqps"
    assert (address.username, address.password) == ("user", "p%40ss")
    assert address.address == "amqps://host.example/a%20folder/queue"
    assert address.parsed_address.port == 5671
    assert address.wire_address(RABBITMQ) == "amqps://host.example/a%20folder/queue"


@pytest.mark.parametrize("name", ["queue", "queue?with#odd;characters", "/queues/x", "$management", "a:b"])
def test_name(name: str) -> None:
    address = Source(name)
    assert address.hostname is None
    assert address.address == name
    assert address.wire_address(RABBITMQ) == name
    assert (address.username, address.password) == (None, None)
    assert str(address) == name
    assert Source.for_node(name).wire_address({}) == name


def test_text_of_clients_is_the_name_of_a_node() -> None:
    assert Target.for_node(URL).wire_address({}) == "a folder/queue"
    assert Target.for_node(URL.encode()).wire_address(RABBITMQ) == "/queues/a%20folder%2Fqueue"
    assert Target.for_node("queue").wire_address(RABBITMQ) == "/queues/queue"
    assert Target.for_node("exchanges/e").wire_address(RABBITMQ) == "/exchanges/e"
    made = Target(URL)
    assert Target.for_node(made) is made


@pytest.mark.parametrize("given", ["", "amqps://host", "amqps://host/", b"", None, 5])
@pytest.mark.parametrize("kind", [Source, Target])
def test_addresses_without_a_node(kind: Any, given: Any) -> None:
    with pytest.raises(ValueError, match=f"^Invalid {kind.__name__} address: "):
        kind(given)


def test_a_bare_address_needs_no_node() -> None:
    # azure-servicebus makes its management client with one.
    assert Address("amqps://host").hostname == "host"
    assert Address("myqueue").address == "myqueue"
    with pytest.raises(ValueError, match=r"^Invalid Address address"):
        Address("")


def test_no_secrets_in_text() -> None:
    for text in (str(Source(URL)), repr(Source(URL))):
        assert "p%40ss" not in text
        assert "host.example:5671/a%20folder/queue" in text
    assert repr(Target("queue")) == "Target('queue')"
    with pytest.raises(ValueError, match="…@host") as caught:
        Source("amqps://user:s3cret@host")
    assert "s3cret" not in str(caught.value)


def test_filters() -> None:
    source = Source("queue")
    assert source.get_filter() is None
    assert source.filter_key is None
    source.set_filter(b"colour = 'green'")
    name = "apache.org:selector-filter:string"
    assert source.get_filter() == b"colour = 'green'"
    assert source.filter_key == name.encode()
    assert source.to_source({}).filter == {name: Described(Symbol(name), "colour = 'green'")}
    # One filter at a time.
    source.set_filter("session", name=b"com.microsoft:session-filter", descriptor=None)
    assert source.get_filter() is None
    assert source.get_filter("com.microsoft:session-filter") == b"session"
    assert source.to_source({}).filter == {"com.microsoft:session-filter": "session"}
    source.set_filter(5, "number", "descriptor")
    assert source.get_filter(b"number") == 5
    source.set_filter(None, b"none")
    assert source.to_source({}).filter == {"none": None}


def test_terms() -> None:
    source = Source("queue")
    source.durable, source.expiry_policy, source.timeout = 2, "never", 5
    source.dynamic, source.distribution_mode = False, "copy"
    made = source.to_source({})
    assert (made.address, made.durable, made.expiry_policy, made.timeout) == ("queue", 2, "never", 5)
    assert (made.dynamic, made.distribution_mode) == (False, "copy")
    assert made.encode()
    assert Target("queue").to_target({}) == definitions.Target(address="queue")
    # Either can stand at either end.
    assert Target("queue").to_source({}) == definitions.Source(address="queue")
    assert Source("queue").to_target({}) == definitions.Target(address="queue")


def test_termini_of_the_peer() -> None:
    source = Source.from_c_obj(
        definitions.Source(address="queue", durable=1, filter={Symbol("key"): Described(Symbol("d"), "value")})
    )
    assert str(source) == "queue"
    assert source.durable == 1
    assert source.get_filter(b"key") == b"value"
    assert source.get_filter("other") is None
    assert source.distribution_mode is None
    target = Target.from_c_obj(definitions.Target())
    assert target.address == ""
    assert target.expiry_policy == "session-end"
