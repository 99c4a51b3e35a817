"""Names and signatures of the page "Async Operations" and of uamqp 1.6.11, by keyword and by position."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from typing import Any

import pytest

import uamqp
from uamqp import async_ops
from uamqp.async_ops import (
    AMQPClientAsync,
    AsyncMessageIter,
    ConnectionAsync,
    MessageReceiverAsync,
    MessageSenderAsync,
    ReceiveClientAsync,
    SendClientAsync,
    SessionAsync,
)
from uamqp.authentication import SASLAnonymous
from uamqp.broker import Broker
from uamqp.constants import ReceiverSettleMode, SenderSettleMode
from uamqp.errors import ErrorPolicy

#: Parameters as the page prints them, in order, with their defaults; "*" where there is none.
PAGE: dict[Any, dict[str, Any]] = {
    SendClientAsync: {
        "target": "*",
        "auth": None,
        "client_name": None,
        "debug": False,
        "msg_timeout": 0,
        "error_policy": None,
        "keep_alive_interval": None,
        "send_settle_mode": None,
        "auto_complete": True,
        "encoding": "UTF-8",
        "loop": None,
    },
    SendClientAsync.open_async: {},
    SendClientAsync.close_async: {},
    SendClientAsync.send_all_messages_async: {"close_on_done": True},
    SendClientAsync.send_message_batch_async: {"messages": "*", "close_on_done": True},
    ReceiveClientAsync: {
        "source": "*",
        "auth": None,
        "client_name": None,
        "debug": False,
        "prefetch": 300,
        "auto_complete": True,
        "error_policy": None,
        "keep_alive_interval": None,
        "receive_settle_mode": None,
        "encoding": "UTF-8",
        "loop": None,
    },
    ReceiveClientAsync.receive_message_batch_async: {"max_batch_size": None, "timeout": 0},
    ReceiveClientAsync.receive_messages_iter_async: {},
    AsyncMessageIter: {"client": "*"},
    ConnectionAsync: {
        "hostname": "*",
        "sasl": None,
        "container_id": None,
        "max_frame_size": None,
        "channel_max": None,
        "idle_timeout": None,
        "properties": None,
        "remote_idle_timeout_empty_frame_send_ratio": None,
        "debug": False,
        "encoding": "UTF-8",
        "loop": None,
    },
    ConnectionAsync.open_async: {},
    ConnectionAsync.close_async: {},
    SessionAsync: {
        "connection": "*",
        "incoming_window": None,
        "outgoing_window": None,
        "handle_max": None,
        "loop": None,
    },
    SessionAsync.begin_async: {},
    SessionAsync.end_async: {},
    MessageSenderAsync: {
        "session": "*",
        "source": "*",
        "target": "*",
        "name": None,
        "send_settle_mode": None,
        "max_message_size": None,
        "link_properties": None,
        "desired_capabilities": None,
        "loop": None,
    },
    MessageSenderAsync.open_async: {},
    MessageSenderAsync.send_async: {"message": "*", "callback": None},
    MessageReceiverAsync: {
        "session": "*",
        "source": "*",
        "target": "*",
        "name": None,
        "receive_settle_mode": None,
        "max_message_size": None,
        "prefetch": None,
        "link_properties": None,
        "desired_capabilities": None,
        "loop": None,
    },
    MessageReceiverAsync.open_async: {},
    MessageReceiverAsync.receive_message_batch_async: {"max_batch_size": None},
}


@pytest.mark.parametrize("function", PAGE, ids=lambda f: f.__qualname__)
def test_published_signature(function: Any) -> None:
    wanted = PAGE[function]
    parameters = {name: p for name, p in inspect.signature(function).parameters.items() if name != "self"}
    positional = [n for n, p in parameters.items() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    assert positional[: len(wanted)] == list(wanted)
    for name, default in wanted.items():
        if default != "*":
            assert parameters[name].default == default, name
    for name in parameters.keys() - wanted.keys():
        parameter = parameters[name]
        assert parameter.default is not parameter.empty or parameter.kind is parameter.VAR_KEYWORD, name


@pytest.mark.parametrize(
    "method",
    [
        SendClientAsync.open_async,
        SendClientAsync.close_async,
        SendClientAsync.send_all_messages_async,
        SendClientAsync.send_message_batch_async,
        ReceiveClientAsync.receive_message_batch_async,
        AsyncMessageIter.__anext__,
        ConnectionAsync.open_async,
        SessionAsync.begin_async,
        MessageSenderAsync.send_async,
        MessageReceiverAsync.receive_message_batch_async,
    ],
)
def test_coroutine_functions(method: Any) -> None:
    assert inspect.iscoroutinefunction(method)


@pytest.mark.parametrize(
    "method",
    [SendClientAsync.queue_message, ReceiveClientAsync.receive_messages_iter_async, AsyncMessageIter.__aiter__],
)
def test_plain_functions(method: Any) -> None:
    assert not inspect.iscoroutinefunction(method)


def test_names_of_the_package() -> None:
    for name in async_ops.__all__:
        assert getattr(uamqp, name) is getattr(async_ops, name)
    assert uamqp.Message is uamqp.message.Message
    assert uamqp.Source is uamqp.address.Source
    assert uamqp.constants.MessageState.SendFailed.value == 3
    assert uamqp.TransportType.Amqp.value == 1
    assert uamqp.utils.create_sas_token
    assert [int(part) for part in uamqp.__version__.split(".")[:2]] >= [1, 7]


@pytest.mark.parametrize("layer", ["codec", "engine", "transport", "aio", "broker", "sync"])
def test_no_lower_layer_imports_the_old_api(layer: str) -> None:
    code = (
        f"import pkgutil, importlib, sys, uamqp.{layer} as p\n"
        "for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.'): importlib.import_module(m.name)\n"
        "old = {'message', 'address', 'constants', 'errors', 'authentication', 'async_ops', '_legacy', '_signatures'}\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'uamqp' and set(m.split('.')[1:2]) & old))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- both orders ------------------------------------------------------------------------------------------------

URL = "amqp://localhost/queue"


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def closing(loop: asyncio.AbstractEventLoop, made: Any) -> Any:
    loop.close()
    return made


def test_send_client_in_the_published_order(loop: asyncio.AbstractEventLoop) -> None:
    auth, policy, mode = SASLAnonymous("localhost"), ErrorPolicy(), SenderSettleMode.Settled
    client = closing(loop, SendClientAsync(URL, auth, "name", True, 2, policy, 5, mode, False, "latin-1", loop))
    assert client._auth is auth
    assert client._name == "name"
    assert client._debug_trace is True
    assert client._msg_timeout == 2000
    assert client._error_policy is policy
    assert client._keep_alive_interval == 5
    assert client._send_settle_mode is mode
    assert client._encoding == "latin-1"
    assert client.loop is loop
    assert client._internal_kwargs == {"loop": loop}


@pytest.mark.parametrize("with_loop", [True, False])
def test_send_client_in_the_old_order(loop: asyncio.AbstractEventLoop, with_loop: bool) -> None:
    policy = ErrorPolicy()
    given = loop if with_loop else None
    client = closing(loop, SendClientAsync(URL, None, "name", given, True, 2, policy, 5))
    assert client._loop is given
    assert client._name == "name"
    assert client._debug_trace is True
    assert client._msg_timeout == 2000
    assert client._error_policy is policy
    assert client._keep_alive_interval == 5


def test_receive_client_in_the_published_order(loop: asyncio.AbstractEventLoop) -> None:
    policy, mode = ErrorPolicy(), ReceiverSettleMode.ReceiveAndDelete
    client = closing(
        loop, ReceiveClientAsync(URL, None, "name", True, 7, False, policy, 5, mode, "latin-1", loop, timeout=9)
    )
    assert client._debug_trace is True
    assert client._prefetch == 7
    assert client.auto_complete is False
    assert client._error_policy is policy
    assert client._keep_alive_interval == 5
    assert client._receive_settle_mode is mode
    assert client._encoding == "latin-1"
    assert client.loop is loop
    assert client._timeout == 9


def test_receive_client_in_the_old_order(loop: asyncio.AbstractEventLoop) -> None:
    policy = ErrorPolicy()
    client = closing(loop, ReceiveClientAsync(URL, None, "name", loop, True, 9, False, policy, 5))
    assert client.loop is loop
    assert client._debug_trace is True
    assert client._timeout == 9
    assert client.auto_complete is False
    assert client._error_policy is policy
    assert client._keep_alive_interval == 5
    assert client._prefetch == 300


def test_bare_client_in_both_orders(loop: asyncio.AbstractEventLoop) -> None:
    policy = ErrorPolicy()
    old = AMQPClientAsync(URL, None, "name", loop, True, policy, 5)
    new = closing(loop, AMQPClientAsync(URL, None, "name", True, policy, 5, loop))
    for client in (old, new):
        assert client.loop is loop
        assert client._debug_trace is True
        assert client._error_policy is policy
        assert client._keep_alive_interval == 5


def test_connection_in_both_orders(loop: asyncio.AbstractEventLoop) -> None:
    policy = ErrorPolicy()
    new = ConnectionAsync("h", None, "c", 1024, 5, 2000, {"a": 1}, 0.5, True, "latin-1", loop)
    old = closing(loop, ConnectionAsync("h", None, "c", 1024, 5, 2000, {"a": 1}, 0.5, policy, True, "latin-1", loop))  # type: ignore[arg-type, call-arg]
    for connection in (new, old):
        assert connection.hostname == b"h"
        assert connection.container_id == b"c"
        assert connection.max_frame_size == 1024
        assert connection.channel_max == 5
        assert connection.idle_timeout == 2000
        assert connection.properties == {"a": 1}
        assert connection._debug is True
        assert connection._encoding == "latin-1"
        assert connection.loop is loop
    assert old.error_policy is policy
    assert ConnectionAsync("h", None, False, None, None, None, None, None, None, True)._debug is True  # type: ignore[arg-type]


@pytest.mark.parametrize("container_id", [None, False])
def test_connections_without_a_name_get_one(container_id: Any) -> None:
    first, second = (ConnectionAsync("h", container_id=container_id) for _ in range(2))
    assert isinstance(first.container_id, bytes)
    assert len(first.container_id) == 36
    assert first.container_id != second.container_id
    assert isinstance(first.auth, SASLAnonymous)


def test_session_in_both_orders(loop: asyncio.AbstractEventLoop) -> None:
    connection = ConnectionAsync("h")

    def on_attach(*args: Any) -> None: ...

    assert SessionAsync(connection, 1, 2, 3, None)._on_attach is None
    assert SessionAsync(connection, 1, 2, 3, on_attach)._on_attach is on_attach  # type: ignore[arg-type]
    both = SessionAsync(connection, 1, 2, 3, on_attach, loop)  # type: ignore[arg-type, call-arg]
    assert both._on_attach is on_attach
    assert both.loop is loop
    session = closing(loop, SessionAsync(connection, 1, 2, 3, loop))
    assert session.loop is loop
    assert (session.incoming_window, session.outgoing_window, session.handle_max) == (1, 2, 3)


def test_sender_in_both_orders(loop: asyncio.AbstractEventLoop) -> None:
    session = SessionAsync(ConnectionAsync("h"))
    settled, peek, policy = SenderSettleMode.Settled, ReceiverSettleMode.PeekLock, ErrorPolicy()
    new = MessageSenderAsync(session, "s", "t", "n", settled, 5, {"p": 1}, ["c"], loop)
    old = MessageSenderAsync(
        session, "s", "t", "n", settled, peek, 5, 6, {"p": 1}, policy, True, "latin-1", ["c"], loop
    )  # type: ignore[arg-type, call-arg]
    loop.close()
    for sender in (new, old):
        assert sender.name == b"n"
        assert sender.send_settle_mode is settled
        assert sender.receive_settle_mode is peek
        assert sender.max_message_size == 5
        assert sender._properties == {"p": 1}
        assert sender._desired_capabilities == ("c",)
        assert sender.loop is loop
    assert old.error_policy is policy
    assert old._encoding == "latin-1"
    defaults = MessageSenderAsync(session, "s", "t", None, None, None)
    assert defaults.send_settle_mode is SenderSettleMode.Unsettled
    assert defaults.max_message_size == 1048576
    assert defaults.name.startswith(b"sender-link-")


def test_receiver_in_both_orders(loop: asyncio.AbstractEventLoop) -> None:
    session = SessionAsync(ConnectionAsync("h"))
    delete, settled, policy = ReceiverSettleMode.ReceiveAndDelete, SenderSettleMode.Settled, ErrorPolicy()

    def on_message(message: Any) -> None: ...

    new = MessageReceiverAsync(session, "s", "t", "n", delete, 5, 7, {"p": 1}, ["c"], loop)
    old = MessageReceiverAsync(
        *(session, "s", "t", on_message, "n", delete, settled, 5, 7, {"p": 1}, policy, True, "latin-1", ["c"], loop)  # type: ignore[arg-type, call-arg]
    )
    loop.close()
    for receiver in (new, old):
        assert receiver.name == b"n"
        assert receiver.receive_settle_mode is delete
        assert receiver.send_settle_mode is settled
        assert receiver.max_message_size == 5
        assert receiver._prefetch == 7
        assert receiver._properties == {"p": 1}
        assert receiver._desired_capabilities == ("c",)
        assert receiver.loop is loop
    assert new.on_message_received is None
    assert old.on_message_received is on_message
    assert old.error_policy is policy
    defaults = MessageReceiverAsync(session, "s", "t")
    assert defaults._prefetch == 300
    assert defaults.receive_settle_mode is ReceiverSettleMode.PeekLock
    assert defaults.name.startswith(b"receiver-link-")


def test_an_argument_by_position_and_by_keyword() -> None:
    with pytest.raises(TypeError, match="two values for 'debug'"):
        SendClientAsync(URL, None, None, None, True, debug=False)  # type: ignore[arg-type, misc]
    with pytest.raises(TypeError, match="takes 8 arguments by position, not 9"):
        SendClientAsync(URL, None, None, None, True, 0, None, None, None)  # type: ignore[arg-type]


def test_iterator_by_either_name() -> None:
    client = ReceiveClientAsync(URL)
    for iterator in (AsyncMessageIter(client), AsyncMessageIter(client=client), AsyncMessageIter(rcv_client=client)):
        assert iterator._client is client
        assert iterator.auto_complete is True
        assert iterator.receiving is True
        assert iterator.current_message is None
    last = AsyncMessageIter(client, False)
    assert last.auto_complete is False
    assert client.auto_complete is False
    with pytest.raises(TypeError, match="needs a client"):
        AsyncMessageIter()


# --- checks of arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", [SendClientAsync, ReceiveClientAsync, AMQPClientAsync])
def test_unknown_keywords(client: Any) -> None:
    with pytest.raises(ValueError, match=r"^Received unrecognized kwargs: one, two$"):
        client(URL, one=1, two=2)


def test_keywords_of_the_other_client() -> None:
    SendClientAsync(URL, auto_complete=True, link_credit=5, max_message_size=7, link_properties={"a": 1})
    ReceiveClientAsync(URL, shutdown_after_timeout=False, max_message_size=7, link_properties={"a": 1})
    with pytest.raises(ValueError, match="unrecognized kwargs: link_credit"):
        ReceiveClientAsync(URL, link_credit=5)


def test_keep_alive_interval_below_zero() -> None:
    with pytest.raises(ValueError, match="keep_alive_interval"):
        SendClientAsync(URL, keep_alive_interval=-1)


def test_a_small_frame_size() -> None:
    with pytest.raises(ValueError, match="max_frame_size must be at least 512"):
        ConnectionAsync("h", max_frame_size=511)


def test_a_loop_that_is_none() -> None:
    with pytest.raises(TypeError, match="loop is an event loop, not str"):
        SendClientAsync(URL, loop="loop")  # type: ignore[arg-type]


async def test_a_loop_that_is_not_running(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    for made in (SendClientAsync(URL, loop=loop), ReceiveClientAsync(URL, loop=loop), ConnectionAsync("h", loop=loop)):
        with pytest.raises(RuntimeError, match="another event loop"):
            await made.open_async()


async def test_with_instead_of_async_with() -> None:
    with pytest.raises(TypeError, match="use 'async with'"), SendClientAsync(URL):
        pass


async def test_a_bare_client(broker: Broker) -> None:
    for address in (broker.url, f"{broker.url}/queue"):
        async with AMQPClientAsync(address) as client:
            assert await client.client_ready_async() is True
            assert await client.do_work_async() is True
            assert repr(client) == f"<AMQPClientAsync for {address}, open>"
        assert await client.do_work_async() is False
        assert repr(client).endswith("not open>")
