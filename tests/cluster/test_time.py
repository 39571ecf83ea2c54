"""What time alone does: it decides on nothing that may still be waiting, and it goes on when a worker is killed."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import pytest

from jianguan.clock import SystemClock
from tests.cluster.conftest import Make
from tests.department import Department
from tests.end_to_end.support import complaint, eventually
from tests.end_to_end.test_clock import unanswered

pytestmark = [
    pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.store, pytest.mark.network, pytest.mark.slow,
]  # fmt: skip

FILED = 24
DECIDED = 16.0  # seconds after which the rule decides: three to wait, eight of lateness, five on the way


def test_that_an_answer_did_not_come_is_not_said_while_it_waits_in_a_topic(make: Make, rules: Path) -> None:
    rule = json.loads(unanswered())
    rule["pattern"]["lateness"] = "8s"  # so long the answers may take from here to the broker
    (rules / "test-unanswered.yaml").write_text(json.dumps(rule), "utf-8")
    cluster = make(JIANGUAN_SESSION="PT60S")
    first, second = cluster.worker().start().restored(), cluster.worker().start().restored()
    first.restored(2)
    cluster.dashboards.start()
    second.pause()
    now = SystemClock().now()
    before = (now - timedelta(seconds=1)).isoformat()
    filed = [complaint(number, before, enterprise=number, amount_fen=100) for number in range(FILED)]
    answers = [complaint(100 + each, now.isoformat(), enterprise=each, amount_fen=0) for each in range(1, FILED)]
    # The first worker keeps the lower half of the partitions; the answers wait in one of the sleeping one's.
    sent = time.monotonic()
    for partition, events in ((0, filed), (7, answers)):
        cluster.produce_raw("complaints", [(b"", json.dumps(each).encode()) for each in events], partition)
    eventually(lambda: first.metric("jianguan_facts_total") >= FILED, 30, "the facts of what was filed")
    eventually(lambda: time.monotonic() - sent > DECIDED + 5, 30, "the time at which the rule would decide")
    assert cluster.dashboards.alerts(rule="test-unanswered") == set()
    second.resume()
    eventually(lambda: cluster.dashboards.alerts(rule="test-unanswered"), 60, "the alert of what was not answered")
    cluster.quiet()
    (alert,) = cluster.dashboards.items("/v1/alerts", rule="test-unanswered")
    assert alert["enterprise"].endswith(filed[0]["enterprise"]["id"])


def test_what_a_killed_worker_still_had_to_deliver_is_delivered_by_another(
    make: Make, receivers: Path, department: Department
) -> None:
    cluster = make(JIANGUAN_RECEIVERS=str(receivers))
    department.answers = [500]
    workers = [cluster.worker().start().restored(), cluster.worker().start().restored()]
    workers[0].restored(2)
    now = SystemClock().now().isoformat()
    cluster.produce("complaints", [complaint(number, now) for number in range(4)])
    eventually(lambda: department.got, 30, "a first attempt")
    (owner,) = [worker for worker in workers if worker.metric("jianguan_pending_deliveries")]
    owner.kill()
    eventually(department.taken, 60, "the delivery, by the other")
    assert {each.id for each in department.got} == set(department.taken())
    cluster.quiet()
    rows = cluster.store.query("SELECT id, state FROM deliveries FINAL")
    assert {str(state) for _, state in rows} == {"delivered"}
