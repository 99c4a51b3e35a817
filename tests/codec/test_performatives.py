"""Bodies of frames."""

from __future__ import annotations

import pytest

from uamqp.codec.definitions import ACCEPTED, Source
from uamqp.codec.performatives import (
    Begin,
    Close,
    Flow,
    SaslChallenge,
    SaslInit,
    SaslOutcome,
    SaslResponse,
    Transfer,
    decode_performative,
)
from uamqp.codec.primitives import encode
from uamqp.codec.values import Described
from uamqp.exceptions import DecodeError

from .strategies import COMPOSITES

PERFORMATIVES = [v for v in COMPOSITES.values() if set(v.PROVIDES) & {"frame", "sasl-frame"}]


def test_all_fourteen_are_covered() -> None:
    assert len({type(value) for value in PERFORMATIVES}) == 14


@pytest.mark.parametrize("value", PERFORMATIVES, ids=repr)
def test_payload_starts_behind_the_performative(value: Transfer) -> None:
    encoded = value.encode()
    data = b"\x02\x00\x00\x00" + encoded + b"payload" + b"next frame"
    assert decode_performative(data, 4, len(data) - 10) == (value, 4 + len(encoded))


@pytest.mark.parametrize("other", [Source(), ACCEPTED, Described(0x99, []), Described("amqp:open:lis", [])], ids=repr)
def test_anything_else_is_refused(other: object) -> None:
    data = encode(other)
    with pytest.raises(DecodeError, match="not a performative"):
        decode_performative(data, 0, len(data))


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x00", b"\x00\x53\x10"])
def test_bytes_that_are_no_described_value(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_performative(data, 0, len(data))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            SaslInit("PLAIN", b"\0me\0pw", "host"),
            "SaslInit(mechanism='PLAIN', initial_response=<6 bytes>, hostname='host')",
        ),
        (SaslInit("EXTERNAL", b""), "SaslInit(mechanism='EXTERNAL', initial_response=<0 bytes>)"),
        (SaslInit("ANONYMOUS"), "SaslInit(mechanism='ANONYMOUS')"),
        (SaslChallenge(b"s3cret"), "SaslChallenge(challenge=<6 bytes>)"),
        (SaslResponse(b"s3cret"), "SaslResponse(response=<6 bytes>)"),
        (SaslOutcome(0, b"s3cret"), "SaslOutcome(code=0, additional_data=<6 bytes>)"),
    ],
)
def test_secrets_are_not_shown(value: object, shown: str) -> None:
    assert repr(value) == shown


def test_mandatory_fields_behind_optional_ones_go_by_name() -> None:
    begin = Begin(next_outgoing_id=1, incoming_window=2, outgoing_window=3)
    assert begin.remote_channel is None
    assert Begin(7, next_outgoing_id=1, incoming_window=2, outgoing_window=3).remote_channel == 7
    assert Flow(0, incoming_window=2, next_outgoing_id=1, outgoing_window=3).next_incoming_id == 0


def test_errors_name_what_came() -> None:
    data = encode(Described(0x99, "x" * 1000))
    with pytest.raises(DecodeError) as caught:
        decode_performative(data, 0, len(data))
    assert len(caught.value.description) < 200
    assert Close().error is None


@pytest.mark.parametrize(
    "value", [Described(0x45, [b"\0user\0s3cret"]), Described("sasl", [b"\0user\0s3cret"]), b"s3cret", ["s3cret"]]
)
def test_what_is_not_a_performative_does_not_show_what_is_in_it(value: object) -> None:
    data = encode(value)
    with pytest.raises(DecodeError) as caught:
        decode_performative(data, 0, len(data))
    assert "s3cret" not in str(caught.value)
