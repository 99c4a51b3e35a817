"""Connections, sessions and links by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

import uamqp.aio as amqp
from tests.aio.peers import Peer, eventually, peer_server
from uamqp import BatchMessage, Connection, Message, errors, exceptions
from uamqp.address import Source, Target
from uamqp.async_ops import ConnectionAsync, MessageReceiverAsync, MessageSenderAsync, SessionAsync
from uamqp.authentication import SASLAnonymous, SASLPlain
from uamqp.broker import Broker
from uamqp.codec.definitions import RELEASED, Accepted, Error, Modified, Rejected
from uamqp.codec.message import encode_message
from uamqp.codec.values import Symbol
from uamqp.constants import (
    ErrorCodes,
    MessageReceiverState,
    MessageSenderState,
    MessageSendResult,
    MessageState,
    ReceiverSettleMode,
    SenderSettleMode,
)
from uamqp.engine.delivery import IncomingDelivery

from .helpers import bodies, put

# --- connections ------------------------------------------------------------------------------------------------


async def test_open_and_close(broker: Broker) -> None:
    connection = ConnectionAsync(broker.url)
    with pytest.raises(errors.AMQPConnectionError, match=r"open it first"):
        _ = connection.modern
    assert connection.remote_max_frame_size == 512
    await connection.open_async()
    await connection.open_async()
    assert broker.connections == 1
    assert connection.remote_max_frame_size == 65536
    assert connection.remote_properties[b"product"] == b"uamqp-broker"
    await connection.close_async()
    await connection.destroy_async()
    assert broker.connections == 0
    await connection.open_async()
    assert broker.connections == 1
    await connection.destroy_async()


async def test_many_tasks_open_once(broker: Broker) -> None:
    connection = ConnectionAsync(broker.url)
    await asyncio.gather(*(connection.open_async() for _ in range(20)))
    assert broker.connections == 1
    await connection.close_async()


async def test_async_with(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection, SessionAsync(connection) as session:
        async with MessageSenderAsync(session, "source", "queue") as sender:
            assert sender.get_state() is MessageSenderState.Open
        async with MessageReceiverAsync(session, "queue", "target") as receiver:
            assert receiver.get_state() is MessageReceiverState.Open
        assert broker.connections == 1
    assert broker.connections == 0


@pytest.mark.parametrize("hostname", ["localhost:{port}", b"localhost:{port}", "amqp://localhost:{port}/ignored"])
async def test_host_names(broker: Broker, hostname: Any) -> None:
    is_bytes = isinstance(hostname, bytes)
    text = (hostname.decode() if is_bytes else hostname).format(port=broker.port)
    connection = ConnectionAsync(text.encode() if is_bytes else text, SASLAnonymous(None, use_tls=False))
    assert connection.hostname == b"localhost"
    async with connection:
        assert broker.connections == 1


async def test_the_host_of_the_authentication_is_connected_to() -> None:
    async with peer_server() as server:
        port = int(server.url.rpartition(":")[2])
        auth = SASLAnonymous("127.0.0.1", port=port)
        async with ConnectionAsync("amqp://namespace.example:1", auth):
            assert server.peer.engine.remote_open is not None
            assert server.peer.engine.remote_open.hostname == "namespace.example"


def test_hosts_and_ports() -> None:
    def endpoint(hostname: str, auth: Any) -> str:
        return str(ConnectionAsync(hostname, auth)._options().endpoint)

    assert endpoint("host", SASLAnonymous("host")) == "amqps://host:5671"
    assert endpoint("host", SASLAnonymous(None)) == "amqps://host:5671"
    assert endpoint("amqps://host", SASLAnonymous(None)) == "amqps://host:5671"
    assert endpoint("amqp://host", SASLAnonymous(None)) == "amqp://host:5672"
    assert endpoint("amqp://host:77", SASLAnonymous(None)) == "amqp://host:77"
    assert endpoint("amqp://host:77", SASLAnonymous(None, port=88)) == "amqp://host:88"
    assert endpoint("amqps://host", SASLAnonymous(None, use_tls=False)) == "amqp://host:5672"
    assert endpoint("amqp://host", SASLAnonymous(None, use_tls=True)) == "amqps://host:5671"
    assert endpoint("::1", SASLAnonymous(None)) == "amqps://[::1]:5671"
    assert endpoint("amqp://[::1]:77", SASLAnonymous(None)) == "amqp://[::1]:77"
    with pytest.raises(exceptions.AddressError, match="scheme 'http'"):
        ConnectionAsync("http://host")
    with pytest.raises(ValueError, match="not the address of a host"):
        ConnectionAsync("host:port")
    with pytest.raises(exceptions.AddressError, match="no host to connect to"):
        endpoint("", SASLAnonymous(None))


async def test_an_authentication_serves_one_connection_at_a_time(broker: Broker) -> None:
    auth = SASLPlain("127.0.0.1", "user", "password")
    first = ConnectionAsync(broker.url, auth)
    message = "^The supplied authentication has already been consumed by another connection. Please create a fresh"
    with pytest.raises(ValueError, match=message):
        ConnectionAsync(broker.url, auth)
    await first.open_async()
    await first.close_async()
    second = ConnectionAsync(broker.url, auth)
    with pytest.raises(ValueError, match=message):
        await first.open_async()
    await second.close_async()


async def test_work_and_sleep(broker: Broker) -> None:
    connection = ConnectionAsync(broker.url)
    await connection.work_async()
    assert broker.connections == 1
    await connection.sleep_async(0.001)
    broker.drop_connections()
    await connection.modern.wait_closed(timeout=10)
    for _ in range(2):
        with pytest.raises(errors.ConnectionClose):
            await connection.work_async()
    await connection.close_async()


async def test_locking(broker: Broker) -> None:
    connection = ConnectionAsync(broker.url)
    await connection.lock_async()
    with pytest.raises(TimeoutError, match="Failed to acquire connection lock"):
        await connection.lock_async(timeout=0.01)
    connection.release_async()
    connection.release_async()
    await connection.lock_async(timeout=0.01)
    connection.release_async()


async def test_redirected_connection(broker: Broker) -> None:
    connection = ConnectionAsync("amqp://unreachable.invalid", SASLAnonymous(None))
    redirect = errors.LinkRedirect(ErrorCodes.LinkRedirect, None, {b"hostname": b"127.0.0.1"})
    await connection.redirect_async(redirect, SASLAnonymous("127.0.0.1", port=broker.port))
    assert connection.hostname == b"127.0.0.1"
    assert broker.connections == 1
    await connection.close_async()


async def test_a_redirect_that_names_no_host(broker: Broker) -> None:
    redirect = errors.LinkRedirect(ErrorCodes.LinkRedirect, b"somewhere else", {})
    async with ConnectionAsync(broker.url) as connection:
        with pytest.raises(ValueError, match="names no host"):
            await connection.redirect_async(redirect, SASLAnonymous("127.0.0.1"))
        assert connection.modern.is_open
    with pytest.raises(ValueError, match="names no host"):
        Connection(broker.url).redirect(redirect, SASLAnonymous("127.0.0.1"))


async def test_repr(broker: Broker) -> None:
    connection = ConnectionAsync("amqp://user:s3cret@localhost", SASLPlain("localhost", "user", "s3cret"))
    session = SessionAsync(connection)
    sender = MessageSenderAsync(session, "source", "amqps://user:s3cret@host/queue", name="link")
    assert "s3cret" not in f"{connection!r}{connection.auth!r}{session!r}{sender!r}"
    assert repr(sender) == "<MessageSenderAsync 'link', Idle>"
    assert repr(connection) == "<ConnectionAsync to 'localhost': not open>"


# --- sessions ---------------------------------------------------------------------------------------------------


async def test_begin_and_end() -> None:
    async with peer_server() as server:
        connection = ConnectionAsync(server.url)
        session = SessionAsync(connection, incoming_window=5, handle_max=6)
        with pytest.raises(errors.AMQPConnectionError, match=r"begin it first"):
            _ = session.modern
        await session.begin_async()
        await session.begin_async()
        assert len(server.peer.sessions) == 1
        begun = server.peer.sessions[0].remote_begin
        assert begun is not None
        assert (begun.incoming_window, begun.handle_max) == (5, 6)
        await session.end_async()
        await session.destroy_async()
        assert len(server.peer.ended) == 1
        assert connection.modern.is_open
        await connection.close_async()


async def test_more_sessions_than_channels(broker: Broker) -> None:
    async with ConnectionAsync(broker.url, channel_max=0) as connection:
        await SessionAsync(connection).begin_async()
        with pytest.raises(errors.IllegalState, match="the connection has no free channel: 1 sessions are open"):
            await SessionAsync(connection).begin_async()


async def test_a_session_that_ended(broker: Broker) -> None:
    async with peer_server() as server, ConnectionAsync(server.url) as connection:
        session = SessionAsync(connection)
        await session.begin_async()
        server.peer.sessions[0].end()
        await eventually(lambda: session.modern.error)
        with pytest.raises(errors.MessageHandlerError):
            await session.begin_async()


async def test_a_session_that_is_never_answered() -> None:
    async with peer_server(lambda: Peer("on_begin")) as server, ConnectionAsync(server.url) as connection:
        connection.modern._options = replace(connection.modern._options, timeout=0.05)
        with pytest.raises(errors.ClientTimeout) as caught:
            await SessionAsync(connection).begin_async()
        assert isinstance(caught.value, TimeoutError)


# --- senders ----------------------------------------------------------------------------------------------------


async def test_send(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        session = SessionAsync(connection)
        sender = MessageSenderAsync(session, source="source", target="queue")
        assert sender.get_state() is MessageSenderState.Idle
        await sender.open_async()
        await sender.open_async()
        message = Message("message")
        assert await sender.send_async(message) is MessageState.SendComplete
        assert message.state is MessageState.SendComplete
        assert message.settled is True
        with pytest.raises(errors.MessageAlreadySettled):
            await sender.send_async(message)
        assert await sender.send_async(BatchMessage(["a", "b"])) is MessageState.SendComplete
        await sender.work_async()
        await sender.close_async()
        await sender.destroy_async()
        assert sender.get_state() is MessageSenderState.Idle
    assert len(await bodies(broker, "queue")) == 2


async def test_everything_opens_when_it_is_needed(broker: Broker) -> None:
    connection = ConnectionAsync(broker.url)
    sender = MessageSenderAsync(SessionAsync(connection), "source", Target("queue"))
    assert await sender.send_async(Message("message")) is MessageState.SendComplete
    receiver = MessageReceiverAsync(SessionAsync(connection), Source("queue"), "target")
    (message,) = await receiver.receive_message_batch_async()
    assert message.accept() is True
    await connection.close_async()
    assert await bodies(broker, "queue") == []


class Judge(Peer):
    """Gives each message the outcome that its body asks for; None for "later"."""

    outcomes = {  # noqa: RUF012
        "accept": Accepted(),
        "release": RELEASED,
        "modify": Modified(True, False, {Symbol("x"): 1}),
        "reject": Rejected(Error(Symbol("amqp:not-allowed"), "words", {Symbol("key"): "value"})),
        "reject silently": Rejected(None),
    }

    def on_message(self, delivery: IncomingDelivery) -> None:
        outcome = self.outcomes.get(delivery.body.decode())
        if outcome is not None:
            delivery.settle(outcome)


@pytest.mark.parametrize("body", ["release", "modify", "reject", "reject silently"])
async def test_a_message_that_fails(body: str) -> None:
    async with peer_server(Judge) as server, ConnectionAsync(server.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), "source", "target")
        message = Message(body)
        # Tried once: trying again is what the clients do.
        assert await sender.send_async(message) is MessageState.SendFailed
        assert len(server.peer.messages) == 1
        with pytest.raises(errors.MessageSendFailed) as caught:
            message.gather()
        assert caught.value.condition is (ErrorCodes.NotAllowed if body == "reject" else ErrorCodes.UnknownError)


@pytest.mark.parametrize(
    ("body", "result", "state"),
    [
        ("accept", MessageSendResult.Ok, None),
        ("release", MessageSendResult.Error, None),
        ("modify", MessageSendResult.Error, [True, False, {b"x": 1}]),
        ("reject", MessageSendResult.Error, [[b"amqp:not-allowed", b"words", {b"key": b"value"}]]),
        ("reject silently", MessageSendResult.Error, []),
        ("no answer", MessageSendResult.Timeout, None),
    ],
)
async def test_callback(body: str, result: MessageSendResult, state: Any) -> None:
    told: list[Any] = []
    async with peer_server(Judge) as server, ConnectionAsync(server.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), "source", "target")
        message = Message(body)
        completed: list[Any] = []
        message.on_send_complete = lambda *args: completed.append(args)

        def callback(*args: Any, delivery_state: Any) -> None:
            told.append((*args, delivery_state))

        sent = await sender.send_async(message, callback, timeout=50 if body == "no answer" else 0)
        assert sent is MessageState.WaitingForSendAck
        assert bool(sent)
        await eventually(lambda: told)
        assert told == [(message, result.value, state)]
        # It is for that function to note, and to send the message again, if it likes.
        assert message.state is MessageState.WaitingToBeSent
        assert completed == []
        await sender.send_async(message, callback, timeout=50 if body == "no answer" else 0)
        await eventually(lambda: len(told) == 2)


async def test_callback_that_fails(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    async with ConnectionAsync(broker.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), "source", "queue")
        await sender.send_async(Message("message"), lambda *args, **kwargs: 1 / 0)
        await eventually(lambda: "function that is told of sent messages failed" in caplog.text)


async def test_time_out_of_a_message() -> None:
    async with peer_server(Judge) as server, ConnectionAsync(server.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), "source", "target")
        message = Message("no answer")
        assert await sender.send_async(message, timeout=50) is MessageState.SendFailed
        with pytest.raises(TimeoutError, match=r"^Message send timed out\.$"):
            message.gather()


async def test_a_message_that_cannot_be_encoded(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), "source", "queue")
        message = Message(object())
        with pytest.raises(ValueError, match="AMQP has no type for object"):
            await sender.send_async(message)
        assert message.state is MessageState.WaitingToBeSent


async def test_a_message_that_is_too_large() -> None:
    """It fails alone; the link lives on."""
    async with Broker(max_message_size=1000) as broker, ConnectionAsync(broker.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), "source", "queue")
        await sender.open_async()
        message = Message(b"x" * 2000)
        with pytest.raises(errors.MessageSendFailed, match=r"ErrorCodes\.LinkMessageSizeExceeded"):
            await sender.send_async(message)
        assert message.state is MessageState.WaitingToBeSent
        assert await sender.send_async(Message(b"x")) is MessageState.SendComplete


async def test_without_outcomes() -> None:
    async with peer_server(Judge) as server, ConnectionAsync(server.url) as connection:
        for mode, wire in ((SenderSettleMode.Settled, 1), (SenderSettleMode.Mixed, 2)):
            sender = MessageSenderAsync(SessionAsync(connection), "source", "target", send_settle_mode=mode)
            assert await sender.send_async(Message("no answer")) is MessageState.SendComplete
            assert server.peer.receiver.remote_attach is not None
            assert server.peer.receiver.remote_attach.snd_settle_mode == wire


async def test_a_refused_sender(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        states: list[Any] = []

        class Watched(MessageSenderAsync):
            def on_state_changed(self, previous_state: Any, new_state: Any) -> None:
                states.append((previous_state, new_state))

        sender = Watched(SessionAsync(connection), "source", "$unknown")
        for _ in range(2):
            with pytest.raises(errors.LinkDetach, match=r"ErrorCodes\.NotFound"):
                await sender.open_async()
        with pytest.raises(errors.LinkDetach):
            await sender.send_async(Message("message"))
        state = MessageSenderState
        assert states == [(state.Idle, state.Opening), (state.Opening, state.Error)]


async def test_a_sender_whose_connection_is_lost() -> None:
    async with peer_server(Judge) as server:
        connection = ConnectionAsync(server.url)
        sender = MessageSenderAsync(SessionAsync(connection), "source", "target")
        sending = asyncio.create_task(sender.send_async(Message("no answer")))
        await eventually(lambda: server.peers and server.peer.messages)
        server.peer.cut()
        with pytest.raises(errors.ConnectionClose):
            await sending
        for call in (sender.work_async, sender.open_async):
            with pytest.raises(errors.ConnectionClose):
                await call()
        await connection.close_async()


async def test_a_connection_that_cannot_be_opened(unused_tcp_port: int) -> None:
    connection = ConnectionAsync(f"amqp://127.0.0.1:{unused_tcp_port}")
    sender = MessageSenderAsync(SessionAsync(connection), "source", "target")
    with pytest.raises(errors.ConnectionClose):
        await sender.open_async()
    assert sender.get_state() is MessageSenderState.Idle
    async with Broker(port=unused_tcp_port):
        assert await sender.send_async(Message("message")) is MessageState.SendComplete
        await connection.close_async()


async def test_attaching_that_is_cancelled() -> None:
    async with peer_server(lambda: Peer("on_attach")) as server:
        connection = ConnectionAsync(server.url)
        sender = MessageSenderAsync(SessionAsync(connection), "source", "target")
        opening = asyncio.create_task(sender.open_async())
        await eventually(lambda: sender.get_state() is MessageSenderState.Opening)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert sender.get_state() is MessageSenderState.Idle
        # Its name is not free before the peer answers detach, which is waited for.
        again = asyncio.create_task(sender.open_async())
        await eventually(lambda: sender.get_state() is MessageSenderState.Opening)
        assert not again.done()
        await connection.close_async()
        with pytest.raises(errors.AMQPConnectionError):
            await again


# --- receivers --------------------------------------------------------------------------------------------------


async def test_receive(broker: Broker) -> None:
    await put(broker, "queue", b"1", b"2", b"3")
    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), source="queue", target="target")
        await receiver.open_async()
        (first,) = await receiver.receive_message_batch_async(1)
        assert str(first) == "1"
        assert first.state is MessageState.ReceivedUnsettled
        assert first.accept() is True
        rest: list[Message] = []
        while len(rest) < 2:
            rest += await receiver.receive_message_batch_async(max_batch_size=2)
        assert rest[0].release() is True
        assert await receiver.receive_message_batch_async(timeout=10) != []
        await receiver.close_async()
    assert sorted(await bodies(broker, "queue")) == [b"2", b"3"]


async def all_here(receiver: MessageReceiverAsync, count: int) -> None:
    await receiver.open_async()
    modern = receiver._modern
    assert modern is not None
    await eventually(lambda: modern.queued == count)


async def test_batches_of_what_was_there_before(broker: Broker) -> None:
    await put(broker, "queue", b"1", b"2", b"3")
    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target")
        await all_here(receiver, 3)
        assert [str(m) for m in await receiver.receive_message_batch_async(2)] == ["1", "2"]
        assert [str(m) for m in await receiver.receive_message_batch_async(2)] == ["3"]
        # Without a function there is nobody to hand anything to.
        await connection.work_async()


async def test_names_of_ones_own_end_are_not_needed(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        sender = MessageSenderAsync(SessionAsync(connection), None, "queue")
        assert await sender.send_async(Message("message")) is MessageState.SendComplete


async def test_nothing_to_receive(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", None)
        assert await receiver.receive_message_batch_async(timeout=10) == []


@pytest.mark.parametrize("pump", ["receiver", "connection"])
async def test_a_function_is_handed_messages(broker: Broker, pump: str) -> None:
    await put(broker, "queue", b"1", b"2", b"3")
    seen: list[str] = []

    async def on_message(message: Message) -> None:
        seen.append(str(message))
        message.accept()

    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target", on_message)  # type: ignore[arg-type]
        await receiver.open_async()
        while len(seen) < 3:
            await (receiver.work_async() if pump == "receiver" else connection.work_async())
        await receiver.work_async()
    assert seen == ["1", "2", "3"]
    assert await bodies(broker, "queue") == []


async def test_credit_by_hand() -> None:
    async with peer_server() as server, ConnectionAsync(server.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target", prefetch=0)
        await receiver.open_async()
        sender = server.peer.sender
        assert sender.credit == 0
        await receiver.reset_link_credit_async(3)
        await eventually(lambda: sender.credit == 3)
        sender.send(encode_message(b"message"))
        (message,) = await receiver.receive_message_batch_async()
        assert message.accept() is True
        await receiver.reset_link_credit_async(5, drain=True)
        # There is nothing to send, so it gives all credit back.
        await eventually(lambda: sender.credit == 0)


@pytest.mark.parametrize("mode", [None, SenderSettleMode.Settled])
async def test_what_arrived_and_was_not_given_out_goes_back(broker: Broker, mode: Any) -> None:
    await put(broker, "queue", b"1", b"2", b"3")
    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target", send_settle_mode=mode)
        await all_here(receiver, 3)
        await receiver.close_async()
    assert await bodies(broker, "queue") == ([b"1", b"2", b"3"] if mode is None else [])


async def test_receive_and_delete(broker: Broker) -> None:
    await put(broker, "queue", b"1")
    async with ConnectionAsync(broker.url) as connection:
        mode = ReceiverSettleMode.ReceiveAndDelete
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target", receive_settle_mode=mode)
        (message,) = await receiver.receive_message_batch_async()
        assert message.settled is True
        assert message.accept() is False
    assert await bodies(broker, "queue") == []


async def test_a_receiver_that_is_closed_meanwhile(broker: Broker) -> None:
    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target")
        await receiver.open_async()
        receiving = asyncio.create_task(receiver.receive_message_batch_async())
        await asyncio.sleep(0)
        await receiver.close_async()
        with pytest.raises(errors.IllegalState, match="is closed"):
            await receiving


async def test_messages_of_the_modern_client(broker: Broker) -> None:
    """Both faces on one broker see the same message."""
    await put(broker, "queue", amqp.Message(amqp.Data([b"a", b"b"])), amqp.Message(amqp.Sequence([[1, "x"], [2]])))
    async with ConnectionAsync(broker.url) as connection:
        receiver = MessageReceiverAsync(SessionAsync(connection), "queue", "target")
        (data,) = await receiver.receive_message_batch_async(1)
        (sequence,) = await receiver.receive_message_batch_async(1)
        assert list(data.get_data()) == [b"a", b"b"]
        assert list(sequence.get_data()) == [[1, b"x"], [2]]


async def test_the_error_of_a_refused_link_does_not_grow(broker: Broker) -> None:
    broker.options = replace(broker.options, auto_create=False)
    connection = ConnectionAsync(broker.url, SASLAnonymous("127.0.0.1"))
    async with connection:
        session = SessionAsync(connection)
        sender = MessageSenderAsync(session, "source", "missing")
        depths = []
        for _ in range(3):
            with pytest.raises(errors.LinkDetach) as caught:
                await sender.work_async() if depths else await sender.open_async()
            depths.append(len(caught.traceback))
        assert depths[1] == depths[2]


async def test_a_message_that_waits_for_credit_is_taken_back_with_its_task() -> None:
    async with peer_server(lambda: Peer(credit=0)) as server:
        connection = ConnectionAsync(server.url)
        session = SessionAsync(connection)
        sender = MessageSenderAsync(session, "here", "q")
        await sender.open_async()
        message = Message("message")
        sending = asyncio.create_task(sender.send_async(message))
        await eventually(lambda: message.state is MessageState.WaitingForSendAck)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert message.state is MessageState.WaitingToBeSent
        server.peer.receiver.flow(10)
        assert await sender.send_async(message) is MessageState.SendComplete
        await eventually(lambda: len(server.peer.messages) == 1)
        for timeout in (float("nan"), "1"):
            with pytest.raises((ValueError, TypeError)):
                await sender.send_async(Message("not sent"), timeout=timeout)  # type: ignore[arg-type]
        assert len(server.peer.messages) == 1
        await connection.destroy_async()
