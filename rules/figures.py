"""Figures over the facts of a window, and whether a trigger made of them holds. Exact: no sum or share is rounded.

It must not know how a window is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median
from typing import Final, Literal, TypeAlias

from rules.keys import Kept

# What more facts can only make true: a rule of nothing else need not wait for the clock.
GROWING: Final = frozenset({"count", "distinct", "sum", "score"})


@dataclass(frozen=True, slots=True)
class Clause:
    """A figure and the bounds that it is compared with, both included."""

    label: str  # unique in its rule: the name of the value in an alert
    kind: str
    at_least: Fraction | None
    at_most: Fraction | None
    column: int = -1  # of the carried values
    bit: int = 0  # facts that are counted
    of_bit: int = 0  # facts among which they are; 0: all
    p: Fraction = Fraction(0)
    periods: int = 0
    sample: int = 0

    @property
    def grows(self) -> bool:
        """Whether more facts never make it false."""
        return self.at_most is None and self.kind in (*GROWING, "max")


@dataclass(frozen=True, slots=True)
class Combined:
    """Clauses that must hold together, or one of them, or not."""

    how: Literal["all", "any", "not"]
    parts: tuple[Condition, ...]


Condition: TypeAlias = Clause | Combined


def clauses(condition: Condition) -> Iterator[Clause]:
    """Every clause in a trigger."""
    if isinstance(condition, Clause):
        yield condition
    else:
        for part in condition.parts:
            yield from clauses(part)


def grows(condition: Condition) -> bool:
    """Whether more facts never make the trigger false."""
    if isinstance(condition, Clause):
        return condition.grows
    return condition.how != "not" and all(map(grows, condition.parts))


class View:
    """The figures of one window, each computed when it is asked for."""

    def __init__(self, facts: Sequence[Kept], past: Callable[[int], list[int]]) -> None:
        """`past(n)` counts the facts in each of the n windows before this one."""
        self.facts = facts
        self._past = past
        self._known: dict[str, Fraction | None] = {}

    def holds(self, condition: Condition) -> bool:
        if isinstance(condition, Combined):
            found = (self.holds(part) for part in condition.parts)
            return all(found) if condition.how == "all" else any(found) if condition.how == "any" else not any(found)
        figure = self.figure(condition)
        if figure is None:
            return False
        low, high = condition.at_least, condition.at_most
        return (low is None or figure >= low) and (high is None or figure <= high)

    def figure(self, clause: Clause) -> Fraction | None:
        """The value of a clause; None where there is none."""
        if clause.label not in self._known:
            self._known[clause.label] = _FIGURES[clause.kind](self, clause)
        return self._known[clause.label]

    def values(self, condition: Condition) -> dict[str, float]:
        """The figures of all clauses that have one."""
        found = ((clause.label, self.figure(clause)) for clause in clauses(condition))
        return {label: float(figure) for label, figure in found if figure is not None}

    def column(self, place: int) -> list[int]:
        """The numbers of a field, of the facts that have one."""
        return [value for fact in self.facts if isinstance(value := fact.values[place], int)]

    def past(self, clause: Clause) -> Fraction | None:
        before = self._past(clause.periods)
        if sum(before) < clause.sample:
            return None
        while not before[-1]:
            before.pop()  # nothing is known of the time before the first fact
        return Fraction(len(self.facts)) / max(Fraction(median(map(Fraction, before))), Fraction(1))


def thresholds(condition: Condition) -> Mapping[str, float]:
    """The bounds of each clause: `avg` is one that the figure must reach, `avg.at_most` one that it must not pass. Of a
    clause that must not hold they are `avg.below` and `avg.above`, both excluded."""
    return dict(_bounds(condition, False))


def _bounds(condition: Condition, negated: bool) -> Iterator[tuple[str, float]]:
    if isinstance(condition, Combined):
        for part in condition.parts:
            yield from _bounds(part, negated is not (condition.how == "not"))
        return
    if condition.at_least is not None:
        yield condition.label + (".below" if negated else ""), float(condition.at_least)
    if condition.at_most is not None:
        yield condition.label + (".above" if negated else ".at_most"), float(condition.at_most)


def _count(view: View, _: Clause) -> Fraction:
    return Fraction(len(view.facts))


def _distinct(view: View, clause: Clause) -> Fraction:
    return Fraction(len({fact.values[clause.column] for fact in view.facts} - {None}))


def _sum(view: View, clause: Clause) -> Fraction:
    return Fraction(sum(max(0, value) for value in view.column(clause.column)))


def _average(view: View, clause: Clause) -> Fraction | None:
    column = view.column(clause.column)
    return Fraction(sum(column), len(column)) if column else None


def _least(view: View, clause: Clause) -> Fraction | None:
    return Fraction(min(column)) if (column := view.column(clause.column)) else None


def _greatest(view: View, clause: Clause) -> Fraction | None:
    return Fraction(max(column)) if (column := view.column(clause.column)) else None


def _median(view: View, clause: Clause) -> Fraction | None:
    column = view.column(clause.column)
    return median(map(Fraction, column)) if column else None


def _percentile(view: View, clause: Clause) -> Fraction | None:
    column = sorted(view.column(clause.column))
    return Fraction(column[math.ceil(clause.p * len(column) / 100) - 1]) if column else None


def _ratio(view: View, clause: Clause) -> Fraction | None:
    among = [fact for fact in view.facts if fact.mask & clause.of_bit] if clause.of_bit else view.facts
    return Fraction(sum(bool(fact.mask & clause.bit) for fact in among), len(among)) if among else None


_FIGURES: Final[dict[str, Callable[[View, Clause], Fraction | None]]] = {
    "count": _count,
    "distinct": _distinct,
    "sum": _sum,
    "avg": _average,
    "min": _least,
    "max": _greatest,
    "median": _median,
    "percentile": _percentile,
    "ratio": _ratio,
    "rate": View.past,
    "score": _sum,
}
