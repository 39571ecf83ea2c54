"""The JSON API about rules: explanations, backtests, versions and approvals."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from dashboards.actions import ActionBody
from dashboards.backtests import Backtests, Job, asked
from dashboards.dependencies import Dependencies
from dashboards.parameters import only_known_parameters
from dashboards.reads import Reads
from dashboards.rule_shapes import (
    BacktestBody,
    BacktestView,
    ExplanationView,
    RuleHistoryView,
    WarmReportView,
    explanation_view,
    history_view,
    report_view,
    warm_view,
)
from dashboards.shapes import Problem
from jianguan.domain.hindsight import BacktestRequest

Version = Annotated[int | None, Query(ge=1, le=1_000_000)]
_404: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, 503: {"model": Problem}}
_422: dict[int | str, dict[str, Any]] = {**_404, 422: {"model": Problem}}


def job_view(job: Job) -> BacktestView:
    """A backtest and how far it is."""
    report = None if job.report is None else report_view(job.report)
    return BacktestView(
        id=job.id, rule=job.rule, state=job.state, done=job.done, of=job.of, error=job.error,
        started_at=job.started_at, report=report,
    )  # fmt: skip


def router(deps: Dependencies, reads: Reads, backtests: Backtests) -> APIRouter:
    """All of it."""
    routes = APIRouter(prefix="/v1", tags=["rules"], dependencies=[Depends(only_known_parameters)])
    tools = deps.tools

    @routes.get("/rules/{rule}/explain/{event}", responses=_404, summary="Why a rule fired on an event, or did not")
    async def explain(rule: str, event: str, version: Version = None) -> ExplanationView:
        """Every part of the condition with its value, the window, the distance to each threshold. Values that are
        personal are hidden."""
        return explanation_view(await asked(reads(tools.explain, rule, event, version)))

    @routes.get("/rules/{rule}/warm", responses=_404, summary="With what a rule would begin if it were new now")
    async def warm(rule: str) -> WarmReportView:
        """Events, facts and groups that history has for its windows, and the fullest groups. Changes nothing."""
        return warm_view(await asked(reads(tools.warm, rule)))

    @routes.get("/rules/{rule}/versions", responses=_404, summary="Every version of a rule that ever ran")
    async def versions(rule: str) -> RuleHistoryView:
        """Newest first, each with its author, reason, content hash and whole text; and what waits for approval."""
        return history_view(await asked(reads(tools.history, rule)))

    @routes.post(
        "/rules/{rule}/approvals",
        responses={**_404, 409: {"model": Problem, "description": "Nothing waits for approval."}},
        summary="Approve the content that waits for a rule",
    )
    async def approve(rule: str, body: ActionBody) -> RuleHistoryView:
        """It runs when enough different people have. The reason stands in `note`."""
        return history_view(await asked(reads(tools.approve, rule, body.actor, body.note)))

    @routes.post("/backtests", status_code=202, responses=_422, summary="Try a rule on history")
    async def start(body: BacktestBody) -> BacktestView:
        """Answers at once; ask for it by its id until it has ended."""
        request = BacktestRequest(body.rule, body.since, body.until, body.text, body.against)
        return job_view(await backtests.start(request))

    @routes.get("/backtests/{identifier}", responses=_404, summary="A backtest: how far it is, and what it found")
    async def follow(identifier: str) -> BacktestView:
        return job_view(backtests.find(identifier))

    @routes.delete("/backtests/{identifier}", responses=_404, summary="End a backtest")
    async def cancel(identifier: str) -> BacktestView:
        return job_view(backtests.cancel(identifier))

    return routes
