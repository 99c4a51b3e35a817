"""``uamqp broker``"""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated, Any

import typer

from ..broker import Broker
from .common import console, reported


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
    topic: Annotated[list[str] | None, typer.Option(help="Declare a topic; may be given again.")] = None,
    auto_create: Annotated[bool, typer.Option(help="Make queues when somebody attaches to them.")] = True,
    max_queue_length: Annotated[int, typer.Option(min=1, help="Messages that a queue takes.")] = 1_000_000,
    max_message_size: Annotated[int, typer.Option(min=1, help="Bytes of the largest message.")] = 64 * 1024 * 1024,
    max_deliveries: Annotated[int | None, typer.Option(min=1, help="Dead-letter after so many failures.")] = None,
    dead_letter: Annotated[str | None, typer.Option(help="Queue for dead letters.")] = None,
) -> None:
    """Run the embedded broker until interrupted. For development and tests: all is kept in memory."""
    users = {}
    for pair in user or ():
        name, found, password = pair.partition(":")
        if not found or not name:
            raise typer.BadParameter("a user is given as NAME:PASSWORD")
        users[name] = password
    with reported():
        asyncio.run(
            _serve(
                host,
                port,
                queue or [],
                topic or [],
                websocket_port=websocket_port,
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


async def _serve(host: str, port: int, queues: list[str], topics: list[str], **options: Any) -> None:
    async with Broker(host, port, **options) as running:
        for name in queues:
            running.queue(name)
        for name in topics:
            running.topic(name)
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
