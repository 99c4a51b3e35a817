"""Error conditions of Service Bus and Event Hubs that are not of AMQP itself."""

from __future__ import annotations

from typing import Final

MESSAGE_LOCK_LOST: Final = "com.microsoft:message-lock-lost"
MESSAGE_NOT_FOUND: Final = "com.microsoft:message-not-found"
SESSION_LOCK_LOST: Final = "com.microsoft:session-lock-lost"
SESSION_CANNOT_BE_LOCKED: Final = "com.microsoft:session-cannot-be-locked"
ENTITY_ALREADY_EXISTS: Final = "com.microsoft:entity-already-exists"
ARGUMENT_ERROR: Final = "com.microsoft:argument-error"
TIMEOUT: Final = "com.microsoft:timeout"
