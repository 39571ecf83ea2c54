"""What a worker does when the group gives it partitions: drops what is not its own any more, and restores the rest.

All of it is restored at once and not when the first record comes: clocks run in partitions where nothing happens, and
deliveries wait there to be tried again. State is kept over a rebalance only if no other one has passed meanwhile that
this worker did not take part in: another may have had the partitions then. Nor is it kept when the lease had run out
with something in hand, though nobody else had them: that is not sent, and what the clock had decided would never be.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from jianguan.clock import Clock, to_millis
from jianguan.domain.delivery import Delivery
from jianguan.domain.ids import partition_of
from jianguan.errors import ConfigurationError, UnavailableError
from jianguan.wiring.parts import Parts
from jianguan.wiring.tail import CurrentArchive, Tail
from jianguan.wiring.tasks import Shared
from jianguan.wiring.watermark import GroupWatermark
from sinks.store import BlockStore
from streams.correlate import Correlate
from streams.owned import Owned
from streams.topics import TopicName
from streams.transport.batch import App

log = logging.getLogger(__name__)

REMEMBER_DELIVERIES_MS: Final = 24 * 3_600_000
RETRY_PAUSE: Final = 1.0  # seconds
_PART: Final = 20_000  # events that are remembered at once
READ: Final = tuple(topic for topic in TopicName if topic is not TopicName.QUARANTINE)


class Takeover:
    """Of one worker. `read` reads the tail of the records topic."""

    def __init__(
        self, store: BlockStore, clock: Clock, read: Callable[[], Awaitable[Tail]], watermark: GroupWatermark
    ) -> None:
        self._store = store
        self._clock = clock
        self._watermark = watermark
        self._parts: Parts | None = None
        self._generation = -1
        self._numbers: set[int] = set()  # of the partitions that are this worker's
        self._shared_out = 0  # the pipeline's generation for which what is not ours was dropped
        self._tail = Shared(read)
        self._seen = Shared(self._restore_seen)
        self._told = Shared(self._deliveries_told)
        self._sources = Owned(self._restore_source)
        self._deliveries = Owned(self._restore_deliveries)
        self._task: asyncio.Task[None] | None = None

    def begin(self, parts: Parts) -> None:
        """The parts that the state is for; before the first assignment."""
        self._parts = parts

    @property
    def parts(self) -> Parts:
        """Only after `begin`."""
        assert self._parts is not None
        return self._parts

    async def archive(self) -> CurrentArchive:
        """The store, and what is on its way to it since the last assignment or later."""
        return CurrentArchive(self._store, self._clock, await self._tail.get())

    async def admit(self, partition: int) -> None:
        """Return when the events are known that were accepted from this partition of the source topics before."""
        await self._sources.get(partition)

    async def recall(self, partition: int) -> None:
        """Return when the deliveries of this partition are known that were begun before."""
        await self._deliveries.get(partition)

    def owns(self) -> bool:
        """Whether all that is in memory is this worker's own: no other can have its partitions, and what went when they
        were last shared out has been dropped."""
        pipeline = self.parts.pipeline
        return pipeline.holds and pipeline.generation == self._shared_out

    async def assigned(self, app: App, assigned: Iterable[Any], **_: Any) -> None:
        """The group has shared out the partitions anew. Nothing flows before this returns."""
        numbers = together(assigned, self.parts.settings.topic_prefix)
        generation = int(app.consumer_generation_id)
        unbroken = generation == self._generation + 1 and not self.parts.pipeline.gave_up_work
        kept = numbers if unbroken else set()
        if self._generation >= 0 and not kept:
            log.warning("this worker was not heard from for a while: all state of its partitions is restored")
        self._generation, self._numbers = generation, numbers
        self.parts.early.begin(numbers, kept)
        self._forget_all_but(kept)
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.create_task(self._restore(sorted(numbers)), name="takeover")
        self._task.add_done_callback(_report)

    async def stop(self) -> None:
        """Restore nothing more."""
        if self._parts is not None:
            self._parts.early.abandon()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def failures(self) -> list[str]:
        """Why the last restoring ended, if it ended in vain."""
        task = self._task
        failed = task is not None and task.done() and not task.cancelled() and task.exception() is not None
        return [f"the state of the partitions could not be restored: {task.exception()!r}"] if task and failed else []

    def _forget_all_but(self, kept: set[int]) -> None:
        parts = self.parts
        self._tail.forget()
        self._seen.forget()
        self._told.forget()
        parts.pipeline.keep_only(kept)
        self._sources.keep_only(kept)
        self._deliveries.keep_only(kept)
        parts.desk.keep_only(lambda department: partition_of(department, parts.partitions) in kept)
        self._shared_out = parts.pipeline.generation

    async def _restore(self, numbers: list[int]) -> None:
        parts = self.parts
        there = {number for number, _ in parts.correlate}
        parts.restorer.expect(set(numbers) - there)
        for number in numbers:
            await self._sources.get(number)
            await parts.handle.get(number)
            await parts.correlate.get(number)
            await self._deliveries.get(number)
        parts.restorer.expect(set())
        self._told.forget()
        await parts.early.complete()
        self._tail.forget()
        reached = await self._watermark.known()
        for number, state in parts.correlate:
            if not state.settling:
                async with parts.pipeline.exclusive:
                    await parts.restorer.settle(number, state, reached)
                await self._owe(number, state)
        self._tail.forget()
        log.info("all %d partitions of this worker are restored", len(numbers))

    async def _owe(self, number: int, state: Correlate) -> None:
        """Until the store tells what it lacks."""
        while not state.settling:
            try:
                await self.parts.restorer.owe(state)
            except UnavailableError as error:
                log.warning("partition %d waits for what its clock owes: %s", number, error)
                await asyncio.sleep(RETRY_PAUSE)

    async def _restore_source(self, _: int) -> bool:
        await self._seen.get()
        return True

    async def _restore_seen(self) -> None:
        """Which events were accepted so far, by whomever. Part by part: the loop goes on meanwhile."""
        known = (await self.archive()).seen_events(self.parts.settings.seen_events)
        while part := await asyncio.to_thread(_take, known):
            self.parts.seen.restore(part)
            await asyncio.sleep(0)

    async def _restore_deliveries(self, number: int) -> bool:
        parts = self.parts
        generation = -1
        while generation != self._generation:  # what was told before the partitions were shared out is old by now
            generation = self._generation
            pending, finished = await self._told.get()
        if number in self._numbers:  # else who has it now sends them
            ours = [each for each in pending if partition_of(each.department, parts.partitions) == number]
            parts.desk.restore(ours, finished)
        return True

    async def _deliveries_told(self) -> tuple[list[Delivery], list[tuple[str, str]]]:
        """Pending ones, and (delivery, receiver) of those that were finished lately."""
        archive = await self.archive()
        since = to_millis(self._clock.now()) - REMEMBER_DELIVERIES_MS
        pending = await asyncio.to_thread(lambda: list(archive.pending_deliveries()))
        return pending, await asyncio.to_thread(lambda: list(archive.finished_deliveries(since)))


def together(assigned: Iterable[Any], prefix: str) -> set[int]:
    """The numbers of the partitions that a worker was given. ConfigurationError when it has not the same ones of every
    topic: a case would have two writers."""
    of_topic: dict[str, set[int]] = defaultdict(set)
    for place in assigned:
        of_topic[place.topic].add(place.partition)
    names = [topic.under(prefix) for topic in READ]
    numbers = of_topic.get(names[0], set())
    if wrong := [name for name in names if of_topic.get(name, set()) != numbers]:
        raise ConfigurationError(
            f"this worker was given other partitions of {', '.join(wrong)} than of {names[0]}; is a worker of another "
            "version in the group? Stop all workers of that version first"
        )
    return numbers


def _take(known: Iterator[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return list(islice(known, _PART))


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("the state of the partitions could not be restored: %r", error, exc_info=error)
