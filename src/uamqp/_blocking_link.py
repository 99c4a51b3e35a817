"""What senders and receivers of the blocking API of uamqp 1.6 have in common."""

from __future__ import annotations

from typing import Any, Self

from ._blocking import Blocking
from .async_ops._link import LinkAsync
from .session import Session
from .transport.blocking import BlockingDriver


class BlockingLink(Blocking, LinkAsync[Any]):
    """A sender or receiver that is opened, worked and closed by blocking calls."""

    _session: Session

    def _driver(self) -> BlockingDriver:
        return self._session._driver()

    def open(self) -> None:
        """Attach the link. Raises as `MessageSenderAsync.open_async`."""
        self._run(self.open_async())

    def work(self) -> None:
        """Let the link work for a moment; raises the error of one that has ended, each time."""
        self._run(self.work_async())

    def destroy(self) -> None:
        """Detach the link; safe to call twice. Session and connection live on."""
        self._run(self.destroy_async())

    def close(self) -> None:
        """The same as `destroy`."""
        self.destroy()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *args: object) -> None:
        self.destroy()
