"""Installs and starts real brokers for the live tests: RabbitMQ 4 and Apache ActiveMQ Artemis. See README.md.

with RabbitMQ.running() as broker:
    broker.declare_queue("orders")
    ...  # broker.host, broker.port, broker.tls_port, broker.user, broker.password, broker.ca_file
    broker.restart()
"""

from __future__ import annotations

from .artemis import Artemis
from .broker import Broker
from .errors import BrokerError
from .rabbitmq import RabbitMQ

BROKERS: dict[str, type[Broker]] = {kind.name: kind for kind in (RabbitMQ, Artemis)}

__all__ = ["BROKERS", "Artemis", "Broker", "BrokerError", "RabbitMQ"]
