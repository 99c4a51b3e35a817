from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from uamqp.transport.driver import Deadlines, wake
from uamqp.transport.event_loop import EventLoopDriver


class Clock:
    """Time that passes when it is told to, and the calls that are due then."""

    def __init__(self) -> None:
        self.time = 0.0
        self.calls: list[Call] = []

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, callback: Callable[[], None]) -> Call:
        call = Call(when, callback)
        self.calls.append(call)
        return call

    @property
    def pending(self) -> list[float]:
        return sorted(call.when for call in self.calls if not call.cancelled)

    def advance(self, time: float) -> None:
        self.time = time
        while due := [call for call in self.calls if call.when <= time]:
            call = min(due, key=lambda call: call.when)
            self.calls.remove(call)
            if not call.cancelled:
                call.callback()


class Call:
    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Flag:
    """A waiter that remembers when it was woken."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.woken: tuple[float, bool] | None = None

    def done(self) -> bool:
        return self.woken is not None

    def set_result(self, result: bool) -> None:
        assert self.woken is None
        self.woken = (self._clock.time, result)

    def __await__(self) -> None:  # type: ignore[override]
        raise AssertionError("nobody waits here")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def deadlines(clock: Clock) -> Deadlines:
    return Deadlines(clock.now, clock.call_at)


def test_each_waiter_has_its_time(clock: Clock, deadlines: Deadlines) -> None:
    flags = {}
    for begin, timeout in [(0.0, 3.0), (0.0, 1.0), (0.5, 3.0), (0.5, 1.0), (0.5, 0.0)]:
        clock.advance(begin)
        flags[begin, timeout] = flag = Flag(clock)
        deadlines.add(flag, timeout)
    for tenth in range(5, 40):
        clock.advance(tenth / 10)
    assert {key: flag.woken for key, flag in flags.items()} == {
        (0.5, 0.0): (0.5, False),
        (0.0, 1.0): (1.0, False),
        (0.5, 1.0): (1.5, False),
        (0.0, 3.0): (3.0, False),
        (0.5, 3.0): (3.5, False),
    }
    assert clock.pending == []


def test_of_one_duration_there_is_one_timer(clock: Clock, deadlines: Deadlines) -> None:
    for n in range(100):
        clock.advance(n / 1000)
        deadlines.add(Flag(clock), 5.0)
    assert clock.pending == [5.0]


def test_a_waiter_that_was_taken_out_is_not_woken(clock: Clock, deadlines: Deadlines) -> None:
    first, second = Flag(clock), Flag(clock)
    deadlines.add(first, 1.0).pop(first)
    clock.advance(0.5)
    deadlines.add(second, 1.0)
    clock.advance(1.0)
    assert (first.woken, second.woken) == (None, None)
    clock.advance(1.5)
    assert (first.woken, second.woken) == (None, (1.5, False))


def test_a_waiter_that_is_done_is_left_alone(clock: Clock, deadlines: Deadlines) -> None:
    flag = Flag(clock)
    deadlines.add(flag, 1.0)
    flag.set_result(True)
    clock.advance(2.0)
    assert flag.woken == (0.0, True)


def test_a_duration_can_be_used_again_after_it_was_forgotten(clock: Clock, deadlines: Deadlines) -> None:
    for begin in (0.0, 10.0):
        clock.advance(begin)
        flag = Flag(clock)
        deadlines.add(flag, 1.0)
        clock.advance(begin + 1)
        assert flag.woken == (begin + 1, False)


class Interrupt(BaseException):
    pass


def interrupted(line: int, function: Callable[..., Any], *arguments: Any) -> bool:
    """Call a function that is interrupted before so many lines of the driver; whether it was."""
    left = line
    before = sys.gettrace()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith("driver.py"):
            return None
        left -= event == "line"
        if not left:
            sys.settrace(before)
            raise Interrupt
        return trace

    sys.settrace(trace)
    try:
        function(*arguments)
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("what", ["add", "release"])
def test_an_interrupt_leaves_no_duration_that_never_ends(what: str) -> None:
    line = 1
    while True:
        clock = Clock()
        deadlines = Deadlines(clock.now, clock.call_at)
        acts: dict[str, Callable[[], Any]] = {
            "add": lambda deadlines=deadlines, clock=clock: deadlines.add(Flag(clock), 1.0),
            "release": deadlines.release,
        }
        if what != "add":
            deadlines.add(old := Flag(clock), 1.0).pop(old)
        was_interrupted = interrupted(line, acts[what])
        clock.advance(10.0)
        flag = Flag(clock)
        deadlines.add(flag, 1.0)
        deadlines.release()
        clock.advance(11.0)
        assert flag.woken == (11.0, False)
        deadlines.release()
        if not was_interrupted:
            break
        line += 1
    assert line > 3


def test_release_cancels_the_timers_that_nobody_needs(clock: Clock, deadlines: Deadlines) -> None:
    idle, busy = Flag(clock), Flag(clock)
    deadlines.add(idle, 1.0).pop(idle)
    deadlines.add(busy, 2.0)
    deadlines.release()
    assert clock.pending == [2.0]
    clock.advance(2.0)
    assert busy.woken == (2.0, False)


def test_durations_that_are_new_each_time_do_not_pile_up(clock: Clock, deadlines: Deadlines) -> None:
    kept = Flag(clock)
    deadlines.add(kept, 500.0)
    for n in range(1000):
        flag = Flag(clock)
        deadlines.add(flag, 100 + n / 7).pop(flag)
    assert len(clock.pending) <= 10
    clock.advance(500.0)
    assert kept.woken == (500.0, False)


async def test_wait_says_whether_it_was_woken() -> None:
    driver = EventLoopDriver()
    woken = driver.waiter()
    asyncio.get_running_loop().call_soon(wake, woken)
    assert await driver.wait(woken, 10.0) is True
    assert await driver.wait(driver.waiter(), 0.001) is False
    waiter = driver.waiter()
    asyncio.get_running_loop().call_soon(wake, waiter)
    assert await driver.wait(waiter, None) is True
    driver.deadlines.release()


def test_wake_is_for_those_who_wait() -> None:
    clock = Clock()
    flag = Flag(clock)
    wake(flag)
    wake(flag)
    wake(None)
    assert flag.woken == (0.0, True)


async def test_sleep_and_its_cancellation() -> None:
    driver = EventLoopDriver()
    await driver.sleep(0.001)
    task = asyncio.create_task(driver.sleep(1000))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
