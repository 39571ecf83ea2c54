"""An engine that restored the keys that facts came for, and was then put before one that restored all: what it decides
is what one decides that restored everything first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact, runs_of
from rules.decisions import Decision
from rules.engine import Engine
from rules.keys import carry
from rules.rule import Rule
from tests.rules import test_patterns_order, test_settled_order
from tests.rules.support import NOW, Running, fact
from tests.rules.test_engine_order import facts, rules
from tests.rules.test_facts import loaded

LONG = 10**9  # ms
AWAKE = 1  # so that keys sleep and wake


class Early:
    """As `jianguan.wiring.early` does it, without store and stage."""

    def __init__(self, rule: Rule, stored: Sequence[Fact]) -> None:
        self._rule = rule
        self._stored = stored
        self._there: set[str] = set()
        self._whole = False
        self.engine = Engine(Running((rule,)), awake=AWAKE)

    def add(self, some: Sequence[Fact]) -> list[tuple[int, Decision]]:
        """Facts that come together."""
        (run,) = runs_of(some)
        if not self._whole:
            lacking = set(run.keys) - self._there
            self.engine.fold([each for each in self._stored if each.key in lacking])
            self._there |= lacking
        return self.engine.add_run(run, NOW)

    def complete(self) -> None:
        """All keys are restored."""
        whole = Engine(Running((self._rule,)), awake=AWAKE)
        whole.fold(self._stored)
        whole.take_keys(self.engine)
        self.engine, self._whole = whole, True


def held(rule: Rule, stored: list[Fact], coming: list[Fact], data: st.DataObject) -> None:
    """Facts that come by and by, and all keys restored at some time, against all of it at first."""
    early, eager = Early(rule, data.draw(st.permutations(stored))), Engine(Running((rule,)), awake=AWAKE)
    eager.fold(stored)
    parts = [coming[start : start + 3] for start in range(0, len(coming), 3)]
    complete = data.draw(st.integers(0, len(parts)), label="restored before part")
    now = max([NOW, *(each.received_at for each in (*stored, *coming))])

    def settle() -> None:
        assert found(early.engine, now) == found(eager, now)

    for number, part in enumerate(parts):
        if number == complete:
            early.complete()
            settle()
        (run,) = runs_of(part)
        assert early.add(part) == eager.add_run(run, NOW)
        if number >= complete and data.draw(st.booleans(), label="tick"):
            settle()
    if complete == len(parts):
        early.complete()
    one, other = early.engine.stats()[rule.id], eager.stats()[rule.id]
    assert (one.keys, one.facts, one.newest) == (other.keys, other.facts, other.newest)
    assert early.engine.due() == eager.due()
    now += LONG
    settle()
    assert early.engine.due() is None


def found(engine: Engine, now: int) -> list[Alert]:
    """What the clock settles, in one order: that of keys that are due at the same time is nobody's concern."""
    return sorted(engine.elapse(now), key=lambda alert: (alert.time, alert.id))


def divided(some: Sequence[Fact], data: st.DataObject) -> tuple[list[Fact], list[Fact]]:
    """Stored ones, and those that come then: mostly others, some again."""
    stored = [each for each in some if data.draw(st.booleans(), label="stored")]
    again = [each for each in stored if data.draw(st.sampled_from([True, False, False]), label="again")]
    return stored, data.draw(st.permutations([each for each in some if each not in stored] + again))


@given(rules(), facts, st.data())
@settings(max_examples=150, deadline=None)
def test_rules_that_count_decide_the_same(a_rule: Rule, some: list[Fact], data: st.DataObject) -> None:
    held(a_rule, *divided(some, data), data)


@given(test_settled_order.cases(), test_settled_order.rows, st.data())
@settings(max_examples=150, deadline=None)
def test_rules_over_whole_facts_decide_the_same(setting: Any, some: Any, data: st.DataObject) -> None:
    held(setting.rule, *divided(test_settled_order.facts_of(setting.rule, some), data), data)


@given(test_patterns_order.cases(), test_patterns_order.rows, st.data())
@settings(max_examples=150, deadline=None)
def test_patterns_match_the_same(setting: Any, some: Any, data: st.DataObject) -> None:
    held(setting.rule, *divided(test_patterns_order.facts_of(setting, some), data), data)


QUIET = loaded(  # one fact in ten minutes
    condition="true",
    trigger={"not": {"count": {"at_least": 2}}},
    window={"size": "10m", "lateness": "1m", "kind": "tumbling"},
    episode="24h",
)
HALF_AN_HOUR = 1_800_000


def quiet(*minutes: int) -> list[Fact]:
    times = [NOW + minute * 60_000 for minute in minutes]
    return [fact(time, time, received_at=time, carried=carry(0, [])) for time in times]


def test_what_the_clock_settled_before_a_rule_began_is_told_to_nobody_and_keeps_nothing_quiet() -> None:
    engine = Engine(Running((QUIET,)))
    engine.fold(quiet(0, 40))
    engine.warm([QUIET.id], NOW + HALF_AN_HOUR)
    (alert,) = engine.elapse(NOW + 4 * HALF_AN_HOUR)  # of the same episode as the one that was passed over
    assert alert.time == NOW + 40 * 60_000


def test_what_was_told_before_a_rule_is_passed_over_is_not_told_again() -> None:
    engine = Engine(Running((QUIET,)))
    engine.fold(quiet(0))
    assert len(engine.elapse(NOW + HALF_AN_HOUR)) == 1
    engine.fold(quiet(40))
    engine.warm([QUIET.id], NOW + HALF_AN_HOUR)
    assert engine.elapse(NOW + 4 * HALF_AN_HOUR) == ()
