"""How soon a worker of a cluster that was killed works again, and how soon another has its partitions, with a million
stored facts to fold.

    python -m bench.takeover --broker HOST:PORT --store clickhouse://HOST:PORT [--facts 1000000] [--partitions 8]

Broker and store are a Kafka and a ClickHouse server of yours. A database of its own is filled with the events of ten
days and what the shipped rules make of them; events go on coming to all partitions. Prints a JSON object: seconds from
the start of the process, or from the kill where another takes over, until facts went through windows again (`facts_s`),
until new events were taken in as well (`again_s`), and until the state of all partitions was there (`restored_s`); with
the CPU seconds of the process so far.

- `named`: killed with `kill -9` and started again under its JIANGUAN_WORKER_NAME;
- `nameless`: the same without a name, so that the group waits for its session (`--session`) first;
- `taken_over`: killed, and not started again: by another worker that was there, with the half that it did not have.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
from aiokafka import AIOKafkaProducer

from bench.restart import fill_store, new_events
from bench.workers import RESTORED, RoundFailedError, Worker, cpu_seconds, drop, free_ports
from sinks.server import ServerStore

RUNS: Final = 'jianguan_run_records_count{stage="facts"}'
LONGEST: Final = 300.0  # seconds
EVERY: Final = 0.05  # seconds between two events
POLL: Final = 0.05


@asynccontextmanager
async def events_flow(broker: str, topic: str) -> AsyncIterator[None]:
    """New complaints, one after the other, until the end."""
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()

    async def send() -> None:
        turn = 0
        while True:
            for number, value in enumerate(new_events(200, f"flow-{turn}")):
                await producer.send(topic, value, f"12345/flow-{turn}-{number}".encode())
                await asyncio.sleep(EVERY)
            turn += 1

    sending = asyncio.create_task(send())
    try:
        yield
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await producer.stop()


async def works(worker: Worker, began: float, restored: int = 1) -> dict[str, float]:
    """Seconds since `began` until the worker has restored so often, and has put runs through windows."""
    took: dict[str, float] = {}
    while len(took) < 3:
        now = time.perf_counter() - began
        if worker.check().count(RESTORED) >= restored:
            took.setdefault("restored_s", round(now, 2))
        runs, events = await asyncio.to_thread(_figures, worker)
        if runs:
            took.setdefault("facts_s", round(now, 2))
        if runs and events:
            took.setdefault("again_s", round(now, 2))
        if now > LONGEST:
            raise RoundFailedError(f"it does not work within {LONGEST:g} s: {worker.check()[-2_000:]}")
        await asyncio.sleep(POLL)
    return {**took, "cpu_s": round(cpu_seconds(worker.pid), 2)}


def _figures(worker: Worker) -> tuple[float, float]:
    try:
        return worker.metric(RUNS), worker.taken()
    except httpx.TransportError:  # it has just begun
        return 0.0, 0.0


async def measure(broker: str, settings: dict[str, str], folder: Path) -> dict[str, Any]:
    """All starts, one after the other, in one group."""
    ports = free_ports(2)
    with ExitStack() as stack:

        def start(name: str, place: int = 0) -> tuple[Worker, float]:
            log = folder / f"worker-{time.monotonic_ns()}.log"
            began = time.perf_counter()
            worker = Worker(None, ports[place], log, {**settings, "JIANGUAN_WORKER_NAME": name})
            stack.callback(worker.stop)
            return worker, began

        def kill(worker: Worker) -> None:
            worker.signal(signal.SIGKILL)
            worker.stop()

        found: dict[str, Any] = {}
        worker, began = start("one")
        await _there(worker)
        async with events_flow(broker, f"{settings['JIANGUAN_TOPIC_PREFIX']}complaints"):
            await works(worker, began)
            kill(worker)
            worker, began = start("one")
            found["named"] = await works(worker, began)
            worker.stop()
            worker, began = start("")
            await works(worker, began)
            kill(worker)
            worker, began = start("")
            found["nameless"] = await works(worker, began)
            other, began = start("", 1)
            await works(other, began)
            await works(worker, began, restored=2)
            began = time.perf_counter()
            kill(worker)
            found["taken_over"] = await works(other, began, restored=2)
            del found["taken_over"]["facts_s"], found["taken_over"]["again_s"]  # its own half never stood still
        return found


async def _there(worker: Worker) -> None:
    """Until it has partitions, and so the topics are there."""
    deadline = time.monotonic() + LONGEST
    while RESTORED not in worker.check():
        if time.monotonic() > deadline:
            raise RoundFailedError(f"it has no partitions within {LONGEST:g} s: {worker.check()[-2_000:]}")
        await asyncio.sleep(POLL)


@contextmanager
def filled(url: str, data: Path, facts: int) -> Iterator[dict[str, int]]:
    """A database with so many facts; dropped after it."""
    store = ServerStore(url)
    try:
        store.start()
        made = fill_store(store, data, facts)
        store.close()
        yield made
    finally:
        drop(*url.rsplit("/", 1))


def main() -> None:
    """Parse arguments, fill, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", required=True, help="host:port of a Kafka")
    parser.add_argument("--store", required=True, help="clickhouse://host:port of a server")
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--partitions", type=int, default=8)
    parser.add_argument("--session", type=int, default=30, help="seconds")
    given = parser.parse_args()
    name = f"bench_{os.getpid()}"
    url = f"{given.store.rstrip('/')}/{name}"
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        settings = {
            "JIANGUAN_BROKER": given.broker,
            "JIANGUAN_STORE": url,
            "JIANGUAN_DATA": folder,
            "JIANGUAN_TOPIC_PREFIX": f"{name}.",
            "JIANGUAN_GROUP": name,
            "JIANGUAN_PARTITIONS": str(given.partitions),
            "JIANGUAN_SESSION": f"PT{given.session}S",
            "PYTHONUNBUFFERED": "1",
        }
        try:
            with filled(url, Path(folder), given.facts) as made:
                found = asyncio.run(measure(given.broker, settings, Path(folder)))
        except RoundFailedError as error:
            raise SystemExit(str(error)) from None
    sys.stdout.write(json.dumps({"variant": "takeover", **made, "session_s": given.session, **found}) + "\n")


if __name__ == "__main__":
    main()
