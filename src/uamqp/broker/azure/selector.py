"""Where a receiver of an event hub begins to read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...codec.values import Described
from ...engine.errors import INVALID_FIELD
from ..nodes import Refused, shown

if TYPE_CHECKING:
    from .hub import Event

SELECTOR: Final = "apache.org:selector-filter:string"

_LATEST: Final = "@latest"

_FORM: Final = re.compile(
    # Of the last two names there are old programs.
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time|enqueued-time-utc|enqueuedtimeutc)"
    r"\s*(>=|>)\s*'?(@latest|-?\d{1,19})'?\s*"
)


@dataclass(frozen=True)
class Position:
    """A place in a partition.

    Attributes:
        by: what of an event counts: ``offset``, ``sequence-number`` or ``enqueued-time`` (milliseconds).
        value: events with more than that are meant.
        inclusive: those with just that, too.
        latest: only events that come from now on.
    """

    by: str = "sequence-number"
    value: int = -1
    inclusive: bool = False
    latest: bool = False

    def passes(self, event: Event) -> bool:
        """Whether the event is behind that place."""
        if self.by == "offset":
            found = event.offset
        elif self.by == "sequence-number":
            found = event.sequence
        else:
            found = int(event.enqueued * 1000)
        return found > self.value or (self.inclusive and found == self.value)


def position_of(filters: Mapping[Any, Any] | None) -> Position:
    """The place that the filters of a source say; without any, the beginning. Raises Refused."""
    filter = (filters or {}).get(SELECTOR)
    if filter is None:
        return Position()
    selector = filter.value if isinstance(filter, Described) else filter
    match = _FORM.fullmatch(selector) if isinstance(selector, str) else None
    if match is None:
        raise Refused(INVALID_FIELD, f"the selector {shown(str(selector))} is not understood")
    by, operator, value = match.groups()
    if value == _LATEST:
        return Position(latest=True)
    return Position(by, int(value), operator == ">=")
