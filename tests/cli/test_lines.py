"""Lines of standard input: whole whatever the pieces in which they come, and no hindrance to an interrupted program."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from uamqp.cli.lines import lines

PIECES = [
    ([b"one\ntwo\n"], ["one", "two"]),
    ([b"one\r\ntwo"], ["one", "two"]),
    ([b"on", b"e\nt", b"wo", b"\n", b"\n", b"three"], ["one", "two", "", "three"]),
    ([b"\xc3", b"\xa4\n\xe2\x82", b"\xac"], ["ä", "€"]),
    ([], []),
    ([b"\n"], [""]),
]


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Standard input; the end to write to."""
    reading, writing = os.pipe()
    with open(reading, encoding="utf-8") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield writing


@pytest.mark.parametrize(("pieces", "expected"), PIECES)
async def test_pieces_become_lines(pipe: int, pieces: list[bytes], expected: list[str]) -> None:
    found = []

    async def read() -> None:
        async for line in lines():
            found.append(line)

    reading = asyncio.create_task(read())
    for number, piece in enumerate(pieces):
        os.write(pipe, piece)
        while len(found) < b"".join(pieces[: number + 1]).count(b"\n"):
            await asyncio.sleep(0)
    os.close(pipe)
    await reading
    assert found == expected


async def test_a_standard_input_that_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo"), encoding="utf-8"))
    assert [line async for line in lines()] == ["one", "two"]


async def test_what_is_no_text_in_the_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n\xff"), encoding="utf-8"))
    found: list[str] = []
    with pytest.raises(UnicodeDecodeError):
        async for line in lines():
            found.append(line)


async def test_a_standard_input_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with (tmp_path / "written").open("w") as file:
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(OSError, match="Bad file descriptor"):
            async for _ in lines():
                raise AssertionError


async def test_who_stops_reading_leaves_nothing_that_fails(pipe: int, caplog: pytest.LogCaptureFixture) -> None:
    os.write(pipe, b"one\ntwo\n")
    read = lines()
    assert await anext(read) == "one"
    await read.aclose()  # type: ignore[attr-defined]
    os.close(pipe)
    assert not caplog.records


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_an_interrupted_program_ends_without_another_line(url: str) -> None:
    command = [sys.executable, "-m", "uamqp", "send", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        # It is up once the message is there.
        receive = [sys.executable, "-m", "uamqp", "receive", url, "--count", "1"]
        subprocess.run(receive, check=True, capture_output=True, timeout=30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) != 0
        assert b"Fatal Python error" not in process.stderr.read()
