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

from ..aio.cbs import Token
from ..aio.credit import CreditPolicy, Manual, OnDemand, Prefetch
from ..aio.options import DEFAULT
from ..aio.recovery import Happening, Recovery, RecoveryEvent
from ..aio.sas import SharedAccessKey
from ..codec.message import Data, Header, Message, Properties, Sequence, Value
from ..codec.values import Described, Symbol
from ..engine.sasl import Anonymous, External, Mechanism, Plain
from .connection import Connection, connect
from .delivery import IncomingDelivery, OutgoingDelivery
from .receiver import Receiver
from .sender import Sender
from .session import Session

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
