"""`jianguan trace`: the whole history of any id, through the server's API, without any personal data."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import click
from rich.console import RenderableType
from rich.text import Text

from jianguan.cli.render import SEVERITY_STYLE, cell, grid, in_english, listed, moment, terminal
from jianguan.cli.server import Client, find_server
from jianguan.domain.masking import redact
from jianguan.domain.trace import STAGES

_STAGE_NAMES: Final = {number: name for name, number in STAGES.items()}
_DETAIL_SHOWN: Final = 160  # characters
_WHAT_STYLE: Final = {"raised": "red", "quarantined": "yellow", "late": "yellow", "duplicate": "dim"}
_NEVER_SHOWN: Final = ("text", "reporter", "raw")


@click.command()
@click.argument("identifier", metavar="ID")
@click.option("--server", metavar="URL", help="The server; else JIANGUAN_SERVER, else the one that runs here.")
@click.option("--data", type=click.Path(path_type=Path), help="Data folder of the server that runs here.")
@click.option("--json", "as_json", is_flag=True, help="Print the history as JSON.")
def command(identifier: str, server: str | None, data: Path | None, as_json: bool) -> None:
    """Show the whole history of any id.

    ID is an event, alert, case, task, delivery, fact or quarantined record (ev-…, al-…, …; the prefix may be left out),
    an enterprise (scheme:id or the bare code), the number of a complaint, or the id that a source gave.
    """
    with Client(find_server(data, server, os.environ), os.environ) as client:
        history = client.get(f"/v1/history/{quote(identifier, safe=':')}")
    if as_json:
        click.echo(json.dumps(without_personal(history), ensure_ascii=False, indent=2))
        return
    console = terminal()
    for part in timeline(history):
        console.print(part)


def without_personal(value: Any) -> Any:
    """The history without the fields that hold personal data, should a server send any, and with demands masked."""
    if isinstance(value, list):
        return [without_personal(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {name: without_personal(each) for name, each in value.items() if name not in _NEVER_SHOWN}
    if isinstance(kept.get("demand"), str):
        kept["demand"] = redact(kept["demand"]).text
    return kept


def timeline(history: Mapping[str, Any]) -> Iterator[RenderableType]:
    """What a person sees of a history: what it is about, then every step in its order."""
    safe = without_personal(history)
    yield Text(f"{cell(safe.get('kind'))} {cell(safe.get('asked'))}", "bold")
    yield from _events(safe)
    yield from _alerts(safe)
    yield from _cases(safe)
    yield from _deliveries(safe)
    steps = listed(safe, "steps")
    if steps:
        columns = ("time", "stage", "what", "subject", "who", "about", "detail")
        yield grid("steps", columns, (_step(step) for step in steps))
    if safe.get("truncated"):
        yield Text("There is more than is shown here.", "yellow")


def _step(step: Mapping[str, Any]) -> list[Text]:
    detail = str(step.get("detail") or "")
    detail = "" if detail == "{}" else detail
    short = detail if len(detail) <= _DETAIL_SHOWN else detail[:_DETAIL_SHOWN] + "…"
    return [
        Text(moment(step.get("at"))),
        cell(_STAGE_NAMES.get(step.get("stage", 0), step.get("stage"))),
        cell(step.get("what"), _WHAT_STYLE.get(str(step.get("what")), "")),
        cell(step.get("subject")),
        cell(step.get("actor")),
        cell(step.get("links")),
        cell(short),
    ]


def _events(history: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = []
    for item in listed(history, "events"):
        event = item["event"] if isinstance(item.get("event"), Mapping) else item
        who = event.get("enterprise_name") or event.get("enterprise")
        rules = item.get("rules")
        rows.append(
            [
                Text(moment(event.get("occurred_at"))),
                *(cell(event.get(name)) for name in ("id", "kind", "category")),
                cell(who),
                cell(event.get("region")),
                cell(rules),
            ]
        )
    if rows:
        yield grid("events", ("occurred", "id", "kind", "category", "enterprise", "region", "rules"), rows)


def _alerts(history: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = [
        [
            Text(moment(alert.get("raised_at"))),
            cell(alert.get("id")),
            cell(alert.get("severity"), SEVERITY_STYLE.get(str(alert.get("severity")), "")),
            cell(alert.get("title_zh")),
            cell(f"{alert.get('rule')} v{alert.get('version')}"),
            cell(", ".join(f"{name} {value:g}" for name, value in (alert.get("values") or {}).items())),
            cell(alert.get("event_count")),
        ]
        for alert in listed(history, "alerts")
    ]
    if rows:
        yield grid("alerts", ("raised", "id", "severity", "title", "rule", "values", "events"), rows)


def _cases(history: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = [
        [
            *(cell(case.get(name)) for name in ("id", "state", "title_zh", "lead")),
            *(Text(moment(case.get(name))) for name in ("opened_at", "due_at")),
            cell(in_english(case.get("clock_source"))),
        ]
        for case in listed(history, "cases")
    ]
    if rows:
        yield grid("cases", ("id", "state", "title", "lead", "opened", "due", "by"), rows)
    rows = [
        [
            *(cell(task.get(name)) for name in ("id", "department", "role", "state")),
            Text(moment(task.get("due_at"))),
            cell("overdue" if task.get("overdue") else "", "red"),
        ]
        for task in listed(history, "tasks")
    ]
    if rows:
        yield grid("tasks", ("id", "department", "role", "state", "due", ""), rows)


def _deliveries(history: Mapping[str, Any]) -> Iterator[RenderableType]:
    rows = [
        [cell(each.get(name)) for name in ("id", "receiver", "kind", "state", "attempt", "last_detail")]
        for each in listed(history, "deliveries")
    ]
    if rows:
        yield grid("deliveries", ("id", "receiver", "kind", "state", "tries", "last"), rows)
    rows = [
        [Text(moment(each.get("at"))), *(cell(each.get(name)) for name in ("id", "code", "field", "message", "state"))]
        for each in listed(history, "quarantine")
    ]
    if rows:
        yield grid("quarantine", ("time", "id", "code", "field", "message", "state"), rows)
