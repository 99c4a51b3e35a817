"""Python-level calls per message, counted, not timed: the hot path may get shorter, not longer."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from types import FrameType
from typing import Any

from uamqp.aio import Connection, connect
from uamqp.broker import Broker

COUNT = 200
BODY = b"x" * 100


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


async def client() -> tuple[Any, Connection]:
    # The broker runs in a thread of its own, where the profile function is not installed.
    running = Broker.running()
    broker = await asyncio.to_thread(running.__enter__)
    return running, await connect(broker.url)


async def test_a_received_message_costs_at_most_8_calls() -> None:
    running, connection = await client()
    async with connection:
        sender = await connection.sender("q")
        await sender.send_many([BODY] * COUNT)
        receiver = await connection.receiver("q", prefetch=2 * COUNT)
        while receiver.queued < COUNT // 2:
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
        taking = calls.per_message()
    await asyncio.to_thread(running.__exit__, None, None, None)
    # The part from the socket to the queue, measured on the engine alone, is in the test below.
    assert taking <= 3, calls.by_function.most_common(12)


async def test_from_socket_bytes_to_the_queue_costs_at_most_5_calls() -> None:
    from uamqp.codec.hot import TransferHeader

    from .engine.wire import Wire

    wire = Wire().open()
    receiver, _ = wire.receiver(credit=2 * COUNT)
    header = TransferHeader(0, 0)
    payload = b"\x00\x53\x75\xa0\x64" + BODY
    data = b"".join(
        header.pack(header.overhead + len(payload), header.first, n, 0xA004, n, header.unsettled) + payload
        for n in range(COUNT)
    )
    calls = Calls()
    with calls:
        wire.client.receive_data(data)
    assert len(receiver.queue) == COUNT
    assert calls.per_message() <= 5, calls.by_function.most_common(12)


async def test_a_sent_message_costs_at_most_7_calls() -> None:
    running, connection = await client()
    async with connection:
        sender = await connection.sender("q")
        await sender.send(BODY)

        calls = Calls()
        with calls:
            await asyncio.gather(*(sender.send(BODY) for _ in range(COUNT)))
        batch = Calls()
        with batch:
            await sender.send_many([BODY] * COUNT)
    await asyncio.to_thread(running.__exit__, None, None, None)
    assert calls.per_message() <= 7, calls.by_function.most_common(12)
    assert batch.per_message() <= 7, batch.by_function.most_common(12)
