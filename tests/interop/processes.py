"""Programs that tests run beside themselves: bounded in time, and ended by their id."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.broker.helpers import BOUND, eventually

#: Seconds for a program that does one thing and ends.
RUN_BOUND = 30.0


def _start(command: Sequence[object], **options: Any) -> subprocess.Popen[str]:
    words = [str(word) for word in command]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


class Talker:
    """A program that says what happens in lines of JSON, until its standard input is closed.

    Attributes:
        events: what it said.
        noise: the lines that are no JSON.
    """

    def __init__(self, command: Sequence[object], environment: dict[str, str] | None = None) -> None:
        self.events: list[dict[str, Any]] = []
        self.noise: list[str] = []
        self._process = _start(command, stdin=subprocess.PIPE, env=environment)
        self._first = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                self.events.append(json.loads(line))
            else:
                self.noise.append(line)
            self._first.set()
        self._first.set()

    def url(self) -> str:
        """Where it listens, which is the first thing it says."""
        self._first.wait(RUN_BOUND)
        assert self.events, self.noise
        return f"amqp://127.0.0.1:{self.events[0]['port']}"

    async def about(self, address: str, count: int = 1) -> list[dict[str, Any]]:
        """What it said of an address, once that are so many things."""
        await eventually(lambda: len(self._about(address)) >= count)
        return self._about(address)

    def _about(self, address: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event.get("address") == address]

    def end(self) -> None:
        """Stop the program."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(BOUND)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._reader.join(BOUND)
        process.stdout.close()


@contextmanager
def talking(command: Sequence[object], environment: dict[str, str] | None = None) -> Iterator[Talker]:
    """The program runs as long as the block."""
    talker = Talker(command, environment)
    try:
        yield talker
    finally:
        talker.end()


@contextmanager
def broker_process(*options: object) -> Iterator[str]:
    """The embedded broker as a program of its own; its URL."""
    command = [sys.executable, "-m", "uamqp", "broker", "--port", 0, *options]
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("amqp"), url + process.stdout.read()
        yield url
    finally:
        process.terminate()
        rest, _ = process.communicate(timeout=RUN_BOUND)
    assert process.returncode == 0, rest
    assert "Error" not in rest, rest


def run(command: Sequence[object], environment: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Run a program to its end; what it said in lines of JSON."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=RUN_BOUND,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
