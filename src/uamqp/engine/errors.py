"""Between the error type of the wire (spec 2.8.14) and exceptions."""

from __future__ import annotations

from typing import Any, Final

from ..codec.definitions import Error
from ..codec.values import Symbol
from ..exceptions import (
    AMQPError,
    ConnectionClosed,
    ConnectionRedirected,
    LinkDetached,
    LinkRedirected,
    LinkStolen,
    MessageTooLarge,
    SessionEnded,
)

#: Bytes of text in an error of our own: it must fit in a frame of 512 bytes with room to spare.
_ERROR_TEXT: Final = 200

NOT_FOUND: Final = "amqp:not-found"
DECODE_ERROR: Final = "amqp:decode-error"
NOT_ALLOWED: Final = "amqp:not-allowed"
INVALID_FIELD: Final = "amqp:invalid-field"
ILLEGAL_STATE: Final = "amqp:illegal-state"
RESOURCE_LIMIT_EXCEEDED: Final = "amqp:resource-limit-exceeded"
FRAMING_ERROR: Final = "amqp:connection:framing-error"
CONNECTION_REDIRECT: Final = "amqp:connection:redirect"
WINDOW_VIOLATION: Final = "amqp:session:window-violation"
ERRANT_LINK: Final = "amqp:session:errant-link"
HANDLE_IN_USE: Final = "amqp:session:handle-in-use"
UNATTACHED_HANDLE: Final = "amqp:session:unattached-handle"
TRANSFER_LIMIT_EXCEEDED: Final = "amqp:link:transfer-limit-exceeded"
MESSAGE_SIZE_EXCEEDED: Final = "amqp:link:message-size-exceeded"
LINK_REDIRECT: Final = "amqp:link:redirect"
LINK_STOLEN: Final = "amqp:link:stolen"


def wire_error(condition: str, description: str) -> Error:
    """An error to send; short enough for the smallest frame a peer may ask for."""
    return Error(Symbol(condition), description.encode()[:_ERROR_TEXT].decode(errors="ignore"))


def _parts(error: Error | None) -> tuple[str, dict[str, Any]]:
    if error is None:
        return "", {"condition": None, "info": None}
    return error.description or "", {"condition": str(error.condition), "info": error.info}


def connection_error(error: Error | None) -> AMQPError:
    """What the peer's close means: `error` None where it gave no reason."""
    description, parts = _parts(error)
    cls = ConnectionRedirected if parts["condition"] == CONNECTION_REDIRECT else ConnectionClosed
    return cls(description or "the peer closed the connection", remote=True, **parts)


def session_error(error: Error | None) -> AMQPError:
    """What the peer's end means."""
    description, parts = _parts(error)
    return SessionEnded(description or "the peer ended the session", remote=True, **parts)


_LINK_ERRORS: Final[dict[str, type[LinkDetached]]] = {
    LINK_REDIRECT: LinkRedirected,
    LINK_STOLEN: LinkStolen,
    MESSAGE_SIZE_EXCEEDED: MessageTooLarge,
}


def link_error(error: Error | None, name: str) -> AMQPError:
    """What the peer's detach means."""
    description, parts = _parts(error)
    cls = _LINK_ERRORS.get(parts["condition"] or "", LinkDetached)
    return cls(description or f"the peer detached the link {name!r}", remote=True, **parts)


class Violation(Exception):
    """The peer broke the specification; internal, turned into close, end or detach where frames are handled."""

    def __init__(self, condition: str, description: str) -> None:
        super().__init__(description)
        self.condition = condition
        self.description = description


class ConnectionViolation(Violation):
    """To be answered with close."""


class SessionViolation(Violation):
    """To be answered with end."""


class LinkViolation(Violation):
    """To be answered with detach."""
