"""What the embedded store costs: rows a second by size of run, and how long a look-up takes among a million events.

`python -m bench.store` prints one line of JSON a measurement. `--events` says how many events the look-ups run among,
`--fsync` makes every write reach the disk.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from jianguan.clock import Clock, SystemClock, to_millis
from jianguan.domain import ids
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact, FactsWanted
from jianguan.domain.trace import Records, Step
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore

_FACT_EVERY = 5
_ALERT_EVERY = 500
_ENTERPRISES = 20_000
_WATCHED_S = 15
_KINDS = ("complaint", "violation", "consumer-rights")


def event_of(number: int, start: int, chance: random.Random) -> Event:
    """A made-up event: the enterprise is one of many, a few of them often."""
    enterprise = int(_ENTERPRISES * chance.random() ** 3)
    return Event(
        id=ids.event_id("bench", str(number)),
        source="bench",
        source_id=f"B{number:09d}",
        kind=_KINDS[number % 3],
        nature="complaint",
        number=f"12315{number:011d}",
        category=f"matter:{number % 40}",
        matter=None,
        occurred_at=start - chance.randrange(10_000_000),
        received_at=start + number // 20,
        enterprise=f"uscc:91110000{enterprise:010d}",
        enterprise_name=f"第{enterprise}号商贸有限公司",
        region=f"gbt2260:{110101 + number % 300}",
        industry=f"gbt4754:{number % 90}",
        product=None,
        platform=None,
        channel="app",
        address="建国路八十八号",
        latitude=None,
        longitude=None,
        amount_fen=chance.randrange(1_000_000),
        result=None,
        severity=number % 5,
        critical_count=None,
        serious_count=None,
        minor_count=None,
        penalty_fen=None,
        inspection=None,
        right=None,
        outcome=None,
        compensation_fen=None,
        status="open",
        demand="退款",
        reporter=f"{chance.randrange(1 << 60):016x}",
        tags=(),
        historical=False,
        content_hash=f"{chance.randrange(1 << 62):032x}",
        text="我在该店买到过期食品" * 4,
    )


def step_of(subject: str, what: str, at: int, number: int, *links: str, stage: int = 1) -> Step:
    """A step of the trace."""
    receipt = f"complaints/{number % 4}/{number}" if stage == 1 else ""
    return Step(ids.make_id("st", subject, what), subject, at, stage, what, "system", receipt, "", links, "{}")


def run_of(first: int, size: int, start: int, chance: random.Random, *, whole: bool = False) -> Records:
    """Events with their steps; with `whole` also facts, and now and then an alert, its case and its task."""
    events = [event_of(number, start, chance) for number in range(first, first + size)]
    records = Records(
        events=events,
        trace=[step_of(each.id, "accepted", each.received_at, first + index) for index, each in enumerate(events)],
    )
    if whole:
        records.facts += [_fact(each) for each in events[::_FACT_EVERY]]
        for index in range(0, size, _ALERT_EVERY):
            _case(records, events[index : index + 20 * _FACT_EVERY : _FACT_EVERY])
    return records


def _fact(of: Event) -> Fact:
    return Fact(
        ids.fact_id("bench-rule", 1, of.id), "bench-rule", 1, of.enterprise or "", of.occurred_at, of.id,
        of.received_at, None, None, of.enterprise, of.enterprise_name, of.region, of.industry, of.category,
    )  # fmt: skip


def _case(records: Records, events: list[Event]) -> None:
    last = events[-1]
    key, now = last.enterprise or "", last.received_at
    raised = Alert(
        ids.alert_id("bench-rule", key, last.occurred_at), "bench-rule", 1, "00", key, last.occurred_at,
        last.occurred_at + 3_600_000, "high", "标题", "title", last.occurred_at, last.occurred_at - 3_600_000, now, now,
        {"count": 20.0}, {"count": 5.0}, tuple(each.id for each in events), len(events), key, last.enterprise_name,
        last.region, last.industry, last.category, key, "market", (), None, "", "", True,
    )  # fmt: skip
    opened = Case(
        ids.case_id(raised.id, 1), raised.id, 1, "open", "high", "标题", "title", "market", key, last.enterprise_name,
        last.region, now, None, None, "", None, (raised.id,), 1, 1,
    )  # fmt: skip
    task = Task(
        ids.task_id(opened.id, "market"), opened.id, opened.case_key, "market", "lead", "assigned", now, None, None,
        None, None, False, "system", "", 1,
    )  # fmt: skip
    records.alerts.append(raised)
    records.cases.append(opened)
    records.tasks.append(task)
    records.trace += [
        step_of(raised.id, "raised", now, 0, *raised.events, stage=2),
        step_of(opened.id, "opened", now, 0, raised.id, stage=3),
        step_of(task.id, "assigned", now, 0, opened.id, stage=3),
    ]


def measure_writes(store: EmbeddedStore, clock: Clock, size: int, total: int, first: int) -> dict[str, object]:
    """Insert `total` events and as many steps in runs of `size`."""
    chance = random.Random(size)
    start = to_millis(clock.now())
    runs = [run_of(first + each * size, size, start, chance) for each in range(total // size)]
    took = []
    for number, run in enumerate(runs):
        before = clock.monotonic()
        store.write(run, f"bench-{size}-{number}")
        took.append(clock.monotonic() - before)
    rows = 2 * len(runs) * size
    return {
        "what": "write",
        "run": size,
        "rows": rows,
        "rows_per_s": round(rows / sum(took)),
        "us_per_row": round(sum(took) / rows * 1e6, 2),
        "median_ms_per_run": round(statistics.median(took) * 1e3, 1),
    }


def measure_look_ups(store: EmbeddedStore, clock: Clock, events: int) -> list[dict[str, object]]:
    """Fill the store, then ask for histories, the overview and the lists."""
    start, chance, size = to_millis(clock.now()), random.Random(7), 20_000
    kept: list[Records] = []
    before = clock.monotonic()
    for first in range(0, events, size):
        run = run_of(first, size, start, chance, whole=True)
        store.write(run, f"fill-{first}")
        kept.append(
            Records(events=run.events[::5_000], alerts=run.alerts[:1], cases=run.cases[:1], tasks=run.tasks[:1])
        )
    del run
    gc.collect()
    archive = SqlArchive(store, clock)
    names = {
        "event": [each.id for part in kept for each in part.events],
        "number": [each.number or "" for part in kept for each in part.events],
        "source id": [each.source_id for part in kept for each in part.events],
        "alert": [each.id for part in kept for each in part.alerts],
        "case": [each.id for part in kept for each in part.cases],
        "task": [each.id for part in kept for each in part.tasks],
        "enterprise": [each.enterprise or "" for part in kept for each in part.events],
    }
    results: list[dict[str, object]] = [
        {"what": "fill, made and written", "events": events, "s": round(clock.monotonic() - before, 1)}
    ]
    for kind, choices in names.items():
        took = []
        for name in choices[:20]:
            before = clock.monotonic()
            if archive.history(name) is None:
                raise RuntimeError(f"{name} has no history")
            took.append(clock.monotonic() - before)
        results.append(_times(f"history of {kind}", took) | {"events": events})
    for what, ask in (
        (
            "one event by id",
            lambda: store.query("SELECT * FROM events WHERE id = {id:String}", {"id": names["event"][3]}),
        ),
        ("overview afresh", lambda: SqlArchive(store, clock).overview(start)),
        ("overview again", lambda: archive.overview(start)),
        ("newest alerts", archive.alerts),
        ("newest cases", archive.cases),
        ("enterprises by name", lambda: archive.enterprises("第77号")),
        ("facts to fold", lambda: sum(1 for _ in archive.facts_to_fold(FactsWanted("bench-rule", 1, 86_400_000)))),
        ("seen events", lambda: sum(1 for _ in archive.seen_events(200_000))),
    ):
        took = []
        for _ in range(5):
            before = clock.monotonic()
            ask()
            took.append(clock.monotonic() - before)
        results.append(_times(what, took) | {"events": events})
    took = []
    for _ in range(_WATCHED_S):
        before = clock.monotonic()
        archive.overview(start)
        took.append(clock.monotonic() - before)
        time.sleep(max(0.0, before + 1.0 - clock.monotonic()))
    results.append(_times("overview once a second", took) | {"events": events})
    return results


def _times(what: str, took: list[float]) -> dict[str, object]:
    return {
        "what": what,
        "median_ms": round(statistics.median(took) * 1e3, 1),
        "worst_ms": round(max(took) * 1e3, 1),
    }


def main() -> None:
    """Measure, and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--writes", type=int, default=100_000)
    options.add_argument("--fsync", action="store_true")
    chosen = options.parse_args()
    clock = SystemClock()
    gc.set_threshold(50_000)
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddedStore(Path(folder), fsync=chosen.fsync)
        store.start()
        try:
            for size in (1_000, 10_000) if chosen.writes else ():
                print(json.dumps(measure_writes(store, clock, size, chosen.writes, 10**9 * size)), flush=True)
            if chosen.events:
                for each in measure_look_ups(store, clock, chosen.events):
                    print(json.dumps(each), flush=True)
        finally:
            store.close()


if __name__ == "__main__":
    main()
