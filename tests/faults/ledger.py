"""The books of a run: what became of each message, on either side, and what of that must not be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf

from uamqp.exceptions import AMQPError
from uamqp.testing import Outcome, outcome_of

ACCEPTED = Outcome.ACCEPTED.value
IN_DOUBT = Outcome.IN_DOUBT.value
NOT_SENT = Outcome.NOT_SENT.value
REFUSED = "refused"


def meaning(error: AMQPError) -> str:
    """What a sender knows of a message whose `send` raised this."""
    outcome = outcome_of(error)
    return REFUSED if outcome in (Outcome.REJECTED, Outcome.RELEASED, Outcome.MODIFIED) else outcome.value


@dataclass(slots=True)
class _Arrival:
    when: float
    settled: float = inf
    #: Known to be done at the peer, too.
    confirmed: float = inf


@dataclass(slots=True)
class _Entry:
    attempted: float
    told_at: float = inf
    told: str = ""
    arrivals: list[_Arrival] = field(default_factory=list)


@dataclass
class Findings:
    """What is wrong; each is a list of message numbers.

    Attributes:
        lost: accepted, and never received.
        missing: never received, and not told that it was not sent.
        invented: received, but never sent, or told that it was not; or not what was sent.
        duplicates: received again though that has no excuse.
        untold: the sender was told nothing.
        excused: received again, with an excuse; not wrong.
    """

    lost: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    invented: list[int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    untold: list[int] = field(default_factory=list)
    excused: list[int] = field(default_factory=list)

    def hold(self, *, resend: bool) -> bool:
        """Whether nothing is wrong. With `resend`, also messages in doubt must arrive."""
        return not (self.lost or self.invented or self.duplicates or self.untold or (resend and self.missing))


class Ledger:
    """Every message has a number; the body tells it, so that one that comes back altered is noticed.

    Attributes:
        received: messages that arrived, each counted once.
    """

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._strange: list[int] = []
        self._cuts: list[list[float]] = []
        # Counted as they come, because there may be millions.
        self.received = 0
        self._told: Counter[str] = Counter()
        self._open: set[int] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def attempt(self, size: int = 0) -> tuple[int, bytes]:
        """A new message, about to be sent: its number and its body, of at least `size` bytes."""
        number = len(self._entries)
        self._entries[number] = _Entry(time.monotonic())
        self._open.add(number)
        return number, _body(number, size)

    def tell(self, number: int, what: str) -> None:
        """The sender was told its fate."""
        entry = self._entries[number]
        assert not entry.told, f"message {number}: {entry.told}, then {what}"
        entry.told, entry.told_at = what, time.monotonic()
        self._told[what] += 1
        if what in (NOT_SENT, REFUSED):
            self._open.discard(number)

    def receive(self, body: bytes) -> int:
        """It arrived."""
        number = int(body.partition(b":")[0])
        entry = self._entries.get(number)
        if entry is None or body != _body(number, len(body)):
            self._strange.append(number)
        if entry is not None:
            self.received += not entry.arrivals
            self._open.discard(number)
            entry.arrivals.append(_Arrival(time.monotonic()))
        return number

    def settle(self, number: int) -> None:
        """The last arrival was accepted: said, whether or not it was heard."""
        self._entries[number].arrivals[-1].settled = time.monotonic()

    def confirm(self, number: int) -> None:
        """The last arrival was accepted, and the peer knows."""
        self._entries[number].arrivals[-1].confirmed = time.monotonic()

    def cut_begins(self) -> None:
        """A fault happens."""
        self._cuts.append([time.monotonic(), inf])

    def cut_ends(self) -> None:
        """Both ends know of all faults that there were."""
        for cut in self._cuts:
            cut[1] = min(cut[1], time.monotonic())

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """A fault happens at some time in here."""
        self.cut_begins()
        yield
        self.cut_ends()

    @property
    def cuts(self) -> int:
        return len(self._cuts)

    def told(self, what: str) -> int:
        """Messages whose sender was told this."""
        return self._told[what]

    def open(self) -> list[int]:
        """Messages that must still arrive: those that are not known to be not sent."""
        return sorted(self._open)

    def check(self, *, patience: float = 0.0) -> Findings:
        """Compare what was told with what arrived.

        Args:
            patience: seconds after which an acceptance that nobody confirmed counts as heard.
        """
        findings = Findings(invented=list(self._strange))
        for number, entry in self._entries.items():
            if not entry.told:
                findings.untold.append(number)
            if entry.arrivals and entry.told in (NOT_SENT, REFUSED):
                findings.invented.append(number)
            elif not entry.arrivals and entry.told == ACCEPTED:
                findings.lost.append(number)
            if not entry.arrivals and entry.told not in (NOT_SENT, REFUSED):
                findings.missing.append(number)
            if len(entry.arrivals) > 1:
                # Each cut while it was under way may have made one more of it.
                sent_again = self._cuts_between(entry.attempted, entry.told_at)
                repeated = sum(
                    not self._cuts_between(arrival.when, min(arrival.confirmed, arrival.settled + patience))
                    for arrival in entry.arrivals[:-1]
                )
                (findings.duplicates if repeated > sent_again else findings.excused).append(number)
        return findings

    def _cuts_between(self, start: float, end: float) -> int:
        return sum(begin <= end and over >= start for begin, over in self._cuts)


def _body(number: int, size: int) -> bytes:
    head = b"%d:" % number
    return head + bytes((number + n) % 251 for n in range(size - len(head)))
