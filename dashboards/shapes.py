"""What the API answers with. Made from the domain's tuples, with personal data left out. No I/O.

Times are RFC 3339 in UTC. The reporter's hash and free text never leave through here: `reporter_known` and
`text_length` tell that they exist.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from jianguan.clock import from_millis
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.masking import without_hashes
from jianguan.domain.trace import Quarantined, Step
from jianguan.ports import EventSummary, History


def _moment(value: Any) -> Any:
    return from_millis(value) if isinstance(value, int) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]
Key = Annotated[str, AfterValidator(without_hashes)]


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EventView(_View):
    id: str
    source: str
    source_id: str
    kind: str
    nature: str | None
    number: str | None
    category: str
    matter: str | None
    occurred_at: Moment
    received_at: Moment
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    industry: str | None
    product: str | None
    platform: str | None
    channel: str | None
    address: str | None
    latitude: float | None
    longitude: float | None
    amount_fen: int | None
    result: str | None
    severity: int | None
    critical_count: int | None
    serious_count: int | None
    minor_count: int | None
    penalty_fen: int | None
    inspection: str | None
    right: str | None
    outcome: str | None
    compensation_fen: int | None
    status: str | None
    demand: str | None = Field(description="Masked.")
    tags: tuple[str, ...]
    historical: bool
    text_length: int = Field(description="Characters of the free text, which is personal and not shown.")
    reporter_known: bool
    rules: tuple[str, ...] = Field(description="The rules whose condition the event met.")


class AlertView(_View):
    id: str
    rule: str
    version: int
    rule_hash: str
    key: Key
    severity: str
    title_zh: str
    title_en: str
    time: Moment = Field(description="Event time of the fact that raised it.")
    window_start: Moment
    episode: Moment
    episode_end: Moment
    raised_at: Moment
    values: dict[str, float]
    thresholds: dict[str, float]
    events: tuple[str, ...]
    event_count: int
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    industry: str | None
    category: str
    lead: str | None
    joint: tuple[str, ...]
    legal_basis: str
    runbook: str


class TaskView(_View):
    id: str
    case: str
    department: str
    role: str
    state: str
    assigned_at: Moment
    accepted_at: Moment | None
    reported_at: Moment | None
    closed_at: Moment | None
    due_at: Moment | None
    overdue: bool
    actor: str
    note: str
    revision: int


class CaseView(_View):
    id: str
    case_key: Key
    ordinal: int
    state: str
    severity: str
    title_zh: str
    title_en: str
    lead: str
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    opened_at: Moment
    closed_at: Moment | None
    clock: str | None
    clock_source: str = Field(description="The law; a JSON object of zh and en where it is named in both.")
    due_at: Moment | None
    alerts: tuple[str, ...]
    alert_count: int
    revision: int
    tasks: list[TaskView] | None = None


class StepView(_View):
    id: str
    subject: str
    at: Moment
    stage: int = Field(description="1 ingest, 2 correlate, 3 handle, 4 deliver, 5 operate.")
    what: str
    actor: str
    receipt: str
    submission: str
    links: tuple[str, ...]
    detail: str = Field(description="A JSON object as text.")


class DeliveryView(_View):
    id: str
    notice: str
    receiver: str
    department: str
    kind: str
    about: str
    case: str | None
    state: str
    attempt: int
    due_at: Moment
    created_at: Moment
    updated_at: Moment
    last_status: int
    last_detail: str


class QuarantineView(_View):
    id: str
    receipt: str
    topic: str
    partition: int
    offset: int
    at: Moment
    code: str
    field: str
    message: str
    size: int = Field(description="Bytes of the record, which may be personal and is not shown.")
    content_type: str
    submission: str
    state: str


class HistoryView(_View):
    asked: str
    kind: str
    steps: list[StepView]
    events: list[EventView]
    alerts: list[AlertView]
    cases: list[CaseView]
    tasks: list[TaskView]
    deliveries: list[DeliveryView]
    quarantine: list[QuarantineView]
    truncated: bool


class ClauseView(_View):
    measure: Literal["count", "distinct", "sum"]
    of: str | None
    at_least: int


class RuleView(_View):
    id: str
    version: int
    hash: str
    severity: str
    title_zh: str
    title_en: str
    status: str = Field(description="active, or shadow: its alerts open no case and are told to nobody.")
    field: str = Field(description="The folder of the rule.")
    condition: str
    window_ms: int
    fixed: bool = Field(description="The window is one of fixed periods; else it slides.")
    lateness_ms: int
    episode_ms: int = Field(description="At most one alert in this time for each group.")
    clauses: tuple[ClauseView, ...] = Field(description="All must hold.")
    group_by: tuple[str, ...]
    lead: str | None
    other_leads: tuple[str, ...] = Field(description="Who leads instead, depending on the group.")
    joint: tuple[str, ...]
    clock: str | None
    legal_basis: str
    runbook: str


class RulesView(_View):
    rules: list[RuleView]
    loaded_at: Moment | None
    error: str | None = Field(description="Why the last reload failed; the rules above stay active.")


class RowResult(_View):
    index: int
    status: Literal["accepted", "quarantined"]
    id: str | None = None
    receipt: str
    code: str | None = None
    field: str | None = None
    message: str | None = None


class IntakeReply(_View):
    submission: str
    rows: int
    accepted: int
    quarantined: int
    results: list[RowResult]


class Problem(_View):
    """RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str


class AlertPage(_View):
    items: list[AlertView]
    next: str | None = Field(description="Address of the next page.")


class CasePage(_View):
    items: list[CaseView]
    next: str | None


class TaskPage(_View):
    items: list[TaskView]
    next: str | None


class DeliveryPage(_View):
    items: list[DeliveryView]
    next: str | None


class QuarantinePage(_View):
    items: list[QuarantineView]
    next: str | None


class SubmissionView(_View):
    submission: str
    outcomes: dict[str, int] = Field(description="Records by outcome: accepted, duplicate, late, quarantined.")
    records: int


class CommandView(_View):
    command: str
    task: TaskView | None = Field(description="The task after the command; null while it is under way (202).")


class RetryView(_View):
    id: str
    receipt: str


class RedeliverView(_View):
    id: str
    queued: bool


class RankedView(_View):
    id: str
    name: dict[str, str] = Field(description="By language, `zh` and `en`.")
    count: int


class OverviewView(_View):
    rate: float = Field(description="Accepted events a second, mean of the last five seconds.")
    series: list[int] = Field(description="Accepted events in each of the last finished seconds, oldest first.")
    events_total: int
    events_by_outcome: dict[str, int]
    events_per_minute: list[tuple[int, int]]
    alerts_by_severity: dict[str, int] = Field(description="Raised in the last 24 hours.")
    alerts_by_rule: list[RankedView] = Field(description="The same, of the rules that raised most, those first.")
    alerts_by_region: list[RankedView] = Field(description="The same, of the regions with most of them.")
    alerts_total: int
    open_cases: int
    open_tasks: int
    overdue_tasks: int
    pending_deliveries: int
    quarantined: int
    changes: dict[str, int] = Field(
        description="How often notices and quarantined records changed, as far as this process has seen: when a number"
        " is another, a list of them is old."
    )
    stale: bool = Field(description="The store does not answer; the figures are the last known ones.")


def event_view(summary: EventSummary) -> EventView:
    """An event without its personal fields."""
    fields = summary.event._asdict()
    reporter = fields.pop("reporter")
    fields.pop("text")
    return EventView(
        **fields, text_length=summary.text_length, reporter_known=reporter is not None, rules=summary.rules
    )


def alert_view(alert: Alert) -> AlertView:
    return AlertView(**alert._asdict())


def task_view(task: Task) -> TaskView:
    return TaskView(**task._asdict())


def case_view(case: Case, tasks: list[Task] | None = None) -> CaseView:
    """A case; with its tasks when they are given."""
    return CaseView(**case._asdict(), tasks=None if tasks is None else [task_view(task) for task in tasks])


def step_view(step: Step) -> StepView:
    return StepView(**step._asdict())


def delivery_view(delivery: Delivery) -> DeliveryView:
    return DeliveryView(**delivery._asdict())


def quarantine_view(record: Quarantined) -> QuarantineView:
    return QuarantineView(**record._asdict(), size=len(record.raw))


def history_view(history: History) -> HistoryView:
    """Everything about one id."""
    return HistoryView(
        asked=history.asked,
        kind=history.kind,
        steps=[step_view(step) for step in history.steps],
        events=[event_view(summary) for summary in history.events],
        alerts=[alert_view(alert) for alert in history.alerts],
        cases=[case_view(case) for case in history.cases],
        tasks=[task_view(task) for task in history.tasks],
        deliveries=[delivery_view(delivery) for delivery in history.deliveries],
        quarantine=[quarantine_view(record) for record in history.quarantine],
        truncated=history.truncated,
    )
