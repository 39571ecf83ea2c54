"""Facts are judged while windows are still being restored, as if all had been there; the clock waits for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.fact import Fact, FactRun, FactsWanted, runs_of
from jianguan.errors import UnavailableError
from jianguan.metrics import Metrics
from jianguan.settings import Settings
from jianguan.wiring.early import EarlyWindows
from jianguan.wiring.embedded import EmbeddedApplication
from jianguan.wiring.restore import LatestFacts, Restorer
from rules.engine import Engine
from rules.keys import carry
from rules.rule import Rule
from rules.ruleset import RuleSet
from streams.correlate import Correlate
from streams.owned import Owned
from tests.rules.support import NOW, fact, reference, rule
from tests.rules.test_facts import loaded
from tests.streams.fakes import until

HOUR = 3_600_000
CARRIED = carry(0, [])
COUNTING = loaded(condition="true")  # three facts
SETTLED = loaded(
    id="settled",
    condition="true",
    trigger={"not": {"count": {"at_least": 2}}},
    window={"size": "10m", "lateness": "1m", "kind": "tumbling"},
)


class Store:
    """Facts, as an archive tells them. `gate` holds up whoever asks for those of all keys; away so many times."""

    def __init__(self, facts: Sequence[Fact], alerts: Collection[str] = ()) -> None:
        self.facts = list(facts)
        self.alerts = set(alerts)
        self.away = 0
        self.asked: list[list[str]] = []
        self.first: int | None = NOW - 10 * HOUR
        self.gate = threading.Event()
        self.at_gate = threading.Event()

    def first_received(self) -> int | None:
        return self.first

    def known_alerts(self, ids: Sequence[str]) -> set[str]:
        return self.alerts & set(ids)

    def last_received(self) -> int | None:
        return max((fact.received_at for fact in self.facts), default=None)

    def raised(self, *_: object) -> Iterator[Any]:
        return iter(())

    def alerts_of(self, *_: object) -> Iterator[Any]:
        return iter(())

    def events_to_judge(self, *_: object) -> Iterator[Any]:
        return iter(())

    def facts_to_fold(self, wanted: FactsWanted) -> Iterator[FactRun]:
        if wanted.keys is None:
            self.at_gate.set()
            assert self.gate.wait(10)
        else:
            self.asked.append(sorted(wanted.keys))
        if self.away:
            self.away -= 1
            raise UnavailableError("no store")
        yield from runs_of(filter(wanted.may_take, self.facts))


class Book:
    """The rules that run, and when they were activated."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.ruleset = RuleSet(rules)
        self.activated: dict[str, int] = {}

    def activated_at(self, name: str) -> int | None:
        return self.activated.get(name)

    def follow(self, _: object) -> tuple[()]:
        return ()


class Started:
    """Partition 0 of one, as the embedded system has it."""

    def __init__(self, store: Store, *rules: Rule, latest: LatestFacts | None = None) -> None:
        self.store = store
        self.clock = VirtualClock(from_millis(NOW))
        self.book = Book(rules or (COUNTING, SETTLED))
        self.metrics = Metrics(CollectorRegistry())
        tables = SimpleNamespace(rules=reference())
        self.restorer = Restorer(
            cast(Any, store), cast(Any, self.book), cast(Any, tables), self.clock, 1, latest
        )  # fmt: skip
        self.exclusive = asyncio.Lock()
        self.early = EarlyWindows(
            self.restorer, self.clock, self.metrics.restoring, self.exclusive, alone=latest is None, oldest=self._oldest
        )
        self.oldest: int | None = None
        self.there = 0

    async def begin(self) -> Correlate:
        self.early.begin({0, 1})
        self.state = await self.early.correlate(0)
        self.completing = asyncio.create_task(self.early.complete(self._are_there))
        at_gate = asyncio.ensure_future(asyncio.to_thread(self.store.at_gate.wait, 10))
        await asyncio.wait([at_gate, self.completing], return_when=asyncio.FIRST_COMPLETED)
        if self.completing.done():
            self.completing.result()
        return self.state

    async def _oldest(self) -> int | None:
        return self.oldest

    def _are_there(self) -> None:
        assert not self.state.settling
        self.there += 1

    async def work(self, *facts: Fact) -> list[str]:
        """The rules of the alerts that they raise."""
        runs = runs_of(facts)
        if self.state.early is not None:
            assert await asyncio.wait_for(self.state.early.recall(runs), 10)
        return [alert.rule for alerts in self.state.work(runs).alerts.values() for alert in alerts]

    async def complete(self) -> None:
        self.store.gate.set()
        await asyncio.wait_for(self.completing, 10)

    @property
    def restoring(self) -> float | None:
        return self.metrics.registry.get_sample_value("jianguan_restoring_partitions")


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Makes one; nobody waits for its store in the end."""
    made: list[Started] = []

    def create(store: Store, *rules: Rule, latest: LatestFacts | None = None) -> Started:
        made.append(Started(store, *rules, latest=latest))
        return made[-1]

    yield create
    for each in made:
        each.store.gate.set()


Start: TypeAlias = Callable[..., Started]


def stored(number: int, key: str = "k1", of: str = COUNTING.id, age: int = HOUR // 10) -> Fact:
    return fact(number, NOW - age + number, key=key, of=of, received_at=NOW - age + number, carried=CARRIED)


def fresh(number: int, key: str = "k1", of: str = COUNTING.id) -> Fact:
    return fact(number, NOW + number, key=key, of=of, received_at=NOW + number, carried=CARRIED)


async def test_a_fact_meets_those_of_its_key_that_are_stored_before_all_are_restored(start: Start) -> None:
    started = start(Store([stored(1), stored(2), stored(3, "k2")]))
    await started.begin()
    assert started.restoring == 1
    assert await started.work(fresh(10, "k2")) == []
    assert await started.work(fresh(11)) == [COUNTING.id]
    assert not started.store.gate.is_set()
    await started.complete()
    assert started.restoring == 0
    assert await started.work(fresh(12, "k2")) == [COUNTING.id]


async def test_the_store_is_asked_once_for_a_key_and_for_none_after_all_are_there(start: Start) -> None:
    started = start(Store([stored(1)]))
    await started.begin()
    await started.work(fresh(10), fresh(11, "k2"))
    await started.work(fresh(12), fresh(13, "k3"))
    await started.complete()
    await started.work(fresh(14, "k4"))
    assert started.store.asked == [["k1", "k2"], ["k3"]]


async def test_what_was_raised_early_is_not_raised_again_when_all_are_there(start: Start) -> None:
    started = start(Store([stored(1), stored(2)]))
    await started.begin()
    assert await started.work(fresh(10)) == [COUNTING.id]
    await started.complete()
    assert await started.work(fresh(11)) == []


async def test_a_fact_of_now_is_not_taken_from_the_store_though_it_is_there_already(start: Start) -> None:
    started = start(Store([stored(1), fresh(10), fresh(11)]))
    await started.begin()
    assert await started.work(fresh(10)) == []
    await started.complete()
    assert await started.work(fresh(11)) == [COUNTING.id]


@pytest.mark.parametrize("whole", [False, True], ids=["early", "whole"])
async def test_what_was_stored_while_the_clock_was_ahead_counts_after_a_restart(
    start: Start, tmp_path: Path, whole: bool
) -> None:
    """As when a machine starts with the time of its own clock and sets it only later."""
    started = start(Store([stored(number)._replace(received_at=NOW + HOUR) for number in (1, 2)]))
    correlate = Owned(started.early.correlate)
    application = EmbeddedApplication(Settings(data=tmp_path), started.clock, demo=False)
    application._archive = cast(Any, started.store)
    application._journal = cast(Any, SimpleNamespace(oldest=lambda: None))
    application._restoring = asyncio.create_task(asyncio.sleep(0))
    handle = SimpleNamespace(get=lambda _: asyncio.sleep(0))
    pipeline = SimpleNamespace(keep_only=lambda _: None)
    parts = SimpleNamespace(
        early=started.early, restorer=started.restorer, correlate=correlate, handle=handle, pipeline=pipeline
    )
    await application._rebuild(cast(Any, parts))
    assert application._windows is not None
    started.state = await correlate.get(0)
    if whole:
        started.store.gate.set()
        await application._windows
    assert await started.work(fresh(10)) == [COUNTING.id]
    started.store.gate.set()
    await application._windows


async def test_the_clock_decides_nothing_before_all_are_there_and_then_owes_what_is_not_stored(start: Start) -> None:
    quiet = [stored(number, f"k{number}", SETTLED.id, age=20 * 60_000) for number in (1, 2, 3)]
    whole = Engine(RuleSet([SETTLED]))
    whole.fold(quiet)
    implied = {alert.key: alert for alert in whole.elapse(NOW)}
    assert len(implied) == 3
    started = start(Store(quiet, [implied["k1"].id]))
    state = await started.begin()
    await started.work(fresh(10, "k2", SETTLED.id))
    assert not state.settling
    assert started.there == 0
    await started.complete()
    assert started.there == 1
    assert state.settling
    raised = [alert.id for alerts in state.elapse(NOW).alerts.values() for alert in alerts]
    assert sorted(raised) == sorted([implied["k2"].id, implied["k3"].id])
    later = NOW + HOUR
    (again,) = [alert for alerts in state.elapse(later).alerts.values() for alert in alerts]
    assert again.key == "k2"
    assert again.time > NOW


async def test_facts_of_a_rule_with_a_history_wait_for_all_and_others_do_not(start: Start) -> None:
    started = start(Store([stored(1), stored(2)]))
    started.book.activated = {SETTLED.id: NOW - 60_000}
    await started.begin()
    assert await started.work(fresh(11)) == [COUNTING.id]
    waiting = asyncio.create_task(started.work(fresh(10, "k9", SETTLED.id)))
    early = started.state.early
    assert early is not None
    while not early.waiting:  # noqa: ASYNC110 - it is our turn that it waits for
        await asyncio.sleep(0)
    assert not waiting.done()
    await started.complete()
    assert await asyncio.wait_for(waiting, 10) == []
    assert not early.waiting
    assert started.state.early is None


@pytest.mark.parametrize("first", [None, NOW - 60_000])
async def test_a_rule_that_is_as_old_as_the_first_event_waits_for_nothing(start: Start, first: int | None) -> None:
    started = start(Store([]))
    started.store.first = first
    started.book.activated = {COUNTING.id: NOW - 60_000}
    await started.begin()
    assert await started.work(fresh(10)) == []
    await started.complete()


async def test_a_store_that_is_away_is_asked_again(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jianguan.wiring.early.RETRY_PAUSE", 0.001)
    started = start(Store([stored(1), stored(2)]))
    await started.begin()
    started.store.away = 2
    assert await started.work(fresh(10)) == [COUNTING.id]
    started.store.away = 2
    await started.complete()
    assert started.state.settling


async def test_rules_that_change_meanwhile_are_restored_too(start: Start) -> None:
    new = rule(id="new")
    started = start(Store([stored(1), stored(2), stored(3, of="new"), stored(4, of="new")]), COUNTING)
    state = await started.begin()
    started.store.at_gate.clear()
    # As RuleChanges does it: the windows that run first, the rule book after them.
    changed = RuleSet([COUNTING, new])
    async with started.exclusive:
        assert cast(Engine, state.engine).swap(changed) == (new,)
    started.book.ruleset = changed
    started.store.gate.set()
    await asyncio.wait_for(started.completing, 10)
    assert {each.id for each in cast(Engine, state.engine).running} == {COUNTING.id, "new"}
    assert await started.work(fresh(10, of="new")) == ["new"]


async def test_the_clock_owes_nothing_that_a_record_which_waits_to_be_let_in_may_still_answer(start: Start) -> None:
    quiet = stored(1, "k1", SETTLED.id, age=20 * 60_000)
    started = start(Store([quiet]))
    started.oldest = NOW - 20 * 60_000
    state = await started.begin()
    await started.complete()
    assert list(state.elapse(started.oldest).alerts.values()) == []
    assert [alert.key for alerts in state.elapse(NOW).alerts.values() for alert in alerts] == ["k1"]


async def test_windows_that_come_while_those_of_all_keys_take_their_place_are_not_folded_anywhere(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = [stored(number, f"k{number}", SETTLED.id, age=20 * 60_000) for number in (1, 2)]
    whole = Engine(RuleSet([SETTLED]))
    whole.fold(quiet)
    monkeypatch.setattr("jianguan.wiring.early._GIVE_WAY", 0.0)  # all keys do not wait for those of this one
    started = start(Store(quiet, [alert.id for alert in whole.elapse(NOW)]))
    state = await started.begin()
    pass_over, facts_to_fold = started.restorer.pass_over, started.store.facts_to_fold
    passed, may_end, asked, may_tell = (threading.Event() for _ in range(4))

    def slowly(engine: Engine, until: int) -> None:
        pass_over(engine, until)
        passed.set()
        assert may_end.wait(10)

    def late(wanted: FactsWanted) -> Iterator[FactRun]:
        if wanted.keys is not None:
            asked.set()
            assert may_tell.wait(10)
        yield from facts_to_fold(wanted)

    monkeypatch.setattr(started.restorer, "pass_over", slowly)
    monkeypatch.setattr(started.store, "facts_to_fold", late)
    front = cast(Engine, state.engine)
    assert state.early is not None
    recalling = asyncio.create_task(state.early.recall(runs_of([fresh(10, "k1", SETTLED.id)])))
    assert await asyncio.to_thread(asked.wait, 10)
    started.store.gate.set()
    assert await asyncio.to_thread(passed.wait, 10)
    assert started.exclusive.locked()
    may_tell.set()
    await asyncio.wait([recalling], timeout=0.2)
    assert not recalling.done()
    assert len(front) == 0  # a thread is at work on it
    may_end.set()
    assert await asyncio.wait_for(recalling, 10)
    await asyncio.wait_for(started.completing, 10)
    assert list(state.elapse(NOW).alerts.values()) == []  # what is stored is not raised again


async def test_windows_wait_while_others_change_them_and_then_count(start: Start) -> None:
    started = start(Store([stored(1), stored(2)]))
    state = await started.begin()
    async with started.exclusive:
        working = asyncio.create_task(started.work(fresh(10)))
        await until(lambda: started.store.asked)
        await asyncio.wait([working], timeout=0.2)
        assert not working.done()
        assert len(cast(Engine, state.engine)) == 0
    assert await asyncio.wait_for(working, 10) == [COUNTING.id]
    await started.complete()


async def test_restoring_that_is_abandoned_changes_nothing(start: Start) -> None:
    started = start(Store([stored(1), stored(2)]))
    state = await started.begin()
    engine = state.engine
    started.early.abandon()
    await started.complete()
    assert state.engine is engine
    assert not state.settling
    assert started.restoring == 1
    started.clock.advance(timedelta(seconds=1))
    state = await started.begin()
    await started.complete()
    assert state.settling
    assert await started.work(fresh(2_000)) == [COUNTING.id]


async def test_facts_of_a_partition_that_is_given_up_are_not_worked(start: Start) -> None:
    started = start(Store([stored(1), stored(2)]))
    started.book.activated = {COUNTING.id: NOW - 60_000}  # so that they have to wait
    await started.begin()
    early = started.state.early
    assert early is not None
    waiting = asyncio.create_task(early.recall(runs_of([fresh(10)])))
    while not early.waiting:  # noqa: ASYNC110 - it is our turn that it waits for
        await asyncio.sleep(0)
    started.early.begin({0})
    assert await asyncio.wait_for(waiting, 10) is False
    assert started.restoring == 0


async def test_a_partition_that_stays_keeps_its_windows_and_is_restored_with_those_that_come(start: Start) -> None:
    started = start(Store([stored(1), stored(2)]))
    state = await started.begin()
    assert await started.work(fresh(10)) == [COUNTING.id]
    started.early.begin({0, 1}, {0})
    assert started.restoring == 1
    other = await started.early.correlate(1)
    assert started.restoring == 2
    completing = asyncio.create_task(started.early.complete(started._are_there))
    await started.complete()
    await asyncio.wait_for(completing, 10)
    assert started.restoring == 0
    assert state.settling
    assert other.settling
    assert await started.work(fresh(11)) == []  # it has been raised


def recently(*facts: Fact, calls: list[list[int]], partition: int = 0) -> LatestFacts:
    """Told besides what the store has."""

    async def latest(partitions: Collection[int]) -> AsyncIterator[tuple[int, FactRun]]:
        calls.append([*partitions])
        for run in runs_of(facts) if partition in partitions else ():
            yield partition, run

    return latest


async def test_in_a_cluster_what_was_sent_lately_counts_before_and_after_all_are_there(start: Start) -> None:
    calls: list[list[int]] = []
    latest = recently(stored(2), stored(3, "k2"), stored(4, "k2"), calls=calls)
    started = start(Store([stored(1)]), latest=latest)
    await started.begin()
    assert await started.work(fresh(10)) == [COUNTING.id]
    assert calls == [[0, 1]]
    await started.complete()
    assert calls == [[0, 1], [0]]
    assert await started.work(fresh(11, "k2")) == [COUNTING.id]
    assert not started.state.settling  # until somebody has told what the clock owes


async def test_when_too_much_was_sent_lately_facts_wait_for_all(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jianguan.wiring.recent.RECENT", 2)
    latest = recently(stored(2), stored(3), stored(4, "k2"), calls=[])
    started = start(Store([stored(1)]), latest=latest)
    await started.begin()
    waiting = asyncio.create_task(started.work(fresh(10, "k2")))
    early = started.state.early
    assert early is not None
    while not early.waiting:  # noqa: ASYNC110 - it is our turn that it waits for
        await asyncio.sleep(0)
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    await started.complete()
    assert await asyncio.wait_for(waiting, 10) == []
    assert await started.work(fresh(11, "k2")) == [COUNTING.id]


async def test_what_was_sent_lately_to_a_partition_counts_though_another_had_facts_first(start: Start) -> None:
    started = start(Store([]), latest=recently(stored(1, "k2"), stored(2, "k2"), calls=[], partition=1))
    await started.begin()
    assert await started.work(fresh(10)) == []
    other = await started.early.correlate(1)
    assert other.early is not None
    runs = runs_of([fresh(11, "k2")])
    assert await asyncio.wait_for(other.early.recall(runs), 10)
    assert [alert.rule for alerts in other.work(runs).alerts.values() for alert in alerts] == [COUNTING.id]
    # One that nobody expected waits for all windows.
    stray = await started.early.correlate(7)
    assert stray.early is not None
    waiting = asyncio.create_task(stray.early.recall(runs))
    await asyncio.wait([waiting], timeout=0.2)
    assert not waiting.done()
    await started.complete()
    assert await asyncio.wait_for(waiting, 10)


async def test_whether_all_windows_are_still_wanted_is_never_asked_in_the_event_loop(start: Start) -> None:
    """Who is asked may wait until others have their windows, which come to them in the event loop."""
    asked: list[threading.Thread] = []

    async def nothing_more(_: Collection[int]) -> AsyncIterator[tuple[int, FactRun]]:
        for run in list[tuple[int, FactRun]]():
            yield run

    def wanted() -> bool:
        asked.append(threading.current_thread())
        return True

    started = start(Store([stored(1)]), latest=nothing_more)
    started.store.gate.set()
    await started.restorer.whole([0], None, wanted)
    assert len(asked) >= 2
    assert threading.current_thread() not in asked
