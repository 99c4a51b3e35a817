"""Tokens: shared access signatures, and tokens that a function gives."""

from __future__ import annotations

import base64
import inspect
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, runtime_checkable
from urllib.parse import quote_plus, unquote_plus, urlparse

from .. import constants, errors, exceptions
from .._legacy import octets, text
from ..aio import sas
from ..aio.arguments import expect, expect_seconds
from ..aio.cbs import Token, TokenKeeper
from ..constants import TransportType
from ..utils import create_sas_token
from .common import AMQPAuth, Verify

if TYPE_CHECKING:
    from ..async_ops.connection_async import ConnectionAsync
    from ..connection import Connection

_SAS_TYPE: Final = sas.KIND.encode()
_JWT_TYPE: Final = b"jwt"
_LIFE: Final = timedelta(seconds=constants.AUTH_EXPIRATION_SECS)


class TokenRetryPolicy:
    """What to do where a token is refused.

    Attributes:
        retries: how often to put it again.
        backoff: milliseconds before that.
    """

    def __init__(self, retries: int = 3, backoff: float = 0) -> None:
        self.retries = retries
        self.backoff = float(backoff) / 1000.0 if backoff else 0.0


@dataclass(frozen=True)
class AccessToken:
    """What a `get_token` function returns: a token and when it expires, in seconds since 1970-01-01 UTC."""

    token: str | bytes = field(repr=False)
    expires_on: float


@runtime_checkable
class _AccessToken(Protocol):
    token: Any
    expires_on: Any


class CBSAuthMixin:
    """What token authentication has in common: the token itself, and putting it to the peer.

    Attributes:
        audience: what the token is for, as bytes.
        token_type: the type of the token, as bytes.
        token: the token, as bytes; None where there is none yet.
        expires_at: when it expires, in seconds since 1970-01-01 UTC.
        expires_in: how long it was good when it was made.
        timeout: seconds for the answer of the peer to each try.
    """

    audience: bytes
    token_type: bytes
    token: bytes | None
    expires_at: float | None
    expires_in: timedelta | None
    timeout: float
    retries: int = 0
    _retry_policy: TokenRetryPolicy
    _refresh_window: float
    _encoding: str
    #: The token that was put last on the connection at hand, and the last one that was refused.
    _given: bytes | None = None
    _refused: bytes | None = None
    _keeper: TokenKeeper | None = None
    _connection: Connection

    def _init_token(
        self,
        audience: str | bytes,
        token_type: str | bytes,
        timeout: float,
        retry_policy: TokenRetryPolicy | None,
        refresh_window: float,
    ) -> None:
        self.audience = octets(audience, self._encoding)
        self.token_type = octets(token_type, self._encoding)
        self.timeout = timeout
        self._retry_policy = retry_policy or TokenRetryPolicy()
        self._refresh_window = refresh_window
        self._given = self._refused = None

    def _set_expiry(self, expires_in: timedelta | float | None, expires_at: float | None) -> None:
        """Set both from either. Raises ValueError where the moment has passed, or neither is given."""
        if expires_at is None and expires_in is None:
            raise ValueError("Must specify either 'expires_at' or 'expires_in'.")
        now = time.time()
        if expires_at is None:
            assert expires_in is not None
            life = expires_in if isinstance(expires_in, timedelta) else timedelta(seconds=expires_in)
            expires_at = now + life.total_seconds()
        else:
            life = timedelta(seconds=expires_at - now)
        if life.total_seconds() <= 0:
            raise ValueError("Token has already expired.")
        self.expires_at, self.expires_in = expires_at, life

    def update_token(self) -> Any:
        """Get a newer token. Raises TokenExpired where that cannot be."""
        raise NotImplementedError

    def create_authenticator(self, connection: Connection, debug: bool = False, **kwargs: Any) -> None:
        """Put the token on an open connection, and keep it fresh from then on; connections do this by themselves.

        Raises:
            AuthenticationException: the peer does not take it.
            TimeoutError: the peer did not answer.
        """
        self._connection = connection
        connection._run(self._authorize(connection))

    def close_authenticator(self) -> None:
        """Keep the token fresh no more."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            self._connection._run(keeper.close())

    def handle_token(self) -> tuple[bool, bool]:
        """How it stands: whether the peer did not answer in time, and whether an answer is awaited.

        Both are False, because `create_authenticator` has waited for the answer.

        Raises:
            AuthenticationException: the token could not be renewed.
        """
        if self._keeper is not None:
            with errors.translated():
                self._keeper.check()
        return False, False

    @property
    def _can_renew(self) -> bool:
        """Whether there can be another token than the one at hand."""
        return True

    async def _next_token(self) -> Token:
        """The token at hand where it was not put yet and may still be good, else a newer one."""
        expired = self.expires_at is not None and self.expires_at <= time.time() and self._can_renew
        if self.token is None or self.token == self._given or expired:
            result = self.update_token()
            if inspect.isawaitable(result):
                await result
        assert self.token is not None
        self._given = self.token
        return Token(text(self.token, self._encoding), text(self.token_type, self._encoding), self.expires_at)

    async def _authorize(self, connection: ConnectionAsync) -> TokenKeeper:
        """Put the token, and keep it fresh as long as the connection lives.

        Raises:
            TokenAuthFailure: the peer refused it.
            TokenExpired: there is no token that is still good.
            AuthenticationException: the peer does not take tokens.
            TimeoutError: the peer did not answer.
        """
        policy = self._retry_policy
        self._given = self._refused
        keeper = TokenKeeper(
            connection.modern,
            text(self.audience, self._encoding),
            lambda audience: self._next_token(),
            refresh_window=self._refresh_window or None,
            timeout=self.timeout,
            retries=policy.retries,
            backoff=policy.backoff,
        )
        try:
            await keeper.start()
        except exceptions.OperationTimeout as error:
            raise TimeoutError(f"Authorization timeout. {error}") from error
        except exceptions.LinkDetached as error:
            raise errors.AuthenticationException(
                f"Failed to open CBS authentication link. Does the peer take tokens? It said: {error}"
            ) from error
        except exceptions.AMQPError as error:
            if isinstance(error, exceptions.TokenError) and self._can_renew:
                self._refused = self.token
            raise errors.translate(error) from error
        self._keeper = keeper
        return keeper


class SASTokenAuth(AMQPAuth, CBSAuthMixin):
    """A shared access signature.

    ``SASTokenAuth(hostname, token=…)`` is enough: what the token is for and when it expires is written in it.
    ``SASTokenAuth(audience, uri, token, …)`` is the long form. `from_shared_access_key` makes tokens itself, and
    makes new ones in time.

    Args:
        audience: what the token is for; in the short form this is the host name.
        uri: the URI of the node; its host is connected to.
        token: the token.
        expires_in: how long it is good: a timedelta, or seconds.
        expires_at: until when it is good, in seconds since 1970-01-01 UTC.
        username, password: name and key to make new tokens with.
        port, verify, http_proxy, transport_type, encoding, use_tls: as in `AMQPAuth`.
        timeout: seconds for the answer of the peer to each try.
        retry_policy: what to do where the token is refused.
        token_type: the type of the token.
        hostname: the host name, by keyword.
        refresh_window: seconds before the expiry at which the token is renewed; 0 for a tenth of its life.
        custom_endpoint_hostname: connect to this host instead.

    Raises:
        ValueError: the token has expired already, or it is not known when it does.
    """

    def __init__(
        self,
        audience: str | bytes | None = None,
        uri: str | bytes | None = None,
        token: str | bytes | None = None,
        expires_in: timedelta | float | None = None,
        expires_at: float | None = None,
        username: str | None = None,
        password: str | None = None,
        port: int | None = None,
        timeout: float = 10,
        retry_policy: TokenRetryPolicy | None = None,
        verify: Verify | None = None,
        token_type: str | bytes = _SAS_TYPE,
        http_proxy: Mapping[str, Any] | None = None,
        transport_type: TransportType | None = TransportType.Amqp,
        encoding: str = "UTF-8",
        *,
        hostname: str | bytes | None = None,
        refresh_window: float = 0,
        custom_endpoint_hostname: str | bytes | None = None,
        use_tls: bool | None = None,
    ) -> None:
        if token is None:
            raise TypeError(f"{type(self).__name__}() needs a token")
        self._encoding = encoding
        facts = _sas_facts(text(token, encoding))
        if uri is None:
            audience, uri = _short_form(audience, hostname, facts.get("sr"), encoding)
            life = _LIFE
        else:
            life = None
        if audience is None:
            raise TypeError(f"{type(self).__name__}() needs an audience")
        if expires_at is None and expires_in is None:
            expires_at = _number(facts.get("se"))
            expires_in = life
        self.uri = text(uri, encoding)
        self.token = octets(token, encoding)
        self.username = username
        self.password = password
        self._set_expiry(expires_in, expires_at)
        self._init_token(audience, token_type, timeout, retry_policy, refresh_window)
        host = custom_endpoint_hostname or urlparse(self.uri).hostname
        self._init_transport(host, port, verify, http_proxy, transport_type, use_tls)

    @property
    def _can_renew(self) -> bool:
        return bool(self.username and self.password)

    def update_token(self) -> Any:
        """Make a new token from `username` and `password`. Raises TokenExpired where there are none."""
        if not self.username or not self.password:
            raise errors.TokenExpired(
                "the token cannot be renewed, because there is no key to make one with; use from_shared_access_key"
            )
        life = self.expires_in or _LIFE
        self.expires_at = time.time() + life.total_seconds()
        self.token = _signed(self.uri, self.username, self.password, life, self._encoding)
        return None

    @classmethod
    def from_shared_access_key(
        cls,
        uri: str,
        key_name: str,
        shared_access_key: str,
        expiry: float | None = None,
        port: int | None = None,
        timeout: float = 10,
        retry_policy: TokenRetryPolicy | None = None,
        verify: Verify | None = None,
        http_proxy: Mapping[str, Any] | None = None,
        transport_type: TransportType | None = TransportType.Amqp,
        encoding: str = "UTF-8",
        **kwargs: Any,
    ) -> Self:
        """Make a token now, and new ones before it expires.

        Args:
            uri: the URI of the node.
            key_name, shared_access_key: the key.
            expiry: seconds that a token is good; an hour by default.
            **kwargs: as in the constructor.
        """
        life = timedelta(seconds=expiry or constants.AUTH_EXPIRATION_SECS)
        for name, value in (("uri", uri), ("key_name", key_name), ("shared_access_key", shared_access_key)):
            expect(name, value, str, "a str")
        return cls(
            uri,
            uri,
            _signed(uri, key_name, shared_access_key, life, encoding),
            expires_in=life,
            username=key_name,
            password=shared_access_key,
            port=port,
            timeout=timeout,
            retry_policy=retry_policy,
            verify=verify,
            http_proxy=http_proxy,
            transport_type=transport_type,
            encoding=encoding,
            **kwargs,
        )


class JWTTokenAuth(AMQPAuth, CBSAuthMixin):
    """Tokens that a function gives, such as those of an OAuth 2.0 server.

    Args:
        audience: what the token is for.
        uri: the URI of the node; its host is connected to.
        get_token: returns an object with the attributes ``token`` and ``expires_on`` (seconds since 1970-01-01 UTC).
        expires_in, expires_at: when the first token expires, until `get_token` says it.
        token: instead of `get_token`: one token, which is used until it expires.
        hostname: instead of `uri`: the host to connect to.
        token_type: the type of the token.

    See `SASTokenAuth` for the other arguments.
    """

    get_token: Callable[[], Any]

    def __init__(
        self,
        audience: str | bytes | None = None,
        uri: str | bytes | None = None,
        get_token: Callable[[], Any] | None = None,
        expires_in: timedelta | float | None = _LIFE,
        expires_at: float | None = None,
        port: int | None = None,
        timeout: float = 10,
        retry_policy: TokenRetryPolicy | None = None,
        verify: Verify | None = None,
        token_type: str | bytes = _JWT_TYPE,
        http_proxy: Mapping[str, Any] | None = None,
        transport_type: TransportType | None = TransportType.Amqp,
        encoding: str = "UTF-8",
        *,
        token: str | bytes | None = None,
        hostname: str | bytes | None = None,
        refresh_window: float = 0,
        custom_endpoint_hostname: str | bytes | None = None,
        use_tls: bool | None = None,
    ) -> None:
        self._encoding = encoding
        if uri is None:
            audience, uri = _short_form(audience, hostname, None, encoding)
        if get_token is None:
            if token is None:
                raise TypeError(f"{type(self).__name__}() needs a token, or a function get_token that gives one")
            expires_on = _jwt_expiry(text(token, encoding)) or time.time() + constants.AUTH_EXPIRATION_SECS
            get_token = self._one_token(AccessToken(token, expires_on))
            expires_at = expires_on if expires_at is None else expires_at
        if audience is None:
            raise TypeError(f"{type(self).__name__}() needs an audience")
        self._check_source(get_token)
        self.get_token = get_token
        self.uri = text(uri, encoding)
        self.token = None
        self._set_expiry(expires_in, expires_at)
        self._init_token(audience, token_type, timeout, retry_policy, refresh_window)
        host = custom_endpoint_hostname or urlparse(self.uri).hostname
        self._init_transport(host, port, verify, http_proxy, transport_type, use_tls)

    @staticmethod
    def _one_token(token: AccessToken) -> Callable[[], Any]:
        return lambda: token

    @staticmethod
    def _check_source(get_token: Callable[[], Any]) -> None:
        if not callable(get_token):
            raise TypeError("get_token is a function that returns a token")

    def update_token(self) -> Any:
        """Call `get_token` and take what it gives."""
        self._take(self.get_token())
        return None

    def _take(self, access: Any) -> None:
        if inspect.iscoroutine(access):
            access.close()
            raise TypeError("get_token is a coroutine function: JWTTokenAsync is the class for these")
        expect("what get_token returns", access, _AccessToken, "an object with the attributes token and expires_on")
        expect("the token that get_token returns", access.token, (str, bytes), "a str or bytes")
        expect_seconds("the expires_on that get_token returns", access.expires_on)
        self.expires_at = access.expires_on
        self.expires_in = timedelta(seconds=access.expires_on - time.time())
        self.token = octets(access.token, self._encoding)


def _short_form(
    audience: str | bytes | None, hostname: str | bytes | None, written: str | None, encoding: str
) -> tuple[str | bytes, str]:
    """Audience and URI where only a host name is given: by keyword, else as the first argument."""
    if hostname is None:
        hostname, audience = audience, None
    if not hostname:
        raise TypeError("a hostname, or an audience and a uri, must be given")
    uri = f"amqps://{text(hostname, encoding)}"
    return audience or written or uri, uri


def _sas_facts(token: str) -> dict[str, str]:
    """The fields of a shared access signature, decoded; none where it is something else."""
    kind, _, rest = token.partition(" ")
    if kind != "SharedAccessSignature":
        return {}
    return {name: unquote_plus(value) for name, _, value in (part.partition("=") for part in rest.split("&"))}


def _jwt_expiry(token: str) -> float | None:
    """The claim ``exp`` of a JSON web token, or None."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    expires = claims.get("exp") if isinstance(claims, dict) else None
    return float(expires) if isinstance(expires, int | float) else None


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _signed(uri: str, key_name: str, key: str, life: timedelta, encoding: str) -> bytes:
    return create_sas_token(
        quote_plus(key_name).encode(encoding), key.encode(encoding), quote_plus(uri).encode(encoding), life
    )
