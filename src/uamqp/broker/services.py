"""The nodes that answer by themselves: ``$cbs`` for tokens, ``$management`` for queues and topics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from ..codec.message import Message
from ..codec.values import Int
from .nodes import Queue, Refused, Topic
from .peer import Service

if TYPE_CHECKING:
    from .options import TokenCheck
    from .peer import Peer
    from .server import Broker

CBS: Final = "$cbs"
MANAGEMENT: Final = "$management"

_LOG: Final = logging.getLogger(__name__)


def answer(body: Any, status: int, description: str) -> Message:
    """The answer to a request; the names of what it says are those of either draft, and the status is an int."""
    response = Message(body)
    properties = response.application_properties
    properties["statusCode"] = properties["status-code"] = Int(status)
    properties["statusDescription"] = properties["status-description"] = description
    return response


class ClaimsBasedSecurity(Service):
    """Takes tokens (put-token), as AMQP Claims-based Security 1.0 and the Azure services have it."""

    def __init__(self, check: TokenCheck | None) -> None:
        super().__init__(CBS)
        self._check_token = check

    def handle(self, peer: Peer, message: Message) -> None:
        status, description = self._answer(message)
        if status == 200 and message.application_properties.get("operation") == "put-token":
            peer.token_accepted = True
        self.reply(peer, message, answer(None, status, description))

    def _answer(self, message: Message) -> tuple[int, str]:
        request = message.application_properties
        operation = request.get("operation")
        if operation == "delete-token":
            return 200, "OK"
        if operation != "put-token":
            return 400, f"unknown operation {operation!r}"
        body = message.body
        token = body.decode(errors="replace") if isinstance(body, bytes) else body
        if not isinstance(token, str) or not token:
            return 400, "the body of put-token is not a token"
        return self._check(str(request.get("type", "")), str(request.get("name", "")), token)

    def _check(self, kind: str, audience: str, token: str) -> tuple[int, str]:
        check = self._check_token
        try:
            refusal = None if check is None else check(kind, audience, token)
        except Exception:
            # It is not the broker's code: what fails there must not end the connection.
            _LOG.exception("token_check failed")
            return 500, "the token could not be checked"
        return (200, "OK") if refusal is None else (401, refusal)


class Management(Service):
    """Lists, makes and deletes queues and topics, after the AMQP Management working draft.

    Requests carry the application properties ``operation`` (CREATE, READ, DELETE, QUERY), ``type`` (``queue`` or
    ``topic``) and ``name``; responses ``statusCode`` and ``statusDescription``, and a map as body.
    """

    def __init__(self, broker: Broker) -> None:
        super().__init__(MANAGEMENT)
        self._broker = broker

    def handle(self, peer: Peer, message: Message) -> None:
        request = message.application_properties
        status, description, body = self._answer(
            str(request.get("operation", "")), str(request.get("type", "")), str(request.get("name", ""))
        )
        self.reply(peer, message, answer(body, status, description))

    def _answer(self, operation: str, kind: str, name: str) -> tuple[int, str, dict[str, Any]]:
        broker = self._broker
        if operation == "QUERY":
            return 200, "OK", {"attributeNames": ["name", "type"], "results": broker.list_nodes()}
        if operation not in ("CREATE", "READ", "DELETE"):
            return 501, f"the operation {operation!r} is not implemented", {}
        if not name:
            return 400, "the request has no name", {}
        node = broker.find(name)
        if operation == "CREATE":
            if kind not in ("queue", "topic"):
                return 400, "type must be queue or topic", {}
            if node is not None:
                return 409, f"{name!r} exists", {}
            try:
                made = broker.queue(name) if kind == "queue" else broker.topic(name)
            except Refused as refused:
                return 403, refused.description, {}
            return 201, "Created", describe(made)
        if not isinstance(node, Queue | Topic):
            return 404, f"there is no {name!r}", {}
        if operation == "DELETE":
            broker.delete(name)
            return 204, "Deleted", {}
        return 200, "OK", describe(node)


def describe(node: Queue | Topic) -> dict[str, Any]:
    """What management tells of a node."""
    if isinstance(node, Topic):
        return {"name": node.name, "type": "topic", "subscriptions": node.subscriptions}
    return {
        "name": node.name,
        "type": "queue",
        "messages": len(node),
        "unsettled": node.length - len(node),
        "bytes": node.size,
        "consumers": node.consumers,
    }
