"""Bytes for each connection, session, link and message, measured in two ways, each in a process of its own."""

from __future__ import annotations

from .figures import Figures, Memory
from .process import figures_of

COUNTS = {
    "idle connection": 1000,
    "session": 5000,
    "sender": 5000,
    "receiver": 5000,
    "unsettled outgoing delivery": 100_000,
    "unsettled incoming delivery": 100_000,
    "message queued to be sent": 100_000,
    "message queued to be received": 100_000,
}
"""So many that what the system gives at a time does not matter."""

METERS = ("resident", "traced")

QUICK_METERS = ("traced",)
"""Exact for small counts, too; the system gives memory in larger pieces."""


def measure_memory(figures: Figures, meters: tuple[str, ...], part: int = 1) -> None:
    """Measure all; with only a part of each count where there is little time."""
    for what, all_of_them in COUNTS.items():
        for meter in meters:
            with figures.measuring(f"memory: {what}, {meter}"):
                count = all_of_them // part
                figures.memory.append(Memory(what, meter, count, figures_of("memory", what, count, meter)))
