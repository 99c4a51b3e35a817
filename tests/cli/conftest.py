"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from uamqp.broker import Broker


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running(users={"user": "s3cret"}, max_queue_length=3) as running:
        yield running


@pytest.fixture
def url(broker: Broker) -> str:
    return broker.url.replace("//", "//user:s3cret@") + "/orders"
