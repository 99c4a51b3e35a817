"""Arguments of the wrong kind: told in words, before anything is sent."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from uamqp.aio import Anonymous, Connection, Recovery, connect
from uamqp.broker import Broker
from uamqp.codec.message import Message

from .peers import BOUND

NAN = float("nan")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"recovery": True}, r"recovery must be a Recovery, such as Recovery\(\), not bool"),
        ({"proxy": 5}, "proxy must be a URL, such as http://host:port, not int"),
        ({"properties": {1: 2}}, "each key of properties must be a str, not int"),
        ({"properties": "product"}, "properties must be a mapping of str to values, not str"),
        ({"desired_capabilities": "queue"}, r'must be several str, such as \["queue"\], not str'),
        ({"desired_capabilities": 5}, "desired_capabilities must be several str"),
        ({"desired_capabilities": [1]}, "each of desired_capabilities must be a str, not int"),
        ({"timeout": "5"}, "timeout must be a number of seconds, not str"),
        ({"timeout": None}, "timeout must be a number of seconds, not NoneType"),
        ({"timeout": True}, "timeout must be a number of seconds, not bool"),
        ({"connect_timeout": "5"}, "connect_timeout must be a number of seconds"),
        ({"idle_timeout": "5"}, "idle_timeout must be a number of seconds"),
        ({"max_frame_size": "512"}, "max_frame_size must be a number of bytes, not str"),
        ({"channel_max": 1.5}, "channel_max must be a number, not float"),
        ({"container_id": b"me"}, "container_id must be a str, not bytes"),
        ({"hostname": 5}, "hostname must be a str, not int"),
        ({"user": b"me"}, "user must be a str, not bytes"),
        ({"user": "me", "password": 5}, "password must be a str, not int"),
        ({"websocket_subprotocol": 5}, "websocket_subprotocol must be a str"),
        ({"sasl": "PLAIN"}, r"each of sasl must be a mechanism, such as Plain\(user, password\), not str"),
        ({"sasl": 5}, "sasl must be a list of mechanisms"),
        ({"ssl_context": True}, "ssl_context must be an ssl.SSLContext, not bool"),
        ({"connect_to": "localhost"}, r'connect_to must be host and port, such as \("broker.example", 5671\)'),
        ({"connect_to": 5}, "connect_to must be host and port"),
        ({"connect_to": ("localhost",)}, "connect_to must be host and port"),
        ({"connect_to": (5, 5672)}, "the host of connect_to must be a str, not int"),
        ({"connect_to": ("localhost", "5672")}, "the port of connect_to must be a number, not str"),
        ({"allow_plaintext_credentials": "no"}, "allow_plaintext_credentials must be True or False, not str"),
        ({"trace": "frames"}, "trace must be True, or a function for the lines, not str"),
    ],
)
def test_of_connect(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        connect("amqp://localhost", **options)


class Number:
    """A whole number that is no int, as other libraries have them."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number


async def test_what_will_do(broker: Broker) -> None:
    """Numbers of any kind, and containers of any kind, as long as they are empty or several."""
    options: dict[str, Any] = {
        "max_frame_size": Number(512),
        "channel_max": Number(5),
        "timeout": Fraction(BOUND),
        "idle_timeout": 60,
        "properties": (),
        "desired_capabilities": {"queue"},
        "trace": None,
        "sasl": {Anonymous()},
        "connect_to": ["127.0.0.1", Number(broker.port)],
    }
    async with connect("amqp://localhost:1", recovery=Recovery(attempts=Number(1)), **options) as connection:
        wanted: dict[str, Any] = {"properties": [], "capabilities": iter(["queue"])}
        async with connection.sender("q", **wanted) as sender:
            await sender.send("hello", timeout=Fraction(5))
        prefetch: Any = Number(7)
        async with connection.receiver("q", prefetch=prefetch, filters={}) as receiver:
            assert (await receiver.receive()).body == "hello"
            assert receiver.credit == 6
        session: dict[str, Any] = {"incoming_window": Number(3), "handle_max": Number(3)}
        async with connection.session(**session):
            pass


@pytest.mark.parametrize("name", ["timeout", "connect_timeout", "idle_timeout"])
def test_seconds_that_are_no_number(name: str) -> None:
    options: Any = {name: NAN}
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds, and not nan"):
        connect("amqp://localhost", **options)


def test_properties_beyond_ascii() -> None:
    with pytest.raises(ValueError, match="each key of properties: a symbol is ASCII text, not 'größe'"):
        connect("amqp://localhost", properties={"größe": 1})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"attempts": "5"}, "attempts must be a number, or None for any, not str"),
        ({"initial_delay": "1"}, "initial_delay must be a number of seconds"),
        ({"max_delay": None}, "max_delay must be a number of seconds"),
        ({"alternatives": "amqp://other"}, "alternatives must be several URLs, not one str"),
        ({"on_event": True}, "on_event must be a function of the event, not bool"),
    ],
)
def test_of_recovery(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        Recovery(**options)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"address": 5}, "address must be a str, not int"),
        ({"address": b"q"}, "address must be a str, not bytes"),
        ({"name": 5}, "name must be a str, not int"),
        ({"capabilities": "queue"}, r'capabilities must be several str, such as \["queue"\], not str'),
        ({"capabilities": [1]}, "each of capabilities must be a str, not int"),
        ({"desired_capabilities": "queue"}, "desired_capabilities must be several str"),
        ({"properties": {1: 2}}, "each key of properties must be a str, not int"),
        ({"timeout": "5"}, "timeout must be a number of seconds, not str"),
    ],
)
async def test_of_links(connection: Connection, options: dict[str, Any], problem: str) -> None:
    arguments = {"address": "q", **options}
    with pytest.raises(TypeError, match=problem):
        await connection.sender(**arguments)
    with pytest.raises(TypeError, match=problem):
        await connection.receiver(**arguments)
    # Nothing has come of it, and the rest of the work goes on.
    async with connection.sender("q") as sender:
        await sender.send("hello")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prefetch": "5"}, "prefetch must be a number of deliveries, not str"),
        ({"credit": 5}, r"credit must be a credit policy, such as OnDemand\(\), not int"),
        ({"filters": "x > 1"}, "filters must be a mapping of str to values, not str"),
        ({"filters": {1: 2}}, "each key of filters must be a str, not int"),
    ],
)
async def test_of_receivers(connection: Connection, options: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        await connection.receiver("q", **options)


@pytest.mark.parametrize("mode", [0, ["settled"], "maybe"])
async def test_settle_modes(connection: Connection, mode: Any) -> None:
    with pytest.raises(ValueError, match="settle mode must be one of 'unsettled', 'settled', 'mixed', not"):
        await connection.sender("q", settle_mode=mode)


async def test_of_sessions(connection: Connection) -> None:
    wrong: Any = "5"
    with pytest.raises(TypeError, match="incoming_window must be a number of transfers, not str"):
        await connection.session(incoming_window=wrong)
    with pytest.raises(TypeError, match="handle_max must be a number, not str"):
        await connection.session(handle_max=wrong)


async def test_of_requests_and_tokens(connection: Connection) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="address must be a str, not int"):
        await connection.request(wrong, Message())
    with pytest.raises(TypeError, match="message must be a Message, not int"):
        await connection.request("$management", wrong)
    with pytest.raises(TypeError, match="audience must be a str, not int"):
        await connection.authorize(wrong, wrong)
    with pytest.raises(TypeError, match="get_token must be a function of the audience, not int"):
        await connection.authorize("sb://host", wrong)
    with pytest.raises(TypeError, match="refresh_window must be a number of seconds, not str"):
        await connection.authorize("sb://host", print, refresh_window=str(wrong))  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", ["5", NAN])
async def test_a_message_is_not_sent_with_a_time_out_that_is_none(connection: Connection, timeout: Any) -> None:
    async with connection.sender("q") as sender, connection.receiver("q") as receiver:
        with pytest.raises((TypeError, ValueError), match="timeout must be a number of seconds"):
            await sender.send("never", timeout=timeout)
        await sender.send("hello")
        delivery = await receiver.receive()
        assert delivery.body == "hello"
        # In the compiled engine it is the compiler that says so.
        with pytest.raises(TypeError, match=r"str.* int"):
            delivery.reject(5)  # type: ignore[arg-type]
        delivery.accept()
