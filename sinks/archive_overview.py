"""The figures of the first page: asked once a second, exact after replays.

Counting a million rows exactly takes a noticeable part of a second, so an answer is kept for a while that is a fixed
multiple of what it took: however large the store grows, the figures cost at most a twentieth of one core, and a small
store answers afresh each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from jianguan.clock import Clock
from jianguan.domain.alert import SEVERITIES, Alert
from jianguan.domain.event import OUTCOMES
from jianguan.ports import Overview
from sinks.select import at
from sinks.store import BlockStore

_MINUTE_MS: Final = 60_000
_MINUTES: Final = 120
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_REST: Final = 20  # times as long as it took
_LONGEST_REST_S: Final = 60.0
_AT_ONCE_S: Final = 0.02  # what takes no longer than this is always asked afresh


@dataclass(frozen=True, slots=True)
class _Kept:
    overview: Overview
    until: float


class Figures:
    """Answers `overview`."""

    def __init__(self, store: BlockStore, clock: Clock, newest: Callable[[int], list[Alert]]) -> None:
        self._store = store
        self._clock = clock
        self._newest = newest
        self._lock = threading.Lock()
        self._kept: _Kept | None = None

    def overview(self, now_ms: int, newest: int = 20) -> Overview:
        """The figures; `newest_alerts` are always fresh, the counts at most `_LONGEST_REST_S` old."""
        with self._lock:
            kept = self._kept
            if kept is None or self._clock.monotonic() >= kept.until:
                before = self._clock.monotonic()
                overview = self._count(now_ms)
                after = self._clock.monotonic()
                took = after - before
                rest = 0.0 if took <= _AT_ONCE_S else min(took * _REST, _LONGEST_REST_S)
                kept = self._kept = _Kept(overview, after + rest)
        return replace(kept.overview, newest_alerts=self._newest(newest))

    def _count(self, now_ms: int) -> Overview:
        query = self._store.query
        outcomes: dict[str, int] = dict.fromkeys(OUTCOMES, 0)
        rows = query(
            "SELECT what, uniqExact(id) FROM trace WHERE stage = 1 AND what IN {outcomes:Array(String)} GROUP BY what",
            {"outcomes": list(OUTCOMES)},
        )
        outcomes.update((what, int(count)) for what, count in rows)
        tasks = query("SELECT countIf(state != 'closed'), countIf(overdue AND state != 'closed') FROM tasks FINAL")[0]
        raised = query(
            f"SELECT severity, uniqExact(id) FROM alerts WHERE raised_at > {at('since')} GROUP BY severity",  # noqa: S608
            {"since": now_ms - _DAY_MS},
        )
        return Overview(
            events_total=self._one("SELECT count() FROM events FINAL"),  # a third of the time of uniqExact
            events_by_outcome=outcomes,
            events_per_minute=self._per_minute(now_ms),
            alerts_by_severity=dict.fromkeys(SEVERITIES, 0) | {name: int(count) for name, count in raised},
            alerts_total=self._one("SELECT uniqExact(id) FROM alerts"),
            open_cases=self._one("SELECT countIf(state = 'open') FROM cases FINAL"),
            open_tasks=int(tasks[0]),
            overdue_tasks=int(tasks[1]),
            pending_deliveries=self._one("SELECT countIf(state = 'pending') FROM deliveries FINAL"),
            quarantined=self._one("SELECT countIf(state = 'quarantined') FROM quarantine FINAL"),
            newest_alerts=[],
        )

    def _per_minute(self, now_ms: int) -> list[tuple[int, int]]:
        first = (now_ms // _MINUTE_MS - _MINUTES + 1) * _MINUTE_MS
        rows = self._store.query(
            "SELECT intDiv(toUnixTimestamp64Milli(at), 60000) * 60000 AS minute, uniqExact(subject) FROM trace"  # noqa: S608
            f" WHERE stage = 1 AND what = 'accepted' AND at BETWEEN {at('first')} AND {at('now')} GROUP BY minute",
            {"first": first, "now": now_ms},
        )
        counts = {int(minute): int(count) for minute, count in rows}
        return [(minute, counts.get(minute, 0)) for minute in range(first, now_ms + 1, _MINUTE_MS)]

    def _one(self, sql: str) -> int:
        return int(self._store.query(sql)[0][0])
