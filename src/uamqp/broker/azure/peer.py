"""One client of a broker that behaves as Azure does: what its links mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ...codec.definitions import Source
from ...codec.message import Message
from ...codec.values import Symbol
from ...engine.errors import INVALID_FIELD, NOT_ALLOWED, UNAUTHORIZED_ACCESS, wire_error
from ...engine.sender import SenderEndpoint
from ...exceptions import AMQPError
from ..nodes import Node, Refused, node_name, shown
from ..peer import Outlet, Peer
from ..services import CBS
from .address import parse
from .conditions import TIMEOUT
from .entity import Entity
from .hub import EPOCH, RUNTIME_METRIC, EventReceiver, Hub, Partition
from .receiver import SESSION_FILTER, Receiver
from .selector import position_of
from .sessions import Session, Waiting

if TYPE_CHECKING:
    from ..server import Broker
    from .personality import AzurePersonality

_DEFAULT_GROUP: Final = "$Default"

#: What the user agent of the Event Hubs SDKs has in it, in any language.
_EVENT_HUBS_AGENT: Final = "eventhub"


class AzurePeer(Peer):
    """One connection."""

    def __init__(self, broker: Broker, personality: AzurePersonality) -> None:
        super().__init__(broker)
        self._personality = personality

    @property
    def max_message_size(self) -> int:
        return min(super().max_message_size, self._personality.terms.max_message_size)

    def node(self, address: str, capabilities: Sequence[Any]) -> Node:
        name = node_name(address)
        self._check_token(name)
        return self._personality.resolve(name, hub=self._is_for_event_hubs)

    def node_for_message(self, message: Message) -> Node:
        self._check_token(node_name(message.properties.to or ""))
        return super().node_for_message(message)

    def _check_token(self, name: str) -> None:
        known = self.token_accepted or self.identity
        if self._personality.terms.keys and not known and name != CBS:
            raise Refused(UNAUTHORIZED_ACCESS, "the client put no token to $cbs")

    @property
    def _is_for_event_hubs(self) -> bool:
        remote = self.engine.remote_open
        told = {} if remote is None else remote.properties or {}
        return any(_EVENT_HUBS_AGENT in str(value).lower() for value in told.values())

    def _serve(self, link: SenderEndpoint, node: Node, source: Source) -> None:
        filters = source.filter or {}
        if not isinstance(node, Entity) or SESSION_FILTER not in filters:
            super()._serve(link, node, source)
            return
        wanted = filters[SESSION_FILTER]
        if wanted is not None and not isinstance(wanted, str):
            raise Refused(INVALID_FIELD, "the session filter is not a string")
        node.want_sessions()
        session = node.accept_session(wanted)
        if session is not None:
            self._grant(link, node, source, session)
            return
        waiting = Waiting(node, partial(self._answer_late, link, node, source), partial(self._answer_late, link))
        link.context = waiting
        node.sessions.wait(waiting, self._session_timeout(link))

    def _session_timeout(self, link: SenderEndpoint) -> float:
        """Seconds that the client gives for a session to come up."""
        wanted = self._properties(link).get(TIMEOUT)
        return wanted / 1000 if isinstance(wanted, int) else self._personality.terms.session_timeout

    def _grant(self, link: SenderEndpoint, entity: Entity, source: Source, session: Session) -> None:
        self._admit(link, source, Receiver(link, entity, session))

    def _answer_late(self, link: SenderEndpoint, *granted: Any) -> None:
        """Answer a link that waited: with what `_grant` takes, or without a session."""
        try:
            if granted:
                self._grant(link, *granted)
            else:
                link.context = None
                link.refuse(wire_error(TIMEOUT, "there was no session to be had in time"))
        except AMQPError as error:
            self._unanswered(link, error)

    def _consumer(self, link: SenderEndpoint, node: Node, source: Source) -> Outlet:
        if isinstance(node, Entity):
            return self._receiver(link, node)
        if isinstance(node, Partition):
            return self._event_receiver(link, node, source)
        if isinstance(node, Hub):
            raise Refused(NOT_ALLOWED, f"events of {shown(node.name)} are received from its partitions")
        return super()._consumer(link, node, source)

    def _receiver(self, link: SenderEndpoint, entity: Entity) -> Receiver:
        if entity.wants_sessions:
            raise Refused(NOT_ALLOWED, f"the entity {shown(entity.name)} is received from by session only")
        if entity.subscriptions is not None:
            raise Refused(NOT_ALLOWED, f"{shown(entity.name)} is a topic: messages are in its subscriptions")
        return Receiver(link, entity)

    def _event_receiver(self, link: SenderEndpoint, partition: Partition, source: Source) -> EventReceiver:
        address = parse(str(source.address))
        group = _DEFAULT_GROUP if address is None or address.group is None else address.group
        epoch = self._properties(link).get(EPOCH)
        if epoch is not None and not isinstance(epoch, int):
            raise Refused(INVALID_FIELD, "the epoch is not a number")
        position = position_of(source.filter)
        partition.check_epoch(group.lower(), epoch)
        attach = link.remote_attach
        receiver = EventReceiver(
            link,
            partition,
            group=group.lower(),
            position=position,
            epoch=epoch,
            with_metric=attach is not None and RUNTIME_METRIC in attach.desired_capabilities,
        )
        receiver.filter = source.filter
        return receiver

    def _properties(self, link: SenderEndpoint) -> dict[Any, Any]:
        attach = link.remote_attach
        return {} if attach is None else {Symbol(str(k)): v for k, v in (attach.properties or {}).items()}
