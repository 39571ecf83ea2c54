"""The set of alerts depends on the set of facts and on nothing else: held against a naive reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jianguan.domain.fact import Fact, runs_of
from jianguan.domain.ids import alert_id
from rules import windows
from rules.decisions import NOTHING
from rules.engine import Engine
from rules.keys import carry
from rules.rule import Rule
from tests.rules.support import NOW, Running, fact, ids, rule

MINUTE = 60_000
FIXTURE = [HealthCheck.function_scoped_fixture]  # it sets the same for all examples of a test
MEMBERS = [None, "a", "b", "c"]


def naive(a_rule: Rule, facts: list[Fact]) -> set[str]:
    """Ids of the alerts of a set of facts, by the definition and nothing else."""
    found: set[str] = set()
    unique = {each.id: each for each in facts}.values()
    for at in unique:
        start = at.time - a_rule.size + 1 if a_rule.periods is None else a_rule.periods.start(at.time)
        inside = [other for other in unique if other.key == at.key and start <= other.time <= at.time]
        members = {other.member for other in inside if other.member is not None}
        total = sum(max(0, other.number or 0) for other in inside)
        distinct = len(members) >= a_rule.distinct if a_rule.distinct_of else True
        summed = total >= a_rule.sum if a_rule.sum_of else True
        if len(inside) >= a_rule.count and distinct and summed:
            found.add(alert_id(a_rule.id, at.key, a_rule.episodes.start(at.time)))
    return found


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    trigger: dict[str, Any] = {}
    if draw(st.booleans()):
        trigger["count"] = {"at_least": draw(st.integers(1, 4))}
    if draw(st.booleans()):
        trigger["distinct"] = {"of": "reporter", "at_least": draw(st.integers(1, 3))}
    if draw(st.booleans()) or not trigger:
        trigger["sum"] = {"of": "amount_fen", "at_least": draw(st.integers(1, 20))}
    size = draw(st.sampled_from(["1m", "3m", "10m"]))
    window = {
        "size": size,
        "kind": draw(st.sampled_from(["sliding", "tumbling"])),
        # Facts lie within 40 minutes, so that none is late: lateness has tests of its own.
        "lateness": "40m",
    }
    episode = draw(st.sampled_from([None, "1m", "4m", "1h"]))
    return rule(trigger=trigger, window=window, episode=episode)


# Few different times, so that windows begin and end exactly at facts, and many facts stand at the same moment.
times = st.integers(0, 80).map(lambda half: NOW + half * (MINUTE // 2))
facts = st.lists(
    st.tuples(times, st.sampled_from(MEMBERS), st.integers(-3, 8), st.sampled_from(["k1", "k1", "k2"])), max_size=25
).map(
    lambda rows: [
        fact(number, time, member=member, amount=float(amount), key=key)
        for number, (time, member, amount, key) in enumerate(rows)
    ]
)


def emitted(engine: Engine, some: list[Fact]) -> set[str]:
    return ids([alert for each in some for alert in engine.add(each, NOW).alerts])


@pytest.fixture(params=[1, 64], ids=["figures kept from the first fact", "figures kept in large windows"], autouse=True)
def kept(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways of evaluating: from scratch, and on with the figures of the fact before."""
    before = windows.KEPT_FROM
    windows.KEPT_FROM = request.param  # type: ignore[misc]
    yield
    windows.KEPT_FROM = before  # type: ignore[misc]


@given(rules(), facts, st.randoms(use_true_random=False), st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURE)
def test_alerts_are_the_same_in_any_order_and_with_any_duplicates(
    a_rule: Rule, some: list[Fact], random: Any, data: st.DataObject
) -> None:
    arriving = some + data.draw(st.lists(st.sampled_from(some), max_size=10) if some else st.just([]))
    random.shuffle(arriving)
    assert emitted(Engine(Running((a_rule,))), arriving) == naive(a_rule, some)


@given(rules(), facts, st.randoms(use_true_random=False), st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURE)
def test_facts_that_come_together_are_judged_as_one_by_one(
    a_rule: Rule, some: list[Fact], random: Any, data: st.DataObject
) -> None:
    # With less lateness and few facts a key: also what is late or too much is the same.
    a_rule = dataclasses.replace(
        a_rule,
        lateness=data.draw(st.sampled_from([0, MINUTE, a_rule.lateness])),
        retention=data.draw(st.sampled_from([2 * a_rule.size, a_rule.retention])),
        facts_per_key=data.draw(st.sampled_from([3, 100])),
    )
    arriving = some + data.draw(st.lists(st.sampled_from(some), max_size=10) if some else st.just([]))
    random.shuffle(arriving)
    single, together = Engine(Running((a_rule,))), Engine(Running((a_rule,)))
    while arriving:
        size = data.draw(st.integers(1, 6))
        part, arriving = arriving[:size], arriving[size:]
        expected = [single.add(each, NOW) for each in part]
        (run,) = runs_of(part)
        assert together.add_run(run, NOW) == [
            (place, decision) for place, decision in enumerate(expected) if decision != NOTHING
        ]
        assert together.stats() == single.stats()


@given(rules(), facts, st.randoms(use_true_random=False), st.data())
@settings(max_examples=100, deadline=None, suppress_health_check=FIXTURE)
def test_alerts_are_the_same_whenever_the_engine_is_killed_and_folded_again(
    a_rule: Rule, some: list[Fact], random: Any, data: st.DataObject
) -> None:
    random.shuffle(some)
    seen: set[str] = set()
    committed = 0
    for _ in range(data.draw(st.integers(1, 4))):
        # The store may know more than what was committed, and in another order.
        stored = some[: data.draw(st.integers(committed, len(some)))]
        random.shuffle(stored)
        engine = Engine(Running((a_rule,)))
        engine.fold([*stored, *stored[: len(stored) // 2]])  # the store may tell a fact twice
        reached = data.draw(st.integers(committed, len(some)))
        seen |= emitted(engine, some[committed:reached])
        committed = data.draw(st.integers(committed, reached))
    last = Engine(Running((a_rule,)))
    last.fold(some[:committed])
    seen |= emitted(last, some[committed:])
    assert seen == naive(a_rule, some)


@given(rules(), facts, st.data())
@settings(max_examples=200, deadline=None, suppress_health_check=FIXTURE)
def test_facts_that_come_key_by_key_and_in_order_leave_what_they_leave_one_by_one(
    a_rule: Rule, some: list[Fact], data: st.DataObject
) -> None:
    """As the store tells them at a restart: a block may end within a key, and some may be there already. Facts of a key
    that come together, but in no order or twice, are folded as well."""
    early = [each._replace(time=each.time - a_rule.retention * data.draw(st.integers(0, 1))) for each in some]
    before = data.draw(st.lists(st.sampled_from(early), max_size=3)) if some else []
    ordered = sorted(early, key=lambda each: (each.key, each.time, each.event))
    if data.draw(st.booleans()):
        ordered = data.draw(st.permutations([*ordered, *ordered[:2]]))
        ordered.sort(key=lambda each: (each.key, each.time))
    single, together = Engine(Running((a_rule,))), Engine(Running((a_rule,)))
    for engine in (single, together):
        engine.fold(before)
    for each in ordered:
        single.fold([each])
    cut = data.draw(st.integers(0, len(ordered)))
    for part in (ordered[:cut], ordered[cut:]):
        for run in runs_of(part):
            together.fold_run(run)
    assert _left(together, a_rule) == _left(single, a_rule)
    assert together.stats() == single.stats()


def _left(engine: Engine, a_rule: Rule) -> dict[str, Any]:
    """The windows, with the episodes that still matter."""
    reach = a_rule.size + a_rule.lateness + a_rule.episodes.size
    return {
        key: (
            window.times, window.ids, window.members, window.numbers,
            {each for each in window.alerted if each >= window.times[-1] - reach},
        )
        for key, window in engine._states[a_rule.id].windows.items()
    }  # fmt: skip


def test_a_fact_that_the_store_tells_twice_is_folded_once() -> None:
    counting = rule(trigger={"count": {"at_least": 3}})
    engine = Engine(Running((counting,)))
    first, second, third = (fact(number, NOW + number) for number in range(3))
    engine.fold([second, first, second, first, second])
    assert engine.stats()[counting.id].facts == 2
    assert emitted(engine, [second]) == set()
    assert emitted(engine, [third]) == {alert_id(counting.id, third.key, counting.episodes.start(third.time))}


def test_a_late_fact_raises_the_alert_of_the_next_episode_though_its_own_has_one() -> None:
    counting = rule(trigger={"count": {"at_least": 3}}, window={"size": "1h", "lateness": "1h"}, episode="1h")
    hour = counting.episodes.start(NOW)
    engine = Engine(Running((counting,)))
    first = [fact(number, hour + at * MINUTE) for number, at in enumerate((10, 20, 30, 85))]
    assert emitted(engine, first) == {alert_id(counting.id, first[0].key, hour)}
    late = fact(9, hour + 40 * MINUTE)
    assert emitted(engine, [late]) == {alert_id(counting.id, late.key, hour + 60 * MINUTE)}


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(("early", "expected"), [(0, 1), (1, 0)])
def test_the_oldest_fact_that_the_window_of_a_late_one_can_reach_is_kept(
    folded: bool, early: int, expected: int
) -> None:
    counting = rule(trigger={"count": {"at_least": 2}}, window={"size": "1h", "lateness": "1h"})
    newest, oldest = fact(1, NOW), fact(2, NOW - counting.retention + 1 - early)
    gone = fact(4, NOW - counting.retention - 5)  # something has to go, or nothing is looked at
    engine = Engine(Running((counting,)))
    if folded:
        engine.fold([newest])
        engine.fold([oldest])
    else:
        emitted(engine, [gone, oldest, newest])
        assert engine.stats()[counting.id].facts == 1 + expected
    late = fact(3, NOW - counting.size - counting.lateness)
    assert len(emitted(engine, [late])) == expected


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize(("apart", "left"), [(0, 2), (1, 1)])
def test_a_key_is_forgotten_when_all_its_facts_are_older_than_facts_are_kept(
    settled: bool, apart: int, left: int
) -> None:
    changes: dict[str, Any] = {"trigger": {"avg": {"of": "amount_fen", "at_least": 9}}} if settled else {}
    a_rule = rule(window={"size": "1h", "lateness": "1m"}, **changes)
    carried = carry(0, [1]) if settled else None
    engine = Engine(Running((a_rule,)))
    for number, (key, time) in enumerate((("k1", NOW), ("k2", NOW + a_rule.retention + apart))):
        engine.add(fact(number, time, key=key, received_at=time, carried=carried), time)
    engine.elapse(NOW + 2 * a_rule.retention)
    for _ in range(6):
        engine.forget()
    assert engine.stats()[a_rule.id].keys == left


@given(rules(), facts)
@settings(max_examples=80, deadline=None, suppress_health_check=FIXTURE)
def test_more_facts_never_take_an_alert_away(a_rule: Rule, some: list[Fact]) -> None:
    fewer = emitted(Engine(Running((a_rule,))), some[: len(some) // 2])
    assert fewer <= emitted(Engine(Running((a_rule,))), some)


@given(rules(), facts, st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=FIXTURE)
def test_partitions_do_not_matter(a_rule: Rule, some: list[Fact], data: st.DataObject) -> None:
    keys = sorted({each.key for each in some})
    apart: set[str] = set()
    for key in keys:
        apart |= emitted(Engine(Running((a_rule,))), [each for each in some if each.key == key])
    assert apart == emitted(Engine(Running((a_rule,))), some)


@given(rules(), facts)
@settings(max_examples=80, deadline=None, suppress_health_check=FIXTURE)
def test_an_alert_tells_the_window_that_it_was_raised_for(a_rule: Rule, some: list[Fact]) -> None:
    engine = Engine(Running((a_rule,)))
    given_so_far: list[Fact] = []
    for each in some:
        given_so_far.append(each)
        for alert in engine.add(each, NOW).alerts:
            inside = sorted(
                (other for other in given_so_far if other.key == alert.key),
                key=lambda other: (other.time, other.event),
            )
            inside = [other for other in inside if alert.window_start < other.time <= alert.time]
            assert alert.events == tuple(other.event for other in inside)
            assert alert.event_count == len(inside)
            assert all(alert.values[name] >= alert.thresholds[name] for name in alert.thresholds)
            assert alert.values.keys() == alert.thresholds.keys()


@given(rules(), facts, st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=FIXTURE)
def test_kept_figures_are_those_counted_anew_also_when_facts_go(a_rule: Rule, some: list[Fact], random: Any) -> None:
    """With dropping of old facts and a small limit: what is kept equals what is counted."""
    small = dataclasses.replace(a_rule, facts_per_key=10, lateness=MINUTE, retention=2 * a_rule.size + MINUTE)
    random.shuffle(some)
    first, second = Engine(Running((small,))), Engine(Running((small,)))
    for each in some:
        windows.KEPT_FROM = 1  # type: ignore[misc]
        one = first.add(each, NOW)
        windows.KEPT_FROM = 10_000  # type: ignore[misc]
        assert one == second.add(each, NOW)


def test_kept_figures_forget_a_fact_that_goes_though_it_is_in_the_window() -> None:
    summing = rule(trigger={"sum": {"of": "amount_fen", "at_least": 20}}, window={"size": "10m"})
    small = dataclasses.replace(summing, facts_per_key=2)
    engine = Engine(Running((small,)))
    assert emitted(engine, [fact(number, NOW + number, amount=8.0) for number in range(4)]) == set()
    assert engine.stats()[small.id].limited == 2
