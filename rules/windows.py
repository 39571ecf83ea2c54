"""The facts of one key in time order, in arrays, and the question whether a trigger holds at one of them.

Memory decides the layout: a fact is its time and its event, since rule and event make its id. It must not know alerts,
departments or which fact came when.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import repeat
from typing import Final

from jianguan.domain.ids import WIDTH, unpacked
from rules.rule import Rule

KEPT_FROM: Final = 64  # facts in a window from which on its figures are kept between facts
_MOST: Final = 2**62


class Window:
    """Facts of one key ordered by (time, event). `alerted` holds the starts of episodes with an alert."""

    __slots__ = ("alerted", "ids", "members", "numbers", "sweep", "times", "touched")

    def __init__(self, rule: Rule) -> None:
        self.times = array("q")
        self.ids = bytearray()
        self.members: array[int] | None = array("q") if rule.distinct_of else None
        self.numbers: array[int] | None = array("q") if rule.sum_of else None
        self.alerted: tuple[int, ...] = ()
        self.touched = True
        self.sweep: Sweep | None = None  # of a large window: its figures, so that one more fact costs one step

    def __len__(self) -> int:
        return len(self.times)

    def find(self, time: int, event: bytes) -> tuple[int, bool]:
        """The place in the order of a fact of `event`, the bits of an id, and whether it is there already."""
        times = self.times
        if not times or time > times[-1]:
            return len(times), False
        low = bisect_left(times, time)
        high = bisect_right(times, time, low)
        ids = self.ids
        while low < high:
            middle = (low + high) // 2
            here = ids[middle * WIDTH : (middle + 1) * WIDTH]
            if here == event:
                return middle, True
            if here < event:
                low = middle + 1
            else:
                high = middle
        return low, False

    def append(self, time: int, event: bytes, member: str | None, number: float | None) -> None:
        """Put a fact behind all others."""
        self.ids += event
        self.times.append(time)
        if self.members is not None:
            self.members.append(member_digest(member))
        if self.numbers is not None:
            self.numbers.append(whole(number))

    def extend(
        self,
        times: Sequence[int],
        events: bytes,
        members: Sequence[str | None] | None,
        numbers: Sequence[float | None] | None,
    ) -> None:
        """`append` for many facts, in order."""
        self.ids += events
        self.times.extend(times)
        if self.members is not None:
            self.members.extend(map(member_digest, members or repeat(None, len(times))))
        if self.numbers is not None:
            self.numbers.extend(map(whole, numbers or repeat(None, len(times))))

    def insert(self, index: int, time: int, event: bytes, member: str | None, number: float | None) -> None:
        """Put a new fact at the place that `find` gave."""
        self.ids[index * WIDTH : index * WIDTH] = event
        self.times.insert(index, time)
        if self.members is not None:
            self.members.insert(index, member_digest(member))
        if self.numbers is not None:
            self.numbers.insert(index, whole(number))
        if self.sweep is not None:
            self.sweep.inserted(index)

    def drop_oldest(self, count: int) -> None:
        """Forget the `count` oldest facts."""
        if self.sweep is not None:
            self.sweep.dropping(count)
        del self.times[:count]
        del self.ids[: count * WIDTH]
        if self.members is not None:
            del self.members[:count]
        if self.numbers is not None:
            del self.numbers[:count]

    def events(self, low: int, high: int) -> tuple[str, ...]:
        """Event ids of the facts in [low, high), oldest first."""
        return tuple(unpacked("ev", bytes(self.ids[low * WIDTH : high * WIDTH])))

    def size_in_bytes(self) -> int:
        """Roughly, without the key."""
        size = 88 + 64 + self.times.itemsize * len(self.times) + 57 + len(self.ids)
        size += sum(64 + 8 * len(column) for column in (self.members, self.numbers) if column is not None)
        return size


class Sweep:
    """Whether the trigger holds at facts of a window.

    It keeps the figures of the part that it looked at last and takes away and adds only what differs, so that a pass
    over n facts in order costs n steps whatever the trigger.
    """

    __slots__ = ("_counts", "_high", "_low", "_rule", "_total", "_window", "high", "low")

    def __init__(self, rule: Rule, window: Window) -> None:
        self._rule = rule
        self._window = window
        self.low = self.high = 0  # the facts that were looked at last: [low, high)
        self._low = self._high = 0  # what the figures below are over
        self._counts: dict[int, int] = {}
        self._total = 0

    @classmethod
    def of(cls, rule: Rule, window: Window) -> Sweep:
        """A sweep for a window: a large one keeps it, because one key may get very many facts that raise nothing."""
        if window.sweep is not None:
            return window.sweep
        sweep = cls(rule, window)
        if len(window.times) >= KEPT_FROM and (rule.distinct_of or rule.sum_of):
            window.sweep = sweep
        return sweep

    def holds(self, time: int) -> bool:
        """Whether all clauses hold over the window that ends at `time`, at which there is a fact."""
        rule, times = self._rule, self._window.times
        if rule.periods is None:
            self.low = bisect_right(times, time - rule.size if rule.span is None else rule.span.start(time))
        else:
            self.low = bisect_left(times, rule.periods.start(time))
        self.high = bisect_right(times, time, self.low)
        count = self.high - self.low
        if count < rule.least:
            return False
        if rule.distinct_of is None and rule.sum_of is None:
            return True
        self._move()
        return self._distinct() >= rule.distinct and self._total >= rule.sum

    def look(self, time: int) -> bool:
        """As `holds`, but with figures for `values` also where too few facts decide."""
        held = self.holds(time)
        self._move()
        return held

    def values(self) -> dict[str, float]:
        """The figures behind the last answer, for the clauses that the rule has."""
        found: dict[str, float] = {}
        if "count" in self._rule.thresholds:
            found["count"] = float(self.high - self.low)
        if self._rule.distinct_of is not None:
            found["distinct"] = float(self._distinct())
        if self._rule.sum_of is not None:
            found["sum"] = float(self._total)
        return found

    def _distinct(self) -> int:
        """Different values; a missing one is none."""
        return len(self._counts) - (0 in self._counts)

    def inserted(self, index: int) -> None:
        """A fact was put in at `index`."""
        if index < self._low:
            self._low += 1
            self._high += 1
        elif index < self._high:
            self._high += 1
            self._enter(index, index + 1)

    def dropping(self, count: int) -> None:
        """The `count` oldest facts are about to go."""
        if count >= self._high:
            self._clear(count)
        elif count > self._low:
            self._leave(self._low, count)
            self._low = count
        self._low -= count
        self._high -= count

    def _move(self) -> None:
        low, high = self.low, self.high
        if low >= self._high or high <= self._low:
            self._clear(low)
        if low < self._low:
            self._enter(low, self._low)
        else:
            self._leave(self._low, low)
        if high > self._high:
            self._enter(self._high, high)
        else:
            self._leave(high, self._high)
        self._low, self._high = low, high

    def _clear(self, at: int) -> None:
        self._counts.clear()
        self._total = 0
        self._low = self._high = at

    def _enter(self, low: int, high: int) -> None:
        window, counts = self._window, self._counts
        if window.numbers is not None:
            self._total += sum(window.numbers[low:high])
        if window.members is not None:
            for member in window.members[low:high]:
                counts[member] = counts.get(member, 0) + 1

    def _leave(self, low: int, high: int) -> None:
        window, counts = self._window, self._counts
        if window.numbers is not None:
            self._total -= sum(window.numbers[low:high])
        if window.members is not None:
            for member in window.members[low:high]:
                if counts[member] == 1:
                    del counts[member]
                else:
                    counts[member] -= 1


def member_digest(member: str | None) -> int:
    """64 bits that stand for a value of a distinct field in this process; 0 for a missing one. Python's keyed hash:
    two values clash once in 1.8e19, and nobody outside can make them."""
    return 0 if member is None else hash(member) or 1


def whole(number: float | None) -> int:
    """A summand as a whole number of at least 0: what is missing, negative or not a number adds nothing, so that one
    more fact never lowers a sum. Whole numbers make the sum exact in any order."""
    return int(min(number, _MOST)) if number is not None and number > 0 else 0
