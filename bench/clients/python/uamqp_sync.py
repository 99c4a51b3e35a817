"""uamqp: its blocking API."""

from __future__ import annotations

from task import MESSAGE_LIMIT, Result, Task, rich_tally, run, texts_of

from uamqp import BUILD, __version__
from uamqp.sync import Connection, Prefetch, connect


def send(connection: Connection, task: Task, result: Result) -> None:
    sender = connection.sender(task.address)
    body = task.body
    result.begin()
    result.end(sender.send_many([body] * task.count))


def send_one(connection: Connection, task: Task, result: Result) -> None:
    sender = connection.sender(task.address)
    body = task.body
    result.begin()
    for _ in range(task.count):
        sender.send(body)
    result.end(task.count)


def receive(connection: Connection, task: Task, result: Result) -> None:
    left = task.count
    result.begin()
    receiver = connection.receiver(task.address, credit=Prefetch(task.credit), max_message_size=MESSAGE_LIMIT)
    while left:
        for delivery in receiver.receive_many(min(task.credit, left)):
            body = delivery.body
            delivery.accept()
            left -= 1
    result.end(len(body))


def receive_rich(connection: Connection, task: Task, result: Result) -> None:
    left = task.count
    result.begin()
    receiver = connection.receiver(task.address, credit=Prefetch(task.credit))
    while left:
        for delivery in receiver.receive_many(min(task.credit, left)):
            message = delivery.message
            properties = message.properties
            texts = texts_of(properties)
            created = properties.creation_time
            application = message.application_properties
            region, quantity, express = application["region"], application["quantity"], application["express"]
            body = message.body
            delivery.accept()
            left -= 1
    result.end(rich_tally(texts, created, region, quantity, express, len(body)))


OPERATIONS = {"send": send, "send-one": send_one, "receive": receive, "receive-rich": receive_rich}


def measure(task: Task, result: Result) -> None:
    with connect(task.server, user=task.user, password=task.password, ca_file=task.ca_file) as connection:
        OPERATIONS[task.operation](connection, task, result)


run(f"{__version__} ({BUILD})", measure)
