"""Functions of the application that are told what became of a message, a link or a request."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.aio.peers import BOUND, eventually
from uamqp import Connection, Message, MessageSender, SendClient, Session
from uamqp.async_ops import AMQPClientAsync, ConnectionAsync, MessageSenderAsync, SendClientAsync, SessionAsync
from uamqp.broker import Broker
from uamqp.constants import MessageSendResult, MessageState

from .helpers import SENDERS, begin, call

OK = MessageState.SendComplete


def message_that_tells(function: Any) -> Message:
    message = Message("message")
    message.on_send_complete = function
    return message


# --- on_send_complete -------------------------------------------------------------------------------------------


@SENDERS
@pytest.mark.parametrize("how", ["send_message", "send_all_messages", "wait", "do_work"])
async def test_a_coroutine_function_is_awaited(kind: Any, how: str, broker: Broker) -> None:
    told: list[Any] = []

    async def tell(result: Any, error: Any) -> None:
        if kind is SendClientAsync:
            await asyncio.sleep(0)
        told.append((result, error))

    client = kind(f"{broker.url}/queue")
    message = message_that_tells(tell)
    if how == "send_message":
        await call(client, how, message)
    else:
        client.queue_message(message)
        await call(client, how)
        while client.messages_pending():
            await call(client, how)
    assert told == [(MessageSendResult.Ok, None)]
    await call(client, "close")


@SENDERS
async def test_nobody_returns_before_its_own_message_was_told(kind: Any, broker: Broker) -> None:
    """Whoever tells it: another call has taken that on itself, and its function takes its time."""
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    blocking = threading.Event()

    async def tell(result: Any, error: Any) -> None:
        begun.set()
        await go_on.wait()

    def tell_blocking(result: Any, error: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert blocking.wait(BOUND)

    client = kind(f"{broker.url}/queue")
    client.queue_message(message_that_tells(tell if kind is SendClientAsync else tell_blocking))
    calls = [begin(client, "send_all_messages", False) for _ in range(2)]
    await asyncio.wait_for(begun.wait(), BOUND)
    # Others go on meanwhile, those that wait for the same message do not.
    for _ in range(3):
        await call(client, "send_message", Message("another"))
    assert not any(each.done() for each in calls)
    blocking.set()
    go_on.set()
    async with asyncio.timeout(BOUND):
        assert await asyncio.gather(*calls) == [[OK], [OK]]
    await call(client, "close")


@SENDERS
async def test_the_client_is_closed_where_telling_is_cut_short(kind: Any, broker: Broker) -> None:
    class Exit(BaseException):
        pass

    def leave(result: Any, error: Any) -> None:
        raise Exit

    client = kind(f"{broker.url}/queue")
    client.queue_message(message_that_tells(leave))
    with pytest.raises(Exit):
        await call(client, "send_all_messages")
    assert not client.messages_pending()
    assert client._session is None


def test_a_program_may_take_a_lock_of_its_own(running: Broker) -> None:
    """The function waits for a lock that is held by a thread that sends."""
    lock, begun = threading.Lock(), threading.Event()

    def tell(result: Any, error: Any) -> None:
        begun.set()
        with lock:
            pass

    with SendClient(f"{running.url}/queue") as client, ThreadPoolExecutor(2) as others:
        with lock:
            sending = others.submit(client.send_message, message_that_tells(tell))
            assert begun.wait(BOUND)
            assert others.submit(client.send_message, Message("another")).result(BOUND) is None
            assert not sending.done()
        assert sending.result(BOUND) is None


def test_an_interrupt_leaves_the_connection_to_others(running: Broker) -> None:
    def interrupt(result: Any, error: Any) -> None:
        raise KeyboardInterrupt

    with Connection(running.url) as shared:
        first, second = SendClient(f"{running.url}/queue"), SendClient(f"{running.url}/queue")
        first.open(connection=shared)
        second.open(connection=shared)
        with pytest.raises(KeyboardInterrupt):
            first.send_message(message_that_tells(interrupt))
        second.send_message(Message("another"))
        first.send_message(Message("another"))
        first.close()
        second.close()


@SENDERS
async def test_functions_that_send_do_not_pile_up(kind: Any, broker: Broker) -> None:
    """More of them than calls fit inside one another."""
    told: list[Any] = []
    client = kind(f"{broker.url}/queue")

    def tell(result: Any, error: Any) -> Any:
        told.append(result)
        if kind is SendClientAsync:
            return client.send_message_async(Message("more"))
        return client.send_message(Message("more"))

    messages = [message_that_tells(tell) for _ in range(400)]
    client.queue_message(*messages)
    assert await call(client, "send_all_messages", False) == [OK] * 400
    assert told == [MessageSendResult.Ok] * 400
    await call(client, "close")


@SENDERS
async def test_a_function_that_sends_finds_its_own_message_told(kind: Any, broker: Broker) -> None:
    told: list[str] = []
    client = kind(f"{broker.url}/queue")
    inner = message_that_tells(lambda *_: told.append("inner"))

    async def send() -> None:
        await client.send_message_async(inner)
        told.append("outer")

    def tell(result: Any, error: Any) -> Any:
        if kind is SendClientAsync:
            return send()
        client.send_message(inner)
        return told.append("outer")

    await call(client, "send_message", message_that_tells(tell))
    assert told == ["inner", "outer"]
    await call(client, "close")


async def test_a_call_that_is_cancelled_tells_no_more_and_the_next_one_does(broker: Broker) -> None:
    told: list[int] = []
    begun = asyncio.Event()

    async def tell(n: int) -> None:
        told.append(n)
        begun.set()
        if n == 0:
            await asyncio.Event().wait()

    client = SendClientAsync(f"{broker.url}/queue")
    messages = [message_that_tells(lambda *_, n=n: tell(n)) for n in range(3)]
    client.queue_message(*messages)
    sending = asyncio.create_task(client.send_all_messages_async(close_on_done=False))
    await asyncio.wait_for(begun.wait(), BOUND)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert told == [0]
    assert [message.state for message in messages] == [OK] * 3
    await client.send_message_async(Message("another"))
    assert told == [0, 1, 2]
    await client.close_async()


# --- links, requests --------------------------------------------------------------------------------------------


async def test_coroutine_functions_are_told_of_attaches_answers_and_sent_messages(broker: Broker) -> None:
    told: list[str] = []

    async def on_attach(source: Any, target: Any, properties: Any, error: Any) -> None:
        await asyncio.sleep(0)
        told.append("attached")

    async def on_answer(status: int, answer: Any, description: Any) -> int:
        await asyncio.sleep(0)
        return status

    async def on_sent(message: Message, result: int, delivery_state: Any) -> None:
        await asyncio.sleep(0)
        told.append("sent")

    async with AMQPClientAsync(f"{broker.url}/q") as client:
        request = Message(application_properties={"name": "q"})
        assert await client.mgmt_request_async(request, b"READ", op_type=b"queue", callback=on_answer) in (200, 404)
    async with ConnectionAsync(broker.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection, on_attach=on_attach), "source", "queue")
        await sender.send_async(Message("message"), on_sent)
        await eventually(lambda: len(told) == 2)
        await sender.send_async(message_that_tells(lambda *args: told.append("complete")))
    assert told == ["attached", "sent", "complete"]


def test_a_blocking_sender_calls_back_in_a_call_of_the_program(
    running: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    threads: list[str] = []
    with Connection(running.url) as connection, Session(connection) as session:
        sender = MessageSender(session, "source", "queue")
        others = MessageSender(session, "source", "queue")

        def on_sent(message: Message, result: int, delivery_state: Any) -> None:
            threads.append(threading.current_thread().name.partition("_")[0])
            with ThreadPoolExecutor(1, "others") as other:
                # The connection is free for other threads, and for this one.
                assert other.submit(others.send, Message("another")).result(BOUND) is OK
            assert others.send(Message("another")) is OK

        for _ in range(2):
            assert sender.send(Message("message"), on_sent) is MessageState.WaitingForSendAck
        while len(threads) < 2:
            sender.work()
        sender.send(Message("message"), lambda *args, **options: 1 / 0)
        with caplog.at_level(logging.ERROR):
            while "function that is told of sent messages failed" not in caplog.text:
                connection.work()
    # None of ours, that is.
    assert set(threads) <= {threading.current_thread().name, "others"}


def test_callbacks_of_a_blocking_sender_that_work_do_not_pile_up(running: Broker) -> None:
    told: list[int] = []
    with Connection(running.url) as connection, Session(connection) as session:
        sender = MessageSender(session, "source", "queue")

        def on_sent(message: Message, result: int, delivery_state: Any) -> None:
            told.append(result)
            sender.work()

        for _ in range(400):
            sender.send(Message("message"), on_sent)
        while len(told) < 400:
            sender.work()


def test_callbacks_of_a_blocking_sender_are_called_when_the_connection_is_closed(running: Broker) -> None:
    told: list[int] = []
    connection = Connection(running.url)
    sender = MessageSender(Session(connection), "source", "queue")
    for _ in range(20):
        sender.send(Message("message"), lambda message, result, delivery_state: told.append(result))
    connection.destroy()
    assert len(told) == 20
