"""Peers that follow a script, over virtual networks and real sockets: what real brokers do, and what none should."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from uamqp.aio import Connection, connect
from uamqp.codec.definitions import ACCEPTED, RELEASED, Error
from uamqp.codec.performatives import Attach, Begin, Close, Detach, Disposition, End, Flow, SaslInit, Transfer
from uamqp.codec.values import Symbol
from uamqp.engine.connection import AMQP_HEADER
from uamqp.exceptions import (
    AuthenticationError,
    ConnectionClosed,
    ConnectionLost,
    InDoubt,
    LinkDetached,
    NotSent,
    OperationTimeout,
    RemoteProtocolError,
    SessionEnded,
)
from uamqp.testing import Network, ScriptedPeer, ScriptedServer, Unexpected, raw_frame, run

Program = Callable[[str], Awaitable[object]]
Script = Callable[[ScriptedPeer], Awaitable[None]]


async def act(program: Program, script: Script) -> None:
    """Run a program against a peer with this script."""
    async with ScriptedServer() as server:
        task = asyncio.ensure_future(program(server.url))
        peer = await server.accept()
        await script(peer)
        await task


def acted(program: Program, script: Script) -> None:
    """The same on virtual time."""
    run(act(program, script), Network())


async def _send(url: str, body: bytes = b"hello") -> None:
    connection = await connect(url)
    try:
        sender = await connection.sender("q")
        await sender.send(body, timeout=5)
    finally:
        await connection.close(timeout=1)


def sending(error: type[BaseException], condition: str | None = None) -> Program:
    """A program that sends one message, and what it must raise."""

    async def program(url: str) -> None:
        with pytest.raises(error) as caught:
            await _send(url)
        assert getattr(caught.value, "condition", None) == condition

    return program


async def _attached(peer: ScriptedPeer, credit: int = 1) -> None:
    await peer.open()
    await peer.begin()
    await peer.attach(credit)


async def test_a_whole_exchange_over_real_sockets() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer)
        frame = await peer.expect_frame(Transfer, handle=0, delivery_id=0)
        assert frame.payload == b"\x00\x53\x75\xa0\x05hello"
        assert "10 bytes" in repr(frame)
        peer.send(Disposition(role=True, first=0, settled=True, state=ACCEPTED))
        await peer.expect_close()
        peer.send(Close())
        await peer.expect_end()
        peer.hang_up()

    await act(_send, script)


def test_the_outcome_comes_after_the_link_is_gone() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer)
        await peer.expect(Transfer)
        peer.send(
            Detach(handle=0, closed=True, error=Error(Symbol("amqp:resource-deleted"))),
            Disposition(role=True, first=0, settled=True, state=ACCEPTED),
        )
        await peer.expect(Detach)
        await peer.expect_close()
        peer.send(Close())

    acted(sending(InDoubt, "amqp:resource-deleted"), script)


def test_a_message_without_credit_was_not_sent() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer, credit=0)
        await asyncio.sleep(1)
        peer.send(End(error=Error(Symbol("amqp:session:window-violation"))))
        await peer.expect(End)
        await peer.expect_close()
        peer.send(Close())

    acted(sending(NotSent, "amqp:session:window-violation"), script)


def test_an_outcome_that_never_comes() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer)
        await peer.expect(Transfer)
        # The client goes without having heard more than that.
        await peer.expect_close()
        peer.reset()

    acted(sending(OperationTimeout), script)


@pytest.mark.parametrize(
    ("nonsense", "condition"),
    [
        (raw_frame(b"", size=7), "amqp:connection:framing-error"),
        (raw_frame(b"", offset=1), "amqp:connection:framing-error"),
        (raw_frame(b"", size=1 << 31), "amqp:connection:framing-error"),
        (raw_frame(b"\x00\x53\x24\xc0\x01"), "amqp:decode-error"),
        (raw_frame(b"\x00\x53\x99\x45"), "amqp:decode-error"),
        (raw_frame(b"\x00\x53\x24\x45"), "amqp:decode-error"),
        (raw_frame(b"\x00\x53\x14\x45"), "amqp:invalid-field"),
        (raw_frame(b"\x00\x53\x17\x45", channel=7), "amqp:illegal-state"),
    ],
)
def test_malformed_frames_end_the_connection(nonsense: bytes, condition: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer)
        await peer.expect(Transfer)
        peer.send(nonsense)
        await peer.expect_close(condition)
        peer.send(Close())
        await peer.expect_end()

    acted(sending(InDoubt, condition), script)


def test_frames_with_an_extended_header_and_empty_ones_are_legal() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer)
        await peer.expect(Transfer)
        outcome = Disposition(role=True, first=0, settled=True, state=ACCEPTED)
        peer.write(raw_frame(b"") + raw_frame(outcome.encode(), offset=3, extended=b"more"))
        await peer.expect_close()
        peer.send(Close())

    acted(_send, script)


def test_frames_that_come_late_do_no_harm() -> None:
    async def program(url: str) -> None:
        async with connect(url) as connection:
            receiver = await connection.receiver("q", prefetch=5)
            await receiver.close()

    async def script(peer: ScriptedPeer) -> None:
        await peer.open()
        await peer.begin()
        await peer.attach()
        await peer.expect(Flow, link_credit=5)
        await peer.expect(Flow, drain=True)
        peer.transfer(0, b"\x00\x53\x75\xa0\x01x")
        peer.flow(0, 0, delivery_count=5, next_outgoing_id=1, drain=True)
        await peer.expect(Disposition, state=RELEASED)
        await peer.expect(Detach, closed=True)
        # As one that had not heard of it would.
        peer.transfer(1, b"\x00\x53\x75\xa0\x01y")
        peer.send(Detach(handle=0, closed=True))
        await peer.expect_close()
        peer.send(Close())

    acted(program, script)


def test_a_receiver_that_is_closed_gives_back_what_was_half_here() -> None:
    async def program(url: str) -> None:
        async with connect(url) as connection:
            receiver = await connection.receiver("q", prefetch=1)
            await asyncio.sleep(1)
            await receiver.close()

    async def script(peer: ScriptedPeer) -> None:
        await peer.open()
        await peer.begin()
        await peer.attach()
        await peer.expect(Flow, link_credit=1)
        peer.transfer(0, b"\x00\x53\x75", more=True)
        # All credit is used, and the message is not here yet.
        await peer.expect(Flow, link_credit=0, drain=True)
        peer.transfer(0, b"\xa0\x01x")
        await peer.expect(Disposition, first=0, state=RELEASED)
        await peer.expect(Detach, closed=True)
        peer.send(Detach(handle=0, closed=True))
        await peer.expect_close()
        peer.send(Close())

    acted(program, script)


def test_a_flood_beyond_the_credit_ends_the_link_alone() -> None:
    async def program(url: str) -> None:
        async with connect(url) as connection:
            receiver = await connection.receiver("q", prefetch=2)
            with pytest.raises(LinkDetached) as caught:
                while True:
                    await receiver.receive()
            assert caught.value.condition == "amqp:link:transfer-limit-exceeded"
            assert connection.error is None

    async def script(peer: ScriptedPeer) -> None:
        await peer.open()
        await peer.begin()
        await peer.attach()
        await peer.expect(Flow, link_credit=2)
        for number in range(100):
            peer.transfer(number, b"\x00\x53\x75\xa0\x01x")
        detach = await peer.expect(Detach)
        assert detach.error is not None
        peer.send(Detach(handle=0, closed=True))
        await peer.expect_close()
        peer.send(Close())

    acted(program, script)


@pytest.mark.parametrize("how", ["hang_up", "reset"])
@pytest.mark.parametrize("stage", range(7))
def test_the_peer_goes_away_at_any_stage(stage: int, how: str) -> None:
    async def program(url: str) -> None:
        with pytest.raises(InDoubt if stage == 6 else ConnectionLost):
            await _send(url)

    async def script(peer: ScriptedPeer) -> None:
        opened = [peer.open, peer.begin, lambda: peer.attach(credit=1), lambda: peer.expect(Transfer)]
        half_open = [peer.sasl, lambda: peer.expect_bytes(AMQP_HEADER)]
        for step in half_open[:stage] if stage < 3 else opened[: stage - 2]:
            await step()
        getattr(peer, how)()

    acted(program, script)


def test_credentials_are_refused() -> None:
    async def script(peer: ScriptedPeer) -> None:
        init = await peer.sasl("PLAIN", code=1)
        assert isinstance(init, SaslInit)
        assert init.mechanism == "PLAIN"
        await peer.expect_end()
        peer.hang_up()

    async def program(url: str) -> None:
        with pytest.raises(AuthenticationError) as caught:
            await connect(url, user="user", password="wrong")
        assert caught.value.code == 1

    acted(program, script)


def test_the_peer_closes_with_an_error() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.open()
        await peer.expect(Begin)
        peer.send(Close(error=Error(Symbol("amqp:connection:forced"))))
        await peer.expect_close()

    acted(sending(ConnectionClosed, "amqp:connection:forced"), script)


def test_frames_in_the_wrong_order() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.open()
        await peer.begin()
        await peer.expect(Attach)
        peer.transfer(0, b"x", handle=3)
        end = await peer.expect(End)
        assert end.error is not None
        assert end.error.condition == "amqp:session:unattached-handle"
        peer.send(End())
        await peer.expect_close()
        peer.send(Close())

    async def program(url: str) -> None:
        with pytest.raises((RemoteProtocolError, SessionEnded)):
            await _send(url)

    acted(program, script)


def test_a_peer_that_does_not_read() -> None:
    async def program(url: str) -> None:
        connection: Connection = await connect(url, idle_timeout=20)
        sender = await connection.sender("q")
        for _ in range(3):
            sender.send_nowait(bytes(1_000_000), settled=True)
        await asyncio.sleep(1)
        with pytest.raises(OperationTimeout, match="was not sent"):
            await sender.send(b"x", timeout=3)
        await connection.close(timeout=1)

    async def script(peer: ScriptedPeer) -> None:
        await _attached(peer, credit=10)
        peer.stop_reading()
        await asyncio.sleep(10)
        peer.go_on_reading()
        peer.reset()

    acted(program, script)


def told(script: Script, text: str, *, patience: float = 10.0) -> None:
    """The script does not fit what a client does, and says so."""

    async def main() -> None:
        async with ScriptedServer() as server:

            async def program() -> None:
                with pytest.raises((ConnectionLost, OperationTimeout)):
                    await connect(server.url, connect_timeout=30)

            task = asyncio.create_task(program())
            peer = await server.accept()
            peer.patience = patience
            with pytest.raises(Unexpected, match=text):
                await script(peer)
            peer.reset()
            await task

    run(main(), Network())


def test_a_script_says_what_it_got_instead() -> None:
    async def closes(peer: ScriptedPeer) -> None:
        await peer.open()
        await peer.expect(Begin)

    async def wrong_bytes(peer: ScriptedPeer) -> None:
        await peer.expect_bytes(b"AMQP\x00\x01\x00\x00")

    async def wrong_frame(peer: ScriptedPeer) -> None:
        await peer.expect_bytes(b"AMQP\x03\x01\x00\x00")
        peer.send(b"AMQP\x03\x01\x00\x00")
        await peer.next_frame()

    async def no_end(peer: ScriptedPeer) -> None:
        await peer.expect_end()

    told(wrong_bytes, "expected b'AMQP")
    told(wrong_frame, "and then nothing for 2 s", patience=2)
    told(no_end, "expected the end of the stream, got")


def test_a_script_says_which_frame_or_field_it_got_instead() -> None:
    async def program(url: str) -> None:
        with pytest.raises(ConnectionLost):
            await _send(url)

    async def script(peer: ScriptedPeer) -> None:
        await peer.open()
        with pytest.raises(Unexpected, match="expected Attach, got <Frame on channel 0: Begin"):
            await peer.expect(Attach)
        peer.send(Begin(remote_channel=0, next_outgoing_id=0, incoming_window=1, outgoing_window=1))
        with pytest.raises(Unexpected, match="expected handle=5"):
            await peer.expect(Attach, handle=5)
        peer.reset()

    acted(program, script)

    async def closing(url: str) -> None:
        async with connect(url):
            pass

    async def close_script(peer: ScriptedPeer) -> None:
        await peer.open()
        with pytest.raises(Unexpected, match="expected close with amqp:internal-error"):
            await peer.expect_close("amqp:internal-error")
        peer.send(Close())
        with pytest.raises(Unexpected, match="got the end of the stream"):
            await peer.next_frame()

    acted(closing, close_script)


def test_nobody_connects() -> None:
    async def main() -> None:
        async with ScriptedServer() as server:
            with pytest.raises(Unexpected, match="nobody connected"):
                await server.accept()

    run(main(), Network())
