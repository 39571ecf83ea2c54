"""Keeps the source partitions of one worker together while it is behind.

Windows go by the events' own time, and what is much older than the newest of its group is late. So a worker that
catches up must not read one partition to its end before it begins with the next: what came in at about the same time
is taken at about the same time. A partition that has nothing to read holds up nobody, and one that does not move for a
while, because its topic is poisoned or its leader away, is left behind until it moves.

Goes by the time at which a record was written, which for what the doors let in is the time of its receipt. It must not
know what is in a record. Workers do not wait for each other.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from jianguan.clock import Clock, to_millis
from streams.transport.run import Place, Record, Run

NEAR_MS: Final = 60_000  # so far before the slowest a partition may be
FEW: Final = 200  # records, that a partition may take at once although they are further ahead
FAR_MS: Final = 600_000  # but not further than this
TOGETHER: Final = 500  # records of a turn, after which nothing is added to it
PATIENCE: Final = 30.0  # seconds that are waited for a record that should come, or is not worked
POLL: Final = 0.05  # seconds


class _Taken(NamedTuple):
    """A run that came out of the log, and what says that it is worked."""

    run: Run
    generation: int  # of the assignment under which it came
    ack: Callable[[], None]


class _Reached(NamedTuple):
    time: int  # ms: of the next record if it is in hand, else of the one before
    in_hand: bool


@dataclass(slots=True)
class _Queue:
    """The runs of a partition that wait for their turn."""

    runs: deque[_Taken] = field(default_factory=deque)
    start: int = 0  # so many records of the first one are worked
    worked: bool = False  # what stood before them is being worked: until it is, the partition has not moved

    @property
    def head(self) -> Record:
        return self.runs[0].run.records[self.start]


@dataclass(slots=True)
class _Turn:
    """What is worked together."""

    generation: int
    parts: list[Run] = field(default_factory=list)
    acks: list[Callable[[], None]] = field(default_factory=list)  # of the runs that end in it
    reached: dict[Place, _Reached] = field(default_factory=dict)  # when it is worked


_Queues: TypeAlias = dict[Place, _Queue]


class Alignment:
    """The turns of one worker's source partitions. For one event loop."""

    def __init__(
        self,
        clock: Clock,
        unread: Callable[[], Mapping[Place, bool]],
        generation: Callable[[], int],
    ) -> None:
        """`unread` tells of the source partitions that are this worker's now whether something is to come, or is here
        and not acknowledged; `generation` is the assignment's, and what came under an older one is dropped: it is read
        again here, or elsewhere."""
        self._clock = clock
        self._unread = unread
        self._generation = generation
        self._reached: dict[Place, _Reached] = {}
        self._since: dict[Place, float] = {}  # when it moved, or was seen to have something to read
        self._changed = asyncio.Event()
        self.held: set[Place] = set()  # have something here that waits for its turn: they do not stand still

    async def in_turn(
        self, source: AsyncIterator[tuple[Run, Callable[[], None]]]
    ) -> AsyncGenerator[tuple[list[Run], int], None]:
        """The runs of `source` in turns: parts of them, to be worked in this order, and the generation of all of these.

        A turn has all that may be worked by now: many short parts together cost little more than one. It counts as
        worked when the next is asked for, and a run is acknowledged when all of it is. How many runs wait here is
        bounded by what the transport hands out without an acknowledgement. Close it (`aclosing`) when the loop over it
        may end before it does.
        """
        queues: _Queues = {}
        reading = asyncio.create_task(self._read(source, queues), name="alignment")
        try:
            while (turn := await self._turn(queues, reading)) is not None:
                yield turn.parts, turn.generation
                for ack in turn.acks:
                    ack()
                for place, reached in turn.reached.items():
                    queues[place].worked = False
                    if queues[place].runs:
                        self._in_hand(place, queues[place].head)
                    else:
                        self._passed(place, reached)
        finally:
            self.held.difference_update(queues)
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, source: AsyncIterator[tuple[Run, Callable[[], None]]], queues: _Queues) -> None:
        try:
            async for run, ack in source:
                queue = queues.setdefault(run.place, _Queue())
                queue.runs.append(_Taken(run, self._generation(), ack))
                if len(queue.runs) == 1 and not queue.worked:
                    self._in_hand(run.place, queue.head)
        finally:
            self._changed.set()

    async def _turn(self, queues: _Queues, reading: asyncio.Task[None]) -> _Turn | None:
        """What is to be worked next; None at the end of the source."""
        while True:
            self._changed.clear()
            self._drop_stale(queues)
            if reading.done():
                reading.result()
            turn = self._allowed_now(queues)
            waiting = {place for place, queue in queues.items() if queue.runs}
            self.held.update(waiting)
            if turn.parts:
                self.held.difference_update(turn.reached)
                return turn
            if not waiting and reading.done():
                return None
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL if waiting else None):
                    await self._changed.wait()

    def _allowed_now(self, queues: _Queues) -> _Turn:
        """The oldest of what is here, as long as it may be worked and the turn is not large."""
        turn, size = _Turn(self._generation()), 0
        if not any(queue.runs for queue in queues.values()):
            return turn
        unread, now = self._unread(), to_millis(self._clock.now())
        while size < TOGETHER:
            heads = {place: queue.head.timestamp for place, queue in queues.items() if queue.runs}
            if not heads:
                break
            place = min(heads, key=heads.__getitem__)
            queue = queues[place]
            run, others = queue.runs[0].run, self._behind(place, unread, turn.reached)
            count = allowed(run.records, queue.start, others, now)
            if not count:
                break
            end = queue.start + count
            part = run if count == len(run) else Run(*place, run.records[queue.start : end])
            if turn.parts and turn.parts[-1].place == place:
                part = Run(*place, [*turn.parts.pop().records, *part.records])
            turn.parts.append(part)
            queue.worked = True
            if end < len(run):
                queue.start = end
            else:
                turn.acks.append(queue.runs.popleft().ack)
                queue.start = 0
            in_hand = bool(queue.runs)
            turn.reached[place] = _Reached(queue.head.timestamp if in_hand else part.records[-1].timestamp, in_hand)
            size += count
        return turn

    def _drop_stale(self, queues: _Queues) -> None:
        generation = self._generation()
        for place, queue in queues.items():
            if not queue.runs or queue.runs[0].generation == generation:
                continue
            while queue.runs and queue.runs[0].generation != generation:
                queue.runs.popleft().ack()  # which the transport does not count any more
            queue.start = 0
            if queue.runs:
                self._in_hand(place, queue.head)
            else:
                self._reached.pop(place, None)
                self.held.discard(place)

    def _behind(self, place: Place, unread: Mapping[Place, bool], ahead: Mapping[Place, _Reached]) -> list[int | None]:
        """How far (ms) the other partitions are that have something to read, or will be (`ahead`) after the turn that
        is being made; None for one of which nothing was seen."""
        now = self._clock.monotonic()
        for gone in self._reached.keys() - unread.keys():
            if not self._reached[gone].in_hand:  # else it goes with its runs, when the next assignment is there
                del self._reached[gone]
        found: list[int | None] = []
        for other, more in unread.items():
            reached = ahead.get(other) or self._reached.get(other)
            if not more and (reached is None or not reached.in_hand):
                self._since.pop(other, None)
            elif other != place and now - self._since.setdefault(other, now) < PATIENCE:
                found.append(None if reached is None else reached.time)
        return found

    def _in_hand(self, place: Place, head: Record) -> None:
        self._reached[place] = _Reached(head.timestamp, in_hand=True)
        self._since[place] = self._clock.monotonic()
        self._changed.set()

    def _passed(self, place: Place, reached: _Reached) -> None:
        """Nothing of a partition is here any more."""
        self._reached[place] = reached
        self._since.pop(place, None)
        self.held.discard(place)
        self._changed.set()


def allowed(records: Sequence[Record], start: int, others: Sequence[int | None], now: int) -> int:
    """How many records from `start` on may be taken while other partitions have reached the times `others` (ms) and go
    on; None for one that may begin anywhere. A time after `now` is a wrong clock's, and counts as now."""
    left = len(records) - start
    if not others:
        return left
    known = [each for each in others if each is not None]
    if len(known) < len(others):
        return 0
    slowest = min(known)
    near = left if now <= slowest + NEAR_MS else bisect_right(records, slowest + NEAR_MS, start, key=_time) - start
    if near >= FEW:
        return near
    far = left if now <= slowest + FAR_MS else bisect_right(records, slowest + FAR_MS, start, key=_time) - start
    return max(near, min(FEW, far))


def _time(record: Record) -> int:
    return record.timestamp
