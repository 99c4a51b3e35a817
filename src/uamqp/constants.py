"""Numbers, names and states of the uamqp 1.6 API."""

from __future__ import annotations

from enum import Enum
from typing import Final

from .c_uamqp import states

#: TCP ports: TLS, plain, and AMQP over a secure web socket.
DEFAULT_AMQPS_PORT: Final = 5671
DEFAULT_AMQP_PORT: Final = 5672
DEFAULT_AMQP_WSS_PORT: Final = 443

#: Seconds that a token lives where nothing else is known, and the age at which it used to be renewed.
AUTH_EXPIRATION_SECS: Final = 60 * 60
AUTH_REFRESH_SECS: Final = 48 * 60

#: The message format of the batches that Azure services understand.
BATCH_MESSAGE_FORMAT: Final = 0x80013700
#: Bytes of the largest frame.
MAX_FRAME_SIZE_BYTES: Final = 64 * 1024
#: Bytes of the largest batch message.
MAX_MESSAGE_LENGTH_BYTES: Final = 1024 * 1024
#: How often sending a message is tried again.
MESSAGE_SEND_RETRIES: Final = 3

STRING_FILTER: Final = b"apache.org:selector-filter:string"
OPERATION: Final = b"operation"
READ_OPERATION: Final = b"READ"
MGMT_TARGET: Final = b"$management"
ERROR_CONNECTION_REDIRECT: Final = b"amqp:connection:redirect"
ERROR_LINK_REDIRECT: Final = b"amqp:link:redirect"


class MessageState(Enum):
    """How far a message has come."""

    WaitingToBeSent = 0
    WaitingForSendAck = 1
    SendComplete = 2
    SendFailed = 3
    ReceivedUnsettled = 4
    ReceivedSettled = 5


DONE_STATES: Final = (MessageState.SendComplete, MessageState.SendFailed)
RECEIVE_STATES: Final = (MessageState.ReceivedSettled, MessageState.ReceivedUnsettled)
PENDING_STATES: Final = (MessageState.WaitingForSendAck, MessageState.WaitingToBeSent)


class MessageBodyType(Enum):
    """What the body of a message consists of."""

    Data = states.MessageBodyType.DataType
    Value = states.MessageBodyType.ValueType
    Sequence = states.MessageBodyType.SequenceType


BODY_TYPE_C_PYTHON_MAP: Final = {kind.value.value: kind for kind in MessageBodyType}


class MessageReceiverState(Enum):
    """States of a receiving link."""

    Idle = 1
    Opening = 2
    Open = 3
    Closing = 4
    Error = 5


class MessageSendResult(Enum):
    """How an attempt to send ended."""

    Ok = 1
    Error = 2
    Timeout = 3
    Cancelled = 4


class MessageSenderState(Enum):
    """States of a sending link."""

    Idle = 1
    Opening = 2
    Open = 3
    Closing = 4
    Error = 5


class ManagementLinkState(Enum):
    """States of a management link pair."""

    Ok = 1
    Error = 2
    Cancelled = 3


class ManagementOperationResult(Enum):
    """How a management operation ended."""

    Ok = 1
    Error = 2
    BadStatus = 3
    Closed = 4


class MgmtExecuteResult(Enum):
    """How executing a management operation ended."""

    Ok = 1
    Error = 2
    Failed = 3
    Closed = 4


class MgmtOpenStatus(Enum):
    """How opening a management link pair ended."""

    Ok = 1
    Error = 2
    Cancelled = 3


class Role(Enum):
    """The end of a link, as on the wire."""

    Sender = False
    Receiver = True


class SenderSettleMode(Enum):
    """When the sender settles (spec 2.8.2)."""

    Unsettled = 0
    Settled = 1
    Mixed = 2


class ReceiverSettleMode(Enum):
    """Whether received messages are settled by the application (`PeekLock`) or are gone with their delivery."""

    PeekLock = 1
    ReceiveAndDelete = 0


class CBSOperationResult(Enum):
    """How an operation of claims-based security ended."""

    Ok = 1
    Error = 2
    Failed = 3
    Closed = 4


class CBSOpenState(Enum):
    """How opening the link pair of claims-based security ended."""

    Ok = 1
    Error = 2
    Cancelled = 3


class CBSAuthStatus(Enum):
    """How it stands with a token."""

    Ok = 0
    Idle = 1
    InProgress = 2
    Timeout = 3
    RefreshRequired = 4
    Expired = 5
    Error = 6
    Failure = 7


class TransportType(Enum):
    """What AMQP runs over."""

    Amqp = 1
    AmqpOverWebsocket = 2


class ErrorCodes(Enum):
    """The error conditions of the specification, and three of this library."""

    InternalServerError = b"amqp:internal-error"
    IllegalState = b"amqp:illegal-state"
    DecodeError = b"amqp:decode-error"
    NotFound = b"amqp:not-found"
    NotImplemented = b"amqp:not-implemented"
    NotAllowed = b"amqp:not-allowed"
    InvalidField = b"amqp:invalid-field"
    ResourceLocked = b"amqp:resource-locked"
    ResourceDeleted = b"amqp:resource-deleted"
    UnauthorizedAccess = b"amqp:unauthorized-access"
    FrameSizeTooSmall = b"amqp:frame-size-too-small"
    ResourceLimitExceeded = b"amqp:resource-limit-exceeded"
    PreconditionFailed = b"amqp:precondition-failed"
    ConnectionRedirect = b"amqp:connection:redirect"
    ConnectionCloseForced = b"amqp:connection:forced"
    ConnectionFramingError = b"amqp:connection:framing-error"
    SessionWindowViolation = b"amqp:session:window-violation"
    SessionErrantLink = b"amqp:session:errant-link"
    SessionHandleInUse = b"amqp:session:handle-in-use"
    SessionUnattachedHandle = b"amqp:session:unattached-handle"
    LinkRedirect = b"amqp:link:redirect"
    LinkStolen = b"amqp:link:stolen"
    LinkDetachForced = b"amqp:link:detach-forced"
    LinkTransferLimitExceeded = b"amqp:link:transfer-limit-exceeded"
    LinkMessageSizeExceeded = b"amqp:link:message-size-exceeded"
    ClientError = b"amqp:client-error"
    UnknownError = b"amqp:unknown-error"
    VendorError = b"amqp:vendor-error"
