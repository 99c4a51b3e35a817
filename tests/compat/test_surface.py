"""The whole public surface of uamqp 1.6.11, as it was recorded from the released package, is here."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

import uamqp
from uamqp import Connection, ReceiveClientAsync, Session, c_uamqp, errors
from uamqp._signatures import SECOND_ORDER
from uamqp.authentication import SASLAnonymous, SASLPlain
from uamqp.broker import Broker

SURFACE: dict[str, Any] = json.loads((Path(__file__).parent.parent / "data" / "uamqp-1.6.11.json").read_text())
MODULES = [name for name in SURFACE if name != "uamqp.c_uamqp"]

#: What is different on purpose, as patterns of what the comparison reports, with the reason.
DIFFERENCES = {
    r"uamqp\.async_ops\..*Async: not a (Connection|Session|MessageSender|MessageReceiver|MgmtOperation|AMQPClient|"
    r"SendClient|ReceiveClient)": "the blocking classes are made of the asynchronous ones, not the other way round",
    r"uamqp\.async_ops\..*Async\.(open|close|do_work|client_ready|auth_complete|mgmt_request|redirect|wait|work|sleep|"
    r"lock|release|destroy|send|send_message|send_all_messages|receive_message_batch|receive_messages|execute|"
    r"receive_messages_iter|reset_link_credit): missing": "blocking calls that the asynchronous classes inherited; "
    "they would block the event loop",
    r"uamqp\.async_ops\.mgmt_operation_async\.MgmtOperation: missing": "its base class, which now is made of it",
    r"uamqp\.authentication\.cbs_auth(_async)?\.(Session(Async)?|get_dict_with_loop_if_needed): missing": "what the "
    "module used, and uses no more",
    r"uamqp\.authentication\.cbs_auth(_async)?\.(SASTokenAuth|JWTToken(Auth|Async))\.__init__: takes no further "
    r"keywords": "a misspelt one had no effect, which is an error now",
    r"uamqp\.authentication\.common\.AMQPAuth\.sasl_client: missing": "an object of the extension module",
    r"uamqp\.async_ops\.client_async\.AsyncMessageIter\.__init__: takes .*": "named as the published page names it; "
    "rcv_client is taken by keyword too",
}


def attribute(owner: Any, name: str) -> Any:
    return inspect.getattr_static(owner, name, None)


def example_of(cls: type) -> Any:
    """An instance, where one can be made without a peer: some attributes are only there."""
    url, plain = "amqps://localhost/queue", SASLPlain("localhost", "user", "word")
    connection = Connection("localhost", SASLAnonymous("localhost"))
    session = Session(connection)
    arguments: dict[str, tuple[Any, ...]] = {
        "AMQPAuth": ("localhost",),
        "AMQPClient": (url,),
        "AMQPClientAsync": (url,),
        "Address": (url,),
        "AsyncMessageIter": (ReceiveClientAsync(url),),
        "Connection": ("localhost", plain),
        "ConnectionAsync": ("localhost", plain),
        "ConnectionClose": (b"amqp:not-found",),
        "ErrorResponse": ([b"amqp:not-found", b"", None],),
        "JWTTokenAsync": (url, url, token),
        "JWTTokenAuth": (url, url, str),
        "LinkDetach": (b"amqp:not-found",),
        "LinkRedirect": (b"amqp:link:redirect", b"", {}),
        "MessageException": (b"amqp:not-found",),
        "MessageModified": (True, True),
        "MessageReceiver": (session, url, "target", print),
        "MessageReceiverAsync": (session, url, "target", print),
        "MessageSender": (session, "source", url),
        "MessageSenderAsync": (session, "source", url),
        "MgmtOperation": (session,),
        "MgmtOperationAsync": (session,),
        "ReceiveClient": (url,),
        "ReceiveClientAsync": (url,),
        "SASLAnonymous": ("localhost",),
        "SASLPlain": ("localhost", "user", "word"),
        "SASTokenAsync": (url, url, "token", timedelta(hours=1)),
        "SASTokenAuth": (url, url, "token", timedelta(hours=1)),
        "SendClient": (url,),
        "SendClientAsync": (url,),
        "Session": (connection,),
        "SessionAsync": (connection,),
        "Source": (url,),
        "Target": (url,),
        "TokenAuthFailure": (401, b"no"),
    }
    try:
        return cls(*arguments.get(cls.__name__, ()))
    except TypeError:
        # Enums, and classes whose attributes are those of the class.
        return None


async def token() -> None:
    """Stands for a function that gives tokens."""


def parameters(signature: str) -> list[tuple[str, Any]]:
    """Names and defaults, "*" where there is none, of a signature as it was recorded; not its ``**kwargs``."""
    # Reprs of enum members and of objects are not Python.
    source = f"def f{signature}: pass"
    args = ast.parse(source).body[0].args  # type: ignore[attr-defined]
    defaults = [*["*"] * (len(args.args) - len(args.defaults)), *args.defaults]
    return [(arg.arg, default) for arg, default in zip(args.args, defaults, strict=True)]


def same_default(recorded: Any, actual: Any) -> bool:
    if recorded == "*":
        # What had to be given may have a default now.
        return True
    try:
        return bool(ast.literal_eval(recorded) == actual)
    except ValueError:
        text = ast.unparse(recorded)
        if actual is None or isinstance(actual, Enum):
            # None stands for what the constructor makes itself.
            return actual is None or text == str(actual)
        return text.startswith(("datetime.timedelta", "TokenRetryPolicy"))


def compare_function(name: str, recorded: str, actual: Any) -> Iterator[str]:
    recorded, is_async = recorded.removeprefix("async "), recorded.startswith("async ")
    function = inspect.unwrap(getattr(actual, "__func__", actual))
    if inspect.iscoroutinefunction(function) != is_async:
        yield f"{name}: {'not ' * is_async}a coroutine function"
    wanted = parameters(recorded)
    found = inspect.signature(function).parameters
    order = [p.name for p in found.values() if p.kind is not p.KEYWORD_ONLY]
    second = getattr(getattr(actual, "__func__", actual), SECOND_ORDER, None)
    if second is not None:
        order = ["self", *second]
    names = [name for name, _ in wanted]
    if order[: len(names)] != names:
        yield f"{name}: takes {order}, not {names}"
    if "**" in recorded and not takes_any_keyword(function):
        yield f"{name}: takes no further keywords"
    for parameter, default in wanted:
        if parameter in found and not same_default(default, found[parameter].default) and second is None:
            yield f"{name}: {parameter} is {found[parameter].default!r} by default, not {ast.unparse(default)}"


def takes_any_keyword(function: Any) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


def compare_class(name: str, recorded: dict[str, Any], actual: Any) -> Iterator[str]:
    for base in recorded.get("bases", ()):
        module, _, base_name = base.rpartition(".")
        if not issubclass(actual, getattr(importlib.import_module(module), base_name)):
            yield f"{name}: not a {base_name}"
    for member, value in recorded.get("members", {}).items():
        if member not in actual.__members__:
            yield f"{name}.{member}: missing"
        elif isinstance(value, bool | int | str) and actual[member].value != value:
            yield f"{name}.{member}: {actual[member].value!r}, not {value!r}"
    for method, signature in recorded.get("methods", {}).items():
        if attribute(actual, method) is None:
            yield f"{name}.{method}: missing"
        else:
            yield from compare_function(f"{name}.{method}", signature, attribute(actual, method))
    for method, keywords in recorded.get("keywords", {}).items():
        function = inspect.unwrap(getattr(attribute(actual, method), "__func__", attribute(actual, method)))
        for keyword in keywords:
            if keyword not in inspect.signature(function).parameters and not takes_any_keyword(function):
                yield f"{name}.{method}: takes no {keyword}"
    example = example_of(actual)
    for known in recorded.get("attributes", ()):
        if attribute(actual, known) is None and not hasattr(example, known):
            yield f"{name}.{known}: missing"


def compare_module(name: str) -> Iterator[str]:
    recorded = SURFACE[name]
    module = importlib.import_module(name)
    for known in recorded.get("names", ()):
        if not hasattr(module, known):
            yield f"{name}.{known}: missing"
    for known, value in recorded.get("constants", {}).items():
        if hasattr(module, known) and getattr(module, known) != value:
            yield f"{name}.{known}: {getattr(module, known)!r}, not {value!r}"
    for known, signature in recorded.get("functions", {}).items():
        if not hasattr(module, known):
            yield f"{name}.{known}: missing"
        else:
            yield from compare_function(f"{name}.{known}", signature, getattr(module, known))
    for known, cls in recorded.get("classes", {}).items():
        if not hasattr(module, known):
            yield f"{name}.{known}: missing"
        else:
            yield from compare_class(f"{name}.{known}", cls, getattr(module, known))


@pytest.mark.parametrize("name", MODULES)
def test_every_name_and_signature_is_there(name: str) -> None:
    differences = [found for found in compare_module(name) if not any(re.fullmatch(p, found) for p in DIFFERENCES)]
    assert not differences, "\n".join(["", *differences])


def test_every_allowed_difference_exists() -> None:
    found = [difference for name in MODULES for difference in compare_module(name)]
    unused = [pattern for pattern in DIFFERENCES if not any(re.fullmatch(pattern, text) for text in found)]
    assert not unused


def test_what_programs_use_of_the_extension_module_is_there() -> None:
    recorded = SURFACE["uamqp.c_uamqp"]
    for name, value in recorded["constants"].items():
        assert getattr(c_uamqp, name) == value, name
    for name, members in recorded["enums"].items():
        if name in ("Enum", "PlatformInfoOption"):
            continue
        assert {member.name: member.value for member in getattr(c_uamqp, name)} == members
    for name, methods in recorded["classes"].items():
        # The rest is how the extension module talks to the C library.
        if name.endswith("Value") and name != "CompositeValue":
            assert not [method for method in methods if not hasattr(getattr(c_uamqp, name), method)]
    for name in recorded["functions"]:
        if name.endswith("_value") and name not in ("create_string_from_value", "enocde_batch_value"):
            assert callable(getattr(c_uamqp, name))


def test_the_platform_needs_nothing() -> None:
    platform = uamqp._Platform
    assert not platform.initialized
    platform.initialize()
    assert platform.initialized
    platform.deinitialize()
    assert not platform.initialized
    assert "Python" in uamqp.get_platform_info()


def test_states_of_a_connection() -> None:
    """Libraries look at this to see whether a connection that several share is still good."""
    with Broker.running() as broker:
        connection = Connection(broker.url)
        assert connection._state is c_uamqp.ConnectionState.START
        connection.open()
        assert connection._state is c_uamqp.ConnectionState.OPENED
        broker.call(broker.drop_connections)
        with pytest.raises(errors.AMQPConnectionError):
            while True:
                connection.work()
        assert connection._state is c_uamqp.ConnectionState.END
        connection.destroy()
        assert connection._state is c_uamqp.ConnectionState.END


@pytest.mark.parametrize("name", ["AMQPClient", "SendClient", "ReceiveClient"])
@pytest.mark.parametrize("kind", ["", "Async"])
def test_every_keyword_is_accepted(name: str, kind: str) -> None:
    modules = [SURFACE["uamqp.client"]["classes"], SURFACE["uamqp.async_ops.client_async"]["classes"]]
    classes = [modules[0]["AMQPClient"], modules[0][name], modules[1][name + "Async"]]
    keywords = [keyword for cls in classes for keyword in cls.get("keywords", {}).get("__init__", ())]
    client = getattr(uamqp, name + kind)("amqps://localhost/queue", **dict.fromkeys(keywords))
    assert client.message_handler is None
    with pytest.raises(ValueError, match="unrecognized kwargs"):
        getattr(uamqp, name + kind)("amqps://localhost/queue", nonsense=1)
