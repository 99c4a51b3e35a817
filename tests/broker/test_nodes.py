"""Queues and topics by themselves: order, fairness, limits, outcomes, expiry."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest

from uamqp.broker import Queue, Refused, Topic
from uamqp.broker.expiry import Sweeper, expiry
from uamqp.broker.nodes import (
    DEAD_LETTER_DESCRIPTION,
    DEAD_LETTER_REASON,
    DEAD_LETTER_SOURCE,
    Entry,
    Node,
    Storage,
    dead_letter_copy,
    shown,
)
from uamqp.codec.definitions import ACCEPTED, RELEASED, Error, Modified, Received, Rejected
from uamqp.codec.message import Header, Message, Properties
from uamqp.codec.values import Described, Symbol, Timestamp
from uamqp.exceptions import InDoubt, NotSent

from .helpers import eventually


class FakeConsumer:
    """Takes deliveries as far as its credit goes, and keeps them."""

    default_outcome = RELEASED

    def __init__(self, credit: int = 1000) -> None:
        self.credit = credit
        self.got: list[Entry] = []
        self.events: list[str] = []

    @property
    def has_credit(self) -> bool:
        return self.credit > 0

    @property
    def bodies(self) -> list[bytes]:
        return [e.payload for e in self.got]

    def deliver(self, entry: Entry) -> None:
        self.credit -= 1
        self.got.append(entry)

    def node_deleted(self) -> None:
        self.events.append("deleted")

    def stolen(self) -> None:
        self.events.append("stolen")


def queue(name: str = "q", *, max_length: int = 100, max_bytes: int = 10_000, **options: Any) -> Queue:
    return Queue(name, max_length=max_length, max_bytes=max_bytes, **options)


def fill(queue: Queue, *payloads: bytes) -> None:
    for payload in payloads:
        queue.put(Entry(payload))


def settle(queue: Queue, consumer: Any, entry: Entry, state: Any = None, **fields: Any) -> None:
    """What `Peer.on_settled` does with one delivery."""
    delivery: Any = SimpleNamespace(**{"waiter": entry, "state": state, "error": None, "presettled": False, **fields})
    queue.settled(consumer, delivery)
    queue.dispatch()


def attach(queue: Queue, credit: int = 1000) -> Any:
    consumer: Any = FakeConsumer(credit)
    queue.subscribe(consumer)
    return consumer


def test_messages_wait_in_order_for_a_consumer() -> None:
    q = queue()
    fill(q, b"1", b"2", b"3")
    assert (len(q), q.length, q.size, q.consumers) == (3, 3, 3, 0)
    consumer = attach(q, credit=2)
    assert consumer.bodies == [b"1", b"2"]
    assert (len(q), q.length, q.size, q.consumers) == (1, 3, 3, 1)


def test_competing_consumers_take_turns() -> None:
    q = queue()
    consumers = [attach(q) for _ in range(3)]
    fill(q, *(b"%d" % n for n in range(9)))
    assert [c.bodies for c in consumers] == [[b"0", b"3", b"6"], [b"1", b"4", b"7"], [b"2", b"5", b"8"]]


def test_a_consumer_without_credit_loses_its_turn_only() -> None:
    q = queue()
    first, second = attach(q, credit=1), attach(q)
    fill(q, *(b"%d" % n for n in range(4)))
    first.credit = 10
    fill(q, b"4", b"5")
    assert (first.bodies, second.bodies) == ([b"0", b"4"], [b"1", b"2", b"3", b"5"])


def test_an_accepted_message_is_gone() -> None:
    q = queue()
    consumer = attach(q)
    fill(q, b"1")
    settle(q, consumer, consumer.got[0], ACCEPTED)
    assert (len(q), q.length, q.size) == (0, 0, 0)


def test_a_message_sent_settled_is_gone() -> None:
    q = queue()
    consumer = attach(q)
    fill(q, b"1")
    settle(q, consumer, consumer.got[0], presettled=True)
    assert q.length == 0


def test_what_is_released_comes_again_in_its_old_place() -> None:
    q = queue()
    consumer = attach(q, credit=3)
    fill(q, b"1", b"2", b"3", b"4")
    for entry in reversed(consumer.got):
        settle(q, consumer, entry, RELEASED)
    consumer.credit = 4
    q.dispatch()
    assert consumer.bodies[3:] == [b"1", b"2", b"3", b"4"]
    assert consumer.got[3].failures == 0


@pytest.mark.parametrize(
    ("state", "error", "failures"),
    [
        (RELEASED, None, 0),
        (None, None, 0),
        (Modified(), None, 0),
        (Modified(delivery_failed=True), None, 1),
        (Received(0, 0), None, 1),
        (Described("com.example:odd", []), None, 1),
        (None, InDoubt(), 1),
        (Received(0, 0), InDoubt(), 1),
        (None, NotSent(), 0),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_counts_as_a_failure(state: Any, error: Any, failures: int) -> None:
    q = queue()
    consumer = attach(q)
    fill(q, b"1")
    settle(q, consumer, consumer.got[0], state, error=error)
    assert consumer.got[1].failures == failures


def test_a_client_that_settles_without_outcome_gets_its_default_outcome() -> None:
    q = queue()
    consumer = attach(q)
    consumer.default_outcome = ACCEPTED
    fill(q, b"1")
    settle(q, consumer, consumer.got[0])
    assert q.length == 0


def test_undeliverable_here_goes_to_others_only() -> None:
    q = queue()
    first = attach(q)
    fill(q, b"1", b"2", b"3")
    settle(q, first, first.got[1], Modified(undeliverable_here=True))
    fill(q, b"4")
    assert first.bodies == [b"1", b"2", b"3", b"4"]
    assert len(q) == 1
    second = attach(q)
    assert second.bodies == [b"2"]
    settle(q, second, second.got[0], Modified(undeliverable_here=True))
    assert attach(q).bodies == [b"2"]


def test_what_is_for_nobody_keeps_its_place() -> None:
    q = queue()
    consumer = attach(q, credit=2)
    fill(q, b"1", b"2", b"3")
    for entry in consumer.got:
        settle(q, consumer, entry, Modified(undeliverable_here=True))
    consumer.credit = 1
    q.dispatch()
    assert consumer.bodies == [b"1", b"2", b"3"]
    q.unsubscribe(consumer)
    assert attach(q).bodies == [b"1", b"2"]


def test_an_excluded_consumer_that_is_gone_is_forgotten() -> None:
    q = queue()
    consumer = attach(q)
    fill(q, b"1")
    entry = consumer.got.pop()
    settle(q, consumer, entry, Modified(undeliverable_here=True))
    q.unsubscribe(consumer)
    assert len(entry.excluded) == 1
    del consumer
    assert len(entry.excluded) == 0


def test_unsubscribing_twice_does_no_harm() -> None:
    q = queue()
    consumer = attach(q)
    q.unsubscribe(consumer)
    q.unsubscribe(consumer)
    assert q.consumers == 0


def test_many_lost_deliveries_come_back_quickly() -> None:
    q = queue(max_length=50_000, max_bytes=50_000)
    consumer = attach(q, credit=50_000)
    fill(q, *(b"x",) * 50_000)
    lost = consumer.got[:]
    q.unsubscribe(consumer)
    for entry in lost:
        settle(q, consumer, entry, error=InDoubt())
    assert [e.sequence for e in attach(q, credit=50_000).got] == list(range(50_000))


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_full_queue_refuses() -> None:
    q = queue(max_length=2, max_bytes=10)
    fill(q, b"1", b"2")
    with pytest.raises(Refused, match="holds 2 messages") as refused:
        fill(q, b"3")
    assert refused.value.condition == "amqp:resource-limit-exceeded"
    q.purge()
    fill(q, b"12345678")
    with pytest.raises(Refused, match="holds 8 bytes"):
        fill(q, b"123")
    fill(q, b"90")


def test_messages_with_consumers_count_too() -> None:
    q = queue(max_length=1)
    consumer = attach(q)
    fill(q, b"1")
    with pytest.raises(Refused):
        fill(q, b"2")
    settle(q, consumer, consumer.got[0], ACCEPTED)
    fill(q, b"2")


def test_all_queues_together_have_a_limit() -> None:
    storage = Storage(1000)
    first, second = queue("a", storage=storage), queue("b", storage=storage)
    fill(first, b"x" * 300)
    with pytest.raises(Refused, match="the broker holds all it can"):
        fill(second, b"x" * 300)
    first.purge()
    assert storage.used == 0
    fill(second, b"x" * 300)


def test_a_full_queue_makes_room_by_dropping_what_expired() -> None:
    q = queue(max_length=1)
    q.put(Entry(b"old", expires=time.monotonic()))
    fill(q, b"new")
    assert attach(q).bodies == [b"new"]


def test_descriptions_fit_in_the_smallest_frame() -> None:
    assert len(Refused("amqp:not-found", "x" * 5000).description) == 100
    assert shown("x" * 5000) == repr("x" * 40 + "…")
    assert shown("orders") == "'orders'"


def test_purge_leaves_what_consumers_have() -> None:
    q = queue()
    attach(q, credit=1)
    fill(q, b"1", b"2", b"3")
    assert q.purge() == 2
    assert (len(q), q.length, q.size) == (0, 1, 1)


# -- dead letters -----------------------------------------------------------------------------------------------------


class Graveyard(list[tuple[bytes, str, str]]):
    """Where dead letters go."""

    def __call__(self, source: Queue, entry: Entry, reason: str, description: str) -> None:
        self.append((entry.payload, reason, description))


def test_rejected_messages_are_buried_with_the_reason() -> None:
    q = queue(dead_letter=(dead := Graveyard()))
    consumer = attach(q)
    fill(q, b"1", b"2", b"3")
    settle(q, consumer, consumer.got[0], Rejected())
    settle(q, consumer, consumer.got[1], Rejected(Error(Symbol("com.example:bad"), "so bad")))
    settle(q, consumer, consumer.got[2], Rejected(Error(Symbol("com.example:bad"))))
    assert dead == [(b"1", "rejected", ""), (b"2", "com.example:bad", "so bad"), (b"3", "com.example:bad", "")]
    assert q.length == 0


def test_rejected_messages_without_dead_letter_address_are_dropped() -> None:
    q = queue()
    consumer = attach(q)
    fill(q, b"1")
    settle(q, consumer, consumer.got[0], Rejected())
    assert q.length == 0


def test_a_message_that_failed_too_often_is_buried() -> None:
    q = queue(max_deliveries=2, dead_letter=(dead := Graveyard()))
    consumer = attach(q)
    fill(q, b"1")
    settle(q, consumer, consumer.got[0], Modified(delivery_failed=True))
    settle(q, consumer, consumer.got[1], RELEASED)
    assert dead == []
    settle(q, consumer, consumer.got[2], Modified(delivery_failed=True))
    assert dead == [(b"1", "max-deliveries", "2 deliveries failed")]
    assert (len(q), q.length) == (0, 0)


def test_an_expired_message_is_buried_instead_of_delivered() -> None:
    q = queue(dead_letter=(dead := Graveyard()))
    q.put(Entry(b"1", expires=time.monotonic()))
    fill(q, b"2")
    assert attach(q).bodies == [b"2"]
    assert [(payload, reason) for payload, reason, _ in dead] == [(b"1", "expired")]


def test_a_dead_letter_tells_where_it_died_and_why() -> None:
    original = Message(b"body", header=Header(ttl=5, durable=True), annotations={Symbol("a"): 1})
    entry = Entry(original.encode())
    entry.annotations = {Symbol("b"): 2}
    copy = dead_letter_copy(queue("orders"), entry, "expired", "too old")
    message = Message.decode(copy.payload)
    assert message.annotations == {
        "a": 1,
        "b": 2,
        DEAD_LETTER_SOURCE: "orders",
        DEAD_LETTER_REASON: "expired",
        DEAD_LETTER_DESCRIPTION: "too old",
    }
    assert (message.header.ttl, message.header.durable, message.body, copy.expires) == (None, True, b"body", None)


def test_two_full_queues_that_bury_each_other_come_to_an_end() -> None:
    queues: dict[str, Queue] = {}

    def bury(source: Queue, entry: Entry, reason: str, description: str) -> None:
        try:
            queues["b" if source.name == "a" else "a"].put(entry)
        except Refused:
            pass

    queues["a"] = queue("a", max_length=2, dead_letter=bury)
    queues["b"] = queue("b", max_length=2, dead_letter=bury)
    for name in "aabb":
        queues[name].put(Entry(b"x", expires=time.monotonic()))
    queues["a"].expire()
    assert queues["a"].length == len(queues["a"]) <= 2
    assert queues["b"].length == len(queues["b"]) <= 2


def test_consumers_may_add_so_much_and_no_more() -> None:
    q = queue()
    consumer = attach(q)
    fill(q, b"\x00\x53\x75\xa0\x01x")
    for n in range(10):
        settle(q, consumer, consumer.got[n], Modified(message_annotations={Symbol(f"a{n}"): "x" * 20_000}))
    assert list(consumer.got[0].annotations) == ["a0", "a1", "a2"]


# -- what is sent again -----------------------------------------------------------------------------------------------


def test_a_first_delivery_is_the_bytes_that_came() -> None:
    payload = Message(b"body", header=Header(ttl=1)).encode()
    assert Entry(payload).bytes_to_send() is payload


def test_a_second_delivery_gets_a_new_header_only() -> None:
    rest = Message(
        "body",
        annotations={Symbol("a"): 1},
        properties=Properties(message_id="m"),
        application_properties={"k": 1.5},
        footer={Symbol("f"): True},
    ).encode()
    entry = Entry(rest)
    entry.delivered = True
    entry.failures = 2
    sent = entry.bytes_to_send()
    assert sent.endswith(rest)
    header = Message.decode(sent).header
    assert header == Header(first_acquirer=False, delivery_count=2)


def test_a_second_delivery_keeps_what_the_sender_said_in_the_header() -> None:
    payload = Message(b"x", header=Header(durable=True, priority=7, ttl=60_000, delivery_count=3)).encode()
    entry = Entry(payload, expires=time.monotonic() + 30)
    entry.delivered = True
    entry.failures = 1
    header = Message.decode(entry.bytes_to_send()).header
    assert (header.durable, header.priority, header.delivery_count) == (True, 7, 4)
    assert header.first_acquirer is False
    assert header.ttl is not None
    assert 20_000 < header.ttl <= 30_000


def test_the_largest_delivery_count_grows_no_more() -> None:
    entry = Entry(Message(b"x", header=Header(delivery_count=0xFFFF_FFFF)).encode())
    entry.delivered = True
    entry.failures = 1
    assert Message.decode(entry.bytes_to_send()).header.delivery_count == 0xFFFF_FFFF


def test_annotations_of_modified_stay() -> None:
    payload = Message(b"x", annotations={Symbol("a"): 1, Symbol("b"): 1}).encode()
    q = queue()
    consumer = attach(q)
    fill(q, payload)
    settle(q, consumer, consumer.got[0], Modified(message_annotations={Symbol("b"): 2}))
    settle(q, consumer, consumer.got[1], Modified(message_annotations={Symbol("c"): 3}))
    settle(q, consumer, consumer.got[2], Modified())
    message = Message.decode(consumer.got[3].bytes_to_send())
    assert message.annotations == {"a": 1, "b": 2, "c": 3}
    assert message.body == b"x"


# -- expiry -----------------------------------------------------------------------------------------------------------


def test_when_a_message_expires() -> None:
    now, wall = time.monotonic(), time.time()
    assert expiry(Message(b"")) is None
    ttl = expiry(Message(b"", header=Header(ttl=10_000)))
    assert ttl is not None
    assert ttl == pytest.approx(now + 10, abs=5)
    for moment in (int((wall + 100) * 1000), Timestamp(int((wall + 100) * 1000))):
        absolute = expiry(Message(b"", properties=Properties(absolute_expiry_time=moment)))
        assert absolute == pytest.approx(now + 100, abs=5)
    both = Message(b"", header=Header(ttl=10_000), properties=Properties(absolute_expiry_time=int(wall * 1000)))
    assert expiry(Message.decode(both.encode())) == pytest.approx(now, abs=5)


def test_a_queue_may_shorten_lives() -> None:
    q = queue(ttl=30.0)
    now = time.monotonic()
    for expires in (None, now + 10, now + 100):
        q.put(Entry(b"x", expires=expires))
    assert [e.expires for e in attach(q).got] == pytest.approx([now + 30, now + 10, now + 30], abs=5)


def test_expire_takes_what_is_due_wherever_it_is() -> None:
    q = queue(dead_letter=(dead := Graveyard()))
    past, future = time.monotonic(), time.monotonic() + 100
    consumer = attach(q, credit=3)
    for number in range(3):
        q.put(Entry(b"%d" % number, expires=future))
    for entry in consumer.got:
        settle(q, consumer, entry, RELEASED)
    consumer.got[1].expires = past
    for number, expires in ((3, past), (4, future), (5, None)):
        q.put(Entry(b"%d" % number, expires=expires))
    q.expire()
    assert [payload for payload, _, _ in dead] == [b"1", b"3"]
    assert q.next_expiry == future
    consumer.credit = 10
    q.dispatch()
    assert consumer.bodies[3:] == [b"0", b"2", b"4", b"5"]
    assert q.length == 4


def test_expire_does_nothing_before_its_time() -> None:
    q = queue()
    q.expire()
    q.put(Entry(b"x", expires=time.monotonic() + 100))
    q.expire()
    assert len(q) == 1


async def test_the_sweeper_expires_without_anybody_looking() -> None:
    sweeper = Sweeper()
    queues = [queue(name, sweeper=sweeper) for name in "abc"]
    now = time.monotonic()
    queues[0].put(Entry(b"x", expires=now + 1000))
    queues[1].put(Entry(b"x", expires=now + 0.01))
    # What is put before the start waits for it.
    sweeper.start()
    queues[2].put(Entry(b"x", expires=now + 900))
    queues[2].put(Entry(b"x", expires=now + 0.005))
    await eventually(lambda: [q.length for q in queues] == [1, 0, 1])
    sweeper.stop()
    sweeper.stop()
    queues[1].put(Entry(b"x", expires=now))
    assert queues[1].length == 1
    sweeper.start()
    await eventually(lambda: queues[1].length == 0)
    sweeper.stop()


# -- the end, topics --------------------------------------------------------------------------------------------------


def test_a_deleted_queue_tells_its_consumers_and_takes_nothing() -> None:
    q = queue(max_deliveries=1, dead_letter=(dead := Graveyard()), ttl=100)
    first, second = attach(q, credit=1), attach(q, credit=0)
    fill(q, b"1", b"2")
    second.credit = 10
    q.close()
    assert (first.events, second.events) == (["deleted"], ["deleted"])
    settle(q, first, first.got[0], error=InDoubt())
    assert (second.got, dead) == ([], [])
    with pytest.raises(Refused) as refused:
        fill(q, b"3")
    assert refused.value.condition == "amqp:resource-deleted"


def test_steal_tells_who_had_it() -> None:
    q = queue()
    consumer = attach(q)
    q.steal()
    assert consumer.events == ["stolen"]


def test_a_topic_hands_a_message_to_all_subscriptions() -> None:
    topic = Topic("t")
    topic.put(Entry(b"nobody hears"))
    queues = [topic.subscription(name, queue) for name in ("x", "y")]
    assert topic.subscription("x", queue) is queues[0]
    assert topic.subscriptions == ["x", "y"]
    topic.put(Entry(b"1", 7, time.monotonic() + 100))
    entries = [attach(q).got[0] for q in queues]
    assert entries[0] is not entries[1]
    assert {(e.payload, e.message_format) for e in entries} == {(b"1", 7)}


def test_a_topic_refuses_for_all_or_none() -> None:
    topic = Topic("t")
    wide, narrow = topic.subscription("wide", queue), topic.subscription("narrow", lambda n: queue(n, max_length=1))
    topic.put(Entry(b"1"))
    with pytest.raises(Refused):
        topic.put(Entry(b"2"))
    assert (wide.length, narrow.length) == (1, 1)


def test_a_topic_needs_room_for_all_copies_of_a_message() -> None:
    topic, storage = Topic("t"), Storage(10_000)
    queues = [topic.subscription(name, lambda n: queue(n, storage=storage)) for name in ("x", "y", "z")]
    with pytest.raises(Refused, match="the broker holds all it can"):
        topic.put(Entry(bytes(4_000)))
    assert [q.length for q in queues] == [0, 0, 0]
    topic.put(Entry(bytes(2_000)))
    assert [q.length for q in queues] == [1, 1, 1]


def test_subscriptions_end() -> None:
    topic = Topic("t")
    consumers = [attach(topic.subscription(name, queue)) for name in ("x", "y")]
    topic.unsubscribe("x")
    topic.unsubscribe("x")
    assert [c.events for c in consumers] == [["deleted"], []]
    topic.close()
    assert [c.events for c in consumers] == [["deleted"], ["deleted"]]
    assert topic.subscriptions == []


def test_a_node_has_to_say_how_it_takes_messages() -> None:
    with pytest.raises(NotImplementedError):
        Node("n").put(Entry(b""))
