"""New rules begin with full windows or not at all: a store that is away changes nothing, and nobody is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from jianguan.domain.fact import Fact
from jianguan.errors import UnavailableError
from jianguan.wiring.restore import Folded, Restorer
from jianguan.wiring.rule_changes import RuleChanges
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
    monkeypatch.setattr("jianguan.wiring.rule_changes.SETTLED_MS", 1)
    monkeypatch.setattr("jianguan.wiring.rule_changes.RETRY_PAUSE", 0.001)
    store, engines = Store(), {0: Engine(RuleSet([OLD])), 1: Engine(RuleSet([OLD]))}
    made = changes(store, engines)
    await made.changed(RuleSet([OLD, NEW]))
    store.asked, store.away = [], 2
    await asyncio.wait_for(made.settled(), 10)
    assert store.asked == [[0, 1]] * 3
