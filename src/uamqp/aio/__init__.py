"""The modern API for asyncio.

::

    import uamqp.aio as amqp

    async with amqp.connect("amqps://user:password@host") as connection:
        async with connection.sender("orders") as sender:
            await sender.send("hello")
        async with connection.receiver("orders") as receiver:
            async for delivery in receiver:
                print(delivery.body)
                delivery.accept()
"""

from ..codec.message import Data, Header, Message, Properties, Sequence, Value
from ..codec.values import Described, Symbol
from ..engine.delivery import IncomingDelivery, OutgoingDelivery
from ..engine.sasl import Anonymous, External, Mechanism, Plain
from .cbs import Token
from .connection import Connection, connect
from .credit import CreditPolicy, Manual, OnDemand, Prefetch
from .options import DEFAULT
from .receiver import Receiver
from .recovery import Happening, Recovery, RecoveryEvent
from .sas import SharedAccessKey
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
