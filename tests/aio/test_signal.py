from __future__ import annotations

import asyncio

import pytest

from uamqp.aio.signal import Signal
from uamqp.transport.event_loop import EventLoopDriver


@pytest.fixture
async def signal() -> Signal:
    return Signal(EventLoopDriver())


async def test_a_condition_that_holds_needs_no_signal(signal: Signal) -> None:
    assert await signal.wait_for(lambda: True, 0.0)
    assert await signal.wait_for(lambda: True, None)


async def test_all_who_wait_look_again(signal: Signal) -> None:
    count = 0
    tasks = [asyncio.create_task(signal.wait_for(lambda n=n: count > n, None)) for n in range(3)]  # type: ignore[misc]
    await asyncio.sleep(0)
    for count in (1, 2, 3):
        signal.notify()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [task.done() for task in tasks] == [count > n for n in range(3)]
    assert signal._waiters == []


async def test_time_runs_out_once_for_all_wake_ups(signal: Signal) -> None:
    async def notify() -> None:
        while True:
            signal.notify()
            await asyncio.sleep(0.001)

    notifier = asyncio.create_task(notify())
    assert not await signal.wait_for(lambda: False, 0.02)
    notifier.cancel()
    assert signal._waiters == []


async def test_a_condition_that_holds_when_time_runs_out_counts(signal: Signal) -> None:
    done: list[bool] = []
    waiting = asyncio.create_task(signal.wait_for(lambda: bool(done), 0.01))
    await asyncio.sleep(0)
    # Nobody is told of it.
    done.append(True)
    assert await waiting


async def test_cancelling_leaves_nothing_behind(signal: Signal) -> None:
    tasks = [asyncio.create_task(signal.wait_for(lambda: False, timeout)) for timeout in (None, 10.0)]
    await asyncio.sleep(0)
    signal.notify()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert all(task.cancelled() for task in tasks)
    assert signal._waiters == []
    assert not any(signal._driver.deadlines._queues.values())
