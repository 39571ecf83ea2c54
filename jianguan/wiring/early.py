"""Windows of the keys that facts come for, while those of all keys are still being restored.

A start or a takeover need not wait for a million stored facts: a fact needs the window of its own key only. So the
stage begins with windows of no key. Before facts are worked, the store is asked for what it has of their keys; beside
that, the windows of all keys are folded, and when they are there they are put behind the stage's own, which are more up
to date. The clock decides nothing before that, and rules whose windows are filled from history wait for it: what they
count is not stored as facts of a key.

A worker that is alone restores what was received before it began. All else comes by the topic, and nothing comes both
ways that the stage does not know of (`Correlate`, `known`). In a cluster others store facts all the time: what is
restored may come by the topic too, and raises its alert then.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from prometheus_client import Gauge

from jianguan.clock import Clock, to_millis
from jianguan.domain.alert import Alert
from jianguan.domain.fact import FactRun
from jianguan.errors import UnavailableError
from jianguan.wiring.recent import Recent
from jianguan.wiring.restore import OfKeys, Restorer
from jianguan.wiring.tasks import Shared, to_its_end
from rules.engine import Engine
from streams.correlate import Correlate

log = logging.getLogger(__name__)

RETRY_PAUSE: Final = 1.0  # seconds
_GIVE_WAY: Final = 3.0  # seconds in all

Keys = dict[tuple[str, int], set[str]]
"""Keys, by the id and the version of their rule."""


class Front:
    """The windows of one partition so far."""

    def __init__(self, partition: int, engine: Engine, load: Callable[[Front, Keys], Awaitable[None]]) -> None:
        self.partition = partition
        self.engine = engine
        self.state: Correlate | None = None  # the stage; it goes on with all windows, once they are there
        self.waiting = False  # whether facts wait for windows just now
        self.history: frozenset[str] | None = None  # rules that wait for all; None: all of them do
        self.given_up = False
        self._load = load
        self._there: Keys = {}
        self._over = asyncio.Event()

    def over(self, *, given_up: bool) -> None:
        """The windows of all keys are there, or the partition has been given up."""
        self.given_up = given_up
        self._over.set()

    async def recall(self, facts: Sequence[FactRun]) -> bool:
        """Return when the windows are there that these facts belong to. Whether they may be worked: not if the
        partition was given up meanwhile."""
        if not facts:
            return not self.given_up
        self.waiting = True
        try:
            await self._load(self, self._lacking(facts))
            if self.history is None or not self.history.isdisjoint([run.rule for run in facts]):
                await self._over.wait()
        finally:
            self.waiting = False
        return not self.given_up

    def _lacking(self, facts: Sequence[FactRun]) -> Keys:
        found: Keys = {}
        for run in facts:
            rule = run.rule, run.version
            if missing := set(run.keys) - self._there.get(rule, set()):
                found.setdefault(rule, set()).update(missing)
        return found

    def take(self, found: OfKeys, recent: Sequence[FactRun], keys: Keys) -> None:
        """What there is of some keys."""
        found.fold(self.engine)
        for run in recent:
            self.engine.fold_run(run)
        for rule, names in keys.items():
            self._there.setdefault(rule, set()).update(names)


class EarlyWindows:
    """Of all partitions of a worker. `restoring` tells of how many the windows of all keys are not there yet."""

    def __init__(
        self,
        restorer: Restorer,
        clock: Clock,
        restoring: Gauge,
        exclusive: asyncio.Lock,
        *,
        alone: bool,
        oldest: Callable[[], Awaitable[int | None]] | None = None,
    ) -> None:
        """`exclusive` is held while windows change: threads work on them under it. `alone`: no other worker is there,
        and the clock may decide as soon as all windows are, but not ahead of the `oldest` record (ms) that is on its
        way. Otherwise somebody has to tell the stages what it owes."""
        self._restorer = restorer
        self._exclusive = exclusive
        self._oldest = oldest
        self._clock = clock
        self._restoring = restoring
        self._alone = alone
        self._epoch = 0
        self._before: int | None = None  # ms; see above
        self._fronts: dict[int, Front] = {}
        self._expected: frozenset[int] = frozenset()
        self._with_history = Shared(self._find_history)
        self._recent = Shared(self._read_recent)
        self._under_way = 0  # keys are being read
        self._nobody_waits = threading.Event()
        self._nobody_waits.set()

    def begin(self, expected: Collection[int], keep: Collection[int] = (), stored: int | None = None) -> None:
        """Forget all windows but those of the partitions to `keep`: what was received until now is to be restored, for
        those that are `expected`. `stored`: when the newest fact was received (ms) that is stored by now, which is
        later than now if the clock has been set back."""
        self.abandon()
        self._expected = frozenset(expected)
        if self._alone:
            self._before = max(to_millis(self._clock.now()), 0 if stored is None else stored + 1)
        for partition in self._fronts.keys() - set(keep):
            self._fronts.pop(partition).over(given_up=True)
        self._restoring.set(len(self._fronts))
        self._with_history.forget()
        self._recent.forget()

    def abandon(self) -> None:
        """Whatever is being restored is of no use any more."""
        self._epoch += 1

    async def correlate(self, partition: int) -> Correlate:
        """The stage for a partition, with the windows of no key."""
        front = Front(partition, self._restorer.empty(), self._load)
        front.state = self._restorer.over(front.engine, front)
        self._fronts[partition] = front
        self._restoring.set(len(self._fronts))
        return front.state

    async def _load(self, front: Front, keys: Keys) -> None:
        """Put what there is of some keys into the windows of a partition. Until the store tells it."""
        self._under_way += 1
        self._nobody_waits.clear()
        try:
            while keys and not front.given_up:
                try:
                    recent = await self._recent.get()
                    if recent is not None and front.partition not in recent.partitions:
                        recent = None
                    front.history = None if recent is None else await self._with_history.get()
                    found = await self._restorer.of_keys(front.engine.running, keys, self._before)
                except UnavailableError as error:
                    log.warning("facts wait for windows: %s", error)
                    await asyncio.sleep(RETRY_PAUSE)
                    continue
                async with self._exclusive:
                    if self._fronts.get(front.partition) is front:  # else those of all keys have taken its place
                        front.take(found, () if recent is None else recent.of(keys), keys)
                return
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._nobody_waits.set()

    async def _find_history(self) -> frozenset[str]:
        found = await asyncio.to_thread(self._restorer.with_history)
        if found:
            log.info("%d rules wait for their windows to be filled from history", len(found))
        return found

    async def _read_recent(self) -> Recent | None:
        return await self._restorer.recent(sorted(self._expected))

    async def complete(self, there: Callable[[], None] = lambda: None) -> None:
        """Restore the windows of all keys. `there` is called just before the clock may decide on them: facts that came
        meanwhile may still be on their way."""
        epoch = self._epoch
        while epoch == self._epoch and self._fronts:
            try:
                await self._restore(epoch, there)
            except UnavailableError as error:
                log.warning("windows are not restored yet: %s", error)
                await asyncio.sleep(RETRY_PAUSE)

    async def _restore(self, epoch: int, there: Callable[[], None]) -> None:
        """Not to the end when the rules have changed meanwhile, or nobody wants them any more."""
        restorer = self._restorer

        patience = _GIVE_WAY

        def wanted() -> bool:
            nonlocal patience
            if patience > 0:  # those that wait go first, but not for ever
                began = self._clock.monotonic()
                self._nobody_waits.wait(patience)
                patience -= self._clock.monotonic() - began
            return epoch == self._epoch

        engines = await restorer.whole(sorted(self._fronts), self._before, wanted)
        until, owed = 0, dict[int, list[Alert]]()
        if self._alone and epoch == self._epoch:
            until = restorer.settled_until()
            if self._before is not None:
                until = min(until, self._before)
            if self._oldest is not None and (oldest := await self._oldest()) is not None:
                until = min(until, oldest)
            owed = {partition: await restorer.owed(partition, engine, until) for partition, engine in engines.items()}
        async with self._exclusive:
            fronts = {partition: front for partition, front in self._fronts.items() if partition in engines}
            if epoch != self._epoch or any(
                front.engine.fresh(engines[partition]) or engines[partition].fresh(front.engine)
                for partition, front in fronts.items()
            ):
                return
            for front in fronts.values():
                await to_its_end(restorer.warm, front.engine, front.engine.running)
                if self._alone:
                    # What it owes is among what all keys owe: what came since does not count for what is so long ago.
                    await to_its_end(restorer.pass_over, front.engine, until)
            there()
            for partition, front in fronts.items():
                engine = engines[partition]
                engine.take_keys(front.engine)
                assert front.state is not None
                front.state.go_on(engine)
                if self._alone:
                    front.state.owe(owed[partition])
                front.over(given_up=False)
                del self._fronts[partition]
            self._restoring.set(len(self._fronts))
            if not self._fronts:
                self._recent.forget()
