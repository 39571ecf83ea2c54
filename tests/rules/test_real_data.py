"""The American rules on what the cities published, against sums made another way straight from the rows."""

from __future__ import annotations

import csv
import gzip
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from jianguan.domain.admission import Reference as Tables
from jianguan.domain.admission import admit, decode
from jianguan.domain.alert import Alert
from jianguan.domain.event import Event
from jianguan.domain.ids import alert_id
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from jianguan.errors import InputError
from jianguan.mappings import bind, load_mapping, read_rows
from rules.engine import Engine
from rules.facts import Matcher
from rules.rule import Rule
from rules.ruleset import RuleSet
from tests.rules.support import DAY, NOW, reference

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [pytest.mark.real_data, pytest.mark.skipif(not DATA.is_dir(), reason="the real input is not here")]


def events(name: str, mapping: str, topic: str) -> list[Event]:
    tables = Tables(Regions.load(), Industries.load(), b"key of the tests")
    with gzip.open(DATA / name, "rt", encoding="utf-8", newline="") as lines:
        header, rows = read_rows(lines)
        bound = bind(load_mapping(mapping), header)
        found: dict[str, Event] = {}
        for row in rows:
            try:
                event, _ = admit(decode(bound.map(row).encoded, topic), tables, NOW)
            except InputError:
                continue
            found.setdefault(event.id, event)
        return list(found.values())


def rows(name: str) -> Iterator[dict[str, str]]:
    with gzip.open(DATA / name, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)


def alerts_of(identifier: str, some: list[Event]) -> tuple[Rule, list[Alert], int]:
    rule = RuleSet.load([RuleSet.library_path()], reference()).by_id(identifier)
    assert rule is not None
    only = RuleSet([rule])
    matcher, engine = Matcher(only, reference()), Engine(only)
    alerts: list[Alert] = []
    late = 0
    for event in some:
        for fact in matcher.facts(event):
            decision = engine.add(fact, NOW)
            alerts.extend(decision.alerts)
            late += decision.late
    return rule, alerts, late


def expected(rule: Rule, groups: dict[str, list[int]], needed: int) -> set[str]:
    """Ids of the alerts of moments by group: some moment has `needed` of them in the window that ends there."""
    found: set[str] = set()
    for key, moments in groups.items():
        for moment in moments:
            if sum(moment - rule.size < each <= moment for each in moments) >= needed:
                found.add(alert_id(rule.id, key, rule.episodes.start(moment)))
    return found


def millis(day: str) -> int:
    """Midnight in Chicago: six hours behind UTC, five in summer."""
    from zoneinfo import ZoneInfo

    moment = datetime.combine(date.fromisoformat(day), datetime.min.time(), ZoneInfo("America/Chicago"))
    return int(moment.timestamp() * 1000)


@pytest.mark.slow
def test_repeat_failed_inspections_are_those_in_the_rows_in_any_order() -> None:
    groups: dict[str, list[int]] = defaultdict(list)
    for row in rows("chicago/food_inspections.csv.gz"):
        if row["Results"] == "Fail" and float(row["License"] or 0):
            groups[f"us-chi-licence:{int(float(row['License']))}"].append(millis(row["Inspection_Date"]))
    some = events("chicago/food_inspections.csv.gz", "chicago-food-inspections", "violations")
    rule, as_published, late = alerts_of("chicago-repeat-failed-inspections", some)
    wanted = expected(rule, groups, 2)
    assert late == 0
    assert len(wanted) > 300
    assert {alert.id for alert in as_published} == wanted
    random.Random(7).shuffle(some)
    _, shuffled, late = alerts_of("chicago-repeat-failed-inspections", some)
    assert late == 0
    assert {alert.id for alert in shuffled} == wanted


@pytest.mark.slow
def test_sanitation_clusters_are_those_in_the_rows() -> None:
    some = events("chicago/sanitation_complaints.csv.gz", "chicago-sanitation-complaints", "complaints")
    assert len(some) > 70_000
    groups: dict[str, list[int]] = defaultdict(list)
    for event in some:
        if event.address:
            groups[event.address].append(event.occurred_at)
    rule, raised, late = alerts_of("chicago-sanitation-address-cluster", some)
    assert rule.size == 30 * DAY
    assert late == 0
    assert {alert.id for alert in raised} == expected(rule, groups, 3)
    assert len(raised) > 100


def test_new_york_s_four_hours_hold_clusters_of_noise() -> None:
    some = events("nyc311/service_requests.csv.gz", "new-york-311", "complaints")
    _, raised, late = alerts_of("nyc-noise-address-cluster", some)
    assert late == 0
    assert raised
    assert all(alert.category == "noise" and alert.event_count >= 3 for alert in raised)
