"""State by partition: restored before the first run of a partition, dropped when the partition goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

State = TypeVar("State")


class Owned(Generic[State]):
    """One state for each partition that this worker owns.

    `restore(partition)` builds the state; while it runs, that partition waits and others go on. If it fails, the next
    run tries again: nothing is processed on a state that is not whole.
    """

    def __init__(self, restore: Callable[[int], Awaitable[State]]) -> None:
        self._restore = restore
        self._states: dict[int, State] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    async def get(self, partition: int) -> State:
        """The state of `partition`, restored if it is not here yet."""
        state = self._states.get(partition)
        if state is not None:
            return state
        async with self._locks.setdefault(partition, asyncio.Lock()):
            if partition not in self._states:
                self._states[partition] = await self._restore(partition)
            return self._states[partition]

    def keep_only(self, partitions: set[int]) -> None:
        """Drop the state of every partition that is not among `partitions`."""
        for partition in set(self._states) - partitions:
            del self._states[partition]

    def __iter__(self) -> Iterator[tuple[int, State]]:
        return iter(list(self._states.items()))

    def __len__(self) -> int:
        return len(self._states)
