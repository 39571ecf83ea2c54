"""Windows of the keys that facts come for, while those of all keys are still being restored.

A start need not wait for a million stored facts: a fact needs the window of its own key only. So the stage begins with
windows of no key. Before facts are worked, the store is asked for what it has of their keys; meanwhile, and beside it,
the windows of all keys are folded, and when they are there they are put behind the stage's own, which are further. The
clock decides nothing before that, and rules whose windows are filled from history wait for it: what they count is not
stored as facts of a key.

Both are made of what was received before the start. All else comes by the topic, and nothing comes both ways that the
stage does not know of (`Correlate`, `known`). For a worker that owns all partitions, and nothing else may write to the
store.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from prometheus_client import Gauge

from jianguan.clock import Clock, to_millis
from jianguan.domain.fact import FactRun
from jianguan.errors import UnavailableError
from jianguan.wiring.restore import Restorer
from rules.engine import Engine
from rules.rule import Rule
from streams.correlate import Correlate

log = logging.getLogger(__name__)

RETRY_PAUSE: Final = 1.0  # seconds
_GIVE_WAY: Final = 0.3  # seconds, between two blocks of facts


class _Front:
    """The windows of one partition so far."""

    def __init__(self, state: Correlate, engine: Engine) -> None:
        self.state = state
        self.engine = engine
        self.there: dict[tuple[str, int], set[str]] = {}  # keys, by rule and version

    def lacking(self, facts: Sequence[FactRun]) -> dict[tuple[str, int], set[str]]:
        """The keys of facts whose windows are not here yet."""
        found: dict[tuple[str, int], set[str]] = {}
        for run in facts:
            rule = run.rule, run.version
            if missing := set(run.keys) - self.there.get(rule, set()):
                found.setdefault(rule, set()).update(missing)
        return found


class EarlyWindows:
    """Of all partitions. `restoring` tells of how many the windows of all keys are not there yet."""

    def __init__(self, restorer: Restorer, clock: Clock, restoring: Gauge) -> None:
        self._restorer = restorer
        self._clock = clock
        self._restoring = restoring
        self._epoch = 0
        self._before = 0  # ms; see above
        self._fronts: dict[int, _Front] = {}
        self._history: frozenset[str] = frozenset()  # rules that wait for all
        self._whole = asyncio.Event()
        self.waiting: set[int] = set()  # partitions whose facts wait for windows just now
        self._nobody_waits = threading.Event()
        self._nobody_waits.set()

    async def begin(self) -> None:
        """Forget all windows: what was received until now is going to be restored."""
        self.abandon()
        self._before = to_millis(self._clock.now())
        self._fronts = {}
        self._whole.clear()
        self._history = await asyncio.to_thread(self._restorer.with_history)
        if self._history:
            log.info("%d rules wait for their windows to be filled from history", len(self._history))

    def abandon(self) -> None:
        """Whatever is being restored is of no use any more."""
        self._epoch += 1

    async def correlate(self, partition: int) -> Correlate:
        """The stage for a partition, with the windows of no key."""
        engine = self._restorer.empty()
        state = self._restorer.over(engine)
        self._fronts[partition] = _Front(state, engine)
        self._restoring.set(len(self._fronts))
        return state

    async def recall(self, partition: int, facts: Sequence[FactRun]) -> None:
        """Return when the windows are there that these facts of a partition belong to."""
        if partition not in self._fronts:
            return
        if not self._history.isdisjoint([run.rule for run in facts]):
            await self._waits(partition, self._whole.wait())
        self._nobody_waits.clear()
        try:
            await self._waits(partition, self._recall(partition, facts))
        finally:
            self._nobody_waits.set()

    async def _waits(self, partition: int, what: Awaitable[object]) -> None:
        self.waiting.add(partition)
        try:
            await what
        finally:
            self.waiting.discard(partition)

    async def _recall(self, partition: int, facts: Sequence[FactRun]) -> None:
        while (front := self._fronts.get(partition)) is not None and (lacking := front.lacking(facts)):
            try:
                found = await asyncio.to_thread(self._restorer.facts_of, front.engine.running, lacking, self._before)
            except UnavailableError as error:
                log.warning("partition %d waits for windows: %s", partition, error)
                await asyncio.sleep(RETRY_PAUSE)
                continue
            for run in found:
                front.engine.fold_run(run)
            for rule, keys in lacking.items():
                front.there.setdefault(rule, set()).update(keys)

    async def complete(self, exclusive: asyncio.Lock, there: Callable[[], None]) -> None:
        """Restore the windows of all keys. `exclusive` is held while nobody else may use them; `there` is called just
        before the clock may decide on them: facts that came meanwhile may still be on their way."""
        epoch = self._epoch
        while epoch == self._epoch and self._fronts:
            try:
                if await self._restore(epoch, exclusive, there):
                    self._whole.set()
                    self._restoring.set(0)
            except UnavailableError as error:
                log.warning("windows are not restored yet: %s", error)
                await asyncio.sleep(RETRY_PAUSE)

    async def _restore(self, epoch: int, exclusive: asyncio.Lock, there: Callable[[], None]) -> bool:
        """Whether they are there; not when the rules have changed meanwhile, or nobody wants them any more."""
        restorer, before = self._restorer, self._before
        engines = {partition: restorer.empty() for partition in self._fronts}
        running = next(iter(engines.values())).running

        def wanted() -> bool:
            self._nobody_waits.wait(_GIVE_WAY)  # those that wait go first, but not for ever
            return epoch == self._epoch

        folded = await asyncio.to_thread(restorer.fold, engines, running, before=before, wanted=wanted)
        until = restorer.settled_before(before)
        owed = {
            partition: await asyncio.to_thread(restorer.owed, engine, folded[partition].newest, until)
            for partition, engine in engines.items()
            if epoch == self._epoch
        }
        async with exclusive:
            fronts = dict(self._fronts)
            changed = any(_rules(front.engine.running) != _rules(running) for front in fronts.values())
            if changed or epoch != self._epoch:
                return False
            for front in fronts.values():
                # What it owes is among what all keys owe: facts that came since do not count for what is so long ago.
                await asyncio.to_thread(restorer.pass_over, front.engine, until)
            there()
            for partition, front in fronts.items():
                engines[partition].take_keys(front.engine)
                front.state.engine = engines[partition]
                front.state.owe(owed[partition])
                log.info("partition %d: windows restored from %d facts", partition, folded[partition].facts)
            self._fronts = {}
            return True


def _rules(running: Sequence[Rule]) -> set[tuple[str, int, str]]:
    return {rule.identity for rule in running}
