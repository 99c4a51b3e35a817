from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from uamqp.engine.serial import MASK, distance
from uamqp.engine.settlement import Dispositions

ids = st.integers(0, MASK)


@given(
    ids,
    st.dictionaries(st.integers(0, 60), st.tuples(st.sampled_from([b"a", b"b"]), st.booleans()), max_size=50),
    st.randoms(),
)
def test_dispositions_say_exactly_what_was_added_in_as_few_runs_as_can_be(
    start: int, said: dict[int, tuple[bytes, bool]], chance: object
) -> None:
    order = list(said)
    chance.shuffle(order)  # type: ignore[attr-defined]
    dispositions = Dispositions()
    for place in order:
        dispositions.add((start + place) & MASK, *said[place])
    runs = dispositions.take()
    told = {
        (first + n - start) & MASK: (state, settled)
        for first, last, state, settled in runs
        for n in range(distance(first, last) + 1)
    }
    assert told == said
    boundaries = [n for n in sorted(said) if said.get(n - 1) != said[n]]
    assert [distance(start, first) for first, *_ in runs] == boundaries
    assert dispositions.take() == []


def test_a_run_goes_over_the_end_of_the_numbers() -> None:
    dispositions = Dispositions()
    for id in (MASK, 0, MASK - 1):
        dispositions.add(id, b"a", True)
    assert (dispositions.first, dispositions.next) == (MASK - 1, 1)
    assert dispositions.take() == [(MASK - 1, 0, b"a", True)]
    assert (dispositions.first, dispositions.next) == (-1, -1)


def test_runs_on_both_sides_of_the_end_of_the_numbers() -> None:
    dispositions = Dispositions()
    for id in (3, MASK - 1, 0, MASK, 5):
        dispositions.add(id, b"a", True)
    assert dispositions.take() == [(MASK - 1, 0, b"a", True), (3, 3, b"a", True), (5, 5, b"a", True)]


@given(ids, st.integers(-(2**31), 2**31 - 1))
def test_distance_is_the_inverse_of_adding(start: int, ahead: int) -> None:
    assert distance(start, (start + ahead) & MASK) == ahead
