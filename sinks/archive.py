"""The archive: what pages, commands and restarting stages ask of the store, as SQL over either kind of it.

Exact after replays: a row that was written twice counts once, and of a thing with revisions the highest is told.
Blocking: call it in a thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate
from typing import Final

from jianguan.clock import Clock
from jianguan.domain.alert import Alert, Raised
from jianguan.domain.case import Case, Task, TaskPlace
from jianguan.domain.delivery import Delivery
from jianguan.domain.event import OUTCOMES, Event
from jianguan.domain.fact import Fact, FactRun, FactsWanted
from jianguan.domain.filters import Filter
from jianguan.domain.masking import redact
from jianguan.domain.trace import Quarantined, Step
from jianguan.domain.versions import SUBJECT, WHATS
from jianguan.ports import History, Overview, Resubmission
from sinks.archive_hindsight import Hindsight
from sinks.archive_history import Historian
from sinks.archive_overview import Figures
from sinks.archive_restart import Restart, with_tasks
from sinks.rows import SHAPES, records_of
from sinks.select import Where, at, by_ids, checked_limit, chunks, pick
from sinks.store import BlockStore

MOST_LISTED_BYTES: Final = 16 * 1024 * 1024  # of raw records in one list: each may have megabytes
_PLACE: Final = (  # jianguan.domain.case.TaskPlace
    "state = 'closed', NOT overdue, isNull(due_at), ifNull(toUnixTimestamp64Milli(due_at), 0),"
    " toUnixTimestamp64Milli(assigned_at), id"
)

MOST_SEARCHED: Final = 10_000  # quarantined records whose text is looked through for a name
LONGEST_NAME: Final = 200  # characters of an id or a number


def _named(name: str) -> str:
    """The pattern of a record, which need not be JSON, that has `name` as an id or a number: as text, or bare."""
    written = {json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    either = "|".join(sorted(map(re.escape, written)))
    return rf'"(?:id|number)"\s*:\s*(?:"(?:{either})"|(?:{either})\s*(?:[,}}]|$))'


def without_numbers(text: str) -> str:
    """Free text with telephone, identity-card and account numbers and addresses of e-mail replaced by labels."""
    return redact(text).text


def _go_on(where: Where, column: str, before: int | None, after: str | None) -> None:
    """Leave out what earlier pages had of the last millisecond before `before`."""
    last = None if before is None else before - 1
    where.add(f"{column} < {at('last')} OR id > {{after:String}}", last=last, after=after)


class SqlArchive:
    """`jianguan.ports.Archive` over any store. `mask` hides what is personal in the demand of an event."""

    def __init__(self, store: BlockStore, clock: Clock, *, mask: Callable[[str], str] = without_numbers) -> None:
        self._store = store
        self._historian = Historian(store, mask)
        self._restart = Restart(store)
        self._hindsight = Hindsight(store)
        self._figures = Figures(store, clock, lambda most: self.alerts(limit=most))

    def overview(self, now_ms: int, newest: int = 20) -> Overview:
        """The figures of the first page."""
        return self._figures.overview(now_ms, newest)

    def history(self, identifier: str, limit: int = 1000) -> History | None:
        """Everything about any id. None when nothing is known by that name."""
        return self._historian.history(identifier, limit)

    def outline(self, identifier: str, limit: int = 1000, *, steps: bool = True) -> History | None:
        """What lists show of a history. Without `steps` also without deliveries."""
        return self._historian.outline(identifier, limit, steps=steps)

    def alerts(
        self,
        *,
        before: int | None = None,
        after: str | None = None,
        severity: str | None = None,
        rule: str | None = None,
        region: str | None = None,
        limit: int = 50,
    ) -> list[Alert]:
        """Newest first, then by id, raised before `before` (ms); of the last of those ms, with ids after `after`.
        `region` is a code or the beginning of one."""
        where = Where()
        where.add(f"raised_at < {at('before')}", before=before)
        _go_on(where, "raised_at", before, after)
        where.add("severity = {severity:String}", severity=severity)
        where.add("rule = {rule:String}", rule=rule)
        where.add("startsWith(ifNull(region, ''), {region:String})", region=region)
        return pick(self._store, "alerts", where, "raised_at DESC, id", limit)

    def cases(
        self,
        *,
        state: str | None = None,
        department: str | None = None,
        overdue: bool | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> list[tuple[Case, list[Task]]]:
        """Newest first, then by id, opened before `before` (ms), and `after` as for alerts, with their tasks.
        Overdue: one of the tasks is."""
        where = Where()
        where.add("state = {state:String}", state=state)
        where.add(f"opened_at < {at('before')}", before=before)
        _go_on(where, "opened_at", before, after)
        where.add(
            "lead = {department:String} OR id IN (SELECT `case` FROM tasks WHERE department = {department:String})",
            department=department,
        )
        if overdue is not None:
            late = "(SELECT `case` FROM tasks FINAL WHERE overdue)"
            where.add(f"id IN {late}" if overdue else f"id NOT IN {late}")
        return with_tasks(self._store, pick(self._store, "cases", where, "opened_at DESC, id", limit))

    def cases_of(self, ids: Sequence[str]) -> dict[str, Case]:
        """Those cases of `ids` that are known, by id."""
        return {case.id: case for case in by_ids(self._store, "cases", list(dict.fromkeys(ids)))}

    def task(self, identifier: str) -> tuple[Task, Case] | None:
        """One task and its case."""
        tasks = by_ids(self._store, "tasks", [identifier])
        cases = by_ids(self._store, "cases", [tasks[0].case]) if tasks else []
        return (tasks[0], cases[0]) if cases else None

    def tasks(
        self,
        *,
        department: str | None = None,
        state: str | None = None,
        overdue: bool | None = None,
        after: TaskPlace | None = None,
        limit: int = 100,
    ) -> list[Task]:
        """Most urgent first, in the order of their places; those after the place `after`."""
        where = Where()
        where.add("department = {department:String}", department=department)
        where.add("state = {state:String}", state=state)
        if overdue is not None:
            where.add("overdue" if overdue else "NOT overdue")
        if after is not None:
            given = "{closed:Bool}, {in_time:Bool}, {endless:Bool}, {due_at:Int64}, {assigned_at:Int64}, {id:String}"
            where.add(f"({_PLACE}) > ({given})", **after._asdict())
        return pick(self._store, "tasks", where, _PLACE, limit)

    def enterprises(self, text: str, limit: int = 20) -> list[tuple[str, str, int]]:
        """(enterprise, its latest name, events) whose id or name contains `text`, most events first."""
        rows = self._store.query(
            "SELECT assumeNotNull(enterprise) AS which, ifNull(argMax(enterprise_name, received_at), '') AS name,"
            " uniqExact(id) AS events FROM events WHERE enterprise IS NOT NULL"
            " AND (positionCaseInsensitiveUTF8(enterprise, {text:String}) > 0"
            " OR positionCaseInsensitiveUTF8(ifNull(enterprise_name, ''), {text:String}) > 0)"
            " GROUP BY which ORDER BY events DESC, which LIMIT {most:UInt32}",
            {"text": text, "most": checked_limit(limit)},
        )
        return [(str(enterprise), str(name), int(events)) for enterprise, name, events in rows]

    def deliveries(
        self,
        *,
        state: str | None = None,
        receiver: str | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Delivery]:
        """Newest first, then by id, made before `before` (ms), and `after` as for alerts."""
        where = Where()
        where.add(f"created_at < {at('before')}", before=before)
        _go_on(where, "created_at", before, after)
        where.add("state = {state:String}", state=state)
        where.add("receiver = {receiver:String}", receiver=receiver)
        return pick(self._store, "deliveries", where, "created_at DESC, id", limit)

    def quarantine(
        self,
        *,
        code: str | None = None,
        state: str | None = None,
        before: int | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Quarantined]:
        """Newest first, whole, from before `before` (ms), and `after` as for alerts: at most `MOST_LISTED_BYTES` of
        records, and always one."""
        where = Where()
        where.add(f"at < {at('before')}", before=before)
        _go_on(where, "at", before, after)
        where.add("code = {code:String}", code=code)
        where.add("state = {state:String}", state=state)
        rows = self._store.query(
            f"SELECT id, length(raw) FROM quarantine FINAL WHERE {where}"  # noqa: S608
            " ORDER BY at DESC, id LIMIT {most:UInt32}",
            {**where.parameters, "most": checked_limit(limit)},
        )
        held = accumulate(int(size) for _, size in rows)
        ids = [str(row[0]) for row, sum_ in zip(rows, held, strict=True) if sum_ <= MOST_LISTED_BYTES]
        found: list[Quarantined] = by_ids(self._store, "quarantine", ids or [str(row[0]) for row in rows[:1]])
        return sorted(found, key=lambda record: (-record.at, record.id))

    def quarantined(self, identifier: str) -> Quarantined | None:
        """One quarantined record, whole."""
        found = by_ids(self._store, "quarantine", [identifier])
        return found[0] if found else None

    def quarantined_as(self, name: str, limit: int = 20) -> list[Quarantined]:
        """Quarantined records that call themselves `name`, newest first."""
        if not name.strip() or len(name) > LONGEST_NAME:
            return []
        rows = self._store.query(
            "SELECT DISTINCT id FROM quarantine WHERE id IN ("
            "SELECT id FROM quarantine ORDER BY at DESC LIMIT {searched:UInt32})"
            " AND match(raw, {pattern:String}) ORDER BY at DESC, id LIMIT {most:UInt32}",
            {"searched": MOST_SEARCHED, "pattern": _named(name.strip()), "most": checked_limit(limit)},
        )
        found: list[Quarantined] = by_ids(self._store, "quarantine", [str(row[0]) for row in rows])
        return sorted(found, key=lambda record: (-record.at, record.id))

    def resubmitted(self, ids: Sequence[str]) -> dict[str, Resubmission]:
        """What became of records that were submitted again, by their ids."""
        receipts: dict[str, str] = {}
        outcomes: dict[str, tuple[str, str]] = {}
        for chunk in chunks(ids):
            receipts |= self._store.query(
                "SELECT subject, receipt FROM trace WHERE subject IN {ids:Array(String)} AND what = 'retried'"
                " ORDER BY at DESC, id LIMIT 1 BY subject",
                {"ids": chunk},
            )
        for chunk in chunks(list(receipts.values())):
            rows = self._store.query(
                "SELECT receipt, what, subject FROM trace WHERE receipt IN {receipts:Array(String)} AND stage = 1"
                " ORDER BY at, id LIMIT 1 BY receipt",
                {"receipts": chunk},
            )
            outcomes |= {receipt: (what, subject) for receipt, what, subject in rows}
        return {each: Resubmission(receipt, *outcomes.get(receipt, ())) for each, receipt in receipts.items()}

    def submission(self, submission: str) -> dict[str, int]:
        """Records by outcome of one upload; every outcome has a number."""
        rows = self._store.query(
            "SELECT what, uniqExact(id) FROM trace WHERE submission = {submission:String} AND stage = 1"
            " AND what IN {outcomes:Array(String)} GROUP BY what",
            {"submission": submission, "outcomes": list(OUTCOMES)},
        )
        return dict.fromkeys(OUTCOMES, 0) | {str(what): int(count) for what, count in rows}

    def events_to_judge(
        self, wanted: Filter, fields: Collection[str], since: int, until: int, max_age: int
    ) -> Iterator[list[Event]]:
        """Events that pass the filter, or more, and whose fact would be of [since, until) ms, in order of arrival."""
        return self._hindsight.events_to_judge(wanted, fields, since, until, max_age)

    def count_to_judge(self, wanted: Filter, since: int, until: int, max_age: int) -> int:
        """How many events `events_to_judge` gives; one that is stored twice may count twice."""
        return self._hindsight.count_to_judge(wanted, since, until, max_age)

    def rule_steps(self) -> list[Step]:
        """Every activation, approval and withdrawal of a rule, oldest first."""
        sql = (
            f"SELECT {SHAPES['trace'].select_list()} FROM trace"  # noqa: S608
            " WHERE startsWith(subject, {prefix:String}) AND what IN {whats:Array(String)}"
            " ORDER BY at, id LIMIT 1 BY id"
        )
        return records_of("trace", self._store.query(sql, {"prefix": SUBJECT, "whats": list(WHATS)}))

    def seen_events(self, limit: int) -> Iterator[tuple[str, str, str]]:
        """(event id, content hash, receipt of the acceptance) of the last received events, oldest first."""
        return self._restart.seen_events(limit)

    def facts_to_fold(self, wanted: FactsWanted) -> Iterator[FactRun]:
        """What the windows of a rule can still need, key by key, in blocks."""
        return self._restart.facts_to_fold(wanted)

    def first_received(self) -> int | None:
        """See Archive."""
        return self._restart.first_received()

    def facts_of_keys_since(self, received: int) -> Iterator[Fact]:
        """All facts of the windows that got a fact received at `received` (ms) or later, window by window, by time."""
        return self._restart.facts_of_keys_since(received)

    def alerts_since(self, raised: int) -> Iterator[Alert]:
        """Alerts raised at `raised` (ms) or later, or because of what was received then or later."""
        return self._restart.alerts_since(raised)

    def last_received(self) -> int | None:
        """See Archive."""
        return self._restart.last_received()

    def raised(self, rules: Collection[str], since: int, keys: Collection[str] | None = None) -> Iterator[Raised]:
        """See Archive."""
        return self._restart.raised(rules, since, keys)

    def alerts_of(self, rules: Collection[str], since: int) -> Iterator[Alert]:
        """See Archive."""
        return self._restart.alerts_of(rules, since)

    def known_alerts(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are stored."""
        return self._restart.known_alerts(ids)

    def finished_deliveries(self, since: int) -> Iterator[tuple[str, str]]:
        """(delivery, receiver) of what was delivered or given up at `since` (ms) or later."""
        return self._restart.finished_deliveries(since)

    def open_cases(self, closed_since: int | None = None) -> Iterator[tuple[Case, list[Task]]]:
        """Cases that are open, and those closed at `closed_since` (ms) or later, with all their tasks."""
        return self._restart.open_cases(closed_since)

    def case_ordinals(self) -> Iterator[tuple[str, int]]:
        """(case key, highest ordinal) of every case key."""
        return self._restart.case_ordinals()

    def alert_ids_of(self, cases: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(alert id, case id) of the alerts that joined those cases."""
        return self._restart.alert_ids_of(cases)

    def told_overdue(self, tasks: Sequence[str]) -> set[str]:
        """Those of some tasks of which a step tells that they became overdue."""
        return self._restart.told_overdue(tasks)

    def pending_deliveries(self) -> Iterator[Delivery]:
        """Deliveries that are neither delivered nor dead: pending, or held for a disabled receiver."""
        return self._restart.pending_deliveries()
