"""What is known of each message, by who knows it; and whether the accounts agree.

A message that is sent again after a failure makes another attempt, with a token of its own: so it is known of each copy
where it came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from ..exceptions import (
    AMQPError,
    DecodeError,
    EncodeError,
    InDoubt,
    Modified,
    NotSent,
    OperationTimeout,
    ProtocolError,
    Rejected,
    Released,
)

#: Virtual seconds that a call may take beyond its time-out: a stream has a second for its last bytes.
GRACE = 1.5


class Outcome(Enum):
    """What the sender of a message was told of it."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    RELEASED = "released"
    MODIFIED = "modified"
    NOT_SENT = "not sent"
    IN_DOUBT = "in doubt"

    @property
    def copies(self) -> range:
        """How many copies of it the broker may have taken."""
        if self is Outcome.ACCEPTED:
            return range(1, 2)
        return range(2) if self is Outcome.IN_DOUBT else range(1)


def outcome_of(error: BaseException) -> Outcome:
    """What an error of `Sender.send` says of the message."""
    kinds = {
        Rejected: Outcome.REJECTED,
        Released: Outcome.RELEASED,
        Modified: Outcome.MODIFIED,
        NotSent: Outcome.NOT_SENT,
        InDoubt: Outcome.IN_DOUBT,
    }
    for kind, outcome in kinds.items():
        if isinstance(error, kind):
            return outcome
    # `send_many` gives up with some sent and some not.
    if isinstance(error, OperationTimeout):
        return Outcome.IN_DOUBT
    # The link was of no use any more when the message was handed over.
    return Outcome.NOT_SENT if isinstance(error, AMQPError) else Outcome.IN_DOUBT


@dataclass(frozen=True)
class Violation:
    """An account that does not agree with another."""

    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.what}"


@dataclass
class Account:
    """One attempt to send one message.

    Attributes:
        token: its name, which its body begins with.
        body: what was sent.
        link: the link it was handed to, and `place`, its place among the messages of that link.
        outcome: what its sender was told, or None.
        offered: how often it came to the broker, which took it or not.
        enqueued: how often the broker put it into a queue.
        forgotten: how often the broker took it out for good.
        delivered: how often a consumer saw it.
        removals: how often a consumer said something by which it goes for good.
        confirmed: how often a consumer knows for sure that the broker heard this.
    """

    token: str
    body: bytes
    link: str
    place: int
    outcome: Outcome | None = None
    offered: int = 0
    enqueued: int = 0
    forgotten: int = 0
    delivered: int = 0
    removals: int = 0
    confirmed: int = 0


@dataclass
class Ledger:
    """The accounts of all messages of a run.

    Attributes:
        quiet: there are no faults, and nothing may fail.
        at_most_once: some consumer takes messages settled: what is lost on the way to it is lost.
        copies: what is in doubt is sent again.
        checks: how many comparisons `check` made, by rule.
    """

    quiet: bool = False
    at_most_once: bool = False
    copies: bool = False
    accounts: dict[str, Account] = field(default_factory=dict)
    checks: Counter[str] = field(default_factory=Counter)
    _found: list[Violation] = field(default_factory=list)
    _sent_on: Counter[str] = field(default_factory=Counter)
    #: By link: the place of the last message of it that was enqueued.
    _last_place: dict[str, int] = field(default_factory=dict)

    def fault(self, rule: str, what: str) -> None:
        """Note a violation."""
        self._found.append(Violation(rule, what))

    def demand(self, rule: str, holds: bool, what: str) -> None:
        """Count a comparison, and note a violation where it does not hold."""
        self.checks[rule] += 1
        if not holds:
            self.fault(rule, what)

    # -- the sender's account ------------------------------------------------------------------------------------

    def attempt(self, token: str, body: bytes, link: str) -> None:
        """A message is about to be handed to a link."""
        self.demand("each attempt has a name of its own", token not in self.accounts, token)
        self.accounts[token] = Account(token, body, link, self._sent_on[link])
        self._sent_on[link] += 1

    def told(self, token: str, outcome: Outcome) -> None:
        """The sender was told what became of it."""
        account = self.accounts[token]
        self.demand(
            "an outcome is told once", account.outcome is None, f"{token}: {outcome.value} after {account.outcome}"
        )
        account.outcome = outcome

    # -- the broker's account ------------------------------------------------------------------------------------

    def offered(self, body: bytes) -> None:
        """A message came to the broker."""
        account = self._known(body, "offered")
        if account is not None:
            account.offered += 1

    def enqueued(self, body: bytes) -> None:
        """The broker put a message into a queue."""
        account = self._known(body, "enqueued")
        if account is None:
            return
        account.enqueued += 1
        last = self._last_place.get(account.link, -1)
        self.demand(
            "messages of a link keep their order",
            # What was refused, and nobody heard that, comes again, too.
            account.place >= last or (self.copies and account.offered > 1),
            f"{account.token} was enqueued behind number {last} of {account.link}",
        )
        self._last_place[account.link] = max(last, account.place)

    def forgotten(self, body: bytes) -> None:
        """The broker took a message out of its queue for good."""
        account = self._known(body, "forgotten")
        if account is not None:
            account.forgotten += 1

    # -- the consumer's account ----------------------------------------------------------------------------------

    def delivered(self, body: bytes, *, presettled: bool = False, failures: int = 0) -> str:
        """A consumer got a message, which is said to have failed before. Returns its token, "" where it is nobody's."""
        account = self._known(body, "delivered")
        if account is None:
            return ""
        self.demand(
            "only consumers let messages fail",
            # What is sent settled may be cut short by the end of the link.
            failures <= account.delivered or self.at_most_once,
            f"{account.token} failed {failures} times and was seen {account.delivered} times",
        )
        account.delivered += 1
        if presettled:
            account.removals += 1
        return account.token

    def removing(self, token: str) -> None:
        """The consumer said accepted or rejected."""
        if token:
            self.accounts[token].removals += 1

    def confirmed(self, token: str) -> None:
        """The consumer knows that the broker heard that."""
        if not token:
            return
        account = self.accounts[token]
        account.confirmed += 1
        self.demand(
            "what is confirmed is gone",
            account.forgotten >= account.confirmed,
            f"{token} is still with the broker after the consumer was told that it is settled",
        )

    def _known(self, body: bytes, what: str) -> Account | None:
        token = body.partition(b" ")[0].decode(errors="replace")
        account = self.accounts.get(token)
        self.demand(
            "nothing is invented",
            account is not None and account.body == body,
            f"{what}: {body[:40]!r} of {len(body)} bytes was never sent",
        )
        return account

    # -- calls ---------------------------------------------------------------------------------------------------

    def failed(self, who: str, error: BaseException) -> None:
        """A call of the program raised."""
        self.demand("errors are typed", isinstance(error, AMQPError), f"{who}: {error!r}")
        self.demand("without faults nothing fails", not self.quiet or isinstance(error, Rejected), f"{who}: {error!r}")
        self.demand(
            "both ends keep the protocol",
            not isinstance(error, ProtocolError | DecodeError | EncodeError),
            f"{who}: {error!r}",
        )

    @contextmanager
    def timed(self, who: str, limit: float, now: Callable[[], float]) -> Iterator[None]:
        """A call of the program that must be over after so many seconds."""
        started = now()
        try:
            yield
        finally:
            took = now() - started
            self.demand("calls keep their time-outs", took <= limit + GRACE, f"{who} took {took:.3f} s of {limit:g} s")

    # -- the balance ---------------------------------------------------------------------------------------------

    def check(self, left: Iterable[bytes] = ()) -> list[Violation]:
        """What does not agree, when all is over, and the messages `left` are still in queues."""
        in_queue = Counter(body.partition(b" ")[0].decode(errors="replace") for body in left)
        for token, account in self.accounts.items():
            outcome = account.outcome
            self.demand("each message has an outcome", outcome is not None, token)
            copies = outcome.copies if outcome is not None else range(2)
            enqueued = account.enqueued
            told = outcome.value if outcome is not None else "nothing"
            self.demand("what is accepted is kept", enqueued >= copies.start, f"{token}: {told}, never enqueued")
            once = enqueued < copies.stop or self.copies
            self.demand("no copies", once, f"{token}: {told}, enqueued {enqueued} times")
            self.demand(
                "what is confirmed is gone", account.forgotten >= account.confirmed, f"{token} was kept all the same"
            )
            self.demand(
                "nothing goes unless somebody says so",
                account.forgotten <= account.removals or self.at_most_once,
                f"{token}: gone {account.forgotten} times, settled {account.removals} times",
            )
            self.demand(
                "no message is lost",
                in_queue[token] == enqueued - account.forgotten,
                f"{token}: {told}, enqueued {enqueued}, gone {account.forgotten}, left {in_queue[token]}",
            )
        return self._found
