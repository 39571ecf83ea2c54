"""Which rules an event concerns: conditions of all running rules at once, and a small fact for each that holds.

The hot path of the ingest stage. It must not know windows or alerts.

A fact's time is when the event happened, but never later than when it was received: one event from the future, by a
wrong clock or on purpose, would otherwise make all real facts of its group late.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from jianguan.domain.by_field import Constant, Taken, take
from jianguan.domain.codes import CodeTree
from jianguan.domain.event import Event, EventRun
from jianguan.domain.fact import Fact, FactRun
from jianguan.domain.ids import SEPARATOR, packed
from rules.cel.matching import OnError, compile_many
from rules.cells import cell_of
from rules.judging import Judging
from rules.keys import FIRST_BIT, HISTORICAL, carry
from rules.model_base import CELLS
from rules.reference import Reference
from rules.rule import Rule
from rules.ruleset import RuleSet

Getter: TypeAlias = Callable[[Event], "str | None"]
_REMEMBERED: Final = 100_000
_NEWEST: Final = 4


class Matcher:
    """The conditions of a rule set's active and shadow rules."""

    def __init__(self, ruleset: RuleSet, reference: Reference, on_error: OnError | None = None) -> None:
        """`on_error(rule id, error)` is told of conditions that could not be evaluated, which count as not true."""
        rules = [rule for rule in ruleset.running if not rule.weights]  # the others look at alerts
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.newest: Sequence[Event] = ()  # some of the last run, for whoever measures conditions
        conditions = [(rule.id, rule.checked) for rule in rules]
        self._matching: Callable[[Event], Sequence[int]] = compile_many(conditions, on_error)
        self._plans = [_plan(rule, reference) for rule in rules]

    def facts(self, event: Event) -> list[Fact]:
        """One fact for each rule whose condition holds for `event` and whose group it names."""
        chosen = self._matching(event)
        if not chosen:
            return []
        events = EventRun.of((event,))
        found = [_found(self._plans[index], events, (0,)) for index in chosen]
        return [fact for each in found if each is not None for fact in each.facts.rows()]

    def facts_of(self, events: EventRun) -> list[Found]:
        """The facts of many events, by rule and then in the order of the events.

        Rule by rule and field by field, because that takes a fraction of the time that fact by fact would.
        """
        chosen: defaultdict[int, list[int]] = defaultdict(list)  # of ten thousand rules most concern no event of a run
        self.newest = events.rows[-_NEWEST:]
        for place, indices in enumerate(map(self._matching, events.rows)):
            for index in indices:
                chosen[index].append(place)
        found = [_found(self._plans[index], events, chosen[index]) for index in sorted(chosen)]
        return [each for each in found if each is not None]


class Found(NamedTuple):
    """The facts of one rule, and the places of their events in the run."""

    facts: FactRun
    places: Sequence[int]


Column: TypeAlias = Callable[[EventRun, Sequence[int]], Sequence[Any]]
"""What the events at some places of a run have for a field."""


class _Plan(NamedTuple):
    """How to make the facts of one rule."""

    rule: str
    version: int
    keys: Column
    numbers: Column | None
    members: Column | None
    carried: Column | None


def _found(plan: _Plan, events: EventRun, places: Sequence[int]) -> Found | None:
    keys = plan.keys(events, places)
    if None in keys:
        places = [place for place, key in zip(places, keys, strict=True) if key is not None]
        if not places:
            return None
        keys = [key for key in keys if key is not None]

    def of(name: str) -> Sequence[Any] | None:
        values = events.field(name)
        if type(values) is Constant:
            return None if values.value is None else values[: len(places)]
        return Taken(values, places)

    def some(column: Column | None) -> Sequence[Any] | None:
        return None if column is None else column(events, places)

    received = take(events.field("received_at"), places)
    times = list(map(min, take(events.field("occurred_at"), places), received))
    facts = FactRun(
        plan.rule, plan.version, "ev", packed(take(events.field("id"), places)), keys, times, received,
        some(plan.numbers), some(plan.members), some(plan.carried), of("enterprise"), of("enterprise_name"),
        of("region"), of("industry"), take(events.field("category"), places),
    )  # fmt: skip
    return Found(facts, places)


def _plan(rule: Rule, reference: Reference) -> _Plan:
    return _Plan(
        rule=rule.id,
        version=rule.version,
        keys=_keys(rule, reference),
        numbers=_numbers(rule.sum_of) if rule.sum_of else None,
        members=_column(rule.distinct_of, reference) if rule.distinct_of else None,
        carried=_each(carrier(rule.judging, reference)) if rule.judging is not None else None,
    )


def _keys(rule: Rule, reference: Reference) -> Column:
    columns = [_column(field, reference) for field in rule.groups]
    if len(columns) == 1:
        return columns[0]

    def keys(events: EventRun, places: Sequence[int]) -> Sequence[str | None]:
        groups = zip(*[column(events, places) for column in columns], strict=True)
        return [None if None in values else SEPARATOR.join(values) for values in groups]

    return keys


def _numbers(field: str) -> Column:
    def numbers(events: EventRun, places: Sequence[int]) -> Sequence[float | None]:
        return [None if number is None else float(number) for number in take(events.field(field), places)]

    return numbers


def _each(read: Callable[[Event], Any]) -> Column:
    """A column of what has to be read event by event."""
    return lambda events, places: [read(event) for event in take(events.rows, places)]


def _column(field: str, reference: Reference) -> Column:
    """What `getter` reads, of many events."""
    name, dot, level = field.partition(".")
    if name == "cell" or field == "address":
        return _each(getter(field, reference))
    if not dot:
        return lambda events, places: list(take(events.field(name), places))
    levels = _Levels(reference.regions if name == "region" else reference.industries, level)
    return lambda events, places: list(map(levels.__getitem__, take(events.field(name), places)))


class _Levels(dict[str | None, str | None]):
    """From a code to the code of a level that it lies in; None when there is none, and for no code."""

    def __init__(self, tree: CodeTree, level: str) -> None:
        super().__init__()
        self._tree = tree
        self._level = level

    def __missing__(self, code: str | None) -> str | None:
        found = self._tree.at_level(code, self._level) if code is not None and self._tree.known(code) else None
        if len(self) < _REMEMBERED:
            self[code] = found
        return found


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
    levels = _Levels(reference.regions if name == "region" else reference.industries, level)
    return lambda event: levels[read(event)]
