"""pyamqp, the AMQP inside Azure's own packages: its blocking API, used as they use it.

`SendClient.send_message` waits for each message. To have more under way, they are handed to the link behind it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

from azure.eventhub._pyamqp import ReceiveClient, SendClient  # type: ignore[import-not-found]
from azure.eventhub._pyamqp.authentication import SASLPlainAuth  # type: ignore[import-not-found]
from azure.eventhub._pyamqp.constants import LinkDeliverySettleReason  # type: ignore[import-not-found]
from azure.eventhub._pyamqp.message import Message  # type: ignore[import-not-found]
from task import MESSAGE_LIMIT, Result, Task, rich_tally, run, texts_of

#: Messages under way: it looks for each in a list of those confirmed, and with more spends its time on that.
UNDER_WAY = 100


def options(task: Task) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "auth": SASLPlainAuth("guest", "guest"),
        "max_message_size": MESSAGE_LIMIT,
        "use_tls": task.ca_file is not None,
    }
    if task.ca_file:
        settings |= {"custom_endpoint_address": task.server, "connection_verify": task.ca_file}
    return settings


def host(task: Task) -> str:
    return task.host if task.ca_file else f"{task.host}:{task.port}"


def sender(task: Task) -> SendClient:
    client = SendClient(host(task), task.address, **options(task))
    client.open()
    while not client.client_ready():
        pass
    return client


def send(task: Task, result: Result) -> None:
    client = sender(task)
    link = client._link
    body = task.body
    sent = accepted = 0

    def on_settled(reason: LinkDeliverySettleReason, state: dict[str, Any] | None) -> None:
        nonlocal accepted
        if reason is LinkDeliverySettleReason.DISPOSITION_RECEIVED and state and "accepted" in state:
            accepted += 1

    result.begin()
    while accepted < task.count:
        while sent < task.count and sent - accepted < UNDER_WAY:
            link.send_transfer(Message(data=[body]), on_send_complete=on_settled)
            sent += 1
        client._connection.listen()
    result.end(accepted)
    client.close()


def send_one(task: Task, result: Result) -> None:
    client = sender(task)
    body = task.body
    result.begin()
    for _ in range(task.count):
        client.send_message(Message(data=[body]))
    result.end(task.count)
    client.close()


class Receiver(ReceiveClient):  # type: ignore[misc]
    """Hands on each message as it comes, with the frame that has its id."""

    def __init__(self, task: Task, on_message: Callable[[Message], None]) -> None:
        super().__init__(host(task), task.address, link_credit=task.credit, **options(task))
        self._on_message = on_message

    def _message_received(self, frame: list[Any], message: Message) -> None:
        self._on_message(message)
        self.settle_messages(frame[1], frame[2], "accepted")


def receive(task: Task, result: Result) -> None:
    left = task.count
    body = b""

    def on_message(message: Message) -> None:
        nonlocal left, body
        body = b"".join(message.data)
        left -= 1

    take(task, result, on_message, lambda: left > 0)
    result.end(len(body))


def receive_rich(task: Task, result: Result) -> None:
    left = task.count
    seen: tuple[Any, ...] = ()

    def on_message(message: Message) -> None:
        nonlocal left, seen
        properties = message.properties
        texts = texts_of(properties)
        created = properties.creation_time
        application = message.application_properties
        region, quantity, express = application[b"region"], application[b"quantity"], application[b"express"]
        body = b"".join(message.data)
        seen = (texts, created, region, quantity, express, len(body))
        left -= 1

    take(task, result, on_message, lambda: left > 0)
    result.end(rich_tally(*seen))


def take(task: Task, result: Result, on_message: Callable[[Message], None], more: Callable[[], bool]) -> None:
    """Receive as long as more are wanted."""
    client = Receiver(task, on_message)
    client.open()
    result.begin()
    while more():
        client.do_work(batch=task.credit)


OPERATIONS = {"send": send, "send-one": send_one, "receive": receive, "receive-rich": receive_rich}

run(importlib.metadata.version("azure-eventhub"), lambda task, result: OPERATIONS[task.operation](task, result))
