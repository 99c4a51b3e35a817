"""Whatever arrives: nothing is raised, the owner hears of the end, and cutting the bytes changes nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from uamqp.codec.definitions import (
    ACCEPTED,
    DeleteOnClose,
    Error,
    Modified,
    Received,
    Rejected,
    Released,
    Source,
    Target,
)
from uamqp.codec.hot import frame
from uamqp.codec.performatives import (
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslChallenge,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    SaslResponse,
    Transfer,
)
from uamqp.codec.values import Symbol
from uamqp.engine.connection import AMQP_HEADER, EMPTY_FRAME, SASL_HEADER, ConnectionEndpoint
from uamqp.engine.receiver import ReceiverEndpoint
from uamqp.engine.sasl import Anonymous, SaslClient, SaslServer
from uamqp.engine.settings import ConnectionSettings
from uamqp.exceptions import AMQPError, EncodeError, LocalProtocolError

from .wire import Recorder, Wire

BODY = b"\x00\x53\x75\xa0\x01x"

PERFORMATIVES: list[tuple[Any, bytes]] = [
    (Open("peer"), b""),
    (Open("peer", max_frame_size=512, channel_max=0, idle_time_out=1), b""),
    (Begin(next_outgoing_id=0, incoming_window=5, outgoing_window=5), b""),
    (Begin(remote_channel=0, next_outgoing_id=2**32 - 1, incoming_window=0, outgoing_window=5, handle_max=0), b""),
    (Attach(name="a", handle=0, role=False, source=Source(), target=Target(), initial_delivery_count=0), b""),
    (Attach(name="b", handle=1, role=True, source=Source(address="x" * 400), target=Target()), b""),
    (Attach(name="c", handle=0, role=True, source=Source(dynamic=True), properties={Symbol("p"): "y" * 900}), b""),
    (Attach(name="a", handle=3, role=True, unsettled={b"t": Received(0, 0)}, incomplete_unsettled=True), b""),
    (Attach(name="d", handle=5, role=True, source=Source(dynamic_node_properties={
        Symbol("lifetime-policy"): DeleteOnClose()})), b""),
    (Flow(next_incoming_id=0, incoming_window=9, next_outgoing_id=0, outgoing_window=9, handle=0, delivery_count=0,
          link_credit=5), b""),
    (Flow(next_incoming_id=0, incoming_window=9, next_outgoing_id=0, outgoing_window=9, handle=1, delivery_count=0,
          link_credit=2**32 - 1, drain=True, echo=True), b""),
    (Flow(incoming_window=0, next_outgoing_id=7, outgoing_window=0, echo=True), b""),
    (Transfer(handle=0, delivery_id=0, delivery_tag=b"t"), BODY),
    (Transfer(handle=0, delivery_id=1, delivery_tag=b"t", settled=True, more=True), b"xx"),
    (Transfer(handle=0, more=False), BODY),
    (Transfer(handle=0, aborted=True), b""),
    (Transfer(handle=1, delivery_id=3, delivery_tag=b"t" * 40), BODY),
    (Disposition(role=True, first=0, last=9, settled=True, state=ACCEPTED), b""),
    (Disposition(role=True, first=9, last=0, settled=True, state=Released()), b""),
    (Disposition(role=False, first=0, last=2**32 - 1, settled=True), b""),
    (Disposition(role=True, first=0, settled=False, state=Rejected(Error(Symbol("x"), "y"))), b""),
    (Disposition(role=True, first=0, settled=False, state=Modified(True, True, {Symbol("a"): 1})), b""),
    (Detach(handle=0, closed=True), b""),
    (Detach(handle=1, error=Error(Symbol("amqp:link:redirect"), None, {Symbol("hostname"): "h"})), b""),
    (End(), b""),
    (End(Error(Symbol("amqp:internal-error"))), b""),
    (Close(Error(Symbol("amqp:connection:forced"), "\x1b[31m\n" * 9)), b""),
    (SaslMechanisms((Symbol("ANONYMOUS"),)), b""),
    (SaslInit(Symbol("ANONYMOUS"), b""), b""),
    (SaslChallenge(b"x"), b""),
    (SaslResponse(b"x"), b""),
    (SaslOutcome(0), b""),
    (SaslOutcome(1), b""),
]  # fmt: skip
FRAMES = [frame(channel, p.encode() + payload) for p, payload in PERFORMATIVES[:27] for channel in (0, 1, 300)]
FRAMES += [frame(0, p.encode(), 1) for p, _ in PERFORMATIVES[27:]]
FRAMES += [frame(0, p.encode(), kind) for p, _ in PERFORMATIVES for kind in (0, 1, 2)]
FRAMES += [EMPTY_FRAME, AMQP_HEADER, SASL_HEADER]


class Busy(Recorder):
    """Uses what it is given: gives credit, sends, settles, so that there is state to be attacked."""

    def on_attach(self, link: Any) -> None:
        super().on_attach(link)
        if link.error is None and link.attach_frame is not None:
            if isinstance(link, ReceiverEndpoint):
                link.flow(10)
            else:
                link.send(BODY)
                link.send(BODY * 200)

    def on_deliveries(self, receiver: Any) -> None:
        while receiver.queue:
            delivery = receiver.queue.popleft()
            if not delivery.settled:
                delivery.accept()


def engine(role: str) -> tuple[ConnectionEndpoint, Busy]:
    log = Busy(accepting=True)
    server = role.startswith("server")
    sasl: Any = None
    if role.endswith("sasl"):
        sasl = SaslServer(["ANONYMOUS"], lambda m, r: "") if server else SaslClient([Anonymous()])
    made = ConnectionEndpoint(log, ConnectionSettings("us", channel_max=3), server=server, sasl=sasl)
    log.engine = made
    if not server:
        log.accepting = True
        made.start()
        log.on_open = lambda: log.events.append(("open",))  # type: ignore[method-assign]
    return made, log


def feed(role: str, data: bytes, cut: int) -> tuple[list[str], bytes, str]:
    """What the owner heard, what was written, and how it ended, for these bytes in pieces."""
    made, log = engine(role)
    written = b""
    for start in range(0, len(data), cut):
        made.receive_data(data[start : start + cut])
        for _ in range(100):
            chunks = made.data_to_send()
            if not chunks:
                break
            written += b"".join(chunks)
    made.receive_eof()
    assert made.error is not None and isinstance(made.error, AMQPError)
    assert len(log.named("close")) == 1
    kinds = [e[0] for e in log.events if e[0] not in ("credit", "deliveries", "settled", "incoming_settled", "drained")]
    return kinds, written, made.error.condition or type(made.error).__name__


def stream(chance: random.Random, role: str) -> bytes:
    """A plausible conversation, damaged here and there."""
    parts = []
    if chance.random() < 0.9:
        if role.endswith("sasl"):
            first = PERFORMATIVES[28] if role.startswith("server") else PERFORMATIVES[27]
            parts += [SASL_HEADER, frame(0, first[0].encode(), 1)]
            if role == "client-sasl":
                parts.append(frame(0, SaslOutcome(0).encode(), 1))
        parts.append(AMQP_HEADER)
        if chance.random() < 0.9:
            parts.append(frame(0, PERFORMATIVES[chance.randrange(2)][0].encode()))
            if chance.random() < 0.9:
                parts.append(frame(0, PERFORMATIVES[2][0].encode()))
                parts += [frame(0, PERFORMATIVES[n][0].encode()) for n in (4, 5, 9) if chance.random() < 0.8]
    parts += chance.choices(FRAMES, k=chance.randrange(12))
    data = bytearray(b"".join(parts))
    for _ in range(chance.choice([0, 0, 1, 1, 2, 5])):
        if data:
            place = chance.randrange(len(data))
            action = chance.randrange(4)
            if action == 0:
                data[place] ^= 1 << chance.randrange(8)
            elif action == 1:
                data[place] = chance.randrange(256)
            elif action == 2:
                del data[place : place + chance.randrange(1, 9)]
            else:
                data[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
    return bytes(data)


@pytest.mark.bulk
@pytest.mark.parametrize("role", ["client", "server", "client-sasl", "server-sasl"])
def test_streams(role: str) -> None:
    for seed in range(1500):
        chance = random.Random(f"{role} {seed}")
        data = stream(chance, role)
        try:
            whole = feed(role, data, max(1, len(data)))
            if seed % 10 == 0:
                events, _, end = feed(role, data, chance.choice([1, 3, 7]))
                assert (events, end) == (whole[0], whole[2])
        except Exception as error:
            raise AssertionError(f"seed {seed}: {data.hex()}") from error


def test_the_seeds_reach_deep() -> None:
    """The streams above are of use only if many of them get as far as links."""
    reached = sum(
        "attach" in feed("server", stream(random.Random(f"server {n}"), "server"), 10**6)[0] for n in range(200)
    )
    assert reached > 50


# -- answers that cannot be given -------------------------------------------------------------------------------


def peer_of(**fields: Any) -> tuple[ConnectionEndpoint, Recorder]:
    log = Recorder(accepting=True)
    made = ConnectionEndpoint(log, ConnectionSettings("us"), server=True)
    log.engine = made
    made.receive_data(AMQP_HEADER + frame(0, Open("peer", **fields).encode()))
    made.data_to_send()
    return made, log


def test_more_sessions_than_the_peer_itself_takes() -> None:
    made, _ = peer_of(channel_max=0)
    begin = Begin(next_outgoing_id=0, incoming_window=5, outgoing_window=5).encode()
    made.receive_data(frame(0, begin) + frame(1, begin))
    assert made.error is not None and made.error.condition == "amqp:resource-limit-exceeded"


def test_an_answer_larger_than_the_peer_takes() -> None:
    made, _ = peer_of(max_frame_size=512)
    begin = Begin(next_outgoing_id=0, incoming_window=5, outgoing_window=5).encode()
    attach = Attach(name="n" * 600, handle=0, role=True, source=Source(), target=Target()).encode()
    made.receive_data(frame(0, begin) + frame(0, attach))
    assert made.error is not None and made.error.condition == "amqp:resource-limit-exceeded"


def test_what_cannot_be_sent_is_found_before_anything_is() -> None:
    for properties in ({"p": object()}, {"p": "x" * 9000}):
        with pytest.raises(EncodeError):
            ConnectionEndpoint(Recorder(), ConnectionSettings("us", properties=properties))
    wire = Wire(server={"max_frame_size": 512}).open()
    session = wire.begin()
    link = session.sender("l")
    with pytest.raises(EncodeError):
        link.attach(Source(), Target(), properties={"p": object()})
    with pytest.raises(LocalProtocolError):
        session.sender("m").attach(Source(), Target(), properties={"p": "x" * 600})
    assert wire.sender(session, "l")[0].handle == 0


def test_credentials_that_are_too_long() -> None:
    from uamqp.engine.sasl import Plain

    made = ConnectionEndpoint(Recorder(), ConnectionSettings("us"), sasl=SaslClient([Plain("u", "p" * 9000)]))
    made.start()
    made.receive_data(SASL_HEADER + frame(0, SaslMechanisms((Symbol("PLAIN"),)).encode(), 1))
    assert made.error is not None and "9" in str(made.error) and "ppp" not in str(made.error)
