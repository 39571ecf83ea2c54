"""What only Apache Kafka has: nodes that die and come back, logs with holes, logs that lose their beginning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from jianguan.errors import UnavailableError
from jianguan.wiring.positions import GroupPositions
from streams.topics import TopicName, TopicSpec, ensure_topics
from streams.transport.batch import batch_topic, each_run
from streams.transport.run import Run
from tests.cluster.kafka import KafkaCluster
from tests.requirements import own_kafka
from tests.streams.support import committed, make_app, make_topic, running, send, unique, until, values

pytestmark = [pytest.mark.kafka, pytest.mark.network]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[KafkaCluster]:
    own_kafka()
    with KafkaCluster(tmp_path, nodes=3) as cluster:
        yield cluster.start()


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A node that a test may kill, if it starts it again."""
    own_kafka()
    with KafkaCluster(tmp_path_factory.mktemp("one")) as cluster:
        yield cluster.start()


async def everything(broker: str, topic: str, count: int) -> list[bytes]:
    """The first `count` values of partition 0."""
    consumer = AIOKafkaConsumer(bootstrap_servers=broker, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(60):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


def test_a_node_that_was_killed_comes_back_with_what_it_had_acknowledged(one: KafkaCluster) -> None:
    sent = [b"%d" % number for number in range(500)]

    async def fill() -> str:
        topic = await make_topic(one.bootstrap)
        await send(one.bootstrap, topic, sent)
        return topic

    topic = asyncio.run(fill())
    one.nodes[0].kill()
    one.nodes[0].start()
    assert asyncio.run(everything(one.bootstrap, topic, len(sent))) == sent


@pytest.mark.slow
def test_three_nodes_take_records_and_give_them_back_while_one_is_dead(three: KafkaCluster) -> None:
    topic = unique("topic")
    sent = [b"%d" % number for number in range(200)]

    async def part(first: int) -> None:
        await send(three.bootstrap, topic, sent[first : first + 100])

    asyncio.run(ensure_topics(three.bootstrap, [TopicSpec(topic, 1, three.replication)]))
    asyncio.run(part(0))
    three.nodes[0].kill()
    asyncio.run(part(100))
    assert set(asyncio.run(everything(three.bootstrap, topic, len(sent)))) == set(sent)
    three.nodes[0].start()
    assert all(node.running for node in three.nodes)


@asynccontextmanager
async def admin(broker: str) -> AsyncIterator[Any]:
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def reading(broker: str, folder: Path, group: str, topic: str, runs: list[Run]) -> Any:
    """An app that reads `topic` into `runs`."""
    app = make_app(broker, folder, group)

    async def agent(stream: Any) -> None:
        async for run in each_run(stream):
            runs.append(run)

    app.agent(batch_topic(app, topic), name="agent")(agent)
    return app


async def test_a_log_that_compaction_made_holes_in_is_read_and_committed_to_its_end(kafka: str, tmp_path: Path) -> None:
    topic, group = unique("topic"), unique("app")
    config = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "200",
        "min.compaction.lag.ms": "0",
    }
    async with admin(kafka) as client:
        await client.create_topics([NewTopic(topic, 1, 1, topic_configs=config)])

    async def rewrite(number: int) -> None:
        producer = AIOKafkaProducer(bootstrap_servers=kafka)
        await producer.start()
        try:
            for place in range(20):
                await producer.send_and_wait(topic, b"%d" % number, key=b"%d" % (place % 4), partition=0)
        finally:
            await producer.stop()

    sent = 0

    async def has_holes() -> bool:
        nonlocal sent
        await rewrite(sent // 20)  # a segment is closed by the next write after its time
        sent += 20
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka, group_id=None, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, 0)])
            offsets = []
            while await consumer.position(TopicPartition(topic, 0)) < sent:
                offsets.append((await consumer.getone()).offset)
        finally:
            await consumer.stop()
        return len(offsets) < sent

    await until(has_holes)
    runs: list[Run] = []
    async with running(reading(kafka, tmp_path, group, topic, runs)) as app:
        await until(lambda: bool(runs) and runs[-1].last_offset == sent - 1)
        await app.consumer.commit()
    assert await committed(kafka, group, topic, 1) == {0: sent}
    assert len(values(runs)) < sent


async def test_a_reader_whose_position_retention_has_deleted_goes_on_at_the_oldest_record(
    kafka: str, tmp_path: Path
) -> None:
    topic, group = await make_topic(kafka), unique("app")
    await send(kafka, topic, [b"%d" % number for number in range(100)])
    first: list[Run] = []
    async with running(reading(kafka, tmp_path / "first", group, topic, first)) as app:
        await until(lambda: len(values(first)) == 100)
        await app.consumer.commit()
    await send(kafka, topic, [b"%d" % number for number in range(100, 300)])
    async with admin(kafka) as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=200)})
    second: list[Run] = []
    async with running(reading(kafka, tmp_path / "second", group, topic, second)) as app:
        await until(lambda: len(values(second)) == 100)
        await app.consumer.commit()
    assert values(second) == [b"%d" % number for number in range(200, 300)]
    assert await committed(kafka, group, topic, 1) == {0: 300}


async def test_what_retention_deleted_unread_is_not_waited_for(kafka: str) -> None:
    prefix = unique("positions")
    await ensure_topics(kafka, [TopicSpec(topic.under(prefix), 2) for topic in (TopicName.FACTS, TopicName.RECORDS)])
    positions = GroupPositions(kafka, unique("group"), prefix, 2)
    topics = [TopicName.FACTS]
    try:
        await send(kafka, TopicName.FACTS.under(prefix), [b"%d" % number for number in range(10)], partition=1)
        assert await positions.ends(topics) == {("facts", 0): 0, ("facts", 1): 10}
        assert await positions.committed(topics) == {("facts", 0): 0, ("facts", 1): 0}
        async with admin(kafka) as client:
            place = TopicPartition(TopicName.FACTS.under(prefix), 1)
            await client.delete_records({place: RecordsToDelete(before_offset=10)})
        assert await positions.committed(topics) == await positions.ends(topics)
    finally:
        await positions.close()


async def test_positions_of_a_broker_that_is_away_are_unavailable(one: KafkaCluster) -> None:
    positions = GroupPositions(one.bootstrap, unique("group"), "", 1)
    await ensure_topics(one.bootstrap, [TopicSpec("facts", 1)])
    assert await positions.ends([TopicName.FACTS]) == {("facts", 0): 0}
    one.nodes[0].kill()
    with pytest.raises(UnavailableError, match="how far"):
        await positions.ends([TopicName.FACTS])
    one.nodes[0].start()
    assert await positions.ends([TopicName.FACTS]) == {("facts", 0): 0}
    await positions.close()
