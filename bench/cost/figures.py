"""All figures of a run, in the form in which they are kept as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..building import BuildError, say
from .process import ClientFailed


@dataclass
class Cost:
    """What a message costs where there are `point` links, connections or unsettled deliveries.

    Attributes:
        processor, wall: microseconds per message, of each round.
    """

    series: str
    way: str
    point: int
    processor: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


@dataclass
class Memory:
    """Bytes for each of `count`."""

    what: str
    meter: str
    count: int
    bytes: float


@dataclass
class Idle:
    """A process with idle connections.

    Attributes:
        seconds: how long it was watched.
        still: how long it was in the call in which it waits, before it made another.
        calls: the other system calls, by name.
    """

    connections: int
    seconds: float
    still: float
    calls: dict[str, int]


@dataclass
class Large:
    """A large message: the most memory of the process before and after, in bytes; and how it was refused."""

    operation: str
    size: int
    seconds: float
    before: int
    peak: int
    error: str = ""
    condition: str = ""
    description: str = ""


@dataclass
class Latency:
    """From the sender to a receiver that is blocked: milliseconds of each message."""

    face: str
    milliseconds: list[float]


@dataclass
class Missing:
    """Something that could not be measured."""

    what: str
    reason: str


@dataclass
class Figures:
    """One run."""

    costs: list[Cost] = field(default_factory=list)
    memory: list[Memory] = field(default_factory=list)
    idle: list[Idle] = field(default_factory=list)
    large: list[Large] = field(default_factory=list)
    latency: list[Latency] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)

    def cost(self, series: str, way: str, point: int) -> Cost | None:
        """The cost at a point, if it was measured."""
        for cost in self.costs:
            if (cost.series, cost.way, cost.point) == (series, way, point):
                return cost
        return None

    @contextmanager
    def measuring(self, what: str) -> Iterator[None]:
        """Tell what is being measured; note it as missing where that fails."""
        say(what)
        try:
            yield
        except (ClientFailed, BuildError) as failure:
            missing = Missing(what, str(failure))
            if missing not in self.missing:
                self.missing.append(missing)
            say(f"{what}: {failure}")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"machine": machine(), **asdict(self)}


def machine() -> dict[str, str | int]:
    """What it was measured on."""
    model = Path("/proc/cpuinfo").read_text().partition("model name")[2].partition("\n")[0].strip("\t :")
    return {
        "processor": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "uamqp": version("uamqp"),
    }
