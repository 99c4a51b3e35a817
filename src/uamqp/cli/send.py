"""``uamqp send``"""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..aio import Message, Properties
from ..exceptions import BatchFailed
from .common import (
    EXIT_PARTIAL,
    CaFile,
    Password,
    Plaintext,
    Timeout,
    Url,
    User,
    address_of,
    errors,
    open_connection,
    progress,
    reported,
)
from .lines import lines


def send(
    url: Url,
    bodies: Annotated[
        list[str] | None, typer.Argument(help="Messages to send, one each; without any, lines of standard input.")
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", exists=True, dir_okay=False, readable=True, help="Send this file as one message."),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-c", min=1, help="Send everything so many times.")] = 1,
    subject: Annotated[str | None, typer.Option(help="Subject of the messages.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--property", metavar="NAME=VALUE", help="Application property of the messages.")
    ] = None,
    durable: Annotated[bool, typer.Option("--durable", help="Ask the broker to keep them on disk.")] = False,
    user: User = None,
    password: Password = None,
    ca_file: CaFile = None,
    allow_plaintext: Plaintext = False,
    timeout: Timeout = 30.0,
) -> None:
    """Send messages and wait until the peer accepted them."""
    if count > 1 and not bodies and not file:
        raise typer.BadParameter("--count is for messages and files; standard input can be read only once")
    application_properties = {}
    for pair in header or ():
        name, found, value = pair.partition("=")
        if not found:
            raise typer.BadParameter("a property is given as NAME=VALUE")
        application_properties[name] = value

    def message(body: Any, properties: Properties) -> Message:
        properties.subject = subject
        made = Message(body, properties=properties, application_properties=application_properties)
        made.header.durable = durable
        return made

    with reported():
        address = address_of(url)
        connection = open_connection(url, user, password, ca_file, allow_plaintext, timeout)
        raise typer.Exit(
            asyncio.run(
                _send(connection, address, _messages(bodies, file, count, message), _total(bodies, file, count))
            )
        )


def _total(bodies: list[str] | None, files: list[Path] | None, count: int) -> int | None:
    given = len(bodies or ()) + len(files or ())
    return given * count if given else None


async def _messages(
    bodies: list[str] | None, files: list[Path] | None, count: int, message: Callable[[Any, Properties], Message]
) -> AsyncIterator[Message]:
    for _ in range(count):
        for body in bodies or ():
            yield message(body, Properties())
        for path in files or ():
            kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            yield message(path.read_bytes(), Properties(content_type=kind))
        if not bodies and not files:
            async for line in lines():
                yield message(line, Properties())


async def _send(opening: Any, address: str, messages: AsyncIterator[Message], total: int | None) -> int:
    bar, advance = progress("sending", total)

    async def counted() -> AsyncIterator[Message]:
        async for message in messages:
            yield message
            advance(1)

    async with opening as connection, connection.sender(address) as sender:
        with bar:
            try:
                sent = await sender.send_many(counted())
            except BatchFailed as failed:
                for place, error in failed.failures.items():
                    errors.print(f"message {place}: {type(error).__name__}: {error}", markup=False)
                return EXIT_PARTIAL
    errors.print(f"{sent} sent and accepted")
    return 0
