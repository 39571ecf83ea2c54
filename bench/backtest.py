"""How fast a rule is tried on history: `python -m bench.backtest [--events 1000000] [--share 40]`.

Fills an embedded store with made-up events, of which one in `--share` meets the condition, merges it, and runs one
backtest over all of them. Prints one line of JSON: seconds by the clock and of the processor, stored events a second.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path

from bench.store import event_of
from jianguan.clock import SystemClock, to_millis
from jianguan.domain.hindsight import BacktestReport
from jianguan.domain.trace import Records
from rules.activation import rule_of
from rules.backtest import Backtest
from rules.reference import Reference
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore

_RUN = 10_000
_FOREVER = 2**52
_SEED = 20_260_101
_DAY = 86_400_000
_RULE = """\
id: tried
version: 1
title: {{zh: 试算, en: Tried}}
owner: market-regulation
legal_basis: 《中华人民共和国消费者权益保护法》第三十九条
on: [complaint, violation, consumer-rights]
condition: category in [{categories}] && amount_fen > 1000
group_by: enterprise
window: {{size: 7d, lateness: 1d}}
trigger:
  count: {{at_least: 5}}
severity: high
case: {{key: enterprise}}
lead: market-regulation
"""


def fill(store: EmbeddedStore, events: int, start: int) -> None:
    """Write so many events, in runs, and merge what they became."""
    chance = random.Random(_SEED)
    for first in range(0, events, _RUN):
        run = [event_of(number, start, chance) for number in range(first, min(first + _RUN, events))]
        store.write(Records(events=run), f"bench-{first}")
    store.command("OPTIMIZE TABLE events FINAL")


def tried(archive: SqlArchive, share: int, start: int) -> BacktestReport:
    """One backtest over everything, as the server runs it but for its pauses."""
    reference = Reference.packaged()
    wanted = ", ".join(f'"matter:{number}"' for number in range(max(1, 40 // share)))
    rule = rule_of(_RULE.format(categories=wanted), reference)
    trial = Backtest(rule, None, reference, start - 365 * _DAY, start + 365 * _DAY)
    archive.count_to_judge(trial.filter, trial.from_, _FOREVER, _FOREVER)
    for block in archive.events_to_judge(trial.filter, trial.fields, trial.from_, _FOREVER, _FOREVER):
        trial.add(block)
    return trial.report()


def main() -> None:
    """Fill, try, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--share", type=int, default=40, help="one event in so many meets the condition; at most 40")
    arguments = parser.parse_args()
    clock = SystemClock()
    start = to_millis(clock.now()) - 30 * _DAY
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        store = EmbeddedStore(Path(folder) / "store")
        store.start()
        try:
            fill(store, arguments.events, start)
            archive = SqlArchive(store, clock)
            began, worked = time.perf_counter(), time.process_time()
            report = tried(archive, arguments.share, start)
            seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        finally:
            store.close()
    result = {
        "events": arguments.events,
        "passed": report.events,
        "alerts": report.alerts,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "events_per_second": round(arguments.events / seconds),
        "events_per_cpu_second": round(arguments.events / cpu),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
