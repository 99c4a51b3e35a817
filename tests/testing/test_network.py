"""The network in memory: what asyncio's programs see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from uamqp.aio import connect
from uamqp.broker import Broker
from uamqp.exceptions import ConnectionLost, OperationTimeout
from uamqp.testing import Conditions, How, Network, Way, run

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def joined(test: Callable[[Network, Streams, Streams], Awaitable[None]], conditions: Conditions | None = None) -> None:
    """Run the test with a network and the two ends of one connection, client first."""
    network = Network(1, conditions)

    async def main() -> None:
        accepted: asyncio.Queue[Streams] = asyncio.Queue()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.put_nowait((reader, writer))

        async with await asyncio.start_server(accept, "127.0.0.1", 7) as server:
            assert server.is_serving()
            client = await asyncio.open_connection("127.0.0.1", 7)
            peer = await accepted.get()
            await test(network, client, peer)
            client[1].close()
            peer[1].close()
            await asyncio.sleep(1)
        assert not server.is_serving()

    run(main(), network)


def test_bytes_arrive_in_order_however_they_are_split() -> None:
    data = bytes(range(256)) * 100
    sizes = []

    async def test(network: Network, client: Streams, server: Streams) -> None:
        network.on_bytes = lambda wire, way, data: sizes.append(len(data))
        client[1].write(data[:1000])
        client[1].writelines([data[1000:2000], data[2000:]])
        assert await server[0].readexactly(len(data)) == data

    joined(test, Conditions(latency=(0.0, 0.1), whole=0.2))
    assert len(sizes) > 3
    assert sum(sizes) == len(data)


def test_what_is_written_before_close_arrives() -> None:
    async def test(network: Network, client: Streams, server: Streams) -> None:
        client[1].write(bytes(500))
        client[1].close()
        assert await server[0].read() == bytes(500)
        server[1].close()
        await asyncio.sleep(1)
        assert not network.open_wires
        assert not network.open_sockets

    joined(test, Conditions(buffer=100, whole=0.0))


def test_a_writer_waits_for_a_reader_that_does_not_read() -> None:
    async def test(network: Network, client: Streams, server: Streams) -> None:
        transport = server[1].transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        assert not transport.is_reading()
        client[1].write(bytes(1000))
        assert client[1].transport.get_write_buffer_size() == 1000
        assert client[1].transport.get_write_buffer_limits() == (25, 100)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await client[1].drain()
        transport.resume_reading()
        await client[1].drain()
        assert await server[0].readexactly(1000) == bytes(1000)

    joined(test, Conditions(buffer=100))


@pytest.mark.parametrize("way", ["to server", "to client"])
@pytest.mark.parametrize("how", ["fin", "rst", "blackhole"])
def test_a_wire_is_cut_after_so_many_bytes(how: How, way: Way) -> None:
    async def test(network: Network, client: Streams, server: Streams) -> None:
        writer, reader = (client[1], server[0]) if way == "to server" else (server[1], client[0])
        network.wires[0].cut_after(way, 7, how)
        writer.write(b"0123456789")
        assert await reader.readexactly(7) == b"0123456"
        try:
            async with asyncio.timeout(100):
                assert await reader.read() == b""
            seen = "fin"
        except ConnectionResetError:
            seen = "rst"
        except TimeoutError:
            seen = "blackhole"
        assert seen == how
        assert network.faults == {how: 1}
        writer.write(b"nobody hears this")
        server[1].transport.abort()

    joined(test)


def test_who_writes_to_an_end_that_is_gone_is_reset() -> None:
    async def test(network: Network, client: Streams, server: Streams) -> None:
        network.wires[0].mute("to client")
        server[1].close()
        client[1].write(b"x")
        with pytest.raises(ConnectionResetError):
            await client[0].read()
        client[1].transport.abort()

    joined(test)


def test_bytes_can_be_held_up() -> None:
    async def test(network: Network, client: Streams, server: Streams) -> None:
        client[1].write(b"x")
        network.wires[0].hold("to server", 5)
        began = network.loop.time()
        assert await server[0].readexactly(1) == b"x"
        assert network.loop.time() - began >= 5
        server[1].close()

    joined(test)


def test_a_server_can_be_away() -> None:
    network = Network()

    async def main() -> None:
        async with Broker() as broker:
            connection = await connect(broker.url)
            network.take_down(broker.port)
            with pytest.raises(ConnectionLost, match="refused"):
                await connect(broker.url)
            assert isinstance(connection.error, ConnectionLost)
            await connection.close()
            network.bring_up(broker.port)
            network.ignore(broker.port)
            with pytest.raises(OperationTimeout):
                await connect(broker.url, connect_timeout=3)
            network.bring_up(broker.port)
            async with connect(f"amqp://broker.example:{broker.port}", allow_plaintext_credentials=True):
                network.cut()
                await asyncio.sleep(1)
                assert not network.open_wires

    run(main(), network)


def test_a_server_that_stops_while_somebody_connects() -> None:
    network = Network()

    async def main() -> None:
        broker = Broker(port=5672)
        await broker.start()
        network.on_connect = lambda wire: network.take_down(5672)
        with pytest.raises(ConnectionLost):
            await connect(broker.url)
        await broker.stop()

    run(main(), network)


def test_a_websocket_goes_through_it_too() -> None:
    async def main() -> None:
        async with Broker(websocket_port=0) as broker, connect(broker.websocket_url) as connection:
            transport = connection._driver.transport  # type: ignore[attr-defined]
            assert not transport.is_closing()
            async with connection.sender("q") as sender:
                await sender.send(b"x")
            assert broker.queue("q").length == 1

    run(main(), Network(conditions=Conditions(whole=0.3)))


class Sips(asyncio.BufferedProtocol):
    """A protocol that has little room."""

    def __init__(self) -> None:
        self.room = bytearray(3)
        self.read: list[bytes] = []

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.room

    def buffer_updated(self, nbytes: int) -> None:
        self.read.append(bytes(self.room[:nbytes]))


def test_a_protocol_may_bring_a_buffer() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        protocol = Sips()
        server = await loop.create_server(lambda: protocol, "127.0.0.1", 7)
        writer = (await asyncio.open_connection("127.0.0.1", 7))[1]
        writer.write(b"something")
        await asyncio.sleep(1)
        assert protocol.read == [b"som", b"eth", b"ing"]
        writer.close()
        server.close()

    run(main(), Network())


def test_ports_are_taken_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        first = await loop.create_server(asyncio.Protocol, "127.0.0.1", 7)
        assert first.get_loop() is loop
        await first.start_serving()
        with pytest.raises(OSError, match="taken"):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 7)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(first.serve_forever(), 3)

    run(main(), Network())


def test_there_is_no_tls() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(NotImplementedError):
            await loop.create_server(asyncio.Protocol, "127.0.0.1", 7, ssl=True)
        with pytest.raises(NotImplementedError):
            await loop.create_connection(asyncio.Protocol, "127.0.0.1", 7, ssl=True)

    run(main(), Network())


def test_nobody_listens() -> None:
    network = Network()

    async def main() -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", 7)

    run(main(), network)
    assert not network.open_sockets


def test_connecting_can_be_cancelled() -> None:
    network = Network()

    async def main() -> None:
        async with Broker() as broker:
            network.on_connect = lambda wire: task.cancel()
            task = asyncio.create_task(asyncio.open_connection("127.0.0.1", broker.port))
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(1)
        assert not network.open_wires

    run(main(), network)
