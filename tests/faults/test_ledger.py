"""The ledger is what the tests of faults believe, so it must see what it is there for."""

from __future__ import annotations

import pytest

from uamqp.exceptions import (
    InDoubt,
    InDoubtInTime,
    LinkDetached,
    NotSent,
    NotSentInTime,
    OperationTimeout,
    Rejected,
)

from .ledger import ACCEPTED, IN_DOUBT, NOT_SENT, REFUSED, Ledger, meaning


def _sent(ledger: Ledger, told: str = ACCEPTED) -> tuple[int, bytes]:
    number, body = ledger.attempt()
    ledger.tell(number, told)
    return number, body


def _arrives(ledger: Ledger, body: bytes) -> None:
    ledger.settle(ledger.receive(body))


def test_all_is_well() -> None:
    ledger = Ledger()
    _arrives(ledger, _sent(ledger)[1])
    _sent(ledger, NOT_SENT)
    findings = ledger.check()
    assert findings.hold(resend=True)
    assert (len(ledger), ledger.received, ledger.told(ACCEPTED), ledger.open()) == (2, 1, 1, [])


def test_what_was_accepted_and_does_not_arrive_is_lost() -> None:
    ledger = Ledger()
    number, _ = _sent(ledger)
    assert ledger.open() == [number]
    findings = ledger.check()
    assert findings.lost == [number]
    assert not findings.hold(resend=False)


def test_what_is_in_doubt_need_not_arrive_unless_it_is_sent_again() -> None:
    ledger = Ledger()
    number, _ = _sent(ledger, IN_DOUBT)
    findings = ledger.check()
    assert findings.missing == [number]
    assert findings.hold(resend=False)
    assert not findings.hold(resend=True)


@pytest.mark.parametrize("told", [NOT_SENT, REFUSED])
def test_what_was_not_sent_must_not_arrive(told: str) -> None:
    ledger = Ledger()
    number, body = _sent(ledger, told)
    _arrives(ledger, body)
    assert ledger.check().invented == [number]


def test_what_arrives_must_be_what_was_sent() -> None:
    ledger = Ledger()
    number, body = ledger.attempt(100)
    ledger.tell(number, ACCEPTED)
    ledger.receive(body[:-1] + b"?")
    ledger.receive(b"7:")
    assert ledger.check().invented == [number, 7]


def test_every_sender_must_be_told() -> None:
    ledger = Ledger()
    number, _ = ledger.attempt()
    assert ledger.check().untold == [number]


def test_what_arrives_twice_needs_an_excuse() -> None:
    ledger = Ledger()
    number, body = _sent(ledger)
    _arrives(ledger, body)
    _arrives(ledger, body)
    assert ledger.check().duplicates == [number]


def test_a_cut_while_it_was_sent_is_an_excuse_for_one_more() -> None:
    ledger = Ledger()
    number, body = ledger.attempt()
    with ledger.cutting():
        pass
    ledger.tell(number, ACCEPTED)
    _arrives(ledger, body)
    _arrives(ledger, body)
    assert ledger.check().excused == [number]
    _arrives(ledger, body)
    assert ledger.check().duplicates == [number]


def test_a_cut_before_it_was_accepted_is_an_excuse() -> None:
    ledger = Ledger()
    number, body = _sent(ledger)
    ledger.receive(body)
    with ledger.cutting():
        ledger.settle(number)
    _arrives(ledger, body)
    assert ledger.check().excused == [number]


def test_a_cut_after_it_was_accepted_is_none_unless_there_is_patience() -> None:
    ledger = Ledger()
    number, body = _sent(ledger)
    _arrives(ledger, body)
    with ledger.cutting():
        pass
    _arrives(ledger, body)
    assert ledger.check().duplicates == [number]
    assert ledger.check(patience=5.0).excused == [number]


def test_what_was_confirmed_must_not_come_again() -> None:
    ledger = Ledger()
    number, body = _sent(ledger)
    _arrives(ledger, body)
    ledger.confirm(number)
    with ledger.cutting():
        pass
    _arrives(ledger, body)
    assert ledger.check(patience=5.0).duplicates == [number]


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (InDoubt("?"), IN_DOUBT),
        (NotSent("?"), NOT_SENT),
        (LinkDetached("gone"), NOT_SENT),
        (Rejected("no"), REFUSED),
        (InDoubtInTime("no outcome"), IN_DOUBT),
        (NotSentInTime("no credit"), NOT_SENT),
        (OperationTimeout("no progress"), IN_DOUBT),
    ],
)
def test_what_errors_mean(error: Exception, what: str) -> None:
    assert meaning(error) == what
