"""New rules begin with full windows or not at all: a store that is away changes nothing, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jianguan.domain.fact import Fact
from jianguan.errors import UnavailableError
from jianguan.wiring.restore import Folded, Restorer, RuleChanges
from rules.engine import Engine
from rules.rule import Rule
from rules.ruleset import RuleSet
from streams.correlate import Correlate
from streams.owned import Owned
from streams.topology import Pipeline
from tests.rules.support import NOW, fact, rule

OLD, NEW = rule(), rule(id="new", trigger={"count": {"at_least": 2}})


class Store:
    """What the rule `new` has in the store: one fact. It is away so many times."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.asked: list[list[int]] = []  # partitions, by question

    def filled(self, partitions: Collection[int], rules: Sequence[Rule]) -> dict[int, Engine]:
        engines = {partition: Engine(RuleSet(rules)) for partition in partitions}
        self.fold(engines, rules)
        return engines

    def fold(self, engines: Mapping[int, Engine], rules: Sequence[Rule]) -> dict[int, Folded]:
        self.asked.append([*engines])
        if self.away:
            self.away -= 1
            raise UnavailableError("no store")
        for engine in engines.values():
            engine.fold([stored()])
        return dict.fromkeys(engines, Folded(1, NOW))


def stored() -> Fact:
    return fact(1, NOW, of="new")


def changes(store: Store, engines: dict[int, Engine]) -> RuleChanges:
    owned = [(partition, SimpleNamespace(engine=engine)) for partition, engine in engines.items()]
    pipeline = SimpleNamespace(exclusive=asyncio.Lock())
    return RuleChanges(
        cast(Pipeline, pipeline), cast(Owned[Correlate], owned), cast(Restorer, store)
    )  # fmt: skip


async def test_a_new_rule_begins_with_what_the_store_has_and_an_old_one_keeps_what_it_has() -> None:
    engine = Engine(RuleSet([OLD]))
    engine.add(fact(1, NOW), NOW)
    engine.add(fact(2, NOW), NOW)
    await changes(Store(), {0: engine}).changed(RuleSet([OLD, NEW]))
    assert len(engine.add(fact(2, NOW, of="new"), NOW).alerts) == 1
    assert len(engine.add(fact(3, NOW), NOW).alerts) == 1


async def test_all_partitions_are_filled_in_one_pass_over_the_store() -> None:
    store, engines = Store(), {number: Engine(RuleSet([OLD])) for number in range(3)}
    await changes(store, engines).changed(RuleSet([OLD, NEW]))
    assert store.asked == [[0, 1, 2]]
    for engine in engines.values():
        assert len(engine.add(fact(2, NOW, of="new"), NOW).alerts) == 1


async def test_one_that_is_ahead_of_the_others_gets_only_what_it_lacks() -> None:
    store, engines = Store(), {0: Engine(RuleSet([OLD])), 1: Engine(RuleSet([OLD, NEW])), 2: Engine(RuleSet([NEW]))}
    await changes(store, engines).changed(RuleSet([OLD, NEW]))
    assert store.asked == [[0], [2]]
    assert [engine.fresh(RuleSet([OLD, NEW])) for engine in engines.values()] == [()] * 3


async def test_a_store_that_is_away_leaves_every_window_as_it_was() -> None:
    engines = {0: Engine(RuleSet([OLD])), 1: Engine(RuleSet([OLD]))}
    with pytest.raises(UnavailableError):
        await changes(Store(away=1), engines).changed(RuleSet([OLD, NEW]))
    for engine in engines.values():
        assert engine.fresh(RuleSet([OLD, NEW])) == (NEW,)
        assert engine.fresh(RuleSet([OLD])) == ()


async def test_what_came_while_rules_were_swapped_is_folded_when_the_store_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jianguan.wiring.restore.SETTLED_MS", 1)
    monkeypatch.setattr("jianguan.wiring.restore.RETRY_PAUSE", 0.001)
    store, engines = Store(), {0: Engine(RuleSet([OLD])), 1: Engine(RuleSet([OLD]))}
    made = changes(store, engines)
    await made.changed(RuleSet([OLD, NEW]))
    store.asked, store.away = [], 2
    await asyncio.wait_for(made.settled(), 10)
    assert store.asked == [[0, 1]] * 3


class Shared:
    """An archive without facts that notes how often they were asked for, and is away so many times."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.reads = 0

    async def current(self) -> Any:
        return self

    def facts_to_fold(self, *_: object, **__: object) -> Any:
        self.reads += 1
        if self.away:
            self.away -= 1
            raise UnavailableError("no store")
        return iter(())


def restorer(archive: Shared) -> Restorer:
    rulebook = SimpleNamespace(ruleset=RuleSet([OLD]), activated_at=lambda _: None, follow=lambda alert: ())
    clock = SimpleNamespace(monotonic=lambda: 0.0, now=None)
    return Restorer(
        cast(Any, None), cast(Any, rulebook), cast(Any, None), cast(Any, clock), 4, warm=False, current=archive.current
    )


async def test_windows_that_are_expected_are_restored_in_one_pass() -> None:
    archive = Shared()
    made = restorer(archive)
    made.expect({0, 1, 3})
    states = [await made.correlate(partition) for partition in (0, 1, 3)]
    assert archive.reads == 1
    assert len({id(state.engine) for state in states}) == 3
    await made.correlate(2)
    assert archive.reads == 2


async def test_a_store_that_is_away_is_asked_again_by_whoever_owns_the_partition() -> None:
    archive = Shared(away=1)
    made = restorer(archive)
    made.expect({0})
    with pytest.raises(UnavailableError):
        await made.correlate(0)
    assert cast(Engine, (await made.correlate(0)).engine).fresh(RuleSet([OLD])) == ()
    assert archive.reads == 2


async def test_a_partition_that_is_taken_over_while_rules_change_has_the_new_ones_too() -> None:
    rulebook = SimpleNamespace(ruleset=RuleSet([OLD]), activated_at=lambda _: None, follow=lambda alert: ())
    clock = SimpleNamespace(monotonic=lambda: 0.0, now=None)
    reads = 0

    async def current() -> Any:
        nonlocal reads
        reads += 1
        return SimpleNamespace(facts_to_fold=facts_to_fold)

    def facts_to_fold(*_: object, **__: object) -> Any:
        rulebook.ruleset = RuleSet([OLD, NEW])  # somebody changes the rules while this partition is read
        return iter(())

    made = Restorer(
        cast(Any, None), cast(Any, rulebook), cast(Any, None), cast(Any, clock), 1, warm=False, current=current
    )
    state = await made.correlate(0)
    assert reads == 2
    assert cast(Engine, state.engine).fresh(RuleSet([OLD, NEW])) == ()
