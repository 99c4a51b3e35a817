"""What programs rely on in uamqp 1.6.11 (keep), and what was broken there and is not here (fix); one test each."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

import uamqp
from uamqp import (
    AMQPClient,
    BatchMessage,
    Connection,
    Message,
    MessageSender,
    ReceiveClient,
    ReceiveClientAsync,
    SendClient,
    SendClientAsync,
    Session,
    Source,
    Target,
    constants,
    errors,
    types,
    utils,
)
from uamqp.authentication import SASLPlain
from uamqp.broker import Broker
from uamqp.codec import message as codec
from uamqp.codec.definitions import Accepted, Error, Modified, Rejected, Released
from uamqp.codec.values import Symbol
from uamqp.constants import (
    ErrorCodes,
    MessageBodyType,
    MessageSendResult,
    MessageState,
    ReceiverSettleMode,
    SenderSettleMode,
)
from uamqp.message import DataBody, MessageHeader, MessageProperties

from ..aio.peers import Peer, threaded_server


@pytest.fixture
def running() -> Iterator[Broker]:
    with Broker.running() as broker:
        yield broker


@pytest.fixture
def queue(running: Broker) -> str:
    """The URL of a queue with three messages."""
    url = f"{running.url}/q"
    with SendClient(url) as client:
        client.queue_message(*(Message(str(number)) for number in range(3)))
        client.send_all_messages(close_on_done=False)
    return url


def answering(outcome: Any) -> Any:
    """A server whose peers give every message that outcome."""

    class Answering(Peer):
        def on_message(self, delivery: Any) -> None:
            delivery.settle(outcome)

    return threaded_server(Answering)


# --- sending ----------------------------------------------------------------------------------------------------


def test_keep_success_is_told_as_ok_and_fix_without_an_error(running: Broker) -> None:
    told: list[Any] = []
    message = Message("x")
    message.on_send_complete = lambda result, error: told.append((result, error))
    SendClient(f"{running.url}/q").send_message(message, close_on_done=True)
    assert told == [(MessageSendResult.Ok, None)]
    assert message.settled
    assert message.state is MessageState.SendComplete


@pytest.mark.parametrize("outcome", [Released(), Modified(True, False, None), Rejected()], ids=repr)
def test_fix_outcomes_without_a_reason_fail_the_message(outcome: Any) -> None:
    """Modified, and rejected without an error, hung the original."""
    with answering(outcome) as server, SendClient(f"{server.url}/q") as client:
        message = Message("x")
        client.queue_message(message)
        assert client.send_all_messages() == [MessageState.SendFailed]
        assert message.retries == 3
        with pytest.raises(errors.MessageSendFailed) as raised:
            message.gather()
        assert raised.value.condition is ErrorCodes.UnknownError


def test_keep_a_known_condition_is_a_member_of_error_codes() -> None:
    class Refusing(Peer):
        def on_message(self, delivery: Any) -> None:
            delivery.settle(Rejected(Error("amqp:not-allowed", "no", {"why": "because"})))

    with threaded_server(Refusing) as server, SendClient(f"{server.url}/q") as client:
        with pytest.raises(errors.ClientMessageError, match=r"ErrorCodes\.NotAllowed") as raised:
            client.send_message(Message("x"))
        info = raised.value.info
        assert info["total_messages"] == info["number_failed"] == 1
        (failure,) = info["failed_messages"].values()
        assert failure.condition is ErrorCodes.NotAllowed
        assert failure.description == b"no"


def test_keep_a_failed_message_is_no_exception_in_a_list_of_states() -> None:
    with answering(Released()) as server, SendClient(f"{server.url}/q") as client:
        client.queue_message(Message("x"))
        assert client.send_all_messages() == [MessageState.SendFailed]


@pytest.mark.parametrize("mode", [SenderSettleMode.Settled, SenderSettleMode.Mixed])
def test_fix_mixed_is_settled_when_written(running: Broker, mode: SenderSettleMode) -> None:
    """With Mixed, the original never told the outcome."""
    told: list[Any] = []
    message = Message("x")
    message.on_send_complete = lambda result, error: told.append(result)
    SendClient(f"{running.url}/q", send_settle_mode=mode).send_message(message, close_on_done=True)
    assert told == [MessageSendResult.Ok]


def test_keep_timed_out_is_in_the_text_of_the_error() -> None:
    with threaded_server(lambda: Peer(credit=0)) as server:
        client = SendClient(f"{server.url}/q", msg_timeout=50)
        with pytest.raises(errors.ClientMessageError, match="timed out"):
            client.send_message(Message("x"), close_on_done=True)


def test_keep_units_of_msg_timeout() -> None:
    """Milliseconds in blocking code; seconds in the published asynchronous signature."""
    assert SendClient("amqps://h/q", msg_timeout=2000)._msg_timeout == 2000
    assert SendClientAsync("amqps://h/q", msg_timeout=2)._msg_timeout == 2000


def test_keep_unsent_messages_stay_when_the_link_is_lost() -> None:
    class Leaving(Peer):
        def on_deliveries(self, receiver: Any) -> None:
            receiver.queue.clear()
            receiver.detach()

    with threaded_server(Leaving) as server:
        client = SendClient(f"{server.url}/q")
        client.queue_message(Message("x"))
        with pytest.raises(errors.LinkDetach) as raised:
            client.send_all_messages()
        assert raised.value.condition is ErrorCodes.UnknownError
        assert [message.state for message in client.pending_messages] == [MessageState.WaitingToBeSent]


def test_keep_low_level_send_calls_back_with_the_result(running: Broker) -> None:
    told: list[Any] = []
    with Connection(running.url) as connection, Session(connection) as session:
        with MessageSender(session, "source", f"{running.url}/q") as sender:
            assert sender.send(Message("x"), lambda message, result, delivery_state=None: told.append(result))
            while not told:
                connection.work()
    assert told == [MessageSendResult.Ok.value]


# --- receiving --------------------------------------------------------------------------------------------------


def test_fix_leftovers_are_returned_at_once(queue: str) -> None:
    with ReceiveClient(queue) as client:
        assert len(client.receive_message_batch(max_batch_size=1)) == 1
        started = time.monotonic()
        assert len(client.receive_message_batch()) == 2
        assert time.monotonic() - started < 5


def test_keep_a_prefetch_of_zero_is_300() -> None:
    assert ReceiveClient("amqps://h/q", prefetch=0)._prefetch == 300
    assert ReceiveClientAsync("amqps://h/q", prefetch=None)._prefetch == 300


def test_keep_a_batch_over_the_prefetch_is_an_error_before_anything_is_sent() -> None:
    with pytest.raises(ValueError):
        ReceiveClient("amqps://192.0.2.1/q", prefetch=10).receive_message_batch(max_batch_size=11)


def test_keep_messages_of_a_batch_are_accepted(queue: str, running: Broker) -> None:
    with ReceiveClient(queue) as client:
        for message in client.receive_message_batch():
            assert message.settled
            assert message.accept() is False
    assert running.call(lambda: running.queue("q").length) == 0


def test_keep_a_generator_may_be_left_and_continued(queue: str) -> None:
    with ReceiveClient(queue, timeout=200) as client:
        messages = client.receive_messages_iter()
        for message in messages:
            assert str(message) == "0"
            break
        assert [str(message) for message in messages] == ["1", "2"]


def test_keep_a_generator_accepts_the_last_message_when_it_is_closed(queue: str, running: Broker) -> None:
    with ReceiveClient(queue) as client:
        messages = client.receive_messages_iter()
        assert str(next(messages)) == "0"
        messages.close()
    assert running.call(lambda: running.queue("q").length) == 2


def test_keep_receiving_goes_on_after_the_timeout_where_asked(queue: str) -> None:
    with ReceiveClient(queue, timeout=50, shutdown_after_timeout=False) as client:
        assert len(list(client.receive_messages_iter())) == 3
        with SendClient(queue) as sender:
            sender.send_message(Message("later"))
        assert [str(message) for message in client.receive_messages_iter()] == ["later"]


def test_keep_a_callback_that_fails_does_not_end_receiving() -> None:
    seen: list[str] = []

    def handle(message: Message) -> None:
        seen.append(str(message))
        if len(seen) == 1:
            raise KeyError("oops")

    with threaded_server(Peer) as server:
        client = ReceiveClient(f"{server.url}/q", timeout=200)
        assert client.client_ready()
        server.call(lambda: [server.peer.sender.send(codec.encode_message(str(number))) for number in range(3)])
        client.receive_messages(handle)
        states = [delivery.state for delivery in server.peer.settled]
    assert seen == ["0", "1", "2"]
    assert states == [Modified(True, True, None), Accepted(), Accepted()]


def test_keep_receive_and_delete_messages_are_settled(queue: str) -> None:
    with ReceiveClient(queue, receive_settle_mode=ReceiverSettleMode.ReceiveAndDelete) as client:
        message = client.receive_message_batch(max_batch_size=1)[0]
        assert message.state is MessageState.ReceivedSettled
        assert message.accept() is False


def test_keep_do_work_ignores_keywords(queue: str) -> None:
    with ReceiveClient(queue) as client:
        assert client.do_work(batch=10, anything=None) is True


def test_keep_private_names_that_libraries_touch(queue: str) -> None:
    with ReceiveClient(queue) as client:
        while not client.client_ready():
            pass
        client._timeout = 50
        client._streaming_receive = True
        client._message_received_callback = print
        client._was_message_received = True
        assert client._received_messages.empty()
        assert client._received_messages.qsize() == 0
        assert isinstance(client._counter.get_current_ms(), int)
        assert client._shutdown is False
        assert client.message_handler.name.startswith(b"receiver-link-")
        assert client.message_handler._link.peer_max_message_size >= 0
        client.message_handler.reset_link_credit(5)


# --- settling ---------------------------------------------------------------------------------------------------


def test_keep_settling_twice_is_false(queue: str) -> None:
    with ReceiveClient(queue, auto_complete=False) as client:
        message = client.receive_message_batch(max_batch_size=1)[0]
        assert message.accept() is True
        assert message.reject() is False
        assert message.state is MessageState.ReceivedSettled


def test_keep_only_received_messages_can_be_settled() -> None:
    with pytest.raises(TypeError, match="Only received messages can be settled"):
        Message("x").accept()


@pytest.mark.parametrize(
    ("arguments", "wire"),
    [((True, False), (True, False)), ((True, True), (True, True)), ((False, False), (False, False))],
    ids=["abandon", "defer", "neither"],
)
def test_keep_modify_means_undeliverable_here(arguments: tuple[bool, bool], wire: tuple[bool, bool]) -> None:
    """Its second argument is called `deliverable`, and has always been the opposite on the wire."""
    seen: list[Any] = []
    message = Message(message=codec.Message(b"x"), settler=seen.append, delivery_no=1)
    assert message.modify(*arguments, annotations={"a": 1})
    assert (seen[0].failed, seen[0].undeliverable) == wire


def test_keep_settling_on_a_dead_link_is_a_runtime_error(queue: str) -> None:
    client = ReceiveClient(queue, auto_complete=False)
    message = client.receive_message_batch(max_batch_size=1)[0]
    client.close()
    with pytest.raises(RuntimeError):
        message.accept()
    assert message.state is MessageState.ReceivedUnsettled


async def test_keep_messages_can_be_settled_in_any_thread(broker: Broker) -> None:
    async with SendClientAsync(f"{broker.url}/q") as sender:
        await sender.send_message_async(Message("x"))
    async with ReceiveClientAsync(f"{broker.url}/q", auto_complete=False) as client:
        message = (await client.receive_message_batch_async(max_batch_size=1))[0]
        assert await asyncio.get_running_loop().run_in_executor(None, message.accept) is True
    assert len(broker.queue("q")) == 0


# --- content ----------------------------------------------------------------------------------------------------


def round_trip(message: Message) -> Message:
    return Message.decode_from_bytes(bytearray(message.encode_message()))


def test_keep_all_text_arrives_as_bytes() -> None:
    arrived = round_trip(
        Message(
            {"key": ["text", b"bytes", types.AMQPSymbol("symbol")]},
            application_properties={"name": "value"},
            annotations={"x-opt": "value"},
            properties=MessageProperties(subject="s", message_id="id"),
        )
    )
    assert arrived.get_data() == {b"key": [b"text", b"bytes", b"symbol"]}
    assert arrived.application_properties == {b"name": b"value"}
    assert arrived.annotations == {b"x-opt": b"value"}
    assert (arrived.properties.subject, arrived.properties.message_id) == (b"s", b"id")


def test_keep_properties_of_a_message_to_send_are_the_dict_that_was_set() -> None:
    given = {"name": "value"}
    assert Message("x", application_properties=given).application_properties is given


def test_fix_sections_of_a_data_body_can_be_counted_and_indexed() -> None:
    body = DataBody(["a", "b"])
    assert (len(body), body[1]) == (2, b"b")


def test_fix_text_is_not_cut_at_nul() -> None:
    assert round_trip(Message(None, application_properties={"k": "a\0b"})).application_properties == {b"k": b"a\0b"}


def test_fix_absent_header_fields_are_none_and_present_ones_are_what_they_are() -> None:
    header = MessageHeader()
    header.durable = True
    absent = round_trip(Message("x", header=header)).header
    assert absent.durable is True
    assert (absent.priority, absent.ttl, absent.first_acquirer) == (None, None, None)
    header.durable, header.priority, header.time_to_live, header.first_acquirer = False, 0, 0, False
    given = round_trip(Message("x", header=header)).header
    assert (given.durable, given.priority, given.ttl, given.first_acquirer) == (False, 0, 0, False)


def test_keep_flags_of_a_header_are_anything_that_is_true_or_not() -> None:
    header = MessageHeader()
    header.durable, header.first_acquirer, header.delivery_count = 1, 0, True  # type: ignore[assignment]
    given = round_trip(Message("x", header=header)).header
    assert (given.durable, given.first_acquirer, given.delivery_count) == (True, False, 1)


def test_keep_a_section_that_came_empty_is_there() -> None:
    data = bytes.fromhex("005375a00178")
    for code, name in ((0x70, "header"), (0x73, "properties")):
        message = Message.decode_from_bytes(bytearray([0, 0x53, code, 0x45, *data]))
        assert getattr(message, name) is not None
    for code, name in (
        (0x71, "delivery_annotations"),
        (0x72, "annotations"),
        (0x74, "application_properties"),
    ):
        message = Message.decode_from_bytes(bytearray([0, 0x53, code, 0xC1, 1, 0, *data]))
        assert getattr(message, name) == {}
    message = Message.decode_from_bytes(bytearray([*data, 0, 0x53, 0x78, 0xC1, 1, 0]))
    assert message.footer == {}
    absent = Message.decode_from_bytes(bytearray(data))
    for name in ("header", "properties", "annotations", "delivery_annotations", "application_properties", "footer"):
        assert getattr(absent, name) is None


def test_fix_a_decoded_message_with_a_user_id_can_be_encoded_again() -> None:
    arrived = round_trip(Message("x", properties=MessageProperties(user_id=b"\xff\0")))
    assert round_trip(arrived).properties.user_id == b"\xff\0"


def test_fix_sections_are_in_the_order_of_the_specification() -> None:
    encoded = Message(
        "x",
        properties=MessageProperties(subject="s"),
        application_properties={"a": 1},
        annotations={"b": 2},
        footer={"c": 3},
        delivery_annotations={"d": 4},
    ).encode_message()
    places = [encoded.index(bytes([0x00, 0x53, code])) for code in (0x71, 0x72, 0x73, 0x74, 0x75, 0x78)]
    assert places == sorted(places)


def test_fix_keys_of_annotations_are_symbols() -> None:
    sent = codec.Message.decode(Message("x", annotations={"str": 1, b"bytes": 2}).encode_message())
    assert all(isinstance(key, Symbol) for key in sent.annotations)


def test_keep_copies_and_pickles() -> None:
    message = Message("x", properties=MessageProperties(subject="s"), application_properties={"k": "v"})
    for copied in (copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert copied.encode_message() == message.encode_message()
    error = errors.MessageException(b"amqp:not-found", b"text")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_keep_bodies_are_chosen_by_their_type() -> None:
    assert list(Message("x").get_data()) == [b"x"]
    assert list(Message(["a", b"b"]).get_data()) == [b"a", b"b"]
    assert Message(5).get_data() == 5
    assert Message({"a": 1}).get_data() == {b"a": 1}
    bodies = ["x", b"x", ["a", b"b"], [], 5, None, {"a": 1}, ["a", 1], (1, 2), bytearray(b"x")]
    kinds = [*[MessageBodyType.Data] * 4, *[MessageBodyType.Value] * 6]
    assert [Message(body)._body.type for body in bodies] == [kind.value for kind in kinds]
    assert str(Message(0)) == ""


def test_keep_batches_grow_through_the_iterable_that_they_were_given() -> None:
    items: list[Any] = ["a"]
    batch = BatchMessage(items)
    assert batch.data is batch._body_gen is items
    batch._body_gen.append("b")
    (message,) = batch.gather()
    assert len(list(message.get_data())) == 2
    assert message.get_message().message_format == constants.BATCH_MESSAGE_FORMAT


def test_keep_a_batch_that_is_too_large() -> None:
    with pytest.raises(errors.MessageContentTooLarge) as raised:
        BatchMessage(["x" * 600_000] * 2).gather()
    assert isinstance(raised.value, ValueError)
    assert not isinstance(raised.value, errors.AMQPError)
    sizes = [len(list(m.get_data())) for m in BatchMessage(["x" * 500_000] * 5, multi_messages=True).gather()]
    assert sizes == [2, 2, 1]


# --- addresses, errors, connections, authentication -------------------------------------------------------------


def test_fix_repr_of_an_address_and_filters_that_are_not_set() -> None:
    source = Source("amqps://user:word@host:5671/queue")
    assert "word" not in repr(source)
    assert source.get_filter() is None
    source.set_filter(b"selector", name=b"com.microsoft:session-filter", descriptor=None)
    assert source.get_filter(name=b"com.microsoft:session-filter") == b"selector"


def test_fix_a_management_client_needs_no_path(running: Broker) -> None:
    with AMQPClient(running.url) as client:
        request = Message(None, application_properties={"name": "nowhere"})
        answer = client.mgmt_request(request, b"READ", op_type=b"queue")
        assert answer.application_properties[b"statusCode"] == 404


def test_keep_texts_of_errors() -> None:
    assert str(errors.LinkDetach(ErrorCodes.NotFound, b"desc")) == "ErrorCodes.NotFound: desc"
    assert str(errors.VendorLinkDetach(b"com.ms:x", b"desc")) == "com.ms:x: desc"
    text = str(errors.TokenAuthFailure(401, b"no"))
    assert text == "CBS Token authentication failed.\nStatus code: 401\nDescription: no"


def test_keep_an_auth_object_serves_one_connection(running: Broker) -> None:
    auth = SASLPlain("127.0.0.1", "user", "word")
    with Connection(running.url, auth):
        with pytest.raises(ValueError, match="already been consumed"):
            Connection(running.url, auth)


def test_keep_an_error_is_raised_again_each_time(running: Broker) -> None:
    connection = Connection(running.url)
    connection.open()
    running.call(running.drop_connections)
    for _ in range(3):
        with pytest.raises(errors.AMQPConnectionError):
            while True:
                connection.work()
    connection.destroy()


def test_fix_a_token_may_live_for_days() -> None:
    token = utils.create_sas_token(b"name", b"key", b"scope", expiry=timedelta(days=2, seconds=5))
    expires = int(dict(part.split(b"=", 1) for part in token.split(b" ", 1)[1].split(b"&"))[b"se"])
    assert expires - time.time() > 2 * 24 * 3600
    with pytest.raises(TypeError):
        utils.create_sas_token("name", b"key", b"scope")  # type: ignore[arg-type]


def test_fix_types_that_could_not_be_made() -> None:
    assert types.AMQPChar("x").value == "x"
    assert uamqp.get_platform_info()


def test_fix_closing_with_messages_queued_keeps_them_and_does_not_crash(running: Broker) -> None:
    client = SendClient(f"{running.url}/q")
    client.queue_message(Message("x"))
    client.open()
    client.close()
    client.close()
    assert len(client.pending_messages) == 1


def test_keep_unknown_keywords_are_an_error_that_names_them() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        SendClient("amqps://host/q", nonsense=1)


def test_keep_on_attach_is_told_of_every_attach(queue: str) -> None:
    seen: list[Any] = []
    client = ReceiveClient(queue, on_attach=lambda *arguments: seen.append(arguments))
    client.open()
    while not client.client_ready():
        pass
    source, target, properties, error = seen[0]
    assert str(source) == "q"
    assert error is None
    assert properties is None
    assert isinstance(target, Target)
    client.close()


def test_keep_only_errors_of_a_condition_have_one() -> None:
    """Azure's library asks for the attribute, and goes by the class where there is none."""
    with_condition = [errors.ConnectionClose, errors.LinkDetach, errors.MessageSendFailed, errors.VendorLinkDetach]
    for kind in with_condition:
        assert kind(ErrorCodes.NotFound).condition is ErrorCodes.NotFound
    without = [
        errors.AMQPConnectionError("text"),
        errors.MessageHandlerError("text"),
        errors.AuthenticationException("text"),
        errors.TokenAuthFailure(401, b"text"),
        errors.ClientTimeout("text"),
        errors.MessageAlreadySettled(),
    ]
    assert not [error for error in without if hasattr(error, "condition")]
