"""What Service Bus receivers receive from: queues, subscriptions, and the dead-letter queues of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from ...codec.definitions import Accepted, Modified, Rejected
from ...engine.delivery import OutgoingDelivery
from ...engine.errors import NOT_ALLOWED, RESOURCE_DELETED, RESOURCE_LIMIT_EXCEEDED
from ...exceptions import NotSent
from ..nodes import Entry, Refused, Store, shown
from .agenda import Agenda
from .batch import unpacked
from .conditions import MESSAGE_NOT_FOUND, SESSION_LOCK_LOST
from .held import ACTIVE, DEFERRED, SCHEDULED, Held, arrival
from .locks import Lock, Locks
from .ready import Ready
from .rules import Rules
from .sessions import Session, Sessions
from .topic import Subscriptions

if TYPE_CHECKING:
    from ..expiry import Sweeper
    from ..nodes import Storage
    from .options import Azure
    from .receiver import Receiver

DEAD_LETTER_REASON: Final = "DeadLetterReason"
DEAD_LETTER_DESCRIPTION: Final = "DeadLetterErrorDescription"


class Entity(Store):
    """Messages that are locked for a receiver until it says what became of them.

    Attributes:
        wants_sessions: only session receivers may receive; None where that is not decided yet.
        subscriptions: those of a topic, which hands all its messages on; None for anything else.
        rules: what a subscription takes.
        dead_letters: gives the dead-letter queue; None for one that is that itself.
        locks: the locks that receivers have.
        sessions: the sessions there are, and who waits for one.
    """

    def __init__(
        self,
        name: str,
        terms: Azure,
        *,
        max_length: int,
        max_bytes: int,
        storage: Storage,
        sweeper: Sweeper,
        wants_sessions: bool | None = None,
    ) -> None:
        super().__init__(name, max_length=max_length, max_bytes=max_bytes, storage=storage)
        self.terms = terms
        self.wants_sessions = wants_sessions
        self.subscriptions: Subscriptions | None = None
        self.rules = Rules()
        self.dead_letters: Callable[[], Entity] | None = None
        self._messages: dict[int, Held] = {}
        self._ready = Ready(self._messages)
        self._receivers: list[Receiver] = []
        self._agenda = Agenda(sweeper)
        self.locks = Locks(self._agenda, self._lock_expired)
        self.sessions = Sessions(storage, self._agenda, self._session_expired)
        self._next_sequence = 1
        self._dispatching = False
        self._deleted = False

    def __len__(self) -> int:
        """Messages of any state."""
        return len(self._messages)

    # -- messages in ---------------------------------------------------------------------------------------------

    def put(self, entry: Entry) -> None:
        arrivals = [arrival(message, part, annotations) for message, part, annotations in unpacked(entry)]
        self.check(held for held, _ in arrivals)
        for held, due in arrivals:
            self.take(held, due)
        self.dispatch()

    def check(self, arrivals: Iterable[Held]) -> None:
        """Raise Refused where these messages cannot be taken."""
        if self._deleted:
            raise Refused(RESOURCE_DELETED, f"the entity {shown(self.name)} was deleted")
        count = size = 0
        for held in arrivals:
            if self.wants_sessions and held.session is None:
                raise Refused(NOT_ALLOWED, f"the entity {shown(self.name)} wants sessions, the message has none")
            count += 1
            size += len(held.payload)
        lack = self.lack(size, count)
        if lack is not None:
            raise Refused(RESOURCE_LIMIT_EXCEEDED, f"the entity {shown(self.name)} is full: {lack}")

    def take(self, held: Held, due: float | None = None) -> None:
        """Take a message for which there is room, now or, if that is later, at `due` (`time.time`)."""
        self._enter(held)
        delay = 0.0 if due is None else due - time.time()
        if delay > 0:
            held.state = SCHEDULED
            assert due is not None
            held.enqueued = due
            if held.expires is not None:
                held.expires += delay
            self._agenda.set(self._enqueue, held.sequence, time.monotonic() + delay)
        else:
            self._arrived(held)

    def _enter(self, held: Held) -> None:
        held.sequence = self._next_sequence
        self._next_sequence += 1
        self._messages[held.sequence] = held
        self._hold(held.payload)

    def _arrived(self, held: Held) -> None:
        if self.subscriptions is not None:
            self._forget(held)
            self.subscriptions.hand_on(held)
            return
        self._make_ready(held)
        if held.expires is not None:
            self._agenda.set(self._lived_too_long, held.sequence, held.expires)

    def _make_ready(self, held: Held) -> None:
        self._ready.add(self._lane(held), held)

    def _lane(self, held: Held) -> str | None:
        return held.session if self.wants_sessions else None

    def _enqueue(self, sequence: int) -> None:
        """The time of a scheduled message has come: it is appended to the others, with a new number."""
        held = self._messages[sequence]
        self._forget(held)
        held.state = ACTIVE
        self._enter(held)
        self._arrived(held)
        self.dispatch()

    def schedule(self, held: Held, due: float) -> int:
        """Take a message that is to be enqueued at `due`; returns its sequence-number. Raises Refused."""
        self.check([held])
        self.take(held, due)
        self.dispatch()
        return held.sequence

    def cancel(self, sequence: int) -> None:
        """Drop a scheduled message. Raises Refused where there is none."""
        held = self._messages.get(sequence)
        if held is None or held.state != SCHEDULED:
            raise _not_found(sequence)
        self._agenda.forget(self._enqueue, sequence)
        self._forget(held)

    # -- messages out --------------------------------------------------------------------------------------------

    def subscribe(self, outlet: Receiver) -> None:
        self._receivers.append(outlet)
        self.dispatch()

    def unsubscribe(self, outlet: Receiver) -> None:
        if outlet in self._receivers:
            self._receivers.remove(outlet)
        if outlet.session is not None:
            self._release(outlet.session)
            self.dispatch()

    def dispatch(self) -> None:
        if self._dispatching or self._deleted:
            # Sending may settle at once, which comes back here.
            return
        self._dispatching = True
        try:
            self._grant_sessions()
            while self._serve_all():
                pass
        finally:
            self._dispatching = False

    def _serve_all(self) -> bool:
        """Send each receiver one message; whether anybody got one."""
        served = [receiver for receiver in list(self._receivers) if self._serve(receiver)]
        # Whoever got one is last in turn.
        self._receivers.sort(key=served.__contains__)
        return bool(served)

    def _serve(self, receiver: Receiver) -> bool:
        """Send the receiver one message, if there is one and it has credit."""
        if not receiver.has_credit:
            return False
        session = receiver.session
        held = self._ready.take(None if session is None else session.id)
        if held is None:
            return False
        receiver.deliver(held)
        return True

    def peek(self, first: int, count: int, session: str | None) -> list[Held]:
        """Up to so many messages of any state, from a sequence-number on; they are not locked."""
        found = (
            held
            for sequence, held in self._messages.items()
            if sequence >= first and (session is None or held.session == session)
        )
        return list(islice(found, count))

    def receive_deferred(self, sequences: Iterable[int]) -> list[Lock]:
        """Lock deferred messages. Raises Refused where one of them is not there."""
        found = []
        for sequence in dict.fromkeys(sequences):
            held = self._messages.get(sequence)
            if held is None or held.state != DEFERRED or held.lock is not None:
                raise _not_found(sequence)
            found.append(held)
        return [self.lock(held) for held in found]

    # -- locks ---------------------------------------------------------------------------------------------------

    def lock(self, held: Held) -> Lock:
        """Lock the message; in a session as long as that is locked."""
        session = self.sessions.find(held.session) if self.wants_sessions else None
        if session is not None and session.receiver is not None:
            return self.locks.add(held, session.until)
        lock = self.locks.add(held, 0.0)
        self.renew(lock)
        return lock

    def renew(self, lock: Lock) -> float:
        """Lock the message for longer; returns until when (`time.monotonic`)."""
        self.locks.renew(lock, time.monotonic() + self.terms.lock_duration)
        return lock.until

    def unlock(self, lock: Lock, *, failed: bool = False) -> None:
        """Others may have the message; `failed` counts against it."""
        held = self.locks.remove(lock)
        if failed:
            held.failures += 1
        if held.expires is not None and held.expires <= time.monotonic():
            self._lived_too_long(held.sequence)
        elif self.dead_letters is not None and held.failures >= self.terms.max_deliveries:
            self._bury(
                held, "MaxDeliveryCountExceeded", f"the message could not be consumed in {held.failures} deliveries"
            )
        elif held.state == ACTIVE:
            self._make_ready(held)

    def complete(self, lock: Lock) -> None:
        """The message was processed."""
        self._forget(self.locks.remove(lock))

    def defer(self, lock: Lock) -> None:
        """Keep the message until somebody asks for it by its sequence-number."""
        self.locks.remove(lock).state = DEFERRED

    def dead_letter(self, lock: Lock, reason: str | None, description: str | None) -> None:
        """Move the message to the dead-letter queue; in that one, give it back."""
        if self.dead_letters is None:
            self.unlock(lock)
        else:
            self._bury(self.locks.remove(lock), reason, description)

    def _lock_expired(self, lock: Lock) -> None:
        lock.lose()
        self.unlock(lock, failed=True)
        self.dispatch()

    def settled(self, outlet: Receiver, delivery: OutgoingDelivery) -> None:
        lock: Lock = delivery.waiter
        lock.delivery = None
        if lock not in self.locks:
            # The lock was lost before the receiver said anything, or it said it to management.
            return
        if delivery.error is not None:
            # A message whose link is gone stays locked, and may still be settled by its token.
            if isinstance(delivery.error, NotSent) or outlet.session is not None:
                self.unlock(lock)
        elif delivery.presettled:
            self.complete(lock)
        else:
            self._apply(lock, delivery.state)

    def _apply(self, lock: Lock, outcome: Any) -> None:
        if isinstance(outcome, Accepted):
            self.complete(lock)
        elif isinstance(outcome, Rejected):
            error = outcome.error
            info = {} if error is None else dict(error.info or {})
            lock.held.set_properties(info)
            condition = None if error is None else str(error.condition)
            self.dead_letter(lock, info.get(DEAD_LETTER_REASON, condition), info.get(DEAD_LETTER_DESCRIPTION))
        elif isinstance(outcome, Modified):
            lock.held.set_properties(outcome.message_annotations or {})
            if outcome.undeliverable_here:
                self.defer(lock)
            else:
                self.unlock(lock, failed=bool(outcome.delivery_failed))
        else:
            self.unlock(lock)

    # -- sessions ------------------------------------------------------------------------------------------------

    def want_sessions(self) -> None:
        """A session receiver comes. Raises Refused where there are receivers of the other kind."""
        if self.wants_sessions:
            return
        if self.wants_sessions is False or self._receivers or self.subscriptions is not None:
            raise Refused(NOT_ALLOWED, f"the entity {shown(self.name)} has no sessions")
        self.wants_sessions = True
        self._ready.clear()
        for held in self._messages.values():
            if held.state == ACTIVE and held.lock is None:
                self._make_ready(held)

    def session_ids(self, since: float | None) -> list[str]:
        """The sessions with messages or a state, or with `since` (`time.time`) those whose state was set after it."""
        if since is not None:
            return sorted(self.sessions.with_state(since))
        of_messages = {h.session for h in self._messages.values() if h.session is not None}
        return sorted(of_messages | set(self.sessions.with_state()))

    def accept_session(self, wanted: str | None) -> Session | None:
        """Lock a session, or with None any that has messages; None where there is none. Raises Refused."""
        if wanted is None:
            free = (name for name in self._ready.lanes if self.sessions.is_free(name))
            wanted = next((name for name in free if self._ready.first(name) is not None), None)
            if wanted is None:
                return None
        session = self.sessions.accept(wanted)
        self.renew_session(session)
        return session

    def renew_session(self, session: Session) -> float:
        """Lock the session, and its messages with it, for longer; returns until when (`time.monotonic`)."""
        self.sessions.renew(session, time.monotonic() + self.terms.lock_duration)
        return session.until

    def _grant_sessions(self) -> None:
        while self.sessions.waiting:
            session = self.accept_session(None)
            if session is None:
                return
            self.sessions.grant(session)

    def _session_expired(self, session: Session) -> None:
        assert session.receiver is not None
        for lock in self.locks.of_session(session.id):
            lock.lose()
            self.unlock(lock, failed=True)
        session.receiver.end(SESSION_LOCK_LOST, f"the lock of the session {shown(session.id)} is lost")

    def _release(self, session: Session) -> None:
        self.sessions.release(session)
        # Those of deferred messages: what the link had not settled was given back before.
        for lock in self.locks.of_session(session.id):
            self.unlock(lock)

    # -- the end -------------------------------------------------------------------------------------------------

    def _lived_too_long(self, sequence: int) -> None:
        held = self._messages.get(sequence)
        if held is None or held.lock is not None:
            return
        if self.terms.dead_letter_expired and self.dead_letters is not None:
            self._bury(held, "TTLExpiredException", "the message expired and was dead lettered")
        else:
            self._forget(held)
        self._ready.first(self._lane(held))

    def _bury(self, held: Held, reason: str | None, description: str | None) -> None:
        assert self.dead_letters is not None
        self._forget(held)
        told = {DEAD_LETTER_REASON: reason, DEAD_LETTER_DESCRIPTION: description}
        held.set_properties({key: text for key, text in told.items() if text is not None})
        held.annotations["x-opt-deadletter-source"] = self.name
        held.annotations["x-opt-enqueue-sequence-number"] = held.sequence
        held.expires = None
        held.state = ACTIVE
        try:
            grave = self.dead_letters()
            grave.check([held])
        except Refused:
            # A dead-letter queue that is full, or that there is no room for, loses the letter; the living go on.
            return
        grave.take(held)
        grave.dispatch()

    def _forget(self, held: Held) -> None:
        del self._messages[held.sequence]
        self._agenda.forget(self._lived_too_long, held.sequence)
        self._let_go(held.payload)

    def want_subscriptions(self) -> None:
        """A subscription comes. Raises Refused where there are receivers, which only a queue has."""
        if self._receivers:
            raise Refused(NOT_ALLOWED, f"{shown(self.name)} is a queue")

    def add_subscription(self, name: str, subscription: Entity) -> None:
        """Be a topic from now on; what waits here goes to the first subscription."""
        first = not self.subscriptions
        if self.subscriptions is None:
            self.subscriptions = Subscriptions()
        self.subscriptions.add(name, subscription)
        if first:
            self._ready.clear()
            for held in [h for h in self._messages.values() if h.state == ACTIVE and h.lock is None]:
                self._arrived(held)

    def close(self) -> None:
        # What receivers give back now goes nowhere: neither to the others nor to the dead letters.
        self._deleted = True
        self.dead_letters = None
        super().close()
        for receiver in list(self._receivers):
            receiver.node_deleted()
        for held in list(self._messages.values()):
            self._forget(held)
        self.locks.clear()
        self.sessions.close()
        self._agenda.clear()


def _not_found(sequence: int) -> Refused:
    return Refused(MESSAGE_NOT_FOUND, f"there is no message {sequence} of that kind")
