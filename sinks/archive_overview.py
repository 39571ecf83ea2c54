"""The figures of the first page: asked once a second, exact after replays.

Counting a million rows exactly takes a noticeable part of a second, so an answer is kept for a while that is a fixed
multiple of what it took: however large the store grows, the figures cost at most a twentieth of one core, and a small
store answers afresh each time. Who asks when that while is over is told the kept answer once more, and the next one
what was counted meanwhile; only an answer that is old is waited for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from jianguan.clock import Clock
from jianguan.domain.alert import SEVERITIES, Alert
from jianguan.domain.event import OUTCOMES
from jianguan.errors import JianguanError
from jianguan.ports import Overview
from sinks.at_once import AtOnce
from sinks.select import at
from sinks.store import BlockStore

log = logging.getLogger(__name__)

_MINUTE_MS: Final = 60_000
_MINUTES: Final = 120
_DAY_MS: Final = 24 * 60 * _MINUTE_MS
_MOST: Final = 5  # rules and regions that are told of
_REST: Final = 20  # times as long as it took
_LONGEST_REST_S: Final = 60.0
_TOLD_AGAIN_S: Final = 10.0  # after its rest an answer is told for so long while the next is counted
_AT_ONCE_S: Final = 0.02  # what takes no longer than this is always asked afresh


@dataclass(frozen=True, slots=True)
class _Kept:
    overview: Overview
    until: float  # by the monotonic clock, s
    rests: bool


class Figures:
    """Answers `overview`."""

    def __init__(self, store: BlockStore, clock: Clock, newest: Callable[[int], list[Alert]]) -> None:
        self._store = store
        self._clock = clock
        self._newest = newest
        self._at_once = AtOnce(2)  # scans: they leave the store room for a look-up
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._kept: _Kept | None = None

    def overview(self, now_ms: int, newest: int = 20) -> Overview:
        """The figures; `newest_alerts` are always fresh, the counts as old as `_LONGEST_REST_S + _TOLD_AGAIN_S` at
        most."""
        kept, now = self._kept, self._clock.monotonic()
        if kept is None or now >= kept.until + (_TOLD_AGAIN_S if kept.rests else 0.0):
            with self._lock:
                if self._kept is kept:  # nobody else has counted while this waited
                    self._kept = self._counted(now_ms)
                kept = self._kept
        elif now >= kept.until and self._counting.acquire(blocking=False):
            threading.Thread(target=self._count_again, args=(now_ms,), name="overview").start()
        assert kept is not None
        return replace(kept.overview, newest_alerts=self._newest(newest))

    def _count_again(self, now_ms: int) -> None:
        try:
            with self._lock:
                self._kept = self._counted(now_ms)
        except JianguanError as error:  # whoever asks when the kept answer is old asks the store, and is told
            log.warning("the figures could not be counted: %s", error)
        finally:
            self._counting.release()

    def _counted(self, now_ms: int) -> _Kept:
        before = self._clock.monotonic()
        overview = self._count(now_ms)
        after = self._clock.monotonic()
        took = after - before
        rests = took > _AT_ONCE_S
        return _Kept(overview, after + min(took * _REST, _LONGEST_REST_S) if rests else after, rests)

    def _count(self, now_ms: int) -> Overview:
        events, (outcomes, minutes), rest = self._at_once(
            lambda: self._one("SELECT count() FROM events FINAL"),  # half the time of uniqExact(id)
            lambda: (self._outcomes(), self._per_minute(now_ms)),
            lambda: self._alerts_and_work(now_ms),
        )
        return Overview(
            events_total=events, events_by_outcome=outcomes, events_per_minute=minutes, newest_alerts=[], **rest
        )

    def _outcomes(self) -> dict[str, int]:
        # The set of 64-bit hashes takes half the time of a set of ids. That two of a hundred million ids share one has
        # a chance of one in four thousand.
        rows = self._store.query(
            "SELECT what, uniqExact(cityHash64(id)) FROM trace WHERE stage = 1 AND what IN {outcomes:Array(String)}"
            " GROUP BY what",
            {"outcomes": list(OUTCOMES)},
        )
        return dict.fromkeys(OUTCOMES, 0) | {what: int(count) for what, count in rows}

    def _alerts_and_work(self, now_ms: int) -> dict[str, Any]:
        query = self._store.query
        tasks = query("SELECT countIf(state != 'closed'), countIf(overdue AND state != 'closed') FROM tasks FINAL")[0]
        raised = query(
            f"SELECT severity, uniqExact(id) FROM alerts WHERE raised_at > {at('since')} GROUP BY severity",  # noqa: S608
            {"since": now_ms - _DAY_MS},
        )
        by_rule, by_region = (
            query(
                f"SELECT {of} AS of, uniqExact(id) AS raised FROM alerts WHERE raised_at > {at('since')} AND {of} != ''"  # noqa: S608
                f" GROUP BY of ORDER BY raised DESC, of LIMIT {_MOST}",
                {"since": now_ms - _DAY_MS},
            )
            for of in ("rule", "region")
        )
        return {
            "alerts_by_rule": {rule: int(count) for rule, count in by_rule},
            "alerts_by_region": {region: int(count) for region, count in by_region},
            "alerts_by_severity": dict.fromkeys(SEVERITIES, 0) | {name: int(count) for name, count in raised},
            "alerts_total": self._one("SELECT uniqExact(id) FROM alerts"),
            "open_cases": self._one("SELECT countIf(state = 'open') FROM cases FINAL"),
            "open_tasks": int(tasks[0]),
            "overdue_tasks": int(tasks[1]),
            "pending_deliveries": self._one("SELECT countIf(state = 'pending') FROM deliveries FINAL"),
            "quarantined": self._one("SELECT countIf(state = 'quarantined') FROM quarantine FINAL"),
        }

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
