"""Composites: construction, comparison, both directions of the codec."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uamqp.codec.composite import Composite, CompositeType, by_code, by_name, decode_composite
from uamqp.codec.definitions import ACCEPTED, Accepted, Error, Modified, Received, Rejected, Source, Target
from uamqp.codec.performatives import Attach, Begin, Close, Disposition, Flow, Open, SaslMechanisms, Transfer
from uamqp.codec.primitives import encode
from uamqp.codec.values import Array, Described, Symbol, UByte, UInt, ULong
from uamqp.exceptions import DecodeError, EncodeError

from .strategies import COMPOSITES


def decoded(data: bytes) -> Any:
    value, end = decode_composite(data, 0, len(data))
    assert end == len(data)
    return value


def raw(code: int, *fields: object) -> bytes:
    """The described list of fields of any type, as a peer could send it."""
    return encode(Described(code, list(fields)))


# --- construction -------------------------------------------------------------------------------------------------


def test_fields_by_position_and_by_name() -> None:
    transfer = Transfer(1, 2, more=True)
    assert (transfer.handle, transfer.delivery_id, transfer.more) == (1, 2, True)
    assert transfer.delivery_tag is None
    assert transfer.settled is None
    assert transfer.aborted is False


def test_absent_fields_read_the_default() -> None:
    source = Source(durable=None, timeout=None)  # type: ignore[arg-type]
    assert (source.durable, source.expiry_policy, source.timeout, source.dynamic) == (0, "session-end", 0, False)
    assert source.outcomes == ()


@pytest.mark.parametrize(
    ("given_", "held"),
    [(["a", "b"], ("a", "b")), (("a",), ("a",)), ("queue", ("queue",)), (None, ()), ([], ())],
)
def test_multiple_fields_are_tuples(given_: Any, held: tuple[str, ...]) -> None:
    assert Source(capabilities=given_).capabilities == held


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"Received\(\) takes 2 arguments by position, 3 were given"):
        Received(1, 2, 3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="two values for 'handle'"):
        Transfer(1, handle=1)  # type: ignore[misc]
    with pytest.raises(TypeError, match="no field 'colour'"):
        Transfer(1, colour=2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 5 arguments by position"):
        Begin(1, 2, 3, 4, 5, 6)  # type: ignore[misc,arg-type]
    with pytest.raises(AttributeError):
        Transfer(1).colour = 2  # type: ignore[attr-defined]


def test_comparison() -> None:
    assert Received(1, 2) == Received(1, 2)
    assert Received(1, 2) != Received(1, 3)
    assert Received(1, 2) != (1, 2)
    assert Accepted() == ACCEPTED
    with pytest.raises(TypeError):
        hash(ACCEPTED)


def test_repr_shows_what_is_set() -> None:
    assert repr(Source("q", durable=2)) == "Source(address='q', durable=2)"
    assert repr(ACCEPTED) == "Accepted()"
    assert repr(Transfer(0, more=False)) == "Transfer(handle=0)"


@pytest.mark.parametrize("name", COMPOSITES)
def test_pickle_and_copies(name: str) -> None:
    value = COMPOSITES[name]
    for again in (pickle.loads(pickle.dumps(value)), copy.copy(value), copy.deepcopy(value)):
        assert again == value
        assert type(again) is type(value)


# --- encoding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (ACCEPTED, "00532445"),
        (Source(), "00532845"),
        (Source("q"), "005328c00401a10171"),
        (Source(durable=0, expiry_policy="session-end", dynamic=False), "00532845"),
        (Source(timeout=1), "005328c0060440404052" + "01"),
        (Transfer(0), "005314c0020143"),
        (Transfer(0, more=False), "005314c0020143"),
        (Transfer(0, settled=False), "005314c006054340404042"),
        (SaslMechanisms(["A"]), "005340c00401a30141"),
        (SaslMechanisms(["A", "B"]), "005340c00901e00602a3014101" + "42"),
        (Rejected(Error("a:b")), "005325c00c0100531dc00601a303613a62"),
    ],
)
def test_encodings(value: Composite, encoded: str) -> None:
    assert value.encode().hex() == encoded
    assert encode(value).hex() == encoded
    assert decoded(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize("name", COMPOSITES)
def test_round_trip(name: str) -> None:
    value = COMPOSITES[name]
    assert decoded(value.encode()) == value


@pytest.mark.parametrize("name", COMPOSITES)
def test_symbolic_descriptor(name: str) -> None:
    value = COMPOSITES[name]
    assert decoded(b"\x00" + encode(value.NAME) + value.encode()[3:]) == value


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        (Transfer(None), "Transfer.handle", "mandatory"),  # type: ignore[arg-type]
        (Transfer("x"), "Transfer.handle", "int for uint expected, not str"),  # type: ignore[arg-type]
        (Transfer(1, more=0), "Transfer.more", "bool expected, not int"),  # type: ignore[arg-type]
        (Transfer(-1), "Transfer.handle", "uint is 0 to"),
        (Transfer(1, state=Source()), "Transfer.state", "delivery-state expected, not Source"),
        (Transfer(1, state=5), "Transfer.state", "delivery-state expected, not int"),  # type: ignore[arg-type]
        (Close(ACCEPTED), "Close.error", "error expected, not Accepted"),  # type: ignore[arg-type]
        (Close(Described(5, [])), "Close.error", "error expected, not Described"),  # type: ignore[arg-type]
        (Attach("a", 0, 1), "Attach.role", "bool expected"),  # type: ignore[arg-type]
        (Attach("a", 0, True, 3), "Attach.snd_settle_mode", "none of"),
        (Open("a", properties={"k": object()}), "Open.properties", r"fields\['k'\]: AMQP has no type"),
        (Rejected(Error(None)), "Rejected.error", "Error.condition: mandatory"),  # type: ignore[arg-type]
        (SaslMechanisms(()), "SaslMechanisms.sasl_server_mechanisms", "mandatory"),
        (SaslMechanisms((1, 2)), "SaslMechanisms.sasl_server_mechanisms", "Symbol or str"),  # type: ignore[arg-type]
        (SaslMechanisms((1,)), "SaslMechanisms.sasl_server_mechanisms", "Symbol or str"),  # type: ignore[arg-type]
    ],
)
def test_fields_that_cannot_be_encoded(value: Composite, field: str, reason: str) -> None:
    with pytest.raises(EncodeError, match=reason) as caught:
        value.encode()
    assert caught.value.field == field
    assert caught.value.description.startswith(f"{field}: ")


def test_a_field_set_later_is_encoded_like_a_given_one() -> None:
    source = Source()
    source.capabilities = "queue"  # type: ignore[assignment]
    source.durable = None  # type: ignore[assignment]
    assert source.encode() == Source(capabilities=("queue",)).encode()


def test_a_composite_that_contains_itself() -> None:
    error = Error("a:b", info={})
    assert error.info is not None
    error.info["again"] = error
    with pytest.raises(EncodeError, match="32 levels"):
        error.encode()


def test_composites_inside_other_values() -> None:
    value = decoded(Open("me", properties={"state": ACCEPTED, "list": [Error("a:b")]}).encode())
    assert value.properties == {"state": ACCEPTED, "list": [Error("a:b")]}


# --- decoding -----------------------------------------------------------------------------------------------------


def test_longer_encodings_of_lists() -> None:
    for data in ("005324c00100", "005324d00000000400000000", "0080000000000000002445"):
        assert decoded(bytes.fromhex(data)) == ACCEPTED
    assert decoded(
        bytes.fromhex("005323d0000000080000000243" + "80" + "00" * 7 + "05")[:0] or raw(0x23, UInt(0), ULong(5))
    ) == Received(0, 5)


def test_defaults_of_explicit_nulls() -> None:
    assert decoded(raw(0x28, None, None, None, None, None)) == Source()


def test_multiple_on_the_wire() -> None:
    nothing = [None] * 9
    for sent, held in (
        (Symbol("a"), ("a",)),
        (Array([Symbol("a")], "symbol"), ("a",)),
        (Array([Symbol("a"), Symbol("b")], "symbol"), ("a", "b")),
        (Array([], "symbol"), ()),
        (None, ()),
    ):
        source = decoded(raw(0x28, *nothing, sent))
        assert source.outcomes == held
        assert type(source.outcomes) is tuple


@pytest.mark.parametrize("sent", ["a", Array(["a"], "string"), Array([], "uint"), [Symbol("a")], 5])
def test_multiple_of_the_wrong_type(sent: object) -> None:
    with pytest.raises(DecodeError, match=r"Coordinator\.capabilities"):
        decoded(raw(0x30, sent))


def test_unknown_descriptors() -> None:
    value = Described(0x9999, [UInt(1), UByte(2)])
    found = decoded(encode(value))
    assert type(found) is Described
    assert encode(found) == encode(value)
    assert decoded(encode(Described("amqp:unknown:list", 5))) == Described("amqp:unknown:list", 5)
    assert decoded(Disposition(True, 1, state=value).encode()).state == value


def test_values_in_filters_keep_their_wire_types() -> None:
    filters = {Symbol("a:b"): Described("a:b", UInt(5)), Symbol("n"): None, Symbol("plain"): "text"}
    source = decoded(Source(filter=filters).encode())
    assert source.filter == filters
    assert type(source.filter["a:b"].value) is UInt


@pytest.mark.parametrize(
    ("data", "reason", "condition"),
    [
        (raw(0x14), "Transfer.handle is mandatory", "amqp:invalid-field"),
        (raw(0x14, None), "Transfer.handle is mandatory", "amqp:invalid-field"),
        (raw(0x13, None, UInt(1)), "Flow.next_outgoing_id is mandatory", "amqp:invalid-field"),
        (raw(0x40, None), "SaslMechanisms.sasl_server_mechanisms is mandatory", "amqp:invalid-field"),
        (raw(0x40, Array([], "symbol")), "SaslMechanisms.sasl_server_mechanisms is mandatory", "amqp:invalid-field"),
        (raw(0x12, "l", UInt(0), True, UByte(3)), "Attach.snd_settle_mode: 3 is not", "amqp:invalid-field"),
        (raw(0x44, UByte(5)), "SaslOutcome.code: 5 is not a legal sasl-code", "amqp:invalid-field"),
        (raw(0x28, None, None, Symbol("x")), "Source.expiry_policy", "amqp:invalid-field"),
        (raw(0x14, "x"), "Transfer.handle: handle expected, not constructor 0xa1", "amqp:decode-error"),
        (raw(0x14, 5), "Transfer.handle: handle expected, not constructor 0x55", "amqp:decode-error"),
        (raw(0x15, True, UInt(0), None, None, Source()), "Disposition.state", "amqp:decode-error"),
        (raw(0x15, True, UInt(0), None, None, Error("a")), "Disposition.state", "amqp:decode-error"),
        (raw(0x15, True, UInt(0), None, None, 5), "Disposition.state: delivery-state expected", "amqp:decode-error"),
        (raw(0x18, ACCEPTED), "Close.error: Accepted.* is not a legal error", "amqp:decode-error"),
        (raw(0x18, Described(0x99, [])), "Close.error: Described", "amqp:decode-error"),
        (raw(0x18, "x"), "Close.error: error expected", "amqp:decode-error"),
        (raw(0x73, True), "Properties.message_id: message-id expected", "amqp:decode-error"),
        (raw(0x10, "me", *[None] * 8, {True: 1}), "a key of fields", "amqp:decode-error"),
        (raw(0x24, None), "Accepted has 0 fields, not 1", "amqp:decode-error"),
        (raw(0x23, UInt(1), ULong(1), None), "Received has 2 fields, not 3", "amqp:decode-error"),
        (encode(Described(0x24, {})), "Accepted is a list", "amqp:decode-error"),
        (encode(Described(0x24, None)), "Accepted is a list", "amqp:decode-error"),
        (encode([1]), "described value expected, not constructor 0xc0", "amqp:decode-error"),
        (b"", "too early", "amqp:decode-error"),
        (b"\x00\x53\x24", "too early", "amqp:decode-error"),
        (b"\x00\x53\x23\xc0\x03\x02\x43\x44\x40", "", "amqp:decode-error"),
        (b"\x00\x53\x23\xc0\x04\x02\x43\x44\x40", "do not end", "amqp:decode-error"),
    ],
)
def test_bad_composites(data: bytes, reason: str, condition: str) -> None:
    if not reason:
        assert decode_composite(data, 0, len(data)) == (Received(0, 0), len(data) - 1)
        return
    with pytest.raises(DecodeError, match=reason) as caught:
        decoded(data)
    assert caught.value.condition == condition
    assert 0 <= caught.value.offset <= len(data)


@pytest.mark.parametrize("code", by_code)
def test_any_number_of_fields(code: int) -> None:
    cls = by_code[code]
    full = next((v for v in COMPOSITES.values() if type(v) is cls), None)
    for count in range(len(cls.FIELDS) + 2):
        data = raw(code, *[None] * count)
        needs = any(field.mandatory for field in cls.FIELDS)
        if count > len(cls.FIELDS) or needs:
            with pytest.raises(DecodeError, match=cls.__name__):
                decoded(data)
        else:
            value = decoded(data)
            assert all(getattr(value, field.name) == field.default for field in cls.FIELDS)
    assert full is None or decoded(full.encode()) == full


#: One value of each family of constructors.
SAMPLES: list[Any] = [
    True, UByte(1), UInt(1), ULong(1), 1, 1.5, "s", b"b", Symbol("y"), [1], {Symbol("k"): 1}, Described(0x9999, [])
]  # fmt: skip


@pytest.mark.parametrize("code", by_code)
def test_every_field_with_every_type(code: int) -> None:
    cls = by_code[code]
    for index, field in enumerate(cls.FIELDS):
        for sample in SAMPLES:
            data = raw(code, *[None] * index, sample)
            legal = encode(sample)[0] in field.type.codes
            try:
                value = decoded(data)
            except DecodeError as error:
                text = error.description
                assert cls.__name__ in text or "fields" in text or "key of" in text, (text, sample)
            else:
                assert legal, (cls.__name__, field.name, sample)
                assert encode(decoded(value.encode())) == value.encode()


@given(st.integers(0, 30), st.binary(max_size=10))
def test_inside_a_larger_buffer(before: int, behind: bytes) -> None:
    flow = Flow(incoming_window=1, next_outgoing_id=2, outgoing_window=3)
    encoded = flow.encode()
    data = b"\xff" * before + encoded + behind
    end = before + len(encoded)
    assert decode_composite(data, before, len(data)) == (flow, end)
    with pytest.raises(DecodeError):
        decode_composite(data, before, end - 1)


def test_registries_agree() -> None:
    assert {cls.CODE: cls for cls in by_name.values()} == by_code


def test_composite_types_as_fields() -> None:
    outcome = CompositeType(requires="outcome")
    assert outcome.fault(ACCEPTED) is None
    assert outcome.fault(Described(1, [])) is None
    assert outcome.fault(Received(1, 2)) == "amqp:decode-error"
    assert outcome.fault(5) == "amqp:decode-error"
    error = CompositeType("error")
    assert error.fault(Error("a")) is None
    assert error.fault(Target()) == error.fault(Described(1, [])) == "amqp:decode-error"


def test_modified_with_annotations() -> None:
    value = Modified(True, None, {"x-opt-a": 1})
    assert decoded(value.encode()) == value
