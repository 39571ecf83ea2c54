"""Which runs of one partition are finished, and up to where the partition may be committed.

Pure bookkeeping for one assignment of one partition. It must not know Faust, messages or time.

Faust keeps a list of acknowledged offsets and looks for consecutive numbers in it. A run is one message
that stands for many offsets, so there every run but the first looks like a gap and commits stall. Here
"consecutive" means in the order in which runs were handed out: offsets that do not exist (compaction,
transaction markers) are no gap, and a run that is not finished holds back all that follow it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple


class _Open(NamedTuple):
    position_before: int | None
    records: int
    size: int


class RunLedger:
    """Runs handed out in rising order, finished in any order. Every operation takes constant time."""

    __slots__ = ("_last", "_open", "_position", "in_flight_bytes", "in_flight_records")

    def __init__(self) -> None:
        # An OrderedDict and not a dict: taking the first of a dict whose head was deleted scans the holes.
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._last: int | None = None
        self._position: int | None = None
        self.in_flight_records = 0
        self.in_flight_bytes = 0

    def __len__(self) -> int:
        """How many runs are in flight."""
        return len(self._open)

    def precedes(self, first: int) -> bool:
        """Whether a run that begins at `first` lies after everything handed out so far: if not, it is a rewind."""
        return self._last is None or self._last < first

    @property
    def position(self) -> int | None:
        """The offset to commit: the one after the last run such that it and all before it are finished.

        None until the first run is finished. It never goes back.
        """
        if not self._open:
            return self._position
        return next(iter(self._open.values())).position_before

    def hand_out(self, first: int, last: int, records: int = 1, size: int = 0) -> None:
        """Note that the run `first`..`last` (offsets, inclusive) went to the agent.

        Raises ValueError if it does not lie after everything handed out before: that is a rewind, and a
        rewind needs a new ledger, so that what is still being done from before cannot be mistaken for it.
        """
        if last < first:
            raise ValueError(f"a run does not end ({last}) before it begins ({first})")
        if not self.precedes(first):
            raise ValueError(f"a run that begins at {first} was handed out after {self._last}")
        self._open[last] = _Open(self._position, records, size)
        self._last = last
        self._position = last + 1
        self.in_flight_records += records
        self.in_flight_bytes += size

    def finish(self, last: int) -> bool:
        """Note that the run that ends at `last` was fully processed. False if it was not open."""
        run = self._open.pop(last, None)
        if run is None:
            return False
        self.in_flight_records -= run.records
        self.in_flight_bytes -= run.size
        return True
