"""A message of 1 GiB: refused, received and sent."""

from __future__ import annotations

from .figures import Figures, Large
from .process import figures_of

SIZE = 1 << 30


def measure_large(figures: Figures) -> None:
    """Once each, in processes of their own."""
    for operation in ("refuse", "receive", "send"):
        with figures.measuring(f"{operation} {SIZE:,} bytes"):
            figures.large.append(Large(operation, SIZE, **figures_of("large", operation, SIZE)))
