from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from uamqp.aio import Connection, Data, Message, OutgoingDelivery, Properties, Sender, Value, connect
from uamqp.aio import Sequence as SequenceBody
from uamqp.broker import Broker
from uamqp.codec.definitions import Accepted, Error, Modified, Received, Rejected, Released
from uamqp.codec.message import encode_message
from uamqp.codec.values import Symbol
from uamqp.exceptions import (
    BatchFailed,
    ConnectionLost,
    DecodeError,
    EncodeError,
    InDoubt,
    InDoubtInTime,
    LinkDetached,
    LocalProtocolError,
    MessageTooLarge,
    NotSent,
    NotSentInTime,
    OperationTimeout,
)
from uamqp.exceptions import Modified as ModifiedError
from uamqp.exceptions import Rejected as RejectedError
from uamqp.exceptions import Released as ReleasedError

from .conftest import Serve
from .peers import BOUND, Peer, eventually


def nothing_is_left(connection: Connection, sender: Sender) -> bool:
    session = connection._engine._sessions[0]
    return not session.outgoing_unsettled and not session.runs and not sender._endpoint.queue


# -- what is sent ----------------------------------------------------------------------------------------------------

UNENCODABLE: Any = object()


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"x" * 255, b"x" * 256, bytearray(b"ab"), "", "text", 7, None, True, [1, "a"], {"k": 1}, 1.5],
    ids=repr,
)
async def test_bodies(connection: Connection, body: Any) -> None:
    async with connection.sender("q") as sender, connection.receiver("q") as receiver:
        delivery = await sender.send(body)
        assert (delivery.settled, delivery.error, str(delivery.state)) == (True, None, "Accepted()")
        received = await receiver.receive()
        assert received.body == body
        received.accept()


@pytest.mark.parametrize("body", [Data([b"a", b"b"]), Value(b"binary"), SequenceBody([[1], [2, 3]])], ids=repr)
async def test_bodies_of_a_kind(connection: Connection, body: Any) -> None:
    async with connection.sender("q") as sender, connection.receiver("q") as receiver:
        message = Message(body, properties=Properties(subject="s"), application_properties={"k": 1}, message_format=7)
        await sender.send(message)
        received = await receiver.receive()
        assert received.message == message
        assert received.message_format == 7
        received.accept()


async def test_a_message_of_many_frames(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"max_frame_size": 512}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        body = bytes(range(256)) * 400
        await asyncio.gather(sender.send(body), sender.send(b"small"), sender.send(body))
        assert [delivery.body for delivery in server.peer.messages] == [body, b"small", body]


# -- outcomes --------------------------------------------------------------------------------------------------------


class Deciding(Peer):
    """Settles every message with one state."""

    def __init__(self, state: Any, **options: Any) -> None:
        super().__init__(**options)
        self.state = state

    def on_message(self, delivery: Any) -> None:
        delivery.settle(self.state)


OUTCOMES = [
    (Rejected(), RejectedError, None),
    (Rejected(Error(Symbol("x:y"), "no good", {Symbol("k"): 1})), RejectedError, "x:y"),
    (Released(), ReleasedError, None),
    (Modified(True, True, {Symbol("k"): 1}), ModifiedError, None),
]


@pytest.mark.parametrize(("state", "error", "condition"), OUTCOMES, ids=lambda value: str(value)[:20])
async def test_outcomes_that_are_errors(serve: Serve, state: Any, error: Any, condition: str | None) -> None:
    server = await serve(lambda: Deciding(state))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")

        async def await_it() -> None:
            await sender.send_nowait(b"x")

        for send in (sender.send(b"x"), sender.settlement(sender.send_nowait(b"x")), await_it()):
            with pytest.raises(error) as caught:
                await send
            assert caught.value.condition == condition
            assert caught.value.remote
        with pytest.raises(BatchFailed) as failed:
            await sender.send_many([b"x", b"y"])
        assert {place: type(e) for place, e in failed.value.failures.items()} == {0: error, 1: error}
        assert nothing_is_left(connection, sender)
        if isinstance(state, Modified):
            modified = failed.value.failures[0]
            assert isinstance(modified, ModifiedError)
            assert (modified.delivery_failed, modified.undeliverable_here) == (True, True)
            assert modified.annotations == {"k": 1}


async def test_a_state_that_is_no_outcome_yet(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        delivery = sender.send_nowait(b"x")
        await eventually(lambda: server.peer.messages)
        session = server.peer.messages[0].link.session
        session.settle_incoming(server.peer.messages[0].id, Received(0, 0).encode(), False)
        await eventually(lambda: delivery.state is not None)
        assert not delivery.settled
        server.peer.messages[0].accept()
        assert isinstance((await sender.settlement(delivery)).state, Accepted)


async def test_any_number_of_tasks_wait_for_one_delivery(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        delivery = sender.send_nowait(b"x")
        waiting = [asyncio.create_task(sender.settlement(delivery)) for _ in range(5)]
        waiting[0].cancel()
        # Looking again and again leaves nothing behind.
        for _ in range(1500):
            with pytest.raises(InDoubtInTime, match="whether it was accepted is not known"):
                await sender.settlement(delivery, timeout=0)
        assert len(delivery.waiter) == 4
        server.peer.messages[0].accept()
        assert await asyncio.gather(*waiting[1:]) == [delivery] * 4
        await delivery
        assert (await sender.settlement(delivery)) is delivery


async def test_many_tasks_on_one_sender(broker: Broker) -> None:
    async with connect(broker.url, timeout=BOUND) as connection:
        sender, receiver = await connection.sender("q"), await connection.receiver("q")
        count = 500
        sending = asyncio.gather(*(sender.send(n) for n in range(count)))
        bodies = []
        async for delivery in receiver:
            bodies.append(delivery.body)
            delivery.accept()
            if len(bodies) == count:
                break
        deliveries = await sending
        assert bodies == list(range(count))
        assert len({delivery.id for delivery in deliveries}) == count
        assert all(isinstance(delivery.state, Accepted) for delivery in deliveries)
        assert nothing_is_left(connection, sender)


async def test_each_task_has_its_own_outcome(serve: Serve) -> None:
    class Odd(Peer):
        def on_message(self, delivery: Any) -> None:
            if delivery.body % 2:
                delivery.reject("odd", str(delivery.body))
            else:
                delivery.accept()

    server = await serve(Odd)
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        results = await asyncio.gather(*(sender.send(n) for n in range(300)), return_exceptions=True)
        for n, result in enumerate(results):
            if n % 2:
                assert isinstance(result, RejectedError)
                assert result.description == str(n)
            else:
                assert isinstance(result, OutgoingDelivery)


async def test_presettled_messages(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message", credit=5))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        delivery = await sender.send(b"1", settled=True)
        assert (delivery.settled, delivery.state) == (True, None)
        assert delivery.failure() is None
        await sender.send_nowait(b"2", settled=True)
        assert await sender.send_many([b"3", b"4"], settled=True) == 2
        await eventually(lambda: len(server.peer.messages) == 4)
        assert all(delivery.presettled for delivery in server.peer.messages)


async def test_settle_modes(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        unsettled = await connection.sender("q", settle_mode="unsettled")
        with pytest.raises(EncodeError, match="settle mode 'unsettled'"):
            await unsettled.send(b"x", settled=True)
        settled = await connection.sender("q", settle_mode="settled")
        assert (await settled.send(b"x")).presettled
        await eventually(lambda: server.peer.messages)
        assert server.peer.messages[0].presettled


async def test_a_receiver_that_settles_second(serve: Serve) -> None:
    """The peer gives the outcome, this side settles, the peer hears of it (spec 2.6.12)."""

    class Second(Peer):
        def __init__(self) -> None:
            super().__init__()
            self.confirmed: list[Any] = []

        def on_attach(self, link: Any) -> None:
            self.links.append(link)
            link.attach(link.remote_attach.source, link.remote_attach.target, receiver_settle_mode=1)
            link.flow(10)

        def on_incoming_settled(self, deliveries: list[Any]) -> None:
            self.confirmed += deliveries

    server = await serve(Second)
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        await sender.send(b"x")
        await eventually(lambda: len(server.peer.confirmed) == 1)  # type: ignore[attr-defined]


# -- time ------------------------------------------------------------------------------------------------------------


async def test_no_credit(serve: Serve) -> None:
    server = await serve(lambda: Peer(credit=0))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        delivery = sender.send_nowait(b"x")
        for send in (sender.send(b"y", timeout=0.01), sender.settlement(delivery, timeout=0.01)):
            with pytest.raises(NotSentInTime, match=r"was not sent within 0\.01 s: the peer gave no credit"):
                await send
        with pytest.raises(OperationTimeout, match="2 of 2 messages had no outcome"):
            await sender.send_many([b"1", b"2"], timeout=0.01)
        assert isinstance(delivery.error, NotSent)
        assert nothing_is_left(connection, sender)
        server.peer.receiver.flow(10)
        await sender.send(b"z")
        assert [d.body for d in server.peer.messages] == [b"z"]


async def test_a_peer_that_says_nothing(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=0.01, connect_timeout=BOUND) as connection:
        sender = await connection.sender("q", timeout=BOUND)
        for send in (sender.send(b"x"), sender.send(b"x", timeout=0.02), sender.send_many([b"x"])):
            with pytest.raises(OperationTimeout, match=r"no outcome within|had no outcome within") as caught:
                await send
            assert caught.value.retryable
        assert len(server.peer.messages) == 3
        # What is unknown stays unknown until it is known.
        session = connection._engine._sessions[0]
        assert len(session.outgoing_unsettled) == 2 and [run.unsettled for run in session.runs] == [1]
        for delivery in server.peer.messages:
            delivery.accept()
        await eventually(lambda: nothing_is_left(connection, sender))


async def test_no_time_out_at_all(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=0.01, connect_timeout=BOUND) as connection:
        sender = await connection.sender("q", timeout=BOUND)
        sending = asyncio.create_task(sender.send(b"x", timeout=None))
        many = asyncio.create_task(sender.send_many([b"x"], timeout=None))
        # Longer than the time-out that holds for calls which say none.
        await asyncio.sleep(0.03)
        await eventually(lambda: len(server.peer.messages) == 2)
        for delivery in server.peer.messages:
            delivery.accept()
        await sending
        await many


@pytest.mark.parametrize("timeout", [BOUND, None])
async def test_a_cancelled_send_is_taken_back(serve: Serve, timeout: float | None) -> None:
    server = await serve(lambda: Peer(credit=0))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        sends = [asyncio.create_task(sender.send(n, timeout=timeout)) for n in range(10)]
        await asyncio.sleep(0)
        for task in sends[::2]:
            task.cancel()
        await asyncio.sleep(0)
        server.peer.receiver.flow(10)
        await asyncio.gather(*sends[1::2])
        assert [delivery.body for delivery in server.peer.messages] == [1, 3, 5, 7, 9]
        assert nothing_is_left(connection, sender)


async def test_a_large_message_that_was_sent_in_part_is_aborted(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        server.peer.freeze()
        sending = asyncio.create_task(sender.send(bytes(20_000_000)))
        await eventually(lambda: connection._engine.paused)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        server.peer.thaw()
        await sender.send(b"next")
        assert [delivery.body for delivery in server.peer.messages] == [b"next"]
        assert nothing_is_left(connection, sender)


async def test_a_send_that_is_cancelled_after_it_was_sent(serve: Serve) -> None:
    """The peer has it; nobody waits for what becomes of it."""
    server = await serve(lambda: Peer("on_message"))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        sending = asyncio.create_task(sender.send("sent"))
        await eventually(lambda: server.peer.messages)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        server.peer.messages[0].accept()
        await eventually(lambda: nothing_is_left(connection, sender))
        assert [delivery.body for delivery in server.peer.messages] == ["sent"]


async def test_sending_on_a_link_that_has_ended(serve: Serve) -> None:
    """Its own error says so; nothing is sent."""
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        closed = await connection.sender("q")
        await closed.close()
        with pytest.raises(LocalProtocolError, match="is closed"):
            await closed.send("never")
        detached = await connection.sender("q")
        server.peer.receiver.fail("amqp:resource-deleted", "gone")
        await eventually(lambda: detached.error)
        with pytest.raises(LinkDetached, match="amqp:resource-deleted") as caught:
            await detached.send("never")
        assert not caught.value.retryable
        lost = await connection.sender("q")
        server.peer.cut()
        await eventually(lambda: lost.error)
        with pytest.raises(ConnectionLost) as caught_too:
            await lost.send("never")
        assert caught_too.value.retryable
        assert not server.peer.messages


async def test_waiting_for_a_delivery_can_be_cancelled_without_taking_it_back(serve: Serve) -> None:
    server = await serve(lambda: Peer(credit=0))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        delivery = sender.send_nowait(b"x")
        waiting = asyncio.create_task(sender.settlement(delivery))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        server.peer.receiver.flow(1)
        await delivery
        assert len(server.peer.messages) == 1


# -- limits ----------------------------------------------------------------------------------------------------------


async def test_a_message_over_the_limit_of_the_peer() -> None:
    async with Broker(max_message_size=1000) as broker, connect(broker.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        assert sender.max_message_size == 1000
        for use in (sender.send, sender.send_nowait):
            with pytest.raises(MessageTooLarge, match=r"has 1008 bytes, the peer takes at most 1000"):
                result = use(bytes(1000))
                if asyncio.iscoroutine(result):
                    await result
        await sender.send(bytes(990))
        assert nothing_is_left(connection, sender)


async def test_what_cannot_be_encoded_is_not_sent(connection: Connection) -> None:
    sender = await connection.sender("q")
    for body in (UNENCODABLE, [UNENCODABLE], Message("x", application_properties={"k": [1]})):
        with pytest.raises(EncodeError):
            await sender.send(body)
        with pytest.raises(EncodeError):
            sender.send_nowait(body)
    assert nothing_is_left(connection, sender)
    await sender.send(b"x")


# -- send_many -------------------------------------------------------------------------------------------------------


async def test_a_batch(broker: Broker) -> None:
    async with connect(broker.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")

        async def messages() -> AsyncIterator[int]:
            for n in range(10):
                await asyncio.sleep(0)
                yield n

        for batch in (range(10), [*range(10)], (n for n in range(10)), messages()):
            assert await sender.send_many(batch) == 10
        assert await sender.send_many([]) == 0
        async with connection.receiver("q") as receiver:
            received = [await receiver.receive() for _ in range(40)]
            assert [delivery.body for delivery in received] == [*range(10)] * 4
        assert nothing_is_left(connection, sender)


async def test_a_batch_reads_no_further_ahead_than_it_must(serve: Serve) -> None:
    server = await serve(lambda: Peer(credit=0))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        taken = 0

        def messages() -> Iterator[int]:
            nonlocal taken
            for n in range(10_000):
                taken = n
                yield n

        async def async_messages() -> AsyncIterator[int]:
            for n in messages():
                yield n

        for batch in (messages(), async_messages()):
            with pytest.raises(OperationTimeout, match=r"gave no credit for 0\.01 s"):
                await sender.send_many(batch, timeout=0.01)
            assert taken < 1001
        assert nothing_is_left(connection, sender)


#: What may be done to a range before it is sent: lists have a way of their own.
KINDS = pytest.mark.parametrize("kind", [iter, list, tuple])


@KINDS
async def test_a_long_batch_goes_on_as_credit_comes(serve: Serve, kind: Callable[[range], Any]) -> None:
    server = await serve(lambda: Peer(credit=50))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        assert await sender.send_many(kind(range(5000))) == 5000
        assert [delivery.body for delivery in server.peer.messages] == [*range(5000)]


@KINDS
@pytest.mark.parametrize("settled", [False, True])
async def test_a_long_batch_goes_on_as_the_window_opens(
    serve: Serve, settled: bool, kind: Callable[[range], Any]
) -> None:
    server = await serve(lambda: Peer(credit=100_000, begin={"incoming_window": 100}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        assert await sender.send_many(kind(range(5000)), settled=settled, timeout=2) == 5000
        await eventually(lambda: len(server.peer.messages) == 5000)


@KINDS
async def test_a_long_batch_goes_on_as_the_socket_takes_it(serve: Serve, kind: Callable[[Any], Any]) -> None:
    server = await serve(lambda: Peer(credit=100_000, begin={"incoming_window": 100_000}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        server.peer.freeze()
        messages = (bytes(10_000) for _ in range(5000))
        sending = asyncio.create_task(sender.send_many(kind(messages), settled=True, timeout=2))
        await eventually(lambda: connection._engine.paused)
        server.peer.thaw()
        assert await sending == 5000
        await eventually(lambda: len(server.peer.messages) == 5000)


async def test_large_messages_of_a_list_are_encoded_once(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    monkeypatch.setattr(
        "uamqp.aio.sender.encode_message", lambda message: (encoded.append(message), encode_message(message))[1]
    )
    async with connect(broker.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        await eventually(lambda: sender.credit >= 20)
        bodies = [bytes([n]) * 200_000 for n in range(20)]
        assert await sender.send_many(bodies) == 20
        assert encoded == bodies
        async with connection.receiver("q") as receiver:
            assert [(await receiver.receive()).body for _ in bodies] == bodies


async def test_nothing_of_a_list_is_encoded_in_vain(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large and small messages, and those that the peer does not take, follow each other."""
    encoded = 0

    def counted(message: Any) -> bytes:
        nonlocal encoded
        encoded += 1
        return encode_message(message)

    monkeypatch.setattr("uamqp.aio.sender.encode_message", counted)
    server = await serve(lambda: Peer(credit=5000, settings={"max_frame_size": 512}, attach={"max_message_size": 900}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q", settle_mode="unsettled")
        await eventually(lambda: sender.credit == 5000)
        assert await sender.send_many([b"small", bytes(800)] * 500) == 1000
        assert encoded == 1000
        with pytest.raises(BatchFailed, match="500 of 1000"):
            await sender.send_many([b"small", bytes(1000)] * 500)
        assert encoded == 2000
        with pytest.raises(BatchFailed, match="1000 of 1000"):
            await sender.send_many([b"small"] * 1000, settled=True)
        assert encoded == 3000


async def test_a_format_of_its_own_in_a_list(serve: Serve) -> None:
    server = await serve(Peer)
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        await eventually(lambda: sender.credit > 3)
        assert await sender.send_many([b"0", Message(b"7", message_format=7), b"0"]) == 3
        assert [delivery.message_format for delivery in server.peer.messages] == [0, 7, 0]


async def test_a_batch_with_progress_has_no_time_out(serve: Serve) -> None:
    class Slow(Peer):
        def on_message(self, delivery: Any) -> None:
            self.driver.loop.call_later(0.03 * len(self.messages), delivery.accept)

    server = await serve(Slow)
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        # Outcomes at intervals below the time-out, which together take longer.
        assert await sender.send_many(range(17), timeout=0.4) == 17


@KINDS
async def test_what_failed_in_a_batch(serve: Serve, kind: Callable[[Any], Any]) -> None:
    class Picky(Peer):
        def on_message(self, delivery: Any) -> None:
            if delivery.body == "bad":
                delivery.reject("x:bad", "no")
            else:
                delivery.accept()

    server = await serve(lambda: Picky(attach={"max_message_size": 100}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        damaged = Message.decode(b"\x00\x53\x75\xa0\xff")
        damaged.properties = Properties(subject="new")
        batch = ["good", "bad", UNENCODABLE, bytes(200), damaged, "good"]
        with pytest.raises(
            BatchFailed, match="4 of 6 messages failed; the first is number 1: Rejected: x:bad"
        ) as caught:
            await sender.send_many(kind(batch))
        failures = caught.value.failures
        assert {place: type(error) for place, error in failures.items()} == {
            1: RejectedError,
            2: EncodeError,
            3: MessageTooLarge,
            4: DecodeError,
        }
        assert caught.value.__cause__ is failures[1]
        assert [delivery.body for delivery in server.peer.messages] == ["good", "bad", "good"]
        assert nothing_is_left(connection, sender)


@pytest.mark.parametrize("kind", ["iterable", "list", "async"])
async def test_a_batch_whose_link_ends(serve: Serve, kind: str) -> None:
    """It says of each message what became of it, and takes no more of them."""

    class Leaving(Peer):
        def on_message(self, delivery: Any) -> None:
            if delivery.body == 0:
                delivery.accept()
            elif len(self.messages) == 3:
                delivery.link.detach(error=Error(Symbol("amqp:link:detach-forced"), "go away"))

    server = await serve(lambda: Leaving(credit=3))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")

        async def messages() -> AsyncIterator[int]:
            for n in range(3000):
                yield n

        with pytest.raises(BatchFailed) as caught:
            await sender.send_many(messages() if kind == "async" else [*range(3000)] if kind == "list" else range(3000))
        fates = {place: type(error) for place, error in caught.value.failures.items()}
        assert fates.pop(1) is fates.pop(2) is InDoubt
        # All that were taken, and the first that was not.
        assert set(fates) == {*range(3, 3 + len(fates))}
        assert len(fates) <= 1002
        assert set(fates.values()) == {NotSent}
        assert all(error.condition == "amqp:link:detach-forced" for error in caught.value.failures.values())
        with pytest.raises(BatchFailed, match="1 of 1 messages failed") as caught:
            await sender.send_many([b"x"])
        assert isinstance(caught.value.failures[0].__cause__, LinkDetached)


@pytest.mark.parametrize("kind", ["iterable", "async iterable"])
async def test_a_batch_whose_iterable_fails(serve: Serve, kind: str) -> None:
    server = await serve(lambda: Peer(credit=1))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        await eventually(lambda: sender.credit == 1)

        def messages() -> Iterator[int]:
            yield from range(3)
            raise ZeroDivisionError

        async def async_messages() -> AsyncIterator[int]:
            for n in messages():
                yield n

        with pytest.raises(ZeroDivisionError):
            await sender.send_many(messages() if kind == "iterable" else async_messages())
        # What was sent was sent; the others were taken back.
        await eventually(lambda: nothing_is_left(connection, sender))
        assert [delivery.body for delivery in server.peer.messages] == [0]


async def test_what_is_no_iterable(connection: Connection) -> None:
    sender = await connection.sender("q")
    with pytest.raises(TypeError):
        await sender.send_many(7)  # type: ignore[arg-type]


async def test_several_batches_and_sends_at_once(broker: Broker) -> None:
    async with connect(broker.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        await asyncio.gather(
            sender.send_many(range(1500)),
            sender.send_many([*range(1500)], settled=True),
            *(sender.send(n) for n in range(100)),
            sender.send_many(range(1500)),
        )
        assert len(broker.queue("q")) == 4600
        assert nothing_is_left(connection, sender)


async def test_round_trip_after_everything(connection: Connection) -> None:
    sender = await connection.sender("q")
    with pytest.raises(BatchFailed):
        await sender.send_many([UNENCODABLE])
    await sender.send(b"x")


@pytest.mark.parametrize("body", ["abc", b"abc", bytearray(b"abc"), memoryview(b"abc")])
async def test_one_body_is_not_several_messages(connection: Connection, body: Any) -> None:
    sender = await connection.sender("queue")
    with pytest.raises(TypeError, match="see send"):
        await sender.send_many(body)


async def test_a_time_out_below_nothing_is_refused_before_anything_is_sent(
    broker: Broker, connection: Connection
) -> None:
    sender = await connection.sender("queue")
    with pytest.raises(ValueError, match=r"timeout must be 0 seconds or more, not -5"):
        await sender.send("message", timeout=-5)
    assert nothing_is_left(connection, sender)
