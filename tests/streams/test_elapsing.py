"""What time alone brings about: once, of the partitions that are this worker's, and not before it is settled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import VirtualClock, to_millis
from jianguan.domain.casework import CaseDesk
from jianguan.metrics import Metrics
from streams import elapsing as module
from streams.correlate import Correlate
from streams.elapsing import COSTS_EVERY, SETTLE_AFTER_MS, Elapsing, settled_until
from streams.handle import Handle
from streams.onward import Onward
from streams.owned import Owned
from streams.stages import Stages
from tests.streams.fakes import until
from tests.streams.test_correlate import FakeEngine, an_alert

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
NOW = to_millis(START)
GENERATION = 3


class Engine(FakeEngine):
    """Windows that are asked what is settled, and whether they may forget."""

    def __init__(self, windows: int = 0) -> None:
        super().__init__()
        self.windows = windows
        self.settled: list[int] = []
        self.forgot = 0
        self.during: Callable[[], None] = lambda: None

    def elapse(self, now_ms: int) -> Any:
        self.during()
        self.settled.append(now_ms)
        return super().elapse(now_ms)

    def forget(self) -> int:
        self.forgot += 1
        return 0

    def __len__(self) -> int:
        return self.windows


class Worker:
    """Two partitions, a clock and a lease."""

    def __init__(self, *, settling: bool = True, windows: int = 0, oldest: int | None = None) -> None:
        self.clock = VirtualClock(START)
        self.engines = [Engine(windows), Engine(windows)]
        self.settling = settling
        self.oldest = oldest
        self.holds = self.sends = True
        self.sent: list[tuple[Onward, int]] = []
        self.exclusive = asyncio.Lock()
        self.metrics = Metrics(CollectorRegistry())
        self.measured = 0
        self.correlate, self.handle = Owned(self._windows), Owned(self._desk)
        self.elapsing = Elapsing(self._stages(), self.exclusive, self._go_on, lambda: self.holds, lambda: GENERATION)

    async def begin(self) -> Worker:
        for partition in range(2):
            await self.correlate.get(partition)
            await self.handle.get(partition)
        return self

    def gauge(self, name: str) -> float:
        return float(getattr(self.metrics, name)._value.get())

    def _stages(self) -> Stages:
        async def oldest() -> int | None:
            return self.oldest

        return cast(
            Stages,
            SimpleNamespace(
                clock=self.clock, metrics=self.metrics, correlate=self.correlate, handle=self.handle, conditions=self,
                oldest_replayed=oldest,
            ),
        )  # fmt: skip

    async def _windows(self, partition: int) -> Correlate:
        return Correlate(self.engines[partition], self.clock, partitions=2, settling=self.settling)

    async def _desk(self, _: int) -> Handle:
        return Handle(CaseDesk(lambda clock_id, start: (start + 1_000, "")), self.clock, partitions=2)

    async def _go_on(self, onward: Onward, generation: int) -> bool:
        self.sent.append((onward, generation))
        return self.sends

    # What conditions take.

    def measure(self) -> int:
        self.measured += 1
        return 0

    def costs(self) -> list[Any]:
        return [SimpleNamespace(rule="dear", seconds=1.0, facts=100, budget=2_000, is_over=True)]


def whats(worker: Worker) -> list[str]:
    return [step.what for onward, _ in worker.sent for step in onward.records.trace]


async def test_what_the_clock_has_settled_is_raised_in_every_partition_under_the_generation_of_its_beginning() -> None:
    worker = await Worker().begin()
    await worker.elapsing.tick()
    assert [engine.settled for engine in worker.engines] == [[NOW - SETTLE_AFTER_MS]] * 2
    assert {generation for _, generation in worker.sent} == {GENERATION}
    assert [len(onward.records.alerts) for onward, _ in worker.sent if onward.records] == [1, 1]
    assert worker.measured == 1


async def test_what_the_clock_decided_is_recorded_once_the_next_stage_has_it_and_else_not_at_all() -> None:
    worker = await Worker().begin()
    await worker.elapsing.tick()
    assert [(bool(onward.alerts), bool(onward.records)) for onward, _ in worker.sent[:2]] == [
        (True, False),
        (False, True),
    ]
    worker = await Worker().begin()
    worker.sends = False
    await worker.elapsing.tick()
    assert whats(worker) == []


async def test_what_leads_to_nothing_is_recorded_and_counted() -> None:
    worker = await Worker().begin()
    for engine in worker.engines:
        engine.elapse = lambda now_ms: ()  # type: ignore[method-assign]
        engine.full = lambda: [("sequence", "a key")]  # type: ignore[method-assign]
    await worker.elapsing.tick()
    assert whats(worker) == ["pattern-full"] * 2
    counted = [result.limited for onward, _ in worker.sent for result in onward.correlated]
    assert counted == [{"sequence": 1}] * 2


async def test_a_department_hears_of_a_deadline_before_it_is_recorded() -> None:
    worker = await Worker(settling=False).begin()
    alert = an_alert(1)._replace(case_key="k", clock="c", lead="a", raised_at=NOW)
    (await worker.handle.get(1)).alerts([alert])
    worker.clock.advance(timedelta(seconds=30))
    await worker.elapsing.tick()
    first, second = [onward for onward, _ in worker.sent]
    assert [notice.kind for some in first.notices.values() for notice in some] == ["task.overdue"]
    assert (len(first.records), [task.overdue for task in second.records.tasks]) == (0, [True])


async def test_nothing_is_decided_while_the_partitions_may_be_anothers() -> None:
    worker = await Worker().begin()
    worker.holds = False
    await worker.elapsing.tick()
    assert (worker.sent, [engine.settled for engine in worker.engines], worker.measured) == ([], [[], []], 0)


async def test_what_is_left_when_the_lease_runs_out_meanwhile_is_decided_later_and_not_in_vain() -> None:
    worker = await Worker().begin()

    def runs_out() -> None:
        worker.holds = False

    worker.engines[0].during = runs_out
    await worker.elapsing.tick()
    assert [len(engine.settled) for engine in worker.engines] == [1, 0]


async def test_windows_whose_debts_are_not_known_yet_are_not_settled() -> None:
    worker = await Worker(settling=False).begin()
    await worker.elapsing.tick()
    assert [engine.settled for engine in worker.engines] == [[], []]


async def test_nothing_is_settled_later_than_what_is_still_read_again() -> None:
    worker = await Worker(oldest=NOW - 60_000).begin()
    await worker.elapsing.tick()
    assert {at for engine in worker.engines for at in engine.settled} == {NOW - 60_000}


@pytest.mark.parametrize(
    ("oldest", "expected"), [(None, NOW - SETTLE_AFTER_MS), (NOW, NOW - SETTLE_AFTER_MS), (NOW - 9_000, NOW - 9_000)]
)
def test_settled_is_the_present_less_the_way_of_facts_and_never_later_than_what_is_on_it(
    oldest: int | None, expected: int
) -> None:
    assert settled_until(VirtualClock(START), oldest) == expected


async def test_windows_are_not_settled_while_they_are_changed_from_outside() -> None:
    worker = await Worker().begin()
    held: list[bool] = []
    for engine in worker.engines:
        engine.during = lambda: held.append(worker.exclusive.locked())
    async with worker.exclusive:
        ticking = asyncio.create_task(worker.elapsing.tick())
        for _ in range(10):
            await asyncio.sleep(0)
        assert held == []
    await asyncio.wait_for(ticking, 5)
    assert held == [True, True]


async def test_tasks_become_overdue_and_are_counted_with_open_cases() -> None:
    worker = await Worker(settling=False).begin()
    alert = an_alert(1)._replace(case_key="k", clock="c", lead="a", raised_at=NOW)
    (await worker.handle.get(1)).alerts([alert])
    await worker.elapsing.tick()
    assert (worker.gauge("open_cases"), worker.gauge("overdue_tasks")) == (1, 0)
    worker.clock.advance(timedelta(minutes=1))
    await worker.elapsing.tick()
    assert (worker.gauge("open_cases"), worker.gauge("overdue_tasks")) == (1, 1)
    assert "overdue" in whats(worker)
    told = len(worker.sent)
    await worker.elapsing.tick()
    assert len(worker.sent) == told


async def test_what_rules_take_is_asked_now_and_then_and_who_takes_too_much_is_told_of_once() -> None:
    worker = await Worker(settling=False).begin()
    await worker.elapsing.tick()
    assert whats(worker) == []
    worker.clock.advance(timedelta(seconds=COSTS_EVERY))
    await worker.elapsing.tick()
    assert [step.subject for onward, _ in worker.sent for step in onward.records.trace] == ["slow", "dear", "slow"]
    assert worker.metrics.over_budget.labels("dear")._value.get() == 1
    assert worker.metrics.condition_micros.labels("dear")._value.get() == pytest.approx(10_000)
    await worker.elapsing.tick()
    assert len(worker.sent) == 2


@pytest.mark.parametrize("many", [0, 1])
async def test_windows_are_counted_and_thinned_out_only_where_there_are_many(many: int) -> None:
    worker = await Worker(settling=False, windows=module.MANY_WINDOWS + many).begin()
    await worker.elapsing.tick()
    assert worker.gauge("windows") == 2 * (module.MANY_WINDOWS + many)
    assert [engine.forgot for engine in worker.engines] == [many, many]
    async with worker.exclusive:
        await worker.elapsing.tick()
    assert [engine.forgot for engine in worker.engines] == [many, many]


async def test_time_passes_until_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.001)
    worker = await Worker(settling=False).begin()
    running = asyncio.create_task(worker.elapsing.run())
    await until(lambda: worker.measured >= 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
