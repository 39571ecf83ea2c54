"""The windows of one rule that counts, tells apart or adds up: where a fact goes, and what it makes worth a look.

It must not know alerts or when they are raised; see `engine.py` for what late, limited and again mean.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from operator import le
from typing import Final

from jianguan.domain.ids import WIDTH
from rules.decisions import Cost, RuleStats
from rules.rule import Rule
from rules.windows import Window

# What becomes of a fact that is put into its window; nothing at all is 0.
LOOK: Final = 1  # a trigger may hold because of it
LIMITED: Final = 2
AGAIN: Final = 4
TOO_LATE: Final = 8


@dataclass(slots=True)
class RuleWindows:
    """The windows of one rule, and what was counted of them."""

    rule: Rule
    windows: dict[str, Window]
    facts: int = 0
    newest: int | None = None
    late: int = 0
    limited: int = 0
    duplicates: int = 0
    seconds: float = 0.0  # spent on runs of its facts
    told: float = 0.0  # of them
    taken: int = 0  # facts since `costs` was asked

    def cost(self) -> Cost:
        """The time and the facts since this was asked last."""
        found = Cost(self.rule.id, self.seconds - self.told, self.taken, self.rule.micros_per_fact)
        self.told, self.taken = self.seconds, 0
        return found

    def window(self, key: str) -> Window:
        """The window of a key, made when there is none."""
        window = self.windows.get(key)
        if window is None:
            window = self.windows[key] = Window(self.rule)
        return window

    def put(
        self, window: Window, time: int, event: bytes, member: str | None, number: float | None, folding: bool = False
    ) -> int:
        """Put a fact into a window, and forget what the window needs no more; what became of it. `folding`: a fact
        that is older than facts are kept is left out, and none is too late."""
        rule, times = self.rule, window.times
        window.touched = True
        if not times or time > times[-1]:
            window.append(time, event, member, number)
            newest = time
        else:
            index, there = window.find(time, event)
            if there:
                if folding:
                    return 0
                self.duplicates += 1
                return AGAIN | LOOK
            newest = times[-1]
            if time < newest - rule.size - rule.lateness if not folding else time <= newest - rule.retention:
                self.late += not folding
                return 0 if folding else TOO_LATE
            window.insert(index, time, event, member, number)
        self.facts += 1
        if self.newest is None or newest > self.newest:
            self.newest = newest
        size = len(times)
        limited = False
        if size > rule.facts_per_key or times[0] <= newest - rule.retention:
            limited = self._trim(window, newest)
            if limited and time < times[0]:
                return LIMITED
            size = len(times)
        if size < rule.least or (
            # The usual case, decided without further ado: the newest fact, and too few in its window, which is never
            # longer than `size`, nor is a period up to a fact in it.
            time == newest and size - bisect_right(times, time - rule.size) < rule.least
        ):
            return LIMITED if limited else 0
        return LIMITED | LOOK if limited else LOOK

    def extend(
        self,
        window: Window,
        times: Sequence[int],
        events: bytes,
        members: Sequence[str | None] | None,
        numbers: Sequence[float | None] | None,
    ) -> int | None:
        """`put` with `folding` for many facts, but for what becomes of them: they must be in order, behind those that
        are there, and not too many. The place of the first of them while all are there; `trim` then. None: they are
        not so, and nothing was done."""
        known, rule = window.times, self.rule
        first = len(known)
        if first + len(times) > rule.facts_per_key or (known and times[0] <= known[-1]):
            return None
        if not all(map(le, times, times[1:])) or (len(set(times)) < len(times) and not _ascending(times, events)):
            return None
        window.touched = True
        window.extend(times, events, members, numbers)
        self.facts += len(times)
        if self.newest is None or times[-1] > self.newest:
            self.newest = times[-1]
        return first

    def trim(self, window: Window) -> None:
        """Forget facts of a window that are older than facts are kept."""
        newest = window.times[-1]
        if window.times[0] <= newest - self.rule.retention:
            self._trim(window, newest)

    def _trim(self, window: Window, newest: int) -> bool:
        """Forget facts that are older than facts are kept, and the oldest of too many; whether there were too many."""
        rule, times = self.rule, window.times
        old = bisect_left(times, newest - rule.retention + 1)
        excess = len(times) - old - rule.facts_per_key
        window.drop_oldest(old + max(0, excess))
        self.facts -= old + max(0, excess)
        if excess <= 0:
            return False
        self.limited += 1
        return True

    def take_keys(self, other: RuleWindows) -> None:
        """Take over every window of `other`, of the same rule, in place of the own one of its key."""
        for key, window in other.windows.items():
            before = self.windows.get(key)
            self.facts += len(window) - (0 if before is None else len(before))
            self.windows[key] = window
        if other.newest is not None and (self.newest is None or other.newest > self.newest):
            self.newest = other.newest
        self.late += other.late
        self.limited += other.limited
        self.duplicates += other.duplicates
        self.seconds += other.seconds - other.told
        self.taken += other.taken

    def forget(self, keys: list[str]) -> int:
        """Drop those of `keys` that can matter no more and were not touched since the last look; how many went."""
        dropped, rule = 0, self.rule
        horizon = (self.newest or 0) - rule.retention
        # An alert keeps its key quiet for as long as facts of its episode may come.
        quiet = (self.newest or 0) - rule.size - rule.lateness
        for key in keys:
            window = self.windows.get(key)
            if window is None:
                continue
            if window.touched:
                window.touched = False
            elif window.alerted and max(window.alerted) + rule.episodes.size >= quiet:
                continue
            elif not window.times or window.times[-1] < horizon:
                self.facts -= len(window)
                del self.windows[key]
                dropped += 1
        return dropped

    def stats(self) -> RuleStats:
        """Figures of this rule."""
        return RuleStats(
            keys=len(self.windows),
            facts=self.facts,
            bytes=self._bytes(),
            newest=self.newest,
            late=self.late,
            limited=self.limited,
            duplicates=self.duplicates,
            seconds=self.seconds,
        )

    def _bytes(self) -> int:
        """An estimate from the first hundred keys: their windows, keys, and the dictionary's own room."""
        sample = list(islice(self.windows.items(), 100))
        if not sample:
            return 0
        one = sum(window.size_in_bytes() + 49 + 2 * len(key) + 100 for key, window in sample) / len(sample)
        return int(one * len(self.windows))


def _ascending(times: Sequence[int], events: bytes) -> bool:
    """Whether facts are in the order of (time, event), and none is there twice."""
    ids = [events[at : at + WIDTH] for at in range(0, len(events), WIDTH)]
    order = list(zip(times, ids, strict=True))
    return all(one < other for one, other in pairwise(order))
