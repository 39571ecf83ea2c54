"""A pattern as it runs: its steps as stages, and the tests that facts are put to. It must not know keys or alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rules.keys import FIRST_BIT, Kept, Value
from rules.model_pattern import Pattern

REFERABLE: Final = ("string", "int", "double")  # types of fields that `related` may speak of
PERSONAL: Final = frozenset({"text"})  # not to be carried to other stages


@dataclass(frozen=True, slots=True)
class Test:
    """Whether a fact is the event of a step."""

    name: str
    bit: int
    related: Callable[[Mapping[str, Value]], bool] | None = None

    def met_by(self, fact: Kept, fields: Sequence[str], bound: Mapping[str, Value]) -> bool:
        if not fact.mask & self.bit:
            return False
        return self.related is None or self.related({**bound, **dict(zip(fields, fact.values, strict=True))})


@dataclass(frozen=True, slots=True)
class Stage:
    """A step that takes facts. `forbidden` is what must not come between the stage before and this one."""

    tests: tuple[Test, ...]
    least: int
    most: int
    next: bool
    together: bool  # each test takes one fact, in any order
    forbidden: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class PatternPlan:
    """Stages in order; `final` is what must not come until the time is up, and empty when nothing is waited for."""

    stages: tuple[Stage, ...]
    final: tuple[Test, ...]
    every: bool
    skip_past_last: bool
    partial_matches: int
    thresholds: Mapping[str, float]


def where_texts(pattern: Pattern) -> list[tuple[tuple[str | int, ...], str]]:
    """(place, text) of the conditions of all steps, in the order of a mask's bits."""
    return [((*place, "where"), part.where) for place, part in parts(pattern)]


def parts(pattern: Pattern) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every event that is looked for, with its place in the file."""
    found: list[tuple[tuple[str | int, ...], Any]] = []
    for number, step in enumerate(pattern.steps):
        place: tuple[str | int, ...] = ("pattern", "steps", number)
        for how in ("all", "any"):
            found += [((*place, how, index), part) for index, part in enumerate(getattr(step, how) or ())]
        if step.name is not None:
            found.append((place, step.parts[0]))
    return found


def plan_of(
    pattern: Pattern, related: Mapping[str, Callable[[Mapping[str, Value]], bool]], partial_matches: int
) -> PatternPlan:
    """The plan of a checked pattern. `related` has the compiled relations by the step's name."""
    bits = {part.name: FIRST_BIT << number for number, (_, part) in enumerate(parts(pattern))}
    stages: list[Stage] = []
    forbidden: list[Test] = []
    for step in pattern.steps:
        tests = tuple(Test(part.name, bits[part.name], related.get(part.name)) for part in step.parts)
        if step.absent:
            forbidden += tests
            continue
        least = len(tests) if step.all else step.times.at_least if step.times else 1
        most = step.times.at_most or least if step.times else least
        stages.append(Stage(tests, least, most, step.next, step.all is not None, tuple(forbidden)))
        forbidden = []
    wanted: dict[str, float] = {}
    for stage in stages:
        for test in stage.tests:
            # Of several of which one is enough, none has a threshold of its own.
            if len(stage.tests) == 1 or stage.together:
                wanted[test.name] = 1.0 if stage.together else float(stage.least)
    return PatternPlan(
        stages=tuple(stages),
        final=tuple(forbidden),
        every=pattern.every,
        skip_past_last=pattern.after_match == "skip-past-last",
        partial_matches=partial_matches,
        thresholds=wanted,
    )
