"""What the brokers have in common: their connection facts, and how they are started, stopped and found again."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from . import certificates, ports, processes
from .cache import locked, remove_tree
from .errors import BrokerError, tail
from .places import Place
from .processes import Process

START_SECONDS = 90.0
STOP_SECONDS = 20.0

_RECORD = "broker.json"
"""The file in a run's folder by which another process finds the broker."""


@dataclass
class Broker(ABC):
    """One broker, with settings and data in a run's folder of its own; they outlive a stop, a kill and a restart."""

    name: ClassVar[str]
    """What the command line calls this kind of broker."""

    place: Place
    run: Path
    """The folder with this run's settings, data, certificates and log."""

    port: int
    tls_port: int
    management_port: int
    user: str
    password: str
    owner: Process | None
    """The process that the broker ends with; None if it goes on until it is told to end."""

    process: Process | None = None
    host: str = ports.LOOPBACK
    more_ports: list[int] = field(default_factory=list)

    # -- what each kind of broker says of itself

    @classmethod
    @abstractmethod
    def install(cls) -> Place:
        """Install the broker unless it is there, and say where it runs."""

    @classmethod
    @abstractmethod
    def _known_places(cls) -> list[Place]:
        """The places in which runs of this broker may be, without installing anything."""

    @abstractmethod
    def _configure(self) -> None:
        """Write the settings into the run's folder."""

    @abstractmethod
    def _command(self) -> tuple[list[str], dict[str, str]]:
        """The command that runs the broker in its place, and what it needs in its environment."""

    @abstractmethod
    def declare_queue(self, name: str) -> None:
        """Make a queue; no error if it is there already."""

    @abstractmethod
    def delete_queue(self, name: str) -> None:
        """Remove a queue with all that is in it; no error if there is none."""

    @abstractmethod
    def force_close_connections(self) -> None:
        """Let the broker close all connections of its users, as an administrator would."""

    # -- the facts that a client needs

    @property
    def ca_file(self) -> Path:
        """The authority that issued the broker's certificate."""
        return self.run / "tls/ca.pem"

    @property
    def client_cert(self) -> Path:
        """A certificate with which a client logs in as the user by SASL EXTERNAL."""
        return self.run / "tls/client.pem"

    @property
    def client_key(self) -> Path:
        return self.run / "tls/client.key"

    @property
    def log_file(self) -> Path:
        return self.run / "broker.log"

    @property
    def address_prefix(self) -> str:
        """What stands before a queue's name in an AMQP address of this broker."""
        return ""

    def address(self, queue: str) -> str:
        """The AMQP address of a queue."""
        return self.address_prefix + queue

    def facts(self) -> dict[str, str | int | None]:
        """All that a client in another process needs, fit for JSON."""
        return {
            "host": self.host,
            "port": self.port,
            "tls_port": self.tls_port,
            "management_port": self.management_port,
            "user": self.user,
            "password": self.password,
            "ca_file": str(self.ca_file),
            "client_cert": str(self.client_cert),
            "client_key": str(self.client_key),
            "address_prefix": self.address_prefix,
            "log_file": str(self.log_file),
            "run": str(self.run),
            "pid": self.process.pid if self.process else None,
        }

    # -- its life

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Self]:
        """A fresh broker for the length of a `with`. Its process, its data and its settings are gone afterwards."""
        broker = cls.create()
        try:
            broker.start()
            yield broker
        finally:
            broker.destroy()

    @classmethod
    def create(cls, *, detached: bool = False) -> Self:
        """Install if need be, and prepare a run; the broker is not started yet.

        A `detached` broker goes on when this process ends, until `destroy`.
        """
        place = cls.install()
        cls.sweep()
        place.runs.mkdir(parents=True, exist_ok=True)
        numbers = ports.free_ports(5)
        run = place.runs / f"{cls.name}-{secrets.token_hex(4)}"
        run.mkdir(mode=0o700)
        broker = cls(
            place=place,
            run=run,
            port=numbers[0],
            tls_port=numbers[1],
            management_port=numbers[2],
            more_ports=numbers[3:],
            user=f"user-{secrets.token_hex(3)}",
            password=secrets.token_urlsafe(18),
            owner=None if detached else Process.of(os.getpid()),
        )
        try:
            broker._save()
            certificates.make_ca(run / "tls")
            certificates.issue(run / "tls", "server")
            certificates.issue(run / "tls", "client", hosts=[], common_name=broker.user)
            broker._configure()
            place.hand_over(run)
        except BaseException:
            remove_tree(run)
            raise
        return broker

    def start(self, timeout: float = START_SECONDS) -> None:
        """Start it and wait until it speaks AMQP on both ports; nothing to do if it runs."""
        if self.alive():
            return
        self.stop()  # what may be left of a broker that ended by itself
        deadline = time.monotonic() + timeout
        command, env = self._command()
        all_ports = (self.port, self.tls_port, self.management_port)
        command, env = self.place.command(command, env, self.run, all_ports)
        self.process = processes.spawn(
            command, env=env, directory=self.run, log=self.log_file, detached=self.owner is None
        )
        try:
            self._save()
            ports.wait_for_amqp(self.port, ca_file=None, deadline=deadline, alive=self.alive)
            ports.wait_for_amqp(self.tls_port, ca_file=self.ca_file, deadline=deadline, alive=self.alive)
        except BaseException as error:
            self.kill()
            if isinstance(error, BrokerError):
                raise BrokerError(f"{self.name} did not start: {error}; {tail(self.log_file)}")
            raise

    def alive(self) -> bool:
        return self.process is not None and self.process.alive()

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop it politely (by force after `timeout` seconds). Its settings and data stay for another `start`."""
        if self.process is not None:
            processes.stop(self.process, timeout)
            self.place.end(self.run)

    def kill(self) -> None:
        """End it at once, by SIGKILL: it gets no chance to say goodbye or to save anything."""
        if self.process is not None:
            self.place.end(self.run)
            processes.kill(self.process)

    def restart(self) -> None:
        """Stop it politely, if it runs, and start it again on the same ports with its data."""
        self.stop()
        self.start()

    def destroy(self) -> None:
        """Stop it and remove its folder."""
        try:
            self.stop()
        finally:
            self.kill()
            remove_tree(self.run)

    # -- finding it again

    def _save(self) -> None:
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self) if item.name != "place"}
        for name in ("owner", "process"):
            values[name] = values[name] and dataclasses.asdict(values[name])
        path = self.run / _RECORD
        partial = path.with_suffix(".partial")
        partial.touch(mode=0o600)
        partial.write_text(json.dumps(values, default=str, indent=2))
        partial.replace(path)

    @classmethod
    def _load(cls, place: Place, run: Path) -> Self | None:
        try:
            values: dict[str, Any] = json.loads((run / _RECORD).read_text())
        except (OSError, ValueError):
            return None
        for name in ("owner", "process"):
            values[name] = values[name] and Process(**values[name])
        return cls(**{**values, "place": place, "run": run})

    @classmethod
    def _recorded(cls) -> list[Self]:
        found = [
            cls._load(place, run) for place in cls._known_places() for run in sorted(place.runs.glob(f"{cls.name}-*"))
        ]
        return [broker for broker in found if broker is not None]

    @classmethod
    def attached(cls) -> Self | None:
        """The broker that the command `up` started and that may be down at the moment, or None."""
        return next((broker for broker in cls._recorded() if broker.owner is None), None)

    @classmethod
    def sweep(cls) -> None:
        """Destroy what is left of brokers whose owners ended without doing it."""
        with locked(f"{cls.name}-sweep"):
            for broker in cls._recorded():
                if broker.owner is not None and not broker.owner.alive():
                    broker.destroy()
