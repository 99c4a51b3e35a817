"""Moments: on the wire, by the clock on the wall, and by the one that only goes forward."""

from __future__ import annotations

import time

from ...codec.values import Timestamp


def timestamp(when: float) -> Timestamp:
    """A moment of `time.time` as it is on the wire."""
    return Timestamp(int(when * 1000))


def wall_clock(when: float) -> float:
    """A moment of `time.monotonic` as one of `time.time`."""
    return time.time() + when - time.monotonic()
