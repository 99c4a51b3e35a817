"""Brokers, servers and programs of other projects."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tools.brokers.certificates import issue, make_ca

from .node import SCRIPTS, environment, node_modules
from .processes import Talker, broker_process, run, talking

USER, PASSWORD = "alice", "s3cret"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, server.pem and server.key."""
    folder = tmp_path_factory.mktemp("certificates")
    make_ca(folder)
    issue(folder, "server")
    return folder


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """The embedded broker, in a process of its own."""
    with broker_process("--queue", "declared", "--topic", "news") as url:
        yield url


@pytest.fixture(scope="session")
def secure_url(certificates: Path) -> Iterator[str]:
    """The same with TLS, and with a user."""
    with broker_process(
        "--tls-cert",
        certificates / "server.pem",
        "--tls-key",
        certificates / "server.key",
        "--user",
        f"{USER}:{PASSWORD}",
        "--host",
        "localhost",
    ) as url:
        yield url


@pytest.fixture(scope="session")
def modules() -> Path:
    """Where rhea is."""
    return node_modules()


@pytest.fixture(scope="session")
def rhea(modules: Path) -> Callable[..., list[dict[str, Any]]]:
    """Runs a scenario of tests/interop/rhea/client.js."""

    def scenario(name: str, *arguments: object) -> list[dict[str, Any]]:
        return run(["node", SCRIPTS / "client.js", name, *arguments], environment(modules))

    return scenario


@pytest.fixture(scope="session", params=["proton", "rhea"])
def server(request: pytest.FixtureRequest) -> Iterator[Talker]:
    """A server of another project."""
    if request.param == "proton":
        command: list[object] = [sys.executable, Path(__file__).parent / "proton" / "server.py"]
        variables = None
    else:
        command, variables = ["node", SCRIPTS / "server.js"], environment(request.getfixturevalue("modules"))
    with talking(command, variables) as talker:
        yield talker
