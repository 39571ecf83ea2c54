"""Whether another process has the same name in the group as this worker.

A worker with a name (static membership, KIP-345) takes the place of who had that name before: so one that was killed
and is started again has its partitions back at once. Two that run under one name take it from each other for ever. The
group tells the one that lost its place only that it does not know it, as it does to one that was silent for too long.
It must not know Faust.
"""

from __future__ import annotations

from collections import deque
from typing import Final

OFTEN: Final = 3  # times
WITHIN: Final = 20  # sessions


class Namesake:
    """Told by the consumer's thread, asked by the worker. `session` and all times are in seconds."""

    def __init__(self, name: str, session: float) -> None:
        self.name = name
        self._session = session
        self._answered: float | None = None
        self._lost: deque[float] = deque(maxlen=OFTEN)

    def answered(self, now: float) -> None:
        """The group has answered a heartbeat, or shared out its partitions."""
        self._answered = now

    def unknown(self, now: float) -> None:
        """The group does not know this member any more. Counts unless it was silent for long enough to be given up."""
        if self.name and self._answered is not None and now - self._answered < self._session:
            self._lost.append(now)
        self._answered = None

    @property
    def found(self) -> bool:
        """Whether the place was lost so often that another one must have the name."""
        return len(self._lost) == OFTEN and self._lost[-1] - self._lost[0] <= WITHIN * self._session
