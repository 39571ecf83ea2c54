"""How far a window reaches: a length of time, or a number of working days.

Days are those of China Standard Time. It must not know rules. A year whose notice is not in the calendar is counted
Monday to Friday: a window has to end somewhere, and the statutory clocks of cases say it when a year is missing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final, NamedTuple, Protocol

from jianguan.domain.china_time import SHANGHAI_MS
from jianguan.domain.working_days import WorkingDays
from rules.model_base import DAY, milliseconds, working_days

_EPOCH: Final = date(1970, 1, 1).toordinal()
_YEARS: Final = range(1970, 2101)


class Span(Protocol):
    """A length that may depend on the calendar. Times are ms."""

    @property
    def size(self) -> int:
        """At least as long as the span is anywhere."""

    def start(self, time: int) -> int:
        """The window that ends at `time` holds what is later than this."""

    def deadline(self, time: int) -> int:
        """What has to follow `time` within the span is earlier than this."""


class FixedSpan(NamedTuple):
    """Milliseconds: (time - size, time], and [time, time + size)."""

    size: int

    def start(self, time: int) -> int:
        return time - self.size

    def deadline(self, time: int) -> int:
        return time + self.size


@dataclass(frozen=True, slots=True)
class WorkingSpan:
    """Working days. A window of n holds the day of its end, and the days before it back to the n-th working day. A
    deadline of n is the end of the n-th working day after the day that it starts on, which is how the law counts."""

    days: int
    calendar: Sequence[int]  # working days since 1970-01-01, ascending
    size: int

    def start(self, time: int) -> int:
        place = bisect_right(self.calendar, (time + SHANGHAI_MS) // DAY) - self.days
        return self.calendar[max(place, 0)] * DAY - SHANGHAI_MS - 1

    def deadline(self, time: int) -> int:
        place = bisect_right(self.calendar, (time + SHANGHAI_MS) // DAY) + self.days - 1
        return (self.calendar[min(place, len(self.calendar) - 1)] + 1) * DAY - SHANGHAI_MS


def calendar_of(known: WorkingDays) -> tuple[int, ...]:
    """All working days from 1970 to 2100, as days since 1970-01-01."""
    years = frozenset(known.years())
    found = []
    for number in range(_EPOCH, date(_YEARS[-1], 12, 31).toordinal() + 1):
        day = date.fromordinal(number)
        if known.is_working_day(day) if day.year in years else day.weekday() < 5:
            found.append(number - _EPOCH)
    return tuple(found)


def span_of(length: str, calendar: Sequence[int]) -> Span:
    """The span that a rule's author wrote. `calendar` is only looked at for working days."""
    days = working_days(length)
    if days is None:
        return FixedSpan(milliseconds(length))
    # Two of three days work even around the longest holidays; a week more for the holiday itself.
    return WorkingSpan(days, calendar, (days * 3 // 2 + 14) * DAY)
