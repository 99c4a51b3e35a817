"""A link on which an entity of Service Bus sends."""

from __future__ import annotations

from typing import Any, Final

from ...codec.values import Symbol
from ...engine.errors import MESSAGE_SIZE_EXCEEDED
from ...engine.sender import SenderEndpoint
from ...exceptions import AMQPError
from ..peer import Outlet
from .entity import Entity
from .held import Held
from .moments import wall_clock
from .sessions import Session

SESSION_FILTER: Final = "com.microsoft:session-filter"
LOCKED_UNTIL_UTC: Final = "com.microsoft:locked-until-utc"

#: Ticks of 100 ns from the year 1 to 1970.
_EPOCH_TICKS: Final = 621_355_968_000_000_000


class Receiver(Outlet):
    """One receiver of one entity, with or without a session."""

    def __init__(self, link: SenderEndpoint, entity: Entity, session: Session | None = None) -> None:
        super().__init__(link, entity)
        self._entity = entity
        self.session = session
        if session is not None:
            session.receiver = self
            ticks = int(wall_clock(session.until) * 10_000_000) + _EPOCH_TICKS
            self.filter: dict[Any, Any] = {Symbol(SESSION_FILTER): session.id}
            self.properties: dict[Any, Any] = {LOCKED_UNTIL_UTC: ticks}

    def deliver(self, held: Held) -> None:
        """Lock the message and send it."""
        lock = self._entity.lock(held)
        payload = held.encode(locked_until=None if self.presettled else lock.until)
        try:
            delivery = self.link.send(payload, self.presettled, tag=lock.tag)
        except AMQPError as error:
            # Larger than the receiver takes, say: nothing was sent.
            self._entity.unlock(lock)
            self.end(MESSAGE_SIZE_EXCEEDED, error.description)
            return
        if delivery.settled:
            self._entity.complete(lock)
        else:
            lock.delivery = delivery
            delivery.waiter = lock
