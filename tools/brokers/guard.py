"""Runs one command and sees to it that nothing of it is left; started by `command` below as a script of its own.

    python guard.py SECONDS COMMAND [ARGUMENT]...

The guard leads a process group in which the command and its helpers run (a broker and epmd, say). When the command
ends, the guard ends the rest of the group. It is also a lifeline: when the guard's standard input closes, it stops the
group politely, and after SECONDS by force. That happens when the process that started it ends in any way, even by
SIGKILL, so a test run that is cut short leaves nothing behind. With "forever" for SECONDS there is no lifeline.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence

FOREVER = "forever"


def command(seconds: int | None, argv: Sequence[str]) -> list[str]:
    """What to start, in a session of its own, to run `argv` under a guard; without `seconds` it has no lifeline."""
    limit = FOREVER if seconds is None else str(seconds)
    return [sys.executable, "-S", "-E", __file__, limit, *argv]


def main(seconds: str, argv: list[str]) -> int:
    # A handler that does nothing, not SIG_IGN, which the command would inherit: it shall end by this signal.
    signal.signal(signal.SIGTERM, lambda *_: None)
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    if seconds != FOREVER:
        threading.Thread(target=stop_when_input_closes, args=(int(seconds),), daemon=True).start()
    status = process.wait()
    os.killpg(0, signal.SIGTERM)
    return status if status >= 0 else 128 - status


def stop_when_input_closes(seconds: int) -> None:
    os.read(sys.stdin.fileno(), 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(seconds)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
