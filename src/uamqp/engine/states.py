"""The state tables of the specification, as data: connection (2.4.6), session (2.5.5) and link (2.6).

Each table maps (state, event) to the next state. An event that is not in the table for a state is illegal there.
The tables are free of role: client and server use the same ones.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class Event(Enum):
    """What moves an endpoint: a header, or a performative that opens or closes it, sent or received."""

    SEND_HEADER = "S:HDR"
    RECEIVE_HEADER = "R:HDR"
    SEND_OPEN = "S:OPEN"
    RECEIVE_OPEN = "R:OPEN"
    SEND_CLOSE = "S:CLOSE"
    RECEIVE_CLOSE = "R:CLOSE"
    SEND_CLOSE_WITH_ERROR = "S:CLOSE(error)"


class ConnectionState(Enum):
    """Spec 2.4.6."""

    START = "START"
    HDR_RCVD = "HDR_RCVD"
    HDR_SENT = "HDR_SENT"
    HDR_EXCH = "HDR_EXCH"
    OPEN_PIPE = "OPEN_PIPE"
    OC_PIPE = "OC_PIPE"
    OPEN_RCVD = "OPEN_RCVD"
    OPEN_SENT = "OPEN_SENT"
    CLOSE_PIPE = "CLOSE_PIPE"
    OPENED = "OPENED"
    CLOSE_RCVD = "CLOSE_RCVD"
    CLOSE_SENT = "CLOSE_SENT"
    DISCARDING = "DISCARDING"
    END = "END"


class SessionState(Enum):
    """Spec 2.5.5."""

    UNMAPPED = "UNMAPPED"
    BEGIN_SENT = "BEGIN_SENT"
    BEGIN_RCVD = "BEGIN_RCVD"
    MAPPED = "MAPPED"
    END_SENT = "END_SENT"
    END_RCVD = "END_RCVD"
    DISCARDING = "DISCARDING"
    ENDED = "ENDED"


class LinkState(Enum):
    """Spec 2.6.3 to 2.6.6: which halves of the link are attached."""

    DETACHED = "DETACHED"
    ATTACH_SENT = "ATTACH_SENT"
    ATTACH_RCVD = "ATTACH_RCVD"
    ATTACHED = "ATTACHED"
    DETACH_SENT = "DETACH_SENT"
    DETACH_RCVD = "DETACH_RCVD"
    ENDED = "ENDED"


CONNECTION: Final[dict[tuple[ConnectionState, Event], ConnectionState]] = {
    (ConnectionState.START, Event.SEND_HEADER): ConnectionState.HDR_SENT,
    (ConnectionState.START, Event.RECEIVE_HEADER): ConnectionState.HDR_RCVD,
    (ConnectionState.HDR_RCVD, Event.SEND_HEADER): ConnectionState.HDR_EXCH,
    (ConnectionState.HDR_SENT, Event.RECEIVE_HEADER): ConnectionState.HDR_EXCH,
    (ConnectionState.HDR_SENT, Event.SEND_OPEN): ConnectionState.OPEN_PIPE,
    (ConnectionState.HDR_EXCH, Event.SEND_OPEN): ConnectionState.OPEN_SENT,
    (ConnectionState.HDR_EXCH, Event.RECEIVE_OPEN): ConnectionState.OPEN_RCVD,
    (ConnectionState.OPEN_PIPE, Event.RECEIVE_HEADER): ConnectionState.OPEN_SENT,
    (ConnectionState.OPEN_PIPE, Event.SEND_CLOSE): ConnectionState.OC_PIPE,
    (ConnectionState.OC_PIPE, Event.RECEIVE_HEADER): ConnectionState.CLOSE_PIPE,
    (ConnectionState.OPEN_SENT, Event.RECEIVE_OPEN): ConnectionState.OPENED,
    (ConnectionState.OPEN_SENT, Event.SEND_CLOSE): ConnectionState.CLOSE_PIPE,
    (ConnectionState.OPEN_SENT, Event.SEND_CLOSE_WITH_ERROR): ConnectionState.DISCARDING,
    (ConnectionState.OPEN_RCVD, Event.SEND_OPEN): ConnectionState.OPENED,
    (ConnectionState.CLOSE_PIPE, Event.RECEIVE_OPEN): ConnectionState.CLOSE_SENT,
    (ConnectionState.OPENED, Event.SEND_CLOSE): ConnectionState.CLOSE_SENT,
    (ConnectionState.OPENED, Event.SEND_CLOSE_WITH_ERROR): ConnectionState.DISCARDING,
    (ConnectionState.OPENED, Event.RECEIVE_CLOSE): ConnectionState.CLOSE_RCVD,
    (ConnectionState.CLOSE_RCVD, Event.SEND_CLOSE): ConnectionState.END,
    (ConnectionState.CLOSE_SENT, Event.RECEIVE_CLOSE): ConnectionState.END,
    (ConnectionState.DISCARDING, Event.RECEIVE_OPEN): ConnectionState.DISCARDING,
    (ConnectionState.DISCARDING, Event.RECEIVE_CLOSE): ConnectionState.END,
}

SESSION: Final[dict[tuple[SessionState, Event], SessionState]] = {
    (SessionState.UNMAPPED, Event.SEND_OPEN): SessionState.BEGIN_SENT,
    (SessionState.UNMAPPED, Event.RECEIVE_OPEN): SessionState.BEGIN_RCVD,
    (SessionState.BEGIN_SENT, Event.RECEIVE_OPEN): SessionState.MAPPED,
    (SessionState.BEGIN_RCVD, Event.SEND_OPEN): SessionState.MAPPED,
    (SessionState.MAPPED, Event.SEND_CLOSE): SessionState.END_SENT,
    (SessionState.MAPPED, Event.SEND_CLOSE_WITH_ERROR): SessionState.DISCARDING,
    (SessionState.MAPPED, Event.RECEIVE_CLOSE): SessionState.END_RCVD,
    (SessionState.END_RCVD, Event.SEND_CLOSE): SessionState.ENDED,
    (SessionState.END_SENT, Event.RECEIVE_CLOSE): SessionState.ENDED,
    (SessionState.DISCARDING, Event.RECEIVE_CLOSE): SessionState.ENDED,
}

LINK: Final[dict[tuple[LinkState, Event], LinkState]] = {
    (LinkState.DETACHED, Event.SEND_OPEN): LinkState.ATTACH_SENT,
    (LinkState.DETACHED, Event.RECEIVE_OPEN): LinkState.ATTACH_RCVD,
    (LinkState.ATTACH_SENT, Event.RECEIVE_OPEN): LinkState.ATTACHED,
    (LinkState.ATTACH_SENT, Event.SEND_CLOSE): LinkState.DETACH_SENT,
    (LinkState.ATTACH_RCVD, Event.SEND_OPEN): LinkState.ATTACHED,
    (LinkState.ATTACHED, Event.SEND_CLOSE): LinkState.DETACH_SENT,
    (LinkState.ATTACHED, Event.RECEIVE_CLOSE): LinkState.DETACH_RCVD,
    (LinkState.DETACH_SENT, Event.RECEIVE_OPEN): LinkState.DETACH_SENT,
    (LinkState.DETACH_SENT, Event.RECEIVE_CLOSE): LinkState.ENDED,
    (LinkState.DETACH_RCVD, Event.SEND_CLOSE): LinkState.ENDED,
}
