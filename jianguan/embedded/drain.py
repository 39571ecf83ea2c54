"""Decides when the journal may forget: when every stage and the store have what an entry led to. Pure.

The flow is a chain: what a stage makes of its input is sent before the input counts as processed. So if a mark is
taken in the journal, and then, one stage after the other, everything that was on the stage's topics when the stage
before it had caught up has been processed, then everything before the mark has gone through the whole chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Positions = Mapping[tuple[str, int], int]

# In the order of the flow; records come last, because every stage leaves some. (Topic names without prefix, and what
# was handed to the record stage without a topic.)
CHAIN: Final[tuple[tuple[str, ...], ...]] = (
    ("complaints", "violations", "consumer-rights", "commands"),
    ("facts",),
    ("alerts",),
    ("deliveries",),
    ("records", "handed"),
)


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain that is being waited for."""

    mark: int  # journal sequence that may be dropped before, once the chain is through
    stage: int
    ends: Positions


class Drain:
    """One mark on its way through the chain at a time."""

    def __init__(self, chain: Sequence[Sequence[str]] = CHAIN) -> None:
        self._chain = chain
        self._link: Link | None = None

    @property
    def busy(self) -> bool:
        """Whether a mark is on its way."""
        return self._link is not None

    def begin(self, mark: int, ends: Positions) -> None:
        """Send `mark` on its way; `ends` are the ends of all topics now. Nothing if one is on its way."""
        if self._link is None:
            self._link = Link(mark, 0, self._of_stage(0, ends))

    def observe(self, processed: Positions, ends: Positions) -> int | None:
        """How far each topic is processed and where it ends now; the mark, when it is through."""
        while self._link is not None:
            link = self._link
            if any(processed.get(partition, 0) < end for partition, end in link.ends.items()):
                return None
            if link.stage + 1 == len(self._chain):
                self._link = None
                return link.mark
            self._link = Link(link.mark, link.stage + 1, self._of_stage(link.stage + 1, ends))
        return None

    def reset(self) -> None:
        """Forget the mark: the broker was replaced, and positions begin anew."""
        self._link = None

    def _of_stage(self, stage: int, ends: Positions) -> Positions:
        return {partition: end for partition, end in ends.items() if partition[0] in self._chain[stage]}
