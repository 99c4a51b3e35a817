"""Running outside commands with a bound in time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import guard
from .errors import BrokerError, tail


def run(argv: Sequence[str], *, log: Path, timeout: float, env: Mapping[str, str] | None = None) -> None:
    """Run a command to its end; its output goes into `log`. On failure or time-out raise with the log's tail.

    If this process is ended meanwhile, so is the command.
    """
    with (
        log.open("ab") as output,
        subprocess.Popen(
            guard.command(0, argv),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,
        ) as process,
    ):
        try:
            status = process.wait(timeout)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise BrokerError(f"{argv[0]} did not finish within {timeout:.0f} s; {tail(log)}")
            raise
    if status:
        raise BrokerError(f"{argv[0]} failed with status {status}; {tail(log)}")


def answer(argv: Sequence[str], timeout: float = 30) -> str | None:
    """What a quick command prints, or None where it is missing, fails or does not answer in time."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def need(program: str, why: str) -> None:
    """Raise unless `program` is on the PATH."""
    if shutil.which(program) is None:
        raise BrokerError(f"the program {program!r} is missing: {why}")
