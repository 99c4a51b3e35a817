"""Every error of the modern API, by scope: what ended, who said so, and why.

::

    AMQPError                     condition, description, info, remote; .retryable
    ├── ConnectionEnded           the connection is gone
    │   ├── ConnectionLost        ... the network or the peer vanished (also the builtin ConnectionError)
    │   ├── ConnectionClosed      ... one side sent close
    │   ├── ConnectionRedirected  ... the peer names another host
    │   └── IdleTimeout           ... nothing arrived within the idle time-out
    ├── SessionEnded              the session is gone, the connection lives
    ├── LinkDetached              the link is gone, the session lives
    │   ├── LinkRedirected        ... the peer names another address
    │   ├── LinkStolen            ... another client took the link over
    │   └── MessageTooLarge       ... a message over the limit of the link
    ├── DeliveryFailed            one message did not get through
    │   ├── Rejected              ... the receiver called it invalid
    │   ├── Released              ... the receiver did not process it
    │   ├── Modified              ... the receiver gave it back changed
    │   ├── NotSent               ... no byte of it left this process
    │   │   └── NotSentInTime     ... within the time-out (also OperationTimeout)
    │   ├── InDoubt               ... it may or may not have arrived
    │   │   └── InDoubtInTime     ... and was not answered within the time-out (also OperationTimeout)
    │   └── BatchFailed           ... some messages of send_many; says which
    ├── AuthenticationError       the peer does not accept who we are
    │   └── TokenError            ... a claims-based token was refused or has expired
    ├── ProtocolError             the AMQP specification was broken
    │   ├── LocalProtocolError    ... by this side: a call that is not legal now
    │   └── RemoteProtocolError   ... by the peer
    ├── DecodeError               bytes that are not valid AMQP (also ValueError)
    ├── EncodeError               a value that AMQP cannot carry (also ValueError)
    ├── AddressError              a URL or address that cannot be used (also ValueError)
    └── OperationTimeout          no answer in time (also the builtin TimeoutError)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

__all__ = [
    "AMQPError",
    "AddressError",
    "AuthenticationError",
    "BatchFailed",
    "ConnectionClosed",
    "ConnectionEnded",
    "ConnectionLost",
    "ConnectionRedirected",
    "DecodeError",
    "DeliveryFailed",
    "EncodeError",
    "IdleTimeout",
    "InDoubt",
    "InDoubtInTime",
    "LinkDetached",
    "LinkRedirected",
    "LinkStolen",
    "LocalProtocolError",
    "MessageTooLarge",
    "Modified",
    "NotSent",
    "NotSentInTime",
    "OperationTimeout",
    "ProtocolError",
    "Rejected",
    "Released",
    "RemoteProtocolError",
    "SessionEnded",
    "TokenError",
]

#: Text from the peer is cut at this many characters in messages of exceptions and logs.
MAX_PEER_TEXT = 1024


def printable(text: str) -> str:
    """Text of the peer made safe to print: control characters escaped, cut at `MAX_PEER_TEXT`."""
    if len(text) > MAX_PEER_TEXT:
        text = text[:MAX_PEER_TEXT] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


#: Conditions of what will be the same the next time. Written out, because the codec, which names them, builds on this.
_PERMANENT: Final = frozenset(
    {
        *("amqp:unauthorized-access", "amqp:precondition-failed", "amqp:resource-deleted", "amqp:not-implemented"),
        *("amqp:not-found", "amqp:not-allowed", "amqp:invalid-field", "amqp:decode-error"),
        *("amqp:frame-size-too-small", "amqp:connection:framing-error", "amqp:connection:redirect"),
        *("amqp:session:errant-link", "amqp:session:handle-in-use"),
        *("amqp:session:unattached-handle", "amqp:session:window-violation"),
        *("amqp:link:stolen", "amqp:link:redirect"),
        *("amqp:link:message-size-exceeded", "amqp:link:transfer-limit-exceeded"),
    }
)


class AMQPError(Exception):
    """The root of all errors raised by this library.

    Attributes:
        condition: the AMQP error condition such as ``"amqp:not-found"``, or None where there is none.
        description: what went wrong, in words.
        info: further facts sent by the peer (the error's info map).
        remote: True where the peer reported it, False where this side found it.
        retryable: whether the same call may succeed if made again: what ended by itself may, what is not there or not
            allowed will not.
    """

    retryable: bool = False
    default_condition: ClassVar[str | None] = None

    def __init__(
        self,
        description: str = "",
        *,
        condition: str | None = None,
        info: Mapping[Any, Any] | None = None,
        remote: bool = False,
    ) -> None:
        super().__init__(description)
        self.description = description
        self.condition = condition if condition is not None else self.default_condition
        if self.condition in _PERMANENT:
            self.retryable = False
        self.info: Mapping[Any, Any] = info if info is not None else {}
        self.remote = remote

    def __str__(self) -> str:
        text = printable(self.description)
        if self.condition:
            condition = printable(self.condition)
            return f"{condition}: {text}" if text else condition
        return text or type(self).__name__

    def again(self) -> AMQPError:
        """A fresh exception that says the same: one per waiter, so that tracebacks do not mix."""
        copy = type(self).__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy.args = self.args
        copy.__cause__ = self.__cause__
        return copy

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.args, self.__dict__))


def _rebuild(cls: type[AMQPError], args: tuple[Any, ...], state: dict[str, Any]) -> AMQPError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ConnectionEnded(AMQPError):
    """The connection is gone, and every session and link on it."""

    retryable = True


class ConnectionLost(ConnectionEnded, ConnectionError):
    """The network or the peer vanished without a close, or could not be reached."""


class ConnectionClosed(ConnectionEnded):
    """One side sent close (spec 2.7.9)."""


class ConnectionRedirected(ConnectionEnded):
    """The peer asks to connect elsewhere; `info` has hostname, network-host and port (spec 2.8.16)."""


class IdleTimeout(ConnectionEnded):
    """Nothing arrived within the idle time-out that this side asked for (spec 2.4.5)."""


class SessionEnded(AMQPError):
    """The session is gone, and every link in it; the connection lives (spec 2.7.8)."""

    retryable = True


class LinkDetached(AMQPError):
    """The link is gone, or was refused; its session lives (spec 2.7.7)."""

    retryable = True


class LinkRedirected(LinkDetached):
    """The peer asks to attach elsewhere; `info` has hostname, network-host, port and address (spec 2.8.18)."""


class LinkStolen(LinkDetached):
    """Another client attached a link of the same name or with a higher priority (spec 2.8.18)."""

    retryable = False


class MessageTooLarge(LinkDetached):
    """A message over the maximum size of the link; found before anything is sent where the peer states its limit."""

    retryable = False
    default_condition = "amqp:link:message-size-exceeded"


class DeliveryFailed(AMQPError):
    """One message did not get through."""


class Rejected(DeliveryFailed):
    """The receiver called the message invalid (spec 3.4.3)."""


class Released(DeliveryFailed):
    """The receiver gave the message back unprocessed (spec 3.4.4)."""

    retryable = True


class Modified(DeliveryFailed):
    """The receiver gave the message back changed (spec 3.4.5).

    Attributes:
        delivery_failed: the receiver counts this as a failed attempt.
        undeliverable_here: the receiver will not take it again.
        annotations: the message annotations that it wants changed; also in `info`.
    """

    retryable = True

    def __init__(
        self,
        description: str = "",
        *,
        delivery_failed: bool = False,
        undeliverable_here: bool = False,
        annotations: Mapping[Any, Any] | None = None,
        remote: bool = True,
    ) -> None:
        super().__init__(description, info=annotations, remote=remote)
        self.delivery_failed = delivery_failed
        self.undeliverable_here = undeliverable_here
        self.annotations = self.info


class NotSent(DeliveryFailed):
    """The message never left this process, so sending it again cannot make a duplicate."""

    retryable = True


class InDoubt(DeliveryFailed):
    """Bytes of the message left, and the connection, session or link ended before the outcome arrived."""


class BatchFailed(DeliveryFailed):
    """Some messages of a batch did not get through; all others did.

    Attributes:
        failures: what became of each of them, by its place in the batch (from 0).
        total: how many messages were taken. Where the link ended, those behind them were not, and were not sent.
    """

    def __init__(self, failures: Mapping[int, AMQPError], total: int) -> None:
        place, first = next(iter(failures.items()))
        super().__init__(
            f"{len(failures)} of {total} messages failed; the first is number {place}: {type(first).__name__}: {first}",
            condition=first.condition,
        )
        self.failures = failures
        self.total = total
        self.__cause__ = first


class AuthenticationError(AMQPError):
    """The peer does not accept who we are, or no common way to say it exists (spec 5.3).

    Attributes:
        code: the SASL outcome code (1 auth, 2 sys, 3 sys-perm, 4 sys-temp), or None where SASL did not get that far.
    """

    default_condition = "amqp:unauthorized-access"

    def __init__(self, description: str = "", *, code: int | None = None, remote: bool = False) -> None:
        super().__init__(description, remote=remote)
        self.code = code
        self.retryable = code == 4


class TokenError(AuthenticationError):
    """A token put to ``$cbs`` was refused, could not be had, or has expired.

    Attributes:
        status: the status code of the reply, or None.
    """

    def __init__(self, description: str = "", *, status: int | None = None, remote: bool = False) -> None:
        super().__init__(description, remote=remote)
        self.status = status


class ProtocolError(AMQPError):
    """The AMQP specification was broken."""


class LocalProtocolError(ProtocolError):
    """A call that is not legal in the present state, such as sending on a link that was closed."""

    default_condition = "amqp:illegal-state"


class RemoteProtocolError(ProtocolError):
    """The peer broke the specification; the condition is the one that was sent to it."""


class DecodeError(AMQPError, ValueError):
    """Bytes that are not valid AMQP.

    Attributes:
        offset: where in the decoded bytes it was noticed.
    """

    default_condition = "amqp:decode-error"

    def __init__(self, description: str = "", *, offset: int = 0, condition: str | None = None) -> None:
        super().__init__(description, condition=condition)
        self.offset = offset


class EncodeError(AMQPError, ValueError):
    """A value that AMQP cannot carry in that place; raised before anything is sent.

    Attributes:
        field: the name of the field, key or section at fault, or "".
    """

    default_condition = "amqp:invalid-field"

    def __init__(self, description: str = "", *, field: str = "") -> None:
        super().__init__(f"{field}: {description}" if field else description)
        self.field = field


class AddressError(AMQPError, ValueError):
    """A URL or address that cannot be used; nothing was sent."""


class OperationTimeout(AMQPError, TimeoutError):
    """No answer in time. The description says what is known of the operation."""

    retryable = True


class NotSentInTime(NotSent, OperationTimeout):
    """The message could not be sent in time, and was taken back: the peer gave no credit, or did not read."""


class InDoubtInTime(InDoubt, OperationTimeout):
    """The message was sent, and there was no outcome in time: the peer may have accepted it."""
