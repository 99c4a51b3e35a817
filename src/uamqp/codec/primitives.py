"""AMQP values to bytes and back: the primitive types and described values (spec part 1).

What Python values become: None null; bool boolean; int long, or ulong above 2^63-1; float double; str string;
Symbol symbol; bytes, bytearray and memoryview binary; UUID uuid; aware datetime timestamp (milliseconds, rounded
down); Decimal decimal128; list and tuple list; dict map; and the types of `uamqp.codec.values` what they are
named after. The shortest encoding is used.

What comes off the wire are the plain types again: numbers of any width are int or float. Inside a described value
of unknown meaning they keep their wire type (`UInt(1)`), so that encoding it gives the same types. A timestamp
outside the years of datetime is a `Timestamp`.
"""

from __future__ import annotations

from .constructors import MAX_DEPTH, MAX_ELEMENTS, MAX_ZERO_WIDTH
from .decoding import LEGACY, MODERN, Dialect, decode, decode_all, skip
from .encoding import encode

__all__ = [
    "LEGACY",
    "MAX_DEPTH",
    "MAX_ELEMENTS",
    "MAX_ZERO_WIDTH",
    "MODERN",
    "Dialect",
    "decode",
    "decode_all",
    "encode",
    "skip",
]
