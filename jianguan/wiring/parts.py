"""Joins the five stages of a worker. Nothing is started here."""

from __future__ import annotations

import asyncio
import difflib
import gc
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import pyarrow as pa

from jianguan.clock import Clock
from jianguan.columns import Columns
from jianguan.domain.trace import Records
from jianguan.errors import ConfigurationError, SourceError
from jianguan.metrics import Metrics
from jianguan.ports import Archive, Store
from jianguan.settings import Settings
from jianguan.wiring.early import EarlyWindows
from jianguan.wiring.restore import LatestFacts, Restorer
from jianguan.wiring.tables import Tables
from rules.departments import Departments
from rules.sampling import ConditionTimes
from sinks.webhooks.desk import DeliveryDesk
from sinks.webhooks.receivers import Receiver, load_receivers
from sinks.webhooks.retry import RetryPolicy
from sinks.webhooks.schedule import DeliverySchedule
from sinks.webhooks.sender import WebhookSender
from streams.app import FaustOptions
from streams.broker import Broker
from streams.correlate import Correlate
from streams.handle import Handle
from streams.ingest import Ingest
from streams.outbox import Outbox
from streams.owned import Owned
from streams.record import Recorder
from streams.rulebook import RuleBook
from streams.seen import SeenEvents
from streams.stages import Stages
from streams.topology import Pipeline
from streams.transport.options import BatchOptions

log = logging.getLogger(__name__)

EMBEDDED_PARTITIONS: Final = 1
CLUSTER_PARTITIONS: Final = 8
GC_THRESHOLD: Final = 400_000  # containers made and not yet gone: about a fifth of the whole path less than at 50,000
# Seconds. It is by a heartbeat too that a worker hears of partitions that are to be shared out anew.
LONGEST_HEARTBEAT: Final = 3.0


@dataclass(slots=True)
class Parts:
    """What a worker is made of."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    tables: Tables
    rulebook: RuleBook
    store: Store
    archive: Archive
    outbox: Outbox
    pipeline: Pipeline
    correlate: Owned[Correlate]
    handle: Owned[Handle]
    desk: DeliveryDesk
    sender: WebhookSender
    seen: SeenEvents
    restorer: Restorer
    early: EarlyWindows
    partitions: int


def build_parts(
    settings: Settings,
    clock: Clock,
    metrics: Metrics,
    tables: Tables,
    rulebook: RuleBook,
    store: Store,
    archive: Archive,
    receivers: Sequence[Receiver],
    partitions: int,
    observe: Callable[[Records | Columns], None],
    latest_facts: LatestFacts | None = None,
    *,
    alone: bool = False,
    oldest_replayed: Callable[[], Awaitable[int | None]] | None = None,
    current: Callable[[], Awaitable[Archive]] | None = None,
    admit: Callable[[int], Awaitable[None]] | None = None,
    recall: Callable[[int], Awaitable[None]] | None = None,
) -> Parts:
    """Join the stages. Nothing is started; the store and the rule book are."""
    recorder = Recorder(
        store,
        clock,
        metrics,
        rows=settings.store_batch,
        linger=settings.store_linger / timedelta(seconds=1),
        observe=observe,
    )
    outbox = Outbox(settings.topic_prefix, partitions, recorder.take if alone else None)
    sender = WebhookSender(clock)
    schedule = DeliverySchedule(RetryPolicy(), random.Random())  # noqa: S311 - jitter, not a secret
    desk = DeliveryDesk(receivers, schedule, sender, clock, outbox.emit, metrics)
    seen = SeenEvents(settings.seen_events)
    ingest = Ingest(
        tables.codes,
        rulebook.matcher,
        seen,
        clock,
        partitions=partitions,
        max_age_ms=int(settings.max_age / timedelta(milliseconds=1)),
        prefix=settings.topic_prefix,
    )
    max_age = int(settings.max_age / timedelta(milliseconds=1))
    restorer = Restorer(
        archive, rulebook, tables, clock, partitions, latest_facts, max_age=max_age, warm=settings.rules_warm,
        current=current,
    )  # fmt: skip
    exclusive = asyncio.Lock()
    early = EarlyWindows(restorer, clock, metrics.restoring, exclusive, alone=alone, oldest=oldest_replayed)
    correlate = Owned(early.correlate)
    handle = Owned(restorer.handle)
    stages = Stages(
        ingest=ingest,
        correlate=correlate,
        handle=handle,
        deliver=desk.accept,
        recorder=recorder,
        outbox=outbox,
        clock=clock,
        metrics=metrics,
        prefix=settings.topic_prefix,
        partitions=partitions,
        alone=alone,
        admit=admit,
        recall=recall,
        is_ahead=rulebook.is_ahead,
        oldest_replayed=oldest_replayed,
        conditions=ConditionTimes(rulebook.matcher, clock.monotonic),
    )
    return Parts(
        settings, clock, metrics, tables, rulebook, store, archive, outbox, Pipeline(stages, exclusive), correlate,
        handle, desk, sender, seen, restorer, early, partitions,
    )  # fmt: skip


def faust_options(settings: Settings, embedded: bool) -> Callable[[Broker | str], FaustOptions]:
    """Options of the Faust app, given the broker."""
    batch = BatchOptions(
        fetch_max_wait_ms=int(settings.fetch_wait / timedelta(milliseconds=1)), run_records=settings.run_records
    )

    def options(broker: Broker | str) -> FaustOptions:
        folder = settings.data / "faust"
        if embedded:
            return FaustOptions(settings.group, broker, folder, batch=batch)
        session = settings.session / timedelta(seconds=1)
        return FaustOptions(
            settings.group,
            broker,
            folder,
            name=settings.worker_name,
            session_timeout=session,
            heartbeat_interval=min(session / 10, LONGEST_HEARTBEAT),
            rebalance_timeout=60.0,
            request_timeout=max(40.0, session),
            batch=batch,
        )

    return options


def receivers_of(settings: Settings, departments: Departments) -> tuple[Receiver, ...]:
    """The configured receivers; none without a file. ConfigurationError for whatever is wrong with the file; one whose
    department there is not is warned of."""
    try:
        receivers = load_receivers(settings.receivers) if settings.receivers is not None else ()
    except SourceError as error:
        raise ConfigurationError(str(error)) from error
    for sentence in without_department(receivers, departments):
        log.warning("%s", sentence)
    return receivers


def without_department(receivers: Sequence[Receiver], departments: Departments) -> list[str]:
    """A sentence about each receiver whose department there is not: no task is ever that department's, so nothing would
    be sent, and nobody would miss it."""
    told = []
    for receiver in receivers:
        if receiver.department in departments:
            continue
        near = difflib.get_close_matches(receiver.department, departments.ids(), n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        told.append(
            f"the receiver {receiver.id} gets nothing: there is no department {receiver.department[:80]!r}{hint}"
        )
    return told


def tune_memory() -> None:
    """Leave what has been made so far out of garbage collection, and collect less often: a third on the hot path.

    Columns come and go with every run. Arrow's own allocator gives their pages back at once and has the kernel zero new
    ones for the next; the C library's keeps them.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    gc.collect()
    keep()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def keep() -> None:
    """Leave what has been made since then out as well. Not looked through first: that takes longer the more state was
    restored, and records wait."""
    gc.freeze()
