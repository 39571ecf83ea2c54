"""Rules over whole facts, at once and settled by the clock, held against naive references in any order of arrival."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.fact import Fact, runs_of
from jianguan.domain.ids import alert_id, make_id
from rules.cel.functions import distance_m
from rules.decisions import NOTHING
from rules.keys import FIRST_BIT, HISTORICAL, KeyState, carry
from rules.rule import Rule
from tests.rules.support import NOW, fact, ids, small_engine
from tests.rules.test_facts import loaded

MINUTE = 60_000
LATENESS = 10 * MINUTE


class Row(NamedTuple):
    """What a test says of an event."""

    time: int
    delay: int  # until it was received
    amount: int | None
    member: str | None
    hit: bool
    key: str
    east: int  # steps of about 100 m


rows = st.lists(
    st.builds(
        Row,
        time=st.integers(0, 80).map(lambda half: NOW + half * (MINUTE // 2)),
        delay=st.sampled_from([0, 1, MINUTE, LATENESS, LATENESS + 1, 2 * LATENESS]),
        amount=st.sampled_from([None, 0, 1, 2, 3, 5, 8]),
        member=st.sampled_from(["a", "b", "c", None]),
        hit=st.booleans(),
        key=st.sampled_from(["k1", "k1", "k2"]),
        east=st.integers(0, 6),
    ),
    max_size=20,
)


def facts_of(a_rule: Rule, some: Sequence[Row]) -> list[Fact]:
    judging = a_rule.judging
    assert judging is not None
    made = []
    for number, row in enumerate(some):
        values: dict[str, Any] = {
            "amount_fen": row.amount, "reporter": row.member, "latitude": 0.0, "longitude": row.east * 0.0009,
        }  # fmt: skip
        carried = carry(row.hit * FIRST_BIT, [values[name] for name in judging.carried])
        made.append(fact(number, row.time, key=row.key, received_at=row.time + row.delay, carried=carried))
    return made


class Trigger(NamedTuple):
    """What a rule file says, and what it means over the rows of a window."""

    text: dict[str, Any]
    holds: Callable[[list[Row], Row, list[Row]], bool]  # window, the row that it ends with, all that count of the key
    growing: bool = False


def numbers(inside: list[Row]) -> list[int]:
    return sorted(row.amount for row in inside if row.amount is not None)


def usual(inside: list[Row], at: Row, known: list[Row], size: int, least: int) -> bool:
    before = [
        sum(at.time - (turn + 1) * size < row.time <= at.time - turn * size for row in known) for turn in range(1, 4)
    ]
    while before and not before[-1]:
        before.pop()
    return sum(before) >= least and len(inside) >= 2 * max(1, statistics.median(before))


SIZE = 5 * MINUTE
COUNT = Trigger({"count": {"at_least": 3}}, lambda inside, at, known: len(inside) >= 3, True)
LARGE = Trigger(
    {"max": {"of": "amount_fen", "at_least": 5}}, lambda inside, at, known: max(numbers(inside), default=0) >= 5, True
)
TWO = Trigger(
    {"distinct": {"of": "reporter", "at_least": 2}},
    lambda inside, at, known: len({row.member for row in inside} - {None}) >= 2,
    True,
)
CLAUSES = [
    COUNT,
    LARGE,
    TWO,
    Trigger(
        {"sum": {"of": "amount_fen", "at_least": 6}, "any": [COUNT.text, TWO.text]},
        lambda inside, at, known: (
            sum(numbers(inside)) >= 6 and (COUNT.holds(inside, at, known) or TWO.holds(inside, at, known))
        ),
        True,
    ),
    Trigger(
        {"avg": {"of": "amount_fen", "at_least": 2, "at_most": 4}},
        lambda inside, at, known: bool(numbers(inside)) and 2 <= statistics.fmean(numbers(inside)) <= 4,
    ),
    Trigger(
        {"min": {"of": "amount_fen", "at_least": 2}, "count": {"at_least": 2}},
        lambda inside, at, known: len(inside) >= 2 and bool(numbers(inside)) and numbers(inside)[0] >= 2,
    ),
    Trigger(
        {"median": {"of": "amount_fen", "at_least": 3}},
        lambda inside, at, known: bool(numbers(inside)) and statistics.median(numbers(inside)) >= 3,
    ),
    Trigger(
        {"percentile": {"of": "amount_fen", "p": 75, "at_most": 2}},
        lambda inside, at, known: (
            bool(found := numbers(inside)) and found[-(-3 * len(found) // 4) - 1] <= 2
        ),
    ),
    Trigger(
        {"ratio": {"of": "outcome == 'refused'", "at_least": 0.6}},
        lambda inside, at, known: Fraction(sum(row.hit for row in inside), len(inside)) >= Fraction(6, 10),
    ),
    Trigger(
        {"rate": {"periods": 3, "sample": 2, "at_least": 2}},
        lambda inside, at, known: usual(inside, at, known, SIZE, 2),
    ),
    Trigger({"not": {"count": {"at_least": 2}}}, lambda inside, at, known: len(inside) < 2),
    Trigger(
        {"all": [LARGE.text, {"not": TWO.text}]},
        lambda inside, at, known: LARGE.holds(inside, at, known) and not TWO.holds(inside, at, known),
    ),
]  # fmt: skip


class Setting(NamedTuple):
    rule: Rule
    trigger: Trigger
    kind: str
    metres: int | None
    cooldown: int
    escalated: bool


@cache
def rule_of(changes: str) -> Rule:
    return loaded(condition="true", **json.loads(changes))


@st.composite
def cases(draw: st.DrawFn, clauses: Sequence[Trigger] = CLAUSES) -> Setting:
    trigger = draw(st.sampled_from(clauses))
    fixed = "rate" in trigger.text
    kind = draw(st.sampled_from(["sliding", "tumbling"] if fixed else ["sliding", "tumbling", "session"]))
    window: dict[str, Any] = {"size": "5m", "kind": kind, "lateness": "10m"}
    metres = None if fixed else draw(st.sampled_from([None, 150]))
    if kind == "session":
        window["gap"] = "2m"
    if metres:
        window["within_m"] = metres
    if trigger.growing:
        window["lateness"] = "2h"  # lateness of rules that decide at once has tests of its own
        if kind != "session" and not metres:
            trigger = Trigger({**trigger.text, "all": [COUNT.text]}, _and(trigger, COUNT), True)
    cooldown = draw(st.sampled_from([None, None, "3m"]))
    if cooldown:
        trigger = trigger._replace(growing=False)
        window["lateness"] = "10m"
    escalated = draw(st.booleans())
    file = {
        "trigger": trigger.text,
        "window": window,
        "episode": draw(st.sampled_from([None, "1m", "7m"])),
        "cooldown": cooldown,
        "escalate": [{"trigger": {"count": {"at_least": 4}}, "severity": "critical"}] if escalated else None,
    }
    made = rule_of(json.dumps(file))
    assert made.judging is not None
    assert made.judging.settled is not trigger.growing
    return Setting(made, trigger, kind, metres, 3 * MINUTE if cooldown else 0, escalated)


def _and(one: Trigger, other: Trigger) -> Callable[[list[Row], Row, list[Row]], bool]:
    return lambda inside, at, known: one.holds(inside, at, known) and other.holds(inside, at, known)


def naive(setting: Setting, some: Sequence[Row]) -> set[str]:
    """Ids of the alerts, by the definitions in docs/rules.md and nothing else."""
    rule, growing = setting.rule, setting.trigger.growing
    found: set[str] = set()
    for key in {row.key for row in some}:
        known = [row for row in some if row.key == key and (growing or row.delay <= LATENESS)]
        known.sort(key=lambda row: row.time)
        held: set[int] = set()
        for at in known:
            if setting.kind == "tumbling":
                start = rule.episodes.__class__.of(SIZE).start(at.time)
                inside = [row for row in known if start <= row.time <= at.time]
                over = all(row.time <= at.time or row.time >= start + SIZE for row in known)
            else:
                inside = [row for row in known if at.time - SIZE < row.time <= at.time]
                over = True
            if setting.kind == "session":
                while any(later.time - sooner.time >= 2 * MINUTE for sooner, later in pairwise(inside)):
                    inside = inside[1:]
                over = not any(at.time < row.time < at.time + 2 * MINUTE for row in known)
            if setting.metres:
                inside = [row for row in inside if far(row, at) <= setting.metres]
            # Of a period the past are the periods before it, not the time before the fact.
            at_end = at._replace(time=start + SIZE - 1) if setting.kind == "tumbling" else at
            if not (growing or over) or not setting.trigger.holds(inside, at_end, known):
                continue
            moment = {"sliding": at.time, "session": at.time + 2 * MINUTE - 1}.get(setting.kind)
            if moment is None:
                moment = rule.episodes.__class__.of(SIZE).start(at.time) + SIZE - 1
            held.add(moment)
            episode = rule.episodes.start(at.time)
            if not any(moment - setting.cooldown < each < moment for each in held):
                found.add(alert_id(rule.id, key, episode))
            if setting.escalated and len(inside) >= 4:
                found.add(make_id("al", rule.id, key, str(episode), "critical"))
    return found


def far(one: Row, other: Row) -> float:
    return distance_m(0.0, one.east * 0.0009, 0.0, other.east * 0.0009)


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: "-".join(clause.text))
@given(some=rows, data=st.data())
@settings(max_examples=60, deadline=None)
def test_alerts_are_those_of_the_definition_in_any_order_of_arrival(
    clause: Trigger, some: list[Row], data: st.DataObject
) -> None:
    """Facts arrive when they are received, those received together in any order, some twice; the clock is looked at
    now and then; the engine is killed and folded again with what is stored, which is more than was committed."""
    setting = data.draw(cases([clause]))
    made = facts_of(setting.rule, some)
    arriving = (
        data.draw(st.permutations(made))
        if setting.trigger.growing
        else sorted(data.draw(st.permutations(made)), key=lambda each: each.received_at)
    )
    engine = small_engine(setting.rule)
    seen: set[str] = set()
    now = NOW
    for number, each in enumerate(arriving):
        now = max(now, each.received_at)
        for _ in range(data.draw(st.integers(1, 2), label="times")):
            seen |= ids(engine.add(each, now).alerts)
        action = data.draw(st.sampled_from(["go on", "tick", "kill"]), label="then")
        if action == "tick":
            seen |= ids(engine.elapse(now))
        elif action == "kill":
            committed = data.draw(st.integers(0, number + 1))
            engine = small_engine(setting.rule)
            if setting.trigger.growing:
                engine.fold(data.draw(st.permutations(arriving[:committed])))
                for again in arriving[committed : number + 1]:
                    seen |= ids(engine.add(again, now).alerts)
            else:
                engine.fold(data.draw(st.permutations(arriving[: number + 1])))
    seen |= ids(engine.elapse(now + 100 * LATENESS))
    assert engine.due() is None
    assert seen == naive(setting, some)


@given(cases(), rows, st.data())
@settings(max_examples=100, deadline=None)
def test_facts_that_come_together_are_judged_as_one_by_one(
    setting: Setting, some: list[Row], data: st.DataObject
) -> None:
    arriving = data.draw(st.permutations(facts_of(setting.rule, some)))
    single, together = small_engine(setting.rule), small_engine(setting.rule)
    now = NOW
    while arriving:
        size = data.draw(st.integers(1, 5))
        part, arriving = arriving[:size], arriving[size:]
        expected = [single.add(each, now) for each in part]
        (run,) = runs_of(part)
        assert together.add_run(run, now) == [
            (place, decision) for place, decision in enumerate(expected) if decision != NOTHING
        ]
        now = max(now, *(each.received_at for each in part))
        assert together.elapse(now) == single.elapse(now)
    assert together.elapse(now + 100 * LATENESS) == single.elapse(now + 100 * LATENESS)


@given(cases(), rows, st.data())
@settings(max_examples=150, deadline=None)
def test_facts_folded_together_leave_what_they_leave_one_by_one_though_some_are_told_twice(
    setting: Setting, some: list[Row], data: st.DataObject
) -> None:
    told = facts_of(setting.rule, some)
    # The same fact, told from history, knows less of its subject.
    twice = [each._replace(region=None, industry=None) for each in told if data.draw(st.booleans())]
    stored = data.draw(st.permutations([*told, *twice]))
    single, together = small_engine(setting.rule), small_engine(setting.rule)
    for each in stored:
        single.fold([each])
    together.fold(stored)
    (one,), (other,) = single.stats().values(), together.stats().values()
    assert (one.keys, one.facts, one.newest) == (other.keys, other.facts, other.newest)
    assert single.due() == together.due()
    end = max([NOW, *(each.received_at for each in told)]) + 100 * LATENESS
    assert together.elapse(end) == single.elapse(end)


@given(cases(), rows, st.data())
@settings(max_examples=100, deadline=None)
def test_history_gives_the_same_alerts_in_any_order(setting: Setting, some: list[Row], data: st.DataObject) -> None:
    """Historical facts count however late they are, as long as each comes within the lateness of the one before."""
    some = [row._replace(delay=0) for row in some]
    received = NOW + 10**9
    made = []
    for each in facts_of(setting.rule, some):
        mask, values = (each.carried or "").split(",", 1) if "," in (each.carried or "") else (each.carried or "", "]")
        number = int(mask.strip("[]")) | HISTORICAL
        made.append(each._replace(carried=f"[{number}" + ("," + values if values != "]" else "]")))
    engine = small_engine(setting.rule)
    seen: set[str] = set()
    for number, each in enumerate(data.draw(st.permutations(made))):
        now = received + number * MINUTE
        seen |= ids(engine.add(each._replace(received_at=now), now).alerts)
        if data.draw(st.booleans()):
            seen |= ids(engine.elapse(now))
    seen |= ids(engine.elapse(received + 10**9))
    assert seen == naive(setting, some)


def test_a_fact_exactly_at_the_start_of_a_past_window_is_in_the_one_before() -> None:
    a_rule = rule_of(
        json.dumps(
            {
                "trigger": {"rate": {"periods": 2, "sample": 1, "at_least": 1.2}},
                "window": {"size": "5m", "lateness": "10m"},
            }
        )
    )
    for first, expected in ((NOW - 2 * SIZE, 1), (NOW - 2 * SIZE + 1, 0)):
        engine = small_engine(a_rule)
        # Two facts now, one in the window before, and two at the end of the one before that, or in the same.
        some = [Row(time, 0, None, None, False, "k", 0) for time in (first, first, NOW - SIZE, NOW - 1, NOW)]
        for each in facts_of(a_rule, some):
            engine.add(each, each.received_at)
        raised = [alert for alert in engine.elapse(NOW + 10 * LATENESS) if alert.time == NOW]
        assert len(raised) == expected


def test_a_session_that_a_slow_transport_makes_longer_is_decided_again_with_its_cooldown() -> None:
    a_rule = rule_of(
        json.dumps(
            {
                "trigger": {"count": {"at_least": 1}},
                "window": {"kind": "session", "gap": "2m", "size": "1h", "lateness": "10m"},
                "episode": "1m",
                "cooldown": "10m",
            }
        )
    )
    some = [Row(time, 0, None, None, False, "k", 0) for time in (NOW, NOW + 90_000)]
    first, second = facts_of(a_rule, some)
    engine = small_engine(a_rule)
    engine.add(first, NOW)
    assert [alert.time for alert in engine.elapse(NOW + 2 * LATENESS)] == [NOW]
    engine.add(second, NOW + 2 * LATENESS)
    assert [alert.time for alert in engine.elapse(NOW + 2 * LATENESS)] == [NOW + 90_000]


@pytest.mark.parametrize("kind", ["sliding", "tumbling", "session"])
def test_one_more_fact_costs_as_little_in_a_group_that_has_many(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    window = {"kind": kind, "size": "1d", "lateness": "10m", **({"gap": "2m"} if kind == "session" else {})}
    a_rule = rule_of(json.dumps({"trigger": {"not": {"count": {"at_least": 2}}}, "window": window}))
    looked = 0

    def counting(of: Callable[[KeyState, int], int]) -> Callable[[KeyState, int], int]:
        def counted(state: KeyState, time: int) -> int:
            nonlocal looked
            looked += 1
            return of(state, time)

        return counted

    monkeypatch.setattr(KeyState, "after", counting(KeyState.after))
    monkeypatch.setattr(KeyState, "at", counting(KeyState.at))
    engine = small_engine(a_rule)
    for each in facts_of(a_rule, [Row(NOW + number * 1_000, 0, None, None, False, "k", 0) for number in range(300)]):
        looked = 0
        engine.add(each, each.received_at)
        assert looked <= 3


def test_a_session_is_decided_when_it_is_over_however_often_the_clock_was_looked_at() -> None:
    window = {"kind": "session", "size": "1h", "gap": "2m", "lateness": "10m"}
    a_rule = rule_of(json.dumps({"trigger": {"all": [{"count": {"at_least": 3}}, {"not": {"count": {"at_least": 4}}}]},
                                 "window": window}))  # fmt: skip
    engine = small_engine(a_rule)
    some = [Row(NOW + number * 90_000, 0, None, None, False, "k", 0) for number in range(3)]
    for each in facts_of(a_rule, some):
        engine.add(each, each.received_at)
    over = NOW + 2 * 90_000 + 2 * MINUTE
    assert engine.elapse(over + LATENESS - 1) == ()
    (alert,) = engine.elapse(over + LATENESS)
    assert (alert.time, alert.event_count) == (NOW + 2 * 90_000, 3)
    assert engine.due() is None
