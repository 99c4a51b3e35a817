"""Every cap that keeps a peer from spending this side's memory or time, each with its reason."""

from __future__ import annotations

from typing import Final

#: Spec 2.3: the smallest max-frame-size a peer may state, and what every peer must take.
MIN_MAX_FRAME_SIZE: Final = 512

#: Before the peer's open was processed no limit is agreed, so nobody may send much: SASL frames and open are small.
PRE_OPEN_FRAME_SIZE: Final = 8192

#: Frames of the size that sockets are read in; larger ones only hold up the other links.
MAX_FRAME_SIZE: Final = 65_536

#: Sessions of one connection (numbered from 0).
CHANNEL_MAX: Final = 255

#: Links of one session (numbered from 0). A table entry each, made only by an attach.
HANDLE_MAX: Final = 1023

#: Transfers that a peer may have under way in one session before it hears from us again.
INCOMING_WINDOW: Final = 2048

#: A delivery of more bytes is refused while it arrives; finite, because memory is.
MAX_MESSAGE_SIZE: Final = 64 * 1024 * 1024

#: Frames of one delivery: a delivery in one-byte frames costs far more than its bytes.
MAX_TRANSFERS_PER_DELIVERY: Final = 65_535

#: Frames of a delivery in a row that bring no byte: they cost us time and the peer nothing.
MAX_EMPTY_TRANSFERS: Final = 16

#: Spec 2.8.7: a delivery-tag has at most 32 bytes.
MAX_DELIVERY_TAG: Final = 32

#: Credit that one flow may grant; more would be a promise to hold that many messages.
MAX_CREDIT: Final = 100_000

#: Seconds: a peer that asks for heartbeats at a shorter time-out is served as if it had asked for this.
MIN_HONOURED_IDLE_TIMEOUT: Final = 0.1

#: Seconds: longer ones are as good as none, and would overflow timers.
MAX_HONOURED_IDLE_TIMEOUT: Final = 86_400.0

#: Seconds that a peer has to answer close before the stream is closed without it.
CLOSE_TIMEOUT: Final = 10.0

#: Challenges in one SASL exchange: no mechanism needs more, an endless exchange never ends.
MAX_SASL_CHALLENGES: Final = 8

#: Bytes that wait for the socket before large deliveries are cut no further.
OUTPUT_HIGH_WATER: Final = 262_144

#: Deliveries that the dispositions of one read may be about without settling them: looking at each takes its time.
MAX_LOOKED_AT_IN_VAIN: Final = 200_000
