"""What the clock may decide on: nothing that could still be waiting in a topic."""

from __future__ import annotations

from collections.abc import Mapping

from jianguan.wiring.watermark import MARKS, UNKNOWN, Watermark

Places = Mapping[tuple[str, int], int]


def places(complaints: int, facts: int, more: int = 0) -> Places:
    return {("complaints", 0): complaints, ("complaints", 1): more, ("facts", 0): facts, ("violations", 0): 0}


def test_a_quiet_system_has_everything_through() -> None:
    mark = Watermark()
    mark.sample(1_000, places(5, 3), places(5, 3))
    assert mark.reached == 1_000


def test_nothing_is_through_while_a_source_waits_in_any_partition() -> None:
    mark = Watermark()
    for at in range(1_000, 9_000, 1_000):
        mark.sample(at, places(5, 3, more=7), places(5, 3, more=8))
        assert mark.reached == UNKNOWN
    mark.sample(9_000, places(5, 3, more=8), places(5, 3, more=8))
    assert mark.reached == 9_000


def test_a_partition_that_was_never_committed_and_has_records_holds_everything_up() -> None:
    mark = Watermark()
    mark.sample(1_000, {("facts", 0): 0}, {("complaints", 0): 1, ("facts", 0): 0})
    assert mark.reached == UNKNOWN


def test_the_facts_of_what_was_read_must_be_through_and_the_facts_of_their_alerts_too() -> None:
    mark = Watermark()
    mark.sample(1_000, places(0, 0), places(5, 0))  # five complaints wait
    mark.sample(2_000, places(5, 0), places(9, 5))  # they are read and led to five facts; more has come
    assert mark.reached == UNKNOWN
    mark.sample(3_000, places(6, 5), places(9, 6))  # the facts are through and led to another, of an alert
    assert mark.reached == UNKNOWN
    mark.sample(4_000, places(6, 6), places(9, 6))
    assert mark.reached == 1_000


def test_a_clock_that_is_set_back_lets_nothing_through_that_waits() -> None:
    mark, hour = Watermark(), 3_600_000
    mark.sample(hour + 2_000, places(5, 3), places(5, 3))
    mark.sample(hour + 3_000, places(5, 3), places(6, 3))
    mark.sample(3_000, places(5, 3), places(7, 3))
    assert mark.reached == 2_000
    mark.sample(4_000, places(6, 3), places(8, 3))
    assert mark.reached == 3_000
    mark.sample(5_000, places(8, 3), places(8, 3))
    assert mark.reached == 5_000


def test_under_a_steady_load_it_follows_the_present() -> None:
    mark = Watermark()
    for step in range(1, 200):
        mark.sample(step * 1_000, places(step * 10 - 10, step * 10 - 10), places(step * 10, step * 10))
        if step > 5:
            assert mark.reached >= (step - 4) * 1_000


def test_marks_are_bounded_and_a_long_backlog_is_still_followed() -> None:
    mark = Watermark()
    for step in range(1, 1_000):
        mark.sample(step * 1_000, places(0, 0), places(step * 10, 0))
        assert len(mark._marks) <= MARKS + 1
    for done in range(0, 10_000, 500):
        mark.sample(1_000_000 + done, places(done, 0), places(9_990 + done, 0))
    assert 100_000 <= mark.reached < 1_000_000
