"""Statutory clocks: how long the law gives, from what to what, from when to when it says so.

The clocks are data (data/statutory_clocks.json), each with its source and how sure it is. This module counts; it
must not know cases, nor what the time is now.
"""

from __future__ import annotations

import calendar
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.working_days import WorkingDays
from jianguan.errors import ConfigurationError

PACKAGED = "statutory_clocks.json"

Unit = Literal["working-days", "calendar-days", "calendar-months"]
Certainty = Literal["certain", "secondary-source", "unverified"]
Pause = tuple[datetime, datetime]


def _by_language(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"zh", "en"} and all(map(_is_text, value.values())):
        return json.dumps(value, ensure_ascii=False)
    return value


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


# A case keeps one text: where the law is named in Chinese and English, that is a JSON object of both.
Source = Annotated[str, BeforeValidator(_by_language), Field(min_length=1)]


class Extension(BaseModel):
    """A lengthening that the law allows once; `amount` in the clock's unit, None if whoever decides fixes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: int | None = Field(gt=0)
    by: str
    certainty: Certainty


class ClockDefinition(BaseModel):
    """One clock as it stood from `valid_from` up to, not including, `valid_until` (None: until further notice)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    title_zh: str = Field(min_length=1)
    title_en: str = Field(min_length=1)
    starts_with: str
    stops_with: str
    amount: int = Field(gt=0, le=3660)
    unit: Unit
    pauses: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()
    valid_from: date
    valid_until: date | None = None
    source: Source
    certainty: Certainty

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.valid_until is not None and self.valid_until <= self.valid_from:
            raise ValueError("valid_until must be after valid_from")
        return self

    def in_force(self, on: date) -> bool:
        return self.valid_from <= on and (self.valid_until is None or on < self.valid_until)


class CountingRule(BaseModel):
    """How days are counted, for whoever asks why a day is the last one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: str
    source: str
    certainty: Certainty


class _ClockFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    counting_rules: tuple[CountingRule, ...] = ()
    clocks: tuple[ClockDefinition, ...]


def _parse(text: str, where: str) -> _ClockFile:
    try:
        return _ClockFile.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}: {place}: {first['msg']}") from error


@cache
def _packaged() -> _ClockFile:
    text = (resources.files("jianguan.domain") / "data" / PACKAGED).read_text(encoding="utf-8")
    return _parse(text, PACKAGED)


class StatutoryClocks:
    """All clocks, in all their versions. Never changes after it is made."""

    def __init__(self, clocks: Iterable[ClockDefinition], counting_rules: Iterable[CountingRule] = ()) -> None:
        """ConfigurationError if two versions of a clock are in force on the same day."""
        self.counting_rules = tuple(counting_rules)
        self._versions: dict[str, list[ClockDefinition]] = {}
        for clock in sorted(clocks, key=lambda each: (each.id, each.valid_from)):
            versions = self._versions.setdefault(clock.id, [])
            if versions and versions[-1].in_force(clock.valid_from):
                raise ConfigurationError(f"statutory clock {clock.id}: two versions in force on {clock.valid_from}")
            versions.append(clock)

    @classmethod
    def load(cls, extra: Sequence[Path] = ()) -> Self:
        """The packaged clocks, then the operator's own; a clock named there replaces all its packaged versions."""
        packaged = _packaged()
        clocks, rules = list(packaged.clocks), list(packaged.counting_rules)
        for path in extra:
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(f"the clocks {path} cannot be read: {error}") from error
            own = _parse(text, str(path))
            replaced = {clock.id for clock in own.clocks}
            clocks = [clock for clock in clocks if clock.id not in replaced] + list(own.clocks)
            rules.extend(own.counting_rules)
        return cls(clocks, rules)

    def ids(self) -> tuple[str, ...]:
        return tuple(self._versions)

    def all(self) -> Iterator[ClockDefinition]:
        """Every version of every clock, by id and date."""
        for versions in self._versions.values():
            yield from versions

    def in_force(self, clock_id: str, on: date) -> ClockDefinition:
        """The version in force on a day. ConfigurationError names the id, the day and the nearest known."""
        versions = self._versions.get(clock_id)
        if not versions:
            raise ConfigurationError(f"no statutory clock {clock_id!r}; known are {', '.join(self._versions)}")
        for version in versions:
            if version.in_force(on):
                return version
        nearest = min(versions, key=lambda each: abs(each.valid_from - on))
        until = f" to before {nearest.valid_until}" if nearest.valid_until else ""
        raise ConfigurationError(
            f"statutory clock {clock_id} was not in force on {on}; "
            f"the nearest version is from {nearest.valid_from}{until}"
        )


def due_day(
    definition: ClockDefinition,
    started: date,
    working_days: WorkingDays,
    paused: Sequence[tuple[date, date]] = (),
    extended_by: int = 0,
) -> date:
    """The last day of a clock that started on a day, which is not counted.

    `paused` are half-open runs of days that are not counted. `extended_by` is in the clock's unit. A clock of
    calendar days whose last day is no working day ends on the next one that is not paused. ConfigurationError if
    the calendar lacks a year.
    """
    amount = definition.amount + extended_by
    runs = _merged(paused)
    if definition.unit == "working-days":
        last = working_days.add(started, amount)
        while True:  # Each round lengthens by the paused days met so far; it stops when no further one is met.
            longer = working_days.add(started, amount + sum(_working(run, started, last, working_days) for run in runs))
            if longer == last:
                return last
            last = longer
    base = started + timedelta(days=amount) if definition.unit == "calendar-days" else _months_after(started, amount)
    last = base
    while True:
        longer = base + timedelta(days=sum(_days(run, started, last) for run in runs))
        if longer == last:
            return _rest_over(last, runs, working_days)
        last = longer


def due_at(
    definition: ClockDefinition,
    started: datetime,
    working_days: WorkingDays,
    zone: tzinfo = SHANGHAI,
    *,
    pauses: Sequence[Pause] = (),
    extended_by: int = 0,
) -> datetime:
    """The instant at which a clock has run out: the midnight in `zone` that ends its last day, as an aware datetime.

    Half-open: what happens at that instant is late. `started` and `pauses` are aware; a pause (from, until) takes
    out the days at whose end it holds, so a pause from Monday to Wednesday lengthens by Monday and Tuesday. Give an
    open pause the present as its end.
    """
    paused = [(start.astimezone(zone).date(), end.astimezone(zone).date()) for start, end in pauses]
    last = due_day(definition, started.astimezone(zone).date(), working_days, paused, extended_by)
    return datetime.combine(last + timedelta(days=1), time(), zone)


def _merged(runs: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    merged: list[tuple[date, date]] = []
    for start, end in sorted(runs):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _rest_over(day: date, runs: Sequence[tuple[date, date]], working_days: WorkingDays) -> date:
    """The first working day from `day` on that is in no run."""
    day = working_days.on_or_after(day)
    for start, end in runs:
        if start <= day < end:
            day = working_days.on_or_after(end)
    return day


def _clipped(run: tuple[date, date], started: date, last: date) -> tuple[date, date]:
    """The part of a half-open run that lies in (started, last]."""
    return max(run[0], started + timedelta(days=1)), min(run[1], last + timedelta(days=1))


def _days(run: tuple[date, date], started: date, last: date) -> int:
    first, end = _clipped(run, started, last)
    return max((end - first).days, 0)


def _working(run: tuple[date, date], started: date, last: date, working_days: WorkingDays) -> int:
    first, end = _clipped(run, started, last)
    one = timedelta(days=1)
    return working_days.between(first - one, end - one) if first < end else 0


def _months_after(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))
