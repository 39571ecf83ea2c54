"""The tables that rules lean on: regions, industries, working days, statutory clocks, departments.

It must not know rules; the tables themselves live in `jianguan.domain`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from jianguan.clock import from_millis, to_millis
from jianguan.domain.casework import Deadline
from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.codes import CodeTree
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from jianguan.domain.statutory import StatutoryClocks, due_at
from jianguan.domain.working_days import WorkingDays
from jianguan.errors import ConfigurationError, InputError
from rules.cel.environment import Environment
from rules.departments import Departments
from rules.fields import FIELDS

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reference:
    """The tables of one installation. Never changes after it is made."""

    regions: Regions
    industries: Industries
    working_days: WorkingDays
    clocks: StatutoryClocks
    departments: Departments

    @classmethod
    def packaged(cls) -> Reference:
        """The tables that ship with the package. ConfigurationError or SourceError when one is broken."""
        return cls(Regions.load(), Industries.load(), WorkingDays.load(), StatutoryClocks.load(), Departments.load())

    def environment(self, fields: Mapping[str, str] = FIELDS) -> Environment:
        """The checker of conditions over an event's fields, or others, with these tables behind its functions."""
        return Environment(
            fields,
            region_within=_within(self.regions),
            industry_within=_within(self.industries),
            working_days_between=self._working_days_between,
        )

    def within(self) -> dict[str, Callable[[str, str], bool]]:
        """Whether a region or an industry is within another, by the name of the field."""
        return {"region": _within(self.regions), "industry": _within(self.industries)}

    def _working_days_between(self, first: datetime, second: datetime) -> int:
        return self.working_days.between(first.astimezone(SHANGHAI).date(), second.astimezone(SHANGHAI).date())


def deadlines(reference: Reference) -> Deadline:
    """Statutory clocks as the desk asks for them."""

    def deadline(clock_id: str, start: int) -> tuple[int | None, str]:
        started = from_millis(start)
        try:
            # The law counts the day of the place, which begins eight hours before that of UTC.
            definition = reference.clocks.in_force(clock_id, started.astimezone(SHANGHAI).date())
            return to_millis(due_at(definition, started, reference.working_days)), definition.source
        except ConfigurationError as error:
            log.error("a case has no deadline: %s", error)
            return None, str(error)

    return deadline


def spelled(tree: CodeTree, code: str) -> str | None:
    """The normalised code of what a rule's author wrote (`cn:31` is `cn:310000`), or None when it is not known."""
    for text in (code, code.removeprefix("cn:")):
        try:
            return tree.normalise(text)
        except InputError:
            continue
    return None


def _within(tree: CodeTree) -> Callable[[str, str], bool]:
    """`tree.within`, remembered; the ancestor may be short, as in `cn:31`."""

    @lru_cache(maxsize=65_536)
    def within(child: str, ancestor: str) -> bool:
        return tree.within(child, spelled(tree, ancestor) or ancestor)

    return within
