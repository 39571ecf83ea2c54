"""What a worker that is alone works at once, and what it sends over the topics all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jianguan.clock import VirtualClock
from jianguan.domain.alert import Alert
from jianguan.domain.casework import CaseDesk
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import Fact, FactRun, runs_of
from jianguan.domain.trace import Records, Step
from streams import onward as module
from streams.correlate import Correlate, Correlated, Early
from streams.handle import Handle
from streams.onward import AtOnce, Onward
from streams.owned import Owned
from tests.streams.test_correlate import FakeEngine, a_fact, an_alert

PARTITIONS = 4
EARLY = cast(Early, SimpleNamespace(waiting=False))


class Worker:
    """All stages behind ingest, of which windows raise an alert for every fact."""

    def __init__(self, engine: FakeEngine | None = None, early: Early | None = None, follows: int = 0) -> None:
        self.clock = VirtualClock(datetime(2026, 3, 2, 8, tzinfo=UTC))
        self.engine, self.early, self.follows = engine or FakeEngine(), early, follows
        self.busy = 0  # so often is something seen on the topics
        self.delivered: list[Notice] = []
        self.correlate, self.handle = Owned(self._windows), Owned(self._desk)
        self.at_once = AtOnce(self.correlate, self.handle, self._deliver, self._judge, self._under_way)

    async def begin(self) -> Worker:
        for partition in range(PARTITIONS):
            await self.correlate.get(partition)
            await self.handle.get(partition)
        return self

    async def _windows(self, _: int) -> Correlate:
        return Correlate(self.engine, self.clock, partitions=PARTITIONS, early=self.early, follow=self._follow)

    async def _desk(self, _: int) -> Handle:
        return Handle(CaseDesk(lambda clock_id, start: (None, "")), self.clock, partitions=PARTITIONS)

    def _follow(self, alert: Alert) -> Iterable[Fact]:
        if not self.follows:
            return []
        self.follows -= 1
        return [a_fact(90 + self.follows)]

    async def _judge(self, state: Correlate, facts: Sequence[FactRun]) -> Correlated:
        return state.work(facts)

    def _deliver(self, notices: Iterable[Notice]) -> Records:
        self.delivered += notices
        return Records(trace=[Step("st-1", "dl-1", 0, 4, "told", "system", "", "", (), "")])

    def _under_way(self) -> bool:
        self.busy -= 1
        return self.busy >= 0


def leaving(*numbers: int) -> Onward:
    return Onward(facts={2: runs_of([a_fact(number) for number in numbers])})


async def test_facts_become_alerts_cases_and_deliveries_at_once_and_nothing_is_sent() -> None:
    worker = await Worker().begin()
    onward = leaving(1, 2)
    await worker.at_once.work(onward)
    assert (onward.facts, onward.alerts, onward.notices) == ({}, {}, {})
    assert [alert.id for alert in onward.records.alerts] == ["al-1", "al-2"]
    assert {case.id for case in onward.records.cases}
    assert {notice.department for notice in worker.delivered} == {"m"}
    assert [step.what for step in onward.records.trace if step.stage == 4] == ["told"]
    assert [result.raised.total() for result in onward.correlated] == [2]


async def test_alerts_of_the_clock_go_the_same_way() -> None:
    worker = await Worker().begin()
    onward = Onward()
    onward.add_correlated((await worker.correlate.get(0)).elapse(0))
    await worker.at_once.work(onward)
    assert (onward.facts, onward.alerts, onward.notices) == ({}, {}, {})
    assert onward.records.cases
    assert worker.delivered


async def test_facts_of_rules_on_alerts_are_worked_in_the_same_go() -> None:
    worker = await Worker(follows=2).begin()
    onward = leaving(1)
    await worker.at_once.work(onward)
    assert [alert.id for alert in onward.records.alerts] == ["al-1", "al-91", "al-90"]
    assert [fact.id for fact in onward.records.facts] == [a_fact(91).id, a_fact(90).id]
    assert onward.facts == {}


async def test_while_windows_are_restored_facts_go_over_the_topics() -> None:
    engine = FakeEngine()
    worker = await Worker(engine, EARLY).begin()
    onward = leaving(1)
    await worker.at_once.work(onward)
    assert onward.facts == leaving(1).facts
    assert engine.added == []
    assert not onward.records


async def test_nothing_overtakes_what_is_on_the_topics_already() -> None:
    worker = await Worker().begin()
    worker.busy = 1
    onward = leaving(1)
    await worker.at_once.work(onward)
    assert onward.facts == leaving(1).facts
    assert worker.engine.added == []
    await worker.at_once.work(onward)
    assert onward.facts == {}


async def test_notices_never_take_the_way_over_the_topics() -> None:
    worker = await Worker(early=EARLY).begin()
    handled = (await worker.handle.get(0)).alerts([an_alert(1)])
    assert handled.notices
    onward = Onward()
    onward.add_handled(handled)
    await worker.at_once.work(onward)
    assert onward.notices == {}
    assert worker.delivered


async def test_what_is_on_the_topics_is_waited_for_so_that_a_steady_load_does_not_stay_there() -> None:
    worker = await Worker().begin()
    worker.busy = 5
    await asyncio.wait_for(worker.at_once.catch_up(), 5)
    assert worker.busy == -1


async def test_it_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    worker = await Worker().begin()
    worker.busy = 1_000_000
    await asyncio.wait_for(worker.at_once.catch_up(), 5)
    assert worker.busy == 1_000_000 - 10


async def test_it_is_not_waited_for_while_windows_are_restored() -> None:
    worker = await Worker(early=EARLY).begin()
    worker.busy = 1_000_000
    await asyncio.wait_for(worker.at_once.catch_up(), 5)
    assert worker.busy == 1_000_000 - 1


def test_what_several_stages_give_is_joined_by_partition() -> None:
    onward = leaving(1)
    for number in (2, 3):
        result = Correlated(facts={2: [a_fact(number)]}, alerts={1: [an_alert(number)]})
        onward.add_correlated(result)
    found: list[Any] = [fact.id for run in onward.facts[2] for fact in run.rows()]
    assert found == [a_fact(number).id for number in (1, 2, 3)]
    assert [alert.id for alert in onward.alerts[1]] == ["al-2", "al-3"]
    assert len(onward.correlated) == 2
