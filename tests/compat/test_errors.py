"""The errors of the uamqp 1.6 API: their tree, their texts, copies, and what becomes of the modern ones."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from uamqp import constants, errors, exceptions
from uamqp.constants import ErrorCodes
from uamqp.errors import ErrorAction, ErrorPolicy

TREE = {
    "AMQPError": "Exception",
    "AMQPConnectionError": "AMQPError",
    "MessageHandlerError": "AMQPConnectionError",
    "ConnectionClose": "AMQPConnectionError",
    "VendorConnectionClose": "ConnectionClose",
    "AuthenticationClose": "ConnectionClose",
    "ProtocolClose": "ConnectionClose",
    "LinkDetach": "AMQPConnectionError",
    "VendorLinkDetach": "LinkDetach",
    "LinkRedirect": "LinkDetach",
    "ClientTimeout": "AMQPError",
    "AuthenticationException": "AMQPError",
    "TokenExpired": "AuthenticationException",
    "TokenAuthFailure": "AuthenticationException",
    "MessageResponse": "AMQPError",
    "MessageException": "MessageResponse",
    "MessageSendFailed": "MessageException",
    "ClientMessageError": "MessageSendFailed",
    "MessageAlreadySettled": "MessageResponse",
    "MessageAccepted": "MessageResponse",
    "MessageRejected": "MessageResponse",
    "MessageReleased": "MessageResponse",
    "MessageModified": "MessageResponse",
    "AMQPClientShutdown": "KeyboardInterrupt",
    "MessageContentTooLarge": "ValueError",
}


@pytest.mark.parametrize("name", TREE)
def test_tree(name: str) -> None:
    parent = getattr(errors, TREE[name], None) or getattr(__import__("builtins"), TREE[name])
    assert issubclass(getattr(errors, name), parent)


@pytest.mark.parametrize(
    ("old", "modern"),
    [
        ("AMQPError", "AMQPError"),
        ("ConnectionClose", "ConnectionEnded"),
        ("LinkDetach", "LinkDetached"),
        ("LinkRedirect", "LinkRedirected"),
        ("MessageHandlerError", "SessionEnded"),
        ("ClientTimeout", "OperationTimeout"),
        ("AuthenticationException", "AuthenticationError"),
        ("AuthenticationClose", "AuthenticationError"),
        ("ProtocolClose", "RemoteProtocolError"),
        ("TokenExpired", "TokenError"),
        ("TokenAuthFailure", "TokenError"),
        ("MessageException", "DeliveryFailed"),
        ("ClientMessageError", "DeliveryFailed"),
    ],
)
def test_the_modern_errors_see_them(old: str, modern: str) -> None:
    assert issubclass(getattr(errors, old), getattr(exceptions, modern))


EXAMPLES: list[tuple[BaseException, str]] = [
    (errors.AMQPError("words"), "words"),
    (errors.AMQPConnectionError("words"), "words"),
    (errors.LinkDetach(ErrorCodes.NotFound), "ErrorCodes.NotFound"),
    (errors.LinkDetach(ErrorCodes.NotFound, b"words"), "ErrorCodes.NotFound: words"),
    (errors.VendorLinkDetach(b"com.ms:x", "words", {b"a": 1}), "com.ms:x: words"),
    (errors.LinkDetach("amqp:not-found"), "ErrorCodes.NotFound"),
    (errors.ConnectionClose(ErrorCodes.UnknownError, b"a\nb"), "ErrorCodes.UnknownError: a\\nb"),
    (errors.MessageSendFailed(ErrorCodes.NotAllowed, b"words"), "ErrorCodes.NotAllowed: words"),
    (
        errors.TokenAuthFailure(401, b"no"),
        "CBS Token authentication failed.\nStatus code: 401\nDescription: no",
    ),
    (errors.TokenExpired("words"), "words"),
    (errors.ClientTimeout("words"), "words"),
    (errors.MessageAlreadySettled(), "Invalid operation: this message is already settled."),
    (errors.MessageAccepted(), "Sending MessageAccepted disposition."),
    (errors.MessageModified(True, False, {b"a": 1}), "Sending MessageModified disposition."),
    (errors.MessageRejected(b"c", b"d"), "Sending MessageRejected disposition."),
    (errors.MessageContentTooLarge(), "Data set too large for a single message."),
    (errors.ClientMessageError(ValueError("words"), info={}), "ErrorCodes.ClientError: words"),
    (
        errors.ClientMessageError(errors.MessageSendFailed(ErrorCodes.NotFound, b"words")),
        "ErrorCodes.NotFound: words",
    ),
    (errors.AMQPClientShutdown(), "Client shutdown with keyboard interrupt."),
]


@pytest.mark.parametrize(("error", "text"), EXAMPLES, ids=lambda v: type(v).__name__)
def test_text(error: BaseException, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize("error", [error for error, _ in EXAMPLES], ids=lambda v: type(v).__name__)
def test_copies(error: Any) -> None:
    error.__dict__["extra"] = 5
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is type(error)
        assert str(copied) == str(error)
        assert copied.__dict__.keys() == error.__dict__.keys()
        assert getattr(copied, "condition", None) == getattr(error, "condition", None)


def test_attributes() -> None:
    error = errors.VendorLinkDetach(b"com.ms:x", "words", {b"a": 1})
    assert (error.condition, error.description, error.info, error.action) == (b"com.ms:x", "words", {b"a": 1}, None)
    redirect = errors.LinkRedirect(
        ErrorCodes.LinkRedirect,
        b"words",
        {
            b"hostname": b"h",
            b"network-host": b"n",
            b"port": 5,
            b"address": b"amqps://h/x",
            b"scheme": b"s",
            b"path": b"p",
        },
    )
    assert (redirect.hostname, redirect.network_host, redirect.port) == (b"h", b"n", 5)
    assert (redirect.address, redirect.scheme, redirect.path) == (b"amqps://h/x", b"s", b"p")
    assert errors.LinkRedirect(ErrorCodes.LinkRedirect).address is None
    failure = errors.ClientMessageError(TimeoutError("Message send timed out."), info={"total_messages": 1})
    assert failure.condition is ErrorCodes.ClientError
    assert failure.description == "Message send timed out."
    assert failure.info == {"total_messages": 1}
    token = errors.TokenAuthFailure(401, b"no")
    assert (token.status_code, token.description) == (401, b"no")
    response = errors.ErrorResponse(error_info=[b"c", b"d"])
    assert (response.condition, response.description, response.info, response.error) == (b"c", b"d", None, [b"c", b"d"])
    assert errors.ErrorResponse(condition=b"c").condition == b"c"


def test_policy() -> None:
    policy = ErrorPolicy()
    assert policy.max_retries == 3
    assert len(policy.no_retry) == 20
    hopeless, hopeful = errors.LinkDetach(ErrorCodes.NotFound), errors.LinkDetach(ErrorCodes.LinkDetachForced)
    for ask in (policy.on_link_error, policy.on_message_error, policy.on_connection_error):
        assert ask(hopeless).retry is False
        assert ask(hopeful).retry is True
    assert policy.on_unrecognized_error(errors.VendorLinkDetach(b"com:x")).retry is True
    action = ErrorAction(False)
    assert ErrorPolicy(5, on_error=lambda error: action).on_unrecognized_error(hopeful) is action
    assert ErrorPolicy(5, on_error=lambda error: action).on_link_error(hopeful) is not action


def test_action() -> None:
    assert ErrorAction().__dict__ == {"retry": True, "backoff": 0, "increment_retries": True}
    assert ErrorAction(False, 1.5, False).__dict__ == {"retry": False, "backoff": 1.5, "increment_retries": False}
    assert (ErrorAction.retry, ErrorAction.fail) == (True, False)
    assert repr(ErrorAction(True)) == "ErrorAction(retry=True, backoff=0, increment_retries=True)"


@pytest.mark.parametrize(
    ("modern", "kind", "text"),
    [
        (
            exceptions.ConnectionLost("cannot connect to x"),
            errors.ConnectionClose,
            r"ErrorCodes\.UnknownError: Connection in an unexpected error state\. Cannot connect to x\. Is the",
        ),
        (
            exceptions.IdleTimeout("nothing came", condition="amqp:resource-limit-exceeded"),
            errors.ConnectionClose,
            "Nothing came",
        ),
        (
            exceptions.ConnectionClosed("words", condition="amqp:connection:forced", remote=True),
            errors.ConnectionClose,
            r"ErrorCodes\.ConnectionCloseForced: words",
        ),
        (
            exceptions.ConnectionClosed("words", condition="com:x", remote=True),
            errors.VendorConnectionClose,
            "com:x: words",
        ),
        (exceptions.SessionEnded("words"), errors.MessageHandlerError, "session ended.*words.*make a new one"),
        (exceptions.LinkDetached("words", condition="com:x"), errors.VendorLinkDetach, "com:x: words"),
        (exceptions.LinkDetached("words"), errors.LinkDetach, r"ErrorCodes\.UnknownError: words"),
        (exceptions.LinkStolen("w", condition="amqp:link:stolen"), errors.LinkDetach, r"ErrorCodes\.LinkStolen"),
        (
            exceptions.LinkRedirected("w", condition="amqp:link:redirect", info={"hostname": "h"}),
            errors.LinkRedirect,
            r"ErrorCodes\.LinkRedirect",
        ),
        (exceptions.Rejected("w", condition="amqp:not-found"), errors.MessageSendFailed, r"ErrorCodes\.NotFound"),
        (exceptions.Rejected("w", condition="com:x"), errors.MessageException, "com:x"),
        (exceptions.Released("w"), errors.MessageSendFailed, r"ErrorCodes\.UnknownError"),
        (exceptions.InDoubt("w", condition="amqp:not-found"), errors.MessageSendFailed, r"ErrorCodes\.UnknownError"),
        (
            exceptions.AuthenticationError("w", code=1),
            errors.AuthenticationClose,
            r"ErrorCodes\.UnauthorizedAccess: w\. Check user",
        ),
        (exceptions.AuthenticationError("w", code=4), errors.AuthenticationClose, r"ErrorCodes\.InternalServerError"),
        (
            exceptions.RemoteProtocolError("w", condition="amqp:connection:framing-error"),
            errors.ProtocolClose,
            r"ErrorCodes\.ConnectionFramingError: w",
        ),
        (exceptions.TokenError("w", status=403), errors.TokenAuthFailure, "Status code: 403"),
        (exceptions.TokenError("w"), errors.TokenExpired, "w"),
        (exceptions.OperationTimeout("w"), errors.ClientTimeout, "w"),
        (exceptions.LocalProtocolError("w"), errors.IllegalState, "w"),
    ],
)
def test_translation(modern: exceptions.AMQPError, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=text) as caught, errors.translated():
        raise modern
    assert type(caught.value) is kind
    assert caught.value.__cause__ is modern


@pytest.mark.parametrize(("condition", "retryable"), [("amqp:not-found", False), ("amqp:link:detach-forced", True)])
def test_translation_keeps_what_may_be_tried_again(condition: str, retryable: bool) -> None:
    for kind in (exceptions.LinkDetached, exceptions.ConnectionClosed):
        assert errors.translate(kind("w", condition=condition)).retryable is retryable


def test_translation_leaves_alone_what_has_no_other_name() -> None:
    for error in (exceptions.AddressError("w"), errors.LinkDetach(b"x")):
        with pytest.raises(type(error)) as caught, errors.translated():
            raise error
        assert caught.value is error


def test_translation_asks_the_policy() -> None:
    asked: list[Any] = []

    class Policy(ErrorPolicy):
        def on_link_error(self, error: Any) -> ErrorAction:
            asked.append(error)
            return ErrorAction(retry=False, backoff=7)

    error = errors.translate(exceptions.LinkDetached("w", condition="amqp:not-found"), Policy())
    assert asked == [error]
    assert isinstance(error, errors.LinkDetach)
    assert error.action is not None
    assert error.action.backoff == 7


def test_conditions() -> None:
    assert errors.known("amqp:not-found") is ErrorCodes.NotFound
    assert errors.known(b"amqp:not-found") is ErrorCodes.NotFound
    assert errors.known("com:x") == b"com:x"
    assert errors.known(None) is ErrorCodes.UnknownError
    assert len(ErrorCodes) == 28


def test_constants() -> None:
    assert constants.MAX_FRAME_SIZE_BYTES == 65536
    assert constants.MAX_MESSAGE_LENGTH_BYTES == 1048576
    assert constants.BATCH_MESSAGE_FORMAT == 2147563264
    assert (constants.DEFAULT_AMQPS_PORT, constants.DEFAULT_AMQP_PORT, constants.DEFAULT_AMQP_WSS_PORT) == (
        5671,
        5672,
        443,
    )
    assert [state.value for state in constants.MessageState] == [0, 1, 2, 3, 4, 5]
    assert (constants.MessageState(2), constants.MessageState(3)) == constants.DONE_STATES
    assert (constants.MessageState(5), constants.MessageState(4)) == constants.RECEIVE_STATES
    assert (constants.MessageState(1), constants.MessageState(0)) == constants.PENDING_STATES
    assert [mode.value for mode in constants.ReceiverSettleMode] == [1, 0]
    assert [mode.value for mode in constants.SenderSettleMode] == [0, 1, 2]
    assert [result.value for result in constants.MessageSendResult] == [1, 2, 3, 4]
    assert constants.MessageBodyType.Data.value.name == "DataType"
    assert constants.STRING_FILTER == b"apache.org:selector-filter:string"
