"""Bugs are planted one at a time; the simulator finds each of them within a few seeds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from uamqp.testing import simulate

from .mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.method, mutant.planted())
    seeds = range(mutant.first, mutant.first + mutant.seeds)
    assert any(simulate(seed, recovery=mutant.recovery).violations for seed in seeds)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_is_the_bug_that_is_found_and_not_the_planting(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: the same method, planted as it is, does no harm."""
    monkeypatch.setattr(mutant.owner, mutant.method, replace(mutant, new=mutant.old).planted())
    assert not any(simulate(seed, recovery=mutant.recovery).violations for seed in range(10))
