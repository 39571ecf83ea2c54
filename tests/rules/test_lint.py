"""Each check of the linter finds its fault, and only that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rules.lint import CHECKS, as_json, as_text, lint, of_errors, worst
from rules.ruleset import RuleErrors, RuleSet
from tests.rules.support import reference, rule_file

FINE: dict[str, Any] = {
    "legal_basis": "《中华人民共和国食品安全法》第三十四条",
    "runbook": {"zh": "到场检查", "en": "Go there"},
}
TESTS = {
    "defaults": {"category": "food-safety", "enterprise": "x:1"},
    "cases": [
        {"name": "three raise it", "events": [{"at": "0s", "repeat": 3}], "expect": {"alerts": 1}},
        {"name": "two do not", "events": [{"at": "0s", "repeat": 2}], "expect": {"alerts": 0}},
    ],
}


def found(folder: Path, tests: object = TESTS, **changes: Any) -> list[tuple[str, str]]:
    """(level, code) of the findings in one rule."""
    file = rule_file(**{**FINE, **changes})
    (folder / "a-rule.yaml").write_text(json.dumps(file, ensure_ascii=False, indent=1), encoding="utf-8")
    if tests is not None:
        (folder / "a-rule.test.yaml").write_text(json.dumps(tests, indent=1), encoding="utf-8")
    return [(finding.level, finding.code) for finding in lint(RuleSet.load([folder], reference()))]


def test_a_rule_with_everything_has_no_finding(tmp_path: Path) -> None:
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "level", "code"),
    [
        ({"trigger": {"count": {"at_least": 11}}, "limits": {"facts_per_key": 10}}, "error", "never-true"),
        ({"trigger": {"count": {"at_least": 10_001}}}, "error", "never-true"),
        ({"trigger": {"distinct": {"of": "enterprise", "at_least": 2}}}, "error", "never-true"),
        ({"condition": 'kind == "violation"'}, "error", "kind-not-in-on"),
        ({"condition": "1 == 1"}, "warning", "constant-condition"),
        ({"condition": 'category == "food-saftey"'}, "warning", "unknown-category"),
        ({"condition": 'category in ["price", "prize"]'}, "warning", "unknown-category"),
        ({"runbook": None}, "warning", "no-runbook"),
        ({"legal_basis": "somewhere in the law"}, "warning", "vague-legal-basis"),
        ({"title": {"zh": "A rule", "en": "A rule"}}, "warning", "title-language"),
        ({"title": {"zh": "规则", "en": "规则"}}, "warning", "title-language"),
        ({"episode": "367d"}, "warning", "episode-length"),
        ({"window": {"size": "10d"}, "episode": "1h"}, "warning", "episode-length"),
        ({"joint": ["market-regulation"]}, "warning", "lead-assists"),
        ({"joint": ["commerce", "commerce"]}, "warning", "lead-assists"),
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


def test_every_check_has_a_code_of_its_own() -> None:
    codes = [check.code for check in CHECKS]
    assert len(set(codes)) == len(codes)


def test_findings_point_at_the_key_and_are_told_as_text_and_json(tmp_path: Path) -> None:
    found(tmp_path, condition='category == "food-saftey"')
    findings = lint(RuleSet.load([tmp_path], reference()))
    written = (tmp_path / "a-rule.yaml").read_text(encoding="utf-8").splitlines()
    line = next(number for number, each in enumerate(written, 1) if each.startswith(' "condition"'))
    text = as_text(findings)
    assert f"a-rule.yaml:{line}:2: warning: no shipped mapping gives the category food-saftey" in text
    assert "did you mean food-safety?" in text
    assert text.endswith("0 errors, 1 warnings, 0 infos\n")
    rows = json.loads(as_json(findings))
    assert [(row["code"], row["line"], row["rule"]) for row in rows] == [("unknown-category", line, "a-rule")]
    assert worst(findings) == "warning"
    assert worst([]) is None


def test_rules_that_do_not_load_are_findings_too(tmp_path: Path) -> None:
    (tmp_path / "a-rule.yaml").write_text("id: x", encoding="utf-8")
    with pytest.raises(RuleErrors) as caught:
        RuleSet.load([tmp_path], reference())
    findings = of_errors(caught.value)
    assert worst(findings) == "error"
    assert {finding.code for finding in findings} == {"broken-file"}
