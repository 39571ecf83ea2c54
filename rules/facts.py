"""Which rules an event concerns: conditions of all running rules at once, and a small fact for each that holds.

The hot path of the ingest stage. It must not know windows or alerts.

A fact's time is when the event happened, but never later than when it was received: one event from the future, by a
wrong clock or on purpose, would otherwise make all real facts of its group late.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias, cast

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
        return self.facts_of((event,))

    def facts_of(self, events: Sequence[Event]) -> list[Fact]:
        """The facts of many events, by rule and then in the order of the events.

        Rule by rule and field by field, because that takes half the time that fact by fact would.
        """
        matching = self._matching
        chosen: list[list[Event]] = [[] for _ in self._plans]
        for event in events:
            for index in matching(event):
                chosen[index].append(event)
        found: list[Fact] = []
        for plan, matched in zip(self._plans, chosen, strict=True):
            if matched:
                found += _facts(plan, matched)
        return found


class _Plan(NamedTuple):
    """How to make the facts of one rule."""

    begun: blake2b  # the hash of the constant part of `jianguan.domain.ids.fact_id`
    rule: str
    version: int
    key_of: Getter
    number_of: Callable[[Event], int | None] | None
    member_of: Getter | None
    carried_of: Callable[[Event], str] | None


# What a fact takes from its event as it is, and its moment.
_SHARED: Final = attrgetter(
    "id", "occurred_at", "received_at", "enterprise", "enterprise_name", "region", "industry", "category"
)
_of: Final = cast(Callable[[Any, Any], Fact], tuple.__new__)  # half the time of Fact(...); tests hold the order


def _facts(plan: _Plan, matched: list[Event]) -> list[Fact]:
    keys = list(map(plan.key_of, matched))
    if None in keys:
        matched = [event for event, key in zip(matched, keys, strict=True) if key is not None]
        keys = [key for key in keys if key is not None]
        if not matched:
            return []
    names, occurred, received, *others = zip(*map(_SHARED, matched), strict=True)
    # fmt: off
    rows = zip(
        _ids(plan.begun, names), repeat(plan.rule), repeat(plan.version), keys, map(min, occurred, received), names,
        received,
        repeat(None) if plan.number_of is None else [_float(plan.number_of(event)) for event in matched],
        repeat(None) if plan.member_of is None else map(plan.member_of, matched),
        *others,
        repeat(None) if plan.carried_of is None else map(plan.carried_of, matched),
    )
    # fmt: on
    return list(map(_of, repeat(Fact), rows))


def _ids(begun: blake2b, events: Sequence[str]) -> list[str]:
    found: list[str] = []
    for event in events:
        digest = begun.copy()
        digest.update(f"{len(event)}:{event}".encode("utf-8", "surrogatepass"))
        found.append("ft-" + digest.hexdigest())
    return found


def _float(number: int | None) -> float | None:
    return None if number is None else float(number)


def _plan(rule: Rule, reference: Reference) -> _Plan:
    version = str(rule.version)
    constant = f"{len(rule.id)}:{rule.id}{len(version)}:{version}".encode()
    return _Plan(
        begun=blake2b(constant, digest_size=12),
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
