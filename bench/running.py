"""Running one client once, on its core and bounded in time."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .clients.recipes import Command

MEASUREMENT_SECONDS = 60.0
"""The longest that a client may take for one measurement."""


class Failed(Exception):
    """A client did not do the work; the text says what it said."""


@dataclass(frozen=True)
class Measurement:
    """What came of one run.

    Attributes:
        count: messages.
        seconds: as the client measured them.
        cpu_seconds: of its whole process, the start included.
    """

    count: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Placement:
    """The core of the peer and the core of the client; None where there is only one, and nobody is pinned."""

    peer: int | None
    client: int | None

    @classmethod
    def of_this_machine(cls) -> Placement:
        available = sorted(os.sched_getaffinity(0))
        return cls(available[-1], available[0]) if len(available) > 1 else cls(None, None)


def pinned(core: int | None, command: Sequence[str]) -> list[str]:
    """The command, kept on a core."""
    return list(command) if core is None else ["taskset", "--cpu-list", str(core), *command]


def version(command: Command) -> str:
    """What the client says that it measures."""
    return _run([*command.words, "version"], command.environment).strip()


def measure(command: Command, placement: Placement, arguments: Sequence[object], tally: int, count: int) -> Measurement:
    """Let a client do its work; raise Failed unless it proves by the tally that it did."""
    words = [*command.words, *map(str, arguments)]
    before = _cpu_seconds()
    answer = _run(pinned(placement.client, words), command.environment).strip()
    used = _cpu_seconds() - before
    seconds, _, proof = answer.rpartition("\n")[2].partition(" ")
    if proof != str(tally):
        raise Failed(f"it answered {answer!r} where the tally is {tally}")
    return Measurement(count, float(seconds), used)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(words: Sequence[str], environment: Mapping[str, str]) -> str:
    with subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            answer, complaint = process.communicate(timeout=MEASUREMENT_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"it was not done within {MEASUREMENT_SECONDS:.0f} s")
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise Failed(f"it ended with status {process.returncode}: {complaint.strip()[-500:]}")
    return answer
