"""The ceiling for a client on asyncio: a bare protocol that does only what no client can do without.

For each message the application makes one call, with the body, or gets one; what is not settled is remembered, and
found again by its delivery-id. There are no objects for messages, links or sessions, nothing is checked, and it knows
what the counterpart sends.
"""

from __future__ import annotations

import asyncio
import platform
import ssl
from struct import Struct, unpack_from

from task import Result, Task, run

ATTACH_CODE, FLOW_CODE, TRANSFER_CODE, DISPOSITION_CODE = 0x12, 0x13, 0x14, 0x15
MAX_FRAME_SIZE = 128 * 1024
WINDOW = 0x7FFFFFFF
BATCH = 500
"""Messages that are written at a time."""

TRANSFER = Struct(">I12sI2sI3s")
"""What comes before a payload: size, HEAD, delivery-id, TAG, the delivery-tag, LAST or MORE."""

HEAD, TAG = b"\x02\x00\x00\x00\x00\x53\x14\xc0\x10\x06\x43\x70", b"\xa0\x04"
SECTION_CODE = b"\x00\x53\x75"
SMALL_SECTION = [SECTION_CODE + bytes((0xA0, size)) for size in range(256)]
LARGE_SECTION, LARGE_CODE = Struct(">4sI"), SECTION_CODE + b"\xb0"
LAST, MORE = b"\x43\x42\x42", b"\x43\x42\x41"


def uint(number: int) -> bytes:
    return b"\x70" + number.to_bytes(4, "big")


def string(text: str) -> bytes:
    return b"\xa1" + bytes([len(text)]) + text.encode()


def frame(descriptor: int, *fields: bytes) -> bytes:
    body = b"".join(fields)
    items = b"\x00\x53" + bytes([descriptor, 0xC0, len(body) + 1, len(fields)]) + body
    return (len(items) + 8).to_bytes(4, "big") + b"\x02\x00\x00\x00" + items


def terminus(descriptor: int, address: str) -> bytes:
    body = string(address)
    return b"\x00\x53" + bytes([descriptor, 0xC0, len(body) + 1, 1]) + body


NULL, TRUE, FALSE = b"\x40", b"\x41", b"\x42"
ACCEPTED = b"\x00\x53\x24\x45"


def flow(received: int, credit: int) -> bytes:
    return frame(FLOW_CODE, uint(received), uint(WINDOW), uint(0), uint(WINDOW), uint(0), uint(received), uint(credit))


def number_at(data: bytes, position: int) -> tuple[int, int]:
    """A uint, and where it ends."""
    code = data[position]
    if code == 0x43:
        return 0, position + 1
    if code == 0x52:
        return data[position + 1], position + 2
    return unpack_from(">I", data, position + 1)[0], position + 5


class Probe(asyncio.Protocol):
    """What all measurements have in common: getting attached, and finding the frames."""

    receives = False

    def __init__(self, task: Task, result: Result) -> None:
        self.task = task
        self.result = result
        self.finished = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport
        self.rest = b""
        self.open = False
        self.credit_limit = 0
        self.confirmed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.task.operation == "send-one":
            # asyncio takes memory of that size for each read, and for much of it asks the system each time.
            transport.max_size = 8192  # type: ignore[attr-defined]
        attach = (
            string("probe"),
            uint(0),
            TRUE if self.receives else FALSE,
            NULL,
            NULL,
            terminus(0x28, self.task.address),
            terminus(0x29, self.task.address),
            *(() if self.receives else (NULL, NULL, uint(0))),
        )
        transport.write(
            b"AMQP\x00\x01\x00\x00"
            + frame(0x10, string("probe"), NULL, uint(MAX_FRAME_SIZE))
            + frame(0x11, NULL, uint(0), uint(WINDOW), uint(WINDOW))
            + frame(0x12, *attach)
        )

    def data_received(self, data: bytes) -> None:
        if self.rest:
            data = self.rest + data
        position = 0
        if not self.open:
            self.open = True
            position = 8
        end = len(data)
        while end - position >= 8:
            size = unpack_from(">I", data, position)[0]
            if end - position < size:
                break
            self.on_frame(data, data[position + 10], position, position + size)
            position += size
        self.rest = data[position:]
        self.read_over()

    def on_frame(self, data: bytes, descriptor: int, start: int, end: int) -> None:
        if descriptor == FLOW_CODE:
            position = start + 14
            numbers = []
            for _ in range(7):
                number, position = number_at(data, position)
                numbers.append(number)
            self.credit_limit = numbers[5] + numbers[6]
        elif descriptor == DISPOSITION_CODE:
            _, position = number_at(data, start + 15)
            self.confirmed = number_at(data, position)[0] + 1

    def read_over(self) -> None:
        """Called after each read."""

    def finish(self, tally: int) -> None:
        self.result.end(tally)
        self.finished.set_result(None)


def section(task: Task) -> bytes:
    """The message: one data section."""
    code = b"\xa0" + bytes([task.size]) if task.size < 256 else b"\xb0" + task.size.to_bytes(4, "big")
    return SECTION_CODE + code + task.body


class Sending(Probe):
    """Many small messages, each handed over by a call, and remembered until it is confirmed."""

    def __init__(self, task: Task, result: Result) -> None:
        super().__init__(task, result)
        self.section = section(task)
        self.writable = True
        self.sent = 0
        self.parts: list[bytes] = []
        self.unsettled: dict[int, bytes] = {}
        self.settled = 0

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.write()

    def read_over(self) -> None:
        while self.settled < self.confirmed:
            self.unsettled.pop(self.settled, None)
            self.settled += 1
        if self.confirmed == self.task.count:
            self.finish(self.confirmed)
        elif self.credit_limit:
            if not self.sent:
                self.result.begin()
            self.write()

    def send(self, body: bytes) -> None:
        id = self.sent
        section = (
            SMALL_SECTION[len(body)] + body if len(body) < 256 else LARGE_SECTION.pack(LARGE_CODE, len(body)) + body
        )
        self.parts.append(TRANSFER.pack(TRANSFER.size + len(section), HEAD, id, TAG, id, LAST))
        self.parts.append(section)
        self.unsettled[id] = section
        self.sent = id + 1

    def write(self) -> None:
        first, last = self.sent, min(self.sent + BATCH, self.credit_limit, self.task.count)
        if not self.writable or first == last:
            return
        body = self.task.body
        for _ in range(first, last):
            self.send(body)
        self.transport.write(b"".join(self.parts))
        self.parts.clear()
        asyncio.get_running_loop().call_soon(self.write)


class SendingOne(Probe):
    """One message at a time: a frame out, a frame in."""

    def __init__(self, task: Task, result: Result) -> None:
        super().__init__(task, result)
        self.section = section(task)
        self.waiter: asyncio.Future[None] | None = None

    def read_over(self) -> None:
        if self.waiter is not None:
            self.waiter.set_result(None)
        elif self.credit_limit:
            self.waiter = asyncio.get_running_loop().create_future()
            self.sending = asyncio.create_task(self.send_all())

    async def send_all(self) -> None:
        pack, section = TRANSFER.pack, self.section
        size = TRANSFER.size + len(section)
        new_waiter = asyncio.get_running_loop().create_future
        self.result.begin()
        for id in range(self.task.count):
            self.waiter = new_waiter()
            self.transport.write(pack(size, HEAD, id, TAG, id, LAST) + section)
            await self.waiter
        self.finish(self.confirmed)


class SendingLarge(Sending):
    """One large message in frames."""

    def write(self) -> None:
        section, room = self.section, MAX_FRAME_SIZE - TRANSFER.size
        while self.writable and self.sent < len(section):
            part = section[self.sent : self.sent + room]
            self.sent += len(part)
            more = LAST if self.sent == len(section) else MORE
            self.transport.write(TRANSFER.pack(TRANSFER.size + len(part), HEAD, 0, TAG, 0, more) + part)


class Receiving(Probe):
    """Many small messages: calls the application with the body of each, accepts all of one read by one disposition."""

    receives = True

    def __init__(self, task: Task, result: Result) -> None:
        super().__init__(task, result)
        self.received = self.accepted = self.given = 0
        self.body = b""
        self.unsettled: dict[int, bytes] = {}

    def on_message(self, id: int, body: bytes) -> None:
        self.body = body
        self.received += 1
        self.unsettled.pop(id)

    def on_frame(self, data: bytes, descriptor: int, start: int, end: int) -> None:
        if descriptor == TRANSFER_CODE:
            _, position = number_at(data, start + 14)
            id, position = number_at(data, position)
            body = data[end - self.task.size : end]
            self.unsettled[id] = body
            self.on_message(id, body)
        elif descriptor == ATTACH_CODE:
            self.result.begin()
            self.give_credit()

    def give_credit(self) -> None:
        self.given = self.received + self.task.credit
        self.transport.write(flow(self.received, self.task.credit))

    def read_over(self) -> None:
        if self.received > self.accepted:
            first, self.accepted = self.accepted, self.received
            self.transport.write(frame(DISPOSITION_CODE, TRUE, uint(first), uint(self.accepted - 1), TRUE, ACCEPTED))
        if self.received >= self.task.count:
            if not self.finished.done():
                self.finish(len(self.body))
        elif self.given - self.received <= self.task.credit // 2 and self.given:
            self.give_credit()


class ReceivingLarge(Receiving):
    """One large message: a stream of bytes whose length is known, which are only counted."""

    left = 0

    def data_received(self, data: bytes) -> None:
        if not self.given:
            super().data_received(data)
            return
        if not self.left:
            size, before_payload = len(section(self.task)), data.index(SECTION_CODE)
            self.left = size + -(-size // (MAX_FRAME_SIZE - before_payload)) * before_payload
        self.left -= len(data)
        if not self.left:
            self.finish(self.task.size)


LARGE = 1 << 20
"""Bytes from which on a message is sent and received as a large one."""

PROBES = {"send": Sending, "send-one": SendingOne, "receive": Receiving}
LARGE_PROBES = {"send": SendingLarge, "receive": ReceivingLarge}


async def measure(task: Task, result: Result) -> None:
    loop = asyncio.get_running_loop()
    context = ssl.create_default_context(cafile=task.ca_file) if task.ca_file else None
    probe = (LARGE_PROBES if task.size >= LARGE else PROBES)[task.operation](task, result)
    transport, _ = await loop.create_connection(lambda: probe, task.host, task.port, ssl=context)
    await probe.finished
    transport.close()


run(f"asyncio of {platform.python_version()}", lambda task, result: asyncio.run(measure(task, result)))
