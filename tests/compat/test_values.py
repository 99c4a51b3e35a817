"""Values with an AMQP type of their own: `uamqp.types`, `uamqp.c_uamqp` and `uamqp.utils.data_factory`."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any
from uuid import UUID

import pytest

from uamqp import Message, Source, c_uamqp, compat, types, utils
from uamqp._legacy import names, outgoing
from uamqp.c_uamqp import AMQPType
from uamqp.codec import message as codec
from uamqp.codec import values
from uamqp.codec.primitives import encode
from uamqp.constants import MessageBodyType
from uamqp.message import DataBody, MessageProperties, SequenceBody, ValueBody

ID = UUID(int=5)
MOMENT = dt.datetime(2020, 1, 1)

#: A value, the class that it becomes, how that is printed, and the plain value in it.
PLAIN: list[tuple[Any, str, str, Any]] = [
    (None, "AMQPValue", "NULL", None),
    (True, "BoolValue", "true", True),
    (False, "BoolValue", "false", False),
    (5, "IntValue", "5", 5),
    (1 << 40, "LongValue", "1099511627776", 1 << 40),
    (1 << 70, "DoubleValue", "1180591620717411303424.00", float(1 << 70)),
    (1.5, "DoubleValue", "1.50", 1.5),
    ("text", "StringValue", "text", b"text"),
    (b"text", "StringValue", "text", b"text"),
    (bytearray(b"Test"), "BinaryValue", "<54 65 73 74>", b"Test"),
    (ID, "UUIDValue", str(ID), ID),
    (MOMENT, "TimestampValue", "1577836800000", 1_577_836_800_000),
    ([True, 125, "x"], "ListValue", "{true,125,x}", [True, 125, b"x"]),
    (("a", None), "ListValue", "{a,NULL}", [b"a", None]),
    ({"One": 1, "Two": b"z"}, "DictValue", "{[One:1],[Two:z]}", {b"One": 1, b"Two": b"z"}),
    (types.AMQPSymbol("s"), "SymbolValue", "s", b"s"),
    (types.AMQPChar("x"), "CharValue", "U00000078", "x"),
    (types.AMQPChar(b"x"), "CharValue", "U00000078", "x"),
    (types.AMQPArray(["a", "b"]), "ArrayValue", "{a,b}", [b"a", b"b"]),
    (types.AMQPDescribed("d", 5), "DescribedValue", "* 5", 5),
    (types.AMQPDescribed(7, "x"), "DescribedValue", "* x", b"x"),
    (values.Float(1.5), "FloatValue", "1.50", 1.5),
    (values.Described(7, values.Described("d", 1)), "DescribedValue", "* * 1", 1),
    (values.Array([1, 2], "long"), "ArrayValue", "{1,2}", [1, 2]),
    (values.Array([1 << 63], "ulong"), "ArrayValue", "{9223372036854775808}", [1 << 63]),
    (c_uamqp.ulong_value(3), "ULongValue", "3", 3),
]


@pytest.mark.parametrize(("value", "name", "text", "plain"), PLAIN, ids=[f"{v[0]!r:.40}" for v in PLAIN])
def test_data_factory(value: Any, name: str, text: str, plain: Any) -> None:
    made = utils.data_factory(value)
    assert made is not None
    assert type(made).__name__ == name
    assert str(made) == text
    assert bytes(made) == text.encode()
    assert made.value == plain
    assert made.type in AMQPType
    assert made.get_encoded_size() == len(encode(outgoing(value)))
    assert made == utils.data_factory(value) == made.clone()
    assert made.clone() is not made
    assert made != utils.data_factory("something else")
    assert made != plain
    assert text in repr(made)
    made.destroy()


def test_data_factory_of_what_amqp_does_not_know() -> None:
    assert utils.data_factory(object()) is None
    with pytest.raises(ValueError, match="no type for object"):
        utils.data_factory([object()])
    assert utils.data_factory(b"\xe9", encoding="latin-1") == utils.data_factory("é")


INTEGERS = [
    (types.AMQPByte, "ByteValue", -(1 << 7), (1 << 7) - 1),
    (types.AMQPuByte, "UByteValue", 0, (1 << 8) - 1),
    (types.AMQPShort, "ShortValue", -(1 << 15), (1 << 15) - 1),
    (types.AMQPuShort, "UShortValue", 0, (1 << 16) - 1),
    (types.AMQPInt, "IntValue", -(1 << 31), (1 << 31) - 1),
    (types.AMQPuInt, "UIntValue", 0, (1 << 32) - 1),
    (types.AMQPLong, "LongValue", -(1 << 63), (1 << 63) - 1),
    (types.AMQPuLong, "ULongValue", 0, (1 << 64) - 1),
]


@pytest.mark.parametrize(("kind", "name", "low", "high"), INTEGERS)
def test_integers_have_the_range_of_their_type(kind: Any, name: str, low: int, high: int) -> None:
    for number in (low, high):
        assert kind(number).value == number
        assert type(kind(number).c_data) is getattr(c_uamqp, name)
        assert kind(str(number)).value == number
    for number in (low - 1, high + 1):
        with pytest.raises(ValueError, match=str(number)):
            kind(number)
        with pytest.raises(OverflowError):
            getattr(c_uamqp, name)(number)
    with pytest.raises(ValueError, match="must be an integer"):
        kind([1])
    with pytest.raises(ValueError, match="invalid literal"):
        kind("x")
    with pytest.raises(TypeError, match="an integer is required"):
        getattr(c_uamqp, name)("1")


def test_types_that_cannot_hold_it() -> None:
    with pytest.raises(TypeError, match="expected bytes, int found"):
        types.AMQPSymbol(5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ASCII"):
        types.AMQPSymbol("ä")
    for wrong in ("xy", 5):
        with pytest.raises(ValueError, match="single character"):
            types.AMQPChar(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="same type"):
        types.AMQPArray([1, "a"])
    with pytest.raises(TypeError, match="made of a list"):
        types.AMQPArray(5)
    with pytest.raises(NotImplementedError):
        types.AMQPType(5)
    with pytest.raises(TypeError, match="null has no value"):
        c_uamqp.null_value(5)
    with pytest.raises(TypeError, match="expected bytes"):
        c_uamqp.string_value("text")
    with pytest.raises(TypeError, match="a UUID is required"):
        c_uamqp.uuid_value("text")
    with pytest.raises(TypeError, match="knows its type"):
        c_uamqp.described_value(5, 6)  # type: ignore[arg-type]


def test_a_type_can_be_derived() -> None:
    class Timestamp(types.AMQPType):
        def _c_wrapper(self, value: Any) -> Any:
            return c_uamqp.timestamp_value(int(value))

    moment = Timestamp(1.5)
    assert moment.value == 1
    assert repr(moment) == "Timestamp(1)"
    assert outgoing({"k": [moment]}) == {"k": [values.Timestamp(1)]}
    assert {moment: 1}[moment] == 1


def test_char_value_takes_a_character_or_its_number() -> None:
    assert c_uamqp.char_value(0x1F600).value == c_uamqp.char_value("😀").value == "😀"


def test_values_are_created_late_too() -> None:
    number = c_uamqp.int_value()
    assert (number.value, str(number)) == (None, "NULL")
    number.create(5)
    assert number.value == 5


def test_lists() -> None:
    made = c_uamqp.list_value()
    made.size = 2
    assert (made.size, len(made), str(made)) == (2, 2, "{NULL,NULL}")
    made[0] = c_uamqp.int_value(3)
    made[1] = c_uamqp.string_value(b"k")
    assert [item.value for item in made] == [3, b"k"]
    assert made[1] == c_uamqp.string_value(b"k")
    made.size = 1
    assert made.value == [3]
    for index in (-1, 1):
        with pytest.raises(IndexError):
            _ = made[index]
        with pytest.raises(IndexError):
            made[index] = c_uamqp.null_value()
    with pytest.raises(TypeError, match="knows its type"):
        made[0] = 5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


def test_arrays() -> None:
    made = c_uamqp.array_value()
    assert made.value == []
    made.append(c_uamqp.int_value(1))
    made.append(c_uamqp.int_value(2))
    assert (made.size, str(made), made.value) == (2, "{1,2}", [1, 2])
    with pytest.raises(ValueError, match="same type"):
        made.append(c_uamqp.long_value(1))


def test_maps() -> None:
    made = c_uamqp.dict_value()
    one, two = c_uamqp.string_value(b"One"), c_uamqp.symbol_value(b"Two")
    made[one] = c_uamqp.int_value(1)
    made[two] = c_uamqp.bool_value(True)
    made[one] = c_uamqp.int_value(3)
    assert (made.size, len(made), str(made)) == (2, 2, "{[One:3],[Two:true]}")
    assert list(made) == [one, two]
    assert made[one] == c_uamqp.int_value(3)
    assert made.get(1) == (two, c_uamqp.bool_value(True))
    with pytest.raises(KeyError, match="No value found for key: b'Two'"):
        _ = made[c_uamqp.string_value(b"Two")]
    with pytest.raises(IndexError):
        made.get(2)


def test_described() -> None:
    made = c_uamqp.described_value(c_uamqp.symbol_value(b"d"), c_uamqp.string_value(b"x"))
    assert (made.description.value, made.data.value, made.value, str(made)) == (b"d", b"x", b"x", "* x")


def test_messages_put_together_section_by_section() -> None:
    message = c_uamqp.create_message()
    assert message.body_type is c_uamqp.MessageBodyType.NoneType
    message.add_body_data(b"a")
    message.add_body_data(b"b")
    assert message.body_type is MessageBodyType.Data.value
    assert (message.count_body_data(), message.get_body_data(1), message.count_body_sequence()) == (2, b"b", 0)
    for wrong in (
        lambda: message.add_body_sequence(c_uamqp.list_value()),
        lambda: message.set_body_value(c_uamqp.int_value(1)),
        message.get_body_value,
    ):
        with pytest.raises(ValueError, match="body of the message is not"):
            wrong()
    assert list(Message(message=message).get_data()) == [b"a", b"b"]
    assert list(DataBody(message).data) == [b"a", b"b"]
    assert message.clone().get_body_data(0) == b"a"
    parts: list[bytes] = []
    assert c_uamqp.get_encoded_message_size(message, parts) == len(b"".join(parts))
    message.destroy()
    assert c_uamqp.decode_message(len(parts[0]), parts[0] + b"rest").count_body_data() == 2
    with pytest.raises(ValueError, match="decode-error"):
        c_uamqp.decode_message(3, parts[0])

    sequences = c_uamqp.create_message()
    sequences.add_body_sequence(utils.data_factory([1]))  # type: ignore[arg-type]
    sequences.add_body_sequence(utils.data_factory(["x"]))  # type: ignore[arg-type]
    assert sequences.body_type is MessageBodyType.Sequence.value
    assert (sequences.count_body_sequence(), sequences.get_body_sequence(1).value) == (2, [b"x"])
    assert list(SequenceBody(sequences).data) == [[1], [b"x"]]

    value = c_uamqp.create_message()
    value.set_body_value(c_uamqp.int_value(1))
    value.set_body_value(c_uamqp.int_value(2))
    assert value.body_type is MessageBodyType.Value.value
    assert (value.get_body_value().value, ValueBody(value).data) == (2, 2)
    with pytest.raises(ValueError, match="body of the message is not data"):
        value.add_body_data(b"x")


def test_messages_carry_them() -> None:
    """Keys that are symbols with an identity of their own, and values with the width that they say."""
    key = types.AMQPSymbol("x-opt-partition-key")
    message = Message("body", annotations={key: types.AMQPLong(5)}, application_properties={b"n": types.AMQPuByte(7)})
    assert message.annotations[key].value == 5
    sent = codec.Message.decode(message.encode_message())
    assert sent.annotations == {"x-opt-partition-key": 5}
    assert encode(values.UByte(7)) in message.encode_message()
    # The width that was asked for; a plain 5 would have been an int.
    assert encode(values.Long(5)) in message.encode_message()
    assert Message(types.AMQPSymbol("x")).get_data() == b"x"


def test_properties_take_them() -> None:
    properties = MessageProperties(
        message_id=types.AMQPSymbol("id"),
        subject=types.AMQPSymbol("s"),  # type: ignore[arg-type]
        group_sequence=types.AMQPuInt(1),  # type: ignore[arg-type]
    )
    assert (properties.message_id, properties.subject, properties.group_sequence) == (b"id", b"s", 1)


@pytest.mark.parametrize(
    "given",
    [
        types.AMQPArray([types.AMQPSymbol("a"), types.AMQPSymbol("b")]),
        utils.data_factory(types.AMQPArray([types.AMQPSymbol("a"), types.AMQPSymbol("b")])),
        ["a", b"b"],
        [types.AMQPSymbol("a"), "b"],
    ],
)
def test_desired_capabilities(given: Any) -> None:
    assert names(given) == ("a", "b")
    assert names("a") == names(b"a") == names(types.AMQPSymbol("a")) == ("a",)
    assert names(None) == ()


def test_filters_take_them() -> None:
    source = Source("queue")
    source.set_filter(types.AMQPDescribed("d", 5), descriptor=None)
    assert source.get_filter() == 5
    assert source.to_source({}).filter == {"apache.org:selector-filter:string": values.Described("d", values.Int(5))}


def test_a_large_map_does_not_cost_the_square_of_its_size() -> None:
    made = utils.data_factory({str(n): n for n in range(20_000)})
    assert isinstance(made, c_uamqp.DictValue) and len(made) == 20_000
    assert made[c_uamqp.string_value(b"7")].value == 7


def test_the_counter_goes_forward() -> None:
    counter = c_uamqp.TickCounter()
    assert isinstance(counter.get_current_ms(), int)
    assert counter.get_current_ms() <= c_uamqp.TickCounter().get_current_ms() <= time.monotonic() * 1000
    counter.destroy()


def test_compat() -> None:
    assert compat.TimeoutException is TimeoutError
    assert isinstance("x", compat.basestring)
    assert compat.unquote_plus(compat.quote_plus("a b/c")) == "a b/c"
    assert compat.urlparse("amqps://host/path").path == "/path"
