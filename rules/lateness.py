"""Which stored facts were late for their windows when they came: not added then, so not to be folded in either.

A rule that decides at once leaves out a fact that is too much older than the newest of its key. Stored facts lie in the
order of their times; the order in which they came is that of their receipts, and of two of one millisecond it is not
known. Rules that the clock settles need no order to know what counts. It must not know windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, compress, groupby, takewhile
from math import inf
from operator import sub
from typing import Final

from jianguan.domain.fact import FactRun
from rules.rule import Rule

MOST_HELD: Final = 200_000  # facts of a key: as many as its window may have under any rule


def late_after(rule: Rule) -> int | None:
    """How much older (ms) than the newest fact of its key a fact of `rule` may be; None where that decides nothing, or
    where receipts do not tell: an alert may be raised long after the fact that brought it about was received."""
    if rule.weights or (rule.judging is not None and rule.judging.settled):
        return None
    return rule.size + rule.lateness


def in_time(runs: Iterable[FactRun], after: int | None, most: int = MOST_HELD) -> Iterator[FactRun]:
    """Facts of one rule without those that were late: older by more than `after` (ms) than one of their key that was
    received before. They come key by key and in each by time, each once. A key that goes on over several of `runs` is
    judged as a whole; one with more than `most` facts in parts, so that some that were late may stay."""
    if after is None:
        yield from runs
        return
    held: list[FactRun] = []  # the facts so far of a key that may go on in the next run
    for run in runs:
        begun = len(list(takewhile(held[0].keys[0].__eq__, run.keys))) if held else 0
        if begun:
            held.append(run.take(range(begun)))
        if begun == len(run) and sum(map(len, held)) <= most:
            continue
        yield from _judged(held, after)
        held = []
        if begun == len(run):
            continue
        rest = run.take(range(begun, len(run))) if begun else run
        # No fact happened after its receipt: one is late only if it was received so long after it happened.
        ages = list(map(sub, rest.received, rest.times))
        if max(ages) <= after:
            yield rest
            continue
        doubtful = {key for key, age in zip(rest.keys, ages, strict=True) if age > after}
        kept: list[int] = []
        end = 0
        for key, group in groupby(rest.keys):
            first, end = end, end + len(list(group))
            if key not in doubtful:
                kept.extend(range(first, end))
            elif end == len(rest):
                held = [rest.take(range(first, end))]
            else:
                timely = _timely(rest.times[first:end], rest.received[first:end], after)
                kept.extend(compress(range(first, end), timely))
        if kept:
            yield rest.take(kept)
    yield from _judged(held, after)


def _judged(parts: Sequence[FactRun], after: int) -> Iterator[FactRun]:
    """The facts of one key that were not late."""
    times = list(chain.from_iterable(part.times for part in parts))
    received = list(chain.from_iterable(part.received for part in parts))
    timely = iter(_timely(times, received, after))
    for part in parts:
        if kept := list(compress(range(len(part)), timely)):
            yield part.take(kept)


def _timely(times: Sequence[int], received: Sequence[int], after: int) -> list[bool]:
    """Of each of the facts of one key, whether it was not late."""
    order = sorted(range(len(times)), key=times.__getitem__)
    found = [True] * len(times)
    earliest, newer = inf, len(times) - 1  # the first receipt of those that are newer by more than `after`
    for place in reversed(order):
        while times[order[newer]] > times[place] + after:
            earliest = min(earliest, received[order[newer]])
            newer -= 1
        found[place] = received[place] <= earliest
    return found
