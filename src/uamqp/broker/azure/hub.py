"""Event hubs: partitions keep their events, and each receiver reads them from where it likes."""

from __future__ import annotations

import time
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ...codec.message import Message
from ...codec.values import Symbol
from ...engine.delivery import OutgoingDelivery
from ...engine.errors import LINK_STOLEN, MESSAGE_SIZE_EXCEEDED, RESOURCE_LIMIT_EXCEEDED
from ...engine.sender import SenderEndpoint
from ...exceptions import AMQPError
from ..nodes import Entry, Node, Refused, Store, shown
from ..peer import Outlet
from .batch import Unpacked, unpacked
from .moments import timestamp
from .selector import Position

if TYPE_CHECKING:
    from ..nodes import Storage

EPOCH: Final = "com.microsoft:epoch"
RUNTIME_METRIC: Final = "com.microsoft:enable-receiver-runtime-metric"
PARTITION_KEY: Final = "x-opt-partition-key"


class Event:
    """An event in a partition.

    Attributes:
        payload: the encoded message, with the annotations of the partition.
        sequence, offset: its place: by number, and by bytes.
        enqueued: when it came (`time.time`).
    """

    __slots__ = ("enqueued", "offset", "payload", "sequence")

    def __init__(self, payload: bytes, sequence: int, offset: int, enqueued: float) -> None:
        self.payload = payload
        self.sequence = sequence
        self.offset = offset
        self.enqueued = enqueued


class Partition(Store):
    """A log of events. A new one drops the oldest ones where it does not fit, as if their time were over.

    Attributes:
        id: its name in the hub.
        hub: the name of that.
        events: oldest first.
        next_sequence, next_offset: of the next event.
        last: the newest event, even if it was dropped; None where there never was one.
    """

    def __init__(self, hub: str, id: str, *, max_length: int, max_bytes: int, storage: Storage) -> None:
        super().__init__(f"{hub}/Partitions/{id}", max_length=max_length, max_bytes=max_bytes, storage=storage)
        self.hub = hub
        self.id = id
        self.events: deque[Event] = deque()
        self.next_sequence = 0
        self.next_offset = 0
        self.last: Event | None = None
        self._receivers: list[EventReceiver] = []
        self._dispatching = False

    def put(self, entry: Entry) -> None:
        arrivals = unpacked(entry)
        self.check(arrivals)
        self.take(arrivals)

    def check(self, arrivals: Sequence[Unpacked]) -> None:
        """Raise Refused where these events could not be held even if all others were dropped."""
        size = sum(len(entry.payload) for _, entry, _ in arrivals)
        if size > self.max_bytes or len(arrivals) > self.max_length:
            raise self._full(f"{len(arrivals)} events of {size} bytes are more than it can ever hold")

    def take(self, arrivals: Iterable[Unpacked]) -> None:
        """Add events, which `check` let through. Raises Refused where there is no room in the broker."""
        try:
            for message, _, annotations in arrivals:
                self._append(message, annotations)
        finally:
            self.dispatch()

    def _full(self, lack: str) -> Refused:
        return Refused(RESOURCE_LIMIT_EXCEEDED, f"the partition {shown(self.name)} is full: {lack}")

    def _append(self, message: Message, annotations: dict[Any, Any]) -> None:
        now = time.time()
        if PARTITION_KEY in annotations:
            message.annotations[PARTITION_KEY] = annotations[PARTITION_KEY]
        message.annotations["x-opt-sequence-number"] = self.next_sequence
        message.annotations["x-opt-offset"] = str(self.next_offset)
        message.annotations["x-opt-enqueued-time"] = timestamp(now)
        event = Event(message.encode(), self.next_sequence, self.next_offset, now)
        while (lack := self.lack(len(event.payload))) is not None:
            if not self.events or len(event.payload) > self.max_bytes:
                raise self._full(lack)
            self._drop_first()
        self._hold(event.payload)
        self.events.append(event)
        self.last = event
        self.next_sequence += 1
        self.next_offset += len(event.payload)

    def _drop_first(self) -> None:
        self._let_go(self.events.popleft().payload)

    def after(self, position: Position) -> int:
        """The sequence-number of the first event that the position lets through."""
        if position.latest:
            return self.next_sequence
        return next((event.sequence for event in self.events if position.passes(event)), self.next_sequence)

    def check_epoch(self, group: str, epoch: int | None) -> None:
        """End the receivers of the group that a new one of that epoch displaces. Raises Refused where they stay."""
        others = [r for r in self._receivers if r.group == group]
        for other in others:
            if other.epoch is not None and (epoch is None or epoch < other.epoch):
                raise Refused(LINK_STOLEN, f"there is a receiver of epoch {other.epoch} already")
        if epoch is not None:
            for other in others:
                other.end(LINK_STOLEN, f"a receiver of epoch {epoch} has the partition {shown(self.name)} now")

    def subscribe(self, outlet: EventReceiver) -> None:
        self._receivers.append(outlet)
        self.dispatch()

    def unsubscribe(self, outlet: EventReceiver) -> None:
        if outlet in self._receivers:
            self._receivers.remove(outlet)

    def dispatch(self) -> None:
        if self._dispatching or not self.events:
            return
        self._dispatching = True
        try:
            for receiver in list(self._receivers):
                self._serve(receiver)
        finally:
            self._dispatching = False

    def _serve(self, receiver: EventReceiver) -> None:
        first = self.events[0].sequence
        # Events that were dropped meanwhile are lost to the receiver.
        receiver.next_sequence = max(receiver.next_sequence, first)
        while receiver.next_sequence < self.next_sequence and receiver.has_credit:
            event = self.events[receiver.next_sequence - first]
            receiver.next_sequence += 1
            receiver.deliver(event)

    def settled(self, outlet: EventReceiver, delivery: OutgoingDelivery) -> None:
        """Nothing comes of it: events stay where they are."""

    def close(self) -> None:
        super().close()
        for receiver in list(self._receivers):
            receiver.node_deleted()
        while self.events:
            self._drop_first()


class EventReceiver(Outlet):
    """One receiver of one partition.

    Attributes:
        group: its consumer group.
        epoch: how strong its claim to the partition is, or None.
        next_sequence: where it reads on.
    """

    def __init__(
        self,
        link: SenderEndpoint,
        partition: Partition,
        *,
        group: str,
        position: Position,
        epoch: int | None,
        with_metric: bool,
    ) -> None:
        super().__init__(link, partition)
        self._partition = partition
        self._with_metric = with_metric
        self.group = group
        self.epoch = epoch
        self.next_sequence = partition.after(position)

    def deliver(self, event: Event) -> None:
        """Send the event."""
        payload = event.payload
        if self._with_metric and (last := self._partition.last) is not None:
            message = Message.decode(payload)
            message.delivery_annotations.update(
                {
                    Symbol("last_enqueued_sequence_number"): last.sequence,
                    Symbol("last_enqueued_offset"): str(last.offset),
                    Symbol("last_enqueued_time_utc"): timestamp(last.enqueued),
                    Symbol("runtime_info_retrieval_time_utc"): timestamp(time.time()),
                }
            )
            payload = message.encode()
        try:
            self.link.send(payload, self.presettled)
        except AMQPError as error:
            # Larger than the receiver takes.
            self.end(MESSAGE_SIZE_EXCEEDED, error.description)


class Hub(Node):
    """An event hub.

    Attributes:
        created: when it was made (`time.time`).
        partitions: by name.
    """

    def __init__(self, name: str, partitions: list[Partition]) -> None:
        super().__init__(name)
        self.created = time.time()
        self.partitions = {partition.id: partition for partition in partitions}
        self._list = partitions
        self._next = 0

    def put(self, entry: Entry) -> None:
        arrivals: dict[Partition, list[Unpacked]] = {}
        for arrival in unpacked(entry):
            arrivals.setdefault(self._partition_of(arrival), []).append(arrival)
        self._next += 1
        for partition, its_own in arrivals.items():
            partition.check(its_own)
        for partition, its_own in arrivals.items():
            partition.take(its_own)

    def _partition_of(self, arrival: Unpacked) -> Partition:
        message, _, annotations = arrival
        key = annotations.get(PARTITION_KEY, message.annotations.get(PARTITION_KEY))
        # Events without a key go to the partitions in turn, those of a batch to the same one.
        number = self._next if key is None else zlib.crc32(str(key).encode())
        return self._list[number % len(self._list)]

    def close(self) -> None:
        super().close()
        for partition in self._list:
            partition.close()
