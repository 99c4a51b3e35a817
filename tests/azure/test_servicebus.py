"""azure-servicebus, blocking."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    AutoLockRenewer,
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
)
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessageSizeExceededError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    SessionCannotBeLockedError,
)

from .namespace import Namespace


@pytest.fixture
def client(namespace: Namespace) -> Iterator[ServiceBusClient]:
    with namespace.service_bus() as client:
        yield client


def send(client: ServiceBusClient, name: str, *bodies: Any, **options: Any) -> None:
    with client.get_queue_sender(name) as sender:
        for body in bodies:
            sender.send_messages(ServiceBusMessage(body, **options))


def receive(receiver: Any, count: int = 1, wait: float = 5) -> list[Any]:
    """So many messages; fewer where no more come in time."""
    got: list[Any] = []
    while len(got) < count and (more := receiver.receive_messages(count - len(got), max_wait_time=wait)):
        got += more
    return got


def is_empty(client: ServiceBusClient, name: str, **options: Any) -> bool:
    with client.get_queue_receiver(name, **options) as receiver:
        return not receiver.peek_messages()


# -- sending ------------------------------------------------------------------------------------------------------


def test_send_receive_complete(client: ServiceBusClient, name: str) -> None:
    send(client, name, "hello")
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        assert str(message) == "hello"
        receiver.complete_message(message)
    assert is_empty(client, name)


def test_a_message_keeps_its_properties(client: ServiceBusClient, name: str) -> None:
    send(
        client,
        name,
        b"body",
        application_properties={"text": "x", "number": 7, "flag": True},
        message_id="m-1",
        correlation_id="c-1",
        content_type="text/plain",
        subject="label",
        to="there",
        reply_to="here",
        partition_key="p",
        time_to_live=timedelta(minutes=5),
    )
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        receiver.complete_message(message)
    assert message.application_properties == {b"text": b"x", b"number": 7, b"flag": True}
    assert (message.message_id, message.correlation_id, message.content_type) == ("m-1", "c-1", "text/plain")
    assert (message.subject, message.to, message.reply_to) == ("label", "there", "here")
    assert message.partition_key == "p" and message.time_to_live == timedelta(minutes=5)


def test_what_the_service_says_of_a_message(client: ServiceBusClient, name: str) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    send(client, name, "1", "2")
    with client.get_queue_receiver(name) as receiver:
        messages = receive(receiver, 2)
        assert [m.sequence_number for m in messages] == [1, 2]
        assert all(m.delivery_count == 0 and m.state == ServiceBusMessageState.ACTIVE for m in messages)
        assert all(before < m.enqueued_time_utc < m.locked_until_utc for m in messages)
        assert len({m.lock_token for m in messages}) == 2


def test_a_list_is_sent_as_a_batch(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_sender(name) as sender:
        sender.send_messages([ServiceBusMessage(str(n), message_id=f"m{n}") for n in range(5)])
    with client.get_queue_receiver(name) as receiver:
        messages = receive(receiver, 5)
    assert [(str(m), m.message_id) for m in messages] == [(str(n), f"m{n}") for n in range(5)]


def test_a_batch_filled_by_hand(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_sender(name) as sender:
        batch = sender.create_message_batch()
        for n in range(10):
            batch.add_message(ServiceBusMessage(str(n)))
        sender.send_messages(batch)
    with client.get_queue_receiver(name, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        assert [str(m) for m in receive(receiver, 10)] == [str(n) for n in range(10)]


def test_a_batch_has_a_limit(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_sender(name) as sender:
        batch = sender.create_message_batch(max_size_in_bytes=500)
        with pytest.raises(MessageSizeExceededError):
            batch.add_message(ServiceBusMessage(b"x" * 600))


@pytest.mark.parametrize("size", [0, 1, 300, 100_000, 900_000])
def test_bodies_of_all_sizes(client: ServiceBusClient, name: str, size: int) -> None:
    send(client, name, b"x" * size)
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        assert b"".join(message.body) == b"x" * size
        receiver.complete_message(message)


def test_bodies_of_the_other_kinds(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_sender(name) as sender:
        sender.send_messages(AmqpAnnotatedMessage(value_body={b"k": [1, b"two"]}))
        sender.send_messages(AmqpAnnotatedMessage(sequence_body=[[1, 2], [3]]))
    with client.get_queue_receiver(name) as receiver:
        value, sequence = receive(receiver, 2)
    assert value.body_type == AmqpMessageBodyType.VALUE and value.body == {b"k": [1, b"two"]}
    assert sequence.body_type == AmqpMessageBodyType.SEQUENCE and list(sequence.body) == [[1, 2], [3]]


# -- receiving and settling ---------------------------------------------------------------------------------------


def test_iterating(client: ServiceBusClient, name: str) -> None:
    send(client, name, "1", "2", "3")
    got = []
    with client.get_queue_receiver(name, max_wait_time=1) as receiver:
        for message in receiver:
            got.append(str(message))
            receiver.complete_message(message)
    assert got == ["1", "2", "3"]


def test_receive_and_delete(client: ServiceBusClient, name: str) -> None:
    send(client, name, "gone")
    with client.get_queue_receiver(name, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE) as receiver:
        assert [str(m) for m in receive(receiver)] == ["gone"]
    assert is_empty(client, name)


def test_prefetch(client: ServiceBusClient, name: str) -> None:
    send(client, name, *(str(n) for n in range(20)))
    with client.get_queue_receiver(name, prefetch_count=20) as receiver:
        messages = receive(receiver, 20)
        for message in messages:
            receiver.complete_message(message)
    assert [str(m) for m in messages] == [str(n) for n in range(20)]
    assert is_empty(client, name)


def test_nothing_comes_of_an_empty_queue(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_receiver(name) as receiver:
        assert receiver.receive_messages(max_wait_time=1) == []


def test_abandon_counts(client: ServiceBusClient, name: str) -> None:
    send(client, name, "again")
    with client.get_queue_receiver(name) as receiver:
        (first,) = receive(receiver)
        receiver.abandon_message(first)
        (second,) = receive(receiver)
        assert (first.delivery_count, second.delivery_count) == (0, 1)
        assert second.sequence_number == first.sequence_number
        assert second.lock_token != first.lock_token
        receiver.complete_message(second)


def test_too_many_deliveries_dead_letter(client: ServiceBusClient, name: str) -> None:
    send(client, name, "poison")
    with client.get_queue_receiver(name) as receiver:
        for _ in range(3):
            (message,) = receive(receiver)
            receiver.abandon_message(message)
        assert receiver.receive_messages(max_wait_time=1) == []
    with client.get_queue_receiver(name, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
        (message,) = receive(receiver)
        assert str(message) == "poison" and message.dead_letter_reason == "MaxDeliveryCountExceeded"
        receiver.complete_message(message)
    assert is_empty(client, name, sub_queue=ServiceBusSubQueue.DEAD_LETTER)


def test_dead_letter_with_reason(client: ServiceBusClient, name: str) -> None:
    send(client, name, "bad", application_properties={"k": "v"})
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        receiver.dead_letter_message(message, reason="why", error_description="because")
    with client.get_queue_receiver(name, sub_queue="deadletter") as receiver:
        (message,) = receive(receiver)
        assert (message.dead_letter_reason, message.dead_letter_error_description) == ("why", "because")
        assert message.application_properties[b"k"] == b"v"
        assert message.dead_letter_source == name
        receiver.complete_message(message)


def test_defer_and_receive_by_number(client: ServiceBusClient, name: str) -> None:
    send(client, name, "later")
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        receiver.defer_message(message)
        assert receiver.receive_messages(max_wait_time=1) == []
        assert receiver.peek_messages(sequence_number=1)[0].state == ServiceBusMessageState.DEFERRED
        (deferred,) = receiver.receive_deferred_messages(message.sequence_number)
        assert str(deferred) == "later" and deferred.lock_token
        receiver.complete_message(deferred)
        with pytest.raises(ServiceBusError):
            receiver.receive_deferred_messages(message.sequence_number)


@pytest.mark.parametrize("act", ["abandon", "defer", "dead_letter"])
def test_deferred_messages_are_settled_by_management(client: ServiceBusClient, name: str, act: str) -> None:
    send(client, name, "later")
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        receiver.defer_message(message)
        (deferred,) = receiver.receive_deferred_messages([message.sequence_number])
        getattr(receiver, f"{act}_message")(deferred)
        if act == "dead_letter":
            assert receiver.peek_messages() == []
        else:
            (again,) = receiver.receive_deferred_messages([message.sequence_number])
            receiver.complete_message(again)


def test_deferred_messages_received_and_deleted(client: ServiceBusClient, name: str) -> None:
    send(client, name, "later")
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        receiver.defer_message(message)
    with client.get_queue_receiver(name, receive_mode="receiveanddelete") as receiver:
        (deferred,) = receiver.receive_deferred_messages([message.sequence_number])
        assert str(deferred) == "later"
    assert is_empty(client, name)


def test_peek_takes_nothing(client: ServiceBusClient, name: str) -> None:
    send(client, name, "1", "2", "3")
    with client.get_queue_receiver(name) as receiver:
        assert [str(m) for m in receiver.peek_messages(2)] == ["1", "2"]
        assert [str(m) for m in receiver.peek_messages(2)] == ["3"]
        assert [str(m) for m in receiver.peek_messages(10, sequence_number=2)] == ["2", "3"]
        assert len(receive(receiver, 3)) == 3


def test_renewing_a_lock(client: ServiceBusClient, name: str) -> None:
    send(client, name, "mine")
    with client.get_queue_receiver(name) as receiver:
        (message,) = receive(receiver)
        before = message.locked_until_utc
        time.sleep(0.05)
        assert receiver.renew_message_lock(message) > before
        receiver.complete_message(message)


def test_a_lock_ends(hasty: Namespace, name: str) -> None:
    with hasty.service_bus() as client:
        send(client, name, "slow")
        with client.get_queue_receiver(name) as receiver:
            (message,) = receive(receiver)
            (again,) = receive(receiver)
            assert again.delivery_count == 1
            with pytest.raises(MessageLockLostError):
                receiver.complete_message(message)
            with pytest.raises(MessageLockLostError):
                receiver.renew_message_lock(message)
            receiver.complete_message(again)


def test_automatic_renewal(hasty: Namespace, name: str) -> None:
    with hasty.service_bus() as client, AutoLockRenewer() as renewer:
        send(client, name, "slow")
        with client.get_queue_receiver(name) as receiver:
            (message,) = receive(receiver)
            renewer.register(receiver, message, max_lock_renewal_duration=10)
            time.sleep(4)
            receiver.complete_message(message)
        assert is_empty(client, name)


def test_what_was_not_settled_comes_again(hasty: Namespace, name: str) -> None:
    with hasty.service_bus() as client:
        send(client, name, "kept")
        with client.get_queue_receiver(name) as receiver:
            receive(receiver)
        with client.get_queue_receiver(name) as receiver:
            (message,) = receive(receiver)
            assert str(message) == "kept"
            receiver.complete_message(message)


def test_a_message_that_lived_too_long_is_gone(client: ServiceBusClient, name: str) -> None:
    send(client, name, "brief", time_to_live=timedelta(milliseconds=50))
    send(client, name, "lasting")
    time.sleep(0.2)
    with client.get_queue_receiver(name) as receiver:
        assert [str(m) for m in receive(receiver, 2, wait=1)] == ["lasting"]


# -- scheduling ---------------------------------------------------------------------------------------------------


def soon(seconds: float = 4.0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_scheduled_messages_come_in_time(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_sender(name) as sender:
        due = soon()
        numbers = sender.schedule_messages([ServiceBusMessage("a"), ServiceBusMessage("b")], due)
        assert len(numbers) == 2
    with client.get_queue_receiver(name) as receiver:
        peeked = receiver.peek_messages(5)
        assert [m.state for m in peeked] == [ServiceBusMessageState.SCHEDULED] * 2
        assert [m.sequence_number for m in peeked] == numbers
        messages = receive(receiver, 2)
        assert datetime.now(UTC) >= due - timedelta(milliseconds=50)
        assert sorted(str(m) for m in messages) == ["a", "b"]
        assert all(m.scheduled_enqueue_time_utc is not None for m in messages)


def test_a_message_may_say_itself_when_it_is_due(client: ServiceBusClient, name: str) -> None:
    send(client, name, "later", scheduled_enqueue_time_utc=soon())
    with client.get_queue_receiver(name) as receiver:
        assert receiver.peek_messages()[0].state == ServiceBusMessageState.SCHEDULED
        assert [str(m) for m in receive(receiver)] == ["later"]


def test_cancelling(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_sender(name) as sender:
        one = sender.schedule_messages(ServiceBusMessage("one"), soon(60))
        two = sender.schedule_messages(ServiceBusMessage("two"), soon(60))
        sender.cancel_scheduled_messages(one)
        sender.cancel_scheduled_messages(two)
        with pytest.raises(ServiceBusError):
            sender.cancel_scheduled_messages(one)
    assert is_empty(client, name)


# -- sessions -----------------------------------------------------------------------------------------------------


def test_a_named_session(client: ServiceBusClient, name: str) -> None:
    send(client, name, "a1", "a2", session_id="a")
    send(client, name, "b1", session_id="b")
    with client.get_queue_receiver(name, session_id="a") as receiver:
        messages = receive(receiver, 2)
        assert [(str(m), m.session_id) for m in messages] == [("a1", "a"), ("a2", "a")]
        for message in messages:
            receiver.complete_message(message)
        assert receiver.session.session_id == "a"
        assert receiver.session.locked_until_utc > datetime.now(UTC)


def test_the_next_session(client: ServiceBusClient, name: str) -> None:
    send(client, name, "x", session_id="only")
    with client.get_queue_receiver(name, session_id=NEXT_AVAILABLE_SESSION) as receiver:
        (message,) = receive(receiver)
        assert receiver.session.session_id == "only"
        receiver.complete_message(message)


def test_there_may_be_no_next_session(client: ServiceBusClient, name: str) -> None:
    with pytest.raises(OperationTimeoutError):
        with client.get_queue_receiver(name, session_id=NEXT_AVAILABLE_SESSION, max_wait_time=1):
            pass


def test_a_session_has_one_receiver(client: ServiceBusClient, name: str) -> None:
    send(client, name, "x", session_id="a")
    with client.get_queue_receiver(name, session_id="a"):
        with pytest.raises(SessionCannotBeLockedError):
            with client.get_queue_receiver(name, session_id="a"):
                pass
    with client.get_queue_receiver(name, session_id="a") as receiver:
        assert [str(m) for m in receive(receiver)] == ["x"]


def test_the_state_of_a_session(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_receiver(name, session_id="s") as receiver:
        assert receiver.session.get_state() is None
        receiver.session.set_state("half way")
        assert receiver.session.get_state() == b"half way"
    with client.get_queue_receiver(name, session_id="s") as receiver:
        assert receiver.session.get_state() == b"half way"
        receiver.session.set_state(None)
        assert receiver.session.get_state() is None


def test_renewing_the_lock_of_a_session(client: ServiceBusClient, name: str) -> None:
    with client.get_queue_receiver(name, session_id="s") as receiver:
        before = receiver.session.locked_until_utc
        time.sleep(0.05)
        assert receiver.session.renew_lock() > before


def test_settling_in_a_session(client: ServiceBusClient, name: str) -> None:
    send(client, name, "1", "2", "3", session_id="s")
    with client.get_queue_receiver(name, session_id="s") as receiver:
        one, two, three = receive(receiver, 3)
        receiver.abandon_message(one)
        receiver.defer_message(two)
        receiver.dead_letter_message(three, reason="r")
        (again,) = receive(receiver)
        assert str(again) == "1" and again.delivery_count == 1
        receiver.complete_message(again)
        (deferred,) = receiver.receive_deferred_messages(two.sequence_number)
        receiver.complete_message(deferred)
        assert receiver.peek_messages() == []


def test_peeking_in_a_session(client: ServiceBusClient, name: str) -> None:
    send(client, name, "a", session_id="a")
    send(client, name, "b", session_id="b")
    with client.get_queue_receiver(name, session_id="b") as receiver:
        assert [str(m) for m in receiver.peek_messages(5)] == ["b"]


def test_a_declared_session_queue(client: ServiceBusClient) -> None:
    with pytest.raises(ServiceBusError):
        send(client, "sessions", "without a session")
    with pytest.raises(ServiceBusError):
        with client.get_queue_receiver("sessions") as receiver:
            receiver.receive_messages(max_wait_time=1)


def test_the_lock_of_a_session_ends(hasty: Namespace, name: str) -> None:
    with hasty.service_bus() as client:
        send(client, name, "x", session_id="s")
        with client.get_queue_receiver(name, session_id="s") as receiver:
            receive(receiver)
            time.sleep(3.2)
            with client.get_queue_receiver(name, session_id="s") as other:
                (message,) = receive(other)
                assert message.delivery_count == 1
                other.complete_message(message)


def test_listing_sessions(client: ServiceBusClient, name: str) -> None:
    for session in ("a", "b", "c"):
        send(client, name, "x", session_id=session)
    list_sessions = getattr(client, "list_queue_sessions", None) or getattr(client, "get_queue_sessions", None)
    if list_sessions is None:
        pytest.skip("this release of azure-servicebus cannot list sessions")
    assert sorted(list_sessions(name)) == ["a", "b", "c"]


# -- topics -------------------------------------------------------------------------------------------------------


def test_a_topic_hands_on(client: ServiceBusClient) -> None:
    with client.get_topic_sender("news") as sender:
        sender.send_messages([ServiceBusMessage("1"), ServiceBusMessage("2")])
    for subscription in ("all", "also"):
        with client.get_subscription_receiver("news", subscription) as receiver:
            messages = receive(receiver, 2)
            assert [str(m) for m in messages] == ["1", "2"]
            for message in messages:
                receiver.complete_message(message)


def test_a_subscription_made_by_use(client: ServiceBusClient, name: str) -> None:
    with client.get_subscription_receiver(name, "sub") as receiver:
        with client.get_topic_sender(name) as sender:
            sender.send_messages(ServiceBusMessage("x"))
        (message,) = receive(receiver)
        assert str(message) == "x"
        receiver.dead_letter_message(message, reason="r")
    with client.get_subscription_receiver(name, "sub", sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
        (message,) = receive(receiver)
        assert message.dead_letter_reason == "r"


def test_scheduling_to_a_topic(client: ServiceBusClient, name: str) -> None:
    with client.get_subscription_receiver(name, "sub") as receiver:
        with client.get_topic_sender(name) as sender:
            sender.schedule_messages(ServiceBusMessage("x"), soon(0.5))
        assert [str(m) for m in receive(receiver)] == ["x"]


def test_a_session_of_a_subscription(client: ServiceBusClient, name: str) -> None:
    with client.get_subscription_receiver(name, "sub", session_id="s") as receiver:
        with client.get_topic_sender(name) as sender:
            sender.send_messages(ServiceBusMessage("x", session_id="s"))
        assert [str(m) for m in receive(receiver)] == ["x"]


# -- who may come in ----------------------------------------------------------------------------------------------


def test_the_right_key(guarded: Namespace, name: str) -> None:
    with guarded.service_bus() as client:
        send(client, name, "x")
        with client.get_queue_receiver(name) as receiver:
            assert [str(m) for m in receive(receiver)] == ["x"]


def test_the_wrong_key(guarded: Namespace, name: str) -> None:
    with guarded.with_key("b3RoZXI=").service_bus() as client:
        with pytest.raises(ServiceBusAuthenticationError):
            send(client, name, "x")
