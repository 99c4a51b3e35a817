"""Two engines joined in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uamqp.codec.definitions import Error, Source, Target
from uamqp.engine.connection import ConnectionEndpoint
from uamqp.engine.delivery import IncomingDelivery
from uamqp.engine.link import LinkEndpoint
from uamqp.engine.observer import Observer
from uamqp.engine.receiver import ReceiverEndpoint
from uamqp.engine.run import Outgoing
from uamqp.engine.sender import SenderEndpoint
from uamqp.engine.session import SessionEndpoint
from uamqp.engine.settings import ConnectionSettings
from uamqp.exceptions import AMQPError


class Recorder(Observer):
    """Writes down what it is told, and answers what the peer opens when `accepting`."""

    def __init__(self, *, accepting: bool = False) -> None:
        self.engine: ConnectionEndpoint
        self.accepting = accepting
        self.events: list[tuple[Any, ...]] = []
        self.sessions: list[SessionEndpoint] = []
        self.links: list[LinkEndpoint] = []
        self.refuse_with: Error | None = None
        self.attach_options: dict[str, Any] = {}

    def named(self, name: str) -> list[tuple[Any, ...]]:
        return [e for e in self.events if e[0] == name]

    def on_open(self) -> None:
        self.events.append(("open",))
        if self.accepting:
            self.engine.open()

    def on_begin(self, session: SessionEndpoint) -> None:
        self.events.append(("begin", session))
        self.sessions.append(session)
        if self.accepting:
            session.begin()

    def on_attach(self, link: LinkEndpoint) -> None:
        self.events.append(("attach", link))
        self.links.append(link)
        if self.accepting:
            assert link.remote_attach is not None
            if self.refuse_with is not None:
                link.refuse(self.refuse_with)
                return
            link.attach(
                link.remote_attach.source,
                link.remote_attach.target,
                sender_settle_mode=link.remote_attach.snd_settle_mode,
                receiver_settle_mode=link.remote_attach.rcv_settle_mode,
                **self.attach_options,
            )

    def on_detach(self, link: LinkEndpoint, error: AMQPError | None) -> None:
        self.events.append(("detach", link, error))

    def on_end(self, session: SessionEndpoint, error: AMQPError | None) -> None:
        self.events.append(("end", session, error))

    def on_close(self, error: AMQPError | None) -> None:
        self.events.append(("close", error))

    def on_drained(self, receiver: ReceiverEndpoint) -> None:
        self.events.append(("drained", receiver))

    def on_deliveries(self, receiver: ReceiverEndpoint) -> None:
        self.events.append(("deliveries", receiver))

    def on_wasted(self, receiver: ReceiverEndpoint, count: int) -> None:
        self.events.append(("wasted", receiver, count))

    def on_credit(self, sender: SenderEndpoint) -> None:
        self.events.append(("credit", sender))

    def on_settled(self, deliveries: Sequence[Outgoing]) -> None:
        self.events.append(("settled", list(deliveries)))

    def on_incoming_settled(self, deliveries: list[IncomingDelivery]) -> None:
        self.events.append(("incoming_settled", list(deliveries)))


class Wire:
    """A client and a server engine; `run` carries bytes until both are silent.

    `cut` carries them in pieces of so many bytes.
    """

    def __init__(
        self,
        *,
        client_sasl: Any = None,
        server_sasl: Any = None,
        client: dict[str, Any] | None = None,
        server: dict[str, Any] | None = None,
        sasl_required: bool = True,
        cut: int = 0,
    ) -> None:
        self.cut = cut
        self.client_log = Recorder()
        self.server_log = Recorder(accepting=True)
        self.client = ConnectionEndpoint(
            self.client_log, ConnectionSettings("client", **(client or {})), sasl=client_sasl
        )
        self.server = ConnectionEndpoint(
            self.server_log,
            ConnectionSettings("server", **(server or {})),
            server=True,
            sasl=server_sasl,
            sasl_required=sasl_required,
        )
        self.client_log.engine = self.client
        self.server_log.engine = self.server
        self.carried = {"client": b"", "server": b""}

    def carry(self, source: ConnectionEndpoint, target: ConnectionEndpoint) -> bool:
        data = b"".join(source.data_to_send())
        self.carried["client" if source is self.client else "server"] += data
        if self.cut:
            for start in range(0, len(data), self.cut):
                target.receive_data(data[start : start + self.cut])
        elif data:
            target.receive_data(data)
        return bool(data)

    def run(self) -> None:
        for _ in range(10_000):
            moved = self.carry(self.client, self.server)
            if not self.carry(self.server, self.client) and not moved:
                return
        raise AssertionError("the engines never fall silent")

    def open(self) -> Wire:
        self.client.start()
        self.run()
        assert self.client.remote_open is not None
        return self

    def begin(self, **options: Any) -> SessionEndpoint:
        session = self.client.session(first_id=options.pop("first_id", 0))
        session.begin(**options)
        self.run()
        return session

    def sender(
        self, session: SessionEndpoint | None = None, name: str = "link", *, credit: int = 0, **options: Any
    ) -> tuple[SenderEndpoint, ReceiverEndpoint]:
        """A link from client to server: both its ends."""
        session = session or self.begin()
        sender = session.sender(name)
        sender.attach(Source(address="a"), Target(address="b"), **options)
        self.run()
        receiver = self.server_log.links[-1]
        assert isinstance(receiver, ReceiverEndpoint)
        if credit:
            receiver.flow(credit)
            self.run()
        return sender, receiver

    def receiver(
        self, session: SessionEndpoint | None = None, name: str = "link", *, credit: int = 0, **options: Any
    ) -> tuple[ReceiverEndpoint, SenderEndpoint]:
        """A link from server to client: both its ends."""
        session = session or self.begin()
        receiver = session.receiver(name)
        receiver.attach(Source(address="a"), Target(address="b"), **options)
        self.run()
        sender = self.server_log.links[-1]
        assert isinstance(sender, SenderEndpoint)
        if credit:
            receiver.flow(credit)
            self.run()
        return receiver, sender
