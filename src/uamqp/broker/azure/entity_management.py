"""The management node of an entity of Service Bus: ``name/$management``."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ...codec.message import Message
from ...codec.values import Array, Symbol
from ...engine.errors import NOT_FOUND, NOT_IMPLEMENTED
from ...exceptions import DecodeError, EncodeError
from ..expiry import expiry
from ..nodes import Entry, Refused
from ..peer import Service
from ..services import answer
from .conditions import ARGUMENT_ERROR, MESSAGE_LOCK_LOST, MESSAGE_NOT_FOUND, SESSION_LOCK_LOST
from .entity import Entity
from .held import Held, arrival
from .locks import Lock, token_of
from .moments import timestamp, wall_clock

if TYPE_CHECKING:
    from ..peer import Peer

#: Messages and sessions in one answer.
_MAX_ANSWERS: Final = 1000

_STATUS: Final = {
    NOT_FOUND: 404,
    MESSAGE_NOT_FOUND: 404,
    MESSAGE_LOCK_LOST: 410,
    SESSION_LOCK_LOST: 410,
    ARGUMENT_ERROR: 400,
}

Body = dict[Any, Any]

#: An operation gives the map of its answer, or None where there is nothing to tell.
Operation = Callable[["EntityManagement", Body], Body | None]


class EntityManagement(Service):
    """Answers what SDKs ask of an entity beside sending and receiving."""

    def __init__(self, name: str, entity: Entity) -> None:
        super().__init__(name)
        self._entity = entity

    def handle(self, peer: Peer, message: Message) -> None:
        operation = str(message.application_properties.get("operation", ""))
        body = message.body
        status, description, condition, told = self._answer(operation, body if isinstance(body, dict) else {})
        response = answer(told, status, description)
        if condition is not None:
            properties = response.application_properties
            properties["errorCondition"] = properties["error-condition"] = Symbol(condition)
        self.reply(peer, message, response)

    def _answer(self, operation: str, body: Body) -> tuple[int, str, str | None, Body | None]:
        act = _OPERATIONS.get(operation)
        if act is None:
            return 501, f"the operation {operation!r} is not implemented", NOT_IMPLEMENTED, None
        try:
            told = act(self, body)
        except Refused as refused:
            return _STATUS.get(refused.condition, 409), refused.description, refused.condition, None
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, DecodeError, EncodeError):
            return 400, f"the request {operation!r} is not as it should be", ARGUMENT_ERROR, None
        if told is None:
            return 204, "No Content", None, None
        return 200, "OK", None, told

    # -- messages ------------------------------------------------------------------------------------------------

    def _peek(self, body: Body) -> Body | None:
        count = min(int(body["message-count"]), _MAX_ANSWERS)
        found = self._entity.peek(int(body["from-sequence-number"]), count, body.get("session-id"))
        messages: list[Body] = []
        room = self._entity.terms.max_message_size
        for held in found:
            payload = held.encode(peeked=True)
            room -= len(payload)
            if room < 0 and messages:
                # The answer is a message, too; there may be fewer in it than were asked for.
                break
            messages.append({"message": payload})
        return {"messages": messages} if messages else None

    def _receive_deferred(self, body: Body) -> Body:
        deletes = body["receiver-settle-mode"] == 0
        locks = self._entity.receive_deferred([int(n) for n in body["sequence-numbers"]])
        answers = []
        for lock in locks:
            answers.append({"lock-token": lock.token, "message": lock.held.encode(locked_until=lock.until)})
            if deletes:
                self._entity.complete(lock)
        return {"messages": answers}

    def _update_disposition(self, body: Body) -> Body:
        # First all are looked for: either all are settled or none.
        locks = dict.fromkeys(self._locks(body))
        settle = _DISPOSITIONS[body["disposition-status"]]
        changes = body.get("properties-to-modify") or {}
        for lock in locks:
            lock.held.set_properties(changes)
            settle(self._entity, lock, body)
        self._entity.dispatch()
        return {}

    def _renew_lock(self, body: Body) -> Body:
        ends = [timestamp(wall_clock(self._entity.renew(lock))) for lock in self._locks(body)]
        return {"expirations": Array(ends, "timestamp")}

    def _locks(self, body: Body) -> list[Lock]:
        return [self._entity.locks.find(token_of(token)) for token in body["lock-tokens"]]

    def _schedule(self, body: Body) -> Body:
        arrivals: list[tuple[Held, float | None]] = []
        for item in body["messages"]:
            payload = _octets(item["message"])
            message = Message.decode(payload)
            arrivals.append(arrival(message, Entry(payload, 0, expiry(message)), {}))
        self._entity.check(held for held, _ in arrivals)
        numbers = [self._entity.schedule(held, time.time() if due is None else due) for held, due in arrivals]
        return {"sequence-numbers": Array(numbers, "long")}

    def _cancel_scheduled(self, body: Body) -> Body:
        for number in body["sequence-numbers"]:
            self._entity.cancel(int(number))
        return {}

    # -- sessions ------------------------------------------------------------------------------------------------

    def _renew_session_lock(self, body: Body) -> Body:
        session = self._entity.sessions.find(body["session-id"])
        if session is None or not session.locked:
            raise Refused(SESSION_LOCK_LOST, "nobody has the session")
        return {"expiration": timestamp(wall_clock(self._entity.renew_session(session)))}

    def _get_session_state(self, body: Body) -> Body:
        session = self._entity.sessions.find(body["session-id"])
        return {"session-state": None if session is None else session.state}

    def _set_session_state(self, body: Body) -> Body:
        state = body["session-state"]
        self._entity.sessions.set_state(str(body["session-id"]), None if state is None else _octets(state))
        return {}

    def _get_message_sessions(self, body: Body) -> Body | None:
        skip, top = int(body["skip"]), min(int(body["top"]), _MAX_ANSWERS)
        since = body["last-updated-time"]
        # A time that no datetime has is the end of time, and asks for all sessions.
        found = self._entity.session_ids(since.timestamp() if isinstance(since, datetime) else None)[skip : skip + top]
        return {"skip": skip + len(found), "sessions-ids": found} if found else None

    # -- rules ---------------------------------------------------------------------------------------------------

    def _add_rule(self, body: Body) -> Body:
        self._entity.rules.add(str(body["rule-name"]), dict(body["rule-description"]))
        return {}

    def _remove_rule(self, body: Body) -> Body:
        self._entity.rules.remove(str(body["rule-name"]))
        return {}

    def _enumerate_rules(self, body: Body) -> Body | None:
        skip, top = int(body["skip"]), int(body["top"])
        rules = self._entity.rules.list()[skip : skip + top]
        if not rules:
            return None
        return {"rules": [{"rule-name": name, "rule-description": description} for name, description in rules]}


def _octets(value: object) -> bytes:
    # Of an int, `bytes` makes that many zeros.
    if not isinstance(value, bytes):
        raise TypeError(f"binary is wanted, not {type(value).__name__}")
    return value


_DISPOSITIONS: Final[dict[str, Callable[[Entity, Lock, Body], None]]] = {
    "completed": lambda entity, lock, _: entity.complete(lock),
    "abandoned": lambda entity, lock, _: entity.unlock(lock, failed=True),
    # The protocol spells it so.
    "defered": lambda entity, lock, _: entity.defer(lock),
    "suspended": lambda entity, lock, body: entity.dead_letter(
        lock, body.get("deadletter-reason"), body.get("deadletter-description")
    ),
}

_OPERATIONS: Final[dict[str, Operation]] = {
    "com.microsoft:peek-message": EntityManagement._peek,
    "com.microsoft:receive-by-sequence-number": EntityManagement._receive_deferred,
    "com.microsoft:update-disposition": EntityManagement._update_disposition,
    "com.microsoft:renew-lock": EntityManagement._renew_lock,
    "com.microsoft:schedule-message": EntityManagement._schedule,
    "com.microsoft:cancel-scheduled-message": EntityManagement._cancel_scheduled,
    "com.microsoft:renew-session-lock": EntityManagement._renew_session_lock,
    "com.microsoft:get-session-state": EntityManagement._get_session_state,
    "com.microsoft:set-session-state": EntityManagement._set_session_state,
    "com.microsoft:get-message-sessions": EntityManagement._get_message_sessions,
    "com.microsoft:add-rule": EntityManagement._add_rule,
    "com.microsoft:remove-rule": EntityManagement._remove_rule,
    "com.microsoft:enumerate-rules": EntityManagement._enumerate_rules,
}
