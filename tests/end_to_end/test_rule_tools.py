"""Rules are explained and tried on what a whole system has taken in: through its server, and when none runs."""

from __future__ import annotations

import json
from pathlib import Path

from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually, jianguan, rule


def test_rules_are_explained_tried_and_approved_with_and_without_a_server(make: Make, rules: Path, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RULES_PEOPLE="1").start()
    system.send([complaint(number, now) for number in range(4)], "four")
    (alert,) = eventually(system.alerts, 10, "an alert")
    system.quiet()
    last = max(system.get(f"/v1/alerts/{alert}")["events"])  # they came together: by id, as they are told
    shown = jianguan("rules", "explain", "test-prepaid", last, "--json", JIANGUAN_SERVER=system.url)
    assert shown.returncode == 0, shown.stderr
    explained = json.loads(shown.stdout)
    assert (explained["verdict"], explained["alerts"]) == ("fired", [alert])
    assert explained["window_count"] == 4

    draft = rules.parent / "draft.yaml"
    draft.write_text(rule(version=2, at_least=5), "utf-8")
    draft = draft.rename(rules.parent / "test-prepaid.yaml")
    tried = jianguan("rules", "backtest", str(draft), "--json", JIANGUAN_SERVER=system.url)
    assert tried.returncode == 0, tried.stderr
    report = json.loads(tried.stdout)
    assert (report["alerts"], report["against_alerts"], report["removed_count"]) == (0, 1, 1)

    # The draft waits for somebody, and the old version goes on.
    (rules / "test-prepaid.yaml").write_text(draft.read_text("utf-8"), "utf-8")
    eventually(lambda: system.get("/v1/rules/test-prepaid/versions")["waiting"], 10, "a rule that waits")
    assert system.get("/v1/rules")["rules"][0]["version"] == 1
    said = ("--person", "li", "--reason", "one alert fewer")
    assert jianguan("rules", "approve", "test-prepaid", *said, JIANGUAN_SERVER=system.url).returncode == 0
    eventually(lambda: system.get("/v1/rules")["rules"][0]["version"] == 2, 10, "the new version")
    system.quiet()
    assert system.stop() == 0

    data = ("--data", str(system.data))
    alone = jianguan("rules", "explain", "test-prepaid", last, "--version", "1", *data, JIANGUAN_RULES=str(rules))
    assert alone.returncode == 0, alone.stderr
    assert "fired" in alone.stdout
    again = jianguan("rules", "backtest", "test-prepaid", "--against", "1", "--json", *data, JIANGUAN_RULES=str(rules))
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["against_alerts"] == 1
    listed = jianguan("rules", "versions", "test-prepaid", "--json", *data, JIANGUAN_RULES=str(rules))
    assert [each["version"] for each in json.loads(listed.stdout)["versions"]] == [2, 1]
    assert json.loads(listed.stdout)["versions"][0]["people"] == ["li"]


def test_a_new_rule_begins_with_what_came_before_it(make: Make, rules: Path, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules)).start()
    system.send([complaint(number, now, category="advertising") for number in range(2)], "before")
    system.quiet()
    (rules / "test-advertising.yaml").write_text(rule("test-advertising", "advertising", at_least=3), "utf-8")
    eventually(lambda: len(system.get("/v1/rules")["rules"]) == 2, 10, "the new rule")
    assert system.alerts() == set()
    system.send([complaint(9, now, category="advertising")], "after")
    (alert,) = eventually(system.alerts, 10, "an alert")
    assert system.get(f"/v1/alerts/{alert}")["event_count"] == 3
    assert system.stop() == 0
