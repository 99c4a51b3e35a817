"""Messages by themselves: bodies, sections, encoding, copies, batches. Bytes are as uamqp 1.6.11 made them."""

from __future__ import annotations

import copy
import datetime as dt
import pickle
import uuid
from typing import Any

import pytest

import uamqp.aio as amqp
from uamqp import BatchMessage, Message, MessageBodyType, errors, exceptions
from uamqp.codec.primitives import LEGACY
from uamqp.codec.values import Array, Char, Described, Float, Symbol, Timestamp, UInt, ULong
from uamqp.constants import BODY_TYPE_C_PYTHON_MAP, MessageState
from uamqp.message import DataBody, MessageBody, MessageHeader, MessageProperties, SequenceBody, ValueBody

DATA, VALUE, SEQUENCE = MessageBodyType.Data, MessageBodyType.Value, MessageBodyType.Sequence


def data_of(message: Message) -> Any:
    data = message.get_data()
    return list(data) if message.value is None and data is not None else data


def again(message: Message) -> Message:
    """The message as it arrives."""
    return Message.decode_from_bytes(bytearray(message.encode_message()))


# --- bodies -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "kind", "data", "text", "encoded"),
    [
        (None, ValueBody, None, "", "00537740"),
        (0, ValueBody, 0, "", "0053775400"),
        (5, ValueBody, 5, "5", "0053775405"),
        (2**40, ValueBody, 2**40, "1099511627776", "005377810000010000000000"),
        (1.5, ValueBody, 1.5, "1.5", "005377823ff8000000000000"),
        (2**64, ValueBody, 2.0**64, "1.8446744073709552e+19", "0053778243f0000000000000"),
        (True, ValueBody, True, "True", "00537741"),
        ("x", DataBody, [b"x"], "x", "005375a00178"),
        (b"x", DataBody, [b"x"], "x", "005375a00178"),
        (["a", b"b"], DataBody, [b"a", b"b"], "ab", "005375a00161005375a00162"),
        # uamqp 1.6.11 sent a message without a body, which no peer may accept.
        ([], DataBody, [], "", "005375a000"),
        ([1, "a"], ValueBody, [1, b"a"], "[1, b'a']", "005377c006025401a10161"),
        ((1, 2), ValueBody, [1, 2], "[1, 2]", "005377c0050254015402"),
        ({"a": 1}, ValueBody, {b"a": 1}, "{b'a': 1}", "005377c10602a101615401"),
        (bytearray(b"q"), ValueBody, b"q", "q", "005377a00171"),
        (uuid.UUID(int=3), ValueBody, uuid.UUID(int=3), str(uuid.UUID(int=3)), "00537798" + "00" * 15 + "03"),
    ],
)
def test_bodies(body: Any, kind: Any, data: Any, text: str, encoded: str) -> None:
    message = Message(body)
    assert type(message._body) is kind
    assert data_of(message) == data
    assert str(message) == text
    assert message.encode_message().hex() == encoded
    assert message.get_message_encoded_size() == len(encoded) // 2
    received = again(message)
    assert type(received._body) is kind
    assert str(received) == text
    assert data_of(received) == (data if body != [] else [b""])


@pytest.mark.parametrize(
    ("body", "body_type", "data", "encoded"),
    [
        ("x", DATA, [b"x"], "005375a00178"),
        ([b"a", "b"], DATA, [b"a", b"b"], "005375a00161005375a00162"),
        ("x", VALUE, b"x", "005377a10178"),
        ([[1, 2], [3]], VALUE, [[1, 2], [3]], "005377c00d02c0050254015402c003015403"),
        ([1, 2], SEQUENCE, [[1, 2]], "005376c0050254015402"),
        ([[1, 2], [3]], SEQUENCE, [[1, 2], [3]], "005376c0050254015402005376c003015403"),
        ([], SEQUENCE, [[]], "00537645"),
    ],
)
def test_bodies_of_a_kind(body: Any, body_type: Any, data: Any, encoded: str) -> None:
    message = Message(body, body_type=body_type)
    assert message._body is not None
    assert message._body.type is body_type.value
    assert data_of(message) == data
    assert message.encode_message().hex() == encoded
    received = again(message)
    assert received._body is not None
    assert received._body.type is body_type.value
    assert data_of(received) == data


def test_bodies_that_a_kind_cannot_hold() -> None:
    for body in (5, [1], [["a"]], None):
        with pytest.raises(TypeError, match=r"^For MessageBodyType\.Data, the body must be str or bytes"):
            Message(body, body_type=DATA)
    for body in (5, "x", None):
        with pytest.raises(TypeError, match=r"^For MessageBodyType\.Sequence, the body must be list"):
            Message(body, body_type=SEQUENCE)
    with pytest.raises(ValueError, match="Unsupported MessageBodyType"):
        Message("x", body_type="data")  # type: ignore[arg-type]


def test_the_three_views_of_a_body() -> None:
    data, sequence, value = Message("x"), Message([1], body_type=SEQUENCE), Message({"a": 1})
    assert (list(data.data), data.sequence, data.value) == ([b"x"], None, None)
    assert (sequence.data, list(sequence.sequence), sequence.value) == (None, [[1]], None)
    assert (value.data, value.sequence, value.value) == (None, None, {b"a": 1})
    assert next(data.get_data()) == b"x"


def test_body_objects() -> None:
    data = DataBody(["a"])
    data.append(b"b")
    assert (bytes(data), str(data), len(data), data[1], data[-2], data.type) == (b"ab", "ab", 2, b"b", b"a", DATA.value)
    sequence = SequenceBody([[1, "a"]])
    sequence.append([2])
    assert (bytes(sequence), str(sequence), len(sequence)) == (b"1a2", "1a2", 2)
    assert (sequence[0], sequence[-1], sequence.type) == ([1, b"a"], [2], SEQUENCE.value)
    value = ValueBody()
    assert (bytes(value), str(value), value.data) == (b"", "", None)
    value.set("text")
    assert (bytes(value), str(value), value.data, value.type) == (b"text", "text", b"text", VALUE.value)
    assert {kind.value.value: kind for kind in MessageBodyType} == BODY_TYPE_C_PYTHON_MAP
    with pytest.raises(NotImplementedError):
        _ = MessageBody().data


def test_values_keep_their_type_on_the_wire() -> None:
    moment = dt.datetime(2026, 11, 23, 12, 0, tzinfo=dt.UTC)
    value = {
        "symbol": Symbol("s"),
        "uint": UInt(5),
        "float": Float(0.5),
        "char": Char("ä"),
        "time": moment,
        "naive": moment.replace(tzinfo=None),
        "stamp": Timestamp(5),
        "described": Described("filter", "text"),
        "array": Array([UInt(1)]),
        "set": {7},
        "binary": b"\xff",
    }
    sent = amqp.Message.decode(Message(value).encode_message()).body
    assert type(sent["symbol"]) is Symbol
    assert sent["time"] == sent["naive"] == moment
    assert sent["described"] == Described("filter", "text")
    assert isinstance(sent["array"], Array)
    assert sent["binary"] == b"\xff"
    received = again(Message(value)).get_data()
    milliseconds = int(moment.timestamp() * 1000)
    expected = {
        b"symbol": b"s",
        b"uint": 5,
        b"float": 0.5,
        b"char": "ä",
        b"time": milliseconds,
        b"naive": milliseconds,
        b"stamp": 5,
        b"described": b"text",
        b"array": [1],
        b"set": [7],
        b"binary": b"\xff",
    }
    assert received == expected
    assert Message(value).get_data() == expected


def test_text_may_hold_nul_and_other_encodings() -> None:
    assert list(again(Message("a\0b")).get_data()) == [b"a\0b"]
    assert again(Message({"k": "a\0b"})).get_data() == {b"k": b"a\0b"}
    assert Message("ä", encoding="latin-1").encode_message() == b"\x00Su\xa0\x01\xe4"
    assert str(Message("ä", encoding="latin-1")) == "ä"


# --- sections ---------------------------------------------------------------------------------------------------


def test_a_new_message_has_nothing_else() -> None:
    for message in (Message("x"), again(Message("x"))):
        assert message.properties is None
        assert message.header is None
        assert message.application_properties is None
        assert message.annotations is None
        assert message.message_annotations is None
        assert message.delivery_annotations is None
        assert message.footer is None


def test_all_sections() -> None:
    header = MessageHeader()
    header.durable, header.priority, header.time_to_live, header.first_acquirer = True, 7, 500, True
    header.delivery_count = 2
    properties = MessageProperties(
        message_id="id",
        user_id=b"\xff",
        to="to",
        subject=b"subject",
        reply_to="reply",
        correlation_id=uuid.UUID(int=1),
        content_type="text/plain",
        content_encoding="gzip",
        absolute_expiry_time=5,
        creation_time=6,
        group_id="group",
        group_sequence=7,
        reply_to_group_id="other",
    )
    message = Message(
        "body",
        properties,
        {"text": "täxt", b"number": 5},
        {"x-opt-a": 1, 7: "number"},
        header,
        footer={"hash": b"x"},
        delivery_annotations={b"d": 1.5},
    )
    modern = amqp.Message.decode(message.encode_message())
    assert modern.properties.message_id == "id"
    assert modern.properties.user_id == b"\xff"
    assert modern.header.delivery_count == 2
    # Keys are symbols, as the specification wants.
    assert all(type(key) is Symbol for key in (*modern.delivery_annotations, *modern.footer))
    received = again(message)
    assert received.state is MessageState.ReceivedSettled
    assert received.settled is True
    assert received.accept() is False
    assert received.header is not None
    assert received.header.ttl == 500
    assert str(received.header) == str(header)
    assert str(received.properties) == str(properties)
    assert received.application_properties == {b"text": "täxt".encode(), b"number": 5}
    assert received.annotations == {b"x-opt-a": 1, 7: b"number"}
    assert received.footer == {b"hash": b"x"}
    assert received.delivery_annotations == {b"d": 1.5}


def test_zero_and_false_stay_what_they_are() -> None:
    header = MessageHeader()
    header.durable, header.priority, header.time_to_live, header.first_acquirer = False, 0, 0, False
    message = Message("x", MessageProperties(creation_time=0, group_sequence=0), header=header)
    received = again(message)
    assert received.header is not None
    assert (received.header.durable, received.header.priority, received.header.time_to_live) == (False, 0, 0)
    assert received.header.first_acquirer is False
    assert (received.properties.creation_time, received.properties.group_sequence) == (0, 0)
    assert received.properties.absolute_expiry_time is None


def test_properties_of_a_message_to_send_are_those_that_were_set() -> None:
    own: dict[Any, Any] = {"key": "value"}
    message = Message("x", application_properties=own, annotations=own, footer=own)
    assert message.application_properties is own
    assert message.annotations is own
    assert message.footer is own


def test_setters() -> None:
    for message in (Message("x"), again(Message("x", MessageProperties(message_id="old"), {"old": 1}))):
        message.properties = MessageProperties(message_id="new")
        message.header = MessageHeader()
        message.header.durable = True
        message.application_properties = {"new": 1}
        message.annotations = {"a": 1}
        message.delivery_annotations = {"d": 1}
        message.footer = {"f": 1}
        received = again(message)
        assert received.properties.message_id == b"new"
        assert received.header is not None
        assert received.header.durable is True
        assert received.application_properties == {b"new": 1}
        assert received.annotations == {b"a": 1}
        assert received.delivery_annotations == {b"d": 1}
        assert received.footer == {b"f": 1}
        message.properties = None
        message.footer = None
        assert message.properties is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("properties", "Properties must be a MessageProperties."),
        ("header", "Header must be a MessageHeader."),
        ("footer", "Footer must be a dictionary."),
        ("annotations", "Message annotations must be a dictionary."),
        ("delivery_annotations", "Delivery annotations must be a dictionary."),
        ("application_properties", "Application properties must be a dictionary."),
    ],
)
def test_setters_check(name: str, text: str) -> None:
    message = Message("x")
    with pytest.raises(TypeError, match=text):
        setattr(message, name, 5)


def test_properties_given_as_a_dict() -> None:
    message = Message("x", properties={"message_id": "123"})
    assert message.properties.message_id == b"123"
    assert Message("x", properties={}).properties == {}
    assert again(Message("x", properties={})).properties is None


def test_the_short_order_of_arguments() -> None:
    message = Message("ä", None, None, None, None, 5, "latin-1", VALUE, {"f": 1}, {"d": 1})  # type: ignore[arg-type]
    assert message.get_message().message_format == 5
    assert message.value == "ä".encode()
    assert (message.footer, message.delivery_annotations) == ({"f": 1}, {"d": 1})
    assert Message(b"x", None, None, None, None, None, None, None, 7).delivery_no == 7


def test_message_properties() -> None:
    properties = MessageProperties(message_id="id", correlation_id=b"c", user_id="user", group_sequence=True)
    assert (properties.message_id, properties.correlation_id, properties.user_id) == (b"id", b"c", b"user")
    assert properties.group_sequence == 1
    properties.message_id = 5
    assert properties.message_id == 5
    properties.message_id = uuid.UUID(int=1)
    assert properties.message_id == uuid.UUID(int=1)
    properties.message_id = Symbol("symbol")
    assert properties.message_id == b"symbol"
    properties.message_id = None
    assert properties.message_id is None
    for name in ("to", "subject", "user_id", "content_type", "group_id", "reply_to", "reply_to_group_id"):
        setattr(properties, name, "text")
        assert getattr(properties, name) == b"text"
        with pytest.raises(TypeError, match=f"{name} must be str or bytes, not int"):
            setattr(properties, name, 5)
    for name in ("absolute_expiry_time", "creation_time", "group_sequence"):
        with pytest.raises(TypeError, match=f"{name} must be int, not str"):
            setattr(properties, name, "5")
    with pytest.raises(TypeError, match="message_id must be str, bytes, int or UUID, not float"):
        properties.message_id = 1.5
    assert str(properties).startswith("{'message_id': None, 'user_id': b'text', ")
    assert repr(MessageProperties(to="x")) == "MessageProperties(to=b'x')"
    assert MessageProperties(message_id=5).get_properties_obj() == amqp.Properties(message_id=5)
    assert MessageProperties(message_id=b"\xff").get_properties_obj() == amqp.Properties(message_id=b"\xff")


def test_message_header() -> None:
    header = MessageHeader()
    assert header.__dict__ == {
        "delivery_count": 0,
        "time_to_live": None,
        "first_acquirer": None,
        "durable": None,
        "priority": None,
    }
    assert header.get_header_obj() == amqp.Header()
    header.time_to_live = 5
    assert header.ttl == 5
    assert repr(header) == "<MessageHeader delivery_count=0, time_to_live=5>"


# --- what cannot be sent ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Message(object()),
        Message("x", application_properties={"k": {"nested": 1}}),
        Message("x", application_properties={"k": object()}),
        Message("x", annotations={1.5: "key"}),
    ],
)
def test_what_amqp_cannot_carry(message: Message) -> None:
    with pytest.raises(ValueError) as caught:
        message.encode_message()
    assert isinstance(caught.value, exceptions.EncodeError)


def test_bytes_that_are_no_message() -> None:
    for damaged in (b"", b"\x00", b"\x00Su\xa0\x05abc", Message("x").encode_message() + b"\x01"):
        with pytest.raises(exceptions.DecodeError):
            Message.decode_from_bytes(damaged)


def test_damage_is_found_each_time() -> None:
    payload = b"\x00Sr\xc1\x03\x02\xa1\x00" + Message("x").encode_message()
    message = Message(message=amqp.Message.decode(payload, 0, LEGACY))
    for _ in range(2):
        with pytest.raises(exceptions.DecodeError):
            _ = message.annotations
    assert list(message.get_data()) == [b"x"]
    assert repr(message) == "<Message, ReceivedSettled>"


# --- states -----------------------------------------------------------------------------------------------------


def test_gathering() -> None:
    message = Message("x")
    assert message.gather() == [message]
    message._response = errors.MessageSendFailed(errors.ErrorCodes.NotFound)
    with pytest.raises(errors.MessageSendFailed):
        message.gather()
    with pytest.raises(TypeError, match="Only new messages can be gathered"):
        again(Message("x")).gather()


def test_settler() -> None:
    """As the tests of uamqp 1.6.11 make received messages."""
    responses: list[Any] = []
    decoded = Message("x").get_message()

    def received() -> Message:
        return Message(message=decoded, settler=responses.append, delivery_no=5)

    message = received()
    assert (message.state, message.settled, message.delivery_no) == (MessageState.ReceivedUnsettled, False, 5)
    assert message.accept() is True
    assert message.state is MessageState.ReceivedSettled
    assert received().reject("c:x", "words", {"a": 1}) is True
    assert received().reject() is True
    assert received().release() is True
    assert received().modify(True, False, {"a": 1}) is True
    accepted, rejected, default, released, modified = responses
    assert isinstance(accepted, errors.MessageAccepted)
    assert (rejected.error_condition, rejected.error_description, rejected.error_info) == (b"c:x", b"words", {"a": 1})
    assert (default.error_condition, default.error_description) == (b"amqp:internal-error", b"")
    assert isinstance(released, errors.MessageReleased)
    assert (modified.failed, modified.undeliverable, modified.annotations) == (True, False, {"a": 1})
    assert repr(received()) == "<Message 5, ReceivedUnsettled>"
    assert repr(Message("x")) == "<Message, WaitingToBeSent>"


# --- copies -----------------------------------------------------------------------------------------------------


def copies(value: Any) -> list[Any]:
    return [copy.deepcopy(value), pickle.loads(pickle.dumps(value))]


def test_copies_of_a_new_message() -> None:
    message = Message(
        ["a", "b"], MessageProperties(message_id="id"), {"k": "v"}, {"a": 1}, MessageHeader(), footer={"f": 1}
    )
    for copied in copies(message):
        assert copied.encode_message() == message.encode_message()
        assert copied.state is MessageState.WaitingToBeSent
        assert copied.properties.message_id == b"id"


def test_copies_of_a_received_message() -> None:
    decoded = amqp.Message.decode(Message("x", application_properties={"k": "v"}).encode_message(), 3, LEGACY)
    message = Message(message=decoded, settler=lambda response: None, delivery_no=5)
    message.delivery_tag = b"tag"
    for copied in copies(message):
        assert list(copied.get_data()) == [b"x"]
        assert copied.application_properties == {b"k": b"v"}
        assert (copied.delivery_no, copied.delivery_tag) == (5, b"tag")
        assert copied.state is MessageState.ReceivedUnsettled
        assert copied.get_message().message_format == 3
        with pytest.raises(RuntimeError, match="settle the message itself"):
            copied.accept()
    assert message.accept() is True
    for copied in copies(message):
        assert copied.settled is True
        assert copied.accept() is False


def test_copies_of_properties_and_batches() -> None:
    for copied in copies(MessageProperties(message_id="id", to="x")):
        assert str(copied) == str(MessageProperties(message_id="id", to="x"))
    batch = BatchMessage(["a"], application_properties={"k": 1})
    for copied in copies(batch):
        assert copied.gather()[0].encode_message() == batch.gather()[0].encode_message()


# --- sending on what was received -------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_body_that_was_looked_at_keeps_its_types_in_any_encoding(encoding: str) -> None:
    payload = amqp.Message(amqp.Value([b"bytes", "text"])).encode()
    message = Message(message=amqp.Message.decode(payload, 0, LEGACY), encoding=encoding)
    assert message.value == [b"bytes", b"text"]
    assert message.encode_message() == payload


def test_what_was_not_changed_keeps_its_bytes() -> None:
    modern = amqp.Message(
        amqp.Value({"symbol": Symbol("s"), "binary": b"b", "ulong": ULong(5)}),
        properties=amqp.Properties(message_id=b"binary", user_id=b"\xff", correlation_id=ULong(5)),
        application_properties={"binary": b"b", "uint": UInt(5)},
        annotations={"x-opt-symbol": Symbol("s")},
    )
    payload = modern.encode()
    received = Message.decode_from_bytes(payload)
    _ = received.properties, received.annotations, received.get_data()
    assert received.encode_message() == payload
    assert received.application_properties is not None
    received.application_properties["new"] = 1
    changed = amqp.Message.decode(received.encode_message())
    assert changed.properties == modern.properties
    assert changed.annotations == modern.annotations
    assert changed.body == modern.body
    assert changed.application_properties["new"] == 1


@pytest.mark.parametrize("section", ["header", "footer", "delivery_annotations", "annotations"])
def test_any_section_may_be_asked_for_first(section: str) -> None:
    header = MessageHeader()
    header.durable = True
    message = Message("x", None, None, {"a": 1}, header, footer={"f": 1}, delivery_annotations={"d": 1})
    assert getattr(again(message), section)


def test_a_message_of_the_modern_client() -> None:
    modern = amqp.Message("body", application_properties={"k": 1})
    assert Message(message=modern).get_message() is modern
    assert Message(message=modern).application_properties == {"k": 1}


def test_a_changed_body() -> None:
    received = again(Message("x"))
    assert isinstance(received._body, DataBody)
    received._body.append("y")
    assert again(received).get_data().__next__() == b"x"
    assert data_of(again(received)) == [b"x", b"y"]


# --- batches ----------------------------------------------------------------------------------------------------


class EventData:
    """An object of the kind that the Azure packages put into batches."""

    def __init__(self, body: str) -> None:
        self.message = Message(body)


def test_batch() -> None:
    batch = BatchMessage([b"a", "b", ["c"], Message("d"), EventData("e")])
    (message,) = batch.gather()
    assert message.encode_message().hex() == (
        "005375a006005375a00161005375a006005375a00162005375a006005375a00163005375a006005375a00164005375a006005375a00165"
    )
    assert message.get_message().message_format == 0x80013700
    assert batch.get_message().encode() == message.encode_message()
    assert batch.value is None
    assert batch.sequence is None


def test_what_an_envelope_carries() -> None:
    told: list[Any] = []
    own = Message("own", application_properties={"own": 1})
    batch = BatchMessage(
        ["a", own, Message("b")],
        MessageProperties(message_id="id"),
        {"key": "value"},
        {"annotation": 1},
        MessageHeader(),
        multi_messages=True,
    )
    batch.on_send_complete = lambda *args: told.append(args)
    (message,) = batch.gather()
    assert message.on_send_complete is batch.on_send_complete
    received = again(message)
    assert received.properties.message_id == b"id"
    assert received.annotations == {b"annotation": 1}
    assert received.application_properties is None
    inner = [Message.decode_from_bytes(section) for section in received.get_data()]
    assert [m.application_properties for m in inner] == [{b"key": b"value"}, {b"own": 1}, {b"key": b"value"}]


def test_batch_that_grows() -> None:
    items = ["a"]
    batch = BatchMessage(items)
    batch._body_gen.append("b")
    assert batch.data is items
    assert batch.get_data() is items
    assert len(list(batch.gather()[0].get_data())) == 2
    assert list(BatchMessage(None).gather()[0].get_data()) == []
    assert len(list(BatchMessage(str(n) for n in range(3)).gather()[0].get_data())) == 3


def test_size_of_a_batch() -> None:
    items = ["x" * 500_000] * 5
    with pytest.raises(errors.MessageContentTooLarge, match="too large for a single message"):
        BatchMessage(items).gather()
    parts = BatchMessage(items, multi_messages=True).gather()
    assert [len(list(part.get_data())) for part in parts] == [2, 2, 1]
    with pytest.raises(ValueError, match="unpack"):
        BatchMessage(items, multi_messages=True).get_message()
    assert all(part.get_message_encoded_size() <= 1024 * 1024 for part in parts)
    small = BatchMessage(["x" * 100] * 3, multi_messages=True)
    small.max_message_length = 250
    assert len(small.gather()) == 2
    small.size_offset = 100
    assert len(small.gather()) == 3
    small.size_offset = 200
    with pytest.raises(errors.MessageContentTooLarge):
        small.gather()


@pytest.mark.parametrize("length", [0, 10, 300])
def test_a_batch_has_room_for_what_is_around_its_messages(length: int) -> None:
    batch = BatchMessage(["x" * length] * 1000, annotations={"a": 1}, multi_messages=True)
    batch.max_message_length = 4096
    sizes = [part.get_message_encoded_size() for part in batch.gather()]
    assert 4096 - length - 16 < sizes[0] <= 4096 and len(sizes) > 1
    batch.max_message_length = sizes[0]
    assert batch.gather()[0].get_message_encoded_size() == sizes[0]
    batch.max_message_length = sizes[0] - 1
    assert batch.gather()[0].get_message_encoded_size() < sizes[0]
