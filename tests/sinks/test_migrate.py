"""How a migration file is cut into statements, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from jianguan.errors import ConfigurationError
from sinks.migrate import Migration, apply, load, split


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("", []),
        (" ; ;; ", []),
        ("-- only a comment; no statement\n/* nor ; here */", []),
        ("A; B", ["A", "B"]),
        ("A;\nB;\n", ["A", "B"]),
        ("SELECT ';', \"a;b\", `c;d`; B", ["SELECT ';', \"a;b\", `c;d`", "B"]),
        ("SELECT 'it''s; \\'; x'; B", ["SELECT 'it''s; \\'; x'", "B"]),
        ("A -- one; two\n+ 1; B", ["A -- one; two\n+ 1", "B"]),
        ("A /* one;\ntwo */ + 1; B", ["A /* one;\ntwo */ + 1", "B"]),
        ("SELECT '--'; B", ["SELECT '--'", "B"]),
        ("SELECT '/*'; B; SELECT '*/'", ["SELECT '/*'", "B", "SELECT '*/'"]),
        ("-- it's a quote\nA; B", ["-- it's a quote\nA", "B"]),
    ],
)
def test_a_semicolon_ends_a_statement_only_outside_of_texts_names_and_comments(
    text: str, statements: list[str]
) -> None:
    assert split(text) == statements


def test_the_shipped_migrations_are_numbered_without_gaps_and_repeatable() -> None:
    migrations = load()
    assert [each.number for each in migrations] == list(range(1, len(migrations) + 1))
    for each in migrations:
        for statement in split(each.text):
            if "CREATE" in statement:
                assert "IF NOT EXISTS" in statement


def test_line_ends_do_not_change_a_checksum() -> None:
    assert Migration(1, "a", "A;\r\nB").checksum == Migration(1, "a", "A;\nB").checksum
    assert Migration(1, "a", "A;\nB").checksum != Migration(1, "a", "A;\nC").checksum


class Ledger:
    """A store that only remembers which statements it was given."""

    def __init__(self, applied: dict[int, str]) -> None:
        self.applied = applied
        self.commands: list[str] = []

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.commands.append(sql)
        if parameters:
            self.applied[parameters["number"]] = parameters["checksum"]

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return sorted(self.applied.items())


def test_only_what_is_missing_runs_in_order() -> None:
    first, second, third = (Migration(number, "a", f"STEP {number}") for number in (1, 2, 3))
    ledger = Ledger({1: first.checksum})
    told: list[Migration] = []
    assert apply(ledger, [first, second, third], told.append) == [2, 3]
    assert [each for each in ledger.commands if each.startswith("STEP")] == ["STEP 2", "STEP 3"]
    assert told == [second, third]
    assert apply(ledger, [first, second, third]) == []


def test_nothing_runs_when_an_applied_migration_was_changed() -> None:
    ledger = Ledger({1: "another checksum"})
    with pytest.raises(ConfigurationError, match=r"0001_a\.sql was changed"):
        apply(ledger, [Migration(1, "a", "STEP 1"), Migration(2, "b", "STEP 2")])
    assert not [each for each in ledger.commands if each.startswith("STEP")]
