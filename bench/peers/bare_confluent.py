"""A practical limit, not a peer: a bare loop on confluent-kafka (librdkafka). Its state is lost with the process."""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from bench.peers.job import Meter, Recent, Task
from bench.peers.lean import concerns, decode


def main(task: Task) -> None:
    """Fetch, count, send; commit once a second after what was sent has arrived."""
    meter = Meter(task)
    recent: defaultdict[str, Recent] = defaultdict(lambda: Recent([], []))
    consumer = Consumer(
        {
            "bootstrap.servers": task.broker,
            "group.id": task.group,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "session.timeout.ms": 6_000,
            "heartbeat.interval.ms": 1_500,
        }
    )
    consumer.subscribe([task.topic])
    producer = Producer({"bootstrap.servers": task.broker, "linger.ms": 20})
    committed = time.monotonic()
    done = False
    while not done:
        messages = consumer.consume(5_000, 0.5)
        for message in messages:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise KafkaException(error)
            value = message.value()
            assert value is not None
            event = decode(value)
            if concerns(event):
                assert event.enterprise is not None
                enterprise = event.enterprise.id
                for hour in recent[enterprise].add(int(event.occurred_at.timestamp() * 1000)):
                    alert = json.dumps({"enterprise": enterprise, "hour": hour}).encode()
                    producer.produce(task.alerts, alert, enterprise.encode())
        if messages:
            done = meter.count(len(messages))
        if done or time.monotonic() - committed > 1:
            producer.flush()
            if meter.seen:
                consumer.commit(asynchronous=False)
            committed = time.monotonic()
    meter.finish()
    consumer.close()


if __name__ == "__main__":
    main(Task(sys.argv[1:]))
