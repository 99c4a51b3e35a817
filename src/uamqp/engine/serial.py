"""Serial number arithmetic of 32 bits (RFC 1982), for transfer ids, delivery ids and delivery counts."""

from __future__ import annotations

from typing import Final

MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000


def distance(start: int, stop: int) -> int:
    """How far `stop` lies ahead of `start`; negative where it lies behind."""
    ahead = (stop - start) & MASK
    return ahead if ahead < _HALF else ahead - (MASK + 1)
