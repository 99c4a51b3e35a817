"""States, kinds and the clock of uamqp 1.6."""

from __future__ import annotations

import time
from enum import Enum


class AMQPType(Enum):
    """The kinds of values, and of what is none."""

    NullValue = 1
    BoolValue = 2
    UByteValue = 3
    UShortValue = 4
    UIntValue = 5
    ULongValue = 6
    ByteValue = 7
    ShortValue = 8
    IntValue = 9
    LongValue = 10
    FloatValue = 11
    DoubleValue = 12
    CharValue = 13
    TimestampValue = 14
    UUIDValue = 15
    BinaryValue = 16
    StringValue = 17
    SymbolValue = 18
    ListValue = 19
    DictValue = 20
    ArrayValue = 21
    DescribedType = 22
    CompositeType = 23
    UnknownType = 24
    ErrorType = 999


class ConnectionState(Enum):
    """How far a connection has come (spec 2.4.6)."""

    START = 0
    HDR_RCVD = 1
    HDR_SENT = 2
    HDR_EXCH = 3
    OPEN_PIPE = 4
    OC_PIPE = 5
    OPEN_RCVD = 6
    OPEN_SENT = 7
    CLOSE_PIPE = 8
    OPENED = 9
    CLOSE_RCVD = 10
    CLOSE_SENT = 11
    DISCARDING = 12
    END = 13
    ERROR = 14
    UNKNOWN = 999


class MessageBodyType(Enum):
    """What the body of a message consists of; these are the values of `uamqp.constants.MessageBodyType`."""

    NoneType = 1
    DataType = 2
    SequenceType = 3
    ValueType = 4


class LogCategory(Enum):
    """How important a line of a log is."""

    Error = 0
    Info = 1
    Debug = 2


class TickCounter:
    """Milliseconds on a clock that only goes forward."""

    def get_current_ms(self) -> int:
        """Milliseconds since some moment in the past, the same for all counters."""
        return int(time.monotonic() * 1000)

    def destroy(self) -> None:
        """There is nothing to give back."""
