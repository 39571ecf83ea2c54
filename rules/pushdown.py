"""The part of a rule that a store can decide (DESIGN D6): a filter that passes every event of which the rule makes a
fact, and may pass others. The engine then decides, so that a rule means the same live and in hindsight.

What has no counterpart in a filter passes everything: arithmetic, patterns, comprehensions, functions of two fields.
It must not know SQL.
"""

from __future__ import annotations

from typing import Final

from jianguan.domain.codes import CodeTree
from jianguan.domain.filters import ANYTHING, NOTHING, Filter, Operator, Test, all_of, some_of
from rules.cel.environment import Checked
from rules.cel.python_code import flattened
from rules.cel.tree import Call, Constant, Identifier, ListOf, Node
from rules.judging import POINT
from rules.reference import Reference, spelled
from rules.rule import Rule

_SIGNS: Final[dict[str, Operator]] = {"_==_": "=", "_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_MIRRORED: Final[dict[Operator, Operator]] = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TEXT_CALLS: Final[dict[str, Operator]] = {"contains": "holds", "startsWith": "begins", "endsWith": "ends"}
_PLAIN: Final = ("string", "int", "double")
_MOST_VALUES: Final = 5_000


def fields_of_rule(rule: Rule) -> frozenset[str]:
    """The fields of an event that the making of a fact of the rule reads."""
    if rule.weights:
        return frozenset()
    named = {*rule.groups, *(each for each in (rule.distinct_of, rule.sum_of) if each)}
    read = {*rule.checked.fields}
    if rule.judging is not None:
        named.update(rule.judging.carried)
        read.update(("historical",), *(checked.fields for checked in rule.judging.extras))
    return frozenset(read.union(*map(_read_for, named)))


def filter_of_rule(rule: Rule, reference: Reference) -> Filter:
    """Passes every event of which the rule makes a fact; none for a rule that looks at alerts."""
    if rule.weights:
        return NOTHING
    grouped = [Test(field, "present") for name in rule.groups for field in _read_for(name)]
    return all_of([filter_of(rule.checked, reference), *grouped])


def _read_for(name: str) -> tuple[str, ...]:
    """The fields of an event behind a name in a group or trigger: a level of a field, or a square of the map."""
    field = name.partition(".")[0]
    return POINT if field == "cell" else (field,)


def filter_of(checked: Checked, reference: Reference) -> Filter:
    """Passes every event that meets the condition."""
    return _Translator(checked, reference).filter(checked.tree.root, True)


class _Translator:
    def __init__(self, checked: Checked, reference: Reference) -> None:
        self._types = checked.types
        self._reference = reference

    def filter(self, node: Node, wanted: bool) -> Filter:
        """Passes every event for which the node is `wanted`."""
        if isinstance(node, Constant):
            return ANYTHING if node.value is wanted else NOTHING
        if isinstance(node, Identifier):
            return Test(node.name.removeprefix("."), "=", (True,), wanted) if self._field(node) else ANYTHING
        if not isinstance(node, Call):
            return ANYTHING
        if node.function in ("_&&_", "_||_"):
            parts = [self.filter(each, wanted) for each in flattened(node, node.function)]
            return all_of(parts) if (node.function == "_&&_") is wanted else some_of(parts)
        if node.function == "!_":
            return self.filter(node.arguments[0], not wanted)
        if node.function == "_?_:_":
            condition, then, otherwise = node.arguments
            return some_of(
                [
                    all_of([self.filter(condition, True), self.filter(then, wanted)]),
                    all_of([self.filter(condition, False), self.filter(otherwise, wanted)]),
                ]
            )
        return self._call(node, wanted)

    def _call(self, node: Call, wanted: bool) -> Filter:
        operands = (() if node.target is None else (node.target,)) + node.arguments
        if node.function == "present" and (name := self._field(operands[0])):
            return Test(name, "present" if wanted else "missing")
        if len(operands) != 2:
            return ANYTHING
        left, right = operands
        if node.function == "_!=_":
            return self._comparison("=", left, right, not wanted)
        if node.function in _SIGNS:
            return self._comparison(_SIGNS[node.function], left, right, wanted)
        if node.function == "@in":
            return self._membership(left, right, wanted)
        name = self._field(left)
        if not name:
            return ANYTHING
        if node.function in _TEXT_CALLS and isinstance(right, Constant) and isinstance(right.value, str):
            return Test(name, _TEXT_CALLS[node.function], (right.value,), wanted)
        if node.function == "contains_any" and isinstance(right, ListOf):
            words = [each.value for each in right.elements if isinstance(each, Constant)]
            if len(words) == len(right.elements) and not right.optional:
                return Test(name, "holds", tuple(words), wanted)
        if node.function in ("region_within", "industry_within") and isinstance(right, Constant):
            region = node.function == "region_within"
            tree = self._reference.regions if region else self._reference.industries
            return self._within(name, tree, str(right.value), wanted)
        return ANYTHING

    def _comparison(self, sign: Operator, left: Node, right: Node, wanted: bool) -> Filter:
        if isinstance(left, Constant):
            left, right, sign = right, left, _MIRRORED[sign]
        name = self._field(left)
        if not name or not isinstance(right, Constant):
            return ANYTHING
        kind = self._types[name]
        if kind == "bool" and sign == "=":
            return Test(name, "=", (True,), right.value is wanted)
        return Test(name, sign, (right.value,), wanted) if kind in _PLAIN else ANYTHING

    def _membership(self, element: Node, container: Node, wanted: bool) -> Filter:
        name = self._field(element)
        if name and self._types[name] in ("string", "int") and isinstance(container, ListOf):
            values = [each.value for each in container.elements if isinstance(each, Constant)]
            if len(values) == len(container.elements) and not container.optional and len(values) <= _MOST_VALUES:
                return Test(name, "in", tuple(values), wanted)
        name = self._field(container)
        if name and self._types[name] == "list(string)" and isinstance(element, Constant):
            return Test(name, "has", (element.value,), wanted)
        return ANYTHING

    @staticmethod
    def _within(name: str, tree: CodeTree, ancestor: str, wanted: bool) -> Filter:
        if not wanted:
            return Test(name, "present")
        listed, beginnings = tree.inside(spelled(tree, ancestor) or ancestor)
        if len(listed) > _MOST_VALUES:
            return Test(name, "present")
        tests: list[Filter] = [Test(name, "in", listed)]
        if beginnings:
            tests.append(Test(name, "begins", beginnings))
        return some_of(tests)

    def _field(self, node: Node) -> str:
        """The name of a field, "" for anything else."""
        name = node.name.removeprefix(".") if isinstance(node, Identifier) else ""
        return name if name in self._types else ""
