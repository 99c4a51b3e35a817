"""Between the error type of the wire (spec 2.8.14) and exceptions."""

from __future__ import annotations

from typing import Any, Final

from ..codec.choices import AmqpError, ConnectionErrorCondition, LinkError, SessionError
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

INTERNAL_ERROR: Final = AmqpError.INTERNAL_ERROR.value
NOT_FOUND: Final = AmqpError.NOT_FOUND.value
UNAUTHORIZED_ACCESS: Final = AmqpError.UNAUTHORIZED_ACCESS.value
DECODE_ERROR: Final = AmqpError.DECODE_ERROR.value
RESOURCE_LIMIT_EXCEEDED: Final = AmqpError.RESOURCE_LIMIT_EXCEEDED.value
NOT_ALLOWED: Final = AmqpError.NOT_ALLOWED.value
INVALID_FIELD: Final = AmqpError.INVALID_FIELD.value
NOT_IMPLEMENTED: Final = AmqpError.NOT_IMPLEMENTED.value
PRECONDITION_FAILED: Final = AmqpError.PRECONDITION_FAILED.value
RESOURCE_DELETED: Final = AmqpError.RESOURCE_DELETED.value
ILLEGAL_STATE: Final = AmqpError.ILLEGAL_STATE.value
FRAME_SIZE_TOO_SMALL: Final = AmqpError.FRAME_SIZE_TOO_SMALL.value
CONNECTION_FORCED: Final = ConnectionErrorCondition.CONNECTION_FORCED.value
FRAMING_ERROR: Final = ConnectionErrorCondition.FRAMING_ERROR.value
CONNECTION_REDIRECT: Final = ConnectionErrorCondition.REDIRECT.value
WINDOW_VIOLATION: Final = SessionError.WINDOW_VIOLATION.value
ERRANT_LINK: Final = SessionError.ERRANT_LINK.value
HANDLE_IN_USE: Final = SessionError.HANDLE_IN_USE.value
UNATTACHED_HANDLE: Final = SessionError.UNATTACHED_HANDLE.value
TRANSFER_LIMIT_EXCEEDED: Final = LinkError.TRANSFER_LIMIT_EXCEEDED.value
MESSAGE_SIZE_EXCEEDED: Final = LinkError.MESSAGE_SIZE_EXCEEDED.value
LINK_REDIRECT: Final = LinkError.REDIRECT.value
LINK_STOLEN: Final = LinkError.STOLEN.value


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
