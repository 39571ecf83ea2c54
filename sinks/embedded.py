"""The embedded store: ClickHouse inside this process, on a folder that one process at a time may open.

Writes go through one connection under a lock; reads through a few others, so that a long scan does not hold up a
look-up. What `write` has returned for is in the files of the folder: the process may be killed, and with `fsync` the
machine may lose power. When the engine could not write its files it is opened anew (see `engine`), and what was
inserted meanwhile counts as refused. Knows rows, not what they mean.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from chdb.session import Session

from jianguan.columns import Columns
from jianguan.domain.trace import TABLES, Records
from jianguan.errors import ConfigurationError
from sinks import migrate
from sinks.arrow import arrow_table, columns_of, parameter_texts, rows_of, table_in
from sinks.engine import Engine
from sinks.rows import SHAPES, deduplication_token
from sinks.store import BLOCK_ROWS, DATABASE, error_of

_LOCK: Final = "store.lock"
_MANY_PARTS: Final = 12
_SMALL_TABLE_BYTES: Final = 64 * 1024 * 1024
_FSYNC: Final = re.compile(r"\bfsync_after_insert = (\d)")

# One thread reads a run faster than several do. Rows that are told twice within it, and the indexes of a part that is
# small and new, wait for the first merge.
_INSERT_SETTINGS: Final = (
    "max_threads = 1, max_insert_threads = 1, async_insert = 0, optimize_on_insert = 0,"
    " materialize_skip_indexes_on_insert = 0"
)


class EmbeddedStore:
    """`jianguan.ports.Store` on chDB. Thread-safe. Open with `start`, always `close`.

    `readers` bounds how many queries run at once; `fsync` makes each write reach the disk and not only the kernel.
    """

    def __init__(self, folder: Path, *, readers: int = 3, reader_timeout_s: float = 30.0, fsync: bool = False) -> None:
        if "?" in str(folder):
            raise ConfigurationError(f"the store's folder {folder} must not have a question mark in its name")
        self._folder = folder
        self._fsync = fsync
        self._engine = Engine(folder, readers=readers, patience_s=reader_timeout_s)
        self._lock_file: int | None = None
        self._write_lock = threading.Lock()

    def start(self) -> None:
        """Take the folder, open it and run the missing migrations. ConfigurationError when another process has it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._opened():
            migrate.apply(self)
            self._set_fsync()
            self._engine.refuse_unwritten()

    def look(self) -> list[str]:
        """Open a folder that is there, to ask it alone; names of the migrations that `start` would run. Runs none of
        them. ConfigurationError as of `start`."""
        with self._opened():
            return [str(each) for each in migrate.missing(self)]

    @contextmanager
    def _opened(self) -> Iterator[None]:
        """Take the folder and open it; give it back when the block fails."""
        self._take_folder()
        try:
            self._engine.open()
            yield
        except BaseException:
            self.close()
            raise

    def _set_fsync(self) -> None:
        """Let every table be as `fsync` says. One that is so is left alone: see `migrate`."""
        engines = dict(
            self.query("SELECT name, engine_full FROM system.tables WHERE database = {name:String}", {"name": DATABASE})
        )
        for table in TABLES:
            found = _FSYNC.search(engines[table])
            if (found[1] == "1" if found else False) != self._fsync:
                self.command(f"ALTER TABLE {table} MODIFY SETTING fsync_after_insert = {int(self._fsync)}")

    def write(self, records: Records | Columns, token: str) -> None:
        """Insert every row, table by table in the order of Columns; the same again is harmless."""
        columns = Columns.of(records)
        if not columns:
            return
        with self._write_lock:
            self._engine.ensure_sound()
            distinct = "\x1f".join((token, *self._engine.set_aside))
            try:
                for name, table in columns.inserts():
                    _insert(self._engine.writer, name, table, distinct)
            finally:
                self._engine.refuse_unwritten()

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; parameters as `{name:Type}`. StoreError when the statement is wrong."""
        with self._engine.reader() as session:
            answer = self._run(session, sql, parameters, "Arrow")
            return rows_of(table_in(answer))

    def blocks(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a SELECT, a block at a time, without holding them all."""
        with closing(self._batches(sql, parameters)) as batches:
            for batch in batches:
                yield rows_of(batch)

    def columns(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Iterator[list[Sequence[Any]]]:
        """The same by column. A block has at least one row."""
        with closing(self._batches(sql, parameters)) as batches:
            for batch in batches:
                if batch.num_rows:
                    yield columns_of(batch)

    def _batches(self, sql: str, parameters: Mapping[str, Any] | None) -> Generator[Any]:
        with self._engine.reader() as session:
            try:
                with session.send_query(sql, "Arrow", params=parameter_texts(parameters)) as stream:
                    yield from stream.record_batch(rows_per_batch=BLOCK_ROWS)
            except RuntimeError as fault:
                raise error_of(str(fault)) from fault

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing, on the connection of the writes."""
        with self._write_lock:
            self._run(self._engine.writer, sql, parameters)

    def maintain(self) -> None:
        """Ask for one merge of every small table that has many parts. Large tables are left to the background.

        Also sees whether the background could write, and opens the engine anew if it could not.
        """
        with self._write_lock:
            self._engine.look()
            self._engine.ensure_sound()
        crowded = self.query(
            "SELECT table FROM system.parts WHERE active AND database = {database:String} GROUP BY table"
            " HAVING count() > {parts:UInt32} AND sum(bytes_on_disk) < {bytes:UInt64}",
            {"database": DATABASE, "parts": _MANY_PARTS, "bytes": _SMALL_TABLE_BYTES},
        )
        for (table,) in crowded:
            if table in SHAPES:
                with self._engine.reader() as session:
                    self._run(session, f"OPTIMIZE TABLE {table}")

    def close(self) -> None:
        """Close every connection and give the folder back. Waits for queries that are running."""
        with self._write_lock:
            self._engine.close()
            if self._lock_file is not None:
                os.close(self._lock_file)
                self._lock_file = None

    def _take_folder(self) -> None:
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigurationError(
                f"the store in {self._folder} is in use by process {owner}: use its page or API, or stop it"
            ) from fault
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._lock_file = descriptor

    @staticmethod
    def _run(session: Session, sql: str, parameters: Mapping[str, Any] | None = None, form: str = "Null") -> Any:
        try:
            return session.query(sql, form, params=parameter_texts(parameters))
        except RuntimeError as fault:
            raise error_of(str(fault)) from fault


def _insert(session: Session, name: str, table: Any, token: str) -> None:
    block = arrow_table(name, table)  # named in the statement: the engine finds it among this function's variables
    quoted, distinct = SHAPES[name].quoted, deduplication_token(token, name, table)
    statement = (
        f"INSERT INTO {name} ({quoted}) SETTINGS {_INSERT_SETTINGS}, insert_deduplication_token = '{distinct}'"  # noqa: S608
        f" SELECT {quoted} FROM Python(block)"
    )
    try:
        session.query(statement, "Null")
    except RuntimeError as fault:
        raise error_of(str(fault)) from fault
    finally:
        del block
