"""What makes an entity a topic: the subscriptions that its messages go to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...codec.message import Message
from ..nodes import Refused
from .held import Held

if TYPE_CHECKING:
    from .entity import Entity


class Subscriptions:
    """The subscriptions of a topic, by name."""

    def __init__(self) -> None:
        self._entities: dict[str, Entity] = {}

    def __len__(self) -> int:
        return len(self._entities)

    def add(self, name: str, subscription: Entity) -> None:
        """Give it the messages that come from now on."""
        self._entities[name] = subscription

    def hand_on(self, held: Held) -> None:
        """Give the message to all subscriptions whose rules match it."""
        message = Message.decode(held.payload)
        for subscription in list(self._entities.values()):
            if subscription.rules.match(message):
                try:
                    subscription.check([held])
                except Refused:
                    # Full, deleted, or without a session where one is wanted: the others get it all the same.
                    continue
                subscription.take(Held(held.payload, held.session, held.expires))
                subscription.dispatch()
