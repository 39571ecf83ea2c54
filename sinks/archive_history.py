"""The history of one id, both ways: what led to it, what followed from it, and every step of all of that, in order.

Most of what a question costs the engine is taking it in, a good part of that a column at a time, and hardly any of it
finding the rows. So questions are few, wide rows are asked for by the ids that a narrow question found, and questions
that do not need each other's answers are asked at once.

A page that lists a thousand of everything needs little of each: the outline of a history leaves out the columns that no
list shows, most of what reading an event takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jianguan.domain.alert import Alert
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import Event
from jianguan.domain.fact import Fact
from jianguan.domain.ids import ids_without_prefix, kind_of
from jianguan.domain.trace import Quarantined, Step
from jianguan.ports import OUTLINE, EventSummary, History
from sinks.archive_steps import cases_joined, steps_about
from sinks.at_once import AtOnce
from sinks.rows import SHAPES, records_of
from sinks.select import at, by_ids, checked_limit, chunks, has_any
from sinks.store import BlockStore

_FORWARD: Final = ("event", "fact", "number")  # kinds whose consequences are followed, not their neighbours

_FIELDS: Final = {**OUTLINE, "facts": ("id", "rule", "version", "key", "time", "event")}  # the events behind an alert

# Any name that is not one of our own ids, looked up wherever it may be one. The order is that of precedence: what finds
# something ends the search, because each of these reads an index of the whole table.
_RESOLVE: Final = (
    ("number", "SELECT DISTINCT id FROM events WHERE number = {name:String} LIMIT {most:UInt32}"),
    ("event", "SELECT DISTINCT id FROM events WHERE source_id = {name:String} LIMIT {most:UInt32}"),
    (
        "receipt",
        "SELECT DISTINCT subject FROM trace WHERE receipt = {name:String} LIMIT {most:UInt32}"
        " UNION ALL SELECT DISTINCT id FROM quarantine WHERE receipt = {name:String} LIMIT {most:UInt32}",
    ),
)
# Which of some ids there are, each of another kind. The tables are in the order of ids, the facts have an index of
# theirs. Of an event that was refused there are steps alone.
_KNOWN: Final = " UNION DISTINCT ".join(
    f"SELECT {column} AS id FROM {table} WHERE {column} IN {{ids:Array(String)}}"  # noqa: S608
    for table, column in (
        *((table, "id") for table in ("cases", "tasks", "alerts", "events", "quarantine", "deliveries", "facts")),
        ("trace", "subject"),
    )
)
_OF_ENTERPRISE: Final = (
    "SELECT 'event' AS kind, id, toUnixTimestamp64Milli(max(occurred_at)) AS moment FROM events"
    " WHERE {match} GROUP BY id ORDER BY moment DESC, id LIMIT {{most:UInt32}}"
    " UNION ALL SELECT 'alert', id, toUnixTimestamp64Milli(max(raised_at)) AS moment FROM alerts"
    " WHERE {match} GROUP BY id ORDER BY moment DESC, id LIMIT {{most:UInt32}}"
    " UNION ALL SELECT 'case', id, toUnixTimestamp64Milli(max(opened_at)) AS moment FROM cases"
    " WHERE {match} GROUP BY id ORDER BY moment DESC, id LIMIT {{most:UInt32}}"
)


@dataclass(slots=True)
class _Graph:
    """What has been found so far, by id, and how much of it is wanted."""

    fields: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of an outline; empty: everything
    steps: bool = True  # and deliveries
    events: dict[str, None] = field(default_factory=dict)
    facts: dict[str, Fact] = field(default_factory=dict)
    alerts: dict[str, Alert] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    deliveries: dict[str, Delivery] = field(default_factory=dict)
    quarantine: dict[str, Quarantined] = field(default_factory=dict)
    truncated: bool = False


class Historian:
    """Answers `history` and `outline`. `mask` hides personal data in the demand of an event."""

    def __init__(self, store: BlockStore, mask: Callable[[str], str]) -> None:
        self._store = store
        self._mask = mask
        self._at_once = AtOnce()

    def history(self, identifier: str, limit: int = 1000) -> History | None:
        """Everything about one id; None when nothing is known by that name."""
        return self._search(_Graph(), identifier, limit)

    def outline(self, identifier: str, limit: int = 1000, *, steps: bool = True) -> History | None:
        """The same as pages list it. Without `steps` also without deliveries."""
        return self._search(_Graph(_FIELDS, steps), identifier, limit)

    def _search(self, graph: _Graph, identifier: str, limit: int) -> History | None:
        limit = checked_limit(limit)
        identifier = self._with_prefix(identifier)
        name = identifier.strip()
        if not name or len(name) > 512:
            return None
        kind = kind_of(name)
        found = self._from_id(graph, kind, name, limit) if kind else None
        if found is None:
            found = self._from_name(graph, name, limit)
        if found is None:
            return None
        self._follow(graph, found, limit)
        history = self._told(graph, identifier, found, limit)
        # Whether an event is known shows at the end: one that was refused has steps but no row.
        return history if history.events or history.steps or found != "event" else None

    def _with_prefix(self, identifier: str) -> str:
        """The id of ours that this is without its prefix; anything else as it is, also where no such id is known."""
        possible = ids_without_prefix(identifier.strip())
        if not possible:
            return identifier
        known = {row[0] for row in self._store.query(_KNOWN, {"ids": possible})}
        return next((each for each in possible if each in known), identifier)

    def _from_id(self, graph: _Graph, kind: str, name: str, limit: int) -> str | None:
        """Start at one of our own ids. The kind, or None when no row has it."""
        if kind == "event":
            graph.events[name] = None
            return kind
        if kind == "step":
            rows = self._store.query("SELECT subject FROM trace WHERE id = {id:String} LIMIT 1", {"id": name})
            subject = rows[0][0] if rows else ""
            subject_kind = kind_of(subject)
            return self._from_id(graph, subject_kind, subject, limit) if subject_kind not in (None, "step") else None
        table = {"quarantine": "quarantine", "delivery": "deliveries"}.get(kind, f"{kind}s")
        if table not in SHAPES:
            return None
        records = by_ids(self._store, table, [name])
        getattr(graph, table).update((record.id, record) for record in records)
        if kind == "fact":
            graph.events.update((fact.event, None) for fact in records)
        return kind if records else None

    def _from_name(self, graph: _Graph, name: str, limit: int) -> str | None:
        """Start at a complaint number, a source id, a receipt or an enterprise."""
        for wanted, sql in _RESOLVE:
            ids = dict.fromkeys(row[0] for row in self._store.query(sql, {"name": name, "most": limit + 1}))
            if ids:
                return self._named(graph, wanted, list(ids), limit)
        for match in ("enterprise = {name:String}", "endsWith(enterprise, {suffix:String})"):
            rows = self._store.query(
                _OF_ENTERPRISE.format(match=match), {"name": name, "suffix": f":{name}", "most": limit + 1}
            )
            if rows:
                self._enterprise(graph, rows, limit)
                return "enterprise"
        return None

    def _named(self, graph: _Graph, wanted: str, ids: list[str], limit: int) -> str:
        graph.truncated |= len(ids) > limit
        refused = [each for each in ids[:limit] if kind_of(each) == "quarantine"]
        graph.quarantine.update((each.id, each) for each in by_ids(self._store, "quarantine", refused))
        graph.events.update((each, None) for each in ids[:limit] if kind_of(each) == "event")
        if wanted == "receipt":
            return "event" if graph.events else "quarantine"
        return wanted

    def _enterprise(self, graph: _Graph, rows: list[tuple[Any, ...]], limit: int) -> None:
        ids: dict[str, list[str]] = {"event": [], "alert": [], "case": []}
        for kind, identifier, _ in rows:
            ids[kind].append(identifier)
        graph.truncated |= any(len(each) > limit for each in ids.values())
        graph.events.update((each, None) for each in ids["event"][:limit])
        self._add(graph, "alerts", ids["alert"][:limit])
        self._add(graph, "cases", ids["case"][:limit])

    def _follow(self, graph: _Graph, kind: str, limit: int) -> None:
        """The alerts, facts and cases: from events forward, from everything else both ways."""
        forward = kind in _FORWARD
        alerts = self._forward_from_events(graph, kind, limit) if forward else self._alerts_behind(graph, limit)
        known = list(dict.fromkeys([*graph.alerts, *alerts]))

        def tell() -> None:
            self._add(graph, "alerts", alerts)
            if not forward:
                self._back_from_alerts(graph, limit)

        _, cases = self._at_once(tell, lambda: self._cases_of(known, set(graph.cases)))
        graph.cases.update((case.id, case) for case in cases)

    def _alerts_behind(self, graph: _Graph, limit: int) -> list[str]:
        """The alerts of the cases of what was found; those cases are added."""
        owners = [task.case for task in graph.tasks.values()]
        owners += [each.case for each in graph.deliveries.values() if each.case]
        owners += [each.about for each in graph.deliveries.values() if kind_of(each.about) == "case"]
        self._add(graph, "cases", owners)
        told_of = [each.about for each in graph.deliveries.values() if kind_of(each.about) == "alert"]
        named = [alert for case in graph.cases.values() for alert in case.alerts]
        return [*told_of, *named, *self._alerts_of_long_cases(graph, limit)]

    def _alerts_of_long_cases(self, graph: _Graph, limit: int) -> list[str]:
        """The alerts, the last ones first, of cases that have had more than they name: their steps name all."""
        found: list[str] = []
        for chunk in chunks([case.id for case in graph.cases.values() if case.alert_count > len(case.alerts)]):
            rows = self._store.query(
                "SELECT alert FROM (SELECT arrayJoin(links) AS alert, at FROM trace"
                " WHERE subject IN {ids:Array(String)} AND what IN ('opened', 'joined'))"
                " WHERE startsWith(alert, 'al-') GROUP BY alert ORDER BY max(at) DESC, alert LIMIT {most:UInt32}",
                {"ids": chunk, "most": limit + 1},
            )
            found += [row[0] for row in rows]
        graph.truncated |= len(found) > limit
        return found[:limit]

    def _forward_from_events(self, graph: _Graph, kind: str, limit: int) -> list[str]:
        """The alerts that name the events; the facts are added."""
        events = list(graph.events)
        rules = {fact.rule for fact in graph.facts.values()}
        facts, alerts = self._at_once(
            lambda: by_ids(self._store, "facts", events, column="event", limit=limit + 1),
            lambda: self._alerts_that_name(events, limit),
        )
        graph.truncated |= len(facts) > limit
        if kind == "fact":
            facts = [each for each in facts if each.rule in rules]
            alerts = {each: rule for each, rule in alerts.items() if rule in rules}
        graph.facts.update((fact.id, fact) for fact in facts[:limit])
        return list(alerts)

    def _alerts_that_name(self, events: list[str], limit: int) -> dict[str, str]:
        """The rules of those alerts, by alert."""
        found: dict[str, str] = {}
        for chunk in chunks(events):
            found |= self._store.query(
                f"SELECT DISTINCT id, rule FROM alerts WHERE {has_any('events', 'ids', chunk)}"  # noqa: S608
                " ORDER BY id LIMIT {most:UInt32}",
                {"ids": chunk, "most": limit},
            )
        return found

    def _back_from_alerts(self, graph: _Graph, limit: int) -> None:
        """The events that an alert names, and the facts of its rule and group in its episode."""
        for alert in graph.alerts.values():
            graph.events.update((each, None) for each in alert.events)
        if graph.alerts:
            alerts = list(graph.alerts.values())
            fields = graph.fields.get("facts")
            rows = self._store.query(
                f"SELECT {SHAPES['facts'].select_list(fields=fields)} FROM facts"  # noqa: S608
                f" WHERE rule IN {{rules:Array(String)}} AND time >= {at('since')} AND time < {at('until')}"
                " AND key IN {keys:Array(String)} ORDER BY time DESC, id LIMIT 1 BY id LIMIT {most:UInt32}",
                {
                    "rules": sorted({alert.rule for alert in alerts}),
                    "keys": sorted({alert.key for alert in alerts}),
                    "since": min(min(alert.window_start, alert.episode) for alert in alerts),
                    "until": max(max(alert.time + 1, alert.episode_end) for alert in alerts),
                    "most": limit + 1,
                },
            )
            graph.truncated |= len(rows) > limit
            groups: dict[tuple[str, int, str], list[Alert]] = {}
            for alert in alerts:
                groups.setdefault((alert.rule, alert.version, alert.key), []).append(alert)
            for fact in records_of("facts", rows[:limit], fields):
                if any(_belongs(fact, alert) for alert in groups.get((fact.rule, fact.version, fact.key), ())):
                    graph.facts[fact.id] = fact
                    graph.events[fact.event] = None

    def _consequences(self, graph: _Graph, asked: str, kind: str, limit: int) -> list[Step]:
        """The steps of all that was found, if they are wanted; tasks and deliveries are added."""
        if not graph.steps:
            self._add(graph, "cases", cases_joined(self._store, list(graph.alerts)))
            self._tasks(graph)
            return []
        while True:
            self._tasks_and_deliveries(graph, limit)
            names = [*graph.alerts, *graph.cases, *graph.tasks, *graph.deliveries, *graph.quarantine]
            subjects = [*graph.events, *graph.facts, *names] or [asked.strip()]
            linked = [*names, *(graph.events if kind in _FORWARD else ())]
            steps = steps_about(self._store, subjects, linked, limit + 1, graph.fields.get("trace"))
            # A case itself names only so many alerts: that an alert joined it is then known by its steps alone.
            joined = [step.subject for step in steps if step.subject not in graph.cases and _is_case(step.subject)]
            known = len(graph.cases)
            self._add(graph, "cases", joined)
            if len(graph.cases) == known:
                return steps

    def _tasks(self, graph: _Graph) -> None:
        tasks = by_ids(self._store, "tasks", list(graph.cases), column="case")
        graph.tasks.update((task.id, task) for task in tasks)

    def _tasks_and_deliveries(self, graph: _Graph, limit: int) -> None:
        self._tasks(graph)
        fields = graph.fields.get("deliveries")
        about = [*graph.alerts, *graph.cases, *graph.tasks]
        for chunk in chunks(about):
            rows = self._store.query(
                f"SELECT {SHAPES['deliveries'].select_list(fields=fields)} FROM deliveries"  # noqa: S608
                " WHERE about IN {ids:Array(String)} OR `case` IN {ids:Array(String)}"
                " ORDER BY id, revision DESC LIMIT 1 BY id LIMIT {most:UInt32}",
                {"ids": chunk, "most": limit + 1},
            )
            graph.truncated |= len(rows) > limit
            graph.deliveries.update((each.id, each) for each in records_of("deliveries", rows[:limit], fields))

    def _add(self, graph: _Graph, table: str, ids: Iterable[str]) -> None:
        known: dict[str, Any] = getattr(graph, table)
        missing = list(dict.fromkeys(each for each in ids if each not in known))
        found = by_ids(self._store, table, missing, fields=graph.fields.get(table))
        known.update((record.id, record) for record in found)

    def _cases_of(self, alerts: list[str], known: set[str]) -> list[Case]:
        """Cases of which some revision names one of these alerts, without those that are known."""
        found: dict[str, None] = {}
        for chunk in chunks(alerts):
            sql = f"SELECT DISTINCT id FROM cases WHERE {has_any('alerts', 'ids', chunk)}"  # noqa: S608
            found |= dict.fromkeys(row[0] for row in self._store.query(sql, {"ids": chunk}))
        return by_ids(self._store, "cases", [each for each in found if each not in known])

    def _told(self, graph: _Graph, asked: str, kind: str, limit: int) -> History:
        """Everything that hangs on what was found, in order."""
        events = list(graph.events)
        rules = None
        fields = graph.fields.get("events")
        if graph.fields:
            rules = {}
        elif kind in ("event", "number") and not graph.truncated:
            rules = _rules_met((fact.event, fact.rule) for fact in graph.facts.values())

        steps, rows, (lengths, rules) = self._at_once(
            lambda: self._consequences(graph, asked, kind, limit),
            lambda: by_ids(self._store, "events", events[:limit], fields=fields),
            lambda: self._of_events(events[:limit], rules),
        )
        # An event that came meanwhile: its step was there after it, but was asked for before it.
        missing = {step.subject for step in steps}.intersection(events[:limit]).difference(row.id for row in rows)
        rows += by_ids(self._store, "events", sorted(missing), fields=fields)
        return History(
            asked=asked,
            kind=kind,
            steps=steps[:limit],
            events=self._summaries(rows, lengths, rules),
            facts=[] if graph.fields else sorted(graph.facts.values(), key=lambda fact: (fact.time, fact.id)),
            alerts=sorted(graph.alerts.values(), key=lambda alert: (alert.raised_at, alert.id)),
            cases=sorted(graph.cases.values(), key=lambda case: (case.opened_at, case.id)),
            tasks=sorted(graph.tasks.values(), key=lambda task: (task.assigned_at, task.role != "lead", task.id)),
            deliveries=sorted(graph.deliveries.values(), key=lambda each: (each.created_at, each.id)),
            quarantine=sorted(graph.quarantine.values(), key=lambda each: (each.at, each.id)),
            truncated=graph.truncated or len(steps) > limit or len(events) > limit,
        )

    def _of_events(
        self, ids: list[str], known: dict[str, tuple[str, ...]] | None
    ) -> tuple[dict[str, int], dict[str, tuple[str, ...]]]:
        """How long the free text of each event is, and nothing else of what is personal, and the rules that it met.

        `known` are those rules by event, when all their facts have been read already.
        """
        lengths: dict[str, int] = {}
        rules = known or {}
        for chunk in chunks(ids):
            sql = "SELECT event, lengthUTF8(text) FROM personal WHERE event IN {ids:Array(String)} AND text IS NOT NULL"
            lengths |= dict(self._store.query(sql, {"ids": chunk}))
            if known is None:
                sql = "SELECT DISTINCT event, rule FROM facts WHERE event IN {ids:Array(String)}"
                rules |= _rules_met(self._store.query(sql, {"ids": chunk}))
        return lengths, rules

    def _summaries(
        self, events: list[Event], lengths: dict[str, int], rules: dict[str, tuple[str, ...]]
    ) -> list[EventSummary]:
        """The events without what is personal, by event time, with the rules whose condition they met."""
        summaries = [
            EventSummary(
                event if event.demand is None else event._replace(demand=self._mask(event.demand)),
                lengths.get(event.id, 0),
                rules.get(event.id, ()),
            )
            for event in events
        ]
        return sorted(summaries, key=lambda each: (each.event.occurred_at, each.event.id))


def _is_case(identifier: str) -> bool:
    return kind_of(identifier) == "case"


def _belongs(fact: Fact, alert: Alert) -> bool:
    """Whether the fact lies in the window that the alert looked at, or later in its episode."""
    return min(alert.window_start + 1, alert.episode) <= fact.time < max(alert.time + 1, alert.episode_end)


def _rules_met(pairs: Iterable[tuple[Any, ...]]) -> dict[str, tuple[str, ...]]:
    """The rules of each event, in order, from pairs of (event, rule)."""
    rules: dict[str, set[str]] = {}
    for event, rule in pairs:
        rules.setdefault(event, set()).add(rule)
    return {event: tuple(sorted(names)) for event, names in rules.items()}
