"""URLs and addresses: where to connect, and what a node is called by the peer.

``amqps://user:password@host:port/node``. Scheme ``amqps``, or none, is TLS on port 5671; ``amqp`` is plain TCP on
port 5672; ``wss`` and ``ws`` are the same inside a WebSocket, on ports 443 and 80, and their path is that of the
WebSocket. A port in the URL wins. User, password and path are percent-decoded, so ``/ ? # @ :`` in a password, and
``? #`` in a path, are written ``%2F %3F %23 %40 %3A``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit

from ..exceptions import AddressError

PORT_TLS: Final = 5671
PORT_PLAIN: Final = 5672
PORT_WEBSOCKET_TLS: Final = 443
PORT_WEBSOCKET: Final = 80
#: The port that each scheme has where the URL names none.
_PORTS: Final = {"amqps": PORT_TLS, "amqp": PORT_PLAIN, "wss": PORT_WEBSOCKET_TLS, "ws": PORT_WEBSOCKET}
_PROXY_PORTS: Final = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True)
class Endpoint:
    """Where to connect, and what else a URL says.

    Attributes:
        host: name or IP address, IPv6 without brackets.
        port: TCP port.
        tls: whether to speak TLS.
        user, password: credentials in the URL, or None.
        path: the node named by the URL, or the path of the WebSocket, percent-decoded and without its first slash; ""
            where there is none.
        websocket: whether AMQP goes inside a WebSocket.
    """

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    websocket: bool = False

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, so that nobody else can listen."""
        return is_loopback(self.host)

    @property
    def authority(self) -> str:
        """Host and port as in a URL and in HTTP, in ASCII."""
        return _authority(ascii_host(self.host), self.port)

    def __str__(self) -> str:
        return f"{'ws' if self.websocket else 'amqp'}{'s' if self.tls else ''}://{_authority(self.host, self.port)}"


@dataclass(frozen=True)
class Proxy:
    """A proxy to connect through.

    Attributes:
        scheme: ``http`` or ``https`` (CONNECT), ``socks5``, or ``socks5h``, where the proxy looks up the name of the
            host.
        host, port: where the proxy is.
        user, password: credentials for the proxy, or None.
    """

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_loopback(self) -> bool:
        """Whether the proxy is on this machine."""
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"{self.scheme}://{_authority(self.host, self.port)}"


def parse_url(url: str) -> Endpoint:
    """Take a URL, or a bare ``host[:port][/node]``, apart. Raises AddressError that names what is wrong."""
    if not isinstance(url, str):
        raise AddressError(f"a URL must be a str, not {type(url).__name__}")
    parts, port = _split(
        url, url if "://" in url else f"amqps://{url}", _PORTS, "amqp, amqps, ws and wss are supported"
    )
    assert parts.hostname is not None
    return Endpoint(
        host=parts.hostname,
        port=port,
        tls=parts.scheme in ("amqps", "wss"),
        user=_decoded(parts.username),
        password=_decoded(parts.password),
        path=unquote(parts.path.removeprefix("/")),
        websocket=parts.scheme in ("ws", "wss"),
    )


def parse_proxy(url: str) -> Proxy:
    """Take the URL of a proxy apart. Raises AddressError that names what is wrong."""
    if not isinstance(url, str):
        raise AddressError(f"the URL of a proxy must be a str, not {type(url).__name__}")
    parts, port = _split(url, url, _PROXY_PORTS, "proxies are http, https, socks5 and socks5h")
    assert parts.hostname is not None
    if parts.path not in ("", "/"):
        raise AddressError(f"{redacted(url)!r} has a path, which a proxy has not")
    return Proxy(parts.scheme, parts.hostname, port, _decoded(parts.username), _decoded(parts.password))


def check_place(host: str, port: int) -> None:
    """Raise AddressError where these are not host and port of something to connect to."""
    if not host or not host.isprintable() or not _is_host(host) or not 0 < port < 65_536:
        raise AddressError(f"{(host, port)!r} is not the host and port of something to connect to")


def _split(url: str, text: str, ports: Mapping[str, int], supported: str) -> tuple[SplitResult, int]:
    """The parts of the URL, which has a host and one of these schemes, and its port."""
    shown = redacted(url)
    if not url.isprintable():
        # `urlsplit` would drop some of them without a word.
        raise AddressError(f"{shown!r} contains control characters")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        # The text of the error is not shown: it may quote the password.
        raise AddressError(f"{shown!r} is not a URL: host and port cannot be told from it") from None
    if parts.scheme not in ports:
        raise AddressError(f"{shown!r} has the scheme {parts.scheme!r}; {supported}")
    if not parts.hostname:
        raise AddressError(f"{shown!r} names no host")
    if not _is_host(parts.hostname):
        raise AddressError(f"{shown!r} has a host that is neither a name nor an IP address")
    if port == 0:
        raise AddressError(f"{shown!r} has port 0")
    if parts.query or parts.fragment:
        raise AddressError(f"{shown!r} has a query or a fragment; ? and # in a path are written %3F and %23")
    return parts, port or ports[parts.scheme]


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


#: Host and colon, with something behind that is no port.
_NO_PORT: Final = re.compile(r"^([a-z]+://[^\[:/]+:)(?!\d*(?:/|$)).*", re.DOTALL | re.IGNORECASE)


def redacted(url: str) -> str:
    """The URL without what could be a secret, for messages.

    That is all before its last ``@`` but a scheme that we know, the query of what has a scheme, and where there is no
    ``@``, what stands in the place of the port and is none.
    """
    if "://" in url:
        url, query, _ = url.partition("?")
        if "@" not in url:
            url = _NO_PORT.sub(r"\1…", url)
        if query:
            url += "?…"
    _, at, rest = url.rpartition("@")
    if not at:
        return url
    scheme = next((prefix for name in (*_PORTS, *_PROXY_PORTS) if url.startswith(prefix := f"{name}://")), "")
    return f"{scheme}…@{rest}"


def _is_host(host: str) -> bool:
    try:
        # What the resolver will do with it.
        host.encode("idna")
    except UnicodeError:
        return False
    return not any(c.isspace() for c in host)


def is_loopback(host: str) -> bool:
    """Whether the host is this machine, seen from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False


def ascii_host(host: str) -> str:
    """The host as it is written where only ASCII is possible."""
    return host if host.isascii() else host.encode("idna").decode("ascii")


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def node_address(address: str, peer_properties: Mapping[Any, Any]) -> str:
    """The address as the peer wants it.

    RabbitMQ from version 4 on has its own form of addresses: a plain name becomes that of a queue,
    ``/queues/<name>``, and ``queues/…`` and ``exchanges/…`` get their leading slash. Other peers, and addresses that
    begin with a slash, get what was given.
    """
    if address.startswith("/") or not address or not _is_rabbitmq_4(peer_properties):
        return address
    if address.startswith(("queues/", "exchanges/")):
        return "/" + address
    return "/queues/" + quote(address, safe="")


def _is_rabbitmq_4(properties: Mapping[Any, Any]) -> bool:
    if str(properties.get("product", "")).lower() != "rabbitmq":
        return False
    major = str(properties.get("version", "")).split(".")[0]
    return major.isdecimal() and int(major) >= 4
