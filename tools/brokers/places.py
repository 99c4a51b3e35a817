"""Where a broker runs: straight on this machine, in a Debian root folder by chroot, or in a container.

A place turns a command with its environment into what has to be started here, and says which folder the runs' files
go into. All else is the same everywhere.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cache import cache_dir
from .commands import answer
from .ports import LOOPBACK


@dataclass(frozen=True)
class Place:
    """Straight on this machine."""

    home: Path
    """Where the broker's distribution is, as the broker sees it."""

    listen = LOOPBACK
    """The address to listen on."""

    @property
    def runs(self) -> Path:
        """The folder in which each run has a folder for its settings and data."""
        return cache_dir() / "runs"

    def inside(self, path: Path) -> Path:
        """A path of this machine as the broker sees it."""
        return path

    def hand_over(self, directory: Path) -> None:
        """Give the files of a run to the user that the broker runs as."""

    def command(
        self, command: Sequence[str], env: Mapping[str, str], run: Path, ports: Sequence[int]
    ) -> tuple[list[str], dict[str, str]]:
        """What to start here, and its environment, so that `command` runs in this place."""
        return list(command), {**os.environ, **env}

    def end(self, run: Path) -> None:
        """End what would go on when the started process is killed."""


@dataclass(frozen=True)
class Chroot(Place):
    """In a root folder with a Debian of its own, as a user without rights. Nothing needs to be mounted for it."""

    root: Path

    user = 65534
    """The number of nobody, in there as out here."""

    @property
    def runs(self) -> Path:
        return self.root / "srv/runs"

    def inside(self, path: Path) -> Path:
        return Path("/") / path.relative_to(self.root)

    def hand_over(self, directory: Path) -> None:
        self.runs.chmod(0o755)
        for path in (directory, *directory.rglob("*")):
            os.chown(path, self.user, self.user, follow_symlinks=False)

    def command(
        self, command: Sequence[str], env: Mapping[str, str], run: Path, ports: Sequence[int]
    ) -> tuple[list[str], dict[str, str]]:
        chroot = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin") or "chroot"
        full = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", **env}
        return [chroot, f"--userspec={self.user}:{self.user}", str(self.root), *command], full


@dataclass(frozen=True)
class Container(Place):
    """In a container of an official image. (Not tested: no machine of this project has had a container engine.)

    The run's folder has the same path inside and outside, and each port the same number.
    """

    image: str

    listen = "0.0.0.0"

    def command(
        self, command: Sequence[str], env: Mapping[str, str], run: Path, ports: Sequence[int]
    ) -> tuple[list[str], dict[str, str]]:
        docker = ["docker", "run", "--rm", f"--name={self._name(run)}", f"--user={os.getuid()}:{os.getgid()}"]
        docker += [f"--volume={run}:{run}", f"--workdir={run}", f"--entrypoint={command[0]}"]
        docker += [f"--env={name}={value}" for name, value in env.items()]
        docker += [f"--publish={LOOPBACK}:{port}:{port}" for port in ports]
        return [*docker, self.image, *command[1:]], dict(os.environ)

    def end(self, run: Path) -> None:
        """Killing the docker client does not end its container, so the engine is asked to."""
        answer(["docker", "rm", "--force", self._name(run)], timeout=60)

    @staticmethod
    def _name(run: Path) -> str:
        return f"uamqp-{run.name}"


@functools.cache
def container_engine() -> bool:
    """Whether a container engine answers here."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
