"""Damaged input of every kind: the broker answers or hangs up, and never raises."""

from __future__ import annotations

import random

import pytest

import uamqp.aio as amqp
from uamqp.broker import Broker
from uamqp.broker.peer import Peer
from uamqp.codec.composite import Composite
from uamqp.codec.definitions import ACCEPTED, Coordinator, Error, Modified, Rejected, Source, Target
from uamqp.codec.hot import frame
from uamqp.codec.performatives import Begin, Close, Detach, Disposition, End, Flow, Open, Transfer
from uamqp.codec.values import Symbol
from uamqp.engine.connection import AMQP_HEADER, ConnectionEndpoint
from uamqp.engine.settings import ConnectionSettings

from .helpers import attach

MESSAGE = amqp.Message(
    "body",
    header=amqp.Header(ttl=10_000, priority=3),
    annotations={Symbol("a"): 1},
    properties=amqp.Properties(message_id=7, to="q", reply_to="q", user_id=b"me"),
    application_properties={"operation": "CREATE", "type": "queue", "name": "x"},
).encode()

FLOW = Flow(
    next_incoming_id=0,
    incoming_window=100,
    next_outgoing_id=3,
    outgoing_window=100,
    handle=4,
    delivery_count=0,
    link_credit=10,
)

#: Those that mean something in many places, and some others.
BYTES = (0, 1, 2, 8, 0x40, 0x43, 0x45, 0x53, 0xA1, 0xC0, 0xC1, 0xFF)


def conversation() -> list[bytes]:
    """The frames of a client that uses all the broker has."""
    frames: list[tuple[Composite, bytes]] = [
        (Open("client", max_frame_size=1000, channel_max=3), b""),
        (Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100), b""),
        (attach(address="q"), b""),
        (attach(address=None, handle=1, name="relay"), b""),
        (attach(address="$management", handle=2, name="management"), b""),
        (attach(handle=3, name="transaction", target=Coordinator()), b""),
        (attach(sends=False, handle=4, name="consumer"), b""),
        (attach(sends=False, handle=5, name="dynamic", source=Source(dynamic=True)), b""),
        (attach(handle=6, name="dynamic target", target=Target(dynamic=True)), b""),
        (attach(sends=False, handle=7, name="durable", source=Source(address="t", expiry_policy="never")), b""),
        (Transfer(0, 0, b"0", 0), MESSAGE),
        (Transfer(1, 1, b"1", 0), MESSAGE),
        (Transfer(2, 2, b"2", 0), MESSAGE),
        (FLOW, b""),
        (Disposition(True, 0, 0, True, Modified(True, True, {Symbol("b"): [1, "2"]})), b""),
        (Disposition(True, 1, 1, True, Rejected(Error(Symbol("com.example:bad"), "bad"))), b""),
        (FLOW, b""),
        (Disposition(True, 0, 9, True, ACCEPTED), b""),
        (Detach(7, False), b""),
        (Detach(4, True), b""),
        (End(), b""),
        (Close(), b""),
    ]
    return [AMQP_HEADER, *(frame(0, performative.encode() + payload) for performative, payload in frames)]


class Client:
    """Feeds bytes to one connection of a broker, without a socket."""

    def __init__(self, broker: Broker) -> None:
        peer = Peer(broker)
        settings = ConnectionSettings("broker", channel_max=3)
        self.engine = ConnectionEndpoint(peer, settings, server=True, sasl_required=False)
        peer.bind(self.engine, lambda: None, lambda: None)

    def feed(self, data: bytes) -> bytes:
        """Returns the answer."""
        self.engine.receive_data(data)
        answer = b""
        while chunks := self.engine.data_to_send():
            answer += b"".join(chunks)
        return answer


def broker() -> Broker:
    made = Broker(dead_letter="dead", max_deliveries=2, max_queues=20)
    made.topic("t")
    return made


def test_the_conversation_is_understood() -> None:
    served = broker()
    client = Client(served)
    for data in conversation():
        client.feed(data)
    assert client.engine.closed
    assert client.engine.error is not None
    assert client.engine.error.condition is None
    assert served.queue("dead").length == 1
    assert served.topic("t").subscriptions == ["client/durable"]


def damaged(frames: list[bytes], chance: random.Random) -> list[bytes]:
    """The frames with something wrong: lost, repeated, in another order, or with other bytes."""
    frames = list(frames)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(2, len(frames))
        kind = chance.randrange(5)
        if kind == 0:
            del frames[place]
        elif kind == 1:
            frames.insert(place, chance.choice(frames))
        elif kind == 2:
            frames[place:] = chance.sample(frames[place:], len(frames) - place)
        else:
            # Behind the frame's size: a wrong size says little about what is behind it.
            broken = bytearray(frames[place])
            for _ in range(chance.randint(1, 4)):
                broken[chance.randrange(4, len(broken))] = chance.choice(
                    (0, 1, 0x40, 0x45, 0x53, 0xFF, chance.randrange(256))
                )
            frames[place] = bytes(broken)
    return frames


@pytest.mark.parametrize("seed", range(20))
def test_damage_never_raises(seed: int) -> None:
    chance = random.Random(seed)
    frames = conversation()
    served = broker()
    for _ in range(40):
        client = Client(served)
        data = b"".join(damaged(frames, chance))
        cut = chance.choice((1, 7, 100, 100_000))
        for start in range(0, len(data), cut):
            client.feed(data[start : start + cut])
        client.engine.receive_eof()
    # The broker still serves others.
    test_served = Client(served)
    for data in frames:
        test_served.feed(data)
    assert test_served.engine.closed
    # Nothing is left of the clients that are gone.
    assert served.queue("q").consumers == 0
    assert served.queue("q").producers == set()
