"""What one side states in its open (spec 2.7.1), and how strict it is before that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .limits import CHANNEL_MAX, MAX_FRAME_SIZE, MIN_MAX_FRAME_SIZE

_UINT: Final = 0xFFFFFFFF
_USHORT: Final = 0xFFFF


class ConnectionSettings:
    """The terms of this side.

    Attributes:
        container_id: the name of this container.
        hostname: the host that the client wants to talk to, or None.
        max_frame_size: bytes of the largest frame that this side takes.
        channel_max: the highest channel number that this side takes.
        idle_timeout: seconds after which a silent peer is given up, or None; stated to the peer.
        properties, offered_capabilities, desired_capabilities: sent in open.
        all_fields: write every field of each performative, nulls at the end too, for peers that read them by position
            without asking how many there are.
    """

    __slots__ = (
        "all_fields",
        "channel_max",
        "container_id",
        "desired_capabilities",
        "hostname",
        "idle_timeout",
        "max_frame_size",
        "offered_capabilities",
        "properties",
    )

    def __init__(
        self,
        container_id: str,
        *,
        hostname: str | None = None,
        max_frame_size: int = MAX_FRAME_SIZE,
        channel_max: int = CHANNEL_MAX,
        idle_timeout: float | None = None,
        properties: Mapping[str, Any] | None = None,
        offered_capabilities: Sequence[str] = (),
        desired_capabilities: Sequence[str] = (),
        all_fields: bool = False,
    ) -> None:
        if not MIN_MAX_FRAME_SIZE <= max_frame_size <= _UINT:
            raise ValueError(f"max_frame_size must be {MIN_MAX_FRAME_SIZE} to {_UINT}, not {max_frame_size}")
        if not 0 <= channel_max <= _USHORT:
            raise ValueError(f"channel_max must be 0 to {_USHORT}, not {channel_max}")
        if idle_timeout is not None and not 0 < idle_timeout <= _UINT / 1000:
            raise ValueError(f"idle_timeout must be more than 0 and at most {_UINT // 1000} seconds, or None")
        self.container_id = container_id
        self.hostname = hostname
        self.max_frame_size = max_frame_size
        self.channel_max = channel_max
        self.idle_timeout = idle_timeout
        self.properties = properties
        self.offered_capabilities = offered_capabilities
        self.desired_capabilities = desired_capabilities
        self.all_fields = all_fields
