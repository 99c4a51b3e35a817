"""Opening a stream in blocking code: TCP, proxy, TLS and WebSocket, all of it within one time-out."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import AMQPError, ConnectionLost, OperationTimeout
from .driver import ADDRESS_PATIENCE, LONGEST_WAIT
from .http import MAX_HEAD
from .proxy import http_connect, socks_connect_blocking
from .tunnel import SocketTunnel, set_timeout

if TYPE_CHECKING:
    from .route import Route


class StreamOpening:
    """A stream that is being opened, in whatever thread, and that nobody may want any more when it is there."""

    def __init__(self, route: Route, timeout: float) -> None:
        self._route = route
        self._timeout = timeout
        self._lock = threading.Lock()
        self._stream: socket.socket | SocketTunnel | None = None
        self._abandoned = False

    def abandon(self) -> None:
        """It is not wanted: close it, as soon as it is there."""
        with self._lock:
            self._abandoned = True
            if self._stream is not None:
                self._stream.close()

    def open(self) -> socket.socket | SocketTunnel:
        """The stream, which does not block from now on.

        Raises:
            OperationTimeout: it took too long.
            ConnectionLost: the peer cannot be reached, or breaks off.
            AMQPError: the proxy, or the other end of TLS or WebSocket, does not want us.
        """
        stream = self._open()
        with self._lock:
            self._stream = stream
            if self._abandoned:
                stream.close()
        return stream

    def _open(self) -> socket.socket | SocketTunnel:
        route, timeout = self._route, self._timeout
        deadline = time.monotonic() + timeout
        endpoint = route.endpoint
        context, layer = route.layers()
        stream: socket.socket | SocketTunnel
        try:
            plain = stream = _open_stream(route, deadline)
        except TimeoutError as error:
            raise OperationTimeout(f"no connection to {route} within {timeout:g} s") from error
        except AMQPError:
            # Some are OSError too; they say it all.
            raise
        except OSError as error:
            raise ConnectionLost(f"cannot connect to {route}: {error.strerror or error}") from error
        step = "TLS"
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                set_timeout(plain, deadline)
                plain = stream = context.wrap_socket(plain, server_hostname=route.server_hostname)
            if layer is not None:
                step = "WebSocket" if route.websocket is not None else "TLS"
                stream = SocketTunnel(plain, layer, deadline)
            plain.setblocking(False)
        except BaseException as error:
            stream.close()
            if isinstance(error, TimeoutError):
                raise OperationTimeout(f"no {step} with {endpoint} within {timeout:g} s") from error
            if isinstance(error, OSError) and not isinstance(error, AMQPError):
                raise ConnectionLost(f"no {step} with {endpoint}: {error}") from error
            raise
        return stream


def _connect_host(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to the first address that answers."""
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    for *family, _, address in addresses[:-1]:
        try:
            return _connect_to(family, address, min(ADDRESS_PATIENCE, deadline - time.monotonic()))
        except OSError:
            # The next one may answer.
            pass
    *family, _, address = addresses[-1]
    return _connect_to(family, address, deadline - time.monotonic())


def _open_stream(route: Route, deadline: float) -> socket.socket:
    """A stream to the endpoint, or to a proxy whose conversation is that of a layer."""
    proxy, endpoint = route.proxy, route.endpoint
    if proxy is None:
        return _connect_host(endpoint.host, endpoint.port, deadline)
    stream = _connect_host(proxy.host, proxy.port, deadline)
    if proxy.scheme == "https":
        return stream
    timely = _Timely(stream, deadline)
    try:
        if proxy.scheme != "http":
            socks_connect_blocking(proxy, endpoint, timely)
            return stream
        conversation = http_connect(proxy, endpoint)
        request = next(conversation)
        while True:
            timely.sendall(request)
            request = conversation.send(timely.recv(MAX_HEAD))
    except StopIteration:
        return stream
    except BaseException:
        stream.close()
        raise


class _Timely:
    """A socket whose calls all end at the deadline, so that who answers byte by byte gains nothing."""

    def __init__(self, stream: socket.socket, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        set_timeout(self._stream, self._deadline)
        self._stream.sendall(data)

    def recv(self, size: int) -> bytes:
        set_timeout(self._stream, self._deadline)
        return self._stream.recv(size)

    def close(self) -> None:
        self._stream.close()


def _connect_to(family: Sequence[int], address: Any, timeout: float) -> socket.socket:
    stream = socket.socket(*family)
    try:
        stream.settimeout(min(max(0.001, timeout), LONGEST_WAIT))
        stream.connect(address)
    except BaseException:
        stream.close()
        raise
    return stream
