"""The command line: python -m bench.cost."""

from __future__ import annotations

import argparse
import json
import resource
from pathlib import Path

from tools.brokers.cache import cache_dir

from ..building import PART, BuildError, say
from .drawing import draw
from .figures import Figures, Missing
from .idle import measure_idle
from .large import measure_large
from .latency import measure_latency
from .memory import METERS, QUICK_METERS, measure_memory
from .report import summary, verdicts
from .series import ALL_SERIES, Effort, measure_series

CHARTS = Path("docs/charts")

FULL = Effort(rounds=5, bursts=5, messages=40_000)
QUICK = Effort(rounds=1, bursts=3, messages=20_000)

IDLE_CONNECTIONS = 1000
IDLE_SECONDS = 20.0
QUICK_IDLE_SECONDS = 5.0

LATENCY_MESSAGES = 1000
QUICK_LATENCY_MESSAGES = 200

PARTS = [series.name for series in ALL_SERIES] + ["memory", "idle", "large", "latency"]


def main() -> int:
    """Measure, report; 1 where something that must hold does not, or is not known."""
    arguments = _arguments()
    _allow_many_descriptors()
    figures = Figures()
    quick, parts = arguments.quick, arguments.parts
    measure_series(figures, parts, QUICK if quick else FULL)
    if "memory" in parts:
        measure_memory(figures, QUICK_METERS if quick else METERS, part=5 if quick else 1)
    if "idle" in parts:
        measure_idle(figures, IDLE_CONNECTIONS, QUICK_IDLE_SECONDS if quick else IDLE_SECONDS)
    if "large" in parts and not quick:
        measure_large(figures)
    if "latency" in parts:
        measure_latency(figures, QUICK_LATENCY_MESSAGES if quick else LATENCY_MESSAGES)
    folder = arguments.output or cache_dir(PART) / "cost"
    raw = _write(figures, folder)
    charts = arguments.charts or (CHARTS if not quick and parts == PARTS else None)
    if charts:
        try:
            draw(raw, charts)
        except BuildError as error:
            figures.missing.append(Missing("the charts", str(error)))
            _write(figures, folder)
    print(summary(figures))
    say(f"all figures are in {raw}")
    return 1 if figures.missing or not all(verdict.holds for verdict in verdicts(figures)) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--parts", type=_parts, default=PARTS, help=f"some of {','.join(PARTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="less of everything, and no large message")
    parser.add_argument("--output", type=Path, help="folder for figures.json and summary.md instead of the cache")
    parser.add_argument("--charts", type=Path, help=f"folder for the charts; {CHARTS} by default, if all is measured")
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := set(parts) - set(PARTS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return parts


def _allow_many_descriptors() -> None:
    # Inherited by clients and peers, of which some have a thousand connections.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _write(figures: Figures, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    raw = folder / "figures.json"
    raw.write_text(json.dumps(figures.as_dict(), indent=1))
    (folder / "summary.md").write_text(summary(figures))
    return raw


if __name__ == "__main__":
    raise SystemExit(main())
