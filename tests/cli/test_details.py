"""The corners of the commands: odd messages, odd peers, interrupts, and terminals."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import uamqp as uamqp_package
from uamqp import aio
from uamqp.__main__ import main
from uamqp.aio import Data, Described, Message, Symbol, Value
from uamqp.broker import Broker
from uamqp.cli.broker import _serve
from uamqp.cli.receive import _plain
from uamqp.codec.definitions import Error
from uamqp.sync import connect

from ..aio.peers import BOUND, Peer, eventually, threaded_server
from .test_commands import run, uamqp


def send(url: str, *messages: Any) -> None:
    base, _, address = url.rpartition("/")
    with connect(base) as connection, connection.sender(address) as sender:
        sender.send_many(messages)


def test_bodies_of_any_kind_are_shown(url: str) -> None:
    key = UUID(int=7)
    send(url, Data([b"\xff", b"a"]), Value({"a": [1, None]}), Message("x", annotations={"n": 1}))
    code, out, _ = run("receive", url, "-c", "3", "--release")
    assert (code, out) == (0, "\\xffa\n{'a': [1, None]}\nx\n")
    code, out, _ = run("receive", url, "-c", "3", "-v")
    shown = [json.loads(line) for line in out.splitlines()]
    assert [line["body"] for line in shown] == ["\\xffa", {"a": [1, None]}, "x"]
    assert shown[2]["annotations"] == {"n": 1}
    value = {key: (b"b", 1.5), Symbol("s"): Described(Symbol("d"), 1), None: True}
    assert json.loads(json.dumps(_plain(value))) == {
        str(key): ["b", 1.5],
        "s": str(Described(Symbol("d"), 1)),
        "None": True,
    }


class Damaged(Peer):
    """Sends one good message, one damaged one and one good one."""

    def on_credit(self, sender: Any) -> None:
        if not self.settled and not sender.queue and sender.context is None:
            sender.context = self
            for payload in (b"\x00\x53\x75\xa0\x01a", b"\x00\x53\x75\xa0\xffa", b"\x00\x53\x75\xa0\x01b"):
                sender.send(payload)


@pytest.mark.parametrize("release", [False, True])
def test_a_damaged_message_does_not_stop_the_others(release: bool) -> None:
    with threaded_server(Damaged) as server:
        options = ["--release"] if release else []
        code, out, err = run("receive", server.url + "/q", "-c", "3", *options)
        assert (code, out) == (3, "a\nb\n")
        assert err.startswith("message 2: amqp:decode-error: ")
        states = [type(delivery.state).__name__ for delivery in server.peer.settled]
        assert states == (["Released"] * 3 if release else ["Accepted", "Rejected", "Accepted"])


def test_nothing_to_send(url: str) -> None:
    done = uamqp("send", url, stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "0 sent and accepted\n")


def test_standard_input_cannot_be_sent_twice(url: str) -> None:
    code, _, err = run("send", url, "--count", "2")
    assert code == 2
    assert "standard input" in err


def test_a_file_that_is_not_there(url: str, tmp_path: Path) -> None:
    code, _, err = run("send", url, "--file", str(tmp_path / "nothing"))
    assert code == 2
    # The message stands in a box, which breaks its lines where they happen to be long.
    assert "does not exist" in " ".join(err.replace("│", " ").split())


def test_a_file_of_no_known_type(url: str, tmp_path: Path) -> None:
    path = tmp_path / "file.unheard-of"
    path.write_bytes(b"\x00")
    assert run("send", url, "-f", str(path))[0] == 0
    code, out, _ = run("receive", url, "-c", "1", "-v")
    assert (code, json.loads(out)["properties"]) == (0, {"content_type": "application/octet-stream"})


def test_bodies_that_are_no_bytes_go_to_files_as_text(url: str, tmp_path: Path) -> None:
    send(url, 7)
    code, out, _ = run("receive", url, "-c", "1", "--directory", str(tmp_path))
    assert (code, out) == (0, "")
    assert (tmp_path / "message-000001").read_bytes() == b"7"


def test_a_directory_that_cannot_be_made(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = run("receive", url, "-c", "1", "--directory", str(tmp_path / "file" / "folder"))
    assert code == 1
    assert err.startswith("error: NotADirectoryError")


def test_what_is_no_terminal_gets_long_lines() -> None:
    code, _, err = run("ping", "amqps://localhost", "--ca-file", "/nowhere" * 30)
    assert code == 2
    assert err.count("\n") == 1
    assert len(err) > 200
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("make", "code", "problem"),
    [
        (lambda: Peer("on_open"), 1, "OperationTimeout"),
        (lambda: Peer("on_begin"), 1, "OperationTimeout"),
        (lambda: Peer("on_attach"), 1, "OperationTimeout"),
    ],
)
def test_ping_where_the_peer_is_mute(make: Any, code: int, problem: str) -> None:
    with threaded_server(make) as server:
        result = run("ping", server.url + "/q", "--timeout", "0.05")
        assert (result[0], result[2].partition(":")[2].split(":")[0].strip()) == (code, problem)


def test_ping_where_the_session_is_refused() -> None:
    class Refusing(Peer):
        def on_begin(self, session: Any) -> None:
            session.begin()
            session.end(Error(Symbol("amqp:not-allowed"), "no sessions"))

    with threaded_server(Refusing) as server:
        code, _, err = run("ping", server.url)
        assert (code, err) == (1, "error: SessionEnded: amqp:not-allowed: no sessions\n")


def test_ping_where_the_peer_leaves() -> None:
    class Leaving(Peer):
        def on_begin(self, session: Any) -> None:
            self.cut()

    with threaded_server(Leaving) as server:
        code, _, err = run("ping", server.url)
        assert code == 1
        assert err.startswith("error: Connection")


def test_ping_with_tls(tmp_path: Path) -> None:
    from tools.brokers.certificates import issue, make_ca

    ca = make_ca(tmp_path)
    certificate, key = issue(tmp_path, "server")
    with Broker.running(tls_cert=certificate, tls_key=key) as broker:
        code, out, _ = run("ping", broker.url + "/q", "--ca-file", str(ca))
        assert code == 0
        assert "tls" in out
        code, _, err = run("ping", broker.url)
        assert code == 1
        assert "CERTIFICATE_VERIFY_FAILED" in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_broker_ends_when_it_is_told_to(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "uamqp", "broker", "--port", "0", "--user", "a:b"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("amqp://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stdout.read() == "stopped\n"


def test_a_port_that_is_taken(broker: Broker) -> None:
    code, _, err = run("broker", "--port", str(broker.port))
    assert code == 1
    assert err.startswith("error: OSError")


def test_an_interrupted_receive(url: str) -> None:
    send(url, "x")
    command = [sys.executable, "-m", "uamqp", "receive", url, "--follow"]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What runs the tests in the background may ignore the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "x\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_a_terminal_gets_a_progress_bar(url: str) -> None:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "uamqp", "send", url, "x"], stderr=follower, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(follower)
        shown = b""
        try:
            while data := os.read(leader, 4096):
                shown += data
        except OSError:
            # The end of a pseudo-terminal, on Linux.
            pass
        os.close(leader)
        assert process.wait(10) == 0
    assert b"sending" in shown
    assert b"1 sent and accepted" in shown


def test_the_password_may_come_from_the_environment(broker: Broker) -> None:
    environment = {**os.environ, "UAMQP_PASSWORD": "s3cret"}
    command = [sys.executable, "-m", "uamqp", "send", broker.url + "/q", "x", "--user", "user"]
    assert subprocess.run(command, env=environment, capture_output=True, timeout=30).returncode == 0


def test_the_entry_point(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["uamqp", "--help"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert "AMQP 1.0 from the command line" in capsys.readouterr().out


@pytest.mark.parametrize(("missing", "said"), [("typer", "pip install 'uamqp[cli]'"), ("json", None)])
def test_the_entry_point_where_a_module_is_missing(
    monkeypatch: pytest.MonkeyPatch, missing: str, said: str | None
) -> None:
    for name in [name for name in sys.modules if name.startswith("uamqp.cli")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(uamqp_package, "cli", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(SystemExit if said else ImportError) as caught:
        main()
    if said:
        assert said in str(caught.value)


async def test_the_broker_in_this_process(capsys: pytest.CaptureFixture[str]) -> None:
    serving = asyncio.create_task(_serve("127.0.0.1", 0, ["q"], ["t"], auto_create=False))
    await eventually(lambda: signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
    async with aio.connect(capsys.readouterr().out.strip(), timeout=BOUND) as connection:
        await (await connection.sender("q")).send(b"x")
        await connection.receiver("t")
    os.kill(os.getpid(), signal.SIGTERM)
    await serving
    assert capsys.readouterr().out == "stopped\n"
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)


def test_an_interrupt_has_the_usual_exit_code(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio, "run", lambda coroutine: (coroutine.close(), interrupt()))
    assert run("send", url, "x")[0] == 130


def test_lines_of_standard_input_in_this_process(url: str) -> None:
    assert run("send", url, stdin="first\nsecond\n") == (0, "", "2 sent and accepted\n")
    assert run("receive", url, "-c", "2")[1] == "first\nsecond\n"


def test_other_missing_modules_are_errors_of_their_own() -> None:
    code = "import sys; sys.modules['uamqp.cli'] = None; from uamqp.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert "pip install" not in done.stderr
    assert "ImportError" in done.stderr or "ModuleNotFoundError" in done.stderr
