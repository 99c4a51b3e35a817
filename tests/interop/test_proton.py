"""Clients on python-qpid-proton against the embedded broker."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import proton
import pytest
from proton import Delivery, Endpoint, Message, SSLDomain, symbol
from proton.handlers import MessagingHandler
from proton.reactor import AtLeastOnce, AtMostOnce, Container, LinkOption
from proton.utils import BlockingConnection, LinkDetached, SendException, SyncRequestResponse

import uamqp.aio as amqp
from tests.broker.helpers import BOUND, put, take
from uamqp.broker import Broker
from uamqp.codec import values

from .conftest import PASSWORD, USER

Connect = Callable[..., Any]


@contextmanager
def connected(url: str, **options: Any) -> Iterator[Any]:
    connection = BlockingConnection(url, timeout=BOUND, **options)
    try:
        yield connection
    finally:
        connection.close()


@pytest.fixture
def connection(broker_url: str) -> Iterator[Any]:
    with connected(broker_url) as connection:
        yield connection


def unique() -> str:
    return f"proton-{uuid.uuid4()}"


def delivery_of(receiver: Any) -> Any:
    """The delivery of the message that was received last."""
    return receiver.fetcher.unsettled[-1]


# -- messages and outcomes --------------------------------------------------------------------------------------------


def test_send_and_receive(connection: Any) -> None:
    address = unique()
    sender = connection.create_sender(address)
    # Both links of one address have one name in proton; they differ in direction only.
    receiver = connection.create_receiver(address, name=sender.link.name, credit=10)
    for number in range(20):
        assert sender.send(Message(f"body {number}")).remote_state == Delivery.ACCEPTED
    for number in range(20):
        assert receiver.receive().body == f"body {number}"
        receiver.accept()
    receiver.close()
    sender.close()


def test_competing_receivers(connection: Any) -> None:
    address = unique()
    sender = connection.create_sender(address)
    receivers = [connection.create_receiver(address, name=f"{address}-{n}", credit=5) for n in range(2)]
    for number in range(4):
        sender.send(Message(number))
    assert sorted(r.receive().body for r in receivers for _ in range(2)) == [0, 1, 2, 3]


def test_released(connection: Any) -> None:
    address = unique()
    connection.create_sender(address).send(Message("x"))
    receiver = connection.create_receiver(address)
    receiver.receive()
    receiver.release(delivered=False)
    message = receiver.receive()
    assert (message.body, message.delivery_count, message.first_acquirer) == ("x", 0, False)
    receiver.accept()


def test_modified(connection: Any) -> None:
    address = unique()
    connection.create_sender(address).send(Message("x", annotations={symbol("a"): 1}))
    receiver = connection.create_receiver(address)
    receiver.receive()
    local = delivery_of(receiver).local
    local.failed = True
    local.annotations = {symbol("x-opt-note"): "hm"}
    receiver.settle(Delivery.MODIFIED)
    message = receiver.receive()
    assert message.delivery_count == 1
    assert message.annotations == {"a": 1, "x-opt-note": "hm"}
    delivery_of(receiver).local.undeliverable = True
    receiver.settle(Delivery.MODIFIED)
    with pytest.raises(proton.Timeout):
        receiver.receive(timeout=0.05)
    receiver.close()
    message = connection.create_receiver(address, name=unique()).receive()
    assert message.delivery_count == 1


def test_rejected_by_the_receiver(connection: Any) -> None:
    address = unique()
    connection.create_sender(address).send(Message("x"))
    receiver = connection.create_receiver(address)
    receiver.receive()
    receiver.reject()
    with pytest.raises(proton.Timeout):
        receiver.receive(timeout=0.05)


def test_rejected_by_the_broker(connection: Any) -> None:
    sender = connection.create_sender(None)
    with pytest.raises(SendException) as caught:
        sender.send(Message("x", address="nowhere"))
    assert caught.value.state == Delivery.REJECTED
    delivery = sender.send(Message("x", address="nowhere"), error_states=[])
    assert delivery.remote.condition.name == "amqp:not-found"


def test_settled_without_outcome(connection: Any) -> None:
    address = unique()
    connection.create_sender(address).send(Message("x"))
    receiver = connection.create_receiver(address)
    receiver.receive()
    receiver.settle()
    assert receiver.receive().delivery_count == 0


def test_a_lost_receiver(broker_url: str, connection: Any) -> None:
    address = unique()
    connection.create_sender(address).send(Message("x"))
    with connected(broker_url) as other:
        assert other.create_receiver(address).receive().delivery_count == 0
    assert connection.create_receiver(address).receive().delivery_count == 1


# -- settle modes, drain, sizes ---------------------------------------------------------------------------------------


def test_at_most_once(connection: Any) -> None:
    address = unique()
    sender = connection.create_sender(address, options=AtMostOnce())
    sender.send(Message("x"))
    receiver = connection.create_receiver(address, options=AtMostOnce())
    assert receiver.receive().body == "x"
    assert not receiver.fetcher.unsettled


def test_at_least_once(connection: Any) -> None:
    address = unique()
    sender = connection.create_sender(address, options=AtLeastOnce())
    assert sender.send(Message("x")).remote_state == Delivery.ACCEPTED
    receiver = connection.create_receiver(address, options=AtLeastOnce())
    receiver.receive()
    receiver.accept()


class ReceiverSettlesSecond(LinkOption):
    """The receiver waits until the sender has settled."""

    def apply(self, link: Any) -> None:
        link.rcv_settle_mode = proton.Link.RCV_SECOND


def test_receiver_settles_second(connection: Any) -> None:
    address = unique()
    connection.create_sender(address).send(Message("x"))
    receiver = connection.create_receiver(address, options=ReceiverSettlesSecond())
    receiver.receive()
    delivery = delivery_of(receiver)
    delivery.update(Delivery.ACCEPTED)
    connection.wait(lambda: delivery.settled)
    receiver.settle()
    with pytest.raises(proton.Timeout):
        receiver.receive(timeout=0.05)


def test_drain(connection: Any) -> None:
    address = unique()
    sender = connection.create_sender(address)
    for number in range(3):
        sender.send(Message(number))
    receiver = connection.create_receiver(address, name=unique(), credit=0)
    for expected in (3, 0):
        receiver.link.drain(10)
        connection.wait(lambda: receiver.link.credit == 0 and not receiver.link.draining())
        received = [receiver.receive().body for _ in range(expected)]
        assert received == list(range(expected))
        assert not receiver.fetcher.has_message


def test_large_messages(connection: Any) -> None:
    address = unique()
    body = bytes(range(256)) * 20_000
    sender = connection.create_sender(address)
    sender.send(Message(body, inferred=True))
    receiver = connection.create_receiver(address)
    assert receiver.receive().body == body
    receiver.accept()


# -- dynamic nodes, anonymous relay, topics ---------------------------------------------------------------------------


def test_request_and_response(connection: Any) -> None:
    requests = SyncRequestResponse(connection, "$management")
    name = unique()
    request = Message("", properties={"operation": "CREATE", "type": "queue", "name": name}, id="1")
    response: Any = requests.call(request)
    assert response.properties["statusCode"] == 201
    assert response.body["name"] == name
    response = requests.call(Message("", properties={"operation": "READ", "name": name}))
    assert response.body["type"] == "queue"


async def test_a_message_without_a_body(broker_url: str, connection: Any) -> None:
    # What proton makes of Message() has no body section at all, which part 3 of the specification does not foresee.
    address = unique()
    connection.create_sender(address).send(Message(subject="s"))
    async with amqp.connect(broker_url, timeout=BOUND) as ours, ours.receiver(address) as receiver:
        message = (await receiver.receive()).message
        assert (message.properties.subject, message.body) == ("s", None)
        assert len(message.encode()) == len(Message(subject="s").encode())


def test_requests_between_two_clients(broker_url: str, connection: Any) -> None:
    address = unique()
    with connected(broker_url) as other:
        replies = connection.create_receiver(None, dynamic=True)
        reply_to = replies.link.remote_source.address
        connection.create_sender(address).send(Message("question", reply_to=reply_to, id="7"))
        requests = other.create_receiver(address)
        request = requests.receive()
        requests.accept()
        other.create_sender(None).send(Message("answer", address=request.reply_to, correlation_id=request.id))
        answer = replies.receive()
        assert (answer.body, answer.correlation_id) == ("answer", "7")
        with pytest.raises(LinkDetached, match="not-allowed"):
            other.create_receiver(reply_to)


def test_a_topic(connection: Any) -> None:
    receivers = [connection.create_receiver("news", name=unique()) for _ in range(2)]
    connection.create_sender("news").send(Message("x"))
    assert [r.receive().body for r in receivers] == ["x", "x"]


def test_refused_links(connection: Any) -> None:
    with pytest.raises(LinkDetached) as caught:
        connection.create_sender("$nothing")
    assert caught.value.condition == "amqp:not-found"
    with pytest.raises(LinkDetached):
        connection.create_receiver("$nothing")


# -- who comes in -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trusting(certificates: Path) -> Any:
    """TLS options that trust our authority."""
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    domain.set_trusted_ca_db(str(certificates / "ca.pem"))
    domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
    return domain


def test_tls_and_plain(secure_url: str, trusting: Any) -> None:
    options = {"ssl_domain": trusting, "allowed_mechs": "PLAIN"}
    with connected(secure_url, user=USER, password=PASSWORD, **options) as connection:
        address = unique()
        connection.create_sender(address).send(Message(b"x" * 1_000_000, inferred=True))
        assert len(connection.create_receiver(address).receive().body) == 1_000_000


def test_a_wrong_password(secure_url: str, trusting: Any) -> None:
    options = {"ssl_domain": trusting, "allowed_mechs": "PLAIN"}
    with pytest.raises(proton.ConnectionException, match="Authentication failed"):
        BlockingConnection(secure_url, timeout=BOUND, user=USER, password="wrong", **options)


# -- an event driven client -------------------------------------------------------------------------------------------


class Echo(MessagingHandler):
    """Sends so many messages over one link and receives them over another, with little credit."""

    def __init__(self, url: str, address: str, count: int) -> None:
        super().__init__(prefetch=7)
        self.url = url
        self.address = address
        self.count = count
        self.sent = 0
        self.accepted = 0
        self.received: list[Any] = []

    def on_start(self, event: Any) -> None:
        self.connection = event.container.connect(self.url, reconnect=False)
        event.container.create_sender(self.connection, self.address)
        event.container.create_receiver(self.connection, self.address)
        self.timer = event.container.schedule(BOUND, self)

    def on_sendable(self, event: Any) -> None:
        while event.sender.credit and self.sent < self.count:
            event.sender.send(Message(self.sent))
            self.sent += 1

    def on_accepted(self, event: Any) -> None:
        self.accepted += 1
        self.end_if_done()

    def on_message(self, event: Any) -> None:
        self.received.append(event.message.body)
        self.end_if_done()

    def end_if_done(self) -> None:
        if self.accepted == len(self.received) == self.count and self.connection.state & Endpoint.LOCAL_ACTIVE:
            self.timer.cancel()
            self.connection.close()

    def on_timer_task(self, event: Any) -> None:
        self.connection.close()


def test_an_event_driven_client(broker_url: str) -> None:
    echo = Echo(broker_url, unique(), 2000)
    Container(echo).run()
    assert echo.received == list(range(2000))
    assert echo.accepted == 2000


# -- types ------------------------------------------------------------------------------------------------------------

UNDESCRIBED: Any = proton.UNDESCRIBED
UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")

#: What proton and what we call the same values.
SIMPLE: dict[str, tuple[Any, Any]] = {
    "null": (None, None),
    "true": (True, True),
    "false": (False, False),
    "ubyte": (proton.ubyte(255), values.UByte(255)),
    "ushort": (proton.ushort(65535), values.UShort(65535)),
    "uint": (proton.uint(2**32 - 1), values.UInt(2**32 - 1)),
    "uint0": (proton.uint(0), values.UInt(0)),
    "ulong": (proton.ulong(2**64 - 1), values.ULong(2**64 - 1)),
    "small ulong": (proton.ulong(200), values.ULong(200)),
    "byte": (proton.byte(-128), values.Byte(-128)),
    "short": (proton.short(-32768), values.Short(-32768)),
    "int": (proton.int32(-(2**31)), values.Int(-(2**31))),
    "small int": (proton.int32(-5), values.Int(-5)),
    "long": (-(2**63), -(2**63)),
    "small long": (7, 7),
    "float": (proton.float32(1.5), values.Float(1.5)),
    "double": (1.1, 1.1),
    "decimal32": (proton.decimal32(0x32800001), values.Decimal32("1")),
    "decimal64": (proton.decimal64(0x31C0000000000001), values.Decimal64("1")),
    "decimal128": (
        proton.decimal128(bytes.fromhex("30400000000000000000000000000001")),
        decimal.Decimal("1"),
    ),
    "char": (proton.char("🐇"), values.Char("🐇")),
    "timestamp": (proton.timestamp(1_700_000_000_123), values.Timestamp(1_700_000_000_123).datetime),
    "uuid": (UUID, UUID),
    "binary": (b"\x00\xff", b"\x00\xff"),
    "string": ("grüße 🐇", "grüße 🐇"),
    "symbol": (proton.symbol("com.example:sym"), values.Symbol("com.example:sym")),
}

COMPOUND: dict[str, tuple[Any, Any]] = {
    "list": ([1, "two", [3.0]], [1, "two", [3.0]]),
    "map": ({"a": 1, proton.symbol("b"): [None]}, {"a": 1, values.Symbol("b"): [None]}),
    "array": (
        proton.Array(UNDESCRIBED, proton.Data.UINT, 1, 2),
        values.Array([1, 2], "uint"),
    ),
    "described": (
        proton.Described(proton.symbol("com.example:point"), [1, 2]),
        values.Described("com.example:point", [1, 2]),
    ),
    "described by number": (proton.Described(proton.ulong(77), "x"), values.Described(77, "x")),
}


def plain(value: Any) -> Any:
    """What we decode: ordinary numbers where those are as good."""
    for kind in (bool, int, float, decimal.Decimal):
        if isinstance(value, kind):
            return kind(value)
    return value


def same(received: Any, expected: Any) -> bool:
    """Equal, and of the same type: 1, 1.0 and True are not the same."""
    return bool(received == expected) and type(received) is type(expected)


@pytest.mark.parametrize("kind", [*SIMPLE, *COMPOUND])
def test_types_from_proton(kind: str) -> None:
    theirs, ours = {**SIMPLE, **COMPOUND}[kind]
    properties = {} if kind in COMPOUND else {"p": theirs}
    message = amqp.Message.decode(bytes(Message([theirs], properties=properties).encode()))
    assert same(message.body[0], plain(ours))
    assert kind in COMPOUND or same(message.application_properties["p"], plain(ours))


@pytest.mark.parametrize("kind", [*SIMPLE, *COMPOUND])
def test_types_to_proton(kind: str) -> None:
    theirs, ours = {**SIMPLE, **COMPOUND}[kind]
    message: Any = Message()
    properties = {} if kind in COMPOUND else {"p": ours}
    message.decode(amqp.Message(amqp.Value([ours]), application_properties=properties).encode())
    assert same(native(message.body[0]), theirs)
    assert kind in COMPOUND or same(native(message.properties["p"]), theirs)


def native(value: Any) -> Any:
    """Bytes as bytes: proton gives views of them."""
    return bytes(value) if isinstance(value, memoryview) else value


async def test_all_types_pass_the_broker_both_ways(broker_url: str) -> None:
    theirs = {name: value for name, (value, _) in SIMPLE.items()}
    ours = {name: value for name, (_, value) in SIMPLE.items()}
    to_us, to_them = unique(), unique()
    async with amqp.connect(broker_url, timeout=BOUND) as connection:
        with connected(broker_url) as other:
            other.create_sender(to_us).send(Message(list(theirs.values()), properties=theirs))
            async with connection.receiver(to_us) as receiver:
                message = (await receiver.receive()).message
            async with connection.sender(to_them) as sender:
                await sender.send(amqp.Message(list(ours.values()), application_properties=ours))
            received = other.create_receiver(to_them).receive()
    assert message.body == list(ours.values())
    assert message.application_properties == ours
    assert received.body == list(theirs.values())
    assert received.properties == theirs


async def test_the_standard_sections_pass_both_ways(broker_url: str) -> None:
    address = unique()
    async with amqp.connect(broker_url, timeout=BOUND) as connection:
        with connected(broker_url) as other:
            theirs = Message(
                "body",
                durable=True,
                priority=9,
                ttl=60.0,
                id=UUID,
                user_id=b"me",
                address=address,
                subject="s",
                reply_to="r",
                correlation_id=proton.ulong(7),
                content_type="text/plain",
                content_encoding="gzip",
                expiry_time=4_000_000_000.0,
                creation_time=1_700_000_000.0,
                group_id="g",
                group_sequence=3,
                reply_to_group_id="rg",
                annotations={proton.symbol("a"): 1},
                instructions={proton.symbol("i"): 2},
            )
            other.create_sender(address).send(theirs)
            async with connection.receiver(address) as receiver:
                delivery = await receiver.receive()
                message = delivery.message
                delivery.accept()
            assert (message.header.durable, message.header.priority, message.header.ttl) == (True, 9, 60_000)
            properties = message.properties
            assert (properties.message_id, properties.user_id, properties.to) == (UUID, b"me", address)
            assert (properties.subject, properties.reply_to, properties.correlation_id) == ("s", "r", 7)
            assert (properties.content_type, properties.content_encoding) == ("text/plain", "gzip")
            assert (properties.group_id, properties.group_sequence, properties.reply_to_group_id) == ("g", 3, "rg")
            assert properties.absolute_expiry_time == values.Timestamp(4_000_000_000_000).datetime
            assert properties.creation_time == values.Timestamp(1_700_000_000_000).datetime
            assert (message.annotations, message.delivery_annotations) == ({"a": 1}, {"i": 2})
            async with connection.sender(address) as sender:
                await sender.send(message)
            received = other.create_receiver(address).receive()
    for name in ("id", "user_id", "subject", "correlation_id", "expiry_time", "group_sequence", "annotations", "ttl"):
        assert getattr(received, name) == getattr(theirs, name), name


# -- the embedded broker in a thread ----------------------------------------------------------------------------------


def test_the_broker_in_a_thread() -> None:
    with Broker.running(max_queue_length=1) as broker, connected(broker.url) as connection:
        sender = connection.create_sender("q")
        sender.send(Message("x"))
        with pytest.raises(SendException):
            sender.send(Message("y"))
        assert broker.call(len, broker.call(broker.queue, "q")) == 1


async def test_messages_pass_between_proton_and_us(broker_url: str) -> None:
    address = unique()
    async with amqp.connect(broker_url, timeout=BOUND) as connection:
        with connected(broker_url) as other:
            await put(connection, address, "text", b"bytes")
            receiver = other.create_receiver(address, credit=2)
            # proton's view of a body is good only as long as its message.
            messages = [receiver.receive() for _ in range(2)]
            assert [native(message.body) for message in messages] == ["text", b"bytes"]
            receiver.accept()
            receiver.accept()
            receiver.close()
            other.create_sender(address).send(Message("text"))
            assert await take(connection, address) == ["text"]
