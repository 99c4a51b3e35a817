"""Bugs to plant: each is a method of the library with one piece of its text replaced by another."""

from __future__ import annotations

import inspect
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

from uamqp.aio import cbs
from uamqp.aio import connection as aio_connection
from uamqp.aio import credit as aio_credit
from uamqp.aio import link as aio_link
from uamqp.aio import receiver as aio_receiver
from uamqp.aio import sender as aio_sender
from uamqp.broker import nodes, peer, server
from uamqp.engine import connection, delivery, receiver, run, sender, session, settlement
from uamqp.testing.simulation import RecoveryMode
from uamqp.transport import driver, event_loop


@dataclass(frozen=True)
class Mutant:
    """One bug.

    Attributes:
        name: what goes wrong.
        owner, method: where.
        old, new: the text that is right, and the one that is wrong.
        seeds: so many seeds are more than enough to find it; most need one or two dozen.
        first: the seed to begin with, for those that only one in hundreds finds.
        places: how often the text is there; the bug is in all of them.
        recovery: as in `simulate`.
    """

    name: str
    owner: type | Any
    method: str
    old: str
    new: str
    seeds: int = 1000
    first: int = 0
    places: int = 1
    recovery: RecoveryMode = "off"

    def planted(self) -> Any:
        """The method with the bug in it."""
        source = textwrap.dedent(inspect.getsource(inspect.getattr_static(self.owner, self.method)))
        assert source.count(self.old) == self.places, f"{self.name}: {self.old!r} is elsewhere"
        module = sys.modules[self.owner.__module__ if isinstance(self.owner, type) else self.owner.__name__]
        names: dict[str, Any] = {}
        # Methods that call `super()` without arguments need the class around them.
        wrapped = f"class {getattr(self.owner, '__name__', 'x')}_:\n" + textwrap.indent(
            source.replace(self.old, self.new).replace(
                "super()", f"super({getattr(self.owner, '__name__', 'x')}, self)"
            ),
            "    ",
        )
        exec(f"from __future__ import annotations\n{wrapped}", module.__dict__, names)
        return vars(next(iter(v for k, v in names.items() if k != "annotations")))[self.method]


MUTANTS = [
    Mutant("send does not wait for the outcome", aio_sender.Sender, "send", "if delivery.settled:", "if True:"),
    Mutant(
        "a time-out of send is taken for success",
        aio_sender.Sender,
        "send",
        "if delivery.state is not ACCEPTED or not delivery.settled:",
        "if False:",
    ),
    Mutant("send_many forgets failures", aio_sender._Batch, "result", "if self._failures:", "if False:"),
    Mutant("send_many counts wrong", aio_sender._Batch, "_collect", "self._done += 1", "self._done += self._done < 2"),
    Mutant(
        "what was sent is said to be not sent",
        sender.SenderEndpoint,
        "_abandon",
        "error = InDoubt(",
        "error = NotSent(",
        places=3,
    ),
    Mutant(
        "what is in doubt is said to be accepted",
        delivery.OutgoingDelivery,
        "failure",
        "return self.error.again()",
        "return None",
    ),
    Mutant(
        "what is withdrawn goes out all the same",
        sender.SenderEndpoint,
        "withdraw",
        "self.queue.remove(delivery)",
        "pass",
        places=2,
    ),
    Mutant("sends without credit", sender.SenderEndpoint, "send", "not self.credit", "False"),
    Mutant(
        "takes back more credit than was given",
        sender.SenderEndpoint,
        "on_flow",
        "left = (credit - unseen) & MASK",
        "left = (credit - unseen + 1) & MASK",
    ),
    Mutant(
        "the last frame of a large delivery is lost",
        receiver.ReceiverEndpoint,
        "_on_partial_transfer",
        "if not partial.dropped:",
        "if not partial.dropped and (more or not partial.chunks):",
    ),
    Mutant(
        "who said a disposition does not matter",
        session.SessionEndpoint,
        "on_disposition",
        "if role:",
        "if role or self.outgoing_unsettled:",
        first=2200,
    ),
    Mutant(
        "the last delivery of a disposition is forgotten",
        session.SessionEndpoint,
        "_on_outcomes",
        "_ids(first, last, unsettled)",
        "_ids(first, last if last == first else (last - 1) & MASK, unsettled)",
    ),
    Mutant(
        "what becomes of one message becomes of all that were sent with it",
        session.SessionEndpoint,
        "_on_outcomes_of_runs",
        "state is not ACCEPTED",
        "False",
    ),
    Mutant(
        "one message more of a run is accepted",
        run.OutgoingRun,
        "accept",
        "distance(self.next, last) + 1",
        "distance(self.next, last) + 2",
    ),
    Mutant(
        "what is left of a run is forgotten",
        session.SessionEndpoint,
        "break_up",
        "self.outgoing_unsettled[delivery.id] = delivery",
        "self.outgoing_unsettled.setdefault(self.runs[0].first, delivery)",
    ),
    Mutant(
        "dispositions that wait are dropped",
        settlement.Dispositions,
        "take",
        "runs += self._closed",
        "pass",
    ),
    Mutant(
        "a delivery is settled twice",
        delivery.IncomingDelivery,
        "settle",
        "if self.settled or self.state is not None:",
        "if self.error:",
    ),
    Mutant(
        "accepted alone is not written",
        delivery.IncomingDelivery,
        "accept",
        "session.settle_incoming(id",
        "id < 0 and session.settle_incoming(id",
    ),
    Mutant(
        "not accepted is written as accepted",
        delivery.IncomingDelivery,
        "encoded",
        "encoded = encode_state(state, ",
        "encoded = encode_state(ACCEPTED, ",
    ),
    Mutant("confirmed does not wait", aio_link.Link, "_settled", "if delivery.settled:", "if True:"),
    Mutant(
        "credit is not given again",
        aio_credit.Prefetch,
        "taken",
        "receiver.flow(max(0, self.count - receiver.queued - receiver._arriving))",
        "pass",
    ),
    Mutant(
        "one credit too many",
        aio_credit.Prefetch,
        "taken",
        "self.count - receiver.queued",
        "self.count + 1 - receiver.queued",
    ),
    Mutant(
        "a receiver gives nothing back on close", aio_receiver.Receiver, "_release_all", "delivery.release()", "pass"
    ),
    Mutant(
        "a connection that is closed keeps its stream",
        event_loop.EventLoopDriver,
        "disconnect",
        "self._hang_up(timeout)",
        "pass",
    ),
    Mutant(
        "nobody can connect again",
        aio_connection.Connection,
        "_connect",
        "left = driver.countdown(options.connect_timeout)",
        "left = driver.countdown(options.connect_timeout)\n"
        "    if options.container_id[-2:] != '-1': raise OperationTimeout('never')",
    ),
    Mutant("time-outs never come", driver.Deadlines, "_expire", "waiter.set_result(False)", "pass"),
    Mutant("time-outs come late", driver.Deadlines, "add", "self._now() + timeout", "self._now() + 3 * timeout"),
    Mutant(
        "a peer that is silent is never given up",
        connection.ConnectionEndpoint,
        "tick",
        "if now >= deadline:\n            description",
        "if False:\n            description",
    ),
    Mutant("no heartbeats", connection.ConnectionEndpoint, "tick", "self.write(EMPTY_FRAME)", "pass"),
    Mutant("who waits is not told of the end", sender.SenderEndpoint, "_abandon", "if ended:", "if not ended:"),
    Mutant(
        "the broker accepts what it refuses",
        peer.Producer,
        "_refuse",
        "delivery.reject(condition, description[:MAX_DESCRIPTION])",
        "delivery.accept()",
    ),
    Mutant(
        "the broker forgets what a lost client had",
        nodes.Queue,
        "settled",
        "isinstance(outcome, Accepted)",
        "isinstance(outcome, Accepted) or delivery.error",
    ),
    Mutant("the broker keeps what was accepted", nodes.Queue, "settled", "self.forget(entry)", "self.give_back(entry)"),
    Mutant(
        "the broker drops what is released",
        nodes.Queue,
        "settled",
        "else:\n            self.give_back(entry)",
        "else:\n            pass",
    ),
    Mutant("the broker never forgets a client", server.Broker, "closed", "self._connections.pop(peer, None)", "pass"),
    Mutant("links do not tell who waits of their end", aio_link.Link, "_ended", "self._changed.notify()", "pass"),
    Mutant(
        "a stream that broke is not noticed",
        event_loop.EventLoopDriver,
        "connection_lost",
        "self.engine.lose(exc)",
        "pass",
    ),
    Mutant(
        "tokens are renewed when they have expired",
        cbs.TokenKeeper,
        "_keep",
        "max(life - window, min(life, MIN_INTERVAL))",
        "life + 10",
    ),
    Mutant(
        "tokens are not put again on a new connection",
        cbs.TokenKeeper,
        "restore",
        "if self.error is not None or self._engine is connection._engine:",
        "if True:",
        recovery="on",
    ),
    Mutant(
        "drain forgets what is half here",
        receiver.ReceiverEndpoint,
        "check_drained",
        " and self._partial is None",
        "",
        first=240,
    ),
]
