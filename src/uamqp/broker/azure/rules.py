"""Which messages of a topic a subscription takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from ...codec.message import Message
from ...codec.primitives import encode
from ...engine.errors import NOT_FOUND
from ..nodes import Refused, shown
from .conditions import ARGUMENT_ERROR, ENTITY_ALREADY_EXISTS

DEFAULT_RULE: Final = "$Default"

#: Rules that a subscription may have.
_MAX_RULES: Final = 1000
_MAX_DESCRIPTION: Final = 16 * 1024

#: Where the system properties of a correlation filter are in a message, by the names of the protocol.
_SYSTEM: Final = {
    "correlation-id": "correlation_id",
    "message-id": "message_id",
    "to": "to",
    "reply-to": "reply_to",
    "label": "subject",
    "session-id": "group_id",
    "reply-to-session-id": "reply_to_group_id",
    "content-type": "content_type",
}

#: The constant expressions of SQL filters; others are not understood.
_CONSTANT: Final = {"1=1": True, "true": True, "1=0": False, "1=2": False, "false": False}

Filter = Callable[[Message], bool]


def true_filter(message: Message) -> bool:
    """Takes every message."""
    return True


class Rules:
    """The rules of a subscription; it takes what any of them matches."""

    def __init__(self) -> None:
        self._rules: dict[str, tuple[dict[Any, Any], Filter]] = {DEFAULT_RULE: ({"true-filter": {}}, true_filter)}

    def match(self, message: Message) -> bool:
        """Whether the subscription takes the message."""
        return any(accepts(message) for _, accepts in self._rules.values())

    def add(self, name: str, description: dict[Any, Any]) -> None:
        """Add a rule. Raises Refused."""
        if name in self._rules:
            raise Refused(ENTITY_ALREADY_EXISTS, f"there is a rule {shown(name)} already")
        if len(self._rules) >= _MAX_RULES:
            raise Refused(ARGUMENT_ERROR, f"there are {_MAX_RULES} rules already")
        if len(encode(description)) > _MAX_DESCRIPTION:
            raise Refused(ARGUMENT_ERROR, f"the rule is larger than {_MAX_DESCRIPTION} bytes")
        self._rules[name] = (description, _filter(description))

    def remove(self, name: str) -> None:
        """Remove a rule. Raises Refused."""
        if self._rules.pop(name, None) is None:
            raise Refused(NOT_FOUND, f"there is no rule {shown(name)}")

    def list(self) -> list[tuple[str, dict[Any, Any]]]:
        """Names and descriptions, as they were given."""
        return [(name, description) for name, (description, _) in self._rules.items()]


def _filter(description: dict[Any, Any]) -> Filter:
    if isinstance(correlation := description.get("correlation-filter"), dict):
        return _correlation(correlation)
    if isinstance(sql := description.get("sql-filter"), dict):
        expression = "".join(str(sql.get("expression", "")).lower().split())
        if expression not in _CONSTANT:
            raise Refused(ARGUMENT_ERROR, "SQL filters are not understood but for 1=1 and 1=0")
        constant = _CONSTANT[expression]
        return lambda _: constant
    if "false-filter" in description:
        return lambda _: False
    return true_filter


def _correlation(wanted: dict[Any, Any]) -> Filter:
    system = {_SYSTEM[key]: value for key, value in wanted.items() if key in _SYSTEM and value is not None}
    own = wanted.get("properties") or {}
    if not isinstance(own, dict):
        raise Refused(ARGUMENT_ERROR, "the properties of a correlation filter are a map")

    def accepts(message: Message) -> bool:
        properties, application = message.properties, message.application_properties
        return all(getattr(properties, name) == value for name, value in system.items()) and all(
            application.get(key) == value for key, value in own.items()
        )

    return accepts
