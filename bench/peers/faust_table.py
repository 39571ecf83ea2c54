"""Idiomatic Faust: an agent that gets an event at a time, JSON by Faust's codec, the window in a Table.

The Table is in RocksDB and backed by a changelog topic, as its manual has it for state that survives a restart;
processing is at least once (Faust's default). No batch transport, no tuning but the group's timeouts, which the
embedded broker needs.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import faust

from bench.peers.job import Meter, Recent, Task, concerns, moment

task = Task(sys.argv[1:])
meter = Meter(task)
app = faust.App(
    task.group,
    broker=f"kafka://{task.broker}",
    store="rocksdb://",
    datadir=task.state,
    topic_partitions=4,
    topic_replication_factor=1,
    consumer_auto_offset_reset="earliest",
    broker_session_timeout=6,
    broker_heartbeat_interval=1.5,
    broker_rebalance_timeout=4,
    broker_request_timeout=20,
    web_enabled=False,
    worker_redirect_stdouts=False,
)
events = app.topic(task.topic, partitions=4, key_type=bytes, key_serializer="raw")
alerts = app.topic(task.alerts, partitions=4)
recent = app.Table("recent", default=lambda: {"times": [], "hours": []}, partitions=4)


@app.agent(events)  # type: ignore[untyped-decorator]
async def supervise(stream: Any) -> None:
    """The job."""
    async for event in stream:
        if concerns(event):
            enterprise = event["enterprise"]["id"]
            state = recent[enterprise]
            found = Recent(state["times"], state["hours"]).add(moment(event["occurred_at"]))
            recent[enterprise] = state
            for hour in found:
                await alerts.send(key=enterprise, value={"enterprise": enterprise, "hour": hour})
        if meter.count():
            await app.producer.flush()
            meter.finish()
            os._exit(0)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "--loglevel", "error"]
    app.main()
