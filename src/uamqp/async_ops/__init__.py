"""The asynchronous API: clients, and the connections, sessions and links under them."""

from .client_async import AMQPClientAsync, AsyncMessageIter, ReceiveClientAsync, SendClientAsync
from .connection_async import ConnectionAsync
from .mgmt_operation_async import MgmtOperationAsync
from .receiver_async import MessageReceiverAsync
from .sender_async import MessageSenderAsync
from .session_async import SessionAsync

__all__ = [
    "AMQPClientAsync",
    "AsyncMessageIter",
    "ConnectionAsync",
    "MessageReceiverAsync",
    "MessageSenderAsync",
    "MgmtOperationAsync",
    "ReceiveClientAsync",
    "SendClientAsync",
    "SessionAsync",
]
