"""What was measured, as JSON with every figure and as tables for people."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from .cases import CASES
from .clients import ORIGINAL, TLS_ONLY
from .ratios import Ratio, ratios
from .rounds import Cell, Results

_NOTE = f"† {ORIGINAL} speaks only TLS: its figures of all cases are over TLS, and so are the ratios against it.\n"


def machine() -> dict[str, Any]:
    """What the figures depend on, and nothing that names this machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": f"{platform.system()} {platform.release()}",
    }


def rates(results: Results) -> dict[Cell, list[float]]:
    """The figures of all rounds: messages, or bytes, per second."""
    return {
        cell: [
            CASES[cell[0]].rate(one.count, one.seconds) if cell[0] in CASES else one.count / one.seconds
            for one in measurements
        ]
        for cell, measurements in results.measurements.items()
    }


def as_json(results: Results, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that is known."""
    figures = rates(results)
    medians = {cell: median(values) for cell, values in figures.items()}
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": dict(settings),
        "versions": results.versions,
        "missing": results.missing,
        "failures": [
            {"case": case, "client": client, "reason": reason} for (case, client), reason in results.failures.items()
        ],
        "figures": [
            {
                "case": case,
                "client": client,
                "unit": _unit(case),
                "median": medians[case, client],
                "min": min(values),
                "max": max(values),
                "calibrations": [dataclasses.asdict(one) for one in results.calibrations[case, client]],
                "rounds": [dataclasses.asdict(one) for one in results.measurements[case, client]],
            }
            for (case, client), values in figures.items()
        ],
        "ratios": [
            {**dataclasses.asdict(ratio), "value": ratio.value(medians), "holds": ratio.holds(medians)}
            for ratio in ratios([case for case, _ in figures], results.clients)
        ],
    }


def as_markdown(results: Results, settings: Mapping[str, Any]) -> str:
    """The tables."""
    figures = rates(results)
    medians = {cell: median(values) for cell, values in figures.items()}
    facts = machine()
    cases = {case: None for case, _ in (*figures, *results.failures)}
    rows = [case for case in CASES if case in cases] + [case for case in cases if case not in CASES]
    compared = [_ratio(ratio, medians) for ratio in ratios(rows, results.clients)]
    parts = [
        "# Benchmark\n",
        f"{facts['processor']}, {facts['cores']} cores, {facts['kernel']}, {settings['python']}; "
        f"rounds: {settings['rounds']}, of about {settings['seconds']} s each. "
        + ("Counterpart and client are on a core each." if facts["cores"] > 1 else "**There is one core for both.**")
        + "\n",
        "Medians of the rounds, and how far minimum and maximum lie from them. Messages per second, and for `large` "
        "bytes per second.\n",
        _table(
            ["case", *results.clients],
            [[row, *(_cell(figures.get((row, name)), row, name, results) for name in results.clients)] for row in rows],
        ),
        *([_NOTE] if TLS_ONLY & set(results.clients) else []),
        "## Versions\n",
        _table(["client", "version"], [[name, version] for name, version in results.versions.items()]),
    ]
    if compared:
        parts += ["## Ratios\n", _table(["case", "client", "against", "must", "is", "holds"], compared)]
    if results.missing or results.failures:
        parts.append("## What is missing\n")
        parts += [f"- **{name}** could not be measured: {_short(why)}" for name, why in results.missing.items()]
        parts += [f"- **{name}**, {case}: {_short(why)}" for (case, name), why in results.failures.items()]
        parts.append("")
    return "\n".join(parts)


def _unit(case: str) -> str:
    return "bytes/s" if case in CASES and CASES[case].in_bytes else "messages/s"


def _cell(values: list[float] | None, case: str, client: str, results: Results) -> str:
    if client in results.missing:
        return "**missing**"
    if values is None:
        return "**failed**" if (case, client) in results.failures else ""
    middle = median(values)
    spread = f" −{1 - min(values) / middle:.0%} +{max(values) / middle - 1:.0%}" if len(values) > 1 else ""
    mark = "†" if client in TLS_ONLY else ""
    failed = " **failed at times**" if (case, client) in results.failures else ""
    return f"{short(middle)}{mark}{spread}{failed}"


def short(number: float) -> str:
    """Three digits and a unit."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            scaled = number / factor
            return f"{scaled:.{2 if scaled < 10 else 1 if scaled < 100 else 0}f} {unit}"
    return f"{number:.0f}"


def _ratio(ratio: Ratio, medians: Mapping[Cell, float]) -> list[str]:
    value, holds = ratio.value(medians), ratio.holds(medians)
    must = f"≥ {ratio.must:g} ×" + (f", or {short(ratio.enough)}B/s" if ratio.enough else "")
    shown = "not measured" if value is None else f"{value:.3g} ×"
    return [ratio.case, ratio.client, ratio.peer, must, shown, "" if holds is None else "yes" if holds else "**NO**"]


def _table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _short(reason: str) -> str:
    return " ".join(reason.split())[-400:]
