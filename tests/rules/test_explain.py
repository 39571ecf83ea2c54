"""Explanations say what the engine did, why, and nothing personal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jianguan.domain.alert import MAX_EVENTS
from jianguan.domain.event import Event
from jianguan.domain.explanation import VERDICTS, Explanation
from jianguan.domain.filters import NOTHING, Filter, Test, all_of, some_of
from rules.checking import Checker
from rules.engine import Engine
from rules.explain import PERSONAL, clauses_of, explain, fact_time, history_filter
from rules.facts import Matcher
from rules.loader import parse
from rules.pushdown import fields_of_rule, filter_of, filter_of_rule
from rules.rule import Rule
from rules.ruleset import RuleSet
from tests.rules.support import DAY, HOUR, NOW, event, reference, rule_file


def checked_rule(**changes: Any) -> Rule:
    """A rule with a condition that can be evaluated."""
    found, errors = Checker(reference()).rule(parse(json.dumps(rule_file(**changes))))
    assert found is not None, errors
    return found


def given_events(*times: int, **fields: Any) -> list[Event]:
    """Events of one enterprise, so many ms after NOW, received as they happen."""
    return [
        event(number, occurred_at=NOW + time, received_at=NOW + time, enterprise="x:1", **fields)
        for number, time in enumerate(times)
    ]


def inside(field: str, tree: Any, code: str) -> Filter:
    """Passes what is in a region or an industry."""
    listed, beginnings = tree.inside(code)
    assert len(listed) > 1
    return some_of([Test(field, "in", listed), Test(field, "begins", beginnings)])


def explained(rule: Rule, events: list[Event], **options: Any) -> Explanation:
    """The explanation of the last event, after all others."""
    return explain(rule, events[-1], events, reference(), **options)


def test_an_event_that_fires_is_explained_with_its_window() -> None:
    events = given_events(-2 * HOUR, 0, 60_000, 120_000)
    found = explained(checked_rule(), events)
    assert found.verdict == "fired"
    assert [each.event for each in found.window] == [each.id for each in events[1:]]
    assert (found.window_start, found.time, found.window_count) == (NOW + 120_000 - HOUR, NOW + 120_000, 3)
    assert [(each.name, each.value, each.needed, each.lacking) for each in found.measures] == [("count", 3, 3, 0)]
    assert len(found.alerts) == 1
    assert found.group == (("enterprise", "x:1"),)


def test_an_event_that_does_not_fire_is_told_its_distance_to_each_threshold() -> None:
    rule = checked_rule(
        trigger={
            "count": {"at_least": 5},
            "distinct": {"of": "reporter", "at_least": 3},
            "sum": {"of": "amount_fen", "at_least": 1_000},
        }
    )
    events = given_events(0, 1, reporter="p", amount_fen=300)
    found = explained(rule, events)
    assert found.verdict == "below"
    assert {each.name: (each.of, each.value, each.lacking) for each in found.measures} == {
        "count": (None, 2, 3),
        "distinct": ("reporter", 1, 2),
        "sum": ("amount_fen", 600, 400),
    }
    assert found.alerts == ()


def test_an_episode_that_had_its_alert_is_named() -> None:
    events = given_events(0, 1, 2, 3)
    first = explained(checked_rule(), events[:3])
    found = explained(checked_rule(), events)
    assert (first.verdict, found.verdict) == ("fired", "already")
    assert found.alerts == first.alerts


def test_a_late_event_is_told_how_late_it_was() -> None:
    events = given_events(3 * HOUR, 0)
    found = explained(checked_rule(), events)
    assert found.verdict == "late"
    assert found.lateness_limit == NOW + 2 * HOUR
    assert found.newest == NOW + 3 * HOUR


def test_an_event_that_was_too_old_to_be_judged_is_called_so() -> None:
    old = event(enterprise="x:1", occurred_at=NOW - DAY)
    assert explain(checked_rule(), old, [], reference(), max_age=DAY - 1).verdict == "too-old"
    assert explain(checked_rule(), old, [], reference(), max_age=DAY).verdict == "below"
    again = old._replace(historical=True)
    assert explain(checked_rule(), again, [], reference(), max_age=1).verdict == "below"


def test_what_keeps_an_event_from_counting_is_named() -> None:
    assert explain(checked_rule(), event(category="price", enterprise="x:1"), [], reference()).verdict == "condition"
    lacking = explain(checked_rule(), event(), [], reference())
    assert lacking.verdict == "no-group"
    assert lacking.group == (("enterprise", None),)
    assert explain(checked_rule(status="retired"), event(enterprise="x:1"), [], reference()).verdict == "retired"


def test_every_part_of_a_condition_has_its_value() -> None:
    rule = checked_rule(
        on=["complaint", "violation", "consumer-rights"],
        condition='category == "price" && (amount_fen * 2 > 100 || severity >= 3) && size(tags) < 2',
    )
    found = clauses_of(rule.checked, event(category="price", amount_fen=20, tags=("a",)))
    assert [(each.depth, each.text, each.value, each.missing) for each in found] == [
        (0, rule.condition, None, ("severity",)),
        (1, 'category == "price" && (amount_fen * 2 > 100 || severity >= 3)', None, ("severity",)),
        (2, 'category == "price"', "true", ()),
        (3, "category", "price", ()),
        (2, "amount_fen * 2 > 100 || severity >= 3", None, ("severity",)),
        (3, "amount_fen * 2 > 100", "false", ()),
        (4, "amount_fen * 2", "40", ()),
        (5, "amount_fen", "20", ()),
        (3, "severity >= 3", None, ("severity",)),
        (4, "severity", None, ("severity",)),
        (1, "size(tags) < 2", "true", ()),
        (2, "size(tags)", "1", ()),
        (3, "tags", "[a]", ()),
    ]


LONG = "x" * 199


@pytest.mark.parametrize(
    ("condition", "text", "value"),
    [
        ('occurred_at < timestamp("2030-01-01T00:00:00Z")', "occurred_at", "2027-01-15T08:00:00.005Z"),
        ("[occurred_at] == []", "[occurred_at]", "[2027-01-15T08:00:00.005Z]"),
        ('occurred_at - received_at < duration("90s")', "occurred_at - received_at", "0.005s"),
        ('address + "y" == "z"', 'address + "y"', LONG + "y"),
        ('address + "yy" == "z"', 'address + "yy"', LONG + "…"),
        ('dyn(category == "price" ? dyn(null) : dyn(1)) != 4', 'dyn(category == "price" ? dyn(null) : dyn(1))', None),
    ],
)
def test_a_value_is_told_as_people_read_it(condition: str, text: str, value: str | None) -> None:
    found = clauses_of(
        checked_rule(condition=condition).checked, event(category="price", address=LONG, occurred_at=NOW + 5)
    )
    assert [(each.value, each.hidden) for each in found if each.text == text] == [(value, False)]


@pytest.mark.parametrize(
    ("condition", "parts"),
    [
        ("tags.exists(t, t == category)", ["tags.exists(t, t == category)", "tags"]),
        ("!present(severity)", ["!present(severity)", "present(severity)"]),
        (".amount_fen > 0", ["amount_fen > 0", "amount_fen"]),
    ],
)
def test_the_parts_of_a_condition_are_those_that_have_a_value_for_the_whole_event(
    condition: str, parts: list[str]
) -> None:
    found = list(clauses_of(checked_rule(condition=condition).checked, event(amount_fen=0, tags=("a",))))
    start = next(place for place, each in enumerate(found) if each.text == parts[0])
    assert [(each.text, each.depth) for each in found[start:]] == [
        (text, found[start].depth + number) for number, text in enumerate(parts)
    ]
    assert not any(each.missing for each in found)


@pytest.mark.parametrize(
    ("condition", "missing", "error"),
    [
        (".severity > 2", ("severity",), ""),
        ("severity + amount_fen > 2", ("severity",), ""),
        ("severity > 2 || product + address + region + industry == category",
         ("address", "industry", "product", "region", "severity"), ""),
        ("amount_fen / 0 > 2", (), "divide by zero"),
        ("amount_fen / 0 > severity", ("severity",), ""),
        ("int(category) > 1", (), "cannot convert 'price' to int"),
        ("int(text) > 1", (), ""),
    ],
)  # fmt: skip
def test_a_condition_without_a_value_is_told_what_it_lacks_or_else_what_went_wrong(
    condition: str, missing: tuple[str, ...], error: str
) -> None:
    rule = checked_rule(condition=condition)
    whole = next(clauses_of(rule.checked, event(category="price", amount_fen=0, text="x")))
    assert (whole.value, whole.missing, whole.error) == (None, missing, error)


@pytest.mark.parametrize(
    ("condition", "text", "value", "hidden"),
    [
        ('text.contains("x")', 'text.contains("x")', "true", False),
        ("size(text) > 1", "size(text)", "4", False),
        ("size(text) * 2 > 1", "size(text) * 2", "", True),
        ('[text, category] == ["x"]', "[text, category]", "2", True),
    ],
)
def test_of_something_personal_its_length_and_what_is_asked_of_it_are_told(
    condition: str, text: str, value: str, hidden: bool
) -> None:
    found = clauses_of(checked_rule(condition=condition).checked, event(category="price", text="xxxx"))
    assert [(each.value, each.hidden) for each in found if each.text == text] == [(value, hidden)]


SECRET = "王小明 13812345678"


@pytest.mark.parametrize(
    "condition",
    [
        'text.contains("王")',
        'contains_any(text, ["王小明"])',
        'text + "x" == demand',
        "size(text) > 3 && present(reporter)",
        'text.startsWith("王") ? reporter == text : demand == reporter',
        'int(text) > 3 || text in ["a"]',
        'tags.exists(t, t == text) || text == ""',
        'timestamp(text) < occurred_at',
    ],
)  # fmt: skip
def test_nothing_personal_is_told(condition: str) -> None:
    rule = checked_rule(condition=condition, group_by="reporter", case=None, lead=None)
    secret = event(text=SECRET, demand=SECRET, reporter=SECRET, tags=("a",))
    found = explain(rule, secret, [secret], reference())
    told = repr(found).replace(repr(condition), "")
    for text in (clause.text for clause in found.clauses):
        told = told.replace(repr(text), "")
    assert "1381234" not in told
    assert "小明" not in told
    assert any(each.hidden and each.value == str(len(SECRET)) for each in found.clauses)
    assert found.group == (("reporter", str(len(SECRET))),)
    assert found.key is None
    assert set(PERSONAL) >= {"text", "reporter", "demand"}


RULES = [
    {},
    {"window": {"kind": "tumbling", "size": "1h", "lateness": "30m"}},
    {"trigger": {"distinct": {"of": "reporter", "at_least": 2}}, "window": {"size": "2h"}, "episode": "1h"},
    {"group_by": "region.county", "case": None, "lead": None, "trigger": {"count": {"at_least": 2}}},
]  # fmt: skip
_events = st.lists(
    st.tuples(
        st.integers(0, 10).map(lambda each: each * 30 * 60_000),
        st.sampled_from(["x:1", "x:2", None]),
        st.sampled_from(["food-safety", "price"]),
        st.sampled_from(["p", "q"]),
        st.sampled_from(["cn:310115", "cn:310112"]),
    ),
    min_size=1,
    max_size=14,
)


@given(st.sampled_from(RULES), _events)
@settings(max_examples=200, deadline=None)
def test_the_verdict_is_what_the_engine_did(changes: dict[str, Any], rows: list[tuple[Any, ...]]) -> None:
    rule = checked_rule(**changes)
    ruleset = RuleSet([rule])
    matcher, engine = Matcher(ruleset, reference()), Engine(ruleset)
    events = [
        event(number, occurred_at=NOW + at, received_at=NOW + 100 * HOUR + number, enterprise=enterprise,
              category=category, reporter=reporter, region=region)
        for number, (at, enterprise, category, reporter, region) in enumerate(rows)
    ]  # fmt: skip
    for number, each in enumerate(events):
        found = explain(rule, each, events, reference())
        facts = matcher.facts(each)
        assert found.verdict in VERDICTS
        if not facts:
            assert found.verdict in ("condition", "no-group")
            continue
        decision = engine.add(facts[0], each.received_at)
        assert (found.verdict == "late") == decision.late
        assert (found.verdict == "fired") == bool(decision.alerts)
        if decision.alerts:
            assert found.alerts == tuple(alert.id for alert in decision.alerts)
        assert [each.event for each in found.window if each.event == events[number].id] or decision.late
        assert found.verdict != "below" or any(measure.lacking for measure in found.measures)


def test_the_history_that_is_asked_for_is_that_of_the_group() -> None:
    told = str(history_filter(checked_rule(group_by=["region.county", "product"], case=None, lead=None),
                              event(region="cn:310115", product="p"), reference()))  # fmt: skip
    assert "'cn:310115'" in told
    assert "field='product', operator='=', values=('p',)" in told


REGIONS, INDUSTRIES = reference().regions, reference().industries


@pytest.mark.parametrize(
    ("groups", "fields", "asked"),
    [
        (["region.county", "product"], {"product": "p"}, [Test("product", "=", ("p",))]),
        (["cell.5km", "product"], {"product": "p", "latitude": 31.2, "longitude": 121.5},
         [Test("product", "=", ("p",))]),
        (["region.city"], {"region": "cn:310115"}, [inside("region", REGIONS, "cn:310100")]),
        (["industry.division"], {"industry": "cn:H6210"}, [inside("industry", INDUSTRIES, "cn:H62")]),
    ],
)  # fmt: skip
def test_the_history_asks_for_the_same_value_or_all_that_is_inside_the_same_place_or_industry(
    groups: list[str], fields: dict[str, Any], asked: list[Filter]
) -> None:
    rule = checked_rule(group_by=groups, case=None, lead=None)
    found = history_filter(rule, event(**fields), reference())
    assert found == all_of([filter_of_rule(rule, reference()), *asked])


def test_a_fact_of_an_event_that_is_said_to_happen_after_it_was_received_is_of_that_moment() -> None:
    assert fact_time(event(occurred_at=NOW + 1, received_at=NOW)) == NOW
    assert fact_time(event(occurred_at=NOW - 1, received_at=NOW)) == NOW - 1


def test_a_retired_rule_is_called_so_before_an_event_is_called_too_old() -> None:
    old = event(enterprise="x:1", occurred_at=NOW - DAY)
    assert explain(checked_rule(status="retired"), old, [], reference(), max_age=1).verdict == "retired"


def test_of_an_event_that_was_not_judged_the_thresholds_are_told_all_the_same() -> None:
    found = explain(checked_rule(), event(enterprise="x:1", occurred_at=NOW - DAY), [], reference(), max_age=1)
    assert [(each.name, each.value, each.needed) for each in found.measures] == [("count", 0, 3)]
    assert found.window_start is None


def test_the_alert_of_another_key_is_not_named() -> None:
    events = given_events(0, 1, 2, 3)
    assert explained(checked_rule(), events[:3]).verdict == "fired"
    other = events[3]._replace(enterprise="x:2")
    assert explained(checked_rule(), [*events[:3], other]).alerts == ()


def test_the_limit_of_a_late_event_and_its_episode_are_told_in_full() -> None:
    rule = checked_rule(window={"size": "1h", "lateness": "30m"}, episode="2h")
    events = given_events(0, 1)
    found = explained(rule, events)
    assert found.lateness_limit == NOW - HOUR - HOUR // 2
    assert found.episode is not None
    assert found.episode <= NOW < found.episode + 2 * HOUR == found.episode_end


def test_of_a_window_with_many_events_all_are_counted_and_the_newest_are_named() -> None:
    events = given_events(*range(MAX_EVENTS + 5))
    found = explained(checked_rule(), events)
    assert found.window_count == MAX_EVENTS + 5
    assert [each.event for each in found.window] == [each.id for each in events[5:]]


SETTLED: dict[str, Any] = {
    "trigger": {"avg": {"of": "amount_fen", "at_least": 10}, "count": {"at_least": 2}},
    "window": {"size": "1h", "lateness": "1m"},
    "episode": "30d",
}
PATTERN: dict[str, Any] = {
    "pattern": {
        "steps": [
            {"name": "first", "where": "amount_fen > 1"},
            {"name": "second", "where": "amount_fen > 2", "related": "amount_fen > first.amount_fen"},
        ],
        "within": "1h",
        "lateness": "1m",
    },
    "window": None,
    "trigger": None,
}


def of_kind(changes: dict[str, Any]) -> Rule:
    """A rule with changes, of which None takes a key out."""
    file = {name: value for name, value in rule_file(**changes).items() if value is not None}
    found, errors = Checker(reference()).rule(parse(json.dumps(file)))
    assert found is not None, errors
    return found


def test_of_a_rule_that_the_clock_decides_it_says_so_and_names_the_alert_of_the_episode() -> None:
    rule = of_kind(SETTLED)
    assert rule.judging is not None
    events = given_events(0, 1, rule.lateness + HOUR, amount_fen=20)
    assert explained(rule, events[:2]).verdict == "settling"
    assert explained(rule, events[:2]).alerts == ()
    assert len(explained(rule, events).alerts) == 1
    # The clock comes before an event that is received when it settles something.
    due = events[1].received_at + rule.lateness + 1
    assert len(explained(rule, [*events[:2], events[2]._replace(received_at=due)]).alerts) == 1
    assert explained(rule, [*events[:2], events[2]._replace(received_at=due - 1)]).alerts == ()


def test_the_condition_of_a_ratio_is_told_after_that_of_the_rule() -> None:
    trigger = {"ratio": {"of": "amount_fen > 9", "at_least": 0.5}}
    rule = of_kind({"trigger": trigger, "window": {"size": "1h", "lateness": "1m"}})
    told = [(each.text, each.depth, each.value) for each in explained(rule, given_events(0, amount_fen=20)).clauses]
    assert told[-2:] == [("amount_fen > 9", 0, "true"), ("amount_fen", 1, "20")]


def test_of_a_pattern_the_conditions_of_every_step_are_told() -> None:
    found = explained(of_kind(PATTERN), given_events(0, amount_fen=2))
    assert found.verdict == "settling"
    told = {clause.text: clause.value for clause in found.clauses}
    assert told["amount_fen > 1"] == "true"
    assert told["amount_fen > 2"] == "false"
    assert told["amount_fen > first.amount_fen"] is None


def test_a_rule_that_decides_at_once_over_whole_facts_fires_and_has_fired() -> None:
    rule = of_kind({"escalate": [{"trigger": {"count": {"at_least": 9}}, "severity": "critical"}]})
    assert rule.judging is not None
    events = given_events(0, 1, 2, 3)
    assert [explained(rule, events[:end]).verdict for end in (2, 3, 4)] == ["below", "fired", "already"]


@pytest.mark.parametrize("judged", [False, True])
def test_an_event_whose_own_window_is_below_is_called_so_though_a_later_one_had_the_alert(judged: bool) -> None:
    """Whether a rule is judged over a few bytes a fact or over whole facts says nothing about its answer."""
    count = {"count": {"at_least": 3}}
    rule = of_kind({"trigger": {"all": [count]} if judged else count, "window": {"size": "2h", "lateness": "1h"},
                    "episode": "30d"})  # fmt: skip
    assert (rule.judging is not None) is judged
    events = given_events(60, 61, 62, 0)
    assert explained(rule, events[:3]).verdict == "fired"
    late = explained(rule, [*events[:3], events[3]._replace(received_at=NOW + 63)])
    assert (late.verdict, len(late.alerts)) == ("below", 1)


def test_a_rule_on_alerts_looks_at_no_event() -> None:
    rule = of_kind(
        {
            "on": ["alert"],
            "rules": {"other": 5},
            "condition": 'present(region) && lead == "x"',
            "trigger": {"score": {"at_least": 9}},
        }
    )
    found = explained(rule, given_events(0))
    assert (found.verdict, found.group) == ("alerts", ())
    assert not any(clause.value or clause.missing for clause in found.clauses)
    assert 'lead == "x"' in [clause.text for clause in found.clauses]
    assert filter_of_rule(rule, reference()) == NOTHING


def test_of_a_square_of_the_map_the_filter_asks_for_a_place() -> None:
    square = {"group_by": "cell.5km", "case": None}
    rule = of_kind(square)
    assert {"latitude", "longitude"} <= fields_of_rule(rule)
    here = event(1, latitude=31.2, longitude=121.5)
    assert Matcher(RuleSet([rule]), reference()).facts(here)
    assert history_filter(rule, here, reference()) == filter_of_rule(rule, reference())
    there = [Test("latitude", "present"), Test("longitude", "present")]
    assert filter_of_rule(rule, reference()) == all_of([filter_of(rule.checked, reference()), *there])
