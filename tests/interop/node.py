"""Where rhea comes from: installed once per machine, outside the tree."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

RHEA = "3"
SCRIPTS = Path(__file__).parent / "rhea"


def cache() -> Path:
    """The folder for what tests fetch."""
    given = os.environ.get("UAMQP_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uamqp"


def missing(reason: str) -> None:
    """Skip, or fail where nothing may be skipped."""
    text = f"interoperability with rhea is NOT tested: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def node_modules() -> Path:
    """The folder that has rhea in it; installs it where it is not there yet."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            missing(f"{program} is not installed")
    home = cache()
    folder = home / f"rhea-{RHEA}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "rhea.lock").open("w") as lock:
        # One at a time, and whole or not at all: several test runs may come here together.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            install(folder)
    return folder / "node_modules"


def install(folder: Path) -> None:
    """Fetch rhea into a new folder."""
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    command = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(scratch), f"rhea@{RHEA}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if done.returncode:
            missing(f"npm install failed: {done.stderr.strip()}")
        scratch.rename(folder)
    except subprocess.TimeoutExpired:
        missing("npm install took too long")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def environment(modules: Path) -> dict[str, str]:
    """The environment in which node finds rhea."""
    return {**os.environ, "NODE_PATH": str(modules)}
