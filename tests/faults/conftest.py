"""What the tests of faults share: a watch over leaks, certificates, and the table at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import threading
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ..aio.peers import eventually
from ..interop.conftest import certificates  # noqa: F401

#: Of each run: its group, whether it held, seconds, and what else there is to say in numbers.
_runs: dict[str, list[tuple[bool, float, dict[str, float]]]] = defaultdict(list)


def _descriptors() -> set[str]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


@pytest.fixture
async def no_leaks() -> AsyncIterator[None]:
    """No error in the loop, no task, no thread and no file descriptor is left behind."""
    failures: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    tasks, threads, before = asyncio.all_tasks(), threading.active_count(), _descriptors()
    yield
    await eventually(lambda: not asyncio.all_tasks() - tasks - {asyncio.current_task()})
    await eventually(lambda: not _descriptors() - before)
    await loop.shutdown_default_executor()
    assert threading.active_count() == threads
    assert not failures


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    facts = dict(report.user_properties)
    if report.when == "call" and "faults" in facts:
        figures = {name: value for name, value in facts.items() if isinstance(value, float)}
        _runs[str(facts["faults"])].append((report.passed, report.duration, figures))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _runs:
        return
    write = terminalreporter.write_line
    terminalreporter.section("faults")
    write(f"{'what':<44}{'tried':>7}{'held':>7}{'seconds':>10}")
    for group, runs in sorted(_runs.items()):
        held = sum(passed for passed, _, _ in runs)
        write(f"{group:<44}{len(runs):>7}{held:>7}{sum(seconds for _, seconds, _ in runs):>10.1f}")
        for name in dict.fromkeys(name for _, _, figures in runs for name in figures):
            values = [figures[name] for _, _, figures in runs if name in figures]
            if name.startswith("seconds"):
                write(f"    {name}: {statistics.median(values):.2f}")
            else:
                write(f"    {name}: {sum(values):g}")
