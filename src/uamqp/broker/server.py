"""The broker: listens, lets clients in, and keeps the table of nodes."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from ..codec.message import Message
from ..engine.connection import ConnectionEndpoint
from ..engine.errors import NOT_FOUND, RESOURCE_LIMIT_EXCEEDED
from ..engine.sasl import SaslServer, parse_plain
from ..engine.settings import ConnectionSettings
from ..exceptions import AddressError
from ..transport.event_loop import EventLoopDriver
from ..transport.tls import Path, server_context
from .nodes import Entry, Node, Queue, Refused, Topic, dead_letter_copy
from .options import HANDSHAKE_TIMEOUT, BrokerOptions
from .peer import Peer
from .services import ClaimsBasedSecurity, Management

_SUPPORTED = ("ANONYMOUS-RELAY",)


class Broker:
    """An AMQP 1.0 broker for development and tests: in memory, in this process, on loopback.

    ::

        async with Broker() as broker:
            connection = await connect(broker.url)

    Args:
        host: the address to listen on. Anything but this machine needs `users` (see `BrokerOptions`).
        port: the TCP port; 0 takes a free one, `url` tells which.
        tls_cert, tls_key: PEM files of a certificate and its key: listen with TLS.
        tls_client_ca: PEM file of an authority: demand client certificates of it, which also serve SASL EXTERNAL.
        **options: the fields of `BrokerOptions`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        tls_client_ca: Path | None = None,
        **options: Any,
    ) -> None:
        self.options = replace(BrokerOptions(), **options)
        if not _is_loopback(host) and self.options.anonymous_allowed:
            raise AddressError(
                f"a broker that lets in everybody listens on this machine only, not on {host!r}: give it users"
            )
        self.host = host
        self.port = port
        self.container_id = f"uamqp-broker-{uuid4()}"
        #: Messages that were refused since the start.
        self.refused = 0
        self._context = server_context(tls_cert, tls_key, client_ca=tls_client_ca) if tls_cert is not None else None
        self._client_certificates = tls_client_ca is not None
        self._server: asyncio.Server | None = None
        self._connections: dict[Peer, _Accepted] = {}
        self._handshakes: set[Peer] = set()
        self._nodes: dict[str, Node] = {}
        for service in (ClaimsBasedSecurity(self), Management(self)):
            self._nodes[service.name] = service

    # -- running -------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to listen. Raises OSError where the address cannot be had."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Accepted(self), self.host, self.port, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and close all connections; queues keep what they hold. Safe to call twice."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        await asyncio.gather(*(c.disconnect_politely() for c in list(self._connections.values())))
        await server.wait_closed()

    async def __aenter__(self) -> Broker:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def serve_forever(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None
        await self._server.serve_forever()

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
            asyncio.run_coroutine_threadsafe(broker.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    _loop: asyncio.AbstractEventLoop | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call something of a broker that is `running` in its own thread, and return what it returns."""
        assert self._loop is not None

        async def run() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    @property
    def url(self) -> str:
        """Where clients connect."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self._context is not None else 'amqp'}://{host}:{self.port}"

    @property
    def connections(self) -> int:
        """Connections there are."""
        return len(self._connections)

    def drop_connections(self) -> None:
        """Cut all connections without a word, as a crash would."""
        for accepted in list(self._connections.values()):
            if accepted.transport is not None:
                accepted.transport.abort()

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
        """
        name = name.lstrip("/")
        node = self._nodes.get(name)
        if node is not None:
            if not isinstance(node, Queue):
                raise Refused("amqp:not-allowed", f"{name!r} is not a queue")
            return node
        options = self.options
        target = options.dead_letter if dead_letter is None else dead_letter
        queue = Queue(
            name,
            max_length=options.max_queue_length if max_length is None else max_length,
            max_bytes=options.max_queue_bytes if max_bytes is None else max_bytes,
            max_deliveries=options.max_deliveries if max_deliveries is None else max_deliveries,
            dead_letter=None if target is None or target == name else self._burier(target),
            ttl=ttl,
        )
        self._add(queue)
        return queue

    def topic(self, name: str) -> Topic:
        """Declare a topic, or get the one there is. Raises Refused as `queue` does."""
        name = name.lstrip("/")
        node = self._nodes.get(name)
        if node is None:
            node = Topic(name)
            self._add(node)
        if not isinstance(node, Topic):
            raise Refused("amqp:not-allowed", f"{name!r} is not a topic")
        return node

    def find(self, address: str) -> Node | None:
        """The node of that address, if there is one."""
        return self._nodes.get(_name(address))

    def node(self, address: str, capabilities: Sequence[Any] = ()) -> Node:
        """The node that somebody attaches to, made where it is new and that is allowed. Raises Refused."""
        name = _name(address)
        node = self._nodes.get(name)
        if node is not None:
            return node
        if not self.options.auto_create or not name or name.startswith("$"):
            raise Refused(NOT_FOUND, f"there is no node {name!r}")
        return self.topic(name) if "topic" in capabilities else self.queue(name)

    def node_for_message(self, message: Message, peer: Peer) -> Node:
        """Where a message goes that came over the anonymous terminus. Raises Refused."""
        address = message.properties.to
        if address is None:
            raise Refused("amqp:precondition-failed", "a message to the anonymous terminus without address (to)")
        node = self.find(str(address))
        if node is None:
            raise Refused(NOT_FOUND, f"there is no node {address!r}")
        return node

    def delete(self, name: str) -> None:
        """Delete a node; consumers are detached with ``amqp:resource-deleted``."""
        node = self._nodes.pop(_name(name), None)
        if node is not None:
            node.close()

    def make_queue(self, name: str) -> Queue:
        """A queue with the default terms that is not in the table of nodes."""
        options = self.options
        return Queue(name, max_length=options.max_queue_length, max_bytes=options.max_queue_bytes)

    def make_dynamic(self, owner: Peer) -> Queue:
        """A temporary queue of a connection."""
        queue = self.make_queue(f"dynamic-{uuid4()}")
        queue.owner = owner
        self._add(queue)
        return queue

    def list_nodes(self) -> list[list[str]]:
        """Name and kind of all queues and topics."""
        return [[n.name, type(n).__name__.lower()] for n in self._nodes.values() if isinstance(n, Queue | Topic)]

    def _add(self, node: Node) -> None:
        if len(self._nodes) >= self.options.max_queues:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"there are {len(self._nodes)} nodes already")
        self._nodes[node.name] = node

    def _burier(self, target: str) -> Callable[[Queue, Entry, str, str], None]:
        def bury(source: Queue, entry: Entry, reason: str, description: str) -> None:
            try:
                self.node(target).put(dead_letter_copy(source, entry, reason, description))
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

    def in_handshake(self, peer: Peer) -> bool:
        """Whether the client has not finished its handshake."""
        return peer in self._handshakes

    def sasl(self, certificate_name: str | None) -> SaslServer:
        """The SASL side for a new connection; `certificate_name` where a client certificate was shown."""
        mechanisms = ["PLAIN"]
        if certificate_name is not None:
            mechanisms.insert(0, "EXTERNAL")
        if self.options.anonymous_allowed:
            mechanisms.append("ANONYMOUS")

        def authenticate(mechanism: str, response: bytes) -> str | None:
            if mechanism == "ANONYMOUS":
                return ""
            if mechanism == "EXTERNAL":
                return certificate_name
            parts = parse_plain(response)
            if parts is None:
                return None
            _, user, password = parts
            if not self.options.users:
                return user
            known = self.options.users.get(user)
            same = hmac.compare_digest((known or "").encode(), password.encode())
            return user if known is not None and same else None

        return SaslServer(mechanisms, authenticate)


class _Accepted(EventLoopDriver):
    """The stream of one accepted connection."""

    def __init__(self, broker: Broker) -> None:
        super().__init__()
        self._broker = broker
        self.peer = Peer(broker)
        self._handshake_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        broker = self._broker
        if not broker.accept(self):
            assert self.transport is not None
            self.transport.abort()
            return
        sasl = broker.sasl(_certificate_name(transport))
        settings = ConnectionSettings(
            broker.container_id,
            max_frame_size=broker.options.max_frame_size,
            channel_max=broker.options.channel_max,
            idle_timeout=broker.options.idle_timeout,
            offered_capabilities=_SUPPORTED,
            properties={"product": "uamqp-broker", "platform": "Python"},
        )
        engine = ConnectionEndpoint(
            self.peer, settings, server=True, sasl=sasl, sasl_required=not broker.options.anonymous_allowed
        )
        self._sasl = sasl
        self.peer.bind(engine, self.flush_soon)
        self.run_engine(engine)
        self._handshake_timer = self.loop.call_later(HANDSHAKE_TIMEOUT, self._end_handshake)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._handshake_timer is not None and not self._broker.in_handshake(self.peer):
            self._handshake_timer.cancel()
            self._handshake_timer = None
            self.peer.identity = self._sasl.identity or ""
            self.tick()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._handshake_timer is not None:
            self._handshake_timer.cancel()
        super().connection_lost(exc)
        self._broker.closed(self.peer)

    async def disconnect_politely(self) -> None:
        """Close, and give the client a moment to answer."""
        if self.engine is not None:
            self.engine.close()
        await self.disconnect(1.0)

    def _end_handshake(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def _name(address: str) -> str:
    """The name of a node in any form that clients use for it: plain, with a leading slash, or as a URL."""
    if "://" in address:
        _, _, address = address.partition("://")[2].partition("/")
    return address.lstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _certificate_name(transport: asyncio.BaseTransport) -> str | None:
    stream: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate = stream.getpeercert() if stream is not None else None
    if not certificate:
        return None
    subject: Any = certificate.get("subject", ())
    return next((value for part in subject for key, value in part if key == "commonName"), None)
