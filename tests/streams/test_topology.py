"""What the shell around the stages sends, and what it keeps to itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from jianguan.domain.delivery import Notice
from jianguan.domain.trace import Records
from jianguan.errors import UnavailableError
from jianguan.metrics import Metrics
from streams import topology
from streams.lease import Lease
from streams.stages import Stages
from streams.topology import HANDED, Pipeline
from streams.transport.run import Place, Run
from tests.streams.fakes import until


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Out:
    """An outbox: what `send` queued is sent when it settles. `failures` are raised first."""

    def __init__(self) -> None:
        self.ends = {("facts", 0): 2}
        self.settled = 0
        self.failures: list[Exception] = []

    async def settle(self, queued: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.settled += 1


def stages(**parts: Any) -> Stages:
    """As much of the stages as a test needs."""
    return cast(Stages, SimpleNamespace(alone=False, **parts))


def pipeline(out: Out, lease: Lease) -> Pipeline:
    made = Pipeline(stages(outbox=out, clock=SimpleNamespace(monotonic=lambda: 0.0)))
    made._lease = lease
    return made


async def nothing() -> list[Awaitable[Any]]:
    return []


async def test_what_was_handed_to_the_record_stage_ends_where_it_is_and_is_worked_as_far_as_it_is_stored() -> None:
    recorder = SimpleNamespace(handed=7, handed_stored=4)
    made = Pipeline(stages(clock=SimpleNamespace(monotonic=Time()), outbox=Out(), recorder=recorder, prefix="p-"))
    assert made.ends() == {("facts", 0): 2, HANDED: 7}
    assert made.positions() == {}
    worked = {("p-facts", 0): 1, ("p-complaints", 0): 9}
    made._app = SimpleNamespace(consumer=SimpleNamespace(transport=None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(topology, "acknowledged_positions", lambda app: worked)
        assert made.positions() == {("facts", 0): 1, ("complaints", 0): 9, HANDED: 4}


async def test_what_was_in_hand_while_the_partitions_went_is_not_sent() -> None:
    time, out = Time(), Out()
    lease = Lease(30.0, time)
    lease.assigned()
    made, began = pipeline(out, lease), lease.generation
    assert await made._persist(nothing, began)
    time.now += 60  # stopped in the middle of the next run
    sending = asyncio.create_task(made._persist(nothing, began))
    await asyncio.sleep(0)
    lease.assigned()
    assert not await asyncio.wait_for(sending, 5)
    assert out.settled == 1
    assert await made._persist(nothing, lease.generation)


async def test_work_that_is_given_up_when_the_partitions_are_shared_out_is_known_of_by_then() -> None:
    time, out = Time(), Out()
    lease = Lease(30.0, time)
    lease.assigned()
    made = pipeline(out, lease)
    assert await made._persist(nothing, lease.generation)
    time.now += 60
    lease.assigned()
    assert not made.gave_up_work  # nothing was in hand
    time.now += 60
    sending = asyncio.create_task(made._persist(nothing, lease.generation))
    await asyncio.sleep(0)
    lease.assigned()
    assert made.gave_up_work
    assert not await asyncio.wait_for(sending, 5)
    assert not made.gave_up_work


async def test_a_stage_that_tries_again_for_long_asks_again_whether_it_may() -> None:
    time, out = Time(), Out()
    lease = Lease(30.0, time)
    lease.assigned()
    out.failures = [UnavailableError("away")]
    made = pipeline(out, lease)

    async def late() -> list[Awaitable[Any]]:
        time.now += 60
        lease.assigned()
        return []

    assert not await asyncio.wait_for(made._persist(late, lease.generation), 5)
    assert out.settled == 0


async def test_a_task_that_has_ended_is_told_apart_from_a_store_that_is_away_and_a_poisoned_topic() -> None:
    end = asyncio.Event()

    async def record() -> None:
        await end.wait()
        raise RuntimeError("nobody expected this")

    recorder = SimpleNamespace(run=record, failure="away")
    made = Pipeline(stages(clock=SimpleNamespace(monotonic=Time()), outbox=Out(), recorder=recorder))
    made.poisoned["complaints"] = "nearly every record is invalid"
    made.start()
    assert made.ended() == []
    assert len(made.failures()) == 2
    end.set()
    await until(made.ended)
    assert made.ended() == ["recorder has ended: RuntimeError('nobody expected this')"]
    assert made.failures()[2:] == made.ended()
    await made.stop()


def test_a_poisoned_topic_does_not_stand_still_nor_does_anything_while_the_store_is_away() -> None:
    recorder = SimpleNamespace(failure="")
    made = Pipeline(
        stages(clock=SimpleNamespace(monotonic=Time()), recorder=recorder, correlate=[], prefix="p.", partitions=2)
    )
    assert made.held() == set()
    made.poisoned["violations"] = "nearly every record is invalid"
    assert made.held() == {Place("p.violations", 0), Place("p.violations", 1)}
    recorder.failure = "away"
    assert set(made.held()) >= {Place("p.records", 1), Place("p.facts", 0), Place("p.violations", 1)}


async def test_a_topic_that_is_read_no_further_is_told_by_a_metric() -> None:
    metrics = Metrics(CollectorRegistry())
    made = Pipeline(stages(clock=SimpleNamespace(monotonic=Time()), metrics=metrics))
    halted = asyncio.create_task(made._halt("violations"))
    await until(lambda: made.poisoned)
    assert metrics.registry.get_sample_value("jianguan_poisoned_topics", {"topic": "violations"}) == 1
    halted.cancel()
    await asyncio.gather(halted, return_exceptions=True)


async def test_facts_of_a_rule_that_another_worker_loaded_first_wait_for_it_here() -> None:
    time, known = Time(), {"a": 1}

    def is_ahead(rule: str, version: int) -> bool:
        return version > known.get(rule, 0)

    made = Pipeline(stages(clock=SimpleNamespace(monotonic=time), is_ahead=is_ahead))
    await asyncio.wait_for(made._wait_for_rules({("a", 1)}), 5)
    waiting = asyncio.create_task(made._wait_for_rules({("a", 1), ("a", 2), ("b", 1)}))
    await asyncio.sleep(0)
    assert not waiting.done()
    known.update(a=2, b=1)
    await asyncio.wait_for(waiting, 5)


async def test_a_rule_that_never_comes_is_waited_for_once_and_not_for_ever() -> None:
    time = Time()
    made = Pipeline(stages(clock=SimpleNamespace(monotonic=time), is_ahead=lambda rule, version: rule == "gone"))
    waiting = asyncio.create_task(made._wait_for_rules({("gone", 3)}))
    await asyncio.sleep(0)
    time.now += 31
    await asyncio.wait_for(waiting, 5)
    await asyncio.wait_for(made._wait_for_rules({("gone", 3)}), 5)


@pytest.mark.parametrize("stays", [True, False])
async def test_a_notice_waits_until_the_deliveries_of_its_partition_are_known_unless_that_went_meanwhile(
    stays: bool,
) -> None:
    known, told, out = asyncio.Event(), [], Out()
    lease = Lease(30.0, Time())
    lease.assigned()

    async def recall(partition: int) -> None:
        assert partition == 3
        await known.wait()

    async def records(_: Records) -> list[Awaitable[Any]]:
        return []

    def deliver(notices: Iterable[Notice]) -> Records:
        told.append(list(notices))
        return Records()

    outbox = SimpleNamespace(records=records, settle=out.settle)
    clock = SimpleNamespace(monotonic=Time())
    made = Pipeline(stages(clock=clock, outbox=outbox, recall=recall, deliver=deliver))
    made._lease = lease
    run = SimpleNamespace(partition=3, records=[])
    delivering = asyncio.create_task(made._deliver(cast(Run, run), lease.generation))
    await asyncio.sleep(0)
    assert told == []
    if not stays:
        lease.assigned()
    known.set()
    await asyncio.wait_for(delivering, 5)
    assert told == ([[]] if stays else [])
