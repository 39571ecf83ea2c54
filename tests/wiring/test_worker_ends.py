"""When a worker of a cluster ends by itself, to be started again by its supervisor, and what is said of the pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jianguan.wiring import cluster as module
from jianguan.wiring.cluster import DashboardsProcess, Worker
from streams.transport.run import Place
from streams.watchdog import Stuck
from tests.streams.fakes import until


class World:
    """A worker whose parts are well, until a test says otherwise."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.ended: list[str] = []
        self.looks = 0
        worker = self.worker = Worker.__new__(Worker)
        worker._takeover = cast(Any, SimpleNamespace(failures=self._look))
        worker._app = SimpleNamespace(crashed=False)
        self.positions = SimpleNamespace(refusal="", denied=self._rights)
        self.lost = ""  # the rights that the broker denies when it is asked
        worker._positions = cast(Any, self.positions)
        worker._denied = ""
        worker._tasks = []
        worker.stuck = asyncio.Event()
        pipeline = SimpleNamespace(failures=lambda: self.failures + self.ended, ended=lambda: self.ended)
        worker._parts = cast(Any, SimpleNamespace(pipeline=pipeline))

    def _look(self) -> list[str]:
        self.looks += 1
        return []

    async def _rights(self) -> str:
        return self.lost


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "CRASH_POLL", 0.001)
    monkeypatch.setattr(module, "transport_of", lambda app: SimpleNamespace(namesake=SimpleNamespace(found=False)))
    made = World()
    watching = asyncio.create_task(made.worker._watch_app())
    yield made
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_worker_ends_when_a_task_beside_its_stages_has_ended(world: World) -> None:
    await until(lambda: world.looks > 1)
    assert not world.worker.stuck.is_set()
    world.ended = ["tick has ended: RuntimeError()"]
    await until(world.worker.stuck.is_set)


async def test_a_worker_that_the_brokers_refuse_ends_to_begin_with_the_password_that_counts_by_then(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: world.looks > 1)
    world.positions.refusal = "the broker k:9092 refuses the user jianguan"
    await until(world.worker.stuck.is_set)
    assert caplog.messages == ["this worker ends, to be started again: the broker k:9092 refuses the user jianguan"]


async def test_a_worker_whose_stages_crash_says_first_which_right_it_has_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: world.looks > 1)
    world.lost = "the broker denies the user jianguan Read on the group jianguan"
    world.worker._app = SimpleNamespace(crashed=True, crash_reason=RuntimeError())
    await until(world.worker.stuck.is_set)
    (message,) = caplog.messages
    assert message.startswith(f"this worker ends, to be started again: {world.lost}; the stages have crashed")


async def test_a_worker_goes_on_while_the_store_is_away_or_a_topic_is_poisoned(world: World) -> None:
    world.failures = ["the store does not take records: away"]
    await until(lambda: world.looks > 5)
    assert not world.worker.stuck.is_set()


async def test_a_worker_that_stands_still_ends_though_a_topic_is_poisoned(world: World) -> None:
    world.failures = ["nearly every record on the topic complaints is invalid"]
    world.worker._on_stuck([Stuck(Place("facts", 0), 7, 3, 60.0)])
    assert world.worker.stuck.is_set()


async def test_the_pages_are_not_ready_when_nobody_follows_what_happens_any_more() -> None:
    async def end() -> None:
        raise OSError("no such thing")

    process = DashboardsProcess.__new__(DashboardsProcess)
    process._failure = ""
    process._outside = cast(Any, SimpleNamespace(failures={"broker": "", "store": ""}))
    process._tasks = [asyncio.create_task(end(), name="follow")]
    assert process._health().ready
    await asyncio.gather(*process._tasks, return_exceptions=True)
    assert not process._health().ready
    assert process._health().checks["tasks"].detail == "follow has ended: OSError('no such thing')"


@pytest.mark.parametrize(("part", "ready"), [("broker", False), ("store", True)])
async def test_the_pages_are_ready_without_their_store_but_not_without_their_broker_and_tell_of_both(
    part: str, ready: bool
) -> None:
    process = DashboardsProcess.__new__(DashboardsProcess)
    process._failure = ""
    process._tasks = []
    process._outside = cast(Any, SimpleNamespace(failures={"broker": "", "store": "", part: "it is away"}))
    health = process._health()
    assert health.ready is ready
    assert (health.checks[part].ok, health.checks[part].detail) == (False, "it is away")
