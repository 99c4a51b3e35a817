"""What every program is told on its command line, and what it answers.

PROGRAM OPERATION URL COUNT SIZE [CA]     prints the seconds that it took, and a tally that proves what was done
PROGRAM version                           prints the version of what is measured

The tally of the operations that send is the number of messages accepted; of those that receive, the number of bytes in
the last body, and with receive-rich what `rich_tally` makes of the last message.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

CREDIT = 1000
"""Messages that a receiver lets the peer send ahead, where so many are wanted: the same for every client."""

MESSAGE_LIMIT = 1 << 30
"""Bytes of a message that a receiver takes, where it has to be told."""


@dataclass(frozen=True)
class Task:
    """One measurement."""

    operation: str
    host: str
    port: int
    address: str
    count: int
    size: int
    ca_file: str | None = None
    user: str | None = None
    password: str | None = None

    @property
    def scheme(self) -> str:
        return "amqps" if self.ca_file else "amqp"

    @property
    def server(self) -> str:
        """The URL without credentials and address."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @property
    def credit(self) -> int:
        """Messages that the peer may send ahead."""
        return min(CREDIT, self.count)

    @property
    def body(self) -> bytes:
        """What is sent."""
        return b"x" * self.size


class Result:
    """Seconds and tally."""

    def __init__(self) -> None:
        self._begun = 0.0
        self._answer: str | None = None

    def begin(self) -> None:
        """Just before the first send, or before credit is given."""
        self._begun = time.perf_counter()

    def end(self, tally: int) -> None:
        """Just after the last outcome, or the last message was accepted."""
        self._answer = f"{time.perf_counter() - self._begun:.6f} {tally}"

    def __str__(self) -> str:
        if self._answer is None:
            raise RuntimeError("the work was not finished")
        return self._answer


def texts_of(properties: Any) -> tuple[str | bytes, ...]:
    """The six texts of a rich message, by the names that most clients in Python have for them."""
    return (
        properties.message_id,
        properties.to,
        properties.subject,
        properties.reply_to,
        properties.correlation_id,
        properties.content_type,
    )


def rich_tally(texts: Sequence[Any], created: Any, region: Any, quantity: Any, express: Any, size: int) -> int:
    """One number from all that a rich message holds: six texts, milliseconds, three application properties, a body."""
    milliseconds = round(created.timestamp() * 1000) if isinstance(created, datetime) else created
    return int(sum(map(len, texts)) + milliseconds // 1_000_000_000 + len(region) + quantity + express + size)


def run(version: str, measure: Callable[[Task, Result], None]) -> None:
    """Do what the command line says."""
    if sys.argv[1:] == ["version"]:
        print(version)
        return
    operation, url, count, size, *ca_file = sys.argv[1:]
    parts = urlsplit(url)
    task = Task(
        operation,
        parts.hostname or "",
        parts.port or 0,
        parts.path[1:],
        int(count),
        int(size),
        ca_file[0] if ca_file else None,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )
    result = Result()
    measure(task, result)
    print(result)
