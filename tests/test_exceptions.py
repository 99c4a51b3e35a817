"""What errors say of themselves."""

from __future__ import annotations

import pytest

from uamqp.codec import choices
from uamqp.exceptions import _PERMANENT, ConnectionClosed, LinkDetached, SessionEnded

KINDS = (choices.AmqpError, choices.ConnectionErrorCondition, choices.SessionError, choices.LinkError)
CONDITIONS = {str(condition) for kind in KINDS for condition in kind}

#: What may be another time: trouble of the moment, limits, and what somebody did to the peer.
TRANSIENT = {
    *("amqp:internal-error", "amqp:resource-limit-exceeded", "amqp:resource-locked", "amqp:illegal-state"),
    *("amqp:connection:forced", "amqp:link:detach-forced"),
}


def test_every_condition_of_the_specification_is_the_one_or_the_other() -> None:
    assert CONDITIONS == _PERMANENT | TRANSIENT
    assert not _PERMANENT & TRANSIENT


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
@pytest.mark.parametrize("kind", [ConnectionClosed, SessionEnded, LinkDetached])
def test_what_may_be_tried_again(kind: type[LinkDetached], condition: str) -> None:
    error = kind("so it is", condition=condition, remote=True)
    assert error.retryable is (condition in TRANSIENT)
    assert error.again().retryable is error.retryable


def test_what_ended_without_a_condition_may_be_tried_again() -> None:
    assert SessionEnded("gone").retryable
