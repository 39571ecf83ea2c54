"""What a worker does under pressure: a store that is away, a burst, a key and a partition that are hot.

    python -m bench.pressure [outage burst hot-key hot-partition] [--minutes 10] [--rate 5000] [--burst 1000000]
                             [--check]

The broker and the sender run on one core, a worker with all stages and the embedded store on the other.

- `outage`: events at an even rate; after `--calm` the store takes nothing for `--minutes`, then it does again.
- `burst`: `--burst` events at once.
- `hot-key`: 100,000 events a minute about a single enterprise, for two minutes.
- `hot-partition`: eight partitions, and nine of ten events in one of them: all that came in within ten days, each with
  the time at which it did.

A receiver that answers late: `python -m bench.latency --beside 30`.

Prints a line of JSON for each: events sent and stored by outcome, events that the store has twice, the most memory of
worker and broker, the most that waited for the store, and how long after the trouble nothing waited any more. Ends with
1 when something was lost. `--check` also holds the alerts against those of the pure engine, which takes as long again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import uvloop
from aiokafka import AIOKafkaProducer

from bench.events import ENTERPRISES, SEED, Wire, events, moment
from bench.one_worker import Worker
from bench.transport import pin, start_beside
from jianguan.clock import SystemClock, to_millis
from jianguan.columns import Columns
from jianguan.domain.admission import Reference as Codes
from jianguan.domain.admission import admit, decode
from jianguan.domain.industries import Industries
from jianguan.domain.regions import Regions
from jianguan.domain.trace import Records
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from jianguan.errors import UnavailableError
from jianguan.ports import Store
from rules.reference import Reference
from rules.ruleset import RuleSet
from rules.running import Running
from streams.topics import all_topics, ensure_topics

TICK: Final = 0.5
HOT_SHARE: Final = 10  # one event of so many is not in the hot partition
PATIENCE: Final = 3_600.0  # seconds that a worker may take after the last event


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is sent, and what goes wrong. Times in seconds."""

    name: str
    count: int
    rate: float = 0.0  # events a second; 0: as fast as they can be sent
    away: float = 0.0  # how long the store takes nothing
    calm: float = 0.0  # before that, and after it
    enterprises: int = ENTERPRISES
    partitions: int = 1

    def events(self, until: datetime) -> Iterator[Wire]:
        """Of the days before `until`; the same ones each time that this is asked."""
        return events(self.count, SEED, until, enterprises=self.enterprises)

    def partition(self, number: int) -> int:
        """Where the event of this number goes."""
        return number // HOT_SHARE % self.partitions if self.partitions > 1 and number % HOT_SHARE == 0 else 0

    def received(self, number: int, until: datetime) -> int | None:
        """When the event of this number came in (ms), None for the time at which it is sent."""
        return to_millis(moment(number, self.count, until)) if self.partitions > 1 else None


def scenarios(minutes: float, rate: float, calm: float, burst: int, hot_minutes: float) -> dict[str, Scenario]:
    """By name."""
    hot_rate = 100_000 / 60
    made = (
        Scenario("outage", round((2 * calm + 60 * minutes) * rate), rate, away=60 * minutes, calm=calm),
        Scenario("burst", burst),
        Scenario("hot-key", round(hot_minutes * 100_000), hot_rate, enterprises=1),
        Scenario("hot-partition", burst // 2, partitions=8),
    )
    return {each.name: each for each in made}


class Away:
    """A store that may be away for a while."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.away = False
        self.refused = 0  # writes

    def write(self, records: Records | Columns, token: str) -> None:
        """As the store, or UnavailableError."""
        if self.away:
            self.refused += 1
            raise UnavailableError("the store is away")
        self._store.write(records, token)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def work(broker: str, folder: Path, scenario: Scenario) -> None:
    """The worker, in a process of its own. Says every half second what is stored; reads how many were sent."""
    made: list[Away] = []

    def before(store: Store) -> Any:
        made.append(Away(store))
        return made[0]

    worker = await Worker(folder, scenario.partitions, before).opened()
    (store,) = made
    await worker.start(broker)
    say(ready=True)
    loop = asyncio.get_running_loop()
    source = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(source), sys.stdin)
    sent = asyncio.create_task(source.readline())
    if scenario.away:
        loop.call_later(scenario.calm, setattr, store, "away", True)
        loop.call_later(scenario.calm + scenario.away, setattr, store, "away", False)
    stop = False
    while not stop:
        stop = sent.done() and worker.stored >= int(sent.result())
        hot = worker.by_partition["0"]
        say(stored=worker.stored, hot=hot, mb=resident(os.getpid()), away=store.away, waiting=worker.waiting)
        await asyncio.sleep(0 if stop else TICK)
    await worker.through()
    ids = worker.store.query("SELECT count(), uniqExact(id) FROM events")[0]
    alerts = [name for (name,) in worker.store.query("SELECT DISTINCT id FROM alerts")]
    say(
        outcomes=dict(worker.outcomes), rows=ids[0], events=ids[1], alerts=alerts, refused_writes=store.refused,
        limited=worker.limited,
    )  # fmt: skip
    await worker.stop()


def say(**what: Any) -> None:
    """One line to the parent."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def resident(pid: int) -> int:
    """MB of a process that are in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


class Watch:
    """What a scenario is seen to do."""

    def __init__(self, scenario: Scenario, broker: EmbeddedBroker) -> None:
        self._scenario = scenario
        self._broker = broker
        self.until = SystemClock().now()
        self.sent = self.sent_hot = 0
        self.ready = asyncio.Event()
        self.last: dict[str, Any] = {}
        self.worker_mb: list[int] = []
        self.broker_mb: list[int] = []
        self.most_waiting = self.most_behind = 0
        self.back = 0.0  # when the trouble was over, and everything sent
        self.recovered: float | None = None
        self.cold_done: float | None = None

    def take(self, line: dict[str, Any]) -> None:
        """One line of the worker."""
        self.last = line
        if "ready" in line:
            self.ready.set()
        if "stored" not in line:
            return
        now = time.monotonic()
        self.worker_mb.append(line["mb"])
        self.broker_mb.append(resident(self._broker.pid or 0))
        self.most_waiting = max(self.most_waiting, line["waiting"])
        behind = self.sent - line["stored"]
        self.most_behind = max(self.most_behind, behind)
        if not self.back or line["away"]:
            return
        # An even stream is never wholly stored: what came in the last second is on its way.
        if self.recovered is None and behind <= self._scenario.rate:
            self.recovered = now - self.back
        if self.cold_done is None and line["stored"] - line["hot"] >= self.sent - self.sent_hot:
            self.cold_done = now - self.back


async def send(broker: str, scenario: Scenario, watch: Watch) -> None:
    """All events at their rate."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    began = time.monotonic()
    try:
        pending: list[Any] = []
        for number, (topic, key, value) in enumerate(scenario.events(watch.until)):
            partition = scenario.partition(number)
            at = scenario.received(number, watch.until)
            pending.append(await producer.send(topic, value, key, partition=partition, timestamp_ms=at))
            watch.sent_hot += partition == 0
            if len(pending) == 500:
                await asyncio.gather(*pending)
                watch.sent += len(pending)
                pending = []
                if scenario.away and not watch.back and time.monotonic() > began + scenario.calm + scenario.away:
                    watch.back = began + scenario.calm + scenario.away
                if scenario.rate:
                    await asyncio.sleep(max(0.0, began + number / scenario.rate - time.monotonic()))
        await asyncio.gather(*pending)
        watch.sent += len(pending)
    finally:
        await producer.stop()
    watch.back = watch.back or time.monotonic()


async def run(scenario: Scenario, check: bool) -> dict[str, Any]:
    """One scenario, from an empty broker and an empty store."""
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        broker = EmbeddedBroker(BrokerOptions(Path(folder)), SystemClock())
        address = await start_beside(broker)
        pin(1)
        try:
            await ensure_topics(address, all_topics("", scenario.partitions))
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.pressure", "--child", address, "--folder", folder,
                "--scenario", json.dumps([getattr(scenario, each) for each in Scenario.__slots__]),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
            )  # fmt: skip
            watch = Watch(scenario, broker)
            reading = asyncio.create_task(read(child, watch))
            await watch.ready.wait()
            started = time.monotonic()
            await send(address, scenario, watch)
            took = time.monotonic() - started
            assert child.stdin is not None
            child.stdin.write(b"%d\n" % watch.sent)
            await asyncio.wait_for(reading, PATIENCE)
            whole = time.monotonic() - started
        finally:
            await broker.stop()
    return result(scenario, watch, took, whole, check)


async def read(child: asyncio.subprocess.Process, watch: Watch) -> None:
    """Everything that the worker says."""
    assert child.stdout is not None
    async for line in child.stdout:
        watch.take(json.loads(line))
    if await child.wait():
        raise SystemExit(f"the worker ended with {child.returncode}")


def result(scenario: Scenario, watch: Watch, took: float, whole: float, check: bool) -> dict[str, Any]:
    """The figures."""
    last = watch.last
    found: dict[str, Any] = {
        "scenario": scenario.name,
        "sent": watch.sent,
        "sent_per_second": round(watch.sent / took),
        "seconds": round(whole, 1),
        "outcomes": last["outcomes"],
        "lost": watch.sent - last["events"],
        "twice": last["rows"] - last["events"],
        "alerts": len(last["alerts"]),
        "limited": last["limited"],
        "worker_mb": {"first": watch.worker_mb[0], "most": max(watch.worker_mb), "last": watch.worker_mb[-1]},
        "broker_mb": {"most": max(watch.broker_mb), "last": watch.broker_mb[-1]},
        "most_behind": watch.most_behind,
        "most_runs_waiting_for_the_store": watch.most_waiting,
        "refused_writes": last["refused_writes"],
        "recovered_after_seconds": None if watch.recovered is None else round(watch.recovered, 1),
    }
    if scenario.partitions > 1:
        found["others_stored_after_seconds"] = None if watch.cold_done is None else round(watch.cold_done, 1)
    if check:
        wanted = expected(scenario, watch.until)
        found["alerts_missing"] = len(wanted - set(last["alerts"]))
    return found


def expected(scenario: Scenario, until: datetime) -> set[str]:
    """Ids of the alerts that the pure engine raises at once. Those that the clock settles come days later."""
    reference = Reference.packaged()
    running = Running(RuleSet.load([RuleSet.library_path()], reference), reference)
    codes = Codes(Regions.load(), Industries.load(), bytes(32))
    now = to_millis(until)
    found: set[str] = set()
    for topic, _, value in scenario.events(until):
        event, _ = admit(decode(value, topic), codes, now)
        found.update([alert.id for alert in running.take(event)])
    return found


async def everything(arguments: argparse.Namespace) -> int:
    """All scenarios that were asked for; the exit code."""
    known = scenarios(arguments.minutes, arguments.rate, arguments.calm, arguments.burst, arguments.hot_minutes)
    lost = False
    for name in arguments.scenarios or known:
        found = await run(known[name], arguments.check)
        say(**found)
        lost |= bool(found["lost"] or found.get("alerts_missing"))
    return int(lost)


def main() -> None:
    """Parse arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the store is away")
    parser.add_argument("--rate", type=float, default=5_000.0, help="events a second of `outage`")
    parser.add_argument("--calm", type=float, default=10.0, help="seconds before the store is away, and after it")
    parser.add_argument("--burst", type=int, default=1_000_000)
    parser.add_argument("--hot-minutes", type=float, default=2.0)
    parser.add_argument("--check", action="store_true", help="hold the alerts against the pure engine's")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--scenario", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        pin(0)
        uvloop.run(work(arguments.child, arguments.folder, Scenario(*arguments.scenario)))
    else:
        raise SystemExit(uvloop.run(everything(arguments)))


if __name__ == "__main__":
    main()
