"""How soon to fetch again.

A run costs the stages a few milliseconds however few records are in it. While there is time for that, the sooner a
record is fetched the better. When the event loop is busy, fetching at once would fill it with runs of one or two
records, and whoever sends would wait: so the fuller the loop, the longer until the next fetch, and what has come by
then is worked together. It must not know Faust.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

MANY: Final = 500  # records of a fetch: runs are large already
IDLE: Final = 0.3  # busy for no more than this part of the time: nobody waits for anybody
LONGEST: Final = 0.05  # seconds, when there is no time left at all
SMOOTHING: Final = 0.2


class Pace:
    """Of one event loop, whose thread asks."""

    def __init__(
        self, wall: Callable[[], float] = time.monotonic, processor: Callable[[], float] = time.thread_time
    ) -> None:
        self._wall = wall
        self._processor = processor
        self._seen = wall(), processor()
        self.busy = 0.0  # the part of the time, of late, in which the loop had something to do

    def rest(self, records: int) -> float:
        """Seconds until the next fetch, after one that brought so many records."""
        wall, processor = self._wall(), self._processor()
        passed, used = wall - self._seen[0], processor - self._seen[1]
        self._seen = wall, processor
        if passed > 0:
            # What was long ago says nothing, and a moment says little.
            weight = min(1.0, SMOOTHING * max(1.0, passed / LONGEST))
            self.busy += weight * (min(1.0, used / passed) - self.busy)
        return 0.0 if records >= MANY else rest_of(self.busy)


def rest_of(busy: float) -> float:
    """Seconds between two fetches for a loop that is `busy` for this part of the time, 0 to 1."""
    return float(LONGEST * (max(0.0, busy - IDLE) / (1 - IDLE)) ** 2)
