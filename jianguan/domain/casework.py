"""How alerts become cases and tasks, and what departments may do with them. The single writer of a case.

Pure: alerts, commands and times go in; new rows, steps and notices come out. Applying the same input twice gives the
same ids and no second effect, which is what makes at-least-once processing enough: what it led to the first time is
told again, since that may not have been stored.

One desk holds the cases of one partition of case keys. A case key names the lead department, so a case has one lead
for its whole life; an alert joins the open case of its key or opens the next one.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from jianguan.domain.alert import SEVERITIES, Alert
from jianguan.domain.case import TRANSITIONS, Case, Command, Task
from jianguan.domain.delivery import Notice
from jianguan.domain.ids import case_id, make_id, task_id
from jianguan.domain.notices import alert_notice, task_notice
from jianguan.domain.trace import STAGES, Records, Step

# (statutory clock id, start ms) -> (due ms or None when no calendar covers it, its source in law)
Deadline = Callable[[str, int], tuple[int | None, str]]

ALERTS_LISTED: Final = 200
REMEMBER_CLOSED_MS: Final = 24 * 3_600_000
_RANK: Final[dict[str, int]] = {severity: rank for rank, severity in enumerate(SEVERITIES)}


@dataclass(slots=True)
class Outcome:
    """What one input to the desk led to."""

    records: Records = field(default_factory=Records)
    notices: list[Notice] = field(default_factory=list)


@dataclass(slots=True)
class _File:
    """One case as the desk holds it."""

    case: Case
    tasks: dict[str, Task]  # by department
    alerts: set[str]

    @property
    def opener(self) -> str | None:
        """The alert that opened the case, if it is still listed."""
        return self.case.alerts[0] if self.case.alert_count == len(self.case.alerts) > 0 else None


class CaseDesk:
    """The cases of one partition. Not thread-safe; one stage owns it."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._files: dict[str, _File] = {}  # by case id: open ones, and those closed recently
        self._open: dict[str, str] = {}  # case key -> id of its open case
        self._ordinals: dict[str, int] = {}
        self._joined: dict[str, str] = {}  # alert -> case
        self._tasks: dict[str, tuple[str, str]] = {}  # task -> (case, department)
        self._due: list[tuple[int, str]] = []  # (due ms, task)
        self._overdue: set[str] = set()  # tasks past their deadline and not closed
        self._closed: list[tuple[int, str]] = []  # (closed ms, case)

    def restore(
        self, ordinals: Iterable[tuple[str, int]], files: Iterable[tuple[Case, Iterable[Task], Iterable[str]]]
    ) -> None:
        """Take over what the store knows: highest ordinal by case key, and cases with their tasks and alert ids."""
        for case_key, ordinal in ordinals:
            self._ordinals[case_key] = max(ordinal, self._ordinals.get(case_key, 0))
        for case, tasks, alerts in files:
            self._keep(_File(case, {task.department: task for task in tasks}, set(alerts) | set(case.alerts)))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def overdue(self) -> int:
        """How many tasks are past their deadline and not closed."""
        return len(self._overdue)

    def knows(self, task: str) -> bool:
        """Whether a task of that id is here: of an open case, or of one that was closed not long ago."""
        return task in self._tasks

    def add_alert(self, alert: Alert, now: int) -> Outcome:
        """Join `alert` to the open case of its key, or open one; give each department its task."""
        outcome = Outcome()
        if alert.case_key is None or alert.lead is None:
            if alert.notify and alert.lead:
                outcome.notices.append(alert_notice(alert, alert.lead, None, None))
            return outcome
        known = self._joined.get(alert.id)
        if known is not None:
            return self._again(alert, self._files[known], now)
        case = self._open.get(alert.case_key)
        file = self._files[case] if case is not None else self._open_case(alert, now, outcome)
        self._join(alert, file, now, outcome, opened=case is None)
        return outcome

    def apply(self, command: Command, now: int) -> Outcome:
        """Carry out a department's action, or record why it was refused."""
        outcome = Outcome()
        place = self._tasks.get(command.task)
        if place is None:
            outcome.records.trace.append(_refusal(command, now, "unknown-task"))
            return outcome
        file = self._files[place[0]]
        task = file.tasks[place[1]]
        if _was_applied(task, command):
            if task.overdue and _is_late(task, command.at):
                self._tell_overdue(task, file, now, outcome)
            outcome.records.tasks.append(task)
            outcome.records.cases.append(file.case)
            outcome.records.trace.append(_action_step(command, task, now))
            if command.action == "close":
                self._close_if_done(file, command, now, outcome)
            return outcome
        # As of its own time first: one that was refused stays so when it is read again, though the task has moved on.
        for before in (_state_at(task, command.at), task.state):
            if (before, command.action) not in TRANSITIONS:
                outcome.records.trace.append(_refusal(command, now, f"{command.action}-not-allowed-when-{before}"))
                return outcome
        state = TRANSITIONS[(task.state, command.action)]
        stamps: dict[str, Any] = {f"{state}_at": command.at}
        late = _is_late(task, command.at)
        if late and not task.overdue:
            task = self._mark_overdue(task, file, now, outcome)
        task = task._replace(
            state=state,
            # Closed in time, and read after the clock had marked it.
            overdue=task.overdue and (late or state != "closed"),
            actor=command.actor,
            note=command.note or task.note,
            revision=task.revision + 1,
            **stamps,
        )
        file.tasks[task.department] = task
        if state == "closed":
            self._overdue.discard(task.id)
        outcome.records.tasks.append(task)
        outcome.records.trace.append(_action_step(command, task, now))
        if state == "closed":
            self._close_if_done(file, command, now, outcome)
        return outcome

    def elapse(self, now: int) -> Outcome:
        """Mark what has become overdue by `now`, and forget cases that were closed long ago."""
        outcome = Outcome()
        while self._due and self._due[0][0] <= now:
            _, identifier = heapq.heappop(self._due)
            place = self._tasks.get(identifier)
            if place is None:
                continue
            file = self._files[place[0]]
            task = file.tasks[place[1]]
            if task.state == "closed" or task.overdue:
                continue
            self._mark_overdue(task, file, now, outcome)
        while self._closed and self._closed[0][0] < now - REMEMBER_CLOSED_MS:
            self._forget(heapq.heappop(self._closed)[1])
        return outcome

    def next_due(self) -> int | None:
        """When the next task becomes overdue (ms), if any will."""
        return self._due[0][0] if self._due else None

    def _mark_overdue(self, task: Task, file: _File, now: int, outcome: Outcome) -> Task:
        task = task._replace(overdue=True, revision=task.revision + 1)
        file.tasks[task.department] = task
        self._overdue.add(task.id)
        outcome.records.tasks.append(task)
        self._tell_overdue(task, file, now, outcome)
        return task

    @staticmethod
    def _tell_overdue(task: Task, file: _File, now: int, outcome: Outcome) -> None:
        detail = {"due_at": task.due_at, "department": task.department}
        outcome.records.trace.append(_step(task.id, now, "overdue", "system", (task.case,), detail))
        outcome.notices.append(task_notice("task.overdue", task, file.case, now))

    def _open_case(self, alert: Alert, now: int, outcome: Outcome) -> _File:
        assert alert.case_key is not None
        assert alert.lead is not None
        ordinal = self._ordinals.get(alert.case_key, 0) + 1
        due_at, source = self._deadline(alert.clock, now) if alert.clock else (None, "")
        case = Case(
            id=case_id(alert.case_key, ordinal),
            case_key=alert.case_key,
            ordinal=ordinal,
            state="open",
            severity=alert.severity,
            title_zh=alert.title_zh,
            title_en=alert.title_en,
            lead=alert.lead,
            enterprise=alert.enterprise,
            enterprise_name=alert.enterprise_name,
            region=alert.region,
            opened_at=now,
            closed_at=None,
            clock=alert.clock,
            clock_source=source,
            due_at=due_at,
            alerts=(),
            alert_count=0,
            revision=0,
        )
        file = _File(case, {}, set())
        self._keep(file)
        outcome.records.trace.append(_opening(case, alert))
        return file

    def _join(self, alert: Alert, file: _File, now: int, outcome: Outcome, *, opened: bool) -> None:
        case = file.case
        case = case._replace(
            severity=max(case.severity, alert.severity, key=_RANK.__getitem__),
            alerts=(*case.alerts, alert.id)[-ALERTS_LISTED:],
            alert_count=case.alert_count + 1,
            revision=case.revision + 1,
        )
        file.case = case
        file.alerts.add(alert.id)
        self._joined[alert.id] = case.id
        outcome.records.cases.append(case)
        if not opened:
            outcome.records.trace.append(_step(case.id, now, "joined", "system", (alert.id,), {"rule": alert.rule}))
        for department in dict.fromkeys((case.lead, *alert.joint)):
            if department not in file.tasks:
                self._assign(department, alert, file, now, outcome)
        self._notify(alert, file, now, outcome)

    def _assign(self, department: str, alert: Alert, file: _File, now: int, outcome: Outcome) -> None:
        case = file.case
        task = Task(
            id=task_id(case.id, department),
            case=case.id,
            case_key=case.case_key,
            department=department,
            role="lead" if department == case.lead else "assist",
            state="assigned",
            assigned_at=now,
            accepted_at=None,
            reported_at=None,
            closed_at=None,
            due_at=case.due_at,
            overdue=False,
            actor="system",
            note="",
            revision=1,
        )
        file.tasks[department] = task
        self._index(task)
        outcome.records.tasks.append(task)
        outcome.records.trace.append(_assignment(task, alert))

    def _again(self, alert: Alert, file: _File, now: int) -> Outcome:
        outcome = Outcome()
        case = file.case
        outcome.records.cases.append(case)
        outcome.records.tasks.extend(file.tasks.values())
        if alert.id == file.opener:
            outcome.records.trace.append(_opening(case, alert))
        elif alert.id in case.alerts:
            outcome.records.trace.append(_step(case.id, now, "joined", "system", (alert.id,), {"rule": alert.rule}))
        for department in dict.fromkeys((case.lead, *alert.joint)):
            task = file.tasks.get(department)
            if task is not None:
                outcome.records.trace.append(_assignment(task, alert))
            elif case.state == "open":  # the process was killed when the case was stored and its tasks were not
                self._assign(department, alert, file, now, outcome)
        self._notify(alert, file, now, outcome)
        return outcome

    def _notify(self, alert: Alert, file: _File, now: int, outcome: Outcome) -> None:
        if not alert.notify:
            return
        for department in dict.fromkeys((file.case.lead, *alert.joint)):
            outcome.notices.append(alert_notice(alert, department, file.case, file.tasks.get(department)))

    def _close_if_done(self, file: _File, command: Command, now: int, outcome: Outcome) -> None:
        """What a closed task means for its case, also where a crash kept one of the two from the store."""
        if file.case.state == "open":
            if all(each.state == "closed" for each in file.tasks.values()):
                self._close(file, command, now, outcome)
        elif file.case.closed_at == command.at:
            self._tell_closing(file, command, now, outcome)

    def _close(self, file: _File, command: Command, now: int, outcome: Outcome) -> None:
        case = file.case._replace(state="closed", closed_at=command.at, revision=file.case.revision + 1)
        file.case = case
        if self._open.get(case.case_key) == case.id:
            del self._open[case.case_key]
        heapq.heappush(self._closed, (now, case.id))
        outcome.records.cases.append(case)
        self._tell_closing(file, command, now, outcome)

    @staticmethod
    def _tell_closing(file: _File, command: Command, now: int, outcome: Outcome) -> None:
        case = file.case
        outcome.records.trace.append(_step(case.id, now, "closed", command.actor, (command.task, command.id), {}))
        for task in file.tasks.values():
            outcome.notices.append(task_notice("case.closed", task, case, now))

    def _keep(self, file: _File) -> None:
        case = file.case
        self._files[case.id] = file
        self._ordinals[case.case_key] = max(case.ordinal, self._ordinals.get(case.case_key, 0))
        if case.state == "open":
            # Of two, the closing of the older one is not stored yet: it is read again, and nothing joins it any more.
            if case.ordinal == self._ordinals[case.case_key]:
                self._open[case.case_key] = case.id
        else:
            heapq.heappush(self._closed, (case.closed_at or 0, case.id))
        for alert in file.alerts:
            self._joined[alert] = case.id
        for task in file.tasks.values():
            self._index(task)

    def _index(self, task: Task) -> None:
        self._tasks[task.id] = (task.case, task.department)
        if task.overdue and task.state != "closed":
            self._overdue.add(task.id)
        if task.due_at is not None and task.state != "closed" and not task.overdue:
            heapq.heappush(self._due, (task.due_at, task.id))

    def _forget(self, case: str) -> None:
        file = self._files.pop(case, None)
        if file is None:
            return
        for alert in file.alerts:
            self._joined.pop(alert, None)
        for task in file.tasks.values():
            self._tasks.pop(task.id, None)
            self._overdue.discard(task.id)


def _was_applied(task: Task, command: Command) -> bool:
    """Whether the task bears the mark of this command: its stamp, or for a report that of a later one."""
    if command.action == "report" and task.reported_at is not None and command.at < task.reported_at:
        return (_state_at(task, command.at), "report") in TRANSITIONS
    stamp = {"accept": task.accepted_at, "report": task.reported_at, "close": task.closed_at}.get(command.action)
    return stamp == command.at


def _is_late(task: Task, at: int) -> bool:
    """Half-open: what happens at the due instant is late."""
    return task.due_at is not None and at >= task.due_at


def _state_at(task: Task, at: int) -> str:
    """The state of `task` at the time `at`, as far as its stamps tell."""
    for state, stamp in (("closed", task.closed_at), ("reported", task.reported_at), ("accepted", task.accepted_at)):
        if stamp is not None and stamp <= at:
            return state
    return "assigned"


def _opening(case: Case, alert: Alert) -> Step:
    detail = {
        "rule": alert.rule,
        "lead": case.lead,
        "clock": case.clock,
        "due_at": case.due_at,
        "source": case.clock_source,
    }
    return _step(case.id, case.opened_at, "opened", "system", (alert.id,), detail)


def _assignment(task: Task, alert: Alert) -> Step:
    detail = {"department": task.department, "role": task.role, "due_at": task.due_at}
    # A task is assigned once, whichever of its alerts tells of it.
    return _step(task.id, task.assigned_at, "assigned", "system", (task.case, alert.id), detail, identity=())


def _step(
    subject: str,
    at: int,
    what: str,
    actor: str,
    links: tuple[str, ...],
    detail: dict[str, Any],
    identity: tuple[str, ...] | None = None,
) -> Step:
    return Step(
        id=make_id("st", subject, what, *(links if identity is None else identity)),
        subject=subject,
        at=at,
        stage=STAGES["handle"],
        what=what,
        actor=actor,
        receipt="",
        submission="",
        links=links,
        detail=json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
    )


_DONE: Final = {"accept": "task-accepted", "report": "task-reported", "close": "task-closed"}


def _action_step(command: Command, task: Task, now: int) -> Step:
    detail: dict[str, Any] = {"department": task.department, "note": command.note, "commanded_at": command.at}
    if command.action == "close" and task.due_at is not None:
        # Told of every closing: what a task was marked as before is not known when it is told again.
        detail["in_time"] = not _is_late(task, command.at)
    return _step(task.id, now, _DONE[command.action], command.actor, (task.case, command.id), detail)


def _refusal(command: Command, now: int, reason: str) -> Step:
    detail = {"action": command.action, "reason": reason}
    return _step(command.task, now, "refused", command.actor, (command.id,), detail)
