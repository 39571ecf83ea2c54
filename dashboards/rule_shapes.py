"""What the API answers about rules: explanations, backtests, versions. No I/O. Times are RFC 3339 in UTC."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dashboards.shapes import Moment
from jianguan.domain.explanation import VERDICTS, Explanation
from jianguan.domain.hindsight import BacktestReport, WarmReport
from jianguan.ports import RuleHistory


class _View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)


class RuleClauseView(_View):
    """One part of the condition. `hidden`: the value is personal, and its length is told instead."""

    text: str
    depth: int
    value: str | None
    hidden: bool
    missing: list[str]
    error: str


class MeasureView(_View):
    """One clause of the trigger; `lacking` is the distance to its threshold."""

    name: str
    of: str | None
    value: float
    needed: float
    lacking: float


class InWindowView(_View):
    event: str
    time: Moment


class GroupView(_View):
    field: str
    value: str | None


class ExplanationView(_View):
    """Why a rule fired on an event, or did not."""

    rule: str
    version: int
    rule_hash: str
    title_zh: str
    title_en: str
    status: str
    event: str
    occurred_at: Moment
    received_at: Moment
    verdict: str
    why: str
    clauses: list[RuleClauseView]
    group: list[GroupView]
    key: str | None
    time: Moment | None
    window_start: Moment | None
    window: list[InWindowView]
    window_count: int
    measures: list[MeasureView]
    episode: Moment | None
    episode_end: Moment | None
    alerts: list[str]
    newest: Moment | None
    lateness_limit: Moment | None


class LabelView(_View):
    id: str
    version: int
    hash: str
    title_zh: str
    title_en: str


class BucketView(_View):
    start: Moment
    alerts: int
    against: int


class LoadView(_View):
    """Tasks that one department would have got."""

    department: str
    tasks: int
    against: int
    per_week: float
    against_per_week: float


class RaisedView(_View):
    key: str | None
    time: Moment
    events: list[str]
    event_count: int
    lead: str | None


class BacktestReportView(_View):
    """What a rule would have done."""

    candidate: LabelView
    against: LabelView | None
    since: Moment
    until: Moment
    events: int
    facts: int
    late: int
    limited: int
    groups: int
    alerts: int
    against_alerts: int
    common: int
    added_count: int
    removed_count: int
    bucket_ms: int
    buckets: list[BucketView]
    loads: list[LoadView]
    added: list[RaisedView]
    removed: list[RaisedView]
    complete: bool


class FilledView(_View):
    """One group whose windows history fills; no key where that is personal."""

    key: str | None
    facts: int
    newest: Moment


class WarmReportView(_View):
    """With what the windows of a rule would begin if it were new now."""

    rule: LabelView
    now: Moment
    since: Moment
    events: int
    facts: int
    groups: int
    fullest: list[FilledView]


class BacktestView(_View):
    """A backtest and how far it is."""

    id: str
    rule: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    done: int
    of: int
    error: str
    started_at: Moment
    report: BacktestReportView | None


class BacktestBody(BaseModel):
    """A running rule by its id, or the text of a file; the time as dates or moments, milliseconds since 1970 UTC."""

    model_config = ConfigDict(extra="forbid")

    rule: Annotated[str, Field(max_length=64)] = ""
    text: Annotated[str, Field(max_length=60_000)] = ""
    since: Annotated[int, Field(ge=0, le=2**52)]
    until: Annotated[int, Field(ge=0, le=2**52)]
    against: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class ApprovalView(_View):
    person: str
    reason: str
    at: Moment


class VersionView(_View):
    """One activation of a rule, with the whole text of its file."""

    version: int
    hash: str
    at: Moment
    author: str
    reason: str
    people: list[str]
    text: str


class RuleHistoryView(_View):
    """Every version of a rule that ever ran, newest first, and the content that waits for approval."""

    rule: str
    running: VersionView | None
    versions: list[VersionView]
    waiting: str
    waiting_version: int
    waiting_hash: str
    approvals: list[ApprovalView]
    needed: int


def explanation_view(found: Explanation) -> ExplanationView:
    """The explanation, with its verdict as a sentence."""
    names = [each for each in ExplanationView.model_fields if each not in ("why", "group")]
    values = {name: getattr(found, name) for name in names}
    group = [GroupView(field=field, value=value) for field, value in found.group]
    return ExplanationView.model_validate({**values, "why": VERDICTS[found.verdict], "group": group})


def report_view(found: BacktestReport) -> BacktestReportView:
    """A finished backtest."""
    return BacktestReportView.model_validate(found)


def warm_view(found: WarmReport) -> WarmReportView:
    """What history has for a rule's windows."""
    return WarmReportView.model_validate(found)


def history_view(found: RuleHistory) -> RuleHistoryView:
    """The versions of a rule."""
    return RuleHistoryView.model_validate(found)
