"""Microsoft's own SDKs against the azure personality of the broker; needs azure-servicebus and azure-eventhub.

Each test runs once per transport of the SDKs: ``pyamqp``, which they have in them, over plain TCP; and ``uamqp``, which
is this library, over TLS. ``UAMQP_AZURE_TRANSPORTS`` chooses, say ``UAMQP_AZURE_TRANSPORTS=pyamqp``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import pytest

try:
    _INSTALLED = find_spec("azure.servicebus") is not None and find_spec("azure.eventhub") is not None
except ModuleNotFoundError:
    _INSTALLED = False

collect_ignore_glob = [] if _INSTALLED else ["*.py"]

if _INSTALLED:
    from .namespace import KEY, Namespace, running

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """The SDKs advise against this library, which is not to end the tests of it."""
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.filterwarnings("ignore:uAMQP legacy support:DeprecationWarning"))

    TRANSPORTS = os.environ.get("UAMQP_AZURE_TRANSPORTS", "pyamqp,uamqp").split(",")

    @pytest.fixture(scope="session", params=TRANSPORTS)
    def transport(request: pytest.FixtureRequest) -> str:
        """Which AMQP stack the SDKs use."""
        return str(request.param)

    @pytest.fixture(scope="session")
    def namespace(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
        """A running broker, and how the SDKs reach it."""
        with running(transport, _folder(tmp_path_factory)) as namespace:
            yield namespace

    @pytest.fixture(scope="session")
    def hasty(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
        """One in which locks last a moment only."""
        with running(transport, _folder(tmp_path_factory), lock_duration=3.0) as namespace:
            yield namespace

    @pytest.fixture(scope="session")
    def guarded(transport: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
        """One that wants tokens of the right key."""
        with running(transport, _folder(tmp_path_factory), keys={"anybody": KEY}) as namespace:
            yield namespace

    @pytest.fixture
    def name() -> str:
        """The name of an entity or hub that nobody used before."""
        return f"e-{uuid4().hex[:12]}"


def _folder(factory: pytest.TempPathFactory) -> Path:
    return factory.mktemp("certificates")
