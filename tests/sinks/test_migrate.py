"""How a migration file is cut into statements, and what is refused before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from jianguan.errors import ConfigurationError
from sinks.migrate import Migration, apply, load, missing, split


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

    def __init__(self, *applied: Migration) -> None:
        self.applied: dict[int, tuple[Any, ...]] = {}
        for each in applied:
            self._remember(each.number, each.name, each.checksum, int(each.breaking))
        self.commands: list[str] = []

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        self.commands.append(sql)
        if parameters:
            self._remember(*parameters.values())

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        if "system.columns" in sql:
            return [("number",), ("breaking",)]
        return [self.applied[number] for number in sorted(self.applied)]

    def steps(self) -> list[str]:
        """The statements of migrations."""
        return [each for each in self.commands if each.startswith("STEP")]

    def _remember(self, number: int, *others: Any) -> None:
        self.applied[number] = (number, *others)


def test_only_what_is_missing_runs_in_order() -> None:
    first, second, third = (Migration(number, "a", f"STEP {number}") for number in (1, 2, 3))
    ledger = Ledger(first)
    told: list[Migration] = []
    assert apply(ledger, [first, second, third], told.append) == [2, 3]
    assert ledger.steps() == ["STEP 2", "STEP 3"]
    assert told == [second, third]
    assert apply(ledger, [first, second, third]) == []


def test_nothing_runs_when_an_applied_migration_was_changed() -> None:
    ledger = Ledger(Migration(1, "a", "STEP 0"))
    with pytest.raises(ConfigurationError, match=r"0001_a\.sql was changed"):
        apply(ledger, [Migration(1, "a", "STEP 1"), Migration(2, "b", "STEP 2")])
    assert ledger.steps() == []


def test_an_older_version_goes_on_with_a_store_to_which_a_newer_one_added(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Migration(1, "a", "STEP 1"), Migration(2, "added", "STEP 2")
    ledger = Ledger(first, second)
    assert apply(ledger, [first]) == []
    assert "migration 0002_added of a newer version" in caplog.text
    assert ledger.steps() == []


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_older_version_refuses_a_store_with_a_migration_that_says_so(end: str) -> None:
    first, second, third = (
        Migration(1, "a", "STEP 1"),
        Migration(2, "split", f"-- Tables apart.{end}-- Older versions stop here.{end}STEP 2"),
        Migration(3, "added", "STEP 3"),
    )
    ledger = Ledger(first)
    assert apply(ledger, [first, second, third]) == [2, 3]
    with pytest.raises(ConfigurationError, match="0002_split, with which this older version cannot work"):
        apply(ledger, [first])
    assert apply(ledger, [first, second]) == []


def test_a_migration_that_was_lost_by_the_ledger_in_the_middle_runs_again() -> None:
    first, second, third = (Migration(number, "a", f"STEP {number}") for number in (1, 2, 3))
    assert apply(Ledger(first, third), [first, second, third]) == [2]


def test_what_is_missing_can_be_asked_without_running_it() -> None:
    first, second, third = (Migration(number, "a", f"STEP {number}") for number in (1, 2, 3))
    ledger = Ledger(first)
    assert missing(ledger, [first, second, third]) == [second, third]
    assert ledger.commands == []
