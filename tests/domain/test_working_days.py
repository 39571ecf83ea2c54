"""Working days: the notices of 2024 to 2026 by hand, counting against a naive loop, and what is missing."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jianguan.domain.working_days import WorkingDays
from jianguan.errors import ConfigurationError

DAYS = WorkingDays.load()
ONE = timedelta(days=1)
HEAD = "date,kind,year,source\n"
days = st.dates(date(2010, 1, 1), date(2025, 6, 30))

MAKE_UP = [
    *("2024-02-04", "2024-02-18", "2024-04-07", "2024-04-28", "2024-05-11", "2024-09-14", "2024-09-29", "2024-10-12"),
    *("2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11"),
    *("2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"),
]


def test_the_make_up_days_of_2024_to_2026_are_worked_and_no_other_weekend_is() -> None:
    every = [date(2024, 1, 1) + n * ONE for n in range(1096)]
    worked = [day.isoformat() for day in every if day.weekday() >= 5 and DAYS.is_working_day(day)]
    assert worked == MAKE_UP


def test_national_day_2026_is_a_week_without_work() -> None:
    assert [DAYS.is_working_day(date(2026, 10, n)) for n in range(1, 11)] == [False] * 7 + [True, True, True]
    assert DAYS.add(date(2026, 9, 30), 1) == date(2026, 10, 8)
    assert DAYS.add(date(2026, 9, 30), 3) == date(2026, 10, 10)
    assert DAYS.between(date(2026, 9, 30), date(2026, 10, 10)) == 3
    assert DAYS.on_or_after(date(2026, 10, 3)) == date(2026, 10, 8)


def test_the_last_day_of_a_leap_year_is_worked_like_any_other() -> None:
    assert DAYS.is_working_day(date(2024, 12, 31))
    assert DAYS.add(date(2024, 12, 30), 1) == date(2024, 12, 31)
    assert DAYS.between(date(2024, 12, 30), date(2025, 1, 2)) == 2  # New Year's Day is none


@given(days, st.integers(-90, 90))
def test_adding_agrees_with_walking_day_by_day(start: date, n: int) -> None:
    day, left = start, abs(n)
    while left:
        day += ONE if n > 0 else -ONE
        left -= DAYS.is_working_day(day)
    assert DAYS.add(start, n) == day


@given(days, st.integers(-400, 400))
def test_counting_agrees_with_walking_day_by_day(start: date, length: int) -> None:
    end = start + length * ONE
    walked = sum(DAYS.is_working_day(min(start, end) + n * ONE) for n in range(1, abs(length) + 1))
    assert DAYS.between(start, end) == (walked if length >= 0 else -walked)


@given(days, st.integers(1, 60))
def test_adding_then_counting_gives_the_number_back(start: date, n: int) -> None:
    assert DAYS.between(start, DAYS.add(start, n)) == n


def test_the_years_are_those_of_the_notices() -> None:
    assert DAYS.years() == tuple(range(2004, 2027))


@pytest.mark.parametrize(
    ("start", "n"), [(date(2026, 12, 31), 1), (date(2027, 1, 4), 1), (date(2004, 1, 1), -1), (date(2003, 1, 1), 1)]
)
def test_a_missing_year_is_an_error_that_says_how_to_add_it(start: date, n: int) -> None:
    with pytest.raises(ConfigurationError, match=r"date,kind,year,source.*complete"):
        DAYS.add(start, n)


def test_counting_reaches_from_the_first_working_day_to_the_last_and_names_the_year_beyond() -> None:
    first, last = date(2004, 1, 2), date(2026, 12, 31)
    assert DAYS.add(DAYS.add(first, 1), -1) == first
    assert DAYS.add(DAYS.add(last, -1), 1) == last
    with pytest.raises(ConfigurationError, match="working days of 2003 are"):
        DAYS.add(first, -1)
    with pytest.raises(ConfigurationError, match="working days of 2027 are"):
        DAYS.add(last, 1)


def test_asking_about_a_missing_year_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="2027"):
        DAYS.is_working_day(date(2027, 1, 4))
    with pytest.raises(ConfigurationError, match="2027"):
        DAYS.between(date(2026, 12, 1), date(2027, 1, 4))


def test_an_operators_file_adds_a_year_and_takes_a_day_back(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    added = "2027-01-01,complete,2027,test\n2027-01-01,holiday,2027,test\n"
    path.write_text(f"{HEAD}{added}2026-10-10,ordinary,2026,test\n2026-12-31,holiday,2026,test\n", encoding="utf-8")
    own = WorkingDays.load([path])
    assert own.years()[-1] == 2027
    assert not own.is_working_day(date(2027, 1, 1))
    assert own.is_working_day(date(2027, 1, 4))
    assert not own.is_working_day(date(2026, 10, 10))
    assert own.add(date(2026, 12, 30), 1) == date(2027, 1, 4)
    assert DAYS.is_working_day(date(2026, 10, 10))


def test_one_row_of_a_year_does_not_make_it_complete(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{HEAD}2027-01-01,holiday,2027,test\n", encoding="utf-8")
    with pytest.raises(ConfigurationError):
        WorkingDays.load([path]).is_working_day(date(2027, 3, 1))
    provisional = WorkingDays.load([path], provisional_years=[2027, 2026])
    assert provisional.is_working_day(date(2027, 3, 1))
    assert not provisional.is_working_day(date(2027, 1, 1))
    assert provisional.is_provisional(2027)
    assert not provisional.is_provisional(2026)


def test_a_gap_between_years_is_not_jumped_over(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{HEAD}2028-01-01,complete,2028,test\n", encoding="utf-8")
    own = WorkingDays.load([path])
    with pytest.raises(ConfigurationError, match="2027"):
        own.add(date(2026, 12, 31), 1)
    with pytest.raises(ConfigurationError, match="2027"):
        own.add(date(2028, 1, 3), -1)
    for start, end in ((date(2026, 12, 31), date(2028, 1, 3)), (date(2028, 1, 3), date(2026, 12, 31))):
        with pytest.raises(ConfigurationError, match="2027"):
            own.between(start, end)
    with pytest.raises(ConfigurationError, match="of 2031 are"):
        own.add(date(2031, 5, 5), 3)


@pytest.mark.parametrize("row", ["2027-1-1,holiday,2027,x", "2027-01-01,off,2027,x", "2027-01-01,holiday,2026,x"])
def test_a_faulty_row_is_refused_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{HEAD}{row}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"own\.csv:2"):
        WorkingDays.load([path])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("date,year\n2027-01-01,2027\n", "own.csv: the columns kind, source are missing"),
        ("", "own.csv: the columns date, kind, source, year are missing"),
        (f"{HEAD}2027-01-01\n", "own.csv:2: kind '' is none of"),
    ],
)
def test_a_file_without_all_columns_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        WorkingDays.load([path])


def test_blanks_around_a_cell_and_a_byte_order_mark_change_nothing(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text(f"{HEAD} 2026-10-10 , ordinary , 2026 ,test\n", encoding="utf-8-sig")
    assert not WorkingDays.load([path]).is_working_day(date(2026, 10, 10))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "gbk.csv").write_bytes(f"{HEAD}2027-01-01,holiday,2027,国务院\n".encode("gbk"))
    for name in ("gbk.csv", "nowhere.csv"):
        with pytest.raises(ConfigurationError, match=rf"the calendar .*{name} cannot be read"):
            WorkingDays.load([tmp_path / name])
