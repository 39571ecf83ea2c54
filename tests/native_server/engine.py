"""Statements on the engine of a folder: one session for each connection, with the settings of each statement.

Knows nothing of the wire. Answers are in the engine's format Native, a block at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from chdb.session import Session as EngineSession

from sinks.engine_writes import EngineWrites
from tests.native_server.blocks import Column

# What holds when a statement does not say otherwise. With more threads of its own for reading, the engine has been seen
# to wait for ever.
_ALWAYS: Final = {"max_threads": "1", "max_insert_threads": "1"}
_CODE: Final = re.compile(r"Code: (\d+)\. (.*)", re.DOTALL)
_NAME: Final = re.compile(r"\w+")
_COMMENTS: Final = re.compile(r"\A(?:\s+|--[^\n]*\n|/\*.*?\*/)+", re.DOTALL)
_STREAMED: Final = re.compile(r"(SELECT|WITH)\b|\(", re.IGNORECASE)
_INSERT: Final = re.compile(
    r"INSERT\s+INTO\s+(?:TABLE\s+)?(?P<table>[\w.`\"]+)\s*(?:\((?P<columns>[^()]*)\))?\s*(?:VALUES|FORMAT\s+\w+)\s*;?\s*",
    re.IGNORECASE,
)
_UNQUOTED: Final = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPES: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "0": "\0", "a": "\a", "v": "\v"}
NO_SUCH_COLUMN: Final = 16
UNKNOWN_DATABASE: Final = 81
UNKNOWN_SETTING: Final = 115
WITHOUT_CODE: Final = 1000
UNWRITTEN: Final = 28  # what the process ends with; ENOSPC
_TOKEN: Final = "insert_deduplication_token"


class StatementError(Exception):
    """The engine refuses a statement."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Insert(NamedTuple):
    """An INSERT whose rows the client will send."""

    table: str
    columns: tuple[Column, ...]


class Engine:
    """The engine on one folder. OSError when another process has it. Close it when every session is closed."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # The kernel gives the lock back when the process ends, however it ends.
        self._lock = os.open(folder / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._path = str(folder / "data")
        # One session stays open for as long as the process lives: closing the last one closes the engine.
        self._first = EngineSession(self._path)
        self.version, self.timezone = self._ask("SELECT version(), timezone()")[0].split("\t")
        self._settings = frozenset(self._ask("SELECT name FROM system.settings"))
        self._writes = EngineWrites(self._first)
        self._looking = threading.Lock()

    def _ask(self, sql: str) -> list[str]:
        return str(self._first.query(sql, "TSV")).splitlines()

    def open(self) -> Session:
        """A session of its own: a current database and settings."""
        return Session(EngineSession(self._path), self._settings, self.end_if_unwritten, self._writes.set_aside)

    def end_if_unwritten(self) -> None:
        """End the process if the engine could not write: it would answer as if it had, as no server does. The next
        process finds what was there before."""
        with self._looking:
            if self._writes.have_failed(self._first):
                sys.stderr.write("the disk is full: a file could not be written\n")
                os._exit(UNWRITTEN)

    def close(self) -> None:
        """Close the engine."""
        self._first.close()
        os.close(self._lock)


class Session:
    """What one connection does, one thing at a time."""

    def __init__(
        self,
        session: EngineSession,
        known_settings: frozenset[str],
        check: Callable[[], None] = lambda: None,
        set_aside: Collection[str] = (),
    ) -> None:
        """`check` is called before a statement that writes is said to be done; `set_aside` are parts that the engine
        lost, though it remembers the tokens of what was in them."""
        self._session = session
        self._check = check
        self._set_aside = "".join([f"/{name}" for name in set_aside])
        self._known = known_settings
        self._set: dict[str, str] = {}
        self._busy = threading.Lock()
        self._run(f"SET {_assignments(_ALWAYS)}")

    def use(self, database: str) -> None:
        """Make `database` the current one. StatementError when there is none of this name."""
        if not _NAME.fullmatch(database):
            raise StatementError(UNKNOWN_DATABASE, f"DB::Exception: Database {database} does not exist")
        self._run(f"USE {database}")

    def prepare(self, settings: Mapping[str, str], important: Collection[str] = ()) -> None:
        """Let these settings, and no others, hold for the next statement.

        One that the engine does not know is passed over, as a server does, unless it is important.
        """
        unknown = settings.keys() - self._known
        refused = sorted(unknown.intersection(important))
        if refused:
            raise StatementError(UNKNOWN_SETTING, f"DB::Exception: Unknown setting {refused[0]!r}")
        wanted = {name: value for name, value in settings.items() if name not in unknown}
        if _TOKEN in wanted:
            wanted[_TOKEN] += self._set_aside
        dropped = {name: _ALWAYS.get(name) for name in self._set if name not in wanted}
        changed = {name: value for name, value in wanted.items() if self._set.get(name) != value}
        if dropped or changed:
            self._run(f"SET {_assignments({**dropped, **changed})}")
        self._set = wanted

    def awaits_rows(self, sql: str) -> Insert | None:
        """What `sql` inserts into, if it is an INSERT whose rows come in blocks after it."""
        found = _INSERT.fullmatch(_COMMENTS.sub("", sql))
        if found is None:
            return None
        described = self._columns(f"DESCRIBE TABLE {found['table']}")
        ordinary = {name: kind for name, kind, default in described if default not in ("MATERIALIZED", "ALIAS")}
        names = [each.strip(' `"\n') for each in found["columns"].split(",")] if found["columns"] else list(ordinary)
        unknown = [name for name in names if name not in ordinary]
        if unknown:
            raise StatementError(
                NO_SUCH_COLUMN, f"DB::Exception: No such column {unknown[0]} in table {found['table']}"
            )
        return Insert(found["table"], tuple((name, ordinary[name]) for name in names))

    def insert(self, into: Insert, rows: bytes) -> None:
        """Insert blocks in the format Native. All of them are here before the engine sees the first."""
        names = ", ".join(f"`{name}`" for name, _ in into.columns)
        descriptor = os.memfd_create("rows")
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(rows)
            self._run(f"INSERT INTO {into.table} ({names}) FROM INFILE '/proc/self/fd/{descriptor}' FORMAT Native")
        finally:
            os.close(descriptor)
        self._check()

    def answer(self, sql: str, parameters: Mapping[str, str]) -> Generator[bytes, None, None]:
        """Run a statement; the blocks of its answer, each in the format Native. Closing it stops the statement."""
        values = {name: _literal(value) for name, value in parameters.items()}
        with self._refusals(), self._busy:
            if not _STREAMED.match(_COMMENTS.sub("", sql)):
                answer = self._session.query(sql, "Native", params=values).bytes()
                self._check()
                yield answer
                return
            with self._session.send_query(sql, "Native", params=values) as stream:
                for piece in stream:
                    yield piece.bytes()

    def columns_of(self, sql: str, parameters: Mapping[str, str]) -> list[Column]:
        """The columns of a SELECT, or nothing for another statement."""
        if not _STREAMED.match(_COMMENTS.sub("", sql)):
            return []
        values = {name: _literal(value) for name, value in parameters.items()}
        return [(name, kind) for name, kind, _ in self._columns(f"DESCRIBE TABLE ({sql.rstrip().rstrip(';')})", values)]

    def close(self) -> None:
        """Close the session. Waits for a statement that runs."""
        with self._busy:
            self._session.close()

    def _columns(self, sql: str, values: Mapping[str, str] | None = None) -> list[list[str]]:
        rows = str(self._run(sql, "JSONCompactEachRow", values)).splitlines()
        return [[str(each) for each in json.loads(row)[:3]] for row in rows if row]

    def _run(self, sql: str, form: str = "Null", values: Mapping[str, str] | None = None) -> Any:
        with self._refusals(), self._busy:
            return self._session.query(sql, form, params=dict(values or {}))

    @staticmethod
    @contextmanager
    def _refusals() -> Iterator[None]:
        try:
            yield
        except RuntimeError as fault:
            found = _CODE.search(str(fault))
            code, message = (int(found[1]), found[2]) if found else (WITHOUT_CODE, str(fault))
            raise StatementError(code, message) from fault


def _assignments(settings: Mapping[str, str | None]) -> str:
    return ", ".join(f"{name} = {'DEFAULT' if value is None else _quoted(value)}" for name, value in settings.items())


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _literal(value: str) -> str:
    """A parameter as the engine's library takes it: the text inside the quotes that the protocol puts around it."""
    if not (len(value) >= 2 and value[0] == value[-1] == "'"):
        return value
    return _UNQUOTED.sub(lambda found: _ESCAPES.get(found[1], found[1]) if found[1] else "'", value[1:-1])
