"""New events on a store full of facts, killed while windows are still being restored: the alerts are those of the pure
engine over all facts, whatever was restored when."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from bench.events import events
from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact, runs_of
from jianguan.domain.trace import Records
from rules.engine import Engine
from rules.ruleset import RuleSet
from sinks.embedded import EmbeddedStore
from sinks.rows import SHAPES
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import eventually, stored
from tests.rules.support import reference

FACTS = 800_000  # they take longer to fold than a start takes beside it
PART = 1_500  # events in a request
RESTORING = "jianguan_restoring_partitions"


def at_once() -> RuleSet:
    """Of the shipped rules those that do not wait for the clock."""
    shipped = RuleSet.load([RuleSet.library_path()], reference())
    return RuleSet([rule for rule in shipped.running if rule.judging is None or not rule.judging.settled])


def facts_in(store: EmbeddedStore) -> list[Fact]:
    """All of them, by time."""
    sql = f"SELECT {SHAPES['facts'].select_list()} FROM facts FINAL"
    return sorted([Fact(*row) for block in store.blocks(sql) for row in block], key=attrgetter("time", "id"))


def alerts_of(rules: RuleSet, facts: Sequence[Fact]) -> list[Alert]:
    """What the pure engine raises."""
    engine = Engine(rules)
    return [
        alert
        for run in runs_of(facts)
        for _, decision in engine.add_run(run, run.received[0])
        for alert in decision.alerts
    ]


def fill(data: Path, rules: RuleSet) -> set[str]:
    """Events of ten days, their facts and the alerts of those; the ids of these."""
    command = [sys.executable, "-m", "bench.restart", "--child", str(data), "--facts", str(FACTS)]
    subprocess.run(command, check=True, capture_output=True)
    store = EmbeddedStore(data / "store")
    store.start()
    try:
        raised = alerts_of(rules, facts_in(store))
        store.write(Records(alerts=raised), "alerts-before")
    finally:
        store.close()
    return {alert.id for alert in raised}


def new_events(count: int, now: str) -> list[dict[str, Any]]:
    """Complaints that are not stored, about the same enterprises."""
    return [
        {**json.loads(each.value), "id": f"new-{number}", "occurred_at": now}
        for number, each in enumerate(events(count, seed=3, shares=(1, 0, 0)))
    ]


@pytest.mark.slow
def test_facts_that_come_while_windows_are_restored_meet_all_that_is_stored(
    make: Make, tmp_path: Path, now: str
) -> None:
    rules = at_once()
    before = fill(tmp_path / "data", rules)
    system = make("data")
    sent = new_events(10 * PART, now)
    parts = [sent[start : start + PART] for start in range(0, len(sent), PART)]
    restoring = 0
    for turn in range(3):
        system.start()
        for number, part in enumerate(parts[3 * turn : 3 * turn + 3]):
            if number == 1:
                restoring += system.figure(RESTORING) > 0
            system.send(part, f"part-{3 * turn + number}")
        if turn == 1:
            system.settled("part-5", PART)
        system.kill()
    assert restoring, "windows were there before the first events: this has shown nothing"
    system.start()
    system.send(parts[2] + parts[9], "last")  # some of them once more
    eventually(lambda: system.figure(RESTORING) == 0, 60, "all windows")
    outcomes = system.settled("last", 2 * PART)
    assert outcomes == {"accepted": PART, "duplicate": PART}
    system.quiet()
    assert system.stop() == 0

    store = EmbeddedStore(system.data / "store")
    store.start()
    try:
        facts = facts_in(store)
        told = store.query("SELECT uniqExact(id) FROM events WHERE startsWith(source_id, 'new-')")[0][0]
        raised = {row[0]: row[1] for row in store.query("SELECT id, any(rule) FROM alerts GROUP BY id")}
    finally:
        store.close()
    assert told == len(sent)
    wanted = {alert.id for alert in alerts_of(rules, facts)}
    names = {rule.id for rule in rules.running}
    found = {identifier for identifier, rule in raised.items() if rule in names}
    assert len(wanted - before) > 20
    assert found == wanted
    assert stored(system.data)["alerts"] >= before
