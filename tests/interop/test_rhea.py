"""Clients on rhea, for node, against the embedded broker."""

from __future__ import annotations

import datetime as dt
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import uamqp.aio as amqp
from tests.broker.helpers import BOUND
from uamqp.broker import Broker
from uamqp.codec import values

from .conftest import PASSWORD, USER
from .node import SCRIPTS, environment, missing
from .processes import run

Rhea = Callable[..., list[dict[str, Any]]]


def test_send_and_receive(rhea: Rhea, broker_url: str) -> None:
    (seen,) = rhea("send_and_receive", broker_url, 2000)
    assert seen == {"bodies": list(range(2000)), "accepted": 2000}


@pytest.mark.parametrize("subprotocol", ["amqp", "AMQPWSB10"])
def test_send_and_receive_over_a_websocket(modules: Path, subprotocol: str) -> None:
    node = ["node", "--experimental-websocket"]
    if subprocess.run([*node, "--eval", "WebSocket"], capture_output=True).returncode:
        missing("this node has no WebSocket")
    with Broker.running(websocket_port=0) as broker:
        command = [*node, SCRIPTS / "client.js", "send_and_receive", f"{broker.websocket_url}/path", 2000, subprotocol]
        (seen,) = run(command, environment(modules))
    assert seen == {"bodies": list(range(2000)), "accepted": 2000}


def test_outcomes(rhea: Rhea, broker_url: str) -> None:
    seen = rhea("outcomes", broker_url)
    assert [s["delivery_count"] for s in seen] == [None, 0, 1, 2]
    assert [s["annotations"] for s in seen] == [{"a": 1}, {"a": 1}, *[{"a": 1, "x-opt-note": "hm"}] * 2]


def test_undeliverable_here(rhea: Rhea, broker_url: str) -> None:
    assert rhea("undeliverable_here", broker_url) == [{"receiver": "first"}, {"receiver": "second", "body": "x"}]


def test_rejected_by_the_receiver(rhea: Rhea, broker_url: str) -> None:
    assert rhea("rejected_by_the_receiver", broker_url) == [{"body": "bad"}, {"body": "last"}]


def test_anonymous_relay(rhea: Rhea, broker_url: str) -> None:
    assert rhea("anonymous_relay", broker_url) == [
        {"outcome": "accepted", "settled": True, "condition": None},
        {"outcome": "rejected", "settled": True, "condition": "amqp:not-found"},
    ]


def test_settle_modes(rhea: Rhea, broker_url: str) -> None:
    assert rhea("settle_modes", broker_url) == [
        {"mode": 1, "second": 0, "body": 1, "settled": True},
        {"mode": 0, "second": 0, "body": 0, "settled": False},
        {"mode": 2, "second": 0, "body": 2, "settled": False},
        {"mode": 0, "second": 1, "body": 0, "settled": False},
        {"mode": 0, "second": 1, "confirmed": True},
        {"mode": 1, "second": 1, "body": 1, "settled": True},
    ]


def test_drain(rhea: Rhea, broker_url: str) -> None:
    assert rhea("drain", broker_url) == [
        {"round": 0, "bodies": [0, 1, 2], "credit": 0},
        {"round": 1, "bodies": [0, 1, 2], "credit": 0},
    ]


def test_large_messages(rhea: Rhea, broker_url: str) -> None:
    assert rhea("large", broker_url, 5_000_000) == [{"size": 5_000_000, "same": True}]


def test_request_and_response(rhea: Rhea, broker_url: str) -> None:
    assert rhea("request_and_response", broker_url) == [
        {"dynamic": True, "status": 201, "correlation_id": 1, "type": "queue"}
    ]


def test_refused_links(rhea: Rhea, broker_url: str) -> None:
    assert rhea("refused", broker_url) == [{"condition": "amqp:not-found", "connected": True}]


@pytest.mark.parametrize(
    ("password", "seen"),
    [(PASSWORD, {"open": True}), ("wrong", {"open": False, "condition": "amqp:unauthorized-access"})],
)
def test_tls_and_plain(rhea: Rhea, secure_url: str, certificates: Path, password: str, seen: dict[str, Any]) -> None:
    assert rhea("secure", secure_url, certificates / "ca.pem", USER, password) == [seen]


UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")
MOMENT = dt.datetime(2023, 11, 14, 22, 13, 20, 123_000, dt.UTC)

#: What we send and get, and what rhea prints of it.
SIMPLE: dict[str, tuple[Any, Any]] = {
    "null": (None, None),
    "true": (True, True),
    "false": (False, False),
    "ubyte": (values.UByte(255), 255),
    "ushort": (values.UShort(65535), 65535),
    "uint": (values.UInt(2**32 - 1), 2**32 - 1),
    "uint0": (values.UInt(0), 0),
    "ulong": (values.ULong(2**64 - 1), {"hex": "ff" * 8}),
    "byte": (values.Byte(-128), -128),
    "short": (values.Short(-32768), -32768),
    "int": (values.Int(-(2**31)), -(2**31)),
    "long": (-(2**63), {"hex": "80" + "00" * 7}),
    "float": (values.Float(1.5), 1.5),
    "double": (1.1, 1.1),
    "char": (values.Char("🐇"), 0x1F407),
    "timestamp": (MOMENT, "2023-11-14T22:13:20.123Z"),
    "uuid": (UUID, {"hex": UUID.hex}),
    "binary": (b"\x00\xff", {"hex": "00ff"}),
    "string": ("grüße 🐇", "grüße 🐇"),
    "symbol": (values.Symbol("com.example:sym"), "com.example:sym"),
}


def unique() -> str:
    return f"rhea-{uuid.uuid4()}"


async def test_types_from_rhea(rhea: Rhea, broker_url: str) -> None:
    address = unique()
    rhea("types_out", broker_url, address)
    async with amqp.connect(broker_url, timeout=BOUND) as connection, connection.receiver(address) as receiver:
        message = (await receiver.receive()).message
    ours = {name: value for name, (value, _) in SIMPLE.items()}
    assert message.application_properties == ours
    simple, (items, mapping, array, described) = message.body[: len(ours)], message.body[len(ours) :]
    assert simple == list(ours.values())
    assert [type(v) for v in simple if isinstance(v, str)] == [values.Char, str, values.Symbol]
    assert (items, mapping, array) == ([1, "two"], {"a": 1}, values.Array([1, 2], "uint"))
    assert described == values.Described("com.example:point", [1, 2])


async def test_types_to_rhea(rhea: Rhea, broker_url: str) -> None:
    address = unique()
    ours = {name: value for name, (value, _) in SIMPLE.items()}
    body = [*ours.values(), [1, "two"], {"a": 1}, values.Array([1, 2], "uint")]
    async with amqp.connect(broker_url, timeout=BOUND) as connection, connection.sender(address) as sender:
        await sender.send(amqp.Message(body, application_properties=ours))
    (seen,) = rhea("types_in", broker_url, address)
    theirs = {name: value for name, (_, value) in SIMPLE.items()}
    assert seen["properties"] == theirs
    assert seen["body"] == [*theirs.values(), [1, "two"], {"a": 1}, [1, 2]]
