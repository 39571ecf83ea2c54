"""pathway: tables, an interval join for the sixty minutes up to each event, snapshots in its persistence folder.

Its sliding windows move by a hop and would count other events than the job asks for; a join of the matching events with
themselves over the interval (-60 min, 0] counts the right ones. Results are differential: an alert may be taken back
while counts are revised and come again. Positions are in the persistence folder, at least once. It runs in streaming
mode (`static` ends too early on the embedded broker, whose answer about the end of a topic lags) and is asked after
each of its minibatches how many events it has seen. Its clock starts before its engine does.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any, Final

import pathway as pw

from bench.peers.job import AT_LEAST, CATEGORIES, HOUR, REFUSALS, TRIALS, Meter, Task, moment

LAST_WRITES: Final = 2.0  # s, not measured: the writer does not tell when it is through


class Complaint(pw.Schema):  # type: ignore[misc]  # pathway is not in this environment
    """An event, as the decoder gives it: only the fields that the job reads."""

    source: str
    category: str
    channel: str
    occurred_at: str
    text: str
    amount_fen: int = pw.column_definition(default_value=0)
    platform: str | None = pw.column_definition(default_value=None)
    demand: str | None = pw.column_definition(default_value=None)
    enterprise: str | None = pw.column_definition(default_value=None)


def any_word(text: Any, words: tuple[str, ...]) -> Any:
    """Whether one of the words is in a column of texts."""
    first, *others = words
    found = text.str.count(first) > 0
    for word in others:
        found = found | (text.str.count(word) > 0)
    return found


def main() -> None:
    """Run to the end of the topic."""
    task = Task(sys.argv[1:])
    meter = Meter(task)
    settings = {
        "bootstrap.servers": task.broker,
        "group.id": task.group,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": "6000",
    }
    events = pw.io.kafka.read(
        settings,
        task.topic,
        schema=Complaint,
        format="json",
        json_field_paths={"enterprise": "/enterprise/id"},
        autocommit_duration_ms=200,
        name="events",
    )
    isin = events.category == min(CATEGORIES)
    for category in sorted(CATEGORIES)[1:]:
        isin = isin | (events.category == category)
    matched = events.filter(
        (events.source == "12315")
        & isin
        & (events.channel != "letter")
        & events.enterprise.is_not_none()
        & ~any_word(events.text, TRIALS)
        & (
            any_word(events.text, REFUSALS)
            | (events.amount_fen >= 100_000)
            | events.platform.is_not_none()
            | events.demand.is_not_none()
            | (events.text.str.len() > 60)
        )
    )
    timed = matched.select(
        enterprise=pw.unwrap(matched.enterprise), at=pw.apply_with_type(moment, int, matched.occurred_at)
    )
    earlier = timed.copy()
    pairs = timed.interval_join(
        earlier,
        timed.at,
        earlier.at,
        pw.temporal.interval(1 - HOUR, 0),
        timed.enterprise == earlier.enterprise,
    ).select(event=pw.left.id, enterprise=pw.left.enterprise, at=pw.left.at)
    counted = pairs.groupby(pairs.event).reduce(
        enterprise=pw.reducers.any(pairs.enterprise), at=pw.reducers.any(pairs.at), count=pw.reducers.count()
    )
    crossing = counted.filter(pw.this.count >= AT_LEAST).select(pw.this.enterprise, hour=pw.this.at // HOUR)
    alerts = crossing.groupby(crossing.enterprise, crossing.hour).reduce(crossing.enterprise, crossing.hour)
    pw.io.kafka.write(alerts, settings, task.alerts, format="json")

    waiting = threading.Event()

    def seen(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition and meter.count(row["count"] - meter.seen):
            waiting.set()

    def through(time: int) -> None:
        if waiting.is_set():
            meter.finish()
            threading.Timer(LAST_WRITES, os._exit, (0,)).start()
            waiting.clear()

    pw.io.subscribe(events.reduce(count=pw.reducers.count()), on_change=seen)
    pw.io.subscribe(alerts, on_change=lambda key, row, time, is_addition: None, on_time_end=through)
    meter.start()
    pw.run(
        monitoring_level=pw.MonitoringLevel.NONE,
        persistence_config=pw.persistence.Config(
            pw.persistence.Backend.filesystem(task.state), snapshot_interval_ms=1_000
        ),
    )


if __name__ == "__main__":
    main()
