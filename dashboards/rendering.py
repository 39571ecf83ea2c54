"""Templates into HTML, in the reader's language. Escapes everything; knows requests, not the archive."""

from __future__ import annotations

import json
from base64 import b64encode
from functools import cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from dashboards import wording
from dashboards.actions import allowed
from dashboards.asked import Asker, Told
from dashboards.dependencies import Dependencies
from dashboards.groups import Groups
from dashboards.naming import Namer
from dashboards.problems import ProblemError
from dashboards.security import policy
from dashboards.spelling import LONGEST
from dashboards.texts import LANGUAGES, Language, Words, catalogue, choose
from jianguan.clock import to_millis
from jianguan.domain.alert import SEVERITIES, Alert
from jianguan.domain.ids import kind_of
from jianguan.ports import History

HERE: Final = Path(__file__).parent
COOKIE: Final = "jianguan_lang"
_YEAR: Final = 365 * 24 * 3600
_TAGS: Final[dict[Language, str]] = {"zh": "zh-CN", "en": "en"}


def static_version() -> str:
    """A short hash of all static files: part of their addresses, so that a new release is seen at once."""
    digest = blake2b(digest_size=6)
    for path in sorted((HERE / "static").rglob("*")):
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


class Renderer:
    """One Jinja environment, and what every page needs."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps
        self._namer = Namer(deps)
        self._style = (HERE / "static" / "base.css").read_text("utf-8")
        self._style_source = f"'sha256-{b64encode(sha256(self._style.encode()).digest()).decode()}'"
        self._env = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._env.globals.update(
            severities=tuple(reversed(SEVERITIES)),
            departments=deps.departments,
            version=static_version(),
            longest=LONGEST,
            allowed=allowed,
            in_order=wording.in_order,
            last_note=wording.last_note,
            tasks_of=wording.tasks_of,
            polyline=wording.polyline,
            bars=wording.bars,
            answer=wording.answer,
            bounds=wording.bounds,
            figure=wording.figure,
        )
        self._env.filters.update(
            full=wording.full_time,
            last=wording.deadline,
            last_brief=wording.brief_deadline,
            iso=lambda millis: wording.local(millis).isoformat(),
            brief=lambda millis: wording.local(millis).strftime("%m-%d %H:%M"),
            money=wording.money,
            number=wording.number,
            capital=wording.capital,
            href=wording.href_of,
            enterprise_href=wording.enterprise_href,
        )

    def words(self, request: Request) -> Words:
        """The reader's language."""
        return Words(
            choose(
                request.query_params.get("lang"),
                request.cookies.get(COOKIE),
                request.headers.get("accept-language", ""),
            )
        )

    def page(self, request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """`template` as an answer. Remembers the language when it was asked for."""
        words = self.words(request)
        language = words.language
        now = to_millis(self._deps.clock.now())
        namer = self._namer
        rules_info = cache(self._deps.rules_info)
        groups = Groups(rules_info, namer)
        rules = cache(lambda: {rule.id: rule for rule in rules_info().rules})

        def title(thing: Any) -> str:
            text: str = thing.title_en if language == "en" else thing.title_zh
            return text

        def rule_title(identifier: str) -> str:
            """The title of a rule that runs; of another one its id."""
            return title(rules()[identifier]) if identifier in rules() else identifier

        def rule_name(identifier: str) -> str:
            """The title of a rule that runs, with its id; of another one the id alone."""
            return f"{rule_title(identifier)} · {identifier}" if identifier in rules() else identifier

        asker = Asker(words, rule_title)

        def measured(alert: Alert) -> dict[str, str]:
            """The field of each measure; of a version that runs no more as the one that does has it."""
            return dict(rules()[alert.rule].measured) if alert.rule in rules() else {}

        whole = request.query_params.get("all") == "true"
        most = self._deps.limits.part_rows

        values: dict[str, Any] = dict(
            t=words,
            lang=language,
            path=request.url.path,
            other_lang=str(request.url.include_query_params(lang="en" if language == "zh" else "zh").query),
            browser_texts=json.dumps(words.for_browser(), ensure_ascii=False),
            now=now,
            relative=lambda millis: wording.relative(millis, now, words),
            due=lambda millis: wording.due(millis, now, words),
            span=lambda millis: wording.span(millis, words),
            dept=lambda code: namer.department(code, language),
            region=lambda code: namer.region(code, language),
            industry=lambda code: namer.industry(code, language),
            clock_title=lambda identifier: namer.clock(identifier, language),
            category=lambda slug: wording.category(slug, words),
            trigger=lambda rule: asker.told(rule.written) if rule.written else [Told(wording.trigger(rule, words))],
            length=lambda millis: wording.length(millis, words),
            runbook=lambda text: wording.runbook(text, language),
            local_text=lambda text: wording.in_language(text, language),
            group=lambda thing: groups.told(thing, words),
            subject=lambda thing: groups.brief(thing, words),
            group_value=lambda field, value: groups.value(field, value, words),
            elsewhere=groups.elsewhere,
            title=title,
            step_words=lambda step: wording.step_words(step, words),
            measured=measured,
            rule_title=rule_title,
            rule_name=rule_name,
            step_details=lambda step: wording.step_details(step, words, namer, rule_name),
            newest=lambda rows: rows if whole else rows[-most:],
            left_out=lambda rows: None if whole or len(rows) <= most else most,
            whole_page=urlencode({**request.query_params, "all": "true"}),
            query=request.query_params,
            host=request.headers.get("host", "localhost"),
            readable=request.method in ("GET", "HEAD"),
            **context,
        )
        values.setdefault("again", {})  # of records that were submitted again; few pages have any
        # What stands on the paper that people hold: nobody outside knows an event by its id here.
        history = values.get("history")
        events = [summary.event for summary in history.events] if isinstance(history, History) else []
        values["numbers"] = {event.id: event.number or event.source_id for event in events}
        # Handed in rather than imported by the templates: blocks do not see what their parent imports.
        values["m"] = self._env.get_template("macros.html").make_module(values)
        html = self._env.get_template(template).render(values)
        response = HTMLResponse(html, status_code=status, headers={"Vary": "Cookie, Accept-Language"})
        response.headers["Content-Language"] = _TAGS[language]
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie(COOKIE, language, max_age=_YEAR, samesite="lax", httponly=True, path="/")
        return response

    def error(self, request: Request, problem: ProblemError) -> HTMLResponse:
        """A problem as a page."""
        response = self.page(
            request,
            "error.html",
            status=problem.status,
            problem=problem,
            known=_with_words(problem.status),
            task=_task_of(request) if problem.status in (409, 422) else None,
        )
        response.headers.update(problem.headers)
        return response

    def refusal(self, request: Request, problem: ProblemError) -> HTMLResponse:
        """A refusal as a page that needs no other file and tells nothing of what is here."""
        words = self.words(request)
        readable = request.method in ("GET", "HEAD")
        other = {**request.query_params, "lang": "zh" if words.language == "en" else "en"}
        html = self._env.get_template("refused.html").render(
            t=words,
            lang=words.language,
            problem=problem,
            known=_with_words(problem.status),
            style=Markup(self._style),  # noqa: S704 - our own file
            again=urlencode(dict(request.query_params)) if readable else None,
            other_lang=urlencode(other) if readable else "",
        )
        response = HTMLResponse(html, status_code=problem.status)
        response.headers.update(
            {
                "Vary": "Accept, Cookie, Accept-Language",
                "Content-Language": _TAGS[words.language],
                "Content-Security-Policy": policy(self._style_source),
                **problem.headers,
            }
        )
        return response


def _task_of(request: Request) -> str | None:
    """The task that a form of the page of its case was about; None if it was about none."""
    match request.url.path.split("/"):
        case ["", "tasks", task, _] if kind_of(task) == "task":
            return task
    return None


def _with_words(status: int) -> int | None:
    """A status that readers are told of in words of its own."""
    return status if f"error.{status}" in catalogue() else None
