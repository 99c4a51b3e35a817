"""Turn by turn: everything is measured once, and again, so that a bad moment of the machine hits nobody alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .building import say
from .running import Failed, Measurement

CLEAR_SECONDS = 0.2
"""A measurement of this length tells how many messages are needed for one of the right length."""

Cell = tuple[str, str]
"""A case and a client."""


@dataclass(frozen=True)
class Work:
    """What a client does in one turn.

    Attributes:
        client: its name.
        cases: the names of the cases that are measured by it.
        run: does it with so many messages, and measures each of the cases.
        count: how many messages; None: as many as take the right time.
        first_count: how many to begin with to find that out.
    """

    client: str
    cases: tuple[str, ...]
    run: Callable[[int], list[Measurement]]
    count: int | None = None
    first_count: int = 1000


@dataclass
class Results:
    """What was found out.

    Attributes:
        clients: the names of all that were to be measured.
        versions: of those that could be built and installed.
        missing: clients and brokers that could not be, and why.
        failures: what a client could not do, and why.
        calibrations: of the runs that found out how many messages to take.
        measurements: of the rounds.
    """

    clients: list[str]
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)
    calibrations: dict[Cell, list[Measurement]] = field(default_factory=dict)
    measurements: dict[Cell, list[Measurement]] = field(default_factory=dict)


def take_turns(works: Iterable[Work], rounds: int, seconds: float, results: Results) -> None:
    """Measure everything in each round; one measurement should take so many seconds."""
    counts: list[tuple[Work, int]] = []
    for work in works:
        try:
            counts.append((work, _calibrate(work, seconds, results)))
        except Failed as error:
            _note_failure(work, error, results)
    for number in range(1, rounds + 1):
        for work, count in counts:
            try:
                measurements = work.run(count)
            except Failed as error:
                _note_failure(work, error, results)
                continue
            for case, measurement in zip(work.cases, measurements, strict=True):
                results.measurements.setdefault((case, work.client), []).append(measurement)
                say(f"round {number} of {rounds}: {case}, {work.client}: {count} in {measurement.seconds:.3f} s")


def _calibrate(work: Work, seconds: float, results: Results) -> int:
    count = work.count or work.first_count
    while True:
        measurements = work.run(count)
        for case, measurement in zip(work.cases, measurements, strict=True):
            results.calibrations.setdefault((case, work.client), []).append(measurement)
        longest = max(measurement.seconds for measurement in measurements)
        say(f"calibration: {', '.join(work.cases)}, {work.client}: {count} in {longest:.3f} s")
        if work.count:
            return work.count
        if longest >= CLEAR_SECONDS:
            return max(1, round(count * seconds / longest))
        count *= 10


def _note_failure(work: Work, error: Failed, results: Results) -> None:
    for case in work.cases:
        say(f"{case}, {work.client} FAILED: {error}")
        results.failures[case, work.client] = str(error)
