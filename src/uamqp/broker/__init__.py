"""An AMQP 1.0 broker for development and tests; not for production."""

from .azure import Azure
from .nodes import Queue, Refused, Topic
from .options import BrokerOptions, TokenCheck
from .server import Broker

__all__ = ["Azure", "Broker", "BrokerOptions", "Queue", "Refused", "TokenCheck", "Topic"]
