"""The embedded system: broker, store, stages, pages and the simulated feed in one process tree on one machine."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry

from dashboards import Health, LiveFeed
from jianguan.clock import Clock, to_millis
from jianguan.columns import Columns
from jianguan.domain.trace import Records
from jianguan.embedded.demo import DemoFeed
from jianguan.embedded.inbox import DemoInbox
from jianguan.embedded.journal import Journal
from jianguan.embedded.system import EmbeddedSystem
from jianguan.errors import JianguanError, UnavailableError
from jianguan.metrics import Metrics
from jianguan.settings import Settings
from jianguan.wiring.early import EarlyWindows
from jianguan.wiring.folder import make_writable
from jianguan.wiring.parts import (
    EMBEDDED_PARTITIONS,
    Parts,
    build_parts,
    faust_options,
    keep,
    receivers_of,
    tune_memory,
)
from jianguan.wiring.restore import Recovered
from jianguan.wiring.rule_changes import RuleChanges
from jianguan.wiring.rule_tools import StoredRuleRecord, StoredRuleTools
from jianguan.wiring.serving import WebServer
from jianguan.wiring.tables import Tables, load_tables
from jianguan.wiring.web import build_web, health_of, raw_event, redeliverer
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from sinks.webhooks.signing import generate_secret
from streams.correlate import raise_again
from streams.gateway import StreamGateway
from streams.rulebook import RuleBook

log = logging.getLogger(__name__)

SERVER_FILE: Final = "server.json"
DEMO_FILE: Final = "demo.json"
MAINTAIN_EVERY: Final = 60.0
# Seconds that a stop may have taken when no more rows are written: what follows has to end within five.
WRITE_UNTIL: Final = 2.5
REMEMBER_DELIVERIES_MS: Final = 24 * 3_600_000


class EmbeddedApplication:
    """Everything that `jianguan up` runs. `start`, then `stop` once."""

    def __init__(self, settings: Settings, clock: Clock, *, demo: bool) -> None:
        self._settings = settings
        self._clock = clock
        self._demo = demo
        self._registry = CollectorRegistry()
        self._metrics = Metrics(self._registry)
        self._web = WebServer(settings.host, settings.port, settings.trusted_proxies)
        self._store = EmbeddedStore(settings.data / "store")
        self._archive = SqlArchive(self._store, clock)
        self._journal = Journal(settings.data / "journal")
        self._live = LiveFeed(clock)
        self._inbox = DemoInbox(clock, generate_secret(secrets.token_bytes))
        self._tasks: list[asyncio.Task[None]] = []
        self._partitions = settings.partitions or EMBEDDED_PARTITIONS
        self._stored = False
        self._recovered = Recovered([], [])
        # The oldest record that is read again, and until when came what may be on its way for long (ms).
        self._replayed: tuple[int, int] | None = None
        self._parts: Parts | None = None
        self._tools: StoredRuleTools | None = None
        self._gateway: StreamGateway | None = None
        self._system: EmbeddedSystem | None = None
        self._restoring: asyncio.Task[None] | None = None
        self._windows: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self._web.url

    @property
    def broker_pid(self) -> int | None:
        """The process id of the broker."""
        return self._system.broker_pid if self._system else None

    async def start(self) -> None:
        """Start everything; returns when records flow. A failure leaves nothing running."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self._settings
        self._web.bind()
        await asyncio.to_thread(make_writable, settings.data, option=True)
        tables = await asyncio.to_thread(load_tables, settings, self._clock)
        await asyncio.to_thread(self._open_store)
        record = StoredRuleRecord(self._store, self._archive)
        rulebook = RuleBook(tables.folders, tables.rules, self._clock, self._metrics, record, settings.rules_people)
        await asyncio.to_thread(rulebook.load)
        max_age = int(settings.max_age / timedelta(milliseconds=1))
        tools = self._tools = StoredRuleTools(
            self._archive, record, rulebook, tables.rules, self._clock, max_age, settings.rules_people
        )
        receivers = receivers_of(settings, tables.rules.departments)
        if self._demo and not receivers:
            await self._inbox.start()
            receivers = self._inbox.receivers([each.id for each in tables.rules.departments])
        parts = self._parts = build_parts(
            settings,
            self._clock,
            self._metrics,
            tables,
            rulebook,
            self._store,
            self._archive,
            receivers,
            self._partitions,
            self._observe,
            alone=True,
            oldest_replayed=self._oldest_on_its_way,
        )
        gateway = self._gateway = StreamGateway(
            parts.outbox, self._clock, self._partitions, secrets.token_hex(8), self._journal
        )
        system = self._system = EmbeddedSystem(
            settings.data,
            parts.pipeline,
            parts.outbox,
            gateway,
            self._journal,
            faust_options(settings, embedded=True),
            self._clock,
            self._metrics,
            prefix=settings.topic_prefix,
            partitions=self._partitions,
            broker_memory=settings.broker_memory,
            rebuild=lambda: self._rebuild(parts),
            resume=lambda: self._resume(parts),
        )
        await self._serve(tables, gateway, parts, system, tools)
        tune_memory()
        self._restoring = asyncio.create_task(self._restore(parts), name="restore")
        parts.pipeline.start()
        await system.start()
        self._spawn(parts.desk.run(), "deliveries")
        self._spawn(self._maintain(), "maintenance")
        changes = RuleChanges(parts.pipeline, parts.correlate, parts.restorer)
        interval = settings.rules_reload / timedelta(seconds=1)
        self._spawn(rulebook.watch(interval, changes.changed, changes.settled), "rules")
        if self._demo:
            self._spawn(self._feed(gateway), "demo")
        keep()

    async def stop(self) -> None:
        """Stop taking records, let what is under way reach the store, end everything. Safe to call after a failure.

        A part that does not end in its time is named and left behind: what was acknowledged is on disk.
        """
        began = self._clock.monotonic()
        self._live.close()
        if self._tools is not None:
            self._tools.stop()
        tasks, self._tasks = self._tasks, []
        if self._restoring is not None:
            tasks.append(self._restoring)
        for task in tasks:
            task.cancel()
        parts = self._parts
        if parts is not None:
            await self._end_windows(parts)
        steps: list[tuple[str, float, Callable[[], Awaitable[object]]]] = [
            ("tasks", 0.5, lambda: asyncio.gather(*tasks, return_exceptions=True)),
            ("pages", 1.5, self._web.stop),
        ]
        if self._system is not None:
            steps.append(("stages and broker", 3.0, self._system.stop))
        if parts is not None:
            pipeline = parts.pipeline
            # Not all of it is in the journal: what an operator did, and what became of deliveries, is nowhere else.
            steps.append(("rows", WRITE_UNTIL, lambda: pipeline.drain(began + WRITE_UNTIL - self._clock.monotonic())))
            steps.append(("recorder", 0.5, pipeline.stop))
            steps.append(("webhooks", 0.5, parts.sender.close))
        steps.append(("demo inbox", 0.5, self._inbox.stop))
        if self._stored:
            steps.append(("journal", 1.0, lambda: asyncio.to_thread(self._journal.close)))
            steps.append(("store", 2.0, lambda: asyncio.to_thread(self._store.close)))
        for name, limit, step in steps:
            await _ended(name, limit, step)
        if self._stored:
            with suppress(FileNotFoundError):
                (self._settings.data / SERVER_FILE).unlink()

    def _open_store(self) -> None:
        self._store.start()
        self._stored = True
        self._journal.open()

    async def _serve(
        self, tables: Tables, gateway: StreamGateway, parts: Parts, system: EmbeddedSystem, tools: StoredRuleTools
    ) -> None:
        app = build_web(
            self._settings,
            self._clock,
            self._registry,
            tables,
            self._archive,
            gateway,
            self._live,
            parts.rulebook,
            lambda: self._health(parts, system),
            redeliverer(self._archive, parts.desk),
            parts.outbox.emit,
            tools,
        )
        await self._web.start(app)
        server = {"url": self._web.url, "pid": os.getpid()}
        await asyncio.to_thread(_replace, self._settings.data / SERVER_FILE, json.dumps(server))

    async def _restore(self, parts: Parts) -> None:
        """What only a new process has lost: which events were seen, which deliveries are under way or done."""
        await asyncio.to_thread(lambda: parts.seen.restore(self._archive.seen_events(self._settings.seen_events)))
        since = to_millis(self._clock.now()) - REMEMBER_DELIVERIES_MS
        finished = await asyncio.to_thread(lambda: list(self._archive.finished_deliveries(since)))
        parts.desk.restore(await asyncio.to_thread(lambda: list(self._archive.pending_deliveries())), finished)

    async def _rebuild(self, parts: Parts) -> None:
        """All cases from the store, and what a crash may have cut off. Nothing flows meanwhile. Windows follow while
        records flow."""
        await self._end_windows(parts)
        parts.pipeline.keep_only(set())
        await self._find_cut_off(parts)
        stored = await asyncio.to_thread(self._archive.last_received)
        parts.early.begin(range(self._partitions), stored=stored)
        parts.restorer.expect(set(range(self._partitions)))
        for partition in range(self._partitions):
            await parts.correlate.get(partition)
            await parts.handle.get(partition)
        self._windows = asyncio.create_task(self._restore_windows(parts.early), name="windows")
        self._windows.add_done_callback(_report)

    async def _restore_windows(self, early: EarlyWindows) -> None:
        await early.complete(self._windows_there)
        keep()

    def _windows_there(self) -> None:
        """What was received until now may have waited for windows: the clock must not go ahead of it."""
        now = to_millis(self._clock.now())
        self._replayed = now if self._replayed is None else self._replayed[0], now

    async def _end_windows(self, parts: Parts) -> None:
        """Restore no more windows."""
        if self._windows is not None:
            parts.early.abandon()
            self._windows.cancel()
            await asyncio.gather(self._windows, return_exceptions=True)

    async def _find_cut_off(self, parts: Parts) -> None:
        """What a crash may have kept from the store, once it is known which events were seen."""
        assert self._restoring is not None
        await self._restoring
        oldest = await asyncio.to_thread(self._journal.oldest)
        self._replayed = None if oldest is None else (oldest, to_millis(self._clock.now()))
        self._recovered = await asyncio.to_thread(parts.restorer.recover, oldest)

    async def _resume(self, parts: Parts) -> None:
        missing, stored = self._recovered
        now = to_millis(self._clock.now())
        await parts.pipeline.hand_over(raise_again(missing, stored, now, self._partitions, parts.rulebook.follow))
        await parts.outbox.emit(parts.desk.told())
        if missing or stored:
            log.info("after the restart %d alerts were raised and %d handed on again", len(missing), len(stored))
        self._recovered = Recovered([], [])

    async def _oldest_on_its_way(self) -> int | None:
        """When the oldest record was received that the stages do not have yet, though the clock has gone on: one that a
        restart reads again, or one that waits until it is let in."""
        replayed = await self._oldest_replayed()
        waiting = None if self._gateway is None else self._gateway.oldest_waiting()
        return min([each for each in (replayed, waiting) if each is not None], default=None)

    async def _oldest_replayed(self) -> int | None:
        """When the oldest record was received that a restart reads again and that is not through; None once all are."""
        if self._replayed is not None:
            try:
                oldest = await asyncio.to_thread(self._journal.oldest)
            except FileNotFoundError:  # a segment was dropped meanwhile
                return self._replayed[0]
            if oldest is not None and oldest <= self._replayed[1]:
                return oldest
            self._replayed = None
        return None

    def _observe(self, records: Records | Columns) -> None:
        self._live.observe(records)

    def _health(self, parts: Parts, system: EmbeddedSystem) -> Health:
        ended = [
            f"{task.get_name()} has ended: {task.exception()!r}"
            for task in self._tasks
            if task.done() and not task.cancelled()
        ]
        windows = self._windows
        if windows is not None and windows.done() and not windows.cancelled() and windows.exception() is not None:
            ended.append(f"the windows cannot be restored: {windows.exception()!r}")
        return health_of(
            {
                "broker": system.failures(),
                "journal": self._journal.failures(),
                "stages": [*parts.pipeline.failures(), *ended],
                "rules": [parts.rulebook.error] if parts.rulebook.error else [],
            }
        )

    async def _maintain(self) -> None:
        while True:
            await asyncio.sleep(MAINTAIN_EVERY)
            try:
                await asyncio.to_thread(self._store.maintain)
            except UnavailableError as error:
                log.warning("the store could not be tidied: %s", error)

    async def _feed(self, gateway: StreamGateway) -> None:
        """Send the simulated feed, continuing where the last run stopped."""
        path = self._settings.data / DEMO_FILE
        position = await asyncio.to_thread(_read_position, path)
        feed = DemoFeed(self._settings.demo_seed, self._clock.now(), position, self._settings.demo_rate)
        started = self._clock.monotonic()
        for offset, event in feed:
            pause = offset - (self._clock.monotonic() - started)
            if pause > 0:
                await asyncio.sleep(pause)
            try:
                await gateway.submit([raw_event(event, "demo")])
            except UnavailableError as error:
                log.warning("the simulated feed lost an event: %s", error)
            await asyncio.to_thread(_replace, path, json.dumps({"position": feed.position}))

    def _spawn(self, work: object, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)  # type: ignore[arg-type]
        task.add_done_callback(_report)
        self._tasks.append(task)


async def _ended(name: str, limit: float, step: Callable[[], Awaitable[object]]) -> None:
    try:
        async with asyncio.timeout(limit):
            await step()
    except TimeoutError:
        log.warning("%s did not end within %g s and are left behind; nothing acknowledged is lost", name, limit)
    except (JianguanError, OSError, RuntimeError):
        log.exception("%s did not end in order", name)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s has ended: %r", task.get_name(), error, exc_info=error)


def _read_position(path: Path) -> int:
    try:
        return int(json.loads(path.read_text())["position"])
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError):
        log.warning("%s cannot be read; the simulated feed begins anew", path)
        return 0


def _replace(path: Path, text: str) -> None:
    """Write `path` whole or not at all."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)
