"""The shell around the stages: one Faust agent for each topic, sending before acknowledging, state by partition.

A `Pipeline` outlives Faust apps: when the broker has to be replaced, a new app is attached to the same stages. It is
the only file that knows all stages; what a stage decides is in the stage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeAlias

from jianguan.domain.fact import FactRun
from jianguan.domain.ids import partition_of
from jianguan.domain.trace import Quarantined
from jianguan.errors import InputError, UnavailableError
from streams.alignment import Alignment
from streams.correlate import Correlate, Correlated
from streams.elapsing import Elapsing
from streams.frames import ALERTS, COMMANDS, FACTS, NOTICES, Codec
from streams.handle import Handled
from streams.ingest import Ingested
from streams.lease import Lease
from streams.onward import AtOnce, Onward
from streams.poison import PoisonGuard
from streams.stages import Stages
from streams.topics import SOURCES, TopicName
from streams.transport.batch import (
    App,
    acknowledged_positions,
    batch_topic,
    each_run,
    each_unacknowledged,
    transport_of,
)
from streams.transport.run import Place, Run

log = logging.getLogger(__name__)

RETRY_PAUSE: Final = 0.5
ONWARD: Final = (TopicName.FACTS.value, TopicName.ALERTS.value)
HANDED: Final = ("handed", 0)  # in place of a topic and partition: records that the record stage was handed
RULES_PATIENCE: Final = 30.0  # seconds
RULES_POLL: Final = 0.05


Work: TypeAlias = Callable[[Sequence[Run], int], Awaitable[None]]
"""What a stage does with runs of one topic that came under one generation."""


class Pipeline:
    """The stages, ready to be attached to a Faust app."""

    def __init__(self, stages: Stages, exclusive: asyncio.Lock | None = None) -> None:
        """`exclusive`: of others that change windows; one of its own when there are none."""
        self._stages = stages
        self._guard = PoisonGuard()
        self._tasks: list[asyncio.Task[None]] = []
        # Held while windows are changed from outside, as when rules are replaced: the engine is nobody's else then.
        self.exclusive = asyncio.Lock() if exclusive is None else exclusive
        self.poisoned: dict[str, str] = {}  # topic -> what an operator has to know
        self._at_once = (
            AtOnce(stages.correlate, stages.handle, stages.deliver, self._judge, self._under_way)
            if stages.alone
            else None
        )
        self._elapsing = Elapsing(stages, self.exclusive, self._go_on, lambda: self.holds, lambda: self.generation)
        self._app: App = None  # that is attached
        self._lease: Lease | None = None  # its
        self._together: Alignment | None = None  # of its source partitions
        self._in_hand = 0  # how much is being sent
        self._unheard: set[tuple[str, int]] = set()  # versions of rules that were waited for in vain

    def attach(self, app: App) -> None:
        """Declare the agents of every stage on `app`, which is not started yet."""
        sources = {self._name(source) for source in SOURCES}
        together = self._together = Alignment(
            self._stages.clock, lambda: app.consumer.unread(sources), lambda: self.generation
        )
        for source in SOURCES:
            self._agent(app, source, self._ingest, together)
        self._agent(app, TopicName.FACTS, _each(self._correlate))
        self._agent(app, TopicName.ALERTS, _each(self._alerts))
        self._agent(app, TopicName.COMMANDS, _each(self._commands))
        self._agent(app, TopicName.DELIVERIES, _each(self._deliver))
        topic = batch_topic(app, self._name(TopicName.RECORDS), partitions=self._stages.partitions)

        async def record(stream: Any) -> None:
            async for run, acknowledge in each_unacknowledged(stream):
                await self._stages.recorder.put(run, acknowledge)

        app.agent(topic, name="record")(record)
        self._app = app
        self._lease = transport_of(app).lease
        self._stages.outbox.attach(app)

    def detach(self) -> None:
        """Send nothing until another app is attached."""
        self._app = None
        self._stages.outbox.attach(None)

    def start(self) -> None:
        """Begin what goes on beside the agents: writing records, and the passing of time."""
        self._tasks = [
            asyncio.create_task(self._stages.recorder.run(), name="recorder"),
            asyncio.create_task(self._elapsing.run(), name="tick"),
        ]

    async def drain(self, limit: float) -> None:
        """Once the app has ended: let the record stage write what it holds, for `limit` seconds at most."""
        await self._stages.recorder.drain(limit)

    async def stop(self) -> None:
        """End what `start` began."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def waiting(self) -> int:
        """How many runs of records wait for the store: a bounded number, whatever the store does."""
        return self._stages.recorder.waiting

    def positions(self) -> dict[tuple[str, int], int]:
        """By topic, without prefix, and partition, how far the app that is attached has worked, and how much is stored
        of what was handed to the record stage; nothing without an app."""
        if self._app is None:
            return {}
        prefix = self._stages.prefix
        worked = {
            (topic.removeprefix(prefix), number): at
            for (topic, number), at in acknowledged_positions(self._app).items()
        }
        return {**worked, HANDED: self._stages.recorder.handed_stored}

    def ends(self) -> dict[tuple[str, int], int]:
        """Of the same, where what this worker sent or handed over ends."""
        return {**self._stages.outbox.ends, HANDED: self._stages.recorder.handed}

    def held(self) -> Collection[Place]:
        """The partitions that do not stand still though they do not move: those of sources that have something here for
        which it is not their turn, those whose facts wait for windows, and of a poisoned topic; all while the store is
        away."""
        if self._stages.recorder.failure:
            return self._places(TopicName)
        held = set() if self._together is None else set(self._together.held)
        for partition, state in self._stages.correlate:
            if state.early is not None and state.early.waiting:
                held.add(Place(self._name(TopicName.FACTS), partition))
        return held | self._places([topic for topic in SOURCES if topic.value in self.poisoned])

    def _places(self, topics: Iterable[TopicName]) -> set[Place]:
        return {Place(self._name(topic), number) for topic in topics for number in range(self._stages.partitions)}

    def failures(self) -> list[str]:
        """What keeps this worker from working, in sentences; empty when nothing does."""
        found = [*self.poisoned.values()]
        if self._stages.recorder.failure:
            found.append(f"the store does not take records: {self._stages.recorder.failure}")
        return found + self.ended()

    def ended(self) -> list[str]:
        """Which of what `start` began has ended by itself: only a new process begins it again."""
        return [
            f"{task.get_name()} has ended: {task.exception()!r}"
            for task in self._tasks
            if task.done() and not task.cancelled()
        ]

    @property
    def generation(self) -> int:
        """Rises whenever partitions are shared out."""
        return 0 if self._lease is None else self._lease.generation

    @property
    def holds(self) -> bool:
        """Whether no other worker can have this one's partitions."""
        return self._lease is None or self._lease.holds

    @property
    def gave_up_work(self) -> bool:
        """Whether something is in hand that is not sent, since partitions were shared out when the lease had run out:
        the state has it all the same."""
        return self._in_hand > 0 and self._lease is not None and self._lease.was_over

    def keep_only(self, partitions: set[int]) -> None:
        """Forget the state of partitions that another worker owns now."""
        self._stages.correlate.keep_only(partitions)
        self._stages.handle.keep_only(partitions)

    def _name(self, topic: TopicName) -> str:
        return topic.under(self._stages.prefix)

    def _agent(
        self,
        app: App,
        topic: TopicName,
        work: Work,
        together: Alignment | None = None,
    ) -> None:
        stage = topic.value

        async def agent(stream: Any) -> None:
            come = self._as_they_come(stream) if together is None else together.in_turn(each_unacknowledged(stream))
            async with aclosing(come) as turns:
                async for runs, generation in turns:
                    started = self._stages.clock.monotonic()
                    await work(runs, generation)
                    self._stages.metrics.run_size.labels(stage).observe(sum(map(len, runs)))
                    self._stages.metrics.run_seconds.labels(stage).observe(self._stages.clock.monotonic() - started)

        app.agent(batch_topic(app, self._name(topic), partitions=self._stages.partitions), name=stage)(agent)

    async def _as_they_come(self, stream: Any) -> AsyncGenerator[tuple[list[Run], int], None]:
        async for run in each_run(stream):
            yield [run], self.generation

    async def _ingest(self, runs: Sequence[Run], generation: int) -> None:
        stages = self._stages
        topic = runs[0].topic.removeprefix(stages.prefix)
        if self._at_once is not None:
            await self._at_once.catch_up()
        results: list[Ingested] = []
        for run in runs:
            if stages.admit is not None:
                await stages.admit(run.partition)
            results.append(stages.ingest.work(run))
        result = Ingested.joined(results)

        async def send() -> list[Awaitable[Any]]:
            queued = [sent for each in result.to_store() for sent in await stages.outbox.records(each)]
            for quarantined in result.quarantine:
                queued.append(await self._put_aside(quarantined))
            return queued

        if not await self._go_on(Onward(facts=result.facts), generation, send):
            return
        stages.metrics.rule_seconds.labels("conditions").inc(result.condition_seconds)
        for outcome, count in result.outcomes.items():
            stages.metrics.events.labels(topic, outcome).inc(count)
        for reason, count in result.reasons.items():
            stages.metrics.quarantined.labels(topic, reason).inc(count)
        for run_of_rule in result.runs:
            stages.metrics.facts.labels(run_of_rule.rule).inc(len(run_of_rule))
        if self._guard.add(topic, result.unknown_doors, result.unknown_bad):
            await self._halt(topic)

    async def _halt(self, topic: str) -> None:
        self.poisoned[topic] = (
            f"nearly every record on the topic {topic} is invalid, so it is not read any further; look at "
            "`jianguan quarantine list`, mend the sender, and restart"
        )
        self._stages.metrics.poisoned.labels(topic).set(1)
        log.error(self.poisoned[topic])
        await asyncio.Event().wait()  # until the app stops: the position stays where it is

    async def _put_aside(self, row: Quarantined) -> Awaitable[Any]:
        headers = (
            ("jg-code", row.code.encode()),
            ("jg-field", row.field.encode("utf-8", "replace")),
            ("jg-message", row.message.encode("utf-8", "replace")),
            ("jg-receipt", row.receipt.encode("utf-8", "replace")),
            ("jg-topic", row.topic.encode()),
        )
        partition = partition_of(row.id, self._stages.partitions)
        return await self._stages.outbox.raw(TopicName.QUARANTINE, row.id, row.raw, headers, partition)

    async def _correlate(self, run: Run, generation: int) -> None:
        stages = self._stages
        state = await stages.correlate.get(run.partition)
        facts = _rows(run, FACTS)
        await self._wait_for_rules({(fact.rule, fact.version) for fact in facts})
        if state.early is not None and not await state.early.recall(facts):
            return  # whoever has the partition now reads this run again
        await self.hand_over(await self._judge(state, facts), generation)

    async def _judge(self, state: Correlate, facts: Sequence[FactRun]) -> Correlated:
        """Put facts of rules that are loaded into windows that are there."""
        async with self.exclusive:
            started = self._stages.clock.monotonic()
            result = state.work(facts)
            self._stages.metrics.rule_seconds.labels("windows").inc(self._stages.clock.monotonic() - started)
        return result

    async def _wait_for_rules(self, versions: set[tuple[str, int]]) -> None:
        """Windows that do not know a rule lose its facts: wait until it is loaded here too, but not for ever."""
        started = self._stages.clock.monotonic()
        while ahead := [each for each in versions - self._unheard if self._stages.is_ahead(*each)]:
            if self._stages.clock.monotonic() - started >= RULES_PATIENCE:
                log.error("facts of rules that this worker has not got are left out of its windows: %s", sorted(ahead))
                self._unheard.update(ahead)
            await asyncio.sleep(RULES_POLL)

    async def hand_over(self, result: Correlated, generation: int | None = None) -> None:
        """Send what facts, or a restart, led to; not if the partitions were lost since the `generation` of the work."""
        await self._go_on(Onward.of_correlated(result), generation)

    async def _alerts(self, run: Run, generation: int) -> None:
        state = await self._stages.handle.get(run.partition)
        await self._hand_on(state.alerts(_rows(run, ALERTS)), generation)

    async def _commands(self, run: Run, generation: int) -> None:
        state = await self._stages.handle.get(run.partition)
        commands = [command for record in run.records for command in _readable(COMMANDS, record.value)]
        await self._hand_on(state.commands(commands), generation)

    async def _hand_on(self, handled: Handled, generation: int) -> None:
        await self._go_on(Onward.of_handled(handled), generation)

    async def _go_on(
        self,
        onward: Onward,
        generation: int | None,
        send_more: Callable[[], Awaitable[list[Awaitable[Any]]]] | None = None,
    ) -> bool:
        """Work at once what can be, and send the rest, and `send_more`, on its way. False as `_persist` says."""
        outbox, metrics = self._stages.outbox, self._stages.metrics
        if self._at_once is not None:
            await self._at_once.work(onward)

        async def send() -> list[Awaitable[Any]]:
            queued = await outbox.rows(TopicName.FACTS, FACTS, onward.facts)
            queued += await outbox.rows(TopicName.ALERTS, ALERTS, onward.alerts)
            queued += await outbox.rows(TopicName.DELIVERIES, NOTICES, onward.notices)
            if send_more is not None:
                queued += await send_more()
            return queued + await outbox.records(onward.records)

        if not await self._persist(send, generation):
            return False
        for result in onward.correlated:
            for (rule, severity), count in result.raised.items():
                metrics.alerts.labels(rule, severity).inc(count)
            for rule, count in result.late.items():
                metrics.late_facts.labels(rule).inc(count)
            for rule, count in result.limited.items():
                metrics.limited.labels(rule).inc(count)
        return True

    def _under_way(self) -> bool:
        """Whether there are facts or alerts on the topics that were sent and are not worked."""
        ends = {place: end for place, end in self._stages.outbox.ends.items() if place[0] in ONWARD}
        if not ends:
            return False
        worked = self.positions()
        return any(worked.get(place, 0) < end for place, end in ends.items())

    async def _deliver(self, run: Run, generation: int) -> None:
        if self._stages.recall is not None:
            # One that was tried elsewhere goes on from there: begun anew, what becomes of it would look older than what
            # is recorded, and it would stay pending for ever.
            await self._stages.recall(run.partition)
            if generation != self.generation:
                return  # whoever has the partition now reads this run again, and sends what it tells of
        records = self._stages.deliver(_rows(run, NOTICES))
        await self._persist(lambda: self._stages.outbox.records(records), generation)

    async def _persist(self, send: Callable[[], Awaitable[list[Awaitable[Any]]]], generation: int | None) -> bool:
        """Send until the broker has everything: what is sent twice has the same ids. False, and nothing is sent, when
        the partitions were lost since the work began: whoever has them now does it again."""
        self._in_hand += 1
        try:
            return await self._send(send, generation)
        finally:
            self._in_hand -= 1

    async def _send(self, send: Callable[[], Awaitable[list[Awaitable[Any]]]], generation: int | None) -> bool:
        while True:
            lease = self._lease
            if lease is not None and generation is not None and not await lease.still_ours(generation):
                log.warning("this worker was away too long and lost its partitions: what it was at is done elsewhere")
                return False
            try:
                await self._stages.outbox.settle(await send())
            except UnavailableError as error:
                log.warning("the broker did not take a stage's output, trying again: %s", error)
                await asyncio.sleep(RETRY_PAUSE)
            else:
                return True


def _each(work: Callable[[Run, int], Awaitable[None]]) -> Work:
    """Run after run."""

    async def works(runs: Sequence[Run], generation: int) -> None:
        for run in runs:
            await work(run, generation)

    return works


def _rows(run: Run, codec: Codec[Any]) -> list[Any]:
    rows: list[Any] = []
    for record in run.records:
        rows.extend(_readable(codec, record.value))
    return rows


def _readable(codec: Codec[Any], frame: bytes | None) -> Sequence[Any]:
    try:
        return codec.decode(frame)
    except InputError:
        log.exception("a frame on an internal topic cannot be read; another program or version wrote it")
        return ()
