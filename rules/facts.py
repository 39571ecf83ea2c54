"""Which rules an event concerns: conditions of all running rules at once, and a small fact for each that holds.

The hot path of the ingest stage. It must not know windows or alerts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Final, TypeAlias

from jianguan.domain.codes import CodeTree
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from rules.cel.matching import compile_many
from rules.reference import Reference
from rules.rule import SEPARATOR, Rule
from rules.ruleset import RuleSet

Getter: TypeAlias = Callable[[Event], "str | None"]
Builder: TypeAlias = Callable[[Event], "Fact | None"]
_REMEMBERED: Final = 100_000


class Matcher:
    """The conditions of a rule set's active and shadow rules."""

    def __init__(self, ruleset: RuleSet, reference: Reference) -> None:
        rules = ruleset.running
        self._matching: Callable[[Event], Sequence[int]] = compile_many([(rule.id, rule.checked) for rule in rules])
        self._builders: list[Builder] = [_builder(rule, reference) for rule in rules]

    def facts(self, event: Event) -> list[Fact]:
        """One fact for each rule whose condition holds for `event` and whose group it names."""
        found: list[Fact] = []
        for index in self._matching(event):
            fact = self._builders[index](event)
            if fact is not None:
                found.append(fact)
        return found


def _builder(rule: Rule, reference: Reference) -> Builder:
    """Makes the fact of one rule. The id is that of `jianguan.domain.ids.fact_id`, its constant part prepared."""
    prefix = f"{len(rule.id)}:{rule.id}{len(str(rule.version))}:{rule.version}"
    identifier, version = rule.id, rule.version
    key_of = _key(rule, reference)
    member_of = getter(rule.distinct_of, reference) if rule.distinct_of else None
    number_of = attrgetter(rule.sum_of) if rule.sum_of else None

    def build(event: Event) -> Fact | None:
        key = key_of(event)
        if key is None:
            return None
        name = event.id
        text = f"{prefix}{len(name)}:{name}"
        number = number_of(event) if number_of is not None else None
        values = (
            f"ft-{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}",
            identifier,
            version,
            key,
            event.occurred_at,
            name,
            event.received_at,
            None if number is None else float(number),
            None if member_of is None else member_of(event),
            event.enterprise,
            event.enterprise_name,
            event.region,
            event.industry,
            event.category,
        )
        return tuple.__new__(Fact, values)  # a third quicker than Fact(...); mypy and a test hold the order

    return build


def _key(rule: Rule, reference: Reference) -> Getter:
    getters = [getter(field, reference) for field in rule.groups]
    if len(getters) == 1:
        return getters[0]

    def key(event: Event) -> str | None:
        values = [each(event) for each in getters]
        if None in values:
            return None
        return SEPARATOR.join(values)  # type: ignore[arg-type]  # None was sorted out

    return key


def getter(field: str, reference: Reference) -> Getter:
    """Reads a field of an event, or a level of its region or industry; an empty text is a missing value."""
    name, dot, level = field.partition(".")
    read: Getter = attrgetter(name)
    if not dot:
        if name == "address":  # the only one that may be an empty text
            return lambda event: read(event) or None
        return read
    tree: CodeTree = reference.regions if name == "region" else reference.industries
    remembered: dict[str, str | None] = {}

    def at_level(event: Event) -> str | None:
        code = read(event)
        if code is None:
            return None
        try:
            return remembered[code]
        except KeyError:
            pass
        found = tree.at_level(code, level) if tree.known(code) else None
        if len(remembered) < _REMEMBERED:
            remembered[code] = found
        return found

    return at_level
