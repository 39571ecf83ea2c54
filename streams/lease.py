"""How long a worker may believe that its partitions are still its own.

The group gives partitions on terms: who is not heard from for a session loses them. A process that was stopped for
longer, or cut off, finds itself in the middle of work on state that another one has carried on since. So before
something leaves a stage the lease is looked at: it holds until a session after the last heartbeat that was answered
was sent. When it is over, whoever wants to send waits until the group has answered, and sends nothing if the
partitions were shared out anew since its work began: that work is done again by whoever has them now.

What was on its way to the broker when the process stopped still arrives: ids make that harmless.
It must not know Faust.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

POLL: Final = 0.05  # seconds; the heart beats in another thread
_MARGIN: Final = 0.9  # of a session: clocks drift, and sending takes a moment


class Lease:
    """Renewed by the consumer's thread, asked by the stages. `session` and the monotonic `clock` are in seconds."""

    def __init__(self, session: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._clock = clock
        self._until: float | None = None
        self.generation = 0  # rises with every assignment
        self._since = 0  # generation since which there has been no doubt

    def renew(self, sent: float) -> None:
        """A heartbeat that was sent at `sent` was answered."""
        until = sent + self._session * _MARGIN
        if self._until is None or until > self._until:
            self._until = until

    def assigned(self) -> None:
        """Partitions were shared out. If the lease had run out by then, what began before must not be sent any more."""
        self.generation += 1
        if not self.holds:
            self._since = self.generation
        self.renew(self._clock())

    @property
    def was_over(self) -> bool:
        """Whether it had run out when partitions were last shared out, so that what had begun before is not sent."""
        return self._since == self.generation > 0

    @property
    def holds(self) -> bool:
        """Whether no other worker can have our partitions. True also before the first assignment: there is no work."""
        return self._until is None or self._clock() < self._until

    async def still_ours(self, generation: int) -> bool:
        """Whether work that began in `generation` may be sent now; waits while that is not known."""
        while True:
            if self.holds:
                return generation >= self._since
            await asyncio.sleep(POLL)
