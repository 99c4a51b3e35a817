"""The straight-line twins against the strict decoder: what they understand, it understands alike."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uamqp.codec import hot
from uamqp.codec.definitions import ACCEPTED, Released
from uamqp.codec.performatives import Disposition, Flow, Transfer, decode_performative
from uamqp.codec.values import Symbol
from uamqp.exceptions import DecodeError

uints = st.one_of(st.integers(0, 300), st.integers(0, 2**32 - 1))
maybe = st.one_of(st.none(), uints)
flags = st.one_of(st.none(), st.booleans())

transfers = st.builds(
    Transfer,
    handle=uints,
    delivery_id=maybe,
    delivery_tag=st.one_of(st.none(), st.binary(max_size=32)),
    message_format=maybe,
    settled=flags,
    more=flags,
    rcv_settle_mode=st.one_of(st.none(), st.just(0)),
    resume=flags,
    aborted=flags,
    batchable=flags,
)
flows = st.builds(
    Flow,
    next_incoming_id=maybe,
    incoming_window=uints,
    next_outgoing_id=uints,
    outgoing_window=uints,
    handle=maybe,
    delivery_count=maybe,
    link_credit=maybe,
    available=maybe,
    drain=flags,
    echo=flags,
    properties=st.one_of(st.none(), st.just({Symbol("a"): 1})),
)
dispositions = st.builds(
    Disposition,
    role=st.booleans(),
    first=uints,
    last=maybe,
    settled=flags,
    state=st.one_of(st.none(), st.just(ACCEPTED), st.just(Released())),
    batchable=flags,
)


def straight(decode: Any, data: bytes) -> Any:
    """The answer of a twin; running over the end is a doubt like any other."""
    try:
        return decode(data, 3, len(data))
    except (IndexError, struct.error):
        return None


def agrees_on_transfer(data: bytes) -> bool:
    """Whether the twin answered at all; where it did, it must agree."""
    answer = straight(hot.decode_transfer, data)
    if answer is None:
        return False
    strict, payload = decode_performative(data, 0, len(data))
    assert isinstance(strict, Transfer)
    handle, delivery_id, tag, message_format, settled, more, start = answer
    assert handle == strict.handle
    assert delivery_id == (-1 if strict.delivery_id is None else strict.delivery_id)
    assert tag == (strict.delivery_tag or b"")
    assert message_format == (strict.message_format or 0)
    assert settled == (-1 if strict.settled is None else strict.settled)
    assert more == strict.more
    assert start == payload
    assert strict.rcv_settle_mode is None and strict.state is None
    assert not strict.resume and not strict.aborted
    return True


def agrees_on_flow(data: bytes) -> bool:
    answer = straight(hot.decode_flow, data)
    if answer is None:
        return False
    strict, end = decode_performative(data, 0, len(data))
    assert isinstance(strict, Flow) and end == len(data)
    names = [field.name for field in Flow.FIELDS[:8]]
    expected = [getattr(strict, name) for name in names]
    assert answer[0] == [-1 if value is None else value for value in expected]
    assert answer[1:] == (bool(strict.drain), bool(strict.echo))
    assert strict.properties is None
    return True


def agrees_on_disposition(data: bytes) -> bool:
    answer = straight(hot.decode_disposition, data)
    if answer is None:
        return False
    strict, end = decode_performative(data, 0, len(data))
    assert isinstance(strict, Disposition) and end == len(data)
    role, first, last, settled, state = answer
    assert (role, first) == (strict.role, strict.first)
    assert last == (strict.first if strict.last is None else strict.last)
    assert settled == bool(strict.settled)
    assert strict.state == (ACCEPTED if state == hot.STATE_ACCEPTED else None)
    return True


whole_transfers = st.builds(
    Transfer,
    handle=st.sampled_from([0, 1, 700]),
    delivery_id=st.integers(0, 2**32 - 1),
    delivery_tag=st.one_of(st.none(), st.binary(min_size=3, max_size=4)),
    message_format=st.sampled_from([None, 0, 7, 0x80013700]),
    settled=flags,
    more=st.sampled_from([None, False, False, True]),
)


@given(whole_transfers, st.binary(max_size=9), whole_transfers, st.binary(max_size=9))
def test_a_shape_reads_as_the_straight_way_does(one: Transfer, rest: bytes, other: Transfer, payload: bytes) -> None:
    first, second = hot.frame(5, one.encode() + rest), hot.frame(5, other.encode() + payload)
    head = hot.head_of(first, 0, len(first))
    usual = one.delivery_tag is not None and (one.delivery_id or 0) > 255 and not one.more
    assert (head is not None) == usual
    if head is None:
        return
    assert head.handle == one.handle
    shape = hot.TransferShape(head)
    for data in (first, second):
        if len(data) < shape.size:
            continue
        size, prefix, delivery_id, tag_head, tag, end = shape.unpack(data, 0)
        if (prefix, tag_head, end) == (head.prefix, shape.tag_head, shape.rest):
            told = (head.handle, delivery_id, tag, shape.message_format, shape.settled, 0, shape.size)
            assert told == hot.decode_transfer(data, 11, len(data))
            assert size == len(data)
        else:
            assert data is second


@pytest.mark.parametrize("fields", ["c0 03 01 52 05", "c0 02 01 43", "d0 0000000c 00000003 43 70 00000100 a0 00"])
def test_transfers_that_have_no_shape(fields: str) -> None:
    data = hot.frame(0, b"\x00\x53\x14" + bytes.fromhex(fields))
    assert hot.head_of(data, 0, len(data)) is None


@given(transfers, st.binary(max_size=20))
def test_transfers(transfer: Transfer, payload: bytes) -> None:
    understood = agrees_on_transfer(transfer.encode() + payload)
    usual = transfer.rcv_settle_mode is None and not transfer.resume and not transfer.aborted
    # A first transfer must have a tag; the strict way says so.
    usual = usual and (transfer.delivery_id is None or transfer.delivery_tag is not None)
    assert understood or not usual


@given(flows)
def test_flows(flow: Flow) -> None:
    assert agrees_on_flow(flow.encode()) == (flow.properties is None)


@given(dispositions)
def test_dispositions(disposition: Disposition) -> None:
    assert agrees_on_disposition(disposition.encode()) == (disposition.state in (None, ACCEPTED))


@settings(max_examples=400)
@given(
    st.one_of(transfers, flows, dispositions),
    st.lists(st.tuples(st.integers(3, 60), st.integers(0, 255)), min_size=1, max_size=3),
    st.integers(0, 40),
)
def test_damage_is_never_understood_otherwise(value: Any, changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(value.encode())
    for place, byte in changes:
        if place < len(data):
            data[place] = byte
    damaged = bytes(data[: max(4, len(data) - cut)])
    for agrees, decode in (
        (agrees_on_transfer, hot.decode_transfer),
        (agrees_on_flow, hot.decode_flow),
        (agrees_on_disposition, hot.decode_disposition),
    ):
        code = {
            hot.decode_transfer: 0x14,
            hot.decode_flow: 0x13,
            hot.decode_disposition: 0x15,
        }[decode]
        if damaged[2] == code:
            try:
                agrees(damaged)
            except DecodeError as error:  # pragma: no cover
                raise AssertionError(f"the strict decoder refuses {damaged.hex()}: {error}") from None


SHAPES = [
    "45",
    "d0 00000006 00000002 43 43",
    "d0 0000000c 00000003 52 07 70 00000001 40",
    "c0 05 03 43 43 a0 00",
    "c0 05 03 43 40 a0 00",
    "c0 09 05 43 43 a0 00 70 80013700 42",
    "c0 07 04 43 43 a0 00 52 09",
    "c0 06 04 43 43 a0 00 41",
    "c0 07 05 43 43 a0 00 43 43",
    "c0 08 06 43 43 a0 00 43 41 43",
    "c0 08 06 43 43 a0 00 43 41 40",
    "c0 0e 0c 43 43 a0 00 43 41 41 40 40 40 40 41 40",
    "c0 0d 0b 43 43 a0 00 43 41 41 40 40 42 42 41",
    "c0 0d 0b 43 43 a0 00 43 41 41 40 40 41 42 41",
    "c0 04 03 43 43 40",
    "c0 03 02 43 41",
    "c0 03 02 41 43",
    "c0 04 03 43 43 43",
    "c0 05 04 43 43 40 41",
    "c0 06 04 43 43 40 52 09",
    "c0 06 05 43 43 40 43 43",
    "c0 07 06 43 43 40 43 41 43",
    "c0 07 06 43 43 40 43 41 40",
    "c0 01 00",
    "c0 0d 0c 43 43 40 43 41 41 40 40 40 40 41 40",
    "c0 0c 0b 43 43 40 43 41 41 40 40 42 42 41",
    "c0 0c 0b 43 43 40 43 41 41 40 40 41 42 41",
    "c0 20 02 43 43",
    "c0 03 02 43 43 ff",
    "c0 04 02 43 43 ff",
]


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_of_transfers(shape: str) -> None:
    data = b"\x00\x53\x14" + bytes.fromhex(shape)
    try:
        agrees_on_transfer(data)
    except DecodeError:
        pytest.fail("the strict decoder refuses what the twin accepts")


@pytest.mark.parametrize(
    "shape",
    [
        "45",
        "d0 00000006 00000002 41 43",
        "c0 03 02 43 43",
        "c0 03 02 41 41",
        "c0 03 02 41 43",
        "c0 03 02 42 43",
        "c0 07 02 41 70 00000001",
        "c0 04 03 41 43 41",
        "c0 05 03 41 43 52 05",
        "c0 04 03 41 43 43",
        "c0 08 03 41 43 70 00000009",
        "c0 05 04 41 43 40 43",
        "c0 05 04 41 43 40 40",
        "c0 09 05 41 43 40 41 00 53 24 45",
        "c0 0b 05 41 43 40 41 00 53 24 c0 01 00",
        "c0 06 05 41 43 40 41 40",
        "c0 06 05 41 43 40 41 43",
        "c0 07 06 41 43 40 41 40 42",
        "c0 07 06 41 43 40 41 40 43",
        "c0 08 07 41 43 40 41 40 42 40",
        "c0 05 02 41 43 41 41",
        "c0 02 01 41",
    ],
)
def test_shapes_of_dispositions(shape: str) -> None:
    agrees_on_disposition(b"\x00\x53\x15" + bytes.fromhex(shape))


@pytest.mark.parametrize(
    "shape",
    [
        "45",
        "d0 00000008 00000004 40 43 43 43",
        "c0 05 04 40 43 43 43",
        "c0 05 04 40 40 43 43",
        "c0 05 04 41 43 43 43",
        "c0 0a 09 40 43 43 43 40 40 40 40 41",
        "c0 0b 0a 40 43 43 43 40 40 40 40 42 41",
        "c0 0b 0a 40 43 43 43 40 40 40 40 43 41",
        "c0 0c 0b 40 43 43 43 40 40 40 40 42 42 40",
        "c0 0c 0b 40 43 43 43 40 40 40 40 42 42 42",
        "c0 06 04 40 43 43 43 40",
        "c0 04 03 40 43 43",
    ],
)
def test_shapes_of_flows(shape: str) -> None:
    agrees_on_flow(b"\x00\x53\x13" + bytes.fromhex(shape))


# -- encoding ---------------------------------------------------------------------------------------------------


def body_of(data: bytes, channel: int) -> bytes:
    size, doff, kind, number = struct.unpack_from(">IBBH", data)
    assert (size, doff, kind, number) == (len(data), 2, 0, channel)
    return data[8:]


def only_frame(header: hot.TransferHeader, delivery_id: int, tag: int, settled: bool, size: int) -> bytes:
    tail = header.settled if settled else header.unsettled
    return header.pack(header.overhead + size, header.first, delivery_id, 0xA004, tag, tail)


@given(
    st.integers(0, 65_535),
    uints,
    uints,
    uints,
    st.booleans(),
    st.binary(max_size=30),
    st.binary(max_size=32),
    uints,
    st.booleans(),
)
def test_transfer_headers(
    channel: int,
    handle: int,
    delivery_id: int,
    number: int,
    settled: bool,
    payload: bytes,
    tag: bytes,
    fmt: int,
    all_fields: bool,
) -> None:
    header = hot.TransferHeader(channel, handle, all_fields)
    only = only_frame(header, delivery_id, number, settled, len(payload))
    assert len(only) == header.overhead
    value, start = decode_performative(body_of(only + payload, channel), 0, len(only) - 8 + len(payload))
    assert value == Transfer(handle, delivery_id, number.to_bytes(4, "big"), 0, settled, False)
    assert start == len(only) - 8
    for more in (False, True):
        first = header.encode_first(delivery_id, tag, fmt, settled, more, len(payload))
        value, _ = decode_performative(body_of(first + payload, channel), 0, len(first) - 8)
        assert value == Transfer(handle, delivery_id, tag, fmt, settled, more)
        following = header.encode_next(more, len(payload))
        value, _ = decode_performative(body_of(following + payload, channel), 0, len(following) - 8)
        assert value == Transfer(handle, more=more)
    value, _ = decode_performative(body_of(header.encode_aborted(), channel), 0, len(header.encode_aborted()) - 8)
    assert value == Transfer(handle, more=False, aborted=True)
    if all_fields:
        # The number of fields is behind constructor and size of the list.
        assert {frame[8 + 5] for frame in (only, first, following, header.encode_aborted())} == {11}


@given(st.lists(uints, min_size=4, max_size=8), st.booleans(), st.booleans(), st.booleans())
@example([1, 2, 3, 4, 5, 6, 7], False, False, False)
@example([0xFFFF_FFFF] * 7, False, False, False)
def test_flow_frames(numbers: list[int], drain: bool, echo: bool, all_fields: bool) -> None:
    body = body_of(hot.encode_flow(3, numbers, drain, echo, all_fields), 3)
    assert not all_fields or body[5] == 11
    value, _ = decode_performative(body, 0, len(body))
    names = [field.name for field in Flow.FIELDS]
    fields = dict(zip(names, numbers, strict=False))
    assert value == Flow(**fields, drain=drain, echo=echo)


@given(st.booleans(), uints, uints, st.booleans(), st.sampled_from([None, ACCEPTED, Released()]), st.booleans())
def test_disposition_frames(role: bool, first: int, last: int, settled: bool, state: Any, all_fields: bool) -> None:
    encoded = b"" if state is None else state.encode()
    body = body_of(hot.encode_disposition(9, role, first, last, settled, encoded, all_fields), 9)
    assert not all_fields or body[5] == 6
    value, _ = decode_performative(body, 0, len(body))
    assert isinstance(value, Disposition)
    assert (value.role, value.first, value.settled, value.state) == (role, first, settled, state)
    assert (value.first if value.last is None else value.last) == last


def test_a_large_outcome_fits() -> None:
    from uamqp.codec.definitions import Modified

    state = Modified(message_annotations={Symbol("x-opt-long"): "y" * 400})
    body = body_of(hot.encode_disposition(0, True, 1, 2, True, state.encode()), 0)
    value, _ = decode_performative(body, 0, len(body))
    assert isinstance(value, Disposition) and value.state == state
