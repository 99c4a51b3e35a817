"""What the commands share: options, and how they end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from ..aio import Connection, connect
from ..aio.opening import Opening
from ..exceptions import AddressError, AMQPError
from ..transport.address import parse_url

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_PARTIAL = 3

Url = Annotated[
    str, typer.Argument(help="amqp[s]://user:password@host:port/address", metavar="URL", show_default=False)
]
User = Annotated[str | None, typer.Option("--user", "-u", help="User, instead of the one in the URL.")]
Password = Annotated[
    str | None,
    typer.Option("--password", "-p", envvar="UAMQP_PASSWORD", help="Password, instead of the one in the URL."),
]
CaFile = Annotated[str | None, typer.Option("--ca-file", help="PEM file with the only authorities to trust.")]
Plaintext = Annotated[
    bool, typer.Option("--allow-plaintext", help="Let user and password go over plain TCP to another machine.")
]
Timeout = Annotated[float, typer.Option("--timeout", "-t", min=0.001, help="Seconds to wait for the peer.")]

# What is not a terminal gets lines of any length.
console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def open_connection(
    url: str, user: str | None, password: str | None, ca_file: str | None, plaintext: bool, timeout: float
) -> Opening[Connection]:
    """A connection as the options say."""
    return connect(
        url,
        user=user,
        password=password,
        ca_file=ca_file,
        timeout=timeout,
        connect_timeout=timeout,
        allow_plaintext_credentials=plaintext,
    )


def address_of(url: str) -> str:
    """The node that the URL names; a usage error where it names none."""
    endpoint = parse_url(url)
    if endpoint.websocket:
        raise typer.BadParameter("the path of ws and wss is that of the WebSocket; give amqp or amqps")
    if not endpoint.path:
        raise typer.BadParameter("the URL names no address: amqp://host/address")
    return endpoint.path


@contextmanager
def reported() -> Iterator[None]:
    """Turn errors of the library into one line and an exit code."""
    try:
        yield
    except AddressError as error:
        errors.print(f"error: {error}", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    except (AMQPError, OSError, UnicodeError) as error:
        errors.print(f"error: {type(error).__name__}: {error}", markup=False)
        raise typer.Exit(EXIT_FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def progress(description: str, total: int | None) -> tuple[Progress, Callable[[int], Any]]:
    """A progress bar on standard error, silent where that is not a terminal, and what advances it."""
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,
    )
    task = bar.add_task(description, total=total)
    return bar, lambda count: bar.advance(task, count)
