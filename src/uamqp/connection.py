"""Connections of the blocking API of uamqp 1.6."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from . import errors
from ._blocking import Blocking
from .aio.recovery import Recovery
from .async_ops.connection_async import ConnectionAsync
from .authentication import AMQPAuth
from .transport.blocking import BlockingDriver
from .transport.driver import Driver
from .transport.watch import WATCH


class Connection(Blocking, ConnectionAsync):
    """A connection to a peer, for blocking code. Several clients, also in several threads, may share it.

    Sessions, links and clients open it when they need it; `open` does so at once. Heartbeats go out by themselves.
    Arguments, attributes and errors are those of `ConnectionAsync`.
    """

    _log = logging.getLogger(__name__)

    def __init__(
        self,
        hostname: str | bytes,
        sasl: AMQPAuth | None = None,
        container_id: str | bytes | bool | None = False,
        max_frame_size: int | None = None,
        channel_max: int | None = None,
        idle_timeout: float | None = None,
        properties: Mapping[Any, Any] | None = None,
        remote_idle_timeout_empty_frame_send_ratio: float | None = None,
        error_policy: errors.ErrorPolicy | None = None,
        debug: bool = False,
        encoding: str = "UTF-8",
        *,
        recovery: Recovery | None = None,
    ) -> None:
        self._blocking: BlockingDriver | None = None
        self._guard = threading.Lock()
        self._thread_lock = threading.Lock()
        super().__init__(
            hostname,
            sasl,
            container_id,
            max_frame_size,
            channel_max,
            idle_timeout,
            properties,
            remote_idle_timeout_empty_frame_send_ratio,
            debug=debug,
            encoding=encoding,
            error_policy=error_policy,
            recovery=recovery,
        )

    @property
    def _thread(self) -> int:
        """The thread that may settle without further ado: it is in the middle of a step, which writes when it ends."""
        driver = self._blocking
        return 0 if driver is None else driver.stepping

    @_thread.setter
    def _thread(self, thread: int) -> None:
        """No thread is the connection's own."""

    def _driver(self) -> BlockingDriver:
        with self._guard:
            if self._blocking is None:
                self._blocking = BlockingDriver()
            return self._blocking

    def _new_driver(self) -> Driver:
        return self._driver()

    async def _open(self) -> None:
        await super()._open()
        WATCH.add(self._driver())

    async def _close(self) -> None:
        try:
            await super()._close()
        finally:
            with self._guard:
                # The next time that it is opened, it gets another one.
                driver, self._blocking = self._blocking, None
            if driver is not None:
                WATCH.remove(driver)

    def _call_from_elsewhere(self, function: Callable[[], None]) -> None:
        with errors.translated(self.error_policy):
            self._driver().call(function)

    def open(self) -> None:
        """Connect, and authenticate; safe to call twice. Raises as `ConnectionAsync.open_async`."""
        self._run(self.open_async())

    def work(self) -> None:
        """Let the connection work for a moment, and hand what arrived to the receivers' functions.

        Raises the error of a connection that is gone, each time.
        """
        self._run(self.work_async())

    def sleep(self, seconds: float) -> None:
        """Do nothing else for some seconds; the connection stays alive."""
        self._run(self.sleep_async(seconds))

    def lock(self, timeout: float = 3.0) -> None:
        """Take the connection for one thread until `release`. Raises TimeoutError after `timeout` seconds.

        Only for programs that want to keep others out for longer than one call: each call by itself is safe.
        """
        if not self._thread_lock.acquire(timeout=timeout):
            raise TimeoutError(f"Failed to acquire connection lock within {timeout} s")

    def release(self) -> None:
        """Give the connection back; does nothing where nobody has taken it."""
        try:
            self._thread_lock.release()
        except RuntimeError:
            pass

    def redirect(self, redirect_error: errors.LinkRedirect, auth: AMQPAuth) -> None:
        """Connect to the host that a redirect names, as `auth`; what was on the old connection is gone.

        Raises as `ConnectionAsync.redirect_async`.
        """
        self._check_names_host(redirect_error)
        self.destroy()
        self._point_at(redirect_error, auth)
        self.open()

    def destroy(self) -> None:
        """Close the connection and all on it; safe to call twice."""
        self._run(self.destroy_async())

    def close(self) -> None:
        """The same as `destroy`."""
        self.destroy()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *args: object) -> None:
        self.destroy()
