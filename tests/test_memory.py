"""What large messages and many connections cost; these tests measure whole processes, so they run alone."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from uamqp.aio import connect

pytestmark = pytest.mark.memory

MIB = 1024 * 1024


@pytest.fixture
def broker_process() -> Iterator[str]:
    command = [sys.executable, "-m", "uamqp", "broker", "--port", "0", "--max-message-size", str(200 * MIB)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


async def peaks(url: str, size: int) -> tuple[int, int]:
    """Peak bytes beyond the body itself while it is sent, and while it is received and read."""
    async with connect(url) as connection:
        sender = await connection.sender("large")
        receiver = await connection.receiver("large", prefetch=1, max_message_size=200 * MIB)
        body = os.urandom(size)
        tracemalloc.start()
        await sender.send(body, timeout=60)
        sending = tracemalloc.get_traced_memory()[1]
        delivery = await receiver.receive(timeout=60)
        tracemalloc.reset_peak()
        tracemalloc.stop()
        assert delivery.body == body
        delivery.accept()
        await sender.send(body, timeout=60)
        del body
        gc.collect()
        tracemalloc.start()
        delivery = await receiver.receive(timeout=60)
        assert len(delivery.body) == size
        receiving = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        delivery.accept()
    return sending, receiving


async def test_a_64_mib_message_needs_at_most_two_and_a_half_times_its_size(broker_process: str) -> None:
    size = 64 * MIB
    sending, receiving = await peaks(broker_process, size)
    # The body itself is not in the first figure.
    assert sending + size <= 2.5 * size
    assert receiving <= 2.5 * size


async def test_twice_the_bytes_is_twice_the_work(broker_process: str) -> None:
    """Counted in calls, C functions included: what is done per frame and per read, and not again for what was there."""
    async with connect(broker_process) as connection:
        sender = await connection.sender("large")
        receiver = await connection.receiver("large", prefetch=1, max_message_size=200 * MIB)
        calls = []
        for size in (16 * MIB, 16 * MIB, 32 * MIB, 64 * MIB):
            body = bytes(size)
            count = 0

            def on_event(frame: object, event: str, argument: object) -> None:
                nonlocal count
                count += event in ("call", "c_call")

            sys.setprofile(on_event)
            try:
                await sender.send(body, timeout=60)
                delivery = await receiver.receive(timeout=60)
                assert len(delivery.body) == size
            finally:
                sys.setprofile(None)
            delivery.accept()
            calls.append(count)
    assert calls[2] <= 2.3 * calls[1]
    assert calls[3] <= 2.3 * calls[2]


@pytest.mark.timeout(170)
def test_ten_thousand_connections_leave_nothing_behind() -> None:
    program = Path(__file__).with_name("connection_cycles.py")
    done = subprocess.run([sys.executable, program, "2000", "8000"], stdout=subprocess.PIPE, check=True)
    before, after = json.loads(done.stdout)
    for what in ("descriptors", "tasks", "threads"):
        assert after[what] == before[what]
    assert after["resident"] - before["resident"] <= 2 * MIB
    # Python's own small objects, the largest of which have 512 bytes.
    assert after["blocks"] - before["blocks"] <= 2 * MIB // 512
