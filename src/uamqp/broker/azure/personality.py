"""What addresses mean to a broker that behaves as Azure does, and the nodes behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...engine.errors import NOT_ALLOWED, NOT_FOUND
from ..nodes import Node, Refused, shown
from ..personality import Personality
from ..services import MANAGEMENT, ClaimsBasedSecurity
from .address import Address, parse
from .entity import Entity
from .entity_management import EntityManagement
from .hub import Hub, Partition
from .hub_management import HubManagement
from .options import Azure
from .peer import AzurePeer
from .tokens import token_check
from .topic import Subscriptions

if TYPE_CHECKING:
    from ..server import Broker


class AzurePersonality(Personality):
    """Service Bus and Event Hubs in one namespace. Names are the same in capital and small letters.

    Attributes:
        terms: its options.
    """

    anonymous_mechanisms = ("ANONYMOUS", "MSSBCBS")
    all_fields = True

    def __init__(self, broker: Broker, terms: Azure) -> None:
        super().__init__(broker)
        self.terms = terms

    @property
    def passwords(self) -> Mapping[str, str]:
        # The services take a key as it is, too, with its name as user.
        return {**self.terms.keys, **super().passwords}

    def services(self) -> Sequence[Node]:
        check = self.broker.options.token_check or token_check(self.terms.keys)
        return (ClaimsBasedSecurity(check), HubManagement(self))

    def declare(self) -> None:
        """Make the nodes that were declared. Raises Refused."""
        for name in self.terms.queues:
            self._make_entity(name, wants_sessions=False)
        for name in self.terms.session_queues:
            self._make_entity(name, wants_sessions=True)
        for name, subscriptions in self.terms.topics.items():
            topic = self._make_entity(name)
            topic.subscriptions = Subscriptions()
            for subscription in subscriptions:
                self._make_subscription(topic, subscription)
        for name, count in self.terms.hubs.items():
            self._make_hub(name, count)

    def key(self, name: str) -> str:
        return name.lower()

    def is_part(self, key: str, whole: str) -> bool:
        address, other = parse(key), parse(whole)
        # Of "a" the dead-letter queue "a/$deadletterqueue" is a part, the queue "a/b" is none.
        return key.startswith(f"{whole}/") and address is not None and other is not None and address.name == other.name

    def peer(self) -> AzurePeer:
        return AzurePeer(self.broker, self)

    def node(self, name: str, capabilities: Sequence[Any]) -> Node:
        return self.resolve(name, hub=False)

    def resolve(self, name: str, *, hub: bool) -> Node:
        """The node of that name; `hub` where a plain name that is new is one of an event hub. Raises Refused."""
        node = self.broker.find(name)
        if node is not None:
            return node
        address = parse(name)
        if address is None:
            raise Refused(NOT_FOUND, f"there is no node {shown(name)}")
        if address.partition is not None:
            return self.partition(self.hub(address.name), address.partition)
        if address.group is not None or (hub and self.broker.find(address.name) is None):
            return self.hub(address.name)
        return self._part_of_entity(address)

    # -- event hubs ----------------------------------------------------------------------------------------------

    def hub(self, name: str) -> Hub:
        """The event hub, made where it is new and that is allowed. Raises Refused."""
        node = self.broker.find(name)
        if node is None:
            self._check_auto_create(name)
            return self._make_hub(name, self.terms.partitions)
        if not isinstance(node, Hub):
            raise Refused(NOT_ALLOWED, f"{shown(name)} is not an event hub")
        return node

    def partition(self, hub: Hub, id: str) -> Partition:
        """A partition of the hub. Raises Refused."""
        found = hub.partitions.get(id)
        if found is None:
            raise Refused(NOT_FOUND, f"the event hub {shown(hub.name)} has no partition {shown(id)}")
        return found

    def _make_hub(self, name: str, count: int) -> Hub:
        options = self.broker.options
        partitions = [
            Partition(
                name,
                str(number),
                max_length=options.max_queue_length,
                max_bytes=options.max_queue_bytes,
                storage=self.broker.storage,
            )
            for number in range(count)
        ]
        hub = Hub(name, partitions)
        self.broker.add(hub)
        return hub

    # -- Service Bus ---------------------------------------------------------------------------------------------

    def _part_of_entity(self, address: Address) -> Node:
        node: Entity = self.entity(address.name)
        if address.subscription is not None:
            node = self._subscription(node, address.subscription)
        if address.dead_letters:
            node = self._dead_letters(node, address.dead_letters)
        return self._management(node) if address.management else node

    def entity(self, name: str) -> Entity:
        """The queue or topic, made where it is new and that is allowed. Raises Refused."""
        node = self.broker.find(name)
        if node is None:
            self._check_auto_create(name)
            return self._make_entity(name)
        if not isinstance(node, Entity):
            raise Refused(NOT_ALLOWED, f"{shown(name)} is no entity of Service Bus")
        return node

    def _subscription(self, topic: Entity, name: str) -> Entity:
        node = self.broker.find(f"{topic.name}/Subscriptions/{name}")
        if isinstance(node, Entity):
            return node
        self._check_auto_create(name)
        return self._make_subscription(topic, name)

    def _make_subscription(self, topic: Entity, name: str) -> Entity:
        topic.want_subscriptions()
        subscription = self._make_entity(f"{topic.name}/Subscriptions/{name}")
        topic.add_subscription(name, subscription)
        return subscription

    def _dead_letters(self, entity: Entity, suffix: str) -> Entity:
        name = f"{entity.name}{suffix}"
        node = self.broker.find(name)
        if not isinstance(node, Entity):
            node = self._make_entity(name, wants_sessions=False, dead_letters=False)
        return node

    def _management(self, entity: Entity) -> EntityManagement:
        name = f"{entity.name}/{MANAGEMENT}"
        node = self.broker.find(name)
        if not isinstance(node, EntityManagement):
            node = EntityManagement(name, entity)
            self.broker.add(node)
        return node

    def _make_entity(self, name: str, *, wants_sessions: bool | None = None, dead_letters: bool = True) -> Entity:
        options = self.broker.options
        entity = Entity(
            name,
            self.terms,
            max_length=options.max_queue_length,
            max_bytes=options.max_queue_bytes,
            storage=self.broker.storage,
            sweeper=self.broker.sweeper,
            wants_sessions=wants_sessions,
        )
        if dead_letters:
            entity.dead_letters = partial(self._dead_letters, entity, "/$DeadLetterQueue")
        self.broker.add(entity)
        return entity

    def _check_auto_create(self, name: str) -> None:
        if not self.broker.options.auto_create:
            raise Refused(NOT_FOUND, f"there is no entity {shown(name)}")
