"""A network in memory, for programs on a `VirtualLoop`: every delay, split and fault comes from a seed or from you."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from .clock import VirtualLoop

#: How a wire is cut: both ends read the end of the stream; both are reset; nothing is carried, and nobody is told.
How = Literal["fin", "rst", "blackhole"]
#: A protocol of either kind that asyncio has for streams.
Reader = asyncio.Protocol | asyncio.BufferedProtocol
#: A direction of a wire.
Way = Literal["to server", "to client"]

#: The first port that is given to a server which takes any.
_FIRST_PORT: Final = 40_000


@dataclass(frozen=True)
class Conditions:
    """What a network does to bytes.

    Attributes:
        latency: seconds that bytes are on their way, from and to.
        whole: the chance that all that is on its way arrives in one read; else it is split at any byte.
        buffer: bytes that a stream takes before its writer is told to pause; None leaves that to the writer.
        smallest: bytes of the smallest read, where one is split.
    """

    latency: tuple[float, float] = (0.0005, 0.0005)
    whole: float = 1.0
    buffer: int | None = None
    smallest: int = 1


class Network:
    """Servers and wires in memory. Belongs to one `VirtualLoop`.

    ::

        network = Network(seed=7, conditions=Conditions(whole=0.5))
        run(main(), network)

    Args:
        seed: of all that it does by chance.
        conditions: what it does to bytes; may be changed at any time.

    Attributes:
        wires: those there were, oldest first.
        on_connect: called with each new wire, before a byte was carried: the place to plan what happens to it.
        on_bytes: called with the wire, the way and the bytes of every read, just before that.
        faults: how many there were, by kind.
    """

    def __init__(self, seed: int | str = 0, conditions: Conditions | None = None) -> None:
        self.random = Random(seed)
        self.conditions = conditions or Conditions()
        self.wires: list[Wire] = []
        self.on_connect: Callable[[Wire], None] | None = None
        self.on_bytes: Callable[[Wire, Way, bytes], None] | None = None
        self.faults: Counter[str] = Counter()
        self.loop: VirtualLoop
        self._servers: dict[int, Server] = {}
        self._down: set[int] = set()
        self._deaf: set[int] = set()
        #: Where sockets of programs are connected to, until they are given to a transport.
        self._dialled: dict[socket.socket, int] = {}
        self._sockets: list[socket.socket] = []
        self._next_port = _FIRST_PORT

    def bind(self, loop: VirtualLoop) -> None:
        """The network is the one of this loop."""
        self.loop = loop

    # -- faults --------------------------------------------------------------------------------------------------

    @property
    def open_wires(self) -> list[Wire]:
        """Wires of which an end is not closed."""
        return [wire for wire in self.wires if not wire.closed]

    def cut(self, how: How = "rst") -> None:
        """Cut all wires."""
        for wire in self.open_wires:
            wire.cut(how)

    def take_down(self, port: int, how: How = "rst") -> None:
        """The machine of a server crashes: its wires are cut, and it refuses connections until `bring_up`."""
        self.faults["down"] += 1
        self._down.add(port)
        for wire in self.open_wires:
            if wire.port == port:
                wire.cut(how)

    def bring_up(self, port: int) -> None:
        """The server takes connections again."""
        self._down.discard(port)
        self._deaf.discard(port)

    def ignore(self, port: int) -> None:
        """Who connects to the server hears nothing, until `bring_up`."""
        self.faults["ignored"] += 1
        self._deaf.add(port)

    # -- the loop's side -----------------------------------------------------------------------------------------

    def resolve(self, host: Any, port: Any) -> list[tuple[Any, ...]]:
        """What `getaddrinfo` answers."""
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(host), int(port)))]

    async def dial(self, sock: socket.socket, address: Any) -> None:
        """What `sock_connect` does."""
        port: int = address[1]
        self._sockets.append(sock)
        await asyncio.sleep(self.latency())
        if port in self._deaf:
            await self.loop.create_future()
        if port in self._down or port not in self._servers:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        self._dialled[sock] = port

    async def connect(
        self,
        factory: Callable[[], Reader],
        host: str,
        port: int,
        *,
        sock: socket.socket | None = None,
        ssl: Any = None,
        **options: Any,
    ) -> tuple[asyncio.Transport, Reader]:
        """What `create_connection` does."""
        if ssl is not None:
            raise NotImplementedError("the network in memory has no TLS")
        if sock is None:
            sock = socket.socket()
            try:
                await self.dial(sock, (host, port))
            except BaseException:
                sock.close()
                raise
        wire = Wire(self, self._dialled.pop(sock), sock)
        protocol = factory()
        wire.client.begin(protocol)
        self.wires.append(wire)
        if self.on_connect is not None:
            self.on_connect(wire)
        self.loop.call_soon(self._accept, wire)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            wire.client.close()
            raise
        return wire.client, protocol

    def _accept(self, wire: Wire) -> None:
        server = self._servers.get(wire.port)
        if server is None or wire.port in self._down:
            wire.cut("rst")
        elif not wire.server.is_closing():
            wire.server.begin(server.factory())

    def listen(self, factory: Callable[[], Reader], host: Any, port: int, **options: Any) -> Server:
        """What `create_server` does."""
        if options.get("ssl") is not None:
            raise NotImplementedError("the network in memory has no TLS")
        if not port:
            port = self._next_port
            self._next_port += 1
        if port in self._servers:
            raise OSError(errno.EADDRINUSE, f"port {port} is taken")
        server = self._servers[port] = Server(self, factory, str(host), port)
        return server

    def unlisten(self, server: Server) -> None:
        """The server is closed."""
        if self._servers.get(server.port) is server:
            del self._servers[server.port]

    def close(self) -> None:
        """Give back what belongs to the machine."""
        for sock in self._sockets:
            sock.close()

    @property
    def open_sockets(self) -> int:
        """Sockets of clients that were not closed."""
        return sum(sock.fileno() >= 0 for sock in self._sockets)

    # -- chance --------------------------------------------------------------------------------------------------

    def latency(self) -> float:
        """Seconds for the next bytes."""
        shortest, longest = self.conditions.latency
        return shortest + (longest - shortest) * self.random.random()

    def chunk(self, size: int) -> int:
        """How many of so many bytes arrive in one read."""
        if self.random.random() < self.conditions.whole:
            return size
        return self.random.randint(min(size, self.conditions.smallest), size)


class Server(asyncio.AbstractServer):
    """What listens on a port of the network."""

    def __init__(self, network: Network, factory: Callable[[], Reader], host: str, port: int) -> None:
        self._network = network
        self.factory = factory
        self.host = host
        self.port = port

    @property
    def sockets(self) -> tuple[Server]:
        """Stands for its socket, too: that is asked for its name only."""
        return (self,)

    def getsockname(self) -> tuple[str, int]:
        """Host and port."""
        return self.host, self.port

    def close(self) -> None:
        self._network.unlisten(self)

    async def wait_closed(self) -> None:
        pass

    def is_serving(self) -> bool:
        return self._network._servers.get(self.port) is self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._network.loop

    async def start_serving(self) -> None:
        pass

    async def serve_forever(self) -> None:
        await self._network.loop.create_future()


class Wire:
    """One connection of the network.

    Attributes:
        number: how many there were before.
        client, server: its two ends, as transports.
        port: the one of the server.
    """

    def __init__(self, network: Network, port: int, sock: socket.socket) -> None:
        self.network = network
        self.number = len(network.wires)
        self.port = port
        self.socket = sock
        self.client = End(self)
        self.server = End(self)
        self.to_server = Stream(self, "to server", self.client, self.server)
        self.to_client = Stream(self, "to client", self.server, self.client)
        self._cut = False

    @property
    def closed(self) -> bool:
        """Whether both ends are gone."""
        return self.client.lost and self.server.lost

    def stream(self, way: Way) -> Stream:
        """The stream of one direction."""
        return self.to_server if way == "to server" else self.to_client

    def cut(self, how: How = "rst") -> None:
        """Cut it now; what was under way is lost. Only the first time counts."""
        if self._cut or self.closed:
            return
        self._cut = True
        self.network.faults[how] += 1
        for stream in (self.to_server, self.to_client):
            stream.lose(how)

    def cut_after(self, way: Way, count: int, how: How = "rst") -> None:
        """Cut it when so many bytes have been read in that direction."""
        stream = self.stream(way)
        stream.cut_at = count, how
        stream.wake()

    def mute(self, way: Way) -> None:
        """Carry nothing any more in that direction, and tell nobody."""
        self.network.faults["mute"] += 1
        self.stream(way).lose("blackhole")

    def hold(self, way: Way, seconds: float) -> None:
        """Carry nothing in that direction for a while."""
        self.network.faults["hold"] += 1
        stream = self.stream(way)
        stream.held_until = self.network.loop.time() + seconds


class Stream:
    """The bytes in one direction of a wire."""

    def __init__(self, wire: Wire, way: Way, source: End, target: End) -> None:
        self.way = way
        self.held_until = 0.0
        #: Bytes that were read.
        self.carried = 0
        self.cut_at: tuple[int, How] | None = None
        self._wire = wire
        self._network = wire.network
        self._loop = wire.network.loop
        self._source, self._target = source, target
        source.outgoing, target.incoming = self, self
        self._pending = bytearray()
        self._finished = False
        #: Why it carries nothing any more.
        self._dead: How | None = None
        self._scheduled = False

    def __len__(self) -> int:
        """Bytes on their way."""
        return len(self._pending)

    def write(self, data: bytes) -> None:
        """More bytes are on their way."""
        if self._dead is None or self._dead == "blackhole":
            # What a black hole swallows piles up at the writer, as it does in reality.
            self._pending += data
            self.wake()

    def finish(self) -> None:
        """No more bytes will come."""
        self._finished = True
        self.wake()

    def lose(self, how: How) -> None:
        """Carry nothing any more; `how` is what the reader is told."""
        if self._dead is not None:
            return
        self._dead = how
        if how != "blackhole":
            self._pending.clear()
            self._loop.call_later(self._network.latency(), self._target.cut, how)

    def wake(self) -> None:
        """There may be something to carry."""
        if self._scheduled or self._dead is not None or not self._target.reading:
            return
        if self._pending or self._finished or self.cut_at is not None:
            self._scheduled = True
            now = self._loop.time()
            self._loop.call_at(max(now, self.held_until) + self._network.latency(), self._carry)

    def _carry(self) -> None:
        self._scheduled = False
        target = self._target
        if self._dead is not None or not target.reading:
            return
        if self.held_until > self._loop.time():
            self.wake()
            return
        if target.lost:
            # Nobody reads this any more, which the writer is told.
            self._dead = "rst"
            if self._pending:
                self._loop.call_later(self._network.latency(), self._source.cut, "rst")
                self._pending.clear()
            return
        pending = self._pending
        count = self._network.chunk(len(pending)) if pending else 0
        if self.cut_at is not None:
            count = min(count, self.cut_at[0] - self.carried)
        if count > 0:
            data = bytes(pending[:count])
            del pending[:count]
            self.carried += count
            if self._network.on_bytes is not None:
                self._network.on_bytes(self._wire, self.way, data)
            self._source.carried()
            target.read(data)
        if self.cut_at is not None and self.carried >= self.cut_at[0]:
            self._wire.cut(self.cut_at[1])
        elif pending:
            self.wake()
        elif self._finished:
            self._dead = "fin"
            target.read_end()


def _hand_over(data: bytes, protocol: Reader) -> None:
    if isinstance(protocol, asyncio.Protocol):
        protocol.data_received(data)
        return
    while data:
        buffer = memoryview(protocol.get_buffer(len(data)))
        count = min(len(data), len(buffer))
        buffer[:count] = data[:count]
        protocol.buffer_updated(count)
        data = data[count:]


class End(asyncio.Transport):
    """One end of a wire, as asyncio's protocols see it."""

    incoming: Stream
    outgoing: Stream

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire
        self._protocol: Reader | None = None
        self._closing = False
        self._paused = False
        #: Whether it takes bytes now.
        self.reading = False
        #: Whether its protocol was told that it is gone.
        self.lost = False
        self._loop = wire.network.loop
        self.set_write_buffer_limits()

    def begin(self, protocol: Reader) -> None:
        """It has a protocol now."""
        self._protocol = protocol
        self.reading = True
        protocol.connection_made(self)
        self.incoming.wake()

    # -- from the streams ----------------------------------------------------------------------------------------

    def read(self, data: bytes) -> None:
        """Bytes arrived."""
        if not self._closing and self._protocol is not None:
            _hand_over(data, self._protocol)

    def read_end(self) -> None:
        """The other end writes no more."""
        if not self._closing and self._protocol is not None and not self._protocol.eof_received():
            self.close()

    def carried(self) -> None:
        """Bytes of ours were read by the other end."""
        if self._closing:
            self._let_go()
        elif self._paused and self.get_write_buffer_size() <= self._low:
            self._paused = False
            assert self._protocol is not None
            self._protocol.resume_writing()

    def cut(self, how: How) -> None:
        """The wire was cut."""
        if how == "fin":
            self.read_end()
        else:
            self._end(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    # -- asyncio.Transport ---------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Reader)
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        self.incoming.wake()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        limit = self._wire.network.conditions.buffer
        self._high = 65_536 if high is None else high
        if limit is not None:
            self._high = min(self._high, limit)
        self._low = self._high // 4 if low is None else min(low, self._high)

    def get_write_buffer_size(self) -> int:
        return len(self.outgoing)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing:
            return
        self.outgoing.write(bytes(data))
        if not self._paused and len(self.outgoing) > self._high:
            self._paused = True
            assert self._protocol is not None
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.outgoing.finish()
            self._let_go()

    def abort(self) -> None:
        if not self.lost:
            # The writer goes away without a word: what is under way is lost.
            self.outgoing.lose("rst")
            self._end(None)

    # -- the end -------------------------------------------------------------------------------------------------

    def _let_go(self) -> None:
        # What is little enough is in the hands of the system, and arrives without us.
        if len(self.outgoing) <= self._high:
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self.lost:
            return
        self._closing = self.lost = True
        self.reading = True
        self.incoming.wake()
        if self is self._wire.client:
            self._wire.socket.close()
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.connection_lost(error)
