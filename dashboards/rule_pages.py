"""The pages about rules: why one fired or did not, what it would have done, and its versions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import ValidationError

from dashboards.actions import ActionBody
from dashboards.backtests import Backtests, asked
from dashboards.pages import Pages, fields_of, given
from dashboards.problems import ProblemError
from jianguan.clock import from_millis, to_millis
from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.explanation import Explanation
from jianguan.domain.hindsight import BacktestRequest
from jianguan.domain.ids import kind_of
from jianguan.ports import History, RuleHistory

_DAYS: Final = 90
_MOST_EVENTS: Final = 20  # from which one can be picked


def _version(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and 0 < len(text) < 7 else None


def _day(text: str, *, after: bool = False) -> int:
    """Midnight in Shanghai that begins a day (2026-01-31), or that ends it, ms."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=SHANGHAI)
    except ValueError:
        raise ProblemError(422, "day", "a day is written 2026-01-31") from None
    return to_millis(day + timedelta(days=int(after)))


def _backtest_form(
    request: Request,
    pages: Pages,
    backtests: Backtests,
    history: RuleHistory,
    typed: Mapping[str, str],
    problem: ProblemError | None = None,
) -> Response:
    """The form with what was typed, and why it was refused if it was."""
    response = pages.show(
        request,
        "backtest_form.html",
        status=problem.status if problem else 200,
        rule=history.rule,
        text=typed.get("text", ""),
        versions=sorted({each.version for each in history.versions}, reverse=True),
        since=typed.get("since", ""),
        until=typed.get("until", ""),
        against=_version(typed.get("against")),
        jobs=backtests.of_rule(history.rule),
        problem=problem,
        most_days=pages.deps.limits.backtest_days,
    )
    response.headers.update(problem.headers if problem else {})
    return response


async def _events_named(pages: Pages, name: str) -> list[str]:
    """The ids of the events that a name leads to, as a search does; an event's own id is taken as it is."""
    if kind_of(name) == "event":
        return [name]
    history = await pages.reads(pages.deps.archive.history, name, _MOST_EVENTS)
    return [each.event.id for each in history.events] if history is not None else []


def _alerts_that_name(found: Explanation, history: History | None) -> list[str]:
    """Alerts of the rule that have the event among theirs and that it did not raise itself: without them, that the
    thresholds were not reached yet when it came would read as if nothing had come of it."""
    return [
        alert.id
        for alert in (history.alerts if history is not None else [])
        if alert.rule == found.rule and found.event in alert.events and alert.id not in found.alerts
    ]


def _enterprise_name(found: Explanation, history: History | None) -> str | None:
    """What the enterprise is called whose window it is, as the event or those near it name it; None if none does."""
    enterprise = dict(found.group).get("enterprise")
    if enterprise is None:
        return None
    events = [each.event for each in history.events] if history is not None else []
    named = [event for event in events if event.enterprise == enterprise and event.enterprise_name]
    nearest = next((event for event in named if event.id == found.event), named[-1] if named else None)
    return nearest.enterprise_name if nearest is not None else None


def router(pages: Pages, backtests: Backtests) -> APIRouter:
    """All pages about rules."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _reading(routes, pages, backtests)
    _forms(routes, pages, backtests)
    return routes


def _reading(routes: APIRouter, pages: Pages, backtests: Backtests) -> None:
    tools = pages.deps.tools

    @routes.get("/explain")
    async def explain(request: Request) -> Response:
        rule, named, version = (given(request, name) for name in ("rule", "event", "version"))
        found, unknown, events = None, "", []
        if rule and named:
            events = await _events_named(pages, named)
            unknown = "" if len(events) == 1 else "several" if events else "event"
        if rule and not unknown and events:
            try:
                found = await asked(pages.reads(tools.explain, rule, events[0], _version(version)))
            except ProblemError as problem:
                if problem.code not in ("unknown-event", "unknown-rule"):
                    raise
                unknown = problem.code.removeprefix("unknown-")
        near: History | None = None
        if found is not None:
            limit = pages.deps.limits.history_rows
            near = await pages.reads(pages.deps.archive.outline, found.event, limit, steps=False)
        running = {each.id: each for each in pages.deps.rules_info().rules}
        return pages.show(
            request,
            "explain.html",
            status=404 if unknown in ("event", "rule") else 200,
            found=found,
            enterprise_name=_enterprise_name(found, near) if found is not None else None,
            named_by=_alerts_that_name(found, near) if found is not None else [],
            unknown=unknown,
            events=events,
            rule=rule or "",
            event=named or "",
            rules=sorted({*running, *([rule] if rule else [])}),
            running=running,
        )

    @routes.get("/rules/{rule}/versions")
    async def versions(request: Request, rule: str) -> Response:
        return pages.show(request, "versions.html", history=await asked(pages.reads(tools.history, rule)))

    @routes.get("/rules/{rule}/backtest")
    async def form(request: Request, rule: str) -> Response:
        history = await asked(pages.reads(tools.history, rule))
        today = from_millis(to_millis(pages.deps.clock.now())).astimezone(SHANGHAI).date()
        text = history.waiting or (history.running.text if history.running else "")
        fields = {"text": text, "since": str(today - timedelta(days=_DAYS)), "until": str(today)}
        return _backtest_form(request, pages, backtests, history, fields)

    @routes.get("/backtests/{identifier}")
    async def backtest(request: Request, identifier: str) -> Response:
        job = backtests.find(identifier)
        return pages.show(request, "backtest.html", job=job, report=job.report)


def _forms(routes: APIRouter, pages: Pages, backtests: Backtests) -> None:
    tools = pages.deps.tools

    @routes.post("/rules/{rule}/backtest")
    async def start(request: Request, rule: str) -> Response:
        fields = await fields_of(request)
        text = fields.get("text", "")
        history = await asked(pages.reads(tools.history, rule))
        same = history.running is not None and text.strip() == history.running.text.strip()
        try:
            job = await backtests.start(
                BacktestRequest(
                    rule=rule,
                    since=_day(fields.get("since", "")),
                    until=_day(fields.get("until", ""), after=True),
                    text="" if same or not text.strip() else text,
                    against=_version(fields.get("against")),
                )
            )
        except ProblemError as problem:
            if problem.status == 404:
                raise
            return _backtest_form(request, pages, backtests, history, {**fields, "text": text}, problem)
        return RedirectResponse(f"/backtests/{job.id}", status_code=303)

    @routes.post("/backtests/{identifier}/cancel")
    async def cancel(identifier: str) -> Response:
        return RedirectResponse(f"/backtests/{backtests.cancel(identifier).id}", status_code=303)

    @routes.post("/rules/{rule}/approvals")
    async def approve(request: Request, rule: str) -> Response:
        fields = await fields_of(request)
        try:
            body = ActionBody(actor=fields.get("actor", ""), note=fields.get("note", ""))
        except ValidationError:
            raise ProblemError(422, "form", "actor or note is missing, too long or not printable") from None
        await asked(pages.reads(tools.approve, rule, body.actor, body.note))
        return RedirectResponse(f"/rules/{quote(rule)}/versions", status_code=303)


def explain_href(rule: str, event: str, version: int | None = None) -> str:
    """The page that explains a rule on an event."""
    given = {"rule": rule, "event": event, **({} if version is None else {"version": str(version)})}
    return f"/explain?{urlencode(given)}"
