"""The oracle knows what each rule of the chaos gives, and what a record that came twice may give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jianguan.clock import to_millis
from tests.chaos import rulebook
from tests.chaos.account import Wanted, differences
from tests.chaos.oracle import Kept, wanted
from tests.end_to_end.support import complaint
from tests.rules.support import reference

START = datetime(2026, 6, 1, 4, tzinfo=UTC)
RECEIVERS = {"market-regulation": "market", "public-security": "police"}


class Ask:
    """Asks the oracle about complaints."""

    def __init__(self, folder: Path) -> None:
        self.rules, self._data = folder / "rules", folder / "data"
        rulebook.write(self.rules)

    def __call__(self, records: Sequence[Kept]) -> Wanted:
        return wanted(records, self.rules, reference(), self._data, RECEIVERS)


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    return Ask(tmp_path)


def kept(number: int, event: dict[str, Any], *, after: float = 1.0, receipt: str = "") -> Kept:
    """A record that came `after` seconds."""
    headers = (("jg-receipt", receipt.encode()),) if receipt else ()
    at = to_millis(START) + int(after * 1_000)
    return Kept("complaints", f"t.complaints/0/{number}", headers, at, json.dumps(event).encode())


def about(number: int, **fields: Any) -> dict[str, Any]:
    return complaint(number, START.isoformat(), **fields)


def sizes(should: Wanted) -> dict[str, int]:
    return {name: len(some) for name, some in should.must.items() if some}


def test_a_window_gives_an_alert_a_case_two_tasks_and_two_deliveries(ask: Ask) -> None:
    should = ask([kept(number, about(number)) for number in range(4)])
    assert sizes(should) == {
        "events": 4, "facts": 4 + 4 + 1, "alerts": 1, "cases": 1, "tasks": 2, "deliveries": 2, "received": 2,
        "outcomes": 4, "steps": 1 + 1 + 2 + 2 + 1,
    }  # fmt: skip


def test_two_rules_of_one_enterprise_raise_the_rule_on_alerts_in_the_same_case(ask: Ask) -> None:
    should = sizes(ask([kept(number, about(number)) for number in range(20)]))
    assert (should["alerts"], should["cases"], should["tasks"]) == (3, 1, 2)


def test_an_absence_is_an_alert_unless_the_decision_came(ask: Ask) -> None:
    filed = about(1, category="service", product="m", status="filed")
    soon = (START + timedelta(seconds=5)).isoformat()
    decided = {**about(2, category="service", product="m", status="accepted"), "occurred_at": soon}
    assert sizes(ask([kept(1, filed)]))["alerts"] == 1
    assert "alerts" not in sizes(ask([kept(1, filed), kept(2, decided, after=6)]))


def test_a_complaint_that_came_too_late_for_the_absence_is_told_as_late_for_its_rule(ask: Ask) -> None:
    filed = about(1, category="service", product="m", status="filed")
    should = ask([kept(1, filed, after=rulebook.LATENESS + 1)])
    assert "alerts" not in sizes(should)
    assert sizes(should)["late-for-rule"] == 1


def test_a_record_that_was_taken_twice_under_one_receipt_may_count_at_either_time(ask: Ask) -> None:
    filed = about(1, category="service", product="m", status="filed")
    late = rulebook.LATENESS + 1
    should = ask([kept(1, filed, receipt="r-1"), kept(2, filed, after=late, receipt="r-1")])
    assert sizes(should)["outcomes"] == 1
    assert "alerts" not in sizes(should)
    assert len(should.may["alerts"]) == 1
    for reading in ([kept(1, filed, receipt="r-1")], [kept(1, filed, after=late, receipt="r-1")]):
        assert differences(should, ask(reading).must) == {}


def test_an_added_rule_is_known_to_the_oracle(ask: Ask) -> None:
    events = [about(number, category="added-1") for number in range(2)]
    assert "alerts" not in sizes(ask([kept(number, event) for number, event in enumerate(events)]))
    rulebook.add(ask.rules, 1)
    assert sizes(ask([kept(number, event) for number, event in enumerate(events)]))["alerts"] == 1


def test_rules_that_were_touched_mean_the_same(ask: Ask) -> None:
    records = [kept(number, about(number)) for number in range(20)]
    before = ask(records)
    for target in range(7):
        rulebook.touch(ask.rules, target)
    assert ask(records) == before
