"""Pieces of text for a terminal: times, cells and tables from the API's JSON. Must not know where the JSON came from.

Every text from outside is a plain cell: its control characters are replaced and it is never read as markup.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jianguan.cli import printable

SEVERITY_STYLE: Final = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan", "info": "dim"}
# Columns that are read or copied in one piece, and those of them that need no name to be understood.
_FIRST: Final = frozenset(
    ("time", "occurred", "raised", "activated", "newest", "id", "subject", "event", "code", "content", "stage", "what",
     "version")
)  # fmt: skip
WHOLE: Final = _FIRST | {"opened", "due", "submission"}
_FOLDED: Final = 24  # characters that any other column has at least
_UNBOUNDED: Final = 1_000_000


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


def in_english(value: Any) -> Any:
    """The English of a text that may be a JSON object by language; anything else as it is."""
    try:
        found = json.loads(value) if isinstance(value, str) and value.startswith("{") else None
    except ValueError:
        return value
    return found["en"] if isinstance(found, dict) and "en" in found else value


def terminal() -> Console:
    """Where to print: as wide as the terminal or, in a pipe or a file, as wide as the longest row."""
    console = Console()
    return console if console.file.isatty() else Console(width=_UNBOUNDED)


def grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[Text]]) -> Grid:
    """A table in which nothing is cut, and what people copy is in one piece."""
    return Grid(title, tuple(columns), [tuple(row) for row in rows])


@dataclass(frozen=True, slots=True)
class Grid:
    """Rows as a table where it is wide enough for ids and times in one piece, else one below the other."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Text, ...]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._least_width() <= options.max_width or WHOLE.isdisjoint(self.columns):
            yield self._table()
            return
        yield Text(self.title, "bold")
        for row in self.rows:
            named = list(zip(self.columns, row, strict=True))
            first = [value for name, value in named if name in _FIRST and value.plain]
            yield Text("  ", overflow="fold").join(first)
            for name, value in named:
                if name not in _FIRST and value.plain:
                    yield Padding(
                        Text.assemble(f"{name}: " if name else "", value, overflow="fold"), (0, 0, 0, 4), expand=False
                    )

    def _least_width(self) -> int:
        """The columns that it needs at least; every column has three for its borders."""
        width = 1
        for number, name in enumerate(self.columns):
            widest = max([row[number].cell_len for row in self.rows], default=0)
            width += 3 + max(cell_len(name), widest if name in WHOLE else min(widest, _FOLDED))
        return width

    def _table(self) -> Table:
        table = Table(title=self.title, title_justify="left", title_style="bold", show_lines=False)
        for name in self.columns:
            table.add_column(name, overflow="fold", no_wrap=name in WHOLE)
        for row in self.rows:
            table.add_row(*row)
        return table


def listed(body: Any, name: str) -> list[Mapping[str, Any]]:
    """The objects under `name`, or the members of a list itself."""
    found = body.get(name, []) if isinstance(body, Mapping) else body
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []
