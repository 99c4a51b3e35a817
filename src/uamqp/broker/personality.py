"""What a broker is like to its clients: which nodes there are by themselves, and what an address means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..engine.errors import NOT_FOUND
from .nodes import Node, Refused, shown
from .peer import Peer
from .services import ClaimsBasedSecurity, Management

if TYPE_CHECKING:
    from .server import Broker


class Personality:
    """The generic broker's: an unknown name becomes a queue, or a topic where the client asks for that.

    Attributes:
        anonymous_mechanisms: the SASL mechanisms that let everybody in.
        all_fields: as in `uamqp.engine.settings.ConnectionSettings`.
    """

    anonymous_mechanisms: tuple[str, ...] = ("ANONYMOUS",)
    all_fields = False

    def __init__(self, broker: Broker) -> None:
        self.broker = broker

    @property
    def passwords(self) -> Mapping[str, str]:
        """The passwords of the users that PLAIN lets in; without any, it lets everybody in."""
        return self.broker.options.users

    def services(self) -> Sequence[Node]:
        """The nodes that are always there."""
        return (ClaimsBasedSecurity(self.broker.options.token_check), Management(self.broker))

    def declare(self) -> None:
        """Make the nodes that its options name. Raises Refused."""

    def key(self, name: str) -> str:
        """What a node is kept under in the table: the same for all names that mean the same node."""
        return name

    def is_part(self, key: str, whole: str) -> bool:
        """Whether the node under `key` goes with the one under `whole`."""
        return False

    def peer(self) -> Peer:
        """What serves a new connection."""
        return Peer(self.broker)

    def node(self, name: str, capabilities: Sequence[Any]) -> Node:
        """The node of that name, made where it is new and that is allowed. Raises Refused."""
        broker = self.broker
        node = broker.find(name)
        if node is not None:
            return node
        if not broker.options.auto_create or not name or name.startswith("$"):
            raise Refused(NOT_FOUND, f"there is no node {shown(name)}")
        return broker.topic(name) if "topic" in capabilities else broker.queue(name)
