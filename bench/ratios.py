"""The ratios that matter: what must be how many times as fast as what."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from .clients import (
    AIO,
    AIO_MESSAGES,
    BLOCKING,
    COMPILED,
    ORIGINAL,
    ORIGINAL_ASYNC,
    PAGE,
    PROBE,
    PROTON_CPP,
    PROTON_PYTHON,
    RHEA,
)
from .rounds import Cell

LARGE_ENOUGH = 400e6
"""Bytes per second at which a large message is fast, whatever the probe does."""


@dataclass(frozen=True)
class Ratio:
    """One comparison.

    Attributes:
        case: what both did.
        client: who has to be fast.
        peer: compared with whom.
        must: how many times as fast, at least.
        enough: a figure that will do as well.
    """

    case: str
    client: str
    peer: str
    must: float
    enough: float | None = None

    def value(self, medians: Mapping[Cell, float]) -> float | None:
        """The ratio; None where one of the two was not measured."""
        ours, theirs = medians.get((self.case, self.client)), medians.get((self.case, self.peer))
        return None if ours is None or theirs is None else ours / theirs

    def holds(self, medians: Mapping[Cell, float]) -> bool | None:
        """Whether it is as it must be; None where that was not measured."""
        ours, value = medians.get((self.case, self.client)), self.value(medians)
        if ours is not None and self.enough is not None and ours >= self.enough:
            return True
        return None if value is None else value >= self.must


#: For both asynchronous faces of uamqp: by case, the peers and how many times as fast as these it must be. The original
#: has a face of either kind, so like is compared with like.
_PEERS: Mapping[str, Mapping[str, float]] = {
    "send-100": {ORIGINAL_ASYNC: 8, PROTON_PYTHON: 12, PROTON_CPP: 0.8, PROBE: 0.3},
    "receive-100": {ORIGINAL_ASYNC: 15, PROTON_PYTHON: 12, RHEA: 1.5, PROBE: 0.2},
    "send-1k": {ORIGINAL_ASYNC: 8, PROTON_CPP: 1.0},
    "receive-rich": {PROTON_PYTHON: 10, RHEA: 2},
    "send-one": {ORIGINAL_ASYNC: 2, PROBE: 0.6},
    "large-out": {PROBE: 0.4},
    "large-in": {PROBE: 0.4},
    "send-100-tls": {ORIGINAL_ASYNC: 6},
    "receive-100-tls": {ORIGINAL_ASYNC: 6},
}

PAGE_TO_AIO = 0.75
"""The API of 1.6 has nothing but messages, so it is compared with the program that makes messages of `aio`, too."""

_BLOCKING: Mapping[str, float] = {"send-100": 8, "receive-100": 8, "send-one": 1.5}
"""The blocking API of uamqp 1.6 beside that of the original."""

_COMPILED: Mapping[str, float] = {"receive-100": 0.6, "send-100": 1.5}
"""The compiled build beside proton C++."""


def ratios(cases: Collection[str], clients: Collection[str]) -> list[Ratio]:
    """Those of these cases and between these clients."""
    return [ratio for ratio in _all() if ratio.case in cases and ratio.client in clients and ratio.peer in clients]


def _all() -> Iterator[Ratio]:
    for case, peers in _PEERS.items():
        for client in (AIO, PAGE):
            for peer, must in peers.items():
                yield Ratio(case, client, peer, must, LARGE_ENOUGH if case.startswith("large-") else None)
        yield Ratio(case, PAGE, AIO if case == "receive-rich" else AIO_MESSAGES, PAGE_TO_AIO)
        if case in _BLOCKING:
            yield Ratio(case, BLOCKING, ORIGINAL, _BLOCKING[case])
        if case in _COMPILED:
            yield Ratio(case, AIO + COMPILED, PROTON_CPP, _COMPILED[case])
