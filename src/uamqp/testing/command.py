"""``python -m uamqp.testing simulate``: many runs of the simulator, and what came of them.

Not in `__main__`, where processes that share the work would not find it.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, cast

from .simulation import RecoveryMode, Result, simulate

_MODES: Final = ("off", "on", "resend")
#: Runs that a process does before it reports.
_BATCH = 25
#: Failures that are shown with their last events.
_SHOWN = 3


@dataclass
class Sum:
    """What came of many runs.

    Attributes:
        reports: of the runs that failed, by seed.
    """

    runs: int = 0
    messages: int = 0
    attempts: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    reports: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, result: Result) -> Sum:
        """One run."""
        reports = {result.seed: result.report()} if result.violations else {}
        counts = Counter(result.faults), Counter(result.checks)
        return cls(1, result.messages, result.attempts, result.seconds, *counts, reports)

    def join(self, other: Sum) -> None:
        """More runs."""
        self.runs += other.runs
        self.messages += other.messages
        self.attempts += other.attempts
        self.seconds += other.seconds
        self.faults.update(other.faults)
        self.checks.update(other.checks)
        self.reports.update(other.reports)


def _run(seed: int, mode: str) -> Result:
    # Seeds that follow each other take turns.
    recovery = _MODES[seed % len(_MODES)] if mode == "mixed" else mode
    return simulate(seed, recovery=cast(RecoveryMode, recovery))


def _some(seeds: range, mode: str) -> Sum:
    result = Sum()
    for seed in seeds:
        result.join(Sum.of(_run(seed, mode)))
    return result


def _all(seeds: range, mode: str, processes: int) -> Iterator[Sum]:
    batches: Iterable[range] = [seeds[start : start + _BATCH] for start in range(0, len(seeds), _BATCH)]
    some = partial(_some, mode=mode)
    if processes == 1:
        yield from map(some, batches)
        return
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(some, batches)


def _table(title: str, counts: Counter[str]) -> list[str]:
    return [f"{title}: {counts.total():,}", *(f"  {count:>12,}  {name}" for name, count in counts.most_common())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the arguments say; 1 where a run failed."""
    parser = argparse.ArgumentParser("python -m uamqp.testing", description="Tests of programs that use AMQP.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("simulate", help="run the simulator with many seeds")
    command.add_argument("--runs", type=int, default=1000, help="how many runs (default: 1000)")
    command.add_argument("--seed", type=int, default=0, help="the first seed; each run takes the next one (default: 0)")
    command.add_argument("--processes", type=int, default=1, help="how many processes share the work (default: 1)")
    command.add_argument(
        "--recovery",
        choices=("mixed", *_MODES),
        default="mixed",
        help="who brings connections back: the programs (off), uamqp (on), or uamqp, which sends again what is in "
        "doubt (resend); default: each in turn",
    )
    command.add_argument(
        "--trace", action="store_true", help="print all that happens in the first run, and do no other"
    )
    chosen = parser.parse_args(arguments)
    if chosen.trace:
        result = _run(chosen.seed, chosen.recovery)
        print(result.report(len(result.trace)))
        return int(bool(result.violations))
    started = time.perf_counter()
    total = Sum()
    for part in _all(range(chosen.seed, chosen.seed + chosen.runs), chosen.recovery, chosen.processes):
        total.join(part)
    elapsed = time.perf_counter() - started
    for _, report in sorted(total.reports.items())[:_SHOWN]:
        print(report)
    lines = [
        f"{total.runs:,} runs in {elapsed:.1f} s: {total.runs / elapsed:,.0f} a second, "
        f"{total.seconds / 3600:,.1f} hours of virtual time",
        f"messages: {total.messages:,}, attempts to send them: {total.attempts:,}",
        *_table("faults", total.faults),
        *_table("comparisons", total.checks),
        f"failures: {len(total.reports):,}" + "".join(f" {seed}" for seed in sorted(total.reports)),
    ]
    print("\n".join(lines))
    return int(bool(total.reports))
