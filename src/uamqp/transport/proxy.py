"""Through a proxy: HTTP CONNECT (RFC 9110, 9.3.6), and SOCKS5 by the library ``python-socks`` (``uamqp[proxy]``)."""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

from ..exceptions import AddressError, AuthenticationError, ConnectionLost
from .address import Endpoint, Proxy, check_place
from .http import answer_head, refusal, status


def http_connect(proxy: Proxy, endpoint: Endpoint) -> Generator[bytes, bytes, None]:
    """The conversation with an HTTP proxy, for either driver: yields what to send, is sent what was read.

    Raises:
        AuthenticationError: the proxy wants other credentials, or forbids it.
        ConnectionLost: the proxy refuses, or is none.
    """
    sender = f"the proxy {proxy}"
    wanted = endpoint.authority
    lines = [f"CONNECT {wanted} HTTP/1.1", f"Host: {wanted}"]
    if proxy.user is not None:
        credentials = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
        lines.append(f"Proxy-Authorization: Basic {credentials}")
    data = yield "\r\n".join([*lines, "", ""]).encode("ascii")
    head = answer_head(sender)
    while (found := head.take(data)) is None:
        data = yield b""
    code, words = status(found[0], sender)
    if not 200 <= code < 300:
        raise refusal(sender, code, words, found[0])
    if found[1]:
        # In each protocol that comes now, the client speaks first.
        raise ConnectionLost(f"{sender} sent data of its own behind its answer")


def check(proxy: Proxy) -> None:
    """Raise AddressError where this proxy cannot be used from here."""
    check_place(proxy.host, proxy.port)
    if proxy.scheme in ("http", "https"):
        return
    try:
        import python_socks  # noqa: F401
    except ModuleNotFoundError:
        raise AddressError(f'{proxy} needs python-socks: pip install "uamqp[proxy]"') from None
    for text in (proxy.user, proxy.password):
        # RFC 1929 has one byte for the length.
        if proxy.user is not None and not (text and text.isascii() and len(text) <= 255):
            raise AddressError(f"user and password for {proxy} must be 1 to 255 characters of ASCII")


async def socks_connect(proxy: Proxy, endpoint: Endpoint, stream: Any, timeout: float) -> None:
    """Have a SOCKS5 proxy, to which the stream leads, connect to the endpoint; in the running loop.

    Raises:
        AuthenticationError: the proxy wants other credentials.
        ConnectionLost: the proxy refuses, or is none.
        TimeoutError, OSError: it did not answer within `timeout` seconds, or the stream broke.
    """
    from python_socks.async_.asyncio import Proxy as SocksProxy

    with _translated(proxy):
        await SocksProxy(**_terms(proxy, _Reached(stream))).connect(endpoint.host, endpoint.port, timeout)


def socks_connect_blocking(proxy: Proxy, endpoint: Endpoint, stream: Any) -> None:
    """As `socks_connect`, for blocking code; the stream knows how long its calls may take."""
    from python_socks.sync import Proxy as SocksProxy

    with _translated(proxy):
        SocksProxy(**_terms(proxy, _ReachedBlocking(stream))).connect(endpoint.host, endpoint.port)


class _ReachedBlocking:
    """What python-socks asks for a stream to the proxy, in place of a proxy before it: so all sockets are made, timed
    and closed in one place, which is the driver."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def connect(self, **place: Any) -> Any:
        return self._stream


class _Reached(_ReachedBlocking):
    async def connect(self, **place: Any) -> Any:
        return self._stream


def _terms(proxy: Proxy, reached: _ReachedBlocking) -> dict[str, Any]:
    from python_socks import ProxyType

    return {
        "proxy_type": ProxyType.SOCKS5,
        "host": proxy.host,
        "port": proxy.port,
        "username": proxy.user,
        "password": proxy.password,
        "rdns": proxy.scheme == "socks5h",
        "forward": reached,
    }


@contextmanager
def _translated(proxy: Proxy) -> Iterator[None]:
    from python_socks import ProxyError

    try:
        yield
    except ProxyError as error:
        text = f"the proxy {proxy} answered: {error}"
        # Refusals of the host have a code, those of the credentials have only words.
        if error.error_code is None and "authentication" in str(error).lower():
            raise AuthenticationError(text, remote=True) from error
        raise ConnectionLost(text, remote=True) from error
    except ValueError as error:
        # The name of its own address, which some answers have, may be no text.
        raise ConnectionLost(f"the proxy {proxy} does not speak SOCKS5") from error
