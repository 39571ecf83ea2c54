"""Which rules an event concerns: conditions of all running rules at once, and a small fact for each that holds.

The hot path of the ingest stage. It must not know windows or alerts.

A fact's time is when the event happened, but never later than when it was received: one event from the future, by a
wrong clock or on purpose, would otherwise make all real facts of its group late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from jianguan.domain.codes import CodeTree
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from rules.cel.matching import OnError, compile_many
from rules.cells import cell_of
from rules.judging import Judging
from rules.keys import FIRST_BIT, HISTORICAL, carry
from rules.model_base import CELLS
from rules.reference import Reference
from rules.rule import SEPARATOR, Rule
from rules.ruleset import RuleSet

Getter: TypeAlias = Callable[[Event], "str | None"]
_REMEMBERED: Final = 100_000


class Matcher:
    """The conditions of a rule set's active and shadow rules."""

    def __init__(self, ruleset: RuleSet, reference: Reference, on_error: OnError | None = None) -> None:
        """`on_error(rule id, error)` is told of conditions that could not be evaluated, which count as not true."""
        rules = [rule for rule in ruleset.running if not rule.weights]  # the others look at alerts
        conditions = [(rule.id, rule.checked) for rule in rules]
        self._matching: Callable[[Event], Sequence[int]] = compile_many(conditions, on_error)
        self._plans = [_plan(rule, reference) for rule in rules]

    def facts(self, event: Event) -> list[Fact]:
        """One fact for each rule whose condition holds for `event` and whose group it names."""
        indices = self._matching(event)
        if not indices:
            return []
        found: list[Fact] = []
        name = event.id
        time, received_at = event.occurred_at, event.received_at
        if time > received_at:
            time = received_at
        suffix = f"{len(name)}:{name}".encode("utf-8", "surrogatepass")
        shared = (event.enterprise, event.enterprise_name, event.region, event.industry, event.category)
        for index in indices:
            digest_of_rule, rule, version, key_of, number_of, member_of, carried_of = self._plans[index]
            key = key_of(event)
            if key is None:
                continue
            digest = digest_of_rule()
            digest.update(suffix)
            number = None if number_of is None else number_of(event)
            values = (
                "ft-" + digest.hexdigest(),
                rule,
                version,
                key,
                time,
                name,
                received_at,
                None if number is None else float(number),
                None if member_of is None else member_of(event),
                *shared,
                None if carried_of is None else carried_of(event),
            )
            found.append(tuple.__new__(Fact, values))  # a third quicker than Fact(...); tests hold the order
        return found


class _Plan(NamedTuple):
    """How to make the facts of one rule."""

    digest_of_rule: Callable[[], blake2b]  # the hash of the constant part of `jianguan.domain.ids.fact_id`, copied
    rule: str
    version: int
    key_of: Getter
    number_of: Callable[[Event], int | None] | None
    member_of: Getter | None
    carried_of: Callable[[Event], str] | None


def _plan(rule: Rule, reference: Reference) -> _Plan:
    version = str(rule.version)
    constant = f"{len(rule.id)}:{rule.id}{len(version)}:{version}".encode()
    return _Plan(
        digest_of_rule=blake2b(constant, digest_size=12).copy,
        rule=rule.id,
        version=rule.version,
        key_of=_key(rule, reference),
        number_of=attrgetter(rule.sum_of) if rule.sum_of else None,
        member_of=getter(rule.distinct_of, reference) if rule.distinct_of else None,
        carried_of=carrier(rule.judging, reference) if rule.judging is not None else None,
    )


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


def carrier(judging: Judging, reference: Reference) -> Callable[[Event], str]:
    """What the facts of a rule carry: which of its conditions the event meets, and the values that it asks for."""
    met = compile_many([(str(bit), checked) for bit, checked in enumerate(judging.extras)])
    reads: list[Callable[[Event], Any]] = [
        getter(name, reference) if "." in name or name == "address" else attrgetter(name) for name in judging.carried
    ]

    def carried(event: Event) -> str:
        mask = HISTORICAL if event.historical else 0
        for place in met(event):
            mask |= FIRST_BIT << place
        return carry(mask, [read(event) for read in reads])

    return carried


def getter(field: str, reference: Reference) -> Getter:
    """Reads a field of an event, a level of its region or industry, or its square of the map; an empty text is a
    missing value."""
    name, dot, level = field.partition(".")
    if name == "cell":
        side = CELLS[level]
        return lambda event: cell_of(event.latitude, event.longitude, side)
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
