"""Which events a question is about, in a form that a store can answer: tests of fields, joined by "all" and "some".

A field that is missing fails every test but `missing`, and the negation of every test too. Who
writes a filter leaves out what it cannot say, so that it lets through too much, never too little. It must not know
rules or SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Operator = Literal["=", "<", "<=", ">", ">=", "in", "holds", "begins", "ends", "has", "present", "missing"]
Constant: TypeAlias = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Test:
    """One test of one field, true or, unless `wanted`, false of what is there.

    Moments are compared as milliseconds. `in`: one of `values`.
    `holds`, `begins`, `ends`: a text with one of `values` in it, in front, at its end.
    `has`: a list with one of `values` in it. `present`, `missing`: no values.
    """

    __test__ = False  # not a class of pytest's

    field: str
    operator: Operator
    values: tuple[Constant, ...] = ()
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; of no parts: always."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Some:
    """Some part holds; of no parts: never."""

    parts: tuple[Filter, ...] = ()


Filter: TypeAlias = Test | All | Some

ANYTHING = All()
NOTHING = Some()


def all_of(parts: Iterable[Filter]) -> Filter:
    """Every part holds, written as shortly as that goes."""
    flat: dict[Filter, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, All) else (part,)))
    if NOTHING in flat:
        return NOTHING
    return next(iter(flat)) if len(flat) == 1 else All(tuple(flat))


def some_of(parts: Iterable[Filter]) -> Filter:
    """Some part holds, written as shortly as that goes."""
    flat: dict[Filter, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, Some) else (part,)))
    if ANYTHING in flat:
        return ANYTHING
    return next(iter(flat)) if len(flat) == 1 else Some(tuple(flat))


def fields_of(filter_: Filter) -> set[str]:
    """The fields that a filter looks at."""
    return {test.field for test in _tests(filter_)}


def asks_for_absence(filter_: Filter) -> bool:
    """Whether an event may pass because it lacks a field."""
    return any(test.operator == "missing" for test in _tests(filter_))


def _tests(filter_: Filter) -> Iterator[Test]:
    if isinstance(filter_, Test):
        yield filter_
    else:
        for part in filter_.parts:
            yield from _tests(part)
