"""Why a rule fired on an event, or did not.

Pure: the history that the event came into is passed in, and goes through the same matcher and engine as live events. It
must not know where events are stored or how an explanation is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import zip_longest
from typing import Final

from jianguan.domain.alert import Alert
from jianguan.domain.event import Event
from jianguan.domain.explanation import Clause, Explanation, InWindow, Measure, Verdict
from jianguan.domain.fact import Fact
from jianguan.domain.filters import Filter, Test, all_of, some_of
from rules.cel.environment import Checked
from rules.cel.evaluation import compile_value
from rules.cel.tree import Call, Comprehension, Identifier, Node, children, walk
from rules.cel.values import Duration, EvaluationError, Timestamp, Value
from rules.cel.writing import text_of
from rules.decisions import Decision
from rules.engine import Engine, Look
from rules.facts import Matcher, getter
from rules.pattern_plan import parts
from rules.pushdown import filter_of_rule
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet

PERSONAL: Final = frozenset({"text", "demand", "reporter"})
"""Fields whose values are not told: free text, and who reports."""
_LONGEST_VALUE: Final = 200
_SHOWN_ANYWAY: Final = ("size",)  # of something personal


def history_filter(rule: Rule, event: Event, reference: Reference) -> Filter:
    """Passes the events whose facts share a window with a fact of `event`, and maybe others."""
    tests: list[Filter] = [filter_of_rule(rule, reference)]
    for name in rule.groups:
        value = getter(name, reference)(event)
        if value is None:
            continue
        field, dot, _ = name.partition(".")
        if field == "cell":
            continue  # a square has no counterpart in a filter
        if not dot:
            tests.append(Test(field, "=", (value,)))
            continue
        listed, beginnings = (reference.regions if field == "region" else reference.industries).inside(value)
        tests.append(some_of([Test(field, "in", listed), Test(field, "begins", beginnings)]))
    return all_of(tests)


def fact_time(event: Event) -> int:
    """The moment of a fact of the event, ms."""
    return min(event.occurred_at, event.received_at)


def explain(
    rule: Rule, event: Event, before: Iterable[Event], reference: Reference, *, max_age: int | None = None
) -> Explanation:
    """What the rule made of the event. `before` are the events that came before it, in order of arrival, at least those
    that `history_filter` passes; it is not read further than the event itself. Later than `max_age` ms after it
    occurred, an event is not judged unless it is historical."""
    ruleset = RuleSet([replace(rule, status="active")])
    matcher = Matcher(ruleset, reference)
    own = matcher.facts(event)
    base = Explanation(
        rule=rule.id,
        version=rule.version,
        rule_hash=rule.content_hash,
        title_zh=rule.title_zh,
        title_en=rule.title_en,
        status=rule.status,
        event=event.id,
        occurred_at=event.occurred_at,
        received_at=event.received_at,
        verdict="condition",
        clauses=tuple(_all_clauses(rule, event)),
        group=() if rule.weights else tuple((name, _group_value(name, event, reference)) for name in rule.groups),
    )
    if rule.weights:
        return replace(base, verdict="alerts")
    too_old = max_age is not None and not event.historical and event.received_at - event.occurred_at > max_age
    if not own:
        held = bool(base.clauses) and base.clauses[0].value == "true"
        return replace(base, verdict="no-group" if held else "condition")
    verdict: Verdict | None = "retired" if rule.status == "retired" else "too-old" if too_old else None
    return _in_window(base, rule, own[0], _Replay(ruleset, matcher, own[0].key, event.id).run(before), verdict)


class _Replay:
    """An engine with what came before one event, of one key."""

    def __init__(self, ruleset: RuleSet, matcher: Matcher, key: str, until: str) -> None:
        self.engine = Engine(ruleset)
        self.alerts: dict[int, str] = {}  # by episode
        self._matcher = matcher
        self._key = key
        self._until = until

    def run(self, before: Iterable[Event]) -> _Replay:
        """Take in the events up to the one in question."""
        for event in before:
            if event.id == self._until:
                break
            for fact in self._matcher.facts(event):
                if fact.key == self._key:
                    self.add(fact)
        return self

    def add(self, fact: Fact) -> Decision:
        """Take in one fact, and what the clock has settled before it came."""
        while (due := self.engine.due()) is not None and due <= fact.received_at:
            self._remember(self.engine.elapse(due))
        decision = self.engine.add(fact, fact.received_at)
        self._remember(decision.alerts)
        return decision

    def _remember(self, alerts: Iterable[Alert]) -> None:
        self.alerts.update((alert.episode, alert.id) for alert in alerts)


def _in_window(base: Explanation, rule: Rule, fact: Fact, replay: _Replay, verdict: Verdict | None) -> Explanation:
    """The explanation of an event that is a fact of the rule."""
    before = replay.engine.look(rule.id, fact.key, fact.time)
    newest = None if before is None else before.newest
    limit = None if newest is None else newest - rule.size - rule.lateness
    episode = rule.episodes.start(fact.time)
    decision = replay.add(fact) if verdict is None else Decision()
    earlier = replay.alerts.get(episode)
    look = replay.engine.look(rule.id, fact.key, fact.time)
    if verdict is None:
        if decision.late:
            verdict = "late"
        elif decision.alerts:
            verdict = "fired"
        elif rule.judging is not None and rule.judging.settled:
            verdict = "settling"
        elif rule.judging is not None:
            # Told a second time, a fact raises again what it had raised, first at the first moment at which that holds.
            again = replay.engine.add(fact, fact.received_at).alerts
            verdict = "already" if any(alert.time == fact.time for alert in again) else "below"
        else:
            verdict = "already" if look is not None and look.holds else "below"
    raised = tuple(alert.id for alert in decision.alerts)
    return replace(
        _with_window(base, rule, look),
        verdict=verdict,
        key=None if PERSONAL.intersection(rule.groups) else fact.key,
        time=fact.time,
        newest=newest,
        lateness_limit=limit,
        episode=episode,
        episode_end=episode + rule.episodes.size,
        alerts=raised or ((earlier,) if earlier else ()),
    )


def _with_window(base: Explanation, rule: Rule, look: Look | None) -> Explanation:
    of = {"distinct": rule.distinct_of, "sum": rule.sum_of}
    values = {} if look is None else look.values
    measures = tuple(Measure(name, of.get(name), values.get(name, 0.0), at) for name, at in rule.thresholds.items())
    if look is None:
        return replace(base, measures=measures)
    return replace(
        base,
        measures=measures,
        window_start=look.start,
        window=tuple(InWindow(event, time) for event, time in look.facts),
        window_count=look.count,
    )


def _group_value(name: str, event: Event, reference: Reference) -> str | None:
    value = getter(name, reference)(event)
    return None if value is None else _hidden(value) if name in PERSONAL else value


def _all_clauses(rule: Rule, event: Event) -> Iterator[Clause]:
    """The parts of the rule's condition, then those of the conditions of its trigger or of its pattern's steps."""
    if rule.weights:
        for text, depth in texts_of(rule.checked):
            yield Clause(text, depth, None)
        return
    yield from clauses_of(rule.checked, event)
    if rule.judging is None:
        return
    relations = [part.related for _, part in parts(rule.file.pattern)] if rule.file.pattern is not None else []
    for checked, related in zip_longest(rule.judging.extras, relations):
        yield from clauses_of(checked, event)
        if related:
            yield Clause(related, 1, None)  # it depends on the events before


def texts_of(checked: Checked) -> Iterator[tuple[str, int]]:
    """(text, depth) of every part of a condition, in the order of `clauses_of`."""
    yield from ((text_of(node), depth) for node, depth in _nodes(checked, checked.tree.root, 0))


def clauses_of(checked: Checked, event: Event) -> Iterator[Clause]:
    """Every part of the condition with its value for the event, the whole first, each part after what it is part of."""
    for node, depth in _nodes(checked, checked.tree.root, 0):
        yield _clause(checked, node, event, depth)


def _nodes(checked: Checked, node: Node, depth: int) -> Iterator[tuple[Node, int]]:
    yield node, depth
    if isinstance(node, Comprehension):
        inner: Iterable[Node] = (node.range,)  # the rest speaks of one element after another
    elif isinstance(node, Call) and node.function == "present":
        inner = ()
    else:
        inner = children(node)
    for child in inner:
        if any(isinstance(each, Identifier) and each.name.removeprefix(".") in checked.types for each in walk(child)):
            yield from _nodes(checked, child, depth + 1)


def _clause(checked: Checked, node: Node, event: Event, depth: int) -> Clause:
    text = text_of(node)
    read = {each.name.removeprefix(".") for each in walk(node) if isinstance(each, Identifier)} & set(checked.types)
    missing = tuple(sorted(name for name in read if getattr(event, name) is None))
    try:
        value = _compiled(checked, node)(event)
    except EvaluationError as error:
        # What went wrong may quote the value.
        return Clause(text, depth, None, missing=missing, error="" if missing or read & PERSONAL else str(error))
    if value is None:
        return Clause(text, depth, None, missing=missing)
    personal = read & PERSONAL and not isinstance(value, bool) and not _is_size(node)
    return Clause(text, depth, _hidden(value) if personal else _told(value), hidden=bool(personal))


def _compiled(checked: Checked, node: Node) -> Callable[[Event], Value]:
    return compile_value(replace(checked, tree=replace(checked.tree, root=node)))


def _is_size(node: Node) -> bool:
    """Whether a node is a size."""
    return isinstance(node, Call) and node.function in _SHOWN_ANYWAY


def _hidden(value: Value) -> str:
    """The length of something personal, as digits; whoever shows it writes the words around it."""
    return str(len(value)) if isinstance(value, str | list | tuple) else ""


def _told(value: Value) -> str:
    """A value as people read it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Timestamp):
        return value.as_datetime().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Duration):
        return f"{value.nanoseconds / 1e9:g}s"
    text = f"[{', '.join(map(_told, value))}]" if isinstance(value, list | tuple) else str(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
