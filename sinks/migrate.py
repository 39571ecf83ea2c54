"""Brings a store's schema up to date: numbered files, each applied once, in order, and never changed afterwards.

Statements must be repeatable (IF NOT EXISTS), because ClickHouse has no transaction around a file: a start that was
cut off in the middle of one runs it again, and several processes that start at once may all run it.

During a rolling upgrade, and after going back, an older version works on a newer store. So a migration adds, and what
it adds to a table has a default. One that older versions cannot bear has the line `-- Older versions stop here.`, and
the ledger remembers it: they then refuse to start.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, NamedTuple, Protocol

from jianguan.errors import ConfigurationError

log = logging.getLogger(__name__)

_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# Whatever may hold a semicolon that ends nothing: texts, quoted names, comments. Then the semicolon itself.
_TOKEN: Final = re.compile(
    r"'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|--[^\n]*|/\*.*?\*/|;", re.DOTALL
)
_BREAKING: Final = re.compile(r"^-- Older versions stop here\.$", re.MULTILINE)

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3),
    breaking UInt8 DEFAULT 0
) ENGINE = ReplacingMergeTree ORDER BY number
"""
_LEDGER_OF_BEFORE: Final = "ALTER TABLE migrations ADD COLUMN IF NOT EXISTS breaking UInt8 DEFAULT 0"


class Migration(NamedTuple):
    """One file of the schema."""

    number: int
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"

    @property
    def checksum(self) -> str:
        """Of the text, with line ends made alike."""
        return sha256(self._lines.encode()).hexdigest()

    @property
    def breaking(self) -> bool:
        """Whether versions that do not know it must not work on the store any more."""
        return _BREAKING.search(self._lines) is not None

    @property
    def _lines(self) -> str:
        return self.text.replace("\r\n", "\n")


class Statements(Protocol):
    """The two things that a migration needs of a store."""

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a SELECT."""


def load() -> list[Migration]:
    """The migrations that this version ships, in order. ConfigurationError when their numbers have a gap."""
    found: list[Migration] = []
    for entry in files("sinks.migrations").iterdir():
        match = _FILE.fullmatch(entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text(encoding="utf-8")))
    found.sort()
    if [each.number for each in found] != list(range(1, len(found) + 1)):
        raise ConfigurationError("the migrations of this installation are incomplete: install it again")
    return found


def split(text: str) -> list[str]:
    """The statements of a file. A semicolon in a text, a quoted name or a comment ends nothing."""
    statements: list[str] = []
    start = 0
    for token in _TOKEN.finditer(text):
        if token[0] == ";":
            statements.append(text[start : token.start()])
            start = token.end()
    statements.append(text[start:])
    return [each.strip() for each in statements if _without_comments(each).strip()]


def _without_comments(text: str) -> str:
    return _TOKEN.sub(lambda token: "" if token[0].startswith(("--", "/*")) else token[0], text)


def apply(
    store: Statements,
    migrations: Sequence[Migration] | None = None,
    announce: Callable[[Migration], None] | None = None,
) -> list[int]:
    """Run what is missing and return its numbers. A store that is newer than this version is taken, with a warning.

    ConfigurationError when an applied migration differs from the file, or when a newer one breaks older versions.
    """
    _keep_ledger(store)
    done: list[int] = []
    for each in missing(store, migrations):
        for statement in split(each.text):
            store.command(statement)
        store.command(
            "INSERT INTO migrations (number, name, checksum, breaking)"
            " SELECT {number:UInt32}, {name:String}, {checksum:String}, {breaking:UInt8}",
            {"number": each.number, "name": each.name, "checksum": each.checksum, "breaking": int(each.breaking)},
        )
        done.append(each.number)
        if announce is not None:
            announce(each)
    return done


def missing(store: Statements, migrations: Sequence[Migration] | None = None) -> list[Migration]:
    """What `apply` would run, with the same errors and warning. Changes nothing."""
    known = load() if migrations is None else list(migrations)
    applied = _applied(store)
    _check_newer(applied, known)
    for each in known:
        if each.number in applied and applied[each.number].checksum != each.checksum:
            raise ConfigurationError(
                f"migration {each}.sql was changed after it was applied to this store: "
                "restore the file, and put the change into a new migration"
            )
    return [each for each in known if each.number not in applied]


class _Applied(NamedTuple):
    number: int
    name: str
    checksum: str
    breaking: bool

    def __str__(self) -> str:
        return f"{self.number:04d}_{self.name}"


def _ledger_columns(store: Statements) -> set[str]:
    """Empty when there is no ledger yet."""
    found = store.query("SELECT name FROM system.columns WHERE database = currentDatabase() AND table = 'migrations'")
    return {name for (name,) in found}


def _keep_ledger(store: Statements) -> None:
    # Nothing is altered that is as it must be. On a full disk the engine (26.5) empties its own description of a table
    # that is altered, answers that all is well, and never starts again.
    known = _ledger_columns(store)
    if not known:
        store.command(_LEDGER)
    elif "breaking" not in known:
        store.command(_LEDGER_OF_BEFORE)


def _applied(store: Statements) -> dict[int, _Applied]:
    known = _ledger_columns(store)
    if not known:
        return {}
    breaking = "max(breaking)" if "breaking" in known else "0"
    rows = store.query(
        f"SELECT number, argMax(name, applied_at), argMax(checksum, applied_at), {breaking} FROM migrations"  # noqa: S608
        " GROUP BY number ORDER BY number"
    )
    return {number: _Applied(number, name, checksum, bool(breaks)) for number, name, checksum, breaks in rows}


def _check_newer(applied: Mapping[int, _Applied], known: Sequence[Migration]) -> None:
    numbers = {each.number for each in known}
    newer = [each for each in applied.values() if each.number not in numbers]
    for each in newer:
        if each.breaking:
            raise ConfigurationError(
                f"the store has migration {each}, with which this older version cannot work: start the version that"
                " brought it, or a newer one; to go back, restore the backup from before the upgrade"
            )
    if newer:
        log.warning(
            "the store has migration %s of a newer version; this one goes on, and leaves empty what it does not know",
            newer[-1],
        )
