"""Sessions of an entity: who has which, and their states."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ...engine.errors import RESOURCE_LIMIT_EXCEEDED
from ..nodes import Refused, shown
from .conditions import ARGUMENT_ERROR, SESSION_CANNOT_BE_LOCKED

if TYPE_CHECKING:
    from ..nodes import Storage
    from .agenda import Agenda
    from .entity import Entity
    from .receiver import Receiver


_MAX_STATE: Final = 256 * 1024
_MAX_SESSIONS: Final = 10_000


class Session:
    """A session.

    Attributes:
        id: its name.
        state: what receivers left there, or None.
        changed: when they did (`time.time`).
        locked: somebody has it.
        receiver: who has it; None for a moment after it was locked.
        until: when the lock ends (`time.monotonic`).
    """

    def __init__(self, id: str) -> None:
        self.id = id
        self.state: bytes | None = None
        self.changed = 0.0
        self.locked = False
        self.receiver: Receiver | None = None
        self.until = 0.0


class Sessions:
    """The sessions of an entity that are locked or have a state; there is nothing to know of others.

    Attributes:
        waiting: links that wait for a session, in turn.

    Args:
        storage: where states count.
        agenda: where the ends of locks and of waiting are entered.
        expired: is called with a session whose lock is over.
    """

    def __init__(self, storage: Storage, agenda: Agenda, expired: Callable[[Session], None]) -> None:
        self.waiting: deque[Waiting] = deque()
        self._storage = storage
        self._agenda = agenda
        self._expired = expired
        self._sessions: dict[str, Session] = {}

    def find(self, id: str | None) -> Session | None:
        """The session, if there is anything to know of it."""
        return None if id is None else self._sessions.get(id)

    def is_free(self, id: str | None) -> bool:
        """Whether the session can be locked."""
        session = self.find(id)
        return id is not None and (session is None or not session.locked)

    def accept(self, id: str) -> Session:
        """Lock the session. Raises Refused where somebody has it."""
        if not self.is_free(id):
            raise Refused(SESSION_CANNOT_BE_LOCKED, f"somebody else has the session {shown(id)}")
        session = self._sessions.setdefault(id, Session(id))
        session.locked = True
        return session

    def renew(self, session: Session, until: float) -> None:
        """Let its lock end then (`time.monotonic`)."""
        session.until = until
        self._agenda.set(self._expired, session, until)

    def release(self, session: Session) -> None:
        """The one who had the session has it no longer."""
        self._agenda.forget(self._expired, session)
        session.locked = False
        session.receiver = None
        if session.state is None:
            self._sessions.pop(session.id, None)

    def set_state(self, id: str, state: bytes | None) -> None:
        """Keep a state of the session, or with None forget it. Raises Refused where that is too much."""
        if state is not None and len(state) > _MAX_STATE:
            raise Refused(ARGUMENT_ERROR, f"a session state of {len(state)} bytes, the most is {_MAX_STATE}")
        if id not in self._sessions and len(self._sessions) >= _MAX_SESSIONS:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"there are {_MAX_SESSIONS} sessions with a state already")
        if state is not None and not self._storage.has_room(len(state)):
            raise Refused(RESOURCE_LIMIT_EXCEEDED, "the broker holds all it can")
        session = self._sessions.setdefault(id, Session(id))
        self._drop_state(session)
        if state is not None:
            self._storage.take(len(state))
        session.state = state
        session.changed = time.time()
        if state is None and not session.locked:
            del self._sessions[id]

    def _drop_state(self, session: Session) -> None:
        if session.state is not None:
            self._storage.give_back(len(session.state))
        session.state = None

    def wait(self, waiting: Waiting, timeout: float) -> None:
        """Let the link have the next session that can be had within so many seconds."""
        self.waiting.append(waiting)
        self._agenda.set(self._waited_too_long, waiting, time.monotonic() + timeout)

    def stop_waiting(self, waiting: Waiting) -> None:
        """The link waits no longer."""
        if waiting in self.waiting:
            self.waiting.remove(waiting)
        self._agenda.forget(self._waited_too_long, waiting)

    def grant(self, session: Session) -> None:
        """Give the session, which is locked for it, to the link that waits longest."""
        waiting = self.waiting[0]
        self.stop_waiting(waiting)
        waiting.grant(session)

    def _waited_too_long(self, waiting: Waiting) -> None:
        self.stop_waiting(waiting)
        waiting.time_out()

    def close(self) -> None:
        """The entity is deleted."""
        for waiting in list(self.waiting):
            self._waited_too_long(waiting)
        for session in self._sessions.values():
            self._drop_state(session)

    def with_state(self, since: float = 0.0) -> list[str]:
        """The names of the sessions that have a state, set after `since` (`time.time`)."""
        return [s.id for s in self._sessions.values() if s.state is not None and s.changed > since]


class Waiting:
    """A link that was not answered yet, because there is no session for it.

    Attributes:
        store: the entity.
        grant: answers the link with this session.
        time_out: answers it with a refusal.
    """

    def __init__(self, store: Entity, grant: Callable[[Session], None], time_out: Callable[[], None]) -> None:
        self.store = store
        self.grant = grant
        self.time_out = time_out

    def gone(self) -> None:
        """The link ended."""
        self.store.sessions.stop_waiting(self)
