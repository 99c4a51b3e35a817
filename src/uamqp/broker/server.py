"""The broker: listens, lets clients in, and keeps the table of nodes."""

from __future__ import annotations

import asyncio
import hmac
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import uuid4

from ..engine.connection import ConnectionEndpoint
from ..engine.errors import CONNECTION_FORCED, NOT_ALLOWED, RESOURCE_LIMIT_EXCEEDED, wire_error
from ..engine.sasl import SaslServer, parse_plain
from ..engine.settings import ConnectionSettings
from ..exceptions import AddressError, LocalProtocolError
from ..transport.address import Endpoint, is_loopback
from ..transport.event_loop import EventLoopDriver
from ..transport.tls import Path, server_context
from .azure.options import Azure
from .azure.personality import AzurePersonality
from .expiry import Sweeper
from .nodes import Entry, Node, Queue, Refused, Storage, Topic, dead_letter_copy, node_name, shown
from .options import BrokerOptions, check_name, check_number
from .peer import Peer
from .personality import Personality

if TYPE_CHECKING:
    from ..transport.websocket import WebSocket


_SUPPORTED: Final = ("ANONYMOUS-RELAY",)

#: Seconds that clients have to answer when the broker stops.
_FAREWELL: Final = 1.0


class Broker:
    """An AMQP 1.0 broker for development and tests: in memory, in this process, on loopback.

    ::

        async with Broker() as broker:
            connection = await connect(broker.url)

    Args:
        host: the address to listen on; anything but this machine needs `users` or `tls_client_ca`.
        port: the TCP port; 0 takes a free one, `url` tells which.
        websocket_port: listen for AMQP over WebSocket on this TCP port too, which needs ``uamqp[websocket]``; 0 takes
            a free one, `websocket_url` tells which.
        tls_cert, tls_key: PEM files of a certificate and its key: listen with TLS.
        tls_client_ca: PEM file of an authority: demand client certificates of it, which also serve SASL EXTERNAL.
        **options: the fields of `BrokerOptions`.

    Raises:
        AddressError: the address, or what is said of TLS and WebSocket, cannot be.
        Refused: the personality names a node twice.
        TypeError, ValueError: there is no such option, or no such personality.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        websocket_port: int | None = None,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        tls_client_ca: Path | None = None,
        **options: Any,
    ) -> None:
        self.options = replace(BrokerOptions(), **options)
        if tls_cert is None and (tls_key is not None or tls_client_ca is not None):
            raise AddressError("tls_key and tls_client_ca are of no use without tls_cert")
        if not is_loopback(host) and self.options.anonymous_allowed and tls_client_ca is None:
            raise AddressError(
                f"a broker that lets in everybody listens on this machine only, not on {host!r}: give it users"
            )
        for number in (port, *(() if websocket_port is None else (websocket_port,))):
            check_number("port", number)
        self.host = host
        self.port = port
        self.websocket_port = websocket_port
        self.container_id = f"uamqp-broker-{uuid4()}"
        #: Messages that were refused since the start.
        self.refused = 0
        self._context = server_context(tls_cert, tls_key, client_ca=tls_client_ca) if tls_cert is not None else None
        self._servers: list[asyncio.Server] = []
        self._websocket = None if websocket_port is None else _websocket_end()
        self._connections: dict[Peer, _Accepted] = {}
        self._handshakes: set[Peer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.storage = Storage(self.options.max_bytes)
        self.sweeper = Sweeper()
        self._nodes: dict[str, Node] = {}
        self.personality = self._make_personality()
        for service in self.personality.services():
            self._nodes[service.name] = service
        self.personality.declare()

    def _make_personality(self) -> Personality:
        personality = self.options.personality
        if personality == "generic":
            return Personality(self)
        if personality != "azure" and not isinstance(personality, Azure):
            raise ValueError(f"there is no personality {personality!r}")
        return AzurePersonality(self, personality if isinstance(personality, Azure) else Azure())

    # -- running -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to listen. Raises OSError where the address cannot be had."""
        await self._listen(self.port, None)
        self.port = self._bound_port()
        if self.websocket_port is not None:
            try:
                await self._listen(self.websocket_port, self._websocket)
            except BaseException:
                self._servers.pop().close()
                raise
            self.websocket_port = self._bound_port()
        self.sweeper.start()

    async def _listen(self, port: int, websocket: Callable[[], WebSocket] | None) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(
            await loop.create_server(lambda: _Accepted(self, self._context, websocket), self.host, port)
        )

    def _bound_port(self) -> int:
        port: int = self._servers[-1].sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening and close all connections; queues keep what they hold. Safe to call twice."""
        servers, self._servers = self._servers, []
        if not servers:
            return
        self.sweeper.stop()
        for server in servers:
            server.close()
        await asyncio.gather(*(c.take_leave() for c in list(self._connections.values())))
        for server in servers:
            await server.wait_closed()

    async def __aenter__(self) -> Broker:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        await asyncio.gather(*(server.serve_forever() for server in self._servers))

    @classmethod
    @contextmanager
    def running(cls, *args: Any, **kwargs: Any) -> Iterator[Broker]:
        """A broker in a thread of its own, for blocking programs and tests: ``with Broker.running() as broker``.

        While it runs, use its attributes and `call` only: nothing else of it is safe from other threads.
        """
        broker = cls(*args, **kwargs)
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="uamqp-broker", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(broker.start(), loop).result()
            broker._loop = loop
            yield broker
        finally:
            broker._loop = None
            asyncio.run_coroutine_threadsafe(broker.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something of a broker that is `running` in its own thread, and return what it returns.

        Raises LocalProtocolError where it does not run.
        """
        if self._loop is None:
            raise LocalProtocolError("the broker does not run in a thread of its own: see Broker.running")

        async def run() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return str(Endpoint(self.host, self.port, self._context is not None))

    @property
    def websocket_url(self) -> str:
        """Where clients connect by WebSocket; only with `websocket_port`, else LocalProtocolError is raised."""
        if self.websocket_port is None:
            raise LocalProtocolError("the broker does not listen on WebSocket: give it a websocket_port")
        return str(Endpoint(self.host, self.websocket_port, self._context is not None, websocket=True))

    @property
    def connections(self) -> int:
        """Connections there are."""
        return len(self._connections)

    def drop_connections(self) -> None:
        """Cut all connections without a word, as a crash would."""
        for accepted in list(self._connections.values()):
            accepted.cut()

    # -- nodes ---------------------------------------------------------------------------------------------------

    def queue(
        self,
        name: str,
        *,
        max_length: int | None = None,
        max_bytes: int | None = None,
        max_deliveries: int | None = None,
        dead_letter: str | None = None,
        ttl: float | None = None,
    ) -> Queue:
        """Declare a queue, or get the one there is.

        Args:
            name: its address.
            max_length, max_bytes, max_deliveries, dead_letter: as in `BrokerOptions`, which has the defaults.
            ttl: seconds that messages live at most.

        Raises:
            Refused: there is a topic of that name, or there are too many nodes.
            TypeError, ValueError: as for `BrokerOptions`.
        """
        terms = {"max_length": max_length, "max_bytes": max_bytes, "max_deliveries": max_deliveries, "ttl": ttl}
        for term, value in terms.items():
            if value is not None:
                check_number(term, value)
        check_name("dead_letter", dead_letter)
        name = name.lstrip("/")
        node = self.find(name)
        if node is not None:
            if not isinstance(node, Queue):
                raise Refused(NOT_ALLOWED, f"{shown(name)} is not a queue")
            return node
        queue = self.make_queue(
            name,
            max_length=max_length,
            max_bytes=max_bytes,
            max_deliveries=max_deliveries,
            dead_letter=dead_letter,
            ttl=ttl,
        )
        self.add(queue)
        return queue

    def topic(self, name: str) -> Topic:
        """Declare a topic, or get the one there is. Raises Refused as `queue` does."""
        name = name.lstrip("/")
        node = self.find(name)
        if node is None:
            node = Topic(name)
            self.add(node)
        if not isinstance(node, Topic):
            raise Refused(NOT_ALLOWED, f"{shown(name)} is not a topic")
        return node

    def find(self, address: str) -> Node | None:
        """The node of that address, if there is one."""
        return self._nodes.get(self._key(address))

    def _key(self, address: str) -> str:
        return self.personality.key(node_name(address))

    def node(self, address: str, capabilities: Sequence[Any] = ()) -> Node:
        """The node that somebody attaches to, made where it is new and that is allowed. Raises Refused."""
        return self.personality.node(node_name(address), capabilities)

    def delete(self, name: str) -> None:
        """Delete a node and its parts; whoever is attached to them is detached with ``amqp:resource-deleted``."""
        whole = self._key(name)
        for key in [key for key in self._nodes if key == whole or self.personality.is_part(key, whole)]:
            self._nodes.pop(key).close()

    def make_queue(
        self,
        name: str,
        *,
        max_length: int | None = None,
        max_bytes: int | None = None,
        max_deliveries: int | None = None,
        dead_letter: str | None = None,
        ttl: float | None = None,
    ) -> Queue:
        """A queue that is not in the table of nodes; arguments as in `queue`."""
        options = self.options
        target = options.dead_letter if dead_letter is None else dead_letter
        return Queue(
            name,
            max_length=options.max_queue_length if max_length is None else max_length,
            max_bytes=options.max_queue_bytes if max_bytes is None else max_bytes,
            max_deliveries=options.max_deliveries if max_deliveries is None else max_deliveries,
            dead_letter=None if target is None or target == name else self._burier(target),
            ttl=ttl,
            storage=self.storage,
            sweeper=self.sweeper,
        )

    def make_dynamic(self, owner: Peer) -> Queue:
        """A temporary queue of a connection. Raises Refused."""
        queue = self.make_queue(f"dynamic-{uuid4()}")
        queue.owner = owner
        self.add(queue)
        return queue

    def subscription(self, topic: Topic, name: str) -> Queue:
        """The queue of a subscription of the topic, made where it is new. Raises Refused."""
        if name not in topic.subscriptions:
            self._check_room()
        return topic.subscription(name, self.make_queue)

    def list_nodes(self) -> list[list[str]]:
        """Name and kind of all queues and topics."""
        return [[n.name, type(n).__name__.lower()] for n in self._nodes.values() if isinstance(n, Queue | Topic)]

    def add(self, node: Node) -> None:
        """Enter a node into the table. Raises Refused where the name is taken, or there are too many nodes."""
        key = self._key(node.name)
        if key in self._nodes:
            raise Refused(NOT_ALLOWED, f"there is a node {shown(node.name)} already")
        self._check_room()
        self._nodes[key] = node

    def _check_room(self) -> None:
        subscriptions = sum(len(n.subscriptions) for n in self._nodes.values() if isinstance(n, Topic))
        if len(self._nodes) + subscriptions >= self.options.max_queues:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"there are {self.options.max_queues} nodes already")

    def _burier(self, target: str) -> Callable[[Queue, Entry, str, str], None]:
        def bury(source: Queue, entry: Entry, reason: str, description: str) -> None:
            try:
                grave = self.find(target) or self.queue(target)
                grave.put(dead_letter_copy(source, entry, reason, description))
            except Refused:
                # A full dead-letter queue loses the letter; it must not stop the living.
                self.refused += 1

        return bury

    # -- connections ---------------------------------------------------------------------------------------------

    def opened(self, peer: Peer) -> None:
        """The client finished its handshake."""
        self._handshakes.discard(peer)

    def closed(self, peer: Peer) -> None:
        """The connection ended."""
        self._handshakes.discard(peer)
        self._connections.pop(peer, None)

    def accept(self, accepted: _Accepted) -> bool:
        """Whether there is room for one more connection; if so it is counted."""
        options = self.options
        if len(self._connections) >= options.max_connections or len(self._handshakes) >= options.max_handshakes:
            return False
        self._connections[accepted.peer] = accepted
        self._handshakes.add(accepted.peer)
        return True

    def sasl(self, certificate_name: str | None) -> SaslServer:
        """The SASL side for a new connection; `certificate_name` where a client certificate was shown."""
        mechanisms = ["PLAIN"]
        if certificate_name is not None:
            mechanisms.insert(0, "EXTERNAL")
        anonymous = self.personality.anonymous_mechanisms if self.options.anonymous_allowed else ()
        mechanisms += anonymous

        def authenticate(mechanism: str, response: bytes) -> str | None:
            if mechanism in anonymous:
                return ""
            if mechanism == "EXTERNAL":
                # Who wants to act for somebody else is refused; nobody may (RFC 4422 appendix A, RFC 4616).
                return certificate_name if response.decode(errors="replace") in ("", certificate_name) else None
            return self._check_plain(response)

        return SaslServer(mechanisms, authenticate)

    def _check_plain(self, response: bytes) -> str | None:
        parts = parse_plain(response)
        if parts is None:
            return None
        acting_for, user, password = parts
        if acting_for not in ("", user):
            return None
        users = self.personality.passwords
        if not users:
            return user
        same = hmac.compare_digest(users.get(user, "").encode(), password.encode())
        return user if same and user in users else None


class _Accepted(EventLoopDriver):
    """The stream of one accepted connection."""

    def __init__(
        self, broker: Broker, context: ssl.SSLContext | None, websocket: Callable[[], WebSocket] | None
    ) -> None:
        super().__init__()
        self._broker = broker
        self._context = context
        self._websocket = websocket
        self.peer = broker.personality.peer()
        self._gone = asyncio.Event()
        self._handshake_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        broker = self._broker
        if not broker.accept(self):
            self.cut()
            return
        self._handshake_timer = self.loop.call_later(broker.options.handshake_timeout, self.cut)
        if self._context is None:
            self._secured(None)
        else:
            # TLS comes after the connection was counted, so that clients which never finish it are bounded too.
            self.spawn(self._secure(cast(asyncio.Transport, transport), self._context), "broker-tls")

    async def _secure(self, plain: asyncio.Transport, context: ssl.SSLContext) -> None:
        try:
            secured = await self.loop.start_tls(
                plain, self, context, server_side=True, ssl_handshake_timeout=self._broker.options.handshake_timeout
            )
        except OSError:
            # No TLS, or no certificate that we trust; `SSLError` is an OSError too.
            secured = None
        if secured is None:
            self.connection_lost(None)
            return
        super().connection_made(secured)
        self._secured(_certificate_name(secured))

    def _secured(self, certificate_name: str | None) -> None:
        if self._websocket is None:
            self._serve(certificate_name)
            return

        websocket = self._websocket()

        def decided() -> None:
            if websocket.opened:
                self._serve(certificate_name)

        assert self.transport is not None
        tunnel = self.tunnel(websocket, decided)
        self.transport.set_protocol(tunnel)
        tunnel.connection_made(self.transport)
        # What came together with the end of the TLS handshake.
        early, self._early = self._early, []
        for data in early:
            tunnel.data_received(data)

    def _serve(self, certificate_name: str | None) -> None:
        broker = self._broker
        sasl = broker.sasl(certificate_name)
        settings = ConnectionSettings(
            broker.container_id,
            max_frame_size=broker.options.max_frame_size,
            channel_max=broker.options.channel_max,
            idle_timeout=broker.options.idle_timeout,
            offered_capabilities=_SUPPORTED,
            properties={"product": "uamqp-broker", "platform": "Python"},
            all_fields=broker.personality.all_fields,
        )
        engine = ConnectionEndpoint(
            self.peer, settings, server=True, sasl=sasl, sasl_required=not broker.options.anonymous_allowed
        )
        self._sasl = sasl
        self.peer.bind(engine, self.flush_soon, self._opened)
        self.run_engine(engine)

    def _opened(self) -> None:
        self._end_handshake()
        self._broker.opened(self.peer)
        self.peer.identity = self._sasl.identity or ""
        self.tick()

    def _end_handshake(self) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
            self._handshake_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_handshake()
        super().connection_lost(exc)
        self._broker.closed(self.peer)
        self._gone.set()

    # A client that does not read what it asked for is not read from either: else our answers to it would pile up.

    def pause_writing(self) -> None:
        super().pause_writing()
        assert self.transport is not None
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        assert self.transport is not None
        self.transport.resume_reading()
        self.peer.resumed()

    def cut(self) -> None:
        """End the stream without a word."""
        assert self.transport is not None
        self.transport.abort()

    async def take_leave(self) -> None:
        """Close, and give the client a moment to answer."""
        if self.engine is None:
            self.cut()
        else:
            self.engine.close(wire_error(CONNECTION_FORCED, "the broker stops"))
            self.flush_soon()
        try:
            async with asyncio.timeout(_FAREWELL):
                await self._gone.wait()
        except TimeoutError:
            self.cut()
            await self._gone.wait()


def _websocket_end() -> Callable[[], WebSocket]:
    try:
        from ..transport.websocket import WebSocket
    except ModuleNotFoundError:
        raise AddressError('websocket_port needs websockets: pip install "uamqp[websocket]"') from None
    return WebSocket.server


def _certificate_name(transport: asyncio.BaseTransport) -> str | None:
    stream: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate = stream.getpeercert() if stream is not None else None
    if not certificate:
        return None
    subject: Any = certificate.get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), None)
