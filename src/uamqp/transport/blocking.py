"""The blocking driver: the client's coroutines, run step by step in the thread that called.

Strategy: `run` sends a coroutine forward until it waits for something, then reads and writes the socket until that
something has happened. There is no thread and no event loop behind it. Several threads may use one connection: one
lock guards the engine and the steps of all coroutines. Of the threads that wait, one, the leader, waits for the
socket, without the lock; the others follow: they sleep until their coroutine can go on, or until there is no leader.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from asyncio import _get_running_loop
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from heapq import heapify, heappop, heappush
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

from ..engine.connection import ConnectionEndpoint
from ..exceptions import ConnectionLost, LocalProtocolError
from .driver import LONGEST_WAIT, BackgroundTask, Deadlines, Driver, Waiter
from .pieces import HIGH_WATER, INBOX, READ_SIZE, pieces_of
from .stream_opening import StreamOpening
from .tunnel import SocketTunnel
from .watch import WATCH

if TYPE_CHECKING:
    from .route import Route

T = TypeVar("T")

#: What may have more to read than the descriptor tells of.
_BUFFERED: Final = (ssl.SSLSocket, SocketTunnel)
#: Seconds after which a call looks first what came while nobody did.
_UNSEEN: Final = 0.05
#: Seconds for which who has just written looks for the answer before it sleeps. A peer that is near answers in less
#: time than it takes the system to let a thread sleep and wake it: one message at a time, with an outcome for each, is
#: 1.9 times as fast. With one processor the peer could not answer meanwhile; which of several this process may use says
#: nothing about the peer's.
_LOOKING: Final = 0.000_2 if (os.cpu_count() or 1) > 1 else 0.0
#: In place of the milliseconds to sleep: look first.
_LOOK: Final = -1
#: How often it then sleeps at once, where it has looked in vain: at most 12 µs a wait go on looking.
_RESTS: Final = 16
#: How often Python forked this process from another one; to ask for the number of the process takes longer.
_forks = 0
#: Seconds after a write in which what is said waits for what follows it.
_TOGETHER: Final = 0.001
#: Timers, cancelled ones included, that are worth a tidying up.
_MANY_TIMERS: Final = 64


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class BlockingWaiter:
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

    def __await__(self) -> Generator[BlockingWaiter, None, bool]:
        while not self._done:
            yield self
        return self._result


class _Alarm(BlockingWaiter):
    """What a coroutine waits for that time alone brings: nobody need listen to the peer for it."""

    __slots__ = ()


#: What a coroutine waits for while it runs: it can go on when it comes back, and not from inside what it calls.
_RUNNING: Final = BlockingWaiter()


class Outside:
    """A call that a coroutine wants made without the lock; awaiting it gives what the call gave."""

    __slots__ = ("_args", "_called", "_function", "_result", "begun", "error")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._function = function
        self._args = args
        #: Whether somebody makes it; a step inside another one finds it, too.
        self.begun = False
        self._called = False
        self._result: Any = None
        self.error: BaseException | None = None

    def call(self) -> None:
        try:
            self._result = self._function(*self._args)
        except BaseException as error:
            self.error = error
        finally:
            self._called = True

    def done(self) -> bool:
        return self._called

    def set_result(self, result: bool) -> None:
        """Nobody wakes it."""

    def __await__(self) -> Generator[Any, Any, Any]:
        yield self
        if self.error is not None:
            raise self.error
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

    def can_go_on(self) -> bool:
        return self.done or self.waiter is None or self.waiter.done()

    def step(self) -> None:
        """Run it as far as it comes."""
        # `can_go_on` in line.
        while not self.done and ((waiter := self.waiter) is None or waiter.done()):
            try:
                self.waiter = _RUNNING
                self.waiter = self._coroutine.send(None)
            except StopIteration as stop:
                self.done = True
                self.result = stop.value
            except BaseException as error:
                self.done = True
                self.error = error
            else:
                if self.done:
                    # It was stopped by what it called.
                    self._close()

    def cancel(self) -> None:
        """Stop it at the await where it stands; its `finally` blocks run now, each as far as it need not wait.

        Where it is what called this, it is stopped at its next await.
        """
        if not self.done:
            self.done = True
            if self.waiter is not _RUNNING:
                self._close()

    def _close(self) -> None:
        while True:
            try:
                self._coroutine.close()
                return
            except RuntimeError:
                # A `finally` block wants to wait; it stands there now, and is stopped there too.
                pass


class Stranded(LocalProtocolError):
    """A call waits for something on a connection that another thread has closed."""


class BlockingDriver(Driver):
    """Drives one connection from the threads that call into it."""

    def __init__(self) -> None:
        self.waiter = BlockingWaiter
        self.alarm = _Alarm
        self.now = time.monotonic
        self.deadlines = Deadlines(time.monotonic, self.call_at)
        # A call may come from inside another one of the same thread: from the iterable given to `send_many`, say.
        self._lock = threading.RLock()
        #: The thread that has the lock and writes what it did when its step is over; 0: none.
        self.stepping = 0
        self._progress = threading.Condition(self._lock)
        self._leader: _Task | None = None
        self._leader_writes = False
        self._followers: list[_Task] = []
        #: What the program is to be told when one of its calls returns.
        self._news: deque[Callable[[], Any]] = deque()
        #: The threads that tell.
        self._telling: set[int] = set()
        self._forks = _forks
        self._socket: socket.socket | SocketTunnel | None = None
        self._connecting = False
        self._engine: ConnectionEndpoint | None = None
        self._timers: list[_Timer] = []
        self._tidy_at = _MANY_TIMERS
        #: When the stream was last looked at.
        self._turned = 0.0
        self._tasks: list[_Task] = []
        self._unsent: deque[bytes | memoryview] = deque()
        #: When something was written last, and whether there is something that waits for others to go out with.
        self._wrote = 0.0
        self._held = False
        #: Whether something was written since somebody waited.
        self._spoke = False
        #: How often to sleep at once before the next look for an answer.
        self._rests = 0
        self._engine_timer: _Timer | None = None
        #: A pipe that wakes the leader, while there is a stream or may be one again; whether there is a byte in it.
        self._wakeup_read, self._wakeup_write = -1, -1
        self._interrupted = False
        #: What the leader waits with, and what it was made for.
        self._poller = select.poll()
        self._polled: tuple[object, int, bool] | None = None
        self._to_close: list[socket.socket | SocketTunnel | int] = []

    def __del__(self) -> None:
        # Forgotten without having been closed; the stream closes itself.
        if self._wakeup_read >= 0:
            os.close(self._wakeup_read)
            os.close(self._wakeup_write)

    # -- the face of `uamqp.sync` --------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the client to its end, moving bytes as needed."""
        if self._forks != _forks or _get_running_loop() is not None:
            self._refuse(coroutine)
        task = _Task(coroutine)
        outside_error: BaseException | None = None
        # Whether this thread is waiting, so that an interrupt finds the engine at rest.
        waiting = False
        try:
            while True:
                with self._lock:
                    waited, waiting = waiting, False
                    if self._leader is task:
                        self._leader = None
                        self._turn()
                    elif waited:
                        self._run_timers(time.monotonic())
                    else:
                        self._look()
                    self._step(task)
                    self._finish_step()
                    if task.done:
                        break
                    outside = task.waiter if isinstance(task.waiter, Outside) else None
                    if outside is None:
                        if task.can_go_on():
                            continue
                        waiting = True
                        if self._leader is not None or self._wakeup_read < 0:
                            self._follow(task)
                            continue
                        self._leader = task
                        poller, milliseconds = self._prepare_poll()
                # The lock is not held here, except by a call inside another one: other threads go on.
                if outside is not None:
                    outside.call()
                    outside_error = outside.error or outside_error
                elif poller is not None:
                    self._poll(poller, milliseconds)
        except BaseException as error:
            # An interrupt, as a rule. The connection survives it, except in the middle of the engine's work.
            with self._lock:
                self._stop(task, None if waiting else error)
            raise
        if self._news and self.stepping != get_ident() and (task.error is None or isinstance(task.error, Exception)):
            # Not where the program is to end: that need not wait for its functions.
            self._tell()
        if task.error is not None:
            # An interrupt of what was called without the lock leaves the engine at rest.
            if not isinstance(task.error, Exception) and task.error is not outside_error:
                with self._lock:
                    self._stop(task, task.error)
            raise task.error
        return task.result  # type: ignore[no-any-return]

    def tell_later(self, function: Callable[[], Any]) -> None:
        """Call a function of the application when a `run` is over, in its thread and without the lock."""
        self._news.append(function)

    def _tell(self) -> None:
        me = get_ident()
        if me in self._telling:
            # What is told calls something here; it goes on when that is over.
            return
        self._telling.add(me)
        try:
            while True:
                try:
                    function = self._news.popleft()
                except IndexError:
                    return
                function()
        finally:
            self._telling.discard(me)

    def call(self, function: Callable[..., T], *args: Any, more: bool = False, **kwargs: Any) -> T:
        """Call something of the client that does not wait, and write what comes of it.

        Where `more` such calls are about to follow, it may be held back a moment for them to go out with it: it goes
        with the next call whatever that is, or the watch sees to it. Where each word on a delivery was written at once,
        receiving took four times as long.
        """
        if self.stepping == get_ident():
            return function(*args, **kwargs)
        if self._forks != _forks or _get_running_loop() is not None:
            self._refuse(None)
        with self._lock:
            try:
                self._look()
                return function(*args, **kwargs)
            finally:
                due = self._wrote + _TOGETHER
                if not more or self._leader is not None or self.now() >= due:
                    self._finish_step()
                elif not self._held:
                    self._held = True
                    WATCH.hold(self, due)

    def _refuse(self, coroutine: Coroutine[Any, Any, Any] | None) -> NoReturn:
        if coroutine is not None:
            coroutine.close()
        if self._forks != _forks:
            problem = "the connection was made before fork(); connect again in this process"
        else:
            problem = "a blocking call would stop the running event loop; use the asynchronous classes there"
        raise LocalProtocolError(problem)

    def keep_alive(self) -> None:
        """Read what came, write what is due, without waiting and only where nobody else does."""
        if self._lock.acquire(blocking=False):
            try:
                if self._leader is None:
                    self._turn()
                    self._finish_step()
            except BaseException as error:
                # Whoever uses the connection next is told. The thread is not the program's, so it is not for an exit to
                # end it.
                self._stop(None, error)
            finally:
                self._lock.release()

    def next_deadline(self) -> float | None:
        """When `keep_alive` should be called next; None where the connection is gone."""
        if self._socket is None and not self._tasks:
            return None
        # Calls are gone when they return, but the tasks beside them have timers of their own.
        timers = [self._engine_timer, *(self._timers[:1] if self._tasks else ())]
        held = [self._wrote + _TOGETHER] if self._held else []
        return min((*held, *(timer.when for timer in timers if timer is not None)), default=None)

    # -- Driver --------------------------------------------------------------------------------------------------

    async def connect(self, route: Route, timeout: float) -> None:
        if self._wakeup_read < 0:
            try:
                self._wakeup_read, self._wakeup_write = os.pipe()
            except OSError as error:
                raise ConnectionLost(f"cannot connect to {route}: {error}") from error
        opening = StreamOpening(route, timeout)
        self._connecting = True
        try:
            # Without the lock: it takes its time, and other threads want theirs, if only to give up waiting.
            self._socket = await self.outside(opening.open)
        except BaseException:
            opening.abandon()
            raise
        finally:
            self._connecting = False
        if self._leader is not None:
            # It knows of no stream, or of the one before.
            self._interrupt_leader()

    def run_engine(self, engine: ConnectionEndpoint) -> None:
        self._engine = engine
        engine.last_received = time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> _Timer:
        if len(self._timers) >= self._tidy_at:
            self._timers = [timer for timer in self._timers if timer.callback is not None]
            heapify(self._timers)
            self._tidy_at = max(_MANY_TIMERS, 2 * len(self._timers))
        timer = _Timer(when, callback)
        heappush(self._timers, timer)
        return timer

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> BackgroundTask:
        task = _Task(coroutine)
        self._tasks.append(task)
        return task

    def flush_soon(self) -> None:
        # `run` and `call` write when their step is over, if not before.
        pass

    def flush(self) -> None:
        self._write()

    def at_once(self, function: Callable[..., T], *args: Any) -> T:
        result = function(*args)
        # The peer has it while this thread makes ready to wait: in blocking code, 1.05 times as fast.
        self._write()
        return result

    async def outside(self, function: Callable[..., T], *args: Any) -> T:
        return await Outside(function, args)  # type: ignore[no-any-return]

    async def disconnect(self, timeout: float) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks.clear()
        self._write()
        self._hang_up()
        self._drop_pipe()
        self.deadlines.release()

    async def renew(self) -> None:
        self._hang_up()
        self._engine = None

    def tick(self) -> None:
        engine = self._engine
        if engine is None or self._socket is None:
            return
        if self._engine_timer is not None:
            self._engine_timer.cancel()
            self._engine_timer = None
        when = engine.tick(time.monotonic())
        if when is not None:
            self._engine_timer = self.call_at(when, self.tick)

    @property
    def _may_connect(self) -> bool:
        """Whether there may be a stream again, which is worth waiting for."""
        return self._connecting or bool(self._tasks)

    # -- waiting; all with the lock held -------------------------------------------------------------------------

    def _prepare_poll(self) -> tuple[select.poll | None, int]:
        """What the leader waits for, and for how many milliseconds; None where it need not wait.

        `_LOOK` is to look for the answer, and to come back for the rest where there is none.
        """
        stream = self._socket
        self._leader_writes = bool(self._unsent)
        if isinstance(stream, _BUFFERED) and stream.pending():
            return None, 0
        polled = (stream, self._wakeup_read, self._leader_writes)
        if polled != self._polled:
            poller = select.poll()
            if stream is not None:
                poller.register(stream, select.POLLIN | (select.POLLOUT if self._leader_writes else 0))
            poller.register(self._wakeup_read, select.POLLIN)
            # Not before it is complete: an interrupt may come in between.
            self._poller, self._polled = poller, polled
        if self._spoke:
            self._spoke = False
            if self._rests:
                self._rests -= 1
            elif _LOOKING and not (self._timers and self._timers[0].when <= time.monotonic() + _LOOKING):
                return self._poller, _LOOK
        delay = self._until_next_timer()
        # Rounded up, not to come back just before the time.
        return self._poller, int(delay * 1000) + 1 if delay else 0

    def _poll(self, poller: select.poll, milliseconds: int) -> None:
        """Wait, or look for the answer to what was just written; by the leader, without the lock."""
        if milliseconds != _LOOK:
            poller.poll(milliseconds)
            return
        until = self.now() + _LOOKING
        while not poller.poll(0):
            if self.now() >= until:
                self._rests = _RESTS
                return

    def _follow(self, task: _Task) -> None:
        """Sleep until the task can go on, a timer is due, or there is no leader.

        Where there is no pipe there is no stream either, and nobody leads: what others do can still help.
        """
        delay = self._until_next_timer()
        if self._leader is None and not self._timers and not self._followers and not self._may_connect:
            raise Stranded("the connection is closed")
        self._followers.append(task)
        # Where the call is one inside another, this thread is in a step, and another one may begin its own meanwhile.
        stepping, self.stepping = self.stepping, 0
        try:
            self._progress.wait(delay)
        finally:
            self.stepping = stepping
            self._followers.remove(task)

    def _wake_others(self) -> None:
        """Wake the threads that have something to do, now that this one did its part."""
        leader = self._leader
        if leader is not None and (leader.can_go_on() or (self._unsent and not self._leader_writes)):
            self._interrupt_leader()
        if leader is None and self._to_close:
            self._close_descriptors()
        if self._followers:
            if any(task.can_go_on() for task in self._followers):
                self._progress.notify_all()
            elif leader is None and self._wakeup_read >= 0:
                self._progress.notify()

    def _interrupt_leader(self) -> None:
        if self._wakeup_write >= 0 and not self._interrupted:
            self._interrupted = True
            os.write(self._wakeup_write, b"\0")

    def _stop(self, task: _Task | None, cause: BaseException | None) -> None:
        """The task will not go on; with a cause, nobody knows what state the engine was left in, so it is given up."""
        if task is not None:
            task.cancel()
            if self._leader is task:
                self._leader = None
        if cause is not None and self._engine is not None:
            self._engine.lose(cause)
            # Nor does anybody know how much of what was being written went out.
            self._hang_up()
        self._finish_step()

    # -- doing what is due; all with the lock held ---------------------------------------------------------------

    def _look(self) -> None:
        """See what came, where nobody did for a while: nothing should be sent on a connection lost long since."""
        if self._leader is None and not self.stepping and self.now() - self._turned > _UNSEEN:
            self._turn()

    def _turn(self) -> None:
        self._turned = now = time.monotonic()
        # Reading comes before the timers: a peer is not silent whose bytes are only waiting to be read.
        self._read()
        if self._engine is not None and self._engine.error is not None:
            # There is a time in which the peer must answer close.
            self.tick()
        self._run_timers(now)

    def _step(self, task: _Task) -> None:
        # Steps may be nested: a call from inside another one of the same thread.
        before, self.stepping = self.stepping, get_ident()
        try:
            task.step()
        finally:
            self.stepping = before

    def _finish_step(self) -> None:
        """Something happened: let the tasks beside the calls go on, write what came of it, tell the other threads."""
        try:
            if self._tasks:
                self._step_tasks()
        finally:
            # Also where one of them was interrupted, or wants the program to exit.
            self._write()
            if self._leader is not None or self._followers or self._to_close:
                self._wake_others()
        if self._leader is None:
            if self._tasks and self._timers:
                # Perhaps nobody will wait here who would see to it.
                WATCH.expect(self._timers[0].when)
            elif self._socket is None and not self._may_connect:
                self._drop_pipe()

    def _step_tasks(self) -> None:
        # One of them may wake another that had its turn already.
        while self._tasks and (ready := [task for task in self._tasks if task.can_go_on()]):
            try:
                for task in ready:
                    self._step(task)
                    if not task.done and isinstance(task.waiter, Outside) and not task.waiter.begun:
                        self._call_outside(task, task.waiter)
                    if task.error is not None and not isinstance(task.error, Exception):
                        # An interrupt or exit: meant for the program, which happened to be here.
                        raise task.error
            finally:
                self._tasks = [task for task in self._tasks if not task.done]

    def _call_outside(self, task: _Task, outside: Outside) -> None:
        """Make the call that a task wants, in another thread: the one whose step this was has a task of its own."""
        outside.begun = True

        def call() -> None:
            outside.call()
            try:
                self._attend(task)
            except BaseException as error:
                # An exit would end this thread only, and nobody would hear of it.
                with self._lock:
                    self._stop(None, error)

        threading.Thread(target=call, name="uamqp-outside", daemon=True).start()

    def _attend(self, task: _Task) -> None:
        """Go on with a background task as long as it waits for the peer.

        The program may be busy elsewhere for long, and all that the watch does is what is due at a time.
        """
        with self._lock:
            self._finish_step()
            if self._leader is not None:
                # There may be another stream now, or a timer that it does not know of.
                self._interrupt_leader()
        while True:
            with self._lock:
                if self._leader is task:
                    self._leader = None
                    self._turn()
                else:
                    self._run_timers(time.monotonic())
                self._finish_step()
                if task.done or isinstance(task.waiter, (_Alarm, Outside)):
                    return
                if task.can_go_on():
                    continue
                if self._leader is not None or self._wakeup_read < 0:
                    self._follow(task)
                    continue
                self._leader = task
                poller, milliseconds = self._prepare_poll()
            if poller is not None:
                self._poll(poller, milliseconds)

    def _until_next_timer(self) -> float:
        while self._timers and self._timers[0].callback is None:
            heappop(self._timers)
        if not self._timers:
            return LONGEST_WAIT
        return min(max(0.0, self._timers[0].when - time.monotonic()), LONGEST_WAIT)

    def _run_timers(self, now: float) -> None:
        while self._timers and self._timers[0].when <= now:
            callback = heappop(self._timers).callback
            if callback is not None:
                callback()

    def _read(self) -> None:
        if self._interrupted:
            self._interrupted = False
            os.read(self._wakeup_read, 1)
        engine, stream = self._engine, self._socket
        if engine is None or stream is None:
            return
        while True:
            try:
                data = stream.recv(READ_SIZE) if isinstance(stream, SocketTunnel) else INBOX.read(stream.recv_into)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                if isinstance(stream, SocketTunnel) and stream.heard:
                    engine.last_received = time.monotonic()
                return
            except OSError as error:
                engine.lose(error)
                return
            if not data:
                engine.receive_eof()
                return
            # Not the time of the turn: a read may take longer than the peer may be silent.
            engine.last_received = time.monotonic()
            engine.receive_data(data)
            # A plain socket has given all there was; others may keep more in a buffer of their own.
            if len(data) < READ_SIZE and not (isinstance(stream, _BUFFERED) and stream.pending()):
                return

    def _write(self) -> None:
        if self._held:
            self._held = False
            WATCH.let_go(self)
        engine = self._engine
        if engine is None or not (engine.output_pending or self._unsent or engine.closed):
            return
        while True:
            chunks = engine.data_to_send()
            if chunks and self._socket is not None:
                self._unsent += pieces_of(chunks)
            if self._unsent:
                self._send()
            if self._unsent and sum(map(len, self._unsent)) > HIGH_WATER:
                engine.pause()
            elif engine.paused:
                engine.resume()
            if not chunks or not engine.unfinished:
                break
        if engine.closed and not self._unsent:
            self._hang_up()

    def _send(self) -> None:
        stream, engine = self._socket, self._engine
        assert engine is not None
        while self._unsent and stream is not None:
            # It is taken before it is sent: where an interrupt comes right after, it must not be sent once more.
            piece = self._unsent.popleft()
            try:
                sent = stream.send(piece)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._unsent.appendleft(piece)
                return
            except OSError as error:
                self._unsent.clear()
                engine.lose(error)
                return
            self._spoke = True
            self._wrote = time.monotonic()
            engine.wrote(self._wrote)
            if sent < len(piece):
                self._unsent.appendleft(memoryview(piece)[sent:])

    def _hang_up(self) -> None:
        """Give the stream up; safe to call twice."""
        stream, self._socket = self._socket, None
        if stream is None:
            return
        self._polled = None
        self._unsent.clear()
        if self._engine_timer is not None:
            self._engine_timer.cancel()
        self._let_go(stream)
        if not self._may_connect:
            self._drop_pipe()

    def _drop_pipe(self) -> None:
        if self._wakeup_read >= 0:
            pipe = self._wakeup_read, self._wakeup_write
            if self._leader is not None:
                self._interrupt_leader()
            # First, so that an interrupt in between cannot have them closed twice.
            self._wakeup_read, self._wakeup_write = -1, -1
            self._interrupted = False
            self._let_go(*pipe)

    def _let_go(self, *descriptors: socket.socket | SocketTunnel | int) -> None:
        self._to_close += descriptors
        if self._leader is None:
            self._close_descriptors()
        else:
            # It waits for these very descriptors; they are closed when it is back.
            self._interrupt_leader()

    def _close_descriptors(self) -> None:
        while self._to_close:
            descriptor = self._to_close.pop()
            if isinstance(descriptor, int):
                os.close(descriptor)
            else:
                descriptor.close()
