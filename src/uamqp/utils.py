"""Shared access signatures, connection strings, and values with their AMQP type."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import datetime as datetime
from datetime import timedelta
from typing import Any, Final

from ._legacy import outgoing
from .aio.arguments import expect
from .aio.sas import sign
from .c_uamqp.values import AMQPValue, wrap

__all__ = ["create_sas_token", "data_factory", "get_running_loop", "logger", "parse_connection_string"]

logger: Final = logging.getLogger(__name__)

_HOUR: Final = timedelta(hours=1)


def create_sas_token(key_name: bytes, shared_access_key: bytes, scope: bytes, expiry: timedelta = _HOUR) -> bytes:
    """A shared access signature, as the Azure services take it.

    Args:
        key_name: the name of the key, percent-encoded where it needs to be.
        shared_access_key: the key.
        scope: what the signature is for: a URI, percent-encoded.
        expiry: how long from now on it is good.

    Raises:
        TypeError: one of the first three is not bytes.
    """
    for name, value in (("key_name", key_name), ("shared_access_key", shared_access_key), ("scope", scope)):
        if not isinstance(value, bytes):
            raise TypeError(f"{name} must be bytes, not {type(value).__name__}")
    return sign(scope, key_name, shared_access_key, int(time.time() + expiry.total_seconds()))


def parse_connection_string(connect_str: str) -> dict[str, str]:
    """The parts of ``"Name=value;Name=value"``.

    Raises:
        ValueError: a part is not of that form; the text of the error has no values in it.
    """
    expect("connect_str", connect_str, str, "a str")
    parts = {}
    for number, part in enumerate(connect_str.split(";"), 1):
        name, found, value = part.partition("=")
        if not found:
            raise ValueError(f"part {number} of the connection string is not of the form Name=value")
        parts[name] = value
    return parts


def data_factory(value: Any, encoding: str = "UTF-8") -> AMQPValue | None:
    """The value with the AMQP type that it goes out with; None where AMQP has no type for it.

    An int has 32 bits, 64 where it needs them, and is a double beyond. Text is a string, bytes too where they are text,
    and bytearray is binary.

    Args:
        value: a plain Python value, or one of `uamqp.types`, or of `uamqp.c_uamqp`, which stay what they are.
        encoding: of bytes that are text.
    """
    return value if isinstance(value, AMQPValue) else wrap(outgoing(value, encoding))


def get_running_loop() -> asyncio.AbstractEventLoop:
    """The event loop that is running, else the one that the thread has. Raises RuntimeError where there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.get_event_loop_policy().get_event_loop()
