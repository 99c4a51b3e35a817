"""Token authentication whose functions are coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from ..constants import TransportType as TransportType
from .cbs_auth import AccessToken, CBSAuthMixin, JWTTokenAuth, SASTokenAuth
from .cbs_auth import TokenRetryPolicy as TokenRetryPolicy

if TYPE_CHECKING:
    from ..async_ops.connection_async import ConnectionAsync


def is_coroutine(get_token: Callable[[], Any]) -> bool:
    """Whether calling it gives something to await: a coroutine function, also within partials and callable objects."""
    function = get_token
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - not whether it can be called, but how
    )


class CBSAsyncAuthMixin(CBSAuthMixin):
    """Putting the token to the peer, step by step; the asynchronous clients do it by themselves."""

    async def create_authenticator_async(
        self, connection: ConnectionAsync, debug: bool = False, loop: Any = None, **kwargs: Any
    ) -> None:
        """Put the token on an open connection, and keep it fresh from then on.

        Raises:
            AuthenticationException: the peer does not take it.
            TimeoutError: the peer did not answer.
        """
        await self._authorize(connection)

    async def close_authenticator_async(self) -> None:
        """Keep the token fresh no more."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await keeper.close()

    async def handle_token_async(self) -> tuple[bool, bool]:
        """As `handle_token`."""
        return self.handle_token()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that is running. Raises RuntimeError where there is none."""
        return asyncio.get_running_loop()


class SASTokenAsync(SASTokenAuth, CBSAsyncAuthMixin):
    """A shared access signature; see `SASTokenAuth`."""

    async def update_token(self) -> None:
        """Make a new token from `username` and `password`. Raises TokenExpired where there are none."""
        SASTokenAuth.update_token(self)


class JWTTokenAsync(JWTTokenAuth, CBSAsyncAuthMixin):
    """Tokens that a coroutine function gives; see `JWTTokenAuth`. Raises ValueError for any other function."""

    @staticmethod
    def _one_token(token: AccessToken) -> Callable[[], Any]:
        async def get_token() -> AccessToken:
            return token

        return get_token

    @staticmethod
    def _check_source(get_token: Callable[[], Any]) -> None:
        if not is_coroutine(get_token):
            raise ValueError("get_token must be a coroutine function (async def), as this class is for asyncio")

    async def update_token(self) -> None:
        """Call `get_token` and take what it gives."""
        self._take(await self.get_token())
