"""``uamqp decode``: what frames say."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ..codec.frames import Frame, FrameReader, Unreadable
from ..codec.message import Message
from ..exceptions import DecodeError
from .capture import is_capture, segments
from .common import EXIT_FAILED, EXIT_USAGE, console, errors

#: What people put around and between the digits.
_AROUND_HEX = re.compile(rb"0x|\\x|[\s,:;]")


def decode(
    file: Annotated[
        str, typer.Argument(help="File with bytes, hexadecimal digits, or a pcap; - is standard input.")
    ] = "-",
    messages: Annotated[
        bool, typer.Option("--messages", "-m", help="Show messages, too, which may hold secrets.")
    ] = False,
    port: Annotated[
        list[int] | None, typer.Option(help="In a capture: only connections of this port; may be given again.")
    ] = None,
) -> None:
    """Show the frames in bytes, in hexadecimal text, or in a network capture (pcap, pcapng; not inside TLS or a
    WebSocket)."""
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        errors.print(f"error: {error}", markup=False)
        raise typer.Exit(EXIT_USAGE) from None
    try:
        readable = (
            _show_capture(data, messages, port or ()) if is_capture(data) else _show([("", _octets(data))], messages)
        )
    except ValueError as error:
        errors.print(f"error: {error}", markup=False)
        raise typer.Exit(EXIT_FAILED) from None
    if not readable:
        raise typer.Exit(EXIT_FAILED)


def _octets(data: bytes) -> bytes:
    digits = _AROUND_HEX.sub(b"", data)
    if data.startswith(b"AMQP") or not digits or not re.fullmatch(rb"[0-9a-fA-F]+", digits):
        return data
    if len(digits) % 2:
        raise ValueError("the number of hexadecimal digits is odd")
    return bytes.fromhex(digits.decode())


def _show_capture(data: bytes, messages: bool, ports: Iterable[int]) -> bool:
    wanted = tuple(f":{port}" for port in ports)
    pieces = ((f"{source} -> {target} ", piece) for source, target, piece in segments(data))
    return _show(
        ((prefix, piece) for prefix, piece in pieces if not wanted or any(f"{w} " in prefix for w in wanted)), messages
    )


def _show(pieces: Iterable[tuple[str, bytes]], messages: bool) -> bool:
    """Print what is in the pieces of each stream; False where something could not be read."""
    readers: dict[str, FrameReader] = {}
    readable = True
    for prefix, data in pieces:
        reader = readers.setdefault(prefix, FrameReader())
        for item in reader.feed(data):
            console.print(f"{prefix}{item}", markup=False, highlight=False, soft_wrap=True)
            readable = readable and not isinstance(item, Unreadable)
            if messages and isinstance(item, Frame) and item.payload:
                console.print(f"{prefix}   {_shown(item.payload)}", markup=False, highlight=False, soft_wrap=True)
    for prefix, reader in readers.items():
        if reader.rest:
            console.print(f"{prefix}{reader.rest} bytes of a frame that is not complete", markup=False, highlight=False)
            readable = False
    return readable


def _shown(payload: bytes) -> str:
    """A message as it is, or its bytes where it is only a part of one."""
    try:
        message = Message.decode(payload)
        message.check()
    except DecodeError:
        return payload.hex(" ")
    return repr(message)
