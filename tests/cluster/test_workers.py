"""Workers that share the partitions, whatever happens to them: the end is what the pure engine gives."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from jianguan.clock import SystemClock, to_millis
from tests.cluster.conftest import Make
from tests.cluster.system import Cluster, expected
from tests.department import Department
from tests.end_to_end.support import complaint, eventually, rule
from tests.rules.support import reference

pytestmark = [
    pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.store, pytest.mark.network, pytest.mark.slow,
]  # fmt: skip

ENTERPRISES = 120


def stream(count: int, seed: int = 7, fresh: int = 0) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Complaints about many enterprises, some twice, some changed, some bad; and how many come to which end.

    A repeat follows its original at some distance, and both have the same key. After every `fresh` complaints others
    are complained about, so that there are new alerts all the time; 0 for never.
    """
    chance, now = Random(seed), SystemClock().now()
    events: list[dict[str, Any]] = []
    ends: Counter[str] = Counter()
    for number in range(count):
        occurred = now - timedelta(seconds=chance.randrange(3_600))
        enterprise = chance.randrange(ENTERPRISES) + (number // fresh * ENTERPRISES if fresh else 0)
        event: dict[str, Any] = complaint(number, occurred.isoformat(), enterprise=enterprise)
        end = "accepted"
        if number % 50 == 10:
            event["region"], end = "999999", "quarantined"
        if number % 50 == 20:
            event, end = dict(events[number - 15]), "duplicate"
        if number % 400 == 30:
            event, end = {**events[number - 25], "category": "advertising"}, "quarantined"
        events.append(event)
        ends[end] += 1
    return events, ends


def right(cluster: Cluster, events: Sequence[dict[str, Any]], ends: Counter[str]) -> dict[str, set[str]]:
    """The end of a cluster is that of the pure engine, and every record is accounted for."""
    assert cluster.outcomes() == dict(ends)
    records = [json.dumps(event).encode() for event in events]
    now = to_millis(SystemClock().now())
    found, wanted = cluster.stored(), expected(records, cluster.rules, reference(), cluster.data, now)
    assert {name: len(ids) for name, ids in found.items()} == {name: len(ids) for name, ids in wanted.items()}
    assert found == wanted
    assert len(found["alerts"]) > ENTERPRISES
    return found


def test_a_record_goes_from_either_door_to_alerts_tasks_webhooks_and_history(
    make: Make, receivers: Path, department: Department
) -> None:
    cluster = make(JIANGUAN_RECEIVERS=str(receivers))
    now = SystemClock().now().isoformat()
    cluster.worker().start()
    cluster.dashboards.start()
    events = [complaint(number, now, enterprise=number % 2) for number in range(8)]
    cluster.dashboards.send([each for each in events if each["enterprise"] == events[0]["enterprise"]], "by-http")
    cluster.produce("complaints", [each for each in events if each["enterprise"] == events[1]["enterprise"]])
    alerts = eventually(lambda: len(found := cluster.dashboards.alerts()) == 2 and found, 60, "two alerts")
    assert alerts
    assert cluster.dashboards.settled("by-http", 4) == {"accepted": 4}
    eventually(lambda: len(department.taken()) >= 2, 30, "the webhooks of both")
    cluster.quiet()
    assert cluster.outcomes() == {"accepted": 8}
    assert department.wrong == []
    for alert in alerts:
        history = cluster.dashboards.get(f"/v1/history/{alert}")
        assert len(history["events"]) == 4
        assert {each["what"] for each in history["steps"]} >= {"accepted", "raised", "opened", "assigned", "delivered"}
    assert cluster.workers[0].stop() == 0
    assert cluster.dashboards.stop() == 0


def test_a_worker_is_killed_another_joins_and_all_are_restarted_in_mid_stream(make: Make) -> None:
    cluster = make()
    events, ends = stream(8_000)
    first, second = cluster.worker().start().restored(), cluster.worker().start().restored()
    parts = [events[start : start + 1_000] for start in range(0, len(events), 1_000)]
    cluster.produce("complaints", parts[0] + parts[1])
    second.kill()
    cluster.produce("complaints", parts[2])
    cluster.produce("complaints", parts[3])
    third = cluster.worker().start().restored()
    cluster.produce("complaints", parts[4])
    for worker in (first, third):
        assert worker.stop() == 0
        cluster.produce("complaints", parts[5 if worker is first else 6])
        worker.start()
    cluster.produce("complaints", parts[7])
    cluster.quiet()
    right(cluster, events, ends)
    for worker in (first, third):
        assert worker.stop() == 0


def test_a_worker_that_slept_through_a_rebalance_does_no_harm(make: Make, rules: Path, receivers: Path) -> None:
    # So many come together only with those of the time in which it slept.
    (rules / "test-late.yaml").write_text(rule("test-late", at_least=42), "utf-8")
    cluster = make(JIANGUAN_RECEIVERS=str(receivers))
    events, ends = stream(6_000, seed=11)
    first, second = cluster.worker().start().restored(), cluster.worker().start().restored()
    cluster.produce("complaints", events[:2_000])
    second.pause()
    cluster.produce("complaints", events[2_000:4_000])
    first.restored(3)  # alone at first, with the other, and alone again
    cluster.produce("complaints", events[4_000:5_000])
    second.resume()
    cluster.produce("complaints", events[5_000:])
    second.restored(2)
    cluster.quiet()
    right(cluster, events, ends)
    for worker in (first, second):
        assert worker.running, worker.tail()
        assert worker.stop() == 0


def test_a_worker_whose_metrics_port_is_taken_says_so_and_what_to_do(make: Make) -> None:
    cluster = make(partitions=2)
    first, second = cluster.worker().start(), cluster.worker()
    second.metrics = first.metrics
    assert second.spawn().wait(60) == 3
    said = second.tail().strip().splitlines()[-1]
    assert said.startswith(f"error: 127.0.0.1:{first.metrics} cannot be used for metrics")
    assert "--metrics-port" in said


def test_a_killed_worker_with_a_name_has_its_partitions_back_long_before_its_session_ends(make: Make) -> None:
    # Without a name, whoever comes waits for the session of the dead one: ten minutes.
    cluster = make(JIANGUAN_SESSION="PT10M")
    events, ends = stream(4_000)
    named = [cluster.worker(JIANGUAN_WORKER_NAME=name) for name in ("one", "two")]
    for worker in named:
        worker.start().restored()
    named[0].restored(2)  # alone, and with the other
    cluster.produce("complaints", events[:2_000])
    for worker in named:  # the one that shares the partitions out, and one that does not
        worker.kill()
        cluster.produce("complaints", events[2_000:3_000] if worker is named[0] else events[3_000:])
        worker.start()
    named[0].restored(3)
    named[1].restored(2)
    cluster.quiet()
    right(cluster, events, ends)
    # Nobody else was disturbed: the partitions were never shared out anew.
    assert named[1].tail(100_000).count("of this worker are restored") == 2


def test_partitions_of_a_worker_with_a_name_that_is_stopped_go_to_another_at_once(make: Make) -> None:
    cluster = make(JIANGUAN_SESSION="PT10M")
    events, ends = stream(2_000)
    first, second = [cluster.worker(JIANGUAN_WORKER_NAME=name) for name in ("one", "two")]
    first.start().restored()
    second.start().restored()
    first.restored(2)
    assert first.stop() == 0
    cluster.produce("complaints", events)
    second.restored(2, within=30)  # a tenth of the session, after which it might ask only, is a minute
    cluster.quiet()
    right(cluster, events, ends)


def test_of_two_workers_with_one_name_one_ends_and_says_what_to_do(make: Make) -> None:
    cluster = make(partitions=2)
    both = [cluster.worker(JIANGUAN_WORKER_NAME="one").start() for _ in range(2)]
    eventually(lambda: not all(each.running for each in both), 60, "the end of one")
    ended = next(each for each in both if not each.running)
    assert ended.exit_code == 5
    assert "another worker has the name one" in ended.tail(20_000)
    assert "JIANGUAN_WORKER_NAME of its own" in ended.tail(20_000)
