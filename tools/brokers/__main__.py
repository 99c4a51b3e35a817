"""The command line: python -m tools.brokers up | down | restart | kill | install."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from . import BROKERS, Broker, BrokerError
from .cache import cache_dir, locked, say


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.brokers", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    several = {
        "install": "install into the cache, start nothing",
        "up": "install, start, and print the connection facts as JSON",
        "down": "stop what `up` started and remove its data",
    }
    single = {
        "restart": "stop politely, or start again what is down; the data stays",
        "kill": "end by SIGKILL; the data stays",
    }
    for command, text in several.items():
        names = commands.add_parser(command, help=text, description=text)
        names.add_argument("names", nargs="*", metavar="NAME", help=f"{' or '.join(BROKERS)}; all if none is given")
    for command, text in single.items():
        names = commands.add_parser(command, help=text, description=text)
        names.add_argument("names", nargs=1, choices=list(BROKERS), metavar="NAME", help=" or ".join(BROKERS))
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in BROKERS:
            parser.error(f"there is no broker {name!r}, only {' and '.join(BROKERS)}")
    kinds = [BROKERS[name] for name in dict.fromkeys(options.names)] or list(BROKERS.values())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a broker half started is ended
    try:
        with locked("command-line"):
            carry_out(options.command, kinds)
    except BrokerError as error:
        say(str(error))
        return 1
    return 0


def carry_out(command: str, kinds: list[type[Broker]]) -> None:
    for kind in kinds:
        match command:
            case "install":
                kind.install()
            case "up":
                up(kind)
            case "down":
                down(kind)
            case "restart":
                started(kind).restart()
            case "kill":
                started(kind).kill()
    record()


def up(kind: type[Broker]) -> None:
    """Start the broker unless it is up already."""
    broker = kind.attached()
    if broker is not None:
        broker.start()
        return
    broker = kind.create(detached=True)
    try:
        broker.start()
    except BaseException:
        broker.destroy()
        raise


def down(kind: type[Broker]) -> None:
    while (broker := kind.attached()) is not None:
        broker.destroy()
    kind.sweep()


def started(kind: type[Broker]) -> Broker:
    broker = kind.attached()
    if broker is None:
        raise BrokerError(f"{kind.name} was not started by the command `up`")
    return broker


def record() -> None:
    """Print the facts of the brokers that are up, and save them in the cache folder."""
    path = facts_file()
    facts = {name: broker.facts() for name, kind in BROKERS.items() if (broker := kind.attached()) and broker.alive()}
    if facts:
        path.touch(mode=0o600)
        path.write_text(json.dumps(facts, indent=2) + "\n")
        print(json.dumps(facts, indent=2))
    else:
        path.unlink(missing_ok=True)


def facts_file() -> Path:
    return cache_dir() / "up.json"


if __name__ == "__main__":
    sys.exit(main())
