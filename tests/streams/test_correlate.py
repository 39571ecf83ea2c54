"""The correlate stage: decisions of the windows become alerts and steps; a restart loses nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from jianguan.clock import VirtualClock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact, FactRun, runs_of
from jianguan.domain.ids import event_id, fact_id, partition_of
from rules.decisions import Cost
from streams.correlate import Correlate, raise_again

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
NOW = to_millis(START)


def a_fact(number: int) -> Fact:
    event = event_id("test", str(number))
    of_fact = fact_id("r", 1, event)
    return Fact(of_fact, "r", 1, "k", NOW, event, NOW, float(number), *(None,) * 5, "service")


def an_alert(number: int, case_key: str | None = "m|enterprise|k") -> Alert:
    return Alert(
        f"al-{number}", "r", 1, "h", "k", NOW, NOW + 1, "high", "题", "Title", NOW, NOW - 1, NOW, NOW, {"count": 3.0},
        {"count": 3.0}, (f"ev-{number}",), 1, None, None, None, None, "service", case_key, "m", (), None, "", "", True,
    )  # fmt: skip


class FakeEngine:
    """Raises an alert for every fact, or what it is told."""

    def __init__(self, **decision: Any) -> None:
        self.added: list[str] = []
        self._decision = {"alerts": (), "late": False, "limited": False, **decision}

    def add_run(self, facts: FactRun, now_ms: int) -> Sequence[tuple[int, Any]]:
        return [(place, self._add(fact)) for place, fact in enumerate(facts.rows())]

    def _add(self, fact: Fact) -> Any:
        self.added.append(fact.id)
        alerts = self._decision["alerts"] or (an_alert(int(fact.number or 0)),)
        quiet = self._decision["late"] or self._decision["limited"]
        return SimpleNamespace(**{**self._decision, "alerts": () if quiet else alerts})

    def fold(self, facts: Iterable[Fact]) -> None:
        raise AssertionError("the stage does not fold")

    def elapse(self, now_ms: int) -> Sequence[Alert]:
        return (an_alert(now_ms % 100),)

    def full(self) -> Sequence[tuple[str, str]]:
        return [("r", "k")]

    def costs(self) -> Sequence[Any]:
        return [Cost("slow", 0.5, 100, 2_000), Cost("quick", 0.1, 100, 2_000), Cost("rare", 9.0, 99, 2_000)]

    def forget(self) -> int:
        return 0

    def __len__(self) -> int:
        return 0


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock(START)


def test_an_alert_goes_to_the_partition_of_its_case_and_leaves_a_step(clock: VirtualClock) -> None:
    result = Correlate(FakeEngine(), clock, partitions=8).work(runs_of([a_fact(1)]))
    assert list(result.alerts) == [partition_of("m|enterprise|k", 8)]
    assert [alert.id for alert in result.records.alerts] == ["al-1"]
    (step,) = result.records.trace
    assert (step.subject, step.what, step.links) == ("al-1", "raised", (a_fact(1).event,))
    assert result.raised == {("r", "high"): 1}


def test_an_alert_without_a_case_stays_with_its_rule(clock: VirtualClock) -> None:
    result = Correlate(FakeEngine(alerts=(an_alert(1, None),)), clock, partitions=8).work(runs_of([a_fact(1)]))
    assert list(result.alerts) == [partition_of("r", 8)]


def test_each_fact_that_is_too_late_for_its_window_is_said_of_its_event(clock: VirtualClock) -> None:
    result = Correlate(FakeEngine(late=True), clock, partitions=1).work(runs_of([a_fact(1), a_fact(2)]))
    assert [(step.subject, step.what) for step in result.records.trace] == [
        (a_fact(1).event, "late-for-rule"),
        (a_fact(2).event, "late-for-rule"),
    ]
    assert result.late == {"r": 2}
    assert len({step.id for step in result.records.trace}) == 2


def test_a_full_window_is_told_once_a_day_of_china_and_counted_each_time(clock: VirtualClock) -> None:
    stage = Correlate(FakeEngine(limited=True), clock, partitions=1)
    other = a_fact(4)._replace(key="another")
    first = stage.work(runs_of([a_fact(1), a_fact(2), other]))
    assert [(step.subject, step.what) for step in first.records.trace] == [
        (a_fact(1).event, "window-full"),
        (other.event, "window-full"),
    ], "each window for itself"
    assert first.limited == {"r": 3}
    clock.advance(timedelta(hours=7, minutes=59))
    assert stage.work(runs_of([a_fact(3)])).records.trace == [], "23:59 in Shanghai: still the same day"
    clock.advance(timedelta(minutes=1))
    (next_day,) = stage.work(runs_of([a_fact(5)])).records.trace
    assert next_day.id not in {step.id for step in first.records.trace}


def test_a_full_window_that_is_told_again_after_a_restart_is_the_same_step(clock: VirtualClock) -> None:
    (before,) = Correlate(FakeEngine(limited=True), clock, partitions=1).work(runs_of([a_fact(1)])).records.trace
    clock.advance(timedelta(hours=1))
    again = Correlate(FakeEngine(limited=True), clock, partitions=1).work(runs_of([a_fact(1), a_fact(2)]))
    assert [(step.id, step.subject) for step in again.records.trace] == [(before.id, before.subject)]


def test_a_fact_that_the_restored_windows_hold_is_passed_over_once(clock: VirtualClock) -> None:
    engine = FakeEngine()
    stage = Correlate(engine, clock, partitions=1, known=[a_fact(1).id])
    stage.work(runs_of([a_fact(1), a_fact(2)]))
    assert engine.added == [a_fact(2).id]
    stage.work(runs_of([a_fact(1)]))
    assert engine.added == [a_fact(2).id, a_fact(1).id]


def test_after_a_crash_only_what_the_store_lacks_is_recorded_again() -> None:
    result = raise_again([an_alert(1)], [an_alert(2)], NOW, 1)
    assert [alert.id for alert in result.alerts[0]] == ["al-1", "al-2"]
    assert [alert.id for alert in result.records.alerts] == ["al-1"]
    assert [step.subject for step in result.records.trace] == ["al-1"]


def test_what_the_clock_settles_is_raised_with_its_step_and_what_is_owed_is_raised_once(clock: VirtualClock) -> None:
    stage = Correlate(FakeEngine(), clock, partitions=1, owed=[an_alert(7)])
    result = stage.elapse(NOW + 3)
    assert [alert.id for alert in result.records.alerts] == ["al-7", f"al-{(NOW + 3) % 100}"]
    assert [step.what for step in result.records.trace] == ["raised", "raised", "pattern-full"]
    assert result.limited == {"r": 1}
    assert result.alerts[0] == result.records.alerts
    again = stage.elapse(NOW + 4)
    assert [alert.id for alert in again.records.alerts] == [f"al-{(NOW + 4) % 100}"]
    assert again.limited == {"r": 1}
    assert [step.what for step in again.records.trace] == ["raised"], "of a full pattern one telling a day is enough"


def test_a_rule_over_its_budget_is_told_once_a_day(clock: VirtualClock) -> None:
    stage = Correlate(FakeEngine(), clock, partitions=1)
    spent, first = stage.costs()
    assert [each.rule for each in spent] == ["slow", "quick", "rare"]
    (step,) = first.records.trace
    assert (step.subject, step.what) == ("slow", "rule-over-budget")
    assert json.loads(step.detail) == {"rule": "slow", "micros": 5_000, "budget": 2_000}
    assert stage.costs()[1].records.trace == []
    sampled = [Cost("condition", 1.0, 200, 2_000), Cost("cheap", 0.1, 200, 2_000)]
    spent, result = stage.costs(sampled)
    assert "condition" not in [each.rule for each in spent]
    assert [each.subject for each in result.records.trace] == ["condition"]
    clock.advance(timedelta(days=1))
    (tomorrow,) = stage.costs()[1].records.trace
    assert (tomorrow.subject, tomorrow.id == step.id) == ("slow", False)
