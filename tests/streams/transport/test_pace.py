"""How soon is fetched again, by how busy the event loop is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.transport.pace import IDLE, LONGEST, MANY, Pace, rest_of


class Clocks:
    """The time, and what of it the event loop's thread worked."""

    def __init__(self) -> None:
        self.wall = 100.0
        self.processor = 7.0

    def pass_by(self, seconds: float, busy: float) -> None:
        self.wall += seconds
        self.processor += seconds * busy


def pace(clocks: Clocks) -> Pace:
    return Pace(lambda: clocks.wall, lambda: clocks.processor)


def test_a_loop_that_has_time_fetches_at_once_and_one_that_has_none_rests_longest() -> None:
    assert rest_of(0.0) == rest_of(IDLE) == 0.0
    assert rest_of(1.0) == pytest.approx(LONGEST)


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_busier_the_loop_the_longer_the_rest(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert 0.0 <= rest_of(less) <= rest_of(more) <= LONGEST


def test_a_loop_that_stays_busy_comes_to_rest_and_one_that_has_time_again_does_not() -> None:
    clocks = Clocks()
    asked = pace(clocks)
    for _ in range(40):
        clocks.pass_by(0.02, 1.0)
        found = asked.rest(3)
    assert found == pytest.approx(LONGEST, rel=0.01)
    for _ in range(40):
        clocks.pass_by(0.02, IDLE - 0.1)
        found = asked.rest(3)
    assert found == 0.0


def test_one_long_piece_of_work_counts_as_what_it_was_and_so_does_a_long_silence() -> None:
    clocks = Clocks()
    asked = pace(clocks)
    clocks.pass_by(2.0, 1.0)
    assert asked.rest(3) == pytest.approx(LONGEST)
    clocks.pass_by(60.0, 0.0)
    assert asked.rest(3) == 0.0


def test_after_a_fetch_that_brought_much_nothing_is_waited_for() -> None:
    clocks = Clocks()
    asked = pace(clocks)
    clocks.pass_by(2.0, 1.0)
    assert asked.rest(MANY) == 0.0
    clocks.pass_by(0.1, 1.0)
    assert asked.rest(MANY - 1) > 0.0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 2)), max_size=30))
def test_whatever_the_clocks_say_a_part_of_the_time_is_one(steps: list[tuple[float, float]]) -> None:
    clocks = Clocks()
    asked = pace(clocks)
    for seconds, busy in steps:
        clocks.pass_by(seconds, busy)
        assert 0.0 <= asked.rest(0) <= LONGEST
        assert 0.0 <= asked.busy <= 1.0
