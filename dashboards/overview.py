"""The figures of the first page: read from the store now and then, moved on by the live feed in between."""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from dashboards.dependencies import Dependencies
from dashboards.live import Totals
from dashboards.naming import Namer
from dashboards.reads import Reads
from dashboards.shapes import OverviewView, RankedView
from dashboards.texts import LANGUAGES
from jianguan.clock import to_millis
from jianguan.domain.alert import Alert
from jianguan.errors import UnavailableError
from jianguan.ports import Overview

MINUTE: Final = 60_000  # ms
MOST_CRITICAL: Final = 3
_DAY_MS: Final = 24 * 3_600_000


class Board(NamedTuple):
    """What the first page shows."""

    figures: OverviewView
    newest: list[Alert]
    critical: list[Alert]  # the newest critical ones of 24 hours, however many others came after them


class OverviewSource:
    """One shared, briefly cached reading of the store, however many people watch."""

    def __init__(self, deps: Dependencies, reads: Reads) -> None:
        self._deps = deps
        self._reads = reads
        self._namer = Namer(deps)
        self._lock = asyncio.Lock()
        self._read: Overview | None = None
        self._critical: list[Alert] = []
        self._mark = deps.live.totals()
        self._read_at = float("-inf")
        self._stale = False

    async def current(self) -> Board:
        """The figures and alerts. UnavailableError only when the store has never answered."""
        clock = self._deps.clock
        async with self._lock:
            if clock.monotonic() - self._read_at >= self._deps.limits.overview_seconds or self._read is None:
                try:
                    archive, now_ms = self._deps.archive, to_millis(clock.now())
                    self._read = await self._reads(archive.overview, now_ms)
                    self._mark = self._deps.live.totals()
                    critical = await self._reads(archive.alerts, severity="critical", limit=MOST_CRITICAL)
                    self._critical = [alert for alert in critical if alert.raised_at > now_ms - _DAY_MS]
                    self._stale = False
                except UnavailableError:
                    if self._read is None:
                        raise
                    self._stale = True
                self._read_at = clock.monotonic()
            read = self._read
        return Board(self._figures(read, self._mark), read.newest_alerts, self._critical)

    def _figures(self, read: Overview, mark: Totals) -> OverviewView:
        live = self._deps.live
        now = live.totals()
        outcomes = dict(read.events_by_outcome)
        for name, more in (
            ("accepted", now.events - mark.events),
            ("quarantined", now.quarantined - mark.quarantined),
        ):
            if more:
                outcomes[name] = outcomes.get(name, 0) + more
        severities = dict(read.alerts_by_severity)
        raised = 0
        for severity, count in now.alerts.items():
            more = count - mark.alerts.get(severity, 0)
            severities[severity] = severities.get(severity, 0) + more
            raised += more
        return OverviewView(
            rate=live.rate(),
            series=live.series(),
            events_total=read.events_total + now.events - mark.events,
            events_by_outcome=outcomes,
            events_per_minute=whole_hour(read.events_per_minute, to_millis(self._deps.clock.now())),
            alerts_by_severity=severities,
            alerts_by_rule=self._rules(read.alerts_by_rule),
            alerts_by_region=[
                RankedView(id=code, name={each: self._namer.region(code, each) for each in LANGUAGES}, count=count)
                for code, count in read.alerts_by_region.items()
            ],
            alerts_total=read.alerts_total + raised,
            open_cases=read.open_cases,
            open_tasks=read.open_tasks,
            overdue_tasks=read.overdue_tasks,
            pending_deliveries=read.pending_deliveries,
            quarantined=read.quarantined + now.quarantined - mark.quarantined,
            changes={"delivery": now.deliveries, "quarantine": now.quarantined},
            stale=self._stale,
        )

    def _rules(self, counts: dict[str, int]) -> list[RankedView]:
        """By the titles of those that run; others by their ids."""
        titles = {rule.id: {"zh": rule.title_zh, "en": rule.title_en} for rule in self._deps.rules_info().rules}
        return [
            RankedView(id=rule, name=titles.get(rule) or dict.fromkeys(LANGUAGES, rule), count=count)
            for rule, count in counts.items()
        ]


def whole_hour(minutes: list[tuple[int, int]], now_ms: int) -> list[tuple[int, int]]:
    """The last sixty minutes up to the present one, oldest first, with those in which nothing came."""
    counts = dict(minutes)
    present = now_ms // MINUTE * MINUTE
    return [(minute, counts.get(minute, 0)) for minute in range(present - 59 * MINUTE, present + MINUTE, MINUTE)]
