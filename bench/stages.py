"""Where the time of an event goes: processor time of each stage's own work, one after the other, without a broker.

    python -m bench.stages [--events 40000] [--run 2000] [--batch 60000]

Prints one JSON object, microseconds of processor time an event, all threads of the process counted. What Faust and the
broker's client cost comes on top: compare with bench.whole_path.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from bench.events import events
from jianguan.clock import SystemClock
from jianguan.columns import Columns
from jianguan.metrics import Metrics
from jianguan.settings import load_settings
from jianguan.wiring.parts import tune_memory
from jianguan.wiring.tables import load_tables
from rules.engine import Engine
from sinks.embedded import EmbeddedStore
from streams.correlate import Correlate
from streams.frames import FACTS, RECORDS
from streams.ingest import Ingest
from streams.rulebook import RuleBook
from streams.seen import SeenEvents
from streams.transport.run import PlainRecord, Run

DAY_MS = 86_400_000


class Costs:
    """Processor time by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Count what the body takes, in all threads."""
        started = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] += time.process_time() - started


def runs(count: int, size: int) -> list[Run]:
    """The benchmark's events as an ingest stage gets them, all topics, `size` records each."""
    by_topic: defaultdict[str, list[PlainRecord]] = defaultdict(list)
    for number, (topic, key, value) in enumerate(events(count)):
        by_topic[topic].append(PlainRecord(value, number, key, (), 0))
    return [
        Run(topic, 0, records[start : start + size])
        for topic, records in by_topic.items()
        for start in range(0, len(records), size)
    ]


def measure(count: int, size: int, batch: int) -> dict[str, Any]:
    """Microseconds an event by stage."""
    clock = SystemClock()
    costs = Costs()
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        settings = load_settings(data=Path(folder))
        tables = load_tables(settings, clock)
        rulebook = RuleBook(tables.folders, tables.rules, clock, Metrics(CollectorRegistry()))
        rulebook.load()
        ingest = Ingest(
            tables.codes, rulebook.matcher, SeenEvents(1_000_000), clock, partitions=1, max_age_ms=90 * DAY_MS
        )
        correlate = Correlate(Engine(rulebook.ruleset), clock, partitions=1)
        store = EmbeddedStore(Path(folder) / "store")
        store.start()
        incoming = runs(count, size)
        tune_memory()
        waiting: list[Columns] = []
        facts = alerts = 0
        for run in incoming:
            with costs.of("ingest"):
                result = ingest.work(run)
            runs_of_rules = result.facts.get(0, [])
            with costs.of("facts: to frames and back"):
                back = [facts for frame in FACTS.encode(runs_of_rules) for facts in FACTS.decode(frame)]
            with costs.of("correlate"):
                decided = correlate.work(back)
            facts, alerts = facts + sum(map(len, runs_of_rules)), alerts + len(decided.records.alerts)
            with costs.of("records: to columns"):
                left = [*result.to_store(), decided.records]
                waiting += map(Columns.of, left)
            with costs.of("records: to frames and back, in a cluster"):
                for rows in left:
                    for frame in RECORDS.encode(rows):
                        RECORDS.decode(frame)
            if sum(map(len, waiting)) >= batch or run is incoming[-1]:
                for name, table in Columns.joined(waiting).tables.items():
                    with costs.of(f"insert: {name}"):
                        store.write(Columns({name: table}), f"{run.topic}-{run.first_offset}")
                waiting = []
        with costs.of("merges after the end"):
            time.sleep(2)
        store.close()
    each = {name: round(seconds / count * 1e6, 2) for name, seconds in costs.seconds.items() if seconds > count * 1e-8}
    return {"events": count, "facts": facts, "alerts": alerts, "microseconds_per_event": each}


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--run", type=int, default=2_000)
    parser.add_argument("--batch", type=int, default=60_000)
    arguments = parser.parse_args()
    result = measure(arguments.events, arguments.run, arguments.batch)
    sys.stdout.write(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
