"""A server that is killed, frozen, slow, or whose answers are lost: what was told is there once, and who asks is told.

On Debian's server, for the wire of a true one, and on the current engine behind the native protocol, for the schema.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jianguan.domain.trace import TABLES, Records
from jianguan.errors import UnavailableError
from sinks import migrate
from sinks.rows import SHAPES, records_of
from sinks.server import ServerStore
from sinks.server_pool import Address, Limits, ServerPool
from tests.clickhouse import DEADLINE, ChildServer, DebianServer, NativeServer, native_server
from tests.contract.samples import event, fact, quarantined, step
from tests.relay import relay_to
from tests.requirements import debian_clickhouse

pytestmark = [pytest.mark.clickhouse, pytest.mark.network]

QUICK = Limits(connections=3, connect_s=2.0, answer_s=10.0)
IMPATIENT = Limits(connections=2, connect_s=1.0, answer_s=1.0)


@pytest.fixture
def native(tmp_path: Path) -> Iterator[NativeServer]:
    """The current engine, in a process that the test may kill."""
    with native_server(tmp_path / "native") as server:
        yield server


@pytest.fixture(params=["debian", "native"])
def child(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ChildServer]:
    """A server of either kind, which the test may kill."""
    made: ChildServer
    made = NativeServer(tmp_path) if request.param == "native" else DebianServer(debian_clickhouse(), tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def pool_of(url: str, limits: Limits = QUICK) -> ServerPool:
    return ServerPool(Address.parse(f"{url}/default"), limits)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def a_run(events: int, refused: int = 0) -> Records:
    """So many events with facts and steps, and refused records of a megabyte that nothing compresses."""
    noise = random.Random(7)
    told = [event(number) for number in range(events)]
    return Records(
        events=told,
        facts=[fact(each) for each in told],
        quarantine=[quarantined(number, noise.randbytes(1_000_000)) for number in range(refused)],
        trace=[step(each.id, "accepted", receipt=each.source_id) for each in told],
    )


def assert_told_once(store: ServerStore, run: Records) -> None:
    """Each row is there as it was told; nor did the repeated part of the run make rows that are yet to be merged."""
    for table in TABLES:
        shape = SHAPES[table]
        rows = store.query(f"SELECT {shape.select_list()} FROM {table} FINAL")
        expected = [each._replace(text=None) for each in run.events] if table == "events" else getattr(run, table)
        assert sorted(records_of(table, rows)) == sorted(expected), table
        assert store.query(f"SELECT count() FROM {table}") == [(len(rows),)], table


class Killer:
    """Kills a server when it is called, which a relay does in a thread of its own."""

    def __init__(self, victim: ChildServer) -> None:
        self._victim = victim
        self._done = threading.Event()

    def __call__(self) -> None:
        self._victim.kill()
        self._done.set()

    def wait(self) -> None:
        assert self._done.wait(DEADLINE)


@pytest.mark.parametrize("sent", [1_500, 5_000])
def test_a_schema_whose_server_is_killed_in_the_making_is_completed_at_the_next_start(
    native: NativeServer, sent: int
) -> None:
    run, kill = a_run(events=10), Killer(native)
    with relay_to(native.url) as relay:
        store = ServerStore(f"{relay.url}/jianguan", limits=QUICK)
        relay.after(sent, kill)
        with pytest.raises(UnavailableError):
            store.start()
        kill.wait()
        native.start()
        store.start()
        store.write(run, "run-1")
        assert_told_once(store, run)
        assert store.query("SELECT number FROM migrations FINAL ORDER BY number") == [
            (each.number,) for each in migrate.load()
        ]
        store.close()


@pytest.mark.parametrize("sent", [1_000, 30_000, 200_000, 1_500_000, 3_500_000])
def test_a_run_whose_server_is_killed_in_mid_insert_is_there_once_after_the_retry(
    native: NativeServer, sent: int
) -> None:
    run, kill = a_run(events=2_000, refused=4), Killer(native)
    with relay_to(native.url) as relay:
        store = ServerStore(f"{relay.url}/jianguan", limits=QUICK)
        store.start()
        relay.after(sent, kill)
        with pytest.raises(UnavailableError):
            store.write(run, "run-1")
        kill.wait()
        native.start()
        store.write(run, "run-1")
        assert_told_once(store, run)
        store.close()


def test_a_run_whose_server_is_killed_between_its_tables_is_there_once_after_the_retry(native: NativeServer) -> None:
    run = a_run(events=10_000)
    store, watcher = (ServerStore(f"{native.url}/jianguan", limits=QUICK) for _ in range(2))
    store.start()
    with ThreadPoolExecutor(1) as threads:
        written = threads.submit(store.write, run, "run-1")
        eventually(lambda: watcher.query("SELECT count() FROM events") != [(0,)])
        native.kill()
        with pytest.raises(UnavailableError):
            written.result(DEADLINE)
    native.start()
    assert watcher.query("SELECT count() FROM events") == [(10_000,)]
    assert watcher.query("SELECT count() FROM trace") == [(0,)]
    store.write(run, "run-1")
    assert_told_once(store, run)
    store.close()
    watcher.close()


def test_a_connection_that_breaks_in_mid_insert_is_replaced_and_nobody_hears_of_it(native: NativeServer) -> None:
    run = a_run(events=500, refused=2)
    with relay_to(native.url) as relay:
        store = ServerStore(f"{relay.url}/jianguan", limits=QUICK)
        store.start()
        relay.after(1_000_000, relay.cut)
        store.write(run, "run-1")
        assert_told_once(store, run)
        store.close()


def test_a_run_whose_answer_was_lost_is_there_once_after_the_retry(native: NativeServer) -> None:
    run = Records(events=[event(number) for number in range(200)])
    with relay_to(native.url) as relay:
        first, second = (ServerStore(f"{relay.url}/{name}", limits=IMPATIENT) for name in ("first", "other"))
        first.start()
        second.start()
        before = relay.sent
        first.write(run, "run-1")
        # The same run to another database takes as many bytes: what is lost is the answer to the last of them.
        relay.after(relay.sent - before, relay.mute)
        with pytest.raises(UnavailableError, match="does not answer"):
            second.write(run, "run-1")
        direct = ServerStore(f"{native.url}/other", limits=QUICK)
        eventually(lambda: direct.query("SELECT count() FROM events") == [(200,)])
        relay.unmute()
        second.write(run, "run-1")
        assert_told_once(second, run)
        for each in (first, second, direct):
            each.close()


def test_rows_that_a_server_was_killed_over_are_there_once_after_the_retry(child: ChildServer) -> None:
    noise = random.Random(7)
    ids = [f"{number:04}" for number in range(3_000)]
    texts = [noise.randbytes(1_000) for _ in ids]
    kill = Killer(child)
    with relay_to(child.url) as relay:
        pool = pool_of(relay.url)
        pool.execute("CREATE TABLE told (id String, raw String) ENGINE = ReplacingMergeTree ORDER BY id")
        relay.after(1_500_000, kill)
        with pytest.raises(UnavailableError, match="does not answer"):
            pool.insert("INSERT INTO told (id, raw) VALUES", [ids, texts])
        kill.wait()
        child.start()
        pool.insert("INSERT INTO told (id, raw) VALUES", [ids, texts])
        rows = pool.execute("SELECT id, hex(raw) FROM told FINAL ORDER BY id")
        assert rows == [(each, text.hex().upper()) for each, text in zip(ids, texts, strict=True)]
        pool.close()


def test_a_frozen_server_is_unavailable_in_time_and_is_used_again_when_it_goes_on(child: ChildServer) -> None:
    pool = pool_of(child.url, IMPATIENT)
    assert pool.execute("SELECT 1") == [(1,)]
    child.freeze()
    before = time.monotonic()
    with pytest.raises(UnavailableError, match="does not answer"):
        pool.execute("SELECT 1")
    assert time.monotonic() - before < 10 * (IMPATIENT.connect_s + IMPATIENT.answer_s)
    child.thaw()
    assert pool.execute("SELECT 2") == [(2,)]
    pool.close()


def test_a_slow_server_is_waited_for_as_long_as_the_limit_says(tmp_path: Path) -> None:
    with native_server(tmp_path, delay_s=2.0) as slow:
        hasty, patient = pool_of(slow.url, IMPATIENT), pool_of(slow.url)
        with pytest.raises(UnavailableError, match="does not answer"):
            hasty.execute("SELECT 1")
        assert patient.execute("SELECT 1") == [(1,)]
        hasty.close()
        patient.close()


def test_idle_connections_to_a_server_that_was_restarted_are_made_anew(child: ChildServer) -> None:
    pool = pool_of(child.url)
    together = threading.Barrier(QUICK.connections)

    def ask(number: int) -> int:
        together.wait(DEADLINE)  # so that each needs a connection of its own
        ((_, value),) = pool.execute(f"SELECT sleep(0.2), {number}")
        return int(value)

    with ThreadPoolExecutor(QUICK.connections) as threads:
        assert list(threads.map(ask, range(QUICK.connections))) == [0, 1, 2]
        child.restart()
        assert list(threads.map(ask, range(QUICK.connections))) == [0, 1, 2]
    pool.close()


def test_many_threads_share_few_connections(child: ChildServer) -> None:
    with relay_to(child.url) as relay:
        pool = pool_of(relay.url)
        pool.execute("CREATE TABLE counted (n UInt32) ENGINE = MergeTree ORDER BY n")

        def work(first: int) -> None:
            for number in range(first, first + 5):
                pool.insert("INSERT INTO counted (n) VALUES", [[number]])
                assert pool.execute(f"SELECT {number}, sleep(0.01)") == [(number, 0)]
                answer = pool.blocks("SELECT number FROM system.numbers LIMIT 3")
                assert [row for block in answer for row in block] == [(0,), (1,), (2,)]

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(work, range(0, 60, 5)))
        assert relay.most_open == QUICK.connections
        assert pool.execute("SELECT n FROM counted ORDER BY n") == [(number,) for number in range(60)]
        pool.close()


def test_the_next_host_is_asked_when_one_is_away(native: NativeServer) -> None:
    port = native.url.rpartition(":")[2]
    with relay_to(native.url) as gone:
        away = gone.url.rpartition("/")[2]
    pool = ServerPool(Address.parse(f"clickhouse://{away},127.0.0.1:{port}/default"), QUICK)
    assert pool.execute("SELECT 1") == [(1,)]
    pool.close()


def test_workers_that_start_at_once_make_one_schema(native: NativeServer) -> None:
    stores = [ServerStore(f"{native.url}/jianguan", limits=QUICK) for _ in range(4)]
    run = a_run(events=10)

    def work(store: ServerStore) -> None:
        store.start()
        store.write(run, "run-1")

    with ThreadPoolExecutor(len(stores)) as threads:
        list(threads.map(work, stores))
    assert_told_once(stores[0], run)
    for each in stores:
        each.close()


def test_who_asks_what_is_missing_makes_no_database_and_no_table(native: NativeServer) -> None:
    store = ServerStore(f"{native.url}/jianguan", limits=QUICK)
    everything = [str(each) for each in migrate.load()]
    assert store.missing() == everything
    assert pool_of(native.url).execute("SELECT count() FROM system.databases WHERE name = 'jianguan'") == [(0,)]
    store.start()
    assert store.missing() == []
    store.close()
