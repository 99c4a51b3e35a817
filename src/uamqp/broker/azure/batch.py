"""Batches: one transfer with many messages (message format 0x80013700)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ...codec.message import Message
from ..expiry import expiry
from ..nodes import Entry

BATCH_FORMAT: Final = 0x80013700


def unpacked(entry: Entry) -> Iterator[tuple[Message, Entry, dict[Any, Any]]]:
    """The messages of an entry: itself, or those in its data sections; with the annotations of the batch.

    Raises DecodeError for a batch that is none.
    """
    if entry.message_format != BATCH_FORMAT:
        yield Message.decode(entry.payload), entry, {}
        return
    batch = Message.decode(entry.payload)
    annotations = batch.annotations
    for payload in batch.data_sections:
        message = Message.decode(payload)
        yield message, Entry(payload, 0, expiry(message)), annotations
