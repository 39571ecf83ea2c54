"""The JSON API over the archive, and the actions. Shapes are in `shapes`; nothing here knows pages."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query, Response

from dashboards.actions import ActionBody, Actions
from dashboards.dependencies import Dependencies
from dashboards.finding import Finder
from dashboards.paging import Following, page_of, place_from, place_text
from dashboards.parameters import only_known_parameters
from dashboards.problems import ProblemError
from dashboards.reads import Reads
from dashboards.shapes import (
    AlertPage,
    AlertView,
    CasePage,
    CaseView,
    CommandView,
    DeliveryPage,
    HistoryView,
    Problem,
    QuarantinePage,
    QuarantineView,
    RedeliverView,
    RetryView,
    RulesView,
    RuleView,
    TaskPage,
    alert_view,
    case_view,
    delivery_view,
    history_view,
    quarantine_view,
    task_view,
)
from jianguan.domain.case import TaskPlace, place_of

SeverityName = Literal["info", "low", "medium", "high", "critical"]
Before = Annotated[int | None, Query(ge=0, le=2**53, description="Milliseconds since 1970 UTC; rows before it.")]
After = Annotated[
    str | None,
    Query(min_length=1, max_length=64, description="Of the last millisecond before `before`, rows after this id."),
]
Place = Annotated[
    str | None, Query(min_length=1, max_length=128, description="Tasks after this place, which `next` of a page names.")
]
Limit = Annotated[int, Query(ge=1, le=500)]
Short = Annotated[str | None, Query(min_length=1, max_length=128)]

_422: dict[int | str, dict[str, Any]] = {422: {"model": Problem}, 503: {"model": Problem}}
_404: dict[int | str, dict[str, Any]] = {404: {"model": Problem}, **_422}
_ACT: dict[int | str, dict[str, Any]] = {
    202: {"model": CommandView, "description": "Handed over; the outcome is not known yet."},
    404: {"model": Problem},
    409: {
        "model": Problem,
        "description": "The state of the task does not admit it; `allowed` names what it does.",
    },
    422: {"model": Problem},
    503: {"model": Problem},
}


def _next(path: str, following: Following | None, **filters: object) -> str | None:
    return None if following is None else _address(path, **filters, **following._asdict())


def _address(path: str, **given: object) -> str:
    texts = {name: str(value) for name, value in given.items() if value is not None}
    return f"{path}?{urlencode(texts)}"


def _truth(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _refused(code: str, parameter: str, message: str) -> ProblemError:
    faults = [{"field": f"query.{parameter}", "message": message}]
    return ProblemError(422, code, message, extra={"errors": faults})


def _place(after: str | None) -> TaskPlace | None:
    place = None if after is None else place_from(after)
    if after is not None and place is None:
        message = "that is no place in the list of tasks: take the address in `next` of the page before"
        raise _refused("invalid-query", "after", message)
    return place


def router(deps: Dependencies, reads: Reads, finder: Finder, actions: Actions) -> APIRouter:
    """The routes that read, and those that act."""
    routes = APIRouter(prefix="/v1", dependencies=[Depends(only_known_parameters)])
    _reading(routes, deps, reads, finder)
    _acting(routes, actions)
    return routes


def _reading(routes: APIRouter, deps: Dependencies, reads: Reads, finder: Finder) -> None:
    archive = deps.archive

    def known(department: str | None) -> str | None:
        if department is not None and department not in deps.departments:
            message = f"no department is called that; there are {', '.join(sorted(deps.departments))}"
            raise _refused("unknown-department", "department", message)
        return department

    @routes.get("/history/{identifier:path}", responses=_404, tags=["trace"], summary="Everything about any id")
    async def history(identifier: str) -> HistoryView:
        """Both ways: the events behind it and the consequences after it. Personal data is left out."""
        return history_view(await finder.history(identifier))

    @routes.get("/alerts", responses=_422, tags=["alerts"], summary="Alerts, newest first")
    async def alerts(
        severity: SeverityName | None = None,
        rule: Short = None,
        region: Short = None,
        before: Before = None,
        after: After = None,
        limit: Limit = 50,
    ) -> AlertPage:
        found = await reads(
            archive.alerts, before=before, after=after, severity=severity, rule=rule, region=region, limit=limit + 1
        )
        page, following = page_of(found, limit, lambda alert: alert.raised_at, lambda alert: alert.id)
        link = _next("/v1/alerts", following, severity=severity, rule=rule, region=region, limit=limit)
        return AlertPage(items=[alert_view(alert) for alert in page], next=link)

    @routes.get("/alerts/{identifier}", responses=_404, tags=["alerts"], summary="One alert")
    async def alert(identifier: str) -> AlertView:
        return alert_view((await finder.alert(identifier))[0])

    @routes.get("/cases", responses=_422, tags=["cases"], summary="Cases with their tasks, newest first")
    async def cases(
        state: Literal["open", "closed"] | None = None,
        department: Short = None,
        overdue: bool | None = None,
        before: Before = None,
        after: After = None,
        limit: Limit = 50,
    ) -> CasePage:
        found = await reads(
            archive.cases,
            state=state,
            department=known(department),
            overdue=overdue,
            before=before,
            after=after,
            limit=limit + 1,
        )
        page, following = page_of(found, limit, lambda pair: pair[0].opened_at, lambda pair: pair[0].id)
        late = _truth(overdue)
        link = _next("/v1/cases", following, state=state, department=department, overdue=late, limit=limit)
        return CasePage(items=[case_view(case, tasks) for case, tasks in page], next=link)

    @routes.get("/cases/{identifier}", responses=_404, tags=["cases"], summary="One case with its tasks")
    async def case(identifier: str) -> CaseView:
        found, tasks, _ = await finder.case(identifier, steps=False)
        return case_view(found, tasks)

    @routes.get("/tasks", responses=_422, tags=["tasks"], summary="Tasks, most urgent first")
    async def tasks(
        department: Short = None,
        state: Literal["assigned", "accepted", "reported", "closed"] | None = None,
        overdue: bool | None = None,
        after: Place = None,
        limit: Limit = 100,
    ) -> TaskPage:
        found = await reads(
            archive.tasks,
            department=known(department),
            state=state,
            overdue=overdue,
            after=_place(after),
            limit=limit + 1,
        )
        page, link = found[:limit], None
        if len(found) > limit:
            place, late = place_text(place_of(page[-1])), _truth(overdue)
            link = _address("/v1/tasks", department=department, state=state, overdue=late, limit=limit, after=place)
        return TaskPage(items=[task_view(task) for task in page], next=link)

    @routes.get("/quarantine", responses=_422, tags=["quarantine"], summary="Records that could not be used")
    async def quarantine(
        code: Short = None,
        state: Literal["quarantined", "retried"] | None = None,
        before: Before = None,
        after: After = None,
        limit: Limit = 100,
    ) -> QuarantinePage:
        """Large records make a page short of `limit`."""
        page, following = await finder.quarantine(code=code, state=state, before=before, after=after, limit=limit)
        link = _next("/v1/quarantine", following, code=code, state=state, limit=limit)
        return QuarantinePage(items=[quarantine_view(record) for record in page], next=link)

    @routes.get("/quarantine/{identifier}", responses=_404, tags=["quarantine"], summary="One such record")
    async def quarantined(identifier: str) -> QuarantineView:
        return quarantine_view(await finder.quarantined(identifier))

    @routes.get("/deliveries", responses=_422, tags=["deliveries"], summary="Notices to departments, newest first")
    async def deliveries(
        state: Literal["pending", "delivered", "dead", "disabled"] | None = None,
        receiver: Short = None,
        before: Before = None,
        after: After = None,
        limit: Limit = 100,
    ) -> DeliveryPage:
        found = await reads(
            archive.deliveries, state=state, receiver=receiver, before=before, after=after, limit=limit + 1
        )
        page, following = page_of(found, limit, lambda each: each.created_at, lambda each: each.id)
        link = _next("/v1/deliveries", following, state=state, receiver=receiver, limit=limit)
        return DeliveryPage(items=[delivery_view(delivery) for delivery in page], next=link)

    @routes.get("/rules", tags=["rules"], summary="The active rules, and the last reload's error")
    async def rules() -> RulesView:
        info = deps.rules_info()
        views = [RuleView.model_validate(rule, from_attributes=True) for rule in info.rules]
        return RulesView(rules=views, loaded_at=info.loaded_at, error=info.error)


def _acting(routes: APIRouter, actions: Actions) -> None:
    @routes.post("/tasks/{identifier}/{action}", responses=_ACT, tags=["tasks"], summary="Act on a task")
    async def act(
        identifier: str, action: Literal["accept", "report", "close"], body: ActionBody, response: Response
    ) -> CommandView:
        """200 with the task when the outcome came in time, else 202."""
        acted = await actions.act(identifier, action, body)
        if acted.task is None:
            response.status_code = 202
        return CommandView(command=acted.command, task=task_view(acted.task) if acted.task else None)

    @routes.post(
        "/quarantine/{identifier}/retry",
        status_code=202,
        responses={**_404, 409: {"model": Problem}},
        tags=["quarantine"],
        summary="Submit the record again",
    )
    async def retry(identifier: str) -> RetryView:
        return RetryView(id=identifier, receipt=await actions.retry(identifier))

    @routes.post(
        "/deliveries/{identifier}/redeliver",
        status_code=202,
        responses=_404,
        tags=["deliveries"],
        summary="Send the notice again",
    )
    async def redeliver(identifier: str) -> RedeliverView:
        await actions.redeliver(identifier)
        return RedeliverView(id=identifier, queued=True)
