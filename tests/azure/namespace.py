"""A broker that plays an Azure namespace, and clients of the SDKs for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

from azure.eventhub import EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.aio import EventHubConsumerClient as AsyncConsumerClient
from azure.eventhub.aio import EventHubProducerClient as AsyncProducerClient
from azure.eventhub.exceptions import EventHubError
from azure.servicebus import ServiceBusClient
from azure.servicebus.aio import ServiceBusClient as AsyncServiceBusClient
from tools.brokers.certificates import issue, make_ca

from azure import eventhub, servicebus
from uamqp.broker import Azure, Broker

#: What asking for a partition that is not there raises: with uamqp, the SDK calls a method that its clients do not have
#: while it makes the error.
REFUSED = (EventHubError, AttributeError)

DECLARED = {
    "session_queues": ["sessions"],
    "topics": {"news": ["all", "also"]},
    "hubs": {"two": 2},
    "max_deliveries": 3,
    # With uamqp the SDK does not say how long it waits.
    "session_timeout": 5.0,
}
GROUP = "$Default"
KEY = "a2V5"


class Namespace:
    """Makes clients; `options` are what the SDKs need to reach the broker.

    Attributes:
        key: the shared access key that they have.
    """

    def __init__(self, endpoint: str, options: dict[str, Any]) -> None:
        self.key = KEY
        self._endpoint = endpoint
        options = {"retry_total": 1, "retry_backoff_factor": 0.1, **options}
        # Without this an endpoint of one's own is reached by WebSocket.
        self._bus = {**options, "transport_type": servicebus.TransportType.Amqp}
        self._hubs = {**options, "transport_type": eventhub.TransportType.Amqp}

    def connection_string(self) -> str:
        return f"{self._endpoint};SharedAccessKeyName=anybody;SharedAccessKey={self.key}"

    def with_key(self, key: str) -> Namespace:
        """The same one, for somebody with another key."""
        other = copy(self)
        other.key = key
        return other

    def service_bus(self, **options: Any) -> ServiceBusClient:
        return ServiceBusClient.from_connection_string(self.connection_string(), **self._bus, **options)

    def service_bus_aio(self, **options: Any) -> AsyncServiceBusClient:
        return AsyncServiceBusClient.from_connection_string(self.connection_string(), **self._bus, **options)

    def producer(self, hub: str, **options: Any) -> EventHubProducerClient:
        return EventHubProducerClient.from_connection_string(
            self.connection_string(), eventhub_name=hub, **self._hubs, **options
        )

    def consumer(self, hub: str, group: str = GROUP, **options: Any) -> EventHubConsumerClient:
        return EventHubConsumerClient.from_connection_string(
            self.connection_string(), group, eventhub_name=hub, **self._hubs, **options
        )

    def producer_aio(self, hub: str, **options: Any) -> AsyncProducerClient:
        return AsyncProducerClient.from_connection_string(
            self.connection_string(), eventhub_name=hub, **self._hubs, **options
        )

    def consumer_aio(self, hub: str, group: str = GROUP, **options: Any) -> AsyncConsumerClient:
        return AsyncConsumerClient.from_connection_string(
            self.connection_string(), group, eventhub_name=hub, **self._hubs, **options
        )


@contextmanager
def running(transport: str, folder: Path, **terms: Any) -> Iterator[Namespace]:
    """A broker for that transport of the SDKs."""
    personality = Azure(**{**DECLARED, **terms})
    if transport == "pyamqp":
        with Broker.running(personality=personality) as broker:
            endpoint = f"Endpoint=sb://127.0.0.1:{broker.port};UseDevelopmentEmulator=true"
            yield Namespace(endpoint, {})
        return
    make_ca(folder)
    issue(folder, "server")
    with Broker.running(
        "localhost", personality=personality, tls_cert=folder / "server.pem", tls_key=folder / "server.key"
    ) as broker:
        options = {
            "uamqp_transport": True,
            "custom_endpoint_address": f"sb://localhost:{broker.port}",
            "connection_verify": str(folder / "ca.pem"),
        }
        yield Namespace("Endpoint=sb://localhost", options)
