"""What goes wrong while the broker is replaced is tried again, and what has ended is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaConnectionError
from faust.exceptions import ConsumerNotStarted, ProducerSendError
from prometheus_client import CollectorRegistry

from jianguan.clock import SystemClock
from jianguan.embedded import system as module
from jianguan.embedded.system import EmbeddedSystem
from jianguan.errors import UnavailableError
from jianguan.metrics import Metrics
from streams.transport.run import Place
from streams.watchdog import Stuck, Watchdog
from tests.streams.fakes import until


class Consumer:
    """Of an app that has no partitions yet."""

    def assignment(self) -> set[Any]:
        raise ConsumerNotStarted


class App:
    """Its start and its stop do what they are told to."""

    def __init__(self, world: World) -> None:
        self.consumer = Consumer()
        self.stopped = False
        self._world = world

    async def start(self) -> None:
        if self._world.starts:
            await self._world.starts.pop(0)()

    async def stop(self) -> None:
        self.stopped = True
        if self._world.stops:
            raise self._world.stops.pop(0)


class World:
    """An embedded system over a broker, apps and stages that only note what is asked of them."""

    def __init__(self, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
        self.apps: list[App] = []
        self.starts: list[Callable[[], Any]] = []
        self.stops: list[BaseException] = []
        self.brokers = 0
        self.rebuilt = 0
        self.gate: list[str] = []

        def create(_: object) -> App:
            self.apps.append(App(self))
            return self.apps[-1]

        async def topics(*_: object) -> None: ...

        patch.setattr(module, "create_app", create)
        patch.setattr(module, "ensure_topics", topics)
        patch.setattr(module, "RESTART_PAUSE", 0.001)
        patch.setattr(module, "WATCH", 0.001)
        self.journal = SimpleNamespace(
            entries=lambda: iter(()), roll=lambda: 0, drop_before=lambda mark: 0, size=lambda: 0
        )
        self.poisoned: list[str] = []
        self.ended: list[str] = []
        pipeline = SimpleNamespace(
            attach=lambda app: None, detach=lambda: None, ends=dict, positions=dict, held=tuple,
            failures=lambda: self.poisoned + self.ended, ended=lambda: self.ended,
        )  # fmt: skip

        async def settle(_: object) -> None: ...
        async def rebuild() -> None:
            self.rebuilt += 1

        async def resume() -> None: ...

        self.system = EmbeddedSystem(
            tmp_path,
            cast(Any, pipeline),
            cast(Any, SimpleNamespace(settle=settle)),
            cast(Any, SimpleNamespace(open=lambda: self.gate.append("open"), shut=lambda: self.gate.append("shut"))),
            cast(Any, self.journal),
            lambda address: cast(Any, address),
            SystemClock(),
            Metrics(CollectorRegistry()),
            prefix="",
            partitions=1,
            broker_memory=10**12,
            rebuild=rebuild,
            resume=resume,
        )
        self.system._broker = cast(
            Any, SimpleNamespace(start=self._new, restart=self._new, stop=topics, pid=None, address="127.0.0.1:1")
        )

    async def _new(self) -> None:
        self.brokers += 1

    @property
    def flows(self) -> bool:
        return not self.system.failures() and self.gate[-1] == "open"


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(tmp_path, monkeypatch)
    yield made
    await made.system.stop()


def failing(error: BaseException) -> Callable[[], Any]:
    async def start(*_: object) -> None:
        raise error

    return start


@pytest.mark.parametrize("error", [KafkaConnectionError("gone"), ProducerSendError("gone"), OSError("gone")])
async def test_a_broker_that_goes_away_while_the_stages_begin_on_it_is_replaced_again(
    world: World, error: Exception
) -> None:
    await world.system.start()
    world.starts += [failing(error)] * 2
    world.system._on_death(-9)
    assert not world.flows
    await until(lambda: world.flows)
    assert world.brokers == 4
    assert [app.stopped for app in world.apps] == [True, True, True, False]


async def test_a_broker_that_dies_while_the_stages_wait_for_it_is_replaced_again(world: World) -> None:
    await world.system.start()

    async def die_and_wait() -> None:
        world.system._on_death(-9)
        await asyncio.Event().wait()

    world.starts.append(die_and_wait)
    world.system._on_death(-9)
    await until(lambda: world.flows)
    assert world.brokers == 3


@pytest.mark.parametrize("during", ["start", "stop"])
async def test_a_client_that_lets_a_cancellation_of_its_own_out_is_replaced_again(world: World, during: str) -> None:
    await world.system.start()
    if during == "start":
        world.starts.append(failing(asyncio.CancelledError()))
    else:
        world.stops.append(asyncio.CancelledError())
    world.system._on_death(-9)
    await until(lambda: world.flows)
    world.system._on_death(-9)
    await until(lambda: not world.flows)
    await until(lambda: world.flows)


async def test_an_app_that_does_not_stop_in_order_is_left_behind(world: World) -> None:
    await world.system.start()
    world.stops.append(KafkaConnectionError("gone"))
    world.system._on_death(-9)
    await until(lambda: world.flows)
    assert world.brokers == 2


async def test_an_empty_broker_that_fails_may_have_been_sent_something_already(world: World) -> None:
    await world.system.start()
    world.starts.append(failing(KafkaConnectionError("gone")))
    await world.system._replace("memory")
    assert world.rebuilt == 2  # at the start, and after the failure


async def test_a_broker_that_goes_away_at_the_start_is_an_unavailable_one(world: World) -> None:
    world.starts.append(failing(KafkaConnectionError("gone")))
    with pytest.raises(UnavailableError, match="broker went away"):
        await world.system.start()


STUCK = Stuck(Place("facts", 0), 7, 3, 60.0)


async def test_stages_that_stand_still_are_restarted_though_another_topic_is_poisoned(world: World) -> None:
    await world.system.start()
    world.poisoned = ["nearly every record on the topic complaints is invalid"]
    world.system._on_stuck([STUCK])
    await until(lambda: world.brokers == 2 and world.flows)


async def test_stages_that_stand_still_since_a_task_has_ended_are_not_restarted_in_vain(world: World) -> None:
    await world.system.start()
    world.ended = ["recorder has ended: RuntimeError()"]
    world.system._on_stuck([STUCK])
    await asyncio.sleep(0.05)
    assert (world.brokers, world.system.problem) == (1, "")


async def test_a_watch_that_has_ended_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> int:
        raise RuntimeError("nobody expected this")

    await world.system.start()
    assert world.system.failures() == []
    monkeypatch.setattr(world.system, "_broker_bytes", broken)
    await until(world.system.failures)
    assert world.system.failures() == ["embedded-watch has ended: RuntimeError('nobody expected this')"]


async def test_a_watchdog_that_has_ended_is_told_and_begins_again_with_the_next_broker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.system.start()
    with monkeypatch.context() as patch:
        patch.setattr(Watchdog, "run", failing(RuntimeError("nobody expected this")))
        world.system._on_death(-9)
        await until(lambda: world.brokers == 2 and world.gate[-1] == "open" and world.system.failures())
    assert world.system.failures() == ["watchdog has ended: RuntimeError('nobody expected this')"]
    world.system._on_death(-9)
    await until(lambda: world.flows)
