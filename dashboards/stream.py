"""GET /v1/stream: server-sent events. Turns the live feed and the overview into text; holds nobody up.

Events: `overview` (once a second when it changed, without an id), `alert`, `case`, `task` (with an id to resume from),
`refresh` (something was missed or is too much to tell: read the page again). A comment line is the heartbeat.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.types import Message as Sent
from starlette.types import Receive, Scope, Send

from dashboards.dependencies import Dependencies
from dashboards.groups import Groups
from dashboards.live import Message, Subscription
from dashboards.naming import Namer
from dashboards.overview import OverviewSource
from dashboards.problems import ProblemError, retry_after
from dashboards.shapes import Problem, alert_view, case_view, task_view
from dashboards.texts import LANGUAGES, Words
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case
from jianguan.errors import UnavailableError

_WORDS: Final = tuple(map(Words, LANGUAGES))
_CACHED: Final = 512  # encoded messages, shared by all readers


class Encoder:
    """Messages as text; each is encoded once, however many read it."""

    def __init__(self, started_at: int, namer: Namer, groups: Groups) -> None:
        self._started_at = started_at
        self._namer = namer
        self._groups = groups
        self._texts: OrderedDict[int, str] = OrderedDict()

    def text(self, message: Message) -> str:
        """One server-sent event with its id."""
        text = self._texts.get(message.sequence)
        if text is None:
            text = self._texts[message.sequence] = self._encode(message)
            while len(self._texts) > _CACHED:
                self._texts.popitem(last=False)
        return text

    def _encode(self, message: Message) -> str:
        payload, data = message.payload, "{}"
        if isinstance(payload, Alert):
            view = alert_view(payload).model_dump(mode="json")
            view["region_name"] = {
                "zh": self._namer.region(payload.region, "zh"),
                "en": self._namer.region(payload.region, "en"),
            }
            if not payload.enterprise:
                view["group_name"] = {words.language: self._groups.brief(payload, words) for words in _WORDS}
            data = json.dumps(view, ensure_ascii=False)
        elif isinstance(payload, Case):
            data = case_view(payload).model_dump_json()
        elif payload is not None:
            data = task_view(payload).model_dump_json()
        return f"id: {self._started_at}-{message.sequence}\nevent: {message.kind}\ndata: {data}\n\n"

    def position(self, last_event_id: str) -> int | None:
        """The sequence in a Last-Event-ID: None without one, -1 when it is from another process or no id at all."""
        if not last_event_id:
            return None
        started, _, sequence = last_event_id.partition("-")
        if started == str(self._started_at) and sequence.isdecimal() and len(sequence) < 16:
            return int(sequence)
        return -1


class Stream:
    """The readers of one process, and the one task that watches the overview while there are any."""

    def __init__(self, deps: Dependencies, source: OverviewSource) -> None:
        self._deps = deps
        self._source = source
        namer = Namer(deps)
        self._encoder = Encoder(deps.live.started_at, namer, Groups(deps.rules_info, namer))
        self._overview = ""
        self._ticker: asyncio.Task[None] | None = None

    def open(self, last_event_id: str) -> AsyncGenerator[str]:
        """Subscribe now, so that a refusal is an answer with a status, and return the text to come."""
        subscription = self._deps.live.subscribe(self._encoder.position(last_event_id))
        if self._ticker is None or self._ticker.done():
            self._ticker = asyncio.create_task(self._tick())
        return self._read(subscription)

    async def _read(self, subscription: Subscription) -> AsyncGenerator[str]:
        limits = self._deps.limits
        with subscription:
            # With a backlog to come the position stays where it was: the connection may break before it is sent.
            position = "" if subscription.backlog else f"id: {self._deps.live.started_at}-{self._deps.live.last}\n"
            yield f"retry: 2000\n{position}: hello\n\n"
            if subscription.gap:
                yield "event: refresh\ndata: {}\n\n"
            for missed in subscription.backlog:
                yield self._encoder.text(missed)
            sent = ""
            quiet = 0.0
            while not subscription.ended:
                message = await subscription.next(1.0)
                if message is not None:
                    yield self._encoder.text(message)
                    quiet = 0.0
                elif self._overview != sent:
                    quiet = 0.0
                else:
                    quiet += 1.0
                if self._overview != sent:
                    sent = self._overview
                    yield f"event: overview\ndata: {sent}\n\n"
                if quiet >= limits.heartbeat_seconds:
                    quiet = 0.0
                    yield ": still here\n\n"

    async def _tick(self) -> None:
        live = self._deps.live
        while live.clients and not live.closed:
            try:
                figures = (await self._source.current()).figures
                self._overview = figures.model_dump_json()
            except UnavailableError:
                self._overview = '{"stale":true}'
            await asyncio.sleep(1.0)


class _Live(StreamingResponse):
    """Ends when a reader takes nothing for `seconds`: it would keep its place among those that are served."""

    def __init__(self, text: AsyncGenerator[str], seconds: float, **options: Any) -> None:
        super().__init__(text, **options)
        self._text = text
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Sent) -> None:
            async with asyncio.timeout(self._seconds):
                await send(message)

        async with aclosing(self._text):
            with suppress(TimeoutError):
                await super().__call__(scope, receive, sent)


def router(deps: Dependencies, source: OverviewSource) -> APIRouter:
    """The route of the stream."""
    routes = APIRouter(tags=["live"])
    stream = Stream(deps, source)

    @routes.get(
        "/v1/stream",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, 503: {"model": Problem}},
        summary="What happens right now",
    )
    async def read(request: Request) -> StreamingResponse:
        """Server-sent events `overview`, `alert`, `case`, `task`, `refresh`; resumes from Last-Event-ID."""
        try:
            text = stream.open(request.headers.get("last-event-id", ""))
        except UnavailableError as error:
            raise ProblemError(503, "too-many-readers", str(error), headers=retry_after(10)) from None
        return _Live(
            text,
            deps.limits.unread_seconds,
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    return routes
