from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from uamqp.aio import Connection, connect
from uamqp.engine.connection import AMQP_HEADER, EMPTY_FRAME, ConnectionEndpoint
from uamqp.engine.settings import ConnectionSettings
from uamqp.exceptions import AMQPError, ConnectionLost, IdleTimeout, InDoubt, NotSent, OperationTimeout
from uamqp.transport.address import parse_url
from uamqp.transport.event_loop import EventLoopDriver
from uamqp.transport.route import Route

from ..aio.conftest import Serve
from ..aio.peers import BOUND, Peer, eventually, raw_server
from ..engine.wire import Recorder


class Writes:
    """Stands before a transport and counts."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.calls: list[int] = []

    def write(self, data: bytes) -> None:
        self.calls.append(len(data))
        self._transport.write(data)

    def writelines(self, pieces: list[bytes]) -> None:
        self.calls.append(sum(map(len, pieces)))
        self._transport.writelines(pieces)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def driver_of(connection: Connection) -> EventLoopDriver:
    driver = connection._driver
    assert isinstance(driver, EventLoopDriver)
    return driver


def transport_of(connection: Connection) -> asyncio.Transport:
    transport = driver_of(connection).transport
    assert transport is not None
    return transport


@contextmanager
def counted_writes(connection: Connection) -> Iterator[Writes]:
    driver = driver_of(connection)
    writes = Writes(transport_of(connection))
    driver.transport = writes  # type: ignore[assignment]
    try:
        yield writes
    finally:
        driver.transport = writes._transport


@contextmanager
def closed_port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextmanager
def full_port() -> Iterator[int]:
    """A port where connecting never ends: the backlog is full, and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        try:
            for stream in waiting:
                stream.setblocking(False)
                stream.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for stream in waiting:
                stream.close()


# -- connecting ------------------------------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    with closed_port() as port, pytest.raises(ConnectionLost, match=f"cannot connect to amqp://127.0.0.1:{port}: "):
        await connect(f"amqp://127.0.0.1:{port}")


async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ConnectionLost, match=r"cannot connect to amqp://nowhere\.invalid:5672: "):
        await connect("amqp://nowhere.invalid")


async def test_nobody_accepts() -> None:
    with full_port() as port, pytest.raises(OperationTimeout, match=r"no connection to .* within 0\.1 s"):
        await connect(f"amqp://127.0.0.1:{port}", connect_timeout=0.1)


async def test_connecting_can_be_cancelled() -> None:
    with full_port() as port:
        task = asyncio.create_task(connect(f"amqp://127.0.0.1:{port}").open())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_peer_that_never_opens(serve: Serve) -> None:
    server = await serve(lambda: Peer("on_open"))
    with pytest.raises(OperationTimeout, match=r"did not finish the opening handshake within 0\.1 s"):
        await connect(server.url, connect_timeout=0.1)
    await eventually(lambda: server.peer.driver._lost)


async def test_a_peer_that_hangs_up_at_once() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pass

    async with raw_server(hang_up) as url:
        with pytest.raises(ConnectionLost, match="during authentication"):
            await connect(url)


async def test_a_peer_that_resets_at_once() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.transport.abort()

    async with raw_server(reset) as url:
        with pytest.raises(ConnectionLost):
            await connect(url)


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x00\x00\x09\x01", b"\x15\x03\x03\x00\x02\x02\x46..."]
)
async def test_a_peer_that_speaks_something_else(greeting: bytes) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read(-1)

    async with raw_server(greet) as url:
        with pytest.raises(AMQPError, match=r"does not speak AMQP|does not offer SASL"):
            await connect(url)


@pytest.fixture
async def greeted() -> AsyncIterator[tuple[EventLoopDriver, ConnectionEndpoint]]:
    """A driver whose peer has spoken before there is an engine, and an engine that is not running yet."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(AMQP_HEADER)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(EMPTY_FRAME[:3])
        await reader.read(-1)

    async with raw_server(greet) as url:
        driver = EventLoopDriver()
        await driver.connect(Route(parse_url(url)), BOUND)
        await eventually(lambda: len(driver._early) == 2)
        observer = Recorder()
        observer.engine = ConnectionEndpoint(observer, ConnectionSettings("client"))
        observer.on_output = driver.flush_soon  # type: ignore[method-assign]
        yield driver, observer.engine
        await driver.disconnect(BOUND)


async def test_what_came_before_the_engine_is_not_lost(
    greeted: tuple[EventLoopDriver, ConnectionEndpoint],
) -> None:
    driver, engine = greeted
    engine.start()
    driver.run_engine(engine)
    assert engine.state.value == "OPEN_SENT"
    assert engine._aside == [EMPTY_FRAME[:3]]


async def test_a_driver_without_engine_has_nothing_to_do(
    greeted: tuple[EventLoopDriver, ConnectionEndpoint],
) -> None:
    driver, _ = greeted
    driver.tick()
    driver.pause_writing()
    driver.resume_writing()
    driver.flush_soon()
    await asyncio.sleep(0)
    await driver.disconnect(BOUND)
    await driver.disconnect(BOUND)


@pytest.mark.parametrize("how", ["end", "reset"])
async def test_an_engine_learns_that_its_stream_is_gone_already(how: str) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if how == "reset":
            writer.transport.abort()

    async with raw_server(leave) as url:
        driver = EventLoopDriver()
        try:
            await driver.connect(Route(parse_url(url)), BOUND)
        except ConnectionLost:
            assert how == "reset"
            return
        await eventually(lambda: driver._lost)
        observer = Recorder()
        observer.engine = ConnectionEndpoint(observer, ConnectionSettings("client"))
        observer.on_output = driver.flush_soon  # type: ignore[method-assign]
        observer.engine.start()
        driver.run_engine(observer.engine)
        assert isinstance(observer.engine.error, ConnectionLost)
        driver.tick()
        await asyncio.sleep(0)
        await driver.disconnect(BOUND)


# -- writing ---------------------------------------------------------------------------------------------------------


async def test_one_write_for_what_is_sent_in_one_turn(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        with counted_writes(connection) as writes:
            deliveries = [sender.send_nowait(b"x" * 100) for _ in range(1000)]
            assert writes.calls == []
            await asyncio.gather(*deliveries)
            assert len(writes.calls) == 1


async def test_what_is_waited_for_alone_is_written_at_once(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        with counted_writes(connection) as writes:
            sending = sender.send(b"x")
            # As far as it comes before the loop has its turn.
            waiter = sending.send(None)
            assert len(writes.calls) == 1
            await asyncio.wait([waiter], timeout=BOUND)
            with pytest.raises(StopIteration):
                sending.send(None)
            # With others it goes out at the end of the turn, as does what nobody waits for.
            await asyncio.gather(*(sender.send(b"x") for _ in range(100)))
            assert len(writes.calls) == 3
            for _ in range(100):
                await sender.send(b"x", settled=True)
            assert len(writes.calls) == 3
            await eventually(lambda: len(server.peer.messages) == 201)
            assert len(writes.calls) == 4
            # What is to be written anyway takes it along.
            sender.send_nowait(b"x", settled=True)
            await sender.send(b"x")
            assert len(writes.calls) == 5


async def test_one_write_for_what_is_settled_in_one_turn(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q", prefetch=100)
        await eventually(lambda: server.peer.sender.credit == 100)
        for _ in range(40):
            server.peer.sender.send(b"\x00\x53\x75\xa0\x01x")
        await eventually(lambda: receiver.queued == 40)
        with counted_writes(connection) as writes:
            for delivery in await receiver.receive_many(40):
                delivery.accept()
            await eventually(lambda: len(server.peer.settled) == 40)
            # One disposition for all of them.
            assert len(writes.calls) == 1
            assert writes.calls[0] < 50


async def test_large_payloads_are_not_joined(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"max_frame_size": 1 << 20}))
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        body = bytes(200_000)
        await sender.send(body)
        assert len(server.peer.messages[0].payload) > len(body)


async def test_a_peer_that_stops_reading_stops_the_sender(serve: Serve) -> None:
    count, size = 400, 65_536
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        sender = await connection.sender("q")
        server.peer.freeze()
        deliveries = [sender.send_nowait(bytes(size)) for _ in range(count)]
        await eventually(lambda: connection._engine.paused)
        # What the kernel does not take waits in its link, not in the transport.
        written = transport_of(connection).get_write_buffer_size()
        assert written < 2 * 1024 * 1024
        small = sender.send_nowait(b"small")
        assert small.id < 0
        with pytest.raises(OperationTimeout, match="was not sent within"):
            await sender.send(b"impatient", timeout=0.01)
        assert transport_of(connection).get_write_buffer_size() <= written
        server.peer.thaw()
        await asyncio.gather(*deliveries, small)
        assert not connection._engine.paused
        assert len(server.peer.messages) == count + 1


async def test_other_links_go_on_while_a_large_message_waits(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        large, small = await connection.sender("large"), await connection.sender("small")
        waiting = asyncio.create_task(large.send(bytes(20_000_000)))
        await asyncio.sleep(0)
        await small.send(b"x")
        assert not waiting.done()
        await waiting


# -- time ------------------------------------------------------------------------------------------------------------


async def test_heartbeats_go_out_when_the_peer_asked_for_them(serve: Serve) -> None:
    server = await serve(lambda: Peer(settings={"idle_timeout": 1.0}))
    async with connect(server.url, timeout=BOUND):
        opened = server.peer.engine.last_received
        await eventually(lambda: server.peer.engine.last_received > opened)


async def test_an_idle_connection_makes_no_system_calls(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND):
        selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
        select, calls = selector.select, 0

        def counted(timeout: float | None = None) -> Any:
            nonlocal calls
            calls += 1
            return select(timeout)

        selector.select = counted
        try:
            await asyncio.sleep(0.2)
        finally:
            del selector.select
        # The one in which this test slept, and what a coarse clock adds.
        assert calls <= 3


async def test_a_silent_peer_is_given_up(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND, idle_timeout=0.1) as connection:
        receiver = await connection.receiver("q")
        with pytest.raises(IdleTimeout) as caught:
            await receiver.receive()
        assert caught.value.condition == "amqp:resource-limit-exceeded"
        # The transport is closed without being asked.
        await eventually(lambda: driver_of(connection)._lost)
        await eventually(lambda: server.peer.engine.closed)


async def test_a_peer_that_speaks_is_not_given_up(serve: Serve) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND, idle_timeout=0.5) as connection:
        for _ in range(20):
            server.peer.write(EMPTY_FRAME)
            await asyncio.sleep(0.05)
        assert connection.is_open


async def test_a_closed_engine_gives_a_peer_that_does_not_read_little_time(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    sender = await connection.sender("q")
    server.peer.freeze()
    lost = [sender.send_nowait(bytes(1_000_000)) for _ in range(20)]
    await eventually(lambda: connection._engine.paused)
    driver = driver_of(connection)
    connection._engine.fail("amqp:internal-error", "the test wants it so")
    connection._engine.fail("amqp:internal-error", "and does not wait for the answer")
    await asyncio.sleep(0)
    assert transport_of(connection).is_closing()
    assert not driver._lost
    driver._hang_up(0.01)
    await eventually(lambda: driver._lost)
    await connection.close()
    assert {type(delivery.error) for delivery in lost} == {InDoubt, NotSent}


# -- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_waiting_callers_hear_at_once_that_the_stream_is_gone(serve: Serve, how: str) -> None:
    server = await serve()
    async with connect(server.url, timeout=BOUND) as connection:
        receiver = await connection.receiver("q")
        waiting = asyncio.create_task(receiver.receive())
        await asyncio.sleep(0)
        if how == "reset":
            server.peer.cut()
        else:
            transport = server.peer.driver.transport
            assert transport is not None
            transport.write_eof()
        with pytest.raises(ConnectionLost) as caught:
            await waiting
        assert isinstance(caught.value, ConnectionError)
        assert not connection.is_open


async def test_a_peer_that_writes_no_more_and_does_not_read_is_cut_off(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uamqp.transport.event_loop._LINGER", 0.01)
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    sender = await connection.sender("q")
    server.peer.freeze()
    waiting = sender.send_nowait(bytes(20_000_000))
    await eventually(lambda: connection._engine.paused)
    transport = server.peer.driver.transport
    assert transport is not None
    transport.write_eof()
    await eventually(lambda: driver_of(connection)._lost)
    assert isinstance(waiting.error, InDoubt)
    await connection.close()


async def test_disconnect_may_be_called_by_many(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    driver = driver_of(connection)
    await asyncio.gather(*(driver.disconnect(BOUND) for _ in range(3)))
    await driver.disconnect(BOUND)
    assert isinstance(connection.error, ConnectionLost)


async def test_disconnect_before_connect() -> None:
    await EventLoopDriver().disconnect(BOUND)


@pytest.mark.parametrize("how", ["time", "cancellation"])
async def test_disconnect_does_not_wait_for_a_peer_that_does_not_read(serve: Serve, how: str) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    sender = await connection.sender("q")
    server.peer.freeze()
    waiting = asyncio.create_task(sender.send(bytes(20_000_000)))
    await eventually(lambda: connection._engine.paused)
    driver = driver_of(connection)
    if how == "time":
        await driver.disconnect(0.01)
    else:
        task = asyncio.create_task(driver.disconnect(BOUND))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    with pytest.raises(InDoubt, match="lost"):
        await waiting
    await connection.close()
    assert driver._timer is None


async def test_disconnect_ends_the_tasks_of_the_connection(serve: Serve) -> None:
    server = await serve()
    connection = await connect(server.url, timeout=BOUND)
    driver = driver_of(connection)
    ended = []

    async def work() -> None:
        try:
            await driver.sleep(1000)
        finally:
            ended.append(True)

    driver.spawn(work(), "work")
    short = driver.spawn(driver.sleep(0), "short")
    await asyncio.sleep(0)
    await connection.close()
    await eventually(lambda: ended)
    assert isinstance(short, asyncio.Task)


async def test_nothing_is_left_in_the_loop(serve: Serve) -> None:
    server = await serve()
    loop = asyncio.get_running_loop()
    async with connect(server.url) as connection, connection.sender("q") as sender:
        await sender.send(b"x", timeout=77)
    await asyncio.sleep(0)
    timers = [timer for timer in loop._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert timers == []
