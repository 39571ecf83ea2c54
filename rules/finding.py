"""What the linter says: one finding with its level and its place, and the shape of a check. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import ClassVar, Final, Literal, NamedTuple, TypeAlias

from rules.cel.environment import Checked
from rules.cel.tree import Node
from rules.checking import referable
from rules.fields import ALERT_TYPES, FIELDS
from rules.judging import extra_conditions
from rules.loader import Document, Place
from rules.pattern_plan import parts
from rules.reference import Reference
from rules.rule import Rule
from rules.testfile import TestFile

Level = Literal["error", "warning", "info"]
LEVELS: Final[tuple[Level, ...]] = ("error", "warning", "info")


class Spot(NamedTuple):
    """A line and a column of the file."""

    line: int
    column: int


Found: TypeAlias = tuple[Place | Spot, str, str]
"""Where (a key of the file, or a spot inside a text), what, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at. Lines and columns count from 1."""

    level: Level
    code: str
    rule: str
    message: str
    path: str
    line: int
    column: int
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """A condition as its author wrote it, and where its text begins in the file."""

    checked: Checked
    line: int
    column: int

    def spot(self, node: Node) -> Spot:
        return Spot(*self.checked.position(node, self.line, self.column))


@dataclass(frozen=True)
class Subject:
    """A rule, its file, its tests and their file if they can be read, the tables, all rules that were loaded with it,
    and the day, if told."""

    rule: Rule
    document: Document
    tests: TestFile | None
    reference: Reference
    every: Sequence[Rule] = ()
    today: date | None = None
    test_document: Document | None = None

    @cached_property
    def conditions(self) -> tuple[Written, ...]:
        """Every condition in the file."""
        file = self.rule.file
        environment = self.reference.environment(FIELDS if file.rules is None else ALERT_TYPES)
        found = [
            Written(environment.check(text), *self.document.text_position(place))
            for place, text in [(("condition",), file.condition), *extra_conditions(file)]
        ]
        earlier: list[str] = []
        for place, part in parts(file.pattern) if file.pattern is not None else ():
            if part.related is not None:
                related = self.reference.environment(referable(earlier)).check(part.related)
                found.append(Written(related, *self.document.text_position((*place, "related"))))
            earlier.append(part.name)
        return tuple(found)


class Check:
    """One kind of finding. Its docstring says what the code means."""

    code: ClassVar[str]
    level: ClassVar[Level]
    of_tests: ClassVar[bool] = False  # its places are in the tests

    def look(self, subject: Subject) -> Iterator[Found]:
        """The findings in one rule."""
        raise AssertionError("each check has its own")  # pragma: no cover


def worst(findings: Sequence[Finding]) -> Level | None:
    """The gravest level among findings."""
    return min((finding.level for finding in findings), key=LEVELS.index, default=None)
