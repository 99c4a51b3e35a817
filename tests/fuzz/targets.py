"""What a fuzzer feeds: a byte that chooses, and the input. What must not be raises."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from ..codec.test_hostile import REFERENCES, check_composite, check_message, check_value
from ..engine.test_hostile import feed, stream

_CHECKS = (check_value, check_composite, check_message)
_ROLES = ("client", "client-sasl", "server", "server-sasl")
#: Seeds of plausible conversations for each role.
_STREAMS = 200


def codec(data: bytes) -> None:
    """A value, a composite or a message: it is refused with a typed error, or means the same when written again."""
    if data:
        _CHECKS[data[0] % len(_CHECKS)](data[1:])


def engine(data: bytes) -> None:
    """A stream to a client or a server: nothing is raised, it ends with a typed error, and cutting changes nothing."""
    if len(data) < 2:
        return
    role, cut, rest = _ROLES[data[0] % len(_ROLES)], data[1] % 16 + 1, data[2:]
    whole = feed(role, rest, max(1, len(rest)))
    pieces = feed(role, rest, cut)
    assert (whole[0], whole[2]) == (pieces[0], pieces[2]), (whole, pieces)


TARGETS: dict[str, Callable[[bytes], None]] = {"codec": codec, "engine": engine}


def seeds(target: str) -> Iterator[bytes]:
    """Inputs to begin with, which reach deep."""
    if target == "codec":
        for data, check in REFERENCES.values():
            yield bytes([_CHECKS.index(check)]) + data
        return
    for number, role in enumerate(_ROLES):
        for seed in range(_STREAMS):
            yield bytes([number, seed % 16]) + stream(random.Random(f"fuzz {role} {seed}"), role)
