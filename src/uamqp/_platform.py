"""What uamqp 1.6 had of the platform under its extension module; here there is none."""

from __future__ import annotations

import platform
from typing import ClassVar


class _Platform:
    """Nothing needs to be prepared; the calls are there for programs that make them.

    Attributes:
        initialized: whether `initialize` was called.
    """

    initialized: ClassVar[bool] = False

    @classmethod
    def initialize(cls) -> None:
        """Note that it was called."""
        cls.initialized = True

    @classmethod
    def deinitialize(cls) -> None:
        """Note that it was called."""
        cls.initialized = False


def get_platform_info() -> str:
    """The Python and the machine that this runs on, such as ``"CPython 3.12.3; Linux x86_64"``."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}; {platform.system()} {platform.machine()}"
