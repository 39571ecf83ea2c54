"""Puts the web app together: guard, telemetry, routes, errors. Construction only; behaviour is in the other files."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from dashboards import api, intake, pages, rule_api, rule_pages, stream
from dashboards.actions import Actions
from dashboards.backtests import Backtests
from dashboards.dependencies import Dependencies
from dashboards.door import Door
from dashboards.finding import Finder
from dashboards.overview import OverviewSource
from dashboards.problems import TITLES, ProblemError, defect, response_of, unavailable
from dashboards.reads import Reads
from dashboards.rendering import HERE, Renderer
from dashboards.security import Guard
from dashboards.telemetry import Telemetry
from jianguan.errors import UnavailableError


class _Static(StaticFiles):
    """Static files that browsers keep but ask about: scripts import each other without a version."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


class Application(FastAPI):
    """The framework's application, behind what stands `before` it: what is answered there costs no framework."""

    before: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await (self.before or self.behind)(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The framework itself."""
        await super().__call__(scope, receive, send)


def create_app(deps: Dependencies) -> Application:
    """The ASGI application. Needs no lifespan; call `deps.live.close()` before stopping the server."""
    app = Application(
        title="jianguan",
        version="1",
        description="Complaints, violations and consumer-rights events in; alerts, cases and tasks out.",
        docs_url=None,
        redoc_url=None,
    )
    reads = Reads(deps.limits)
    finder = Finder(deps, reads)
    actions = Actions(deps, finder)
    source = OverviewSource(deps, reads)
    renderer = Renderer(deps)
    taking = intake.Intake(deps)
    app.include_router(intake.router(deps, reads, taking))
    app.include_router(api.router(deps, reads, finder, actions))
    app.include_router(stream.router(deps, source))
    _operating(app, deps)
    backtests = Backtests(deps)
    shown = pages.Pages(deps, reads, finder, actions, source, renderer)
    app.include_router(rule_api.router(deps, reads, backtests))
    app.include_router(rule_pages.router(shown, backtests))
    app.include_router(pages.router(shown))
    app.mount("/static", _Static(directory=HERE / "static"), name="static")
    _errors(app, renderer)
    guarded = Guard(Door(app.behind, taking), deps, partial(_refusal, renderer))
    app.before = Telemetry(guarded, deps.metrics, deps.clock, deps.live)
    app.state.live = deps.live
    return app


def _operating(app: FastAPI, deps: Dependencies) -> None:
    @app.get("/healthz", tags=["operation"], summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", tags=["operation"], summary="Every part works", responses={503: {}})
    async def readyz() -> Response:
        health = deps.health()
        checks = {name: {"ok": check.ok, "detail": check.detail} for name, check in health.checks.items()}
        return JSONResponse({"ready": health.ready, "checks": checks}, status_code=200 if health.ready else 503)

    @app.get("/metrics", tags=["operation"], summary="Figures for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(generate_latest(deps.metrics), media_type=CONTENT_TYPE_LATEST)


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.scope["path"].startswith("/v1/")


def _refusal(renderer: Renderer, scope: Scope, problem: ProblemError) -> Response:
    """What is told before anything else runs: whoever asks may have no right to any other page or file."""
    request = Request(scope)
    return renderer.refusal(request, problem) if _wants_page(request) else response_of(problem)


def _errors(app: FastAPI, renderer: Renderer) -> None:
    def answer(request: Request, problem: ProblemError) -> Response:
        return renderer.error(request, problem) if _wants_page(request) else response_of(problem)

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        return answer(request, error)

    @app.exception_handler(UnavailableError)
    async def away(request: Request, error: UnavailableError) -> Response:
        return answer(request, unavailable(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Never the input itself: it may be personal.
        faults = [
            {"field": ".".join(str(part) for part in each["loc"]), "message": each["msg"]} for each in error.errors()
        ]
        return answer(
            request,
            ProblemError(422, "invalid", "a parameter or the body is not valid", extra={"errors": faults}),
        )

    @app.exception_handler(ClientDisconnect)
    async def cut(request: Request, error: ClientDisconnect) -> Response:
        return answer(request, ProblemError(413, "too-large", "the body is too large or ended early"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, f"http-{error.status_code}")
        detail = TITLES.get(error.status_code, str(error.detail))
        return answer(request, ProblemError(error.status_code, code, detail, headers=error.headers))

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        # Starlette raises it again after this answer, so that the server logs it.
        return answer(request, defect())
