"""Tokens instead of passwords: claims-based security, as the Azure services use it.

A token is put to the node ``$cbs`` of a connection before links are attached, again before it expires, and again when
the connection was lost and is back. `Connection.authorize` is what programs use.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from ..codec.definitions import Error
from ..codec.message import Message, Value
from ..codec.values import Symbol
from ..engine.delivery import IncomingDelivery
from ..engine.errors import UNAUTHORIZED_ACCESS
from ..engine.limits import HANDLE_MAX, INCOMING_WINDOW
from ..engine.sasl import Mechanism
from ..exceptions import AMQPError, ConnectionEnded, ConnectionLost, InDoubt, NotSent, OperationTimeout, TokenError
from ..transport.driver import BackgroundTask, wake, within
from .arguments import expect
from .options import DEFAULT, Timeout
from .receiver import Receiver
from .request import Requests
from .sender import Sender

if TYPE_CHECKING:
    from ..engine.connection import ConnectionEndpoint
    from .connection import Connection

_log: Final = logging.getLogger(__name__)

NODE: Final = "$cbs"
#: Seconds for the answer to put-token.
TIMEOUT: Final = 10.0
#: How often a token that was refused is put again, and a renewal that failed is tried again.
RETRIES: Final = 3
#: A token is renewed when this part of its life is left.
REFRESH_PART: Final = 0.1
#: Seconds: a token is not renewed more often than this.
MIN_INTERVAL: Final = 1.0
#: From this status on it is not the token that the peer does not like.
_SERVER_TROUBLE: Final = 500


class MSSBCBS(Mechanism):
    """Says only that tokens will follow; the services that know it want it in place of ANONYMOUS."""

    name = "MSSBCBS"


@dataclass(frozen=True)
class Token:
    """A token and what must be known about it.

    Attributes:
        text: the token.
        kind: its type, such as ``"jwt"`` or ``"servicebus.windows.net:sastoken"``.
        expires_at: when it expires, in the time of `time.time`; None: never.
    """

    text: str = field(repr=False)
    kind: str
    expires_at: float | None = None

    def __post_init__(self) -> None:
        expect("text", self.text, str, "a str")
        expect("kind", self.kind, str, "a str")
        if self.expires_at is not None:
            expect("expires_at", self.expires_at, (int, float, Real), "a time in seconds")


#: Gives a token for an audience.
TokenSource: TypeAlias = Callable[[str], Token | Awaitable[Token]]


def _no_token_at_all(given: object) -> TypeError:
    return TypeError(f"get_token must give a Token, or an awaitable for one, not {type(given).__name__}")


class TokenKeeper:
    """Keeps a connection authorized for one audience: puts a token, and a new one before the old one expires.

    Args:
        connection: where to.
        audience: what the token is for: the name in put-token.
        get_token: gives a token for the audience; is called for the first one, and whenever another is wanted.
        refresh_window: seconds before the expiry at which to renew; by default a tenth of what is left of the life
            of the token when it is put.
        timeout: seconds for putting a token, in all.
        retries: how often the first token is put again where it is refused; renewals are tried again as often, spread
            over what is left of the life of the old token.
        backoff: seconds between two tries.
        clock: the time of day, in seconds.
        sleep: waits for some seconds; by default as the connection's driver does.

    Attributes:
        error: why the connection is no longer authorized, or None while it is.
    """

    def __init__(
        self,
        connection: Connection,
        audience: str,
        get_token: TokenSource,
        *,
        refresh_window: float | None = None,
        timeout: float = TIMEOUT,
        retries: int = RETRIES,
        backoff: float = 0.0,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> None:
        self.error: AMQPError | None = None
        self._connection = connection
        self._audience = audience
        self._get_token = get_token
        self._refresh_window = refresh_window
        self._timeout = timeout
        self._retries = retries
        self._backoff = backoff
        self._clock = clock
        self._sleep = sleep or connection._driver.sleep
        self._token: Token | None = None
        self._requests: Requests | None = None
        self._task: BackgroundTask | None = None
        #: The engine of the connection that the token was put to.
        self._engine: ConnectionEndpoint | None = None

    async def start(self, tries: int | None = None) -> None:
        """Put the first token, and look after it from now on, in the place of who did so before for the same audience.

        Args:
            tries: how often to put it where it is refused or not answered; by default as often as `retries` says.

        Raises:
            TokenError: the peer refused the token, or there is none that is still good.
            OperationTimeout: the peer did not answer.
            DeliveryFailed: the peer's node did not take the request.
            LinkDetached: the peer has no such node.
            SessionEnded, ConnectionEnded: session or connection are gone.
            Exception: what `get_token` raised.
        """
        try:
            await self._put_first(tries or self._retries + 1)
        except BaseException:
            self._leave()
            raise
        keepers = self._connection._keepers
        # Not looked up before: another may have come meanwhile.
        former = keepers.get(self._audience)
        keepers[self._audience] = self
        self._look_after()
        if former is not None and former is not self:
            former._leave()

    async def restore(self) -> None:
        """The connection is back: put the token again, or another, unless that was done on it already.

        Raises what is worth another try: TokenError, OperationTimeout, or the end of link, session or connection. Where
        that would be in vain, the links that need the token are told.
        """
        connection = self._connection
        if self.error is not None or self._engine is connection._engine:
            return
        self.stop()
        try:
            await self._put_again()
        except Exception as problem:
            # Of any kind: a function of the application is among what was called.
            error = problem if isinstance(problem, AMQPError) else self._no_token(problem)
            if self._is_final(error):
                # What needs other tokens, or none, can be brought back all the same.
                self._fail(error)
                return
            raise error from error.__cause__
        self._look_after()

    async def _put_again(self) -> None:
        token = self._token
        if token is not None and (token.expires_at is None or token.expires_at > self._clock() + MIN_INTERVAL):
            try:
                return await self._put(token, self._timeout)
            except TokenError:
                # Another one may be liked better.
                pass
        return await self._put(await self._next_token(), self._timeout)

    def _is_final(self, error: AMQPError) -> bool:
        """Whether another try would fail in the same way."""
        if isinstance(error, TokenError):
            return error.status is not None and error.status < _SERVER_TROUBLE
        repair = self._connection._repair
        assert repair is not None
        return not isinstance(error, OperationTimeout) and not repair.recovers(error)

    def _no_token(self, problem: Exception) -> TokenError:
        error = TokenError(f"there is no token for {self._audience}: {problem!r}")
        error.__cause__ = problem
        return error

    def _look_after(self) -> None:
        """Renew the token in time, from now on."""
        if self._connection._engine.error is not None:
            # It ended right after the answer. Where it comes back, so does this.
            return
        if self._token is not None and self._token.expires_at is not None:
            self._task = self._connection._driver.spawn(self._keep(), f"tokens for {self._audience}")

    def check(self) -> None:
        """Raise where the connection is no longer authorized."""
        if self.error is not None:
            raise self.error.again()

    def stop(self) -> None:
        """Renew no more; `restore` goes on with it."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def close(self, timeout: Timeout = DEFAULT) -> None:
        """Renew no more, and detach from ``$cbs``, within `timeout` seconds; safe to call twice."""
        requests = self._requests
        self._leave()
        if requests is not None:
            await requests.session.close(timeout=timeout)

    def _leave(self) -> None:
        """Renew no more, and detach from ``$cbs`` without waiting for the peer."""
        if self._connection._keepers.get(self._audience) is self:
            del self._connection._keepers[self._audience]
        self.stop()
        self._detach()

    async def _put_first(self, tries: int) -> None:
        left = self._connection._driver.countdown(self._timeout)
        token = await self._next_token()
        timeout = left()
        if not timeout:
            # That was a try; the next one begins with the token at hand.
            tries -= 1
            if not tries:
                raise OperationTimeout(f"there was no token for {self._audience} {within(self._timeout)}")
            timeout = self._timeout
        while True:
            try:
                return await self._connection._persist(lambda seconds: self._put(token, cast(float, seconds)), timeout)
            except (TokenError, OperationTimeout):
                tries -= 1
                if not tries:
                    raise
            await self._pause(self._backoff)
            timeout = self._timeout

    async def _next_token(self) -> Token:
        return await self._told(await self._connection._driver.outside(self._get_token, self._audience))

    async def _told(self, token: Token | Awaitable[Token]) -> Token:
        """What a function of the application gives, also where that takes its time, but not for ever."""
        if isinstance(token, Token):
            return token
        if not isinstance(token, Awaitable):
            raise _no_token_at_all(token)
        awaited = token
        told: list[Token | Exception] = []
        driver = self._connection._driver
        waiter = driver.waiter()

        async def listen() -> None:
            try:
                told.append(await awaited)
            except Exception as error:
                told.append(error)
            finally:
                wake(waiter)

        task = driver.spawn(listen(), f"a token for {self._audience}")
        try:
            if not await driver.wait(waiter, self._timeout):
                raise OperationTimeout(f"there was no token for {self._audience} {within(self._timeout)}")
        finally:
            task.cancel()
        if not told:
            error = self._connection.error
            raise error.again() if error is not None else self._no_token(RuntimeError("what gives them was cancelled"))
        given = told[0]
        if isinstance(given, Exception):
            raise given
        if not isinstance(given, Token):
            raise _no_token_at_all(given)
        return given

    async def _renew(self) -> None:
        """Get another token and put it. Raises TokenError also where there is no other."""
        token = await self._next_token()
        if self._token is not None and token.text == self._token.text:
            raise TokenError(f"there is no newer token for {self._audience} than the one that is about to expire")
        await self._put(token, self._timeout)

    async def _put(self, token: Token, seconds: float) -> None:
        if token.expires_at is not None and token.expires_at <= self._clock():
            raise TokenError(f"the token for {self._audience} has expired")
        left = self._connection._driver.countdown(seconds)
        requests = self._requests
        if requests is None or not requests.usable:
            self._detach()
            requests = self._requests = await self._attach(left)
        message = Message(
            Value(token.text),
            application_properties={"operation": "put-token", "type": token.kind, "name": self._audience},
        )
        try:
            answer = await requests.request(message, left())
        except OperationTimeout:
            raise OperationTimeout(
                f"the peer did not answer put-token for {self._audience} {within(seconds)}"
            ) from None
        except (InDoubt, NotSent) as error:
            if isinstance(error.__cause__, AMQPError):
                # The request was lost with its link, which says why.
                raise error.__cause__.again() from error.__cause__.__cause__
            raise
        _check_status(answer, self._audience)
        self._token = token
        # Not the connection's: that may be another one by now.
        self._engine = requests.session._endpoint.connection

    async def _attach(self, left: Callable[[], float | None]) -> Requests:
        """Attach to ``$cbs``, in a session of its own."""
        session = await self._connection._begin(INCOMING_WINDOW, HANDLE_MAX, left(), passing=True)
        try:
            return await Requests.open_paired(session, NODE, left())
        except BaseException:
            session._drop()
            raise

    def _detach(self) -> None:
        requests, self._requests = self._requests, None
        if requests is not None:
            requests.session._drop()

    async def _keep(self) -> None:
        """Renew as long as that works; the body of the background task."""
        error: AMQPError | None = None
        try:
            while error is None:
                token = self._token
                assert token is not None
                if token.expires_at is None:
                    return
                life = token.expires_at - self._clock()
                window = life * REFRESH_PART if self._refresh_window is None else self._refresh_window
                await self._pause(max(life - window, min(life, MIN_INTERVAL)))
                error = await self._renew_until(token.expires_at)
        except Exception as unexpected:
            error = TokenError(f"the token for {self._audience} cannot be renewed: {unexpected!r}")
            error.__cause__ = unexpected
        if not isinstance(error, ConnectionEnded):
            self._fail(error)

    async def _renew_until(self, expires_at: float) -> AMQPError | None:
        """Renew, with tries spread over the time that is left; None where one of them worked."""
        tries = self._retries + 1
        pause = max(self._backoff, (expires_at - self._clock()) / tries)
        problem: Exception | None = None
        for _ in range(tries):
            try:
                await self._renew()
                return None
            except ConnectionEnded as error:
                return error
            except Exception as error:
                if not self._connection.is_open:
                    # Where it is brought back, the token is put again then.
                    return ConnectionLost(f"the connection went away while the token was renewed: {error!r}")
                # Of any kind: a function of the application is among what was called.
                problem = error
            await self._pause(max(0.0, min(pause, expires_at - self._clock())))
        if isinstance(problem, TokenError) and problem.status is not None:
            return problem
        failed = TokenError(f"the token for {self._audience} has expired and was not renewed: {problem}")
        failed.__cause__ = problem
        return failed

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            await self._sleep(seconds)

    def _fail(self, error: AMQPError) -> None:
        """End the links that need the token with the error, so that whoever waits there hears of it."""
        _log.warning("%r: %s", self._connection, error)
        self.error = error
        connection = self._connection
        for endpoint in [link for session in connection._engine.sessions for link in session.links]:
            link = endpoint.context
            if isinstance(link, Sender | Receiver) and self._covers(link.address):
                endpoint.detach(error=Error(Symbol(UNAUTHORIZED_ACCESS), "the token of the client has expired"))
                endpoint.ended(error)
        for link in [*connection._links]:
            if link._endpoint.suspended and self._covers(link.address):
                link._give_up(error)

    def _covers(self, address: str | None) -> bool:
        """Whether the token is needed for a node: its address is what the audience names, or lies below it."""
        path = _path_of_audience(self._audience)
        node = _path_of_node(address or "")
        if node == NODE:
            # Where tokens are put, none is needed.
            return False
        return not path or node == path or node.startswith(f"{path}/")


def _path_of_audience(audience: str) -> str:
    # With a scheme or without one, it begins with a host.
    return audience.rpartition("//")[2].partition("/")[2].strip("/").lower()


def _path_of_node(address: str) -> str:
    return _path_of_audience(address) if "://" in address else address.strip("/").lower()


def _check_status(answer: IncomingDelivery, audience: str) -> None:
    facts = answer.message.application_properties
    status = facts.get("status-code", facts.get("statusCode"))
    if not isinstance(status, int):
        raise TokenError(f"the peer's answer to put-token for {audience} has no status code", remote=True)
    if not 200 <= status < 300:
        description = facts.get("status-description", facts.get("statusDescription")) or "no reason given"
        raise TokenError(f"the peer refused the token for {audience}: {description}", status=status, remote=True)
