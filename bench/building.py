"""What the benchmark builds and installs goes into its part of the cache, once for each state of its sources."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tools.brokers import cache
from tools.brokers.commands import run
from tools.brokers.errors import BrokerError as BuildError

__all__ = ["BuildError", "build_command", "built", "say"]

PART = "bench"
BUILD_SECONDS = 900.0

say = partial(cache.say, part=PART)


def built(name: str, build: Callable[[Path], None], sources: Sequence[Path] = (), recipe: str = "") -> Path:
    """The cache's folder for `name`, filled by `build` unless these very sources were built by this recipe before."""
    digest = hashlib.sha256(recipe.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return cache.installed(f"{name}-{digest.hexdigest()[:12]}", build, PART)


def build_command(folder: Path, command: Sequence[object], environment: Mapping[str, str] | None = None) -> None:
    """Run one command of a recipe; raise BuildError with the end of its output if it fails."""
    run([str(word) for word in command], log=folder / "build.log", timeout=BUILD_SECONDS, env=environment)
