"""The blocking driver: the client's coroutines, run step by step in the thread that called.

Strategy: `run` sends a coroutine forward until it waits for something, then reads and writes the socket until that
something has happened. There is no thread and no event loop behind it. Several threads may use one connection: one
lock guards the engine and the steps of all coroutines; the thread that needs progress and finds nobody reading
becomes the reader, the others wait to be told. Nobody holds the lock while it waits in the kernel.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from heapq import heappop, heappush
from typing import Any, Final, TypeVar

from ..engine.connection import ConnectionEndpoint
from ..exceptions import ConnectionLost, LocalProtocolError, OperationTimeout
from .address import Endpoint
from .driver import BackgroundTask, Deadlines, Driver, Timer, Waiter

T = TypeVar("T")

_READ_SIZE: Final = 262_144
#: Bytes that may wait for the socket before the engine is told to wait.
_HIGH_WATER: Final = 1024 * 1024


class _Waiter:
    """What a coroutine yields to the trampoline, and is resumed for."""

    __slots__ = ("_done", "_result")

    def __init__(self) -> None:
        self._done = False
        self._result = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: bool) -> None:
        self._done = True
        self._result = result

    def __await__(self) -> Generator[_Waiter, None, bool]:
        while not self._done:
            yield self
        return self._result


class _Timer:
    """An entry of the heap of timers."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __lt__(self, other: _Timer) -> bool:
        return self.when < other.when


class _Task:
    """A coroutine and what it waits for."""

    __slots__ = ("_coroutine", "done", "error", "result", "waiter")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.waiter: Waiter | None = None
        self.done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def step(self) -> None:
        """Run it as far as it comes."""
        while not self.done and (self.waiter is None or self.waiter.done()):
            try:
                self.waiter = self._coroutine.send(None)
            except StopIteration as stop:
                self.done = True
                self.result = stop.value
            except BaseException as error:
                self.done = True
                self.error = error

    def cancel(self) -> None:
        """Stop it at the await where it stands; its `finally` blocks run now."""
        if not self.done:
            self.done = True
            self._coroutine.close()


class BlockingDriver(Driver):
    """Drives one connection from the threads that call into it."""

    def __init__(self) -> None:
        self.waiter = _Waiter
        self.now = time.monotonic
        self.deadlines = Deadlines(time.monotonic, self.call_at)
        self._lock = threading.RLock()
        self._progress = threading.Condition(self._lock)
        self._reading = False
        self._running = 0
        self._pid = os.getpid()
        self._socket: socket.socket | None = None
        self._engine: ConnectionEndpoint | None = None
        self._timers: list[_Timer] = []
        self._tasks: list[_Task] = []
        self._unsent: deque[memoryview] = deque()
        self._unsent_size = 0
        self._engine_timer: _Timer | None = None
        self._wakeup_read, self._wakeup_write = -1, -1

    # -- the face of `uamqp.sync` --------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the client to its end, moving bytes as needed."""
        self._check_caller(coroutine)
        task = _Task(coroutine)
        with self._lock:
            self._running += 1
            try:
                while True:
                    task.step()
                    self._write()
                    if task.done:
                        break
                    if task.waiter is not None and task.waiter.done():
                        continue
                    self._progress_once(task)
            except BaseException:
                task.cancel()
                raise
            finally:
                self._running -= 1
                self._write()
                self._progress.notify_all()
        if task.error is not None:
            raise task.error
        return task.result  # type: ignore[no-any-return]

    def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call something of the client that does not wait, and write what comes of it."""
        self._check_caller(None)
        with self._lock:
            self._running += 1
            try:
                return function(*args, **kwargs)
            finally:
                self._running -= 1
                self._write()

    def _check_caller(self, coroutine: Coroutine[Any, Any, Any] | None) -> None:
        problem = ""
        if os.getpid() != self._pid:
            problem = "the connection was made before fork(); connect again in this process"
        else:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return
            problem = "a blocking call would stop the running event loop; use uamqp.aio there"
        if coroutine is not None:
            coroutine.close()
        raise LocalProtocolError(problem)

    def keep_alive(self) -> None:
        """Read what came, write what is due, without waiting and only where nobody else does."""
        if self._lock.acquire(blocking=False):
            try:
                if not self._reading and self._socket is not None:
                    self._run_timers()
                    self._read()
                    self._run_tasks()
                    self._write()
                    self._progress.notify_all()
            finally:
                self._lock.release()

    def next_deadline(self) -> float | None:
        """When `keep_alive` should be called next; None where the connection is gone."""
        timer = self._engine_timer
        return timer.when if timer is not None and self._socket is not None else None

    # -- Driver --------------------------------------------------------------------------------------------------

    async def connect(
        self, endpoint: Endpoint, context: ssl.SSLContext | None, server_hostname: str | None, timeout: float
    ) -> None:
        deadline = time.monotonic() + timeout
        try:
            stream = socket.create_connection((endpoint.host, endpoint.port), timeout)
        except TimeoutError as error:
            raise OperationTimeout(f"no connection to {endpoint} within {timeout:g} s") from error
        except OSError as error:
            raise ConnectionLost(f"cannot connect to {endpoint}: {error.strerror or error}") from error
        try:
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                stream.settimeout(max(0.001, deadline - time.monotonic()))
                stream = context.wrap_socket(stream, server_hostname=server_hostname)
            stream.setblocking(False)
        except TimeoutError as error:
            stream.close()
            raise OperationTimeout(f"no TLS with {endpoint} within {timeout:g} s") from error
        except OSError as error:
            stream.close()
            raise ConnectionLost(f"no TLS with {endpoint}: {error}") from error
        self._socket = stream
        self._wakeup_read, self._wakeup_write = os.pipe()
        os.set_blocking(self._wakeup_read, False)
        os.set_blocking(self._wakeup_write, False)

    def run_engine(self, engine: ConnectionEndpoint) -> None:
        self._engine = engine
        engine.last_received = time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = _Timer(when, callback)
        heappush(self._timers, timer)
        return timer

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> BackgroundTask:
        task = _Task(coroutine)
        self._tasks.append(task)
        return task

    def flush_soon(self) -> None:
        # `run` and `call` write when their step is over.
        pass

    async def disconnect(self, timeout: float) -> None:
        self._write()
        stream, self._socket = self._socket, None
        if stream is not None:
            stream.close()
            os.close(self._wakeup_read)
            os.close(self._wakeup_write)
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._timers.clear()

    def tick(self) -> None:
        engine = self._engine
        if engine is None or self._socket is None:
            return
        if self._engine_timer is not None:
            self._engine_timer.cancel()
            self._engine_timer = None
        when = engine.tick(time.monotonic())
        if when is not None:
            self._engine_timer = _Timer(when, self.tick)
            heappush(self._timers, self._engine_timer)

    # -- moving bytes; all with the lock held --------------------------------------------------------------------

    def _progress_once(self, task: _Task) -> None:
        """Wait, once, for anything that may bring the task further."""
        if self._reading:
            self._interrupt_reader()
            self._progress.wait(self._until_next_timer())
            return
        self._reading = True
        stream, poller = self._socket, None
        delay = self._until_next_timer()
        if stream is not None and not (isinstance(stream, ssl.SSLSocket) and stream.pending()):
            poller = select.poll()
            poller.register(stream, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            poller.register(self._wakeup_read, select.POLLIN)
        self._lock.release()
        try:
            if poller is not None:
                poller.poll(None if delay is None else max(0, int(delay * 1000 + 1)))
            elif stream is None and delay is not None:
                time.sleep(delay)
        finally:
            self._lock.acquire()
            self._reading = False
        if stream is None and delay is None:
            raise LocalProtocolError("the connection is closed")
        self._run_timers()
        self._read()
        self._run_tasks()
        self._write()
        self._progress.notify_all()

    def _interrupt_reader(self) -> None:
        """The reader waits in the kernel and does not know of output or timers that came since."""
        if self._socket is not None:
            try:
                os.write(self._wakeup_write, b"\0")
            except BlockingIOError:
                pass

    def _until_next_timer(self) -> float | None:
        while self._timers and self._timers[0].callback is None:
            heappop(self._timers)
        return max(0.0, self._timers[0].when - time.monotonic()) if self._timers else None

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0].when <= now:
            callback = heappop(self._timers).callback
            if callback is not None:
                callback()

    def _run_tasks(self) -> None:
        for task in list(self._tasks):
            task.step()
            if task.done:
                self._tasks.remove(task)

    def _read(self) -> None:
        engine, stream = self._engine, self._socket
        if engine is None or stream is None:
            return
        try:
            os.read(self._wakeup_read, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                data = stream.recv(_READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                engine.lose(error)
                return
            if not data:
                engine.receive_eof()
                return
            engine.last_received = time.monotonic()
            engine.receive_data(data)
            # A plain socket has given all there was; TLS may keep more in its own buffer.
            if len(data) < _READ_SIZE and not (isinstance(stream, ssl.SSLSocket) and stream.pending()):
                return

    def _write(self) -> None:
        engine = self._engine
        if engine is None:
            return
        while True:
            chunks = engine.data_to_send()
            if chunks and self._socket is not None:
                data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
                self._unsent.append(memoryview(data))
                self._unsent_size += len(data)
            self._send()
            if self._unsent_size > _HIGH_WATER:
                engine.pause()
            elif engine.paused:
                engine.resume()
            if not chunks:
                return

    def _send(self) -> None:
        stream, engine = self._socket, self._engine
        if stream is None or engine is None:
            self._unsent.clear()
            self._unsent_size = 0
            return
        while self._unsent:
            try:
                sent = stream.send(self._unsent[0])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as error:
                self._unsent.clear()
                self._unsent_size = 0
                engine.lose(error)
                return
            self._unsent_size -= sent
            engine.wrote(time.monotonic())
            if sent == len(self._unsent[0]):
                self._unsent.popleft()
            else:
                self._unsent[0] = self._unsent[0][sent:]
