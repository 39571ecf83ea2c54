"""What each condition takes, measured aside: conditions run compiled together, so that none can be told from another.

Now and then some of the events that came last are put to one condition after another, each alone. What it takes alone
is more than its part of the whole, never less by much: tests that rules share are made once there. It must not know
windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from rules.cel.matching import compile_one
from rules.decisions import ENOUGH_FACTS, Cost
from rules.facts import Matcher
from rules.judged import Timer
from rules.rule import Rule

SECONDS: Final = 0.005  # that one call of `measure` takes, about


@dataclass(slots=True)
class _Taken:
    seconds: float = 0.0
    events: int = 0


class ConditionTimes:
    """Times of the conditions of the rules that run. Not thread-safe: one owner."""

    def __init__(self, matcher: Callable[[], Matcher], timer: Timer) -> None:
        """`matcher` gives the one that runs now; when it is another one, everything is measured anew."""
        self._current = matcher
        self._timer = timer
        self._matcher: Matcher | None = None
        self._rules: tuple[Rule, ...] = ()
        self._conditions: dict[str, Callable[[Any], bool]] = {}
        self._taken: dict[str, _Taken] = {}
        self._next = 0

    def _begin(self, matcher: Matcher) -> None:
        if matcher is self._matcher:
            return
        self._matcher, self._rules, self._next = matcher, matcher.rules, 0
        self._conditions, self._taken = {}, {}

    def measure(self, seconds: float = SECONDS) -> int:
        """Put the newest events to conditions, from where the last call ended, until all were asked or `seconds` are
        over; how many conditions were asked. The events that came last are forgotten when all were."""
        matcher = self._current()
        self._begin(matcher)
        events = matcher.newest
        if not events or not self._rules:
            return 0
        until = self._timer() + seconds
        for number in range(len(self._rules)):
            if self._timer() >= until:
                return number
            rule = self._rules[self._next]
            self._next = (self._next + 1) % len(self._rules)
            condition = self._conditions.get(rule.id)
            if condition is None:
                condition = self._conditions[rule.id] = compile_one(rule.checked)
            taken = self._taken.setdefault(rule.id, _Taken())
            started = self._timer()
            for event in events:
                condition(event)
            taken.seconds += self._timer() - started
            taken.events += len(events)
        matcher.newest = ()
        return len(self._rules)

    def costs(self) -> list[Cost]:
        """What each condition took that was asked often enough since it was told last. `facts` are events here."""
        found = [
            Cost(rule.id, taken.seconds, taken.events, rule.micros_per_fact)
            for rule in self._rules
            if (taken := self._taken.get(rule.id)) is not None and taken.events >= ENOUGH_FACTS
        ]
        for cost in found:
            del self._taken[cost.rule]
        return found
