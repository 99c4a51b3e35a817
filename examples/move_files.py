"""Move the files of a folder through a broker: one process sends, another receives and verifies.

python examples/move_files.py demo FOLDER [--url amqp://host/address]

One message per file, with its name, size and SHA-256. Without --url an embedded broker is started as a third process.
The last line tells how it went; the exit code is 0 only if every file arrived, once, with the right hash.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from urllib.parse import quote
from uuid import uuid4

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from uamqp.aio import Connection, Message, Prefetch, Properties, Value, connect
from uamqp.exceptions import AMQPError
from uamqp.transport.address import parse_url, redacted

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True, highlight=False)

LAST = "last"
# Folders that are made by tools and change while they are read.
SKIPPED = {".git", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", "node_modules"}
Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False)]


def files_of(folder: Path) -> Iterator[Path]:
    """All regular files below the folder, in a steady order."""
    for directory, names, files in os.walk(folder):
        names[:] = sorted(n for n in names if n not in SKIPPED and not n.startswith(".venv"))
        for name in sorted(files):
            path = Path(directory, name)
            if path.is_file() and not path.is_symlink():
                yield path


def messages(folder: Path, transfer: str) -> Iterator[Message]:
    """One message per file, then one that says how many there were."""
    count = size = 0
    for path in files_of(folder):
        data = path.read_bytes()
        count += 1
        size += len(data)
        yield Message(
            data,
            properties=Properties(
                message_id=str(uuid4()), subject=path.relative_to(folder).as_posix(), group_id=transfer
            ),
            application_properties={
                "name": path.name,
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            },
        )
    properties = Properties(subject=LAST, group_id=transfer)
    yield Message(None, properties=properties, application_properties={"files": count, "bytes": size})


async def make_queue(url: str) -> None:
    """Have RabbitMQ 4 make the queue; the other brokers make queues when somebody attaches to them."""
    name = parse_url(url).path
    async with connect(url) as connection:
        if connection.remote_properties.get("product") == "RabbitMQ" and not name.startswith("/"):
            await make_rabbitmq_queue(connection, name)


async def make_rabbitmq_queue(connection: Connection, name: str) -> None:
    """Ask its management for the queue.

    That is a pair of links of one name on the node "/management", which takes requests in the manner of HTTP.
    """
    pair = {"name": "management", "properties": {"paired": True}}
    async with connection.session() as session:
        receiver = await session.receiver("/management", sender_settle_mode="settled", **pair)
        sender = await session.sender("/management", settle_mode="settled", **pair)
        properties = Properties(message_id="1", to=f"/queues/{quote(name, safe='')}", subject="PUT", reply_to="$me")
        await sender.send(Message(Value({"durable": True}), properties=properties))
        await receiver.receive(timeout=10)


@app.command()
def send(folder: Folder, url: str, transfer: str) -> None:
    """Send every file of the folder."""

    async def run() -> None:
        async with connect(url) as connection:
            sender = await connection.sender(parse_url(url).path)
            # A few files at a time: their bytes are in memory until the broker has accepted them.
            pending: list[Message] = []
            waiting = 0
            for message in messages(folder, transfer):
                pending.append(message)
                waiting += len(message.body or b"")
                if waiting > 16_000_000 or len(pending) >= 500:
                    await sender.send_many(pending)
                    pending, waiting = [], 0
            await sender.send_many(pending)

    asyncio.run(run())


@app.command()
def receive(url: str, transfer: str, total: int) -> None:
    """Receive files, verify each hash, settle; `total` bytes are expected (for the progress bar)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )

    async def run() -> bool:
        received = size = broken = 0
        expected: int | None = None
        names: set[str] = set()
        begun = time.perf_counter()
        task = bar.add_task("receiving", total=total)
        policy = Prefetch(50)
        async with connect(url) as connection:
            receiver = await connection.receiver(parse_url(url).path, credit=policy)
            while expected is None or received < expected:
                delivery = await receiver.receive(timeout=60)
                message = delivery.message
                if message.properties.group_id != transfer:
                    delivery.release()
                    console.print("error: the queue holds other messages; give an empty one", markup=False)
                    return False
                facts = message.application_properties
                if message.properties.subject == LAST and "files" in facts:
                    expected = int(facts["files"])
                    delivery.accept()
                    continue
                body = message.body
                name = str(message.properties.subject)
                good = len(body) == facts["size"] and hashlib.sha256(body).hexdigest() == facts["sha256"]
                if good and name not in names:
                    names.add(name)
                    delivery.accept()
                else:
                    broken += 1
                    delivery.reject("amqp:decode-error", "the hash does not match")
                received += 1
                size += len(body)
                bar.update(task, completed=size)
        seconds = time.perf_counter() - begun
        verified = not broken and len(names) == expected
        print(
            f"{received} files, {size / 1e6:.1f} MB, {received / seconds:.0f} msgs/s, {size / 1e6 / seconds:.1f} MB/s, "
            + ("all verified" if verified else f"{broken} BROKEN, {len(names)} of {expected} verified"),
            flush=True,
        )
        return verified

    with bar:
        verified = asyncio.run(run())
    raise typer.Exit(0 if verified else 1)


@app.command()
def demo(folder: Folder, url: Annotated[str | None, typer.Option(help="A broker of your own.")] = None) -> None:
    """Move the files of the folder from one process to another."""
    folder = folder.resolve()
    transfer = str(uuid4())
    total = sum(path.stat().st_size for path in files_of(folder))
    broker: subprocess.Popen[str] | None = None
    children: list[subprocess.Popen[bytes]] = []
    script = [sys.executable, str(Path(__file__).resolve())]
    try:
        if url is None:
            command = [sys.executable, "-m", "uamqp", "broker", "--port", "0"]
            broker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert broker.stdout is not None
            url = broker.stdout.readline().strip() + "/files"
            if not url.startswith("amqp"):
                raise typer.Exit(1)
        else:
            if not parse_url(url).path:
                url = f"{url.rstrip('/')}/files-{transfer}"
            # Before the two others, of which each would else find it missing at the same time.
            asyncio.run(make_queue(url))
        console.print(f"{folder} -> {redacted(url)} -> verified", markup=False)
        receiver = subprocess.Popen([*script, "receive", url, transfer, str(total)])
        sender = subprocess.Popen([*script, "send", str(folder), url, transfer])
        children = [receiver, sender]
        codes = [sender.wait(), receiver.wait()]
        raise typer.Exit(0 if codes == [0, 0] else 1)
    finally:
        for child in children:
            if child.poll() is None:
                child.terminate()
                child.wait()
        if broker is not None:
            broker.terminate()
            broker.wait()


if __name__ == "__main__":
    try:
        app()
    except (AMQPError, OSError) as error:
        console.print(f"error: {type(error).__name__}: {error}", markup=False)
        sys.exit(1)
