"""What Faust costs per event, idiomatic and with the batch transport.

`python -m bench.transport --events 200000` prints one line of JSON for each variant: events/s, CPU seconds
per 100,000 events, peak MB; each the median of `--repeats` runs, each run in a process of its own on one
core, with the embedded broker on another. The events are those of bench.events, about 410 bytes of JSON each.

Variants: `event` an agent per event with JSON decoding and a window in memory; `table` the same with the
window in a Faust Table; `batch` the batch transport alone, runs passed through; `batch-window` the batch
transport with decoding and the same window in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import faust
import msgspec
import uvloop
from aiokafka import AIOKafkaProducer

from bench.events import events
from jianguan.clock import SystemClock
from jianguan.embedded.broker import BrokerOptions, EmbeddedBroker
from streams.app import FaustOptions, create_app
from streams.topics import TopicSpec, ensure_topics
from streams.transport.batch import batch_topic, each_run

PARTITIONS = 4
WINDOW_MS = 3_600_000
THRESHOLD = 5
# The slow variants get fewer events: their rate does not depend on how many there are.
SHARE = {"event": 0.25, "table": 0.1, "batch": 1.0, "batch-window": 1.0}


class Window:
    """Counts per enterprise over the last hour of event time."""

    def __init__(self) -> None:
        self._times: defaultdict[str, deque[int]] = defaultdict(deque)
        self.reached = 0

    def add(self, enterprise: str, at: int) -> None:
        times = self._times[enterprise]
        times.append(at)
        while times[0] <= at - WINDOW_MS:
            times.popleft()
        self.reached += len(times) == THRESHOLD


class Meter:
    """Takes time and CPU from the first to the last event, and says when the last has come."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._seen = self._first = 0
        self._began = self._cpu_began = 0.0
        self.finished = asyncio.Event()
        self.result: dict[str, float] = {}

    def count(self, number: int) -> None:
        self._seen += number
        if not self._first:  # the first run came whole: it is not part of what is measured
            self._first, self._began, self._cpu_began = number, time.perf_counter(), time.process_time()
        if self._seen >= self._expected and not self.result:
            measured = self._seen - self._first
            self.result = {
                "events_per_second": measured / (time.perf_counter() - self._began),
                "cpu_seconds_per_100k": (time.process_time() - self._cpu_began) / measured * 100_000,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
            self.finished.set()


class Enterprise(msgspec.Struct, gc=False):
    """Who an event is about."""

    id: str


class Complaint(msgspec.Struct, gc=False):
    """The fields that the window reads."""

    occurred_at: datetime
    enterprise: Enterprise | None = None


def when(text: str) -> int:
    """Milliseconds of a time on the wire."""
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def idiomatic(broker: str, data_dir: Path, app_id: str) -> Any:
    return faust.App(
        app_id,
        broker=f"kafka://{broker}",
        datadir=data_dir,
        broker_session_timeout=6,
        broker_heartbeat_interval=1.5,
        broker_rebalance_timeout=4,
        broker_request_timeout=20,
        topic_partitions=PARTITIONS,
        topic_replication_factor=1,
        topic_disable_leader=True,
        table_standby_replicas=0,
        web_enabled=False,
        worker_redirect_stdouts=False,
    )


def per_event(broker: str, data_dir: Path, topic: str, meter: Meter) -> Any:
    app = idiomatic(broker, data_dir, f"event-{os.getpid()}")
    window = Window()

    @app.agent(app.topic(topic, key_type=bytes, key_serializer="raw", partitions=PARTITIONS))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        async for event in stream:
            if "enterprise" in event:
                window.add(event["enterprise"]["id"], when(event["occurred_at"]))
            meter.count(1)

    return app


def per_event_with_table(broker: str, data_dir: Path, topic: str, meter: Meter) -> Any:
    app = idiomatic(broker, data_dir, f"table-{os.getpid()}")
    recent = app.Table("recent", default=list, partitions=PARTITIONS)

    @app.agent(app.topic(topic, key_type=bytes, key_serializer="raw", partitions=PARTITIONS))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        async for event in stream:
            if "enterprise" in event:
                key, at = event["enterprise"]["id"], when(event["occurred_at"])
                recent[key] = [t for t in recent[key] if t > at - WINDOW_MS] + [at]
            meter.count(1)

    return app


def batched(broker: str, data_dir: Path, topic: str, meter: Meter, window: Window | None = None) -> Any:
    app = create_app(FaustOptions(f"batch-{os.getpid()}", broker, data_dir))
    decode = msgspec.json.Decoder(Complaint).decode

    @app.agent(batch_topic(app, topic, partitions=PARTITIONS))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        async for run in each_run(stream):
            if window is not None:
                for record in run:
                    event = decode(record.value or b"")
                    if event.enterprise is not None:
                        window.add(event.enterprise.id, int(event.occurred_at.timestamp() * 1000))
            meter.count(len(run))

    return app


def batched_with_window(broker: str, data_dir: Path, topic: str, meter: Meter) -> Any:
    return batched(broker, data_dir, topic, meter, Window())


VARIANTS: dict[str, Callable[[str, Path, str, Meter], Any]] = {
    "event": per_event,
    "table": per_event_with_table,
    "batch": batched,
    "batch-window": batched_with_window,
}


async def measure(variant: str, broker: str, topic: str, count: int) -> dict[str, float]:
    """One run of one variant, in this process."""
    meter = Meter(count)
    with tempfile.TemporaryDirectory() as data_dir:
        app = VARIANTS[variant](broker, Path(data_dir), topic, meter)
        await app.start()
        await asyncio.wait_for(meter.finished.wait(), 300)
        await app.stop()
    return meter.result


async def produce(broker: str, topic: str, count: int) -> None:
    await ensure_topics(broker, [TopicSpec(topic, PARTITIONS)])
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=10, max_batch_size=262_144)
    await producer.start()
    last = [await producer.send(topic, event.value, key=event.key) for event in events(count)]
    await asyncio.gather(*last)
    await producer.stop()


def pin(core: int) -> None:
    """Keep this thread, and what it starts from now on, on one core, where the system can and there are two."""
    if hasattr(os, "sched_setaffinity") and os.cpu_count() not in (None, 1):
        os.sched_setaffinity(0, {core})


async def start_beside(broker: EmbeddedBroker) -> str:
    """Start the broker, all threads of it on the second core: the first is for what is measured."""
    cores = os.sched_getaffinity(0)
    pin(1)
    try:
        return await broker.start()
    finally:
        os.sched_setaffinity(0, cores)


async def compare(variants: list[str], count: int, repeats: int) -> None:
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as data_dir:
        child = EmbeddedBroker(BrokerOptions(Path(data_dir)), SystemClock())
        broker = await start_beside(child)
        try:
            for variant in variants:
                number = max(int(count * SHARE[variant]), 1_000)
                await produce(broker, variant, number)
                runs = [await in_a_process(variant, broker, number) for _ in range(repeats)]
                results[variant] = {key: round(statistics.median(r[key] for r in runs), 2) for key in runs[0]}
                slowest, fastest = (round(f(r["events_per_second"] for r in runs)) for f in (min, max))
                line = {"variant": variant, "events": number, "repeats": repeats, **results[variant]}
                print(json.dumps({**line, "slowest": slowest, "fastest": fastest}), flush=True)
        finally:
            await child.stop()
    # `batch` does no work on an event and `event` does: only `batch-window` against `event` compares like with
    # like, save that it decodes two fields with msgspec and not a whole dictionary with json.
    rates = {variant: result["events_per_second"] for variant, result in results.items()}
    if "event" in rates:
        over = {variant: round(rate / rates["event"], 1) for variant, rate in rates.items() if variant != "event"}
        print(json.dumps({"times_as_fast_as_event": over}), flush=True)


async def in_a_process(variant: str, broker: str, number: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.transport", "--child", variant, "--broker", broker, "--events", str(number)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"variant {variant} ended with {process.returncode}")
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variants", default=",".join(VARIANTS), help="comma-separated: %(default)s")
    parser.add_argument("--child", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--broker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        pin(0)
        print(json.dumps(uvloop.run(measure(options.child, options.broker, options.child, options.events))))
    else:
        uvloop.run(compare(options.variants.split(","), options.events, options.repeats))


if __name__ == "__main__":
    main()
