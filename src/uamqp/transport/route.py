"""The way to an endpoint: a proxy, TLS and a WebSocket may lie on it."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .address import Endpoint, Proxy
from .layers import Layer, secure_proxy

if TYPE_CHECKING:
    from .websocket import WebSocket


@dataclass(frozen=True)
class Route:
    """How to reach an endpoint.

    Attributes:
        endpoint: where TCP leads to, behind the proxy if there is one.
        context: for TLS with the endpoint; None is plain.
        server_hostname: whom the certificate must be for.
        proxy: what to connect through, or None.
        websocket: makes the WebSocket that goes around AMQP, a new one for each stream; None where there is none.
    """

    endpoint: Endpoint
    context: ssl.SSLContext | None = None
    server_hostname: str | None = None
    proxy: Proxy | None = None
    websocket: Callable[[], WebSocket] | None = None

    def __str__(self) -> str:
        return str(self.endpoint) if self.proxy is None else f"{self.endpoint} through {self.proxy}"

    def layers(self) -> tuple[ssl.SSLContext | None, Layer | None]:
        """What goes around AMQP on a new stream: the context of the TLS that a driver does, and a layer inside."""
        inner = None if self.websocket is None else self.websocket()
        if self.proxy is not None and self.proxy.scheme == "https":
            return None, secure_proxy(self.proxy, self.endpoint, self.context, self.server_hostname, inner)
        return self.context, inner
