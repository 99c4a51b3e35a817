"""What all tests share, above all a watch: no secret is logged at any level, raised, or shown by a repr."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uamqp.aio.cbs import Token
from uamqp.aio.options import ConnectionOptions
from uamqp.aio.sas import SharedAccessKey
from uamqp.authentication import JWTTokenAuth, SASLPlain, SASTokenAuth
from uamqp.engine.sasl import Plain
from uamqp.exceptions import AMQPError
from uamqp.transport.address import Endpoint, Proxy

from .tokens import Check, Clock

_SHORTEST = 5


class Secrets(logging.Handler):
    """Knows the secrets that the tests have used so far, and finds them where they do not belong."""

    def __init__(self) -> None:
        super().__init__()
        # The password of most tests, whichever of them come first.
        self._known = {"s3cret"}
        self.found: list[str] = []

    def learn(self, secret: object) -> None:
        """From now on this must not appear."""
        if isinstance(secret, bytes):
            secret = secret.decode(errors="replace")
        # A word of letters alone may be part of any text.
        if isinstance(secret, str) and len(secret) >= _SHORTEST and not secret.isalpha():
            self._known.add(secret)

    def look(self, where: str, text: str) -> None:
        """Note each known secret in the text."""
        self.found += [f"{secret!r} in {where}: {text}" for secret in self._known if secret in text]

    def emit(self, record: logging.LogRecord) -> None:
        self.look(f"a log of {record.name}", self.format(record))


_SECRETS = Secrets()


def _after_init(cls: type, look: Callable[[Any], None]) -> None:
    made = cls.__init__  # type: ignore[misc]

    @functools.wraps(made)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        look(self)

    cls.__init__ = init  # type: ignore[misc]


def _has(*names: str) -> Callable[[Any], None]:
    """Learns the secrets that an object has, and looks for them in its repr."""

    def look(thing: Any) -> None:
        for name in names:
            _SECRETS.learn(getattr(thing, name, None))
        _SECRETS.look(f"the repr of {type(thing).__name__}", repr(thing))

    return look


def pytest_configure(config: pytest.Config) -> None:
    _after_init(Plain, lambda plain: _SECRETS.learn(plain.initial().rpartition(b"\0")[2]))
    _after_init(Token, _has("text"))
    _after_init(SharedAccessKey, _has("key"))
    _after_init(Endpoint, _has("password"))
    _after_init(Proxy, _has("password"))
    _after_init(ConnectionOptions, _has())
    _after_init(SASLPlain, _has("password"))
    _after_init(SASTokenAuth, _has("token", "password"))
    _after_init(JWTTokenAuth, _has("token"))
    _after_init(AMQPError, lambda error: _SECRETS.look("an error", f"{error} {error.info!r}"))
    logger = logging.getLogger("uamqp")
    logger.addHandler(_SECRETS)
    # What goes on is for each test to say.
    logger.setLevel(logging.DEBUG)


@pytest.fixture
def check() -> Check:
    """What a broker thinks of tokens."""
    return Check()


@pytest.fixture
def clock() -> Clock:
    """Time that passes when the test says so."""
    return Clock()


@pytest.fixture(autouse=True)
def no_secrets() -> Iterator[Secrets]:
    """No test may give away what it was told to keep."""
    _SECRETS.found.clear()
    yield _SECRETS
    assert not _SECRETS.found
