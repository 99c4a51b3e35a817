"""The brokers that the live tests run against, behind one face.

Each is a process of its own. Which ones take part says UAMQP_LIVE_PEERS: names with commas between them, of
"embedded", "rabbitmq" and "artemis"; "embedded" alone where it is not set.
"""

from __future__ import annotations

import os
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from tools.brokers.certificates import issue, make_ca


class Peer(ABC):
    """A broker to test against.

    Attributes:
        name: which one it is.
        host, port, tls_port: where it listens, plain and with TLS.
        ca_file: the authority of its certificate.
        user, password: who may come in.
    """

    name: str
    host: str
    port: int
    tls_port: int
    ca_file: Path
    user: str
    password: str

    def url(self, *, tls: bool = False, credentials: bool = True, path: str = "") -> str:
        """Where to connect."""
        who = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@" if credentials else ""
        return f"{'amqps' if tls else 'amqp'}://{who}{self.host}:{self.tls_port if tls else self.port}/{path}"

    @abstractmethod
    def queue(self, name: str | None = None) -> str:
        """Make sure that there is an empty queue; returns its plain name, a new one by default."""

    @abstractmethod
    def delete_queue(self, name: str) -> None:
        """Delete the queue under its consumers."""

    @abstractmethod
    def close_connections(self) -> None:
        """Make the broker close all its connections."""

    @abstractmethod
    def restart(self) -> None:
        """Stop and start it, on the same ports."""


class Embedded(Peer):
    """Two processes of the embedded broker, one plain and one with TLS; they do not share queues."""

    name = "embedded"
    host = "localhost"

    def __init__(self, folder: Path) -> None:
        self.user, self.password = "user", "pass word/@:"
        self.ca_file = make_ca(folder)
        self._cert, self._key = issue(folder, "broker")
        self._processes: list[subprocess.Popen[str]] = []
        self.port = self.tls_port = 0
        self.start()

    def start(self) -> None:
        self.port = self._start(self.port)
        self.tls_port = self._start(self.tls_port, "--tls-cert", str(self._cert), "--tls-key", str(self._key))

    def _start(self, port: int, *options: str) -> int:
        command = [sys.executable, "-m", "uamqp", "broker", "--host", "127.0.0.1", "--port", str(port), *options]
        command += ["--user", f"{self.user}:{self.password}"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        return int(process.stdout.readline().rpartition(":")[2])

    def stop(self) -> None:
        processes, self._processes = self._processes, []
        for process in processes:
            process.terminate()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()

    def queue(self, name: str | None = None) -> str:
        return name or f"queue-{uuid4()}"

    def delete_queue(self, name: str) -> None:
        self._manage("DELETE", name)

    def close_connections(self) -> None:
        # It has no management call for that: it closes them when it stops.
        self.restart()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _manage(self, operation: str, name: str) -> None:
        from uamqp.sync import Message, Properties, connect

        with connect(self.url()) as connection:
            replies = connection.receiver(None, dynamic=True)
            sender = connection.sender("$management")
            sender.send(
                Message(
                    None,
                    properties=Properties(message_id=1, reply_to=replies.address),
                    application_properties={"operation": operation, "type": "queue", "name": name},
                )
            )
            status = replies.receive().message.application_properties["statusCode"]
            assert status in (204, 404), status


class Real(Peer):
    """RabbitMQ or Artemis, as `tools.brokers` runs them."""

    host = "localhost"

    def __init__(self, broker: object) -> None:
        self._broker: object = broker
        facts = self._broker
        self.port, self.tls_port = facts.port, facts.tls_port  # type: ignore[attr-defined]
        self.user, self.password = facts.user, facts.password  # type: ignore[attr-defined]
        self.ca_file = Path(facts.ca_file)  # type: ignore[attr-defined]

    def queue(self, name: str | None = None) -> str:
        name = name or f"queue-{uuid4()}"
        self._broker.declare_queue(name)  # type: ignore[attr-defined]
        return name

    def delete_queue(self, name: str) -> None:
        self._broker.delete_queue(name)  # type: ignore[attr-defined]

    def close_connections(self) -> None:
        self._broker.force_close_connections()  # type: ignore[attr-defined]

    def restart(self) -> None:
        self._broker.restart()  # type: ignore[attr-defined]


@contextmanager
def embedded(folder: Path) -> Iterator[Peer]:
    """The embedded broker in processes of its own."""
    peer = Embedded(folder)
    try:
        yield peer
    finally:
        peer.stop()


@contextmanager
def rabbitmq(folder: Path) -> Iterator[Peer]:
    """RabbitMQ 4, installed where it is not there."""
    from tools.brokers import RabbitMQ

    with RabbitMQ.running() as broker:
        peer = Real(broker)
        peer.name = "rabbitmq"
        yield peer


@contextmanager
def artemis(folder: Path) -> Iterator[Peer]:
    """Apache ActiveMQ Artemis, installed where it is not there."""
    from tools.brokers import Artemis

    with Artemis.running() as broker:
        peer = Real(broker)
        peer.name = "artemis"
        yield peer


FACTORIES: dict[str, Callable[[Path], object]] = {"embedded": embedded, "rabbitmq": rabbitmq, "artemis": artemis}


def chosen() -> list[str]:
    """The names of the peers that take part."""
    names = [name.strip() for name in os.environ.get("UAMQP_LIVE_PEERS", "embedded").split(",") if name.strip()]
    unknown = set(names) - set(FACTORIES)
    if unknown or not names:
        raise ValueError(f"UAMQP_LIVE_PEERS has unknown peers: {', '.join(unknown) or 'none given'}")
    return names
