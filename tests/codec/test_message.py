"""Messages."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uamqp.codec.message import Data, Header, Message, Properties, Sequence, Value, encode_message
from uamqp.codec.primitives import LEGACY, encode
from uamqp.codec.values import Array, Described, Symbol, UInt, ULong
from uamqp.exceptions import DecodeError, EncodeError

from .strategies import MESSAGES, label, values

BODIES: list[tuple[Any, str, Any, str]] = [
    (b"ab", "data", b"ab", "005375a0026162"),
    (bytearray(b"ab"), "data", b"ab", "005375a0026162"),
    (memoryview(b"ab"), "data", b"ab", "005375a0026162"),
    (b"", "data", b"", "005375a000"),
    (Data([b"a", b"b"]), "data", b"ab", "005375a00161005375a00162"),
    (Sequence([[1, 2], [3]]), "sequence", [1, 2, 3], "005376c0050255015502005376c003015503"),
    (Sequence([[1, 2]]), "sequence", [1, 2], "005376c0050255015502"),
    (Value(b"ab"), "value", b"ab", "005377a0026162"),
    (Value(None), "value", None, "00537740"),
    (None, "value", None, "00537740"),
    ("ab", "value", "ab", "005377a1026162"),
    (5, "value", 5, "0053775505"),
    ([1], "value", [1], "005377c003015501"),
    ({"a": 1}, "value", {"a": 1}, "005377c10602a101615501"),
    (Symbol("a"), "value", "a", "005377a30161"),
]


@pytest.mark.parametrize(("body", "kind", "read", "encoded"), BODIES, ids=label)
def test_bodies(body: Any, kind: str, read: Any, encoded: str) -> None:
    message = Message(body)
    assert message.encode().hex() == encoded
    assert encode_message(body).hex() == encoded
    assert encode_message(message).hex() == encoded
    again = Message.decode(bytes.fromhex(encoded))
    for one in (message, again):
        assert one.body == read
        assert one.body_kind == kind
        assert bool(one.data_sections) == (kind == "data")
        assert bool(one.sequence_sections) == (kind == "sequence")
    assert again == message
    assert again.encode().hex() == encoded


def test_sections_of_a_body() -> None:
    message = Message.decode(Message(Data([b"a", b"x" * 300])).encode())
    assert message.data_sections == [b"a", b"x" * 300]
    message = Message.decode(Message(Sequence([[1], []])).encode())
    assert message.sequence_sections == [[1], []]


@pytest.mark.parametrize("cls", [Data, Sequence])
def test_a_body_has_a_section(cls: Any) -> None:
    with pytest.raises(ValueError, match="takes one section at least"):
        cls([])
    for sections in ([5], ["text"], "text", b"bytes", [[1], b"a"]):
        with pytest.raises(TypeError, match=f"{cls.__name__} takes a list of (bytes|lists), one for each section"):
            cls(sections)


def test_body_forms() -> None:
    assert Data([b"a"]) == Data([b"a"]) != Data([b"b"])
    assert Sequence([[1]]) == Sequence([[1]]) != Sequence([[2]])
    assert Value(1) == Value(1) != Value(2)
    assert Data([b"a"]) != [b"a"]
    assert Sequence([[1]]) != [[1]]
    assert Value(1) != 1
    assert repr(Data([b"a"])) == "Data([b'a'])"
    assert repr(Sequence([[1]])) == "Sequence([[1]])"
    assert repr(Value("a")) == "Value('a')"


@given(st.binary(max_size=600))
def test_bytes_take_the_short_way_to_the_same_bytes(body: bytes) -> None:
    assert encode_message(body) == Message(body).encode()
    assert Message.decode(encode_message(body)).body == body


@given(st.text(max_size=300))
def test_text_takes_the_short_way_to_the_same_bytes(body: str) -> None:
    assert encode_message(body) == Message(body).encode()
    assert Message.decode(encode_message(body)).body == body


@given(values)
def test_any_value_is_a_body(body: Any) -> None:
    message = Message.decode(Message(Value(body)).encode())
    message.check()
    assert message.body == body


@pytest.mark.parametrize("name", MESSAGES)
def test_round_trip(name: str) -> None:
    message = MESSAGES[name]
    encoded = message.encode()
    again = Message.decode(encoded)
    again.check()
    assert again == message
    assert again.encode() == encoded
    assert message == again


@pytest.mark.parametrize("name", MESSAGES)
def test_pickle_and_copies(name: str) -> None:
    decoded = Message.decode(MESSAGES[name].encode())
    legacy = Message.decode(MESSAGES[name].encode(), dialect=LEGACY)
    for message in (MESSAGES[name], decoded, legacy):
        for again in (pickle.loads(pickle.dumps(message)), copy.copy(message), copy.deepcopy(message)):
            assert again == message
            assert again.encode() == message.encode()


def test_absent_sections_read_empty() -> None:
    for message in (Message(b"x"), Message.decode(encode_message(b"x"))):
        assert message.header == Header()
        assert message.properties == Properties()
        assert message.delivery_annotations == {}
        assert message.annotations == {}
        assert message.application_properties == {}
        assert message.footer == {}
        assert message.encode() == encode_message(b"x")


def test_sections_can_be_changed_in_place() -> None:
    for message in (Message(b"x"), Message.decode(encode_message(b"x"))):
        message.header.durable = True
        message.properties.subject = "s"
        message.annotations["x-a"] = 1
        message.delivery_annotations["x-d"] = 2
        message.application_properties["k"] = "v"
        message.footer["x-f"] = 3
        again = Message.decode(message.encode())
        again.check()
        assert again == message
        assert again.annotations == {"x-a": 1}


def test_sections_can_be_replaced() -> None:
    message = Message.decode(MESSAGES["everything"].encode())
    message.header = Header(priority=1)
    message.properties = Properties(subject="new")
    message.annotations = {}
    message.delivery_annotations = {"x": 1}
    message.application_properties = {"a": 2}
    message.footer = None  # type: ignore[assignment]
    message.body = b"new"
    expected = Message(
        b"new",
        header=Header(priority=1),
        properties=Properties(subject="new"),
        delivery_annotations={"x": 1},
        application_properties={"a": 2},
    )
    assert message == expected
    assert message.encode() == expected.encode()


def test_sections_of_the_wrong_type() -> None:
    for name, wanted in (
        ("header", "Header"),
        ("properties", "Properties"),
        ("annotations", "dict"),
        ("delivery_annotations", "dict"),
        ("application_properties", "dict"),
        ("footer", "dict"),
    ):
        with pytest.raises(TypeError, match=f"{name} is a {wanted}, not list"):
            Message(**{name: []})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=f"{name} is a {wanted}, not list"):
            setattr(Message(), name, [])
    with pytest.raises(TypeError, match="properties is a Properties, not dict"):
        Message(properties={})  # type: ignore[arg-type]


def foreign(annotations: Any, properties: bytes = b"") -> bytes:
    """A message as this library would not write it: wire types and widths that plain values do not have."""
    section = b"\x00\x53\x72\xd1" + (len(annotations) + 4).to_bytes(4, "big") + b"\x00\x00\x00\x02" + annotations
    return section + properties + b"\x00\x53\x75\xb0\x00\x00\x00\x01x" + encode(Described(0x78, {}))


def test_unchanged_sections_keep_their_bytes() -> None:
    data = foreign(b"\xa3\x01a\x70\x00\x00\x00\x05", b"\x00\x53\x73\xc0\x01\x00")
    message = Message.decode(data)
    assert message.encode() == data
    message.check()
    assert message.annotations == {"a": 5}
    assert message.encode() == data
    message.application_properties["k"] = 1
    assert message.encode() != data
    assert message.encode().startswith(data[:17])
    assert b"\xb0\x00\x00\x00\x01x" in message.encode()
    del message.application_properties["k"]
    assert message.encode() == data
    message.annotations["a"] = 6
    assert Message.decode(message.encode()).annotations == {"a": 6}


def test_a_change_that_python_takes_for_none_is_seen() -> None:
    message = Message.decode(Message({"a": 1}, annotations={"b": 1}).encode())
    message.annotations["b"] = True
    message.body["a"] = 1.0
    again = Message.decode(message.encode())
    assert again.annotations["b"] is True
    assert type(again.body["a"]) is float


def test_changed_bodies() -> None:
    for body, changed in (
        (Data([b"a"]), Data([b"a", b"b"])),
        (Data([b"a"]), Value(b"a")),
        (Sequence([[1]]), Sequence([[1], []])),
        (Sequence([[1]]), Value([[1]])),
        (Value(1), Sequence([[1]])),
        (Value(b"a"), Data([b"a"])),
    ):
        message = Message.decode(Message(body).encode())
        message.body = changed
        assert message.encode() == Message(changed).encode()
    message = Message.decode(Message([1]).encode())
    message.body.append(2)
    assert Message.decode(message.encode()).body == [1, 2]


def test_damaged_sections_can_be_replaced() -> None:
    data = encode(Described(0x72, {"string": 1})) + b"\x00\x53\x77\x56\x02"
    message = Message.decode(data)
    message.annotations = {"a": 1}
    message.body = b"new"
    assert message.encode() == Message(b"new", annotations={"a": 1}).encode()


def test_legacy_dialect() -> None:
    data = MESSAGES["everything"].encode()
    message = Message.decode(data, dialect=LEGACY)
    message.check()
    assert message.annotations == {b"x-opt-a": 1, 7: None}
    assert message.application_properties == {b"a": 1, b"b": None, b"c": b"d", b"e": b"f"}
    assert message.body == {b"a": [1, 2.5]}
    assert message.properties.to == "q"
    assert message.encode() == data


def test_message_format() -> None:
    assert Message(message_format=5).message_format == 5
    assert Message.decode(encode_message(1), 7).message_format == 7
    assert Message(1, message_format=1) != Message(1)


def test_comparison() -> None:
    assert Message(b"a") == Message(Data([b"a"]))
    assert Message(b"a") != Message(Value(b"a"))
    assert Message(b"a") != b"a"
    for other in (
        Message(b"a", header=Header(durable=True)),
        Message(b"a", properties=Properties(to="q")),
        Message(b"a", annotations={"x": 1}),
        Message(b"a", delivery_annotations={"x": 1}),
        Message(b"a", application_properties={"x": 1}),
        Message(b"a", footer={"x": 1}),
    ):
        assert Message(b"a") != other
    with pytest.raises(TypeError):
        hash(Message())


def test_repr_is_short_and_never_fails() -> None:
    assert repr(Message("hi")) == "Message('hi')"
    for body in (b"x" * 10**6, "x" * 10**6, ["x" * 10**6] * 100, {"a": ["x" * 1000] * 100}):
        assert len(repr(Message(body))) < 500
    assert "without any section" in repr(Message.decode(b""))


# --- properties ---------------------------------------------------------------------------------------------------

MOMENT = dt.datetime(2024, 2, 29, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize("identity", [0, 5, 2**64 - 1, "text", b"binary", uuid.UUID(int=5)])
def test_message_ids(identity: Any) -> None:
    message = Message(properties=Properties(message_id=identity, correlation_id=identity))
    again = Message.decode(message.encode()).properties
    assert again.message_id == again.correlation_id == identity
    assert type(again.message_id) is type(identity)


@pytest.mark.parametrize("field", ["a1 01 ff", "a1 05 61"])
def test_damaged_properties(field: str) -> None:
    damaged = bytes.fromhex(field)
    payload = bytes((0, 0x53, 0x73, 0xC0, len(damaged) + 1, 1)) + damaged + b"\x00\x53\x75\xa0\x01x"
    message = Message.decode(payload)
    assert message.body == b"x"
    with pytest.raises(DecodeError):
        message.properties  # noqa: B018


def test_damaged_application_properties() -> None:
    payload = b"\x00\x53\x74\xc1\x06\x02\xa1\x01\xff\x54\x05\x00\x53\x75\xa0\x01x"
    message = Message.decode(payload)
    assert message.body == b"x"
    with pytest.raises(DecodeError):
        message.application_properties  # noqa: B018


def test_whether_a_section_came() -> None:
    # An empty list of properties, and a body.
    message = Message.decode(bytes.fromhex("00537345005375a00178"))
    assert message.came_with(0x73) and not message.came_with(0x70)
    assert message.properties == Properties()
    # Not what was set here.
    assert not Message(b"x", properties=Properties(subject="s")).came_with(0x73)


def test_types_of_properties() -> None:
    properties = Properties(
        user_id=b"u",
        to="to",
        subject="s",
        reply_to="r",
        content_type="text/plain",
        content_encoding=Symbol("gzip"),
        absolute_expiry_time=MOMENT,
        creation_time=1_000,
        group_id="g",
        group_sequence=7,
        reply_to_group_id="rg",
    )
    again = Message.decode(Message(properties=properties).encode()).properties
    assert again.content_type == "text/plain"
    assert again.absolute_expiry_time == MOMENT
    assert again.creation_time == dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC)
    assert again.group_sequence == 7


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Message(properties=Properties(message_id=1.5)), "Properties.message_id"),  # type: ignore[arg-type]
        (Message(properties=Properties(creation_time=dt.datetime(2024, 1, 1))), "Properties.creation_time"),
        (Message(properties=Properties(user_id="text")), "Properties.user_id"),  # type: ignore[arg-type]
        (Message(header=Header(priority=256)), "Header.priority"),
        (Message(header=Header(durable=1)), "Header.durable"),  # type: ignore[arg-type]
        (Message(annotations={"a": object()}), "message-annotations['a']"),
        (Message(annotations={b"a": 1}), "message-annotations[b'a']"),
        (Message(annotations={-1: 1}), "message-annotations[-1]"),
        (Message(delivery_annotations={1.5: 1}), "delivery-annotations[1.5]"),
        (Message(footer={None: 1}), "footer[None]"),
        (Message(application_properties={1: 1}), "application-properties[1]"),
        (Message(application_properties={"a": []}), "application-properties['a']"),
        (Message(application_properties={"a": Array([1])}), "application-properties['a']"),
    ],
)
def test_errors_name_the_place(message: Message, field: str) -> None:
    with pytest.raises(EncodeError) as caught:
        message.encode()
    assert caught.value.field == field


def test_errors_in_changed_sections_name_the_place() -> None:
    message = Message.decode(Message(1, annotations={"a": 1}).encode())
    message.annotations["b"] = object()
    with pytest.raises(EncodeError) as caught:
        message.encode()
    assert caught.value.field == "message-annotations['b']"


def test_annotation_keys_may_be_numbers() -> None:
    message = Message(annotations={5: 1, ULong(6): 2, "x": UInt(3)})
    assert Message.decode(message.encode()).annotations == {5: 1, 6: 2, "x": 3}


def test_annotation_keys_that_came_as_strings() -> None:
    message = Message.decode(encode(Described(0x72, {"a": 1})) + encode_message(b"x"))
    assert message.annotations == {"a": 1}
    message.annotations["b"] = 2
    assert message.encode() == Message(b"x", annotations={Symbol("a"): 1, Symbol("b"): 2}).encode()


# --- laziness and strictness --------------------------------------------------------------------------------------


def test_nothing_is_read_before_it_is_asked_for() -> None:
    bad_body = Message(application_properties={"a": 1}).encode()[:-1] + b"\x56\x02"
    message = Message.decode(bad_body)
    assert message.application_properties == {"a": 1}
    with pytest.raises(DecodeError, match="boolean"):
        _ = message.body
    with pytest.raises(DecodeError):
        message.check()
    assert message.encode() == bad_body
    assert "boolean" in repr(message)


@pytest.mark.parametrize(
    "section",
    [
        b"\x00\x53\x70\xc0\x02\x01\x55\x01"[:-1],
        encode(Described(0x70, ["durable"])),
        encode(Described(0x71, {True: 1})),
        encode(Described(0x72, {True: 1})),
        encode(Described(0x73, [True])),
        encode(Described(0x74, {Symbol("a"): 1})),
        encode(Described(0x74, {"a": [1]})),
    ],
)
def test_check_finds_what_lies_within_a_section(section: bytes) -> None:
    data = section + encode_message(b"x")
    message = Message.decode(data)
    with pytest.raises(DecodeError):
        message.check()


def test_check_of_a_bad_footer() -> None:
    with pytest.raises(DecodeError, match="footer"):
        Message.decode(encode_message(b"x") + encode(Described(0x78, {"s": 1}))).check()


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x40"])
def test_what_is_no_message_fails_on_first_use(data: bytes) -> None:
    for use in ("header", "annotations", "properties", "body", "body_kind", "data_sections", "encode", "check"):
        message = Message.decode(data)
        with pytest.raises(DecodeError):
            found = getattr(message, use)
            found()


def test_offsets_are_those_of_the_whole_message() -> None:
    data = encode(Described(0x72, {})) + b"\x00\x53\x77\xa1\x01\xff"
    with pytest.raises(DecodeError, match="UTF-8") as caught:
        _ = Message.decode(data).body
    assert caught.value.offset == len(data) - 1


def test_new_messages_pass_the_check() -> None:
    Message(b"x").check()


def test_bodies_that_cannot_be_encoded() -> None:
    for body in (object(), Value({1, 2}), "\ud800"):
        with pytest.raises(EncodeError):
            encode_message(body)
    for body in (Data([b""]), Sequence([[]])):
        for section in ("text", 5):
            body.sections = [section]  # type: ignore[list-item]
            with pytest.raises(EncodeError, match="expected"):
                encode_message(body)


def test_a_message_may_have_no_body() -> None:
    """Proton sends such messages; the bytes stay as they came."""
    payload = b"\x00\x53\x70\x45\x00\x53\x73\x45"
    message = Message.decode(payload)
    message.check()
    assert message.body is None
    assert message.body_kind == "value"
    assert message.encode() == payload
    message.body = b"now"
    assert Message.decode(message.encode()).body == b"now"


def test_any_bytes_like_payload_will_do() -> None:
    message = Message.decode(bytearray(b"\x00\x53\x75\xa0\x02hi"))
    assert message.body == b"hi" and type(message.body) is bytes
