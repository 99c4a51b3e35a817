"""Where rhea comes from, and what happens where it cannot be had."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from . import node


def test_the_cache_is_outside_the_tree(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("UAMQP_CACHE", str(tmp_path / "given"))
    assert node.cache() == tmp_path / "given"
    monkeypatch.delenv("UAMQP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert node.cache() == tmp_path / "uamqp"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert node.cache() == tmp_path / ".cache" / "uamqp"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with an empty cache and an npm that does as its script says."""
    monkeypatch.setenv("UAMQP_CACHE", str(tmp_path / "cache"))
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    return programs


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_without_node_the_tests_are_skipped_loudly(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.setenv("PATH", str(bare))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NOT tested: node is not installed"):
        node.node_modules()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="NOT tested: node is not installed"):
        node.node_modules()


def test_a_failed_installation_leaves_nothing(monkeypatch: pytest.MonkeyPatch, bare: Path) -> None:
    monkeypatch.delenv("CI", raising=False)
    program(bare, "node", "")
    program(bare, "npm", "echo no such host >&2; exit 1")
    with pytest.raises(pytest.skip.Exception, match="no such host"):
        node.node_modules()
    assert [path.name for path in node.cache().iterdir()] == ["rhea.lock"]


def test_an_installation_happens_once(bare: Path) -> None:
    program(bare, "node", "")
    # npm install --no-audit --no-fund --prefix FOLDER rhea@3
    program(bare, "npm", 'mkdir -p "$5/node_modules/rhea" && echo once >> "$5/log"')
    modules = node.node_modules()
    assert (modules / "rhea").is_dir()
    assert node.node_modules() == modules
    assert (modules.parent / "log").read_text() == "once\n"
    assert sorted(path.name for path in node.cache().iterdir()) == ["rhea-3", "rhea.lock"]
