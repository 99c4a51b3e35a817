"""Where to connect, what to trust there, and SASL with a password or without."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .._legacy import octets, text
from ..aio.arguments import expect
from ..aio.cbs import MSSBCBS
from ..constants import TransportType
from ..engine.sasl import Anonymous, Mechanism, Plain
from ..transport.address import Proxy

_PROXY_CREDENTIALS: Final = ("username", "password")

Verify = str | os.PathLike[str] | ssl.SSLContext


class AMQPAuth:
    """What all ways to authenticate have in common; by itself it says that tokens will follow.

    An object serves one connection at a time; using it for a second one is a ValueError until the first is closed.

    Args:
        hostname: the host to connect to.
        port: the TCP port; without one that of the URL, else 5671 with TLS and 5672 without, or 443 and 80 over a
            WebSocket.
        verify: a PEM file with the only authorities to trust, or an `ssl.SSLContext` of your own; by default those of
            the system. Certificates and host names are always checked.
        http_proxy: connect over a WebSocket through this HTTP proxy: a dict with ``proxy_hostname``, ``proxy_port``
            and, where the proxy wants them, ``username`` and ``password``.
        transport_type: ``TransportType.AmqpOverWebsocket`` connects over a WebSocket, on port 443 by default.
        encoding: of str.
        use_tls: False speaks plain TCP, and lets credentials go over it to any host; True speaks TLS; None leaves it
            to the scheme of the URL: ``amqp`` is plain TCP, all else TLS.

    Attributes:
        hostname: bytes; empty where it is that of the URL.
        consumed: a connection is using the object.
        websocket: whether to connect over a WebSocket.
        proxy: the proxy to connect through, or None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: `http_proxy` names no host and port.
    """

    def __init__(
        self,
        hostname: str | bytes | None,
        port: int | None = None,
        verify: Verify | None = None,
        http_proxy: Mapping[str, Any] | None = None,
        transport_type: TransportType | None = TransportType.Amqp,
        encoding: str = "UTF-8",
        *,
        use_tls: bool | None = None,
    ) -> None:
        self._encoding = encoding
        self._init_transport(hostname, port, verify, http_proxy, transport_type, use_tls)

    def _init_transport(
        self,
        hostname: str | bytes | None,
        port: int | None,
        verify: Verify | None,
        http_proxy: Mapping[str, Any] | None,
        transport_type: TransportType | None,
        use_tls: bool | None,
    ) -> None:
        if isinstance(verify, bool):
            raise TypeError(
                "verify is a file of authorities to trust or an SSLContext; checking cannot be switched off"
            )
        if verify is not None and not isinstance(verify, ssl.SSLContext) and not os.path.exists(verify):
            raise FileNotFoundError(f"there is no file {os.fspath(verify)!r} with authorities to trust (verify)")
        self.cert_file = verify
        self.use_tls = use_tls
        self.proxy: Proxy | None = None
        self.set_io(hostname, port, http_proxy, transport_type)

    def set_io(
        self,
        hostname: str | bytes | None,
        port: int | None,
        http_proxy: Mapping[str, Any] | None,
        transport_type: TransportType | None,
    ) -> None:
        """Say anew where to connect, and over what: a WebSocket where that is asked for, or where there is a proxy."""
        if http_proxy is not None or transport_type is TransportType.AmqpOverWebsocket:
            self.set_wsio(hostname, port, http_proxy)
        else:
            self.set_tlsio(hostname, port)

    def set_wsio(self, hostname: str | bytes | None, port: int | None, http_proxy: Mapping[str, Any] | None) -> None:
        """Connect over a WebSocket, through a proxy where there is one."""
        self.set_tlsio(hostname, port)
        self.proxy = None if http_proxy is None else _proxy(http_proxy, self._encoding)
        self.websocket = True

    def set_tlsio(self, hostname: str | bytes | None, port: int | None) -> None:
        """Connect without a WebSocket."""
        self.hostname = octets(hostname, self._encoding) if hostname else b""
        self.port = port
        self.proxy = None
        self.websocket = False
        self.consumed = False

    @property
    def sasl(self) -> Sequence[Mechanism]:
        """The SASL mechanisms to offer, the preferred one first."""
        return (MSSBCBS(), Anonymous())

    def close(self) -> None:
        """The connection is closed; the object may serve another one."""
        self.consumed = False

    def __repr__(self) -> str:
        # Subclasses hold secrets.
        return f"<{type(self).__name__} for {self.hostname.decode(self._encoding, 'replace') or 'the host of the URL'}>"


def _proxy(given: Mapping[str, Any], encoding: str) -> Proxy:
    expect("http_proxy", given, Mapping, "a dict with a proxy_hostname and a proxy_port")
    host, port = given.get("proxy_hostname"), given.get("proxy_port")
    if not host or not port:
        raise ValueError("http_proxy needs a proxy_hostname and a proxy_port")
    user, password = (None if given.get(name) is None else text(given[name], encoding) for name in _PROXY_CREDENTIALS)
    return Proxy("http", text(host, encoding), int(port), user, password)


class SASLPlain(AMQPAuth):
    """User and password.

    ``SASLPlain(hostname, username, password)``, or ``SASLPlain(username, password)`` for the host of the URL.
    See `AMQPAuth` for the other arguments.

    Attributes:
        username, password: bytes.
    """

    def __init__(
        self,
        hostname: str | bytes | None,
        username: str | bytes,
        password: str | bytes | None = None,
        port: int | None = None,
        verify: Verify | None = None,
        http_proxy: Mapping[str, Any] | None = None,
        transport_type: TransportType | None = TransportType.Amqp,
        encoding: str = "UTF-8",
        *,
        use_tls: bool | None = None,
    ) -> None:
        if password is None:
            if hostname is None:
                raise TypeError("SASLPlain() needs a username and a password")
            host, username, password = None, hostname, username
        else:
            host = hostname
        super().__init__(host, port, verify, http_proxy, transport_type, encoding, use_tls=use_tls)
        self.username = octets(username, encoding)
        self.password = octets(password, encoding)

    @property
    def sasl(self) -> Sequence[Mechanism]:
        return (Plain(self.username.decode(self._encoding), self.password.decode(self._encoding)),)


class SASLAnonymous(AMQPAuth):
    """No credentials. See `AMQPAuth` for the arguments."""

    @property
    def sasl(self) -> Sequence[Mechanism]:
        return (Anonymous(),)
