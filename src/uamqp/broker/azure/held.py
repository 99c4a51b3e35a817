"""A message that an entity of Service Bus holds, and the bytes in which receivers get it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ...codec.message import Message, header_section
from ...codec.primitives import encode
from ...codec.sections import APPLICATION_PROPERTIES, HEADER, MAP_SECTIONS
from ...codec.values import Described, UByte, UInt
from ...exceptions import EncodeError
from ..nodes import MAX_ADDED, Entry
from .moments import timestamp, wall_clock

if TYPE_CHECKING:
    from .locks import Lock

ACTIVE: Final = 0
DEFERRED: Final = 1
SCHEDULED: Final = 2

_SCHEDULED_ENQUEUE_TIME: Final = "x-opt-scheduled-enqueue-time"

_PROPERTIES: Final = MAP_SECTIONS[APPLICATION_PROPERTIES]


class Held:
    """A message in an entity.

    Attributes:
        payload: the encoded message, as it came.
        sequence: its sequence-number.
        session: the session that it belongs to, or None.
        state: active, deferred or scheduled.
        enqueued: when it came (`time.time`).
        expires: when it expires (`time.monotonic`), or None.
        failures: deliveries that failed.
        lock: who has it, or None.
        properties: application properties that receivers set, `MAX_ADDED` bytes at most.
        annotations: message annotations beside those that each message gets.
    """

    __slots__ = (
        "annotations",
        "enqueued",
        "expires",
        "failures",
        "lock",
        "payload",
        "properties",
        "sequence",
        "session",
        "state",
    )

    def __init__(self, payload: bytes, session: str | None, expires: float | None) -> None:
        self.payload = payload
        self.session = session
        self.expires = expires
        self.sequence = 0
        self.state = ACTIVE
        self.enqueued = time.time()
        self.failures = 0
        self.lock: Lock | None = None
        self.properties: dict[Any, Any] = {}
        self.annotations: dict[Any, Any] = {}

    def set_properties(self, properties: Mapping[Any, Any]) -> None:
        """Set application properties; what cannot be one is passed over, and all where they become too many."""
        added = dict(self.properties)
        for key, value in properties.items():
            try:
                _PROPERTIES.encode({key: value}, 0)
            except EncodeError:
                continue
            added[str(key)] = value
        if len(_PROPERTIES.encode(added, 0)) <= MAX_ADDED:
            self.properties = added

    def encode(self, *, locked_until: float | None = None, peeked: bool = False) -> bytes:
        """The message with all that an entity says of it; `locked_until` by `time.monotonic`."""
        header, rest = header_section(self.payload)
        message = Message.decode(self.payload[rest:])
        annotations = message.annotations
        annotations["x-opt-sequence-number"] = self.sequence
        annotations["x-opt-enqueue-sequence-number"] = self.sequence
        annotations["x-opt-enqueued-time"] = timestamp(self.enqueued)
        if locked_until is not None:
            annotations["x-opt-locked-until"] = timestamp(wall_clock(locked_until))
        if peeked or self.state != ACTIVE:
            annotations["x-opt-message-state"] = self.state
        annotations.update(self.annotations)
        if self.properties:
            message.application_properties.update(self.properties)
        # Written by hand, because receivers want a delivery-count of 0 to be there, too.
        fields: list[Any] = [None, None, None, None, UInt(self.failures)]
        if header is not None:
            fields[:2] = [header.durable, UByte(header.priority or 0)]
            fields[2] = None if header.ttl is None else UInt(header.ttl)
        return encode(Described(HEADER, fields)) + message.encode()


def arrival(message: Message, entry: Entry, annotations: dict[Any, Any]) -> tuple[Held, float | None]:
    """A message that came, as an entity holds it, and when it is to be enqueued (`time.time`), None for now."""
    # The sections that are read or written to later on must be sound.
    _ = message.header, message.application_properties
    due = message.annotations.get(_SCHEDULED_ENQUEUE_TIME, annotations.get(_SCHEDULED_ENQUEUE_TIME))
    return Held(entry.payload, message.properties.group_id, entry.expires), (
        due.timestamp() if isinstance(due, datetime) else None
    )
