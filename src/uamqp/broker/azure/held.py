"""A message that an entity of Service Bus holds, and the bytes in which receivers get it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid4

from ...codec.definitions import Error, Rejected
from ...codec.message import Message, header_section
from ...codec.primitives import encode
from ...codec.sections import APPLICATION_PROPERTIES, HEADER, MAP_SECTIONS
from ...codec.values import Described, Symbol, Timestamp, UByte, UInt
from ...engine.delivery import OutgoingDelivery
from ...exceptions import EncodeError
from .conditions import MESSAGE_LOCK_LOST

ACTIVE: Final = 0
DEFERRED: Final = 1
SCHEDULED: Final = 2

SCHEDULED_ENQUEUE_TIME: Final = "x-opt-scheduled-enqueue-time"

_PROPERTIES: Final = MAP_SECTIONS[APPLICATION_PROPERTIES]


def timestamp(when: float) -> Timestamp:
    """A moment of `time.time` as it is on the wire."""
    return Timestamp(int(when * 1000))


def wall_clock(when: float) -> float:
    """A moment of `time.monotonic` as one of `time.time`."""
    return time.time() + when - time.monotonic()


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
        properties: application properties that receivers set.
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
        """Set application properties; what cannot be one is passed over."""
        for key, value in properties.items():
            try:
                _PROPERTIES.encode({key: value}, 0)
            except EncodeError:
                continue
            self.properties[str(key)] = value

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


class Lock:
    """That a receiver has a message, until it says what became of it or its time is over.

    Attributes:
        token: the lock token, which is also the delivery-tag.
        held: the message.
        until: when it ends (`time.monotonic`).
        delivery: how the message went to the receiver; None where that was not over a link or the link is gone.
    """

    __slots__ = ("delivery", "held", "token", "until")

    def __init__(self, held: Held, until: float) -> None:
        self.token = uuid4()
        self.held = held
        self.until = until
        self.delivery: OutgoingDelivery | None = None

    @property
    def tag(self) -> bytes:
        """The token as a delivery-tag."""
        return self.token.bytes_le

    def lose(self) -> None:
        """Have the receiver hear that it is too late, when it settles."""
        if self.delivery is not None:
            self.delivery.answer = Rejected(Error(Symbol(MESSAGE_LOCK_LOST), "the lock of the message is lost"))


def token_of(value: object) -> UUID:
    """A lock token of a request; ValueError where it is none."""
    if isinstance(value, UUID):
        return value
    return UUID(str(value))
