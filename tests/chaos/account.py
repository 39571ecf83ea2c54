"""What should be there and what is there, as sets of texts by name, and the difference. Pure.

The names are tables (`alerts`, `cases`, …), `outcomes` (a receipt and what became of its record), `steps` (a subject
and what happened to it), and `received` (deliveries that the receiver took). So what is lost, what is too much, and
what is there with another outcome all show in the same way: one text too few, one too many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

SHOWN: Final = 12  # examples of a difference

Sets = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """`must` be there; nothing else but `may`."""

    must: Sets
    may: Sets = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """`lost` should be there and are not, `extra` are there and should not; examples of each with their numbers."""

    lost: int
    extra: int
    examples_lost: tuple[str, ...]
    examples_extra: tuple[str, ...]


def differences(wanted: Wanted, found: Sets) -> dict[str, Difference]:
    """By name, only where there are any. A name that one of the two does not have is an empty set there."""
    result: dict[str, Difference] = {}
    for name in sorted({*wanted.must, *found}):
        must, there = wanted.must.get(name, frozenset()), found.get(name, frozenset())
        lost, extra = must - there, there - must - wanted.may.get(name, frozenset())
        if lost or extra:
            result[name] = Difference(len(lost), len(extra), _some(lost), _some(extra))
    return result


def either(readings: Iterable[Sets]) -> Wanted:
    """Where a record may be read in more than one way: what all readings have must be there, what one has may."""
    every = list(readings)
    names = {name for each in every for name in each}
    sets = {name: [each.get(name, frozenset()) for each in every] for name in names}
    must = {name: frozenset.intersection(*of_name) for name, of_name in sets.items()}
    may = {name: frozenset.union(*of_name) - must[name] for name, of_name in sets.items()}
    return Wanted(must, {name: some for name, some in may.items() if some})


def _some(texts: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(texts)[:SHOWN])
