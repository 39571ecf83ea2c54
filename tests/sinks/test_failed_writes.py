"""The engine does not say when it cannot write. What it was told then is refused, and what it had is there again.

A limit on the size of files stands in for a full disk: a write beyond it fails in the same way, and at once.
"""

from __future__ import annotations

import asyncio
import resource
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
from prometheus_client import CollectorRegistry

from jianguan.clock import SystemClock
from jianguan.domain.trace import Records, Step
from jianguan.errors import UnavailableError
from jianguan.metrics import Metrics
from sinks.embedded import EmbeddedStore
from sinks.engine import ROOM_BYTES
from sinks.store import StoreError
from streams import record
from streams.record import Recorder
from tests.streams.fakes import until

pytestmark = pytest.mark.store

SMALL = 4 * 1024  # bytes of a file
ROWS = 2_000  # of a run, whose file is larger


def run(number: int) -> Records:
    """Steps that hardly compress."""
    return Records(
        trace=[
            Step(f"st-{at * 0x9E3779B97F4A7C15 % 2**96:024x}", f"s-{at}", at, 1, "x", "system", "", "", (), "")
            for at in range(number * ROWS, (number + 1) * ROWS)
        ]
    )


def ids(*numbers: int) -> set[str]:
    return {row.id for number in numbers for row in run(number).trace}


def stored(store: EmbeddedStore) -> set[str]:
    return {row[0] for row in store.query("SELECT id FROM trace")}


@contextmanager
def full_disk() -> Iterator[None]:
    """No file grows beyond SMALL."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    made = EmbeddedStore(tmp_path / "store", reader_timeout_s=0.2)
    made.start()
    yield made
    made.close()


def opened(folder: Path) -> EmbeddedStore:
    made = EmbeddedStore(folder)
    made.start()
    return made


def test_a_run_that_the_engine_could_not_write_is_refused_and_stored_when_it_is_told_again(
    store: EmbeddedStore,
) -> None:
    store.write(run(0), "run-0")
    with full_disk(), pytest.raises(UnavailableError, match="could not be written: it is opened anew"):
        store.write(run(1), "run-1")
    store.write(run(1), "run-1")
    store.write(run(2), "run-2")
    assert stored(store) == ids(0, 1, 2)


def test_the_same_after_the_process_has_ended_in_between(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.write(run(0), "run-0")
    with full_disk(), pytest.raises(UnavailableError):
        first.write(run(1), "run-1")
    first.close()
    second = opened(tmp_path)
    try:
        assert stored(second) == ids(0)
        second.write(run(1), "run-1")
        assert stored(second) == ids(0, 1)
    finally:
        second.close()


def test_what_a_merge_could_not_write_is_there_again_when_the_store_is_tidied(store: EmbeddedStore) -> None:
    for number in range(3):
        store.write(run(number), f"run-{number}")
    with full_disk():
        store.command("OPTIMIZE TABLE trace FINAL")
    with pytest.raises(UnavailableError, match="could not be written"):  # the merged part has no files
        store.query("SELECT id FROM trace")
    store.maintain()
    assert stored(store) == ids(0, 1, 2)
    store.command("OPTIMIZE TABLE trace FINAL")
    assert store.query("SELECT count() FROM system.parts WHERE active AND table = 'trace'") == [(1,)]
    assert stored(store) == ids(0, 1, 2)


def test_while_files_cannot_be_written_nothing_is_merged_or_removed(store: EmbeddedStore) -> None:
    store.write(run(0), "run-0")
    store.write(run(1), "run-1")
    with full_disk(), pytest.raises(UnavailableError):
        store.write(run(2), "run-2")
    with pytest.raises(UnavailableError):
        store.command("OPTIMIZE TABLE trace FINAL")


def test_a_disk_without_room_is_not_written_to(store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(free=ROOM_BYTES - 1)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: free)
    with pytest.raises(UnavailableError, match="is full: 31 MB are free, and it needs 32; make room"):
        store.write(run(0), "run-0")
    free.free += 1
    store.write(run(0), "run-0")
    assert stored(store) == ids(0)


def test_a_query_that_goes_on_keeps_the_engine_open_and_nothing_is_taken_until_it_has_ended(
    store: EmbeddedStore,
) -> None:
    store.write(run(0), "run-0")
    rows = store.blocks("SELECT number FROM numbers(10000000)")
    next(rows)
    with full_disk(), pytest.raises(UnavailableError):
        store.write(run(1), "run-1")
    with pytest.raises(UnavailableError, match="and its queries have ended"):
        store.write(run(1), "run-1")
    rows.close()  # type: ignore[attr-defined]
    store.write(run(1), "run-1")
    assert stored(store) == ids(0, 1)


def test_the_engine_is_opened_anew_with_all_sessions_also_when_one_could_not_be_replaced(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none() -> NoReturn:
        raise RuntimeError("no memory")

    store.write(run(0), "run-0")
    with monkeypatch.context() as patch:
        patch.setattr(store._engine, "_session", none)
        with pytest.raises(StoreError):
            store.query("SELEC 1")
    with full_disk(), pytest.raises(UnavailableError):
        store.write(run(1), "run-1")
    store.write(run(1), "run-1")
    assert stored(store) == ids(0, 1)
    three = [store.blocks("SELECT number FROM numbers(1000000)") for _ in range(3)]
    assert [next(rows)[0] for rows in three] == [(0,)] * 3
    with pytest.raises(UnavailableError, match="too many queries"):
        store.query("SELECT 1")
    for rows in three:
        rows.close()  # type: ignore[attr-defined]


def test_questions_that_come_while_the_store_is_opened_anew_are_answered_or_told_to_come_again(
    store: EmbeddedStore,
) -> None:
    store.write(run(0), "run-0")
    ended, answers = threading.Event(), Counter[str]()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers[str(store.query("SELECT count() >= 2000 FROM trace"))] += 1
            except UnavailableError:
                answers["later"] += 1

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for thread in asking:
        thread.start()
    try:
        for number in range(1, 6):
            with full_disk(), pytest.raises(UnavailableError):
                store.write(run(number), f"run-{number}")
            while True:
                try:
                    store.write(run(number), f"run-{number}")
                except UnavailableError:  # its readers were not idle in time
                    continue
                break
    finally:
        ended.set()
        for thread in asking:
            thread.join()
    assert set(answers) <= {"[(1,)]", "later"}
    assert stored(store) == ids(*range(6))


async def test_the_record_stage_keeps_what_could_not_be_written_and_brings_it_in_when_it_can(
    store: EmbeddedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(record, "LONGEST_PAUSE", 0.01)
    recorder = Recorder(store, SystemClock(), Metrics(CollectorRegistry()), rows=100_000, linger=0.0)
    writing = asyncio.create_task(recorder.run())
    try:
        assert await recorder.take(run(0))
        await until(lambda: recorder.handed_stored == 1)
        with full_disk():
            assert await recorder.take(run(1))
            await until(lambda: "could not be written" in recorder.failure)
            assert not await recorder.take(run(2))
            assert recorder.handed_stored == 1
        await until(lambda: recorder.handed_stored == 2)
        assert recorder.failure == ""
        assert await recorder.take(run(2))
        await until(lambda: recorder.handed_stored == 3)
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
    assert stored(store) == ids(0, 1, 2)
