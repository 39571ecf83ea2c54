"""Up to when everything that was received has gone through: what the clock may decide on while there is a backlog.

A rule that says that something did not come must not be decided while it waits unread in a topic, whoever's partition
that is. So marks are sent through the stages: at some time the ends of the source topics are noted; once the group has
committed them, every fact of what they held is in the facts topic, whose ends are noted then; once those are committed,
what follows from them for rules on alerts is there too, and is waited for in the same way. Then all that was received
before the mark was made is through. Nothing is read, and nobody is waited for: while the brokers do not answer, or
before the first mark is through, nothing is settled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from jianguan.clock import Clock, to_millis
from jianguan.embedded.drain import Drain
from jianguan.errors import UnavailableError
from jianguan.wiring.positions import GroupPositions, Positions
from streams.topics import SOURCES, TopicName

log = logging.getLogger(__name__)

# Facts twice: an alert goes round as a fact for the rules on alerts.
CHAIN: Final[tuple[tuple[str, ...], ...]] = (
    tuple(each.value for each in SOURCES),
    (TopicName.FACTS.value,),
    (TopicName.FACTS.value,),
)
MARKS: Final = 32  # on their way at once; older ones are thinned out, so that a long backlog is followed too
INTERVAL: Final = 1.0  # seconds
UNKNOWN: Final = 0  # nothing is known to be through: before every event


class Watermark:
    """Pure. Times in ms."""

    def __init__(self, chain: Sequence[Sequence[str]] = CHAIN) -> None:
        self._chain = chain
        self._marks: list[tuple[int, Drain]] = []  # oldest first
        self._at = UNKNOWN  # of the last sample
        self.reached = UNKNOWN

    def sample(self, at: int, committed: Positions, ends: Positions) -> None:
        """Take in what holds: the time before anything was asked, what was committed, and where the topics ended when
        that was known."""
        if (back := self._at - at) > 0:  # the clock was set back: what is known is of moments that were earlier by it
            self.reached = max(UNKNOWN, self.reached - back)
            self._marks = [(max(UNKNOWN, mark - back), drain) for mark, drain in self._marks]
        self._at = at
        self._marks.append((at, Drain(self._chain)))
        self._marks[-1][1].begin(at, ends)
        for mark, drain in self._marks:
            if drain.observe(committed, ends) is not None:
                self.reached = max(self.reached, mark)
        self._marks = [(mark, drain) for mark, drain in self._marks if mark > self.reached]
        if len(self._marks) > MARKS:
            # The oldest will be through first, and the newest tells of the present.
            self._marks = [*self._marks[:1], *self._marks[1:-1:2], self._marks[-1]]


class GroupWatermark:
    """Samples the group every `INTERVAL` seconds."""

    def __init__(self, positions: GroupPositions, clock: Clock) -> None:
        self._positions = positions
        self._clock = clock
        self._watermark = Watermark()
        self._known = asyncio.Event()

    async def run(self) -> None:
        """Sample until cancelled."""
        topics = (*SOURCES, TopicName.FACTS)
        while True:
            try:
                at = to_millis(self._clock.now())
                committed = await self._positions.committed(topics)
                self._watermark.sample(at, committed, await self._positions.ends(topics))
            except UnavailableError as error:
                log.warning("%s", error)
            if self._watermark.reached != UNKNOWN:
                self._known.set()
            await asyncio.sleep(INTERVAL)

    async def reached(self) -> int:
        """Everything that was received before this (ms) is through; UNKNOWN when nothing is known to be."""
        return self._watermark.reached

    async def known(self) -> int:
        """The same, once something is known."""
        await self._known.wait()
        return self._watermark.reached
