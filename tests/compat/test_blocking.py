"""The blocking half of the uamqp 1.6 API, against the embedded broker."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uamqp
from tests.aio.peers import BrokenPipe, wait_until
from uamqp import (
    AMQPClient,
    Connection,
    Message,
    MessageReceiver,
    MessageSender,
    ReceiveClient,
    SendClient,
    Session,
    errors,
)
from uamqp.authentication import SASLAnonymous, SASLPlain, SASTokenAuth
from uamqp.broker import Broker
from uamqp.constants import MessageSendResult, MessageState, ReceiverSettleMode


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker.running() as running:
        yield running


def fill(broker: Broker, *bodies: str, queue: str = "q") -> None:
    with SendClient(f"{broker.url}/{queue}") as client:
        client.queue_message(*map(Message, bodies))
        assert client.send_all_messages() == [MessageState.SendComplete] * len(bodies)


def length(broker: Broker, queue: str = "q") -> int:
    return int(broker.call(lambda: broker.queue(queue).length))


def bodies(messages: list[Message]) -> list[bytes]:
    return [b"".join(message.get_data()) for message in messages]


# --- sending ----------------------------------------------------------------------------------------------------


def test_messages_are_queued_sent_and_reported(broker: Broker) -> None:
    told: list[tuple[object, object]] = []
    client = SendClient(f"{broker.url}/q")
    message = Message("a")
    message.on_send_complete = lambda result, error: told.append((result, error))
    client.queue_message(message, Message("b"))
    assert client.messages_pending()
    assert client.send_all_messages() == [MessageState.SendComplete] * 2
    assert told == [(MessageSendResult.Ok, None)]
    assert client._session is None  # close_on_done
    assert length(broker) == 2


def test_one_message_at_a_time_and_a_batch(broker: Broker) -> None:
    with SendClient(f"{broker.url}/q") as client:
        client.send_message(Message("a"))
        client.send_message(uamqp.BatchMessage([b"1", b"2", b"3"]))
        assert client.client_ready()
        assert client.auth_complete()
    assert length(broker) == 2


def test_wait_and_the_polling_style(broker: Broker) -> None:
    with SendClient(f"{broker.url}/q") as client:
        client.queue_message(Message("a"))
        assert client.wait() is True
        client.queue_message(Message("b"))
        while client.messages_pending():
            assert client.do_work()
    assert client.do_work() is False
    assert length(broker) == 2


def test_a_message_that_fails_raises_and_says_which(broker: Broker) -> None:
    broker.call(lambda: broker.queue("small", max_length=1))
    with SendClient(f"{broker.url}/small", error_policy=errors.ErrorPolicy(max_retries=0)) as client:
        client.send_message(Message("fits"))
        message = Message("does not")
        with pytest.raises(errors.ClientMessageError) as caught:
            client.send_message(message)
    assert caught.value.info["failed_messages"].keys() == {message}


def test_msg_timeout_is_in_milliseconds(broker: Broker) -> None:
    assert SendClient(f"{broker.url}/q", msg_timeout=1500)._msg_timeout == 1500


# --- receiving --------------------------------------------------------------------------------------------------


def test_a_batch_is_what_is_there(broker: Broker) -> None:
    fill(broker, "a", "b", "c")
    with ReceiveClient(f"{broker.url}/q", prefetch=10) as client:
        received = client.receive_message_batch(2)
        assert bodies(received) == [b"a", b"b"]
        assert received[0].accept() is False
        assert bodies(client.receive_message_batch()) == [b"c"]
        assert client.receive_message_batch(timeout=20) == []
        with pytest.raises(ValueError, match="prefetch"):
            client.receive_message_batch(11)
    assert length(broker) == 0


def test_the_application_settles(broker: Broker) -> None:
    fill(broker, "a", "b", "c", "d")
    with ReceiveClient(f"{broker.url}/q", auto_complete=False) as client:
        messages: list[Message] = []
        while len(messages) < 4:
            messages += client.receive_message_batch()
        first, second, third, fourth = messages
        assert first.accept()
        assert second.release()
        assert third.modify(True, False)
        thread = threading.Thread(target=fourth.reject, args=("x:y", "no"))
        thread.start()
        thread.join()
        assert fourth.settled
    assert length(broker) == 2


def test_a_generator_accepts_what_was_not_settled_and_closes_the_client(broker: Broker) -> None:
    fill(broker, "a", "b", "c")
    client = ReceiveClient(f"{broker.url}/q")
    messages = client.receive_messages_iter()
    assert bodies([next(messages)]) == [b"a"]
    # Leaving the loop and going on with another one.
    for message in messages:
        assert bodies([message]) == [b"b"]
        message.release()
        break
    messages.close()  # type: ignore[attr-defined]
    assert client._session is None
    assert client.auto_complete
    assert length(broker) == 2


def test_a_generator_ends_where_nothing_comes(broker: Broker) -> None:
    fill(broker, "a")
    seen: list[Message] = []
    with ReceiveClient(f"{broker.url}/q", timeout=30, shutdown_after_timeout=False) as client:
        for _ in range(2):
            received = list(client.receive_messages_iter(seen.append))
        assert received == []
        assert client._session is not None
    assert bodies(seen) == [b"a"]
    assert length(broker) == 0


def test_a_function_is_handed_each_message(broker: Broker) -> None:
    fill(broker, "a", "b", "c")
    seen: list[Message] = []

    def on_message(message: Message) -> None:
        seen.append(message)
        if len(seen) == 2:
            raise ValueError("this one is not wanted")

    ReceiveClient(f"{broker.url}/q", timeout=50).receive_messages(on_message)
    assert bodies(seen) == [b"a", b"b", b"c"]


def test_functions_that_need_no_client(broker: Broker) -> None:
    url = f"{broker.url}/q"
    assert uamqp.send_message(url, "a") == [MessageState.SendComplete]
    assert uamqp.send_message(url, Message("b")) == [MessageState.SendComplete]
    uamqp.send_message(url, "c")
    message = uamqp.receive_message(url, timeout=2000)
    assert message is not None
    assert bodies([message]) == [b"a"]
    assert message.accept() is False
    assert bodies(uamqp.receive_messages(url, max_batch_size=1, timeout=2000)) == [b"b"]
    assert bodies(uamqp.receive_messages(url, timeout=2000)) == [b"c"]
    assert uamqp.receive_message(url, timeout=20) is None


def test_receive_and_delete(broker: Broker) -> None:
    fill(broker, "a")
    with ReceiveClient(f"{broker.url}/q", receive_settle_mode=ReceiverSettleMode.ReceiveAndDelete) as client:
        (message,) = client.receive_message_batch()
        assert message.settled
        assert message.accept() is False
    assert length(broker) == 0


# --- connections ------------------------------------------------------------------------------------------------


def test_clients_share_a_connection(broker: Broker) -> None:
    with Connection(broker.url, SASLAnonymous(hostname=None)) as connection:
        sender, receiver = SendClient(f"{broker.url}/q"), ReceiveClient(f"{broker.url}/q")
        sender.open(connection=connection)
        receiver.open(connection=connection)
        sender.send_message(Message("a"))
        assert bodies(receiver.receive_message_batch()) == [b"a"]
        assert broker.connections == 1
        with pytest.raises(ValueError, match="shared"):
            sender.redirect(None, None)  # type: ignore[arg-type]
        sender.close()
        receiver.close()
        connection.work()
        connection.sleep(0.001)
        assert connection.modern.is_open
    assert broker.connections == 0


def test_a_connection_shared_by_threads(broker: Broker) -> None:
    failures: list[BaseException] = []
    with Connection(broker.url) as connection:

        def work(number: int) -> None:
            try:
                client = SendClient(f"{broker.url}/q{number}")
                client.open(connection=connection)
                client.queue_message(*(Message(str(n)) for n in range(50)))
                client.send_all_messages()
                receiver = ReceiveClient(f"{broker.url}/q{number}")
                receiver.open(connection=connection)
                received = 0
                while received < 50:
                    received += len(receiver.receive_message_batch())
                receiver.close()
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_threads_that_open_one_client_at_once(broker: Broker) -> None:
    client = SendClient(f"{broker.url}/q")
    barrier = threading.Barrier(4)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            barrier.wait()
            client.send_message(Message("x"))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert broker.connections == 1
    client.close()
    assert length(broker) == 4


def test_a_client_can_be_opened_again(broker: Broker) -> None:
    client = SendClient(f"{broker.url}/q")
    for body in ("a", "b"):
        client.open()
        client.send_message(Message(body), close_on_done=True)
    with pytest.raises(errors.AMQPConnectionError, match="closed"):
        client.send_message(Message("c"))
    client.close()
    assert length(broker) == 2


def test_an_auth_object_serves_one_connection_at_a_time(broker: Broker) -> None:
    auth = SASLPlain(None, "user", "password")
    client = SendClient(f"{broker.url}/q", auth=auth)
    client.send_message(Message("a"))
    with pytest.raises(ValueError, match="consumed"):
        SendClient(f"{broker.url}/q", auth=auth).send_message(Message("b"))
    client.close()
    SendClient(f"{broker.url}/q", auth=auth).send_message(Message("c"), close_on_done=True)
    assert length(broker) == 2


def test_tokens(broker: Broker) -> None:
    host = broker.url.partition("://")[2]
    auth = SASTokenAuth.from_shared_access_key(f"{broker.url}/q", "name", "key")
    with SendClient(f"{broker.url}/q", auth=auth) as client:
        client.send_message(Message("a"))
    assert host
    assert length(broker) == 1


def test_nobody_listens(broker: Broker) -> None:
    url = broker.url
    broker.call(broker.drop_connections)
    port = int(url.rpartition(":")[2])
    with pytest.raises(errors.AMQPConnectionError):
        SendClient(f"amqp://127.0.0.1:{port + 1 if port < 65535 else 1}/q").send_message(Message("x"))


def test_the_connection_is_lost(broker: Broker) -> None:
    with ReceiveClient(f"{broker.url}/q") as client:
        client.client_ready()
        broker.call(broker.drop_connections)
        with pytest.raises(errors.AMQPConnectionError):
            client.receive_message_batch(timeout=5000)


def test_lock_and_release(broker: Broker) -> None:
    connection = Connection(broker.url)
    connection.lock()
    with pytest.raises(TimeoutError):
        connection.lock(timeout=0.001)
    connection.release()
    connection.release()
    connection.lock(timeout=0.001)
    connection.destroy()


# --- links ------------------------------------------------------------------------------------------------------


def test_links_by_hand(broker: Broker) -> None:
    attached: list[object] = []
    seen: list[Message] = []
    outcomes: list[object] = []
    with (
        Connection(broker.url) as connection,
        Session(connection, on_attach=lambda *args: attached.append(args)) as session,
    ):
        with MessageSender(session, "here", "q") as sender:
            assert sender.send(Message("a")) is MessageState.SendComplete
            assert sender.send(Message("b"), lambda *args, **kwargs: outcomes.append(args)) is not None
            while not outcomes:
                sender.work()
        with MessageReceiver(session, "q", "here", seen.append) as receiver:
            while len(seen) < 2:
                connection.work()
                receiver.work()
            for message in seen:
                message.accept()
        taker = MessageReceiver(session, "q", "here", prefetch=0)
        taker.open()
        taker.reset_link_credit(1)
        assert taker.receive_message_batch(timeout=20) == []
        taker.close()
        session.begin()
    assert bodies(seen) == [b"a", b"b"]
    assert len(attached) == 3
    assert length(broker) == 0


# --- where blocking code does not belong ------------------------------------------------------------------------


async def test_a_running_loop_is_not_blocked() -> None:
    client = SendClient("amqp://127.0.0.1:1/q")
    with pytest.raises(errors.IllegalState, match="event loop; use the asynchronous classes"):
        client.send_message(Message("x"))
    with pytest.raises(errors.IllegalState, match="event loop"):
        client.open()


def test_what_was_not_settled_in_a_running_loop_can_be_settled_elsewhere(broker: Broker) -> None:
    fill(broker, "a", "b")

    async def settle() -> None:
        for call in (first.accept, second.release):
            with pytest.raises(errors.IllegalState, match="event loop"):
                call()

    with ReceiveClient(f"{broker.url}/q", auto_complete=False) as client:
        (first,), (second,) = client.receive_message_batch(1), client.receive_message_batch(1)
        asyncio.run(settle())
        assert not first.settled
        assert first.accept()
        assert second.release()
    assert length(broker) == 1


async def test_async_with_says_what_to_use() -> None:
    with pytest.raises(TypeError, match="Async"):
        async with SendClient("amqp://127.0.0.1:1/q"):
            pass


def test_a_bare_client_has_no_link(broker: Broker) -> None:
    with AMQPClient(f"{broker.url}/q") as client:
        assert client.client_ready()
        assert client.do_work()
        assert client.message_handler is None


def test_nothing_is_left_behind(broker: Broker) -> None:
    for _ in range(3):
        fill(broker, "a")
    gc.collect()
    assert broker.connections == 0
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# --- functions of the application -------------------------------------------------------------------------------


def test_a_function_that_takes_its_time_holds_up_nobody(broker: Broker) -> None:
    """While it runs, another thread sends on the same connection, and what the function settles is on its way."""
    fill(broker, "first", queue="in")
    connection = Connection(broker.url)
    sender, receiver = SendClient(f"{broker.url}/out"), ReceiveClient(f"{broker.url}/in", auto_complete=False)
    sender.open(connection=connection)
    receiver.open(connection=connection)
    waiting, sent = threading.Event(), threading.Event()

    def send() -> None:
        assert waiting.wait(10)
        sender.send_message(Message("meanwhile"))
        sent.set()

    thread = threading.Thread(target=send)
    thread.start()

    def on_message(message: Message) -> None:
        message.accept()
        waiting.set()
        assert sent.wait(10)
        assert length(broker, "in") == 0
        receiver._shutdown = True

    receiver.receive_messages(on_message)
    thread.join(10)
    assert length(broker, "out") == 1
    sender.close()
    connection.destroy()


def test_a_function_that_closes_its_client(broker: Broker) -> None:
    fill(broker, "first", "second")
    client = ReceiveClient(f"{broker.url}/q")
    seen: list[str] = []

    def on_message(message: Message) -> None:
        seen.append(str(message))
        client.close()

    client.receive_messages(on_message)
    assert seen == ["first"]


def test_a_function_that_uses_its_own_connection(broker: Broker) -> None:
    fill(broker, "first", queue="in")
    connection = Connection(broker.url)
    sender, receiver = SendClient(f"{broker.url}/out"), ReceiveClient(f"{broker.url}/in")
    sender.open(connection=connection)
    receiver.open(connection=connection)

    def on_message(message: Message) -> None:
        sender.send_message(Message(f"answer to {message}"))
        receiver._shutdown = True

    receiver.receive_messages(on_message)
    assert length(broker, "out") == 1
    connection.destroy()


def test_accepting_a_batch_is_one_write(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(broker, *map(str, range(100)))
    with ReceiveClient(f"{broker.url}/q", prefetch=100) as client:
        while len(client.receive_message_batch(max_batch_size=1)) + length(broker) < 100:
            pass
        driver = client._connection._driver()  # type: ignore[union-attr]
        writes: list[int] = []
        send = driver._send
        monkeypatch.setattr(driver, "_send", lambda: (writes.append(len(driver._unsent)), send()))
        assert len(client.receive_message_batch(max_batch_size=50)) == 50
        assert sum(writes) <= 2


def test_who_is_told_of_an_outcome_may_send_more(broker: Broker) -> None:
    with SendClient(f"{broker.url}/q") as client:
        told = Message("told")
        told.on_send_complete = lambda result, error: client.send_message(Message("nested"), close_on_done=False)
        client.queue_message(Message("before"), told, Message("after"))
        states = client.send_all_messages(close_on_done=False)
    assert states == [MessageState.SendComplete] * 3
    assert broker.call(lambda: broker.queue("q").length) == 4


@pytest.mark.parametrize("call", ["iterate", "batch", "callback"])
def test_closing_ends_what_another_thread_waits_for(broker: Broker, call: str) -> None:
    calls: dict[str, Callable[[ReceiveClient], object]] = {
        "iterate": lambda client: list(client.receive_messages_iter()),
        "batch": ReceiveClient.receive_message_batch,
        "callback": lambda client: client.receive_messages(print),
    }
    for _ in range(4):
        client = ReceiveClient(f"{broker.url}/empty")
        client.open()
        assert client.client_ready()
        driver = client._driver()
        thread = threading.Thread(target=calls[call], args=(client,), daemon=True)
        thread.start()
        # It waits for the socket, or nearly so.
        wait_until(lambda driver=driver: driver._leader is not None)
        client.close()
        thread.join(10)
        assert not thread.is_alive()


def test_a_generator_that_is_closed_late_leaves_the_client_in_order(broker: Broker) -> None:
    fill(broker, "a")
    client = ReceiveClient(f"{broker.url}/q", shutdown_after_timeout=False)
    messages = client.receive_messages_iter()
    assert bodies([next(messages)]) == [b"a"]
    assert not client.auto_complete
    client.close()
    messages.close()
    assert client.auto_complete


def test_an_interrupt_in_a_function_leaves_the_connection_to_others(broker: Broker) -> None:
    fill(broker, "a")
    with Connection(broker.url) as connection:
        client = ReceiveClient(f"{broker.url}/q")
        client.open(connection)

        def interrupted(message: Message) -> None:
            raise KeyboardInterrupt

        for receive in (client.receive_messages, lambda function: client.receive_message_batch(None, function)):
            client.open(connection)
            with pytest.raises(errors.AMQPClientShutdown):
                receive(interrupted)
            client.close()
            # It went back, marked as failed here.
            fill(broker, "b")
        other = SendClient(f"{broker.url}/other")
        other.open(connection)
        other.send_message(Message("fine"))
        other.close()


def test_a_client_has_its_own_authentication_where_a_shared_connection_does_not_open(broker: Broker) -> None:
    with Broker.running(users={"user": "s3cret"}) as guarded:
        client = SendClient(f"{guarded.url}/q", auth=SASLPlain("127.0.0.1", "user", "s3cret"))
        with pytest.raises(errors.AuthenticationException):
            client.open(Connection(guarded.url, SASLPlain("127.0.0.1", "user", "wr0ng")))
        client.send_message(Message("one"))
        client.close()


def test_many_threads_queue_while_all_is_sent(broker: Broker) -> None:
    """Each message is sent once, however threads take turns."""
    count = 4000
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with SendClient(f"{broker.url}/q") as client:

            def produce(which: int) -> None:
                for n in range(count):
                    client.queue_message(Message(f"{which}.{n}"))

            threads = [threading.Thread(target=produce, args=(which,), daemon=True) for which in range(2)]
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads) or client.messages_pending():
                client.send_all_messages(close_on_done=False)
    finally:
        sys.setswitchinterval(before)
    with ReceiveClient(f"{broker.url}/q", prefetch=1000) as client:
        received: list[bytes] = []
        while len(received) < 2 * count:
            received += bodies(client.receive_message_batch())
    for which in range(2):
        mine = [body for body in received if body.startswith(b"%d." % which)]
        assert mine == [b"%d.%d" % (which, n) for n in range(count)]
    assert length(broker) == 0


def test_a_client_has_its_own_authentication_again_after_a_shared_connection(broker: Broker) -> None:
    own = SASLAnonymous("127.0.0.1")
    with Connection(broker.url) as connection:
        client = SendClient(f"{broker.url}/q", auth=own)
        client.open(connection)
        assert client._auth is connection.auth
        client.send_message(Message("one"))
        client.close()
        assert client._auth is own
        client.open()
        client.send_message(Message("two"))
        client.close()


@pytest.mark.parametrize("retries", [0, 3])
def test_a_stream_that_breaks_as_a_message_is_written(broker: Broker, retries: int) -> None:
    """Whether it arrived is not known: it is sent again as often as the policy says, if not on this connection."""
    with SendClient(f"{broker.url}/q", error_policy=errors.ErrorPolicy(max_retries=retries)) as client:
        client.send_message(Message(b"written"))
        assert client._connection is not None
        driver: Any = client._connection.modern._driver
        driver._socket = BrokenPipe(driver._socket)
        message = Message(b"not written")
        with pytest.raises(errors.ConnectionClose if retries else errors.ClientMessageError, match="lost: broken"):
            client.send_message(message)
        assert message.state is (MessageState.WaitingToBeSent if retries else MessageState.SendFailed)
        assert client.pending_messages == ([message] if retries else [])
