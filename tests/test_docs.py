"""The documents tell the truth: what they name exists, what they link to is there, and their examples run."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from tools.brokers.certificates import issue, make_ca

from uamqp.broker import Broker

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

REFERENCE = re.compile(r"\b((?:src|tests)/[\w/]+\.py)(?:::(\w+))?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
EXAMPLE = re.compile(r"<!-- run: (\w+) -->\n```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


# -- references -------------------------------------------------------------------------------------------------


@cache
def names_in(path: str) -> frozenset[str]:
    """Functions, methods, classes and constants that the file defines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return frozenset(found)


def references(document: Path) -> Iterator[tuple[str, str]]:
    yield from REFERENCE.findall(document.read_text())


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_documents_name_exists(document: Path) -> None:
    missing = []
    for path, name in references(document):
        if not (ROOT / path).is_file():
            missing.append(path)
        elif name and name not in names_in(path):
            missing.append(f"{path}::{name}")
    assert not missing


def test_each_rule_of_the_specification_names_code_or_says_why_not() -> None:
    """A row that names no code is one that is left out, or points to other rows."""
    rows = [line for line in (ROOT / "docs" / "spec.md").read_text().splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 150
    for row in rows:
        section, rule, where, _, tests = (cell.strip() for cell in row.strip("|").split("|"))
        assert section and (rule or "test_" in tests), row
        assert where or "Not in this release" in rule or rule.startswith("see "), row
        assert "tests/" in tests or re.search(r"\*\*|^see ", rule) or section.startswith("4."), row


def test_references_of_the_specification_are_to_tests() -> None:
    for path, name in references(ROOT / "docs" / "spec.md"):
        if path.startswith("tests/") and name:
            assert name.startswith("test_")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    missing = []
    for target in LINK.findall(FENCE.sub("", document.read_text())):
        path = target.partition("#")[0]
        if path and "://" not in path and not (document.parent / path).exists():
            missing.append(target)
    assert not missing


# -- packages ---------------------------------------------------------------------------------------------------------

#: The files that an extra brings to life; what uses them says so where it is missing.
EXTRAS = {"websocket.py": "websockets", "proxy.py": "python_socks"}


def test_nothing_needs_a_package_that_is_not_in_the_standard_library() -> None:
    for path in (ROOT / "src" / "uamqp").rglob("*.py"):
        if path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                known = top == "uamqp" or top in sys.stdlib_module_names or top == EXTRAS.get(path.name)
                assert known, f"{path}: {name}"


# -- examples ---------------------------------------------------------------------------------------------------

#: Pages of which each example runs. Of the others, those that are marked.
EXAMPLED = ("migrating.md", "recovery.md", "testing.md")
WITH_EXAMPLES = README + "".join((ROOT / "docs" / name).read_text() for name in EXAMPLED)
MARKED = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md") if path.name not in EXAMPLED)
EXAMPLES = dict(EXAMPLE.findall(WITH_EXAMPLES + MARKED))

#: What each example prints, in part.
PRINTED = {
    "modern": ["hello", "order"],
    "sync": ["hello"],
    "page": ["SendComplete", "Hello Async World"],
    "broker": [],
    "legacy_send": ["SendComplete"],
    "modern_send": ["sent"],
    "legacy_receive": ["hello greeting"],
    "modern_receive": ["hello greeting"],
    "recovery": ["hello"],
    "sigterm": ["first", "closed in order"],
    "testing_broker": ["hello"],
    "testing_clock": ["after 3 attempts", "60 s"],
    "testing_scripted": ["in doubt"],
    "tokens": [],
}
#: What the broker of an example is, where that matters.
BROKERS = {"tokens": {"personality": "azure"}}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    issue(make_ca(folder).parent, "server")
    return folder


def test_every_example_is_known() -> None:
    assert EXAMPLES.keys() == PRINTED.keys()
    assert WITH_EXAMPLES.count("```python") == len(EXAMPLE.findall(WITH_EXAMPLES))


@pytest.mark.parametrize("name", PRINTED)
def test_examples_run(name: str, authority: Path) -> None:
    options = BROKERS.get(name, {"users": {"user": "password"}})
    with Broker.running(tls_cert=authority / "server.pem", tls_key=authority / "server.key", **options) as broker:
        hosts = r"(?<=[/@])(broker\.example\.com|name\.servicebus\.windows\.net)"
        code = re.sub(hosts, f"localhost:{broker.port}", EXAMPLES[name])
        code = code.replace('"broker.example.com"', '"localhost"')
        assert "example.com" not in code
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "SSL_CERT_FILE": str(authority / "ca.pem")},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stderr) == (0, "")
    for text in PRINTED[name]:
        assert text in done.stdout
