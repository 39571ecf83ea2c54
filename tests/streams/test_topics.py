"""Names of topics, and their creation on the embedded broker."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from jianguan.errors import ConfigurationError, UnavailableError
from streams.gateway import MAX_VALUE
from streams.ingest import MAX_KEPT
from streams.topics import FoundTopic, TopicName, TopicSpec, all_topics, ensure_topics, look_at_topics, mismatches


@pytest.fixture
def prefix() -> str:
    return f"t{uuid.uuid4().hex[:10]}."


def test_every_topic_carries_the_prefix() -> None:
    assert {spec.name for spec in all_topics("jg.", 4)} == {f"jg.{name}" for name in TopicName}


def test_every_topic_takes_what_the_quarantine_keeps_whole() -> None:
    for spec in all_topics("", 4):
        assert int(spec.config["max.message.bytes"]) >= 2 * MAX_KEPT
        assert int(spec.config["max.message.bytes"]) >= 2 * MAX_VALUE


@pytest.mark.parametrize(("replicas", "in_step"), [(1, None), (2, "1"), (3, "2"), (5, "3")])
def test_a_replicated_topic_takes_no_record_that_a_minority_of_its_replicas_has(
    replicas: int, in_step: str | None
) -> None:
    for spec in all_topics("", 4, replicas):
        assert spec.config.get("min.insync.replicas") == in_step


@pytest.mark.parametrize("bad", ["监管.", "a b", "x" * 250, "a/"])
def test_a_prefix_that_the_broker_refuses_is_a_configuration_error(bad: str) -> None:
    with pytest.raises(ConfigurationError, match="prefix"):
        TopicName.FACTS.under(bad)


def test_only_topics_of_another_width_are_mismatches() -> None:
    wanted = [TopicSpec("a", 4), TopicSpec("b", 2), TopicSpec("c", 1)]
    assert mismatches(wanted, {"a": 4, "b": 3}) == ["topic b: wanted 2 partitions, found 3"]


@pytest.mark.broker
async def test_topics_are_created_once_and_found_after_that(broker: str, prefix: str) -> None:
    wanted = all_topics(prefix, 3)
    assert sorted(await ensure_topics(broker, wanted)) == sorted(spec.name for spec in wanted)
    assert await ensure_topics(broker, wanted) == []


@pytest.mark.broker
async def test_two_workers_may_create_the_topics_at_the_same_time(broker: str, prefix: str) -> None:
    wanted = all_topics(prefix, 2)
    await asyncio.gather(ensure_topics(broker, wanted), ensure_topics(broker, wanted))
    assert await ensure_topics(broker, wanted) == []


@pytest.mark.broker
async def test_a_topic_of_another_width_stops_the_start_and_says_what_to_do(broker: str, prefix: str) -> None:
    name = TopicName.FACTS.under(prefix)
    await ensure_topics(broker, [TopicSpec(name, 2)])
    with pytest.raises(ConfigurationError) as caught:
        await ensure_topics(broker, [TopicSpec(name, 4)])
    for part in (name, "wanted 4", "found 2", "delete the topics"):
        assert part in str(caught.value)


@pytest.mark.broker
async def test_no_topic_is_created_beside_one_of_another_width(broker: str, prefix: str) -> None:
    await ensure_topics(broker, [TopicSpec(f"{prefix}made-by-hand", 3)])
    wanted = [TopicSpec(f"{prefix}made-by-hand", 2), TopicSpec(f"{prefix}missing", 2)]
    with pytest.raises(ConfigurationError, match="wanted 2 partitions, found 3"):
        await ensure_topics(broker, wanted)
    assert await look_at_topics(broker, wanted) == {f"{prefix}made-by-hand": FoundTopic(3, 1)}


@pytest.mark.kafka
@pytest.mark.network
async def test_more_replicas_than_brokers_are_refused_with_what_to_do(kafka: str, prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"with 3 replicas.*JIANGUAN_REPLICATION"):
        await ensure_topics(kafka, all_topics(prefix, 1, 3))


@pytest.mark.network
async def test_a_broker_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    with pytest.raises(UnavailableError, match="does not give its topics"):
        await ensure_topics(f"127.0.0.1:{unused_tcp_port}", [TopicSpec("x", 1)], deadline=2)
