from __future__ import annotations

from typing import Any

import pytest

from uamqp.codec.definitions import Error, Source, Target
from uamqp.codec.hot import frame
from uamqp.codec.performatives import (
    Attach,
    Begin,
    Close,
    End,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    decode_performative,
)
from uamqp.codec.values import Symbol
from uamqp.engine.connection import AMQP_HEADER, EMPTY_FRAME, SASL_HEADER, ConnectionEndpoint
from uamqp.engine.sasl import Anonymous, Plain, SaslClient, SaslServer
from uamqp.engine.settings import ConnectionSettings
from uamqp.engine.states import ConnectionState, SessionState
from uamqp.exceptions import (
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    ConnectionRedirected,
    DecodeError,
    IdleTimeout,
    LocalProtocolError,
    NotSent,
    RemoteProtocolError,
)

from .wire import Recorder, Wire

FRAMING = "amqp:connection:framing-error"


def server(**settings: Any) -> tuple[ConnectionEndpoint, Recorder]:
    log = Recorder(accepting=True)
    engine = ConnectionEndpoint(log, ConnectionSettings("server", **settings), server=True)
    log.engine = engine
    return engine, log


def opened(**settings: Any) -> tuple[ConnectionEndpoint, Recorder]:
    engine, log = server(**settings)
    engine.receive_data(AMQP_HEADER + frame(0, Open("peer").encode()))
    engine.data_to_send()
    assert engine.state is ConnectionState.OPENED
    return engine, log


def sent(engine: ConnectionEndpoint) -> bytes:
    return b"".join(engine.data_to_send())


@pytest.mark.parametrize("cut", [0, 1, 2, 7, 100])
def test_opens_and_closes_however_the_bytes_are_cut(cut: int) -> None:
    wire = Wire(cut=cut, client_sasl=SaslClient([Anonymous()]), server_sasl=SaslServer(["ANONYMOUS"], lambda m, r: ""))
    wire.open()
    assert wire.client.state is wire.server.state is ConnectionState.OPENED
    assert wire.client.remote_open is not None
    assert wire.client.remote_open.container_id == "server"
    wire.client.close()
    wire.run()
    assert wire.client.closed and wire.server.closed
    assert wire.client_log.named("close") == [("close", None)]
    (event,) = wire.server_log.named("close")
    assert isinstance(event[1], ConnectionClosed)


def test_opens_without_sasl() -> None:
    wire = Wire().open()
    assert wire.carried["client"].startswith(AMQP_HEADER)


def test_states_are_those_of_the_spec() -> None:
    wire = Wire()
    assert wire.client.state is ConnectionState.START
    wire.client.start()
    assert wire.client.state is ConnectionState.OPEN_PIPE
    wire.carry(wire.client, wire.server)
    wire.carry(wire.server, wire.client)
    assert wire.client.state is ConnectionState.OPENED


def test_open_carries_the_settings() -> None:
    wire = Wire(
        client={
            "hostname": "h",
            "max_frame_size": 1024,
            "channel_max": 3,
            "idle_timeout": 2.5,
            "properties": {"product": "x"},
            "offered_capabilities": ["a"],
            "desired_capabilities": ["b", "c"],
        }
    ).open()
    remote = wire.server.remote_open
    assert remote is not None
    assert (remote.hostname, remote.max_frame_size, remote.channel_max) == ("h", 1024, 3)
    assert remote.idle_time_out == 2500
    assert remote.properties == {"product": "x"}
    assert remote.offered_capabilities == ("a",)
    assert remote.desired_capabilities == ("b", "c")


def test_the_peer_closes_with_an_error() -> None:
    wire = Wire().open()
    wire.server.close(Error(Symbol("amqp:connection:forced"), "bye"))
    wire.run()
    error = wire.client.error
    assert isinstance(error, ConnectionClosed)
    assert (error.condition, error.description, error.remote) == ("amqp:connection:forced", "bye", True)
    assert wire.server.closed and wire.client.closed
    with pytest.raises(ConnectionClosed):
        wire.client.session()


def test_a_redirect_is_told_apart() -> None:
    wire = Wire().open()
    info = {Symbol("hostname"): "other"}
    wire.server.close(Error(Symbol("amqp:connection:redirect"), None, info))
    wire.run()
    assert isinstance(wire.client.error, ConnectionRedirected)
    assert wire.client.error.info == info


def test_both_close_at_once() -> None:
    wire = Wire().open()
    wire.client.close()
    wire.server.close()
    wire.run()
    assert wire.client.closed and wire.server.closed


def test_close_twice_sends_one_close() -> None:
    wire = Wire().open()
    wire.client.close()
    wire.client.close()
    assert sent(wire.client) == frame(0, Close().encode())
    wire.client.receive_data(frame(0, Close().encode()))
    wire.client.close()
    assert sent(wire.client) == b""


def test_close_before_the_peer_opened_is_pipelined() -> None:
    wire = Wire()
    wire.client.start()
    wire.client.close()
    assert wire.client.state is ConnectionState.OC_PIPE
    wire.run()
    assert wire.client.closed and wire.server.closed


def test_close_with_error_before_the_peer_opened() -> None:
    wire = Wire()
    wire.client.start()
    wire.client.receive_data(AMQP_HEADER)
    assert wire.client.state is ConnectionState.OPEN_SENT
    wire.client.close(Error(Symbol("amqp:internal-error")))
    assert wire.client.state is ConnectionState.DISCARDING
    wire.client.receive_data(frame(0, Open("x").encode()) + frame(0, Close().encode()))
    assert wire.client.closed
    assert wire.client_log.named("open") == []


def test_close_before_anything_was_sent_just_ends() -> None:
    engine, log = server()
    engine.close()
    assert engine.closed and sent(engine) == b""
    assert log.events == [("close", None)]


def test_close_flushes_dispositions() -> None:
    wire = Wire().open()
    sender, receiver = wire.sender(credit=1)
    delivery = sender.send(b"\x00\x53\x75\xa0\x01x")
    wire.run()
    receiver.queue.popleft().accept()
    wire.server.close()
    wire.run()
    assert delivery.failure() is None and delivery.settled


def test_eof_is_a_lost_connection() -> None:
    wire = Wire().open()
    wire.client.receive_eof()
    assert isinstance(wire.client.error, ConnectionLost)
    assert isinstance(wire.client.error, ConnectionError)
    assert wire.client.closed
    wire.client.receive_eof()
    assert len(wire.client_log.named("close")) == 1


def test_eof_during_authentication_says_so() -> None:
    wire = Wire(client_sasl=SaslClient([Anonymous()]))
    wire.client.start()
    wire.client.receive_eof()
    assert "authentication" in str(wire.client.error)


def test_lost_with_a_cause_keeps_it() -> None:
    wire = Wire().open()
    cause = OSError("reset")
    wire.client.lose(cause)
    assert wire.client.error is not None and wire.client.error.__cause__ is cause
    wire = Wire().open()
    wire.client.lose(None)
    assert isinstance(wire.client.error, ConnectionLost)


def test_data_after_the_end_is_ignored() -> None:
    wire = Wire().open()
    wire.client.receive_eof()
    wire.client.receive_data(b"anything")
    assert sent(wire.client) == b""


# -- headers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [b"AMQP\x00\x00\x09\x01", b"AMQP\x01\x01\x00\x00", b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"AMQ!"]
)
def test_a_server_answers_other_protocols_with_its_header_and_hangs_up(header: bytes) -> None:
    engine, _ = server()
    engine.receive_data(header)
    assert engine.closed
    assert sent(engine) == AMQP_HEADER
    assert isinstance(engine.error, RemoteProtocolError)
    assert engine.error.condition == FRAMING


def test_a_server_that_wants_sasl_says_so() -> None:
    log = Recorder()
    sasl = SaslServer(["PLAIN"], lambda m, r: None)
    engine = ConnectionEndpoint(log, ConnectionSettings("s"), server=True, sasl=sasl)
    engine.receive_data(AMQP_HEADER)
    assert engine.closed and sent(engine) == SASL_HEADER


def test_a_server_may_let_clients_in_without_sasl() -> None:
    wire = Wire(server_sasl=SaslServer(["ANONYMOUS"], lambda m, r: ""), sasl_required=False).open()
    assert wire.server.state is ConnectionState.OPENED


def test_a_client_that_needs_sasl_ends_where_there_is_none() -> None:
    wire = Wire(client_sasl=SaslClient([Plain("u", "p")]))
    wire.client.start()
    wire.client.receive_data(AMQP_HEADER)
    assert isinstance(wire.client.error, AuthenticationError)
    assert wire.client.closed


def test_a_client_meets_another_protocol() -> None:
    wire = Wire()
    wire.client.start()
    wire.client.receive_data(b"HTTP/1.1 400 Bad Request\r\n")
    assert isinstance(wire.client.error, RemoteProtocolError)
    assert "HTTP" in str(wire.client.error)


def test_a_header_comes_in_pieces() -> None:
    engine, _ = server()
    for n in range(8):
        assert sent(engine) == b""
        engine.receive_data(AMQP_HEADER[n : n + 1])
    assert sent(engine) == AMQP_HEADER


@pytest.mark.parametrize("header", [b"HTTP", b"AXQP", b"AMXP", b"AMQX", b"AMQP\x00\x02\x00\x00"])
def test_what_cannot_become_a_header_is_told_by_the_byte_that_shows_it(header: bytes) -> None:
    wrong = next(n for n, (a, b) in enumerate(zip(header, AMQP_HEADER, strict=False)) if a != b)
    # What comes behind the protocol's name is looked at as a whole.
    last = wrong if wrong < 4 else 7
    for known in range(last + 1):
        engine, _ = server()
        for piece in (header[:known], header[known:last], header[last:]):
            assert not engine.closed
            engine.receive_data(piece)
        assert engine.error is not None and engine.error.condition == FRAMING


# -- frames -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [*range(8), 65_537, 2**31, 2**32 - 1])
def test_a_frame_size_that_cannot_be(size: int) -> None:
    engine, _ = opened()
    engine.receive_data(size.to_bytes(4, "big") + b"\x02\x00\x00\x00")
    assert isinstance(engine.error, RemoteProtocolError) and engine.error.condition == FRAMING
    data = sent(engine)
    assert FRAMING.encode() in data
    assert engine.state is ConnectionState.DISCARDING
    engine.receive_data(frame(0, Close().encode()))
    assert engine.closed


@pytest.mark.parametrize("cut", [1, 7, 1000])
def test_the_close_behind_a_violation_is_seen(cut: int) -> None:
    """However the bytes come in: frames go on where the bad one ends."""
    engine, log = opened()
    bad = frame(0, End().encode())
    data = frame(0, Close().encode()) + b"never looked at"
    if cut == 1000:
        engine.receive_data(bad + data)
    else:
        engine.receive_data(bad + data[:cut])
        assert engine.state is ConnectionState.DISCARDING and not engine.closed
        engine.receive_data(data[cut:])
    assert engine.state is ConnectionState.END and engine.closed
    assert engine.error is not None and len(log.named("close")) == 1


def test_a_second_violation_in_the_same_read_hangs_up() -> None:
    engine, log = opened()
    engine.receive_data(b"\x00\x00\x00\x08\x00\x00\x00\x00" * 2 + frame(0, Close().encode()))
    assert engine.closed and engine.state is ConnectionState.DISCARDING
    assert len(log.named("close")) == 1


@pytest.mark.parametrize("doff", [0, 1, 3, 255])
def test_a_data_offset_that_cannot_be(doff: int) -> None:
    engine, _ = opened()
    engine.receive_data(b"\x00\x00\x00\x08" + bytes((doff, 0, 0, 0)))
    assert engine.error is not None and engine.error.condition == FRAMING


def test_an_extended_header_is_skipped() -> None:
    engine, log = opened()
    body = Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1).encode()
    data = (len(body) + 12).to_bytes(4, "big") + b"\x03\x00\x00\x00" + b"\xff\xff\xff\xff" + body
    engine.receive_data(data)
    assert len(log.named("begin")) == 1


def test_an_unknown_frame_type() -> None:
    engine, _ = opened()
    engine.receive_data(b"\x00\x00\x00\x08\x02\x07\x00\x00")
    assert engine.error is not None and engine.error.condition == FRAMING


def test_before_open_frames_are_small() -> None:
    engine, _ = server()
    engine.receive_data(AMQP_HEADER + (8193).to_bytes(4, "big") + b"\x02\x00\x00\x00")
    assert engine.error is not None and engine.error.condition == FRAMING
    # Who closes must have opened.
    data = sent(engine)
    assert data.startswith(AMQP_HEADER)
    assert data.index(b"\x00\x53\x10") < data.index(b"\x00\x53\x18")


def test_empty_frames_are_heartbeats() -> None:
    engine, log = opened()
    engine.receive_data(EMPTY_FRAME * 3)
    assert engine.error is None


def test_damage_is_a_decode_error() -> None:
    engine, _ = opened()
    engine.receive_data(frame(0, b"\x00\x53\x10\xc0\xff\x01"))
    assert isinstance(engine.error, RemoteProtocolError)
    assert engine.error.condition == "amqp:decode-error"
    assert isinstance(engine.error.__cause__, DecodeError)
    assert b"amqp:decode-error" in sent(engine)


def test_bytes_behind_a_performative() -> None:
    engine, _ = opened()
    engine.receive_data(frame(0, Close().encode() + b"x"))
    assert engine.error is not None and engine.error.condition == "amqp:decode-error"


def test_after_giving_up_the_rest_of_the_stream_is_ignored_until_close() -> None:
    engine, log = opened()
    engine.receive_data(frame(0, b"\x00\x53\x10\xc0\xff\x01"))
    begin = Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1).encode()
    engine.receive_data(frame(0, begin))
    assert log.named("begin") == []
    assert not engine.closed
    engine.receive_data(frame(0, b"\x00\x53\x10\xc0\xff\x01"))
    assert engine.closed


@pytest.mark.parametrize(
    "performative",
    [
        Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1),
        End(),
        Attach(name="n", handle=0, role=False),
        Flow(incoming_window=1, next_outgoing_id=0, outgoing_window=1),
    ],
)
def test_nothing_comes_before_open(performative: Any) -> None:
    engine, log = server()
    engine.receive_data(AMQP_HEADER + frame(0, performative.encode()))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"
    assert [e[0] for e in log.events] == ["close"]


def test_close_before_open() -> None:
    engine, _ = server()
    engine.receive_data(AMQP_HEADER + frame(0, Close().encode()))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"


def test_a_second_open() -> None:
    engine, _ = opened()
    engine.receive_data(frame(0, Open("again").encode()))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"


@pytest.mark.parametrize("size", [0, 1, 19, 511])
def test_a_max_frame_size_under_512(size: int) -> None:
    engine, log = server()
    engine.receive_data(AMQP_HEADER + frame(0, Open("peer", max_frame_size=size).encode()))
    assert engine.error is not None and engine.error.condition == "amqp:invalid-field"
    data = sent(engine)
    # Who closes must have opened.
    assert data.index(b"\x00\x53\x10") < data.index(b"\x00\x53\x18")
    assert log.named("open") == []


def test_frames_for_a_channel_over_the_limit() -> None:
    engine, _ = opened(channel_max=2)
    engine.receive_data(frame(3, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1).encode()))
    assert engine.error is not None and engine.error.condition == FRAMING


def test_frames_for_a_channel_without_session() -> None:
    engine, _ = opened()
    engine.receive_data(frame(1, End().encode()))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"


def test_an_outgoing_frame_must_fit() -> None:
    wire = Wire(server={"max_frame_size": 512}).open()
    session = wire.begin()
    link = session.sender("x" * 600)
    with pytest.raises(LocalProtocolError, match="512"):
        link.attach(Source(), Target())


# -- sessions ---------------------------------------------------------------------------------------------------


def test_channels_are_the_lowest_free() -> None:
    wire = Wire(client={"channel_max": 1}).open()
    first, second = wire.begin(), wire.begin()
    assert (first.channel, second.channel) == (0, 1)
    with pytest.raises(LocalProtocolError, match="no free channel"):
        wire.client.session()
    first.end()
    wire.run()
    assert wire.begin().channel == 0


def test_no_session_before_open() -> None:
    wire = Wire()
    with pytest.raises(LocalProtocolError, match="not open"):
        wire.client.session()


def test_begin_twice_on_one_channel() -> None:
    engine, _ = opened()
    begin = frame(1, Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1).encode())
    engine.receive_data(begin + begin)
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"


def test_begin_that_answers_nothing() -> None:
    wire = Wire().open()
    begin = Begin(remote_channel=7, next_outgoing_id=0, incoming_window=1, outgoing_window=1)
    wire.client.receive_data(frame(0, begin.encode()))
    assert wire.client.error is not None and wire.client.error.condition == "amqp:illegal-state"


def test_the_end_of_the_connection_ends_sessions_and_links() -> None:
    wire = Wire().open()
    sender, _ = wire.sender()
    wire.client.lose(OSError("gone"))
    names = [e[0] for e in wire.client_log.events[-3:]]
    assert names == ["detach", "end", "close"]
    assert sender.session.state is SessionState.ENDED
    with pytest.raises(ConnectionLost):
        sender.send(b"x")
    with pytest.raises(ConnectionLost):
        sender.session.check_usable()


# -- SASL in the frame layer ------------------------------------------------------------------------------------


def sasl_server() -> tuple[ConnectionEndpoint, Recorder]:
    log = Recorder(accepting=True)
    sasl = SaslServer(["PLAIN"], lambda mechanism, response: "me" if response == b"\0u\0p" else None)
    engine = ConnectionEndpoint(log, ConnectionSettings("s"), server=True, sasl=sasl)
    log.engine = engine
    engine.receive_data(SASL_HEADER)
    return engine, log


def test_open_inside_sasl() -> None:
    engine, log = sasl_server()
    engine.receive_data(frame(0, Open("peer").encode(), 1))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"
    assert engine.closed and log.named("open") == []


def test_amqp_frames_before_the_end_of_sasl() -> None:
    engine, log = sasl_server()
    engine.receive_data(frame(0, Open("peer").encode(), 0))
    assert engine.error is not None and engine.error.condition == FRAMING
    assert engine.closed and log.named("open") == []


def test_sasl_frames_outside_sasl() -> None:
    engine, _ = opened()
    engine.receive_data(frame(0, SaslInit(Symbol("PLAIN")).encode(), 0))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"
    engine, _ = opened()
    engine.receive_data(frame(0, SaslInit(Symbol("PLAIN")).encode(), 1))
    assert engine.error is not None and engine.error.condition == FRAMING


def test_an_empty_sasl_frame() -> None:
    engine, _ = sasl_server()
    engine.receive_data(b"\x00\x00\x00\x08\x02\x01\x00\x00")
    assert engine.error is not None and engine.error.condition == FRAMING


def test_open_after_refused_credentials() -> None:
    engine, log = sasl_server()
    init = frame(0, SaslInit(Symbol("PLAIN"), b"\0u\0wrong").encode(), 1)
    engine.receive_data(init + AMQP_HEADER + frame(0, Open("peer").encode()))
    assert isinstance(engine.error, AuthenticationError)
    assert engine.closed and log.named("open") == []


def test_everything_pipelined_behind_sasl() -> None:
    engine, log = sasl_server()
    init = frame(0, SaslInit(Symbol("PLAIN"), b"\0u\0p").encode(), 1)
    engine.receive_data(init + AMQP_HEADER + frame(0, Open("peer").encode()))
    assert log.named("open") == [("open",)]
    assert engine.state is ConnectionState.OPENED


def test_a_refused_client_hears_it() -> None:
    wire = Wire(
        client_sasl=SaslClient([Plain("u", "wrong")]),
        server_sasl=SaslServer(["PLAIN"], lambda mechanism, response: None),
    )
    wire.client.start()
    wire.run()
    assert isinstance(wire.client.error, AuthenticationError)
    assert wire.client.error.code == 1 and wire.client.error.remote


def test_sasl_frames_of_the_wrong_role() -> None:
    engine, _ = sasl_server()
    engine.receive_data(frame(0, SaslMechanisms((Symbol("PLAIN"),)).encode(), 1))
    assert engine.error is not None and engine.error.condition == "amqp:illegal-state"
    engine, _ = sasl_server()
    engine.receive_data(frame(0, SaslOutcome(0).encode(), 1))
    assert engine.closed


# -- time -------------------------------------------------------------------------------------------------------


def test_heartbeats_go_out_at_half_the_time_the_peer_allows() -> None:
    wire = Wire(server={"idle_timeout": 10.0}).open()
    wire.client.wrote(100.0)
    assert wire.client.tick(100.0) == 105.0
    assert sent(wire.client) == b""
    assert wire.client.tick(105.0) == 110.0
    assert sent(wire.client) == EMPTY_FRAME
    wire.client.wrote(107.0)
    assert wire.client.tick(110.0) == 112.0
    assert sent(wire.client) == b""


@pytest.mark.parametrize(("stated", "interval"), [(1, 0.05), (100, 0.05), (3000, 1.5), (2**32 - 1, 43_200.0)])
def test_extreme_idle_timeouts_are_bounded(stated: int, interval: float) -> None:
    engine, _ = server()
    engine.receive_data(AMQP_HEADER + frame(0, Open("peer", idle_time_out=stated).encode()))
    engine.wrote(0.0)
    assert engine.tick(0.0) == interval


def test_no_idle_timeout_no_deadline() -> None:
    engine, _ = opened()
    assert engine.tick(1e9) is None
    engine, _ = server()
    engine.receive_data(AMQP_HEADER + frame(0, Open("peer", idle_time_out=0).encode()))
    assert engine.tick(1e9) is None


def test_a_silent_peer_is_given_up() -> None:
    wire = Wire(client={"idle_timeout": 8.0}).open()
    wire.client.last_received = 50.0
    assert wire.client.tick(59.9) == 60.0
    assert wire.client.tick(60.0) is None
    assert isinstance(wire.client.error, IdleTimeout)
    assert wire.client.error.condition == "amqp:resource-limit-exceeded"
    assert b"amqp:resource-limit-exceeded" in sent(wire.client)
    assert wire.client.closed
    assert wire.client.tick(61.0) is None


def test_time_does_not_count_before_open() -> None:
    wire = Wire(client={"idle_timeout": 8.0})
    wire.client.start()
    assert wire.client.tick(1000.0) is None
    assert wire.client.error is None


# -- output -----------------------------------------------------------------------------------------------------


def test_the_owner_hears_once_of_output() -> None:
    calls = []

    class Owner(Recorder):
        def on_output(self) -> None:
            calls.append(1)

    engine = ConnectionEndpoint(Owner(), ConnectionSettings("c"))
    engine.start()
    assert calls == [1]
    engine.data_to_send()
    assert engine.data_to_send() == []
    engine.write(b"x")
    assert calls == [1, 1]


def test_a_local_act_that_is_not_legal() -> None:
    wire = Wire().open()
    with pytest.raises(LocalProtocolError, match="OPEN"):
        wire.client.open()


def test_open_on_another_channel() -> None:
    engine, _ = server()
    engine.receive_data(AMQP_HEADER + frame(1, Open("peer").encode()))
    assert engine.error is not None and engine.error.condition == FRAMING


@pytest.mark.parametrize("error", [None, Error(Symbol("amqp:connection:forced"))])
def test_a_peer_that_does_not_answer_close_is_given_up(error: Error | None) -> None:
    wire = Wire().open()
    wire.client.close(error)
    deadline = wire.client.tick(100.0)
    assert deadline == 110.0
    assert wire.client.tick(109.0) == deadline
    assert wire.client.tick(110.0) is None
    assert wire.client.closed
    assert len(wire.client_log.named("close")) == 1


def test_a_peer_that_broke_a_rule_is_given_up() -> None:
    engine, log = opened()
    engine.receive_data(frame(9, End().encode()))
    deadline = engine.tick(5.0)
    assert deadline == 15.0 and not engine.closed
    assert engine.tick(deadline) is None
    assert engine.closed
    assert len(log.named("close")) == 1


def test_nothing_follows_close() -> None:
    wire = Wire().open()
    session = wire.begin()
    sender, _ = wire.sender(session, "out", credit=5)
    receiver, remote = wire.receiver(session, "in", credit=5)
    remote.send(b"\x00\x53\x75\xa0\x01x")
    wire.run()
    wire.client.close()
    assert sent(wire.client).endswith(frame(0, Close().encode()))
    delivery = sender.send(b"\x00\x53\x75\xa0\x01x")
    receiver.flow(9)
    receiver.queue[0].accept()
    wire.client.resume()
    begin = Begin(next_outgoing_id=0, incoming_window=1, outgoing_window=1)
    wire.client.receive_data(frame(5, begin.encode()) + frame(0, End().encode()))
    assert sent(wire.client) == b""
    wire.client.receive_data(frame(0, Close().encode()))
    assert wire.client.closed and delivery.id == -1
    assert isinstance(delivery.failure(), NotSent)
    # It ended as asked: the peer did nothing wrong.
    assert wire.client_log.named("close") == [("close", None)]


def test_after_close_with_an_error_what_is_under_way_is_discarded() -> None:
    wire = Wire().open()
    receiver, remote = wire.receiver(credit=5)
    wire.client.close(Error(Symbol("amqp:connection:forced")))
    remote.send(b"\x00\x53\x75\xa0\x01x")
    wire.run()
    assert len(receiver.queue) == 0
    assert wire.client.closed


def test_all_fields_are_written_where_the_peer_needs_them() -> None:
    wire = Wire(server={"all_fields": True}).open()
    sender, receiver = wire.sender(credit=10)
    sender.send(b"\x00\x53\x75\xa0\x01x")
    wire.run()
    receiver.queue[0].accept()
    receiver.session.send_flow()
    receiver.detach(error=Error(Symbol("app:bad")))
    receiver.session.end()
    wire.server.close()
    data = b"".join(wire.server.data_to_send())
    assert b"\xa3\x07app:bad\x40\x40" in data
    counts = {}
    while data:
        size = int.from_bytes(data[:4], "big")
        counts[data[10]] = data[13]
        data = data[size:]
    assert counts == {0x13: 11, 0x15: 6, 0x16: 3, 0x17: 1, 0x18: 1}
    assert decode_performative(encoded := Close().encode(True), 0, len(encoded))[0] == Close()
    assert encoded == b"\x00\x53\x18\xc0\x02\x01\x40"
