"""End to end, through real brokers and the embedded one: one sender, one receiver, bodies of 100 bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count as numbers
from pathlib import Path
from urllib.parse import quote

from tools.brokers import BROKERS, Broker

from .clients import AIO, PROTON_PYTHON, RHEA
from .clients.recipes import Command, environment_of
from .rounds import Work
from .running import Measurement, Placement, measure, pinned

CLIENTS = (AIO, PROTON_PYTHON, RHEA)
SIZE = 100
EMBEDDED = "embedded"
NAMES = (EMBEDDED, *BROKERS)

NewQueue = Callable[[], str]
"""Makes a queue; its URL."""


@contextmanager
def running(name: str, placement: Placement, python: Path, uamqp_path: Path) -> Iterator[NewQueue]:
    """A broker, as long as the block runs; raises BrokerError if there is none."""
    names = (f"bench-{number}" for number in numbers())
    if name == EMBEDDED:
        with _embedded(placement, python, uamqp_path) as url:
            yield lambda: f"{url}/{next(names)}"
        return
    with BROKERS[name].running() as broker:
        yield lambda: _declared(broker, next(names))


def _declared(broker: Broker, queue: str) -> str:
    broker.declare_queue(queue)
    login = f"{quote(broker.user, safe='')}:{quote(broker.password, safe='')}"
    return f"amqp://{login}@{broker.host}:{broker.port}/{broker.address(queue)}"


@contextmanager
def _embedded(placement: Placement, python: Path, uamqp_path: Path) -> Iterator[str]:
    command = [str(python), "-m", "uamqp", "broker", "--port", "0"]
    with subprocess.Popen(
        pinned(placement.peer, command),
        env=environment_of(uamqp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def works(name: str, new_queue: NewQueue, placement: Placement, commands: Mapping[str, Command]) -> Iterator[Work]:
    """What there is to do with one broker."""
    for client in CLIENTS:
        if client in commands:
            yield _there_and_back(name, new_queue, placement, client, commands[client])
    if name == EMBEDDED and AIO in commands:
        yield _through(name, new_queue, placement, AIO, commands[AIO])


def _there_and_back(name: str, new_queue: NewQueue, placement: Placement, client: str, command: Command) -> Work:
    def run(count: int) -> list[Measurement]:
        url = new_queue()
        return [
            measure(command, placement, ("send", url, count, SIZE), count, count),
            measure(command, placement, ("receive", url, count, SIZE), SIZE, count),
        ]

    return Work(client, (f"{name}: send", f"{name}: receive"), run)


def _through(name: str, new_queue: NewQueue, placement: Placement, client: str, command: Command) -> Work:
    def run(count: int) -> list[Measurement]:
        return [measure(command, placement, ("through", new_queue(), count, SIZE), SIZE, count)]

    return Work(client, (f"{name}: send and receive at once",), run)
