"""The shipped rules: they load, pass their tests, say what to do, and survive being broken."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from jianguan.domain.event import Event
from rules import schema
from rules.engine import Engine
from rules.facts import Matcher
from rules.fields import CATEGORIES, FIELDS
from rules.lint import lint
from rules.loader import load
from rules.rule import Rule
from rules.ruleset import TEST_SUFFIX, RuleSet
from rules.testing import events_of, read, run_all, test_path
from tests.rules.support import reference

LIBRARY = RuleSet.library_path()
SHIPPED = RuleSet.load([LIBRARY], reference())
FILES = sorted(LIBRARY.rglob("*.yaml"))


def test_there_are_rules_of_every_field() -> None:
    assert len(SHIPPED) >= 24
    assert {Path(rule.path).parent.name for rule in SHIPPED} >= {"food", "market", "safety", "society", "us"}


def test_all_tests_of_the_library_pass() -> None:
    report = run_all(SHIPPED, reference())
    assert report.errors == []
    assert [(each.rule, each.name, each.failures) for each in report.failed] == []
    assert report.incomplete == {}


def test_lint_finds_nothing_worse_than_an_info() -> None:
    assert [finding for finding in lint(SHIPPED, reference()) if finding.level != "info"] == []


@pytest.mark.parametrize("rule", SHIPPED.rules, ids=lambda rule: rule.id)
def test_the_tests_of_a_rule_notice_a_trigger_that_is_out_of_reach(rule: Rule) -> None:
    """A test that passes whatever the rule says is no test."""
    lame = dataclasses.replace(rule, least=10_000)
    ruleset = RuleSet([lame])
    raised = 0
    tests = read(load(test_path(rule)), reference())
    for case in tests.cases:
        engine, matcher = Engine(ruleset), Matcher(ruleset, reference())
        for event in events_of(case, tests.defaults):
            for fact in matcher.facts(event):
                raised += len(engine.add(fact, 0).alerts)
    assert raised == 0
    assert sum(case.expect.alerts for case in tests.cases) > 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_names_its_schema_and_keeps_to_it(path: Path) -> None:
    name = "test-schema.json" if path.name.endswith(TEST_SUFFIX) else "schema.json"
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema=../../{name}"
    assert (path.parent / f"../../{name}").is_file()
    content: Any = json.loads(LIBRARY.parent.joinpath(name).read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(content).validate(load(path).value)


def test_the_committed_schemas_are_what_the_models_say() -> None:
    assert schema.stale() == []
    assert schema.main(["--check"]) == 0
    for path in schema.FILES:
        jsonschema.Draft7Validator.check_schema(json.loads(path.read_text(encoding="utf-8")))


def test_a_schema_that_was_changed_by_hand_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "schema.json"
    monkeypatch.setattr(schema, "FILES", {path: schema.FILES[schema._FOLDER / "schema.json"]})
    assert schema.main(["--check"]) == 1
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0
    path.write_text("{}", encoding="utf-8")
    assert schema.main(["--check"]) == 1
    assert schema.main(["--wrong"]) == 2


def test_conditions_know_the_fields_of_an_event_with_their_types() -> None:
    names = {
        "str": "string", "str | None": "string", "int": "int", "int | None": "int", "float | None": "double",
        "tuple[str, ...]": "list(string)", "bool": "bool",
    }  # fmt: skip
    written = {name: getattr(kind, "__forward_arg__", str(kind)) for name, kind in Event.__annotations__.items()}
    expected = {name: names[kind] for name, kind in written.items() if name != "content_hash"}
    expected.update(occurred_at="timestamp", received_at="timestamp")
    assert dict(FIELDS) == expected


def test_categories_are_slugs_and_each_is_there_once() -> None:
    assert len(set(CATEGORIES)) == len(CATEGORIES)
    assert all(category.replace("-", "").isalpha() and category.islower() for category in CATEGORIES)
