"""``uamqp receive``"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..aio import IncomingDelivery, OnDemand, Prefetch
from ..exceptions import DecodeError
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


def receive(
    url: Url,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Stop after so many messages.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more for ever.")] = False,
    wait: Annotated[float, typer.Option("--wait", "-w", min=0, help="Seconds without a message that end it.")] = 5.0,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show properties too, as JSON.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Write each body to a file in this folder.")] = None,
    release: Annotated[bool, typer.Option("--release", help="Look only: give the messages back.")] = False,
    user: User = None,
    password: Password = None,
    ca_file: CaFile = None,
    allow_plaintext: Plaintext = False,
    timeout: Timeout = 30.0,
) -> None:
    """Receive messages, print one a line and accept them."""
    with reported():
        address = address_of(url)
        connection = open_connection(url, user, password, ca_file, allow_plaintext, timeout)
        pause = None if follow else wait
        raise typer.Exit(asyncio.run(_receive(connection, address, count, pause, verbose, directory, release)))


async def _receive(
    opening: Any,
    address: str,
    count: int | None,
    pause: float | None,
    verbose: bool,
    directory: Path | None,
    release: bool,
) -> int:
    received = broken = 0
    policy = Prefetch(100) if count is None and not release else OnDemand()
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    bar, advance = progress("receiving", count)
    async with opening as connection, connection.receiver(address, credit=policy) as receiver:
        kept = []
        with bar:
            while count is None or received < count:
                deliveries = await receiver.receive_many(
                    100 if count is None else min(100, count - received), timeout=pause
                )
                if not deliveries:
                    break
                for delivery in deliveries:
                    received += 1
                    try:
                        _show(delivery, verbose, directory, received)
                    except DecodeError as error:
                        broken += 1
                        errors.print(f"message {received}: {error}", markup=False)
                        if not release:
                            delivery.reject(error.condition, error.description)
                            continue
                    if release:
                        kept.append(delivery)
                    else:
                        delivery.accept()
                advance(len(deliveries))
        for delivery in kept:
            delivery.release()
    errors.print(f"{received} received")
    complete = not broken and (count is None or received == count)
    return 0 if complete else EXIT_PARTIAL


def _show(delivery: IncomingDelivery, verbose: bool, directory: Path | None, number: int) -> None:
    body = delivery.body
    if directory is not None:
        data = body if isinstance(body, bytes) else str(body).encode()
        (directory / f"message-{number:06d}").write_bytes(data)
    if verbose:
        message = delivery.message
        properties = {
            name: getattr(message.properties, name)
            for name in ("message_id", "user_id", "to", "subject", "reply_to", "correlation_id", "content_type")
        }
        shown = {
            "properties": {k: v for k, v in properties.items() if v is not None},
            "application_properties": message.application_properties,
            "annotations": message.annotations,
            "body": body,
        }
        print(json.dumps(_plain(shown)))
    elif directory is None:
        print(body.decode("utf-8", "backslashreplace") if isinstance(body, bytes) else body)
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    """The value in terms of JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
