"""The management node of Event Hubs: ``$management``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...codec.message import Message
from ...codec.values import Array, Int
from ..nodes import Refused
from ..peer import Service
from ..services import MANAGEMENT, answer
from .hub import Hub, Partition
from .moments import timestamp

if TYPE_CHECKING:
    from ..peer import Peer
    from .personality import AzurePersonality

_HUB: Final = "com.microsoft:eventhub"
_PARTITION: Final = "com.microsoft:partition"


class HubManagement(Service):
    """Tells what hubs and partitions there are (operation READ)."""

    def __init__(self, personality: AzurePersonality) -> None:
        super().__init__(MANAGEMENT)
        self._personality = personality

    def handle(self, peer: Peer, message: Message) -> None:
        request = {key: str(value) for key, value in message.application_properties.items()}
        try:
            status, description, told = self._answer(request)
        except Refused as refused:
            status, description, told = 404, refused.description, None
        self.reply(peer, message, answer(told, status, description))

    def _answer(self, request: dict[str, str]) -> tuple[int, str, dict[str, Any] | None]:
        operation, kind, name = (request.get(key, "") for key in ("operation", "type", "name"))
        if operation != "READ" or kind not in (_HUB, _PARTITION):
            return 501, f"the operation {operation!r} of {kind!r} is not implemented", None
        hub = self._personality.hub(name)
        if kind == _HUB:
            return 200, "OK", _tell_hub(hub)
        return 200, "OK", _tell_partition(self._personality.partition(hub, request.get("partition", "")))


def _tell_hub(hub: Hub) -> dict[str, Any]:
    return {
        "name": hub.name,
        "type": _HUB,
        "created_at": timestamp(hub.created),
        "partition_count": Int(len(hub.partitions)),
        "partition_ids": Array(hub.partitions, "string"),
    }


def _tell_partition(partition: Partition) -> dict[str, Any]:
    last = partition.last
    return {
        "name": partition.hub,
        "type": _PARTITION,
        "partition": partition.id,
        "begin_sequence_number": partition.events[0].sequence if partition.events else partition.next_sequence,
        "last_enqueued_sequence_number": -1 if last is None else last.sequence,
        "last_enqueued_offset": "-1" if last is None else str(last.offset),
        "last_enqueued_time_utc": timestamp(0 if last is None else last.enqueued),
        "is_partition_empty": not partition.events,
    }
