"""What the tests of the broker share."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from urllib.parse import urlsplit

import uamqp.aio as amqp
from uamqp.broker import Broker
from uamqp.codec.composite import Composite
from uamqp.codec.definitions import Source, Target
from uamqp.codec.hot import frame
from uamqp.codec.performatives import Attach, Begin, Flow, Open, SaslInit, SaslMechanisms, Transfer, decode_performative
from uamqp.codec.values import Symbol
from uamqp.engine.connection import AMQP_HEADER, SASL_HEADER

T = TypeVar("T", bound=Composite)

#: Seconds after which a condition that does not come true is a failure; no test waits so long when all is well.
BOUND = 10.0


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.002)


def client(broker: Broker, **options: Any) -> AbstractAsyncContextManager[amqp.Connection]:
    """A connection to the broker."""
    return amqp.connect(broker.url, **{"timeout": BOUND, **options})


async def put(connection: amqp.Connection, address: str, *bodies: Any) -> None:
    """Send messages and wait until they are accepted."""
    async with connection.sender(address) as sender:
        for body in bodies:
            await sender.send(body)


async def take(connection: amqp.Connection, address: str, count: int = 1, **options: Any) -> list[Any]:
    """Receive and accept so many messages; their bodies."""
    async with connection.receiver(address, **options) as receiver:
        bodies = []
        for _ in range(count):
            delivery = await receiver.receive()
            bodies.append(delivery.body)
            delivery.accept()
        return bodies


def cut(connection: amqp.Connection) -> None:
    """End the stream of a connection without a word."""
    driver: Any = connection._driver
    driver.transport.abort()


class Raw:
    """A client that sends whatever frames it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, broker: Broker) -> Raw:
        """The bare stream."""
        url = urlsplit(broker.url)
        return cls(*await asyncio.open_connection(url.hostname, url.port))

    @classmethod
    async def open(cls, broker: Broker, **fields: Any) -> Raw:
        """With header and open exchanged, without SASL."""
        raw = await cls.connect(broker)
        raw.write(AMQP_HEADER)
        raw.send(Open("raw", **fields))
        assert await raw.reader.readexactly(8) == AMQP_HEADER
        await raw.read(Open)
        return raw

    @classmethod
    async def begin(cls, broker: Broker, **fields: Any) -> Raw:
        """With a session on channel 0."""
        raw = await cls.open(broker, **fields)
        raw.send(Begin(next_outgoing_id=0, incoming_window=100, outgoing_window=100))
        await raw.read(Begin)
        return raw

    async def sasl(self, mechanism: str, response: bytes | None) -> Composite:
        """Go through SASL; returns the outcome."""
        self.write(SASL_HEADER)
        assert await self.reader.readexactly(8) == SASL_HEADER
        await self.read(SaslMechanisms)
        self.write(frame(0, SaslInit(Symbol(mechanism), response).encode(), 1))
        return await self.read(Composite)

    async def attach(
        self, *, sends: bool = True, address: str | None = "q", name: str = "link", **fields: Any
    ) -> Attach:
        """Attach a link with handle 0; returns the broker's attach."""
        self.send(attach(sends=sends, address=address, name=name, **fields))
        return await self.read(Attach)

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, performative: Composite, payload: bytes = b"", *, channel: int = 0) -> None:
        """Write one frame."""
        self.write(frame(channel, performative.encode() + payload))

    def transfer(self, payload: bytes, id: int = 0, **fields: Any) -> None:
        """Write one whole delivery on handle 0."""
        self.send(Transfer(0, id, b"%d" % id, 0, **fields), payload)

    def flow(self, credit: int, **fields: Any) -> None:
        """Give credit on handle 0."""
        values = {"next_incoming_id": 0, "incoming_window": 100, "next_outgoing_id": 0, "outgoing_window": 100}
        self.send(Flow(**{**values, "handle": 0, "delivery_count": 0, "link_credit": credit, **fields}))

    async def read(self, kind: type[T]) -> T:
        """The next frame of that kind; others before it are passed over, empty ones too."""
        async with asyncio.timeout(BOUND):
            while True:
                (size,) = struct.unpack(">I", await self.reader.readexactly(4))
                body = await self.reader.readexactly(size - 4)
                if size == 8:
                    continue
                performative, _ = decode_performative(body, body[0] * 4 - 4, len(body))
                if isinstance(performative, kind):
                    return performative

    async def wait_closed(self) -> None:
        """Wait until the broker ends the stream."""
        async with asyncio.timeout(BOUND):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass

    async def close(self) -> None:
        """End the stream."""
        self.writer.transport.abort()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


def attach(
    *, sends: bool = True, address: str | None = "q", name: str = "link", handle: int = 0, **fields: Any
) -> Attach:
    """An attach of the client; `sends` says in which direction."""
    fields.setdefault("source", Source() if sends else Source(address=address))
    fields.setdefault("target", Target(address=address) if sends else Target())
    return Attach(name, handle, not sends, initial_delivery_count=0 if sends else None, **fields)
