"""Connections, as blocking code has them, and how to get one."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

from .. import aio
from ..aio.cbs import Token
from ..aio.connection import open_connection
from ..aio.options import (
    CONNECT_TIMEOUT,
    DEFAULT,
    IDLE_TIMEOUT,
    OPERATION_TIMEOUT,
    WEBSOCKET_SUBPROTOCOL,
    ReceiverOptions,
    SenderOptions,
    Timeout,
    connection_options,
)
from ..aio.recovery import Recovery
from ..codec.message import Message
from ..engine.limits import CHANNEL_MAX, HANDLE_MAX, INCOMING_WINDOW, MAX_FRAME_SIZE
from ..engine.sasl import Mechanism
from ..exceptions import AMQPError
from ..transport.address import parse_url
from ..transport.blocking import BlockingDriver
from ..transport.watch import WATCH
from .face import Face
from .receiver import Receiver
from .sender import Sender
from .session import Session


def connect(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    sasl: Sequence[Mechanism] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    ca_file: str | None = None,
    cert_file: str | None = None,
    key_file: str | None = None,
    hostname: str | None = None,
    container_id: str | None = None,
    max_frame_size: int = MAX_FRAME_SIZE,
    channel_max: int = CHANNEL_MAX,
    idle_timeout: float | None = IDLE_TIMEOUT,
    properties: Mapping[str, Any] | None = None,
    desired_capabilities: Sequence[str] = (),
    timeout: float = OPERATION_TIMEOUT,
    connect_timeout: float = CONNECT_TIMEOUT,
    allow_plaintext_credentials: bool = False,
    proxy: str | None = None,
    connect_to: tuple[str, int] | None = None,
    websocket_subprotocol: str = WEBSOCKET_SUBPROTOCOL,
    recovery: Recovery | None = None,
    trace: bool = False,
) -> Connection:
    """Connect to a broker; as `uamqp.aio.connect`."""
    options = connection_options(
        parse_url(url),
        user=user,
        password=password,
        sasl=sasl,
        ssl_context=ssl_context,
        ca_file=ca_file,
        cert_file=cert_file,
        key_file=key_file,
        hostname=hostname,
        container_id=container_id,
        max_frame_size=max_frame_size,
        channel_max=channel_max,
        idle_timeout=idle_timeout,
        properties=properties,
        desired_capabilities=desired_capabilities,
        timeout=timeout,
        connect_timeout=connect_timeout,
        allow_plaintext_credentials=allow_plaintext_credentials,
        proxy=proxy,
        connect_to=connect_to,
        websocket_subprotocol=websocket_subprotocol,
        recovery=recovery,
        trace=trace,
    )
    driver = BlockingDriver()
    connection = Connection(driver.run(open_connection(driver, options)), driver)
    WATCH.add(driver)
    return connection


class Connection(Face):
    """As `uamqp.aio.Connection`."""

    _aio: aio.Connection

    @property
    def path(self) -> str:
        return self._aio.path

    @property
    def container_id(self) -> str:
        return self._aio.container_id

    @property
    def is_open(self) -> bool:
        return self._aio.is_open

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error

    @property
    def remote_properties(self) -> Mapping[str, Any]:
        return self._aio.remote_properties

    @property
    def remote_container_id(self) -> str:
        return self._aio.remote_container_id

    @property
    def remote_offered_capabilities(self) -> tuple[str, ...]:
        return self._aio.remote_offered_capabilities

    def session(
        self, *, incoming_window: int = INCOMING_WINDOW, handle_max: int = HANDLE_MAX, timeout: Timeout = DEFAULT
    ) -> Session:
        opening = self._aio.session(incoming_window=incoming_window, handle_max=handle_max, timeout=timeout)
        return Session(self._driver.run(opening.open()), self)

    def sender(self, address: str | None, **options: Unpack[SenderOptions]) -> Sender:
        sender = self._driver.run(self._aio.sender(address, **options).open())
        return Sender(sender, Session(sender.session, self))

    def receiver(self, address: str | None, **options: Unpack[ReceiverOptions]) -> Receiver:
        receiver = self._driver.run(self._aio.receiver(address, **options).open())
        return Receiver(receiver, Session(receiver.session, self))

    def request(self, address: str, message: Message, *, timeout: Timeout = DEFAULT) -> Message:
        return self._driver.run(self._aio.request(address, message, timeout=timeout))

    def authorize(
        self,
        audience: str,
        get_token: Callable[[str], Token],
        *,
        refresh_window: float | None = None,
        timeout: Timeout = DEFAULT,
    ) -> None:
        self._driver.run(self._aio.authorize(audience, get_token, refresh_window=refresh_window, timeout=timeout))

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        WATCH.remove(self._driver)
        self._driver.run(self._aio.close(timeout=timeout))

    def wait_closed(self, *, timeout: Timeout = None) -> None:
        self._driver.run(self._aio.wait_closed(timeout=timeout))

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
