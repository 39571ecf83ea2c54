"""The embedded store's own promises: one process a folder, and nothing lost that it said it had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from jianguan.domain.trace import TABLES, Records
from jianguan.errors import ConfigurationError, UnavailableError
from sinks.embedded import EmbeddedStore
from sinks.store import StoreError
from tests.contract.samples import event

pytestmark = pytest.mark.store

WRITER = """
import sys, time
from pathlib import Path
from jianguan.domain.trace import Records
from sinks.embedded import EmbeddedStore
from tests.contract.samples import event, step

store = EmbeddedStore(Path(sys.argv[1]))
store.start()
for run in range(10_000):
    events = [event(run * 50 + number) for number in range(50)]
    store.write(Records(events=events, trace=[step(each.id, "accepted") for each in events]), f"run-{run}")
    print(run, flush=True)
"""
READER = """
import sys
from pathlib import Path
from sinks.embedded import EmbeddedStore

store = EmbeddedStore(Path(sys.argv[1]))
store.start()
print(store.query("SELECT 1, ['字'], CAST(NULL AS Nullable(Int64))"))
print(store.query("SELECT id FROM events"))
store.close()
print("pandas:", "pandas" in sys.modules)
"""
OPENER = """
import sys
from pathlib import Path
from jianguan.errors import JianguanError
from sinks.embedded import EmbeddedStore

try:
    EmbeddedStore(Path(sys.argv[1])).start()
except JianguanError as fault:
    print(fault)
    sys.exit(fault.exit_code)
"""


def test_nothing_that_was_acknowledged_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        for line in child.stdout:
            if int(line) >= 20:
                break
    finally:
        child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split("\n")
    child.wait(10)
    acknowledged = max([20, *(int(each) for each in rest[:-1])]) + 1
    store = EmbeddedStore(tmp_path)
    store.start()
    try:
        ((events, steps),) = store.query(
            "SELECT (SELECT uniqExact(id) FROM events), (SELECT uniqExact(subject) FROM trace)"
        )
        assert events >= acknowledged * 50
        assert steps >= acknowledged * 50
        # What was not acknowledged is told again, and then is there once.
        store.write(Records(events=[event(number) for number in range(acknowledged * 50)]), "again")
        assert store.query("SELECT count() = uniqExact(id) FROM events FINAL") == [(1,)]
    finally:
        store.close()


def test_a_second_process_is_refused_and_told_who_has_the_folder(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    store.start()
    try:
        second = subprocess.run(
            [sys.executable, "-c", OPENER, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert second.returncode == ConfigurationError.exit_code
        assert f"in use by process {os.getpid()}: use its page or API" in second.stdout
        with pytest.raises(ConfigurationError, match="in use"):
            EmbeddedStore(tmp_path).start()
        assert store.query("SELECT 1") == [(1,)]
    finally:
        store.close()


def test_a_folder_is_free_again_after_its_process_has_closed_it(tmp_path: Path) -> None:
    for _ in range(2):
        store = EmbeddedStore(tmp_path)
        store.start()
        store.close()


def test_a_start_changes_no_description_of_a_table_unless_it_must(tmp_path: Path) -> None:
    """On a full disk the engine empties the one that it changes, and never starts again."""

    def started(fsync: bool) -> dict[str, int]:
        store = EmbeddedStore(tmp_path / "store", fsync=fsync)
        store.start()
        rows = store.query("SELECT name FROM system.tables WHERE engine_full LIKE '%fsync_after_insert = 1%'")
        store.close()
        assert len(rows) == (len(TABLES) if fsync else 0)
        return {path.name: path.stat().st_ino for path in (tmp_path / "store/data/store").rglob("*.sql")}

    first = started(fsync=False)
    assert {"migrations.sql", *(f"{table}.sql" for table in TABLES)} <= first.keys()
    assert started(fsync=False) == first
    changed = started(fsync=True)
    assert [name for name in first if changed[name] == first[name]] == ["migrations.sql"]
    assert started(fsync=True) == changed


def test_opening_and_asking_a_store_imports_no_pandas(tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-c", READER, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert asked.stdout.splitlines() == ["[(1, ['字'], None)]", "[]", "pandas: False"]


def test_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store")
    store.start()
    store.close()
    assert (tmp_path / "store").stat().st_mode & 0o077 == 0


def test_a_look_up_and_a_write_do_not_wait_for_a_long_scan(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    store.start()
    ended = threading.Event()

    def scan() -> None:
        store.query("SELECT sleep(3)")
        ended.set()

    thread = threading.Thread(target=scan)
    thread.start()
    try:
        running = "SELECT count() FROM system.processes WHERE query = 'SELECT sleep(3)'"
        while store.query(running) == [(0,)]:
            assert not ended.is_set()
        store.write(Records(events=[event(1)]), "run-1")
        assert not ended.is_set()
    finally:
        thread.join(60)
        store.close()
    assert ended.is_set()


@contextmanager
def no_new_session(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def none() -> NoReturn:
        raise RuntimeError("Code: 241. DB::Exception: memory limit exceeded")

    with monkeypatch.context() as patch:
        patch.setattr(store._engine, "_session", none)
        yield


def test_a_question_that_fails_says_why_also_when_its_session_cannot_be_replaced_and_later_ones_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = EmbeddedStore(tmp_path / "a", readers=2, reader_timeout_s=0.5), EmbeddedStore(tmp_path / "b")
    store.start()
    with no_new_session(store, monkeypatch):
        left = store.blocks("SELECT number FROM numbers(1000000)")
        next(left)
        with pytest.raises(StoreError, match="Syntax error"):
            store.query("SELEC 1")
        left.close()  # type: ignore[attr-defined]
        with pytest.raises(UnavailableError, match="memory limit exceeded"):
            store.query("SELECT 1")
    both = [store.blocks("SELECT number FROM numbers(1000000)") for _ in range(2)]
    assert [next(rows)[0] for rows in both] == [(0,), (0,)]
    for rows in both:
        rows.close()  # type: ignore[attr-defined]
    store.close()
    other.start()  # the engine takes another folder when no session is left
    other.close()


def test_a_store_that_lacks_a_session_can_be_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = EmbeddedStore(tmp_path / "a", reader_timeout_s=0.5), EmbeddedStore(tmp_path / "b")
    store.start()
    with no_new_session(store, monkeypatch), pytest.raises(StoreError):
        store.query("SELEC 1")
    store.close()
    other.start()
    other.close()


def test_many_threads_may_write_and_ask_at_once(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path, readers=2)
    store.start()
    faults: list[BaseException] = []

    def work(first: int) -> None:
        try:
            for number in range(first, first + 5):
                store.write(Records(events=[event(number)]), f"run-{number}")
                assert store.query("SELECT count() FROM events WHERE id = {id:String}", {"id": event(number).id})
        except BaseException as fault:
            faults.append(fault)
            raise

    threads = [threading.Thread(target=work, args=(100 * each,)) for each in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert faults == []
        assert store.query("SELECT uniqExact(id) FROM events") == [(30,)]
    finally:
        store.close()


def test_small_tables_with_many_parts_are_merged(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path)
    store.start()
    try:
        store.command("SYSTEM STOP MERGES events")
        for number in range(20):
            store.write(Records(events=[event(number)]), f"run-{number}")
        store.command("SYSTEM START MERGES events")
        parts = "SELECT count() FROM system.parts WHERE active AND table = 'events'"
        # The engine may have begun a merge of all of them itself; then there is nothing else to merge until it ends.
        deadline = time.monotonic() + 30
        while store.query(parts)[0][0] > 12 and time.monotonic() < deadline:
            store.maintain()
        assert store.query(parts)[0][0] <= 12
        assert store.query("SELECT count() FROM events") == [(20,)]
    finally:
        store.close()
