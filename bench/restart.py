"""How soon a killed system works again: everything in one process, with a million stored facts to fold.

    python -m bench.restart [--facts 1000000]

A store is filled with the events of ten days, each received half a minute after it happened, and what the shipped rules
make of them. `jianguan up` then takes some events, is killed with its whole process group in the middle of them, and
started again. Prints one JSON object: seconds from the start of the process until the pages answer, until it says that
it is ready, until a new event has gone through its windows, and until the windows of all keys are there, so that the
clock decides too; for both starts, with the CPU seconds that the process had used by the last two.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from prometheus_client import CollectorRegistry

from bench.events import PERIOD, events
from bench.latency import cpu_seconds, url_in
from bench.stages import DAY_MS
from jianguan.clock import SystemClock, VirtualClock, to_millis
from jianguan.columns import Columns
from jianguan.metrics import Metrics
from jianguan.settings import load_settings
from jianguan.wiring.parts import tune_memory
from jianguan.wiring.rule_tools import StoredRuleRecord
from jianguan.wiring.tables import load_tables
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from sinks.store import BlockStore
from streams.ingest import Ingest
from streams.rulebook import RuleBook
from streams.seen import SeenEvents
from streams.transport.run import PlainRecord, Run

FACTS_PER_EVENT: Final = 2.24
RUN: Final = 2_000
BATCH: Final = 200_000  # rows
DELAY_MS: Final = 30_000  # from an event to its receipt
EVENTS_UNDER_WAY: Final = 400  # when the system is killed
DEADLINE: Final = 300.0  # seconds


def fill(data: Path, facts: int) -> dict[str, int]:
    """Put events into the embedded store in `data`, until they are about `facts` facts; how many there are."""
    store = EmbeddedStore(data / "store")
    store.start()
    try:
        return fill_store(store, data, facts)
    finally:
        store.close()


def fill_store(store: BlockStore, data: Path, facts: int) -> dict[str, int]:
    """The same for a store that was started. The key of the reporter hash is kept in `data`."""
    clock = SystemClock()
    tables = load_tables(load_settings(data=data), clock)
    until = clock.now()
    # Before the first event: a rule that begins later has its windows filled from history.
    early = VirtualClock(until - PERIOD - timedelta(hours=1))
    record = StoredRuleRecord(store, SqlArchive(store, clock))
    rulebook = RuleBook(tables.folders, tables.rules, early, Metrics(CollectorRegistry()), record)
    rulebook.load()
    count = round(facts / FACTS_PER_EVENT)
    ingest = Ingest(tables.codes, rulebook.matcher, SeenEvents(count), clock, partitions=1, max_age_ms=90 * DAY_MS)
    tune_memory()
    first, period = to_millis(until - PERIOD) + DELAY_MS, to_millis(until) - to_millis(until - PERIOD)
    rows: list[Columns] = []
    found = offset = 0

    def judge(topic: str, records: list[PlainRecord]) -> None:
        nonlocal found
        result = ingest.work(Run(topic, 0, records))
        found += sum(map(len, result.runs))
        rows.extend(map(Columns.of, result.to_store()))

    waiting: defaultdict[str, list[PlainRecord]] = defaultdict(list)
    for offset, (topic, key, value) in enumerate(events(count, until=until)):
        waiting[topic].append(PlainRecord(value, offset, key, (), first + period * offset // count))
        if len(waiting[topic]) == RUN:
            judge(topic, waiting.pop(topic))
        if sum(map(len, rows)) >= BATCH:
            store.write(Columns.joined(rows), f"fill-{offset}")
            rows.clear()
    for topic, records in waiting.items():
        judge(topic, records)
    store.write(Columns.joined(rows), "fill")
    return {"events": count, "facts": found}


@asynccontextmanager
async def system(data: Path) -> AsyncIterator[tuple[int, str, dict[str, float]]]:
    """`jianguan up` on `data` once it works: its process, its address, and how long it took. Killed after it."""
    program = str(Path(sys.executable).with_name("jianguan"))
    server = data / "server.json"
    server.unlink(missing_ok=True)
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        program, "up", "--no-demo", "--data", str(data), "--port", "0",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    took: dict[str, float] = {}
    try:
        async with aiohttp.ClientSession() as client, asyncio.timeout(DEADLINE):
            while (address := await asyncio.to_thread(url_in, server)) is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            while True:
                with suppress(aiohttp.ClientConnectionError):  # the address is known before it answers
                    async with client.get(address + "/readyz") as answer:
                        took.setdefault("pages_s", time.perf_counter() - began)
                        if answer.status == 200:
                            took["ready_s"] = time.perf_counter() - began
                            break
                await asyncio.sleep(0.05)
            before = await correlated(client, address)
            await post(client, address, new_events(1, str(process.pid)))
            while await correlated(client, address) <= before:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.02)
            took["event_through_windows_s"] = time.perf_counter() - began
            took["cpu_s"] = cpu_seconds(process.pid)
            while await figure(client, address, _RESTORING) != 0:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.25)  # an answer takes the process some milliseconds
            took["all_windows_s"] = time.perf_counter() - began
            took["all_windows_cpu_s"] = cpu_seconds(process.pid)
        yield process.pid, address, {name: round(value, 2) for name, value in took.items()}
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def correlated(client: aiohttp.ClientSession, address: str) -> float:
    """How long, in seconds, facts have been put into windows."""
    return await figure(client, address, _WINDOWS)


async def figure(client: aiohttp.ClientSession, address: str, name: str) -> float:
    """A metric; 0 when it has none yet."""
    async with client.get(address + "/metrics") as answer:
        text = await answer.text()
    line = next((each for each in text.splitlines() if each.startswith(name)), "x 0")
    return float(line.rpartition(" ")[2])


_WINDOWS: Final = 'jianguan_rules_seconds_total{part="windows"}'
_RESTORING: Final = "jianguan_restoring_partitions"


def new_events(count: int, name: str) -> list[bytes]:
    """Complaints that the store does not have, each of which gives facts."""
    found = [json.loads(each.value) for each in events(count, shares=(1, 0, 0))]
    now = SystemClock().now().isoformat()
    return [
        json.dumps({**event, "id": f"{name}-{number}", "occurred_at": now}, ensure_ascii=False).encode()
        for number, event in enumerate(found)
    ]


async def post(client: aiohttp.ClientSession, address: str, lines: list[bytes]) -> None:
    """Events in one request."""
    headers = {"content-type": "application/x-ndjson"}
    async with client.post(address + "/v1/events", data=b"\n".join(lines), headers=headers) as answer:
        if answer.status not in (200, 202):
            raise SystemExit(f"events were refused: {answer.status} {await answer.text()}")


async def measure(data: Path) -> dict[str, Any]:
    """Both starts."""
    async with system(data) as (_, address, first), aiohttp.ClientSession() as client:
        await post(client, address, new_events(EVENTS_UNDER_WAY, "under-way"))
    async with system(data) as (_, _, second):
        return {"first_start": first, "after_kill": second}


def main() -> None:
    """Parse arguments, fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write(json.dumps(fill(arguments.child, arguments.facts)) + "\n")
        return
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        data = Path(folder) / "data"
        filling = [sys.executable, "-m", "bench.restart", "--child", str(data), "--facts", str(arguments.facts)]
        made = json.loads(subprocess.run(filling, check=True, capture_output=True, text=True).stdout)
        result = asyncio.run(measure(data))
    sys.stdout.write(json.dumps({"variant": "restart", **made, **result}) + "\n")


if __name__ == "__main__":
    main()
