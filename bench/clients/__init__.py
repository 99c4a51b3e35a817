"""Who is measured. Each client is a small program, built or installed into the cache and started for each figure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .recipes import Command, go_program, installed_script, node_script, proton_cpp_program, rust_program, script

OPERATIONS = frozenset({"send", "send-one", "receive", "receive-rich"})

AIO = "uamqp aio"
AIO_MESSAGES = "uamqp aio messages"
PAGE = "uamqp page"
SYNC = "uamqp sync"
BLOCKING = "uamqp 1.6 API"
ORIGINAL = "uamqp 1.6.11"
ORIGINAL_ASYNC = "uamqp 1.6.11 async"
PROTON_PYTHON = "python-qpid-proton"
PYAMQP = "azure pyamqp"
RHEA = "rhea"
GO_AMQP = "go-amqp"
FE2O3 = "fe2o3-amqp"
PROTON_CPP = "proton C++"
PROBE = "probe"

TLS_ONLY = frozenset({ORIGINAL, ORIGINAL_ASYNC})
"""Those that are measured over TLS in every case: they speak nothing else."""

COMPILED = " (compiled)"
"""What is added to the name where it is another build that is measured."""


@dataclass(frozen=True)
class Client:
    """One way to do the work.

    Attributes:
        name: its column in the table.
        prepare: builds or installs it, unless that was done, and gives the command; raises BuildError.
        operations: what it can do.
    """

    name: str
    prepare: Callable[[], Command]
    operations: frozenset[str] = OPERATIONS


def clients(python: Path, uamqp_path: Path, compiled_path: Path | None) -> dict[str, Client]:
    """All clients by name.

    Args:
        python: the interpreter for those in Python.
        uamqp_path: the folder with the package uamqp.
        compiled_path: a folder with a compiled build of it, to be measured too.
    """
    faces = {AIO: "uamqp_aio.py", PAGE: "uamqp_1_6_async.py", SYNC: "uamqp_sync.py", BLOCKING: "uamqp_1_6.py"}
    compiled = faces if compiled_path else {}
    messages = partial(script, python, "uamqp_aio_messages.py", uamqp_path)
    original = "uamqp==1.6.11"
    every = [
        *(Client(name, partial(script, python, file, uamqp_path)) for name, file in faces.items()),
        # Of a rich message, the other program asks for all that makes it one.
        Client(AIO_MESSAGES, messages, OPERATIONS - {"receive-rich"}),
        *(Client(name + COMPILED, partial(script, python, file, compiled_path)) for name, file in compiled.items()),
        Client(ORIGINAL, partial(installed_script, python, "uamqp_1_6.py", original)),
        Client(ORIGINAL_ASYNC, partial(installed_script, python, "uamqp_1_6_async.py", original)),
        Client(PROTON_PYTHON, partial(installed_script, python, "proton_python.py", "python-qpid-proton==0.40.0")),
        Client(PYAMQP, partial(installed_script, python, "azure_pyamqp.py", "azure-eventhub==5.15.1")),
        Client(RHEA, partial(node_script, "rhea.js", "rhea@3.0.5")),
        Client(GO_AMQP, go_program),
        Client(FE2O3, rust_program),
        Client(PROTON_CPP, proton_cpp_program),
        Client(PROBE, partial(script, python, "probe.py"), OPERATIONS - {"receive-rich"}),
    ]
    return {client.name: client for client in every}
