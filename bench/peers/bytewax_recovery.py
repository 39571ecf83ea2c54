"""bytewax: batches decoded by msgspec, a stateful step by enterprise, snapshots in its recovery store every second.

The most that its operators offer for speed: the stateless part works on whole batches (`flat_map_batch`). Positions are
in the recovery store, not in the consumer group; at least once.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource, KafkaSourceMessage
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from bench.peers.job import Meter, Recent, Task
from bench.peers.lean import concerns, decode

State = tuple[list[int], list[int]]


def main() -> None:
    """Run to the end of the topic."""
    task = Task(sys.argv[1:])
    meter = Meter(task)
    flow = Dataflow("supervision")
    source: KafkaSource[bytes, bytes] = KafkaSource(
        [task.broker], [task.topic], tail=bool(task.die_after), batch_size=1000
    )

    def decoded(batch: list[KafkaSourceMessage[bytes, bytes]]) -> list[tuple[str, int]]:
        meter.count(len(batch))
        found = []
        for message in batch:
            event = decode(message.value)
            if concerns(event):
                assert event.enterprise is not None
                found.append((event.enterprise.id, int(event.occurred_at.timestamp() * 1000)))
        return found

    def count(state: State | None, at: int) -> tuple[State, list[int]]:
        state = state or ([], [])
        return state, Recent(*state).add(at)

    def alert(keyed: tuple[str, int]) -> KafkaSinkMessage[bytes, bytes]:
        enterprise, hour = keyed
        return KafkaSinkMessage(enterprise.encode(), json.dumps({"enterprise": enterprise, "hour": hour}).encode())

    matched = op.flat_map_batch("decode", op.input("events", flow, source), decoded)
    counted = op.flat_map_value("hours", op.stateful_map("window", matched, count), lambda hours: hours)
    op.output("alerts", op.map("alert", counted, alert), KafkaSink([task.broker], task.alerts))
    if not task.state.exists():
        task.state.mkdir(parents=True)
        init_db_dir(task.state, 1)
    cli_main(
        flow,
        epoch_interval=timedelta(seconds=1),
        recovery_config=RecoveryConfig(str(task.state), timedelta(seconds=0)),
    )
    meter.finish()


if __name__ == "__main__":
    main()
