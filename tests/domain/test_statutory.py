"""Statutory clocks: the version in force, the last day by hand across holidays, pauses, extensions."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.statutory import ClockDefinition, StatutoryClocks, due_at, due_day
from jianguan.domain.working_days import WorkingDays
from jianguan.errors import ConfigurationError

CLOCKS = StatutoryClocks.load()
DAYS = WorkingDays.load()
ONE = timedelta(days=1)


def clock(clock_id: str, on: date = date(2026, 9, 1)) -> ClockDefinition:
    return CLOCKS.in_force(clock_id, on)


def test_mediation_changed_from_working_days_to_calendar_days_on_15_april_2026() -> None:
    before, after = clock("complaint-mediation", date(2026, 4, 14)), clock("complaint-mediation", date(2026, 4, 15))
    assert (before.amount, before.unit) == (45, "working-days")
    assert (after.amount, after.unit) == (60, "calendar-days")


def test_every_clock_names_its_source_and_how_sure_it_is() -> None:
    assert {each.id for each in CLOCKS.all()} == set(CLOCKS.ids())
    assert len(CLOCKS.ids()) == 6
    assert all(each.source and each.certainty for each in CLOCKS.all())
    assert any("203" in rule.source for rule in CLOCKS.counting_rules)


def test_every_packaged_clock_names_its_law_in_chinese_and_english() -> None:
    for each in CLOCKS.all():
        law = json.loads(each.source)
        assert set(law) == {"zh", "en"}
        assert re.search(r"[一-鿿]", law["zh"])
        assert not re.search(r"[一-鿿]", law["en"])


def test_a_clock_of_an_operator_may_name_its_law_in_one_language(tmp_path: Path) -> None:
    definition = {
        "id": "own", "title_zh": "自定", "title_en": "Own", "starts_with": "a", "stops_with": "b", "amount": 1,
        "unit": "calendar-days", "valid_from": "2020-01-01", "source": "地方规定", "certainty": "certain",
    }  # fmt: skip
    own = tmp_path / "clocks.json"
    own.write_text(json.dumps({"clocks": [definition]}), "utf-8")
    assert StatutoryClocks.load([own]).in_force("own", date(2026, 1, 1)).source == "地方规定"
    for wrong in ({"zh": "地方规定"}, {"zh": "地方规定", "en": ""}, {"zh": 1, "en": 2}, ["zh", "en"], 5):
        own.write_text(json.dumps({"clocks": [{**definition, "source": wrong}]}), "utf-8")
        with pytest.raises(ConfigurationError, match="source"):
            StatutoryClocks.load([own])


def test_a_clock_that_is_not_in_force_is_an_error_with_the_nearest_version() -> None:
    with pytest.raises(ConfigurationError, match=r"complaint-mediation.*2019-06-01.*2020-01-01 to before 2026-04-15"):
        CLOCKS.in_force("complaint-mediation", date(2019, 6, 1))
    with pytest.raises(ConfigurationError, match=r"nearest version is from 2026-04-15$"):
        StatutoryClocks([clock("complaint-mediation")]).in_force("complaint-mediation", date(2026, 4, 14))
    with pytest.raises(ConfigurationError, match=r"no statutory clock 'lunch'.*complaint-acceptance"):
        CLOCKS.in_force("lunch", date(2026, 1, 1))


@pytest.mark.parametrize(
    ("clock_id", "started", "last"),
    [
        # Tuesday 29 September 2026: 30, then 8, 9, 10 (make-up Saturday), 12, 13, 14 October.
        ("complaint-acceptance", date(2026, 9, 29), date(2026, 10, 14)),
        # 60 days after 4 August is 3 October, in the holiday: 8 October.
        ("complaint-mediation", date(2026, 8, 4), date(2026, 10, 8)),
        # 60 days after 11 August is Saturday 10 October, which is worked.
        ("complaint-mediation", date(2026, 8, 11), date(2026, 10, 10)),
        ("compulsory-measure", date(2026, 6, 1), date(2026, 7, 1)),
        ("credit-class", date(2026, 8, 31), date(2026, 9, 30)),
    ],
)
def test_the_last_day_is_right_across_holidays(clock_id: str, started: date, last: date) -> None:
    assert due_day(clock(clock_id), started, DAYS) == last


def test_a_clock_runs_out_at_the_midnight_in_shanghai_that_ends_its_last_day() -> None:
    started = datetime(2026, 9, 28, 16, 30, tzinfo=UTC)  # already the 29th in Shanghai
    due = due_at(clock("complaint-acceptance"), started, DAYS)
    assert due == datetime(2026, 10, 15, tzinfo=SHANGHAI)
    assert due.astimezone(UTC) == datetime(2026, 10, 14, 16, tzinfo=UTC)


def test_the_hour_of_the_start_makes_no_difference() -> None:
    early = datetime(2026, 9, 29, 0, 0, tzinfo=SHANGHAI)
    late = datetime(2026, 9, 29, 23, 59, tzinfo=SHANGHAI)
    definition = clock("complaint-acceptance")
    assert due_at(definition, early, DAYS) == due_at(definition, late, DAYS)


def test_a_pause_lengthens_by_the_days_it_holds_at_the_end_of() -> None:
    definition = clock("penalty-decision")
    started = datetime(2026, 3, 2, 9, tzinfo=SHANGHAI)
    pause = (datetime(2026, 3, 9, 10, tzinfo=SHANGHAI), datetime(2026, 3, 11, 10, tzinfo=SHANGHAI))
    # 31 May is a Sunday, so 1 June; two days more are 2 June.
    assert due_at(definition, started, DAYS) == datetime(2026, 6, 2, tzinfo=SHANGHAI)
    assert due_at(definition, started, DAYS, pauses=[pause]) == datetime(2026, 6, 3, tzinfo=SHANGHAI)
    assert due_at(definition, started, DAYS, pauses=[pause, pause]) == datetime(2026, 6, 3, tzinfo=SHANGHAI)


def test_a_pause_begins_and_ends_on_the_day_that_it_is_in_shanghai() -> None:
    definition = clock("penalty-decision")
    started = datetime(2026, 3, 2, 9, tzinfo=SHANGHAI)
    # In UTC from the 8th to the 10th too, but at home from the 9th to the 10th.
    pause = (datetime(2026, 3, 8, 16, tzinfo=UTC), datetime(2026, 3, 10, 15, 59, tzinfo=UTC))
    assert due_at(definition, started, DAYS, pauses=[pause]) == datetime(2026, 6, 2, tzinfo=SHANGHAI)
    longer = (pause[0], datetime(2026, 3, 10, 16, tzinfo=UTC))
    assert due_at(definition, started, DAYS, pauses=[longer]) == datetime(2026, 6, 3, tzinfo=SHANGHAI)


def test_a_last_day_that_moves_over_a_weekend_moves_over_a_pause_that_begins_behind_it() -> None:
    definition = clock("penalty-decision")
    started = date(2026, 3, 2)  # the ninetieth day is Sunday, 31 May
    assert due_day(definition, started, DAYS, [(date(2026, 6, 1), date(2026, 6, 4))]) == date(2026, 6, 4)
    # Up to and with Friday: the next working day is the Monday after.
    assert due_day(definition, started, DAYS, [(date(2026, 6, 1), date(2026, 6, 6))]) == date(2026, 6, 8)


def test_a_pause_within_another_ends_nothing() -> None:
    definition = clock("complaint-acceptance")
    started = date(2026, 6, 1)  # a Monday; Dragon Boat Day is the 19th
    long, short = (date(2026, 6, 2), date(2026, 6, 9)), (date(2026, 6, 3), date(2026, 6, 4))
    without = due_day(definition, started, DAYS)
    assert without == date(2026, 6, 10)
    assert due_day(definition, started, DAYS, [long]) == DAYS.add(without, 5)
    assert due_day(definition, started, DAYS, [long, short]) == DAYS.add(without, 5)


def test_the_days_of_pauses_that_overlap_or_touch_are_taken_out_once() -> None:
    definition = clock("complaint-acceptance")
    started = date(2026, 6, 1)
    overlapping = [(date(2026, 6, 2), date(2026, 6, 4)), (date(2026, 6, 3), date(2026, 6, 9))]
    touching = [(date(2026, 6, 4), date(2026, 6, 9)), (date(2026, 6, 2), date(2026, 6, 4))]
    for pauses in (overlapping, touching):
        assert due_day(definition, started, DAYS, pauses) == due_day(
            definition, started, DAYS, [(date(2026, 6, 2), date(2026, 6, 9))]
        )


@pytest.mark.parametrize("clock_id", ["complaint-acceptance", "penalty-decision"])
def test_a_pause_up_to_the_start_from_behind_the_last_day_or_of_no_day_lengthens_nothing(clock_id: str) -> None:
    definition = clock(clock_id)
    started = date(2026, 6, 1)
    last = due_day(definition, started, DAYS)
    nothing = [(date(2026, 6, 2), date(2026, 6, 2)), (date(2026, 6, 4), date(2026, 6, 3))]
    for pause in ((started - 9 * ONE, started + ONE), (last + ONE, last + 9 * ONE), *nothing):
        assert due_day(definition, started, DAYS, [pause]) == last
    day = (date(2026, 6, 3), date(2026, 6, 4))
    assert due_day(definition, started, DAYS, [*nothing, day]) == due_day(definition, started, DAYS, [day])


def test_a_pause_that_holds_the_last_working_day_lengthens_by_that_day_too() -> None:
    definition = clock("complaint-acceptance")
    started = date(2026, 6, 1)
    assert due_day(definition, started, DAYS, [(date(2026, 6, 10), date(2026, 6, 12))]) == date(2026, 6, 12)


def test_an_extension_is_counted_on_from_the_limit() -> None:
    definition = clock("report-verification")
    assert definition.extensions[0].amount == 15
    assert due_day(definition, date(2026, 6, 1), DAYS, extended_by=15) == DAYS.add(date(2026, 6, 1), 30)


starts = st.dates(date(2020, 1, 1), date(2024, 12, 31))
runs = st.lists(st.tuples(st.integers(-10, 200), st.integers(-3, 30)), max_size=4)


@given(st.sampled_from(["complaint-acceptance", "penalty-decision"]), starts, runs)
def test_the_last_day_agrees_with_walking_day_by_day(
    clock_id: str, started: date, offsets: list[tuple[int, int]]
) -> None:
    definition = clock(clock_id)
    paused = [(started + start * ONE, started + (start + length) * ONE) for start, length in offsets]

    def stands_still(day: date) -> bool:
        return any(start <= day < end for start, end in paused)

    day, left = started, definition.amount
    while left:
        day += ONE
        counted = definition.unit == "calendar-days" or DAYS.is_working_day(day)
        left -= counted and not stands_still(day)
    while not DAYS.is_working_day(day) or stands_still(day):
        day += ONE
    assert due_day(definition, started, DAYS, paused) == day


def test_a_due_day_in_a_year_without_a_notice_is_an_error_unless_it_is_provisional() -> None:
    definition = clock("penalty-decision")
    with pytest.raises(ConfigurationError, match="2027"):
        due_day(definition, date(2026, 11, 23), DAYS)
    # 21 February 2027 is a Sunday.
    assert due_day(definition, date(2026, 11, 23), WorkingDays.load(provisional_years=[2027])) == date(2027, 2, 22)


def test_an_operators_clocks_replace_the_packaged_ones_of_the_same_id(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    own = clock("complaint-acceptance").model_dump(mode="json") | {"amount": 5, "valid_from": "2026-01-01"}
    path.write_text(json.dumps({"clocks": [own]}), encoding="utf-8")
    clocks = StatutoryClocks.load([path])
    assert clocks.in_force("complaint-acceptance", date(2026, 2, 1)).amount == 5
    with pytest.raises(ConfigurationError):
        clocks.in_force("complaint-acceptance", date(2025, 2, 1))
    assert clocks.in_force("complaint-mediation", date(2025, 2, 1)).amount == 45


def test_an_operators_rules_of_counting_stand_beside_the_packaged_ones(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    own = {"rule": "Days of the spring fair do not count.", "source": "a notice", "certainty": "unverified"}
    path.write_text(json.dumps({"counting_rules": [own], "clocks": []}), encoding="utf-8")
    found = StatutoryClocks.load([path]).counting_rules
    assert found[:-1] == CLOCKS.counting_rules
    assert found[-1].model_dump() == own


def test_a_file_of_clocks_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "gbk.json").write_bytes('{"clocks": "时限"}'.encode("gbk"))
    for name in ("gbk.json", "nowhere.json"):
        with pytest.raises(ConfigurationError, match=rf"the clocks .*{name} cannot be read"):
            StatutoryClocks.load([tmp_path / name])


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 0},
        {"amount": 3661},
        {"unit": "weeks"},
        {"valid_until": "2019-01-01"},
        {"valid_from": "2020-01-01", "valid_until": "2020-01-01"},
        {"colour": "red"},
        {"extensions": [{"amount": 0, "by": "whoever", "certainty": "certain"}]},
    ],
)
def test_a_faulty_clock_is_refused_with_its_place(tmp_path: Path, change: dict[str, object]) -> None:
    path = tmp_path / "own.json"
    own = clock("complaint-acceptance").model_dump(mode="json") | change
    path.write_text(json.dumps({"clocks": [own]}), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"own\.json: clocks\.0"):
        StatutoryClocks.load([path])


def test_a_version_may_be_in_force_for_one_day_and_be_followed_by_another_on_the_next() -> None:
    one = clock("complaint-acceptance")
    day = date(2026, 5, 1)
    brief = one.model_validate({**one.model_dump(), "amount": 9, "valid_from": day, "valid_until": day + ONE})
    clocks = StatutoryClocks([one.model_copy(update={"valid_from": day + ONE}), brief])
    assert [clocks.in_force(one.id, day + n * ONE).amount for n in (0, 1)] == [9, one.amount]


def test_two_versions_in_force_on_one_day_are_refused() -> None:
    one = clock("complaint-acceptance")
    with pytest.raises(ConfigurationError, match="two versions"):
        StatutoryClocks([one, one.model_copy(update={"valid_from": date(2025, 1, 1)})])
