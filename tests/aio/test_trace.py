"""The trace of frames, of either driver and of the API of 1.6."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

import uamqp
from uamqp.broker import Broker
from uamqp.exceptions import ConnectionLost

from ..transport.servers import read_to_end, serving
from ..transport.test_tls import FACES, try_to_connect

SECRET = "s3cr3t-canary"


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running(users={"user": SECRET}) as broker:
        yield broker


@FACES
def test_every_frame_is_told_without_secrets(face: str, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    url = broker.url.replace("://", f"://user:{SECRET}@")
    with caplog.at_level(logging.DEBUG, logger="uamqp.frames"):
        assert try_to_connect(face, url, trace=True)
    lines = [record.getMessage() for record in caplog.records if record.name == "uamqp.frames"]
    assert lines[0] == "-> header SASL 1.0.0"
    assert [line.partition("(")[0] for line in lines] == [
        *(
            "-> header SASL 1.0.0",
            "<- header SASL 1.0.0",
            "<- 0: SaslMechanisms",
            "-> 0: SaslInit",
            "<- 0: SaslOutcome",
        ),
        *("-> header AMQP 1.0.0", "-> 0: Open", "<- header AMQP 1.0.0", "<- 0: Open", "-> 0: Close", "<- 0: Close"),
        *lines[11:],
    ]
    assert SECRET not in caplog.text


@FACES
def test_nothing_is_told_without_being_asked(face: str, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="uamqp.frames"):
        assert try_to_connect(face, broker.url.replace("://", f"://user:{SECRET}@"))
    assert not [record for record in caplog.records if record.name == "uamqp.frames"]


@FACES
def test_the_end_is_told(face: str, caplog: pytest.LogCaptureFixture) -> None:
    def answer_and_leave(stream: object) -> None:
        stream.recv(8)  # type: ignore[attr-defined]
        stream.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[attr-defined]
        stream.shutdown(1)  # type: ignore[attr-defined]
        read_to_end(stream)  # type: ignore[arg-type]

    with caplog.at_level(logging.DEBUG, logger="uamqp.frames"), serving(answer_and_leave) as port:
        with pytest.raises(Exception, match="does not speak AMQP"):
            try_to_connect(face, f"amqp://127.0.0.1:{port}", trace=True)
    assert any("<- unreadable: no header of AMQP: 48 54 54 50" in record.getMessage() for record in caplog.records)


@FACES
def test_a_stream_that_ends(face: str, caplog: pytest.LogCaptureFixture) -> None:
    def leave(stream: object) -> None:
        stream.recv(8)  # type: ignore[attr-defined]

    with caplog.at_level(logging.DEBUG, logger="uamqp.frames"), serving(leave) as port:
        with pytest.raises(ConnectionLost):
            try_to_connect(face, f"amqp://127.0.0.1:{port}", trace=True)
    assert any("the stream" in record.getMessage() for record in caplog.records)


def test_debug_of_the_api_of_1_6(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """At level INFO of the logger where it has always been."""
    url = f"{broker.url.replace('://', f'://user:{SECRET}@')}/queue"
    with caplog.at_level(logging.INFO, logger="uamqp.c_uamqp"):
        uamqp.SendClient(url, debug=True).send_message(uamqp.Message("x"), close_on_done=True)
    lines = [record.getMessage() for record in caplog.records if record.name == "uamqp.c_uamqp"]
    assert any(line.startswith("-> 0: Transfer(") for line in lines)
    assert SECRET not in caplog.text
