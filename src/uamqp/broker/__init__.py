"""An AMQP 1.0 broker for development and tests; not for production."""

from .nodes import Queue, Refused, Topic
from .options import BrokerOptions, TokenCheck
from .server import Broker

__all__ = ["Broker", "BrokerOptions", "Queue", "Refused", "TokenCheck", "Topic"]
