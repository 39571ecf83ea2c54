"""Pieces of text for a terminal: times, cells and tables from the API's JSON. Must not know where the JSON came from.

Every text from outside is a plain cell: its control characters are replaced and it is never read as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from rich.table import Table
from rich.text import Text

from jianguan.cli import printable

SEVERITY_STYLE: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}


def moment(value: Any, zone: tzinfo | None = None) -> str:
    """A time of the API (milliseconds or RFC 3339) as people read it, in `zone` or else the machine's; "" for None."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return printable(str(value))
    try:
        read = datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int) else datetime.fromisoformat(value)
        return read.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %z")
    except (ValueError, OverflowError, OSError):
        return printable(str(value))


def cell(value: Any, style: str = "") -> Text:
    """Any value as one cell; nothing for None, a list by its members."""
    if value is None:
        return Text("")
    if isinstance(value, list | tuple):
        return Text(printable(", ".join(str(each) for each in value)), style)
    return Text(printable(str(value)), style)


def grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[Text]]) -> Table:
    """A table whose cells fold rather than being cut."""
    table = Table(title=title, title_justify="left", title_style="bold", show_lines=False)
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def listed(body: Any, name: str) -> list[Mapping[str, Any]]:
    """The objects under `name`, or the members of a list itself."""
    found = body.get(name, []) if isinstance(body, Mapping) else body
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
