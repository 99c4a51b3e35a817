"""The ledger notices each account that does not agree with another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from uamqp.exceptions import (
    ConnectionLost,
    InDoubt,
    InDoubtInTime,
    LocalProtocolError,
    Modified,
    NotSent,
    NotSentInTime,
    OperationTimeout,
    Rejected,
    Released,
)
from uamqp.testing import Ledger, Outcome, outcome_of


def sent(ledger: Ledger, token: str = "a", outcome: Outcome | None = Outcome.ACCEPTED) -> bytes:
    body = f"{token} body".encode()
    ledger.attempt(token, body, "link")
    if outcome is not None:
        ledger.told(token, outcome)
    return body


def through(ledger: Ledger, token: str = "a", outcome: Outcome | None = Outcome.ACCEPTED) -> bytes:
    body = sent(ledger, token, outcome)
    ledger.enqueued(body)
    return body


def consumed(ledger: Ledger, token: str = "a") -> bytes:
    body = through(ledger, token)
    ledger.removing(ledger.delivered(body))
    ledger.forgotten(body)
    ledger.confirmed(token)
    return body


def test_accounts_that_agree() -> None:
    ledger = Ledger()
    consumed(ledger)
    left = through(ledger, "b")
    sent(ledger, "c", Outcome.IN_DOUBT)
    through(ledger, "d", Outcome.IN_DOUBT)
    sent(ledger, "e", Outcome.NOT_SENT)
    sent(ledger, "f", Outcome.REJECTED)
    assert ledger.check([left, b"d body"]) == []
    assert ledger.checks["no message is lost"] == 6


def lost(ledger: Ledger) -> None:
    through(ledger)


def never_enqueued(ledger: Ledger) -> None:
    sent(ledger)


def twice(ledger: Ledger) -> None:
    ledger.enqueued(through(ledger))


def not_sent_and_there(ledger: Ledger) -> None:
    through(ledger, outcome=Outcome.NOT_SENT)


def told_twice(ledger: Ledger) -> None:
    consumed(ledger)
    ledger.told("a", Outcome.IN_DOUBT)


def never_told(ledger: Ledger) -> None:
    sent(ledger, outcome=None)


def invented(ledger: Ledger) -> None:
    assert ledger.delivered(b"b body") == ""
    ledger.enqueued(b"b body")
    ledger.forgotten(b"b body")
    ledger.removing("")
    ledger.confirmed("")


def damaged(ledger: Ledger) -> None:
    through(ledger)
    ledger.delivered(b"a bodx")


def named_twice(ledger: Ledger) -> None:
    consumed(ledger)
    ledger.attempt("a", b"a body", "link")


def confirmed_and_kept(ledger: Ledger) -> None:
    ledger.removing(ledger.delivered(through(ledger)))
    ledger.confirmed("a")


def gone_by_itself(ledger: Ledger) -> None:
    ledger.forgotten(through(ledger))


def out_of_order(ledger: Ledger) -> None:
    bodies = [sent(ledger, "a"), sent(ledger, "b")]
    for body in reversed(bodies):
        ledger.enqueued(body)


def out_of_order_for_no_reason(ledger: Ledger) -> None:
    ledger.copies = True
    out_of_order(ledger)


def failed_unseen(ledger: Ledger) -> None:
    ledger.delivered(through(ledger), failures=1)


def untyped(ledger: Ledger) -> None:
    ledger.failed("somebody", KeyError("x"))


def protocol_broken(ledger: Ledger) -> None:
    ledger.failed("somebody", LocalProtocolError("x"))


def failed_in_peace(ledger: Ledger) -> None:
    ledger.quiet = True
    ledger.failed("somebody", ConnectionLost("x"))


def took_too_long(ledger: Ledger) -> None:
    times = iter((0.0, 20.0))
    with ledger.timed("somebody", 10.0, lambda: next(times)):
        pass


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (lost, "no message is lost"),
        (never_enqueued, "what is accepted is kept"),
        (twice, "no copies"),
        (not_sent_and_there, "no copies"),
        (told_twice, "an outcome is told once"),
        (never_told, "each message has an outcome"),
        (invented, "nothing is invented"),
        (damaged, "nothing is invented"),
        (named_twice, "each attempt has a name of its own"),
        (confirmed_and_kept, "what is confirmed is gone"),
        (gone_by_itself, "nothing goes unless somebody says so"),
        (out_of_order, "messages of a link keep their order"),
        (out_of_order_for_no_reason, "messages of a link keep their order"),
        (failed_unseen, "only consumers let messages fail"),
        (untyped, "errors are typed"),
        (protocol_broken, "both ends keep the protocol"),
        (failed_in_peace, "without faults nothing fails"),
        (took_too_long, "calls keep their time-outs"),
    ],
)
def test_a_fault_is_found(fault: Callable[[Ledger], None], rule: str) -> None:
    ledger = Ledger()
    fault(ledger)
    found = ledger.check()
    assert rule in {violation.rule for violation in found}
    assert all(str(violation).startswith(violation.rule) for violation in found)


def test_what_is_sent_settled_to_a_consumer_may_be_lost() -> None:
    ledger = Ledger(at_most_once=True)
    body = through(ledger)
    ledger.forgotten(body)
    other = through(ledger, "b")
    ledger.delivered(other, presettled=True)
    ledger.forgotten(other)
    assert ledger.check() == []


def test_what_comes_again_may_be_out_of_order() -> None:
    """The broker had no room for the first, its sender never heard that, and the second was taken."""
    ledger = Ledger(copies=True)
    bodies = [sent(ledger, "a", Outcome.IN_DOUBT), sent(ledger, "b", Outcome.IN_DOUBT)]
    for body in bodies:
        ledger.offered(body)
    ledger.enqueued(bodies[1])
    ledger.offered(bodies[0])
    ledger.enqueued(bodies[0])
    assert ledger.check(bodies) == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Rejected("x"), Outcome.REJECTED),
        (Released("x"), Outcome.RELEASED),
        (Modified("x"), Outcome.MODIFIED),
        (NotSent("x"), Outcome.NOT_SENT),
        (InDoubt("x"), Outcome.IN_DOUBT),
        (NotSentInTime("x"), Outcome.NOT_SENT),
        (InDoubtInTime("x"), Outcome.IN_DOUBT),
        (OperationTimeout("no progress"), Outcome.IN_DOUBT),
        (ConnectionLost("x"), Outcome.NOT_SENT),
        (KeyError("x"), Outcome.IN_DOUBT),
    ],
)
def test_what_an_error_says_of_a_message(error: BaseException, outcome: Outcome) -> None:
    assert outcome_of(error) is outcome
