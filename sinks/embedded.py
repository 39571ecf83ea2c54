"""The embedded store: ClickHouse inside this process, on a folder that one process at a time may open.

Writes go through one connection under a lock; reads through a few others, so that a long scan does not hold up a
look-up. What `write` has returned for is in the files of the folder: the process may be killed, and with `fsync` the
machine may lose power. Knows rows, not what they mean.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Any, Final

from chdb.session import Session

from jianguan.columns import Columns
from jianguan.domain.trace import TABLES, Records
from jianguan.errors import ConfigurationError, UnavailableError
from sinks import migrate
from sinks.arrow import arrow_table, columns_of, parameter_texts, rows_of, table_in
from sinks.rows import SHAPES, deduplication_token
from sinks.store import BLOCK_ROWS, DATABASE, SESSION_SETTINGS, error_of

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
        self._readers = readers
        self._reader_timeout_s = reader_timeout_s
        self._fsync = fsync
        self._lock_file: int | None = None
        self._writer: Session | None = None
        self._write_lock = threading.Lock()
        self._idle: LifoQueue[Session] = LifoQueue()
        self._opened = 0

    def start(self) -> None:
        """Take the folder, open it and run the missing migrations. ConfigurationError when another process has it."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._take_folder()
        try:
            self._writer = self._open()
            for _ in range(self._readers):
                self._idle.put(self._open())
                self._opened += 1
            migrate.apply(self)
            self._set_fsync()
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
        """Insert every row; the same again is harmless.

        The trace goes last: who finds a step finds what it tells of.
        """
        columns = Columns.of(records) if isinstance(records, Records) else records
        if not columns:
            return
        with self._write_lock:
            session = self._writer_session()
            for name, table in columns.tables.items():
                _insert(session, name, table, token)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of a SELECT; parameters as `{name:Type}`. StoreError when the statement is wrong."""
        with self._reader() as session:
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
        with self._reader(streaming=True) as session:
            try:
                with session.send_query(sql, "Arrow", params=parameter_texts(parameters)) as stream:
                    yield from stream.record_batch(rows_per_batch=BLOCK_ROWS)
            except RuntimeError as fault:
                raise error_of(str(fault)) from fault

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing, on the connection of the writes."""
        with self._write_lock:
            self._run(self._writer_session(), sql, parameters)

    def maintain(self) -> None:
        """Ask for one merge of every small table that has many parts. Large tables are left to the background."""
        crowded = self.query(
            "SELECT table FROM system.parts WHERE active AND database = {database:String} GROUP BY table"
            " HAVING count() > {parts:UInt32} AND sum(bytes_on_disk) < {bytes:UInt64}",
            {"database": DATABASE, "parts": _MANY_PARTS, "bytes": _SMALL_TABLE_BYTES},
        )
        for (table,) in crowded:
            if table in SHAPES:
                with self._reader() as session:
                    self._run(session, f"OPTIMIZE TABLE {table}")

    def close(self) -> None:
        """Close every connection and give the folder back. Waits for queries that are running."""
        with self._write_lock:
            writer, self._writer = self._writer, None
            while self._opened:
                try:
                    self._idle.get(timeout=self._reader_timeout_s).close()
                except Empty:
                    break  # a query that never ends: the process's end will end it
                self._opened -= 1
            if writer is not None:
                writer.close()
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

    def _open(self) -> Session:
        try:
            session = Session(str(self._folder / "data"))
            session.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
            session.query(f"USE {DATABASE}")
            # Handing rows from thread to thread costs a look-up more than it saves, and a scan must leave a core to the
            # stages. Waiting for threads of its own, the engine has also been seen to wait for ever.
            session.query("SET max_threads = 1")
            session.query("SET " + ", ".join(f"{name} = {value}" for name, value in SESSION_SETTINGS.items()))
            return session
        except RuntimeError as fault:
            raise ConfigurationError(f"the store in {self._folder} cannot be opened: {fault}") from fault

    def _writer_session(self) -> Session:
        if self._writer is None:
            raise UnavailableError(f"the store in {self._folder} is not open")
        return self._writer

    @contextmanager
    def _reader(self, streaming: bool = False) -> Iterator[Session]:
        """A session for one question. One whose answer was `streaming` and was not read to its end is replaced: what is
        left of that answer has been seen in the next one."""
        if self._writer is None:
            raise UnavailableError(f"the store in {self._folder} is not open")
        try:
            session = self._idle.get(timeout=self._reader_timeout_s)
        except Empty:
            raise UnavailableError("the store has too many queries running: try again") from None
        whole = False
        try:
            yield session
            whole = True
        finally:
            if streaming and not whole:
                session.close()
                if self._writer is not None:  # closing the store waits for this one, and closes it again
                    session = self._open()
            self._idle.put(session)

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
