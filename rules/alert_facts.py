"""Alerts as events: what one rule raised becomes facts of the rules that look at it, or that it silences.

An alert counts from the start of its episode on. That is a part of its id, and so the same whatever order the facts
behind it came in: the alerts of a rule on alerts are a function of the set of alerts, as those are of the events.

It must not know windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jianguan.domain.alert import Alert
from jianguan.domain.fact import Fact
from jianguan.domain.ids import SEPARATOR, fact_id
from rules.cel.matching import compile_one
from rules.facts import getter
from rules.keys import INHIBITS, Value, carry
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet


class Subject(NamedTuple):
    """An alert as an event of another rule."""

    id: str
    rule: str
    severity: str
    enterprise: str | None
    enterprise_name: str | None
    region: str | None
    industry: str | None
    category: str
    lead: str | None
    key: str
    event_count: int
    weight: int


class AlertMatcher:
    """The rules of a set that look at alerts."""

    def __init__(self, ruleset: RuleSet, reference: Reference) -> None:
        self._listeners: dict[str, list[Callable[[Alert], Fact | None]]] = {}
        self._silencers: dict[str, list[Callable[[Alert], Fact | None]]] = {}
        for rule in ruleset.running:
            for heard in rule.weights:
                self._listeners.setdefault(heard, []).append(_listener(rule, reference))
            for heard in rule.inhibited_by:
                self._silencers.setdefault(heard, []).append(_silencer(rule, reference))

    def facts(self, alert: Alert) -> list[Fact]:
        """One fact for each rule that the alert concerns and whose group it names."""
        found = [listener(alert) for listener in self._listeners.get(alert.rule, ())]
        return [*(fact for fact in found if fact is not None), *self.silences(alert)]

    def silences(self, alert: Alert) -> list[Fact]:
        """Those of them that keep a rule silent."""
        found = [silencer(alert) for silencer in self._silencers.get(alert.rule, ())]
        return [fact for fact in found if fact is not None]


def _listener(rule: Rule, reference: Reference) -> Callable[[Alert], Fact | None]:
    holds = compile_one(rule.checked)
    assert rule.judging is not None
    carried = rule.judging.carried
    reads = {name: getter(name, reference) for name in carried if name != "weight"}

    def fact(alert: Alert) -> Fact | None:
        subject = _subject(alert, rule.weights)
        if rule.in_force is not None and not rule.in_force[0] <= alert.episode < rule.in_force[1]:
            return None
        if not holds(subject):
            return None
        values: list[Value] = [subject.weight if name == "weight" else reads[name](subject) for name in carried]  # type: ignore[arg-type]
        return _fact(rule, alert, subject, alert.episode, carry(0, values), reference)

    return fact


def _silencer(rule: Rule, reference: Reference) -> Callable[[Alert], Fact | None]:
    def fact(alert: Alert) -> Fact | None:
        subject = _subject(alert, {})
        return _fact(rule, alert, subject, alert.time, carry(INHIBITS, [alert.episode_end]), reference)

    return fact


def _subject(alert: Alert, weights: Mapping[str, int]) -> Subject:
    return Subject(
        alert.id, alert.rule, alert.severity, alert.enterprise, alert.enterprise_name, alert.region, alert.industry,
        alert.category, alert.lead, alert.key, alert.event_count, weights.get(alert.rule, 0),
    )  # fmt: skip


def _fact(rule: Rule, alert: Alert, subject: Subject, time: int, carried: str, reference: Reference) -> Fact | None:
    values = [getter(name, reference)(subject) for name in rule.groups]  # type: ignore[arg-type]  # it has those fields
    if None in values:
        return None
    return Fact(
        id=fact_id(rule.id, rule.version, alert.id),
        rule=rule.id,
        version=rule.version,
        key=SEPARATOR.join(str(value) for value in values),
        time=time,
        event=alert.id,
        received_at=alert.received_at,
        number=None,
        member=None,
        enterprise=alert.enterprise,
        enterprise_name=alert.enterprise_name,
        region=alert.region,
        industry=alert.industry,
        category=alert.category,
        carried=carried,
    )
