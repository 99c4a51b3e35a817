"""The costs per message as one picture: python -m bench.cost.charts FIGURES.json FOLDER. Needs matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullLocator

from .series import ALL_SERIES, Series

NAME = "cost-per-message.png"

LOOKS: dict[str, dict[str, Any]] = {
    "send": {"label": "sent and confirmed", "color": "#1f6fb4", "marker": "o"},
    "receive": {"label": "received and accepted", "color": "#c8541e", "marker": "s"},
    "receive link by link": {
        "label": "received and accepted, 20 in a row from a link",
        "color": "#e3a43c",
        "marker": "^",
        "linestyle": "--",
    },
}


def draw(figures: dict[str, Any], folder: Path) -> Path:
    """One panel for each series."""
    pyplot.rcParams.update({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False})
    figure, panels = pyplot.subplots(1, len(ALL_SERIES), figsize=(12, 4.4), sharey=True, layout="constrained")
    for series, panel in zip(ALL_SERIES, panels, strict=True):
        _panel(series, panel, figures["costs"])
    panels[0].set_ylabel("microseconds of processor time per message")
    panels[0].set_ylim(bottom=0)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("What a message of 100 bytes costs its client, the more there is of anything else", fontsize=13)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / NAME
    figure.savefig(path, dpi=150)
    return path


def _panel(series: Series, panel: Axes, costs: list[dict[str, Any]]) -> None:
    panel.set_xlabel(series.title, fontsize=11)
    panel.set_xscale("log")
    panel.set_xticks(series.points)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.grid(axis="y", color="#dddddd", linewidth=0.8)
    panel.set_axisbelow(True)
    for way in series.ways:
        points = [
            (cost["point"], median(cost["processor"]))
            for cost in costs
            if (cost["series"], cost["way"]) == (series.name, way)
        ]
        if points:
            panel.plot(*zip(*points, strict=True), linewidth=2, markersize=6, **LOOKS[way])


if __name__ == "__main__":
    print(draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])), file=sys.stderr)
