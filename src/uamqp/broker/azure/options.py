"""What the azure personality may be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Azure:
    """A broker that behaves as Azure Service Bus and Event Hubs do: ``Broker(personality=Azure())``.

    Any name may be used without being declared. It is an event hub where the client is an Event Hubs SDK or the
    address is one of a hub (``name/ConsumerGroups/…``, ``name/Partitions/…``), a topic from the first
    ``name/Subscriptions/…`` on, and a queue otherwise; it wants sessions from the first session receiver on.
    What is declared needs no such guess.

    Attributes:
        queues: names of queues without sessions.
        session_queues: names of queues that want sessions.
        topics: the subscriptions of topics, by name.
        hubs: the number of partitions of event hubs, by name.
        partitions: how many partitions other hubs have.
        lock_duration: seconds that a message or session stays locked.
        max_deliveries: after so many failed deliveries a message is dead-lettered.
        dead_letter_expired: dead-letter messages that lived too long, instead of dropping them.
        session_timeout: seconds that a client waits for the next session where it does not say how long.
        max_message_size: bytes of the largest message taken; the broker's own limit may be lower.
        keys: shared access keys by name, which tokens must be signed with; without, every token will do. PLAIN takes
            the name of a key as user and the key as password.

    Raises:
        ValueError: a number that cannot be.
    """

    queues: Sequence[str] = ()
    session_queues: Sequence[str] = ()
    topics: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hubs: Mapping[str, int] = field(default_factory=dict)
    partitions: int = 4
    lock_duration: float = 60.0
    max_deliveries: int = 10
    dead_letter_expired: bool = False
    session_timeout: float = 65.0
    max_message_size: int = 1024 * 1024
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if min([self.partitions, *self.hubs.values()]) < 1:
            raise ValueError("an event hub has one partition at least")
        if min(self.lock_duration, self.max_deliveries, self.max_message_size) <= 0:
            raise ValueError("lock_duration, max_deliveries and max_message_size must be more than 0")
