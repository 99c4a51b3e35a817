"""Locks: that a receiver has a message, until it says what became of it or its time is over."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from ...codec.definitions import Error, Rejected
from ...codec.values import Symbol
from ..nodes import Refused
from .conditions import MESSAGE_LOCK_LOST

if TYPE_CHECKING:
    from ...engine.delivery import OutgoingDelivery
    from .agenda import Agenda
    from .held import Held


class Lock:
    """One message locked for one receiver.

    Attributes:
        token: the lock token, which is also the delivery-tag.
        held: the message.
        until: when it ends (`time.monotonic`).
        delivery: how the message went to the receiver; None where that was not over a link or the link is gone.
    """

    __slots__ = ("delivery", "held", "token", "until")

    def __init__(self, held: Held, until: float) -> None:
        self.token = uuid4()
        self.held = held
        self.until = until
        self.delivery: OutgoingDelivery | None = None

    @property
    def tag(self) -> bytes:
        """The token as a delivery-tag."""
        return self.token.bytes_le

    def lose(self) -> None:
        """Have the receiver hear that it is too late, when it settles."""
        if self.delivery is not None:
            self.delivery.answer = Rejected(Error(Symbol(MESSAGE_LOCK_LOST), "the lock of the message is lost"))


class Locks:
    """The locks of an entity.

    Args:
        agenda: where it is entered when they end.
        expired: is called with a lock whose time is over, while it is still here.
    """

    def __init__(self, agenda: Agenda, expired: Callable[[Lock], None]) -> None:
        self._agenda = agenda
        self._expired = expired
        self._locks: dict[UUID, Lock] = {}

    def __contains__(self, lock: Lock) -> bool:
        return lock.token in self._locks

    def __len__(self) -> int:
        return len(self._locks)

    def add(self, held: Held, until: float) -> Lock:
        """Lock the message; the lock does not end by itself before it is renewed."""
        lock = held.lock = Lock(held, until)
        self._locks[lock.token] = lock
        return lock

    def renew(self, lock: Lock, until: float) -> None:
        """Let it end then (`time.monotonic`)."""
        lock.until = until
        self._agenda.set(self._expired, lock, until)

    def find(self, token: UUID) -> Lock:
        """The lock of that token. Raises Refused where it is lost."""
        lock = self._locks.get(token)
        if lock is None:
            raise Refused(MESSAGE_LOCK_LOST, "the lock of the message is lost")
        return lock

    def of_session(self, id: str) -> list[Lock]:
        """The locks of messages of a session."""
        return [lock for lock in self._locks.values() if lock.held.session == id]

    def remove(self, lock: Lock) -> Held:
        """The receiver has the message no more."""
        del self._locks[lock.token]
        self._agenda.forget(self._expired, lock)
        lock.held.lock = None
        return lock.held

    def clear(self) -> None:
        """The entity is deleted."""
        self._locks.clear()


def token_of(value: object) -> UUID:
    """A lock token of a request; ValueError where it is none."""
    if isinstance(value, UUID):
        return value
    return UUID(str(value))
