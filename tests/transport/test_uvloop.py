"""Another event loop than asyncio's own: nothing here needs more of a loop than the interface of asyncio."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import uvloop

from uamqp.aio import connect
from uamqp.broker import Broker
from uamqp.exceptions import ConnectionEnded

from ..aio.peers import BOUND


@pytest.mark.parametrize("tls", [False, True])
def test_client_and_broker(tls: bool, certificates: Path) -> None:
    options = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"} if tls else {}
    large = os.urandom(3_000_000)

    async def run() -> None:
        async with Broker(**options) as broker:  # type: ignore[arg-type]
            ca_file = str(certificates / "ca.pem") if tls else None
            async with connect(broker.url, ca_file=ca_file, timeout=BOUND) as connection:
                sender, receiver = await connection.sender("q"), await connection.receiver("q")
                assert await sender.send_many(range(2000)) == 2000
                await sender.send(large)
                for n in range(2000):
                    delivery = await receiver.receive()
                    assert delivery.body == n
                    delivery.accept()
                assert (await receiver.receive()).body == large
                waiting = receiver.receive()
                await broker.stop()
                with pytest.raises(ConnectionEnded):
                    await waiting

    uvloop.run(run())
