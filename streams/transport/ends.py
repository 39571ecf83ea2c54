"""Where partitions really end.

The embedded broker answers "latest offset" with the offset after the *first* record of the last batch, so
whoever reads a log "to its end" that way loses the rest of the batch; Faust's tables are restored like that.
The high watermark of a fetch is right there and in Kafka: this asks for that. It must not know Faust.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from jianguan.errors import UnavailableError

FETCH_WAIT_MS = 10
# Enough to get an answer; the records themselves are not wanted.
FETCH_BYTES = 1


async def end_offsets(
    partitions: Iterable[TopicPartition], deadline: float = 20.0, **settings: Any
) -> dict[TopicPartition, int]:
    """The offset after the last record of each partition, 0 for one that was never written.

    `settings` are those of an AIOKafkaConsumer, at least `bootstrap_servers`; `deadline` is in seconds.
    Uses a connection of its own and no group. Raises UnavailableError if the broker does not answer in time.
    """
    wanted = [TopicPartition(*partition) for partition in partitions]
    if not wanted:
        return {}
    consumer = AIOKafkaConsumer(
        **settings,
        group_id=None,
        enable_auto_commit=False,
        fetch_max_wait_ms=FETCH_WAIT_MS,
        max_partition_fetch_bytes=FETCH_BYTES,
    )
    try:
        async with asyncio.timeout(deadline):
            await consumer.start()
            consumer.assign(wanted)
            listed = await consumer.end_offsets(wanted)
            for partition in wanted:
                consumer.seek(partition, listed[partition])
            found: dict[TopicPartition, int] = {}
            while len(found) < len(wanted):
                await consumer.getmany(timeout_ms=FETCH_WAIT_MS)
                for partition in wanted:
                    if (highwater := consumer.highwater(partition)) is not None:
                        found[partition] = max(highwater, listed[partition])
            return found
    except TimeoutError as exc:
        raise UnavailableError(
            f"the broker did not tell the ends of {len(wanted)} partitions in {deadline:g} s"
        ) from exc
    finally:
        await consumer.stop()
