"""AMQP 1.0 for Python.

Three faces on one engine:

- `uamqp.aio`: the modern API for asyncio, and `uamqp.sync`: the same for blocking code;
- the API of uamqp 1.6: `SendClient`, `ReceiveClientAsync`, `Message` and so on;
- `uamqp.broker`: an embedded broker for development and tests.

Importing this package imports nothing else; names are loaded when they are first used. `BUILD` says which of two builds
of the same source it is: "pure" Python, or "compiled" by mypyc.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "1.7.0"

_SUBMODULES = frozenset(
    {
        "address",
        "aio",
        "async_ops",
        "authentication",
        "broker",
        "c_uamqp",
        "client",
        "compat",
        "connection",
        "constants",
        "errors",
        "exceptions",
        "message",
        "mgmt_operation",
        "receiver",
        "sender",
        "session",
        "sync",
        "types",
        "utils",
    }
)

_EXPORTS = {
    "_Platform": "_platform",
    "AMQPClient": "client",
    "AMQPClientAsync": "async_ops",
    "AsyncMessageIter": "async_ops",
    "BatchMessage": "message",
    "Connection": "connection",
    "ConnectionAsync": "async_ops",
    "Message": "message",
    "MessageBodyType": "constants",
    "MessageReceiver": "receiver",
    "MessageReceiverAsync": "async_ops",
    "MessageSender": "sender",
    "MessageSenderAsync": "async_ops",
    "MgmtOperation": "mgmt_operation",
    "MgmtOperationAsync": "async_ops",
    "ReceiveClient": "client",
    "ReceiveClientAsync": "async_ops",
    "SendClient": "client",
    "SendClientAsync": "async_ops",
    "Session": "session",
    "SessionAsync": "async_ops",
    "Source": "address",
    "Target": "address",
    "TransportType": "constants",
    "get_platform_info": "_platform",
    "receive_message": "client",
    "receive_messages": "client",
    "send_message": "client",
}

__all__ = ["BUILD", "__version__", *sorted(_EXPORTS), *sorted(_SUBMODULES)]


def __getattr__(name: str) -> Any:
    if name == "BUILD":
        engine = import_module(f"{__name__}.engine.connection")
        return "pure" if str(engine.__file__).endswith(".py") else "compiled"
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
