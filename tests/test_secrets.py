"""The watch over secrets sees them where they do not belong (see conftest.py)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from uuid import uuid4

import pytest

from uamqp.aio import Plain, SharedAccessKey, Token
from uamqp.exceptions import ConnectionLost
from uamqp.transport.address import parse_proxy, parse_url

from .conftest import Secrets


def _fail(secret: str) -> None:
    try:
        raise ValueError(f"not with {secret}")
    except ValueError:
        logging.getLogger("uamqp.aio").exception("it failed")


@pytest.mark.parametrize(
    "learn",
    [
        lambda secret: Plain("user", secret),
        lambda secret: Token(secret, "jwt"),
        lambda secret: SharedAccessKey("policy", secret),
        lambda secret: parse_url(f"amqps://user:{secret}@host"),
        lambda secret: parse_proxy(f"http://user:{secret}@host:80"),
    ],
)
@pytest.mark.parametrize(
    "tell",
    [
        lambda secret: logging.getLogger("uamqp.transport").debug("connecting with %s", secret),
        _fail,
        lambda secret: ConnectionLost(f"{secret} was not taken"),
        lambda secret: ConnectionLost("not taken", info={"password": secret}),
    ],
)
def test_what_is_given_away_is_seen(
    no_secrets: Secrets, learn: Callable[[str], object], tell: Callable[[str], object]
) -> None:
    secret = f"c4nary-{uuid4()}"
    tell(secret)
    assert not no_secrets.found
    learn(secret)
    assert not no_secrets.found
    tell(secret)
    assert len(no_secrets.found) == 1
    assert secret in no_secrets.found[0]
    no_secrets.found.clear()


def test_a_repr_that_gives_something_away_is_seen(no_secrets: Secrets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Token, "__repr__", lambda token: f"Token({token.text!r})")
    Token("c4nary of a repr", "jwt")
    assert len(no_secrets.found) == 1
    no_secrets.found.clear()
