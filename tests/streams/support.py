"""Helpers for tests that run Faust apps on the embedded broker."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.app import FaustOptions, create_app
from streams.topics import TopicSpec, ensure_topics
from streams.transport.options import BatchOptions
from streams.transport.run import Run

DEADLINE = 20.0
QUICK = BatchOptions(drain_timeout=0.5)


def unique(name: str) -> str:
    """A name that no other test on the shared broker uses."""
    return f"{name}-{uuid.uuid4().hex[:10]}"


async def make_topic(broker: str, partitions: int = 1) -> str:
    name = unique("topic")
    await ensure_topics(broker, [TopicSpec(name, partitions)])
    return name


def make_app(broker: str, data_dir: Path, app_id: str, batch: BatchOptions = QUICK, linger: float = 0.0) -> Any:
    """An app that joins its group in a second and a half and commits only when it is told to."""
    return create_app(
        FaustOptions(
            app_id=app_id,
            broker=broker,
            data_dir=data_dir,
            session_timeout=3.0,
            heartbeat_interval=0.5,
            commit_interval=3600.0,
            batch=batch,
            linger=linger,
        )
    )


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[Any]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def send(broker: str, topic: str, values: list[bytes], partition: int = 0) -> None:
    """Return when every replica has them: with less, what a node acknowledged may be lost with it."""
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=5, acks="all")
    await producer.start()
    try:
        futures = [await producer.send(topic, value, partition=partition) for value in values]
        await asyncio.gather(*futures)
    finally:
        await producer.stop()


async def committed(broker: str, app_id: str, topic: str, partitions: int = 4) -> dict[int, int]:
    """Committed position by partition; a partition without one is absent."""
    asked = [TopicPartition(topic, partition) for partition in range(partitions)]
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        found = await admin.list_consumer_group_offsets(app_id, partitions=asked)  # Tansu cannot list all
    finally:
        await admin.close()
    return {
        tp.partition: meta.offset
        for tp, meta in found.items()
        if isinstance(tp, TopicPartition) and tp.topic == topic and meta.offset >= 0
    }


async def until(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Return when `condition` holds; TimeoutError after DEADLINE."""
    async with asyncio.timeout(DEADLINE):
        while True:
            held = condition()
            if isinstance(held, bool):
                if held:
                    return
            elif await held:
                return
            await asyncio.sleep(0.02)


def values(runs: list[Run]) -> list[bytes]:
    return [record.value or b"" for run in runs for record in run]
