"""Each check of the linter finds its fault, and only that."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from rules.finding import Finding, worst
from rules.lint import CHECKS, descriptions, lint, lint_folders
from rules.lint_output import as_json, as_sarif, as_text
from rules.ruleset import RuleSet
from tests.rules.support import reference, rule_file
from tests.rules.test_explain import PATTERN, SETTLED

FINE: dict[str, Any] = {
    "legal_basis": "《中华人民共和国食品安全法》第三十四条",
    "runbook": {"zh": "到场检查", "en": "Go there"},
}
TESTS = {
    "defaults": {"category": "food-safety", "enterprise": "x:1"},
    "cases": [
        {"name": "three raise it", "events": [{"at": "0s", "repeat": 3, "every": "1m"}], "expect": {"alerts": 1}},
        {"name": "two do not", "events": [{"at": "0s", "repeat": 2, "every": "1m"}], "expect": {"alerts": 0}},
    ],
}


def found(folder: Path, tests: object = TESTS, **changes: Any) -> list[tuple[str, str]]:
    """(level, code) of the findings in one rule."""
    file = rule_file(**{**FINE, **changes})
    (folder / "a-rule.yaml").write_text(json.dumps(file, ensure_ascii=False, indent=1), encoding="utf-8")
    if tests is not None:
        (folder / "a-rule.test.yaml").write_text(json.dumps(tests, indent=1), encoding="utf-8")
    return [(finding.level, finding.code) for finding in lint(RuleSet.load([folder], reference()), reference())]


def as_yaml(folder: Path, condition: str, **changes: Any) -> list[Finding]:
    """The findings in one rule whose condition is a block of text."""
    file = rule_file(**{**FINE, **changes, "condition": None})
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in file.items()]
    text = "".join([*lines, f"condition: |\n  {condition}\n"])
    (folder / "a-rule.yaml").write_text(text, encoding="utf-8")
    return lint_folders([folder], reference())


def as_errors(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.level == "error"]


def test_a_rule_with_everything_has_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "level", "code"),
    [
        ({"trigger": {"count": {"at_least": 11}}, "limits": {"facts_per_key": 10}}, "error", "never-true"),
        ({"trigger": {"count": {"at_least": 10_001}}}, "error", "never-true"),
        ({"trigger": {"distinct": {"of": "enterprise", "at_least": 2}}}, "error", "never-true"),
        ({"trigger": {"distinct": {"of": "region.city", "at_least": 2}}, "group_by": ["region.county", "enterprise"]},
         "error", "never-true"),
        ({"condition": 'category == "price" && category == "food-safety"'}, "error", "never-true"),
        ({"condition": 'category == "price" && (severity > 2 || category == "other")'}, "warning", "dead-alternative"),
        ({"condition": "present(enterprise)", "window": {"size": "1100d"}}, "warning", "unbounded-state"),
        ({"limits": {"facts_per_key": 50_000}}, "warning", "unbounded-state"),
        ({"condition": 'kind == "violation"'}, "error", "kind-not-in-on"),
        ({"condition": "1 == 1"}, "warning", "constant-condition"),
        ({"condition": 'kind == "complaint"'}, "warning", "constant-condition"),
        ({"limits": {"facts_per_key": 20_834}}, "warning", "unbounded-state"),
        (
            {"condition": 'present(enterprise) && kind == "complaint" && true', "window": {"size": "1100d"}},
            "warning",
            "unbounded-state",
        ),
        (
            {"joint": {"by": "enterprise", "table": {}, "default": ["commerce"]}, "case": None},
            "warning",
            "departments-without-case",
        ),
        ({"condition": 'category == "food-saftey"'}, "warning", "unknown-category"),
        ({"condition": 'category in ["price", "prize"]'}, "warning", "unknown-category"),
        ({"runbook": None}, "warning", "no-runbook"),
        ({"legal_basis": "somewhere in the law"}, "warning", "vague-legal-basis"),
        ({"title": {"zh": "A rule", "en": "A rule"}}, "warning", "title-language"),
        ({"title": {"zh": "规则", "en": "规则"}}, "warning", "title-language"),
        ({"episode": "367d"}, "warning", "episode-length"),
        ({"window": {"size": "10d"}, "episode": "1h"}, "warning", "episode-length"),
        ({"window": {"size": "10d"}, "episode": "23h"}, "warning", "episode-length"),
        ({"joint": ["market-regulation"]}, "warning", "lead-assists"),
        ({"joint": ["commerce", "commerce"]}, "warning", "lead-assists"),
        (
            {"lead": {"by": "enterprise", "table": {}, "default": "commerce"}, "joint": ["commerce", "commerce"]},
            "warning",
            "lead-assists",
        ),
        ({"joint": ["commerce"], "case": None}, "warning", "departments-without-case"),
        ({"limits": {"facts_per_key": 100_000}}, "info", "many-facts"),
        ({"trigger": {"count": {"at_least": 1}}}, "info", "every-fact-alerts"),
        ({"condition": 'text.contains("x")'}, "info", "reads-personal-text"),
        ({"status": "shadow"}, "info", "not-active"),
    ],
)  # fmt: skip
def test_a_check_finds_its_fault(tmp_path: Path, changes: dict[str, Any], level: str, code: str) -> None:
    assert (level, code) in found(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"condition": "true"},
        {"condition": 'kind == "complaint" && category == "price"'},
        {"episode": "366d"},
        {"window": {"size": "10d"}, "episode": "1d"},
        {"group_by": "region", "case": None, "lead": None, "limits": {"facts_per_key": 50_000}},
        {"trigger": {"distinct": {"of": "reporter", "at_least": 2}}},
        {"trigger": {"count": {"at_least": 2}}},
        {"trigger": {"sum": {"of": "amount_fen", "at_least": 5}}},
        {"trigger": {"count": {"at_least": 10}}, "limits": {"facts_per_key": 10}},
        {"joint": ["commerce"]},
        {"joint": {"by": "enterprise", "table": {}, "default": ["commerce"]}},
        {"lead": {"by": "enterprise", "table": {}, "default": "commerce"}, "joint": ["commerce"]},
        {"limits": {"facts_per_key": 20_833}},
        {"condition": 'category == "price"', "window": {"size": "1100d"}, "episode": "110d"},
        {"condition": "historical", "window": {"size": "1100d"}, "episode": "110d"},
        {"legal_basis": "Food Safety Law, Article 34"},
        {"trigger": {"distinct": {"of": "region.county", "at_least": 2}}, "group_by": "region.city", "case": None},
    ],
)
def test_a_rule_at_the_very_edge_of_a_check_has_no_finding(tmp_path: Path, changes: dict[str, Any]) -> None:
    assert found(tmp_path, **changes) == []


@pytest.mark.parametrize(
    ("changes", "code", "key"),
    [
        ({"trigger": {"count": {"at_least": 10_001}}}, "never-true", "count"),
        ({"trigger": {"distinct": {"of": "reporter", "at_least": 10_001}}}, "never-true", "distinct"),
        ({"trigger": {"distinct": {"of": "enterprise", "at_least": 2}}}, "never-true", "of"),
        ({"condition": 'category == "price" && category == "other"'}, "never-true", "condition"),
        ({"condition": 'nature == "report" && (number == "1" || nature == "tip")'}, "dead-alternative", "condition"),
        ({"condition": "present(enterprise)", "window": {"size": "1100d"}}, "unbounded-state", "group_by"),
        ({"limits": {"facts_per_key": 50_000}}, "unbounded-state", "facts_per_key"),
        ({"condition": "1 == 1"}, "constant-condition", "condition"),
        ({"legal_basis": "somewhere in the law"}, "vague-legal-basis", "legal_basis"),
        ({"title": {"zh": "A rule", "en": "A rule"}}, "title-language", "zh"),
        ({"title": {"zh": "规则", "en": "规则"}}, "title-language", "en"),
        ({"episode": "367d"}, "episode-length", "episode"),
        ({"window": {"size": "10d"}, "episode": "1h"}, "episode-length", "episode"),
        ({"joint": ["market-regulation"]}, "lead-assists", "joint"),
        ({"joint": ["commerce", "commerce"]}, "lead-assists", "joint"),
        ({"joint": ["commerce"], "case": None}, "departments-without-case", "joint"),
        ({"limits": {"facts_per_key": 100_000}}, "many-facts", "facts_per_key"),
        ({"trigger": {"count": {"at_least": 1}}}, "every-fact-alerts", "trigger"),
        ({"condition": 'text.contains("x")'}, "reads-personal-text", "condition"),
        ({"status": "shadow"}, "not-active", "status"),
        ({"group_by": ["enterprise", "right"]}, "kind-not-in-on", "right"),
        ({"group_by": "right", "case": None}, "kind-not-in-on", "group_by"),
        ({"trigger": {"sum": {"of": "penalty_fen", "at_least": 5}}}, "kind-not-in-on", "of"),
    ],
)  # fmt: skip
def test_a_finding_stands_at_the_key_that_it_is_about(
    changes: dict[str, Any], code: str, key: str, tmp_path: Path
) -> None:
    found(tmp_path, **changes)
    (finding,) = [each for each in lint(RuleSet.load([tmp_path], reference()), reference()) if each.code == code]
    line = (tmp_path / "a-rule.yaml").read_text("utf-8").splitlines()[finding.line - 1]
    assert f'"{key}"' in line[finding.column - 1 :].partition(":")[0]


@pytest.mark.parametrize("place", ["all", "any", "not", "escalate"])
def test_a_field_is_looked_for_wherever_a_trigger_asks_for_it(place: str, tmp_path: Path) -> None:
    inner: dict[str, Any] = {"max": {"of": "penalty_fen", "at_least": 5}}
    places: dict[str, dict[str, Any]] = {
        "all": {"trigger": {"all": [inner]}},
        "any": {"trigger": {"any": [{"count": {"at_least": 2}}, inner]}},
        "not": {"trigger": {"not": inner}},
        "escalate": {"escalate": [{"trigger": inner, "severity": "critical"}]},
    }
    codes = [code for _, code in found(tmp_path, window={"size": "1h", "lateness": "1h"}, **places[place])]
    assert "kind-not-in-on" in codes


def test_a_kind_that_on_leaves_out_is_one_finding_and_what_it_could_be_is_told(tmp_path: Path) -> None:
    (finding,) = as_errors(as_yaml(tmp_path, 'kind == "complaints" || category == "price"'))
    assert (finding.code, finding.hint) == ("kind-not-in-on", "did you mean complaint?")


def test_one_value_of_a_field_that_a_key_has_one_of_is_enough(tmp_path: Path) -> None:
    trigger = {"distinct": {"of": "enterprise", "at_least": 1}}
    assert found(tmp_path, trigger=trigger) == [("info", "every-fact-alerts")]


def test_findings_come_in_the_order_of_lines_and_files(tmp_path: Path) -> None:
    found(tmp_path, status="shadow", joint=["commerce", "commerce"], legal_basis="somewhere", runbook=None)
    text = json.dumps(rule_file(**{**FINE, "id": "b-rule", "runbook": None}), ensure_ascii=False)
    (tmp_path / "b-rule.yaml").write_text(text, encoding="utf-8")
    places = [(each.path, each.line, each.column) for each in lint_folders([tmp_path], reference())]
    assert places == sorted(places)
    assert len(set(places)) > 4


def test_a_rule_that_is_gone_when_it_is_looked_at_is_a_finding_and_hides_no_other(tmp_path: Path) -> None:
    found(tmp_path)
    text = json.dumps(rule_file(**{**FINE, "id": "b-rule"}), ensure_ascii=False)
    (tmp_path / "b-rule.yaml").write_text(text, encoding="utf-8")
    rules = RuleSet.load([tmp_path], reference())
    (tmp_path / "a-rule.yaml").unlink()
    findings = lint(rules, reference())
    assert ("broken-file", "a-rule") in [(each.code, each.rule) for each in findings]
    assert ("no-tests", "b-rule") in [(each.code, each.rule) for each in findings]


def test_a_rule_whose_tests_are_broken_is_looked_at_without_them(tmp_path: Path) -> None:
    codes = [code for _, code in found(tmp_path, {"cases": []}, runbook=None)]
    assert sorted(codes) == ["broken-file", "no-runbook"]


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [
        (narrow, wide)
        for tree in (
            ["region", "region.county", "region.city", "region.province"],
            ["industry", "industry.class", "industry.group", "industry.division", "industry.section"],
        )
        for place, narrow in enumerate(tree)
        for wide in tree[place:]
    ],
)
def test_what_is_grouped_by_a_place_or_an_industry_has_one_value_of_that_and_of_all_around_it(
    narrow: str, wide: str, tmp_path: Path
) -> None:
    def never(of: str, by: str) -> bool:
        trigger = {"distinct": {"of": of, "at_least": 2}}
        return ("error", "never-true") in found(tmp_path, trigger=trigger, group_by=by, case=None)

    assert never(wide, narrow)
    assert narrow == wide or not never(narrow, wide)


def test_a_rule_without_a_test_that_raises_or_that_does_not_is_told_which_to_add(tmp_path: Path) -> None:
    for place, alerts in ((0, 0), (1, 1)):
        found(tmp_path, {**TESTS, "cases": [TESTS["cases"][place]]})  # type: ignore[index]
        (finding,) = lint(RuleSet.load([tmp_path], reference()), reference())
        assert finding.hint == f"add a case with alerts: {alerts}"


@pytest.mark.parametrize(
    ("tests", "code"),
    [
        (None, "no-tests"),
        ({**TESTS, "cases": TESTS["cases"][:1]}, "no-tests"),  # type: ignore[index]
        ({**TESTS, "cases": TESTS["cases"][1:]}, "no-tests"),  # type: ignore[index]
        ({"cases": []}, "broken-file"),
    ],
)
def test_a_rule_without_good_tests_is_found(tmp_path: Path, tests: object, code: str) -> None:
    assert code in [each for _, each in found(tmp_path, tests)]


@pytest.mark.parametrize(
    ("condition", "on", "said", "hint"),
    [
        ('result == "failed"', "violation", "result is never 'failed'", "did you mean fail?"),
        ('result != "failed"', "violation", "result is never 'failed'", "did you mean fail?"),
        ('!("failed" == result)', "violation", "result is never 'failed'", "did you mean fail?"),
        ('outcome == "refuse"', "consumer-rights", "outcome is never 'refuse'", "did you mean refused?"),
        ('outcome in ["mediated", "closed"]', "consumer-rights", "outcome is never 'closed'", "known: mediated, pend"),
        ('nature in ["举报"]', "complaint", "nature is never '举报'", "known: complaint, report"),
        ('nature == (present(tags) ? "report" : "reports")', "complaint", "nature is never 'reports'", "report?"),
        ('nature == (present(tags) ? "reports" : "report")', "complaint", "nature is never 'reports'", "report?"),
        ('region == "310115"', "complaint", "'310115' is no known region", "write cn:310115"),
        ('region in ["cn:310115", "310104"]', "complaint", "'310104' is no known region", "write cn:310104"),
        ('region == "cn:310999"', "complaint", "'cn:310999' is no known region", "did you mean cn:"),
        ('region.startsWith("31")', "complaint", "no region begins with '31'", "write cn:31"),
        ('industry != "6210"', "complaint", "'6210' is no known industry", "write cn:H6210"),
        ('enterprise == "91310115MA1K3BXY04"', "complaint", "is no enterprise", "write uscc:91310115MA1K3BXY04"),
    ],
)
def test_a_text_that_a_field_never_holds_is_an_error_at_its_place(
    condition: str, on: str, said: str, hint: str, tmp_path: Path
) -> None:
    findings = as_yaml(tmp_path, f"present(source) &&\n  {condition}", on=[on])
    (each,) = [each for each in findings if each.code == "unknown-value"]
    assert each.level == "error"
    assert said in each.message
    assert hint in each.hint
    value = re.findall(r"'([^']+)'", each.message)[0]
    assert (tmp_path / "a-rule.yaml").read_text("utf-8").splitlines()[each.line - 1][each.column :].startswith(value)


@pytest.mark.parametrize(
    "changes",
    [
        {"condition": 'outcome == "refused"'},
        {"condition": "!present(outcome)"},
        {"condition": 'nature == "report" || outcome != "pending"'},
        {
            "condition": "true",
            "trigger": {"ratio": {"of": 'outcome == "refused"', "at_least": 0.5}},
            "window": {"size": "1d", "lateness": "1h"},
        },
        {"condition": "true", "group_by": "right", "case": None, "lead": None},
        {"condition": "true", "trigger": {"sum": {"of": "compensation_fen", "at_least": 5}}},
    ],
)
def test_a_field_that_no_kind_in_on_has_is_an_error(changes: dict[str, Any], tmp_path: Path) -> None:
    condition = changes.pop("condition")
    (each,) = [each for each in as_yaml(tmp_path, condition, **changes) if each.level == "error"]
    assert each.code == "kind-not-in-on"
    assert each.hint == "add consumer-rights to on"
    assert not as_errors(as_yaml(tmp_path, condition, on=["complaint", "consumer-rights"], **changes))


@pytest.mark.parametrize(
    "condition",
    [
        'region.startsWith("cn:31") && nature.startsWith("re")',
        'nature > "a"',
        '(present(tags) ? nature : number) == "x"',
        'region.endsWith("31")',
        '(present(tags) ? region : number).startsWith("31")',
        '"nature" in tags',
        "nature == number",
        '["report", "complaint"] == tags',
    ],
)
def test_what_compares_no_field_with_a_wrong_text_has_no_error(condition: str, tmp_path: Path) -> None:
    assert as_errors(as_yaml(tmp_path, condition)) == []


def test_a_field_that_is_missing_names_each_kind_of_on_once(tmp_path: Path) -> None:
    (each,) = as_errors(as_yaml(tmp_path, "present(outcome)", on=["violation", "complaint", "violation"]))
    assert each.message == "no complaint and no violation has the field outcome"


def test_a_wrong_text_is_found_behind_a_kind(tmp_path: Path) -> None:
    (each,) = as_errors(as_yaml(tmp_path, 'kind == "complaint" && nature == "reports"'))
    assert (each.code, each.message) == ("unknown-value", "nature is never 'reports'")


def test_rules_on_alerts_and_relations_are_asked_for_known_texts_too(tmp_path: Path) -> None:
    steps = [
        {"name": "one", "where": 'nature == "report"'},
        {"name": "two", "where": "true", "related": 'one.nature != "tip" && enterprise == one.enterprise'},
    ]
    pattern = {"steps": steps, "within": "1d", "lateness": "1h"}
    changes = {"window": None, "trigger": None, "pattern": pattern}
    assert [each.message for each in as_errors(as_yaml(tmp_path, "true", **changes))] == ["nature is never 'tip'"]
    listening = {"on": ["alert"], "rules": {"a-rule": 1}, "trigger": {"score": {"at_least": 5}}}
    findings = as_yaml(tmp_path, 'severity != "urgent" && rule == "b-rule"', **listening)
    assert "kind-not-in-on" not in {each.code for each in findings}
    messages = [each.message for each in as_errors(findings) if each.code == "unknown-value"]
    assert messages == ["severity is never 'urgent'", "rule is never 'b-rule'"]


def test_repeated_events_without_a_distance_are_told_at_their_place_in_the_tests(tmp_path: Path) -> None:
    cases = [{**TESTS["cases"][0], "events": [{"at": "0s", "repeat": 3}]}, TESTS["cases"][1]]  # type: ignore[index]
    assert found(tmp_path, {**TESTS, "cases": cases}) == [("warning", "repeat-without-every")]
    (finding,) = lint(RuleSet.load([tmp_path], reference()), reference())
    path = tmp_path / "a-rule.test.yaml"
    assert finding.path == str(path)
    assert path.read_text("utf-8").splitlines()[finding.line - 1][finding.column - 1 :].startswith('"repeat": 3')


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([{"at": "0s"}, {"at": "1m"}, {"at": "2m", "repeat": 1}], 0),
        ([{"at": "0s", "repeat": 2}, {"at": "1m"}], 1),
        ([{"at": "0s"}, {"at": "1m", "repeat": 2, "every": "1s"}], 0),
    ],
)
def test_an_event_that_comes_once_need_not_say_how_far_apart(
    events: list[dict[str, Any]], told: int, tmp_path: Path
) -> None:
    cases = [{**TESTS["cases"][0], "events": events}, TESTS["cases"][1]]  # type: ignore[index]
    assert found(tmp_path, {**TESTS, "cases": cases}) == [("warning", "repeat-without-every")] * told


def test_true_in_a_block_of_text_is_meant(tmp_path: Path) -> None:
    assert "constant-condition" not in [each.code for each in as_yaml(tmp_path, "true")]


def test_every_check_has_a_code_of_its_own() -> None:
    codes = [check.code for check in CHECKS]
    assert len(set(codes)) == len(codes)


def test_findings_point_at_the_text_and_are_told_as_text_and_json(tmp_path: Path) -> None:
    found(tmp_path, condition='category == "food-saftey"')
    findings = lint(RuleSet.load([tmp_path], reference()), reference())
    written = (tmp_path / "a-rule.yaml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, each in enumerate(written, 1) if each.startswith(' "condition"'))
    text = as_text(findings)
    assert f"a-rule.yaml:{line}:28: warning: no shipped mapping gives the category food-saftey" in text
    assert "did you mean food-safety?" in text
    assert text.endswith("0 errors, 1 warnings, 0 infos\n")
    rows = json.loads(as_json(findings))
    assert [(row["code"], row["line"], row["rule"]) for row in rows] == [("unknown-category", line, "a-rule")]
    assert worst(findings) == "warning"
    assert worst([]) is None


def test_rules_that_do_not_load_are_findings_too_and_hide_no_others(tmp_path: Path) -> None:
    found(tmp_path, runbook=None)
    (tmp_path / "b-rule.yaml").write_text("id: x", encoding="utf-8")
    findings = lint_folders([tmp_path], reference())
    assert worst(findings) == "error"
    assert {finding.code for finding in findings} == {"broken-file", "no-runbook"}
    assert {(each.code, Path(each.path).name) for each in findings} == {
        ("broken-file", "b-rule.yaml"),
        ("no-runbook", "a-rule.yaml"),
    }


LATE = {"size": "1h", "lateness": "1h"}
TWO_OF: dict[str, Any] = {"distinct": {"of": "reporter", "at_least": 2}}
SUM_OF_9: dict[str, Any] = {"sum": {"of": "amount_fen", "at_least": 9}}


def shadows(folder: Path, one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The rules that are said to be shadowed, of two that differ in these changes."""
    for name, changes in (("a-rule", one), ("b-rule", other)):
        text = json.dumps(rule_file(**{**FINE, "id": name, **changes}))
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return [each.rule for each in lint_folders([folder], reference()) if each.code == "shadowed"]


@pytest.mark.parametrize(
    ("one", "other", "shadowed"),
    [
        ({}, {}, ["b-rule"]),
        ({"trigger": {"count": {"at_least": 5}}}, {}, ["a-rule"]),
        ({"condition": 'category == "food-safety" && severity > 2'}, {}, ["a-rule"]),
        ({"trigger": {"distinct": {"of": "reporter", "at_least": 3}}}, {}, ["a-rule"]),
        ({"trigger": {"distinct": {"of": "reporter", "at_least": 2}}}, {}, []),
        ({"trigger": {"count": {"at_least": 5}}, "severity": "critical"}, {}, []),
        ({"trigger": {"count": {"at_least": 5}}}, {"status": "shadow"}, []),
        ({"trigger": {"count": {"at_least": 5}}, "window": {"size": "2h"}}, {}, []),
        ({"condition": 'category == "price"'}, {}, []),
        ({"group_by": "region", "case": None, "lead": None}, {}, []),
        ({"on": ["complaint", "violation"]}, {}, ["b-rule"]),
        ({}, {"on": ["complaint", "violation"]}, ["a-rule"]),
        ({"window": {"size": "2h"}, "episode": "1h"}, {}, []),
        ({}, {"trigger": {"sum": {"of": "amount_fen", "at_least": 1}}}, []),
        ({"trigger": SUM_OF_9}, {"trigger": {**SUM_OF_9, "count": {"at_least": 1}}}, ["b-rule"]),
        (
            {"trigger": SUM_OF_9},
            {"trigger": {"count": {"at_least": 1}, "sum": {"of": "amount_fen", "at_least": 10}}},
            ["b-rule"],
        ),
        ({"status": "retired"}, {}, []),
        ({"window": LATE}, {"window": LATE, "cooldown": "1h"}, []),
        ({"window": LATE, "inhibited_by": ["b-rule"]}, {"window": LATE}, []),
        ({}, {"limits": {"facts_per_key": 100}}, ["b-rule"]),
        ({"episode": "2h"}, {}, []),
        ({}, {"condition": "true"}, ["a-rule"]),
        ({"condition": 'kind == "complaint" && category == "food-safety"'}, {}, ["b-rule"]),
        ({"trigger": TWO_OF}, {"trigger": {"sum": {"of": "amount_fen", "at_least": 9}}}, []),
        ({"trigger": SUM_OF_9}, {"trigger": {"sum": {"of": "amount_fen", "at_least": 5}}}, ["a-rule"]),
        ({"trigger": SUM_OF_9}, {"trigger": {"sum": {"of": "amount_fen", "at_least": 10}}}, ["b-rule"]),
        ({"trigger": SUM_OF_9}, {"trigger": {"sum": {"of": "penalty_fen", "at_least": 5}}}, []),
        ({"trigger": SUM_OF_9}, {"trigger": {"count": {"at_least": 1}}}, ["a-rule"]),
        ({"trigger": SUM_OF_9}, {"trigger": {"count": {"at_least": 2}}}, []),
        ({"trigger": {**SUM_OF_9, "count": {"at_least": 3}}}, {"trigger": SUM_OF_9}, ["a-rule"]),
        ({"trigger": {**SUM_OF_9, "count": {"at_least": 3}}}, {}, ["a-rule"]),
        ({"trigger": TWO_OF}, {"trigger": {"distinct": {"of": "product", "at_least": 2}}}, []),
        ({"trigger": TWO_OF}, {"trigger": {"distinct": {"of": "reporter", "at_least": 3}}}, ["b-rule"]),
    ],
)
def test_a_rule_that_says_nothing_new_is_found(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], shadowed: list[str]
) -> None:
    assert shadows(tmp_path, one, other) == shadowed


def test_each_rule_that_says_nothing_new_is_found_though_another_is_its_equal(tmp_path: Path) -> None:
    (tmp_path / "c-rule.yaml").write_text(
        json.dumps(rule_file(**{**FINE, "id": "c-rule", "trigger": {"count": {"at_least": 2}}})), encoding="utf-8"
    )
    assert sorted(set(shadows(tmp_path, {}, {}))) == ["a-rule", "b-rule"]


def test_what_a_rule_may_keep_is_told_in_days_and_megabytes(tmp_path: Path) -> None:
    found(tmp_path, condition="present(enterprise)", window={"size": "1100d"}, limits={"facts_per_key": 50_000})
    messages = [each.message for each in lint(RuleSet.load([tmp_path], reference()), reference())]
    assert any("one enterprise may take 2 MB" in each for each in messages), messages
    (days,) = [int(days) for each in messages for days in re.findall(r"is kept for (\d+) days", each)]
    assert days >= 1_100


# The properties that SARIF 2.1.0 requires of what is written (OASIS, sections 3.13, 3.14, 3.18, 3.19, 3.27-3.30, 3.49),
# and the values that it allows. The published schema says the same and much more; it ships with no package.
SARIF: dict[str, Any] = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "$schema": {"type": "string", "format": "uri"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "additionalProperties": False,
                "properties": {
                    "tool": {
                        "type": "object",
                        "required": ["driver"],
                        "additionalProperties": False,
                        "properties": {
                            "driver": {
                                "type": "object",
                                "required": ["name"],
                                "additionalProperties": False,
                                "properties": {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "type": "object",
                                            "required": ["id", "shortDescription"],
                                            "additionalProperties": False,
                                            "properties": {
                                                "id": {"type": "string"},
                                                "shortDescription": {"$ref": "#/definitions/message"},
                                            },
                                        },
                                    },
                                },
                            }
                        },
                    },
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "originalUriBaseIds": {
                        "type": "object",
                        "additionalProperties": {
                            "type": "object",
                            "properties": {"uri": {"type": "string", "pattern": "^file:///.*/$"}},
                        },
                    },
                    "results": {"type": "array", "items": {"$ref": "#/definitions/result"}},
                },
            },
        },
    },
    "definitions": {
        "message": {
            "type": "object",
            "required": ["text"],
            "additionalProperties": False,
            "properties": {"text": {"type": "string", "minLength": 1}},
        },
        "result": {
            "type": "object",
            "required": ["message", "ruleId", "ruleIndex", "level", "locations"],
            "additionalProperties": False,
            "properties": {
                "ruleId": {"type": "string"},
                "ruleIndex": {"type": "integer", "minimum": 0},
                "level": {"enum": ["none", "note", "warning", "error"]},
                "message": {"$ref": "#/definitions/message"},
                "locations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["physicalLocation"],
                        "additionalProperties": False,
                        "properties": {
                            "physicalLocation": {
                                "type": "object",
                                "required": ["artifactLocation"],
                                "additionalProperties": False,
                                "properties": {
                                    "artifactLocation": {
                                        "type": "object",
                                        "required": ["uri"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "uri": {"type": "string", "format": "uri-reference"},
                                            "uriBaseId": {"type": "string"},
                                        },
                                    },
                                    "region": {
                                        "type": "object",
                                        "required": ["startLine", "startColumn"],
                                        "additionalProperties": False,
                                        "properties": {
                                            "startLine": {"type": "integer", "minimum": 1},
                                            "startColumn": {"type": "integer", "minimum": 1},
                                        },
                                    },
                                },
                            }
                        },
                    },
                },
            },
        },
    },
}


def test_findings_as_sarif_have_what_the_standard_requires(tmp_path: Path) -> None:
    found(tmp_path, runbook=None, status="shadow", trigger={"count": {"at_least": 999_999}})
    (tmp_path / "b rule.yaml").write_text("id: [", encoding="utf-8")
    findings = lint_folders([tmp_path], reference())
    log = json.loads(as_sarif(findings, descriptions(), tmp_path))
    jsonschema.Draft7Validator(SARIF, format_checker=jsonschema.FormatChecker()).validate(log)
    run = log["runs"][0]
    rules = [each["id"] for each in run["tool"]["driver"]["rules"]]
    assert {check.code for check in CHECKS} <= set(rules)
    assert [rules[each["ruleIndex"]] for each in run["results"]] == [each["ruleId"] for each in run["results"]]
    assert {each["level"] for each in run["results"]} == {"error", "warning", "note"}
    places = [each["locations"][0]["physicalLocation"] for each in run["results"]]
    assert {each["artifactLocation"]["uri"] for each in places} == {"a-rule.yaml", "b%20rule.yaml"}
    elsewhere = json.loads(as_sarif(findings, {}, tmp_path / "deeper"))["runs"][0]["results"][0]
    uri = elsewhere["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri == (tmp_path / "a-rule.yaml").as_uri()


@pytest.mark.parametrize("changes", [SETTLED, PATTERN])
def test_rules_that_the_clock_decides_are_not_said_to_fire_at_every_fact_or_with_each_other(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    for name in ("a-rule", "b-rule"):
        file = {key: value for key, value in rule_file(**FINE, **changes, id=name).items() if value is not None}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")
    findings = lint(RuleSet.load([tmp_path], reference()), reference())
    assert {finding.code for finding in findings} == {"no-tests"}


@pytest.mark.parametrize(
    ("today", "status", "expected"),
    [
        ("2026-06-29", "active", []),
        ("2026-06-30", "active", ["no-longer-in-force"]),
        ("2026-06-30", "retired", []),
        (None, "active", []),
    ],
)
def test_a_rule_whose_time_is_over_is_told_from_its_last_day_on(
    today: str | None, status: str, expected: list[str], tmp_path: Path
) -> None:
    found(tmp_path, in_force={"from": "2026-01-01", "until": "2026-06-30"}, status=status)
    day = None if today is None else date.fromisoformat(today)
    findings = [each for each in lint_folders([tmp_path], reference(), day) if each.level != "info"]
    assert [each.code for each in findings] == expected
    lines = (tmp_path / "a-rule.yaml").read_text("utf-8").splitlines()
    assert all('"until"' in lines[each.line - 1] for each in findings)
