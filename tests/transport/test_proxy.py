from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uamqp.aio
from uamqp.broker import Broker
from uamqp.exceptions import AddressError, AMQPError, AuthenticationError, ConnectionLost, OperationTimeout
from uamqp.transport.address import Proxy, parse_proxy
from uamqp.transport.tls import server_context
from uamqp.transport.tunnel import set_timeout

from ..aio.peers import BOUND
from .servers import (
    FACES,
    ProxyServer,
    cancel_connect,
    read_exactly,
    read_head,
    read_to_end,
    round_trip,
    secured,
    serving,
)
from .test_event_loop import closed_port, full_port

SCHEMES = pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker.running(websocket_port=0) as broker:
        yield broker


@pytest.fixture(scope="module")
def tls_broker(certificates: Path) -> Iterator[Broker]:
    files = {"tls_cert": certificates / "server.pem", "tls_key": certificates / "server.key"}
    with Broker.running(websocket_port=0, **files) as broker:
        yield broker


# -- through it ------------------------------------------------------------------------------------------------------


@FACES
@SCHEMES
@pytest.mark.parametrize("websocket", [False, True], ids=["amqp", "websocket"])
def test_plain_connections_go_through(face: str, scheme: str, websocket: bool, broker: Broker) -> None:
    with ProxyServer().running() as proxy:
        round_trip(face, broker.websocket_url if websocket else broker.url, proxy=proxy.url(scheme))
        assert proxy.wanted == [("127.0.0.1", broker.websocket_port if websocket else broker.port)]


@FACES
@SCHEMES
@pytest.mark.parametrize("websocket", [False, True], ids=["amqps", "wss"])
def test_tls_goes_through_to_the_server(
    face: str, scheme: str, websocket: bool, tls_broker: Broker, certificates: Path
) -> None:
    url = tls_broker.websocket_url if websocket else tls_broker.url
    with ProxyServer().running() as proxy:
        round_trip(face, url, proxy=proxy.url(scheme), ca_file=str(certificates / "ca.pem"))
        assert len(proxy.wanted) == 1


@FACES
@SCHEMES
def test_the_proxy_gets_its_credentials(face: str, scheme: str, broker: Broker) -> None:
    with ProxyServer(user="me@home", password="a:b/c").running() as proxy:
        round_trip(face, broker.url, proxy=proxy.url(scheme, "me%40home:a%3Ab%2Fc@"))
        assert proxy.wanted == [("127.0.0.1", broker.port)]


@FACES
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_names_are_looked_up_by_the_proxy(face: str, scheme: str, broker: Broker) -> None:
    with ProxyServer(places={"broker.invalid": "127.0.0.1"}).running() as proxy:
        round_trip(face, f"amqp://broker.invalid:{broker.port}", proxy=proxy.url(scheme))
        assert proxy.wanted == [("broker.invalid", broker.port)]


@FACES
def test_with_socks5_names_are_looked_up_here(face: str, broker: Broker) -> None:
    with ProxyServer().running() as proxy:
        round_trip(face, f"amqp://localhost:{broker.port}", proxy=proxy.url("socks5"))
        assert proxy.wanted[0][1] == broker.port
        with pytest.raises(ConnectionLost, match=r"cannot connect to amqp://nowhere\.invalid:5672 through socks5://"):
            round_trip(face, "amqp://nowhere.invalid", proxy=proxy.url("socks5"))


def test_ipv6_addresses_have_their_brackets() -> None:
    seen: list[bytes] = []
    with serving(lambda stream: seen.append(read_head(stream))) as port, pytest.raises(ConnectionLost):
        round_trip("sync", "amqp://[::1]:5", proxy=f"http://127.0.0.1:{port}")
    assert seen == [b"CONNECT [::1]:5 HTTP/1.1\r\nHost: [::1]:5\r\n\r\n"]


# -- refusals --------------------------------------------------------------------------------------------------------


def answering(answer: bytes, *, more: bool = False) -> Callable[[socket.socket], None]:
    """Reads one request, answers and hangs up, or waits for more."""

    def handle(stream: socket.socket) -> None:
        stream.recv(65_536)
        stream.sendall(answer)
        if more:
            read_to_end(stream)

    return handle


@FACES
@pytest.mark.parametrize(
    ("refusal", "error", "retryable"),
    [
        ("403 Forbidden", AuthenticationError, False),
        ("404 Not Found", ConnectionLost, False),
        ("502 Bad Gateway", ConnectionLost, True),
        ("302 Found", ConnectionLost, False),
    ],
)
def test_an_http_proxy_refuses(
    face: str, refusal: str, error: type[AMQPError], retryable: bool, broker: Broker
) -> None:
    with ProxyServer(refusal=refusal).running() as proxy:
        with pytest.raises(error, match=f"the proxy http://127.0.0.1:{proxy.port} answered {refusal}$") as caught:
            round_trip(face, broker.url, proxy=proxy.url("http"))
    assert caught.value.remote
    assert caught.value.retryable == retryable


@FACES
@SCHEMES
@pytest.mark.parametrize("credentials", ["", "me:swordfish@"], ids=["without", "wrong"])
def test_a_proxy_wants_other_credentials(
    face: str, scheme: str, credentials: str, broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with ProxyServer(user="me", password="right").running() as proxy:
        with pytest.raises(
            AuthenticationError, match=f"the proxy {scheme}://127.0.0.1:{proxy.port} answered"
        ) as caught:
            round_trip(face, broker.url, proxy=proxy.url(scheme, credentials))
    assert not caught.value.retryable
    assert "swordfish" not in f"{caught.value!r} {caught.value} {caplog.text}"


@FACES
def test_a_socks_proxy_cannot_reach_the_host(face: str, broker: Broker) -> None:
    with ProxyServer(refusal=4).running() as proxy:
        with pytest.raises(ConnectionLost, match="answered: Host unreachable"):
            round_trip(face, broker.url, proxy=proxy.url("socks5"))


@FACES
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "hung up during the opening handshake"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 000 Nothing\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "hung up during the opening handshake"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 4096, "sent a head of more than 16384 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\nAMQP", "sent data of its own behind its answer"),
        (b"HTTP/1.1 400 \x1b[31mred\r\n\r\n", r"answered 400 \\x1b\[31mred"),
    ],
)
def test_what_is_no_http_proxy(face: str, answer: bytes, text: str) -> None:
    with serving(answering(answer)) as port, pytest.raises(ConnectionLost, match=f"the proxy http://.* {text}"):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"http://127.0.0.1:{port}")


@FACES
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "Connection closed unexpectedly"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "Unexpected SOCKS version number"),
        (b"\x05\x00\x05\x00\x00\x07", "Invalid address type"),
        (b"\x05\x00\x05\x00\x00\x03\x02\xff\xff\x00\x00", "does not speak SOCKS5"),
    ],
)
def test_what_is_no_socks_proxy(face: str, answer: bytes, text: str) -> None:
    def handle(stream: socket.socket) -> None:
        read_exactly(stream, 3)
        stream.sendall(answer)
        if answer[:2] == b"\x05\x00":
            read_to_end(stream)

    with serving(handle) as port, pytest.raises(ConnectionLost, match=f"the proxy socks5://.*{text}"):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"socks5://127.0.0.1:{port}")


@FACES
@SCHEMES
def test_nobody_listens(face: str, scheme: str) -> None:
    with closed_port() as port:
        proxy = f"{scheme}://127.0.0.1:{port}"
        with pytest.raises(ConnectionLost, match=f"cannot connect to amqp://127.0.0.1:1 through {proxy}: "):
            round_trip(face, "amqp://127.0.0.1:1", proxy=proxy)


@FACES
@SCHEMES
def test_nobody_accepts(face: str, scheme: str) -> None:
    with full_port() as port, pytest.raises(OperationTimeout, match=r"through .* within 0\.1 s"):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"{scheme}://127.0.0.1:{port}", connect_timeout=0.1)


@FACES
@SCHEMES
def test_a_proxy_that_never_answers(face: str, scheme: str) -> None:
    gone = threading.Event()

    def handle(stream: socket.socket) -> None:
        read_to_end(stream)
        gone.set()

    with serving(handle) as port:
        with pytest.raises(OperationTimeout, match=r"no connection to amqp://127.0.0.1:1 through .* within 0\.1 s"):
            round_trip(face, "amqp://127.0.0.1:1", proxy=f"{scheme}://127.0.0.1:{port}", connect_timeout=0.1)
        assert gone.wait(BOUND)


@FACES
@SCHEMES
def test_a_proxy_that_answers_byte_by_byte_has_no_more_time(face: str, scheme: str) -> None:
    def handle(stream: socket.socket) -> None:
        stream.recv(65_536)
        stream.sendall(b"HTTP/1.1 200 OK\r\n" if scheme == "http" else b"\x05\x00\x05\x00\x00\x03\xff")
        # Each byte comes long before the time is over.
        stream.settimeout(0.01)
        while True:
            try:
                if not stream.recv(1024):
                    return
            except TimeoutError:
                stream.sendall(b"x")

    with serving(handle) as port, pytest.raises(OperationTimeout):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"{scheme}://127.0.0.1:{port}", connect_timeout=0.1)


@SCHEMES
async def test_a_cancelled_connect_leaves_no_stream(scheme: str) -> None:
    async def connect(port: int) -> None:
        await uamqp.aio.connect("amqp://127.0.0.1:1", proxy=f"{scheme}://127.0.0.1:{port}")

    await cancel_connect(lambda stream: stream.recv(1), connect)


# -- what is said to connect -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("proxy:3128", "proxies are http, https, socks5 and socks5h"),
        ("ftp://proxy", "has the scheme 'ftp'; proxies are http, https, socks5 and socks5h"),
        ("http://", "names no host"),
        ("http://me:swordfish@proxy/path", "has a path"),
        ("http://me:swordfish@proxy:x", "is not a URL"),
        (7, "must be a str, not int"),
    ],
)
def test_what_is_no_url_of_a_proxy(url: Any, text: str) -> None:
    with pytest.raises(AddressError, match=text) as caught:
        parse_proxy(url)
    assert "swordfish" not in str(caught.value)


def test_a_proxy_shows_no_credentials() -> None:
    proxy = parse_proxy("socks5://me:swordfish@[::1]")
    assert proxy == Proxy("socks5", "::1", 1080, "me", "swordfish")
    assert str(proxy) == "socks5://[::1]:1080"
    assert "swordfish" not in repr(proxy)
    assert parse_proxy("http://proxy/").port == 80


@FACES
@pytest.mark.parametrize("credentials", ["me@", f"me:{'x' * 256}@", "me:%C3%A9@", ":s3cret@"])
def test_credentials_that_socks5_cannot_carry(face: str, credentials: str) -> None:
    with pytest.raises(AddressError, match="must be 1 to 255 characters of ASCII"):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"socks5://{credentials}127.0.0.1:1")


@FACES
def test_without_the_package_the_error_says_how_to_get_it(face: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(AddressError, match=r'pip install "uamqp\[proxy\]"'):
        round_trip(face, "amqp://127.0.0.1:1", proxy="socks5://127.0.0.1:1")
    with pytest.raises(ConnectionLost):
        # CONNECT needs none.
        with closed_port() as port:
            round_trip(face, "amqp://127.0.0.1:1", proxy=f"http://127.0.0.1:{port}")


@FACES
def test_credentials_do_not_go_to_a_proxy_elsewhere_unencrypted(face: str) -> None:
    with pytest.raises(AddressError, match=r"would go to amqp://127\.0\.0\.1:1 unencrypted"):
        round_trip(face, "amqp://me:s3cret@127.0.0.1:1", proxy="http://proxy.example")


# -- with TLS to the proxy -------------------------------------------------------------------------------------------


@pytest.fixture
def trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A context for proxies, whose authority is one of the system."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    return server_context(certificates / "server.pem", certificates / "server.key")


@FACES
@pytest.mark.parametrize("websocket", [False, True], ids=["amqp", "websocket"])
def test_plain_connections_go_through_a_proxy_with_tls(
    face: str, websocket: bool, broker: Broker, trusted: ssl.SSLContext
) -> None:
    with ProxyServer(context=trusted, user="me", password="s3cret").running() as proxy:
        url = broker.websocket_url if websocket else broker.url
        round_trip(face, url, proxy=proxy.url("https", "me:s3cret@"))
        assert len(proxy.wanted) == 1


@FACES
@pytest.mark.parametrize("websocket", [False, True], ids=["amqps", "wss"])
def test_tls_goes_through_a_proxy_with_tls(
    face: str, websocket: bool, tls_broker: Broker, trusted: ssl.SSLContext, certificates: Path
) -> None:
    with ProxyServer(context=trusted).running() as proxy:
        url = tls_broker.websocket_url if websocket else tls_broker.url
        round_trip(face, url, proxy=proxy.url("https"), ca_file=str(certificates / "ca.pem"))
        with pytest.raises(ConnectionLost, match=f"no TLS with {url}: .*CERTIFICATE_VERIFY_FAILED"):
            round_trip(face, url, proxy=proxy.url("https"), ca_file=str(certificates / "other" / "ca.pem"))


@FACES
def test_the_certificate_of_the_proxy_is_checked(face: str, certificates: Path) -> None:
    """The `ca_file` is for the server."""
    context = server_context(certificates / "server.pem", certificates / "server.key")
    with ProxyServer(context=context).running() as proxy:
        with pytest.raises(ConnectionLost, match=r"no TLS with the proxy https://.*CERTIFICATE_VERIFY_FAILED"):
            round_trip(face, "amqps://a.example", proxy=proxy.url("https"), ca_file=str(certificates / "ca.pem"))


@FACES
def test_a_proxy_with_tls_refuses(face: str, broker: Broker, trusted: ssl.SSLContext) -> None:
    with ProxyServer(context=trusted, user="me", password="right").running() as proxy:
        with pytest.raises(AuthenticationError, match=r"the proxy https://.* answered 407") as caught:
            round_trip(face, broker.url, proxy=proxy.url("https", "me:swordfish@"))
    assert "swordfish" not in f"{caught.value!r}"


@FACES
@pytest.mark.parametrize(
    ("answer", "text"),
    [(b"", "EOF occurred"), (b"HTTP/1.1 400 Bad Request\r\n\r\n", "WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE")],
)
def test_a_proxy_that_has_no_tls(face: str, answer: bytes, text: str) -> None:
    with serving(answering(answer)) as port, pytest.raises(ConnectionLost, match=f"no TLS with the proxy .*({text})"):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"https://127.0.0.1:{port}")


def test_the_time_is_over_however_fast_a_peer_answers() -> None:
    with socket.socket() as stream, pytest.raises(TimeoutError):
        set_timeout(stream, 0.0)


@FACES
def test_a_proxy_with_tls_that_never_answers(face: str) -> None:
    with serving(read_to_end) as port:
        with pytest.raises(OperationTimeout, match=r"127\.0\.0\.1:1 .*within 0\.1 s"):
            round_trip(face, "amqp://127.0.0.1:1", proxy=f"https://127.0.0.1:{port}", connect_timeout=0.1)


@FACES
@pytest.mark.parametrize(
    ("early", "error"),
    [(b"HTTP/1.1 403 Forbidden\r\n\r\n", AuthenticationError), (b"\x00", ConnectionLost)],
)
def test_a_proxy_with_tls_that_speaks_first(
    face: str, early: bytes, error: type[AMQPError], trusted: ssl.SSLContext
) -> None:
    def handle(stream: socket.socket) -> None:
        stream.sendall(early)
        read_to_end(stream)

    with serving(secured(handle, trusted)) as port, pytest.raises(error, match="the proxy https://"):
        round_trip(face, "amqp://127.0.0.1:1", proxy=f"https://127.0.0.1:{port}")


# -- connect_to ------------------------------------------------------------------------------------------------------


@FACES
@pytest.mark.parametrize("websocket", [False, True], ids=["amqps", "wss"])
def test_connect_to_leads_elsewhere(face: str, websocket: bool, tls_broker: Broker, certificates: Path) -> None:
    """The certificate must be for the host of the URL."""
    scheme, port = ("wss", tls_broker.websocket_port) if websocket else ("amqps", tls_broker.port)
    ca_file = str(certificates / "ca.pem")
    round_trip(face, f"{scheme}://localhost:1", connect_to=("127.0.0.1", port), ca_file=ca_file)
    with pytest.raises(ConnectionLost, match="CERTIFICATE_VERIFY_FAILED"):
        round_trip(face, f"{scheme}://other.example", connect_to=("127.0.0.1", port), ca_file=ca_file)


@FACES
def test_connect_to_goes_through_a_proxy(face: str, broker: Broker) -> None:
    with ProxyServer().running() as proxy:
        place = ("127.0.0.1", broker.port)
        round_trip(face, "amqp://broker.example", connect_to=place, proxy=proxy.url("http"))
        assert proxy.wanted == [place]


@FACES
@pytest.mark.parametrize("place", [("", 1), ("a b", 1), ("host", 0), ("host", 65_536), ("host\r\n", 1)])
def test_places_that_are_none(face: str, place: tuple[str, int]) -> None:
    with pytest.raises(AddressError, match="is not the host and port"):
        round_trip(face, "amqp://127.0.0.1:1", connect_to=place)
