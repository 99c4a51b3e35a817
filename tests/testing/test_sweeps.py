"""One exchange, cut at every byte, and cancelled at every await: the accounts agree each time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from uamqp.aio import Connection, Message, Sender, Token
from uamqp.exceptions import AMQPError, BatchFailed
from uamqp.testing import Conditions, How, Outcome, Way, Wire, outcome_of
from uamqp.testing.simulation import Simulation, forgetting
from uamqp.testing.workload import Worker

from ..cancelling import cancelled_at

HOW: tuple[How, ...] = ("fin", "rst", "blackhole")
WAYS: tuple[Way, ...] = ("to server", "to client")


class Exchange(Worker):
    """Every public operation once, in a fixed order."""

    def __init__(self, world: Simulation, turn: int, after: bool) -> None:
        super().__init__(world, "exchange", Random(0))
        self.timeout = 2.0
        self._options = {"timeout": 2.0, "connect_timeout": 2.0, "idle_timeout": 5.0, "max_frame_size": 512}
        self._turn = turn
        self._after = after
        self._attempts = 0
        self.cancelled = False

    async def run(self) -> None:
        try:
            await cancelled_at(self._once(), self._turn, self._after)
        except asyncio.CancelledError:
            self.cancelled = True

    async def _once(self) -> None:
        try:
            await self._one_connection()
        except AMQPError as error:
            self.ledger.failed(self.name, error)

    def _attempt(self, size: int = 10) -> tuple[str, bytes]:
        self._attempts += 1
        token = f"m{self._attempts}"
        body = f"{token} ".encode() + bytes(size)
        self.ledger.attempt(token, body, "link")
        return token, body

    async def _outcome(self, token: str, operation: Coroutine[Any, Any, Any]) -> None:
        outcome = Outcome.IN_DOUBT
        try:
            await self.call("send", operation, self.timeout)
            outcome = Outcome.ACCEPTED
        except AMQPError as error:
            self.ledger.failed(self.name, error)
            outcome = outcome_of(error)
        finally:
            self.ledger.told(token, outcome)

    async def work(self, connection: Connection) -> None:
        await self.call("authorize", connection.authorize("q", lambda audience: Token("t0ken", "jwt")), self.timeout)
        request = Message(None, application_properties={"operation": "QUERY"})
        await self.call("request", connection.request("$management", request), self.timeout)
        sender = await self.call("attach", connection.sender("q", name="s").open(), self.timeout)
        for size in (10, 600):
            token, body = self._attempt(size)
            await self._outcome(token, sender.send(body))
        token, body = self._attempt()
        await self._outcome(token, self._nowait(sender, body))
        await self._send_many(sender)
        await self.call("detach", sender.close(), self.timeout)
        async with connection.session() as session:
            receiver = await self.call(
                "attach", session.receiver("q", name="r", settle_mode="second").open(), self.timeout
            )
            delivery = await self.call("receive", receiver.receive(), self.timeout)
            said = [self._accept(delivery)]
            await self.call("confirmed", receiver.confirmed(delivery), self.timeout)
            self.ledger.confirmed(said[0])
            for delivery in await self.call("receive_many", receiver.receive_many(1), self.timeout):
                self._accept(delivery)
            await self.call("drain", receiver.drain(), self.timeout)
            async for delivery in receiver:
                self._accept(delivery)
                break
            await self.call("detach", receiver.close(), self.timeout)

    async def _nowait(self, sender: Sender, body: bytes) -> None:
        await sender.settlement(sender.send_nowait(body))

    async def _send_many(self, sender: Sender) -> None:
        messages = [self._attempt() for _ in range(2)]
        outcomes = [Outcome.IN_DOUBT] * 2
        try:
            await self.call("send_many", sender.send_many([body for _, body in messages]), 3 * self.timeout)
            outcomes = [Outcome.ACCEPTED] * 2
        except BatchFailed as error:
            # What was not taken any more was not sent.
            outcomes = [
                outcome_of(error.failures[place])
                if place in error.failures
                else Outcome.NOT_SENT
                if place > max(error.failures)
                else Outcome.ACCEPTED
                for place in range(2)
            ]
        except AMQPError as error:
            self.ledger.failed(self.name, error)
        finally:
            for (token, _), outcome in zip(messages, outcomes, strict=True):
                self.ledger.told(token, outcome)

    def _accept(self, delivery: Any) -> str:
        token = self.ledger.delivered(delivery.body)
        delivery.accept()
        self.ledger.removing(token)
        return token


class Sweep(Simulation):
    """The exchange once, with one wire cut, or one await cancelled."""

    def __init__(self, cut: tuple[Way, int, How] | None = None, turn: int = 0, after: bool = False) -> None:
        super().__init__(0, durable=True, faults=0, connect_options={})
        self.network.conditions = Conditions()
        self.ledger.quiet = self.ledger.at_most_once = False
        self._wanted = cut
        self.exchange = Exchange(self, turn, after)

    def workers(self) -> list[Worker]:
        return [self.exchange]

    def on_connect(self, wire: Wire) -> None:
        if self._wanted is not None and wire.number == 0:
            wire.cut_after(*self._wanted)


def sizes() -> dict[Way, int]:
    sweep = Sweep()
    with forgetting():
        result = sweep.run()
    assert not result.violations, result.report()
    wire = sweep.network.wires[0]
    return {"to server": wire.to_server.carried, "to client": wire.to_client.carried}


SIZES = sizes()
#: Tests that share one sweep.
_PARTS = 10
#: The normal suite cuts at every so many bytes; no multiple of the number of ways to cut.
_STRIDE = 20


@pytest.mark.parametrize("way", WAYS)
def test_the_exchange_is_cut_anywhere(way: Way) -> None:
    for count in range(0, SIZES[way], _STRIDE):
        with forgetting():
            result = Sweep((way, count, HOW[count % 3])).run()
        assert not result.violations, f"{count} bytes: {result.report()}"
        assert result.faults.total() == 1


@pytest.mark.bulk
@pytest.mark.parametrize("part", range(_PARTS))
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("way", WAYS)
def test_the_exchange_is_cut_at_every_byte_in_every_way(way: Way, how: How, part: int) -> None:
    for count in range(part, SIZES[way], _PARTS):
        with forgetting():
            result = Sweep((way, count, how)).run()
        assert not result.violations, f"{count} bytes: {result.report()}"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_the_exchange_is_cancelled_at_every_await(after: bool) -> None:
    turn = 0
    cancelled = True
    while cancelled:
        turn += 1
        sweep = Sweep(turn=turn, after=after)
        with forgetting():
            result = sweep.run()
        assert not result.violations, f"await {turn}: {result.report()}"
        cancelled = sweep.exchange.cancelled
    assert turn > 18
