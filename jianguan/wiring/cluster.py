"""The cluster's two processes: workers with all stages, and dashboards with the pages and the API.

Both over Kafka and a ClickHouse server. Any number of each may run; workers share the partitions between them.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import timedelta
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from dashboards import Check, Health, LiveFeed
from jianguan import __version__
from jianguan.clock import Clock, to_millis
from jianguan.domain.delivery import Notice
from jianguan.domain.fact import FactRun
from jianguan.domain.ids import partition_of
from jianguan.errors import ConfigurationError, InputError, UnavailableError
from jianguan.metrics import Metrics
from jianguan.settings import Settings
from jianguan.wiring.broker import broker_of
from jianguan.wiring.outside import Outside
from jianguan.wiring.parts import CLUSTER_PARTITIONS, Parts, build_parts, faust_options, receivers_of, tune_memory
from jianguan.wiring.positions import GroupPositions
from jianguan.wiring.rule_changes import RuleChanges
from jianguan.wiring.rule_tools import StoredRuleRecord, StoredRuleTools
from jianguan.wiring.server_store import server_store
from jianguan.wiring.serving import WebServer
from jianguan.wiring.tables import load_tables
from jianguan.wiring.tail import Tail, read_tail
from jianguan.wiring.takeover import Takeover
from jianguan.wiring.watermark import GroupWatermark
from jianguan.wiring.web import build_web, health_of
from sinks.archive import SqlArchive
from sinks.webhooks.desk import REDELIVER
from streams.app import connected, create_app
from streams.broker import Broker, client_options
from streams.frames import FACTS, NOTICES, RECORDS
from streams.gateway import StreamGateway
from streams.outbox import Outbox
from streams.rulebook import RuleBook
from streams.topics import TopicName, all_topics, ensure_topics
from streams.transport.batch import App, transport_of
from streams.watchdog import Stuck, Watchdog

log = logging.getLogger(__name__)

MAINTAIN_EVERY: Final = 300.0
START_PATIENCE: Final = 120.0
RETRY_PAUSE: Final = 1.0
CRASH_POLL: Final = 1.0
RIGHTS_EVERY: Final = 10.0
LATELY_MS: Final = 120_000


def _require_cluster(settings: Settings) -> Broker:
    if settings.broker is None:
        raise ConfigurationError("set JIANGUAN_BROKER and JIANGUAN_STORE, or run `jianguan up` on one machine")
    return broker_of(settings)


async def _patiently(clock: Clock, what: str, attempt: Callable[[], Awaitable[Any]]) -> None:
    """Try until it works: in a cluster the parts start in any order."""
    deadline = clock.monotonic() + START_PATIENCE
    while True:
        try:
            await attempt()
        except UnavailableError as error:
            if clock.monotonic() > deadline:
                raise
            log.warning("%s is not there yet: %s", what, error)
            await asyncio.sleep(RETRY_PAUSE)
        else:
            return


class Worker:
    """All stages, over the partitions that the group gives to this process."""

    def __init__(self, settings: Settings, clock: Clock, metrics_port: int) -> None:
        self._broker = _require_cluster(settings)
        self._settings = settings
        self._clock = clock
        self._metrics_port = metrics_port
        self._metrics = Metrics(CollectorRegistry())
        ProcessCollector(registry=self._metrics.registry)
        self._store = server_store(settings)
        self._archive = SqlArchive(self._store, clock)
        self._partitions = settings.partitions or CLUSTER_PARTITIONS
        self._positions = GroupPositions(self._broker, settings.group, settings.topic_prefix, self._partitions)
        self._watermark = GroupWatermark(self._positions, clock)
        self._takeover = Takeover(self._store, clock, self._read_tail, self._watermark)
        self._tasks: list[asyncio.Task[Any]] = []
        self._denied = ""  # which rights are missing
        self._app: App = None
        self._parts: Parts | None = None
        self.stuck = asyncio.Event()  # set when the process should end, to be started again by its supervisor

    async def start(self) -> None:
        """Connect, create or check the topics, join the group."""
        settings, clock = self._settings, self._clock
        log.info("a worker of jianguan %s starts: group %s, broker %s", __version__, settings.group, self._broker)
        tables = await asyncio.to_thread(load_tables, settings, clock)
        # A wrong one is told before anything is waited for.
        receivers = await asyncio.to_thread(receivers_of, settings, tables.rules.departments)
        await _patiently(clock, "the store", lambda: asyncio.to_thread(self._store.start))
        record = StoredRuleRecord(self._store, self._archive)
        rulebook = RuleBook(tables.folders, tables.rules, clock, self._metrics, record, settings.rules_people)
        await asyncio.to_thread(rulebook.load)
        topics = all_topics(settings.topic_prefix, self._partitions, settings.replication)
        await _patiently(clock, "the broker", lambda: ensure_topics(self._broker, topics, group=settings.group))
        parts = self._parts = build_parts(
            settings,
            clock,
            self._metrics,
            tables,
            rulebook,
            self._store,
            self._archive,
            receivers,
            self._partitions,
            lambda records: None,
            self._latest_facts,
            oldest_replayed=self._watermark.reached,
            current=self._takeover.archive,
            admit=self._takeover.admit,
            recall=self._takeover.recall,
        )
        self._takeover.begin(parts)
        self._app = create_app(faust_options(settings, embedded=False)(self._broker))
        parts.pipeline.attach(self._app)
        self._app.on_partitions_assigned.connect(self._takeover.assigned)
        self._serve_metrics()
        parts.pipeline.start()
        await connected(self._app.start)
        watchdog = Watchdog(
            self._app, clock, self._on_stuck, self._metrics.stuck, self._metrics.lag, held=parts.pipeline.held
        )
        interval = settings.rules_reload / timedelta(seconds=1)
        changes = RuleChanges(parts.pipeline, parts.correlate, parts.restorer)
        self._tasks = [
            asyncio.create_task(watchdog.run(), name="watchdog"),
            asyncio.create_task(parts.desk.run(self._takeover.owns), name="deliveries"),
            asyncio.create_task(rulebook.watch(interval, changes.changed, changes.settled), name="rules"),
            asyncio.create_task(self._maintain(), name="maintenance"),
            asyncio.create_task(self._watermark.run(), name="watermark"),
            asyncio.create_task(self._watch_rights(), name="rights"),
            asyncio.create_task(self._watch_app(), name="crashes"),
        ]
        tune_memory()

    async def stop(self) -> None:
        """Leave the group, finish what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._app is not None:
            await self._app.stop()
        await self._takeover.stop()
        await self._positions.close()
        if self._parts is not None:
            await self._parts.pipeline.stop()
            await self._parts.sender.close()
        await asyncio.to_thread(self._store.close)

    def _serve_metrics(self) -> None:
        if not self._metrics_port:
            return
        try:
            start_http_server(self._metrics_port, self._settings.host, self._metrics.registry)
        except OSError as error:
            raise ConfigurationError(
                f"{self._settings.host}:{self._metrics_port} cannot be used for metrics: {error.strerror}; give each"
                " worker of a machine a port of its own with --metrics-port, or 0 for none"
            ) from error

    async def _read_tail(self) -> Tail:
        return await read_tail(self._broker, self._settings.topic_prefix, self._positions)

    async def _latest_facts(self, partitions: Collection[int]) -> AsyncIterator[tuple[int, FactRun]]:
        """The facts that were sent lately: the records that tell of them may still have been on their way to the
        brokers when the tail of the records topic was read."""
        topic = TopicName.FACTS.under(self._settings.topic_prefix)
        since = to_millis(self._clock.now()) - LATELY_MS
        async for partition, value in _values(self._broker, topic, sorted(partitions), since):
            try:
                for run in FACTS.decode(value):
                    yield partition, run
            except InputError as error:
                log.error("a frame of facts cannot be read: %s", error)
            await asyncio.sleep(0)

    async def _watch_app(self) -> None:
        """A Faust app that has crashed goes on running and does nothing, and so does a worker without its tasks or
        those of its stages."""
        assert self._parts is not None
        while True:
            await asyncio.sleep(CRASH_POLL)
            failures = self._takeover.failures()
            if transport_of(self._app).namesake.found:
                failures.append(
                    f"another worker has the name {self._settings.worker_name} in the group {self._settings.group} and "
                    "takes its partitions away: give each a JIANGUAN_WORKER_NAME of its own"
                )
            if self._positions.refusal:
                # Its client would try again without end. A process that is started anew reads its password anew.
                failures.append(self._positions.refusal)
            if self._app.crashed:
                failures.append(f"the stages have crashed: {self._app.crash_reason!r}")
            failures += self._parts.pipeline.ended()
            failures += [f"{task.get_name()} has ended: {task.exception()!r}" for task in self._tasks if task.done()]
            if self._app.crashed and not self._denied:
                await self._ask_rights()  # the client crashes over some, sooner than they are asked for
            if self._denied:
                # Stages would try again without end. A process that is started anew hears it at its start.
                failures.insert(0, self._denied)
            if failures:
                break
        log.error("this worker ends, to be started again: %s", "; ".join(failures))
        self.stuck.set()

    async def _watch_rights(self) -> None:
        """The client does not tell a right that was taken away from a broker that is away."""
        while True:
            await self._ask_rights()
            await asyncio.sleep(RIGHTS_EVERY)

    async def _ask_rights(self) -> None:
        try:
            self._denied = await self._positions.denied()
        except UnavailableError as error:
            log.warning("%s", error)

    def _on_stuck(self, stuck: Sequence[Stuck]) -> None:
        # A store that takes nothing and a poisoned topic do not count as standing still (`held`).
        log.error("this worker stands still and ends, to be started again: %s", stuck[0])
        self.stuck.set()

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_EVERY)
            try:
                await asyncio.to_thread(self._store.maintain)
            except UnavailableError as error:
                log.warning("the store could not be tidied: %s", error)


async def _values(
    broker: Broker, topic: str, partitions: Sequence[int], since: int
) -> AsyncIterator[tuple[int, bytes | None]]:
    """Partition and value of what was sent at `since` (ms) or later, up to the ends as they are now."""
    consumer = AIOKafkaConsumer(**client_options(broker), group_id=None, enable_auto_commit=False, fetch_max_wait_ms=20)
    try:
        await consumer.start()
        places = [TopicPartition(topic, partition) for partition in partitions]
        ends = await consumer.end_offsets(places)
        starts = await consumer.offsets_for_times(dict.fromkeys(places, since))
        waiting = {place: ends[place] for place, start in starts.items() if start and start.offset < ends[place]}
        consumer.assign(list(waiting))
        for place in waiting:
            consumer.seek(place, starts[place].offset)
        while waiting:
            for place, records in (await consumer.getmany(timeout_ms=200)).items():
                for record in records:
                    if record.offset < ends[place]:
                        yield place.partition, record.value
            for place in [place for place, end in waiting.items() if await consumer.position(place) >= end]:
                del waiting[place]
    except (KafkaError, OSError) as error:
        raise UnavailableError(f"the facts topic cannot be read: {error!r}") from error
    finally:
        await consumer.stop()


class _PlainProducer:
    """aiokafka's producer with the one method of Faust's that an Outbox calls, for a process without Faust."""

    def __init__(self, broker: Broker | str) -> None:
        self._kafka = AIOKafkaProducer(**client_options(broker), acks="all", max_request_size=4_194_304)

    @property
    def producer(self) -> _PlainProducer:
        """As `app.producer`."""
        return self

    async def start(self) -> None:
        await connected(self._kafka.start)

    async def stop(self) -> None:
        await self._kafka.stop()

    async def send(
        self, topic: str, key: bytes, value: bytes, partition: int, timestamp: float | None, headers: list[Any]
    ) -> Awaitable[Any]:
        """Queue one record."""
        sent: Awaitable[Any] = await self._kafka.send(
            topic, value, key=key or None, partition=partition, headers=headers
        )
        return sent


class DashboardsProcess:
    """Pages, API and intake, without stages: what is new comes from the records topic."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._broker = _require_cluster(settings)
        self._settings = settings
        self._clock = clock
        self._metrics = Metrics(CollectorRegistry())
        ProcessCollector(registry=self._metrics.registry)
        self._store = server_store(settings)
        self._archive = SqlArchive(self._store, clock)
        self._partitions = settings.partitions or CLUSTER_PARTITIONS
        self._live = LiveFeed(clock)
        self._web = WebServer(settings.host, settings.port, settings.trusted_proxies)
        self._producer: _PlainProducer | None = None
        self._tools: StoredRuleTools | None = None
        self._outbox = Outbox(settings.topic_prefix, self._partitions)
        self._outside = Outside(settings, self._broker, self._partitions)
        self._tasks: list[asyncio.Task[None]] = []
        self._failure = ""

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self._web.url

    async def start(self) -> None:
        """Connect and serve."""
        settings, clock = self._settings, self._clock
        self._web.bind()
        log.info("the pages of jianguan %s start: broker %s", __version__, self._broker)
        tables = await asyncio.to_thread(load_tables, settings, clock)
        await _patiently(clock, "the store", lambda: asyncio.to_thread(self._store.start))
        record = StoredRuleRecord(self._store, self._archive)
        rulebook = RuleBook(tables.folders, tables.rules, clock, self._metrics, record, settings.rules_people)
        await asyncio.to_thread(rulebook.load)
        topics = all_topics(settings.topic_prefix, self._partitions, settings.replication)
        await _patiently(clock, "the broker", lambda: ensure_topics(self._broker, topics, group=settings.group))
        self._producer = _PlainProducer(self._broker)
        await self._producer.start()
        self._outbox.attach(self._producer)
        gateway = StreamGateway(self._outbox, clock, self._partitions, secrets.token_hex(8))
        gateway.open()
        max_age = int(settings.max_age / timedelta(milliseconds=1))
        tools = self._tools = StoredRuleTools(
            self._archive, record, rulebook, tables.rules, clock, max_age, settings.rules_people
        )
        app = build_web(
            settings,
            clock,
            self._metrics.registry,
            tables,
            self._archive,
            gateway,
            self._live,
            rulebook,
            self._health,
            self._redeliver,
            self._outbox.emit,
            tools,
        )
        await self._web.start(app)
        interval = settings.rules_reload / timedelta(seconds=1)
        self._tasks = [
            asyncio.create_task(self._follow(), name="follow"),
            asyncio.create_task(rulebook.watch(interval, _nothing), name="rules"),
            asyncio.create_task(self._outside.run(), name="outside"),
        ]

    async def stop(self) -> None:
        """Stop serving."""
        self._live.close()
        if self._tools is not None:
            self._tools.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._web.stop()
        if self._producer is not None:
            await self._producer.stop()
        await self._outside.close()
        await asyncio.to_thread(self._store.close)

    def _health(self) -> Health:
        ended = [
            f"{task.get_name()} has ended: {task.exception()!r}"
            for task in self._tasks
            if task.done() and not task.cancelled()
        ]
        checks = dict(health_of({"live": [self._failure] if self._failure else [], "tasks": ended}).checks)
        for part, failure in self._outside.failures.items():
            # Events are taken in without the store, and a proxy that goes by readiness must not turn them away.
            checks[part] = Check(not failure, failure, needed=part != "store")
        return Health(checks)

    async def _redeliver(self, identifier: str) -> bool:
        history = await asyncio.to_thread(self._archive.history, identifier)
        found = next((each for each in history.deliveries if each.id == identifier), None) if history else None
        if found is None:
            return False
        notice = Notice(
            id=found.notice,
            department=found.department,
            kind=REDELIVER,
            about=found.id,
            case=found.case,
            created_at=to_millis(self._clock.now()),
            received_at=0,
            body=msgspec.json.encode(found).decode(),
        )
        partition = partition_of(notice.department, self._partitions)
        await self._outbox.settle(await self._outbox.rows(TopicName.DELIVERIES, NOTICES, {partition: [notice]}))
        return True

    async def _follow(self) -> None:
        """Tell the live pages what the stages record, from now on."""
        topic = TopicName.RECORDS.under(self._settings.topic_prefix)
        while True:
            consumer = AIOKafkaConsumer(
                topic, **client_options(self._broker), group_id=None, auto_offset_reset="latest", fetch_max_wait_ms=50
            )
            try:
                await consumer.start()
                self._failure = ""
                async for record in consumer:
                    try:
                        self._live.observe(RECORDS.decode(record.value))
                    except InputError as error:
                        log.error("a frame of records cannot be read: %s", error)
            except KafkaError as error:
                self._failure = f"the records topic cannot be followed: {error}"
                log.warning("%s; trying again", self._failure)
                await asyncio.sleep(RETRY_PAUSE)
            finally:
                await consumer.stop()


async def _nothing(_: object) -> None:
    return
