"""What a second worker is worth: one worker on one core, then two on two, with the shipped rules.

    python -m bench.workers --broker HOST:PORT --store clickhouse://HOST:PORT
                            [--events 200000] [--partitions 8] [--repeats 3] [--seed N] [--smoke]

Broker and store are a Kafka and a ClickHouse server of yours on this machine, and may use every core. Each round has a
topic prefix, a group and a database of its own. The workers start, take their partitions, and are stopped in mid-air
while the source topics are filled; the clock runs from when they go on until the group has committed everything on
every topic, the records too.

Prints a line of JSON for each round and one for all: events a second by the clock; CPU seconds per 100,000 events of
each worker, the broker and the store, and the share of the events that each worker took in. `by_clock` is how many
times as many events a second two workers do. Broker and store want the same two cores: `most_by_clock` is what it could
be at most, from the processor time that all of them took. `by_cpu` leaves out what the others took: how many times as
many events two workers do in the processor time of the busier one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from aiokafka import AIOKafkaProducer

from bench.events import SEED, Wire, events
from jianguan.errors import UnavailableError
from jianguan.wiring.positions import GroupPositions
from jianguan.wiring.takeover import READ
from sinks.server_pool import Address, Limits, ServerPool

CORES: Final = 2
START: Final = 90.0  # seconds until a worker has its partitions
LONGEST: Final = 1_800.0  # seconds of a round
SETTLED: Final = 8.0  # seconds without another assignment: nobody joins any more
SESSION: Final = "PT3M"  # workers are stopped in mid-air for as long as filling takes
RESTORED: Final = "of this worker are restored"
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_LISTENS: Final = "0A"  # a state in /proc/net/tcp


class RoundFailedError(Exception):
    """A round has no result; the message has the last words of whoever ended it."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is measured, and on what. `broker` and `store` are addresses, `pids` their processes by name."""

    broker: str
    store: str
    partitions: int
    pids: Mapping[str, int]


class Worker:
    """One `jianguan worker`, on one core if one is given."""

    def __init__(self, core: int | None, port: int, log: Path, settings: Mapping[str, str]) -> None:
        self._port = port  # of its metrics
        self._log = log
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JIANGUAN_")}
        program = Path(sys.executable).with_name("jianguan")
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [program, "worker", "--metrics-port", str(port)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**kept, **settings},
            )  # fmt: skip
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})  # it has one thread so far, and others take after it

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def check(self) -> str:
        """What it said so far. RoundFailedError when it has ended."""
        said = self._log.read_text("utf-8", "replace")
        if self._process.poll() is not None:
            raise RoundFailedError(f"a worker ended with {self._process.returncode}: {said[-2_000:]}")
        return said

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP and SIGCONT."""
        self._process.send_signal(number)

    def taken(self) -> float:
        """Records that came to an end in its ingest stage."""
        return self.metric("jianguan_events_total{")

    def metric(self, name: str) -> float:
        """The sum of its metrics whose line begins with `name`."""
        text = httpx.get(f"http://127.0.0.1:{self._port}/metrics", trust_env=False, timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith(name)]
        return sum([float(line.rpartition(" ")[2]) for line in lines])

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


async def one_round(options: Options, made: Sequence[Wire], count: int, name: str) -> dict[str, Any]:
    """`count` workers over the events."""
    prefix, database = f"{name}.", name.replace("-", "_")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jianguan-bench-")))
        settings = {
            "JIANGUAN_BROKER": options.broker,
            "JIANGUAN_STORE": f"{options.store.rstrip('/')}/{database}",
            "JIANGUAN_DATA": str(folder),
            "JIANGUAN_TOPIC_PREFIX": prefix,
            "JIANGUAN_GROUP": name,
            "JIANGUAN_PARTITIONS": str(options.partitions),
            "JIANGUAN_SESSION": SESSION,
            "PYTHONUNBUFFERED": "1",
        }
        workers = []
        stack.callback(drop, options.store, database)
        for place, port in enumerate(free_ports(count)):
            workers.append(Worker(place, port, folder / f"worker-{place}.log", settings))
            stack.callback(workers[-1].stop)
        await _assigned(workers)
        for worker in workers:
            worker.signal(signal.SIGSTOP)
        await _fill(options.broker, prefix, made)
        positions = GroupPositions(options.broker, name, prefix, options.partitions)
        try:
            return await _measured(options, workers, positions, len(made))
        finally:
            await positions.close()


async def _assigned(workers: Sequence[Worker]) -> None:
    """Return once every worker has partitions and nobody gets others any more."""
    deadline = time.monotonic() + START + SETTLED
    since, before = time.monotonic(), [0]
    while min(before) == 0 or time.monotonic() - since < SETTLED:
        now = [worker.check().count(RESTORED) for worker in workers]
        if now != before:
            since, before = time.monotonic(), now
        if time.monotonic() > deadline:
            raise RoundFailedError(f"the workers have no partitions: {workers[0].check()[-2_000:]}")
        await asyncio.sleep(0.2)


async def _fill(broker: str, prefix: str, made: Sequence[Wire]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    try:
        for start in range(0, len(made), 5_000):
            part = made[start : start + 5_000]
            await asyncio.gather(*[await producer.send(f"{prefix}{each.topic}", each.value, each.key) for each in part])
    finally:
        await producer.stop()


async def _measured(
    options: Options, workers: Sequence[Worker], positions: GroupPositions, count: int
) -> dict[str, Any]:
    pids = {**{f"worker-{place}": worker.pid for place, worker in enumerate(workers)}, **options.pids}
    await positions.ends(READ)  # connected before the clock runs
    before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.perf_counter()
    for worker in workers:
        worker.signal(signal.SIGCONT)
    while await _lag(positions):
        for worker in workers:
            worker.check()
        if time.perf_counter() - began > LONGEST:
            raise RoundFailedError(f"not done within {LONGEST:g} s: {workers[0].check()[-2_000:]}")
        await asyncio.sleep(0.25)
    wall = time.perf_counter() - began
    used = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    return {
        "workers": len(workers),
        "events": count,
        "events_per_second": round(count / wall),
        "cpu_seconds_per_100k": {name: round(each / count * 100_000, 2) for name, each in used.items()},
        "share": [round(worker.taken() / count, 3) for worker in workers],
    }


async def _lag(positions: GroupPositions) -> int:
    """Records that are not committed, on all topics. What comes of a record is sent before it is committed: once there
    are none, there will be none."""
    try:
        committed = await positions.committed(READ)
        ends = await positions.ends(READ)
    except UnavailableError:
        return 1
    return sum([max(0, end - committed.get(place, 0)) for place, end in ends.items()])


def compared(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What two workers are worth, over the medians of rounds of one and of two."""
    one, two = ([each for each in rounds if each["workers"] == count] for count in (1, 2))

    def median(of: Sequence[Mapping[str, Any]], what: str) -> float:
        return statistics.median([_figures(each)[what] for each in of])

    return {
        "by_clock": round(median(two, "rate") / median(one, "rate"), 2),
        "most_by_clock": round(median(one, "needed") / median(two, "needed"), 2),
        "by_cpu": round(median(one, "busiest") / median(two, "busiest"), 2),
        "cpu_of_all_workers": round(median(two, "workers") / median(one, "workers"), 2),
    }


def _figures(found: Mapping[str, Any]) -> dict[str, float]:
    """Events a second, and CPU seconds per 100,000 events. `needed`: what these take by the clock at least, if a worker
    has one core and nothing else wants the cores."""
    cpu: Mapping[str, float] = found["cpu_seconds_per_100k"]
    workers = [each for name, each in cpu.items() if name.startswith("worker")]
    return {
        "rate": found["events_per_second"],
        "needed": max(max(workers), sum(cpu.values()) / CORES),
        "busiest": max(workers),
        "workers": sum(workers),
    }


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def listener(port: int) -> int:
    """The process of this machine that listens on a TCP port. LookupError when none of ours does."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text("ascii").splitlines()[1:] if Path(table).exists() else ():
            _, local, _, state, *_, inode = line.split()[:10]
            if state == _LISTENS and int(local.rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{inode}]")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if any(str(each.readlink()) in sockets for each in (folder / "fd").iterdir()):
                    return int(folder.name)
            except OSError:  # it has ended, or is not ours to look into
                continue
    raise LookupError(f"no process that may be looked into listens on port {port} here")


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def drop(store: str, database: str) -> None:
    pool = ServerPool(Address.parse(f"{store.rstrip('/')}/default"), Limits(connections=1))
    try:
        pool.execute(f"DROP DATABASE IF EXISTS {database}")
    finally:
        pool.close()


async def measure(options: Options, count: int, repeats: int, seed: int) -> None:
    """Rounds of one worker and of two take turns."""
    made = list(events(count, seed))
    rounds = []
    for turn in range(repeats):
        for workers in (1, CORES):
            name = f"bench-{os.getpid()}-{turn}-{workers}"
            rounds.append(await one_round(options, made, workers, name))
            print(json.dumps(rounds[-1]), flush=True)
    print(json.dumps(compared(rounds)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--broker", required=True, help="host:port of a Kafka on this machine")
    parser.add_argument("--store", required=True, help="clickhouse://host:port of a server on this machine")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--smoke", action="store_true", help="once and small: the figures mean nothing")
    given = parser.parse_args()
    if not {0, 1} <= os.sched_getaffinity(0):
        parser.error("it needs the cores 0 and 1")
    try:
        pids = {
            "broker": listener(int(given.broker.rpartition(":")[2])),
            "store": listener(urlsplit(given.store).port or 9_000),
        }
    except LookupError as error:
        parser.error(str(error))
    options = Options(given.broker, given.store, given.partitions, pids)
    count, repeats = (5_000, 1) if given.smoke else (given.events, given.repeats)
    try:
        asyncio.run(measure(options, count, repeats, given.seed))
    except RoundFailedError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
