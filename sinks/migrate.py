"""Brings a store's schema up to date: numbered files, each applied once, in order, and never changed afterwards.

Statements must be repeatable (IF NOT EXISTS), because ClickHouse has no transaction around a file: a start that was
cut off in the middle of one runs it again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final, NamedTuple, Protocol

from jianguan.errors import ConfigurationError

_FILE: Final = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
# Whatever may hold a semicolon that ends nothing: texts, quoted names, comments. Then the semicolon itself.
_TOKEN: Final = re.compile(
    r"'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|\"(?:\\.|[^\"\\])*\"|--[^\n]*|/\*.*?\*/|;", re.DOTALL
)

_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS migrations (
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplacingMergeTree ORDER BY number
"""


class Migration(NamedTuple):
    """One file of the schema."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Of the text, with line ends made alike."""
        return sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()


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
    """Run what is missing and return its numbers.

    ConfigurationError when an applied migration differs from the file, or when the store is newer than this version.
    """
    known = load() if migrations is None else list(migrations)
    store.command(_LEDGER)
    rows = store.query("SELECT number, argMax(checksum, applied_at) FROM migrations GROUP BY number ORDER BY number")
    applied = {int(number): str(checksum) for number, checksum in rows}
    newer = sorted(set(applied) - {each.number for each in known})
    if newer:
        raise ConfigurationError(
            f"the store has migration {newer[-1]:04d}, which this version does not know: use the version that made it"
        )
    done: list[int] = []
    for each in known:
        if each.number in applied:
            if applied[each.number] != each.checksum:
                raise ConfigurationError(
                    f"migration {each.number:04d}_{each.name}.sql was changed after it was applied to this store: "
                    "restore the file, and put the change into a new migration"
                )
            continue
        for statement in split(each.text):
            store.command(statement)
        store.command(
            "INSERT INTO migrations (number, name, checksum) SELECT {number:UInt32}, {name:String}, {checksum:String}",
            {"number": each.number, "name": each.name, "checksum": each.checksum},
        )
        done.append(each.number)
        if announce is not None:
            announce(each)
    return done
