"""State by partition: one restore at a time, tried again while the store is away, never an old state."""

from __future__ import annotations

import asyncio

import pytest

from jianguan.errors import UnavailableError
from streams.owned import Owned


class Restores:
    """Counts restores; each waits for `gate` and fails as told."""

    def __init__(self) -> None:
        self.made: list[int] = []
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.most = 0

    async def __call__(self, partition: int) -> str:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            if self.failures:
                raise self.failures.pop(0)
            self.made.append(partition)
            return f"state {len(self.made)} of {partition}"
        finally:
            self.running -= 1


async def test_a_state_is_restored_once_however_many_ask() -> None:
    restores = Restores()
    owned = Owned(restores)
    assert set(await asyncio.gather(*[owned.get(3) for _ in range(5)])) == {"state 1 of 3"}
    assert await owned.get(3) == "state 1 of 3"
    assert restores.made == [3]
    assert restores.most == 1
    assert list(owned) == [(3, "state 1 of 3")]


async def test_while_the_store_is_away_the_restore_is_tried_again() -> None:
    restores = Restores()
    restores.failures += [UnavailableError("away"), UnavailableError("away")]
    assert await Owned(restores, pause=0.001).get(0) == "state 1 of 0"
    assert restores.failures == []


async def test_any_other_failure_is_raised_and_the_next_one_tries_again() -> None:
    restores = Restores()
    restores.failures.append(ZeroDivisionError())
    owned = Owned(restores)
    with pytest.raises(ZeroDivisionError):
        await owned.get(0)
    assert await owned.get(0) == "state 1 of 0"


async def test_one_partition_does_not_wait_for_the_restore_of_another() -> None:
    restores = Restores()
    owned = Owned(restores)
    await owned.get(1)
    restores.gate.clear()
    slow = asyncio.create_task(owned.get(2))
    await asyncio.sleep(0)
    assert await owned.get(1) == "state 1 of 1"
    restores.gate.set()
    assert await slow == "state 2 of 2"


async def test_partitions_that_are_gone_lose_their_state() -> None:
    restores = Restores()
    owned = Owned(restores)
    for partition in range(3):
        await owned.get(partition)
    owned.keep_only({1, 7})
    assert [partition for partition, _ in owned] == [1]
    assert len(owned) == 1
    assert await owned.get(0) == "state 4 of 0"


async def test_what_was_being_restored_when_the_partition_went_is_not_kept() -> None:
    restores = Restores()
    owned = Owned(restores)
    restores.gate.clear()
    task = asyncio.create_task(owned.get(0))
    await asyncio.sleep(0)
    owned.keep_only({5})
    restores.gate.set()
    assert await task == "state 1 of 0"
    assert await owned.get(0) == "state 2 of 0"


async def test_a_restore_that_is_cancelled_leaves_the_way_free() -> None:
    restores = Restores()
    owned = Owned(restores)
    restores.gate.clear()
    task = asyncio.create_task(owned.get(0))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    restores.gate.set()
    assert await owned.get(0) == "state 1 of 0"
