"""Everything together, for use as a library: events go in, alerts come out, time is told.

    reference = Reference.packaged()
    running = Running(RuleSet.load([Path("my-rules")], reference), reference)
    for event in events:                       # jianguan.domain.event.Event, in any order
        for alert in running.take(event):
            print(alert.title_en, alert.key)
    for alert in running.elapse(now_ms):       # what the clock has settled
        print(alert.title_en, alert.key)

In the streams the same parts are spread over stages. It must not know files.
"""

from __future__ import annotations

from collections.abc import Iterable

from jianguan.domain.alert import Alert
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from rules.alert_facts import AlertMatcher
from rules.engine import Engine
from rules.facts import Matcher
from rules.reference import Reference
from rules.ruleset import RuleSet


class Running:
    """A rule set at work. Not thread-safe: one owner."""

    def __init__(self, ruleset: RuleSet, reference: Reference) -> None:
        self._matcher = Matcher(ruleset, reference)
        self._alerts = AlertMatcher(ruleset, reference)
        self.engine = Engine(ruleset)

    def take(self, event: Event) -> list[Alert]:
        """The alerts that an event brings about at once, those of rules on alerts too."""
        return self._followed(self._matcher.facts(event), event.received_at)

    def elapse(self, now_ms: int) -> list[Alert]:
        """The alerts that the clock has settled by `now_ms`, each when it was due, and what follows from them."""
        found: list[Alert] = []
        while (due := self.engine.due()) is not None and due <= now_ms:
            for alert in self.engine.elapse(due):
                found.append(alert)
                found.extend(self._followed(self._alerts.facts(alert), due))
        return found

    def _followed(self, facts: Iterable[Fact], now_ms: int) -> list[Alert]:
        found: list[Alert] = []
        waiting = list(facts)
        while waiting:
            alerts = self.engine.add(waiting.pop(0), now_ms).alerts
            found.extend(alerts)
            waiting.extend(fact for alert in alerts for fact in self._alerts.facts(alert))
        return found
