"""The store as a ClickHouse server, over its native protocol, with compressed blocks of columns.

Needs ClickHouse 23.8 or newer: typed parameters on the native protocol (22.8), deduplication tokens for tables that
are not replicated (22.2), DateTime64 beyond 1970 to 2105 (22.8), and Bool, Map, and LowCardinality(Nullable(String)).
Knows rows, not what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import Any, Final

from jianguan.columns import Columns, values_of
from jianguan.domain.trace import Records
from jianguan.errors import ConfigurationError
from sinks import migrate
from sinks.rows import SHAPES, deduplication_token
from sinks.server_pool import Address, Limits, ServerPool
from sinks.store import SESSION_SETTINGS, NotAllowedError

OLDEST: Final = (23, 8)

_VERSION: Final = re.compile(r"(\d+)\.(\d+)")
_INSERT_SETTINGS: Final = {"async_insert": 0, "optimize_on_insert": 0}


class ServerStore:
    """`jianguan.ports.Store` on a ClickHouse server. Thread-safe. Open with `start`, always `close`.

    `url` is `clickhouse://user@host:9000/database`, hosts separated by commas, `?secure=true` for TLS.
    """

    def __init__(self, url: str, *, password: str = "", limits: Limits | None = None) -> None:
        self._address = Address.parse(url, password)
        self._limits = limits or Limits()
        self._pool = ServerPool(self._address, self._limits, settings=SESSION_SETTINGS)

    def start(self) -> None:
        """Connect, refuse a server that is too old, make the database, run the missing migrations."""
        with _told_as_a_setting():
            with self._first() as first:
                self._make_database(first)
            migrate.apply(self)

    def missing(self) -> list[str]:
        """Names of the migrations that `start` would run. Connects as `start` does, and changes nothing."""
        with _told_as_a_setting():
            with self._first() as first:
                there = self._has_database(first)
            return [str(each) for each in (migrate.missing(self) if there else migrate.load())]

    def _has_database(self, first: ServerPool) -> bool:
        named = {"name": self._address.database}
        return bool(first.execute("SELECT name FROM system.databases WHERE name = {name:String}", named))

    def _make_database(self, first: ServerPool) -> None:
        # Not asked for when it is there: a user that may not make databases can work in one that was made for it.
        if not self._has_database(first):
            first.execute(f"CREATE DATABASE IF NOT EXISTS {self._address.database}")

    @contextmanager
    def _first(self) -> Iterator[ServerPool]:
        """Connections to a server that is new enough, without a database."""
        pool = ServerPool(replace(self._address, database=""), self._limits)
        try:
            check_version(str(pool.execute("SELECT version()")[0][0]))
            yield pool
        finally:
            pool.close()

    def write(self, records: Records | Columns, token: str) -> None:
        """Insert every row, table by table in the order of Columns; the same again is harmless."""
        columns = Columns.of(records)
        for name, table in columns.inserts():
            self._insert(name, table, token)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; parameters as `{name:Type}`, bound by the server."""
        return self._pool.execute(sql, parameters)

    def blocks(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a SELECT, a block at a time, without holding them all."""
        return self._pool.blocks(sql, parameters)

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[Sequence[Any]]]:
        """The same by column. A block has at least one row."""
        with closing(self._pool.blocks(sql, parameters)) as blocks:
            for block in blocks:
                if block:
                    yield list(zip(*block, strict=True))

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing."""
        self._pool.execute(sql, parameters)

    def maintain(self) -> None:
        """Nothing: a server merges by itself."""

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def _insert(self, name: str, table: Any, token: str) -> None:
        sql = f"INSERT INTO {name} ({SHAPES[name].quoted}) VALUES"
        settings = {**_INSERT_SETTINGS, "insert_deduplication_token": deduplication_token(token, name, table)}
        self._pool.insert(sql, [values_of(column) for column in table.columns], settings)


@contextmanager
def _told_as_a_setting() -> Iterator[None]:
    """At a start nobody waits for a user that is refused: it, or its password, is most likely mistyped."""
    try:
        yield
    except NotAllowedError as error:
        raise ConfigurationError(str(error)) from error


def check_version(version: str) -> None:
    """ConfigurationError when a server of this version cannot hold the record."""
    found = _VERSION.match(version)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        raise ConfigurationError(
            f"the ClickHouse server is version {version}: this needs {OLDEST[0]}.{OLDEST[1]} or newer, for typed"
            " parameters, deduplication tokens and DateTime64"
        )
