"""The folder for what is installed, outside the tree: atomic installs under a lock."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import BrokerError

BROKERS = "brokers"
"""The part of the cache that the brokers are in; others have parts of their own."""

INSTALL_TIMEOUT = 1800.0
"""Seconds that one installation may take, and so the longest that another process waits for it."""


def cache_dir(part: str = BROKERS) -> Path:
    """The folder `part` in `$UAMQP_CACHE`, else in `$XDG_CACHE_HOME/uamqp`, else in `~/.cache/uamqp`."""
    if chosen := os.environ.get("UAMQP_CACHE"):
        base = Path(chosen)
    elif xdg := os.environ.get("XDG_CACHE_HOME"):
        base = Path(xdg) / "uamqp"
    else:
        base = Path.home() / ".cache" / "uamqp"
    folder = base.absolute() / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str, timeout: float = INSTALL_TIMEOUT, part: str = BROKERS) -> Iterator[None]:
    """Hold the lock `name` against other processes and threads; the system frees it if this process dies."""
    deadline = time.monotonic() + timeout
    with (cache_dir(part) / f"{name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BrokerError(f"another process has held the lock {file.name} for {timeout:.0f} s")
                time.sleep(0.2)
        yield


def installed(name: str, build: Callable[[Path], None], part: str = BROKERS) -> Path:
    """The folder `name` of a part of the cache, filled by `build` if it is not there yet.

    `build` fills a folder with another name, which gets its real name only when it is whole: an interrupted
    installation is never taken for a finished one, and the next one begins anew.
    """
    folder = cache_dir(part) / name
    if folder.is_dir():
        return folder
    with locked(name, part=part):
        if not folder.is_dir():
            partial = folder.with_name(f"{name}.partial")
            remove_tree(partial)
            partial.mkdir()
            say(f"installing {name} into {folder} (once)", part)
            started = time.monotonic()
            build(partial)
            partial.rename(folder)
            say(f"installed {name} in {time.monotonic() - started:.1f} s", part)
    return folder


def remove_tree(folder: Path) -> None:
    """Remove a folder with all below it, after unmounting whatever is mounted there."""
    if not folder.exists():
        return
    unmount_below(folder)
    shutil.rmtree(folder)


def unmount_below(folder: Path) -> None:
    """Unmount all that an interrupted debootstrap may have left mounted in `folder`; raise if that fails."""
    for point in reversed(_mounts_below(folder)):
        os.spawnlp(os.P_WAIT, "umount", "umount", "-l", point)
    if left := _mounts_below(folder):
        raise BrokerError(f"still mounted, so {folder} is left alone: {', '.join(left)}")


def _mounts_below(folder: Path) -> list[str]:
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return []
    points = [line.split()[1].encode().decode("unicode_escape") for line in lines]
    return [point for point in points if Path(point).is_relative_to(folder.resolve())]


def say(text: str, part: str = BROKERS) -> None:
    """Tell a person what is going on, on the error stream: the answers go to the output stream."""
    print(f"{part}: {text}", file=sys.stderr, flush=True)
