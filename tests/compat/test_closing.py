"""Closing a client ends what others wait for on it, in other threads or tasks; and clients after fork."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.aio.peers import BOUND, Peer, eventually, peer_server, threaded_server
from uamqp import Message, ReceiveClient, SendClient, errors
from uamqp.aio import Recovery
from uamqp.async_ops import ReceiveClientAsync, SendClientAsync
from uamqp.authentication import JWTTokenAuth
from uamqp.broker import Broker
from uamqp.constants import MessageState

from .helpers import RECEIVERS, SENDERS, begin, bodies, in_thread, put

WAITING = MessageState.WaitingToBeSent
SENT = MessageState.WaitingForSendAck
OK = MessageState.SendComplete


@pytest.fixture(autouse=True)
async def tidy_threads(tidy_loop: None) -> AsyncIterator[None]:
    """No test may leave a thread behind, but for the one that watches over connections."""
    before = set(threading.enumerate())
    yield
    await eventually(lambda: {t for t in threading.enumerate() if t.name != "uamqp-heartbeat"} <= before)


async def end(call: asyncio.Future[Any]) -> BaseException | None:
    """Wait for the end of a call, which is a return, or an error of the 1.6 API."""
    async with asyncio.timeout(BOUND):
        await asyncio.wait([call])
    error = call.exception()
    assert error is None or isinstance(error, errors.AMQPError), repr(error)
    return error


class Withholding(Peer):
    """Takes messages and says nothing of them."""

    def on_message(self, delivery: Any) -> None:
        pass


#: Peers that a client waits for, and what tells that it does.
PEERS: dict[str, tuple[Callable[[], Peer], Callable[[Any, list[Message]], bool]]] = {
    "no credit": (lambda: Peer(credit=0), lambda peer, messages: all(message.state is SENT for message in messages)),
    "no outcome": (Withholding, lambda peer, messages: len(peer.messages) == len(messages)),
}


# --- sending ----------------------------------------------------------------------------------------------------


@SENDERS
@pytest.mark.parametrize("call", ["send_message", "send_all_messages", "wait"])
@pytest.mark.parametrize(("first", "waits"), PEERS.values(), ids=PEERS)
async def test_closing_ends_sending(kind: type[SendClientAsync], call: str, first: Any, waits: Any) -> None:
    peers = iter([first(), Peer()])
    async with peer_server(lambda: next(peers)) as server:
        client = kind(f"{server.url}/q")
        messages = [Message(f"{number}") for number in range(3)]
        client.queue_message(*messages[:2])
        if call == "send_message":
            sending = begin(client, call, messages[2])
        else:
            client.queue_message(messages[2])
            sending = begin(client, call)
        await eventually(lambda: server.peers and waits(server.peer, messages))
        assert not sending.done()

        assert await end(begin(client, "close")) is None
        await end(sending)
        assert client.pending_messages == messages
        assert [message.state for message in messages] == [WAITING] * 3

        # They go out when it is open again, before what comes behind them.
        last = Message("last")
        assert await end(begin(client, "open")) is None
        assert await end(begin(client, "send_message", last)) is None
        assert await end(begin(client, "close")) is None
        assert [delivery.message.body for delivery in server.peer.messages] == [b"0", b"1", b"2", b"last"]
        assert [message.state for message in (*messages, last)] == [OK] * 4
        assert len(server.peers) == 2


@SENDERS
async def test_closing_ends_several_that_send(kind: type[SendClientAsync]) -> None:
    async with peer_server(Withholding) as server:
        client = kind(f"{server.url}/q")
        messages = [Message(f"{number}") for number in range(4)]
        sending = [begin(client, "send_message", message) for message in messages]
        await eventually(lambda: server.peers and len(server.peer.messages) == 4)
        closing = [begin(client, "close") for _ in range(2)]
        for call in closing:
            assert await end(call) is None
        for call in sending:
            assert isinstance(await end(call), errors.AMQPConnectionError)
        assert set(client.pending_messages) == set(messages)
        assert {message.state for message in messages} == {WAITING}


@SENDERS
@pytest.mark.parametrize("opened", [True, False], ids=["opened", "not opened"])
async def test_two_that_send_and_close(kind: type[SendClientAsync], opened: bool, broker: Broker) -> None:
    """Each has its message sent, or is told that the other one closed the client, and still has it."""
    client = kind(f"{broker.url}/q")
    for number in range(20):
        pair = [Message(f"{number} a"), Message(f"{number} b")]
        if opened or number:
            assert await end(begin(client, "open")) is None
        calls = [begin(client, "send_message", message, True) for message in pair]
        ends = [await end(call) for call in calls]
        for message, error in zip(pair, ends, strict=True):
            assert message.state is (OK if error is None else WAITING)
            assert (message in client.pending_messages) is (error is not None)
        assert None in ends
    if client.pending_messages:
        left = len(client.pending_messages)
        assert await end(begin(client, "open")) is None
        assert await end(again := begin(client, "send_all_messages")) is None
        assert again.result() == [OK] * left
    # What was under way when the client closed may come a second time, but nothing is missing.
    assert set(await bodies(broker, "q")) == {
        b"%d %s" % (number, which) for number in range(20) for which in (b"a", b"b")
    }
    await eventually(lambda: broker.connections == 0)


@SENDERS
async def test_closing_time_and_again_loses_nothing(kind: type[SendClientAsync]) -> None:
    """That the client closes is no failure of the message, so the policy has no say in it."""
    async with peer_server(lambda: Peer(credit=0)) as server:
        client = kind(f"{server.url}/q", error_policy=errors.ErrorPolicy(max_retries=1))
        message = Message("message")
        client.queue_message(message)
        for _ in range(4):
            assert await end(begin(client, "open")) is None
            waiting = begin(client, "wait")
            await eventually(lambda: message.state is SENT)
            assert await end(begin(client, "close")) is None
            await end(waiting)
            assert client.pending_messages == [message]
            assert message.state is WAITING
            assert message.retries == 0


@SENDERS
@pytest.mark.parametrize("mute", ["on_begin", "on_attach"])
async def test_closing_does_not_wait_for_a_link_that_is_not_answered(kind: type[SendClientAsync], mute: str) -> None:
    async with peer_server(lambda: Peer(mute)) as server:
        client = kind(f"{server.url}/q")
        message = Message("message")
        sending = begin(client, "send_message", message)
        await eventually(lambda: client.message_handler is not None and client.message_handler._is_opening)
        assert await end(begin(client, "close")) is None
        error = await end(sending)
        assert isinstance(error, errors.AMQPConnectionError)
        assert "The client is closed" in str(error)
        assert client.pending_messages == [message]
        assert message.state is WAITING


@SENDERS
async def test_closing_while_it_opens(kind: type[SendClientAsync]) -> None:
    """It is closed when both have ended, and the message is sent or still there."""
    async with peer_server(lambda: Peer("on_open")) as server:
        client = kind(f"{server.url}/q")
        message = Message("message")
        sending = begin(client, "send_message", message)
        await eventually(lambda: server.peers and server.peer.engine.remote_open is not None)
        closing = begin(client, "close")
        await eventually(lambda: closing.done() or client._opening._waiting)
        server.peer.engine.open()
        error = await end(sending)
        assert await end(closing) is None
        closed = client._session is None
        await end(begin(client, "close"))
        assert closed
        assert (client.pending_messages == [message]) is (error is not None)
        assert message.state is (OK if error is None else WAITING)
        await eventually(lambda: server.peer.driver._lost)


async def test_closing_in_a_function_that_opening_waits_for(tidy_loop: None) -> None:
    async with Broker() as broker:

        def get_token() -> None:
            client.close()

        auth = JWTTokenAuth("audience", f"{broker.url}/q", get_token)
        client = SendClient(f"{broker.url}/q", auth=auth)
        opening = in_thread(client.open)
        assert isinstance(await end(opening), errors.IllegalState)
        assert client._session is None


# --- receiving --------------------------------------------------------------------------------------------------


def take_batches(client: ReceiveClient, got: list[str]) -> None:
    got += map(str, client.receive_message_batch(5, timeout=50))


def iterate(client: ReceiveClient, got: list[str]) -> None:
    for message in client.receive_messages_iter():
        got.append(str(message))


def hand_over(client: ReceiveClient, got: list[str]) -> None:
    client.receive_messages(lambda message: got.append(str(message)))


@pytest.mark.parametrize("receive", [take_batches, iterate, hand_over], ids=lambda function: function.__name__)
async def test_closing_and_opening_while_others_receive(receive: Callable[[ReceiveClient, list[str]], None]) -> None:
    """Each call ends with what it got, or with an error of a link that is gone; no message is lost."""
    count = 100
    over = threading.Event()
    async with Broker() as broker:
        await put(broker, "q", *(f"{number}".encode() for number in range(count)))
        client = ReceiveClient(f"{broker.url}/q", prefetch=10)
        got: list[str] = []

        def go_on() -> None:
            while not over.is_set():
                try:
                    receive(client, got)
                except errors.AMQPError:
                    pass
                except RuntimeError as error:
                    # Two of them iterate, or settle what is another's.
                    assert "is running on this client" in str(error) or "the link has ended" in str(error)

        def open_and_close() -> None:
            for _ in range(50):
                try:
                    client.open()
                    client.close()
                except errors.AMQPError:
                    pass

        receiving = [in_thread(go_on) for _ in range(2)]
        async with asyncio.timeout(BOUND):
            await in_thread(open_and_close)
            over.set()
            await in_thread(client.close)
            await asyncio.gather(*receiving)
        await eventually(lambda: broker.connections == 0)
        assert {*got, *(body.decode() for body in await bodies(broker, "q"))} == {f"{n}" for n in range(count)}


@RECEIVERS
async def test_closing_ends_two_iterations(kind: type[ReceiveClientAsync], broker: Broker) -> None:
    await put(broker, "q", *range(6))
    client = kind(f"{broker.url}/q")
    seen: list[list[Any]] = [[], []]

    def iterate(mine: list[Any]) -> None:
        assert isinstance(client, ReceiveClient)
        for message in client.receive_messages_iter():
            mine.append(message.get_data())

    async def iterate_async(mine: list[Any]) -> None:
        async for message in client.receive_messages_iter_async():
            mine.append(message.get_data())

    if isinstance(client, ReceiveClient):
        iterations = [in_thread(iterate, mine) for mine in seen]
    else:
        iterations = [asyncio.ensure_future(iterate_async(mine)) for mine in seen]
    # Each accepts what it has when it asks for the next.
    await eventually(lambda: sum(map(len, seen)) == 6 and broker.queue("q").length == 0)
    assert not any(iteration.done() for iteration in iterations)
    assert await end(begin(client, "close")) is None
    for iteration in iterations:
        await end(iteration)
    assert sorted([*seen[0], *seen[1]]) == list(range(6))
    assert len(broker.queue("q")) == 0
    await eventually(lambda: broker.connections == 0)


# --- forgetting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recovery", [None, Recovery()])
async def test_what_is_forgotten_is_closed(recovery: Recovery | None, broker: Broker) -> None:
    """Else it would stay connected, and keep messages that were sent to it ahead."""
    await put(broker, "q", *range(6))
    client = ReceiveClientAsync(f"{broker.url}/q", auto_complete=False, recovery=recovery)
    messages = await client.receive_message_batch_async(1)
    del client
    # Who has a message has what it takes to settle it.
    gc.collect()
    messages.pop().accept()
    queue = broker.queue("q")
    await eventually(lambda: queue.length == 5)
    assert (len(queue), broker.connections) == (0, 1)
    with pytest.warns(ResourceWarning, match=r"<ConnectionAsync to '127\.0\.0\.1': .*> was not closed"):
        gc.collect()
    await eventually(lambda: broker.connections == 0)
    assert len(queue) == 5


# --- fork -------------------------------------------------------------------------------------------------------

_FORK = """
import os, sys
from uamqp import Message, ReceiveClient, SendClient
from uamqp.exceptions import LocalProtocolError

sender, receiver = SendClient(f"{sys.argv[1]}/q"), ReceiveClient(f"{sys.argv[1]}/q")
sender.send_message(Message("before"))
receiver.open()
receiver.client_ready()
messages = receiver.receive_messages_iter()
read, write = os.pipe()
child = os.fork()
if child == 0:
    unsent = Message("never")
    sender.queue_message(unsent)
    calls = {
        "send_message": lambda: sender.send_message(Message("never")),
        "send_all_messages": lambda: sender.send_all_messages(close_on_done=False),
        "wait": sender.wait,
        "do_work": sender.do_work,
        "close of a sender": sender.close,
        "receive_message_batch": receiver.receive_message_batch,
        "next": lambda: next(messages),
        "close of a receiver": receiver.close,
    }
    for name, call in calls.items():
        try:
            call()
        except LocalProtocolError as error:
            os.write(write, f"{name}: {error}\\n".encode())
    assert sender.pending_messages == [unsent]
    with SendClient(f"{sys.argv[1]}/q") as own:
        own.queue_message(unsent)
        own.send_all_messages()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
print(os.read(read, 10000).decode(), end="")
sender.send_message(Message("after"))
sender.close()
assert receiver.receive_message_batch(timeout=10) == []
receiver.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_is_told_to_use_a_client_of_its_own() -> None:
    with threaded_server(Peer) as server:
        command = [sys.executable, "-W", "ignore", "-c", _FORK, server.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        told = done.stdout.splitlines()
        assert len(told) == 8
        assert all(line.endswith("made before fork(); connect again in this process") for line in told), told
        first, _, second = server._server.peers
        assert [delivery.message.body for delivery in first.messages] == [b"before", b"after"]
        assert [delivery.message.body for delivery in second.messages] == [b"never"]
