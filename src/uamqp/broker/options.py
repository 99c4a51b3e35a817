"""What a broker may be told, and the limits that keep its memory bounded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any, Final, Literal

from ..engine.limits import (
    CHANNEL_MAX,
    HANDLE_MAX,
    MAX_CREDIT,
    MAX_FRAME_SIZE,
    MAX_MESSAGE_SIZE,
    MIN_MAX_FRAME_SIZE,
)
from ..engine.serial import MASK
from .azure.options import Azure

#: Checks a token put to ``$cbs``: its type, audience and text in; None accepts it, a text says why not.
TokenCheck = Callable[[str, str, str], str | None]


#: Of each number what kind it is, and the least and the most.
_RANGES: Final[dict[str, tuple[type, float, float]]] = {
    "max_connections": (int, 1, inf),
    "max_handshakes": (int, 1, inf),
    "handshake_timeout": (float, 0.001, inf),
    "max_frame_size": (int, MIN_MAX_FRAME_SIZE, MASK),
    "channel_max": (int, 0, 65_535),
    "handle_max": (int, 0, MASK),
    "max_message_size": (int, 1, inf),
    "max_queue_length": (int, 0, inf),
    "max_queue_bytes": (int, 0, inf),
    "max_bytes": (int, 0, inf),
    "max_queues": (int, 0, inf),
    "link_credit": (int, 0, MAX_CREDIT),
    "max_deliveries": (int, 1, inf),
    "idle_timeout": (float, 0.001, inf),
    # Of a queue, and of where the broker listens.
    "max_length": (int, 0, inf),
    "ttl": (float, 0, inf),
    "port": (int, 0, 65_535),
}


#: Those that there need not be.
_NONE: Final = frozenset({"max_deliveries", "idle_timeout"})


def check_number(name: str, value: Any) -> None:
    """Look at one of the numbers that a broker or a queue is told.

    Raises:
        TypeError, ValueError: it is no such number, or out of range.
    """
    kind, least, most = _RANGES[name]
    if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
        raise TypeError(f"{name} must be a {'whole ' if kind is int else ''}number, not {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{name} must be {least} to {most}, not {value}")


def check_name(name: str, value: object) -> None:
    """Look at the name of a node; None stands for none. Raises TypeError where it is none."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")


@dataclass(frozen=True)
class BrokerOptions:
    """The terms of a broker.

    Attributes:
        personality: ``"azure"``, or `Azure` with its own options, to behave as Azure Service Bus and Event Hubs do.
        users: passwords by user. Without any, everybody on this machine may come in, with or without a password.
        allow_anonymous: let clients in without credentials; by default only where there are no `users`.
        auto_create: make a queue when somebody attaches to a name that is not known.
        max_connections: connections beyond this many are hung up on at once.
        max_handshakes: connections that may be in their handshake at the same time; more are hung up on too.
        handshake_timeout: seconds that a new connection has for TLS, SASL and open together.
        max_frame_size, channel_max, handle_max: as in the open and begin of the broker.
        max_message_size: bytes of the largest message taken.
        max_queue_length, max_queue_bytes: a queue refuses more than this, with ``amqp:resource-limit-exceeded``.
        max_bytes: all queues together hold no more than this; they refuse messages then in the same way.
        max_queues: queues, topics and subscriptions beyond this many are refused.
        link_credit: messages that a producer may have under way.
        max_deliveries: after this many failed deliveries a message is dead-lettered; None: never.
        dead_letter: the queue for dead letters; None drops them.
        idle_timeout: seconds of silence that clients are allowed.
        token_check: for ``$cbs``; None accepts every token.

    Raises:
        TypeError: a value is not of its kind.
        ValueError: a number is out of range.
    """

    personality: Azure | Literal["generic", "azure"] = "generic"
    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    allow_anonymous: bool | None = None
    auto_create: bool = True
    max_connections: int = 1000
    max_handshakes: int = 100
    handshake_timeout: float = 10.0
    max_frame_size: int = MAX_FRAME_SIZE
    channel_max: int = CHANNEL_MAX
    handle_max: int = HANDLE_MAX
    max_message_size: int = MAX_MESSAGE_SIZE
    max_queue_length: int = 1_000_000
    max_queue_bytes: int = 512 * 1024 * 1024
    max_bytes: int = 1024 * 1024 * 1024
    max_queues: int = 10_000
    link_credit: int = 1000
    max_deliveries: int | None = None
    dead_letter: str | None = None
    idle_timeout: float | None = 60.0
    token_check: TokenCheck | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name in _RANGES and not (value is None and name in _NONE):
                check_number(name, value)
        check_name("dead_letter", self.dead_letter)
        if self.token_check is not None and not callable(self.token_check):
            raise TypeError(f"token_check must be a function, not {type(self.token_check).__name__}")

    @property
    def anonymous_allowed(self) -> bool:
        """Whether clients may come in without credentials."""
        return not self.users if self.allow_anonymous is None else self.allow_anonymous
