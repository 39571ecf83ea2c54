"""This system with one rule (crossing-five.yaml), in one process: source topic, facts topic, alerts topic.

Both variants use what a worker uses: the batch transport, the compiled condition, fact frames through the facts topic,
the correlate stage with its window engine, offsets committed only after what came of a run is on the broker. Windows
are not kept anywhere: after a restart they are folded from the facts topic, without emitting, as a worker does.

`rule`: events are decoded as the other peers decode them, into the fields that the rule reads. This is the row to
compare: the same job, nothing more.

`stages`: the ingest stage itself: the whole contract is validated, codes and times are checked, duplicates recognised,
the content hashed, every step written down (and dropped here, where a worker would send it to the store).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench.peers.job import Meter, Task
from jianguan.clock import SystemClock
from jianguan.domain.admission import Reference as Codes
from jianguan.domain.event import EventRun
from jianguan.domain.fact import FactRun
from jianguan.domain.ids import event_id
from jianguan.wiring.parts import tune_memory
from rules.engine import Engine
from rules.facts import Matcher
from rules.reference import Reference
from rules.ruleset import RuleSet
from streams.app import FaustOptions, create_app
from streams.correlate import Correlate
from streams.frames import ALERTS, FACTS
from streams.ingest import Ingest, spread
from streams.outbox import Outbox
from streams.owned import Owned
from streams.seen import SeenEvents
from streams.topics import TopicName, TopicSpec, ensure_topics
from streams.transport.batch import batch_topic, each_run
from streams.transport.options import BatchOptions
from streams.transport.run import Run

PARTITIONS: Final = 4
RULE: Final = Path(__file__).with_name("crossing-five.yaml")
YEAR_MS: Final = 365 * 86_400_000
Facts = dict[int, list[FactRun]]  # by partition of the facts topic


class Party(msgspec.Struct, gc=False):
    """Who an event is about."""

    id: str
    name: str | None = None


class Complaint(msgspec.Struct, gc=False, rename={"name": "id", "moment": "occurred_at", "party": "enterprise"}):
    """What the rule and a fact read of an event, under the names that Event has; what facts alone read is made then."""

    name: str
    source: str
    category: str
    moment: datetime
    channel: str
    text: str
    party: Party | None = None
    amount_fen: int | None = None
    platform: str | None = None
    demand: str | None = None
    region: str | None = None
    industry: str | None = None
    kind: str = "complaint"
    received_at: int = 0  # ms

    @property
    def id(self) -> str:
        """As admission makes it."""
        return event_id(self.source, self.name)

    @property
    def occurred_at(self) -> int:
        """ms"""
        return int(self.moment.timestamp() * 1000)

    @property
    def enterprise(self) -> str | None:
        """Its code."""
        return None if self.party is None else self.party.id

    @property
    def enterprise_name(self) -> str | None:
        """Its name."""
        return None if self.party is None else self.party.name


class Column(Sequence[Any]):
    """A field of complaints, read where it is asked for."""

    def __init__(self, complaints: Sequence[Complaint], name: str) -> None:
        self._complaints = complaints
        self._name = name

    def __len__(self) -> int:
        return len(self._complaints)

    def __getitem__(self, index: Any) -> Any:
        return getattr(self._complaints[index], self._name)


class Complaints:
    """What a matcher asks of a run of events."""

    def __init__(self, rows: list[Complaint]) -> None:
        self.rows = rows

    def field(self, name: str) -> Sequence[Any]:
        """The values of one field."""
        return Column(self.rows, name)


class Lean:
    """Decoding and the condition, without admission."""

    def __init__(self, matcher: Matcher) -> None:
        self._matcher = matcher
        self._decode = msgspec.json.Decoder(Complaint).decode

    def __call__(self, run: Run) -> Facts:
        decode = self._decode
        complaints = []
        for record in run.records:
            complaint = decode(record.value or b"")
            complaint.received_at = record.timestamp
            complaints.append(complaint)
        found: Facts = {}
        # It has every attribute that the rule and a fact ask for.
        for each in self._matcher.facts_of(cast(EventRun, Complaints(complaints))):
            for partition, facts in spread(each.facts, PARTITIONS).items():
                found.setdefault(partition, []).append(facts)
        return found


def whole(matcher: Matcher, reference: Reference, topic: str) -> Callable[[Run], Facts]:
    """The ingest stage as a worker has it. The topic of the benchmark counts as that of complaints."""
    prefix = topic.removesuffix(TopicName.COMPLAINTS)
    codes = Codes(reference.regions, reference.industries, bytes(32))
    ingest = Ingest(
        codes,
        lambda: matcher,
        SeenEvents(1_000_000),
        SystemClock(),
        partitions=PARTITIONS,
        max_age_ms=YEAR_MS,
        prefix=prefix,
    )

    def work(run: Run) -> Facts:
        result = ingest.work(run)
        if result.quarantine:
            raise SystemExit(f"the contract refuses an event: {result.quarantine[0].message}")
        return result.facts

    return work


def _stop(rule: str, error: Exception) -> None:
    raise SystemExit(f"the condition of {rule} cannot be evaluated: {error!r}")


class Job:
    """Two agents and what they share."""

    def __init__(self, task: Task, variant: str) -> None:
        reference = Reference.packaged()
        self._task = task
        self._ruleset = RuleSet.load([RULE], reference)
        matcher = Matcher(self._ruleset, reference, _stop)
        self._ingest = Lean(matcher) if variant == "rule" else whole(matcher, reference, task.topic)
        self._prefix = task.alerts.removesuffix(TopicName.ALERTS)
        self._outbox = Outbox(self._prefix, PARTITIONS)
        self._windows = Owned(self._fold)
        self._meter = Meter(task)
        self._on_their_way = 0  # facts
        self._read = False
        self.finished = asyncio.Event()

    async def run(self) -> None:
        """Until the alerts of the last event are on the broker."""
        task = self._task
        await ensure_topics(task.broker, [TopicSpec(TopicName.FACTS.under(self._prefix), PARTITIONS)])
        app = create_app(FaustOptions(task.group, task.broker, task.state, batch=BatchOptions()))
        app.agent(batch_topic(app, task.topic, partitions=PARTITIONS), name="ingest")(self._events)
        facts = batch_topic(app, TopicName.FACTS.under(self._prefix), partitions=PARTITIONS)
        app.agent(facts, name="correlate")(self._facts)
        self._outbox.attach(app)
        for partition in range(PARTITIONS):  # this process has them all
            await self._windows.get(partition)
        tune_memory()
        await app.start()
        await self.finished.wait()
        await app.stop()

    async def _events(self, stream: Any) -> None:
        async for run in each_run(stream):
            last = self._meter.count(len(run))
            facts = self._ingest(run)
            self._on_their_way += sum(len(each) for runs in facts.values() for each in runs)
            await self._outbox.settle(await self._outbox.rows(TopicName.FACTS, FACTS, facts))
            self._read = self._read or last
            self._look()

    async def _facts(self, stream: Any) -> None:
        async for run in each_run(stream):
            windows = await self._windows.get(run.partition)
            facts = [each for record in run for each in FACTS.decode(record.value)]
            result = windows.work(facts)
            await self._outbox.settle(await self._outbox.rows(TopicName.ALERTS, ALERTS, result.alerts))
            self._on_their_way -= sum(map(len, facts))
            self._look()

    def _look(self) -> None:
        if self._read and self._on_their_way <= 0 and not self.finished.is_set():
            self._meter.finish()
            self.finished.set()

    async def _fold(self, partition: int) -> Correlate:
        """The windows of one partition, from its facts whose alerts are on the broker: those that were committed. The
        others are read again, and raise their alerts then."""
        engine = Engine(self._ruleset)
        place = TopicPartition(TopicName.FACTS.under(self._prefix), partition)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._task.broker, group_id=self._task.group, enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([place])
            end = await consumer.committed(place) or 0
            await consumer.seek_to_beginning(place)
            while await consumer.position(place) < end:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        if record.offset < end:
                            for run in FACTS.decode(record.value):
                                engine.fold_run(run)
        finally:
            await consumer.stop()
        return Correlate(engine, SystemClock(), partitions=PARTITIONS)


if __name__ == "__main__":
    uvloop.run(Job(Task(sys.argv[2:]), sys.argv[1]).run())
    os._exit(0)
