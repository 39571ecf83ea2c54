"""Checks on what a rule asks fields for: kinds that `on` leaves out, fields that those kinds lack, and texts that no
event will ever hold there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rules.cel.tree import Call, Constant, Identifier, ListOf, Node, walk
from rules.fields import CATEGORIES
from rules.finding import Check, Found, Subject
from rules.judging import triggers
from rules.loader import Place, nearest
from rules.model import RuleFile
from rules.values import alert_choices, beginning_fault, choices, fault, kinds_with

_COMPARISONS: Final = ("_==_", "_!=_", "@in")


class KindNotLookedAt(Check):
    """A condition that asks for a kind which `on` leaves out, or a field that no kind in `on` has."""

    code, level = "kind-not-in-on", "error"

    def look(self, subject: Subject) -> Iterator[Found]:
        file = subject.rule.file
        if file.rules is not None:
            return
        for written in subject.conditions:
            for field, node in _compared(written.checked.tree.root):
                if field == "kind" and node.value not in file.on:
                    message = f"the condition asks for the kind {node.value}, which is not in `on`"
                    yield written.spot(node), message, nearest(str(node.value), file.on)
            for each in walk(written.checked.tree.root):
                if isinstance(each, Identifier) and (why := _lacking(_field(each), file)):
                    yield written.spot(each), *why
        for place, named in _named(file):
            if why := _lacking(named.partition(".")[0], file):
                yield place, *why


class UnknownValue(Check):
    """A text that no event can have in the field that it is compared with."""

    code, level = "unknown-value", "error"

    def look(self, subject: Subject) -> Iterator[Found]:
        file = subject.rule.file
        allowed = choices(tuple(sorted(set(file.on)))) if file.rules is None else alert_choices(tuple(file.rules))
        for written in subject.conditions:
            for field, node in _compared(written.checked.tree.root):
                if field == "kind":
                    continue  # it has a finding of its own
                wrong = fault(field, str(node.value), allowed, subject.reference)
                if wrong is not None:
                    yield written.spot(node), *wrong
            for field, node in _beginnings(written.checked.tree.root):
                wrong = beginning_fault(field, str(node.value), subject.reference)
                if wrong is not None:
                    yield written.spot(node), *wrong


class UnknownCategory(Check):
    """A category that none of the shipped mappings gives."""

    code, level = "unknown-category", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        for written in subject.conditions:
            for field, node in _compared(written.checked.tree.root):
                value = str(node.value)
                if field == "category" and value not in CATEGORIES:
                    message = f"no shipped mapping gives the category {value}"
                    yield written.spot(node), message, nearest(value, CATEGORIES)


def _compared(root: Node) -> Iterator[tuple[str, Constant]]:
    """(field, text) of what is compared with a field by ==, != or in, whichever stands first."""
    for node in walk(root):
        if not isinstance(node, Call) or node.function not in _COMPARISONS:
            continue
        left, right = node.arguments
        if isinstance(right, Identifier) and node.function != "@in":
            left, right = right, left
        if isinstance(left, Identifier):
            yield from ((_field(left), each) for each in _texts(right))


def _beginnings(root: Node) -> Iterator[tuple[str, Constant]]:
    """(field, text) of what a field is asked to begin with."""
    for node in walk(root):
        if isinstance(node, Call) and node.function == "startsWith" and isinstance(node.target, Identifier):
            yield from ((_field(node.target), each) for each in _texts(node.arguments[0]))


def _texts(node: Node) -> Iterator[Constant]:
    """The constant texts that a node may be or, as a list, hold."""
    match node:
        case Constant(value=str()):
            yield node
        case ListOf():
            for each in node.elements:
                yield from _texts(each)
        case Call(function="_?_:_"):
            for each in node.arguments[1:]:
                yield from _texts(each)


def _field(node: Identifier) -> str:
    """The field that a name means: `region` for `first.region` too."""
    return node.name.rpartition(".")[2]


def _lacking(field: str, file: RuleFile) -> tuple[str, str] | None:
    """(what is wrong, what to do) when no kind in `on` has a field."""
    having = kinds_with(field)
    if set(having) & set(file.on):
        return None
    return f"no {' and no '.join(sorted(set(file.on)))} has the field {field}", f"add {' or '.join(having)} to on"


def _named(file: RuleFile) -> Iterator[tuple[Place, str]]:
    """Fields that are named outside conditions."""
    for number, field in enumerate(file.groups):
        yield ("group_by",) if isinstance(file.group_by, str) else ("group_by", number), field
    for place, trigger in triggers(file):
        for name in ("distinct", "sum", "avg", "min", "max", "median", "percentile"):
            clause = getattr(trigger, name)
            if clause is not None:
                yield (*place, name, "of"), clause.of
