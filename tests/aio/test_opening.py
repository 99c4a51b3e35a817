from __future__ import annotations

import pytest

from uamqp.aio.opening import Opening
from uamqp.exceptions import LocalProtocolError


class Thing:
    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


@pytest.fixture
def thing() -> Thing:
    return Thing()


@pytest.fixture
def opening(thing: Thing) -> Opening[Thing]:
    async def open() -> Thing:
        return thing

    return Opening(open)


async def test_awaited_it_stays_open(thing: Thing, opening: Opening[Thing]) -> None:
    assert await opening is thing
    assert await opening.open() is thing
    assert thing.closed == 0


async def test_as_a_context_it_is_closed_at_the_end(thing: Thing, opening: Opening[Thing]) -> None:
    async with opening as opened:
        assert opened is thing
        assert thing.closed == 0
    assert thing.closed == 1


async def test_it_is_closed_when_the_body_fails(thing: Thing, opening: Opening[Thing]) -> None:
    with pytest.raises(ZeroDivisionError):
        async with opening:
            raise ZeroDivisionError
    assert thing.closed == 1


async def test_what_did_not_open_is_not_closed() -> None:
    async def fail() -> Thing:
        raise ZeroDivisionError

    opening = Opening(fail)
    with pytest.raises(ZeroDivisionError):
        async with opening:
            raise AssertionError
    await opening.__aexit__(None, None, None)


async def test_one_opening_for_one_block_at_a_time(thing: Thing, opening: Opening[Thing]) -> None:
    async with opening:
        with pytest.raises(LocalProtocolError, match="call again"):
            async with opening:
                pass
    assert thing.closed == 1
    async with opening:
        pass
    assert thing.closed == 2
