"""The commands, as processes: what they print, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import uamqp as package
from uamqp.broker import Broker
from uamqp.cli import app
from uamqp.sync import connect

runner = CliRunner()


def uamqp(*arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "uamqp", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30)


def run(*arguments: str, stdin: str | None = None) -> tuple[int, str, str]:
    """In this process, which is quicker: exit code, standard output, standard error."""
    result = runner.invoke(app, list(arguments), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


def test_version_and_build() -> None:
    assert run("--version") == (0, f"uamqp {package.__version__} ({package.BUILD})\n", "")


def test_send_and_receive(url: str) -> None:
    assert run("send", url, "one", "two") == (0, "", "2 sent and accepted\n")
    code, out, err = run("receive", url, "--count", "2")
    assert (code, out, err) == (0, "one\ntwo\n", "2 received\n")


def test_lines_of_standard_input(url: str) -> None:
    done = uamqp("send", url, stdin="first\nsecond\n")
    assert (done.returncode, done.stderr) == (0, "2 sent and accepted\n")
    assert uamqp("receive", url, "-c", "2").stdout == "first\nsecond\n"


def test_standard_input_that_is_no_text(url: str) -> None:
    result = runner.invoke(app, ["send", url], input=b"\xff\n")
    assert result.exit_code == 1 and result.stderr.startswith("error: UnicodeDecodeError")


def test_files_and_properties(url: str, tmp_path: Path) -> None:
    source = tmp_path / "data.json"
    source.write_bytes(b'{"a": 1}\xff')
    code, _, _ = run("send", url, "--file", str(source), "--subject", "s", "--property", "k=v", "--durable")
    assert code == 0
    code, out, _ = run("receive", url, "-c", "1", "--verbose", "--release")
    shown = json.loads(out)
    assert code == 0
    assert shown["properties"] == {"subject": "s", "content_type": "application/json"}
    assert shown["application_properties"] == {"k": "v"}
    code, _, _ = run("receive", url, "-c", "1", "--directory", str(tmp_path / "out"))
    assert (tmp_path / "out" / "message-000001").read_bytes() == source.read_bytes()


def test_sending_again_and_again(url: str) -> None:
    assert run("send", url, "x", "--count", "3")[0] == 0
    code, out, _ = run("receive", url, "--wait", "0.2")
    assert (code, out) == (0, "x\nx\nx\n")


def test_not_everything_got_through(url: str) -> None:
    code, _, err = run("send", url, "1", "2", "3", "4")
    assert code == 3
    assert err.startswith("message 3: Rejected: amqp:resource-limit-exceeded")
    code, out, _ = run("receive", url, "-c", "5", "--wait", "0.2")
    assert (code, out) == (3, "1\n2\n3\n")


def test_ping(url: str, broker: Broker) -> None:
    code, out, _ = run("ping", url, "--count", "2")
    assert code == 0
    for line in out.splitlines():
        assert [w for w in line.split() if w.isalpha() and w != "ms"] == [
            "tcp", "sasl", "open", "begin", "attach", "total",
        ]  # fmt: skip
    code, out, _ = run("ping", url.removesuffix("/orders"))
    assert code == 0 and "attach" not in out


def test_errors_are_one_line_and_an_exit_code(url: str) -> None:
    for command in ("send", "receive", "ping"):
        extra = ["x"] if command == "send" else []
        code, _, err = run(command, url.replace("s3cret", "wrong"), *extra)
        assert code == 1
        assert err.startswith("error: AuthenticationError") and err.count("\n") == 1
        assert "wrong" not in err
        code, _, err = run(command, "amqp://127.0.0.1:1/x", *extra)
        assert code == 1 and "error: ConnectionLost" in err
        code, _, err = run(command, "http://host/x", *extra)
        assert code == 2 and "http" in err
        # Its path would be that of the WebSocket.
        assert run(command, "ws://127.0.0.1:1/x", *extra)[0] == 2


def test_ping_of_an_address_that_is_refused(url: str) -> None:
    code, _, err = run("ping", url.replace("orders", "$none"))
    assert code == 1 and "amqp:not-found" in err


def test_wrong_usage(url: str) -> None:
    assert run("send", url.removesuffix("/orders"), "x")[0] == 2
    assert run("receive", url.removesuffix("orders"))[0] == 2
    assert run("send", url, "x", "--property", "novalue")[0] == 2
    assert run("broker", "--user", "nopassword")[0] == 2
    assert run("nonsense")[0] == 2


@pytest.mark.parametrize(
    "options",
    [
        ["--hub", "telemetry:2"],
        ["--lock-duration", "5"],
        ["--personality", "aws"],
        ["--personality", "azure", "--hub", "telemetry"],
        ["--personality", "azure", "--hub", "telemetry:0"],
        ["--personality", "azure", "--sas-key", "name"],
    ],
)
def test_wrong_usage_of_the_azure_personality(options: list[str]) -> None:
    assert run("broker", "--port", "0", *options)[0] == 2


@pytest.mark.parametrize(
    "options", [["--queue", "x", "--topic", "x"], ["--personality", "azure", "--session-queue", "s", "--topic", "s/x"]]
)
def test_a_name_that_cannot_be_declared(options: list[str]) -> None:
    code, _, err = run("broker", "--port", "0", *options)
    assert code == 2 and "Error" in err


@pytest.mark.parametrize("lock_duration", [None, "5"])
def test_the_azure_personality(monkeypatch: pytest.MonkeyPatch, lock_duration: str | None) -> None:
    served: list[Any] = []

    async def serve(host: str, port: int, queues: list[str], topics: list[str], **options: Any) -> None:
        served.append((queues, topics, options["personality"]))

    monkeypatch.setattr("uamqp.cli.broker._serve", serve)
    declared = ["--queue", "q", "--session-queue", "s", "--topic", "t/one", "--topic", "t/two", "--topic", "u"]
    options = [*declared, "--hub", "h:2", "--sas-key", "me:s3cret"]
    if lock_duration is not None:
        options += ["--lock-duration", lock_duration, "--max-deliveries", "3"]
    assert run("broker", "--personality", "azure", *options)[0] == 0
    ((queues, topics, azure),) = served
    assert queues == topics == []
    assert (azure.queues, azure.session_queues, azure.topics) == (["q"], ["s"], {"t": ["one", "two"], "u": []})
    assert (azure.hubs, azure.keys) == ({"h": 2}, {"me": "s3cret"})
    assert (azure.lock_duration, azure.max_deliveries) == ((60.0, 10) if lock_duration is None else (5.0, 3))


def test_the_azure_personality_serves() -> None:
    command = [sys.executable, "-m", "uamqp", "broker", "--port", "0", "--personality", "azure", "--session-queue", "s"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert run("send", f"{url}/t", "hello")[0] == 0
        assert run("receive", f"{url}/t/Subscriptions/s", "-c", "1")[1] == "hello\n"
        assert run("receive", f"{url}/s", "-c", "1")[0] == 1
    finally:
        process.terminate()
        assert process.wait(10) == 0
        process.stdout.close()


def test_a_broker_that_anybody_could_reach_is_refused() -> None:
    code, _, err = run("broker", "--host", "0.0.0.0", "--port", "0")
    assert code == 2 and "users" in err


def test_the_broker_serves_until_it_is_told_to_stop() -> None:
    command = [sys.executable, "-m", "uamqp", "broker", "--port", "0", "--websocket-port", "0", "--queue", "q"]
    command += ["--topic", "t"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        websocket_url = process.stdout.readline().strip()
        assert websocket_url.startswith("ws://127.0.0.1:")
        with connect(websocket_url):
            pass
        assert run("send", f"{url}/q", "hello")[0] == 0
        assert run("receive", f"{url}/q", "-c", "1")[1] == "hello\n"
    finally:
        process.terminate()
        rest = process.stdout.read()
        process.stdout.close()
    assert process.wait(10) == 0
    assert rest == "stopped\n"


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; from uamqp.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "pip install 'uamqp[cli]'" in done.stderr
