"""A peer that costs next to nothing: it knows the shape of the frames it is sent and has its own frames ready.

It stands in for a broker that is never the limit, so that what is measured is the client. One connection, one link
that it takes messages of one size from (answering each read with one disposition), or gives prepared messages to.
Not a broker: nothing is checked.
"""

from __future__ import annotations

import asyncio
import sys

from uamqp.codec.definitions import Source, Target
from uamqp.codec.hot import TransferHeader, encode_disposition, encode_flow
from uamqp.engine.connection import ConnectionEndpoint
from uamqp.engine.link import LinkEndpoint
from uamqp.engine.observer import Observer
from uamqp.engine.receiver import ReceiverEndpoint
from uamqp.engine.sasl import SaslServer
from uamqp.engine.session import SessionEndpoint
from uamqp.engine.settings import ConnectionSettings
from uamqp.engine.settlement import ACCEPTED_STATE

CREDIT = 100_000
WINDOW = 0x7FFFFFFF


class BarePeer(asyncio.Protocol, Observer):
    """Speaks through an engine until a link is attached, then by hand."""

    def __init__(self, payload: bytes, batch: int) -> None:
        self._payload = payload
        self._batch = batch
        self._engine = ConnectionEndpoint(
            self, ConnectionSettings("bare-peer"), server=True, sasl=SaslServer(["ANONYMOUS"], lambda m, r: "")
        )
        self._transport: asyncio.Transport
        self._mode = ""
        self._count = 0
        self._given = 0
        self._rest = 0
        self._frame = 0
        self._source = b""
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 22)

    def data_received(self, data: bytes) -> None:
        if self._mode == "sink":
            self._take(data)
        elif self._mode == "source":
            self._give(data)
        else:
            self._engine.receive_data(data)
            self._transport.write(b"".join(self._engine.data_to_send()))

    def _take(self, data: bytes) -> None:
        if self._rest + len(data) < self._frame:
            self._engine.receive_data(data)
            self._transport.write(b"".join(self._engine.data_to_send()))
            return
        size = self._rest + len(data)
        done, self._rest = divmod(size, self._frame)
        first, self._count = self._count, self._count + done
        answer = encode_disposition(0, True, first, self._count - 1, True, ACCEPTED_STATE)
        self._given += done
        if self._given > CREDIT // 2:
            self._given = 0
            numbers = [self._count & 0xFFFFFFFF, WINDOW, 0, 0, 0, self._count & 0xFFFFFFFF, CREDIT]
            answer += encode_flow(0, numbers, False, False)
        self._transport.write(answer)

    def _give(self, data: bytes) -> None:
        # Each flow of the client asks for more; how much more is fixed beforehand, so it need not be read.
        asked = data.count(b"\x00\x53\x13")
        if data.find(b"\x00\x53\x16") >= 0 or data.find(b"\x00\x53\x18") >= 0:
            self._mode = ""
            self._engine.receive_data(data)
            self._transport.write(b"".join(self._engine.data_to_send()))
            return
        for _ in range(asked):
            self._write_batch()

    def _write_batch(self) -> None:
        header = TransferHeader(0, 0)
        size = header.overhead + len(self._payload)
        self._transport.write(
            b"".join(
                part
                for n in range(self._count, self._count + self._batch)
                for part in (header.pack(size, header.first, n, 0xA004, n, header.unsettled), self._payload)
            )
        )
        self._count += self._batch

    def on_open(self) -> None:
        self._engine.open()

    def on_begin(self, session: SessionEndpoint) -> None:
        session.begin(incoming_window=WINDOW)

    def on_attach(self, link: LinkEndpoint) -> None:
        remote = link.remote_attach
        assert remote is not None
        link.attach(remote.source or Source(), remote.target or Target())
        if isinstance(link, ReceiverEndpoint):
            link.flow(CREDIT)
            self._frame = TransferHeader(0, 0).overhead + len(self._payload)
            self._mode = "sink"
        else:
            self._mode = "source"


async def main(size: int, batch: int) -> None:
    """Serve on a free port, which is printed."""
    payload = b"\x00\x53\x75" + (bytes((0xA0, size)) if size < 256 else b"\xb0" + size.to_bytes(4, "big")) + b"x" * size
    server = await asyncio.get_running_loop().create_server(lambda: BarePeer(payload, batch), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
