"""`jianguan rules`: exit codes, formats, and the library as the default."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jianguan.cli import main
from tests.rules.support import rule_file

CASES = {
    "cases": [
        {"name": "three", "events": [{"at": "0s", "repeat": 3}], "expect": {"alerts": 1}},
        {"name": "one", "events": [{"at": "0s"}], "expect": {"alerts": 0}},
    ]
}
DEFAULTS = {"category": "food-safety", "enterprise": "x:1"}


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["rules", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a-rule.yaml").write_text(json.dumps(rule_file()), encoding="utf-8")
    (tmp_path / "a-rule.test.yaml").write_text(json.dumps({"defaults": DEFAULTS, **CASES}), encoding="utf-8")
    return tmp_path


def test_the_library_is_clean_and_its_tests_pass() -> None:
    linted = run("lint")
    assert (linted.exit_code, linted.output) == (0, "0 errors, 0 warnings, 0 infos\n")
    tested = run("test")
    assert tested.exit_code == 0
    assert " passed, 0 failed, 0 rules without enough tests" in tested.output


def test_warnings_are_shown_and_end_with_zero(folder: Path) -> None:
    result = run("lint", folder)
    assert result.exit_code == 0
    assert "[no-runbook]" in result.output
    assert "[no-runbook]" not in run("lint", folder, "--level", "error").output
    assert run("lint", folder, "--strict").exit_code == 1


def test_findings_are_told_as_sarif_too(folder: Path) -> None:
    result = run("lint", folder, "--format", "sarif")
    assert result.exit_code == 0
    assert "no-runbook" in [each["ruleId"] for each in json.loads(result.output)["runs"][0]["results"]]


def test_an_error_ends_lint_with_one(folder: Path) -> None:
    wrong = rule_file(trigger={"count": {"at_least": 999_999}})
    (folder / "a-rule.yaml").write_text(json.dumps(wrong), encoding="utf-8")
    assert run("lint", folder).exit_code == 1


def test_a_broken_file_ends_both_with_four(folder: Path) -> None:
    (folder / "b-rule.yaml").write_text("id: [", encoding="utf-8")
    linted = run("lint", folder, "--format", "json")
    assert linted.exit_code == 4
    assert {"broken-file", "no-runbook"} <= {row["code"] for row in json.loads(linted.output)}
    tested = run("test", folder)
    assert tested.exit_code == 4
    assert "b-rule.yaml:1" in tested.output


def test_a_failed_test_ends_with_one(folder: Path) -> None:
    wrong = json.dumps({"defaults": DEFAULTS, **CASES}).replace('"alerts": 1', '"alerts": 2')
    (folder / "a-rule.test.yaml").write_text(wrong, encoding="utf-8")
    result = run("test", folder)
    assert result.exit_code == 1
    assert "2 alerts expected, 1 raised" in result.output


def test_junit_goes_to_a_file_and_the_text_to_the_screen(folder: Path) -> None:
    result = run("test", folder, "--junit", folder / "report.xml")
    assert result.exit_code == 0
    assert '<testsuite name="a-rule" tests="2" failures="0">' in (folder / "report.xml").read_text(encoding="utf-8")
    assert result.output == "2 passed, 0 failed, 0 rules without enough tests\n"


def test_a_rule_without_tests_ends_with_one(folder: Path) -> None:
    (folder / "a-rule.test.yaml").unlink()
    result = run("test", folder)
    assert result.exit_code == 1
    assert "a-rule: has no tests" in result.output


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a-rule.yml", "a-rule.yml:1:1: {}a file that ends in .yml is not read (name it a-rule.yaml)"),
        ("a-rule.test.yaml", "a-rule.test.yaml:1:1: {}no rule has these tests (there is no a-rule.yaml beside it)"),
        ("notes.txt", ": {}there is no rule in this folder (rules end in .yaml)"),
    ],
)
def test_what_looks_like_rules_and_is_not_read_is_told(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("id: a-rule", encoding="utf-8")
    linted, tested = run("lint", tmp_path), run("test", tmp_path)
    assert (linted.exit_code, tested.exit_code) == (0, 1)
    assert said.format("warning: ") in linted.output
    assert said.format("") in tested.output
    assert f"{tmp_path}: warning: there is no rule in this folder" in linted.output
    assert run("lint", tmp_path, "--strict").exit_code == 1


def test_a_file_with_another_ending_does_not_fail_the_tests_of_the_others(folder: Path) -> None:
    (folder / "b-rule.yml").write_text("id: b-rule", encoding="utf-8")
    tested = run("test", folder)
    assert (tested.exit_code, "b-rule.yml:1:1" in tested.output) == (0, True)


def test_wrong_calls_end_with_two(folder: Path) -> None:
    assert run("test", folder, "--rule", "nobody").exit_code == 2
    assert run("lint", folder / "nowhere").exit_code == 2
    assert run("lint", "--format", "xml").exit_code == 2
