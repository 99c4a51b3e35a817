"""Prints what this build of the package makes of thousands of seeded inputs, a line each, to compare builds.

python -m tests.differential
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from uamqp.codec.composite import decode_composite
from uamqp.codec.hot import decode_disposition, decode_flow, decode_transfer, head_of
from uamqp.codec.hot_sections import decode_properties, decode_text_map, lone_data
from uamqp.codec.message import Message
from uamqp.codec.performatives import decode_performative
from uamqp.codec.primitives import LEGACY, decode_all, encode, skip

from .codec.test_hostile import REFERENCES
from .engine.test_hostile import feed, stream

READERS: dict[str, Callable[[bytes], Any]] = {
    "value": decode_all,
    "legacy value": lambda data: decode_all(data, LEGACY),
    "skip": lambda data: skip(data, 0, len(data)),
    "composite": lambda data: decode_composite(data, 0, len(data)),
    "performative": lambda data: decode_performative(data, 0, len(data)),
    "encoded again": lambda data: encode(decode_all(data)),
    "transfer": lambda data: decode_transfer(data, 3, len(data)),
    "disposition": lambda data: decode_disposition(data, 3, len(data)),
    "flow": lambda data: decode_flow(data, 3, len(data)),
    "properties": lambda data: decode_properties(data, 3, len(data)),
    "text map": lambda data: decode_text_map(data, 3, len(data), False),
    "text map as bytes": lambda data: decode_text_map(data, 3, len(data), True),
    "lone data": lone_data,
    "head of a transfer": lambda data: parts_of(b"\0" * 8 + data),
    "message": lambda data: sections(Message.decode(data)),
    "legacy message": lambda data: sections(Message.decode(data, 0, LEGACY)),
}


def parts_of(frame: bytes) -> Any:
    """The head of a transfer, taken apart."""
    head = head_of(frame, 0, len(frame))
    return head and (head.handle, head.prefix, head.tag_head, head.rest, head.message_format, head.settled)


def sections(message: Message) -> tuple[Any, ...]:
    """All that is in a message."""
    message.check()
    return (
        message.header,
        message.delivery_annotations,
        message.annotations,
        message.properties,
        message.application_properties,
        message.body,
        message.footer,
        message.encode(),
    )


def damaged(chance: random.Random, data: bytes) -> bytes:
    """The bytes with up to three changes, perhaps cut."""
    changed = bytearray(data)
    for _ in range(chance.randrange(4)):
        if changed:
            changed[chance.randrange(len(changed))] = chance.choice(
                [chance.randrange(256), 0x40, 0x53, 0xA1, 0xC0, 0x70]
            )
    return bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed) + 1)])])


def codec_answers() -> Iterator[str]:
    """What each reader says of damaged references."""
    for name, (data, _) in REFERENCES.items():
        for seed in range(25):
            piece = damaged(random.Random(f"{name} {seed}"), data) if seed else data
            for reader, read in READERS.items():
                try:
                    answer = repr(read(piece))
                except Exception as error:
                    answer = f"{type(error).__name__}: {error}"
                yield f"{reader} of {name} {seed}: {answer}"


def engine_answers() -> Iterator[str]:
    """What engines tell and write in damaged conversations."""
    for role in ("client", "server", "client-sasl", "server-sasl"):
        for seed in range(1500):
            data = stream(random.Random(f"{role} {seed}"), role)
            yield f"{role} {seed}: {feed(role, data, max(1, len(data)))!r}"


def main() -> None:
    """Print the answers; long ones as a hash."""
    for answers in (codec_answers(), engine_answers()):
        for answer in answers:
            line = ascii(answer)
            print(line if len(line) < 300 else f"{line[:200]} … {hashlib.sha256(line.encode()).hexdigest()}")


if __name__ == "__main__":
    main()
