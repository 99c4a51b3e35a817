"""One client of the broker: its engine's observer, and what its links mean to the nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..codec.definitions import (
    Accepted,
    Coordinator,
    DeleteOnClose,
    DeleteOnNoLinks,
    DeleteOnNoLinksOrMessages,
    DeleteOnNoMessages,
    Error,
    Modified,
    Rejected,
    Released,
    Source,
    Target,
)
from ..codec.message import Message
from ..codec.values import Symbol
from ..engine.delivery import IncomingDelivery, OutgoingDelivery
from ..engine.errors import DECODE_ERROR, INVALID_FIELD, NOT_ALLOWED, NOT_FOUND
from ..engine.link import RECEIVER_SETTLE_FIRST, SENDER_SETTLE_SETTLED, SENDER_SETTLE_UNSETTLED, LinkEndpoint
from ..engine.observer import Observer
from ..engine.receiver import ReceiverEndpoint
from ..engine.sender import SenderEndpoint
from ..engine.session import SessionEndpoint
from ..exceptions import AMQPError, DecodeError, LinkDetached
from .nodes import Entry, Node, Queue, Refused, Topic, expiry

if TYPE_CHECKING:
    from ..engine.connection import ConnectionEndpoint
    from .server import Broker

NOT_IMPLEMENTED: Final = "amqp:not-implemented"
UNAUTHORIZED_ACCESS: Final = "amqp:unauthorized-access"
RESOURCE_DELETED: Final = "amqp:resource-deleted"

_OUTCOMES: Final = tuple(Symbol(kind.NAME) for kind in (Accepted, Rejected, Released, Modified))
_EXPIRY_NEVER: Final = "never"


class Consumer:
    """A link on which the broker sends: one consumer of one queue."""

    def __init__(self, peer: Peer, link: SenderEndpoint, queue: Queue, *, presettled: bool) -> None:
        self.peer = peer
        self.link = link
        self.queue = queue
        self._presettled = presettled
        #: For a subscription of a topic: the topic, the name, and whether it outlives the link.
        self.topic: Topic | None = None
        self.subscription = ""
        self.durable = False

    @property
    def has_credit(self) -> bool:
        """Whether a message can be sent now."""
        link = self.link
        return link.error is None and link.delivery_count != link.limit and not link.queue

    def deliver(self, entry: Entry) -> None:
        """Send the message; the queue hears of its outcome in `settled`."""
        try:
            delivery = self.link.send(entry.bytes_to_send(), self._presettled, entry.message_format)
        except AMQPError:
            # Larger than the consumer takes, say: nothing was sent, and another consumer may have it.
            entry.excluded = (entry.excluded or set()) | {self}
            self.queue.give_back(entry)
            return
        delivery.waiter = entry
        if delivery.settled:
            self.queue.settled(self, delivery)

    def node_deleted(self) -> None:
        """The queue is no more."""
        self.link.detach(error=Error(Symbol(RESOURCE_DELETED), f"the queue {self.queue.name!r} was deleted"))
        self.link.ended(LinkDetached("the queue was deleted", condition=RESOURCE_DELETED))


class Producer:
    """A link on which the broker receives: for one node, or, without, for the node each message names."""

    def __init__(self, peer: Peer, link: ReceiverEndpoint, node: Node | None, credit: int) -> None:
        self.peer = peer
        self.link = link
        self.node = node
        self._credit = credit

    def start(self) -> None:
        """Give credit."""
        self.link.flow(self._credit)

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
            entry = Entry(delivery.payload, delivery.message_format, expiry(message))
            node = self.node
            if node is None:
                node = self.peer.broker.node_for_message(message, self.peer)
            self.peer.check_user_id(message)
            if isinstance(node, Service):
                node.handle(self.peer, message)
            else:
                node.put(entry)
        except DecodeError as error:
            self._refuse(delivery, DECODE_ERROR, str(error))
        except Refused as refused:
            self._refuse(delivery, refused.condition, refused.description)
        else:
            if not delivery.settled:
                delivery.accept()

    def _refuse(self, delivery: IncomingDelivery, condition: str, description: str) -> None:
        self.peer.broker.refused += 1
        if not delivery.settled:
            delivery.reject(condition, description)


class Service(Node):
    """A node that answers requests itself, such as ``$cbs``."""

    def handle(self, peer: Peer, message: Message) -> None:
        """Answer one request. Raises Refused."""
        raise NotImplementedError

    def reply(self, peer: Peer, request: Message, response: Message) -> None:
        """Send the response where the request wants it."""
        properties = request.properties
        correlation = properties.message_id if properties.correlation_id is None else properties.correlation_id
        response.properties.correlation_id = correlation
        response.properties.to = properties.reply_to
        payload = response.encode()
        for consumer in peer.consumers_of(self):
            target = consumer.link.target
            if properties.reply_to is None or (target is not None and target.address == properties.reply_to):
                consumer.queue.put(Entry(payload, 0, None))
                return
        node = peer.broker.find(str(properties.reply_to)) if properties.reply_to is not None else None
        if node is None or isinstance(node, Service):
            raise Refused(NOT_FOUND, "the request names no reply-to address that exists")
        node.put(Entry(payload, 0, None))


class Peer(Observer):
    """One connection. Its attributes of interest to others: `identity`, who the client is, "" if anonymous."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.engine: ConnectionEndpoint
        self.identity = ""
        self._flush: Any = None
        self._dynamic: dict[LinkEndpoint, Node] = {}
        self._consumers: list[Consumer] = []

    def bind(self, engine: ConnectionEndpoint, flush: Any) -> None:
        """Set the engine of the connection, and what writes its output."""
        self.engine = engine
        self._flush = flush

    def consumers_of(self, node: Node) -> list[Consumer]:
        """The links of this connection that receive from the node."""
        return [c for c in self._consumers if c.queue.name == node.name]

    def check_user_id(self, message: Message) -> None:
        """Spec 3.2.4: a user-id must be the one of who sends. Raises Refused."""
        user_id = message.properties.user_id
        if user_id is not None and self.identity and user_id != self.identity.encode():
            raise Refused(UNAUTHORIZED_ACCESS, "the user-id of the message is not the one of the connection")

    # -- Observer ------------------------------------------------------------------------------------------------

    def on_output(self) -> None:
        self._flush()

    def on_open(self) -> None:
        self.broker.opened(self)
        self.engine.open()

    def on_begin(self, session: SessionEndpoint) -> None:
        session.begin(handle_max=self.broker.options.handle_max)

    def on_attach(self, link: LinkEndpoint) -> None:
        try:
            if isinstance(link, ReceiverEndpoint):
                self._attach_producer(link)
            elif isinstance(link, SenderEndpoint):
                self._attach_consumer(link)
        except Refused as refused:
            link.refuse(Error(Symbol(refused.condition), refused.description))

    def on_detach(self, link: LinkEndpoint, error: AMQPError | None) -> None:
        context = link.context
        if isinstance(context, Consumer):
            self._consumers.remove(context)
            context.queue.unsubscribe(context)
            closed = link.remote_detach is not None and bool(link.remote_detach.closed)
            if context.topic is not None and (closed or not context.durable):
                context.topic.unsubscribe(context.subscription)
        node = self._dynamic.pop(link, None)
        if node is not None:
            self.broker.delete(node.name)

    def on_close(self, error: AMQPError | None) -> None:
        self.broker.closed(self)

    def on_deliveries(self, receiver: ReceiverEndpoint) -> None:
        if isinstance(receiver.context, Producer):
            receiver.context.receive()

    def on_credit(self, sender: SenderEndpoint) -> None:
        if isinstance(sender.context, Consumer):
            sender.context.queue.dispatch()

    def on_settled(self, deliveries: list[OutgoingDelivery]) -> None:
        queues: dict[Queue, None] = {}
        for delivery in deliveries:
            consumer: Consumer = delivery.link.context
            consumer.queue.settled(consumer, delivery)
            queues[consumer.queue] = None
        for queue in queues:
            queue.dispatch()

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
            node = self._make_dynamic(link, target.address, target.dynamic_node_properties)
            target = _with_address(target, node.name)
        elif target.address is not None:
            node = self.broker.node(_address(target.address), target.capabilities)
        link.context = producer = Producer(self, link, node, self.broker.options.link_credit)
        link.attach(
            attach.source if attach.source is not None else Source(),
            target,
            sender_settle_mode=attach.snd_settle_mode,
            receiver_settle_mode=RECEIVER_SETTLE_FIRST,
            max_message_size=self.broker.options.max_message_size,
        )
        producer.start()

    def _attach_consumer(self, link: SenderEndpoint) -> None:
        attach = link.remote_attach
        assert attach is not None
        source = attach.source
        if not isinstance(source, Source):
            raise Refused(INVALID_FIELD, "the attach has no source")
        topic: Topic | None = None
        subscription = ""
        durable = source.expiry_policy == _EXPIRY_NEVER
        if source.dynamic:
            node: Node = self._make_dynamic(link, source.address, source.dynamic_node_properties)
        elif source.address is None:
            raise Refused(INVALID_FIELD, "the source has no address")
        else:
            node = self.broker.node(_address(source.address), source.capabilities)
        if node.owner is not None and node.owner is not self:
            raise Refused(NOT_ALLOWED, f"{node.name!r} belongs to another connection")
        if isinstance(node, Topic):
            topic = node
            subscription = f"{self.container_id}/{link.name}" if durable else f"{id(link):x}"
            queue = topic.subscription(subscription, self.broker.make_queue)
        elif isinstance(node, Service):
            queue = self.broker.make_queue(node.name)
        else:
            assert isinstance(node, Queue)
            queue = node
        presettled = attach.snd_settle_mode == SENDER_SETTLE_SETTLED
        agreed = Source(
            address=node.name if source.dynamic else source.address,
            durable=source.durable,
            expiry_policy=source.expiry_policy,
            dynamic=source.dynamic,
            dynamic_node_properties=source.dynamic_node_properties,
            distribution_mode=Symbol("move"),
            default_outcome=Released(),
            outcomes=_OUTCOMES,
            capabilities=source.capabilities,
        )
        consumer = Consumer(self, link, queue, presettled=presettled)
        consumer.topic, consumer.subscription, consumer.durable = topic, subscription, durable
        link.context = consumer
        link.attach(
            agreed,
            attach.target if attach.target is not None else Target(),
            sender_settle_mode=SENDER_SETTLE_SETTLED if presettled else SENDER_SETTLE_UNSETTLED,
            receiver_settle_mode=attach.rcv_settle_mode,
        )
        self._consumers.append(consumer)
        queue.subscribe(consumer)

    @property
    def container_id(self) -> str:
        """How the client calls itself."""
        remote = self.engine.remote_open
        return "" if remote is None else str(remote.container_id)

    def _make_dynamic(self, link: LinkEndpoint, address: Any, properties: Any) -> Node:
        if address is not None:
            raise Refused(INVALID_FIELD, "a dynamic terminus must not have an address")
        policy = (properties or {}).get("lifetime-policy")
        known = (DeleteOnClose, DeleteOnNoLinks, DeleteOnNoMessages, DeleteOnNoLinksOrMessages)
        if policy is not None and not isinstance(policy, known):
            raise Refused(INVALID_FIELD, "the lifetime-policy of the dynamic node is not known")
        node = self.broker.make_dynamic(self)
        self._dynamic[link] = node
        return node


def _address(address: Any) -> str:
    if not isinstance(address, str):
        raise Refused(INVALID_FIELD, "the address is not a string")
    return address


def _with_address(target: Target, address: str) -> Target:
    return Target(
        address=address,
        durable=target.durable,
        expiry_policy=target.expiry_policy,
        dynamic=True,
        dynamic_node_properties=target.dynamic_node_properties,
        capabilities=target.capabilities,
    )
