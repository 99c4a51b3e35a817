"""Defaults of the client, in one place, and the types of its arguments."""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, TypedDict
from uuid import uuid4

from ..engine.limits import CHANNEL_MAX, MAX_FRAME_SIZE, MIN_MAX_FRAME_SIZE
from ..engine.sasl import Anonymous, External, Mechanism, Plain
from ..exceptions import AddressError
from ..transport.address import Endpoint, Proxy, check_place, parse_proxy, parse_url
from ..transport.proxy import check as check_proxy
from ..transport.route import Route
from ..transport.tls import client_context
from .arguments import expect, expect_seconds, keyed, symbols, whole
from .recovery import Recovery

if TYPE_CHECKING:
    from ..codec.definitions import Source, Target
    from ..transport.websocket import WebSocket
    from .credit import CreditPolicy

#: Seconds an operation may take where neither the call nor the connection says otherwise.
OPERATION_TIMEOUT: Final = 30.0
#: Seconds for connecting, TLS, SASL and open together.
CONNECT_TIMEOUT: Final = 15.0
#: Seconds of silence after which the peer is asked for heartbeats; it is given up after a quarter more.
IDLE_TIMEOUT: Final = 30.0
#: The subprotocol asked for when a WebSocket is opened: the registered name of AMQP 1.0.
WEBSOCKET_SUBPROTOCOL: Final = "amqp"
#: A token of HTTP (RFC 9110, section 5.6.2).
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
#: Where traces of frames go.
FRAMES: Final = logging.getLogger("uamqp.frames")
#: Deliveries that a receiver lets the peer send ahead of the application.
PREFETCH: Final = 300


class Default(Enum):
    """Stands for "as the connection says" where None means something else."""

    DEFAULT = "DEFAULT"

    def __repr__(self) -> str:
        return self.name


DEFAULT: Final = Default.DEFAULT

#: Seconds; None waits for ever; DEFAULT is the time-out given to `connect`.
Timeout = float | None | Default


class SenderOptions(TypedDict, total=False):
    """The keyword arguments of `Session.sender`, which see."""

    name: str | None
    settle_mode: str
    target: Target | None
    source: Source | None
    capabilities: Sequence[str]
    desired_capabilities: Sequence[str]
    properties: Mapping[str, Any] | None
    timeout: Timeout


class ReceiverOptions(TypedDict, total=False):
    """The keyword arguments of `Session.receiver`, which see."""

    prefetch: int
    credit: CreditPolicy | None
    name: str | None
    settle_mode: str
    sender_settle_mode: str
    dynamic: bool
    filters: Mapping[str, Any] | None
    source: Source | None
    target: Target | None
    capabilities: Sequence[str]
    desired_capabilities: Sequence[str]
    properties: Mapping[str, Any] | None
    max_message_size: int
    timeout: Timeout


@dataclass(frozen=True)
class ConnectionOptions:
    """All that `connect` was told, checked."""

    endpoint: Endpoint
    route: Route
    mechanisms: Sequence[Mechanism]
    hostname: str
    timeout: float
    connect_timeout: float
    container_id: str = field(default_factory=lambda: str(uuid4()))
    max_frame_size: int = MAX_FRAME_SIZE
    channel_max: int = CHANNEL_MAX
    idle_timeout: float | None = IDLE_TIMEOUT
    properties: Mapping[str, Any] = field(default_factory=dict)
    desired_capabilities: Sequence[str] = ()
    recovery: Recovery | None = None
    #: Is given a line for each frame.
    trace: Callable[[str], object] | None = None
    #: The same for other hosts that serve the same.
    alternatives: Sequence[ConnectionOptions] = ()

    def at_attempt(self, attempt: int) -> ConnectionOptions:
        """The options for an attempt to connect again, from 1: each goes to the next host."""
        return (self, *self.alternatives)[(attempt - 1) % (len(self.alternatives) + 1)]


def connection_options(
    endpoint: Endpoint,
    *,
    user: str | None,
    password: str | None,
    sasl: Sequence[Mechanism] | None,
    ssl_context: ssl.SSLContext | None,
    ca_file: str | None,
    cert_file: str | None,
    key_file: str | None,
    hostname: str | None,
    container_id: str | None,
    max_frame_size: int,
    channel_max: int,
    idle_timeout: float | None,
    properties: Mapping[str, Any] | None,
    desired_capabilities: Sequence[str],
    timeout: float,
    connect_timeout: float,
    allow_plaintext_credentials: bool,
    proxy: str | Proxy | None = None,
    connect_to: tuple[str, int] | None = None,
    websocket_subprotocol: str = WEBSOCKET_SUBPROTOCOL,
    recovery: Recovery | None = None,
    trace: bool | Callable[[str], object] = False,
) -> ConnectionOptions:
    """Check what `connect` was given. Raises AddressError, ValueError or TypeError before anything is sent."""
    text = str, NoneType
    expect("user", user, text, "a str")
    expect("password", password, text, "a str")
    expect("hostname", hostname, text, "a str")
    expect("container_id", container_id, text, "a str")
    expect("websocket_subprotocol", websocket_subprotocol, text, "a str")
    expect("ssl_context", ssl_context, (ssl.SSLContext, NoneType), "an ssl.SSLContext")
    expect("proxy", proxy, (str, Proxy, NoneType), "a URL, such as http://host:port")
    expect("recovery", recovery, (Recovery, NoneType), "a Recovery, such as Recovery()")
    expect("allow_plaintext_credentials", allow_plaintext_credentials, bool, "True or False")
    max_frame_size = whole("max_frame_size", max_frame_size, "a number of bytes", MIN_MAX_FRAME_SIZE)
    channel_max = whole("channel_max", channel_max, "a number", 0, 65_535)
    expect_seconds("timeout", timeout)
    expect_seconds("connect_timeout", connect_timeout)
    if idle_timeout is not None:
        expect_seconds("idle_timeout", idle_timeout)
    if sasl is not None:
        expect("sasl", sasl, Iterable, "a list of mechanisms, such as [Plain(user, password)]")
        sasl = [*sasl]
        for mechanism in sasl:
            expect("each of sasl", mechanism, Mechanism, "a mechanism, such as Plain(user, password)")
    if connect_to is not None:
        meaning = 'host and port, such as ("broker.example", 5671)'
        expect("connect_to", connect_to, Sequence, meaning)
        if len(connect_to) != 2 or isinstance(connect_to, str):
            raise TypeError(f"connect_to must be {meaning}, not {connect_to!r}")
        expect("the host of connect_to", connect_to[0], str, "a str")
        connect_to = connect_to[0], whole("the port of connect_to", connect_to[1], "a number")
    if trace and not isinstance(trace, bool) and not callable(trace):
        raise TypeError(f"trace must be True, or a function for the lines, not {type(trace).__name__}")
    if timeout <= 0 or connect_timeout <= 0 or (idle_timeout is not None and idle_timeout <= 0):
        raise ValueError("time-outs must be positive; idle_timeout may be None")
    place = endpoint if connect_to is None else replace(endpoint, host=connect_to[0], port=connect_to[1])
    check_place(place.host, place.port)
    if hostname and endpoint.tls:
        # It is the name that the certificate must have; elsewhere it may be anything that the peer knows.
        check_place(hostname, place.port)
    if websocket_subprotocol is not None and not _TOKEN.fullmatch(websocket_subprotocol):
        raise AddressError(f"websocket_subprotocol is the name of one, such as amqp, not {websocket_subprotocol!r}")
    proxy = parse_proxy(proxy) if isinstance(proxy, str) else proxy
    if proxy is not None:
        check_proxy(proxy)
    user = endpoint.user if user is None else user
    password = endpoint.password if password is None else password
    mechanisms: Sequence[Mechanism] | None = sasl
    if mechanisms is None:
        if user is not None:
            mechanisms = [Plain(user, password or "")]
        elif cert_file is not None:
            mechanisms = [External()]
        else:
            mechanisms = [Anonymous()]
    secret = any(not isinstance(m, Anonymous | External) for m in mechanisms)
    # What is loopback to a proxy elsewhere is not this machine.
    here = place.is_loopback and (proxy is None or proxy.is_loopback)
    secure = "wss://" if endpoint.websocket else "amqps://"
    if secret and not endpoint.tls and not here and not allow_plaintext_credentials:
        raise AddressError(
            f"credentials would go to {endpoint} unencrypted; use {secure}, or allow it explicitly "
            "(allow_plaintext_credentials=True)"
        )
    files = [file for file in (ca_file, cert_file, key_file) if file is not None]
    if not endpoint.tls and (files or ssl_context is not None):
        raise AddressError(f"TLS options were given for {endpoint}, which is plain TCP; use {secure}")
    if files and ssl_context is not None:
        raise ValueError("give an ssl_context or files for a new one, not both")
    if key_file is not None and cert_file is None:
        raise ValueError("key_file is the key of cert_file, which is not given")
    if endpoint.tls and ssl_context is None:
        ssl_context = client_context(ca_file=ca_file, cert_file=cert_file, key_file=key_file)

    def route_to(endpoint: Endpoint, place: Endpoint) -> Route:
        host = hostname or endpoint.host
        websocket = _websocket(endpoint, host, websocket_subprotocol) if endpoint.websocket else None
        return Route(place, ssl_context, host, proxy, websocket)

    options = ConnectionOptions(
        endpoint=endpoint,
        route=route_to(endpoint, place),
        mechanisms=mechanisms,
        hostname=hostname or endpoint.host,
        timeout=timeout,
        connect_timeout=connect_timeout,
        max_frame_size=max_frame_size,
        channel_max=channel_max,
        idle_timeout=idle_timeout,
        properties=_about_us() | (keyed("properties", properties) or {}),
        desired_capabilities=symbols("desired_capabilities", desired_capabilities),
        recovery=recovery,
        trace=(partial(FRAMES.debug, "%s") if trace is True else trace) or None,
    )
    if container_id is not None:
        options = replace(options, container_id=container_id)
    others = () if recovery is None else [_alternative(url, endpoint) for url in recovery.alternatives]
    alternatives = [
        replace(options, endpoint=other, route=route_to(other, other), hostname=hostname or other.host)
        for other in others
    ]
    return replace(options, alternatives=alternatives)


def _alternative(url: str, first: Endpoint) -> Endpoint:
    other = parse_url(url)
    if (other.tls, other.websocket) != (first.tls, first.websocket):
        raise AddressError(f"{other} is not reached in the same way as {first}")
    if not other.is_loopback and first.is_loopback and not first.tls:
        raise AddressError(f"{other} is another machine, where {first} needs no TLS because it is this one")
    return replace(other, path=first.path)


def _websocket(endpoint: Endpoint, host: str, subprotocol: str) -> Callable[[], WebSocket]:
    try:
        from ..transport.websocket import WebSocket
    except ModuleNotFoundError:
        raise AddressError(f'{endpoint} needs websockets: pip install "uamqp[websocket]"') from None
    check_place(host, endpoint.port)
    return partial(WebSocket.client, endpoint, host, subprotocol)


def _about_us() -> dict[str, Any]:
    from .. import __version__

    return {"product": "uamqp", "version": __version__, "platform": "Python"}
