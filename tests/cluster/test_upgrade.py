"""A cluster is brought to a new version one process after the other, while events flow.

The new version is a copy of this one's packages, put first on the path of its processes, with a migration more, a field
more in every alert and a higher number. So alerts travel between old and new workers in both formats, as rows and as
columns, and both versions write to a store that has the new column.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from jianguan import __version__
from jianguan.clock import SystemClock
from sinks import migrate
from tests.cluster.conftest import Make
from tests.cluster.system import Cluster, Dashboards, Worker
from tests.cluster.test_workers import right, stream
from tests.end_to_end.support import complaint, eventually, jianguan
from tests.repository import ROOT

pytestmark = [
    pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.store, pytest.mark.network, pytest.mark.slow,
]  # fmt: skip

NEW = "99.0.0"
NUMBER = len(migrate.load()) + 1
MIGRATION = "ALTER TABLE alerts ADD COLUMN IF NOT EXISTS attention Int64 DEFAULT 5;\n"
BREAKING = f"-- Older versions stop here.\n{MIGRATION}"
LAST_FIELD = "    credit_points: int = 0  # by which it lowers the credit of the enterprise\n"


def new_version(folder: Path, migration: str = MIGRATION) -> Path:
    """The packages of the new version: what goes first on PYTHONPATH."""
    for package in ("jianguan", "rules", "streams", "sinks", "dashboards"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    _change(folder / "jianguan" / "__init__.py", f'"{__version__}"', f'"{NEW}"')
    _change(folder / "jianguan" / "domain" / "alert.py", LAST_FIELD, f"{LAST_FIELD}    attention: int = 7\n")
    (folder / "sinks" / "migrations" / f"{NUMBER:04d}_attention.sql").write_text(migration, "utf-8")
    assert NEW in jianguan("--version", PYTHONPATH=str(folder)).stdout
    return folder


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert text.count(old) == 1, f"{path} has no single {old!r}"
    path.write_text(text.replace(old, new), "utf-8")


@contextmanager
def flow(cluster: Cluster, events: list[dict[str, Any]], at_a_time: int = 20) -> Iterator[None]:
    """Send `events` during the block, a few at a time, and the rest at its end.

    10,000 last for more than four minutes: five times what an upgrade takes, since machines differ.
    """
    ended = Event()

    def send() -> None:
        for start in range(0, len(events), at_a_time):
            cluster.produce("complaints", events[start : start + at_a_time])
            ended.wait(0.5)  # the pace of the stream; none once the block has ended

    sender = Thread(target=send, name="stream")
    sender.start()
    try:
        yield
        assert sender.is_alive(), "the stream ended before the upgrade: it was to flow all the time"
    finally:
        ended.set()
        sender.join(120)
    assert not sender.is_alive()


def raised(cluster: Cluster) -> int:
    """How many alerts there are in the store."""
    return int(cluster.store.query("SELECT uniqExact(id) FROM alerts")[0][0])


def more_alerts(cluster: Cluster, than: int, what: str) -> int:
    """Wait for alerts that were not there before; how many there are then."""
    return eventually(lambda: found if (found := raised(cluster)) > than else 0, 60, what)


def test_workers_become_a_new_version_one_by_one_while_events_flow(make: Make, tmp_path: Path) -> None:
    cluster, new = make(), {"PYTHONPATH": str(new_version(tmp_path / "new"))}
    events, ends = stream(12_000, fresh=500)
    old = [cluster.worker().start().restored(), cluster.worker().start().restored()]
    cluster.dashboards.start()
    cluster.produce("complaints", events[:2_000])
    before = more_alerts(cluster, 20, "alerts of the old version")
    cluster.quiet()
    known = {path: histories(cluster.dashboards, path) for path in ("/v1/alerts", "/v1/cases")}

    with flow(cluster, events[2_000:]):
        assert old[0].stop() == 0
        cluster.worker(**new).start().restored()
        assert cluster.store.query("SELECT max(number) FROM migrations") == [(NUMBER,)]
        mixed = more_alerts(cluster, before, "alerts of both versions")
        assert_serves(old[1])
        assert cluster.dashboards.ready()
        assert old[1].stop() == 0
        cluster.worker(**new).start().restored()
        more_alerts(cluster, mixed, "alerts of the new version")
        assert cluster.dashboards.stop() == 0
        pages = Dashboards(cluster.data, cluster.folder / "new-dashboards.log", {**cluster.settings, **new})
        cluster.dashboards = pages
        pages.start()

    cluster.quiet()
    found = right(cluster, events, ends)
    assert len(found["alerts"]) > before
    assert cluster.store.query("SELECT count() FROM quarantine WHERE code IN ('bad-frame', 'store-refused')") == [(0,)]
    rows = cluster.store.query("SELECT attention, count() FROM alerts FINAL GROUP BY attention ORDER BY attention")
    assert [attention for attention, _ in rows] == [5, 7]  # the column's default where an old version wrote
    for path, one in known.items():
        assert histories(pages, path, one) == one


def histories(pages: Dashboards, path: str, names: Iterable[str] = ()) -> dict[str, Any]:
    """What inspectors see of alerts or cases: of these, or else of the first ones of the list."""
    names = list(names) or [each["id"] for each in pages.items(path)][:5]
    assert names
    return {name: pages.get(f"/v1/history/{name}") for name in names}


def assert_serves(worker: Worker) -> None:
    """It takes part in the work that flows."""
    before = worker.metric("jianguan_store_rows_total")
    eventually(lambda: worker.metric("jianguan_store_rows_total") > before, 30, "rows that the old version wrote")


def test_workers_that_start_a_new_version_at_once_run_its_migration_together(make: Make, tmp_path: Path) -> None:
    new = {"PYTHONPATH": str(new_version(tmp_path / "new"))}
    cluster = make()
    first = cluster.worker().start().restored()
    assert first.stop() == 0
    events, ends = stream(3_000)
    workers = [cluster.worker(**new).spawn() for _ in range(2)]
    for worker in workers:
        worker.restored()
    cluster.produce("complaints", events)
    cluster.quiet()
    right(cluster, events, ends)
    assert cluster.store.query("SELECT number FROM migrations FINAL ORDER BY number") == [
        (number,) for number in range(1, NUMBER + 1)
    ]


def test_an_old_worker_that_dies_during_an_upgrade_starts_again_on_the_newer_store(make: Make, tmp_path: Path) -> None:
    new = {"PYTHONPATH": str(new_version(tmp_path / "new"))}
    cluster = make(partitions=2)
    old = cluster.worker().start().restored()
    cluster.worker(**new).start().restored()
    old.kill()
    old.start().restored(2)
    assert f"migration {NUMBER:04d}_attention of a newer version" in old.tail()
    now = SystemClock().now().isoformat()
    cluster.produce("complaints", [complaint(number, now) for number in range(8)])
    cluster.quiet()
    assert cluster.outcomes() == {"accepted": 8}
    assert raised(cluster) == 1


def test_an_old_worker_refuses_a_store_that_a_new_version_made_unusable_for_it(make: Make, tmp_path: Path) -> None:
    new = {"PYTHONPATH": str(new_version(tmp_path / "new", BREAKING))}
    cluster = make(partitions=2)
    assert cluster.worker(**new).start().restored().stop() == 0
    old = cluster.worker().spawn()
    assert old.wait(60) == 3
    assert f"migration {NUMBER:04d}_attention, with which this older version cannot work" in old.tail()


def test_a_cluster_goes_on_with_more_partitions_under_another_prefix(make: Make) -> None:
    """As docs/operator.md tells it under *More partitions*: what windows had is there under the new numbers."""
    narrow = make("narrow", partitions=2)
    wide = make("wide", partitions=5, JIANGUAN_STORE=narrow.url, JIANGUAN_DATA=str(narrow.data))
    wide.url = narrow.url
    now = SystemClock().now().isoformat()
    events = [complaint(number, now, number % 6) for number in range(24)]
    worker = narrow.worker().start().restored()
    narrow.produce("complaints", events[:18])  # three of each of six enterprises; four make an alert
    narrow.quiet()
    assert worker.stop() == 0
    assert raised(narrow) == 0

    wide.worker().start().restored()
    wide.produce("complaints", events[12:])  # the last ones of before are sent again
    wide.quiet()
    assert wide.outcomes() == {"accepted": 24, "duplicate": 6}
    assert raised(wide) == 6
