"""State by partition: restored before the first run of a partition, dropped when the partition goes."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Generic, TypeVar

from jianguan.errors import UnavailableError

log = logging.getLogger(__name__)

RETRY_PAUSE: Final = 1.0

State = TypeVar("State")


class Owned(Generic[State]):
    """One state for each partition that this worker owns.

    `restore(partition)` builds the state; while it runs, that partition waits and others go on. While the store is away
    it is tried again every `pause` seconds; any other failure is raised, and the next `get` tries again: nothing is
    processed on a state that is not whole.
    """

    def __init__(self, restore: Callable[[int], Awaitable[State]], pause: float = RETRY_PAUSE) -> None:
        self._restore = restore
        self._pause = pause
        self._states: dict[int, State] = {}
        self._locks: dict[int, asyncio.Lock] = {}
        self._given_up: Counter[int] = Counter()  # how often each partition was

    async def get(self, partition: int) -> State:
        """The state of `partition`, restored if it is not here yet."""
        state = self._states.get(partition)
        if state is not None:
            return state
        async with self._locks.setdefault(partition, asyncio.Lock()):
            if partition in self._states:
                return self._states[partition]
            given_up = self._given_up[partition]
            state = await self._restored(partition)
            # A partition that was given up meanwhile goes on elsewhere: should it come back, this state is old.
            if given_up == self._given_up[partition]:
                self._states[partition] = state
            return state

    def keep_only(self, partitions: set[int]) -> None:
        """Drop the state of every partition that is not among `partitions`."""
        for partition in set(self._locks) - partitions:
            self._given_up[partition] += 1
            self._states.pop(partition, None)

    async def _restored(self, partition: int) -> State:
        while True:
            try:
                return await self._restore(partition)
            except UnavailableError as error:
                log.warning("partition %d waits for its state: %s", partition, error)
                await asyncio.sleep(self._pause)

    def __iter__(self) -> Iterator[tuple[int, State]]:
        return iter(list(self._states.items()))

    def __len__(self) -> int:
        return len(self._states)
