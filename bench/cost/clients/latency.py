"""How long a message takes, from before it is sent to who is blocked in `receive_message_batch`, through a broker.

python -m bench.cost.clients.latency blocking|asynchronous URL COUNT

Prints the milliseconds of each message as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from uamqp import Message, ReceiveClient, ReceiveClientAsync, SendClient

PAUSE = 0.003
"""Seconds before each message, in which the receiver comes to rest."""


def send(target: str, count: int) -> None:
    """Send the time, over and over."""
    with SendClient(target) as client:
        # Attaching is not measured.
        client.client_ready()
        for _ in range(count):
            time.sleep(PAUSE)
            client.send_message(Message(repr(time.perf_counter())))


def milliseconds(messages: list[Message]) -> float:
    """How long ago the message was sent."""
    now = time.perf_counter()
    (message,) = messages
    return (now - float(b"".join(message.get_data()))) * 1000


def blocking(target: str, count: int) -> list[float]:
    """In a thread that waits for the socket."""
    with ReceiveClient(target, prefetch=10) as client, ThreadPoolExecutor(1) as sender:
        client.client_ready()
        sent = sender.submit(send, target, count)
        taken = [milliseconds(client.receive_message_batch(1)) for _ in range(count)]
        sent.result()
        return taken


async def asynchronous(target: str, count: int) -> list[float]:
    """In an event loop."""
    async with ReceiveClientAsync(target, prefetch=10) as client:
        await client.client_ready_async()
        sent = asyncio.create_task(asyncio.to_thread(send, target, count))
        taken = [milliseconds(await client.receive_message_batch_async(1)) for _ in range(count)]
        await sent
        return taken


if __name__ == "__main__":
    face, url, messages = sys.argv[1], f"{sys.argv[2]}/latency", int(sys.argv[3])
    print(json.dumps(blocking(url, messages) if face == "blocking" else asyncio.run(asynchronous(url, messages))))
