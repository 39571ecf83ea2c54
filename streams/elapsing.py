"""The passing of time: what becomes overdue, what the clock settles, what conditions and windows have taken.

Once a second, and only while this worker's partitions are its own: on state that another worker may have carried on
the clock must decide nothing. It must not know Faust or the broker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from jianguan.clock import Clock, to_millis
from jianguan.domain.trace import Records
from streams.onward import Onward
from streams.stages import Stages

TICK: Final = 1.0  # seconds
MANY_WINDOWS: Final = 500_000  # of one partition
# What the clock decides waits this long for facts that are still on their way between the stages.
SETTLE_AFTER_MS: Final = 5_000
COSTS_EVERY: Final = 60.0  # seconds


class Elapsing:
    """Lets time pass for the stages of one worker."""

    def __init__(
        self,
        stages: Stages,
        exclusive: asyncio.Lock,
        go_on: Callable[[Onward, int], Awaitable[bool]],
        holds: Callable[[], bool],
        generation: Callable[[], int],
    ) -> None:
        """`exclusive` is held while windows change; `go_on` sends what came of work on its way, if the partitions are
        still those of the generation in which the work began; `holds` tells whether they are now."""
        self._stages = stages
        self._exclusive = exclusive
        self._go_on = go_on
        self._holds = holds
        self._generation = generation
        self._costs_asked = stages.clock.monotonic()

    async def run(self) -> None:
        """Once a second, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            await self.tick()

    async def tick(self) -> None:
        """All that is due now."""
        if not self._holds():
            return
        await self._elapse_cases()
        await self._settle()
        if self._stages.clock.monotonic() - self._costs_asked >= COSTS_EVERY:
            self._costs_asked = self._stages.clock.monotonic()
            await self._ask_costs()
        self._look_at_windows()

    async def _elapse_cases(self) -> None:
        """Tasks that have become overdue, and commands that waited in vain."""
        opened, overdue = 0, 0
        for _, state in self._stages.handle:
            if not self._holds():
                return
            generation = self._generation()
            handled = state.elapse()
            opened += len(state.desk)
            overdue += state.desk.overdue
            if handled.records or handled.notices:
                await self._tell(Onward.of_handled(handled), generation)
        self._stages.metrics.open_cases.set(opened)
        self._stages.metrics.overdue_tasks.set(overdue)

    async def _settle(self) -> None:
        """What no fact can change any more that may still come."""
        oldest = self._stages.oldest_replayed
        until = settled_until(self._stages.clock, None if oldest is None else await oldest())
        for _, state in self._stages.correlate:
            if not state.settling:
                continue
            async with self._exclusive:
                if not self._holds():
                    return
                generation = self._generation()
                result = state.elapse(until)
            if result.records:
                await self._tell(Onward.of_correlated(result), generation)
        if self._stages.conditions is not None:
            self._stages.conditions.measure()

    async def _tell(self, onward: Onward, generation: int) -> None:
        """Record what the clock has decided once the stages that follow have it. What is recorded is not decided again,
        and no record that is read again leads to it: whoever is killed between the two would have told nobody."""
        if onward.facts or onward.alerts or onward.notices:
            records, onward.records = onward.records, Records()
            if not await self._go_on(onward, generation):
                return
            onward = Onward(records=records)
        await self._go_on(onward, generation)

    async def _ask_costs(self) -> None:
        """What conditions and windows have taken since the last time."""
        metrics, conditions = self._stages.metrics, self._stages.conditions
        sampled = [] if conditions is None else list(conditions.costs())
        for each in sampled:
            metrics.condition_micros.labels(each.rule).set(each.seconds * 1_000_000 / each.facts)
            if each.is_over:
                metrics.over_budget.labels(each.rule).inc()
        for _, state in self._stages.correlate:
            spent, result = state.costs(sampled)
            sampled = []  # told once
            for each in spent:
                metrics.rule_time.labels(each.rule).inc(each.seconds)
                if each.is_over:
                    metrics.over_budget.labels(each.rule).inc()
            if result.records:
                await self._go_on(Onward.of_correlated(result), self._generation())

    def _look_at_windows(self) -> None:
        windows = 0
        for _, state in self._stages.correlate:
            # Windows are cheap, and one that was forgotten too early would miss its past: only many are thinned out.
            if len(state.engine) > MANY_WINDOWS and not self._exclusive.locked():
                state.engine.forget()
            windows += len(state.engine)
        self._stages.metrics.windows.set(windows)


def settled_until(clock: Clock, oldest: int | None) -> int:
    """The time (ms) up to which rules that wait for the clock may decide: the present, less what facts take on their
    way, and never later than the receipt of the oldest record that may still be on its way."""
    until = to_millis(clock.now()) - SETTLE_AFTER_MS
    return until if oldest is None else min(until, oldest)
