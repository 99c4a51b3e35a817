"""The errors of the uamqp 1.6 API.

::

    AMQPError
    ├── AMQPConnectionError           no connection, or no link, or it is gone
    │   ├── ConnectionClose           … the connection: refused, closed or lost
    │   │   ├── VendorConnectionClose …… with a condition of the service's own
    │   │   ├── AuthenticationClose   …… because the peer does not accept who we are (also an AuthenticationException)
    │   │   └── ProtocolClose         …… because the peer broke the protocol, or speaks another one
    │   ├── LinkDetach                … the link: refused or detached
    │   │   ├── VendorLinkDetach      …… with a condition of the service's own
    │   │   └── LinkRedirect          …… the peer names another address
    │   └── MessageHandlerError       … the session under the link
    ├── AuthenticationException       the peer does not accept who we are
    │   ├── TokenExpired              … the token is too old and there is no new one
    │   └── TokenAuthFailure          … the token was refused
    ├── ClientTimeout                 no answer in time (also the builtin TimeoutError)
    ├── IllegalState                  a call at the wrong time or place, such as a blocking one in a running event loop
    └── MessageResponse               what became of a message
        ├── MessageException          … it did not get through
        │   └── MessageSendFailed     …… for a condition that the specification knows
        │       └── ClientMessageError ………… what `send_message` raises
        └── MessageAccepted, MessageRejected, MessageReleased, MessageModified, MessageAlreadySettled

Each derives from the modern error of the same meaning where there is one, so ``except uamqp.exceptions.LinkDetached``
sees `LinkDetach` too. Here, as in uamqp 1.6, `condition` is a member of `ErrorCodes` where the specification knows
the condition and bytes where not, and `description` and `info` hold bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import NoneType
from typing import Any, Final

from . import exceptions
from ._legacy import incoming, octets
from .aio.arguments import expect
from .constants import ErrorCodes
from .exceptions import printable

Condition = ErrorCodes | bytes


_log = logging.getLogger(__name__)


class ErrorAction:
    """What to do about an error.

    Attributes:
        retry: whether to try again.
        backoff: seconds to wait before that.
        increment_retries: whether that counts as one of the retries that the policy allows.
    """

    retry: bool = True
    fail: bool = False

    def __init__(self, retry: bool = True, backoff: float = 0, increment_retries: bool = True) -> None:
        self.retry = bool(retry)
        self.backoff = backoff
        self.increment_retries = increment_retries

    def __repr__(self) -> str:
        return f"ErrorAction(retry={self.retry}, backoff={self.backoff}, increment_retries={self.increment_retries})"


class ErrorPolicy:
    """Says what to do about errors; subclasses override the four methods.

    Only failed messages are tried again by themselves. An error of a link or a connection is raised, with the
    decision of the policy in its `action`.

    Args:
        max_retries: how often a message is tried again.
        on_error: decides on errors with a condition that the specification does not know.
    """

    #: Conditions that are the same the next time.
    no_retry = (
        ErrorCodes.DecodeError,
        ErrorCodes.LinkMessageSizeExceeded,
        ErrorCodes.NotFound,
        ErrorCodes.NotImplemented,
        ErrorCodes.LinkRedirect,
        ErrorCodes.NotAllowed,
        ErrorCodes.UnauthorizedAccess,
        ErrorCodes.LinkStolen,
        ErrorCodes.ResourceLimitExceeded,
        ErrorCodes.ConnectionRedirect,
        ErrorCodes.PreconditionFailed,
        ErrorCodes.InvalidField,
        ErrorCodes.ResourceDeleted,
        ErrorCodes.IllegalState,
        ErrorCodes.FrameSizeTooSmall,
        ErrorCodes.ConnectionFramingError,
        ErrorCodes.SessionUnattachedHandle,
        ErrorCodes.SessionHandleInUse,
        ErrorCodes.SessionErrantLink,
        ErrorCodes.SessionWindowViolation,
    )

    def __init__(self, max_retries: int = 3, on_error: Callable[[Any], ErrorAction] | None = None) -> None:
        self.max_retries = max_retries
        self._on_error = on_error

    def on_unrecognized_error(self, error: Any) -> ErrorAction:
        """An error with a condition of the service's own; where the function that decides fails, it is final."""
        if self._on_error is None:
            return ErrorAction(retry=True)
        try:
            action = self._on_error(error)
        except Exception:
            _log.exception("the function that decides on errors failed")
            return ErrorAction(retry=False)
        if not isinstance(action, ErrorAction):
            if action is not None:
                _log.error("the function that decides on errors gave %s, and no ErrorAction", type(action).__name__)
            return ErrorAction(retry=False)
        return action

    def on_message_error(self, error: Any) -> ErrorAction:
        """A message was rejected with a condition. Without one, such as where its link ended, it is tried again."""
        return self._by_condition(error)

    def on_link_error(self, error: Any) -> ErrorAction:
        """A link was refused or detached."""
        return self._by_condition(error)

    def on_connection_error(self, error: Any) -> ErrorAction:
        """A connection was refused, closed or lost."""
        return self._by_condition(error)

    def _by_condition(self, error: Any) -> ErrorAction:
        return ErrorAction(retry=error.condition not in self.no_retry)


class _NoCondition:
    """Stands for `condition` where an error has none: there are programs that tell errors apart by that."""

    def __get__(self, error: object, cls: type | None = None) -> Any:
        if error is None:
            return self
        raise AttributeError(f"{type(error).__name__} has no condition")


class AMQPError(exceptions.AMQPError):
    """The root of the errors of this module. Only those that the peer gave a condition have a `condition`."""

    condition: Any = _NoCondition()
    description: Any
    info: Any

    def __init__(self, *args: Any) -> None:
        # The arguments are what `str` shows, as with any exception; the modern attributes are set beside them.
        Exception.__init__(self, *args)
        self.description = " ".join(str(arg) for arg in args)
        self.info = None
        self.remote = False

    def __str__(self) -> str:
        return Exception.__str__(self)


class _ConditionError(AMQPError):
    """What errors with a condition have in common.

    Attributes:
        condition: a member of `ErrorCodes`, or bytes where the specification does not know it.
        description: what went wrong, or None. What the peer said is bytes.
        info: further facts of the peer: a dict with bytes keys, or None.
        action: what the policy says about it, or None where no policy was asked.
    """

    condition: Any = None

    def __init__(
        self,
        condition: Condition | str,
        description: str | bytes | None = None,
        info: Mapping[Any, Any] | None = None,
        encoding: str = "UTF-8",
    ) -> None:
        if isinstance(condition, str):
            condition = known(condition)
        shown = str(condition) if isinstance(condition, ErrorCodes) else condition.decode(encoding, "replace")
        said = description.decode(encoding, "replace") if isinstance(description, bytes) else description
        super().__init__(f"{shown}: {printable(said)}" if said else shown)
        self._encoding = encoding
        self.condition = condition
        self.description = description
        self.info = info
        self.action: ErrorAction | None = None


class IllegalState(AMQPError, exceptions.LocalProtocolError):
    """What was asked for cannot be done as things are: no channel is free, say, or the link is closed."""


class AMQPConnectionError(AMQPError):
    """There is no connection or no link, or it is gone."""


class MessageHandlerError(AMQPConnectionError, exceptions.SessionEnded):
    """The session under a link ended, so the link is of no more use."""


class ConnectionClose(_ConditionError, AMQPConnectionError, exceptions.ConnectionEnded):
    """The connection was refused, was closed, or is lost."""


class VendorConnectionClose(ConnectionClose):
    """The connection was closed with a condition that the specification does not know."""


class ProtocolClose(ConnectionClose, exceptions.RemoteProtocolError):
    """The connection was given up because the peer broke the protocol, or speaks another one."""

    retryable = False


class LinkDetach(_ConditionError, AMQPConnectionError, exceptions.LinkDetached):
    """The link was refused or detached."""


class VendorLinkDetach(LinkDetach):
    """The link was detached with a condition that the specification does not know."""


class LinkRedirect(LinkDetach, exceptions.LinkRedirected):
    """The peer wants the link at another place.

    Attributes:
        hostname, network_host, address, scheme, path: bytes, or None where the peer did not say.
        port: a number, or None.
    """

    def __init__(
        self,
        condition: Condition | str,
        description: str | bytes | None = None,
        info: Mapping[Any, Any] | None = None,
        encoding: str = "UTF-8",
    ) -> None:
        super().__init__(condition, description, info, encoding)
        facts = info or {}
        self.hostname: Any = facts.get(b"hostname")
        self.network_host: Any = facts.get(b"network-host")
        self.port: Any = facts.get(b"port")
        self.address: Any = facts.get(b"address")
        self.scheme: Any = facts.get(b"scheme")
        self.path: Any = facts.get(b"path")


class ClientTimeout(AMQPError, exceptions.OperationTimeout):
    """The peer gave no answer in time."""


class AuthenticationException(AMQPError, exceptions.AuthenticationError):
    """The peer does not accept who we are.

    Attributes:
        code: the SASL outcome code, or None where SASL did not get that far.
    """

    code: int | None = None


class AuthenticationClose(AuthenticationException, ConnectionClose):
    """The connection was refused because the peer does not accept who we are."""

    retryable = False


class TokenExpired(AuthenticationException, exceptions.TokenError):
    """The token has expired and there is no new one."""

    status: int | None = None


class TokenAuthFailure(AuthenticationException, exceptions.TokenError):
    """The peer refused the token.

    Attributes:
        status_code: the status of the reply, such as 401.
        description: what the reply says, as bytes or str.
    """

    def __init__(self, status_code: int | None, description: Any, encoding: str = "UTF-8") -> None:
        shown = description.decode(encoding, "replace") if isinstance(description, bytes) else str(description)
        super().__init__(
            f"CBS Token authentication failed.\nStatus code: {status_code}\nDescription: {printable(shown)}"
        )
        self._encoding = encoding
        self.status_code = status_code
        self.status = status_code
        self.description = description


class MessageResponse(AMQPError):
    """What is said about a received message, or was said about a sent one."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or f"Sending {type(self).__name__} disposition.")


class MessageException(_ConditionError, MessageResponse, exceptions.DeliveryFailed):
    """A message did not get through, for a condition of the service's own."""


class MessageSendFailed(MessageException):
    """A message did not get through."""


class ClientMessageError(MessageSendFailed):
    """Sending failed: at least one of the messages did not get through.

    Args:
        exception: what became of the last one that failed.
        info: ``total_messages``, ``number_failed`` and ``failed_messages``, the exception of each message.
    """

    def __init__(self, exception: BaseException, info: Mapping[Any, Any] | None = None) -> None:
        condition = getattr(exception, "condition", None)
        description = getattr(exception, "description", None)
        if condition is None:
            condition, description = ErrorCodes.ClientError, str(exception)
        super().__init__(condition, description, info)
        self.action = getattr(exception, "action", None)


class MessageAlreadySettled(MessageResponse):
    """Nothing more can be said about the message."""

    def __init__(self) -> None:
        super().__init__("Invalid operation: this message is already settled.")


class MessageAccepted(MessageResponse):
    """The message was processed."""


class MessageRejected(MessageResponse):
    """The message is invalid.

    Attributes:
        error_condition, error_description: why, as bytes.
        error_info: further facts, a dict or None.
    """

    def __init__(
        self,
        condition: str | bytes | None = None,
        description: str | bytes | None = None,
        encoding: str = "UTF-8",
        info: Mapping[Any, Any] | None = None,
    ) -> None:
        if info is not None and not isinstance(info, dict):
            raise TypeError("Disposition annotations must be a dictionary.")
        expect("condition", condition, (str, bytes, NoneType), "a str")
        expect("description", description, (str, bytes, NoneType), "a str")
        super().__init__()
        self._encoding = encoding
        self.error_condition = octets(condition, encoding) if condition else b"amqp:internal-error"
        self.error_description = octets(description, encoding) if description else b""
        self.error_info = info


class MessageReleased(MessageResponse):
    """The message was not processed; others may have it."""


class MessageModified(MessageResponse):
    """The message goes back changed.

    Attributes:
        failed: it counts as a failed delivery.
        undeliverable: it is not to be delivered here again.
        annotations: message annotations to set, a dict or None.
    """

    def __init__(
        self, failed: bool, undeliverable: bool, annotations: Mapping[Any, Any] | None = None, encoding: str = "UTF-8"
    ) -> None:
        if annotations is not None and not isinstance(annotations, dict):
            raise TypeError("Disposition annotations must be a dictionary.")
        super().__init__()
        self._encoding = encoding
        self.failed = failed
        self.undeliverable = undeliverable
        self.annotations = annotations


class ErrorResponse:
    """An error of the peer, taken apart.

    Attributes:
        condition, description: bytes, or None.
        info: a dict, or None.
        error: what it was made from.
    """

    def __init__(
        self, error_info: Any = None, condition: Any = None, description: Any = None, info: Any = None
    ) -> None:
        self.condition = condition
        self.description = description
        self.info = info
        self.error = error_info
        if error_info:
            self.condition, self.description, self.info = (*error_info, None, None)[:3]


class MessageContentTooLarge(ValueError):
    """The messages of a batch do not fit into one message."""

    def __init__(self) -> None:
        super().__init__("Data set too large for a single message.")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (), self.__dict__)


class AMQPClientShutdown(KeyboardInterrupt):
    """The user interrupted the client."""

    def __init__(self) -> None:
        super().__init__("Client shutdown with keyboard interrupt.")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (), self.__dict__)


# --- from the modern errors to these ---------------------------------------------------------------------------

#: How the text of every lost connection begins; programs look for it.
_LOST: Final = "Connection in an unexpected error state."


def known(condition: str | bytes | None) -> Condition:
    """The member of `ErrorCodes` for a condition, the condition itself where there is none."""
    if not condition:
        return ErrorCodes.UnknownError
    raw = octets(condition)
    try:
        return ErrorCodes(raw)
    except ValueError:
        return raw


def translate(error: exceptions.AMQPError, policy: ErrorPolicy | None = None) -> exceptions.AMQPError:
    """The error of this module for a modern one; the modern one itself where there is none."""
    if isinstance(error, AMQPError):
        return error
    translated = _translate(error, policy or ErrorPolicy())
    translated.retryable = error.retryable
    return translated


def _translate(error: exceptions.AMQPError, policy: ErrorPolicy) -> exceptions.AMQPError:
    if isinstance(error, exceptions.ConnectionEnded):
        return _connection_close(error, policy)
    if isinstance(error, exceptions.SessionEnded):
        return MessageHandlerError(
            f"The session ended, and the link with it: {error}. Close this client and make a new one."
        )
    if isinstance(error, exceptions.LinkDetached):
        return _link_detach(error, policy)
    if isinstance(error, exceptions.LocalProtocolError):
        return IllegalState(error.description)
    if isinstance(error, exceptions.OperationTimeout):
        return ClientTimeout(error.description)
    if isinstance(error, exceptions.DeliveryFailed):
        return message_error(error, policy)
    if isinstance(error, exceptions.TokenError):
        if error.status is None:
            return TokenExpired(error.description)
        return TokenAuthFailure(error.status, error.description)
    if isinstance(error, exceptions.AuthenticationError):
        advice = octets(f"{error.description}. Check user, password or token, and their rights.")
        # What is a trouble of the peer alone may have passed the next time.
        condition = ErrorCodes.InternalServerError if error.retryable else ErrorCodes.UnauthorizedAccess
        rejected = AuthenticationClose(condition, advice)
        rejected.action = policy.on_connection_error(rejected)
        rejected.code = error.code
        return rejected
    if isinstance(error, exceptions.RemoteProtocolError):
        broken = ProtocolClose(known(error.condition), octets(error.description))
        broken.action = policy.on_connection_error(broken)
        return broken
    return error


def lost(reason: str, policy: ErrorPolicy) -> ConnectionClose:
    """The error of a connection that cannot be had, or is gone without a word of the peer."""
    reason = reason[:1].upper() + reason[1:]
    closed = ConnectionClose(
        ErrorCodes.UnknownError, octets(f"{_LOST} {reason}. Is the address right, and the peer running?")
    )
    closed.action = policy.on_connection_error(closed)
    return closed


def _connection_close(error: exceptions.ConnectionEnded, policy: ErrorPolicy) -> ConnectionClose:
    if not error.remote or isinstance(error, exceptions.ConnectionLost):
        return lost(error.description, policy)
    condition = known(error.condition)
    facts = incoming(error.info) or None
    if isinstance(condition, ErrorCodes):
        closed = ConnectionClose(condition, octets(error.description), facts)
        closed.action = policy.on_connection_error(closed)
    else:
        closed = VendorConnectionClose(condition, octets(error.description), facts)
        closed.action = policy.on_unrecognized_error(closed)
    return closed


def _link_detach(error: exceptions.LinkDetached, policy: ErrorPolicy) -> LinkDetach:
    condition = known(error.condition)
    facts = incoming(error.info) or None
    if not isinstance(condition, ErrorCodes):
        detached: LinkDetach = VendorLinkDetach(condition, octets(error.description), facts)
        detached.action = policy.on_unrecognized_error(detached)
        return detached
    kind = LinkRedirect if isinstance(error, exceptions.LinkRedirected) else LinkDetach
    detached = kind(condition, octets(error.description), facts)
    detached.action = policy.on_link_error(detached)
    return detached


def message_error(error: exceptions.AMQPError, policy: ErrorPolicy) -> MessageException:
    """What became of a sent message, with the decision of the policy in its `action`."""
    # Whether the receiver gave it back or the link went away meanwhile: the condition is that of the message only
    # where the receiver rejected it.
    rejected = isinstance(error, exceptions.Rejected | exceptions.MessageTooLarge)
    condition = known(error.condition) if rejected else ErrorCodes.UnknownError
    facts = incoming(error.info) or None
    if isinstance(condition, ErrorCodes):
        failed: MessageException = MessageSendFailed(condition, octets(error.description), facts)
        # Without a condition there is nothing that a policy could tell apart.
        failed.action = policy.on_message_error(failed) if rejected and error.condition else ErrorAction()
    else:
        failed = MessageException(condition, octets(error.description), facts)
        failed.action = policy.on_unrecognized_error(failed)
    failed.__cause__ = error
    return failed


@contextmanager
def translated(policy: ErrorPolicy | None = None) -> Iterator[None]:
    """Modern errors leave the block as those of this module."""
    try:
        yield
    except exceptions.AMQPError as error:
        other = translate(error, policy)
        if other is error:
            raise
        raise other from error
