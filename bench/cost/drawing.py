"""Draws the charts with a matplotlib that is installed into the cache, so that nothing else depends on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..building import build_command, built

PACKAGE = "matplotlib==3.10.*"
SECONDS = 120.0


def draw(figures: Path, folder: Path) -> None:
    """Draw what the JSON file holds into the folder."""
    packages = built("charts", _install, recipe=f"{PACKAGE} for {sys.implementation.cache_tag}")
    command = [sys.executable, "-m", f"{__package__}.charts", str(figures), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(packages), "MPLCONFIGDIR": str(packages)}
    subprocess.run(command, env=environment, check=True, timeout=SECONDS)


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--only-binary", ":all:"]
    build_command(folder, [*pip, "--target", folder, PACKAGE])
