"""How fast a rule is tried on history: `python -m bench.backtest [--events 10000000] [--share 40]`.

Fills an embedded store with made-up events of thirty days, of which one in `--share` meets the condition, merges it,
and runs one backtest over all of them, as the server does but for its pauses. The store makes the events itself, which
takes a few minutes for ten million. Prints one line of JSON: seconds by the clock and of the processor, stored events a
second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from jianguan.clock import SystemClock, to_millis
from jianguan.domain.hindsight import BacktestReport
from rules.activation import rule_of
from rules.backtest import Backtest
from rules.reference import Reference
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore

TARGET_SECONDS: Final = 20.0  # for ten million events
_RUN: Final = 250_000
_FOREVER: Final = 2**52
_DAY: Final = 86_400_000
_DAYS: Final = 30
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


# A made-up event by its number: `hash` is below 2**64 and evenly spread, so that ids are in no order of time, as real
# ones. A few enterprises, `named`, occur often.
_MADE: Final = {
    "id": "concat('ev-', lower(leftPad(hex(hash), 16, '0')), lower(leftPad(hex(number), 8, '0')))",
    "source": "'bench'",
    "source_id": "concat('B', toString(number))",
    "kind": "['complaint', 'violation', 'consumer-rights'][1 + number % 3]",
    "nature": "'complaint'",
    "number": "concat('12315', leftPad(toString(number), 11, '0'))",
    "category": "concat('matter:', toString(number % 40))",
    "occurred_at": "fromUnixTimestamp64Milli(received - toInt64(hash % 10000000), 'UTC')",
    "received_at": "fromUnixTimestamp64Milli(received, 'UTC')",
    "enterprise": "concat('uscc:91110000', leftPad(toString(named), 10, '0'))",
    "enterprise_name": "concat('第', toString(named), '号商贸有限公司')",
    "region": "concat('cn:', toString(110101 + number % 300))",
    "industry": "concat('cn:', ['F52', 'H62', 'P83', 'O80'][1 + number % 4])",
    "channel": "'app'",
    "address": "'建国路八十八号'",
    "amount_fen": "toInt64(hash % 1000000)",
    "severity": "toInt64(number % 5)",
    "status": "'open'",
    "demand": "'退款'",
    "reporter": "lower(leftPad(hex(intHash64(hash)), 16, '0'))",
    "historical": "false",
    "content_hash": "lower(concat(leftPad(hex(hash), 16, '0'), leftPad(hex(number), 16, '0')))",
}  # fmt: skip


def fill(store: EmbeddedStore, events: int, start: int) -> None:
    """Have the store make so many events, in runs, and merge them."""
    sql = (
        f"INSERT INTO events ({', '.join(f'`{name}`' for name in _MADE)}) SELECT {', '.join(_MADE.values())} FROM"
        " (SELECT number, intHash64(number) AS hash, toUInt64(60000 * pow(hash / 18446744073709551616., 3)) AS named,"
        " {start:Int64} + toInt64(number * {step:Float64}) AS received FROM numbers({first:UInt64}, {count:UInt64}))"
    )
    for first in range(0, events, _RUN):
        count = min(_RUN, events - first)
        store.command(sql, {"first": first, "count": count, "start": start, "step": _DAYS * _DAY / events})
        sys.stderr.write(f"\r{first + count:,} events")
    sys.stderr.write("\n")
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
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--share", type=int, default=40, help="one event in so many meets the condition; at most 40")
    arguments = parser.parse_args()
    clock = SystemClock()
    start = to_millis(clock.now()) - _DAYS * _DAY
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
