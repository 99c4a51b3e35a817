"""A client in a process of its own, on one core, with a counterpart of its own on another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .. import counterpart

SECONDS = 150.0
"""That a client may take; most take one or two."""


class ClientFailed(Exception):
    """A client gave no figures; its text says why."""


def cores() -> tuple[int, int]:
    """The cores of the client and of its peer: the same where there is only one."""
    first, *_, last = 2 * sorted(os.sched_getaffinity(0))
    return first, last


def client_command(name: str, *arguments: object) -> list[str]:
    """How one of the programs in `clients` is started."""
    pinned = ["taskset", "--cpu-list", str(cores()[0])]
    return [*pinned, sys.executable, "-m", f"{__package__}.clients.{name}", *map(str, arguments)]


@contextmanager
def broker() -> Iterator[str]:
    """The embedded broker, in a process of its own; its URL.

    Other than the counterpart it hands on what it is sent, and asks for heartbeats, every 30 seconds.
    """
    command = [sys.executable, "-m", "uamqp", "broker", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise ClientFailed("the embedded broker did not start; its command line needs uamqp[cli]")
            yield url
        finally:
            process.terminate()


def figures_of(name: str, *arguments: object) -> Any:
    """Run a client against a new counterpart, whose URL is its first argument; what it prints."""
    with counterpart.running(cores()[1]) as port:
        return printed(client_command(name, f"amqp://127.0.0.1:{port}", *arguments))


def printed(command: list[str]) -> Any:
    """Run a client; what it prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise ClientFailed(f"no figures within {SECONDS:g} s") from None
    if done.returncode:
        *_, reason = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise ClientFailed(reason)
    return json.loads(done.stdout)
