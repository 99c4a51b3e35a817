"""RabbitMQ out of Debian: into a small root folder by debootstrap, or onto a machine whose Debian has RabbitMQ 4."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from .cache import say
from .commands import answer, run
from .errors import BrokerError

SUITE = "trixie"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Where Debian's package puts the server, seen from its root."""


def has_rabbitmq_4() -> bool:
    """Whether this machine's own apt has RabbitMQ 4 or newer, installed or to install."""
    policy = answer(["apt-cache", "policy", "rabbitmq-server"]) or ""
    candidates = [line.split()[-1] for line in policy.splitlines() if line.strip().startswith("Candidate:")]
    return any(version.split(".")[0].isdigit() and int(version.split(".")[0]) >= 4 for version in candidates)


def install_on_machine(folder: Path) -> None:
    """apt-get install rabbitmq-server, without letting it start its service; `folder` gets the log."""
    if not SERVER.exists():
        with _no_services(Path("/")):
            apt_install(["rabbitmq-server"], folder / "apt.log")


def bootstrap(folder: Path) -> None:
    """Make a minimal Debian trixie with rabbitmq-server in `folder`/root.

    debootstrap verifies the archive's signature against Debian's own keyring, and each package against it.
    """
    log = folder / "install.log"
    missing = [] if shutil.which("debootstrap") else ["debootstrap"]
    missing += [] if KEYRING.exists() else ["debian-archive-keyring"]
    if missing:
        apt_install(missing, log)
    root = folder / "root"
    command = ["debootstrap", "--variant=minbase", "--include=rabbitmq-server", f"--keyring={KEYRING}", SUITE]
    run([*_own_mounts(), *command, str(root), *_mirror()], log=log, timeout=1200, env=_environment())
    if not (root / SERVER.relative_to("/")).exists():
        raise BrokerError(f"debootstrap ended well but there is no {SERVER} in {root}")
    _forbid_services(root)
    shutil.rmtree(root / "var/cache/apt", ignore_errors=True)
    shutil.rmtree(root / "var/lib/apt/lists", ignore_errors=True)


def apt_install(packages: list[str], log: Path) -> None:
    """Install packages on this machine by apt-get, or say which ones a person has to install."""
    names = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BrokerError(f"missing here, and only root can install it with apt-get: {names}")
    say(f"apt-get install {names}")
    run(["apt-get", "update", "-q"], log=log, timeout=300, env=_environment())
    install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
    run(install, log=log, timeout=900, env=_environment())


def _environment() -> dict[str, str]:
    """The environment for apt and debootstrap, with the proxy that apt is configured to use, if any."""
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    env["PATH"] = f"{env.get('PATH', '')}:/usr/sbin:/sbin"
    proxy = answer(["apt-config", "dump", "--format", "%v%n", "Acquire::http::Proxy"]) or ""
    if proxy.strip():
        env.setdefault("http_proxy", proxy.strip())
    return env


def _mirror() -> list[str]:
    """The Debian mirror that this machine's apt uses; where there is none, debootstrap knows one itself."""
    targets = answer(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]) or ""
    fields = [line.split() for line in targets.splitlines()]
    addresses = [words[-1] for words in fields if words[:1] == ["Debian"]] + [words[-1] for words in fields if words]
    archives = [address for address in addresses if urlsplit(address).path.rstrip("/").endswith("/debian")]
    return archives[:1]


def _own_mounts() -> list[str]:
    """A prefix which gives debootstrap mounts of its own, so that none can be left however it ends."""
    prefix = ["unshare", "--mount", "--"]
    return prefix if answer([*prefix, "true"]) is not None else []


@contextlib.contextmanager
def _no_services(root: Path) -> Iterator[None]:
    """Keep packages from starting services while they are installed."""
    rule = root / "usr/sbin/policy-rc.d"
    ours = not rule.exists()
    if ours:
        _forbid_services(root)
    try:
        yield
    finally:
        if ours:
            rule.unlink()


def _forbid_services(root: Path) -> None:
    rule = root / "usr/sbin/policy-rc.d"
    rule.write_text("#!/bin/sh\nexit 101\n")
    rule.chmod(0o755)
