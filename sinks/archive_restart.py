"""What a restarting stage folds its state from: long answers, streamed or paged, exact after replays."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from jianguan.domain.alert import Alert, Raised
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.fact import Fact, FactRun, FactsWanted, stored_runs
from sinks.rows import SHAPES, records_of
from sinks.select import at, by_ids, chunks
from sinks.store import BlockStore

_PAGE: Final = 1_000
_NEVER: Final = 4_102_444_800_000  # 2100-01-01
_SORTED_IN_MEMORY: Final = 268_435_456  # bytes
_FOLDED: Final = ("key", "time", "event", "received_at")
_OF_RULES: Final = f"rule IN {{rules:Array(String)}} AND (episode_end >= {at('since')} OR raised_at >= {at('since')})"


class Restart:
    """The folds. Give it the store that the stage itself writes to."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store

    def seen_events(self, limit: int) -> Iterator[tuple[str, str, str]]:
        """(event id, content hash, receipt of the acceptance) of the last `limit` received events, oldest first."""
        if limit <= 0:
            return
        # An event whose step is not here was cut off by a crash: its record is read again, and must count as new.
        sql = (
            "WITH newest AS (SELECT id, any(content_hash) AS hash, max(received_at) AS received FROM events"
            " GROUP BY id ORDER BY received DESC, id DESC LIMIT {most:UInt64})"
            " SELECT newest.id, newest.hash, accepted.receipt FROM newest INNER ANY JOIN"
            " (SELECT subject, receipt FROM trace WHERE stage = 1 AND what IN ('accepted', 'late')) AS accepted"
            " ON newest.id = accepted.subject ORDER BY newest.received, newest.id"
        )
        for block in self._store.blocks(sql, {"most": limit}):
            yield from block

    def facts_to_fold(self, wanted: FactsWanted) -> Iterator[FactRun]:
        """What the windows of a rule can still need: in blocks, key by key, in each by (time, event)."""
        asked: dict[str, object] = {"rule": wanted.rule, "version": wanted.version, "retention": wanted.retention}
        of_rule = "rule = {rule:String} AND version = {version:Int64}"
        if wanted.open_since is not None:
            asked |= {"open": wanted.open_since, "back": wanted.back}
        if wanted.before is not None:
            asked["before"] = wanted.before
            of_rule += f" AND received_at < {at('before')}"
        if wanted.keys is None:
            yield from self._facts(of_rule, asked, wanted)
            return
        for some in chunks(sorted(wanted.keys)):
            yield from self._facts(f"{of_rule} AND key IN {{keys:Array(String)}}", {**asked, "keys": some}, wanted)

    def _facts(self, of_rule: str, asked: Mapping[str, Any], wanted: FactsWanted) -> Iterator[FactRun]:
        """Those that meet the condition `of_rule`, in which `asked` are the parameters."""
        selected = {column.name: column.select for column in SHAPES["facts"].columns}
        names = (*_FOLDED, *wanted.said)
        first = "toUnixTimestamp64Milli(max(time)) - {retention:Int64}"
        if wanted.open_since is not None:
            since = f"toUnixTimestamp64Milli(minOrNullIf(time, received_at >= {at('open')})) - {{back:Int64}}"
            first = f"least({first}, coalesce({since}, {first}))"
        sql = (
            f"SELECT {', '.join([selected[name].format(f'facts.{name}') for name in names])} FROM facts FINAL"  # noqa: S608
            f" INNER JOIN (SELECT key AS of_key, {first} AS first FROM facts WHERE {of_rule} GROUP BY key) AS needed"
            f" ON key = needed.of_key WHERE {of_rule} AND toUnixTimestamp64Milli(time) >= needed.first"
            # By key, so that each window is filled at once; `event` as text is in the order of its bits.
            f" ORDER BY key, facts.time, event SETTINGS max_bytes_before_external_sort = {_SORTED_IN_MEMORY}"
        )
        for columns in self._store.columns(sql, asked):
            keys, times, events, receipts, *rest = columns
            said = dict(zip(wanted.said, rest, strict=True))
            yield from stored_runs(wanted.rule, wanted.version, keys, times, events, receipts, said)

    def last_received(self) -> int | None:
        """When the newest fact was received, ms; None without any."""
        ((count, last),) = self._store.query("SELECT count(), toUnixTimestamp64Milli(max(received_at)) FROM facts")
        return int(last) if count else None

    def first_received(self) -> int | None:
        """When the oldest event was received, ms; None without any."""
        sql = "SELECT count(), toUnixTimestamp64Milli(min(received_at)) FROM events"
        ((count, first),) = self._store.query(sql)
        return int(first) if count else None

    def facts_of_keys_since(self, received: int) -> Iterator[Fact]:
        """All facts of the windows that got a fact received at `received` (ms) or later: a window's facts together, in
        the order of their times."""
        sql = (
            f"SELECT {SHAPES['facts'].select_list()} FROM facts FINAL WHERE (rule, version, key) IN"  # noqa: S608
            f" (SELECT DISTINCT rule, version, key FROM facts WHERE received_at >= {at('received')})"
            " ORDER BY rule, version, key, time, id"
        )
        for block in self._store.blocks(sql, {"received": received}):
            for row in block:
                yield Fact(*row)

    def alerts_since(self, raised: int) -> Iterator[Alert]:
        """Alerts raised at `raised` (ms) or later, or because of what was received then or later: the clock may have
        been set back between the two."""
        since = at("raised")
        sql = (
            f"SELECT {SHAPES['alerts'].select_list()} FROM alerts FINAL"  # noqa: S608
            f" WHERE raised_at >= {since} OR received_at >= {since}"
        )
        for block in self._store.blocks(sql, {"raised": raised}):
            yield from records_of("alerts", block)

    def raised(self, rules: Collection[str], since: int, keys: Collection[str] | None = None) -> Iterator[Raised]:
        """The alerts of some rules, and of some keys if they are given, whose episode ends at `since` (ms) or later, or
        that were raised since. Some may be told twice."""
        columns = {column.name: column.select.format(column.name) for column in SHAPES["alerts"].columns}
        sql = f"SELECT {', '.join([columns[name] for name in Raised._fields])} FROM alerts PREWHERE {_OF_RULES}"  # noqa: S608
        asked: dict[str, Any] = {"rules": sorted(rules), "since": since}
        if keys is None:
            for block in self._store.blocks(sql, asked):
                yield from map(Raised._make, block)
            return
        for some in chunks(sorted(keys)):
            for row in self._store.query(f"{sql} WHERE key IN {{keys:Array(String)}}", {**asked, "keys": some}):
                yield Raised._make(row)

    def alerts_of(self, rules: Collection[str], since: int) -> Iterator[Alert]:
        """The same, whole, of all keys, each once."""
        sql = f"SELECT {SHAPES['alerts'].select_list()} FROM alerts FINAL WHERE {_OF_RULES}"  # noqa: S608
        for block in self._store.blocks(sql, {"rules": sorted(rules), "since": since}):
            yield from records_of("alerts", block)

    def known_alerts(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are stored."""
        sql = "SELECT DISTINCT id FROM alerts WHERE id IN {ids:Array(String)}"
        return {row[0] for chunk in chunks(ids) for row in self._store.query(sql, {"ids": chunk})}

    def open_cases(self, closed_since: int | None = None) -> Iterator[tuple[Case, list[Task]]]:
        """Cases that are open, and those closed at `closed_since` (ms) or later, with all their tasks, by id."""
        sql = (
            f"SELECT {SHAPES['cases'].select_list()} FROM cases FINAL"  # noqa: S608
            f" WHERE (state = 'open' OR closed_at >= {at('since')}) AND id > {{after:String}}"
            " ORDER BY id LIMIT {page:UInt32}"
        )
        since = _NEVER if closed_since is None else closed_since
        after = ""
        while True:
            cases = records_of("cases", self._store.query(sql, {"after": after, "page": _PAGE, "since": since}))
            yield from with_tasks(self._store, cases)
            if len(cases) < _PAGE:
                return
            after = cases[-1].id

    def case_ordinals(self) -> Iterator[tuple[str, int]]:
        """(case key, highest ordinal) of every case key."""
        for block in self._store.blocks("SELECT case_key, max(ordinal) FROM cases GROUP BY case_key"):
            yield from block

    def alert_ids_of(self, cases: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(alert id, case id) of the alerts that joined those cases: by the cases themselves, and by their steps."""
        sql = (
            "SELECT DISTINCT alert, `case` FROM ("
            " SELECT arrayJoin(alerts) AS alert, id AS `case` FROM cases WHERE id IN {ids:Array(String)}"
            " UNION ALL SELECT arrayJoin(links) AS alert, subject AS `case` FROM trace"
            " WHERE subject IN {ids:Array(String)} AND what IN ('opened', 'joined')"
            ") WHERE startsWith(alert, 'al-')"
        )
        for chunk in chunks(cases):
            yield from self._store.query(sql, {"ids": chunk})

    def told_overdue(self, tasks: Sequence[str]) -> set[str]:
        """Those of some tasks of which a step tells that they became overdue."""
        sql = "SELECT DISTINCT subject FROM trace WHERE subject IN {ids:Array(String)} AND what = 'overdue'"
        return {row[0] for chunk in chunks(tasks) for row in self._store.query(sql, {"ids": chunk})}

    def pending_deliveries(self) -> Iterator[Delivery]:
        """Deliveries that are neither delivered nor dead, by id."""
        sql = (
            "SELECT id FROM deliveries FINAL WHERE state NOT IN ('delivered', 'dead')"
            " AND id > {after:String} ORDER BY id LIMIT {page:UInt32}"
        )
        after = ""
        while True:
            ids = [row[0] for row in self._store.query(sql, {"after": after, "page": _PAGE})]
            yield from by_ids(self._store, "deliveries", ids)
            if len(ids) < _PAGE:
                return
            after = ids[-1]

    def finished_deliveries(self, since: int) -> Iterator[tuple[str, str]]:
        """(delivery, receiver) of what was delivered or given up at `since` (ms) or later."""
        sql = (
            "SELECT id, receiver FROM deliveries FINAL WHERE state IN ('delivered', 'dead')"  # noqa: S608
            f" AND updated_at >= {at('since')} ORDER BY updated_at, id"
        )
        for block in self._store.blocks(sql, {"since": since}):
            yield from block


def with_tasks(store: BlockStore, cases: Sequence[Case]) -> list[tuple[Case, list[Task]]]:
    """Each case with its tasks: lead first, then by department."""
    tasks: dict[str, list[Task]] = {case.id: [] for case in cases}
    for task in by_ids(store, "tasks", list(tasks), column="case"):
        tasks[task.case].append(task)
    return [(case, sorted(tasks[case.id], key=lambda task: (task.role != "lead", task.department))) for case in cases]
