"""Runs as an agent sees them, through the real broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer import message_accumulator
from aiokafka.producer import producer as sending
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from jianguan.errors import ConfigurationError
from streams.app import FaustOptions, create_app
from streams.transport.batch import batch_topic, each_run, each_unacknowledged, transport_of
from streams.transport.options import BatchOptions
from streams.transport.run import Run
from tests.streams.support import DEADLINE, QUICK, committed, make_app, make_topic, running, send, unique, until, values

pytestmark = pytest.mark.broker


def collected(app: Any, topic: str) -> list[Run]:
    """What an agent of `app` gets of a topic with one partition, as it comes."""
    arrived: list[Run] = []

    @app.agent(batch_topic(app, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def agent(stream: object) -> None:
        async for run in each_run(stream):
            arrived.append(run)

    return arrived


async def test_a_record_arrives_with_all_that_it_was_sent_with(broker: str, tmp_path: Path) -> None:
    topic = await make_topic(broker)
    app = make_app(broker, tmp_path, unique("app"))
    arrived = collected(app, topic)
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    headers = [("ce-id", b"7"), ("ce-type", "投诉".encode())]
    await producer.send_and_wait(
        topic, b"\x00\xff", key=b"key", headers=headers, timestamp_ms=1_700_000_000_123, partition=0
    )
    await producer.send_and_wait(topic, None, key=b"tombstone", timestamp_ms=1_700_000_000_124, partition=0)
    await producer.stop()
    async with running(app):
        await until(lambda: len(values(arrived)) == 2)
    first, second = [record for run in arrived for record in run]
    assert (first.key, first.value, first.timestamp, first.offset) == (b"key", b"\x00\xff", 1_700_000_000_123, 0)
    assert first.headers == tuple(headers)
    assert (second.key, second.value, second.offset, second.headers) == (b"tombstone", None, 1, ())
    assert {(run.topic, run.partition) for run in arrived} == {(topic, 0)}


class NoText(str):
    """A name of a header as another client would send it."""

    def encode(self, *_: str) -> bytes:
        return b"caf\xe9"


async def test_a_record_whose_header_has_a_name_that_is_not_text_arrives_and_what_comes_after_it(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (message_accumulator, sending):
        monkeypatch.setattr(module, "DefaultRecordBatchBuilder", _DefaultRecordBatchBuilderPy)
    topic = await make_topic(broker)
    app = make_app(broker, tmp_path, unique("app"))
    arrived = collected(app, topic)
    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    for value, name in ((b"1", "text"), (b"2", NoText("no text")), (b"3", "text")):
        await producer.send_and_wait(topic, value, headers=[(name, b"7")], partition=0)
    await producer.stop()
    async with running(app):
        await until(lambda: len(values(arrived)) == 3)
    assert [record.headers for run in arrived for record in run] == [
        (("text", b"7"),), (("caf\\xe9", b"7"),), (("text", b"7"),),
    ]  # fmt: skip


@pytest.mark.parametrize("explicit", [True, False], ids=["each_run", "plain stream"])
async def test_each_partition_keeps_its_order_in_runs_of_limited_size_and_is_committed_to_its_end(
    broker: str, tmp_path: Path, explicit: bool
) -> None:
    topic, app_id = await make_topic(broker, 3), unique("app")
    app = make_app(broker, tmp_path, app_id, BatchOptions(run_records=70))
    arrived: dict[int, list[Run]] = {0: [], 1: [], 2: []}

    @app.agent(batch_topic(app, topic, partitions=3))  # type: ignore[untyped-decorator]
    async def agent(stream: object) -> None:
        async for run in each_run(stream) if explicit else stream:  # type: ignore[attr-defined]
            assert isinstance(run, Run)
            arrived[run.partition].append(run)

    sent = {partition: [b"%d-%d" % (partition, number) for number in range(1_000)] for partition in arrived}
    for partition, batch in sent.items():
        await send(broker, topic, batch, partition)
    async with running(app):
        await until(lambda: all(len(values(arrived[partition])) == 1_000 for partition in arrived))
        # Faust would note every offset inside a run as a gap, and keep it for ever.
        assert not any(app.consumer._gap.values())
    for partition, batch in sent.items():
        assert values(arrived[partition]) == batch
        assert max(len(run) for run in arrived[partition]) == 70
        for before, after in zip(arrived[partition], arrived[partition][1:], strict=False):
            assert after.first_offset == before.last_offset + 1
    assert await committed(broker, app_id, topic) == {0: 1_000, 1: 1_000, 2: 1_000}


async def test_a_partition_is_unread_until_all_of_it_is_acknowledged(broker: str, tmp_path: Path) -> None:
    topic, other = await make_topic(broker, 2), await make_topic(broker)
    app = make_app(broker, tmp_path, unique("app"))
    waiting: list[Callable[[], object]] = []

    @app.agent(batch_topic(app, topic, partitions=2))  # type: ignore[untyped-decorator]
    async def agent(stream: object) -> None:
        async for _, acknowledge in each_unacknowledged(stream):
            waiting.append(acknowledge)

    @app.agent(batch_topic(app, other, partitions=1))  # type: ignore[untyped-decorator]
    async def another(stream: object) -> None:
        async for _ in each_run(stream):
            pass

    await send(broker, topic, [b"1", b"2"], partition=1)
    async with running(app):
        await until(lambda: app.consumer.unread({topic}) == {(topic, 0): False, (topic, 1): True} and len(waiting) == 1)
        waiting.pop()()
        assert app.consumer.unread({topic}) == {(topic, 0): False, (topic, 1): False}
        await send(broker, topic, [b"3"], partition=0)
        await until(lambda: bool(waiting))
        assert app.consumer.unread({topic}) == {(topic, 0): True, (topic, 1): False}
        waiting.pop()()
        assert not any(app.consumer.unread({topic, other}).values())


async def test_a_backlog_arrives_though_reading_it_takes_the_broker_longer_than_a_fetch_may_wait(
    broker: str, tmp_path: Path
) -> None:
    topic, full = await make_topic(broker), [b"%d" % number * 500 for number in range(4_000)]
    app = make_app(broker, tmp_path, unique("app"), BatchOptions(fetch_max_wait_ms=1))
    arrived = collected(app, topic)
    # Each record a batch of its own, as a stage sends them: it is the batches that take the embedded broker time.
    producer = AIOKafkaProducer(bootstrap_servers=broker, max_batch_size=1)
    await producer.start()
    for start in range(0, len(full), 500):
        sent = [await producer.send(topic, value, partition=0) for value in full[start : start + 500]]
        await asyncio.gather(*sent)
    await producer.stop()
    async with running(app):
        await until(lambda: len(values(arrived)) == len(full))
    assert values(arrived) == full


async def test_a_record_waits_for_no_batch(broker: str, tmp_path: Path) -> None:
    topic = await make_topic(broker)
    app = make_app(broker, tmp_path, unique("app"), BatchOptions(fetch_max_wait_ms=10))
    arrivals: asyncio.Queue[float] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    @app.agent(batch_topic(app, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def agent(stream: object) -> None:
        async for _ in each_run(stream):
            arrivals.put_nowait(loop.time())

    producer = AIOKafkaProducer(bootstrap_servers=broker)
    await producer.start()
    latencies = []
    async with running(app):
        for _ in range(9):
            began = loop.time()
            await producer.send_and_wait(topic, b"x", partition=0)
            latencies.append(await asyncio.wait_for(arrivals.get(), DEADLINE) - began)
    await producer.stop()
    # Faust's own 1.5 s would give a median of about 0.75 s on this broker.
    assert sorted(latencies)[4] < 0.25


def held_up(app: Any, topic: str, gate: asyncio.Event) -> list[Run]:
    """The runs that an agent of `topic`, of one partition, is through with: it begins when `gate` is open."""
    arrived: list[Run] = []

    @app.agent(batch_topic(app, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def agent(stream: object) -> None:
        async for run in each_run(stream):
            await gate.wait()
            arrived.append(run)

    return arrived


async def test_what_is_in_flight_is_bounded_and_another_topic_goes_on(broker: str, tmp_path: Path) -> None:
    slow_topic, quick_topic = await make_topic(broker), await make_topic(broker)
    limits = BatchOptions(run_records=5, in_flight_records=20, drain_timeout=0.5)
    app = make_app(broker, tmp_path, unique("app"), limits)
    gate = asyncio.Event()
    slow = held_up(app, slow_topic, gate)
    quick: list[Run] = []

    @app.agent(batch_topic(app, quick_topic, partitions=1))  # type: ignore[untyped-decorator]
    async def quick_agent(stream: object) -> None:
        async for run in each_run(stream):
            quick.append(run)

    sent = [b"%0100d" % number for number in range(600)]
    await send(broker, slow_topic, sent)
    async with running(app):
        await until(lambda: any(ledger.in_flight_records >= 20 for ledger in app.consumer._ledgers.values()))
        for number in range(5):
            await send(broker, quick_topic, [b"%d" % number])
            await until(lambda: len(values(quick)) == number + 1)  # noqa: B023 - awaited in the same turn
        (held,) = [ledger for tp, ledger in app.consumer._ledgers.items() if tp.topic == slow_topic]
        assert held.in_flight_records < 2 * 20
        gate.set()
        await until(lambda: len(values(slow)) == len(sent))
    assert values(slow) == sent


@pytest.mark.parametrize(("buffer", "by_faust"), [(4096, False), (8, True)])
async def test_runs_are_handed_on_without_faust_while_their_agent_has_room_and_in_order_either_way(
    broker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer: int, by_faust: bool
) -> None:
    topic, app_id = await make_topic(broker), unique("app")
    app = make_app(broker, tmp_path, app_id, BatchOptions(run_records=1))
    app.conf.stream_buffer_maxsize = buffer
    waited: list[object] = []
    original = type(app.consumer).wait_first

    async def wait_first(self: object, *awaited: object, **options: object) -> object:
        waited.append(awaited)
        return await original(self, *awaited, **options)

    monkeypatch.setattr(type(app.consumer), "wait_first", wait_first)
    gate = asyncio.Event()
    arrived = held_up(app, topic, gate)
    sent = [b"%d" % number for number in range(60)]
    await send(broker, topic, sent)
    async with running(app):
        await until(lambda: any(len(ledger) >= min(buffer // 2, 60) for ledger in app.consumer._ledgers.values()))
        gate.set()
        await until(lambda: len(arrived) == len(sent))
        await app.consumer.commit()
    assert values(arrived) == sent
    assert bool(waited) is by_faust
    assert await committed(broker, app_id, topic) == {0: len(sent)}


async def test_a_stop_does_not_wait_for_an_agent_that_is_stuck(broker: str, tmp_path: Path) -> None:
    topic, app_id = await make_topic(broker), unique("app")
    app = make_app(broker, tmp_path, app_id, QUICK)
    taken = asyncio.Event()

    @app.agent(batch_topic(app, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def agent(stream: object) -> None:
        async for _ in each_run(stream):
            taken.set()
            await asyncio.Event().wait()

    await send(broker, topic, [b"x"])
    loop = asyncio.get_running_loop()
    async with running(app):
        await asyncio.wait_for(taken.wait(), DEADLINE)
        began = loop.time()
    assert loop.time() - began < 3.0
    assert await committed(broker, app_id, topic) == {}


async def test_a_running_app_listens_on_no_port(broker: str, tmp_path: Path) -> None:
    app = make_app(broker, tmp_path, unique("app"))
    batch_topic(app, await make_topic(broker), partitions=1)
    before = listening_sockets()
    async with running(app):
        assert listening_sockets() == before


def listening_sockets() -> set[str]:
    """Inodes of the TCP sockets on which this very process listens."""
    own = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            own.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()]
    return {line[9] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in own}


async def test_batch_topics_need_the_batch_transport(tmp_path: Path) -> None:
    app = create_app(FaustOptions("x", "127.0.0.1:9", tmp_path))
    assert transport_of(app).options == BatchOptions()
    app.transport = object()
    with pytest.raises(ConfigurationError, match="jianguan-batch"):
        batch_topic(app, "t")
