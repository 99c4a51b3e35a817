"""One client of the broker: its engine's observer, and what its links mean to the nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from ..codec.composite import Composite
from ..codec.definitions import (
    Accepted,
    Coordinator,
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    Modified,
    Rejected,
    Released,
    Source,
    Target,
)
from ..codec.message import Message
from ..codec.values import Symbol
from ..engine.delivery import IncomingDelivery, OutgoingDelivery
from ..engine.errors import (
    DECODE_ERROR,
    FRAME_SIZE_TOO_SMALL,
    INVALID_FIELD,
    LINK_STOLEN,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    PRECONDITION_FAILED,
    RESOURCE_DELETED,
    UNAUTHORIZED_ACCESS,
    wire_error,
)
from ..engine.link import RECEIVER_SETTLE_FIRST, SENDER_SETTLE_SETTLED, SENDER_SETTLE_UNSETTLED, LinkEndpoint
from ..engine.observer import Observer
from ..engine.receiver import ReceiverEndpoint
from ..engine.run import Outgoing
from ..engine.sender import SenderEndpoint
from ..engine.session import SessionEndpoint
from ..exceptions import AMQPError, DecodeError, LinkDetached
from .expiry import expiry
from .nodes import MAX_DESCRIPTION, Entry, Node, Queue, Refused, Store, Topic, shown

if TYPE_CHECKING:
    from ..engine.connection import ConnectionEndpoint
    from .server import Broker


_OUTCOMES: Final = (Accepted, Rejected, Released, Modified)
_EXPIRY_NEVER: Final = "never"
_COPY: Final = "copy"


def _end_link(link: LinkEndpoint, condition: str, description: str) -> None:
    link.detach(error=wire_error(condition, description[:MAX_DESCRIPTION]))
    link.ended(LinkDetached(description, condition=condition))


class Outlet:
    """A link on which the broker sends.

    Attributes:
        store: where its messages come from.
        presettled: they are sent settled, because the client asked for that.
        default_outcome: what it means where the client settles without saying how.
        filter, properties: what the answer to the attach says of the source and of the link, or None.
    """

    def __init__(self, link: SenderEndpoint, store: Store) -> None:
        self.link = link
        self.store = store
        self.presettled = link.remote_attach is not None and link.remote_attach.snd_settle_mode == SENDER_SETTLE_SETTLED
        self._connection = link.session.connection
        self.default_outcome: Composite = Released()
        self.filter: dict[Any, Any] | None = None
        self.properties: dict[Any, Any] | None = None

    @property
    def has_credit(self) -> bool:
        """Whether a message can be sent now."""
        link = self.link
        return (
            link.error is None
            and link.credit > 0
            and not link.queue
            # What was sent settled is nobody's any more: it must not pile up before a client that does not read.
            and not self._connection.paused
        )

    def gone(self) -> None:
        """The link ended; what it had not settled was told before."""
        self.store.unsubscribe(self)

    def node_deleted(self) -> None:
        """The store is no more."""
        self.end(RESOURCE_DELETED, f"the queue {shown(self.store.name)} was deleted")

    def end(self, condition: str, description: str) -> None:
        """End the link because of something that is not its fault."""
        _end_link(self.link, condition, description)


class Consumer(Outlet):
    """A consumer of a queue.

    Attributes:
        queue: the store.
        durable: for a subscription of a topic: it outlives the link, unless that is closed.
        dispose: deletes the queue where that is there for this consumer only.
    """

    def __init__(self, link: SenderEndpoint, queue: Queue) -> None:
        super().__init__(link, queue)
        self.queue = queue
        self.durable = False
        self.dispose: Callable[[], None] | None = None

    def deliver(self, entry: Entry) -> None:
        """Send the message; the queue hears of its outcome in `settled`."""
        try:
            delivery = self.link.send(entry.bytes_to_send(), self.presettled, entry.message_format)
        except AMQPError:
            # Larger than the consumer takes, say: nothing was sent, and another consumer may have it.
            entry.exclude(self)
            self.queue.give_back(entry)
            return
        if delivery.settled:
            self.queue.forget(entry)
        else:
            delivery.waiter = entry

    def gone(self) -> None:
        super().gone()
        closed = self.link.remote_detach is not None and bool(self.link.remote_detach.closed)
        if self.dispose is not None and (closed or not self.durable):
            self.dispose()

    def stolen(self) -> None:
        """The same client attached the same link again, in another place."""
        self.end(LINK_STOLEN, f"the link {shown(self.link.name)} was attached elsewhere")


class Producer:
    """A link on which the broker receives: for one node, or, without, for the node each message names."""

    def __init__(self, peer: Peer, link: ReceiverEndpoint, node: Node | None, credit: int) -> None:
        self.peer = peer
        self.link = link
        self.node = node
        self._credit = credit

    def start(self) -> None:
        """Give credit."""
        if self.node is not None:
            self.node.producers.add(self)
        self.link.flow(self._credit)

    def gone(self) -> None:
        """The link ended."""
        if self.node is not None:
            self.node.producers.discard(self)

    def node_deleted(self) -> None:
        """The node is no more."""
        assert self.node is not None
        _end_link(self.link, RESOURCE_DELETED, f"the node {shown(self.node.name)} was deleted")

    def receive(self) -> None:
        """Take what arrived, and give credit again."""
        link = self.link
        queue = link.queue
        while queue:
            self._take(queue.popleft())
        if link.error is None and link.credit * 2 <= self._credit:
            link.flow(self._credit)

    def _take(self, delivery: IncomingDelivery) -> None:
        try:
            message = Message.decode(delivery.payload, delivery.message_format)
            self._check(message)
            node = self.node if self.node is not None else self.peer.node_for_message(message)
            if isinstance(node, Service):
                node.handle(self.peer, message)
            else:
                node.put(Entry(delivery.payload, delivery.message_format, expiry(message)))
        except DecodeError as error:
            self._refuse(delivery, DECODE_ERROR, error.description)
        except Refused as refused:
            self._refuse(delivery, refused.condition, refused.description)
        else:
            if not delivery.settled:
                delivery.accept()

    def _check(self, message: Message) -> None:
        # The sections that the broker itself reads, or writes to later on, must be sound.
        _ = message.header, message.annotations
        self.peer.check_user_id(message)

    def _refuse(self, delivery: IncomingDelivery, condition: str, description: str) -> None:
        self.peer.broker.refused += 1
        if not delivery.settled:
            delivery.reject(condition, description[:MAX_DESCRIPTION])


class Service(Node):
    """A node that answers requests itself, such as ``$cbs``."""

    def handle(self, peer: Peer, message: Message) -> None:
        """Answer one request. Raises Refused or DecodeError."""
        raise NotImplementedError

    def reply(self, peer: Peer, request: Message, response: Message) -> None:
        """Send the response where the request wants it."""
        properties = request.properties
        correlation = properties.message_id if properties.correlation_id is None else properties.correlation_id
        response.properties.correlation_id = correlation
        response.properties.to = properties.reply_to
        self._reply_node(peer, properties.reply_to).put(Entry(response.encode()))

    def _reply_node(self, peer: Peer, reply_to: str | None) -> Node:
        for consumer in peer.consumers_of(self):
            target = consumer.link.target
            if reply_to is None or (target is not None and target.address == reply_to):
                return consumer.store
        node = peer.broker.find(reply_to) if reply_to is not None else None
        if node is None or isinstance(node, Service):
            raise Refused(NOT_FOUND, "the request names no reply-to address that exists")
        return node


class Peer(Observer):
    """One connection.

    Attributes:
        identity: who the client is, "" if anonymous.
        token_accepted: it put a token to ``$cbs`` that was good.
    """

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.token_accepted = False
        self.engine: ConnectionEndpoint
        self.identity = ""
        self._flush: Callable[[], None]
        self._opened: Callable[[], None]
        self._dynamic: dict[LinkEndpoint, Node] = {}
        self._outlets: list[Outlet] = []

    def bind(self, engine: ConnectionEndpoint, flush: Callable[[], None], opened: Callable[[], None]) -> None:
        """Set the engine of the connection, what writes its output, and who wants to know when it is open."""
        self.engine = engine
        self._flush = flush
        self._opened = opened

    def consumers_of(self, node: Node) -> list[Outlet]:
        """The links of this connection that receive from the node."""
        return [o for o in self._outlets if o.store.name == node.name]

    def check_user_id(self, message: Message) -> None:
        """Spec 3.2.4: a user-id must be the one of who sends. Raises Refused."""
        user_id = message.properties.user_id
        if user_id is not None and self.identity and user_id != self.identity.encode():
            raise Refused(UNAUTHORIZED_ACCESS, "the user-id of the message is not the one of the connection")

    def resumed(self) -> None:
        """The client reads again."""
        for outlet in list(self._outlets):
            outlet.store.dispatch()

    # -- Observer ------------------------------------------------------------------------------------------------

    def on_output(self) -> None:
        self._flush()

    def on_open(self) -> None:
        self.engine.open()
        self._opened()

    def on_begin(self, session: SessionEndpoint) -> None:
        session.begin(handle_max=self.broker.options.handle_max)

    def on_attach(self, link: LinkEndpoint) -> None:
        try:
            try:
                if isinstance(link, ReceiverEndpoint):
                    self._attach_producer(link)
                else:
                    assert isinstance(link, SenderEndpoint)
                    self._attach_consumer(link)
            except Refused as refused:
                link.refuse(wire_error(refused.condition, refused.description))
        except AMQPError as error:
            self._unanswered(link, error)

    def _unanswered(self, link: LinkEndpoint, error: AMQPError) -> None:
        """The answer repeats what the client sent, and that was more than the client takes in one frame."""
        # The engine knows nothing of a link without an answer, so nobody else takes back what was made for it.
        self.on_detach(link, error)
        link.session.fail(FRAME_SIZE_TOO_SMALL, error.description[:MAX_DESCRIPTION])

    def on_detach(self, link: LinkEndpoint, error: AMQPError | None) -> None:
        context = link.context
        if isinstance(context, Outlet) and context in self._outlets:
            self._outlets.remove(context)
        if context is not None:
            context.gone()
        node = self._dynamic.pop(link, None)
        if node is not None:
            self.broker.delete(node.name)

    def on_close(self, error: AMQPError | None) -> None:
        self.broker.closed(self)

    def on_deliveries(self, receiver: ReceiverEndpoint) -> None:
        receiver.context.receive()

    def on_wasted(self, receiver: ReceiverEndpoint, count: int) -> None:
        receiver.context.receive()

    def on_credit(self, sender: SenderEndpoint) -> None:
        # A client may send flow behind its attach, before it hears that the link was refused.
        if sender.context is not None:
            sender.context.store.dispatch()

    def on_settled(self, deliveries: Sequence[Outgoing]) -> None:
        stores: dict[Store, None] = {}
        # It sends no runs.
        for delivery in cast("Sequence[OutgoingDelivery]", deliveries):
            outlet: Outlet = delivery.link.context
            # What went out settled at once has no waiter: it was forgotten then.
            if delivery.waiter is not None:
                outlet.store.settled(outlet, delivery)
            stores[outlet.store] = None
        for store in stores:
            store.dispatch()

    # -- attaching -----------------------------------------------------------------------------------------------

    def _attach_producer(self, link: ReceiverEndpoint) -> None:
        attach = link.remote_attach
        assert attach is not None
        target = attach.target
        if isinstance(target, Coordinator):
            raise Refused(NOT_IMPLEMENTED, "transactions are not supported")
        if not isinstance(target, Target):
            raise Refused(INVALID_FIELD, "the attach has no target")
        node: Node | None = None
        if target.dynamic:
            node = self._make_dynamic(link, target)
            target = _with_address(target, node.name)
        elif target.address is not None:
            node = self.node(target.address, target.capabilities)
        link.context = producer = Producer(self, link, node, self.broker.options.link_credit)
        link.attach(
            attach.source if attach.source is not None else Source(),
            target,
            sender_settle_mode=attach.snd_settle_mode,
            # What is accepted is settled at once: there is nothing to remember until the client settles too.
            receiver_settle_mode=RECEIVER_SETTLE_FIRST,
            max_message_size=self.max_message_size,
        )
        producer.start()

    @property
    def max_message_size(self) -> int:
        """Bytes of the largest message taken."""
        return self.broker.options.max_message_size

    def node(self, address: str, capabilities: Sequence[Any]) -> Node:
        """The node that the client attaches to. Raises Refused."""
        return self.broker.node(address, capabilities)

    def node_for_message(self, message: Message) -> Node:
        """Where a message goes that came over the anonymous terminus. Raises Refused."""
        address = message.properties.to
        if address is None:
            raise Refused(PRECONDITION_FAILED, "a message to the anonymous terminus without address (to)")
        node = self.broker.find(address)
        if node is None:
            raise Refused(NOT_FOUND, f"there is no node {shown(address)}")
        return node

    def _attach_consumer(self, link: SenderEndpoint) -> None:
        attach = link.remote_attach
        assert attach is not None
        source = attach.source
        if not isinstance(source, Source):
            raise Refused(INVALID_FIELD, "the attach has no source")
        if source.distribution_mode == _COPY:
            raise Refused(NOT_IMPLEMENTED, "browsing (distribution-mode copy) is not supported")
        node = self._source_node(link, source)
        self._serve(link, node, source)

    def _serve(self, link: SenderEndpoint, node: Node, source: Source) -> None:
        """Let the link receive from the node."""
        self._admit(link, source, self._consumer(link, node, source))

    def _admit(self, link: SenderEndpoint, source: Source, outlet: Outlet) -> None:
        """Answer the attach with what was agreed, and begin to send."""
        attach = link.remote_attach
        assert attach is not None
        agreed = Source(
            address=outlet.store.name if source.dynamic else source.address,
            durable=source.durable,
            expiry_policy=source.expiry_policy,
            dynamic=source.dynamic,
            dynamic_node_properties=source.dynamic_node_properties,
            distribution_mode=Symbol("move"),
            filter=outlet.filter,
            default_outcome=outlet.default_outcome,
            outcomes=tuple(Symbol(kind.NAME) for kind in _OUTCOMES),
            capabilities=source.capabilities,
        )
        link.context = outlet
        link.attach(
            agreed,
            attach.target if attach.target is not None else Target(),
            sender_settle_mode=SENDER_SETTLE_SETTLED if outlet.presettled else SENDER_SETTLE_UNSETTLED,
            receiver_settle_mode=attach.rcv_settle_mode,
            properties=outlet.properties,
        )
        self._outlets.append(outlet)
        outlet.store.subscribe(outlet)

    def _source_node(self, link: LinkEndpoint, source: Source) -> Node:
        if source.dynamic:
            return self._make_dynamic(link, source)
        if source.address is None:
            raise Refused(INVALID_FIELD, "the source has no address")
        node = self.node(source.address, source.capabilities)
        if node.owner is not None and node.owner is not self:
            raise Refused(NOT_ALLOWED, f"{shown(node.name)} belongs to another connection")
        return node

    def _consumer(self, link: SenderEndpoint, node: Node, source: Source) -> Outlet:
        """The consumer, with the queue that it receives from: of a queue that one, else one of its own."""
        if isinstance(node, Queue):
            consumer = Consumer(link, node)
        elif isinstance(node, Topic):
            durable = source.expiry_policy == _EXPIRY_NEVER
            name = f"{self.container_id}/{link.name}" if durable else f"{id(link):x}"
            queue = self.broker.subscription(node, name)
            queue.steal()
            consumer = Consumer(link, queue)
            consumer.durable = durable
            consumer.dispose = partial(node.unsubscribe, name)
        else:
            queue = self.broker.make_queue(node.name)
            consumer = Consumer(link, queue)
            consumer.dispose = queue.close
        if isinstance(source.default_outcome, _OUTCOMES):
            consumer.default_outcome = source.default_outcome
        return consumer

    @property
    def container_id(self) -> str:
        """How the client calls itself."""
        remote = self.engine.remote_open
        return "" if remote is None else str(remote.container_id)

    def _make_dynamic(self, link: LinkEndpoint, terminus: Source | Target) -> Node:
        if terminus.address is not None:
            raise Refused(INVALID_FIELD, "a dynamic terminus must not have an address")
        policy = (terminus.dynamic_node_properties or {}).get("lifetime-policy")
        known = (DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages, DeleteOnNoLinksOrMessages)
        if policy is not None and not isinstance(policy, known):
            raise Refused(INVALID_FIELD, "the lifetime-policy of the dynamic node is not known")
        node = self.broker.make_dynamic(self)
        self._dynamic[link] = node
        return node


def _with_address(target: Target, address: str) -> Target:
    return Target(
        address=address,
        durable=target.durable,
        expiry_policy=target.expiry_policy,
        dynamic=True,
        dynamic_node_properties=target.dynamic_node_properties,
        capabilities=target.capabilities,
    )
