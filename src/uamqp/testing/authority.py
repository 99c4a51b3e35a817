"""Tokens for the simulator: who gives them, who looks at them, and what becomes of those who have none any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from ..aio.cbs import Token
from ..broker.nodes import Node, Refused
from ..broker.peer import Peer
from ..broker.personality import Personality
from ..broker.server import Broker
from ..broker.services import CBS
from ..engine.connection import ConnectionEndpoint
from ..engine.errors import UNAUTHORIZED_ACCESS
from .ledger import Ledger

_LIVES: Final = (3.0, 20.0, 300.0)
#: Virtual seconds after its expiry in which a token that was put again may still be under way.
_GRACE: Final = 2.0


class Authority:
    """Gives tokens that expire, by a clock that may jump, and has links of clients ended whose token has expired.

    Args:
        random: where its decisions come from.
        ledger: whose `quiet` says that nothing may go wrong, and where it is noted if it does.
        engines: the broker's ends of all connections there are.

    Attributes:
        jump: virtual seconds that the time of day is ahead of the loop's.
    """

    def __init__(self, random: Random, ledger: Ledger, engines: Callable[[], list[ConnectionEndpoint]]) -> None:
        self._random = random
        self._ledger = ledger
        self._engines = engines
        #: By container-id: when the token expires that was put last.
        self._expiries: dict[str, float] = {}
        self._looks: list[asyncio.TimerHandle] = []
        #: Clients that have put a token which was no good.
        self._refused: set[str] = set()
        self.jump = 0.0

    def wall(self) -> float:
        """The time of day."""
        return asyncio.get_running_loop().time() + self.jump

    async def give(self, client: str) -> Token:
        """What a program's function gives that is asked for a token: sometimes late, sometimes of no use."""
        random, quiet = self._random, self._ledger.quiet
        if random.random() < 0.3:
            await asyncio.sleep(random.random() * 0.3)
        fate = 1.0 if quiet else random.random()
        if fate < 0.1:
            raise OSError("the simulator has no token now")
        expires_at = self.wall() + (-1.0 if fate < 0.15 else random.choice(_LIVES))
        return Token(f"{client} {expires_at}", "simulated", expires_at)

    def lasting(self, audience: str) -> Token:
        """A token that is good to the end, whatever the clock does."""
        return Token(f"last {self.wall() + 1e9}", "simulated")

    def check(self, kind: str, audience: str, text: str) -> str | None:
        """What the broker thinks of a token: None, or why it does not like it."""
        client, _, expires_at = text.rpartition(" ")
        good = float(expires_at) > self.wall()
        self._ledger.demand("tokens are put in time", good or not self._ledger.quiet, text)
        if not good:
            self._refused.add(client)
            return "it has expired"
        self._expiries[client] = float(expires_at)
        pause = float(expires_at) - self.wall() + _GRACE
        self._looks.append(asyncio.get_running_loop().call_later(pause, self._look, client))
        return None

    def refuse(self, client: str) -> None:
        """Somebody attaches without a token; a program does so where its token was no good, and only then."""
        self._ledger.demand("tokens are put before links", client in self._refused, client)

    def close(self) -> None:
        """Look at nothing any more."""
        for look in self._looks:
            look.cancel()

    def _look(self, client: str) -> None:
        """A token has expired: end the links of a client that put no other."""
        renewed = self._expiries[client] > self.wall()
        for engine in self._engines():
            if engine.error is not None or engine.remote_open is None or engine.remote_open.container_id != client:
                continue
            self._ledger.demand("tokens are renewed in time", renewed or not self._ledger.quiet, client)
            for link in [] if renewed else [link for session in engine.sessions for link in session.links]:
                # To its node for tokens a client may talk without one.
                if link.error is None and CBS not in (_address(link.source), _address(link.target)):
                    link.fail(UNAUTHORIZED_ACCESS, "the token has expired")


def _address(terminus: Any) -> Any:
    return getattr(terminus, "address", None)


class Guarded(Personality):
    """A broker where nothing but ``$cbs`` can be attached to without a token."""

    def __init__(self, broker: Broker, authority: Authority) -> None:
        super().__init__(broker)
        self.authority = authority

    def peer(self) -> Peer:
        return _Guard(self)


class _Guard(Peer):
    def __init__(self, personality: Guarded) -> None:
        super().__init__(personality.broker)
        self._authority = personality.authority

    def node(self, address: str, capabilities: Sequence[Any]) -> Node:
        if not self.token_accepted and address != CBS:
            self._authority.refuse(self.container_id)
            raise Refused(UNAUTHORIZED_ACCESS, "there was no token")
        return super().node(address, capabilities)
