"""The bodies of frames: the nine performatives of AMQP (spec 2.7) and the five of SASL (spec 5.3.3).

Fields have the names of the specification, with underscores.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import DecodeError
from .composite import Composite, composite, decode_composite, mandatory, multiple, optional
from .definitions import DELIVERY_STATE, ERROR, SOURCE, TARGET, Error
from .values import Described
from .wire import (
    BINARY,
    BOOLEAN,
    DELIVERY_NUMBER,
    DELIVERY_TAG,
    FIELDS,
    HANDLE,
    IETF_LANGUAGE_TAG,
    MAP,
    MESSAGE_FORMAT,
    MILLISECONDS,
    RECEIVER_SETTLE_MODE,
    ROLE,
    SASL_CODE,
    SENDER_SETTLE_MODE,
    SEQUENCE_NO,
    STRING,
    SYMBOL,
    TRANSFER_NUMBER,
    UINT,
    ULONG,
    USHORT,
)

__all__ = [
    "Attach",
    "Begin",
    "Close",
    "Detach",
    "Disposition",
    "End",
    "Flow",
    "Open",
    "SaslChallenge",
    "SaslInit",
    "SaslMechanisms",
    "SaslOutcome",
    "SaslResponse",
    "Transfer",
    "decode_performative",
]

_FRAME = ("frame",)
_SASL_FRAME = ("sasl-frame",)


@composite(0x10, "amqp:open:list", _FRAME)
class Open(Composite):
    """What one side of the connection is and can do (spec 2.7.1). The idle time-out is in milliseconds."""

    container_id: str = mandatory(STRING)
    hostname: str | None = optional(STRING, default=None)
    max_frame_size: int = optional(UINT, default=0xFFFF_FFFF)
    channel_max: int = optional(USHORT, default=0xFFFF)
    idle_time_out: int | None = optional(MILLISECONDS, default=None)
    outgoing_locales: tuple[str, ...] = multiple(IETF_LANGUAGE_TAG, default=())
    incoming_locales: tuple[str, ...] = multiple(IETF_LANGUAGE_TAG, default=())
    offered_capabilities: tuple[str, ...] = multiple(SYMBOL, default=())
    desired_capabilities: tuple[str, ...] = multiple(SYMBOL, default=())
    properties: dict[Any, Any] | None = optional(FIELDS, default=None)


@composite(0x11, "amqp:begin:list", _FRAME)
class Begin(Composite):
    """Begins a session on a channel, or answers the peer's begin on `remote_channel` (spec 2.7.2)."""

    remote_channel: int | None = optional(USHORT, default=None)
    next_outgoing_id: int = mandatory(TRANSFER_NUMBER, kw_only=True)
    incoming_window: int = mandatory(UINT, kw_only=True)
    outgoing_window: int = mandatory(UINT, kw_only=True)
    handle_max: int = optional(HANDLE, default=0xFFFF_FFFF)
    offered_capabilities: tuple[str, ...] = multiple(SYMBOL, default=())
    desired_capabilities: tuple[str, ...] = multiple(SYMBOL, default=())
    properties: dict[Any, Any] | None = optional(FIELDS, default=None)


@composite(0x12, "amqp:attach:list", _FRAME)
class Attach(Composite):
    """Attaches a link to a session, or answers the peer's attach of the same name (spec 2.7.3)."""

    name: str = mandatory(STRING)
    handle: int = mandatory(HANDLE)
    role: bool = mandatory(ROLE)
    snd_settle_mode: int = optional(SENDER_SETTLE_MODE, default=2)
    rcv_settle_mode: int = optional(RECEIVER_SETTLE_MODE, default=0)
    source: Composite | Described | None = optional(SOURCE, default=None)
    target: Composite | Described | None = optional(TARGET, default=None)
    unsettled: dict[Any, Any] | None = optional(MAP, default=None)
    incomplete_unsettled: bool = optional(BOOLEAN, default=False)
    initial_delivery_count: int | None = optional(SEQUENCE_NO, default=None)
    max_message_size: int | None = optional(ULONG, default=None)
    offered_capabilities: tuple[str, ...] = multiple(SYMBOL, default=())
    desired_capabilities: tuple[str, ...] = multiple(SYMBOL, default=())
    properties: dict[Any, Any] | None = optional(FIELDS, default=None)


@composite(0x13, "amqp:flow:list", _FRAME)
class Flow(Composite):
    """The state of a session's windows, and of a link's credit where there is a handle (spec 2.7.4)."""

    next_incoming_id: int | None = optional(TRANSFER_NUMBER, default=None)
    incoming_window: int = mandatory(UINT, kw_only=True)
    next_outgoing_id: int = mandatory(TRANSFER_NUMBER, kw_only=True)
    outgoing_window: int = mandatory(UINT, kw_only=True)
    handle: int | None = optional(HANDLE, default=None)
    delivery_count: int | None = optional(SEQUENCE_NO, default=None)
    link_credit: int | None = optional(UINT, default=None)
    available: int | None = optional(UINT, default=None)
    drain: bool = optional(BOOLEAN, default=False)
    echo: bool = optional(BOOLEAN, default=False)
    properties: dict[Any, Any] | None = optional(FIELDS, default=None)


@composite(0x14, "amqp:transfer:list", _FRAME)
class Transfer(Composite):
    """A message or a part of one; its bytes follow in the same frame (spec 2.7.5)."""

    handle: int = mandatory(HANDLE)
    delivery_id: int | None = optional(DELIVERY_NUMBER, default=None)
    delivery_tag: bytes | None = optional(DELIVERY_TAG, default=None)
    message_format: int | None = optional(MESSAGE_FORMAT, default=None)
    settled: bool | None = optional(BOOLEAN, default=None)
    more: bool = optional(BOOLEAN, default=False)
    rcv_settle_mode: int | None = optional(RECEIVER_SETTLE_MODE, default=None)
    state: Composite | Described | None = optional(DELIVERY_STATE, default=None)
    resume: bool = optional(BOOLEAN, default=False)
    aborted: bool = optional(BOOLEAN, default=False)
    batchable: bool = optional(BOOLEAN, default=False)


@composite(0x15, "amqp:disposition:list", _FRAME)
class Disposition(Composite):
    """The new state of the deliveries `first` to `last` (spec 2.7.6)."""

    role: bool = mandatory(ROLE)
    first: int = mandatory(DELIVERY_NUMBER)
    last: int | None = optional(DELIVERY_NUMBER, default=None)
    settled: bool = optional(BOOLEAN, default=False)
    state: Composite | Described | None = optional(DELIVERY_STATE, default=None)
    batchable: bool = optional(BOOLEAN, default=False)


@composite(0x16, "amqp:detach:list", _FRAME)
class Detach(Composite):
    """Detaches a link, for good if `closed` (spec 2.7.7)."""

    handle: int = mandatory(HANDLE)
    closed: bool = optional(BOOLEAN, default=False)
    error: Error | None = optional(ERROR, default=None)


@composite(0x17, "amqp:end:list", _FRAME)
class End(Composite):
    """Ends a session (spec 2.7.8)."""

    error: Error | None = optional(ERROR, default=None)


@composite(0x18, "amqp:close:list", _FRAME)
class Close(Composite):
    """Closes the connection (spec 2.7.9)."""

    error: Error | None = optional(ERROR, default=None)


@composite(0x40, "amqp:sasl-mechanisms:list", _SASL_FRAME)
class SaslMechanisms(Composite):
    """The mechanisms that a server offers (spec 5.3.3.1)."""

    sasl_server_mechanisms: tuple[str, ...] = multiple(SYMBOL)


@composite(0x41, "amqp:sasl-init:list", _SASL_FRAME)
class SaslInit(Composite):
    """The mechanism that a client chose (spec 5.3.3.2)."""

    mechanism: str = mandatory(SYMBOL)
    initial_response: bytes | None = optional(BINARY, default=None, secret=True)
    hostname: str | None = optional(STRING, default=None)


@composite(0x42, "amqp:sasl-challenge:list", _SASL_FRAME)
class SaslChallenge(Composite):
    """A challenge of the server (spec 5.3.3.3)."""

    challenge: bytes = mandatory(BINARY, secret=True)


@composite(0x43, "amqp:sasl-response:list", _SASL_FRAME)
class SaslResponse(Composite):
    """The answer to a challenge (spec 5.3.3.4)."""

    response: bytes = mandatory(BINARY, secret=True)


@composite(0x44, "amqp:sasl-outcome:list", _SASL_FRAME)
class SaslOutcome(Composite):
    """How the authentication ended (spec 5.3.3.5); `code` is one of `SaslCode`."""

    code: int = mandatory(SASL_CODE)
    additional_data: bytes | None = optional(BINARY, default=None, secret=True)


def decode_performative(data: bytes, pos: int, end: int) -> tuple[Composite, int]:
    """The performative of the frame body that goes from `pos` to `end`, and where its payload begins.

    Raises:
        DecodeError: not a performative, invalid bytes, or fields that are not as the type declares them.
    """
    value, payload = decode_composite(data, pos, end)
    if not isinstance(value, Composite) or value.PROVIDES not in (_FRAME, _SASL_FRAME):
        # Without what is in it, which may be a password: a sasl-init with a damaged descriptor, say.
        what = (
            f"a value described by {value.descriptor!r:.80}" if isinstance(value, Described) else type(value).__name__
        )
        raise DecodeError(f"{what} is not a performative", offset=pos)
    return value, payload
