"""The modern API for blocking code: the same coroutines as `uamqp.aio`, run in the thread that calls.

::

    import uamqp.sync as amqp

    with amqp.connect("amqps://user:password@host") as connection:
        with connection.sender("orders") as sender:
            sender.send("hello")
        with connection.receiver("orders") as receiver:
            for delivery in receiver:
                print(delivery.body)
                delivery.accept()

Every name, argument and error is that of `uamqp.aio`, whose docstrings hold here too. Several threads may use one
connection. Heartbeats go out while the program does something else. Inside a running event loop, and after `fork`,
calls raise `LocalProtocolError` instead of blocking.
"""

from __future__ import annotations

import ssl
from collections import abc
from collections.abc import Iterable, Mapping
from typing import Any, Unpack

from .. import aio
from ..aio.cbs import Token
from ..aio.connection import open_connection
from ..aio.credit import CreditPolicy, Manual, OnDemand, Prefetch
from ..aio.options import (
    CONNECT_TIMEOUT,
    DEFAULT,
    IDLE_TIMEOUT,
    OPERATION_TIMEOUT,
    PREFETCH,
    WEBSOCKET_SUBPROTOCOL,
    ReceiverOptions,
    SenderOptions,
    Timeout,
    connection_options,
)
from ..aio.recovery import Happening, Recovery, RecoveryEvent
from ..aio.sas import SharedAccessKey
from ..codec.definitions import Source, Target
from ..codec.message import Data, Header, Message, Properties, Sequence, Value
from ..codec.values import Described, Symbol
from ..engine.delivery import IncomingDelivery as _IncomingDelivery
from ..engine.delivery import OutgoingDelivery as _OutgoingDelivery
from ..engine.limits import CHANNEL_MAX, HANDLE_MAX, INCOMING_WINDOW, MAX_FRAME_SIZE, MAX_MESSAGE_SIZE
from ..engine.sasl import Anonymous, External, Mechanism, Plain
from ..exceptions import AMQPError
from ..transport.address import parse_url
from ..transport.blocking import BlockingDriver
from ..transport.watch import WATCH

__all__ = [
    "DEFAULT",
    "Anonymous",
    "Connection",
    "CreditPolicy",
    "Data",
    "Described",
    "External",
    "Happening",
    "Header",
    "IncomingDelivery",
    "Manual",
    "Mechanism",
    "Message",
    "OnDemand",
    "OutgoingDelivery",
    "Plain",
    "Prefetch",
    "Properties",
    "Receiver",
    "Recovery",
    "RecoveryEvent",
    "Sender",
    "Sequence",
    "Session",
    "SharedAccessKey",
    "Symbol",
    "Token",
    "Value",
    "connect",
]


def connect(
    url: str,
    *,
    user: str | None = None,
    password: str | None = None,
    sasl: abc.Sequence[Mechanism] | None = None,
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
    desired_capabilities: abc.Sequence[str] = (),
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


class _Face:
    """A blocking face on an object of `uamqp.aio`."""

    _aio: Any

    def __init__(self, wrapped: Any, driver: BlockingDriver) -> None:
        self._aio = wrapped
        self._driver = driver

    def __repr__(self) -> str:
        return repr(self._aio)


class Connection(_Face):
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
        return Session(self._driver.run(opening.open()), self._driver)

    def sender(self, address: str | None, **options: Unpack[SenderOptions]) -> Sender:
        return Sender(self._driver.run(self._aio.sender(address, **options).open()), self._driver)

    def receiver(self, address: str | None, **options: Unpack[ReceiverOptions]) -> Receiver:
        return Receiver(self._driver.run(self._aio.receiver(address, **options).open()), self._driver)

    def request(self, address: str, message: Message, *, timeout: Timeout = DEFAULT) -> Message:
        return self._driver.run(self._aio.request(address, message, timeout=timeout))

    def authorize(
        self,
        audience: str,
        get_token: abc.Callable[[str], Token],
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


class Session(_Face):
    """As `uamqp.aio.Session`."""

    _aio: aio.Session

    @property
    def connection(self) -> Connection:
        return Connection(self._aio.connection, self._driver)

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error

    def sender(
        self,
        address: str | None,
        *,
        name: str | None = None,
        settle_mode: str = "mixed",
        target: Target | None = None,
        source: Source | None = None,
        capabilities: abc.Sequence[str] = (),
        desired_capabilities: abc.Sequence[str] = (),
        properties: Mapping[str, Any] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Sender:
        opening = self._aio.sender(
            address,
            name=name,
            settle_mode=settle_mode,
            target=target,
            source=source,
            capabilities=capabilities,
            desired_capabilities=desired_capabilities,
            properties=properties,
            timeout=timeout,
        )
        return Sender(self._driver.run(opening.open()), self._driver)

    def receiver(
        self,
        address: str | None,
        *,
        prefetch: int = PREFETCH,
        credit: CreditPolicy | None = None,
        name: str | None = None,
        settle_mode: str = "first",
        sender_settle_mode: str = "mixed",
        dynamic: bool = False,
        filters: Mapping[str, Any] | None = None,
        source: Source | None = None,
        target: Target | None = None,
        capabilities: abc.Sequence[str] = (),
        desired_capabilities: abc.Sequence[str] = (),
        properties: Mapping[str, Any] | None = None,
        max_message_size: int = MAX_MESSAGE_SIZE,
        timeout: Timeout = DEFAULT,
    ) -> Receiver:
        opening = self._aio.receiver(
            address,
            prefetch=prefetch,
            credit=credit,
            name=name,
            settle_mode=settle_mode,
            sender_settle_mode=sender_settle_mode,
            dynamic=dynamic,
            filters=filters,
            source=source,
            target=target,
            capabilities=capabilities,
            desired_capabilities=desired_capabilities,
            properties=properties,
            max_message_size=max_message_size,
            timeout=timeout,
        )
        return Receiver(self._driver.run(opening.open()), self._driver)

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.close(timeout=timeout))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class _Link(_Face):
    @property
    def session(self) -> Session:
        return Session(self._aio.session, self._driver)

    @property
    def name(self) -> str:
        return self._aio.name  # type: ignore[no-any-return]

    @property
    def address(self) -> str | None:
        return self._aio.address  # type: ignore[no-any-return]

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error  # type: ignore[no-any-return]

    @property
    def credit(self) -> int:
        return self._aio.credit  # type: ignore[no-any-return]

    @property
    def remote_properties(self) -> Mapping[Any, Any]:
        return self._aio.remote_properties  # type: ignore[no-any-return]

    @property
    def max_message_size(self) -> int | None:
        return self._aio.max_message_size  # type: ignore[no-any-return]

    def close(self, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.close(timeout=timeout))

    def __exit__(self, *exc: object) -> None:
        self.close()


class Sender(_Link):
    """As `uamqp.aio.Sender`."""

    _aio: aio.Sender

    def send(self, message: Message | Any, *, settled: bool = False, timeout: Timeout = DEFAULT) -> OutgoingDelivery:
        delivery = self._driver.run(self._aio.send(message, settled=settled, timeout=timeout))
        return OutgoingDelivery(delivery, self._driver)

    def send_nowait(self, message: Message | Any, *, settled: bool = False) -> OutgoingDelivery:
        """As `uamqp.aio.Sender.send_nowait`; `settlement` waits for the outcome."""
        return OutgoingDelivery(self._driver.call(self._aio.send_nowait, message, settled=settled), self._driver)

    def settlement(self, delivery: OutgoingDelivery, timeout: Timeout = DEFAULT) -> OutgoingDelivery:
        self._driver.run(self._aio.settlement(delivery._aio, timeout))
        return delivery

    def send_many(self, messages: Iterable[Message | Any], *, settled: bool = False, timeout: Timeout = DEFAULT) -> int:
        return self._driver.run(self._aio.send_many(messages, settled=settled, timeout=timeout))

    def __enter__(self) -> Sender:
        return self


class Receiver(_Link):
    """As `uamqp.aio.Receiver`."""

    _aio: aio.Receiver

    @property
    def filters(self) -> Mapping[str, Any]:
        return self._aio.filters

    @property
    def queued(self) -> int:
        return self._aio.queued

    def receive(self, *, timeout: Timeout = DEFAULT) -> IncomingDelivery:
        return IncomingDelivery(self._driver.run(self._aio.receive(timeout=timeout)), self._driver)

    def receive_many(self, max: int = 100, *, timeout: Timeout = DEFAULT) -> list[IncomingDelivery]:
        deliveries = self._driver.run(self._aio.receive_many(max, timeout=timeout))
        return [IncomingDelivery(delivery, self._driver) for delivery in deliveries]

    def __iter__(self) -> Receiver:
        return self

    def __next__(self) -> IncomingDelivery:
        return IncomingDelivery(self._driver.run(self._aio.__anext__()), self._driver)

    def flow(self, credit: int, *, drain: bool = False) -> None:
        self._driver.call(self._aio.flow, credit, drain=drain)

    def drain(self, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.drain(timeout=timeout))

    def confirmed(self, delivery: IncomingDelivery, *, timeout: Timeout = DEFAULT) -> None:
        self._driver.run(self._aio.confirmed(delivery._aio, timeout=timeout))

    def __enter__(self) -> Receiver:
        return self


class OutgoingDelivery(_Face):
    """As `uamqp.aio.OutgoingDelivery`, but not awaitable: `Sender.settlement` waits."""

    _aio: _OutgoingDelivery

    @property
    def id(self) -> int:
        return self._aio.id

    @property
    def payload(self) -> bytes:
        return self._aio.payload

    @property
    def message_format(self) -> int:
        return self._aio.message_format

    @property
    def presettled(self) -> bool:
        return self._aio.presettled

    @property
    def settled(self) -> bool:
        return self._aio.settled

    @property
    def state(self) -> Any:
        return self._aio.state

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error

    def failure(self) -> AMQPError | None:
        return self._aio.failure()


class IncomingDelivery(_Face):
    """As `uamqp.aio.IncomingDelivery`; settling writes at once, so that nothing waits for the next call."""

    _aio: _IncomingDelivery

    @property
    def id(self) -> int:
        return self._aio.id

    @property
    def tag(self) -> bytes:
        return self._aio.tag

    @property
    def payload(self) -> bytes:
        return self._aio.payload

    @property
    def message_format(self) -> int:
        return self._aio.message_format

    @property
    def presettled(self) -> bool:
        return self._aio.presettled

    @property
    def settled(self) -> bool:
        return self._aio.settled

    @property
    def state(self) -> Any:
        return self._aio.state

    @property
    def error(self) -> AMQPError | None:
        return self._aio.error

    @property
    def message(self) -> Message:
        return self._aio.message

    @property
    def body(self) -> Any:
        return self._aio.body

    def settle(self, state: Any) -> None:
        self._driver.call(self._aio.settle, state)

    def accept(self) -> None:
        self._driver.call(self._aio.accept)

    def reject(self, condition: str | None = None, description: str = "", info: dict[Any, Any] | None = None) -> None:
        self._driver.call(self._aio.reject, condition, description, info)

    def release(self) -> None:
        self._driver.call(self._aio.release)

    def modify(
        self,
        *,
        delivery_failed: bool = False,
        undeliverable_here: bool = False,
        annotations: dict[Any, Any] | None = None,
    ) -> None:
        self._driver.call(
            self._aio.modify,
            delivery_failed=delivery_failed,
            undeliverable_here=undeliverable_here,
            annotations=annotations,
        )
