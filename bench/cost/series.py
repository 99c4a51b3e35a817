"""Cost per message while there are more and more links, connections or unsettled deliveries."""

from __future__ import annotations

from dataclasses import dataclass

from ..building import say
from .figures import Cost, Figures
from .process import figures_of


@dataclass(frozen=True)
class Series:
    """What there is more and more of.

    Attributes:
        judged: the ways in which the cost at the last point may be at most `MUST` times that at the first: not those
            in which the client asks for more work itself.
    """

    name: str
    title: str
    ways: tuple[str, ...]
    points: tuple[int, ...]
    judged: tuple[str, ...] = ()


MUST = 1.25

ALL_SERIES = (
    Series(
        "links",
        "links in one session",
        ("send", "receive", "receive link by link"),
        (1, 10, 100, 1000),
        judged=("send", "receive"),
    ),
    Series(
        "unsettled",
        "unsettled deliveries",
        ("send", "receive"),
        (10, 100, 1000, 10_000, 100_000),
        judged=("send", "receive"),
    ),
    Series("connections", "connections in one process", ("send", "receive"), (1, 10, 100, 1000)),
)


@dataclass(frozen=True)
class Effort:
    """How much is measured: each point in a new process each round, which does so many bursts of so many messages."""

    rounds: int
    bursts: int
    messages: int


def measure_series(figures: Figures, names: list[str], effort: Effort) -> None:
    """Measure all points in turn, round by round, so that what else the machine does meets all of them alike."""
    chosen = [series for series in ALL_SERIES if series.name in names]
    points = [(series, way, point) for series in chosen for way in series.ways for point in series.points]
    for number in range(effort.rounds if points else 0):
        say(f"round {number + 1} of {effort.rounds}")
        for series, way, point in points:
            with figures.measuring(f"{way}, {point:,} {series.title}"):
                measured = figures_of("messages", series.name, way, point, effort.messages, effort.bursts)
                cost = figures.cost(series.name, way, point)
                if cost is None:
                    cost = Cost(series.name, way, point)
                    figures.costs.append(cost)
                cost.processor.append(measured["processor"])
                cost.wall.append(measured["wall"])
