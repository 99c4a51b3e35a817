"""The system calls of a process whose connections are idle, seen from outside."""

from __future__ import annotations

import re
import select
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from tools.brokers.debian import apt_install

from .figures import Figures, Idle
from .process import ClientFailed, broker, client_command

MARK = 'write(1, "idle'
"""How the client's word that all connections are open looks in a trace."""

OPENING = 120.0
"""Seconds that the connections may take to open, as the trace slows them down."""

_CALL = re.compile(r"\d+ +(?P<time>[0-9.]+) (?P<name>\w+)\(")


def measure_idle(figures: Figures, connections: int, seconds: float) -> None:
    """Count the calls from when the process waits for the first time after all are open, for so many seconds."""
    with (
        figures.measuring(f"{connections:,} idle connections, {seconds:g} s"),
        tempfile.TemporaryDirectory() as name,
    ):
        folder = Path(name)
        if shutil.which("strace") is None:
            apt_install(["strace"], folder / "apt.log")
        trace = folder / "trace"
        with broker() as url:
            until = _leave_alone(client_command("idle", url, connections), trace, seconds)
        begun, calls = _calls_after_mark(trace, until)
        still = (calls[0][0] if calls else until) - begun
        figures.idle.append(Idle(connections, until - begun, still, dict(Counter(name for _, name in calls))))


def _leave_alone(command: list[str], trace: Path, seconds: float) -> float:
    """Run the client under strace, and end it so many seconds after its connections are open; the time of that."""
    strace = ["strace", "--follow-forks", "--absolute-timestamps=unix,us", f"--output={trace}"]
    with subprocess.Popen(
        [*strace, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stderr is not None
        with client.stdin:
            opened = select.select([client.stdout], [], [], OPENING)[0] and client.stdout.readline()
            if opened:
                time.sleep(seconds)
            until = time.time()
        reason = client.stderr.read().strip()
    if not opened or client.returncode:
        raise ClientFailed(reason.rpartition("\n")[2] or f"no connections within {OPENING:g} s")
    return until


def _calls_after_mark(trace: Path, until: float) -> tuple[float, list[tuple[float, str]]]:
    """When the process began to wait, and its calls after that."""
    lines = trace.read_text().partition(MARK)[2].splitlines()
    calls = [(float(call["time"]), call["name"]) for call in map(_CALL.match, lines) if call]
    calls = [(moment, name) for moment, name in calls if moment <= until]
    waiting = next(index for index, (_, name) in enumerate(calls) if name.startswith("epoll_"))
    return calls[waiting][0], calls[waiting + 1 :]
