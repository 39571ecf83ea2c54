"""New rules begin with full windows or not at all: a store that is away changes nothing, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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
        self.asked: list[int] = []

    def filled(self, partition: int, rules: Sequence[Rule]) -> Engine:
        engine = Engine(RuleSet(rules))
        self.fold(engine, partition, rules)
        return engine

    def fold(self, engine: Engine, partition: int, rules: Sequence[Rule]) -> Folded:
        self.asked.append(partition)
        if self.away:
            self.away -= 1
            raise UnavailableError("no store")
        engine.fold([stored()])
        return Folded(1, NOW)


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


async def test_a_store_that_is_away_leaves_every_window_as_it_was() -> None:
    engines = {0: Engine(RuleSet([OLD])), 1: Engine(RuleSet([OLD]))}
    store = Store()
    made = changes(store, engines)
    store.filled = _second_fails(store.filled)  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        await made.changed(RuleSet([OLD, NEW]))
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
    assert store.asked == [0, 0, 0, 1]


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


def _second_fails(filled: Any) -> Any:
    calls = 0

    def fill(partition: int, rules: Sequence[Rule]) -> Engine:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise UnavailableError("no store")
        made: Engine = filled(partition, rules)
        return made

    return fill
