"""What is committed, and what comes again: failures, restarts, rebalances, tables. Through the real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from streams.transport.batch import acknowledged_positions, batch_topic, each_run
from streams.transport.options import BatchOptions
from streams.transport.run import Run
from tests.streams.support import DEADLINE, QUICK, committed, make_app, make_topic, running, send, unique, until, values

pytestmark = pytest.mark.broker


async def test_after_a_failure_the_failed_run_and_all_behind_it_come_again(broker: str, tmp_path: Path) -> None:
    topic, app_id = await make_topic(broker), unique("app")
    sent = [b"%d" % number for number in range(100)]
    await send(broker, topic, sent)

    failing = make_app(broker, tmp_path / "a", app_id, BatchOptions(run_records=10, drain_timeout=0.5))
    done: list[Run] = []

    @failing.agent(batch_topic(failing, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def fails_at_35(stream: object) -> None:
        async for run in each_run(stream):
            if b"35" in values([run]):
                raise RuntimeError("poisoned on purpose")
            done.append(run)

    async with running(failing):
        await until(lambda: b"99" in values(done))
    assert await committed(broker, app_id, topic) == {0: 30}

    healed = make_app(broker, tmp_path / "b", app_id)
    again: list[Run] = []

    @healed.agent(batch_topic(healed, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def works(stream: object) -> None:
        async for run in each_run(stream):
            again.append(run)

    async with running(healed):
        await until(lambda: b"99" in values(again))
    assert values(again) == sent[30:]
    assert await committed(broker, app_id, topic) == {0: 100}


async def test_runs_acknowledged_out_of_order_are_committed_in_order(broker: str, tmp_path: Path) -> None:
    topic, app_id = await make_topic(broker), unique("app")
    app = make_app(broker, tmp_path, app_id, BatchOptions(run_records=10, drain_timeout=0.5))
    events: list[Any] = []

    @app.agent(batch_topic(app, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            events.append(event)

    await send(broker, topic, [b"%d" % number for number in range(50)])
    async with running(app):
        await until(lambda: sum(len(event.value) for event in events) == 50)
        events[2].ack()
        events[1].ack()
        await app.consumer.commit()
        assert await committed(broker, app_id, topic) == {}
        events[0].ack()
        await app.consumer.commit()
        assert await committed(broker, app_id, topic) == {0: 30}
        for event in events[3:]:
            event.ack()
        await app.consumer.commit()
        assert await committed(broker, app_id, topic) == {0: 50}


async def test_what_was_committed_before_an_assignment_counts_as_acknowledged_after_it(
    broker: str, tmp_path: Path
) -> None:
    topic, app_id = await make_topic(broker, 2), unique("app")
    sent = [b"%d" % number for number in range(20)]
    await send(broker, topic, sent)

    async def takes_all(folder: str) -> dict[tuple[str, int], int]:
        app, done = make_app(broker, tmp_path / folder, app_id), asyncio.Event()

        @app.agent(batch_topic(app, topic, partitions=2))  # type: ignore[untyped-decorator]
        async def agent(stream: object) -> None:
            async for run in each_run(stream):
                if run.last_offset == len(sent) - 1:
                    done.set()

        async with running(app):
            if folder == "first":
                await asyncio.wait_for(done.wait(), DEADLINE)
            await until(lambda: bool(app.consumer and acknowledged_positions(app)))
            return acknowledged_positions(app)

    assert await takes_all("first") == {(topic, 0): len(sent)}
    assert await takes_all("second") == {(topic, 0): len(sent)}


async def test_a_run_held_through_a_rebalance_is_not_committed_by_its_old_owner(broker: str, tmp_path: Path) -> None:
    topic, app_id = await make_topic(broker, 2), unique("app")
    old_gate, new_gate = asyncio.Event(), asyncio.Event()
    taken: list[tuple[str, Run]] = []

    def worker(name: str) -> Any:
        app = make_app(broker, tmp_path / name, app_id, QUICK)

        @app.agent(batch_topic(app, topic, partitions=2))  # type: ignore[untyped-decorator]
        async def agent(stream: object) -> None:
            async for run in each_run(stream):
                taken.append((name, run))
                await (old_gate if len(taken) == 1 else new_gate).wait()

        return app

    await send(broker, topic, [b"a"], 0)
    await send(broker, topic, [b"b"], 1)
    first, second = worker("first"), worker("second")
    async with running(first):
        await until(lambda: len(taken) == 1)
        async with running(second):
            await until(lambda: len(first.consumer.assignment()) == len(second.consumer.assignment()) == 1)
            await until(lambda: any(name == "second" for name, _ in taken))
            old_gate.set()  # the first worker's run of before the rebalance ends only now
            await until(lambda: [name for name, _ in taken].count("first") == 2)
            await first.consumer.commit()
            assert await committed(broker, app_id, topic) == {}
            new_gate.set()

            async def all_committed() -> bool:
                await asyncio.gather(first.consumer.commit(), second.consumer.commit())
                return await committed(broker, app_id, topic) == {0: 1, 1: 1}

            await until(all_committed)
    # The run that was held came twice; the other one once.
    assert sorted(values([run for _, run in taken])) in ([b"a", b"a", b"b"], [b"a", b"b", b"b"])


async def test_a_takeover_loses_nothing_and_begins_where_the_other_stopped(broker: str, tmp_path: Path) -> None:
    topic, app_id = await make_topic(broker, 2), unique("app")
    seen: dict[str, list[Run]] = {"first": [], "second": []}

    def worker(name: str) -> Any:
        app = make_app(broker, tmp_path / name, app_id)

        @app.agent(batch_topic(app, topic, partitions=2))  # type: ignore[untyped-decorator]
        async def agent(stream: object) -> None:
            async for run in each_run(stream):
                seen[name].append(run)

        return app

    async def send_both(batch: list[bytes]) -> None:
        await asyncio.gather(*(send(broker, topic, batch, partition) for partition in (0, 1)))

    first, second = worker("first"), worker("second")
    early, middle, late = ([b"%s-%d" % (name, number) for number in range(50)] for name in (b"e", b"m", b"l"))
    async with running(second):
        async with running(first):
            await until(lambda: len(first.consumer.assignment()) == len(second.consumer.assignment()) == 1)
            await send_both(early)
            await until(lambda: len(values(seen["first"] + seen["second"])) == 100)
            await send_both(middle)
            await until(lambda: len(values(seen["first"] + seen["second"])) == 200)
        await until(lambda: len(second.consumer.assignment()) == 2)
        await send_both(late)
        await until(lambda: len(values(seen["first"] + seen["second"])) >= 300)
    # An orderly leave commits what is done, so nothing at all comes twice.
    assert sorted(values(seen["first"] + seen["second"])) == sorted((early + middle + late) * 2)
    assert await committed(broker, app_id, topic) == {0: 150, 1: 150}


async def test_a_table_beside_a_batch_topic_is_restored_from_its_changelog(broker: str, tmp_path: Path) -> None:
    batched, plain, app_id = await make_topic(broker), await make_topic(broker), unique("app")

    def worker(name: str) -> tuple[Any, Any, list[Run]]:
        # Lingering, so that the changelog's last batch has several records: see streams/transport/ends.py.
        app = make_app(broker, tmp_path / name, app_id, linger=0.2)
        counts = app.Table("counts", default=int, partitions=1)
        runs: list[Run] = []

        @app.agent(app.topic(plain, key_type=bytes, value_type=bytes, value_serializer="raw", partitions=1))  # type: ignore[untyped-decorator]
        async def count(stream: Any) -> None:
            async for value in stream:
                counts[value.decode()] += 1

        @app.agent(batch_topic(app, batched, partitions=1))  # type: ignore[untyped-decorator]
        async def collect(stream: object) -> None:
            async for run in each_run(stream):
                runs.append(run)

        return app, counts, runs

    await send(broker, batched, [b"x"] * 20)
    await send(broker, plain, [b"a", b"b", b"a", b"a"])
    app, counts, runs = worker("before")
    async with running(app):
        await until(lambda: len(values(runs)) == 20 and dict(counts) == {"a": 3, "b": 1})
    app, counts, runs = worker("after")
    async with running(app):
        await until(lambda: dict(counts) == {"a": 3, "b": 1})
        await send(broker, plain, [b"b"])
        await send(broker, batched, [b"y"])
        await until(lambda: dict(counts) == {"a": 3, "b": 2} and values(runs) == [b"y"])


async def test_a_message_that_no_stream_took_up_is_not_committed(broker: str, tmp_path: Path) -> None:
    topic, app_id = await make_topic(broker), unique("app")
    app = make_app(broker, tmp_path, app_id)
    events: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(batch_topic(app, topic, partitions=1))  # type: ignore[untyped-decorator]
    async def agent(stream: Any) -> None:
        async for event in stream.noack().events():
            events.put_nowait(event)

    await send(broker, topic, [b"x"])
    async with running(app):
        event = await asyncio.wait_for(events.get(), DEADLINE)
        event.message.tracked = False  # as it is when a stream skips a message during a rebalance
        event.ack()
        await app.consumer.commit()
        assert await committed(broker, app_id, topic) == {}


async def test_three_workers_get_the_same_partitions_of_every_topic(broker: str, tmp_path: Path) -> None:
    names = sorted([await make_topic(broker, 8) for _ in range(3)])
    app_id = unique("app")
    apps = [make_app(broker, tmp_path / str(number), app_id) for number in range(3)]

    async def agent(stream: Any) -> None:
        async for _ in each_run(stream):
            pass

    for app in apps:
        for name in names:
            app.agent(batch_topic(app, name, partitions=8), name=name)(agent)

    def numbers(app: Any) -> list[set[int]]:
        mine = app.consumer.assignment() if app.consumer_generation_id else set()
        return [{tp.partition for tp in mine if tp.topic == name} for name in names]

    def even() -> bool:
        return sorted(len(numbers(app)[0]) for app in apps) == [2, 3, 3]

    async with running(apps[0]), running(apps[1]), running(apps[2]):
        await until(even)
        for app in apps:
            first, *others = numbers(app)
            assert others == [first, first]
