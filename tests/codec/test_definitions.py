"""Errors, termini, delivery states and transactions."""

from __future__ import annotations

import pytest

from uamqp.codec.composite import decode_composite
from uamqp.codec.definitions import (
    ACCEPTED,
    RELEASED,
    AmqpError,
    Coordinator,
    Declared,
    DeleteOnClose,
    Error,
    ReceiverSettleMode,
    Role,
    SenderSettleMode,
    Source,
    Target,
    TerminusDurability,
    TerminusExpiryPolicy,
    TransactionalState,
)
from uamqp.codec.performatives import Attach
from uamqp.codec.primitives import encode
from uamqp.codec.values import Described
from uamqp.exceptions import DecodeError


def test_names_may_be_given_for_numbers() -> None:
    source = Source("q", TerminusDurability.UNSETTLED_STATE, TerminusExpiryPolicy.NEVER)
    attach = Attach("l", 0, Role.RECEIVER, SenderSettleMode.SETTLED, ReceiverSettleMode.SECOND, source)
    data = attach.encode()
    again, _ = decode_composite(data, 0, len(data))
    assert again == attach
    assert again == Attach("l", 0, True, 1, 1, Source("q", 2, "never"))


def test_conditions_may_be_given_by_name() -> None:
    assert Error(AmqpError.NOT_FOUND).encode() == Error("amqp:not-found").encode()


def test_a_coordinator_is_a_target() -> None:
    data = Attach("l", 0, False, target=Coordinator("amqp:local-transactions")).encode()
    attach, _ = decode_composite(data, 0, len(data))
    assert isinstance(attach, Attach)
    assert attach.target == Coordinator(("amqp:local-transactions",))


def test_an_unknown_terminus_is_kept() -> None:
    data = Attach("l", 0, False, target=Described("x:target", [])).encode()
    attach, _ = decode_composite(data, 0, len(data))
    assert isinstance(attach, Attach)
    assert attach.target == Described("x:target", [])


def test_a_source_is_not_a_target() -> None:
    data = encode(Described(0x12, ["l", None, None, None, None, Target()])).replace(
        b"\xa1\x01l\x40\x40", b"\xa1\x01l\x43\x41"
    )
    with pytest.raises(DecodeError, match=r"Attach\.source: Target\(\) is not a legal source"):
        decode_composite(data, 0, len(data))


def test_lifetime_policies_in_node_properties() -> None:
    data = Target(dynamic=True, dynamic_node_properties={"lifetime-policy": DeleteOnClose()}).encode()
    target, _ = decode_composite(data, 0, len(data))
    assert isinstance(target, Target)
    assert target.dynamic_node_properties == {"lifetime-policy": DeleteOnClose()}


def test_outcomes_of_transactions() -> None:
    for outcome in (ACCEPTED, RELEASED, Declared(b"x"), Described(0x99, []), None):
        data = TransactionalState(b"tx", outcome).encode()
        state, _ = decode_composite(data, 0, len(data))
        assert state == TransactionalState(b"tx", outcome)
