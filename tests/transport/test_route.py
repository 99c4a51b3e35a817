from __future__ import annotations

import pytest

from uamqp.transport.address import parse_proxy, parse_url
from uamqp.transport.layers import Inside
from uamqp.transport.route import Route
from uamqp.transport.tls import client_context
from uamqp.transport.websocket import WebSocket

PLAIN = parse_url("amqp://broker.example")
SECURE = parse_url("amqps://broker.example")


def websocket() -> WebSocket:
    return WebSocket.client(SECURE, "broker.example", "amqp")


def test_a_route_says_where_it_leads() -> None:
    assert str(Route(PLAIN)) == "amqp://broker.example:5672"
    proxy = parse_proxy("http://user:s3cr3t@proxy.example:3128")
    assert str(Route(SECURE, proxy=proxy)) == "amqps://broker.example:5671 through http://proxy.example:3128"


@pytest.mark.parametrize("proxy", [None, "http://proxy.example", "socks5://proxy.example"])
def test_tls_with_the_endpoint_is_left_to_the_driver(proxy: str | None) -> None:
    context = client_context()
    through = None if proxy is None else parse_proxy(proxy)
    assert Route(PLAIN, proxy=through).layers() == (None, None)
    assert Route(SECURE, context, "broker.example", through).layers() == (context, None)


def test_each_stream_has_a_websocket_of_its_own() -> None:
    route = Route(SECURE, client_context(), "broker.example", websocket=websocket)
    (context, first), (_, second) = route.layers(), route.layers()
    assert context is route.context
    assert isinstance(first, WebSocket)
    assert first is not second


def test_tls_inside_tls_of_a_proxy_is_a_layer() -> None:
    route = Route(SECURE, client_context(), "broker.example", parse_proxy("https://proxy.example"), websocket)
    context, layer = route.layers()
    assert context is None
    assert isinstance(layer, Inside)
