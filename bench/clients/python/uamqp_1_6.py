"""The blocking half of the API of uamqp 1.6; see `api_1_6`."""

from __future__ import annotations

from api_1_6 import AUTO_COMPLETE, OPTIONS, QUEUED_AT_ONCE, RECEIVED_AT_ONCE, VERSION, address, login
from task import Result, Task, rich_tally, run, texts_of

from uamqp import Message, ReceiveClient, SendClient
from uamqp.constants import MessageState


def sender(task: Task) -> SendClient:
    client = SendClient(address(task), login(task), **OPTIONS)
    client.open()
    while not client.client_ready():
        pass
    return client


def send(task: Task, result: Result) -> None:
    body = task.body
    client = sender(task)
    left, accepted = task.count, 0
    result.begin()
    while left:
        batch = min(QUEUED_AT_ONCE, left)
        client.queue_message(*[Message(body) for _ in range(batch)])
        accepted += client.send_all_messages(close_on_done=False).count(MessageState.SendComplete)
        left -= batch
    result.end(accepted)
    client.close()


def send_one(task: Task, result: Result) -> None:
    body = task.body
    client = sender(task)
    result.begin()
    for _ in range(task.count):
        client.send_message(Message(body))
    result.end(task.count)
    client.close()


def receiver(task: Task) -> ReceiveClient:
    client = ReceiveClient(address(task), login(task), prefetch=task.credit, auto_complete=AUTO_COMPLETE, **OPTIONS)
    client.open()
    return client


def receive(task: Task, result: Result) -> None:
    client = receiver(task)
    left = task.count
    result.begin()
    while left:
        for message in client.receive_message_batch(min(RECEIVED_AT_ONCE, left)):
            body = b"".join(message.get_data())
            if not AUTO_COMPLETE:
                message.accept()
            left -= 1
    result.end(len(body))
    client.close()


def receive_rich(task: Task, result: Result) -> None:
    client = receiver(task)
    left = task.count
    result.begin()
    while left:
        for message in client.receive_message_batch(min(RECEIVED_AT_ONCE, left)):
            properties = message.properties
            texts = texts_of(properties)
            created = properties.creation_time
            application = message.application_properties
            region, quantity, express = application[b"region"], application[b"quantity"], application[b"express"]
            body = b"".join(message.get_data())
            if not AUTO_COMPLETE:
                message.accept()
            left -= 1
    result.end(rich_tally(texts, created, region, quantity, express, len(body)))
    client.close()


OPERATIONS = {"send": send, "send-one": send_one, "receive": receive, "receive-rich": receive_rich}

run(VERSION, lambda task, result: OPERATIONS[task.operation](task, result))
