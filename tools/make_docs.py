"""Writes the tables of docs/settings.md and docs/metrics.md from the code.

    python -m tools.make_docs            write them
    python -m tools.make_docs --check    exit 1 if they differ from what would be written

A table stands between two comments in its file; what is around it is written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from pydantic import SecretStr

from dashboards.live import LiveFeed
from dashboards.telemetry import Telemetry
from jianguan.clock import SystemClock
from jianguan.metrics import Metrics
from jianguan.settings import Settings

DOCS: Final = Path(__file__).parents[1] / "docs"
_PLACE: Final = re.compile(r"(<!-- generated: [^\n]*-->\n).*?(<!-- end -->)", re.DOTALL)


def settings_table() -> str:
    """Every setting, in the order of the code."""
    rows = [
        (f"`JIANGUAN_{name.upper()}`", _default(field.default), field.description or "")
        for name, field in Settings.model_fields.items()
    ]
    return _table(("setting", "default", "meaning"), rows)


def metrics_table() -> str:
    """Every metric, as Prometheus sees it."""
    return _table(("metric", "kind", "labels", "meaning"), sorted(_metrics()))


def registry() -> CollectorRegistry:
    """A registry that holds every metric of a process."""
    found = CollectorRegistry()
    Metrics(found)
    clock = SystemClock()

    async def nothing(scope: Any, receive: Any, send: Any) -> None:
        """An application that is never called."""

    Telemetry(nothing, found, clock, LiveFeed(clock))
    return found


def _metrics() -> Iterator[tuple[str, str, str, str]]:
    for collector in set(registry()._collector_to_names):
        assert isinstance(collector, MetricWrapperBase)
        name, kind = collector._name, collector._type
        shown = f"{name}_total" if kind == "counter" else name
        labels = ", ".join(f"`{label}`" for label in collector._labelnames)
        yield f"`{shown}`", str(kind), labels or "–", collector._documentation


def _default(value: Any) -> str:
    if value is None or value in ((), ""):
        return "–"
    if isinstance(value, timedelta):
        return f"`{_duration(value)}`"
    assert not isinstance(value, SecretStr), "a secret has no default"
    return f"`{value}`"


def _duration(value: timedelta) -> str:
    """ISO 8601, the form that the setting takes."""
    if value.days and not value.seconds:
        return f"P{value.days}D"
    return f"PT{value.total_seconds():g}S"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


TABLES: Final = {"settings.md": settings_table, "metrics.md": metrics_table}


def fill(text: str, table: str) -> str:
    """`text` with `table` in its place. ValueError when there is none."""
    made, count = _PLACE.subn(lambda place: place[1] + table + place[2], text)
    if count != 1:
        raise ValueError("the file needs one place for its table: <!-- generated: … --> and <!-- end -->")
    return made


def main(arguments: Sequence[str]) -> int:
    """Write the tables, or with `--check` compare them."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m tools.make_docs [--check]\n")
        return 2
    worst = 0
    for name, make in TABLES.items():
        path = DOCS / name
        text = path.read_text(encoding="utf-8")
        wanted = fill(text, make())
        if not arguments:
            path.write_text(wanted, encoding="utf-8")
        elif text != wanted:
            sys.stderr.write(f"docs/{name} is not what the code says: run python -m tools.make_docs\n")
            worst = 1
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
