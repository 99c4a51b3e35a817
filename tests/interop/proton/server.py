"""A peer on proton that listens, and does what the first part of an address says.

It prints what happens as JSON lines; the first one has its port. tests/interop/rhea/server.js is the same on rhea.
"""

from __future__ import annotations

import json
import sys
import threading
import uuid
from collections import defaultdict
from typing import Any

from proton import Condition, Delivery, Endpoint, Message, Terminus, symbol
from proton.handlers import MessagingHandler
from proton.reactor import Container

LARGE = 5_000_000
OUTCOMES = {
    Delivery.ACCEPTED: "accepted",
    Delivery.REJECTED: "rejected",
    Delivery.RELEASED: "released",
    Delivery.MODIFIED: "modified",
}


def say(**event: Any) -> None:
    print(json.dumps(event), flush=True)


class Server(MessagingHandler):
    """What the server does with each link."""

    def __init__(self) -> None:
        super().__init__(prefetch=0, auto_accept=False, auto_settle=False)
        self.stored: defaultdict[str, list[Message]] = defaultdict(list)
        self.pending: dict[Any, list[Message]] = {}
        self.repliers: dict[str, Any] = {}

    def on_start(self, event: Any) -> None:
        acceptor = event.container.listen("127.0.0.1:0")
        say(port=acceptor._selectable._delegate.getsockname()[1])

    # -- links ---------------------------------------------------------------------------------------------------

    def on_link_opening(self, event: Any) -> None:
        link = event.link
        if link.is_sender:
            address = link.remote_source.address
            if link.remote_source.dynamic:
                address = f"dynamic-{uuid.uuid4()}"
                link.source.dynamic = True
                self.repliers[address] = link
            link.source.address = address
            link.target.address = link.remote_target.address
        else:
            address = link.remote_target.address
            link.target.address = address
            link.source.address = link.remote_source.address
        kind, _, rest = (address or "").partition("/")
        if kind == "refuse":
            (link.source if link.is_sender else link.target).type = Terminus.UNSPECIFIED
            return
        if link.is_receiver:
            link.flow(100)
            return
        link.rcv_settle_mode = link.remote_rcv_settle_mode
        if kind == "give":
            self.pending[link] = [Message(n) for n in range(int(rest.partition("/")[0]))]
        elif kind == "large":
            self.pending[link] = [Message(b"\x07" * LARGE, inferred=True)]
        elif kind == "close":
            self.pending[link] = [Message("last")]
        else:
            self.pending[link] = self.stored[address]

    def on_link_local_open(self, event: Any) -> None:
        link = event.link
        if (link.source if link.is_sender else link.target).type == Terminus.UNSPECIFIED:
            self.close(link, "amqp:unauthorized-access", "not for you")

    # -- clients that receive ------------------------------------------------------------------------------------

    def on_link_flow(self, event: Any) -> None:
        if event.link.is_sender and event.link.state & Endpoint.LOCAL_ACTIVE:
            self.serve(event.link)
            event.link.drained()

    def serve(self, link: Any) -> None:
        pending = self.pending.get(link, [])
        while pending and link.credit > 0:
            link.send(pending.pop(0))
            if link.source.address.startswith("close/"):
                self.close(link, "amqp:resource-deleted", "gone")
                return

    def on_delivery(self, event: Any) -> None:
        delivery = event.delivery
        if delivery.link.is_sender and delivery.updated and delivery.remote_state in OUTCOMES:
            self.say_outcome(delivery)
            delivery.settle()

    def say_outcome(self, delivery: Any) -> None:
        remote = delivery.remote
        condition = remote.condition
        annotations = remote.annotations
        say(
            address=delivery.link.source.address,
            outcome=OUTCOMES[delivery.remote_state],
            settled=delivery.settled,
            condition=condition.name if condition else None,
            description=condition.description if condition else None,
            delivery_failed=remote.failed,
            undeliverable_here=remote.undeliverable,
            annotations={str(k): v for k, v in annotations.items()} if annotations else None,
        )

    # -- clients that send ---------------------------------------------------------------------------------------

    def on_message(self, event: Any) -> None:
        message, delivery, link = event.message, event.delivery, event.link
        address = link.target.address
        say(
            address=address,
            settled=delivery.settled,
            subject=message.subject,
            size=len(message.body) if isinstance(message.body, bytes | str) else 0,
        )
        answer = getattr(self, "answer_" + address.partition("/")[0].replace("-", "_"), self.answer_accept)
        answer(event, address)

    def answer_accept(self, event: Any, address: str) -> None:
        self.finish(event.delivery, Delivery.ACCEPTED)
        event.link.flow(1)

    def answer_store(self, event: Any, address: str) -> None:
        self.stored[address].append(event.message)
        self.answer_accept(event, address)

    def answer_service(self, event: Any, address: str) -> None:
        self.answer_accept(event, address)
        request = event.message
        self.repliers[request.reply_to].send(Message(request.body, correlation_id=request.id))

    def answer_reject(self, event: Any, address: str) -> None:
        event.delivery.local.condition = Condition("com.example:bad", "so bad")
        self.finish(event.delivery, Delivery.REJECTED)

    def answer_release(self, event: Any, address: str) -> None:
        self.finish(event.delivery, Delivery.RELEASED)

    def answer_modify(self, event: Any, address: str) -> None:
        local = event.delivery.local
        local.failed = local.undeliverable = True
        local.annotations = {symbol("x-opt-note"): "hm"}
        self.finish(event.delivery, Delivery.MODIFIED)

    def answer_silent(self, event: Any, address: str) -> None:
        pass

    def answer_close(self, event: Any, address: str) -> None:
        self.close(event.link, "amqp:resource-deleted", "gone")

    def answer_end_session(self, event: Any, address: str) -> None:
        self.close(event.session, "amqp:internal-error", "no more")

    def answer_close_connection(self, event: Any, address: str) -> None:
        self.close(event.connection, "amqp:connection:forced", "over")

    def answer_cut(self, event: Any, address: str) -> None:
        event.transport.close_tail()
        event.transport.close_head()

    def finish(self, delivery: Any, state: Any) -> None:
        delivery.update(state)
        delivery.settle()

    def close(self, endpoint: Any, condition: str, description: str) -> None:
        endpoint.condition = Condition(condition, description)
        endpoint.close()

    # What the client ends is not worth a word.

    def on_link_error(self, event: Any) -> None:
        event.link.close()

    def on_connection_error(self, event: Any) -> None:
        event.connection.close()

    def on_transport_error(self, event: Any) -> None:
        pass


def end_with_the_parent() -> None:
    sys.stdin.read()
    # The reactor knows no other way to be stopped from another thread.
    import os

    os._exit(0)


threading.Thread(target=end_with_the_parent, daemon=True).start()
Container(Server()).run()
