"""The loop on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from uamqp.testing import Stuck, VirtualLoop, run


def test_waiting_takes_no_time_and_is_exact() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        times = []
        for delay in (0.1, 86_400 * 30, 0.3):
            await asyncio.sleep(delay)
            times.append(loop.time() - began)
        return times

    assert run(main()) == pytest.approx([0.1, 86_400 * 30 + 0.1, 86_400 * 30 + 0.4])


def test_timers_come_in_their_order() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        loop = asyncio.get_running_loop()
        for place in (3, 1, 2):
            loop.call_later(place, seen.append, place)
        await asyncio.sleep(5)
        return seen

    assert run(main()) == [1, 2, 3]


def test_time_outs_of_asyncio_work() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run(main()) == 1000 + 3600


def test_what_would_wait_for_ever_says_where() -> None:
    async def patient() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        await asyncio.gather(patient())

    with pytest.raises(Stuck, match=r"patient, line \d+"):
        run(main())


def test_what_turns_in_circles_is_stopped() -> None:
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="turns of the loop"):
        run(main())


def test_who_does_not_listen_to_being_cancelled_is_ended_all_the_same() -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                pass

    async def main() -> asyncio.Task[None]:
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        return task

    with pytest.raises(Stuck, match="deaf"):
        run(main())


def test_tasks_that_are_left_are_cancelled() -> None:
    seen = []

    async def left() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("cancelled")

    async def main() -> None:
        asyncio.create_task(left())  # noqa: RUF006
        await asyncio.sleep(1)

    run(main())
    assert seen == ["cancelled"]


def test_callbacks_that_fail_are_told() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run(main())


def test_failures_without_an_exception_are_told() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_exception_handler({"message": "something is wrong"})

    with pytest.raises(RuntimeError, match="something is wrong"):
        run(main())


def test_there_are_no_threads_and_without_a_network_no_connections() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.call_soon_threadsafe(lambda: None)
        assert loop.timers == 0
        with pytest.raises(RuntimeError, match="no threads"):
            await asyncio.to_thread(print)
        with pytest.raises(RuntimeError, match="no network"):
            await asyncio.open_connection("127.0.0.1", 5672)

    run(main())
