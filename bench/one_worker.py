"""One worker as benchmarks measure it: all five stages and the embedded store in this process, on a given broker."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from jianguan.clock import SystemClock
from jianguan.columns import Columns
from jianguan.domain.trace import Records, Step
from jianguan.metrics import Metrics
from jianguan.ports import Store
from jianguan.settings import load_settings
from jianguan.wiring.parts import EMBEDDED_PARTITIONS, build_parts, faust_options, tune_memory
from jianguan.wiring.tables import load_tables
from sinks.archive import SqlArchive
from sinks.embedded import EmbeddedStore
from streams.app import create_app
from streams.rulebook import RuleBook
from streams.transport.batch import transport_of
from streams.transport.ends import end_offsets


class Worker:
    """Takes what is on the source topics into the store. `opened`, `start`, `stop`, in this order, once."""

    def __init__(
        self, folder: Path, partitions: int = EMBEDDED_PARTITIONS, store: Callable[[Store], Store] = lambda store: store
    ) -> None:
        """`store` may put something before the store that the record stage writes to."""
        self._clock = SystemClock()
        self._settings = load_settings(data=folder / "data")
        self._partitions = partitions
        self._before = store
        self.metrics = Metrics(CollectorRegistry())
        self.store = EmbeddedStore(self._settings.data / "store")
        self.outcomes: Counter[str] = Counter()  # of events that the store has
        self.by_partition: Counter[str] = Counter()  # the same, by the partition of the source topic, of several
        self.rows: Counter[str] = Counter()
        self.grown = asyncio.Event()  # set whenever the store got something

    async def opened(self) -> Worker:
        """Load the rules, open the store, join the stages."""
        tables = load_tables(self._settings, self._clock)
        rulebook = RuleBook(tables.folders, tables.rules, self._clock, self.metrics)
        rulebook.load()
        self.store.start()
        archive = SqlArchive(self.store, self._clock)
        self._parts = build_parts(
            self._settings, self._clock, self.metrics, tables, rulebook, self._before(self.store), archive, (),
            self._partitions, self._observe, alone=True,
        )  # fmt: skip
        self._parts.early.begin(range(self._partitions))
        for partition in range(self._partitions):
            await self._parts.correlate.get(partition)
            await self._parts.handle.get(partition)
        await self._parts.early.complete()
        return self

    async def start(self, broker: str) -> None:
        """Begin to take records."""
        self._broker = broker
        self._app = create_app(faust_options(self._settings, embedded=True)(broker))
        self._parts.pipeline.attach(self._app)
        tune_memory()
        self._parts.pipeline.start()
        await self._app.start()

    async def stop(self) -> None:
        """End in order, and close the store."""
        await self._app.stop()
        await self._parts.pipeline.stop()
        self.store.close()

    async def through(self) -> None:
        """Until every stage has done all that is on its topic: what was stored may still lead to alerts."""
        while True:
            if await self._is_through():
                return
            await asyncio.sleep(0.5)

    async def _is_through(self) -> bool:
        topics = sorted(transport_of(self._app).batch_topics)
        places = [TopicPartition(topic, number) for topic in topics for number in range(self._partitions)]
        there = await end_offsets(places, bootstrap_servers=self._broker)
        prefix = self._settings.topic_prefix
        ends = self._parts.pipeline.ends()
        ends.update({(place.topic.removeprefix(prefix), place.partition): end for place, end in there.items()})
        worked = self._parts.pipeline.positions()
        return all(worked.get(place, 0) >= end for place, end in ends.items())

    @property
    def stored(self) -> int:
        """How many records of the source topics the store has an outcome of."""
        return self.outcomes.total()

    @property
    def waiting(self) -> int:
        """How many runs of records wait for the store."""
        return self._parts.pipeline.waiting

    @property
    def limited(self) -> int:
        """How often a key had more facts than its rule keeps."""
        return int(
            sum(
                sample.value
                for each in self.metrics.limited.collect()
                for sample in each.samples
                if sample.name.endswith("_total")
            )
        )

    def _observe(self, records: Records | Columns) -> None:
        if isinstance(records, Columns):
            self.rows.update({name: table.num_rows for name, table in records.tables.items()})
            trace = records.tables.get("trace")
            steps = () if trace is None else zip(*(trace.column(name).to_pylist() for name in _READ), strict=True)
            found = [(what, receipt) for what, stage, receipt in steps if stage == 1]
        else:
            self.rows.update({name: len(getattr(records, name)) for name in ("facts", "alerts")})
            found = [(step.what, step.receipt) for step in records.trace if step.stage == 1]
        self.outcomes.update([what for what, _ in found])
        if self._partitions > 1:  # of a single one it would say nothing, and cost what is measured
            self.by_partition.update([receipt.split("/")[1] for _, receipt in found])
        self.grown.set()


_READ = ("what", "stage", "receipt")
assert set(_READ) <= set(Step._fields)
