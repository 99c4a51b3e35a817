"""The targets of the fuzzer: on their seeds, a little damaged, and on everything that a fuzzer has ever found."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from .targets import TARGETS, seeds

CRASHES = Path(__file__).parent / "crashes"


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_with_some_damage(name: str) -> None:
    chance = random.Random(name)
    for data in chance.sample(list(seeds(name)), 60):
        TARGETS[name](data)
        damaged = bytearray(data)
        for _ in range(3):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        TARGETS[name](bytes(damaged))


def test_seeds_are_many_and_short_inputs_are_nothing() -> None:
    assert len(list(seeds("codec"))) >= 60
    assert len(list(seeds("engine"))) >= 800
    for target in TARGETS.values():
        target(b"")


def test_what_was_found_stays_mended() -> None:
    found = [path for path in CRASHES.iterdir() if path.name != "README.md"]
    assert found
    for path in found:
        TARGETS[path.name.partition("-")[0]](path.read_bytes())
