from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uamqp.engine.serial import MASK, distance
from uamqp.engine.settlement import DispositionRun

ids = st.integers(0, MASK)


@given(st.lists(st.tuples(ids, st.sampled_from([b"a", b"b"]), st.booleans()), max_size=50))
def test_a_run_speaks_for_exactly_what_was_added(entries: list[tuple[int, bytes, bool]]) -> None:
    run = DispositionRun()
    added: list[int] = []
    for id, state, settled in entries:
        if id in added:
            continue
        fitted = run.add(id, state, settled)
        if not added:
            assert fitted
        if fitted:
            assert (run.state, run.settled) == (state, settled)
            added.append(id)
    span = (run.next - run.first) & MASK
    assert span == len(added)
    assert {(run.first + n) & MASK for n in range(span)} == set(added)


def test_a_run_is_empty_again_after_clear() -> None:
    run = DispositionRun()
    run.add(MASK, b"a", True)
    assert (run.first, run.next) == (MASK, 0)
    run.clear()
    assert run.add(7, b"b", False)
    assert (run.first, run.next) == (7, 8)


@given(ids, st.integers(-(2**31), 2**31 - 1))
def test_distance_is_the_inverse_of_adding(start: int, ahead: int) -> None:
    assert distance(start, (start + ahead) & MASK) == ahead
