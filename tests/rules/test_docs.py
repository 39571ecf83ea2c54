"""docs/rules.md names every key, field, function and finding, and its examples work."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rules.departments import Departments
from rules.fields import FIELDS
from rules.lint import descriptions
from rules.loader import parse
from rules.model import NUMBER_FIELDS, PLAIN_FIELDS, RuleFile
from rules.ruleset import RuleSet
from rules.schema import generate
from rules.testfile import Expected, TestEvent
from rules.testing import as_text, run_all
from tests.rules.support import NOW, event, reference, rule_file

TEXT = (Path(__file__).parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def keys(schema: dict[str, Any], node: dict[str, Any], prefix: str = "", above: tuple[str, ...] = ()) -> list[str]:
    """Dotted names of all keys of a schema's objects, a table's own keys left out. What holds its own kind is named
    once: the keys of a trigger inside a trigger are those of a trigger."""
    found: list[str] = []
    for name, value in node.get("properties", {}).items():
        found.append(prefix + name)
        shapes = [value, *value.get("anyOf", ()), *value.get("allOf", ())]
        for each in [*shapes, *(shape["items"] for shape in shapes if "items" in shape)]:
            inside = each.get("$ref", "").rsplit("/", 1)[-1]
            if inside and inside not in above:
                found += keys(schema, schema["definitions"][inside], f"{prefix}{name}.", (*above, inside))
    return found


# A trigger in `escalate` has the keys of `trigger`.
SCHEMA = generate(RuleFile, "")
ALL_KEYS = [key for key in keys(SCHEMA, SCHEMA) if not key.startswith("escalate.trigger.")]
TOLD_BY_THEIR_PARTS = {key for key in ALL_KEYS if any(other.startswith(f"{key}.") for other in ALL_KEYS)}


@pytest.mark.parametrize("key", sorted(set(ALL_KEYS) - TOLD_BY_THEIR_PARTS))
def test_a_key_is_in_the_table(key: str) -> None:
    rows = [row for row in TEXT.splitlines() if row.startswith("| ")]
    assert any(f"`{key}`" in row for row in rows)


def test_the_keys_are_all_keys() -> None:
    assert {"id", "window.size", "trigger.sum.of", "joint.table", "limits.facts_per_key"} <= set(ALL_KEYS)


@pytest.mark.parametrize("name", [*PLAIN_FIELDS, *NUMBER_FIELDS, *FIELDS])
def test_a_field_is_named(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("name", [*Expected.model_fields, *TestEvent.model_fields])
def test_a_key_of_tests_is_named(name: str) -> None:
    assert f"`{name}`" in TEXT


@pytest.mark.parametrize("name", sorted(reference().environment().extensions))
def test_a_function_is_named(name: str) -> None:
    assert f"| `{name}(" in TEXT


@pytest.mark.parametrize("code", sorted(descriptions()))
def test_a_finding_is_named(code: str) -> None:
    assert f"`{code}`" in TEXT


def test_the_examples_load_and_pass_their_tests(tmp_path: Path) -> None:
    rules = tests = 0
    for text in EXAMPLES:
        value = parse(text).value
        rules += "id" in value
        tests += len(value.get("cases", ()))
        named = re.match(r"# (\S+\.test)\.yaml\n", text)
        name = value["id"] if "id" in value else named[1] if named else ""
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    ruleset = RuleSet.load([tmp_path], reference())
    assert len(ruleset) == rules >= 6
    tested = [path.name.removesuffix(".test.yaml") for path in tmp_path.glob("*.test.yaml")]
    report = run_all(ruleset, reference(), tested)
    assert (report.exit_code, len(report.results)) == (0, tests), as_text(report)


def test_the_library_is_used_as_the_document_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(code.strip().splitlines()) <= 10
    folder = tmp_path / "my-rules"
    folder.mkdir()
    (folder / "a-rule.yaml").write_text(json.dumps(rule_file(trigger={"count": {"at_least": 1}})), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"events": [event(enterprise="uscc:X")], "now_ms": NOW}
    exec(code, names)
    assert [alert.rule for alert in names["alerts"]] == ["a-rule"]


def test_every_key_is_in_an_example() -> None:
    used = "\n".join(EXAMPLES)
    for key in {key.rsplit(".", 1)[-1] for key in ALL_KEYS}:
        assert re.search(rf"\b{key}:", used), key


def test_departments_have_names_in_both_languages() -> None:
    departments = Departments.load()
    assert len(departments.ids()) >= 17
    for department in departments:
        assert re.search("[㐀-鿿]", department.zh)
        assert department.en.isascii()
    assert departments.name("market-regulation", "en") == "Market Regulation"
    assert departments.name("nobody") == "nobody"
