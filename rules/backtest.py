"""What a rule would have done: history goes through the same matcher and engine as live events, in order of arrival.

Pure: the events are handed in, a run at a time, and the answer is asked for at the end. Memory is bounded by the rule's
own limits and by MOST_ALERTS. It must not know where events are stored.

*Rules on rules.* Those whose alerts a rule looks at, or is silenced by, run beside it over the same events, as they are
now; what they raise is not told.

*Periods.* Whether a trigger holds is known of a period or a session only when it is over. So the events are asked for
until those that the end of the time asked for lies in are over, and what is not over yet is not decided. An alert that
another rule looks at counts from the start of its episode on: there they are asked for until that episode is over.

*Load.* Nobody works on the cases of a backtest. A case is taken to be closed when its statutory clock runs out, or
after 30 days where it has none; an alert of the same case key opens another one afterwards, with its tasks.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

from jianguan.domain.alert import Alert
from jianguan.domain.casework import Deadline
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from jianguan.domain.filters import Filter, some_of
from jianguan.domain.hindsight import BacktestReport, Bucket, Load, Raised, RuleLabel
from jianguan.domain.ids import kind_of
from jianguan.errors import InputError
from rules.alert_facts import AlertMatcher
from rules.engine import Engine
from rules.explain import PERSONAL, fact_time
from rules.facts import Matcher
from rules.model import DAY
from rules.pushdown import fields_of_rule, filter_of_rule
from rules.reference import Reference, deadlines
from rules.rule import Grid, Rule
from rules.ruleset import RuleSet

MOST_ALERTS: Final = 200_000
MOST_LISTED: Final = 100
_EVENTS_LISTED: Final = 5
_MOST_BUCKETS: Final = 60
_BUCKETS: Final = (DAY // 24, DAY // 4, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY)
_CASE_LASTS: Final = 30 * DAY
_WEEK: Final = 7 * DAY
_MANY_KEYS: Final = 200_000  # beyond, keys that are long past are forgotten, and no longer know what is late
_FORGET: Final = 20_000  # keys looked at after each run


class Backtest:
    """One rule over one time, and another one beside it if it is to be compared."""

    def __init__(
        self,
        candidate: Rule,
        against: Rule | None,
        reference: Reference,
        since: int,
        until: int,
        others: Iterable[Rule] = (),
        now: int | None = None,
    ) -> None:
        """`others` are the rules that run: those among them that the two listen to are needed. InputError when one is
        not there, or listens to them in the end. Without `now`, all is over."""
        self.since = since
        self.until = until
        known = {rule.id: rule for rule in others}
        rules = [candidate, *([against] if against is not None else [])]
        heard = [heard_by(rule, known) for rule in rules]
        every = [*rules, *(rule for each in heard for rule in each)]
        self.filter: Filter = some_of([filter_of_rule(rule, reference) for rule in every])
        self.fields: frozenset[str] = frozenset().union(*(fields_of_rule(rule) for rule in every))
        self.own_fields: frozenset[str] = frozenset().union(*(fields_of_rule(rule) for rule in rules))
        # What the windows and episodes at the beginning reach back to.
        self.from_: int = since - max(_reach(rule, known) for rule in rules)
        # The events that decide are before this time.
        self.to: int = max(_end(rule, until, known) for rule in rules)
        if now is not None:
            self.to = max(until, min(self.to, now))
        deadline = deadlines(reference)
        trials = [
            _Trial(rule, beside, reference, deadline, since, until, now)
            for rule, beside in zip(rules, heard, strict=True)
        ]
        self._candidate = trials[0]
        self._against = trials[1] if against is not None else None
        self._events = 0

    @property
    def full(self) -> bool:
        """Whether there are so many alerts that more make no sense."""
        trials = [self._candidate, *([self._against] if self._against is not None else [])]
        return any(len(trial.alerts) >= MOST_ALERTS for trial in trials)

    def add(self, events: Iterable[Event]) -> None:
        """Take in the next events, those from `from_` to `to`, in order of arrival."""
        run = list(events)
        self._events += sum([fact_time(event) < self.until for event in run])
        self._candidate.add(run)
        if self._against is not None:
            self._against.add(run)

    def report(self) -> BacktestReport:
        """What came of all that was taken in, and of what the clock settles after it."""
        ours, theirs = self._candidate, self._against
        ours.elapse()
        if theirs is not None:
            theirs.elapse()
        others = theirs.alerts if theirs is not None else {}
        common = ours.alerts.keys() & others.keys()
        size = _bucket_size(self.until - self.since)
        return BacktestReport(
            candidate=_label(ours.rule),
            against=None if theirs is None else _label(theirs.rule),
            since=self.since,
            until=self.until,
            events=self._events,
            facts=ours.facts,
            late=ours.late,
            limited=ours.limited,
            groups=len(ours.groups),
            alerts=len(ours.alerts),
            against_alerts=len(others),
            common=len(common),
            bucket_ms=size,
            buckets=self._buckets(size),
            loads=self._loads(),
            added=ours.listed(others),
            removed=() if theirs is None else theirs.listed(ours.alerts),
            complete=not self.full,
        )

    def _buckets(self, size: int) -> tuple[Bucket, ...]:
        grid = Grid.of(size)
        ours = Counter(grid.start(each.time) for each in self._candidate.alerts.values())
        theirs: Counter[int] = Counter()
        if self._against is not None:
            theirs.update(grid.start(each.time) for each in self._against.alerts.values())
        starts = range(grid.start(self.since), self.until, size)
        return tuple(Bucket(start, ours[start], theirs[start]) for start in starts)

    def _loads(self) -> tuple[Load, ...]:
        weeks = (self.until - self.since) / _WEEK
        theirs = self._against.tasks if self._against is not None else Counter[str]()
        departments = sorted(
            {*self._candidate.tasks, *theirs}, key=lambda each: (-self._candidate.tasks[each], -theirs[each], each)
        )
        return tuple(
            Load(
                department,
                tasks := self._candidate.tasks[department],
                before := theirs[department],
                tasks / weeks,
                before / weeks,
            )
            for department in departments
        )


class _Trial:
    """One rule, with windows of its own, and those that it listens to."""

    def __init__(
        self,
        rule: Rule,
        heard: Iterable[Rule],
        reference: Reference,
        deadline: Deadline,
        since: int,
        until: int,
        now: int | None,
    ) -> None:
        self.rule = replace(rule, status="active")
        ruleset = RuleSet([self.rule, *heard])
        self._matcher = Matcher(ruleset, reference)
        self._alerts = AlertMatcher(ruleset, reference)
        self._engine = Engine(ruleset)
        self._deadline = deadline
        self._since, self._until, self._now = since, until, now
        self._rules = {each.id: each for each in (self.rule, *heard)}
        self._open: dict[str, int] = {}  # case key -> when the case is taken to be closed
        self.alerts: dict[str, Raised] = {}  # by id, in which version and content of the rule do not count
        self.groups: set[str] = set()
        self.tasks: Counter[str] = Counter()
        self.facts = self.late = self.limited = 0

    def add(self, events: Iterable[Event]) -> None:
        """Judge events, in order of arrival."""
        for event in events:
            self.elapse(event.received_at)
            self._take(self._matcher.facts(event))
        if len(self._engine) > _MANY_KEYS:
            self._engine.forget(_FORGET)

    def elapse(self, now_ms: int | None = None) -> None:
        """Let the clock decide what it settles by `now_ms`, or all that it ever will."""
        while (due := self._engine.due()) is not None and (now_ms is None or due <= now_ms):
            for alert in self._engine.elapse(due):
                if self._now is not None and _over(self._rules[alert.rule], alert.time) > self._now:
                    continue
                self._raised(alert)
                self._take(self._alerts.facts(alert))

    def _take(self, facts: Iterable[Fact]) -> None:
        """Judge facts, and those that follow from the alerts that they bring about."""
        waiting = deque(facts)
        while waiting:
            fact = waiting.popleft()
            decision = self._engine.add(fact, fact.received_at)
            if decision.duplicate:
                continue  # the store may tell an event twice
            if fact.rule == self.rule.id and (self.rule.weights or kind_of(fact.event) != "alert"):
                inside = self._since <= fact.time < self._until
                self.facts += inside
                self.late += inside and decision.late
                self.limited += inside and decision.limited
            for alert in decision.alerts:
                self._raised(alert)
                waiting.extend(self._alerts.facts(alert))

    def listed(self, others: dict[str, Raised]) -> tuple[Raised, ...]:
        """The first alerts that `others` lack."""
        alone = [raised for place, raised in self.alerts.items() if place not in others]
        return tuple(sorted(alone, key=lambda raised: (raised.time, raised.key or ""))[:MOST_LISTED])

    def _raised(self, alert: Alert) -> None:
        if alert.rule != self.rule.id or not self._since <= alert.time < self._until or len(self.alerts) >= MOST_ALERTS:
            return
        personal = PERSONAL.intersection(self.rule.groups)
        self.groups.add(alert.key)
        self.alerts[alert.id] = Raised(
            key=None if personal else alert.key,
            time=alert.time,
            events=alert.events[-_EVENTS_LISTED:],
            event_count=alert.event_count,
            lead=alert.lead,
        )
        if alert.case_key is None or alert.lead is None or self._open.get(alert.case_key, 0) > alert.time:
            return
        due = self._deadline(alert.clock, alert.time)[0] if alert.clock is not None else None
        self._open[alert.case_key] = alert.time + _CASE_LASTS if due is None else due
        self.tasks.update((alert.lead, *alert.joint))


def heard_by(rule: Rule, known: Mapping[str, Rule]) -> list[Rule]:
    """The rules whose alerts decide about those of `rule`, directly or through others. InputError when one is not
    `known`, or when `rule` is one of them."""
    found: dict[str, Rule] = {}
    waiting = sorted(rule.listens_to)
    while waiting:
        name = waiting.pop()
        if name == rule.id:
            raise InputError(
                "rule-circle", f"alerts would go round in a circle: {rule.id} listens to itself in the end"
            )
        if name not in found:
            if name not in known:
                raise InputError("unknown-rule", f"the rule {rule.id} listens to {name}, and there is no such rule")
            found[name] = known[name]
            waiting.extend(sorted(known[name].listens_to))
    return list(found.values())


def _reach(rule: Rule, known: Mapping[str, Rule]) -> int:
    """How far (ms) before an alert of a rule an event may lie that it depends on."""
    further = max((_reach(known[name], known) for name in rule.listens_to), default=0)
    return rule.retention + rule.episodes.size + further


def _end(rule: Rule, until: int, known: Mapping[str, Rule]) -> int:
    """The time (ms) before which those events are that decide about alerts before `until`."""
    own = max(until, _over(rule, until - 1))
    heard = dict.fromkeys(rule.inhibited_by, own)
    heard |= {name: _episode_end(known[name], own - 1) for name in rule.weights}
    return max((_end(known[name], end, known) for name, end in heard.items()), default=own)


def _episode_end(rule: Rule, time: int) -> int:
    """The time (ms) before which those alerts of a rule are whose episode begins at `time` at the latest."""
    judging = rule.judging
    if judging is not None and judging.pattern is not None and judging.pattern.every:
        return judging.span.deadline(time) + 1  # that of a match begins with it, and lasts as long as it does
    return rule.episodes.start(time) + rule.episodes.size


def _over(rule: Rule, time: int) -> int:
    """When what a settled rule decides of a fact at `time` is known, if no fact follows: its period, its session."""
    judging = rule.judging
    if judging is None or not judging.settled:
        return time
    if judging.kind == "tumbling":
        grid = Grid.of(judging.span.size)
        return grid.start(time) + grid.size
    return time + judging.gap


def _label(rule: Rule) -> RuleLabel:
    return RuleLabel(rule.id, rule.version, rule.content_hash, rule.title_zh, rule.title_en)


def _bucket_size(length: int) -> int:
    return next((size for size in _BUCKETS if length <= _MOST_BUCKETS * size), _BUCKETS[-1])
