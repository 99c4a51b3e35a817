"""One suite, several brokers: each test runs once against each peer that was chosen (see peers.py)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .peers import FACTORIES, Peer, chosen


@pytest.fixture(scope="session", params=chosen())
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peer]:
    """The broker to test against."""
    factory: Any = FACTORIES[request.param]
    with factory(tmp_path_factory.mktemp(request.param)) as running:
        yield running
