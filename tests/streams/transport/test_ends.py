"""The real end of a partition, through the real broker."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from jianguan.errors import UnavailableError
from streams.transport.ends import end_offsets
from tests.streams.support import make_topic


@pytest.mark.broker
async def test_the_end_is_after_the_last_record_of_the_last_batch(broker: str) -> None:
    topic = await make_topic(broker, 3)
    producer = AIOKafkaProducer(bootstrap_servers=broker, linger_ms=100)
    await producer.start()
    for _ in range(2):
        await asyncio.gather(*[await producer.send(topic, b"x" * 100, partition=0) for _ in range(7)])
    await producer.send_and_wait(topic, b"x", partition=1)
    await producer.stop()
    partitions = [TopicPartition(topic, partition) for partition in range(3)]
    assert await end_offsets(partitions, bootstrap_servers=broker) == dict(zip(partitions, (14, 1, 0), strict=True))


async def test_no_partitions_have_no_ends() -> None:
    assert await end_offsets([]) == {}


@pytest.mark.network
async def test_a_silent_broker_is_unavailable() -> None:
    async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    server = await asyncio.start_server(silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(UnavailableError, match=r"0\.5 s"):
        await end_offsets([TopicPartition("t", 0)], deadline=0.5, bootstrap_servers=f"127.0.0.1:{port}")
    server.close()
