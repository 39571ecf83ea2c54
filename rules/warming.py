"""With what a rule would begin: its windows, filled from the events that came before, as a new rule's are.

Pure: the events are handed in, a run at a time. Memory is bounded by the rule's own limits. It must not know where
events are stored, nor how a running engine is filled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

from jianguan.domain.event import Event
from jianguan.domain.filters import Filter, Test, all_of
from jianguan.domain.hindsight import Filled, RuleLabel, WarmReport
from jianguan.errors import InputError
from rules.engine import Engine
from rules.explain import PERSONAL
from rules.facts import Matcher
from rules.pushdown import fields_of_rule, filter_of_rule
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet

MOST_LISTED: Final = 20


class Warming:
    """The windows of one rule, as if it were new at `now` (ms). InputError for a rule on alerts, which begins empty."""

    def __init__(self, rule: Rule, reference: Reference, now: int) -> None:
        if rule.weights:
            raise InputError("rule-on-alerts", "a rule that looks at alerts begins with empty windows")
        if rule.status == "retired":
            raise InputError("rule-retired", f"the rule {rule.id} is retired: it has no windows")
        self._rule = rule
        self._now = now
        ruleset = RuleSet([rule])
        self._matcher = Matcher(ruleset, reference)
        self._engine = Engine(ruleset)
        self._facts: Counter[str] = Counter()
        self._newest: dict[str, int] = {}
        self._events = 0
        self.since: int = max(0, now - rule.retention)  # ms; what happened before can be in none of its windows
        self.filter: Filter = all_of([filter_of_rule(rule, reference), Test("received_at", "<", (now,))])
        self.fields: frozenset[str] = fields_of_rule(rule)

    def add(self, events: Iterable[Event]) -> None:
        """Take in the next events, in order of arrival."""
        for event in events:
            self._events += 1
            facts = self._matcher.facts(event)
            self._engine.fold(facts)
            for fact in facts:
                self._facts[fact.key] += 1
                self._newest[fact.key] = max(fact.time, self._newest.get(fact.key, fact.time))

    def report(self) -> WarmReport:
        """What came of all that was taken in."""
        rule, stats = self._rule, self._engine.stats()[self._rule.id]
        personal = bool(PERSONAL.intersection(rule.groups))
        fullest = sorted(self._facts.items(), key=lambda each: (-each[1], each[0]))[:MOST_LISTED]
        return WarmReport(
            rule=RuleLabel(rule.id, rule.version, rule.content_hash, rule.title_zh, rule.title_en),
            now=self._now,
            since=self.since,
            events=self._events,
            facts=stats.facts,
            groups=stats.keys,
            fullest=tuple(Filled(None if personal else key, count, self._newest[key]) for key, count in fullest),
        )
