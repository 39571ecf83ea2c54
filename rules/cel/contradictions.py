"""Conditions that no event can meet, and alternatives in them that none can.

A condition is taken apart into alternatives, each a list of tests that must all hold. An alternative is impossible
when a test in it is false whatever the event, or when two of its tests exclude each other: a field that must equal two
constants, an empty range of numbers, a field that must be missing and be compared, two regions apart.

What it says is certain; what it does not see may still be impossible. It must not know rules.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, product
from typing import Final, NamedTuple

from rules.cel.environment import Checked
from rules.cel.evaluation import compile_value
from rules.cel.python_code import flattened
from rules.cel.tree import Call, Comprehension, Constant, Identifier, ListOf, Node, walk
from rules.cel.values import EvaluationError, Value
from rules.cel.writing import text_of

_MOST_ALTERNATIVES: Final = 512
_MIRRORED: Final = {"_<_": "_>_", "_<=_": "_>=_", "_>_": "_<_", "_>=_": "_<=_", "_==_": "_==_", "_!=_": "_!=_"}
_OPPOSITE: Final = {"_<_": "_>=_", "_<=_": "_>_", "_>_": "_<=_", "_>=_": "_<_", "_==_": "_!=_", "_!=_": "_==_"}
_WITHIN: Final = ("region_within", "industry_within")
_NOT_STRICT: Final = ("_&&_", "_||_", "_?_:_", "present", "@not_strictly_false")


class _Test(NamedTuple):
    """One test of an alternative: the node, and whether it must be true or false."""

    node: Node
    wanted: bool


@dataclass(slots=True)
class _Needed:
    """What an alternative needs one field to be, and the tests that say so."""

    values: set[Value] | None = None  # one of these
    others: set[Value] = field(default_factory=set)  # none of these
    least: float = -math.inf
    above: bool = False  # more than `least`, not just at least
    most: float = math.inf
    below: bool = False
    missing: _Test | None = None
    there: _Test | None = None
    within: list[tuple[str, _Test]] = field(default_factory=list)
    tests: list[_Test] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Impossible:
    """Tests that cannot hold together; one alone when it never holds."""

    tests: tuple[str, ...]

    def __str__(self) -> str:
        if len(self.tests) == 1:
            return f"`{self.tests[0]}` never holds"
        return " and ".join(f"`{each}`" for each in self.tests) + " exclude each other"


def impossible(checked: Checked) -> Impossible | None:
    """Why no event can meet the condition; None when one may."""
    return _Analysis(checked).impossible({})


def dead_alternatives(checked: Checked) -> Iterator[tuple[str, Impossible]]:
    """(text, why) of each operand of an `||` that can never be the reason for the condition to hold."""
    analysis = _Analysis(checked)
    if analysis.impossible({}) is not None:
        return
    for node in walk(checked.tree.root):
        if isinstance(node, Call) and node.function == "_||_" and not analysis.is_inside_another(node):
            for operand in flattened(node, "_||_"):
                why = analysis.impossible({node.id: operand})
                if why is not None:
                    yield text_of(operand), why


class _Analysis:
    def __init__(self, checked: Checked) -> None:
        self._checked = checked
        self._inner = {
            each.id
            for node in walk(checked.tree.root)
            if isinstance(node, Call) and node.function == "_||_"
            for each in node.arguments
            if isinstance(each, Call) and each.function == "_||_"
        }

    def is_inside_another(self, node: Node) -> bool:
        """Whether an `||` is an operand of an `||`: `a || b || c` is one choice of three."""
        return node.id in self._inner

    def impossible(self, chosen: Mapping[int, Node]) -> Impossible | None:
        """Why no alternative is possible, when only the `chosen` operands of some choices count."""
        alternatives = list(islice(self._alternatives(self._checked.tree.root, True, chosen), _MOST_ALTERNATIVES + 1))
        if len(alternatives) > _MOST_ALTERNATIVES:
            return None
        why: Impossible | None = None
        for tests in alternatives:
            why = self._clash(tests)
            if why is None:
                return None
        return why or Impossible((text_of(self._checked.tree.root),))

    def _alternatives(self, node: Node, wanted: bool, chosen: Mapping[int, Node]) -> Iterator[tuple[_Test, ...]]:
        """Lists of tests; the node is `wanted` only if all tests of one of them hold."""
        if isinstance(node, Call):
            if node.id in chosen and wanted:
                yield from self._alternatives(chosen[node.id], wanted, chosen)
                return
            if node.function in ("_&&_", "_||_"):
                operands = [self._alternatives(each, wanted, chosen) for each in flattened(node, node.function)]
                if (node.function == "_&&_") is wanted:
                    # Bounded before it is multiplied out: a product keeps its operands whole.
                    few = [tuple(islice(each, _MOST_ALTERNATIVES + 1)) for each in operands]
                    yield from (sum(each, ()) for each in product(*few))
                else:
                    for operand in operands:
                        yield from operand
                return
            if node.function == "!_":
                yield from self._alternatives(node.arguments[0], not wanted, chosen)
                return
            if node.function == "_?_:_":
                condition, then, otherwise = node.arguments
                for branch, holds in ((then, True), (otherwise, False)):
                    for first in self._alternatives(condition, holds, chosen):
                        yield from (first + each for each in self._alternatives(branch, wanted, chosen))
                return
        yield (_Test(node, wanted),)

    def _clash(self, tests: tuple[_Test, ...]) -> Impossible | None:
        needs: dict[str, _Needed] = {}
        said: dict[str, _Test] = {}
        for test in tests:
            if self._never(test):
                return Impossible((_told(test),))
            before = said.setdefault(text_of(test.node), test)
            if before.wanted is not test.wanted:
                return Impossible((_told(before), _told(test)))
            for name in self._read(test.node):
                self._take(needs.setdefault(name, _Needed()), name, test)
        for name, needed in needs.items():
            found = self._clash_of(name, needed)
            if found is not None:
                return found
        return None

    def _never(self, test: _Test) -> bool:
        """Whether a test that looks at no field has another value, or none."""
        names = [node for node in walk(test.node) if isinstance(node, Identifier)]
        if names or any(isinstance(node, Comprehension) for node in walk(test.node)):
            return False
        return self._value(test.node, {}) is not test.wanted

    def _value(self, node: Node, fields: Mapping[str, Value]) -> Value:
        part = replace(self._checked, tree=replace(self._checked.tree, root=node))
        try:
            return compile_value(part)(fields)
        except EvaluationError:
            return None

    def _read(self, node: Node) -> set[str]:
        names = {each.name.removeprefix(".") for each in walk(node) if isinstance(each, Identifier)}
        return names & set(self._checked.types)

    def _take(self, needed: _Needed, name: str, test: _Test) -> None:
        """Note what a test says of one field."""
        node = test.node
        needed.tests.append(test)
        if isinstance(node, Call) and node.function == "present":
            if test.wanted:
                needed.there = test
            else:
                needed.missing = test
            return
        if not any(
            isinstance(each, Comprehension) or (isinstance(each, Call) and each.function in _NOT_STRICT)
            for each in walk(node)
        ):
            needed.there = test
        if isinstance(node, Identifier):
            self._one_of(needed, {test.wanted}, True)
        elif isinstance(node, Call) and len(node.arguments) == 2:
            left, right = node.arguments
            if node.function in _WITHIN and test.wanted and isinstance(right, Constant):
                needed.within.append((str(right.value), test))
            elif node.function == "@in" and isinstance(left, Identifier) and isinstance(right, ListOf):
                if all(isinstance(each, Constant) for each in right.elements) and not right.optional:
                    constants = {each.value for each in right.elements if isinstance(each, Constant)}
                    self._one_of(needed, constants, test.wanted)
            elif node.function in _MIRRORED:
                self._compared(needed, node.function, left, right, test.wanted)

    @staticmethod
    def _one_of(needed: _Needed, values: set[Value], wanted: bool) -> None:
        if not wanted:
            needed.others |= values
        else:
            needed.values = values if needed.values is None else needed.values & values

    def _compared(self, needed: _Needed, sign: str, left: Node, right: Node, wanted: bool) -> None:
        if isinstance(left, Constant):
            left, right, sign = right, left, _MIRRORED[sign]
        if not isinstance(left, Identifier) or not isinstance(right, Constant):
            return
        value = right.value
        # "Not less" is "at least" for what has an order; a double may be no number at all.
        if not wanted:
            if isinstance(value, float) and sign not in ("_==_", "_!=_"):
                return
            sign = _OPPOSITE[sign]
        if sign in ("_==_", "_!=_"):
            self._one_of(needed, {value}, sign == "_==_")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            open_end = sign in ("_<_", "_>_")
            if sign in ("_>_", "_>=_") and (value, open_end) > (needed.least, needed.above):
                needed.least, needed.above = value, open_end
            elif sign in ("_<_", "_<=_") and (value, not open_end) < (needed.most, not needed.below):
                needed.most, needed.below = value, open_end

    def _clash_of(self, name: str, needed: _Needed) -> Impossible | None:
        told = tuple(dict.fromkeys(_told(test) for test in needed.tests))
        if needed.missing is not None and needed.there is not None:
            return Impossible((_told(needed.missing), _told(needed.there)))
        if needed.values is not None:
            possible = needed.values - needed.others
            alone = [test for test in needed.tests if self._read(test.node) == {name} and _foldable(test.node)]
            possible = {
                value for value in possible if all(self._value(t.node, {name: value}) is t.wanted for t in alone)
            }
            return None if possible else Impossible(told)
        least, most = needed.least, needed.most
        if self._checked.types.get(name) == "int":
            least = least + 1 if needed.above else least
            most = most - 1 if needed.below else most
            return Impossible(told) if least > most else None
        if least > most or (least == most and (needed.above or needed.below)):
            return Impossible(told)
        return self._apart(needed)

    def _apart(self, needed: _Needed) -> Impossible | None:
        """Two codes of which neither lies within the other."""
        for number, (code, test) in enumerate(needed.within):
            for other, second in needed.within[number + 1 :]:
                assert isinstance(test.node, Call)
                ask = self._checked.extensions[test.node.function].implementation
                try:
                    if not ask(code, other) and not ask(other, code):
                        return Impossible((_told(test), _told(second)))
                except EvaluationError:
                    continue
        return None


def _foldable(node: Node) -> bool:
    return not any(isinstance(each, Comprehension) for each in walk(node))


def _told(test: _Test) -> str:
    return text_of(test.node if test.wanted else Call(0, "!_", None, (test.node,)))
