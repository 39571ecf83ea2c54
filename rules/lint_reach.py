"""Checks on what a rule can reach: one that can never fire, one that never fires without another, and one whose memory
has no bound that anybody would call one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from jianguan.domain.alert import SEVERITIES
from rules.cel.contradictions import dead_alternatives, impossible
from rules.cel.python_code import flattened
from rules.cel.tree import Call, Identifier, Node, walk
from rules.cel.writing import text_of
from rules.finding import Check, Found, Subject
from rules.model import DAY
from rules.rule import Rule

_FREE_FIELDS: Final = frozenset({"address", "product", "reporter", "enterprise", "platform"})
"""Fields that hold whatever a sender writes: there is no list of their values."""
_LONG: Final = 2 * 366 * DAY
_FACT_BYTES: Final = 48
_HEAVY_BYTES: Final = 1_000_000


class NeverTrue(Check):
    """A rule that can never fire: a condition or a trigger that nothing can meet."""

    code, level = "never-true", "error"

    def look(self, subject: Subject) -> Iterator[Found]:
        rule = subject.rule
        limit = rule.facts_per_key
        for name, needed in (("count", rule.count), ("distinct", rule.distinct)):
            if needed > limit:
                hint = "raise limits.facts_per_key"
                yield ("trigger", name), f"{name} needs {needed} facts, but only {limit} of a key are kept", hint
        if rule.distinct > 1 and rule.distinct_of is not None:
            for field in rule.groups:
                if _one_value(rule.distinct_of, field):
                    message = f"all facts of a key have one {rule.distinct_of}: {field} is in group_by"
                    yield ("trigger", "distinct", "of"), message, "count another field, or group by another"
        why = impossible(rule.checked)
        if why is not None:
            yield ("condition",), f"no event can meet the condition: {why}", ""


class DeadAlternative(Check):
    """A part of a condition that can never be the reason for it to hold."""

    code, level = "dead-alternative", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        for text, why in dead_alternatives(subject.rule.checked):
            yield ("condition",), f"`{text}` changes nothing: {why}", "take it out, or mend it"


class Shadowed(Check):
    """A rule that never fires unless another one does, which is at least as severe."""

    code, level = "shadowed", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        rule = subject.rule
        if rule.status == "retired":
            return
        for other in subject.every:
            if other.id == rule.id or other.status != "active" or not _covers(other, rule):
                continue
            if _covers(rule, other) and other.id > rule.id:
                continue  # they are equal: one of the two is told
            message = f"whenever this rule fires, {other.id} fires too, and is no less severe"
            yield (), message, "make it more severe or narrower, or retire one of the two"


class UnboundedState(Check):
    """A rule that keeps a key for every value that anybody ever sent."""

    code, level = "unbounded-state", "warning"

    def look(self, subject: Subject) -> Iterator[Found]:
        rule = subject.rule
        free = [field for field in rule.groups if field in _FREE_FIELDS]
        if not free:
            return
        if rule.retention > _LONG and not _selective(rule.checked.tree.root):
            days = rule.retention // DAY
            message = f"every event makes a fact, and each {free[0]} that anybody sends is kept for {days} days"
            yield ("group_by",), message, "narrow the condition, or shorten the window"
        if rule.facts_per_key * _FACT_BYTES > _HEAVY_BYTES:
            size = rule.facts_per_key * _FACT_BYTES // 1_000_000
            message = f"one {free[0]} may take {size} MB, and there is no end of them"
            yield ("limits", "facts_per_key"), message, "lower facts_per_key"


def _one_value(field: str, group: str) -> bool:
    """Whether all events that agree in `group` agree in `field`: it is that, or a wider level of it."""
    wider = {
        "region": ("region.county", "region.city", "region.province"),
        "region.county": ("region.city", "region.province"),
        "region.city": ("region.province",),
        "industry": ("industry.class", "industry.group", "industry.division", "industry.section"),
        "industry.class": ("industry.group", "industry.division", "industry.section"),
        "industry.group": ("industry.division", "industry.section"),
        "industry.division": ("industry.section",),
    }
    return field == group or field in wider.get(group, ())


def _selective(root: Node) -> bool:
    """Whether a condition asks for anything but the kind of event and what is there."""
    for node in flattened(root, "_&&_"):
        read = {each.name for each in walk(node) if isinstance(each, Identifier)} - {"kind"}
        asks = isinstance(node, Call) and node.function == "present"
        if read and not asks:
            return True
    return False


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether each alert of `narrow` comes with one of `wide`."""
    a, b = wide.file, narrow.file
    if wide.judging is not None or narrow.judging is not None or a.trigger is None or b.trigger is None:
        return False  # what holds over whole facts is not compared
    same = (
        wide.groups == narrow.groups
        and a.window == b.window
        and wide.episodes == narrow.episodes
        and wide.facts_per_key >= narrow.facts_per_key
        and set(wide.kinds) >= set(narrow.kinds)
        and SEVERITIES.index(a.severity) >= SEVERITIES.index(b.severity)
    )
    if not same:
        return False
    return _parts(wide) <= _parts(narrow) and _weaker(a.trigger.model_dump(), b.trigger.model_dump())


def _parts(rule: Rule) -> set[str]:
    """What a condition asks for, all of it, in one spelling; the kinds of `on` apart."""
    parts = {text_of(node) for node in flattened(rule.checked.tree.root, "_&&_")}
    return {part for part in parts if not part.startswith(("kind == ", "kind in "))} - {"true"}


def _weaker(wide: dict[str, Any], narrow: dict[str, Any]) -> bool:
    """Whether a trigger holds wherever another does: it asks for less of the same, and for nothing else. Both only
    count, tell apart and add up."""
    for name, clause in wide.items():
        if clause is None:
            continue
        other = narrow[name]
        if name == "count" and other is None:
            # Without a count one fact is enough; different values need as many facts.
            other = {"at_least": narrow["distinct"]["at_least"] if narrow["distinct"] else 1}
        if other is None or clause["at_least"] > other["at_least"] or clause.get("of") != other.get("of"):
            return False
    return True
