"""Calls and objects per message, counted, not timed: the hot path may get shorter, not longer."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import AsyncIterator
from types import FrameType
from typing import Any

import pytest

from uamqp import Message, ReceiveClientAsync, SendClient, SendClientAsync, sync
from uamqp.aio import connect
from uamqp.broker import Broker
from uamqp.codec.hot import TransferHeader
from uamqp.transport import blocking

from .engine.wire import Wire

COUNT = 200
BODY = b"x" * 100

#: Calls of the API of uamqp 1.6: to make, queue and send a message, and to read and accept one that was received.
SENT_LEGACY = 5
RECEIVED_LEGACY = 5

#: Calls of blocking code that sends a message and waits for its outcome, by the API of 1.6 and by `uamqp.sync`.
SENT_ALONE_LEGACY = 68
SENT_ALONE = 56


class Calls:
    """Counts calls of the library's functions; a coroutine that is resumed counts once more."""

    def __init__(self) -> None:
        self.by_function: Counter[str] = Counter()

    def __enter__(self) -> Calls:
        sys.setprofile(self._on_event)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.setprofile(None)

    def _on_event(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            _, found, module = code.co_filename.rpartition("/uamqp/")
            if found:
                self.by_function[f"{module}:{code.co_name}"] += 1

    def per_message(self) -> float:
        # What happens once per read or per turn of the loop is not per message.
        return sum(count for count in self.by_function.values() if count >= COUNT // 2) / COUNT


class Objects:
    """Counts the objects that stay: all blocks of memory, and those that Python's garbage collector goes through."""

    def __enter__(self) -> Objects:
        gc.collect()
        gc.disable()
        self.blocks, self.collected = sys.getallocatedblocks(), len(gc.get_objects())
        return self

    def __exit__(self, *exc: object) -> None:
        self.blocks = sys.getallocatedblocks() - self.blocks
        self.collected = len(gc.get_objects()) - self.collected
        gc.enable()

    def per_message(self) -> tuple[float, float]:
        return self.blocks / COUNT, self.collected / COUNT


@pytest.fixture
async def url() -> AsyncIterator[str]:
    # The broker runs in a thread of its own, where the profile function is not installed.
    running = Broker.running()
    broker = await asyncio.to_thread(running.__enter__)
    yield broker.url
    await asyncio.to_thread(running.__exit__, None, None, None)


async def fill(url: str) -> None:
    async with connect(url) as connection, connection.sender("q") as sender:
        await sender.send_many([BODY] * COUNT)


async def test_a_received_message_costs_at_most_3_calls_to_take_read_and_accept(url: str) -> None:
    await fill(url)
    async with connect(url) as connection:
        receiver = await connection.receiver("q", prefetch=2 * COUNT)
        while receiver.queued < COUNT:
            await asyncio.sleep(0.001)
        calls = Calls()
        received = 0
        with calls:
            async for delivery in receiver:
                assert len(delivery.body) == 100
                delivery.accept()
                received += 1
                if received == COUNT:
                    break
    # The part from the socket to the queue, measured on the engine alone, is in the test below.
    assert calls.per_message() <= 3, calls.by_function.most_common(12)


def test_from_socket_bytes_to_the_queue_costs_at_most_2_calls_and_one_object_to_collect() -> None:
    header = TransferHeader(0, 0)
    payload = b"\x00\x53\x75\xa0\x64" + BODY
    data = b"".join(
        header.pack(header.overhead + len(payload), header.first, n, 0xA004, n, header.unsettled) + payload
        for n in range(COUNT)
    )
    for counted in (Calls(), Objects()):
        wire = Wire().open()
        receiver, _ = wire.receiver(credit=2 * COUNT)
        # From the first read it learns what the peer's transfers look like.
        size = len(data) // COUNT
        wire.client.receive_data(data[:size])
        with counted:
            wire.client.receive_data(data[size:])
        assert len(receiver.queue) == COUNT
        if isinstance(counted, Calls):
            assert counted.per_message() <= 2, counted.by_function.most_common(12)
        else:
            blocks, collected = counted.per_message()
            # The delivery, its payload, its tag; the rest is room in dictionary and queue.
            assert blocks <= 4
            assert collected <= 1.1


def test_links_in_turn_are_told_apart_at_once() -> None:
    """The handle of the first is written shorter than those of the others, as most peers do."""
    links = 10
    headers = [TransferHeader(0, handle) for handle in range(links)]
    payload = b"\x00\x53\x75\xa0\x64" + BODY
    frames = [
        header.pack(header.overhead + len(payload), header.first, n, 0xA004, n, header.unsettled) + payload
        for n, header in enumerate(headers * (COUNT // links))
    ]
    wire = Wire().open()
    session = wire.begin()
    receivers = [wire.receiver(session, f"link-{n}", credit=COUNT)[0] for n in range(links)]
    wire.client.receive_data(b"".join(frames[:links]))
    calls = Calls()
    with calls:
        wire.client.receive_data(b"".join(frames[links:]))
    assert {len(receiver.queue) for receiver in receivers} == {COUNT // links}
    assert not calls.by_function["engine/shapes.py:learn"]
    assert calls.by_function["engine/connection.py:_receive_alike"] <= 2 * COUNT // links
    assert calls.per_message() <= 2, calls.by_function.most_common(12)


async def test_a_sent_message_costs_at_most_6_calls_and_one_of_a_batch_2(url: str) -> None:
    async with connect(url) as connection:
        sender = await connection.sender("q")
        await sender.send(BODY)
        calls = Calls()
        with calls:
            await asyncio.gather(*(sender.send(BODY) for _ in range(COUNT)))
        batch = Calls()
        with batch:
            await sender.send_many([BODY] * COUNT)
        sending = asyncio.create_task(sender.send_many([BODY] * COUNT))
        run = Objects()
        with run:
            # It stops where it waits for the outcomes.
            await asyncio.sleep(0)
        await sending
        objects = Objects()
        with objects:
            under_way = [sender.send_nowait(BODY) for _ in range(COUNT)]
        await under_way[-1]
    assert calls.per_message() <= 6, calls.by_function.most_common(12)
    # One more for the whole of the batch, which asks for a message that is not there.
    assert batch.per_message() <= 2.1, batch.by_function.most_common(12)
    # The payload and its head; nothing that the garbage collector goes through.
    blocks, collected = run.per_message()
    assert blocks <= 2.5
    assert collected <= 0.1
    blocks, collected = objects.per_message()
    assert blocks <= 4.5
    assert collected <= 1.1


async def test_what_the_api_of_1_6_costs(url: str) -> None:
    async with SendClientAsync(f"{url}/q") as sender:
        await sender.client_ready_async()
        calls = Calls()
        with calls:
            for _ in range(COUNT):
                sender.queue_message(Message(BODY))
            await sender.send_all_messages_async(close_on_done=False)
    assert calls.per_message() <= SENT_LEGACY + 0.1, calls.by_function.most_common(25)
    async with ReceiveClientAsync(f"{url}/q", prefetch=COUNT, auto_complete=False) as receiver:
        await receiver.client_ready_async()
        while receiver.message_handler._modern.queued < COUNT:
            await asyncio.sleep(0.001)
        calls, objects = Calls(), Objects()
        with objects:
            messages = await receiver.receive_message_batch_async(COUNT)
        with calls:
            for message in messages:
                assert len(b"".join(message.get_data())) == 100
                message.accept()
    assert len(messages) == COUNT
    assert calls.per_message() <= RECEIVED_LEGACY, calls.by_function.most_common(25)
    # The message; its delivery was there before. What other tests do to the class may cost it a dictionary, too.
    assert objects.per_message()[1] <= 2.1


def test_what_one_message_at_a_time_costs_in_blocking_code(monkeypatch: pytest.MonkeyPatch) -> None:
    # However busy the machine is, the answer is looked for until it is there.
    monkeypatch.setattr(blocking, "_LOOKING", 1)
    with Broker.running() as broker, SendClient(f"{broker.url}/q") as client, sync.connect(broker.url) as connection:
        client.send_message(Message(BODY))
        sender = connection.sender("q")
        sender.send(BODY)
        legacy, calls = Calls(), Calls()
        with legacy:
            for _ in range(COUNT):
                client.send_message(Message(BODY))
        with calls:
            for _ in range(COUNT):
                sender.send(BODY)
    assert legacy.per_message() <= SENT_ALONE_LEGACY, legacy.by_function.most_common(60)
    assert calls.per_message() <= SENT_ALONE, calls.by_function.most_common(60)
