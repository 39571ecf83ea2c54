"""All real input through the whole system and through the pure engine: the same events, facts and alerts.

The system takes it over HTTP, a broker, the stages and a store, and settles by its own clock. The oracle reads the same
files, maps and admits each row, and asks the engine in one loop.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from jianguan.domain.alert import Alert
from jianguan.domain.event import Event
from rules.alert_facts import AlertMatcher
from rules.facts import Matcher
from rules.ruleset import RuleSet
from rules.running import Running
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import REAL, eventually, stored
from tests.end_to_end.test_real_data import INSPECTIONS, NEW_YORK, SANITATION, File, ingest
from tests.rules.support import DAY, NOW, reference
from tests.rules.test_real_data import events as admitted

pytestmark = [pytest.mark.real_data, pytest.mark.slow]

TOPICS = {NEW_YORK: "complaints", INSPECTIONS: "violations", SANITATION: "complaints"}
# How long after the last row of a group the clock settles it; the import of one file must not take longer.
LATENESS = "180s"
SETTLED_WITHIN = 400.0  # seconds: that, what lies between the stages, and a busy machine

_HEAD = """\
id: {id}
version: 1
title: {{zh: 与纯引擎比对, en: Compared with the pure engine}}
owner: market-regulation
legal_basis: none, a rule for a test
severity: low
"""
# What the shipped rules for these files leave out: rules that the clock settles, over real rows.
SETTLED = {
    "oracle-not-passed": """\
on: [violation]
condition: present(result)
group_by: enterprise
pattern:
  steps:
    - {name: failed, where: result == "fail"}
    - {name: passed, where: 'result in ["pass", "conditional"]', absent: true}
  within: 60d
  lateness: LATENESS
  every: true
  after_match: skip-to-next
""",
    "oracle-worse-and-worse": """\
on: [violation]
condition: present(result)
group_by: enterprise
pattern:
  steps:
    - {name: first, where: result == "conditional"}
    - {name: second, where: result == "fail", next: true}
  within: 3660d
  lateness: LATENESS
inhibited_by: [chicago-repeat-failed-inspections]
""",
    "oracle-share-failed": """\
on: [violation]
condition: present(result)
group_by: cell.5km
window: {kind: tumbling, size: 30d, lateness: LATENESS}
trigger:
  ratio: {of: result == "fail", at_least: 0.4}
  count: {at_least: 10}
""",
    "oracle-surge": """\
on: [violation]
condition: "true"
group_by: cell.5km
window: {size: 7d, lateness: LATENESS}
trigger:
  rate: {periods: 8, sample: 20, at_least: 2}
cooldown: 14d
""",
    "oracle-session": """\
on: [violation]
condition: result == "fail"
group_by: cell.2km
window: {kind: session, size: 365d, gap: 2d, within_m: 400, lateness: LATENESS}
trigger:
  count: {at_least: 3}
  not: {count: {at_least: 30}}
""",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """The shipped rules, and some that the clock settles."""
    if not REAL.is_dir():
        pytest.skip(f"{REAL} is not there")
    folder = tmp_path / "library"
    shutil.copytree(RuleSet.library_path(), folder)
    for name, text in SETTLED.items():
        (folder / f"{name}.yaml").write_text(_HEAD.format(id=name) + text.replace("LATENESS", LATENESS), "utf-8")
    return folder


def rows_of(file: File) -> list[Event]:
    """The accepted events of a file, in its order."""
    return admitted(file.path, file.mapping, TOPICS[file])


def oracle(folder: Path, some: Sequence[Event]) -> tuple[set[str], list[Alert]]:
    """The ids of the facts, and the alerts, of events, by the pure engine."""
    ruleset = RuleSet.load([folder], reference())
    matcher, listening = Matcher(ruleset, reference()), AlertMatcher(ruleset, reference())
    running = Running(ruleset, reference())
    facts = {fact.id for event in some for fact in matcher.facts(event)}
    alerts = [alert for event in some for alert in running.take(event)]
    alerts += running.elapse(NOW + 4000 * DAY)
    facts |= {fact.id for alert in alerts for fact in listening.facts(alert)}
    return facts, alerts


def test_the_system_raises_exactly_the_alerts_of_the_pure_engine_on_all_real_input(make: Make, library: Path) -> None:
    files = (INSPECTIONS, SANITATION, NEW_YORK)
    some = [event for file in files for event in rows_of(file)]
    facts, alerts = oracle(library, some)
    wanted = {alert.id for alert in alerts}
    by_rule = Counter(alert.rule for alert in alerts)
    assert len(some) > 100_000
    assert set(SETTLED) <= set(by_rule), "a rule of this test finds nothing, so it shows nothing"

    system = make(JIANGUAN_RULES=str(library)).start()
    counted = {file.path: ingest(system, file, within=900) for file in files}
    assert sum(each["accepted"] for each in counted.values()) == len(some)
    system.quiet(300)
    of = {alert.id: alert.rule for alert in alerts}

    def missing() -> Counter[str]:
        return Counter(of[each] for each in wanted - system.alerts())

    eventually(lambda: not missing(), SETTLED_WITHIN, f"of {by_rule} no longer missing: {missing()}: {system.tail()}")
    system.quiet(300)
    more = [each for each in system.items("/v1/alerts") if each["id"] not in wanted]
    assert not more, f"{len(more)} too many: {Counter(each['rule'] for each in more)}"
    assert system.stop(within=60) == 0
    kept = stored(system.data)
    assert kept["events"] == {event.id for event in some}
    assert kept["facts"] == facts
    assert kept["alerts"] == wanted
    sys.stderr.write(f"{len(some)} events, {len(facts)} facts, {len(wanted)} alerts, equal: {dict(by_rule)}\n")
