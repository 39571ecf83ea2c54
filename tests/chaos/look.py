"""What is there in the end: the records that Kafka has, the rows of the store, and what the receiver took."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from jianguan.errors import UnavailableError
from jianguan.wiring.positions import GroupPositions
from jianguan.wiring.takeover import READ
from sinks.server import ServerStore
from streams.topics import SOURCES
from tests.chaos.oracle import Kept
from tests.chaos.receiver import Got
from tests.cluster.system import Cluster

_TABLES: Final = ("events", "facts", "alerts", "cases", "tasks", "deliveries")
_TOLD: Final = ("raised", "opened", "assigned", "delivered")


async def kept(bootstrap: str, prefix: str, partitions: int) -> list[Kept]:
    """Everything on the source topics, partition by partition, in order."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        places = [TopicPartition(topic.under(prefix), each) for topic in SOURCES for each in range(partitions)]
        ends = await consumer.end_offsets(places)
        consumer.assign(places)
        await consumer.seek_to_beginning()
        found: list[Kept] = []
        while [place for place in places if await consumer.position(place) < ends[place]]:
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                name = f"{place.topic}/{place.partition}"
                found += [
                    Kept(place.topic.removeprefix(prefix), f"{name}/{each.offset}", tuple(each.headers),
                         each.timestamp, each.value or b"")
                    for each in records
                ]  # fmt: skip
        return found
    finally:
        await consumer.stop()


def stored(store: ServerStore) -> dict[str, frozenset[str]]:
    """What the store has, as `account` compares it."""

    def texts(query: str) -> frozenset[str]:
        return frozenset(" ".join(map(str, row)) for row in store.query(query))

    told = ", ".join([f"'{each}'" for each in _TOLD])
    steps = texts(f"SELECT DISTINCT subject, what FROM trace WHERE what IN ({told})")
    links = texts("SELECT DISTINCT subject, 'has', links[1] FROM trace WHERE what IN ('opened', 'joined')")
    return {
        **{table: texts(f"SELECT DISTINCT id FROM {table}") for table in _TABLES},
        "outcomes": texts("SELECT DISTINCT receipt, what FROM trace WHERE stage = 1"),
        "quarantine": texts("SELECT DISTINCT receipt FROM quarantine"),
        "late-for-rule": texts("SELECT DISTINCT subject FROM trace WHERE what = 'late-for-rule'"),
        "steps": steps | links,
    }


def pending(store: ServerStore) -> list[tuple[str, int]]:
    """Deliveries that were not taken yet, and when each is due (ms)."""
    rows = store.query("SELECT id, toUnixTimestamp64Milli(due_at) FROM deliveries FINAL WHERE state != 'delivered'")
    return [(str(identifier), int(due)) for identifier, due in rows]


def received(got: Sequence[Got]) -> dict[str, frozenset[str]]:
    """What the receiver took, and what must not be: a wrong signature, one id that tells of two things."""
    about: dict[str, set[str]] = {}
    for each in got:
        about.setdefault(each.id, set()).add(f"{each.path} {each.about}")
    return {
        "received": frozenset(each.id for each in got if not each.wrong),
        "badly-signed": frozenset(f"{each.id} {each.wrong}" for each in got if each.wrong),
        "ids-of-two-things": frozenset(identifier for identifier, things in about.items() if len(things) > 1),
    }


class LagWatch:
    """Samples, in a thread of its own, how many records wait for the group; times are time.monotonic()."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True, name="lag")
        self.samples: list[tuple[float, int]] = []

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._thread.join(30)

    def recovered(self, since: float, most: int) -> float | None:
        """Seconds from `since` to the first sample after it with at most `most` records waiting."""
        return next((at - since for at, lag in self.samples if at >= since and lag <= most), None)

    def largest(self) -> int:
        """The most records that ever waited."""
        return max([lag for _, lag in self.samples], default=0)

    async def _run(self) -> None:
        one = self._cluster
        positions = GroupPositions(one.bootstrap, one.group, one.prefix, one.partitions)
        while not self._stop.is_set():
            try:
                committed: Mapping[Any, int] = await positions.committed(READ)
                ends = await positions.ends(READ)
            except UnavailableError:
                await asyncio.sleep(0.2)
                continue
            lag = sum([max(0, end - committed.get(place, 0)) for place, end in ends.items()])
            self.samples.append((time.monotonic(), lag))
            await asyncio.sleep(0.5)
        await positions.close()
