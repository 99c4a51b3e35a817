"""``uamqp broker``"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any

import typer

from ..broker import Azure, Broker, Refused
from .common import console, reported


class Personality(Enum):
    """What the broker behaves like."""

    generic = "generic"
    azure = "azure"


def broker(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one, which is printed.")] = 5672,
    websocket_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Listen for AMQP over WebSocket on this port too.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(help="PEM file of the certificate: listen with TLS.")] = None,
    tls_key: Annotated[str | None, typer.Option(help="PEM file of its key, where it is in another one.")] = None,
    tls_client_ca: Annotated[str | None, typer.Option(help="Demand client certificates of this authority.")] = None,
    user: Annotated[
        list[str] | None, typer.Option(metavar="NAME:PASSWORD", help="Let this user in; may be given again.")
    ] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Declare a queue; may be given again.")] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(help="Declare a topic; may be given again. Azure: TOPIC/SUBSCRIPTION is possible, too."),
    ] = None,
    personality: Annotated[
        Personality, typer.Option(help="Behave as Azure Service Bus and Event Hubs do.")
    ] = Personality.generic,
    session_queue: Annotated[
        list[str] | None, typer.Option(help="Azure: declare a queue with sessions; may be given again.")
    ] = None,
    hub: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:PARTITIONS", help="Azure: declare an event hub; may be given again."),
    ] = None,
    sas_key: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME:KEY", help="Azure: take tokens of this shared access key only; may be given again."),
    ] = None,
    lock_duration: Annotated[
        float | None, typer.Option(min=0.001, help="Azure: seconds that messages and sessions stay locked.")
    ] = None,
    auto_create: Annotated[bool, typer.Option(help="Make queues when somebody attaches to them.")] = True,
    max_queue_length: Annotated[int, typer.Option(min=1, help="Messages that a queue takes.")] = 1_000_000,
    max_message_size: Annotated[int, typer.Option(min=1, help="Bytes of the largest message.")] = 64 * 1024 * 1024,
    max_deliveries: Annotated[int | None, typer.Option(min=1, help="Dead-letter after so many failures.")] = None,
    dead_letter: Annotated[str | None, typer.Option(help="Queue for dead letters.")] = None,
) -> None:
    """Run the embedded broker until interrupted. For development and tests: all is kept in memory."""
    users = dict(_pairs(user, "a user is given as NAME:PASSWORD"))
    azure: Azure | None = None
    if personality is Personality.azure:
        azure = Azure(
            queues=queue or (),
            session_queues=session_queue or (),
            topics=_topics(topic or ()),
            hubs=_hubs(hub),
            keys=dict(_pairs(sas_key, "a key is given as NAME:KEY")),
        )
        if lock_duration is not None:
            azure = replace(azure, lock_duration=lock_duration)
        if max_deliveries is not None:
            azure = replace(azure, max_deliveries=max_deliveries)
        queue = topic = None
    elif session_queue or hub or sas_key or lock_duration is not None:
        raise typer.BadParameter("session queues, hubs, keys and locks are there with --personality azure only")
    with reported():
        asyncio.run(
            _serve(
                host,
                port,
                queue or [],
                topic or [],
                websocket_port=websocket_port,
                personality=azure or "generic",
                tls_cert=tls_cert,
                tls_key=tls_key,
                tls_client_ca=tls_client_ca,
                users=users,
                auto_create=auto_create,
                max_queue_length=max_queue_length,
                max_message_size=max_message_size,
                max_deliveries=max_deliveries,
                dead_letter=dead_letter,
            )
        )


def _pairs(given: list[str] | None, form: str) -> Iterable[tuple[str, str]]:
    for pair in given or ():
        name, found, value = pair.partition(":")
        if not found or not name:
            raise typer.BadParameter(form)
        yield name, value


def _topics(given: Iterable[str]) -> dict[str, list[str]]:
    topics: dict[str, list[str]] = {}
    for path in given:
        name, _, subscription = path.partition("/")
        topics.setdefault(name, []).extend([subscription] if subscription else [])
    return topics


def _hubs(given: list[str] | None) -> dict[str, int]:
    form = "an event hub is given as NAME:PARTITIONS"
    hubs = {}
    for name, count in _pairs(given, form):
        if not count.isdigit() or int(count) < 1:
            raise typer.BadParameter(form)
        hubs[name] = int(count)
    return hubs


async def _serve(host: str, port: int, queues: list[str], topics: list[str], **options: Any) -> None:
    try:
        broker = Broker(host, port, **options)
        for name in queues:
            broker.queue(name)
        for name in topics:
            broker.topic(name)
    except Refused as refused:
        raise typer.BadParameter(refused.description) from None
    async with broker as running:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        # The first line is for programs that start a broker and want to know where it is.
        print(running.url, flush=True)
        if running.websocket_port is not None:
            print(running.websocket_url, flush=True)
        await stopped.wait()
    console.print("stopped")
