"""What an address of Service Bus or Event Hubs means."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_FORM: Final = re.compile(
    r"(?P<name>[^$].*?)"
    r"(?:/consumergroups/(?P<group>[^/]+))?"
    r"(?:/partitions/(?P<partition>[^/]+))?"
    r"(?:/subscriptions/(?P<subscription>[^/]+))?"
    r"(?P<transfer>/\$transfer)?"
    r"(?P<dead_letters>/\$deadletterqueue)?"
    r"(?P<management>/\$management)?",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Address:
    """An address, taken apart.

    Attributes:
        name: of the queue, topic or hub.
        subscription, group, partition: what of it, or None.
        dead_letters: its dead-letter queue, as in the address, or "".
        management: whether its management node is meant.
    """

    name: str
    subscription: str | None
    group: str | None
    partition: str | None
    dead_letters: str
    management: bool


def parse(address: str) -> Address | None:
    """The parts of the address, None where there is no name."""
    match = _FORM.fullmatch(address)
    if match is None:
        return None
    return Address(
        match["name"],
        match["subscription"],
        match["group"],
        match["partition"],
        (match["transfer"] or "") + (match["dead_letters"] or ""),
        match["management"] is not None,
    )
