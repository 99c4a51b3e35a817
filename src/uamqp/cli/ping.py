"""``uamqp ping``: how long each step of a connection takes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from typing import Annotated
from uuid import uuid4

import typer

from ..aio.options import connection_options
from ..codec.definitions import Source, Target
from ..engine.connection import ConnectionEndpoint
from ..engine.limits import CHANNEL_MAX, MAX_FRAME_SIZE
from ..engine.observer import Observer
from ..engine.sasl import SaslClient
from ..engine.settings import ConnectionSettings
from ..engine.states import LinkState, SessionState
from ..exceptions import AddressError, ConnectionLost, OperationTimeout
from ..transport.address import node_address, parse_url
from .common import CaFile, Password, Plaintext, Timeout, Url, User, console, reported


def ping(
    url: Url,
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="Measure so many connections.")] = 1,
    user: User = None,
    password: Password = None,
    ca_file: CaFile = None,
    allow_plaintext: Plaintext = False,
    timeout: Timeout = 15.0,
) -> None:
    """Connect and show the milliseconds of each step: TCP, TLS, SASL, open, begin and attach (where the URL names an
    address)."""
    with reported():
        endpoint = parse_url(url)
        if endpoint.websocket:
            raise AddressError(f"ping measures amqp and amqps, not {endpoint}")
        options = connection_options(
            endpoint,
            user=user,
            password=password,
            sasl=None,
            ssl_context=None,
            ca_file=ca_file,
            cert_file=None,
            key_file=None,
            hostname=None,
            container_id=None,
            max_frame_size=MAX_FRAME_SIZE,
            channel_max=CHANNEL_MAX,
            idle_timeout=None,
            properties=None,
            desired_capabilities=(),
            timeout=timeout,
            connect_timeout=timeout,
            allow_plaintext_credentials=allow_plaintext,
        )
        for _ in range(count):
            steps = _Steps(timeout)
            try:
                stream = socket.create_connection((endpoint.host, endpoint.port), timeout)
            except OSError as error:
                raise ConnectionLost(f"cannot connect to {endpoint}: {error}") from error
            with stream:
                steps.done("tcp")
                route = options.route
                if route.context is not None:
                    stream = route.context.wrap_socket(stream, server_hostname=route.server_hostname)
                    steps.done("tls")
                with stream:
                    sasl = SaslClient(options.mechanisms, options.hostname)
                    settings = ConnectionSettings(f"uamqp-ping-{uuid4()}", hostname=options.hostname)
                    engine = ConnectionEndpoint(Observer(), settings, sasl=sasl)
                    _converse(steps, stream, engine, sasl, endpoint.path)
            total = sum(milliseconds for _, milliseconds in steps.taken)
            console.print("  ".join(f"{name} {ms:.2f} ms" for name, ms in [*steps.taken, ("total", total)]))


class _Steps:
    def __init__(self, timeout: float) -> None:
        self.taken: list[tuple[str, float]] = []
        self._last = time.perf_counter()
        self.deadline = self._last + timeout

    def done(self, name: str) -> None:
        now = time.perf_counter()
        self.taken.append((name, (now - self._last) * 1000))
        self._last = now


def _converse(steps: _Steps, stream: socket.socket, engine: ConnectionEndpoint, sasl: SaslClient, address: str) -> None:
    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            stream.sendall(b"".join(engine.data_to_send()))
            if engine.error is not None:
                raise engine.error.again()
            stream.settimeout(max(0.001, steps.deadline - time.perf_counter()))
            try:
                data = stream.recv(65_536)
            except TimeoutError:
                raise OperationTimeout("the peer did not answer in time") from None
            if data:
                engine.receive_data(data)
            else:
                engine.receive_eof()

    engine.start()
    until(lambda: sasl.done or engine.error is not None)
    steps.done("sasl")
    until(lambda: engine.remote_open is not None or engine.error is not None)
    steps.done("open")
    session = engine.session()
    session.begin()
    until(lambda: session.state is not SessionState.BEGIN_SENT)
    if session.error is not None:
        raise session.error.again()
    steps.done("begin")
    if address:
        assert engine.remote_open is not None
        link = session.sender("ping")
        target = node_address(address, engine.remote_open.properties or {})
        link.attach(Source(), Target(address=target))
        until(lambda: link.error is not None or (link.state is LinkState.ATTACHED and not link.refused))
        if link.error is not None:
            raise link.error.again()
        steps.done("attach")
    engine.close()
    until(lambda: engine.closed)
