"""The asyncio driver: a protocol of asyncio per connection, one write per turn of the loop, no threads, no polling.

What somebody waits for alone is written before the end of the turn: see `Driver.at_once`.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ..engine.connection import ConnectionEndpoint
from ..exceptions import AMQPError, ConnectionLost, OperationTimeout
from .driver import ADDRESS_PATIENCE, BackgroundTask, Deadlines, Driver, Timer, wake
from .http import MAX_HEAD
from .pieces import HIGH_WATER, INBOX, pieces_of
from .proxy import http_connect, socks_connect
from .stall import StallWatch
from .tunnel import TransportTunnel

if TYPE_CHECKING:
    from .layers import Layer
    from .route import Route

T = TypeVar("T")

#: Whether transports join what they are given to write at once: messages of 100 KB took three times as long.
_COPIES_LINES: Final = sys.version_info < (3, 12)
#: Seconds that a transport has to get rid of its last bytes, before it is cut off.
_LINGER: Final = 5.0


class EventLoopDriver(asyncio.BufferedProtocol, Driver):
    """Moves bytes between a transport of the running loop and an engine; used by the client and by the broker."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None
        self.engine: ConnectionEndpoint | None = None
        self.deadlines = Deadlines(self.loop.time, self.loop.call_at)
        self.waiter = self.alarm = self.loop.create_future
        self.now = self.loop.time
        self._flush_scheduled = False
        #: The engine's next deadline; once the transport is closing, the time when it is cut off.
        self._timer: asyncio.TimerHandle | None = None
        self._stall = StallWatch(debug=self.loop.get_debug())
        self._early: list[bytes] = []
        self._lost = False
        self._lost_cause: Exception | None = None
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- Driver --------------------------------------------------------------------------------------------------

    async def connect(self, route: Route, timeout: float) -> None:
        endpoint = route.endpoint
        context, layer = route.layers()
        try:
            async with asyncio.timeout(timeout):
                stream = await self._open_stream(route, timeout)
                opened = asyncio.Event()
                protocol = self if layer is None else self.tunnel(layer, opened.set)
                transport, _ = await self.loop.create_connection(
                    lambda: protocol,
                    sock=stream,
                    ssl=context,
                    server_hostname=route.server_hostname if context is not None else None,
                )
                if layer is not None:
                    try:
                        await opened.wait()
                        if layer.error is not None:
                            raise layer.error
                    except BaseException:
                        transport.abort()
                        raise
        except TimeoutError as error:
            raise OperationTimeout(f"no connection to {route} within {timeout:g} s") from error
        except AMQPError:
            # Some are OSError too; they say it all.
            raise
        except ssl.SSLError as error:
            raise ConnectionLost(f"no TLS with {endpoint}: {error}") from error
        except OSError as error:
            # asyncio has no words for a peer that goes away during the TLS handshake.
            reason = error.strerror or str(error) or "the peer hung up"
            raise ConnectionLost(f"cannot connect to {route}: {reason}") from error

    async def _open_stream(self, route: Route, timeout: float) -> socket.socket:
        """A stream to the endpoint, or to a proxy whose conversation is that of a layer."""
        proxy, endpoint = route.proxy, route.endpoint
        if proxy is None:
            return await self._connect_host(endpoint.host, endpoint.port)
        stream = await self._connect_host(proxy.host, proxy.port)
        if proxy.scheme == "https":
            return stream
        try:
            if proxy.scheme != "http":
                await socks_connect(proxy, endpoint, stream, timeout)
                return stream
            conversation = http_connect(proxy, endpoint)
            request = next(conversation)
            while True:
                await self.loop.sock_sendall(stream, request)
                request = conversation.send(await self.loop.sock_recv(stream, MAX_HEAD))
        except StopIteration:
            return stream
        except BaseException:
            stream.close()
            raise

    def tunnel(self, layer: Layer, decided: Callable[[], None]) -> TransportTunnel:
        """What stands between the stream and this from now on; `decided` is called when it is open, or will never be,
        and then the layer knows why."""

        def ready() -> None:
            if layer.opened:
                EventLoopDriver.connection_made(self, tunnel)
            decided()

        tunnel = TransportTunnel(layer, self, ready)
        return tunnel

    async def _connect_host(self, host: str, port: int) -> socket.socket:
        # Not left to `create_connection`, which loses the socket when it is cancelled in the middle of its race
        # between addresses.
        try:
            addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            addresses = await self.loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for *family, _, address in addresses[:-1]:
            try:
                async with asyncio.timeout(ADDRESS_PATIENCE):
                    return await self._connect_to(family, address)
            except OSError:
                # The next one may answer.
                pass
        *family, _, address = addresses[-1]
        return await self._connect_to(family, address)

    async def _connect_to(self, family: Sequence[int], address: Any) -> socket.socket:
        stream = socket.socket(*family)
        try:
            stream.setblocking(False)
            await self.loop.sock_connect(stream, address)
        except BaseException:
            stream.close()
            raise
        return stream

    def run_engine(self, engine: ConnectionEndpoint) -> None:
        self.engine = engine
        engine.last_received = self.loop.time()
        early, self._early = self._early, []
        for data in early:
            self.data_received(data)
        if self._lost:
            engine.lose(self._lost_cause)
        elif engine.output_pending:
            self.flush_soon()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        return self.loop.call_at(when, callback)

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> BackgroundTask:
        task = self.loop.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def flush_soon(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self.loop.call_soon(self.flush)

    def flush(self) -> None:
        self._flush_scheduled = False
        engine, transport = self.engine, self.transport
        if engine is None or transport is None:
            return
        wrote = False
        while chunks := engine.data_to_send():
            if transport.is_closing():
                continue
            wrote = True
            pieces = pieces_of(chunks)
            if len(pieces) > 1 and (not _COPIES_LINES or isinstance(transport, TransportTunnel)):
                transport.writelines(pieces)
            else:
                for piece in pieces:
                    transport.write(piece)
        if wrote:
            engine.wrote(self.loop.time())
        if engine.closed and not transport.is_closing():
            self._hang_up()

    def at_once(self, function: Callable[..., T], *args: Any) -> T:
        if self._flush_scheduled:
            return function(*args)
        self._flush_scheduled = True
        try:
            return function(*args)
        finally:
            self.flush()

    async def turn(self) -> None:
        waiter = self.waiter()
        self.loop.call_soon(wake, waiter)
        await waiter

    async def disconnect(self, timeout: float) -> None:
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        transport = self.transport
        if transport is None or self._lost:
            return
        self.flush()
        self._hang_up(timeout)
        try:
            await self._ended.wait()
        except asyncio.CancelledError:
            transport.abort()
            raise

    async def renew(self) -> None:
        transport = self.transport
        if transport is not None and not self._lost:
            transport.abort()
            await self._ended.wait()
        self._set_timer(None)
        self.transport = self.engine = self._lost_cause = None
        self._early = []
        self._lost = False
        self._ended = asyncio.Event()

    def tick(self) -> None:
        engine, transport = self.engine, self.transport
        if engine is None or transport is None or transport.is_closing():
            return
        now = self.loop.time()
        self._stall.came_back(now)
        when = engine.tick(now)
        if engine.closed:
            self.flush()
        elif when is not None:
            self._set_timer(self.loop.call_at(when, self.tick))
            self._stall.expect(now, when)

    # -- asyncio.BufferedProtocol --------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every event loop derives its transports from asyncio's.
        self.transport = stream = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(high=HIGH_WATER)

    def get_buffer(self, sizehint: int) -> memoryview:
        return INBOX.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(INBOX.take(nbytes))

    def data_received(self, data: bytes) -> None:
        """What came, from a transport or from a tunnel."""
        engine = self.engine
        if engine is None:
            self._early.append(data)
            return
        engine.last_received = self.loop.time()
        engine.receive_data(data)
        if engine.error is not None:
            # It is over, or has a time in which the peer must answer close.
            self.tick()

    def eof_received(self) -> bool:
        if self.engine is not None:
            self.engine.receive_eof()
        # The loop closes the transport now, and would wait for ever for a peer that writes no more but does not read.
        self._cut_off_after(_LINGER)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost, self._lost_cause = True, exc
        self._set_timer(None)
        self._ended.set()
        if self.engine is not None:
            self.engine.lose(exc)
        self.deadlines.release()

    def pause_writing(self) -> None:
        if self.engine is not None:
            self.engine.pause()

    def resume_writing(self) -> None:
        if self.engine is not None:
            self.engine.resume()

    # -- own -----------------------------------------------------------------------------------------------------

    def _hang_up(self, linger: float = _LINGER) -> None:
        """Close the transport, which then has `linger` seconds to write what it still has."""
        if self.transport is not None and not self._lost:
            self.transport.close()
            self._cut_off_after(linger)

    def _cut_off_after(self, linger: float) -> None:
        assert self.transport is not None
        self._set_timer(self.loop.call_later(linger, self.transport.abort))

    def _set_timer(self, timer: asyncio.TimerHandle | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._stall.expect_nothing()
        self._timer = timer
