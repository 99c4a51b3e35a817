"""The parts that need no broker: agenda, addresses, selectors, rules, tokens, batches."""

from __future__ import annotations

import time
from base64 import b64encode
from hashlib import sha256
from hmac import new
from typing import Any
from urllib.parse import quote

import pytest

from uamqp.broker import Azure, Refused
from uamqp.broker.azure.address import parse
from uamqp.broker.azure.agenda import Agenda
from uamqp.broker.azure.batch import BATCH_FORMAT, unpacked
from uamqp.broker.azure.hub import Event
from uamqp.broker.azure.rules import Rules
from uamqp.broker.azure.selector import SELECTOR, Position, position_of
from uamqp.broker.azure.tokens import token_check
from uamqp.broker.expiry import Sweeper
from uamqp.broker.nodes import Entry
from uamqp.codec.message import Data, Message, Properties
from uamqp.codec.values import Described, Symbol
from uamqp.exceptions import DecodeError

# -- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"hubs": {"h": 0}}, {"partitions": 0}, {"lock_duration": 0}, {"max_deliveries": -1}]
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Azure(**options)


# -- agenda -------------------------------------------------------------------------------------------------------


class Happened(list[str]):
    """An agenda on a clock that stands still, and what happened of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.agenda = Agenda(Sweeper())
        self._monkeypatch = monkeypatch

    def set(self, what: str, when: float) -> None:
        self.agenda.set(self.append, what, when)

    def until(self, now: float) -> list[str]:
        self.clear()
        self._monkeypatch.setattr(time, "monotonic", lambda: now)
        self.agenda.expire()
        return self


@pytest.fixture
def happened(monkeypatch: pytest.MonkeyPatch) -> Happened:
    return Happened(monkeypatch)


def test_what_is_due_comes_in_order_and_once(happened: Happened) -> None:
    for what, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        happened.set(what, when)
    assert happened.agenda.next_expiry == 1.0
    assert happened.until(2.0) == ["a", "b"]
    assert happened.until(2.0) == [] and happened.agenda.next_expiry == 3.0


def test_things_are_put_off_and_forgotten(happened: Happened) -> None:
    happened.set("a", 1.0)
    happened.set("a", 5.0)
    happened.set("b", 2.0)
    happened.agenda.forget(happened.append, "b")
    happened.agenda.forget(happened.append, "never there")
    assert happened.agenda.next_expiry == 5.0
    assert happened.until(9.0) == ["a"] and happened.agenda.next_expiry is None


def test_what_is_due_may_be_forgotten_by_what_came_before(happened: Happened) -> None:
    happened.agenda.set(lambda what: happened.agenda.forget(happened.append, what), "b", 1.0)
    happened.set("b", 1.0)
    assert happened.until(2.0) == []


def test_what_was_put_off_often_takes_no_room(happened: Happened) -> None:
    for n in range(10_000):
        happened.set("a", float(n))
    assert len(happened.agenda._heap) < 100
    assert happened.until(10_000.0) == ["a"]


# -- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("orders", ("orders", None, None, None, "", False)),
        ("a/b", ("a/b", None, None, None, "", False)),
        ("orders/$management", ("orders", None, None, None, "", True)),
        ("orders/$DeadLetterQueue", ("orders", None, None, None, "/$DeadLetterQueue", False)),
        ("orders/$Transfer/$DeadLetterQueue", ("orders", None, None, None, "/$Transfer/$DeadLetterQueue", False)),
        ("t/Subscriptions/s", ("t", "s", None, None, "", False)),
        ("t/subscriptions/s/$deadletterqueue/$management", ("t", "s", None, None, "/$deadletterqueue", True)),
        ("h/Partitions/0", ("h", None, None, "0", "", False)),
        ("h/ConsumerGroups/$Default/Partitions/3", ("h", None, "$Default", "3", "", False)),
    ],
)
def test_addresses(address: str, parts: tuple[Any, ...]) -> None:
    found = parse(address)
    assert found is not None
    assert (
        found.name,
        found.subscription,
        found.group,
        found.partition,
        found.dead_letters,
        found.management,
    ) == parts


@pytest.mark.parametrize("address", ["", "$nothing"])
def test_addresses_of_nothing(address: str) -> None:
    assert parse(address) is None


# -- selectors ----------------------------------------------------------------------------------------------------


def selected(selector: object) -> Position:
    return position_of({Symbol(SELECTOR): Described(Symbol(SELECTOR), selector)})


def passing(position: Position) -> list[int]:
    events = [Event(b"", n, n * 10, n / 1000) for n in range(4)]
    return [event.sequence for event in events if position.passes(event)]


@pytest.mark.parametrize(
    ("selector", "numbers"),
    [
        ("amqp.annotation.x-opt-offset > '-1'", [0, 1, 2, 3]),
        ("amqp.annotation.x-opt-offset > '10'", [2, 3]),
        ("amqp.annotation.x-opt-offset >= '10'", [1, 2, 3]),
        ("amqp.annotation.x-opt-sequence-number > '2'", [3]),
        ("amqp.annotation.x-opt-sequence-number >= 2", [2, 3]),
        ("amqp.annotation.x-opt-enqueued-time > '1'", [2, 3]),
        ("amqp.annotation.x-opt-enqueued-time-utc > 1", [2, 3]),
        ("amqp.annotation.x-opt-enqueuedtimeutc > 1", [2, 3]),
    ],
)
def test_selectors(selector: str, numbers: list[int]) -> None:
    assert passing(selected(selector)) == numbers


def test_other_ways_to_say_where() -> None:
    assert position_of(None) == position_of({}) == Position()
    assert selected("amqp.annotation.x-opt-offset > '@latest'").latest
    assert position_of({SELECTOR: "amqp.annotation.x-opt-offset > '7'"}).value == 7


@pytest.mark.parametrize("selector", ["", "x = 1", "amqp.annotation.x-opt-offset > 'abc'", 5])
def test_selectors_that_are_not_understood(selector: object) -> None:
    with pytest.raises(Refused):
        selected(selector)


# -- rules --------------------------------------------------------------------------------------------------------

MESSAGE = Message("x", properties=Properties(subject="red", message_id="m"), application_properties={"size": 3})


@pytest.mark.parametrize(
    ("description", "taken"),
    [
        ({"true-filter": {}}, True),
        ({"false-filter": {}}, False),
        ({"sql-filter": {"expression": "1 = 1"}}, True),
        ({"sql-filter": {"expression": "1=0"}}, False),
        ({"correlation-filter": {"label": "red"}}, True),
        ({"correlation-filter": {"label": "red", "message-id": "other"}}, False),
        ({"correlation-filter": {"label": None, "properties": {"size": 3}}}, True),
        ({"correlation-filter": {"properties": {"size": 4}}}, False),
    ],
)
def test_filters(description: dict[Any, Any], taken: bool) -> None:
    rules = Rules()
    rules.remove("$Default")
    assert not rules.match(MESSAGE)
    rules.add("mine", description)
    assert rules.match(MESSAGE) is taken
    assert rules.list() == [("mine", description)]


def test_rules_that_cannot_be() -> None:
    rules = Rules()
    with pytest.raises(Refused, match="SQL"):
        rules.add("sql", {"sql-filter": {"expression": "size > 3"}})
    with pytest.raises(Refused, match="already"):
        rules.add("$Default", {})
    with pytest.raises(Refused, match="a map"):
        rules.add("odd", {"correlation-filter": {"properties": "size"}})
    with pytest.raises(Refused, match="no rule"):
        rules.remove("never")
    with pytest.raises(Refused, match="larger"):
        rules.add("large", {"true-filter": "x" * 20_000})
    for n in range(999):
        rules.add(f"r{n}", {})
    with pytest.raises(Refused, match="1000"):
        rules.add("more", {})


# -- tokens -------------------------------------------------------------------------------------------------------


def token(resource: str = "sb://host/q", key: str = "s3cret", name: str = "me", seconds: float = 60) -> str:
    quoted, expiry = quote(resource, safe=""), str(int(time.time() + seconds))
    signature = b64encode(new(key.encode(), f"{quoted}\n{expiry}".encode(), sha256).digest()).decode()
    return f"SharedAccessSignature sr={quoted}&sig={quote(signature, safe='')}&se={expiry}&skn={name}"


def test_tokens() -> None:
    check = token_check({"me": "s3cret"})
    assert check is not None
    audience = "amqps://host/q/partitions/0"
    assert check("", audience, token()) is None
    assert check("", audience, token("sb://host/")) is None
    assert check("", audience, token("host/q")) is None
    assert "another" in (check("", "amqps://host/q2", token()) or "")
    assert "another" in (check("", "amqps://other/q", token("host/q")) or "")
    assert "signature" in (check("", audience, token(key="other")) or "")
    assert "signature" in (check("", audience, token(name="you")) or "")
    assert "expired" in (check("", audience, token(seconds=-60)) or "")
    assert "another" in (check("", audience, token("sb://host/other")) or "")
    assert "not a shared" in (check("", audience, "jwt") or "")
    assert "signature" in (check("", audience, "SharedAccessSignature nothing") or "")


def test_without_keys_nothing_is_checked() -> None:
    assert token_check({}) is None


# -- batches ------------------------------------------------------------------------------------------------------


def test_batches_are_unpacked() -> None:
    inner = [Message(str(n), properties=Properties(group_id="s")).encode() for n in range(2)]
    batch = Message(Data(inner), annotations={"x-opt-partition-key": "k"}).encode()
    found = unpacked(Entry(batch, BATCH_FORMAT))
    assert [message.body for message, _, _ in found] == ["0", "1"]
    assert [entry.payload for _, entry, _ in found] == inner
    assert all(annotations == {"x-opt-partition-key": "k"} for _, _, annotations in found)


def test_a_batch_of_garbage() -> None:
    with pytest.raises(DecodeError):
        unpacked(Entry(Message(Data([b"\xff"])).encode(), BATCH_FORMAT))
