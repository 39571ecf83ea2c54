"""Answers about rules without a store or an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from jianguan.domain.explanation import Clause, Explanation, InWindow, Measure
from jianguan.domain.hindsight import (
    BacktestReport,
    BacktestRequest,
    Bucket,
    Filled,
    Load,
    Raised,
    RuleLabel,
    WarmReport,
)
from jianguan.domain.versions import Approval, RuleVersion
from jianguan.errors import InputError, SourceError
from jianguan.ports import RuleHistory
from tests.dashboards.fakes import CLUSTER, DAY

NOW = 1_795_413_600_000
LABEL = RuleLabel(CLUSTER, 3, "c0ffee", "疑似食源性疾病聚集", "Suspected food poisoning")
VERSION = RuleVersion(
    CLUSTER, 2, "9f3c2a17d0b4e856", NOW - DAY, "wang", "太多误报", ("wang", "li"), "id: food\nversion: 2\n"
)


def explanation(rule: str, event: str) -> Explanation:
    """One that is below its thresholds."""
    return Explanation(
        rule=rule, version=2, rule_hash="9f3c2a17d0b4e856", title_zh="疑似食源性疾病聚集",
        title_en="Suspected food poisoning", status="active", event=event, occurred_at=NOW, received_at=NOW,
        verdict="below",
        clauses=(
            Clause('present(text) && category == "food-safety"', 0, "true"),
            Clause("text", 1, "12", hidden=True),
            Clause("severity > 3", 1, None, missing=("severity",)),
            Clause("amount_fen / 0 > 1", 1, None, error="division by zero"),
        ),
        group=(("enterprise", "licence:1"), ("reporter", "32"), ("region.county", None)),
        key="licence:1", time=NOW, window_start=NOW - 7 * DAY,
        window=(InWindow(event, NOW),), window_count=1,
        measures=(Measure("count", None, 1.0, 3.0), Measure("distinct", "reporter", 2.0, 2.0)),
        episode=NOW - DAY, episode_end=NOW, newest=NOW, lateness_limit=NOW - 7 * DAY,
    )  # fmt: skip


def report(request: BacktestRequest) -> BacktestReport:
    """One with a difference."""
    raised = Raised("licence:1", NOW, ("ev-0123456789abcdef01234567",), 3, "market-regulation")
    return BacktestReport(
        candidate=LABEL, against=replace(LABEL, version=2), since=request.since, until=request.until, events=1000,
        facts=40, late=1, limited=0, groups=3, alerts=5, against_alerts=4, common=3, bucket_ms=DAY,
        buckets=(Bucket(NOW, 3, 4), Bucket(NOW + DAY, 2, 0)),
        loads=(Load("market-regulation", 5, 4, 1.25, 1.0),),
        added=(raised, replace(raised, key=None, lead=None)), removed=(raised,),
    )  # fmt: skip


class FakeTools:
    """A RuleTools. A backtest waits at half of it for `go`, which is set unless a test clears it."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.asked: list[BacktestRequest] = []
        self.waiting = False
        self.approvals: tuple[Approval, ...] = ()

    def explain(self, rule: str, event: str, version: int | None = None) -> Explanation:
        self._known(rule)
        if not event.startswith("ev-"):
            raise InputError("unknown-event", "there is no such event")
        return replace(explanation(rule, event), version=version or 2)

    def check(self, request: BacktestRequest) -> RuleLabel:
        if request.text:
            if "broken" in request.text:
                raise SourceError("the key id is missing", "", 1, 1)
        else:
            self._known(request.rule)
        return LABEL

    def backtest(self, request: BacktestRequest, progress: Callable[[int, int], None]) -> BacktestReport:
        self.asked.append(request)
        progress(500, 1000)
        while not self.go.wait(0.01):
            progress(500, 1000)
        progress(1000, 1000)
        return report(request)

    def warm(self, rule: str) -> WarmReport:
        self._known(rule)
        filled = (Filled("licence:1", 3, NOW - 1), Filled(None, 2, NOW - 2))
        return WarmReport(LABEL, NOW, NOW - 14 * DAY, 1_200, 40, 7, filled)

    def history(self, rule: str) -> RuleHistory:
        self._known(rule)
        shown = RuleHistory(rule, VERSION, (VERSION,), needed=2)
        if not self.waiting:
            return shown
        return replace(
            shown, waiting="id: food\nversion: 3\n", waiting_version=3, waiting_hash="c0ffee", approvals=self.approvals
        )

    def approve(self, rule: str, person: str, reason: str) -> RuleHistory:
        self._known(rule)
        if not self.waiting:
            raise InputError("nothing-waits", "nothing waits")
        self.approvals = (*self.approvals, Approval(rule, "c0ffee", person, reason, NOW))
        return self.history(rule)

    @staticmethod
    def _known(rule: str) -> None:
        if rule != CLUSTER:
            raise InputError("unknown-rule", "there is no such rule")
