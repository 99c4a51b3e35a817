"""The cases against the counterpart, for every client that can do them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.brokers.certificates import issue, make_ca

from . import counterpart
from .cases import Case
from .clients import TLS_ONLY, Client
from .clients.recipes import Command
from .rounds import Work
from .running import Measurement, Placement, measure


@dataclass(frozen=True)
class Counterparts:
    """Where the two counterparts listen, and whom to trust to know the one with TLS."""

    port: int
    tls_port: int
    ca_file: Path


@contextmanager
def counterparts(placement: Placement) -> Iterator[Counterparts]:
    """Both of them, as long as the block runs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="uamqp-bench-")))
        ca_file = make_ca(folder)
        # There are clients that look for an address in the common name only.
        certificate = issue(folder, "counterpart", common_name="127.0.0.1")
        yield Counterparts(
            stack.enter_context(counterpart.running(placement.peer)),
            stack.enter_context(counterpart.running(placement.peer, certificate)),
            ca_file,
        )


def works(
    peers: Counterparts,
    placement: Placement,
    cases: Sequence[Case],
    clients: Sequence[Client],
    commands: Mapping[str, Command],
) -> Iterator[Work]:
    """What there is to do."""
    for case in cases:
        for client in clients:
            if client.name in commands and case.operation in client.operations:
                yield _work(peers, placement, case, client, commands[client.name])


def _work(peers: Counterparts, placement: Placement, case: Case, client: Client, command: Command) -> Work:
    tls = case.tls or client.name in TLS_ONLY
    port = peers.tls_port if tls else peers.port
    url = f"{'amqps' if tls else 'amqp'}://127.0.0.1:{port}/{case.address}"

    def run(count: int) -> list[Measurement]:
        arguments = (case.operation, url, count, case.size, *([peers.ca_file] if tls else []))
        return [measure(command, placement, arguments, case.tally(count), count)]

    return Work(client.name, (case.name,), run, case.count, case.first_count)
