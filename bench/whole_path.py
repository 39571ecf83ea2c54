"""The whole path on one core: from the source topics through every stage into ClickHouse, with the shipped rules.

    python -m bench.whole_path [--events 100000] [--seed N] [--profile FILE]

The broker is filled first and runs on a core of its own; then a worker with all five stages and the embedded store
runs on one core until the store has every event. Prints one JSON object: events a second, CPU seconds per 100,000
events, peak MB, facts, alerts, and what became of the events.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from aiokafka import AIOKafkaProducer

from bench.events import SEED, events
from bench.one_worker import Worker
from jianguan.clock import SystemClock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from jianguan.wiring.parts import EMBEDDED_PARTITIONS
from streams.topics import all_topics, ensure_topics


async def fill(broker: str, count: int, seed: int) -> float:
    """Put the events on the topics; their mean size in bytes."""
    await ensure_topics(broker, all_topics("", EMBEDDED_PARTITIONS))
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=20, max_batch_size=262_144)
    await producer.start()
    size = 0
    try:
        pending: list[Any] = []
        for topic, key, value in events(count, seed):
            size += len(value)
            pending.append(await producer.send(topic, value, key, partition=0))
            if len(pending) >= 5_000:
                await asyncio.gather(*pending)
                pending = []
        await asyncio.gather(*pending)
    finally:
        await producer.stop()
    return size / count


async def run(count: int, seed: int, profile: Path | None) -> dict[str, Any]:
    """One measured run in this process."""
    clock = SystemClock()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="jianguan-bench-") as folder:
        os.sched_setaffinity(0, {cores[-1]})
        broker = EmbeddedBroker(BrokerOptions(Path(folder)), clock)
        address = await broker.start()
        try:
            mean_size = await fill(address, count, seed)
            os.sched_setaffinity(0, {cores[0]})
            result = await work(address, Path(folder), count, profile)
        finally:
            await broker.stop()
    return {**result, "mean_event_bytes": round(mean_size)}


async def work(address: str, folder: Path, count: int, profile: Path | None) -> dict[str, Any]:
    """The worker: until the store has an outcome for each of `count` events."""
    worker = await Worker(folder).opened()
    began = worker.metrics.run_size.labels("complaints")._sum.get
    started: list[float] = []

    async def first() -> None:
        while not began():  # noqa: ASYNC110 - a counter says nothing by itself
            await asyncio.sleep(0.001)
        started[:] = [time.perf_counter(), time.process_time(), began(), time.thread_time()]

    watching = asyncio.create_task(first())
    profiler = cProfile.Profile() if profile else None
    await worker.start(address)
    if profiler:
        profiler.enable()
    while worker.stored < count:
        worker.grown.clear()
        await worker.grown.wait()
    if profiler and profile:
        profiler.disable()
        profiler.dump_stats(profile)
    wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
    loop_cpu = time.thread_time() - started[3]
    await watching
    await worker.stop()
    measured = count - started[2]
    return {
        "variant": "whole-path",
        "events": count,
        "events_per_second": round(measured / wall),
        "cpu_seconds_per_100k": round(cpu / measured * 100_000, 3),
        "of_that_in_the_event_loop": round(loop_cpu / measured * 100_000, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "facts": worker.rows["facts"],
        "alerts": worker.rows["alerts"],
        "outcomes": dict(worker.outcomes),
    }


def main() -> None:
    """Parse arguments, run once, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--profile", type=Path)
    arguments = parser.parse_args()
    result = uvloop.run(run(arguments.events, arguments.seed, arguments.profile))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
