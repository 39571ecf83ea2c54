"""Times, durations, money, steps and charts as people read them. Pure; the language is passed in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple
from urllib.parse import quote

from dashboards.actions import ACTIONS
from dashboards.dependencies import RuleInfo
from dashboards.naming import Namer
from dashboards.texts import Language, Words
from jianguan.clock import from_millis
from jianguan.domain.case import Case, Task
from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.ids import kind_of
from jianguan.domain.trace import Step

_UNITS: Final = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000))
_CAUSES: Final = {what: rank for rank, what in enumerate(("accepted", "raised", "opened", "joined", "assigned"))}
_NOTED: Final = ("task-accepted", "task-reported", "task-closed")
_BOUNDS: Final = (("", "≥"), (".at_most", "≤"), (".below", "<"), (".above", ">"))
_HREF: Final = {"event": "/events/", "alert": "/alerts/", "case": "/cases/"}


def local(millis: int) -> datetime:
    """The time in Shanghai."""
    return from_millis(millis).astimezone(SHANGHAI)


def full_time(millis: int) -> str:
    """2026-11-23 15:13:48 UTC+8."""
    return local(millis).strftime("%Y-%m-%d %H:%M:%S UTC+8")


def deadline(millis: int) -> str:
    """The last moment that is in time: a limit at midnight is the day before at 24:00, as notices write it. Who reads
    "2026-12-09 00:00" takes the ninth for the last day."""
    last = local(millis - 1)
    return last.strftime("%Y-%m-%d 24:00 UTC+8") if local(millis).date() != last.date() else full_time(millis)


def brief_deadline(millis: int) -> str:
    """The same without year, seconds and zone: 12-08 24:00."""
    return deadline(millis)[5:16]


def relative(millis: int, now: int, words: Words) -> str:
    """How long ago, in the largest whole unit."""
    ago = max(0, now - millis)
    for unit, size in _UNITS:
        if ago >= size:
            return words(f"rel.{unit}", n=ago // size)
    return words("rel.s", n=ago // 1000) if ago >= 10_000 else words("rel.now")


def due(due_at: int | None, now: int, words: Words) -> str:
    """How much time is left until `due_at`, or since."""
    if due_at is None:
        return words("due.none")
    left = due_at - now
    side = "in" if left >= 0 else "over"
    for unit, size in _UNITS:
        if abs(left) >= size:
            return words(f"due.{side}.{unit}", n=abs(left) // size)
    return words(f"due.{side}.m", n=0)


def span(millis: int, words: Words) -> str:
    """A duration in the largest unit that fits it whole, milliseconds below one second."""
    for unit, size in _UNITS:
        if millis >= size and (millis % size == 0 or millis >= 2 * size):
            return words(f"span.{unit}", n=f"{millis / size:.10g}" if millis % size == 0 else f"{millis / size:.1f}")
    return words("span.s", n=f"{millis / 1000:.10g}") if millis >= 1000 else f"{millis} ms"


def length(millis: int, words: Words) -> str:
    """A duration in running text: "365 days", "1 day", "90 min" when no larger unit fits it whole."""
    for unit, size in _UNITS:
        if millis >= size and millis % size == 0:
            return words(f"length.{unit}1" if millis == size else f"length.{unit}", n=millis // size)
    return span(millis, words)


def trigger(rule: RuleInfo, words: Words) -> str:
    """What has to be so within a rule's window, as a sentence."""
    clauses = [
        words(
            f"clause.{each.measure}",
            of=words.or_else(f"of.{each.of}", each.of or ""),
            n=figure(each.at_least, each.of),
        )
        for each in rule.clauses
    ]
    within = words("trigger.fixed" if rule.fixed else "trigger.sliding", length=length(rule.window_ms, words))
    return words("trigger", within=within, clauses=words("and").join(clauses) or words("clause.any"))


def category(slug: str, words: Words) -> str:
    """The name of a category; the slug itself when it is none of the shared ones."""
    return words.or_else(f"category.{slug}", slug)


def capital(text: str) -> str:
    """The text with a capital at its beginning, as labels have."""
    return text[:1].upper() + text[1:]


def answer(status: int, detail: str) -> str:
    """What a receiver answered: the status, and the detail where it says more."""
    said = detail.removeprefix(f"answered {status}").lstrip("; ")
    return " ".join(each for each in (str(status) if status else "", said) if each)


def money(fen: int | None) -> str:
    """Fen as yuan: ¥1,234.50."""
    return "" if fen is None else f"¥{fen // 100:,}.{fen % 100:02d}"


def figure(value: float, of: str | None) -> str:
    """What a rule measured of a field: money as yuan, everything else as it is."""
    return money(round(value)) if (of or "").endswith("_fen") else number(value)


def number(value: float) -> str:
    """A count with thousands separators, without a trailing .0."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def bounds(thresholds: Mapping[str, float], name: str) -> list[tuple[str, float]]:
    """(sign, bound) of what an alert's value was compared with; see `jianguan.domain.alert.Alert.thresholds`."""
    return [(sign, thresholds[name + end]) for end, sign in _BOUNDS if name + end in thresholds]


def in_language(text: str, language: Language) -> str:
    """A text that may be a JSON object or list by language; other texts as they are."""
    if not text.startswith(("{", "[")):
        return text
    try:
        found = json.loads(text)
    except ValueError:
        return text
    if isinstance(found, dict) and ("zh" in found or "en" in found):
        found = found.get(language) or found.get("zh") or found.get("en")
    return "\n".join(map(str, found)) if isinstance(found, list) else found if isinstance(found, str) else text


def runbook(text: str, language: Language) -> str:
    """The part of a runbook in the reader's language: rules hold the Chinese one, an empty line, and the English."""
    parts = in_language(text, language).split("\n\n")
    return parts[language == "en"] if len(parts) == 2 else "\n\n".join(parts)


def href_of(identifier: str) -> str:
    """The page about an id."""
    prefix = _HREF.get(kind_of(identifier) or "")
    return prefix + identifier if prefix else f"/search?q={quote(identifier, safe='')}"


def enterprise_href(enterprise: str) -> str:
    """The page of an enterprise (`scheme:id`)."""
    return f"/enterprises/{quote(enterprise, safe=':')}"


def in_order(steps: Sequence[Step]) -> list[Step]:
    """Steps as people tell them: what happened in one millisecond of one stage goes by what causes what."""
    return sorted(steps, key=lambda step: (step.at, step.stage, _CAUSES.get(step.what, len(_CAUSES)), step.id))


class Note(NamedTuple):
    """What was last said about a task; `what` and `actor` are its step's, empty when none that is shown has it."""

    text: str
    what: str
    actor: str


def last_note(task: Task, steps: Sequence[Step]) -> Note | None:
    """The note of a task with whoever wrote it: the task itself names who acted last, with a note or without one."""
    if not task.note:
        return None
    own = [step for step in steps if step.subject == task.id and step.what in _NOTED]
    for step in sorted(own, key=lambda step: (step.at, step.id), reverse=True):
        if _detail(step).get("note") == task.note:
            return Note(task.note, step.what, step.actor)
    return Note(task.note, "", "")


def tasks_of(case: Case, tasks: Sequence[Task]) -> list[Task]:
    """Those of that case."""
    return [task for task in tasks if task.case == case.id]


def _detail(step: Step) -> dict[str, object]:
    try:
        found = json.loads(step.detail) if step.detail else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def step_words(step: Step, words: Words) -> str:
    """What happened; the step's own word when it is a new one."""
    return words.or_else(f"step.{step.what}", step.what)


def step_details(step: Step, words: Words, namer: Namer, rule: Callable[[str], str] = str) -> list[tuple[str, str]]:
    """(label, value) of what the step's detail says and readers know words for; `rule` is what a rule is called."""
    found: list[tuple[str, str]] = []
    detail = _detail(step)
    for name, value in detail.items():
        if name == "status" and isinstance(value, int):  # 0: nobody answered, and the words beside it say why
            value = answer(value, str(detail.get("detail") or ""))
        label = words.or_else(f"detail.{name}", "")
        if not label or value in (None, "", [], {}):
            continue
        found.append((label, rule(str(value)) if name == "rule" else _detail_value(name, value, words, namer)))
    return found


def refusal(reason: str, words: Words) -> str:
    """Why an action was refused; what people wrote as a reason stays as it is."""
    action, between, state = reason.partition("-not-allowed-when-")
    if between and action in ACTIONS:
        said = words.or_else(f"state.{state}", state)
        return words("refusal.not-allowed", state=said, action=words(f"act.{action}"))
    return words.or_else(f"refusal.{reason}", reason)


def _detail_value(name: str, value: object, words: Words, namer: Namer) -> str:
    if name == "due_at" and isinstance(value, int):
        return deadline(value)
    if name == "next" and isinstance(value, int):
        return full_time(value)
    if name == "kind":
        return words.or_else(f"notice.{value}", str(value))
    if isinstance(value, bool):
        return words("yes" if value else "no")
    if name == "code":
        return words.or_else(f"quarantine.code.{value}", str(value))
    if name == "reason":
        return refusal(str(value), words)
    if name == "source":
        return in_language(str(value), words.language)
    if name in ("department", "lead"):
        return namer.department(str(value), words.language)
    if name in ("role", "severity"):
        return words.or_else(f"{name}.{value}", str(value))
    return str(value)[:2000]


def polyline(series: Sequence[int], width: int, height: int) -> str:
    """`points` of an SVG line through `series`, scaled to its highest value."""
    if len(series) < 2:
        return ""
    top = max(*series, 1)
    step = width / (len(series) - 1)
    return " ".join(f"{index * step:.1f},{height - value / top * height:.1f}" for index, value in enumerate(series))


def bars(values: Sequence[int], width: int, height: int) -> list[tuple[float, float, float, float]]:
    """(x, y, width, height) of one bar a value; what is not nothing is at least one unit high."""
    if not values:
        return []
    top = max(*values, 1) if len(values) > 1 else max(values[0], 1)
    step = width / len(values)
    found = []
    for index, value in enumerate(values):
        size = max(1.0, value / top * height) if value else 0.0
        found.append((round(index * step, 2), round(height - size, 2), round(step * 0.72, 2), round(size, 2)))
    return found
