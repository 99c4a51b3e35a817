"""The Markdown summary, and what must hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from statistics import median

from uamqp.engine.limits import MAX_MESSAGE_SIZE

from .figures import Cost, Figures, machine
from .series import ALL_SERIES, MUST, Series

MEBIBYTE = 1 << 20

CONNECTION_BYTES = 60_000
"""That an idle connection may take."""

LARGE_MULTIPLE = 3.0
"""Of the size of a large message: the most memory that its client may need."""

REFUSED_BYTES = MAX_MESSAGE_SIZE * 5 // 4
"""That a client may take while a message is refused: as much as arrives until it is known to be too large."""


LATENCY = 2.0
"""Milliseconds that a message may take to a receiver that is blocked, median."""


@dataclass(frozen=True)
class Verdict:
    """Something that must hold."""

    what: str
    figure: str
    must: str
    holds: bool


def verdicts(figures: Figures) -> list[Verdict]:
    """All that must hold, of what was measured."""
    return [
        *_ratios(figures),
        *_connection_memory(figures),
        *_stillness(figures),
        *_large_messages(figures),
        *_latencies(figures),
    ]


def _ratios(figures: Figures) -> Iterator[Verdict]:
    for series in ALL_SERIES:
        first_point, *_, last_point = series.points
        for way in series.judged:
            first, last = figures.cost(series.name, way, first_point), figures.cost(series.name, way, last_point)
            if first is not None and last is not None:
                ratio = median(last.processor) / median(first.processor)
                least = min(last.processor) / min(first.processor)
                yield Verdict(
                    f"{way}: cost with {last_point:,} {series.title}, to that with {first_point:,}",
                    f"{ratio:.2f}x (minima: {least:.2f}x)",
                    f"at most {MUST:.2f}x",
                    ratio <= MUST,
                )


def _connection_memory(figures: Figures) -> Iterator[Verdict]:
    for memory in figures.memory:
        if memory.what == "idle connection":
            yield Verdict(
                f"memory of an idle connection, {memory.meter}",
                f"{memory.bytes:,.0f} bytes",
                f"at most {CONNECTION_BYTES:,}",
                memory.bytes <= CONNECTION_BYTES,
            )


def _stillness(figures: Figures) -> Iterator[Verdict]:
    for idle in figures.idle:
        count = sum(idle.calls.values())
        yield Verdict(
            f"system calls for {idle.connections:,} idle connections in {idle.seconds:.0f} s between heartbeats",
            f"{count:,}",
            "none",
            not count,
        )


def _large_messages(figures: Figures) -> Iterator[Verdict]:
    for large in figures.large:
        what = f"{large.operation} a message of {large.size // MEBIBYTE:,} MiB"
        if large.operation == "refuse":
            growth = large.peak - large.before
            yield Verdict(
                f"{what}: more memory meanwhile",
                f"{growth / MEBIBYTE:,.0f} MiB",
                f"at most {REFUSED_BYTES // MEBIBYTE} MiB",
                growth <= REFUSED_BYTES,
            )
        else:
            multiple = large.peak / large.size
            yield Verdict(
                f"{what}: most memory, to its size",
                f"{multiple:.2f}x",
                f"under {LARGE_MULTIPLE:g}x",
                multiple < LARGE_MULTIPLE,
            )


def _latencies(figures: Figures) -> Iterator[Verdict]:
    for latency in figures.latency:
        middle, most = median(latency.milliseconds), max(latency.milliseconds)
        yield Verdict(
            f"{latency.face}: from the sender to a receiver that is blocked, {len(latency.milliseconds):,} messages",
            f"{middle:.2f} ms (at most {most:.2f})",
            f"at most {LATENCY:g} ms, median",
            middle <= LATENCY,
        )


def summary(figures: Figures) -> str:
    """All of it as Markdown."""
    parts = ["# What does not grow", " · ".join(f"{name} {value}" for name, value in machine().items())]
    for series in ALL_SERIES:
        if any(cost.series == series.name for cost in figures.costs):
            parts += [
                f"## Microseconds per message, by {series.title}",
                "Processor time of the client: median of the rounds (least); then the median of the time that passed.",
                _series_table(series, figures),
            ]
    if figures.memory:
        parts += ["## Bytes for each", "Of a message, beyond the 100 bytes of its body.", _memory_table(figures)]
    parts += [_idle_text(figures), _large_text(figures)]
    rows = [(v.what, v.figure, v.must, "yes" if v.holds else "**NO**") for v in verdicts(figures)]
    parts += ["## What must hold", _table(("what", "figure", "must", "holds"), rows)] if rows else []
    if figures.missing:
        rows_missing = [(missing.what, missing.reason) for missing in figures.missing]
        parts += ["## What could not be measured", _table(("what", "why"), rows_missing)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _series_table(series: Series, figures: Figures) -> str:
    rows = [
        (f"{point:,}", *(_cost_text(figures.cost(series.name, way, point)) for way in series.ways))
        for point in series.points
    ]
    return _table((series.title, *series.ways), rows)


def _cost_text(cost: Cost | None) -> str:
    if cost is None:
        return "missing"
    return f"{median(cost.processor):.2f} ({min(cost.processor):.2f}); {median(cost.wall):.2f}"


def _memory_table(figures: Figures) -> str:
    meters = list(dict.fromkeys(memory.meter for memory in figures.memory))
    by_what: dict[str, dict[str, str]] = {}
    for memory in figures.memory:
        by_what.setdefault(memory.what, {})[memory.meter] = f"{memory.bytes:,.0f}"
    rows = [(what, *(found.get(meter, "missing") for meter in meters)) for what, found in by_what.items()]
    return _table(("what", *meters), rows)


def _idle_text(figures: Figures) -> str:
    parts = []
    for idle in figures.idle:
        calls = ", ".join(f"{count:,} {name}" for name, count in idle.calls.items()) or "no other"
        parts.append(
            f"{idle.connections:,} idle connections were watched for {idle.seconds:.1f} s. The process was in one "
            f"epoll_wait for the first {idle.still:.1f} s; other system calls: {calls}."
        )
    return "\n\n".join(["## Idle connections", *parts]) if parts else ""


def _large_text(figures: Figures) -> str:
    if not figures.large:
        return ""
    rows = [
        (
            large.operation,
            f"{large.before / MEBIBYTE:,.0f}",
            f"{large.peak / MEBIBYTE:,.0f}",
            f"{large.seconds:.1f}",
            f"`{large.error}`, {large.condition}: {large.description}" if large.error else "done",
        )
        for large in figures.large
    ]
    size = figures.large[0].size // MEBIBYTE
    header = ("what", "MiB before", "most MiB", "seconds", "result")
    return "\n\n".join([f"## A message of {size:,} MiB", _table(header, rows)])


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
