"""What the tests of the transport share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.brokers.certificates import issue, make_ca

from ..aio.conftest import broker, serve, unbroken_loop  # noqa: F401


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority (ca.pem) and what it issued: server, elsewhere, expired, alice; and other/ca.pem."""
    folder = tmp_path_factory.mktemp("certificates")
    make_ca(folder)
    issue(folder, "server")
    issue(folder, "elsewhere", hosts=["elsewhere.example"])
    issue(folder, "expired", days=-1)
    issue(folder, "alice", hosts=[])
    make_ca(folder / "other", common_name="another CA")
    return folder
