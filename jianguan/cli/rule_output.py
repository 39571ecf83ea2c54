"""Explanations, backtests and versions on a terminal, from the API's JSON. Must not know where the JSON came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from rich.console import RenderableType
from rich.text import Text

from jianguan.cli import printable
from jianguan.cli.render import cell, grid, listed, moment
from jianguan.domain.china_time import SHANGHAI
from jianguan.domain.ids import SEPARATOR

_BAR: Final = 50  # characters
_VERDICT_STYLE: Final = {"fired": "bold red", "already": "red", "late": "yellow", "too-old": "yellow"}
_VALUE_STYLE: Final = {"true": "green", "false": "red"}


def explanation(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Why a rule fired on an event, or did not."""
    verdict = str(found.get("verdict"))
    yield Text(f"{found.get('rule')} v{found.get('version')} · {found.get('event')}", "bold")
    yield cell(f"{verdict}: {found.get('why')}", _VERDICT_STYLE.get(verdict, ""))
    group = ", ".join(f"{each.get('field')} = {_group(each)}" for each in listed(found, "group"))
    yield cell(f"group: {group}")
    rows = []
    for each in listed(found, "measures") if found.get("time") else []:
        lacking = float(each.get("lacking") or 0)
        of = f" of {each['of']}" if each.get("of") else ""
        state = cell(f"lacks {_number(lacking)}", "yellow") if lacking else cell("reached", "green")
        needed = cell(f"≥ {_number(each.get('needed'))}")
        rows.append([cell(f"{each.get('name')}{of}"), cell(_number(each.get("value"))), needed, state])
    if rows:
        yield grid("thresholds", ("measure", "value", "needed", ""), rows)
    rows = [
        [cell("  " * int(each.get("depth") or 0) + str(each.get("text"))), _clause_value(each)]
        for each in listed(found, "clauses")
    ]
    yield grid("condition", ("part", "value"), rows)
    if found.get("window"):
        title = (
            f"window {moment(found.get('window_start'))} – {moment(found.get('time'))}: {found['window_count']} facts"
        )
        rows = [[Text(moment(each.get("time"))), cell(each.get("event"))] for each in listed(found, "window")]
        yield grid(title, ("time", "event"), rows)
    if found.get("verdict") == "late":
        yield cell(f"facts older than {moment(found.get('lateness_limit'))} no longer counted", "yellow")
    if found.get("alerts"):
        yield cell(f"alerts: {', '.join(map(str, found['alerts']))}")


def _group(each: Mapping[str, Any]) -> str:
    return "missing" if each.get("value") is None else str(each["value"])


def _clause_value(each: Mapping[str, Any]) -> Text:
    if each.get("value") is None:
        missing = ", ".join(map(str, each.get("missing") or ()))
        return cell(f"lacks {missing}" if missing else f"no value {each.get('error') or ''}".strip(), "dim")
    if each.get("hidden"):
        return cell(f"{each['value']} characters, hidden", "dim")
    return cell(each["value"], _VALUE_STYLE.get(str(each["value"]), ""))


def backtest(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a rule would have done: a chart, the difference, the load."""
    candidate, against = found["candidate"], found.get("against")
    yield cell(f"{candidate['id']} v{candidate['version']} · {candidate['title_zh']}", "bold")
    yield cell(f"{moment(found.get('since'), SHANGHAI)} – {moment(found.get('until'), SHANGHAI)}")
    figures = f"{found['alerts']} alerts of {found['groups']} groups; {found['events']} events looked at, "
    figures += f"{found['facts']} facts, {found['late']} late, {found['limited']} beyond the limit"
    yield cell(figures)
    if against:
        yield cell(
            f"beside v{against['version']} with {found['against_alerts']} alerts: {found['common']} the same, "
            f"{found['added_count']} more, {found['removed_count']} fewer"
        )
    if not found.get("complete", True):
        yield cell("There are so many alerts that the rest was not looked at.", "yellow")
    yield Text("\n".join(chart(found)))
    rows = [
        [cell(each.get("department")), cell(f"{each['per_week']:.1f}"),
         cell(f"{each['against_per_week']:.1f}" if against else ""), cell(each.get("tasks"))]
        for each in listed(found, "loads")
    ]  # fmt: skip
    if rows:
        yield grid("load", ("department", "tasks a week", "before", "tasks in all"), rows)
    for title, name in (("only now", "added"), ("no more", "removed")):
        rows = [
            [Text(moment(each.get("time"))), cell(_key(each.get("key"))), cell(each.get("event_count")),
             cell(each.get("lead"))]
            for each in listed(found, name)[:20]
        ]  # fmt: skip
        if rows and against:
            yield grid(title, ("time", "group", "events", "lead"), rows)


def _key(key: object) -> str:
    return "hidden" if key is None else str(key).replace(SEPARATOR, " · ")


def chart(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each stretch of time: alerts as a bar, and those of the other version as its shadow."""
    buckets = listed(found, "buckets")
    top = max([max(each["alerts"], each["against"]) for each in buckets], default=0) or 1
    against = bool(found.get("against"))
    for each in buckets:
        ours = round(each["alerts"] / top * _BAR) or (1 if each["alerts"] else 0)
        theirs = round(each["against"] / top * _BAR) or (1 if each["against"] else 0)
        bar = "█" * ours + "░" * max(0, theirs - ours)
        figures = f"{each['alerts']}" + (f" ({each['against']})" if against else "")
        yield f"{_start(each['start'], found['bucket_ms'])} {bar} {figures}".rstrip()


def _start(value: Any, bucket: int) -> str:
    local = datetime.fromisoformat(str(value)).astimezone(SHANGHAI)  # stretches of days begin at midnight there
    return local.strftime("%Y-%m-%d %H:%M" if bucket < timedelta(days=1) / timedelta(milliseconds=1) else "%Y-%m-%d")


def warm(found: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What history has for the windows of a rule."""
    rule = found["rule"]
    yield Text(f"{rule.get('id')} v{rule.get('version')}: if it were new now, its windows would begin with", "bold")
    yield cell(
        f"{found.get('facts'):,} facts in {found.get('groups'):,} groups, of {found.get('events'):,} events since"
        f" {moment(found.get('since'))}"
    )
    rows = [
        [cell(_key(each.get("key"))), cell(f"{each.get('facts'):,}"), Text(moment(each.get("newest")))]
        for each in listed(found, "fullest")
    ]
    if rows:
        yield grid("the fullest groups", ("group", "facts", "newest"), rows)


def versions(found: Mapping[str, Any], whole: bool) -> Iterator[RenderableType]:
    """The versions of a rule, newest first, with their texts if `whole`."""
    rows = [
        [cell(each.get("version")), Text(moment(each.get("at"))), cell(each.get("author")), cell(each.get("people")),
         cell(each.get("reason")), cell(each.get("hash"))]
        for each in listed(found, "versions")
    ]  # fmt: skip
    yield grid(str(found.get("rule")), ("version", "activated", "by", "approved by", "reason", "content"), rows)
    if found.get("waiting"):
        people = ", ".join(str(each.get("person")) for each in listed(found, "approvals")) or "nobody"
        yield cell(
            f"version {found['waiting_version']} waits: approved by {people}, {found['needed']} needed", "yellow"
        )
    for each in listed(found, "versions") if whole else []:
        yield Text(f"--- version {each.get('version')} · {each.get('hash')}", "bold")
        yield Text("\n".join(printable(line) for line in str(each.get("text")).split("\n")))


def _number(value: Any) -> str:
    return f"{float(value or 0):,.10g}"
