"""Peers that behave as a test wants: engines in the server role, and servers of raw bytes, on real sockets."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from uamqp.engine.connection import ConnectionEndpoint
from uamqp.engine.delivery import IncomingDelivery
from uamqp.engine.link import LinkEndpoint
from uamqp.engine.observer import Observer
from uamqp.engine.receiver import ReceiverEndpoint
from uamqp.engine.run import Outgoing
from uamqp.engine.sasl import SaslServer
from uamqp.engine.sender import SenderEndpoint
from uamqp.engine.session import SessionEndpoint
from uamqp.engine.settings import ConnectionSettings
from uamqp.engine.states import LinkState, SessionState
from uamqp.transport.event_loop import EventLoopDriver

#: Seconds after which what does not come true is a failure; no test waits so long when all is well.
BOUND = 10.0


def wait_until(condition: Callable[[], Any]) -> None:
    """`eventually`, for blocking tests."""
    deadline = time.monotonic() + BOUND
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


async def eventually(condition: Callable[[], Any]) -> None:
    """Wait until the condition holds."""
    async with asyncio.timeout(BOUND):
        while not condition():
            await asyncio.sleep(0.001)


class Peer(Observer):
    """One accepted connection. It agrees to everything, accepts every message, and gives credit for many.

    Args:
        mute: hooks that do nothing, so that the client has no answer: ``Peer("on_begin")``.
        credit: what a link is given that it receives on; 50 and more are given again when half is used.
        settings, begin, attach: more arguments of its open, begin and attach.
    """

    def __init__(
        self,
        *mute: str,
        credit: int = 1000,
        settings: dict[str, Any] | None = None,
        begin: dict[str, Any] | None = None,
        attach: dict[str, Any] | None = None,
    ) -> None:
        for hook in mute:
            setattr(self, hook, lambda *arguments: None)
        self.credit = credit
        self.settings, self.begin, self.attach = settings or {}, begin or {}, attach or {}
        self.driver: EventLoopDriver
        self.engine: ConnectionEndpoint
        self.credentials: list[tuple[str, bytes]] = []
        self.sessions: list[SessionEndpoint] = []
        self.links: list[LinkEndpoint] = []
        self.messages: list[IncomingDelivery] = []
        self.settled: list[Outgoing] = []
        self.detached: list[LinkEndpoint] = []
        self.ended: list[SessionEndpoint] = []

    def authenticate(self, mechanism: str, response: bytes) -> str | None:
        self.credentials.append((mechanism, response))
        return "somebody"

    @property
    def sender(self) -> SenderEndpoint:
        """The link that it sends on: the newest there is."""
        return next(link for link in reversed(self.links) if isinstance(link, SenderEndpoint))

    @property
    def receiver(self) -> ReceiverEndpoint:
        """The link that it receives on: the newest there is."""
        return next(link for link in reversed(self.links) if isinstance(link, ReceiverEndpoint))

    def freeze(self) -> None:
        """Read nothing more."""
        assert self.driver.transport is not None
        self.driver.transport.pause_reading()

    def thaw(self) -> None:
        assert self.driver.transport is not None
        self.driver.transport.resume_reading()

    def cut(self) -> None:
        """Reset the connection."""
        assert self.driver.transport is not None
        self.driver.transport.abort()

    def write(self, data: bytes) -> None:
        """Write bytes past the engine."""
        assert self.driver.transport is not None
        self.driver.transport.write(data)

    def on_message(self, delivery: IncomingDelivery) -> None:
        # The end of the link may have come with the message.
        if delivery.link.error is None:
            delivery.accept()

    def on_output(self) -> None:
        self.driver.flush_soon()

    def on_open(self) -> None:
        self.engine.open()

    def on_begin(self, session: SessionEndpoint) -> None:
        if session.state is SessionState.MAPPED:
            # The answer to its own.
            return
        self.sessions.append(session)
        session.begin(**self.begin)

    def on_attach(self, link: LinkEndpoint) -> None:
        if link.state is LinkState.ATTACHED:
            return
        remote = link.remote_attach
        assert remote is not None
        self.links.append(link)
        link.attach(
            remote.source,
            remote.target,
            sender_settle_mode=remote.snd_settle_mode,
            receiver_settle_mode=remote.rcv_settle_mode,
            **self.attach,
        )
        if isinstance(link, ReceiverEndpoint) and self.credit:
            link.flow(self.credit)

    def on_detach(self, link: LinkEndpoint, error: Any) -> None:
        self.detached.append(link)

    def on_end(self, session: SessionEndpoint, error: Any) -> None:
        self.ended.append(session)

    def on_deliveries(self, receiver: ReceiverEndpoint) -> None:
        while receiver.queue:
            delivery = receiver.queue.popleft()
            self.messages.append(delivery)
            self.on_message(delivery)
        # Those that were given little are meant to have no more.
        if receiver.error is None and self.credit >= 50 and receiver.credit * 2 <= self.credit:
            receiver.flow(self.credit)

    def on_settled(self, deliveries: Sequence[Outgoing]) -> None:
        self.settled += deliveries


class _Stream(EventLoopDriver):
    def __init__(self, peer: Peer, peers: list[Peer]) -> None:
        super().__init__()
        self.peer = peer
        self.peers = peers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.peers.append(self.peer)
        self.peer.driver = self
        self.peer.engine = ConnectionEndpoint(
            self.peer,
            ConnectionSettings("peer", **self.peer.settings),
            server=True,
            sasl=SaslServer(["EXTERNAL", "PLAIN", "ANONYMOUS"], self.peer.authenticate),
            sasl_required=False,
        )
        self.run_engine(self.peer.engine)


class PeerServer:
    """Listens, and makes a peer for each connection.

    Attributes:
        url: where it is.
        peers: those there were, oldest first.
    """

    def __init__(self, make: Callable[[], Peer]) -> None:
        self._make = make
        self.peers: list[Peer] = []
        self.url = ""

    def accept(self) -> EventLoopDriver:
        return _Stream(self._make(), self.peers)

    @property
    def peer(self) -> Peer:
        """The newest."""
        return self.peers[-1]


@asynccontextmanager
async def peer_server(make: Callable[[], Peer] = Peer, **options: Any) -> AsyncIterator[PeerServer]:
    """A server of peers; options as for `loop.create_server`."""
    server = PeerServer(make)
    listener = await asyncio.get_running_loop().create_server(server.accept, "127.0.0.1", 0, **options)
    port = listener.sockets[0].getsockname()[1]
    server.url = f"{'amqps' if options.get('ssl') else 'amqp'}://127.0.0.1:{port}"
    try:
        yield server
    finally:
        listener.close()
        for peer in server.peers:
            if peer.driver.transport is not None:
                peer.driver.transport.abort()
        await eventually(lambda: all(peer.driver._lost for peer in server.peers))


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """The URL of a server of raw bytes; a connection ends when its handler does."""
    handlers: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(handle(reader, writer))
        handlers.add(task)
        task.add_done_callback(handlers.discard)

    listener = await asyncio.start_server(start, "127.0.0.1", 0)
    try:
        yield f"amqp://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for task in handlers:
            task.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        # The transports of the handlers end in the next turn.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


class ThreadedServer:
    """What the test can do with a server that runs in a thread of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop, server: PeerServer) -> None:
        self._loop = loop
        self._server = server
        self.url = server.url

    @property
    def peer(self) -> Peer:
        return self._server.peer

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call it in the thread of the server, and return what it returns."""

        async def run() -> Any:
            return function(*arguments)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(BOUND)


@contextmanager
def threaded_server(make: Callable[[], Peer] = Peer, **options: Any) -> Iterator[ThreadedServer]:
    """A server of peers for blocking tests."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="peer", daemon=True)
    thread.start()
    context = peer_server(make, **options)
    try:
        yield ThreadedServer(loop, asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result(BOUND))
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result(BOUND)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(BOUND)
        loop.close()


class Wrapped:
    """A stream of which something is different."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class BrokenPipe(Wrapped):
    """In place of a stream that breaks when it is written to."""

    def send(self, data: bytes) -> int:
        raise BrokenPipeError("broken")
