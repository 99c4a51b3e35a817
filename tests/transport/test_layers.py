"""Layers without I/O: what proxies with TLS need. That they work is in test_proxy.py."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from uamqp.transport.address import parse_proxy, parse_url
from uamqp.transport.layers import Connect, Inside, Tls, secure_proxy
from uamqp.transport.tls import client_context, server_context

LARGE = bytes(range(256)) * 1000


class Server:
    """The other end of TLS."""

    def __init__(self, certificates: Path) -> None:
        context = server_context(certificates / "server.pem", certificates / "server.key")
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake(self, client: Tls | Inside) -> None:
        data = client.start()
        for _ in range(2):
            self.incoming.write(data)
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            assert client.receive(self.outgoing.read()) == []
            data = client.take_reply()
        self.incoming.write(data)

    def send(self, data: bytes) -> bytes:
        """The bytes that carry it."""
        while data:
            data = data[self.tls.write(data) :]
        return self.outgoing.read()

    def got(self) -> bytes:
        data = b""
        try:
            while piece := self.tls.read(65_536):
                data += piece
        except ssl.SSLWantReadError:
            pass
        return data


@pytest.fixture
def server(certificates: Path) -> Server:
    return Server(certificates)


@pytest.fixture
def client(certificates: Path, server: Server) -> Tls:
    client = Tls(client_context(ca_file=certificates / "ca.pem"), "localhost", "the peer")
    server.shake(client)
    assert client.opened and client.error is None
    return client


def test_payload_of_any_size_goes_both_ways(client: Tls, server: Server) -> None:
    server.incoming.write(client.wrap(LARGE))
    assert server.got() == LARGE
    assert b"".join(client.receive(server.send(LARGE))) == LARGE
    data = server.send(b"x")
    assert [piece for byte in data for piece in client.receive(bytes([byte]))] == [b"x"]


def test_the_goodbye_of_the_peer_ends_it(client: Tls, server: Server) -> None:
    data = server.send(b"last")
    with pytest.raises(ssl.SSLWantReadError):
        server.tls.unwrap()
    assert client.receive(data + server.outgoing.read()) == [b"last"]
    assert str(client.error) == "the peer ended TLS"
    assert client.receive(b"more") == []


def test_the_end_of_the_stream_ends_it(client: Tls) -> None:
    assert client.receive(b"") == []
    assert "EOF occurred" in str(client.error)
    assert client.receive(b"") == []


def test_damage_ends_it(client: Tls, server: Server) -> None:
    data = bytearray(server.send(b"payload"))
    data[-1] ^= 1
    assert client.receive(bytes(data)) == []
    assert "no TLS with the peer" in str(client.error)


def test_a_goodbye(client: Tls, server: Server) -> None:
    server.incoming.write(client.close())
    assert server.got() == b""
    assert client.wrap(b"late") == b""
    assert "no TLS with the peer" in str(client.error)


def test_a_goodbye_before_anything_is_none(certificates: Path) -> None:
    assert Tls(client_context(), "localhost", "the peer").close() == b""


def test_through_a_proxy_and_the_end_of_it(certificates: Path, server: Server) -> None:
    proxy, endpoint = parse_proxy("https://proxy.example"), parse_url("amqp://broker.example")
    tls = Tls(client_context(ca_file=certificates / "ca.pem"), "localhost", "the proxy")
    layer = Inside(tls, Connect(proxy, endpoint))
    assert layer.close() == b""
    server.shake(layer)
    assert server.got().startswith(b"CONNECT broker.example:5672 HTTP/1.1\r\n")
    assert layer.receive(server.send(b"HTTP/1.1 200")) == [] and not layer.opened
    assert layer.receive(server.send(b" OK\r\n\r\n")) == [] and layer.opened
    assert layer.take_reply() == b""
    server.incoming.write(layer.wrap(b"there"))
    assert server.got() == b"there"
    assert layer.receive(server.send(b"back")) == [b"back"]
    server.incoming.write(layer.close())
    assert server.got() == b""
    layer.receive(b"")
    assert "no TLS with the proxy" in str(layer.error)
    assert layer.take_reply() == b"" and layer.close() == b""


def test_a_proxy_that_refuses_is_not_asked_again(certificates: Path, server: Server) -> None:
    tls = Tls(client_context(ca_file=certificates / "ca.pem"), "localhost", "the proxy")
    layer = Inside(tls, Connect(parse_proxy("https://proxy.example"), parse_url("amqp://broker.example")))
    server.shake(layer)
    assert layer.receive(server.send(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")) == []
    assert "answered 502 Bad Gateway" in str(layer.error)
    assert layer.receive(server.send(b"HTTP/1.1 200 OK\r\n\r\n")) == []
    assert not layer.opened


def test_what_lies_between() -> None:
    proxy, endpoint = parse_proxy("https://proxy.example"), parse_url("amqps://broker.example")
    hello = secure_proxy(proxy, endpoint, client_context(), "broker.example", None).start()
    # All that is said in the open is the name of the proxy.
    assert b"proxy.example" in hello and b"broker.example" not in hello
