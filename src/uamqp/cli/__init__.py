"""The command line: ``uamqp broker | send | receive | ping``. Needs the extra ``uamqp[cli]``."""

from __future__ import annotations

import typer

from . import broker, ping, receive, send

app = typer.Typer(
    name="uamqp",
    help="AMQP 1.0 from the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not everything got through.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("broker")(broker.broker)
app.command("send")(send.send)
app.command("receive")(receive.receive)
app.command("ping")(ping.ping)

__all__ = ["app"]
