"""Cases and joint tasks: their shapes and the states that they pass through."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

CaseState = Literal["open", "closed"]
TaskState = Literal["assigned", "accepted", "reported", "closed"]
Role = Literal["lead", "assist"]
Action = Literal["accept", "report", "close"]

# What a department may do in which state, and the state that follows.
TRANSITIONS: Final[dict[tuple[str, str], TaskState]] = {
    ("assigned", "accept"): "accepted",
    ("accepted", "report"): "reported",
    ("reported", "report"): "reported",
    ("reported", "close"): "closed",
    ("accepted", "close"): "closed",
}


class Case(NamedTuple):
    """One case of one case key; at most one of a key is open at a time. Closed when all its tasks are."""

    id: str
    case_key: str
    ordinal: int
    state: str
    severity: str  # the highest of its alerts
    title_zh: str
    title_en: str
    lead: str
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    opened_at: int
    closed_at: int | None
    clock: str | None
    clock_source: str  # the law that sets the clock, as in force on opening; may be JSON by language
    due_at: int | None
    alerts: tuple[str, ...]
    alert_count: int
    revision: int  # grows by one with every change; the store keeps the highest


class Task(NamedTuple):
    """What one department has to do in one case."""

    id: str
    case: str
    case_key: str
    department: str
    role: str
    state: str
    assigned_at: int
    accepted_at: int | None
    reported_at: int | None
    closed_at: int | None
    due_at: int | None
    overdue: bool
    actor: str  # who acted last
    note: str  # the last one that was given; its step says by whom
    revision: int


class TaskPlace(NamedTuple):
    """Where a task stands in a list with the most urgent first. A place sorts before those that are less urgent."""

    closed: bool
    in_time: bool  # not overdue
    endless: bool  # has no deadline
    due_at: int  # 0 without one
    assigned_at: int
    id: str


def place_of(task: Task) -> TaskPlace:
    """Open before closed, overdue before not, then by deadline, those without one last, then the longest assigned."""
    return TaskPlace(
        task.state == "closed", not task.overdue, task.due_at is None, task.due_at or 0, task.assigned_at, task.id
    )


class Command(NamedTuple):
    """What a department or an operator asks of the stage that owns the case."""

    id: str
    case_key: str
    task: str
    action: str
    actor: str
    note: str
    at: int
