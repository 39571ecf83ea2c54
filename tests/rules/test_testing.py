"""The tests of rules: what passes, what fails, what is refused, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from jianguan.errors import SourceError
from rules.loader import parse
from rules.ruleset import RuleSet
from rules.testfile import offset_ms
from rules.testing import Report, as_junit, as_text, events_of, read, run_all
from tests.rules.support import DAY, HOUR, reference, rule_file


def report(folder: Path, *cases: dict[str, Any], **changes: Any) -> Report:
    (folder / "a-rule.yaml").write_text(json.dumps(rule_file(**changes)), encoding="utf-8")
    content = {"defaults": {"category": "food-safety", "enterprise": "x:1"}, "cases": list(cases)}
    (folder / "a-rule.test.yaml").write_text(json.dumps(content), encoding="utf-8")
    return run_all(RuleSet.load([folder], reference()), reference())


def case(expect: dict[str, Any], *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "a case", "events": list(events) or [{"at": "0s", "repeat": 3}], "expect": expect, **more}


SILENT = {**case({"alerts": 0, "tasks": [], "cases": 0}, {"at": "0s"}), "name": "a silent case"}


def test_alerts_of_one_case_give_each_department_one_task(tmp_path: Path) -> None:
    twice = case(
        {"alerts": 2, "cases": 1, "tasks": [{"department": "market-regulation", "role": "lead"}]},
        {"at": "0s", "repeat": 3},
        {"at": "1d", "repeat": 3},
    )
    assert report(tmp_path, twice).failed == []


def test_a_rule_in_the_shadow_gives_nobody_a_task(tmp_path: Path) -> None:
    assert report(tmp_path, case({"alerts": 1, "cases": 0, "tasks": []}), status="shadow").failed == []


def test_a_right_expectation_passes(tmp_path: Path) -> None:
    expected = {
        "alerts": 1,
        "facts": 3,
        "late": 0,
        "severity": "high",
        "lead": "market-regulation",
        "joint": [],
        "keys": ["x:1"],
        "case_keys": ["market-regulation|enterprise|x:1"],
        "cases": 1,
        "tasks": [{"department": "market-regulation", "role": "lead"}, {"department": "commerce", "role": "assist"}],
    }
    done = report(tmp_path, case({**expected, "joint": ["commerce"]}), SILENT, joint=["commerce"])
    assert done.failed == []
    assert done.exit_code == 0
    assert as_text(done) == "2 passed, 0 failed, 0 rules without enough tests\n"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"alerts": 0}, "0 alerts expected, 1 raised"),
        ({"alerts": 2}, "2 alerts expected, 1 raised"),
        ({"facts": 2}, "2 facts expected, there are 3"),
        ({"late": 1}, "1 late expected, there are 0"),
        ({"severity": "low"}, "severity low expected, an alert has high"),
        ({"lead": "commerce"}, "lead commerce expected, an alert has market-regulation"),
        ({"joint": ["commerce"]}, "joint ['commerce'] expected, an alert has []"),
        ({"keys": ["x:2"]}, "keys ['x:2'] expected, the alerts have ['x:1']"),
        ({"case_keys": []}, "case_keys [] expected"),
        ({"cases": 2}, "2 cases expected, there are 1"),
        ({"tasks": []}, "a task for market-regulation (lead) is not expected"),
        (
            {"tasks": [{"department": "market-regulation", "role": "assist"}]},
            "a task for market-regulation (assist) expected, there is none",
        ),
    ],
)
def test_a_wrong_expectation_fails_and_says_why(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    done = report(tmp_path, case({"alerts": 1, **wrong}))
    assert done.exit_code == 1
    assert said in as_text(done)
    assert "a-rule.test.yaml:1: a-rule: a case: " in as_text(done)


def test_events_come_in_the_order_of_the_file_under_a_clock_that_does_not_go_back() -> None:
    file = {"cases": [case({"alerts": 0}, {"at": "1d"}, {"at": "0s", "product": "p{n}", "repeat": 2, "every": "90m"})]}
    tests = read(parse(json.dumps(file)), reference())
    events = list(events_of(tests.cases[0], tests.defaults))
    start = events[1].occurred_at
    assert [event.occurred_at - start for event in events] == [DAY, 0, HOUR + HOUR // 2]
    assert [event.received_at - start for event in events] == [DAY, DAY, DAY]
    assert [event.product for event in events] == [None, "p1", "p2"]
    assert len({event.id for event in events}) == 3


def test_a_late_fact_is_counted(tmp_path: Path) -> None:
    late = case({"alerts": 0, "facts": 2, "late": 1}, {"at": "5h"}, {"at": "0s"})
    assert report(tmp_path, late).failed == []


def test_a_retired_rule_is_tested_as_if_it_ran(tmp_path: Path) -> None:
    assert report(tmp_path, case({"alerts": 1}), status="retired").failed == []


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"at": "0s", "categroy": "x"}, "an event of a test has no field categroy"),
        ({"at": "0s", "amount_fen": "5"}, "amount_fen is of type int"),
        ({"at": "0s", "amount_fen": True}, "amount_fen is of type int"),
        ({"at": "0s", "tags": "x"}, "tags is of type list(string)"),
        ({"at": "0s", "occurred_at": 5}, "an event of a test has no field occurred_at"),
        ({"at": "soon"}, "does not have the right form"),
        ({"repeat": 3}, "the key at is missing"),
    ],
)
def test_a_test_with_a_typing_error_is_refused_with_its_place(event: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError, match=r"x\.test\.yaml:1:") as caught:
        read(parse(json.dumps({"cases": [case({"alerts": 0}, event)]}), "x.test.yaml"), reference())
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"kind": "complaints"}, "there is no kind complaints (did you mean complaint?)"),
        ({"region": "999999"}, "'999999' is no known region"),
        ({"region": "310115"}, "'310115' is no known region (write cn:310115)"),
        ({"region": "cn:31010{n}", "repeat": 9}, "'cn:310102' is no known region"),
        ({"enterprise": "91310115MA1K3BXY04"}, "is no enterprise (write uscc:91310115MA1K3BXY04)"),
        ({"kind": "violation", "result": "failed"}, "result is never 'failed' (did you mean fail?)"),
        ({"result": "fail"}, "an event of the kind complaint has no field result (only violation has it)"),
        ({"rule": "a-rule", "severity": "urgent"}, "severity is never 'urgent'"),
    ],
)
@pytest.mark.parametrize("inherited", [False, True])
def test_an_event_that_admission_would_refuse_cannot_be_in_a_test(
    event: dict[str, Any], said: str, inherited: bool
) -> None:
    repeat = {"repeat": event["repeat"]} if "repeat" in event else {}
    fields = {name: value for name, value in event.items() if name != "repeat"}
    here, there = ({}, fields) if inherited else (fields, {})
    a_case = case({"alerts": 0}, {"at": "0s", **repeat, **here}, defaults=there)
    with pytest.raises(SourceError, match=r"x\.test\.yaml:1:") as caught:
        read(parse(json.dumps({"cases": [a_case]}), "x.test.yaml"), reference())
    assert said in str(caught.value)


def test_two_cases_of_one_name_are_refused_with_both_places() -> None:
    text = "cases:\n" + "- {name: a, events: [{at: 0s}], expect: {alerts: 0}}\n" * 2
    with pytest.raises(SourceError) as caught:
        read(parse(text, "x.test.yaml"), reference())
    assert str(caught.value) == "x.test.yaml:3:10: two cases have this name (the other is on line 2)"


def test_an_event_may_take_back_what_its_kind_does_not_have() -> None:
    defaults = {"kind": "violation", "result": "fail", "region": "cn:310115"}
    a_case = case({"alerts": 0}, {"at": "0s"}, {"at": "1s", "kind": "complaint", "result": None})
    assert read(parse(json.dumps({"defaults": defaults, "cases": [a_case]})), reference()).defaults == defaults


def test_a_broken_test_file_ends_with_code_four_and_the_rest_is_run(tmp_path: Path) -> None:
    (tmp_path / "b-rule.yaml").write_text(json.dumps(rule_file(id="b-rule")), encoding="utf-8")
    (tmp_path / "b-rule.test.yaml").write_text("cases: 5", encoding="utf-8")
    done = report(tmp_path, case({"alerts": 1}))
    assert done.exit_code == 4
    assert len(done.results) == 1
    assert "errors" in as_junit(done)


def test_a_rule_needs_a_case_that_raises_an_alert_and_one_that_does_not(tmp_path: Path) -> None:
    (tmp_path / "b-rule.yaml").write_text(json.dumps(rule_file(id="b-rule")), encoding="utf-8")
    raised = report(tmp_path, case({"alerts": 1}))
    assert raised.incomplete == {"a-rule": "no test shows when there is no alert", "b-rule": "has no tests"}
    assert raised.exit_code == 1
    assert "b-rule: has no tests\n" in as_text(raised)
    assert report(tmp_path, SILENT).incomplete["a-rule"] == "no test raises an alert"
    assert report(tmp_path, case({"alerts": 1}), SILENT).incomplete == {"b-rule": "has no tests"}


def test_junit_counts_and_escapes(tmp_path: Path) -> None:
    bad = case({"alerts": 0})
    bad["name"] = 'a "<&> name'
    root = ElementTree.fromstring(as_junit(report(tmp_path, case({"alerts": 1}), bad)))
    suite = root.find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert [each.get("name") for each in suite.iter("testcase")] == ["a case", 'a "<&> name']
    assert len(list(suite.iter("failure"))) == 1
    lone = ElementTree.fromstring(as_junit(report(tmp_path, case({"alerts": 1})))).find("testsuite")
    assert lone is not None
    assert [each.get("message") for each in lone.iter("failure")] == ["no test shows when there is no alert"]


def test_offsets_are_sums() -> None:
    assert offset_ms("1d2h3m4s") == DAY + 2 * HOUR + 184_000
    assert offset_ms("+90m") == 90 * 60_000
    with pytest.raises(ValueError, match="not an offset"):
        offset_ms("+")
