"""Which events were accepted before is remembered up to the capacity and told apart by content and receipt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.seen import SeenEvents


def test_seen_events_remember_the_capacity_and_at_most_twice_as_many() -> None:
    seen = SeenEvents(10)
    for number in range(95):
        assert seen.see(str(number), "c", f"r-{number}") == "new"
        assert len(seen) <= 20
        assert seen.see(str(max(0, number - 9)), "c", "other") == "duplicate"
    assert seen.see("0", "c", "r") == "new"


@given(st.lists(st.sets(st.integers(0, 30).map(str), max_size=6).map(sorted), max_size=12))
def test_what_is_seen_at_once_is_seen_as_one_by_one(runs: list[list[str]]) -> None:
    once, single = SeenEvents(1_000), SeenEvents(1_000)
    for events in runs:
        at_once = once.all_new(events, events, events)
        if not at_once:
            for event in events:
                once.see(event, event, event)
        sights = [single.see(event, event, event) for event in events]
        assert at_once == all(sight == "new" for sight in sights)
    assert [once.see(str(number), str(number), "r") for number in range(31)] == [
        single.see(str(number), str(number), "r") for number in range(31)
    ]


@pytest.mark.parametrize("size", [3, 5])
def test_of_what_is_seen_at_once_the_capacity_is_remembered_too(size: int) -> None:
    seen = SeenEvents(10)
    for number in range(0, 90, size):
        events = [str(number + each) for each in range(size)]
        assert seen.all_new(events, events, events)
        assert len(seen) <= 2 * (10 - 1 + size)
        assert not seen.all_new([str(max(0, number + size - 10))], ["c"], ["r"])
    assert seen.all_new(["0"], ["0"], ["r"])


def test_what_is_forgotten_by_another_receipt_is_still_known() -> None:
    seen = SeenEvents(10)
    seen.see("e", "c", "r-1")
    seen.forget("e", "r-2")
    assert seen.see("e", "c", "r-3") == "duplicate"
    seen.forget("e", "r-1")
    assert seen.see("e", "c", "r-3") == "new"


@pytest.mark.parametrize("newer", [0, 1])
def test_what_is_taken_back_is_new_once_more_however_long_ago_it_was_seen(newer: int) -> None:
    seen = SeenEvents(1)
    seen.see("e", "c", "r-1")
    for number in range(newer):
        seen.see(str(number), "c", "r")
    seen.forget("e", "r-1")
    assert len(seen) == newer
    assert seen.see("e", "c", "r-2") == "new"


def test_all_that_the_store_tells_is_remembered_however_much_it_is() -> None:
    seen = SeenEvents(5_000)
    seen.restore((f"e-{number}", "c", f"r-{number}") for number in range(2_500))
    assert len(seen) == 2_500
    assert {seen.see(f"e-{number}", "c", f"r-{number}") for number in range(2_500)} == {"again"}


@pytest.mark.parametrize("apart", [0, 1_500])
def test_of_an_event_that_the_store_tells_twice_the_first_receipt_counts(apart: int) -> None:
    seen = SeenEvents(5_000)
    between = [(f"e-{number}", "c", "r") for number in range(apart)]
    seen.restore([("e", "c", "r-1"), *between, ("e", "other", "r-2")])
    assert len(seen) == apart + 1
    assert seen.see("e", "c", "r-1") == "again"


def test_of_what_the_store_tells_the_capacity_is_remembered() -> None:
    seen = SeenEvents(1_000)
    seen.restore((f"e-{number}", "c", "r") for number in range(6_000))
    assert 1_000 <= len(seen) <= 3_000
    assert seen.see("e-5000", "c", "r") == "again"
    assert seen.see("e-0", "c", "r") == "new"
