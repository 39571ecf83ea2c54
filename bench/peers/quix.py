"""quixstreams: a streaming dataframe, the state of each key in RocksDB with a changelog topic, at least once."""

from __future__ import annotations

import sys
from typing import Any

from quixstreams import Application, State

from bench.peers.job import Meter, Recent, Task, concerns, moment


def main() -> None:
    """Run until every event was seen; then the application checkpoints and ends."""
    task = Task(sys.argv[1:])
    meter = Meter(task)
    app = Application(
        broker_address=task.broker,
        consumer_group=task.group,
        auto_offset_reset="earliest",
        state_dir=task.state,
        processing_guarantee="at-least-once",
        use_changelog_topics=True,
        loglevel="ERROR",
        consumer_extra_config={"session.timeout.ms": 6000, "heartbeat.interval.ms": 1500},
    )

    def wanted(event: dict[str, Any]) -> bool:
        if meter.count():
            app.stop()  # after this event; on the way out it checkpoints
        return concerns(event)

    def count(event: dict[str, Any], state: State) -> list[dict[str, Any]]:
        times: list[int] = state.get("times") or []
        hours: list[int] = state.get("hours") or []
        found = Recent(times, hours).add(moment(event["occurred_at"]))
        state.set("times", times)
        if found:
            state.set("hours", hours)
        return [{"enterprise": event["enterprise"]["id"], "hour": hour} for hour in found]

    frame = app.dataframe(app.topic(task.topic, key_deserializer="bytes", value_deserializer="json"))
    frame = frame.filter(wanted).apply(count, stateful=True, expand=True)
    frame.to_topic(app.topic(task.alerts, key_serializer="bytes", value_serializer="json"))
    app.run()
    meter.finish()


if __name__ == "__main__":
    main()
