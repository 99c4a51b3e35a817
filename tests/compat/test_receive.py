"""Receiving with `ReceiveClientAsync`."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

import uamqp.aio as amqp
from tests.aio.peers import BOUND, Peer, eventually, peer_server
from uamqp import Message, ReceiveClient, errors, exceptions
from uamqp.address import Source
from uamqp.async_ops import AsyncMessageIter, ConnectionAsync, ReceiveClientAsync
from uamqp.broker import Broker
from uamqp.codec.definitions import Accepted, Error, Modified, Rejected, Released
from uamqp.codec.message import encode_message
from uamqp.codec.values import Described, Symbol
from uamqp.constants import ErrorCodes, MessageState, ReceiverSettleMode, SenderSettleMode

from .helpers import RECEIVERS, begin, bodies, call, in_thread, put

#: Milliseconds without a message after which an iteration ends: long enough for one that is on its way.
PATIENCE = 500


@pytest.fixture
async def full(broker: Broker) -> AsyncIterator[Broker]:
    """A broker with the messages 0 to 4 in its queue."""
    await put(broker, "queue", *(f"{n}".encode() for n in range(5)))
    yield broker


def texts(messages: list[Message]) -> list[str]:
    return [str(message) for message in messages]


# --- batches ----------------------------------------------------------------------------------------------------


async def test_batch(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue") as client:
        first = await client.receive_message_batch_async(2)
        assert texts(first) == ["0", "1"]
        assert texts(await client.receive_message_batch_async(max_batch_size=2, timeout=10_000)) == ["2", "3"]
        # They are accepted already; to settle them again changes nothing.
        assert [m.settled for m in first] == [True, True]
        assert [m.accept() for m in first] == [False, False]
        assert first[0].reject() is False
        assert first[0].state is MessageState.ReceivedSettled
    assert await bodies(full, "queue") == [b"4"]


class Watching(ReceiveClientAsync):
    """Has a say in what becomes of each message."""

    def _message_received(self, message: Message) -> Any:
        message.annotations = {"seen": True}
        return super()._message_received(message)


async def test_a_subclass_sees_each_message(full: Broker) -> None:
    async with Watching(f"{full.url}/queue", auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async(1)
        assert message.annotations == {"seen": True}
        message.accept()
        async for message in client.receive_messages_iter_async():
            assert message.annotations == {"seen": True}
            message.accept()
            if str(message) == "4":
                break
    assert await bodies(full, "queue") == []


async def test_batch_of_all_there_is(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue") as client:
        messages: list[Message] = []
        while len(messages) < 5:
            messages += await client.receive_message_batch_async()
        assert texts(messages) == ["0", "1", "2", "3", "4"]
        assert [message.delivery_no for message in messages] == [0, 1, 2, 3, 4]
        assert len({message.delivery_tag for message in messages}) == 5


async def test_batch_of_nothing(broker: Broker) -> None:
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        assert await client.receive_message_batch_async(timeout=20) == []
        # Third place, as in uamqp 1.6.11, and second as on the page.
        assert await client.receive_message_batch_async(5, None, 20) == []
        assert await client.receive_message_batch_async(5, 20) == []
    async with ReceiveClientAsync(f"{broker.url}/queue", timeout=20) as client:
        assert await client.receive_message_batch_async() == []
        assert not client._shutdown


async def test_batch_waits_for_the_first(broker: Broker) -> None:
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        waiting = asyncio.create_task(client.receive_message_batch_async(5))
        await eventually(lambda: client.message_handler and client.message_handler._modern)
        assert not waiting.done()
        await put(broker, "queue", b"message")
        assert texts(await waiting) == ["message"]


async def test_batch_with_a_function(full: Broker) -> None:
    seen: list[Message] = []
    async with ReceiveClientAsync(f"{full.url}/queue") as client:
        first = await client.receive_message_batch_async(2, seen.append, 10_000)
        second = await client.receive_message_batch_async(2, seen.append, timeout=10_000)
        third = await client.receive_message_batch_async(1, 10_000, on_message_received=seen.append)
    assert seen == first + second + third
    assert texts(seen) == ["0", "1", "2", "3", "4"]


class Interrupted(ReceiveClientAsync):
    """Something happens once some messages were taken, and before it is known whether there are more."""

    happens: BaseException | None = None
    _waits = 0

    async def _ready(self, *arguments: Any) -> Any:
        self._waits += 1
        if self._waits == 2 and self.happens is not None:
            raise self.happens
        return await super()._ready(*arguments)


@pytest.mark.parametrize("function", [None, lambda message: None])
async def test_what_was_accepted_is_given_out_where_the_link_ends(full: Broker, function: Any) -> None:
    async with Interrupted(f"{full.url}/queue", prefetch=8) as client:
        await client.client_ready_async()
        await eventually(lambda: client.message_handler._modern.queued == 5)
        client._received_messages.put(Message.decode_from_bytes(Message("before").encode_message()))
        client.happens = errors.LinkDetach(ErrorCodes.InternalServerError)
        batch = await client.receive_message_batch_async(7, on_message_received=function)
        assert texts(batch) == ["before", *"01234"]


async def test_what_was_accepted_is_given_out_after_a_call_that_was_cancelled(full: Broker) -> None:
    async with Interrupted(f"{full.url}/queue", prefetch=8) as client:
        await client.client_ready_async()
        await eventually(lambda: client.message_handler._modern.queued == 5)
        client._received_messages.put(Message.decode_from_bytes(Message("before").encode_message()))
        client.happens = asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await client.receive_message_batch_async(7)
        assert texts(await client.receive_message_batch_async(6)) == ["before", *"01234"]


async def test_nothing_else_receives_beside_receive_messages(broker: Broker) -> None:
    """It would take messages away from the function, or the function from it."""
    seen: list[str] = []
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        running = asyncio.create_task(client.receive_messages_async(lambda message: seen.append(str(message))))
        await put(broker, "queue", b"0")
        await eventually(lambda: seen == ["0"])
        with pytest.raises(RuntimeError, match="receive_messages is running"):
            await client.receive_message_batch_async(2)
        with pytest.raises(RuntimeError, match="receive_messages is running"):
            await client.receive_messages_async(seen.append)
        with pytest.raises(RuntimeError, match="receive_messages is running"):
            client.receive_messages_iter_async()
        await put(broker, "queue", b"1")
        await eventually(lambda: seen == ["0", "1"])
        running.cancel()


async def test_an_iteration_that_was_left_takes_nothing_from_the_next(broker: Broker) -> None:
    await put(broker, "queue", *(b"%d" % n for n in range(12)))
    client = ReceiveClientAsync(f"{broker.url}/queue", timeout=PATIENCE, shutdown_after_timeout=False)
    async with client:
        for _ in range(2):
            count = 0
            async for _message in client.receive_messages_iter_async():
                count += 1
                if count == 4:
                    break
        batch = await client.receive_message_batch_async(4)
        assert all(message.settled for message in batch)
        assert client.auto_complete
    # The two that were given out last, when the loops were left.
    await eventually(lambda: broker.queue("queue").length == 2)


@pytest.mark.parametrize(
    "reject",
    [
        lambda m: m.reject(b"app:failed", description=b"x" * 100_000),
        lambda m: m.reject("\u00e9"),
        lambda m: m.reject(b"app:failed", info={"k": object()}),
        lambda m: m.modify(True, True, {"k": object()}),
    ],
)
async def test_what_cannot_be_said_of_a_message_leaves_it_to_be_settled(full: Broker, reject: Any) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async(1)
        with pytest.raises(ValueError):
            reject(message)
        assert not message.settled and message.state is MessageState.ReceivedUnsettled
        assert message.accept()
    await eventually(lambda: full.queue("queue").length == 4)


async def test_a_function_that_cannot_settle_gives_the_message_back(full: Broker) -> None:
    full.queue("queue").max_deliveries = 1
    seen: list[Message] = []

    def function(message: Message) -> None:
        seen.append(message)
        message.reject(b"app:failed", description=b"x" * 100_000)

    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False, prefetch=1) as client:
        receiving = asyncio.create_task(client.receive_messages_async(function))
        # As a failed delivery, and so for the last time.
        await eventually(lambda: full.queue("queue").length == 0)
        assert len(seen) == 5
        receiving.cancel()


async def test_batch_over_the_prefetch(broker: Broker) -> None:
    client = ReceiveClientAsync(f"{broker.url}/queue", prefetch=5)
    with pytest.raises(ValueError, match="6 cannot be greater than the link prefetch 5"):
        await client.receive_message_batch_async(6)
    assert broker.connections == 0


async def test_leftovers_come_first(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue") as client:
        # One round of work takes all that arrived.
        while client._received_messages.qsize() < 5:
            assert await client.do_work_async(batch=3) is True
        assert texts(await client.receive_message_batch_async(3)) == ["0", "1", "2"]
        assert texts(await client.receive_message_batch_async(3)) == ["3", "4"]
        assert client._received_messages.empty()


def test_a_prefetch_of_zero_stands_for_300() -> None:
    for prefetch in (0, None):
        assert ReceiveClientAsync("amqp://localhost/queue", prefetch=prefetch)._prefetch == 300


async def test_a_slow_application_stops_the_peer() -> None:
    async with peer_server() as server, ReceiveClientAsync(f"{server.url}/queue", prefetch=10) as client:
        await client.client_ready_async()
        sender = server.peer.sender
        await eventually(lambda: sender.credit == 10)
        for n in range(10):
            sender.send(encode_message(f"{n}"))
        await eventually(lambda: client.message_handler._modern.queued == 10)
        assert sender.credit == 0
        await client.receive_message_batch_async(5)
        await eventually(lambda: sender.credit == 5)


# --- settling ---------------------------------------------------------------------------------------------------


async def test_without_auto_complete(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async(1)
        assert message.state is MessageState.ReceivedUnsettled
        assert message.settled is False
        assert message.accept() is True
        assert message.state is MessageState.ReceivedSettled
        assert message.settled is True
        assert message.accept() is False
        await client.receive_message_batch_async(2)
    # Those that were not settled go back.
    assert await bodies(full, "queue") == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    ("settle", "outcome"),
    [
        (lambda m: m.accept(), Accepted()),
        (lambda m: m.release(), Released()),
        (lambda m: m.reject(), Rejected(Error(Symbol("amqp:internal-error")))),
        (
            lambda m: m.reject(condition="com.example:x", description=b"words", info={"key": "value"}),
            Rejected(Error(Symbol("com.example:x"), "words", {Symbol("key"): "value"})),
        ),
        (lambda m: m.modify(True, False), Modified(True)),
        # The second argument has its meaning, not its name.
        (lambda m: m.modify(failed=False, deliverable=True), Modified(None, True)),
        (lambda m: m.modify(False, False, {b"x-opt-a": 1}), Modified(None, None, {Symbol("x-opt-a"): 1})),
    ],
)
async def test_outcomes(settle: Any, outcome: Any) -> None:
    async with peer_server() as server, ReceiveClientAsync(f"{server.url}/queue", auto_complete=False) as client:
        await client.client_ready_async()
        server.peer.sender.send(encode_message("message"))
        (message,) = await client.receive_message_batch_async(1)
        assert settle(message) is True
        await eventually(lambda: server.peer.settled)
        assert server.peer.settled[0].state == outcome


async def test_settling_needs_a_received_message_and_dicts(full: Broker) -> None:
    with pytest.raises(TypeError, match="Only received messages"):
        Message("message").accept()
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async(1)
        with pytest.raises(TypeError, match="must be a dictionary"):
            message.reject(info="info")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be a dictionary"):
            message.modify(True, True, annotations="text")  # type: ignore[arg-type]
        assert message.settled is False


async def test_settling_after_the_end_of_the_link(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        first, second = await client.receive_message_batch_async(2)
    with pytest.raises(RuntimeError, match=r"Unable to send message disposition.*may be delivered again"):
        first.accept()
    # As in uamqp 1.6.11: nothing more can be said about it, but its state is what it was.
    assert first.settled is True
    assert first.state is MessageState.ReceivedUnsettled
    with pytest.raises(RuntimeError):
        await asyncio.get_running_loop().run_in_executor(None, second.accept)


async def test_settling_in_other_threads(broker: Broker) -> None:
    count = 200
    await put(broker, "queue", *(b"%d" % n for n in range(count)))
    loop = asyncio.get_running_loop()
    async with ReceiveClientAsync(f"{broker.url}/queue", auto_complete=False) as client:
        messages: list[Message] = []
        while len(messages) < count:
            messages += await client.receive_message_batch_async(count - len(messages))
        main = threading.get_ident()
        threads = set()

        def settle(message: Message) -> bool:
            threads.add(threading.get_ident())
            return message.accept()

        assert await asyncio.gather(*(loop.run_in_executor(None, settle, m) for m in messages)) == [True] * count
        assert main not in threads
        assert [m.accept() for m in messages] == [False] * count
    assert await bodies(broker, "queue") == []


async def test_settling_in_another_thread_too_late(full: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        (message,) = await client.receive_message_batch_async(1)
        thread = threading.Thread(target=message.accept)
        thread.start()
        thread.join()
        # The word of the thread waits for its turn while the link ends.
        client.message_handler._modern._endpoint.ended(None)
        await eventually(lambda: "Unable to send message disposition" in caplog.text)


async def test_receive_and_delete(full: Broker) -> None:
    mode = ReceiverSettleMode.ReceiveAndDelete
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False, receive_settle_mode=mode) as client:
        (message,) = await client.receive_message_batch_async(1)
        assert message.state is MessageState.ReceivedSettled
        assert message.settled is True
        assert message.accept() is False
        assert message.release() is False


@pytest.mark.parametrize("way", ["batch", "iterator", "function"])
async def test_what_came_settled_is_ours_though_the_link_has_ended(full: Broker, way: str) -> None:
    mode = ReceiverSettleMode.ReceiveAndDelete
    client = ReceiveClientAsync(f"{full.url}/queue", receive_settle_mode=mode, prefetch=5)
    await client.client_ready_async()
    await eventually(lambda: client.message_handler._modern.queued == 5)
    full.drop_connections()
    await eventually(lambda: client.message_handler._modern.error is not None)
    found: list[Message] = []
    with pytest.raises(errors.AMQPConnectionError):
        if way == "batch":
            while True:
                found += await client.receive_message_batch_async(2)
        elif way == "iterator":
            async for message in client.receive_messages_iter_async():
                found.append(message)
        else:
            await client.receive_messages_async(found.append)
    assert texts(found) == list("01234")
    await client.close_async()


async def test_receive_and_delete_from_a_peer_that_waits_for_outcomes() -> None:
    async with peer_server() as server:
        client = ReceiveClientAsync(
            f"{server.url}/queue",
            receive_settle_mode=ReceiverSettleMode.ReceiveAndDelete,
            send_settle_mode=SenderSettleMode.Unsettled,
        )
        await client.client_ready_async()
        server.peer.sender.send(encode_message("message"))
        (message,) = await client.receive_message_batch_async(1)
        assert message.settled is True
        await eventually(lambda: server.peer.settled)
        assert server.peer.settled[0].state == Accepted()
        await client.close_async()


# --- the iterator -----------------------------------------------------------------------------------------------


async def test_iterator_accepts_the_one_before(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue") as client:
        iterator = client.receive_messages_iter_async()
        assert isinstance(iterator, AsyncMessageIter)
        assert aiter(iterator) is iterator
        first = await anext(iterator)
        assert iterator.current_message is first
        assert first.settled is False
        second = await anext(iterator)
        assert first.settled is True
        assert second.reject() is True
        third = await anext(iterator)
        assert third.settled is False
        assert client.auto_complete is False
    # The last one was left as it was.
    assert await bodies(full, "queue") == [b"2", b"3", b"4"]


async def test_iterator_without_auto_complete(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        iterator = client.receive_messages_iter_async()
        messages = [await anext(iterator) for _ in range(2)]
        assert [message.settled for message in messages] == [False, False]


async def test_iterator_ends_after_the_timeout_and_closes(full: Broker) -> None:
    client = ReceiveClientAsync(f"{full.url}/queue", timeout=PATIENCE)
    seen = [str(message) async for message in client.receive_messages_iter_async()]
    assert seen == ["0", "1", "2", "3", "4"]
    assert client._shutdown
    await eventually(lambda: full.connections == 0)
    assert await bodies(full, "queue") == []


async def test_iterator_may_go_on_after_the_timeout(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", timeout=PATIENCE, shutdown_after_timeout=False) as client:
        iterator = client.receive_messages_iter_async()
        assert len([message async for message in iterator]) == 5
        assert full.connections == 1
        await put(full, "queue", b"later")
        assert [str(message) async for message in iterator] == ["later"]


async def test_leaving_the_loop_and_coming_back(full: Broker) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", timeout=PATIENCE) as client:
        iterator = client.receive_messages_iter_async()
        seen: list[str] = []
        async for message in iterator:
            seen.append(str(message))
            if len(seen) == 2:
                break
        seen += [str(message) async for message in iterator]
    assert seen == ["0", "1", "2", "3", "4"]


async def test_iterator_calls_a_function(full: Broker) -> None:
    seen: list[Message] = []
    async with ReceiveClientAsync(f"{full.url}/queue") as client:
        iterator = client.receive_messages_iter_async(seen.append)
        assert await anext(iterator) is seen[0]


async def test_closing_ends_an_iteration(broker: Broker) -> None:
    client = ReceiveClientAsync(f"{broker.url}/queue")
    await client.open_async()

    async def iterate() -> list[Message]:
        return [message async for message in client.receive_messages_iter_async()]

    iterating = asyncio.create_task(iterate())
    batch = asyncio.create_task(client.receive_message_batch_async())
    await eventually(lambda: client.message_handler and client.message_handler._modern)
    await client.close_async()
    assert await iterating == []
    assert await batch == []
    # It stays closed.
    assert [message async for message in client.receive_messages_iter_async()] == []
    assert broker.connections == 0


@pytest.mark.parametrize("turns", range(25))
async def test_closing_at_any_time(full: Broker, turns: int) -> None:
    """Wherever the others are just then: they end, and nothing is opened again."""
    client = ReceiveClientAsync(f"{full.url}/queue")

    async def iterate() -> None:
        async for _ in client.receive_messages_iter_async():
            pass

    async def batch() -> None:
        while await client.receive_message_batch_async():
            pass

    tasks = [asyncio.create_task(work()) for work in (iterate, batch, client.client_ready_async, iterate)]
    for _ in range(turns):
        await asyncio.sleep(0)
    await client.open_async()
    await client.close_async()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if result is not None and result is not True:
            assert isinstance(result, errors.AMQPConnectionError), result
            assert "closed" in str(result)
    assert client._connection is None
    await eventually(lambda: full.connections == 0)


async def test_cancelling_an_iteration(full: Broker) -> None:
    seen: list[Message] = []

    async def iterate() -> None:
        async with ReceiveClientAsync(f"{full.url}/queue") as client:
            async for message in client.receive_messages_iter_async():
                seen.append(message)

    iterating = asyncio.create_task(iterate())
    await eventually(lambda: len(seen) == 5)
    iterating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await iterating
    assert full.connections == 0
    # It waited for a sixth, so the fifth was accepted.
    assert await bodies(full, "queue") == []


# --- functions that are handed the messages ---------------------------------------------------------------------


async def test_function(full: Broker) -> None:
    client = ReceiveClientAsync(f"{full.url}/queue", timeout=PATIENCE)
    seen: list[Message] = []
    await client.receive_messages_async(seen.append)
    assert texts(seen) == ["0", "1", "2", "3", "4"]
    assert all(message.settled for message in seen)
    assert client._received_messages.empty()
    assert client._shutdown
    assert await bodies(full, "queue") == []


async def test_coroutine_function(full: Broker) -> None:
    seen: list[Message] = []

    async def on_message(message: Message) -> None:
        await asyncio.sleep(0)
        assert message.settled is False
        seen.append(message)

    async with ReceiveClientAsync(f"{full.url}/queue", timeout=PATIENCE, shutdown_after_timeout=False) as client:
        await client.receive_messages_async(on_message)
        assert texts(seen) == ["0", "1", "2", "3", "4"]
        assert all(message.settled for message in seen)
        assert not client._shutdown
        assert client._streaming_receive is False


async def test_function_that_settles(full: Broker) -> None:
    client = ReceiveClientAsync(f"{full.url}/queue", timeout=PATIENCE)
    await client.receive_messages_async(lambda message: message.reject())
    assert await bodies(full, "queue") == []


async def test_function_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async with peer_server() as server:
        client = ReceiveClientAsync(f"{server.url}/queue")
        await client.client_ready_async()
        for n in range(2):
            server.peer.sender.send(encode_message(f"{n}"))
        seen: list[Message] = []

        def on_message(message: Message) -> None:
            seen.append(message)
            if len(seen) == 1:
                raise ValueError("cannot be processed")

        receiving = asyncio.create_task(client.receive_messages_async(on_message))
        await eventually(lambda: len(server.peer.settled) == 2)
        assert [d.state for d in server.peer.settled] == [Modified(True, True), Accepted()]
        assert "cannot be processed" in caplog.text
        await client.close_async()
        await receiving


@pytest.mark.parametrize("coroutine", [False, True])
async def test_function_that_is_interrupted(full: Broker, coroutine: bool) -> None:
    client = ReceiveClientAsync(f"{full.url}/queue")

    def on_message(message: Message) -> None:
        raise KeyboardInterrupt

    async def on_message_async(message: Message) -> None:
        raise KeyboardInterrupt

    with pytest.raises(errors.AMQPClientShutdown):
        await client.receive_messages_async(on_message_async if coroutine else on_message)
    await client.close_async()


@RECEIVERS
async def test_function_that_closes_its_client_gets_the_message_again_once(
    kind: type[ReceiveClientAsync], broker: Broker
) -> None:
    await put(broker, "queue", b"x")
    client = kind(f"{broker.url}/queue", auto_complete=False)

    async def close_async(message: Message) -> None:
        await client.close_async()

    def close(message: Message) -> None:
        client.close()  # type: ignore[attr-defined]

    with contextlib.suppress(errors.AMQPConnectionError):
        options = {"on_message_received": close if kind is ReceiveClient else close_async}
        assert await call(client, "receive_message_batch", **options) == []
    await call(client, "open")
    assert texts(await call(client, "receive_message_batch")) == ["x"]
    assert client._received_messages.empty()
    await call(client, "close")


async def test_function_that_outlives_the_link(caplog: pytest.LogCaptureFixture) -> None:
    async with peer_server() as server:
        client = ReceiveClientAsync(f"{server.url}/queue")
        await client.client_ready_async()
        server.peer.sender.send(encode_message("message"))

        async def on_message(message: Message) -> None:
            server.peer.sender.detach()
            await eventually(lambda: client.message_handler._modern.error)

        with pytest.raises(errors.LinkDetach):
            await client.receive_messages_async(on_message)
        assert "Unable to send message disposition" in caplog.text
        # The function did nothing wrong.
        assert "failed" not in caplog.text


@pytest.mark.parametrize("how", ["detach", "cut"])
async def test_a_loop_that_outlives_the_link(how: str) -> None:
    async with peer_server() as server:
        client = ReceiveClientAsync(f"{server.url}/queue")
        await client.client_ready_async()
        server.peer.sender.send(encode_message("message"))
        with pytest.raises(errors.LinkDetach if how == "detach" else errors.ConnectionClose):
            async for _ in client.receive_messages_iter_async():
                if how == "detach":
                    server.peer.sender.detach()
                else:
                    server.peer.cut()
                await eventually(lambda: client.message_handler._modern.error)
        await client.close_async()


async def test_a_function_that_closes_its_client(caplog: pytest.LogCaptureFixture) -> None:
    async with peer_server() as server:
        client = ReceiveClientAsync(f"{server.url}/queue")
        await client.client_ready_async()
        server.peer.sender.send(encode_message("message"))
        await client.receive_messages_async(lambda message: client.close_async())
        await eventually(lambda: server.peer.detached)
        # Nothing was said of it.
        assert [delivery.state for delivery in server.peer.settled] == [None]
    assert "The message may be delivered again" in caplog.text
    assert "failed" not in caplog.text


@pytest.mark.parametrize("annotations", [{"a": object()}, {"a": "x" * 100_000}], ids=["no value", "too large"])
async def test_what_cannot_be_said_of_a_message_is_told_in_any_thread(full: Broker, annotations: Any) -> None:
    async with ReceiveClientAsync(f"{full.url}/queue", auto_complete=False) as client:
        message, *_ = await client.receive_message_batch_async()
        for call in (partial(message.modify, True, False, annotations), partial(message.reject, info=annotations)):
            with pytest.raises(exceptions.EncodeError):
                await asyncio.to_thread(call)
            with pytest.raises(exceptions.EncodeError):
                call()
        assert not message.settled
        assert await asyncio.to_thread(message.modify, True, False, {"a": 1})
        assert message.settled


async def test_function_that_fails_after_the_link(caplog: pytest.LogCaptureFixture) -> None:
    async with peer_server() as server:
        client = ReceiveClientAsync(f"{server.url}/queue")
        await client.client_ready_async()
        server.peer.sender.send(encode_message("message"))

        async def on_message(message: Message) -> None:
            server.peer.sender.detach()
            await eventually(lambda: client.message_handler._modern.error)
            raise ValueError("cannot be processed")

        with pytest.raises(errors.LinkDetach):
            await client.receive_messages_async(on_message)
        assert "cannot be processed" in caplog.text
        assert "Unable to send message disposition" in caplog.text


async def test_what_deals_with_messages_may_be_replaced(full: Broker) -> None:
    """azure-servicebus does so before it opens the client."""
    client = ReceiveClientAsync(f"{full.url}/queue", auto_complete=False)
    seen: list[Any] = []
    client._message_received = partial(lambda tag, message: seen.append((tag, str(message))), "tag")  # type: ignore[method-assign, assignment]
    await client.open_async()
    while len(seen) < 5:
        await client.do_work_async()
    await client.close_async()
    assert seen == [("tag", str(n)) for n in range(5)]


# --- termini, filters, errors -----------------------------------------------------------------------------------


async def test_terms_of_the_link() -> None:
    async with peer_server() as server:
        source = Source(f"{server.url}/queue")
        source.set_filter("colour = 'green'")
        client = ReceiveClientAsync(
            source,
            client_name="client",
            max_message_size=1000,
            link_properties={b"link": "property"},
            desired_capabilities="one",
        )
        await client.client_ready_async()
        attached = server.peer.sender.remote_attach
        assert attached is not None
        assert attached.name.startswith("receiver-link-")
        assert attached.source.address == "amqp://127.0.0.1/queue"
        name = "apache.org:selector-filter:string"
        assert attached.source.filter == {name: Described(Symbol(name), "colour = 'green'")}
        assert attached.target.address == "client"
        assert attached.max_message_size == 1000
        assert attached.properties == {"link": "property"}
        assert attached.desired_capabilities == ("one",)
        assert (attached.snd_settle_mode, attached.rcv_settle_mode) == (0, 0)
        await client.close_async()


async def test_a_filter_without_descriptor() -> None:
    async with peer_server() as server:
        source = Source(f"{server.url}/queue")
        source.set_filter(None, name=b"com.microsoft:session-filter", descriptor=None)
        async with ReceiveClientAsync(source) as client:
            await client.client_ready_async()
            attached = server.peer.sender.remote_attach
            assert attached is not None
            assert attached.source.filter == {"com.microsoft:session-filter": None}


async def test_on_attach() -> None:
    told: list[Any] = []
    properties = {"locked-until": 5, "text": "words"}
    async with peer_server(lambda: Peer(attach={"properties": properties})) as server:
        client = ReceiveClientAsync(f"{server.url}/queue", client_name="me", on_attach=lambda *args: told.append(args))
        await client.client_ready_async()
        await client.close_async()
    ((source, target, properties, error),) = told
    assert str(source) == "queue"
    assert str(target) == "me"
    assert properties == {b"locked-until": 5, b"text": b"words"}
    assert error is None


@RECEIVERS
async def test_on_attach_may_close_the_client(kind: type[ReceiveClientAsync], broker: Broker) -> None:
    def on_attach(*arguments: Any) -> None:
        if isinstance(client, ReceiveClient):
            client.close()
        else:
            closing.append(asyncio.ensure_future(client.close_async()))

    closing: list[asyncio.Future[None]] = []
    client = kind(f"{broker.url}/queue", on_attach=on_attach)
    # It ends: empty, or with the news that the client is closed.
    with contextlib.suppress(errors.AMQPConnectionError):
        assert await call(client, "receive_message_batch") == []
    for future in closing:
        await future
    assert client._session is None
    assert broker.connections == 0


@RECEIVERS
async def test_on_attach_that_fails(
    kind: type[ReceiveClientAsync], full: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    def on_attach(*arguments: Any) -> None:
        raise OSError("full")

    client = kind(f"{full.url}/queue", on_attach=on_attach)
    assert await call(client, "receive_message_batch")
    await call(client, "close")
    assert "on_attach failed" in caplog.text
    assert "full" in caplog.text


async def test_on_attach_of_a_refused_link(broker: Broker) -> None:
    told: list[Any] = []
    async with ReceiveClientAsync(f"{broker.url}/$unknown", on_attach=lambda *args: told.append(args)) as client:
        with pytest.raises(errors.LinkDetach, match=r"ErrorCodes\.NotFound"):
            await client.client_ready_async()
    ((source, target, properties, error),) = told
    assert (source, target, properties) == (None, None, None)
    assert isinstance(error, errors.AMQPConnectionError)


async def test_a_queue_that_is_deleted(broker: Broker) -> None:
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        receiving = asyncio.create_task(client.receive_message_batch_async())
        await eventually(lambda: client.message_handler and client.message_handler._modern)
        broker.delete("queue")
        with pytest.raises(errors.LinkDetach) as caught:
            await receiving
        assert caught.value.condition is ErrorCodes.ResourceDeleted
        for _ in range(2):
            with pytest.raises(errors.LinkDetach):
                await client.do_work_async()


async def test_a_connection_that_is_lost(broker: Broker) -> None:
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        iterating = asyncio.create_task(anext(client.receive_messages_iter_async()))
        await eventually(lambda: client.message_handler and client.message_handler._modern)
        broker.drop_connections()
        with pytest.raises(errors.AMQPConnectionError, match="Connection in an unexpected error state") as caught:
            await iterating
        assert isinstance(caught.value.__cause__, exceptions.ConnectionLost)


async def test_a_redirected_link() -> None:
    class Redirecting(Peer):
        def on_attach(self, link: Any) -> None:
            info = {Symbol("hostname"): "other", Symbol("port"): 5, Symbol("address"): "amqps://other/queue"}
            link.refuse(Error(Symbol("amqp:link:redirect"), "over there", info))

    async with peer_server(Redirecting) as server, ReceiveClientAsync(f"{server.url}/queue") as client:
        with pytest.raises(errors.LinkRedirect) as caught:
            await client.receive_message_batch_async()
        redirect = caught.value
        assert (redirect.hostname, redirect.port, redirect.address) == (b"other", 5, b"amqps://other/queue")
        assert redirect.network_host is None
        assert isinstance(redirect, exceptions.LinkRedirected)


async def test_redirect(full: Broker) -> None:
    async with Broker() as other:
        await put(other, "new", b"message")
        client = ReceiveClientAsync(f"{full.url}/queue")
        assert len(await client.receive_message_batch_async(1)) == 1
        nowhere = errors.LinkRedirect(ErrorCodes.LinkRedirect, b"somewhere else", {b"hostname": b"other"})
        with pytest.raises(ValueError, match=r"names no address: .*somewhere else"):
            await client.redirect_async(nowhere, None)  # type: ignore[arg-type]
        assert len(await client.receive_message_batch_async(1)) == 1
        redirect = errors.LinkRedirect(ErrorCodes.LinkRedirect, None, {b"address": f"{other.url}/new".encode()})
        await client.redirect_async(redirect, None)  # type: ignore[arg-type]
        assert texts(await client.receive_message_batch_async(1)) == ["message"]
        await client.close_async()


async def test_a_shared_connection(full: Broker) -> None:
    async with ConnectionAsync(full.url) as connection:
        clients = [ReceiveClientAsync(f"{full.url}/queue") for _ in range(2)]
        for client in clients:
            await client.open_async(connection=connection)
            assert client._ext_connection is True
            assert client._auth is connection.auth
        assert full.connections == 1
        assert len(await clients[0].receive_message_batch_async(1)) == 1
        for client in clients:
            await client.close_async()
        assert connection.modern.is_open
    await eventually(lambda: full.connections == 0)


async def test_text_arrives_as_bytes(broker: Broker) -> None:
    message = amqp.Message(
        amqp.Value({"text": "täxt", "list": ["a", Symbol("b")]}),
        properties=amqp.Properties(message_id="id", to="queue"),
        application_properties={"key": "value", "number": 5},
        annotations={"x-opt-text": "text"},
    )
    await put(broker, "queue", message)
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        (received,) = await client.receive_message_batch_async(1)
    assert received.get_data() == {b"text": "täxt".encode(), b"list": [b"a", b"b"]}
    assert received.properties.message_id == b"id"
    assert received.application_properties == {b"key": b"value", b"number": 5}
    assert received.annotations == received.message_annotations == {b"x-opt-text": b"text"}


# --- several who receive on one client, and calls that end ------------------------------------------------------


@RECEIVERS
async def test_work_ends_at_the_timeout(kind: type[ReceiveClientAsync], full: Broker) -> None:
    client = kind(f"{full.url}/queue", timeout=200)
    rounds = 0
    while await call(client, "do_work"):
        rounds += 1
        assert rounds < 100
    assert client._timeout_reached
    assert await call(client, "do_work") is False
    assert texts(await call(client, "receive_message_batch")) == list("01234")
    # Whoever receives waits anew.
    waiting = begin(client, "receive_message_batch")
    await put(full, "queue", b"late")
    assert texts(await waiting) == ["late"]
    assert await call(client, "do_work") is True
    await call(client, "close")


@RECEIVERS
async def test_work_goes_on_as_long_as_another_call_gets_messages(
    kind: type[ReceiveClientAsync], broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = kind(f"{broker.url}/queue", timeout=10_000, shutdown_after_timeout=True)
    now = 1e6
    monkeypatch.setattr(client._counter, "get_current_ms", lambda: now)
    if isinstance(client, ReceiveClient):
        generator = client.receive_messages_iter()
        following: Callable[[], Awaitable[Message]] = partial(in_thread, next, generator)
    else:
        following = client.receive_messages_iter_async().__anext__
    for n in range(3):
        waiting = asyncio.ensure_future(following())
        await put(broker, "queue", str(n).encode())
        async with asyncio.timeout(BOUND):
            assert str(await waiting) == str(n)
        now += 6_000
        assert await call(client, "do_work")
    now += 9_999
    assert await call(client, "do_work")
    now += 1
    assert await call(client, "do_work") is False
    if isinstance(client, ReceiveClient):
        await in_thread(generator.close)  # type: ignore[attr-defined]
    await call(client, "close")


@RECEIVERS
async def test_work_goes_on_after_the_timeout_where_the_client_is_to_stay(
    kind: type[ReceiveClientAsync], broker: Broker
) -> None:
    client = kind(f"{broker.url}/queue", timeout=60, shutdown_after_timeout=False)
    for _ in range(2):
        while not client._timeout_reached:
            assert await call(client, "do_work")
        # Whoever receives begins anew.
        client._receive_for(None)
        assert not client._timeout_reached
    await put(broker, "queue", b"late")
    assert texts(await call(client, "receive_message_batch")) == ["late"]
    await call(client, "close")


@RECEIVERS
@pytest.mark.parametrize("function", [None, lambda message: None])
async def test_what_the_work_of_one_has_accepted_is_for_another_who_waits(
    kind: type[ReceiveClientAsync], broker: Broker, function: Any
) -> None:
    client = kind(f"{broker.url}/queue")
    await call(client, "open")
    await call(client, "client_ready")
    for how in ("do_work", "batch", "iterate"):
        working = begin(client, "do_work")
        await eventually(lambda: client.message_handler._modern._changed._waiters)
        if how == "iterate":
            iterator = client.receive_messages_iter_async(function) if kind is ReceiveClientAsync else None
            waiting = (
                asyncio.ensure_future(anext(iterator))
                if iterator is not None
                else in_thread(next, client.receive_messages_iter(function))  # type: ignore[attr-defined]
            )
        else:
            arguments = (None, function) if kind is ReceiveClient else (None,)
            client._message_received_callback = function
            waiting = begin(client, "receive_message_batch", *arguments)
        await put(broker, "queue", how.encode())
        async with asyncio.timeout(BOUND):
            received = await waiting
            await working
        if how != "iterate":
            (received,) = received
        elif kind is ReceiveClientAsync:
            # Who asks for no other message says so.
            received.accept()
        assert str(received) == how
    await call(client, "close")
    assert await bodies(broker, "queue") == []


def test_what_was_received_can_be_looked_at() -> None:
    """As in a `queue.Queue`, of which programs look at the attribute, too."""
    received = ReceiveClientAsync("amqp://localhost/queue")._received_messages
    messages = [Message("first"), Message("second")]
    for message in messages:
        received.put(message)
    assert list(received.queue) == messages
    assert (received.qsize(), received.empty()) == (2, False)
    assert [received.get(), received.get_nowait()] == messages
    received.task_done()
    assert (received.qsize(), received.empty()) == (0, True)
    with pytest.raises(queue.Empty):
        received.get()


async def test_what_a_cancelled_call_had_is_for_another_who_waits(broker: Broker) -> None:
    async with ReceiveClientAsync(f"{broker.url}/queue") as client:
        await client.client_ready_async()
        waiting = asyncio.create_task(client.receive_message_batch_async())
        await eventually(lambda: client.message_handler._modern._changed._waiters)
        client._keep_again([Message("kept")])
        assert texts(await waiting) == ["kept"]


@RECEIVERS
async def test_what_is_said_of_accepting_after_a_loop_holds(kind: type[ReceiveClientAsync], full: Broker) -> None:
    client = kind(f"{full.url}/queue", shutdown_after_timeout=False)
    if isinstance(client, ReceiveClient):
        assert texts([await in_thread(next, client.receive_messages_iter())]) == ["0"]
    else:
        async for message in client.receive_messages_iter_async():
            assert str(message) == "0"
            break
    client.auto_complete = False
    batch = await call(client, "receive_message_batch", 2)
    assert [message.settled for message in batch] == [False, False]
    await call(client, "close")


@RECEIVERS
async def test_an_iteration_that_is_over_leaves_accepting_to_the_client(
    kind: type[ReceiveClientAsync], full: Broker
) -> None:
    client = kind(f"{full.url}/queue", timeout=100, shutdown_after_timeout=False)
    if isinstance(client, ReceiveClient):
        assert len(await in_thread(list, client.receive_messages_iter())) == 5
    else:
        messages = client.receive_messages_iter_async()
        assert len([message async for message in messages]) == 5
        # And what it left unaccepted is accepted when a batch gives it out.
        following = client.receive_messages_iter_async()
        await put(full, "queue", b"5")
        while client._received_messages.empty():
            await client.do_work_async()
        assert client.auto_complete is False
        (message,) = await client.receive_message_batch_async()
        assert message.settled
        del messages, following
    assert client.auto_complete is True
    await put(full, "queue", b"6")
    while client._received_messages.empty():
        await call(client, "do_work")
    await call(client, "close")
    assert await bodies(full, "queue") == []


@RECEIVERS
async def test_what_nobody_was_given_comes_again_once_after_closing(
    kind: type[ReceiveClientAsync], full: Broker
) -> None:
    client = kind(f"{full.url}/queue", auto_complete=False)
    while client._received_messages.qsize() < 5:
        await call(client, "do_work")
    await call(client, "close")
    await call(client, "open")
    batch: list[Message] = []
    while len(batch) < 5:
        batch += await call(client, "receive_message_batch")
    assert texts(batch) == list("01234")
    for message in batch:
        assert await in_thread(message.accept)
    await call(client, "close")
    assert await bodies(full, "queue") == []


@RECEIVERS
async def test_what_was_accepted_is_given_out_after_closing(kind: type[ReceiveClientAsync], full: Broker) -> None:
    client = kind(f"{full.url}/queue")
    while client._received_messages.qsize() < 5:
        await call(client, "do_work")
    await call(client, "close")
    assert await bodies(full, "queue") == []
    await call(client, "open")
    assert texts(await call(client, "receive_message_batch")) == list("01234")
    await call(client, "close")


async def test_a_message_whose_coroutine_function_is_cancelled_goes_back(broker: Broker) -> None:
    await put(broker, "queue", b"0")
    seen: list[str] = []
    async with ReceiveClientAsync(f"{broker.url}/queue", shutdown_after_timeout=False) as client:

        async def slow(message: Message) -> None:
            seen.append(str(message))
            await asyncio.Event().wait()

        receiving = asyncio.create_task(client.receive_messages_async(slow))
        await eventually(lambda: seen)
        receiving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await receiving
        # The client still has its link.
        assert texts(await client.receive_message_batch_async()) == ["0"]


@pytest.mark.parametrize("stays", [False, True])
async def test_an_iteration_that_fails_closes_the_client(stays: bool) -> None:
    async with peer_server(Peer) as server:
        client = ReceiveClientAsync(f"{server.url}/q", shutdown_after_timeout=not stays)
        waiting = asyncio.ensure_future(anext(client.receive_messages_iter_async()))
        await eventually(lambda: client.message_handler is not None and client.message_handler._is_attached)
        server.peer.links[0].fail("amqp:link:detach-forced", "gone")
        with pytest.raises(errors.LinkDetach, match="gone"):
            await waiting
        assert (client._connection is not None) is stays
        await client.close_async()


@RECEIVERS
async def test_what_is_no_function_and_no_number(kind: type[ReceiveClientAsync], broker: Broker) -> None:
    client = kind(f"{broker.url}/q")
    for nothing in (None, 5):
        with pytest.raises(TypeError, match="a function for the messages is needed"):
            await call(client, "receive_messages", nothing)
    with pytest.raises(ValueError, match="must be 1 or more, not -1"):
        await call(client, "receive_message_batch", -1)
    await call(client, "close")


async def test_a_loop_whose_client_is_closed_in_it_ends(full: Broker, caplog: pytest.LogCaptureFixture) -> None:
    client = ReceiveClientAsync(f"{full.url}/queue")
    count = 0
    async for _ in client.receive_messages_iter_async():
        count += 1
        await client.close_async()
    assert count == 1
    assert "disposition" in caplog.text
