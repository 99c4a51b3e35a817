from __future__ import annotations

import pytest

from uamqp.codec.performatives import SaslChallenge, SaslInit, SaslMechanisms, SaslOutcome, SaslResponse
from uamqp.codec.values import Symbol
from uamqp.engine.errors import ConnectionViolation
from uamqp.engine.limits import MAX_SASL_CHALLENGES
from uamqp.engine.sasl import Anonymous, External, Mechanism, Plain, SaslClient, SaslServer, parse_plain
from uamqp.exceptions import AuthenticationError


def offer(*names: str) -> SaslMechanisms:
    return SaslMechanisms(tuple(Symbol(n) for n in names))


class Echo(Mechanism):
    name = "ECHO"

    def respond(self, challenge: bytes) -> bytes:
        return challenge[::-1]


def test_the_clients_order_decides() -> None:
    client = SaslClient([External(), Plain("u", "p"), Anonymous()], "host")
    init = client.receive(offer("ANONYMOUS", "PLAIN"))
    assert isinstance(init, SaslInit)
    assert (init.mechanism, init.initial_response, init.hostname) == ("PLAIN", b"\0u\0p", "host")
    assert client.receive(SaslOutcome(0)) is None
    assert client.done and client.error is None


@pytest.mark.parametrize("offered", [[], ["ANONYMOUS"], ["plain"], [f"X{n}" for n in range(10_000)]])
def test_never_another_mechanism(offered: list[str]) -> None:
    client = SaslClient([Plain("u", "s3cret")])
    assert client.receive(offer(*offered)) is None
    assert isinstance(client.error, AuthenticationError)
    assert "PLAIN" in str(client.error) and "s3cret" not in str(client.error)
    assert len(str(client.error)) < 2000


@pytest.mark.parametrize(("code", "retryable"), [(1, False), (2, False), (3, False), (4, True)])
def test_refusals(code: int, retryable: bool) -> None:
    client = SaslClient([Anonymous("trace")])
    client.receive(offer("ANONYMOUS"))
    client.receive(SaslOutcome(code))
    assert not client.done
    assert client.error is not None
    assert (client.error.code, client.error.retryable, client.error.remote) == (code, retryable, True)


def test_challenges_are_answered() -> None:
    client = SaslClient([Echo()])
    init = client.receive(offer("ECHO"))
    assert isinstance(init, SaslInit) and init.initial_response is None
    answer = client.receive(SaslChallenge(b"abc"))
    assert isinstance(answer, SaslResponse) and answer.response == b"cba"


def test_an_endless_exchange_ends() -> None:
    client = SaslClient([Echo()])
    client.receive(offer("ECHO"))
    for _ in range(MAX_SASL_CHALLENGES):
        assert client.receive(SaslChallenge(b"x")) is not None
    assert client.receive(SaslChallenge(b"x")) is None
    assert client.error is not None


def test_a_challenge_for_a_mechanism_without() -> None:
    client = SaslClient([Plain("u", "p")])
    client.receive(offer("PLAIN"))
    assert client.receive(SaslChallenge(b"x")) is None
    assert client.error is not None and "challenge" in str(client.error)


@pytest.mark.parametrize("frame", [SaslOutcome(0), SaslChallenge(b""), SaslInit(Symbol("X")), SaslResponse(b"")])
def test_frames_at_the_wrong_time(frame: object) -> None:
    with pytest.raises(ConnectionViolation):
        SaslClient([Anonymous()]).receive(frame)  # type: ignore[arg-type]
    client = SaslClient([Anonymous()])
    client.receive(offer("ANONYMOUS"))
    with pytest.raises(ConnectionViolation):
        client.receive(offer("ANONYMOUS"))


def test_secrets_are_not_shown() -> None:
    assert "hunter2" not in repr(Plain("u", "hunter2"))
    assert repr(External("me")) == "<EXTERNAL>"
    assert External("me").initial() == b"me"


def test_plain_without_nul() -> None:
    with pytest.raises(AuthenticationError):
        Plain("u\0", "p")


def test_the_server_accepts_and_refuses() -> None:
    def server() -> SaslServer:
        return SaslServer(["PLAIN"], lambda mechanism, response: "me" if response == b"yes" else None)

    accepting = server()
    assert accepting.offer() == offer("PLAIN")
    assert accepting.receive(SaslInit(Symbol("PLAIN"), b"yes")) == SaslOutcome(0)
    assert accepting.done and accepting.identity == "me"
    for init in (SaslInit(Symbol("PLAIN"), b"no"), SaslInit(Symbol("PLAIN")), SaslInit(Symbol("OTHER"), b"yes")):
        refusing = server()
        assert refusing.receive(init) == SaslOutcome(1)
        assert not refusing.done and refusing.error is not None
    with pytest.raises(ConnectionViolation):
        server().receive(SaslResponse(b"yes"))


def test_parse_plain() -> None:
    assert parse_plain(b"a\0u\0p") == ("a", "u", "p")
    assert parse_plain(b"u\0p") is None
    assert parse_plain(b"\0\xff\0p") is None
