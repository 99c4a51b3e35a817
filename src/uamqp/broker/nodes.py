"""What messages are sent to and received from: queues and topics.

A node keeps the bytes of a message as they came and hands the same bytes on; a body is never decoded. Only a
message that is delivered again gets a new header section in front of the rest.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..codec.definitions import Accepted, Modified, Rejected, Released
from ..codec.message import Message, header_section
from ..codec.values import Symbol
from ..engine.delivery import OutgoingDelivery
from ..engine.errors import RESOURCE_LIMIT_EXCEEDED
from ..exceptions import NotSent

if TYPE_CHECKING:
    from .peer import Consumer

DEAD_LETTER_REASON: Final = Symbol("x-opt-dead-letter-reason")
DEAD_LETTER_DESCRIPTION: Final = Symbol("x-opt-dead-letter-description")
DEAD_LETTER_SOURCE: Final = Symbol("x-opt-dead-letter-source")


class Refused(Exception):
    """A node does not take a message; says what to tell the sender."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description


class Entry:
    """A message in a queue.

    Attributes:
        payload: the encoded message, as it came.
        expires: when it expires (`time.monotonic`), or None.
        failures: deliveries that failed.
        delivered: it was sent to a consumer before.
        sequence: its place in the queue.
    """

    __slots__ = (
        "annotations",
        "delivered",
        "excluded",
        "expires",
        "failures",
        "message_format",
        "payload",
        "sequence",
    )

    def __init__(self, payload: bytes, message_format: int, expires: float | None) -> None:
        self.payload = payload
        self.message_format = message_format
        self.expires = expires
        self.failures = 0
        self.delivered = False
        self.sequence = 0
        self.annotations: dict[Any, Any] | None = None
        self.excluded: set[Consumer] | None = None

    def bytes_to_send(self) -> bytes:
        """The payload, with a header that tells of earlier deliveries where there were any."""
        if not self.delivered:
            return self.payload
        payload = self.payload
        if self.annotations:
            message = Message.decode(payload)
            message.annotations.update(self.annotations)
            payload = message.encode()
        header, rest = header_section(payload)
        message = Message()
        if header is not None:
            message.header.durable = header.durable
            message.header.priority = header.priority
            message.header.ttl = header.ttl
        if self.expires is not None and message.header.ttl is not None:
            message.header.ttl = max(1, int((self.expires - time.monotonic()) * 1000))
        message.header.first_acquirer = False
        message.header.delivery_count = self.failures + (header.delivery_count or 0 if header is not None else 0)
        return message.header.encode() + payload[rest:]


class Node:
    """Something with an address.

    Attributes:
        name: its address.
        owner: for a dynamic node, the connection that made it; only that one may receive from it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: object | None = None

    def put(self, entry: Entry) -> None:
        """Take a message. Raises Refused."""
        raise NotImplementedError

    def close(self) -> None:
        """The node is deleted."""


class Queue(Node):
    """Keeps messages until a consumer accepts them; several consumers compete and are served in turn."""

    def __init__(
        self,
        name: str,
        *,
        max_length: int,
        max_bytes: int,
        max_deliveries: int | None = None,
        dead_letter: Callable[[Queue, Entry, str, str], None] | None = None,
        ttl: float | None = None,
    ) -> None:
        super().__init__(name)
        self.max_length = max_length
        self.max_bytes = max_bytes
        self.max_deliveries = max_deliveries
        self.ttl = ttl
        self._dead_letter = dead_letter
        self._entries: deque[Entry] = deque()
        self._consumers: deque[Consumer] = deque()
        self._next_sequence = 0
        self._dispatching = False
        #: Messages in the queue and with consumers together, and their bytes.
        self.length = 0
        self.size = 0

    def __len__(self) -> int:
        """Messages that are ready to be delivered."""
        return len(self._entries)

    @property
    def consumers(self) -> int:
        """Consumers attached now."""
        return len(self._consumers)

    def put(self, entry: Entry) -> None:
        if self.length >= self.max_length or self.size + len(entry.payload) > self.max_bytes:
            self._expire()
        if self.length >= self.max_length:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"the queue {self.name!r} is full: {self.length} messages")
        if self.size + len(entry.payload) > self.max_bytes:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"the queue {self.name!r} is full: {self.size} bytes")
        if self.ttl is not None:
            limit = time.monotonic() + self.ttl
            entry.expires = limit if entry.expires is None else min(entry.expires, limit)
        self.length += 1
        self.size += len(entry.payload)
        entry.sequence = self._next_sequence
        self._next_sequence += 1
        self._entries.append(entry)
        self.dispatch()

    def subscribe(self, consumer: Consumer) -> None:
        """A consumer attached."""
        self._consumers.append(consumer)
        self.dispatch()

    def unsubscribe(self, consumer: Consumer) -> None:
        """A consumer is gone; what it had not settled was given back before."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)
            self.dispatch()

    def dispatch(self) -> None:
        """Hand messages to consumers with credit, in turn."""
        if self._dispatching:
            # Sending may settle at once, which comes back here.
            return
        self._dispatching = True
        try:
            entries = self._entries
            while entries:
                entry = entries[0]
                if entry.expires is not None and entry.expires <= time.monotonic():
                    entries.popleft()
                    self._remove(entry)
                    self._bury(entry, "expired", "the message lived longer than its time to live")
                    continue
                consumer = self._next_consumer(entry)
                if consumer is None:
                    if entry.excluded is None or not self._skip_excluded():
                        return
                    continue
                entries.popleft()
                consumer.deliver(entry)
        finally:
            self._dispatching = False

    def _next_consumer(self, entry: Entry) -> Consumer | None:
        consumers = self._consumers
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.has_credit and (entry.excluded is None or consumer not in entry.excluded):
                return consumer
        return None

    def _skip_excluded(self) -> bool:
        """The first message is for none of the consumers with credit: is a later one? Then it goes first."""
        for index, entry in enumerate(self._entries):
            if index and self._next_consumer(entry) is not None:
                del self._entries[index]
                self._entries.appendleft(entry)
                return True
        return False

    def settled(self, consumer: Consumer, delivery: OutgoingDelivery) -> None:
        """A delivery of one of our messages has its outcome, or was lost with its consumer."""
        entry: Entry = delivery.waiter
        state = delivery.state
        if delivery.error is None and (isinstance(state, Accepted) or delivery.presettled):
            self._remove(entry)
            return
        if delivery.error is None and isinstance(state, Rejected):
            self._remove(entry)
            error = state.error
            reason = "rejected" if error is None else str(error.condition)
            self._bury(entry, reason, "" if error is None else error.description or "")
            return
        if isinstance(delivery.error, NotSent):
            self.give_back(entry)
            return
        entry.delivered = True
        if isinstance(state, Modified):
            if state.undeliverable_here:
                entry.excluded = (entry.excluded or set()) | {consumer}
            if state.message_annotations:
                entry.annotations = {**(entry.annotations or {}), **state.message_annotations}
            if state.delivery_failed:
                entry.failures += 1
        elif not isinstance(state, Released):
            # The consumer was lost, or said something that is no outcome: nobody knows how far it came.
            entry.failures += 1
        if self.max_deliveries is not None and entry.failures >= self.max_deliveries:
            self._remove(entry)
            self._bury(entry, "max-deliveries", f"{entry.failures} deliveries failed")
            return
        self.give_back(entry)

    def give_back(self, entry: Entry) -> None:
        """Put a message back in its old place."""
        entries = self._entries
        place = 0
        while place < len(entries) and entries[place].sequence < entry.sequence:
            place += 1
        entries.insert(place, entry)

    def _remove(self, entry: Entry) -> None:
        self.length -= 1
        self.size -= len(entry.payload)

    def _expire(self) -> None:
        now = time.monotonic()
        for entry in [e for e in self._entries if e.expires is not None and e.expires <= now]:
            self._entries.remove(entry)
            self._remove(entry)
            self._bury(entry, "expired", "the message lived longer than its time to live")

    def _bury(self, entry: Entry, reason: str, description: str) -> None:
        if self._dead_letter is not None:
            self._dead_letter(self, entry, reason, description)

    def purge(self) -> int:
        """Drop what is ready to be delivered; returns how many that were."""
        count = len(self._entries)
        while self._entries:
            self._remove(self._entries.popleft())
        return count

    def close(self) -> None:
        for consumer in list(self._consumers):
            consumer.node_deleted()
        self._consumers.clear()
        self.purge()


class Topic(Node):
    """Hands each message to all subscriptions; a subscription is a queue."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._subscriptions: dict[str, Queue] = {}

    @property
    def subscriptions(self) -> list[str]:
        """The names of the subscriptions there are."""
        return list(self._subscriptions)

    def put(self, entry: Entry) -> None:
        refused: Refused | None = None
        for queue in self._subscriptions.values():
            try:
                queue.put(Entry(entry.payload, entry.message_format, entry.expires))
            except Refused as error:
                refused = error
        if refused is not None:
            raise refused

    def subscription(self, name: str, make: Callable[[str], Queue]) -> Queue:
        """The queue of the subscription, made where it is new."""
        queue = self._subscriptions.get(name)
        if queue is None:
            queue = self._subscriptions[name] = make(f"{self.name}/subscriptions/{name}")
        return queue

    def unsubscribe(self, name: str) -> None:
        """Delete a subscription and what it holds."""
        queue = self._subscriptions.pop(name, None)
        if queue is not None:
            queue.close()

    def close(self) -> None:
        for name in list(self._subscriptions):
            self.unsubscribe(name)


def dead_letter_copy(source: Queue, entry: Entry, reason: str, description: str) -> Entry:
    """The message as it goes to the dead-letter queue: annotations say where it died and why; it expires no more."""
    message = Message.decode(entry.payload, entry.message_format)
    message.annotations.update(entry.annotations or {})
    message.annotations[DEAD_LETTER_SOURCE] = source.name
    message.annotations[DEAD_LETTER_REASON] = reason
    message.annotations[DEAD_LETTER_DESCRIPTION] = description
    message.header.ttl = None
    return Entry(message.encode(), entry.message_format, None)


def expiry(message: Message) -> float | None:
    """When a message expires, in the time of `time.monotonic`: by its ttl and absolute-expiry-time (spec 3.2.1, 3.2.4)."""
    expires = []
    if message.header.ttl is not None:
        expires.append(time.monotonic() + message.header.ttl / 1000)
    absolute = message.properties.absolute_expiry_time
    if absolute is not None:
        seconds = absolute / 1000 if isinstance(absolute, int) else absolute.timestamp()
        expires.append(time.monotonic() + seconds - time.time())
    return min(expires) if expires else None
