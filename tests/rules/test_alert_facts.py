"""Rules on rules: alerts as events, scores, escalation, cooldown, silence, and what must not go round in circles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact
from jianguan.domain.ids import alert_id
from rules.alert_facts import AlertMatcher
from rules.engine import Engine
from rules.facts import Matcher
from rules.keys import KeyState, kept
from rules.rule import Rule
from rules.ruleset import RuleErrors, RuleSet
from rules.running import Running as Library
from tests.rules.support import DAY, HOUR, event, reference, rule_file
from tests.rules.test_facts import loaded

MIDNIGHT = 1_799_942_400_000  # 2027-01-15T00:00+08:00
LATER = MIDNIGHT + 99 * DAY
SCORE: dict[str, Any] = {
    "id": "score",
    "on": ["alert"],
    "condition": "true",
    "rules": {"food": 30, "price": 50},
    "window": {"size": "30d"},
    "trigger": {"score": {"at_least": 80}},
    "escalate": [{"trigger": {"score": {"at_least": 160}}, "severity": "critical"}],
}


def one(identifier: str, category: str, **changes: Any) -> Rule:
    """A rule that raises an alert a day for each enterprise with an event of a category."""
    changes = {"window": {"size": "1d"}, "trigger": {"count": {"at_least": 1}}, **changes}
    return loaded(id=identifier, condition=f'category == "{category}"', **changes)


def events(*days: tuple[str, int]) -> list[Any]:
    return [
        event(
            number,
            category=category,
            enterprise="uscc:X",
            occurred_at=MIDNIGHT + day * DAY,
            received_at=MIDNIGHT + 99 * DAY,
        )
        for number, (category, day) in enumerate(days)
    ]


def raised(running: Library, some: list[Any]) -> list[Alert]:
    return [alert for each in some for alert in running.take(each)]


def scored() -> RuleSet:
    return RuleSet([one("food", "food-safety"), one("price", "price"), loaded(**SCORE)])


def test_a_score_over_several_rules_is_raised_at_its_threshold_and_escalated_at_the_next() -> None:
    running = Library(scored(), reference())
    found = raised(running, events(("food-safety", 0), ("food-safety", 1), ("price", 2), ("price", 3)))
    assert [(alert.rule, alert.severity) for alert in found] == [
        ("food", "high"), ("food", "high"), ("price", "high"), ("score", "high"), ("price", "high"),
        ("score", "critical"),
    ]  # fmt: skip
    first, second = (alert for alert in found if alert.rule == "score")
    assert first.id == alert_id("score", "uscc:X", first.episode) != second.id
    assert (first.values, first.thresholds) == ({"score": 110.0}, {"score": 80.0})
    assert first.events == tuple(alert.id for alert in found[:3])
    assert (second.values["score.2"], second.thresholds) == (160.0, {"score.2": 160.0})
    assert first.case_key == second.case_key


DAYS = st.lists(st.tuples(st.sampled_from(["food-safety", "price"]), st.integers(0, 40)), max_size=12)
PATIENT = RuleSet(
    [
        one("food", "food-safety", window={"size": "1d", "lateness": "60d"}),
        one("price", "price", window={"size": "1d", "lateness": "60d"}),
        loaded(**{**SCORE, "window": {"size": "30d", "lateness": "60d"}}),
    ]
)


@given(DAYS, st.data())
@settings(max_examples=100, deadline=None)
def test_scores_are_the_same_in_any_order_and_across_kills(days: list[tuple[str, int]], data: st.DataObject) -> None:
    score = PATIENT.by_id("score")
    assert score is not None
    weights = {"food-safety": 30, "price": 50}
    alerts = {(category, MIDNIGHT + day * DAY) for category, day in days}
    wanted = set()
    for _, at in alerts:
        total = sum(weights[category] for category, time in alerts if at - 30 * DAY < time <= at)
        levels = (("high", 80), ("critical", 160))
        wanted |= {(score.episodes.start(at), severity) for severity, least in levels if total >= least}
    running, seen = Library(PATIENT, reference()), set()
    matcher, heard = Matcher(PATIENT, reference()), AlertMatcher(PATIENT, reference())
    stored: list[Fact] = []
    for each in data.draw(st.permutations(events(*days))):
        stored += matcher.facts(each)
        if data.draw(st.booleans(), label="killed after it was stored"):
            running = Library(PATIENT, reference())
            running.engine.fold(data.draw(st.permutations(stored)))
        for alert in running.take(each):
            seen.add((alert.rule, alert.episode, alert.severity))
            stored += heard.facts(alert)
    assert {(episode, severity) for rule, episode, severity in seen if rule == "score"} == wanted


def test_an_alert_without_the_group_s_field_is_no_fact_and_one_of_another_rule_neither() -> None:
    rules = scored()
    (alert,) = Library(rules, reference()).take(events(("price", 0))[0])[:1]
    heard = AlertMatcher(rules, reference())
    assert [fact.rule for fact in heard.facts(alert)] == ["score"]
    assert heard.facts(alert._replace(enterprise=None)) == []
    assert heard.facts(alert._replace(rule="another")) == []


def test_a_rule_on_alerts_looks_at_those_whose_episode_begins_while_it_is_in_force() -> None:
    (alert,) = raised(Library(RuleSet([one("first", "food-safety")]), reference()), events(("food-safety", 0)))
    days = {"from": "2027-01-15", "until": "2027-01-16"}
    listener = loaded(**{**SCORE, "rules": {"first": 60}}, in_force=days)
    heard = AlertMatcher(RuleSet([listener]), reference())
    for at, counts in ((-1, 0), (0, 1), (DAY - 1, 1), (DAY, 0)):
        # However late in its episode it was raised.
        assert len(heard.facts(alert._replace(episode=MIDNIGHT + at, time=MIDNIGHT + 9 * DAY))) == counts


def test_an_alert_counts_from_the_start_of_its_episode_and_silences_from_its_own_time() -> None:
    (alert,) = raised(Library(RuleSet([one("first", "food-safety")]), reference()), events(("food-safety", 0)))
    alert = alert._replace(episode=MIDNIGHT, time=MIDNIGHT + HOUR, episode_end=MIDNIGHT + DAY)
    quiet = one("quiet", "price", inhibited_by=["first"], window={"size": "1h", "lateness": "1h"})
    rules = RuleSet([loaded(**{**SCORE, "rules": {"first": 60}}), quiet])
    counted, silence = AlertMatcher(rules, reference()).facts(alert)
    assert (counted.rule, counted.time) == ("score", MIDNIGHT)
    assert not kept(counted, 1).historical
    assert (silence.rule, silence.time) == ("quiet", MIDNIGHT + HOUR)
    assert kept(silence, 0).values == (MIDNIGHT + DAY,)


def test_a_rule_on_alerts_tells_apart_those_of_different_rules_whose_weight_is_the_same() -> None:
    both = {"trigger": {"score": {"at_least": 60}, "distinct": {"of": "rule", "at_least": 2}}, "escalate": []}
    rules = [one("food", "food-safety"), one("price", "price")]
    rules.append(loaded(**{**SCORE, **both, "rules": {"food": 30, "price": 30}}))
    for second, alerts in (("food-safety", 0), ("price", 1)):
        found = raised(Library(RuleSet(rules), reference()), events(("food-safety", 0), (second, 1)))
        assert sum(alert.rule == "score" for alert in found) == alerts


def test_a_condition_on_alerts_knows_their_fields() -> None:
    strict = loaded(**{**SCORE, "condition": 'severity == "critical" && rule != "food" && event_count > 0'})
    rules = RuleSet([one("price", "price"), strict])
    (alert,) = Library(rules, reference()).take(events(("price", 0))[0])
    heard = AlertMatcher(rules, reference())
    assert heard.facts(alert) == []
    assert len(heard.facts(alert._replace(severity="critical"))) == 1


def test_a_rule_is_silent_while_a_rule_that_inhibits_it_has_an_alert() -> None:
    quiet = one("quiet", "price", inhibited_by=["loud"], window={"size": "1h", "lateness": "1h"}, episode="1h")
    loud = one("loud", "food-safety")
    running = Library(RuleSet([quiet, loud]), reference())
    some = [
        event(
            number,
            category=category,
            enterprise=who,
            occurred_at=MIDNIGHT + at * HOUR,
            received_at=MIDNIGHT + at * HOUR,
        )
        for number, (category, at, who) in enumerate(
            [
                ("price", 1, "x:1"),
                ("food-safety", 3, "x:1"),
                ("price", 5, "x:1"),
                ("price", 5, "x:2"),
                ("price", 25, "x:1"),
            ]
        )
    ]
    found = []
    for each in some:
        found += running.elapse(each.received_at)
        found += running.take(each)
    found += running.elapse(MIDNIGHT + 100 * HOUR)
    assert [(alert.key, (alert.time - MIDNIGHT) // HOUR) for alert in found if alert.rule == "quiet"] == [
        ("x:1", 1), ("x:2", 5), ("x:1", 25),
    ]  # fmt: skip


def test_an_inhibiting_alert_that_comes_after_the_decision_takes_nothing_back() -> None:
    quiet = one("quiet", "price", inhibited_by=["loud"], window={"size": "1h", "lateness": "1h"})
    rules = RuleSet([quiet, one("loud", "food-safety")])
    running = Library(rules, reference())
    first, second = events(("price", 0), ("food-safety", 0))
    assert running.take(first._replace(received_at=MIDNIGHT)) == []
    assert [alert.rule for alert in running.elapse(MIDNIGHT + 2 * HOUR)] == ["quiet"]
    assert [alert.rule for alert in running.take(second)] == ["loud"]
    assert running.elapse(MIDNIGHT + 10 * DAY) == []


def written(folder: Path, *changes: dict[str, Any]) -> Path:
    for each in changes:
        text = json.dumps(rule_file(**each), ensure_ascii=False, indent=1)
        (folder / f"{each['id']}.yaml").write_text(text, encoding="utf-8")
    return folder


ON: dict[str, Any] = {"on": ["alert"], "condition": "true"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([{"id": "a", **ON, "rules": {"bb": 1}}, {"id": "b"}], "there is no rule bb (did you mean b?)"),
        ([{"id": "a", **ON, "rules": {"a": 1}}], "alerts would go round in a circle: a → a"),
        (
            [{"id": name, **ON, "rules": {other: 1}} for name, other in ("ab", "bc", "ca")],
            "alerts would go round in a circle: a → b → c → a",
        ),
        ([{"id": "a", "inhibited_by": ["bb"], "window": {"size": "1h", "lateness": "1h"}}], "there is no rule bb"),
        ([{"id": "a", "inhibited_by": ["b"]}, {"id": "b"}], "the clock settles this rule"),
        ([{"id": "a", "on": ["alert"]}], "a rule on alerts has `on: [alert]` and `rules`"),
        ([{"id": "a", "on": ["alert", "complaint"], "rules": {"b": 1}}, {"id": "b"}], "a rule on alerts has"),
        ([{"id": "a", **ON, "rules": {"b": 1}, "group_by": "reporter"}, {"id": "b"}], "an alert has no reporter"),
        ([{"id": "a", "group_by": "rule"}], "only an alert has a rule"),
        ([{"id": "a", "trigger": {"score": {"at_least": 3}}}], "only alerts have weights"),
        (
            [{"id": "a", **ON, "rules": {"b": 1}, "trigger": {"not": {"count": {"at_least": 2}}}}, {"id": "b"}],
            "a rule on alerts counts them",
        ),
        (
            [{"id": "a", "escalate": [{"trigger": {"count": {"at_least": 9}}, "severity": "low"}]}],
            "each severity in escalate must be graver",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_with_its_place(files: list[dict[str, Any]], said: str, tmp_path: Path) -> None:
    with pytest.raises(RuleErrors) as error:
        RuleSet.load([written(tmp_path, *files)], reference())
    assert said in str(error.value)
    assert ".yaml:" in str(error.value)


def test_a_cooldown_waits_for_silence_and_escalation_is_not_held_back() -> None:
    a_rule = loaded(
        window={"size": "1h", "lateness": "1h"}, trigger={"count": {"at_least": 1}}, episode="1h", cooldown="3h",
        escalate=[{"trigger": {"count": {"at_least": 3}}, "severity": "critical"}], condition="true",
    )  # fmt: skip
    running = Library(RuleSet([a_rule]), reference())
    hours = [0, 2, 4, 4, 4, 7, 10, 12]
    for number, hour in enumerate(hours):
        at = MIDNIGHT + hour * HOUR
        running.take(event(number, enterprise="uscc:X", occurred_at=at, received_at=at))
    found = [(alert.severity, (alert.time - MIDNIGHT) // HOUR) for alert in running.elapse(MIDNIGHT + 50 * HOUR)]
    assert found == [("high", 0), ("critical", 4), ("high", 7), ("high", 10)]


def test_the_time_of_each_rule_is_measured_and_one_over_its_budget_is_told() -> None:
    ticks = iter(range(10_000))
    a_rule = loaded(
        condition="true", trigger={"max": {"of": "amount_fen", "at_least": 9}}, limits={"micros_per_fact": 10}
    )
    rules = RuleSet([a_rule])
    engine, matcher = Engine(rules, lambda: next(ticks) / 1_000), Matcher(rules, reference())
    for number in range(100):
        for fact in matcher.facts(event(number, enterprise="uscc:X", occurred_at=MIDNIGHT + number, received_at=LATER)):
            engine.add(fact, LATER)
    (cost,) = engine.costs()
    assert (cost.rule, round(cost.seconds, 6), cost.facts, cost.is_over) == ("a-rule", 0.1, 100, True)
    assert engine.costs()[0].facts == 0
    assert round(engine.stats()["a-rule"].seconds, 6) == 0.1


def test_an_alert_says_which_way_each_of_its_bounds_is_meant() -> None:
    a_rule = loaded(
        window={"size": "1h", "lateness": "1h"}, condition="true",
        trigger={
            "count": {"at_least": 2}, "avg": {"of": "amount_fen", "at_least": 3, "at_most": 9},
            "max": {"of": "amount_fen", "at_most": 8},
            "not": {"min": {"of": "amount_fen", "at_least": 6}, "not": {"median": {"of": "amount_fen", "at_most": 5}}},
        },
    )  # fmt: skip
    running = Library(RuleSet([a_rule]), reference())
    for number, amount in enumerate((2, 8)):
        at = MIDNIGHT + number
        running.take(event(number, enterprise="uscc:X", amount_fen=amount, occurred_at=at, received_at=at))
    (alert,) = running.elapse(MIDNIGHT + DAY)
    assert alert.thresholds == {
        "count": 2.0, "avg": 3.0, "avg.at_most": 9.0, "max.at_most": 8.0, "min.below": 6.0, "median.at_most": 5.0
    }  # fmt: skip
    assert alert.values == {"count": 2.0, "avg": 5.0, "max": 8.0, "min": 2.0, "median": 5.0}


def test_an_idle_key_is_forgotten_and_one_that_waits_or_is_kept_silent_is_not() -> None:
    quiet = one("quiet", "price", inhibited_by=["loud"], window={"size": "1h", "lateness": "1h"})
    running = Library(RuleSet([quiet, one("loud", "food-safety")]), reference())
    day = [("price", "x:idle", 0), ("food-safety", "x:silent", 19), ("price", "x:busy", 20)]
    for number, (category, who, at) in enumerate(day):
        time = MIDNIGHT + at * DAY
        running.take(event(number, category=category, enterprise=who, occurred_at=time, received_at=time))
    looks = 8
    for _ in range(looks):
        running.engine.forget()
    assert running.engine.stats()["quiet"].keys == 3, "nothing has been decided yet"
    running.elapse(MIDNIGHT + 10 * DAY)
    for _ in range(looks):
        running.engine.forget()
    assert running.engine.stats()["quiet"].keys == 2


@pytest.mark.parametrize(("at", "silent"), [(-1, False), (0, True), (DAY - 1, True), (DAY, False)])
def test_a_silence_holds_from_the_alert_on_and_ends_with_its_episode(at: int, silent: bool) -> None:
    state = KeyState("k", silent=[(MIDNIGHT, MIDNIGHT + DAY, "al-1")])
    assert state.is_silent(MIDNIGHT + at) is silent


def test_the_first_row_of_a_decision_table_of_which_every_cell_fits_decides() -> None:
    a_rule = loaded(
        group_by=["category", "region.county"], case={"key": "group"}, lead="market-regulation",
        decision_table=[
            {"when": {"category": "wages", "region.county": "cn:31"}, "lead": "human-resources"},
            {"when": {"region.county": ["cn:33", "cn:31"]}, "lead": "public-security"},
        ],
    )  # fmt: skip
    leads = [a_rule.lead_of(each) for each in (("wages", "cn:310115"), ("price", "cn:310115"), ("wages", "cn:110105"))]
    assert leads == ["human-resources", "public-security", "market-regulation"]
