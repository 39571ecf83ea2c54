"""The matcher: which rules an event concerns, and what its facts carry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jianguan.domain.ids import fact_id
from rules.checking import Checker
from rules.facts import Matcher
from rules.loader import parse
from rules.model import RuleFile
from rules.rule import Rule
from rules.ruleset import RuleSet
from tests.rules.support import HOUR, NOW, event, reference, rule_file


def loaded(**changes: Any) -> Rule:
    found, errors = Checker(reference()).rule(parse(json.dumps(rule_file(**changes))))
    assert found is not None, [str(error) for error in errors]
    return found


def matcher(*rules: Rule) -> Matcher:
    return Matcher(RuleSet(rules), reference())


def test_a_fact_carries_what_windows_and_alerts_need() -> None:
    checker = Checker(reference())
    file = rule_file(
        group_by=["enterprise", "region.city"],
        trigger={
            "distinct": {"of": "region.county", "at_least": 2},
            "sum": {"of": "amount_fen", "at_least": 2},
        },
    )
    a_rule, errors = checker.rule(parse(json.dumps(file)))
    assert not errors
    assert a_rule is not None
    made = event(
        7,
        enterprise="uscc:X",
        enterprise_name="N",
        region="cn:310115",
        industry="cn:H62",
        amount_fen=12,
        received_at=NOW + 3,
    )
    facts = matcher(a_rule).facts(made)
    assert len(facts) == 1
    fact = facts[0]
    assert fact.id == fact_id("a-rule", 1, made.id)
    assert fact.key == "uscc:X\x1fcn:310100"
    assert (fact.rule, fact.version, fact.event) == ("a-rule", 1, made.id)
    assert (fact.time, fact.received_at) == (NOW, NOW + 3)
    assert (fact.number, fact.member) == (12.0, "cn:310115")
    assert (fact.enterprise, fact.enterprise_name, fact.region) == ("uscc:X", "N", "cn:310115")
    assert (fact.industry, fact.category) == ("cn:H62", "food-safety")


def test_an_event_that_lacks_a_group_field_makes_no_fact() -> None:
    assert matcher(loaded()).facts(event()) == []
    assert matcher(loaded(group_by="address", case={"key": "address"})).facts(event(address="")) == []


def test_a_region_without_that_level_makes_no_fact() -> None:
    by_county = matcher(loaded(group_by="region.county", case={"key": "region.county"}))
    assert by_county.facts(event(region="cn:310000")) == []
    assert by_county.facts(event(region="zz:unknown")) == []
    assert [fact.key for fact in by_county.facts(event(region="cn:310115"))] == ["cn:310115"]


def test_an_event_from_the_future_counts_when_it_was_received() -> None:
    facts = matcher(loaded()).facts(event(enterprise="uscc:X", occurred_at=NOW + HOUR, received_at=NOW))
    assert [fact.time for fact in facts] == [NOW]


def test_only_kinds_in_on_are_looked_at() -> None:
    only_violations = matcher(loaded(on=["violation"]))
    assert only_violations.facts(event(enterprise="uscc:X")) == []
    assert only_violations.facts(event(enterprise="uscc:X", kind="violation"))
    two = matcher(loaded(on=["violation", "consumer-rights"]))
    kinds = [
        kind for kind in ("complaint", "violation", "consumer-rights") if two.facts(event(enterprise="x:1", kind=kind))
    ]
    assert kinds == ["violation", "consumer-rights"]


def test_kinds_bind_a_condition_with_or_as_a_whole() -> None:
    a_rule = loaded(on=["violation"], condition='category == "food-safety" || category == "price" // either')
    assert matcher(a_rule).facts(event(enterprise="uscc:X")) == []
    assert matcher(a_rule).facts(event(enterprise="uscc:X", kind="violation", category="price"))


def test_a_missing_field_makes_a_condition_not_true() -> None:
    a_rule = loaded(condition="penalty_fen > 0")
    assert matcher(a_rule).facts(event(enterprise="uscc:X")) == []
    assert matcher(a_rule).facts(event(enterprise="uscc:X", penalty_fen=1))


def test_retired_rules_are_not_run_and_shadow_rules_are() -> None:
    for status, expected in (("active", 1), ("shadow", 1), ("retired", 0)):
        assert len(matcher(loaded(status=status)).facts(event(enterprise="uscc:X"))) == expected


@pytest.mark.parametrize("ancestor", ["cn:31", "cn:310000", "cn:310100", "cn:310115"])
def test_an_ancestor_region_may_be_written_short(ancestor: str) -> None:
    a_rule = loaded(condition=f'region_within(region, "{ancestor}")')
    assert matcher(a_rule).facts(event(enterprise="uscc:X", region="cn:310115"))
    assert not matcher(a_rule).facts(event(enterprise="uscc:X", region="cn:330106"))


def test_all_rules_together_find_what_each_finds_alone() -> None:
    shipped = RuleSet.load([RuleSet.library_path()], reference())
    together = Matcher(shipped, reference())
    events = [
        event(
            number,
            kind=kind,
            category=category,
            result="fail" if kind == "violation" else None,
            outcome="refused" if kind == "consumer-rights" else None,
            nature="report",
            penalty_fen=5,
            amount_fen=5,
            critical_count=2,
            enterprise="us-chi-licence:1" if number % 2 else "uscc:X",
            region="cn:310115" if number % 3 else "us-chi:ward-1",
            product="p",
            platform="f",
            address="a",
            reporter="r",
            source="us-chi:311" if number % 5 else "us-nyc:311",
            tags=("garbage-in-alley", "expired"),
            text="孩子在学校食堂吃了过期食品后腹泻，商家拒绝退款，跑路，电梯起火",
            industry="cn:P8391",
        )
        for number, (kind, category) in enumerate(
            (kind, category)
            for kind in ("complaint", "violation", "consumer-rights")
            for category in ("food-safety", "sanitation", "prepaid-card", "food-inspection", "wages", "online-trade")
        )
    ]
    alone = [(each.id, Matcher(RuleSet([each]), reference())) for each in shipped.running]
    hits = 0
    for each in events:
        found = sorted(fact.rule for fact in together.facts(each))
        assert found == sorted(identifier for identifier, one in alone if one.facts(each))
        hits += len(found)
    assert hits > 50


def test_the_rule_file_of_the_tests_is_right() -> None:
    assert RuleFile.model_validate(rule_file()).groups == ("enterprise",)
