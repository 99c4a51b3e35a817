"""The package as a whole: what importing it costs, what it exports, and which layer may know which."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import uamqp

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "uamqp"

#: What each part may import beside itself, as CONTRIBUTING.md has it.
LAYERS = {
    "exceptions": set[str](),
    "codec": {"exceptions"},
    "engine": {"codec", "exceptions"},
    "transport": {"engine", "exceptions"},
    "aio": {"transport", "engine", "codec", "exceptions"},
    "sync": {"aio", "transport", "engine", "codec", "exceptions"},
    "broker": {"transport", "engine", "codec", "exceptions"},
    # For tests of programs, and of this library; nothing else knows of it.
    "testing": {"aio", "broker", "transport", "engine", "codec", "exceptions"},
}
#: The API of uamqp 1.6, and what only it uses; nothing else knows of it.
LEGACY = {
    "_blocking",
    "_blocking_link",
    "_legacy",
    "_message_body",
    "_message_fields",
    "_platform",
    "_signatures",
    "address",
    "async_ops",
    "authentication",
    "c_uamqp",
    "client",
    "compat",
    "connection",
    "constants",
    "errors",
    "message",
    "mgmt_operation",
    "receiver",
    "sender",
    "session",
    "types",
    "utils",
}


def imports_of(path: Path) -> set[str]:
    """The parts of the package that a module imports, "" for the package itself."""
    parts = ("uamqp", *path.relative_to(SOURCE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else ()
            name = ".".join((*base, *([node.module] if node.module else [])))
            names = [f"{name}.{alias.name}" for alias in node.names] if name == "uamqp" else [name]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {[*n.split("."), ""][1] for n in names if n.split(".")[0] == "uamqp"}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


MODULES = sorted(SOURCE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_layers_know_only_what_lies_below(path: Path) -> None:
    part = part_of(path)
    known = imports_of(path) - {"__version__", ""}
    if part in LAYERS:
        assert known <= LAYERS[part] | {part}
    elif part in LEGACY:
        assert known <= {*LAYERS, *LEGACY} - {"broker", "testing"}
    else:
        assert part in ("__init__", "__main__", "cli")
        assert not known & {*LEGACY, "testing"}


def test_every_module_has_its_place() -> None:
    assert {part_of(path) for path in MODULES} == {
        *LAYERS,
        *LEGACY,
        "cli",
        "__init__",
        "__main__",
    }


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import uamqp; print('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = set(done.stdout.split())
    assert "uamqp" in added
    assert not added & {"asyncio", "ssl", "socket", "uamqp.aio", "uamqp.engine", "uamqp.codec"}


def test_all_names_resolve() -> None:
    for name in uamqp.__all__:
        assert getattr(uamqp, name) is not None
    assert set(uamqp.__all__) <= set(dir(uamqp))
    with pytest.raises(AttributeError, match="no_such_name"):
        uamqp.no_such_name  # noqa: B018


def test_the_version_is_the_one_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert uamqp.__version__ == project["version"]
    assert project["dependencies"] == []


def test_the_build_is_told() -> None:
    engine = importlib.import_module("uamqp.engine.connection")
    compiled = type(engine.ConnectionEndpoint.receive_data).__name__ != "function"
    assert ("compiled" if compiled else "pure") == uamqp.BUILD
