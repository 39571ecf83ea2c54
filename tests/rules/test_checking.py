"""Every fault of a rule file is found, in one go, with its place and a hint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rules.checking import Checker
from rules.facts import Matcher
from rules.loader import parse
from rules.ruleset import RuleErrors, RuleSet
from rules.running import Running
from tests.rules.support import event, reference, rule_file

GOOD = """\
id: a-rule
version: 1
title: {zh: 规则, en: A rule}
owner: market-regulation
legal_basis: some law, article 1
on: [complaint]
condition: category == "food-safety"
group_by: enterprise
window: {size: 1h}
trigger:
  count: {at_least: 3}
severity: high
case: {key: enterprise}
lead: market-regulation
"""


DECIDED = "lead: market-regulation\ndecision_table:\n- {{when: {0}, lead: {1}}}"
TRIGGER = "trigger:\n  count: {at_least: 3}"


def faults(text: str) -> list[str]:
    found, errors = Checker(reference()).rule(parse(text))
    assert (found is None) == bool(errors)
    return [str(error) for error in errors]


def faults_of(**changes: Any) -> list[str]:
    return faults(json.dumps(rule_file(**changes), ensure_ascii=False))


def test_a_good_rule_has_no_fault() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("severity: high", "severty: high", "12:1: there is no key severty here (did you mean severity?)"),
        ("severity: high\n", "", "1:1: the key severity is missing"),
        ("severity: high", "severity: hihg", "12:11: severity must be 'info', 'low', 'medium', 'high' or 'critical'"),
        ("{size: 1h}", "{size: 1w}", "9:16: window.size: is a duration such as 90s, 30m, 24h or 7d"),
        ("{size: 1h}", "{size: 0h}", "9:16: window.size: must be longer than nothing"),
        ("{size: 1h}", "{siz: 1h}", "9:10: there is no key siz here (did you mean size?)"),
        ("  count: {at_least: 3}", "  count: {at_least: three}", "11:21: trigger.count.at_least: must be a whole"),
        ("  count: {at_least: 3}", "  count: {}", "11:3: the key at_least is missing"),
        ("trigger:\n  count: {at_least: 3}", "trigger: {}", "10:10: trigger: needs at least one of"),
        ("owner: market-regulation", "owner: market-regluation", "there is no department market-regluation"),
        ("lead: market-regulation", "lead: market-regulaton", "14:7: there is no department market-regulaton"),
        ("lead: market-regulation\n", "", "13:1: a case needs a lead department (add lead)"),
        ("group_by: enterprise", "group_by: enterprize", "8:11: group_by does not have the right form"),
        ("group_by: enterprise", "group_by: region.country-side", "8:11: region has no level country-side"),
        ("case: {key: enterprise}", "case: {key: region}", "13:13: region is not in group_by"),
        ('category == "food-safety"', 'categroy == "food-safety"', "7:12: there is no field categroy"),
        ('category == "food-safety"', 'category == 5', "7:21: == does not take (string, int)"),
        ('category == "food-safety"', 'category', "7:12: the condition gives string where bool is needed"),
        ('category == "food-safety"', 'region_within(region, "cn:99")', "7:34: 'cn:99' is no known region"),
        ('category == "food-safety"', 'industry_within(industry, "cn:Z")', "7:38: 'cn:Z' is no known industry"),
        ("lead: market-regulation", "lead: commerce\nclock: complaint-acceptanse", "15:8: there is no statutory"),
        ("lead: market-regulation", "lead: {by: category, table: {}, default: commerce}", "category is not in"),
        ("{size: 1h}", "{size: 1h, gap: 5m}", "9:9: window: a session needs gap, and no other window has one"),
        ("{size: 1h}", "{kind: tumbling, size: 3wd}", "9:32: only a sliding window counts working days"),
        (TRIGGER, "trigger: {avg: {of: amount_fen}}", "trigger.avg: needs at_least, at_most or both"),
        (TRIGGER, "trigger: {avg: {of: amount_fen, at_most: 3}}", "9:1: the clock settles this rule"),
        (TRIGGER, "trigger: {ratio: {of: categry == 'x', at_least: 0.5}}", "10:23: there is no field categry"),
        (TRIGGER, "trigger: {any: [{distinct: {of: region.x, at_least: 2}}]}", "region has no level x"),
        (TRIGGER, "trigger: {avgg: {of: amount_fen, at_most: 3}}", "no key avgg here (did you mean avg?)"),
        ("lead: market-regulation", DECIDED.format("{region: 'cn:31'}", "commerce"), "region is not in group_by ("),
        ("lead: market-regulation", DECIDED.format("{enterprise: x}", "comerce"), "16:33: there is no department"),
        (
            "lead: market-regulation",
            DECIDED.format("{enterprise: x}", "commerce") + "\n- {when: {enterprise: x}, lead: commerce}",
            "row 1 fits the same groups: this one is never tried",
        ),
        ("version: 1", "version: 1\nin_force: {from: 2026-02-30}", "in_force.from: is a day such as 2026-01-31"),
        ("version: 1", "version: 1\nin_force: {from: 2026-02-01, until: 2026-02-01}", "3:11: in_force: until is not"),
        ("version: 1", "version: '1'", "2:10: version: must be a whole number"),
        ("version: 1", "version: 0", "2:10: version: input should be greater than or equal to 1"),
        ("on: [complaint]", "on: [complaints]", "6:6: on.0 must be 'complaint', 'violation', 'consumer-rights' or"),
        ("on: [complaint]", "on: [complaint，violation]", "(， is a full-width character: write the ASCII `,`)"),
        ("{at_least: 3}", "{at_least: ３}", "whole number (３ is a full-width character: write the ASCII `3`)"),
        ("{size: 1h}", "{size：1h}", "no key size：1h here (： is a full-width character: write the ASCII `:`)"),
        ("title: {zh: 规则, en: A rule}", "title: {zh: 规则}", "3:1: the key en is missing"),
    ],
)  # fmt: skip
def test_a_fault_says_where_it_is_and_what_to_write(old: str, new: str, said: str) -> None:
    assert old in GOOD
    found = faults(GOOD.replace(old, new))
    assert any(said in each for each in found), found


STEPS = {
    "steps": [{"name": "one", "where": "true"}, {"name": "two", "where": "true"}],
    "within": "1d",
    "lateness": "1h",
}
LATE = {"size": "1h", "lateness": "1h"}
FOUR = {"count": {"at_least": 4}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"window": None, "trigger": None}, "needs window and trigger, or pattern"),
        ({"trigger": None}, "window and trigger go together"),
        ({"window": None, "pattern": STEPS}, "window and trigger go together"),
        ({"pattern": STEPS}, "has window and trigger, or pattern, not both"),
        (
            {"window": None, "trigger": None, "pattern": STEPS, "cooldown": "1h"},
            "escalate and cooldown are for windows",
        ),
        (
            {
                "window": None,
                "trigger": None,
                "pattern": STEPS,
                "escalate": [{"trigger": FOUR, "severity": "critical"}],
            },
            "escalate and cooldown are for windows",
        ),
        ({"escalate": [{"trigger": FOUR, "severity": "high"}]}, "each severity in escalate must be graver"),
        (
            {"severity": "low", "escalate": [{"trigger": FOUR, "severity": each} for each in ("high", "medium")]},
            "each severity in escalate must be graver",
        ),
        ({"rules": {"b-rule": 1}}, "a rule on alerts has `on: [alert]` and `rules`"),
        ({"window": {"kind": "session", "size": "1h"}}, "a session needs gap"),
    ],
)
def test_parts_of_a_rule_that_do_not_go_together_are_a_fault(changes: dict[str, Any], said: str) -> None:
    found = faults_of(**changes)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "severity": "low",
            "escalate": [{"trigger": FOUR, "severity": each} for each in ("medium", "high", "critical")],
        },
        {"severity": "info", "escalate": [{"trigger": FOUR, "severity": "critical"}]},
        {"window": LATE, "cooldown": "1h", "escalate": [{"trigger": FOUR, "severity": "critical"}]},
        {"window": None, "trigger": None, "pattern": STEPS},
        {"window": {"kind": "session", "gap": "5m", **LATE}},
        {"window": LATE, "trigger": {"avg": {"of": "amount_fen", "at_most": 0}}},
        {"window": LATE, "trigger": {"not": {"count": {"at_least": 1}}}},
    ],
)
def test_parts_of_a_rule_that_go_together_are_no_fault(changes: dict[str, Any]) -> None:
    assert faults_of(**changes) == []


@pytest.mark.parametrize(
    ("clause", "key", "least", "most"),
    [
        ({"count": {}}, "at_least", 1, 1_000_000),
        ({"distinct": {"of": "reporter"}}, "at_least", 1, 1_000_000),
        ({"sum": {"of": "amount_fen"}}, "at_least", 1, None),
        ({"avg": {"of": "amount_fen"}}, "at_least", 0, None),
        ({"max": {"of": "amount_fen"}}, "at_most", 0, None),
        ({"percentile": {"of": "amount_fen", "at_least": 1}}, "p", 1, 100),
        ({"ratio": {"of": "true"}}, "at_least", 0, 1),
        ({"ratio": {"of": "true"}}, "at_most", 0, 1),
        ({"rate": {"periods": 2}}, "at_least", 0, 1_000_000),
        ({"rate": {"periods": 2}}, "at_most", 0, 1_000_000),
        ({"rate": {"at_least": 2}}, "periods", 2, 60),
        ({"rate": {"at_least": 2, "periods": 2}}, "sample", 1, 1_000_000),
    ],
)
def test_a_number_of_a_trigger_is_right_up_to_its_bounds_and_wrong_beyond(
    clause: dict[str, dict[str, Any]], key: str, least: int, most: int | None
) -> None:
    ((name, rest),) = clause.items()

    def right(number: int) -> bool:
        return faults_of(window=LATE, trigger={name: {**rest, key: number}}) == []

    assert [right(number) for number in (least - 1, least)] == [False, True]
    if most is not None:
        assert [right(number) for number in (most, most + 1)] == [True, False]


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "comerce"},
        {"lead": "comerce"},
        {"joint": ["fire-rescue", "comerce"]},
        {"lead": {"by": "enterprise", "table": {}, "default": "comerce"}},
        {"lead": {"by": "enterprise", "table": {"uscc:X": "comerce"}, "default": "commerce"}},
        {"joint": {"by": "enterprise", "table": {}, "default": ["comerce"]}},
        {"joint": {"by": "enterprise", "table": {"uscc:X": ["commerce", "comerce"]}, "default": []}},
        {"decision_table": [{"when": {"enterprise": "x:1"}, "lead": "comerce"}]},
        {"decision_table": [{"when": {"enterprise": "x:1"}, "lead": "commerce", "joint": ["comerce"]}]},
    ],
)
def test_a_department_that_is_not_there_is_found_wherever_it_is_named(changes: dict[str, Any]) -> None:
    text = json.dumps(rule_file(**changes), indent=1, ensure_ascii=False)
    (found,) = [each for each in faults(text) if "fire-rescue" not in each]
    assert "there is no department comerce (did you mean commerce?)" in found
    line, column = map(int, found.split(":")[:2])
    assert text.splitlines()[line - 1][column - 1 :].startswith('"comerce"')


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"group_by": ["enterprise", "enterprise"]}, "a field is there twice"),
        (
            {"joint": {"by": "region", "table": {}, "default": []}},
            "region is not in group_by (group_by has enterprise)",
        ),
        ({"lead": None, "decision_table": []}, "a case needs a lead department"),
        (
            {"case": None, "lead": None, "decision_table": [{"when": {"enterprise": "x:1"}, "lead": "commerce"}]},
            "it says who leads a case, and this rule opens none",
        ),
        (
            {
                "group_by": ["region", "enterprise"],
                "decision_table": [{"when": {"region": "cn:99"}, "lead": "commerce"}],
            },
            "'cn:99' is no known region",
        ),
        (
            {
                "group_by": ["industry", "enterprise"],
                "decision_table": [{"when": {"industry": ["cn:H62", "cn:Z"]}, "lead": "commerce"}],
            },
            "'cn:Z' is no known industry",
        ),
        (
            {
                "group_by": ["industry.section", "enterprise"],
                "joint": {"by": "industry.section", "table": {"cn:Z": ["commerce"]}, "default": []},
            },
            "'cn:Z' is no known industry",
        ),
        ({"window": None, "trigger": None, "pattern": {**STEPS, "lateness": "0s"}}, "the clock settles this rule"),
        (
            {"window": {"size": "3wd", "lateness": "1h"}, "trigger": {"rate": {"periods": 2, "at_least": 2}}},
            "a rate needs windows that can be laid one behind another",
        ),
        (
            {
                "window": {"kind": "session", "gap": "5m", **LATE},
                "trigger": {"any": [{"count": {"at_least": 9}}, {"rate": {"periods": 2, "at_least": 2}}]},
            },
            "a rate needs windows that can be laid one behind another",
        ),
        (
            {"window": {"within_m": 500, **LATE}, "trigger": {"rate": {"periods": 2, "at_least": 2}}},
            "a rate needs windows that can be laid one behind another",
        ),
        ({"window": {"size": "1h"}, "cooldown": "1h"}, "the clock settles this rule, and nothing would count"),
        ({"group_by": "severity"}, "does not have the right form"),
    ],
)
def test_what_a_rule_names_must_be_there_for_every_fact_of_a_group(changes: dict[str, Any], said: str) -> None:
    found = faults_of(**changes)
    assert len(found) == 1, found
    assert said in found[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"window": LATE, "trigger": {"rate": {"periods": 2, "at_least": 2}}},
        {"window": {"kind": "tumbling", **LATE}, "trigger": {"rate": {"periods": 2, "at_least": 2}}},
        {"window": {"size": "3wd"}},
        {"group_by": ["enterprise", "region"], "case": {"key": "group"}},
        {"case": None, "lead": None},
        {"lead": {"by": "enterprise", "table": {"uscc:X": "commerce"}, "default": "market-regulation"}},
        {"clock": "complaint-acceptance"},
        {"condition": 'region_within(region, "cn:31") || industry_within(industry, "cn:H")'},
    ],
)
def test_what_goes_with_a_window_or_a_group_is_no_fault(changes: dict[str, Any]) -> None:
    assert faults_of(**changes) == []


@pytest.mark.parametrize(
    ("changes", "at", "said"),
    [
        (
            {"condition": "address.contains('x') && region_within(region, 'cn:99')"},
            "cn:99",
            "'cn:99' is no known region",
        ),
        (
            {"condition": "region_within(region, 'cn:31') && industry_within(industry, 'cn:Z')"},
            "cn:Z",
            "'cn:Z' is no known industry",
        ),
        ({"group_by": ["enterprise", "region.x"]}, "region.x", "region has no level x"),
        ({"group_by": "region.x", "case": None}, "region.x", "region has no level x"),
        (
            {"trigger": {"all": [{"count": {"at_least": 2}}, {"distinct": {"of": "region.x", "at_least": 2}}]}},
            "region.x",
            "region has no level x",
        ),
        (
            {
                "window": None,
                "trigger": None,
                "pattern": {
                    "steps": [
                        {"name": "one", "where": "true"},
                        {"name": "two", "where": "true", "related": "region == three.region"},
                        {"name": "three", "where": "true", "related": "region == one.region"},
                    ],
                    "within": "1d",
                    "lateness": "1h",
                },
            },
            ".region",
            "three.region",
        ),
    ],
)
def test_a_fault_of_one_part_among_several_stands_at_that_part(changes: dict[str, Any], at: str, said: str) -> None:
    text = json.dumps(rule_file(**changes), indent=1, ensure_ascii=False)
    (found,) = faults(text)
    assert said in found
    line, column = map(int, found.split(":")[:2])
    assert text.splitlines()[line - 1][column - 1 :].lstrip("\"'").startswith(at)


def test_a_clock_without_a_case_is_a_fault() -> None:
    found = faults_of(case=None, lead=None, clock="complaint-acceptance")
    assert any("a clock runs for a case" in each for each in found), found


def test_all_faults_are_told_at_once_in_order() -> None:
    bad = GOOD.replace("severity: high", "severity: x").replace("version: 1", "version: x").replace("owner:", "ownr:")
    assert [each.split(":")[0] for each in faults(bad)] == ["1", "2", "4", "12"]


def test_a_fault_in_a_block_of_text_is_found_on_its_line() -> None:
    block = GOOD.replace(
        'condition: category == "food-safety"', 'condition: |\n  category == "food-safety" &&\n  regoin == "cn:310000"'
    )
    assert any(each.startswith("9:3: there is no field regoin") for each in faults(block)), faults(block)


def test_codes_of_tables_must_be_known_and_whole() -> None:
    table = {"by": "region.province", "table": {"cn:31": "commerce"}, "default": "market-regulation"}
    found = faults_of(group_by="region.province", case={"key": "region.province"}, lead=table)
    assert any("'cn:31' is no known region (write cn:310000)" in each for each in found), found


def test_a_rule_is_named_as_its_file(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(RuleErrors, match=r"other\.yaml:1:5: the id 'a-rule' is not the file's name \(write other\)"):
        RuleSet.load([tmp_path], reference())


def test_a_rule_that_is_there_twice_is_refused_with_both_places(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a-rule.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(RuleErrors) as caught:
        RuleSet.load([tmp_path], reference())
    assert str(tmp_path / "two" / "a-rule.yaml") in str(caught.value)
    assert str(tmp_path / "one" / "a-rule.yaml") in str(caught.value)


def test_faults_of_all_files_come_together(tmp_path: Path) -> None:
    (tmp_path / "a-rule.yaml").write_text(GOOD.replace("high", "x"), encoding="utf-8")
    (tmp_path / "broken.yaml").write_text("a: [", encoding="utf-8")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RuleErrors) as caught:
        RuleSet.load([tmp_path, tmp_path / "nowhere"], reference())
    assert "nowhere" in str(caught.value)
    with pytest.raises(RuleErrors) as caught:
        RuleSet.load([tmp_path], reference())
    assert {Path(error.path).name for error in caught.value.errors} == {"a-rule.yaml", "broken.yaml", "binary.yaml"}
    assert caught.value.exit_code == 4


def test_a_file_in_another_encoding_is_refused_at_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "a-rule.yaml"
    path.write_bytes(GOOD.encode("gbk"))
    with pytest.raises(RuleErrors) as caught:
        RuleSet.load([tmp_path], reference())
    assert str(caught.value).startswith(f"{path}:1:1: not UTF-8: byte ")


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a-rule.yaml").write_text(GOOD + "#" * 300_000, encoding="utf-8")
    with pytest.raises(RuleErrors, match="more than 262144"):
        RuleSet.load([tmp_path], reference())


def test_the_content_hash_is_of_the_meaning_and_not_of_the_layout() -> None:
    def hash_of(text: str) -> str:
        found, _ = Checker(reference()).rule(parse(text))
        assert found is not None
        return found.content_hash

    assert hash_of(GOOD) == hash_of("# a comment\n" + GOOD.replace("{size: 1h}", "\n  size: 1h"))
    assert hash_of(GOOD) == hash_of(GOOD.replace("severity: high", "severity: high\nstatus: active"))
    assert hash_of(GOOD) != hash_of(GOOD.replace("severity: high", "severity: low"))


def test_the_digest_changes_with_any_rule(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        (tmp_path / "a-rule.yaml").write_text(text, encoding="utf-8")
        return RuleSet.load([tmp_path], reference()).digest

    assert digest(GOOD) == digest(GOOD)
    assert digest(GOOD) != digest(GOOD.replace("version: 1", "version: 2"))


def test_a_rule_in_force_for_a_time_looks_at_what_happened_then() -> None:
    found, _ = Checker(reference()).rule(parse(json.dumps(rule_file(in_force={"from": "2026-04-15"}))))
    assert found is not None
    first = 1_776_182_400_000  # 2026-04-15T00:00+08:00
    assert found.in_force is not None
    assert found.in_force[0] == first
    matcher = Matcher(RuleSet([found]), reference())
    for time, facts in ((first - 1, 0), (first, 1)):
        assert len(matcher.facts(event(enterprise="uscc:X", occurred_at=time, received_at=time))) == facts


def test_an_alert_carries_the_credit_points_of_its_rule() -> None:
    found, _ = Checker(reference()).rule(
        parse(json.dumps(rule_file(credit_points=7, trigger={"count": {"at_least": 1}})))
    )
    assert found is not None
    (alert,) = Running(RuleSet([found]), reference()).take(event(enterprise="uscc:X"))
    assert alert.credit_points == 7
