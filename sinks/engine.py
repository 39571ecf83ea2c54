"""The embedded engine (chDB) on a folder: one session to write, a few to read, opened anew when it could not write.

Knows statements neither of writing nor of reading.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, LifoQueue
from typing import Final

from chdb.session import Session

from jianguan.errors import ConfigurationError, UnavailableError
from sinks.engine_writes import EngineWrites, keep_whole_parts
from sinks.store import DATABASE, SESSION_SETTINGS, StoreError

log = logging.getLogger(__name__)

ROOM_BYTES: Final = 32 * 1024 * 1024  # that must be free on the disk for the engine to be written to


class Engine:
    """The sessions of one folder. Reading is thread-safe; everything else is for one thread at a time."""

    def __init__(self, folder: Path, *, readers: int, patience_s: float) -> None:
        """`readers`: how many questions at once. `patience_s`: how long one waits for its turn."""
        self._folder = folder
        self._readers = readers
        self._patience_s = patience_s
        self._writer: Session | None = None
        self._idle: LifoQueue[Session | None] = LifoQueue()  # None: the next question makes this one
        self._opened = 0  # sessions that read, idle or not, or to be made
        self._writes: EngineWrites | None = None
        self._unwritten = False  # a write has failed since it was opened
        self._closing = False  # no more questions, so that the sessions come back

    @property
    def set_aside(self) -> tuple[str, ...]:
        """The parts that were lost when it was opened last. It may remember the tokens of what was in them."""
        return () if self._writes is None else self._writes.set_aside

    @property
    def writer(self) -> Session:
        """The session to write. UnavailableError when the engine is not open."""
        if self._writer is None:
            raise UnavailableError(f"the store in {self._folder} is not open")
        return self._writer

    def open(self) -> None:
        """Open all sessions. ConfigurationError when the folder does not allow it, or another path is open already."""
        try:
            self._writer = self._session()
            self._writes, self._unwritten = EngineWrites(self._writer), False
            for _ in range(self._readers):
                self._idle.put(self._session())
                self._opened += 1
        except RuntimeError as fault:
            raise ConfigurationError(f"the store in {self._folder} cannot be opened: {fault}") from fault
        if self.set_aside:
            log.warning("the store set aside what it could not read: %s", ", ".join(self.set_aside))

    def close(self) -> None:
        """Close all sessions, and with the last one the engine. A question that never ends is left to the end of the
        process."""
        writer, self._writer = self._writer, None
        while self._opened:
            try:
                session = self._idle.get(timeout=self._patience_s)
            except Empty:
                break
            self._opened -= 1
            if session is not None:
                session.close()
        if writer is not None:
            writer.close()

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """A session for one question. One whose answer was not read to its end, or broke off, is replaced: what is left
        of that answer has been seen in the next one. UnavailableError when none is free, or none can be made."""
        if self._writer is None or self._closing:
            raise UnavailableError(f"the store in {self._folder} is not open")
        try:
            session = self._idle.get(timeout=self._patience_s)
        except Empty:
            raise UnavailableError("the store has too many queries running: try again") from None
        try:
            if session is None:
                session = self._late()
            try:
                yield session
            except BaseException as error:
                session.close()
                session = None
                if isinstance(error, StoreError) and self._writer is not None:
                    with suppress(RuntimeError):  # the question's own error says more
                        session = self._session()
                        self._look(session)
                    if self._unwritten:  # a part without content cannot be read, and is no fault of the question
                        raise UnavailableError(self._trouble()) from error
                raise
        finally:
            self._idle.put(session)

    def look(self) -> None:
        """See whether a write has failed. Then the engine merges and removes nothing more until it is opened anew."""
        if self._writer is not None:
            self._look(self._writer)

    def refuse_unwritten(self) -> None:
        """UnavailableError when a write has failed since it was opened: what was written meanwhile may be nowhere."""
        self.look()
        if self._unwritten:
            raise UnavailableError(self._trouble())

    def ensure_sound(self) -> None:
        """Open it anew if it could not write, and can now. UnavailableError while the disk is full, or while a question
        goes on under which it cannot be closed."""
        free = shutil.disk_usage(self._folder).free
        if free < ROOM_BYTES:
            raise UnavailableError(
                f"the disk of the store in {self._folder} is full: {free >> 20} MB are free, and it needs "
                f"{ROOM_BYTES >> 20}; make room"
            )
        if not self._unwritten:
            return
        self._close_idle()
        try:
            self.open()
        except ConfigurationError as error:
            self.close()
            self._unwritten = True
            raise UnavailableError(str(error)) from error
        log.info("the store in %s was opened anew", self._folder)

    def _look(self, session: Session) -> None:
        if not self._unwritten and self._writes is not None and self._writes.have_failed(session):
            self._unwritten = True
            log.error(self._trouble())
            keep_whole_parts(session)

    def _trouble(self) -> str:
        return f"a file of the store in {self._folder} could not be written: it is opened anew once the disk has room"

    def _close_idle(self) -> None:
        """Close it when nobody asks; all stays open, and UnavailableError, when a question does not end."""
        idle: list[Session | None] = []
        self._closing = True
        try:
            while len(idle) < self._opened:
                idle.append(self._idle.get(timeout=self._patience_s))
        except Empty:
            for session in idle:
                self._idle.put(session)
            raise UnavailableError(f"{self._trouble()}, and its queries have ended") from None
        finally:
            self._closing = False
        self._opened = 0
        for session in idle:
            if session is not None:
                session.close()
        self.close()

    def _late(self) -> Session:
        """A session that was not made when another one was closed."""
        if self._writer is None:
            raise UnavailableError(f"the store in {self._folder} is not open")
        try:
            return self._session()
        except RuntimeError as fault:
            raise UnavailableError(f"the store in {self._folder} cannot take a question: {fault}") from fault

    def _session(self) -> Session:
        session = Session(str(self._folder / "data"))
        session.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        session.query(f"USE {DATABASE}")
        # Handing rows from thread to thread costs a look-up more than it saves, and a scan must leave a core to the
        # stages. Waiting for threads of its own, the engine has also been seen to wait for ever.
        session.query("SET max_threads = 1")
        session.query("SET " + ", ".join(f"{name} = {value}" for name, value in SESSION_SETTINGS.items()))
        return session
