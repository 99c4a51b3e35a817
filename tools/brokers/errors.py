"""The one exception of this package."""

from __future__ import annotations

from pathlib import Path


class BrokerError(Exception):
    """A broker could not be installed, started or managed; the text says why and what to do."""


def tail(log: Path, lines: int = 30) -> str:
    """The last `lines` lines of a log file, to be put into an error."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    last = "\n".join(text.splitlines()[-lines:])
    return f"the last lines of {log}:\n{last}"
