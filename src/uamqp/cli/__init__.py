"""The command line: ``uamqp broker | send | receive | ping | decode``. Needs the extra ``uamqp[cli]``."""

from __future__ import annotations

from typing import Annotated

import typer

import uamqp

from . import broker, decode, ping, receive, send

app = typer.Typer(
    name="uamqp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"uamqp {uamqp.__version__} ({uamqp.BUILD})")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version and build, and end.")
    ] = False,
) -> None:
    """AMQP 1.0 from the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not everything got through."""


app.command("broker")(broker.broker)
app.command("send")(send.send)
app.command("receive")(receive.receive)
app.command("ping")(ping.ping)
app.command("decode")(decode.decode)

__all__ = ["app"]
