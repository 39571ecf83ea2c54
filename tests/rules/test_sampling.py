"""What each rule takes is measured: its windows run by run, its condition aside, on some of the events that come."""

from __future__ import annotations

from collections.abc import Callable

from jianguan.domain.event import EventRun
from rules.engine import Engine
from rules.facts import Matcher
from rules.rule import Rule
from rules.ruleset import RuleSet
from rules.sampling import ConditionTimes
from tests.rules.support import NOW, event, reference
from tests.rules.test_facts import loaded


def ticking(step: float) -> Callable[[], float]:
    """A timer that goes on by `step` seconds each time that it is asked."""
    now = [0.0]

    def timer() -> float:
        now[0] += step
        return now[0]

    return timer


def three(**changes: object) -> list[Rule]:
    return [loaded(id=name, condition="severity > 2", **changes) for name in ("a", "b", "c")]


def some(count: int = 6) -> EventRun:
    return EventRun.of(
        [event(number, enterprise="x:1", severity=3, occurred_at=NOW + number) for number in range(count)]
    )


def test_the_windows_of_a_rule_that_counts_are_timed_run_by_run() -> None:
    ruleset = RuleSet(three(limits={"micros_per_fact": 500}))
    engine = Engine(ruleset, ticking(0.001))
    matcher = Matcher(ruleset, reference())
    for turn in range(20):
        for found in matcher.facts_of(some())[:2]:
            engine.add_run(found.facts, NOW + turn)
    first, second = engine.costs()
    assert (first.rule, first.facts, round(first.seconds, 6), first.budget) == ("a", 120, 0.02, 500)
    assert (second.rule, second.is_over) == ("b", False)
    assert engine.costs() == []
    assert round(engine.stats()["a"].seconds, 6) == 0.02
    assert engine.stats()["c"].seconds == 0


def test_each_condition_is_timed_alone_on_the_newest_events() -> None:
    matcher = Matcher(RuleSet(three(limits={"micros_per_fact": 200})), reference())
    times = ConditionTimes(lambda: matcher, ticking(0.001))
    assert times.measure(1.0) == 0, "nothing has come"
    for _ in range(24):
        matcher.facts_of(some())
        assert times.measure(1.0) == 3
        assert times.measure(1.0) == 0, "the same events are not asked about again"
    assert times.costs() == [], "too few say nothing"
    matcher.facts_of(some())
    times.measure(1.0)
    costs = times.costs()
    # One tick for each condition that is timed, of four events each.
    assert [(each.rule, each.facts, round(each.seconds, 6)) for each in costs] == [(n, 100, 0.025) for n in "abc"]
    assert all(each.is_over for each in costs)
    assert times.costs() == []


def test_measuring_ends_in_time_and_goes_on_with_the_next_condition() -> None:
    matcher = Matcher(RuleSet(three()), reference())
    times = ConditionTimes(lambda: matcher, ticking(0.001))
    matcher.facts_of(some())
    # A look at the time before each condition, and two to time it: the third condition finds no time left.
    asked = [times.measure(0.005) for _ in range(150)]
    assert set(asked) == {2}
    assert [each.facts for each in times.costs()] == [400, 400, 400]


def test_rules_that_come_anew_are_measured_anew() -> None:
    matchers = [Matcher(RuleSet(three()), reference()), Matcher(RuleSet(three()[:1]), reference())]
    times = ConditionTimes(lambda: matchers[0], ticking(0.001))
    for _ in range(25):
        matchers[0].facts_of(some())
        times.measure(1.0)
    del matchers[0]
    matchers[0].facts_of(some())
    assert times.measure(1.0) == 1
    assert times.costs() == []
