"""Patterns over time, held against a naive reference in any order of arrival, under ticks, kills and duplicates."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.fact import Fact
from jianguan.domain.ids import alert_id, event_id, make_id
from rules.keys import FIRST_BIT, carry
from rules.rule import Rule
from tests.rules.support import HOUR, NOW, fact, ids, small_engine
from tests.rules.test_facts import loaded

MINUTE = 60_000
LATENESS = 10 * MINUTE
WITHIN = 8 * MINUTE


class Row(NamedTuple):
    """What a test says of an event."""

    time: int
    delay: int
    letter: str
    amount: int | None
    key: str


rows = st.lists(
    st.builds(
        Row,
        time=st.integers(0, 40).map(lambda half: NOW + half * (MINUTE // 2)),
        delay=st.sampled_from([0, 1, MINUTE, LATENESS, LATENESS + 1]),
        letter=st.sampled_from("aaabbcx"),
        amount=st.sampled_from([None, 1, 2, 3]),
        key=st.sampled_from(["k1", "k1", "k1", "k2"]),
    ),
    max_size=16,
)


class Part(NamedTuple):
    """An event that is looked for: one of some letters, in a relation to the amounts of earlier steps."""

    name: str
    letters: str
    related: str | None = None
    relation: Callable[[int | None, dict[str, int | None]], bool] = lambda amount, bound: True

    @property
    def text(self) -> dict[str, Any]:
        text = {"name": self.name, "where": f"product in {json.dumps(list(self.letters))}"}
        return {**text, "related": self.related} if self.related else text


class Step(NamedTuple):
    parts: tuple[Part, ...]
    how: str = "one"  # one, any, all, absent
    least: int = 1
    most: int = 1
    next: bool = False

    @property
    def text(self) -> dict[str, Any]:
        text: dict[str, Any] = {"next": self.next} if self.next else {}
        if self.how in ("any", "all"):
            return {**text, self.how: [part.text for part in self.parts]}
        text.update(self.parts[0].text)
        if self.how == "absent":
            text["absent"] = True
        if (self.least, self.most) != (1, 1):
            text["times"] = {"at_least": self.least, "at_most": self.most}
        return text


def more(amount: int | None, bound: dict[str, int | None]) -> bool:
    first = bound.get("a")
    return amount is not None and first is not None and amount > first


A, B, C = Part("a", "a"), Part("b", "b"), Part("c", "c")
PATTERNS = [
    [Step((A,)), Step((B,))],
    [Step((A,)), Step((B,)), Step((C,))],
    [Step((A,)), Step((B,), next=True)],
    [Step((A,)), Step((B,), next=True), Step((C,), next=True)],
    [Step((A,), least=2, most=3), Step((B,))],
    [Step((A,)), Step((B,), least=1, most=2), Step((Part("c", "bc"),))],
    [Step((A,), least=2, most=2, next=True), Step((C,))],
    [Step((A,)), Step((B,), least=1, most=3, next=True), Step((C,), next=True)],
    [Step((A,)), Step((B,), "absent")],
    [Step((A,)), Step((B,)), Step((C,), "absent")],
    [Step((A,)), Step((Part("x", "x"),), "absent"), Step((B,))],
    [Step((A,)), Step((B, C), "any")],
    [Step((A,)), Step((B, C), "all")],
    [Step((A, B), "all"), Step((C,), next=True)],
    [Step((A, B), "any"), Step((C,), "absent")],
    [Step((A,)), Step((Part("b", "ab", "amount_fen > a.amount_fen", more),))],
    [Step((A,)), Step((Part("b", "ab", "amount_fen > a.amount_fen", more),), "absent")],
    [Step((Part("a", "abcx"),), least=3, most=3)],
]  # fmt: skip


class Setting(NamedTuple):
    rule: Rule
    steps: list[Step]
    every: bool
    skip: bool


@cache
def rule_of(changes: str) -> Rule:
    return loaded(condition="true", window=None, trigger=None, **json.loads(changes))


@st.composite
def cases(draw: st.DrawFn) -> Setting:
    steps = draw(st.sampled_from(PATTERNS))
    every, skip = draw(st.booleans()), draw(st.booleans())
    pattern = {
        "steps": [step.text for step in steps],
        "within": "8m",
        "lateness": "10m",
        "every": every,
        "after_match": "skip-past-last" if skip else "skip-to-next",
    }
    file = {"pattern": pattern, "episode": draw(st.sampled_from([None, "3m", "1h"]))}
    return Setting(rule_of(json.dumps(file)), steps, every, skip)


def facts_of(setting: Setting, some: Sequence[Row]) -> list[Fact]:
    judging = setting.rule.judging
    assert judging is not None
    letters = [part.letters for step in setting.steps for part in step.parts]
    made = []
    for number, row in enumerate(some):
        mask = sum(FIRST_BIT << bit for bit, known in enumerate(letters) if row.letter in known)
        carried = carry(mask, [row.amount for _ in judging.carried])
        made.append(fact(number, row.time, key=row.key, received_at=row.time + row.delay, carried=carried))
    return made


class Found(NamedTuple):
    """A match: when it was complete, and the places of its first and last fact."""

    moment: int
    kind: int  # 0: because its time was up; 1: by a fact
    last: int
    first: int


def match_from(steps: Sequence[Step], known: Sequence[Row], first: int) -> Found | None:
    """The match that begins with a fact, if there is one."""
    deadline = known[first].time + WITHIN
    taken: list[list[str]] = [[]]  # names by step that takes facts
    bound: dict[str, int | None] = {}
    takers = [step for step in steps if step.how != "absent"]
    barred: list[list[Part]] = [[] for _ in range(len(takers) + 1)]
    place = 0
    for step in steps:
        if step.how == "absent":
            barred[place].extend(step.parts)
        else:
            place += 1
    last, contiguous = first, True

    def fits(part: Part, row: Row) -> bool:
        return row.letter in part.letters and part.relation(row.amount, bound)

    def taker(place: int, names: list[str], row: Row) -> str | None:
        step = takers[place]
        left = [part for part in step.parts if step.how != "all" or part.name not in names]
        if len(names) >= (len(step.parts) if step.how == "all" else step.most):
            return None
        return next((part.name for part in left if fits(part, row)), None)

    for index in range(first, len(known)):
        row = known[index]
        if row.time >= deadline:
            break
        here = len(taken) - 1
        step = takers[here]
        least = len(step.parts) if step.how == "all" else step.least
        enough = len(taken[here]) >= least
        if enough and here + 1 == len(takers):  # only waiting for nothing to come
            if any(fits(part, row) for part in barred[-1]):
                return None
            continue
        name = taker(here + 1, [], row) if enough else None
        if name is not None:
            taken.append([name])
        else:
            name = taker(here, taken[here], row) if contiguous or not step.next or not taken[here] else None
            if name is not None:
                taken[here].append(name)
        if name is not None:
            bound[name], last, contiguous = row.amount, index, True
            here = len(taken) - 1
            least = len(takers[here].parts) if takers[here].how == "all" else takers[here].least
            if here + 1 == len(takers) and len(taken[here]) >= least and not barred[-1]:
                return Found(row.time, 1, index, first)
            continue
        entering = here + 1 if enough else here if not taken[here] else None
        if entering is not None and (takers[entering].next or any(fits(part, row) for part in barred[entering])):
            return None
        if step.next and taken[here] and not enough:
            return None
        contiguous = False
    here = len(taken) - 1
    least = len(takers[here].parts) if takers[here].how == "all" else takers[here].least
    waited = here + 1 == len(takers) and len(taken[here]) >= least and bool(barred[-1])
    return Found(deadline, 0, last, first) if waited else None


def naive(setting: Setting, some: Sequence[Row]) -> set[str]:
    """Ids of the alerts, by the definitions in docs/rules.md and nothing else."""
    rule = setting.rule
    names = {id(row): event_id("test", str(number)) for number, row in enumerate(some)}
    order = {id(row): made.id for row, made in zip(some, facts_of(setting, some), strict=True)}
    found: set[str] = set()
    for key in {row.key for row in some}:
        known = [row for row in some if row.key == key and row.delay <= LATENESS]
        known.sort(key=lambda row: (row.time, order[id(row)]))
        matches = []
        for first, row in enumerate(known):
            step = setting.steps[0]
            if any(row.letter in part.letters for part in step.parts):
                match = match_from(setting.steps, known, first)
                matches += [match] if match else []
        matches.sort(key=lambda each: (each.moment, each.kind, each.last if each.kind else 0, each.first))
        kept: list[Found] = []
        for match in matches:
            episode = rule.episodes.start(known[match.first].time)
            rivals = [each for each in kept if rule.episodes.start(known[each.first].time) == episode]
            if not setting.skip or all(each.last < match.first for each in rivals):
                kept.append(match)
        for match in kept:
            if setting.every:
                pair = (names[id(known[match.first])], names[id(known[match.last])])
                found.add(make_id("al", rule.id, key, *pair))
            else:
                found.add(alert_id(rule.id, key, rule.episodes.start(match.moment)))
    return found


def fresh(some: list[Row]) -> list[Row]:
    """The same rows, each an object of its own."""
    return [Row(*row) for row in some]


@given(cases(), rows, st.data())
@settings(max_examples=600, deadline=None)
def test_matches_are_those_of_the_definition_in_any_order_of_arrival(
    setting: Setting, some: list[Row], data: st.DataObject
) -> None:
    some = fresh(some)
    arriving = sorted(data.draw(st.permutations(facts_of(setting, some))), key=lambda each: each.received_at)
    engine = small_engine(setting.rule)
    seen: set[str] = set()
    now = NOW
    for number, each in enumerate(arriving):
        now = max(now, each.received_at)
        for _ in range(data.draw(st.integers(1, 2), label="times")):
            engine.add(each, now)
        action = data.draw(st.sampled_from(["go on", "tick", "kill"]), label="then")
        if action == "tick":
            seen |= ids(engine.elapse(now))
        elif action == "kill":
            engine = small_engine(setting.rule)
            engine.fold(data.draw(st.permutations(arriving[: number + 1])))
    seen |= ids(engine.elapse(now + HOUR))
    assert engine.due() is None
    assert seen == naive(setting, some)


@given(cases(), rows, st.data())
@settings(max_examples=200, deadline=None)
def test_what_comes_after_its_moment_was_decided_adds_what_it_brings(
    setting: Setting, some: list[Row], data: st.DataObject
) -> None:
    """A transport that is too slow costs what was raised too early, and nothing else, as long as facts are kept."""
    some = fresh([row._replace(delay=0) for row in some])
    assert setting.rule.judging is not None
    kept = setting.rule.lateness + setting.rule.judging.back  # what is older than this has been forgotten
    engine = small_engine(setting.rule)
    seen: set[str] = set()
    for each in data.draw(st.permutations(facts_of(setting, some))):
        engine.add(each, NOW)
        seen |= ids(engine.elapse(NOW + data.draw(st.integers(0, 4)) * kept // 4))
    seen |= ids(engine.elapse(NOW + 2 * HOUR))
    assert seen >= naive(setting, some)


def test_the_patterns_of_these_tests_do_match_something() -> None:
    for steps in PATTERNS:
        text = {"pattern": {"steps": [step.text for step in steps], "within": "8m", "lateness": "10m"}}
        setting = Setting(rule_of(json.dumps(text)), steps, False, True)
        some = [Row(NOW + index * 1_000, 0, letter, index % 4, "k") for index, letter in enumerate("aaabcabbc")]
        some += [Row(NOW + HOUR + index * 10 * MINUTE, 0, letter, 1, "k") for index, letter in enumerate("ab")]
        some += [Row(NOW + 3 * HOUR + index, 0, letter, 1, "k") for index, letter in enumerate("ab")]
        assert naive(setting, some), text


def test_a_key_with_too_many_begun_matches_begins_no_further_one_and_says_so() -> None:
    setting = Setting(
        rule_of(
            json.dumps(
                {
                    "pattern": {
                        "steps": [step.text for step in PATTERNS[0]],
                        "within": "8m",
                        "lateness": "10m",
                        "every": True,
                        "after_match": "skip-to-next",
                    },
                    "limits": {"partial_matches": 3},
                }
            )
        ),
        PATTERNS[0],
        True,
        False,
    )
    engine = small_engine(setting.rule)
    some = [Row(NOW + index, 0, letter, 1, "k") for index, letter in enumerate("aaaaab")]
    for each in facts_of(setting, some):
        engine.add(each, NOW)
    assert len(engine.elapse(NOW + HOUR)) == 3
    assert engine.full() == [(setting.rule.id, "k")]
    assert engine.full() == []
    assert engine.stats()[setting.rule.id].limited == 1


def test_an_alert_of_an_absence_says_when_the_time_was_up_and_who_was_waited_for() -> None:
    steps = PATTERNS[8]
    rule = rule_of(json.dumps({"pattern": {"steps": [step.text for step in steps], "within": "8m", "lateness": "10m"}}))
    engine = small_engine(rule)
    (made,) = facts_of(Setting(rule, steps, False, True), [Row(NOW, 0, "a", 1, "k")])
    engine.add(made, NOW)
    assert engine.due() == NOW + LATENESS + 1
    assert engine.elapse(NOW + LATENESS + 1) == ()
    assert engine.due() == NOW + WITHIN + LATENESS
    assert engine.elapse(NOW + WITHIN + LATENESS - 1) == ()
    (alert,) = engine.elapse(NOW + WITHIN + LATENESS)
    assert (alert.time, alert.events, alert.event_count) == (NOW + WITHIN, (made.event,), 1)
    assert (alert.values, alert.thresholds) == ({"a": 1.0, "b": 0.0}, {"a": 1.0})


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"name": "a", "where": "true", "absent": True}], "the first step is an event that comes"),
        ([{"name": "a", "where": "true"}, {"name": "a", "where": "true"}], "two steps have one name"),
        ([{"name": "a"}], "a step has name and where, or all, or any"),
        ([{"name": "a", "where": "true", "related": "amount_fen > b.amount_fen"}], "b.amount_fen"),
        ([{"name": "a", "where": "true", "related": "text == 'x'"}], "there is no field text"),
        ([{"name": "a", "where": "categry == 'x'"}], "there is no field categry"),
        ([{"name": "a", "where": "true", "time": {"at_least": 2}}], "there is no key time here (did you mean times?)"),
    ],
)  # fmt: skip
def test_faults_of_a_pattern_are_told(steps: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(AssertionError) as error:
        loaded(window=None, trigger=None, pattern={"steps": steps, "within": "1d", "lateness": "1h"})
    assert said in str(error.value)
