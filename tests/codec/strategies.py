"""Hypothesis strategies for everything that AMQP can carry, and encodings to start damaging from."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from uamqp.codec.definitions import (
    ACCEPTED,
    RELEASED,
    Coordinator,
    Declare,
    Declared,
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    Discharge,
    Error,
    Modified,
    Received,
    Rejected,
    Source,
    Target,
    TransactionalState,
)
from uamqp.codec.message import Data, Header, Message, Properties, Sequence, Value
from uamqp.codec.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslChallenge,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Transfer,
)
from uamqp.codec.values import (
    Array,
    Byte,
    Char,
    Decimal32,
    Decimal64,
    Described,
    Float,
    Int,
    Long,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)


def label(value: object) -> str:
    """A short name for a test case, the same in every process."""
    return re.sub(r" at 0x\w+", "", repr(value))[:40]


def exact_decimals(width: int) -> st.SearchStrategy[Decimal]:
    """Every decimal that fits into this many bytes: those bytes decoded, or made from digits."""
    digits, low, high = {4: (7, -101, 90), 8: (16, -398, 369), 16: (34, -6176, 6111)}[width]
    return st.builds(
        lambda sign, coefficient, exponent: Decimal(f"{sign}{coefficient}E{exponent}"),
        st.sampled_from(["", "-"]),
        st.integers(0, 10**digits - 1),
        st.integers(low, high),
    )


text = st.text(max_size=300)
symbols = st.text(st.characters(max_codepoint=127), max_size=300).map(Symbol)
binaries = st.binary(max_size=300)
datetimes = st.integers(-62_135_596_800_000, 253_402_300_799_999).map(lambda ms: Timestamp(ms).datetime)
far_timestamps = st.one_of(
    st.integers(Timestamp.LOW, -62_135_596_800_001), st.integers(253_402_300_800_000, Timestamp.HIGH)
).map(Timestamp)
floats = st.floats(width=32, allow_nan=False).map(Float)

#: One strategy for each scalar type, by wire type.
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    **{
        cls.__name__.lower(): st.integers(cls.LOW, cls.HIGH).map(cls)
        for cls in (UByte, UShort, UInt, ULong, Byte, Short, Int, Long)
    },
    "float": floats,
    "double": st.floats(allow_nan=False),
    "decimal32": exact_decimals(4).map(Decimal32),
    "decimal64": exact_decimals(8).map(Decimal64),
    "decimal128": exact_decimals(16),
    "char": st.characters(exclude_categories=("Cs",)).map(Char),
    "timestamp": datetimes | far_timestamps,
    "uuid": st.uuids(),
    "binary": binaries,
    "string": text,
    "symbol": symbols,
}

scalars = st.one_of(*SCALARS.values(), st.integers(-(2**63), 2**64 - 1))


def arrays(kinds: list[str]) -> st.SearchStrategy[Array]:
    return st.one_of([st.lists(SCALARS[kind], max_size=8).map(lambda v, k=kind: Array(v, k)) for kind in kinds])


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=6)
    maps = st.dictionaries(scalars, inner, max_size=4)
    return st.one_of(
        lists,
        maps,
        arrays(list(SCALARS)),
        st.lists(lists, max_size=3).map(lambda v: Array(v, "list")),
        st.lists(maps, max_size=3).map(lambda v: Array(v, "map")),
        st.lists(arrays(["int", "string"]), max_size=3).map(lambda v: Array(v, "array")),
        st.lists(SCALARS["uint"], max_size=3).map(lambda v: Array(v, Described(7, Described("a:b", "uint")))),
        st.builds(Described, st.integers(0, 2**64 - 1) | symbols, inner),
    )


values = st.recursive(scalars, containers, max_leaves=12)

_MOMENT = dt.datetime(2024, 2, 29, 12, 30, 15, 250_000, tzinfo=dt.UTC)

#: One value of each type and form, by name.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "long": 123_456_789_012,
    "small long": -5,
    "ulong above long": 2**63,
    "double": 1.25,
    "string": "naïve ☃ 𝄞",
    "long string": "x" * 300,
    "binary": b"\x00\xff",
    "symbol": Symbol("amqp:thing"),
    "uuid": uuid.UUID(int=0x0123456789ABCDEF0123456789ABCDEF),
    "datetime": _MOMENT,
    "far timestamp": Timestamp(2**62),
    "decimal": Decimal("-123.4500"),
    "list": [1, "two", [None, [True]], {}],
    "empty list": [],
    "big list": list(range(300)),
    "map": {"a": 1, Symbol("b"): [2], 3: {"c": None}},
    "described": Described(0x1234, [UInt(0), UInt(5), ULong(0), ULong(2**40), Int(-3), Float(0.5), Char("ä")]),
    "described by symbol": Described("x:thing", {"k": UByte(1), "l": UShort(2), "m": Byte(-1), "n": Short(-2)}),
    "described twice": Described(1, Described(2, Decimal64("1.5"))),
    "decimal32": Described(1, Decimal32("7.5")),
    "array of symbols": Array([Symbol("a"), Symbol("bc")], "symbol"),
    "array of ints": Array([1, 1000, -70_000], "int"),
    "array of booleans": Array([True, False], "boolean"),
    "array of nulls": Array([None] * 5, "null"),
    "array of lists": Array([[1], [], ["a", None]], "list"),
    "array of maps": Array([{1: 2}, {}], "map"),
    "array of arrays": Array([Array([1], "ubyte"), Array(["x" * 300], "string")], "array"),
    "array of described": Array([1, 2], Described(0x99, "uint")),
    "empty array": Array([], "uuid"),
}

_ERROR = Error("amqp:not-found", "no such node", {"x": 1})

#: One or more values of each composite, by name.
COMPOSITES: dict[str, Any] = {
    "open": Open("me", "host", 65_536, 255, 30_000, ["en"], ["en", "fr"], ["a"], ["b"], {"product": "x"}),
    "small open": Open("me"),
    "begin": Begin(3, next_outgoing_id=1, incoming_window=2, outgoing_window=3, handle_max=7),
    "attach": Attach(
        "link",
        0,
        True,
        1,
        1,
        Source(
            "q",
            1,
            "never",
            10,
            True,
            {"lifetime-policy": DeleteOnClose()},
            "copy",
            {"f": Described("x:f", UInt(2))},
            RELEASED,
            ["amqp:accepted:list", "amqp:released:list"],
            ["queue"],
        ),
        Target("t", 2, capabilities=["topic"]),
        {b"\x01": ACCEPTED, b"\x02": None},
        True,
        0,
        2**40,
        properties={"k": [1]},
    ),
    "attach to a coordinator": Attach(
        "tx", 1, False, target=Coordinator(["amqp:local-transactions", "amqp:multi-txns-per-ssn"])
    ),
    "flow": Flow(
        1,
        incoming_window=2,
        next_outgoing_id=3,
        outgoing_window=4,
        handle=5,
        delivery_count=6,
        link_credit=7,
        echo=True,
    ),
    "transfer": Transfer(1, 2, b"tag", 0, False, True, 1, Received(1, 2), True, True, True),
    "small transfer": Transfer(0, 0, b"\x00", 0),
    "disposition": Disposition(True, 1, 9, True, ACCEPTED),
    "disposition rejected": Disposition(True, 1, state=Rejected(_ERROR), batchable=True),
    "disposition modified": Disposition(True, 1, state=Modified(True, False, {"x-a": "b"})),
    "disposition unknown": Disposition(True, 1, state=Described(0x9999, [UInt(1)])),
    "disposition transactional": Disposition(False, 1, state=TransactionalState(b"tx", ACCEPTED)),
    "detach": Detach(3, True, _ERROR),
    "end": End(),
    "close": Close(_ERROR),
    "mechanisms": SaslMechanisms(["PLAIN", "ANONYMOUS"]),
    "mechanism": SaslMechanisms(["PLAIN"]),
    "init": SaslInit("PLAIN", b"\0user\0s3cret", "host"),
    "challenge": SaslChallenge(b"abc"),
    "response": SaslResponse(b""),
    "outcome": SaslOutcome(1, b"why"),
    "declare": Declare("g"),
    "declared": Declared(b"tx"),
    "discharge": Discharge(b"tx", True),
    "no links": DeleteOnNoLinks(),
    "no messages": DeleteOnNoMessages(),
    "neither": DeleteOnNoLinksOrMessages(),
    "header": Header(True, 5, 60_000, True, 1),
    "properties": Properties(
        1, b"u", "to", "s", "r", uuid.UUID(int=1), "text/plain", "gzip", _MOMENT, Timestamp(2**62), "g", 7, "rg"
    ),
}

#: Messages of every body kind, by name.
MESSAGES: dict[str, Message] = {
    "data": Message(b"payload"),
    "data sections": Message(Data([b"a", b"", b"c" * 300])),
    "sequences": Message(Sequence([[1, 2], [], ["three"]])),
    "null": Message(),
    "text": Message("hello"),
    "binary value": Message(Value(b"bytes")),
    "everything": Message(
        {"a": [1, 2.5]},
        header=Header(durable=True, priority=9),
        delivery_annotations={"x-d": 1},
        annotations={"x-opt-a": Described(5, UInt(1)), 7: None},
        properties=Properties("id", to="q", content_type="text/plain"),
        application_properties={"a": 1, "b": None, "c": "d", "e": Symbol("f")},
        footer={"x-hash": b"\x01\x02"},
    ),
}
