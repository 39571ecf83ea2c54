"""Counts and times requests by route template: never by an id. Plain ASGI; the registry is passed in."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.live import LiveFeed
from jianguan.clock import Clock

_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "PATCH"})


class Telemetry:
    """`jianguan_http_requests_total`, `jianguan_http_request_seconds`, `jianguan_live_clients`."""

    def __init__(self, app: ASGIApp, registry: CollectorRegistry, clock: Clock, live: LiveFeed) -> None:
        self._app = app
        self._clock = clock
        self._requests = Counter(
            "jianguan_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "jianguan_http_request_seconds",
            "Time from the request's head to the start of the answer.",
            ("route",),
            registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self._answered: dict[tuple[str, str, int], Counter] = {}  # looking a child up takes longer than counting
        self._timed: dict[str, Histogram] = {}
        clients = Gauge("jianguan_live_clients", "Open live streams.", registry=registry)
        clients.set_function(lambda: live.clients)
        dropped = Gauge("jianguan_live_dropped", "Live streams ended because they were too slow.", registry=registry)
        dropped.set_function(lambda: live.dropped)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        answered = False

        def count(status: int) -> None:
            route = route_of(scope)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            requests = self._answered.get((method, route, status))
            if requests is None:
                requests = self._answered[method, route, status] = self._requests.labels(method, route, str(status))
            seconds = self._timed.get(route)
            if seconds is None:
                seconds = self._timed[route] = self._seconds.labels(route)
            requests.inc()
            seconds.observe(self._clock.monotonic() - started)

        async def counted(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and not answered:
                answered = True
                count(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except BaseException:
            if not answered:
                count(500)
            raise


def route_of(scope: Scope) -> str:
    """The template of the route that took the request, `/static`, or `none` when no route did."""
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    if isinstance(path, str) and path:
        return path
    return "/static" if scope["path"].startswith("/static/") else "none"
