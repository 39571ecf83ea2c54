"""Notices to departments: what is to be sent, and how far sending it has come."""

from __future__ import annotations

from typing import Literal, NamedTuple

DeliveryState = Literal["pending", "delivered", "dead", "disabled"]


class Notice(NamedTuple):
    """Something a department must hear of. Its webhook body is decided here, its transport elsewhere."""

    id: str
    department: str
    kind: str  # alert.raised | task.assigned | task.overdue | case.closed
    about: str  # id of the alert, task or case
    case: str | None
    created_at: int
    received_at: int  # of the event that caused it, for the latency histogram; 0 when no event did
    body: str  # JSON


class Delivery(NamedTuple):
    """One notice to one receiver."""

    id: str
    notice: str
    receiver: str
    department: str
    kind: str
    about: str
    case: str | None
    state: str
    attempt: int
    due_at: int
    created_at: int
    updated_at: int
    received_at: int
    last_status: int
    last_detail: str
    body: str
    revision: int
