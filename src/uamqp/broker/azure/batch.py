"""Batches: one transfer with many messages (message format 0x80013700)."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from ...codec.message import Message
from ..expiry import expiry
from ..nodes import Entry

BATCH_FORMAT: Final = 0x80013700

#: A message, what it came in, and the annotations of the batch that this was part of.
Unpacked: TypeAlias = tuple[Message, Entry, dict[Any, Any]]


def unpacked(entry: Entry) -> list[Unpacked]:
    """The messages of an entry: itself, or those in its data sections; with the annotations of the batch.

    Raises DecodeError for a batch that is none, or where what the broker reads of one of its messages is damaged.
    """
    if entry.message_format != BATCH_FORMAT:
        return [(Message.decode(entry.payload), entry, {})]
    batch = Message.decode(entry.payload)
    annotations = batch.annotations
    found = []
    for payload in batch.data_sections:
        message = Message.decode(payload)
        _ = message.annotations
        found.append((message, Entry(payload, 0, expiry(message)), annotations))
    return found
