"""URLs and addresses: where to connect, and what a node is called by the peer.

``amqps://user:password@host:port/node``. Scheme ``amqps``, or none, is TLS on port 5671; ``amqp`` is plain TCP on
port 5672; a port in the URL wins. User, password and path are percent-decoded, so ``/ ? # @ :`` in a password, and
``? #`` in a path, are written ``%2F %3F %23 %40 %3A``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

from ..exceptions import AddressError

PORT_TLS: Final = 5671
PORT_PLAIN: Final = 5672
_SCHEMES: Final = {"amqps": True, "amqp": False}


@dataclass(frozen=True)
class Endpoint:
    """Where to connect, and what else a URL says.

    Attributes:
        host: name or IP address, IPv6 without brackets.
        port: TCP port.
        tls: whether to speak TLS.
        user, password: credentials in the URL, or None.
        path: the node named by the URL, percent-decoded and without its first slash; "" where there is none.
    """

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""

    @property
    def is_loopback(self) -> bool:
        """Whether the host is this machine, so that nobody else can listen."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.split("%")[0]).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.tls else 'amqp'}://{host}:{self.port}"


def parse_url(url: str) -> Endpoint:
    """Take a URL, or a bare ``host[:port][/node]``, apart. Raises AddressError that names what is wrong."""
    if not isinstance(url, str):
        raise AddressError(f"a URL must be a str, not {type(url).__name__}")
    text = url if "://" in url else f"amqps://{url}"
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
    if parts.scheme not in _SCHEMES:
        raise AddressError(f"{shown!r} has the scheme {parts.scheme!r}; amqp and amqps are supported")
    if not parts.hostname:
        raise AddressError(f"{shown!r} names no host")
    if not _is_host(parts.hostname):
        raise AddressError(f"{shown!r} has a host that is neither a name nor an IP address")
    if port == 0:
        raise AddressError(f"{shown!r} has port 0")
    if parts.query or parts.fragment:
        raise AddressError(f"{shown!r} has a query or a fragment; ? and # in a path are written %3F and %23")
    tls = _SCHEMES[parts.scheme]
    return Endpoint(
        host=parts.hostname,
        port=port or (PORT_TLS if tls else PORT_PLAIN),
        tls=tls,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        path=unquote(parts.path.removeprefix("/")),
    )


def redacted(url: str) -> str:
    """The URL without what could be a secret, for messages: all before its last ``@`` but a scheme that we know."""
    _, at, rest = url.rpartition("@")
    if not at:
        return url
    scheme = next((prefix for name in _SCHEMES if url.startswith(prefix := f"{name}://")), "")
    return f"{scheme}…@{rest}"


def _is_host(host: str) -> bool:
    try:
        # What the resolver will do with it.
        host.encode("idna")
    except UnicodeError:
        return False
    return not any(c.isspace() for c in host)


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
