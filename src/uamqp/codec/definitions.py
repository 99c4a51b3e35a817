"""Composites that appear inside frames: errors, termini, delivery states, transactions (spec 2.8, 3.4, 3.5, 4.5)."""

from __future__ import annotations

from typing import Any, Final

from .choices import (
    AmqpError,
    ConnectionErrorCondition,
    DistributionMode,
    LinkError,
    ReceiverSettleMode,
    Role,
    SaslCode,
    SenderSettleMode,
    SessionError,
    TerminusDurability,
    TerminusExpiryPolicy,
    TransactionCapability,
    TransactionError,
)
from .composite import Composite, CompositeType, composite, mandatory, multiple, optional
from .values import Described
from .wire import (
    ADDRESS,
    BOOLEAN,
    DISTRIBUTION_MODE,
    ERROR_CONDITION,
    FIELDS,
    FILTER_SET,
    GLOBAL_TX_ID,
    NODE_PROPERTIES,
    SECONDS,
    STRING,
    SYMBOL,
    TERMINUS_DURABILITY,
    TERMINUS_EXPIRY_POLICY,
    TXN_CAPABILITY,
    TXN_ID,
    UINT,
    ULONG,
)

__all__ = [
    "ACCEPTED",
    "RELEASED",
    "Accepted",
    "AmqpError",
    "ConnectionErrorCondition",
    "Coordinator",
    "Declare",
    "Declared",
    "DeleteOnClose",
    "DeleteOnNoLinks",
    "DeleteOnNoLinksOrMessages",
    "DeleteOnNoMessages",
    "Discharge",
    "DistributionMode",
    "Error",
    "LinkError",
    "Modified",
    "Received",
    "ReceiverSettleMode",
    "Rejected",
    "Released",
    "Role",
    "SaslCode",
    "SenderSettleMode",
    "SessionError",
    "Source",
    "Target",
    "TerminusDurability",
    "TerminusExpiryPolicy",
    "TransactionCapability",
    "TransactionError",
    "TransactionalState",
]

ERROR: Final = CompositeType("error")
SOURCE: Final = CompositeType(requires="source")
TARGET: Final = CompositeType(requires="target")
DELIVERY_STATE: Final = CompositeType(requires="delivery-state")
OUTCOME: Final = CompositeType(requires="outcome")

_STATE: Final = ("delivery-state",)
_OUTCOME: Final = ("delivery-state", "outcome")
_LIFETIME: Final = ("lifetime-policy",)


@composite(0x1D, "amqp:error:list")
class Error(Composite):
    """Why something ended or was refused (spec 2.8.14)."""

    condition: str = mandatory(ERROR_CONDITION)
    description: str | None = optional(STRING, default=None)
    info: dict[Any, Any] | None = optional(FIELDS, default=None)


@composite(0x23, "amqp:received:list", _STATE)
class Received(Composite):
    """How much of a message has arrived: sections, and bytes of the next one (spec 3.4.1)."""

    section_number: int = mandatory(UINT)
    section_offset: int = mandatory(ULONG)


@composite(0x24, "amqp:accepted:list", _OUTCOME)
class Accepted(Composite):
    """The message was processed (spec 3.4.2)."""


@composite(0x25, "amqp:rejected:list", _OUTCOME)
class Rejected(Composite):
    """The message is invalid and cannot be processed (spec 3.4.3)."""

    error: Error | None = optional(ERROR, default=None)


@composite(0x26, "amqp:released:list", _OUTCOME)
class Released(Composite):
    """The message was not processed, and may be delivered again (spec 3.4.4)."""


@composite(0x27, "amqp:modified:list", _OUTCOME)
class Modified(Composite):
    """The message was not processed, and changes before it is delivered again (spec 3.4.5)."""

    delivery_failed: bool | None = optional(BOOLEAN, default=None)
    undeliverable_here: bool | None = optional(BOOLEAN, default=None)
    message_annotations: dict[Any, Any] | None = optional(FIELDS, default=None)


@composite(0x28, "amqp:source:list", ("source",))
class Source(Composite):
    """Where the messages of a link come from (spec 3.5.3). The time-out is in seconds."""

    address: str | None = optional(ADDRESS, default=None)
    durable: int = optional(TERMINUS_DURABILITY, default=0)
    expiry_policy: str = optional(TERMINUS_EXPIRY_POLICY, default="session-end")
    timeout: int = optional(SECONDS, default=0)
    dynamic: bool = optional(BOOLEAN, default=False)
    dynamic_node_properties: dict[Any, Any] | None = optional(NODE_PROPERTIES, default=None)
    distribution_mode: str | None = optional(DISTRIBUTION_MODE, default=None)
    filter: dict[Any, Any] | None = optional(FILTER_SET, default=None)
    default_outcome: Composite | Described | None = optional(OUTCOME, default=None)
    outcomes: tuple[str, ...] = multiple(SYMBOL, default=())
    capabilities: tuple[str, ...] = multiple(SYMBOL, default=())


@composite(0x29, "amqp:target:list", ("target",))
class Target(Composite):
    """Where the messages of a link go to (spec 3.5.4). The time-out is in seconds."""

    address: str | None = optional(ADDRESS, default=None)
    durable: int = optional(TERMINUS_DURABILITY, default=0)
    expiry_policy: str = optional(TERMINUS_EXPIRY_POLICY, default="session-end")
    timeout: int = optional(SECONDS, default=0)
    dynamic: bool = optional(BOOLEAN, default=False)
    dynamic_node_properties: dict[Any, Any] | None = optional(NODE_PROPERTIES, default=None)
    capabilities: tuple[str, ...] = multiple(SYMBOL, default=())


@composite(0x2B, "amqp:delete-on-close:list", _LIFETIME)
class DeleteOnClose(Composite):
    """A dynamic node lives until its link is closed (spec 3.5.10)."""


@composite(0x2C, "amqp:delete-on-no-links:list", _LIFETIME)
class DeleteOnNoLinks(Composite):
    """A dynamic node lives until no link is attached to it (spec 3.5.11)."""


@composite(0x2D, "amqp:delete-on-no-messages:list", _LIFETIME)
class DeleteOnNoMessages(Composite):
    """A dynamic node lives until its link is closed and it holds no message (spec 3.5.12)."""


@composite(0x2E, "amqp:delete-on-no-links-or-messages:list", _LIFETIME)
class DeleteOnNoLinksOrMessages(Composite):
    """A dynamic node lives until it has neither links nor messages (spec 3.5.13)."""


@composite(0x30, "amqp:coordinator:list", ("target",))
class Coordinator(Composite):
    """The target of the link that controls transactions (spec 4.5.1)."""

    capabilities: tuple[str, ...] = multiple(TXN_CAPABILITY, default=())


@composite(0x31, "amqp:declare:list")
class Declare(Composite):
    """Message to the coordinator: begin a transaction (spec 4.5.2)."""

    global_id: object = optional(GLOBAL_TX_ID, default=None)


@composite(0x32, "amqp:discharge:list")
class Discharge(Composite):
    """Message to the coordinator: end a transaction, rolling it back if `fail` (spec 4.5.3)."""

    txn_id: bytes = mandatory(TXN_ID)
    fail: bool | None = optional(BOOLEAN, default=None)


@composite(0x33, "amqp:declared:list", _OUTCOME)
class Declared(Composite):
    """The transaction exists, under this id (spec 4.5.5)."""

    txn_id: bytes = mandatory(TXN_ID)


@composite(0x34, "amqp:transactional-state:list", _STATE)
class TransactionalState(Composite):
    """A delivery that belongs to a transaction, and its outcome if that commits (spec 4.5.6)."""

    txn_id: bytes = mandatory(TXN_ID)
    outcome: Composite | Described | None = optional(OUTCOME, default=None)


ACCEPTED: Final = Accepted()
RELEASED: Final = Released()
