"""What messages are sent to and received from: queues and topics.

A node keeps the bytes of a message as they came and hands the same bytes on; a body is never decoded. Only a
message that is delivered again gets a new header section in front of the rest.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from ..codec.definitions import ACCEPTED, Accepted, Modified, Rejected, Released
from ..codec.message import Message, header_section
from ..codec.primitives import encode
from ..codec.values import Symbol, UInt
from ..engine.delivery import OutgoingDelivery, State
from ..engine.errors import RESOURCE_DELETED, RESOURCE_LIMIT_EXCEEDED
from ..exceptions import NotSent

if TYPE_CHECKING:
    from .expiry import Sweeper
    from .peer import Consumer, Producer


DEAD_LETTER_REASON: Final = Symbol("x-opt-dead-letter-reason")
DEAD_LETTER_DESCRIPTION: Final = Symbol("x-opt-dead-letter-description")
DEAD_LETTER_SOURCE: Final = Symbol("x-opt-dead-letter-source")

#: Characters of a description that is sent to a client: it must fit in the smallest frame (512 bytes) in any script.
MAX_DESCRIPTION: Final = 100
_MAX_NAME: Final = 40

#: Bytes that consumers may add to a message, which count nowhere.
MAX_ADDED: Final = 64 * 1024

#: Bytes that a message costs besides its payload, roughly.
_OVERHEAD: Final = 256

#: The fate of a message whose consumer was lost, or said something that is no outcome: who knows how far it came.
_FAILED: Final = Modified(delivery_failed=True)


class Refused(Exception):
    """The broker does not do what a client asks for; says what to tell it."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description[:MAX_DESCRIPTION]


def shown(name: str) -> str:
    """A name as it appears in descriptions: quoted, and not too long."""
    return repr(name if len(name) <= _MAX_NAME else f"{name[:_MAX_NAME]}…")


def node_name(address: str) -> str:
    """The name of a node in any form that clients use for it: plain, with a leading slash, or as a URL."""
    if "://" in address:
        _, _, address = address.partition("://")[2].partition("/")
    return address.lstrip("/")


class Storage:
    """What all queues of a broker hold together, and the limit for that.

    Attributes:
        used: bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def has_room(self, size: int, count: int = 1) -> bool:
        """Whether so many messages of so many bytes together still fit."""
        return self.used + size + count * _OVERHEAD <= self._limit

    def take(self, size: int) -> None:
        """A message came."""
        self.used += size + _OVERHEAD

    def give_back(self, size: int) -> None:
        """A message went."""
        self.used -= size + _OVERHEAD


class Entry:
    """A message in a queue.

    Attributes:
        payload: the encoded message, as it came.
        expires: when it expires (`time.monotonic`), or None.
        failures: deliveries that failed.
        delivered: it was sent to a consumer before.
        sequence: its place in the queue.
        annotations: message annotations that consumers added, `MAX_ADDED` bytes at most.
        excluded: consumers that must not get it (again).
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

    def __init__(self, payload: bytes, message_format: int = 0, expires: float | None = None) -> None:
        self.payload = payload
        self.message_format = message_format
        self.expires = expires
        self.failures = 0
        self.delivered = False
        self.sequence = 0
        self.annotations: dict[Any, Any] = {}
        self.excluded: weakref.WeakSet[Consumer] | None = None

    def exclude(self, consumer: Consumer) -> None:
        """Do not offer it to this consumer any more."""
        if self.excluded is None:
            # Weak, because a message may outlive many consumers.
            self.excluded = weakref.WeakSet()
        self.excluded.add(consumer)

    def is_for(self, consumer: Consumer) -> bool:
        """Whether the consumer may have it."""
        return self.excluded is None or consumer not in self.excluded

    def has_expired(self, now: float) -> bool:
        """Whether it is too old."""
        return self.expires is not None and self.expires <= now

    def bytes_to_send(self) -> bytes:
        """The payload, with a header that tells of earlier deliveries where there were any."""
        if not self.delivered:
            return self.payload
        payload = self._annotated()
        header, rest = header_section(payload)
        message = Message()
        if header is not None:
            message.header = header
        if self.expires is not None and message.header.ttl is not None:
            message.header.ttl = max(1, int((self.expires - time.monotonic()) * 1000))
        message.header.first_acquirer = False
        message.header.delivery_count = min(self.failures + (message.header.delivery_count or 0), UInt.HIGH)
        return message.header.encode() + payload[rest:]

    def _annotated(self) -> bytes:
        if not self.annotations:
            return self.payload
        message = Message.decode(self.payload, self.message_format)
        message.annotations.update(self.annotations)
        return message.encode()


class Node:
    """Something with an address.

    Attributes:
        name: its address.
        owner: for a dynamic node, the connection that made it; only that one may receive from it.
        producers: the links that send to it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.owner: object | None = None
        self.producers: set[Producer] = set()

    def put(self, entry: Entry) -> None:
        """Take a message. Raises Refused."""
        raise NotImplementedError

    def close(self) -> None:
        """The node is deleted."""
        for producer in list(self.producers):
            producer.node_deleted()


class Store(Node):
    """A node that clients receive from, and the limits of what it holds.

    Attributes:
        max_length: messages that it holds at most.
        max_bytes: bytes of these.
        length: messages that it holds, with those that clients have and did not settle.
        size: bytes of these.
    """

    def __init__(self, name: str, *, max_length: int, max_bytes: int, storage: Storage) -> None:
        super().__init__(name)
        self.max_length = max_length
        self.max_bytes = max_bytes
        self.length = 0
        self.size = 0
        self._storage = storage

    def lack(self, size: int, count: int = 1, *, copies: int = 1) -> str | None:
        """Why it cannot hold so many messages more, of so many bytes together; None where it can.

        Args:
            size, count: what is to come.
            copies: how many nodes of the broker are to hold it.
        """
        if self.length + count > self.max_length:
            return f"it holds {self.length} messages"
        if self.size + size > self.max_bytes:
            return f"it holds {self.size} bytes"
        if not self._storage.has_room(size * copies, count * copies):
            return "the broker holds all it can"
        return None

    def _hold(self, payload: bytes) -> None:
        """A message came."""
        self.length += 1
        self.size += len(payload)
        self._storage.take(len(payload))

    def _let_go(self, payload: bytes) -> None:
        """A message went."""
        self.length -= 1
        self.size -= len(payload)
        self._storage.give_back(len(payload))

    def dispatch(self) -> None:
        """Hand messages to those who have credit for them."""
        raise NotImplementedError

    def settled(self, outlet: Any, delivery: OutgoingDelivery) -> None:
        """A delivery of one of our messages has its outcome, or was lost with its link."""
        raise NotImplementedError

    def subscribe(self, outlet: Any) -> None:
        """A link was attached that receives."""
        raise NotImplementedError

    def unsubscribe(self, outlet: Any) -> None:
        """The link is gone; what it had not settled was told before."""
        raise NotImplementedError


class Queue(Store):
    """Keeps messages until a consumer accepts them; several consumers compete and are served in turn.

    Attributes:
        next_expiry: when the first message expires that is ready to be delivered, or None. May be too early.
    """

    def __init__(
        self,
        name: str,
        *,
        max_length: int,
        max_bytes: int,
        max_deliveries: int | None = None,
        dead_letter: Callable[[Queue, Entry, str, str], None] | None = None,
        ttl: float | None = None,
        storage: Storage | None = None,
        sweeper: Sweeper | None = None,
    ) -> None:
        storage = storage or Storage(max_bytes + max_length * _OVERHEAD)
        super().__init__(name, max_length=max_length, max_bytes=max_bytes, storage=storage)
        self.max_deliveries = max_deliveries
        self.ttl = ttl
        self._dead_letter = dead_letter
        self._sweeper = sweeper
        #: What was never sent, in order, and what came back, by sequence: all of that is older than all of this.
        self._fresh: deque[Entry] = deque()
        self._returned: list[tuple[int, Entry]] = []
        self._consumers: deque[Consumer] = deque()
        self._next_sequence = 0
        self._dispatching = False
        self._deleted = False
        self.next_expiry: float | None = None

    def __len__(self) -> int:
        """Messages that are ready to be delivered."""
        return len(self._fresh) + len(self._returned)

    @property
    def consumers(self) -> int:
        """Consumers attached now."""
        return len(self._consumers)

    # -- messages in ---------------------------------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        self.check_room(len(entry.payload))
        self.add(entry)

    def check_room(self, size: int, *, copies: int = 1) -> None:
        """Raise Refused where a message of so many bytes cannot be taken, nor its copies in other nodes."""
        if self._deleted:
            raise Refused(RESOURCE_DELETED, f"the queue {shown(self.name)} was deleted")
        if self.lack(size, copies=copies) is not None:
            self.expire()
        lack = self.lack(size, copies=copies)
        if lack is not None:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"the queue {shown(self.name)} is full: {lack}")

    def add(self, entry: Entry) -> None:
        """Take a message for which there is room."""
        if self.ttl is not None:
            limit = time.monotonic() + self.ttl
            entry.expires = limit if entry.expires is None else min(entry.expires, limit)
        self._hold(entry.payload)
        entry.sequence = self._next_sequence
        self._next_sequence += 1
        self._fresh.append(entry)
        self._announce_expiry(entry)
        self.dispatch()

    def give_back(self, entry: Entry) -> None:
        """Put a message back in its old place."""
        heappush(self._returned, (entry.sequence, entry))
        self._announce_expiry(entry)

    # -- messages out --------------------------------------------------------------------------------------------

    def subscribe(self, consumer: Consumer) -> None:
        """A consumer attached."""
        self._consumers.append(consumer)
        self.dispatch()

    def unsubscribe(self, consumer: Consumer) -> None:
        """A consumer is gone; what it had not settled was given back before."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def steal(self) -> None:
        """Whoever consumes now does so no longer: another one comes instead."""
        for consumer in list(self._consumers):
            consumer.stolen()

    def dispatch(self) -> None:
        """Hand messages to consumers with credit, in turn."""
        if self._dispatching or not self._consumers:
            # Sending may settle at once, which comes back here.
            return
        self._dispatching = True
        passed_over: list[Entry] = []
        try:
            while (entry := self._first()) is not None:
                if entry.expires is not None and entry.has_expired(time.monotonic()):
                    self._take_first()
                    self._bury_expired(entry)
                elif (consumer := self._next_consumer(entry)) is not None:
                    self._take_first()
                    consumer.deliver(entry)
                elif entry.excluded and any(c.has_credit for c in self._consumers):
                    passed_over.append(self._take_first())
                else:
                    return
        finally:
            self._dispatching = False
            for entry in passed_over:
                self.give_back(entry)

    def _first(self) -> Entry | None:
        if self._returned:
            return self._returned[0][1]
        return self._fresh[0] if self._fresh else None

    def _take_first(self) -> Entry:
        return heappop(self._returned)[1] if self._returned else self._fresh.popleft()

    def _next_consumer(self, entry: Entry) -> Consumer | None:
        consumers = self._consumers
        for _ in range(len(consumers)):
            consumer = consumers[0]
            consumers.rotate(-1)
            if consumer.has_credit and entry.is_for(consumer):
                return consumer
        return None

    # -- outcomes ------------------------------------------------------------------------------------------------

    def settled(self, consumer: Consumer, delivery: OutgoingDelivery) -> None:
        """A delivery of one of our messages has its outcome, or was lost with its consumer."""
        entry: Entry = delivery.waiter
        if isinstance(delivery.error, NotSent):
            self.give_back(entry)
            return
        outcome = _outcome(consumer, delivery)
        if isinstance(outcome, Accepted):
            self.forget(entry)
        elif isinstance(outcome, Rejected):
            error = outcome.error
            reason = "rejected" if error is None else str(error.condition)
            self._bury(entry, reason, "" if error is None else error.description or "")
        else:
            entry.delivered = True
            if isinstance(outcome, Modified):
                self._modify(entry, consumer, outcome)
            if self.max_deliveries is not None and entry.failures >= self.max_deliveries:
                self._bury(entry, "max-deliveries", f"{entry.failures} deliveries failed")
            else:
                self.give_back(entry)

    def _modify(self, entry: Entry, consumer: Consumer, outcome: Modified) -> None:
        if outcome.undeliverable_here:
            entry.exclude(consumer)
        if outcome.delivery_failed:
            entry.failures += 1
        annotations = {**entry.annotations, **(outcome.message_annotations or {})}
        if len(encode(annotations)) <= MAX_ADDED:
            entry.annotations = annotations

    # -- expiry and the end --------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Drop what expired."""
        now = time.monotonic()
        if self.next_expiry is None or self.next_expiry > now:
            return
        expired = [e for e in self._waiting() if e.has_expired(now)]
        self._fresh = deque(e for e in self._fresh if not e.has_expired(now))
        # A sorted list is a heap; a heap with gaps is not always one.
        self._returned = sorted(pair for pair in self._returned if not pair[1].has_expired(now))
        self.next_expiry = min((e.expires for e in self._waiting() if e.expires is not None), default=None)
        for entry in expired:
            self._bury_expired(entry)

    def _waiting(self) -> list[Entry]:
        return [*(entry for _, entry in self._returned), *self._fresh]

    def _announce_expiry(self, entry: Entry) -> None:
        if entry.expires is not None and (self.next_expiry is None or entry.expires < self.next_expiry):
            self.next_expiry = entry.expires
            if self._sweeper is not None:
                self._sweeper.watch(self)

    def _bury_expired(self, entry: Entry) -> None:
        self._bury(entry, "expired", "the message lived longer than its time to live")

    def _bury(self, entry: Entry, reason: str, description: str) -> None:
        self.forget(entry)
        if self._dead_letter is not None:
            self._dead_letter(self, entry, reason, description)

    def forget(self, entry: Entry) -> None:
        """A message is not ours any more."""
        self._let_go(entry.payload)

    def purge(self) -> int:
        """Drop what is ready to be delivered; returns how many that were."""
        count = len(self)
        while self._first() is not None:
            self.forget(self._take_first())
        self.next_expiry = None
        return count

    def close(self) -> None:
        # What consumers give back now goes nowhere: neither to the others nor to the dead letters.
        self._deleted = True
        self._dead_letter = None
        consumers, self._consumers = self._consumers, deque()
        super().close()
        for consumer in consumers:
            consumer.node_deleted()
        self.purge()


def _outcome(consumer: Consumer, delivery: OutgoingDelivery) -> State:
    if delivery.error is not None:
        return _FAILED
    if delivery.presettled:
        return ACCEPTED
    if delivery.state is None:
        return consumer.default_outcome
    return delivery.state if isinstance(delivery.state, Accepted | Rejected | Released | Modified) else _FAILED


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
        # All or none: a sender that is refused sends again, and nobody should get the message twice for that.
        for queue in self._subscriptions.values():
            queue.check_room(len(entry.payload), copies=len(self._subscriptions))
        for queue in list(self._subscriptions.values()):
            queue.add(Entry(entry.payload, entry.message_format, entry.expires))

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
        super().close()
        for name in list(self._subscriptions):
            self.unsubscribe(name)


def dead_letter_copy(source: Queue, entry: Entry, reason: str, description: str) -> Entry:
    """The message as it goes to the dead-letter queue: annotations say where it died and why; it expires no more."""
    message = Message.decode(entry.payload, entry.message_format)
    message.annotations.update(entry.annotations)
    message.annotations[DEAD_LETTER_SOURCE] = source.name
    message.annotations[DEAD_LETTER_REASON] = reason
    message.annotations[DEAD_LETTER_DESCRIPTION] = description
    message.header.ttl = None
    return Entry(message.encode(), entry.message_format)
