"""Fixtures of the broker's own tests, for the azure personality."""

from __future__ import annotations

from ..conftest import broker, raws, start, unbroken_loop

__all__ = ["broker", "raws", "start", "unbroken_loop"]
