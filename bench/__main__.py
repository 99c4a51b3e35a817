"""The command line: python -m bench."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tools.brokers import BrokerError

from . import brokers, matrix, report
from .building import BuildError, say
from .cases import CASES
from .clients import Client, clients
from .clients.recipes import Command, answer
from .rounds import Results, take_turns
from .running import Failed, Placement, version

ROOT = Path(__file__).parents[1]
SECONDS, QUICK_SECONDS = 1.5, 0.3

T = TypeVar("T")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure uamqp beside its peers.")
    parser.add_argument("--cases", metavar="A,B", help=f"of {', '.join(CASES)}")
    parser.add_argument("--clients", metavar="A,B", help="some of the columns of the table")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each figure (5)")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    parser.add_argument("--brokers", action="store_true", help="also end to end through real brokers")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="put bench.json and bench.md there")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the interpreter for clients in Python"
    )
    parser.add_argument(
        "--uamqp-path", type=Path, default=ROOT / "src", metavar="PATH", help="the folder with the package uamqp (src)"
    )
    parser.add_argument(
        "--compiled-path", type=Path, metavar="PATH", help="a folder with a compiled build of it, to be measured too"
    )
    options = parser.parse_args(arguments)
    every = clients(
        options.python, options.uamqp_path.resolve(), options.compiled_path and options.compiled_path.resolve()
    )
    try:
        chosen, cases = _chosen(options.clients, every), _chosen(options.cases, CASES)
    except KeyError as error:
        parser.error(f"there is no {error.args[0]!r}; there are: {', '.join((*every, *CASES))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    rounds, seconds = (1, QUICK_SECONDS) if options.quick else (options.rounds, SECONDS)
    results = Results([client.name for client in chosen])
    try:
        commands = _prepare(chosen, results)
        placement = Placement.of_this_machine()
        with matrix.counterparts(placement) as peers:
            take_turns(matrix.works(peers, placement, cases, chosen, commands), rounds, seconds, results)
        for name in brokers.NAMES if options.brokers else ():
            try:
                with brokers.running(name, placement, options.python, options.uamqp_path) as new_queue:
                    take_turns(brokers.works(name, new_queue, placement, commands), rounds, seconds, results)
            except BrokerError as error:
                say(f"{name} is MISSING: {error}")
                results.missing[name] = str(error)
    except BuildError as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    python = answer(options.python, "--version").strip()
    _write(results, {"rounds": rounds, "seconds": seconds, "python": python}, options.output)
    return 1 if results.missing or results.failures else 0


def _chosen(names: str | None, every: Mapping[str, T]) -> Sequence[T]:
    return list(every.values()) if names is None else [every[name.strip()] for name in names.split(",")]


def _prepare(chosen: Sequence[Client], results: Results) -> dict[str, Command]:
    """Build and install what is to be measured."""
    commands = {}
    for client in chosen:
        try:
            command = client.prepare()
            results.versions[client.name] = version(command)
            commands[client.name] = command
        except (BuildError, Failed) as error:
            say(f"{client.name} is MISSING: {error}")
            results.missing[client.name] = str(error)
    return commands


def _write(results: Results, settings: Mapping[str, float | str], folder: Path | None) -> None:
    tables = report.as_markdown(results, settings)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.md").write_text(tables)
        (folder / "bench.json").write_text(json.dumps(report.as_json(results, settings), indent=2) + "\n")
    print(tables)


if __name__ == "__main__":
    sys.exit(main())
