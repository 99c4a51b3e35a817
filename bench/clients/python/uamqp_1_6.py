"""The blocking API of uamqp 1.6: one program for the original, which speaks only TLS, and for uamqp.

Each is used the way that it is fastest; where they differ, it says so.
"""

from __future__ import annotations

from task import MESSAGE_LIMIT, Result, Task, rich_tally, run, texts_of

import uamqp
from uamqp import Message, ReceiveClient, SendClient
from uamqp.authentication import SASLAnonymous
from uamqp.constants import MessageState

ORIGINAL = uamqp.__version__.startswith("1.6.")

#: Messages that are queued before they are sent: the original looks at all of them again and again until they are
#: confirmed.
QUEUED_AT_ONCE = 200 if ORIGINAL else 1000

#: Messages of one batch; with as many as the credit the original finds no more messages, and sleeps, more often than it
#: must.
RECEIVED_AT_ONCE = 300

#: Whether messages are accepted by the call that gives them out, which takes the original longer than accepting each.
AUTO_COMPLETE = not ORIGINAL

#: The original cannot send a message that is larger than its own maximum, so it is given that of the counterpart.
MAX_FRAME_SIZE = 128 * 1024


def login(task: Task) -> SASLAnonymous:
    return SASLAnonymous(task.host, task.port, verify=task.ca_file)


def address(task: Task) -> str:
    return f"{task.server}/{task.address}"


def sender(task: Task) -> SendClient:
    client = SendClient(address(task), login(task), max_message_size=MESSAGE_LIMIT, max_frame_size=MAX_FRAME_SIZE)
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
        for _ in range(batch):
            client.queue_message(Message(body))
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
    client = ReceiveClient(
        address(task),
        login(task),
        prefetch=task.credit,
        auto_complete=AUTO_COMPLETE,
        max_message_size=MESSAGE_LIMIT,
        max_frame_size=MAX_FRAME_SIZE,
    )
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

run(uamqp.__version__, lambda task, result: OPERATIONS[task.operation](task, result))
