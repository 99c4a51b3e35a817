"""Bugs are planted one at a time; the simulator finds each of them within a few seeds."""

from __future__ import annotations

import pytest

from uamqp.testing import simulate

from .mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_bug_is_found(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant.owner, mutant.method, mutant.planted())
    assert any(simulate(seed).violations for seed in range(mutant.seeds))
