"""The committed schemas, as an editor that speaks draft-07 reads them."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator  # type: ignore[import-untyped]

from rules.loader import load, parse
from rules.ruleset import RuleSet
from rules.schema import DRAFT, FILES, stale
from tests.rules.support import rule_file
from tests.rules.test_docs import EXAMPLES

RULES, TESTS = (json.loads(path.read_text("utf-8")) for path in FILES)
LIBRARY = sorted(RuleSet.library_path().rglob("*.yaml"))
# https://json-schema.org/draft-07/json-schema-validation: the words of the vocabulary, beside those of the core.
VOCABULARY = """
$schema $ref $id $comment definitions title description default examples readOnly type enum const multipleOf maximum
exclusiveMaximum minimum exclusiveMinimum maxLength minLength pattern items additionalItems maxItems minItems
uniqueItems contains maxProperties minProperties required properties patternProperties additionalProperties dependencies
propertyNames if then else allOf anyOf oneOf not format contentMediaType contentEncoding
"""


def schema_of(path: Path) -> dict[str, Any]:
    schema: dict[str, Any] = TESTS if path.name.endswith(".test.yaml") else RULES
    return schema


def faults(value: Any, schema: dict[str, Any] = RULES) -> list[str]:
    """Where a value does not fit, as an editor would underline it."""
    found = Draft7Validator(schema).iter_errors(value)
    return sorted(".".join(map(str, error.absolute_path)) for error in found)


def subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    """A schema and all in it."""
    if not isinstance(schema, dict):
        return
    yield schema
    for word in ("definitions", "properties", "patternProperties"):
        for inner in schema.get(word, {}).values():
            yield from subschemas(inner)
    for word in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
        yield from subschemas(schema.get(word))
    for word in ("allOf", "anyOf", "oneOf"):
        for inner in schema.get(word, ()):
            yield from subschemas(inner)


@pytest.mark.parametrize("schema", [RULES, TESTS], ids=["rules", "tests"])
def test_the_schemas_are_good_and_use_no_later_word(schema: dict[str, Any]) -> None:
    assert schema["$schema"] == DRAFT
    Draft7Validator.check_schema(schema)
    later = {word for each in subschemas(schema) for word in each} - set(VOCABULARY.split())
    assert not later
    # Draft-07 looks at nothing beside a reference.
    beside = [
        each for each in subschemas(schema) if "$ref" in each and each.keys() - {"$ref", "description", "default"}
    ]
    assert not beside


def test_the_committed_schemas_are_those_of_the_models() -> None:
    assert stale() == []


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.name)
def test_every_shipped_file_fits_and_names_its_schema(path: Path) -> None:
    assert faults(load(path).value, schema_of(path)) == []
    first = path.read_text("utf-8").splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None
    assert json.loads((path.parent / named[1]).read_text("utf-8")) == schema_of(path)


def test_every_example_of_the_document_fits() -> None:
    for text in EXAMPLES:
        value = parse(text).value
        assert faults(value, RULES if "id" in value else TESTS) == [], text


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"severty": "high"}, ""),
        ({"severity": "hihg"}, "severity"),
        ({"severity": None}, ""),
        ({"version": "one"}, "version"),
        ({"window": {"size": "1 week"}}, "window.size"),
        ({"window": {"size": "1h", "kind": "hopping"}}, "window.kind"),
        ({"on": ["complaints"]}, "on.0"),
        ({"title": {"zh": "规则"}}, "title"),
        ({"trigger": {"count": {"at_leest": 3}}}, "trigger.count"),
        ({"limits": {"facts_per_key": -1}}, "limits.facts_per_key"),
    ],
)
def test_an_editor_underlines_what_is_wrong(changes: dict[str, Any], where: str) -> None:
    assert faults(rule_file()) == []
    file = copy.deepcopy(rule_file(**changes))
    found = faults(file)
    assert found
    assert any(each == where or each.startswith(where) or where.startswith(each) for each in found), found


def test_an_editor_can_say_what_each_key_means() -> None:
    silent = [
        name
        for name, value in RULES["properties"].items()
        if not value.get("description") and not any(each.get("description") for each in value.get("allOf", ()))
    ]
    assert silent == []
