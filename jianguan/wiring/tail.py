"""What the stages have recorded and the store may not have yet: the tail of the records topic.

A worker that takes partitions over restores them from the store, while the rows of the one that had them may still be
on their way there. Waiting for them would mean to wait for other workers, one of which may be stuck, and to wait for a
whole backlog after the store was away. So the rest of the topic is read here: from what the record stage has committed,
all of which is in the store, to the end as it is now. Where both know something the newer counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from jianguan.clock import Clock
from jianguan.columns import Columns, rows_of
from jianguan.domain.case import Case, Task
from jianguan.domain.delivery import Delivery
from jianguan.domain.fact import Fact, FactRun, FactsWanted, runs_of
from jianguan.domain.trace import STAGES, Records
from jianguan.errors import InputError, UnavailableError
from jianguan.wiring.positions import GroupPositions, Positions
from sinks.archive import SqlArchive
from sinks.archive_restart import with_tasks
from sinks.select import by_ids
from sinks.store import BlockStore
from streams.broker import Broker, client_options
from streams.frames import RECORDS
from streams.topics import TopicName

log = logging.getLogger(__name__)

DEADLINE: Final = 60.0  # seconds without a record
_FINISHED: Final = ("delivered", "dead")
_INGEST: Final = STAGES["ingest"]
_ADMITTED: Final = ("accepted", "late")


@dataclass(slots=True)
class Tail:
    """The rows that restoring needs; of a thing with revisions the highest."""

    hashes: dict[str, str] = field(default_factory=dict)  # content hash by event
    receipts: dict[str, str] = field(default_factory=dict)  # of the acceptance, by event, oldest first
    facts: dict[str, list[Fact]] = field(default_factory=dict)  # by rule
    alerts: set[str] = field(default_factory=set)
    joined: dict[str, set[str]] = field(default_factory=dict)  # alerts by case
    cases: dict[str, Case] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)
    told_overdue: set[str] = field(default_factory=set)  # tasks
    deliveries: dict[str, Delivery] = field(default_factory=dict)

    def add(self, found: Records | Columns) -> None:
        """Take in one frame."""
        if isinstance(found, Columns):
            self._add_columns(found)
            return
        self.hashes.update((event.id, event.content_hash) for event in found.events)
        for step in found.trace:
            self._add_step(step.subject, step.stage, step.what, step.receipt, step.links)
        self._add_rows(found.facts, [alert.id for alert in found.alerts])
        for case in found.cases:
            _newer(self.cases, case)
            self.joined.setdefault(case.id, set()).update(case.alerts)
        for task in found.tasks:
            _newer(self.tasks, task)
        for delivery in found.deliveries:
            _newer(self.deliveries, delivery)

    def _add_columns(self, found: Columns) -> None:
        """Of events and steps, which are many, only the columns that are needed become values."""
        if (events := found.tables.get("events")) is not None:
            hashes = events.column("content_hash").to_pylist()
            self.hashes.update(zip(events.column("id").to_pylist(), hashes, strict=True))
        if (trace := found.tables.get("trace")) is not None:
            names = ("subject", "stage", "what", "receipt", "links")
            for step in zip(*[trace.column(name).to_pylist() for name in names], strict=True):
                self._add_step(*step)
        rest = Records()
        for name in ("facts", "alerts", "cases", "tasks", "deliveries"):
            if name in found.tables:
                setattr(rest, name, rows_of(name, found.tables[name]))
        self.add(rest)

    def _add_rows(self, facts: Sequence[Fact], alerts: Sequence[str]) -> None:
        for fact in facts:
            self.facts.setdefault(fact.rule, []).append(fact)
        self.alerts.update(alerts)

    def _add_step(self, subject: str, stage: int, what: str, receipt: str, links: Sequence[str]) -> None:
        if stage == _INGEST and what in _ADMITTED:
            self.receipts.setdefault(subject, receipt)
        elif what in ("opened", "joined"):
            self.joined.setdefault(subject, set()).update([link for link in links if link.startswith("al-")])
        elif what == "overdue":
            self.told_overdue.add(subject)


def _newer(known: dict[str, Any], row: Any) -> None:
    before = known.get(row.id)
    if before is None or row.revision >= before.revision:
        known[row.id] = row


async def read_tail(broker: Broker | str, prefix: str, positions: GroupPositions) -> Tail:
    """Everything in the records topic that the store may not have. UnavailableError when the brokers do not answer."""
    committed = await positions.committed([TopicName.RECORDS])
    ends = await positions.ends([TopicName.RECORDS])
    tail = Tail()
    topic = TopicName.RECORDS.under(prefix)
    waiting = {
        TopicPartition(topic, place[1]): (committed.get(place, 0), end)
        for place, end in ends.items()
        if committed.get(place, 0) < end
    }
    if not waiting:
        return tail
    consumer = AIOKafkaConsumer(
        **client_options(broker),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
    )
    try:
        await consumer.start()
        consumer.assign(list(waiting))
        for place, (start, _) in waiting.items():
            consumer.seek(place, start)
        while waiting:
            async with asyncio.timeout(DEADLINE):
                fetched = await consumer.getmany(timeout_ms=200)
            for place, records in fetched.items():
                end = waiting[place][1] if place in waiting else 0
                for record in records:
                    if record.offset < end:
                        _take(tail, record)
                await asyncio.sleep(0)
            for place in [place for place, (_, end) in waiting.items() if await consumer.position(place) >= end]:
                del waiting[place]
    except (KafkaError, OSError, TimeoutError) as error:
        raise UnavailableError(f"the end of the records topic cannot be read: {error!r}") from error
    finally:
        await consumer.stop()
    return tail


def _take(tail: Tail, record: Any) -> None:
    try:
        tail.add(RECORDS.decode(record.value))
    except InputError as error:  # the record stage puts it into quarantine
        log.error("a frame of records cannot be read: %s", error)


class CurrentArchive(SqlArchive):
    """The store and the tail together, for what a restarting stage asks. Every question must be asked after the tail
    was read: what the tail lacks the store has by then."""

    def __init__(self, store: BlockStore, clock: Clock, tail: Tail) -> None:
        super().__init__(store, clock)
        self._blocks = store
        self._tail = tail

    def seen_events(self, limit: int) -> Iterator[tuple[str, str, str]]:
        """(event id, content hash, receipt) of the store's, then of the tail's."""
        yield from super().seen_events(limit)
        tail = self._tail
        # An event and its step may have travelled in different frames, and one of them be stored.
        without_hash = [event for event in tail.receipts if event not in tail.hashes]
        hashes = {**tail.hashes, **self._pairs("SELECT id, any(content_hash) FROM events", "id", without_hash)}
        without_step = [event for event in tail.hashes if event not in tail.receipts]
        accepted = "SELECT subject, any(receipt) FROM trace PREWHERE stage = 1 AND what IN ('accepted', 'late')"
        receipts = {**self._pairs(accepted, "subject", without_step), **tail.receipts}
        for event, receipt in receipts.items():
            if event in hashes:
                yield event, hashes[event], receipt

    def facts_to_fold(self, wanted: FactsWanted) -> Iterator[FactRun]:
        """Those of the store, then those that only the tail has."""
        awaited = {fact.id: fact for fact in self._tail.facts.get(wanted.rule, ()) if wanted.may_take(fact)}
        for run in super().facts_to_fold(wanted):
            if awaited:
                for identifier in run.ids():
                    awaited.pop(identifier, None)
            yield run
        yield from runs_of(sorted(awaited.values(), key=lambda fact: (fact.key, fact.time, fact.event)))

    def known_alerts(self, ids: Sequence[str]) -> set[str]:
        """Those of `ids` that are stored, or will be."""
        return super().known_alerts(ids) | (self._tail.alerts & set(ids))

    def open_cases(self, closed_since: int | None = None) -> Iterator[tuple[Case, list[Task]]]:
        """Cases that are open, and those closed lately, with all their tasks, as they are by now."""
        tail = self._tail
        files = {case.id: (case, tasks) for case, tasks in super().open_cases(closed_since)}
        # The tail of one partition may be older than what is stored of another.
        fresh = {identifier: case for identifier, case in tail.cases.items() if identifier not in files}
        for case in by_ids(self._blocks, "cases", list(fresh)):
            _newer(fresh, case)
        files.update((case.id, (case, tasks)) for case, tasks in with_tasks(self._blocks, list(fresh.values())))
        of_case: dict[str, list[Task]] = {}
        for task in tail.tasks.values():
            of_case.setdefault(task.case, []).append(task)
        for identifier, (case, tasks) in files.items():
            newest = max(case, tail.cases.get(identifier, case), key=lambda each: each.revision)
            known = {task.id: task for task in tasks}
            for task in of_case.get(identifier, ()):
                _newer(known, task)
            if newest.state == "open" or (closed_since is not None and (newest.closed_at or 0) >= closed_since):
                yield newest, list(known.values())

    def case_ordinals(self) -> Iterator[tuple[str, int]]:
        """(case key, ordinal); the highest of a key counts."""
        yield from super().case_ordinals()
        for case in self._tail.cases.values():
            yield case.case_key, case.ordinal

    def alert_ids_of(self, cases: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(alert id, case id) of the alerts that joined those cases."""
        yield from super().alert_ids_of(cases)
        for case in cases:
            for alert in self._tail.joined.get(case, ()):
                yield alert, case

    def told_overdue(self, tasks: Sequence[str]) -> set[str]:
        """Those of some tasks of which a step tells, or will, that they became overdue."""
        return super().told_overdue(tasks) | (self._tail.told_overdue & set(tasks))

    def pending_deliveries(self) -> Iterator[Delivery]:
        """Deliveries that are neither delivered nor dead, as they are by now."""
        known = {delivery.id: delivery for delivery in super().pending_deliveries()}
        unknown = [identifier for identifier in self._tail.deliveries if identifier not in known]
        for delivery in (*by_ids(self._blocks, "deliveries", unknown), *self._tail.deliveries.values()):
            _newer(known, delivery)
        yield from [delivery for delivery in known.values() if delivery.state not in _FINISHED]

    def finished_deliveries(self, since: int) -> Iterator[tuple[str, str]]:
        """(delivery, receiver) of what was delivered or given up since then."""
        yield from super().finished_deliveries(since)
        for delivery in self._tail.deliveries.values():
            if delivery.state in _FINISHED and delivery.updated_at >= since:
                yield delivery.id, delivery.receiver

    def _pairs(self, select: str, column: str, ids: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for start in range(0, len(ids), 1_000):
            sql = f"{select} WHERE {column} IN {{ids:Array(String)}} GROUP BY {column}"
            found.update(self._blocks.query(sql, {"ids": list(ids[start : start + 1_000])}))
        return found


__all__ = ["CurrentArchive", "Positions", "Tail", "read_tail"]
