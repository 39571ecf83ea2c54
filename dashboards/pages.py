"""The pages: routes that ask the archive and render templates. Every page is whole without scripts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from pydantic import ValidationError

from dashboards import wording
from dashboards.actions import ActionBody, Actions
from dashboards.dependencies import Dependencies, RuleInfo
from dashboards.finding import Finder
from dashboards.histories import by_day, contributing, page_of_history, raiser
from dashboards.naming import Namer
from dashboards.overview import MOST_CRITICAL, OverviewSource
from dashboards.paging import Following, page_of, place_from, place_text
from dashboards.problems import ProblemError
from dashboards.reads import Reads
from dashboards.region_filter import RegionFilter
from dashboards.rendering import Renderer
from dashboards.spelling import LONGEST, asked_for, spellings
from dashboards.texts import Language
from jianguan.domain.alert import SEVERITIES
from jianguan.domain.case import place_of
from jianguan.domain.ids import kind_of
from jianguan.domain.trace import Quarantined
from jianguan.ports import Resubmission

T = TypeVar("T")
_STATES: Final = {
    "cases": ("open", "closed"),
    "tasks": ("assigned", "accepted", "reported", "closed"),
    "deliveries": ("pending", "delivered", "dead", "disabled"),
    "quarantine": ("quarantined", "retried"),
}


def given(request: Request, name: str) -> str | None:
    """A filter from the address; an empty or absurd one is none."""
    value = request.query_params.get(name, "").strip()
    return value if value and len(value) <= 128 and value.isprintable() else None


def _one_of(request: Request, name: str, values: tuple[str, ...]) -> str | None:
    value = given(request, name)
    return value if value in values else None


def _before(request: Request) -> int | None:
    value = request.query_params.get("before", "")
    return int(value) if value.isdecimal() and len(value) < 16 else None


async def fields_of(request: Request) -> dict[str, str]:
    """The last value of each field of a form, its lines ended as people count them: a form is sent with CR LF."""
    try:
        body = (await request.body()).decode("utf-8")
        found = parse_qs(body, errors="strict", max_num_fields=20)
        return {name: values[-1].replace("\r\n", "\n") for name, values in found.items()}
    except ValueError:
        raise ProblemError(422, "form", "the form cannot be read") from None


def _after(request: Request) -> str | None:
    return request.query_params.get("after", "")[:64] or None


def _older(request: Request, following: Following | None) -> str | None:
    if following is None:
        return None
    return _same_list(request, **{name: str(value) for name, value in following._asdict().items() if value is not None})


def _same_list(request: Request, **place: str) -> str:
    """The query of this list from another place on."""
    kept = {name: value for name, value in request.query_params.items() if name not in ("before", "after", "lang")}
    return urlencode({**kept, **place})


class Pages:
    """What the routes share."""

    def __init__(
        self,
        deps: Dependencies,
        reads: Reads,
        finder: Finder,
        actions: Actions,
        source: OverviewSource,
        renderer: Renderer,
    ) -> None:
        self.deps, self.reads, self.finder = deps, reads, finder
        self.actions, self.source, self.renderer = actions, source, renderer
        self.rows = deps.limits.page_rows
        self.regions = RegionFilter(deps.regions, Namer(deps))

    def language(self, request: Request) -> Language:
        return self.renderer.words(request).language

    def show(self, request: Request, template: str, **context: Any) -> HTMLResponse:
        return self.renderer.page(request, template, **context)


def router(pages: Pages) -> APIRouter:
    """All pages. They are not part of the API's description."""
    routes = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)
    _lists(routes, pages)
    _things(routes, pages)
    _search(routes, pages)
    _forms(routes, pages)
    return routes


async def _again(pages: Pages, records: Sequence[Quarantined]) -> dict[str, Resubmission]:
    """What became of those records that were submitted again."""
    ids = [record.id for record in records if record.state == "retried"]
    return await pages.reads(pages.deps.archive.resubmitted, ids) if ids else {}


def _lists(routes: APIRouter, pages: Pages) -> None:
    archive, reads, limit = pages.deps.archive, pages.reads, pages.rows

    @routes.get("/")
    async def overview(request: Request) -> Response:
        figures, newest, critical = await pages.source.current()
        return pages.show(
            request,
            "overview.html",
            figures=figures,
            alerts=newest,
            critical=critical,
            most_critical=MOST_CRITICAL,
        )

    @routes.get("/alerts")
    async def alerts(request: Request) -> Response:
        place = await pages.regions.chosen(given(request, "region"), pages.language(request))
        filters = {
            "severity": _one_of(request, "severity", SEVERITIES),
            "rule": given(request, "rule"),
            "region": place.code,
        }
        before, after = _before(request), _after(request)
        found = (
            [] if place.nowhere else await reads(archive.alerts, before=before, after=after, limit=limit + 1, **filters)
        )
        page, following = page_of(found, limit, lambda alert: alert.raised_at, lambda alert: alert.id)
        running = {rule.id: rule for rule in pages.deps.rules_info().rules}
        return pages.show(
            request,
            "alerts.html",
            alerts=page,
            filters=filters,
            place=place,
            choices=[(_same_list(request, region=code), name) for code, name in place.choices],
            rules=sorted({*running, *(alert.rule for alert in page)}),
            running=running,
            before=before,
            older=_older(request, following),
        )

    @routes.get("/regions", response_class=JSONResponse)
    async def regions(request: Request) -> Response:
        """For the field of a region, while one types."""
        typed = asked_for(request.query_params.get("q", ""))[:LONGEST]
        return JSONResponse(await pages.regions.offered(typed, pages.language(request)))

    @routes.get("/cases")
    async def cases(request: Request) -> Response:
        state = _one_of(request, "state", _STATES["cases"])
        department = given(request, "department")
        overdue = True if request.query_params.get("overdue") == "true" else None
        before, after = _before(request), _after(request)
        found = await reads(
            archive.cases,
            state=state,
            department=department,
            overdue=overdue,
            before=before,
            after=after,
            limit=limit + 1,
        )
        page, following = page_of(found, limit, lambda pair: pair[0].opened_at, lambda pair: pair[0].id)
        return pages.show(
            request,
            "cases.html",
            cases=page,
            state=state,
            department=department,
            overdue=overdue,
            before=before,
            older=_older(request, following),
        )

    @routes.get("/tasks")
    async def tasks(request: Request) -> Response:
        state = _one_of(request, "state", _STATES["tasks"])
        department = given(request, "department")
        overdue = True if request.query_params.get("overdue") == "true" else None
        after = place_from(request.query_params.get("after", ""))
        found = await reads(
            archive.tasks, department=department, state=state, overdue=overdue, after=after, limit=limit + 1
        )
        page = found[:limit]
        cases = await reads(archive.cases_of, [task.case for task in page])
        return pages.show(
            request,
            "tasks.html",
            tasks=page,
            cases=cases,
            state=state,
            department=department,
            overdue=overdue,
            after=after,
            older=_same_list(request, after=place_text(place_of(page[-1]))) if len(found) > limit else None,
        )

    @routes.get("/enterprises")
    async def enterprises(request: Request) -> Response:
        text = asked_for(request.query_params.get("q", ""))
        long = len(text) > LONGEST
        found = (await _as_spelled(pages, archive.enterprises, text, 50) or []) if text and not long else []
        return pages.show(request, "enterprises.html", text="" if long else text, enterprises=found, long=long)

    @routes.get("/quarantine")
    async def quarantine(request: Request) -> Response:
        code, state = given(request, "code"), _one_of(request, "state", _STATES["quarantine"])
        before, after = _before(request), _after(request)
        found, last = await pages.finder.quarantine(code=code, state=state, before=before, after=after, limit=limit)
        codes = sorted({record.code for record in found} | ({code} if code else set()))
        again = await _again(pages, found)
        return pages.show(
            request,
            "quarantine.html",
            records=found,
            again=again,
            code=code,
            state=state,
            codes=codes,
            before=before,
            older=_older(request, last),
        )

    @routes.get("/deliveries")
    async def deliveries(request: Request) -> Response:
        state = _one_of(request, "state", _STATES["deliveries"])
        before, after = _before(request), _after(request)
        found = await reads(
            archive.deliveries,
            state=state,
            receiver=given(request, "receiver"),
            before=before,
            after=after,
            limit=limit + 1,
        )
        page, following = page_of(found, limit, lambda each: each.created_at, lambda each: each.id)
        return pages.show(
            request,
            "deliveries.html",
            deliveries=page,
            state=state,
            before=before,
            older=_older(request, following),
        )

    @routes.get("/rules")
    async def rules(request: Request) -> Response:
        info, text = pages.deps.rules_info(), given(request, "q")
        fields: dict[str, list[RuleInfo]] = {}
        for rule in info.rules:
            if text is None or text.casefold() in f"{rule.id}\n{rule.title_zh}\n{rule.title_en}".casefold():
                fields.setdefault(rule.field, []).append(rule)
        shown = sorted(fields.items())
        return pages.show(request, "rules.html", info=info, fields=shown, text=text or "")


async def _as_spelled(pages: Pages, question: Callable[..., T], text: str, *rest: Any) -> T | None:
    """What the archive answers to the first spelling of `text` that it knows anything about; None if to none."""
    for spelling in spellings(text):
        found = await pages.reads(question, spelling, *rest)
        if found:
            return found
    return None


def _things(routes: APIRouter, pages: Pages) -> None:
    finder = pages.finder

    @routes.get("/alerts/{identifier}")
    async def alert(request: Request, identifier: str) -> Response:
        found, history = await finder.alert(identifier)
        case = next((each for each in history.cases if found.id in each.alerts), None)
        behind, total = contributing(found, history)
        return pages.show(
            request,
            "alert.html",
            alert=found,
            history=history,
            case=case or next(iter(history.cases), None),
            contributing=behind,
            total=total,
            raiser=raiser(found, behind),
        )

    @routes.get("/cases/{identifier}")
    async def case(request: Request, identifier: str) -> Response:
        found, tasks, history = await finder.case(identifier)
        return pages.show(request, "case.html", case=found, tasks=tasks, history=history)

    @routes.get("/events/{identifier}")
    async def event(request: Request, identifier: str) -> Response:
        found, history = await finder.event(identifier)
        return pages.show(request, "event.html", summary=found, event=found.event, history=history)

    @routes.get("/enterprises/{identifier:path}")
    async def enterprise(request: Request, identifier: str) -> Response:
        history = await finder.outline(identifier, steps=False)
        if history.kind != "enterprise":
            raise ProblemError(404, "unknown-enterprise", "no enterprise has that id")
        names = [summary.event.enterprise_name for summary in history.events] + [
            alert.enterprise_name for alert in history.alerts
        ]
        return pages.show(
            request,
            "enterprise.html",
            identifier=identifier,
            name=next((name for name in reversed(names) if name), identifier),
            history=history,
            days=by_day(history.events),
        )


def _search(routes: APIRouter, pages: Pages) -> None:
    archive = pages.deps.archive

    @routes.get("/search")
    async def search(request: Request) -> Response:
        """Any id leads to its page; other text to the enterprises that it names."""
        text = asked_for(request.query_params.get("q", ""))
        if not text or len(text) > LONGEST:
            status = 422 if text else 200
            return pages.show(request, "history.html", status=status, asked="", history=None, long=bool(text))
        history = await _as_spelled(pages, archive.history, text, pages.deps.limits.history_rows)
        if history is not None:
            place = page_of_history(history)
            if place is not None:
                return RedirectResponse(place, status_code=303)
            again = await _again(pages, history.quarantine)
            return pages.show(request, "history.html", asked=text, history=history, again=again)
        named = not any(map(kind_of, spellings(text)))
        found = (await _as_spelled(pages, archive.enterprises, text, 20) or []) if named else []
        refused = (await _as_spelled(pages, archive.quarantined_as, text) or []) if named else []
        if len(found) == 1 and not refused:
            return RedirectResponse(wording.enterprise_href(found[0][0]), status_code=303)
        aside = 0 if found or refused else (await pages.source.current()).figures.quarantined
        return pages.show(
            request,
            "history.html",
            status=200 if found or refused else 404,
            asked=text,
            history=None,
            enterprises=found,
            records=refused,
            again=await _again(pages, refused),
            aside=aside,
        )


def _forms(routes: APIRouter, pages: Pages) -> None:
    """Actions for readers without scripts: a form, then a redirect to where its effect shows."""

    @routes.post("/tasks/{identifier}/{action}")
    async def act(request: Request, identifier: str, action: str) -> Response:
        fields = await fields_of(request)
        try:
            body = ActionBody(actor=fields.get("actor", ""), note=fields.get("note", ""))
        except ValidationError:
            raise ProblemError(422, "form", "actor or note is missing, too long or not printable") from None
        if action == "report" and not body.note:
            raise ProblemError(422, "form", "a report says something")
        await pages.actions.act(identifier, action, body)
        task, _ = await pages.finder.task(identifier)
        return RedirectResponse(f"/cases/{task.case}#{task.id}", status_code=303)

    @routes.post("/quarantine/{identifier}/retry")
    async def retry(identifier: str) -> Response:
        await pages.actions.retry(identifier)
        return RedirectResponse("/quarantine", status_code=303)

    @routes.post("/deliveries/{identifier}/redeliver")
    async def redeliver(identifier: str) -> Response:
        await pages.actions.redeliver(identifier)
        return RedirectResponse("/deliveries", status_code=303)
