"""Working days and squares of the map."""

from __future__ import annotations

import math
from datetime import date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.clock import to_millis
from jianguan.domain.china_time import SHANGHAI_MS
from jianguan.domain.ids import alert_id
from rules.calendar import calendar_of, span_of
from rules.cells import cell_of
from rules.engine import Engine
from tests.rules.support import DAY, HOUR, Running, fact, ids, reference
from tests.rules.test_facts import loaded

EPOCH = date(1970, 1, 1).toordinal()
CALENDAR = calendar_of(reference().working_days)


def at(text: str) -> int:
    return to_millis(datetime.fromisoformat(f"{text}+08:00"))


@pytest.mark.parametrize(
    ("length", "end", "first"),
    [
        ("1wd", "2026-03-18T15:00", "2026-03-18T00:00"),
        ("3wd", "2026-03-18T15:00", "2026-03-16T00:00"),
        ("4wd", "2026-03-18T15:00", "2026-03-13T00:00"),
        ("1wd", "2026-03-15T15:00", "2026-03-13T00:00"),
        ("2wd", "2026-10-09T09:00", "2026-10-08T00:00"),  # the holiday of the first week of October is over
        ("3wd", "2026-10-09T09:00", "2026-09-30T00:00"),
    ],
)
def test_a_window_of_working_days_begins_at_midnight_of_the_nth_of_them_back(length: str, end: str, first: str) -> None:
    assert span_of(length, CALENDAR).start(at(end)) == at(first) - 1


@pytest.mark.parametrize(
    ("length", "start", "end"),
    [
        ("1wd", "2026-03-18T15:00", "2026-03-20T00:00"),
        ("7wd", "2026-03-16T00:00", "2026-03-26T00:00"),
        ("1wd", "2026-09-30T23:59", "2026-10-09T00:00"),
    ],
)
def test_a_deadline_is_the_end_of_the_nth_working_day_after(length: str, start: str, end: str) -> None:
    assert span_of(length, CALENDAR).deadline(at(start)) == at(end)


@given(st.integers(1, 60), st.integers(0, 3_650 * 24))
def test_a_span_of_working_days_is_never_longer_than_it_says(days: int, hours: int) -> None:
    span = span_of(f"{days}wd", CALENDAR)
    time = at("2016-01-01T00:00") + hours * HOUR
    assert time - span.size <= span.start(time) < time
    assert time < span.deadline(time) <= time + span.size
    assert span.start(time) <= span.start(time + HOUR)


def works(day: int) -> bool:
    """Whether this day since 1970-01-01 is a working day, asked of the calendar itself and not of the list of days."""
    return reference().working_days.is_working_day(date.fromordinal(EPOCH + day))


def naive_start(days: int, time: int) -> int:
    """Day by day back: the window holds the days until as many working days were among them."""
    day = (time + SHANGHAI_MS) // DAY
    while True:
        days -= works(day)
        if not days:
            return day * DAY - SHANGHAI_MS - 1
        day -= 1


def naive_deadline(days: int, time: int) -> int:
    """Day by day on, from the day after: until as many working days are over."""
    day = (time + SHANGHAI_MS) // DAY
    while days:
        day += 1
        days -= works(day)
    return (day + 1) * DAY - SHANGHAI_MS


# The years of which there are notices, less what a window reaches back and a deadline forward.
moments = st.integers(at("2024-04-01T00:00"), at("2026-09-01T00:00"))


@settings(deadline=None)
@given(st.integers(1, 25), moments)
def test_spans_of_working_days_are_those_counted_day_by_day(days: int, time: int) -> None:
    span = span_of(f"{days}wd", CALENDAR)
    assert span.start(time) == naive_start(days, time)
    assert span.deadline(time) == naive_deadline(days, time)


@settings(deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from(["1d", "2h", "7d"]),
    st.lists(st.integers(0, 30 * 24).map(lambda hours: at("2026-09-20T00:00") + hours * HOUR), max_size=20),
    st.data(),
)
def test_alerts_over_working_days_are_those_of_the_definition_in_any_order(
    days: int, least: int, episode: str, times: list[int], data: st.DataObject
) -> None:
    """Around the first week of October, with its holiday and the working weekends beside it."""
    a_rule = loaded(
        window={"size": f"{days}wd", "lateness": "40d"}, episode=episode, trigger={"count": {"at_least": least}}
    )
    expected = {
        alert_id(a_rule.id, "uscc:X", a_rule.episodes.start(time))
        for time in times
        if sum(naive_start(days, time) < other <= time for other in times) >= least
    }
    some = [fact(number, time) for number, time in enumerate(times)]
    engine = Engine(Running((a_rule,)))
    arriving = data.draw(st.permutations(some + some[:3]))
    assert ids([alert for each in arriving for alert in engine.add(each, 0).alerts]) == expected


def test_years_without_a_notice_count_monday_to_friday() -> None:
    monday = at("2035-01-01T10:00")
    assert span_of("1wd", CALENDAR).deadline(monday) == at("2035-01-03T00:00")


def test_a_rule_that_counts_over_working_days_leaves_the_weekend_out() -> None:
    a_rule = loaded(window={"size": "2wd"}, episode="1d")
    engine = Engine(Running((a_rule,)))
    friday, monday = at("2026-03-13T00:00"), at("2026-03-16T09:00")
    assert a_rule.judging is None
    assert not engine.add(fact(1, friday - 1), 0).alerts
    assert not engine.add(fact(2, friday), 0).alerts
    assert not engine.add(fact(3, monday), 0).alerts
    (alert,) = engine.add(fact(4, monday + HOUR), 0).alerts
    assert (alert.window_start, alert.event_count) == (friday - 1, 3)


def test_a_square_holds_what_is_near_and_has_its_size_everywhere() -> None:
    assert cell_of(31.2304, 121.4737, 1_000) == cell_of(31.2305, 121.4738, 1_000)
    assert cell_of(31.2304, 121.4737, 1_000) != cell_of(31.2504, 121.4737, 1_000)
    assert cell_of(None, 121.0, 500) is None
    for latitude in (0.0, 31.0, 60.0, -45.0):
        names = {cell_of(latitude, step / 100_000, 500) for step in range(0, 200_000, 50)}
        metres = 2 * 111_320 * math.cos(math.radians(latitude))
        assert abs(len(names) - metres / 500) < 0.02 * metres / 500 + 2
