"""Working days of the People's Republic of China, by the State Council's yearly notices with make-up days (调休).

Dates only: knows no clock, no time zone and no statute. A year without its notice is an error, not a guess, unless
the operator asks for it to be counted provisionally.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NoReturn, Self

from jianguan.domain.csv_table import table_rows
from jianguan.errors import ConfigurationError

PACKAGED = "working_days_cn.csv"
COLUMNS = ("date", "kind", "year", "source")
KINDS = ("holiday", "make-up", "ordinary", "complete")


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """One line of a calendar file.

    holiday: no work, whatever the weekday. make-up: work, whatever the weekday. ordinary: takes back an earlier row
    of that day. complete: says that every deviation of the date's year is in the files; without it a year is missing.
    """

    day: date
    kind: str
    source: str


def read_calendar(lines: Iterable[str], where: str) -> tuple[CalendarRow, ...]:
    """Rows of a CSV file with the columns COLUMNS. ConfigurationError names `where` and the line."""
    return tuple(_row(value, place) for place, value in table_rows(lines, where, COLUMNS))


def _row(value: dict[str, str], where: str) -> CalendarRow:
    try:
        day = date.fromisoformat(value["date"])
    except ValueError as error:
        raise ConfigurationError(f"{where}: {error}; write dates as 2025-01-31") from error
    if value["kind"] not in KINDS:
        raise ConfigurationError(f"{where}: kind {value['kind']!r} is none of {', '.join(KINDS)}")
    if value["year"] != str(day.year):
        raise ConfigurationError(f"{where}: year {value['year']!r} is not that of {day}")
    return CalendarRow(day, value["kind"], value["source"])


@cache
def _packaged() -> tuple[CalendarRow, ...]:
    text = (resources.files("jianguan.domain") / "data" / PACKAGED).read_text(encoding="utf-8")
    return read_calendar(text.splitlines(), PACKAGED)


class WorkingDays:
    """A calendar that never changes after it is made. Every call takes O(log n) for n working days."""

    def __init__(self, rows: Iterable[CalendarRow], provisional_years: Collection[int] = ()) -> None:
        """Later rows replace earlier ones of the same day."""
        kinds: dict[date, str] = {}
        complete: set[int] = set()
        for row in rows:
            if row.kind == "complete":
                complete.add(row.day.year)
            else:
                kinds[row.day] = row.kind
        self._provisional = frozenset(provisional_years) - complete
        self._years = frozenset(complete) | self._provisional
        self._days = [
            day.toordinal()
            for year in sorted(self._years)
            for day in _days_of(year)
            if kinds.get(day) == "make-up" or (kinds.get(day) != "holiday" and day.weekday() < 5)
        ]
        self._set = frozenset(self._days)

    @classmethod
    def load(cls, overrides: Sequence[Path] = (), provisional_years: Collection[int] = ()) -> Self:
        """The packaged notices, then the operator's own files, whose rows replace packaged ones.

        `provisional_years` that no file completes are counted Monday to Friday, with what rows there are: for the
        weeks in which next year's notice is not out yet. Ask `is_provisional`. ConfigurationError on a bad file.
        """
        rows = list(_packaged())
        for path in overrides:
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"the calendar {path} cannot be read: {error}") from error
            rows.extend(read_calendar(text.splitlines(), str(path)))
        return cls(rows, provisional_years)

    def years(self) -> tuple[int, ...]:
        """The years that can be asked about, in order, provisional ones too."""
        return tuple(sorted(self._years))

    def is_provisional(self, year: int) -> bool:
        return year in self._provisional

    def is_working_day(self, day: date) -> bool:
        """ConfigurationError for a year without a notice."""
        self._require(day.year, day.year)
        return day.toordinal() in self._set

    def add(self, day: date, n: int) -> date:
        """The n-th working day after `day`, which is not counted; for n < 0 before it; for 0 `day` itself.

        ConfigurationError if the way there leads through a year without a notice.
        """
        if n == 0:
            return day
        self._require(day.year, day.year)
        ordinal = day.toordinal()
        place = bisect_right(self._days, ordinal) + n - 1 if n > 0 else bisect_left(self._days, ordinal) + n
        if place >= len(self._days):
            self._missing(max(self._years) + 1)
        if place < 0:
            self._missing(min(self._years) - 1)
        found = date.fromordinal(self._days[place])
        self._require(min(day, found).year, max(day, found).year)
        return found

    def on_or_after(self, day: date) -> date:
        """`day` itself if it is a working day, else the next one."""
        return day if self.is_working_day(day) else self.add(day, 1)

    def between(self, start: date, end: date) -> int:
        """The number of working days in (start, end]; negative if end is before start."""
        self._require(min(start, end).year, max(start, end).year)
        return bisect_right(self._days, end.toordinal()) - bisect_right(self._days, start.toordinal())

    def _require(self, first: int, last: int) -> None:
        for year in range(first, last + 1):
            if year not in self._years:
                self._missing(year)

    def _missing(self, year: int) -> NoReturn:
        raise ConfigurationError(
            f"the working days of {year} are not known. Add a calendar file with the columns {','.join(COLUMNS)}: "
            f"a row of kind holiday or make-up for each day in the State Council's notice for {year}, and the row "
            f"{year}-01-01,complete,{year},<the notice>; or name {year} as a provisional year"
        )


def _days_of(year: int) -> Iterable[date]:
    first = date(year, 1, 1)
    return (first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days))
