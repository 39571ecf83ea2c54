"""Cases and tasks: the same set whatever comes twice, in another order or after a restart."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jianguan.domain.alert import Alert
from jianguan.domain.case import TRANSITIONS, Case, Command, Task
from jianguan.domain.casework import ALERTS_LISTED, REMEMBER_CLOSED_MS, CaseDesk, Outcome
from jianguan.domain.ids import alert_id, case_id, make_id, task_id
from jianguan.domain.trace import Records

START = 1_795_418_000_000
HOUR = 3_600_000
TERM = 10 * HOUR
DEPARTMENTS = ("lead", "fire", "health")


def deadline(clock: str, start: int) -> tuple[int | None, str]:
    return (None, "no calendar") if clock == "unknown" else (start + TERM, "a law")


def desk() -> CaseDesk:
    return CaseDesk(deadline)


def alert(number: int, key: str | None = "k", joint: Sequence[str] = (), **changes: Any) -> Alert:
    made = Alert(
        id=alert_id("r", str(number), 0),
        rule="r",
        version=1,
        rule_hash="h",
        key="group",
        episode=0,
        episode_end=1,
        severity="medium",
        title_zh="题",
        title_en="Title",
        time=0,
        window_start=0,
        raised_at=START,
        received_at=START - 5,
        values={"count": 3.0},
        thresholds={"count": 3.0},
        events=("ev",),
        event_count=1,
        enterprise="uscc:X",
        enterprise_name="名",
        region=None,
        industry=None,
        category="food-safety",
        case_key=key,
        lead="lead",
        joint=tuple(joint),
        clock="complaint",
        legal_basis="law",
        runbook="",
        notify=True,
    )
    return made._replace(**changes)


def command(task: str, action: str, at: int, number: int = 0, note: str = "") -> Command:
    return Command(make_id("cm", task, action, str(at), str(number)), "k", task, action, "officer", note, at)


LEAD = task_id(case_id("k", 1), "lead")
FIRE = task_id(case_id("k", 1), "fire")


def whats(outcome: Outcome) -> list[str]:
    return [step.what for step in outcome.records.trace]


def step_ids(outcome: Outcome) -> set[str]:
    return {step.id for step in outcome.records.trace}


def opened_with(*alerts: Alert) -> CaseDesk:
    made = desk()
    for each in alerts:
        made.add_alert(each, START)
    return made


def test_the_first_alert_opens_a_case_and_gives_each_department_its_task() -> None:
    outcome = desk().add_alert(alert(1, joint=["fire", "lead"]), START)
    (case,) = outcome.records.cases
    assert (case.id, case.state, case.due_at, case.alerts) == (case_id("k", 1), "open", START + TERM, (alert(1).id,))
    assert [(task.id, task.role) for task in outcome.records.tasks] == [(LEAD, "lead"), (FIRE, "assist")]
    assert whats(outcome) == ["opened", "assigned", "assigned"]
    assert [notice.department for notice in outcome.notices] == ["lead", "fire"]


def test_a_later_alert_joins_raises_the_severity_and_adds_departments() -> None:
    made = opened_with(alert(1))
    outcome = made.add_alert(alert(2, joint=["health"], severity="critical"), START + 1)
    (case,) = outcome.records.cases
    assert (case.severity, case.alert_count, case.revision) == ("critical", 2, 2)
    assert whats(outcome) == ["joined", "assigned"]
    assert made.add_alert(alert(3, severity="low"), START + 2).records.cases[0].severity == "critical"
    assert len(made) == 1


def test_steps_of_the_desk_say_what_was_done_for_which_rule_and_department() -> None:
    made = desk()
    steps = made.add_alert(alert(1), START).records.trace + made.add_alert(alert(2), START).records.trace
    assert {(step.what, step.actor) for step in steps} == {
        ("opened", "system"), ("assigned", "system"), ("joined", "system")
    }  # fmt: skip
    assert {step.what: json.loads(step.detail) for step in steps} == {
        "opened": {"rule": "r", "lead": "lead", "clock": "complaint", "due_at": START + TERM, "source": "a law"},
        "assigned": {"department": "lead", "role": "lead", "due_at": START + TERM},
        "joined": {"rule": "r"},
    }
    again = made.add_alert(alert(2), START + 9).records.trace
    assert next(step for step in again if step.what == "joined").detail == steps[-1].detail


def test_the_step_of_an_action_names_who_did_it_when_and_with_which_note() -> None:
    made = opened_with(alert(1))
    (step,) = made.apply(command(LEAD, "accept", START + 1, note="on our way"), START + 2).records.trace
    assert (step.subject, step.actor, step.at) == (LEAD, "officer", START + 2)
    assert json.loads(step.detail) == {"department": "lead", "note": "on our way", "commanded_at": START + 1}
    (step,) = made.apply(command("ta-x", "accept", START), START).records.trace
    assert (step.subject, step.actor) == ("ta-x", "officer")
    assert json.loads(step.detail) == {"action": "accept", "reason": "unknown-task"}


def test_an_alert_without_case_only_notifies_its_lead() -> None:
    outcome = desk().add_alert(alert(1, key=None), START)
    assert not outcome.records
    assert [(notice.department, notice.case) for notice in outcome.notices] == [("lead", None)]
    assert desk().add_alert(alert(1, key=None, notify=False), START).notices == []
    assert desk().add_alert(alert(1, lead=None), START).notices == []


def test_an_alert_that_notifies_nobody_opens_its_case_all_the_same() -> None:
    outcome = desk().add_alert(alert(1, notify=False), START)
    assert whats(outcome) == ["opened", "assigned"]
    assert outcome.notices == []


def test_every_change_of_a_case_is_its_next_revision() -> None:
    made = desk()
    told = [made.add_alert(alert(number), START) for number in (1, 2)]
    made.apply(command(LEAD, "accept", START), START)
    told.append(made.apply(command(LEAD, "close", START + 1), START + 1))
    assert [case.revision for outcome in told for case in outcome.records.cases] == [1, 2, 3]


def test_a_closed_case_gets_no_task_that_it_had_not() -> None:
    live = opened_with(alert(1))
    live.apply(command(LEAD, "accept", START), START)
    stored = live.apply(command(LEAD, "close", START + 1), START + 1).records
    made = desk()
    made.restore([], [(stored.cases[0], stored.tasks, [])])
    assert [task.id for task in made.add_alert(alert(1, joint=["fire"]), START + 2).records.tasks] == [LEAD]


def test_an_alert_told_twice_changes_nothing_and_tells_everything_again() -> None:
    made = desk()
    first = made.add_alert(alert(1, joint=["fire"]), START)
    second = made.add_alert(alert(2), START + 1)
    again = made.add_alert(alert(1, joint=["fire"]), START + 9)
    assert again.records.cases == second.records.cases
    assert again.records.tasks == first.records.tasks
    assert again.records.trace == first.records.trace
    assert [notice.id for notice in again.notices] == [notice.id for notice in first.notices]
    assert step_ids(made.add_alert(alert(2), START + 9)) >= step_ids(second)


def test_the_whole_life_of_a_task() -> None:
    made = opened_with(alert(1))
    for action, at in (("accept", 1), ("report", 2), ("report", 3), ("close", 4)):
        outcome = made.apply(command(LEAD, action, START + at, note=action), START + at)
    (task,) = outcome.records.tasks
    assert (task.accepted_at, task.reported_at, task.closed_at) == (START + 1, START + 3, START + 4)
    assert (task.state, task.note, task.revision) == ("closed", "close", 5)
    assert outcome.records.cases[0].closed_at == START + 4
    assert [notice.kind for notice in outcome.notices] == ["case.closed"]
    assert len(made) == 0


def test_a_case_closes_with_its_last_task_and_the_next_alert_opens_another() -> None:
    made = opened_with(alert(1, joint=["fire"]))
    for place, task in enumerate((LEAD, FIRE)):
        made.apply(command(task, "accept", START + 1 + place), START)
        outcome = made.apply(command(task, "close", START + 5 + place), START)
        assert bool(outcome.records.cases) is (task == FIRE)
    assert made.add_alert(alert(2), START + 20).records.cases[0].id == case_id("k", 2)


def test_a_closing_told_twice_is_told_whole() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START + 1), START + 1)
    first = made.apply(command(LEAD, "close", START + 2), START + 2)
    again = made.apply(command(LEAD, "close", START + 2), START + 7)
    assert again.records.cases == first.records.cases
    assert again.records.tasks == first.records.tasks
    assert step_ids(again) == step_ids(first)
    assert [notice.id for notice in again.notices] == [notice.id for notice in first.notices]


def test_a_closing_told_again_does_not_touch_the_next_case_of_the_key() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START + 1), START)
    made.apply(command(LEAD, "close", START + 2), START)
    made.add_alert(alert(2), START + 3)
    made.apply(command(LEAD, "close", START + 2), START + 4)
    assert made.add_alert(alert(3), START + 5).records.cases[0].id == case_id("k", 2)


REFUSED = [
    ([], "report", "report-not-allowed-when-assigned"),
    ([], "close", "close-not-allowed-when-assigned"),
    (["accept"], "accept", "accept-not-allowed-when-accepted"),
    (["accept", "close"], "report", "report-not-allowed-when-closed"),
    ([], "burn", "burn-not-allowed-when-assigned"),
]


@pytest.mark.parametrize(("before", "action", "reason"), REFUSED)
def test_what_is_not_allowed_is_refused_and_stays_so_when_told_again(
    before: list[str], action: str, reason: str
) -> None:
    made = opened_with(alert(1))
    for place, each in enumerate(before):
        made.apply(command(LEAD, each, START + place), START)
    refused = command(LEAD, action, START + 10)
    first = made.apply(refused, START + 10)
    assert whats(first) == ["refused"]
    assert reason in first.records.trace[0].detail
    for place, each in enumerate(["accept", "report", "close"]):
        made.apply(command(LEAD, each, START + 20 + place), START)
    again = made.apply(refused, START + 30)
    assert [(step.id, step.what, step.detail) for step in again.records.trace] == [
        (step.id, step.what, step.detail) for step in first.records.trace
    ]
    assert not again.records.tasks


def test_an_action_that_was_allowed_at_its_own_time_is_refused_when_the_task_has_moved_on_without_it() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START + 1), START)
    made.apply(command(LEAD, "close", START + 10), START)
    refused = made.apply(command(LEAD, "report", START + 9), START + 11)
    assert whats(refused) == ["refused"]
    assert "report-not-allowed-when-closed" in refused.records.trace[0].detail


def test_an_action_without_a_note_keeps_the_note_before_it() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START + 1, note="on our way"), START + 1)
    for number, action in enumerate(("report", "close"), 2):
        (task,) = made.apply(command(LEAD, action, START + number), START + number).records.tasks
        assert task.note == "on our way"


def test_a_command_for_no_task_is_refused() -> None:
    assert "unknown-task" in desk().apply(command("ta-x", "accept", START), START).records.trace[0].detail


def test_an_action_at_the_same_instant_as_the_one_before_counts() -> None:
    made = opened_with(alert(1))
    states = [
        made.apply(command(LEAD, each, START), START).records.tasks[0].state for each in ("accept", "report", "close")
    ]
    assert states == ["accepted", "reported", "closed"]
    assert made.apply(command(LEAD, "report", START), START).records.tasks[0].state == "closed"


def test_an_earlier_report_told_again_does_not_undo_a_later_one() -> None:
    made = opened_with(alert(1))
    for at, action in enumerate(["accept", "report", "report"]):
        made.apply(command(LEAD, action, START + at, note=f"note {at}"), START)
    (task,) = made.apply(command(LEAD, "report", START + 1, note="note 1"), START).records.tasks
    assert (task.note, task.revision) == ("note 2", 4)


def test_an_action_of_an_older_clock_that_was_never_carried_out_is_carried_out() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START + 1), START)
    made.apply(command(LEAD, "report", START + 10), START)
    assert made.apply(command(LEAD, "close", START + 9), START).records.tasks[0].state == "closed"


def test_a_task_is_overdue_from_the_due_instant_on_and_told_once() -> None:
    made = opened_with(alert(1))
    assert made.next_due() == START + TERM
    assert not made.elapse(START + TERM - 1).records
    outcome = made.elapse(START + TERM)
    assert [task.overdue for task in outcome.records.tasks] == [True]
    assert [notice.kind for notice in outcome.notices] == ["task.overdue"]
    assert whats(outcome) == ["overdue"]
    assert not made.elapse(START + TERM + 1).records
    assert made.next_due() is None


@pytest.mark.parametrize("before", [["accept"], ["accept", "report"]])
def test_a_task_that_is_closed_late_is_overdue_though_the_clock_was_not_asked_between(before: list[str]) -> None:
    made, asked = opened_with(alert(1)), opened_with(alert(1))
    for number, action in enumerate(before):
        made.apply(command(LEAD, action, START + number), START + number)
        asked.apply(command(LEAD, action, START + number), START + number)
    late = command(LEAD, "close", START + TERM)
    outcome = made.apply(late, START + TERM + 9)
    assert [(task.state, task.overdue) for task in outcome.records.tasks][-1] == ("closed", True)
    assert whats(outcome) == ["overdue", "task-closed", "closed"]
    assert [notice.kind for notice in outcome.notices] == ["task.overdue", "case.closed"]
    assert not made.elapse(START + 2 * TERM).records
    assert made.overdue == 0
    in_turn = [asked.elapse(START + TERM), asked.apply(late, START + TERM + 9)]
    assert [task for each in in_turn for task in each.records.tasks] == outcome.records.tasks
    assert {identity for each in in_turn for identity in step_ids(each)} == step_ids(outcome)
    again = made.apply(late, START + 2 * TERM)
    assert step_ids(again) == step_ids(outcome)
    assert {notice.id for notice in again.notices} == {notice.id for notice in outcome.notices}


def test_a_task_that_was_closed_in_time_is_not_overdue_though_that_is_read_late() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START), START)
    made.elapse(START + TERM)
    close = command(LEAD, "close", START + TERM - 1)
    outcome = made.apply(close, START + TERM + 5)
    (task,) = outcome.records.tasks
    assert (task.state, task.overdue, task.revision, made.overdue) == ("closed", False, 4, 0)
    assert json.loads(outcome.records.trace[0].detail)["in_time"] is True
    again = made.apply(close, START + TERM + 50)
    assert again.records.tasks == outcome.records.tasks
    assert [step.detail for step in again.records.trace] == [step.detail for step in outcome.records.trace]
    assert not made.elapse(START + 2 * TERM).records


def test_what_was_done_in_time_does_not_take_the_mark_from_a_task_that_is_still_open() -> None:
    made = opened_with(alert(1))
    made.elapse(START + TERM)
    accept = command(LEAD, "accept", START + TERM - 2)
    for each in (accept, command(LEAD, "report", START + TERM - 1)):
        outcome = made.apply(each, START + TERM + 5)
        assert [(task.overdue, task.closed_at) for task in outcome.records.tasks] == [(True, None)]
    assert made.overdue == 1
    # An action that came in time says nothing about the deadline when it is told again.
    assert whats(made.apply(accept, START + TERM + 9)) == ["task-accepted"]


@pytest.mark.parametrize(("at", "in_time"), [(TERM - 1, True), (TERM, False)])
def test_the_step_of_a_closing_says_whether_it_was_in_time(at: int, in_time: bool) -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START), START)
    steps = made.apply(command(LEAD, "close", START + at), START + at).records.trace
    assert [json.loads(step.detail)["in_time"] for step in steps if step.what == "task-closed"] == [in_time]


def test_a_task_counts_as_overdue_until_it_is_closed() -> None:
    made = opened_with(alert(1, joint=["fire"]))
    assert made.overdue == 0
    made.elapse(START + TERM)
    assert made.overdue == 2
    for number, action in enumerate(("accept", "report")):
        made.apply(command(LEAD, action, START + TERM + number), START)
    assert made.overdue == 2
    made.apply(command(LEAD, "close", START + TERM + 9), START)
    assert made.overdue == 1


def test_a_closed_task_does_not_keep_the_next_one_from_becoming_overdue() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START), START)
    made.apply(command(LEAD, "close", START + 1), START + 1)
    made.add_alert(alert(2, key="other"), START + 2)
    (task,) = made.elapse(START + TERM + 2).records.tasks
    assert (task.case_key, task.overdue) == ("other", True)


def test_the_step_of_an_overdue_task_names_its_department_and_deadline() -> None:
    (step,) = opened_with(alert(1)).elapse(START + TERM).records.trace
    assert (step.subject, step.actor, step.at) == (LEAD, "system", START + TERM)
    assert json.loads(step.detail) == {"due_at": START + TERM, "department": "lead"}


def test_a_case_without_a_clock_has_neither_deadline_nor_law() -> None:
    (case,) = desk().add_alert(alert(1, clock=None), START).records.cases
    assert (case.clock, case.clock_source, case.due_at) == (None, "", None)


def test_a_task_that_is_closed_or_has_no_due_time_is_never_overdue() -> None:
    made = opened_with(alert(1), alert(2, key="other", clock="unknown"), alert(3, key="third", clock=None))
    made.apply(command(LEAD, "accept", START), START)
    made.apply(command(LEAD, "close", START + 1), START)
    assert not made.elapse(START + 100 * TERM).records


def test_a_closed_case_is_forgotten_after_a_day_and_its_ordinal_is_not() -> None:
    made = opened_with(alert(1))
    made.apply(command(LEAD, "accept", START), START)
    made.apply(command(LEAD, "close", START + 1), START + 1)
    made.elapse(START + 1 + REMEMBER_CLOSED_MS)
    assert made.add_alert(alert(1), START).records.cases[0].ordinal == 1
    made.elapse(START + 2 + REMEMBER_CLOSED_MS)
    assert made.add_alert(alert(2), START).records.cases[0].ordinal == 2


def test_an_alert_of_a_case_that_is_forgotten_opens_the_next_one() -> None:
    made = opened_with(alert(1), alert(2))
    made.apply(command(LEAD, "accept", START), START)
    made.apply(command(LEAD, "close", START + 1), START + 1)
    made.elapse(START + 2 + REMEMBER_CLOSED_MS)
    assert [made.add_alert(alert(number), START).records.cases[0].ordinal for number in (1, 2)] == [2, 2]


def test_a_deadline_that_passes_when_the_case_is_forgotten_is_told_to_nobody() -> None:
    made = CaseDesk(lambda _, start: (start + 2 * REMEMBER_CLOSED_MS, "a law"))
    made.add_alert(alert(1), START)
    made.apply(command(LEAD, "accept", START), START)
    made.apply(command(LEAD, "close", START + 1), START + 1)
    made.add_alert(alert(2, key="other"), START + 1)
    made.elapse(START + 2 + REMEMBER_CLOSED_MS)
    assert not made.knows(LEAD)
    outcome = made.elapse(START + 1 + 2 * REMEMBER_CLOSED_MS)
    assert [task.case_key for task in outcome.records.tasks] == ["other"]


def test_a_key_goes_on_counting_its_cases_from_what_the_store_knows() -> None:
    made = desk()
    made.restore([("k", 2), ("k", 3), ("k", 1)], [])
    (case,) = made.add_alert(alert(1), START).records.cases
    assert case.id == case_id("k", 4)


def test_a_case_lists_its_last_alerts_and_knows_all() -> None:
    made = opened_with(*[alert(number) for number in range(ALERTS_LISTED + 5)])
    again = made.add_alert(alert(0), START)
    (case,) = again.records.cases
    assert (len(case.alerts), case.alert_count) == (ALERTS_LISTED, ALERTS_LISTED + 5)
    assert case.alerts == tuple(alert(number).id for number in range(5, ALERTS_LISTED + 5))
    # Whether it opened the case or joined it is no longer known, so neither is told again.
    assert whats(again) == ["assigned"]
    assert whats(made.add_alert(alert(5), START)) == ["joined", "assigned"]


def test_a_case_that_was_stored_without_its_tasks_gets_them_when_the_alert_is_told_again() -> None:
    first = desk().add_alert(alert(1, joint=["fire"]), START)
    made = desk()
    made.restore([], [(first.records.cases[0], first.records.tasks[:1], [])])
    again = made.add_alert(alert(1, joint=["fire"]), START + 1)
    assert {task.id for task in again.records.tasks} == {LEAD, FIRE}
    assert step_ids(again) == step_ids(first)


@pytest.mark.parametrize("newest_first", [False, True])
def test_of_two_open_cases_of_a_key_the_newer_is_joined_whatever_order_the_store_gives(newest_first: bool) -> None:
    """The closing of the older one was on its way when the worker was killed; what came after it was stored."""
    live = opened_with(alert(1))
    accepted = live.apply(command(LEAD, "accept", START + 1), START + 1)
    (older,) = desk().add_alert(alert(1), START).records.cases
    closing = command(LEAD, "close", START + 2)
    live.apply(closing, START + 2)
    next_one = live.add_alert(alert(2), START + 3).records
    files = [(older, accepted.records.tasks, [alert(1).id]), (next_one.cases[0], next_one.tasks, [alert(2).id])]
    made = desk()
    made.restore([("k", 2)], files[::-1] if newest_first else files)
    assert [case.ordinal for case in made.add_alert(alert(3), START + 4).records.cases] == [2]
    assert "closed" in whats(made.apply(closing, START + 5))
    assert [case.ordinal for case in made.add_alert(alert(4), START + 6).records.cases] == [2]


def test_a_case_that_was_stored_as_closed_is_not_closed_again_by_a_closing_that_was_not() -> None:
    live = opened_with(alert(1, joint=["fire"]))
    before = live.apply(command(LEAD, "accept", START + 1), START + 1).records.tasks
    live.apply(command(FIRE, "accept", START + 1), START + 1)
    live.apply(command(LEAD, "close", START + 2), START + 2)
    stored = live.apply(command(FIRE, "close", START + 3), START + 3).records
    made = desk()
    made.restore([], [(stored.cases[-1], [*before, *stored.tasks], [alert(1).id])])
    again = made.apply(command(LEAD, "close", START + 2), START + 4)
    assert [task.state for task in again.records.tasks] == ["closed"]
    assert (again.records.cases, whats(again)) == ([], ["task-closed"])


def test_a_task_whose_closing_was_not_stored_counts_as_overdue_only_as_long_as_its_case_is_remembered() -> None:
    live = opened_with(alert(1))
    (task,) = live.elapse(START + TERM).records.tasks
    case = live.add_alert(alert(1), START).records.cases[0]._replace(state="closed", closed_at=START + TERM + 1)
    made = desk()
    made.restore([], [(case, [task], [alert(1).id])])
    made.elapse(START + TERM + 1 + REMEMBER_CLOSED_MS)
    assert made.overdue == 1
    made.elapse(START + TERM + 2 + REMEMBER_CLOSED_MS)
    assert made.overdue == 0


def test_the_clock_waits_for_no_closed_task_of_the_store() -> None:
    live = opened_with(alert(1, joint=["fire"]))
    live.apply(command(LEAD, "accept", START + 1), START + 1)
    (closed,) = live.apply(command(LEAD, "close", START + 2), START + 2).records.tasks
    case = live.add_alert(alert(1), START + 3).records.cases[0]
    made = desk()
    made.restore([], [(case, [closed], [])])
    assert made.next_due() is None


def test_a_case_that_was_stored_without_its_closing_is_closed_when_that_of_its_last_task_is_told_again() -> None:
    live = opened_with(alert(1))
    live.apply(command(LEAD, "accept", START), START)
    closing = command(LEAD, "close", START + 1)
    closed = live.apply(closing, START + 1)
    made = desk()
    made.restore([], [(closed.records.cases[-1]._replace(state="open", closed_at=None), closed.records.tasks, [])])
    assert whats(made.apply(command(LEAD, "accept", START), START + 2)) == ["task-accepted"]
    again = made.apply(closing, START + 2)
    assert again.records.cases[-1].state == "closed"
    assert step_ids(again) == step_ids(closed)
    assert again.notices
    assert len(made) == 0


def test_bodies_of_notices_hold_the_matter_and_are_the_same_when_told_again() -> None:
    made = desk()
    first = made.add_alert(alert(1), START).notices
    assert first == made.add_alert(alert(1), START + 50).notices


# -- the same set in any order


def fold(outcomes: Iterable[Outcome]) -> tuple[dict[str, Case], dict[str, Task], Records]:
    """What a store makes of the rows: the highest revision of each id."""
    cases: dict[str, Case] = {}
    tasks: dict[str, Task] = {}
    everything = Records()
    for outcome in outcomes:
        everything.extend(outcome.records)
        for case in outcome.records.cases:
            if case.id not in cases or case.revision >= cases[case.id].revision:
                cases[case.id] = case
        for task in outcome.records.tasks:
            if task.id not in tasks or task.revision >= tasks[task.id].revision:
                tasks[task.id] = task
    return cases, tasks, everything


def membership(records: Records) -> set[tuple[str, str]]:
    """(alert, case) as the trace tells it."""
    return {
        (link, step.subject)
        for step in records.trace
        if step.what in ("opened", "joined")
        for link in step.links
        if link.startswith("al-")
    }


ALERTS = st.lists(
    st.builds(
        alert,
        st.integers(0, 12),
        st.sampled_from(["k", "m", None]),
        st.lists(st.sampled_from(DEPARTMENTS), max_size=2),
        severity=st.sampled_from(["low", "high"]),
    ),
    max_size=12,
    unique_by=lambda each: each.id,
)


@settings(max_examples=80, deadline=None)
@given(ALERTS, st.randoms(use_true_random=False), st.integers(0, 5))
def test_alerts_in_any_order_and_told_often_give_the_same_cases_tasks_and_membership(
    alerts: list[Alert], rng: random.Random, repeats: int
) -> None:
    shuffled = [*alerts, *alerts[:repeats]]
    rng.shuffle(shuffled)
    found = []
    for order in (alerts, shuffled):
        made = desk()
        cases, tasks, records = fold([made.add_alert(each, START + place) for place, each in enumerate(order)])
        found.append((set(cases), set(tasks), membership(records), {case.id: case.severity for case in cases.values()}))
    assert found[0] == found[1]


def restored(outcomes: Iterable[Outcome], now: int) -> CaseDesk:
    """A desk as a restarting worker makes it from the store."""
    cases, tasks, records = fold(outcomes)
    kept = [
        case for case in cases.values() if case.state == "open" or (case.closed_at or 0) >= now - REMEMBER_CLOSED_MS
    ]
    joined: dict[str, list[str]] = defaultdict(list)
    for each, case in membership(records):
        joined[case].append(each)
    made = desk()
    made.restore(
        [(case.case_key, case.ordinal) for case in cases.values()],
        [(case, [task for task in tasks.values() if task.case == case.id], joined[case.id]) for case in kept],
    )
    return made


class Desk(RuleBasedStateMachine):
    """A desk that gets everything twice, at odd times, and is killed now and then."""

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.desk = desk()
        self.inputs: list[tuple[Alert | Command | None, Outcome]] = []
        self.times: list[int] = []  # at which they came
        self.overdue: dict[str, int] = defaultdict(int)

    def _do(self, given_: Alert | Command | None) -> Outcome:
        if given_ is None:
            outcome = self.desk.elapse(self.now)
            for notice in outcome.notices:
                self.overdue[notice.about] += notice.kind == "task.overdue"
        elif isinstance(given_, Alert):
            outcome = self.desk.add_alert(given_, self.now)
        else:
            outcome = self.desk.apply(given_, self.now)
        self.inputs.append((given_, outcome))
        self.times.append(self.now)
        return outcome

    def _known(self) -> tuple[dict[str, Case], dict[str, Task], Records]:
        return fold(outcome for _, outcome in self.inputs)

    @rule(number=st.integers(0, 15))
    def an_alert(self, number: int) -> None:
        self.now += 1
        # An alert's content is its id's: the same number has the same key and departments.
        rng = random.Random(number)
        key = rng.choice(["k", "m"])
        self._do(alert(number, key, [each for each in DEPARTMENTS if rng.random() < 0.4]))

    @rule(
        choice=st.integers(0, 30),
        action=st.sampled_from(["accept", "report", "close", "accept", "close"]),
        hours=st.sampled_from([0, 0, 0, 11]),
    )
    def a_command(self, choice: int, action: str, hours: int) -> None:
        """Now and then long after the clock was asked."""
        self.now += 1 + hours * HOUR
        tasks = sorted(self._known()[1])
        task = tasks[choice % len(tasks)] if tasks else "ta-unknown"
        self._do(command(task, action, self.now))

    @rule(choice=st.integers(0, 30))
    def a_task_is_closed_in_time_and_that_is_read_late(self, choice: int) -> None:
        accepted = [task for _, task in sorted(self._known()[1].items()) if task.state == "accepted" and task.due_at]
        if not accepted:
            return
        task = accepted[choice % len(accepted)]
        assert task.due_at is not None
        assert task.accepted_at is not None
        self.now = max(self.now, task.due_at) + 1
        self._do(None)
        self._do(command(task.id, "close", max(task.accepted_at, task.due_at - 1)))

    @rule(hours=st.integers(0, 12))
    def time_passes(self, hours: int) -> None:
        self.now += hours * HOUR
        self._do(None)

    @precondition(lambda self: self.inputs)
    @rule(choice=st.integers(0, 100), late=st.integers(0, 5))
    def something_comes_again(self, choice: int, late: int) -> None:
        given_, first = self.inputs[choice % len(self.inputs)]
        # Beyond the day for which closed cases are remembered, the same alert would open another.
        if given_ is None or (first.records.trace and self.now - first.records.trace[0].at > REMEMBER_CLOSED_MS):
            return
        cases, tasks, records = self._known()
        known = {step.id for step in records.trace}
        notices = {notice.id for _, outcome in self.inputs for notice in outcome.notices}
        self.now += late
        again = self._do(given_)
        after = self._known()
        assert (after[0], after[1]) == (cases, tasks)
        assert step_ids(again) <= known
        assert {notice.id for notice in again.notices} <= notices
        assert step_ids(again) >= {step.id for step in first.records.trace}
        assert {notice.id for notice in again.notices} >= {notice.id for notice in first.notices}

    @rule(lost=st.integers(0, 6), more=st.integers(0, 6))
    def killed(self, lost: int, more: int) -> None:
        """The last outcomes never reached the store; the journal gives those inputs again, and some before them."""
        before = self._known()
        stored = len(self.inputs) - min(lost, len(self.inputs))
        first = max(0, stored - more)
        replayed = [(given_, came) for (given_, _), came in zip(self.inputs[first:], self.times[first:], strict=True)]
        # As of the oldest that is read again: one of those may be of a case that was closed then.
        oldest = min([self.now, *self.times[first:]])
        self.inputs, self.times = self.inputs[:stored], self.times[:stored]
        self.desk = restored([outcome for _, outcome in self.inputs], oldest)
        self.overdue = defaultdict(int)
        for given_, came in replayed:
            if given_ is not None:
                self._do(given_)
                self.times[-1] = came  # what is read again says when it came first
        self._do(None)
        after = self._known()
        assert set(after[0]) == set(before[0])
        assert {each.id: each.state for each in after[0].values()} == {
            each.id: each.state for each in before[0].values()
        }
        assert {each.id: each.state for each in after[1].values()} == {
            each.id: each.state for each in before[1].values()
        }
        assert membership(after[2]) == membership(before[2])

    @invariant()
    def at_most_one_case_of_a_key_is_open_and_it_is_the_last(self) -> None:
        by_key: dict[str, list[Case]] = defaultdict(list)
        for case in self._known()[0].values():
            by_key[case.case_key].append(case)
        for cases in by_key.values():
            cases.sort(key=lambda case: case.ordinal)
            assert [case.ordinal for case in cases] == list(range(1, len(cases) + 1))
            assert all(case.state == "closed" for case in cases[:-1])
        assert len(self.desk) == sum(cases[-1].state == "open" for cases in by_key.values())

    @invariant()
    def ids_are_deterministic(self) -> None:
        cases, tasks, _ = self._known()
        assert all(case.id == case_id(case.case_key, case.ordinal) for case in cases.values())
        assert all(task.id == task_id(task.case, task.department) for task in tasks.values())

    @invariant()
    def a_case_is_closed_when_all_its_tasks_are(self) -> None:
        cases, tasks, _ = self._known()
        for case in cases.values():
            states = {task.state for task in tasks.values() if task.case == case.id}
            assert (case.state == "closed") == (states == {"closed"})

    @invariant()
    def a_revision_has_one_content_and_states_follow_the_transitions(self) -> None:
        told: dict[str, dict[int, Task]] = defaultdict(dict)
        for _, outcome in self.inputs:
            for task in outcome.records.tasks:
                assert told[task.id].setdefault(task.revision, task) == task
        for revisions in told.values():
            assert sorted(revisions) == list(range(1, len(revisions) + 1))
            assert revisions[1].state == "assigned"
            for number in range(2, len(revisions) + 1):
                one, other = revisions[number - 1], revisions[number]
                acted = other.state in {state for (begin, _), state in TRANSITIONS.items() if begin == one.state}
                assert acted or (other.state == one.state and other.overdue and not one.overdue)

    @invariant()
    def overdue_tasks_are_counted_while_they_are_open(self) -> None:
        _, tasks, _ = self._known()
        assert self.desk.overdue == sum(task.overdue and task.state != "closed" for task in tasks.values())

    @invariant()
    def a_closed_task_is_overdue_if_it_was_closed_late(self) -> None:
        for task in self._known()[1].values():
            if task.closed_at is not None and task.due_at is not None:
                assert task.overdue == (task.closed_at >= task.due_at)

    @invariant()
    def overdue_is_told_once(self) -> None:
        assert all(count <= 1 for count in self.overdue.values())


TestDesk = Desk.TestCase
TestDesk.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
