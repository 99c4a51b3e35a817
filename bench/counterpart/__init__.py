"""The peer that every client is measured against: one C program that is never the limit."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.brokers.debian import apt_install

from ..building import build_command, built
from ..running import pinned

SOURCE = Path(__file__).with_name("counterpart.c")
OPENSSL_HEADER = Path("/usr/include/openssl/ssl.h")
COMPILER = ("cc", "-O2", "-std=gnu11", "-Wall", "-Wextra")


def program() -> Path:
    """The compiled counterpart."""
    return built("counterpart", _compile, [SOURCE], " ".join(COMPILER)) / "counterpart"


def _compile(folder: Path) -> None:
    if not OPENSSL_HEADER.exists():
        apt_install(["libssl-dev"], folder / "apt.log")
    build_command(folder, [*COMPILER, "-o", folder / "counterpart", SOURCE, "-lssl", "-lcrypto"])


@contextmanager
def running(core: int | None, tls: tuple[Path, Path] | None = None) -> Iterator[int]:
    """The port of a counterpart that runs as long as the block, on one core if that is given."""
    command = pinned(core, [str(program()), *(["--tls", *map(str, tls)] if tls else [])])
    # Its standard input is its lifeline: it ends with this process, however that ends.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.kill()
