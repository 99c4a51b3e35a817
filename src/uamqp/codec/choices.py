"""The names that the specification gives to the values of its restricted types."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final

__all__ = [
    "AmqpError",
    "ConnectionErrorCondition",
    "DistributionMode",
    "LinkError",
    "ReceiverSettleMode",
    "Role",
    "SaslCode",
    "SenderSettleMode",
    "SessionError",
    "TerminusDurability",
    "TerminusExpiryPolicy",
    "TransactionCapability",
    "TransactionError",
]


class Role:
    """Which end of a link says it (spec 2.8.1)."""

    SENDER: Final = False
    RECEIVER: Final = True


class SenderSettleMode(IntEnum):
    """Whether a sender sends its deliveries settled (spec 2.8.2)."""

    UNSETTLED = 0
    SETTLED = 1
    MIXED = 2


class ReceiverSettleMode(IntEnum):
    """Whether a receiver settles at once, or after the sender has settled (spec 2.8.3)."""

    FIRST = 0
    SECOND = 1


class TerminusDurability(IntEnum):
    """What of a terminus outlives a restart (spec 3.5.5)."""

    NONE = 0
    CONFIGURATION = 1
    UNSETTLED_STATE = 2


class TerminusExpiryPolicy(StrEnum):
    """When the time-out of a terminus starts to run (spec 3.5.6)."""

    LINK_DETACH = "link-detach"
    SESSION_END = "session-end"
    CONNECTION_CLOSE = "connection-close"
    NEVER = "never"


class DistributionMode(StrEnum):
    """Whether a message that goes out on a link leaves its node (spec 3.5.7)."""

    MOVE = "move"
    COPY = "copy"


class SaslCode(IntEnum):
    """How an authentication ended (spec 5.3.3.6)."""

    OK = 0
    AUTH = 1
    SYS = 2
    SYS_PERM = 3
    SYS_TEMP = 4


class AmqpError(StrEnum):
    """Error conditions of any scope (spec 2.8.15)."""

    INTERNAL_ERROR = "amqp:internal-error"
    NOT_FOUND = "amqp:not-found"
    UNAUTHORIZED_ACCESS = "amqp:unauthorized-access"
    DECODE_ERROR = "amqp:decode-error"
    RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded"
    NOT_ALLOWED = "amqp:not-allowed"
    INVALID_FIELD = "amqp:invalid-field"
    NOT_IMPLEMENTED = "amqp:not-implemented"
    RESOURCE_LOCKED = "amqp:resource-locked"
    PRECONDITION_FAILED = "amqp:precondition-failed"
    RESOURCE_DELETED = "amqp:resource-deleted"
    ILLEGAL_STATE = "amqp:illegal-state"
    FRAME_SIZE_TOO_SMALL = "amqp:frame-size-too-small"


class ConnectionErrorCondition(StrEnum):
    """Error conditions of a connection (spec 2.8.16)."""

    CONNECTION_FORCED = "amqp:connection:forced"
    FRAMING_ERROR = "amqp:connection:framing-error"
    REDIRECT = "amqp:connection:redirect"


class SessionError(StrEnum):
    """Error conditions of a session (spec 2.8.17)."""

    WINDOW_VIOLATION = "amqp:session:window-violation"
    ERRANT_LINK = "amqp:session:errant-link"
    HANDLE_IN_USE = "amqp:session:handle-in-use"
    UNATTACHED_HANDLE = "amqp:session:unattached-handle"


class LinkError(StrEnum):
    """Error conditions of a link (spec 2.8.18)."""

    DETACH_FORCED = "amqp:link:detach-forced"
    TRANSFER_LIMIT_EXCEEDED = "amqp:link:transfer-limit-exceeded"
    MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"
    REDIRECT = "amqp:link:redirect"
    STOLEN = "amqp:link:stolen"


class TransactionError(StrEnum):
    """Error conditions of a transaction (spec 4.5.8)."""

    UNKNOWN_ID = "amqp:transaction:unknown-id"
    TRANSACTION_ROLLBACK = "amqp:transaction:rollback"
    TRANSACTION_TIMEOUT = "amqp:transaction:timeout"


class TransactionCapability(StrEnum):
    """What a coordinator can do (spec 4.5.7)."""

    LOCAL_TRANSACTIONS = "amqp:local-transactions"
    DISTRIBUTED_TRANSACTIONS = "amqp:distributed-transactions"
    PROMOTABLE_TRANSACTIONS = "amqp:promotable-transactions"
    MULTI_TXNS_PER_SSN = "amqp:multi-txns-per-ssn"
    MULTI_SSNS_PER_TXN = "amqp:multi-ssns-per-txn"
