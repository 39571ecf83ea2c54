"""What a worker keeps, drops and restores when the group shares out the partitions anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jianguan.clock import VirtualClock, from_millis
from jianguan.domain.delivery import Delivery
from jianguan.domain.ids import partition_of
from jianguan.errors import ConfigurationError, UnavailableError
from jianguan.wiring import takeover
from jianguan.wiring.parts import Parts
from jianguan.wiring.tail import Tail
from jianguan.wiring.takeover import READ, Takeover, together
from jianguan.wiring.tasks import Shared
from jianguan.wiring.watermark import GroupWatermark
from sinks.store import BlockStore
from streams.seen import SeenEvents
from tests.contract.samples import NOW, alert, case, delivery, event, task
from tests.streams.fakes import until


def places(*numbers: int, prefix: str = "") -> list[Any]:
    return [SimpleNamespace(topic=topic.under(prefix), partition=number) for topic in READ for number in numbers]


class Owner:
    """States by partition."""

    def __init__(self) -> None:
        self.states: dict[int, Any] = {}
        self.kept: list[set[int]] = []

    async def get(self, number: int) -> Any:
        return self.states.setdefault(number, SimpleNamespace(settling=False))

    def keep_only(self, numbers: set[int]) -> None:
        self.kept.append(numbers)
        self.states = {number: state for number, state in self.states.items() if number in numbers}

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        return iter(list(self.states.items()))


class World:
    """A takeover among parts that note what is asked of them. The store is empty, but for what `seen` gives."""

    def __init__(self) -> None:
        self.correlate, self.handle = Owner(), Owner()
        self.expected: list[set[int]] = []
        self.settled: list[tuple[int, int]] = []
        self.owed: list[int] = []
        self.away = 0  # how often the store does not tell what is owed
        self.departments: list[Callable[[str], bool]] = []
        self.tails = 0
        self.seen: list[tuple[str, str, str]] = []
        self.reached = asyncio.Event()
        self.begun: list[tuple[set[int], ...]] = []  # partitions that are expected, and whose windows stay, by round
        self.whole = asyncio.Event()
        self.whole.set()

        def keep(numbers: set[int]) -> None:
            self.correlate.keep_only(numbers)
            self.handle.keep_only(numbers)

        async def settle(number: int, state: Any, reached: int) -> None:
            assert self.exclusive.locked()
            self.settled.append((number, reached))
            state.number = number

        async def owe(state: Any) -> None:
            assert not self.exclusive.locked()
            if self.away:
                self.away -= 1
                raise UnavailableError("the store is away")
            self.owed.append(state.number)
            state.settling = True

        def begin(*given: set[int]) -> None:
            self.begun.append(given)

        async def complete() -> None:
            await self.whole.wait()

        async def known() -> int:
            await self.reached.wait()
            return NOW

        async def read() -> Tail:
            self.tails += 1
            tail = Tail()
            for name, content, receipt in self.seen:
                tail.hashes[name], tail.receipts[name] = content, receipt
            return tail

        self.exclusive = asyncio.Lock()
        self.memory = SeenEvents(1_000)
        self.takeover = Takeover(
            cast(BlockStore, SimpleNamespace(blocks=lambda *_: iter(()), query=lambda *_: [])),
            VirtualClock(from_millis(NOW)),
            read,
            cast(GroupWatermark, SimpleNamespace(known=known)),
        )
        parts = SimpleNamespace(
            settings=SimpleNamespace(topic_prefix="", seen_events=1_000),
            partitions=8,
            pipeline=SimpleNamespace(
                keep_only=keep, exclusive=self.exclusive, gave_up_work=False, generation=0, holds=True
            ),
            correlate=self.correlate,
            handle=self.handle,
            seen=self.memory,
            desk=SimpleNamespace(keep_only=self.departments.append, restore=lambda pending, finished: None),
            restorer=SimpleNamespace(expect=self.expected.append, settle=settle, owe=owe),
            early=SimpleNamespace(
                begin=lambda *given: self.begun.append(given), complete=complete, abandon=lambda: None
            ),
        )
        self.takeover.begin(cast(Parts, parts))

    async def assigned(self, generation: int, *numbers: int) -> None:
        app = SimpleNamespace(consumer_generation_id=generation)
        await self.takeover.assigned(app, places(*numbers))

    async def restored(self) -> None:
        self.reached.set()
        async with asyncio.timeout(5):
            assert self.takeover._task is not None
            await self.takeover._task


async def test_every_partition_is_restored_without_a_record_of_it() -> None:
    world = World()
    await world.assigned(1, 2, 5)
    await world.restored()
    assert set(world.correlate.states) == set(world.handle.states) == {2, 5}
    assert world.expected[0] == {2, 5}
    assert world.settled == [(2, NOW), (5, NOW)]
    assert world.owed == [2, 5]


async def test_what_stays_is_kept_when_no_generation_passed_without_this_worker() -> None:
    world = World()
    await world.assigned(4, 0, 1)
    await world.restored()
    kept = world.handle.states[1]
    await world.assigned(5, 1, 2)
    await world.restored()
    assert world.handle.states[1] is kept
    assert set(world.handle.states) == {1, 2}
    assert [numbers for numbers in world.expected if numbers] == [{0, 1}, {2}]


async def test_nothing_is_kept_by_one_that_a_generation_passed_without() -> None:
    world = World()
    await world.assigned(4, 0, 1)
    await world.restored()
    old = world.handle.states[1]
    await world.assigned(6, 0, 1)
    await world.restored()
    assert world.handle.states[1] is not old
    assert [numbers for numbers in world.expected if numbers] == [{0, 1}, {0, 1}]
    assert not any(world.departments[-1](name) for name in ("police", "health", "fire", "market"))


async def test_nothing_is_kept_when_what_was_in_hand_is_not_sent_though_every_generation_was_seen() -> None:
    world = World()
    await world.assigned(4, 0, 1)
    await world.restored()
    world.takeover.parts.pipeline.gave_up_work = True  # type: ignore[misc]
    await world.assigned(5, 0, 1)
    await world.restored()
    assert world.correlate.kept == world.handle.kept == [set(), set()]
    assert world.tails == 2
    await world.takeover.stop()


async def test_what_is_in_memory_is_not_ours_from_the_end_of_the_lease_until_what_went_has_been_dropped() -> None:
    world = World()
    pipeline: Any = world.takeover.parts.pipeline
    assert world.takeover.owns()
    pipeline.holds = False
    assert not world.takeover.owns()
    pipeline.holds, pipeline.generation = True, 1  # shared out anew, and nobody has dropped anything yet
    assert not world.takeover.owns()
    await world.assigned(1, 0)
    assert world.takeover.owns()
    await world.takeover.stop()


async def test_windows_that_are_not_whole_yet_stay_with_their_partition_and_the_clock_waits_for_them() -> None:
    world = World()
    world.whole.clear()
    world.reached.set()
    await world.assigned(4, 0, 1)
    await world.takeover.admit(1)
    await world.assigned(5, 1, 2)
    assert world.begun == [({0, 1}, set()), ({1, 2}, {1, 2})]
    for _ in range(50):
        await asyncio.sleep(0)
    assert world.settled == []
    world.whole.set()
    await world.restored()
    assert world.settled == [(1, NOW), (2, NOW)]


async def test_the_clock_decides_nothing_until_it_is_known_what_is_through() -> None:
    world = World()
    await world.assigned(1, 0)
    await world.takeover.admit(0)
    await asyncio.sleep(0)
    assert world.settled == []
    await world.restored()
    assert world.settled == [(0, NOW)]


async def test_what_the_clock_had_settled_is_settled_once_however_often_the_store_is_asked_for_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(takeover, "RETRY_PAUSE", 0.0)
    world = World()
    world.away = 3
    await world.assigned(1, 2, 5)
    await world.restored()
    assert world.settled == [(2, NOW), (5, NOW)]
    assert (world.away, world.owed) == (0, [2, 5])


async def test_events_that_others_accepted_are_known_before_a_record_is_judged() -> None:
    world = World()
    await world.assigned(1, 0, 1)
    await world.takeover.admit(0)
    assert world.memory.see("ev-1", "hash", "receipt-2") == "new"
    world.seen = [("ev-2", "hash", "receipt-1")]
    await world.assigned(2, 0, 1, 2)
    await world.takeover.admit(2)
    assert world.memory.see("ev-2", "hash", "receipt-2") == "duplicate"


async def test_a_tail_is_read_anew_for_every_sharing_out() -> None:
    world = World()
    for generation in (1, 2):
        await world.assigned(generation, 0)
        await world.takeover.admit(0)
        await world.takeover.archive()
        await world.takeover.archive()
        assert world.tails == generation
    await world.restored()


async def test_deliveries_of_a_partition_that_went_while_they_were_read_are_not_taken_up() -> None:
    """Who has it now sends them: both would, until the partitions were shared out anew."""
    world, restored = World(), list[tuple[int, int]]()
    due = delivery(task(case([alert([event(1)])])))
    number = partition_of(due.department, 8)
    gates: list[asyncio.Event] = []

    async def told() -> tuple[list[Delivery], list[tuple[str, str]]]:
        gates.append(asyncio.Event())
        place = len(gates)
        await gates[place - 1].wait()
        return [due._replace(revision=place)], []

    def restore(pending: list[Delivery], finished: object) -> None:
        restored.extend((len(gates), each.revision) for each in pending)

    world.takeover.parts.desk.restore = restore  # type: ignore[assignment,method-assign]
    world.takeover._told = Shared(told)
    await world.assigned(1, number)
    recalling = asyncio.create_task(world.takeover.recall(number))
    await until(lambda: len(gates) == 1)
    await world.assigned(2, (number + 1) % 8)
    gates[0].set()
    await until(lambda: len(gates) == 2)
    gates[1].set()
    await asyncio.wait_for(recalling, 5)
    assert restored == []
    await world.assigned(3, number)
    again = asyncio.create_task(world.takeover.recall(number))
    await until(lambda: len(gates) == 3)
    gates[2].set()
    await asyncio.wait_for(again, 5)
    assert restored == [(3, 3)]
    await world.takeover.stop()


def test_partitions_of_one_number_must_come_together() -> None:
    assert together(places(0, 3, prefix="p."), "p.") == {0, 3}
    assert together([], "") == set()
    with pytest.raises(ConfigurationError, match=r"commands.*another version"):
        together([each for each in places(0, 3) if (each.topic, each.partition) != ("commands", 3)], "")


async def test_shared_work_is_done_once_and_again_only_after_a_failure() -> None:
    tries: list[int] = []

    async def make() -> int:
        tries.append(len(tries))
        await asyncio.sleep(0)
        if len(tries) == 1:
            raise UnavailableError("not now")
        return len(tries)

    shared = Shared(make)

    async def ask(times: int) -> Iterable[Any]:
        return await asyncio.gather(*[shared.get() for _ in range(times)], return_exceptions=True)

    assert [type(each) for each in await ask(3)] == [UnavailableError] * 3
    assert await ask(3) == [2, 2, 2]
    shared.forget()
    assert await ask(2) == [3, 3]
