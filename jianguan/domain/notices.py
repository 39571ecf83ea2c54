"""What departments are told: the JSON bodies of webhooks, decided here so that a retry sends the same.

Ids are those of the matter and the department, so a notice that is told again is the same notice. It must not know
receivers, signing or schedules, and it holds nothing personal.
"""

from __future__ import annotations

import json
from typing import Any

from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Notice
from jianguan.domain.ids import make_id


def alert_notice(alert: Alert, department: str, case: Case | None, task: Task | None) -> Notice:
    """That `alert` was raised, to a department; with the case that it joined and the task that it gave, if any."""
    data = {
        "alert": alert.id,
        "rule": alert.rule,
        "version": alert.version,
        "severity": alert.severity,
        "title": {"zh": alert.title_zh, "en": alert.title_en},
        "occurred_at": alert.time,
        "values": alert.values,
        "thresholds": alert.thresholds,
        "enterprise": alert.enterprise,
        "enterprise_name": alert.enterprise_name,
        "region": alert.region,
        "category": alert.category,
        "events": list(alert.events),
        "legal_basis": alert.legal_basis,
        "runbook": alert.runbook,
        "case": case.id if case else None,
        "task": _task_data(task) if task else None,
    }
    return _notice(
        "alert.raised", alert.id, department, case.id if case else None, alert.raised_at, alert.received_at, data
    )


def task_notice(kind: str, task: Task, case: Case, now: int) -> Notice:
    """That something became of a task or of its case (`task.overdue`, `case.closed`), to its department."""
    data = {
        "task": _task_data(task),
        "case": case.id,
        "title": {"zh": case.title_zh, "en": case.title_en},
        "severity": case.severity,
    }
    return _notice(kind, task.id, task.department, case.id, now, 0, data)


def _task_data(task: Task) -> dict[str, Any]:
    return {"id": task.id, "role": task.role, "department": task.department, "state": task.state, "due_at": task.due_at}


def _notice(
    kind: str, about: str, department: str, case: str | None, at: int, received_at: int, data: dict[str, Any]
) -> Notice:
    body = {"type": kind, "timestamp": at, "data": data}
    return Notice(
        id=make_id("dl", kind, about, department),
        department=department,
        kind=kind,
        about=about,
        case=case,
        created_at=at,
        received_at=received_at,
        body=json.dumps(body, ensure_ascii=False, separators=(",", ":")),
    )
