"""Notices a worker that has stopped working without having stopped.

Faust's consumers have several open reports of sticking: connected, assigned, and committing nothing. The
sign is always the same: the committed position stands still while there is something to read.
`Standstill` decides that, purely, from observations; `Watchdog` samples an app and reports.
What to do about it (restart the app, end the process) is the caller's; it must not know agents.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aiokafka.errors import KafkaError
from faust.exceptions import ConsumerNotStarted, FaustError
from prometheus_client import Counter, Gauge

from jianguan.clock import Clock
from jianguan.errors import ConfigurationError
from streams.transport.batch import App
from streams.transport.run import Place

log = logging.getLogger(__name__)


class Progress(NamedTuple):
    """Offsets: the next one to be read according to what is committed, and the one after the last record."""

    committed: int
    end: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """A partition that stands still. `seconds`: for how long; `lag`: how many offsets wait."""

    place: Place
    committed: int
    lag: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.place.topic}-{self.place.partition} stands at {self.committed} "
            f"for {self.seconds:.0f} s with {self.lag} records waiting"
        )


class _Standing(NamedTuple):
    committed: int
    since: float


class Standstill:
    """Which partitions have not moved for `patience` seconds although there was something to read.

    The time counts from the first observation that saw this position with lag. It begins anew when the
    position changes, when there is no lag, and when the partition was not observed (revoked) in between.
    """

    def __init__(self, patience: float) -> None:
        if not patience > 0:
            raise ConfigurationError(f"the watchdog's patience must be more than 0 seconds: {patience!r}")
        self._patience = patience
        self._standing: dict[Place, _Standing] = {}

    def observe(self, now: float, seen: Mapping[Place, Progress]) -> list[Stuck]:
        """Take in what holds at `now` (monotonic seconds); return all that are stuck, in order of place."""
        standing: dict[Place, _Standing] = {}
        stuck: list[Stuck] = []
        for place, (committed, end) in sorted(seen.items()):
            if end <= committed:
                continue
            before = self._standing.get(place)
            since = before.since if before is not None and before.committed == committed else now
            standing[place] = _Standing(committed, since)
            if now - since >= self._patience:
                stuck.append(Stuck(place, committed, end - committed, now - since))
        self._standing = standing
        return stuck


async def sample(app: App) -> dict[Place, Progress]:
    """Positions and ends of the partitions that `app` reads and commits; empty before it has any.

    A partition without a commit counts from its first record that still exists.
    """
    consumer = app.consumer
    try:
        assigned = [tp for tp in consumer.assignment() if app.topics.acks_enabled_for(tp.topic)]
    except ConsumerNotStarted:
        return {}
    known = {tp: consumer._committed_offset.get(tp) for tp in assigned}
    without = [tp for tp, committed in known.items() if committed is None]
    earliest = await consumer.earliest_offsets(*without) if without else {}
    seen: dict[Place, Progress] = {}
    for tp, committed in known.items():
        if tp not in consumer.assignment():  # revoked while we asked
            continue
        end = consumer.highwater(tp)
        if end is not None:
            seen[Place(tp.topic, tp.partition)] = Progress(earliest[tp] if committed is None else committed, end)
    return seen


class Watchdog:
    """Samples an app every `interval` seconds and reports each standstill once.

    `on_stuck` is called in the event loop with the partitions that have become stuck since the last sample.
    `stuck` counts them by label `topic`; `lag` holds the records that wait, by label `topic`. Partitions that are
    `held`, because it is not their turn, do not stand still.
    """

    def __init__(
        self,
        app: App,
        clock: Clock,
        on_stuck: Callable[[Sequence[Stuck]], None],
        stuck: Counter,
        lag: Gauge,
        patience: float = 60.0,
        interval: float = 5.0,
        held: Callable[[], Collection[Place]] = tuple,
    ) -> None:
        self._app = app
        self._held = held
        self._clock = clock
        self._on_stuck = on_stuck
        self._stuck = stuck
        self._lag = lag
        self._lags: dict[str, int] = {}
        self._interval = interval
        self._standstill = Standstill(patience)
        self._reported: set[tuple[Place, int]] = set()

    async def run(self) -> None:
        """Watch until cancelled. A broker that does not answer is no observation: who stood still goes on doing so."""
        while True:
            try:
                seen = await sample(self._app)
            except (KafkaError, FaustError, OSError, TimeoutError) as error:
                log.warning("it is not known how far the stages have come: %r", error)
            else:
                self.consider(seen)
            await asyncio.sleep(self._interval)

    def consider(self, seen: Mapping[Place, Progress]) -> None:
        """One observation, now."""
        held = self._held()
        free = {place: progress for place, progress in seen.items() if place not in held}
        stuck = self._standstill.observe(self._clock.monotonic(), free)
        lags = dict.fromkeys(self._lags, 0)  # others count what waits in partitions that were taken away
        for place, (committed, end) in seen.items():
            lags[place.topic] = lags.get(place.topic, 0) + max(end - committed, 0)
        self._lags = lags
        for topic, lag in lags.items():
            self._lag.labels(topic).set(lag)
        fresh = [one for one in stuck if (one.place, one.committed) not in self._reported]
        self._reported = {(one.place, one.committed) for one in stuck}
        if fresh:
            for one in fresh:
                log.error("%s", one)
                self._stuck.labels(one.place.topic).inc()
            self._on_stuck(fresh)
