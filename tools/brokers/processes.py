"""Starting and ending a broker's process group. Only processes that were started here are ever touched."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import guard
from .errors import BrokerError

LIFELINE_SECONDS = 10
"""How long a broker may take to stop after its owner has ended."""

_children: dict[int, subprocess.Popen[bytes]] = {}
"""The guards that this very process started: it has to reap them, and it holds their lifelines."""


@dataclass(frozen=True)
class Process:
    """A process, told from a later one with the same number by the time of its start (clock ticks since boot)."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process:
        """The process that has this number now."""
        fields = _stat(pid)
        if fields is None:
            raise BrokerError(f"process {pid} ended as soon as it was started")
        return cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether it runs; one that ended but was not waited for does not."""
        if (child := _children.get(self.pid)) is not None:
            child.poll()
        fields = _stat(self.pid)
        return fields is not None and fields[0] not in "ZX" and int(fields[19]) == self.started


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third, the state, on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def spawn(
    command: Sequence[str], *, env: Mapping[str, str], directory: Path, log: Path, detached: bool = False
) -> Process:
    """Start `command` under a guard in a session of its own; its output is added to `log`.

    Unless it is `detached`, it ends with the process that called this.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            guard.command(None if detached else LIFELINE_SECONDS, command),
            stdin=subprocess.DEVNULL if detached else subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=directory,
            start_new_session=True,
        )
    _children[child.pid] = child
    if detached:  # it may outlive this process, so the subprocess module shall not complain about that at the end
        atexit.register(setattr, child, "returncode", 0)
    return Process.of(child.pid)


def stop(process: Process, timeout: float) -> None:
    """End the process group politely, and by force when it has not ended within `timeout` seconds."""
    if _group_runs(process):
        _signal_group(process.pid, signal.SIGTERM)
        _wait_until_ended(process, timeout)
    kill(process)


def kill(process: Process, timeout: float = 10) -> None:
    """End the process group with SIGKILL, and wait until none of it is left."""
    if _group_runs(process):
        _signal_group(process.pid, signal.SIGKILL)
        if not _wait_until_ended(process, timeout):
            raise BrokerError(f"process {process.pid} does not end, not even by SIGKILL")
    child = _children.pop(process.pid, None)
    if child is not None:
        child.wait(timeout)
        if child.stdin is not None:
            child.stdin.close()


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        pass


def _wait_until_ended(process: Process, timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while _group_runs(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _group_runs(process: Process) -> bool:
    """Whether any process of the group runs: its leader, or others that outlived it."""
    if (child := _children.get(process.pid)) is not None:
        child.poll()
    leader = _stat(process.pid)
    if leader is not None and int(leader[19]) != process.started:
        return False  # the number was given to another process, so nobody of the group is left
    return any(_runs_in_group(int(entry), process.pid) for entry in os.listdir("/proc") if entry.isdigit())


def _runs_in_group(pid: int, group: int) -> bool:
    fields = _stat(pid)
    return fields is not None and int(fields[2]) == group and fields[0] not in "ZX"
