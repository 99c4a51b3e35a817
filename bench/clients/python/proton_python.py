"""python-qpid-proton: its event-driven API, and for one message at a time its blocking connection."""

from __future__ import annotations

from typing import Any

import proton
from proton import Message, SSLDomain
from proton.handlers import MessagingHandler
from proton.reactor import Container
from proton.utils import BlockingConnection
from task import Result, Task, rich_tally, run

OPERATION_SECONDS = 60


def tls(task: Task) -> SSLDomain | None:
    if task.ca_file is None:
        return None
    domain = SSLDomain(SSLDomain.MODE_CLIENT)
    domain.set_trusted_ca_db(task.ca_file)
    domain.set_peer_authentication(SSLDomain.VERIFY_PEER_NAME)
    return domain


class Handler(MessagingHandler):
    """Connects; what comes then is up to its kind."""

    def __init__(self, task: Task, result: Result) -> None:
        super().__init__(prefetch=task.credit)
        self.task = task
        self.result = result
        self.done = 0

    def on_start(self, event: Any) -> None:
        event.container.connect(
            self.task.server,
            user=self.task.user,
            password=self.task.password,
            allowed_mechs="PLAIN" if self.task.user else "ANONYMOUS",
            ssl_domain=tls(self.task),
        )


class SendingHandler(Handler):
    def __init__(self, task: Task, result: Result) -> None:
        super().__init__(task, result)
        self.body = task.body
        self.sent = 0

    def on_connection_opened(self, event: Any) -> None:
        event.container.create_sender(event.connection, self.task.address)

    def on_sendable(self, event: Any) -> None:
        sender = event.sender
        if not self.sent:
            self.result.begin()
        while sender.credit and self.sent < self.task.count:
            sender.send(Message(self.body, inferred=True))
            self.sent += 1

    def on_accepted(self, event: Any) -> None:
        self.done += 1
        if self.done == self.task.count:
            self.result.end(self.done)
            event.connection.close()


class ReceivingHandler(Handler):
    def on_connection_opened(self, event: Any) -> None:
        self.result.begin()
        event.container.create_receiver(event.connection, self.task.address)

    def on_message(self, event: Any) -> None:
        if self.done == self.task.count:
            return
        tally = self.tally(event.message)
        self.done += 1
        if self.done == self.task.count:
            event.delivery.update(proton.Delivery.ACCEPTED)
            event.delivery.settle()
            self.result.end(tally)
            event.connection.close()

    def tally(self, message: Message) -> int:
        body: Any = message.body
        return len(body)


class RichReceivingHandler(ReceivingHandler):
    def tally(self, message: Message) -> int:
        texts = (
            message.id,
            message.address,
            message.subject,
            message.reply_to,
            message.correlation_id,
            message.content_type,
        )
        created = message.creation_time
        application: Any = message.properties
        region, quantity, express = application["region"], application["quantity"], application["express"]
        body: Any = message.body
        return (
            len(body)
            if self.done + 1 < self.task.count
            else rich_tally(texts, round(created * 1000), region, quantity, express, len(body))
        )


def send_one(task: Task, result: Result) -> None:
    connection = BlockingConnection(task.server, timeout=OPERATION_SECONDS, ssl_domain=tls(task))
    sender = connection.create_sender(task.address)
    body = task.body
    result.begin()
    for _ in range(task.count):
        sender.send(Message(body, inferred=True))
    result.end(task.count)
    connection.close()


HANDLERS = {"send": SendingHandler, "receive": ReceivingHandler, "receive-rich": RichReceivingHandler}


def measure(task: Task, result: Result) -> None:
    if task.operation == "send-one":
        send_one(task, result)
    else:
        Container(HANDLERS[task.operation](task, result)).run()


run(".".join(map(str, proton.VERSION)), measure)
