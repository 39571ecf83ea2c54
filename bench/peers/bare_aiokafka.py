"""A practical limit, not a peer: a bare loop on aiokafka and uvloop. Its state is lost with the process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import defaultdict
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from bench.peers.job import Meter, Recent, Task
from bench.peers.lean import concerns, decode


async def main(task: Task) -> None:
    """Fetch, count, send; commit once a second after what was sent has arrived."""
    meter = Meter(task)
    recent: defaultdict[str, Recent] = defaultdict(lambda: Recent([], []))
    consumer = AIOKafkaConsumer(
        task.topic,
        bootstrap_servers=task.broker,
        group_id=task.group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        session_timeout_ms=6_000,
        heartbeat_interval_ms=1_500,
        max_partition_fetch_bytes=4_194_304,
    )
    producer = AIOKafkaProducer(bootstrap_servers=task.broker, linger_ms=20)
    await consumer.start()
    await producer.start()
    sent: list[Any] = []
    committed = time.monotonic()
    done = False
    while not done:
        fetched = await consumer.getmany(timeout_ms=500, max_records=5_000)
        for records in fetched.values():
            for record in records:
                event = decode(record.value)
                if concerns(event):
                    assert event.enterprise is not None
                    enterprise = event.enterprise.id
                    for hour in recent[enterprise].add(int(event.occurred_at.timestamp() * 1000)):
                        value = json.dumps({"enterprise": enterprise, "hour": hour}).encode()
                        sent.append(await producer.send(task.alerts, value, enterprise.encode()))
            done = meter.count(len(records)) or done
        if done or time.monotonic() - committed > 1:
            await asyncio.gather(*sent)
            sent.clear()
            await consumer.commit()
            committed = time.monotonic()
    meter.finish()
    await consumer.stop()
    await producer.stop()


if __name__ == "__main__":
    uvloop.run(main(Task(sys.argv[1:])))
