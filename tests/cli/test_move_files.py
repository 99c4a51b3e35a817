"""The example: all files arrive, through a broker in a process of its own, and through one that is there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uamqp.aio import Message, Properties
from uamqp.broker import Broker
from uamqp.sync import connect

SCRIPT = Path(__file__).parents[2] / "examples" / "move_files.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "inner").mkdir(parents=True)
    (folder / "empty").touch()
    (folder / "inner" / "ünïcode name").write_text("text")
    (folder / "large").write_bytes(os.urandom(3_000_000))
    for n in range(50):
        (folder / f"file-{n}").write_bytes(os.urandom(100))
    (folder / ".git").mkdir()
    (folder / ".git" / "skipped").touch()
    (folder / "link").symlink_to("large")
    return folder


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_with_a_broker_of_its_own(folder: Path) -> None:
    done = demo(str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("53 files, 3.0 MB, ")
    assert done.stdout.rstrip().endswith("all verified")


def test_with_a_broker_that_is_there(folder: Path) -> None:
    with Broker.running(users={"user": "s3cr3t"}) as broker:
        url = broker.url.replace("//", "//user:s3cr3t@")
        done = demo(str(folder), "--url", url)
        assert done.returncode == 0, done.stderr
        assert "all verified" in done.stdout
        assert "s3cr3t" not in done.stdout + done.stderr
        assert broker.call(lambda: broker.queue("files").length) == 0


def test_where_nobody_listens(folder: Path) -> None:
    done = demo(str(folder), "--url", "amqp://127.0.0.1:1")
    assert done.returncode == 1
    assert "ConnectionLost" in done.stderr
    assert "Traceback" not in done.stderr


FACTS = {"name": "f", "size": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([("t", "f", FACTS), ("t", "last", {"files": 1, "bytes": 1})], "1 BROKEN, 0 of 1 verified"),
        ([("other", "f", FACTS)], "the queue holds other messages"),
    ],
    ids=["changed on the way", "of another transfer"],
)
def test_messages_that_are_not_right(messages: list[tuple[str, str, dict[str, object]]], said: str) -> None:
    with Broker.running() as broker:
        with connect(broker.url) as connection, connection.sender("files") as sender:
            for group, subject, facts in messages:
                properties = Properties(subject=subject, group_id=group)
                sender.send(Message(b"x", properties=properties, application_properties=facts))
        command = [sys.executable, str(SCRIPT), "receive", broker.url + "/files", "t", "1"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert said in done.stdout + done.stderr
